//! `xsem show NAME`: everything about one semaphore.

use crate::cli::ShowArgs;
use crate::failure::Failure;
use crate::json::ReportJson;
use crate::{exit_codes, places};
use std::io::{self, Write};
use xsem::{Capacity, Counters, Holder, Kind, Obituary, Process, ProcessState, Report, Signal, Waiter, Wants, age, cycle_text};

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
    writeln!(out, "{} ({}), {}", r.name, kind(r), state(r))?;
    if r.drained {
        writeln!(out, "  drained   new requests are refused (102); to let them in again: xsem drain --reopen {}", typed(r))?;
    }
    for h in &r.holders {
        writeln!(out, "  held by   {h}")?;
        facts(h, r.kind, out)?;
    }
    for (i, w) in r.waiters.iter().enumerate() {
        writeln!(out, "  waiting   {}. {}, since {}{}", i + 1, who(&w.process), age(w.waiting_for), wanted(w))?;
    }
    if !r.deadlock.is_empty() {
        writeln!(out, "  deadlock  {}", cycle_text(&r.deadlock, false))?;
        writeln!(out, "  next      one of them has to give up what it holds: end it, or xsem evict; see xsem explain 1131")?;
    }
    mark(r, out)?;
    counters(r.kind, &r.counters, out)
}

/// `exclusive`, `pool of 4`, `credit of at most 100`, `manual event`.
fn kind(r: &Report) -> String {
    let kind = match (&r.capacity, &r.signal) {
        (Some(Capacity { mode: xsem::Mode::Pool, limit, .. }), _) => format!("pool of {limit}"),
        (Some(Capacity { mode: xsem::Mode::Credit, limit, .. }), _) => format!("credit of at most {limit}"),
        (_, Some(s)) => format!("{} event", s.reset),
        _ => r.kind.to_string(),
    };
    if r.ephemeral { kind + ", ephemeral" } else { kind }
}

/// `free, unused for 3 d 2 h`, `held`, `3 of 4 free`, `signalled`.
fn state(r: &Report) -> String {
    let mut text = match (&r.capacity, &r.signal) {
        (Some(c), _) => free(c),
        (None, Some(s)) => signalled(s).to_owned(),
        (None, None) if r.holders.is_empty() => "free".to_owned(),
        (None, None) => "held".to_owned(),
    };
    if r.holders.is_empty() {
        text += &format!(", unused for {}", age(r.unused_for));
    }
    text
}

/// `signalled` or `reset`.
pub fn signalled(s: &Signal) -> &'static str {
    if s.is_set { "signalled" } else { "reset" }
}

/// `3 of 4 free`; more than the limit are out for a while after it was lowered.
pub fn free(c: &Capacity) -> String {
    let of = if c.mode == xsem::Mode::Pool { c.limit } else { c.total };
    match c.total.saturating_sub(c.limit) {
        0 => format!("{} of {of} free", c.free),
        over => format!("{} of {of} free, {over} more than the limit still out", c.free),
    }
}

fn wanted(w: &Waiter) -> String {
    let mut text = String::new();
    if w.permits != 1 {
        text += &format!(", for {} permits", w.permits);
    }
    match w.wants {
        Wants::Any => text += ", for this or another one",
        Wants::All => text += ", for this and others at once",
        _ => {}
    }
    if w.has_deadline {
        text += ", until a deadline";
    }
    text
}

fn mark(r: &Report, out: &mut impl Write) -> io::Result<()> {
    if r.marked {
        writeln!(out, "  mark      set: an owner died, and nobody has said since that things are in order")?;
    }
    // Permits of a dead holder simply come back, so that there is a latest death without a mark.
    match &r.deaths {
        Some(d) => {
            obituary(if d.count > 1 { "latest" } else { "died" }, &d.latest, out)?;
            if d.count > 1 && r.marked {
                writeln!(out, "  deaths    {} since it was last in order", d.count)?;
                obituary("first", &d.first, out)?;
            }
        }
        None if r.marked => writeln!(out, "  died      the details could not be kept")?,
        None => {}
    }
    if r.marked {
        writeln!(out, "  next      check what it protects, then: xsem ok {}", typed(r))?;
    }
    Ok(())
}

fn counters(kind: Kind, c: &Counters, out: &mut impl Write) -> io::Result<()> {
    if kind == Kind::Event {
        let (signals, waited, late) = (c.acquired, c.contended, c.timed_out);
        let of = if signals == 1 { "" } else { "s" };
        return writeln!(out, "  counters  {signals} signal{of}, {waited} had to wait for one, {late} timed out");
    }
    let who = if kind == Kind::Counting { "holder" } else { "owner" };
    let of = |n: u64| if n == 1 { "" } else { "s" };
    writeln!(
        out,
        "  counters  {} claim{}, {} had to wait, {} timed out, {} {who}{} died; longest contended hold {}",
        c.acquired,
        of(c.acquired),
        c.contended,
        c.timed_out,
        c.deaths,
        of(c.deaths),
        age(c.longest_contended_hold)
    )
}

