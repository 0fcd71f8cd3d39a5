//! What dead owners leave: one reference per semaphore to one record, changed by one compare-and-swap.
//!
//! The reference is `acknowledged << 63 | deaths << 32 | first block + 1`. The record holds the first unacknowledged
//! obituary, the latest, and their count. It is published *before* the word is taken over: it states a fact (that owner,
//! dead, held this claim), so a taker that dies in between has done no harm, and a second one that finds the fact
//! published does not count it again.

use super::arena::Arena;
use super::blob;
use super::history::{self, Note, What};
use super::image::Image;
use super::members::{Who, shorten};
use super::word::Owner;
use crate::claim::{Cause, Deaths, Obituary, Process, ProcessState};
use crate::deadline::{now, realtime};
use crate::error::Result;
use crate::sync::Ordering::*;
use std::time::{Duration, SystemTime};

const ACKNOWLEDGED: u64 = 1 << 63;

fn deaths(reference: u64) -> u64 {
    reference >> 32 & 0x7fff_ffff
}

/// One obituary as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    owner: u32,
    token: u64,
    cause: (u8, u8),
    pid: u32,
    uid: u32,
    since: u64,
    noticed: u64,
    label: String,
    command: String,
}

impl Entry {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.owner.to_le_bytes());
        out.extend(self.token.to_le_bytes());
        out.extend([self.cause.0, self.cause.1]);
        out.extend(self.pid.to_le_bytes());
        out.extend(self.uid.to_le_bytes());
        out.extend(self.since.to_le_bytes());
        out.extend(self.noticed.to_le_bytes());
        for text in [&self.label, &self.command] {
            out.push(text.len() as u8);
            out.extend(text.as_bytes());
        }
    }

    fn read(bytes: &mut &[u8]) -> Option<Entry> {
        fn take<const N: usize>(b: &mut &[u8]) -> Option<[u8; N]> {
            let (head, rest) = b.split_first_chunk::<N>()?;
            *b = rest;
            Some(*head)
        }
        fn text(b: &mut &[u8]) -> Option<String> {
            let [len] = take::<1>(b)?;
            let (head, rest) = b.split_at_checked(len as usize)?;
            *b = rest;
            Some(shorten(&String::from_utf8_lossy(head), 135))
        }
        Some(Entry {
            owner: u32::from_le_bytes(take(bytes)?),
            token: u64::from_le_bytes(take(bytes)?),
            cause: take::<2>(bytes)?.into(),
            pid: u32::from_le_bytes(take(bytes)?),
            uid: u32::from_le_bytes(take(bytes)?),
            since: u64::from_le_bytes(take(bytes)?),
            noticed: u64::from_le_bytes(take(bytes)?),
            label: text(bytes)?,
            command: text(bytes)?,
        })
    }

    fn to_public(&self) -> Obituary {
        let at = |ns: u64| SystemTime::UNIX_EPOCH + Duration::from_nanos(ns);
        Obituary {
            process: Process::new(self.pid, self.uid, self.command.clone(), ProcessState::Dead),
            label: (!self.label.is_empty()).then(|| self.label.clone()),
            cause: decode(self.cause),
            since: (self.since != 0).then(|| at(self.since)),
            noticed: at(self.noticed),
            token: self.token,
        }
    }
}

/// As a number, and the signal that belongs to it.
pub fn encode(c: Cause) -> (u8, u8) {
    match c {
        Cause::ProcessEnded => (0, 0),
        Cause::ThreadEnded => (1, 0),
        Cause::Abandoned => (2, 0),
        Cause::CommandKilled(s) => (3, s),
        Cause::MachineRestarted => (4, 0),
        Cause::Evicted => (5, 0),
        Cause::Repaired => (6, 0),
    }
}

/// And back.
pub fn decode(c: (u8, u8)) -> Cause {
    match c {
        (1, _) => Cause::ThreadEnded,
        (2, _) => Cause::Abandoned,
        (3, s) => Cause::CommandKilled(s),
        (4, _) => Cause::MachineRestarted,
        (5, _) => Cause::Evicted,
        (6, _) => Cause::Repaired,
        _ => Cause::ProcessEnded,
    }
}

struct Record {
    first: Entry,
    latest: Entry,
    count: u64,
}

