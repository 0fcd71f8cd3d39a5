//! Asynchronous requests of a process: polled now and then, left alone for a while, moved to other threads, and dropped.

use super::super::account::Entry;
use super::super::ledger::{Count, Did, State, identity};
use super::super::signals::{Intent, MANUAL};
use super::books::Books;
use super::claimant::Claimant;
use super::here::{Here, lock};
use super::lists::Want;
use super::{LIMITS, entry};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use xsem::{CancelToken, Error, OwnedAcquireError, OwnedAllError, OwnedAnyError, OwnedGuard, OwnedHeld, OwnedPermit, Pick};

/// What a request comes to: the entries of its list, what each gave, and the report of a death.
type Outcome = Result<Vec<(usize, OwnedHeld, Option<Entry>)>, Error>;

/// A pending request.
pub(super) struct Task {
    books: Books,
    wants: Vec<Want>,
    token: Option<CancelToken>,
    request: Pin<Box<dyn Future<Output = Outcome> + Send>>,
    woken: Arc<Woken>,
}

/// Wakes the thread that polled it last.
struct Woken(AtomicBool, Thread);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
        self.1.unpark();
    }
}

impl Woken {
    fn new() -> Arc<Woken> {
        Arc::new(Woken(AtomicBool::new(false), std::thread::current()))
    }
}

/// A claim of a task that the main thread gives back.
pub(super) struct Kept {
    books: Books,
    held: Vec<(Want, OwnedHeld)>,
}

/// `wants` as one request.
fn request(here: &Here, wants: &[Want], any: bool, wait: xsem::Wait<'_>) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
    let names: Vec<Option<usize>> = wants.iter().map(Want::name).collect();
    let told = move |i: usize, deaths: Option<&xsem::Deaths>| names.get(i).copied().flatten().map(|name| entry(name, deaths));
    if let [one] = *wants {
        return match one {
            Want::Exclusive(_, s) => {
                let f = s.acquire_async_with(wait);
                Box::pin(async move {
                    match f.await {
                        Ok(guard) => Ok(vec![(0, OwnedHeld::Guard(guard), None)]),
                        Err(OwnedAcquireError::OwnerDied(r)) => {
                            let told = told(0, r.deaths());
                            Ok(vec![(0, OwnedHeld::Guard(r.into_guard()), told)])
                        }
                        Err(OwnedAcquireError::Failed(e)) => Err(e),
                    }
                })
            }
            Want::Permits(_, s, n) => {
                let f = s.acquire_async_with(n, wait);
                Box::pin(async move { f.await.map(|p| vec![(0, OwnedHeld::Permit(p), None)]) })
            }
            Want::Event(_, e) => {
                let f = e.wait_async_with(wait);
                Box::pin(async move { f.await.map(|()| vec![(0, OwnedHeld::Signal(0), None)]) })
            }
        };
    }
    let picks: Vec<Pick<'static>> = wants.iter().map(Want::pick).collect();
    if any {
        let f = here.ns.wait_any_async(&picks, wait);
        return Box::pin(async move {
            match f.await {
                Ok(taken) => Ok(vec![(taken.index, taken.held, None)]),
                Err(OwnedAnyError::OwnerDied { index, recovery }) => {
                    let told = told(index, recovery.deaths());
                    Ok(vec![(index, OwnedHeld::Guard(recovery.into_guard()), told)])
                }
                Err(OwnedAnyError::Failed(e)) => Err(e),
            }
        });
    }
    let f = here.ns.acquire_all_async(&picks, wait);
    Box::pin(async move {
        let (all, told) = match f.await {
            Ok(all) => (all, Vec::new()),
            Err(OwnedAllError::OwnerDied(r)) => {
                let told: Vec<_> = r.indices().into_iter().map(|i| (i, told(i, r.deaths(i)))).collect();
                (r.into_all(), told)
            }
            Err(OwnedAllError::Failed(e)) => return Err(e),
        };
        let of = |i: usize| told.iter().find(|(k, _)| *k == i).and_then(|(_, e)| *e);
        Ok(all.into_vec().into_iter().enumerate().map(|(i, held)| (i, held, of(i))).collect())
    })
}

