//! Threads of the library's own, started by the C library. A thread of std sets up a signal stack before it runs anything, and
//! where there is no memory for that, it panics, which there ends the whole program; here it is an error of who starts it.

use super::arena::{block_all_signals, restore_signals};
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

type Work = Box<dyn FnOnce() + Send>;

/// Starts a thread that runs none of the program's signal handlers. Its name has at most 15 bytes.
pub fn start(name: &'static CStr, stack: usize, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    debug_assert!(name.count_bytes() < 16);
    let work: Work = Box::new(move || {
        // SAFETY: a NUL-terminated name of fewer than 16 bytes for the calling thread.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
        work();
    });
    let arg = Box::into_raw(Box::new(work));
    let old = block_all_signals();
    let started = create(stack, run, arg.cast());
    restore_signals(&old);
    if started.is_err() {
        // SAFETY: made by `into_raw` above, and no thread has got it.
        drop(unsafe { Box::from_raw(arg) });
    }
    started
}

/// What a thread begins with.
pub type Begin = extern "C" fn(*mut libc::c_void) -> *mut libc::c_void;

/// So often a thread is tried for again, after 1, 2, 4 ... milliseconds: half a second in all.
const TRIES: u32 = 9;

/// A detached thread in `begin`, with `arg`.
pub fn create(stack: usize, begin: Begin, arg: *mut libc::c_void) -> io::Result<()> {
    // SAFETY: an all-zero pthread_attr_t is a valid value to be overwritten by pthread_attr_init.
    let mut attr: libc::pthread_attr_t = unsafe { std::mem::zeroed() };
    // A number in one C library, a pointer in another; nobody reads it here.
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: `attr` is initialized before its use and destroyed after it; `arg` is what `begin` expects.
    let r = unsafe {
        libc::pthread_attr_init(&mut attr);
        libc::pthread_attr_setdetachstate(&mut attr, libc::PTHREAD_CREATE_DETACHED);
        let usual = attr;
        libc::pthread_attr_setstacksize(&mut attr, stack);
        let mut r = libc::pthread_create(thread.as_mut_ptr(), &attr, begin, arg);
        if r == libc::EINVAL {
            // glibc puts thread-local variables into the stack; a program with many of them needs the usual size.
            r = libc::pthread_create(thread.as_mut_ptr(), &usual, begin, arg);
            attr = usual;
        }
        // Also while another thread of the process is on its way into an exec, which may fail (the kernel's `fs->in_exec`).
        for i in 0..TRIES {
            if r != libc::EAGAIN {
                break;
            }
            super::sys::nap(std::time::Duration::from_millis(1 << i));
            r = libc::pthread_create(thread.as_mut_ptr(), &attr, begin, arg);
        }
        libc::pthread_attr_destroy(&mut attr);
        r
    };
    if r == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(r)) }
}

extern "C" fn run(arg: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: made by `into_raw` in `start`, which leaves it to this thread.
    let work = unsafe { Box::from_raw(arg.cast::<Work>()) };
    // A panic was told by its hook already; it must not leave this frame.
    let _ = catch_unwind(AssertUnwindSafe(work));
    std::ptr::null_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_with_all_signals_blocked_and_its_panic_is_its_own() {
        let (tell, told) = std::sync::mpsc::channel();
        start(c"xsem-test", 256 << 10, move || {
            // SAFETY: an all-zero sigset is a valid value to be overwritten.
            let mut mask: libc::sigset_t = unsafe { std::mem::zeroed() };
            // SAFETY: `mask` is valid; nothing is changed.
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut mask) };
            // SAFETY: `mask` is a valid set.
            tell.send(unsafe { libc::sigismember(&mask, libc::SIGUSR1) }).unwrap();
            // Without the hook, whose backtrace would look like a failure in the output of the tests.
            std::panic::resume_unwind(Box::new("on purpose"));
        })
        .unwrap();
        assert_eq!(told.recv(), Ok(1));
        assert!(told.recv().is_err());
    }
}