impl Record {
    fn write(&self) -> Vec<u8> {
        let mut out = self.count.to_le_bytes().to_vec();
        self.first.write(&mut out);
        if self.count > 1 {
            self.latest.write(&mut out);
        }
        out
    }

    fn read(bytes: &[u8]) -> Option<Record> {
        let (count, mut rest) = bytes.split_first_chunk::<8>()?;
        let count = u64::from_le_bytes(*count);
        let first = Entry::read(&mut rest)?;
        let latest = if count > 1 { Entry::read(&mut rest)? } else { first.clone() };
        Some(Record { first, latest, count })
    }
}

fn load(arena: &Arena, cell: u32) -> (u64, Option<Record>) {
    let Some(cold) = arena.map.cold(cell) else { return (0, None) };
    loop {
        let reference = cold.obituary.load(Acquire);
        let record = match reference as u32 {
            0 => None,
            first => blob::get(&arena.map, cell, first).and_then(|b| Record::read(&b)),
        };
        if cold.obituary.load(Acquire) == reference {
            return (reference, record);
        }
    }
}

/// What is known of a claim.
pub struct Facts {
    /// Its token, and another one under which its death may have been told: that of an owner which died while it was giving
    /// the claim up with a mark.
    pub tokens: (u64, u64),
    /// Monotonic time of its beginning, or 0.
    pub since: u64,
    pub label: Option<String>,
}

impl Facts {
    /// Those of the claim with this token on an exclusive semaphore.
    pub fn of_owner(arena: &Arena, cell: u32, tokens: (u64, u64)) -> Facts {
        Facts { tokens, since: arena.map.cell(cell).map_or(0, |c| c.since.load(Relaxed)), label: label(arena, cell, tokens.0) }
    }
}

/// States that a claim of `owner` on the cell has ended by a death. The owner is dead and past its gate, or is the caller;
/// None: nobody knows who it was.
///
/// `stands` says whether the fact is still to be told, and is asked after the record was read: a claim that stands then
/// has either been told in that record, or not at all; if somebody tells it in between, the swap fails.
pub fn publish(
    arena: &Arena,
    (cell, generation): (u32, u32),
    owner: impl Into<Option<Owner>>,
    facts: Facts,
    cause: Cause,
    stands: impl Fn() -> bool,
) {
    let (map, owner) = (&arena.map, owner.into());
    let Facts { tokens: (token, also), since, label } = facts;
    let Ok(cold) = map.ensure_cold(cell) else {
        if super::thread::may_log() {
            tracing::warn!("no room for an obituary: the mark stays, the details are lost");
        }
        return;
    };
    let who = owner.and_then(|o| arena.members.who(map, o));
    let cause = match &who {
        Some((_, true)) if cause == Cause::ProcessEnded => Cause::MachineRestarted,
        _ => cause,
    };
    let held = if cause == Cause::MachineRestarted || since == 0 { 0 } else { now().saturating_sub(since).max(1) };
    let since = if held == 0 { 0 } else { realtime().saturating_sub(held) };
    let (who, _) =
        who.unwrap_or((Who { pid: 0, uid: 0, start: 0, pid_ns: 0, image: Image::UNKNOWN, command: String::new() }, false));
    let entry = Entry {
        owner: owner.map_or(0, Owner::bits),
        token,
        cause: encode(cause),
        pid: who.pid,
        uid: who.uid,
        since,
        noticed: realtime(),
        label: label.unwrap_or_default(),
        command: shorten(&who.command, 130),
    };
    loop {
        let (reference, old) = load(arena, cell);
        if !stands() {
            return;
        }
        let mut record = Record { first: entry.clone(), latest: entry.clone(), count: 1 };
        if let Some(old) = old {
            // A claim ends once: a fact with the same owner and token is the same fact.
            let same_claim = |told: u64| told == entry.token || told == also && reference & ACKNOWLEDGED == 0;
            if old.latest.owner == entry.owner && same_claim(old.latest.token) {
                return;
            }
            if reference & ACKNOWLEDGED == 0 {
                record = Record { first: old.first, latest: entry.clone(), count: old.count.saturating_add(1) };
            }
        }
        let Ok(first) = blob::put(map, cell, &record.write()) else {
            if super::thread::may_log() {
                tracing::warn!("no room for an obituary: the mark stays, the details are lost");
            }
            return;
        };
        let alive = map.cell(cell).is_some_and(|c| super::ledger::generation_of(c) == generation);
        let new = (deaths(reference) + 1).min(0x7fff_ffff) << 32 | first as u64;
        if alive && cold.obituary.compare_exchange(reference, new, AcqRel, Relaxed).is_ok() {
            blob::free(map, cell, reference as u32);
            if arena.is_recorded() {
                let name = super::names::name_of(arena, cell, generation).unwrap_or_default();
                let target = super::waiters::target(cell, generation);
                let note = Note { target, token, took: held, ..Note::named(&name, What::died(cause)) };
                history::note_about(arena, owner, &who, &note);
            }
            return;
        }
        blob::free(map, cell, first);
        if !alive {
            return;
        }
    }
}

