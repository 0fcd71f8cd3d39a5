//! The engine: names, lists of semaphores, draining, and what people ask.

use super::client::{Inner, lock};
use super::commit::{GiveUp, Trouble};
use super::death::Why;
use super::object::EtcdObject;
use super::pending::EtcdPending;
use super::record::{Id, Record, Sort, Who, Wish};
use super::refusal::wrong_kind;
use super::session::{RECORDS, SESSIONS, Session};
use super::store::{Op, Revision, Silence, Txn};
use super::view;
use super::world::{Served, Stop, World};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use xsem::engine::{Engine, Grant, Object, OnLoss, OwnedRequest, OwnedWant, Pending, Request, Spec, Want, check_list};
use xsem::{Checkup, Code, Error, Finding, Kind, Loss, Name, Repaired, Report, Result, Severity, Summary};

/// For how many lives of a lease a silent store is asked, where the caller has not said how long to wait.
const PATIENCE: u64 = 10;
/// The same, in milliseconds, for what people look at, and for a process that has never reached it: the URL may be wrong.
const FIRST: u64 = 10_000;

/// A namespace in a store, as one process has it open.
#[derive(Debug)]
pub struct EtcdEngine {
    client: Arc<Inner>,
    url: String,
}

impl Inner {
    /// A change that belongs to no claim: it goes on with a new session where one ends. The body learns whether an earlier
    /// attempt may have been carried out all the same.
    pub fn steadily<T>(
        &self,
        what: &str,
        names: impl IntoIterator<Item = String> + Clone,
        body: impl FnMut(&mut World, &Arc<Session>, bool) -> std::result::Result<T, Stop>,
    ) -> Result<T> {
        self.steadily_at(what, names, body).map(|(result, _)| result)
    }

    /// As `steadily`, and the store's revision after it.
    pub fn steadily_at<T>(
        &self,
        what: &str,
        names: impl IntoIterator<Item = String> + Clone,
        mut body: impl FnMut(&mut World, &Arc<Session>, bool) -> std::result::Result<T, Stop>,
    ) -> Result<(T, Revision)> {
        let end = self.store.now() + self.patience();
        let give_up = || self.store.now() > end;
        let mut unknown = false;
        loop {
            let session = self.session(&give_up).map_err(|t| self.error(t, what))?;
            match self.transact(&session, names.clone(), &give_up, |w| body(w, &session, unknown)) {
                Ok(done) => return Ok(done),
                Err(Trouble::Lost) => {}
                Err(Trouble::Vanished) => unknown = true,
                Err(t) => return Err(self.error(t, what)),
            }
        }
    }

    fn patience(&self) -> u64 {
        if self.seen.load(SeqCst) == 0 { FIRST } else { PATIENCE * self.store.ttl() }
    }

