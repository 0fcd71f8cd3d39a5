//! Sessions, names and handles: create, open, remove, close.

use super::refusals;
use super::state::{Gate, Handle, Now, Sem, State};
use crate::claim::{Kind, Process};
use crate::engine::Spec;
use crate::error::{Code, Result};
use crate::name::Name;

impl State {
    /// What others shall see as the session's command.
    pub fn describe(&mut self, session: u64, command: String) {
        if let Some(s) = self.sessions.get_mut(&session) {
            s.process.command = command;
        }
    }

    /// The process that the session's claims cover, for those who look.
    pub fn cover(&mut self, session: u64, process: Option<Process>) {
        if let Some(s) = self.sessions.get_mut(&session) {
            s.covers = process;
        }
    }

    /// A new semaphore, and a handle to it. 183, 87, 100.
    pub fn create(&mut self, session: u64, name: &Name, spec: &Spec, now: Now) -> Result<u64> {
        spec.check()?;
        if self.names.contains_key(name) {
            return Err(refusals::exists(name));
        }
        if self.names.len() >= self.max_semaphores {
            return Err(refusals::no_room(name, self.max_semaphores));
        }
        let id = self.fresh();
        self.sems.insert(id, Sem::new(name.clone(), spec, now));
        self.names.insert(name.clone(), id);
        Ok(self.handle(session, id, name))
    }

    /// A handle to an existing one. 187, 6.
    pub fn open(&mut self, session: u64, name: &Name, kind: Kind) -> Result<u64> {
        let id = self.find(name)?;
        match &self.sems[&id] {
            sem if sem.kind != kind => Err(refusals::other_kind(name, sem.kind, kind)),
            _ => Ok(self.handle(session, id, name)),
        }
    }

    /// Either. 6, 87, 100.
    pub fn open_or_create(&mut self, session: u64, name: &Name, spec: &Spec, now: Now) -> Result<u64> {
        spec.check()?;
        let id = match self.find(name) {
            Err(e) if e.code() == Code::SemNotFound => return self.create(session, name, spec, now),
            found => found?,
        };
        let (sem, wanted) = (&self.sems[&id], Sem::new(name.clone(), spec, now));
        if sem.kind != spec.kind {
            return Err(refusals::other_kind(name, sem.kind, spec.kind));
        }
        if (sem.mode, sem.limit, sem.reset) != (wanted.mode, wanted.limit, wanted.reset) {
            return Err(refusals::differs(name, &sem.what(), &wanted.what()));
        }
        Ok(self.handle(session, id, name))
    }

    fn handle(&mut self, session: u64, sem: u64, name: &Name) -> u64 {
        let id = self.fresh();
        self.handles.insert(id, Handle { session, sem, name: name.clone() });
        if let Some(s) = self.sems.get_mut(&sem) {
            s.open += 1;
        }
        id
    }

    /// Takes a name away. 187, 102; 102 also if it has not had exactly `if_acquired` claims.
    pub fn remove(&mut self, name: &Name, if_acquired: Option<u64>, now: Now) -> Result<()> {
        let id = self.find(name)?;
        let sem = &self.sems[&id];
        if !sem.claims.is_empty() || !sem.queue.is_empty() {
            return Err(refusals::in_use(name, self.holders(sem, now), self.waiters(sem, u64::MAX, now)));
        }
        if if_acquired.is_some_and(|n| n != sem.counters.acquired) {
            return Err(refusals::used_since(name));
        }
        self.forget_sem(id);
        Ok(())
    }

    /// Whether the session could close this handle: 102 while it holds a claim through it or waits on it; 6.
    ///
    /// The handle itself ends with [`drop_handle`](State::drop_handle): others may have a copy of it.
    pub fn close(&self, handle: u64, now: Now) -> Result<()> {
        let (h, sem) = self.through(handle)?;
        let waits = |id: &u64| self.waits.get(id).is_some_and(|w| w.wants.iter().any(|x| x.handle == handle));
        if sem.claims.values().any(|c| c.levels.contains(&handle)) || sem.queue.iter().any(waits) {
            return Err(refusals::still_used(&h.name, self.holders(sem, now), self.waiters(sem, u64::MAX, now)));
        }
        Ok(())
    }

    /// A handle is gone. Claims that were made through it stay: they end with their claimant.
    pub fn drop_handle(&mut self, handle: u64) {
        let Some(h) = self.handles.remove(&handle) else { return };
        if let Some(sem) = self.sems.get_mut(&h.sem) {
            sem.open -= 1;
            self.vanish(h.sem);
        }
    }

    /// An ephemeral semaphore goes with its last handle, and with the last claim that was made through one.
    pub(super) fn vanish(&mut self, id: u64) {
        let Some(sem) = self.sems.get(&id) else { return };
        if sem.ephemeral && sem.open == 0 && sem.claims.is_empty() && sem.queue.is_empty() {
            self.forget_sem(id);
        }
    }

    fn forget_sem(&mut self, id: u64) {
        if let Some(sem) = self.sems.remove(&id) {
            self.names.remove(&sem.name);
            self.kept.remove(&id);
            self.dirty.remove(&id);
            self.shrunk.remove(&id);
            // An ephemeral name that goes while somebody drains it: there is nothing left that could stay closed.
            if let Gate::Draining(wait) = sem.gate {
                self.end_wait(wait, Err(refusals::not_found(&sem.name, &self.url)));
            }
        }
    }
}
