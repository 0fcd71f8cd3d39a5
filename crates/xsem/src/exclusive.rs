//! The exclusive semaphore.

use crate::claim::Kind;
use crate::deadline::Deadline;
use crate::engine::{Claim, Object, Spec};
use crate::error::Result;
use crate::future::AcquireExclusive;
use crate::guard::{AcquireError, Guard, Recovery};
use crate::interrupt;
use crate::name::Name;
use crate::namespace::Namespace;
use crate::options::Options;
use crate::shm::{FastPath, claimant};
use crate::wait::Wait;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A named semaphore with one owner at a time, in whatever process.
///
/// The owner is a thread of a process: two threads of one process exclude each other like strangers, and the owning
/// thread may acquire again (it nests). Cloning gives another handle to the same semaphore.
///
/// # When an owner dies
/// The kernel tells the others at once. The next one to acquire it *owns* it, and is told so: the acquire returns
/// [`AcquireError::OwnerDied`] with a [`Recovery`] that holds the semaphore and says who died. Until somebody calls
/// `mark_consistent`, every later owner is told, too.
///
/// # Fairness
/// A newcomer may overtake sleeping waiters for about a millisecond, which keeps throughput; after that the oldest
/// waiter has a reservation, and newcomers stand back. A reservation that is not taken (its waiter is stopped) lapses
/// after ten milliseconds. `docs/semantics.md` has the details.
///
/// # Memory ordering
/// What an owner wrote before its release is visible to the next owner after its acquire.
///
/// # Errors
/// 104 at interrupt time (see [`interrupt`](crate::interrupt)), 101 owned by another claimant (`try_acquire` only), 121 the time ran out, 95 cancelled, 105 owned but the previous
/// owner died, 103 nested more than 65,535 deep, 106 no member slot, 6 the semaphore was removed.
///
/// # Examples
/// Run something that must not overlap:
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display()))?;
/// use xsem::Exclusive;
/// let migrate = Exclusive::open_or_create(&ns, "migrate")?;
/// {
///     let _guard = migrate.acquire()?;
///     // alone here, over all processes of this user
/// }
/// # Ok::<(), xsem::Error>(())
/// ```
/// Skip it when somebody else is at it:
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display()))?;
/// # use xsem::{Error, Exclusive};
/// let sem = Exclusive::open_or_create(&ns, "nightly")?;
/// match sem.try_acquire().map_err(Error::from) {
///     Ok(_guard) => { /* work */ }
///     Err(e) if e.is_taken() => eprintln!("{e}"), // 101, with pid, command, user and age of the owner
///     Err(e) => return Err(e),
/// }
/// # Ok::<(), xsem::Error>(())
/// ```
/// Repair what a dead owner left:
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display()))?;
/// # use xsem::{AcquireError, Exclusive};
/// # fn check_and_mend() {}
/// let sem = Exclusive::open_or_create(&ns, "ledger")?;
/// let _guard = match sem.acquire() {
///     Ok(guard) => guard,
///     Err(AcquireError::OwnerDied(recovery)) => {
///         check_and_mend();
///         recovery.mark_consistent()?
///     }
///     Err(AcquireError::Failed(e)) => return Err(e),
/// };
/// # Ok::<(), xsem::Error>(())
/// ```
#[derive(Clone)]
pub struct Exclusive {
    object: Arc<dyn Object>,
    fast: Option<FastPath>,
}

impl Exclusive {
    fn from(object: Arc<dyn Object>) -> Exclusive {
        Exclusive { fast: object.fast(), object }
    }

    /// A new semaphore, owned by nobody.
    ///
    /// # Errors
    /// 183 the name exists, 123, 100 no room, 5.
    pub fn create(ns: &Namespace, name: &str) -> Result<Exclusive> {
        Ok(Exclusive::from(ns.engine().create(&Name::new(name)?, &Spec::exclusive())?))
    }

    /// As [`create`](Exclusive::create), with options.
    ///
    /// # Errors
    /// As [`create`](Exclusive::create).
    pub fn create_with(ns: &Namespace, name: &str, options: Options) -> Result<Exclusive> {
        let spec = Spec::exclusive().ephemeral(options.ephemeral);
        Ok(Exclusive::from(ns.engine().create(&Name::new(name)?, &spec)?))
    }

    /// A handle to an existing one; its state is untouched.
    ///
    /// # Errors
    /// 187 no such name, 6 the name is of another kind, 123, 5.
    pub fn open(ns: &Namespace, name: &str) -> Result<Exclusive> {
        Ok(Exclusive::from(ns.engine().open(&Name::new(name)?, Kind::Exclusive)?))
    }

