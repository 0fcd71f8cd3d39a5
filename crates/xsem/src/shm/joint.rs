//! Joint requests: several semaphores at one instant, or none of them.
//!
//! A member has one joint request at a time, under a number that is never used again. It takes the semaphores one after
//! the other, in the order of their cells, but only *tentatively*: each names the request. Then one compare-and-swap of the
//! request's state, from OPEN to TRUE, makes all of them its own at one instant. Whoever meets a semaphore in the hands of
//! an open request may make it FAIL instead, and take the semaphore: so a member that is stopped or killed in the middle
//! withholds nothing. What a request has named is settled (owned, or free again) by its member before the next one begins,
//! and by anybody else who comes along.
//!
//! | state of the request | a word TENTATIVE, an entry JOINT that is carried out |
//! |---|---|
//! | OPEN | as if it were free, as soon as the request has been made to fail |
//! | TRUE | owned by the member, holds its permits |
//! | FAILED | free, gives them back |
//! | another number | cannot be: it was settled; look again |

use super::count::{self, CLOSED, Count, DRAINED as COUNT_DRAINED, Doing, Ledger, OF_EVENT, Op, PENDING, Verdict};
use super::permits::{self, PermitWords};
use super::protocol::{self, Fits, Turn, Words, World};
use super::signal::{self, Restore};
use super::word::{DRAINED, Owner, State, TENTATIVE, Word};
use crate::seeded::{Bug, seeded};
use crate::sync::{AtomicU64, Ordering::*};

const OPEN: u64 = 1;
const TRUE: u64 = 2;
const FAILED: u64 = 3;

fn state(number: u32, s: u64) -> u64 {
    (number as u64) << 32 | s
}

/// Whether a value can be the state of a request; 0 before the first.
pub fn is_state(joint: u64) -> bool {
    joint == 0 || matches!(joint as u32 as u64, OPEN | TRUE | FAILED)
}

/// The same request, failed.
pub fn failed(joint: u64) -> u64 {
    state((joint >> 32) as u32, FAILED)
}

/// Begins the next request of a member; its number. All that the one before has named is settled.
pub fn begin(joint: &AtomicU64) -> u32 {
    let number = ((joint.load(Acquire) >> 32) as u32).wrapping_add(1);
    joint.store(state(number, OPEN), SeqCst);
    number
}

/// Whether the request is still open.
pub fn is_open(joint: &AtomicU64, number: u32) -> bool {
    joint.load(Acquire) == state(number, OPEN)
}

/// How a request went; makes it fail if it is still open.
pub fn verdict(joint: &AtomicU64, number: u32) -> Verdict {
    if !seeded(Bug::JointLeftOpen) {
        let _ = joint.compare_exchange(state(number, OPEN), state(number, FAILED), AcqRel, Acquire);
    }
    match joint.load(Acquire) {
        s if s == state(number, TRUE) => Verdict::CameTrue,
        s if s == state(number, FAILED) => Verdict::Failed,
        _ => Verdict::Over,
    }
}

/// Settles the word of an exclusive semaphore that was seen TENTATIVE; `generation` is that of its cell.
pub fn settle_word(word: &AtomicU64, seen: Word, generation: u32, joint: &AtomicU64) {
    let State::Tentative(owner) = seen.state() else { return };
    let flags = seen.flags() & !TENTATIVE;
    let settled = match verdict(joint, seen.generation()) {
        Verdict::CameTrue => Word::new(generation, owner.bits() | flags),
        Verdict::Failed => Word::new(generation, flags),
        // It was settled before the next request began: so the word has changed. Else the memory is damaged.
        Verdict::Over => Word::new(generation, flags),
    };
    let _ = word.compare_exchange(seen.0, settled.0, AcqRel, Relaxed);
}

