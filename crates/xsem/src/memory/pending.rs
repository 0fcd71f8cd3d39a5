//! Asynchronous requests: a wait of the state machine, whose end wakes a waker. Nobody sleeps for one, so there may be as many
//! as there is memory for; deadlines and cancel tokens are the reactor's.

use super::process::{MAX_LABEL, shorten};
use super::refusals;
use super::request::{Answer, Ask, GiveUp};
use super::shared::{Shared, Sleeper, patience};
use crate::claim::Wants;
use crate::engine::{Grant, Granted, OwnedRequest, OwnedWant, Pending, Until};
use crate::error::Result;
use crate::forklock;
use crate::interrupt;
use crate::shm::reactor::{Sleep, Ticket};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A request that is polled. It begins with the first poll.
pub(super) struct MemoryPending {
    shared: Arc<Shared>,
    wants: Wants,
    handles: Vec<(u64, u32)>,
    /// So that the handles stay open.
    _list: Vec<OwnedWant>,
    request: OwnedRequest,
    stage: Stage,
    ticket: Ticket,
}

#[derive(Clone, Copy)]
enum Stage {
    New,
    /// Under this number, in this process.
    Waits(u64, u32),
    Over,
}

impl MemoryPending {
    pub fn new(
        shared: Arc<Shared>,
        wants: Wants,
        handles: Vec<(u64, u32)>,
        list: Vec<OwnedWant>,
        request: OwnedRequest,
    ) -> MemoryPending {
        MemoryPending { shared, wants, handles, _list: list, request, stage: Stage::New, ticket: Ticket::new() }
    }

    /// One look: what has become of it by now; None: the waker will be woken.
    fn look(&mut self, waker: &Waker) -> Result<Option<Vec<(usize, Grant)>>> {
        match self.stage {
            Stage::Over => Err(refusals::polled_again()),
            Stage::Waits(id, epoch) if epoch == forklock::epoch() => self.go_on(id, waker),
            // In a forked child the wait is its parent's.
            Stage::New | Stage::Waits(..) => self.begin(waker),
        }
    }

    fn begin(&mut self, waker: &Waker) -> Result<Option<Vec<(usize, Grant)>>> {
        let request = self.request.borrowed();
        let label = request.label.map(|l| shorten(l, MAX_LABEL));
        let (who, patience) = (self.shared.who(&request), patience(request.until));
        let ask = Ask { who, wants: self.wants, list: &self.handles, patience, label: label.as_deref() };
        // Wakers are a program's own code: it is not run under the lock.
        let mut sleeper = Some(Sleeper::Task(waker.clone()));
        let answer: Result<Answer> = self.shared.with(|inner, now| {
            let answer = inner.state.ask(&ask, now)?;
            if let Answer::Waits(id) = answer {
                inner.sleepers.extend(sleeper.take().map(|s| (id, s)));
            }
            Ok(answer)
        });
        match answer? {
            Answer::Granted(grants) => Ok(Some(grants)),
            Answer::Waits(id) => {
                self.stage = Stage::Waits(id, forklock::epoch());
                Ok(None)
            }
        }
    }

    fn go_on(&self, id: u64, waker: &Waker) -> Result<Option<Vec<(usize, Grant)>>> {
        let cancelled = self.request.cancel.as_ref().is_some_and(|c| c.is_cancelled());
        let passed = matches!(self.request.until, Until::Deadline(d) if d.has_passed());
        // Dropped without the lock, whatever it was.
        let (mut sleeper, mut old) = (Some(Sleeper::Task(waker.clone())), None);
        self.shared.with(|inner, now| {
            // A grant that came first stands.
            if let Some(outcome) = inner.state.outcome(id) {
                return outcome.map(Some);
            }
            let why = match (cancelled, passed) {
                (true, _) => GiveUp::Cancelled,
                (false, true) => GiveUp::TimedOut,
                (false, false) => {
                    old = sleeper.take().and_then(|s| inner.sleepers.insert(id, s));
                    return Ok(None);
                }
            };
            old = inner.sleepers.remove(&id);
            inner.state.give_up(id, why, now).map_or(Ok(None), Err)
        })
    }

    /// Has itself woken for its deadline and its cancel token. True: for one of them it is time already.
    fn arm(&mut self, waker: &Waker) -> Result<bool> {
        let deadline = if let Until::Deadline(d) = self.request.until { Some(d.0) } else { None };
        if deadline.is_none() && self.request.cancel.is_none() {
            return Ok(false);
        }
        self.ticket.sleep(waker, Sleep { deadline, cancel: self.request.cancel.clone(), ..Sleep::default() })
    }

    /// Ends what waits, and passes on what it was granted.
    fn leave(&mut self) {
        if let Stage::Waits(id, epoch) = std::mem::replace(&mut self.stage, Stage::Over)
            && epoch == forklock::epoch()
        {
            let old = self.shared.with(|inner, now| {
                inner.state.unwanted(id, &self.handles, now);
                inner.sleepers.remove(&id)
            });
            drop(old);
        }
    }
}

impl Pending for MemoryPending {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Granted>> {
        interrupt::check()?;
        let over = loop {
            match self.look(cx.waker()) {
                Ok(None) => match self.arm(cx.waker()) {
                    Ok(true) => {}
                    Ok(false) => return Poll::Pending,
                    Err(e) => {
                        self.leave();
                        break Err(e);
                    }
                },
                Ok(Some(grants)) => break Ok(grants),
                Err(e) => break Err(e),
            }
        };
        self.stage = Stage::Over;
        self.ticket = Ticket::new();
        let grants = over?;
        self.shared.tell_of_deaths(&grants);
        let mut grants = grants.into_iter();
        Poll::Ready(match (self.wants, grants.next()) {
            (Wants::All, first) => Ok(Granted::All(first.into_iter().chain(grants).map(|(_, g)| g).collect())),
            (_, Some((i, grant))) => Ok(Granted::One(i, grant)),
            (_, None) => Err(refusals::no_handle()),
        })
    }
}

impl Drop for MemoryPending {
    fn drop(&mut self) {
        self.leave();
    }
}

impl std::fmt::Debug for MemoryPending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryPending").field("wants", &self.wants).finish_non_exhaustive()
    }
}
