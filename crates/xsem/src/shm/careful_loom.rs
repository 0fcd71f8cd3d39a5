//! The plain release under the model checker: `careful.rs` and the loops of `protocol.rs`, as they ship.
//!
//! loom has no `membarrier`. What is used of it is one thing: of a release's "take it off the books" and "look whether the cell is
//! careful", and a caller's "say so" and "look at the books", one pair is seen by the other. Two full fences give that and nothing
//! more, wherever in the release the interrupt really comes: before both of its steps it sees the word of the caller, behind both the
//! caller sees its. So the release of the model has a fence between the two, which the one that ships has not.

use super::careful::{CAREFUL, Careful};
use super::protocol::{self, Limit, Outcome, World};
use super::protocol_loom::{Process, Shared, bounded, owner, preempted};
use super::word::{MARK, State, WAITERS, Word};
use crate::sync::{AtomicU16, AtomicU64, Ordering::*};
use loom::sync::Arc;
use loom::sync::atomic::fence;
use loom::thread::spawn;

/// What is beside the word of a cell.
pub struct Beside {
    pub claim: AtomicU64,
    token: AtomicU64,
    careful: AtomicU16,
}

impl Beside {
    pub fn careful<'a>(&'a self, shared: &'a Shared) -> Careful<'a> {
        Careful { word: &shared.word, claim: &self.claim, token: &self.token, careful: &self.careful }
    }
}

pub fn membarrier() -> bool {
    fence(SeqCst);
    true
}

fn shared() -> Arc<Shared> {
    let beside = Beside { claim: AtomicU64::new(0), token: AtomicU64::new(0), careful: AtomicU16::new(0) };
    let mut shared = Shared::plain();
    shared.beside = Some(beside);
    Arc::new(shared)
}

/// Written down, as a claim is after the word was taken.
fn book(s: &Shared, slot: u32) {
    let b = s.beside.as_ref().unwrap();
    b.token.store(b.token.load(Relaxed) + 1, Relaxed);
    b.claim.store(slot as u64, Release);
    if Word(s.word.load(Relaxed)).flags() != 0 {
        b.careful(s).be();
    }
    s.inside.with_mut(|n| {
        // SAFETY: only the owner of the word is here; loom would report a second one.
        unsafe { *n += 1 }
    });
}

/// The short way, or the long one.
fn acquire(s: &Shared, slot: u32) {
    let (free, mine) = (Word::new(1, 0), Word::new(1, owner(slot).bits()));
    if s.word.compare_exchange(free.0, mine.0, Acquire, Relaxed).is_err() {
        let mut p = Process::new(s, slot, 0);
        assert_eq!(protocol::acquire(&mut p, &s.words(), owner(slot), Limit::Never), Ok(Outcome::Owned));
    }
    book(s, slot);
}

/// As `FastPath::release`: plainly, or the long way.
fn release(s: &Shared, slot: u32) {
    let b = s.beside.as_ref().unwrap();
    b.claim.store(0, Relaxed);
    fence(SeqCst);
    if b.careful_bits() & CAREFUL == 0 {
        return s.word.store(Word::new(1, 0).0, Release);
    }
    b.claim.store(slot as u64, Relaxed);
    assert!(protocol::release(&Process::new(s, slot, 0), &s.words(), owner(slot), false));
}

impl Beside {
    fn careful_bits(&self) -> u16 {
        self.careful.load(Relaxed)
    }
}

fn ended_free(s: &Shared) {
    let w = Word(s.word.load(SeqCst));
    assert!(w.state() == State::Free && !w.has(WAITERS), "{w:?}");
}

#[test]
fn loom_a_waiter_is_not_left_asleep_by_a_plain_release() {
    bounded(|| {
        let s = shared();
        acquire(&s, 1);
        let waiter = spawn({
            let s = s.clone();
            move || {
                acquire(&s, 2);
                release(&s, 2);
            }
        });
        release(&s, 1);
        waiter.join().unwrap();
        ended_free(&s);
    });
}

#[test]
fn loom_nor_by_one_that_comes_after_a_careful_one() {
    preempted(2, || {
        let s = shared();
        acquire(&s, 1);
        let waiter = spawn({
            let s = s.clone();
            move || {
                acquire(&s, 2);
                release(&s, 2);
            }
        });
        // Each careful release of the model looks whether it is calm, so that it may be plain again.
        for _ in 0..3 {
            release(&s, 1);
            acquire(&s, 1);
        }
        release(&s, 1);
        waiter.join().unwrap();
        ended_free(&s);
    });
}

#[test]
fn loom_nor_is_one_who_comes_when_another_has_asked_and_left() {
    preempted(2, || {
        let s = shared();
        acquire(&s, 1);
        // It has asked and set its flag, and then it gives up: the cell is careful from the beginning.
        let p = Process::new(&s, 3, 0);
        assert!(p.ask().is_some());
        let waiter = spawn({
            let s = s.clone();
            move || {
                acquire(&s, 2);
                release(&s, 2);
            }
        });
        for _ in 0..3 {
            release(&s, 1);
            acquire(&s, 1);
        }
        release(&s, 1);
        waiter.join().unwrap();
        ended_free(&s);
    });
}

#[test]
fn loom_what_was_set_in_the_word_of_an_owner_is_kept() {
    bounded(|| {
        let s = shared();
        acquire(&s, 1);
        let other = spawn({
            let s = s.clone();
            move || {
                // As `ShmExclusive::change`.
                let p = Process::new(&s, 2, 0);
                let w = Word(s.word.load(SeqCst));
                let asked = if w.owner().is_some() { p.ask() } else { return false };
                let Some(asked) = asked else { return false };
                s.word.compare_exchange(w.0, w.with(MARK).0, SeqCst, Relaxed).is_ok() && p.is_still(asked)
            }
        });
        release(&s, 1);
        acquire(&s, 1);
        release(&s, 1);
        let set = other.join().unwrap();
        let w = Word(s.word.load(SeqCst));
        assert!(w.state() == State::Free && (!set || w.has(MARK)), "{w:?}, set: {set}");
    });
}
