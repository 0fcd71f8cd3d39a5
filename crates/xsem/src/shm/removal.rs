//! Taking a name away: the instant from which it is gone, and what is left to do then.

use super::arena::Arena;
use super::count::{self, CLOSED, PENDING};
use super::evict;
use super::names;
use super::object::ShmExclusive;
use super::word::{State, Word};
use crate::error::Result;
use crate::sync::Ordering::*;

/// Closes a counting semaphore of which nobody holds anything: from then on nothing is granted, and its name may go. True
/// also where somebody else has closed it. Claims of the dead are ended first.
pub fn close(sem: &ShmExclusive) -> bool {
    let (book, words) = (sem.book(), sem.book().words());
    book.reclaim();
    loop {
        let w = book.settled();
        if words.is_gone() || w.has(CLOSED) {
            return true;
        }
        if w.has(PENDING) {
            count::Ledger::wake_pending(&book, words.count.count);
            continue;
        }
        let bounds = count::Bounds::read(words.count.bounds.load(Acquire));
        if words.count.load() != w {
            continue;
        }
        if w.free() != bounds.total as i32 {
            return false;
        }
        if words.count.swap(w, w.with_flags(w.flags() | CLOSED)) {
            super::futex::wake_all(super::futex::low(words.count.count));
            return true;
        }
    }
}

/// Takes the name of a semaphore away that was seen FREE; false: it changed.
pub fn take(sem: &ShmExclusive, word: Word) -> Result<bool> {
    names::remove(sem.arena, sem.index, word)
}

/// Where the semaphore had moved: the cells that led to it go, too.
pub fn finish(arena: &'static Arena, home: u32) -> Result<()> {
    let mut at = home;
    for _ in 0..arena.map.geo.max_semaphores {
        let Some(cell) = arena.map.cell(at) else { break };
        let word = Word(cell.word.load(Acquire));
        let next = evict::successor(arena, at).filter(|_| word.state() == State::Moved);
        match next {
            Some((next, _)) => {
                let removed = Word::removed(word.generation());
                if evict::is_gone(arena, at) && cell.word.compare_exchange(word.0, removed.0, AcqRel, Relaxed).is_ok() {
                    // The name's own cell is unlinked by a walk over its chain; the others nothing leads to any more.
                    if at == home {
                        names::unlink(arena, at)?;
                    } else {
                        names::dismantle(arena, at, removed);
                    }
                }
                at = next;
            }
            None => {
                if at != home && word.state() == State::Removed {
                    names::dismantle(arena, at, word);
                }
                break;
            }
        }
    }
    Ok(())
}
