//! The event: signalled or reset.

use crate::claim::{Kind, Reset, Signal};
use crate::deadline::Deadline;
use crate::engine::{NOT_AT_INTERRUPT_TIME, Object, Spec};
use crate::error::{Error, Result};
use crate::future::WaitEvent;
use crate::interrupt;
use crate::name::Name;
use crate::namespace::Namespace;
use crate::options::Options;
use crate::shm::claimant;
use crate::wait::Wait;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A named event, on which processes wait until somebody signals it.
///
/// There are two ways to go back to "reset". A **manual** event stays signalled until somebody resets it, and a signal
/// wakes all who wait: the configuration was read, the server is up, everybody shall stop. An **auto** event goes back by
/// itself when a wait has consumed the signal, so a signal wakes one: there is work. Signals do not add up: signalling what
/// is signalled changes nothing (to count, use [`Counting`](crate::Counting) credit).
///
/// Nobody owns an event: a wait leaves nothing to give back, and an event stays as it is when whoever signalled it ends.
///
/// # What a signal reaches
/// A *manual* signal reaches every wait that had begun before it, also if the event is reset before the waiter has run
/// (unless the waiter sleeps through thousands of signals). An *auto* signal reaches one wait: of those who wait, the
/// oldest within the bound that [`Exclusive`](crate::Exclusive) has. No death and no stop of the one who signals, or of
/// another who waits, loses it. A signal that its process did not live to finish has happened as a whole or not at all.
///
/// # At interrupt time
/// [`signal`](Event::signal) and [`reset`](Event::reset) may be called in a signal handler: they take no lock, allocate
/// nothing and keep `errno`. Waiting there is 104.
///
/// # Memory ordering
/// What was written before `signal` is visible after a wait that this signal has ended.
///
/// # Errors
/// 121 not signalled in time (at once for `try_wait`), 95 cancelled, 102 it is being drained, 104 at interrupt time, 6 it
/// was removed.
///
/// # Examples
/// Everybody waits until the server is up:
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display()))?;
/// use xsem::Event;
/// let up = Event::open_or_create_manual(&ns, "server/up")?;
/// up.signal()?;
/// up.wait()?; // at once, for any number of processes, until somebody says up.reset()
/// # Ok::<(), xsem::Error>(())
/// ```
/// One of several workers shall look for work:
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display()))?;
/// use xsem::{Code, Event};
/// let work = Event::open_or_create_auto(&ns, "work")?;
/// work.signal()?;
/// work.try_wait()?;
/// assert_eq!(work.try_wait().unwrap_err().code(), Code::SemTimeout, "it was consumed");
/// # Ok::<(), xsem::Error>(())
/// ```
/// Work, or the end, whichever comes first:
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display()))?;
/// use xsem::{Event, Wait};
/// let (stop, work) = (Event::open_or_create_manual(&ns, "stop")?, Event::open_or_create_auto(&ns, "work")?);
/// # work.signal()?;
/// if ns.wait_any(&[(&stop).into(), (&work).into()], Wait::forever())?.index == 0 {
///     return Ok(());
/// }
/// # Ok::<(), xsem::Error>(())
/// ```
#[derive(Clone)]
pub struct Event {
    object: Arc<dyn Object>,
    /// The engine can signal it at interrupt time.
    anywhere: bool,
}

impl Event {
    fn from(object: Arc<dyn Object>) -> Event {
        Event { anywhere: object.signals_at_interrupt_time(), object }
    }

    /// A new manual-reset event. Most callers want one of the `open_or_create`s.
    ///
    /// # Errors
    /// 183 the name exists, 123, 100 no room, 5.
    pub fn create_manual(ns: &Namespace, name: &str, options: Options) -> Result<Event> {
        Event::make(ns, name, Reset::Manual, options)
    }

    /// A new auto-reset event.
    ///
    /// # Errors
    /// As [`create_manual`](Event::create_manual).
    pub fn create_auto(ns: &Namespace, name: &str, options: Options) -> Result<Event> {
        Event::make(ns, name, Reset::Auto, options)
    }

    fn make(ns: &Namespace, name: &str, reset: Reset, options: Options) -> Result<Event> {
        let spec = Spec::event(reset, options.signalled).ephemeral(options.ephemeral);
        Ok(Event::from(ns.engine().create(&Name::new(name)?, &spec)?))
    }

    /// A handle to an existing one; its state is untouched.
    ///
    /// # Errors
    /// 187 no such name, 6 the name is of another kind, 123, 5.
    pub fn open(ns: &Namespace, name: &str) -> Result<Event> {
        Ok(Event::from(ns.engine().open(&Name::new(name)?, Kind::Event)?))
    }

