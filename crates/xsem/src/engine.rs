//! The seam between what operations mean and how they are kept.
//!
//! An engine keeps the contract of `docs/semantics.md`; the front doors only know these traits. The contract of an
//! implementation, numbered so that the conformance suite can name what it tests:
//!
//! 1. `create` is exclusive: of two concurrent calls for one name exactly one succeeds, the other gets 183.
//! 2. `open` never changes the object; the wrong kind is 6, no such name 187.
//! 3. `acquire` returns only with the claim granted, or with nothing taken. At most one claim on an exclusive semaphore.
//! 4. A claim of an ended claimant passes on, exactly once, and its successor's grant says so (`Grant::died`) until
//!    `mark_consistent`.
//! 5. `Wait::Try` never sleeps. A deadline or a cancel token that fires leaves nothing behind.
//! 6. `release` never waits for another process. A claim that was lost (lease ended, evicted) is 288.
//! 7. Tokens of one semaphore only grow.
//! 8. `remove` refuses with 102 while anybody holds or waits, and changes nothing then.
//! 9. Permits: what is granted is never more than the limit in force at the grant; held + free = total; a request for n
//!    is granted as a whole. The permits of an ended claimant are free again, exactly once, and nobody is told (no 105).
//! 10. Slot indices of a pool: as many as permits, different from those of every other claim, the same for as long as
//!     the claim is held, below the limit in force at the grant where older claims do not have those.
//! 11. `wait_any` takes exactly one; the lowest index if several can be had. `acquire_all` takes all at one instant, or
//!     nothing that anybody could see.
//! 12. `drain` ends when nobody holds or waits any more; from its beginning new requests get 102. If it ends otherwise
//!     (121, 95, its process dies), requests are let in again.
//! 13. `evict` ends a claim at once: its owner finds it lost (288), the successor of an exclusive one is told (105).
//! 14. A wait without a deadline that could only end if its own claimant gave something up is 1131; of a cycle, the
//!     youngest wait gets it.
//! 15. An event is signalled until it is reset (manual) or a wait has consumed the signal (auto): a signal is seen by every
//!     wait that began before it (manual) or by exactly one (auto), whoever dies or is stopped. Signals of what is
//!     signalled already are one. A wait gives no claim: nothing of it can be released or ends with the waiter.
//!
//! Nothing here assumes shared memory: an acquire may take a network's round trip, a claim may be lost while it is held
//! ([`Object::is_held`]), and `release` is the point from which others may hope, not the instant at which they know.
//! Each form of acquire has an asynchronous one, `start`, which is polled and may be dropped: see [`Pending`].

use crate::cancel::CancelToken;
use crate::claim::{Capacity, Cause, Deaths, Kind, Mode, Report, Reset, Signal, Summary};
use crate::deadline::Deadline;
use crate::error::{Code, Error, Fixed, Result};
use crate::health::{Checkup, Loss, Repaired};
use crate::history::{History, Record};
use crate::name::Name;
use std::any::Any;
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

pub use crate::lost::OnLoss;
pub use crate::pending::{Account, Alarm, Granted, OnThread, OwnedRequest, OwnedWant, Pending, Wish};

/// The most permits of a counting semaphore.
pub const MAX_PERMITS: u32 = 65_535;
/// The most entries in the list of a `wait_any` or `acquire_all`.
pub const MAX_LIST: usize = 64;

/// What a new semaphore shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spec {
    /// The kind.
    pub kind: Kind,
    /// How permits come and go (counting).
    pub mode: Mode,
    /// How it is reset (event).
    pub reset: Reset,
    /// Permits at most (counting); 1 otherwise.
    pub limit: u32,
    /// Permits at the start; 1 for an event that is signalled from the beginning.
    pub initial: u32,
    /// Whether the name goes with the last process that has it open.
    pub ephemeral: bool,
}

impl Spec {
    /// An exclusive semaphore.
    pub fn exclusive() -> Spec {
        Spec { kind: Kind::Exclusive, mode: Mode::Pool, reset: Reset::Manual, limit: 1, initial: 1, ephemeral: false }
    }

    /// A pool of so many permits.
    pub fn pool(limit: u32) -> Spec {
        Spec { kind: Kind::Counting, limit, initial: limit, ..Spec::exclusive() }
    }

    /// Credit of at most `limit` permits, `initial` of them at the start.
    pub fn credit(limit: u32, initial: u32) -> Spec {
        Spec { kind: Kind::Counting, mode: Mode::Credit, limit, initial, ..Spec::exclusive() }
    }

