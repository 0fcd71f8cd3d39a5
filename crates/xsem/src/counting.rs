//! The counting semaphore: pools and credit.

use crate::claim::{Capacity, Kind};
use crate::deadline::Deadline;
use crate::engine::{Claim, Object, Spec};
use crate::error::{Code, Error, Fixed, Result};
use crate::future::AcquirePermits;
use crate::interrupt;
use crate::name::Name;
use crate::namespace::Namespace;
use crate::options::Options;
use crate::permit::{OwnedPermit, Permit};
use crate::shm::{FastPermits, claimant};
use crate::wait::Wait;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

static MISASKED: Fixed = Fixed {
    code: Code::InvalidParameter,
    message: "the number of permits is 0 or above the limit",
    advice: "ask for at least one and at most the limit; and not at interrupt time",
};

/// A named semaphore with permits, each with a holder that survives nothing: when it dies, its permits are free again.
///
/// There are two ways to use it. In a **pool** ([`open_or_create_pool`](Counting::open_or_create_pool)) there are always
/// as many permits as the limit says; they are lent and come back, and each has a number ([`Permit::slots`]) that is the
/// holder's alone: four GPUs, eight connections. With **credit**
/// ([`open_or_create_credit`](Counting::open_or_create_credit)) producers [`add_permits`](Counting::add_permits) and
/// consumers [`forget`](Permit::forget) those that they used up: items in a buffer.
///
/// Cloning gives another handle to the same semaphore. 1 to 65,535 permits.
///
/// # When a holder dies
/// Its permits are free at once, exactly once. Nobody gets 105: what a permit lends is whole or it is not, and the next
/// holder cannot know which of several it was. The deaths are counted, and `xsem show` tells the latest.
///
/// # Fairness
/// As for [`Exclusive`](crate::Exclusive): newcomers may overtake for about a millisecond, then the oldest waiter has a
/// reservation, however many permits it asks for: permits that come back are kept until there are enough for it. A
/// reservation of a waiter that is stopped lapses.
///
/// # Memory ordering
/// What a holder wrote before it released is visible to whoever acquires what it released.
///
/// # Errors
/// 104 at interrupt time (see [`interrupt`](crate::interrupt)), 121 not enough free permits (at once for `try_acquire`), 87 more permits than the limit, 95 cancelled, 1131 waiting
/// would close a cycle, 102 it is being drained, 106 no member slot, 100 no room for another holder, 6 it was removed.
///
/// # Examples
/// Four things to be shared, and which of them is ours:
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display()))?;
/// use xsem::Counting;
/// let gpus = Counting::open_or_create_pool(&ns, "gpu", 4)?;
/// let two = gpus.acquire_many(2)?;
/// println!("CUDA_VISIBLE_DEVICES={:?}", two.slots()?); // [0, 1]
/// # assert_eq!(two.slots()?, [0, 1]);
/// # Ok::<(), xsem::Error>(())
/// ```
/// Readers and writers: a reader takes one permit, a writer all of them.
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display()))?;
/// # use xsem::Counting;
/// let config = Counting::open_or_create_pool(&ns, "config", 1000)?;
/// {
///     let _reader = config.acquire()?;
/// }
/// let _writer = config.acquire_many(1000)?; // waits for the readers; new ones wait for it
/// # Ok::<(), xsem::Error>(())
/// ```
/// Items in a buffer of 16:
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display()))?;
/// # use xsem::Counting;
/// let items = Counting::open_or_create_credit(&ns, "items", 16, 0)?;
/// items.add_permits(1)?;      // the producer: one more item
/// let item = items.acquire()?; // the consumer
/// item.forget()?;              // it is used up; a consumer that dies before this leaves the item to another
/// # Ok::<(), xsem::Error>(())
/// ```
#[derive(Clone)]
pub struct Counting {
    object: Arc<dyn Object>,
    fast: Option<FastPermits>,
}

impl Counting {
    fn from(object: Arc<dyn Object>) -> Counting {
        Counting { fast: object.fast_permits(), object }
    }

    /// A new semaphore. Most callers want one of the `open_or_create`s.
    ///
    /// # Errors
    /// 183 the name exists, 87 a limit of 0 or above 65,535, 123, 100 no room, 5.
    pub fn create_pool(ns: &Namespace, name: &str, limit: u32, options: Options) -> Result<Counting> {
        Counting::make(ns, name, Spec::pool(limit).ephemeral(options.ephemeral))
    }

