//! The operations that are killed and paused, and who is around them.

mod acquire;
mod any;
mod create;
mod drain;
mod endings;
mod event;
mod event_joint;
mod event_remove;
mod event_wait;
mod evict;
mod health;
mod history;
mod lists;
mod members;
mod names;
mod others;
mod place;
mod play;
mod polled;
mod pool;
mod pool_bounds;
mod pool_release;
mod prepared;
mod release;
mod share;
mod share_lists;
mod users;

use super::case::Case;
use super::player::{Held, Player, SEM};
use super::stage::{Flag, Value};
use super::step::Reached;
use super::{operations, pairs};
use crate::sys::Pid;
use xsem::Exclusive;

/// One operation of the victim, the others around it, and what must hold afterwards.
pub(crate) trait Scenario: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;
    /// What it is, in a line.
    fn about(&self) -> &'static str;
    /// Its group in the table.
    fn group(&self) -> &'static str {
        operations::group_of(self.name())
    }
    /// Scenarios of which this is the same are one operation in one situation: the undisturbed run of one is that of all.
    fn measured_as(&self) -> &'static str {
        self.name()
    }
    /// Whether it walks over all that is stored: then it has so many instructions that fewer of them are tested.
    fn walks(&self) -> bool {
        false
    }
    /// Before the victim is there.
    fn prepare(&self, case: &Case<'_>) {
        make(case);
    }
    /// The victim: gets ready, `begin`s, does its operation, is `done`; then, in pause mode, it gives up what it got when it
    /// is told to `Leave`, and says `Left`.
    fn victim(&self, p: &Player<'_>);
    /// The victim is on its way to `begin`.
    fn ready(&self, _case: &Case<'_>) {}
    /// The victim sleeps in its operation, and must be woken by this.
    fn asleep(&self, _case: &Case<'_>) {}
    /// The victim was killed.
    fn killed(&self, case: &Case<'_>);
    /// The victim stands still.
    fn paused(&self, case: &Case<'_>);
    /// The victim runs again.
    fn resumed(&self, case: &Case<'_>);
}

/// In the order of the table.
pub(crate) const ALL: &[&dyn Scenario] = &[
    &place::MAKE,
    &place::RENEW,
    &place::RENEW_COPY,
    &others::Register,
    &members::COVER,
    &members::DESCRIBE,
    &members::GC,
    &names::Create,
    &names::CreateRemoved,
    &create::OPEN_OR_CREATE,
    &create::CREATE_POOL,
    &create::CREATE_EVENT,
    &names::Open,
    &names::Remove,
    &names::RemoveUsed,
    &acquire::Free,
    &acquire::TRIED,
    &acquire::Contended,
    &acquire::Queued,
    &acquire::TimedOut,
    &acquire::OwnerDies,
    &acquire::OWNER_DIES_ALONE,
    &acquire::CANCELLED,
    &acquire::Takeover,
    &members::ACQUIRE_REMOVED,
    &release::Free,
    &release::Careful,
    &release::Waiter,
    &release::LINE,
    &release::LATE,
    &release::StoppedWaiter,
    &release::Abandon,
    &endings::KEEPER,
    &endings::THREAD,
    &endings::THREAD_SHARED,
    &others::Nest,
    &others::MarkConsistent,
    &share::JOIN,
    &share::LEAVE,
    &share::PASS,
    &pool::ACQUIRE,
    &pool::CONTENDED,
    &pool::QUEUED,
    &pool::TIMED_OUT,
    &pool::HOLDER_DIES,
    &pool::TAKEOVER,
    &pool::SLOTS,
    &pool_release::RELEASE,
    &pool_release::WAITER,
    &pool_release::LINE,
    &pool_release::STOPPED_WAITER,
    &pool_release::PART,
    &pool_bounds::ADD,
    &pool_bounds::FORGET,
    &pool_bounds::UP,
    &pool_bounds::DOWN,
    &lists::ALL_FREE,
    &lists::ALL_CONTENDED,
    &lists::ALL_PERMITS,
    &lists::ALL_TAKEOVER,
    &share_lists::ALL,
    &share_lists::LEAVE,
    &share_lists::JOIN,
    &any::FREE,
    &any::CONTENDED,
    &drain::DRAIN,
    &drain::DRAIN_POOL,
    &drain::REOPEN,
    &drain::REOPEN_POOL,
    &evict::EVICT,
    &evict::EVICT_PERMITS,
    &users::REMOVE,
    &users::REMOVE_USED,
    &users::OPEN,
    &users::OPEN_POOL,
    &users::OPEN_EVENT,
    &users::CLOSE,
    &users::CLOSE_POOL,
    &users::CLOSE_EVENT,
    &event::SIGNAL,
    &event::SIGNAL_MANUAL,
    &event::RESET,
    &event::RESET_MANUAL,
    &event::WAITER,
    &event::WAITER_RESET,
    &event::STOPPED_WAITER,
    &event::WAITERS_MANUAL,
    &event_wait::FREE,
    &event_wait::QUEUED,
    &event_wait::MANUAL,
    &event_wait::TIMED_OUT,
    &event_wait::ANY,
    &event_joint::SIGNAL,
    &event_joint::RESET,
    &event_joint::WAIT,
    &event_joint::SIGNAL_MANUAL,
    &event_joint::RESET_MANUAL,
    &event_joint::ALL,
    &event_joint::ALL_CONTENDED,
    &event_joint::ALL_MANUAL,
    &event_remove::REMOVE,
    &event_remove::REMOVE_USED,
    &event_remove::REMOVE_SLEPT_ON,
    &drain::DRAIN_EVENT,
    &prepared::PREPARE,
    &prepared::PREPARE_WAITER,
    &prepared::SPEND_WAITER,
    &prepared::PREPARE_PERMITS,
    &prepared::SPEND_PERMITS,
    &prepared::ADD,
    &prepared::SIGNAL,
    &polled::ACQUIRE,
    &polled::DROP,
    &polled::PERMITS,
    &polled::EVENT,
    &polled::DROP_EVENT,
    &polled::DROP_ANY,
    &polled::DROP_ALL,
    &drain::REOPEN_EVENT,
    &health::LOOK,
    &health::CHECK,
    &health::REPAIR,
    &health::REPAIR_LEFT,
    &health::REPAIR_LEFT_LOST,
    &health::RELEASE_REPAIRED,
    &place::RESET,
    &history::RECORD,
];

/// Those that are meant by these words: each the name of one, or a part of several names; all of this list, without a word.
/// Pairs are many, and are meant by words that begin with `pair-`.
pub(crate) fn named(words: &[String]) -> Vec<&'static dyn Scenario> {
    let of_pairs = words.iter().any(|w| w.starts_with("pair-"));
    let all: Vec<&'static dyn Scenario> = ALL.iter().copied().chain(pairs::all().filter(|_| of_pairs)).collect();
    let exact: Vec<bool> = words.iter().map(|w| all.iter().any(|a| a.name() == w)).collect();
    let meant = |s: &&'static dyn Scenario| {
        let is = |(w, exact): (&String, &bool)| if *exact { s.name() == w } else { s.name().contains(w.as_str()) };
        words.is_empty() || words.iter().zip(&exact).any(is)
    };
    all.into_iter().filter(meant).collect()
}

/// Makes the namespace and the semaphore.
fn make(case: &Case<'_>) {
    case.run_player("maker", |p| drop(p.must("create", Exclusive::create(p.ns(), SEM))));
}

/// An owner, who releases when `Release` is set.
fn owner(case: &Case<'_>) -> Pid {
    let pid = case.play("owner", |p| {
        let s = p.open(SEM);
        let held = p.acquire(&s);
        p.must_be_clean(&held);
        p.stage.set(Flag::Owning);
        p.until(Flag::Release);
        p.release(held);
    });
    case.until("the owner to own", Flag::Owning);
    case.stage.put(Value::Dead, pid as u64);
    pid
}

/// A waiter; it says `Waiting`, waits, says `Got`, and gives it up at `Give`. Sleeping before this returns.
fn waiter(case: &Case<'_>) -> Pid {
    let pid = case.play("waiter", |p| {
        let s = p.open(SEM);
        p.register();
        p.stage.set(Flag::Waiting);
        let held = p.succeed(&s);
        may_tell_of(p, &held);
        p.stage.set(Flag::Got);
        p.until(Flag::Give);
        p.release(held);
        p.stage.set(Flag::Peer);
    });
    case.until("the waiter to begin", Flag::Waiting);
    case.until_asleep(pid);
    pid
}

/// Somebody comes to wait after the victim's death, is served by the owner's release, and gives it up.
fn waiter_is_served(case: &Case<'_>) {
    waiter(case);
    case.stage.set(Flag::Release);
    case.wake("the waiter", Flag::Got);
    case.stage.set(Flag::Give);
    case.until("the waiter to give it up", Flag::Peer);
}

/// The same while the victim stands still, up to where it has it.
fn waiter_gets_it(case: &Case<'_>) {
    waiter(case);
    case.stage.set(Flag::Release);
    case.others_reach("the waiter to acquire", Flag::Got);
}

/// A second waiter, who passes through.
fn second_waiter(case: &Case<'_>) -> Pid {
    let pid = case.play("second waiter", |p| {
        let s = p.open(SEM);
        p.register();
        p.stage.set(Flag::Waiting2);
        p.pass(&s);
        p.stage.set(Flag::Got2);
    });
    case.until("the second waiter to begin", Flag::Waiting2);
    case.until_asleep(pid);
    pid
}

/// A third waiter, who passes through.
fn third_waiter(case: &Case<'_>) -> Pid {
    let pid = case.play("third waiter", |p| {
        let s = p.open(SEM);
        p.register();
        p.stage.set(Flag::Waiting3);
        p.pass(&s);
        p.stage.set(Flag::Got3);
    });
    case.until("the third waiter to begin", Flag::Waiting3);
    case.until_asleep(pid);
    pid
}

/// A newcomer who acquires, says `Got`, gives it up at `Give` and says `Peer`.
fn peer(case: &Case<'_>) -> Pid {
    case.play("peer", |p| {
        let s = p.open(SEM);
        let held = p.succeed(&s);
        p.must_be_clean(&held);
        p.stage.set(Flag::Got);
        p.until(Flag::Give);
        p.release(held);
        p.stage.set(Flag::Peer);
    })
}

/// The victim's part after an acquire: it owns until it may leave.
fn enjoy(p: &Player<'_>, held: Held<'_>) {
    p.until(Flag::Leave);
    p.release(held);
    p.stage.set(Flag::Left);
}

/// After the resumption: the peer gives up, the victim finishes and gives up, and everybody can go on.
fn all_finish(case: &Case<'_>) {
    // Time to do wrong: a victim that takes what the peer owns is seen by the witness.
    crate::sys::nap(200);
    case.stage.set(Flag::Give);
    case.until("the resumed victim to finish", Flag::Done);
    case.stage.set(Flag::Leave);
    case.until("the victim to give it up", Flag::Left);
    case.until("the peer to get it and to give it up", Flag::Peer);
    passes(case);
}

/// Somebody new gets through.
fn passes(case: &Case<'_>) {
    case.run_player("newcomer", |p| p.pass(&p.open(SEM)));
}

/// A 105 may only be about the victim, as its one death.
fn may_tell_of(p: &Player<'_>, held: &Held<'_>) {
    let victim = p.stage.get(Value::Victim) as Pid;
    match (&held.died, held.deaths()) {
        (None, _) => {}
        (_, Some(deaths)) if deaths == (victim, victim, 1) => {}
        (_, other) => p.violation(format_args!("told of (first, latest, count) {other:?}; only {victim} can have died")),
    }
}

/// What the next owner must be told of the victim, killed at this point of an operation that makes it the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It certainly owned.
    Yes,
    /// It certainly did not.
    No,
    /// It may have.
    Perhaps,
}

impl Told {
    /// Of an operation at whose end the victim owns.
    fn of_acquire(case: &Case<'_>) -> Told {
        match (case.reached.get(), case.taken.get()) {
            (Reached::Done, _) => Told::Yes,
            (Reached::Asleep, _) | (_, 0) => Told::No,
            _ => Told::Perhaps,
        }
    }

    /// Of an operation at whose end it does not own any more.
    fn of_release(case: &Case<'_>) -> Told {
        match (case.reached.get(), case.taken.get()) {
            (Reached::Done, _) => Told::No,
            (_, 0) => Told::Yes,
            _ => Told::Perhaps,
        }
    }

    fn check(self, p: &Player<'_>, told: bool) {
        match (self, told) {
            (Told::Yes, false) => p.violation("the victim died as the owner, and its successor was not told"),
            (Told::No, true) => p.violation("the victim did not own, and its successor was told of a death"),
            _ => {}
        }
    }
}

/// A newcomer acquires after the victim's death, and is told what is right.
fn succeeds(case: &Case<'_>, told: Told) {
    case.run_player("successor", |p| {
        let s = p.open(SEM);
        let held = p.succeed(&s);
        told.check(p, held.died.is_some());
        may_tell_of(p, &held);
        p.must("mark consistent", held.guard.mark_consistent());
        p.release(held);
    });
    case.run_player("second successor", |p| {
        let s = p.open(SEM);
        let held = p.acquire(&s);
        p.must_be_clean(&held);
        p.release(held);
    });
}
