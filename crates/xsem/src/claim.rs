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

/// How the permits of a counting semaphore come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// There are always as many permits as the limit says; they belong to their holders and come back.
    Pool,
    /// Producers add permits and consumers use them up; the limit is the most there can be.
    Credit,
}

impl Mode {
    /// `pool` or `credit`.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Pool => "pool",
            Mode::Credit => "credit",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an event goes back to "reset".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reset {
    /// It stays signalled until somebody resets it: a signal wakes all who wait.
    Manual,
    /// A signal is consumed by the one waiter that it wakes.
    Auto,
}

impl Reset {
    /// `manual` or `auto`.
    pub fn as_str(self) -> &'static str {
        match self {
            Reset::Manual => "manual",
            Reset::Auto => "auto",
        }
    }
}

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Signal {
    /// How it is reset.
    pub reset: Reset,
    /// Whether it is signalled.
    pub is_set: bool,
}

impl Signal {
    /// For engines: these facts.
    pub fn new(reset: Reset, is_set: bool) -> Signal {
        Signal { reset, is_set }
    }
}

/// The permits of a counting semaphore at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Capacity {
    /// Pool or credit.
    pub mode: Mode,
    /// The most permits that there may be.
    pub limit: u32,
    /// Permits that there are: free ones and those that are held. In a pool the limit; after it was lowered, more are
    /// held for a while than there should be, and then `total` says how many those are.
    pub total: u32,
    /// Permits that nobody holds.
    pub free: u32,
}

impl Capacity {
    /// For engines: these numbers.
    pub fn new(mode: Mode, limit: u32, total: u32, free: u32) -> Capacity {
        Capacity { mode, limit, total, free }
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
    /// The machine that it runs on, where the namespace is shared between machines.
    pub host: Option<String>,
}

impl Process {
    /// For engines: these facts.
    pub fn new(pid: u32, uid: u32, command: impl Into<String>, state: ProcessState) -> Process {
        Process { pid, uid, command: command.into(), state, host: None }
    }

    /// For engines: on this machine.
    pub fn on(mut self, host: impl Into<String>) -> Process {
        self.host = Some(host.into());
        self
    }

    /// ` on HOST`, where that is to be said.
    pub(crate) fn place(&self) -> String {
        self.host.as_ref().map_or(String::new(), |h| format!(" on {h}"))
    }

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
    /// Permits held (1 on an exclusive semaphore).
    pub permits: u32,
    /// Which of a pool's slots the claim has, if its holder has asked.
    pub slots: Vec<u32>,
    /// The process of the wrapped command (`xsem run`), which the claim outlives its wrapper for.
    pub covers: Option<Process>,
    /// Nested `xsem run`s that share the claim; it ends with the last of them.
    pub shared_with: Vec<Process>,
}

impl Holder {
    /// For engines: a plain hold of one permit.
    pub fn new(process: Process, claimant: u32, token: u64) -> Holder {
        Holder {
            process,
            claimant,
            label: None,
            held_for: None,
            token,
            depth: 1,
            permits: 1,
            slots: Vec::new(),
            covers: None,
            shared_with: Vec::new(),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = &self.process;
        match p.pid {
            0 => f.write_str("a process that is not known any more")?,
            pid => write!(f, "{pid}{} `{}` ({})", p.place(), p.command, p.user())?,
        }
        if let Some(l) = &self.label {
            write!(f, " [{l}]")?;
        }
        match (self.permits, self.slots.is_empty()) {
            (1, true) => {}
            (n, true) => write!(f, ", {n} permits")?,
            (_, false) => write!(f, ", slots {}", numbers(&self.slots))?,
        }
        if let Some(d) = self.held_for {
            write!(f, " for {}", age(d))?;
        }
        match p.state {
            ProcessState::Alive => Ok(()),
            // Its number is another process's here, or nobody's.
            ProcessState::Unseen => f.write_str(", in another container or hidden from here"),
            s => write!(f, ", {}", s.as_str()),
        }
    }
}

/// Ascending numbers, in ranges: `0-3,7`.
pub fn numbers(list: &[u32]) -> String {
    let mut out = String::new();
    let mut i = 0;
    while i < list.len() {
        let begin = i;
        while i + 1 < list.len() && list[i + 1] == list[i] + 1 {
            i += 1;
        }
        let comma = if out.is_empty() { "" } else { "," };
        match i - begin {
            0 => out += &format!("{comma}{}", list[begin]),
            _ => out += &format!("{comma}{}-{}", list[begin], list[i]),
        }
        i += 1;
    }
    out
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
    /// Whether it waits for this semaphore only.
    pub wants: Wants,
}

impl Waiter {
    /// For engines: a wait for one semaphore, without a deadline.
    pub fn new(process: Process, claimant: u32, permits: u32, waiting_for: Duration) -> Waiter {
        Waiter { process, claimant, waiting_for, permits, has_deadline: false, wants: Wants::One }
    }
}

/// What a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wants {
    /// One semaphore.
    One,
    /// The first of several (`wait_any`).
    Any,
    /// Several at one instant (`acquire_all`).
    All,
}

/// A step of a cycle of waits: who waits for what, and who holds that.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Edge {
    /// Who waits.
    pub waiter: Process,
    /// The claimant inside the waiting process.
    pub waiter_claimant: u32,
    /// The semaphore that it waits for.
    pub name: String,
    /// Who holds that.
    pub holder: Process,
    /// The claimant inside the holding process.
    pub holder_claimant: u32,
}

