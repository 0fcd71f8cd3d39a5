//! Ledgers and count words: who holds what, and that it adds up; entries that are in no ledger.

use super::super::count::{self, Bounds, Count, Doing, Op};
use super::super::inspect;
use super::super::layout::{Cell, Entry};
use super::super::waiters::target;
use super::super::word::{Owner, State, Word};
use super::flaw::{Flaw, Mend};
use super::view::View;
use crate::claim::Kind;
use crate::engine::MAX_PERMITS;
use crate::sync::{AtomicU32, AtomicU64, Ordering::*};

/// Looks at all.
pub fn look<'a>(view: &View<'a>, out: &mut Vec<Flaw<'a>>) {
    let mut reached = vec![false; view.map.entries() as usize];
    for i in 0..view.map.cells() {
        let (Some(cell), Some(cold)) = (view.cell(i), view.cold(i)) else { continue };
        if cold.ledger.load(Acquire) as u32 != 0 {
            chain(view, i, cell, &cold.ledger, &mut reached, out);
        }
        let is_there = matches!(Word(cell.word.load(Acquire)).state(), State::Free);
        match inspect::kind_of(cell) {
            Some(Kind::Counting) if is_there => permits(view, i, cell, out),
            Some(Kind::Event) if is_there => event(view, i, cell, out),
            _ => {}
        }
    }
    for (i, reached) in (0..).zip(reached) {
        if let Some(e) = view.entry(i) {
            entry(view, i, e, reached, out);
        }
    }
}

/// The next entry of a ledger, wherever that is written.
#[derive(Clone, Copy)]
enum From<'a> {
    Cold(&'a AtomicU64),
    Entry(&'a AtomicU32),
}

impl From<'_> {
    fn next(&self) -> u32 {
        match self {
            From::Cold(w) => w.load(Acquire) as u32,
            From::Entry(w) => w.load(Acquire),
        }
    }
}

fn is_of(view: &View<'_>, i: u32, cell: &Cell, e: &Entry) -> bool {
    e.target.load(Acquire) == target(i, view.generation(cell))
}

/// Whether it may be in the ledger of this cell: who was stopped while it linked an entry links it in the cell's next life.
fn may_be_of(i: u32, e: &Entry) -> bool {
    (e.target.load(Acquire) as u32).checked_sub(1) == Some(i)
}

/// Walks the ledger of a cell.
fn chain<'a>(view: &View<'a>, i: u32, cell: &'a Cell, head: &'a AtomicU64, reached: &mut [bool], out: &mut Vec<Flaw<'a>>) {
    let mut from = From::Cold(head);
    loop {
        let seen = from.next();
        let Some(n) = seen.checked_sub(1) else { return };
        let why = match (view.entry(n), reached.get_mut(n as usize)) {
            (Some(e), Some(r)) if !*r && may_be_of(i, e) => {
                *r = true;
                from = From::Entry(&e.next);
                continue;
            }
            (Some(_), None) => return,
            (Some(e), Some(r)) if !may_be_of(i, e) => {
                let _ = r;
                // While it is built and taken apart there is nobody who would mind.
                if !matches!(Word(cell.word.load(Acquire)).state(), State::Free | State::Owned(_) | State::Tentative(_)) {
                    return;
                }
                "leads to an entry of another semaphore"
            }
            (Some(_), Some(_)) => "runs in a circle",
            (None, _) => "leads to an entry that does not exist",
        };
        if from.next() != seen {
            return;
        }
        let mend = match from {
            From::Cold(w) => {
                let v = w.load(Acquire);
                if v as u32 != seen {
                    return;
                }
                Mend::Swap(vec![(w, v, v & !(u32::MAX as u64))])
            }
            From::Entry(w) => Mend::Swap32(w, seen, 0),
        };
        out.push(
            Flaw::damage("ledger", i, seen as u64, format!("the ledger of cell {i} {why}"))
                .of(view.name(i))
                .mend("it ends there; what was behind is put back", mend),
        );
        return;
    }
}

