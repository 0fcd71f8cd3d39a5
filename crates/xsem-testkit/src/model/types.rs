//! What goes into the model and comes out of it.

use xsem::{Capacity, Cause, Code, Signal};

/// Who claims: a thread of a process. The numbers are the test's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claimant {
    /// The process.
    pub process: u32,
    /// The thread in it; [`Claimant::ANY_THREAD`] for permits that belong to the whole process.
    pub thread: u32,
}

impl Claimant {
    /// The claimant of permits that any thread of the process may end (`acquire_owned`).
    pub const ANY_THREAD: u32 = u32::MAX;
}

/// An open semaphore: a name, and which object of that name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    pub(super) name: String,
    pub(super) incarnation: u64,
    /// Which of the handles that processes have open; 0: nobody's, which is never closed.
    pub(super) id: u64,
}

impl Handle {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A claim as a guard keeps it: the object and the token name it beyond doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    pub(super) incarnation: u64,
    /// Counts the claims on this object.
    pub token: u64,
}

/// What a dead owner left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Obituary {
    /// Who.
    pub who: Claimant,
    /// How it is known.
    pub cause: Cause,
}

/// The deaths behind a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Deaths {
    /// The first that nobody acknowledged.
    pub first: Obituary,
    /// The latest.
    pub latest: Obituary,
    /// How many since the last acknowledgement.
    pub count: u64,
}

/// A granted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// The claim.
    pub claim: Claim,
    /// A further level of a claim that the claimant had already.
    pub nested: bool,
    /// Present when the result is 105.
    pub died: Option<Deaths>,
}

/// What a request that may wait for one semaphore comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Granted at once.
    Granted(Grant),
    /// It waits, until it is granted, times out, is cancelled or dies.
    Waits,
    /// Refused with this code, nothing changed.
    Refused(Code),
}

/// What a request for a list comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Granted at once: which entries, ascending.
    Granted(Vec<(usize, Grant)>),
    /// It waits.
    Waits,
    /// Refused with this code, because of these entries; nothing changed.
    Refused(Code, Vec<usize>),
}

/// How many of a list are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// The only entry (`acquire` and its like).
    One,
    /// The lowest that can be had (`wait_any`).
    Any,
    /// Every one, at one instant (`acquire_all`).
    All,
}

/// How long a request waits. The model has no clock: it only matters whether the wait ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Until {
    /// Not at all.
    Now,
    /// Until some time.
    Deadline,
    /// Without an end.
    Forever,
}

/// Somebody who waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Waiting {
    pub(super) who: Claimant,
    pub(super) how: How,
    pub(super) list: Vec<Entry>,
    pub(super) has_deadline: bool,
}

/// One semaphore that somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) incarnation: u64,
    pub(super) permits: u32,
    pub(super) through: u64,
    /// How many signals an event had had when the wait began.
    pub(super) since: u64,
}

/// What an inspection shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Who holds it, how deep, with which claim (exclusive).
    pub owner: Option<(Claimant, u32, Claim)>,
    /// Who holds how many permits, oldest claim first (counting).
    pub holds: Vec<(Claimant, u32, Claim)>,
    /// Who waits, oldest first.
    pub waiters: Vec<Claimant>,
    /// The deaths behind the mark; `None` when it is not marked.
    pub deaths: Option<Deaths>,
    /// Owners that died while they held it, ever.
    pub died: u64,
    /// Permits (counting).
    pub capacity: Option<Capacity>,
    /// How an event stands.
    pub signal: Option<Signal>,
    /// Whether new requests are refused.
    pub drained: bool,
}

/// What is finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Names at one time (100).
    pub semaphores: usize,
    /// Member processes at one time (106).
    pub members: usize,
    /// Nesting depth (103).
    pub depth: u32,
    /// Entries of a list (151).
    pub list: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { semaphores: 1 << 20, members: 2040, depth: 65_535, list: 64 }
    }
}