    /// A new semaphore with `initial` permits of at most `limit`.
    ///
    /// # Errors
    /// As [`create_pool`](Counting::create_pool); 87 also for more at the start than the limit.
    pub fn create_credit(ns: &Namespace, name: &str, limit: u32, initial: u32, options: Options) -> Result<Counting> {
        Counting::make(ns, name, Spec::credit(limit, initial).ephemeral(options.ephemeral))
    }

    fn make(ns: &Namespace, name: &str, spec: Spec) -> Result<Counting> {
        let name = Name::new(name)?;
        spec.check()?;
        Ok(Counting::from(ns.engine().create(&name, &spec)?))
    }

    /// A handle to an existing one, pool or credit; its state is untouched.
    ///
    /// # Errors
    /// 187 no such name, 6 the name is of another kind, 123, 5.
    pub fn open(ns: &Namespace, name: &str) -> Result<Counting> {
        Ok(Counting::from(ns.engine().open(&Name::new(name)?, Kind::Counting)?))
    }

    /// A handle to the pool of this name, which is created where it does not exist; never a race.
    ///
    /// # Errors
    /// 87 it exists with another limit or is not a pool (both are said), 6 of another kind, 123, 100 no room, 5.
    pub fn open_or_create_pool(ns: &Namespace, name: &str, limit: u32) -> Result<Counting> {
        Counting::open_or_make(ns, name, Spec::pool(limit))
    }

    /// A handle to the credit of this name, which is created with `initial` permits where it does not exist.
    ///
    /// # Errors
    /// As [`open_or_create_pool`](Counting::open_or_create_pool).
    pub fn open_or_create_credit(ns: &Namespace, name: &str, limit: u32, initial: u32) -> Result<Counting> {
        Counting::open_or_make(ns, name, Spec::credit(limit, initial))
    }

    fn open_or_make(ns: &Namespace, name: &str, spec: Spec) -> Result<Counting> {
        let name = Name::new(name)?;
        spec.check()?;
        Ok(Counting::from(ns.engine().open_or_create(&name, &spec)?))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.object.name().as_str()
    }

    /// Limit and permits at this instant.
    ///
    /// # Errors
    /// 6 it was removed.
    pub fn capacity(&self) -> Result<Capacity> {
        self.object.capacity()
    }

