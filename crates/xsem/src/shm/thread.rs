//! Threads as claimants, and what they leave when they end.

use super::arena;
use super::object::ShmExclusive;
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(1);

/// One more semaphore that the thread owns, in its word.
const ONE: u64 = 1;

thread_local! {
    /// `number << 32 | semaphores owned`: one word without a destructor, because the uncontended path reads and writes it.
    static THREAD: Cell<u64> = const { Cell::new(0) };
    static LAST_WORDS: LastWords = const { LastWords };
}

/// The calling thread's number in this process: small, never 0, never used twice.
#[inline]
pub fn claimant() -> u32 {
    (word() >> 32) as u32
}

/// Whether the calling thread owns nothing.
pub fn owns_nothing() -> bool {
    THREAD.get() as u32 == 0
}

/// The thread owns one more; its number.
#[inline(always)]
pub fn take_one() -> u32 {
    let w = word();
    THREAD.set(w.wrapping_add(ONE));
    (w >> 32) as u32
}

/// The thread owns one fewer.
#[inline(always)]
pub fn give_one_back() {
    THREAD.set(THREAD.get().wrapping_sub(ONE));
}

#[inline(always)]
fn word() -> u64 {
    match THREAD.get() {
        0 => first(),
        w => w,
    }
}

#[cold]
#[inline(never)]
fn first() -> u64 {
    let w = (NEXT.fetch_add(1, Ordering::Relaxed) as u64) << 32;
    THREAD.set(w);
    // Registers the destructor. A thread that is ending already has had its last word.
    let _ = LAST_WORDS.try_with(|_| ());
    w
}

struct LastWords;

impl Drop for LastWords {
    /// A guard was forgotten, or the thread was ended without unwinding: its claims end here, with the mark.
    fn drop(&mut self) {
        arena::all().for_each(super::short::give_all_back);
        if THREAD.get() as u32 == 0 {
            return;
        }
        for arena in arena::all() {
            if let Some(me) = arena.me() {
                (0..arena.map.cells()).for_each(|i| ShmExclusive::end_of_thread(arena, i, me, claimant()));
            }
        }
    }
}
