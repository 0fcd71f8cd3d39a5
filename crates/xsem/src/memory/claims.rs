//! Granting and giving back; credit; slots; claims that several sessions share; signals.

use super::refusals;
use super::state::{Held, Now, Sem, State, Who};
use crate::claim::{Capacity, Cause, Kind, Mode, Signal};
use crate::engine::{Claim, Ending, Grant, MAX_PERMITS, not_counting, not_event};
use crate::error::Result;

/// A shared claim, and who asks about it.
enum Role {
    Owner,
    Sharer,
}

impl State {
    /// Grants a wait these entries of its list.
    pub(super) fn grant(&mut self, id: u64, indices: &[usize], now: Now) {
        let mut granted = Vec::with_capacity(indices.len());
        let Some(w) = self.waits.get(&id) else { return };
        let (who, label) = (w.who, w.label.clone());
        let wants: Vec<_> = indices.iter().filter_map(|&i| Some((i, *w.wants.get(i)?))).collect();
        for (i, want) in wants {
            let key = self.fresh();
            if let Some(sem) = self.sems.get_mut(&want.sem) {
                let before = sem.claims.len();
                granted.push((i, sem.take(who, want.handle, want.permits, label.clone(), key, now)));
                if sem.claims.len() > before && who.is_somebody() {
                    *self.holding.entry(who).or_default() += 1;
                }
            }
        }
        self.end_wait(id, Ok(granted));
    }

    /// The claim of a handle, for the owner or one who shares it; 288.
    fn claim(&self, handle: u64, claim: &Claim) -> Result<(u64, Role)> {
        let Some(h) = self.handles.get(&handle) else { return Err(refusals::no_handle()) };
        if let Some(sem) = self.sems.get(&h.sem).filter(|s| s.kind == Kind::Event) {
            return Err(refusals::no_claim(&sem.name));
        }
        let held = self.sems.get(&h.sem).and_then(|s| s.claims.get(&claim.key)).filter(|c| c.token == claim.token);
        match held {
            Some(c) if c.who.session == h.session => Ok((h.sem, Role::Owner)),
            Some(c) if c.sharers.contains(&h.session) => Ok((h.sem, Role::Sharer)),
            _ => Err(refusals::not_owner(&h.name)),
        }
    }

    /// Whether the claim is still held by the handle's session.
    pub fn is_held(&self, handle: u64, claim: &Claim) -> bool {
        self.claim(handle, claim).is_ok()
    }

    /// Gives a claim back: one level, or all with the mark. 288.
    pub fn release(&mut self, handle: u64, claim: &Claim, ending: Ending, now: Now) -> Result<()> {
        let (sem, role) = self.claim(handle, claim)?;
        match (role, ending) {
            (Role::Sharer, ending) => {
                let session = self.handles[&handle].session;
                self.leave_shared(sem, claim.key, session, if let Ending::Abandon(c) = ending { Some(c) } else { None }, now);
            }
            (Role::Owner, Ending::Release) => {
                let held = self.held(sem, claim.key);
                if let Some(h) = held.filter(|h| h.levels.len() > 1) {
                    let level = h.levels.iter().rposition(|l| *l == handle).unwrap_or(h.levels.len() - 1);
                    h.levels.remove(level);
                } else {
                    self.end_claim(sem, claim.key, None, now);
                }
            }
            (Role::Owner, Ending::Abandon(cause)) => self.end_claim(sem, claim.key, Some(cause), now),
        }
        self.settle(now);
        Ok(())
    }

    fn held(&mut self, sem: u64, key: u64) -> Option<&mut Held> {
        self.sems.get_mut(&sem)?.claims.get_mut(&key)
    }

    /// Ends a claim of its owner, with the mark and an obituary if that is a death. It passes to one that shares it.
    pub(super) fn end_claim(&mut self, id: u64, key: u64, death: Option<Cause>, now: Now) {
        if let Some(cause) = death {
            self.bury(id, key, None, cause, now);
        }
        let Some(sem) = self.sems.get_mut(&id) else { return };
        let Some(held) = sem.claims.get_mut(&key) else { return };
        let who = held.who;
        if !held.sharers.is_empty() && death != Some(Cause::Evicted) {
            held.who = Who { session: held.sharers.remove(0), claimant: 0 };
            // The nesting was the old owner's.
            held.levels.clear();
        } else {
            sem.put_back(key, now);
        }
        if let Some(n) = self.holding.get_mut(&who) {
            *n -= 1;
            if *n == 0 {
                self.holding.remove(&who);
            }
        }
        self.dirty.insert(id);
        self.vanish(id);
    }

    /// A session stops sharing a claim; with a death, the claim goes on with the mark.
    pub(super) fn leave_shared(&mut self, id: u64, key: u64, session: u64, death: Option<Cause>, now: Now) {
        if let Some(cause) = death {
            self.bury(id, key, Some(session), cause, now);
        }
        if let Some(held) = self.held(id, key) {
            held.sharers.retain(|s| *s != session);
        }
    }

