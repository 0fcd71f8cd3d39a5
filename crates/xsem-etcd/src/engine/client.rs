//! A client: one process's end of the engine. Its session, what it holds, and who works for it.

use super::commit::{GiveUp, Trouble};
use super::notes::Waits;
use super::outbox::Outbox;
use super::record::{Id, Ticket, Who};
use super::session::{Session, key};
use super::steps::Steps;
use super::store::{Compare, Op, Silence, Store, Txn};
use super::world::Slot;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use xsem::engine::OnLoss;
use xsem::{ClaimsLost, Code, Error};

/// A poisoned lock is used all the same: no user of it leaves anything half changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A claim as its own client remembers it.
#[derive(Clone, Debug)]
pub struct Local {
    /// By which request.
    pub id: Id,
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
    /// The store.
    pub store: Arc<dyn Store>,
    /// The process that it belongs to.
    pid: u32,
    who: Mutex<Who>,
    session: Mutex<Option<Arc<Session>>>,
    ops: AtomicU64,
    /// Records as this client last wrote or read them.
    pub memory: Mutex<HashMap<String, Slot>>,
    /// The latest revision that this client knows of.
    pub seen: AtomicU64,
    /// Claims by their requests and names: the claims of one `acquire_all` have the same request.
    pub held: Mutex<HashMap<(u64, String), Local>>,
    /// Its waits.
    pub waits: Waits,
    /// Who wants to know when the session is lost.
    losses: Mutex<Vec<Arc<OnLoss>>>,
    /// What is still to be sent.
    pub outbox: Arc<Outbox>,
    /// The steps of asynchronous requests.
    pub steps: Arc<Steps>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("pid", &lock(&self.who).pid).finish_non_exhaustive()
    }
}

impl Inner {
    /// A client; its threads start when there is something for them to do, and end with it.
    pub fn start(store: Arc<dyn Store>, who: Who) -> Arc<Inner> {
        Arc::new_cyclic(|me| Inner {
            me: me.clone(),
            store,
            pid: std::process::id(),
            who: Mutex::new(who),
            session: Mutex::default(),
            ops: AtomicU64::new(1),
            memory: Mutex::default(),
            seen: AtomicU64::new(0),
            held: Mutex::default(),
            waits: Waits::default(),
            losses: Mutex::default(),
            outbox: Arc::default(),
            steps: Arc::default(),
        })
    }

    /// 6 in a child that was forked.
    pub fn usable(&self) -> xsem::Result<()> {
        match self.pid == std::process::id() {
            true => Ok(()),
            false => Err(Error::new(Code::InvalidHandle, "this was opened before the process was forked")
                .advice("open the namespace again in the child; what its parent holds stays the parent's")),
        }
    }

    /// A number that this client uses once.
    pub fn next_op(&self) -> u64 {
        self.ops.fetch_add(1, SeqCst)
    }

    /// The process as others see it.
    pub fn who(&self) -> Who {
        lock(&self.who).clone()
    }

    /// How long the store may be silent, in milliseconds, before something that is over is left to the outbox.
    pub fn grace(&self) -> u64 {
        self.store.ttl() / 8
    }

    /// The session that it has now, dead or alive.
    pub fn current(&self) -> Option<Arc<Session>> {
        lock(&self.session).clone()
    }

    /// The session of a claim, if that is still relied upon.
    pub fn session_of(&self, id: Id) -> Option<Arc<Session>> {
        self.current().filter(|s| s.id == id.session && s.is_alive())
    }

    /// A session that lives: the present one, or a new one.
    pub fn session(&self, give_up: GiveUp<'_>) -> Result<Arc<Session>, Trouble> {
        loop {
            if let Some(s) = self.current() {
                if s.is_alive() {
                    return Ok(s);
                }
                s.retire();
            }
            // Without a lock: another thread's patience may be shorter than ours. Who comes second throws his away.
            let Some(new) = self.open_session()? else {
                if give_up() {
                    return Err(Trouble::Silent);
                }
                continue;
            };
            let mut present = lock(&self.session);
            if present.as_ref().is_some_and(|s| s.is_alive()) {
                drop(present);
                new.retire();
                continue;
            }
            let new = Arc::new(new);
            *present = Some(new.clone());
            drop(present);
            new.lease.cover(self.who().covers);
            // Who wants to know of a loss is told of a reset, too.
            if !lock(&self.losses).is_empty() {
                self.listen(&new);
            }
            let me = self.me.clone();
            new.lease.on_loss(Box::new(move |why| {
                if let Some(inner) = me.upgrade() {
                    inner.session_over(why);
                }
            }));
        }
    }

    /// The session is over: who waits begins anew, and who holds something is told. Claims are not looked at: one may be granted in
    /// this instant.
    fn session_over(&self, why: &str) {
        self.waits.look_all();
        let lost = ClaimsLost::new(format!("the session of this process is over, and its claims are lost: {why}"));
        let all: Vec<_> = lock(&self.losses).clone();
        all.iter().for_each(|call| call(&lost));
    }

    /// Calls this at each loss.
    pub fn on_loss(&self, call: OnLoss) {
        lock(&self.losses).push(Arc::new(call));
        if let Some(session) = self.current().filter(|s| s.is_alive()) {
            self.listen(&session);
        }
    }

