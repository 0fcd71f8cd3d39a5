//! Errors: a code, the facts of this occurrence, and the next step.

use crate::claim::{Edge, Holder, Waiter, cycle_text};
use std::fmt;

pub use crate::code::Code;

/// The result of most operations.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong: a [`Code`], the facts, and what to do.
///
/// It displays as one line for people: what happened, the code and its symbol, the next step.
#[derive(Debug)]
pub struct Error(Box<Facts>);

#[derive(Debug)]
struct Facts {
    code: Code,
    message: String,
    advice: String,
    name: Option<String>,
    holders: Vec<Holder>,
    ahead: Vec<Waiter>,
    indices: Vec<usize>,
    cycle: Vec<Edge>,
    source: Option<std::io::Error>,
}

impl Error {
    /// An error with a code and one sentence that says what happened.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error(Box::new(Facts {
            code,
            message: message.into(),
            advice: String::new(),
            name: None,
            holders: Vec::new(),
            ahead: Vec::new(),
            indices: Vec::new(),
            cycle: Vec::new(),
            source: None,
        }))
    }

    /// Adds what to do next.
    pub fn advice(mut self, text: impl Into<String>) -> Error {
        self.0.advice = text.into();
        self
    }

    /// Adds the semaphore's name.
    pub fn of(mut self, name: &str) -> Error {
        self.0.name = Some(name.to_owned());
        self
    }

    /// Adds who holds it.
    pub fn held_by(mut self, holders: Vec<Holder>) -> Error {
        self.0.holders = holders;
        self
    }

    /// Adds who waits ahead of the caller, oldest first (for 102: who waits at all).
    pub fn behind(mut self, ahead: Vec<Waiter>) -> Error {
        self.0.ahead = ahead;
        self
    }

    /// Adds which entries of a list it concerns.
    pub fn at(mut self, indices: impl IntoIterator<Item = usize>) -> Error {
        self.0.indices = indices.into_iter().collect();
        self
    }

    /// Adds the cycle of waits, beginning with the caller's.
    pub fn closing(mut self, cycle: Vec<Edge>) -> Error {
        self.0.cycle = cycle;
        self
    }

    /// Adds the system's error that caused it.
    pub fn because(mut self, e: std::io::Error) -> Error {
        self.0.source = Some(e);
        self
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The semaphore's name, when there is one.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Who holds it (101, 102, 121).
    pub fn holders(&self) -> &[Holder] {
        &self.0.holders
    }

    /// Who waits ahead of the caller, oldest first (101, 121), or who waits at all (102).
    pub fn ahead(&self) -> &[Waiter] {
        &self.0.ahead
    }

    /// The entries of the list that it concerns (`wait_any`, `acquire_all`).
    pub fn indices(&self) -> &[usize] {
        &self.0.indices
    }

    /// The cycle that waiting would have closed, beginning with the caller's step (1131).
    pub fn cycle(&self) -> &[Edge] {
        &self.0.cycle
    }

    /// What happened, without code and advice.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The next step, possibly empty.
    pub fn next_step(&self) -> &str {
        &self.0.advice
    }

    /// 101 or 121: somebody else has it; trying again later can succeed.
    pub fn is_taken(&self) -> bool {
        matches!(self.0.code, Code::ExclSemAlreadyOwned | Code::SemTimeout)
    }

    /// 187: there is no such name.
    pub fn is_not_found(&self) -> bool {
        self.0.code == Code::SemNotFound
    }

    /// 1131: the wait could never have ended.
    pub fn is_deadlock(&self) -> bool {
        self.0.code == Code::PossibleDeadlock
    }

    /// 95: the wait was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.code == Code::Interrupt
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = &*self.0;
        write!(f, "{} {}: {}", e.code.number(), e.code.symbol(), e.message)?;
        if !e.cycle.is_empty() {
            write!(f, ": {}", cycle_text(&e.cycle, true))?;
        }
        for (i, h) in e.holders.iter().enumerate() {
            write!(f, "{} {h}", if i == 0 { ", held by" } else { " and" })?;
        }
        match (e.ahead.len(), e.code) {
            (0, _) => {}
            (n, Code::SemIsSet) => write!(f, ", {n} waiting: {}", Pids(&e.ahead))?,
            (n, _) => write!(f, ", {n} ahead: {}", Pids(&e.ahead))?,
        }
        if let Some(s) = &e.source {
            write!(f, ": {s}")?;
        }
        if !e.advice.is_empty() {
            write!(f, "; {}", e.advice)?;
        }
        Ok(())
    }
}

struct Pids<'a>(&'a [Waiter]);

impl fmt::Display for Pids<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, w) in self.0.iter().take(5).enumerate() {
            write!(f, "{}{} `{}`", if i == 0 { "" } else { ", " }, w.process.pid, w.process.command)?;
        }
        if self.0.len() > 5 {
            f.write_str(", ...")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|e| e as _)
    }
}
