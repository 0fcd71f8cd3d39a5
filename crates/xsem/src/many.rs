//! Several semaphores in one wait: the first that can be had, or all at one instant.

use crate::claim::Deaths;
use crate::counting::Counting;
use crate::engine::{Claim, Grant, MAX_LIST, Object, OwnedWant, Want};
use crate::error::{Code, Error, Fixed, Result};
use crate::event::Event;
use crate::exclusive::Exclusive;
use crate::future::{AcquireAll, WaitAny};
use crate::guard::{Guard, Recovery};
use crate::interrupt;
use crate::namespace::Namespace;
use crate::permit::Permit;
use crate::shm::claimant;
use crate::wait::Wait;
use std::fmt;

/// An entry in the list of [`Namespace::wait_any`] or [`Namespace::acquire_all`].
#[derive(Clone, Copy, Debug)]
pub struct Pick<'a> {
    what: What<'a>,
    permits: u32,
}

#[derive(Clone, Copy, Debug)]
enum What<'a> {
    Exclusive(&'a Exclusive),
    Counting(&'a Counting),
    Event(&'a Event),
}

impl<'a> Pick<'a> {
    /// So many permits of a counting semaphore.
    pub fn permits(sem: &'a Counting, n: u32) -> Pick<'a> {
        Pick { what: What::Counting(sem), permits: n }
    }

    fn object(&self) -> &'a dyn Object {
        match self.what {
            What::Exclusive(s) => s.object(),
            What::Counting(s) => s.object(),
            What::Event(e) => e.object(),
        }
    }

    fn want(&self) -> Want<'a> {
        Want { object: self.object(), permits: self.permits }
    }

    fn held(&self, claim: Claim) -> Held<'a> {
        match self.what {
            What::Exclusive(s) => Held::Guard(Guard::new(s, claim)),
            What::Counting(s) => Held::Permit(Permit::new(s, claim, self.permits)),
            What::Event(_) => Held::Signal(claim.token),
        }
    }
}

/// The same with handles of its own.
#[derive(Clone, Debug)]
pub(crate) enum OwnedPick {
    Exclusive(Exclusive),
    Counting(Counting, u32),
    Event(Event),
}

impl OwnedPick {
    fn of(pick: &Pick<'_>) -> OwnedPick {
        match pick.what {
            What::Exclusive(s) => OwnedPick::Exclusive(s.clone()),
            What::Counting(s) => OwnedPick::Counting(s.clone(), pick.permits),
            What::Event(e) => OwnedPick::Event(e.clone()),
        }
    }

    pub(crate) fn want(&self) -> OwnedWant {
        let (object, permits) = match self {
            OwnedPick::Exclusive(s) => (s.shared(), 1),
            OwnedPick::Counting(s, n) => (s.shared(), *n),
            OwnedPick::Event(e) => (e.shared(), 1),
        };
        OwnedWant { object, permits }
    }
}

impl<'a> From<&'a Exclusive> for Pick<'a> {
    fn from(sem: &'a Exclusive) -> Pick<'a> {
        Pick { what: What::Exclusive(sem), permits: 1 }
    }
}

impl<'a> From<&'a Counting> for Pick<'a> {
    fn from(sem: &'a Counting) -> Pick<'a> {
        Pick::permits(sem, 1)
    }
}

impl<'a> From<&'a Event> for Pick<'a> {
    /// The event's signal: seen (manual) or consumed (auto).
    fn from(event: &'a Event) -> Pick<'a> {
        Pick { what: What::Event(event), permits: 1 }
    }
}

/// What was acquired from a list.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "dropping it releases the semaphore"]
pub enum Held<'a> {
    /// An exclusive semaphore.
    Guard(Guard<'a>),
    /// Permits of a counting one.
    Permit(Permit<'a>),
    /// The signal of an event, which leaves nothing to give back: how many there have been.
    Signal(u64),
}

impl Held<'_> {
    /// The fencing token; of an event, the number of signals so far.
    pub fn token(&self) -> u64 {
        match self {
            Held::Guard(g) => g.token(),
            Held::Permit(p) => p.token(),
            Held::Signal(n) => *n,
        }
    }
}

/// What [`Namespace::wait_any`] gives.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "dropping it releases the semaphore"]
pub struct Taken<'a> {
    /// Which entry of the list it was.
    pub index: usize,
    /// The claim.
    pub held: Held<'a>,
}

/// Why [`Namespace::wait_any`] did not give a plain claim.
#[derive(Debug)]
pub enum AnyError<'a> {
    /// 105: this entry is owned now, but its previous owner died.
    OwnerDied {
        /// Which entry.
        index: usize,
        /// It owns the semaphore.
        recovery: Recovery<'a>,
    },
    /// Nothing was taken.
    Failed(Error),
}

