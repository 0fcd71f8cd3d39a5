//! The asynchronous form of an acquire, as engines keep it: a request that is started, polled and dropped.
//!
//! 1. [`Pending::poll`] gives the claims once, or says why not; until then it wakes the latest waker when it wants to be
//!    polled again. It never blocks for longer than a look at the semaphore takes.
//! 2. Dropped before that, the request ends as a cancelled one does: nothing of it is left behind, and whoever is next is
//!    served, also if this one was about to be.
//! 3. One that is not polled any more, though it was woken, may keep others from what is free for a bounded time only.
//! 4. Deadlines and cancel tokens end it without the help of the caller's runtime.

use crate::cancel::CancelToken;
use crate::claim::{Kind, Reset};
use crate::engine::{Ending, Engine, Grant, Object, Request, Until, Want};
use crate::error::{Code, Error, Result};
use crate::future::Claimant;
use crate::shm::reactor::{Sleep, Ticket};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A request that was started.
pub trait Pending: Send + Debug {
    /// The claims, or why not; once. See the module's contract.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Granted>>;
}

/// What a request gives.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and it moves twice at most")]
pub enum Granted {
    /// One claim; of a list, the entry with this index.
    One(usize, Grant),
    /// One for each entry of the list, in its order.
    All(Vec<Grant>),
}

/// What is asked of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// One of them.
    Any,
    /// All at one instant.
    All,
}

/// A [`Request`] that owns what it needs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OwnedRequest {
    /// Permits wanted.
    pub permits: u32,
    /// For how long.
    pub until: Until,
    /// What ends it early.
    pub cancel: Option<CancelToken>,
    /// What the claim is called.
    pub label: Option<String>,
    /// On whose behalf; None: a claim of nobody in particular, which never nests and is in no cycle.
    pub claimant: Option<Claimant>,
}

impl OwnedRequest {
    /// A request of one permit.
    pub fn new(until: Until) -> OwnedRequest {
        OwnedRequest { permits: 1, until, cancel: None, label: None, claimant: None }
    }

    /// The same, borrowed.
    pub fn borrowed(&self) -> Request<'_> {
        let mut r = Request::new(self.claimant.as_ref().map_or(0, Claimant::number), self.until);
        r.permits = self.permits;
        r.cancel = self.cancel.as_ref();
        r.label = self.label.as_deref();
        r.account = match &self.claimant {
            Some(c) => Account::Claimant(c),
            None => Account::Nobody,
        };
        r
    }
}

/// Whose other claims count with a request, when it is to be known whether somebody may be waiting for them.
#[derive(Clone, Copy, Debug, Default)]
pub enum Account<'a> {
    /// The calling thread's.
    #[default]
    Thread,
    /// Nobody's: it has no others.
    Nobody,
    /// Those of this claimant.
    Claimant(&'a Claimant),
}

/// An entry in the list of an asynchronous `wait_any` or `acquire_all`.
#[derive(Clone, Debug)]
pub struct OwnedWant {
    /// The semaphore.
    pub object: Arc<dyn Object>,
    /// Permits wanted (1 for other kinds than counting).
    pub permits: u32,
}

/// For engines: wakes a waker when a cancel token is cancelled, by the library's own thread. Dropped, it does not any more.
#[derive(Debug, Default)]
pub struct Alarm(Ticket);

impl Alarm {
    /// One that is not set.
    pub fn new() -> Alarm {
        Alarm::default()
    }

    /// From here on. True: the token is cancelled already, and nobody is woken.
    ///
    /// # Errors
    /// 8 no thread can be had.
    pub fn set(&mut self, waker: &Waker, cancel: &CancelToken) -> Result<bool> {
        Ok(self.0.sleep(waker, Sleep { cancel: Some(cancel.clone()), ..Sleep::default() })? || cancel.is_cancelled())
    }
}

/// For engines that have nothing better: the blocking form on a thread of its own, which a cancel token ends.
pub struct OnThread {
    shared: Arc<Mutex<State>>,
    /// Ends the blocking wait.
    end: CancelToken,
    /// The caller's own token, and what looks at it.
    cancel: Option<(CancelToken, Ticket)>,
}

#[derive(Default)]
struct State {
    done: Option<Result<Granted>>,
    give_back: Option<Box<dyn FnOnce(Granted) + Send>>,
    waker: Option<Waker>,
    /// Nobody wants it any more.
    dropped: bool,
}