/// The entries of a semaphore, without a word about how sound their chain is.
fn entries<'a>(view: &View<'a>, i: u32, cell: &'a Cell) -> Vec<(u32, &'a Entry)> {
    let mut found = Vec::new();
    let mut at = view.cold(i).map_or(0, |c| c.ledger.load(Acquire) as u32);
    while let Some(e) = at.checked_sub(1).and_then(|n| view.entry(n)) {
        if found.len() > view.map.entries() as usize {
            break;
        }
        if is_of(view, i, cell, e) {
            found.push((at - 1, e));
        }
        at = e.next.load(Acquire);
    }
    found
}

/// A living process that holds permits of a semaphore.
pub fn living_holder(view: &View<'_>, i: u32, cell: &Cell) -> Option<Owner> {
    if !inspect::has_count(cell) {
        return None;
    }
    let w = Count(cell.claim.load(Acquire));
    let holds = |n: u32, e: &Entry| count::held(w, n, Op(e.op.load(Acquire))) > 0;
    let owner = |e: &Entry| Owner::from_bits((e.who.load(Acquire) >> 32) as u32).filter(|o| view.is_alive(*o));
    (0..view.map.entries())
        .filter_map(|n| Some((n, view.entry(n)?)))
        .filter(|(n, e)| is_of(view, i, cell, e) && holds(*n, e))
        .find_map(|(_, e)| owner(e))
}

/// What is held and what is free is what there is.
fn permits<'a>(view: &View<'a>, i: u32, cell: &'a Cell, out: &mut Vec<Flaw<'a>>) {
    let Some(cold) = view.cold(i) else { return };
    for _ in 0..50 {
        let w = Count(cell.claim.load(Acquire));
        let all = entries(view, i, cell);
        let mut bounds = cold.bounds.load(Acquire);
        let stored = bounds;
        let mut held = 0u64;
        for (n, e) in &all {
            let (op, arg) = (Op(e.op.load(Acquire)), e.arg.load(Acquire));
            held += count::held(w, *n, op) as u64;
            bounds = count::bounds_with(w, bounds, *n, op, arg).bits();
        }
        let stable = cold.bounds.load(Acquire) == stored && cell.claim.load(Acquire) == w.0;
        if !stable || !matches!(Word(cell.word.load(Acquire)).state(), State::Free) {
            continue;
        }
        let b = Bounds::read(bounds);
        let name = view.name(i);
        let pool = !inspect::is_credit(cell);
        if b.limit == 0 || b.limit > MAX_PERMITS || b.total > b.limit || pool && b.total != b.limit {
            // Of a pool the total is the limit; whichever of the two can be is right, the limit first.
            let known = [b.limit, b.total].into_iter().find(|n| (1..=MAX_PERMITS).contains(n) && *n as u64 >= held);
            let limit = known.unwrap_or((held as u32 + w.free().max(0) as u32).clamp(1, MAX_PERMITS));
            let total = if pool { limit } else { (held as i64 + w.free() as i64).clamp(0, limit as i64) as u32 };
            let right = b.changed(limit, total).bits();
            out.push(
                Flaw::damage("cold", i, bounds, format!("a limit of {} and {} permits in all cannot be", b.limit, b.total))
                    .of(name)
                    .mend(
                        format!("the limit is {limit}, with {total} permits: `xsem resize` changes it"),
                        Mend::Swap(vec![(&cold.bounds, stored, right)]),
                    ),
            );
        } else if held as i64 + w.free() as i64 != b.total as i64 {
            let free = (b.total as i64 - held as i64).clamp(-65_535, 65_535) as i32;
            out.push(
                Flaw::damage(
                    "cells",
                    i,
                    w.0,
                    format!("{held} permits are held and {} are free, of {} in all", w.free(), b.total),
                )
                .of(name)
                .expected(format!("{free} free"))
                .mend(
                    "what is free is counted again from the claims",
                    Mend::Recount { cell: i, seen: w.0, to: w.recounted(free).0 },
                ),
            );
        }
        return;
    }
}

