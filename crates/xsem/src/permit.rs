//! Permits: claims on a counting semaphore that end when they are dropped.

use crate::counting::Counting;
use crate::engine::{Claim, Ending};
use crate::error::{Error, Result};
use crate::future::Level;
use crate::signal_release::{Handle, SignalRelease};
use std::fmt;
use std::marker::PhantomData;

/// Some permits of a counting semaphore. Dropping it gives them back.
///
/// It belongs to the thread that acquired it: it ends with that thread, and counts for the search for deadlocks. For one
/// that may move, see [`Counting::acquire_owned`]. In a forked child it is nothing, and dropping it does nothing.
#[must_use = "dropping the permit releases it"]
pub struct Permit<'a> {
    held: Held<&'a Counting>,
    /// Keeps it on its thread.
    _of: PhantomData<*const ()>,
}

/// Some permits that belong to the whole process and may go to any thread. Dropping it gives them back.
#[must_use = "dropping the permit releases it"]
pub struct OwnedPermit {
    held: Held<Counting>,
    /// On whose account it is.
    _level: Level,
}

/// What both are.
struct Held<S: AsRef<Counting>> {
    sem: S,
    claim: Claim,
    permits: u32,
}

impl AsRef<Counting> for Counting {
    fn as_ref(&self) -> &Counting {
        self
    }
}

impl<S: AsRef<Counting>> Held<S> {
    fn slots(&self) -> Result<Vec<u32>> {
        self.sem.as_ref().object().slots(&self.claim)
    }

    fn is_held(&self) -> bool {
        self.sem.as_ref().object().is_held(&self.claim)
    }

    fn release_some(&mut self, n: u32) -> Result<()> {
        self.sem.as_ref().object().release_part(&self.claim, n)?;
        self.permits -= n;
        Ok(())
    }

    fn release(mut self) -> Result<()> {
        self.permits = 0;
        self.sem.as_ref().object().release(&self.claim, Ending::Release)
    }

    /// Ends the life of this, without giving anything back.
    fn prepare(&mut self) -> Result<SignalRelease> {
        let sem = self.sem.as_ref();
        let prepared = sem.object().prepare_release(&self.claim)?;
        self.permits = 0;
        Ok(SignalRelease::new(prepared, Handle::Counting(sem.clone())))
    }

    fn forget(mut self) -> Result<()> {
        self.sem.as_ref().object().forget(&self.claim)?;
        self.permits = 0;
        Ok(())
    }
}

impl<S: AsRef<Counting>> Drop for Held<S> {
    fn drop(&mut self) {
        let sem = self.sem.as_ref();
        if self.permits > 0
            && !sem.give_back_fast(&self.claim)
            && let Err(e) = sem.object().release(&self.claim, Ending::Release)
        {
            tracing::debug!(name = sem.name(), error = %e, "dropped permits were not held any more");
        }
    }
}

macro_rules! permit {
    ($($head:tt)*) => {
        $($head)* {
            /// How many permits these are.
            pub fn count(&self) -> u32 {
                self.held.permits
            }

            /// The fencing token: it grows with every claim on this semaphore.
            pub fn token(&self) -> u64 {
                self.held.claim.token
            }

            /// Whether the claim is still this process's: false in a forked child, and where it was ended from outside.
            pub fn is_held(&self) -> bool {
                self.held.is_held()
            }

            /// Which of the pool's slots these are, ascending: numbers from 0, each of which nobody else has, the same
            /// for as long as the permits are held.
            ///
            /// # Errors
            /// 1 on credit, whose permits are all alike; 288 when the claim is not held any more.
            pub fn slots(&self) -> Result<Vec<u32>> {
                self.held.slots()
            }

            /// Gives some of them back, the highest slots first, and keeps the others.
            ///
            /// # Errors
            /// 288 when these are not that many (any more).
            pub fn release_some(&mut self, n: u32) -> Result<()> {
                self.held.release_some(n)
            }

            /// Gives them back and says whether that went well (dropping does not say).
            ///
            /// # Errors
            /// 288 when the claim was not held any more.
            pub fn release(self) -> Result<()> {
                self.held.release()
            }

            /// Turns them into a release that anybody in this process may make, a signal handler, too. They are held until
            /// then, by the process from here on.
            ///
            /// # Errors
            /// 288 when the claim is not held any more; 1 on an engine that cannot do it (`memory:`). The permits come back.
            pub fn into_signal_release(mut self) -> std::result::Result<SignalRelease, (Self, Error)> {
                match self.held.prepare() {
                    Ok(release) => Ok(release),
                    Err(e) => Err((self, e)),
                }
            }

            /// Uses them up (credit): there are that many fewer from now on.
            ///
            /// # Errors
            /// 1 on a pool, whose permits come back instead; 288 when the claim was not held any more.
            pub fn forget(self) -> Result<()> {
                self.held.forget()
            }
        }
    };
}

permit!(impl Permit<'_>);
permit!(impl OwnedPermit);

impl<'a> Permit<'a> {
    pub(crate) fn new(sem: &'a Counting, claim: Claim, permits: u32) -> Permit<'a> {
        Permit { held: Held { sem, claim, permits }, _of: PhantomData }
    }
}

impl OwnedPermit {
    pub(crate) fn new(sem: Counting, claim: Claim, permits: u32) -> OwnedPermit {
        OwnedPermit::of_task(sem, claim, permits, Level::of(None))
    }

    pub(crate) fn of_task(sem: Counting, claim: Claim, permits: u32, level: Level) -> OwnedPermit {
        OwnedPermit { held: Held { sem, claim, permits }, _level: level }
    }
}

fn describe<S: AsRef<Counting>>(held: &Held<S>, what: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let name = held.sem.as_ref().name();
    f.debug_struct(what).field("name", &name).field("count", &held.permits).field("token", &held.claim.token).finish()
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(&self.held, "Permit", f)
    }
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(&self.held, "OwnedPermit", f)
    }
}