/// What [`Namespace::acquire_all`] gives: a claim per entry, in the order of the list.
#[derive(Debug)]
#[must_use = "dropping it releases the semaphores"]
pub struct All<'a> {
    held: Vec<Held<'a>>,
}

impl<'a> All<'a> {
    /// The claims, in the order of the list.
    pub fn as_slice(&self) -> &[Held<'a>] {
        &self.held
    }

    /// The claims one by one.
    pub fn into_vec(self) -> Vec<Held<'a>> {
        self.held
    }
}

/// The outcome 105 of [`Namespace::acquire_all`]: *all* are owned, and the previous owners of some died.
#[derive(Debug)]
#[must_use = "this owns the semaphores; dropping it releases them and keeps the marks"]
pub struct AllRecovery<'a> {
    all: All<'a>,
    died: Vec<(usize, Option<Box<Deaths>>)>,
}

impl<'a> AllRecovery<'a> {
    /// Which entries have the mark, ascending.
    pub fn indices(&self) -> Vec<usize> {
        self.died.iter().map(|(i, _)| *i).collect()
    }

    /// Who died as owner of this entry. None when nobody did, or the details could not be kept.
    pub fn deaths(&self, index: usize) -> Option<&Deaths> {
        self.died.iter().find(|(i, _)| *i == index)?.1.as_deref()
    }

    /// The state behind all of them is whole: clears the marks and goes on as a usual owner.
    ///
    /// # Errors
    /// 288 when one of the claims was ended from outside in the meantime.
    pub fn mark_consistent(self) -> Result<All<'a>> {
        for (i, _) in &self.died {
            if let Held::Guard(g) = &self.all.held[*i] {
                g.mark_consistent()?;
            }
        }
        Ok(self.all)
    }

    /// Goes on as owner and keeps the marks; `Guard::mark_consistent` clears them later.
    pub fn into_all(self) -> All<'a> {
        self.all
    }
}

/// Why [`Namespace::acquire_all`] did not give plain claims.
#[derive(Debug)]
pub enum AllError<'a> {
    /// 105: all are owned, but previous owners died.
    OwnerDied(AllRecovery<'a>),
    /// Nothing was taken.
    Failed(Error),
}

