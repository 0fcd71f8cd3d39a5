//! The wait-for graph as the file shows it, for the search in `graph.rs` (1131).
//!
//! Every waiter has published its record before it looks, so of the waits that close a cycle the one that began last sees
//! all the others. What a process holds that runs a command (`xsem run`) ends when the command ends; who waits inside of
//! that command has said so ([`inside`]), and so the holder waits for it. What is found is read a second time: if nothing has changed, all of it was so at one instant, and since
//! those who wait do nothing, it stays so.

use super::arena::Arena;
use super::count::{Bounds, Doing, Op};
use super::inspect::{is_credit, kind_of};
use super::ledger::Book;
use super::members::{Life, is_alive};
use super::names;
use super::object::CLAIMANT_SHIFT;
use super::waiters::{self, ALL, ANY, DEADLINE, INCOMPLETE};
use super::word::{INHERITED, JOINED, Owner, State, Word};
use crate::claim::{Edge, Kind, Process};
use crate::graph::{self, Hold, Mode, Thing, Waiting, Want};
use crate::sync::Ordering::*;
use std::collections::{BTreeMap, BTreeSet};

/// A waiter searches again when it was woken and still has to wait, but not sooner than after so many nanoseconds: a cycle may
/// also close by permits that come back and are not enough.
pub const AGAIN: u64 = 2_000_000;

/// Says that `me` runs inside of the command of `holder`, which cannot end before.
pub fn inside(arena: &Arena, me: Owner, holder: Owner) {
    if let Some(s) = arena.map.slot(me.slot())
        && me != holder
    {
        s.inside.store((me.bits() as u64) << 32 | holder.bits() as u64, Release);
    }
}

/// Inside of whose command a member runs.
pub fn runs_inside(arena: &Arena, member: Owner) -> Option<Owner> {
    let v = arena.map.slot(member.slot())?.inside.load(Acquire);
    if (v >> 32) as u32 == member.bits() { Owner::from_bits(v as u32) } else { None }
}

/// The claimant that a holder is which waits for what runs inside of its command.
fn wrapper(owner: Owner) -> graph::Who {
    (owner.bits() as u64) << 32 | u32::MAX as u64
}

/// Who a claimant is for the search: what a claim word says. A claim of a process as a whole is nobody's.
fn who(word: u64) -> graph::Who {
    if word as u32 == 0 { 0 } else { word }
}

/// A claim word of an exclusive semaphore as wait records name claimants.
fn owner_of_claim(claim: u64) -> u64 {
    claim >> 32 << 32 | (claim as u32 >> CLAIMANT_SHIFT) as u64
}

/// The graph at one time.
struct Seen {
    waits: Vec<Waiting>,
    things: Vec<Thing>,
    /// Cell and generation of each thing.
    cells: Vec<(u32, u32)>,
    /// Every value that it was made from.
    prints: Vec<u64>,
}

/// What a search for the caller's cycle came to.
pub enum Closed {
    No,
    /// There seemed to be one, but others moved while it was read: to be looked for again soon.
    Unclear,
    /// Beginning with the caller's step.
    Cycle(Vec<Edge>),
}

/// The cycle that the wait of this claimant closes, if it is the youngest in it.
pub fn closed_by(arena: &'static Arena, me: Owner, claimant: u32) -> Closed {
    let me = (me.bits() as u64) << 32 | claimant as u64;
    for _ in 0..10 {
        let seen = collect(arena);
        let Some(cycle) = graph::cycle_of(me, &seen.waits, &seen.things) else { return Closed::No };
        if collect(arena).prints != seen.prints {
            continue;
        }
        if cycle.youngest == me {
            return Closed::Cycle(told(arena, &seen, &cycle));
        }
        // It may have closed by something else than the youngest wait: permits that came back and were not enough. Who
        // notices wakes the youngest, who then finds it.
        let youngest = seen.waits.iter().filter(|w| w.who == cycle.youngest).flat_map(|w| &w.wants);
        for want in youngest {
            let cell = seen.cells.get(want.thing).and_then(|(i, _)| arena.map.cell(*i));
            if let Some(cell) = cell {
                super::futex::wake_all(super::futex::low(&cell.word));
                super::futex::wake_all(super::futex::low(&cell.claim));
            }
        }
        return Closed::No;
    }
    Closed::Unclear
}

