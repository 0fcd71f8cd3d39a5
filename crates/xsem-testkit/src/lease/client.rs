//! A client: one process's end of the engine. Its session, what it holds, and the two threads that work for it.

use super::clock::{Clock, Tick, lock};
use super::commit::{GiveUp, Trouble};
use super::net::{Link, Silence};
use super::outbox::{Outbox, Task};
use super::record::{Id, Ticket, Who};
use super::session::{Session, key};
use super::store::{Op, Store, Txn};
use super::world::Slot;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use xsem::{Code, Error};

/// A claim as its own client remembers it.
#[derive(Clone, Debug)]
pub struct Local {
    /// Which of those that have had this name.
    pub created: u64,
    /// Whose, inside the process.
    pub claimant: u32,
    /// Through which handle.
    pub handle: u64,
    /// Its token.
    pub token: u64,
    /// How often it was taken and not given back.
    pub depth: u32,
}

/// What a client consists of.
pub struct Inner {
    /// Itself, for those who must not keep it.
    pub me: Weak<Inner>,
    /// The connection.
    pub link: Link,
    /// The cluster's clock.
    pub clock: Arc<Clock>,
    /// Only for what happens when the process ends.
    store: Arc<Store>,
    /// How long a lease lasts without a keep-alive.
    pub ttl: Tick,
    who: Mutex<Who>,
    session: Mutex<Option<Arc<Session>>>,
    ops: AtomicU32,
    /// Records as this client last wrote or read them.
    pub memory: Mutex<HashMap<String, Slot>>,
    /// The latest revision that this client knows of.
    pub seen: AtomicU64,
    /// Claims by their keys and names: the claims of one `acquire_all` have the same key.
    pub held: Mutex<HashMap<(u64, String), Local>>,
    /// What is still to be sent.
    pub outbox: Arc<Outbox>,
}

impl Inner {
    /// Every invariant of the stored records that is violated, a line each.
    pub fn audit(&self) -> Vec<String> {
        super::audit(&self.store)
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("pid", &lock(&self.who).pid).finish_non_exhaustive()
    }
}

impl Inner {
    /// A client with its threads, which end with it.
    pub fn start(link: Link, clock: Arc<Clock>, store: Arc<Store>, ttl: Tick, who: Who) -> Arc<Inner> {
        let inner = Arc::new_cyclic(|me| Inner {
            me: me.clone(),
            link,
            clock,
            store,
            ttl,
            who: Mutex::new(who),
            session: Mutex::default(),
            ops: AtomicU32::new(1),
            memory: Mutex::default(),
            seen: AtomicU64::new(0),
            held: Mutex::default(),
            outbox: Arc::default(),
        });
        let (me, clock) = (Arc::downgrade(&inner), inner.clock.clone());
        std::thread::spawn(move || keep_alive(&me, &clock));
        let (me, outbox) = (Arc::downgrade(&inner), inner.outbox.clone());
        std::thread::spawn(move || outbox.work(&me));
        inner
    }

    /// A number that this client uses once.
    pub fn next_op(&self) -> u32 {
        self.ops.fetch_add(1, SeqCst)
    }

    /// The process as others see it.
    pub fn who(&self) -> Who {
        lock(&self.who).clone()
    }

    /// The session that it has now, dead or alive.
    pub fn current(&self) -> Option<Arc<Session>> {
        lock(&self.session).clone()
    }

    /// The session of a claim, if that is still relied upon.
    pub fn session_of(&self, id: Id) -> Option<Arc<Session>> {
        self.current().filter(|s| s.id == id.session && s.is_alive(&self.clock))
    }

    /// A session that lives: the present one, or a new one.
    pub fn session(&self, give_up: GiveUp<'_>) -> Result<Arc<Session>, Trouble> {
        loop {
            if let Some(s) = self.current() {
                if s.is_alive(&self.clock) {
                    return Ok(s);
                }
                self.retire(&s);
            }
            // Without a lock: another thread's patience may be shorter than ours. Who comes second throws his away.
            let Some(new) = self.open_session()? else {
                if give_up() {
                    return Err(Trouble::Silent);
                }
                continue;
            };
            let mut present = lock(&self.session);
            if present.as_ref().is_some_and(|s| s.is_alive(&self.clock)) {
                drop(present);
                self.retire(&new);
                continue;
            }
            *present = Some(Arc::new(new));
        }
    }

    /// A lease and its key; `None`: no answer. A lease that was granted without our hearing of it ends by itself.
    fn open_session(&self) -> Result<Option<Session>, Trouble> {
        let (asked, ttl) = (self.clock.now(), self.ttl);
        let id = match self.link.beat(move |store, now| store.grant(ttl, now)) {
            Ok(id) => id,
            Err(Silence::Unknown) => return Ok(None),
            Err(Silence::Killed) => return Err(Trouble::Killed),
        };
        let who = serde_json::to_string(&self.who()).unwrap_or_default();
        let txn = Txn { then: vec![Op::Put(key(id), who, id)], ..Txn::default() };
        match self.link.change(move |store| store.txn(&txn)) {
            Ok(Ok(answer)) => Ok(Some(Session::new(id, answer.revision, asked + self.safe()))),
            // Expired already, or unknown: another one.
            Ok(Err(_)) | Err(Silence::Unknown) => {
                self.outbox.push(Task::Revoke(id));
                Ok(None)
            }
            Err(Silence::Killed) => Err(Trouble::Killed),
        }
    }

