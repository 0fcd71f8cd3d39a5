//! The full check: is this code called by the kernel, to handle a signal?
//!
//! The kernel has no flag for that. But a handler's callers end in a frame that the kernel has put on the stack, and that
//! can be found: on x86-64 by looking for what the kernel writes into each of them, which takes less than a tenth of a
//! microsecond for some KiB of stack. What is found may be the remains of a frame, under a variable that nobody has written to
//! yet. So an unwinder then says whether it is among the callers. Where its tables have a gap, the signal mask says whether
//! a handler is likely to be running; in doubt the request is refused.

use super::stack;
use super::unwind;

/// Whether the caller was called by the kernel, to handle a signal. Keeps errno (the caller's business), allocates nothing.
pub fn in_handler() -> bool {
    let here = stack::here();
    match stack::end(here).or_else(stack::alternate_end) {
        Some(end) => on_stack(here, end),
        None => elsewhere(here),
    }
}

/// On a stack that is known: all of it can be looked at.
#[cfg(target_arch = "x86_64")]
fn on_stack(here: usize, end: usize) -> bool {
    if !super::testing::scans() {
        return unwind::walk().signal_frame;
    }
    let Some(first) = stack::frames::find(here, end) else { return false };
    let walk = unwind::walk();
    if walk.signal_frame {
        return true;
    }
    // The callers are known as far as `reached`: what lies below that is none of them.
    let mut next = Some(first);
    while let Some(frame) = next {
        if frame.at() >= walk.reached && may_be_running(frame.mask()) {
            return true;
        }
        next = stack::frames::find(frame.at() + 8, end);
    }
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn on_stack(_here: usize, _end: usize) -> bool {
    unwind::walk().signal_frame
}

/// On a stack that the program has made itself, a coroutine's: only the callers can be asked for.
fn elsewhere(_here: usize) -> bool {
    unwind::walk().signal_frame
}

/// Whether a handler may be running that began when these signals were blocked. During a handler its own signal is blocked,
/// and what `sa_mask` says; afterwards the mask is as before. Where there are handlers with SA_NODEFER, that says nothing.
#[cfg(target_arch = "x86_64")]
fn may_be_running(before: u64) -> bool {
    let mut now = 0u64;
    // SAFETY: the kernel writes eight bytes, the size that it is told; nothing is set.
    let r = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, 0, std::ptr::null::<u64>(), &raw mut now, 8) };
    r != 0 || now & !before != 0 || (1..=64).any(may_be_nested)
}

/// The kernel's `struct sigaction`.
#[cfg(target_arch = "x86_64")]
#[repr(C)]
#[derive(Default)]
struct Action {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// Whether a signal has a handler that does not block it.
#[cfg(target_arch = "x86_64")]
fn may_be_nested(signal: i32) -> bool {
    let mut action = Action::default();
    // SAFETY: the kernel writes its own structure, for the size of mask that it is told; nothing is set.
    let r = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, std::ptr::null::<Action>(), &raw mut action, 8) };
    let caught = action.handler != libc::SIG_DFL && action.handler != libc::SIG_IGN;
    r == 0 && caught && action.flags & libc::SA_NODEFER as u64 != 0
}