impl Claimant {
    /// Something with a task: a new one, or one of those that are pending.
    pub(super) fn task(&mut self) {
        if !self.is_quiet() && self.random.one_in(6) {
            // It goes to another thread, which may take it from here or find it when all shall rest.
            if !self.tasks.is_empty() {
                let at = self.random.below(self.tasks.len() as u64) as usize;
                lock(&self.here.adrift).push(self.tasks.swap_remove(at));
            }
            if let Some(task) = lock(&self.here.adrift).pop() {
                self.ledger.count(Count::FuturesMoved);
                self.tasks.push(task);
            }
        }
        if self.tasks.is_empty() || self.random.one_in(2) {
            return self.start_task();
        }
        let at = self.random.below(self.tasks.len() as u64) as usize;
        let task = self.tasks.swap_remove(at);
        match self.random.below(4) {
            0 => self.drop_task(task),
            1 if task.token.is_some() => {
                task.token.iter().for_each(CancelToken::cancel);
                self.poll(task);
            }
            _ => self.poll(task),
        }
    }

    fn start_task(&mut self) {
        let Some(place) = self.here.take_place() else { return };
        let without_end = self.random.one_in(2);
        let mut wants = self.wants(without_end);
        if self.random.one_in(2) {
            wants.truncate(1);
        }
        if wants.is_empty() {
            return self.here.leave_place(place);
        }
        let token = self.random.one_in(4).then(CancelToken::new);
        let way = if without_end { 0 } else { 2 + self.random.below(2) };
        let any = self.random.one_in(2);
        let wait = self.wait(way, token.as_ref());
        let request = request(self.here, &wants, any, wait);
        let books = Books::new(self.here, place, State::default());
        let task = Task { books, wants, token, request, woken: Woken::new() };
        if self.random.one_in(30) {
            // It never began.
            return self.drop_task(task);
        }
        self.poll(task);
    }

