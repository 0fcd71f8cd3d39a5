//! Who waits for whom, over the whole namespace at one revision.
//!
//! A waiter is *stuck* if it has no deadline and what it needs cannot come together from what is free and from what is held
//! by those who are not stuck. The largest set of stuck waiters is found by beginning with all and taking out those who are
//! not. One snapshot is enough, since the store's revisions order everything: the wait that closes a cycle was published
//! before its own look. Credit never makes stuck, because anybody may add permits; neither does a claim of a process as a
//! whole (claimant 0), which any of its threads may end.

use super::record::{Entry, Held, Id, Party, Record, Sort, Ticket, Wish};
use super::world::{World, blocks};
use std::collections::{BTreeMap, BTreeSet};
use xsem::{Edge, Process, ProcessState};

/// A thread or task of a session.
type Claimant = (u64, u32);

/// A wait without a deadline.
#[derive(Clone, Copy)]
struct Node<'a> {
    party: &'a Party,
    order: u64,
    what: What<'a>,
}

/// What it is for.
#[derive(Clone, Copy)]
enum What<'a> {
    Claims(&'a Ticket),
    /// That everybody leaves this one.
    Drain(&'a str, &'a Record),
}

/// The waits of the namespace.
struct Graph<'a> {
    world: &'a World,
    /// Whether those count, too, who are only in the way because they stand before.
    in_line: bool,
    stuck: BTreeMap<Claimant, Node<'a>>,
    /// Sessions of processes that run inside of the command of a claim, by its name and token.
    inside: BTreeMap<(&'a str, u64), Vec<u64>>,
}

fn insiders(world: &World) -> BTreeMap<(&str, u64), Vec<u64>> {
    let mut found: BTreeMap<(&str, u64), Vec<u64>> = BTreeMap::new();
    let people = world.alive.iter().flatten().filter_map(|(session, who)| Some((*session, who.as_ref()?)));
    for (session, who) in people {
        who.inside.iter().for_each(|(name, token)| found.entry((name, *token)).or_default().push(session));
    }
    found
}

fn of(p: &Party) -> Claimant {
    (p.id.session, p.claimant)
}

/// All waits without a deadline, oldest first.
fn waits(world: &World) -> Vec<Node<'_>> {
    let mut nodes = Vec::new();
    let there = world.slots.iter().filter_map(|(name, s)| Some((name, s.after.as_ref()?)));
    for (name, rec) in there {
        let waits = rec.queue.iter().filter(|t| !t.deadline);
        nodes.extend(waits.map(|t| Node { party: &t.party, order: t.order, what: What::Claims(t) }));
        let drain = rec.drain.as_ref().filter(|d| !d.done && !d.deadline);
        nodes.extend(drain.map(|d| Node { party: &d.by, order: d.order, what: What::Drain(name, rec) }));
    }
    nodes.retain(|n| n.party.claimant != 0);
    nodes.sort_by_key(|n| (n.order, n.party.id));
    nodes.dedup_by_key(|n| n.party.id);
    nodes
}

