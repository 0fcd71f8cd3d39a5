//! What a client still has to tell the store: claims to give back, waits to end, others to go on with.
//!
//! One thread sends them in order. What belongs to a session is dropped when that is over: the store then ends it anyway.

use super::client::{Inner, lock};
use super::commit::{Pending, Trouble};
use super::death::Why;
use super::record::{Id, Ticket, Wish};
use super::session::{Session, note_key};
use super::store::{Op, Silence, Txn};
use super::world::{Stop, World};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use xsem::engine::Ending;
use xsem::{Code, Error};

/// A semaphore: its name, and the change that created it.
pub type Which = (String, u64);

/// How a claim, or some of it, is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// One level.
    Release,
    /// All levels, with the mark.
    Abandon(Why),
    /// So many permits.
    Part(u32),
    /// All permits, which do not come back.
    Forget,
}

impl From<Ending> for How {
    fn from(ending: Ending) -> How {
        match ending {
            Ending::Release => How::Release,
            Ending::Abandon(cause) => How::Abandon(Why::of(cause)),
        }
    }
}

/// Something to be sent.
#[derive(Clone, Debug)]
pub enum Task {
    /// A claim ends, or a level of it.
    End(Arc<Session>, Which, Id, How),
    /// A wait ends; what it may have been granted goes back.
    Leave(Arc<Session>, Ticket),
    /// A handle of an ephemeral semaphore is gone.
    Close(Arc<Session>, Which, Id),
    /// There are more who can be served of these.
    Settle(Arc<Session>, Vec<String>),
    /// Another wait should look for the cycle that it is the youngest of.
    Poke(Arc<Session>, Id),
    /// An auto-reset event's signal has arrived at its wait.
    Fetched(Arc<Session>, Ticket),
    /// A drain is given up by whoever began it.
    Undrain(Arc<Session>, String, Id),
}

impl Task {
    fn session(&self) -> &Session {
        match self {
            Task::End(s, ..) | Task::Leave(s, _) | Task::Close(s, ..) => s,
            Task::Settle(s, _) | Task::Poke(s, _) | Task::Fetched(s, _) | Task::Undrain(s, ..) => s,
        }
    }
}

/// The pause after a refusal.
const REFUSED: Duration = Duration::from_millis(200);

/// Whether it is the store that refuses (no permission, no space), and not the semaphore.
pub fn is_of_the_store(e: &Error) -> bool {
    e.code().is_of_a_network() || matches!(e.code(), Code::AccessDenied | Code::NotEnoughMemory | Code::TooManySemaphores)
}

#[derive(Debug)]
struct Job {
    /// A transaction of it whose answer is missing; and whether the task is done if it was carried out (otherwise: if not).
    pending: Option<(Pending, bool)>,
    task: Task,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Outbox {
    jobs: Mutex<VecDeque<Job>>,
    changed: Condvar,
    started: AtomicBool,
    closed: AtomicBool,
}

impl Outbox {
    /// One more.
    pub fn push(&self, client: &Inner, task: Task) {
        self.add(client, Job { pending: None, task });
    }

    /// One whose first attempt has not been answered. `done`: it is done if that was carried out; else if it was not.
    pub fn push_unresolved(&self, client: &Inner, task: Task, pending: Pending, done: bool) {
        self.add(client, Job { pending: Some((pending, done)), task });
    }

    fn add(&self, client: &Inner, job: Job) {
        lock(&self.jobs).push_back(job);
        self.changed.notify_all();
        if !self.started.swap(true, SeqCst) {
            let (me, outbox) = (client.me.clone(), client.outbox.clone());
            let work = std::thread::Builder::new().name("xsem-outbox".into());
            let begun = crate::runtime::without_signals(|| work.spawn(move || outbox.work(&me)));
            // Without a thread the next push tries again; what is not sent at all ends with the lease.
            self.started.store(begun.is_ok(), SeqCst);
        }
    }

    /// Nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        lock(&self.jobs).is_empty()
    }

