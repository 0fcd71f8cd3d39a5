//! Some records at one revision, what one transaction makes of them, and who gets what.
//!
//! The rule by which permits pass on is here and nowhere else: whoever changes records [`settle`](World::settle)s them
//! before it writes them, so what is stored never leaves somebody waiting who could be served. A releaser thus hands over in
//! the transaction in which it releases, and a note in the same transaction tells the one who is served: nobody has to wake up
//! and compete, and nobody else is woken.

use super::death::{Dead, Why};
use super::record::{Entry, Id, Party, Record, Sort, Ticket, Who, Wish};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use xsem::Error;

/// The sessions that live, and who they are where that was read.
pub type People = BTreeMap<u64, Option<Who>>;

/// Waits that one transaction may end, other than its own: etcd's servers take 128 steps by default, and each of them is a
/// comparison and a note.
pub const MAX_SERVED: usize = 40;

/// A record that goes along with a note has at most so many waits: a long one would be written twice for little, since others
/// who hold something change it before the note's reader does.
pub const FEW: usize = 16;

/// The same where the note's reader owns it alone, and is the next to change it: then a round trip is saved each time.
pub const MANY: usize = 128;

/// Why a transaction's body did not come to its end.
#[derive(Debug)]
pub enum Stop {
    /// These records are needed, too.
    Need(Vec<String>),
    /// What is remembered does not do: it must be read.
    Fresh,
    /// It must not be: nothing is written.
    Refuse(Error),
}

impl From<Error> for Stop {
    fn from(e: Error) -> Stop {
        Stop::Refuse(e)
    }
}

/// One record: as it was read, and as it shall be.
#[derive(Clone, Debug)]
pub struct Slot {
    /// As it was read; `None`: there was none.
    pub before: Option<Record>,
    /// The change that wrote it; 0: there was none.
    pub modified: u64,
    /// The change that created it: which of the semaphores that have had this name.
    pub created: u64,
    /// As it shall be.
    pub after: Option<Record>,
}

/// What a request has got of one entry of its list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Got {
    /// Which entry.
    pub entry: usize,
    /// The token of the claim; of an event, the signals so far.
    pub token: u64,
    /// The claim: the request's own, or the one that it nests in.
    pub id: Id,
    /// The mark is set: what is known of the dead. It comes with the outermost claim only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub died: Option<Dead>,
}

/// A wait that is over, with what it has got. A drain gets nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Whose.
    pub id: Id,
    /// What.
    pub got: Vec<Got>,
    /// The only semaphore that it was about: its record goes along.
    #[serde(skip)]
    pub of: Option<String>,
}

/// Records at one revision.
#[derive(Debug)]
pub struct World {
    /// By name.
    pub slots: BTreeMap<String, Slot>,
    /// The sessions that live; `None` when that is not known here (then nobody is swept away, and those who are granted
    /// something, or are believed to hold something, are compared in the transaction).
    pub alive: Option<People>,
    /// The store's revision when it was read.
    pub revision: u64,
    /// Wall-clock milliseconds.
    pub now: u64,
    /// Waits that were served, and are to be told.
    pub served: Vec<Served>,
    /// There are more who could be served: another transaction has to go on.
    pub more: bool,
    /// Sessions that this was computed for as if they lived.
    pub assumed: BTreeSet<u64>,
    /// Owners that shall know of the record of this name: somebody has queued, which they would find out only when they release.
    pub told: Vec<(u64, String)>,
}

impl World {
    /// Of these records.
    pub fn new(slots: BTreeMap<String, Slot>, alive: Option<People>, revision: u64) -> World {
        let now = super::record::wall();
        World { slots, alive, revision, now, served: Vec::new(), more: false, assumed: BTreeSet::new(), told: Vec::new() }
    }

