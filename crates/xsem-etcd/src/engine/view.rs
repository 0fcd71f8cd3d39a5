//! What people are told of a record.

use super::deadlock;
use super::record::{Record, Ticket, Wish, wall};
use super::world::{People, World};
use std::time::Duration;
use xsem::{Counters, Holder, Process, ProcessState, Report, Summary, Waiter, Wants};

/// The most bytes of a label or command that are kept, as in shared memory.
const SHORT: usize = 120;

/// Cut at a character, without control characters: it ends up in one line of a terminal.
pub fn short(text: &str) -> String {
    let mut kept = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if kept.len() + c.len_utf8() > SHORT {
            break;
        }
        kept.push(c);
    }
    kept
}

fn since(then: u64) -> Duration {
    Duration::from_millis(wall().saturating_sub(then))
}

fn process(p: &super::record::Party, alive: Option<&People>) -> Process {
    match alive.map(|a| a.get(&p.id.session)) {
        // As it describes itself now.
        Some(Some(who)) => who.as_ref().unwrap_or(&p.who).process(ProcessState::Alive),
        Some(None) => p.who.process(ProcessState::Dead),
        None => p.who.process(ProcessState::Alive),
    }
}

/// Who holds it, oldest claim first.
pub fn holders(rec: &Record, alive: Option<&People>) -> Vec<Holder> {
    let holder = |c: &super::record::Held| {
        let mut parties = c.parties.iter();
        let first = parties.next()?;
        let mut h = Holder::new(process(first, alive), first.claimant, c.token);
        h.label.clone_from(&c.label);
        h.held_for = Some(since(c.since));
        h.depth = c.depth;
        h.permits = c.permits;
        h.slots.clone_from(&c.slots);
        h.shared_with = parties.map(|p| process(p, alive)).collect();
        Some(h)
    };
    rec.claims.iter().filter_map(holder).collect()
}

/// What holders on this host cover. On another one the number means nothing here.
fn covered(holders: &mut [Holder], rec: &Record, alive: Option<&People>, host: &str) {
    for (h, party) in holders.iter_mut().zip(rec.claims.iter().filter_map(|c| c.parties.first())) {
        let now = alive.and_then(|a| a.get(&party.id.session)).and_then(Option::as_ref).unwrap_or(&party.who);
        h.covers =
            now.covers.filter(|_| now.host == host).map(|pid| Process::new(pid, now.uid, &now.command, ProcessState::Alive));
    }
}

/// Who waits, oldest first; with a ticket only those who stand before it (all, if it is not in the queue).
pub fn waiters(rec: &Record, alive: Option<&People>, before: Option<&Ticket>) -> Vec<Waiter> {
    let others = rec.queue.iter().take_while(|t| before.is_none_or(|b| b.party.id != t.party.id));
    let waiter = |t: &Ticket| {
        let permits = t.list.iter().map(|e| e.permits).max().unwrap_or(1);
        let mut w = Waiter::new(process(&t.party, alive), t.party.claimant, permits, since(t.since));
        w.has_deadline = t.deadline;
        w.wants = match t.wish {
            Wish::One => Wants::One,
            Wish::Any => Wants::Any,
            Wish::All => Wants::All,
        };
        w
    };
    others.map(waiter).collect()
}

fn unused(rec: &Record) -> Duration {
    if rec.claims.is_empty() { since(rec.used) } else { Duration::ZERO }
}

/// All that is known of one.
pub fn report(world: &World, name: &str, rec: &Record, host: &str) -> Report {
    let mut r = Report::new(name, rec.kind());
    r.holders = holders(rec, world.alive.as_ref());
    covered(&mut r.holders, rec, world.alive.as_ref(), host);
    r.waiters = waiters(rec, world.alive.as_ref(), None);
    r.marked = rec.marked;
    r.deaths = rec.obituaries();
    let mut c = Counters::default();
    c.acquired = rec.acquired;
    c.contended = rec.contended;
    c.timed_out = rec.timed_out;
    c.deaths = rec.deaths;
    c.longest_contended_hold = Duration::from_millis(rec.longest);
    r.counters = c;
    r.capacity = rec.capacity();
    r.signal = rec.signal();
    r.drained = rec.drain.is_some();
    r.ephemeral = rec.ephemeral;
    r.unused_for = unused(rec);
    r.deadlock = deadlock::around(world, name);
    r
}

/// A line of a listing.
pub fn summary(world: &World, name: &str, rec: &Record, host: &str) -> Summary {
    let mut s = Summary::new(name, rec.kind());
    s.holders = holders(rec, world.alive.as_ref());
    covered(&mut s.holders, rec, world.alive.as_ref(), host);
    s.marked = rec.marked;
    s.contended = !rec.queue.is_empty();
    s.acquired = rec.acquired;
    s.capacity = rec.capacity();
    s.signal = rec.signal();
    s.drained = rec.drain.is_some();
    s.ephemeral = rec.ephemeral;
    s.unused_for = unused(rec);
    s
}
