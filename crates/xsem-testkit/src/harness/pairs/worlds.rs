//! The worlds: a semaphore in a state, and what two processes may begin there.

use super::ops::{Actor, Op, Way};
use crate::protocol::What;
use Actor::{A, B, Dead, Holder, Maker};
use Way::{Brief, Dropped, Ever, Now};

/// Where a pair meets.
pub(super) struct World {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) what: What,
    /// What everybody does before, in this order; A is the last one whatever its place.
    pub(super) before: &'static [(Actor, &'static [Op])],
    /// Somebody who sleeps for this, since before the two begin.
    pub(super) sleeper: Option<Op>,
    pub(super) a: &'static [Op],
    pub(super) b: &'static [Op],
}

const GET: Op = Op::Ask(1, Ever);

/// What anybody may do who has nothing.
const STRANGER: &[Op] = &[
    GET,
    Op::Ask(1, Now),
    Op::Ask(1, Brief),
    Op::Ask(1, Dropped),
    Op::Remove,
    Op::Drain(Now),
    Op::Drain(Brief),
    Op::Reopen,
    Op::Inspect,
    Op::Gc,
];

/// The owner of an exclusive semaphore.
const OWNER: &[Op] = &[Op::Release, Op::Abandon, Op::Ask(1, Now), Op::Prepare, Op::Remove];

const EXCLUSIVE: World = World {
    name: "free",
    about: "an exclusive semaphore that nobody owns",
    what: What::Exclusive,
    before: &[(Maker, &[Op::Make]), (A, &[Op::Open]), (B, &[Op::Open])],
    sleeper: None,
    a: STRANGER,
    b: STRANGER,
};

/// Who shares the claim of somebody else.
const GUEST: &[Op] = &[Op::Release, Op::Inspect];

/// What others may do while a claim is shared.
const BESIDE_GUESTS: &[Op] = &[
    Op::Join(Holder),
    GET,
    Op::Ask(1, Now),
    Op::Ask(1, Brief),
    Op::Ask(1, Dropped),
    Op::Remove,
    Op::Drain(Now),
    Op::Drain(Brief),
    Op::Inspect,
];

/// What may be done to the claim of somebody else, who is one of the two.
const AGAINST_A: &[Op] = &[
    GET,
    Op::Ask(1, Now),
    Op::Ask(1, Brief),
    Op::Ask(1, Dropped),
    Op::Remove,
    Op::Drain(Now),
    Op::Drain(Brief),
    Op::Evict(A),
    Op::Inspect,
];
const AGAINST_B: &[Op] = &[
    GET,
    Op::Ask(1, Now),
    Op::Ask(1, Brief),
    Op::Ask(1, Dropped),
    Op::Remove,
    Op::Drain(Now),
    Op::Drain(Brief),
    Op::Evict(B),
    Op::Inspect,
];
const AGAINST_HOLDER: &[Op] = &[
    GET,
    Op::Ask(1, Now),
    Op::Ask(1, Brief),
    Op::Ask(1, Dropped),
    Op::Remove,
    Op::Drain(Now),
    Op::Drain(Brief),
    Op::Evict(Holder),
    Op::Inspect,
];
const AGAINST_DEAD: &[Op] =
    &[GET, Op::Ask(1, Now), Op::Ask(1, Dropped), Op::Remove, Op::Drain(Now), Op::Evict(Dead), Op::Inspect, Op::Gc];

/// What a pool's holder may do.
const HOLDS: &[Op] = &[Op::Release, Op::Part(1), Op::Prepare, Op::Ask(1, Now), Op::Resize(2)];

/// What may be done to a pool of which one has nothing.
const POOL: &[Op] = &[
    GET,
    Op::Ask(2, Ever),
    Op::Ask(2, Now),
    Op::Ask(2, Brief),
    Op::Ask(2, Dropped),
    Op::Ask(4, Ever),
    Op::Remove,
    Op::Drain(Now),
    Op::Drain(Brief),
    Op::Resize(2),
    Op::Resize(6),
    Op::Capacity,
    Op::Inspect,
];

const EVENT: &[Op] = &[
    Op::Signal,
    Op::Reset,
    Op::Look,
    GET,
    Op::Ask(1, Now),
    Op::Ask(1, Brief),
    Op::Ask(1, Dropped),
    Op::Remove,
    Op::Drain(Brief),
    Op::Inspect,
];

const POOL_FREE: World = World {
    name: "pool",
    about: "a pool of four permits, all of which are free",
    what: What::Pool(4),
    a: POOL,
    b: POOL,
    ..EXCLUSIVE
};

