//! Draining: no new requests, and a wait until everybody who is there has ended.

use super::client::error;
use super::commit::Trouble;
use super::deadlock;
use super::names::EtcdEngine;
use super::notes::News;
use super::outbox::{Task, is_of_the_store};
use super::record::{Drain, Id, Party};
use super::refusal::endless;
use super::request::is_over;
use super::view;
use super::world::{Stop, World};
use std::task::Waker;
use std::time::{Duration, Instant};
use xsem::engine::{Request, Until};
use xsem::{Code, Error, Name, Result};

/// How long a drain sleeps at most, before it looks by itself: whether it is over, and for a deadlock.
const AT_MOST: Duration = Duration::from_secs(2);

impl EtcdEngine {
    /// Refuses new requests until somebody reopens it; returns when nobody is left, or says who is and opens it again.
    pub fn drain_until(&self, name: &Name, request: &Request<'_>) -> Result<()> {
        let client = self.client()?;
        let op = client.next_op();
        let only = || [name.as_str().to_owned()];
        // In the table before anybody can tell it something.
        let entered = client.enter(op);
        let (_alarm, slice) = super::request::alarm(&Waker::from(entered.wait.clone()), request);
        loop {
            let (session, done, ephemeral) = client.steadily("drain", only(), |w, session, _| {
                let by = Party { id: Id { session: session.id, op }, claimant: request.claimant, who: client.who() };
                let deadline = request.until != Until::Forever;
                let drain = Drain { by, deadline, order: w.revision, done: false };
                Ok((session.clone(), self.begin_drain(w, name, drain)?, w.get(name.as_str()).is_some_and(|r| r.ephemeral)))
            })?;
            if done {
                return Ok(());
            }
            client.listen(&session);
            let by = Id { session: session.id, op };
            let mut look = Instant::now();
            // When the session ends, the drain does: it begins again.
            let alive = || session.is_alive();
            while alive() {
                let mut end = is_over(request).map(|code| undrained(name, code));
                if end.is_none() && request.until == Until::Forever && Instant::now() >= look {
                    look = Instant::now() + AT_MOST;
                    let cycle = client.load_all(&|| true).ok().and_then(|w| deadlock::closed_by(&w, by));
                    end = cycle.map(|c| endless(&c));
                }
                let looked = client.transact(&session, only(), &|| !alive(), |w| match &mut end {
                    Some(_) if w.alive.is_none() => Err(Stop::Fresh),
                    Some(e) => self.end_drain(w, name, by, e).map(Err),
                    None if w.alive.is_none() => Err(Stop::Fresh),
                    None => {
                        w.settle()?;
                        w.take(by);
                        // It went with its last user: there is nothing left that could stay closed.
                        if ephemeral && w.get(name.as_str()).is_none() {
                            return Err(self.missing(name).into());
                        }
                        self.drained(w, name, by).map(Ok)
                    }
                });
                match looked {
                    Ok((Ok(true) | Err(true), _)) => return Ok(()),
                    Ok((Err(false), _)) => return end.map_or(Ok(()), Err),
                    Ok((Ok(false), _)) => {}
                    // The store refuses the change (it is full, say): it must not stay closed behind somebody who drains it no more. What
                    // has ended the drain is told before that.
                    Err(Trouble::Refused(e)) if is_of_the_store(&e) => {
                        client.outbox.push(client, Task::Undrain(session.clone(), name.as_str().to_owned(), by));
                        return Err(end.unwrap_or(e));
                    }
                    Err(Trouble::Refused(e)) => return Err(e),
                    Err(Trouble::Closed) => return Err(error(Trouble::Closed, "the drain")),
                    Err(_) => break,
                }
                let until = Instant::now() + AT_MOST;
                while is_over(request).is_none() && alive() && Instant::now() < until {
                    let left = match request.until {
                        Until::Deadline(d) => d.remaining().min(slice),
                        _ => slice,
                    };
                    match entered.wait.news(left) {
                        News::Nothing => {}
                        News::Over(_) => {
                            client.read_note(&session, by);
                            break;
                        }
                        News::Cycle => {
                            look = Instant::now();
                            break;
                        }
                        News::Look => break,
                    }
                }
            }
            if let Some(code) = is_over(request) {
                return Err(undrained(name, code));
            }
        }
    }

    /// Whether a drain by this request has ended: 95 when somebody reopened it.
    fn drained(&self, w: &World, name: &Name, by: Id) -> std::result::Result<bool, Stop> {
        let Some(rec) = w.get(name.as_str()) else { return Ok(true) };
        match &rec.drain {
            Some(d) if d.by.id == by => Ok(d.done),
            _ => Err(Error::new(Code::Interrupt, format!("`{name}` was reopened while it was being drained"))
                .of(name.as_str())
                .into()),
        }
    }

    /// Begins a drain, or goes on with it after its session has ended. True: it is over.
    fn begin_drain(&self, w: &mut World, name: &Name, drain: Drain) -> std::result::Result<bool, Stop> {
        if w.alive.is_none() {
            return Err(Stop::Fresh);
        }
        let Some(rec) = w.get_mut(name.as_str()) else { return Err(self.missing(name).into()) };
        match &rec.drain {
            Some(d) if d.done => return Ok(true),
            Some(d) if d.by.id != drain.by.id => {
                let rec = rec.clone();
                return Err(self.in_use(name, &rec, w, "is being drained by somebody already").into());
            }
            _ => rec.drain = Some(drain.clone()),
        }
        w.settle()?;
        w.take(drain.by.id);
        self.drained(w, name, drain.by.id)
    }

    /// Opens it again, since the drain is over, and adds to the error who is left. True: nobody was, in the last moment.
    fn end_drain(&self, w: &mut World, name: &Name, by: Id, e: &mut Error) -> std::result::Result<bool, Stop> {
        w.settle()?;
        w.take(by);
        if self.drained(w, name, by)? {
            return Ok(true);
        }
        if let Some(rec) = w.get_mut(name.as_str()) {
            rec.drain = None;
        }
        let Some(rec) = w.get(name.as_str()) else { return Ok(true) };
        let (holders, waiters) = (view::holders(rec, w.alive.as_ref()), view::waiters(rec, w.alive.as_ref(), None));
        let told = std::mem::replace(e, Error::new(Code::SemTimeout, ""));
        *e = told.held_by(holders).behind(waiters);
        Ok(false)
    }
}

fn undrained(name: &Name, code: Code) -> Error {
    let what = if code == Code::Interrupt { "the drain was cancelled" } else { "it was not drained in time" };
    Error::new(code, format!("`{name}` is open again: {what}")).of(name.as_str())
}
