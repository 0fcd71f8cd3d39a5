//! One thread of a process of the torture run: what it knows, and its exclusive semaphores.

use super::super::account::{Entry, NAMES, POOLS, STEADY};
use super::super::ledger::{Count, Did, Ledger, State, exclusive, identity, monotonic_micros};
use super::super::os::{End, cancellable};
use super::super::signals::EVENTS;
use super::books::Books;
use super::here::{Here, lock};
use super::tasks::Task;
use super::{Mix, entry, handlers, name};
use crate::random::Random;
use crate::sys;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use xsem::{AcquireError, CancelToken, Code, Counting, Error, Event, Exclusive, Guard, Namespace, Wait};

/// What claims are called.
pub(super) const LABELS: [&str; 3] = ["torture", "a longer label that says what this is good for", "ü"];

/// One thread.
pub(super) struct Claimant {
    pub(super) ledger: &'static Ledger,
    pub(super) here: &'static Here,
    pub(super) ns: &'static Namespace,
    pub(super) thread: usize,
    pub(super) books: Books,
    pub(super) random: Random,
    round: u64,
    /// With the last token that it saw through each.
    pub(super) handles: [Option<(&'static Exclusive, u64)>; NAMES],
    pub(super) pools: [Option<&'static Counting>; POOLS],
    pub(super) events: [Option<&'static Event>; EVENTS],
    pub(super) credit: Option<&'static Counting>,
    /// Its requests that are pending.
    pub(super) tasks: Vec<Task>,
}

/// What the thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    End(End),
}

impl Claimant {
    pub(super) fn new(here: &'static Here, thread: usize) -> Claimant {
        let state = here.ledger.processes[here.slot].claimants[thread].state.get();
        Claimant {
            ledger: here.ledger,
            here,
            ns: here.ns,
            thread,
            books: Books::new(here, thread, State { made: state.made, pools_made: state.pools_made, ..State::default() }),
            random: Random::new(here.seed(thread)),
            round: here.ledger.round.load(SeqCst),
            handles: [None; NAMES],
            pools: [None; POOLS],
            events: [None; EVENTS],
            credit: None,
            tasks: Vec::new(),
        }
    }

    /// Until it ends; what it then owns the books say. A kill before that finds it `abandoning`, which counts the same.
    pub(super) fn run(mut self) -> End {
        handlers::may_come(self.ledger, self.here.slot, self.thread);
        loop {
            let next = self.step();
            if let Next::End(how) = next {
                lock(&self.here.adrift).append(&mut self.tasks);
                handlers::may_not_come(self.ledger, self.here.slot, self.thread);
                return self.here.end(self.thread, how);
            }
        }
    }

    /// One operation, after the rest that it shall have.
    pub(super) fn step(&mut self) -> Next {
        if self.ledger.quiet.load(SeqCst) != 0 {
            self.rest();
        }
        let round = self.ledger.round.load(SeqCst);
        if round != self.round {
            (self.round, self.random) = (round, Random::new(self.here.seed(self.thread)));
        }
        let next = self.operation();
        self.ledger.processes[self.here.slot].claimants[self.thread].operations.fetch_add(1, SeqCst);
        for _ in 0..self.random.below(200) {
            std::hint::spin_loop();
        }
        match next {
            Next::GoOn if self.here.ends[self.thread].load(SeqCst) => Next::End(End::Cancelled),
            next => next,
        }
    }

    fn rest(&mut self) {
        self.finish_tasks();
        self.books.note(Did::Rests, 0);
        let me = &self.ledger.processes[self.here.slot].claimants[self.thread];
        me.resting.store(1, SeqCst);
        while self.ledger.quiet.load(SeqCst) != 0 {
            sys::nap(200);
        }
        me.resting.store(0, SeqCst);
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.ledger.quiet.load(SeqCst) != 0
    }

    fn operation(&mut self) -> Next {
        let mix = self.mix();
        if mix.turns().is_some_and(|n| self.random.one_in(4 * n)) && !self.is_quiet() {
            return self.turn(None);
        }
        match (mix, self.random.below(8)) {
            (Mix::Drains, _) if self.random.one_in(20) => self.administrate(),
            (Mix::Tasks, 0..=5) => self.task(),
            (Mix::Events, 0..=2) | (Mix::Lists, _) | (Mix::Tasks, 6) => return self.list(),
            (Mix::Events, _) => self.event_or_credit(),
            (Mix::Permits, _) | (Mix::Lives, 0..=2) => return self.permits(),
            (Mix::Exclusive, _) => return self.single(),
            (Mix::Lives | Mix::Tasks | Mix::Everything | Mix::Drains, 7) => self.aside(),
            (Mix::Everything | Mix::Drains, 0) => return self.permits(),
            (Mix::Everything | Mix::Drains, 1) => return self.list(),
            (Mix::Everything | Mix::Drains, 2) => self.event_or_credit(),
            (Mix::Everything | Mix::Drains, 3) => self.task(),
            _ => return self.single(),
        }
        Next::GoOn
    }

    /// What is not about claims that the books know: it looks at others, makes and removes names.
    fn aside(&mut self) {
        match self.random.below(12) {
            0..=3 => self.observe(),
            4 | 5 => self.scratch(),
            6 => self.fleeting(),
            7..=10 => self.shared(),
            _ => self.fresh(),
        }
    }

    /// A token that the main thread may cancel, mostly none.
    pub(super) fn token(&mut self) -> Option<CancelToken> {
        let token = self.random.one_in(6).then(CancelToken::new);
        *lock(&self.here.cancels[self.thread]) = token.clone();
        token
    }

    /// A label, or none.
    pub(super) fn label(&mut self) -> Option<&'static str> {
        LABELS.get(self.random.below(12) as usize).copied()
    }

    /// How long to wait, chosen: `way` below 2 is for ever, 2 a time, 3 not at all.
    pub(super) fn wait<'w>(&mut self, way: u64, token: Option<&'w CancelToken>) -> Wait<'w> {
        let patience = Duration::from_micros(self.random.below(3000));
        let mut wait = match way {
            0 | 1 => Wait::forever(),
            2 => Wait::timeout(patience),
            _ => Wait::not(),
        };
        if let Some(label) = self.label() {
            wait = wait.label(label);
        }
        token.map_or(wait, |t| wait.cancel(t))
    }

