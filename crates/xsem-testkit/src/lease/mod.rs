//! A lease store in one process, with a network that has faults; and the engine of `xsem-etcd` on it.
//!
//! The engine is the one that real stores are used with ([`xsem_etcd::engine`]): what is simulated is what lies below its seam.
//! So what no real network does when a test wants it, is done here: an answer that is lost after the request was carried out, a
//! request that arrives when its sender has given it up, a cut of just so long. And all of it is quick.
//!
//! ```text
//! Cluster ── Client ── EtcdEngine ── Place ── Link (delays, losses, cuts) ── Store (keys, leases, history)
//! ```
//!
//! | file | what |
//! |---|---|
//! | `store` | keys with revisions, transactions, leases, watches |
//! | `net`, `clock` | the network and its faults; time in ticks |
//! | `place` | the engine's seam, on these; leases that are kept alive |

mod clock;
mod net;
mod place;
pub mod store;

pub use net::Faults;

use clock::{Clock, ticks};
use net::Link;
use place::Place;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::Duration;
use store::Store;
use xsem::Namespace;
use xsem_etcd::engine::{EtcdEngine, Who};

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
        let who = Who {
            host: format!("host-{number}"),
            pid,
            uid,
            command: format!("client {number}"),
            covers: None,
            inside: Vec::new(),
        };
        let place = Arc::new(Place::new(link, self.clock.clone(), self.store.clone(), ticks(self.ttl)));
        let engine = Arc::new(EtcdEngine::on(place.clone(), who, format!("lease:{pid}")));
        Client { engine, place, pid }
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
        match self.client().namespace().check() {
            Ok(checkup) => checkup.findings.iter().map(|f| format!("{f}")).collect(),
            Err(e) => vec![e.to_string()],
        }
    }
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
    engine: Arc<EtcdEngine>,
    place: Arc<Place>,
    pid: u32,
}

impl Client {
    /// The namespace as this client sees it. All calls give the same one.
    pub fn namespace(&self) -> Namespace {
        Namespace::from_engine(self.engine.clone())
    }

    /// What others see as its pid.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Other faults between this client and the store from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.place.link.set_faults(faults);
    }

    /// Nothing passes between this client and the store for so long (by the cluster's clock).
    pub fn partition(&self, time: Duration) {
        self.place.link.cut(time);
    }

    /// The lease is revoked at the store; the client finds out by itself.
    pub fn lose_lease(&self) {
        if let Some(lease) = self.engine.lease() {
            self.place.revoke_at_the_store(lease.id());
        }
    }

    /// Ends the client as SIGKILL does: no keep-alive, no request any more. The store learns of it when the lease ends. Calls
    /// that are under way in this client come back with an error, since a test has to join its threads.
    pub fn kill(&self) {
        self.place.kill();
    }

    /// As [`kill`](Client::kill), and a guardian tells the store at once.
    pub fn kill_told(&self) {
        self.place.kill();
        self.lose_lease();
    }

    /// The answers of the next `n` changes are lost after they were carried out.
    pub fn lose_answers(&self, n: u32) {
        self.place.link.lose_answers(n);
    }

    /// The next `n` changes reach the store only after the client has given them up.
    pub fn delay_requests(&self, n: u32) {
        self.place.link.delay_requests(n);
    }

    /// Round trips so far, without keep-alives.
    pub fn round_trips(&self) -> u64 {
        self.place.link.sent()
    }

    /// Waits until all that was queued for the store has been sent, for at most `patience`. Whether it has.
    pub fn flush(&self, patience: Duration) -> bool {
        self.engine.flush(patience)
    }
}