    /// Waits for one permit.
    ///
    /// # Errors
    /// 104, 1131, 102, 106, 100, 6. See [`Counting`].
    pub fn acquire(&self) -> Result<Permit<'_>> {
        self.acquire_many(1)
    }

    /// Waits for `n` permits, which come together or not at all.
    ///
    /// # Errors
    /// 87 `n` is 0 or above the limit, and those of [`acquire`](Counting::acquire).
    #[inline]
    pub fn acquire_many(&self, n: u32) -> Result<Permit<'_>> {
        match self.fast.as_ref().and_then(|fast| fast.acquire(n)) {
            Some(claim) => Ok(Permit::new(self, claim, n)),
            None => self.acquire_long(n, Wait::forever),
        }
    }

    /// One permit at once, or 121 with who holds them.
    ///
    /// # Errors
    /// 121, and those of [`acquire`](Counting::acquire) but 1131.
    pub fn try_acquire(&self) -> Result<Permit<'_>> {
        self.try_acquire_many(1)
    }

    /// `n` permits at once, or 121 with who holds them.
    ///
    /// # Errors
    /// As [`try_acquire`](Counting::try_acquire), and 87.
    #[inline]
    pub fn try_acquire_many(&self, n: u32) -> Result<Permit<'_>> {
        match self.fast.as_ref().and_then(|fast| fast.acquire(n)) {
            Some(claim) => Ok(Permit::new(self, claim, n)),
            None => self.acquire_long(n, Wait::not),
        }
    }

    /// One permit within `timeout`.
    ///
    /// # Errors
    /// 121 with who holds them and who is ahead, and those of [`acquire`](Counting::acquire) but 1131.
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>> {
        self.acquire_with(1, Wait::timeout(timeout))
    }

    /// One permit before `deadline`.
    ///
    /// # Errors
    /// As [`acquire_timeout`](Counting::acquire_timeout).
    pub fn acquire_deadline(&self, deadline: Deadline) -> Result<Permit<'_>> {
        self.acquire_with(1, Wait::until(deadline))
    }

    /// `n` permits, with all options: end, cancel token, label.
    ///
    /// # Errors
    /// As those of the options.
    pub fn acquire_with(&self, n: u32, wait: Wait<'_>) -> Result<Permit<'_>> {
        self.check(n)?;
        let grant = self.object.acquire(&wait.request_for(claimant(), n))?;
        Ok(Permit::new(self, grant.claim, n))
    }

    /// As [`acquire_with`](Counting::acquire_with), with a permit that keeps its own handle and may go to any thread. It
    /// belongs to the process: it does not end with the thread that asked, and since anybody may end it, it is never part
    /// of a cycle of waits (1131).
    ///
    /// # Errors
    /// As those of the options.
    pub fn acquire_owned(&self, n: u32, wait: Wait<'_>) -> Result<OwnedPermit> {
        self.check(n)?;
        let grant = self.object.acquire(&wait.request_for(0, n))?;
        Ok(OwnedPermit::new(self.clone(), grant.claim, n))
    }

    /// `n` permits for asynchronous code: a future for any runtime, or none; see
    /// [`Exclusive::acquire_async`](crate::Exclusive::acquire_async).
    ///
    /// # Errors
    /// 87 `n` is 0 or above the limit, and those of [`acquire`](Counting::acquire).
    pub fn acquire_async(&self, n: u32) -> AcquirePermits {
        self.acquire_async_with(n, Wait::forever())
    }

    /// [`acquire_async`](Counting::acquire_async) with all options: end, cancel token, label.
    ///
    /// # Errors
    /// As those of the options.
    pub fn acquire_async_with(&self, n: u32, wait: Wait<'_>) -> AcquirePermits {
        AcquirePermits::new(self.clone(), wait.owned(n))
    }

    /// Adds permits to a credit, which others may then acquire. Allowed at interrupt time, where it allocates nothing, takes
    /// no lock and keeps errno.
    ///
    /// # Errors
    /// 298 there would be more than the limit (nothing is added), 1 on a pool, 6. At interrupt time also 104 where that
    /// cannot be done there: on an engine that needs a lock for it (`memory:`), and in a forked child that has not used the
    /// namespace in normal code yet.
    pub fn add_permits(&self, n: u32) -> Result<()> {
        if interrupt::is_now() {
            return interrupt::keeping_errno(|| self.object.add_permits_at_interrupt_time(n));
        }
        self.object.add_permits(n)
    }

    /// Sets another limit, at once. Nobody loses a permit: after it was lowered, nothing is granted until enough has come
    /// back. Waiters that ask for more than the new limit go on waiting, for a higher one.
    ///
    /// # Errors
    /// 87 the limit is 0 or above 65,535, or (credit) below the permits that there are; 6.
    pub fn resize(&self, limit: u32) -> Result<()> {
        self.object.resize(limit)
    }

    /// Ends the use of this handle. The object stays.
    ///
    /// # Errors
    /// 102 this process still holds permits through it or waits on it: nothing changes, and the handle comes back.
    pub fn close(self) -> std::result::Result<(), (Counting, Error)> {
        match self.object.close() {
            Ok(()) => Ok(()),
            Err(e) => Err((self, e)),
        }
    }

    #[cold]
    #[inline(never)]
    fn acquire_long(&self, n: u32, wait: fn() -> Wait<'static>) -> Result<Permit<'_>> {
        if !interrupt::hint() {
            self.check(n)?;
            // That was all: a preemption, perhaps.
            if let Some(claim) = self.fast.as_ref().and_then(|fast| fast.acquire_at_normal_time(n)) {
                return Ok(Permit::new(self, claim, n));
            }
        }
        self.acquire_with(n, wait())
    }

    /// 104 at interrupt time; and 87 before it, as far as that is known there.
    fn check(&self, n: u32) -> Result<()> {
        interrupt::check().map_err(|e| match n == 0 || self.object.limit_now().is_some_and(|limit| n > limit) {
            true => Error::fixed(&MISASKED),
            false => e,
        })
    }

    /// All of a claim back, the short way; false: the long way.
    #[inline]
    pub(crate) fn give_back_fast(&self, claim: &Claim) -> bool {
        self.fast.as_ref().is_some_and(|fast| fast.release(claim) || fast.release_of_nobody(claim))
    }

    /// The short way for a claim of nobody in particular, at normal time; None: the long way.
    #[inline]
    pub(crate) fn acquire_fast_for_nobody(&self, n: u32) -> Option<Claim> {
        self.fast.as_ref().and_then(|fast| fast.acquire_for_nobody(n))
    }

    pub(crate) fn object(&self) -> &dyn Object {
        &*self.object
    }

    pub(crate) fn shared(&self) -> Arc<dyn Object> {
        self.object.clone()
    }
}

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counting").field("name", &self.name()).finish_non_exhaustive()
    }
}
