//! Taking a name away: the instant from which it is gone, and what is left to do then.

use super::arena::Arena;
use super::chain::Circle;
use super::count::{self, CLOSED, PENDING, WAITERS};
use super::evict;
use super::inspect::{has_count, is_event, waiters_of};
use super::layout::Cell;
use super::names;
use super::object::ShmExclusive;
use super::word::{State, Word};
use crate::error::Result;
use crate::sync::Ordering::*;

/// How closing went.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    Done,
    /// By somebody else.
    Before,
    /// It is in use.
    Refused,
}

/// Closes an event, or a counting semaphore of which nobody holds anything: from then on nothing is granted, and its name may go. Claims
/// of the dead are ended first.
pub fn close(sem: &ShmExclusive) -> Closing {
    let (book, words) = (sem.book(), sem.book().words());
    book.reclaim();
    loop {
        let w = book.settled();
        if words.is_gone() || w.has(CLOSED) {
            return Closing::Before;
        }
        if w.has(PENDING) {
            count::Ledger::wake_pending(&book, words.count.count);
            continue;
        }
        // Who sleeps is entered as a waiter before it sets the flag. A flag that nobody stands behind any more is cleared, with
        // a wake-up: so it is not set when the name goes, and nobody is asleep then.
        if w.has(WAITERS) {
            if !waiters_of(sem.arena, sem.index, sem.generation, None).is_empty() {
                return Closing::Refused;
            }
            if words.count.swap(w, w.with_flags(w.flags() | PENDING)) {
                count::Ledger::wake_pending(&book, words.count.count);
            }
            continue;
        }
        let bounds = count::Bounds::read(words.count.bounds.load(Acquire));
        if words.count.load() != w {
            continue;
        }
        match is_event(sem.cell()) {
            // What a joint request that failed gives back must not reach the cell's next life. After the word was read: then
            // no other one has begun, if the swap below succeeds.
            true if book.give_outstanding() => continue,
            true => {}
            false if w.free() != bounds.total as i32 => return Closing::Refused,
            false => {}
        }
        if words.count.swap(w, w.with_flags(w.flags() | CLOSED)) {
            // For those who were about to sleep on what they saw before.
            super::futex::wake_all(super::futex::low(words.count.count));
            return Closing::Done;
        }
    }
}

/// Whether a cell is that of a counting semaphore whose removal has begun.
pub fn is_closed(cell: &Cell) -> bool {
    has_count(cell) && count::Count(cell.claim.load(Acquire)).has(CLOSED)
}

/// The cells through which a semaphore has moved, from that of its name to that where it is now.
pub fn path(arena: &Arena, home: u32) -> Vec<u32> {
    let (mut path, mut circle) = (vec![home], Circle::default());
    while let Some((next, _)) = evict::successor(arena, path[path.len() - 1]) {
        if circle.closes_at(next) {
            break;
        }
        path.push(next);
    }
    path
}

/// Where the semaphore had moved: the cells that led to it go, too.
pub fn finish(arena: &'static Arena, path: &[u32]) -> Result<()> {
    let Some((&home, others)) = path.split_first() else { return Ok(()) };
    let word = |i: u32| arena.map.cell(i).map(|c| (c, Word(c.word.load(Acquire))));
    for &i in path {
        if let Some((cell, w)) = word(i)
            && w.state() == State::Moved
        {
            let _ = cell.word.compare_exchange(w.0, evict::removed(w).0, AcqRel, Relaxed);
        }
    }
    // The name's own cell is unlinked by a walk over its chain; to the others nothing leads any more.
    names::unlink(arena, home)?;
    for &i in others {
        if let Some((_, w)) = word(i)
            && w.state() == State::Removed
        {
            names::dismantle(arena, i, w);
        }
    }
    Ok(())
}
