//! Giving a semaphore back to the owner that its `claim` names, and the owner that gives it up under that: the steps of `disowned.rs`
//! on a cell.

use super::arena::Arena;
use super::disowned::{Claimed, Found, leave, put_back};
use super::futex;
use super::joint;
use super::layout::{Cell, Joint};
use super::many;
use super::names;
use super::waiters::target;
use super::word::{Owner, RESERVED, State, Word};
use crate::sync::Ordering::*;

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
    let done = taken.is_some_and(|taken| put_back((&cell.word, &cell.claim), &lock.joint.state, (taken, to), claim));
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

/// The owner gives up what the word does not say is its own. No allocation, no lock.
pub fn give_up(arena: &'static Arena, cell: &Cell, c: &Claimed) -> Found {
    if cell.token.load(Relaxed) != c.token {
        return Found::Nothing;
    }
    leave((&cell.word, &cell.claim), c, |word| names::settle(arena, cell, word), || is_of_this_life(cell, c.generation))
}

/// Whether a semaphore of this generation lives in the cell, whatever its word says: an empty one has no name.
fn is_of_this_life(cell: &Cell, generation: u32) -> bool {
    cell.name.load(Acquire) != 0 && (cell.next.load(Acquire) >> 33) as u32 == generation & 0x7fff_ffff
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
}