    /// A handle to the semaphore of this name, which is created where it does not exist; never a race.
    ///
    /// # Errors
    /// 6 the name is of another kind, 123, 100 no room, 5.
    pub fn open_or_create(ns: &Namespace, name: &str) -> Result<Exclusive> {
        Ok(Exclusive::from(ns.engine().open_or_create(&Name::new(name)?, &Spec::exclusive())?))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.object.name().as_str()
    }

    /// Waits until it is owned.
    ///
    /// # Errors
    /// 104, 105 (owned!), 103, 106, 6. See [`Exclusive`].
    #[inline]
    pub fn acquire(&self) -> std::result::Result<Guard<'_>, AcquireError<'_>> {
        self.acquire_fast(Exclusive::acquire_forever)
    }

    /// Owns it at once, or says who does.
    ///
    /// # Errors
    /// 101 with the holder, and those of [`acquire`](Exclusive::acquire).
    #[inline]
    pub fn try_acquire(&self) -> std::result::Result<Guard<'_>, AcquireError<'_>> {
        self.acquire_fast(Exclusive::acquire_not)
    }

    /// Owns it within `timeout`.
    ///
    /// # Errors
    /// 121 with the holder and who is ahead, and those of [`acquire`](Exclusive::acquire).
    pub fn acquire_timeout(&self, timeout: Duration) -> std::result::Result<Guard<'_>, AcquireError<'_>> {
        self.acquire_with(Wait::timeout(timeout))
    }

    /// Owns it before `deadline`.
    ///
    /// # Errors
    /// As [`acquire_timeout`](Exclusive::acquire_timeout).
    pub fn acquire_deadline(&self, deadline: Deadline) -> std::result::Result<Guard<'_>, AcquireError<'_>> {
        self.acquire_with(Wait::until(deadline))
    }

    /// Owns it, with all options: end, cancel token, label.
    ///
    /// # Errors
    /// As those of the options.
    pub fn acquire_with(&self, wait: Wait<'_>) -> std::result::Result<Guard<'_>, AcquireError<'_>> {
        self.request(&wait, |claim| Guard::new(self, claim))
    }

    /// As [`acquire_with`](Exclusive::acquire_with), with a guard that keeps its own handle and borrows nothing.
    ///
    /// # Errors
    /// As those of the options.
    pub fn acquire_owned(&self, wait: Wait<'_>) -> std::result::Result<Guard<'static>, AcquireError<'static>> {
        self.request(&wait, |claim| Guard::owned(self.clone(), claim))
    }

    /// [`acquire`](Exclusive::acquire) for asynchronous code: a future for any runtime, or none.
    ///
    /// It begins when it is polled first. Dropped before it is over, it leaves nothing behind, and whoever is next is served.
    /// No thread waits for it: thousands of them in a process share a few. The guard belongs to no thread; what it owns
    /// belongs to nobody in particular, unless it is acquired [on behalf of](crate::AcquireExclusive::on_behalf_of) a
    /// [`Claimant`](crate::Claimant).
    ///
    /// # Errors
    /// As [`acquire`](Exclusive::acquire).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display()))?;
    /// # use xsem::Exclusive;
    /// # async fn work() {}
    /// let sem = Exclusive::open_or_create(&ns, "deploy")?;
    /// let task = async move {
    ///     let _guard = sem.acquire_async().await?;
    ///     work().await;
    ///     Ok::<(), xsem::Error>(())
    /// };
    /// # let mut pending = xsem::PollFd::new(task)?;
    /// # pending.poll_now().unwrap()?;
    /// # Ok::<(), xsem::Error>(())
    /// ```
    pub fn acquire_async(&self) -> AcquireExclusive {
        self.acquire_async_with(Wait::forever())
    }

    /// [`acquire_async`](Exclusive::acquire_async) with all options: end, cancel token, label. A deadline needs no timer of
    /// the caller's runtime. (A callback for signals says nothing here.)
    ///
    /// # Errors
    /// As those of the options.
    pub fn acquire_async_with(&self, wait: Wait<'_>) -> AcquireExclusive {
        AcquireExclusive::new(self.clone(), wait.owned(1))
    }

