//! Changes of the store as people tell them: what happened to a semaphore is what its record was before a change, and what it was after.
//!
//! Who made a change, and when, is said by the lane that each transaction puts (see `commit`), in the same revision; who that session is, by
//! its key. What leaves no trace in a record cannot be told: a try that found it taken, a newcomer whom a drain refused, nesting.

use super::record::{Entry, Held, Id, Record, Ticket, Who};
use super::session::{LANES, NOTES, RECORDS, of_key};
use super::store::{Change, KeyValue, Revision};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, UNIX_EPOCH};
use xsem::{Cause, Code, Happened, Process, ProcessState, Record as Told};

/// A change can be told in so many records: a position is the revision, and which of them.
const BITS: u32 = 12;

/// The change that a position belongs to.
pub fn revision_of(position: u64) -> Revision {
    position >> BITS
}

/// What happened, the oldest first. `people`: the sessions that there are now.
pub fn tell(changes: &[Change], people: &[KeyValue]) -> Vec<Told> {
    let mut teller = Teller { people: known(changes, people), at: 0, told: Vec::new() };
    for group in changes.chunk_by(|a, b| a.revision == b.revision) {
        teller.change(group);
    }
    teller.told
}

/// Who each session was when it is first heard of: as it is now, or was when it ended, or before it said something else of itself.
fn known(changes: &[Change], people: &[KeyValue]) -> HashMap<u64, Who> {
    let parse = |key: &str, value: &str| Some((of_key(key)?, serde_json::from_str(value).ok()?));
    let mut all: HashMap<u64, Who> = people.iter().filter_map(|kv| parse(&kv.key, &kv.value)).collect();
    // Backwards: the first of them counts in the end.
    for c in changes.iter().rev() {
        all.extend(c.before.as_ref().and_then(|before| parse(&c.key, before)));
    }
    all
}

struct Teller {
    people: HashMap<u64, Who>,
    /// The latest time that is known, in milliseconds since 1970.
    at: u64,
    told: Vec<Told>,
}

/// What is known of one change beside the records.
struct Act {
    revision: Revision,
    /// The session that made it, if it was one.
    by: Option<u64>,
    /// The waits that it has ended with success.
    served: HashSet<(u64, u64)>,
}

impl Teller {
    /// All keys of one revision.
    fn change(&mut self, keys: &[Change]) {
        let mut act = Act { revision: keys[0].revision, by: None, served: HashSet::new() };
        let mut records: Vec<(&str, Option<Record>, Option<Record>)> = Vec::new();
        for c in keys {
            let read = |value: &Option<String>| value.as_ref().and_then(|v| Record::decode(v).ok());
            if let Some(name) = c.key.strip_prefix(RECORDS) {
                records.push((name, read(&c.before), read(&c.now)));
            } else if let (Some(rest), Some(mark)) = (c.key.strip_prefix(LANES), &c.now) {
                act.by = rest.split_once('/').and_then(|(session, _)| u64::from_str_radix(session, 16).ok());
                let at = mark.split_once(' ').and_then(|(_, at)| at.parse().ok());
                // Hosts have clocks of their own; a change is not told as before one that it followed.
                self.at = self.at.max(at.unwrap_or(0));
            } else if let (Some(rest), Some(_)) = (c.key.strip_prefix(NOTES), &c.now) {
                let id = rest.split_once('/').and_then(|(s, op)| Some((u64::from_str_radix(s, 16).ok()?, op.parse().ok()?)));
                act.served.extend(id);
            } else if let (Some(session), Some(who)) = (of_key(&c.key), &c.now) {
                self.people.extend(serde_json::from_str(who).ok().map(|who| (session, who)));
            }
        }
        // Of several semaphores at once, one may have what a wait at another one has got.
        let claims = records.iter().filter_map(|(_, _, after)| after.as_ref()).flat_map(|r| &r.claims);
        let own: Vec<_> = claims.flat_map(|c| &c.parties).map(|p| (p.id.session, p.id.op)).collect();
        act.served.extend(own);
        for (name, before, after) in &records {
            self.record(&act, name, before.as_ref(), after.as_ref());
        }
    }

