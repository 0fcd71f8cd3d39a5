//! How an exclusive semaphore changes hands: the loops around its word. Everything else (time, sleep, who lives, who
//! waits) comes through [`World`], so that the very same code runs on shared memory and under the model checker.
//!
//! # Order
//! A waiter has a record with the time of its beginning. Newcomers may overtake it for [`BOUND`]; then it enters itself
//! as the *oldest* of the semaphore (unless somebody older is there) and sets RESERVED, which takes newcomers off the
//! fast path. While an oldest is entered, everybody else stands back from a free word, until the oldest takes it, leaves,
//! dies, or lets [`LAPSE`] pass (it may be stopped).
//!
//! # Nobody stays asleep
//! Everyone sleeps on the semaphore's own word, and on the word through which the kernel tells the owner's death. A
//! release sets the word and wakes all in one system call, so no stop or death of the releaser comes between; and a woken
//! waiter that dies or is stopped owes nobody a wake-up, because all were woken.

use super::word::{CLOSING, INHERITED, JOINED, MARK, Owner, RESERVED, State, WAITERS, Word};
use crate::sync::{AtomicU64, Ordering::*};

/// How long newcomers may overtake a waiter, in nanoseconds.
pub const BOUND: u64 = 1_000_000;
/// How long a free semaphore is kept for the oldest waiter, in nanoseconds.
pub const LAPSE: u64 = 10_000_000;

const SPINS: u32 = if cfg!(loom) { 0 } else { 60 };

/// The atomics of a semaphore that the protocol moves.
pub struct Words<'a> {
    pub word: &'a AtomicU64,
    /// The reference of the waiter that has the reservation; 0: nobody.
    pub oldest: &'a AtomicU64,
    /// The generation of the semaphore that the caller means.
    pub generation: u32,
}

/// A waiter as others see it.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    pub since: u64,
    pub owner: Owner,
}

/// Whether what a dead member left may be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It has certainly stopped writing, and what it covers has ended.
    Open,
    /// It may still be writing. That is over in a moment.
    Writing,
    /// The command that it covers still runs. That may take long.
    Covering,
}

/// What may be done with the claim of a dead owner whose gate is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// Take it; its obituary is published.
    Take,
    /// Somebody shares the claim: it is theirs now. The obituary is published.
    PassTo(Owner),
}

/// How long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Now,
    At(u64),
    Never,
}

/// How an acquire ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Owned,
    /// Owned by a living other, or kept for the oldest waiter; only for [`Limit::Now`].
    Taken,
    TimedOut,
    Cancelled,
    /// The semaphore that was meant is gone.
    Stale,
}

/// Everything that the protocol needs beside the words.
pub trait World {
    type Error;
    fn now(&self) -> u64;
    fn is_alive(&self, owner: Owner) -> bool;
    /// The caller's wait record, published before this returns: reference and beginning.
    fn record(&mut self) -> Result<(u64, u64), Self::Error>;
    /// The waiter behind a reference, if it lives and waits for this semaphore.
    fn waiting(&self, reference: u64) -> Option<Waiting>;
    /// Sleeps while the low half is `expect`, at most until `until`; ends when `watch` dies. May end early.
    fn sleep(&self, word: &AtomicU64, expect: u32, watch: Option<Owner>, until: Option<u64>);
    fn is_cancelled(&self) -> bool;
    /// Whether a dead owner's claim may be touched.
    fn gate(&self, dead: Owner) -> Gate;
    /// What may be done with it then.
    fn takeover(&self, dead: Owner) -> Takeover;
    /// Waits a little for a dead owner to stop writing.
    fn wait_for_gate(&self, dead: Owner, attempt: u32);
    /// Who shares the caller's claim, if anybody does.
    fn joiner(&self) -> Option<Owner>;
    /// The claim ends with the next step: whoever reads it from here on must not believe what is written beside the word.
    fn unbook(&self);
    fn wake_all(&self, word: &AtomicU64);
    /// Sets the low half and wakes all, so that no stop or death of the caller comes between.
    fn set_low_and_wake_all(&self, word: &AtomicU64, low: u32);
}