/// The cycle that a semaphore is part of.
pub fn through(arena: &'static Arena, index: u32, generation: u32) -> Vec<Edge> {
    let seen = collect(arena);
    let Some(thing) = seen.cells.iter().position(|c| *c == (index, generation)) else { return Vec::new() };
    let Some(cycle) = graph::cycle_through(thing, &seen.waits, &seen.things) else { return Vec::new() };
    if collect(arena).prints == seen.prints { told(arena, &seen, &cycle) } else { Vec::new() }
}

fn told(arena: &'static Arena, seen: &Seen, cycle: &graph::Cycle) -> Vec<Edge> {
    let process = |who: graph::Who| -> (Process, u32) {
        let owner = Owner::from_bits((who >> 32) as u32);
        let unknown = || Process::new(0, 0, "", crate::claim::ProcessState::Dead);
        (owner.map_or_else(unknown, |o| arena.members.process(&arena.map, o)), who as u32)
    };
    // That a wrapper waits for what runs inside of it is no step of its own for people: what the one waits for, the other
    // does.
    let step = |s: &graph::Step| {
        let &(index, generation) = seen.cells.get(s.thing)?;
        Some(Edge::new(process(s.who), names::name_of(arena, index, generation).unwrap_or_default(), process(s.holder)))
    };
    let mut edges: Vec<Edge> = cycle.steps.iter().filter_map(step).collect();
    for i in 1..edges.len() {
        (edges[i].waiter, edges[i].waiter_claimant) = (edges[i - 1].holder.clone(), edges[i - 1].holder_claimant);
    }
    if let Some(first) = edges.first().map(|e| (e.waiter.clone(), e.waiter_claimant))
        && let Some(last) = edges.last_mut()
    {
        (last.holder, last.holder_claimant) = first;
    }
    edges
}

fn collect(arena: &'static Arena) -> Seen {
    let map = &arena.map;
    let mut seen = Seen { waits: Vec::new(), things: Vec::new(), cells: Vec::new(), prints: Vec::new() };
    let mut groups: BTreeMap<u32, usize> = BTreeMap::new();
    let mut known: BTreeMap<u64, usize> = BTreeMap::new();
    let mut wrapped: BTreeMap<Owner, BTreeSet<graph::Who>> = BTreeMap::new();
    for slot in 0..map.slots() {
        if !map.row(slot).is_some_and(|r| is_alive(r[0].load(Acquire))) {
            continue;
        }
        for (i, w) in waiters::of_slot(map, slot) {
            let target = w.target.load(SeqCst);
            let flags = w.flags.load(Relaxed);
            let Some(index) = (target as u32).checked_sub(1) else { continue };
            let group = w.group.load(Relaxed);
            // Of a wait for any of several not all records may be there yet: its first one says so.
            let incomplete =
                group.checked_sub(1).and_then(|g| map.waiter(g)).is_none_or(|g| g.flags.load(Acquire) & INCOMPLETE != 0);
            if flags & DEADLINE != 0 || incomplete {
                continue;
            }
            let (claimant, since, permits) = (w.who.load(Relaxed), w.since.load(Relaxed), w.permits.load(Relaxed));
            seen.prints.extend([i as u64, target, claimant, since]);
            let thing = *known.entry(target).or_insert_with(|| {
                seen.cells.push((index, (target >> 32) as u32));
                seen.cells.len() - 1
            });
            let wait = *groups.entry(group).or_insert_with(|| {
                let mode = if flags & ANY != 0 { Mode::Any } else { Mode::All };
                seen.waits.push(Waiting { who: claimant, since, mode, wants: Vec::new() });
                seen.waits.len() - 1
            });
            debug_assert!(flags & (ANY | ALL) != ANY | ALL);
            seen.waits[wait].wants.push(Want { thing, permits });
            let mut inner = Owner::from_bits((claimant >> 32) as u32);
            // However deep: each wrapper waits for all that runs inside of it. A damaged file may go in a circle.
            while let Some(holder) = inner.and_then(|o| runs_inside(arena, o)) {
                seen.prints.push(holder.bits() as u64);
                if !wrapped.entry(holder).or_default().insert(claimant) {
                    break;
                }
                inner = Some(holder);
            }
        }
    }
    let mut limits = Vec::with_capacity(seen.cells.len());
    for k in 0..seen.cells.len() {
        let (index, generation) = seen.cells[k];
        let (mut thing, limit) = look(arena, index, generation, &mut seen.prints);
        limits.push(limit);
        for h in &mut thing.holds {
            if let Some(o) = Owner::from_bits((h.who >> 32) as u32).filter(|o| wrapped.contains_key(o)) {
                h.who = wrapper(o);
            }
        }
        seen.things.push(thing);
    }
    // A limit that was lowered under a waiter may be raised again, by anybody: nothing is known of such a wait's end.
    for want in seen.waits.iter_mut().flat_map(|w| &mut w.wants).filter(|w| w.permits > limits[w.thing]) {
        want.thing = usize::MAX;
    }
    // Who has just got what it waits for has not taken its records back yet.
    let exclusive = |k: usize| arena.map.cell(seen.cells[k].0).and_then(kind_of) == Some(Kind::Exclusive);
    let things = &seen.things;
    seen.waits.retain(|wait| {
        let has =
            |w: &Want| w.thing < things.len() && exclusive(w.thing) && things[w.thing].holds.iter().any(|h| h.who == wait.who);
        !wait.wants.iter().any(has)
    });
    for (holder, inside) in wrapped {
        let wants = inside.into_iter().map(|who| {
            seen.things.push(Thing { free: 0, holds: vec![Hold { who, permits: 1 }] });
            Want { thing: seen.things.len() - 1, permits: 1 }
        });
        let wants = wants.collect();
        seen.waits.push(Waiting { who: wrapper(holder), since: 0, mode: Mode::All, wants });
    }
    seen
}