const CREDIT: World = World {
    name: "credit",
    about: "credit of four, one of which one process holds, where there may be six",
    what: What::Credit(6, 4),
    before: &[(Maker, &[Op::Make]), (Holder, &[Op::Open, GET]), (A, &[Op::Open, GET]), (B, &[Op::Open])],
    a: &[Op::Forget, Op::Release, Op::Add(1), Op::Resize(4)],
    b: &[Op::Add(1), Op::Ask(2, Brief), Op::Ask(2, Now), Op::Resize(4), Op::Evict(A), Op::Capacity, Op::Drain(Brief)],
    ..EXCLUSIVE
};

const EVENT_FREE: World = World {
    name: "auto",
    about: "an auto-reset event that is not signalled",
    what: What::Auto(false),
    before: &[(Maker, &[Op::Make]), (Holder, &[Op::Open]), (A, &[Op::Open]), (B, &[Op::Open])],
    a: EVENT,
    b: EVENT,
    ..EXCLUSIVE
};

const NAMES: &[Op] = &[Op::Make, Op::Either, Op::Open, Op::Remove, Op::Inspect, Op::Gc];

/// Lists of which all are wanted, and what they meet.
const LISTS: &[Op] = &[Op::All(1, Ever), Op::All(1, Now), Op::All(1, Dropped)];
const MEETS: &[Op] = &[GET, Op::Ask(1, Now), Op::Ask(1, Dropped), Op::Remove, Op::Drain(Brief), Op::Inspect];
const MANY: &[Op] = &[Op::All(2, Ever), Op::All(2, Now), Op::All(1, Dropped)];
const MANY_MEETS: &[Op] = &[Op::Ask(2, Ever), Op::Ask(2, Now), Op::Remove, Op::Drain(Brief), Op::Resize(6), Op::Capacity];
const SIGNALLED: &[Op] = &[Op::Signal, Op::Reset, Op::Look, GET, Op::Ask(1, Now), Op::Remove];

