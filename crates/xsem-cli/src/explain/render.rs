//! Markdown for a terminal: as much of it as the pages use. Every character is one column wide there.

/// How to show it.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Columns to use.
    pub width: usize,
    /// Bold and coloured, instead of the marks of Markdown.
    pub colour: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Bold,
    Code,
    Link,
}

type Text = Vec<(char, Style)>;

/// Code and commands are not wrapped, only indented: what stands there may be copied.
const CODE: &str = "    ";
/// No column of a table becomes narrower, if it was not; nor narrower than its longest word.
const NARROWEST: usize = 12;

/// The whole text.
pub fn render(text: &str, look: Look) -> String {
    let mut out = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            for code in lines.by_ref().take_while(|l| !l.starts_with("```")) {
                out += &match (language, code.starts_with("$ ")) {
                    ("console", true) => look.paint(&format!("{CODE}{code}\n"), Style::Bold),
                    ("console", false) => printed(code, look),
                    _ => look.paint(&format!("{CODE}{code}\n"), Style::Code),
                };
            }
        } else if let Some(heading) = line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')) {
            out += &look.paint(heading, Style::Bold);
            out += "\n";
            if !look.colour && line.starts_with("# ") {
                out += &"=".repeat(heading.chars().count().min(look.width));
                out += "\n";
            }
        } else if line.starts_with('|') {
            let mut rows = vec![cells(line)];
            while let Some(row) = lines.next_if(|l| l.starts_with('|')) {
                rows.push(cells(row));
            }
            out += &table(&rows, look);
        } else if line.is_empty() {
            out.push('\n');
        } else {
            let indent = mark(line);
            let mut all = line[indent..].to_owned();
            while let Some(more) = lines.next_if(|l| continues(l)) {
                all.push(' ');
                all += more.trim_start();
            }
            for (i, one) in wrap(&inline(&all), look.width.saturating_sub(indent)).iter().enumerate() {
                out += &if i == 0 { line[..indent].to_owned() } else { " ".repeat(indent) };
                out += &look.show(one);
                out += "\n";
            }
        }
    }
    out
}

/// A line that a command has printed. Nobody copies it, so it is wrapped; a line of a table has its spaces.
fn printed(line: &str, look: Look) -> String {
    let text: Text = line.chars().map(|c| (c, Style::Code)).collect();
    let room = look.width.saturating_sub(CODE.len());
    let lines = if text.len() <= room { vec![text] } else { wrap(&text, room) };
    lines.iter().map(|l| look.paint(&format!("{CODE}{}\n", plain(l)), Style::Code)).collect()
}

/// How long the mark of a list's item is: `- `, `12. `.
fn mark(line: &str) -> usize {
    let rest = line.trim_start();
    let indent = line.len() - rest.len();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    match rest {
        _ if rest.starts_with("- ") => indent + 2,
        _ if digits > 0 && rest[digits..].starts_with(". ") => indent + digits + 2,
        _ => indent,
    }
}

/// Whether a line goes on with the paragraph or item before it. `A:` begins an answer, on a line of its own.
fn continues(line: &str) -> bool {
    let begins = line.is_empty() || ["#", "|", "```", "A: "].iter().any(|s| line.starts_with(s));
    !begins && mark(line) == line.len() - line.trim_start().len()
}

/// The cells of a row, of which `|` inside of code is none of the bars.
fn cells(row: &str) -> Vec<Text> {
    let row = row.trim().trim_start_matches('|');
    let row = row.strip_suffix('|').unwrap_or(row);
    let (mut parts, mut code) = (vec![String::new()], false);
    let mut chars = row.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&'|') => parts.last_mut().into_iter().for_each(|p| p.push('|')),
            '|' if parts.last().is_some_and(|p| p.ends_with('|')) && code => {}
            '|' if !code => parts.push(String::new()),
            _ => {
                code ^= c == '`';
                parts.last_mut().into_iter().for_each(|p| p.push(c));
            }
        }
    }
    parts.iter().map(|p| inline(p.trim())).collect()
}

fn table(rows: &[Vec<Text>], look: Look) -> String {
    let rule = |row: &Vec<Text>| row.iter().all(|c| !c.is_empty() && c.iter().all(|(c, _)| matches!(c, '-' | ':')));
    let has_head = rows.first().is_some_and(|head| head.iter().any(|c| !c.is_empty()));
    let body: Vec<&Vec<Text>> =
        rows.iter().enumerate().filter(|(i, r)| !rule(r) && (*i > 0 || has_head)).map(|(_, r)| r).collect();
    let columns = body.iter().map(|r| r.len()).max().unwrap_or(0);
    let mut widths: Vec<usize> =
        (0..columns).map(|i| body.iter().filter_map(|r| r.get(i)).map(|c| shown(c, look)).max().unwrap_or(0)).collect();
    let longest_word = |c: &Text| c.split(|(c, _)| *c == ' ').map(<[_]>::len).max().unwrap_or(0);
    let floors: Vec<usize> =
        (0..columns).map(|i| body.iter().filter_map(|r| r.get(i)).map(longest_word).max().unwrap_or(0).max(NARROWEST)).collect();
    // The widest column that may gives way until the row fits.
    while widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1) > look.width {
        match widths.iter_mut().zip(&floors).filter(|(w, floor)| **w > **floor).max_by_key(|(w, _)| **w) {
            Some((w, _)) => *w -= 1,
            None => break,
        }
    }
    let mut out = String::new();
    for (i, row) in body.iter().enumerate() {
        let wrapped: Vec<Vec<Text>> = row.iter().zip(&widths).map(|(c, w)| wrap_for(c, *w, look)).collect();
        for line in 0..wrapped.iter().map(Vec::len).max().unwrap_or(0) {
            let mut text = String::new();
            for (column, w) in wrapped.iter().zip(&widths) {
                let empty = Text::new();
                let cell = column.get(line).unwrap_or(&empty);
                let bold = i == 0 && has_head && look.colour;
                text += &if bold { look.paint(&plain(cell), Style::Bold) } else { look.show(cell) };
                text += &" ".repeat((w + 2).saturating_sub(shown(cell, look)));
            }
            out += text.trim_end();
            out += "\n";
        }
        if i == 0 && has_head {
            let lines: Vec<String> = widths.iter().map(|w| "-".repeat(*w)).collect();
            out += &lines.join("  ");
            out += "\n";
        }
    }
    out
}

