//! Ephemeral names: gone with their last user. Who has one open has an entry in its ledger; when nobody has, and nobody
//! holds or waits for it, whoever comes next finds no such name, and takes the room.
//!
//! An opener links its entry and then sees to it that the word has changed: it sets OPENED in a count word, and settles a
//! word that is in somebody's hands. Who takes the name away clears OPENED, or takes the word tentatively, then looks for
//! users, then makes the last step: an entry that was linked after the look makes that step fail.

use super::count::{self, CLOSED, Count, Doing, OPENED, Op, PENDING};
use super::inspect::{is_credit, is_ephemeral, is_event, waiters_of};
use super::joint;
use super::ledger::{Book, owner_of};
use super::members::Life;
use super::names;
use super::object::ShmExclusive;
use super::waiters;
use super::word::{Owner, State, Word};
use crate::error::{Code, Error, Result};
use crate::sync::{Ordering::*, fence};

/// Enters this process as a user; the entry. None: the name has just gone.
pub fn enter(sem: &ShmExclusive, me: Owner) -> Result<Option<u32>> {
    let book = sem.book();
    let i = book.take_entry(me, 0)?;
    if let Some(e) = sem.arena.map.entry(i) {
        e.op.store(Op(e.op.load(Relaxed)).aside(Doing::User).0, Release);
    }
    // The entry first, then the look at the word.
    fence(SeqCst);
    if flag(sem) {
        return Ok(Some(i));
    }
    leave(&book, i);
    Ok(None)
}

/// Sees to it that the word has changed since the entry was linked, if somebody may be taking the name away.
fn flag(sem: &ShmExclusive) -> bool {
    if !sem.is_exclusive() {
        let words = sem.book().words();
        loop {
            let w = words.count.load();
            match () {
                () if words.is_gone() || w.has(CLOSED) => return false,
                () if w.has(OPENED) || words.count.swap(w, w.bumped(w.flags() | OPENED)) => return true,
                () => {}
            }
        }
    }
    // Looking settles what is in the hands of who takes it away.
    let w = sem.load();
    w.generation() == sem.generation && !matches!(w.state(), State::Removed | State::Empty | State::Damaged)
}

/// The end of a use.
pub fn leave(book: &Book, i: u32) {
    if let Some(e) = book.arena.map.entry(i) {
        let op = Op(e.op.load(Acquire));
        if op.doing() == Doing::User {
            e.op.store(op.aside(Doing::Idle).0, Release);
        }
        book.give_entry(i);
    }
}

/// Whether an ephemeral name has no user left.
pub fn is_abandoned(sem: &ShmExclusive) -> bool {
    is_ephemeral(sem.cell()) && !has_users(sem) && !is_owned(sem)
}

fn has_users(sem: &ShmExclusive) -> bool {
    let (arena, book) = (sem.arena, sem.book());
    if !sem.is_exclusive() {
        book.settled();
    }
    // An entry at rest is one that a thread keeps for its next claim.
    let in_use = |e: &super::layout::Entry| Op(e.op.load(Acquire)).doing() != Doing::Idle;
    let lives = |o| arena.members.life(&arena.map, o) == Life::Alive;
    book.entries().filter(|(_, e)| in_use(e)).filter_map(|(_, e)| owner_of(e)).any(lives)
        || !waiters_of(arena, sem.index, sem.generation, None).is_empty()
}

fn is_owned(sem: &ShmExclusive) -> bool {
    match Word(sem.cell().word.load(Acquire)).state() {
        State::Owned(o) => sem.arena.members.life(&sem.arena.map, o) == Life::Alive,
        // Its owner was evicted: it stays until somebody removes it.
        State::Tentative(_) | State::Moved => true,
        _ => false,
    }
}

/// Takes an ephemeral name away that has no user left. False: it has one.
pub fn take_away(sem: &ShmExclusive, me: Owner) -> Result<bool> {
    if !is_abandoned(sem) {
        return Ok(false);
    }
    if sem.is_exclusive() { take_exclusive(sem, me) } else { take_counting(sem) }
}

