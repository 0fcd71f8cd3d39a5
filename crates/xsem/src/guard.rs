//! Guards: a claim that ends when it is dropped, and the outcome "owned, but the previous owner died".

use crate::claim::{Cause, Deaths};
use crate::engine::{Claim, Ending};
use crate::error::{Code, Error, Result};
use crate::exclusive::Exclusive;
use crate::signal_release::{Handle, SignalRelease};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// Ownership of an exclusive semaphore. Dropping it releases one level.
///
/// It belongs to the thread that acquired it and does not move to another. In a forked child it owns nothing, and
/// dropping it does nothing.
#[must_use = "dropping the guard releases the semaphore"]
pub struct Guard<'a> {
    /// Borrowed for `'a`; or, with the lowest bit set, the content of a box that this guard frees. Not a field of its own: its
    /// padding would be copied by way of memory, with each of the few instructions of an uncontended acquire and release.
    sem: NonNull<Exclusive>,
    claim: Claim,
    /// Also keeps it on its thread.
    _of: PhantomData<(&'a Exclusive, *const ())>,
}

/// In the lowest bit of a guard's pointer.
const OWNED: usize = 1;
const _: () = assert!(align_of::<Exclusive>() > OWNED);
const _: () = assert!(size_of::<std::result::Result<Guard<'_>, AcquireError<'_>>>() == size_of::<Guard<'_>>());

impl<'a> Guard<'a> {
    #[inline(always)]
    pub(crate) fn new(sem: &'a Exclusive, claim: Claim) -> Guard<'a> {
        Guard { sem: NonNull::from(sem), claim, _of: PhantomData }
    }

    /// A guard with a handle of its own.
    pub(crate) fn owned(sem: Exclusive, claim: Claim) -> Guard<'static> {
        let sem = NonNull::from(Box::leak(Box::new(sem))).map_addr(|a| a | OWNED);
        Guard { sem, claim, _of: PhantomData }
    }

    /// The claim, which is not released.
    pub(crate) fn into_claim(self) -> Claim {
        let claim = self.claim;
        self.dissolve();
        claim
    }

    #[inline(always)]
    fn sem(&self) -> &Exclusive {
        // SAFETY: borrowed for longer than the guard lives, or the content of the guard's own box.
        unsafe { &*self.pointer() }
    }

    #[inline(always)]
    fn is_owned(&self) -> bool {
        self.sem.addr().get() & OWNED != 0
    }

    /// Without the bit.
    #[inline(always)]
    fn pointer(&self) -> *mut Exclusive {
        self.sem.as_ptr().map_addr(|a| a & !OWNED)
    }

    /// The fencing token: it grows with every claim on this semaphore. Hand it to the resource, which refuses smaller
    /// ones than it has seen.
    pub fn token(&self) -> u64 {
        self.claim.token
    }

    /// Whether the claim is still this process's: false in a forked child, and where the claim was ended from outside.
    pub fn is_held(&self) -> bool {
        self.sem().object().is_held(&self.claim)
    }

    /// Says that the state which the semaphore protects is whole again, and clears the mark that a dead owner left.
    ///
    /// # Errors
    /// 288 when the claim is not held any more.
    pub fn mark_consistent(&self) -> Result<()> {
        self.sem().object().mark_consistent(&self.claim)
    }

    /// Releases and says whether that went well (dropping does not say).
    ///
    /// # Errors
    /// 288 when the claim was not held any more.
    pub fn release(self) -> Result<()> {
        let short = self.sem().give_back_fast(&self.claim);
        let done = if short { Ok(()) } else { self.sem().object().release(&self.claim, Ending::Release) };
        self.dissolve();
        done
    }

    /// Gives the claim up, all levels of it, as a dead owner would: the mark is set and the next owner gets 105.
    ///
    /// # Errors
    /// 288 when the claim was not held any more.
    pub fn abandon(self) -> Result<()> {
        self.abandon_because(Cause::Abandoned)
    }

    /// As [`abandon`](Guard::abandon), with the cause that the obituary names.
    ///
    /// # Errors
    /// 288 when the claim was not held any more.
    pub fn abandon_because(self, cause: Cause) -> Result<()> {
        let done = self.sem().object().release(&self.claim, Ending::Abandon(cause));
        self.dissolve();
        done
    }

    /// Turns the guard into a release that anybody in this process may make, a signal handler, too. The claim goes on until
    /// then; it is the process's from here on.
    ///
    /// # Errors
    /// 1 a claim that is nested or shared, or an engine that cannot do it (`memory:`); 288 when the claim is not held any
    /// more. The guard comes back.
    pub fn into_signal_release(self) -> std::result::Result<SignalRelease, (Guard<'a>, Error)> {
        match self.sem().object().prepare_release(&self.claim) {
            Ok(prepared) => {
                let handle = self.sem().clone();
                self.dissolve();
                Ok(SignalRelease::new(prepared, Handle::Exclusive(handle)))
            }
            Err(e) => Err((self, e)),
        }
    }

    /// Lets go of the handle without running `drop`, which would release a second time.
    fn dissolve(self) {
        std::mem::ManuallyDrop::new(self).free();
    }

    /// Frees the handle of an owned guard; both callers end the guard's life.
    fn free(&mut self) {
        if self.is_owned() {
            // SAFETY: made by `owned` from a box, and freed once, since the guard is not used afterwards.
            drop(unsafe { Box::from_raw(self.pointer()) });
        }
    }
}

impl Drop for Guard<'_> {
    // No field has a destructor and nothing takes the guard's address: so it stays in registers where it was made.
    #[inline(always)]
    fn drop(&mut self) {
        if self.is_owned() || !self.sem().give_back_fast(&self.claim) {
            drop_slow(Guard { sem: self.sem, claim: self.claim, _of: PhantomData });
        }
    }
}

