//! Locks of this process that a forked child never finds held.
//!
//! A fork copies the memory with one thread only. A lock that another thread held at that instant stays held in the child
//! for ever, and what it protects may be half written. `pthread_atfork` is no way out: its handlers take the locks in the
//! parent, which hangs where a signal handler forks, and they do not run for a plain `clone`.
//!
//! So each process has an *epoch*: a number in a page that the kernel wipes in every copy of the memory, however it was made.
//! The word of a [`ForkLock`] says for which epoch it holds. A lock of another epoch is void: whoever takes it next makes
//! its content anew, and the old content is neither read nor dropped, since it may be torn. What the content owned (memory,
//! descriptors, threads) is lost to the child; the parent has it still.
//!
//! The rule for what lies in such a lock: it must be enough to begin with nothing. What a child shall find again does not
//! belong there; see the list of open namespaces (`shm/arena.rs`), which is only ever added to, without a lock.
//!
//! A program that forks without exec'ing while *this thread* holds such a lock (in a signal handler) may take it in the
//! child, too; it must not return there from the handler to the code that it interrupted.

use crate::error::{Code, Error, Result};
use crate::shm::futex;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};

/// The page with the epoch in its first word; null: not yet made.
static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new(null_mut());
/// The kernel cannot wipe pages (it is older than 4.14, or there is no memory): the process id tells then.
static NO_PAGE: AtomicBool = AtomicBool::new(false);
/// `process id << 32 | epoch`, where there is no page.
static BY_PID: AtomicU64 = AtomicU64::new(0);
/// The last epoch that was given out, here or in the process that this one was forked from: so the epochs along one line of
/// descent all differ.
static LAST: AtomicU32 = AtomicU32::new(0);

/// Bits of an epoch: as many generations of children of children there may be before one is taken for another.
const EPOCHS: u32 = u32::MAX >> 2;

/// The number of this process among those that it descends from by forks; never 0.
#[inline]
pub fn epoch() -> u32 {
    // SAFETY: published by `make_page`, all zeros or an epoch, and never unmapped.
    match unsafe { PAGE.load(Acquire).as_ref() } {
        Some(page) => match page.load(Relaxed) {
            0 => begin(page),
            e => e,
        },
        None => make_page(),
    }
}

/// The first look of this process.
#[cold]
fn begin(page: &AtomicU32) -> u32 {
    let mine = next();
    page.compare_exchange(0, mine, Relaxed, Relaxed).map_or_else(|other| other, |_| mine)
}

fn next() -> u32 {
    loop {
        let e = LAST.fetch_add(1, Relaxed).wrapping_add(1) & EPOCHS;
        if e != 0 {
            return e;
        }
    }
}

#[cold]
fn make_page() -> u32 {
    if NO_PAGE.load(Relaxed) {
        return by_pid();
    }
    let Ok(page) = wiped_on_fork(4096) else {
        NO_PAGE.store(true, Relaxed);
        return by_pid();
    };
    let page = page.cast_mut().cast::<AtomicU32>();
    if PAGE.compare_exchange(null_mut(), page, AcqRel, Acquire).is_err() {
        // SAFETY: a page of our own, that nobody has seen.
        unsafe { libc::munmap(page.cast(), 4096) };
    }
    epoch()
}

/// The epoch where no page tells it. A child with its parent's number (each the first of a pid namespace) is not noticed.
fn by_pid() -> u32 {
    let pid = (std::process::id() as u64) << 32;
    loop {
        let seen = BY_PID.load(Relaxed);
        if seen & !(u32::MAX as u64) == pid && seen as u32 != 0 {
            return seen as u32;
        }
        let mine = next();
        if BY_PID.compare_exchange(seen, pid | mine as u64, Relaxed, Relaxed).is_ok() {
            return mine;
        }
    }
}

/// Zeroed memory of this process that a forked child sees as zeros again. Never unmapped.
pub fn wiped_on_fork(len: usize) -> Result<*const u8> {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // SAFETY: a fresh mapping at an address of the kernel's choice disturbs nothing.
    let p = unsafe { libc::mmap(null_mut(), len, prot, flags, -1, 0) };
    let fail = |what| {
        Error::new(Code::NotEnoughMemory, what)
            .because(std::io::Error::last_os_error())
            .advice("raise the limit on memory (`ulimit -v`, the cgroup's `memory.max`), or allow the call (seccomp)")
    };
    if p == libc::MAP_FAILED {
        return Err(fail("no memory for the process's own tables"));
    }
    // SAFETY: the range was just mapped.
    if unsafe { libc::madvise(p, len, libc::MADV_WIPEONFORK) } != 0 {
        let e = fail("the kernel cannot wipe memory on fork (it needs Linux 4.14)");
        // SAFETY: mapped above, and nobody has seen it.
        unsafe { libc::munmap(p, len) };
        return Err(e);
    }
    Ok(p.cast())
}

