//! The orderly end of a process: leases are given back, if the store answers soon, so that nobody waits for their time to run out, also
//! where there is no guardian.

use crate::life::PerProcess;
use crate::{runtime, sentry};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use xsem::Deadline;

/// It waits for the store for so long.
const PATIENCE: Duration = Duration::from_millis(300);

/// A lease that is being revoked.
pub(crate) struct Leaving(Option<&'static AtomicUsize>);

static LEAVING: PerProcess<AtomicUsize> = PerProcess::new();

impl Leaving {
    pub(crate) fn begin() -> Leaving {
        let count = LEAVING.get_or_make(|| Ok(AtomicUsize::new(0))).ok();
        if let Some(count) = count {
            count.fetch_add(1, SeqCst);
        }
        Leaving(count)
    }

    fn somebody() -> bool {
        LEAVING.get().is_some_and(|c| c.load(SeqCst) > 0)
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(count) = self.0 {
            count.fetch_sub(1, SeqCst);
        }
    }
}

extern "C" fn at_exit() {
    if runtime::is_inside() {
        return;
    }
    let deadline = Deadline::after(PATIENCE);
    sentry::at_the_end().iter().for_each(|s| s.give_back(deadline));
    // What was dropped a moment ago is on its way.
    while Leaving::somebody() && !deadline.has_passed() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// From here on, a return from `main` and `exit` give back what this process then has.
pub(crate) fn prepare() {
    static PREPARED: AtomicBool = AtomicBool::new(false);
    if !PREPARED.swap(true, SeqCst) {
        // SAFETY: the function stays as long as the program, and may be called on any thread.
        unsafe { libc::atexit(at_exit) };
    }
}
