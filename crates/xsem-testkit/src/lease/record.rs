//! What is stored of a semaphore: one value, with its claims, its queue, its mark.

use super::death::{Dead, Why};
use serde::{Deserialize, Serialize};
use std::time::{SystemTime, UNIX_EPOCH};
use xsem::engine::Spec;
use xsem::{Capacity, Code, Deaths, Error, Kind, Mode, Process, ProcessState, Reset, Signal};

/// Names one request of one session beyond doubt: the session's lease, and a number that the session uses once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Id {
    /// The session.
    pub session: u64,
    /// The request.
    pub op: u32,
}

impl Id {
    /// As the key of a claim. Leases are small numbers here; with etcd's a client would keep a table.
    pub fn key(self) -> u64 {
        self.session << 32 | self.op as u64
    }

    /// Back again.
    pub fn of_key(key: u64) -> Id {
        Id { session: key >> 32, op: key as u32 }
    }
}

/// A process as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// Process id.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// What it runs.
    pub command: String,
}

impl Who {
    /// For those who ask.
    pub fn process(&self, state: ProcessState) -> Process {
        Process::new(self.pid, self.uid, &self.command, state)
    }
}

/// One that holds a claim, alone or with others that joined it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// By which request.
    pub id: Id,
    /// Thread or task of the process; 0: the process as a whole.
    pub claimant: u32,
    /// The process.
    pub who: Who,
}

/// A claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The fencing token.
    pub token: u64,
    /// Permits.
    pub permits: u32,
    /// Which slots of a pool.
    pub slots: Vec<u32>,
    /// Nesting.
    pub depth: u32,
    /// What it is called.
    pub label: Option<String>,
    /// Since when.
    pub since: u64,
    /// Whose it is; more than one where it was joined. It ends with the last.
    pub parties: Vec<Party>,
}

/// Whether a wait is for one semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// One.
    One,
    /// The first of several.
    Any,
    /// Several at one instant.
    All,
}

/// What a wait is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which semaphore.
    pub name: String,
    /// How many permits.
    pub permits: u32,
    /// The claimant's own claim on it, which another level is wanted of.
    pub nests: Option<Id>,
}

/// Somebody who waits. The same ticket stands in the queue of each semaphore that it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Which request.
    pub party: Party,
    /// One, any, all.
    pub wish: Wish,
    /// Of these.
    pub list: Vec<Entry>,
    /// What the claim shall be called.
    pub label: Option<String>,
    /// Whether it ends by itself.
    pub deadline: bool,
    /// Since when.
    pub since: u64,
    /// The store's revision that it was written after: older waits have smaller ones.
    pub order: u64,
    /// It need not stand back for those before it, who wait for each other or for it.
    pub passes: bool,
}

/// A drain that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// By whom.
    pub by: Party,
    /// Whether the wait for the others ends by itself.
    pub deadline: bool,
    /// The store's revision that it was written after.
    pub order: u64,
    /// Nobody is left; now it stays closed without the one who drained it.
    pub done: bool,
}

/// A wait that an event's signal has ended, until its client knows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Which request.
    pub id: Id,
    /// Signals so far.
    pub token: u64,
    /// The signal is consumed only for this one, and nobody has asked since whether it was: if the wait turns out to have
    /// ended otherwise, it is there again.
    pub comes_back: bool,
    /// Its client has looked at it. It stays for a while, in case the answer was lost.
    pub fetched: bool,
}

/// Notes that have been fetched, and are kept all the same.
const KEPT: usize = 16;

/// The five sorts of semaphore that this engine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sort {
    /// One owner.
    Exclusive,
    /// As many permits as the limit.
    Pool,
    /// Permits come and go.
    Credit,
    /// An event that is reset by hand.
    Manual,
    /// An event that is reset by a wait.
    Auto,
}

