//! Who waits for ever (1131): found by asking the opposite question, who could still be helped.

use super::{Claimant, Entry, How, Model, State, Waiting};
use std::collections::BTreeSet;
use xsem::Mode;

impl Model {
    /// Those who wait without a deadline, and whom no end of a claim of anybody else could help: all that could help them
    /// waits itself, in the same way.
    ///
    /// Deliberately not a search along edges, which is what engines do: at first everybody who waits without a deadline is
    /// suspected; whoever would be granted if all unsuspected ones gave everything up is cleared; and so on until nobody
    /// else is cleared.
    pub fn stuck(&self) -> BTreeSet<Claimant> {
        let mut suspects: BTreeSet<Claimant> = self.waits.iter().filter(|w| !w.has_deadline).map(|w| w.who).collect();
        loop {
            let cleared: Vec<Claimant> = self
                .waits
                .iter()
                .filter(|w| suspects.contains(&w.who) && self.could_be_helped(w, &suspects))
                .map(|w| w.who)
                .collect();
            if cleared.is_empty() {
                return suspects;
            }
            cleared.iter().for_each(|who| {
                suspects.remove(who);
            });
        }
    }

    /// Whether the wait would be granted if only the suspects kept their claims.
    fn could_be_helped(&self, wait: &Waiting, suspects: &BTreeSet<Claimant>) -> bool {
        let possible = |e: &Entry| match self.by_incarnation(e.incarnation).map(|s| &s.state) {
            // Its object is gone: the wait ends with an error.
            None => true,
            // Anybody may signal it.
            Some(State::Event(_)) => true,
            Some(State::Exclusive(x)) => x.owner().is_none_or(|(who, ..)| who == wait.who || !suspects.contains(&who)),
            Some(State::Counting(c)) => {
                let kept: u32 = c.holds().iter().filter(|h| suspects.contains(&h.who)).map(|h| h.permits).sum();
                // Anybody may add permits to a credit, and raise a limit that was lowered under a waiter.
                c.mode() == Mode::Credit || e.permits > c.limit() || c.limit().saturating_sub(kept) >= e.permits
            }
        };
        match wait.how {
            How::Any => wait.list.iter().any(possible),
            How::One | How::All => wait.list.iter().all(possible),
        }
    }
}
