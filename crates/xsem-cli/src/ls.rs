//! `xsem ls`: a table for people, sorted; a JSON array for programs, as it comes.

use crate::cli::LsArgs;
use crate::failure::Failure;
use crate::json::SummaryJson;
use crate::{exit_codes, places};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use xsem::{Namespace, Summary};

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
    let names = all.iter().map(|s| width(&s.name)).max().unwrap_or(0).clamp(4, 40);
    writeln!(out, "{:names$}  {:9}  {:4}  {:5}  {:>8}  HELD BY", "NAME", "KIND", "MARK", "QUEUE", "CLAIMS")?;
    for s in all {
        let (name, pad) = (&s.name, names.saturating_sub(width(&s.name)));
        let mark = if s.marked { "died" } else { "-" };
        let queue = if s.contended { "yes" } else { "-" };
        write!(out, "{name}{:pad$}  {:9}  {mark:4}  {queue:5}  {:>8}  ", "", s.kind.as_str(), s.acquired)?;
        match s.holders.as_slice() {
            [] => writeln!(out, "-")?,
            [h] => writeln!(out, "{h}")?,
            [h, more @ ..] => writeln!(out, "{h} and {} more", more.len())?,
        }
    }
    Ok(())
}

/// Columns on a terminal, near enough: names are not expected in scripts with wide characters.
fn width(text: &str) -> usize {
    text.chars().count()
}