    /// Waits until everything is sent, for at most so long. Whether it is.
    pub fn flush(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let mut jobs = lock(&self.jobs);
        while !jobs.is_empty() && !self.closed.load(SeqCst) && Instant::now() < end {
            jobs = self.pause(jobs, end.saturating_duration_since(Instant::now()));
        }
        jobs.is_empty()
    }

    fn pause<'a>(&self, jobs: MutexGuard<'a, VecDeque<Job>>, time: Duration) -> MutexGuard<'a, VecDeque<Job>> {
        self.changed.wait_timeout(jobs, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// The client is gone.
    pub fn close(&self) {
        self.closed.store(true, SeqCst);
        self.changed.notify_all();
    }

    /// The thread: until the client is gone. A job stays the first in the queue until it is done.
    pub fn work(&self, client: &Weak<Inner>) {
        while !self.closed.load(SeqCst) {
            let mut jobs = lock(&self.jobs);
            let Some(first) = jobs.front_mut() else {
                drop(self.pause(jobs, Duration::from_secs(1)));
                continue;
            };
            let (pending, task) = (first.pending.take(), first.task.clone());
            drop(jobs);
            let Some(client) = client.upgrade() else { return };
            if client.store.is_closed() {
                self.close();
                return;
            }
            let left = client.perform(pending, &task);
            drop(client);
            let mut jobs = lock(&self.jobs);
            match left {
                None => drop(jobs.pop_front()),
                Some(pending) => drop(jobs.front_mut().map(|first| first.pending = pending)),
            }
            drop(jobs);
            self.changed.notify_all();
        }
    }
}

impl Inner {
    /// One attempt at a task. `None`: it is over. Otherwise what is to be found out before the next one.
    fn perform(&self, pending: Option<(Pending, bool)>, task: &Task) -> Option<Option<(Pending, bool)>> {
        let once = || true;
        if let Some((pending, done)) = pending {
            match self.resolve(pending, &once) {
                Ok(found) if found.is_some() == done => return None,
                Ok(_) => {}
                Err(Trouble::Unresolved(p)) => return Some(Some((p, done))),
                Err(_) => return None,
            }
        }
        let sent = match task {
            Task::End(session, which, id, ending) => {
                self.transact(session, [which.0.clone()], &once, |w| end(w, which, *id, *ending)).map(drop)
            }
            Task::Leave(session, ticket) => {
                let names = ticket.list.iter().map(|e| e.name.clone());
                self.transact(session, names, &once, |w| leave(w, ticket)).map(drop)
            }
            Task::Close(session, which, id) => {
                self.transact(session, [which.0.clone()], &once, |w| close(w, which, *id)).map(drop)
            }
            Task::Settle(session, names) => self.transact(session, names.clone(), &once, World::settle).map(drop),
            Task::Fetched(session, ticket) => {
                let names = ticket.list.iter().map(|e| e.name.clone());
                self.transact(session, names, &once, |w| {
                    w.slots.values_mut().filter_map(|s| s.after.as_mut()).for_each(|r| r.fetched(ticket.party.id));
                    w.settle()
                })
                .map(drop)
            }
            Task::Undrain(session, name, by) => self
                .transact(session, [name.clone()], &once, |w| {
                    if let Some(rec) = w.get_mut(name) {
                        rec.drain.take_if(|d| d.by.id == *by && !d.done);
                    }
                    w.settle()
                })
                .map(drop),
            Task::Poke(_, id) => {
                let note = Op::Put(note_key(*id), super::notes::LOOK.to_owned(), id.session);
                return match self.store.change(&Arc::new(Txn { then: vec![note], ..Txn::default() })) {
                    Err(Silence::Unknown | Silence::NotDone) => Some(None),
                    _ => None,
                };
            }
        };
        match sent {
            Err(Trouble::Unresolved(p)) => Some(Some((p, true))),
            Err(Trouble::Silent) => Some(None),
            // The store refuses everybody, or us: that may pass while the session lives.
            Err(Trouble::Refused(e)) if is_of_the_store(&e) && task.session().is_alive() => {
                std::thread::sleep(REFUSED);
                Some(None)
            }
            _ => None,
        }
    }
}

