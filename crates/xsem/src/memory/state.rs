//! The state machine: what it keeps.

use super::refusals;
use super::slots::Slots;
use crate::claim::{Capacity, Counters, Deaths, Kind, Mode, Process, Reset, Signal, Wants};
use crate::engine::{Grant, Spec};
use crate::error::Result;
use crate::name::Name;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A claimant: a thread or task of a session. Claimant 0 is the session as a whole: what it holds any of its threads may
/// end, it never nests, and it is nobody in particular in the search for deadlocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Who {
    /// The session: a process, or whoever else can end as a whole.
    pub session: u64,
    /// The claimant in it.
    pub claimant: u32,
}

impl Who {
    /// Whether it is a claimant of its own.
    pub(super) fn is_somebody(self) -> bool {
        self.claimant != 0
    }
}

/// An instant, by the two clocks that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic, in nanoseconds: for waits and ages.
    pub mono: u64,
    /// Since 1970, in nanoseconds: for people.
    pub wall: u64,
}

/// A whole namespace.
#[derive(Debug)]
pub struct State {
    pub(super) url: String,
    pub(super) max_semaphores: usize,
    pub(super) sems: HashMap<u64, Sem>,
    pub(super) names: BTreeMap<Name, u64>,
    pub(super) sessions: BTreeMap<u64, Session>,
    pub(super) handles: HashMap<u64, Handle>,
    /// All who wait, and those whose wait is over and who have not fetched the outcome. Numbers rise: the lower waits longer.
    pub(super) waits: BTreeMap<u64, Wait>,
    /// The wait of a claimant.
    pub(super) waiting: HashMap<Who, u64>,
    /// How many claims a claimant has.
    pub(super) holding: HashMap<Who, usize>,
    /// Semaphores whose queue is to be looked at again.
    pub(super) dirty: BTreeSet<u64>,
    /// Semaphores with free permits that are kept for a waiter while others wait behind it.
    pub(super) kept: BTreeSet<u64>,
    /// Semaphores whose limit was changed, as long as more is out than it allows.
    pub(super) shrunk: BTreeSet<u64>,
    /// Waits that have come to an end since somebody asked.
    pub(super) ended: Vec<u64>,
    last: u64,
}

#[derive(Debug)]
pub(super) struct Session {
    pub process: Process,
    pub covers: Option<Process>,
}

#[derive(Debug)]
pub(super) struct Handle {
    pub session: u64,
    pub sem: u64,
    pub name: Name,
}

/// A semaphore.
#[derive(Debug)]
pub(super) struct Sem {
    pub name: Name,
    pub kind: Kind,
    pub mode: Mode,
    /// How it is reset (event).
    pub reset: Reset,
    /// Whether it is signalled (event).
    pub is_set: bool,
    /// The number of the signal that a wait has consumed, if nobody has been told since that it is.
    pub consumed: Option<u64>,
    /// 1 for another kind than counting.
    pub limit: u32,
    /// Permits that there are (credit).
    pub total: u32,
    /// Permits that are held.
    pub out: u32,
    pub ephemeral: bool,
    pub claims: BTreeMap<u64, Held>,
    pub queue: BTreeSet<u64>,
    pub gate: Gate,
    pub marked: bool,
    /// Those that nobody has acknowledged.
    pub deaths: Option<Deaths>,
    pub counters: Counters,
    pub last_used: u64,
    /// Handles that are open.
    pub open: u32,
    pub slots: Slots,
}

/// Whether requests are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// By this wait.
    Draining(u64),
    Drained,
}

/// A claim.
#[derive(Debug)]
pub(super) struct Held {
    pub who: Who,
    pub token: u64,
    /// The handle of each level; none for a claim that was passed on to somebody who shared it.
    pub levels: Vec<u64>,
    pub permits: u32,
    pub since: u64,
    pub label: Option<String>,
    pub slots: Vec<u32>,
    /// Whether the holder has asked for its slots.
    pub asked: bool,
    /// Sessions that share it.
    pub sharers: Vec<u64>,
}

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Wait {
    pub who: Who,
    pub mode: Wants,
    /// What for; empty for a drain.
    pub wants: Vec<Want>,
    /// The semaphore that it drains.
    pub drains: Option<u64>,
    /// Whether only a grant ends it.
    pub forever: bool,
    pub began: u64,
    pub label: Option<String>,
    pub outcome: Option<Result<Vec<(usize, Grant)>>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    pub handle: u64,
    pub sem: u64,
    pub permits: u32,
}

