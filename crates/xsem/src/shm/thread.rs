//! Threads as claimants, and what they leave when they end.

use super::arena;
use super::object::ShmExclusive;
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(1);

thread_local! {
    /// The thread's number, and how many semaphores it owns. Without a destructor: the uncontended path reads them.
    static NUMBER: Cell<u32> = const { Cell::new(0) };
    static OWNED: Cell<usize> = const { Cell::new(0) };
    static LAST_WORDS: LastWords = const { LastWords };
}

/// The calling thread's number in this process: small, never 0, never used twice.
#[inline]
pub fn claimant() -> u32 {
    match NUMBER.get() {
        0 => first(),
        n => n,
    }
}

#[cold]
fn first() -> u32 {
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    NUMBER.set(n);
    // Registers the destructor. A thread that is ending already has had its last word.
    let _ = LAST_WORDS.try_with(|_| ());
    n
}

/// The thread owns one more.
#[inline]
pub fn took_one() {
    OWNED.set(OWNED.get() + 1);
}

/// The thread owns one fewer.
#[inline]
pub fn gave_one_back() {
    OWNED.set(OWNED.get().saturating_sub(1));
}

struct LastWords;

impl Drop for LastWords {
    /// A guard was forgotten, or the thread was ended without unwinding: its claims end here, with the mark.
    fn drop(&mut self) {
        if OWNED.get() == 0 {
            return;
        }
        for arena in arena::all() {
            if let Some(me) = arena.me() {
                (0..arena.map.cells()).for_each(|i| ShmExclusive::end_of_thread(arena, i, me, NUMBER.get()));
            }
        }
    }
}
