//! A session: a client's lease, and the keys that go with it.
//!
//! The client counts its lease as lost before the store can (see [`Lease::is_alive`]). From then on it claims nothing, although
//! the store may still know the lease; so it also revokes the lease as soon as it can reach the store.

use super::client::lock;
use super::store::{Lease, Revision};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// Where semaphores, sessions, lanes and notes are kept.
pub const RECORDS: &str = "o/";
/// See `RECORDS`.
pub const SESSIONS: &str = "x/";
/// See `RECORDS`.
pub const LANES: &str = "l/";
/// See `RECORDS`.
pub const NOTES: &str = "g/";

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
    /// The lease's number.
    pub id: u64,
    /// The change that created its key.
    pub created: Revision,
    /// The lease.
    pub lease: Arc<dyn Lease>,
    lost: AtomicBool,
    retired: AtomicBool,
    lanes: Mutex<Vec<Lane>>,
    lanes_made: AtomicU32,
    /// Notes that were read, and go with the next transaction.
    litter: Mutex<Vec<String>>,
}

impl Session {
    /// With a lease, and the change that made the key that tells of it.
    pub fn new(lease: Arc<dyn Lease>, created: Revision) -> Session {
        Session {
            id: lease.id(),
            created,
            lease,
            lost: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            lanes: Mutex::default(),
            lanes_made: AtomicU32::new(0),
            litter: Mutex::default(),
        }
    }

    /// The key that lives as long as the lease.
    pub fn key(&self) -> String {
        key(self.id)
    }

    /// Whether its claims may still be relied upon.
    pub fn is_alive(&self) -> bool {
        !self.lost.load(SeqCst) && self.lease.is_alive()
    }

    /// The store does not know it.
    pub fn vanish(&self) {
        self.lose();
        self.lease.is_gone();
    }

    /// It is over. A session that was given up does not come back: others may have been told.
    pub fn lose(&self) {
        self.lost.store(true, SeqCst);
    }

    /// The store forgets the lease, too: a late sign of life may have revived it.
    pub fn retire(&self) {
        self.lose();
        if !self.retired.swap(true, SeqCst) {
            self.lease.give_up();
        }
    }

    /// A lane for one thread.
    pub fn lane(&self) -> Lane {
        let unused = lock(&self.lanes).pop();
        unused.unwrap_or_else(|| {
            let n = self.lanes_made.fetch_add(1, SeqCst);
            Lane { key: format!("{LANES}{:x}/{n}", self.id), modified: 0 }
        })
    }

    /// For the next one.
    pub fn put_back(&self, lane: Lane) {
        lock(&self.lanes).push(lane);
    }

    /// A note that was read.
    pub fn litter(&self, key: String) {
        lock(&self.litter).push(key);
    }

    /// Some notes that were read, to be deleted.
    pub fn sweep_up(&self) -> Vec<String> {
        let mut litter = lock(&self.litter);
        let keep = litter.len().saturating_sub(AT_ONCE);
        litter.split_off(keep)
    }
}

/// Notes that one transaction deletes.
const AT_ONCE: usize = 8;

/// The key of a session.
pub fn key(id: u64) -> String {
    format!("{SESSIONS}{id:x}")
}

/// The session of a key below `x/`.
pub fn of_key(key: &str) -> Option<u64> {
    u64::from_str_radix(key.strip_prefix(SESSIONS)?, 16).ok()
}

/// Where a session is told how the record of this name, which it owns, is now.
pub fn owner_key(session: u64, name: &str) -> String {
    format!("{NOTES}{session:x}/~{name}")
}

/// Where a session is told that a wait of it is over.
pub fn note_key(id: super::record::Id) -> String {
    format!("{NOTES}{:x}/{}", id.session, id.op)
}
