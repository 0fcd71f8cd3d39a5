//! The protocol under the model checker: every interleaving of a few processes, on the code that ships.
//!
//! Run with `cargo xtask test loom`. The futex is a word of the model's own mutex and condition variable: "sleep while
//! the word has this value" and "set and wake" are atomic towards each other, as in the kernel. Time stands still unless
//! a test moves it, deaths are set by the test.

use super::careful::Ticket;
use super::careful_loom::{Beside, membarrier};
use super::count::{self, Bounds, Count, CountWords, Doing, EntryWords, Ledger, Op, Verdict};
use super::joint;
use super::line::{self, FOLLOWED, IN_LINE, Line, OVER, Place};
use super::permits::{PermitWords, Reclaim, Reclaimed};
use super::protocol::{self, Gate, Limit, Outcome, Takeover, Waiting, Watching, Words, World};
use super::signal::Restore;
use super::word::{MARK, Owner, State, Word};
use crate::sync::{AtomicU32, AtomicU64, Ordering::*};
use loom::sync::{Arc, Condvar, Mutex};

/// What the processes share.
pub struct Shared {
    pub word: AtomicU64,
    oldest: AtomicU64,
    /// Who is dead (bit per slot). Under its lock sleeping, waking and dying are atomic.
    kernel: Mutex<u32>,
    woken: Condvar,
    /// The joint request of each process.
    pub joints: [AtomicU64; SLOTS],
    /// Permits, and what is beside them: entry k is that of process k.
    pub count: AtomicU64,
    bounds: AtomicU64,
    pub permits_oldest: AtomicU64,
    cell: AtomicU64,
    /// The count word is that of an event.
    pub is_event: bool,
    pub ops: [AtomicU64; SLOTS],
    pub args: [AtomicU64; SLOTS],
    /// Who has an entry in the ledger (bit per slot).
    pub members: AtomicU64,
    /// In line, and followed: of each process.
    turns: [AtomicU32; SLOTS],
    flags: [AtomicU32; SLOTS],
    /// How many permits each process asks for.
    pub wants: [std::sync::atomic::AtomicU32; SLOTS],
    /// A plain cell that only owners touch: loom reports a race if two are in.
    pub inside: loom::cell::UnsafeCell<u32>,
    /// Where releases are plain: what is beside the word. See `careful_loom.rs`.
    pub beside: Option<Beside>,
}

// SAFETY: `inside` is only touched by owners of the semaphore, which is what the tests are about; loom checks it.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared::plain())
    }

    pub fn plain() -> Shared {
        Shared {
            word: AtomicU64::new(Word::new(1, 0).0),
            oldest: AtomicU64::new(0),
            joints: zeros(),
            count: AtomicU64::new(Count::first(0, 1, 0).0),
            bounds: AtomicU64::new(Bounds::first(0, 3, 0).bits()),
            permits_oldest: AtomicU64::new(0),
            cell: AtomicU64::new(Word::new(1, 0).0),
            is_event: false,
            ops: zeros(),
            args: zeros(),
            members: AtomicU64::new(0),
            turns: std::array::from_fn(|_| AtomicU32::new(0)),
            flags: std::array::from_fn(|_| AtomicU32::new(0)),
            wants: std::array::from_fn(|_| std::sync::atomic::AtomicU32::new(1)),
            kernel: Mutex::new(0),
            woken: Condvar::new(),
            inside: loom::cell::UnsafeCell::new(0),
            beside: None,
        }
    }

    pub fn words(&self) -> Words<'_> {
        Words { word: &self.word, oldest: &self.oldest, generation: 1 }
    }

    /// The kernel ends a process: its death is visible and whoever watches it is woken.
    pub fn die(&self, slot: u32) {
        *self.kernel.lock().unwrap() |= 1 << slot;
        self.woken.notify_all();
    }
}

/// Processes that the model can have, and one number that is nobody's.
const SLOTS: usize = 6;

fn zeros() -> [AtomicU64; SLOTS] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

/// One process's surroundings.
pub struct Process<'a> {
    pub shared: &'a Shared,
    pub slot: u32,
    /// Its clock: waiting long enough for a reservation, or not.
    now: u64,
    /// Whose claims it has ended already.
    known_dead: std::cell::Cell<u32>,
}

