//! `xsem ls`: a table for people, sorted; a JSON array for programs, as it comes.

use crate::cli::LsArgs;
use crate::failure::Failure;
use crate::json::SummaryJson;
use crate::{exit_codes, places};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use xsem::{Mode, Namespace, Summary, age};

/// Lists the namespace. One that does not exist has nothing in it, and is not created by looking.
pub fn ls(args: &LsArgs, url: &str) -> Result<u8, Failure> {
    let ns = places::existing(url)?;
    let mut out = BufWriter::new(io::stdout().lock());
    match (ns, args.json) {
        (Some(ns), true) => array(&ns, &mut out)?,
        (None, true) => writeln!(out, "[]")?,
        (Some(ns), false) => table(&ns.list()?, &mut out)?,
        (None, false) => table(&[], &mut out)?,
    }
    out.flush()?;
    Ok(exit_codes::OK)
}

/// One element at a time: a namespace may have a million names.
fn array(ns: &Namespace, out: &mut impl Write) -> Result<(), Failure> {
    let mut written = 0u64;
    let mut broken = None;
    ns.for_each(|s| {
        let before = if written == 0 { "[\n  " } else { ",\n  " };
        written += 1;
        match out.write_all(before.as_bytes()).and_then(|()| Ok(serde_json::to_writer(&mut *out, &SummaryJson::from(&s))?)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                broken = Some(e);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(e) = broken {
        return Err(e.into());
    }
    out.write_all(if written == 0 { b"[]\n" } else { b"\n]\n" })?;
    Ok(())
}

fn table(all: &[Summary], out: &mut impl Write) -> io::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    let head = ["NAME", "KIND", "STATE", "MARK", "QUEUE", "CLAIMS"].map(String::from);
    let rows: Vec<[String; 6]> = all.iter().map(columns).collect();
    let mut widths = [0; 6];
    for row in rows.iter().chain([&head]) {
        for (most, text) in widths.iter_mut().zip(row) {
            *most = width(text).clamp(*most, MOST.max(*most));
        }
    }
    line(&head, &widths, "HELD BY", out)?;
    for (row, s) in rows.iter().zip(all) {
        let held = match s.holders.as_slice() {
            [] => format!("- (unused for {})", age(s.unused_for)),
            [h] => h.to_string(),
            [h, more @ ..] => format!("{h} and {} more", more.len()),
        };
        line(row, &widths, &held, out)?;
    }
    Ok(())
}

/// A wider column is not made for the sake of one long name.
const MOST: usize = 40;

fn columns(s: &Summary) -> [String; 6] {
    let kind = match (s.capacity, s.signal) {
        (Some(c), _) => c.mode.to_string(),
        (None, Some(signal)) => format!("{} event", signal.reset),
        (None, None) => s.kind.to_string(),
    };
    let state = match (s.capacity, s.signal) {
        (Some(c), _) if c.mode == Mode::Pool => format!("{} of {} free", c.free, c.limit),
        (Some(c), _) => format!("{} of {} free", c.free, c.total),
        (None, Some(signal)) => crate::show::signalled(&signal).to_owned(),
        (None, None) => (if s.holders.is_empty() { "free" } else { "held" }).to_owned(),
    };
    let mark = match (s.marked, s.drained) {
        (true, true) => "died,drained",
        (true, false) => "died",
        (false, true) => "drained",
        (false, false) => "-",
    };
    let queue = if s.contended { "yes" } else { "-" };
    [s.name.clone(), kind, state, mark.to_owned(), queue.to_owned(), s.acquired.to_string()]
}

fn line(columns: &[String; 6], widths: &[usize; 6], held: &str, out: &mut impl Write) -> io::Result<()> {
    for (i, (text, most)) in columns.iter().zip(widths).enumerate() {
        let pad = most.saturating_sub(width(text));
        match i {
            // The number of claims stands to the right.
            5 => write!(out, "{:pad$}{text}  ", "")?,
            _ => write!(out, "{text}{:pad$}  ", "")?,
        }
    }
    writeln!(out, "{held}")
}

/// Columns on a terminal, near enough: names are not expected in scripts with wide characters.
fn width(text: &str) -> usize {
    text.chars().count()
}
