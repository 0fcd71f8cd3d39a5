//! Histories: what several actors did at the same time, recorded, and whether it can be explained.
//!
//! Each actor runs random operations without waiting for anybody's word, and writes down when each began and ended. The
//! checker ([`check`]) then looks for an order of all these operations, each at an instant between its beginning and its
//! end, in which the reference model gives the same answers: if there is none, the history is not linearizable, and the
//! engine did something that nobody may see.

mod check;
mod explain;
mod mix;
mod play;
mod record;
mod steps;
#[cfg(test)]
mod tests;

pub use check::{Verdict, check};
pub use mix::{MIXES, Mix};
pub use play::play;
pub use record::{Plan, record};

use crate::protocol::{Answer, Verb, What};

/// An operation of an actor. Handles in it are the indices of the history's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Who.
    pub actor: u32,
    /// What.
    pub verb: Verb,
    /// When it began, in nanoseconds of `CLOCK_MONOTONIC`; not later than that.
    pub begin: u64,
    /// When it ended, not earlier than that; and what came of it. `None`: its actor died before.
    pub end: Option<(u64, Answer)>,
}

/// The end of an actor that did not let go of what it owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// Who.
    pub actor: u32,
    /// Not earlier than this.
    pub from: u64,
    /// Not later than this.
    pub to: u64,
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The semaphores.
    pub objects: Vec<What>,
    /// The operations, in any order; those of one actor in theirs.
    pub events: Vec<Event>,
    /// Who died.
    pub deaths: Vec<Death>,
}

/// `CLOCK_MONOTONIC` now, in nanoseconds: one clock for all processes of a machine.
pub fn now() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec to write to; the clock always exists on Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