impl<'a> Process<'a> {
    pub fn new(shared: &'a Shared, slot: u32, now: u64) -> Process<'a> {
        Process { shared, slot, now, known_dead: std::cell::Cell::new(0) }
    }
}

impl World for Process<'_> {
    type Error = ();

    fn now(&self) -> u64 {
        self.now
    }

    fn is_alive(&self, owner: Owner) -> bool {
        *self.shared.kernel.lock().unwrap() & 1 << owner.slot() == 0
    }

    fn record(&mut self) -> Result<(u64, u64), ()> {
        self.shared.turns[self.slot as usize].store(0, SeqCst);
        self.shared.flags[self.slot as usize].store(0, SeqCst);
        Ok((self.slot as u64, 0))
    }

    fn waiting(&self, reference: u64) -> Option<Waiting> {
        let permits = self.shared.wants[reference as usize].load(Relaxed);
        Some(Waiting { since: 0, first: 0, owner: owner(reference as u32), permits, seen: 0, pinged: 0 })
            .filter(|w| self.is_alive(w.owner))
    }

    fn sleep(&self, word: &AtomicU64, expect: u32, watch: Watching, until: Option<u64>) {
        // Those with an entry now, as the shared-memory engine finds them.
        let watched = match watch {
            Watching::Nobody => 0,
            Watching::One(o) | Watching::InLine(o) => 1 << o.slot(),
            Watching::Holders(one) => self.shared.members.load(SeqCst) as u32 | one.map_or(0, |o| 1 << o.slot()),
        };
        let mut dead = self.shared.kernel.lock().unwrap();
        let before = self.known_dead.get();
        let own = matches!(watch, Watching::InLine(_)).then(|| &self.shared.turns[self.slot as usize]);
        let value = || own.map_or_else(|| word.load(SeqCst) as u32, |turn| turn.load(SeqCst));
        let asleep = |dead: u32| value() == expect && dead & watched & !before == 0;
        if until == Some(self.now + protocol::A_MOMENT) {
            // Only as long as an owner is in the middle of something.
            drop(dead);
            return loom::thread::yield_now();
        }
        // A timed sleep may end at any time; the model lets it end at once only where the test's clock says so.
        if until.is_some_and(|t| t <= self.now) {
            return;
        }
        while asleep(*dead) {
            dead = self.shared.woken.wait(dead).unwrap();
        }
    }

    fn line_up(&self, oldest: &AtomicU64) -> Option<(Owner, u64)> {
        // As if time stood still: what is missing shows as a sleep without an end.
        line::line_up(self, oldest, self.slot as u64).map(|first| (first, u64::MAX))
    }

    fn call_next(&self, oldest: &AtomicU64) {
        line::call_next(self, oldest, self.slot as u64);
    }

    fn step_out(&self) {
        self.shared.turns[self.slot as usize].swap(OVER, SeqCst);
    }

    fn inherit_line(&self) {
        self.shared.flags[self.slot as usize].fetch_or(FOLLOWED, SeqCst);
    }

    fn settle_joint(&self, word: &AtomicU64, seen: Word) {
        if let State::Tentative(o) = seen.state() {
            joint::settle_word(word, seen, 1, &self.shared.joints[o.slot() as usize]);
        }
    }

    fn is_cancelled(&self) -> bool {
        false
    }

    fn gate(&self, _: Owner) -> Gate {
        Gate::Open
    }

    fn unbook(&self) {
        if let Some(b) = &self.shared.beside {
            b.claim.store(0, Relaxed);
        }
    }

    fn takeover(&self, _: Owner) -> Takeover {
        Takeover::Take
    }

    fn wait_for_gate(&self, _: Owner, _: u32) {}

    fn joiner(&self) -> Option<Owner> {
        None
    }

    fn ask(&self) -> Option<Ticket> {
        match &self.shared.beside {
            Some(b) => b.careful(self.shared).ask(membarrier),
            None => Some(Ticket::default()),
        }
    }

    fn is_still(&self, since: Ticket) -> bool {
        self.shared.beside.as_ref().is_none_or(|b| b.careful(self.shared).is_still(since))
    }

    fn calm(&self) {
        if let Some(b) = &self.shared.beside {
            b.careful(self.shared).calm();
        }
    }

    fn wake_all(&self, _: &AtomicU64) {
        drop(self.shared.kernel.lock().unwrap());
        self.shared.woken.notify_all();
    }

