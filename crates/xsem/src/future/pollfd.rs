//! A descriptor that says when a future wants to be polled, for event loops of any kind.

use crate::error::{Code, Error, Result};
use std::fmt;
use std::future::Future;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// A future behind a descriptor, which is readable while the future wants to be polled: for `epoll`, `poll`, glib, asyncio
/// and the like. [`poll_now`](PollFd::poll_now) polls it; the result comes once.
///
/// The descriptor is readable from the beginning, so that the first turn of the loop polls it. It is close-on-exec, and it
/// is only to be watched for reading, never read.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display()))?;
/// use std::os::fd::AsFd;
/// use xsem::{Exclusive, PollFd};
/// let sem = Exclusive::open_or_create(&ns, "job")?;
/// let mut pending = PollFd::new(sem.acquire_async())?;
/// let fd = pending.as_fd(); // to the event loop; whenever it is readable:
/// # let _ = fd;
/// if let Some(acquired) = pending.poll_now() {
///     let guard = acquired?;
/// #   drop(guard);
/// }
/// # Ok::<(), xsem::Error>(())
/// ```
pub struct PollFd<F: Future> {
    /// None: it has given its result.
    future: Option<Pin<Box<F>>>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// What rings when the future wants to be polled.
struct Bell(OwnedFd);

impl Bell {
    fn silence(&self) {
        let mut n = [0u8; 8];
        // SAFETY: the descriptor is open, and the buffer has the eight bytes that an eventfd gives. It does not block.
        unsafe { libc::read(self.0.as_raw_fd(), n.as_mut_ptr().cast(), n.len()) };
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the descriptor is open, and the buffer has the eight bytes that an eventfd takes. Where its counter is
        // full it is readable already.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

impl<F: Future> PollFd<F> {
    /// A descriptor for this future.
    ///
    /// # Errors
    /// 8 no descriptor can be had.
    pub fn new(future: F) -> Result<PollFd<F>> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::eventfd(1, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(Error::new(Code::NotEnoughMemory, "no descriptor for an event loop")
                .because(std::io::Error::last_os_error())
                .advice("close some, or raise the limit (`ulimit -n`)"));
        }
        // SAFETY: just made, and nobody else's.
        let bell = Arc::new(Bell(unsafe { OwnedFd::from_raw_fd(fd) }));
        Ok(PollFd { future: Some(Box::pin(future)), waker: Waker::from(bell.clone()), bell })
    }

    /// Polls the future: its result, or None while there is none (any more). Never blocks.
    pub fn poll_now(&mut self) -> Option<F::Output> {
        // First silent, then the look: what happens after the look rings again.
        self.bell.silence();
        let future = self.future.as_mut()?;
        match future.as_mut().poll(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(result) => {
                self.future = None;
                Some(result)
            }
            Poll::Pending => None,
        }
    }

    /// Whether it has given its result.
    pub fn is_over(&self) -> bool {
        self.future.is_none()
    }
}

impl<F: Future> AsFd for PollFd<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.0.as_fd()
    }
}

impl<F: Future> AsRawFd for PollFd<F> {
    fn as_raw_fd(&self) -> RawFd {
        self.bell.0.as_raw_fd()
    }
}

impl<F: Future> fmt::Debug for PollFd<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollFd").field("fd", &self.as_raw_fd()).field("over", &self.is_over()).finish_non_exhaustive()
    }
}
