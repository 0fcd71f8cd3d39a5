//! Draining: new requests are refused until somebody reopens the semaphore, and whoever drains it waits for the others.
//!
//! The flag in the semaphore's word refuses; `Cold::drain` says whose flag that is (`state << 32 | owner`):
//!
//! | state | means | the flag |
//! |---|---|---|
//! | 0 | open | is not set, or is being cleared |
//! | DRAINING | its owner waits for the others to end | stands while that owner lives |
//! | DONE | drained | stands |
//! | OPENING | its owner clears the flag, and then the state | does not stand |
//!
//! Whoever meets a flag that does not stand, because its owner is dead, goes on as if it were not there, and clears it.

use super::count::{self, DRAINED as COUNT_DRAINED};
use super::history::{Note, What};
use super::inspect;
use super::layout::Cold;
use super::members::Life;
use super::object::{Changed, ShmExclusive, limit};
use super::protocol::{Limit, Watching, World};
use super::sleep::{self, Spot};
use super::word::{DRAINED, Owner, State, WAITERS};
use super::world::ShmWorld;
use crate::deadline::now;
use crate::engine::Request;
use crate::error::{Code, Error, Result};
use crate::seeded::{Bug, seeded};
use crate::sync::{Ordering::*, fence};

const DRAINING: u64 = 1 << 32;
const DONE: u64 = 2 << 32;
const OPENING: u64 = 3 << 32;

/// The state that goes with a semaphore to where it moves: who is just clearing the flag does so where it was.
pub fn carried(state: u64) -> u64 {
    if state & !(u32::MAX as u64) == OPENING { 0 } else { state }
}

/// Whether a value can be one of this word.
pub fn is_state(state: u64) -> bool {
    state == 0 || matches!(state & !(u32::MAX as u64), DRAINING | DONE | OPENING) && (owner(state).is_some() || state == DONE)
}

fn owner(state: u64) -> Option<Owner> {
    Owner::from_bits(state as u32)
}

fn is_alive(sem: &ShmExclusive, state: u64) -> bool {
    owner(state).is_some_and(|o| sem.arena.members.life(&sem.arena.map, o) == Life::Alive)
}

/// Whether a flag that was seen stands. Clears it if not.
pub fn stands(sem: &ShmExclusive, me: Owner) -> bool {
    let Some(cold) = sem.arena.map.cold(sem.index) else { return false };
    let state = cold.drain.load(Acquire);
    match state & !(u32::MAX as u64) {
        DONE => true,
        DRAINING if is_alive(sem, state) || seeded(Bug::DeadDrainStands) => true,
        OPENING if is_alive(sem, state) => false,
        _ => {
            open(sem, cold, state, me);
            false
        }
    }
}

/// Whether it is closed to new requests, for those who only look. The state alone does not say so: the flag is set after it, and
/// until then requests are let in.
pub fn is_closed(sem: &ShmExclusive) -> bool {
    let flag = match sem.is_exclusive() {
        true => sem.load().has(DRAINED),
        false => sem.book().words().count.load().has(COUNT_DRAINED),
    };
    if !flag {
        return false;
    }
    let state = sem.arena.map.cold(sem.index).map_or(0, |c| c.drain.load(Acquire));
    match state & !(u32::MAX as u64) {
        DONE => true,
        DRAINING => is_alive(sem, state),
        _ => false,
    }
}

/// Clears the flag, if the state is still the one that was seen; else false.
fn open(sem: &ShmExclusive, cold: &Cold, seen: u64, me: Owner) -> bool {
    let opening = OPENING | me.bits() as u64;
    if cold.drain.compare_exchange(seen, opening, AcqRel, Relaxed).is_err() {
        return false;
    }
    set_flag(sem, false, || cold.drain.load(Acquire) == opening);
    let _ = cold.drain.compare_exchange(opening, 0, AcqRel, Relaxed);
    true
}