    /// A handle to the manual-reset event of this name, which is created (reset) where it does not exist; never a race.
    ///
    /// # Errors
    /// 87 it exists and resets itself, 6 of another kind, 123, 100 no room, 5.
    pub fn open_or_create_manual(ns: &Namespace, name: &str) -> Result<Event> {
        Event::open_or_make(ns, name, Reset::Manual)
    }

    /// A handle to the auto-reset event of this name, which is created (reset) where it does not exist; never a race.
    ///
    /// # Errors
    /// 87 it exists and is reset by hand, 6 of another kind, 123, 100 no room, 5.
    pub fn open_or_create_auto(ns: &Namespace, name: &str) -> Result<Event> {
        Event::open_or_make(ns, name, Reset::Auto)
    }

    fn open_or_make(ns: &Namespace, name: &str, reset: Reset) -> Result<Event> {
        Ok(Event::from(ns.engine().open_or_create(&Name::new(name)?, &Spec::event(reset, false))?))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.object.name().as_str()
    }

    /// Signals it: wakes all who wait (manual), or one (auto). Returns whether it was reset before; a signal of what is
    /// signalled already changes nothing. Allowed at interrupt time.
    ///
    /// # Errors
    /// 6 it was removed. 104 at interrupt time on an engine that needs a lock for it (`memory:`).
    pub fn signal(&self) -> Result<bool> {
        self.check()?;
        self.object.signal()
    }

    /// Resets it. Returns whether it was signalled before. Allowed at interrupt time.
    ///
    /// # Errors
    /// As [`signal`](Event::signal).
    pub fn reset(&self) -> Result<bool> {
        self.check()?;
        self.object.reset()
    }

    /// Whether it may be changed here.
    fn check(&self) -> Result<()> {
        match self.anywhere || !interrupt::is_now() {
            true => Ok(()),
            false => Err(Error::fixed(&NOT_AT_INTERRUPT_TIME)),
        }
    }

    /// How it stands at this instant: for people and statistics, since it may be otherwise in the next. To act on it, wait.
    ///
    /// # Errors
    /// 6 it was removed.
    pub fn state(&self) -> Result<Signal> {
        self.object.signalled()
    }

    /// Waits for the signal, and consumes it (auto).
    ///
    /// # Errors
    /// 102, 104, 106, 6. See [`Event`].
    pub fn wait(&self) -> Result<()> {
        self.wait_with(Wait::forever())
    }

    /// Sees or consumes the signal if it is there, else 121.
    ///
    /// # Errors
    /// 121, and those of [`wait`](Event::wait).
    pub fn try_wait(&self) -> Result<()> {
        self.wait_with(Wait::not())
    }

    /// Waits for at most `timeout`.
    ///
    /// # Errors
    /// 121, and those of [`wait`](Event::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.wait_with(Wait::timeout(timeout))
    }

    /// Waits until `deadline`.
    ///
    /// # Errors
    /// 121, and those of [`wait`](Event::wait).
    pub fn wait_deadline(&self, deadline: Deadline) -> Result<()> {
        self.wait_with(Wait::until(deadline))
    }

    /// Waits with all options: end, cancel token. (A label says nothing here: a wait leaves no claim.)
    ///
    /// # Errors
    /// As those of the options.
    pub fn wait_with(&self, wait: Wait<'_>) -> Result<()> {
        interrupt::check()?;
        self.object.acquire(&wait.request(claimant())).map(drop)
    }

    /// [`wait`](Event::wait) for asynchronous code: a future for any runtime, or none. Dropped before it is over, it has
    /// consumed nothing.
    ///
    /// # Errors
    /// As [`wait`](Event::wait).
    pub fn wait_async(&self) -> WaitEvent {
        self.wait_async_with(Wait::forever())
    }

    /// [`wait_async`](Event::wait_async) with all options: end, cancel token.
    ///
    /// # Errors
    /// As those of the options.
    pub fn wait_async_with(&self, wait: Wait<'_>) -> WaitEvent {
        WaitEvent::new(self.clone(), wait.owned(1))
    }

    /// Ends the use of this handle. The object stays.
    ///
    /// # Errors
    /// 102 this process still waits on it: nothing changes, and the handle comes back.
    pub fn close(self) -> std::result::Result<(), (Event, crate::Error)> {
        match self.object.close() {
            Ok(()) => Ok(()),
            Err(e) => Err((self, e)),
        }
    }

    pub(crate) fn object(&self) -> &dyn Object {
        &*self.object
    }

    pub(crate) fn shared(&self) -> Arc<dyn Object> {
        self.object.clone()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("name", &self.name()).finish_non_exhaustive()
    }
}
