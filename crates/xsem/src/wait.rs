//! How long to wait, what ends it, what the claim is called.

use crate::cancel::CancelToken;
use crate::deadline::Deadline;
use crate::engine::{Interrupted, OwnedRequest, Request, Until};
use std::time::Duration;

/// The options of one request, for the `acquire_with` of each kind.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Wait<'a> {
    until: Until,
    cancel: Option<&'a CancelToken>,
    label: Option<&'a str>,
    interrupted: Option<&'a dyn Interrupted>,
}

impl<'a> Wait<'a> {
    fn new(until: Until) -> Self {
        Wait { until, cancel: None, label: None, interrupted: None }
    }

    /// Without an end.
    pub fn forever() -> Self {
        Wait::new(Until::Forever)
    }

    /// Not at all.
    pub fn not() -> Self {
        Wait::new(Until::Now)
    }

    /// For at most `timeout`, from now.
    pub fn timeout(timeout: Duration) -> Self {
        Wait::new(Until::Deadline(Deadline::after(timeout)))
    }

    /// Until `deadline`.
    pub fn until(deadline: Deadline) -> Self {
        Wait::new(Until::Deadline(deadline))
    }

    /// Ends with 95 when `token` is cancelled.
    pub fn cancel(mut self, token: &'a CancelToken) -> Self {
        self.cancel = Some(token);
        self
    }

    /// Names the claim, for those who ask who holds it.
    pub fn label(mut self, label: &'a str) -> Self {
        self.label = Some(label);
        self
    }

    /// Asks `f` whenever a signal interrupts the wait; `true` ends it with 95.
    pub fn on_signal(mut self, f: &'a dyn Interrupted) -> Self {
        self.interrupted = Some(f);
        self
    }

    /// The same for several permits.
    pub(crate) fn request_for(&self, claimant: u32, permits: u32) -> Request<'a> {
        let mut r = self.request(claimant);
        r.permits = permits;
        r
    }

    /// The same for asynchronous code, where nobody's signal interrupts a wait.
    pub(crate) fn owned(&self, permits: u32) -> OwnedRequest {
        let mut r = OwnedRequest::new(self.until);
        r.permits = permits;
        r.cancel = self.cancel.cloned();
        r.label = self.label.map(str::to_owned);
        r
    }

    pub(crate) fn request(&self, claimant: u32) -> Request<'a> {
        let mut r = Request::new(claimant, self.until);
        r.cancel = self.cancel;
        r.label = self.label;
        r.interrupted = self.interrupted;
        r
    }
}
