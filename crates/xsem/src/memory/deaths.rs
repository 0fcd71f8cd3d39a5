//! Claims that end otherwise than by a release: their thread or session ends, or somebody evicts them.

use super::refusals;
use super::state::{Now, State, Who};
use crate::claim::{Cause, Deaths, Kind, Obituary, ProcessState};
use crate::error::Result;
use crate::name::Name;
use std::time::{Duration, SystemTime};

impl State {
    /// Writes the obituary of a claim's owner, or of the session that shared it. An exclusive semaphore is marked.
    pub(super) fn bury(&mut self, id: u64, key: u64, sharer: Option<u64>, cause: Cause, now: Now) {
        let Some(held) = self.sems.get(&id).and_then(|s| s.claims.get(&key)) else { return };
        let mut process = self.process(sharer.unwrap_or(held.who.session));
        if cause == Cause::ProcessEnded {
            process.state = ProcessState::Dead;
        }
        let at = |ns: u64| SystemTime::UNIX_EPOCH + Duration::from_nanos(ns);
        let obituary = Obituary {
            process,
            label: held.label.clone(),
            cause,
            since: Some(at(now.wall.saturating_sub(now.mono.saturating_sub(held.since)))),
            noticed: at(now.wall),
            token: held.token,
        };
        let Some(sem) = self.sems.get_mut(&id) else { return };
        sem.counters.deaths += 1;
        sem.marked = sem.kind == Kind::Exclusive;
        sem.deaths = Some(match sem.deaths.take() {
            Some(d) => Deaths::new(d.first, obituary, d.count + 1),
            None => Deaths::new(obituary.clone(), obituary, 1),
        });
    }

    /// A claimant has ended: its claims end with the mark, its wait is over. What it shares goes on: that is its session's.
    pub fn claimant_ended(&mut self, who: Who, cause: Cause, now: Now) {
        if who.is_somebody() {
            self.end_all(now, cause, |w| w == who);
        }
    }

    /// A session has ended: its claims, waits and handles are gone, and it is not known any more.
    pub fn session_ended(&mut self, session: u64, cause: Cause, now: Now) {
        let sharing = self.sems.iter().flat_map(|(id, s)| s.claims.iter().map(move |(key, c)| (*id, *key, c)));
        let shared: Vec<_> = sharing.filter(|(_, _, c)| c.sharers.contains(&session)).map(|(id, key, _)| (id, key)).collect();
        for (id, key) in shared {
            self.leave_shared(id, key, session, Some(cause), now);
        }
        self.end_all(now, cause, |w| w.session == session);
        let handles: Vec<u64> = self.handles.iter().filter(|(_, h)| h.session == session).map(|(id, _)| *id).collect();
        handles.into_iter().for_each(|h| self.drop_handle(h));
        self.sessions.remove(&session);
    }

    fn end_all(&mut self, now: Now, cause: Cause, ends: impl Fn(Who) -> bool) {
        // The waits first, so that nothing is granted to who is gone.
        let waits: Vec<u64> = self.waits.iter().filter(|(_, w)| ends(w.who)).map(|(id, _)| *id).collect();
        for id in &waits {
            self.unqueue(*id);
            self.waits.remove(id);
        }
        let claims = self.sems.iter().flat_map(|(id, s)| s.claims.iter().map(move |(key, c)| (*id, *key, c.who)));
        let mut claims: Vec<_> = claims.filter(|(_, _, who)| ends(*who)).map(|(id, key, _)| (key, id)).collect();
        claims.sort_unstable();
        for (key, id) in claims {
            self.end_claim(id, key, Some(cause), now);
        }
        self.settle(now);
    }

    /// Ends the claim with this token, whoever shares it. 187, 288.
    pub fn evict(&mut self, name: &Name, token: u64, now: Now) -> Result<()> {
        let id = self.find(name)?;
        let found = self.sems[&id].claims.iter().find(|(_, c)| c.token == token).map(|(key, _)| *key);
        let key = found.ok_or_else(|| refusals::no_such_claim(name, token))?;
        self.end_claim(id, key, Some(Cause::Evicted), now);
        self.settle(now);
        Ok(())
    }
}
