//! An open semaphore.

use super::client::{Inner, Local, error, lock};
use super::commit::Trouble;
use super::outbox::{How, Task, Which, close, end, find, not_owner};
use super::pending::EtcdPending;
use super::record::{Id, Party, Record, Wish};
use super::session::Session;
use super::world::{Stop, World};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use xsem::engine::{Claim, Ending, Grant, Object, OwnedRequest, OwnedWant, Pending, Request};
use xsem::{Capacity, Code, Error, Kind, Name, Result, Signal};

/// An open semaphore.
#[derive(Debug)]
pub struct EtcdObject {
    /// The process's end.
    pub client: Arc<Inner>,
    name: Name,
    kind: Kind,
    /// The change that created it: which of the semaphores that have had this name.
    pub created: u64,
    /// The handle's own entry in an ephemeral semaphore.
    pub opener: Option<Id>,
    /// Which of the process's handles.
    pub handle: u64,
    waiting: Arc<AtomicUsize>,
    closed: AtomicBool,
}

/// Counts a wait through a handle for as long as it lives.
#[derive(Debug)]
pub struct Waits(Arc<AtomicUsize>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl EtcdObject {
    /// A handle to a semaphore that was found or made.
    pub fn new(client: &Arc<Inner>, name: &Name, kind: Kind, created: u64, opener: Option<Id>) -> EtcdObject {
        let handle = client.next_op();
        let (waiting, closed) = (Arc::default(), AtomicBool::new(false));
        EtcdObject { client: client.clone(), name: name.clone(), kind, created, opener, handle, waiting, closed }
    }

    /// The name.
    pub fn text(&self) -> &str {
        self.name.as_str()
    }

    /// Whether it has one owner.
    pub fn is_exclusive(&self) -> bool {
        self.kind == Kind::Exclusive
    }

    /// Somebody waits through this handle.
    pub fn waits(&self) -> Waits {
        self.waiting.fetch_add(1, SeqCst);
        Waits(self.waiting.clone())
    }

    /// 87.
    fn asks_for(&self, permits: u32) -> Result<()> {
        if permits == 0 || self.kind != Kind::Counting && permits != 1 {
            return Err(Error::new(Code::InvalidParameter, format!("{permits} permits of `{}`", self.name))
                .of(self.text())
                .advice("ask for at least one permit, and for one only where there are no more"));
        }
        Ok(())
    }

    /// 6 when the handle was closed.
    pub fn usable(&self) -> Result<()> {
        match self.closed.load(SeqCst) {
            false => Ok(()),
            true => Err(Error::new(Code::InvalidHandle, format!("this handle of `{}` was closed", self.name))
                .of(self.text())
                .advice("open it again")),
        }
    }

    /// 6: it was removed.
    pub fn stale(&self) -> Error {
        Error::new(Code::InvalidHandle, format!("`{}` was removed; this handle is stale", self.name))
            .of(self.text())
            .advice("open it again")
    }

    /// How the client remembers a claim.
    pub fn local(&self, claim: &Claim) -> (u64, String) {
        (claim.key, self.text().to_owned())
    }

    pub fn which(&self) -> Which {
        (self.text().to_owned(), self.created)
    }

    /// The record, if it is this semaphore's.
    pub fn record<'w>(&self, w: &'w mut World) -> std::result::Result<&'w mut Record, Stop> {
        let slot = w.slots.get_mut(self.text()).filter(|s| s.created == self.created);
        slot.and_then(|s| s.after.as_mut()).ok_or_else(|| self.stale().into())
    }

    /// The request that made a claim of this handle's semaphore, and its session, if it is held as far as this client knows.
    pub fn session(&self, claim: &Claim) -> Result<(Arc<Session>, Id)> {
        let known = |l: &&Local| l.token == claim.token && l.created == self.created;
        let id = lock(&self.client.held).get(&self.local(claim)).filter(known).map(|l| l.id);
        id.and_then(|id| Some((self.client.session_of(id)?, id))).ok_or_else(|| not_owner(self.text()))
    }

    /// Does something with a claim, and waits for the answer for as long as the session lives. 288.
    pub fn with_claim<T>(
        &self,
        claim: &Claim,
        mut act: impl FnMut(&mut World, (usize, usize)) -> std::result::Result<T, Stop>,
    ) -> Result<T> {
        let ((session, id), which) = (self.session(claim)?, self.which());
        let give_up = || !session.is_alive();
        let done = self.client.transact(&session, [which.0.clone()], &give_up, |w| {
            let at = find(w, &which, id)?;
            act(w, at)
        });
        match done {
            Ok((result, _)) => Ok(result),
            Err(Trouble::Refused(e)) => Err(e),
            Err(Trouble::Closed) => Err(error(Trouble::Closed, "the operation")),
            // The session is over, and the claim with it.
            Err(_) => Err(not_owner(self.text())),
        }
    }

    /// Gives back. Where the store does not answer in time the outbox goes on with it: then this is not held any more, and
    /// others get it at the latest when the lease ends.
    fn give_back(&self, claim: &Claim, how: How) -> Result<()> {
        let (session, id) = self.session(claim).inspect_err(|_| {
            // Its session is over: nobody will ask for it again.
            lock(&self.client.held).remove(&self.local(claim));
        })?;
        let (client, which) = (&self.client, self.which());
        let begun = client.store.now();
        let last = {
            let mut held = lock(&client.held);
            let level = held.get_mut(&self.local(claim)).filter(|l| how == How::Release && l.depth > 1).map(|l| l.depth -= 1);
            level.is_none() && held.remove(&self.local(claim)).is_some()
        };
        let sent = client
            .transact(&session, [which.0.clone()], &|| client.store.now() > begun + client.grace(), |w| end(w, &which, id, how));
        match sent {
            Ok(_) => Ok(()),
            Err(Trouble::Unresolved(pending)) => {
                client.outbox.push_unresolved(client, Task::End(session, which, id, how), pending, true);
                Ok(())
            }
            Err(Trouble::Silent) => {
                client.outbox.push(client, Task::End(session, which, id, how));
                Ok(())
            }
            Err(Trouble::Lost | Trouble::Vanished) => Err(not_owner(self.text())),
            Err(Trouble::Refused(e)) => {
                if super::outbox::is_of_the_store(&e) {
                    // It is not held any more, whatever the store says now.
                    client.outbox.push(client, Task::End(session, which, id, how));
                    return Err(e);
                }
                // A level of a claim that is lost: so are the others.
                if !last {
                    lock(&client.held).remove(&self.local(claim));
                }
                Err(e)
            }
            Err(t @ Trouble::Closed) => Err(error(t, "the release")),
        }
    }
}

