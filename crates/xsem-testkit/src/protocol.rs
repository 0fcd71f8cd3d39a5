//! What a test says to a worker process and what it answers: one line each way.
//!
//! `THREAD VERB ARGUMENT` goes in, `THREAD ANSWER` comes out. Threads of a worker are claimants of their own; they are
//! started when they are first spoken to. Handles belong to the worker, guards to the thread; both are numbered from 0.

use std::fmt;
use std::str::FromStr;

/// What a worker's thread shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// A new semaphore: `Handle`.
    Create(String),
    /// An existing one: `Handle`.
    Open(String),
    /// Either: `Handle`.
    OpenOrCreate(String),
    /// Take the name away: `Done`.
    Remove(String),
    /// Acquire without waiting through this handle: `Granted`.
    Try(usize),
    /// Acquire within so many milliseconds: `Granted`.
    Timeout(usize, u64),
    /// Acquire without an end: `Granted`.
    Acquire(usize),
    /// Release this guard and say how that went: `Done`.
    Release(usize),
    /// Give this guard up with the mark: `Done`.
    Abandon(usize),
    /// Mark consistent: `Done`.
    MarkConsistent(usize),
    /// Whether the guard's claim is held: `Is`.
    Held(usize),
    /// In a forked child: drop this guard there and say whether the child thought that it held it: `Is`.
    DropInChild(usize),
    /// The thread ends and keeps what it owns: `Done`, before it does.
    EndThread,
    /// The process exits and keeps what it owns. No answer.
    Exit,
    /// The process becomes another program and keeps what it owns. No answer.
    Exec,
}

/// A dead owner as it goes over the wire: pid and cause.
pub type Dead = (u32, String);

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The number of the new handle.
    Handle(usize),
    /// Owned.
    Granted {
        /// The number of the new guard.
        guard: usize,
        /// The fencing token.
        token: u64,
        /// Present with 105: who died first, who latest, how many. The inner `None`: details could not be kept.
        died: Option<Option<(Dead, Dead, u64)>>,
    },
    /// It is done.
    Done,
    /// Yes or no.
    Is(bool),
    /// Refused with the code of this number.
    Refused(u32),
    /// The worker could not even try; never expected.
    Broken(String),
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verb::Create(n) => write!(f, "create {n}"),
            Verb::Open(n) => write!(f, "open {n}"),
            Verb::OpenOrCreate(n) => write!(f, "open_or_create {n}"),
            Verb::Remove(n) => write!(f, "remove {n}"),
            Verb::Try(h) => write!(f, "try {h}"),
            Verb::Timeout(h, ms) => write!(f, "timeout {h} {ms}"),
            Verb::Acquire(h) => write!(f, "acquire {h}"),
            Verb::Release(g) => write!(f, "release {g}"),
            Verb::Abandon(g) => write!(f, "abandon {g}"),
            Verb::MarkConsistent(g) => write!(f, "mark {g}"),
            Verb::Held(g) => write!(f, "held {g}"),
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
        // Names may hold spaces, so a name is all of the rest.
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let number = || rest.parse().map_err(|e| format!("`{line}`: {e}"));
        Ok(match verb {
            "create" => Verb::Create(rest.to_owned()),
            "open" => Verb::Open(rest.to_owned()),
            "open_or_create" => Verb::OpenOrCreate(rest.to_owned()),
            "remove" => Verb::Remove(rest.to_owned()),
            "try" => Verb::Try(number()?),
            "timeout" => {
                let (h, ms) = rest.split_once(' ').ok_or_else(|| format!("`{line}`: two numbers are needed"))?;
                let bad = |e| format!("`{line}`: {e}");
                Verb::Timeout(h.parse().map_err(bad)?, ms.parse().map_err(bad)?)
            }
            "acquire" => Verb::Acquire(number()?),
            "release" => Verb::Release(number()?),
            "abandon" => Verb::Abandon(number()?),
            "mark" => Verb::MarkConsistent(number()?),
            "held" => Verb::Held(number()?),
            "drop_in_child" => Verb::DropInChild(number()?),
            "end_thread" => Verb::EndThread,
            "exit" => Verb::Exit,
            "exec" => Verb::Exec,
            _ => return Err(format!("`{line}` is not a command of a worker")),
        })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Handle(h) => write!(f, "handle {h}"),
            Answer::Granted { guard, token, died: None } => write!(f, "granted {guard} {token}"),
            Answer::Granted { guard, token, died: Some(None) } => write!(f, "granted {guard} {token} unknown"),
            Answer::Granted { guard, token, died: Some(Some((first, latest, n))) } => {
                write!(f, "granted {guard} {token} {} {} {} {} {n}", first.0, first.1, latest.0, latest.1)
            }
            Answer::Done => f.write_str("done"),
            Answer::Is(b) => write!(f, "is {b}"),
            Answer::Refused(code) => write!(f, "refused {code}"),
            Answer::Broken(why) => write!(f, "broken {why}"),
        }
    }
}

impl FromStr for Answer {
    type Err = String;

    fn from_str(line: &str) -> Result<Answer, String> {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |i: usize| words[i].parse::<u64>().map_err(|e| format!("`{line}`: {e}"));
        let dead = |i: usize| Ok::<Dead, String>((number(i)? as u32, words[i + 1].to_owned()));
        Ok(match (words[0], words.len()) {
            ("handle", 2) => Answer::Handle(number(1)? as usize),
            ("granted", n @ (3 | 4 | 8)) => {
                let died = match n {
                    3 => None,
                    4 => Some(None),
                    _ => Some(Some((dead(3)?, dead(5)?, number(7)?))),
                };
                Answer::Granted { guard: number(1)? as usize, token: number(2)?, died }
            }
            ("done", 1) => Answer::Done,
            ("is", 2) => Answer::Is(words[1] == "true"),
            ("refused", 2) => Answer::Refused(number(1)? as u32),
            ("broken", _) => Answer::Broken(line["broken".len()..].trim().to_owned()),
            _ => return Err(format!("`{line}` is not an answer of a worker")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_survive_the_wire() {
        let name = || "a name / with spaces".to_owned();
        for v in [
            Verb::Create(name()),
            Verb::Open(name()),
            Verb::OpenOrCreate(name()),
            Verb::Remove(String::new()),
            Verb::Try(3),
            Verb::Timeout(1, 250),
            Verb::Acquire(0),
            Verb::Release(7),
            Verb::Abandon(1),
            Verb::MarkConsistent(1),
            Verb::Held(2),
            Verb::DropInChild(2),
            Verb::EndThread,
            Verb::Exit,
            Verb::Exec,
        ] {
            assert_eq!(v.to_string().parse::<Verb>().as_ref(), Ok(&v));
        }
        assert!("timeout 1".parse::<Verb>().is_err());
        assert!("fly".parse::<Verb>().is_err());
    }

    #[test]
    fn answers_survive_the_wire() {
        let dead = |pid: u32| (pid, "ended".to_owned());
        for a in [
            Answer::Handle(4),
            Answer::Granted { guard: 0, token: 9, died: None },
            Answer::Granted { guard: 1, token: 9, died: Some(None) },
            Answer::Granted { guard: 2, token: 10, died: Some(Some((dead(7), dead(8), 3))) },
            Answer::Done,
            Answer::Is(true),
            Answer::Is(false),
            Answer::Refused(101),
            Answer::Broken("no such guard".to_owned()),
        ] {
            assert_eq!(a.to_string().parse::<Answer>().as_ref(), Ok(&a));
        }
        assert!("granted 1".parse::<Answer>().is_err());
    }
}
