//! Eviction: a person ends the claim of an owner that hangs, and that lives.
//!
//! Permits are given back through their entry, as those of the dead are: whatever the owner does later, it finds by a
//! compare-and-swap that the claim is over.
//!
//! The owner of an exclusive semaphore writes beside the word without looking (that is what makes it fast), and may do so
//! at any later time. So the semaphore goes on in another cell: a successor is made ready, and one compare-and-swap of the
//! word, OWNED by that owner to MOVED there, makes everybody go there. Words are alike for all claims of one owner; so
//! JOINED is set first, without which the owner cannot release, and then the claim is looked at. The old cell stays the one
//! to which the name leads, until it is removed; then it is kept out of use until the evicted process has ended.

use super::arena::Arena;
use super::chain::Circle;
use super::count::{self, Doing, Op};
use super::inspect;
use super::layout::Cell;
use super::ledger;
use super::members::Life;
use super::names;
use super::obituary::{self, Facts};
use super::object::{Changed, ShmExclusive};
use super::word::{CLOSING, DRAINED, INHERITED, JOINED, MARK, Owner, RESERVED, State, WAITERS, Word};
use crate::claim::Cause;
use crate::deadline::{now, now_coarse};
use crate::engine::Spec;
use crate::error::{Code, Error, Result};
use crate::seeded::{Bug, seeded};
use crate::sync::Ordering::*;

/// How a successor names the cell that it continues.
fn predecessor(index: u32, generation: u32) -> u64 {
    super::waiters::target(index, generation)
}

/// Where a semaphore goes on whose word is MOVED: cell and generation. None: it was removed there.
pub fn successor(arena: &Arena, index: u32) -> Option<(u32, u32)> {
    let word = Word(arena.map.cell(index)?.word.load(Acquire));
    let to = word.moved_to()?;
    let cell = arena.map.cell(to)?;
    let generation = ledger::generation_of(cell);
    let is_its = inspect::is_successor(cell)
        && arena.map.cold(to)?.bounds.load(Acquire) == predecessor(index, word.generation())
        && !matches!(Word(cell.word.load(Acquire)).state(), State::Removed | State::Empty | State::Creating(_));
    // All that belonged to one life of it.
    (is_its && ledger::generation_of(cell) == generation).then_some((to, generation))
}

/// Whether a moved semaphore has been removed where it had gone to.
pub fn is_gone(arena: &Arena, index: u32) -> bool {
    let mut at = index;
    let mut circle = Circle::default();
    while !circle.closes_at(at) {
        let Some((next, _)) = successor(arena, at) else { return true };
        let moved = arena.map.cell(next).is_some_and(|c| Word(c.word.load(Acquire)).state() == State::Moved);
        if !moved {
            return false;
        }
        at = next;
    }
    true
}

/// The word of a moved cell that is removed: what was written beside it is its past owner's, see [`is_quarantined`].
pub fn removed(word: Word) -> Word {
    Word::removed(word.generation()).with(INHERITED)
}

/// Whether an evicted process may still write to a cell that is otherwise done with.
pub fn is_quarantined(arena: &Arena, index: u32) -> bool {
    let Some(cell) = arena.map.cell(index) else { return true };
    let word = Word(cell.word.load(Acquire));
    if word.state() != State::Removed || !word.has(INHERITED) {
        return false;
    }
    // Written after it was moved. If it is not there, who evicted has not come so far, or the evicted has written over it:
    // then the cell is lost.
    let Some(owner) = Owner::from_bits(cell.depth.load(Acquire)) else { return true };
    match arena.members.life(&arena.map, owner) {
        Life::Alive => true,
        Life::Dead => !arena.members.gate_is_open(&arena.map, owner.slot()),
        Life::Gone => false,
    }
}

/// The least that the token of a successor's claim must exceed: what the evicted owner may have come to.
pub fn least_token(sem: &ShmExclusive) -> u64 {
    let cold = sem.arena.map.cold(sem.index);
    let before = cold.filter(|_| inspect::is_successor(sem.cell())).map_or(0, |c| c.bounds.load(Acquire));
    let cell = (before as u32).checked_sub(1).and_then(|i| sem.arena.map.cell(i));
    // It may just be writing down a claim that is over.
    cell.map_or(0, |c| c.token.load(Acquire).wrapping_add(1))
}

/// Ends the claim with this token.
pub fn evict(sem: &ShmExclusive, me: Owner, token: u64) -> Result<()> {
    // 0: a claim that is just being written down.
    let done = token != 0 && if sem.is_exclusive() { evict_owner(sem, me, token)? } else { evict_holder(sem, token) };
    match done {
        true => {
            tracing::warn!(name = %sem.name(), token, "evicted a claim");
            Ok(())
        }
        false => Err(Error::new(Code::NotOwner, format!("nobody holds `{}` with the token {token} (any more)", sem.name()))
            .of(sem.name().as_str())
            .held_by(inspect::holders(sem.arena, sem.index))
            .advice(format!("`xsem show {}` tells who holds it, and the tokens", sem.name()))),
    }
}