/// An event's word is one of those that it can have.
fn event<'a>(view: &View<'a>, i: u32, cell: &'a Cell, out: &mut Vec<Flaw<'a>>) {
    let auto = inspect::is_auto(cell);
    let w = Count(cell.claim.load(Acquire));
    if (0..=if auto { 1 } else { 0xffff }).contains(&w.free()) {
        return;
    }
    // It may be the word of another life.
    if !matches!(Word(cell.word.load(Acquire)).state(), State::Free) || cell.claim.load(Acquire) != w.0 {
        return;
    }
    let to = w.recounted(0);
    out.push(
        Flaw::damage("cells", i, w.0, format!("an event cannot be {w:?}"))
            .of(view.name(i))
            .mend("it is reset: signal it again if it was signalled", Mend::Recount { cell: i, seen: w.0, to: to.0 }),
    );
}

/// One entry, and whether its ledger leads to it.
fn entry<'a>(view: &View<'a>, i: u32, e: &'a Entry, reached: bool, out: &mut Vec<Flaw<'a>>) {
    let (who, meant, op) = (e.who.load(Acquire), e.target.load(Acquire), Op(e.op.load(Acquire)));
    let owner = Owner::from_bits((who >> 32) as u32);
    let cell = (meant as u32).checked_sub(1).and_then(|c| view.cell(c).map(|cell| (c, cell)));
    let lives = cell.filter(|(c, cell)| {
        is_of(view, *c, cell, e)
            && matches!(Word(cell.word.load(Acquire)).state(), State::Free | State::Owned(_) | State::Tentative(_) | State::Moved)
    });
    if who >> 32 != 0 && owner.is_none_or(|o| o.slot() >= view.map.slots()) {
        out.push(
            Flaw::damage("ledger", i, who, "an entry of a member that cannot be")
                .of(lives.and_then(|(c, _)| view.name(c)))
                .mend("what it held is given back", Mend::FreeEntry { entry: i, who, target: meant }),
        );
        return;
    }
    if op.permits() > MAX_PERMITS
        || op.rest() > MAX_PERMITS
        || matches!(op.doing(), Doing::Idle | Doing::User) && op.permits() + op.rest() > 0
    {
        out.push(
            Flaw::damage("ledger", i, op.0, format!("an entry says {op:?}, which cannot be"))
                .of(lives.and_then(|(c, _)| view.name(c)))
                .mend(
                    "it holds nothing; what is free is counted again",
                    Mend::Swap(vec![(&e.op, op.0, op.aside(Doing::Idle).0)]),
                ),
        );
        return;
    }
    if reached || who == 0 && meant == 0 {
        return;
    }
    let gone = owner.is_some_and(|o| view.is_gone(o));
    let unchanged = || e.who.load(Acquire) == who && e.target.load(Acquire) == meant;
    match lives {
        // Once linked, always linked: it has had an operation, or was given back.
        Some((c, cell)) if op.doing() != Doing::Idle || who == 0 || gone => {
            let there = entries(view, c, cell).iter().any(|(n, _)| *n == i);
            if !there && unchanged() {
                let holds = count::held(Count(cell.claim.load(Acquire)), i, op) > 0 && inspect::has_count(cell);
                let text = if holds { "a claim is in no ledger" } else { "an entry is in no ledger" };
                let flaw = if holds { Flaw::damage("ledger", i, op.0, text) } else { Flaw::leak("ledger", i, op.0, text) };
                out.push(flaw.of(view.name(c)).mend("it is put back", Mend::Entry { entry: i, cell: c }));
            }
        }
        Some(_) => {}
        None if (gone || who == 0) && unchanged() => out.push(
            Flaw::leak("ledger", i, who ^ meant, "an entry is in no ledger, and who took it has died")
                .mend("its room is free again", Mend::FreeEntry { entry: i, who, target: meant }),
        ),
        None => {}
    }
}
