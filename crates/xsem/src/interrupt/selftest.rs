//! Is the hint true here? Kernels differ: some clear the pointer at each signal, some (from about 6.19 on) not for a signal
//! that is delivered when a system call returns. So each process looks, before it believes it: in a child that shares its
//! memory for less than a millisecond, but neither its signal handlers nor its signals. The program notices nothing of it.

use super::hint;
use super::rseq::{self, Slot};
#[cfg(all(target_arch = "x86_64", not(xsem_sanitized)))]
use super::stack;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

/// What the child has seen. One test at a time (see `super::look`).
struct Seen {
    slot: AtomicPtr<Slot>,
    section: AtomicU64,
    stack_end: AtomicUsize,
    signals: AtomicU32,
    /// Handlers that found the pointer where it was.
    still_armed: AtomicU32,
    /// Handlers that found no frame on their stack.
    unseen: AtomicU32,
    done: AtomicU32,
}

static SEEN: Seen = Seen {
    slot: AtomicPtr::new(std::ptr::null_mut()),
    section: AtomicU64::new(0),
    stack_end: AtomicUsize::new(0),
    signals: AtomicU32::new(0),
    still_armed: AtomicU32::new(0),
    unseen: AtomicU32::new(0),
    done: AtomicU32::new(0),
};

/// What the test says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The pointer is cleared at every signal.
    pub hint: bool,
    /// The kernel's frames look as `stack::frames` expects them.
    pub frames: bool,
}

const NOTHING: Verdict = Verdict { hint: false, frames: true };

const STACK: usize = 256 * 1024;
const ALL_SIGNALS: u64 = u64::MAX;
const SIGNALS: u64 = 1 << (libc::SIGUSR1 - 1) | 1 << (libc::SIGALRM - 1);

/// Runs the test. Only at normal time.
pub fn run() -> Verdict {
    // A sanitizer takes the child for one of a fork, and then finds its own books wrong.
    if cfg!(xsem_sanitized) {
        return NOTHING;
    }
    // Waiting for a child is a place to be cancelled in.
    let _whole = crate::shm::whole();
    let (Some(section), Some(slot), Some(memory)) = (hint::section(), rseq::free_slot(), super::page(STACK)) else {
        return NOTHING;
    };
    let end = memory.wrapping_add(STACK);
    SEEN.slot.store(std::ptr::from_ref(slot).cast_mut(), Relaxed);
    SEEN.section.store(section as u64, Relaxed);
    SEEN.stack_end.store(end as usize, Relaxed);
    for counter in [&SEEN.signals, &SEEN.still_armed, &SEEN.unseen, &SEEN.done] {
        counter.store(0, Relaxed);
    }
    // A Ctrl-C for the whole process group would come to the child as well, and run the program's handler there.
    let old = set_mask(ALL_SIGNALS);
    // No CLONE_SIGHAND: the child's handlers are its own. No signal at its end: the program's handler for SIGCHLD and its
    // `wait` do not see it. With CLONE_VFORK this thread waits until it has ended.
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    // SAFETY: the child runs on a stack of its own and makes system calls only; it ends before this call returns.
    let pid = unsafe { libc::clone(child, end.cast(), flags, std::ptr::null_mut()) };
    if pid > 0 {
        let mut status = 0;
        // SAFETY: a child of this thread, with a valid status to write to.
        while unsafe { libc::waitpid(pid, &mut status, libc::__WALL) } < 0 && super::errno() == libc::EINTR {}
    }
    set_mask(old);
    // SAFETY: mapped above; the child that used it has ended.
    unsafe { libc::munmap(memory.cast(), STACK) };
    slot.give_back();
    let three = SEEN.signals.load(Acquire) == 3;
    let done = pid > 0 && SEEN.done.load(Acquire) == 1 && three;
    Verdict { hint: done && SEEN.still_armed.load(Relaxed) == 0, frames: !three || SEEN.unseen.load(Relaxed) == 0 }
}

fn set_mask(mask: u64) -> u64 {
    let mut old = 0u64;
    // SAFETY: two masks of the size that the kernel is told.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, &raw mut old, 8) };
    old
}

extern "C" fn on_signal(_: libc::c_int) {
    // SAFETY: set by `run`, which waits for the child.
    let slot = unsafe { &*SEEN.slot.load(Relaxed) };
    if slot.area.section.load(Relaxed) == SEEN.section.load(Relaxed) {
        SEEN.still_armed.fetch_add(1, Relaxed);
    }
    #[cfg(all(target_arch = "x86_64", not(xsem_sanitized)))]
    if stack::frames::find(stack::here(), SEEN.stack_end.load(Relaxed)).is_none() {
        SEEN.unseen.fetch_add(1, Relaxed);
    }
    SEEN.signals.fetch_add(1, Release);
}

/// The child. It shares the thread-local variables of the thread that waits for it, so it leaves them alone (but for errno).
extern "C" fn child(_: *mut libc::c_void) -> libc::c_int {
    // SAFETY: system calls with valid arguments; `on_signal` is async-signal-safe.
    unsafe {
        // If the process is killed now, this goes with it.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let slot = &*SEEN.slot.load(Relaxed);
        let armed = SEEN.section.load(Relaxed);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
        let installed = libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) == 0
            && libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()) == 0;
        if !installed || !rseq::register(&slot.area) {
            libc::_exit(1);
        }
        set_mask(ALL_SIGNALS & !SIGNALS);
        // One that comes when a system call returns, as with `raise`.
        slot.area.section.store(armed, Relaxed);
        libc::syscall(libc::SYS_tgkill, libc::syscall(libc::SYS_getpid), libc::syscall(libc::SYS_gettid), libc::SIGUSR1);
        // One that interrupts a system call.
        set_mask(ALL_SIGNALS);
        slot.area.section.store(armed, Relaxed);
        alarm_in(50);
        let (while_waiting, limit) = (ALL_SIGNALS & !SIGNALS, libc::timespec { tv_sec: 0, tv_nsec: 100_000_000 });
        libc::syscall(libc::SYS_ppoll, 0usize, 0usize, &raw const limit, &raw const while_waiting, 8usize);
        set_mask(ALL_SIGNALS & !SIGNALS);
        // One that interrupts a computation.
        alarm_in(50);
        let end = crate::deadline::now() + 100_000_000;
        while SEEN.signals.load(Acquire) < 3 && crate::deadline::now() < end {
            slot.area.section.store(armed, Relaxed);
        }
        set_mask(ALL_SIGNALS);
        rseq::unregister(&slot.area);
        SEEN.done.store(1, Release);
        libc::_exit(0)
    }
}

/// SIGALRM after so many microseconds.
fn alarm_in(us: i64) {
    let zero = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let timer = libc::itimerval { it_interval: zero, it_value: libc::timeval { tv_sec: 0, tv_usec: us as _ } };
    // SAFETY: a valid timer of the child, which is a process of its own; the old one is not asked for.
    unsafe { libc::syscall(libc::SYS_setitimer, libc::ITIMER_REAL, &raw const timer, 0usize) };
}