    fn set_low_and_wake_all(&self, word: &AtomicU64, low: u32) {
        let dead = self.shared.kernel.lock().unwrap();
        // The kernel's store to the low half: one atomic step against all others.
        let mut seen = word.load(Relaxed);
        while let Err(now) = word.compare_exchange(seen, seen & !(u32::MAX as u64) | low as u64, SeqCst, Relaxed) {
            seen = now;
        }
        drop(dead);
        self.shared.woken.notify_all();
    }
}

impl Line for Process<'_> {
    fn place(&self, reference: u64) -> Option<Place<'_>> {
        let i = reference as usize;
        Some(Place { turn: self.shared.turns.get(i)?, flags: &self.shared.flags[i] })
    }

    fn next_in_line(&self) -> Option<u64> {
        let dead = *self.shared.kernel.lock().unwrap();
        (0..SLOTS).filter(|i| dead & 1 << i == 0).find(|i| self.shared.turns[*i].load(Acquire) == IN_LINE).map(|i| i as u64)
    }

    fn wake(&self, _: &AtomicU32) {
        drop(self.shared.kernel.lock().unwrap());
        self.shared.woken.notify_all();
    }
}

impl Ledger for Process<'_> {
    fn entry(&self, i: u32) -> Option<EntryWords<'_>> {
        let i = i as usize;
        Some(EntryWords { op: self.shared.ops.get(i)?, arg: self.shared.args.get(i)? })
    }

    fn verdict(&self, entry: u32, number: u64) -> Verdict {
        joint::verdict(&self.shared.joints[entry as usize], number as u32)
    }

    fn wake_pending(&self, word: &AtomicU64) {
        let dead = self.shared.kernel.lock().unwrap();
        let mut seen = word.load(Relaxed);
        let clear = count::WAITERS | count::PENDING;
        while let Err(now) = word.compare_exchange(seen, seen & !clear, SeqCst, Relaxed) {
            seen = now;
        }
        drop(dead);
        self.shared.woken.notify_all();
    }
}

impl Reclaim for Process<'_> {
    fn reclaim(&self) -> Reclaimed {
        let (dead, members) = (*self.shared.kernel.lock().unwrap(), self.shared.members.load(SeqCst) as u32);
        let mut ended = Reclaimed::Nothing;
        for e in (0..SLOTS as u32).filter(|e| dead & members & 1 << e != 0) {
            if Op(self.shared.ops[e as usize].load(Acquire)).doing() != Doing::Idle {
                let words = self.shared.permits();
                count::recover(&words.count, self, e, || true, || words.is_reserved());
                ended = Reclaimed::Some;
            }
            self.known_dead.set(self.known_dead.get() | 1 << e);
        }
        ended
    }
}

impl Restore for Process<'_> {
    fn restore(&self) -> bool {
        let mut some = false;
        for e in 0..SLOTS as u32 {
            let op = Op(self.shared.ops[e as usize].load(Acquire));
            if op.doing() == Doing::Giving {
                let words = self.shared.permits();
                count::give(&words.count, self, e, op, || words.is_reserved());
                some = true;
            }
        }
        some
    }
}

pub fn owner(slot: u32) -> Owner {
    Owner::new(slot, 1)
}

impl Shared {
    pub fn permits(&self) -> PermitWords<'_> {
        PermitWords {
            count: CountWords { count: &self.count, bounds: &self.bounds, event: self.is_event },
            oldest: &self.permits_oldest,
            cell: &self.cell,
            generation: 1,
        }
    }

    /// A pool of so many.
    pub fn with_permits(total: u32) -> Arc<Shared> {
        let s = Shared::new();
        s.count.store(Count::first(0, 1, total).0, SeqCst);
        s.bounds.store(Bounds::first(0, total, total).bits(), SeqCst);
        s
    }

    /// Free and held permits are as many as there are.
    pub fn balance(&self, slot: u32) {
        let p = Process::new(self, slot, 0);
        p.reclaim();
        let w = count::settle(&self.permits().count, &p);
        let held: u32 = (0..SLOTS).map(|i| Op(self.ops[i].load(SeqCst))).map(|op| op.permits() + op.rest()).sum();
        assert_eq!(held as i64 + w.free() as i64, Bounds::read(self.bounds.load(SeqCst)).total as i64, "{w:?}");
    }
}

/// Owns it, touches what only owners may touch.
pub fn cycle(s: &Shared, slot: u32) {
    enter(s, slot, 0);
    leave(s, slot);
}

