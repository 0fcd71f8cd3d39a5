//! Asynchronous requests: futures for any runtime or none. What wakes them is in the engine (`shm/reactor.rs`).

mod claimant;
mod guard;
mod list;
mod pollfd;

pub use claimant::Claimant;
pub(crate) use claimant::{FIRST as FIRST_CLAIMANT, Level};
pub use guard::{OwnedAcquireError, OwnedGuard, OwnedRecovery};
pub use list::{AcquireAll, OwnedAll, OwnedAllError, OwnedAllRecovery, OwnedAnyError, OwnedHeld, OwnedTaken, WaitAny};
pub use pollfd::PollFd;

use crate::counting::Counting;
use crate::engine::{Grant, Granted, OwnedRequest, Pending};
use crate::error::{Code, Error, Result};
use crate::event::Event;
use crate::exclusive::Exclusive;
use crate::interrupt;
use crate::permit::OwnedPermit;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A request from its beginning to its end.
#[derive(Debug)]
enum Course {
    /// Not polled yet.
    Ready(OwnedRequest),
    Started(Option<Claimant>, Box<dyn Pending>),
    Over,
}

impl Course {
    fn claimant(&mut self, claimant: &Claimant) {
        if let Course::Ready(r) = self {
            r.claimant = Some(claimant.clone());
        }
    }

    /// The request, if it may be served the short way: it was not polled yet, and asks for nothing special.
    fn plain(&self) -> Option<&OwnedRequest> {
        match self {
            Course::Ready(r) if r.claimant.is_none() && r.label.is_none() => Some(r),
            _ => None,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        start: impl FnOnce(OwnedRequest) -> Result<Box<dyn Pending>>,
    ) -> Poll<Result<(Granted, Option<Claimant>)>> {
        // Before anything has changed, also where the request has not begun.
        interrupt::check()?;
        if let Course::Ready(_) = self
            && let Course::Ready(request) = std::mem::replace(self, Course::Over)
        {
            *self = Course::Started(request.claimant.clone(), start(request)?);
        }
        let Course::Started(_, pending) = self else { panic!("polled after it was over") };
        let done = std::task::ready!(pending.poll(cx));
        let Course::Started(claimant, _) = std::mem::replace(self, Course::Over) else { unreachable!("it was just polled") };
        Poll::Ready(done.map(|granted| (granted, claimant)))
    }
}

/// The one claim of a request for one semaphore.
fn one(granted: Granted) -> Result<Grant> {
    match granted {
        Granted::One(_, grant) => Ok(grant),
        Granted::All(mut all) => all.pop().ok_or_else(|| Error::new(Code::FileCorrupt, "an empty list of claims")),
    }
}

/// What [`Exclusive::acquire_async`] gives: begins when it is polled first, and ends without a trace when it is dropped.
#[must_use = "futures do nothing unless they are polled"]
pub struct AcquireExclusive {
    /// Moves into the guard.
    sem: Option<Exclusive>,
    course: Course,
}

impl AcquireExclusive {
    pub(crate) fn new(sem: Exclusive, request: OwnedRequest) -> AcquireExclusive {
        AcquireExclusive { sem: Some(sem), course: Course::Ready(request) }
    }

    /// For a claimant, whose claims nest and take part in the search for deadlocks. Before the first poll.
    pub fn on_behalf_of(mut self, claimant: &Claimant) -> AcquireExclusive {
        self.course.claimant(claimant);
        self
    }
}

impl Future for AcquireExclusive {
    type Output = std::result::Result<OwnedGuard, OwnedAcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let me = &mut *self;
        if me.course.plain().is_some()
            && interrupt::check().is_ok()
            && let Some(claim) = me.sem.as_ref().and_then(Exclusive::acquire_fast_for_nobody)
            && let Some(sem) = me.sem.take()
        {
            me.course = Course::Over;
            return Poll::Ready(Ok(OwnedGuard::new(sem, claim, Level::of(None))));
        }
        let sem = me.sem.as_ref();
        let done = std::task::ready!(me.course.poll(cx, |r| match sem {
            Some(sem) => sem.shared().start(r),
            None => Err(Error::new(Code::InvalidHandle, "polled after it was over")),
        }));
        let Some(sem) = me.sem.take() else { panic!("polled after it was over") };
        let got = done.and_then(|(granted, claimant)| Ok((one(granted)?, claimant)));
        Poll::Ready(match got {
            Err(e) => Err(OwnedAcquireError::Failed(e)),
            Ok((grant, claimant)) => {
                let guard = OwnedGuard::new(sem, grant.claim, Level::of(claimant));
                match grant.died {
                    None => Ok(guard),
                    Some(deaths) => Err(OwnedAcquireError::OwnerDied(OwnedRecovery::new(guard, deaths))),
                }
            }
        })
    }
}

/// What [`Counting::acquire_async`] gives: begins when it is polled first, and ends without a trace when it is dropped.
#[must_use = "futures do nothing unless they are polled"]
pub struct AcquirePermits {
    sem: Option<Counting>,
    permits: u32,
    course: Course,
}

impl AcquirePermits {
    pub(crate) fn new(sem: Counting, request: OwnedRequest) -> AcquirePermits {
        AcquirePermits { sem: Some(sem), permits: request.permits, course: Course::Ready(request) }
    }

    /// For a claimant, whose claims take part in the search for deadlocks. Before the first poll.
    pub fn on_behalf_of(mut self, claimant: &Claimant) -> AcquirePermits {
        self.course.claimant(claimant);
        self
    }
}

impl Future for AcquirePermits {
    type Output = Result<OwnedPermit>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let me = &mut *self;
        let permits = me.permits;
        if me.course.plain().is_some()
            && interrupt::check().is_ok()
            && let Some(claim) = me.sem.as_ref().and_then(|sem| sem.acquire_fast_for_nobody(permits))
            && let Some(sem) = me.sem.take()
        {
            me.course = Course::Over;
            return Poll::Ready(Ok(OwnedPermit::of_task(sem, claim, permits, Level::of(None))));
        }
        let sem = me.sem.as_ref();
        let done = std::task::ready!(me.course.poll(cx, |r| match sem {
            Some(sem) => sem.shared().start(r),
            None => Err(Error::new(Code::InvalidHandle, "polled after it was over")),
        }));
        let Some(sem) = me.sem.take() else { panic!("polled after it was over") };
        Poll::Ready(
            done.and_then(|(granted, claimant)| Ok(OwnedPermit::of_task(sem, one(granted)?.claim, permits, Level::of(claimant)))),
        )
    }
}

/// What [`Event::wait_async`] gives: begins when it is polled first, and ends without a trace when it is dropped.
#[must_use = "futures do nothing unless they are polled"]
pub struct WaitEvent {
    event: Event,
    course: Course,
}

impl WaitEvent {
    pub(crate) fn new(event: Event, request: OwnedRequest) -> WaitEvent {
        WaitEvent { event, course: Course::Ready(request) }
    }
}

impl Future for WaitEvent {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let me = &mut *self;
        let event = &me.event;
        me.course.poll(cx, |r| event.shared().start(r)).map_ok(drop)
    }
}

impl fmt::Debug for AcquireExclusive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireExclusive").field("sem", &self.sem).finish_non_exhaustive()
    }
}

impl fmt::Debug for AcquirePermits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquirePermits").field("sem", &self.sem).field("permits", &self.permits).finish_non_exhaustive()
    }
}

impl fmt::Debug for WaitEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitEvent").field("event", &self.event).finish_non_exhaustive()
    }
}
