//! The engine's seam ([`Store`]) on the wire: keys below the prefix, faults turned into what the engine does about them.

use crate::client::Client;
use crate::engine::DEFAULT_PREFIX;
use crate::engine::store::{
    Answer, Change, Compare, Event, Feed, KeyValue, Lease, OnLeaseLost, Op, Past, Revision, Silence, Store, Txn, Wanted,
};
use crate::fault::Fault;
use crate::judge::is_without_majority;
use crate::kv::{self, Keys, Reply};
use crate::session::Session;
use crate::watch::{self, Watch};
use crate::wire::{EventType, RequestOp};
use crate::{clock, runtime};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use xsem::{Code, Deadline, Error};

/// How long somebody waits for a part of the past at most.
const PAST: Duration = Duration::from_secs(10);

/// A namespace in a store, as one process sees it.
#[derive(Debug)]
pub struct Remote {
    client: Client,
    prefix: String,
    /// Why it did not answer last.
    why: Mutex<Option<Fault>>,
}

impl Remote {
    /// Below the path of the client's URL.
    pub fn new(client: Client) -> Remote {
        let path = &client.config().path;
        let prefix = format!("{}/", if path.is_empty() { DEFAULT_PREFIX } else { path });
        Remote { client, prefix, why: Mutex::default() }
    }

