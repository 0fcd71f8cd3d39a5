//! What the engine needs of a store: transactions, leases, and a feed of changes. [`Store`] is the seam between this engine and
//! the wire below it; the tests put a simulated store with a faulty network there.
//!
//! Keys are below the namespace's prefix, which whoever implements this adds and takes away.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use xsem::Error;

/// The number of a change.
pub type Revision = u64;

/// A key with its value, and which changes made it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: String,
    /// The value; empty where only keys were asked for.
    pub value: String,
    /// The change that created the key.
    pub created: Revision,
    /// The latest change of the key.
    pub modified: Revision,
    /// The lease that takes it along, or 0.
    pub lease: u64,
}

/// What must hold for a transaction's first branch. An absent key has revision 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The change that created the key is this one.
    Created(String, Revision),
    /// The latest change of the key is this one.
    Modified(String, Revision),
    /// It exists.
    Exists(String),
}

/// A step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Key, value, lease (0: none).
    Put(String, String, u64),
    /// Deletes a key, if it is there.
    Delete(String),
    /// Deletes all keys that begin so.
    DeleteAll(String),
    /// Reads a key.
    Get(String),
    /// Reads all keys that begin so, ascending.
    Prefix(String),
    /// The same without the values.
    Keys(String),
}

/// Compares, then one of two branches, at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold for `then`.
    pub compare: Vec<Compare>,
    /// Where all hold.
    pub then: Vec<Op>,
    /// Where one does not.
    pub otherwise: Vec<Op>,
}

/// What a transaction gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The store's revision after it.
    pub revision: Revision,
    /// Which branch it took.
    pub succeeded: bool,
    /// What its reads gave, a list for each.
    pub reads: Vec<Vec<KeyValue>>,
}

/// A change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Of which key.
    pub key: String,
    /// The new value; `None`: deleted.
    pub now: Option<KeyValue>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Silence {
    /// Nobody knows whether the request was, or will be, carried out.
    Unknown,
    /// It was not carried out, and will not be: nobody could be asked.
    NotDone,
    /// It was not carried out: it names a lease that the store does not have (any more).
    NoLease,
    /// It was not carried out, and asking again gives the same: no permission, no room.
    Refused(Error),
    /// This process's end was closed for good.
    Closed,
}

/// A change of a key that is past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The store's revision that it made.
    pub revision: Revision,
    /// Of which key.
    pub key: String,
    /// The value before; `None`: it was not there.
    pub before: Option<String>,
    /// The new value; `None`: deleted.
    pub now: Option<String>,
}

/// What the store still knows of the past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// From this revision on all is there: the one asked for, or the oldest that there still is.
    pub from: Revision,
    /// The oldest first.
    pub changes: Vec<Change>,
}

/// Which changes a feed tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Keys that begin so.
    pub prefix: String,
    /// Only those that are gone.
    pub deletes_only: bool,
}

/// Changes, in their order, each once. A feed that broke off is not taken up again: its user begins another one, and then looks
/// at everything that it was told of.
pub trait Feed: Send + Debug {
    /// The next changes, perhaps none; waits for at most so long. An error: it broke off.
    fn next(&mut self, patience: Duration) -> Result<Vec<Event>, Silence>;
}

/// Called with the reason.
pub type OnLeaseLost = Box<dyn FnOnce(&str) + Send>;

/// A lease, kept alive as long as this is.
pub trait Lease: Send + Sync + Debug {
    /// Its number in the store.
    fn id(&self) -> u64;
    /// Whether it may be relied upon: false before the store can end it.
    fn is_alive(&self) -> bool;
    /// The store has said, in an answer to something else, that it has no such lease.
    fn is_gone(&self) {}
    /// The session's key was deleted: with the lease, or by somebody.
    fn key_is_gone(&self) {
        self.is_gone();
    }
    /// It is not relied upon any more, and the store is told, in the background.
    fn give_up(&self);
    /// Calls this once, when it is not alive any more, with the reason; at once if that is so already. From whatever thread.
    fn on_loss(&self, tell: OnLeaseLost);
    /// If this process dies, the lease goes on until this child has ended, as far as somebody can see to that.
    fn cover(&self, _pid: Option<u32>) {}
}

/// A store with leases.
pub trait Store: Send + Sync + Debug + 'static {
    /// Sends a transaction that changes something, once.
    fn change(&self, txn: &Arc<Txn>) -> Result<Answer, Silence>;
    /// Sends one that only reads, once.
    fn ask(&self, txn: &Arc<Txn>) -> Result<Answer, Silence>;
    /// A new lease.
    fn grant(&self) -> Result<Arc<dyn Lease>, Silence>;
    /// From when this returns on, changes of such keys are told.
    fn feed(&self, wanted: &[Wanted]) -> Result<Box<dyn Feed>, Silence>;
    /// The changes of all keys from a revision on and before another one, at which a key was changed, too.
    fn past(&self, _from: Revision, _before: Revision) -> Result<Past, Silence> {
        Err(Silence::Refused(Error::new(xsem::Code::InvalidFunction, "this store keeps nothing of what was")))
    }
    /// Milliseconds of a clock that does not jump.
    fn now(&self) -> u64;
    /// How long a lease lasts without a sign of life, in milliseconds.
    fn ttl(&self) -> u64;
    /// Why it was silent last, as users are told it.
    fn why_silent(&self) -> Option<Error> {
        None
    }
    /// The process's end is closed for good (killed, in tests).
    fn is_closed(&self) -> bool;
}
