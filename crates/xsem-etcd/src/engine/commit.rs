//! Transactions on records, each carried out exactly once although answers get lost.
//!
//! A transaction compares the revision of every record that it was computed from, so of two at once one begins again. It
//! also puts a mark into its thread's *lane*, a key that lives as long as the session, and compares the lane's revision. If
//! no answer comes, the next transaction on the lane settles what happened: it either finds the mark (it was carried out),
//! or changes the lane itself, and then the lost one can never be carried out any more, however late it arrives. So nothing
//! has to be idempotent by itself, not even adding permits, and nobody who gives up leaves a request behind that takes
//! something later. That the lane is there also says that the session is: it has its lease.

use super::client::{Inner, lock};
use super::crowd::{Crowd, Pace};
use super::notes;
use super::record::Record;
use super::session::{Lane, RECORDS, SESSIONS, Session, key, note_key, of_key, owner_key};
use super::store::{Answer, Compare, KeyValue, Op, Revision, Silence, Txn};
use super::world::{People, Slot, Stop, World};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use xsem::Error;

/// A transaction whose answer did not come, on its lane.
#[derive(Debug)]
pub struct Pending {
    session: Arc<Session>,
    lane: Lane,
    mark: String,
}

/// Why an operation did not come to its end.
#[derive(Debug)]
pub enum Trouble {
    /// It must not be; nothing was changed.
    Refused(Error),
    /// The session is over, and nothing was done.
    Lost,
    /// The session is over, and with it what told whether something was done. What belonged to it (claims, waits) is gone in
    /// either case.
    Vanished,
    /// The client was closed for good.
    Closed,
    /// The caller's patience ended while the store did not answer; nothing was sent that could change anything.
    Silent,
    /// The same, and whether the change was, or will be, made has to be found out.
    Unresolved(Pending),
}

impl From<Error> for Trouble {
    fn from(e: Error) -> Trouble {
        Trouble::Refused(e)
    }
}

/// Asked after each time without an answer: whether to give up.
pub type GiveUp<'a> = &'a dyn Fn() -> bool;

/// What became of a transaction that was sent.
enum Sent {
    /// Carried out, as this change.
    Done(Revision),
    /// Not carried out: something that it compared was different. What it is, if the answer said so.
    Conflict(Option<Box<World>>),
}

impl Inner {
    /// Carries `body` out on the records `names` (and those that it asks for besides). It may be called several times, each
    /// time on fresh records; what the last call gave is returned, with the store's revision after it.
    pub fn transact<T>(
        &self,
        session: &Arc<Session>,
        names: impl IntoIterator<Item = String>,
        give_up: GiveUp<'_>,
        body: impl FnMut(&mut World) -> Result<T, Stop>,
    ) -> Result<(T, Revision), Trouble> {
        self.transact_at(Pace::Eager, session, names, give_up, body)
    }

    /// The same at this pace.
    pub fn transact_at<T>(
        &self,
        pace: Pace,
        session: &Arc<Session>,
        names: impl IntoIterator<Item = String>,
        give_up: GiveUp<'_>,
        mut body: impl FnMut(&mut World) -> Result<T, Stop>,
    ) -> Result<(T, Revision), Trouble> {
        let mut crowd = Crowd::new(pace);
        let mut names: BTreeSet<String> = names.into_iter().collect();
        // First on what this client saw last: where nobody else has changed it, that is one round trip instead of two.
        let mut at_hand = self.recall(&names);
        loop {
            let mut world = match at_hand.take() {
                Some(world) => world,
                None => self.load(&names, give_up)?,
            };
            let from_memory = world.alive.is_none();
            let result = match body(&mut world) {
                Ok(result) => result,
                Err(Stop::Need(more)) => {
                    names.extend(more);
                    continue;
                }
                // What is remembered may be old: good enough for a change, whose transaction compares, but not for a refusal.
                Err(Stop::Refuse(_) | Stop::Fresh) if from_memory => continue,
                Err(Stop::Fresh) => continue,
                Err(Stop::Refuse(e)) => return Err(Trouble::Refused(e)),
            };
            let changed = world.slots.values().any(|s| s.before != s.after);
            match changed {
                false if from_memory => {}
                false => {
                    let revision = world.revision;
                    self.remember(world, revision);
                    return Ok((result, revision));
                }
                true => match crowd.timed(|| self.commit(session, &world, give_up))? {
                    Sent::Done(revision) => {
                        if world.more {
                            let names = world.slots.keys().cloned().collect();
                            self.outbox.push(self, super::outbox::Task::Settle(session.clone(), names));
                        }
                        self.remember(world, revision);
                        return Ok((result, revision));
                    }
                    Sent::Conflict(fresh) => at_hand = fresh.map(|w| *w).filter(|_| !crowd.stand_back(give_up)),
                },
            }
        }
    }