/// The name as it can be typed.
fn typed(r: &Report) -> String {
    crate::run::command_line::quoted(&r.name)
}

fn facts(h: &Holder, kind: Kind, out: &mut impl Write) -> io::Result<()> {
    match kind {
        Kind::Counting => writeln!(out, "            token {}", h.token)?,
        _ => writeln!(out, "            token {}, depth {}", h.token, h.depth)?,
    }
    let hold = crate::tree::is_hold(h);
    if let Some(p) = &crate::tree::covered(h) {
        writeln!(out, "            covers {}: {}", if hold { "the shell" } else { "its command" }, who(p))?;
    }
    if gone(&h.process) {
        let then = match &h.covers {
            Some(shell) if hold && !gone(shell) => "its keeper was killed; the claim lasts until the shell has ended",
            Some(command) if !gone(command) => "xsem run was killed; the claim lasts until the command has ended",
            _ if kind == Kind::Counting => "it is over: the next one gets its permits at once",
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
    let host = p.host.as_ref().map_or(String::new(), |h| format!(" on {h}"));
    format!("{}{host} `{}` ({}), {}", p.pid, p.command, p.user(), p.state.as_str())
}

#[cfg(test)]
mod tests {
    use super::print;
    use xsem::{Capacity, Edge, Kind, Mode, Process, ProcessState, Report, Waiter, Wants};

    fn process(pid: u32, command: &str) -> Process {
        Process::new(pid, 0, command, ProcessState::Alive)
    }

    fn printed(r: &Report) -> String {
        let mut out = Vec::new();
        print(r, &mut out).expect("a buffer takes it");
        String::from_utf8(out).expect("UTF-8")
    }

    /// A cycle is a matter of an instant: whoever closes it is refused. So it is only to be seen here.
    #[test]
    fn a_cycle_of_waits_is_told_step_by_step() {
        let mut r = Report::new("A", Kind::Exclusive);
        let (make, cc) = (process(812, "make"), process(900, "cc"));
        r.deadlock = vec![Edge::new((make.clone(), 1), "A", (cc.clone(), 1)), Edge::new((cc.clone(), 1), "B", (make.clone(), 1))];
        let text = printed(&r);
        let cycle = "  deadlock  812 `make` waits for `A`, held by 900 `cc`, which waits for `B`, held by 812 `make`\n";
        assert!(text.contains(cycle) && text.contains("xsem explain 1131"), "{text}");
        let json = serde_json::to_value(crate::json::ReportJson::from(&r)).expect("JSON");
        let step = &json["deadlock"]["steps"][1];
        assert_eq!((&step["waiter"]["pid"], &step["waits_for"]), (&900.into(), &"B".into()));
        assert_eq!(step["holder"]["command"], "make");
        r.deadlock.clear();
        assert!(!printed(&r).contains("deadlock"));
    }

    #[test]
    fn an_event_says_how_it_stands_and_who_waits() {
        let mut r = Report::new("server/up", Kind::Event);
        r.signal = Some(xsem::Signal::new(xsem::Reset::Manual, false));
        (r.counters.acquired, r.counters.contended, r.counters.timed_out) = (3, 2, 1);
        let mut waiter = Waiter::new(process(7, "client"), 1, 1, std::time::Duration::from_secs(2));
        waiter.wants = Wants::Any;
        r.waiters.push(waiter);
        let text = printed(&r);
        assert!(text.starts_with("server/up (manual event), reset, unused for "), "{text}");
        assert!(text.contains("alive, since 2 s, for this or another one\n"), "{text}");
        assert!(text.ends_with("  counters  3 signals, 2 had to wait for one, 1 timed out\n"), "{text}");
        r.signal = Some(xsem::Signal::new(xsem::Reset::Auto, true));
        r.ephemeral = true;
        let text = printed(&r);
        assert!(text.starts_with("server/up (auto event, ephemeral), signalled, "), "{text}");
        let json = serde_json::to_value(crate::json::ReportJson::from(&r)).expect("JSON");
        assert_eq!(json["event"], serde_json::json!({ "reset": "auto", "signalled": true }));
    }

    #[test]
    fn permits_and_those_who_want_some() {
        let mut r = Report::new("gpu", Kind::Counting);
        r.capacity = Some(Capacity::new(Mode::Pool, 4, 4, 3));
        let mut waiter = Waiter::new(process(7, "train"), 1, 4, std::time::Duration::from_secs(2));
        (waiter.wants, waiter.has_deadline) = (Wants::All, true);
        r.waiters.push(waiter);
        let text = printed(&r);
        assert!(text.starts_with("gpu (pool of 4), 3 of 4 free"), "{text}");
        assert!(text.contains("alive, since 2 s, for 4 permits, for this and others at once, until a deadline\n"), "{text}");
        r.capacity = Some(Capacity::new(Mode::Credit, 100, 7, 7));
        r.drained = true;
        let text = printed(&r);
        assert!(text.starts_with("gpu (credit of at most 100), 7 of 7 free"), "{text}");
        assert!(text.contains("xsem drain --reopen gpu"), "{text}");
    }
}
