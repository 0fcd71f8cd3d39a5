//! What is stored of a semaphore: one value, with its claims, its queue, its mark.

use super::death::{Dead, Why};
use super::world::Served;
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
    pub op: u64,
}

/// A process as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The machine's name.
    pub host: String,
    /// Process id, as the process itself sees it.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// What it runs.
    pub command: String,
    /// The child that its claims cover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covers: Option<u32>,
    /// The claims, by name and token, that cover the command which this process is part of: they do not end before it does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inside: Vec<(String, u64)>,
}

impl Who {
    /// For those who ask.
    pub fn process(&self, state: ProcessState) -> Process {
        Process::new(self.pid, self.uid, &self.command, state).on(&self.host)
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<u32>,
    /// Nesting.
    pub depth: u32,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Whether it ends by itself.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deadline: bool,
    /// Since when.
    pub since: u64,
    /// The store's revision that it was written after: older waits have smaller ones.
    pub order: u64,
    /// It need not stand back for those before it, who wait for each other or for it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub passes: bool,
}

fn is_false(b: &bool) -> bool {
    !b
}

fn is_zero(n: &u64) -> bool {
    *n == 0
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
    /// The version of this form: [`FORM`].
    pub form: u32,
    /// Which sort.
    pub sort: Sort,
    /// The most permits.
    pub limit: u32,
    /// Permits that exist (credit; otherwise the limit says it); 1 for an event that is signalled.
    pub stock: u32,
    /// Which request created it, so that one whose answer was lost knows its own work.
    pub creator: Id,
    /// Gone with its last handle.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ephemeral: bool,
    /// The handles of an ephemeral one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub openers: Vec<Id>,
    /// Claims, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Held>,
    /// Waits that a signal has ended (auto-reset), until their clients know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<Seen>,
    /// Waits that a signal has ended (manual-reset), and whose clients are still to be told: more than one transaction can tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owed: Vec<Served>,
    /// Who waits, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queue: Vec<Ticket>,
    /// The previous owner died, and nobody has said since that the state is whole.
    #[serde(default, skip_serializing_if = "is_false")]
    pub marked: bool,
    /// The deaths that were not acknowledged (a counting one: all).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<Dead>,
    /// Being drained, or drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// The latest fencing token.
    pub token: u64,
    /// Claims granted; of an event, signals.
    pub acquired: u64,
    /// Requests that had to wait.
    pub contended: u64,
    /// Requests whose time ran out.
    pub timed_out: u64,
    /// Waits that would never have ended.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub endless: u64,
    /// Owners that died.
    pub deaths: u64,
    /// The longest hold, in milliseconds, that somebody waited for.
    pub longest: u64,
    /// When it was created or last acquired.
    pub used: u64,
}

/// The version of what is stored of a semaphore.
pub const FORM: u32 = 1;

/// The greatest token that may have been given out up to this revision.
///
/// A token is the store's revision before the grant, plus one: so tokens grow also over a semaphore that was removed and made
/// again, and nothing has to be kept of it. An exclusive one is granted once in a change at most. Of a counting one a change may
/// grant up to 65,535 claims, so its tokens have 16 bits more.
fn first_token(sort: Sort, revision: u64) -> u64 {
    match sort {
        Sort::Pool | Sort::Credit => revision << 16,
        _ => revision,
    }
}

/// Wall-clock milliseconds since 1970: what a record keeps of times, for people only.
pub fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

impl Record {
    /// A new, clear one, after this revision of the store: its tokens go on above those of whatever had the name before.
    pub fn new(spec: &Spec, creator: Id, revision: u64, now: u64) -> Record {
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
            form: FORM,
            sort,
            limit,
            stock,
            creator,
            ephemeral: spec.ephemeral,
            openers,
            claims: Vec::new(),
            seen: Vec::new(),
            owed: Vec::new(),
            queue: Vec::new(),
            marked: false,
            dead: None,
            drain: None,
            token: first_token(sort, revision),
            acquired: 0,
            contended: 0,
            timed_out: 0,
            endless: 0,
            deaths: 0,
            longest: 0,
            used: now,
        }
    }

    /// As a value of the store.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From a value of the store; 1392 when somebody else wrote it, 1306 when another version of this did.
    pub fn decode(value: &str) -> xsem::Result<Record> {
        #[derive(Deserialize)]
        struct Form {
            form: u32,
        }
        let broken = |e: serde_json::Error| {
            Error::new(Code::FileCorrupt, format!("a semaphore's record cannot be read: {e}"))
                .advice("only this engine may write below its prefix")
        };
        serde_json::from_str(value).map_err(|e| match serde_json::from_str(value) {
            Ok(Form { form }) if form != FORM => {
                Error::new(Code::RevisionMismatch, format!("a semaphore's record has form {form}, and this program knows {FORM}"))
                    .advice("use programs of one release")
            }
            _ => broken(e),
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
        self.claims.is_empty() && self.queue.is_empty() && self.owed.is_empty() && self.seen.iter().all(|s| s.fetched)
    }

    /// The note of a wait that a signal has ended.
    pub fn seen_by(&self, id: Id) -> Option<&Seen> {
        self.seen.iter().find(|s| s.id == id)
    }

    /// The signal has ended this wait, and is consumed if the event resets itself.
    pub fn note(&mut self, ticket: &Ticket, now: u64) {
        self.used = now;
        if self.sort == Sort::Auto {
            self.stock = 0;
            self.seen.push(Seen { id: ticket.party.id, token: self.acquired, comes_back: true, fetched: false });
        }
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

    /// A claim for this ticket, in the change after `revision`; its token. That there are permits the caller has seen to.
    pub fn grant(&mut self, ticket: &Ticket, permits: u32, revision: u64, now: u64) -> u64 {
        self.acquired += 1;
        self.token = (self.token + 1).max(first_token(self.sort, revision) + 1);
        self.used = now;
        let taken: std::collections::BTreeSet<u32> = self.claims.iter().flat_map(|c| &c.slots).copied().collect();
        let slots = match self.sort {
            Sort::Pool => (0..self.limit).filter(|s| !taken.contains(s)).take(permits as usize).collect(),
            _ => Vec::new(),
        };
        let (label, parties) = (ticket.label.clone(), vec![ticket.party.clone()]);
        self.claims.push(Held { token: self.token, permits, slots, depth: 1, label, since: now, parties });
        self.token
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

    /// The deaths that are not acknowledged.
    pub fn obituaries(&self) -> Option<Deaths> {
        self.dead.as_ref().map(Dead::obituaries)
    }
}