/// Sets or clears the flag in the word, as long as that is to be done; false: the semaphore is gone.
fn set_flag(sem: &ShmExclusive, on: bool, go_on: impl Fn() -> bool) -> bool {
    if !sem.is_exclusive() {
        let words = sem.book().words();
        loop {
            let w = words.count.load();
            if words.is_gone() || w.has(count::CLOSED) {
                return false;
            }
            if !go_on() {
                return true;
            }
            let to = w.bumped(if on { w.flags() | COUNT_DRAINED } else { w.flags() & !COUNT_DRAINED });
            if w.flags() == to.flags() || words.count.swap(w, to) {
                return true;
            }
        }
    }
    loop {
        let w = sem.load();
        if w.generation() != sem.generation || !matches!(w.state(), State::Free | State::Owned(_)) {
            return false;
        }
        if !go_on() {
            return true;
        }
        let to = if on { w.with(DRAINED) } else { w.without(DRAINED) };
        if w == to {
            return true;
        }
        // A release that has begun sets the low half without looking, and so undoes this: who drains looks again, and a flag
        // that is set without a drain is cleared by whoever meets it. So does one that is in the middle of a plain release, and may
        // have been stopped there: that is not waited for.
        let done = match sem.change(w, to) {
            Changed::Unclear => sem.cell().word.compare_exchange(w.0, to.0, AcqRel, Relaxed).is_ok(),
            changed => changed == Changed::Yes,
        };
        if done {
            return true;
        }
    }
}

/// Lets requests in again.
pub fn reopen(sem: &ShmExclusive, me: Owner) {
    let Some(cold) = sem.arena.map.cold(sem.index) else { return };
    loop {
        let state = cold.drain.load(Acquire);
        // Somebody who lives is at it: requests are let in already.
        let opening = state & !(u32::MAX as u64) == OPENING && is_alive(sem, state);
        if state == 0 || opening {
            return;
        }
        // Not opened: it went on in between, from DRAINING to DONE for instance.
        if open(sem, cold, state, me) {
            // Who drains it finds that it is open.
            return super::futex::wake_all(super::futex::low(sem.futex()));
        }
    }
}

/// Drains it: refuses new requests and waits until nobody holds it or waits for it.
pub fn drain(sem: &ShmExclusive, me: Owner, request: &Request<'_>) -> Result<()> {
    let mut at = sem.current();
    let mut begun = false;
    let began = now();
    if sem.arena.is_recorded() && !is_closed(at) {
        sem.note(Note::of(sem, What::DRAINING));
    }
    loop {
        let done = drain_here(at, me, request, begun);
        let next = at.current();
        if done.is_ok() || std::ptr::eq(at, next) {
            if sem.arena.is_recorded() {
                let what = done.as_ref().map_or_else(|e| What::refused(e.code()), |()| What::DRAINED);
                sem.note(Note { took: now().saturating_sub(began).max(1), ..Note::of(sem, what) });
            }
            return done;
        }
        // Its owner was evicted meanwhile, which is what one does with one that hangs: it goes on elsewhere, and so does
        // the drain.
        (at, begun) = (next, true);
    }
}

/// The same for a semaphore that does not move. `begun`: the drain came with it from where it was before.
fn drain_here(sem: &ShmExclusive, me: Owner, request: &Request<'_>, begun: bool) -> Result<()> {
    let cold = sem.arena.map.ensure_cold(sem.index)?;
    let mine = DRAINING | me.bits() as u64;
    let name = sem.name().as_str();
    loop {
        let state = cold.drain.load(Acquire);
        match state & !(u32::MAX as u64) {
            0 => {}
            // Nobody can have come since; and a drain that began anew would open it again, if it died.
            DONE => return Ok(()),
            _ if !is_alive(sem, state) => {
                open(sem, cold, state, me);
                continue;
            }
            DRAINING if state == mine && begun => break,
            DRAINING if owner(state) == Some(me) => return Err(busy(name, "is being drained by this process already")),
            DRAINING => return Err(busy(name, "is being drained by somebody else")),
            _ => return Err(busy(name, "is being opened again by somebody else")),
        }
        if cold.drain.compare_exchange(state, mine, AcqRel, Relaxed).is_ok() {
            break;
        }
    }
    let done = wait_for_the_others(sem, me, request, cold, mine);
    match &done {
        Ok(()) => {
            if cold.drain.compare_exchange(mine, DONE, AcqRel, Relaxed).is_err() {
                return Err(reopened(name));
            }
        }
        Err(_) => {
            // False: somebody has opened it already.
            open(sem, cold, mine, me);
        }
    }
    done
}

fn busy(name: &str, what: &str) -> Error {
    Error::new(Code::SemIsSet, format!("`{name}` {what}"))
        .of(name)
        .advice("wait for that, or reopen it: `xsem drain --reopen NAME`")
}

fn reopened(name: &str) -> Error {
    Error::new(Code::Interrupt, format!("`{name}` was opened again while it was being drained")).of(name)
}

