//! Looking without touching: holders, waiters, reports, the audit.

use super::arena::Arena;
use super::layout::Cell;
use super::members::{Life, is_alive};
use super::names;
use super::obituary;
use super::waiters::{self, target};
use super::word::{INHERITED, JOINED, MARK, Owner, State, WAITERS, Word};
use crate::claim::{Counters, Holder, Kind, Report, Summary, Waiter};
use crate::deadline::now;
use crate::sync::Ordering::*;
use std::time::Duration;

/// The kinds as the file numbers them.
pub const EXCLUSIVE: u32 = 1;

/// The kind of a cell.
pub fn kind_of(cell: &Cell) -> Option<Kind> {
    match cell.kind.load(Relaxed) & 0xff {
        EXCLUSIVE => Some(Kind::Exclusive),
        2 => Some(Kind::Counting),
        3 => Some(Kind::Event),
        _ => None,
    }
}

/// What the words around one claim said at one instant.
struct Seen {
    word: Word,
    owner: Option<Owner>,
    claimant: u32,
    token: u64,
    since: Option<u64>,
    depth: u32,
}

fn look(cell: &Cell) -> Seen {
    let mut tries = 0;
    loop {
        let word = Word(cell.word.load(Acquire));
        let claim = cell.claim.load(Acquire);
        let (token, since, depth) = (cell.token.load(Relaxed), cell.since.load(Relaxed), cell.depth.load(Relaxed));
        crate::sync::fence(Acquire);
        tries += 1;
        let stable = Word(cell.word.load(Relaxed)) == word && cell.claim.load(Relaxed) == claim;
        if !stable && tries < 100 {
            continue;
        }
        let owner = word.owner();
        let booked = owner.is_some_and(|o| o.bits() == (claim >> 32) as u32);
        // An heir of a shared claim did not acquire it itself: the claim goes on since its beginning.
        let inherited = word.has(INHERITED);
        return Seen {
            word,
            owner,
            claimant: if booked { claim as u32 } else { 0 },
            token,
            since: (booked || inherited).then_some(since),
            depth,
        };
    }
}

fn since(t: u64) -> Duration {
    Duration::from_nanos(now().saturating_sub(t))
}

fn holder(arena: &Arena, index: u32, seen: &Seen, with_sharers: bool) -> Option<Holder> {
    let owner = seen.owner?;
    let m = &arena.members;
    let sharers = match with_sharers || seen.word.has(JOINED) {
        true => m.joiners(&arena.map, target(index, seen.word.generation()), seen.token, owner),
        false => Vec::new(),
    };
    let process = m.process(&arena.map, owner);
    Some(Holder {
        claimant: seen.claimant,
        label: obituary::label(arena, index, seen.token),
        held_for: seen.since.map(since),
        token: seen.token,
        depth: seen.depth.saturating_add(1),
        covers: m.covered(&arena.map, owner),
        shared_with: sharers.into_iter().map(|o| m.process(&arena.map, o)).collect(),
        process,
    })
}

/// Who holds a semaphore now.
pub fn holders(arena: &Arena, index: u32) -> Vec<Holder> {
    arena.map.cell(index).and_then(|c| holder(arena, index, &look(c), true)).into_iter().collect()
}

/// Who waits for a semaphore, oldest first, with the time of its beginning; without the record `except`.
pub fn waiters_of(arena: &Arena, index: u32, generation: u32, except: Option<u32>) -> Vec<(u64, Waiter)> {
    let (map, wanted) = (&arena.map, target(index, generation));
    let mut found = Vec::new();
    for slot in 0..map.slots() {
        if !map.row(slot).is_some_and(|r| is_alive(r[0].load(Acquire))) {
            continue;
        }
        for (i, w) in waiters::of_slot(map, slot) {
            if w.target.load(SeqCst) != wanted || Some(i) == except {
                continue;
            }
            let who = w.who.load(Relaxed);
            let Some(owner) = Owner::from_bits((who >> 32) as u32) else { continue };
            let began = w.since.load(Relaxed);
            if arena.members.life(map, owner) == Life::Alive && w.target.load(Acquire) == wanted {
                found.push((
                    began,
                    Waiter {
                        process: arena.members.process(map, owner),
                        claimant: who as u32,
                        waiting_for: since(began),
                        permits: w.permits.load(Relaxed),
                        has_deadline: w.flags.load(Relaxed) & 1 != 0,
                    },
                ));
            }
        }
    }
    found.sort_by_key(|(began, _)| *began);
    found
}

