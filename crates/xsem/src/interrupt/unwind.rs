//! Is there a signal frame among the callers? As a debugger would find out, with the unwinder that std links anyway.

use std::ffi::c_void;

#[repr(C)]
struct Context {
    _private: [u8; 0],
}

type Step = extern "C" fn(*mut Context, *mut c_void) -> i32;

unsafe extern "C" {
    fn _Unwind_Backtrace(step: Step, arg: *mut c_void) -> i32;
    fn _Unwind_GetIPInfo(context: *mut Context, ip_before_insn: *mut i32) -> usize;
    fn _Unwind_GetCFA(context: *mut Context) -> usize;
}

const GO_ON: i32 = 0;
const STOP: i32 = 5;

/// What a walk over the callers came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Walk {
    /// One of them was called by the kernel, to handle a signal.
    pub signal_frame: bool,
    /// How far up the stack it came.
    pub reached: usize,
}

/// Walks over all callers, until it finds a signal frame.
///
/// In a signal handler, too: it allocates nothing, and takes no lock that the interrupted code of this thread could hold
/// against it (glibc from 2.35 on finds the tables without any; before, the loader's lock is one that a thread may take
/// again).
#[cold]
#[inline(never)]
pub fn walk() -> Walk {
    let mut found = Walk::default();
    // SAFETY: `step` keeps the unwinder's rules: it only asks, and does not unwind itself; `found` outlives the call.
    unsafe { _Unwind_Backtrace(step, (&raw mut found).cast()) };
    found
}

extern "C" fn step(context: *mut Context, arg: *mut c_void) -> i32 {
    // SAFETY: what `walk` has passed; nobody else uses it during the walk.
    let found = unsafe { &mut *arg.cast::<Walk>() };
    let mut before = 0;
    // SAFETY: the context is valid for the duration of this call.
    let (_, cfa) = unsafe { (_Unwind_GetIPInfo(context, &mut before), _Unwind_GetCFA(context)) };
    if before != 0 {
        found.signal_frame = true;
        return STOP;
    }
    found.reached = found.reached.max(cfa);
    GO_ON
}
