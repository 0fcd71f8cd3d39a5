//! Which operations a history is made of.

use crate::protocol::What;

/// A kind of operation to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// One semaphore: at once, for some milliseconds, for ever.
    Try,
    Timed,
    Ever,
    /// Lists.
    AnyTry,
    AnyTimed,
    AnyEver,
    AllTry,
    AllTimed,
    AllEver,
    /// With a claim.
    Release,
    ReleaseSome,
    Forget,
    Abandon,
    Mark,
    Slots,
    /// With a semaphore.
    Add,
    Resize,
    Capacity,
    /// With an event.
    Signal,
    Reset,
    State,
}

/// What histories of one sort are made of.
#[derive(Debug)]
pub struct Mix {
    /// For people.
    pub name: &'static str,
    /// The semaphores.
    pub objects: &'static [What],
    pub(super) weights: &'static [(Choice, u32)],
}

use Choice::{
    Abandon, Add, AllEver, AllTimed, AllTry, AnyEver, AnyTimed, AnyTry, Capacity, Ever, Forget, Mark, Release, ReleaseSome,
    Resize, Slots, Timed, Try,
};

/// The sorts of histories. Where somebody may wait for ever, everybody lets go of everything in the end, and nothing is
/// used up: so whoever waits is granted, or told that it cannot be. Who waits for an event is signalled in the end by the one
/// who records.
pub const MIXES: &[Mix] = &[
    Mix {
        name: "exclusive",
        objects: &[What::Exclusive, What::Exclusive],
        weights: &[(Try, 8), (Timed, 4), (Ever, 3), (Release, 12), (Abandon, 2), (Mark, 2)],
    },
    Mix {
        name: "pool",
        objects: &[What::Pool(4)],
        weights: &[(Try, 10), (Timed, 5), (Ever, 2), (Release, 8), (ReleaseSome, 3), (Slots, 4), (Capacity, 4)],
    },
    Mix {
        name: "resize",
        objects: &[What::Pool(3)],
        weights: &[(Try, 10), (Timed, 4), (Release, 8), (ReleaseSome, 2), (Resize, 4), (Capacity, 4)],
    },
    Mix {
        name: "credit",
        objects: &[What::Credit(4, 2)],
        weights: &[(Try, 8), (Timed, 4), (Release, 4), (ReleaseSome, 2), (Forget, 5), (Add, 8), (Capacity, 4)],
    },
    Mix {
        name: "lists",
        objects: &[What::Exclusive, What::Pool(2), What::Exclusive],
        weights: &[
            (Try, 5),
            (Timed, 1),
            (AnyTry, 5),
            (AnyTimed, 3),
            (AllTry, 5),
            (AllTimed, 3),
            (Release, 14),
            (Abandon, 1),
            (Mark, 1),
            (Capacity, 2),
        ],
    },
    Mix {
        name: "for ever",
        objects: &[What::Exclusive, What::Pool(2), What::Exclusive],
        weights: &[(Try, 3), (Ever, 6), (AnyEver, 3), (AllEver, 3), (Release, 12), (ReleaseSome, 2), (Capacity, 1)],
    },
    Mix {
        name: "events",
        objects: &[What::Manual(false), What::Auto(false)],
        weights: &[(Try, 8), (Timed, 5), (Ever, 2), (Choice::Signal, 12), (Choice::Reset, 5), (Choice::State, 3)],
    },
    Mix {
        name: "events in lists",
        objects: &[What::Auto(false), What::Exclusive, What::Manual(false)],
        weights: &[
            (Try, 4),
            (AnyTry, 4),
            (AnyTimed, 3),
            (AllTry, 5),
            (AllTimed, 3),
            (Release, 6),
            (Choice::Signal, 12),
            (Choice::Reset, 4),
        ],
    },
];
