//! The protocol's surroundings in shared memory.

use super::careful::Ticket;
use super::count::{EntryWords, Ledger, Verdict};
use super::deadlock::{self, Closed};
use super::drain;
use super::futex;
use super::layout::Waiter;
use super::ledger::Book;
use super::line::{self, FOLLOWED, IN_LINE, Line, OVER, Place};
use super::members::Life;
use super::names;
use super::object::ShmExclusive;
use super::permits::{Reclaim, Reclaimed};
use super::plain;
use super::protocol::{Gate, LAPSE, Stuck, Takeover, Waiting, Watching, World};
use super::sharing;
use super::signal::Restore;
use super::sleep::{self, Spot};
use super::thread;
use super::waiters::{self, DEADLINE, Record, Waits};
use super::word::{Owner, Word};
use crate::claim::Edge;
use crate::deadline::now;
use crate::engine::{Account, Request, Until};
use crate::error::{Error, Result};
use crate::sync::{AtomicU32, AtomicU64, Ordering::*, fence};
use std::cell::Cell as StdCell;

/// In line until it is called, as far as tests can tell.
const AN_HOUR: u64 = 3_600_000_000_000;

/// One request at one semaphore.
pub struct ShmWorld<'a> {
    pub sem: &'a ShmExclusive,
    pub me: Owner,
    pub request: Option<&'a Request<'a>>,
    /// The wait record, once there is one.
    pub record: Option<Record<'static>>,
    /// When the wait began.
    pub since: u64,
    /// Permits wanted.
    pub permits: u32,
    /// Flags of the wait record: of several, any or all.
    pub mode: u32,
    /// The first record of the same wait + 1.
    pub group: Option<u32>,
    /// The cycle that waiting would close.
    pub cycle: StdCell<Vec<Edge>>,
    gave_up: StdCell<bool>,
    next_search: StdCell<u64>,
}

/// What a request that is polled keeps of its surroundings from poll to poll.
#[derive(Default)]
pub struct Kept {
    record: Option<Record<'static>>,
    since: u64,
    permits: u32,
    mode: u32,
    group: Option<u32>,
    next_search: u64,
}

impl Kept {
    /// In a forked child: the record is the parent's, and stays as it is.
    pub fn forget(self) {
        std::mem::forget(self.record);
    }
}

impl<'a> ShmWorld<'a> {
    /// The surroundings that were kept.
    pub fn with(sem: &'a ShmExclusive, me: Owner, request: &'a Request<'a>, kept: Kept) -> Self {
        let Kept { record, since, permits, mode, group, next_search } = kept;
        let next_search = StdCell::new(next_search);
        ShmWorld { record, since, permits, mode, group, next_search, ..ShmWorld::new(sem, me, Some(request)) }
    }

    /// Keeps them until the next poll.
    pub fn keep(self) -> Kept {
        let ShmWorld { record, since, permits, mode, group, next_search, .. } = self;
        Kept { record, since, permits, mode, group, next_search: next_search.get() }
    }

    /// Nothing has been done yet.
    pub fn new(sem: &'a ShmExclusive, me: Owner, request: Option<&'a Request<'a>>) -> Self {
        ShmWorld {
            sem,
            me,
            request,
            record: None,
            since: 0,
            permits: request.map_or(1, |r| r.permits),
            mode: 0,
            group: None,
            cycle: StdCell::default(),
            gave_up: StdCell::new(false),
            next_search: StdCell::new(0),
        }
    }

    fn book(&self) -> Book {
        self.sem.book()
    }

    fn reference(&self) -> Option<u64> {
        self.record.as_ref().map(|r| r.index as u64 + 1)
    }

    /// How long it has waited; 0: not at all.
    pub fn waited(&self) -> u64 {
        if self.record.is_some() { now().saturating_sub(self.since).max(1) } else { 0 }
    }

    /// Whether nobody can be waiting for something that the caller holds, or that ends with it.
    pub fn has_nothing_to_give(&self) -> bool {
        let account = self.request.map(|r| r.account).unwrap_or_default();
        let nothing = match account {
            Account::Thread => thread::owns_nothing(),
            Account::Nobody => true,
            Account::Claimant(c) => c.owns_nothing(),
        };
        nothing && deadlock::runs_inside(self.sem.arena, self.me).is_none()
    }
}

