//! A session: a client's lease, and the keys that go with it.
//!
//! The client counts its lease as lost before the store can (`safe_until`: the last keep-alive that was answered, from when
//! it was *sent*, plus the time to live, minus a margin). From then on it claims nothing, although the store may still know
//! the lease; so it also revokes the lease as soon as it can reach the store.

use super::clock::{Clock, Tick, lock};
use super::store::Revision;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};

/// Where semaphores, sessions and lanes are kept.
pub const RECORDS: &str = "o/";
/// See [`RECORDS`].
pub const SESSIONS: &str = "x/";
/// See [`RECORDS`].
pub const LANES: &str = "l/";

/// A key that each transaction of one thread puts, so that a lost answer can be found out: see `commit`.
#[derive(Debug)]
pub struct Lane {
    /// Its key.
    pub key: String,
    /// Its latest change, as far as the client made sure of it; 0: not there yet.
    pub modified: Revision,
}

/// A session of a client.
#[derive(Debug)]
pub struct Session {
    /// The lease.
    pub id: u64,
    /// The change that created its key.
    pub created: Revision,
    lost: AtomicBool,
    retired: AtomicBool,
    safe_until: AtomicU64,
    lanes: Mutex<Vec<Lane>>,
    lanes_made: AtomicU32,
}

impl Session {
    /// With a lease that is good until then, and the key that tells of it.
    pub fn new(id: u64, created: Revision, safe_until: Tick) -> Session {
        let (lost, retired) = (AtomicBool::new(false), AtomicBool::new(false));
        let safe_until = AtomicU64::new(safe_until);
        Session { id, created, lost, retired, safe_until, lanes: Mutex::default(), lanes_made: AtomicU32::new(0) }
    }

    /// The key that lives as long as the lease.
    pub fn key(&self) -> String {
        key(self.id)
    }

    /// Whether its claims may still be relied upon.
    pub fn is_alive(&self, clock: &Clock) -> bool {
        if clock.now() >= self.safe_until.load(SeqCst) {
            self.lose();
        }
        !self.lost.load(SeqCst)
    }

    /// A keep-alive was answered. A session that was given up does not come back: others may have been told.
    pub fn extend(&self, safe_until: Tick) {
        self.safe_until.fetch_max(safe_until, SeqCst);
    }

    /// It is over.
    pub fn lose(&self) {
        self.lost.store(true, SeqCst);
    }

    /// True once: for whoever sees to it that the store forgets the lease.
    pub fn retire(&self) -> bool {
        !self.retired.swap(true, SeqCst)
    }

    /// A lane for one thread.
    pub fn lane(&self) -> Lane {
        let unused = lock(&self.lanes).pop();
        unused.unwrap_or_else(|| {
            let n = self.lanes_made.fetch_add(1, SeqCst);
            Lane { key: format!("{LANES}{}/{n}", self.id), modified: 0 }
        })
    }

    /// For the next one.
    pub fn put_back(&self, lane: Lane) {
        lock(&self.lanes).push(lane);
    }
}

/// The key of a session.
pub fn key(id: u64) -> String {
    format!("{SESSIONS}{id}")
}
