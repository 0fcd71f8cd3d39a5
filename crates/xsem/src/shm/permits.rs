//! How permits change hands: the looks at a count word. As in `protocol.rs`, everything else comes through [`World`] and
//! [`Ledger`], so that the code that ships is the code that the model checker runs.
//!
//! # Order
//! As for exclusive semaphores, with one more rule: permits are kept for the oldest waiter also while there are not enough
//! for it yet; otherwise small requests would take them away from a large one for ever. Who stands back wakes it now and
//! then; if it does not stir it is stopped, and its reservation lapses.
//!
//! # Nobody stays asleep
//! Everyone sleeps on the word, and watches every member that has an entry in the ledger: only those can hold permits. A
//! member that joins the ledger changes the word, if somebody sleeps on it, before it takes anything.

use super::count::{self, CLOSED, CountWords, DRAINED, Doing, Ledger, Op, PENDING, RESERVED, WAITERS};
use super::protocol::{self, Fits, Limit, Look, Outcome, SOON, Stuck, Turn, Watching, World};
use super::word::Owner;
use crate::seeded::{Bug, seeded};
use crate::sync::{AtomicU64, Ordering::*};

/// How often a waiter looks whether the command has ended that a dead holder covered, in nanoseconds.
const COVER_POLL: u64 = 20_000_000;

/// The atomics of a counting semaphore that the protocol moves.
pub struct PermitWords<'a> {
    pub count: CountWords<'a>,
    pub oldest: &'a AtomicU64,
    /// The word of the cell, which says whether the semaphore is still there.
    pub cell: &'a AtomicU64,
    pub generation: u32,
}

/// What a search for claims of the dead came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reclaimed {
    /// There are none.
    Nothing,
    /// Something was ended.
    Some,
    /// Somebody is dead who may still be writing (or whose command still runs).
    NotYet { dead: Owner, covered: bool },
}

/// What permits need beyond [`World`] and [`Ledger`].
pub trait Reclaim {
    /// Ends the claims of members that are dead and past their gates.
    fn reclaim(&self) -> Reclaimed;
}

impl PermitWords<'_> {
    /// Whether the semaphore that the caller means is gone. Asked after the count word was read: then that was its own.
    pub fn is_gone(&self) -> bool {
        (self.cell.load(Acquire) >> 32) as u32 != self.generation
    }

    /// The limit in force.
    pub fn limit(&self) -> u32 {
        count::Bounds::read(self.count.bounds.load(Acquire)).limit
    }

    /// Whether a waiter is entered as the oldest.
    pub fn is_reserved(&self) -> bool {
        self.oldest.load(Acquire) != 0
    }
}

/// Whether the oldest waiter could have what it wants. Who holds something does not stand back for one that cannot be
/// served yet: it might be waiting for just that, and then the order itself would be a deadlock.
pub fn fits(word: count::Count, limit: u32, oldest: &protocol::Waiting, holds_something: bool) -> Fits {
    match () {
        () if oldest.permits > limit => Fits::Never,
        () if word.free() >= oldest.permits as i32 => Fits::Now,
        () if holds_something => Fits::Pass,
        () => Fits::Later,
    }
}

