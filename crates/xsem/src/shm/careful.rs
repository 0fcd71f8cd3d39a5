//! Whether the owner of an exclusive semaphore may give it back by a plain store, and how others see to it that it does not.
//!
//! A locked instruction costs as much as all the rest of an acquire and release, and an acquire needs one. A release by a
//! plain store writes over whatever somebody else has just set in the word. So nobody sets anything in a word that another
//! one owns before the cell is known to be *careful*: then releases are made by a compare-and-swap, as if there were no other
//! way. Who wants to set something pays for that (with an interrupt of all processors that run members), not the release.
//!
//! # The release (`plain.rs`)
//! 1. `claim` = 0: the claim is not written down any more.
//! 2. Looks whether the cell is careful. Is it, then `claim` is written again, and the release is made the long way.
//! 3. The word = FREE.
//!
//! # Who makes a cell careful (`ask`)
//! 1. Sets ASKED. 2. `membarrier`: all members' processors do a full barrier. 3. Looks at `claim` and the word.
//!
//! A release whose step 2 came before the barrier has made its step 1 visible by it; one whose step 2 comes after the barrier sees
//! ASKED. So if the claim is still written down, or nobody owns the word, then no release is between its steps 2 and 3, and from
//! now on none will be: CONFIRMED. If not, the owner is in the middle of an acquire or a release: it is a matter of a few
//! instructions, unless it was stopped there. Then who asks looks again, after a time that grows to a few milliseconds: it never
//! sleeps for good on a word that might become free without a wake-up. (A word that is owned and not written down is still
//! owned: whoever is stopped there withholds what it has claimed, and nothing else.)
//!
//! | careful | ASKED | CONFIRMED | meaning |
//! |---|---|---|---|
//! | 0 (with any count) | 0 | 0 | releases are plain |
//! | | 1 | 0 | somebody is about to set something: no plain release begins any more; one may be under way |
//! | | 1 | 1 | no plain release is under way, and none begins: words of owners may be changed |
//!
//! It ends with an owner's release, by a compare-and-swap of the word that finds nothing set there (`calm`), so nothing
//! that was set meanwhile is lost; and each time it ends the count goes up, so that who has looked before and after a change of
//! the word knows whether it was in force in between. RECENT keeps it for a while after the last one who asked.

use super::word::{CLOSING, INHERITED, State, Word};
use crate::seeded::{Bug, seeded};
use crate::sync::{AtomicU16, AtomicU64, Ordering::*};

/// Somebody wants to be told.
pub const ASKED: u16 = 1;
/// Nothing is under way that does not see it.
const CONFIRMED: u16 = 1 << 1;
/// Somebody has asked since the last look of an owner.
const RECENT: u16 = 1 << 2;
/// What the release looks at.
pub const CAREFUL: u16 = ASKED | CONFIRMED;
/// The lowest bit of the count.
const ONE: u16 = 1 << 3;
/// The count comes round after so many ends, and each takes a claim of its own.
const ROUND: u64 = 1 << 12;

/// How a cell stood when it was asked to be careful.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    careful: u16,
    token: u64,
}

/// A cell, as who changes the words of owners sees it.
pub struct Careful<'a> {
    pub word: &'a AtomicU64,
    pub claim: &'a AtomicU64,
    pub token: &'a AtomicU64,
    pub careful: &'a AtomicU16,
}

impl Careful<'_> {
    /// Makes the cell careful, with a barrier of the system's (false: it has none). None: its owner is in the middle of something;
    /// ask again.
    pub fn ask(&self, barrier: impl FnOnce() -> bool) -> Option<Ticket> {
        let c = self.careful;
        // Before the look at the word that the caller is about to change.
        let token = self.token.load(Acquire);
        let mut now = c.load(SeqCst);
        if now & (ASKED | RECENT) != ASKED | RECENT {
            now = c.fetch_or(ASKED | RECENT, SeqCst) | ASKED | RECENT;
        }
        if now & CONFIRMED == 0 {
            if !barrier() {
                return None;
            }
            let booked = self.claim.load(SeqCst) != 0;
            if !booked && !seeded(Bug::TrustUnbooked) {
                let word = Word(self.word.load(SeqCst));
                // What is inherited, or was prepared to be given back, is not written down, and never given back plainly.
                if matches!(word.state(), State::Owned(_)) && !word.has(INHERITED) && !word.has(CLOSING) {
                    return None;
                }
            }
            // Not if it has ended in between.
            c.compare_exchange(now, now | CONFIRMED, SeqCst, Relaxed).ok()?;
            now |= CONFIRMED;
        }
        Some(Ticket { careful: now & !RECENT, token })
    }

    /// Whether it was careful from then until now.
    pub fn is_still(&self, since: Ticket) -> bool {
        let same = self.careful.load(SeqCst) & !RECENT == since.careful;
        same && self.token.load(Acquire).wrapping_sub(since.token) < ROUND
    }

    /// For an owner whose word has a flag: it takes no short way back.
    pub fn be(&self) {
        if self.careful.load(Relaxed) & CAREFUL == 0 {
            self.careful.fetch_or(ASKED, SeqCst);
        }
    }

    /// For an owner, right before it gives back by a compare-and-swap a word without any flag: if nobody has asked for a while,
    /// releases may be plain again.
    pub fn calm(&self) {
        let c = self.careful;
        let now = c.load(Relaxed);
        if now & CAREFUL == 0 || self.token.load(Relaxed) & PERIOD != 0 {
            return;
        }
        let next = if now & RECENT != 0 { now & !RECENT } else { (now & !(CAREFUL | RECENT)).wrapping_add(ONE) };
        let _ = c.compare_exchange(now, next, SeqCst, Relaxed);
    }
}

/// Every so many claims an owner looks whether it is calm.
pub const PERIOD: u64 = if cfg!(loom) { 0 } else { 0xff };
