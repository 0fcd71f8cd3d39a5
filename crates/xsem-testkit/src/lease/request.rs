//! Asking for claims: one semaphore, the first of several, or several at one instant.
//!
//! Every request is a ticket at the end of the queues, and the same transaction settles: what is free is granted at once,
//! in one round trip. Otherwise the client watches the records until its ticket is gone.

use super::client::{Inner, Local, error};
use super::commit::Trouble;
use super::deadlock;
use super::object::LeaseObject;
use super::outbox::{Task, leave};
use super::record::{Entry, Id, Party, Record, Ticket, Wish, wall};
use super::refusal::{cancelled, drained, endless, late, taken, too_deep, too_many, unanswered};
use super::session::{RECORDS, SESSIONS, Session};
use super::store::{Event, Revision};
use super::view;
use super::world::{Stop, World, outcome};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use xsem::engine::Object;
use xsem::engine::{Claim, Grant, Request, Until};
use xsem::{Code, Deadline, Deaths, Error, Kind};

/// Deepest nesting of one claim, as in shared memory.
pub const MAX_DEPTH: u32 = 65_535;
/// How long the store may be silent, in ticks, before a wait that is over is left to the outbox.
const GRACE: u64 = 25;
/// How often a request that waits for the outbox looks whether it is over.
const PAUSE: Duration = Duration::from_millis(5);
/// A look at the whole namespace for a deadlock, while nothing else happens.
pub const LOOK: Duration = Duration::from_millis(50);

/// One entry of what is wanted.
pub type Wanted<'a> = (&'a LeaseObject, u32);

/// A claim that was granted: which entry, the token, by which request, and what its owner is to be told.
type Granted = (usize, u64, Id, Option<Option<Deaths>>);

/// How a wait ended.
enum Waited {
    Granted(Vec<Granted>),
    /// Begin again, with what is left of the time: the session ended, or the claim did before we knew of it.
    Again,
    Failed(Error),
}

