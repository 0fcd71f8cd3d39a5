//! Releases that were prepared, and that anybody in this process may spend, in a signal handler, too.
//!
//! All that may allocate, take a lock or look around is done when it is prepared: whoever shares the claim has been looked
//! for, nobody may join any more (CLOSING), and the claim is the process's (claimant 0) and not the thread's. What is left
//! is a compare-and-swap or two, and a wake.

use super::arena::Arena;
use super::count::{self, Doing, Op};
use super::counting::ShmCounting;
use super::disowned::{Claimed, Found};
use super::futex;
use super::history::{self, Note, What};
use super::layout::{Cell, Entry};
use super::ledger::Book;
use super::object::{ShmExclusive, key};
use super::protocol::{self, Preparing, Words};
use super::put_back;
use super::thread;
use super::word::{Owner, WAITERS, Word};
use super::world::ShmWorld;
use crate::deadline::now;
use crate::engine::{Claim, Prepared};
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::sync::{AtomicU64, Ordering::*};

/// A claim on an exclusive semaphore.
struct Exclusive {
    arena: &'static Arena,
    cell: &'static Cell,
    index: u32,
    generation: u32,
    me: Owner,
    token: u64,
    name: Name,
}

/// Permits of a counting one.
struct Permits {
    book: Book,
    me: Owner,
    entry: u32,
    at: &'static Entry,
    token: u64,
    name: Name,
}

/// Prepares the end of a claim. 288; 1 where it cannot be prepared.
pub fn exclusive(sem: &ShmExclusive, claim: &Claim) -> Result<Box<dyn Prepared>> {
    let sem = sem.current();
    let cannot = |why: &str| {
        Err(Error::new(Code::InvalidFunction, format!("the release of this claim on `{}` cannot be prepared: {why}", sem.name()))
            .of(sem.name().as_str())
            .advice("prepare the release of a claim that is neither nested nor shared"))
    };
    let Some(me) = sem.arena.me().filter(|me| me.bits() as u64 == claim.key >> 32) else { return Err(sem.not_owner()) };
    let Some(depth) = sem.depth(me, claim) else {
        let shared = sem.arena.members.shares(&sem.arena.map, me, sem.target(), claim.token);
        return if shared { cannot("it is shared with another process") } else { Err(sem.not_owner()) };
    };
    let cell = sem.cell();
    if depth != 0 {
        return cannot("it is nested");
    }
    match protocol::prepare(&ShmWorld::new(sem, me, None), &sem.words(), me) {
        Preparing::Done => {}
        Preparing::Shared => return cannot("it is shared with another process"),
        Preparing::NotOwner => return Err(sem.not_owner()),
    }
    // Nobody nests in it any more, and it does not end with its thread.
    cell.claim.store(key(me.bits(), 0), Release);
    let (arena, index, generation) = (sem.arena, sem.index, sem.generation);
    let (token, name) = (claim.token, sem.name().clone());
    Ok(Box::new(Exclusive { arena, cell, index, generation, me, token, name }))
}

impl Prepared for Exclusive {
    fn spend(&self) -> bool {
        // In a forked child it is its parent's.
        if self.arena.me() != Some(self.me) {
            return false;
        }
        let word = Word(self.cell.word.load(Acquire));
        let mine = word.generation() == self.generation
            && word.owner() == Some(self.me)
            && self.cell.token.load(Acquire) == self.token
            && self.cell.claim.load(Acquire) == key(self.me.bits(), 0);
        if !mine {
            let (generation, me, token) = (self.generation, self.me, self.token);
            let claimed = Claimed { generation, me, key: key(me.bits(), 0), token };
            // Given back by a repair in this instant, or not the caller's any more.
            return put_back::give_up(self.arena, self.cell, &claimed) == Found::Back && self.spend();
        }
        if word.has(WAITERS)
            && let Some(cold) = self.arena.map.cold(self.index)
        {
            cold.longest.fetch_max(now().saturating_sub(self.cell.since.load(Relaxed)), Relaxed);
        }
        let words = Words { word: &self.cell.word, oldest: &self.cell.oldest, generation: self.generation };
        let times = self.arena.is_recorded().then(|| (now(), self.cell.since.load(Relaxed)));
        let done = protocol::release_prepared(self, &words, self.me);
        if let Some(times) = times.filter(|_| done) {
            released(self.arena, &self.name, self.token, times, 1);
        }
        done
    }
}

/// Writes the release down. Async-signal-safe.
fn released(arena: &Arena, name: &Name, token: u64, (at, since): (u64, u64), permits: u32) {
    let took = at.saturating_sub(since).max(1);
    history::note(arena, &Note { at, token, took, permits, ..Note::named(name.as_str(), What::RELEASED) });
}

impl protocol::Ends for Exclusive {
    fn unbook(&self) {
        self.cell.claim.store(0, Relaxed);
    }

    fn set_low_and_wake_all(&self, word: &AtomicU64, low: u32) {
        futex::set_low_and_wake_all(word, low);
    }
}

/// The same for permits.
pub fn permits(sem: &ShmCounting, claim: &Claim) -> Result<Box<dyn Prepared>> {
    let Some((me, entry, at, _)) = sem.held(claim) else { return Err(sem.base.not_owner()) };
    // It does not end with its thread.
    at.who.store((me.bits() as u64) << 32, Release);
    if claim.key as u32 != 0 && claim.key as u32 == thread::claimant() {
        thread::give_one_back();
    }
    let (token, name) = (claim.token, sem.base.name().clone());
    Ok(Box::new(Permits { book: sem.base.book(), me, entry, at, token, name }))
}

impl Permits {
    fn is_mine(&self) -> bool {
        self.book.arena.me() == Some(self.me)
            && self.at.who.load(Acquire) == (self.me.bits() as u64) << 32
            && self.at.token.load(Acquire) == self.token
            && self.at.target.load(Acquire) == super::waiters::target(self.book.index, self.book.generation)
    }
}

impl Prepared for Permits {
    fn spend(&self) -> bool {
        if !self.is_mine() {
            return false;
        }
        let words = self.book.words();
        let op = Op(self.at.op.load(Acquire));
        if op.doing() != Doing::Held {
            return false;
        }
        if words.count.load().has(count::WAITERS)
            && let Some(cold) = self.book.arena.map.cold(self.book.index)
        {
            cold.longest.fetch_max(now().saturating_sub(self.at.since.load(Relaxed)), Relaxed);
        }
        let giving = op.next(Doing::Giving, op.permits(), 0);
        // By compare-and-swap: somebody may be evicting it.
        if self.at.op.compare_exchange(op.0, giving.0, AcqRel, Relaxed).is_err() {
            return false;
        }
        let times = self.book.arena.is_recorded().then(|| (now(), self.at.since.load(Relaxed)));
        count::give(&words.count, &self.book, self.entry, giving, || words.is_reserved());
        if let Some(times) = times {
            released(self.book.arena, &self.name, self.token, times, op.permits());
        }
        true
    }
}

impl Drop for Permits {
    /// At normal time: the entry goes to others.
    fn drop(&mut self) {
        if !self.is_mine() {
            return;
        }
        self.book.settled();
        // Spent, or ended from outside.
        if Op(self.at.op.load(Acquire)).doing() == Doing::Idle {
            self.at.token.store(0, Relaxed);
            self.book.give_entry(self.entry);
        }
    }
}

impl std::fmt::Debug for Exclusive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exclusive").field("token", &self.token).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Permits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permits").field("token", &self.token).finish_non_exhaustive()
    }
}
