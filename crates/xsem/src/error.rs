//! Errors: a code, the facts of this occurrence, and the next step.

use crate::claim::{Edge, Holder, Waiter, cycle_text};
use std::fmt;

pub use crate::code::{Code, Retryable};

/// The result of most operations.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong: a [`Code`], the facts, and what to do.
///
/// It displays as one line for people: what happened, the code and its symbol, the next step.
///
/// An error that is made at interrupt time (104 above all) has no facts beside its code, and neither making nor dropping it
/// allocates or frees anything.
#[derive(Debug)]
pub struct Error(Inner);

#[derive(Debug)]
enum Inner {
    /// Nothing to free.
    Fixed(&'static Fixed),
    Told(Box<Facts>),
}

/// An error without facts of its occurrence: for interrupt time, where nothing may be allocated.
#[derive(Debug)]
pub(crate) struct Fixed {
    pub(crate) code: Code,
    pub(crate) message: &'static str,
    pub(crate) advice: &'static str,
}

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
        Error(Inner::Told(Box::new(Facts {
            code,
            message: message.into(),
            advice: String::new(),
            name: None,
            holders: Vec::new(),
            ahead: Vec::new(),
            indices: Vec::new(),
            cycle: Vec::new(),
            source: None,
        })))
    }

    /// An error that needs no memory.
    pub(crate) fn fixed(fixed: &'static Fixed) -> Error {
        Error(Inner::Fixed(fixed))
    }

    /// The facts, if there is room for them.
    fn facts(&self) -> Option<&Facts> {
        match &self.0 {
            Inner::Fixed(_) => None,
            Inner::Told(facts) => Some(facts),
        }
    }

    /// The facts, to add some.
    fn told(&mut self) -> &mut Facts {
        if let Inner::Fixed(f) = self.0 {
            *self = Error::new(f.code, f.message).advice(f.advice);
        }
        match &mut self.0 {
            Inner::Told(facts) => facts,
            Inner::Fixed(_) => unreachable!("replaced above"),
        }
    }

    /// Adds what to do next.
    pub fn advice(mut self, text: impl Into<String>) -> Error {
        self.told().advice = text.into();
        self
    }

    /// Adds the semaphore's name.
    pub fn of(mut self, name: &str) -> Error {
        self.told().name = Some(name.to_owned());
        self
    }

    /// Adds who holds it.
    pub fn held_by(mut self, holders: Vec<Holder>) -> Error {
        self.told().holders = holders;
        self
    }

    /// Adds who waits ahead of the caller, oldest first (for 102: who waits at all).
    pub fn behind(mut self, ahead: Vec<Waiter>) -> Error {
        self.told().ahead = ahead;
        self
    }

    /// Adds which entries of a list it concerns.
    pub fn at(mut self, indices: impl IntoIterator<Item = usize>) -> Error {
        self.told().indices = indices.into_iter().collect();
        self
    }

    /// Adds the cycle of waits, beginning with the caller's.
    pub fn closing(mut self, cycle: Vec<Edge>) -> Error {
        self.told().cycle = cycle;
        self
    }

    /// Adds the system's error that caused it.
    pub fn because(mut self, e: std::io::Error) -> Error {
        self.told().source = Some(e);
        self
    }

    /// The code.
    pub fn code(&self) -> Code {
        match &self.0 {
            Inner::Fixed(f) => f.code,
            Inner::Told(facts) => facts.code,
        }
    }

    /// The semaphore's name, when there is one.
    pub fn name(&self) -> Option<&str> {
        self.facts()?.name.as_deref()
    }

    /// Who holds it (101, 102, 121).
    pub fn holders(&self) -> &[Holder] {
        self.facts().map_or(&[], |f| &f.holders)
    }

    /// Who waits ahead of the caller, oldest first (101, 121), or who waits at all (102).
    pub fn ahead(&self) -> &[Waiter] {
        self.facts().map_or(&[], |f| &f.ahead)
    }

    /// The entries of the list that it concerns (`wait_any`, `acquire_all`).
    pub fn indices(&self) -> &[usize] {
        self.facts().map_or(&[], |f| &f.indices)
    }

    /// The cycle that waiting would have closed, beginning with the caller's step (1131).
    pub fn cycle(&self) -> &[Edge] {
        self.facts().map_or(&[], |f| &f.cycle)
    }

    /// What happened, without code and advice.
    pub fn message(&self) -> &str {
        match &self.0 {
            Inner::Fixed(f) => f.message,
            Inner::Told(facts) => &facts.message,
        }
    }

    /// The next step, possibly empty.
    pub fn next_step(&self) -> &str {
        match &self.0 {
            Inner::Fixed(f) => f.advice,
            Inner::Told(facts) => &facts.advice,
        }
    }

    /// 101 or 121: somebody else has it; trying again later can succeed.
    pub fn is_taken(&self) -> bool {
        matches!(self.code(), Code::ExclSemAlreadyOwned | Code::SemTimeout)
    }

    /// Whether the same request can succeed later, by itself ([`Code::is_retryable`]).
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }

    /// 187: there is no such name.
    pub fn is_not_found(&self) -> bool {
        self.code() == Code::SemNotFound
    }

    /// 1131: the wait could never have ended.
    pub fn is_deadlock(&self) -> bool {
        self.code() == Code::PossibleDeadlock
    }

    /// 95: the wait was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.code() == Code::Interrupt
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, message) = (self.code(), self.message());
        write!(f, "{} {}: {message}", code.number(), code.symbol())?;
        if !self.cycle().is_empty() {
            write!(f, ": {}", cycle_text(self.cycle(), true))?;
        }
        for (i, h) in self.holders().iter().enumerate() {
            write!(f, "{} {h}", if i == 0 { ", held by" } else { " and" })?;
        }
        match (self.ahead().len(), code) {
            (0, _) => {}
            (n, Code::SemIsSet) => write!(f, ", {n} waiting: {}", Pids(self.ahead()))?,
            (n, _) => write!(f, ", {n} ahead: {}", Pids(self.ahead()))?,
        }
        if let Some(s) = self.facts().and_then(|f| f.source.as_ref()) {
            write!(f, ": {s}")?;
        }
        match self.next_step() {
            "" => Ok(()),
            advice => write!(f, "; {advice}"),
        }
    }
}

struct Pids<'a>(&'a [Waiter]);

impl fmt::Display for Pids<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, w) in self.0.iter().take(5).enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{}{} `{}`", w.process.pid, w.process.place(), w.process.command)?;
        }
        if self.0.len() > 5 {
            f.write_str(", ...")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.facts()?.source.as_ref().map(|e| e as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static HERE: Fixed = Fixed { code: Code::InvalidAtInterruptTime, message: "not here", advice: "go elsewhere" };

    #[test]
    fn a_fixed_error_says_as_much_as_any_other_and_can_be_told_more() {
        let e = Error::fixed(&HERE);
        assert_eq!(e.to_string(), "104 ERROR_INVALID_AT_INTERRUPT_TIME: not here; go elsewhere");
        assert!(e.name().is_none() && e.holders().is_empty() && e.indices().is_empty() && e.cycle().is_empty());
        let e = e.of("s").at([3]);
        assert_eq!((e.code(), e.name(), e.indices()), (Code::InvalidAtInterruptTime, Some("s"), &[3][..]));
        assert_eq!((e.message(), e.next_step()), ("not here", "go elsewhere"));
    }
}
