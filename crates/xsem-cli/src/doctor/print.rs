//! The findings for people and for programs.

use super::Look;
use super::finding::{Finding, Severity};
use serde::Serialize;
use std::io::{self, Write};

/// A finding as JSON: field names are part of the command's interface.
#[derive(Serialize)]
struct FindingJson<'a> {
    severity: Severity,
    kind: &'static str,
    name: Option<&'a str>,
    what: &'a str,
    todo: &'a str,
    code: u32,
}

#[derive(Serialize)]
struct DoctorJson<'a> {
    namespace: &'a str,
    name: Option<&'a str>,
    /// The worst; null: nothing was found.
    severity: Option<Severity>,
    findings: Vec<FindingJson<'a>>,
    looked_at: &'a [String],
}

/// One object.
pub fn json(d: &Look, out: &mut impl Write) -> io::Result<()> {
    let all = DoctorJson {
        namespace: &d.url,
        name: d.name.as_deref(),
        severity: d.worst(),
        findings: d.findings.iter().map(as_json).collect(),
        looked_at: &d.looked_at,
    };
    serde_json::to_writer_pretty(&mut *out, &all)?;
    writeln!(out)
}

/// Lines, the worst first.
pub fn people(d: &Look, quiet: bool, out: &mut impl Write) -> io::Result<()> {
    let width = width();
    for f in d.findings.iter().filter(|f| !quiet || f.severity > Severity::Note) {
        let name = f.name.as_ref().filter(|n| d.name.as_ref() != Some(n)).map_or(String::new(), |n| format!("{n}: "));
        paragraph(f.severity.word(), &format!("{name}{}", f.what), width, out)?;
        paragraph("", &format!("-> {} (`xsem explain {}`)", f.todo, f.kind.code()), width, out)?;
    }
    if quiet {
        return Ok(());
    }
    if !d.findings.is_empty() {
        writeln!(out)?;
    }
    for (i, at) in d.looked_at.iter().enumerate() {
        paragraph(if i == 0 { "looked at" } else { "" }, at, width, out)?;
    }
    let subject = d.name.as_ref().map_or_else(|| d.url.clone(), |n| format!("{n} in {}", d.url));
    let n = |s| d.findings.iter().filter(|f| f.severity == s).count();
    let sum = match (n(Severity::Trouble), n(Severity::Warning), n(Severity::Note)) {
        (0, 0, 0) => "nothing is wrong".to_owned(),
        (0, 0, notes) => format!("nothing is wrong; {}", counted(notes, "note")),
        (0, w, notes) => format!("{}, {}", counted(w, "warning"), counted(notes, "note")),
        (t, w, notes) => format!("{t} in trouble, {}, {}", counted(w, "warning"), counted(notes, "note")),
    };
    paragraph("result", &format!("{subject}: {sum}. Nothing was changed."), width, out)
}

fn counted(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

const MARGIN: usize = 11;

/// Text beside a word in the margin, broken at spaces. Whatever came from elsewhere cannot begin a line of its own.
fn paragraph(head: &str, text: &str, width: usize, out: &mut impl Write) -> io::Result<()> {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut line = format!("{head:MARGIN$}");
    let mut is_empty = true;
    for word in words(&text, width.saturating_sub(MARGIN)) {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > width {
            writeln!(out, "{}", line.trim_end())?;
            line = " ".repeat(MARGIN);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line += &word;
        is_empty = false;
    }
    writeln!(out, "{}", line.trim_end())
}

/// Split at spaces, but not between backquotes, so that a command can be copied, where that fits into a line.
fn words(text: &str, most: usize) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut open = false;
    for word in text.split(' ') {
        let odd = word.matches('`').count() % 2 == 1;
        let fits = |last: &String| last.chars().count() + 1 + word.chars().count() <= most;
        match all.last_mut().filter(|last| open && fits(last)) {
            Some(last) => {
                last.push(' ');
                last.push_str(word);
            }
            None => all.push(word.to_owned()),
        }
        open ^= odd;
    }
    all
}

/// Columns of the terminal; of what is no terminal as many as a line has.
fn width() -> usize {
    // SAFETY: an all-zero winsize is a valid value to be overwritten by a call that is given a pointer to it.
    let columns = unsafe {
        let mut w: libc::winsize = std::mem::zeroed();
        if libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut w) == 0 { usize::from(w.ws_col) } else { usize::MAX }
    };
    match columns {
        0 => usize::MAX,
        n => n.max(40),
    }
}

fn as_json(f: &Finding) -> FindingJson<'_> {
    FindingJson {
        severity: f.severity,
        kind: f.kind.word(),
        name: f.name.as_deref(),
        what: &f.what,
        todo: &f.todo,
        code: f.kind.code(),
    }
}

#[cfg(test)]
mod tests {
    use super::{paragraph, words};

    #[test]
    fn commands_stay_whole() {
        let found = words("say `xsem ok a`, then `a b c d e f g` x", 12);
        assert_eq!(found, ["say", "`xsem ok a`,", "then", "`a b c d e f", "g`", "x"]);
    }

    #[test]
    fn lines_are_broken_at_spaces_and_nothing_gets_lost() {
        let mut out = Vec::new();
        paragraph("note", "one two three\nfour a-very-long-word-that-does-not-fit five", 22, &mut out)
            .expect("a buffer takes it");
        let text = String::from_utf8(out).expect("UTF-8");
        let margin = " ".repeat(11);
        assert_eq!(
            text,
            format!("note       one two\n{margin}three four\n{margin}a-very-long-word-that-does-not-fit\n{margin}five\n")
        );
    }
}
