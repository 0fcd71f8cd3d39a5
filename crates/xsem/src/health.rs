//! What a look at everything that a namespace has stored has found, and what was mended of it.

use crate::claim::{Holder, Process};
use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// As every operation leaves it, and worth knowing.
    Note,
    /// Room that nobody uses and nobody can reach: a process died at the wrong instant. It does no harm.
    Leak,
    /// No operation leaves it so: some operations will fail (1392), or have lost what they relied on.
    Damage,
}

impl Severity {
    /// `note`, `leak` or `damage`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Leak => "leak",
            Severity::Damage => "damage",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What can be done about a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// [`Namespace::repair`](crate::Namespace::repair) mends it, in this way.
    Repair(String),
    /// It is mended by the way, by whoever meets it.
    Itself(String),
    /// Repair cannot; this can be done instead.
    Person(String),
}

impl Remedy {
    /// What is done, or is to be done.
    pub fn text(&self) -> &str {
        match self {
            Remedy::Repair(t) | Remedy::Itself(t) | Remedy::Person(t) => t,
        }
    }

    /// Whether repair mends it.
    pub fn is_repair(&self) -> bool {
        matches!(self, Remedy::Repair(_))
    }

    /// `repair`, `itself` or `person`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Remedy::Repair(_) => "repair",
            Remedy::Itself(_) => "itself",
            Remedy::Person(_) => "person",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// In which table: `header`, `cells`, `blocks`, ...
    pub table: &'static str,
    /// Which entry of the table.
    pub index: Option<u64>,
    /// The semaphore that it concerns, where its name can be read.
    pub name: Option<String>,
    /// What is there.
    pub found: String,
    /// What belongs there.
    pub expected: String,
    /// What can be done.
    pub remedy: Remedy,
}

impl Finding {
    /// For engines: a finding in a table.
    pub fn new(severity: Severity, table: &'static str, found: impl Into<String>, expected: impl Into<String>) -> Finding {
        Finding {
            severity,
            table,
            index: None,
            name: None,
            found: found.into(),
            expected: expected.into(),
            remedy: Remedy::Person("`xsem reset --force` begins anew".into()),
        }
    }

    /// Which entry of the table.
    pub fn at(mut self, index: impl Into<u64>) -> Finding {
        self.index = Some(index.into());
        self
    }

    /// The semaphore that it concerns.
    pub fn of(mut self, name: Option<String>) -> Finding {
        self.name = name;
        self
    }

    /// What can be done.
    pub fn remedy(mut self, remedy: Remedy) -> Finding {
        self.remedy = remedy;
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.table)?;
        if let Some(i) = self.index {
            write!(f, " {i}")?;
        }
        if let Some(n) = &self.name {
            write!(f, " (`{n}`)")?;
        }
        write!(f, ": {}", self.found)?;
        if !self.expected.is_empty() {
            write!(f, "; expected: {}", self.expected)?;
        }
        match &self.remedy {
            Remedy::Repair(t) => write!(f, "; repair: {t}"),
            Remedy::Itself(t) => write!(f, "; {t}"),
            Remedy::Person(t) => write!(f, "; repair cannot mend it: {t}"),
        }
    }
}

/// What [`Namespace::check`](crate::Namespace::check) has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkup {
    /// The worst first.
    pub findings: Vec<Finding>,
    /// Semaphores that were looked at.
    pub semaphores: u64,
    /// Processes that are members and live.
    pub members: u64,
    /// What there is only so much of.
    pub room: Vec<Room>,
}

/// How much of something is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Room {
    /// `semaphores`, `members`, `waits`, `claims on permits`.
    pub of: &'static str,
    /// So many.
    pub used: u64,
    /// So many there can be.
    pub most: u64,
}

impl Room {
    /// For engines: these figures.
    pub fn new(of: &'static str, used: u64, most: u64) -> Room {
        Room { of, used, most }
    }
}

impl Checkup {
    /// For engines: these findings, the worst first.
    pub fn new(mut findings: Vec<Finding>, semaphores: u64, members: u64) -> Checkup {
        findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
        Checkup { findings, semaphores, members, room: Vec::new() }
    }

    /// Whether nothing is damaged. Leaks and notes do no harm.
    pub fn is_sound(&self) -> bool {
        self.damage().next().is_none()
    }

    /// What is damaged.
    pub fn damage(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.severity == Severity::Damage)
    }
}

/// What [`Namespace::repair`](crate::Namespace::repair) has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// What it has mended, in order.
    pub mended: Vec<Finding>,
    /// How it stands now.
    pub now: Checkup,
}

impl Repaired {
    /// For engines: mended, and how it stands now.
    pub fn new(mended: Vec<Finding>, now: Checkup) -> Repaired {
        Repaired { mended, now }
    }
}

/// A claim that a reset throws away.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claimed {
    /// The semaphore.
    pub name: String,
    /// Who holds it.
    pub holder: Holder,
}

/// What a reset throws away, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// Why the old namespace could not be read; then only its users are known.
    pub unreadable: Option<String>,
    /// Semaphores.
    pub semaphores: u64,
    /// Claims.
    pub claims: Vec<Claimed>,
    /// How many wait.
    pub waiters: u64,
    /// Processes that use it: members that live; and, where it cannot be read, those that have its file mapped.
    pub users: Vec<Process>,
}

impl Loss {
    /// For engines: so much.
    pub fn new(semaphores: u64, claims: Vec<(String, Holder)>, waiters: u64, users: Vec<Process>) -> Loss {
        let claims = claims.into_iter().map(|(name, holder)| Claimed { name, holder }).collect();
        Loss { unreadable: None, semaphores, claims, waiters, users }
    }

    /// For engines: and some of it could not be read, for this reason.
    pub fn unreadable(mut self, why: Option<String>) -> Loss {
        self.unreadable = why;
        self
    }

    /// Whether nobody uses it.
    pub fn is_unused(&self) -> bool {
        self.claims.is_empty() && self.waiters == 0 && self.users.is_empty()
    }
}
