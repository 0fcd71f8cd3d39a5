//! The state machine under one lock, and threads that sleep for it.
//!
//! Every operation takes the lock, lets the state machine run to its end, and wakes whose wait has come to an end. A
//! sleeper has a word of its own, so nobody wakes for nothing; it sleeps on that and on its cancel token at once. An
//! asynchronous wait has a waker instead of the word (`pending`).

use super::process::{self, MAX_LABEL, shorten};
use super::refusals;
use super::request::{Answer, Ask, GiveUp, Patience};
use super::state::{Now, State, Who};
use super::threads;
use crate::claim::{Cause, Wants};
use crate::deadline::{now, realtime};
use crate::engine::{Grant, Request, Until};
use crate::error::Result;
use crate::forklock::{self, ForkLock};
use crate::shm::futex::{self, Watch, Woke};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Waker;

/// The first session of a state.
const SESSION: u64 = 1;

/// A namespace.
#[derive(Debug)]
pub(super) struct Shared {
    pub url: String,
    /// The one session: this process.
    pub session: u64,
    max_semaphores: usize,
    /// A forked child begins with an empty one.
    inner: ForkLock<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub state: State,
    /// Those who sleep, by their waits.
    pub sleepers: HashMap<u64, Sleeper>,
}

/// Who is told that a wait has come to an end.
#[derive(Debug)]
pub(super) enum Sleeper {
    /// A thread, whose word is not 0 any more then.
    Thread(Arc<AtomicU32>),
    /// A task.
    Task(Waker),
}

impl Sleeper {
    fn wake(self) {
        match self {
            Sleeper::Thread(word) => {
                word.store(1, Ordering::Release);
                futex::wake_private_all(&word);
            }
            Sleeper::Task(waker) => waker.wake(),
        }
    }
}

impl Shared {
    pub fn new(url: String, max_semaphores: u32) -> Arc<Shared> {
        Arc::new(Shared { url, session: SESSION, max_semaphores: max_semaphores as usize, inner: ForkLock::new() })
    }

    /// The state of a process that has just begun.
    fn fresh(&self) -> Inner {
        let _whole = crate::shm::whole();
        let mut state = State::new(&self.url, self.max_semaphores);
        let session = state.begin_session(process::this());
        debug_assert_eq!(session, self.session);
        // So that a handle, a claim or a wait from before a fork is never taken for one of now.
        state.number_from((forklock::epoch() as u64) << 34);
        Inner { state, sleepers: HashMap::new() }
    }

    /// Runs an operation, and wakes whose wait it has ended.
    pub fn with<T>(&self, f: impl FnOnce(&mut Inner, Now) -> T) -> T {
        let mut inner = self.inner.lock_or(|| self.fresh());
        let result = f(&mut inner, Now { mono: now(), wall: realtime() });
        let ended = inner.state.ended();
        let sleepers: Vec<_> = ended.iter().filter_map(|id| inner.sleepers.remove(id)).collect();
        drop(inner);
        // Without the lock: a waker is a program's own.
        sleepers.into_iter().for_each(Sleeper::wake);
        result
    }

    pub fn state<T>(&self, f: impl FnOnce(&mut State, Now) -> T) -> T {
        self.with(|inner, now| f(&mut inner.state, now))
    }

    /// A thread of this process has ended.
    pub fn thread_ended(&self, claimant: u32) {
        let who = Who { session: self.session, claimant };
        self.state(|s, now| s.claimant_ended(who, Cause::ThreadEnded, now));
    }

    pub fn who(self: &Arc<Self>, request: &Request<'_>) -> Who {
        if request.claimant != 0 && request.claimant == crate::shm::claimant() {
            threads::uses(self);
        }
        Who { session: self.session, claimant: request.claimant }
    }

    /// Starts something that may have to wait, and waits for it.
    pub fn wait(
        &self,
        request: &Request<'_>,
        start: impl FnOnce(&mut State, Now) -> Result<Answer>,
    ) -> Result<Vec<(usize, Grant)>> {
        let word = Arc::new(AtomicU32::new(0));
        let answer: Result<Answer> = self.with(|inner, now| {
            let answer = start(&mut inner.state, now)?;
            if let Answer::Waits(id) = answer {
                inner.sleepers.insert(id, Sleeper::Thread(Arc::clone(&word)));
            }
            Ok(answer)
        });
        let id = match answer? {
            Answer::Granted(grants) => return Ok(grants),
            Answer::Waits(id) => id,
        };
        let until = if let Until::Deadline(d) = request.until { Some(d) } else { None };
        let mut gave_up = false;
        let epoch = forklock::epoch();
        loop {
            if forklock::epoch() != epoch {
                // A signal handler has forked, and the child has returned from it: its parent waits, not it.
                return Err(refusals::no_handle());
            }
            let cancelled = gave_up || request.cancel.is_some_and(|c| c.is_cancelled());
            let passed = until.is_some_and(|d| d.has_passed());
            let over = self.with(|inner, now| {
                // A grant that came first stands.
                if let Some(outcome) = inner.state.outcome(id) {
                    return Some(outcome);
                }
                let why = match (cancelled, passed) {
                    (true, _) => GiveUp::Cancelled,
                    (false, true) => GiveUp::TimedOut,
                    (false, false) => return None,
                };
                inner.sleepers.remove(&id);
                inner.state.give_up(id, why, now).map(Err)
            });
            if let Some(outcome) = over {
                return outcome;
            }
            let own = Watch::private(&*word, 0);
            let watches = [own, request.cancel.map_or(own, |c| Watch::private(&*c.0, 0))];
            let n = if request.cancel.is_some() { 2 } else { 1 };
            if futex::sleep(&watches[..n], until.map(|d| d.0)) == Woke::Signal
                && let Some(f) = request.interrupted
            {
                gave_up = f.give_up();
            }
        }
    }

    /// Asks for claims, and waits for them.
    pub fn ask(self: &Arc<Self>, wants: Wants, list: &[(u64, u32)], request: &Request<'_>) -> Result<Vec<(usize, Grant)>> {
        let label = request.label.map(|l| shorten(l, MAX_LABEL));
        let (who, patience) = (self.who(request), patience(request.until));
        let ask = Ask { who, wants, list, patience, label: label.as_deref() };
        let grants = self.wait(request, |s, now| s.ask(&ask, now))?;
        self.tell_of_deaths(&grants);
        Ok(grants)
    }

    pub fn tell_of_deaths(&self, grants: &[(usize, Grant)]) {
        if grants.iter().any(|(_, g)| g.died.is_some()) {
            tracing::warn!(url = %self.url, "acquired; the previous owner died");
        }
    }
}

pub(super) fn patience(until: Until) -> Patience {
    match until {
        Until::Now => Patience::Now,
        Until::Deadline(_) => Patience::Limited,
        Until::Forever => Patience::Unlimited,
    }
}
