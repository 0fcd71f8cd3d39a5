//! What one claimant, a thread or a task, holds, as the ledger knows it.

use super::super::ledger::{Did, State};
use super::super::signals::{Intent, Place};
use super::here::Here;

/// The books of one claimant.
#[derive(Clone, Copy)]
pub(super) struct Books {
    pub(super) here: &'static Here,
    /// Which of the process's claimants this is.
    pub(super) place: usize,
    pub(super) state: State,
}

impl Books {
    pub(super) fn new(here: &'static Here, place: usize, state: State) -> Books {
        let books = Books { here, place, state };
        books.tell();
        books
    }

    /// Writes down what it holds.
    fn tell(&self) {
        self.here.ledger.processes[self.here.slot].claimants[self.place].state.set(self.state);
    }

    pub(super) fn note(&self, did: Did, number: u32) {
        self.here.note(self.place, did, number);
    }

    /// It asks for these, or gives them back: whoever kills it now does not know.
    pub(super) fn unsure(&mut self, mask: u8) {
        self.state.held &= !mask;
        self.state.unsure |= mask;
        self.tell();
        self.note(Did::Asks, mask.into());
    }

    /// It has these, and nothing else of what it was not sure of.
    pub(super) fn holds(&mut self, mask: u8) {
        self.state.held |= mask;
        self.state.unsure = 0;
        self.tell();
        self.note(Did::Holds, mask.into());
    }

    /// It has none of these any more.
    pub(super) fn without(&mut self, mask: u8) {
        self.state.held &= !mask;
        self.state.unsure &= !mask;
        self.state.abandoning &= !mask;
        self.tell();
        self.note(Did::Without, mask.into());
    }

    /// It has these, and will not give them back: a death, whatever comes first.
    pub(super) fn abandons(&mut self, mask: u8) {
        self.state.held &= !mask;
        self.state.abandoning |= mask;
        self.tell();
        self.note(Did::Abandons, mask.into());
    }

    /// What it was abandoning is dead.
    pub(super) fn abandoned(&mut self) {
        self.state = self.state.abandoned();
        self.tell();
    }

    /// It hung, and whether it was evicted is not known yet.
    pub(super) fn perhaps_abandoned(&mut self, mask: u8) {
        self.state.abandoning &= !mask;
        self.state.unsure |= mask;
        self.tell();
    }

    /// It was.
    pub(super) fn was_evicted(&mut self) {
        self.state.made += 1;
        self.tell();
    }

    /// It is about to do this to accounts.
    pub(super) fn say(&self, intent: Intent) {
        self.here.ledger.signals.say(Place::of(self.here.slot, self.place), intent);
    }

    /// It has done this much of it, and nothing else.
    pub(super) fn did(&self, account: usize, change: i64) {
        self.here.ledger.signals.did(account, change);
        self.here.ledger.signals.done(Place::of(self.here.slot, self.place));
    }
}