fn wait_for_the_others(sem: &ShmExclusive, me: Owner, request: &Request<'_>, cold: &Cold, mine: u64) -> Result<()> {
    let world = ShmWorld::new(sem, me, Some(request));
    let mut gave_up = false;
    loop {
        if !set_flag(sem, true, || true) {
            return Err(sem.stale());
        }
        if cold.drain.load(Acquire) != mine {
            return Err(reopened(sem.name().as_str()));
        }
        // Waiters first: one that is gone by the next look is an owner then, or has left. And what ends after that look
        // changes the word.
        fence(SeqCst);
        let waiters = inspect::waiters_of(sem.arena, sem.index, sem.generation, None);
        let Some((expect, busy)) = arm(sem, me) else { return Err(sem.stale()) };
        if busy.is_none() && waiters.is_empty() {
            return Ok(());
        }
        let left = |code, text: String| {
            Error::new(code, text)
                .of(sem.name().as_str())
                .held_by(inspect::holders(sem.arena, sem.index))
                .behind(inspect::waiters_of(sem.arena, sem.index, sem.generation, None).into_iter().map(|(_, w)| w).collect())
        };
        let limit = limit(request);
        let out_of_time = match limit {
            Limit::Now => true,
            Limit::At(t) => now() >= t,
            Limit::Never => false,
        };
        if gave_up || world.is_cancelled() {
            return Err(left(Code::Interrupt, format!("draining `{}` was cancelled; it is open again", sem.name())));
        }
        if out_of_time {
            return Err(left(Code::SemTimeout, format!("`{}` is still in use; it is open again", sem.name()))
                .advice("wait longer, or end those who use it (`xsem evict`)"));
        }
        // Waiters come and go without touching the word: a look now and then.
        let look = now() + if waiters.is_empty() { 1_000_000_000 } else { 5_000_000 };
        let until = if let Limit::At(t) = limit { look.min(t) } else { look };
        let spot = Spot { word: sem.futex(), expect, watch: busy.unwrap_or(Watching::Nobody), book: sem.book() };
        gave_up = sleep::on(sem.arena, me, &[spot], Some(request), Some(until));
    }
}

/// Sees to it that the end of a claim wakes the caller: the futex value to sleep on, and whom to watch if somebody holds
/// it. None: it is gone. Ends claims of the dead on the way.
fn arm(sem: &ShmExclusive, me: Owner) -> Option<(u32, Option<Watching>)> {
    if !sem.is_exclusive() {
        let book = sem.book();
        loop {
            book.reclaim();
            let words = book.words();
            let w = book.settled();
            if words.is_gone() || w.has(count::CLOSED) {
                return None;
            }
            if w.has(count::PENDING) {
                count::Ledger::wake_pending(&book, words.count.count);
                continue;
            }
            let armed = w.with_flags(w.flags() | count::WAITERS);
            if armed == w || words.count.swap(w, armed) {
                let held = book.holds().next().is_some() || !armed.has(COUNT_DRAINED);
                return Some((armed.low(), held.then_some(Watching::Holders(None))));
            }
        }
    }
    loop {
        let w = sem.load();
        if w.generation() != sem.generation {
            return None;
        }
        let watch = match w.state() {
            // Lost again to a release: the caller sets it once more.
            State::Free if !w.has(DRAINED) => Some(Watching::Nobody),
            State::Free => None,
            State::Owned(o) if o != me && sem.arena.members.life(&sem.arena.map, o) != Life::Alive => {
                if !sem.end_dead(me) {
                    // Over in a moment, or its command still runs: the caller looks again, and at its time.
                    super::sys::nap(std::time::Duration::from_millis(1));
                    return Some((!w.low(), Some(Watching::Nobody)));
                }
                continue;
            }
            State::Owned(o) if o == me => Some(Watching::Nobody),
            State::Owned(o) => Some(Watching::One(o)),
            _ => return None,
        };
        if w.state() == State::Free && watch.is_some() {
            // Nothing to sleep on: this value is not the word's.
            return Some((!w.low(), watch));
        }
        let Some(watch) = watch else { return Some((w.low(), None)) };
        let armed = w.with(WAITERS);
        match sem.change(w, armed) {
            Changed::Yes => return Some((armed.low(), Some(watch))),
            Changed::Lost => {}
            Changed::Unclear => {
                // As above.
                super::sys::nap(std::time::Duration::from_micros(200));
                return Some((!w.low(), Some(Watching::Nobody)));
            }
        }
    }
}
