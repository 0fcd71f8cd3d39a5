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

use super::arena::Arena;
use super::futex;
use super::joint;
use super::layout::{Cell, Joint};
use super::many;
use super::names;
use super::waiters::target;
use super::word::{CLOSING, MARK, Owner, RESERVED, State, Word};
use crate::sync::{Ordering::*, fence};

/// Gives the semaphore in cell `i` back to the owner that `to` says and `claim` names. False: the word is not what was seen any more,
/// or the owner has gone.
pub fn give_back(arena: &'static Arena, i: u32, seen: Word, to: Word, claim: u64) -> bool {
    let Some(cell) = arena.map.cell(i) else { return false };
    let done = match seen.state() {
        State::Free | State::Owned(_) => match arena.register() {
            Ok(me) => by_request(arena, me, (i, cell), seen, to, claim),
            // No room for one more member: nothing is safer than this then.
            Err(_) => directly(cell, seen, to, claim),
        },
        _ => directly(cell, seen, to, claim),
    };
    futex::wake_all(futex::low(&cell.word));
    done
}

fn directly(cell: &Cell, seen: Word, to: Word, claim: u64) -> bool {
    cell.claim.load(SeqCst) == claim && cell.word.compare_exchange(seen.0, to.0, SeqCst, Relaxed).is_ok()
}

fn by_request(arena: &'static Arena, me: Owner, (i, cell): (u32, &Cell), seen: Word, to: Word, claim: u64) -> bool {
    let Ok(lock) = arena.joint(me, |joint| many::settle_the_last(arena, me, joint)) else { return false };
    let (number, taken) = take(lock.joint, me, (i, cell), seen, to);
    let mut done = false;
    if let Some(taken) = taken {
        fence(SeqCst);
        let stands = cell.claim.load(SeqCst) == claim;
        done = stands && cell.word.compare_exchange(taken.0, to.0, SeqCst, Relaxed).is_ok();
        if !done {
            // It has been given up, or somebody wants it who comes before the owner now, as without a repair.
            joint::settle_word(&cell.word, taken, to.generation(), &lock.joint.state);
        }
    }
    joint::verdict(&lock.joint.state, number);
    done
}

/// Begins a request and takes the word for it: the request's number, and what the word is then, if it was what was seen.
fn take(joint: &Joint, me: Owner, (i, cell): (u32, &Cell), seen: Word, to: Word) -> (u32, Option<Word>) {
    joint.targets[0].store(target(i, to.generation()), Relaxed);
    joint.len.store(1, Relaxed);
    let number = joint::begin(&joint.state);
    let taken = to.with(seen.flags() & RESERVED).tentative(number, me);
    let done = cell.word.compare_exchange(seen.0, taken.0, SeqCst, Relaxed).is_ok();
    (number, done.then_some(taken))
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

/// The owner gives up what the word does not say is its own. No allocation, no lock.
pub fn give_up(arena: &'static Arena, cell: &Cell, c: &Claimed) -> Found {
    if cell.token.load(Relaxed) != c.token || cell.claim.compare_exchange(c.key, 0, SeqCst, Relaxed).is_err() {
        return Found::Nothing;
    }
    fence(SeqCst);
    loop {
        let word = Word(cell.word.load(SeqCst));
        match word.state() {
            State::Tentative(_) => names::settle(arena, cell, word),
            State::Owned(o) if o == c.me && word.generation() == c.generation => {
                let _ = cell.claim.compare_exchange(0, c.key, SeqCst, Relaxed);
                return Found::Back;
            }
            State::Damaged | State::Empty if is_of_this_life(cell, c.generation) => {
                if cell.word.compare_exchange(word.0, lost(word, c.generation).0, SeqCst, Relaxed).is_ok() {
                    return Found::GivenUp;
                }
            }
            _ => return Found::GivenUp,
        }
    }
}

/// Whether a semaphore of this generation lives in the cell, whatever its word says: an empty one has no name.
fn is_of_this_life(cell: &Cell, generation: u32) -> bool {
    cell.name.load(Acquire) != 0 && (cell.next.load(Acquire) >> 33) as u32 == generation & 0x7fff_ffff
}

/// A value that no operation makes, another one than it was.
fn lost(was: Word, generation: u32) -> Word {
    let lost = Word::new(generation, CLOSING);
    if was == lost { lost.with(MARK) } else { lost }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::engine::{Claim, Ending, Engine, Object, Request, Spec, Until};
    use crate::error::Code;
    use crate::shm::{Options, ShmEngine, check, claimant};
    use std::sync::Arc;

    /// A semaphore that this thread owns, whose word says that nobody does, in the hands of a repair that stands still.
    fn half_repaired() -> (tempfile::TempDir, &'static Arena, Arc<dyn Object>, Claim) {
        let dir = tempfile::tempdir().unwrap();
        let engine = ShmEngine::open(&format!("{}/ns", dir.path().display()), &Options::default()).unwrap();
        let sem = engine.create(&crate::name::Name::new("s").unwrap(), &Spec::exclusive()).unwrap();
        let claim = sem.acquire(&Request::new(claimant(), Until::Now)).unwrap().claim;
        let arena = engine.arena;
        let (i, cell) = (0..arena.map.cells())
            .filter_map(|i| Some((i, arena.map.cell(i)?)))
            .find(|(_, c)| c.claim.load(Relaxed) == claim.key)
            .unwrap();
        let owned = Word(cell.word.load(Relaxed));
        let damaged = Word::new(owned.generation(), 0);
        cell.word.store(damaged.0, SeqCst);
        let me = arena.register().unwrap();
        let lock = arena.joint(me, |_| ()).unwrap();
        assert!(take(lock.joint, me, (i, cell), damaged, owned).1.is_some());
        drop(lock);
        (dir, arena, sem, claim)
    }

    #[test]
    fn what_a_repair_has_left_half_done_is_damage_and_the_next_one_ends_it() {
        let (_dir, arena, sem, claim) = half_repaired();
        assert!(!check::check(arena).is_sound());
        let repaired = check::repair(arena);
        assert!(repaired.now.is_sound(), "{:?}", repaired.now);
        assert!(sem.is_held(&claim));
        sem.release(&claim, Ending::Release).unwrap();
        assert!(check::check(arena).is_sound());
    }

    #[test]
    fn an_owner_that_gives_up_under_a_repair_leaves_nothing_to_put_back() {
        let (_dir, arena, sem, claim) = half_repaired();
        assert_eq!(sem.release(&claim, Ending::Release).unwrap_err().code(), Code::NotOwner);
        assert!(check::check(arena).is_sound());
        let next = sem.acquire(&Request::new(claimant(), Until::Now)).unwrap().claim;
        sem.release(&next, Ending::Release).unwrap();
    }

    #[test]
    fn what_a_lost_word_becomes_is_another_lost_word() {
        let first = lost(Word(0), 5);
        let second = lost(first, 5);
        assert!(first.state() == State::Damaged && second.state() == State::Damaged && first != second);
        assert_eq!(lost(second, 5), first);
    }
}
