//! What people ask about a semaphore: who holds it, who waits, who died, and the numbers.

use std::fmt;
use std::time::{Duration, SystemTime};

/// The three kinds of semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// One owner; nests for the same claimant.
    Exclusive,
    /// Permits, each with a holder.
    Counting,
    /// Signalled or reset.
    Event,
}

impl Kind {
    /// `exclusive`, `counting` or `event`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Exclusive => "exclusive",
            Kind::Counting => "counting",
            Kind::Event => "event",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of a process from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProcessState {
    /// Runs or sleeps.
    Alive,
    /// Stopped (SIGSTOP, Ctrl-Z, a debugger): alive, and it keeps what it claimed.
    Stopped,
    /// Told dead by the kernel, and still being taken apart: its claims are free in a moment.
    Dying,
    /// Gone.
    Dead,
    /// Alive, but in a pid namespace or behind a `/proc` that cannot be looked into from here.
    Unseen,
}

impl ProcessState {
    /// `alive`, `stopped`, `dying`, `dead` or `unseen`.
    pub fn as_str(self) -> &'static str {
        match self {
            ProcessState::Alive => "alive",
            ProcessState::Stopped => "stopped",
            ProcessState::Dying => "dying",
            ProcessState::Dead => "dead",
            ProcessState::Unseen => "unseen",
        }
    }
}

/// A process as others see it. `pid` is the number in its own pid namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// Process id, as the process itself sees it. 0 when it is not known any more.
    pub pid: u32,
    /// Real user id.
    pub uid: u32,
    /// What it runs: its command line, shortened, or the wrapped command of `xsem run`.
    pub command: String,
    /// Alive, stopped, dying, dead, unseen.
    pub state: ProcessState,
}

impl Process {
    /// The user's name, or the number when it has none. Asks the system's user database.
    pub fn user(&self) -> String {
        crate::shm::user_name(self.uid)
    }
}

/// One owner's hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Who.
    pub process: Process,
    /// The claimant inside the process: a small number per thread (0: not known at this instant).
    pub claimant: u32,
    /// What the holder calls this claim.
    pub label: Option<String>,
    /// Since when, with the resolution of the kernel's tick; None in the instant before it is written down.
    pub held_for: Option<Duration>,
    /// The fencing token of the claim.
    pub token: u64,
    /// Nesting depth: 1 for a plain hold.
    pub depth: u32,
    /// The process of the wrapped command (`xsem run`), which the claim outlives its wrapper for.
    pub covers: Option<Process>,
    /// Nested `xsem run`s that share the claim; it ends with the last of them.
    pub shared_with: Vec<Process>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = &self.process;
        match p.pid {
            0 => f.write_str("a process that is not known any more")?,
            pid => write!(f, "{pid} `{}` ({})", p.command, p.user())?,
        }
        if let Some(l) = &self.label {
            write!(f, " [{l}]")?;
        }
        if let Some(d) = self.held_for {
            write!(f, " for {}", age(d))?;
        }
        match p.state {
            ProcessState::Alive | ProcessState::Unseen => Ok(()),
            s => write!(f, ", {}", s.as_str()),
        }
    }
}

/// Somebody who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiter {
    /// Who.
    pub process: Process,
    /// The claimant inside the process.
    pub claimant: u32,
    /// For how long already.
    pub waiting_for: Duration,
    /// Permits asked for (1 on an exclusive semaphore).
    pub permits: u32,
    /// Whether the wait ends by itself at some time.
    pub has_deadline: bool,
}

/// How an owner's death is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The process ended (exit, kill, exec): the kernel said so.
    ProcessEnded,
    /// The owning thread ended while its process went on.
    ThreadEnded,
    /// The owner gave it up on purpose, with the mark.
    Abandoned,
    /// The wrapped command was ended by this signal.
    CommandKilled(u8),
    /// The machine restarted, or the file is a copy.
    MachineRestarted,
    /// Somebody ended the claim by decision.
    Evicted,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::ProcessEnded => f.write_str("its process ended"),
            Cause::ThreadEnded => f.write_str("its thread ended"),
            Cause::Abandoned => f.write_str("it abandoned the semaphore"),
            Cause::CommandKilled(s) => write!(f, "its command was ended by signal {s}"),
            Cause::MachineRestarted => f.write_str("the machine restarted"),
            Cause::Evicted => f.write_str("it was evicted"),
        }
    }
}

