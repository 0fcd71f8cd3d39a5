//! The state machine, rule by rule (the numbers are those of `engine.rs`), its order, and at random.

mod deadlocks;
mod events;
mod order;
mod permits;
mod random;
mod rules;

use super::*;
use crate::claim::{Process, ProcessState, Wants};
use crate::engine::{Claim, Ending, Grant, Spec};
use crate::error::{Code, Error, Result};
use crate::name::Name;

/// A namespace with a clock that goes on by itself.
struct World {
    s: State,
    t: u64,
}

/// What was granted: index in the list, claim, whether the mark is set.
type Granted = Vec<(usize, Claim, bool)>;

impl World {
    fn new() -> World {
        World { s: State::new("memory:test", 100), t: 1000 }
    }

    fn now(&mut self) -> Now {
        self.t += 1;
        Now { mono: self.t, wall: self.t + 1_000_000 }
    }

    /// A session, whose pid is its number.
    fn session(&mut self) -> u64 {
        let pid = 100 + self.s.sessions.len() as u32;
        self.s.begin_session(Process::new(pid, 0, format!("p{pid}"), ProcessState::Alive))
    }

    fn make(&mut self, session: u64, name: &str, spec: Spec) -> u64 {
        let now = self.now();
        self.s.open_or_create(session, &Name::new(name).unwrap(), &spec, now).unwrap()
    }

    fn ask(&mut self, who: Who, wants: Wants, list: &[(u64, u32)], patience: Patience) -> Result<Answer> {
        let now = self.now();
        self.s.ask(&Ask { who, wants, list, patience, label: None }, now)
    }

    /// Asks for ever; None: it waits.
    fn wants(&mut self, who: Who, wants: Wants, list: &[(u64, u32)]) -> Result<(u64, Option<Granted>)> {
        match self.ask(who, wants, list, Patience::Unlimited)? {
            Answer::Granted(g) => Ok((0, Some(plain(g)))),
            Answer::Waits(id) => Ok((id, None)),
        }
    }

    /// One claim, which must be free.
    fn take(&mut self, who: Who, handle: u64, permits: u32) -> Claim {
        match self.ask(who, Wants::One, &[(handle, permits)], Patience::Now) {
            Ok(Answer::Granted(g)) => g[0].1.claim,
            other => panic!("not free: {other:?}"),
        }
    }

    /// One claim at once, or the code.
    fn try_take(&mut self, who: Who, handle: u64, permits: u32) -> std::result::Result<Grant, Code> {
        match self.ask(who, Wants::One, &[(handle, permits)], Patience::Now) {
            Ok(Answer::Granted(mut g)) => Ok(g.remove(0).1),
            Ok(Answer::Waits(_)) => panic!("it waits without patience"),
            Err(e) => Err(e.code()),
        }
    }

    /// A wait for one semaphore, which must not be free.
    fn wait(&mut self, who: Who, handle: u64, permits: u32) -> u64 {
        self.wait_for(who, Wants::One, &[(handle, permits)])
    }

    fn wait_for(&mut self, who: Who, wants: Wants, list: &[(u64, u32)]) -> u64 {
        match self.wants(who, wants, list) {
            Ok((id, None)) => id,
            other => panic!("it does not wait: {other:?}"),
        }
    }

    /// What a wait has been granted; None while it lasts.
    fn got(&mut self, wait: u64) -> Option<Granted> {
        self.s.outcome(wait).map(|o| plain(o.expect("granted")))
    }

    /// The error that a wait has ended with.
    fn failed(&mut self, wait: u64) -> Error {
        self.s.outcome(wait).expect("it has ended").expect_err("an error")
    }

    fn release(&mut self, handle: u64, claim: Claim) {
        let now = self.now();
        self.s.release(handle, &claim, Ending::Release, now).unwrap();
    }

    fn report(&mut self, name: &str) -> crate::claim::Report {
        let now = self.now();
        self.s.inspect(&Name::new(name).unwrap(), now).unwrap()
    }
}

fn plain(granted: Vec<(usize, Grant)>) -> Granted {
    granted.into_iter().map(|(i, g)| (i, g.claim, g.died.is_some())).collect()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn who(session: u64, claimant: u32) -> Who {
    Who { session, claimant }
}

fn code<T: std::fmt::Debug>(r: Result<T>) -> Code {
    r.expect_err("an error").code()
}
