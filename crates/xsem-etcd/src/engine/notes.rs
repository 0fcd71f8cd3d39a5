//! Notes: what one client tells another about a wait of it, and who listens for them.
//!
//! Whoever ends a wait puts a note under a key of the waiter's session, in the same transaction. One feed per client brings all
//! notes of its session, and tells which sessions have ended. So a handover wakes exactly the one who is served, and costs it no
//! request: the note says all that it has got. What a feed may have missed while it was broken off, every wait looks up itself.

use super::client::{Inner, lock};
use super::record::Id;
use super::session::{NOTES, SESSIONS, Session};
use super::store::{Event, Feed, Wanted};
use super::world::{Got, Served};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

/// As a value of the store.
pub fn encode(served: &Served) -> String {
    serde_json::to_string(served).unwrap_or_default()
}

/// From a value of the store; `None`: it only says that the wait should look.
fn decode(value: &str) -> Option<Served> {
    serde_json::from_str(value).ok()
}

/// What a note says whose reader shall look for itself.
pub const LOOK: &str = "look";

/// What a wait has been told.
#[derive(Debug, Default)]
struct Told {
    /// It is over, with this.
    got: Option<Vec<Got>>,
    /// Something has happened that may concern it.
    look: bool,
    /// Somebody has found it to be the youngest of a cycle.
    cycle: bool,
}

/// A wait of this client.
#[derive(Debug, Default)]
pub struct Wait {
    told: Mutex<Told>,
    changed: Condvar,
}

/// What a wait wakes up for.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// It is over, with this.
    Over(Vec<Got>),
    /// It should look at the records.
    Look,
    /// It should look for a cycle.
    Cycle,
    /// Nothing, for as long as it was ready to wait.
    Nothing,
}

impl Wait {
    /// Waits for news for so long.
    pub fn news(&self, patience: Duration) -> News {
        let quiet = |t: &mut Told| t.got.is_none() && !t.look && !t.cycle;
        let told = lock(&self.told);
        let (mut told, _) = self.changed.wait_timeout_while(told, patience, quiet).unwrap_or_else(PoisonError::into_inner);
        match told.got.take() {
            Some(got) => News::Over(got),
            None if std::mem::take(&mut told.cycle) => News::Cycle,
            None if std::mem::take(&mut told.look) => News::Look,
            None => News::Nothing,
        }
    }

    fn tell(&self, say: impl FnOnce(&mut Told)) {
        say(&mut lock(&self.told));
        self.changed.notify_all();
    }
}

/// The waits of a client, by their requests.
#[derive(Debug, Default)]
pub struct Waits {
    waits: Mutex<HashMap<u64, Arc<Wait>>>,
    /// The session whose notes the feed tells of; 0: there is no feed.
    listens_for: AtomicU64,
    started: AtomicBool,
}

/// A wait that is in the table for as long as this lives.
#[derive(Debug)]
pub struct Entered<'a> {
    waits: &'a Waits,
    op: u64,
    /// The wait.
    pub wait: Arc<Wait>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        lock(&self.waits.waits).remove(&self.op);
    }
}

impl Waits {
    /// Into the table.
    pub fn enter(&self, op: u64) -> Entered<'_> {
        let wait = Arc::<Wait>::default();
        lock(&self.waits).insert(op, wait.clone());
        Entered { waits: self, op, wait }
    }

    /// All should look: the feed was broken off, a session has ended.
    pub fn look_all(&self) {
        let all: Vec<Arc<Wait>> = lock(&self.waits).values().cloned().collect();
        all.iter().for_each(|w| w.tell(|t| t.look = true));
    }

    /// Whether the feed tells of this session's notes.
    fn hears(&self, session: &Session) -> bool {
        self.listens_for.load(SeqCst) == session.id
    }

    fn happened(&self, e: &Event, session: &Session) {
        let Some(kv) = &e.now else {
            if e.key.starts_with(SESSIONS) {
                self.look_all();
            }
            return;
        };
        let op = kv.key.strip_prefix(NOTES).and_then(|k| k.split_once('/')).and_then(|(_, op)| op.parse().ok());
        let wait = op.and_then(|op: u64| lock(&self.waits).get(&op).cloned());
        match (wait, decode(&kv.value)) {
            // It has gone away; or it was told by other means.
            (None, _) => session.litter(kv.key.clone()),
            (Some(w), Some(served)) => w.tell(|t| t.got = Some(served.got)),
            (Some(w), None) => w.tell(|t| {
                t.look = true;
                t.cycle = true;
            }),
        }
    }
}

impl Inner {
    /// Sees to it that notes for this session are heard, now or in a moment: then every wait looks once.
    pub fn listen(&self, session: &Session) {
        if self.waits.hears(session) || self.waits.started.swap(true, SeqCst) {
            return;
        }
        let me = self.me.clone();
        let thread = std::thread::Builder::new().name("xsem-notes".into());
        let started = crate::runtime::without_signals(|| thread.spawn(move || hear(&me)));
        if started.is_err() {
            // Every wait looks now and then all the same.
            self.waits.started.store(false, SeqCst);
        }
    }

    /// A note that was read, or is not wanted: it goes with the next transaction.
    pub fn read_note(&self, session: &Session, id: Id) {
        session.litter(super::session::note_key(id));
    }

    /// The note of a wait, if there is one.
    pub fn find_note(&self, id: Id, give_up: super::commit::GiveUp<'_>) -> Result<Option<Vec<Got>>, super::commit::Trouble> {
        let answer = self.read(vec![super::store::Op::Get(super::session::note_key(id))], give_up)?;
        let found = answer.reads.first().and_then(|r| r.first());
        Ok(found.and_then(|kv| decode(&kv.value)).map(|s| s.got))
    }
}

/// How long a look at the feed lasts, and a pause after it broke off.
const SLICE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(20);

/// The thread that listens, until the client is gone.
fn hear(me: &Weak<Inner>) {
    loop {
        let Some(inner) = me.upgrade() else { return };
        let Some(session) = inner.current().filter(|s| s.is_alive()) else {
            drop(inner);
            std::thread::sleep(PAUSE);
            continue;
        };
        let wanted = [
            Wanted { prefix: format!("{NOTES}{:x}/", session.id), deletes_only: false },
            Wanted { prefix: SESSIONS.to_owned(), deletes_only: true },
        ];
        match inner.store.feed(&wanted) {
            Ok(mut feed) => {
                inner.waits.listens_for.store(session.id, SeqCst);
                inner.waits.look_all();
                drop(inner);
                follow(me, &session, &mut *feed);
                if let Some(inner) = me.upgrade() {
                    inner.waits.listens_for.store(0, SeqCst);
                }
            }
            Err(_) if inner.store.is_closed() => return,
            Err(_) => {
                drop(inner);
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// Until the feed breaks off, the session ends or the client is gone.
fn follow(me: &Weak<Inner>, session: &Arc<Session>, feed: &mut dyn Feed) {
    loop {
        let Ok(events) = feed.next(SLICE) else { return };
        let Some(inner) = me.upgrade() else { return };
        events.iter().for_each(|e| inner.waits.happened(e, session));
        if !session.is_alive() {
            return;
        }
    }
}
