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
                self.hold = None;
                Ok(())
            }
        }
    }

    /// The owner is lost: all levels end, the first unacknowledged obituary is kept, the latest replaced, both counted.
    pub(super) fn lose(&mut self, cause: Cause) {
        let Some(h) = self.hold.take() else { return };
        let latest = Obituary { who: h.who, cause };
        let (first, count) = self.deaths.map_or((latest, 0), |d| (d.first, d.count));
        self.deaths = Some(Deaths { first, latest, count: count + 1 });
        self.died += 1;
    }

    /// The state is whole again.
    pub(super) fn acknowledge(&mut self) {
        self.deaths = None;
    }
}
