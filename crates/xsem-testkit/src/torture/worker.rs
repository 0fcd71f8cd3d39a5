//! What a process of the torture run does until it is killed.

use super::account::{Death, Entry, NAMES, STEADY};
use super::ledger::{Ledger, Phase, identity};
use crate::random::Random;
use crate::sys;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use xsem::{AcquireError, Code, Error, Exclusive, Guard, Namespace, Wait};

/// The name of a semaphore.
pub(super) fn name(i: usize) -> String {
    format!("torture/{i}")
}

/// Runs the claimant threads of one process for ever. A thread that ended while it owned is replaced.
pub(super) fn run(ledger: &Ledger, url: &str, slot: usize, threads: usize, seed: u64) {
    xsem::shm::testing::set_recheck(false);
    let ns = match Namespace::open(url) {
        Ok(ns) => ns,
        Err(e) => return ledger.violation(&format!("open the namespace: {e}")),
    };
    let mut seeds = Random::new(seed);
    std::thread::scope(|scope| {
        let mut start = |thread: usize, made: u64| {
            let (ns, random) = (&ns, Random::new(seeds.next()));
            scope.spawn(move || Claimant { ledger, ns, slot, thread, made, random, handles: Default::default() }.run())
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
    /// Deaths that it made on purpose, on steady semaphores.
    made: u64,
    random: Random,
    /// With the last token that it saw through each.
    handles: [Option<(&'static Exclusive, u64)>; NAMES],
}

/// What the thread does next.
#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

impl Claimant<'_> {
    /// Until it ends while it owns; gives the deaths made, this one with them. A kill before that is written down finds
    /// `Abandoning`, which counts the same.
    fn run(mut self) -> u64 {
        self.phase(Phase::Idle, 0);
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
                return self.made;
            }
            self.ledger.threads[self.slot][self.thread].operations.fetch_add(1, SeqCst);
            for _ in 0..self.random.below(200) {
                std::hint::spin_loop();
            }
        }
    }

    fn phase(&self, phase: Phase, name: usize) {
        self.ledger.threads[self.slot][self.thread].set(phase, name, self.made);
    }

    fn operation(&mut self) -> Next {
        let i = self.random.below(NAMES as u64) as usize;
        if i >= STEADY && self.random.one_in(20) {
            self.remove(i);
        }
        let Some(s) = self.handle(i) else { return Next::GoOn };
        let patience = Duration::from_micros(self.random.below(3000));
        let way = self.random.below(8);
        self.phase(Phase::Acquiring, i);
        let r = match way {
            0..=3 => s.acquire(),
            4 | 5 => s.try_acquire(),
            6 => s.acquire_timeout(patience),
            _ => s.acquire_with(Wait::forever().label("torture")),
        };
        match r {
            Ok(guard) => self.owned(i, s, guard, None),
            Err(AcquireError::OwnerDied(r)) => {
                let (first, latest, count) = r.deaths().map_or(((0, 0), (0, 0), 0), |d| {
                    let of = |o: &xsem::Obituary| (o.process.pid, o.token);
                    (of(&d.first), of(&d.latest), d.count)
                });
                let death = |(pid, token)| Death { pid, token };
                let e = Entry { name: i, first: death(first), latest: death(latest), count };
                self.owned(i, s, r.into_guard(), Some(e))
            }
            Err(AcquireError::Failed(e)) => {
                self.phase(Phase::Idle, i);
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
            // Its name was removed: look again.
            Code::InvalidHandle if i >= STEADY => self.handles[i] = None,
            _ => self.ledger.violation(&format!("acquire {i}: {e}")),
        }
    }

    fn owned(&mut self, i: usize, s: &'static Exclusive, guard: Guard<'static>, told: Option<Entry>) -> Next {
        let me = identity(self.thread);
        self.phase(Phase::Holding, i);
        if let Some(e) = &told {
            self.ledger.report(e);
        }
        self.ledger.enter(i, me, told.is_some(), i < STEADY, guard.token());
        self.ledger.grants.fetch_add(1, SeqCst);
        if let Some((_, last)) = &mut self.handles[i] {
            if guard.token() <= *last {
                self.ledger.violation(&format!("the token of one {i} went from {last} to {}", guard.token()));
            }
            *last = guard.token();
        }
        let spins = self.random.below(300);
        self.ledger.change(i, me, || (0..spins).for_each(|_| std::hint::spin_loop()));
        if self.random.one_in(6) {
            self.nest(i, s);
        }
        if told.is_some()
            && !self.random.one_in(4)
            && let Err(e) = guard.mark_consistent()
        {
            self.ledger.violation(&format!("mark {i} consistent: {e}"));
        }
        self.give_up(i, me, guard)
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

    fn give_up(&mut self, i: usize, me: u64, guard: Guard<'static>) -> Next {
        // Deaths of the semaphore that comes and goes are in no account.
        let counts = u64::from(i < STEADY);
        match self.random.below(400) {
            0 => {
                self.phase(Phase::Abandoning, i);
                self.ledger.leave(i, me);
                // What a thread leaves that is cancelled, or leaks its guard.
                std::mem::forget(guard);
                self.made += counts;
                Next::End
            }
            1..=8 => {
                self.phase(Phase::Abandoning, i);
                self.ledger.leave(i, me);
                if let Err(e) = guard.abandon() {
                    self.ledger.violation(&format!("abandon {i}: {e}"));
                }
                self.made += counts;
                self.phase(Phase::Idle, i);
                Next::GoOn
            }
            n => {
                self.ledger.leave(i, me);
                self.phase(Phase::Releasing, i);
                match n {
                    // Dropping is how most programs release.
                    9..=100 => drop(guard),
                    _ => {
                        if let Err(e) = guard.release() {
                            self.ledger.violation(&format!("release {i}: {e}"));
                        }
                    }
                }
                self.phase(Phase::Idle, i);
                Next::GoOn
            }
        }
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
