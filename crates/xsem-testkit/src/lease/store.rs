//! The store: an etcd in miniature, in one process.
//!
//! Keys with create and modify revision; transactions that compare and then put, delete and read; leases that
//! take their keys with them; watches from a revision. One lock makes it linearizable, and each change that somebody makes
//! has a revision of its own, so revisions order everything.

use super::clock::{Tick, lock};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
pub use xsem_etcd::engine::store::{Answer, Compare, Event, KeyValue, Op, Revision, Txn};

/// Events that are kept for watchers; whoever is further behind has to read again, as after etcd's compaction.
const HISTORY: usize = 4096;

/// There is no such lease (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoLease;

/// The wanted revisions are not kept any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted;

#[derive(Debug)]
struct Lease {
    ttl: Tick,
    ends: Tick,
    keys: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct State {
    revision: Revision,
    keys: BTreeMap<String, KeyValue>,
    leases: BTreeMap<u64, Lease>,
    last_lease: u64,
    history: VecDeque<(Revision, Event)>,
    /// The latest revision that was dropped from the history.
    compacted: Revision,
}

/// The store.
#[derive(Debug, Default)]
pub struct Store {
    state: Mutex<State>,
    changed: Condvar,
}

impl Store {
    /// Carries a transaction out. A put with a lease that does not exist refuses all of it, as etcd does.
    pub fn txn(&self, txn: &Txn) -> Result<Answer, NoLease> {
        let mut s = lock(&self.state);
        let succeeded = txn.compare.iter().all(|c| s.holds(c));
        let ops = if succeeded { &txn.then } else { &txn.otherwise };
        if ops.iter().any(|op| matches!(op, Op::Put(_, _, lease) if *lease != 0 && !s.leases.contains_key(lease))) {
            return Err(NoLease);
        }
        let revision = s.revision + 1;
        let mut reads = Vec::new();
        for op in ops {
            match op {
                Op::Put(key, value, lease) => s.put(revision, key, value, *lease),
                Op::Delete(key) => s.delete(revision, key),
                Op::DeleteAll(prefix) => {
                    let all: Vec<String> = s.below(prefix).map(|kv| kv.key.clone()).collect();
                    all.iter().for_each(|key| s.delete(revision, key));
                }
                Op::Get(key) => reads.push(s.keys.get(key).cloned().into_iter().collect()),
                Op::Prefix(prefix) => reads.push(s.below(prefix).cloned().collect()),
                Op::Keys(prefix) => {
                    reads.push(s.below(prefix).map(|kv| KeyValue { value: String::new(), ..kv.clone() }).collect());
                }
            }
        }
        let answer = Answer { revision: s.revision, succeeded, reads };
        drop(s);
        self.changed.notify_all();
        Ok(answer)
    }

    /// A new lease.
    pub fn grant(&self, ttl: Tick, now: Tick) -> u64 {
        let mut s = lock(&self.state);
        s.last_lease += 1;
        let id = s.last_lease;
        s.leases.insert(id, Lease { ttl, ends: now + ttl, keys: BTreeSet::new() });
        id
    }

    /// Its time begins again.
    pub fn keep_alive(&self, lease: u64, now: Tick) -> Result<(), NoLease> {
        let mut s = lock(&self.state);
        let lease = s.leases.get_mut(&lease).ok_or(NoLease)?;
        lease.ends = now + lease.ttl;
        Ok(())
    }

    /// Ends a lease and deletes its keys, in one change.
    pub fn revoke(&self, lease: u64) -> Result<(), NoLease> {
        let mut s = lock(&self.state);
        let gone = s.leases.remove(&lease).ok_or(NoLease)?;
        let revision = s.revision + 1;
        gone.keys.iter().for_each(|key| s.delete(revision, key));
        drop(s);
        self.changed.notify_all();
        Ok(())
    }

    /// The store's revision.
    pub fn revision(&self) -> Revision {
        lock(&self.state).revision
    }

    /// Ends the leases whose time is over.
    pub fn expire(&self, now: Tick) {
        let over: Vec<u64> = lock(&self.state).leases.iter().filter(|(_, l)| l.ends <= now).map(|(id, _)| *id).collect();
        for lease in over {
            // One that was kept alive since the look above has had its chance: nobody may rely on its last tick.
            let _ = self.revoke(lease);
        }
    }

