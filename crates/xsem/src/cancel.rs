//! Cancel tokens: another thread ends a wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Ends the waits that were given it: each returns 95 `ERROR_INTERRUPT`. Once cancelled it stays cancelled.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display())).unwrap();
/// use xsem::{CancelToken, Exclusive, Wait};
/// let sem = Exclusive::open_or_create(&ns, "job").unwrap();
/// let token = CancelToken::new();
/// token.cancel();
/// let held = sem.acquire().unwrap();
/// let refused = std::thread::scope(|s| {
///     s.spawn(|| xsem::Error::from(sem.acquire_with(Wait::forever().cancel(&token)).unwrap_err())).join().unwrap()
/// });
/// assert_eq!(refused.code(), xsem::Code::Interrupt);
/// # drop(held);
/// ```
#[derive(Clone, Debug, Default)]
pub struct CancelToken(pub(crate) Arc<AtomicU32>);

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> CancelToken {
        CancelToken::default()
    }

    /// Ends every wait that has this token, now and later.
    pub fn cancel(&self) {
        self.0.store(1, Ordering::SeqCst);
        crate::shm::futex::wake_private_all(&self.0);
        crate::shm::reactor::cancelled();
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }
}
