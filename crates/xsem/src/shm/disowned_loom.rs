//! Repairs and the owner of a damaged word under the model checker: the steps of `disowned.rs`, as they ship.
//!
//! The word of a semaphore says that it is free, and `claim` beside it names its owner. Repairs look, and give it back; meanwhile
//! that owner releases. However that comes, in the end nobody has it, and a claim that was given back was given up after that.

use super::disowned::{Claimed, Found, leave, put_back};
use super::joint;
use super::protocol_loom::{bounded, owner};
use super::word::{Owner, State, WAITERS, Word};
use crate::sync::{AtomicU64, Ordering::*};
use loom::sync::Arc;
use loom::thread::spawn;

const GENERATION: u32 = 1;
/// What `claim` says while the owner has it.
const KEY: u64 = 7;

struct Shared {
    word: AtomicU64,
    claim: AtomicU64,
    /// The joint requests of the two repairs, which are those of the slots 1 and 2.
    joints: [AtomicU64; 2],
}

impl Shared {
    fn settle(&self, seen: Word) {
        if let State::Tentative(o) = seen.state() {
            joint::settle_word(&self.word, seen, GENERATION, &self.joints[o.slot() as usize - 1]);
        }
    }

    fn given_back(&self) -> Word {
        Word::new(GENERATION, owner(0).bits() | WAITERS)
    }

    /// One pass of a repair: looks, and mends what it has seen.
    fn repair(&self, me: Owner) {
        let joint = &self.joints[me.slot() as usize - 1];
        let mut seen = Word(self.word.load(Acquire));
        if let State::Tentative(_) = seen.state() {
            if self.claim.load(Acquire) != KEY {
                return;
            }
            self.settle(seen);
            seen = Word(self.word.load(Acquire));
        }
        if seen.state() != State::Free || self.claim.load(Acquire) != KEY {
            return;
        }
        let number = joint::begin(joint);
        let taken = self.given_back().tentative(number, me);
        if self.word.compare_exchange(seen.0, taken.0, SeqCst, Relaxed).is_ok() {
            put_back((&self.word, &self.claim), joint, (taken, self.given_back()), KEY);
        }
        joint::verdict(joint, number);
    }

    /// As an owner gives it back, whose cell is careful.
    fn release(&self) {
        loop {
            let w = Word(self.word.load(Acquire));
            if w.owner() == Some(owner(0)) {
                self.claim.store(0, Relaxed);
                let freed = self.word.compare_exchange(w.0, Word::new(GENERATION, 0).0, Release, Relaxed).is_ok();
                assert!(freed, "nobody else changes what is owned");
                return;
            }
            let c = Claimed { generation: GENERATION, me: owner(0), key: KEY, token: 0 };
            match leave((&self.word, &self.claim), &c, |seen| self.settle(seen), || true) {
                Found::Back => {}
                Found::GivenUp => return,
                Found::Nothing => panic!("nobody else writes the claim"),
            }
        }
    }

    /// In the end: whoever looks settles what is left.
    fn is_nobodys(&self) {
        self.settle(Word(self.word.load(SeqCst)));
        let w = Word(self.word.load(SeqCst));
        assert!(w.state() == State::Free && self.claim.load(SeqCst) == 0, "{w:?}");
    }
}

fn damaged() -> Arc<Shared> {
    let word = AtomicU64::new(Word::new(GENERATION, 0).0);
    Arc::new(Shared { word, claim: AtomicU64::new(KEY), joints: [AtomicU64::new(0), AtomicU64::new(0)] })
}

#[test]
fn an_owner_gives_up_under_a_repair() {
    bounded(|| {
        let s = damaged();
        let mender = spawn({
            let s = s.clone();
            move || s.repair(owner(1))
        });
        s.release();
        mender.join().unwrap();
        s.is_nobodys();
    });
}

#[test]
fn an_owner_gives_up_under_two_repairs() {
    bounded(|| {
        let s = damaged();
        let menders = [1, 2].map(|slot| {
            let s = s.clone();
            spawn(move || s.repair(owner(slot)))
        });
        s.release();
        menders.into_iter().for_each(|m| m.join().unwrap());
        s.is_nobodys();
    });
}
