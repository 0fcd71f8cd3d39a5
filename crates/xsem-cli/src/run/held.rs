//! What a run holds while its command runs, and how it gives it back.

use super::acquire::Acquired;
use super::sharer::Sharer;
use super::supervise::{End, Ended};
use crate::failure::say;
use xsem::{Cause, Guard, Held, Result};

/// One claim, or a share of one.
pub enum Claim<'a> {
    /// Of ours.
    Own(Held<'a>),
    /// A share of an enclosing run's, by this process.
    Share(Guard<'a>),
    /// A share of an enclosing run's, by a child.
    Sharer(Sharer),
}

/// A claim with what concerns it.
pub struct Part<'a> {
    /// The semaphore.
    pub name: String,
    /// The claim.
    pub claim: Claim<'a>,
    /// Its fencing token.
    pub token: u64,
    /// We were told that a previous owner died, and nobody has acknowledged it.
    pub marked: bool,
}

impl<'a> Part<'a> {
    /// The parts of what was acquired.
    pub fn of(acquired: Acquired<'a>, names: impl Iterator<Item = String>) -> Vec<Part<'a>> {
        let marked: Vec<usize> = acquired.died.iter().map(|(i, _)| *i).collect();
        let parts = acquired.held.into_iter().zip(names).enumerate();
        parts
            .map(|(i, (held, name))| Part { name, token: held.token(), claim: Claim::Own(held), marked: marked.contains(&i) })
            .collect()
    }

    /// Whether a nested run may share it.
    pub fn is_exclusive(&self) -> bool {
        !matches!(self.claim, Claim::Own(Held::Permit(_)))
    }

    /// Whether it is there still. What a child shares, that one looks after.
    pub fn is_held(&self) -> bool {
        match &self.claim {
            Claim::Own(Held::Guard(g)) | Claim::Share(g) => g.is_held(),
            Claim::Own(Held::Permit(p)) => p.is_held(),
            _ => true,
        }
    }

    /// The slots of a pool; None for anything else.
    pub fn slots(&self) -> Option<Vec<u32>> {
        match &self.claim {
            // Credit has none, which is the error here.
            Claim::Own(Held::Permit(p)) => p.slots().ok(),
            _ => None,
        }
    }

    /// Gives it back after the command: with the mark, if that was ended by a signal. `consume`: permits are used up.
    fn give_back(self, ended: &Ended, consume: bool) -> Result<()> {
        let signal = match ended.end {
            End::Signal(s) => Some(u8::try_from(s).unwrap_or(0)),
            End::Exit(_) => None,
        };
        let well = ended.end == End::Exit(0) && !ended.timed_out;
        let (guard, marked) = match self.claim {
            Claim::Own(Held::Guard(guard)) => (guard, self.marked),
            Claim::Share(guard) => (guard, false),
            Claim::Own(Held::Permit(p)) if consume && well => return p.forget(),
            Claim::Own(Held::Permit(p)) => return p.release(),
            Claim::Sharer(s) => {
                if let Some(signal) = signal {
                    s.abandon(signal);
                }
                return Ok(());
            }
            // A kind of claim that this version does not know ends when it is dropped.
            Claim::Own(_) => return Ok(()),
        };
        if let Some(signal) = signal {
            return guard.abandon_because(Cause::CommandKilled(signal));
        }
        if marked && well {
            guard.mark_consistent()?;
        }
        guard.release()
    }

    /// Gives it back as it was: nothing has been done under it.
    fn undo(self) -> Result<()> {
        match self.claim {
            Claim::Own(Held::Guard(guard)) | Claim::Share(guard) => guard.release(),
            Claim::Own(Held::Permit(p)) => p.release(),
            _ => Ok(()),
        }
    }
}

/// Gives all of them back. `ended` is None where the command never ran, so that it left nothing half done.
pub fn give_back(parts: Vec<Part<'_>>, ended: Option<&Ended>, consume: bool, shown: &str) {
    for part in parts {
        let name = part.name.clone();
        let done = match ended {
            Some(ended) => part.give_back(ended, consume),
            None => part.undo(),
        };
        if let Err(e) = done {
            say(&format!("warning: `{name}` was not ours any more when `{shown}` had ended: {e}"));
        }
    }
}
