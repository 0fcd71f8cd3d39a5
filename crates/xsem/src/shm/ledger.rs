//! The ledger of a semaphore in the file: the entries of those who hold permits, or are about to, or have an ephemeral name
//! open. An entry that was linked once stays in its ledger until the semaphore is removed; who needs one takes a vacant
//! one, or adds one at the front.

use super::arena::Arena;
use super::blob;
use super::chain::Circle;
use super::count::{self, Count, CountWords, Doing, EntryWords, Ledger, Op, PENDING, Verdict, WAITERS};
use super::joint;
use super::layout::{Cell, Entry};
use super::map::Map;
use super::members::Life;
use super::names;
use super::obituary;
use super::permits::{PermitWords, Reclaimed};
use super::protocol::Gate;
use super::signal::Restore;
use super::word::{Owner, Word};
use crate::claim::{Cause, Kind};
use crate::error::{Code, Error, Result};
use crate::sync::{AtomicU64, Ordering::*, fence};
use std::collections::BTreeSet;

/// One semaphore's ledger.
#[derive(Clone, Copy)]
pub struct Book {
    pub arena: &'static Arena,
    pub cell: &'static Cell,
    pub index: u32,
    pub generation: u32,
}

impl Ledger for Book {
    fn entry(&self, i: u32) -> Option<EntryWords<'_>> {
        self.arena.map.entry(i).map(|e| EntryWords { op: &e.op, arg: &e.arg })
    }

    fn verdict(&self, entry: u32, number: u64) -> Verdict {
        let owner = self.arena.map.entry(entry).and_then(owner_of);
        match owner.and_then(|o| self.arena.map.joint(o.slot())) {
            Some(j) => {
                names::be_patient(self.arena, owner, &j.state, number as u32);
                joint::verdict(&j.state, number as u32)
            }
            // Damaged: nobody can have committed it.
            None => Verdict::Failed,
        }
    }

    fn wake_pending(&self, word: &AtomicU64) {
        super::futex::clear_low_and_wake_all(word, (WAITERS | PENDING) as u32);
    }
}

impl Restore for Book {
    fn restore(&self) -> bool {
        self.give_outstanding()
    }
}

/// Who an entry belongs to.
pub fn owner_of(e: &Entry) -> Option<Owner> {
    Owner::from_bits((e.who.load(Acquire) >> 32) as u32)
}

