//! Releases that may be spent in a signal handler.

use crate::counting::Counting;
use crate::engine::Prepared;
use crate::exclusive::Exclusive;
use crate::interrupt;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::*};

/// The release of a claim, prepared so that anybody in this process may make it: another thread, or a signal handler.
///
/// From [`Guard::into_signal_release`](crate::Guard::into_signal_release) and its like. The claim goes on until somebody
/// spends it; it is then the process's and not its thread's, so it does not end with that. If the process dies before, the
/// claim ends as any other: the next owner of an exclusive semaphore gets 105.
///
/// # Examples
/// Whoever is first gives the semaphore back: the main program when it is done, or a handler for SIGTERM.
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display()))?;
/// use std::sync::OnceLock;
/// use xsem::{Exclusive, SignalRelease};
///
/// static RELEASE: OnceLock<SignalRelease> = OnceLock::new();
///
/// extern "C" fn on_terminate(_: i32) {
///     if let Some(release) = RELEASE.get() {
///         release.spend(); // async-signal-safe
///     }
/// }
///
/// let printer = Exclusive::open_or_create(&ns, "printer")?;
/// let guard = printer.acquire()?;
/// let release = guard.into_signal_release().map_err(|(_, e)| e)?;
/// RELEASE.set(release).expect("set once");
/// // ... install `on_terminate` with sigaction, print ...
/// # on_terminate(15);
/// assert!(printer.try_acquire().is_ok());
/// # Ok::<(), xsem::Error>(())
/// ```
#[must_use = "dropping it releases the claim"]
pub struct SignalRelease {
    prepared: Box<dyn Prepared>,
    spent: AtomicBool,
    /// Keeps the name open, should it be an ephemeral one.
    _handle: Handle,
}

pub(crate) enum Handle {
    Exclusive(#[allow(dead_code, reason = "kept, not used")] Exclusive),
    Counting(#[allow(dead_code, reason = "kept, not used")] Counting),
}

impl SignalRelease {
    pub(crate) fn new(prepared: Box<dyn Prepared>, handle: Handle) -> SignalRelease {
        SignalRelease { prepared, spent: AtomicBool::new(false), _handle: handle }
    }

    /// Gives the claim back, without allocation, lock or change of errno. True for exactly one caller: the one whose call it
    /// was. False for everybody where the claim had been ended from outside, and in a forked child.
    pub fn spend(&self) -> bool {
        !self.spent.swap(true, AcqRel) && interrupt::keeping_errno(|| self.prepared.spend())
    }
}

impl Drop for SignalRelease {
    /// Releases what nobody has spent. Not at interrupt time: it frees memory.
    fn drop(&mut self) {
        self.spend();
    }
}

impl fmt::Debug for SignalRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spent = self.spent.load(Relaxed);
        f.debug_struct("SignalRelease").field("prepared", &self.prepared).field("spent", &spent).finish_non_exhaustive()
    }
}
