//! Who has it, and what became of that one.

use super::finding::Severity::{Note, Trouble, Warning};
use super::finding::{Finding, Kind};
use super::{Look, proc, typed};
use std::time::Duration;
use xsem::{Happened, Holder, ProcessState, Record, Report, Summary, age};

/// Held for less is nothing to wonder about.
const LONG: Duration = Duration::from_secs(2);
/// So many times longer than the longest hold that is known.
const TIMES: u32 = 10;
/// Where nothing is known of what is usual.
const VERY_LONG: Duration = Duration::from_secs(3600);

/// Looks at each claim.
pub fn look(d: &mut Look, s: &Summary, r: &Report, history: &[Record]) {
    for h in &s.holders {
        let before = d.findings.len();
        state(d, s, r, h);
        // What is told of its owner says why it is held for long.
        if d.findings.len() == before {
            long(d, s, r, h, history);
        }
    }
    if r.marked {
        mark(d, r);
    }
}

fn state(d: &mut Look, s: &Summary, r: &Report, h: &Holder) {
    let (p, n, typed, who) = (&h.process, r.waiters.len(), typed(&s.name), person(h));
    let covered = h.covers.as_ref().filter(|c| !matches!(c.state, ProcessState::Dead | ProcessState::Dying));
    let waits = match n {
        0 => String::new(),
        1 => ", and one waits for it".into(),
        n => format!(", and {n} wait for it"),
    };
    let worse = if n > 0 { Trouble } else { Warning };
    let stopped = |pid: u32, what: &str| {
        let f = Finding::new(
            Kind::OwnerStopped,
            worse,
            format!("{what} is stopped: {who}{waits}"),
            format!("let it go on: `kill -CONT {pid}` (or `fg` in its terminal); or take it away: `xsem evict {typed}`"),
        );
        f.of(&s.name)
    };
    match p.state {
        ProcessState::Stopped => d.found(stopped(p.pid, "its owner")),
        ProcessState::Dead | ProcessState::Dying => match covered {
            Some(c) => d.found(
                Finding::new(
                    Kind::CommandOutlives,
                    worse,
                    format!("its owner {who} is gone, but the command that it was for still runs: {} `{}`{waits}", c.pid, c.command),
                    format!("the claim ends when that ends; end it (`kill {}`), or `xsem evict {typed}`", c.pid),
                )
                .of(&s.name),
            ),
            None => {
                let zombie = if proc::is_here(p) && proc::state(p.pid) == Some('Z') { " (its parent has not waited for it yet)" } else { "" };
                let then = match s.capacity {
                    Some(_) => "nothing: the next one that asks gets its permits back".to_owned(),
                    None => format!("check what it protects: the next owner gets it with 105, and `xsem ok {typed}` says that it is in order"),
                };
                d.found(Finding::new(Kind::OwnerDead, if s.capacity.is_some() { Note } else { Warning }, format!("its owner has died: {who}{zombie}{waits}"), then).of(&s.name));
            }
        },
        ProcessState::Unseen => d.found(
            Finding::new(
                Kind::OwnerUnseen,
                Note,
                format!("its owner {who} lives in another pid namespace (a container), or behind a `/proc` that hides it: its number means nothing here"),
                "look for it there: whether it is stopped cannot be seen from here".to_owned(),
            )
            .of(&s.name),
        ),
        _ if !proc::is_here(p) => {}
        _ => {
            if let Some(c) = covered.filter(|c| c.state == ProcessState::Stopped) {
                d.found(stopped(c.pid, "the command of its owner"));
            }
            if proc::dumps_core(p.pid) {
                let what = format!("its owner {who} has crashed and is writing a core file{waits}");
                let todo = "wait: the claim passes on when the file is written; a smaller limit (`ulimit -c`) or `kill -KILL` makes that shorter";
                d.found(Finding::new(Kind::DumpingCore, Warning, what, todo).of(&s.name));
            } else if proc::state(p.pid) == Some('Z') {
                let what = format!("the main thread of its owner {who} has ended, but other threads of it go on and keep it{waits}");
                let todo = format!("end the process for good: `kill -KILL {}`, or let its threads end; `xsem evict {typed}` takes it away", p.pid);
                d.found(Finding::new(Kind::MainThreadEnded, worse, what, todo).of(&s.name));
            }
        }
    }
}

