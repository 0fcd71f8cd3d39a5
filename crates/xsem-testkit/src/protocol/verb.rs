//! Commands.

use super::{items, list, word};
use std::fmt;
use std::str::FromStr;

/// What a new semaphore shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// An exclusive one.
    Exclusive,
    /// A pool of so many permits.
    Pool(u32),
    /// Credit: limit, and permits at the start.
    Credit(u32, u32),
    /// An event that is reset by hand; whether it is signalled at the start.
    Manual(bool),
    /// An event that is reset by a wait; whether it is signalled at the start.
    Auto(bool),
}

/// For how long a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Till {
    /// Not at all.
    Now,
    /// So many milliseconds.
    Ms(u64),
    /// Without an end.
    Ever,
}

/// A run of random operations that an actor chooses and records by itself (see `history`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The actor's number in the history.
    pub actor: u32,
    /// Repeats the choices.
    pub seed: u64,
    /// So many operations.
    pub ops: u32,
    /// The `CLOCK_MONOTONIC` nanoseconds at which all actors begin.
    pub at: u64,
    /// Which mix of operations.
    pub mix: u32,
    /// The semaphores: handles of this actor, in the order of the history's names.
    pub handles: Vec<usize>,
    /// Whether it keeps what it owns in the end.
    pub keep: bool,
    /// The file that gets the record.
    pub file: String,
}

/// What an actor's thread shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// A new exclusive semaphore: `Handle`.
    Create(String),
    /// An existing exclusive one: `Handle`.
    Open(String),
    /// Either: `Handle`.
    OpenOrCreate(String),
    /// A new semaphore of this kind, ephemeral or not: `Handle`.
    Make(What, bool, String),
    /// The one of this kind that exists, or a new one: `Handle`.
    Either(What, String),
    /// An existing counting one: `Handle`.
    OpenCounting(String),
    /// An existing event: `Handle`.
    OpenEvent(String),
    /// A new exclusive one in the other namespace: `Handle`.
    Elsewhere(String),
    /// Take the name away: `Done`.
    Remove(String),
    /// Acquire without waiting through this handle: `Granted`, or `Done` of an event, as with the next ones.
    Try(usize),
    /// Acquire within so many milliseconds: `Granted`.
    Timeout(usize, u64),
    /// Acquire without an end: `Granted`.
    Acquire(usize),
    /// So many permits, with all options; can be cancelled. With `true` they belong to the process: `Granted`.
    Ask(usize, u32, Till, bool),
    /// The first of a list of handles and permits: `Taken`. Can be cancelled.
    Any(Vec<(usize, u32)>, Till),
    /// All of it: `All`. Can be cancelled.
    All(Vec<(usize, u32)>, Till),
    /// Starts this request (`Ask`, `Any`, `All`) as a future, on behalf of the thread's own claimant or of nobody: `Handle`, the
    /// future's number. It has not been polled then.
    Start(bool, Box<Verb>),
    /// Polls a future once: what its request gives, or `Pending`.
    Poll(usize),
    /// Polls a future whenever it is woken, until it is over: what its request gives. Can be cancelled.
    Await(usize),
    /// Drops a future: `Done`.
    Forsake(usize),
    /// Does this inside a declared interrupt scope.
    Interrupt(Box<Verb>),
    /// Cancels the wait of this thread. No answer of its own.
    Cancel,
    /// Release this guard and say how that went: `Done`.
    Release(usize),
    /// Some permits of it: `Done`.
    ReleaseSome(usize, u32),
    /// Its permits are used up: `Done`.
    Forget(usize),
    /// Which slots it has: `Numbers`.
    Slots(usize),
    /// Give this guard up with the mark: `Done`.
    Abandon(usize),
    /// Mark consistent: `Done`.
    MarkConsistent(usize),
    /// Whether the guard's claim is held: `Is`.
    Held(usize),
    /// Give process-owned permits to another thread: `Done` from this one; there they are the next guard.
    Give(usize, u32),
    /// More permits: `Done`.
    Add(usize, u32),
    /// Another limit: `Done`.
    Resize(usize, u32),
    /// Limit, total, free: `Numbers`.
    Capacity(usize),
    /// Signal an event: `Is` it was reset before.
    Signal(usize),
    /// Reset an event: `Is` it was signalled before.
    Reset(usize),
    /// How an event stands: `Is` it signalled.
    State(usize),
    /// Close a handle: `Done`. It stays usable when that is refused.
    Close(usize),
    /// Drain a name: `Done`. Can be cancelled.
    Drain(String, Till),
    /// Let requests in again: `Done`.
    Reopen(String),
    /// End the claim with this token: `Done`.
    Evict(String, u64),
    /// Remove what was unused for so many milliseconds: `Numbers` with how many.
    Gc(u64),
    /// So many times: acquire the first of the list, and now and then all of it; add one to the number in the file, which
    /// nothing else protects; release: `Done`.
    Count(Vec<(usize, u32)>, u32, String),
    /// The facts of the last refusal of this thread: `Why`.
    Why,
    /// Run random operations and record them: `Done`.
    Play(Script),
    /// Takes so many MiB of memory, and writes to all of it: `Done`.
    Hoard(usize),
    /// This seccomp filter (see `within`) over all threads from here on, or over this one: `Done`.
    Confine(bool, String),
    /// In a forked child: drop this guard there and say whether the child thought that it held it: `Is`.
    DropInChild(usize),
    /// The thread ends and keeps what it owns: `Done`, after it did.
    EndThread,
    /// The process exits and keeps what it owns. No answer.
    Exit,
    /// The process becomes another program and keeps what it owns. No answer.
    Exec,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Exclusive => f.write_str("exclusive"),
            What::Pool(n) => write!(f, "pool:{n}"),
            What::Credit(n, initial) => write!(f, "credit:{n}:{initial}"),
            What::Manual(set) => write!(f, "manual:{set}"),
            What::Auto(set) => write!(f, "auto:{set}"),
        }
    }
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<What, String> {
        let words: Vec<&str> = text.split(':').collect();
        match words[..] {
            ["exclusive"] => Ok(What::Exclusive),
            ["pool", n] => Ok(What::Pool(word(text, Some(n))?)),
            ["manual", set] => Ok(What::Manual(word(text, Some(set))?)),
            ["auto", set] => Ok(What::Auto(word(text, Some(set))?)),
            ["credit", n, initial] => Ok(What::Credit(word(text, Some(n))?, word(text, Some(initial))?)),
            _ => Err(format!("`{text}` is not a kind of semaphore")),
        }
    }
}