/// Gives the deaths of one cell to another that is just being built, where the semaphore goes on.
pub fn carry(arena: &Arena, from: u32, to: u32) -> Result<()> {
    let (reference, record) = load(arena, from);
    let cold = arena.map.ensure_cold(to)?;
    let first = match record {
        Some(r) => blob::put(&arena.map, to, &r.write())?,
        None => 0,
    };
    cold.obituary.store(reference & !(u32::MAX as u64) | first as u64, Release);
    Ok(())
}

/// Whether there is a record at this block.
pub fn is_readable(map: &super::map::Map, cell: u32, first: u32) -> bool {
    blob::get(map, cell, first).is_some_and(|b| Record::read(&b).is_some())
}

/// The unacknowledged deaths, and how many there were in all.
pub fn read(arena: &Arena, cell: u32) -> (Option<Deaths>, u64) {
    let (reference, record) = load(arena, cell);
    let open = record.filter(|_| reference & ACKNOWLEDGED == 0);
    let open = open.map(|r| Deaths { first: r.first.to_public(), latest: r.latest.to_public(), count: r.count });
    (open, deaths(reference))
}

/// Acknowledges what there is. Only for the owner of the semaphore, before it clears the mark.
pub fn acknowledge(arena: &Arena, cell: u32) {
    if let Some(cold) = arena.map.cold(cell) {
        cold.obituary.fetch_or(ACKNOWLEDGED, AcqRel);
    }
}

/// The label of the claim with this token.
pub fn label(arena: &Arena, cell: u32, token: u64) -> Option<String> {
    let cold = arena.map.cold(cell)?;
    let reference = cold.label.load(Acquire);
    if reference >> 32 != token & 0xffff_ffff {
        return None;
    }
    let bytes = blob::get(&arena.map, cell, reference as u32)?;
    (cold.label.load(Acquire) == reference).then(|| shorten(&String::from_utf8_lossy(&bytes), 120))
}

/// Labels a claim. Only for the owner of the semaphore.
pub fn set_label(arena: &Arena, cell: u32, token: u64, text: &str) {
    let map = &arena.map;
    let text = shorten(text, 120);
    let Ok(cold) = map.ensure_cold(cell) else { return };
    let old = cold.label.load(Acquire);
    let same = blob::equals(map, cell, old as u32, text.as_bytes()) == Some(true);
    let first = if same { old as u32 } else { blob::put(map, cell, text.as_bytes()).unwrap_or(0) };
    cold.label.store((token & 0xffff_ffff) << 32 | first as u64, Release);
    if !same {
        blob::free(map, cell, old as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_were_and_fit() {
        let e = |n: u32| Entry {
            owner: n,
            token: 7,
            cause: encode(Cause::CommandKilled(9)),
            pid: 812,
            uid: 1000,
            since: 1,
            noticed: 2,
            label: "l".repeat(120),
            command: "c".repeat(130),
        };
        let r = Record { first: e(1), latest: e(2), count: 5 };
        let bytes = r.write();
        assert!(bytes.len() <= blob::MAX);
        let back = Record::read(&bytes).unwrap();
        assert_eq!((back.first, back.latest, back.count), (e(1), e(2), 5));
        assert!(Record::read(&bytes[..bytes.len() - 1]).is_none());
        assert_eq!(decode(e(1).cause), Cause::CommandKilled(9));
    }
}
