//! What the processes of a case did, in memory that they share: when it began, when it ended, what came of it.

use super::ops::{ACTORS, Actor, OPS, Op};
use crate::history::now;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::SeqCst};

/// No case has so many operations.
const PLACES: usize = 96;

/// What came of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// 0: done, or granted.
    pub(super) code: u32,
    /// The fencing token of what was granted.
    pub(super) token: u64,
    /// The dead of a 105 ([`UNTOLD`] without details), whether it changed anything, or what else there is to say.
    pub(super) number: u64,
}

/// A 105 without details.
pub(super) const UNTOLD: u64 = u64::MAX;

/// One operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Act {
    pub(super) actor: Actor,
    pub(super) op: Op,
    /// It was not begun before this.
    pub(super) begin: u64,
    /// It was over at this; `None`: its actor died before, or still waits.
    pub(super) end: Option<(u64, Answer)>,
}

/// The end of a process, at some instant between these.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death {
    pub(super) actor: Actor,
    pub(super) from: u64,
    pub(super) to: u64,
}

#[derive(Debug)]
struct Place {
    /// `actor 8 | operation 8`.
    what: AtomicU64,
    begin: AtomicU64,
    end: AtomicU64,
    code: AtomicU64,
    token: AtomicU64,
    number: AtomicU64,
}

/// How far an actor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It has what it shall have before, and waits for `Go`.
    Ready,
    /// It may begin.
    Go,
    /// Its operation is over.
    Done,
    /// It may give back what it has.
    Leave,
    /// It has.
    Left,
}

/// The log of one case. Zero is empty.
#[derive(Debug)]
pub(crate) struct Log {
    used: AtomicU64,
    places: [Place; PLACES],
    steps: [[AtomicU64; 5]; ACTORS],
    /// Of each actor: not before, not after.
    deaths: [[AtomicU64; 2]; ACTORS],
    /// The process of B, and whether it stands in the middle of its operation.
    pub(super) b: AtomicI32,
    pub(super) b_stands: AtomicBool,
}

impl Log {
    /// An operation begins. Its place, for `end`.
    pub(super) fn begin(&self, actor: Actor, op: u8) -> usize {
        let at = self.used.fetch_add(1, SeqCst) as usize;
        let place = &self.places[at];
        place.what.store(u64::from(actor as u8) << 8 | u64::from(op), SeqCst);
        place.begin.store(now(), SeqCst);
        at
    }

    /// It is over.
    pub(super) fn end(&self, at: usize, answer: Answer) {
        let place = &self.places[at];
        place.code.store(answer.code.into(), SeqCst);
        place.token.store(answer.token, SeqCst);
        place.number.store(answer.number, SeqCst);
        place.end.store(now(), SeqCst);
    }

    /// `actor` is so far.
    pub(super) fn reach(&self, actor: Actor, step: Step) {
        self.steps[actor as usize][step as usize].store(1, SeqCst);
    }

    pub(super) fn has_reached(&self, actor: Actor, step: Step) -> bool {
        self.steps[actor as usize][step as usize].load(SeqCst) != 0
    }

    /// `actor` is dead since some instant after all that it did.
    pub(super) fn died(&self, actor: Actor) {
        let last = self.acts().iter().filter(|a| a.actor == actor).map(|a| a.end.map_or(a.begin, |e| e.0)).max();
        let [from, to] = &self.deaths[actor as usize];
        from.store(last.unwrap_or(1).max(1), SeqCst);
        to.store(now(), SeqCst);
    }

    /// Whether it is.
    pub(super) fn is_dead(&self, actor: Actor) -> bool {
        self.deaths[actor as usize][0].load(SeqCst) != 0
    }

    /// Everything, in the order of the beginnings as they were written down.
    pub(super) fn acts(&self) -> Vec<Act> {
        let used = (self.used.load(SeqCst) as usize).min(PLACES);
        self.places[..used].iter().filter_map(Place::read).collect()
    }

    pub(super) fn deaths(&self) -> Vec<Death> {
        let of = |&actor: &Actor| {
            let [from, to] = [0, 1].map(|i| self.deaths[actor as usize][i].load(SeqCst));
            (from != 0).then_some(Death { actor, from, to })
        };
        Actor::ALL.iter().filter_map(of).collect()
    }

    /// The token of the latest claim of `actor`.
    pub(super) fn token_of(&self, actor: Actor) -> u64 {
        let granted = |a: &Act| a.end.filter(|(_, r)| a.actor == actor && r.token != 0).map(|(_, r)| r.token);
        self.acts().iter().rev().find_map(granted).unwrap_or(u64::MAX)
    }
}

impl Place {
    /// `None`: its actor died before it began.
    fn read(&self) -> Option<Act> {
        let (what, begin, end) = (self.what.load(SeqCst), self.begin.load(SeqCst), self.end.load(SeqCst));
        let actor = *Actor::ALL.iter().find(|&&a| a as u64 == what >> 8)?;
        let answer =
            Answer { code: self.code.load(SeqCst) as u32, token: self.token.load(SeqCst), number: self.number.load(SeqCst) };
        let op = *OPS.get((what & 0xFF) as usize)?;
        (begin != 0).then_some(Act { actor, op, begin, end: (end != 0).then_some((end, answer)) })
    }
}
