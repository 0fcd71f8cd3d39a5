//! Asking for claims: at once, waiting, giving up.

use super::refusals;
use super::state::{Gate, Now, State, Wait, Want, Who};
use crate::claim::{Kind, Wants};
use crate::engine::Grant;
use crate::error::{Error, Result};

/// Deepest nesting of one claim.
pub(super) const MAX_DEPTH: usize = 65_535;

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Who asks.
    pub who: Who,
    /// One, any or all of the list.
    pub wants: Wants,
    /// Handles, and permits of each.
    pub list: &'a [(u64, u32)],
    /// For how long.
    pub patience: Patience,
    /// What the claims are called.
    pub label: Option<&'a str>,
}

/// How long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all.
    Now,
    /// Until the caller gives up.
    Limited,
    /// For ever: only such a wait can be part of a deadlock.
    Unlimited,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Answer {
    /// Granted: the indices in the list, ascending, and their claims.
    Granted(Vec<(usize, Grant)>),
    /// It waits, under this number.
    Waits(u64),
}

/// Why a wait ends without what it was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// 121.
    TimedOut,
    /// 95.
    Cancelled,
}

impl State {
    /// Asks for claims. 87, 6, 103, 102; 101 or 121 at once without patience; 1131.
    pub fn ask(&mut self, ask: &Ask<'_>, now: Now) -> Result<Answer> {
        let wants = self.check(ask, now)?;
        let id = self.fresh();
        for w in &wants {
            if let Some(sem) = self.sems.get_mut(&w.sem) {
                sem.queue.insert(id);
                self.dirty.insert(w.sem);
            }
        }
        self.waits.insert(
            id,
            Wait {
                who: ask.who,
                mode: ask.wants,
                wants,
                drains: None,
                forever: ask.patience == Patience::Unlimited,
                began: now.mono,
                label: ask.label.map(str::to_owned),
                outcome: None,
            },
        );
        if ask.who.is_somebody() {
            self.waiting.insert(ask.who, id);
        }
        self.serve_new(id, now);
        if let Some(outcome) = self.outcome(id) {
            return outcome.map(Answer::Granted);
        }
        if ask.patience == Patience::Now {
            let e = self.taken(id, true, now);
            self.leave(id, now);
            return Err(e);
        }
        let mut concerned: Vec<u64> = self.waits[&id].wants.iter().map(|w| w.sem).collect();
        concerned.sort_unstable();
        concerned.dedup();
        for sem in concerned {
            if let Some(s) = self.sems.get_mut(&sem) {
                s.counters.contended += 1;
            }
        }
        self.break_deadlocks(id, now);
        match self.outcome(id) {
            Some(outcome) => outcome.map(Answer::Granted),
            None => Ok(Answer::Waits(id)),
        }
    }

    /// What it asks for, if it may. In the order of the contract: 87, 6, 87 for the limit, 103, 102.
    fn check(&self, ask: &Ask<'_>, now: Now) -> Result<Vec<Want>> {
        let at = |i: usize, e: Error| if ask.wants == Wants::One { e } else { e.at([i]) };
        for (i, &(handle, permits)) in ask.list.iter().enumerate() {
            if permits == 0
                && let Some(h) = self.handles.get(&handle)
            {
                return Err(at(i, refusals::permits_of(&h.name, 0)));
            }
        }
        let mut wants = Vec::with_capacity(ask.list.len());
        for (i, &(handle, permits)) in ask.list.iter().enumerate() {
            let (h, sem) = self.through(handle).map_err(|e| at(i, e))?;
            if permits > sem.limit {
                return Err(at(i, refusals::above_limit(&h.name, sem, permits)));
            }
            wants.push(Want { handle, sem: h.sem, permits });
        }
        for (i, want) in wants.iter().enumerate() {
            let sem = &self.sems[&want.sem];
            let mine = sem.is_mine(ask.who);
            if mine && sem.claims.values().any(|h| h.levels.len() >= MAX_DEPTH) {
                return Err(at(i, refusals::too_deep(&sem.name)));
            }
            // A further level belongs to a claim that a drain lets end as it will.
            if !mine && sem.gate != Gate::Open {
                let holders = self.holders(sem, now);
                return Err(at(i, refusals::drained(&sem.name, sem.gate == Gate::Drained).held_by(holders)));
            }
        }
        Ok(wants)
    }

    /// What has become of a wait, once; None while it lasts. The indices in the list, and their claims; none for a drain.
    pub fn outcome(&mut self, wait: u64) -> Option<Result<Vec<(usize, Grant)>>> {
        self.waits.get(&wait)?.outcome.as_ref()?;
        self.waits.remove(&wait)?.outcome
    }