impl fmt::Display for Till {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Till::Now => f.write_str("now"),
            Till::Ms(ms) => write!(f, "{ms}"),
            Till::Ever => f.write_str("ever"),
        }
    }
}

impl FromStr for Till {
    type Err = String;

    fn from_str(text: &str) -> Result<Till, String> {
        match text {
            "now" => Ok(Till::Now),
            "ever" => Ok(Till::Ever),
            ms => Ok(Till::Ms(word(text, Some(ms))?)),
        }
    }
}

fn picks(list_of: &[(usize, u32)]) -> String {
    list(list_of.iter().map(|(h, n)| format!("{h}:{n}")))
}

fn read_picks(line: &str, text: Option<&str>) -> Result<Vec<(usize, u32)>, String> {
    let pick = |w: String| {
        let (h, n) = w.split_once(':').ok_or_else(|| format!("`{line}`: `{w}` is not HANDLE:PERMITS"))?;
        Ok((word(line, Some(h))?, word(line, Some(n))?))
    };
    items::<String>(line, text)?.into_iter().map(pick).collect()
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verb::Create(n) => write!(f, "create {n}"),
            Verb::Open(n) => write!(f, "open {n}"),
            Verb::OpenOrCreate(n) => write!(f, "open_or_create {n}"),
            Verb::Make(w, e, n) => write!(f, "make {w} {e} {n}"),
            Verb::Either(w, n) => write!(f, "either {w} {n}"),
            Verb::OpenCounting(n) => write!(f, "open_counting {n}"),
            Verb::OpenEvent(n) => write!(f, "open_event {n}"),
            Verb::Elsewhere(n) => write!(f, "elsewhere {n}"),
            Verb::Remove(n) => write!(f, "remove {n}"),
            Verb::Try(h) => write!(f, "try {h}"),
            Verb::Timeout(h, ms) => write!(f, "timeout {h} {ms}"),
            Verb::Acquire(h) => write!(f, "acquire {h}"),
            Verb::Ask(h, n, till, owned) => write!(f, "ask {h} {n} {till} {owned}"),
            Verb::Any(l, till) => write!(f, "any {} {till}", picks(l)),
            Verb::All(l, till) => write!(f, "all {} {till}", picks(l)),
            Verb::Start(own, v) => write!(f, "start {own} {v}"),
            Verb::Poll(n) => write!(f, "poll {n}"),
            Verb::Await(n) => write!(f, "await {n}"),
            Verb::Forsake(n) => write!(f, "forsake {n}"),
            Verb::Interrupt(v) => write!(f, "interrupt {v}"),
            Verb::Cancel => f.write_str("cancel"),
            Verb::Release(g) => write!(f, "release {g}"),
            Verb::ReleaseSome(g, n) => write!(f, "release_some {g} {n}"),
            Verb::Forget(g) => write!(f, "forget {g}"),
            Verb::Slots(g) => write!(f, "slots {g}"),
            Verb::Abandon(g) => write!(f, "abandon {g}"),
            Verb::MarkConsistent(g) => write!(f, "mark {g}"),
            Verb::Held(g) => write!(f, "held {g}"),
            Verb::Give(g, thread) => write!(f, "give {g} {thread}"),
            Verb::Add(h, n) => write!(f, "add {h} {n}"),
            Verb::Resize(h, n) => write!(f, "resize {h} {n}"),
            Verb::Capacity(h) => write!(f, "capacity {h}"),
            Verb::Signal(h) => write!(f, "signal {h}"),
            Verb::Reset(h) => write!(f, "reset {h}"),
            Verb::State(h) => write!(f, "state {h}"),
            Verb::Close(h) => write!(f, "close {h}"),
            Verb::Drain(n, till) => write!(f, "drain {till} {n}"),
            Verb::Reopen(n) => write!(f, "reopen {n}"),
            Verb::Evict(n, token) => write!(f, "evict {token} {n}"),
            Verb::Gc(ms) => write!(f, "gc {ms}"),
            Verb::Count(l, rounds, file) => write!(f, "count {} {rounds} {file}", picks(l)),
            Verb::Why => f.write_str("why"),
            Verb::Play(s) => {
                write!(f, "play {} {} {} {} {} {} {} {}", s.actor, s.seed, s.ops, s.at, s.mix, list(&s.handles), s.keep, s.file)
            }
            Verb::Hoard(mib) => write!(f, "hoard {mib}"),
            Verb::Confine(all, rules) => write!(f, "confine {all} {rules}"),
            Verb::DropInChild(g) => write!(f, "drop_in_child {g}"),
            Verb::EndThread => f.write_str("end_thread"),
            Verb::Exit => f.write_str("exit"),
            Verb::Exec => f.write_str("exec"),
        }
    }
}

