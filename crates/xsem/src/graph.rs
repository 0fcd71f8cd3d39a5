//! The search for deadlocks (1131): who waits for what, who holds that, and can it ever end. Pure, for every engine.
//!
//! A wait can end if what it wants comes free when everybody gives back what they hold, except those who wait themselves
//! and can never go on. So the deadlocked are the greatest set of waiting claimants of whom none could be served even if
//! everybody outside of the set gave back everything. A free permit, a holder that runs, or a wait with a deadline keeps a
//! wait out of it, however the arrows point. The search begins with all who wait and lets go, one after the other, who
//! could be served.
//!
//! Not everybody in that set is at fault: who only waits for a deadlocked group is served once the group is broken up. So
//! only the waits that lie in a cycle are told, and of those an engine lets the youngest fail.
//!
//! It takes time linear in the waits and holds, but for sorting the wants of each thing, and does not recurse.

use std::collections::{HashMap, VecDeque};

/// A claimant: a number that is unique per process and thread. 0 is nobody in particular: what it holds others can give
/// back, so that never blocks for ever.
pub type Who = u64;

/// Permits that somebody holds.
pub struct Hold {
    /// Who.
    pub who: Who,
    /// How many.
    pub permits: u32,
}

/// A semaphore as the search sees it. An exclusive one has 0 or 1 free.
///
/// What may come free without a holder's doing (credit, to which anybody may add) is given as free ([`EVER_FREE`]), and then it is
/// no part of a deadlock.
pub struct Thing {
    /// Permits that nobody holds. Negative where more are held than there may be (the limit was lowered): so many have to come back
    /// before one of them is free.
    pub free: i64,
    /// Who holds how many. One claimant may be there several times.
    pub holds: Vec<Hold>,
}

/// More than anybody can want.
pub const EVER_FREE: i64 = u32::MAX as i64;

/// How many of its wants end a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// One of them.
    Any,
    /// Each of them. They are looked at one by one, which is exact as long as they are of different things, as a list
    /// without duplicates has them; otherwise it finds fewer deadlocks than there are, never more.
    All,
}

/// What a wait asks for. An exclusive semaphore that the waiter itself owns is not a want: it nests.
pub struct Want {
    /// Index into the things. One that does not exist counts as free: nothing is known of it.
    pub thing: usize,
    /// Permits.
    pub permits: u32,
}

/// A wait without a deadline. A claimant has one at a time; of several the latest counts.
pub struct Waiting {
    /// Who waits.
    pub who: Who,
    /// Since when.
    pub since: u64,
    /// How many of the wants it takes.
    pub mode: Mode,
    /// What for.
    pub wants: Vec<Want>,
}

/// A step of a cycle: `who` waits for `thing`, and `holder` holds that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Who waits.
    pub who: Who,
    /// Index into the things.
    pub thing: usize,
    /// Who holds it: the next step's `who`.
    pub holder: Who,
}

/// A cycle of waits that can never end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cycle {
    /// Its steps, closed: the last one's holder is the first one's `who`.
    pub steps: Vec<Step>,
    /// Whose wait began last among all who wait for each other here (there may be more of them than the shortest cycle
    /// has); the greater number if two began at once.
    pub youngest: Who,
}

/// The shortest cycle through `me`, if `me` is part of a deadlock. None also when `me` only waits for others that are.
pub fn cycle_of(me: Who, waits: &[Waiting], things: &[Thing]) -> Option<Cycle> {
    let search = Search::new(waits, things);
    let start = search.index.get(&me).copied().filter(|&w| search.stuck[w])?;
    search.cycle(Node::Waiter(start))
}

/// The shortest cycle in which somebody waits for `thing`; it begins with that wait.
pub fn cycle_through(thing: usize, waits: &[Waiting], things: &[Thing]) -> Option<Cycle> {
    (thing < things.len()).then(|| Search::new(waits, things).cycle(Node::Thing(thing)))?
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Node {
    Waiter(usize),
    Thing(usize),
}

/// The deadlocked, and the graph among them: from a waiter to the things that it cannot get, from a thing to those who
/// hold it. Things are nodes of their own, so that many who wait for many holders do not make a square of edges.
struct Search<'a> {
    waits: &'a [Waiting],
    things: &'a [Thing],
    /// Whose wait that is.
    index: HashMap<Who, usize>,
    /// What each waiter holds: the thing and the permits.
    holdings: Vec<Vec<(usize, u32)>>,
    /// Who wants each thing: the permits and the waiter, ascending.
    wanted: Vec<Vec<(u32, usize)>>,
    /// Permits of each thing that can come free.
    avail: Vec<i64>,
    /// How many in `wanted` can be satisfied: those at the beginning.
    reached: Vec<usize>,
    /// Which waiters can never go on.
    stuck: Vec<bool>,
}

