//! What only counting semaphores have.

use super::{Claim, Handle, Model, Result, State};
use xsem::{Capacity, Code, Mode};

impl Model {
    /// Some permits of a claim back; all of them end it. 288, 1.
    pub fn release_part(&mut self, claim: Claim, permits: u32) -> Result<()> {
        match self.held(claim)? {
            State::Counting(c) => c.release_part(claim.token, permits)?,
            _ => return Err(Code::InvalidFunction),
        }
        self.settle_drains();
        Ok(())
    }

    /// The permits of a claim are used up. 288, 1.
    pub fn forget(&mut self, claim: Claim) -> Result<()> {
        match self.held(claim)? {
            State::Counting(c) => c.forget(claim.token)?,
            _ => return Err(Code::InvalidFunction),
        }
        self.settle_drains();
        Ok(())
    }

    /// More permits. 6, 1, 298.
    pub fn add_permits(&mut self, handle: &Handle, permits: u32) -> Result<()> {
        self.find(handle)?.counting()?.add(permits)
    }

    /// Another limit. 87, 6, 1.
    pub fn resize(&mut self, handle: &Handle, limit: u32) -> Result<()> {
        if !(1..=65_535).contains(&limit) {
            return Err(Code::InvalidParameter);
        }
        self.find(handle)?.counting()?.resize(limit)
    }

    /// Limit and permits. 6, 1.
    pub fn capacity(&mut self, handle: &Handle) -> Result<Capacity> {
        Ok(self.find(handle)?.counting()?.capacity())
    }

    /// Whether a claim has slots: 288, 1 on credit and on another kind.
    pub fn has_slots(&mut self, claim: Claim) -> Result<()> {
        match self.held(claim)? {
            State::Counting(c) if c.mode() == Mode::Pool => Ok(()),
            _ => Err(Code::InvalidFunction),
        }
    }

    /// The slots of a claim were seen to be these.
    ///
    /// # Errors
    /// What the contract has against them.
    pub fn saw_slots(&mut self, claim: Claim, slots: &[u32]) -> std::result::Result<(), String> {
        match self.held(claim) {
            Ok(State::Counting(c)) => c.saw_slots(claim.token, slots),
            Ok(_) => Err("only a counting semaphore has slots".to_owned()),
            Err(code) => Err(format!("{}", code.number())),
        }
    }
}
