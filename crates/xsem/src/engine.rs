//! The seam between what operations mean and how they are kept.
//!
//! An engine keeps the contract of `docs/semantics.md`; the front doors only know these traits. The contract of an
//! implementation, numbered so that the conformance suite can name what it tests:
//!
//! 1. `create` is exclusive: of two concurrent calls for one name exactly one succeeds, the other gets 183.
//! 2. `open` never changes the object; the wrong kind is 6, no such name 187.
//! 3. `acquire` returns only with the claim granted, or with nothing taken. At most one claim on an exclusive semaphore.
//! 4. A claim of an ended claimant passes on, exactly once, and its successor's grant says so (`Grant::died`) until
//!    `mark_consistent`.
//! 5. `Wait::Try` never sleeps. A deadline or a cancel token that fires leaves nothing behind.
//! 6. `release` never waits for another process. A claim that was lost (lease ended, evicted) is 288.
//! 7. Tokens of one semaphore only grow.
//! 8. `remove` refuses with 102 while anybody holds or waits, and changes nothing then.
//!
//! Nothing here assumes shared memory: an acquire may take a network's round trip, a claim may be lost while it is held
//! ([`Object::is_held`]), and `release` is the point from which others may hope, not the instant at which they know.
//! An asynchronous form of `acquire` (a request that is started, polled and dropped) joins with the async issue; it takes
//! the same [`Request`] and gives the same [`Grant`].

use crate::cancel::CancelToken;
use crate::claim::{Cause, Deaths, Kind, Report, Summary};
use crate::deadline::Deadline;
use crate::error::Result;
use crate::name::Name;
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What a new semaphore shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spec {
    /// The kind.
    pub kind: Kind,
    /// Permits at most (counting); 1 otherwise.
    pub limit: u32,
    /// Permits, or the signal, at the start.
    pub initial: u32,
}

impl Spec {
    /// An exclusive semaphore.
    pub fn exclusive() -> Spec {
        Spec { kind: Kind::Exclusive, limit: 1, initial: 1 }
    }
}

/// How long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Not at all: grant or refuse.
    Now,
    /// Until this point.
    Deadline(Deadline),
    /// For ever.
    Forever,
}

/// One request for a claim.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Request<'a> {
    /// Who asks inside this process: a small number per thread or task.
    pub claimant: u32,
    /// Permits wanted.
    pub permits: u32,
    /// For how long.
    pub until: Until,
    /// What ends it early.
    pub cancel: Option<&'a CancelToken>,
    /// What the claim is called.
    pub label: Option<&'a str>,
    /// Looked at when a signal interrupted the wait; `true` ends it with 95. For front doors that run signal handlers of
    /// a language of their own between waits.
    pub interrupted: Option<&'a dyn Interrupted>,
}

impl Request<'_> {
    /// A request of one permit.
    pub fn new(claimant: u32, until: Until) -> Self {
        Request { claimant, permits: 1, until, cancel: None, label: None, interrupted: None }
    }
}

/// Asked after a signal interrupted a wait.
pub trait Interrupted: Debug + Sync {
    /// `true` ends the wait with 95.
    fn give_up(&self) -> bool;
}

/// A claim as its owner keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// The fencing token.
    pub token: u64,
    /// The engine's own: names, with the token, the claim beyond doubt.
    pub key: u64,
}

impl Claim {
    /// For engines: a claim with these facts.
    pub fn new(token: u64, key: u64) -> Claim {
        Claim { token, key }
    }
}

/// What an acquire gives.
#[derive(Debug)]
#[non_exhaustive]
pub struct Grant {
    /// The claim.
    pub claim: Claim,
    /// `Some` when the mark is set: 105. The inner value is `None` when the details could not be kept.
    pub died: Option<Option<Deaths>>,
}

impl Grant {
    /// For engines: a grant.
    pub fn new(claim: Claim, died: Option<Option<Deaths>>) -> Grant {
        Grant { claim, died }
    }
}

/// How a claim is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// One level back.
    Release,
    /// All levels back, with the mark and an obituary of this cause.
    Abandon(Cause),
}

/// A place where names live.
pub trait Engine: Send + Sync + Debug {
    /// The URL that opens it again.
    fn url(&self) -> &str;
    /// A new, clear semaphore. 183, 100, 87.
    fn create(&self, name: &Name, spec: &Spec) -> Result<Arc<dyn Object>>;
    /// An existing one. 187, 6.
    fn open(&self, name: &Name, kind: Kind) -> Result<Arc<dyn Object>>;
    /// Either, never a race. 6, 87, 100.
    fn open_or_create(&self, name: &Name, spec: &Spec) -> Result<Arc<dyn Object>>;
    /// Takes the name away. 187, 102.
    fn remove(&self, name: &Name) -> Result<()>;
    /// All that is known of one semaphore. 187.
    fn inspect(&self, name: &Name) -> Result<Report>;
    /// Every semaphore, in no order, one at a time, until the visitor breaks off.
    fn list(&self, visit: &mut dyn FnMut(Summary) -> ControlFlow<()>) -> Result<()>;
    /// What others shall see as this process's command. 8 when there is no room.
    fn describe(&self, command: &str) -> Result<()>;
    /// Says that this process's claims cover the child `pid`: if this process dies, they end when the child has ended.
    fn cover(&self, pid: Option<u32>) -> Result<()>;
}

/// An open semaphore.
pub trait Object: Send + Sync + Debug {
    /// Its name.
    fn name(&self) -> &Name;
    /// Its kind.
    fn kind(&self) -> Kind;
    /// A claim, or why not.
    fn acquire(&self, request: &Request<'_>) -> Result<Grant>;
    /// Gives a claim back. 288 when it is not held (any more).
    fn release(&self, claim: &Claim, ending: Ending) -> Result<()>;
    /// Says that the state is whole again. 288.
    fn mark_consistent(&self, claim: &Claim) -> Result<()>;
    /// Shares the claim with this token, if somebody still holds it; it ends with the last that shares it.
    fn join(&self, token: u64) -> Result<Option<Claim>>;
    /// Whether the claim is still this process's.
    fn is_held(&self, claim: &Claim) -> bool;
    /// The words of the shared-memory engine's uncontended path, for the public types to use without a call.
    #[doc(hidden)]
    fn fast(&self) -> Option<crate::shm::FastPath> {
        None
    }
}