fn evict_holder(sem: &ShmExclusive, token: u64) -> bool {
    let book = sem.book();
    book.settled();
    let Some((i, e, _)) = book.holds().find(|(_, e, _)| e.token.load(Acquire) == token) else { return false };
    let who = e.who.load(Acquire);
    let Some(owner) = ledger::owner_of(e) else { return false };
    let op = Op(e.op.load(Acquire));
    // Being given back or used up by its owner, who lives: then it is over in a moment.
    if op.doing() != Doing::Held || e.who.load(Acquire) != who || e.token.load(Acquire) != token {
        return false;
    }
    let facts = Facts { tokens: (token, token), since: e.since.load(Relaxed), label: book.label(e) };
    obituary::publish(sem.arena, (sem.index, sem.generation), owner, facts, Cause::Evicted, || e.op.load(Acquire) == op.0);
    let giving = op.next(Doing::Giving, op.permits(), 0);
    if e.op.compare_exchange(op.0, giving.0, AcqRel, Relaxed).is_err() {
        return seeded(Bug::EvictUnchecked);
    }
    let words = book.words();
    count::give(&words.count, &book, i, giving, || words.is_reserved());
    true
}

fn evict_owner(sem: &ShmExclusive, me: Owner, token: u64) -> Result<bool> {
    let (arena, cell) = (sem.arena, sem.cell());
    // By the clock: on a machine with much to do a single yield takes milliseconds.
    let patience = now() + 10_000_000;
    loop {
        let word = sem.load();
        let State::Owned(owner) = word.state() else { return Ok(false) };
        if word.generation() != sem.generation || cell.token.load(Acquire) != token {
            return Ok(false);
        }
        // Written down, although nobody may join it: its release was prepared.
        let prepared = word.has(CLOSING) && (cell.claim.load(Acquire) >> 32) as u32 == owner.bits();
        if word.has(CLOSING) && !prepared {
            // It is just being released; or its owner was stopped in the middle of that, and then it is over.
            if now() >= patience {
                return Ok(false);
            }
            std::thread::yield_now();
            continue;
        }
        let frozen = word.with(if prepared { INHERITED } else { JOINED });
        match sem.change(word, frozen) {
            Changed::Yes => {}
            Changed::Lost => continue,
            // As above.
            Changed::Unclear if now() >= patience => return Ok(false),
            Changed::Unclear => {
                std::thread::yield_now();
                continue;
            }
        }
        // As long as the word stays so, the owner has not released.
        let booked = (cell.claim.load(Acquire) >> 32) as u32 == owner.bits() || word.has(INHERITED) && !prepared;
        if cell.token.load(Acquire) != token || !booked {
            return Ok(false);
        }
        let (index, ready) = make_ready(sem, me, owner, frozen, token)?;
        if move_to(cell, frozen, Word::moved(word.generation(), index)) {
            cell.depth.store(owner.bits(), Release);
            return Ok(true);
        }
        names::dismantle(arena, index, ready);
    }
}

/// Moves a word that was frozen, if nothing but its waiters has changed since.
fn move_to(cell: &Cell, frozen: Word, moved: Word) -> bool {
    for attempt in 0..10 {
        let now = Word(cell.word.load(Acquire));
        if now.without(WAITERS | RESERVED) != frozen.without(WAITERS | RESERVED) {
            return false;
        }
        // So that nobody sleeps in the instant of the move, if it can be had: who evicts may be stopped right after it.
        let awake = now.without(WAITERS);
        if now != awake && attempt < 9 {
            if cell.word.compare_exchange(now.0, awake.0, AcqRel, Relaxed).is_err() {
                continue;
            }
            super::futex::wake_all(super::futex::low(&cell.word));
        }
        let from = if attempt < 9 { awake } else { now };
        if cell.word.compare_exchange(from.0, moved.0, AcqRel, Relaxed).is_ok() {
            super::futex::wake_all(super::futex::low(&cell.word));
            return true;
        }
    }
    false
}

/// A successor, as the next owner shall find it: free, marked, with what is known of the deaths.
fn make_ready(sem: &ShmExclusive, me: Owner, owner: Owner, word: Word, token: u64) -> Result<(u32, Word)> {
    let arena = sem.arena;
    let hash = sem.cell().hash.load(Relaxed);
    let (index, cell, generation) = names::build(arena, me, hash, sem.name(), &Spec::exclusive())?;
    inspect::make_successor(cell);
    cell.token.store(token, Relaxed);
    cell.since.store(now_coarse(), Relaxed);
    let prepared = prepare(sem, index, generation, owner, token);
    let free = Word::new(generation, MARK | word.flags() & DRAINED);
    // It is nobody's yet: the word of a cell that is being built is its builder's.
    cell.word.store(free.0, Release);
    match prepared {
        Ok(()) => Ok((index, free)),
        Err(e) => {
            names::dismantle(arena, index, free);
            Err(e)
        }
    }
}

fn prepare(sem: &ShmExclusive, index: u32, generation: u32, owner: Owner, token: u64) -> Result<()> {
    let arena = sem.arena;
    let to = arena.map.ensure_cold(index)?;
    to.bounds.store(predecessor(sem.index, sem.generation), Release);
    obituary::carry(arena, sem.index, index)?;
    let facts = Facts::of_owner(arena, sem.index, (token, token));
    obituary::publish(arena, (index, generation), owner, facts, Cause::Evicted, || true);
    if let Some(from) = arena.map.cold(sem.index) {
        to.contended.store(from.contended.load(Relaxed), Relaxed);
        to.timed_out.store(from.timed_out.load(Relaxed), Relaxed);
        to.longest.store(from.longest.load(Relaxed), Relaxed);
        to.drain.store(super::drain::carried(from.drain.load(Relaxed)), Relaxed);
    }
    Ok(())
}