impl<'a> Graph<'a> {
    fn new(world: &'a World, waits: &[Node<'a>], in_line: bool) -> Graph<'a> {
        let stuck = waits.iter().map(|n| (of(n.party), *n)).collect();
        let mut graph = Graph { world, in_line, stuck, inside: insiders(world) };
        loop {
            let free: Vec<Claimant> = graph.stuck.iter().filter(|(_, n)| graph.can_come(n)).map(|(c, _)| *c).collect();
            if free.is_empty() {
                return graph;
            }
            graph.stuck.retain(|c, _| !free.contains(c));
        }
    }

    /// The cycle that a wait is part of.
    fn cycle(&self, of_wait: &Node<'a>) -> Option<Vec<Edge>> {
        let to = of(of_wait.party);
        self.stuck.get(&to).and_then(|n| self.way(n, to, &mut BTreeSet::new()))
    }

    fn can_come(&self, n: &Node<'_>) -> bool {
        let t = match n.what {
            What::Claims(t) => t,
            What::Drain(name, rec) => {
                let waits = |t: &Ticket| self.stuck.contains_key(&of(&t.party));
                return !rec.claims.iter().any(|c| self.is_stuck(name, c)) && !rec.queue.iter().any(waits);
            }
        };
        let mut entries = t.list.iter().map(|e| match self.world.get(&e.name) {
            // Anybody may add to a credit, or signal an event.
            Some(rec) if rec.sort != Sort::Credit && !rec.is_event() => {
                // What is held beyond a limit that was lowered has to come back before anything is free; and anybody may raise it again.
                let held: u32 = rec.claims.iter().filter(|c| self.is_stuck(&e.name, c)).map(|c| c.permits).sum();
                let there = rec.limit.saturating_sub(held) >= e.permits || e.permits > rec.limit;
                let kept = self.in_line && self.before(rec, t, e).any(|b| self.waits(b));
                e.nests.is_some() || there && !kept
            }
            _ => true,
        });
        if t.wish == Wish::All { entries.all(|x| x) } else { entries.any(|x| x) }
    }

    /// Those that a wait has to stand back for.
    fn before<'r>(&self, rec: &'r Record, t: &Ticket, e: &'r Entry) -> impl Iterator<Item = &'r Ticket> + use<'r> {
        let id = t.party.id;
        rec.queue.iter().take_while(move |b| b.party.id != id).filter(move |b| blocks(rec, b, &e.name))
    }

    /// Whether this wait is stuck.
    fn waits(&self, t: &Ticket) -> bool {
        self.stuck.get(&of(&t.party)).is_some_and(|n| n.party.id == t.party.id)
    }

    /// Whether a claim can only end after a stuck wait has. One that is shared ends with the last, and one that covers a command after
    /// all that is part of it.
    fn is_stuck(&self, name: &str, c: &Held) -> bool {
        c.parties.iter().any(|p| p.claimant != 0 && self.stuck.contains_key(&of(p))) || !self.stuck_inside(name, c).is_empty()
    }

    /// The stuck waits of those who run inside of the command that a claim covers.
    fn stuck_inside(&self, name: &str, c: &Held) -> Vec<&'a Party> {
        let sessions = self.inside.get(&(name, c.token)).into_iter().flatten();
        let waits = sessions.flat_map(|s| self.stuck.range((*s, 0)..=(*s, u32::MAX)));
        waits.map(|(_, n)| n.party).collect()
    }

    /// The stuck claims that a stuck wait waits for: the semaphore of each, and one that holds it.
    fn steps(&self, n: &Node<'a>) -> Vec<(&'a str, &'a Party)> {
        let records: Vec<(&'a str, &'a Record)> = match n.what {
            What::Claims(t) => t.list.iter().filter_map(|e| Some((e.name.as_str(), self.world.get(&e.name)?))).collect(),
            What::Drain(name, rec) => vec![(name, rec)],
        };
        let claims = records.into_iter().flat_map(|(name, rec)| rec.claims.iter().map(move |c| (name, c)));
        let mut steps = Vec::new();
        for (name, c) in claims {
            steps.extend(c.parties.iter().filter(|p| self.stuck.contains_key(&of(p))).map(|p| (name, p)));
            steps.extend(self.stuck_inside(name, c).into_iter().map(|p| (name, p)));
        }
        steps
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

/// The waits that close a cycle, each with it, being the youngest of it.
///
/// The waits are taken in their order, as if each had been looked at in the instant in which it began: one that closes a
/// cycle will be refused, so those that are younger need not wait for it.
pub fn victims(world: &World) -> Vec<(Id, Vec<Edge>)> {
    let all = waits(world);
    if Graph::new(world, &all, false).stuck.is_empty() {
        return Vec::new();
    }
    let (mut stay, mut found) = (Vec::new(), Vec::new());
    for wait in all {
        stay.push(wait);
        if let Some(cycle) = Graph::new(world, &stay, false).cycle(&wait) {
            stay.pop();
            found.push((wait.party.id, cycle));
        }
    }
    found
}

/// The cycle that the wait of this request closes, being the youngest of it.
pub fn closed_by(world: &World, id: Id) -> Option<Vec<Edge>> {
    victims(world).into_iter().find(|(v, _)| *v == id).map(|(_, cycle)| cycle)
}

/// Whether a wait could be served if it did not stand back for those before it, and all of those are stuck: they wait, in the
/// end, for this one or for each other. Keeping permits for them would keep everybody waiting.
pub fn may_pass(world: &World, t: &Ticket) -> bool {
    let graph = Graph::new(world, &waits(world), true);
    let mut stands_back = false;
    let mut free = t.list.iter().map(|e| {
        let Some(rec) = world.get(&e.name) else { return false };
        let mut before = graph.before(rec, t, e).peekable();
        stands_back |= before.peek().is_some();
        e.nests.is_some() || rec.free() >= e.permits && before.all(|b| graph.waits(b))
    });
    let all = if t.wish == Wish::All { free.all(|x| x) } else { free.any(|x| x) };
    drop(free);
    all && stands_back
}

/// A cycle that a semaphore is part of.
pub fn around(world: &World, name: &str) -> Vec<Edge> {
    let waits = waits(world);
    let graph = Graph::new(world, &waits, false);
    let cycles = waits.iter().filter_map(|w| graph.cycle(w));
    cycles.into_iter().find(|c| c.iter().any(|e| e.name == name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::record::{Ticket, Who};
    use super::super::world::Slot;
    use super::*;
    use xsem::engine::Spec;

    fn party(session: u64, op: u64) -> Party {
        let who =
            Who { host: String::new(), pid: session as u32, uid: 0, command: String::new(), covers: None, inside: Vec::new() };
        Party { id: Id { session, op }, claimant: 1, who }
    }

    fn ticket(session: u64, op: u64, permits: u32, order: u64) -> Ticket {
        let list = vec![Entry { name: "p".to_owned(), permits, nests: None }];
        let party = party(session, op);
        Ticket { party, wish: Wish::One, list, label: None, deadline: false, since: 0, order, passes: false }
    }

    /// A pool of 4 of which these hold what they hold, and those wait.
    fn world(held: &[(u64, u32)], queue: Vec<Ticket>) -> World {
        let mut rec = Record::new(&Spec::pool(4), Id { session: 9, op: 0 }, 0, 0);
        for &(session, n) in held {
            rec.grant(&ticket(session, 1, n, 0), n, 0, 0);
        }
        rec.queue = queue;
        let slot = Slot { before: None, modified: 0, created: 0, after: Some(rec) };
        let slots = [("p".to_owned(), slot)].into();
        World::new(slots, None, 0)
    }

    #[test]
    fn one_that_will_be_refused_makes_no_cycle_for_a_younger_one() {
        // The first waits for more than the others could ever give back.
        let w = world(&[(1, 3), (2, 1)], vec![ticket(1, 2, 2, 10), ticket(2, 2, 2, 11)]);
        assert_eq!(closed_by(&w, Id { session: 1, op: 2 }).map(|c| c.len()), Some(1));
        assert_eq!(closed_by(&w, Id { session: 2, op: 2 }), None);
    }

    #[test]
    fn of_two_that_wait_for_each_other_the_younger_closes_the_cycle() {
        let w = world(&[(1, 2), (2, 2)], vec![ticket(1, 2, 1, 10), ticket(2, 2, 1, 11)]);
        assert_eq!(closed_by(&w, Id { session: 1, op: 2 }), None);
        assert!(closed_by(&w, Id { session: 2, op: 2 }).is_some());
        // As long as somebody else holds something that is enough, there is none.
        let w = world(&[(1, 2), (2, 1), (3, 1)], vec![ticket(1, 2, 1, 10), ticket(2, 2, 1, 11)]);
        assert_eq!(closed_by(&w, Id { session: 2, op: 2 }), None);
    }
}
