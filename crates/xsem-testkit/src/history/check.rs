//! Is there an order? A search over all orders that the times allow, in the manner of Wing and Gong, that does not look at
//! the same situation twice (Lowe): the set of steps that are done, and the state that they led to.

use super::History;
use super::explain::explain;
use super::steps::{Act, Step, Steps, Turn, What, request};
use crate::model::{Claim, Claimant, Handle, How, Limits, Model, Reply, Until};
use crate::protocol::What as Kind;
use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use xsem::engine::Spec;
use xsem::{Cause, Reset};

/// A waiter that died may keep its reservation until it lapses; generous, since this only forgives.
const LAPSE: u64 = 50_000_000;

/// Situations after which the search gives up.
const ENOUGH: usize = 400_000;

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order in which the model says the same.
    Explained,
    /// There is none: what was tried, for people.
    Impossible(String),
    /// The search was given up.
    Undecided,
}

/// The state after some steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    model: Model,
    /// What each claim of the history is in the model.
    claims: Vec<Option<Claim>>,
    /// The last token of each object.
    tokens: Vec<u64>,
}

struct Search<'a> {
    history: &'a History,
    steps: Vec<Step>,
    handles: Vec<Handle>,
    seen: HashSet<(u128, u64, u64)>,
    best: (u32, u128),
}

/// Looks for an order of the history that the model agrees with.
///
/// # Panics
/// With more than 128 steps: record smaller histories.
pub fn check(history: &History) -> Verdict {
    let Steps { mut steps, claims, .. } = Steps::of(history);
    // Those that ended first are tried first: mostly that is the order.
    steps.sort_by_key(|s| s.end);
    assert!(steps.len() <= 128, "{} steps are too many for one history", steps.len());
    if let Some(text) = tokens_repeat(history, &steps) {
        return Verdict::Impossible(text);
    }
    let mut model = Model::new(Limits::default());
    let spec = |what: &Kind| match what {
        Kind::Exclusive => Spec::exclusive(),
        Kind::Pool(n) => Spec::pool(*n),
        Kind::Credit(n, initial) => Spec::credit(*n, *initial),
        Kind::Manual(set) => Spec::event(Reset::Manual, *set),
        Kind::Auto(set) => Spec::event(Reset::Auto, *set),
    };
    let each = history.objects.iter().enumerate();
    let handles = each.map(|(i, o)| model.make(&i.to_string(), &spec(o)).expect("a sort of history is possible")).collect();
    let state = State { model, claims: vec![None; claims.len()], tokens: vec![0; history.objects.len()] };
    let mut search = Search { history, steps, handles, seen: HashSet::new(), best: (0, 0) };
    match search.go(0, &state) {
        Some(true) => Verdict::Explained,
        Some(false) => Verdict::Impossible(explain(history, &search.steps, search.best.1)),
        None => Verdict::Undecided,
    }
}

/// The tokens of a counting semaphore are all different, and grow from one request to another that began later than the
/// first one ended. (Not in the order in which the permits went: claims on it exist beside each other, so a resource that
/// they protect cannot tell by the token who came last, and an engine may take the permit and then draw the token.)
fn tokens_repeat(history: &History, steps: &[Step]) -> Option<String> {
    let mut all: Vec<(usize, u64, &Step)> = Vec::new();
    for step in steps {
        if let What::Take { list, tokens, .. } = &step.what {
            all.extend(list.iter().zip(tokens).map(|((object, _), token)| (*object, *token, step)));
        }
    }
    all.retain(|(object, ..)| matches!(history.objects[*object], Kind::Pool(_) | Kind::Credit(..)));
    for (object, token, step) in &all {
        let wrong = |(o, t, other): &&(usize, u64, &Step)| {
            let twice = t == token && !std::ptr::eq(*other, *step);
            o == object && (twice || t >= token && other.end < step.begin)
        };
        if let Some((_, other, _)) = all.iter().find(wrong) {
            return Some(format!("object {object}: token {token} after, or beside, token {other}\n{history}"));
        }
    }
    None
}

fn bit(i: usize) -> u128 {
    1 << i
}