    /// Ends a wait that lasts, and says with which error; None when it is over by now: then there is an outcome.
    pub fn give_up(&mut self, wait: u64, why: GiveUp, now: Now) -> Option<Error> {
        let w = self.waits.get(&wait).filter(|w| w.outcome.is_none())?;
        let wanted: Vec<u64> = w.wants.iter().map(|x| x.sem).chain(w.drains).collect();
        let e = match (why, w.drains) {
            (GiveUp::Cancelled, None) => self.concerning(wait, refusals::cancelled(&self.wanted_text(wait))),
            (GiveUp::Cancelled, Some(sem)) => {
                let s = &self.sems[&sem];
                refusals::drain_cancelled(&s.name, self.holders(s, now), self.waiters(s, u64::MAX, now))
            }
            (GiveUp::TimedOut, None) => self.taken(wait, false, now),
            (GiveUp::TimedOut, Some(sem)) => {
                let s = &self.sems[&sem];
                refusals::drain_timed_out(&s.name, self.holders(s, now), self.waiters(s, u64::MAX, now))
            }
        };
        if why == GiveUp::TimedOut {
            for sem in wanted {
                if let Some(s) = self.sems.get_mut(&sem) {
                    s.counters.timed_out += 1;
                }
            }
        }
        self.leave(wait, now);
        Some(e)
    }

    /// Ends a wait with an outcome that its sleeper fetches.
    pub(super) fn end_wait(&mut self, id: u64, outcome: Result<Vec<(usize, Grant)>>) {
        self.unqueue(id);
        if let Some(w) = self.waits.get_mut(&id) {
            w.outcome = Some(outcome);
            self.ended.push(id);
        }
    }

    /// Ends a wait that nobody will ask about.
    pub(super) fn leave(&mut self, id: u64, now: Now) {
        self.unqueue(id);
        self.waits.remove(&id);
        self.settle(now);
    }

    /// Takes a wait out of everything but the list of waits.
    pub(super) fn unqueue(&mut self, id: u64) {
        let Some(w) = self.waits.get(&id) else { return };
        let (who, drains) = (w.who, w.drains);
        for want in &w.wants {
            if let Some(sem) = self.sems.get_mut(&want.sem) {
                sem.queue.remove(&id);
                self.dirty.insert(want.sem);
            }
        }
        if self.waiting.get(&who) == Some(&id) {
            self.waiting.remove(&who);
        }
        if let Some(sem) = drains.and_then(|s| self.sems.get_mut(&s))
            && sem.gate == Gate::Draining(id)
        {
            sem.gate = Gate::Open;
        }
    }

    /// Why a wait was not granted: 101 or 121, with who holds what it wants and who is ahead of it.
    fn taken(&self, id: u64, at_once: bool, now: Now) -> Error {
        let w = &self.waits[&id];
        let missing = |want: &&Want| {
            let sem = &self.sems[&want.sem];
            !sem.is_mine(w.who) && (sem.free() < want.permits || self.is_kept(want.sem, id))
        };
        let mut sems: Vec<u64> = w.wants.iter().filter(missing).map(|want| want.sem).collect();
        sems.sort_unstable();
        sems.dedup();
        let holders = sems.iter().flat_map(|s| self.holders(&self.sems[s], now)).collect();
        let mut ahead: Vec<u64> = sems.iter().flat_map(|s| self.sems[s].queue.range(..id)).copied().collect();
        ahead.sort_unstable();
        ahead.dedup();
        let ahead = ahead.iter().filter_map(|o| self.waiter(*o, sems.iter().copied(), now)).collect();
        match (w.mode, w.wants.first()) {
            (Wants::One, Some(want)) => {
                let sem = &self.sems[&want.sem];
                let kept = sem.free() >= want.permits;
                match sem.kind {
                    Kind::Event => refusals::not_signalled(&sem.name, at_once),
                    Kind::Exclusive if at_once => refusals::owned(&sem.name),
                    Kind::Counting if at_once => refusals::too_few(sem, want.permits, kept),
                    _ => refusals::timed_out(&sem.name),
                }
                .of(sem.name.as_str())
            }
            (mode, _) => {
                let indices = w.wants.iter().enumerate().filter(|(_, want)| missing(want)).map(|(i, _)| i);
                refusals::list_taken(w.wants.len(), mode == Wants::All, at_once).at(indices)
            }
        }
        .held_by(holders)
        .behind(ahead)
    }

    /// An error about a wait for one semaphore names that.
    pub(super) fn concerning(&self, id: u64, e: Error) -> Error {
        let Some(w) = self.waits.get(&id) else { return e };
        let one = w.drains.or(w.wants.first().map(|x| x.sem).filter(|_| w.wants.len() == 1));
        match one.and_then(|s| self.sems.get(&s)) {
            Some(sem) => e.of(sem.name.as_str()),
            None => e,
        }
    }

    /// What a wait is for, for a sentence.
    pub(super) fn wanted_text(&self, id: u64) -> String {
        let name = |sem: &u64| self.sems.get(sem).map_or_else(|| "?".to_owned(), |s| format!("`{}`", s.name));
        let Some(w) = self.waits.get(&id) else { return String::new() };
        match (w.mode, w.drains) {
            (_, Some(sem)) => format!("the end of {}", name(&sem)),
            (Wants::One, _) => w.wants.first().map_or_else(String::new, |x| name(&x.sem)),
            (Wants::Any, _) => format!("one of {} semaphores", w.wants.len()),
            (Wants::All, _) => format!("{} semaphores at one instant", w.wants.len()),
        }
    }
}