/// All of them.
pub(super) const WORLDS: &[World] = &[
    EXCLUSIVE,
    World {
        name: "held",
        about: "an exclusive semaphore that a third process owns",
        before: &[(Maker, &[Op::Make]), (Holder, &[Op::Open, GET]), (A, &[Op::Open]), (B, &[Op::Open])],
        a: AGAINST_HOLDER,
        b: AGAINST_HOLDER,
        ..EXCLUSIVE
    },
    World {
        name: "queued",
        about: "an exclusive semaphore that a third process owns, and a fourth one sleeps on",
        before: &[
            (Maker, &[Op::Make]),
            (Holder, &[Op::Open, GET]),
            (A, &[Op::Open]),
            (B, &[Op::Open]),
            (Actor::Sleeper, &[Op::Open]),
        ],
        sleeper: Some(GET),
        a: AGAINST_HOLDER,
        b: AGAINST_HOLDER,
        ..EXCLUSIVE
    },
    World {
        name: "dead",
        about: "an exclusive semaphore whose owner is dead",
        before: &[(Maker, &[Op::Make]), (Dead, &[Op::Open, GET]), (A, &[Op::Open]), (B, &[Op::Open])],
        a: AGAINST_DEAD,
        b: AGAINST_DEAD,
        ..EXCLUSIVE
    },
    World {
        name: "own",
        about: "an exclusive semaphore that A owns",
        before: &[(Maker, &[Op::Make]), (A, &[Op::Open, GET]), (B, &[Op::Open])],
        a: OWNER,
        b: AGAINST_A,
        ..EXCLUSIVE
    },
    World {
        name: "own-slept",
        about: "an exclusive semaphore that A owns and a third process sleeps on",
        before: &[(Maker, &[Op::Make]), (A, &[Op::Open, GET]), (B, &[Op::Open]), (Actor::Sleeper, &[Op::Open])],
        sleeper: Some(GET),
        a: OWNER,
        b: AGAINST_A,
        ..EXCLUSIVE
    },
    World {
        name: "prepared",
        about: "an exclusive semaphore whose release A has prepared, and a third process sleeps on",
        before: &[(Maker, &[Op::Make]), (A, &[Op::Open, GET, Op::Prepare]), (B, &[Op::Open]), (Actor::Sleeper, &[Op::Open])],
        sleeper: Some(GET),
        a: &[Op::Release],
        b: AGAINST_A,
        ..EXCLUSIVE
    },
    World {
        name: "inherited",
        about: "an exclusive semaphore that A owns after a death that it has not acknowledged",
        before: &[(Maker, &[Op::Make]), (Dead, &[Op::Open, GET]), (A, &[Op::Open, GET]), (B, &[Op::Open])],
        a: &[Op::Mark, Op::Release, Op::Abandon],
        b: AGAINST_A,
        ..EXCLUSIVE
    },
    World {
        name: "owned",
        about: "an exclusive semaphore that B owns",
        before: &[(Maker, &[Op::Make]), (A, &[Op::Open]), (B, &[Op::Open, GET])],
        a: AGAINST_B,
        b: OWNER,
        ..EXCLUSIVE
    },
    World {
        name: "owned-slept",
        about: "an exclusive semaphore that B owns and a third process sleeps on",
        before: &[(Maker, &[Op::Make]), (A, &[Op::Open]), (B, &[Op::Open, GET]), (Actor::Sleeper, &[Op::Open])],
        sleeper: Some(GET),
        a: AGAINST_B,
        b: OWNER,
        ..EXCLUSIVE
    },
    World {
        name: "joined",
        about: "an exclusive semaphore that A owns, whose claim B may share",
        before: &[(Maker, &[Op::Make]), (A, &[Op::Open, GET]), (B, &[Op::Open])],
        a: OWNER,
        b: &[Op::Join(A)],
        ..EXCLUSIVE
    },
    World {
        name: "joins",
        about: "an exclusive semaphore that B owns, whose claim A may share, and a third process sleeps on",
        before: &[(Maker, &[Op::Make]), (A, &[Op::Open]), (B, &[Op::Open, GET]), (Actor::Sleeper, &[Op::Open])],
        sleeper: Some(GET),
        a: &[Op::Join(B)],
        b: OWNER,
        ..EXCLUSIVE
    },
    World {
        name: "guest",
        about: "an exclusive semaphore that B owns, whose claim A shares",
        before: &[(Maker, &[Op::Make]), (B, &[Op::Open, GET]), (A, &[Op::Open, Op::Join(B)])],
        a: GUEST,
        b: OWNER,
        ..EXCLUSIVE
    },
    World {
        name: "guest-slept",
        about: "an exclusive semaphore that B owns, whose claim A shares, and a third process sleeps on",
        before: &[(Maker, &[Op::Make]), (B, &[Op::Open, GET]), (A, &[Op::Open, Op::Join(B)]), (Actor::Sleeper, &[Op::Open])],
        sleeper: Some(GET),
        a: &[Op::Release],
        b: OWNER,
        ..EXCLUSIVE
    },
    World {
        name: "guests",
        about: "an exclusive semaphore that a third process owns, whose claim A and B share",
        before: &[
            (Maker, &[Op::Make]),
            (Holder, &[Op::Open, GET]),
            (B, &[Op::Open, Op::Join(Holder)]),
            (A, &[Op::Open, Op::Join(Holder)]),
        ],
        a: GUEST,
        b: GUEST,
        ..EXCLUSIVE
    },
    World {
        name: "comes",
        about: "an exclusive semaphore that a third process owns, whose claim A may share",
        before: &[(Maker, &[Op::Make]), (Holder, &[Op::Open, GET]), (A, &[Op::Open]), (B, &[Op::Open])],
        a: &[Op::Join(Holder)],
        b: BESIDE_GUESTS,
        ..EXCLUSIVE
    },
    World {
        name: "goes",
        about: "an exclusive semaphore that a third process owns, whose claim A shares",
        before: &[(Maker, &[Op::Make]), (Holder, &[Op::Open, GET]), (A, &[Op::Open, Op::Join(Holder)]), (B, &[Op::Open])],
        a: &[Op::Release],
        b: BESIDE_GUESTS,
        ..EXCLUSIVE
    },
    World {
        name: "drained",
        about: "an exclusive semaphore that was drained",
        before: &[(Maker, &[Op::Make, Op::Drain(Now)]), (A, &[Op::Open]), (B, &[Op::Open])],
        ..EXCLUSIVE
    },
    POOL_FREE,
    World {
        name: "pool-held",
        about: "a pool of four permits, three of which a third process holds",
        before: &[(Maker, &[Op::Make]), (Holder, &[Op::Open, Op::Ask(3, Ever)]), (A, &[Op::Open]), (B, &[Op::Open])],
        ..POOL_FREE
    },
    World {
        name: "pool-dead",
        about: "a pool of four permits, three of which a dead process held",
        before: &[(Maker, &[Op::Make]), (Dead, &[Op::Open, Op::Ask(3, Ever)]), (A, &[Op::Open]), (B, &[Op::Open])],
        a: &[Op::Ask(2, Ever), Op::Ask(4, Now), Op::Ask(2, Dropped), Op::Remove, Op::Drain(Now), Op::Evict(Dead), Op::Resize(2)],
        b: &[Op::Ask(2, Ever), Op::Ask(4, Now), Op::Remove, Op::Drain(Now), Op::Evict(Dead), Op::Resize(2), Op::Capacity],
        ..POOL_FREE
    },
    World {
        name: "pool-own",
        about: "a pool of four permits, of which A and B hold two each",
        before: &[(Maker, &[Op::Make]), (A, &[Op::Open, Op::Ask(2, Ever)]), (B, &[Op::Open, Op::Ask(2, Ever)])],
        a: HOLDS,
        b: &[
            Op::Release,
            Op::Part(1),
            Op::Prepare,
            Op::Ask(1, Now),
            Op::Ask(1, Brief),
            Op::Resize(2),
            Op::Evict(A),
            Op::Drain(Brief),
            Op::Capacity,
        ],
        ..POOL_FREE
    },
    World {
        name: "pool-slept",
        about: "a pool of four permits, of which A and B hold two each and a third process sleeps for two",
        before: &[
            (Maker, &[Op::Make]),
            (A, &[Op::Open, Op::Ask(2, Ever)]),
            (B, &[Op::Open, Op::Ask(2, Ever)]),
            (Actor::Sleeper, &[Op::Open]),
        ],
        sleeper: Some(Op::Ask(2, Ever)),
        a: HOLDS,
        b: &[Op::Release, Op::Part(1), Op::Prepare, Op::Ask(1, Brief), Op::Resize(6), Op::Evict(A), Op::Remove, Op::Capacity],
        ..POOL_FREE
    },
    World {
        name: "pool-against",
        about: "a pool of four permits, three of which B holds, and a third process sleeps for two",
        before: &[(Maker, &[Op::Make]), (A, &[Op::Open]), (B, &[Op::Open, Op::Ask(3, Ever)]), (Actor::Sleeper, &[Op::Open])],
        sleeper: Some(Op::Ask(2, Ever)),
        a: &[Op::Ask(1, Now), Op::Ask(2, Brief), Op::Ask(2, Dropped), Op::Evict(B), Op::Resize(6), Op::Drain(Brief), Op::Remove],
        b: HOLDS,
        ..POOL_FREE
    },
    CREDIT,
    EVENT_FREE,
    World {
        name: "auto-slept",
        about: "an auto-reset event for which a third process sleeps",
        before: &[(Maker, &[Op::Make]), (Holder, &[Op::Open]), (A, &[Op::Open]), (B, &[Op::Open]), (Actor::Sleeper, &[Op::Open])],
        sleeper: Some(GET),
        ..EVENT_FREE
    },
    World { name: "auto-set", about: "an auto-reset event that is signalled", what: What::Auto(true), ..EVENT_FREE },
    World { name: "manual", about: "a manual-reset event that is not signalled", what: What::Manual(false), ..EVENT_FREE },
    World {
        name: "manual-slept",
        about: "a manual-reset event for which a third process sleeps",
        what: What::Manual(false),
        before: &[(Maker, &[Op::Make]), (Holder, &[Op::Open]), (A, &[Op::Open]), (B, &[Op::Open]), (Actor::Sleeper, &[Op::Open])],
        sleeper: Some(GET),
        ..EVENT_FREE
    },
    World {
        name: "manual-set",
        about: "a manual-reset event that is signalled",
        what: What::Manual(true),
        a: &[Op::Reset, Op::Signal, GET, Op::Ask(1, Now), Op::Remove, Op::Drain(Brief)],
        b: &[Op::Reset, Op::Signal, GET, Op::Ask(1, Now), Op::Remove, Op::Drain(Brief), Op::Look],
        ..EVENT_FREE
    },
    World {
        name: "nothing",
        about: "a name that does not exist",
        before: &[(A, &[]), (B, &[])],
        a: NAMES,
        b: NAMES,
        ..EXCLUSIVE
    },
    World {
        name: "name",
        about: "a name that exists and nobody uses",
        before: &[(Maker, &[Op::Make]), (A, &[]), (B, &[])],
        a: NAMES,
        b: NAMES,
        ..EXCLUSIVE
    },
    World {
        name: "removed",
        about: "a name that existed and was removed, as often as makes its room be used again",
        before: &[(Maker, &[Op::Make, Op::Remove, Op::Make, Op::Remove]), (A, &[]), (B, &[])],
        a: NAMES,
        b: NAMES,
        ..EXCLUSIVE
    },
    World {
        name: "ephemeral",
        about: "an ephemeral name of which A is the last user",
        before: &[(A, &[Op::MakeEphemeral]), (B, &[])],
        a: &[Op::Close, GET, Op::Remove],
        b: &[Op::Open, Op::Make, Op::Either, Op::Remove, Op::Inspect, Op::Gc],
        ..EXCLUSIVE
    },
    World {
        name: "ephemeral-shared",
        about: "an ephemeral name of which A and B are the users",
        before: &[(B, &[Op::MakeEphemeral]), (A, &[Op::Open])],
        a: &[Op::Close, GET, Op::Remove, Op::Open],
        b: &[Op::Close, GET, Op::Remove, Op::Inspect],
        ..EXCLUSIVE
    },
    World {
        name: "ephemeral-left",
        about: "an ephemeral name of which B is the last user",
        before: &[(B, &[Op::MakeEphemeral]), (A, &[])],
        a: &[Op::Open, Op::Make, Op::Either, Op::Remove, Op::Inspect, Op::Gc],
        b: &[Op::Close, GET, Op::Remove],
        ..EXCLUSIVE
    },
    World {
        name: "ephemeral-pool",
        about: "an ephemeral pool of which A is the last user",
        what: What::Pool(4),
        before: &[(A, &[Op::MakeEphemeral]), (B, &[])],
        a: &[Op::Close, GET, Op::Remove],
        b: &[Op::Open, Op::Either, Op::Remove, Op::Inspect],
        ..EXCLUSIVE
    },
    World { name: "list", about: "an exclusive semaphore that nobody owns, in a list", a: LISTS, b: MEETS, ..EXCLUSIVE },
    World { name: "listed", about: "an exclusive semaphore that nobody owns, in B's list", a: MEETS, b: LISTS, ..EXCLUSIVE },
    World { name: "lists", about: "an exclusive semaphore that nobody owns, in two lists", a: LISTS, b: LISTS, ..EXCLUSIVE },
    World {
        name: "list-own",
        about: "an exclusive semaphore that A owns, in B's list",
        before: &[(Maker, &[Op::Make]), (A, &[Op::Open, GET]), (B, &[Op::Open])],
        a: OWNER,
        b: LISTS,
        ..EXCLUSIVE
    },
    World {
        name: "list-owned",
        about: "an exclusive semaphore that B owns, in A's list",
        before: &[(Maker, &[Op::Make]), (A, &[Op::Open]), (B, &[Op::Open, GET])],
        a: LISTS,
        b: OWNER,
        ..EXCLUSIVE
    },
    World {
        name: "list-dead",
        about: "an exclusive semaphore whose owner is dead, in a list",
        before: &[(Maker, &[Op::Make]), (Dead, &[Op::Open, GET]), (A, &[Op::Open]), (B, &[Op::Open])],
        a: LISTS,
        b: AGAINST_DEAD,
        ..EXCLUSIVE
    },
    World {
        name: "list-pool",
        about: "a pool of four permits, all of which are free, in a list",
        a: MANY,
        b: MANY_MEETS,
        ..POOL_FREE
    },
    World {
        name: "listed-pool",
        about: "a pool of four permits, all of which are free, in B's list",
        a: MANY_MEETS,
        b: MANY,
        ..POOL_FREE
    },
    World {
        name: "list-pool-own",
        about: "a pool of four permits, of which A holds two and B one, in B's list",
        before: &[(Maker, &[Op::Make]), (A, &[Op::Open, Op::Ask(2, Ever)]), (B, &[Op::Open, Op::Ask(1, Ever)])],
        a: HOLDS,
        b: MANY,
        ..POOL_FREE
    },
    World {
        name: "list-auto",
        about: "an auto-reset event that is signalled, in a list",
        what: What::Auto(true),
        a: LISTS,
        b: SIGNALLED,
        ..EVENT_FREE
    },
    World {
        name: "listed-auto",
        about: "an auto-reset event that is signalled, in B's list",
        what: What::Auto(true),
        a: SIGNALLED,
        b: LISTS,
        ..EVENT_FREE
    },
    World {
        name: "listed-manual",
        about: "a manual-reset event that is signalled, in B's list",
        what: What::Manual(true),
        a: SIGNALLED,
        b: LISTS,
        ..EVENT_FREE
    },
];