    /// Reads records, and which sessions live, at one instant.
    pub fn load(&self, names: &BTreeSet<String>, give_up: GiveUp<'_>) -> Result<World, Trouble> {
        let answer = self.read(reads(names), give_up)?;
        Ok(of_answer(names, &answer.reads, answer.revision)?)
    }

    /// Reads one record, and who lives, at one instant.
    pub fn load_one(&self, name: &str, give_up: GiveUp<'_>) -> Result<World, Trouble> {
        let answer = self.read(vec![Op::Get(format!("{RECORDS}{name}")), Op::Prefix(SESSIONS.to_owned())], give_up)?;
        let found = answer.reads.first().and_then(|r| r.first());
        Ok(world([(name.to_owned(), slot(found)?)].into(), answer.reads.get(1), answer.revision))
    }

    /// Reads all records, and which sessions live, at one instant.
    pub fn load_all(&self, give_up: GiveUp<'_>) -> Result<World, Trouble> {
        let answer = self.read(vec![Op::Prefix(RECORDS.to_owned()), Op::Prefix(SESSIONS.to_owned())], give_up)?;
        let mut slots = BTreeMap::new();
        for kv in answer.reads.iter().take(1).flatten() {
            slots.insert(kv.key[RECORDS.len()..].to_owned(), slot(Some(kv))?);
        }
        Ok(world(slots, answer.reads.get(1), answer.revision))
    }

    /// Reads until there is an answer or no patience.
    pub fn read(&self, ops: Vec<Op>, give_up: GiveUp<'_>) -> Result<Answer, Trouble> {
        let txn = Arc::new(Txn { then: ops, ..Txn::default() });
        loop {
            match self.store.ask(&txn) {
                Ok(answer) => return Ok(answer),
                Err(Silence::Closed) => return Err(Trouble::Closed),
                Err(Silence::Refused(e)) => return Err(Trouble::Refused(e)),
                Err(_) if give_up() => return Err(Trouble::Silent),
                Err(_) => {}
            }
        }
    }

    fn recall(&self, names: &BTreeSet<String>) -> Option<World> {
        let memory = lock(&self.memory);
        let slots = names.iter().map(|n| Some((n.clone(), memory.get(n)?.clone()))).collect::<Option<_>>()?;
        Some(World::new(slots, None, self.seen.load(SeqCst)))
    }

    /// How a record is since this change, as somebody else has told.
    pub fn knows(&self, name: String, created: u64, modified: Revision, record: Record) {
        let mut memory = lock(&self.memory);
        if memory.get(&name).is_none_or(|m| m.modified < modified) {
            memory.insert(name, Slot { before: Some(record.clone()), modified, created, after: Some(record) });
        }
    }

    /// What was read or written last, for the next transaction.
    pub fn remember(&self, world: World, revision: Revision) {
        self.seen.fetch_max(revision, SeqCst);
        let mut memory = lock(&self.memory);
        for (name, slot) in world.slots {
            let changed = slot.before != slot.after;
            let modified = if changed { revision } else { slot.modified };
            let created = if slot.before.is_some() { slot.created } else { revision };
            // Another thread may have seen a later one.
            if memory.get(&name).is_some_and(|m| m.modified > modified) {
                continue;
            }
            match slot.after {
                None => drop(memory.remove(&name)),
                after => drop(memory.insert(name, Slot { before: after.clone(), modified, created, after })),
            }
        }
    }

