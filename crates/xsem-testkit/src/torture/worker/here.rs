//! One process of the torture run: its threads, and the main thread that looks after them.

use super::super::image;
use super::super::ledger::{Count, Did, Ledger, TASKS, THREADS};
use super::super::os::{End, Thread};
use super::claimant::Claimant;
use super::handlers;
use super::tasks::{Kept, Task};
use crate::random::{Random, seed_of};
use crate::sys;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use xsem::{CancelToken, Namespace};

/// A process, for its threads. It stays as long as the process does.
pub(super) struct Here {
    pub(super) ledger: &'static Ledger,
    pub(super) url: &'static str,
    pub(super) ns: &'static Namespace,
    pub(super) slot: usize,
    /// How often a process began in this slot: in the seeds.
    pub(super) birth: u64,
    /// What each of its threads waits with.
    pub(super) cancels: [Mutex<Option<CancelToken>>; THREADS],
    /// It shall be cancelled, with whatever it owns then.
    pub(super) ends: [AtomicBool; THREADS],
    /// It says that it ends now.
    pub(super) says_it_ends: [AtomicBool; THREADS],
    /// Pending futures that any thread may take.
    pub(super) adrift: Mutex<Vec<Task>>,
    /// Claims of tasks that the main thread gives back.
    pub(super) kept: Mutex<Vec<Kept>>,
    /// Whether there is a main thread that looks after these.
    pub(super) has_helper: AtomicBool,
    /// A bit for each place of a task that is taken.
    pub(super) places: AtomicU32,
}

/// A lock of this process only, which nobody panics under.
pub(super) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Here {
    /// What the calling process has from now on, also one that was just forked: nothing of its parent's.
    pub(super) fn new(
        ledger: &'static Ledger,
        url: &'static str,
        ns: &'static Namespace,
        slot: usize,
        birth: u64,
    ) -> &'static Here {
        Box::leak(Box::new(Here {
            ledger,
            url,
            ns,
            slot,
            birth,
            cancels: Default::default(),
            ends: Default::default(),
            says_it_ends: Default::default(),
            adrift: Mutex::default(),
            kept: Mutex::default(),
            has_helper: AtomicBool::new(false),
            places: AtomicU32::new(0),
        }))
    }

    /// A place for a task, if there is one left.
    pub(super) fn take_place(&self) -> Option<usize> {
        let taken = |p: u32| (0..TASKS).find(|k| p >> k & 1 == 0);
        let before = self.places.fetch_update(SeqCst, SeqCst, |p| taken(p).map(|k| p | 1 << k)).ok()?;
        taken(before).map(|k| THREADS + k)
    }

    pub(super) fn leave_place(&self, place: usize) {
        self.places.fetch_and(!(1 << (place - THREADS)), SeqCst);
    }

    /// The seed of a claimant in a round.
    pub(super) fn seed(&self, claimant: usize) -> u64 {
        let l = self.ledger;
        let generation = u64::from(image::next_generation());
        seed_of(&[l.seed.load(SeqCst), l.round.load(SeqCst), self.slot as u64, self.birth, generation, claimant as u64])
    }

    fn start(&'static self, thread: usize) -> Option<Thread> {
        match Thread::start(move || Claimant::new(self, thread).run()) {
            Ok(t) => Some(t),
            // The machine has no more of them at this moment.
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => None,
            Err(e) => {
                self.ledger.violation(&format!("start a thread: {e}"));
                None
            }
        }
    }

    /// Looks after threads that it starts, from `first` on, until the process ends.
    pub(super) fn look_after(&'static self, first: usize, threads: usize) {
        self.has_helper.store(true, SeqCst);
        let l = self.ledger;
        let (mut all, mut random): (Vec<Option<Thread>>, _) = (Vec::new(), Random::new(self.seed(99)));
        all.resize_with(threads, || None);
        loop {
            for (t, place) in all.iter_mut().enumerate().skip(first) {
                *place = match place.take() {
                    Some(thread) => thread.try_join(),
                    None => self.start(t),
                };
                if place.is_none() {
                    self.ended(t);
                }
            }
            lock(&self.kept).drain(..).for_each(|k| k.give_back(self));
            xsem::shm::testing::set_recheck(l.recheck.load(SeqCst) != 0);
            if l.quiet.load(SeqCst) == 0 {
                self.disturb(&all, &mut random);
            }
            sys::nap(300);
        }
    }

    /// A thread is not there: what it had abandoned is dead now.
    fn ended(&self, t: usize) {
        let me = &self.ledger.processes[self.slot].claimants[t];
        let state = me.state.get();
        if state.held | state.unsure != 0 {
            self.ledger.violation(&format!("thread {t} of {} ended in the middle of a call: {state:?}", sys::own_pid()));
        }
        if !self.says_it_ends[t].swap(false, SeqCst) && me.operations.load(SeqCst) > 0 && state.abandoning != 0 {
            self.ledger.violation(&format!("thread {t} of {} ended, and had not said so", sys::own_pid()));
        }
        self.ends[t].store(false, SeqCst);
        me.state.set(state.abandoned());
    }

    /// Cancels a wait, or a thread.
    fn disturb(&self, all: &[Option<Thread>], random: &mut Random) {
        let t = random.below(all.len() as u64) as usize;
        if random.one_in(2)
            && let Some(token) = &*lock(&self.cancels[t])
        {
            token.cancel();
        }
        let turns = super::Mix::of(self.ledger).turns();
        if turns.is_some_and(|n| random.one_in(n))
            && let Some(thread) = &all[t]
            && !self.ends[t].swap(true, SeqCst)
        {
            thread.cancel();
        }
    }
}

/// Runs the claimant threads of one process for ever. A thread that ended is replaced.
pub(in super::super) fn run(ledger: &Ledger, url: &str, slot: usize, threads: usize, birth: u64) {
    // SAFETY: the ledger is a mapping that this process never ends, because the process ends by being killed.
    let ledger: &'static Ledger = unsafe { &*std::ptr::from_ref(ledger) };
    xsem::shm::testing::set_recheck(ledger.recheck.load(SeqCst) != 0);
    let ns: &'static Namespace = match Namespace::open(url) {
        Ok(ns) => Box::leak(Box::new(ns)),
        Err(e) => return ledger.violation(&format!("open the namespace: {e}")),
    };
    if let Err(e) = handlers::install(ledger, ns, slot) {
        return ledger.violation(&format!("open what handlers need: {e}"));
    }
    let here = Here::new(ledger, Box::leak(url.to_owned().into()), ns, slot, birth);
    here.note(THREADS - 1, Did::Began, sys::own_pid() as u32);
    here.look_after(0, threads);
}

impl Here {
    /// Takes a step of a claimant into its trace.
    pub(super) fn note(&self, claimant: usize, did: Did, number: u32) {
        self.ledger.processes[self.slot].claimants[claimant].trace.note(self.ledger.now(), did, number);
    }

    /// How a thread ends, counted.
    pub(super) fn end(&self, thread: usize, how: End) -> End {
        self.note(thread, Did::Ends, how as u32);
        self.says_it_ends[thread].store(true, SeqCst);
        self.ledger.count(match how {
            End::Returns => Count::ThreadsReturned,
            End::Exits => Count::ThreadsExited,
            End::Cancelled => Count::ThreadsCancelled,
        });
        how
    }
}