/// All about one semaphore.
pub fn report(arena: &Arena, index: u32, name: &str) -> Option<Report> {
    let cell = arena.map.cell(index)?;
    let seen = look(cell);
    let cold = arena.map.cold(index);
    let read = |f: fn(&super::layout::Cold) -> &crate::sync::AtomicU64| cold.map_or(0, |c| f(c).load(Relaxed));
    let (deaths, total) = obituary::read(arena, index);
    Some(Report {
        name: name.to_owned(),
        kind: kind_of(cell)?,
        holders: holder(arena, index, &seen, true).into_iter().collect(),
        waiters: waiters_of(arena, index, seen.word.generation(), None).into_iter().map(|(_, w)| w).collect(),
        marked: seen.word.has(MARK),
        deaths: deaths.filter(|_| seen.word.has(MARK)),
        counters: Counters {
            acquired: seen.token,
            contended: read(|c| &c.contended),
            timed_out: read(|c| &c.timed_out),
            deaths: total,
            longest_contended_hold: Duration::from_nanos(read(|c| &c.longest)),
        },
    })
}

/// A line of a listing; None for a cell without a semaphore.
pub fn summary(arena: &Arena, index: u32) -> Option<Summary> {
    let cell = arena.map.cell(index)?;
    let seen = look(cell);
    if !matches!(seen.word.state(), State::Free | State::Owned(_)) {
        return None;
    }
    Some(Summary {
        name: names::name_of(arena, index, seen.word.generation())?,
        kind: kind_of(cell)?,
        holders: holder(arena, index, &seen, false).into_iter().collect(),
        marked: seen.word.has(MARK),
        // The flag stays until the next release; whether somebody is still there, the records say.
        contended: seen.word.has(WAITERS) && !waiters_of(arena, index, seen.word.generation(), None).is_empty(),
        acquired: seen.token,
    })
}

/// Every violated invariant of the file, a line each. Meant for a moment at which nobody changes names.
pub fn audit(arena: &Arena) -> Vec<String> {
    let map = &arena.map;
    let mut bad = Vec::new();
    let mut linked = vec![false; map.cells() as usize];
    for b in 0..map.geo.buckets {
        if map.bucket(b).is_none() {
            continue;
        }
        let Some(chain) = names::chain(arena, b) else {
            bad.push(format!("the chain of bucket {b} leads nowhere or runs in a circle"));
            continue;
        };
        for (i, word, next) in chain {
            // Cells that were added since are not judged.
            let Some(seen) = linked.get_mut(i as usize) else { continue };
            if std::mem::replace(seen, true) {
                bad.push(format!("cell {i} is linked twice"));
            }
            if next >> 33 != word.generation() as u64 & 0x7fff_ffff {
                bad.push(format!("cell {i}: {word:?}, but its link is of another life"));
            }
            let hash = map.cell(i).map_or(0, |c| c.hash.load(Relaxed));
            if hash & (map.geo.buckets - 1) != b {
                bad.push(format!("cell {i} is in bucket {b}, where its hash does not belong"));
            }
            if matches!(word.state(), State::Empty) {
                bad.push(format!("cell {i} is linked and empty"));
            }
        }
    }
    let mut seen_names = std::collections::HashSet::new();
    for (i, linked) in (0..).zip(linked) {
        let Some(cell) = map.cell(i) else { continue };
        let word = Word(cell.word.load(Acquire));
        match word.state() {
            State::Free | State::Owned(_) => {
                match names::name_of(arena, i, word.generation()) {
                    None => bad.push(format!("cell {i}: its name cannot be read")),
                    Some(n) if names::hash_of(&n) != cell.hash.load(Relaxed) => {
                        bad.push(format!("cell {i}: wrong hash of `{n}`"))
                    }
                    Some(n) if !seen_names.insert(n.clone()) => bad.push(format!("the name `{n}` is there twice")),
                    Some(_) => {}
                }
                if !linked {
                    bad.push(format!("cell {i}: {word:?}, but it is not linked"));
                }
                if kind_of(cell).is_none() {
                    bad.push(format!("cell {i} has no kind"));
                }
                if word.has(MARK) && map.cold(i).is_none_or(|c| c.obituary.load(Acquire) as u32 == 0) {
                    bad.push(format!("cell {i} is marked without an obituary"));
                }
            }
            State::Damaged => bad.push(format!("cell {i}: {word:?}")),
            State::Empty | State::Creating(_) | State::Removed => {}
        }
        if let State::Owned(o) | State::Creating(o) = word.state()
            && o.slot() >= map.slots()
        {
            bad.push(format!("cell {i} names slot {}, which does not exist", o.slot()));
        }
        let oldest = cell.oldest.load(Acquire);
        if oldest != 0 && (oldest as u32).checked_sub(1).and_then(|w| map.waiter(w)).is_none() {
            bad.push(format!("cell {i}: its oldest waiter does not exist"));
        }
    }
    for s in 0..map.slots() {
        let n = waiters::of_slot(map, s).count() as u32;
        if n >= map.geo.waiters {
            bad.push(format!("the wait records of slot {s} run in a circle"));
        }
        if map.slot(s).is_some_and(|x| x.stamp.load(Acquire) == 0) && map.row(s).is_some_and(|r| r[0].load(Acquire) as u32 == 0) {
            bad.push(format!("slot {s} is in use without ever having had a member"));
        }
    }
    bad
}
