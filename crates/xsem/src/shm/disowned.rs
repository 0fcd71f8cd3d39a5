//! An owner whose word was damaged, and the repair that gives the semaphore back to it.
//!
//! Two words belong together then: the semaphore's says that nobody (or somebody who is dead) owns it, and `claim` beside it
//! still names the owner, who may give up in any instant. A repair that swapped the first one because of what it had seen in
//! the second one, and was stopped in between, would put an owner back that has gone. So both sides go by steps that notice
//! each other:
//!
//! | the repair | the owner, who finds the word changed when it gives back |
//! |---|---|
//! | takes the word, as a joint request that never comes true: nobody else acquires it meanwhile, and whoever meets it makes the request fail | takes its name out of `claim` |
//! | looks at `claim` | looks at the word, and makes the request fail that it finds there |
//! | still the same: swaps the word to the owner, which fails where the request has; else the word is as it was | the word is its own again: it writes `claim` and releases |
//!
//! Either the repair sees that the owner has gone, or the owner sees the repair. A release that went well has taken the name out of
//! `claim` before it freed the word; so a word that was freed after another repair is not taken for the damaged one.
//!
//! A claim that names somebody beside a word in the hands of a request is such a repair, which was stopped or killed: nobody else asks
//! for what is owned, and an owner writes its claim when the word is its own. A check calls that damage, too, and the next repair
//! begins anew with the word free.
//!
//! A word that no operation makes is not taken like that, since nobody can acquire it as it is; it is swapped at once, and the owner
//! that goes changes it into another such value.
//!
//! Here are the steps on the two words, which the model checker takes as well (`disowned_loom.rs`); `put_back.rs` has the rest.

use super::joint;
use super::word::{CLOSING, MARK, Owner, State, Word};
use crate::sync::{AtomicU64, Ordering::*, fence};

/// The second step of a repair: a word that it has in its hands, and the claim beside it.
pub fn put_back((word, beside): (&AtomicU64, &AtomicU64), joint: &AtomicU64, (taken, to): (Word, Word), claim: u64) -> bool {
    fence(SeqCst);
    let stands = beside.load(SeqCst) == claim;
    let done = stands && word.compare_exchange(taken.0, to.0, SeqCst, Relaxed).is_ok();
    if !done {
        // It has been given up, or somebody wants it who comes before the owner now, as without a repair.
        joint::settle_word(word, taken, to.generation(), joint);
    }
    done
}

/// A claim, as its owner knows it.
pub struct Claimed {
    pub generation: u32,
    pub me: Owner,
    /// What `claim` says.
    pub key: u64,
    pub token: u64,
}

/// How it stands with the claim of an owner that finds its word changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// It is not the caller's, or not any more.
    Nothing,
    /// It was, and is given up now: no repair gives it back.
    GivenUp,
    /// A repair has just given it back: again.
    Back,
}

/// The owner gives up what the word does not say is its own: `settle` ends a request, `lives` says whether a semaphore of this generation
/// is there. No allocation, no lock.
pub fn leave((word, beside): (&AtomicU64, &AtomicU64), c: &Claimed, settle: impl Fn(Word), lives: impl Fn() -> bool) -> Found {
    if beside.compare_exchange(c.key, 0, SeqCst, Relaxed).is_err() {
        return Found::Nothing;
    }
    fence(SeqCst);
    loop {
        let now = Word(word.load(SeqCst));
        match now.state() {
            State::Tentative(_) => settle(now),
            State::Owned(o) if o == c.me && now.generation() == c.generation => {
                let _ = beside.compare_exchange(0, c.key, SeqCst, Relaxed);
                return Found::Back;
            }
            State::Damaged | State::Empty if lives() => {
                if word.compare_exchange(now.0, lost(now, c.generation).0, SeqCst, Relaxed).is_ok() {
                    return Found::GivenUp;
                }
            }
            _ => return Found::GivenUp,
        }
    }
}

/// A value that no operation makes, another one than it was.
fn lost(was: Word, generation: u32) -> Word {
    let lost = Word::new(generation, CLOSING);
    if was == lost { lost.with(MARK) } else { lost }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_a_lost_word_becomes_is_another_lost_word() {
        let first = lost(Word(0), 5);
        let second = lost(first, 5);
        assert!(first.state() == State::Damaged && second.state() == State::Damaged && first != second);
        assert_eq!(lost(second, 5), first);
    }
}
