//! What a process of the torture run does until it is killed.

mod admin;
pub(super) mod handlers;
mod lists;
mod permits;
pub(super) mod signals;

use super::account::{Death, Entry, NAMES, POOLS, STEADY};
use super::ledger::{Ledger, State, exclusive, identity};
use super::signals::EVENTS;
use crate::random::Random;
use crate::sys;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use xsem::{AcquireError, Code, Counting, Deaths, Error, Event, Exclusive, Guard, Namespace, Wait};

/// The name of a semaphore.
pub(super) fn name(i: usize) -> String {
    format!("torture/{i}")
}

/// The name of a pool.
pub(super) fn pool_name(k: usize) -> String {
    format!("torture/pool/{k}")
}

/// The most permits that a pool ever has. The middle one is resized, between `LEAST` and this.
pub(super) const LIMITS: [u32; POOLS] = [5, 6, 4];

/// Which pool is resized.
pub(super) const RESIZED: usize = 1;

/// The least permits that the resized pool ever has: so many can be asked for without an end.
pub(super) const LEAST: u32 = 3;

/// What the threads of a round do, in this order; `Mix::ALL[n]` is told through the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mix {
    /// Exclusive semaphores only.
    Exclusive,
    /// Pools only.
    Permits,
    /// Lists of several only.
    Lists,
    /// Events and a credit, alone and in lists.
    Events,
    /// Everything.
    Everything,
    /// Everything, and semaphores are drained and owners evicted.
    Drains,
}

impl Mix {
    pub(super) const ALL: [Mix; 6] = [Mix::Exclusive, Mix::Permits, Mix::Lists, Mix::Events, Mix::Everything, Mix::Drains];

    /// Whether it is about events, too.
    pub(super) fn has_events(self) -> bool {
        matches!(self, Mix::Events | Mix::Everything | Mix::Drains)
    }
}

/// The facts of a 105, for the log.
pub(super) fn entry(name: usize, deaths: Option<&Deaths>) -> Entry {
    let (first, latest, count) = deaths.map_or(((0, 0), (0, 0), 0), |d| {
        let of = |o: &xsem::Obituary| (o.process.pid, o.token);
        (of(&d.first), of(&d.latest), d.count)
    });
    let death = |(pid, token)| Death { pid, token };
    Entry { name, first: death(first), latest: death(latest), count }
}

/// Runs the claimant threads of one process for ever. A thread that ended while it owned is replaced.
pub(super) fn run(ledger: &Ledger, url: &str, slot: usize, threads: usize, seed: u64) {
    xsem::shm::testing::set_recheck(false);
    let ns = match Namespace::open(url) {
        Ok(ns) => ns,
        Err(e) => return ledger.violation(&format!("open the namespace: {e}")),
    };
    if let Err(e) = handlers::install(ledger, &ns, slot) {
        return ledger.violation(&format!("open what handlers need: {e}"));
    }
    let mut seeds = Random::new(seed);
    std::thread::scope(|scope| {
        let mut start = |thread: usize, made: u64| {
            let (ns, random) = (&ns, Random::new(seeds.next()));
            let state = State { made, ..State::default() };
            scope.spawn(move || {
                let (handles, pools, events) = Default::default();
                Claimant { ledger, ns, slot, thread, state, random, handles, pools, events, credit: None }.run()
            })
        };
        let mut all: Vec<_> = (0..threads).map(|t| Some(start(t, 0))).collect();
        loop {
            for (t, handle) in all.iter_mut().enumerate() {
                if handle.as_ref().is_some_and(|h| h.is_finished()) {
                    let made = handle.take().map_or(0, |h| h.join().unwrap_or(0));
                    *handle = Some(start(t, made));
                }
            }
            sys::nap(500);
        }
    });
}