    /// A lease and its key; `None`: no answer. A lease that was granted without our hearing of it ends by itself.
    fn open_session(&self) -> Result<Option<Session>, Trouble> {
        let lease = match self.store.grant() {
            Ok(lease) => lease,
            Err(Silence::Closed) => return Err(Trouble::Closed),
            Err(Silence::Refused(e)) => return Err(Trouble::Refused(e)),
            Err(_) => return Ok(None),
        };
        let who = serde_json::to_string(&self.who()).unwrap_or_default();
        let txn = Txn { then: vec![Op::Put(key(lease.id()), who, lease.id())], ..Txn::default() };
        match self.store.change(&Arc::new(txn)) {
            Ok(answer) => Ok(Some(Session::new(lease, answer.revision))),
            Err(Silence::Closed) => Err(Trouble::Closed),
            Err(Silence::Refused(e)) => {
                lease.give_up();
                Err(Trouble::Refused(e))
            }
            // Expired already, or unknown: another one.
            Err(_) => {
                lease.give_up();
                Ok(None)
            }
        }
    }

    /// Its claims cover this child from here on, in whatever session.
    pub fn cover(&self, pid: Option<u32>, give_up: GiveUp<'_>) -> Result<(), Trouble> {
        if let Some(session) = self.current() {
            session.lease.cover(pid);
        }
        self.describe(|who| who.covers = pid, give_up)
    }

    /// Other facts of this process, for those who look.
    pub fn describe(&self, change: impl FnOnce(&mut Who), give_up: GiveUp<'_>) -> Result<(), Trouble> {
        let who = {
            let mut who = lock(&self.who);
            let before = who.clone();
            change(&mut who);
            if *who == before {
                return Ok(());
            }
            serde_json::to_string(&*who).unwrap_or_default()
        };
        // A session that is opened later has it from the beginning.
        let Some(s) = self.current().filter(|s| s.is_alive()) else { return Ok(()) };
        let compare = vec![Compare::Created(s.key(), s.created)];
        let txn = Arc::new(Txn { compare, then: vec![Op::Put(s.key(), who, s.id)], otherwise: Vec::new() });
        loop {
            match self.store.change(&txn) {
                Ok(_) | Err(Silence::NoLease) => return Ok(()),
                Err(Silence::Closed) => return Err(Trouble::Closed),
                Err(Silence::Refused(e)) => return Err(Trouble::Refused(e)),
                Err(Silence::Unknown | Silence::NotDone) if give_up() => return Err(Trouble::Silent),
                Err(Silence::Unknown | Silence::NotDone) => {}
            }
        }
    }

    /// Another level of a claim, or a new one, is this client's now.
    pub fn note(&self, name: &str, local: Local) {
        lock(&self.held).entry((local.id.op, name.to_owned())).and_modify(|l| l.depth += 1).or_insert(local);
    }

    /// The claim that a claimant has on a semaphore.
    pub fn own(&self, name: &str, created: u64, claimant: u32) -> Option<Id> {
        let held = lock(&self.held);
        let own = held.iter().filter(|((_, n), l)| n == name && l.created == created && l.claimant == claimant);
        // An older one was ended from outside, and its guard is still there.
        let (_, local) = own.max_by_key(|(_, l)| l.token)?;
        Some(local.id).filter(|id| claimant != 0 && self.session_of(*id).is_some())
    }

    /// Whether this process is part of a command that a claim covers: then somebody may wait for its end.
    pub fn is_inside(&self) -> bool {
        !lock(&self.who).inside.is_empty()
    }

    /// Whether a claimant holds anything here: else nobody waits for it.
    pub fn holds_something(&self, claimant: u32) -> bool {
        claimant != 0 && lock(&self.held).values().any(|l| l.claimant == claimant)
    }

    /// A request is not wanted any more, but the store does not answer: whatever it has taken goes back when it does.
    pub fn leave_later(&self, session: &Arc<Session>, ticket: &Ticket) {
        self.outbox.push(self, super::outbox::Task::Leave(session.clone(), ticket.clone()));
    }
}

impl Drop for Inner {
    /// Nobody uses it any more: its lease ends. (Only tests, and programs that close all they had open, see that.)
    fn drop(&mut self) {
        self.outbox.close();
        self.steps.close();
        if self.usable().is_err() {
            return;
        }
        if let Some(s) = self.current() {
            s.retire();
        }
    }
}

impl Inner {
    /// What the callers of the engine get where it could not do its work.
    pub fn error(&self, trouble: Trouble, what: &str) -> Error {
        let silent = |more: &str| {
            let why = self.store.why_silent();
            let (code, text) = why.as_ref().map_or((Code::BadNetpath, "the store does not answer"), |e| (e.code(), e.message()));
            let e = Error::new(code, format!("{what}: {text}{more}"));
            let advice = why.as_ref().map_or("look at the network, and try again", Error::next_step);
            match more {
                "" => e.advice(advice),
                _ => e.advice(format!("{advice}; then look at what is there")),
            }
        };
        match trouble {
            Trouble::Silent => silent(""),
            Trouble::Unresolved(_) => silent("; whether it was done is not known"),
            t => error(t, what),
        }
    }
}

/// The same, where that has nothing to do with the store.
pub fn error(trouble: Trouble, what: &str) -> Error {
    let stale = |text: String| Error::new(Code::InvalidHandle, text);
    match trouble {
        Trouble::Refused(e) => e,
        Trouble::Closed => stale(format!("{what}: this client was closed")),
        Trouble::Vanished => {
            stale(format!("{what}: the session ended, and whether it was done is not known")).advice("look at what is there")
        }
        Trouble::Lost => stale(format!("{what}: the session ended")).advice("try again: there is a new session by then"),
        Trouble::Silent | Trouble::Unresolved(_) => Error::new(Code::BadNetpath, format!("{what}: the store does not answer"))
            .advice("look at the network, and try again"),
    }
}
