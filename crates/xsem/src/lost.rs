//! The loss of all claims of a process at once, as when its lease ends: told, not only found out.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// What is known of a loss.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimsLost {
    /// Why, in one sentence.
    pub why: String,
}

impl ClaimsLost {
    /// For engines: for this reason.
    pub fn new(why: impl Into<String>) -> ClaimsLost {
        ClaimsLost { why: why.into() }
    }
}

impl fmt::Display for ClaimsLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// Called at each loss.
pub type OnLoss = Box<dyn Fn(&ClaimsLost) + Send + Sync>;

/// Waits for the next loss: see [`Namespace::lost`](crate::Namespace::lost).
#[derive(Debug)]
#[must_use = "a future does nothing until it is polled"]
pub struct Lost(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    loss: Option<ClaimsLost>,
    waker: Option<Waker>,
}

impl Lost {
    /// The future, and what tells it.
    pub(crate) fn new() -> (Lost, OnLoss) {
        let state = Arc::<Mutex<State>>::default();
        // Who gave the future up is told nothing, and keeps nothing.
        let told = Arc::downgrade(&state);
        let tell = move |loss: &ClaimsLost| {
            let Some(state) = told.upgrade() else { return };
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.loss.get_or_insert_with(|| loss.clone());
            let waker = state.waker.take();
            drop(state);
            waker.into_iter().for_each(Waker::wake);
        };
        (Lost(state), Box::new(tell))
    }
}

impl Future for Lost {
    type Output = ClaimsLost;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ClaimsLost> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.loss {
            Some(loss) => Poll::Ready(loss.clone()),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_future_is_ready_from_the_first_loss_on() {
        let (mut lost, tell) = Lost::new();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut lost).poll(&mut cx).is_pending());
        tell(&ClaimsLost::new("the first"));
        tell(&ClaimsLost::new("the second"));
        assert_eq!(Pin::new(&mut lost).poll(&mut cx), Poll::Ready(ClaimsLost::new("the first")));
        drop(lost);
        tell(&ClaimsLost::new("nobody hears it"));
    }
}
