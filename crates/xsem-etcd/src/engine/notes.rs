//! Notes: what one client tells another about a wait of it, and who listens for them.
//!
//! Whoever ends a wait puts a note under a key of the waiter's session, in the same transaction. One feed per client brings all
//! notes of its session, and tells which sessions have ended. So a handover wakes exactly the one who is served, and costs it no
//! request: the note says all that it has got, and how the record is from then on. Who begins to wait for an exclusive semaphore tells
//! its owner how the record is then, so that the release, too, is one round trip. What a feed may have missed while it was broken off, every wait looks up itself.

use super::client::{Inner, lock};
use super::record::{Id, Record, Sort};
use super::session::{NOTES, SESSIONS, Session, of_key};
use super::store::{Event, Feed, KeyValue, Op, Txn, Wanted};
use super::world::{FEW, Got, MANY, Served, World};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

/// A note, as a value of the store.
#[derive(Serialize)]
struct Note<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    served: Option<&'a Served>,
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<Now<'a>>,
}

/// How a record is after the change that the note was written in: its reader need not ask.
#[derive(Serialize)]
struct Now<'a> {
    name: &'a str,
    created: u64,
    record: &'a Record,
}

/// The same, as it is read.
#[derive(Default, Deserialize)]
struct Read {
    served: Option<Served>,
    now: Option<ReadNow>,
}

#[derive(Deserialize)]
struct ReadNow {
    name: String,
    created: u64,
    record: Record,
}

fn now<'a>(name: &'a str, world: &'a World) -> Option<Now<'a>> {
    let slot = world.slots.get(name)?;
    let most = |r: &Record| if r.sort == Sort::Exclusive { MANY } else { FEW };
    let record = slot.after.as_ref().filter(|r| r.queue.len() <= most(r) && r.claims.len() <= FEW)?;
    // One that is just being made has no number yet.
    (slot.created != 0).then_some(Now { name, created: slot.created, record })
}

/// Says that a wait is over.
pub fn of_served(served: &Served, world: &World) -> String {
    let now = served.of.as_deref().and_then(|name| now(name, world));
    serde_json::to_string(&Note { served: Some(served), now }).unwrap_or_default()
}

/// Says how a record is now.
pub fn of_record(name: &str, world: &World) -> Option<String> {
    serde_json::to_string(&Note { served: None, now: Some(now(name, world)?) }).ok()
}

/// From a value of the store. One that says nothing makes its reader look.
fn decode(value: &str) -> Read {
    serde_json::from_str(value).unwrap_or_default()
}

/// What a note says whose reader shall look for itself.
pub const LOOK: &str = "look";

/// What a wait has been told.
#[derive(Debug, Default)]
struct Told {
    /// It is over, with this.
    got: Option<Vec<Got>>,
    /// Something has happened that may concern it: when it should look.
    look: Option<Instant>,
    /// Somebody has found it to be the youngest of a cycle.
    cycle: bool,
    /// It may be over by something that is not told here: its cancel token.
    nudged: bool,
    /// Who is woken beside the thread that waits.
    waker: Option<Waker>,
}

/// A wait of this client.
#[derive(Debug, Default)]
pub struct Wait {
    told: Mutex<Told>,
    changed: Condvar,
    concern: Mutex<Concern>,
}

/// Whose death concerns a wait: those who owned, and those who stood before it, when it began. Nobody else can own before it, but
/// for what is rare; so of others it takes its time.
#[derive(Debug, Default)]
struct Concern {
    sessions: BTreeSet<u64>,
    /// How many stood before it.
    place: u32,
}

/// How much later than the one before it in the queue a wait looks when an owner has died: the first does what is to be done, and
/// the others find it done. At most so many times.
const STEP: (Duration, u32) = (Duration::from_millis(2), 10);
/// How long after a death that should not concern it.
const LATER: Duration = Duration::from_millis(250);

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

/// A cancel token was cancelled.
impl Wake for Wait {
    fn wake(self: Arc<Wait>) {
        self.tell(|t| t.nudged = true);
    }
}

impl Wait {
    /// Has this waker woken whenever there is something to look at.
    pub fn wakes(&self, waker: Waker) {
        lock(&self.told).waker = Some(waker);
    }

    /// When it should look at the records, as far as that is known now.
    pub fn due(&self) -> Option<Instant> {
        lock(&self.told).look
    }

