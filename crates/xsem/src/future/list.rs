//! Several semaphores in one asynchronous wait.

use super::{Claimant, Course, Level, OwnedGuard, OwnedRecovery};
use crate::claim::Deaths;
use crate::engine::{Engine, Grant, Granted, OwnedRequest, OwnedWant, Wish};
use crate::error::{Code, Error, Result};
use crate::many::{OwnedPick, died};
use crate::permit::OwnedPermit;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What was acquired from a list, for any thread.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "dropping it releases the semaphore"]
pub enum OwnedHeld {
    /// An exclusive semaphore.
    Guard(OwnedGuard),
    /// Permits of a counting one.
    Permit(OwnedPermit),
    /// The signal of an event, which leaves nothing to give back: how many there have been.
    Signal(u64),
}

impl OwnedHeld {
    /// The fencing token; of an event, the number of signals so far.
    pub fn token(&self) -> u64 {
        match self {
            OwnedHeld::Guard(g) => g.token(),
            OwnedHeld::Permit(p) => p.token(),
            OwnedHeld::Signal(n) => *n,
        }
    }
}

/// What [`Namespace::wait_any_async`](crate::Namespace::wait_any_async) comes to.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "dropping it releases the semaphore"]
pub struct OwnedTaken {
    /// Which entry of the list it was.
    pub index: usize,
    /// The claim.
    pub held: OwnedHeld,
}

/// Why a `wait_any_async` did not give a plain claim.
#[derive(Debug)]
pub enum OwnedAnyError {
    /// 105: this entry is owned now, but its previous owner died.
    OwnerDied {
        /// Which entry.
        index: usize,
        /// It owns the semaphore.
        recovery: OwnedRecovery,
    },
    /// Nothing was taken.
    Failed(Error),
}

/// What [`Namespace::acquire_all_async`](crate::Namespace::acquire_all_async) comes to: a claim per entry, in the order of
/// the list.
#[derive(Debug)]
#[must_use = "dropping it releases the semaphores"]
pub struct OwnedAll {
    held: Vec<OwnedHeld>,
}

impl OwnedAll {
    /// The claims, in the order of the list.
    pub fn as_slice(&self) -> &[OwnedHeld] {
        &self.held
    }

    /// The claims one by one.
    pub fn into_vec(self) -> Vec<OwnedHeld> {
        self.held
    }
}

/// The outcome 105 of an `acquire_all_async`: *all* are owned, and the previous owners of some died.
#[derive(Debug)]
#[must_use = "this owns the semaphores; dropping it releases them and keeps the marks"]
pub struct OwnedAllRecovery {
    all: OwnedAll,
    died: Vec<(usize, Option<Box<Deaths>>)>,
}

impl OwnedAllRecovery {
    /// Which entries have the mark, ascending.
    pub fn indices(&self) -> Vec<usize> {
        self.died.iter().map(|(i, _)| *i).collect()
    }

    /// Who died as owner of this entry. None when nobody did, or the details could not be kept.
    pub fn deaths(&self, index: usize) -> Option<&Deaths> {
        self.died.iter().find(|(i, _)| *i == index)?.1.as_deref()
    }

    /// The state behind all of them is whole: clears the marks and goes on as a usual owner.
    ///
    /// # Errors
    /// 288 when one of the claims was ended from outside in the meantime.
    pub fn mark_consistent(self) -> Result<OwnedAll> {
        for (i, _) in &self.died {
            if let OwnedHeld::Guard(g) = &self.all.held[*i] {
                g.mark_consistent()?;
            }
        }
        Ok(self.all)
    }

    /// Goes on as owner and keeps the marks.
    pub fn into_all(self) -> OwnedAll {
        self.all
    }
}

/// Why an `acquire_all_async` did not give plain claims.
#[derive(Debug)]
pub enum OwnedAllError {
    /// 105: all are owned, but previous owners died.
    OwnerDied(OwnedAllRecovery),
    /// Nothing was taken.
    Failed(Error),
}

/// A request for a list, from its beginning to its end.
struct Request {
    engine: Arc<dyn Engine>,
    picks: Vec<OwnedPick>,
    course: Course,
}

impl Request {
    fn new(engine: Arc<dyn Engine>, picks: Vec<OwnedPick>, request: OwnedRequest) -> Request {
        Request { engine, picks, course: Course::Ready(request) }
    }

    fn poll(&mut self, wish: Wish, cx: &mut Context<'_>) -> Poll<Result<(Granted, Option<Claimant>)>> {
        let (engine, picks) = (&self.engine, &self.picks);
        let list = || picks.iter().map(OwnedPick::want).collect::<Vec<OwnedWant>>();
        self.course.poll(cx, |r| engine.clone().start(wish, list(), r))
    }

    fn held(&self, i: usize, grant: &Grant, claimant: Option<Claimant>) -> OwnedHeld {
        match &self.picks[i] {
            OwnedPick::Exclusive(s) => OwnedHeld::Guard(OwnedGuard::new(s.clone(), grant.claim, Level::of(claimant))),
            OwnedPick::Counting(s, n) => OwnedHeld::Permit(OwnedPermit::of_task(s.clone(), grant.claim, *n, Level::of(claimant))),
            OwnedPick::Event(_) => OwnedHeld::Signal(grant.claim.token),
        }
    }
}

