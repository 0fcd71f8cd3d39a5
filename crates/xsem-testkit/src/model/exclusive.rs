//! What one exclusive semaphore does with claims: a pure state machine.

use super::{Claimant, Deaths, Obituary};
use xsem::{Cause, Code};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Hold {
    who: Claimant,
    depth: u32,
    token: u64,
    through: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Exclusive {
    hold: Option<Hold>,
    /// Other processes that share the owner's claim, in the order in which they came.
    guests: Vec<u32>,
    granted: u64,
    deaths: Option<Deaths>,
    died: u64,
}

impl Exclusive {
    /// Who holds it, how deep, with which token.
    pub(super) fn owner(&self) -> Option<(Claimant, u32, u64)> {
        self.hold.map(|h| (h.who, h.depth, h.token))
    }

    /// Through which handle it is held.
    pub(super) fn through(&self) -> Option<u64> {
        self.hold.map(|h| h.through)
    }

    /// The deaths behind the mark.
    pub(super) fn deaths(&self) -> Option<Deaths> {
        self.deaths
    }

    /// All deaths of owners.
    pub(super) fn died(&self) -> u64 {
        self.died
    }

    /// Why it cannot be had now.
    pub(super) fn check(&self, who: Claimant, deepest: u32) -> Result<(), Code> {
        match &self.hold {
            Some(h) if h.who != who => Err(Code::ExclSemAlreadyOwned),
            Some(h) if h.depth >= deepest => Err(Code::TooManySemRequests),
            _ => Ok(()),
        }
    }

    /// The token, whether it nests, and the deaths when it is 105, which comes with the outermost claim only. `check` went
    /// before.
    pub(super) fn acquire(&mut self, who: Claimant, through: u64) -> (u64, bool, Option<Deaths>) {
        match &mut self.hold {
            None => {
                self.granted += 1;
                self.hold = Some(Hold { who, depth: 1, token: self.granted, through });
                (self.granted, false, self.deaths)
            }
            Some(h) => {
                h.depth += 1;
                (h.token, true, None)
            }
        }
    }

    /// One level back.
    pub(super) fn release(&mut self, who: Claimant) -> Result<(), Code> {
        match &mut self.hold {
            None => Err(Code::NotOwner),
            Some(h) if h.who != who => Err(Code::ExclSemAlreadyOwned),
            Some(h) if h.depth > 1 => {
                h.depth -= 1;
                Ok(())
            }
            Some(_) => {
                self.pass_on();
                Ok(())
            }
        }
    }

    /// The owner's part is over: the claim is that of one who shares it, or ends.
    fn pass_on(&mut self) {
        let heir = (!self.guests.is_empty()).then(|| self.guests.remove(0));
        let of = |process| Claimant { process, thread: Claimant::ANY_THREAD };
        self.hold = self.hold.zip(heir).map(|(h, heir)| Hold { who: of(heir), depth: 1, ..h });
    }

    /// Another process shares the claim with this token. False: that claim is over.
    pub(super) fn join(&mut self, process: u32, token: u64) -> bool {
        let there = self.hold.is_some_and(|h| h.token == token);
        if there {
            self.guests.push(process);
        }
        there
    }

    /// The same where its owner has died and nobody has taken it over: it goes on, as this process's. False: somebody has.
    pub(super) fn join_dead(&mut self, process: u32, token: u64) -> bool {
        let there =
            self.hold.is_none() && self.granted == token && self.deaths.is_some_and(|d| d.latest.cause == Cause::ProcessEnded);
        if there {
            self.hold = Some(Hold { who: Claimant { process, thread: Claimant::ANY_THREAD }, depth: 1, token, through: 0 });
        }
        there
    }

    /// Whether several processes have it, or one that did not acquire it itself.
    pub(super) fn is_shared(&self) -> bool {
        !self.guests.is_empty() || self.hold.is_some_and(|h| h.who.thread == Claimant::ANY_THREAD)
    }

    /// One who shares it does so no more. False: it is none of them.
    pub(super) fn leave(&mut self, process: u32) -> bool {
        let at = self.guests.iter().position(|g| *g == process);
        at.map(|at| self.guests.remove(at)).is_some()
    }

    /// Processes end: each that owns it or shares it sets the mark.
    pub(super) fn end(&mut self, cause: Cause, ends: impl Fn(Claimant) -> bool) {
        let is_over = |g: &u32| ends(Claimant { process: *g, thread: Claimant::ANY_THREAD });
        let gone: Vec<u32> = self.guests.iter().copied().filter(is_over).collect();
        self.guests.retain(|g| !is_over(g));
        gone.into_iter().for_each(|g| self.mark(Claimant { process: g, thread: Claimant::ANY_THREAD }, cause));
        if self.hold.is_some_and(|h| ends(h.who)) {
            self.lose(cause);
        }
    }

    /// The owner is lost: all levels end. Who shares the claim goes on with it.
    pub(super) fn lose(&mut self, cause: Cause) {
        let Some(h) = self.hold else { return };
        self.pass_on();
        self.mark(h.who, cause);
    }

    /// The first unacknowledged obituary is kept, the latest replaced, both counted.
    fn mark(&mut self, who: Claimant, cause: Cause) {
        let latest = Obituary { who, cause };
        let (first, count) = self.deaths.map_or((latest, 0), |d| (d.first, d.count));
        self.deaths = Some(Deaths { first, latest, count: count + 1 });
        self.died += 1;
    }

    /// The state is whole again.
    pub(super) fn acknowledge(&mut self) {
        self.deaths = None;
    }
}
