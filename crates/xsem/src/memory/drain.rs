//! Draining: no new requests, and a wait until everybody who is there has ended.

use super::refusals;
use super::request::{Answer, GiveUp, Patience};
use super::state::{Gate, Now, State, Wait, Who};
use crate::claim::Wants;
use crate::error::Result;
use crate::name::Name;

impl State {
    /// Refuses new requests to the semaphore, and waits until nobody holds it or waits for it. 187; 102 while somebody else
    /// does; 121 at once without patience; 1131.
    pub fn drain(&mut self, who: Who, name: &Name, patience: Patience, now: Now) -> Result<Answer> {
        let sem = self.find(name)?;
        let id = self.fresh();
        let s = self.sems.get_mut(&sem).ok_or_else(refusals::no_handle)?;
        if let Gate::Draining(_) = s.gate {
            return Err(refusals::draining_already(name));
        }
        s.gate = Gate::Draining(id);
        let forever = patience == Patience::Unlimited;
        let wait = Wait {
            who,
            mode: Wants::All,
            wants: Vec::new(),
            drains: Some(sem),
            forever,
            began: now.mono,
            label: None,
            outcome: None,
        };
        self.waits.insert(id, wait);
        if who.is_somebody() {
            self.waiting.insert(who, id);
        }
        self.dirty.insert(sem);
        self.settle(now);
        if let Some(outcome) = self.outcome(id) {
            return outcome.map(Answer::Granted);
        }
        if patience == Patience::Now
            && let Some(e) = self.give_up(id, GiveUp::TimedOut, now)
        {
            return Err(e);
        }
        self.break_deadlocks(id, now);
        match self.outcome(id) {
            Some(outcome) => outcome.map(Answer::Granted),
            None => Ok(Answer::Waits(id)),
        }
    }

    /// Ends a drain that has nobody to wait for any more.
    pub(super) fn check_drained(&mut self, id: u64) {
        let Some(sem) = self.sems.get_mut(&id) else { return };
        if let Gate::Draining(wait) = sem.gate
            && sem.claims.is_empty()
            && sem.queue.is_empty()
        {
            sem.gate = Gate::Drained;
            self.end_wait(wait, Ok(Vec::new()));
        }
    }

    /// Lets requests in again. 187.
    pub fn reopen(&mut self, name: &Name, now: Now) -> Result<()> {
        let id = self.find(name)?;
        let Some(sem) = self.sems.get_mut(&id) else { return Ok(()) };
        if let Gate::Draining(wait) = std::mem::replace(&mut sem.gate, Gate::Open) {
            self.end_wait(wait, Err(refusals::reopened(name)));
        }
        self.settle(now);
        Ok(())
    }
}