    /// A look at the store.
    pub fn look<T>(&self, read: impl FnOnce(GiveUp<'_>) -> std::result::Result<T, Trouble>) -> Result<T> {
        self.look_for(self.patience(), read)
    }

    /// A look that somebody waits for.
    pub fn show<T>(&self, read: impl FnOnce(GiveUp<'_>) -> std::result::Result<T, Trouble>) -> Result<T> {
        self.look_for(FIRST, read)
    }

    fn look_for<T>(&self, time: u64, read: impl FnOnce(GiveUp<'_>) -> std::result::Result<T, Trouble>) -> Result<T> {
        let end = self.store.now() + time;
        read(&|| self.store.now() > end).map_err(|t| self.error(t, "the look at the store"))
    }
}

impl EtcdEngine {
    /// On a client.
    pub fn new(client: Arc<Inner>, url: String) -> EtcdEngine {
        EtcdEngine { client, url }
    }

    /// The process's end; 6 in a child that was forked, which has none: its parent's threads and connections are not there.
    pub fn client(&self) -> Result<&Arc<Inner>> {
        self.client.usable()?;
        Ok(&self.client)
    }

    fn object(&self, name: &Name, kind: Kind, created: u64, opener: Option<Id>) -> Arc<dyn Object> {
        Arc::new(EtcdObject::new(&self.client, name, kind, created, opener))
    }

    /// 187.
    pub fn missing(&self, name: &Name) -> Error {
        Error::new(Code::SemNotFound, format!("there is no semaphore `{name}` in {}", self.url))
            .of(name.as_str())
            .advice("create it, or use open_or_create")
    }

    /// 102, with who uses it.
    pub fn in_use(&self, name: &Name, rec: &Record, w: &World, what: &str) -> Error {
        Error::new(Code::SemIsSet, format!("`{name}` {what}"))
            .of(name.as_str())
            .held_by(view::holders(rec, w.alive.as_ref()))
            .behind(view::waiters(rec, w.alive.as_ref(), None))
            .advice("wait until they have ended, or end them first")
    }

    /// Opens what is there, if `fits` accepts it. `None`: there is nothing.
    fn find(&self, name: &Name, fits: impl Fn(&Record) -> Result<()>) -> Result<Option<Arc<dyn Object>>> {
        let names = [name.as_str().to_owned()];
        let w = self.client()?.look(|give_up| self.client.load(&names.clone().into(), give_up))?;
        let Some((slot, rec)) = w.slots.get(name.as_str()).and_then(|s| Some((s, s.after.as_ref()?))) else { return Ok(None) };
        fits(rec)?;
        if !rec.ephemeral {
            return Ok(Some(self.object(name, rec.kind(), slot.created, None)));
        }
        // The handle has to be written down.
        let op = self.client.next_op();
        let opened = self.client()?.steadily("open", names, |w, session, _| {
            let opener = Id { session: session.id, op };
            let Some(slot) = w.slots.get_mut(name.as_str()) else { return Ok(None) };
            let (created, Some(rec)) = (slot.created, &mut slot.after) else { return Ok(None) };
            fits(rec)?;
            if rec.ephemeral && !rec.openers.contains(&opener) {
                rec.openers.push(opener);
            }
            Ok(Some((rec.kind(), created, rec.ephemeral.then_some(opener))))
        })?;
        Ok(opened.map(|(kind, created, opener)| self.object(name, kind, created, opener)))
    }

    /// `None`: the name exists.
    fn make(&self, name: &Name, spec: &Spec) -> Result<Option<Arc<dyn Object>>> {
        spec.check()?;
        let mut creator = None;
        loop {
            let (made, revision) = self.client()?.steadily_at("create", [name.as_str().to_owned()], |w, session, _| {
                // One for all attempts: so an attempt whose answer was lost knows its own work.
                let creator = *creator.get_or_insert_with(|| Id { session: session.id, op: self.client.next_op() });
                let (alive, now, revision) = (w.alive.is_some(), w.now, w.revision);
                let Some(slot) = w.slots.get_mut(name.as_str()) else { return Err(Stop::Fresh) };
                match &slot.after {
                    Some(rec) if rec.creator == creator => Ok(Made::Created(slot.created)),
                    Some(_) if !alive => Err(Stop::Fresh),
                    Some(_) => Ok(Made::Exists),
                    // An ephemeral one whose users have ended: it has to be gone before there is another of its name.
                    None if slot.before.is_some() => Ok(Made::Swept),
                    None => {
                        slot.after = Some(Record::new(spec, Id { session: session.id, ..creator }, revision, now));
                        Ok(Made::Created(0))
                    }
                }
            })?;
            let opener = || self.client.current().and_then(|s| Some(Id { session: s.id, ..creator? })).filter(|_| spec.ephemeral);
            match made {
                Made::Exists => return Ok(None),
                Made::Swept => {}
                Made::Created(0) => return Ok(Some(self.object(name, spec.kind, revision, opener()))),
                Made::Created(created) => return Ok(Some(self.object(name, spec.kind, created, opener()))),
            }
        }
    }
}

impl Inner {
    /// The objects of a list, all of this client.
    pub fn list_of<'a>(&self, list: &[Want<'a>], duplicates: bool) -> Result<Vec<(&'a EtcdObject, u32)>> {
        check_list(list, duplicates)?;
        let own = |(i, want): (usize, &Want<'a>)| {
            let object = want.object.as_any().downcast_ref::<EtcdObject>().filter(|o| std::ptr::eq(&*o.client, self));
            object.map(|o| (o, want.permits)).ok_or_else(|| {
                Error::new(Code::InvalidListFormat, format!("`{}` is in another namespace", want.object.name()))
                    .of(want.object.name().as_str())
                    .at([i])
                    .advice("all entries of a list must be of one namespace")
            })
        };
        list.iter().enumerate().map(own).collect()
    }
}

/// What became of a create.
enum Made {
    /// By this change; 0: by the transaction that says so.
    Created(u64),
    Exists,
    Swept,
}

impl Engine for EtcdEngine {
    fn url(&self) -> &str {
        &self.url
    }

