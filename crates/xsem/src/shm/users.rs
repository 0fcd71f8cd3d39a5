//! Ephemeral names: gone with their last user. Who has one open has an entry in its ledger; when nobody has, and nobody
//! holds or waits for it, whoever comes next finds no such name, and takes the room.
//!
//! An opener links its entry and then sees to it that the word has changed (JOINED on an owned word, OPENED on a count
//! word). Who takes the name away clears that flag, then looks for users, then changes the word: an entry that was linked
//! after the look makes that change fail. Meanwhile an exclusive semaphore is its own, so nobody else comes and goes.

use super::count::{self, CLOSED, Count, Doing, OPENED, Op, PENDING};
use super::inspect::{is_ephemeral, waiters_of};
use super::ledger::{Book, owner_of};
use super::members::Life;
use super::names;
use super::object::ShmExclusive;
use super::protocol::{Limit, Outcome};
use super::waiters;
use super::word::{JOINED, Owner, State, Word};
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
    loop {
        let w = sem.load();
        match w.state() {
            State::Owned(_) if w.generation() == sem.generation => {
                if w.has(JOINED) || sem.cell().word.compare_exchange(w.0, w.with(JOINED).0, SeqCst, Relaxed).is_ok() {
                    return true;
                }
            }
            State::Free | State::Creating(_) | State::Moved if w.generation() == sem.generation => return true,
            _ => return false,
        }
    }
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
    match sem.try_for(me, Limit::Now)? {
        Outcome::Owned => {}
        Outcome::Stale => return Ok(true),
        _ => return Ok(false),
    }
    loop {
        let w = sem.load();
        if w.has(JOINED) && sem.cell().word.compare_exchange(w.0, w.without(JOINED).0, SeqCst, Relaxed).is_err() {
            continue;
        }
        let w = w.without(JOINED);
        fence(SeqCst);
        if !has_users(sem) && names::remove(sem.arena, sem.index, w)? {
            return Ok(true);
        }
        if has_users(sem) {
            sem.end(me, false);
            return Ok(false);
        }
    }
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
        if seen.free() != bounds.total as i32 && !super::inspect::is_credit(sem.cell()) || has_users(sem) {
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
        false => sem.book().holds().any(|(_, e, _)| owner_of(e) == Some(me)),
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