fn take_exclusive(sem: &ShmExclusive, me: Owner) -> Result<bool> {
    let word = sem.load();
    match word.state() {
        _ if word.generation() != sem.generation => return Ok(true),
        State::Free => {}
        // Of a dead owner: its claim is ended first, and then it is as any other.
        State::Owned(_) => {
            if sem.end_dead(me) {
                return take_exclusive(sem, me);
            }
            return Ok(false);
        }
        _ => return Ok(false),
    }
    // In its hands by a joint request that never comes true: whoever wants it makes that fail, and so the step to REMOVED.
    let lock = sem.arena.joint(me, |joint| super::many::settle_the_last(sem.arena, me, joint))?;
    let state = &lock.joint.state;
    lock.joint.targets[0].store(sem.target(), Relaxed);
    lock.joint.len.store(1, Relaxed);
    let number = joint::begin(state);
    let tentative = word.tentative(number, me);
    let cell = sem.cell();
    let mut gone = false;
    if cell.word.compare_exchange(word.0, tentative.0, SeqCst, Relaxed).is_ok() {
        fence(SeqCst);
        let removed = Word::removed(sem.generation);
        gone = !has_users(sem) && cell.word.compare_exchange(tentative.0, removed.0, AcqRel, Relaxed).is_ok();
        if !gone {
            joint::settle_word(&cell.word, tentative, sem.generation, state);
        }
    }
    joint::verdict(state, number);
    if gone {
        super::futex::wake_all(super::futex::low(&cell.word));
        names::unlink(sem.arena, sem.index)?;
    }
    Ok(gone)
}

fn take_counting(sem: &ShmExclusive) -> Result<bool> {
    let (book, words) = (sem.book(), sem.book().words());
    book.reclaim();
    loop {
        let w: Count = book.settled();
        if words.is_gone() || w.has(CLOSED) {
            break;
        }
        if w.has(PENDING) {
            count::Ledger::wake_pending(&book, words.count.count);
            continue;
        }
        let seen = w.bumped(w.flags() & !OPENED);
        if !words.count.swap(w, seen) {
            continue;
        }
        fence(SeqCst);
        let bounds = count::Bounds::read(words.count.bounds.load(Acquire));
        // As in `removal::close`.
        if is_event(sem.cell()) && book.give_outstanding() {
            continue;
        }
        let counts = !is_credit(sem.cell()) && !is_event(sem.cell());
        if seen.free() != bounds.total as i32 && counts || has_users(sem) {
            return Ok(false);
        }
        if words.count.swap(seen, seen.with_flags(seen.flags() | CLOSED)) {
            break;
        }
    }
    let w = sem.load();
    if w.state() == State::Free && w.generation() == sem.generation {
        names::remove(sem.arena, sem.index, w)?;
    }
    Ok(true)
}

/// 102, if this process holds the semaphore or waits for it.
pub fn check_close(sem: &ShmExclusive) -> Result<()> {
    let Some(me) = sem.arena.me() else { return Ok(()) };
    let holds = match sem.is_exclusive() {
        true => sem.load().owner() == Some(me) && sem.load().generation() == sem.generation,
        false => {
            sem.book().settled();
            sem.book().holds().any(|(_, e, _)| owner_of(e) == Some(me))
        }
    };
    let waits = waiters::of_slot(&sem.arena.map, me.slot()).any(|(_, w)| w.target.load(Acquire) == sem.target());
    if !holds && !waits {
        return Ok(());
    }
    let name = sem.name().as_str();
    let what = if holds { "holds" } else { "waits for" };
    Err(Error::new(Code::SemIsSet, format!("this process still {what} `{name}`"))
        .of(name)
        .advice("release it first; nothing has changed, and the handle is as good as before"))
}
