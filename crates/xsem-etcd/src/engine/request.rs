//! Asking for claims: one semaphore, the first of several, or several at one instant.
//!
//! Every request is a ticket at the end of the queues, and the same transaction settles: what is free is granted at once,
//! in one round trip. Otherwise whoever serves it, or its own look at the records, says so (see `notes`).

use super::client::{Inner, Local, error, lock};
use super::commit::{GiveUp, Trouble};
use super::crowd::Pace;
use super::deadlock;
use super::notes::{Entered, News, Wait};
use super::object::{EtcdObject, Waits};
use super::outbox::{Task, is_of_the_store, waits};
use super::record::{Entry, Id, Party, Sort, Ticket, Wish, wall};
use super::refusal::{cancelled, drained, endless, late, taken, too_deep, too_many};
use super::session::Session;
use super::view;
use super::world::{Got, Stop, World};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};
use xsem::engine::{Alarm, Claim, Grant, Object, Request, Until};
use xsem::{Code, Deadline, Error, Kind};

/// Deepest nesting of one claim, as in shared memory.
pub const MAX_DEPTH: u32 = 65_535;
/// How often a request that waits for the outbox looks whether it is over.
const PAUSE: Duration = Duration::from_millis(5);
/// How often a wait looks whether it was interrupted (by a front door of another language), or cancelled where there is no thread
/// that could say so.
const ASK: Duration = Duration::from_millis(5);
/// How long a wait sleeps at most before it looks at the records by itself. Notes and deaths wake it; this is for what nobody
/// has thought of.
const AT_MOST: Duration = Duration::from_secs(10);

/// One entry of what is wanted.
pub type Wanted<'a> = (&'a EtcdObject, u32);

/// How a wait ended.
pub enum Waited {
    Granted(Vec<Got>),
    /// Begin again, with what is left of the time: the session ended, or the claim did before we knew of it.
    Again,
    Failed(Error),
}

/// How a request began.
pub enum Begun {
    /// It is over already.
    Over(Arc<Session>, Waited),
    /// It is written down, and waits.
    Waits(Box<Waiting>),
    /// What was given back before is not sent yet: in a moment.
    NotYet,
    /// The store does not answer, and the caller's patience is over; nothing will come of what was sent.
    Silent,
}

/// A wait: what is looked at in each turn of it.
pub struct Waiting {
    /// Whose ticket it is.
    pub session: Arc<Session>,
    /// The ticket.
    pub ticket: Ticket,
    /// What it is told.
    pub entered: Entered,
    looks: Looks,
    looked: Instant,
    /// Its handles are in use.
    _through: Vec<Waits>,
}

/// What a turn of a wait came to.
pub enum Turn {
    /// It is over.
    Over(Waited),
    /// Another turn when it is told something, at this instant at the latest.
    Sleeps(Instant),
}

/// When the search for a deadlock is made: at once, since who waits last closes the cycle; then less and less often, for cycles that
/// come about in other ways.
struct Looks {
    next: Option<Instant>,
    pause: Duration,
}

impl Looks {
    fn new(any: bool) -> Looks {
        Looks { next: any.then(Instant::now), pause: Duration::from_millis(100) }
    }

    fn are_due(&self) -> bool {
        self.next.is_some_and(|at| Instant::now() >= at)
    }

