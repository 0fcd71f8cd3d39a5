//! The one thread of this process on which everything asynchronous runs.
//!
//! A caller may be inside of a runtime of its own, or have none: it posts a future here, and waits for the [`Task`] as a future
//! (on whatever runtime) or as a thread. The thread is made on first use and stays; signals of the program are not delivered to it.
//!
//! A forked child has no such thread. What belongs to the parent's is [`Fault::Forked`] there ([`Life`]), at once; what it opens
//! by itself gets a thread of its own.

use crate::fault::{Fault, Result};
use crate::life::{Life, PerProcess};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use xsem::Deadline;

static CURRENT: PerProcess<Running> = PerProcess::new();

struct Running {
    handle: Handle,
    thread: thread::ThreadId,
    /// The thread ends when this is dropped.
    _end: oneshot::Sender<()>,
}

fn start() -> Result<Running> {
    let no_room = |e: std::io::Error| Fault::NoRoom(e.to_string());
    let runtime = Builder::new_current_thread().enable_io().enable_time().build().map_err(no_room)?;
    let handle = runtime.handle().clone();
    let (end, ended) = oneshot::channel();
    let body = move || {
        runtime.block_on(async {
            let _ = ended.await;
        });
    };
    let thread = without_signals(|| thread::Builder::new().name("xsem-etcd".into()).spawn(body)).map_err(no_room)?;
    Ok(Running { handle, thread: thread.thread().id(), _end: end })
}

/// Runs `f` with all signals blocked: a thread that it makes stays so. The program's handlers belong to the program's threads.
pub(crate) fn without_signals<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: both sets are valid to write to, and the second call restores what the first has told.
    unsafe {
        let (mut all, mut before) = (std::mem::zeroed::<libc::sigset_t>(), std::mem::zeroed::<libc::sigset_t>());
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let done = f();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        done
    }
}

/// Whether the caller is on the runtime's thread, where it must not wait.
pub fn is_inside() -> bool {
    CURRENT.get().is_some_and(|r| r.thread == thread::current().id())
}

/// Runs the future on the runtime's thread.
///
/// # Errors
/// `NoRoom`: no thread can be had.
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Result<Task<T>> {
    let running = CURRENT.get_or_make(start)?;
    let (tell, told) = oneshot::channel();
    let joined = running.handle.spawn(async move {
        let _ = tell.send(future.await);
    });
    Ok(Task { told, abort: joined.abort_handle(), life: Life::here() })
}

/// What was spawned. Dropped, it goes on.
#[derive(Debug)]
pub struct Task<T> {
    told: oneshot::Receiver<T>,
    abort: AbortHandle,
    life: Life,
}

impl<T> Task<T> {
    /// Ends it where it stands: a request that it has sent may be done or not.
    pub fn abort(&self) {
        self.abort.abort();
    }

    /// Waits for it as a thread. None: the deadline has passed, and it goes on.
    ///
    /// # Errors
    /// `Forked`; `Ambiguous`, if it was aborted or has panicked.
    pub fn wait(&mut self, deadline: Deadline) -> Result<Option<T>> {
        self.life.check()?;
        park_until(deadline, self).transpose()
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.told).poll(cx).map_err(|_| Fault::Ambiguous("it was broken off".into()))
    }
}

/// Waits as a thread for a future that needs no runtime to make progress. None: the deadline has passed.
pub(crate) fn park_until<F: Future>(deadline: Deadline, future: F) -> Option<F::Output> {
    debug_assert!(!is_inside(), "the runtime's thread would wait for itself");
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
            return Some(done);
        }
        match deadline.remaining() {
            Duration::ZERO => return None,
            left => thread::park_timeout(left),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs the future on the runtime's thread and waits for it. The future has to end by itself, as all requests with a deadline do.
///
/// # Errors
/// `Forked`, `NoRoom`; `Ambiguous` if the future has panicked, and what it gives itself. `Refused` on the runtime's own thread.
pub fn run<T: Send + 'static>(future: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    if is_inside() {
        return Err(Fault::Refused("a callback must not wait for the store".into()));
    }
    match spawn(future)?.wait(Deadline::after(Duration::MAX))? {
        Some(done) => done,
        None => Err(Fault::Ambiguous("the end of time has come".into())),
    }
}

/// The point of tokio's clock that the deadline is; far away for "never".
pub(crate) fn instant(deadline: Deadline) -> tokio::time::Instant {
    let left = deadline.remaining().min(Duration::from_secs(86_400 * 365 * 10));
    tokio::time::Instant::from_std(Instant::now() + left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_waited_for_by_a_thread_and_by_a_future() {
        let mut t = spawn(async { 7 }).unwrap();
        assert_eq!(t.wait(Deadline::after(Duration::from_secs(20))).unwrap(), Some(7));
        let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(other.block_on(spawn(async { 8 }).unwrap()), Ok(8));
    }

    #[test]
    fn a_deadline_leaves_the_task_running() {
        let (go, wait) = oneshot::channel();
        let mut t = spawn(async move { wait.await.unwrap_or(0) }).unwrap();
        assert_eq!(t.wait(Deadline::after(Duration::from_millis(5))).unwrap(), None);
        go.send(3).unwrap();
        assert_eq!(t.wait(Deadline::after(Duration::from_secs(20))).unwrap(), Some(3));
    }

    #[test]
    fn one_thread_for_all_and_it_may_not_wait_for_itself() {
        let ids: Vec<_> = (0..4)
            .map(|_| thread::spawn(|| run(async { Ok(thread::current().id()) }).unwrap()))
            .map(|t| t.join().unwrap())
            .collect();
        assert!(ids.windows(2).all(|w| w[0] == w[1]));
        let refused = run(async { Ok(run(async { Ok(()) })) }).unwrap();
        assert!(matches!(refused, Err(Fault::Refused(_))), "{refused:?}");
    }

    #[test]
    fn the_thread_gets_no_signals() {
        let blocked = run(async {
            // SAFETY: the set is valid to write to; nothing is changed.
            Ok(unsafe {
                let mut set = std::mem::zeroed::<libc::sigset_t>();
                libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut set);
                libc::sigismember(&set, libc::SIGTERM) == 1
            })
        });
        assert_eq!(blocked, Ok(true));
    }
}