/// Who it is, and for how long it has had it.
pub fn person(h: &Holder) -> String {
    let p = &h.process;
    let label = h.label.as_ref().map_or(String::new(), |l| format!(" [{l}]"));
    let permits = if h.permits == 1 { "it".to_owned() } else { format!("{} permits", h.permits) };
    let held = h.held_for.map_or(String::new(), |d| format!(", which has had {permits} for {}", age(d)));
    match p.pid {
        0 => format!("a process that is not known any more{held}"),
        pid => match &p.host {
            Some(host) => format!("{pid} on {host} `{}`{label}{held}", p.command),
            None => format!("{pid} `{}` ({}){label}{held}", p.command, p.user()),
        },
    }
}

/// What is usual for this semaphore: the longest hold in the history, else the longest that somebody had to wait for.
fn usual(r: &Report, history: &[Record]) -> Option<(Duration, String)> {
    let held: Vec<Duration> =
        history.iter().filter(|x| x.name == r.name && x.what == Happened::Released).filter_map(|x| x.took).collect();
    match (held.iter().max(), r.counters.longest_contended_hold) {
        (Some(most), _) => Some((*most, format!("at most {} in the last {} claims of the history", exact(*most), held.len()))),
        (None, Duration::ZERO) => None,
        (None, most) => Some((most, format!("at most {} of those that somebody waited for", exact(most)))),
    }
}

/// `age` has nothing below a millisecond.
fn exact(d: Duration) -> String {
    if d < Duration::from_millis(1) { "1 ms".into() } else { age(d) }
}

/// Whether a hold is out of the ordinary.
fn is_long(held: Duration, usual: Option<Duration>) -> bool {
    match usual {
        Some(most) => held > LONG && held > most.saturating_mul(TIMES),
        None => held > VERY_LONG,
    }
}

fn long(d: &mut Look, s: &Summary, r: &Report, h: &Holder, history: &[Record]) {
    let (Some(held), usual) = (h.held_for, usual(r, history)) else { return };
    if !is_long(held, usual.as_ref().map(|u| u.0)) {
        return;
    }
    let figures = usual.map_or("nothing is known of what is usual; `xsem log --on` keeps it".into(), |u| u.1);
    let severity = if r.waiters.is_empty() { Note } else { Warning };
    let what = format!("held for {}, which is unusual ({figures}): {}", age(held), person(h));
    let there = h.process.host.as_ref().map_or(String::new(), |host| format!(" on {host}"));
    let todo = format!(
        "see what {} does (`ps -p {0} -f`{there}); ask its user; to take it away: `xsem evict {}`",
        h.process.pid,
        typed(&s.name)
    );
    d.found(Finding::new(Kind::HeldLong, severity, what, todo).of(&s.name));
}

fn mark(d: &mut Look, r: &Report) {
    let told = match &r.deaths {
        Some(deaths) => format!("an owner died, and nobody has said since that things are in order: {deaths}"),
        None => "an owner died, and nobody has said since that things are in order (the details could not be kept)".into(),
    };
    let todo = format!("check what it protects, then `xsem ok {}`; until then every new owner gets 105", typed(&r.name));
    d.found(Finding::new(Kind::Marked, Warning, told, todo).of(&r.name));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_is_compared_with_what_is_usual() {
        let s = Duration::from_secs;
        assert!(!is_long(s(600), None) && is_long(s(3601), None));
        assert!(!is_long(s(1), Some(Duration::from_millis(1))), "short is never long");
        assert!(is_long(s(3), Some(Duration::from_millis(200))) && !is_long(s(3), Some(Duration::from_millis(400))));
    }
}