    /// Shares the claim with this token, if another session holds it. 6; 103 for a session that shares one already.
    pub fn join(&mut self, handle: u64, token: u64) -> Result<Option<Claim>> {
        let (h, sem) = self.through(handle)?;
        let (session, id) = (h.session, h.sem);
        if sem.kind == Kind::Event {
            return Err(refusals::no_claim(&sem.name));
        }
        if self.sems.values().any(|s| s.claims.values().any(|c| c.sharers.contains(&session))) {
            return Err(refusals::shares_already());
        }
        let key = sem.claims.iter().find(|(_, c)| c.token == token && c.who.session != session).map(|(key, _)| *key);
        let Some(key) = key else { return Ok(None) };
        if let Some(held) = self.held(id, key) {
            held.sharers.push(session);
        }
        Ok(Some(Claim::new(token, key)))
    }

    /// The state is whole again. 288; 1 where there is no mark.
    pub fn mark_consistent(&mut self, handle: u64, claim: &Claim) -> Result<()> {
        let (id, _) = self.claim(handle, claim)?;
        let Some(sem) = self.sems.get_mut(&id) else { return Ok(()) };
        if sem.kind != Kind::Exclusive {
            return Err(refusals::no_mark(&sem.name, sem.kind));
        }
        (sem.marked, sem.deaths) = (false, None);
        Ok(())
    }

    /// The semaphore of a handle if it counts: 6, 1.
    fn counting(&mut self, handle: u64) -> Result<(u64, &mut Sem)> {
        let (h, sem) = self.through(handle)?;
        let id = h.sem;
        if sem.kind != Kind::Counting {
            return Err(not_counting(&sem.name, sem.kind));
        }
        Ok((id, self.sems.get_mut(&id).ok_or_else(refusals::no_handle)?))
    }

    /// The same for a claim: 288, 1.
    fn counted(&mut self, handle: u64, claim: &Claim) -> Result<(u64, &mut Sem)> {
        self.claim(handle, claim)?;
        self.counting(handle)
    }

    /// Gives some permits of a claim back, the highest slots first; all of them end it. 288, 1.
    pub fn release_part(&mut self, handle: u64, claim: &Claim, permits: u32, now: Now) -> Result<()> {
        let (id, sem) = self.counted(handle, claim)?;
        let Some(held) = sem.claims.get_mut(&claim.key) else { return Ok(()) };
        if permits > held.permits {
            return Err(refusals::not_that_many(&sem.name, permits, held.permits));
        }
        if permits == held.permits {
            return self.release(handle, claim, Ending::Release, now);
        }
        held.permits -= permits;
        if !held.slots.is_empty() {
            sem.slots.give(&held.slots.split_off(held.permits as usize));
        }
        sem.out -= permits;
        self.dirty.insert(id);
        self.settle(now);
        Ok(())
    }

    /// The slots of a claim, ascending. 288; 1 on another kind than a pool.
    pub fn slots(&mut self, handle: u64, claim: &Claim) -> Result<Vec<u32>> {
        let (_, sem) = self.counted(handle, claim)?;
        if sem.mode == Mode::Credit {
            return Err(refusals::no_slots(&sem.name));
        }
        let Some(held) = sem.claims.get_mut(&claim.key) else { return Ok(Vec::new()) };
        held.asked = true;
        Ok(held.slots.clone())
    }

    /// More permits. 298, 1, 6.
    pub fn add_permits(&mut self, handle: u64, permits: u32, now: Now) -> Result<()> {
        let (id, sem) = self.counting(handle)?;
        if sem.mode == Mode::Pool {
            return Err(refusals::is_a_pool(&sem.name));
        }
        match sem.total.checked_add(permits).filter(|t| *t <= sem.limit) {
            Some(total) => sem.total = total,
            None => return Err(refusals::too_many_posts(sem, permits)),
        }
        self.dirty.insert(id);
        self.settle(now);
        Ok(())
    }

    /// Ends a claim whose permits do not come back. 288, 1.
    pub fn forget(&mut self, handle: u64, claim: &Claim, now: Now) -> Result<()> {
        let (id, sem) = self.counted(handle, claim)?;
        if sem.mode == Mode::Pool {
            return Err(refusals::is_a_pool(&sem.name));
        }
        let held = sem.claims.get_mut(&claim.key);
        sem.total -= held.map_or(0, |h| {
            h.sharers.clear();
            h.permits
        });
        self.end_claim(id, claim.key, None, now);
        self.settle(now);
        Ok(())
    }

    /// Another limit. 87 (also through a stale handle), 6, 1.
    pub fn resize(&mut self, handle: u64, limit: u32, now: Now) -> Result<()> {
        if limit == 0 || limit > MAX_PERMITS {
            let h = self.handles.get(&handle).ok_or_else(refusals::no_handle)?;
            return Err(refusals::no_limit(&h.name, limit));
        }
        let (id, sem) = self.counting(handle)?;
        if sem.mode == Mode::Credit && limit < sem.total {
            return Err(refusals::below_total(sem, limit));
        }
        sem.limit = limit;
        self.shrunk.insert(id);
        self.dirty.insert(id);
        self.settle(now);
        Ok(())
    }

