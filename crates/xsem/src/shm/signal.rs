//! How an event is signalled, reset and waited for. As in `protocol.rs`, everything else comes through [`World`] and
//! [`Ledger`], so that the code that ships is the code that the model checker runs.
//!
//! # The word
//! An event has the word of a counting semaphore (`count.rs`), with another meaning of what is free there:
//!
//! | | reset | signalled |
//! |---|---|---|
//! | auto | 0 | 1 |
//! | manual: counts its changes, modulo 65,536 | even | odd |
//!
//! So a manual waiter sees that there was a signal since it began, also if the event was reset again before it looked.
//! Auto is consumed by one compare-and-swap. Nobody holds anything, so nobody has an entry in the ledger, except for a joint
//! request (`acquire_all`): that names its entry while it waits for its other semaphores, as JOINT 1 (auto: tentatively
//! consumed) or JOINT 0 (manual: only looked at). Whoever wants to change the word settles that first, so the event is
//! signalled at the very instant at which the request comes true, or the request fails.
//!
//! # Nobody stays asleep
//! A signal with sleepers first sets PENDING, by one compare-and-swap; then one system call clears that, with WAITERS, and
//! wakes all. It counts from that call on: until then the event is as good as reset, and whoever comes makes the call. So a
//! death or a stop of who signals comes before the signal or after it, never between the signal and its wake-up; and a
//! woken waiter that dies or is stopped owes nobody a wake-up, because all were woken.

use super::count::{self, CLOSED, Count, DRAINED, Ledger, PENDING, RESERVED, WAITERS};
use super::permits::PermitWords;
use super::protocol::{self, Fits, Limit, Look, Outcome, Turn, Watching, World};
use crate::seeded::{Bug, seeded};
use crate::sync::Ordering::*;

/// What the waits of an event need beyond [`World`] and [`Ledger`].
pub trait Restore {
    /// Carries out what joint requests that failed have to give back. True: there was something.
    fn restore(&self) -> bool;
}

/// Whether the event is signalled. PENDING is not considered.
pub fn is_set(word: Count, manual: bool) -> bool {
    if manual { word.free() & 1 == 1 } else { word.free() > 0 }
}

/// What is free after the next change.
fn changed(word: Count, manual: bool) -> i32 {
    match manual {
        true => (word.free() + 1) & 0xffff,
        false => (word.free() <= 0) as i32,
    }
}

/// The word when nobody is in the middle of anything; None: the event is gone.
fn at_rest<L: Ledger>(words: &PermitWords<'_>, ledger: &L) -> Option<Count> {
    loop {
        let word = count::settle(&words.count, ledger);
        if words.is_gone() || word.has(CLOSED) {
            return None;
        }
        if !word.has(PENDING) {
            return Some(word);
        }
        // Somebody's signal that has woken nobody yet.
        ledger.wake_pending(words.count.count);
    }
}

/// Signals it: whether it was reset before. None: it is gone. No allocation, no lock.
pub fn signal<L: Ledger + Restore>(words: &PermitWords<'_>, ledger: &L, manual: bool) -> Option<bool> {
    loop {
        let word = at_rest(words, ledger)?;
        if is_set(word, manual) {
            // It changes nothing, but it is a step of the word like any other: who takes this signal sees what the caller
            // has written before. A look alone might come before those writes, and then nobody would be told of them.
            if words.count.swap(word, word) {
                return Some(false);
            }
            continue;
        }
        // What a failed request gives back was never taken: the event is signalled as before. After the word was read, so
        // nothing is outstanding where the swap below succeeds: one signal never becomes two.
        if !manual && ledger.restore() {
            continue;
        }
        if seeded(Bug::SignalInTwoSteps) && word.has(WAITERS) {
            if words.count.swap(word, word.set(changed(word, manual), word.flags() & !WAITERS)) {
                ledger.wake_pending(words.count.count);
                return Some(true);
            }
            continue;
        }
        let pending = if word.has(WAITERS) { PENDING } else { 0 };
        if words.count.swap(word, word.set(changed(word, manual), word.flags() | pending)) {
            if pending != 0 {
                ledger.wake_pending(words.count.count);
            }
            return Some(true);
        }
    }
}

