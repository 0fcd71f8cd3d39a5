//! Who waits for whom, over the whole namespace at one revision.
//!
//! A waiter is *stuck* if it has no deadline and what it needs cannot come together from what is free and from what is held
//! by those who are not stuck. The largest set of stuck waiters is found by beginning with all and taking out those who are
//! not. One snapshot is enough, since the store's revisions order everything: the wait that closes a cycle was published
//! before its own look. Credit never makes stuck, because anybody may add permits; neither does a claim of a process as a
//! whole (claimant 0), which any of its threads may end.

use super::record::{Held, Id, Party, Record, Sort, Ticket, Wish};
use super::world::World;
use std::collections::{BTreeMap, BTreeSet};
use xsem::{Edge, Process, ProcessState};

/// A thread or task of a session.
type Claimant = (u64, u32);

/// A cycle of waits.
#[derive(Debug)]
pub struct Cycle {
    /// Its steps, beginning with the wait that was asked about.
    pub edges: Vec<Edge>,
    /// Whether that wait is the youngest of them.
    pub is_youngest: bool,
}

/// A wait without a deadline.
struct Node<'a> {
    party: &'a Party,
    order: u64,
    what: What<'a>,
}

/// What it is for.
enum What<'a> {
    Claims(&'a Ticket),
    /// That everybody leaves this one.
    Drain(&'a str, &'a Record),
}

/// The waits of the namespace.
struct Graph<'a> {
    world: &'a World,
    stuck: BTreeMap<Claimant, Node<'a>>,
}

fn of(p: &Party) -> Claimant {
    (p.id.session, p.claimant)
}

impl<'a> Graph<'a> {
    fn new(world: &'a World) -> Graph<'a> {
        let mut nodes = Vec::new();
        let there = world.slots.iter().filter_map(|(name, s)| Some((name, s.after.as_ref()?)));
        for (name, rec) in there {
            let waits = rec.queue.iter().filter(|t| !t.deadline);
            nodes.extend(waits.map(|t| Node { party: &t.party, order: t.order, what: What::Claims(t) }));
            let drain = rec.drain.as_ref().filter(|d| !d.done && !d.deadline);
            nodes.extend(drain.map(|d| Node { party: &d.by, order: d.order, what: What::Drain(name, rec) }));
        }
        let somebody = nodes.into_iter().filter(|n| n.party.claimant != 0);
        let mut graph = Graph { world, stuck: somebody.map(|n| (of(n.party), n)).collect() };
        loop {
            let free: Vec<Claimant> = graph.stuck.iter().filter(|(_, n)| graph.can_come(n)).map(|(c, _)| *c).collect();
            if free.is_empty() {
                return graph;
            }
            graph.stuck.retain(|c, _| !free.contains(c));
        }
    }

    fn can_come(&self, n: &Node<'_>) -> bool {
        let t = match n.what {
            What::Claims(t) => t,
            What::Drain(_, rec) => {
                let waits = |t: &Ticket| self.stuck.contains_key(&of(&t.party));
                return !rec.claims.iter().any(|c| self.is_stuck(c)) && !rec.queue.iter().any(waits);
            }
        };
        let mut entries = t.list.iter().map(|e| match self.world.get(&e.name) {
            Some(rec) if rec.sort != Sort::Credit => {
                let there: u32 = rec.claims.iter().filter(|c| !self.is_stuck(c)).map(|c| c.permits).sum();
                e.nests.is_some() || rec.free().saturating_add(there) >= e.permits
            }
            _ => true,
        });
        if t.wish == Wish::All { entries.all(|x| x) } else { entries.any(|x| x) }
    }

    /// Whether a claim can only end after a stuck wait has. One that is shared ends with the last.
    fn is_stuck(&self, c: &Held) -> bool {
        c.parties.iter().any(|p| p.claimant != 0 && self.stuck.contains_key(&of(p)))
    }

    /// The stuck claims that a stuck wait waits for: the semaphore of each, and one that holds it.
    fn steps(&self, n: &Node<'a>) -> Vec<(&'a str, &'a Party)> {
        let records: Vec<(&'a str, &'a Record)> = match n.what {
            What::Claims(t) => t.list.iter().filter_map(|e| Some((e.name.as_str(), self.world.get(&e.name)?))).collect(),
            What::Drain(name, rec) => vec![(name, rec)],
        };
        let claims = records.into_iter().flat_map(|(name, rec)| rec.claims.iter().map(move |c| (name, c)));
        let parties = claims.flat_map(|(name, c)| c.parties.iter().map(move |p| (name, p)));
        parties.filter(|(_, p)| self.stuck.contains_key(&of(p))).collect()
    }

    /// The way from a wait back to it.
    fn way(&self, from: &Node<'a>, to: Claimant, seen: &mut BTreeSet<Claimant>) -> Option<Vec<Edge>> {
        for (name, holder) in self.steps(from) {
            let edge = |rest: Vec<Edge>| {
                let first = Edge::new(person(from.party), name, person(holder));
                std::iter::once(first).chain(rest).collect()
            };
            let next = of(holder);
            if next == to {
                return Some(edge(Vec::new()));
            }
            if seen.insert(next)
                && let Some(node) = self.stuck.get(&next)
                && let Some(rest) = self.way(node, to, seen)
            {
                return Some(edge(rest));
            }
        }
        None
    }
}

fn person(p: &Party) -> (Process, u32) {
    (p.who.process(ProcessState::Alive), p.claimant)
}

/// The cycle that the wait of this request is part of.
pub fn cycle(world: &World, id: Id) -> Option<Cycle> {
    let graph = Graph::new(world);
    let mine = graph.stuck.values().find(|n| n.party.id == id)?;
    let edges = graph.way(mine, of(mine.party), &mut BTreeSet::new())?;
    let on_it = |n: &&Node<'_>| edges.iter().any(|e| (e.waiter.pid, e.waiter_claimant) == (n.party.who.pid, n.party.claimant));
    let youngest = graph.stuck.values().filter(on_it).max_by_key(|n| (n.order, n.party.id));
    Some(Cycle { is_youngest: youngest.is_some_and(|n| n.party.id == id), edges })
}

/// A cycle that a semaphore is part of.
pub fn around(world: &World, name: &str) -> Vec<Edge> {
    let graph = Graph::new(world);
    let found = graph.stuck.values().find_map(|n| {
        let way = graph.way(n, of(n.party), &mut BTreeSet::new())?;
        way.iter().any(|e| e.name == name).then_some(way)
    });
    found.unwrap_or_default()
}