impl Words<'_> {
    fn load(&self) -> Word {
        Word(self.word.load(Acquire))
    }

    fn swap(&self, from: Word, to: Word) -> bool {
        self.word.compare_exchange(from.0, to.0, AcqRel, Relaxed).is_ok()
    }

    /// Takes a reference out of `oldest`, if it is still there.
    fn vacate(&self, reference: u64) {
        let _ = self.oldest.compare_exchange(reference, 0, AcqRel, Relaxed);
    }
}

/// Acquires for `me`, a claimant that does not own it yet.
pub fn acquire<W: World>(w: &mut W, words: &Words<'_>, me: Owner, limit: Limit) -> Result<Outcome, W::Error> {
    let mut mine = None;
    let done = acquire_inner(w, words, me, limit, &mut mine);
    if let Some((reference, _)) = mine {
        let was_oldest = words.oldest.load(Relaxed) == reference;
        words.vacate(reference);
        if was_oldest && !matches!(done, Ok(Outcome::Owned)) {
            // Others may be standing back from a free semaphore for the sake of a waiter that leaves.
            w.wake_all(words.word);
        }
    }
    done
}

fn acquire_inner<W: World>(
    w: &mut W,
    words: &Words<'_>,
    me: Owner,
    limit: Limit,
    mine: &mut Option<(u64, u64)>,
) -> Result<Outcome, W::Error> {
    let mut spins = SPINS;
    let mut attempt = 0;
    let mut lapse = None;
    loop {
        let word = words.load();
        if word.generation() != words.generation {
            return Ok(Outcome::Stale);
        }
        let (flags, watch, standing_back) = match word.state() {
            State::Free => {
                let Some((kept_for, oldest, until)) = stand_back(w, words, *mine, &mut lapse) else {
                    if words.swap(word, word.owned_by(me, WAITERS | MARK)) {
                        return Ok(Outcome::Owned);
                    }
                    continue;
                };
                if limit == Limit::Now {
                    return Ok(Outcome::Taken);
                }
                (WAITERS | RESERVED, Some(oldest), Some((kept_for, until)))
            }
            State::Owned(owner) if !w.is_alive(owner) => {
                let covered = match take_over(w, words, word, owner, me) {
                    Taking::Mine => return Ok(Outcome::Owned),
                    Taking::Again => match over(w, limit) {
                        Some(over) => return Ok(over),
                        None => continue,
                    },
                    Taking::NotYet { covered } => covered,
                };
                if limit == Limit::Now && (covered || attempt > 21) {
                    return Ok(Outcome::Taken);
                }
                if let Some(over) = over(w, limit) {
                    return Ok(over);
                }
                w.wait_for_gate(owner, attempt);
                attempt += 1;
                continue;
            }
            State::Owned(owner) => {
                lapse = None;
                attempt = 0;
                if limit == Limit::Now {
                    return Ok(Outcome::Taken);
                }
                if spins > 0 {
                    spins -= 1;
                    std::hint::spin_loop();
                    continue;
                }
                (WAITERS, (owner != me).then_some(owner), None)
            }
            State::Creating(_) => {
                // Linked, or nobody could have asked for it: it is complete.
                words.swap(word, Word::new(word.generation(), 0));
                continue;
            }
            State::Empty | State::Removed | State::Damaged => return Ok(Outcome::Stale),
        };
        if let Some(over) = over(w, limit) {
            return Ok(over);
        }
        let (reference, since) = match *mine {
            Some(m) => m,
            None => *mine.insert(w.record()?),
        };
        let aged = w.now().saturating_sub(since) >= BOUND;
        let flags = if aged && enter(w, words, reference, since) { flags | RESERVED } else { flags };
        let armed = word.with(flags);
        if armed != word && !words.swap(word, armed) {
            continue;
        }
        if let Some((kept_for, _)) = standing_back
            && words.oldest.load(Acquire) != kept_for
        {
            // It was taken and released again before the flags were set: then nobody is left who would wake us. After
            // the flags, the oldest's release, its leaving and its death all do.
            continue;
        }
        let deadline = if let Limit::At(t) = limit { Some(t) } else { None };
        let bound = (!aged).then_some(since + BOUND);
        let lapse_at = standing_back.map(|(_, until)| until);
        let until = [deadline, bound, lapse_at].into_iter().flatten().min();
        w.sleep(words.word, armed.low(), watch, until);
        spins = SPINS;
    }
}