impl World for ShmWorld<'_> {
    type Error = Error;

    fn now(&self) -> u64 {
        now()
    }

    fn is_alive(&self, owner: Owner) -> bool {
        owner == self.me || self.sem.arena.members.life(&self.sem.arena.map, owner) == Life::Alive
    }

    fn record(&mut self) -> Result<(u64, u64)> {
        let arena = &self.sem.arena;
        let record = Record::take(&arena.map, self.me)?;
        // The parts of one wait began at one time.
        if self.since == 0 {
            self.since = now();
        }
        if let Some(r) = self.request {
            let flags = self.mode | if matches!(r.until, Until::Deadline(_)) { DEADLINE } else { 0 };
            let waits = Waits { since: self.since, permits: self.permits, flags, group: self.group };
            record.publish(self.me, r.claimant, self.sem.target(), waits);
            // Before the word is looked at again: whoever drains it changes the word, and then looks for waiters.
            fence(SeqCst);
        }
        let reference = record.index as u64 + 1;
        self.record = Some(record);
        if let Ok(cold) = arena.map.ensure_cold(self.sem.index) {
            cold.contended.fetch_add(1, Relaxed);
        }
        tracing::debug!(name = %self.sem.name(), "waits");
        Ok((reference, self.since))
    }

    fn waiting(&self, reference: u64) -> Option<Waiting> {
        let w = self.sem.arena.map.waiter((reference as u32).checked_sub(1)?)?;
        let owner = Owner::from_bits((w.who.load(Acquire) >> 32) as u32)?;
        let (since, seen) = (w.since.load(Relaxed), w.seen.load(Relaxed));
        let (permits, pinged) = (w.permits.load(Relaxed), w.pinged.load(Relaxed));
        (w.target.load(Acquire) == self.sem.target() && self.is_alive(owner)).then_some(Waiting {
            since,
            first: line::first_since(w.turn.load(Relaxed), since, now),
            owner,
            permits,
            seen,
            pinged,
        })
    }

    fn holds_something(&self) -> bool {
        !self.has_nothing_to_give()
    }

    fn ping(&self, reference: u64, now: u64) {
        if let Some(w) = (reference as u32).checked_sub(1).and_then(|i| self.sem.arena.map.waiter(i)) {
            w.pinged.store(now, Relaxed);
        }
    }

    fn touch(&self) {
        if let Some(r) = &self.record {
            r.waiter.seen.store(now(), Relaxed);
        }
    }

    fn pulse(&self) -> u64 {
        self.sem.cell().token.load(Relaxed)
    }

    fn line_up(&self, oldest: &AtomicU64) -> Option<(Owner, u64)> {
        let ends = if sleep::LINE_ENDS.load(Relaxed) { LAPSE } else { AN_HOUR };
        let (mine, until) = (self.reference()?, self.since + ends);
        // Who has something to give looks for deadlocks at its time, and may have to pass the oldest.
        let may = self.mode == 0 && now() < until && self.has_nothing_to_give();
        if !may {
            self.record.as_ref()?.waiter.turn.store(0, Relaxed);
            return None;
        }
        line::line_up(self, oldest, mine).map(|first| (first, until))
    }

    fn call_next(&self, oldest: &AtomicU64) {
        if let Some(mine) = self.reference() {
            line::call_next(self, oldest, mine);
        }
    }

    fn step_out(&self) {
        if let Some(r) = &self.record {
            r.waiter.turn.swap(OVER, SeqCst);
        }
    }

    fn inherit_line(&self) {
        if let Some(r) = &self.record {
            r.waiter.flags.fetch_or(FOLLOWED, SeqCst);
        }
    }

    fn sleep(&self, word: &AtomicU64, expect: u32, watch: Watching, until: Option<u64>) {
        let spot = Spot { word, expect, watch, book: self.book() };
        let gives_up = match (watch, &self.record) {
            (Watching::InLine(first), Some(r)) => {
                sleep::in_line(self.sem.arena, self.me, (&r.waiter.turn, expect), first, self.request, until)
            }
            _ => sleep::on(self.sem.arena, self.me, &[spot], self.request, until),
        };
        if gives_up {
            self.gave_up.set(true);
        }
    }

    fn is_deadlocked(&self) -> Stuck {
        // Who has nothing is in no cycle. Parts of a wait for several look together.
        if self.has_nothing_to_give() || self.mode != 0 {
            return Stuck::No;
        }
        if self.now() < self.next_search.get() {
            return Stuck::Unclear;
        }
        let Some(r) = self.request else { return Stuck::No };
        match deadlock::closed_by(self.sem.arena, self.me, r.claimant) {
            Closed::No => {
                self.next_search.set(self.now() + deadlock::AGAIN);
                Stuck::No
            }
            Closed::Unclear => Stuck::Unclear,
            Closed::Cycle(cycle) => {
                self.cycle.set(cycle);
                Stuck::Yes
            }
        }
    }

    fn is_drained(&self) -> bool {
        // Who takes over from the dead, to give it back, is no newcomer.
        self.request.is_some() && drain::stands(self.sem, self.me)
    }

    fn settle_joint(&self, _word: &AtomicU64, seen: Word) {
        names::settle(self.sem.arena, self.sem.cell(), seen);
    }

    fn is_cancelled(&self) -> bool {
        self.gave_up.get()
            || self.sem.arena.loss().is_some()
            || self.request.and_then(|r| r.cancel).is_some_and(|c| c.is_cancelled())
    }

    fn gate(&self, dead: Owner) -> Gate {
        let arena = &self.sem.arena;
        match arena.members.life(&arena.map, dead) {
            Life::Alive => Gate::Writing,
            Life::Dead => arena.members.gate(&arena.map, dead.slot()),
            Life::Gone => Gate::Open,
        }
    }

    fn takeover(&self, dead: Owner) -> Takeover {
        let sem = self.sem;
        // Sharers' deaths first: telling them may move the word, and then all of this comes again; the dead owner's own
        // obituary is then the latest, and is not counted twice.
        let heir = sharing::heir(sem, sem.cell().token.load(Acquire), dead);
        sem.bury_owner(dead);
        match heir {
            Some(heir) => Takeover::PassTo(heir),
            None => Takeover::Take,
        }
    }

    fn wait_for_gate(&self, dead: Owner, attempt: u32) {
        self.sem.arena.members.wait_for_gate(&self.sem.arena.map, dead.slot(), attempt);
    }

    fn joiner(&self) -> Option<Owner> {
        sharing::heir(self.sem, self.sem.cell().token.load(Acquire), self.me)
    }

    fn unbook(&self) {
        self.sem.cell().claim.store(0, Relaxed);
    }

    fn wake_all(&self, word: &AtomicU64) {
        futex::wake_all(futex::low(word));
    }

    fn set_low_and_wake_all(&self, word: &AtomicU64, low: u32) {
        futex::set_low_and_wake_all(word, low);
    }

    fn ask(&self) -> Option<Ticket> {
        self.sem.careful().ask(plain::barrier)
    }

    fn is_still(&self, since: Ticket) -> bool {
        self.sem.careful().is_still(since)
    }

    fn calm(&self) {
        self.sem.careful().calm();
    }
}