    /// Shares the claim that has this fencing token, if somebody still holds it: it then ends with the last process that
    /// shares it. This is what a nested `xsem run` does; the token reaches it through its environment. `None`: that claim
    /// is over, or its release is prepared ([`Guard::into_signal_release`]), and it ends alone. The claim of a dead owner can be
    /// shared until somebody takes it over, as what its covered command starts does; the next owner is told of the death all the same.
    ///
    /// # Errors
    /// 104, 6, 106; 103 when this process shares a claim already.
    pub fn join(&self, token: u64) -> Result<Option<Guard<'static>>> {
        interrupt::check()?;
        Ok(self.object.join(token)?.map(|claim| Guard::owned(self.clone(), claim)))
    }

    /// Ends the use of this handle. The object stays.
    ///
    /// # Errors
    /// 102 this process still owns it through this handle or waits on it: nothing changes, and the handle comes back.
    pub fn close(self) -> std::result::Result<(), (Exclusive, crate::Error)> {
        match self.object.close() {
            Ok(()) => Ok(()),
            Err(e) => Err((self, e)),
        }
    }

    /// The claim, not the guard, comes back from the slow path: so nothing of the fast path has to lie in memory. `None`:
    /// 104, for which nothing may be allocated.
    #[inline(always)]
    fn acquire_fast<'a>(
        &'a self,
        slow: fn(&'a Exclusive) -> std::result::Result<Claim, Option<Box<AcquireError<'a>>>>,
    ) -> std::result::Result<Guard<'a>, AcquireError<'a>> {
        let claim = match self.fast.as_ref().and_then(FastPath::acquire) {
            Some(claim) => claim,
            None => match slow(self) {
                Ok(claim) => claim,
                Err(Some(e)) => return Err(*e),
                Err(None) => return Err(AcquireError::Failed(interrupt::refused())),
            },
        };
        Ok(Guard::new(self, claim))
    }

    #[cold]
    #[inline(never)]
    fn acquire_forever(&self) -> std::result::Result<Claim, Option<Box<AcquireError<'_>>>> {
        self.acquire_long(Wait::forever)
    }

    #[cold]
    #[inline(never)]
    fn acquire_not(&self) -> std::result::Result<Claim, Option<Box<AcquireError<'_>>>> {
        self.acquire_long(Wait::not)
    }

    fn acquire_long(&self, wait: fn() -> Wait<'static>) -> std::result::Result<Claim, Option<Box<AcquireError<'_>>>> {
        if !interrupt::hint() {
            if interrupt::is_now() {
                return Err(None);
            }
            // That was all: a preemption, perhaps.
            if let Some(claim) = self.fast.as_ref().and_then(FastPath::acquire_at_normal_time) {
                return Ok(claim);
            }
        }
        if let Some(claim) = self.fast.as_ref().and_then(FastPath::nest) {
            return Ok(claim);
        }
        self.request(&wait(), |claim| Guard::new(self, claim)).map(Guard::into_claim).map_err(|e| Some(Box::new(e)))
    }

    fn request<'a>(
        &self,
        wait: &Wait<'_>,
        guard: impl FnOnce(Claim) -> Guard<'a>,
    ) -> std::result::Result<Guard<'a>, AcquireError<'a>> {
        interrupt::check().map_err(AcquireError::Failed)?;
        let grant = self.object.acquire(&wait.request(claimant())).map_err(AcquireError::Failed)?;
        let guard = guard(grant.claim);
        match grant.died {
            None => Ok(guard),
            Some(deaths) => Err(AcquireError::OwnerDied(Recovery::new(guard, deaths))),
        }
    }

    pub(crate) fn object(&self) -> &dyn Object {
        &*self.object
    }

    pub(crate) fn shared(&self) -> Arc<dyn Object> {
        self.object.clone()
    }

    /// The short way for a claim of nobody in particular; None: the long way.
    #[inline]
    pub(crate) fn acquire_fast_for_nobody(&self) -> Option<Claim> {
        self.fast.as_ref().and_then(FastPath::acquire_for_nobody)
    }

    /// The short way back from there; false: the long way.
    #[inline]
    pub(crate) fn give_back_fast_of_nobody(&self, claim: &Claim) -> bool {
        self.fast.as_ref().is_some_and(|fast| fast.release_of_nobody(claim))
    }

    /// The uncontended release; false: the long way.
    #[inline(always)]
    pub(crate) fn give_back_fast(&self, claim: &Claim) -> bool {
        self.fast.as_ref().is_some_and(|fast| fast.release(claim))
    }
}

impl fmt::Debug for Exclusive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exclusive").field("name", &self.name()).finish_non_exhaustive()
    }
}
