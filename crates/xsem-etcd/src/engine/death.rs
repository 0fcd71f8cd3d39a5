//! What dead owners leave.

use super::record::{Held, Party, Who};
use serde::{Deserialize, Serialize};
use std::time::{Duration, UNIX_EPOCH};
use xsem::{Cause, Deaths, Obituary, ProcessState};

/// How a death is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// Its lease ended, so it is as good as dead.
    Ended,
    /// Its thread ended.
    Thread,
    /// It said so.
    Abandoned,
    /// Its command was ended by a signal.
    Killed(u8),
    /// Somebody decided it.
    Evicted,
}

impl Why {
    /// From what the engine's users say.
    pub fn of(cause: Cause) -> Why {
        match cause {
            Cause::ThreadEnded => Why::Thread,
            Cause::Abandoned => Why::Abandoned,
            Cause::CommandKilled(signal) => Why::Killed(signal),
            Cause::Evicted => Why::Evicted,
            _ => Why::Ended,
        }
    }

    fn cause(self) -> Cause {
        match self {
            Why::Ended => Cause::ProcessEnded,
            Why::Thread => Cause::ThreadEnded,
            Why::Abandoned => Cause::Abandoned,
            Why::Killed(signal) => Cause::CommandKilled(signal),
            Why::Evicted => Cause::Evicted,
        }
    }
}

/// What a dead owner left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    who: Who,
    label: Option<String>,
    why: Why,
    since: u64,
    noticed: u64,
    token: u64,
}

impl Death {
    fn obituary(&self) -> Obituary {
        let mut o = Obituary::new(self.who.process(ProcessState::Dead), self.why.cause(), self.token);
        o.label.clone_from(&self.label);
        o.since = Some(UNIX_EPOCH + Duration::from_millis(self.since));
        o.noticed = UNIX_EPOCH + Duration::from_millis(self.noticed);
        o
    }
}

/// Deaths since the last acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dead {
    first: Death,
    latest: Death,
    count: u64,
}

impl Dead {
    /// One more: that of a party to a claim.
    pub fn after(before: Option<Dead>, c: &Held, p: &Party, why: Why, now: u64) -> Dead {
        let death = Death { who: p.who.clone(), label: c.label.clone(), why, since: c.since, noticed: now, token: c.token };
        match before {
            None => Dead { first: death.clone(), latest: death, count: 1 },
            Some(d) => Dead { first: d.first, latest: death, count: d.count + 1 },
        }
    }

    /// The latest: of which claim, and how.
    pub fn latest(&self) -> (u64, Cause) {
        (self.latest.token, self.latest.why.cause())
    }

    /// For those who are told.
    pub fn obituaries(&self) -> Deaths {
        Deaths::new(self.first.obituary(), self.latest.obituary(), self.count)
    }
}
