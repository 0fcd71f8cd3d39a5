//! A lease store in one process, with a network that has faults; and an engine on it.
//!
//! It shows that the engine traits fit a network: requests that take a round trip, claims that are lost while they are held,
//! answers that never come. It is also the sketch of the etcd engine, and keeps to what etcd has: transactions that compare
//! revisions, leases, watches.
//!
//! ```text
//! Cluster ── Client ── Link (delays, losses, cuts) ── Store (keys, leases, history)
//!               └─ namespace() ── LeaseEngine, LeaseObject
//! ```
//!
//! | file | what |
//! |---|---|
//! | `store` | keys with revisions, transactions, leases, watches |
//! | `net`, `clock` | the network and its faults; time in ticks |
//! | `record`, `death` | what is stored of a semaphore; what dead owners leave |
//! | `world` | who gets what: pure functions on records |
//! | `commit` | transactions that are carried out exactly once, although answers get lost |
//! | `session`, `client` | lease, keep-alive, what a process holds |
//! | `outbox` | what is still to be told to the store |
//! | `request`, `refusal` | acquire, `wait_any`, `acquire_all`, waiting; what the refused are told |
//! | `deadlock` | who waits for whom |
//! | `engine`, `drain`; `object`, `counting`, `event` | the traits |
//! | `thread`, `view` | threads that end; reports |
//!
//! # Keys
//!
//! | key | lease | value |
//! |---|---|---|
//! | `o/<name>` | no | the semaphore: limit, claims, queue, mark and obituaries, drain, counters |
//! | `x/<session>` | the session's | who it is; that the key is gone is the death notice |
//! | `l/<session>/<n>` | the session's | a lane: the mark of the latest transaction of one thread |
//!
//! # Why one record, and not a ticket per request
//! The design page sketches tickets: a key per request, and the first `limit` by create revision own the semaphore. That is
//! one round trip without reading, and does not conflict. But then ownership follows from the set of keys, and much of the
//! contract does not: after a resize the tickets would say that somebody has lost a permit; slots must stay the same for as
//! long as they are held; a request for n permits, `acquire_all` (which must not keep others waiting at one semaphore while
//! it waits for another), credit, drain, `remove` that counts on nobody having come in between: all need a decision that is
//! written down. So here the decision is a value, changed by one transaction that compares its revision. `acquire_all` is a
//! transaction on several such values. A release decides who is next and writes that in the same transaction, so there is no
//! herd: waiters watch, they do not compete. Uncontended, acquire and release are one round trip each, on the value that the
//! client saw last.
//!
//! The price is the conflict: changes of one semaphore go one after the other, and of those that meet, all but one begin
//! again; who joins the queue of a busy semaphore may have to try several times, and there is no bound. (A cure: who loses
//! puts its ticket under a key of its own, which conflicts with nobody, and whoever changes the record next takes it in.)
//! For a counting semaphore that many hosts use for short times, tickets are faster (560 acquisitions a second flat,
//! by the design page). Measure both before choosing for etcd. The value also grows with claims and queue, and every waiter
//! is sent it at every change; a key per waiter, put by the granting transaction, would send it once.
//!
//! # Deaths
//! A session that ends takes its key along. Whoever changes a record, or waits for it, and finds claims of sessions without
//! a key, takes them out in that transaction: obituary, mark, next owner. So each death is told exactly once, and a claim is
//! granted only to a session that lives at that instant (the transaction compares its key). A waiter that is dead but whose
//! lease lasts can be granted the semaphore; then its lease's end is an owner's death, and a false alarm.
//!
//! # Events
//! A signal ends waits in the transaction that signals: a note of each stands in the record until its client has read it. If
//! that client's session ends before, or its wait was over by then, an auto signal is there again, unless somebody has
//! signalled or reset the event meanwhile and so has been told how it stands.
//!
//! # Differences from shared memory
//! - Strictly first-in-first-out, among those whose request fits the limit: nobody overtakes, there is no millisecond and no
//!   reservation that lapses. Two exceptions: an `acquire_all` that cannot be served does not keep others from its
//!   semaphores, so it may be overtaken for as long as they are never free at one instant; and whoever stands only behind
//!   waits that, in the end, wait for him passes them, where strict order would be a deadlock in spite of free permits.
//! - A deadlock (1131) is found after the wait was published, not in the same instant, and looked for again every 50 ms; a
//!   claim or wait of a client that is dead, but whose lease lasts, counts until then.
//! - A wait outlives its session: it queues again, at the end.
//! - `release` returns when the store has answered; where it is silent, after a short time, and the outbox goes on. It never
//!   says that something is given back that is still used, but if the lease ends first, the release counts as a death.
//! - `cover` is refused (1): a lease cannot wait for a process. What it is for is the guardian's work. So `inside` has nothing
//!   to do.
//! - `join` is for exclusive semaphores (1 otherwise), and once per claim and process.
//! - A `drain` whose time is over while the store is silent comes back when the store answers or the session ends, since it
//!   must not leave the semaphore closed.
//! - Tokens count a semaphore's claims; one that is removed and created again begins at 1, also for the resource.
//! - Without an answer from the store, operations fail with 6 (waits with a time limit: 121): the network codes that the
//!   contract promises are not in the table yet. A lease's end shows as `Cause::ProcessEnded`, which is all there is.

