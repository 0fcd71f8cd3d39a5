//! Threads as claimants, and what they leave when they end.
//!
//! A thread that claims something sets a value for a key of the C library, whose destructor is the thread's last word: it
//! runs however the thread ends (it returns, `pthread_exit`, it is cancelled), also for threads that C code has started. It
//! runs after the destructors of thread-local variables, which may still give claims back or make some. What a destructor of
//! another key claims later still is ended in the next round of them: the C library makes up to four.
//!
//! It does not run for the thread that ends the process by `exit`: exit handlers may still use and give back what that
//! thread owns, and what they leave ends with the process.

use super::arena;
use super::object::ShmExclusive;
use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The key + 1; 0: not made yet; `NO_KEY`: there are too many in the program.
static KEY: AtomicU32 = AtomicU32::new(0);
const NO_KEY: u32 = u32::MAX;

/// One more claim of the thread on a counting semaphore, in its word.
const ONE: u64 = 1;

thread_local! {
    /// `number << 32 | claims on counting semaphores`: one word without a destructor, because the uncontended path reads it. What
    /// the thread owns exclusively is not counted, since that would make each acquire and release a third slower: the cells
    /// say so, and are asked where it matters.
    static THREAD: Cell<u64> = const { Cell::new(0) };
    /// The thread is at its last words.
    static ENDING: Cell<bool> = const { Cell::new(false) };
    /// For a program that has used up all keys.
    static LAST_WORDS: LastWords = const { LastWords };
}

/// The calling thread's number in this process: small, never 0, below the numbers of other claimants.
#[inline]
pub fn claimant() -> u32 {
    (word() >> 32) as u32
}

/// Whether the calling thread owns nothing.
pub fn owns_nothing() -> bool {
    let w = THREAD.get();
    w as u32 == 0
        && (w == 0 || arena::all().all(|a| a.me().is_none_or(|me| ShmExclusive::owned_by(a, me, claimant()).next().is_none())))
}

/// The thread has one more claim on a counting semaphore; its number.
#[inline(always)]
pub fn take_one() -> u32 {
    let w = word();
    THREAD.set(w.wrapping_add(ONE));
    (w >> 32) as u32
}

/// It has one fewer.
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
    // Below the numbers of claimants that are not threads.
    let number = 1 + NEXT.fetch_add(1, Ordering::Relaxed) % (crate::future::FIRST_CLAIMANT - 1);
    let w = (number as u64) << 32;
    THREAD.set(w);
    // The system is asked for the keys of a thread's hash tables once, which is a place to be cancelled in.
    let _whole = super::sys::whole();
    let _keys = std::hash::RandomState::new();
    let said = key().is_some_and(|key| {
        // SAFETY: a key that was made and is never deleted; the value is only compared with null, by the C library.
        unsafe { libc::pthread_setspecific(key, std::ptr::from_ref(&KEY).cast()) == 0 }
    });
    if !said {
        // Registers a destructor. A thread whose variables are being taken down already has had its last word.
        let _ = LAST_WORDS.try_with(|_| ());
    }
    w
}

/// The key whose value has the destructor.
fn key() -> Option<libc::pthread_key_t> {
    match KEY.load(Ordering::Acquire) {
        NO_KEY => return None,
        0 => {}
        k => return Some(k - 1),
    }
    crate::pin::library();
    let mut key = 0;
    // SAFETY: `key` is valid for writes; the destructor is code that stays loaded, see above.
    let made = unsafe { libc::pthread_key_create(&mut key, Some(last_words)) } == 0;
    let mine = if made && key < NO_KEY - 1 { key + 1 } else { NO_KEY };
    match KEY.compare_exchange(0, mine, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            // SAFETY: a handler that takes no lock and only writes a word of the thread. Where it cannot be had, or does not
            // run (a plain `clone`), the child's thread looks for deadlocks in vain; no more.
            unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        }
        Err(_) if made => {
            // SAFETY: made above, and nobody has used it.
            unsafe { libc::pthread_key_delete(key) };
        }
        Err(_) => {}
    }
    KEY.load(Ordering::Acquire).checked_sub(1).filter(|k| *k != NO_KEY - 1)
}

/// A guard was forgotten, or the thread was ended without unwinding: its claims end here, with the mark.
extern "C" fn last_words(_: *mut c_void) {
    let w = THREAD.get();
    if w == 0 {
        return;
    }
    let claimant = (w >> 32) as u32;
    ENDING.set(true);
    arena::all().for_each(super::short::give_all_back);
    for arena in arena::all() {
        let Some(me) = arena.me() else { continue };
        if w as u32 == 0 {
            ShmExclusive::owned_by(arena, me, claimant).for_each(|i| ShmExclusive::end_of_thread(arena, i, me, claimant));
        } else {
            (0..arena.map.cells()).for_each(|i| ShmExclusive::end_of_thread(arena, i, me, claimant));
        }
    }
    crate::memory::thread_ended(claimant);
    // Who claims something after this does so as a new claimant, with a last word of its own.
    ENDING.set(false);
    THREAD.set(0);
}

/// What the C library calls when the thread ends, for a tracer that steps through it: the thread goes on, and owns nothing.
pub fn end_here() {
    last_words(std::ptr::null_mut());
}

/// In a forked child its thread owns nothing: it is no member.
extern "C" fn in_child() {
    THREAD.set(THREAD.get() & !(u32::MAX as u64));
}

/// Whether the calling thread may log: the variables that a logger uses are gone when the thread says its last words.
pub fn may_log() -> bool {
    !ENDING.get()
}

struct LastWords;

impl Drop for LastWords {
    fn drop(&mut self) {
        last_words(std::ptr::null_mut());
    }
}
