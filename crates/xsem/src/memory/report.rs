//! What people ask about.

use super::state::{Gate, Now, Sem, State};
use crate::claim::{Holder, Kind, Report, Summary, Waiter};
use crate::error::Result;
use crate::name::Name;
use std::ops::Bound;
use std::time::Duration;

fn age(since: u64, now: Now) -> Duration {
    Duration::from_nanos(now.mono.saturating_sub(since))
}

impl State {
    /// Who holds a semaphore, the oldest claim first.
    pub(super) fn holders(&self, sem: &Sem, now: Now) -> Vec<Holder> {
        let holder = |c: &super::state::Held| Holder {
            label: c.label.clone(),
            held_for: Some(age(c.since, now)),
            depth: c.levels.len().max(1) as u32,
            permits: c.permits,
            slots: if c.asked { c.slots.clone() } else { Vec::new() },
            covers: self.sessions.get(&c.who.session).and_then(|s| s.covers.clone()),
            shared_with: c.sharers.iter().map(|s| self.process(*s)).collect(),
            ..Holder::new(self.process(c.who.session), c.who.claimant, c.token)
        };
        sem.claims.values().map(holder).collect()
    }

    /// Who waits for a semaphore since before the wait `before`, oldest first.
    pub(super) fn waiters(&self, sem: &Sem, before: u64, now: Now) -> Vec<Waiter> {
        let Some(id) = self.names.get(&sem.name) else { return Vec::new() };
        sem.queue.range(..before).filter_map(|w| self.waiter(*w, [*id], now)).collect()
    }

    /// A wait as others see it, with what it wants of the first of these semaphores that it waits for.
    pub(super) fn waiter(&self, id: u64, sems: impl IntoIterator<Item = u64>, now: Now) -> Option<Waiter> {
        let w = self.waits.get(&id)?;
        let permits = sems.into_iter().find_map(|s| w.wants.iter().find(|x| x.sem == s)).map_or(1, |x| x.permits);
        let mut waiter = Waiter::new(self.process(w.who.session), w.who.claimant, permits, age(w.began, now));
        (waiter.has_deadline, waiter.wants) = (!w.forever, w.mode);
        Some(waiter)
    }

    /// All about one semaphore. 187.
    pub fn inspect(&self, name: &Name, now: Now) -> Result<Report> {
        let id = self.find(name)?;
        let sem = &self.sems[&id];
        Ok(Report {
            holders: self.holders(sem, now),
            waiters: self.waiters(sem, u64::MAX, now),
            marked: sem.marked,
            deaths: sem.deaths.clone(),
            counters: sem.counters,
            capacity: (sem.kind == Kind::Counting).then(|| sem.capacity()),
            signal: sem.signal(),
            drained: sem.gate != Gate::Open,
            ephemeral: sem.ephemeral,
            unused_for: sem.unused_for(now),
            deadlock: self.deadlock_through(id),
            ..Report::new(name.as_str(), sem.kind)
        })
    }

    /// The line of the semaphore that comes after this name in the order of the names.
    pub fn summary_after(&self, name: Option<&Name>, now: Now) -> Option<(Name, Summary)> {
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        let (name, id) = self.names.range::<Name, _>((from, Bound::Unbounded)).next()?;
        let sem = self.sems.get(id)?;
        let summary = Summary {
            holders: self.holders(sem, now),
            marked: sem.marked,
            contended: !sem.queue.is_empty(),
            acquired: sem.counters.acquired,
            capacity: (sem.kind == Kind::Counting).then(|| sem.capacity()),
            signal: sem.signal(),
            drained: sem.gate != Gate::Open,
            ephemeral: sem.ephemeral,
            unused_for: sem.unused_for(now),
            ..Summary::new(name.as_str(), sem.kind)
        };
        Some((name.clone(), summary))
    }
}

impl Sem {
    fn unused_for(&self, now: Now) -> Duration {
        if self.claims.is_empty() { age(self.last_used, now) } else { Duration::ZERO }
    }
}