    fn done(&mut self) {
        self.next = self.next.map(|_| Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(Duration::from_secs(5));
    }

    fn left(&self) -> Duration {
        self.next.map_or(AT_MOST, |at| at.saturating_duration_since(Instant::now()))
    }
}

impl Inner {
    /// Claims by one request.
    pub fn request(&self, list: &[Wanted<'_>], wish: Wish, request: &Request<'_>) -> xsem::Result<Vec<(usize, Grant)>> {
        let begun = self.store.now();
        let give_up = || self.is_late(request, begun) || ended(request);
        loop {
            let (session, waited) = match self.begin(list, wish, request, &give_up)? {
                Begun::Over(session, waited) => (session, waited),
                Begun::NotYet if !give_up() => continue,
                Begun::NotYet | Begun::Silent => return Err(self.unanswered(list, request)),
                Begun::Waits(mut waiting) => {
                    let waker = Waker::from(waiting.entered.wait.clone());
                    let (_alarm, slice) = alarm(&waker, request);
                    loop {
                        match self.turn(&mut waiting, list, request) {
                            Turn::Over(waited) => break (waiting.session.clone(), waited),
                            Turn::Sleeps(until) => waiting.entered.wait.rest(until.min(Instant::now() + slice)),
                        }
                    }
                }
            };
            if let Some(done) = self.outcome(waited, &session, list, request) {
                return done;
            }
        }
    }

    /// Whether the time of a request that began then is over.
    pub fn is_late(&self, request: &Request<'_>, begun: u64) -> bool {
        match request.until {
            Until::Now => self.store.now() > begun + self.store.ttl(),
            Until::Deadline(d) => d.has_passed(),
            Until::Forever => false,
        }
    }

    /// Asks the store. An error: it is refused.
    pub fn begin(&self, list: &[Wanted<'_>], wish: Wish, request: &Request<'_>, give_up: GiveUp<'_>) -> xsem::Result<Begun> {
        for (object, _) in list {
            object.usable()?;
        }
        // What was given back before goes out before what is asked for after it: else this wait could be for a claim of
        // one's own that only looks held, and that would be taken for a deadlock.
        if !self.outbox.is_empty() && !self.store.is_closed() && !self.outbox.flush(PAUSE) {
            return Ok(Begun::NotYet);
        }
        let session = match self.session(give_up) {
            Ok(session) => session,
            Err(Trouble::Silent) => return Ok(Begun::Silent),
            Err(t) => return Err(self.error(t, "the request")),
        };
        let ticket = self.ticket(&session, list, wish, request);
        let names = ticket.list.iter().map(|e| e.name.clone());
        let now = request.until == Until::Now;
        // In the table before it can be told anything.
        let entered = self.enter(ticket.party.id.op);
        match self.transact_at(Pace::Patient, &session, names, give_up, |w| submit(w, &ticket, list, now)) {
            Ok((Some(granted), _)) => {
                // Who queues for what it owns tells it, so that the release is one round trip.
                if list.iter().any(|(o, _)| o.is_exclusive()) {
                    self.listen(&session);
                }
                Ok(Begun::Over(session, Waited::Granted(granted)))
            }
            Ok((None, _)) => {
                self.begins(&ticket, &entered.wait);
                let through = list.iter().map(|(o, _)| o.waits()).collect();
                self.listen(&session);
                let (looks, looked) = (Looks::new(self.holds_something(request.claimant) || self.is_inside()), Instant::now());
                Ok(Begun::Waits(Box::new(Waiting { session, ticket, entered, looks, looked, _through: through })))
            }
            Err(Trouble::Lost | Trouble::Vanished) => Ok(Begun::Over(session, Waited::Again)),
            Err(Trouble::Silent) => Ok(Begun::Silent),
            Err(Trouble::Unresolved(pending)) => {
                self.outbox.push_unresolved(self, Task::Leave(session, ticket), pending, false);
                Ok(Begun::Silent)
            }
            Err(t) => Err(self.error(t, "the request")),
        }
    }

    /// What the caller gets of it; `None`: it begins again.
    pub fn outcome(
        &self,
        waited: Waited,
        session: &Session,
        list: &[Wanted<'_>],
        request: &Request<'_>,
    ) -> Option<xsem::Result<Vec<(usize, Grant)>>> {
        match waited {
            Waited::Failed(e) => Some(Err(e)),
            // A signal that was seen is nothing that could end with the session.
            Waited::Granted(granted) if session.is_alive() || granted.iter().all(|g| list[g.entry].0.kind() == Kind::Event) => {
                Some(Ok(granted.into_iter().map(|g| self.take(list, request, g)).collect()))
            }
            // The session ended in the same moment; what it got ends with it.
            Waited::Again | Waited::Granted(_) => None,
        }
    }

    /// Whom the wait that has just been written down stands behind.
    fn begins(&self, ticket: &Ticket, wait: &Wait) {
        let memory = lock(&self.memory);
        let records: Vec<_> = ticket.list.iter().filter_map(|e| memory.get(&e.name)?.after.as_ref()).collect();
        wait.begins(&records, ticket.party.id);
    }

    fn ticket(&self, session: &Session, list: &[Wanted<'_>], wish: Wish, request: &Request<'_>) -> Ticket {
        let id = Id { session: session.id, op: self.next_op() };
        let entry = |&(object, permits): &Wanted<'_>| Entry {
            name: object.text().to_owned(),
            permits,
            nests: self.own(object.text(), object.created, request.claimant).filter(|_| object.is_exclusive()),
        };
        Ticket {
            party: Party { id, claimant: request.claimant, who: self.who() },
            wish,
            list: list.iter().map(entry).collect(),
            label: request.label.map(view::short),
            deadline: matches!(request.until, Until::Deadline(_)),
            since: wall(),
            order: 0,
            passes: false,
        }
    }

    fn take(&self, list: &[Wanted<'_>], request: &Request<'_>, got: Got) -> (usize, Grant) {
        let object = list[got.entry].0;
        let (created, handle, claimant) = (object.created, object.handle, request.claimant);
        if object.kind() == Kind::Event {
            return (got.entry, Grant::new(Claim::new(got.token, 0), None));
        }
        self.note(object.text(), Local { id: got.id, created, claimant, handle, token: got.token, depth: 1 });
        super::thread::remember(self, request.claimant);
        let died = got.died.map(|dead| Some(dead.obituaries()));
        (got.entry, Grant::new(Claim::new(got.token, got.id.op), died))
    }

    /// A turn of a wait, which ends when the ticket is gone or the request is over.
    pub fn turn(&self, w: &mut Waiting, list: &[Wanted<'_>], request: &Request<'_>) -> Turn {
        let Waiting { session, ticket, entered, looks, looked, .. } = w;
        if !session.is_alive() {
            return Turn::Over(Waited::Again);
        }
        let timed_out = matches!(request.until, Until::Deadline(d) if d.has_passed());
        if timed_out || ended(request) {
            let e = |w: Option<&World>| if timed_out { late(list, ticket, w) } else { cancelled(list) };
            let why = if timed_out { Code::SemTimeout } else { Code::Interrupt };
            return Turn::Over(self.leave(session, ticket, &entered.wait, why, e));
        }
        if looks.are_due() {
            match self.deadlock(session, ticket, &entered.wait) {
                Ok(None) => looks.done(),
                Ok(Some(waited)) => return Turn::Over(waited),
                Err(Trouble::Silent | Trouble::Unresolved(_)) => looks.done(),
                Err(t) => return Turn::Over(self.broken(session, ticket, t)),
            }
        }
        match entered.wait.news(Duration::ZERO) {
            News::Over(got) => return Turn::Over(self.over(session, ticket, got)),
            News::Cycle => looks.next = Some(Instant::now()),
            News::Nothing if looked.elapsed() < AT_MOST => {}
            News::Look | News::Nothing => {
                *looked = Instant::now();
                match self.look_again(session, ticket) {
                    Ok(None) | Err(Trouble::Silent | Trouble::Unresolved(_)) => {}
                    Ok(Some(waited)) => return Turn::Over(waited),
                    Err(t) => return Turn::Over(self.broken(session, ticket, t)),
                }
            }
        }
        let now = Instant::now();
        let mut until = (now + looks.left()).min(*looked + AT_MOST);
        if let Until::Deadline(d) = request.until {
            until = until.min(now + d.remaining());
        }
        Turn::Sleeps(entered.wait.due().map_or(until, |at| at.min(until)))
    }

    /// It cannot go on. Its ticket must not stay where it is: it would be granted what nobody gives back.
    fn broken(&self, session: &Arc<Session>, ticket: &Ticket, t: Trouble) -> Waited {
        if matches!(t, Trouble::Refused(_)) {
            self.leave_later(session, ticket);
        }
        failed(t)
    }

    /// A note says that the wait is over.
    fn over(&self, session: &Arc<Session>, ticket: &Ticket, got: Vec<Got>) -> Waited {
        self.read_note(session, ticket.party.id);
        // Until it is written down that an auto-reset signal has arrived, it comes back if this session ends.
        if got.iter().any(|g| ticket.list.get(g.entry).is_some_and(|e| self.is_auto(&e.name))) {
            self.outbox.push(self, Task::Fetched(session.clone(), ticket.clone()));
            self.outbox.flush(Duration::from_millis(self.grace()));
        }
        Waited::Granted(got)
    }

    fn is_auto(&self, name: &str) -> bool {
        lock(&self.memory).get(name).and_then(|s| s.after.as_ref()).is_none_or(|r| r.sort == Sort::Auto)
    }

    /// Takes out who died, if that is not done yet, and says how the ticket stands; `None`: it waits.
    fn look_again(&self, session: &Arc<Session>, ticket: &Ticket) -> Result<Option<Waited>, Trouble> {
        let names = ticket.list.iter().map(|e| e.name.clone());
        let begun = self.store.now();
        let id = ticket.party.id;
        let give_up = || self.store.now() > begun + self.grace();
        let (found, _) = self.transact(session, names, &give_up, |w| {
            if w.alive.is_none() {
                return Err(Stop::Fresh);
            }
            if !waits(w, ticket) {
                return Ok(None);
            }
            w.settle()?;
            Ok(Some(w.take(id)))
        })?;
        match found {
            Some(None) => Ok(None),
            Some(Some(got)) => Ok(Some(Waited::Granted(got))),
            None => self.told(session, ticket, &give_up).map(Some),
        }
    }

    /// The ticket is gone, and it was not we who took it out: there is a note, or the session is over.
    fn told(&self, session: &Arc<Session>, ticket: &Ticket, give_up: &dyn Fn() -> bool) -> Result<Waited, Trouble> {
        match self.find_note(ticket.party.id, give_up)? {
            Some(got) => Ok(self.over(session, ticket, got)),
            None => {
                self.leave_later(session, ticket);
                Ok(Waited::Again)
            }
        }
    }

    /// Passes those who stand before it.
    fn pass(&self, session: &Arc<Session>, ticket: &Ticket) -> Result<Option<Vec<Got>>, Trouble> {
        let names = ticket.list.iter().map(|e| e.name.clone());
        let begun = self.store.now();
        let passed = self.transact(session, names, &|| self.store.now() > begun + self.grace(), |w| {
            let queues = w.slots.values_mut().filter_map(|s| s.after.as_mut());
            queues.flat_map(|r| &mut r.queue).filter(|t| t.party.id == ticket.party.id).for_each(|t| t.passes = true);
            w.settle()?;
            Ok(w.take(ticket.party.id))
        })?;
        Ok(passed.0)
    }

    /// The request is over: the ticket comes out, unless it was granted in the last moment.
    fn leave(
        &self,
        session: &Arc<Session>,
        ticket: &Ticket,
        wait: &Wait,
        why: Code,
        e: impl Fn(Option<&World>) -> Error,
    ) -> Waited {
        let names = ticket.list.iter().map(|e| e.name.clone());
        let begun = self.store.now();
        let give_up = || self.store.now() > begun + self.grace();
        let left = self.transact(session, names, &give_up, |w| {
            if w.alive.is_none() && why == Code::SemTimeout {
                // Who is told that it is late is told by whom.
                return Err(Stop::Fresh);
            }
            if !waits(w, ticket) {
                return if w.alive.is_none() { Err(Stop::Fresh) } else { Ok(None) };
            }
            // Who is ahead is only known while the ticket is there.
            let e = e(Some(w));
            w.dequeue(ticket.party.id);
            let names: BTreeSet<&str> = ticket.list.iter().map(|e| e.name.as_str()).collect();
            for name in names {
                if let Some(rec) = w.get_mut(name) {
                    rec.timed_out += u64::from(why == Code::SemTimeout);
                    rec.endless += u64::from(why == Code::PossibleDeadlock);
                }
            }
            w.settle()?;
            Ok(Some(e))
        });
        match left {
            Ok((Some(e), _)) => Waited::Failed(e),
            Ok((None, _)) => {
                let told = match wait.news(Duration::ZERO) {
                    News::Over(got) => Ok(self.over(session, ticket, got)),
                    _ => self.told(session, ticket, &give_up),
                };
                match told {
                    Ok(Waited::Again) => Waited::Failed(e(None)),
                    Ok(waited) => waited,
                    Err(t) => {
                        self.leave_later(session, ticket);
                        if matches!(t, Trouble::Closed) { failed(t) } else { Waited::Failed(e(None)) }
                    }
                }
            }
            Err(Trouble::Unresolved(pending)) => {
                self.outbox.push_unresolved(self, Task::Leave(session.clone(), ticket.clone()), pending, true);
                Waited::Failed(e(None))
            }
            Err(Trouble::Silent) => {
                self.leave_later(session, ticket);
                Waited::Failed(e(None))
            }
            Err(Trouble::Lost | Trouble::Vanished) => Waited::Failed(e(None)),
            // The store refuses the change (it is full, say): the request is over all the same, and its ticket goes when that has passed.
            Err(Trouble::Refused(r)) if is_of_the_store(&r) => {
                self.leave_later(session, ticket);
                Waited::Failed(e(None))
            }
            Err(t) => self.broken(session, ticket, t),
        }
    }

    /// Whether this wait closes a cycle, being the youngest of it: then it ends. Or whether it only stands behind somebody
    /// who waits, in the end, for it: then it need not stand back. Who closes another cycle is told to look.
    fn deadlock(&self, session: &Arc<Session>, ticket: &Ticket, wait: &Wait) -> Result<Option<Waited>, Trouble> {
        let world = self.load_all(&|| true)?;
        if deadlock::may_pass(&world, ticket) {
            return Ok(self.pass(session, ticket)?.map(Waited::Granted));
        }
        let mut own = None;
        for (victim, cycle) in deadlock::victims(&world) {
            match victim == ticket.party.id {
                true => own = Some(cycle),
                // One that began later, and has perhaps looked before this one was there.
                false => self.outbox.push(self, Task::Poke(session.clone(), victim)),
            }
        }
        Ok(own.map(|cycle| self.leave(session, ticket, wait, Code::PossibleDeadlock, |_| endless(&cycle))))
    }
}

/// The transaction's body. `None`: the ticket waits.
fn submit(w: &mut World, ticket: &Ticket, list: &[Wanted<'_>], now: bool) -> Result<Option<Vec<Got>>, Stop> {
    let many = ticket.wish != Wish::One;
    let at = |e: Error, i: usize| if many { e.at([i]) } else { e };
    for (i, ((object, permits), entry)) in list.iter().zip(&ticket.list).enumerate() {
        let slot = w.slots.get_mut(object.text()).filter(|s| s.created == object.created);
        let Some(rec) = slot.and_then(|s| s.after.as_mut()) else {
            return Err(at(object.stale(), i).into());
        };
        if *permits == 0 || *permits > rec.limit {
            return Err(at(too_many(object, *permits, rec.limit), i).into());
        }
        let outer = entry.nests.and_then(|outer| rec.claim_of(outer)).map(|c| rec.claims[c].depth);
        if outer.is_some_and(|depth| depth >= MAX_DEPTH) {
            return Err(at(too_deep(object), i).into());
        }
        if rec.drain.is_some() && outer.is_none() {
            return Err(at(drained(object, rec, w.alive.as_ref()), i).into());
        }
        // A session that was lost took the handle of an ephemeral semaphore along.
        if let Some(opener) = object.opener.filter(|_| rec.ephemeral)
            && opener.session != ticket.party.id.session
        {
            let again = Id { session: ticket.party.id.session, ..opener };
            if !rec.openers.contains(&again) {
                rec.openers.push(again);
            }
        }
    }
    let fresh = w.alive.is_some();
    let ticket = Ticket { order: w.revision, ..ticket.clone() };
    w.enqueue(&ticket);
    w.settle()?;
    if let Some(got) = w.take(ticket.party.id) {
        // An entry before it may be free in truth: what is remembered does not say who has died.
        let lowest = ticket.wish != Wish::Any || got.first().is_some_and(|g| g.entry == 0);
        return if fresh || lowest { Ok(Some(got)) } else { Err(Stop::Fresh) };
    }
    if now {
        return Err(if fresh { taken(list, &ticket, w).into() } else { Stop::Fresh });
    }
    if !fresh && !w.assume_holders() {
        return Err(Stop::Fresh);
    }
    if let [entry] = &ticket.list[..] {
        w.tell_owner(&entry.name, ticket.party.id.session);
    }
    let names: BTreeSet<&str> = ticket.list.iter().map(|e| e.name.as_str()).collect();
    names.into_iter().filter_map(|n| w.get_mut(n).map(|r| r.contended += 1)).for_each(drop);
    Ok(None)
}

/// Has this waker woken when the request is cancelled; and after how long at most it has to be looked at, too.
pub fn alarm(waker: &Waker, request: &Request<'_>) -> (Option<Alarm>, Duration) {
    let mut slice = if request.interrupted.is_some() { ASK } else { AT_MOST };
    let alarm = request.cancel.map(|cancel| {
        let mut alarm = Alarm::new();
        match alarm.set(waker, cancel) {
            Ok(false) => {}
            Ok(true) => waker.wake_by_ref(),
            Err(_) => slice = ASK,
        }
        alarm
    });
    (alarm, slice)
}

/// Cancelled by its token, or by a front door that was interrupted.
pub fn ended(request: &Request<'_>) -> bool {
    request.cancel.is_some_and(|c| c.is_cancelled()) || request.interrupted.is_some_and(|i| i.give_up())
}

fn failed(t: Trouble) -> Waited {
    match t {
        Trouble::Lost | Trouble::Vanished => Waited::Again,
        t => Waited::Failed(error(t, "the wait")),
    }
}

/// When a drain's or another wait's time is over.
pub fn is_over(request: &Request<'_>) -> Option<Code> {
    match request.until {
        _ if ended(request) => Some(Code::Interrupt),
        Until::Now => Some(Code::SemTimeout),
        Until::Deadline(d) if Deadline::has_passed(d) => Some(Code::SemTimeout),
        _ => None,
    }
}
