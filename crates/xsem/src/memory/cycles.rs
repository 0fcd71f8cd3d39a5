//! Deadlocks: what the search of `graph` is shown, and who is told.

use super::refusals;
use super::state::{Now, State, Who};
use crate::claim::{Edge, Kind, Mode, Wants};
use crate::graph::{self, Hold, Thing, Waiting, Want};
use std::collections::HashMap;

/// The part of the waits and claims that matters for one of them: all that can be reached from it.
#[derive(Default)]
struct Snapshot {
    numbers: HashMap<Who, graph::Who>,
    whos: Vec<Who>,
    waits: Vec<Waiting>,
    things: Vec<Thing>,
    /// Which semaphore a thing is. A semaphore that is drained is a second one for the one who drains it.
    sems: Vec<u64>,
    index: HashMap<(u64, bool), usize>,
    /// Waits that are still to be looked at.
    todo: Vec<u64>,
}

impl State {
    /// Ends waits until this one is part of no deadlock: the youngest of a cycle fails with 1131.
    pub(super) fn break_deadlocks(&mut self, wait: u64, now: Now) {
        while let Some((victim, cycle)) = self.deadlock_of(wait) {
            let e = self.concerning(victim, refusals::deadlock(&self.wanted_text(victim), cycle));
            self.end_wait(victim, Err(e));
            self.settle(now);
        }
    }

    /// The wait that is to fail because this one is part of a deadlock, and the cycle as its claimant sees it.
    fn deadlock_of(&self, wait: u64) -> Option<(u64, Vec<Edge>)> {
        let w = self.waits.get(&wait).filter(|w| w.outcome.is_none() && w.forever && w.who.is_somebody())?;
        let mut seen = Snapshot { todo: vec![wait], ..Snapshot::default() };
        seen.fill(self);
        let number = |who| seen.numbers.get(who).copied();
        let cycle = graph::cycle_of(number(&w.who)?, &seen.waits, &seen.things)?;
        let victim = seen.who(cycle.youngest)?;
        let cycle = graph::cycle_of(cycle.youngest, &seen.waits, &seen.things)?;
        Some((*self.waiting.get(&victim)?, self.edges(&seen, &cycle)))
    }

    /// A cycle of waits in which somebody waits for the semaphore, or for its end.
    pub(super) fn deadlock_through(&self, sem: u64) -> Vec<Edge> {
        let mut seen = Snapshot::default();
        for drains in [false, true] {
            seen.thing(self, sem, drains);
        }
        // The waits for it are reached only if they are in a cycle; those that are not do not matter.
        seen.fill(self);
        let cycle = (0..2).find_map(|thing| graph::cycle_through(thing, &seen.waits, &seen.things));
        cycle.map_or_else(Vec::new, |c| self.edges(&seen, &c))
    }

    fn edges(&self, seen: &Snapshot, cycle: &graph::Cycle) -> Vec<Edge> {
        let person = |number| {
            let who = seen.who(number).unwrap_or(Who { session: 0, claimant: 0 });
            (self.process(who.session), who.claimant)
        };
        let name = |thing: usize| self.sems.get(&seen.sems[thing]).map_or("", |s| s.name.as_str());
        cycle.steps.iter().map(|s| Edge::new(person(s.who), name(s.thing), person(s.holder))).collect()
    }
}

impl Snapshot {
    fn who(&self, number: graph::Who) -> Option<Who> {
        self.whos.get((number as usize).checked_sub(1)?).copied()
    }

    /// A number for a claimant, whose wait is then looked at, too; 0 for nobody in particular.
    fn number(&mut self, state: &State, who: Who) -> graph::Who {
        if !who.is_somebody() {
            return 0;
        }
        if let Some(n) = self.numbers.get(&who) {
            return *n;
        }
        self.whos.push(who);
        self.numbers.insert(who, self.whos.len() as u64);
        self.todo.extend(state.waiting.get(&who));
        self.whos.len() as u64
    }

    fn fill(&mut self, state: &State) {
        let mut done = std::collections::HashSet::new();
        while let Some(id) = self.todo.pop() {
            let Some(w) = state.waits.get(&id).filter(|w| w.forever && w.who.is_somebody()) else { continue };
            if !done.insert(id) {
                continue;
            }
            let who = self.number(state, w.who);
            let nests = |sem: &u64| state.sems.get(sem).is_some_and(|s| s.is_mine(w.who));
            let wants = w.wants.iter().filter(|x| !nests(&x.sem));
            let mut wants: Vec<Want> = wants.map(|x| self.want(state, x)).collect();
            if let Some(sem) = w.drains {
                let thing = self.thing(state, sem, true);
                let permits = self.things[thing].holds.iter().map(|h| h.permits).sum();
                wants.push(Want { thing, permits });
            }
            let mode = if w.mode == Wants::All { graph::Mode::All } else { graph::Mode::Any };
            // The number of the wait, which rises with time, and is never the same for two.
            self.waits.push(Waiting { who, since: id, mode, wants });
        }
    }

    fn want(&mut self, state: &State, want: &super::state::Want) -> Want {
        // A limit that was lowered under a waiter may be raised again, by anybody: nothing is known of such a wait's end.
        let within = state.sems.get(&want.sem).is_none_or(|s| want.permits <= s.limit);
        let thing = if within { self.thing(state, want.sem, false) } else { usize::MAX };
        Want { thing, permits: want.permits }
    }

    /// A semaphore as the search sees it. For who drains it, everybody who holds it or waits for it is in the way.
    fn thing(&mut self, state: &State, sem: u64, drains: bool) -> usize {
        if let Some(i) = self.index.get(&(sem, drains)) {
            return *i;
        }
        let mut thing = Thing { free: 0, holds: Vec::new() };
        if let Some(s) = state.sems.get(&sem) {
            for held in s.claims.values() {
                let who = self.number(state, held.who);
                thing.holds.push(Hold { who, permits: held.permits });
            }
            if drains {
                for w in s.queue.iter().filter_map(|id| state.waits.get(id)) {
                    let who = self.number(state, w.who);
                    thing.holds.push(Hold { who, permits: 1 });
                }
            } else {
                // Anybody may add to a credit, or signal an event.
                let is_open = s.mode == Mode::Credit || s.kind == Kind::Event;
                thing.free = match s.mode {
                    _ if is_open => graph::EVER_FREE,
                    Mode::Pool => i64::from(s.limit) - i64::from(s.out),
                    Mode::Credit => s.free().into(),
                };
            }
        }
        self.things.push(thing);
        self.sems.push(sem);
        self.index.insert((sem, drains), self.things.len() - 1);
        self.things.len() - 1
    }
}