    /// Carries a wait out, in a thread that others may ask to end meanwhile, and notes how long it took.
    pub(super) fn waiting<R>(&self, call: impl FnOnce() -> R) -> R {
        let begin = monotonic_micros();
        let r = cancellable(call);
        self.ledger.longest_wait.fetch_max(monotonic_micros() - begin, SeqCst);
        r
    }

    fn single(&mut self) -> Next {
        let i = self.random.below(NAMES as u64) as usize;
        if i >= STEADY && self.random.one_in(20) {
            self.remove(i);
        }
        let Some(s) = self.handle(i) else { return Next::GoOn };
        let (way, token) = (self.random.below(8), self.token());
        let wait = self.wait(way / 2, token.as_ref());
        self.books.unsure(exclusive(i));
        let r = self.waiting(|| match way {
            0 if token.is_none() => s.acquire(),
            6 => s.try_acquire(),
            _ => s.acquire_with(wait),
        });
        match r {
            Ok(guard) => self.owned(i, s, guard, None),
            Err(AcquireError::OwnerDied(r)) => {
                let e = entry(i, r.deaths());
                self.owned(i, s, r.into_guard(), Some(e))
            }
            Err(AcquireError::Failed(e)) => {
                self.books.without(exclusive(i));
                self.refused(i, &e, token.is_some());
                Next::GoOn
            }
        }
    }

    pub(super) fn refused(&mut self, i: usize, e: &Error, has_token: bool) {
        match e.code() {
            Code::ExclSemAlreadyOwned => {}
            Code::SemTimeout => self.ledger.count(Count::Timeouts),
            Code::Interrupt if has_token => self.ledger.count(Count::Cancelled),
            Code::SemIsSet if self.mix() == Mix::Drains => self.ledger.count(Count::Drained),
            // Its name was removed: look again.
            Code::InvalidHandle if i >= STEADY => self.handles[i] = None,
            _ => self.ledger.violation(&format!("acquire {i}: {e}")),
        }
    }