/// 288.
pub fn not_owner(name: &str) -> Error {
    Error::new(Code::NotOwner, format!("this claim on `{name}` is not held by the caller (any more)"))
        .of(name)
        .advice("the lease may have ended, or somebody may have ended the claim: see who holds it now")
}

/// The claim of a request on a semaphore: where it is, and which party of it.
pub fn find(w: &World, which: &Which, id: Id) -> Result<(usize, usize), Error> {
    let lost = || not_owner(&which.0);
    let slot = w.slots.get(&which.0).filter(|s| s.created == which.1).ok_or_else(lost)?;
    let rec = slot.after.as_ref().ok_or_else(lost)?;
    let at = rec.claim_of(id).ok_or_else(lost)?;
    Ok((at, rec.claims[at].parties.iter().position(|p| p.id == id).unwrap_or_default()))
}

/// Gives a claim back, or some of it. 288.
pub fn end(w: &mut World, which: &Which, id: Id, how: How) -> Result<(), Stop> {
    let (at, party) = find(w, which, id)?;
    let now = w.now;
    if let Some(rec) = w.get_mut(&which.0) {
        let has = rec.claims[at].permits;
        match how {
            How::Release if party == 0 && rec.claims[at].depth > 1 => rec.claims[at].depth -= 1,
            How::Release => rec.leave(at, party, now),
            How::Abandon(why) => {
                rec.bury(at, party, why, now);
                rec.leave(at, party, now);
            }
            How::Part(n) if n > has => {
                let e = Error::new(Code::NotOwner, format!("the claim on `{}` has {has} permits, not {n}", which.0));
                return Err(e.of(&which.0).advice("give back at most what it has").into());
            }
            How::Part(n) if n == has => rec.leave(at, party, now),
            How::Part(n) => {
                // The highest slots first.
                let claim = &mut rec.claims[at];
                claim.permits -= n;
                claim.slots.sort_unstable();
                claim.slots.truncate(claim.permits as usize);
            }
            How::Forget => {
                rec.stock -= has;
                rec.leave(at, party, now);
            }
        }
    }
    w.settle()
}

/// Whether a wait still stands in a queue.
pub fn waits(w: &World, ticket: &Ticket) -> bool {
    ticket.list.iter().any(|e| w.get(&e.name).is_some_and(|r| r.waits(ticket.party.id)))
}

/// Ends a wait. Whatever it has been granted in the meantime is given back.
pub fn leave(w: &mut World, ticket: &Ticket) -> Result<(), Stop> {
    let id = ticket.party.id;
    if waits(w, ticket) {
        w.dequeue(id);
        return w.settle();
    }
    let mut claims = Vec::new();
    for e in &ticket.list {
        let Some(slot) = w.slots.get_mut(&e.name) else { continue };
        let (created, Some(rec)) = (slot.created, &mut slot.after) else { continue };
        if rec.is_event() {
            rec.unsee(id);
            rec.owed.retain(|s| s.id != id);
        }
        let nested = e.nests.filter(|outer| rec.claim_of(*outer).is_some());
        claims.extend(rec.claim_of(id).map(|_| id).or(nested).map(|claim| ((e.name.clone(), created), claim)));
    }
    if ticket.wish != Wish::All {
        // Its own claim: an entry that nests only counts where nothing else was granted.
        claims.sort_by_key(|(_, claim)| *claim != id);
        claims.truncate(1);
    }
    for (which, claim) in claims {
        end(w, &which, claim, How::Release)?;
    }
    w.settle()
}

/// Takes a handle of an ephemeral semaphore away, and with the last one the semaphore.
pub fn close(w: &mut World, which: &Which, opener: Id) -> Result<(), Stop> {
    if let Some(slot) = w.slots.get_mut(&which.0).filter(|s| s.created == which.1)
        && let Some(rec) = &mut slot.after
    {
        rec.openers.retain(|o| *o != opener);
        if rec.openers.is_empty() && rec.is_clear() {
            slot.after = None;
        }
    }
    Ok(())
}
