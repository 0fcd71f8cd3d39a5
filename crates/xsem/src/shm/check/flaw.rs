//! What a look has found: a finding for people, and the step that mends it.

use super::super::word::Word;
use crate::health::{Finding, Remedy, Severity};
use crate::sync::{AtomicU16, AtomicU32, AtomicU64};

/// One compare-and-swap, or a few that belong together, from what was seen to what belongs there. A living process that
/// changes it meanwhile wins, and it is looked at again.
pub enum Mend<'a> {
    /// There is nothing that repair can do.
    Nothing,
    /// A word, or several whose order does not matter.
    Swap(Vec<(&'a AtomicU64, u64, u64)>),
    Swap32(&'a AtomicU32, u32, u32),
    /// The same for one of 16 bits.
    Swap16(&'a AtomicU16, u16, u16),
    /// Room for a range is taken from the file system.
    Room {
        at: u64,
        len: u64,
    },
    /// Room for every unit whose bit is set.
    Taken,
    /// A word of a semaphore; who sleeps on it looks again.
    Word {
        cell: u32,
        seen: Word,
        to: Word,
    },
    /// An exclusive semaphore whose owner is known by what it has written beside the word.
    Back {
        cell: u32,
        seen: Word,
        to: Word,
        claim: u64,
    },
    /// One in the hands of a repair that has not come to its end: that fails.
    Settle {
        cell: u32,
        seen: Word,
    },
    /// An exclusive semaphore whose owner nobody can tell: free, with the mark.
    Free {
        cell: u32,
        seen: Word,
        generation: u32,
    },
    /// A name of which nothing is left, and that nobody holds.
    Drop {
        cell: u32,
        seen: Word,
    },
    /// A semaphore that its name does not lead to.
    Link {
        cell: u32,
        seen: Word,
    },
    /// What is free according to the claims.
    Recount {
        cell: u32,
        seen: u64,
        to: u64,
    },
    /// A member that is gone and was not told to be.
    Bury {
        slot: u32,
        main: u64,
    },
    /// Who a member is, as the holder of its lock.
    Introduce {
        slot: u32,
        main: u64,
        pid: u32,
    },
    /// A wait record that is in no list; the slot that it belongs to, or nobody's.
    Record {
        record: u32,
        slot: Option<u32>,
    },
    /// A claim that is in no ledger.
    Entry {
        entry: u32,
        cell: u32,
    },
    /// An entry that nobody has any more.
    FreeEntry {
        entry: u32,
        who: u64,
        target: u64,
    },
    /// A cell that was left half built or half removed.
    Recover {
        cell: u32,
        seen: Word,
    },
    /// A block that nothing leads to.
    Block {
        block: u32,
        head: u64,
    },
}

/// A finding and its mend.
pub struct Flaw<'a> {
    pub finding: Finding,
    pub mend: Mend<'a>,
    /// What makes it the same finding at the next look: where, and the very bytes that were seen.
    pub key: (&'static str, u64, u64),
    /// Only where no other process has the file open: who made it cannot be told, and may come back to it.
    pub alone: bool,
}

impl<'a> Flaw<'a> {
    /// Damage in an entry of a table; `seen` are the bytes that are wrong.
    pub fn damage(table: &'static str, index: impl Into<u64>, seen: u64, found: impl Into<String>) -> Flaw<'a> {
        Flaw::new(Severity::Damage, table, index, seen, found)
    }

    /// Room that nobody uses.
    pub fn leak(table: &'static str, index: impl Into<u64>, seen: u64, found: impl Into<String>) -> Flaw<'a> {
        Flaw::new(Severity::Leak, table, index, seen, found)
    }

    /// Worth knowing.
    pub fn note(table: &'static str, index: impl Into<u64>, seen: u64, found: impl Into<String>) -> Flaw<'a> {
        Flaw::new(Severity::Note, table, index, seen, found)
    }

    fn new(severity: Severity, table: &'static str, index: impl Into<u64>, seen: u64, found: impl Into<String>) -> Flaw<'a> {
        let index = index.into();
        let finding = Finding::new(severity, table, found, "").at(index);
        Flaw { finding, mend: Mend::Nothing, key: (table, index, seen), alone: false }
    }

    /// What belongs there.
    pub fn expected(mut self, text: impl Into<String>) -> Flaw<'a> {
        self.finding.expected = text.into();
        self
    }

    /// The semaphore that it concerns.
    pub fn of(mut self, name: Option<String>) -> Flaw<'a> {
        self.finding.name = name;
        self
    }

    /// How repair mends it.
    pub fn mend(mut self, how: impl Into<String>, mend: Mend<'a>) -> Flaw<'a> {
        self.finding.remedy = Remedy::Repair(how.into());
        self.mend = mend;
        self
    }

    /// It is mended by the way.
    pub fn by_itself(mut self, how: impl Into<String>) -> Flaw<'a> {
        self.finding.remedy = Remedy::Itself(how.into());
        self
    }

    /// What somebody can do about it.
    pub fn person(mut self, what: impl Into<String>) -> Flaw<'a> {
        self.finding.remedy = Remedy::Person(what.into());
        self
    }

    /// Mended only where nobody else has the file open.
    pub fn alone(mut self) -> Flaw<'a> {
        self.alone = true;
        self
    }
}