impl Search<'_> {
    /// Whether the steps that are not in `done` can follow. `None`: given up.
    fn go(&mut self, done: u128, state: &State) -> Option<bool> {
        let open = || (0..self.steps.len()).filter(move |&i| done & bit(i) == 0);
        let Some(first_end) = open().filter(|&i| self.steps[i].must).map(|i| self.steps[i].end).min() else {
            return Some(true);
        };
        if !self.seen.insert(fingerprint(done, state)) {
            return Some(false);
        }
        if self.seen.len() > ENOUGH {
            return None;
        }
        if done.count_ones() > self.best.0 {
            self.best = (done.count_ones(), done);
        }
        let next: Vec<usize> = open().filter(|&i| self.steps[i].begin <= first_end).collect();
        for i in next {
            let twin =
                |j: &usize| !self.steps[i].must && *j != i && done & bit(*j) != 0 && self.steps[*j].event == self.steps[i].event;
            if (0..self.steps.len()).any(|j| twin(&j)) || !self.in_order(i, done) {
                continue;
            }
            let mut after = state.clone();
            if self.happens(i, done, &mut after) && self.go(done | bit(i), &after)? {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Steps of one actor come in the order of its events; times say that already, but for equal ones.
    fn in_order(&self, i: usize, done: u128) -> bool {
        let s = &self.steps[i];
        let earlier = |o: &Step| o.must && o.actor == s.actor && o.event.is_some() && o.event < s.event;
        s.event.is_none() || !(0..self.steps.len()).any(|j| done & bit(j) == 0 && earlier(&self.steps[j]))
    }

    /// Whether the step may happen now, and what it changes.
    fn happens(&self, i: usize, done: u128, state: &mut State) -> bool {
        let step = &self.steps[i];
        let who = Claimant { process: step.actor, thread: 0 };
        let list = |l: &[(usize, u32)]| l.iter().map(|(o, n)| (&self.handles[*o], *n)).collect::<Vec<_>>();
        match &step.what {
            What::Take { list: l, claims, tokens, died, count } => {
                let Reply::Granted(grants) = state.model.request(who, How::All, &list(l), Until::Now) else { return false };
                for (k, (_, g)) in grants.iter().enumerate() {
                    let last = &mut state.tokens[l[k].0];
                    // For counting semaphores, `tokens_grow` has looked at them.
                    let exclusive = self.history.objects[l[k].0] == Kind::Exclusive;
                    let token_fits = if g.nested { tokens[k] == *last } else { tokens[k] > *last } || !exclusive;
                    let count_fits = count.is_none_or(|n| g.died.is_some_and(|d| d.count == n));
                    if !token_fits || g.died.is_some() != died[k] || !count_fits {
                        return false;
                    }
                    *last = tokens[k];
                    state.claims[claims[k]] = Some(g.claim);
                }
                true
            }
            // A claim that came after its owner's end would stay for ever: that is a leak, not an explanation.
            What::MayTake { claims, .. } if claims.iter().any(|c| self.has_ended(*c, done)) => false,
            What::MayTake { how, list: l, claims } => match state.model.request(who, *how, &list(l), Until::Now) {
                Reply::Granted(grants) => {
                    grants.iter().for_each(|(k, g)| state.claims[claims[*k]] = Some(g.claim));
                    true
                }
                _ => false,
            },
            What::Busy { object, permits, code } => {
                // A wait whose time ran out is 121 whatever the kind.
                match state.model.clone().request(who, How::One, &[(&self.handles[*object], *permits)], Until::Now) {
                    // What is there for all is kept for nobody.
                    Reply::Granted(_) => !self.is_manual(*object) && self.reserved(step, *object, done),
                    Reply::Refused(c, _) => c.number() == *code || *code == 121 && c.number() == 101,
                    Reply::Waits => false,
                }
            }
            What::NotAll { list: l } => match state.model.clone().request(who, How::All, &list(l), Until::Now) {
                Reply::Granted(_) => l.iter().any(|(o, _)| !self.is_manual(*o) && self.reserved(step, *o, done)),
                Reply::Refused(c, _) => c.number() == 121,
                Reply::Waits => false,
            },
            What::Stuck { how, list: l } => self.stuck(step, *how, l, done, &state.model),
            What::Refuse { how, list: l, until, code } => {
                matches!(state.model.clone().request(who, *how, &list(l), *until), Reply::Refused(c, _) if c.number() == *code)
            }
            What::With { claim, act, code } => {
                let Some(claim) = state.claims[*claim] else { return false };
                let m = &mut state.model;
                let result = match act {
                    Act::Release => m.release_claim(claim),
                    Act::ReleaseSome(n) => m.release_part(claim, *n),
                    Act::Forget => m.forget(claim),
                    Act::Abandon => m.abandon(claim),
                    Act::Mark => m.mark_consistent(claim),
                    _ => m.is_held(claim).then_some(()).ok_or(xsem::Code::NotOwner),
                };
                result.map_or_else(|c| c.number(), |()| 0) == *code
            }
            What::On { object, act, code } => {
                let h = &self.handles[*object];
                let result = match act {
                    Act::Add(n) => state.model.add_permits(h, *n),
                    Act::Resize(n) => state.model.resize(h, *n),
                    _ => return false,
                };
                result.map_or_else(|c| c.number(), |()| 0) == *code
            }
            What::Capacity { object, numbers } => {
                let c = state.model.capacity(&self.handles[*object]);
                c.is_ok_and(|c| [c.limit, c.total, c.free] == numbers[..])
            }
            What::Slots { claim, slots } => state.claims[*claim].is_some_and(|c| state.model.saw_slots(c, slots).is_ok()),
            What::Turn { object, turn, is } => {
                let (m, h) = (&mut state.model, &self.handles[*object]);
                let result = match turn {
                    Turn::Signal => m.signal(h),
                    Turn::Reset => m.reset(h),
                    Turn::Look => m.signalled(h).map(|s| s.is_set),
                };
                result.is_ok_and(|got| is.is_none_or(|is| is == got))
            }
            What::Ends { claim } => {
                if let Some(claim) = state.claims[*claim] {
                    state.model.claim_ended(claim, Cause::ProcessEnded);
                }
                true
            }
        }
    }

    fn is_manual(&self, object: usize) -> bool {
        matches!(self.history.objects[object], Kind::Manual(_))
    }

    /// Whether the end of the claim is done already.
    fn has_ended(&self, claim: usize, done: u128) -> bool {
        let ends = |s: &Step| matches!(s.what, What::Ends { claim: c } if c == claim);
        (0..self.steps.len()).any(|j| done & bit(j) != 0 && ends(&self.steps[j]))
    }

    /// Whether somebody else waits for the object, so that free permits may be kept for it (rule 5).
    fn reserved(&self, step: &Step, object: usize, done: u128) -> bool {
        (0..self.steps.len()).any(|j| {
            let other = &self.steps[j];
            // One whose time ran out may be on its way out only: until it is gone, it counts as waiting for others.
            let refused = matches!(other.what, What::Busy { .. } | What::NotAll { .. });
            let here = done & bit(j) == 0 || refused && other.end > step.begin;
            let still = here && other.actor != step.actor && other.begin < step.end;
            let alive = other.must || step.begin < other.end.saturating_add(LAPSE);
            let waits = other.event.and_then(|e| request(&self.history.events[e].verb));
            still && alive && waits.is_some_and(|(_, l, until)| until != Until::Now && l.iter().any(|(o, _)| *o == object))
        })
    }

    /// Whether a wait without an end would be one, beside those who may be waiting now.
    fn stuck(&self, step: &Step, how: How, l: &[(usize, u32)], done: u128, model: &Model) -> bool {
        let mut model = model.clone();
        let list = |l: &[(usize, u32)]| l.iter().map(|(o, n)| (self.handles[*o].clone(), *n)).collect::<Vec<_>>();
        let wait = |model: &mut Model, actor: u32, how: How, l: &[(usize, u32)]| {
            let entries = list(l);
            let entries: Vec<(&Handle, u32)> = entries.iter().map(|(h, n)| (h, *n)).collect();
            model.request(Claimant { process: actor, thread: 0 }, how, &entries, Until::Forever)
        };
        for (j, other) in self.steps.iter().enumerate() {
            let now = done & bit(j) == 0 && other.actor != step.actor && other.begin < step.end;
            let Some((how, l, Until::Forever)) = other.event.and_then(|e| request(&self.history.events[e].verb)) else {
                continue;
            };
            // One that would be granted here does not wait. One that will be told 1131 itself waits until then; and who
            // waits for that one may be told before it.
            let entries = list(&l);
            let entries: Vec<(&Handle, u32)> = entries.iter().map(|(h, n)| (h, *n)).collect();
            if now && !matches!(wait(&mut model.clone(), other.actor, how, &l), Reply::Granted(_)) {
                model.suppose_waiting(Claimant { process: other.actor, thread: 0 }, how, &entries);
            }
        }
        matches!(wait(&mut model, step.actor, how, l), Reply::Refused(xsem::Code::PossibleDeadlock, _))
    }
}

fn fingerprint(done: u128, state: &State) -> (u128, u64, u64) {
    let hash = |salt: u64| {
        let mut h = DefaultHasher::new();
        salt.hash(&mut h);
        state.hash(&mut h);
        h.finish()
    };
    // Two hashes: a chance hit would hide a fault once in more histories than anybody will ever record.
    (done, hash(1), hash(2))
}