    /// How long after a keep-alive was sent its answer may be relied upon.
    fn safe(&self) -> Tick {
        self.ttl - self.ttl / 8 - 1
    }

    /// A session that is over for us must be over for the store, too: a late keep-alive may have revived it.
    fn retire(&self, session: &Session) {
        session.lose();
        if session.retire() {
            self.outbox.push(Task::Revoke(session.id));
        }
    }

    /// One keep-alive. False: it was not answered.
    fn beat(&self) -> bool {
        let Some(session) = self.current() else { return true };
        if !session.is_alive(&self.clock) {
            self.retire(&session);
            return true;
        }
        let (sent, id) = (self.clock.now(), session.id);
        match self.link.beat(move |store, now| store.keep_alive(id, now)) {
            Ok(Ok(())) => session.extend(sent + self.safe()),
            Ok(Err(_)) => session.lose(),
            Err(_) => return false,
        }
        true
    }

    /// Other facts of this process, for those who look.
    pub fn describe(&self, command: &str, give_up: GiveUp<'_>) -> Result<(), Trouble> {
        let who = {
            let mut who = lock(&self.who);
            who.command = command.to_owned();
            serde_json::to_string(&*who).unwrap_or_default()
        };
        // A session that is opened later has it from the beginning.
        let Some(s) = self.current().filter(|s| s.is_alive(&self.clock)) else { return Ok(()) };
        let compare = vec![super::store::Compare::Created(s.key(), s.created)];
        let txn = Arc::new(Txn { compare, then: vec![Op::Put(s.key(), who, s.id)], otherwise: Vec::new() });
        loop {
            let sent = txn.clone();
            match self.link.change(move |store| store.txn(&sent)) {
                Ok(_) => return Ok(()),
                Err(Silence::Killed) => return Err(Trouble::Killed),
                Err(Silence::Unknown) if give_up() => return Err(Trouble::Silent),
                Err(Silence::Unknown) => {}
            }
        }
    }

    /// Another level of a claim, or a new one, is this client's now.
    pub fn note(&self, id: Id, name: &str, local: Local) {
        lock(&self.held).entry((id.key(), name.to_owned())).and_modify(|l| l.depth += 1).or_insert(local);
    }

    /// The claim that a claimant has on a semaphore.
    pub fn own(&self, name: &str, created: u64, claimant: u32) -> Option<Id> {
        let held = lock(&self.held);
        let own = held.iter().filter(|((_, n), l)| n == name && l.created == created && l.claimant == claimant);
        // An older one was ended from outside, and its guard is still there.
        let ((key, _), _) = own.max_by_key(|(_, l)| l.token)?;
        Some(Id::of_key(*key)).filter(|id| claimant != 0 && self.session_of(*id).is_some())
    }

    /// A request is not wanted any more, but the store does not answer: whatever it has taken goes back when it does.
    pub fn leave_later(&self, session: &Arc<Session>, ticket: &Ticket) {
        self.outbox.push(Task::Leave(session.clone(), ticket.clone()));
    }

    /// The lease is gone, without the client's knowing: what an operator can do.
    pub fn lose_lease(&self) {
        if let Some(s) = self.current() {
            let _ = self.store.revoke(s.id);
        }
    }

    /// Ends the process in an instant. With `told`, somebody (a guardian) revokes the lease; otherwise its time has to pass.
    pub fn kill(&self, told: bool) {
        self.link.kill();
        self.outbox.close();
        if told {
            self.lose_lease();
        }
        if let Some(s) = self.current() {
            s.lose();
        }
    }
}

impl Drop for Inner {
    /// The process ends and says so. After a kill nobody says anything.
    fn drop(&mut self) {
        self.outbox.close();
        if !self.link.is_killed() {
            self.lose_lease();
        }
    }
}

fn keep_alive(me: &Weak<Inner>, clock: &Clock) {
    let mut pause = 1;
    loop {
        clock.sleep_until(clock.now() + pause, || me.strong_count() == 0);
        let Some(inner) = me.upgrade().filter(|i| !i.link.is_killed() && !clock.is_stopped()) else { return };
        pause = if inner.beat() { inner.ttl / 4 } else { inner.ttl / 20 } + 1;
    }
}

/// What the callers of the engine get where it could not do its work.
///
/// The contract promises "the documented network codes"; there are none in the table yet, so these come as 6.
pub fn error(trouble: Trouble, what: &str) -> Error {
    let stale = |text: String| Error::new(Code::InvalidHandle, text);
    match trouble {
        Trouble::Refused(e) => e,
        Trouble::Killed => stale(format!("{what}: this client was killed")),
        Trouble::Vanished => {
            stale(format!("{what}: the session ended, and whether it was done is not known")).advice("look at what is there")
        }
        Trouble::Lost => stale(format!("{what}: the session ended")).advice("try again: there is a new session by then"),
        Trouble::Silent => stale(format!("{what}: the lease store does not answer")).advice("look at the network, and try again"),
        Trouble::Unresolved(_) => stale(format!("{what}: the lease store does not answer, and whether it was done is not known"))
            .advice("look at what is there when the network is back"),
    }
}