mod client;
mod clock;
mod commit;
mod counting;
mod deadlock;
mod death;
mod drain;
mod engine;
mod event;
mod net;
mod object;
mod outbox;
mod record;
mod refusal;
mod request;
mod session;
pub mod store;
mod thread;
mod view;
mod world;

pub use net::Faults;

use client::Inner;
use clock::{Clock, ticks};
use net::Link;
use record::{Record, Who};
use session::{RECORDS, SESSIONS};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::Duration;
use store::{Op, Store, Txn};
use world::World;
use xsem::Namespace;

/// The store, its clock, and what the network does to the clients.
#[derive(Debug)]
pub struct Cluster {
    store: Arc<Store>,
    clock: Arc<Clock>,
    faults: Faults,
    ttl: Duration,
    seed: u64,
    clients: AtomicU32,
}

impl Cluster {
    /// An empty store, a network without faults, leases of 200 ms (of the cluster's clock, which a loaded machine slows).
    pub fn new(seed: u64) -> Cluster {
        Cluster::with(seed, Faults::NONE, Duration::from_millis(200))
    }

    /// With these faults for every client, and this time to live for every lease.
    pub fn with(seed: u64, faults: Faults, ttl: Duration) -> Cluster {
        let (store, clock) = (Arc::<Store>::default(), Arc::<Clock>::default());
        let (of, ticking) = (Arc::downgrade(&store), clock.clone());
        std::thread::spawn(move || tick(&of, &ticking));
        Cluster { store, clock, faults, ttl: ttl.max(Duration::from_millis(50)), seed, clients: AtomicU32::new(0) }
    }

    /// A new client: as a process of its own on a host of its own. Its pid is made up ([`Client::pid`]).
    pub fn client(&self) -> Client {
        let number = self.clients.fetch_add(1, SeqCst) + 1;
        let seed = self.seed.wrapping_mul(0x9E37_79B9).wrapping_add(number as u64);
        let link = Link::new(self.store.clone(), self.clock.clone(), self.faults, seed);
        let pid = FIRST_PID + number;
        // SAFETY: it has no preconditions.
        let uid = unsafe { libc::getuid() };
        let who = Who { pid, uid, command: format!("client {number}") };
        Client { inner: Inner::start(link, self.clock.clone(), self.store.clone(), ticks(self.ttl), who), pid }
    }

    /// How long a lease lasts without a keep-alive.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Sleeps for so long by the cluster's clock.
    pub fn sleep(&self, time: Duration) {
        self.clock.sleep_until(self.clock.now() + ticks(time), || false);
    }

    /// Every invariant of the stored records that is violated, a line each.
    pub fn audit(&self) -> Vec<String> {
        audit(&self.store)
    }
}

/// Every invariant of the stored records that is violated, a line each.
fn audit(store: &Store) -> Vec<String> {
    let ops = vec![Op::Prefix(RECORDS.to_owned()), Op::Prefix(SESSIONS.to_owned())];
    let Ok(all) = store.txn(&Txn { then: ops, ..Txn::default() }) else { return vec!["the store is closed".to_owned()] };
    let mut found = Vec::new();
    let mut slots = std::collections::BTreeMap::new();
    for kv in &all.reads[0] {
        match (commit::slot(Some(kv)), Record::decode(&kv.value)) {
            (Ok(slot), Ok(rec)) => {
                found.extend(violations(&kv.key, &rec));
                slots.insert(kv.key[RECORDS.len()..].to_owned(), slot);
            }
            _ => found.push(format!("{}: cannot be read", kv.key)),
        }
    }
    // What is stored is settled: nobody waits who could be served.
    let mut world = World { slots, alive: None, revision: all.revision, now: 0, served: BTreeSet::new() };
    if world.settle().is_err() || !world.served.is_empty() {
        found.push(format!("sessions {:?} wait for what is free", world.served));
    }
    found
}