    /// An event, signalled from the beginning or not.
    pub fn event(reset: Reset, signalled: bool) -> Spec {
        Spec { kind: Kind::Event, reset, initial: signalled as u32, ..Spec::exclusive() }
    }

    /// Gone with its last user, or not.
    pub fn ephemeral(mut self, yes: bool) -> Spec {
        self.ephemeral = yes;
        self
    }

    /// 87, when the numbers cannot be.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String, advice: &str| Err(Error::new(Code::InvalidParameter, what).advice(advice));
        match self.kind {
            Kind::Counting if self.limit == 0 || self.limit > MAX_PERMITS => {
                wrong(format!("a limit of {} permits", self.limit), "a limit is 1 to 65535")
            }
            Kind::Counting if self.initial > self.limit => wrong(
                format!("{} permits at the start are more than the limit of {}", self.initial, self.limit),
                "start with at most the limit",
            ),
            _ => Ok(()),
        }
    }
}

/// How long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Not at all: grant or refuse.
    Now,
    /// Until this point.
    Deadline(Deadline),
    /// For ever.
    Forever,
}

/// One request for a claim.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Request<'a> {
    /// Who asks inside this process: a small number per thread or [`Claimant`](crate::Claimant). 0 is nobody in particular:
    /// its claims belong to the process, never nest, and are in no cycle of waits.
    pub claimant: u32,
    /// Permits wanted.
    pub permits: u32,
    /// For how long.
    pub until: Until,
    /// What ends it early.
    pub cancel: Option<&'a CancelToken>,
    /// What the claim is called.
    pub label: Option<&'a str>,
    /// Looked at when a signal interrupted the wait; `true` ends it with 95. For front doors that run signal handlers of
    /// a language of their own between waits.
    pub interrupted: Option<&'a dyn Interrupted>,
    /// Whose other claims count, when it is to be known whether somebody may be waiting for them.
    pub account: Account<'a>,
}

impl Request<'_> {
    /// A request of one permit.
    pub fn new(claimant: u32, until: Until) -> Self {
        Request { claimant, permits: 1, until, cancel: None, label: None, interrupted: None, account: Account::Thread }
    }
}

/// Asked after a signal interrupted a wait.
pub trait Interrupted: Debug + Sync {
    /// `true` ends the wait with 95.
    fn give_up(&self) -> bool;
}

/// A claim as its owner keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// The fencing token.
    pub token: u64,
    /// The engine's own: names, with the token, the claim beyond doubt.
    pub key: u64,
}

impl Claim {
    /// For engines: a claim with these facts.
    pub fn new(token: u64, key: u64) -> Claim {
        Claim { token, key }
    }
}

/// An entry in the list of a `wait_any` or `acquire_all`.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// The semaphore.
    pub object: &'a dyn Object,
    /// Permits wanted (1 for other kinds than counting).
    pub permits: u32,
}

/// What an acquire gives.
#[derive(Debug)]
#[non_exhaustive]
pub struct Grant {
    /// The claim.
    pub claim: Claim,
    /// `Some` when the mark is set: 105. The inner value is `None` when the details could not be kept.
    pub died: Option<Option<Deaths>>,
}

impl Grant {
    /// For engines: a grant.
    pub fn new(claim: Claim, died: Option<Option<Deaths>>) -> Grant {
        Grant { claim, died }
    }
}

/// How a claim is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// One level back.
    Release,
    /// All levels back, with the mark and an obituary of this cause.
    Abandon(Cause),
}

/// Opens a namespace of an engine that is not built in, by its URL.
pub type Opener = fn(&str) -> Result<Arc<dyn Engine>>;

/// Schemes that were registered. A list that only grows, without a lock: a forked child may have been made at any instant.
struct Scheme {
    name: &'static str,
    open: Opener,
    next: *mut Scheme,
}

static SCHEMES: AtomicPtr<Scheme> = AtomicPtr::new(std::ptr::null_mut());

/// Makes URLs that begin with `name:` known to [`Namespace::open`](crate::Namespace::open), for engines of other crates (`etcd`
/// is one: `xsem_etcd::register()`). The latest registration of a name counts; `shm` and `memory` are always this crate's own.
/// What `open` is given is the whole URL.
pub fn register_scheme(name: &'static str, open: Opener) {
    if scheme(name).is_some_and(|known| std::ptr::fn_addr_eq(known, open)) {
        return;
    }
    let new = Box::into_raw(Box::new(Scheme { name, open, next: std::ptr::null_mut() }));
    let mut first = SCHEMES.load(Ordering::Acquire);
    loop {
        // SAFETY: nobody else has seen it yet.
        unsafe { (*new).next = first };
        match SCHEMES.compare_exchange(first, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return,
            Err(now) => first = now,
        }
    }
}

