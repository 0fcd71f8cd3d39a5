//! A history as the steps that the checker has to put in order.
//!
//! Most operations are one step. Those that looked at several semaphores one after the other, and took none or one, are a
//! step per semaphore: "this one could not be had" is true at some instant of the operation for each of them, though not
//! at the same instant for all.

use super::{Event, History};
use crate::model::{How, Until};
use crate::protocol::{Answer, Till, Verb};
use std::collections::HashMap;

/// What happens at one instant.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// The list is granted, all of it, with these tokens and 105 or not for each; they become these claims.
    Take { list: Vec<(usize, u32)>, claims: Vec<usize>, tokens: Vec<u64>, died: Vec<bool>, count: Option<u64> },
    /// A request whose actor died in it: granted or not, like this.
    MayTake { how: How, list: Vec<(usize, u32)>, claims: Vec<usize> },
    /// This cannot be had now.
    Busy { object: usize, permits: u32, code: u32 },
    /// Not all of this can be had now.
    NotAll { list: Vec<(usize, u32)> },
    /// Waiting for this would be for ever: 1131.
    Stuck { how: How, list: Vec<(usize, u32)> },
    /// The request is refused with another code.
    Refuse { how: How, list: Vec<(usize, u32)>, until: Until, code: u32 },
    /// Something with a claim, and its code (0: done).
    With { claim: usize, act: Act, code: u32 },
    /// Something with a semaphore, and its code.
    On { object: usize, act: Act, code: u32 },
    /// The numbers of a semaphore, or of a claim's slots.
    Capacity { object: usize, numbers: Vec<u32> },
    /// The slots of a claim.
    Slots { claim: usize, slots: Vec<u32> },
    /// Something with an event; and what came of it, if that is known.
    Turn { object: usize, turn: Turn, is: Option<bool> },
    /// The claim ends, since its owner died. Nothing if there is no such claim (any more).
    Ends { claim: usize },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Release,
    ReleaseSome(u32),
    Forget,
    Abandon,
    Mark,
    Held,
    Add(u32),
    Resize(u32),
}

/// What is done with an event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    Signal,
    Reset,
    Look,
}

/// One instant to find.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// The event that it is of; `None` for what a death does.
    pub(super) event: Option<usize>,
    pub(super) actor: u32,
    pub(super) begin: u64,
    pub(super) end: u64,
    /// It happened for certain. Otherwise its actor died in it.
    pub(super) must: bool,
    pub(super) what: What,
}

/// All steps, and the claims that they speak of.
#[derive(Debug, Default)]
pub(super) struct Steps {
    pub(super) steps: Vec<Step>,
    /// Whose each claim is.
    pub(super) claims: Vec<u32>,
    /// Claims of each actor by the number of its guard.
    guards: HashMap<(u32, usize), usize>,
}

impl Steps {
    pub(super) fn of(history: &History) -> Steps {
        let mut s = Steps::default();
        for (i, e) in history.events.iter().enumerate() {
            // What an actor was told after its end began, it may have been told or not.
            let death = history.deaths.iter().find(|d| d.actor == e.actor);
            match &e.end {
                Some((end, answer)) if death.is_none_or(|d| *end < d.from) => s.done(history, i, e, *end, answer),
                _ => s.undone(i, e, death.map_or(u64::MAX, |d| d.to)),
            }
        }
        for d in &history.deaths {
            for claim in (0..s.claims.len()).filter(|&c| s.claims[c] == d.actor) {
                let what = What::Ends { claim };
                s.steps.push(Step { event: None, actor: d.actor, begin: d.from, end: d.to, must: true, what });
            }
        }
        s
    }

    fn claim(&mut self, actor: u32, guard: Option<usize>) -> usize {
        self.claims.push(actor);
        if let Some(g) = guard {
            self.guards.insert((actor, g), self.claims.len() - 1);
        }
        self.claims.len() - 1
    }