    /// Sleeps until there is something to look at, at most until this instant.
    pub fn rest(&self, until: Instant) {
        let mut told = lock(&self.told);
        loop {
            let now = Instant::now();
            let due = told.look.is_some_and(|at| at <= now);
            if due || told.got.is_some() || told.cycle || told.nudged || until <= now {
                return;
            }
            let next = told.look.map_or(until, |at| at.min(until));
            told = self.changed.wait_timeout(told, next - now).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for news for so long.
    pub fn news(&self, patience: Duration) -> News {
        let end = Instant::now() + patience;
        let mut told = lock(&self.told);
        loop {
            let now = Instant::now();
            if let Some(got) = told.got.take() {
                return News::Over(got);
            }
            if std::mem::take(&mut told.cycle) {
                return News::Cycle;
            }
            if told.look.take_if(|at| *at <= now).is_some() {
                return News::Look;
            }
            let until = told.look.map_or(end, |at| at.min(end));
            if std::mem::take(&mut told.nudged) || end <= now {
                return News::Nothing;
            }
            told = self.changed.wait_timeout(told, until - now).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// It begins behind these waits, and what these hold.
    pub fn begins(&self, records: &[&Record], own: Id) {
        let mut c = lock(&self.concern);
        for rec in records {
            let before: Vec<_> = rec.queue.iter().take_while(|t| t.party.id != own).map(|t| t.party.id.session).collect();
            c.place = c.place.max(u32::try_from(before.len()).unwrap_or(u32::MAX));
            c.sessions.extend(before);
            c.sessions.extend(rec.claims.iter().flat_map(|c| &c.parties).map(|p| p.id.session));
        }
    }

    fn look_within(&self, time: Duration) {
        let at = Instant::now() + time;
        self.tell(|t| t.look = Some(t.look.map_or(at, |before| before.min(at))));
    }

    /// A session has ended.
    fn ended(&self, session: u64) {
        let c = lock(&self.concern);
        let time = if c.sessions.contains(&session) { STEP.0 * c.place.min(STEP.1) } else { LATER };
        drop(c);
        self.look_within(time);
    }

    fn tell(&self, say: impl FnOnce(&mut Told)) {
        let mut told = lock(&self.told);
        say(&mut told);
        let waker = told.waker.clone();
        drop(told);
        self.changed.notify_all();
        waker.into_iter().for_each(Waker::wake);
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
pub struct Entered {
    client: Weak<Inner>,
    op: u64,
    /// The wait.
    pub wait: Arc<Wait>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(client) = self.client.upgrade() {
            lock(&client.waits.waits).remove(&self.op);
        }
    }
}

impl Waits {
    /// All should look: the feed was broken off, a session has ended.
    pub fn look_all(&self) {
        let all: Vec<Arc<Wait>> = lock(&self.waits).values().cloned().collect();
        all.iter().for_each(|w| w.look_within(Duration::ZERO));
    }

    /// A session has ended.
    fn ended(&self, session: u64) {
        let all: Vec<Arc<Wait>> = lock(&self.waits).values().cloned().collect();
        all.iter().for_each(|w| w.ended(session));
    }

    /// Whether the feed tells of this session's notes.
    fn hears(&self, session: &Session) -> bool {
        self.listens_for.load(SeqCst) == session.id
    }

    fn happened(&self, kv: &KeyValue, served: Option<Served>, session: &Session) {
        let op = kv.key.strip_prefix(NOTES).and_then(|k| k.split_once('/')).and_then(|(_, op)| op.parse().ok());
        let wait = op.and_then(|op: u64| lock(&self.waits).get(&op).cloned());
        match (wait, served) {
            // It has gone away, or it was told by other means; or it was only about a record.
            (None, _) => session.litter(kv.key.clone()),
            (Some(w), Some(served)) => w.tell(|t| t.got = Some(served.got)),
            (Some(w), None) => {
                w.look_within(Duration::ZERO);
                w.tell(|t| t.cycle = true);
            }
        }
    }
}

impl Inner {
    /// A wait by this number, in the table.
    pub fn enter(&self, op: u64) -> Entered {
        let wait = Arc::<Wait>::default();
        lock(&self.waits.waits).insert(op, wait.clone());
        Entered { client: self.me.clone(), op, wait }
    }

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

    fn happened(&self, e: &Event, session: &Session) {
        match &e.now {
            Some(kv) => {
                let note = decode(&kv.value);
                if let Some(now) = note.now {
                    self.knows(now.name, now.created, kv.modified, now.record);
                }
                self.waits.happened(kv, note.served, session);
            }
            None => match of_key(&e.key) {
                // Of its lease's end it may hear by other means, of a reset by nothing else before its next request.
                Some(gone) if gone == session.id => session.lease.key_is_gone(),
                Some(gone) => self.waits.ended(gone),
                None => {}
            },
        }
    }

    /// Reads the notes that were written before the feed began: an owner has been told of who waits for it, perhaps. That they may come
    /// again by the feed does no harm; without an answer its release begins again once, and waits look by themselves.
    fn catch_up(&self, session: &Session) {
        let notes = Op::Prefix(format!("{NOTES}{:x}/", session.id));
        let Ok(answer) = self.store.ask(&Arc::new(Txn { then: vec![notes], ..Txn::default() })) else { return };
        for kv in answer.reads.into_iter().flatten() {
            self.happened(&Event { key: kv.key.clone(), now: Some(kv) }, session);
        }
    }

    /// A note that was read, or is not wanted: it goes with the next transaction.
    pub fn read_note(&self, session: &Session, id: Id) {
        session.litter(super::session::note_key(id));
    }

    /// The note of a wait, if there is one.
    pub fn find_note(&self, id: Id, give_up: super::commit::GiveUp<'_>) -> Result<Option<Vec<Got>>, super::commit::Trouble> {
        let answer = self.read(vec![Op::Get(super::session::note_key(id))], give_up)?;
        let found = answer.reads.first().and_then(|r| r.first());
        Ok(found.and_then(|kv| decode(&kv.value).served).map(|s| s.got))
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
            std::thread::sleep(SLICE / 2);
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
                // It may have gone before there was somebody to hear of it.
                let found = inner.read(vec![super::store::Op::Get(session.key())], &|| true);
                if found.is_ok_and(|a| a.reads.first().is_some_and(Vec::is_empty)) {
                    session.lease.key_is_gone();
                }
                inner.catch_up(&session);
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
        for e in &events {
            inner.happened(e, session);
        }
        if !session.is_alive() {
            return;
        }
    }
}
