//! Who gets what next.
//!
//! **The oldest wait first**, wherever it waits. What is free of a semaphore is kept for the oldest request that wants more
//! than that of it, be it many permits of one or any of a list, until there is enough: nobody overtakes it, and it does not
//! starve. A wait for more permits than the limit in force (it was lowered) keeps nothing: it waits for a higher one.
//!
//! **All at one instant** (`acquire_all` of several) is served before all who are younger in the instant in which everything
//! that it wants is there and kept for nobody else. Until then it keeps nothing: what it could not take together with the
//! rest would lie idle for as long as the rest is held. The price: it **can be overtaken without a bound** by those who use
//! its parts at different times, and is served when all of them happen to be free at one instant. (The engine in shared
//! memory lets it keep its parts for a tenth of the time; there is no clock in here that could.)
//!
//! **Events** stand in the same order. A manual one that is signalled is there for all, so it is kept for nobody; the signal of
//! an auto one goes to the oldest. Nobody holds an event, so nobody depends on anybody who waits for one.
//!
//! There is one exception, without which this order would make deadlocks of its own: a request is **overtaken by those on
//! whom it depends**. Somebody holds one of two permits and asks for the other; the oldest waits for both. The other one is
//! kept for the oldest; but the oldest can have nothing before that holder goes on, so the holder gets it. In words: a
//! younger wait may pass an older one if the way from the older one leads to it, over those who hold what is wanted and wait
//! themselves, and over those for whom it is kept; and if somebody on that way waits for what the younger one holds. (Who
//! holds nothing would help nobody by being served.) The process as a whole (claimant 0) is nobody in particular, whose
//! claims no wait could be found by: it does not overtake.
//!
//! Why that is enough: take some waits that can never end, and that wait for nobody else. Among them are some who hold what
//! another one wants, since places in queues alone make no circle. All for whom something is kept from one of these depend
//! on it, so it may pass, and is blocked by claims alone, each of them of another one of these. So what remains is a
//! deadlock of claims, and those are found (1131).

use super::state::{Gate, Now, State, Want};
use crate::claim::Wants;
use std::collections::{BTreeSet, HashMap, HashSet};

impl State {
    /// Serves whoever can be served after a change.
    pub(super) fn settle(&mut self, now: Now) {
        loop {
            while !self.dirty.is_empty() {
                self.serve(now);
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

    /// Serves the queues of all semaphores that have changed as if they were one: who is older elsewhere may leave something
    /// to who waits for several. Once from the oldest on, since a grant makes nothing possible for who is older.
    fn serve(&mut self, now: Now) {
        let mut after = 0;
        // Semaphores whose rest is kept for somebody.
        let mut closed = BTreeSet::new();
        loop {
            let open = self.dirty.difference(&closed).filter_map(|id| self.sems.get(id)).filter(|s| s.free() > 0);
            let Some(next) = open.filter_map(|s| s.queue.range(after + 1..).next()).min().copied() else { break };
            match self.possible(next, |_| false) {
                Some(indices) => self.grant(next, &indices, now),
                None => {
                    let wants = self.waits.get(&next).map_or(&[][..], |w| &w.wants);
                    closed.extend(wants.iter().map(|w| w.sem).filter(|sem| self.keeps(next, *sem)));
                }
            }
            after = next;
        }
        for id in std::mem::take(&mut self.dirty) {
            let Some(sem) = self.sems.get(&id) else { continue };
            let keeper = sem.queue.iter().find(|w| self.keeps(**w, id));
            if keeper.is_some_and(|k| sem.free() > 0 && sem.queue.range(k + 1..).next().is_some()) {
                self.kept.insert(id);
            } else {
                self.kept.remove(&id);
            }
            self.check_drained(id);
        }
    }

    /// Which entries of its list a wait could be granted now, if it may pass these older ones.
    fn possible(&self, id: u64, may_pass: impl Fn(u64) -> bool) -> Option<Vec<usize>> {
        let w = self.waits.get(&id)?;
        let mine = |want: &Want| self.sems.get(&want.sem).is_some_and(|s| s.is_mine(w.who));
        let there = |want: &Want| mine(want) || self.sems.get(&want.sem).is_some_and(|s| s.free() >= want.permits);
        let left = |want: &Want| mine(want) || self.keepers(want.sem, id).all(&may_pass);
        match w.mode {
            // The queues are looked at only if all is there: that is rare.
            Wants::All => (w.wants.iter().all(there) && w.wants.iter().all(left)).then(|| (0..w.wants.len()).collect()),
            _ => w.wants.iter().position(|want| there(want) && left(want)).map(|i| vec![i]),
        }
    }

    /// Whether this wait, as long as it cannot be served, keeps others from what is free of the semaphore. All of several
    /// do not; all of one is a single request.
    fn keeps(&self, id: u64, sem: u64) -> bool {
        let within = |want: &Want| self.sems.get(&want.sem).is_some_and(|s| want.permits <= s.limit && !s.is_for_all());
        self.waits.get(&id).is_some_and(|w| {
            (w.mode != Wants::All || w.wants.len() == 1) && w.wants.iter().any(|want| want.sem == sem && within(want))
        })
    }

    /// For whom what is free of the semaphore is kept from this wait: the youngest first.
    fn keepers(&self, sem: u64, id: u64) -> impl Iterator<Item = u64> {
        let older = self.sems.get(&sem).into_iter().flat_map(move |s| s.queue.range(..id).rev().copied());
        older.filter(move |older| self.keeps(*older, sem))
    }

    /// Whether what is free of the semaphore is kept from this wait for an older one.
    pub(super) fn is_kept(&self, sem: u64, id: u64) -> bool {
        self.keepers(sem, id).next().is_some()
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
                for older in self.waits[&id].wants.iter().flat_map(|w| self.keepers(w.sem, id)) {
                    known.entry(older).or_insert_with(|| self.depends_on(older));
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
                // Those before that one are found from there.
                ahead.extend(self.keepers(want.sem, id).next());
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