impl Edge {
    /// For engines: a step with these facts.
    pub fn new(waiter: (Process, u32), name: impl Into<String>, holder: (Process, u32)) -> Edge {
        Edge { waiter: waiter.0, waiter_claimant: waiter.1, name: name.into(), holder: holder.0, holder_claimant: holder.1 }
    }
}

/// A cycle of waits as people would say it. `you`: the first step is the reader's own.
///
/// "you wait for `B`, held by 812 `make`, which waits for `A`, held by you"
pub fn cycle_text(cycle: &[Edge], you: bool) -> String {
    use fmt::Write;
    let mut text = String::new();
    let Some(first) = cycle.first() else { return text };
    let is_you = |p: &Process, claimant: u32| you && (p.pid, claimant) == (first.waiter.pid, first.waiter_claimant);
    let name = |p: &Process, claimant: u32| match (is_you(p, claimant), p.pid) {
        (true, _) => "you".to_owned(),
        (_, 0) => "a process that is not known any more".to_owned(),
        // Threads of one process can be told apart only by their numbers.
        (_, pid) if cycle.iter().any(|e| e.waiter.pid == pid && e.waiter_claimant != claimant) => {
            format!("{pid}{} `{}` (thread {claimant})", p.place(), p.command)
        }
        (_, pid) => format!("{pid}{} `{}`", p.place(), p.command),
    };
    for (i, e) in cycle.iter().enumerate() {
        let _ = match i {
            0 if you => write!(text, "you wait for `{}`", e.name),
            0 => write!(text, "{} waits for `{}`", name(&e.waiter, e.waiter_claimant), e.name),
            _ => write!(text, ", which waits for `{}`", e.name),
        };
        let _ = write!(text, ", held by {}", name(&e.holder, e.holder_claimant));
    }
    text
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
    /// Who owned it could not be told any more: the namespace was damaged, and was repaired. What the semaphore protects may be
    /// half done.
    Repaired,
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
            Cause::Repaired => f.write_str("repaired: what it protected may be half done"),
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
            pid => write!(f, "{pid}{} `{}` ({})", self.process.place(), self.process.command, self.process.user())?,
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
    /// Claims granted; also the last fencing token. Of an event: signals that it was reset before.
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
    /// Claims granted so far; of an event, signals.
    pub acquired: u64,
    /// Permits; None for other kinds than counting.
    pub capacity: Option<Capacity>,
    /// How an event stands; None for other kinds.
    pub signal: Option<Signal>,
    /// Whether new requests are refused (102) because it is being, or has been, drained.
    pub drained: bool,
    /// Whether the name goes with its last user.
    pub ephemeral: bool,
    /// How long ago it was last acquired, or created; zero while somebody holds it. With the resolution of the tick.
    pub unused_for: Duration,
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
    /// Permits; None for other kinds than counting.
    pub capacity: Option<Capacity>,
    /// How an event stands; None for other kinds.
    pub signal: Option<Signal>,
    /// Whether new requests are refused (102) because it is being, or has been, drained.
    pub drained: bool,
    /// Whether the name goes with its last user.
    pub ephemeral: bool,
    /// How long ago it was last acquired, or created; zero while somebody holds it. With the resolution of the tick.
    pub unused_for: Duration,
    /// The cycle of waits that the semaphore is part of, if there is one. Those who wait in it would wait for ever.
    pub deadlock: Vec<Edge>,
}

impl Obituary {
    /// For engines: a death that was noticed now.
    pub fn new(process: Process, cause: Cause, token: u64) -> Obituary {
        Obituary { process, label: None, cause, since: None, noticed: SystemTime::now(), token }
    }
}

impl Deaths {
    /// For engines: the first death, the latest, and how many.
    pub fn new(first: Obituary, latest: Obituary, count: u64) -> Deaths {
        Deaths { first, latest, count }
    }
}

impl Summary {
    /// For engines: a clear semaphore.
    pub fn new(name: impl Into<String>, kind: Kind) -> Summary {
        Summary {
            name: name.into(),
            kind,
            holders: Vec::new(),
            marked: false,
            contended: false,
            acquired: 0,
            capacity: None,
            signal: None,
            drained: false,
            ephemeral: false,
            unused_for: Duration::ZERO,
        }
    }
}

impl Report {
    /// For engines: a clear semaphore.
    pub fn new(name: impl Into<String>, kind: Kind) -> Report {
        Report {
            name: name.into(),
            kind,
            holders: Vec::new(),
            waiters: Vec::new(),
            marked: false,
            deaths: None,
            counters: Counters::default(),
            capacity: None,
            signal: None,
            drained: false,
            ephemeral: false,
            unused_for: Duration::ZERO,
            deadlock: Vec::new(),
        }
    }
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