    fn create(&self, name: &Name, spec: &Spec) -> Result<Arc<dyn Object>> {
        self.make(name, spec)?.ok_or_else(|| {
            Error::new(Code::AlreadyExists, format!("`{name}` exists already"))
                .of(name.as_str())
                .advice("open it, or use open_or_create")
        })
    }

    fn open(&self, name: &Name, kind: Kind) -> Result<Arc<dyn Object>> {
        let fits = |rec: &Record| if rec.kind() == kind { Ok(()) } else { Err(wrong_kind(name.as_str(), rec.kind(), kind)) };
        self.find(name, fits)?.ok_or_else(|| self.missing(name))
    }

    fn open_or_create(&self, name: &Name, spec: &Spec) -> Result<Arc<dyn Object>> {
        spec.check()?;
        loop {
            if let Some(object) = self.find(name, |rec| matches(name, rec, spec))? {
                return Ok(object);
            }
            if let Some(object) = self.make(name, spec)? {
                return Ok(object);
            }
        }
    }

    fn remove(&self, name: &Name, if_acquired: Option<u64>) -> Result<()> {
        self.client()?.steadily("remove", [name.as_str().to_owned()], |w, _, unknown| {
            let Some(rec) = w.get(name.as_str()) else {
                return if unknown { Ok(()) } else { Err(self.missing(name).into()) };
            };
            if !rec.is_clear() {
                return Err(self.in_use(name, rec, w, "is in use and stays").into());
            }
            if if_acquired.is_some_and(|n| n != rec.acquired) {
                return Err(self.in_use(name, rec, w, "was used in the meantime and stays").into());
            }
            if let Some(slot) = w.slots.get_mut(name.as_str()) {
                slot.after = None;
            }
            Ok(())
        })
    }