    fn done(&mut self, history: &History, i: usize, e: &Event, end: u64, answer: &Answer) {
        let mut push =
            |what: What| self.steps.push(Step { event: Some(i), actor: e.actor, begin: e.begin, end, must: true, what });
        if let Some((how, list, until)) = request(&e.verb) {
            match answer {
                Answer::Granted { guard, token, died } => {
                    let count = died.as_ref().and_then(|d| d.as_ref().map(|d| d.2));
                    let claims = vec![self.claim(e.actor, Some(*guard))];
                    let what = What::Take { claims, tokens: vec![*token], died: vec![died.is_some()], count, list };
                    self.steps.push(Step { event: Some(i), actor: e.actor, begin: e.begin, end, must: true, what });
                }
                // An event was signalled.
                Answer::Done => {
                    let claims = vec![self.claim(e.actor, None)];
                    let what = What::Take { claims, tokens: vec![0], died: vec![false], count: None, list };
                    self.steps.push(Step { event: Some(i), actor: e.actor, begin: e.begin, end, must: true, what });
                }
                Answer::Taken { index, guard, token, died } => {
                    for &(object, permits) in &list[..*index] {
                        push(What::Busy { object, permits, code: 121 });
                    }
                    let claims = vec![self.claim(e.actor, Some(*guard))];
                    let list = vec![list[*index]];
                    let what = What::Take { claims, tokens: vec![*token], died: vec![*died], count: None, list };
                    self.steps.push(Step { event: Some(i), actor: e.actor, begin: e.begin, end, must: true, what });
                }
                Answer::All { guards, tokens, died } => {
                    let claims = guards.iter().map(|g| self.claim(e.actor, Some(*g))).collect();
                    let died = (0..list.len()).map(|i| died.contains(&i)).collect();
                    let what = What::Take { claims, tokens: tokens.clone(), died, count: None, list };
                    self.steps.push(Step { event: Some(i), actor: e.actor, begin: e.begin, end, must: true, what });
                }
                refused => match (refused.code().unwrap_or(u32::MAX), how) {
                    (1131, _) => push(What::Stuck { how, list }),
                    (code @ (101 | 121), How::One) => push(What::Busy { object: list[0].0, permits: list[0].1, code }),
                    (121, How::Any) => {
                        list.iter().for_each(|&(object, permits)| push(What::Busy { object, permits, code: 121 }));
                    }
                    (121, How::All) => push(What::NotAll { list }),
                    (code, _) => push(What::Refuse { how, list, until, code }),
                },
            }
            return;
        }
        let code = answer.code().unwrap_or(if matches!(answer, Answer::Broken(_)) { u32::MAX } else { 0 });
        let what = match (&e.verb, answer) {
            (Verb::Capacity(object), Answer::Numbers(n)) => What::Capacity { object: *object, numbers: n.clone() },
            (Verb::Signal(object), Answer::Is(is)) => What::Turn { object: *object, turn: Turn::Signal, is: Some(*is) },
            (Verb::Reset(object), Answer::Is(is)) => What::Turn { object: *object, turn: Turn::Reset, is: Some(*is) },
            (Verb::State(object), Answer::Is(is)) => What::Turn { object: *object, turn: Turn::Look, is: Some(*is) },
            (Verb::Slots(g), Answer::Numbers(n)) => What::Slots { claim: self.guards[&(e.actor, *g)], slots: n.clone() },
            (Verb::Held(_), Answer::Is(is)) => self.action(e, if *is { 0 } else { 288 }),
            _ => self.action(e, code),
        };
        debug_assert!(history.objects.len() < 64, "objects are numbered");
        self.steps.push(Step { event: Some(i), actor: e.actor, begin: e.begin, end, must: true, what });
    }

    fn action(&self, e: &Event, code: u32) -> What {
        let with = |g: &usize, act: Act| What::With { claim: self.guards[&(e.actor, *g)], act, code };
        match &e.verb {
            Verb::Release(g) => with(g, Act::Release),
            Verb::ReleaseSome(g, n) => with(g, Act::ReleaseSome(*n)),
            Verb::Forget(g) => with(g, Act::Forget),
            Verb::Abandon(g) => with(g, Act::Abandon),
            Verb::MarkConsistent(g) => with(g, Act::Mark),
            Verb::Held(g) | Verb::Slots(g) => with(g, Act::Held),
            Verb::Signal(object) => What::Turn { object: *object, turn: Turn::Signal, is: None },
            Verb::Reset(object) => What::Turn { object: *object, turn: Turn::Reset, is: None },
            Verb::Add(object, n) => What::On { object: *object, act: Act::Add(*n), code },
            Verb::Resize(object, n) => What::On { object: *object, act: Act::Resize(*n), code },
            Verb::Capacity(object) => What::Capacity { object: *object, numbers: Vec::new() },
            other => panic!("`{other}` is not for histories"),
        }
    }

    /// What its actor did not survive.
    fn undone(&mut self, i: usize, e: &Event, end: u64) {
        let step = |what: What| Step { event: Some(i), actor: e.actor, begin: e.begin, end, must: false, what };
        // It may have been answered after its actor's end began; later commands then speak of these guards.
        let guard = |k: usize| match &e.end {
            Some((_, Answer::Granted { guard, .. })) => Some(*guard),
            Some((_, Answer::Taken { index, guard, .. })) if *index == k => Some(*guard),
            Some((_, Answer::All { guards, .. })) => guards.get(k).copied(),
            _ => None,
        };
        match request(&e.verb) {
            None if matches!(e.verb, Verb::Capacity(_) | Verb::Slots(_) | Verb::Held(_) | Verb::State(_)) => {}
            None => {
                let what = self.action(e, 0);
                self.steps.push(step(what));
            }
            // It may have taken any of them; the checker sees to it that it is one.
            Some((How::Any, list, _)) => {
                for (k, entry) in list.into_iter().enumerate() {
                    let claims = vec![self.claim(e.actor, guard(k))];
                    self.steps.push(step(What::MayTake { how: How::One, list: vec![entry], claims }));
                }
            }
            Some((how, list, _)) => {
                let claims = (0..list.len()).map(|k| self.claim(e.actor, guard(k))).collect();
                self.steps.push(step(What::MayTake { how, list, claims }));
            }
        }
    }
}

/// How many of which list, and until when.
pub(super) type Request = (How, Vec<(usize, u32)>, Until);

/// The verb as a request.
pub(super) fn request(verb: &Verb) -> Option<Request> {
    let until = |till: &Till| match till {
        Till::Now => Until::Now,
        Till::Ms(_) => Until::Deadline,
        Till::Ever => Until::Forever,
    };
    Some(match verb {
        Verb::Try(h) => (How::One, vec![(*h, 1)], Until::Now),
        Verb::Timeout(h, _) => (How::One, vec![(*h, 1)], Until::Deadline),
        Verb::Acquire(h) => (How::One, vec![(*h, 1)], Until::Forever),
        Verb::Ask(h, n, till, _) => (How::One, vec![(*h, *n)], until(till)),
        Verb::Any(l, till) => (How::Any, l.clone(), until(till)),
        Verb::All(l, till) => (How::All, l.clone(), until(till)),
        _ => return None,
    })
}