    fn say(&mut self, act: &Act, name: &str, who: Option<&Who>, what: Happened) -> &mut Told {
        let before = self.told.iter().rev().take_while(|t| revision_of(t.position) == act.revision).count() as u64;
        let position = (act.revision << BITS) + before.min((1 << BITS) - 1);
        let at = UNIX_EPOCH + Duration::from_millis(self.at);
        let process = who.map_or_else(|| Process::new(0, 0, "", ProcessState::Unseen), |w| w.process(ProcessState::Unseen));
        self.told.push(Told::new(position, at, name, process, what));
        let last = self.told.len() - 1;
        &mut self.told[last]
    }

    /// By whoever made the change.
    fn by(&mut self, act: &Act, name: &str, what: Happened) -> &mut Told {
        let who = act.by.and_then(|session| self.people.get(&session).cloned());
        self.say(act, name, who.as_ref(), what)
    }

    fn since(&self, then: u64) -> Option<Duration> {
        Some(Duration::from_millis(self.at.saturating_sub(then)))
    }

    fn record(&mut self, act: &Act, name: &str, before: Option<&Record>, after: Option<&Record>) {
        let Some(after) = after else {
            let Some(before) = before else { return };
            // A reset ends everything at once, and nobody did that to each.
            if act.by.is_some() {
                self.ended(act, name, before, None);
            }
            self.by(act, name, Happened::Removed);
            return;
        };
        let Some(before) = before else {
            self.by(act, name, Happened::Created(after.kind()));
            let empty = Record { claims: Vec::new(), queue: Vec::new(), acquired: 0, drain: None, ..after.clone() };
            return self.differs(act, name, &empty, after);
        };
        self.differs(act, name, before, after);
    }

    fn differs(&mut self, act: &Act, name: &str, before: &Record, after: &Record) {
        self.ended(act, name, before, Some(after));
        if before.marked && !after.marked {
            self.by(act, name, Happened::Consistent);
        }
        if before.limit != after.limit {
            self.by(act, name, Happened::Resized).permits = after.limit;
        }
        if !after.is_event() && after.stock > before.stock {
            self.by(act, name, Happened::Added).permits = after.stock - before.stock;
        }
        self.drained(act, name, before, after);
        if after.is_event() {
            self.signalled(act, name, before, after);
        }
        self.left(act, name, before, after);
        let new = after.claims.iter().filter(|c| !before.claims.iter().any(|b| b.token == c.token));
        for c in new {
            let Some(first) = c.parties.first() else { continue };
            let waited = before.queue.iter().find(|t| t.party.id == first.id).and_then(|t| self.since(t.since));
            let told = self.say(act, name, Some(&first.who), Happened::Acquired { died: after.marked });
            (told.claimant, told.token, told.permits, told.took) = (first.claimant, c.token, c.permits, waited);
        }
    }

    /// Claims, and parts of them, that are not there any more.
    fn ended(&mut self, act: &Act, name: &str, before: &Record, after: Option<&Record>) {
        let same = |c: &Held| after.and_then(|a| a.claims.iter().find(|x| x.token == c.token));
        let mut used_up = after.map_or(0, |a| before.stock.saturating_sub(a.stock));
        let mut deaths = after.map_or(u64::MAX, |a| a.deaths.saturating_sub(before.deaths));
        let latest = after.and_then(|a| a.dead.as_ref()).map(super::death::Dead::latest);
        // Of several that ended at once, those died that whoever made the change had not himself.
        let is_own = |c: &Held| c.parties.iter().any(|p| Some(p.id.session) == act.by);
        let mut gone: Vec<&Held> = before.claims.iter().filter(|c| same(c).is_none()).collect();
        gone.sort_by_key(|c| (latest.as_ref().is_none_or(|(token, _)| *token != c.token), is_own(c)));
        for c in gone {
            let Some(first) = c.parties.first() else { continue };
            let died = deaths > 0 && (after.is_some() || !is_own(c));
            let what = match &latest {
                _ if !died && after.is_some_and(|_| !before.is_event() && used_up >= c.permits) => {
                    used_up -= c.permits;
                    Happened::UsedUp
                }
                _ if !died => Happened::Released,
                Some((token, cause)) if *token == c.token => Happened::Died(*cause),
                _ => Happened::Died(Cause::ProcessEnded),
            };
            deaths = deaths.saturating_sub(u64::from(died));
            let took = self.since(c.since);
            let told = self.say(act, name, Some(&first.who), what);
            (told.claimant, told.token, told.permits, told.took) = (first.claimant, c.token, c.permits, took);
        }
        for c in &before.claims {
            let Some((now, first)) = same(c).zip(c.parties.first()) else { continue };
            if now.permits < c.permits {
                let told = self.say(act, name, Some(&first.who), Happened::Released);
                (told.claimant, told.token, told.permits) = (first.claimant, c.token, c.permits - now.permits);
            }
            let left = c.parties.iter().filter(|p| !now.parties.iter().any(|n| n.id == p.id));
            for p in left.take(usize::try_from(deaths).unwrap_or(0)) {
                let told = self.say(act, name, Some(&p.who), Happened::Died(Cause::ProcessEnded));
                (told.claimant, told.token, told.permits) = (p.claimant, c.token, c.permits);
            }
        }
    }