/// Resets it: whether it was signalled before. None: it is gone.
pub fn reset<L: Ledger + Restore>(words: &PermitWords<'_>, ledger: &L, manual: bool) -> Option<bool> {
    loop {
        let word = at_rest(words, ledger)?;
        if !is_set(word, manual) {
            if !manual && ledger.restore() {
                continue;
            }
            return Some(false);
        }
        if words.count.swap(word, word.set(changed(word, manual), word.flags())) {
            return Some(true);
        }
    }
}

/// One try to consume the signal of an auto-reset event.
fn consume(words: &PermitWords<'_>, turn: &Turn, word: Count) -> bool {
    let oldest = words.oldest.load(Acquire);
    let kept = oldest != 0 && turn.mine.is_none_or(|(mine, _)| mine != oldest);
    let flags = word.flags() & !RESERVED | if kept { RESERVED } else { 0 };
    if seeded(Bug::ConsumeByStore) {
        words.count.count.store(word.set(0, flags).0, Release);
        return true;
    }
    words.count.swap(word, word.set(0, flags))
}

/// One look at an event: seen (and consumed), refused, or what to sleep on. It does not look again and again before it says
/// that: a critical section is over in a moment, when somebody signals nobody knows.
pub fn look<W: World + Ledger + Restore>(
    turn: &mut Turn,
    w: &mut W,
    words: &PermitWords<'_>,
    manual: bool,
    limit: Limit,
) -> Result<Look, W::Error> {
    loop {
        let Some(word) = at_rest(words, w) else { return Ok(Look::End(Outcome::Stale)) };
        if turn.is_refused(word.has(DRAINED), || w.is_drained()) {
            return Ok(Look::End(Outcome::Drained));
        }
        let mut standing_back = None;
        let (flags, watch) = match (manual, is_set(word, manual)) {
            (_, true) if turn.only_looks && manual => return Ok(Look::End(Outcome::Free)),
            (true, true) => return Ok(Look::End(Outcome::Owned)),
            // A request for several is about one instant; any other wait is about what happened since it began.
            (true, false) if !turn.only_looks && turn.has_changed(word.free()) => return Ok(Look::End(Outcome::Owned)),
            (true, false) => (WAITERS, Watching::Nobody),
            (false, true) => {
                let back = protocol::stand_back(w, words.count.count, words.oldest, turn, |_| Fits::Now);
                let Some((kept_for, oldest, until)) = back else {
                    if turn.only_looks {
                        return Ok(Look::End(Outcome::Free));
                    }
                    if consume(words, turn, word) {
                        return Ok(Look::End(Outcome::Owned));
                    }
                    continue;
                };
                standing_back = Some((kept_for, until));
                (WAITERS | RESERVED, Watching::One(oldest))
            }
            (false, false) if w.restore() => continue,
            (false, false) => (WAITERS, Watching::Nobody),
        };
        if limit == Limit::Now {
            return Ok(Look::End(Outcome::Taken));
        }
        if let Some(over) = protocol::over(w, limit) {
            return Ok(Look::End(over));
        }
        // Of a manual event there is enough for everybody: nobody is served before others.
        let reserves = turn.reserves;
        turn.reserves &= !manual;
        let queued = protocol::queue(turn, w, words.oldest);
        turn.reserves = reserves;
        let (_, oldest, _) = queued?;
        let armed = word.with_flags(word.flags() | flags | if oldest { RESERVED } else { 0 });
        if armed != word && !words.count.swap(word, armed) || !turn.is_admitted(armed != word) {
            continue;
        }
        if let Some((kept_for, _)) = standing_back
            && words.oldest.load(Acquire) != kept_for
        {
            // As in `protocol::look`: it may have been consumed before the flags were set.
            continue;
        }
        // Anybody may signal it, so a wait for it is never part of a deadlock.
        let until = protocol::wake_up(limit, None, standing_back.map(|(_, until)| until));
        return Ok(Look::Sleep { expect: armed.low(), watch, until });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_truth_table() {
        for (manual, free, set, next) in [
            (false, 0, false, 1),
            (false, 1, true, 0),
            (true, 0, false, 1),
            (true, 1, true, 2),
            (true, 2, false, 3),
            (true, 0xffff, true, 0),
        ] {
            let word = Count::first(0, 1, 0).set(free, WAITERS);
            assert_eq!((word.free(), word.entry(), word.flags()), (free, None, WAITERS));
            assert_eq!(is_set(word, manual), set, "{manual} {free}");
            assert_eq!(changed(word, manual), next, "{manual} {free}");
        }
    }
}