impl Book {
    /// Limit and total.
    pub fn bounds(&self) -> &'static AtomicU64 {
        static NONE: AtomicU64 = AtomicU64::new(0);
        self.arena.map.cold(self.index).map_or(&NONE, |c| &c.bounds)
    }

    /// The atomics that the protocol moves.
    pub fn words(&self) -> PermitWords<'static> {
        self.words_with(self.bounds())
    }

    /// The same where the bounds are known.
    #[inline]
    pub fn words_with(&self, bounds: &'static AtomicU64) -> PermitWords<'static> {
        PermitWords {
            count: CountWords { count: &self.cell.claim, bounds, event: super::inspect::is_event(self.cell) },
            oldest: &self.cell.oldest,
            cell: &self.cell.word,
            generation: self.generation,
        }
    }

    /// Whether it belongs to a count word; that of an exclusive semaphore only says who has it open.
    fn counts(&self) -> bool {
        super::inspect::has_count(self.cell)
    }

    /// Carries out what was decided to be given back and is not: whoever was at it may have been stopped or killed, also one
    /// who was ending somebody else's claim. No allocation, no lock.
    pub fn give_outstanding(&self) -> bool {
        let mut some = false;
        for (i, e) in self.entries() {
            let op = Op(e.op.load(Acquire));
            if op.doing() == Doing::Giving {
                let words = self.words();
                count::give(&words.count, self, i, op, || words.is_reserved());
                some = true;
            }
        }
        some
    }

    fn target(&self) -> u64 {
        super::waiters::target(self.index, self.generation)
    }

    /// Its entries, the latest first.
    pub fn entries(&self) -> impl Iterator<Item = (u32, &'static Entry)> + '_ {
        let first = self.arena.map.cold(self.index).map_or(0, |c| c.ledger.load(Acquire) as u32);
        chain(&self.arena.map, first).filter(|(_, e)| e.target.load(Acquire) == self.target())
    }

    /// The entries that hold permits, after the word was settled.
    pub fn holds(&self) -> impl Iterator<Item = (u32, &'static Entry, Op)> + '_ {
        self.entries().filter_map(|(i, e)| {
            let op = Op(e.op.load(Acquire));
            matches!(op.doing(), Doing::Held | Doing::Giving | Doing::Using).then_some((i, e, op))
        })
    }

    /// The members that have an entry, except `me`.
    pub fn members(&self, me: Owner) -> BTreeSet<Owner> {
        self.entries().filter_map(|(_, e)| owner_of(e)).filter(|o| *o != me).collect()
    }

    /// An entry of its own for `me`, at rest.
    pub fn take_entry(&self, me: Owner, claimant: u32) -> Result<u32> {
        // Those of the dead are vacant as soon as somebody looks.
        let found = self.vacant_entry(me, claimant).or_else(|| {
            self.reclaim();
            self.vacant_entry(me, claimant)
        });
        match found {
            Some(i) => Ok(i),
            None => {
                let i = self.add_entry((me.bits() as u64) << 32 | claimant as u64)?;
                self.tell_sleepers();
                Ok(i)
            }
        }
    }

    /// One that nobody has, if there is one. No allocation, no lock.
    pub fn vacant_entry(&self, me: Owner, claimant: u32) -> Option<u32> {
        let mine = (me.bits() as u64) << 32 | claimant as u64;
        let vacant = |e: &Entry| e.who.load(Relaxed) == 0 && e.who.compare_exchange(0, mine, AcqRel, Relaxed).is_ok();
        let (i, _) = self.entries().find(|(_, e)| vacant(e))?;
        self.tell_sleepers();
        Some(i)
    }

    /// There is one more who may hold permits.
    fn tell_sleepers(&self) {
        if !self.counts() {
            return;
        }
        // Who sleeps watches those members that had an entry when it fell asleep. Now there is one more: the word changes,
        // so that who is about to sleep looks again, too.
        fence(SeqCst);
        let words = self.words().count;
        loop {
            let w = words.load();
            if !w.has(WAITERS) || self.words().is_gone() {
                break;
            }
            if words.swap(w, w.with_flags(w.flags() | PENDING)) {
                self.wake_pending(words.count);
                break;
            }
        }
    }

    fn add_entry(&self, mine: u64) -> Result<u32> {
        let map = &self.arena.map;
        let (i, e) = new_entry(self.arena, mine)?;
        e.token.store(0, Relaxed);
        e.label.store(0, Relaxed);
        e.slots.store(0, Relaxed);
        let op = Op(e.op.load(Relaxed));
        if op.doing() != Doing::Idle {
            // Left by somebody who died before it was linked anywhere.
            e.op.store(op.aside(Doing::Idle).0, Relaxed);
        }
        e.target.store(self.target(), Release);
        let cold = map.ensure_cold(self.index)?;
        let mut seen = cold.ledger.load(Acquire);
        loop {
            e.next.store(seen as u32, Release);
            match cold.ledger.compare_exchange(seen, seen & !(u32::MAX as u64) | (i as u64 + 1), AcqRel, Acquire) {
                Ok(_) => return Ok(i),
                Err(now) => seen = now,
            }
        }
    }

    /// Gives an entry of the caller back, which is at rest.
    pub fn give_entry(&self, i: u32) {
        if let Some(e) = self.arena.map.entry(i) {
            if e.target.load(Acquire) == self.target() {
                self.drop_label(e);
            }
            e.who.store(0, Release);
            if e.target.load(Acquire) == 0 {
                blob::give_hint(&self.arena.map.header().cursors.entry_hints, i);
            }
        }
    }

    /// Frees the label of an entry.
    pub fn drop_label(&self, e: &Entry) {
        blob::free(&self.arena.map, self.index, e.label.swap(0, AcqRel));
    }

    /// Ends the claims of members that are dead and past their gates.
    pub fn reclaim(&self) -> Reclaimed {
        let (map, members) = (&self.arena.map, &self.arena.members);
        let mut result = Reclaimed::Nothing;
        if self.counts() {
            self.settled();
            if self.give_outstanding() {
                result = Reclaimed::Some;
            }
        }
        for (i, e) in self.entries() {
            let Some(owner) = owner_of(e) else { continue };
            let gate = match members.life(map, owner) {
                Life::Alive => continue,
                Life::Dead => members.gate(map, owner.slot()),
                Life::Gone => Gate::Open,
            };
            let holds = !matches!(Op(e.op.load(Acquire)).doing(), Doing::Idle | Doing::User);
            match gate {
                Gate::Open => {
                    self.end_of_dead(i, e, owner);
                    if holds {
                        result = Reclaimed::Some;
                    }
                }
                _ if !holds => {}
                gate if result == Reclaimed::Nothing => {
                    result = Reclaimed::NotYet { dead: owner, covered: gate == Gate::Covering };
                }
                _ => {}
            }
        }
        result
    }

    /// Ends what an entry of a dead owner held, tells the death, and makes the entry vacant. Several may do it at once.
    pub fn end_of_dead(&self, i: u32, e: &Entry, owner: Owner) {
        let who = e.who.load(Acquire);
        if (who >> 32) as u32 != owner.bits() {
            return;
        }
        self.end_of(i, e, owner, Cause::ProcessEnded, || e.who.load(Acquire) == who);
        let _ = e.who.compare_exchange(who, 0, AcqRel, Relaxed);
    }

    /// Ends what an entry held whose owner does not touch it any more, and tells it.
    pub fn end_of(&self, i: u32, e: &Entry, owner: Owner, cause: Cause, stands: impl Fn() -> bool + Copy) {
        if !self.counts() {
            return;
        }
        // So that it is clear whether it holds something.
        count::settle(&self.words().count, self);
        let op = Op(e.op.load(Acquire));
        if matches!(op.doing(), Doing::Held | Doing::Giving | Doing::Using) && !super::inspect::is_event(self.cell) {
            let still = || stands() && Op(e.op.load(Acquire)) == op;
            let token = e.token.load(Acquire);
            let facts = obituary::Facts { tokens: (token, token), since: e.since.load(Relaxed), label: self.label(e) };
            obituary::publish(self.arena, (self.index, self.generation), owner, facts, cause, still);
        }
        let words = self.words();
        count::recover(&words.count, self, i, stands, || words.is_reserved());
    }

    /// The label of an entry's claim.
    pub fn label(&self, e: &Entry) -> Option<String> {
        let first = e.label.load(Acquire);
        let bytes = blob::get(&self.arena.map, self.index, first)?;
        (e.label.load(Acquire) == first).then(|| super::members::shorten(&String::from_utf8_lossy(&bytes), 120))
    }

    /// The word now, with the ledger in accord with it.
    pub fn settled(&self) -> Count {
        count::settle(&self.words().count, self)
    }
}

/// Walks a chain of entries.
pub fn chain(map: &'static Map, first: u32) -> impl Iterator<Item = (u32, &'static Entry)> {
    let mut at = first;
    let mut circle = Circle::default();
    std::iter::from_fn(move || {
        let i = at.checked_sub(1).filter(|i| !circle.closes_at(*i))?;
        let e = map.entry(i)?;
        at = e.next.load(Acquire);
        Some((i, e))
    })
}

/// An entry that is in no ledger, taken for `mine`.
fn new_entry(arena: &'static Arena, mine: u64) -> Result<(u32, &'static Entry)> {
    let map = &arena.map;
    let c = &map.header().cursors;
    let try_take = |i: u32| {
        let e = map.entry(i)?;
        // Who dies after this and before it is linked has lost one entry until the table is full.
        let free = e.target.load(Acquire) == 0 && e.who.load(Relaxed) == 0;
        if !free || e.who.compare_exchange(0, mine, AcqRel, Relaxed).is_err() {
            return None;
        }
        if e.target.load(Acquire) != 0 {
            // Somebody took it, linked it and gave it back in between: it belongs to that ledger.
            e.who.store(0, Release);
            return None;
        }
        Some((i, e))
    };
    while let Some(i) = blob::take_hint(&c.entry_hints) {
        if let Some(found) = try_take(i) {
            return Ok(found);
        }
    }
    while let Some(i) = map.bump(&c.entries, map.geo.entries, map.geo.ledger_at, 64)? {
        if let Some(found) = try_take(i) {
            return Ok(found);
        }
    }
    let start = c.scan_entries.load(Relaxed);
    for k in 0..map.geo.entries {
        let i = start.wrapping_add(k) % map.geo.entries;
        if let Some(e) = map.entry(i)
            && e.target.load(Acquire) == 0
            && let Some(owner) = owner_of(e)
            && (arena.members.life(map, owner) == Life::Gone
                || arena.members.life(map, owner) == Life::Dead && arena.members.gate_is_open(map, owner.slot()))
        {
            let who = e.who.load(Acquire);
            if (who >> 32) as u32 == owner.bits() {
                let _ = e.who.compare_exchange(who, 0, AcqRel, Relaxed);
            }
        }
        if let Some(found) = try_take(i) {
            c.scan_entries.store(i, Relaxed);
            return Ok(found);
        }
    }
    Err(Error::new(Code::TooManySemaphores, format!("{} claims on counting semaphores are the limit", map.geo.entries))
        .advice("release some, or use a namespace with a larger limit of semaphores"))
}

/// Frees the ledger of a cell that is being cleared: nobody can reach it through the name any more, and its count word
/// names no entry.
pub fn clear(arena: &'static Arena, index: u32) {
    let map = &arena.map;
    let Some(cold) = map.cold(index) else { return };
    let all: Vec<_> = chain(map, cold.ledger.load(Acquire) as u32)
        .filter(|(_, e)| (e.target.load(Acquire) as u32).checked_sub(1) == Some(index))
        .collect();
    // From the end, so that one who dies in the middle leaves a shorter chain to be freed again.
    for (i, e) in all.into_iter().rev() {
        blob::free(map, index, e.label.swap(0, AcqRel));
        // Nobody holds anything, but a process may keep the entry for its next claim: it notices, and gives it back. That
        // of a dead process waits until the table is full.
        e.target.store(0, Release);
        if e.who.load(Acquire) == 0 {
            blob::give_hint(&map.header().cursors.entry_hints, i);
        }
    }
    let high = (cold.ledger.swap(0, AcqRel) >> 32) as u32;
    if map.cell(index).and_then(super::inspect::kind_of) == Some(Kind::Counting) {
        super::slots::free(map, index, high);
    }
}

/// The generation of a cell whose word is TENTATIVE, from its link.
pub fn generation_of(cell: &Cell) -> u32 {
    let word = Word(cell.word.load(Acquire));
    match word.state() {
        super::word::State::Tentative(_) => (cell.next.load(Acquire) >> 33) as u32,
        _ => word.generation(),
    }
}