pub fn leave(s: &Shared, slot: u32) {
    assert!(protocol::release(&Process::new(s, slot, 0), &s.words(), owner(slot), false));
}

fn enter(s: &Shared, slot: u32, now: u64) {
    let mut p = Process::new(s, slot, now);
    assert_eq!(protocol::acquire(&mut p, &s.words(), owner(slot), Limit::Never), Ok(Outcome::Owned));
    s.inside.with_mut(|p| {
        // SAFETY: only the owner of the semaphore is here; loom would report a second one.
        unsafe { *p += 1 }
    });
}

pub fn bounded(f: impl Fn() + Sync + Send + 'static) {
    preempted(3, f);
}

/// For the longer ones: every interleaving with at most so many switches that nothing forces.
pub fn preempted(bound: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut b = loom::model::Builder::new();
    b.preemption_bound = Some(bound);
    b.check(f);
}

#[test]
fn loom_two_processes_exclude_each_other_and_nobody_stays_asleep() {
    bounded(|| {
        let s = Shared::new();
        let other = {
            let s = s.clone();
            loom::thread::spawn(move || {
                cycle(&s, 1);
                cycle(&s, 1);
            })
        };
        cycle(&s, 2);
        other.join().unwrap();
        assert_eq!(Word(s.word.load(SeqCst)).state(), State::Free);
        // SAFETY: both processes have ended.
        assert_eq!(s.inside.with(|p| unsafe { *p }), 3);
    });
}

#[test]
fn loom_three_processes() {
    bounded(|| {
        let s = Shared::new();
        let others: Vec<_> = [1, 2]
            .map(|slot| {
                let s = s.clone();
                loom::thread::spawn(move || cycle(&s, slot))
            })
            .into();
        cycle(&s, 4);
        for o in others {
            o.join().unwrap();
        }
        assert_eq!(Word(s.word.load(SeqCst)).state(), State::Free);
    });
}

#[test]
fn loom_an_owner_that_dies_at_any_time_is_succeeded() {
    bounded(|| {
        let s = Shared::new();
        enter(&s, 1, 0);
        let waiter = {
            let s = s.clone();
            loom::thread::spawn(move || {
                enter(&s, 2, 0);
                let w = Word(s.word.load(SeqCst));
                assert!(w.has(MARK) && w.owner() == Some(owner(2)));
                leave(&s, 2);
            })
        };
        s.die(1);
        waiter.join().unwrap();
        let w = Word(s.word.load(SeqCst));
        assert!(w.state() == State::Free && w.has(MARK));
    });
}

#[test]
fn loom_two_takers_of_one_dead_owner() {
    bounded(|| {
        let s = Shared::new();
        enter(&s, 1, 0);
        s.die(1);
        let other = {
            let s = s.clone();
            loom::thread::spawn(move || cycle(&s, 2))
        };
        cycle(&s, 4);
        other.join().unwrap();
        let w = Word(s.word.load(SeqCst));
        assert!(w.state() == State::Free && w.has(MARK));
    });
}

#[test]
fn loom_reservations_of_waiters_past_their_bound() {
    bounded(|| {
        let s = Shared::new();
        let others: Vec<_> = [1, 2]
            .map(|slot| {
                let s = s.clone();
                loom::thread::spawn(move || {
                    enter(&s, slot, protocol::BOUND);
                    leave(&s, slot);
                })
            })
            .into();
        cycle(&s, 4);
        for o in others {
            o.join().unwrap();
        }
        assert_eq!(Word(s.word.load(SeqCst)).state(), State::Free);
        assert_eq!(s.oldest.load(SeqCst), 0);
    });
}

#[test]
fn loom_a_waiter_with_a_reservation_dies() {
    bounded(|| {
        let s = Shared::new();
        enter(&s, 1, 0);
        // Process 5 has entered itself as the oldest; it dies without ever taking the semaphore.
        s.oldest.store(5, SeqCst);
        let waiter = {
            let s = s.clone();
            loom::thread::spawn(move || cycle(&s, 2))
        };
        let killer = {
            let s = s.clone();
            loom::thread::spawn(move || s.die(5))
        };
        leave(&s, 1);
        killer.join().unwrap();
        waiter.join().unwrap();
        assert_eq!(Word(s.word.load(SeqCst)).state(), State::Free);
    });
}
