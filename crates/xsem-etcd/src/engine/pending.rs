//! Asynchronous requests: the same turns as those of a thread that waits, taken by one of a few threads whenever there is something to
//! look at. Nobody waits for one, so there may be as many as there is memory for.

use super::client::{Inner, lock};
use super::record::Wish;
use super::refusal::cancelled;
use super::request::{Begun, Turn, Waiting, Wanted, alarm, ended};
use super::steps::Slot;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use xsem::engine::{Alarm, Ending, Grant, Granted, Object, OwnedRequest, OwnedWant, Pending, Request, Want};
use xsem::{Code, Error, Kind, Reset, Result};

/// Until the next attempt, where the store does not answer.
const PAUSE: Duration = Duration::from_millis(20);

/// A request that is polled. Dropped, it ends, and what it may have been granted goes on.
pub struct EtcdPending(Arc<Task>);

/// The request, shared with the threads that take its steps.
pub struct Task {
    client: Arc<Inner>,
    wish: Wish,
    list: Vec<OwnedWant>,
    request: OwnedRequest,
    /// When it was started.
    begun: u64,
    state: Mutex<State>,
}

struct State {
    stage: Stage,
    waker: Option<Waker>,
    /// Nobody wants it any more.
    dropped: bool,
    /// There was something to do while a thread was at it.
    again: bool,
    timer: Option<Slot>,
}

enum Stage {
    New,
    Waits(Box<Waiting>, Option<Alarm>, Duration),
    /// A thread is at it.
    Busy,
    Done(Box<Result<Granted>>),
    Over,
}

/// Wakes a task as long as that is there.
struct Nudge(Weak<Task>);

impl Wake for Nudge {
    fn wake(self: Arc<Nudge>) {
        if let Some(task) = self.0.upgrade() {
            task.hurry();
        }
    }
}

impl EtcdPending {
    /// Begins at once.
    pub fn start(client: Arc<Inner>, wish: Wish, list: Vec<OwnedWant>, request: OwnedRequest) -> Result<Box<dyn Pending>> {
        let state = State { stage: Stage::New, waker: None, dropped: false, again: false, timer: None };
        let begun = client.store.now();
        let task = Arc::new(Task { client, wish, list, request, begun, state: Mutex::new(state) });
        task.client.steps.push(task.clone())?;
        Ok(Box::new(EtcdPending(task)))
    }
}

impl Task {
    /// There is something to do. Without a thread for it, its timer comes to it.
    fn hurry(self: &Arc<Task>) {
        if let Err(e) = self.client.steps.push(self.clone()) {
            tracing::debug!(%e, "a step is late");
        }
    }

    /// A step: until there is nothing to do but wait.
    pub fn step(self: &Arc<Task>) {
        let mut state = lock(&self.state);
        let stage = match &state.stage {
            Stage::New | Stage::Waits(..) => std::mem::replace(&mut state.stage, Stage::Busy),
            Stage::Done(_) if state.dropped => std::mem::replace(&mut state.stage, Stage::Over),
            Stage::Busy => {
                state.again = true;
                return;
            }
            Stage::Done(_) | Stage::Over => return,
        };
        state.again = false;
        let dropped = state.dropped;
        drop(state);
        let (stage, until) = if dropped { (self.end(stage), None) } else { self.go_on(stage) };
        self.rest(stage, until);
    }

    /// Puts it back after a step.
    fn rest(self: &Arc<Task>, stage: Stage, until: Option<Instant>) {
        let mut state = lock(&self.state);
        let done = matches!(stage, Stage::Done(_) | Stage::Over);
        let old = std::mem::replace(&mut state.stage, stage);
        let before = state.timer.take();
        match until.filter(|_| !done) {
            Some(at) => state.timer = Some(self.client.steps.at(self, at, before)),
            None => self.client.steps.forget(before),
        }
        let again = state.dropped && !matches!(state.stage, Stage::Over) || state.again && !done;
        let waker = if done { state.waker.take() } else { None };
        drop(state);
        drop(old);
        if again {
            self.hurry();
        }
        waker.into_iter().for_each(Waker::wake);
    }

    fn go_on(self: &Arc<Task>, stage: Stage) -> (Stage, Option<Instant>) {
        let request = self.request.borrowed();
        let wants: Vec<Want<'_>> = self.list.iter().map(|w| Want { object: &*w.object, permits: w.permits }).collect();
        // They were looked at when it began.
        let list = match self.client.list_of(&wants, false) {
            Ok(list) => list,
            Err(e) => return (Stage::Done(Box::new(Err(e))), None),
        };
        match stage {
            Stage::New => self.begin(&list, &request),
            Stage::Waits(waiting, alarm, slice) => self.turn(waiting, alarm, slice, &list, &request),
            other => (other, None),
        }
    }