/// What opens URLs that begin with `name:`.
pub(crate) fn scheme(name: &str) -> Option<Opener> {
    let mut at = SCHEMES.load(Ordering::Acquire);
    // SAFETY: what was put into the list is never freed, and not changed any more.
    while let Some(s) = unsafe { at.as_ref() } {
        if s.name == name {
            return Some(s.open);
        }
        at = s.next;
    }
    None
}

/// A place where names live.
pub trait Engine: Send + Sync + Debug + 'static {
    /// The URL that opens it again.
    fn url(&self) -> &str;
    /// A new, clear semaphore. 183, 100, 87.
    fn create(&self, name: &Name, spec: &Spec) -> Result<Arc<dyn Object>>;
    /// An existing one. 187, 6.
    fn open(&self, name: &Name, kind: Kind) -> Result<Arc<dyn Object>>;
    /// Either, never a race. 6, 87, 100.
    fn open_or_create(&self, name: &Name, spec: &Spec) -> Result<Arc<dyn Object>>;
    /// Takes the name away. 187, 102. With `if_acquired`, only if it has had this many claims, else 102: somebody has used
    /// it since.
    fn remove(&self, name: &Name, if_acquired: Option<u64>) -> Result<()>;
    /// One of the list, the lowest index of those that can be had. 151, 153, 87, and as [`Object::acquire`]; an error
    /// that concerns one entry says which ([`Error::indices`]). `permits` of the request does not count.
    fn wait_any(&self, list: &[Want<'_>], request: &Request<'_>) -> Result<(usize, Grant)>;
    /// All of the list at one instant, in its order. As `wait_any`; 153 for duplicates, too.
    fn acquire_all(&self, list: &[Want<'_>], request: &Request<'_>) -> Result<Vec<Grant>>;
    /// `wait_any` or `acquire_all` as a request that is polled; errors that can be seen at once may come now or then.
    /// Without a form of its own, an engine waits on a thread for each.
    fn start(self: Arc<Self>, wish: Wish, list: Vec<OwnedWant>, request: OwnedRequest) -> Result<Box<dyn Pending>> {
        OnThread::list(self, wish, list, request)
    }
    /// Refuses new requests (102) and waits until nobody holds it or waits for it. It stays so until `reopen`. 121 or 95
    /// (with who is left): it is open again; also when this process dies before the end. 102: somebody drains it already.
    fn drain(&self, name: &Name, request: &Request<'_>) -> Result<()>;
    /// Lets requests in again, also while a drain waits (that ends with 95). Nothing when it is open. 187.
    fn reopen(&self, name: &Name) -> Result<()>;
    /// Ends the claim with this token: its owner gets 288, the next owner of an exclusive one 105. 187; 288 no such claim.
    fn evict(&self, name: &Name, token: u64) -> Result<()>;
    /// All that is known of one semaphore. 187.
    fn inspect(&self, name: &Name) -> Result<Report>;
    /// Every semaphore, in no order, one at a time, until the visitor breaks off.
    fn list(&self, visit: &mut dyn FnMut(Summary) -> ControlFlow<()>) -> Result<()>;
    /// Takes ephemeral names away that have no user left, and are only still in the way; their names.
    fn sweep(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    /// Looks at everything that is stored: nothing is changed, and others go on. 1 where that cannot be looked at.
    fn check(&self) -> Result<Checkup> {
        Err(not_here(self.url(), "check"))
    }
    /// Mends what [`check`](Engine::check) finds, as far as it can: no claim of a living process is taken away. May be called
    /// while others work, by several at once, and may end in the middle. 1 where nothing can be mended.
    fn repair(&self) -> Result<Repaired> {
        Err(not_here(self.url(), "repair"))
    }
    /// What [`reset`](Engine::reset) would throw away. 1 where nothing can be.
    fn would_lose(&self) -> Result<Loss> {
        Err(not_here(self.url(), "reset"))
    }
    /// Throws everything away, at one instant, and says what it was. 1 where that cannot be.
    fn reset(&self) -> Result<Loss> {
        Err(not_here(self.url(), "reset"))
    }
    /// What has happened, from a position on. 1 where nothing is written down.
    fn history(&self, _from: u64) -> Result<History> {
        Err(not_here(self.url(), "keep the history of"))
    }
    /// What is always written down: which programs have not agreed about a kind or a limit. 1 as `history`.
    fn incidents(&self) -> Result<Vec<Record>> {
        Err(not_here(self.url(), "keep the history of"))
    }
    /// Begins to write down what happens, with room for so many records, or ends that. 87, 100; 1 as `history`.
    fn keep_history(&self, _records: Option<u32>) -> Result<()> {
        Err(not_here(self.url(), "keep the history of"))
    }
    /// The kind of a semaphore. 187.
    fn kind(&self, name: &Name) -> Result<Kind> {
        self.inspect(name).map(|r| r.kind)
    }
    /// What others shall see as this process's command. 8 when there is no room.
    fn describe(&self, command: &str) -> Result<()>;
    /// Says that this process runs inside of the command that the claim with this token covers, so that claim does not end
    /// before it does: for the search for deadlocks. Nothing if there is no such claim (any more). 187.
    fn inside(&self, _name: &Name, _token: u64) -> Result<()> {
        Ok(())
    }
    /// Calls this whenever all claims of this process are lost at once, as when its lease ends; from whatever thread. Where
    /// that cannot be, it is never called.
    fn on_loss(&self, _call: OnLoss) {}
    /// Says that this process's claims cover the child `pid`: if this process dies, they end when the child has ended.
    fn cover(&self, pid: Option<u32>) -> Result<()>;
}

/// A claim whose end was prepared. Dropped at normal time, when it was spent or is to be forgotten.
pub trait Prepared: Send + Sync + Debug {
    /// Ends the claim, at interrupt time perhaps: no allocation, no lock. Called once. False: it had been ended from outside.
    fn spend(&self) -> bool;
}

/// An open semaphore.
pub trait Object: Send + Sync + Debug + 'static {
    /// Its name.
    fn name(&self) -> &Name;
    /// Its kind.
    fn kind(&self) -> Kind;
    /// A claim, or why not. On an event it waits for the signal: the grant has the number of signals as its token, and
    /// nothing to give back.
    fn acquire(&self, request: &Request<'_>) -> Result<Grant>;
    /// [`acquire`](Object::acquire) as a request that is polled; errors that can be seen at once may come now or then.
    /// Without a form of its own, an engine waits on a thread for each.
    fn start(self: Arc<Self>, request: OwnedRequest) -> Result<Box<dyn Pending>> {
        OnThread::one(self, request)
    }
    /// Gives a claim back. 288 when it is not held (any more).
    fn release(&self, claim: &Claim, ending: Ending) -> Result<()>;
    /// Prepares the end of a claim, so that it can be ended at interrupt time. From here on the claim is the process's, and
    /// only ends by that, or by the end of the process, or from outside. 288; 1 where that is not possible.
    fn prepare_release(&self, _claim: &Claim) -> Result<Box<dyn Prepared>> {
        Err(Error::new(
            Code::InvalidFunction,
            format!("the release of `{}` cannot be prepared: its engine needs a lock", self.name()),
        )
        .of(self.name().as_str())
        .advice("release it in normal code, or use a namespace in shared memory (`shm:`)"))
    }
    /// Says that the state is whole again. 288.
    fn mark_consistent(&self, claim: &Claim) -> Result<()>;
    /// Shares the claim with this token, if somebody still holds it; it ends with the last that shares it.
    fn join(&self, token: u64) -> Result<Option<Claim>>;
    /// Whether the claim is still this process's.
    fn is_held(&self, claim: &Claim) -> bool;
    /// For engines: its own type again.
    fn as_any(&self) -> &dyn Any;
    /// Gives so many permits of a claim back; all of them end it. 288 more than it has; 1 on another kind.
    fn release_part(&self, _claim: &Claim, _permits: u32) -> Result<()> {
        Err(not_counting(self.name(), self.kind()))
    }
    /// The slots of a pool that the claim has, ascending. 288; 1 on another kind and on credit.
    fn slots(&self, _claim: &Claim) -> Result<Vec<u32>> {
        Err(not_counting(self.name(), self.kind()))
    }
    /// More permits (credit). 298 above the limit; 1 on a pool or another kind.
    fn add_permits(&self, _permits: u32) -> Result<()> {
        Err(not_counting(self.name(), self.kind()))
    }
    /// The same at interrupt time, inside a signal handler perhaps: it allocates nothing (also for its errors), takes no lock,
    /// and finishes whatever else is interrupted. An engine that cannot do that refuses with 104.
    fn add_permits_at_interrupt_time(&self, _permits: u32) -> Result<()> {
        Err(Error::fixed(&NOT_AT_INTERRUPT_TIME))
    }
    /// The limit now, if that can be told without a lock and without an allocation: what is above it is 87 also at interrupt
    /// time.
    fn limit_now(&self) -> Option<u32> {
        None
    }
    /// Ends a claim whose permits do not come back (credit). 288; 1 on a pool or another kind.
    fn forget(&self, _claim: &Claim) -> Result<()> {
        Err(not_counting(self.name(), self.kind()))
    }
    /// Another limit, at once; nothing is taken away from who has permits. 87 for 0 or above the maximum; 1 on another kind.
    fn resize(&self, _limit: u32) -> Result<()> {
        Err(not_counting(self.name(), self.kind()))
    }
    /// Whether `signal` and `reset` may be called at interrupt time: they take no lock, allocate nothing there (also for their
    /// errors), finish whatever else is interrupted, and keep `errno`.
    fn signals_at_interrupt_time(&self) -> bool {
        false
    }
    /// Signals an event; whether it was reset before. 6; 1 on another kind.
    fn signal(&self) -> Result<bool> {
        Err(not_event(self.name(), self.kind()))
    }
    /// Resets an event; whether it was signalled before. 6; 1 on another kind.
    fn reset(&self) -> Result<bool> {
        Err(not_event(self.name(), self.kind()))
    }
    /// How an event stands now. 6; 1 on another kind.
    fn signalled(&self) -> Result<Signal> {
        Err(not_event(self.name(), self.kind()))
    }
    /// Limit and permits now. 6; 1 on another kind.
    fn capacity(&self) -> Result<Capacity> {
        Err(not_counting(self.name(), self.kind()))
    }
    /// Ends the use of this handle by its process. 102 while this process holds a claim through it or waits on it:
    /// nothing changes then. A handle that is dropped does the same as far as it can, and says nothing.
    fn close(&self) -> Result<()>;
    /// The words of the shared-memory engine's uncontended path, for the public types to use without a call.
    #[doc(hidden)]
    fn fast(&self) -> Option<crate::shm::FastPath> {
        None
    }
    /// The same for permits.
    #[doc(hidden)]
    fn fast_permits(&self) -> Option<crate::shm::FastPermits> {
        None
    }
}

pub(crate) static NOT_AT_INTERRUPT_TIME: Fixed = Fixed {
    code: Code::InvalidAtInterruptTime,
    message: "this engine cannot do that at interrupt time (in a signal handler or a declared scope): it needs a lock",
    advice: "note there what happened and do it in normal code, or use a namespace in shared memory (`shm:`)",
};

/// 1: the engine does not have the operation.
pub(crate) fn not_here(url: &str, what: &str) -> Error {
    Error::new(Code::InvalidFunction, format!("`{url}` has nothing to {what}"))
        .advice("this is for namespaces in shared memory (`shm:`)")
}

/// 1: the operation is one of counting semaphores.
pub(crate) fn not_counting(name: &Name, kind: Kind) -> Error {
    Error::new(Code::InvalidFunction, format!("`{name}` is of kind {kind}, which has no permits to count"))
        .of(name.as_str())
        .advice("this is an operation of counting semaphores")
}

/// 1: the operation is one of events.
pub(crate) fn not_event(name: &Name, kind: Kind) -> Error {
    Error::new(Code::InvalidFunction, format!("`{name}` is of kind {kind}, which is not signalled or reset"))
        .of(name.as_str())
        .advice("this is an operation of events")
}

/// Checks a list for `wait_any` or `acquire_all` as far as all engines agree: its length (151), duplicates if they are
/// refused (153), permits (87). Whether all are of one namespace only the engine can say.
pub fn check_list(list: &[Want<'_>], duplicates: bool) -> Result<()> {
    if list.is_empty() || list.len() > MAX_LIST {
        return Err(Error::new(Code::InvalidEventCount, format!("a list of {} semaphores", list.len()))
            .advice(format!("name 1 to {MAX_LIST} of them")));
    }
    for (i, want) in list.iter().enumerate() {
        if want.permits == 0 || want.object.kind() != Kind::Counting && want.permits != 1 {
            return Err(Error::new(Code::InvalidParameter, format!("{} permits of `{}`", want.permits, want.object.name()))
                .of(want.object.name().as_str())
                .at([i])
                .advice("ask for at least one permit, and for one only where there are no more"));
        }
        let twin = list[..i].iter().position(|w| w.object.name() == want.object.name());
        if let (true, Some(first)) = (duplicates, twin) {
            return Err(Error::new(Code::InvalidListFormat, format!("`{}` is in the list twice", want.object.name()))
                .of(want.object.name().as_str())
                .at([first, i])
                .advice("name each semaphore once; for several permits of one, ask for that many"));
        }
    }
    Ok(())
}
