//! What one counting semaphore does with claims: a pure state machine. A list of claims, and sums over it.

use super::Claimant;
use xsem::{Capacity, Code, Mode};

/// One claim.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hold {
    pub(super) who: Claimant,
    pub(super) token: u64,
    pub(super) permits: u32,
    pub(super) through: u64,
    /// The slots of a pool, once somebody has seen them: the contract leaves open which they are.
    slots: Option<Vec<u32>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Counting {
    mode: Mode,
    limit: u32,
    /// Permits that there are, of a credit. A pool has its limit.
    stock: u32,
    holds: Vec<Hold>,
    granted: u64,
    died: u64,
}

impl Counting {
    pub(super) fn new(mode: Mode, limit: u32, initial: u32) -> Counting {
        Counting { mode, limit, stock: initial, holds: Vec::new(), granted: 0, died: 0 }
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Oldest first.
    pub(super) fn holds(&self) -> &[Hold] {
        &self.holds
    }

    pub(super) fn died(&self) -> u64 {
        self.died
    }

    fn out(&self) -> u32 {
        self.holds.iter().map(|h| h.permits).sum()
    }

    /// Until out < limit, free is 0.
    pub(super) fn free(&self) -> u32 {
        match self.mode {
            Mode::Credit => self.stock - self.out(),
            _ => self.limit.saturating_sub(self.out()),
        }
    }

    pub(super) fn capacity(&self) -> Capacity {
        Capacity::new(self.mode, self.limit, self.free() + self.out(), self.free())
    }

    /// A claim; that there is enough was checked before.
    pub(super) fn acquire(&mut self, who: Claimant, permits: u32, through: u64) -> u64 {
        self.granted += 1;
        self.holds.push(Hold { who, token: self.granted, permits, through, slots: None });
        self.granted
    }

    /// The claim is gone, its permits are free. 288.
    pub(super) fn end(&mut self, token: u64) -> Result<Hold, Code> {
        let i = self.holds.iter().position(|h| h.token == token).ok_or(Code::NotOwner)?;
        Ok(self.holds.remove(i))
    }

    /// So does the claim of one who died; nobody is told, the death is counted.
    pub(super) fn lose(&mut self, token: u64) {
        if self.end(token).is_ok() {
            self.died += 1;
        }
    }

    /// Some permits of a claim back, the highest slots first. 288 more than it has.
    pub(super) fn release_part(&mut self, token: u64, permits: u32) -> Result<(), Code> {
        let h = self.holds.iter_mut().find(|h| h.token == token).filter(|h| h.permits >= permits).ok_or(Code::NotOwner)?;
        h.permits -= permits;
        let left = h.permits;
        if let Some(slots) = &mut h.slots {
            slots.truncate(left as usize);
        }
        if left == 0 {
            self.end(token)?;
        }
        Ok(())
    }

    /// The permits of a claim are used up. 1 on a pool, 288.
    pub(super) fn forget(&mut self, token: u64) -> Result<(), Code> {
        match self.mode {
            Mode::Credit => {
                self.stock -= self.end(token)?.permits;
                Ok(())
            }
            _ => Err(Code::InvalidFunction),
        }
    }

    /// More permits. 1 on a pool, 298.
    pub(super) fn add(&mut self, permits: u32) -> Result<(), Code> {
        match self.mode {
            Mode::Credit if permits > self.limit - self.stock => Err(Code::TooManyPosts),
            Mode::Credit => {
                self.stock += permits;
                Ok(())
            }
            _ => Err(Code::InvalidFunction),
        }
    }

    /// Another limit. 87.
    pub(super) fn resize(&mut self, limit: u32) -> Result<(), Code> {
        let possible = (1..=65_535).contains(&limit) && (self.mode == Mode::Pool || limit >= self.stock);
        if !possible {
            return Err(Code::InvalidParameter);
        }
        self.limit = limit;
        Ok(())
    }

    /// A claim's slots were seen to be these. Says what is wrong with that: as many as permits, ascending, nobody else's,
    /// the same as before.
    pub(super) fn saw_slots(&mut self, token: u64, slots: &[u32]) -> Result<(), String> {
        let others: Vec<u32> =
            self.holds.iter().filter(|h| h.token != token).flat_map(|h| h.slots.iter().flatten().copied()).collect();
        let Some(h) = self.holds.iter_mut().find(|h| h.token == token) else { return Err("the claim is not held".to_owned()) };
        match () {
            () if self.mode != Mode::Pool => Err("credit has no slots".to_owned()),
            () if slots.len() != h.permits as usize => Err(format!("{} permits have the slots {slots:?}", h.permits)),
            () if !slots.is_sorted_by(|a, b| a < b) => Err(format!("{slots:?} do not ascend")),
            () if slots.iter().any(|s| others.contains(s)) => Err(format!("of {slots:?}, others have {others:?}")),
            () if h.slots.as_ref().is_some_and(|before| before != slots) => {
                Err(format!("{slots:?} were {:?} before", h.slots.as_deref().unwrap_or_default()))
            }
            () => {
                h.slots = Some(slots.to_vec());
                Ok(())
            }
        }
    }
}
