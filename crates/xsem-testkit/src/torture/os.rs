//! System calls of the torture run: threads of C, forks by threads, exec, and the supervisor's care for orphans.

use crate::sys::{self, Pid, Status};
use std::ffi::{CString, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

unsafe extern "C-unwind" {
    fn pthread_exit(value: *mut c_void) -> !;
    fn pthread_testcancel();
}

unsafe extern "C" {
    fn pthread_cancel(thread: libc::pthread_t) -> libc::c_int;
    fn pthread_setcancelstate(state: libc::c_int, before: *mut libc::c_int) -> libc::c_int;
    fn pthread_tryjoin_np(thread: libc::pthread_t, value: *mut *mut c_void) -> libc::c_int;
}

const CANCEL_ENABLE: libc::c_int = 0;
const CANCEL_DISABLE: libc::c_int = 1;

/// How a thread ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its function returns.
    Returns,
    /// `pthread_exit`.
    Exits,
    /// `pthread_cancel`, by itself or by another thread.
    Cancelled,
}

/// A thread as C code starts it: one of Rust's may not be cancelled.
#[derive(Debug)]
pub(super) struct Thread(libc::pthread_t);

impl Thread {
    /// Starts one, which cannot be cancelled but in [`cancellable`] code, and ends as its function says.
    pub(super) fn start(f: impl FnOnce() -> End + Send + 'static) -> io::Result<Thread> {
        /// May be unwound, by `pthread_exit` and by a cancellation.
        extern "C-unwind" fn run(f: *mut c_void) -> *mut c_void {
            set_cancellable(false);
            let end = {
                // SAFETY: the box below, which is this thread's alone now.
                let f = unsafe { Box::from_raw(f.cast::<Box<dyn FnOnce() -> End + Send>>()) };
                f()
            };
            match end {
                End::Returns => null_mut(),
                // SAFETY: nothing on this thread's stack has a destructor that is still to be run.
                End::Exits => unsafe { pthread_exit(null_mut()) },
                End::Cancelled => {
                    // SAFETY: a thread that lives; it is cancelled once at most, which is said twice where others said it.
                    unsafe { pthread_cancel(libc::pthread_self()) };
                    set_cancellable(true);
                    loop {
                        // SAFETY: as for `pthread_exit`.
                        unsafe { pthread_testcancel() };
                    }
                }
            }
        }
        type Start = extern "C" fn(*mut c_void) -> *mut c_void;
        let f: Box<dyn FnOnce() -> End + Send> = Box::new(f);
        let f = Box::into_raw(Box::new(f));
        let mut thread = 0;
        // SAFETY: the two kinds of function differ in nothing but that one may be unwound; the thread owns the box.
        let failed = unsafe {
            let run = std::mem::transmute::<extern "C-unwind" fn(*mut c_void) -> *mut c_void, Start>(run);
            libc::pthread_create(&mut thread, null(), run, f.cast())
        };
        match failed {
            0 => Ok(Thread(thread)),
            e => {
                // SAFETY: no thread was made that could have it.
                drop(unsafe { Box::from_raw(f) });
                Err(io::Error::from_raw_os_error(e))
            }
        }
    }

    /// Cancels it: it ends when it comes to a place for that.
    pub(super) fn cancel(&self) {
        // SAFETY: the thread was not joined: that takes `self`.
        unsafe { pthread_cancel(self.0) };
    }

    /// Whether it has ended; else it comes back.
    pub(super) fn try_join(self) -> Option<Thread> {
        // SAFETY: the thread was not joined before; nobody asks for its value.
        match unsafe { pthread_tryjoin_np(self.0, null_mut()) } {
            0 => None,
            _ => Some(self),
        }
    }
}

/// Whether the calling thread may be cancelled where it does what is a place for it.
pub(super) fn set_cancellable(yes: bool) {
    // SAFETY: changes an attribute of the calling thread.
    unsafe { pthread_setcancelstate(if yes { CANCEL_ENABLE } else { CANCEL_DISABLE }, null_mut()) };
}

/// Runs a call of the library in a thread that may be cancelled: none of them is a place for that.
pub(super) fn cancellable<R>(call: impl FnOnce() -> R) -> R {
    set_cancellable(true);
    let r = call();
    set_cancellable(false);
    r
}

/// Forks a child of nobody, from whatever thread: the supervisor becomes its parent. `f` never returns to the caller's frames.
pub(super) fn fork_away(f: impl FnOnce()) -> io::Result<()> {
    // SAFETY: the C library lets a child of a process with threads go on with its allocator; it is what is tested here.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: as above.
            if unsafe { libc::fork() } == 0 {
                f();
            }
            leave(0)
        }
        between => {
            sys::wait(between, true);
            Ok(())
        }
    }
}

/// Ends the process at once.
pub(super) fn leave(code: i32) -> ! {
    // SAFETY: never returns, and runs nothing.
    unsafe { libc::_exit(code) }
}

/// Orphaned descendants become this process's children, so that it can wait for them.
pub(super) fn adopt_orphans() {
    // SAFETY: changes an attribute of the calling process.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
}

/// The calling process dies with its parent, which must be this one.
pub(super) fn die_with(parent: Pid) {
    while std::os::unix::process::parent_id() as Pid != parent {
        sys::nap(50);
    }
    // SAFETY: changes an attribute of the calling process.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if std::os::unix::process::parent_id() as Pid != parent {
        leave(0);
    }
}

/// A child that has ended and was not waited for yet.
pub(super) fn ended_child() -> Option<Pid> {
    // SAFETY: all-zero is valid for this plain structure; the kernel fills it in.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is a valid place.
    let r = unsafe { libc::waitid(libc::P_ALL, 0, &mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) };
    // SAFETY: `waitid` fills in what belongs to a child, or leaves zeros.
    let pid = unsafe { info.si_pid() };
    (r == 0 && pid > 0).then_some(pid)
}

/// Becomes another program, which keeps this descriptor. Returns only when that fails.
pub(super) fn exec(program: &str, arguments: &[String], keep: BorrowedFd<'_>) -> io::Error {
    let text = |s: &str| CString::new(s).unwrap_or_default();
    let arguments: Vec<CString> = std::iter::once(program).chain(arguments.iter().map(String::as_str)).map(text).collect();
    let pointers: Vec<_> = arguments.iter().map(|a| a.as_ptr()).chain([null()]).collect();
    // SAFETY: an open descriptor; its flags are numbers.
    unsafe { libc::fcntl(keep.as_raw_fd(), libc::F_SETFD, 0) };
    // SAFETY: C strings, and an array of pointers to them that ends with null.
    unsafe { libc::execv(text(program).as_ptr(), pointers.as_ptr()) };
    io::Error::last_os_error()
}

static ASKED_TO_END: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C and the like are noted only: see [`is_asked_to_end`].
pub(super) fn note_requests_to_end() {
    extern "C" fn note(_: i32) {
        ASKED_TO_END.store(true, Relaxed);
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        sys::on_signal(signal, note);
    }
}

/// Whether somebody asked the run to end.
pub(super) fn is_asked_to_end() -> bool {
    ASKED_TO_END.load(Relaxed)
}

/// Puts what interrupts a terminal's programs back to what it does by itself, for a child that its parent alone shall end.
pub(super) fn leave_the_terminal_alone() {
    // SAFETY: sets a disposition and makes a process group of its own: numbers only.
    unsafe {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::setpgid(0, 0);
    }
}

/// Waits for an ended stranger.
pub(super) fn reap(pid: Pid) -> Status {
    sys::wait(pid, false)
}