    /// Signals an event: whether it was reset before. All who wait for a manual one have seen it when this returns. 6, 1.
    pub fn signal(&mut self, handle: u64, now: Now) -> Result<bool> {
        let (id, sem) = self.event(handle)?;
        sem.consumed = None;
        if std::mem::replace(&mut sem.is_set, true) {
            return Ok(false);
        }
        sem.counters.acquired += 1;
        sem.last_used = now.mono;
        self.dirty.insert(id);
        self.settle(now);
        Ok(true)
    }

    /// Resets an event: whether it was signalled before. 6, 1.
    pub fn reset(&mut self, handle: u64) -> Result<bool> {
        let sem = self.event(handle)?.1;
        sem.consumed = None;
        Ok(std::mem::take(&mut sem.is_set))
    }

    /// A wait that was served has ended otherwise: the signal that it consumed is there again, unless somebody has signalled or
    /// reset the event since, and so was told that it was consumed.
    fn unsee(&mut self, handle: u64, signals: u64, now: Now) {
        let Ok((id, sem)) = self.event(handle) else { return };
        if !sem.is_for_all() && sem.consumed.take_if(|n| *n == signals).is_some() {
            sem.is_set = true;
            self.dirty.insert(id);
            self.settle(now);
        }
    }

    /// Ends a wait that nobody will ask about, whatever has become of it: what it was granted goes to whoever is next.
    pub fn unwanted(&mut self, wait: u64, handles: &[(u64, u32)], now: Now) {
        match self.outcome(wait) {
            None => self.leave(wait, now),
            Some(Err(_)) => {}
            Some(Ok(grants)) => {
                for (i, grant) in grants {
                    let handle = handles[i].0;
                    match self.is_event(handle) {
                        true => self.unsee(handle, grant.claim.token, now),
                        // Evicted meanwhile: then there is nothing left to give back.
                        false => drop(self.release(handle, &grant.claim, Ending::Release, now)),
                    }
                }
            }
        }
    }

    fn is_event(&self, handle: u64) -> bool {
        self.through(handle).is_ok_and(|(_, sem)| sem.kind == Kind::Event)
    }

    /// How an event stands. 6, 1.
    pub fn signalled(&mut self, handle: u64) -> Result<Signal> {
        let sem = self.event(handle)?.1;
        Ok(Signal::new(sem.reset, sem.is_set))
    }

    /// The event of a handle: 6, 1.
    fn event(&mut self, handle: u64) -> Result<(u64, &mut Sem)> {
        let (h, sem) = self.through(handle)?;
        let id = h.sem;
        if sem.kind != Kind::Event {
            return Err(not_event(&sem.name, sem.kind));
        }
        Ok((id, self.sems.get_mut(&id).ok_or_else(refusals::no_handle)?))
    }

    /// Limit and permits. 6, 1.
    pub fn capacity(&mut self, handle: u64) -> Result<Capacity> {
        Ok(self.counting(handle)?.1.capacity())
    }
}

impl Sem {
    /// A claim for `who`, or one more level of its claim; the signal of an event.
    fn take(&mut self, who: Who, handle: u64, permits: u32, label: Option<String>, key: u64, now: Now) -> Grant {
        if self.is_mine(who)
            && let Some((key, held)) = self.claims.iter_mut().next()
        {
            held.levels.push(handle);
            return Grant::new(Claim::new(held.token, *key), None);
        }
        self.last_used = now.mono;
        if self.kind == Kind::Event {
            // Seen or consumed: nothing of it can be given back.
            self.is_set &= self.is_for_all();
            self.consumed = Some(self.counters.acquired);
            return Grant::new(Claim::new(self.counters.acquired, 0), None);
        }
        self.counters.acquired += 1;
        self.out += permits;
        let pool = self.kind == Kind::Counting && self.mode == Mode::Pool;
        let slots = if pool { self.slots.take(permits) } else { Vec::new() };
        let token = self.counters.acquired;
        self.claims.insert(
            key,
            Held { who, token, levels: vec![handle], permits, since: now.mono, label, slots, asked: false, sharers: Vec::new() },
        );
        Grant::new(Claim::new(token, key), self.marked.then(|| self.deaths.clone()))
    }

    /// A claim is over, its permits are free.
    fn put_back(&mut self, key: u64, now: Now) {
        let Some(held) = self.claims.remove(&key) else { return };
        self.out -= held.permits;
        self.slots.give(&held.slots);
        if !self.queue.is_empty() {
            let hold = std::time::Duration::from_nanos(now.mono.saturating_sub(held.since));
            self.counters.longest_contended_hold = self.counters.longest_contended_hold.max(hold);
        }
    }
}
