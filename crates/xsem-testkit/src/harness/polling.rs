//! The simplest executor: polls on the calling thread, and parks it in between.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn waker() -> Waker {
    Arc::new(Unpark(std::thread::current())).into()
}

/// Polls until it is ready.
pub(crate) fn run<F: Future>(f: F) -> F::Output {
    let (mut f, waker) = (pin!(f), waker());
    loop {
        match f.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Polls it once.
pub(crate) fn poll_once<F: Future + Unpin>(f: &mut F) -> Option<F::Output> {
    match std::pin::Pin::new(f).poll(&mut Context::from_waker(&waker())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Polls it twice, if it is not ready before.
pub(crate) fn poll_twice<F: Future + Unpin>(f: &mut F) -> Option<F::Output> {
    poll_once(f).or_else(|| poll_once(f))
}