impl FromStr for Verb {
    type Err = String;

    fn from_str(line: &str) -> Result<Verb, String> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        // Names may hold spaces, so a name is all of the rest: of the line, or after so many words.
        let name = || rest.to_owned();
        let after = |n: usize| rest.splitn(n + 1, ' ').nth(n).unwrap_or_default().to_owned();
        let mut words = rest.split(' ');
        let mut next = || words.next().filter(|w| !w.is_empty());
        macro_rules! word {
            () => {
                word(line, next())?
            };
        }
        Ok(match verb {
            "create" => Verb::Create(name()),
            "open" => Verb::Open(name()),
            "open_or_create" => Verb::OpenOrCreate(name()),
            "make" => Verb::Make(word!(), word!(), after(2)),
            "either" => Verb::Either(word!(), after(1)),
            "open_counting" => Verb::OpenCounting(name()),
            "open_event" => Verb::OpenEvent(name()),
            "elsewhere" => Verb::Elsewhere(name()),
            "remove" => Verb::Remove(name()),
            "try" => Verb::Try(word!()),
            "timeout" => Verb::Timeout(word!(), word!()),
            "acquire" => Verb::Acquire(word!()),
            "ask" => Verb::Ask(word!(), word!(), word!(), word!()),
            "any" => Verb::Any(read_picks(line, next())?, word!()),
            "all" => Verb::All(read_picks(line, next())?, word!()),
            "start" => Verb::Start(word!(), Box::new(after(1).parse()?)),
            "poll" => Verb::Poll(word!()),
            "await" => Verb::Await(word!()),
            "forsake" => Verb::Forsake(word!()),
            "interrupt" => Verb::Interrupt(Box::new(rest.parse()?)),
            "cancel" => Verb::Cancel,
            "release" => Verb::Release(word!()),
            "release_some" => Verb::ReleaseSome(word!(), word!()),
            "forget" => Verb::Forget(word!()),
            "slots" => Verb::Slots(word!()),
            "abandon" => Verb::Abandon(word!()),
            "mark" => Verb::MarkConsistent(word!()),
            "held" => Verb::Held(word!()),
            "give" => Verb::Give(word!(), word!()),
            "add" => Verb::Add(word!(), word!()),
            "resize" => Verb::Resize(word!(), word!()),
            "capacity" => Verb::Capacity(word!()),
            "signal" => Verb::Signal(word!()),
            "reset" => Verb::Reset(word!()),
            "state" => Verb::State(word!()),
            "close" => Verb::Close(word!()),
            "drain" => {
                let till = word!();
                Verb::Drain(after(1), till)
            }
            "reopen" => Verb::Reopen(name()),
            "evict" => {
                let token = word!();
                Verb::Evict(after(1), token)
            }
            "gc" => Verb::Gc(word!()),
            "count" => Verb::Count(read_picks(line, next())?, word!(), after(2)),
            "why" => Verb::Why,
            "play" => Verb::Play(Script {
                actor: word!(),
                seed: word!(),
                ops: word!(),
                at: word!(),
                mix: word!(),
                handles: items(line, next())?,
                keep: word!(),
                file: after(7),
            }),
            "hoard" => Verb::Hoard(word!()),
            "confine" => Verb::Confine(word!(), word!()),
            "drop_in_child" => Verb::DropInChild(word!()),
            "end_thread" => Verb::EndThread,
            "exit" => Verb::Exit,
            "exec" => Verb::Exec,
            _ => return Err(format!("`{line}` is not a command of a worker")),
        })
    }
}