    /// The changes from revision `from` on that `wanted` accepts; waits for the first one for at most `patience`. Also the
    /// revision from which to ask next.
    pub fn watch(
        &self,
        from: Revision,
        patience: Duration,
        wanted: &dyn Fn(&Event) -> bool,
    ) -> Result<(Vec<Event>, Revision), Compacted> {
        let end = Instant::now() + patience;
        let mut s = lock(&self.state);
        loop {
            if from <= s.compacted {
                return Err(Compacted);
            }
            let at = s.history.partition_point(|(r, _)| *r < from);
            let events: Vec<Event> = s.history.range(at..).map(|(_, e)| e).filter(|e| wanted(e)).cloned().collect();
            let left = end.saturating_duration_since(Instant::now());
            if !events.is_empty() || left.is_zero() {
                return Ok((events, s.revision.max(from.saturating_sub(1)) + 1));
            }
            s = self.changed.wait_timeout(s, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a KeyValue> + 'a {
        self.keys.range(prefix.to_owned()..).map(|(_, kv)| kv).take_while(move |kv| kv.key.starts_with(prefix))
    }

    fn holds(&self, c: &Compare) -> bool {
        match c {
            Compare::Created(key, r) => self.keys.get(key).map_or(0, |kv| kv.created) == *r,
            Compare::Modified(key, r) => self.keys.get(key).map_or(0, |kv| kv.modified) == *r,
            Compare::Exists(key) => self.keys.contains_key(key),
        }
    }

    fn put(&mut self, revision: Revision, key: &str, value: &str, lease: u64) {
        let old = self.keys.get(key);
        let created = old.map_or(revision, |kv| kv.created);
        if let Some(l) = old.map(|kv| kv.lease).filter(|l| *l != lease).and_then(|l| self.leases.get_mut(&l)) {
            l.keys.remove(key);
        }
        if let Some(l) = self.leases.get_mut(&lease) {
            l.keys.insert(key.to_owned());
        }
        let kv = KeyValue { key: key.to_owned(), value: value.to_owned(), created, modified: revision, lease };
        self.keys.insert(key.to_owned(), kv.clone());
        self.happened(revision, Event { key: key.to_owned(), now: Some(kv) });
    }

    fn delete(&mut self, revision: Revision, key: &str) {
        if let Some(gone) = self.keys.remove(key) {
            if let Some(l) = self.leases.get_mut(&gone.lease) {
                l.keys.remove(key);
            }
            self.happened(revision, Event { key: key.to_owned(), now: None });
        }
    }

    fn happened(&mut self, revision: Revision, event: Event) {
        self.revision = revision;
        self.history.push_back((revision, event));
        while self.history.len() > HISTORY
            && let Some((old, _)) = self.history.pop_front()
        {
            self.compacted = old;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str, lease: u64) -> Txn {
        Txn { then: vec![Op::Put(key.into(), value.into(), lease)], ..Txn::default() }
    }

    fn get(store: &Store, key: &str) -> Option<KeyValue> {
        store.txn(&Txn { then: vec![Op::Get(key.into())], ..Txn::default() }).unwrap().reads[0].first().cloned()
    }

    #[test]
    fn revisions_count_changes() {
        let store = Store::default();
        store.txn(&put("a", "1", 0)).unwrap();
        store.txn(&put("b", "1", 0)).unwrap();
        store.txn(&put("a", "2", 0)).unwrap();
        let a = get(&store, "a").unwrap();
        assert_eq!((a.value.as_str(), a.created, a.modified), ("2", 1, 3));
    }

    #[test]
    fn a_transaction_takes_one_branch() {
        let store = Store::default();
        let txn = Txn {
            compare: vec![Compare::Modified("a".into(), 0)],
            then: vec![Op::Put("a".into(), "first".into(), 0)],
            otherwise: vec![Op::Get("a".into())],
        };
        assert!(store.txn(&txn).unwrap().succeeded);
        let second = store.txn(&txn).unwrap();
        assert!(!second.succeeded);
        assert_eq!(second.reads[0][0].value, "first");
    }

    #[test]
    fn a_lease_takes_its_keys_along_and_no_others() {
        let store = Store::default();
        let lease = store.grant(100, 0);
        store.txn(&put("mine", "", lease)).unwrap();
        store.txn(&put("moved", "", lease)).unwrap();
        store.txn(&put("moved", "", 0)).unwrap();
        store.keep_alive(lease, 50).unwrap();
        store.expire(149);
        assert!(get(&store, "mine").is_some());
        store.expire(150);
        assert_eq!((get(&store, "mine"), get(&store, "moved").is_some()), (None, true));
        assert_eq!(store.keep_alive(lease, 151), Err(NoLease));
        assert_eq!(store.txn(&put("late", "", lease)), Err(NoLease));
    }

    #[test]
    fn a_watch_sees_each_change_once_in_order_and_says_when_it_cannot() {
        let store = Store::default();
        let mut next = 1;
        let mut seen = Vec::new();
        for i in 0..10 {
            store.txn(&put("a", &i.to_string(), 0)).unwrap();
            store.txn(&put("other", "", 0)).unwrap();
            let (events, then) = store.watch(next, Duration::ZERO, &|e| e.key == "a").unwrap();
            seen.extend(events.into_iter().map(|e| e.now.unwrap().value));
            next = then;
        }
        assert_eq!(seen, (0..10).map(|i| i.to_string()).collect::<Vec<_>>());
        (0..HISTORY).for_each(|_| drop(store.txn(&put("b", "", 0))));
        assert_eq!(store.watch(1, Duration::ZERO, &|_| true), Err(Compacted));
    }
}