/// A semaphore as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which sort.
    pub sort: Sort,
    /// The most permits.
    pub limit: u32,
    /// Permits that exist (credit; otherwise the limit says it); 1 for an event that is signalled.
    pub stock: u32,
    /// Which request created it, so that one whose answer was lost knows its own work.
    pub creator: Id,
    /// Gone with its last handle.
    pub ephemeral: bool,
    /// The handles of an ephemeral one.
    pub openers: Vec<Id>,
    /// Claims, oldest first.
    pub claims: Vec<Held>,
    /// Waits that a signal has ended.
    #[serde(default)]
    pub seen: Vec<Seen>,
    /// Who waits, oldest first.
    pub queue: Vec<Ticket>,
    /// The previous owner died, and nobody has said since that the state is whole.
    pub marked: bool,
    /// The deaths that were not acknowledged (a counting one: all).
    pub dead: Option<Dead>,
    /// Being drained, or drained.
    pub drain: Option<Drain>,
    /// Claims granted, and the last token.
    pub acquired: u64,
    /// Requests that had to wait.
    pub contended: u64,
    /// Requests whose time ran out.
    pub timed_out: u64,
    /// Owners that died.
    pub deaths: u64,
    /// The longest hold, in milliseconds, that somebody waited for.
    pub longest: u64,
    /// When it was created or last acquired.
    pub used: u64,
}

/// Wall-clock milliseconds since 1970: what a record keeps of times, for people only.
pub fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

impl Record {
    /// A new, clear one.
    pub fn new(spec: &Spec, creator: Id, now: u64) -> Record {
        let sort = match (spec.kind, spec.mode) {
            (Kind::Event, _) if spec.reset == Reset::Auto => Sort::Auto,
            (Kind::Event, _) => Sort::Manual,
            (Kind::Counting, Mode::Credit) => Sort::Credit,
            (Kind::Counting, _) => Sort::Pool,
            _ => Sort::Exclusive,
        };
        let (limit, stock) = match sort {
            Sort::Exclusive => (1, 1),
            Sort::Manual | Sort::Auto => (1, spec.initial.min(1)),
            _ => (spec.limit, spec.initial),
        };
        let openers = if spec.ephemeral { vec![creator] } else { Vec::new() };
        Record {
            sort,
            limit,
            stock,
            creator,
            ephemeral: spec.ephemeral,
            openers,
            claims: Vec::new(),
            seen: Vec::new(),
            queue: Vec::new(),
            marked: false,
            dead: None,
            drain: None,
            acquired: 0,
            contended: 0,
            timed_out: 0,
            deaths: 0,
            longest: 0,
            used: now,
        }
    }

    /// As a value of the store.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From a value of the store; 1392 when somebody else wrote it.
    pub fn decode(value: &str) -> xsem::Result<Record> {
        serde_json::from_str(value).map_err(|e| {
            Error::new(Code::FileCorrupt, format!("a semaphore's record cannot be read: {e}"))
                .advice("only this engine may write below its prefix")
        })
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        match self.sort {
            Sort::Exclusive => Kind::Exclusive,
            Sort::Pool | Sort::Credit => Kind::Counting,
            Sort::Manual | Sort::Auto => Kind::Event,
        }
    }

    /// Permits that somebody has.
    pub fn out(&self) -> u32 {
        self.claims.iter().map(|c| c.permits).sum()
    }

    /// Whether it is an event.
    pub fn is_event(&self) -> bool {
        self.kind() == Kind::Event
    }

    /// How an event stands.
    pub fn signal(&self) -> Option<Signal> {
        let reset = if self.sort == Sort::Auto { Reset::Auto } else { Reset::Manual };
        self.is_event().then(|| Signal::new(reset, self.stock > 0))
    }

    /// Permits that nobody has.
    pub fn free(&self) -> u32 {
        let there = if self.sort == Sort::Credit || self.is_event() { self.stock } else { self.limit };
        there.min(self.limit).saturating_sub(self.out())
    }

    /// Limit and permits; `None` for another kind.
    pub fn capacity(&self) -> Option<Capacity> {
        let (mode, total) = match self.sort {
            Sort::Exclusive | Sort::Manual | Sort::Auto => return None,
            Sort::Pool => (Mode::Pool, self.limit.max(self.out())),
            Sort::Credit => (Mode::Credit, self.stock),
        };
        Some(Capacity::new(mode, self.limit, total, self.free()))
    }

    /// The claim that a request made or joined.
    pub fn claim_of(&self, id: Id) -> Option<usize> {
        self.claims.iter().position(|c| c.parties.iter().any(|p| p.id == id))
    }