    /// The transaction that makes the world so, with a mark for the lane; and what is to be read where it cannot.
    fn txn(&self, session: &Session, lane: &Lane, mark: &str, world: &World, litter: &[String]) -> Txn {
        let mut compare = vec![Compare::Modified(lane.key.clone(), lane.modified)];
        // The first time on a lane.
        if lane.modified == 0 {
            compare.push(Compare::Created(session.key(), session.created));
        }
        let told = world.told.iter().map(|(session, _)| *session);
        let others: BTreeSet<u64> =
            world.served.iter().map(|s| s.id.session).chain(world.assumed.iter().copied()).chain(told).collect();
        compare.extend(others.into_iter().filter(|s| *s != session.id).map(|s| Compare::Exists(key(s))));
        let mut then = vec![Op::Put(lane.key.clone(), mark.to_owned(), session.id)];
        for (name, slot) in &world.slots {
            let key = format!("{RECORDS}{name}");
            compare.push(Compare::Modified(key.clone(), slot.modified));
            match &slot.after {
                after if *after == slot.before => {}
                Some(record) => then.push(Op::Put(key, record.encode(), 0)),
                None => then.push(Op::Delete(key)),
            }
        }
        then.extend(world.served.iter().map(|s| Op::Put(note_key(s.id), notes::of_served(s, world), s.id.session)));
        for (owner, name) in &world.told {
            then.extend(notes::of_record(name, world).map(|note| Op::Put(owner_key(*owner, name), note, *owner)));
        }
        then.extend(litter.iter().cloned().map(Op::Delete));
        let mut otherwise = vec![Op::Get(session.key())];
        otherwise.extend(reads(&world.slots.keys().cloned().collect()));
        Txn { compare, then, otherwise }
    }

    fn commit(&self, session: &Arc<Session>, world: &World, give_up: GiveUp<'_>) -> Result<Sent, Trouble> {
        let litter = session.sweep_up();
        let sent = self.commit_with(session, world, &litter, give_up);
        if !matches!(sent, Ok(Sent::Done(_))) {
            litter.into_iter().for_each(|key| session.litter(key));
        }
        sent
    }

    fn commit_with(
        &self,
        session: &Arc<Session>,
        world: &World,
        litter: &[String],
        give_up: GiveUp<'_>,
    ) -> Result<Sent, Trouble> {
        if !session.is_alive() {
            session.lose();
            return Err(Trouble::Lost);
        }
        let lane = session.lane();
        // With the time, for who reads the history: the store keeps none.
        let mark = format!("t{} {}", self.next_op(), world.now);
        let txn = Arc::new(self.txn(session, &lane, &mark, world, litter));
        match self.store.change(&txn) {
            Ok(answer) if answer.succeeded => {
                session.put_back(Lane { modified: answer.revision, ..lane });
                Ok(Sent::Done(answer.revision))
            }
            Ok(answer) => {
                self.still(session, answer.reads.first())?;
                session.put_back(lane);
                self.forget(world);
                let names = world.slots.keys().cloned().collect();
                Ok(Sent::Conflict(Some(Box::new(of_answer(&names, answer.reads.get(1..).unwrap_or_default(), answer.revision)?))))
            }
            // Our own, or that of somebody who was to be told; who lives is read again then.
            Err(Silence::NoLease) => {
                session.put_back(lane);
                self.forget(world);
                match self.read(vec![Op::Get(session.key())], give_up) {
                    Ok(answer) => self.still(session, answer.reads.first())?,
                    Err(t) => return Err(t),
                }
                Ok(Sent::Conflict(None))
            }
            Err(Silence::Closed) => Err(Trouble::Closed),
            Err(Silence::Refused(e)) => {
                session.put_back(lane);
                Err(Trouble::Refused(e))
            }
            Err(Silence::NotDone) => {
                session.put_back(lane);
                if give_up() { Err(Trouble::Silent) } else { Ok(Sent::Conflict(None)) }
            }
            Err(Silence::Unknown) => {
                let done = self.resolve(Pending { session: session.clone(), lane, mark }, give_up)?;
                self.forget(world);
                Ok(done.map_or(Sent::Conflict(None), Sent::Done))
            }
        }
    }