    fn wait_any(&self, list: &[Want<'_>], request: &Request<'_>) -> Result<(usize, Grant)> {
        let objects = self.client()?.list_of(list, false)?;
        let granted = self.client()?.request(&objects, Wish::Any, request)?;
        granted.into_iter().next().ok_or_else(|| Error::new(Code::InvalidHandle, "nothing of the list is there any more"))
    }

    fn acquire_all(&self, list: &[Want<'_>], request: &Request<'_>) -> Result<Vec<Grant>> {
        let objects = self.client()?.list_of(list, true)?;
        Ok(self.client()?.request(&objects, Wish::All, request)?.into_iter().map(|(_, grant)| grant).collect())
    }

    fn start(self: Arc<Self>, wish: xsem::engine::Wish, list: Vec<OwnedWant>, request: OwnedRequest) -> Result<Box<dyn Pending>> {
        let client = self.client()?.clone();
        let wish = match wish {
            xsem::engine::Wish::Any => Wish::Any,
            xsem::engine::Wish::All => Wish::All,
        };
        let wants: Vec<Want<'_>> = list.iter().map(|w| Want { object: &*w.object, permits: w.permits }).collect();
        client.list_of(&wants, wish == Wish::All)?;
        drop(wants);
        EtcdPending::start(client, wish, list, request)
    }

    fn drain(&self, name: &Name, request: &Request<'_>) -> Result<()> {
        self.drain_until(name, request)
    }

    fn reopen(&self, name: &Name) -> Result<()> {
        self.client()?.steadily("reopen", [name.as_str().to_owned()], |w, _, _| {
            let rec = w.get_mut(name.as_str()).ok_or_else(|| self.missing(name))?;
            if let Some(drain) = rec.drain.take().filter(|d| !d.done) {
                // Who drains it finds that it was reopened.
                w.served.push(Served { id: drain.by.id, got: Vec::new(), of: None });
            }
            Ok(())
        })
    }

    fn evict(&self, name: &Name, token: u64) -> Result<()> {
        self.client()?.steadily("evict", [name.as_str().to_owned()], |w, _, unknown| {
            let now = w.now;
            let rec = w.get_mut(name.as_str()).ok_or_else(|| self.missing(name))?;
            let Some(at) = rec.claims.iter().position(|c| c.token == token) else {
                // An attempt whose answer was lost has done it.
                if unknown {
                    return Ok(());
                }
                return Err(Error::new(Code::NotOwner, format!("nobody has the claim {token} on `{name}`"))
                    .of(name.as_str())
                    .advice("see who holds it now, with which token")
                    .into());
            };
            rec.bury(at, 0, Why::Evicted, now);
            rec.end(at, now);
            w.settle()
        })
    }

    fn inspect(&self, name: &Name) -> Result<Report> {
        let mut w = self.client()?.show(|give_up| self.client.load_one(name.as_str(), give_up))?;
        // Who waits for whom is spread over the whole namespace; where nobody waits without an end, that is not needed.
        let endless =
            |r: &Record| r.queue.iter().any(|t| !t.deadline) || r.drain.as_ref().is_some_and(|d| !d.done && !d.deadline);
        if w.get(name.as_str()).is_some_and(endless) {
            w = self.client.show(|give_up| self.client.load_all(give_up))?;
        }
        let rec = w.get(name.as_str()).ok_or_else(|| self.missing(name))?;
        Ok(view::report(&w, name.as_str(), rec, &self.client.who().host))
    }

    fn list(&self, visit: &mut dyn FnMut(Summary) -> ControlFlow<()>) -> Result<()> {
        let w = self.client()?.show(|give_up| self.client.load_all(give_up))?;
        let there = w.slots.iter().filter_map(|(name, s)| Some((name, s.after.as_ref()?)));
        let host = self.client.who().host;
        for (name, rec) in there {
            if visit(view::summary(&w, name, rec, &host)).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn sweep(&self) -> Result<Vec<String>> {
        let w = self.client()?.show(|give_up| self.client.load_all(give_up))?;
        let over = w.slots.into_iter().filter(|(_, s)| s.before.is_some() && s.after.is_none());
        let mut gone = Vec::new();
        for (name, slot) in over {
            // Reading has taken it out already; this writes it.
            let swept = self.client()?.steadily("sweep", [name.clone()], |w, _, _| match w.alive {
                None => Err(Stop::Fresh),
                Some(_) => Ok(w.slots.get(&name).is_some_and(|s| s.created == slot.created && s.after.is_none())),
            })?;
            if swept {
                gone.push(name);
            }
        }
        Ok(gone)
    }

    fn check(&self) -> Result<Checkup> {
        let w = self.client()?.show(|give_up| self.client.load_all(give_up))?;
        let there = w.slots.values().filter(|s| s.after.is_some()).count() as u64;
        let broken: Vec<String> = super::audit::audit(&w);
        let findings = broken.into_iter().map(|text| Finding::new(Severity::Damage, "store", text, "")).collect();
        let sessions = w.alive.as_ref().map_or(0, |a| a.len() as u64);
        Ok(Checkup::new(findings, there, sessions))
    }

    /// Every change is one transaction of the store, so there is never half of one.
    fn repair(&self) -> Result<Repaired> {
        Ok(Repaired::new(Vec::new(), self.check()?))
    }

    fn describe(&self, command: &str) -> Result<()> {
        let client = self.client()?;
        client.look(|give_up| client.describe(|who| who.command = view::short(command), give_up))
    }

    /// The guardian, where there is one, keeps the lease alive until the child has ended; else it ends by its time.
    fn cover(&self, pid: Option<u32>) -> Result<()> {
        let client = self.client()?;
        client.look(|give_up| client.cover(pid, give_up))
    }

    fn inside(&self, name: &Name, token: u64) -> Result<()> {
        let client = self.client()?;
        let w = client.look(|give_up| client.load(&[name.as_str().to_owned()].into(), give_up))?;
        let rec = w.get(name.as_str()).ok_or_else(|| self.missing(name))?;
        if !rec.claims.iter().any(|c| c.token == token) {
            return Ok(());
        }
        let claim = (name.as_str().to_owned(), token);
        client.look(|give_up| client.describe(|who| who.inside = vec![claim.clone()], give_up))
    }

    fn would_lose(&self) -> Result<Loss> {
        let client = self.client()?;
        let answer =
            client.show(|give_up| client.read(vec![Op::Prefix(RECORDS.to_owned()), Op::Prefix(SESSIONS.to_owned())], give_up))?;
        let mut reads = answer.reads.into_iter();
        let (records, sessions) = (reads.next().unwrap_or_default(), reads.next().unwrap_or_default());
        let own = client.current().map(|s| s.key());
        let (mut claims, mut waiters, mut unreadable) = (Vec::new(), 0, None);
        for kv in &records {
            match Record::decode(&kv.value) {
                Ok(rec) => {
                    let name = kv.key.strip_prefix(RECORDS).unwrap_or(&kv.key);
                    claims.extend(view::holders(&rec, None).into_iter().map(|h| (name.to_owned(), h)));
                    waiters += rec.queue.len() as u64;
                }
                Err(e) => unreadable = Some(e.message().to_owned()),
            }
        }
        let users = sessions.iter().filter(|kv| Some(&kv.key) != own.as_ref());
        let users = users.filter_map(|kv| serde_json::from_str::<Who>(&kv.value).ok());
        let users = users.map(|who| who.process(xsem::ProcessState::Alive)).collect();
        Ok(Loss::new(records.len() as u64, claims, waiters, users).unreadable(unreadable))
    }

    /// All keys go in one transaction, so nobody sees half of it; also the keys of the sessions, so whoever belongs to one finds
    /// with its next change that it is over.
    fn reset(&self) -> Result<Loss> {
        let loss = self.would_lose()?;
        let client = self.client()?;
        let txn = Arc::new(Txn { then: vec![Op::DeleteAll(String::new())], ..Txn::default() });
        client.show(|give_up| {
            loop {
                match client.store.change(&txn) {
                    Ok(_) => return Ok(()),
                    Err(Silence::Closed) => return Err(Trouble::Closed),
                    Err(Silence::Refused(e)) => return Err(Trouble::Refused(e)),
                    Err(_) if give_up() => return Err(Trouble::Silent),
                    // Twice is as good as once.
                    Err(_) => {}
                }
            }
        })?;
        lock(&client.memory).clear();
        Ok(loss)
    }

    /// From what the store still knows.
    fn history(&self, from: u64) -> Result<xsem::History> {
        super::history::history(self.client()?, from)
    }

    fn keep_history(&self, _records: Option<u32>) -> Result<()> {
        let text =
            format!("the history of {} can be neither switched on nor off: the store keeps it up to its compaction", self.url);
        Err(Error::new(Code::InvalidFunction, text).advice("`xsem log` shows it; for how long etcd keeps it, say its options"))
    }

    fn on_loss(&self, call: OnLoss) {
        if let Ok(client) = self.client() {
            client.on_loss(call);
        }
    }
}

/// 6 or 87 where an existing one is not what is asked for.
fn matches(name: &Name, rec: &Record, spec: &Spec) -> Result<()> {
    if rec.kind() != spec.kind {
        return Err(wrong_kind(name.as_str(), rec.kind(), spec.kind));
    }
    let want = Record::new(spec, rec.creator, 0, 0);
    if rec.sort == want.sort && (rec.kind() != Kind::Counting || rec.limit == want.limit) {
        return Ok(());
    }
    let text = |r: &Record| match r.sort {
        Sort::Manual => "an event that is reset by hand".to_owned(),
        Sort::Auto => "an event that is reset by a wait".to_owned(),
        Sort::Credit => format!("credit with a limit of {}", r.limit),
        _ => format!("a pool with a limit of {}", r.limit),
    };
    Err(Error::new(Code::InvalidParameter, format!("`{name}` is {}, not {}", text(rec), text(&want)))
        .of(name.as_str())
        .advice("ask for what it is, or resize it"))
}
