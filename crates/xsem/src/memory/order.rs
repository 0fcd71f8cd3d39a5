//! Who gets what next.
//!
//! **The oldest wait first**, at each semaphore: what is free is kept for the oldest until it can have all that it wants,
//! be it many permits or several semaphores at one instant (`acquire_all`, for which something may so lie idle). Nobody
//! overtakes, and nobody starves.
//!
//! With one exception, without which this order would make deadlocks of its own: a wait is **overtaken by those on whom it
//! depends**. Somebody owns A and asks for B; the oldest waits for A and B at one instant. B is free, and kept for the
//! oldest; but the oldest can have nothing before that owner goes on, so the owner gets B. In words: a younger wait may
//! pass an older one if the way from the older one leads to it, over those who hold what is wanted and wait themselves,
//! and over those who are ahead of them; and if somebody on that way waits for what the younger one holds. (Who holds
//! nothing would help nobody by being served.)
//!
//! Why that is enough: take some waits that can never end, and that wait for nobody else. Among them are some who hold what
//! another one wants, since places in queues alone make no circle. All who are ahead of one of these depend on it, so it
//! may pass, and is blocked by claims alone, each of them of another one of these. So what remains is a deadlock of claims,
//! and those are found (1131).
//!
//! A wait for more permits than the limit in force (it was lowered) keeps nothing: it waits for a higher one.

use super::state::{Gate, Now, State, Want};
use crate::claim::Wants;
use std::collections::{HashMap, HashSet};

impl State {
    /// Serves whoever can be served after a change.
    pub(super) fn settle(&mut self, now: Now) {
        loop {
            while let Some(sem) = self.dirty.pop_first() {
                self.serve(sem, now);
            }
            if !self.overtake(now) {
                break;
            }
        }
        // Where a limit was lowered below what is out, what comes back is not free for others: that can close a cycle.
        for id in std::mem::take(&mut self.shrunk) {
            let Some(sem) = self.sems.get(&id) else { continue };
            let queue: Vec<u64> = sem.queue.iter().copied().collect();
            if sem.out > sem.limit {
                self.shrunk.insert(id);
            }
            queue.into_iter().for_each(|w| self.break_deadlocks(w, now));
        }
    }

    /// Serves a wait that has just begun, if it can have all at once: it may want no more than what it owns already, and
    /// then it has no place in any queue.
    pub(super) fn serve_new(&mut self, id: u64, now: Now) {
        if let Some(indices) = self.possible(id, |_| false) {
            self.grant(id, &indices, now);
        }
        self.settle(now);
    }

    /// Serves the queue of one semaphore from its head.
    fn serve(&mut self, id: u64, now: Now) {
        let mut after = 0;
        while let Some(next) = self.sems.get(&id).and_then(|s| s.queue.range(after + 1..).next().copied()) {
            match self.possible(next, |_| false) {
                Some(indices) => self.grant(next, &indices, now),
                None if self.keeps(next, id) => break,
                None => after = next,
            }
        }
        let Some(sem) = self.sems.get(&id) else { return };
        if sem.free() > 0 && sem.queue.len() > 1 {
            self.kept.insert(id);
        } else {
            self.kept.remove(&id);
        }
        self.check_drained(id);
    }

    /// Which entries of its list a wait could be granted now, if it may pass these older ones.
    fn possible(&self, id: u64, may_pass: impl Fn(u64) -> bool) -> Option<Vec<usize>> {
        let w = self.waits.get(&id)?;
        let can = |want: &Want| {
            let Some(sem) = self.sems.get(&want.sem) else { return false };
            let ahead = |older: &u64| !self.keeps(*older, want.sem) || may_pass(*older);
            sem.is_mine(w.who) || sem.free() >= want.permits && sem.queue.range(..id).all(ahead)
        };
        match w.mode {
            Wants::All => w.wants.iter().all(can).then(|| (0..w.wants.len()).collect()),
            _ => w.wants.iter().position(can).map(|i| vec![i]),
        }
    }

    /// Whether this wait keeps others from what is free of the semaphore.
    fn keeps(&self, id: u64, sem: u64) -> bool {
        let within = |want: &Want| self.sems.get(&want.sem).is_some_and(|s| want.permits <= s.limit);
        self.waits.get(&id).is_some_and(|w| match w.mode {
            Wants::All => w.wants.iter().all(within),
            _ => w.wants.iter().any(|want| want.sem == sem && within(want)),
        })
    }

    /// Whether what is free of the semaphore is kept from this wait for an older one.
    pub(super) fn is_kept(&self, sem: u64, id: u64) -> bool {
        self.sems.get(&sem).is_some_and(|s| s.queue.range(..id).any(|&older| self.keeps(older, sem)))
    }

    /// Serves one wait that those ahead of it depend on.
    fn overtake(&mut self, now: Now) -> bool {
        let mut known = HashMap::new();
        for sem in &self.kept {
            let Some(s) = self.sems.get(sem) else { continue };
            for &id in s.queue.iter().skip(1) {
                if !self.is_in_the_way(id) || self.possible(id, |_| true).is_none() {
                    continue;
                }
                // Who is ahead of it, at each of the semaphores that it wants.
                let wants = self.waits[&id].wants.iter();
                for older in wants.filter_map(|w| self.sems.get(&w.sem)).flat_map(|s| s.queue.range(..id)) {
                    known.entry(*older).or_insert_with(|| self.depends_on(*older));
                }
                if let Some(indices) = self.possible(id, |older| known.get(&older).is_some_and(|d| d.contains(&id))) {
                    self.grant(id, &indices, now);
                    return true;
                }
            }
        }
        false
    }

    /// Whether somebody may wait for this one, so that it is worth the search: it holds something, or waits at something that
    /// is being drained.
    fn is_in_the_way(&self, id: u64) -> bool {
        let drained = |w: &Want| self.sems.get(&w.sem).is_some_and(|s| matches!(s.gate, Gate::Draining(_)));
        self.waits.get(&id).is_some_and(|w| self.holding.contains_key(&w.who) || w.wants.iter().any(drained))
    }

    /// Who waits itself and holds what this wait needs, or somebody on the way from it does.
    fn depends_on(&self, id: u64) -> HashSet<u64> {
        let (mut seen, mut holders) = (HashSet::from([id]), HashSet::new());
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            let Some(w) = self.waits.get(&id) else { continue };
            let mut ahead = Vec::new();
            let mut blocking = Vec::new();
            for want in &w.wants {
                let Some(sem) = self.sems.get(&want.sem).filter(|s| !s.is_mine(w.who)) else { continue };
                // Who is ahead of that one is found from there.
                ahead.extend(sem.queue.range(..id).next_back());
                if sem.free() < want.permits {
                    blocking.extend(sem.claims.values().filter_map(|h| self.waiting.get(&h.who)));
                }
            }
            if let Some(sem) = w.drains.and_then(|s| self.sems.get(&s)) {
                // It waits for all who are there, as if they held something of it.
                blocking.extend(sem.claims.values().filter_map(|h| self.waiting.get(&h.who)));
                blocking.extend(&sem.queue);
            }
            holders.extend(blocking.iter().copied());
            todo.extend(ahead.into_iter().chain(blocking).filter(|next| seen.insert(*next)));
        }
        holders
    }
}