/// In the low bits of a lock's word, below its epoch.
const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and somebody sleeps.
const AWAITED: u32 = 2;
const STATE: u32 = 3;

/// A lock with its content, which begins anew in a forked child.
pub struct ForkLock<T> {
    /// `epoch << 2 | state`; 0: never taken.
    word: AtomicU32,
    /// Initialized when the word has an epoch and is not in the hands of who makes it.
    content: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the content is only reached by who holds the lock, one thread of one process at a time.
unsafe impl<T: Send> Send for ForkLock<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for ForkLock<T> {}

impl<T> ForkLock<T> {
    /// A lock without content: the first one who takes it makes that.
    pub const fn new() -> ForkLock<T> {
        ForkLock { word: AtomicU32::new(0), content: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Takes the lock. `fresh` makes the content where this process has none yet.
    pub fn lock_or(&self, fresh: impl FnOnce() -> T) -> ForkGuard<'_, T> {
        let mine = epoch() << 2;
        let mut spins = 100;
        let mut as_awaited = HELD;
        loop {
            let w = self.word.load(Relaxed);
            if w & !STATE != mine {
                return match self.word.compare_exchange(w, mine | HELD, Acquire, Relaxed) {
                    Ok(_) => self.renewed(mine, fresh),
                    Err(_) => continue,
                };
            }
            if w & STATE == FREE {
                if self.word.compare_exchange(w, mine | as_awaited, Acquire, Relaxed).is_ok() {
                    return ForkGuard { lock: self, epoch: mine, _of: PhantomData };
                }
                continue;
            }
            if spins > 0 {
                spins -= 1;
                std::hint::spin_loop();
                continue;
            }
            // Others may sleep beside us: whoever wakes must leave the flag.
            as_awaited = AWAITED;
            if w & STATE == AWAITED || self.word.compare_exchange(w, mine | AWAITED, Relaxed, Relaxed).is_ok() {
                futex::wait_private(&self.word, mine | AWAITED);
            }
        }
    }

    /// With the lock just taken for a new epoch: makes the content. Should `fresh` panic, nothing has happened.
    #[cold]
    fn renewed(&self, epoch: u32, fresh: impl FnOnce() -> T) -> ForkGuard<'_, T> {
        /// Gives the lock back as one that was never taken.
        struct Undo<'a>(&'a AtomicU32);
        impl Drop for Undo<'_> {
            fn drop(&mut self) {
                self.0.store(0, Release);
                futex::wake_private_all(self.0);
            }
        }
        let undo = Undo(&self.word);
        let content = fresh();
        std::mem::forget(undo);
        // SAFETY: the lock is ours. What was there is not dropped: it is another process's, and may be torn.
        unsafe { (*self.content.get()).write(content) };
        ForkGuard { lock: self, epoch, _of: PhantomData }
    }
}

impl<T: Default> ForkLock<T> {
    /// Takes the lock; a content that is not there yet is the default.
    pub fn lock(&self) -> ForkGuard<'_, T> {
        self.lock_or(T::default)
    }
}

impl<T: Default> Default for ForkLock<T> {
    fn default() -> ForkLock<T> {
        ForkLock::new()
    }
}

impl<T> Drop for ForkLock<T> {
    /// Drops the content, unless it is that of the process that this one was forked from.
    fn drop(&mut self) {
        let w = *self.word.get_mut();
        if w != 0 && w & !STATE == epoch() << 2 {
            // SAFETY: initialized in this epoch; nobody else has a reference any more.
            unsafe { self.content.get_mut().assume_init_drop() };
        }
    }
}

impl<T> std::fmt::Debug for ForkLock<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForkLock").field("held", &(self.word.load(Relaxed) & STATE != FREE)).finish_non_exhaustive()
    }
}

/// The lock, held. Dropping it gives it back.
pub struct ForkGuard<'a, T> {
    lock: &'a ForkLock<T>,
    /// For which epoch, as in the word.
    epoch: u32,
    /// Neither to be sent nor to be given back by another thread, as with a guard of std.
    _of: PhantomData<*const T>,
}

impl<T> Deref for ForkGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held and its content was made; the guard is the only way to it.
        unsafe { (*self.lock.content.get()).assume_init_ref() }
    }
}

impl<T> DerefMut for ForkGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed mutably.
        unsafe { (*self.lock.content.get()).assume_init_mut() }
    }
}

impl<T> Drop for ForkGuard<'_, T> {
    fn drop(&mut self) {
        let (word, e) = (&self.lock.word, self.epoch);
        if word.compare_exchange(e | HELD, e | FREE, Release, Relaxed).is_ok() {
            return;
        }
        // Fails where it is not ours any more: a child that was forked in between has it for itself.
        if word.compare_exchange(e | AWAITED, e | FREE, Release, Relaxed).is_ok() {
            futex::wake_private_all(word);
        }
    }
}

#[cfg(test)]
#[path = "forklock_tests.rs"]
mod tests;
