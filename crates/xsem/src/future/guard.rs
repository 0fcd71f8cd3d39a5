//! Guards of asynchronous claims: they own their handle and go to any thread.

use super::claimant::Level;
use crate::claim::{Cause, Deaths};
use crate::engine::{Claim, Ending};
use crate::error::{Code, Error, Result};
use crate::exclusive::Exclusive;
use crate::guard::died_text;
use crate::signal_release::{Handle, SignalRelease};
use std::fmt;
use std::mem::ManuallyDrop;

/// Ownership of an exclusive semaphore that belongs to no thread: it may go to any, and is released where it is dropped.
///
/// In a forked child it owns nothing, and dropping it does nothing. One that is forgotten ends with the process.
#[must_use = "dropping the guard releases the semaphore"]
pub struct OwnedGuard {
    sem: Exclusive,
    claim: Claim,
    _level: Level,
}

impl OwnedGuard {
    pub(crate) fn new(sem: Exclusive, claim: Claim, level: Level) -> OwnedGuard {
        OwnedGuard { sem, claim, _level: level }
    }

    /// The semaphore.
    pub fn semaphore(&self) -> &Exclusive {
        &self.sem
    }

    /// The fencing token: it grows with every claim on this semaphore. Hand it to the resource, which refuses smaller
    /// ones than it has seen.
    pub fn token(&self) -> u64 {
        self.claim.token
    }

    /// Whether the claim is still this process's: false in a forked child, and where the claim was ended from outside.
    pub fn is_held(&self) -> bool {
        self.sem.object().is_held(&self.claim)
    }

    /// Says that the state which the semaphore protects is whole again, and clears the mark that a dead owner left.
    ///
    /// # Errors
    /// 288 when the claim is not held any more.
    pub fn mark_consistent(&self) -> Result<()> {
        self.sem.object().mark_consistent(&self.claim)
    }

    /// Releases and says whether that went well (dropping does not say).
    ///
    /// # Errors
    /// 288 when the claim was not held any more.
    pub fn release(self) -> Result<()> {
        self.end(Ending::Release)
    }

    /// Gives the claim up, all levels of it, as a dead owner would: the mark is set and the next owner gets 105.
    ///
    /// # Errors
    /// 288 when the claim was not held any more.
    pub fn abandon(self) -> Result<()> {
        self.end(Ending::Abandon(Cause::Abandoned))
    }

    /// Turns the guard into a release that anybody in this process may make, a signal handler, too. The claim goes on until
    /// then; it is the process's from here on.
    ///
    /// # Errors
    /// 1 a claim that is nested or shared, or an engine that cannot do it (`memory:`); 288 when the claim is not held any
    /// more. The guard comes back.
    pub fn into_signal_release(self) -> std::result::Result<SignalRelease, (OwnedGuard, Error)> {
        match self.sem.object().prepare_release(&self.claim) {
            Ok(prepared) => {
                let handle = self.sem.clone();
                self.dissolve();
                Ok(SignalRelease::new(prepared, Handle::Exclusive(handle)))
            }
            Err(e) => Err((self, e)),
        }
    }

    fn end(self, ending: Ending) -> Result<()> {
        let done = self.sem.object().release(&self.claim, ending);
        self.dissolve();
        done
    }

    /// Lets go of the handle without running `drop`, which would release a second time.
    fn dissolve(self) {
        let mut me = ManuallyDrop::new(self);
        // SAFETY: each field is dropped once, and the guard, which is not dropped, is not used afterwards.
        unsafe {
            std::ptr::drop_in_place(&mut me.sem);
            std::ptr::drop_in_place(&mut me._level);
        }
    }
}

impl Drop for OwnedGuard {
    fn drop(&mut self) {
        if !self.sem.give_back_fast_of_nobody(&self.claim)
            && let Err(e) = self.sem.object().release(&self.claim, Ending::Release)
        {
            tracing::debug!(name = self.sem.name(), error = %e, "a dropped guard had nothing to release");
        }
    }
}

impl fmt::Debug for OwnedGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedGuard").field("name", &self.sem.name()).field("token", &self.claim.token).finish()
    }
}

/// The outcome 105 of an asynchronous acquire: the semaphore is *owned*, and the previous owner died.
///
/// Dropping it releases the semaphore and keeps the mark, so that the next owner is told as well.
#[must_use = "this owns the semaphore; dropping it releases it and keeps the mark"]
#[derive(Debug)]
pub struct OwnedRecovery {
    guard: OwnedGuard,
    deaths: Option<Box<Deaths>>,
}

impl OwnedRecovery {
    pub(crate) fn new(guard: OwnedGuard, deaths: Option<Deaths>) -> OwnedRecovery {
        OwnedRecovery { guard, deaths: deaths.map(Box::new) }
    }

    /// Who died: the first owner that nobody has acknowledged, the latest, and how many. None when the details could not
    /// be kept.
    pub fn deaths(&self) -> Option<&Deaths> {
        self.deaths.as_deref()
    }

    /// The state is whole: clears the mark and goes on as a usual owner.
    ///
    /// # Errors
    /// 288 when the claim was ended from outside in the meantime.
    pub fn mark_consistent(self) -> Result<OwnedGuard> {
        self.guard.mark_consistent()?;
        Ok(self.guard)
    }

    /// Goes on as owner and keeps the mark; `OwnedGuard::mark_consistent` clears it later.
    pub fn into_guard(self) -> OwnedGuard {
        self.guard
    }
}

/// Why an asynchronous acquire did not give a plain guard.
#[derive(Debug)]
pub enum OwnedAcquireError {
    /// 105: owned, but the previous owner died.
    OwnerDied(OwnedRecovery),
    /// Not owned.
    Failed(Error),
}

impl OwnedAcquireError {
    /// The code: 105, or that of the failure.
    pub fn code(&self) -> Code {
        match self {
            OwnedAcquireError::OwnerDied(_) => Code::SemOwnerDied,
            OwnedAcquireError::Failed(e) => e.code(),
        }
    }
}

impl fmt::Display for OwnedAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OwnedAcquireError::Failed(e) => e.fmt(f),
            OwnedAcquireError::OwnerDied(r) => {
                let code = Code::SemOwnerDied;
                write!(f, "{} {}: {}", code.number(), code.symbol(), died_text(r.guard.sem.name(), r.deaths()))
            }
        }
    }
}

impl std::error::Error for OwnedAcquireError {}

impl From<OwnedAcquireError> for Error {
    /// For `?` where 105 is not handled: the semaphore is released, and the mark stays for the next owner.
    fn from(e: OwnedAcquireError) -> Error {
        match e {
            OwnedAcquireError::Failed(e) => e,
            OwnedAcquireError::OwnerDied(r) => Error::new(Code::SemOwnerDied, died_text(r.guard.sem.name(), r.deaths()))
                .of(r.guard.sem.name())
                .advice("check what it protects, then mark it consistent (`xsem ok NAME`, `OwnedRecovery::mark_consistent`)"),
        }
    }
}
