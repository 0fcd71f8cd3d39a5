//! How claims, handles and names end: deaths, close, drain, evict, gc.

use super::{Claim, Claimant, Drain, Handle, Model, Result, State, check_name};
use xsem::{Cause, Code};

/// What a drain comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Nobody holds it or waits for it any more.
    Done,
    /// Somebody does; requests are refused meanwhile.
    Waits,
    /// Refused with this code, nothing changed.
    Refused(Code),
}

impl Model {
    /// A process ended, in whatever way: its claims pass on with the mark, its permits come back, its waits, handles and
    /// unfinished drains are gone.
    pub fn process_ended(&mut self, process: u32) {
        self.members.remove(&process);
        self.end(Cause::ProcessEnded, |c| c.process == process);
        let closed: Vec<u64> = self.open.iter().filter(|(_, (p, _))| *p == process).map(|(id, _)| *id).collect();
        closed.into_iter().for_each(|id| self.forget_handle(id));
    }

    /// A thread ended, with or without claims.
    pub fn thread_ended(&mut self, who: Claimant) {
        self.end(Cause::ThreadEnded, |c| c == who);
    }

    fn end(&mut self, cause: Cause, ends: impl Fn(Claimant) -> bool) {
        self.waits.retain(|w| !ends(w.who));
        for s in self.names.values_mut() {
            match &mut s.state {
                State::Exclusive(x) => x.end(cause, &ends),
                State::Event(_) => {}
                State::Counting(c) => {
                    let gone: Vec<u64> = c.holds().iter().filter(|h| ends(h.who)).map(|h| h.token).collect();
                    gone.into_iter().for_each(|token| c.lose(token));
                }
            }
            // A drain that was not done is open again with the end of the one who drained; one that was done stays.
            if s.drain.is_some_and(|d| !d.done && ends(d.by)) {
                s.drain = None;
            }
        }
        self.settle_drains();
    }

    /// One claim ends because its owner died: what a death does to each of its claims.
    pub fn claim_ended(&mut self, claim: Claim, cause: Cause) {
        match self.held(claim) {
            Ok(State::Exclusive(x)) => x.lose(cause),
            Ok(State::Counting(c)) => c.lose(claim.token),
            Ok(State::Event(_)) | Err(_) => {}
        }
        self.settle_drains();
    }

    /// Ends the use of a handle. 102 a claim is held or a wait goes on through it; 6 it is closed already.
    pub fn close(&mut self, handle: &Handle) -> Result<()> {
        if !self.open.contains_key(&handle.id) {
            return Err(Code::InvalidHandle);
        }
        let waits = self.waits.iter().any(|w| w.list.iter().any(|e| e.through == handle.id));
        let holds = match self.by_incarnation(handle.incarnation).map(|s| &s.state) {
            Some(State::Exclusive(x)) => x.through() == Some(handle.id),
            Some(State::Counting(c)) => c.holds().iter().any(|h| h.through == handle.id),
            Some(State::Event(_)) | None => false,
        };
        if waits || holds {
            return Err(Code::SemIsSet);
        }
        self.forget_handle(handle.id);
        Ok(())
    }

    /// The handle is gone; with the last one an ephemeral name is, too.
    fn forget_handle(&mut self, id: u64) {
        let Some((_, incarnation)) = self.open.remove(&id) else { return };
        if !self.open.values().any(|(_, i)| *i == incarnation) {
            self.names.retain(|_, s| s.incarnation != incarnation || !s.ephemeral);
        }
    }

    /// Refuses new requests, and is done when nobody holds it or waits for it. 123, 187, 102 somebody drains it.
    pub fn drain(&mut self, who: Claimant, name: &str) -> Drained {
        if let Err(code) = check_name(name) {
            return Drained::Refused(code);
        }
        match self.names.get_mut(name) {
            None => return Drained::Refused(Code::SemNotFound),
            Some(s) if s.drain.is_some_and(|d| !d.done) => return Drained::Refused(Code::SemIsSet),
            Some(s) => s.drain = Some(Drain { by: who, done: false }),
        }
        self.settle_drains();
        if self.is_drained(name) { Drained::Done } else { Drained::Waits }
    }

    /// Whether a drain came to its end and the name was not reopened since.
    pub fn is_drained(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|s| s.drain.is_some_and(|d| d.done))
    }

    /// The drain of `who` ended without success (121, 95): requests are let in again.
    pub fn stop_draining(&mut self, who: Claimant) {
        for s in self.names.values_mut().filter(|s| s.drain.is_some_and(|d| !d.done && d.by == who)) {
            s.drain = None;
        }
    }

    /// Lets requests in again. 123, 187. The one who drains, if it still does, gets 95.
    pub fn reopen(&mut self, name: &str) -> Result<Option<Claimant>> {
        check_name(name)?;
        let s = self.names.get_mut(name).ok_or(Code::SemNotFound)?;
        Ok(s.drain.take().filter(|d| !d.done).map(|d| d.by))
    }

    /// Drains whose last dependent has gone are done. Nobody new can have come.
    pub(super) fn settle_drains(&mut self) {
        for s in self.names.values_mut() {
            let waited_for = self.waits.iter().any(|w| w.list.iter().any(|e| e.incarnation == s.incarnation));
            let idle = !s.is_held() && !waited_for;
            if let Some(d) = s.drain.as_mut().filter(|d| !d.done) {
                d.done = idle;
            }
        }
    }

    /// Ends the claim with this token. 123, 187, 288.
    pub fn evict(&mut self, name: &str, token: u64) -> Result<()> {
        check_name(name)?;
        let incarnation = self.names.get(name).ok_or(Code::SemNotFound)?.incarnation;
        let claim = Claim { incarnation, token };
        if !self.is_held(claim) {
            return Err(Code::NotOwner);
        }
        self.claim_ended(claim, Cause::Evicted);
        Ok(())
    }

    /// Removes what nobody holds, waits for or has drained; `unused` says which names nobody has used for long enough.
    pub fn gc(&mut self, unused: impl Fn(&str) -> bool) -> Vec<String> {
        let idle = |s: &super::Semaphore| !s.is_held() && s.drain.is_none() && self.waits_on(s.incarnation).next().is_none();
        let gone: Vec<String> = self.names.iter().filter(|(n, s)| idle(s) && unused(n)).map(|(n, _)| n.clone()).collect();
        gone.iter().for_each(|n| {
            self.names.remove(n);
        });
        gone
    }
}