    /// One poll. Whoever is told that it may go on is this thread.
    fn poll(&mut self, mut task: Task) {
        let mask = task.wants.iter().fold(0, |m, w| m | w.bit());
        task.books.unsure(mask);
        task.books.say(task.wants.iter().fold(Intent::default(), |all, w| all.and(w.intent())));
        task.woken = Woken::new();
        let waker = Waker::from(task.woken.clone());
        match task.request.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => {
                task.books.note(Did::Pending, mask.into());
                self.tasks.push(task);
            }
            Poll::Ready(Err(e)) => {
                self.over(&mut task, mask);
                self.refused_list(&task.wants, &e, task.token.is_some());
            }
            Poll::Ready(Ok(got)) => {
                for (i, held, _) in &got {
                    if let (Want::Event(e, _), OwnedHeld::Signal(_)) = (&task.wants[*i], held) {
                        self.ledger.signals.did(*e, if *e == MANUAL { 0 } else { -1 });
                    }
                }
                task.books.say(Intent::default());
                self.has_got(task, got);
            }
        }
    }

    /// It has nothing, and wants nothing any more.
    fn over(&self, task: &mut Task, mask: u8) {
        task.books.say(Intent::default());
        task.books.without(mask);
        self.here.leave_place(task.books.place);
    }

    fn drop_task(&mut self, mut task: Task) {
        let mask = task.wants.iter().fold(0, |m, w| m | w.bit());
        task.books.note(Did::Drops, mask.into());
        self.ledger.count(Count::FuturesDropped);
        drop(std::mem::replace(&mut task.request, Box::pin(std::future::pending())));
        self.over(&mut task, mask);
    }

    fn has_got(&mut self, mut task: Task, got: Vec<(usize, OwnedHeld, Option<Entry>)>) {
        self.ledger.count(Count::FuturesDone);
        let place = task.books.place;
        task.books.holds(got.iter().fold(0, |m, (i, ..)| m | task.wants[*i].bit()));
        for (i, held, told) in &got {
            match (&task.wants[*i], held) {
                (Want::Exclusive(name, _), OwnedHeld::Guard(guard)) => {
                    self.enter(*name, guard.token(), place, told.as_ref());
                    self.ledger.change(*name, identity(place), || (0..50).for_each(|_| std::hint::spin_loop()));
                    if told.is_some() && !self.random.one_in(4) {
                        self.acknowledge(*name, guard.mark_consistent());
                    }
                }
                (Want::Permits(k, _, n), OwnedHeld::Permit(p)) => {
                    if p.count() != *n {
                        self.ledger.violation(&format!("{} permits of pool {k} where {n} were asked for", p.count()));
                    }
                    self.ledger.enter_permits(*k, place, *n, LIMITS[*k]);
                }
                (Want::Event(..), OwnedHeld::Signal(_)) => {}
                _ => self.ledger.violation("a claim of another kind than what a task asked for"),
            }
        }
        let held = got.into_iter().map(|(i, held, _)| (task.wants[i], held)).collect();
        let kept = Kept { books: task.books, held };
        if self.here.has_helper.load(SeqCst) && self.random.one_in(3) {
            lock(&self.here.kept).push(kept);
        } else {
            kept.give_back(self.here);
        }
    }

    /// All shall rest: what is pending comes to its end, or is dropped. A wake-up that is lost is a hang here.
    pub(super) fn finish_tasks(&mut self) {
        loop {
            self.tasks.append(&mut lock(&self.here.adrift));
            let Some(task) = self.tasks.pop() else { return };
            if self.random.one_in(3) {
                self.drop_task(task);
                continue;
            }
            let woken = task.woken.clone();
            let before = self.tasks.len();
            // Who polled it last may have been another thread, which was woken for it; so it is polled here once at least.
            self.poll(task);
            if self.tasks.len() > before {
                drop(woken);
                let woken = self.tasks[before].woken.clone();
                while !woken.0.load(SeqCst) {
                    std::thread::park();
                }
            }
        }
    }

    /// A forked child has copies of its parent's futures: they begin anew here, or are dropped, which does nothing to those
    /// of the parent.
    pub(super) fn inherit_tasks(&mut self) {
        for mut task in std::mem::take(&mut self.tasks) {
            let Some(place) = self.here.take_place() else {
                drop(task);
                continue;
            };
            task.books = Books::new(self.here, place, State::default());
            match self.random.one_in(2) {
                true => self.drop_task(task),
                false => self.poll(task),
            }
        }
    }
}

impl Kept {
    /// Gives everything back, in whatever thread this is.
    pub(super) fn give_back(mut self, here: &Here) {
        let (l, place) = (here.ledger, self.books.place);
        let wrong = |what: &str, e: Error| l.violation(&format!("a task gives back {what}: {e}"));
        for (want, held) in self.held {
            let bit = want.bit();
            match (want, held) {
                (Want::Exclusive(i, _), OwnedHeld::Guard(guard)) => {
                    l.leave(i, identity(place));
                    self.books.unsure(bit);
                    release_guard(guard).unwrap_or_else(|e| wrong("an exclusive semaphore", e));
                }
                (Want::Permits(k, _, n), OwnedHeld::Permit(permit)) => {
                    l.leave_permits(k, place, n);
                    self.books.unsure(bit);
                    release_permit(permit).unwrap_or_else(|e| wrong("permits", e));
                }
                _ => {}
            }
            self.books.without(bit);
        }
        here.leave_place(place);
    }
}

/// In one of the ways to do it.
fn release_guard(guard: OwnedGuard) -> xsem::Result<()> {
    match guard.token() % 3 {
        0 => {
            drop(guard);
            Ok(())
        }
        _ => guard.release(),
    }
}

fn release_permit(permit: OwnedPermit) -> xsem::Result<()> {
    match permit.token() % 3 {
        0 => {
            drop(permit);
            Ok(())
        }
        _ => permit.release(),
    }
}
