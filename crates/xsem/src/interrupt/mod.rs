//! Interrupt time: code that runs inside a signal handler, or inside a scope that the program has declared as one.
//!
//! A handler interrupts code that may be in the middle of anything: it may own the very semaphore that the handler wants,
//! and then the handler waits for what cannot go on before the handler returns. So every request there is refused with 104
//! `ERROR_INVALID_AT_INTERRUPT_TIME` before anything has changed, also where the semaphore is free.
//!
//! | at interrupt time | |
//! |---|---|
//! | acquire, try, wait, of any kind, also of several; joining; draining | 104 |
//! | [`Counting::add_permits`](crate::Counting::add_permits) | allowed |
//! | [`SignalRelease::spend`](crate::SignalRelease::spend), a release that was prepared | allowed |
//! | [`CancelToken::cancel`](crate::CancelToken::cancel) | allowed |
//! | [`is_now`], [`scope`], [`check`], making and dropping an error with 104 | allowed |
//! | dropping a guard or a permit; create, open, remove, list, inspect | not allowed: they may allocate or take a lock. Nobody reports it |
//!
//! What is allowed is async-signal-safe: it allocates nothing, takes no lock, and keeps errno.
//!
//! Signal handlers are recognized without being told: whatever installed them, on every thread, on the fast path too. How,
//! what it costs, and what cannot be recognized: `docs/interrupt.md`. What is no signal handler and shall be treated like
//! one is declared: [`scope`].

mod errand;
mod full;
mod hint;
mod rseq;
mod scope;
mod selftest;
mod stack;
mod unwind;

pub(crate) use errand::Errand;
pub(crate) use hint::{Protected, SectionCode, protect, protected};
pub(crate) use rseq::{Area, SECTION_AT, SIGNATURE};
pub use scope::{Scope, scope};

use crate::code::Code;
use crate::error::{Error, Fixed, Result};
use selftest::Verdict;
use std::sync::atomic::{AtomicU32, Ordering::*};

/// After so many full checks the process looks whether it can have them cheaper. A short command never gets there.
const LOOK_AFTER: u32 = 64;

const UNKNOWN: u32 = 0;
const LOOKING: u32 = 1;
const KNOWN: u32 = 2;

static LOOKED: AtomicU32 = AtomicU32::new(UNKNOWN);

/// Whether it is interrupt time: the caller runs inside a signal handler, or inside a declared [`scope`].
///
/// ```
/// use xsem::interrupt;
/// assert!(!interrupt::is_now());
/// let scope = interrupt::scope();
/// assert!(interrupt::is_now());
/// drop(scope);
/// assert!(!interrupt::is_now());
/// ```
#[inline]
pub fn is_now() -> bool {
    !hint::is_armed() && look()
}

/// Does now, at normal time, what would otherwise be done at some request: it looks whether the cheap way to recognize
/// normal time holds on this kernel (once per process: a child process for 0.2 ms), and where this thread's stack is (once per
/// thread, with an allocation perhaps).
///
/// Requests are right without it. It is for threads that may not stand still for that long later (real time), for
/// programs that are about to enter a sandbox which forbids to make processes, and for threads of a library that was loaded
/// with `dlopen` whose first request might be in a handler. Nothing happens at interrupt time.
///
/// ```
/// xsem::interrupt::prepare();
/// ```
pub fn prepare() {
    if !look() {
        look_for_cheaper();
        normal_time();
    }
}

/// For front doors of other languages and engines: 104 at interrupt time.
///
/// # Errors
/// 104; making and dropping it allocates nothing.
#[inline]
pub fn check() -> Result<()> {
    if hint::is_armed() { Ok(()) } else { check_fully() }
}

/// Whether it is certainly normal time, at the cost of a compare. False: ask [`check`].
#[inline(always)]
pub(crate) fn hint() -> bool {
    hint::is_armed()
}

#[cold]
#[inline(never)]
fn check_fully() -> Result<()> {
    if look() { Err(refused()) } else { Ok(()) }
}

static REFUSED: Fixed = Fixed {
    code: Code::InvalidAtInterruptTime,
    message: "a semaphore cannot be requested at interrupt time (in a signal handler or a declared scope)",
    advice: "note there what happened (`add_permits`, a flag, a cancel token) and do the work in normal code",
};

/// 104, without an allocation.
#[cold]
pub(crate) fn refused() -> Error {
    Error::fixed(&REFUSED)
}

/// Whether the kernel has restartable sequences, without which every check is a full one.
pub(crate) fn kernel_has_rseq() -> bool {
    rseq::is_known()
}

/// The full check; at normal time it sees to it that the next check is cheaper.
#[cold]
#[inline(never)]
fn look() -> bool {
    let errno = errno();
    hint::FULL_CHECKS.fetch_add(1, Relaxed);
    let now = scope::is_declared() || testing::in_handler(full::in_handler);
    if !now {
        normal_time();
    }
    set_errno(errno);
    now
}

