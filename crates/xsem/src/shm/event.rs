//! An open event in shared memory.

use super::counting::ShmCounting;
use super::history::{Note, What};
use super::inspect;
use super::ledger::Book;
use super::object::{ShmExclusive, file_is_gone, limit};
use super::pending::{How, ShmPending};
use super::permits::PermitWords;
use super::protocol::{Look, Outcome, Turn, World};
use super::signal;
use super::users;
use super::world::ShmWorld;
use crate::claim::{Kind, Signal};
use crate::deadline::now_coarse;
use crate::engine::{Claim, Ending, Grant, Object, OwnedRequest, OwnedWant, Pending, Request};
use crate::error::{Code, Error, Fixed, Result};
use crate::interrupt;
use crate::name::Name;
use crate::sync::Ordering::*;
use std::sync::Arc;

/// What [`ShmExclusive::stale`] says, where nothing may be allocated.
static GONE: Fixed = Fixed {
    code: Code::InvalidHandle,
    message: "the event was removed; this handle is stale",
    advice: "open it again, in normal code",
};

/// An open event.
pub struct ShmEvent {
    /// It has the words and, for joint requests, the entries of a counting semaphore.
    pub counted: ShmCounting,
}

impl ShmEvent {
    /// For a cell that was found or made.
    pub fn new(base: ShmExclusive) -> ShmEvent {
        ShmEvent { counted: ShmCounting::new(base) }
    }

    /// The semaphore beneath.
    pub fn base(&self) -> &ShmExclusive {
        &self.counted.base
    }

    /// The atomics that the protocol moves.
    pub fn words(&self) -> PermitWords<'static> {
        self.base().book().words()
    }

    /// Whether it stays signalled until somebody resets it.
    pub fn is_manual(&self) -> bool {
        !inspect::is_auto(self.base().cell())
    }

    /// What a wait gives.
    pub fn seen(&self, claimant: u32, waited: u64) -> Grant {
        let cell = self.base().cell();
        cell.since.store(now_coarse(), Relaxed);
        if self.base().arena.is_recorded() {
            self.base().note(Note { claimant, took: waited, ..Note::of(self.base(), What::ACQUIRED) });
        }
        Grant::new(Claim::new(inspect::acquired(self.base()), 0), None)
    }

    /// One change of the event. Async-signal-safe: atomics, and at most a system call; `errno` is kept.
    fn change(&self, change: fn(&PermitWords<'_>, &Book, bool) -> Option<bool>) -> Result<bool> {
        let done = interrupt::keeping_errno(|| change(&self.words(), &self.base().book(), self.is_manual()));
        done.ok_or_else(|| if interrupt::is_now() { Error::fixed(&GONE) } else { self.base().stale() })
    }

    /// Counts a signal. The caller holds nothing, so the event may be gone by now and its cell another semaphore's: what is
    /// written here must do no harm there. Its token would.
    fn note_signal(&self) {
        let base = self.base();
        if let Some(cold) = base.arena.map.cold(base.index) {
            cold.longest.fetch_add(1, Relaxed);
        }
        base.cell().since.store(now_coarse(), Relaxed);
    }

    /// Writes it down, if it was a change. Async-signal-safe.
    fn noted(&self, changed: bool, what: What) {
        if changed && self.base().arena.is_recorded() {
            self.base().note(Note::of(self.base(), what));
        }
    }

    /// 1: nobody owns an event.
    fn no_claim(&self) -> Error {
        Error::new(Code::InvalidFunction, format!("`{}` is an event: a wait for it leaves nothing to give back", self.name()))
            .of(self.name().as_str())
            .advice("signal and reset change an event")
    }
}

impl Object for ShmEvent {
    fn name(&self) -> &Name {
        self.base().name()
    }