    /// Whether this request waits.
    pub fn waits(&self, id: Id) -> bool {
        self.queue.iter().any(|t| t.party.id == id)
    }

    /// Nobody holds it or waits for it.
    pub fn is_clear(&self) -> bool {
        // Who has not heard of its signal still waits.
        self.claims.is_empty() && self.queue.is_empty() && self.seen.iter().all(|s| s.fetched)
    }

    /// The note of a wait that a signal has ended.
    pub fn seen_by(&self, id: Id) -> Option<&Seen> {
        self.seen.iter().find(|s| s.id == id)
    }

    /// The signal has ended this wait, and is consumed if the event resets itself.
    pub fn note(&mut self, ticket: &Ticket, now: u64) {
        let comes_back = self.sort == Sort::Auto;
        self.stock = if comes_back { 0 } else { self.stock };
        self.used = now;
        self.seen.push(Seen { id: ticket.party.id, token: self.acquired, comes_back, fetched: false });
    }

    /// Its client knows of it.
    pub fn fetched(&mut self, id: Id) {
        self.seen.iter_mut().filter(|s| s.id == id).for_each(|s| s.fetched = true);
        let mut old = self.seen.iter().filter(|s| s.fetched).count().saturating_sub(KEPT);
        self.seen.retain(|s| {
            let goes = s.fetched && old > 0;
            old -= usize::from(goes);
            !goes
        });
    }

    /// The wait has ended otherwise: as if it had not met the signal.
    pub fn unsee(&mut self, id: Id) {
        let Some(at) = self.seen.iter().position(|s| s.id == id) else { return };
        if self.seen.remove(at).comes_back {
            self.stock = 1;
        }
    }

    /// Somebody has been told how the event stands: what was consumed stays so.
    pub fn told_state(&mut self) {
        self.seen.iter_mut().for_each(|s| s.comes_back = false);
    }

    /// A claim for this ticket. That there are permits the caller has seen to.
    pub fn grant(&mut self, ticket: &Ticket, permits: u32, now: u64) {
        self.acquired += 1;
        self.used = now;
        let taken: std::collections::BTreeSet<u32> = self.claims.iter().flat_map(|c| &c.slots).copied().collect();
        let slots = match self.sort {
            Sort::Pool => (0..self.limit).filter(|s| !taken.contains(s)).take(permits as usize).collect(),
            _ => Vec::new(),
        };
        let (label, parties) = (ticket.label.clone(), vec![ticket.party.clone()]);
        self.claims.push(Held { token: self.acquired, permits, slots, depth: 1, label, since: now, parties });
    }

    /// Notes a death of one that holds the claim `at`. An exclusive semaphore gets the mark.
    pub fn bury(&mut self, at: usize, party: usize, why: Why, now: u64) {
        let Some((c, p)) = self.claims.get(at).and_then(|c| Some((c, c.parties.get(party)?))) else { return };
        self.dead = Some(Dead::after(self.dead.take(), c, p, why, now));
        self.deaths += 1;
        self.marked |= self.sort == Sort::Exclusive;
    }

    /// Takes one party away from the claim `at`; with the last one the claim ends. Whoever remains does not inherit the
    /// nesting of the one who made it.
    pub fn leave(&mut self, at: usize, party: usize, now: u64) {
        if let Some(c) = self.claims.get_mut(at) {
            c.parties.remove(party);
            c.depth = if party == 0 { 1 } else { c.depth };
            if c.parties.is_empty() {
                self.end(at, now);
            }
        }
    }

    /// Ends the claim `at`.
    pub fn end(&mut self, at: usize, now: u64) {
        let claim = self.claims.remove(at);
        if !self.queue.is_empty() {
            self.longest = self.longest.max(now.saturating_sub(claim.since));
        }
    }

    /// What an owner is told; `None` where there is no mark.
    pub fn told(&self) -> Option<Option<Deaths>> {
        self.marked.then(|| self.obituaries())
    }

    /// The deaths that are not acknowledged.
    pub fn obituaries(&self) -> Option<Deaths> {
        self.dead.as_ref().map(Dead::obituaries)
    }
}
