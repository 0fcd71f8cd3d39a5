//! What the workers do in signal handlers, which the supervisor makes run at any instant: signal events, add permits to the
//! credit, spend releases that were prepared, and see that acquiring is refused.

use super::super::account::STEADY;
use super::super::ledger::{Count, Ledger, THREADS};
use super::super::signals::{CREDIT, EVENTS, Intent, Place};
use super::name;
use super::signals::{open_credit, open_event};
use crate::sys;
use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use xsem::{AcquireError, Code, Counting, Event, Exclusive, Namespace, SignalRelease};

/// The signal that the supervisor sends.
pub(in super::super) const SIGNAL: i32 = libc::SIGUSR1;

/// What a handler needs, made before the first one may run.
struct Context {
    ledger: &'static Ledger,
    slot: AtomicUsize,
    events: [Event; EVENTS],
    credit: Counting,
    exclusive: Exclusive,
    /// False in a forked child that could not add permits in normal code yet, so that it may not do so in a handler.
    may_add: AtomicBool,
    /// How many have run: each does something else.
    turn: AtomicUsize,
    /// What a thread would like a handler to spend, in whichever thread that runs.
    offers: [Offer; THREADS],
}

/// A prepared release on offer.
#[derive(Default)]
struct Offer {
    release: AtomicPtr<SignalRelease>,
    /// How it was spent: 1 well, 2 in vain.
    spent: AtomicU32,
}

impl Offer {
    /// Spends what is on offer, if there is something. Whoever takes it is the only one.
    fn take(&self) -> bool {
        let release = self.release.swap(null_mut(), SeqCst);
        if release.is_null() {
            return false;
        }
        // SAFETY: it was put there by `offer`, which does not let it go before `spent` says that this is done.
        let well = unsafe { &*release }.spend();
        self.spent.store(if well { 1 } else { 2 }, SeqCst);
        true
    }
}

/// Offers a prepared release to the handlers for a moment, then spends it in normal code. Whether it was well spent.
pub(super) fn offer(ledger: &Ledger, thread: usize, release: &SignalRelease) -> bool {
    let Some(c) = CONTEXT.get() else { return release.spend() };
    let offer = &c.offers[thread];
    offer.spent.store(0, SeqCst);
    offer.release.store(std::ptr::from_ref(release).cast_mut(), SeqCst);
    let begin = Instant::now();
    while offer.spent.load(SeqCst) == 0 && begin.elapsed() < Duration::from_micros(300) {
        std::hint::spin_loop();
    }
    if !offer.take() {
        ledger.count(Count::SpentByHandlers);
    }
    // A handler that has taken it is on its way.
    while offer.spent.load(SeqCst) == 0 {
        std::hint::spin_loop();
    }
    offer.spent.load(SeqCst) == 1
}

static CONTEXT: OnceLock<Context> = OnceLock::new();

thread_local! {
    /// Which of the process's threads this is, once it may be interrupted. No destructor, so a handler may read it.
    static ME: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Opens what handlers use and installs them; threads that `may_come` are interrupted.
pub(super) fn install(ledger: &'static Ledger, ns: &Namespace, slot: usize) -> xsem::Result<()> {
    let mut events = Vec::new();
    for e in 0..EVENTS {
        events.push(open_event(ns, e)?);
    }
    let events = events.try_into().unwrap_or_else(|_| unreachable!("as many as there are"));
    let (credit, exclusive) = (open_credit(ns)?, Exclusive::open_or_create(ns, &name(STEADY - 1))?);
    let _ = CONTEXT.set(Context {
        ledger,
        slot: AtomicUsize::new(slot),
        events,
        credit,
        exclusive,
        may_add: AtomicBool::new(true),
        turn: AtomicUsize::new(slot),
        offers: Default::default(),
    });
    sys::on_signal(SIGNAL, run);
    Ok(())
}

/// In a forked child: handlers that come write down what they do at its own place, and do not spend what its parent offers.
pub(super) fn move_to(slot: usize) {
    ME.set(None);
    let Some(c) = CONTEXT.get() else { return };
    c.slot.store(slot, SeqCst);
    c.offers.iter().for_each(|o| o.release.store(null_mut(), SeqCst));
    // A child is no member before it does something in normal code.
    let (who, s) = (Place::of(slot, 0), &c.ledger.signals);
    s.say(who, Intent::up(CREDIT, 1));
    let added = c.credit.add_permits(1);
    s.did(CREDIT, added.is_ok().into());
    s.done(who);
    c.may_add.store(added.is_ok(), SeqCst);
}

/// From now on the supervisor interrupts the calling thread.
pub(super) fn may_come(ledger: &Ledger, slot: usize, thread: usize) {
    ME.set(Some(thread));
    ledger.processes[slot].claimants[thread].tid.store(sys::own_tid() as u32, SeqCst);
}

/// No more.
pub(super) fn may_not_come(ledger: &Ledger, slot: usize, thread: usize) {
    ledger.processes[slot].claimants[thread].tid.store(0, SeqCst);
}

/// The handler. Allocates nothing and takes no lock, unless something is wrong.
extern "C" fn run(_: i32) {
    let (Some(c), Some(me)) = (CONTEXT.get(), ME.get()) else { return };
    let who = Place::of(c.slot.load(SeqCst), me).handler();
    let turn = c.turn.fetch_add(1, SeqCst);
    let e = turn % EVENTS;
    let s = &c.ledger.signals;
    // Said before it looks whether all shall rest: who says so looks here after that.
    s.say(who, Intent::up(e, 1).and(Intent::up(CREDIT, 1)));
    if c.ledger.quiet.load(SeqCst) == 0 {
        match c.events[e].signal() {
            Ok(changed) => s.did(e, changed.into()),
            Err(_) => c.ledger.violation("a handler could not signal an event"),
        }
        match c.credit.add_permits(1).map_err(|e| e.code()) {
            Ok(()) => s.did(CREDIT, 1),
            // There are enough.
            Err(Code::TooManyPosts) => {}
            Err(Code::InvalidAtInterruptTime) if !c.may_add.load(SeqCst) => {}
            Err(_) => c.ledger.violation("a handler could not add a permit to the credit"),
        }
        c.offers[turn % THREADS].take();
        match c.exclusive.try_acquire() {
            Err(AcquireError::Failed(e)) if e.code() == Code::InvalidAtInterruptTime => {}
            _ => c.ledger.violation("a handler asked for an exclusive semaphore, and did not get 104"),
        }
        s.handled.fetch_add(1, SeqCst);
    }
    s.done(who);
}