/// One look for `n` permits, which entry `e` of the caller, at rest, shall have.
pub fn look<W: World + Ledger + Reclaim>(
    turn: &mut Turn,
    w: &mut W,
    words: &PermitWords<'_>,
    (e, n): (u32, u32),
    limit: Limit,
) -> Result<Look, W::Error> {
    let mut attempt = 0;
    loop {
        let word = count::settle(&words.count, w);
        if words.is_gone() || word.has(CLOSED) {
            return Ok(Look::End(Outcome::Stale));
        }
        if turn.is_refused(word.has(DRAINED), || w.is_drained()) {
            return Ok(Look::End(Outcome::Drained));
        }
        if word.has(PENDING) {
            w.wake_pending(words.count.count);
            continue;
        }
        let (mut standing_back, mut poll) = (None, None);
        let most = words.limit();
        let (flags, watch) = if word.free() >= n as i32 {
            let holds = w.holds_something();
            let fits = |o: &protocol::Waiting| fits(word, most, o, holds);
            let back = protocol::stand_back(w, words.count.count, words.oldest, turn, fits);
            let Some((kept_for, oldest, until)) = back else {
                if turn.only_looks {
                    return Ok(Look::End(Outcome::Free));
                }
                if take(w, words, turn, word, (e, n)) {
                    return Ok(Look::End(Outcome::Owned));
                }
                if w.entry(e).is_none() {
                    return Ok(Look::End(Outcome::Damaged));
                }
                continue;
            };
            standing_back = Some((kept_for, until));
            (WAITERS | RESERVED, Watching::Holders(Some(oldest)))
        } else {
            match w.reclaim() {
                Reclaimed::Some => continue,
                Reclaimed::NotYet { dead, covered } if !(limit == Limit::Now && (covered || attempt + turn.attempt > 21)) => {
                    if let Some(over) = protocol::over(w, limit) {
                        return Ok(Look::End(over));
                    }
                    if !covered && turn.polled {
                        let attempt = turn.attempt;
                        turn.attempt += 1;
                        return Ok(Look::Gate { dead, attempt });
                    }
                    if !covered {
                        w.wait_for_gate(dead, attempt);
                        attempt += 1;
                        continue;
                    }
                    poll = Some(w.now() + COVER_POLL);
                }
                // What a joint request had for an instant may be back by now.
                _ if words.count.load() != word => continue,
                Reclaimed::NotYet { .. } | Reclaimed::Nothing => {}
            }
            // Nobody stands back from what is not there; and if it comes, the time begins anew.
            (WAITERS, Watching::Holders(None))
        };
        // The limit was lowered since the caller asked for it, and nobody has seen it wait yet: then the request is one that
        // was made after that. To a try, that it is taken would be wrong, and who waits had to be granted what was there.
        if n > most && (turn.mine.is_none() || limit == Limit::Now) {
            return Ok(Look::End(Outcome::Above(most)));
        }
        if limit == Limit::Now {
            return Ok(Look::End(Outcome::Taken));
        }
        if standing_back.is_none() && turn.looks_again(w, words.oldest) {
            continue;
        }
        if let Some(over) = protocol::over(w, limit) {
            return Ok(Look::End(over));
        }
        // Who asks for more than there can be now waits for a higher limit, and keeps nothing from others.
        let reserves = turn.reserves;
        turn.reserves &= n <= words.limit();
        let queued = protocol::queue(turn, w, words.oldest);
        turn.reserves = reserves;
        let (aged, oldest, since) = queued?;
        turn.rests();
        if let Some(sleep) = protocol::in_line(turn, w, words.oldest, limit, standing_back.map(|(_, until)| until)) {
            match turn.is_admitted(false) {
                true => return Ok(sleep),
                false => continue,
            }
        }
        let armed = word.with_flags(word.flags() | flags | if oldest { RESERVED } else { 0 });
        if armed != word && !words.count.swap(word, armed) || !turn.is_admitted(armed != word) {
            continue;
        }
        if let Some((kept_for, _)) = standing_back
            && words.oldest.load(Acquire) != kept_for
        {
            continue;
        }
        let mut again = standing_back.map(|(_, until)| until).or(poll);
        match if aged && limit == Limit::Never { w.is_deadlocked() } else { Stuck::No } {
            Stuck::No => {}
            Stuck::Unclear => again = [again, Some(w.now() + SOON)].into_iter().flatten().min(),
            Stuck::Yes => return Ok(Look::End(Outcome::Deadlock)),
        }
        turn.attempt = 0;
        let until = protocol::wake_up(limit, protocol::deadlock_at(w, limit, aged, since), again);
        return Ok(Look::Sleep { expect: armed.low(), watch, until });
    }
}

