//! What one event does: a pure state machine.

use super::{Handle, Model, Result, State};
use xsem::{Code, Reset, Signal};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Event {
    reset: Reset,
    is_set: bool,
    /// Signals that it was reset before.
    signals: u64,
}

impl Event {
    pub(super) fn new(reset: Reset, is_set: bool) -> Event {
        Event { reset, is_set, signals: 0 }
    }

    pub(super) fn reset(&self) -> Reset {
        self.reset
    }

    pub(super) fn signals(&self) -> u64 {
        self.signals
    }

    pub(super) fn signal(&self) -> Signal {
        Signal::new(self.reset, self.is_set)
    }

    /// Whether a wait that began when there had been `since` signals has one. A request for several at one instant is about
    /// that instant.
    pub(super) fn is_there(&self, since: u64, at_one_instant: bool) -> bool {
        self.is_set || self.reset == Reset::Manual && !at_one_instant && self.signals > since
    }

    /// A wait has seen it, and has consumed it if it resets itself.
    pub(super) fn seen(&mut self) -> u64 {
        self.is_set &= self.reset == Reset::Manual;
        self.signals
    }
}

impl Model {
    fn event(&mut self, handle: &Handle) -> Result<&mut Event> {
        match &mut self.find(handle)?.state {
            State::Event(e) => Ok(e),
            _ => Err(Code::InvalidFunction),
        }
    }

    /// Signals it: whether it was reset before. 6, 1.
    pub fn signal(&mut self, handle: &Handle) -> Result<bool> {
        let e = self.event(handle)?;
        let was_reset = !std::mem::replace(&mut e.is_set, true);
        e.signals += u64::from(was_reset);
        Ok(was_reset)
    }

    /// Resets it: whether it was signalled before. 6, 1.
    pub fn reset(&mut self, handle: &Handle) -> Result<bool> {
        Ok(std::mem::take(&mut self.event(handle)?.is_set))
    }

    /// How it stands. 6, 1.
    pub fn signalled(&mut self, handle: &Handle) -> Result<Signal> {
        Ok(self.event(handle)?.signal())
    }
}
