//! The operations in which system calls fail: what is there before, what is done, and what others do meanwhile.

use crate::harness::polling;
use std::time::Duration;
use xsem::{AcquireError, Counting, Event, Exclusive, Namespace, Options, Pick, Result, Wait};

/// Permits of the pool.
pub(super) const LIMIT: u32 = 4;

/// What another process does beside the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// Nothing.
    Nobody,
    /// It owns everything, until the victim waits or is through, and gives it back.
    Owns,
    /// It owns everything, and has died of it.
    Died,
    /// It waits for the semaphore that the victim owns.
    Waits,
}

/// How far the victim has come before its operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// There is no namespace.
    Nothing,
    /// There is one that it has not opened.
    Made,
    /// One that was copied from another place.
    Copied,
    /// It has opened everything, and asked for nothing yet.
    Opened,
    /// It is a member.
    Member,
    /// It owns the exclusive semaphore.
    Owner,
}

/// The victim's things.
pub(super) struct World {
    pub(super) url: String,
    pub(super) ns: Option<Namespace>,
    pub(super) things: Option<&'static Things>,
    pub(super) guard: Option<xsem::Guard<'static>>,
}

/// One semaphore of each kind, named by the constants below.
pub(super) struct Things {
    pub(super) sem: Exclusive,
    pub(super) pool: Counting,
    pub(super) event: Event,
}

pub(super) const SEM: &str = "s";
pub(super) const POOL: &str = "p";
pub(super) const EVENT: &str = "e";

impl Things {
    pub(super) fn open(ns: &Namespace) -> Result<Things> {
        Ok(Things { sem: Exclusive::open(ns, SEM)?, pool: Counting::open(ns, POOL)?, event: Event::open(ns, EVENT)? })
    }

    pub(super) fn make(ns: &Namespace) -> Result<Things> {
        Ok(Things {
            sem: Exclusive::open_or_create(ns, SEM)?,
            pool: Counting::open_or_create_pool(ns, POOL, LIMIT)?,
            event: Event::open_or_create_auto(ns, EVENT)?,
        })
    }
}

impl World {
    fn ns(&self) -> &Namespace {
        self.ns.as_ref().expect("opened")
    }

    fn things(&self) -> &'static Things {
        self.things.expect("opened")
    }
}

/// An operation: done once with a call that fails, and, if that was an error, once more, when it must work.
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) before: Before,
    pub(super) beside: Beside,
    pub(super) run: fn(&mut World) -> Result<()>,
}

const LONG: Duration = Duration::from_secs(20);

/// 105 is a success here: it owns.
fn owned(r: std::result::Result<xsem::Guard<'_>, AcquireError<'_>>) -> Result<()> {
    match r {
        Ok(guard) => guard.release(),
        Err(AcquireError::OwnerDied(r)) => r.mark_consistent()?.release(),
        Err(AcquireError::Failed(e)) => Err(e),
    }
}

fn open(w: &mut World) -> Result<()> {
    w.ns = Some(Namespace::open(&w.url)?);
    Ok(())
}

fn create(w: &mut World) -> Result<()> {
    Exclusive::create(w.ns(), "new").map(drop)?;
    Counting::create_pool(w.ns(), "new pool", 3, Options::new()).map(drop)?;
    w.ns().remove("new pool")?;
    w.ns().remove("new")
}

fn acquire(w: &mut World) -> Result<()> {
    owned(w.things().sem.acquire_timeout(LONG))
}

fn short_wait(w: &mut World) -> Result<()> {
    match owned(w.things().sem.acquire_timeout(Duration::from_millis(3))) {
        Err(e) if e.code() == xsem::Code::SemTimeout => Ok(()),
        other => other,
    }
}

fn labelled(w: &mut World) -> Result<()> {
    owned(w.things().sem.acquire_with(Wait::timeout(LONG).label("nightly build")))
}

fn release(w: &mut World) -> Result<()> {
    w.guard.take().map_or(Ok(()), |g| g.release())
}

fn permits(w: &mut World) -> Result<()> {
    w.things().pool.acquire_with(3, Wait::timeout(LONG))?.release()
}

fn signal(w: &mut World) -> Result<()> {
    w.things().event.signal()?;
    w.things().event.wait_timeout(LONG)
}