impl Namespace {
    /// Waits until one of the list can be had, and takes it: the lowest index if several can. 1 to 64 entries, of any kinds.
    ///
    /// The wait counts at each of them from its beginning, so those who wait for one semaphore have no advantage, and no
    /// disadvantage.
    ///
    /// # Errors
    /// 151 an empty list or more than 64 entries, 153 a semaphore of another namespace, 104 at interrupt time, 121, 95, 105 (taken!), 1131 none
    /// of them could ever be had, 87, 6, 102. [`Error::indices`] says which entries an error is about.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display()))?;
    /// use xsem::{Exclusive, Wait};
    /// let (a, b) = (Exclusive::open_or_create(&ns, "printer/a")?, Exclusive::open_or_create(&ns, "printer/b")?);
    /// let taken = ns.wait_any(&[(&a).into(), (&b).into()], Wait::forever())?;
    /// assert_eq!(taken.index, 0);
    /// # Ok::<(), xsem::Error>(())
    /// ```
    pub fn wait_any<'a>(&self, list: &[Pick<'a>], wait: Wait<'_>) -> std::result::Result<Taken<'a>, AnyError<'a>> {
        check(list, false).map_err(AnyError::Failed)?;
        let wants: Vec<Want<'_>> = list.iter().map(Pick::want).collect();
        let (index, grant) = self.engine().wait_any(&wants, &wait.request_for(claimant(), 1)).map_err(AnyError::Failed)?;
        match (list[index].held(grant.claim), grant.died) {
            (Held::Guard(guard), Some(deaths)) => Err(AnyError::OwnerDied { index, recovery: Recovery::new(guard, deaths) }),
            (held, _) => Ok(Taken { index, held }),
        }
    }

    /// Waits until all of the list can be had at one instant, and takes them. Until then it holds none of them, so it
    /// cannot deadlock with others who do the same in another order. 1 to 64 entries, of any kinds.
    ///
    /// # Errors
    /// As [`wait_any`](Namespace::wait_any); 153 also for a semaphore that is in the list twice. Nothing is taken then.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display()))?;
    /// use xsem::{Counting, Exclusive, Pick, Wait};
    /// let account = Exclusive::open_or_create(&ns, "account/7")?;
    /// let connections = Counting::open_or_create_pool(&ns, "db", 10)?;
    /// let all = ns.acquire_all(&[(&account).into(), Pick::permits(&connections, 2)], Wait::forever())?;
    /// assert_eq!(all.as_slice().len(), 2);
    /// # Ok::<(), xsem::Error>(())
    /// ```
    pub fn acquire_all<'a>(&self, list: &[Pick<'a>], wait: Wait<'_>) -> std::result::Result<All<'a>, AllError<'a>> {
        check(list, true).map_err(AllError::Failed)?;
        let wants: Vec<Want<'_>> = list.iter().map(Pick::want).collect();
        let grants = self.engine().acquire_all(&wants, &wait.request_for(claimant(), 1)).map_err(AllError::Failed)?;
        let mut died = Vec::new();
        let mut held = Vec::with_capacity(list.len());
        for (i, (pick, Grant { claim, died: d, .. })) in list.iter().zip(grants).enumerate() {
            held.push(pick.held(claim));
            if let Some(deaths) = d {
                died.push((i, deaths.map(Box::new)));
            }
        }
        let all = All { held };
        if died.is_empty() { Ok(all) } else { Err(AllError::OwnerDied(AllRecovery { all, died })) }
    }

    /// [`wait_any`](Namespace::wait_any) for asynchronous code; see [`Exclusive::acquire_async`].
    pub fn wait_any_async(&self, list: &[Pick<'_>], wait: Wait<'_>) -> WaitAny {
        WaitAny::new(self.shared(), list.iter().map(OwnedPick::of).collect(), wait.owned(1))
    }

    /// [`acquire_all`](Namespace::acquire_all) for asynchronous code; see [`Exclusive::acquire_async`].
    pub fn acquire_all_async(&self, list: &[Pick<'_>], wait: Wait<'_>) -> AcquireAll {
        AcquireAll::new(self.shared(), list.iter().map(OwnedPick::of).collect(), wait.owned(1))
    }
}

/// 104 at interrupt time; and before it what is wrong with the list itself (as `engine::check_list`, which allocates).
fn check(list: &[Pick<'_>], duplicates: bool) -> Result<()> {
    interrupt::check().map_err(|e| {
        let wrong = |p: &Pick<'_>| p.permits == 0 || p.permits != 1 && !matches!(p.what, What::Counting(_));
        let twice = |i: usize| list[..i].iter().any(|p| p.object().name() == list[i].object().name());
        match () {
            () if list.is_empty() || list.len() > MAX_LIST => Error::fixed(&BAD_COUNT),
            () if list.iter().any(wrong) => Error::fixed(&BAD_PERMITS),
            () if duplicates && (0..list.len()).any(twice) => Error::fixed(&BAD_LIST),
            () => e,
        }
    })
}

const ADVICE: &str = "mend the list; and do not request it at interrupt time";
static BAD_COUNT: Fixed =
    Fixed { code: Code::InvalidEventCount, message: "the list is empty or has more than 64 entries", advice: ADVICE };
static BAD_PERMITS: Fixed = Fixed {
    code: Code::InvalidParameter,
    message: "an entry of the list asks for no permits, or for several where there is one",
    advice: ADVICE,
};
static BAD_LIST: Fixed = Fixed { code: Code::InvalidListFormat, message: "a semaphore is in the list twice", advice: ADVICE };

impl AnyError<'_> {
    /// The code: 105, or that of the failure.
    pub fn code(&self) -> Code {
        match self {
            AnyError::OwnerDied { .. } => Code::SemOwnerDied,
            AnyError::Failed(e) => e.code(),
        }
    }
}

impl AllError<'_> {
    /// The code: 105, or that of the failure.
    pub fn code(&self) -> Code {
        match self {
            AllError::OwnerDied(_) => Code::SemOwnerDied,
            AllError::Failed(e) => e.code(),
        }
    }
}

pub(crate) fn died(indices: &[usize]) -> Error {
    let list: Vec<_> = indices.iter().map(usize::to_string).collect();
    Error::new(Code::SemOwnerDied, format!("the previous owner died, of entry {}", list.join(", ")))
        .at(indices.iter().copied())
        .advice("check what it protects, then mark it consistent (`xsem ok NAME`, `mark_consistent`)")
}

impl fmt::Display for AnyError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnyError::Failed(e) => e.fmt(f),
            AnyError::OwnerDied { index, .. } => died(&[*index]).fmt(f),
        }
    }
}

impl fmt::Display for AllError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AllError::Failed(e) => e.fmt(f),
            AllError::OwnerDied(r) => died(&r.indices()).fmt(f),
        }
    }
}

impl std::error::Error for AnyError<'_> {}
impl std::error::Error for AllError<'_> {}

impl From<AnyError<'_>> for Error {
    /// For `?` where 105 is not handled: the semaphore is released, and the mark stays for the next owner.
    fn from(e: AnyError<'_>) -> Error {
        match e {
            AnyError::Failed(e) => e,
            AnyError::OwnerDied { index, .. } => died(&[index]),
        }
    }
}

impl From<AllError<'_>> for Error {
    /// For `?` where 105 is not handled: the semaphores are released, and the marks stay for the next owners.
    fn from(e: AllError<'_>) -> Error {
        match e {
            AllError::Failed(e) => e,
            AllError::OwnerDied(r) => died(&r.indices()),
        }
    }
}