impl Inner {
    /// Claims by one request.
    pub fn request(&self, list: &[Wanted<'_>], wish: Wish, request: &Request<'_>) -> xsem::Result<Vec<(usize, Grant)>> {
        let begun = self.clock.now();
        let over = || match request.until {
            Until::Now => self.clock.now() > begun + self.ttl,
            Until::Deadline(d) => d.has_passed(),
            Until::Forever => false,
        };
        let give_up = || over() || ended(request);
        for (object, _) in list {
            object.usable()?;
        }
        loop {
            // What was given back before goes out before what is asked for after it: else this wait could be for a claim of
            // one's own that only looks held, and that would be taken for a deadlock.
            while !self.link.is_killed() && !self.outbox.flush(PAUSE) {
                if give_up() {
                    return Err(unanswered(list, request));
                }
            }
            let session = match self.session(&give_up) {
                Ok(session) => session,
                Err(Trouble::Silent) => return Err(unanswered(list, request)),
                Err(t) => return Err(error(t, "the request")),
            };
            let ticket = self.ticket(&session, list, wish, request);
            let names = ticket.list.iter().map(|e| e.name.clone());
            let now = request.until == Until::Now;
            let granted = match self.transact(&session, names, &give_up, |w| submit(w, &ticket, list, now)) {
                Ok((Some(granted), _)) => Waited::Granted(granted),
                Ok((None, revision)) => {
                    let _waiting = list.iter().map(|(o, _)| o.waits()).collect::<Vec<_>>();
                    self.wait(&session, &ticket, list, revision, request)
                }
                Err(Trouble::Lost | Trouble::Vanished) => Waited::Again,
                Err(Trouble::Silent) => return Err(unanswered(list, request)),
                Err(Trouble::Unresolved(pending)) => {
                    self.outbox.push_unresolved(Task::Leave(session, ticket), pending, false);
                    return Err(unanswered(list, request));
                }
                Err(t) => return Err(error(t, "the request")),
            };
            match granted {
                Waited::Failed(e) => return Err(e),
                // A signal that was seen is nothing that could end with the session.
                Waited::Granted(granted)
                    if session.is_alive(&self.clock) || granted.iter().all(|(i, ..)| list[*i].0.kind() == Kind::Event) =>
                {
                    return Ok(granted.into_iter().map(|g| self.take(list, request, g)).collect());
                }
                // The session ended in the same moment; what it got ends with it.
                Waited::Again | Waited::Granted(_) => {}
            }
        }
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

    fn take(&self, list: &[Wanted<'_>], request: &Request<'_>, (i, token, id, died): Granted) -> (usize, Grant) {
        let object = list[i].0;
        let (created, handle, claimant) = (object.created, object.handle, request.claimant);
        if object.kind() == Kind::Event {
            return (i, Grant::new(Claim::new(token, 0), None));
        }
        self.note(id, object.text(), Local { created, claimant, handle, token, depth: 1 });
        super::thread::remember(self, request.claimant);
        (i, Grant::new(Claim::new(token, id.key()), died))
    }

    /// Until the ticket is gone, or the request is over.
    fn wait(
        &self,
        session: &Arc<Session>,
        ticket: &Ticket,
        list: &[Wanted<'_>],
        from: Revision,
        request: &Request<'_>,
    ) -> Waited {
        let keys: BTreeSet<String> = ticket.list.iter().map(|e| format!("{RECORDS}{}", e.name)).collect();
        let wanted = |e: &Event| keys.contains(&e.key) || e.key.starts_with(SESSIONS) && e.now.is_none();
        let slice = Duration::from_millis(if request.cancel.is_some() || request.interrupted.is_some() { 2 } else { 20 });
        let (mut next, mut look) = (from + 1, Instant::now());
        loop {
            if !session.is_alive(&self.clock) {
                return Waited::Again;
            }
            let timed_out = matches!(request.until, Until::Deadline(d) if d.has_passed());
            if timed_out || ended(request) {
                let e = |w: Option<&World>| if timed_out { late(list, ticket, w) } else { cancelled(list) };
                return self.leave(session, ticket, timed_out, e);
            }
            if Instant::now() >= look {
                match self.deadlock(session, ticket) {
                    Ok(None) => look = Instant::now() + LOOK,
                    Ok(Some(waited)) => return waited,
                    Err(Trouble::Silent) => {}
                    Err(t) => return failed(t),
                }
            }
            let left = match request.until {
                Until::Deadline(d) => d.remaining().min(slice),
                _ => slice,
            };
            let again = match self.link.watch(next, left, &wanted) {
                Err(super::net::Silence::Killed) => return failed(Trouble::Killed),
                Err(super::net::Silence::Unknown) => continue,
                // Too far behind: read instead.
                Ok(Err(_)) => true,
                Ok(Ok((events, then))) => {
                    next = then;
                    events.iter().any(|e| concerns(e, ticket))
                }
            };
            if again {
                match self.look_again(session, ticket) {
                    Ok((None, revision)) => next = next.max(revision + 1),
                    Ok((Some(granted), _)) if is_whole(&granted, ticket) => {
                        return Waited::Granted(granted);
                    }
                    // Somebody has ended the claim before we knew of it.
                    Ok((Some(_), _)) => {
                        self.outbox.push(Task::Leave(session.clone(), ticket.clone()));
                        return Waited::Again;
                    }
                    Err(Trouble::Silent | Trouble::Unresolved(_)) => next = from + 1,
                    Err(t) => return failed(t),
                }
            }
        }
    }

    /// Takes out who died, if that is not done yet, and says how the ticket stands.
    fn look_again(&self, session: &Arc<Session>, ticket: &Ticket) -> Result<(Option<Vec<Granted>>, Revision), Trouble> {
        let names = ticket.list.iter().map(|e| e.name.clone());
        let (begun, clock) = (self.clock.now(), &self.clock);
        self.transact(session, names, &|| clock.now() > begun + GRACE, |w| {
            if w.alive.is_none() {
                return Err(Stop::Fresh);
            }
            w.settle()?;
            Ok(granted(w, ticket))
        })
    }

    /// Passes those who stand before it.
    fn pass(&self, session: &Arc<Session>, ticket: &Ticket) -> Result<Option<Vec<Granted>>, Trouble> {
        let names = ticket.list.iter().map(|e| e.name.clone());
        let (begun, clock) = (self.clock.now(), &self.clock);
        let passed = self.transact(session, names, &|| clock.now() > begun + GRACE, |w| {
            let queues = w.slots.values_mut().filter_map(|s| s.after.as_mut());
            queues.flat_map(|r| &mut r.queue).filter(|t| t.party.id == ticket.party.id).for_each(|t| t.passes = true);
            w.settle()?;
            Ok(granted(w, ticket).filter(|g| is_whole(g, ticket)))
        })?;
        Ok(passed.0)
    }

    /// The request is over: the ticket comes out, unless it was granted in the last moment.
    fn leave(&self, session: &Arc<Session>, ticket: &Ticket, timed_out: bool, e: impl Fn(Option<&World>) -> Error) -> Waited {
        let names = ticket.list.iter().map(|e| e.name.clone());
        let begun = self.clock.now();
        let left = self.transact(session, names, &|| self.clock.now() > begun + GRACE, |w| {
            // Who is ahead is only known while the ticket is there.
            let e = e(Some(w));
            if leave(w, ticket, false)?.is_some() {
                return Ok((granted(w, ticket), e));
            }
            let names: BTreeSet<&str> = ticket.list.iter().map(|e| e.name.as_str()).collect();
            names.into_iter().filter_map(|n| w.get_mut(n).map(|r| r.timed_out += timed_out as u64)).for_each(drop);
            Ok((None, e))
        });
        match left {
            Ok(((Some(granted), _), _)) if is_whole(&granted, ticket) => Waited::Granted(granted),
            Ok(((None, e), _)) => Waited::Failed(e),
            Err(Trouble::Unresolved(pending)) => {
                self.outbox.push_unresolved(Task::Leave(session.clone(), ticket.clone()), pending, true);
                Waited::Failed(e(None))
            }
            Ok(((Some(_), e), _)) => {
                self.leave_later(session, ticket);
                Waited::Failed(e)
            }
            Err(Trouble::Silent) => {
                self.leave_later(session, ticket);
                Waited::Failed(e(None))
            }
            Err(Trouble::Lost | Trouble::Vanished) => Waited::Failed(e(None)),
            Err(t) => failed(t),
        }
    }

    /// Whether this wait closes a cycle, being the youngest of it: then it ends. Or whether it only stands behind somebody
    /// who waits, in the end, for it: then it need not stand back.
    fn deadlock(&self, session: &Arc<Session>, ticket: &Ticket) -> Result<Option<Waited>, Trouble> {
        let world = self.load_all(&|| true)?;
        if deadlock::may_pass(&world, ticket) {
            return Ok(self.pass(session, ticket)?.map(Waited::Granted));
        }
        let Some(cycle) = deadlock::closed_by(&world, ticket.party.id) else { return Ok(None) };
        Ok(Some(self.leave(session, ticket, false, |_| endless(&cycle))))
    }
}

/// Whether an event may change how a ticket stands: it is gone from the queue, or a session has ended.
fn concerns(e: &Event, ticket: &Ticket) -> bool {
    match &e.now {
        Some(kv) => Record::decode(&kv.value).map_or(true, |r| !r.waits(ticket.party.id)),
        None => true,
    }
}

/// The transaction's body. `None`: the ticket waits.
fn submit(w: &mut World, ticket: &Ticket, list: &[Wanted<'_>], now: bool) -> Result<Option<Vec<Granted>>, Stop> {
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
    if let Some(granted) = granted(w, &ticket) {
        // An entry before it may be free in truth: what is remembered does not say who has died.
        let lowest = ticket.wish != Wish::Any || granted.first().is_some_and(|(i, ..)| *i == 0);
        return if fresh || lowest { Ok(Some(granted)) } else { Err(Stop::Fresh) };
    }
    if !fresh {
        return Err(Stop::Fresh);
    }
    if now {
        return Err(taken(list, &ticket, w).into());
    }
    let names: BTreeSet<&str> = ticket.list.iter().map(|e| e.name.as_str()).collect();
    names.into_iter().filter_map(|n| w.get_mut(n).map(|r| r.contended += 1)).for_each(drop);
    Ok(None)
}

/// What a ticket has got: what it has seen of events, it knows of from here on.
fn granted(w: &mut World, ticket: &Ticket) -> Option<Vec<Granted>> {
    let got = outcome(ticket, |name| w.get(name))?;
    let claim = |(i, id): (usize, Option<Id>)| {
        let (id, rec) = (id?, w.get(&ticket.list[i].name)?);
        let token = match rec.seen_by(id).filter(|_| rec.is_event()) {
            Some(seen) => seen.token,
            None => rec.claims[rec.claim_of(id)?].token,
        };
        Some((i, token, id, if id == ticket.party.id { rec.told() } else { None }))
    };
    let granted = got.into_iter().filter_map(claim).collect();
    for e in &ticket.list {
        if let Some(rec) = w.get_mut(&e.name).filter(|r| r.seen_by(ticket.party.id).is_some_and(|s| !s.fetched)) {
            rec.fetched(ticket.party.id);
        }
    }
    Some(granted)
}

/// Whether all is there that was granted.
fn is_whole(granted: &[Granted], ticket: &Ticket) -> bool {
    granted.len() == if ticket.wish == Wish::All { ticket.list.len() } else { 1 }
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