#[cold]
#[inline(never)]
fn drop_slow(guard: Guard<'_>) {
    let mut guard = std::mem::ManuallyDrop::new(guard);
    if let Err(e) = guard.sem().object().release(&guard.claim, Ending::Release) {
        tracing::debug!(name = guard.sem().name(), error = %e, "a dropped guard had nothing to release");
    }
    guard.free();
}

impl fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("name", &self.sem().name()).field("token", &self.claim.token).finish()
    }
}

/// The outcome 105: the semaphore is *owned* by the caller, and the previous owner died.
///
/// Dropping it releases the semaphore and keeps the mark, so that the next owner is told as well.
#[must_use = "this owns the semaphore; dropping it releases it and keeps the mark"]
#[derive(Debug)]
pub struct Recovery<'a>(
    // Boxed: this is the rare outcome, and acquire returns by value.
    Box<Recovered<'a>>,
);

#[derive(Debug)]
struct Recovered<'a> {
    guard: Guard<'a>,
    deaths: Option<Deaths>,
}

impl<'a> Recovery<'a> {
    pub(crate) fn new(guard: Guard<'a>, deaths: Option<Deaths>) -> Recovery<'a> {
        Recovery(Box::new(Recovered { guard, deaths }))
    }

    /// Who died: the first owner that nobody has acknowledged, the latest, and how many. None when the details could not
    /// be kept.
    pub fn deaths(&self) -> Option<&Deaths> {
        self.0.deaths.as_ref()
    }

    /// The state is whole: clears the mark and goes on as a usual owner.
    ///
    /// # Errors
    /// 288 when the claim was ended from outside in the meantime.
    pub fn mark_consistent(self) -> Result<Guard<'a>> {
        self.0.guard.mark_consistent()?;
        Ok(self.0.guard)
    }

    /// Goes on as owner and keeps the mark; `Guard::mark_consistent` clears it later.
    pub fn into_guard(self) -> Guard<'a> {
        self.0.guard
    }
}

/// Why an acquire did not return a plain guard.
#[derive(Debug)]
pub enum AcquireError<'a> {
    /// 105: owned, but the previous owner died.
    OwnerDied(Recovery<'a>),
    /// Not owned.
    Failed(Error),
}

impl AcquireError<'_> {
    /// The code: 105, or that of the failure.
    pub fn code(&self) -> Code {
        match self {
            AcquireError::OwnerDied(_) => Code::SemOwnerDied,
            AcquireError::Failed(e) => e.code(),
        }
    }
}

impl fmt::Display for AcquireError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcquireError::Failed(e) => e.fmt(f),
            AcquireError::OwnerDied(r) => {
                let code = Code::SemOwnerDied;
                write!(f, "{} {}: {}", code.number(), code.symbol(), died_text(r.0.guard.sem().name(), r.deaths()))
            }
        }
    }
}

impl std::error::Error for AcquireError<'_> {}

/// What happened, without the code.
pub(crate) fn died_text(name: &str, deaths: Option<&Deaths>) -> String {
    match deaths {
        Some(d) => format!("the previous owner of `{name}` died: {d}"),
        None => format!("the previous owner of `{name}` died; its details could not be kept"),
    }
}

impl From<AcquireError<'_>> for Error {
    /// For `?` where 105 is not handled: the semaphore is released, and the mark stays for the next owner.
    fn from(e: AcquireError<'_>) -> Error {
        match e {
            AcquireError::Failed(e) => e,
            AcquireError::OwnerDied(r) => Error::new(Code::SemOwnerDied, died_text(r.0.guard.sem().name(), r.deaths()))
                .of(r.0.guard.sem().name())
                .advice("check what it protects, then mark it consistent (`xsem ok NAME`, `Recovery::mark_consistent`)"),
        }
    }
}
