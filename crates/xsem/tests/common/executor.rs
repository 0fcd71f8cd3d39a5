//! A bare executor: one future, one thread, no runtime.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

struct Unpark(Thread, AtomicBool);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.store(true, SeqCst);
        self.0.unpark();
    }
}

/// Polls until it is over; panics when nothing wakes it for half a minute.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let unpark = Arc::new(Unpark(thread::current(), AtomicBool::new(false)));
    let waker = Waker::from(unpark.clone());
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
            return done;
        }
        let end = Instant::now() + Duration::from_secs(30);
        // Not polled again unless it is woken: another look would hide a wake-up that was lost.
        while !unpark.1.swap(false, SeqCst) {
            assert!(Instant::now() < end, "the future is stuck");
            thread::park_timeout(Duration::from_secs(1));
        }
    }
}

/// One poll, with a waker that does nothing.
#[allow(dead_code)] // Not every test file uses it.
pub fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}
