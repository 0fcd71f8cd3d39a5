//! What a thread of the torture run does with lists of semaphores.

use super::super::account::{Entry, NAMES, POOLS, STEADY, STEADY_POOLS};
use super::super::ledger::{Count, exclusive, identity, pool};
use super::super::signals::{EVENTS, Intent, MANUAL};
use super::claimant::{Claimant, Next};
use super::{Mix, entry};
use xsem::{AllError, AnyError, Code, Counting, Error, Event, Exclusive, Held, Pick, Wait};

/// An entry of a list.
#[derive(Clone, Copy)]
pub(super) enum Want {
    Exclusive(usize, &'static Exclusive),
    Permits(usize, &'static Counting, u32),
    Event(usize, &'static Event),
}

impl Want {
    pub(super) fn pick(&self) -> Pick<'static> {
        match *self {
            Want::Exclusive(_, s) => s.into(),
            Want::Permits(_, s, n) => Pick::permits(s, n),
            Want::Event(_, e) => e.into(),
        }
    }

    pub(super) fn bit(&self) -> u8 {
        match *self {
            Want::Exclusive(i, _) => exclusive(i),
            Want::Permits(k, ..) => pool(k),
            Want::Event(..) => 0,
        }
    }

    /// Which exclusive semaphore it is.
    pub(super) fn name(&self) -> Option<usize> {
        match *self {
            Want::Exclusive(i, _) => Some(i),
            _ => None,
        }
    }

    /// What it does to an event's account.
    pub(super) fn intent(&self) -> Intent {
        match *self {
            Want::Event(e, _) => Intent::down(e, 1),
            _ => Intent::default(),
        }
    }
}

impl Claimant {
    pub(super) fn list(&mut self) -> Next {
        // Events are signalled now and then; semaphores are given back at once.
        let without_end = self.random.one_in(if self.mix().has_events() { 5 } else { 2 });
        let wants = self.wants(without_end);
        if wants.is_empty() {
            return Next::GoOn;
        }
        let picks: Vec<Pick<'static>> = wants.iter().map(Want::pick).collect();
        let mask = wants.iter().fold(0, |m, w| m | w.bit());
        let token = self.token();
        let way = if without_end { 0 } else { 2 + self.random.below(2) };
        let wait = self.wait(way, token.as_ref());
        let any = self.random.one_in(3);
        self.books.unsure(mask);
        self.books.say(wants.iter().fold(Intent::default(), |all, w| all.and(w.intent())));
        let got = self.waiting(|| if any { self.any(&wants, &picks, wait) } else { self.all(&wants, &picks, wait) });
        // Signals are consumed, and not held.
        for (want, ..) in got.iter().flatten() {
            if let Want::Event(e, _) = *want {
                self.ledger.signals.did(e, if e == MANUAL { 0 } else { -1 });
            }
        }
        self.books.say(Intent::default());
        match got {
            Err(e) => {
                self.books.without(mask);
                self.refused_list(&wants, &e, token.is_some());
                Next::GoOn
            }
            Ok(got) => self.has_list(got),
        }
    }

    /// Two to four different ones, in any order.
    pub(super) fn wants(&mut self, without_end: bool) -> Vec<Want> {
        let events = if self.mix().has_events() { EVENTS } else { 0 };
        let mut left: Vec<usize> = (0..NAMES + POOLS + events).collect();
        let mut wants = Vec::new();
        for _ in 0..2 + self.random.below(3) {
            let at = left.remove(self.random.below(left.len() as u64) as usize);
            let want = match at.checked_sub(NAMES) {
                None => self.handle(at).map(|s| Want::Exclusive(at, s)),
                Some(k) if k >= POOLS => self.event_handle(k - POOLS).map(|e| Want::Event(k - POOLS, e)),
                Some(k) => {
                    let n = self.amount(k, without_end);
                    self.pool(k).map(|s| Want::Permits(k, s, n))
                }
            };
            wants.extend(want);
        }
        wants
    }

    fn any(
        &self,
        wants: &[Want],
        picks: &[Pick<'static>],
        wait: Wait<'_>,
    ) -> Result<Vec<(Want, Held<'static>, Option<Entry>)>, Error> {
        match self.ns.wait_any(picks, wait) {
            Ok(taken) => Ok(vec![(wants[taken.index], taken.held, None)]),
            Err(AnyError::OwnerDied { index, recovery }) => {
                let told = match wants[index] {
                    Want::Exclusive(i, _) => Some(entry(i, recovery.deaths())),
                    Want::Permits(..) | Want::Event(..) => {
                        self.ledger.violation("105 for permits or an event");
                        None
                    }
                };
                Ok(vec![(wants[index], Held::Guard(recovery.into_guard()), told)])
            }
            Err(AnyError::Failed(e)) => Err(e),
        }
    }

    fn all(
        &self,
        wants: &[Want],
        picks: &[Pick<'static>],
        wait: Wait<'_>,
    ) -> Result<Vec<(Want, Held<'static>, Option<Entry>)>, Error> {
        let (all, told) = match self.ns.acquire_all(picks, wait) {
            Ok(all) => (all, vec![None; wants.len()]),
            Err(AllError::OwnerDied(r)) => {
                let died = r.indices();
                let told = |(i, w): (usize, &Want)| match w {
                    Want::Exclusive(name, _) if died.contains(&i) => Some(entry(*name, r.deaths(i))),
                    _ => None,
                };
                let told: Vec<_> = wants.iter().enumerate().map(told).collect();
                (r.into_all(), told)
            }
            Err(AllError::Failed(e)) => return Err(e),
        };
        let held = all.into_vec();
        if held.len() != wants.len() {
            self.ledger.violation(&format!("{} claims for a list of {}", held.len(), wants.len()));
        }
        Ok(wants.iter().copied().zip(held).zip(told).map(|((w, h), t)| (w, h, t)).collect())
    }

    pub(super) fn refused_list(&mut self, wants: &[Want], e: &Error, has_token: bool) {
        let stale = |w: &Want| match w {
            Want::Exclusive(i, _) => *i >= STEADY,
            Want::Permits(k, ..) => *k >= STEADY_POOLS,
            Want::Event(..) => false,
        };
        match e.code() {
            Code::SemTimeout => self.ledger.count(Count::Timeouts),
            // One asynchronous request for an exclusive semaphore, as a try.
            Code::ExclSemAlreadyOwned if matches!(wants, [Want::Exclusive(..)]) => {}
            Code::Interrupt if has_token => self.ledger.count(Count::Cancelled),
            Code::SemIsSet if self.mix() == Mix::Drains => self.ledger.count(Count::Drained),
            // The limit was lowered.
            Code::InvalidParameter if wants.iter().any(|w| matches!(w, Want::Permits(super::RESIZED, ..))) => {}
            // Names were removed: look again.
            Code::InvalidHandle if wants.iter().any(stale) => {
                self.handles[STEADY..].fill(None);
                self.pools[STEADY_POOLS..].fill(None);
            }
            _ => self.ledger.violation(&format!("a list: {e}")),
        }
    }

    /// Everything is taken into the ledger before anything is given back: they are held at one time.
    fn has_list(&mut self, got: Vec<(Want, Held<'static>, Option<Entry>)>) -> Next {
        let mask = got.iter().fold(0, |m, (w, ..)| m | w.bit());
        self.books.holds(mask);
        self.ledger.count(Count::ListGrants);
        let me = self.thread;
        for (want, held, told) in &got {
            if let (Want::Exclusive(i, _), Held::Guard(guard)) = (want, held) {
                self.enter(*i, guard.token(), me, told.as_ref());
            }
        }
        if self.random.one_in(300) {
            // What a thread leaves that ends with all of them.
            self.books.abandons(mask);
            for (want, held, _) in got {
                if let Want::Exclusive(i, _) = want {
                    self.ledger.leave(i, identity(me));
                }
                std::mem::forget(held);
            }
            return Next::End(self.an_end());
        }
        let mut next = Next::GoOn;
        for (want, held, told) in got {
            match (want, held) {
                (Want::Exclusive(i, _), Held::Guard(guard)) => {
                    self.ledger.change(i, identity(me), || (0..50).for_each(|_| std::hint::spin_loop()));
                    if told.is_some() && !self.random.one_in(4) {
                        self.acknowledge(i, guard.mark_consistent());
                    }
                    self.give_back(i, guard);
                }
                (Want::Permits(k, ..), Held::Permit(permit)) => match self.has_permits(k, permit) {
                    Next::GoOn => {}
                    end => next = end,
                },
                (Want::Event(..), Held::Signal(_)) => {}
                _ => self.ledger.violation("a claim of another kind than what was asked for"),
            }
        }
        next
    }
}
