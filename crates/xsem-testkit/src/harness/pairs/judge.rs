//! Is there an order in which the reference model says what everybody was told?
//!
//! Each operation happens at an instant between its beginning and its end; one that waits has two (it begins to wait, it ends),
//! and so has a drain. A death happens between the beginning of the kill and the end of the process. What a dead process had
//! not been told happened or not. The search tries all orders that the times allow, and no situation twice.

use super::log::{Act, Answer, Death, UNTOLD};
use super::ops::{ACTORS, Actor, Op, Way};
use crate::harness::player::SEM;
use crate::model::{Claim, Claimant, Drained, Grant, Handle, How, Limits, Model, Reply, Until};
use crate::protocol::What;
use std::collections::HashSet;
use std::fmt::Write;
use xsem::engine::Spec;
use xsem::{Code, Reset};

/// A waiter that died may keep its reservation until that lapses; generous, since this only forgives.
const LAPSE: u64 = 50_000_000;

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Todo,
    /// It waits, or drains.
    Waits,
    Over,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    model: Model,
    stages: Vec<Stage>,
    /// Which deaths have happened.
    dead: Vec<bool>,
    handles: [Option<Handle>; ACTORS],
    claims: [Vec<Claim>; ACTORS],
    /// Whose latest claim is one whose release is prepared: it cannot be shared.
    prepared: [bool; ACTORS],
    /// The last token of an exclusive semaphore.
    token: u64,
}

struct Search<'a> {
    what: What,
    acts: &'a [Act],
    deaths: &'a [Death],
    seen: HashSet<State>,
    /// The furthest that was come: how many, and what was over then.
    best: (usize, Vec<Stage>),
}

/// Looks for an order. The error says what was seen.
pub(super) fn explain(what: What, acts: &[Act], deaths: &[Death]) -> Result<(), String> {
    let state = State {
        model: Model::new(Limits::default()),
        stages: vec![Stage::Todo; acts.len()],
        dead: vec![false; deaths.len()],
        handles: Default::default(),
        claims: Default::default(),
        prepared: Default::default(),
        token: 0,
    };
    let mut search = Search { what, acts, deaths, seen: HashSet::new(), best: (0, state.stages.clone()) };
    match search.go(&state) {
        true => Ok(()),
        false => Err(search.text()),
    }
}

fn code_of<T>(r: &Result<T, Code>) -> u32 {
    r.as_ref().err().map_or(0, |c| c.number())
}