    fn kind(&self) -> Kind {
        Kind::Event
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Grant> {
        let base = self.base();
        let me = base.arena.enroll()?;
        if self.counted.gone() {
            return Err(base.stale());
        }
        let words = self.words();
        let mut world = ShmWorld::new(base, me, Some(request));
        let mut turn = Turn::new();
        let mut looked_at_file = false;
        let done = loop {
            match signal::look(&mut turn, &mut world, &words, self.is_manual(), limit(request)) {
                Ok(Look::End(outcome)) => break Ok(outcome),
                Ok(Look::Sleep { expect, watch, until }) => {
                    if !std::mem::replace(&mut looked_at_file, true) && !base.arena.is_current() {
                        break Err(file_is_gone(base));
                    }
                    world.sleep(words.count.count, expect, watch, until);
                }
                Ok(Look::Gate { dead, attempt }) => world.wait_for_gate(dead, attempt),
                Err(e) => break Err(e),
            }
        };
        let done = done.and_then(|outcome| base.arena.sound().map(|()| outcome));
        let seen = matches!(done, Ok(Outcome::Owned));
        turn.leave(&world, words.count.count, words.oldest, seen);
        if seen {
            return Ok(self.seen(request.claimant, world.waited()));
        }
        Err(done.map_or_else(|e| e, |outcome| base.refused(outcome, &world)))
    }

    fn start(self: Arc<Self>, request: OwnedRequest) -> Result<Box<dyn Pending>> {
        let (arena, permits) = (self.base().arena, request.permits);
        let list = vec![OwnedWant { object: self, permits }];
        Ok(Box::new(ShmPending::new(arena, How::One, list, request)))
    }

    fn release(&self, _claim: &Claim, _ending: Ending) -> Result<()> {
        Err(self.no_claim())
    }

    fn mark_consistent(&self, _claim: &Claim) -> Result<()> {
        Err(self.no_claim())
    }

    fn join(&self, _token: u64) -> Result<Option<Claim>> {
        Err(self.no_claim())
    }

    fn is_held(&self, _claim: &Claim) -> bool {
        false
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn signals_at_interrupt_time(&self) -> bool {
        true
    }

    fn signal(&self) -> Result<bool> {
        let changed = self.change(signal::signal)?;
        if changed {
            self.note_signal();
        }
        self.noted(changed, What::SIGNALLED);
        Ok(changed)
    }

    fn reset(&self) -> Result<bool> {
        let changed = self.change(signal::reset)?;
        self.noted(changed, What::RESET);
        Ok(changed)
    }

    fn signalled(&self) -> Result<Signal> {
        // Looked at before that is asked: one that is removed in between is not signalled either.
        let signal = inspect::signal(&self.base().book());
        if self.counted.gone() { Err(self.base().stale()) } else { Ok(signal) }
    }

    fn close(&self) -> Result<()> {
        users::check_close(self.base())
    }
}

impl std::fmt::Debug for ShmEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = self.words().count.load();
        f.debug_struct("ShmEvent").field("name", self.base().name()).field("word", &word).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::engine::{Engine, Spec};
    use crate::shm::{Options, ShmEngine};

    /// A signaller that was stopped after its signal, while the event was removed and its room used again.
    #[test]
    fn a_late_signaller_leaves_the_next_life_of_its_cell_alone() {
        let dir = tempfile::tempdir().unwrap();
        let engine = ShmEngine::open(&format!("{}/ns", dir.path().display()), &Options::default()).unwrap();
        let name = |n: &str| Name::new(n).unwrap();
        let e = engine.create(&name("e"), &Spec::event(crate::claim::Reset::Auto, false)).unwrap();
        let e = e.as_any().downcast_ref::<ShmEvent>().unwrap();
        // As far as the signal itself.
        assert_eq!(signal::signal(&e.words(), &e.base().book(), false), Some(true));
        engine.remove(&name("e"), None).unwrap();
        let x = engine.create(&name("x"), &Spec::exclusive()).unwrap();
        let x = x.as_any().downcast_ref::<ShmExclusive>().unwrap();
        assert_eq!(x.index, e.base().index, "the same room");
        let grant = x.acquire(&Request::new(crate::shm::claimant(), crate::engine::Until::Forever)).unwrap();
        // The rest of it.
        e.note_signal();
        assert!(x.is_held(&grant.claim));
        x.release(&grant.claim, Ending::Release).unwrap();
    }
    /// Somebody was stopped before a wake-up that has nothing to do with the signal (its entry in the ledger, what a failed
    /// joint request gives back).
    #[test]
    fn what_is_signalled_is_not_reset_because_a_wake_up_is_due() {
        let dir = tempfile::tempdir().unwrap();
        let engine = ShmEngine::open(&format!("{}/ns", dir.path().display()), &Options::default()).unwrap();
        let e = engine.create(&Name::new("e").unwrap(), &Spec::event(crate::claim::Reset::Auto, true)).unwrap();
        let e = e.as_any().downcast_ref::<ShmEvent>().unwrap();
        let words = e.words();
        let w = words.count.load();
        assert!(words.count.swap(w, w.with_flags(super::super::count::WAITERS | super::super::count::PENDING)));
        assert!(e.signalled().unwrap().is_set);
    }
}
