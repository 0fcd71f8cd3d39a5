//! What has happened: records of the last events of a namespace.

use crate::claim::{Cause, Kind, Process, age};
use crate::code::Code;
use std::fmt;
use std::time::{Duration, SystemTime};

/// What a record tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happened {
    /// Acquired, or of an event: a wait saw the signal. `took`: how long that waited; None where it was free.
    Acquired {
        /// With 105.
        died: bool,
    },
    /// Given back; `took`: held for so long.
    Released,
    /// An owner's claim ended by its death, by eviction, or was abandoned; `took`: held for so long. `who` is the owner.
    Died(Cause),
    /// Somebody said that the state is whole again.
    Consistent,
    /// A wait ended without success: 121 the time ran out, 95 cancelled, 102 drained, 1131 it would never have ended. `took`: after so long.
    Refused(Code),
    /// Somebody asked for another kind (6) or another limit (87) than it has.
    Mismatch {
        /// 6 or 87.
        code: Code,
        /// What was asked for, such as `a pool of 4`.
        asked: String,
        /// What it is.
        there: String,
    },
    /// A drain began: newcomers are refused.
    Draining,
    /// A drain came to its end; `took`: after so long.
    Drained,
    /// It was opened again.
    Reopened,
    /// An event was signalled that had not been.
    Signalled,
    /// An event was reset that had been signalled.
    Reset,
    /// Permits were added to a credit (`permits`).
    Added,
    /// Permits were used up (`permits`).
    UsedUp,
    /// It got another limit (`permits`).
    Resized,
    /// The name was made.
    Created(Kind),
    /// The name was taken away.
    Removed,
    /// From here on the history is written.
    Began,
    /// From here on it is not.
    Stopped,
}

impl Happened {
    /// A word for programs: `acquired`, `released`, `died`, ...
    pub fn as_str(&self) -> &'static str {
        match self {
            Happened::Acquired { .. } => "acquired",
            Happened::Released => "released",
            Happened::Died(_) => "died",
            Happened::Consistent => "consistent",
            Happened::Refused(_) => "refused",
            Happened::Mismatch { .. } => "mismatch",
            Happened::Draining => "draining",
            Happened::Drained => "drained",
            Happened::Reopened => "reopened",
            Happened::Signalled => "signalled",
            Happened::Reset => "reset",
            Happened::Added => "added",
            Happened::UsedUp => "used-up",
            Happened::Resized => "resized",
            Happened::Created(_) => "created",
            Happened::Removed => "removed",
            Happened::Began => "began",
            Happened::Stopped => "stopped",
        }
    }

    /// The code that somebody got.
    pub fn code(&self) -> Option<Code> {
        match self {
            Happened::Acquired { died: true } => Some(Code::SemOwnerDied),
            Happened::Refused(code) | Happened::Mismatch { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Counts the records of a namespace.
    pub position: u64,
    /// When, by the wall clock.
    pub at: SystemTime,
    /// When, by the machine's monotonic clock; zero where several machines share the namespace.
    pub monotonic: Duration,
    /// The semaphore; empty where it is about the namespace. A long one is cut.
    pub name: String,
    /// Who; its state is not looked up, and is [`Unseen`](crate::ProcessState::Unseen).
    pub process: Process,
    /// The claimant in that process.
    pub claimant: u32,
    /// What.
    pub what: Happened,
    /// The fencing token of the claim; 0: none.
    pub token: u64,
    /// Permits.
    pub permits: u32,
    /// How long that took.
    pub took: Option<Duration>,
}

impl Record {
    /// For engines: something that happened now and to one permit, without the rest.
    pub fn new(position: u64, at: SystemTime, name: impl Into<String>, process: Process, what: Happened) -> Record {
        let (name, monotonic) = (name.into(), Duration::ZERO);
        Record { position, at, monotonic, name, process, claimant: 0, what, token: 0, permits: 1, took: None }
    }
}

impl fmt::Display for Record {
    /// What, without when, which semaphore and who.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = |word: &str| self.took.map_or(String::new(), |d| format!(" {word} {}", age(d)));
        let n = self.permits;
        let permits = if n == 1 { String::new() } else { format!(" {n} permits") };
        match &self.what {
            Happened::Acquired { died } => {
                let told = if *died { ", and was told that the owner before it had died (105)" } else { "" };
                write!(f, "acquired{permits}{}{told}", took("after"))
            }
            Happened::Released => write!(f, "released{permits}{}", took("after")),
            Happened::Died(Cause::Evicted) => write!(f, "was evicted{}", took("after holding it for")),
            Happened::Died(Cause::Abandoned) => write!(f, "abandoned it{}", took("after")),
            Happened::Died(cause) => write!(f, "died as owner: {cause}{}", took("after holding it for")),
            Happened::Consistent => f.write_str("said that what it protects is in order"),
            Happened::Refused(Code::SemTimeout) => write!(f, "ran out of time{} (121)", took("after")),
            Happened::Refused(Code::Interrupt) => write!(f, "gave up waiting{} (95)", took("after")),
            Happened::Refused(Code::SemIsSet) => f.write_str("was refused: it is drained (102)"),
            Happened::Refused(Code::PossibleDeadlock) => write!(f, "would have waited for ever{} (1131)", took("after")),
            Happened::Refused(code) => write!(f, "was refused ({})", code.number()),
            Happened::Mismatch { code, asked, there } => write!(f, "asked for {asked}, but it is {there} ({})", code.number()),
            Happened::Draining => f.write_str("began to drain it"),
            Happened::Drained => write!(f, "drained it{}", took("after")),
            Happened::Reopened => f.write_str("opened it again"),
            Happened::Signalled => f.write_str("signalled it"),
            Happened::Reset => f.write_str("reset it"),
            Happened::Added => write!(f, "added {n} permit{}", if n == 1 { "" } else { "s" }),
            Happened::UsedUp => write!(f, "used {n} permit{} up", if n == 1 { "" } else { "s" }),
            Happened::Resized => write!(f, "set its limit to {n}"),
            Happened::Created(kind) => write!(f, "created it ({kind})"),
            Happened::Removed => f.write_str("removed it"),
            Happened::Began => f.write_str("switched the history on"),
            Happened::Stopped => f.write_str("switched the history off"),
        }
    }
}

/// What is there of a namespace's history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// Whether it is written, and for how many records there is room.
    pub recording: Option<u32>,
    /// The oldest first.
    pub records: Vec<Record>,
    /// How far back it goes, in words, where the store decides that and not who switched it on.
    pub reach: Option<String>,
}

impl History {
    /// For engines: these records.
    pub fn new(recording: Option<u32>, records: Vec<Record>) -> History {
        History { recording, records, reach: None }
    }

    /// For engines: it goes back so far.
    pub fn reaching(self, reach: impl Into<String>) -> History {
        History { reach: Some(reach.into()), ..self }
    }
}