    /// Finds out whether a transaction was carried out, and sees to it that it is not from here on: the change that it was,
    /// or `None`.
    pub fn resolve(&self, pending: Pending, give_up: GiveUp<'_>) -> Result<Option<Revision>, Trouble> {
        let Pending { session, lane, mark } = pending;
        let txn = Arc::new(Txn {
            compare: vec![Compare::Created(session.key(), session.created), Compare::Modified(lane.key.clone(), lane.modified)],
            then: vec![Op::Put(lane.key.clone(), format!("not {mark}"), session.id)],
            otherwise: vec![Op::Get(session.key()), Op::Get(lane.key.clone())],
        });
        loop {
            match self.store.change(&txn) {
                Ok(answer) if answer.succeeded => {
                    session.put_back(Lane { modified: answer.revision, ..lane });
                    return Ok(None);
                }
                Ok(answer) => {
                    self.still(&session, answer.reads.first()).map_err(|_| Trouble::Vanished)?;
                    // The transaction's own mark; or ours, of an earlier round whose answer was lost.
                    let Some(found) = answer.reads.get(1).and_then(|r| r.first()) else { return vanished(&session) };
                    session.put_back(Lane { modified: found.modified, ..lane });
                    return Ok((found.value == mark).then_some(found.modified));
                }
                Err(Silence::NoLease) => return vanished(&session),
                Err(Silence::Closed) => return Err(Trouble::Closed),
                Err(_) if !session.is_alive() => {
                    session.lose();
                    return Err(Trouble::Vanished);
                }
                Err(_) if give_up() => return Err(Trouble::Unresolved(Pending { session, lane, mark })),
                Err(_) => {}
            }
        }
    }

    /// Whether the session's key was found, and is the session's own.
    fn still(&self, session: &Session, found: Option<&Vec<KeyValue>>) -> Result<(), Trouble> {
        match found.and_then(|f| f.first()) {
            Some(kv) if kv.created == session.created => Ok(()),
            _ => self.lost(session),
        }
    }

    fn lost<T>(&self, session: &Session) -> Result<T, Trouble> {
        session.vanish();
        Err(Trouble::Lost)
    }

    fn forget(&self, world: &World) {
        let mut memory = lock(&self.memory);
        world.slots.keys().for_each(|name| drop(memory.remove(name)));
    }
}

/// The reads of these records, and of who lives.
fn reads(names: &BTreeSet<String>) -> Vec<Op> {
    let mut ops: Vec<Op> = names.iter().map(|n| Op::Get(format!("{RECORDS}{n}"))).collect();
    ops.push(Op::Keys(SESSIONS.to_owned()));
    ops
}

/// What those reads gave.
fn of_answer(names: &BTreeSet<String>, found: &[Vec<KeyValue>], revision: Revision) -> Result<World, Error> {
    let mut slots = BTreeMap::new();
    for (name, kvs) in names.iter().zip(found) {
        slots.insert(name.clone(), slot(kvs.first())?);
    }
    Ok(world(slots, found.get(names.len()), revision))
}

/// A record as it was read.
pub fn slot(found: Option<&KeyValue>) -> Result<Slot, Error> {
    let record = found.map(|kv| Record::decode(&kv.value)).transpose()?;
    let (modified, created) = found.map_or((0, 0), |kv| (kv.modified, kv.created));
    Ok(Slot { before: record.clone(), modified, created, after: record })
}

fn vanished<T>(session: &Session) -> Result<T, Trouble> {
    session.vanish();
    Err(Trouble::Vanished)
}

fn world(slots: BTreeMap<String, Slot>, sessions: Option<&Vec<KeyValue>>, revision: Revision) -> World {
    let person = |kv: &KeyValue| Some((of_key(&kv.key)?, serde_json::from_str(&kv.value).ok()));
    let alive: Option<People> = sessions.map(|found| found.iter().filter_map(person).collect());
    let mut world = World::new(slots, alive, revision);
    world.sweep();
    world
}