/// Text with its styles: `code`, **bold**, *emphasis* (shown plain), [links](to) by their text. Without colours the marks
/// of code stay, since they say where it begins.
fn inline(text: &str) -> Text {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Text::new();
    let (mut i, mut bold) = (0, false);
    while let Some(&c) = chars.get(i) {
        let rest = &chars[i + 1..];
        let end = |of: char| rest.iter().position(|c| *c == of);
        match c {
            '`' => {
                let n = end('`').unwrap_or(rest.len());
                out.push(('`', Style::Code));
                out.extend(rest[..n].iter().map(|c| (*c, Style::Code)));
                out.push(('`', Style::Code));
                i += n + 1;
            }
            '*' if rest.first() == Some(&'*') => {
                bold = !bold;
                i += 1;
            }
            '*' if emphasis(out.last(), rest.first()) => {}
            '[' => match link(rest) {
                Some((words, length)) => {
                    let words = inline(&words);
                    let style = |s| if s == Style::Plain { Style::Link } else { s };
                    out.extend(words.into_iter().map(|(c, s)| (c, style(s))));
                    i += length;
                }
                None => out.push(('[', Style::Plain)),
            },
            _ => out.push((c, if bold { Style::Bold } else { Style::Plain })),
        }
        i += 1;
    }
    out
}

/// Whether a `*` is a mark: it touches a word on one side at least.
fn emphasis(before: Option<&(char, Style)>, after: Option<&char>) -> bool {
    let word = |c: &char| c.is_alphanumeric() || matches!(c, '.' | '?' | '!');
    before.is_some_and(|(c, _)| word(c)) || after.is_some_and(word)
}

/// The words of a link, and how long all of it is, behind its first bracket.
fn link(rest: &[char]) -> Option<(String, usize)> {
    let words = rest.iter().position(|c| *c == ']')?;
    let to = rest.get(words + 1..)?;
    let length = to.iter().position(|c| *c == ')').filter(|_| to.first() == Some(&'('))?;
    Some((rest[..words].iter().collect(), words + 1 + length + 1))
}

/// Lines of at most so many columns, broken at spaces.
fn wrap(text: &Text, width: usize) -> Vec<Text> {
    let mut lines = vec![Text::new()];
    for word in text.split(|(c, _)| *c == ' ').filter(|w| !w.is_empty()) {
        let line = lines.last_mut().expect("one line at least");
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(word.to_vec());
            continue;
        }
        if let Some((_, last)) = line.last() {
            let style = if *last == word[0].1 { *last } else { Style::Plain };
            line.push((' ', style));
        }
        line.extend_from_slice(word);
    }
    lines
}

/// As [`wrap`]; with colours the marks of code take no room.
fn wrap_for(text: &Text, width: usize, look: Look) -> Vec<Text> {
    let marks = if look.colour { text.iter().filter(|c| **c == ('`', Style::Code)).count() } else { 0 };
    if text.len() - marks <= width { vec![text.clone()] } else { wrap(text, width) }
}

fn plain(text: &Text) -> String {
    text.iter().map(|(c, _)| *c).collect()
}

/// How many columns it takes.
fn shown(text: &Text, look: Look) -> usize {
    text.iter().filter(|c| !look.colour || **c != ('`', Style::Code)).count()
}

impl Look {
    fn show(self, text: &Text) -> String {
        if !self.colour {
            return plain(text);
        }
        let parts = text.chunk_by(|a, b| a.1 == b.1);
        parts
            .map(|part| {
                let words: String = part.iter().filter(|c| **c != ('`', Style::Code)).map(|(c, _)| *c).collect();
                self.paint(&words, part[0].1)
            })
            .collect()
    }

    /// With the colours of the terminal's own palette.
    fn paint(self, text: &str, style: Style) -> String {
        let on = match style {
            _ if !self.colour => return text.to_owned(),
            Style::Plain => return text.to_owned(),
            Style::Bold => "1",
            Style::Code => "36",
            Style::Link => "4",
        };
        // A newline outside, so that no colour runs into the next line.
        match text.strip_suffix('\n') {
            Some(text) => format!("\x1b[{on}m{text}\x1b[0m\n"),
            None => format!("\x1b[{on}m{text}\x1b[0m"),
        }
    }
}

#[cfg(test)]
mod tests;