fn any(w: &mut World) -> Result<()> {
    let t = w.things();
    match w.ns().wait_any(&[(&t.sem).into(), (&t.pool).into()], Wait::timeout(LONG)) {
        Ok(taken) => drop(taken),
        Err(xsem::AnyError::OwnerDied { recovery, .. }) => drop(recovery.mark_consistent()?),
        Err(xsem::AnyError::Failed(e)) => return Err(e),
    }
    Ok(())
}

fn all(w: &mut World) -> Result<()> {
    let t = w.things();
    match w.ns().acquire_all(&[(&t.sem).into(), Pick::permits(&t.pool, 2)], Wait::timeout(LONG)) {
        Ok(all) => drop(all),
        Err(xsem::AllError::OwnerDied(r)) => drop(r.mark_consistent()?),
        Err(xsem::AllError::Failed(e)) => return Err(e),
    }
    Ok(())
}

fn future(w: &mut World) -> Result<()> {
    match polling::run(w.things().sem.acquire_async_with(Wait::timeout(LONG))) {
        Ok(guard) => guard.release(),
        Err(xsem::OwnedAcquireError::OwnerDied(r)) => r.mark_consistent()?.release(),
        Err(xsem::OwnedAcquireError::Failed(e)) => Err(e),
    }
}

fn descriptor(w: &mut World) -> Result<()> {
    let mut f = xsem::PollFd::new(w.things().pool.acquire_async_with(2, Wait::timeout(LONG)))?;
    loop {
        if let Some(permit) = f.poll_now() {
            return permit?.release();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn look(w: &mut World) -> Result<()> {
    w.ns().list()?;
    w.ns().inspect(SEM)?;
    w.ns().inspect(POOL).map(drop)
}

fn describe(w: &mut World) -> Result<()> {
    w.ns().describe("something")?;
    w.ns().cover(Some(std::process::id()))?;
    w.ns().cover(None)
}

fn tidy(w: &mut World) -> Result<()> {
    w.ns().gc(Duration::from_secs(3600), |_| false)?;
    w.things().pool.resize(LIMIT + 1)?;
    w.things().pool.resize(LIMIT)
}

fn drain(w: &mut World) -> Result<()> {
    w.ns().drain(EVENT, Wait::timeout(LONG))?;
    w.ns().reopen(EVENT)
}

const fn op(name: &'static str, before: Before, beside: Beside, run: fn(&mut World) -> Result<()>) -> Operation {
    Operation { name, before, beside, run }
}

/// All of them.
pub(super) const OPERATIONS: &[Operation] = &[
    op("open, made anew", Before::Nothing, Beside::Nobody, open),
    op("open", Before::Made, Beside::Nobody, open),
    op("open a copy", Before::Copied, Beside::Nobody, open),
    op("first acquire", Before::Opened, Beside::Nobody, acquire),
    op("acquire", Before::Member, Beside::Nobody, acquire),
    op("acquire, label", Before::Member, Beside::Nobody, labelled),
    op("acquire, wait", Before::Member, Beside::Owns, acquire),
    op("acquire, first and wait", Before::Opened, Beside::Owns, acquire),
    op("acquire, time out", Before::Member, Beside::Owns, short_wait),
    op("acquire, takeover", Before::Member, Beside::Died, acquire),
    op("release to a waiter", Before::Owner, Beside::Waits, release),
    op("create and remove", Before::Opened, Beside::Nobody, create),
    op("permits", Before::Opened, Beside::Nobody, permits),
    op("permits, wait", Before::Member, Beside::Owns, permits),
    op("permits, of the dead", Before::Member, Beside::Died, permits),
    op("signal and wait", Before::Opened, Beside::Nobody, signal),
    op("wait_any, wait", Before::Member, Beside::Owns, any),
    op("acquire_all", Before::Member, Beside::Nobody, all),
    op("acquire_all, wait", Before::Member, Beside::Owns, all),
    op("future, wait", Before::Member, Beside::Owns, future),
    op("pollable descriptor, wait", Before::Opened, Beside::Owns, descriptor),
    op("list and inspect", Before::Opened, Beside::Owns, look),
    op("describe and cover", Before::Opened, Beside::Nobody, describe),
    op("gc and resize", Before::Member, Beside::Nobody, tidy),
    op("drain and reopen", Before::Member, Beside::Nobody, drain),
];