    /// For one request: that a member is asked, and another one.
    fn by(&self) -> Deadline {
        Deadline::after(self.client.config().attempt * 2)
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn compare(&self, c: &Compare) -> crate::wire::Compare {
        use crate::wire::Compare as Wire;
        match c {
            // Of a key that is not there, both are 0.
            Compare::Created(key, revision) => Wire::created(self.key(key), *revision as i64),
            Compare::Modified(key, revision) => Wire::modified(self.key(key), *revision as i64),
            Compare::Exists(key) => Wire::present(self.key(key)),
        }
    }

    fn op(&self, op: &Op) -> RequestOp {
        match op {
            Op::Put(key, value, lease) => kv::put(self.key(key), value.as_str(), *lease as i64),
            Op::Delete(key) => kv::delete(Keys::one(self.key(key))),
            Op::DeleteAll(prefix) => kv::delete(Keys::prefix(self.key(prefix))),
            Op::Get(key) => kv::range(Keys::one(self.key(key))).op(),
            Op::Prefix(prefix) => kv::range(Keys::prefix(self.key(prefix))).op(),
            Op::Keys(prefix) => kv::range(Keys::prefix(self.key(prefix))).keys_only().op(),
        }
    }

    fn pair(&self, kv: &crate::wire::KeyValue) -> Option<KeyValue> {
        Some(KeyValue {
            key: String::from_utf8_lossy(&kv.key).strip_prefix(&self.prefix)?.to_owned(),
            value: String::from_utf8_lossy(&kv.value).into_owned(),
            created: kv.create_revision as u64,
            modified: kv.mod_revision as u64,
            lease: kv.lease as u64,
        })
    }

    fn changed(&self, e: crate::wire::Event) -> Option<Change> {
        let kv = e.kv?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(Change {
            revision: kv.mod_revision as u64,
            key: text(&kv.key).strip_prefix(&self.prefix)?.to_owned(),
            before: e.prev_kv.map(|before| text(&before.value)),
            now: (e.r#type != EventType::Delete as i32).then(|| text(&kv.value)),
        })
    }

    /// What the engine does about a fault, which is kept for who asks why.
    fn silence(&self, fault: Fault) -> Silence {
        if matches!(fault, Fault::Unreachable(_) | Fault::Ambiguous(_)) {
            *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault.clone());
        }
        silence(fault)
    }

    fn send(&self, txn: &Txn) -> Result<Answer, Silence> {
        let ops = |list: &[Op]| list.iter().map(|o| self.op(o)).collect::<Vec<_>>();
        let wire = kv::Txn::when(txn.compare.iter().map(|c| self.compare(c)).collect::<Vec<_>>())
            .then(ops(&txn.then))
            .otherwise(ops(&txn.otherwise));
        let (client, by) = (self.client.clone(), self.by());
        let reply: Reply = runtime::run(async move { client.txn(wire, by).await }).map_err(|f| self.silence(f))?;
        let sent = if reply.succeeded { &txn.then } else { &txn.otherwise };
        let steps = sent.iter().enumerate().filter(|(_, op)| matches!(op, Op::Get(_) | Op::Prefix(_) | Op::Keys(_)));
        let reads = steps.map(|(i, _)| reply.found(i).iter().filter_map(|kv| self.pair(kv)).collect()).collect();
        Ok(Answer { revision: reply.revision as u64, succeeded: reply.succeeded, reads })
    }
}

/// What the engine does about a fault.
fn silence(fault: Fault) -> Silence {
    match fault {
        Fault::Ambiguous(why) => {
            tracing::debug!(why, "a request was not answered");
            Silence::Unknown
        }
        Fault::Unreachable(why) => {
            tracing::debug!(why, "the store cannot be reached");
            Silence::NotDone
        }
        Fault::NoLease => Silence::NoLease,
        Fault::Forked => Silence::Closed,
        other => Silence::Refused(error(&other)),
    }
}

/// A fault as users are told it.
pub fn error(fault: &Fault) -> Error {
    let (code, advice) = match fault {
        Fault::Denied(why) if why.contains("permission denied") => (
            Code::AccessDenied,
            "give this user the permission to read and write below the path (`etcdctl role grant-permission`)",
        ),
        Fault::Denied(_) => (Code::LogonFailure, "check user and password: XSEM_ETCD_USER, XSEM_ETCD_PASSWORD, `password_file`"),
        Fault::Certificate(_) => (
            Code::WinhttpSecureFailure,
            "check `ca`, `cert`, `key` and `server_name`, the members' certificates, and the clocks of both",
        ),
        Fault::Config(_) => (Code::InvalidParameter, "correct the URL, or the environment (XSEM_ETCD_...)"),
        Fault::NoSpace => (Code::DiskFull, "compact and defragment the store, then end its alarm (`etcdctl alarm disarm`)"),
        Fault::NoRoom(_) => (Code::NotEnoughMemory, "raise the limits on processes and descriptors"),
        Fault::TooLarge(_) => {
            (Code::TooManySemaphores, "fewer at one time: what one semaphore has to store is limited by the store")
        }
        Fault::Unreachable(why) | Fault::Ambiguous(why) if is_without_majority(why) => {
            (Code::ClusterNoQuorum, "see which members of the store run (`xsem doctor`), and start the others")
        }
        Fault::Unreachable(_) | Fault::Ambiguous(_) => {
            (Code::BadNetpath, "look whether the store runs, and whether this host reaches it (`xsem doctor`)")
        }
        Fault::Forked => (Code::InvalidHandle, "open the namespace again in the child"),
        _ => (Code::InvalidHandle, "look at the store (`xsem doctor`)"),
    };
    let text = match fault {
        Fault::Unreachable(why) | Fault::Ambiguous(why) if code == Code::ClusterNoQuorum => {
            format!("most members of the store are missing: {why}")
        }
        other => other.to_string(),
    };
    Error::new(code, text).advice(advice)
}

impl Store for Remote {
    fn change(&self, txn: &Arc<Txn>) -> Result<Answer, Silence> {
        self.send(txn)
    }

    fn ask(&self, txn: &Arc<Txn>) -> Result<Answer, Silence> {
        self.send(txn)
    }

    fn grant(&self) -> Result<Arc<dyn Lease>, Silence> {
        let (client, by) = (self.client.clone(), self.by());
        let session = runtime::run(async move { Session::start(&client, by).await }).map_err(|f| self.silence(f))?;
        Ok(Arc::new(Kept(session)))
    }

