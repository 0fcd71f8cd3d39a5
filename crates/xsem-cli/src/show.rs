//! `xsem show NAME`: everything about one semaphore.

use crate::cli::ShowArgs;
use crate::failure::Failure;
use crate::json::ReportJson;
use crate::{exit_codes, places};
use std::io::{self, Write};
use xsem::{Holder, Obituary, Process, ProcessState, Report, age};

/// Prints the report, for people or as JSON.
pub fn show(args: &ShowArgs, url: &str) -> Result<u8, Failure> {
    let report = places::with(&args.name, url)?.inspect(&args.name)?;
    let mut out = io::stdout().lock();
    if args.json {
        let text = serde_json::to_string_pretty(&ReportJson::from(&report)).map_err(io::Error::from)?;
        writeln!(out, "{text}")?;
    } else {
        print(&report, &mut out)?;
    }
    out.flush()?;
    Ok(exit_codes::OK)
}

fn print(r: &Report, out: &mut impl Write) -> io::Result<()> {
    let state = if r.holders.is_empty() { "free" } else { "held" };
    writeln!(out, "{} ({}), {state}", r.name, r.kind)?;
    for h in &r.holders {
        writeln!(out, "  held by   {h}")?;
        facts(h, out)?;
    }
    for (i, w) in r.waiters.iter().enumerate() {
        let end = if w.has_deadline { ", until a deadline" } else { "" };
        writeln!(out, "  waiting   {}. {}, since {}{end}", i + 1, who(&w.process), age(w.waiting_for))?;
    }
    if r.marked {
        writeln!(out, "  mark      set: an owner died, and nobody has said since that things are in order")?;
        match &r.deaths {
            Some(d) => {
                obituary(if d.count > 1 { "latest" } else { "died" }, &d.latest, out)?;
                if d.count > 1 {
                    writeln!(out, "  deaths    {} since it was last in order", d.count)?;
                    obituary("first", &d.first, out)?;
                }
            }
            None => writeln!(out, "  died      the details could not be kept")?,
        }
        writeln!(out, "  next      check what it protects, then: xsem ok {}", crate::run::command_line::quoted(&r.name))?;
    }
    let c = &r.counters;
    writeln!(
        out,
        "  counters  {} claims, {} had to wait, {} timed out, {} owners died; longest contended hold {}",
        c.acquired,
        c.contended,
        c.timed_out,
        c.deaths,
        age(c.longest_contended_hold)
    )
}

fn facts(h: &Holder, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "            token {}, depth {}", h.token, h.depth)?;
    if let Some(p) = &h.covers {
        writeln!(out, "            covers its command: {}", who(p))?;
    }
    if gone(&h.process) {
        let then = match &h.covers {
            Some(command) if !gone(command) => "xsem run was killed; the claim lasts until the command has ended",
            _ => "it is over: the next one gets the semaphore at once, and is told (105)",
        };
        writeln!(out, "            {then}")?;
    }
    for p in &h.shared_with {
        writeln!(out, "            shared with {}", who(p))?;
    }
    Ok(())
}

fn gone(p: &Process) -> bool {
    matches!(p.state, ProcessState::Dying | ProcessState::Dead)
}

fn obituary(what: &str, o: &Obituary, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "  {what:8}  {o}, token {}", o.token)
}

fn who(p: &Process) -> String {
    format!("{} `{}` ({}), {}", p.pid, p.command, p.user(), p.state.as_str())
}