    fn owned(&mut self, i: usize, s: &'static Exclusive, guard: Guard<'static>, told: Option<Entry>) -> Next {
        self.books.holds(exclusive(i));
        let me = self.thread;
        self.enter(i, guard.token(), me, told.as_ref());
        let spins = self.random.below(300);
        self.ledger.change(i, identity(me), || (0..spins).for_each(|_| std::hint::spin_loop()));
        if self.random.one_in(6) {
            self.nest(i, s);
        }
        if told.is_some() && !self.random.one_in(4) {
            self.acknowledge(i, guard.mark_consistent());
        }
        if self.mix().turns().is_some_and(|n| self.random.one_in(n)) && !self.is_quiet() {
            return match self.turn(Some(&guard)) {
                Next::GoOn => self.give_up(i, guard),
                end => {
                    self.leaves(i);
                    std::mem::forget(guard);
                    end
                }
            };
        }
        self.give_up(i, guard)
    }

    /// It will not give this one back.
    fn leaves(&mut self, i: usize) {
        self.books.abandons(exclusive(i));
        self.ledger.leave(i, identity(self.thread));
    }

    /// Takes a grant to one of the claimants of this process into the ledger.
    pub(super) fn enter(&mut self, i: usize, token: u64, place: usize, told: Option<&Entry>) {
        if let Some(e) = told {
            self.ledger.report(e);
        }
        self.ledger.enter(i, identity(place), told.is_some(), i < STEADY, token);
        self.ledger.count(Count::Grants);
        if let Some((_, last)) = &mut self.handles[i] {
            if token <= *last {
                self.ledger.violation(&format!("the token of one {i} went from {last} to {token}"));
            }
            *last = token;
        }
    }

    /// A death was acknowledged.
    pub(super) fn acknowledge(&self, i: usize, r: xsem::Result<()>) {
        if let Err(e) = r {
            self.ledger.violation(&format!("mark {i} consistent: {e}"));
        }
    }

    fn nest(&mut self, i: usize, s: &'static Exclusive) {
        match s.acquire() {
            Ok(inner) => {
                self.ledger.count(Count::Nested);
                if let Err(e) = inner.release() {
                    self.ledger.violation(&format!("release the inner level of {i}: {e}"));
                }
            }
            Err(e) => self.ledger.violation(&format!("nest {i}: {}", Error::from(e))),
        }
    }

    fn give_up(&mut self, i: usize, guard: Guard<'static>) -> Next {
        if i < STEADY && self.mix() == Mix::Drains && self.random.one_in(50) {
            self.hang(i, guard);
            return Next::GoOn;
        }
        match self.random.below(400) {
            0 => {
                // What a thread leaves that is cancelled, or leaks its guard.
                self.leaves(i);
                std::mem::forget(guard);
                return Next::End(self.an_end());
            }
            1..=8 => {
                self.leaves(i);
                if let Err(e) = guard.abandon() {
                    self.ledger.violation(&format!("abandon {i}: {e}"));
                }
                self.books.abandoned();
            }
            _ => self.give_back(i, guard),
        }
        Next::GoOn
    }

    pub(super) fn an_end(&mut self) -> End {
        [End::Returns, End::Exits, End::Cancelled][self.random.below(3) as usize]
    }

    pub(super) fn give_back(&mut self, i: usize, guard: Guard<'static>) {
        self.ledger.leave(i, identity(self.thread));
        self.books.unsure(exclusive(i));
        match self.random.below(9) {
            // Dropping is how many programs release.
            0 | 1 => drop(guard),
            2 => match guard.into_signal_release() {
                Ok(release) if handlers::offer(self.ledger, self.thread, &release) => {}
                Ok(_) => self.ledger.violation(&format!("the prepared release of {i} could not be spent")),
                Err((_, e)) => self.ledger.violation(&format!("prepare the release of {i}: {e}")),
            },
            3 => self.panics_with(guard),
            _ => {
                if let Err(e) = guard.release() {
                    self.ledger.violation(&format!("release {i}: {e}"));
                }
            }
        }
        self.books.without(exclusive(i));
    }

    /// A panic unwinds through a claim, which is given back.
    pub(super) fn panics_with<T>(&self, claim: T) {
        self.ledger.count(Count::Panics);
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _claim = claim;
            // Without the message that a panic prints.
            std::panic::resume_unwind(Box::new(()));
        }));
        debug_assert!(unwound.is_err());
    }

    pub(super) fn handle(&mut self, i: usize) -> Option<&'static Exclusive> {
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
            Ok(()) => self.ledger.count(Count::Removals),
            Err(e) if matches!(e.code(), Code::SemIsSet | Code::SemNotFound) => {}
            Err(e) => self.ledger.violation(&format!("remove {i}: {e}")),
        }
    }
}
