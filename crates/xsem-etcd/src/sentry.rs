//! The thread that says when a lease cannot be relied upon any more.
//!
//! One per process, apart from the runtime: a runtime that is kept busy, or waits for an answer that does not come, must not
//! delay it. It sleeps on a timer of `CLOCK_BOOTTIME`, so it wakes up when a suspended machine does. What it calls has to be
//! brief; who asks a session whether it is alive does not depend on this thread, since that goes by the clock.

use crate::clock;
use crate::fault::{Fault, Result};
use crate::life::PerProcess;
use crate::runtime::without_signals;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use xsem::Deadline;

static SENTRY: PerProcess<Owner> = PerProcess::new();

/// What has a point in time after which it is over.
pub(crate) trait Watched: Send + Sync {
    /// The point, of [`clock`]; it may move later. None: it is over already, and whoever waits for that is to be told.
    fn ends(&self) -> Option<u64>;
    /// Called once, when the point has passed or there is none any more.
    fn over(&self);
    /// The process ends in an orderly way: gives it back, if that can be done by then.
    fn give_back(&self, deadline: Deadline);
}

struct Sentry {
    timer: OwnedFd,
    watched: Mutex<Vec<Arc<dyn Watched>>>,
    /// How often it was asked to look.
    asked: AtomicU64,
    /// Another thread was faster to start one.
    quit: AtomicBool,
}

struct Owner(Arc<Sentry>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.quit.store(true, SeqCst);
        self.0.ask();
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Watches over this until it is over.
pub(crate) fn watch(what: Arc<dyn Watched>) -> Result<()> {
    let sentry = &SENTRY.get_or_make(start)?.0;
    lock(&sentry.watched).push(what);
    sentry.ask();
    Ok(())
}

/// All that is watched over in this process, where that can be had without waiting: the process is about to end.
pub(crate) fn at_the_end() -> Vec<Arc<dyn Watched>> {
    SENTRY.get().and_then(|s| Some(s.0.watched.try_lock().ok()?.clone())).unwrap_or_default()
}

/// Something has changed: it looks at everything again, now.
pub(crate) fn look() {
    if let Some(sentry) = SENTRY.get() {
        sentry.0.ask();
    }
}

fn start() -> Result<Owner> {
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::timerfd_create(libc::CLOCK_BOOTTIME, libc::TFD_CLOEXEC) };
    if fd < 0 {
        return Err(Fault::NoRoom(io::Error::last_os_error().to_string()));
    }
    // SAFETY: the descriptor was made above, and nobody else has it.
    let timer = unsafe { OwnedFd::from_raw_fd(fd) };
    let (asked, quit) = (AtomicU64::new(0), AtomicBool::new(false));
    let sentry = Arc::new(Sentry { timer, watched: Mutex::default(), asked, quit });
    let its = sentry.clone();
    let body = move || {
        while !its.quit.load(SeqCst) {
            its.sleep();
            its.look();
        }
    };
    without_signals(|| thread::Builder::new().name("xsem-lease".into()).spawn(body)).map_err(|e| Fault::NoRoom(e.to_string()))?;
    Ok(Owner(sentry))
}

impl Sentry {
    /// It looks at everything again, now.
    fn ask(&self) {
        self.asked.fetch_add(1, SeqCst);
        self.ring(Duration::ZERO);
    }

    /// Sets the timer.
    fn ring(&self, after: Duration) {
        // Zero would stop it.
        let after = after.max(Duration::from_nanos(1));
        let value = libc::timespec { tv_sec: after.as_secs() as libc::time_t, tv_nsec: after.subsec_nanos() as libc::c_long };
        let spec = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // SAFETY: the descriptor is a timer, `spec` is valid, and the old value is not asked for.
        unsafe { libc::timerfd_settime(self.timer.as_raw_fd(), 0, &spec, std::ptr::null_mut()) };
    }

    /// Until the timer has run out.
    fn sleep(&self) {
        let mut times = 0u64;
        // SAFETY: eight bytes are written to where there are eight.
        let n = unsafe { libc::read(self.timer.as_raw_fd(), (&raw mut times).cast(), 8) };
        if n != 8 {
            // It cannot fail; if it does, this thread must not spin.
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn look(&self) {
        let asked = self.asked.load(SeqCst);
        let all = lock(&self.watched).clone();
        let mut next = Duration::from_secs(3600);
        for what in &all {
            match what.ends().map(clock::until) {
                Some(left) if !left.is_zero() => next = next.min(left),
                _ => {
                    lock(&self.watched).retain(|w| !Arc::ptr_eq(w, what));
                    // A callback that panics must not take this thread with it.
                    let _ = panic::catch_unwind(AssertUnwindSafe(|| what.over()));
                }
            }
        }
        self.ring(next);
        // Setting the timer forgets that it has run out: whoever asked in between is not to be forgotten with it.
        if self.asked.load(SeqCst) != asked {
            self.ring(Duration::ZERO);
        }
    }
}