/// What a dead owner left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Obituary {
    /// Who; `pid` 0 when the details were evicted before somebody asked.
    pub process: Process,
    /// What the owner called its claim.
    pub label: Option<String>,
    /// How the death is known.
    pub cause: Cause,
    /// When the claim began, if that is known.
    pub since: Option<SystemTime>,
    /// When the death was noticed.
    pub noticed: SystemTime,
    /// The fencing token that the semaphore had when it was noticed.
    pub token: u64,
}

impl fmt::Display for Obituary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.process.pid {
            0 => f.write_str("an owner whose details are gone")?,
            pid => write!(f, "{pid} `{}` ({})", self.process.command, self.process.user())?,
        }
        if let Some(l) = &self.label {
            write!(f, " [{l}]")?;
        }
        write!(f, ", {}", self.cause)?;
        if let Ok(d) = self.noticed.elapsed() {
            write!(f, " {} ago", age(d))?;
        }
        Ok(())
    }
}

/// The deaths that nobody has acknowledged with `mark_consistent`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deaths {
    /// The first one, kept until it is acknowledged.
    pub first: Obituary,
    /// The latest one; the same as `first` when `count` is 1.
    pub latest: Obituary,
    /// How many since the last acknowledgement.
    pub count: u64,
}

impl fmt::Display for Deaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.latest)?;
        if self.count > 1 {
            write!(f, " (and {} before it, the first: {})", self.count - 1, self.first)?;
        }
        Ok(())
    }
}

/// Counters of one semaphore since it was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Claims granted; also the last fencing token.
    pub acquired: u64,
    /// Requests that had to wait.
    pub contended: u64,
    /// Requests whose time ran out.
    pub timed_out: u64,
    /// Owners that died while they held it.
    pub deaths: u64,
    /// The longest hold that somebody had to wait for.
    pub longest_contended_hold: Duration,
}

/// A line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The name.
    pub name: String,
    /// The kind.
    pub kind: Kind,
    /// Who holds it now.
    pub holders: Vec<Holder>,
    /// Whether a death is not acknowledged.
    pub marked: bool,
    /// Whether somebody waits (who: [`Report`]).
    pub contended: bool,
    /// Claims granted so far.
    pub acquired: u64,
}

/// All that is known of one semaphore at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The name.
    pub name: String,
    /// The kind.
    pub kind: Kind,
    /// Who holds it.
    pub holders: Vec<Holder>,
    /// Who waits, oldest first.
    pub waiters: Vec<Waiter>,
    /// Whether the mark is set: an owner died and nobody has said since that the state is whole.
    pub marked: bool,
    /// The deaths behind the mark; None when the details could not be kept.
    pub deaths: Option<Deaths>,
    /// Counters.
    pub counters: Counters,
}

/// A duration as people say it: `350 ms`, `12 s`, `4 min 10 s`, `3 h 5 min`, `2 d 4 h`.
pub fn age(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0 => format!("{} ms", d.as_millis()),
        1..=99 => format!("{s} s"),
        100..=5999 => match s % 60 {
            0 => format!("{} min", s / 60),
            r => format!("{} min {r} s", s / 60),
        },
        6000..=172_799 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::age;
    use std::time::Duration;

    #[test]
    fn ages_read_well() {
        for (ms, text) in [
            (350, "350 ms"),
            (12_400, "12 s"),
            (250_000, "4 min 10 s"),
            (120_000, "2 min"),
            (11_100_000, "3 h 5 min"),
            (187_200_000, "2 d 4 h"),
        ] {
            assert_eq!(age(Duration::from_millis(ms)), text);
        }
    }
}