/// A semaphore as the search sees it, and how many permits of it anybody can have.
fn look(arena: &'static Arena, index: u32, generation: u32, prints: &mut Vec<u64>) -> (Thing, u32) {
    let nothing = (Thing { free: graph::EVER_FREE, holds: Vec::new() }, u32::MAX);
    let Some(cell) = arena.map.cell(index) else { return nothing };
    if kind_of(cell) == Some(Kind::Counting) {
        let book = Book { arena, cell, index, generation };
        let word = book.settled();
        let words = book.words();
        prints.push(word.0);
        if is_credit(cell) || words.is_gone() {
            return nothing;
        }
        let limit = Bounds::read(words.count.bounds.load(Acquire)).limit;
        prints.push(limit as u64);
        let mut holds = Vec::new();
        for (_, e) in book.entries() {
            let (op, claim) = (Op(e.op.load(Acquire)), e.who.load(Acquire));
            prints.extend([op.0, claim]);
            let lives = super::ledger::owner_of(e).is_some_and(|o| arena.members.life(&arena.map, o) == Life::Alive);
            let permits = op.permits() + op.rest();
            match op.doing() {
                Doing::Held => holds.push(Hold { who: if lives { who(claim) } else { 0 }, permits }),
                Doing::Giving | Doing::Using => holds.push(Hold { who: 0, permits }),
                _ => {}
            }
        }
        return (Thing { free: word.free().into(), holds }, limit);
    }
    let word = Word(cell.word.load(Acquire));
    let claim = cell.claim.load(Acquire);
    prints.extend([word.0, claim, cell.token.load(Acquire)]);
    match word.state() {
        State::Owned(o) if word.generation() == generation => {
            // A shared claim others can end; one that is not written down is just being made, or given up.
            let alone = !word.has(JOINED) && !word.has(INHERITED) && (claim >> 32) as u32 == o.bits();
            let lives = arena.members.life(&arena.map, o) == Life::Alive;
            let who = if alone && lives { who(owner_of_claim(claim)) } else { 0 };
            (Thing { free: 0, holds: vec![Hold { who, permits: 1 }] }, u32::MAX)
        }
        _ => nothing,
    }
}