fn violations(key: &str, rec: &Record) -> Vec<String> {
    let slots: Vec<u32> = rec.claims.iter().flat_map(|c| &c.slots).copied().collect();
    let tokens: BTreeSet<u64> = rec.claims.iter().map(|c| c.token).collect();
    let pool = rec.sort == record::Sort::Pool;
    let checks = [
        (rec.sort == record::Sort::Exclusive && rec.claims.len() > 1, "two owners"),
        (rec.is_event() && (!rec.claims.is_empty() || rec.stock > 1), "an event that is held"),
        (rec.sort == record::Sort::Credit && rec.out() > rec.stock, "more credit is out than there is"),
        (slots.iter().collect::<BTreeSet<_>>().len() != slots.len(), "a slot is held twice"),
        (pool && slots.len() != rec.out() as usize, "permits without a slot"),
        (tokens.len() != rec.claims.len() || tokens.iter().any(|t| *t > rec.acquired), "tokens repeat or run ahead"),
        (rec.claims.iter().any(|c| c.parties.is_empty() || c.permits == 0 || c.depth == 0), "an empty claim"),
        (rec.marked && rec.dead.is_none(), "a mark without an obituary"),
        (rec.drain.as_ref().is_some_and(|d| d.done) && !rec.is_clear(), "drained, and still in use"),
    ];
    checks.into_iter().filter(|(bad, _)| *bad).map(|(_, what)| format!("{key}: {what}: {rec:?}")).collect()
}

/// The first made-up pid: above what Linux gives to processes.
const FIRST_PID: u32 = 1 << 22;

impl Drop for Cluster {
    /// Its time stands still from now on, also for clients that somebody has leaked.
    fn drop(&mut self) {
        self.clock.stop();
    }
}

fn tick(store: &Weak<Store>, clock: &Clock) {
    while !clock.is_stopped() {
        std::thread::sleep(Duration::from_millis(1));
        let Some(store) = store.upgrade() else { return };
        store.expire(clock.advance());
    }
}

/// One process that uses the store: its session is kept alive until it is killed, or until it and all namespaces, handles
/// and guards that were made with it are dropped (then its lease is revoked).
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
    pid: u32,
}

impl Client {
    /// The namespace as this client sees it. All calls give the same one.
    pub fn namespace(&self) -> Namespace {
        Namespace::from_engine(Arc::new(engine::LeaseEngine::new(self.inner.clone())))
    }

    /// What others see as its pid.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Other faults between this client and the store from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.inner.link.set_faults(faults);
    }

    /// Nothing passes between this client and the store for so long (by the cluster's clock).
    pub fn partition(&self, time: Duration) {
        self.inner.link.cut(time);
    }

    /// The lease is revoked at the store; the client finds out by itself.
    pub fn lose_lease(&self) {
        self.inner.lose_lease();
    }

    /// Ends the client as SIGKILL does: no keep-alive, no request any more. The store learns of it when the lease ends. Calls
    /// that are under way in this client come back with an error, since a test has to join its threads.
    pub fn kill(&self) {
        self.inner.kill(false);
    }

    /// As [`kill`](Client::kill), and a guardian tells the store at once.
    pub fn kill_told(&self) {
        self.inner.kill(true);
    }

    /// The answers of the next `n` changes are lost after they were carried out.
    pub fn lose_answers(&self, n: u32) {
        self.inner.link.lose_answers(n);
    }

    /// The next `n` changes reach the store only after the client has given them up.
    pub fn delay_requests(&self, n: u32) {
        self.inner.link.delay_requests(n);
    }

    /// Round trips so far, without keep-alives.
    pub fn round_trips(&self) -> u64 {
        self.inner.link.sent()
    }

    /// Waits until all that was queued for the store has been sent, for at most `patience`. Whether it has.
    pub fn flush(&self, patience: Duration) -> bool {
        self.inner.outbox.flush(patience)
    }
}