fn lock(m: &Mutex<State>) -> MutexGuard<'_, State> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl OnThread {
    /// Starts a request for one semaphore.
    ///
    /// # Errors
    /// 8 no thread can be had.
    pub fn one<O: Object + ?Sized>(object: Arc<O>, request: OwnedRequest) -> Result<Box<dyn Pending>> {
        let again = object.clone();
        let give_back = move |granted| {
            if let Granted::One(_, g) = granted {
                pass_on(&*again, &g);
            }
        };
        OnThread::start(request, move |r| object.acquire(r).map(|g| Granted::One(0, g)), give_back)
    }

    /// Starts a request for a list.
    ///
    /// # Errors
    /// As [`one`](OnThread::one).
    pub fn list<E: Engine + ?Sized>(
        engine: Arc<E>,
        wish: Wish,
        list: Vec<OwnedWant>,
        request: OwnedRequest,
    ) -> Result<Box<dyn Pending>> {
        let objects: Vec<_> = list.iter().map(|w| w.object.clone()).collect();
        let work = move |r: &Request<'_>| {
            let wants: Vec<Want<'_>> = list.iter().map(|w| Want { object: &*w.object, permits: w.permits }).collect();
            match wish {
                Wish::Any => engine.wait_any(&wants, r).map(|(i, g)| Granted::One(i, g)),
                Wish::All => engine.acquire_all(&wants, r).map(Granted::All),
            }
        };
        let give_back = move |granted| {
            let back = |i: usize, g: &Grant| pass_on(&*objects[i], g);
            match granted {
                Granted::One(i, g) => back(i, &g),
                Granted::All(all) => all.iter().enumerate().for_each(|(i, g)| back(i, g)),
            }
        };
        OnThread::start(request, work, give_back)
    }

    fn start(
        mut request: OwnedRequest,
        work: impl FnOnce(&Request<'_>) -> Result<Granted> + Send + 'static,
        give_back: impl FnOnce(Granted) + Send + 'static,
    ) -> Result<Box<dyn Pending>> {
        let end = CancelToken::new();
        // A wait has one token. The caller's own is looked at here, and cancels that one.
        let cancel = request.cancel.replace(end.clone()).map(|theirs| (theirs, Ticket::new()));
        let shared = Arc::new(Mutex::new(State { give_back: Some(Box::new(give_back)), ..State::default() }));
        let theirs = shared.clone();
        let thread = move || {
            let done = work(&request.borrowed());
            let mut state = lock(&theirs);
            state.done = Some(done);
            let (waker, dropped) = (state.waker.take(), state.dropped);
            drop(state);
            if dropped {
                undo(&theirs);
            }
            waker.into_iter().for_each(Waker::wake);
        };
        std::thread::Builder::new().name("xsem-wait".into()).spawn(thread).map_err(|e| {
            Error::new(Code::NotEnoughMemory, "no thread to wait on")
                .because(e)
                .advice("raise the limit on processes (`ulimit -u`), or wait for fewer at once")
        })?;
        Ok(Box::new(OnThread { shared, end, cancel }))
    }
}

/// A claim that nobody wants goes to whoever is next; so does the signal of an auto-reset event.
fn pass_on<O: Object + ?Sized>(object: &O, granted: &Grant) {
    // What is not held any more, or was removed, has nothing left to pass on.
    let _ = match object.kind() {
        Kind::Event => match object.signalled() {
            Ok(s) if s.reset == Reset::Auto => object.signal().map(drop),
            _ => Ok(()),
        },
        _ => object.release(&granted.claim, Ending::Release),
    };
}

/// Gives back what nobody wants.
fn undo(shared: &Mutex<State>) {
    let mut state = lock(shared);
    let Some(done) = state.done.take() else { return };
    let give_back = state.give_back.take();
    drop(state);
    if let (Ok(granted), Some(give_back)) = (done, give_back) {
        give_back(granted);
    }
}

impl Pending for OnThread {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Granted>> {
        let mut state = lock(&self.shared);
        if let Some(done) = state.done.take() {
            return Poll::Ready(done);
        }
        state.waker = Some(cx.waker().clone());
        drop(state);
        if let Some((theirs, ticket)) = &mut self.cancel {
            if !self.end.is_cancelled() {
                ticket.sleep(cx.waker(), Sleep { cancel: Some(theirs.clone()), ..Sleep::default() })?;
            }
            if theirs.is_cancelled() {
                self.end.cancel();
            }
        }
        Poll::Pending
    }
}

impl Drop for OnThread {
    fn drop(&mut self) {
        lock(&self.shared).dropped = true;
        self.end.cancel();
        // Where it was done already; else the thread does it.
        undo(&self.shared);
    }
}

impl Debug for OnThread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnThread").finish_non_exhaustive()
    }
}