impl Search<'_> {
    fn go(&mut self, state: &State) -> bool {
        let ends = |i: usize| self.acts[i].end.map(|e| e.0).filter(|_| state.stages[i] != Stage::Over);
        let deaths = self.deaths.iter().zip(&state.dead).filter(|(_, happened)| !**happened).map(|(d, _)| d.to);
        let Some(first_end) = (0..self.acts.len()).filter_map(ends).chain(deaths).min() else { return true };
        if self.seen.contains(state) {
            return false;
        }
        self.seen.insert(state.clone());
        let over = state.stages.iter().filter(|s| **s == Stage::Over).count();
        if over > self.best.0 {
            self.best = (over, state.stages.clone());
        }
        let mut next = Vec::new();
        for i in 0..self.acts.len() {
            if state.stages[i] != Stage::Over && self.acts[i].begin <= first_end && self.is_next(i, state) {
                self.happens(i, state, &mut next);
            }
        }
        for (i, d) in self.deaths.iter().enumerate() {
            let told = (0..self.acts.len())
                .all(|j| self.acts[j].actor != d.actor || self.acts[j].end.is_none() || state.stages[j] == Stage::Over);
            if !state.dead[i] && d.from <= first_end && told {
                let mut after = state.clone();
                after.dead[i] = true;
                after.model.process_ended(d.actor as u32);
                next.push(after);
            }
        }
        next.iter().any(|after| self.go(after))
    }

    /// Operations of one actor come one after the other, and none after its death.
    fn is_next(&self, i: usize, state: &State) -> bool {
        let actor = self.acts[i].actor;
        let earlier = (0..i).all(|j| self.acts[j].actor != actor || state.stages[j] == Stage::Over);
        earlier && !self.has_died(actor, state)
    }

    fn has_died(&self, actor: Actor, state: &State) -> bool {
        self.deaths.iter().zip(&state.dead).any(|(d, dead)| d.actor == actor && *dead)
    }

    /// What the next instant of an operation can lead to.
    fn happens(&self, i: usize, state: &State, next: &mut Vec<State>) {
        let mut to = |stage: Stage, f: &dyn Fn(&mut State) -> bool| {
            let mut after = state.clone();
            if f(&mut after) {
                after.stages[i] = stage;
                next.push(after);
            }
        };
        let (act, waits) = (&self.acts[i], state.stages[i] == Stage::Waits);
        let who = Claimant { process: act.actor as u32, thread: u32::from(matches!(act.op.request(), Some((_, Way::Dropped)))) };
        // The other one of a list is there for whoever asks.
        let how = if let Op::All(..) = act.op { How::All } else { How::One };
        // Of an operation that was not told anything, anything may have come.
        let says = |code: u32| act.end.is_none_or(|(_, a)| a.code == code);
        let number = |n: u64| act.end.is_none_or(|(_, a)| a.code != 0 || a.number == n);
        match act.op {
            Op::Ask(n, way) | Op::All(n, way) if !waits => {
                let until = if way == Way::Now {
                    Until::Now
                } else if way == Way::Ever {
                    Until::Forever
                } else {
                    Until::Deadline
                };
                let Some(handle) = &state.handles[act.actor as usize] else { return };
                let list = [(handle, u32::from(n))];
                match state.model.clone().request(who, how, &list, until) {
                    Reply::Granted(_) => {
                        to(Stage::Over, &|s| self.is_granted(i, s, |m| grant(m.request(who, how, &list, until))));
                        // A limit that is lowered after the request was made makes it one that waits in vain, also for no time.
                        if way == Way::Now && self.meets(i, |op| matches!(op, Op::Resize(_))) {
                            to(Stage::Waits, &|s| {
                                s.model.suppose_waiting(who, how, &list);
                                true
                            });
                        }
                        // What is free may be kept for somebody who waits.
                        if self.is_reserved(i) {
                            match way {
                                Way::Now => to(Stage::Over, &|_| says(101) || says(121)),
                                _ => to(Stage::Waits, &|s| {
                                    s.model.suppose_waiting(who, how, &list);
                                    true
                                }),
                            }
                        }
                    }
                    Reply::Waits => to(Stage::Waits, &|s| s.model.request(who, how, &list, until) == Reply::Waits),
                    Reply::Refused(code, _) => to(Stage::Over, &|_| says(code.number())),
                }
            }
            Op::Ask(..) | Op::All(..) => {
                to(Stage::Over, &|s| self.is_granted(i, s, |m| m.granted(who).map(|mut g| g.remove(0).1)));
                let at_once = matches!(act.op.request(), Some((_, Way::Now)));
                to(Stage::Over, &|s| {
                    let in_vain = !at_once || s.model.clone().granted(who).is_none();
                    s.model.stop_waiting(who);
                    in_vain && says(Code::SemTimeout.number())
                });
            }
            Op::Drain(_) if !waits => {
                match state.model.clone().drain(who, SEM) {
                    Drained::Refused(code) => to(Stage::Over, &|_| says(code.number())),
                    _ => to(Stage::Waits, &|s| {
                        s.model.drain(who, SEM);
                        true
                    }),
                }
                // A drain, and a reopening, last until they say that they are over, also where nothing is left to be done.
                let drains = |j: usize| {
                    let other = matches!(self.acts[j].op, Op::Drain(_)) && state.stages[j] == Stage::Waits;
                    other && !self.has_died(self.acts[j].actor, state)
                };
                if (0..self.acts.len()).any(drains) || self.meets(i, |op| op == Op::Reopen) {
                    to(Stage::Over, &|_| says(Code::SemIsSet.number()));
                }
            }
            Op::Drain(_) => {
                to(Stage::Over, &|s| s.model.is_drained(SEM) && says(0));
                to(Stage::Over, &|s| {
                    s.model.stop_draining(who);
                    !s.model.is_drained(SEM) && says(Code::SemTimeout.number())
                });
                // Somebody has reopened it.
                to(Stage::Over, &|s| !s.model.inspect(SEM).is_ok_and(|v| v.drained) && says(Code::Interrupt.number()));
            }
            // It looks, and then removes what it has seen idle: who finds nothing may have looked at another time.
            Op::Gc => {
                to(Stage::Over, &|s| number(1) && s.model.remove(SEM).is_ok());
                // An ephemeral name ends with its last user; its room is taken back by whoever comes next.
                let ephemeral = self.acts.iter().any(|a| a.op == Op::MakeEphemeral);
                to(Stage::Over, &|s| ephemeral && number(1) && s.model.inspect(SEM).is_err());
                to(Stage::Over, &|_| number(0));
            }
            // A claim whose owner is dead ends once, whoever ends it, the death or the eviction; both have said so then.
            Op::Evict(whom) if self.has_died(whom, state) && act.end.is_none_or(|e| e.1.code == 0) => {
                to(Stage::Over, &|s| s.model.inspect(SEM).is_ok());
            }
            // The claim of a dead owner can be shared until somebody takes it over, as what its covered command starts does.
            Op::Join(whom) if self.has_died(whom, state) => {
                let one = |s: &State| Some((s.handles[act.actor as usize].clone()?, s.claims[whom as usize].first().copied()?));
                to(Stage::Over, &|s| {
                    let Some((handle, claim)) = one(s) else { return false };
                    s.claims[act.actor as usize].push(claim);
                    says(0) && number(1) && s.model.join_dead(act.actor as u32, &handle, claim.token) == Ok(true)
                });
                to(Stage::Over, &|_| says(0) && number(0));
            }
            op => to(Stage::Over, &|s| {
                let (code, n) = self.at_once(op, act.actor, s);
                says(code) && number(n.unwrap_or(act.end.map_or(0, |e| e.1.number)))
            }),
        }
    }

    /// A request is granted: this is what it must have been told.
    fn is_granted(&self, i: usize, s: &mut State, f: impl FnOnce(&mut Model) -> Option<Grant>) -> bool {
        let Some(grant) = f(&mut s.model) else { return false };
        let act = &self.acts[i];
        let event = matches!(self.what, What::Manual(_) | What::Auto(_));
        if !event {
            s.claims[act.actor as usize].push(grant.claim);
        }
        let Some((_, Answer { code, token, number })) = act.end else { return true };
        let died = if code == Code::SemOwnerDied.number() { Some(number) } else { None };
        let same_death = match (grant.died, died) {
            (None, None) => code == 0,
            (Some(d), Some(told)) => told == d.count || told == UNTOLD,
            _ => false,
        };
        let exclusive = self.what == What::Exclusive;
        let grows = !exclusive || if grant.nested { token == s.token } else { token > s.token };
        s.token = token;
        same_death && grows
    }

    /// What has one instant: its code, and what else it says.
    fn at_once(&self, op: Op, actor: Actor, s: &mut State) -> (u32, Option<u64>) {
        let (me, m) = (actor as usize, &mut s.model);
        let is_new = op != Op::Open && m.inspect(SEM).is_err();
        let mut opens = |m: &mut Model, r: Result<Handle, Code>| {
            let code = code_of(&r);
            if let Ok(handle) = r {
                // Another object, with tokens of its own.
                if is_new {
                    s.token = 0;
                }
                s.handles[me] = Some(m.opened_by(me as u32, handle));
            }
            (code, None)
        };
        let changed = |r: Result<bool, Code>| (code_of(&r), r.ok().map(u64::from));
        let last = s.claims[me].last().copied();
        let mine = last.ok_or(Code::NotOwner);
        let plain = |r: Result<(), Code>| (code_of(&r), None);
        match op {
            Op::Make => {
                let r = m.make(SEM, &spec(self.what));
                opens(m, r)
            }
            Op::MakeEphemeral => {
                let mut ephemeral = spec(self.what);
                ephemeral.ephemeral = true;
                let r = m.make(SEM, &ephemeral);
                opens(m, r)
            }
            Op::Open => {
                let r = m.open_kind(SEM, spec(self.what).kind);
                opens(m, r)
            }
            Op::Either => {
                let r = m.open_or_make(SEM, &spec(self.what));
                opens(m, r)
            }
            Op::Close => {
                let Some(handle) = s.handles[me].clone() else { return (Code::InvalidHandle.number(), None) };
                let r = m.close(&handle);
                if r.is_ok() {
                    s.handles[me] = None;
                }
                plain(r)
            }
            Op::Remove => plain(m.remove(SEM)),
            Op::Inspect => plain(m.inspect(SEM).map(drop)),
            Op::Release => {
                s.claims[me].pop();
                plain(mine.and_then(|c| match self.what {
                    What::Exclusive => m.release_part_of(me as u32, c),
                    _ => m.release_claim(c),
                }))
            }
            Op::Part(n) => plain(mine.and_then(|c| m.release_part(c, n.into()))),
            Op::Forget => {
                s.claims[me].pop();
                plain(mine.and_then(|c| m.forget(c)))
            }
            Op::Abandon => {
                s.claims[me].pop();
                plain(mine.and_then(|c| m.abandon(c)))
            }
            Op::Mark => plain(mine.and_then(|c| m.mark_consistent(c))),
            Op::Prepare => plain(mine.and_then(|c| match m.is_held(c) {
                true if m.is_shared(c) => Err(Code::InvalidFunction),
                held => {
                    s.prepared[me] = held;
                    held.then_some(()).ok_or(Code::NotOwner)
                }
            })),
            Op::Join(whom) => {
                let claim = s.claims[whom as usize].first().copied().filter(|_| !s.prepared[whom as usize]);
                let (Some(h), Some(claim)) = (&s.handles[me], claim) else { return (0, Some(0)) };
                let r = m.join(me as u32, h, claim.token);
                if r == Ok(true) {
                    s.claims[me].push(claim);
                }
                changed(r)
            }
            Op::Evict(whom) => match s.claims[whom as usize].last().copied() {
                Some(claim) => plain(m.evict(SEM, claim.token)),
                None => plain(m.evict(SEM, u64::MAX)),
            },
            Op::Reopen => plain(m.reopen(SEM).map(drop)),
            Op::Signal | Op::Reset | Op::Look | Op::Add(_) | Op::Resize(_) | Op::Capacity => {
                let Some(h) = &s.handles[me] else { return (Code::InvalidHandle.number(), None) };
                match op {
                    Op::Signal => changed(m.signal(h)),
                    Op::Reset => changed(m.reset(h)),
                    Op::Look => changed(m.signalled(h).map(|s| s.is_set)),
                    Op::Add(n) => plain(m.add_permits(h, n.into())),
                    Op::Resize(n) => plain(m.resize(h, n.into())),
                    _ => {
                        let r = m.capacity(h);
                        let n = |c: xsem::Capacity| u64::from(c.limit) << 32 | u64::from(c.total) << 16 | u64::from(c.free);
                        (code_of(&r), r.ok().map(n))
                    }
                }
            }
            Op::Ask(..) | Op::All(..) | Op::Drain(_) | Op::Gc => unreachable!("these are not over at once"),
        }
    }

    /// Whether somebody else, who lives, is at such an operation at the same time.
    fn meets(&self, i: usize, f: impl Fn(Op) -> bool) -> bool {
        let (me, ends) = (&self.acts[i], |a: &Act| a.end.map_or(u64::MAX, |e| e.0));
        let beside = |o: &Act| o.actor != me.actor && o.begin < ends(me) && ends(o) > me.begin;
        self.acts.iter().any(|o| f(o.op) && beside(o) && !self.deaths.iter().any(|d| d.actor == o.actor))
    }

    /// Whether somebody else waits at that time, so that what is free may be kept for it (rule 5).
    fn is_reserved(&self, i: usize) -> bool {
        let me = &self.acts[i];
        self.acts.iter().any(|o| {
            let dead = self.deaths.iter().any(|d| d.actor == o.actor);
            let until = match (o.end, dead) {
                (Some((end, _)), _) => end,
                (None, true) => self.deaths.iter().find(|d| d.actor == o.actor).map_or(u64::MAX, |d| d.to.saturating_add(LAPSE)),
                (None, false) => u64::MAX,
            };
            let waits = o.op.request().is_some_and(|(_, way)| way != Way::Now);
            o.actor != me.actor && waits && o.begin < me.end.map_or(u64::MAX, |e| e.0) && until > me.begin
        })
    }

    /// What was seen, and how far an explanation came; one line, since it goes through a report.
    fn text(&self) -> String {
        let zero = self.acts.iter().map(|a| a.begin).min().unwrap_or(0);
        let us = |t: u64| t.saturating_sub(zero) / 1000;
        let mut text = format!("no order explains this ({:?}; `!`: not explained, on the best way): ", self.what);
        for (a, stage) in self.acts.iter().zip(&self.best.1) {
            let mark = if *stage == Stage::Over { "" } else { "!" };
            let _ = match a.end {
                Some((end, Answer { code, token, number })) => {
                    write!(text, "{mark}{} {}..{} {} -> {code} {token} {number}; ", a.actor.name(), us(a.begin), us(end), a.op)
                }
                None => write!(text, "{mark}{} {}.. {}; ", a.actor.name(), us(a.begin), a.op),
            };
        }
        for d in self.deaths {
            let _ = write!(text, "{} dies {}..{}; ", d.actor.name(), us(d.from), us(d.to));
        }
        text
    }
}

fn grant(r: Reply) -> Option<Grant> {
    match r {
        Reply::Granted(mut one) => Some(one.remove(0).1),
        _ => None,
    }
}

/// The semaphore of a world, as an engine is asked for it.
fn spec(what: What) -> Spec {
    match what {
        What::Exclusive => Spec::exclusive(),
        What::Pool(n) => Spec::pool(n),
        What::Credit(n, initial) => Spec::credit(n, initial),
        What::Manual(set) => Spec::event(Reset::Manual, set),
        What::Auto(set) => Spec::event(Reset::Auto, set),
    }
}