/// Whether the request has to end here.
fn over<W: World>(w: &W, limit: Limit) -> Option<Outcome> {
    if w.is_cancelled() {
        return Some(Outcome::Cancelled);
    }
    matches!(limit, Limit::At(t) if w.now() >= t).then_some(Outcome::TimedOut)
}

/// Whether a free word is kept for somebody else: for which reference, who that is, and until when at most.
fn stand_back<W: World>(
    w: &W,
    words: &Words<'_>,
    mine: Option<(u64, u64)>,
    lapse: &mut Option<(u64, u64)>,
) -> Option<(u64, Owner, u64)> {
    let oldest = words.oldest.load(Acquire);
    if oldest == 0 || mine.is_some_and(|(m, _)| m == oldest) {
        return None;
    }
    let Some(waiting) = w.waiting(oldest) else {
        words.vacate(oldest);
        return None;
    };
    let now = w.now();
    let until = match *lapse {
        Some((of, until)) if of == oldest => until,
        _ => lapse.insert((oldest, now + LAPSE)).1,
    };
    if now >= until {
        words.vacate(oldest);
        return None;
    }
    Some((oldest, waiting.owner, until))
}

/// Enters the caller as the oldest, unless somebody older is. True: it is the caller.
fn enter<W: World>(w: &W, words: &Words<'_>, reference: u64, since: u64) -> bool {
    loop {
        let there = words.oldest.load(Acquire);
        if there == reference {
            return true;
        }
        if there != 0 && w.waiting(there).is_some_and(|o| o.since <= since) {
            return false;
        }
        if words.oldest.compare_exchange(there, reference, AcqRel, Relaxed).is_ok() {
            return true;
        }
    }
}

/// How a try to end a dead owner's claim went.
enum Taking {
    Mine,
    Again,
    NotYet { covered: bool },
}

/// One try to end a dead owner's claim.
fn take_over<W: World>(w: &W, words: &Words<'_>, word: Word, dead: Owner, me: Owner) -> Taking {
    // First the gate: a member that was only taken for dead (another epoch) must keep its JOINED.
    match w.gate(dead) {
        Gate::Open => {}
        Gate::Writing => return Taking::NotYet { covered: false },
        Gate::Covering => return Taking::NotYet { covered: true },
    }
    // A joiner publishes itself and then sees to it that JOINED is set. So: clear it, then look for joiners; if one
    // appears after the look, it changes the word, and the compare-and-swap below fails.
    let word = if word.has(JOINED) {
        let cleared = word.without(JOINED);
        if !words.swap(word, cleared) {
            return Taking::Again;
        }
        cleared
    } else {
        word
    };
    match w.takeover(dead) {
        Takeover::Take if words.swap(word, word.owned_by(me, WAITERS).with(MARK)) => Taking::Mine,
        Takeover::Take => Taking::Again,
        Takeover::PassTo(heir) => {
            if words.swap(word, word.owned_by(heir, WAITERS | RESERVED).with(MARK | JOINED | INHERITED)) {
                w.wake_all(words.word);
            }
            Taking::Again
        }
    }
}

/// Gives the claim of `me` back, with the mark if `mark`. False: `me` does not own it.
pub fn release<W: World>(w: &W, words: &Words<'_>, me: Owner, mark: bool) -> bool {
    let mark = if mark { MARK } else { 0 };
    let mut look_for_joiners = false;
    loop {
        let word = words.load();
        if word.generation() != words.generation || word.owner() != Some(me) {
            return false;
        }
        if word.has(JOINED) {
            look_for_joiners |= words.swap(word, word.without(JOINED));
            continue;
        }
        if look_for_joiners && let Some(heir) = w.joiner() {
            if words.swap(word, word.owned_by(heir, WAITERS | MARK | RESERVED).with(JOINED | INHERITED | mark)) {
                // The sleepers watch the caller's life; now it is the heir's that matters.
                w.wake_all(words.word);
                return true;
            }
            continue;
        }
        w.unbook();
        let reserved = if words.oldest.load(Acquire) != 0 { RESERVED } else { 0 };
        let free = word.freed(MARK).with(mark | reserved);
        if !word.has(WAITERS) {
            if words.swap(word, free) {
                return true;
            }
            continue;
        }
        // Nobody may join any more: the next step sets the low half without looking.
        if words.swap(word, word.with(CLOSING | mark)) {
            w.set_low_and_wake_all(words.word, free.low());
            return true;
        }
    }
}
