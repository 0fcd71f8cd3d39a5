//! Requests as futures: a thread of an actor starts, polls and drops them, without a runtime.

use super::crew::Lent;
use super::player::{Act, Own, Player, told, wait};
use crate::protocol::{Answer, Verb};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use xsem::{
    Claimant, Namespace, OwnedAcquireError, OwnedAll, OwnedAllError, OwnedAnyError, OwnedGuard, OwnedHeld, OwnedPermit,
    OwnedTaken, Result,
};

/// What the futures of the thread come to.
enum Made {
    One(std::result::Result<OwnedGuard, OwnedAcquireError>),
    Permits(Result<OwnedPermit>),
    Seen(Result<()>),
    Any(std::result::Result<OwnedTaken, OwnedAnyError>),
    All(std::result::Result<OwnedAll, OwnedAllError>),
}

/// The futures of a thread, and the claimant that some of them are for.
#[derive(Default)]
pub(super) struct Futures {
    all: Vec<Option<Pin<Box<dyn Future<Output = Made> + Send>>>>,
    claimant: Option<Claimant>,
}

/// Wakes the thread.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Player {
    /// Starts a request for the thread's own claimant, or for nobody in particular.
    pub(super) fn start(&mut self, ns: &Namespace, own: bool, request: &Verb) -> Act<Answer> {
        let claimant = own.then(|| self.futures.claimant.get_or_insert_with(Claimant::new).clone());
        let cancel = self.shared.cancel_of(self.number());
        // The borrowed request, as the future that owns what it needs.
        macro_rules! future {
            ($make:expr, $made:path) => {{
                let mut f = $make;
                if let Some(c) = &claimant {
                    f = f.on_behalf_of(c);
                }
                Box::pin(async move { $made(f.await) }) as Pin<Box<dyn Future<Output = Made> + Send>>
            }};
        }
        let f = match request {
            Verb::Ask(h, n, till, _) => {
                let wait = wait(*till).cancel(&cancel);
                match self.lent(*h)? {
                    Lent::Exclusive(s) => future!(s.acquire_async_with(wait), Made::One),
                    Lent::Counting(s) => future!(s.acquire_async_with(*n, wait), Made::Permits),
                    Lent::Event(s) => {
                        let f = s.wait_async_with(wait);
                        Box::pin(async move { Made::Seen(f.await) })
                    }
                }
            }
            Verb::Any(list, till) => {
                let picks = self.picks(list)?;
                future!(ns.wait_any_async(&picks, wait(*till).cancel(&cancel)), Made::Any)
            }
            Verb::All(list, till) => {
                let picks = self.picks(list)?;
                future!(ns.acquire_all_async(&picks, wait(*till).cancel(&cancel)), Made::All)
            }
            other => return Ok(Answer::Broken(format!("`{other}` has no form as a future"))),
        };
        self.futures.all.push(Some(f));
        Ok(Answer::Handle(self.futures.all.len() - 1))
    }

    /// One poll, by which the thread is woken.
    pub(super) fn poll(&mut self, n: usize) -> Act<Answer> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let slot = self.futures.all.get_mut(n).ok_or_else(|| no_future(n))?;
        let f = slot.as_mut().ok_or_else(|| no_future(n))?;
        match f.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => Ok(Answer::Pending),
            Poll::Ready(made) => {
                *slot = None;
                self.made(made)
            }
        }
    }

    /// Polls until it is over.
    pub(super) fn wait_for(&mut self, n: usize) -> Act<Answer> {
        loop {
            match self.poll(n)? {
                Answer::Pending => std::thread::park(),
                answer => return Ok(answer),
            }
        }
    }

    pub(super) fn forsake(&mut self, n: usize) -> Act<Answer> {
        let slot = self.futures.all.get_mut(n).ok_or_else(|| no_future(n))?;
        drop(slot.take().ok_or_else(|| no_future(n))?);
        Ok(Answer::Done)
    }

    fn made(&mut self, made: Made) -> Act<Answer> {
        match made {
            Made::One(Ok(guard)) => Ok(self.granted(Own::Task(guard), None)),
            Made::One(Err(OwnedAcquireError::OwnerDied(r))) => {
                let deaths = r.deaths().map(told);
                Ok(self.granted(Own::Task(r.into_guard()), Some(deaths)))
            }
            Made::One(Err(OwnedAcquireError::Failed(e))) => Err(self.refuse(&e)),
            Made::Permits(p) => {
                let p = p.map_err(|e| self.refuse(&e))?;
                Ok(self.granted(Own::Owned(p), None))
            }
            Made::Seen(seen) => self.done(seen),
            Made::Any(Ok(taken)) => {
                let held = own(taken.held);
                let token = held.token();
                Ok(Answer::Taken { index: taken.index, guard: self.keep(held), token, died: false })
            }
            Made::Any(Err(OwnedAnyError::OwnerDied { index, recovery })) => {
                let guard = recovery.into_guard();
                let token = guard.token();
                Ok(Answer::Taken { index, guard: self.keep(Own::Task(guard)), token, died: true })
            }
            Made::Any(Err(OwnedAnyError::Failed(e))) => Err(self.refuse(&e)),
            Made::All(Ok(all)) => Ok(self.all_of(all, Vec::new())),
            Made::All(Err(OwnedAllError::OwnerDied(r))) => {
                let died = r.indices();
                Ok(self.all_of(r.into_all(), died))
            }
            Made::All(Err(OwnedAllError::Failed(e))) => Err(self.refuse(&e)),
        }
    }

    fn granted(&mut self, own: Own, died: Option<Option<(crate::protocol::Dead, crate::protocol::Dead, u64)>>) -> Answer {
        let token = own.token();
        Answer::Granted { guard: self.keep(own), token, died }
    }

    fn all_of(&mut self, all: OwnedAll, died: Vec<usize>) -> Answer {
        let (tokens, guards) = all.into_vec().into_iter().map(own).map(|h| (h.token(), self.keep(h))).unzip();
        Answer::All { guards, tokens, died }
    }
}

fn own(held: OwnedHeld) -> Own {
    match held {
        OwnedHeld::Guard(g) => Own::Task(g),
        OwnedHeld::Permit(p) => Own::Owned(p),
        OwnedHeld::Signal(signals) => Own::Seen(signals),
        other => unreachable!("a kind that actors cannot make: {other:?}"),
    }
}

fn no_future(n: usize) -> Answer {
    Answer::Broken(format!("no future {n}"))
}
