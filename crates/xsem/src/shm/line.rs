//! The line: who is not the oldest waiter of a semaphore sleeps for a short while on its own record, and not on the
//! semaphore's word, so that a release does not wake all for one. As in `protocol.rs`, what is around it comes through a
//! trait, and the model checker runs the code that ships.
//!
//! | turn | means | set by |
//! |---|---|---|
//! | 0 | not in line | who publishes the record, or leaves the line |
//! | 1 | in line: sleeps on this word, or is about to | its owner |
//! | 3 | its request is over | its owner |
//! | others | called at this time: it is the oldest, if nobody older has come | the oldest before it, who wakes it |
//!
//! Who lines up says so in its record, marks that of the oldest as [`FOLLOWED`], and sees the oldest still in its place. Who
//! was the oldest leaves that place, sees whether it was followed, and calls the one in line that waits for longest. One of
//! the two sees the other. Who is called is entered as the oldest first; who ends its request leaves the line, and then looks
//! whether it is the oldest: so it calls the next, or whoever calls finds it gone. What the kernel tells: who is in line watches the life of the oldest. What nobody tells it (the
//! one who was called is stopped or killed before it looks; who should have called is): it is in line for
//! [`LAPSE`](super::protocol::LAPSE) at most, and then sleeps on the word like everybody else.

use super::protocol::World;
use super::word::Owner;
use crate::sync::{AtomicU32, AtomicU64, Ordering::*, fence};

/// Somebody waits in line behind it: in the flags of a wait record.
pub const FOLLOWED: u32 = 16;
/// The turn of who is in line.
pub const IN_LINE: u32 = 1;

/// The turn of who has ended its request.
pub const OVER: u32 = 3;

/// The words of a waiter that the line is about.
pub struct Place<'a> {
    pub turn: &'a AtomicU32,
    pub flags: &'a AtomicU32,
}

/// What the line needs beyond [`World`].
pub trait Line: World {
    /// The words of the waiter behind a reference.
    fn place(&self, reference: u64) -> Option<Place<'_>>;
    /// Who waits for the same semaphore and is [`IN_LINE`], for longest.
    fn next_in_line(&self) -> Option<u64>;
    /// Wakes who sleeps on its turn.
    fn wake(&self, turn: &AtomicU32);
}

/// A time as a turn says it, in microseconds or so. It comes round after an hour.
fn stamp(time: u64) -> u32 {
    match (time >> 10) as u32 & !1 {
        // Some microseconds before it came round.
        0 => u32::MAX - 1,
        even => even,
    }
}

/// Since when a waiter that began at `since` may count on others to stand back: then, or since it was called.
pub fn first_since(turn: u32, since: u64, now: impl FnOnce() -> u64) -> u64 {
    match turn {
        0 | IN_LINE | OVER => since,
        called => {
            let now = now();
            now.saturating_sub((((now >> 10) as u32).wrapping_sub(called) as u64) << 10).max(since)
        }
    }
}

/// The waiter `mine` is in line from here on, and whom it is behind. None: it is not, because nobody is ahead of it.
pub fn line_up<W: Line>(w: &W, oldest: &AtomicU64, mine: u64) -> Option<Owner> {
    let place = w.place(mine)?;
    let ahead = oldest.load(Acquire);
    let first = if ahead == 0 || ahead == mine { None } else { w.waiting(ahead) };
    let lined = first.filter(|first| {
        place.turn.store(IN_LINE, SeqCst);
        if let Some(of_first) = w.place(ahead) {
            of_first.flags.fetch_or(FOLLOWED, SeqCst);
        }
        fence(SeqCst);
        // Nor is it the same record in the hands of its next wait, which does not know of us.
        oldest.load(SeqCst) == ahead && w.waiting(ahead).is_some_and(|again| again.since == first.since)
    });
    if lined.is_none() {
        place.turn.store(0, Relaxed);
    }
    lined.map(|first| first.owner)
}

/// The waiter `mine`, which was the oldest and has left that place, calls who is next.
pub fn call_next<W: Line>(w: &W, oldest: &AtomicU64, mine: u64) {
    fence(SeqCst);
    if w.place(mine).is_none_or(|p| p.flags.load(SeqCst) & FOLLOWED == 0) {
        return;
    }
    while let Some((next, place)) = w.next_in_line().and_then(|next| Some((next, w.place(next)?))) {
        // First: who is behind us is behind it from here on, or behind whoever has come in between.
        place.flags.fetch_or(FOLLOWED, SeqCst);
        while let Err(other) = oldest.compare_exchange(0, next, SeqCst, SeqCst) {
            if let Some(of_other) = w.place(other) {
                of_other.flags.fetch_or(FOLLOWED, SeqCst);
            }
            fence(SeqCst);
            if oldest.load(SeqCst) == other {
                break;
            }
        }
        let called = place.turn.compare_exchange(IN_LINE, stamp(w.now()), SeqCst, SeqCst);
        if called.is_ok() {
            w.wake(place.turn);
        }
        // Else it sleeps on the word by now.
        if called != Err(OVER) && w.waiting(next).is_some() {
            return;
        }
        // Its request is over, and it may not have seen that it was the oldest; or it has died, or its record is that of a wait
        // for something else.
        let _ = oldest.compare_exchange(next, 0, SeqCst, Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_time_comes_back_from_a_turn() {
        for now in [5_000, 1 << 30, (1 << 42) + 77_777, 1 << 50] {
            let called = stamp(now);
            assert!(called > IN_LINE);
            for later in [0, 4_096, 1_000_000, 1_000_000_000] {
                let first = first_since(called, 0, || now + later);
                assert!(first.abs_diff(now) < 4_096, "{now} {later}: {first}");
            }
        }
        assert_eq!(first_since(0, 7, || 9), 7);
        assert_eq!(first_since(IN_LINE, 7, || 9), 7);
    }
}
