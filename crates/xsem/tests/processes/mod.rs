//! Processes for tests: forked ones that run a closure, with a watchdog each, and pipes to say "go on".

#![allow(dead_code)] // Each test file uses a part of it.

use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use xsem::Namespace;

/// Seconds after which a process that hangs is killed, and its test fails.
const WATCHDOG: u32 = 240;

/// The same for a whole test program since its latest test began: a hang must not last until whoever runs it loses patience.
const PROGRAM: u32 = 600;

/// How many times slower than others this machine is: an emulated one, and a build with a sanitizer, say so in `XSEM_SLOW`.
pub fn slowness() -> u32 {
    std::env::var("XSEM_SLOW").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// A namespace of the test's own. The test program is ended when it hangs.
pub fn namespace() -> (tempfile::TempDir, Namespace) {
    // SAFETY: as below.
    unsafe { libc::alarm(PROGRAM * slowness()) };
    let dir = tempfile::tempdir().unwrap();
    let ns = Namespace::open(&format!("shm:{}/ns", dir.path().display())).unwrap();
    (dir, ns)
}

/// Asked by the leak sanitizer before it looks, at the end of a process: a forked child has nothing to look at. It has copies of
/// what its parent's other threads, which it has not, had on their stacks, and it ends in the middle of things on purpose.
#[cfg(xsem_sanitized)]
#[unsafe(no_mangle)]
extern "C" fn __lsan_is_turned_off() -> i32 {
    i32::from(IS_CHILD.load(std::sync::atomic::Ordering::Relaxed))
}

/// Whether this process is a forked child of a test.
#[cfg(xsem_sanitized)]
static IS_CHILD: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Ends the calling process after a while, in whatever it hangs.
pub fn watchdog() {
    // SAFETY: plain numbers; SIGALRM has its default action, which ends the process.
    unsafe { libc::alarm(WATCHDOG * slowness()) };
}

/// What a forked child does: runs `f`, and ends without returning to the test harness. A panic is told on standard error.
pub fn run_and_exit(f: impl FnOnce()) -> ! {
    #[cfg(xsem_sanitized)]
    IS_CHILD.store(true, std::sync::atomic::Ordering::Relaxed);
    watchdog();
    let code = match catch_unwind(AssertUnwindSafe(f)) {
        Ok(()) => 0,
        Err(why) => {
            let text = why.downcast_ref::<String>().cloned();
            let text = text.or_else(|| why.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default();
            let line = format!("in a forked child: {text}\n");
            // SAFETY: a valid buffer of this length.
            unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
            101
        }
    };
    // SAFETY: ends the process at once, with nothing of the parent's test harness run.
    unsafe { libc::_exit(code) }
}

/// A child process. Dropping it kills it.
pub struct Child(pub libc::pid_t);

impl Child {
    /// Forks one that runs `f`.
    pub fn new(f: impl FnOnce()) -> Child {
        // SAFETY: the child runs `f` and never returns to the test harness.
        match unsafe { libc::fork() } {
            0 => run_and_exit(f),
            pid => {
                assert!(pid > 0, "{}", std::io::Error::last_os_error());
                Child(pid)
            }
        }
    }

    /// Forks one that runs `f`, and then stays until it is killed. Returns when `f` has returned in it.
    pub fn that_stays(f: impl FnOnce()) -> Child {
        let (ready, tell) = gate();
        let child = Child::new(|| {
            f();
            tell.open();
            loop {
                std::thread::sleep(Duration::from_secs(60));
            }
        });
        ready.wait();
        child
    }

    /// Forks one that runs `f`, and drops what that gives when it is told to. Returns when `f` has returned in it.
    pub fn that_stays_until<T>(go_on: &Waits, f: impl FnOnce() -> T) -> Child {
        let (ready, tell) = gate();
        let child = Child::new(|| {
            let kept = f();
            tell.open();
            go_on.wait();
            drop(kept);
        });
        ready.wait();
        child
    }

    pub fn pid(&self) -> u32 {
        self.0 as u32
    }

    /// Its status when it has ended.
    pub fn status(self) -> libc::c_int {
        let mut status = 0;
        // SAFETY: waits for a child that nobody else waits for.
        assert_eq!(unsafe { libc::waitpid(self.0, &mut status, 0) }, self.0);
        std::mem::forget(self);
        status
    }

    /// Waits for its end, which must be a good one.
    pub fn succeeds(self) {
        let status = self.status();
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child failed: status {status:#x}");
    }

    /// Kills it and waits until it is gone.
    pub fn kill(self) {
        // SAFETY: a child that nobody has waited for.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        self.status();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: a child of this process that nobody has waited for.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// One side of a gate between processes: waits until the other one opens it, or ends.
pub struct Waits(std::io::PipeReader, std::io::PipeWriter);

/// The other side.
pub struct Opens(std::io::PipeReader, std::io::PipeWriter);

/// A gate; both sides are inherited by forked children.
pub fn gate() -> (Waits, Opens) {
    let (r, w) = std::io::pipe().unwrap();
    (Waits(r.try_clone().unwrap(), w.try_clone().unwrap()), Opens(r, w))
}

impl Waits {
    /// Waits for it. Both sides keep both ends, so that a death elsewhere is not taken for the signal; the watchdog covers
    /// that.
    pub fn wait(&self) {
        let mut byte = [0];
        (&self.0).read_exact(&mut byte).expect("the other side has ended");
    }
}

impl Waits {
    /// The descriptor that it reads, for who closes all others.
    pub fn descriptor(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.0)
    }
}

impl Waits {
    /// Whether it is open now.
    pub fn is_open(&self) -> bool {
        let mut p = libc::pollfd { fd: self.descriptor(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&mut p, 1, 0) == 1 }
    }
}

impl Opens {
    /// Lets one waiter go on.
    pub fn open(&self) {
        (&self.1).write_all(b"!").unwrap();
    }
}

/// Waits until it holds; the test's own watchdog ends it otherwise.
pub fn until(what: impl Fn() -> bool) {
    let (began, patience) = (std::time::Instant::now(), Duration::from_secs(WATCHDOG.into()) * slowness());
    while !what() {
        assert!(began.elapsed() < patience, "it never came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The file is whole.
pub fn audit(ns: &Namespace) {
    assert_eq!(xsem::shm::testing::audit(ns), Vec::<String>::new());
}