impl Object for EtcdObject {
    fn name(&self) -> &Name {
        &self.name
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn start(self: Arc<Self>, request: OwnedRequest) -> Result<Box<dyn Pending>> {
        self.asks_for(request.permits)?;
        let (client, permits) = (self.client.clone(), request.permits);
        client.usable()?;
        EtcdPending::start(client, Wish::One, vec![OwnedWant { object: self, permits }], request)
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Grant> {
        let permits = request.permits;
        self.asks_for(permits)?;
        let granted = self.client.request(&[(self, permits)], Wish::One, request)?;
        granted.into_iter().next().map(|(_, grant)| grant).ok_or_else(|| self.stale())
    }

    fn release(&self, claim: &Claim, ending: Ending) -> Result<()> {
        self.owns_something()?;
        self.give_back(claim, ending.into())
    }

    fn mark_consistent(&self, claim: &Claim) -> Result<()> {
        self.owns_something()?;
        self.with_claim(claim, |w, _| {
            let rec = self.record(w)?;
            if rec.marked {
                (rec.marked, rec.dead) = (false, None);
            }
            Ok(())
        })
    }

    fn join(&self, token: u64) -> Result<Option<Claim>> {
        self.usable()?;
        if !self.is_exclusive() {
            return Err(Error::new(Code::InvalidFunction, format!("claims on `{}` cannot be shared", self.name))
                .of(self.text())
                .advice("share claims on exclusive semaphores; permits are acquired one by one"));
        }
        let op = self.client.next_op();
        let joined = self.client.steadily("join", [self.text().to_owned()], |w, session, _| {
            let rec = self.record(w)?;
            let Some(claim) = rec.claims.iter_mut().find(|c| c.token == token) else { return Ok(None) };
            let id = Id { session: session.id, op };
            match claim.parties.iter().position(|p| p.id.session == session.id) {
                None => {}
                Some(_) if claim.parties.iter().any(|p| p.id == id) => return Ok(Some(id)),
                Some(0) => return Ok(None),
                Some(_) => {
                    return Err(Error::new(Code::TooManySemRequests, "this process shares the claim already")
                        .of(self.text())
                        .advice("a process shares a claim once")
                        .into());
                }
            }
            claim.parties.push(Party { id, claimant: xsem::shm::claimant(), who: self.client.who() });
            Ok(Some(id))
        })?;
        Ok(joined.map(|id| {
            // Not the thread's own claim: it does not nest, and it does not end with the thread.
            let (created, handle) = (self.created, self.handle);
            self.client.note(self.text(), Local { id, created, claimant: 0, handle, token, depth: 1 });
            Claim::new(token, id.op)
        }))
    }

    /// As the store says; where it is silent, as long as the lease can be relied upon.
    fn is_held(&self, claim: &Claim) -> bool {
        let Ok((session, id)) = self.session(claim) else { return false };
        let (client, begun) = (&self.client, self.client.store.now());
        let names = [self.text().to_owned()].into();
        match client.load(&names, &|| client.store.now() > begun + client.grace()) {
            Ok(w) => find(&w, &self.which(), id).is_ok() && session.is_alive(),
            Err(Trouble::Closed) => false,
            Err(_) => session.is_alive(),
        }
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn release_part(&self, claim: &Claim, permits: u32) -> Result<()> {
        self.part(claim, permits)
    }

    fn slots(&self, claim: &Claim) -> Result<Vec<u32>> {
        self.slots_of(claim)
    }

    fn add_permits(&self, permits: u32) -> Result<()> {
        self.add(permits)
    }

    fn forget(&self, claim: &Claim) -> Result<()> {
        self.use_up(claim)
    }

    fn resize(&self, limit: u32) -> Result<()> {
        self.set_limit(limit)
    }

    fn capacity(&self) -> Result<Capacity> {
        self.permits_now()
    }

    fn signal(&self) -> Result<bool> {
        self.signal_it()
    }

    fn reset(&self) -> Result<bool> {
        self.reset_it()
    }

    fn signalled(&self) -> Result<Signal> {
        self.state_now()
    }

    fn close(&self) -> Result<()> {
        self.usable()?;
        let through: Vec<Id> = lock(&self.client.held).values().filter(|l| l.handle == self.handle).map(|l| l.id).collect();
        let names = [self.text().to_owned()].into();
        let w = self.client.look(|give_up| self.client.load(&names, give_up))?;
        let holds = through.iter().any(|id| self.client.session_of(*id).is_some() && find(&w, &self.which(), *id).is_ok());
        if holds || self.waiting.load(SeqCst) > 0 {
            let what = if holds { "holds a claim" } else { "waits" };
            return Err(Error::new(Code::SemIsSet, format!("this process still {what} through this handle of `{}`", self.name))
                .of(self.text())
                .advice("release it, or end the wait, first"));
        }
        self.closed.store(true, SeqCst);
        let (Some(opener), which) = (self.opener, self.which()) else { return Ok(()) };
        self.client.steadily("close", [which.0.clone()], |w, session, _| close(w, &which, Id { session: session.id, ..opener }))
    }
}

impl Drop for EtcdObject {
    /// As far as it can: the entry of an ephemeral semaphore goes when the store hears of it.
    fn drop(&mut self) {
        let client = &self.client;
        if let Some(opener) = self.opener
            && !self.closed.load(SeqCst)
            && let Some(session) = client.current().filter(|s| s.is_alive())
        {
            let id = Id { session: session.id, ..opener };
            client.outbox.push(client, Task::Close(session, self.which(), id));
        }
    }
}