/// What [`Namespace::wait_any_async`](crate::Namespace::wait_any_async) gives: begins when it is polled first, and ends
/// without a trace when it is dropped.
#[must_use = "futures do nothing unless they are polled"]
pub struct WaitAny(Request);

impl WaitAny {
    pub(crate) fn new(engine: Arc<dyn Engine>, picks: Vec<OwnedPick>, request: OwnedRequest) -> WaitAny {
        WaitAny(Request::new(engine, picks, request))
    }

    /// For a claimant, whose claims nest and take part in the search for deadlocks. Before the first poll.
    pub fn on_behalf_of(mut self, claimant: &Claimant) -> WaitAny {
        self.0.course.claimant(claimant);
        self
    }
}

impl Future for WaitAny {
    type Output = std::result::Result<OwnedTaken, OwnedAnyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (granted, claimant) = match std::task::ready!(self.0.poll(Wish::Any, cx)) {
            Ok(done) => done,
            Err(e) => return Poll::Ready(Err(OwnedAnyError::Failed(e))),
        };
        let Granted::One(index, grant) = granted else {
            return Poll::Ready(Err(OwnedAnyError::Failed(Error::new(Code::FileCorrupt, "more than one of a list was granted"))));
        };
        Poll::Ready(match (self.0.held(index, &grant, claimant), grant.died) {
            (OwnedHeld::Guard(guard), Some(deaths)) => {
                Err(OwnedAnyError::OwnerDied { index, recovery: OwnedRecovery::new(guard, deaths) })
            }
            (held, _) => Ok(OwnedTaken { index, held }),
        })
    }
}

/// What [`Namespace::acquire_all_async`](crate::Namespace::acquire_all_async) gives: begins when it is polled first, and ends
/// without a trace when it is dropped.
#[must_use = "futures do nothing unless they are polled"]
pub struct AcquireAll(Request);

impl AcquireAll {
    pub(crate) fn new(engine: Arc<dyn Engine>, picks: Vec<OwnedPick>, request: OwnedRequest) -> AcquireAll {
        AcquireAll(Request::new(engine, picks, request))
    }

    /// For a claimant, whose claims nest and take part in the search for deadlocks. Before the first poll.
    pub fn on_behalf_of(mut self, claimant: &Claimant) -> AcquireAll {
        self.0.course.claimant(claimant);
        self
    }
}

impl Future for AcquireAll {
    type Output = std::result::Result<OwnedAll, OwnedAllError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (granted, claimant) = match std::task::ready!(self.0.poll(Wish::All, cx)) {
            Ok(done) => done,
            Err(e) => return Poll::Ready(Err(OwnedAllError::Failed(e))),
        };
        let grants = match granted {
            Granted::All(grants) => grants,
            Granted::One(_, grant) => vec![grant],
        };
        let (mut held, mut died) = (Vec::with_capacity(grants.len()), Vec::new());
        for (i, grant) in grants.into_iter().enumerate() {
            held.push(self.0.held(i, &grant, claimant.clone()));
            if let Some(deaths) = grant.died {
                died.push((i, deaths.map(Box::new)));
            }
        }
        let all = OwnedAll { held };
        Poll::Ready(match died.is_empty() {
            true => Ok(all),
            false => Err(OwnedAllError::OwnerDied(OwnedAllRecovery { all, died })),
        })
    }
}

impl OwnedAnyError {
    /// The code: 105, or that of the failure.
    pub fn code(&self) -> Code {
        match self {
            OwnedAnyError::OwnerDied { .. } => Code::SemOwnerDied,
            OwnedAnyError::Failed(e) => e.code(),
        }
    }
}

impl OwnedAllError {
    /// The code: 105, or that of the failure.
    pub fn code(&self) -> Code {
        match self {
            OwnedAllError::OwnerDied(_) => Code::SemOwnerDied,
            OwnedAllError::Failed(e) => e.code(),
        }
    }
}

impl fmt::Display for OwnedAnyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OwnedAnyError::Failed(e) => e.fmt(f),
            OwnedAnyError::OwnerDied { index, .. } => died(&[*index]).fmt(f),
        }
    }
}

impl fmt::Display for OwnedAllError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OwnedAllError::Failed(e) => e.fmt(f),
            OwnedAllError::OwnerDied(r) => died(&r.indices()).fmt(f),
        }
    }
}

impl std::error::Error for OwnedAnyError {}
impl std::error::Error for OwnedAllError {}

impl From<OwnedAnyError> for Error {
    /// For `?` where 105 is not handled: the semaphore is released, and the mark stays for the next owner.
    fn from(e: OwnedAnyError) -> Error {
        match e {
            OwnedAnyError::Failed(e) => e,
            OwnedAnyError::OwnerDied { index, .. } => died(&[index]),
        }
    }
}

impl From<OwnedAllError> for Error {
    /// For `?` where 105 is not handled: the semaphores are released, and the marks stay for the next owners.
    fn from(e: OwnedAllError) -> Error {
        match e {
            OwnedAllError::Failed(e) => e,
            OwnedAllError::OwnerDied(r) => died(&r.indices()),
        }
    }
}

impl fmt::Debug for WaitAny {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitAny").field("list", &self.0.picks).finish_non_exhaustive()
    }
}

impl fmt::Debug for AcquireAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireAll").field("list", &self.0.picks).finish_non_exhaustive()
    }
}