impl Line for ShmWorld<'_> {
    fn place(&self, reference: u64) -> Option<Place<'_>> {
        let w = self.sem.arena.map.waiter((reference as u32).checked_sub(1)?)?;
        Some(Place { turn: &w.turn, flags: &w.flags })
    }

    fn next_in_line(&self) -> Option<u64> {
        let (map, target) = (&self.sem.arena.map, self.sem.target());
        let all = (0..map.slots()).flat_map(|slot| waiters::of_slot(map, slot));
        let lives = |w: &Waiter| Owner::from_bits((w.who.load(Relaxed) >> 32) as u32).is_some_and(|o| self.is_alive(o));
        // Of the dead last: their rows are far from each other.
        all.filter(|(_, w)| w.turn.load(Acquire) == IN_LINE && w.target.load(Acquire) == target && lives(w))
            .min_by_key(|(_, w)| w.since.load(Relaxed))
            .map(|(index, _)| index as u64 + 1)
    }

    fn wake(&self, turn: &AtomicU32) {
        futex::wake_all(turn);
    }
}

impl Ledger for ShmWorld<'_> {
    fn entry(&self, i: u32) -> Option<EntryWords<'_>> {
        self.sem.arena.map.entry(i).map(|e| EntryWords { op: &e.op, arg: &e.arg })
    }

    fn verdict(&self, entry: u32, number: u64) -> Verdict {
        self.book().verdict(entry, number)
    }

    fn wake_pending(&self, word: &AtomicU64) {
        self.book().wake_pending(word);
    }
}

impl Reclaim for ShmWorld<'_> {
    fn reclaim(&self) -> Reclaimed {
        self.book().reclaim()
    }
}

impl Restore for ShmWorld<'_> {
    fn restore(&self) -> bool {
        self.book().give_outstanding()
    }
}