    /// Waits that are not there any more, and were not for a claim that is told by itself.
    fn left(&mut self, act: &Act, name: &str, before: &Record, after: &Record) {
        let mut late = after.timed_out.saturating_sub(before.timed_out);
        let mut endless = after.endless.saturating_sub(before.endless);
        for t in before.queue.iter().filter(|t| !after.waits(t.party.id)) {
            let id = t.party.id;
            let what = match () {
                () if after.is_event() && is_over(act, after, t) => Happened::Acquired { died: false },
                () if is_over(act, after, t) || nested(before, after, t, name) => continue,
                // Somebody else took it out: it has died.
                () if Some(id.session) != act.by => continue,
                () if late > 0 => {
                    late -= 1;
                    Happened::Refused(Code::SemTimeout)
                }
                () if endless > 0 => {
                    endless -= 1;
                    Happened::Refused(Code::PossibleDeadlock)
                }
                () => Happened::Refused(Code::Interrupt),
            };
            let took = self.since(t.since);
            let told = self.say(act, name, Some(&t.party.who), what);
            (told.claimant, told.took) = (t.party.claimant, took);
        }
    }

    fn drained(&mut self, act: &Act, name: &str, before: &Record, after: &Record) {
        match (&before.drain, &after.drain) {
            (None, Some(d)) => {
                self.say(act, name, Some(&d.by.who), Happened::Draining);
                if d.done {
                    self.say(act, name, Some(&d.by.who), Happened::Drained);
                }
            }
            (Some(was), Some(d)) if d.done && !was.done => {
                self.say(act, name, Some(&d.by.who), Happened::Drained);
            }
            (Some(_), None) => {
                self.by(act, name, Happened::Reopened);
            }
            _ => {}
        }
    }

    fn signalled(&mut self, act: &Act, name: &str, before: &Record, after: &Record) {
        let signals = after.acquired.saturating_sub(before.acquired);
        if signals > 0 && before.stock == 0 {
            self.by(act, name, Happened::Signalled);
        }
        // Whoever saw it without having to wait: nothing but the time of its use says so.
        let gone = before.queue.iter().any(|t| !after.waits(t.party.id));
        let consumed = after.seen.iter().any(|s| before.seen_by(s.id).is_none());
        if signals == 0 && !gone && (consumed || before.used != after.used && before.stock == 1 && after.stock == 1) {
            self.by(act, name, Happened::Acquired { died: false });
        } else if before.stock == 1 && after.stock == 0 && !consumed && !gone {
            self.by(act, name, Happened::Reset);
        }
    }
}

/// Whether a wait that is gone has got something by this change.
fn is_over(act: &Act, after: &Record, t: &Ticket) -> bool {
    let Id { session, op } = t.party.id;
    act.served.contains(&(session, op)) || after.seen_by(t.party.id).is_some() || after.owed.iter().any(|s| s.id == t.party.id)
}

/// Whether it has got another level of a claim of its own.
fn nested(before: &Record, after: &Record, t: &Ticket, name: &str) -> bool {
    let depth = |r: &Record, e: &Entry| e.nests.and_then(|id| r.claim_of(id)).map_or(0, |at| r.claims[at].depth);
    t.list.iter().filter(|e| e.name == name).any(|e| depth(after, e) > depth(before, e))
}
