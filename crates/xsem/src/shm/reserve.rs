//! Adding permits at interrupt time. What is done with an entry of the ledger needs one, and to take one may need memory,
//! or a lock of this process. So a handle to a credit keeps some for that purpose from its beginning.

use super::count::Bounds;
use super::counting::ShmCounting;
use super::inspect::is_credit;
use super::ledger::Book;
use super::permits;
use super::waiters::target;
use super::word::Owner;
use crate::code::Code;
use crate::engine::MAX_PERMITS;
use crate::error::{Error, Fixed, Result};
use crate::sync::{AtomicU64, Ordering::*};

/// How many of this process may be at it at one time, through one handle, before it takes a search.
const KEPT: usize = 4;

/// Entries at rest, each as `owner << 32 | index + 1`: so those of a forked child's parent are known for what they are.
#[derive(Default)]
pub struct Reserve([AtomicU64; KEPT]);

static STALE: Fixed =
    Fixed { code: Code::InvalidHandle, message: "the semaphore was removed; this handle is stale", advice: "open it again" };
static POOL: Fixed = Fixed {
    code: Code::InvalidFunction,
    message: "permits cannot be added to a pool",
    advice: "a pool has always as many permits as its limit: `xsem resize` changes that",
};
static TOO_MANY: Fixed = Fixed {
    code: Code::TooManyPosts,
    message: "so many more permits are above the limit",
    advice: "wait until some are used up, or raise the limit (`xsem resize`)",
};
static NO_ROOM: Fixed = Fixed {
    code: Code::TooManySemaphores,
    message: "too many are adding permits at this instant, at interrupt time",
    advice: "use a handle of its own for each thread that does so",
};
static NOT_A_MEMBER: Fixed = Fixed {
    code: Code::InvalidAtInterruptTime,
    message: "this process has not used the namespace in normal code yet, as a forked child has not",
    advice: "open the semaphore, or add permits once, in normal code",
};

impl Reserve {
    /// Fills it, at normal time; as far as that goes.
    pub fn fill(&self, book: &Book, me: Owner) {
        for place in &self.0 {
            let there = place.load(Acquire);
            if is_of(there, me) {
                continue;
            }
            let Ok(i) = book.take_entry(me, 0) else { return };
            if place.compare_exchange(there, kept(me, i), AcqRel, Relaxed).is_err() {
                book.give_entry(i);
            }
        }
    }

    /// Whether none of it is this process's: then it was filled by its parent, or not at all.
    pub fn is_empty(&self, me: Owner) -> bool {
        !self.0.iter().any(|p| is_of(p.load(Relaxed), me))
    }

    /// Gives all of it back, at normal time.
    pub fn empty(&self, book: &Book) {
        let Some(me) = book.arena.me() else { return };
        for place in &self.0 {
            let there = place.load(Acquire);
            if is_of(there, me) && place.compare_exchange(there, 0, AcqRel, Relaxed).is_ok() {
                book.give_entry((there as u32).wrapping_sub(1));
            }
        }
    }

    fn take(&self, me: Owner) -> Option<(&AtomicU64, u32)> {
        self.0.iter().find_map(|place| {
            let there = place.load(Acquire);
            let taken = is_of(there, me) && place.compare_exchange(there, 0, AcqRel, Relaxed).is_ok();
            taken.then(|| (place, (there as u32).wrapping_sub(1)))
        })
    }
}

fn kept(me: Owner, i: u32) -> u64 {
    (me.bits() as u64) << 32 | (i as u64 + 1)
}

fn is_of(there: u64, me: Owner) -> bool {
    there >> 32 == me.bits() as u64 && there as u32 != 0
}

/// Adds permits. No allocation, no lock, also for what it refuses.
pub fn add_permits(sem: &ShmCounting, n: u32) -> Result<()> {
    let (base, book) = (&sem.base, sem.base.book());
    if sem.gone() {
        return Err(Error::fixed(&STALE));
    }
    if !is_credit(base.cell()) {
        return Err(Error::fixed(&POOL));
    }
    let Some(me) = base.arena.me() else { return Err(Error::fixed(&NOT_A_MEMBER)) };
    let reserved = sem.reserve.take(me);
    let Some(i) = reserved.map(|(_, i)| i).or_else(|| book.vacant_entry(me, 0)) else { return Err(Error::fixed(&NO_ROOM)) };
    let done = match base.arena.map.entry(i) {
        Some(e) if e.target.load(Acquire) == target(base.index, base.generation) => {
            permits::change(&book.words(), &book, i, |b: Bounds, _| match b.total.checked_add(n) {
                Some(total) if total <= b.limit && n <= MAX_PERMITS => Ok((b.changed(b.limit, total), n as i32)),
                _ => Err(&TOO_MANY),
            })
        }
        // It was removed since.
        _ => Ok(false),
    };
    match reserved {
        Some((place, i)) if place.compare_exchange(0, kept(me, i), AcqRel, Relaxed).is_ok() => {}
        // Without a label there is nothing to free.
        _ => book.give_entry(i),
    }
    match done {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::fixed(&STALE)),
        Err(fixed) => Err(Error::fixed(fixed)),
    }
}