/// One try to take `n` permits from a word that was settled as `word`.
pub fn take<W: World + Ledger>(w: &W, words: &PermitWords<'_>, turn: &Turn, word: count::Count, (e, n): (u32, u32)) -> bool {
    let Some(entry) = w.entry(e) else { return false };
    let taking = Op(entry.op.load(Relaxed)).next(Doing::Taking, n, 0);
    if !seeded(Bug::TakenBeforeBooked) {
        entry.op.store(taking.0, Release);
    }
    let flags = word.flags() & !RESERVED | if turn.passes { RESERVED } else { 0 };
    if count::carry_out(&words.count, word, e, taking, -(n as i32), flags) {
        if seeded(Bug::TakenBeforeBooked) {
            entry.op.store(taking.0, Release);
        }
        count::settle(&words.count, w);
        return true;
    }
    count::give_up(&entry, taking, Doing::Idle, 0);
    false
}

/// Acquires `n` permits for entry `e`.
#[cfg(loom)]
pub fn acquire<W: World + Ledger + Reclaim>(
    w: &mut W,
    words: &PermitWords<'_>,
    claim: (u32, u32),
    limit: Limit,
) -> Result<Outcome, W::Error> {
    let mut turn = Turn::patient();
    let done = loop {
        match look(&mut turn, w, words, claim, limit) {
            Ok(Look::End(outcome)) => break Ok(outcome),
            Ok(Look::Sleep { expect, watch, until }) => w.sleep(words.count.count, expect, watch, until),
            Ok(Look::Gate { dead, attempt }) => w.wait_for_gate(dead, attempt),
            Err(e) => break Err(e),
        }
    };
    turn.leave(w, words.count.count, words.oldest, matches!(done, Ok(Outcome::Owned)));
    done
}

/// Another total, as `change` says of the present one: from the entry `e` of the caller, at rest. What is free changes by
/// as much.
pub fn change<L: Ledger, E>(
    words: &PermitWords<'_>,
    ledger: &L,
    e: u32,
    change: impl Fn(count::Bounds, i32) -> Result<(count::Bounds, i32), E>,
) -> Result<bool, E> {
    let Some(entry) = ledger.entry(e) else { return Ok(false) };
    loop {
        let word = count::settle(&words.count, ledger);
        if words.is_gone() || word.has(CLOSED) {
            return Ok(false);
        }
        if word.has(PENDING) {
            ledger.wake_pending(words.count.count);
            continue;
        }
        let now = count::Bounds::read(words.count.bounds.load(Acquire));
        if words.count.load() != word {
            continue;
        }
        let (next, delta) = change(now, word.free())?;
        let op = Op(entry.op.load(Relaxed)).next(Doing::Bounds, 0, 0);
        entry.arg.store(next.bits(), Relaxed);
        entry.op.store(op.0, Release);
        let keep = word.flags() & !RESERVED | if words.is_reserved() { RESERVED } else { 0 };
        let flags = if delta > 0 && word.has(WAITERS) { keep | PENDING } else { keep };
        if count::carry_out(&words.count, word, e, op, delta, flags) {
            if flags & PENDING != 0 {
                ledger.wake_pending(words.count.count);
            }
            count::settle(&words.count, ledger);
            return Ok(true);
        }
        count::give_up(&entry, op, Doing::Idle, 0);
    }
}

/// Uses up what entry `e` holds: it is not there any more. False: it does not hold that (any more).
pub fn use_up<L: Ledger>(words: &PermitWords<'_>, ledger: &L, e: u32, held: Op) -> bool {
    let Some(entry) = ledger.entry(e) else { return false };
    let using = held.next(Doing::Using, held.permits(), 0);
    // By compare-and-swap: somebody may be evicting it.
    if entry.op.compare_exchange(held.0, using.0, AcqRel, Relaxed).is_err() {
        return false;
    }
    loop {
        let word = count::settle(&words.count, ledger);
        let now = count::Bounds::read(words.count.bounds.load(Acquire));
        if words.count.load() != word {
            continue;
        }
        if entry.op.load(Acquire) != using.0 {
            return false;
        }
        let next = now.changed(now.limit, now.total.saturating_sub(held.permits()));
        entry.arg.store(next.bits(), Release);
        if count::carry_out(&words.count, word, e, using, 0, word.flags()) {
            count::settle(&words.count, ledger);
            return true;
        }
    }
}
