//! What somebody in a pair may do, as data.

use std::fmt;

/// The processes of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Actor {
    /// Makes the semaphore, and is gone.
    Maker = 1,
    /// The victim.
    A,
    /// The other one.
    B,
    /// Holds something from the beginning, until the end.
    Holder,
    /// Sleeps for something.
    Sleeper,
    /// Has died when the case begins.
    Dead,
    /// Comes when all is over.
    Newcomer,
}

/// One more than the greatest.
pub(super) const ACTORS: usize = 8;

impl Actor {
    /// All of them.
    pub(super) const ALL: [Actor; ACTORS - 1] =
        [Actor::Maker, Actor::A, Actor::B, Actor::Holder, Actor::Sleeper, Actor::Dead, Actor::Newcomer];

    /// For tables and messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Actor::Maker => "maker",
            Actor::A => "A",
            Actor::B => "B",
            Actor::Holder => "holder",
            Actor::Sleeper => "sleeper",
            Actor::Dead => "dead",
            Actor::Newcomer => "newcomer",
        }
    }
}

/// For how long a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Without an end.
    Ever,
    /// Not at all.
    Now,
    /// For two milliseconds.
    Brief,
    /// As a future that is polled twice and then dropped.
    Dropped,
}

/// One operation on the semaphore of the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Make,
    MakeEphemeral,
    Open,
    Either,
    Close,
    Remove,
    Gc,
    Inspect,
    /// A claim, so many permits, or the signal.
    Ask(u8, Way),
    /// The same and a second semaphore, which is the actor's own and free: at one instant, or neither.
    All(u8, Way),
    /// The latest claim.
    Release,
    Part(u8),
    Forget,
    Abandon,
    Mark,
    /// Makes a prepared release of the latest claim.
    Prepare,
    /// Shares the claim of this one.
    Join(Actor),
    /// The claim of this one.
    Evict(Actor),
    Drain(Way),
    Reopen,
    Signal,
    Reset,
    Look,
    Add(u8),
    Resize(u8),
    Capacity,
}

use Way::{Brief, Dropped, Ever, Now};

/// Every operation that is used; the log names them by their place here.
pub(super) const OPS: &[Op] = &[
    Op::Make,
    Op::MakeEphemeral,
    Op::Open,
    Op::Either,
    Op::Close,
    Op::Remove,
    Op::Gc,
    Op::Inspect,
    Op::Ask(1, Ever),
    Op::Ask(1, Now),
    Op::Ask(1, Brief),
    Op::Ask(1, Dropped),
    Op::Ask(2, Ever),
    Op::Ask(2, Now),
    Op::Ask(2, Brief),
    Op::Ask(2, Dropped),
    Op::Ask(3, Ever),
    Op::Ask(3, Now),
    Op::Ask(4, Ever),
    Op::Ask(4, Now),
    Op::All(1, Ever),
    Op::All(1, Now),
    Op::All(1, Dropped),
    Op::All(2, Ever),
    Op::All(2, Now),
    Op::Release,
    Op::Part(1),
    Op::Forget,
    Op::Abandon,
    Op::Mark,
    Op::Prepare,
    Op::Evict(Actor::A),
    Op::Evict(Actor::B),
    Op::Evict(Actor::Holder),
    Op::Evict(Actor::Dead),
    Op::Drain(Now),
    Op::Drain(Brief),
    Op::Reopen,
    Op::Signal,
    Op::Reset,
    Op::Look,
    Op::Add(1),
    Op::Resize(2),
    Op::Resize(4),
    Op::Resize(6),
    Op::Capacity,
    Op::Join(Actor::A),
    Op::Join(Actor::B),
    Op::Join(Actor::Holder),
];

impl Op {
    /// Whether it may change what others see on its way, and not only at its end.
    pub(super) fn changes(self) -> bool {
        !matches!(self, Op::Inspect | Op::Look | Op::Capacity | Op::Open | Op::Make | Op::MakeEphemeral | Op::Either | Op::Gc)
    }

    /// Whether it waits until it gets what it wants, however long that takes.
    pub(super) fn waits_for(self) -> Option<u8> {
        match self {
            Op::Ask(n, Ever) | Op::All(n, Ever) => Some(n),
            _ => None,
        }
    }

    /// Of a request: how much, and for how long.
    pub(super) fn request(self) -> Option<(u8, Way)> {
        match self {
            Op::Ask(n, way) | Op::All(n, way) => Some((n, way)),
            _ => None,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |n: &u8| if *n == 1 { String::new() } else { n.to_string() };
        match self {
            Op::Make => f.write_str("create"),
            Op::MakeEphemeral => f.write_str("create-ephemeral"),
            Op::Open => f.write_str("open"),
            Op::Either => f.write_str("open-or-create"),
            Op::Close => f.write_str("close"),
            Op::Remove => f.write_str("remove"),
            Op::Gc => f.write_str("gc"),
            Op::Inspect => f.write_str("inspect"),
            Op::Ask(n, Ever) => write!(f, "acquire{}", many(n)),
            Op::Ask(n, Now) => write!(f, "try{}", many(n)),
            Op::Ask(n, Brief) => write!(f, "timed{}", many(n)),
            Op::Ask(n, Dropped) => write!(f, "dropped{}", many(n)),
            Op::All(n, Ever) => write!(f, "all{}", many(n)),
            Op::All(n, Dropped) => write!(f, "all-dropped{}", many(n)),
            Op::All(n, _) => write!(f, "all-try{}", many(n)),
            Op::Release => f.write_str("release"),
            Op::Part(_) => f.write_str("part"),
            Op::Forget => f.write_str("forget"),
            Op::Abandon => f.write_str("abandon"),
            Op::Mark => f.write_str("mark"),
            Op::Prepare => f.write_str("prepare"),
            Op::Join(who) => write!(f, "join-{}", who.name()),
            Op::Evict(who) => write!(f, "evict-{}", who.name()),
            Op::Drain(Now) => f.write_str("drain"),
            Op::Drain(_) => f.write_str("drain-timed"),
            Op::Reopen => f.write_str("reopen"),
            Op::Signal => f.write_str("signal"),
            Op::Reset => f.write_str("reset"),
            Op::Look => f.write_str("state"),
            Op::Add(_) => f.write_str("add"),
            Op::Resize(n) => write!(f, "resize{n}"),
            Op::Capacity => f.write_str("capacity"),
        }
    }
}