fn normal_time() {
    stack::learn(stack::here());
    match LOOKED.load(Acquire) {
        KNOWN => hint::arm(),
        UNKNOWN if hint::FULL_CHECKS.load(Relaxed) > LOOK_AFTER => errand::ask(),
        _ => {}
    }
}

/// Once per process.
#[cold]
fn look_for_cheaper() {
    if LOOKED.compare_exchange(UNKNOWN, LOOKING, AcqRel, Relaxed).is_ok() {
        let verdict = believe(selftest::run());
        tracing::debug!(hint = verdict.hint, frames = verdict.frames, "how interrupt time is recognized here");
    }
}

/// The end of looking: how requests are checked from here on.
fn believe(verdict: Verdict) -> Verdict {
    let verdict = testing::forced(verdict);
    testing::set_scans(verdict.frames);
    hint::trust(verdict.hint);
    LOOKED.store(KNOWN, Release);
    verdict
}

fn errno() -> i32 {
    // SAFETY: the calling thread's own errno.
    unsafe { *libc::__errno_location() }
}

fn set_errno(to: i32) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = to }
}

/// Runs `f` and leaves errno as it was: a handler must not change what the interrupted code is about to read.
pub(crate) fn keeping_errno<T>(f: impl FnOnce() -> T) -> T {
    let before = errno();
    let done = f();
    set_errno(before);
    done
}

/// Memory of this process that is never given back. Zeroed, aligned to a page.
fn page(len: usize) -> Option<*mut u8> {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh mapping at an address of the kernel's choice disturbs nothing.
    let p = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
    (p != libc::MAP_FAILED).then_some(p.cast())
}

/// For tests and tracers: other ways to answer, and what was found.
#[doc(hidden)]
pub mod testing {
    use super::selftest::Verdict;
    use super::{KNOWN, LOOKED, LOOKING, hint};
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};

    /// What the self-test shall say, whatever it finds.
    static FORCED: AtomicU32 = AtomicU32::new(0);
    /// The address sanitizer surrounds variables with memory that must not be read, and a scan reads all of a stack.
    static SCANS: AtomicBool = AtomicBool::new(!cfg!(xsem_sanitized));
    static FAULT: AtomicU32 = AtomicU32::new(0);

    /// A fault to seed, to see that the tests find it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(u32)]
    pub enum Fault {
        /// None.
        None,
        /// The full check never finds a handler.
        Blind,
        /// The full check takes a handler for normal time once, and arms the hint there.
        ArmsInHandlers,
    }

    /// Every request is taken to be one at normal time, without a look: for tracers that count instructions, and as a
    /// seeded fault. For good.
    pub fn never_look() {
        LOOKED.store(KNOWN, Release);
        hint::always();
    }

    /// The self-test fails, from its next run on.
    pub fn fail_self_test() {
        FORCED.store(1, Release);
    }

    /// Runs the self-test now, and believes what it says. Whether the hint holds, and whether frames are found.
    pub fn self_test() -> (bool, bool) {
        // One at a time: another thread may just be at it.
        while LOOKED.fetch_or(LOOKING, AcqRel) & LOOKING != 0 {
            std::thread::yield_now();
        }
        let verdict = super::believe(super::selftest::run());
        (verdict.hint, verdict.frames)
    }

    /// Only unwinds, as where the kernel's frames look otherwise.
    pub fn only_unwind() {
        set_scans(false);
    }

    /// Seeds a fault, or takes it back.
    pub fn seed(fault: Fault) {
        FAULT.store(fault as u32, Release);
    }

    /// How many full checks this process has made.
    pub fn full_checks() -> u32 {
        hint::FULL_CHECKS.load(Relaxed)
    }

    /// Whether this process has looked how normal time is to be recognized here.
    pub fn is_known() -> bool {
        LOOKED.load(Acquire) == KNOWN
    }

    /// Whether the next request of this thread needs no full check.
    pub fn is_armed() -> bool {
        hint::is_armed()
    }

    /// Makes the next request of this thread make a full check.
    pub fn disarm() {
        hint::disarm();
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn scans() -> bool {
        SCANS.load(Relaxed)
    }

    pub(super) fn set_scans(yes: bool) {
        SCANS.fetch_and(yes, Relaxed);
    }

    pub(super) fn forced(found: Verdict) -> Verdict {
        if FORCED.load(Acquire) == 0 { found } else { Verdict { hint: false, frames: found.frames } }
    }

    pub(super) fn in_handler(look: fn() -> bool) -> bool {
        let found = look();
        match FAULT.load(Relaxed) {
            0 => found,
            f if f == Fault::Blind as u32 => false,
            _ => {
                if found {
                    hint::arm();
                }
                found
            }
        }
    }
}