    fn begin(self: &Arc<Task>, list: &[Wanted<'_>], request: &Request<'_>) -> (Stage, Option<Instant>) {
        if ended(request) {
            return (Stage::Done(Box::new(Err(cancelled(list)))), None);
        }
        // One attempt: a thread that goes on asking a silent store is one that others wait for.
        match self.client.begin(list, self.wish, request, &|| true) {
            Err(e) => (Stage::Done(Box::new(Err(e))), None),
            Ok(Begun::Over(session, waited)) => self.over(self.client.outcome(waited, &session, list, request)),
            Ok(Begun::Waits(waiting)) => {
                let waker = Waker::from(Arc::new(Nudge(Arc::downgrade(self))));
                waiting.entered.wait.wakes(waker.clone());
                let (alarm, slice) = alarm(&waker, request);
                self.turn(waiting, alarm, slice, list, request)
            }
            Ok(Begun::NotYet | Begun::Silent) if self.client.is_late(request, self.begun) || ended(request) => {
                (Stage::Done(Box::new(Err(self.client.unanswered(list, request)))), None)
            }
            Ok(Begun::NotYet | Begun::Silent) => (Stage::New, Some(Instant::now() + PAUSE)),
        }
    }

    fn turn(
        self: &Arc<Task>,
        mut waiting: Box<Waiting>,
        alarm: Option<Alarm>,
        slice: Duration,
        list: &[Wanted<'_>],
        request: &Request<'_>,
    ) -> (Stage, Option<Instant>) {
        match self.client.turn(&mut waiting, list, request) {
            Turn::Sleeps(until) => (Stage::Waits(waiting, alarm, slice), Some(until.min(Instant::now() + slice))),
            Turn::Over(waited) => self.over(self.client.outcome(waited, &waiting.session, list, request)),
        }
    }

    /// `None`: it begins again.
    fn over(&self, outcome: Option<Result<Vec<(usize, Grant)>>>) -> (Stage, Option<Instant>) {
        let granted = match outcome {
            None => return (Stage::New, Some(Instant::now())),
            Some(Err(e)) => return (Stage::Done(Box::new(Err(e))), None),
            Some(Ok(granted)) => granted,
        };
        let done = match self.wish {
            Wish::All => Ok(Granted::All(granted.into_iter().map(|(_, g)| g).collect())),
            _ => granted.into_iter().next().map(|(i, g)| Granted::One(i, g)).ok_or_else(nothing_there),
        };
        (Stage::Done(Box::new(done)), None)
    }

    /// Nobody wants it any more.
    fn end(&self, stage: Stage) -> Stage {
        match stage {
            Stage::Waits(waiting, ..) => self.client.leave_later(&waiting.session, &waiting.ticket),
            Stage::Done(done) => match *done {
                Ok(Granted::One(i, grant)) => pass_on(&*self.list[i].object, &grant),
                Ok(Granted::All(all)) => {
                    self.list.iter().zip(&all).for_each(|(want, grant)| pass_on(&*want.object, grant));
                }
                Err(_) => {}
            },
            _ => {}
        }
        Stage::Over
    }
}

/// A claim that nobody wants goes to whoever is next; so does the signal of an auto-reset event.
fn pass_on(object: &dyn Object, granted: &Grant) {
    // What is not held any more, or was removed, has nothing left to pass on.
    let _ = match object.kind() {
        Kind::Event => match object.signalled() {
            Ok(s) if s.reset == Reset::Auto => object.signal().map(drop),
            _ => Ok(()),
        },
        _ => object.release(&granted.claim, Ending::Release),
    };
}

fn nothing_there() -> Error {
    Error::new(Code::InvalidHandle, "nothing of the list is there any more").advice("open it again")
}

impl Pending for EtcdPending {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Granted>> {
        // In a forked child the request is its parent's.
        self.0.client.usable()?;
        let mut state = lock(&self.0.state);
        if let Stage::Done(_) = state.stage
            && let Stage::Done(done) = std::mem::replace(&mut state.stage, Stage::Over)
        {
            return Poll::Ready(*done);
        }
        // Dropped without the lock: it is a program's own code.
        let old = state.waker.replace(cx.waker().clone());
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl Drop for EtcdPending {
    fn drop(&mut self) {
        if self.0.client.usable().is_err() {
            return;
        }
        let mut state = lock(&self.0.state);
        state.dropped = true;
        let (over, waker) = (matches!(state.stage, Stage::Over), state.waker.take());
        drop(state);
        drop(waker);
        if !over {
            self.0.hurry();
        }
    }
}

impl fmt::Debug for EtcdPending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("wish", &self.wish).field("list", &self.list).finish_non_exhaustive()
    }
}