impl Sem {
    pub fn new(name: Name, spec: &Spec, now: Now) -> Sem {
        let counting = spec.kind == Kind::Counting;
        Sem {
            name,
            kind: spec.kind,
            mode: if counting { spec.mode } else { Mode::Pool },
            reset: if spec.kind == Kind::Event { spec.reset } else { Reset::Manual },
            is_set: spec.kind == Kind::Event && spec.initial > 0,
            consumed: None,
            limit: if counting { spec.limit } else { 1 },
            total: spec.initial,
            out: 0,
            ephemeral: spec.ephemeral,
            claims: BTreeMap::new(),
            queue: BTreeSet::new(),
            gate: Gate::Open,
            marked: false,
            deaths: None,
            counters: Counters::default(),
            last_used: now.mono,
            open: 0,
            slots: Slots::default(),
        }
    }

    /// Permits that nobody holds; 1 for an event that is signalled.
    pub fn free(&self) -> u32 {
        match self.mode {
            _ if self.kind == Kind::Event => self.is_set as u32,
            Mode::Pool => self.limit.saturating_sub(self.out),
            Mode::Credit => self.total.saturating_sub(self.out),
        }
    }

    /// Whether there is enough for everybody as long as it is there at all: a signal that nobody consumes.
    pub fn is_for_all(&self) -> bool {
        self.kind == Kind::Event && self.reset == Reset::Manual
    }

    /// How an event stands; None for another kind.
    pub fn signal(&self) -> Option<Signal> {
        (self.kind == Kind::Event).then(|| Signal::new(self.reset, self.is_set))
    }

    /// Limit and permits.
    pub fn capacity(&self) -> Capacity {
        let total = if self.mode == Mode::Pool { self.limit.max(self.out) } else { self.total };
        Capacity::new(self.mode, self.limit, total, self.free())
    }

    /// Whether a request of this claimant would be a further level of a claim that it has.
    pub fn is_mine(&self, who: Who) -> bool {
        self.kind == Kind::Exclusive && who.is_somebody() && self.claims.values().any(|h| h.who == who)
    }

    /// What it is, in words.
    pub fn what(&self) -> String {
        match (self.kind, self.mode) {
            (Kind::Counting, Mode::Pool) => format!("a pool of {}", self.limit),
            (Kind::Counting, Mode::Credit) => format!("a credit of at most {}", self.limit),
            (Kind::Event, _) => {
                format!("an event that is reset {}", if self.reset == Reset::Auto { "by a wait" } else { "by hand" })
            }
            (kind, _) => format!("of kind {kind}"),
        }
    }
}

impl State {
    /// An empty namespace, with room for so many semaphores.
    pub fn new(url: impl Into<String>, max_semaphores: usize) -> State {
        State {
            url: url.into(),
            max_semaphores,
            sems: HashMap::new(),
            names: BTreeMap::new(),
            sessions: BTreeMap::new(),
            handles: HashMap::new(),
            waits: BTreeMap::new(),
            waiting: HashMap::new(),
            holding: HashMap::new(),
            dirty: BTreeSet::new(),
            kept: BTreeSet::new(),
            shrunk: BTreeSet::new(),
            ended: Vec::new(),
            last: 0,
        }
    }

    /// A number that was never used in this namespace.
    pub(super) fn fresh(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Numbers from here on are greater than this.
    pub(super) fn number_from(&mut self, least: u64) {
        self.last = self.last.max(least);
    }

    /// A new session, for a process that others see like this.
    pub fn begin_session(&mut self, process: Process) -> u64 {
        let id = self.fresh();
        self.sessions.insert(id, Session { process, covers: None });
        id
    }

    /// The semaphore of a name, or 187.
    pub(super) fn find(&self, name: &Name) -> Result<u64> {
        self.names.get(name).copied().ok_or_else(|| refusals::not_found(name, &self.url))
    }

    /// A handle and its semaphore, or 6.
    pub(super) fn through(&self, handle: u64) -> Result<(&Handle, &Sem)> {
        let h = self.handles.get(&handle).ok_or_else(refusals::no_handle)?;
        Ok((h, self.sems.get(&h.sem).ok_or_else(|| refusals::stale(&h.name))?))
    }

    /// What others see of a session.
    pub(super) fn process(&self, session: u64) -> Process {
        match self.sessions.get(&session) {
            Some(s) => s.process.clone(),
            None => Process::new(0, 0, "", crate::claim::ProcessState::Dead),
        }
    }

    /// The waits that have come to an end since the last call: their sleepers fetch the outcomes.
    pub fn ended(&mut self) -> Vec<u64> {
        let mut ended = std::mem::take(&mut self.ended);
        // Some were fetched at once.
        ended.retain(|id| self.waits.contains_key(id));
        ended
    }
}
