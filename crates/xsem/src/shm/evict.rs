//! Eviction: a person ends the claim of an owner that hangs, and that lives.
//!
//! Permits are given back through their entry, as those of the dead are: whatever the owner does later, it finds by a
//! compare-and-swap that the claim is over.
//!
//! The owner of an exclusive semaphore writes beside the word without looking (that is what makes it fast), and may do so
//! at any later time. So the semaphore goes on in another cell: a successor is made ready, and one compare-and-swap of the
//! word, OWNED by that owner to MOVED, makes everybody go there. The old cell stays the one to which the name leads, until
//! it is removed; then it is kept out of use until the evicted process has ended.

use super::arena::Arena;
use super::inspect;
use super::layout::Cell;
use super::ledger;
use super::members::Life;
use super::names;
use super::obituary::{self, Facts};
use super::object::ShmExclusive;
use super::word::{CLOSING, DRAINED, INHERITED, MARK, Owner, State, Word};
use crate::claim::Cause;
use crate::deadline::now_coarse;
use crate::engine::Spec;
use crate::error::{Code, Error, Result};
use crate::sync::Ordering::*;

/// Where a moved semaphore goes on: cell and generation.
pub fn successor(arena: &Arena, index: u32) -> Option<(u32, u32)> {
    let at = arena.map.cold(index)?.bounds.load(Acquire);
    Some(((at as u32).checked_sub(1)?, (at >> 32) as u32))
}

/// Whether a moved semaphore has been removed where it had gone to.
pub fn is_gone(arena: &Arena, index: u32) -> bool {
    let mut at = index;
    for _ in 0..arena.map.geo.max_semaphores {
        let Some((next, generation)) = successor(arena, at) else { return true };
        let Some(cell) = arena.map.cell(next) else { return true };
        if ledger::generation_of(cell) != generation {
            return true;
        }
        match Word(cell.word.load(Acquire)).state() {
            State::Moved => at = next,
            State::Removed | State::Empty => return true,
            _ => return false,
        }
    }
    true
}

/// Whether an evicted process may still write to a cell that is otherwise done with.
pub fn is_quarantined(arena: &Arena, index: u32) -> bool {
    let exclusive = arena.map.cell(index).is_some_and(|c| c.kind.load(Relaxed) & 0xff == inspect::EXCLUSIVE);
    let evicted = arena.map.cold(index).map_or(0, |c| (c.ledger.load(Acquire) >> 32) as u32);
    let Some(owner) = Owner::from_bits(evicted).filter(|_| exclusive) else { return false };
    match arena.members.life(&arena.map, owner) {
        Life::Alive => true,
        Life::Dead => !arena.members.gate_is_open(&arena.map, owner.slot()),
        Life::Gone => false,
    }
}

/// Ends the claim with this token.
pub fn evict(sem: &ShmExclusive, me: Owner, token: u64) -> Result<()> {
    let done = if sem.is_exclusive() { evict_owner(sem, me, token)? } else { evict_holder(sem, token) };
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
    book.end_of(i, e, owner, Cause::Evicted, || e.who.load(Acquire) == who && e.token.load(Acquire) == token);
    true
}

fn evict_owner(sem: &ShmExclusive, me: Owner, token: u64) -> Result<bool> {
    let (arena, cell) = (sem.arena, sem.cell());
    loop {
        let word = sem.load();
        let State::Owned(owner) = word.state() else { return Ok(false) };
        let booked = (cell.claim.load(Acquire) >> 32) as u32 == owner.bits() || word.has(INHERITED);
        if word.generation() != sem.generation || cell.token.load(Acquire) != token || !booked {
            return Ok(false);
        }
        if word.has(CLOSING) {
            // It is just being released.
            std::thread::yield_now();
            continue;
        }
        let (index, next) = make_ready(sem, me, owner, word, token)?;
        let cold = arena.map.ensure_cold(sem.index)?;
        cold.bounds.store((next.generation() as u64) << 32 | (index as u64 + 1), Release);
        let mut users = cold.ledger.load(Acquire);
        while let Err(now) =
            cold.ledger.compare_exchange(users, users & u32::MAX as u64 | (owner.bits() as u64) << 32, AcqRel, Acquire)
        {
            users = now;
        }
        if cell.word.compare_exchange(word.0, Word::moved(word.generation()).0, AcqRel, Relaxed).is_ok() {
            super::futex::wake_all(super::futex::low(&cell.word));
            return Ok(true);
        }
        names::dismantle(arena, index, next);
    }
}

/// A successor, as the next owner shall find it: free, marked, with what is known of the deaths.
fn make_ready(sem: &ShmExclusive, me: Owner, owner: Owner, word: Word, token: u64) -> Result<(u32, Word)> {
    let arena = sem.arena;
    let hash = sem.cell().hash.load(Relaxed);
    let (index, cell, generation) = names::build(arena, me, hash, sem.name(), &Spec::exclusive())?;
    inspect::make_successor(cell);
    // One more than the owner may come to, should it just be writing down its claim.
    cell.token.store(token + 1, Relaxed);
    cell.since.store(now_coarse(), Relaxed);
    let prepared = prepare(sem, cell, index, generation, owner, token);
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

fn prepare(sem: &ShmExclusive, _cell: &Cell, index: u32, generation: u32, owner: Owner, token: u64) -> Result<()> {
    let arena = sem.arena;
    obituary::carry(arena, sem.index, index)?;
    let facts = Facts::of_owner(arena, sem.index, (token, token));
    obituary::publish(arena, (index, generation), owner, facts, Cause::Evicted, || true);
    let to = arena.map.ensure_cold(index)?;
    if let Some(from) = arena.map.cold(sem.index) {
        to.contended.store(from.contended.load(Relaxed), Relaxed);
        to.timed_out.store(from.timed_out.load(Relaxed), Relaxed);
        to.longest.store(from.longest.load(Relaxed), Relaxed);
        to.drain.store(from.drain.load(Relaxed), Relaxed);
    }
    Ok(())
}