impl<'a> Search<'a> {
    fn new(waits: &'a [Waiting], things: &'a [Thing]) -> Search<'a> {
        let mut index = HashMap::with_capacity(waits.len());
        for (i, w) in waits.iter().enumerate().filter(|(_, w)| w.who != 0) {
            let latest = index.entry(w.who).or_insert(i);
            if waits[*latest].since <= w.since {
                *latest = i;
            }
        }
        let mut search = Search {
            waits,
            things,
            holdings: vec![Vec::new(); waits.len()],
            wanted: vec![Vec::new(); things.len()],
            avail: things.iter().map(|t| t.free).collect(),
            reached: vec![0; things.len()],
            stuck: vec![false; waits.len()],
            index,
        };
        search.fill();
        search.let_go();
        search
    }

    fn fill(&mut self) {
        for (&_, &i) in &self.index {
            self.stuck[i] = true;
            for want in self.waits[i].wants.iter().filter(|w| w.thing < self.things.len()) {
                self.wanted[want.thing].push((want.permits, i));
            }
        }
        self.wanted.iter_mut().for_each(|w| w.sort_unstable());
        for (t, thing) in self.things.iter().enumerate() {
            for hold in &thing.holds {
                match self.index.get(&hold.who) {
                    Some(&i) => self.holdings[i].push((t, hold.permits)),
                    // It does not wait, or not for ever: it will give this back.
                    None => self.avail[t] += i64::from(hold.permits),
                }
            }
        }
    }

    /// Lets those go who could be served, with all that they hold, until nobody is left who could.
    fn let_go(&mut self) {
        // Wants that are still to be satisfied before the waiter can go on.
        let mut missing: Vec<usize> = self
            .waits
            .iter()
            .map(|w| match (w.mode, w.wants.iter().filter(|w| w.thing < self.things.len()).count()) {
                (Mode::Any, known) if known == w.wants.len() => known.min(1),
                // One of them is something of which nothing is known.
                (Mode::Any, _) => 0,
                (Mode::All, known) => known,
            })
            .collect();
        let mut gone: Vec<usize> = (0..missing.len()).filter(|&i| self.stuck[i] && missing[i] == 0).collect();
        gone.iter().for_each(|&i| self.stuck[i] = false);
        let mut changed: Vec<usize> = (0..self.things.len()).collect();
        loop {
            while let Some(t) = changed.pop() {
                while let Some(&(permits, i)) = self.wanted[t].get(self.reached[t])
                    && i64::from(permits) <= self.avail[t]
                {
                    self.reached[t] += 1;
                    missing[i] = missing[i].saturating_sub(1);
                    if missing[i] == 0 && std::mem::take(&mut self.stuck[i]) {
                        gone.push(i);
                    }
                }
            }
            let Some(i) = gone.pop() else { return };
            for &(t, permits) in &self.holdings[i] {
                self.avail[t] += i64::from(permits);
                changed.push(t);
            }
        }
    }

    /// Where the arrows lead from a node, among the deadlocked.
    fn next(&self, node: Node) -> Vec<Node> {
        match node {
            Node::Waiter(i) => self.waits[i].wants.iter().filter(|w| self.blocks(w)).map(|w| Node::Thing(w.thing)).collect(),
            Node::Thing(t) => self.things[t].holds.iter().filter_map(|h| self.deadlocked(h.who)).map(Node::Waiter).collect(),
        }
    }

    /// Where they come from.
    fn previous(&self, node: Node) -> Vec<Node> {
        match node {
            Node::Waiter(i) => self.holdings[i].iter().map(|&(t, _)| Node::Thing(t)).collect(),
            Node::Thing(t) => {
                let blocked = &self.wanted[t][self.reached[t]..];
                blocked.iter().filter(|&&(_, i)| self.stuck[i]).map(|&(_, i)| Node::Waiter(i)).collect()
            }
        }
    }

    fn blocks(&self, want: &Want) -> bool {
        self.avail.get(want.thing).is_some_and(|&a| i64::from(want.permits) > a)
    }

    fn deadlocked(&self, who: Who) -> Option<usize> {
        self.index.get(&who).copied().filter(|&i| self.stuck[i])
    }

    /// All that can be reached, each with the node from which it was reached first (breadth first: by a shortest way). The
    /// start is among them only if a way leads back to it.
    fn reach(&self, start: Node, step: impl Fn(&Self, Node) -> Vec<Node>) -> HashMap<Node, Node> {
        let mut from = HashMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for next in step(self, node) {
                from.entry(next).or_insert_with(|| {
                    // The start comes back to itself here; its own steps have been taken.
                    if next != start {
                        queue.push_back(next);
                    }
                    node
                });
            }
        }
        from
    }

    /// The shortest cycle through a node.
    fn cycle(&self, start: Node) -> Option<Cycle> {
        let from = self.reach(start, Self::next);
        from.get(&start)?;
        let back = self.reach(start, Self::previous);
        // Who can be reached from the start and leads to it: they all wait for each other.
        let youngest = from
            .keys()
            .filter(|n| back.contains_key(n))
            .filter_map(|n| if let Node::Waiter(i) = n { Some(&self.waits[*i]) } else { None })
            .max_by_key(|w| (w.since, w.who))?
            .who;
        // The cycle as nodes, from the start back to the start.
        let mut path = vec![start];
        let mut node = *from.get(&start)?;
        while node != start {
            path.push(node);
            node = *from.get(&node)?;
        }
        path.push(start);
        path.reverse();
        if let Node::Thing(_) = start {
            // Begin with the waiter, which is the last but one.
            path.pop();
            path.rotate_right(1);
            path.push(path[0]);
        }
        let who = |n: Node| if let Node::Waiter(i) = n { self.waits[i].who } else { 0 };
        let steps = path.windows(3).step_by(2).filter_map(|w| match w[1] {
            Node::Thing(thing) => Some(Step { who: who(w[0]), thing, holder: who(w[2]) }),
            Node::Waiter(_) => None,
        });
        Some(Cycle { steps: steps.collect(), youngest })
    }
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