/// One of the semaphores that a request wants.
pub enum Item<'a> {
    Exclusive(Words<'a>),
    /// So many permits, for an entry of the caller at rest.
    Permits(PermitWords<'a>, u32, u32),
    /// The signal of an event (manual-reset, if true), with an entry of the caller at rest.
    Event(PermitWords<'a>, u32, bool),
}

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    Owned,
    /// This one cannot be had now.
    Blocked(usize),
    /// The owner of this one is dead: its claim has to be ended first.
    Dead(usize),
    /// Somebody else was in the way, and is gone or further on: again.
    Again,
    /// The semaphore that was meant is gone.
    Stale(usize),
    /// The semaphore that was meant goes on in another cell.
    Moved(usize),
    /// New requests are refused there.
    Drained(usize),
}

/// One attempt to take all `items`, which are in the order of their cells, with a turn each in a world of its own. `joint`
/// is that of the caller, who sees to it that only one of its threads is here.
pub fn attempt<W: World + Ledger + Restore>(
    worlds: &[&W],
    joint: &AtomicU64,
    number: u32,
    me: Owner,
    items: &[Item<'_>],
    turns: &mut [Turn],
) -> Attempt {
    let mut done = Attempt::Owned;
    let mut taken = 0;
    for (i, ((item, turn), &w)) in items.iter().zip(turns).zip(worlds).enumerate() {
        let step = match item {
            Item::Exclusive(words) => take_word(w, joint, number, me, words, turn, i),
            Item::Permits(words, e, n) => take_permits(w, joint, number, words, (*e, *n), turn, i),
            Item::Event(words, e, manual) => take_signal(w, joint, number, words, (*e, *manual), turn, i),
        };
        if let Some(end) = step {
            done = end;
            break;
        }
        taken = i + 1;
    }
    if done == Attempt::Owned && joint.compare_exchange(state(number, OPEN), state(number, TRUE), AcqRel, Acquire).is_err() {
        done = Attempt::Again;
    }
    for (item, &w) in items[..taken].iter().zip(worlds) {
        settle(w, joint, (number, me), item);
    }
    if done != Attempt::Owned {
        // Also where nothing was taken: the next request must not find this one open.
        verdict(joint, number);
    }
    done
}

/// Settles what the caller's request has named.
fn settle<W: World + Ledger>(w: &W, joint: &AtomicU64, (number, me): (u32, Owner), item: &Item<'_>) {
    match item {
        Item::Exclusive(words) => {
            // If the request has failed, it may be in the hands of another one by now.
            let seen = Word(words.word.load(Acquire));
            if seen.state() == State::Tentative(me) && seen.generation() == number {
                settle_word(words.word, seen, words.generation, joint);
            }
        }
        Item::Permits(words, e, _) | Item::Event(words, e, _) => {
            count::settle(&words.count, w);
            let Some(entry) = w.entry(*e) else { return };
            let op = Op(entry.op.load(Acquire));
            if op.doing() == Doing::Giving {
                count::give(&words.count, w, *e, op, || words.is_reserved());
            }
        }
    }
}

/// Takes a word tentatively; or why not.
fn take_word<W: World + Ledger>(
    w: &W,
    joint: &AtomicU64,
    number: u32,
    me: Owner,
    words: &Words<'_>,
    turn: &mut Turn,
    i: usize,
) -> Option<Attempt> {
    loop {
        let word = Word(words.word.load(Acquire));
        if let State::Tentative(_) = word.state() {
            w.settle_joint(words.word, word);
            continue;
        }
        if word.generation() != words.generation {
            return Some(Attempt::Stale(i));
        }
        if turn.is_refused(word.has(DRAINED), || w.is_drained()) {
            return Some(Attempt::Drained(i));
        }
        match word.state() {
            State::Free if protocol::stand_back(w, words.word, words.oldest, turn, |_| Fits::Now).is_some() => {
                return Some(Attempt::Blocked(i));
            }
            State::Free => {
                if !is_open(joint, number) {
                    return Some(Attempt::Again);
                }
                let to = word.tentative(number, me);
                if words.word.compare_exchange(word.0, to.0, AcqRel, Relaxed).is_ok() {
                    return None;
                }
            }
            State::Owned(o) if !w.is_alive(o) => return Some(Attempt::Dead(i)),
            State::Owned(_) => return Some(Attempt::Blocked(i)),
            State::Creating(_) => {
                let _ = words.word.compare_exchange(word.0, Word::new(word.generation(), 0).0, AcqRel, Relaxed);
            }
            State::Moved => return Some(Attempt::Moved(i)),
            State::Tentative(_) | State::Empty | State::Removed | State::Damaged => return Some(Attempt::Stale(i)),
        }
    }
}

/// Takes the signal of an event tentatively, or makes sure that the event is still signalled when the request comes true; or
/// why not.
fn take_signal<W: World + Ledger + Restore>(
    w: &W,
    joint: &AtomicU64,
    number: u32,
    words: &PermitWords<'_>,
    (e, manual): (u32, bool),
    turn: &mut Turn,
    i: usize,
) -> Option<Attempt> {
    let Some(entry) = w.entry(e) else { return Some(Attempt::Stale(i)) };
    loop {
        let word: Count = count::settle(&words.count, w);
        if words.is_gone() || word.has(CLOSED) {
            return Some(Attempt::Stale(i));
        }
        if turn.is_refused(word.has(COUNT_DRAINED), || w.is_drained()) {
            return Some(Attempt::Drained(i));
        }
        if word.has(PENDING) {
            w.wake_pending(words.count.count);
            continue;
        }
        if !signal::is_set(word, manual) {
            if !manual && w.restore() {
                continue;
            }
            return Some(Attempt::Blocked(i));
        }
        if !manual && protocol::stand_back(w, words.count.count, words.oldest, turn, |_| Fits::Now).is_some() {
            return Some(Attempt::Blocked(i));
        }
        if !is_open(joint, number) {
            return Some(Attempt::Again);
        }
        let n = !manual as u32;
        let op = Op(entry.op.load(Relaxed)).next(Doing::Joint, n, OF_EVENT);
        entry.arg.store(number as u64, Relaxed);
        entry.op.store(op.0, Release);
        if count::carry_out(&words.count, word, e, op, -(n as i32), word.flags()) {
            return None;
        }
        count::give_up(&entry, op, Doing::Idle, 0);
    }
}

/// Takes permits tentatively; or why not.
fn take_permits<W: World + Ledger>(
    w: &W,
    joint: &AtomicU64,
    number: u32,
    words: &PermitWords<'_>,
    (e, n): (u32, u32),
    turn: &mut Turn,
    i: usize,
) -> Option<Attempt> {
    let Some(entry) = w.entry(e) else { return Some(Attempt::Stale(i)) };
    loop {
        let word: Count = count::settle(&words.count, w);
        if words.is_gone() || word.has(CLOSED) {
            return Some(Attempt::Stale(i));
        }
        if turn.is_refused(word.has(COUNT_DRAINED), || w.is_drained()) {
            return Some(Attempt::Drained(i));
        }
        if word.has(PENDING) {
            w.wake_pending(words.count.count);
            continue;
        }
        let (limit, holds) = (words.limit(), w.holds_something());
        let fits = |o: &protocol::Waiting| permits::fits(word, limit, o, holds);
        if word.free() < n as i32 {
            return Some(Attempt::Dead(i));
        }
        if protocol::stand_back(w, words.count.count, words.oldest, turn, fits).is_some() {
            return Some(Attempt::Blocked(i));
        }
        if !is_open(joint, number) {
            return Some(Attempt::Again);
        }
        let op = Op(entry.op.load(Relaxed)).next(Doing::Joint, n, 0);
        entry.arg.store(number as u64, Relaxed);
        entry.op.store(op.0, Release);
        if count::carry_out(&words.count, word, e, op, -(n as i32), word.flags()) {
            return None;
        }
        count::give_up(&entry, op, Doing::Idle, 0);
    }
}