    fn feed(&self, wanted: &[Wanted]) -> Result<Box<dyn Feed>, Silence> {
        let one =
            |w: &Wanted| watch::Wanted { keys: Keys::prefix(self.key(&w.prefix)), deletes_only: w.deletes_only, previous: false };
        let (client, by, wanted) = (self.client.clone(), self.by(), wanted.iter().map(one).collect());
        let watch = runtime::run(async move { Watch::start(&client, wanted, by).await }).map_err(silence)?;
        Ok(Box::new(Changes { watch, prefix: self.prefix.clone() }))
    }

    /// A watch that begins in the past is told it in parts, ten thousand changes in a second or so.
    fn past(&self, from: Revision, before: Revision) -> Result<Past, Silence> {
        let by = Deadline::after(PAST);
        let mut past = Past { from: from.max(1), changes: Vec::new() };
        'begin: while past.from < before {
            let wanted = vec![watch::Wanted { keys: Keys::prefix(self.key("")), deletes_only: false, previous: true }];
            let (client, first) = (self.client.clone(), past.from as i64);
            let begun = runtime::run(async move { Watch::start_at(&client, wanted, first, by).await });
            let mut watch = match begun {
                Err(Fault::Compacted(oldest)) => {
                    past = Past { from: oldest as u64 + 1, changes: Vec::new() };
                    continue;
                }
                begun => begun.map_err(|f| self.silence(f))?,
            };
            loop {
                let happened = match watch.wait(by) {
                    // What was before the oldest change that is kept is not there.
                    Err(Fault::Compacted(oldest)) => {
                        past = Past { from: oldest as u64 + 1, changes: Vec::new() };
                        continue 'begin;
                    }
                    Err(fault) => return Err(self.silence(fault)),
                    Ok(None) => return Err(Silence::NotDone),
                    Ok(Some(happened)) => happened,
                };
                let changes = happened.events.into_iter().filter_map(|e| self.changed(e));
                past.changes.extend(changes);
                if past.changes.last().is_some_and(|c| c.revision >= before) {
                    past.changes.retain(|c| c.revision < before);
                    return Ok(past);
                }
            }
        }
        Ok(past)
    }

    fn now(&self) -> u64 {
        clock::now() / 1_000_000
    }

    fn ttl(&self) -> u64 {
        self.client.config().ttl.as_millis() as u64
    }

    fn why_silent(&self) -> Option<Error> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(error)
    }

    fn is_closed(&self) -> bool {
        self.client.life().check().is_err()
    }
}

#[derive(Debug)]
struct Kept(Session);

impl Lease for Kept {
    fn id(&self) -> u64 {
        self.0.lease() as u64
    }

    fn is_alive(&self) -> bool {
        self.0.is_alive()
    }

    fn is_gone(&self) {
        self.0.is_gone();
    }

    fn key_is_gone(&self) {
        self.0.key_is_gone();
    }

    fn give_up(&self) {
        self.0.give_up();
    }

    fn on_loss(&self, tell: OnLeaseLost) {
        self.0.on_loss(move |loss| tell(&loss.to_string()));
    }

    fn cover(&self, pid: Option<u32>) {
        self.0.cover(pid);
    }
}

#[derive(Debug)]
struct Changes {
    watch: Watch,
    prefix: String,
}

impl Feed for Changes {
    fn next(&mut self, patience: Duration) -> Result<Vec<Event>, Silence> {
        let Some(happened) = self.watch.wait(Deadline::after(patience)).map_err(silence)? else { return Ok(Vec::new()) };
        let one = |e: crate::wire::Event| {
            let kv = e.kv?;
            let key = String::from_utf8_lossy(&kv.key).strip_prefix(&self.prefix)?.to_owned();
            let gone = e.r#type == EventType::Delete as i32;
            let now = (!gone).then(|| KeyValue {
                key: key.clone(),
                value: String::from_utf8_lossy(&kv.value).into_owned(),
                created: kv.create_revision as u64,
                modified: kv.mod_revision as u64,
                lease: kv.lease as u64,
            });
            Some(Event { key, now })
        };
        Ok(happened.events.into_iter().filter_map(one).collect())
    }
}
