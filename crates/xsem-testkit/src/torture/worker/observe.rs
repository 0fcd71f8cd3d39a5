//! Looking at others while everything goes on: what is said must be sane at every instant.

use super::super::account::{NAMES, POOLS, STEADY, STEADY_POOLS};
use super::super::ledger::{Count, Did};
use super::super::seats::SHARED;
use super::claimant::{Claimant, LABELS};
use super::{LEAST, LIMITS, RESIZED, name, pool_name};
use xsem::{Code, Error, Holder, Kind};

impl Claimant {
    pub(super) fn observe(&mut self) {
        self.ledger.count(Count::Observations);
        self.books.note(Did::Looks, 0);
        match self.random.below(4) {
            0 => self.look_at_all(),
            1 => self.look_at_capacity(),
            2 => {
                let i = self.random.below(NAMES as u64) as usize;
                self.look_at(&name(i), i < STEADY, 1);
            }
            _ => {
                let k = self.random.below(POOLS as u64) as usize;
                self.look_at(&pool_name(k), k < STEADY_POOLS, LIMITS[k]);
            }
        }
    }

    fn strange(&self, what: &str, why: String) {
        self.ledger.violation(&format!("looking at {what}: {why}"));
    }

    fn unless_missing(&self, what: &str, e: Error) {
        if e.code() != Code::SemNotFound {
            self.strange(what, e.to_string());
        }
    }

    fn look_at(&self, name: &str, steady: bool, limit: u32) {
        let r = match self.ns.inspect(name) {
            Ok(r) => r,
            Err(e) => return self.unless_missing(name, e),
        };
        self.look_at_holders(name, &r.holders, limit);
        for w in &r.waiters {
            if w.process.pid != 0 && !self.ledger.was_ours(w.process.pid) {
                self.strange(name, format!("somebody waits who never was one of ours: {w:?}"));
            }
        }
        if r.kind == Kind::Exclusive && steady && r.deadlock.len() > 1 {
            self.strange(name, format!("a deadlock, where nobody waits while it owns: {:?}", r.deadlock));
        }
        if let Some(d) = r.deaths
            // Holders of permits die in any order.
            && (d.count == 0 || r.kind == Kind::Exclusive && d.count > 1 && d.first.token >= d.latest.token)
        {
            self.strange(name, format!("deaths {d:?}"));
        }
    }

    fn look_at_holders(&self, name: &str, holders: &[Holder], limit: u32) {
        let permits: u32 = holders.iter().map(|h| h.permits).sum();
        if permits > limit {
            self.strange(name, format!("{permits} permits are held, and there never were more than {limit}: {holders:?}"));
        }
        for h in holders {
            if h.process.pid != 0 && !self.ledger.was_ours(h.process.pid) {
                self.strange(name, format!("a holder that never was one of ours: {h:?}"));
            }
            if h.label.as_ref().is_some_and(|l| !LABELS.contains(&l.as_str())) {
                self.strange(name, format!("a label that nobody gave: {h:?}"));
            }
        }
    }

    fn look_at_all(&self) {
        let all = match self.ns.list() {
            Ok(all) => all,
            Err(e) => return self.strange("the list", e.to_string()),
        };
        for s in &all {
            let limit = match (0..POOLS).find(|k| pool_name(*k) == s.name) {
                Some(k) => LIMITS[k],
                // Several may share the claim on that one.
                None if s.kind == Kind::Exclusive && s.name != SHARED => 1,
                None => continue,
            };
            self.look_at_holders(&s.name, &s.holders, limit);
        }
        for i in 0..NAMES {
            let n = all.iter().filter(|s| s.name == name(i)).count();
            // A name that is removed and made anew meanwhile may be seen twice, or not at all.
            if i < STEADY && (n > 1 || n == 0 && self.handles[i].is_some()) {
                self.strange("the list", format!("{} is there {n} times", name(i)));
            }
        }
    }

    fn look_at_capacity(&mut self) {
        let k = self.random.below(POOLS as u64) as usize;
        let Some(s) = self.pool(k) else { return };
        match s.capacity() {
            Ok(c) => {
                let limits = if k == RESIZED { LEAST..=LIMITS[k] } else { LIMITS[k]..=LIMITS[k] };
                if !limits.contains(&c.limit) || c.total > LIMITS[k] || c.free > c.total || c.total < c.limit {
                    self.strange(&pool_name(k), format!("{c:?}"));
                }
            }
            Err(e) if e.code() == Code::InvalidHandle && k >= STEADY_POOLS => self.pools[k] = None,
            Err(e) => self.strange(&pool_name(k), e.to_string()),
        }
    }
}