/// One thread.
struct Claimant<'a> {
    ledger: &'a Ledger,
    ns: &'a Namespace,
    slot: usize,
    thread: usize,
    /// What it holds, as the ledger knows it.
    state: State,
    random: Random,
    /// With the last token that it saw through each.
    handles: [Option<(&'static Exclusive, u64)>; NAMES],
    pools: [Option<&'static Counting>; POOLS],
    events: [Option<&'static Event>; EVENTS],
    credit: Option<&'static Counting>,
}

/// What the thread does next.
#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

impl Claimant<'_> {
    /// Until it ends while it owns; gives the deaths made, this one with them. A kill before that is written down finds
    /// it `abandoning`, which counts the same.
    fn run(mut self) -> u64 {
        self.tell();
        handlers::may_come(self.ledger, self.slot, self.thread);
        loop {
            if self.ledger.quiet.load(SeqCst) != 0 {
                let me = &self.ledger.threads[self.slot][self.thread];
                me.resting.store(1, SeqCst);
                while self.ledger.quiet.load(SeqCst) != 0 {
                    sys::nap(200);
                }
                me.resting.store(0, SeqCst);
            }
            if self.operation() == Next::End {
                handlers::may_not_come(self.ledger, self.slot, self.thread);
                return self.state.made;
            }
            self.ledger.threads[self.slot][self.thread].operations.fetch_add(1, SeqCst);
            for _ in 0..self.random.below(200) {
                std::hint::spin_loop();
            }
        }
    }

    /// Writes down what it holds.
    fn tell(&self) {
        self.ledger.threads[self.slot][self.thread].set(self.state);
    }

    /// It asks for these, or gives them back: whoever kills it now does not know.
    fn unsure(&mut self, mask: u8) {
        self.state.held &= !mask;
        self.state.unsure |= mask;
        self.tell();
    }

    /// It has these, and nothing else of what it was not sure of.
    fn holds(&mut self, mask: u8) {
        self.state.held |= mask;
        self.state.unsure = 0;
        self.tell();
    }

    /// It has none of these any more.
    fn without(&mut self, mask: u8) {
        self.state.held &= !mask;
        self.state.unsure &= !mask;
        self.state.abandoning &= !mask;
        self.tell();
    }

    fn operation(&mut self) -> Next {
        let mix = self.mix();
        match (mix, self.random.below(5)) {
            (Mix::Drains, _) if self.random.one_in(20) => self.administrate(),
            (Mix::Events, 0 | 1) | (Mix::Lists, _) | (Mix::Everything | Mix::Drains, 1) => return self.list(),
            (Mix::Events, _) | (Mix::Everything | Mix::Drains, 2) => self.event_or_credit(),
            (Mix::Permits, _) | (Mix::Everything | Mix::Drains, 0) => return self.permits(),
            _ => return self.single(),
        }
        Next::GoOn
    }

    fn single(&mut self) -> Next {
        let i = self.random.below(NAMES as u64) as usize;
        if i >= STEADY && self.random.one_in(20) {
            self.remove(i);
        }
        let Some(s) = self.handle(i) else { return Next::GoOn };
        let patience = Duration::from_micros(self.random.below(3000));
        let way = self.random.below(8);
        self.unsure(exclusive(i));
        let r = match way {
            0..=3 => s.acquire(),
            4 | 5 => s.try_acquire(),
            6 => s.acquire_timeout(patience),
            _ => s.acquire_with(Wait::forever().label("torture")),
        };
        match r {
            Ok(guard) => self.owned(i, s, guard, None),
            Err(AcquireError::OwnerDied(r)) => {
                let e = entry(i, r.deaths());
                self.owned(i, s, r.into_guard(), Some(e))
            }
            Err(AcquireError::Failed(e)) => {
                self.without(exclusive(i));
                self.refused(i, &e);
                Next::GoOn
            }
        }
    }

    fn refused(&mut self, i: usize, e: &Error) {
        match e.code() {
            Code::ExclSemAlreadyOwned => {}
            Code::SemTimeout => {
                self.ledger.timeouts.fetch_add(1, SeqCst);
            }
            Code::SemIsSet if self.mix() == Mix::Drains => {
                self.ledger.drained.fetch_add(1, SeqCst);
            }
            // Its name was removed: look again.
            Code::InvalidHandle if i >= STEADY => self.handles[i] = None,
            _ => self.ledger.violation(&format!("acquire {i}: {e}")),
        }
    }

    fn owned(&mut self, i: usize, s: &'static Exclusive, guard: Guard<'static>, told: Option<Entry>) -> Next {
        self.holds(exclusive(i));
        self.enter(i, &guard, told.as_ref());
        let spins = self.random.below(300);
        self.ledger.change(i, identity(self.thread), || (0..spins).for_each(|_| std::hint::spin_loop()));
        if self.random.one_in(6) {
            self.nest(i, s);
        }
        self.acknowledge(i, &guard, told.is_some());
        self.give_up(i, guard)
    }

    /// Takes a grant into the ledger.
    fn enter(&mut self, i: usize, guard: &Guard<'static>, told: Option<&Entry>) {
        if let Some(e) = told {
            self.ledger.report(e);
        }
        self.ledger.enter(i, identity(self.thread), told.is_some(), i < STEADY, guard.token());
        self.ledger.grants.fetch_add(1, SeqCst);
        if let Some((_, last)) = &mut self.handles[i] {
            if guard.token() <= *last {
                self.ledger.violation(&format!("the token of one {i} went from {last} to {}", guard.token()));
            }
            *last = guard.token();
        }
    }

    /// Acknowledges a death, mostly.
    fn acknowledge(&mut self, i: usize, guard: &Guard<'static>, told: bool) {
        if told
            && !self.random.one_in(4)
            && let Err(e) = guard.mark_consistent()
        {
            self.ledger.violation(&format!("mark {i} consistent: {e}"));
        }
    }

    fn nest(&mut self, i: usize, s: &'static Exclusive) {
        match s.acquire() {
            Ok(inner) => {
                self.ledger.nested.fetch_add(1, SeqCst);
                if let Err(e) = inner.release() {
                    self.ledger.violation(&format!("release the inner level of {i}: {e}"));
                }
            }
            Err(e) => self.ledger.violation(&format!("nest {i}: {}", Error::from(e))),
        }
    }

    fn give_up(&mut self, i: usize, guard: Guard<'static>) -> Next {
        let (me, bit) = (identity(self.thread), exclusive(i));
        // Deaths of the semaphore that comes and goes are in no account.
        let counts = u64::from(i < STEADY);
        if i < STEADY && self.mix() == Mix::Drains && self.random.one_in(50) {
            self.hang(i, guard);
            return Next::GoOn;
        }
        let how = self.random.below(400);
        if how <= 8 {
            self.state.held &= !bit;
            self.state.abandoning |= bit;
            self.tell();
            self.ledger.leave(i, me);
        }
        match how {
            0 => {
                // What a thread leaves that is cancelled, or leaks its guard.
                std::mem::forget(guard);
                self.state.made += counts;
                return Next::End;
            }
            1..=8 => {
                if let Err(e) = guard.abandon() {
                    self.ledger.violation(&format!("abandon {i}: {e}"));
                }
                self.state.made += counts;
            }
            _ => self.give_back(i, guard),
        }
        self.without(bit);
        Next::GoOn
    }

    fn give_back(&mut self, i: usize, guard: Guard<'static>) {
        self.ledger.leave(i, identity(self.thread));
        self.unsure(exclusive(i));
        match self.random.below(8) {
            // Dropping is how many programs release.
            0 | 1 => drop(guard),
            2 => match guard.into_signal_release() {
                Ok(release) if handlers::offer(self.ledger, self.thread, &release) => {}
                Ok(_) => self.ledger.violation(&format!("the prepared release of {i} could not be spent")),
                Err((_, e)) => self.ledger.violation(&format!("prepare the release of {i}: {e}")),
            },
            _ => {
                if let Err(e) = guard.release() {
                    self.ledger.violation(&format!("release {i}: {e}"));
                }
            }
        }
        self.without(exclusive(i));
    }

    fn handle(&mut self, i: usize) -> Option<&'static Exclusive> {
        if self.handles[i].is_none() {
            match Exclusive::open_or_create(self.ns, &name(i)) {
                Ok(s) => self.handles[i] = Some((Box::leak(Box::new(s)), 0)),
                Err(e) => self.ledger.violation(&format!("open {i}: {e}")),
            }
        }
        self.handles[i].map(|(s, _)| s)
    }

    fn remove(&mut self, i: usize) {
        match self.ns.remove(&name(i)) {
            Ok(()) => {
                self.ledger.removals.fetch_add(1, SeqCst);
            }
            Err(e) if matches!(e.code(), Code::SemIsSet | Code::SemNotFound) => {}
            Err(e) => self.ledger.violation(&format!("remove {i}: {e}")),
        }
    }
}
