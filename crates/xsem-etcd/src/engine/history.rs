//! What has happened in a namespace, from the past that the store still knows: etcd keeps each change of each key up to its compaction, with
//! what was there before. So nothing is written for it, and nobody has to switch it on.
//!
//! It is read backwards in parts that grow, until there is enough of it. Where the present ends is only known by a change: a key of
//! the namespace is put for that, and what comes before that change is all there is.

use super::client::Inner;
use super::commit::{GiveUp, Trouble};
use super::session::{RECORDS, SESSIONS};
use super::store::{Op, Past, Revision, Silence, Txn};
use super::story;
use std::sync::Arc;
use std::time::{Duration, Instant};
use xsem::{History, Result};

/// Records at most.
const MOST: usize = 4096;
/// Revisions that are looked at first; each further part is four times as large. Others who use the store make some of them.
const FIRST: Revision = 4096;
/// No further part is begun after so long.
const LONG: Duration = Duration::from_secs(4);
/// The key that is put to know the end.
const MARKER: &str = "h";

/// From this position on: the latest that are still known, at most [`MOST`].
pub fn history(client: &Inner, from: u64) -> Result<History> {
    let floor = story::revision_of(from).max(1);
    let (past, people) = client.show(|give_up| {
        let end = client.mark(give_up)?;
        let people = client.read(vec![Op::Prefix(SESSIONS.to_owned())], give_up)?;
        Ok((client.back(floor, end, give_up)?, people.reads.into_iter().next().unwrap_or_default()))
    })?;
    let mut records = story::tell(&past.changes, &people);
    records.retain(|r| r.position >= from);
    let more = records.len() > MOST;
    records.drain(..records.len().saturating_sub(MOST));
    let reach = match past.from {
        _ if more => format!("the latest {MOST} are shown; etcd has older ones"),
        1 => "etcd still has all that happened here".to_owned(),
        n if n > floor && past.compacted => format!("etcd has forgotten what was before its revision {n} (its compaction)"),
        n => format!("it goes back to revision {n} of etcd, which has older changes, too"),
    };
    Ok(History::new(Some(MOST as u32), records).reaching(reach))
}

/// What was read of the past.
struct Read {
    from: Revision,
    compacted: bool,
    changes: Vec<super::store::Change>,
}

impl Inner {
    /// The revision of a change that is made for this.
    fn mark(&self, give_up: GiveUp<'_>) -> std::result::Result<Revision, Trouble> {
        let txn = Arc::new(Txn { then: vec![Op::Put(MARKER.to_owned(), String::new(), 0)], ..Txn::default() });
        loop {
            match self.store.change(&txn) {
                Ok(answer) => return Ok(answer.revision),
                Err(Silence::Closed) => return Err(Trouble::Closed),
                Err(Silence::Refused(e)) => return Err(Trouble::Refused(e)),
                Err(_) if give_up() => return Err(Trouble::Silent),
                // Twice is as good as once.
                Err(_) => {}
            }
        }
    }

    fn part(&self, from: Revision, before: Revision, give_up: GiveUp<'_>) -> std::result::Result<Past, Trouble> {
        loop {
            match self.store.past(from, before) {
                Ok(past) => return Ok(past),
                Err(Silence::Closed) => return Err(Trouble::Closed),
                Err(Silence::Refused(e)) => return Err(Trouble::Refused(e)),
                Err(_) if give_up() => return Err(Trouble::Silent),
                Err(_) => {}
            }
        }
    }

    /// What was before `end`, from `floor` on, as far as it is enough.
    fn back(&self, floor: Revision, end: Revision, give_up: GiveUp<'_>) -> std::result::Result<Read, Trouble> {
        let (begun, mut size) = (Instant::now(), FIRST);
        let mut read = Read { from: end, compacted: false, changes: Vec::new() };
        while read.from > floor {
            let first = read.from.saturating_sub(size).max(floor);
            let mut part = self.part(first, read.from, give_up)?;
            read.compacted = part.from > first;
            read.from = part.from.min(read.from);
            part.changes.append(&mut read.changes);
            read.changes = part.changes;
            let enough = read.changes.iter().filter(|c| c.key.starts_with(RECORDS)).count() > MOST;
            if read.compacted || enough || begun.elapsed() > LONG {
                break;
            }
            size *= 4;
        }
        Ok(read)
    }
}