    /// The record of this name, if it is loaded and there.
    pub fn get(&self, name: &str) -> Option<&Record> {
        self.slots.get(name)?.after.as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Record> {
        self.slots.get_mut(name)?.after.as_mut()
    }

    /// Takes out what belongs to sessions that have ended.
    pub fn sweep(&mut self) {
        let Some(alive) = &self.alive else { return };
        for slot in self.slots.values_mut() {
            let Some(rec) = &mut slot.after else { continue };
            sweep(rec, alive, self.now);
            if rec.ephemeral && rec.openers.is_empty() && rec.is_clear() {
                slot.after = None;
            }
        }
    }

    /// Puts a ticket at the end of the queues of all that it is for.
    pub fn enqueue(&mut self, ticket: &Ticket) {
        let names: BTreeSet<&str> = ticket.list.iter().map(|e| e.name.as_str()).collect();
        for name in names {
            if let Some(rec) = self.get_mut(name) {
                rec.queue.push(ticket.clone());
            }
        }
    }

    /// Takes a ticket out of all queues that are loaded.
    pub fn dequeue(&mut self, id: Id) {
        for rec in self.slots.values_mut().filter_map(|s| s.after.as_mut()) {
            rec.queue.retain(|t| t.party.id != id);
        }
    }

    /// What the transaction's own wait has got, which needs no telling; `None`: it is not over.
    pub fn take(&mut self, id: Id) -> Option<Vec<Got>> {
        let at = self.served.iter().position(|s| s.id == id)?;
        let got = self.served.remove(at).got;
        self.slots.values_mut().filter_map(|s| s.after.as_mut()).for_each(|r| r.fetched(id));
        self.end_drains();
        Some(got)
    }

    /// Those who hold something of what is loaded are believed to live: the transaction compares. False: there are too many.
    pub fn assume_holders(&mut self) -> bool {
        let claims = self.slots.values().filter_map(|s| s.after.as_ref()).flat_map(|r| &r.claims);
        self.assumed.extend(claims.flat_map(|c| &c.parties).map(|p| p.id.session));
        self.assumed.len() <= MAX_SERVED
    }

    /// The owner of an exclusive semaphore is to know that the request of this session waits for it.
    pub fn tell_owner(&mut self, name: &str, from: u64) {
        let Some(rec) = self.get(name).filter(|r| r.sort == Sort::Exclusive && r.queue.len() <= FEW) else { return };
        let owner = rec.claims.first().and_then(|c| c.parties.first()).map(|p| p.id.session).filter(|s| *s != from);
        self.told.extend(owner.map(|session| (session, name.to_owned())));
    }

    /// Grants all that can be granted.
    pub fn settle(&mut self) -> Result<(), Stop> {
        let mut dirty: BTreeSet<String> = self.slots.keys().cloned().collect();
        while let Some(name) = dirty.pop_first() {
            self.pay_up(&name);
            while let Some((ticket, entry)) = self.next(&name)? {
                if self.is_full() && self.get(&name).is_some_and(|r| r.sort != Sort::Manual) {
                    self.more = true;
                    return Ok(());
                }
                self.serve(&ticket, entry);
                dirty.extend(ticket.list.into_iter().map(|e| e.name));
            }
        }
        self.end_drains();
        Ok(())
    }

    /// Nobody is left: who drains it is told.
    pub fn end_drains(&mut self) {
        for rec in self.slots.values_mut().filter_map(|s| s.after.as_mut()) {
            let clear = rec.is_clear();
            if let Some(drain) = rec.drain.as_mut().filter(|d| clear && !d.done) {
                drain.done = true;
                self.served.push(Served { id: drain.by.id, got: Vec::new(), of: None });
            }
        }
    }

    fn is_full(&self) -> bool {
        self.served.len() >= MAX_SERVED
    }

    /// Tells those whose wait a signal has ended, as far as there is room.
    fn pay_up(&mut self, name: &str) {
        let room = MAX_SERVED.saturating_sub(self.served.len());
        let Some(rec) = self.slots.get_mut(name).and_then(|s| s.after.as_mut()) else { return };
        let some = rec.owed.len().min(room);
        self.more |= rec.owed.len() > some;
        self.served.extend(rec.owed.drain(..some));
    }

    /// The first in the queue of `name` that can be served, and with which entry of its list (`None`: all).
    fn next(&self, name: &str) -> Result<Option<(Ticket, Option<usize>)>, Stop> {
        let Some(rec) = self.get(name) else { return Ok(None) };
        let mut blocked = false;
        for t in &rec.queue {
            // Another level of one's own claim takes nothing from those who stand before.
            if blocked && !t.passes && t.list.iter().all(|e| e.nests.is_none()) {
                continue;
            }
            // Most often the permits are not there, and the other records need not be known.
            let mut here = false;
            for e in t.list.iter().filter(|e| e.name == name) {
                here |= self.fits(t, e)?;
            }
            if here && t.list.iter().any(|e| !self.slots.contains_key(&e.name)) {
                // All of its queues, which it leaves when it is served.
                return Err(need(t));
            }
            match t.wish {
                Wish::All if here && self.fit_all(t)? => return Ok(Some((t.clone(), None))),
                Wish::All => {}
                Wish::One | Wish::Any if here => {
                    for (i, e) in t.list.iter().enumerate() {
                        if self.fits(t, e)? {
                            return Ok(Some((t.clone(), Some(i))));
                        }
                    }
                }
                // What comes back is kept for it, however much it wants; unless that is more than there may be.
                Wish::One | Wish::Any => blocked |= blocks(rec, t, name),
            }
        }
        Ok(None)
    }

    fn fit_all(&self, t: &Ticket) -> Result<bool, Stop> {
        for e in &t.list {
            if !self.fits(t, e)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether an entry of a ticket could be granted now: permits are free, and nobody stands before it for whom they are
    /// kept.
    fn fits(&self, t: &Ticket, e: &Entry) -> Result<bool, Stop> {
        let Some(slot) = self.slots.get(&e.name) else {
            return Err(need(t));
        };
        let Some(rec) = &slot.after else { return Ok(false) };
        if e.nests.is_some_and(|outer| rec.claim_of(outer).is_some()) {
            return Ok(true);
        }
        let before = rec.queue.iter().take_while(|other| other.party.id != t.party.id);
        Ok(rec.free() >= e.permits && (t.passes || before.into_iter().all(|other| !blocks(rec, other, &e.name))))
    }

    /// Gives a ticket what it waits for, and takes it out of the queues.
    fn serve(&mut self, t: &Ticket, entry: Option<usize>) {
        let (now, own) = (self.now, t.party.id);
        self.dequeue(own);
        let mut got = Vec::new();
        for (i, e) in t.list.iter().enumerate().filter(|(i, _)| entry.is_none_or(|chosen| chosen == *i)) {
            let Some(slot) = self.slots.get_mut(&e.name) else { continue };
            let (modified, Some(rec)) = (slot.modified, &mut slot.after) else { continue };
            let (id, token) = match e.nests.and_then(|outer| Some((outer, rec.claim_of(outer)?))) {
                Some((outer, at)) => {
                    rec.claims[at].depth += 1;
                    (outer, rec.claims[at].token)
                }
                None if rec.is_event() => {
                    rec.note(t, now);
                    (own, rec.acquired)
                }
                None => (own, rec.grant(t, e.permits, modified, now)),
            };
            let died = if id == own && rec.marked { rec.dead.clone() } else { None };
            got.push(Got { entry: i, token, id, died });
        }
        let of = if let [entry] = &t.list[..] { Some(entry.name.clone()) } else { None };
        let served = Served { id: own, got, of };
        if !self.is_full() {
            self.served.push(served);
            return;
        }
        // There is no room for another note, and only who waits for a manual event gets here then: a signal counts for all, at once.
        let last = served.got.last().and_then(|g| t.list.get(g.entry)).map(|e| e.name.clone());
        if let Some(rec) = last.and_then(|name| self.slots.get_mut(&name)?.after.as_mut()) {
            rec.owed.push(served);
            self.more = true;
        }
    }
}

fn need(t: &Ticket) -> Stop {
    Stop::Need(t.list.iter().map(|e| e.name.clone()).collect())
}

/// Whether those behind this ticket in the queue of `name` have to wait for it. Who wants several at one instant does not
/// keep others from any of them meanwhile: that would be holding them.
pub fn blocks(rec: &Record, t: &Ticket, name: &str) -> bool {
    // What is there for all is kept for nobody.
    rec.sort != Sort::Manual && t.wish != Wish::All && t.list.iter().any(|e| e.name == name && e.permits <= rec.limit)
}

fn sweep(rec: &mut Record, alive: &People, now: u64) {
    rec.queue.retain(|t| alive.contains_key(&t.party.id.session));
    rec.owed.retain(|s| alive.contains_key(&s.id.session));
    rec.openers.retain(|o| alive.contains_key(&o.session));
    // A signal that a dead one has not heard of is there for others.
    let gone: Vec<Id> = rec.seen.iter().map(|s| s.id).filter(|id| !alive.contains_key(&id.session)).collect();
    for id in gone {
        match rec.seen_by(id).is_some_and(|s| s.fetched) {
            true => rec.seen.retain(|s| s.id != id),
            false => rec.unsee(id),
        }
    }
    if rec.drain.as_ref().is_some_and(|d| !d.done && !alive.contains_key(&d.by.id.session)) {
        rec.drain = None;
    }
    let is_dead = |p: &Party| !alive.contains_key(&p.id.session);
    while let Some((at, party)) = rec.claims.iter().enumerate().find_map(|(i, c)| Some((i, c.parties.iter().position(is_dead)?)))
    {
        rec.bury(at, party, Why::Ended, now);
        rec.leave(at, party, now);
    }
}

#[cfg(test)]
#[path = "world_tests.rs"]
mod tests;
