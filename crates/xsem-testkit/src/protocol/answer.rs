//! Answers.

use super::{items, list, word};
use std::fmt;
use std::str::FromStr;

/// A dead owner as it goes over the wire: pid and cause.
pub type Dead = (u32, String);

/// What came of a command.
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
    /// One of a list is owned.
    Taken {
        /// Which entry.
        index: usize,
        /// The number of the new guard.
        guard: usize,
        /// The fencing token.
        token: u64,
        /// 105.
        died: bool,
    },
    /// All of a list are owned.
    All {
        /// The numbers of the new guards, in the order of the list.
        guards: Vec<usize>,
        /// Their fencing tokens.
        tokens: Vec<u64>,
        /// With 105: the entries whose owners died.
        died: Vec<usize>,
    },
    /// It is done.
    Done,
    /// The future is not over.
    Pending,
    /// Yes or no.
    Is(bool),
    /// Numbers.
    Numbers(Vec<u32>),
    /// Refused with the code of this number.
    Refused(u32),
    /// Refused, because of these entries of the list.
    RefusedAt(u32, Vec<usize>),
    /// The facts of a refusal.
    Why {
        /// The fencing tokens of the holders that it names.
        holders: Vec<u64>,
        /// How many waiters it names.
        ahead: usize,
        /// How many steps its cycle has.
        cycle: usize,
        /// As a person reads it.
        text: String,
    },
    /// The actor could not even try; never expected.
    Broken(String),
}

impl Answer {
    /// The number of the code, when it is a refusal.
    pub fn code(&self) -> Option<u32> {
        match self {
            Answer::Refused(code) | Answer::RefusedAt(code, _) => Some(*code),
            _ => None,
        }
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
            Answer::Taken { index, guard, token, died } => write!(f, "taken {index} {guard} {token} {died}"),
            Answer::All { guards, tokens, died } => write!(f, "all {} {} {}", list(guards), list(tokens), list(died)),
            Answer::Done => f.write_str("done"),
            Answer::Pending => f.write_str("pending"),
            Answer::Is(b) => write!(f, "is {b}"),
            Answer::Numbers(n) => write!(f, "numbers {}", list(n)),
            Answer::Refused(code) => write!(f, "refused {code}"),
            Answer::RefusedAt(code, at) => write!(f, "refused {code} at {}", list(at)),
            Answer::Why { holders, ahead, cycle, text } => write!(f, "why {} {ahead} {cycle} {text}", list(holders)),
            Answer::Broken(why) => write!(f, "broken {why}"),
        }
    }
}

impl FromStr for Answer {
    type Err = String;

    fn from_str(line: &str) -> Result<Answer, String> {
        let words: Vec<&str> = line.split(' ').collect();
        let at = |i: usize| words.get(i).copied();
        let rest = |n: usize| line.splitn(n + 1, ' ').nth(n).unwrap_or_default().to_owned();
        let dead = |i: usize| Ok::<Dead, String>((word(line, at(i))?, words[i + 1].to_owned()));
        Ok(match (words[0], words.len()) {
            ("handle", 2) => Answer::Handle(word(line, at(1))?),
            ("granted", n @ (3 | 4 | 8)) => {
                let died = match n {
                    3 => None,
                    4 => Some(None),
                    _ => Some(Some((dead(3)?, dead(5)?, word(line, at(7))?))),
                };
                Answer::Granted { guard: word(line, at(1))?, token: word(line, at(2))?, died }
            }
            ("taken", 5) => Answer::Taken {
                index: word(line, at(1))?,
                guard: word(line, at(2))?,
                token: word(line, at(3))?,
                died: word(line, at(4))?,
            },
            ("all", 4) => Answer::All { guards: items(line, at(1))?, tokens: items(line, at(2))?, died: items(line, at(3))? },
            ("done", 1) => Answer::Done,
            ("pending", 1) => Answer::Pending,
            ("is", 2) => Answer::Is(word(line, at(1))?),
            ("numbers", 2) => Answer::Numbers(items(line, at(1))?),
            ("refused", 2) => Answer::Refused(word(line, at(1))?),
            ("refused", 4) => Answer::RefusedAt(word(line, at(1))?, items(line, at(3))?),
            ("why", 4..) => {
                Answer::Why { holders: items(line, at(1))?, ahead: word(line, at(2))?, cycle: word(line, at(3))?, text: rest(4) }
            }
            ("broken", _) => Answer::Broken(rest(1)),
            _ => return Err(format!("`{line}` is not an answer of a worker")),
        })
    }
}
