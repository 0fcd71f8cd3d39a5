//! What a thread of an actor does with a command.

use super::crew::{Lent, Sem, Shared};
use super::futures::Futures;
use crate::protocol::{Answer, Dead, Till, Verb, What};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::sync::Arc;
use std::time::Duration;
use xsem::{
    AcquireError, AllError, AnyError, Code, Counting, Error, Event, Exclusive, Guard, Held, Namespace, Options, OwnedGuard,
    OwnedPermit, Permit, Pick, Wait,
};

/// Something that the thread owns.
pub(super) enum Own {
    Guard(Guard<'static>),
    Permit(Permit<'static>),
    Owned(OwnedPermit),
    /// From a future.
    Task(OwnedGuard),
    /// The signal of an event, which is nothing that could be given back.
    Seen(u64),
}

/// A thread of an actor, with what it owns.
pub struct Player {
    number: u32,
    pub(super) shared: Arc<Shared>,
    guards: Vec<Option<Own>>,
    pub(super) futures: Futures,
    why: Option<Answer>,
}

impl std::fmt::Debug for Player {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Player").field("number", &self.number).field("guards", &self.guards.len()).finish_non_exhaustive()
    }
}

pub(super) type Act<T> = Result<T, Answer>;

impl Player {
    pub(super) fn new(number: u32, shared: Arc<Shared>) -> Player {
        Player { number, shared, guards: Vec::new(), futures: Futures::default(), why: None }
    }

    /// Lets go of everything without releasing it, as a thread that dies does.
    pub(super) fn forget(&mut self) {
        self.guards.drain(..).for_each(std::mem::forget);
    }

    /// Carries a command out.
    pub fn act(&mut self, verb: &Verb) -> Answer {
        let parcels = self.shared.take(self.number);
        self.guards.extend(parcels.into_iter().map(|p| Some(Own::Owned(p))));
        self.carry_out(verb).unwrap_or_else(|refusal| refusal)
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    fn carry_out(&mut self, verb: &Verb) -> Act<Answer> {
        let ns = self.shared.ns.clone();
        match verb {
            Verb::Create(n) => self.opened(Exclusive::create(&ns, n)),
            Verb::Open(n) => self.opened(Exclusive::open(&ns, n)),
            Verb::OpenOrCreate(n) => self.opened(Exclusive::open_or_create(&ns, n)),
            Verb::OpenCounting(n) => self.opened_counting(Counting::open(&ns, n)),
            Verb::Make(what, ephemeral, n) => self.make(&ns, *what, *ephemeral, n),
            Verb::Either(What::Exclusive, n) => self.opened(Exclusive::open_or_create(&ns, n)),
            Verb::Either(What::Pool(limit), n) => self.opened_counting(Counting::open_or_create_pool(&ns, n, *limit)),
            Verb::Either(What::Credit(limit, initial), n) => {
                self.opened_counting(Counting::open_or_create_credit(&ns, n, *limit, *initial))
            }
            // Signalled at the start only by the one who makes it, so that is asked for by `Make`.
            Verb::Either(What::Manual(_), n) => self.opened_event(Event::open_or_create_manual(&ns, n)),
            Verb::Either(What::Auto(_), n) => self.opened_event(Event::open_or_create_auto(&ns, n)),
            Verb::OpenEvent(n) => self.opened_event(Event::open(&ns, n)),
            Verb::Elsewhere(n) => match self.shared.elsewhere.clone() {
                Some(other) => self.opened(Exclusive::create(&other, n)),
                None => Ok(Answer::Broken("there is no other namespace".to_owned())),
            },
            Verb::Remove(n) => self.done(ns.remove(n)),
            Verb::Try(h) => match self.lent(*h)? {
                Lent::Exclusive(s) => self.owned(s.try_acquire()),
                Lent::Counting(s) => self.permitted(s.try_acquire()),
                Lent::Event(s) => self.done(s.try_wait()),
            },
            Verb::Timeout(h, ms) => match self.lent(*h)? {
                Lent::Exclusive(s) => self.owned(s.acquire_timeout(Duration::from_millis(*ms))),
                Lent::Counting(s) => self.permitted(s.acquire_timeout(Duration::from_millis(*ms))),
                Lent::Event(s) => self.done(s.wait_timeout(Duration::from_millis(*ms))),
            },
            Verb::Acquire(h) => match self.lent(*h)? {
                Lent::Exclusive(s) => self.owned(s.acquire()),
                Lent::Counting(s) => self.permitted(s.acquire()),
                Lent::Event(s) => self.done(s.wait()),
            },
            Verb::Ask(h, n, till, for_all) => {
                let cancel = self.shared.cancel_of(self.number);
                let wait = wait(*till).cancel(&cancel);
                match (self.lent(*h)?, for_all) {
                    (Lent::Exclusive(s), _) => self.owned(s.acquire_with(wait)),
                    (Lent::Event(s), _) => self.done(s.wait_with(wait)),
                    (Lent::Counting(s), false) => self.permitted(s.acquire_with(*n, wait)),
                    (Lent::Counting(s), true) => {
                        let p = s.acquire_owned(*n, wait).map_err(|e| self.refuse(&e))?;
                        let token = p.token();
                        Ok(Answer::Granted { guard: self.keep(Own::Owned(p)), token, died: None })
                    }
                }
            }
            Verb::Any(list, till) => self.any(&ns, list, *till),
            Verb::All(list, till) => self.all(&ns, list, *till),
            Verb::Release(g) => {
                let done = match self.take(*g)? {
                    Own::Guard(g) => g.release(),
                    Own::Permit(p) => p.release(),
                    Own::Owned(p) => p.release(),
                    Own::Task(g) => g.release(),
                    Own::Seen(_) => return Ok(Answer::Done),
                };
                self.done(done)
            }
            Verb::ReleaseSome(g, n) => {
                let done = match self.guard(*g)? {
                    Own::Permit(p) => p.release_some(*n),
                    Own::Owned(p) => p.release_some(*n),
                    _ => return not_counting(*g),
                };
                self.done(done)
            }
            Verb::Forget(g) => {
                let done = match self.take(*g)? {
                    Own::Permit(p) => p.forget(),
                    Own::Owned(p) => p.forget(),
                    _ => return not_counting(*g),
                };
                self.done(done)
            }
            Verb::Slots(g) => {
                let slots = match self.guard(*g)? {
                    Own::Permit(p) => p.slots(),
                    Own::Owned(p) => p.slots(),
                    _ => return not_counting(*g),
                };
                slots.map(Answer::Numbers).map_err(|e| self.refuse(&e))
            }
            Verb::Abandon(g) => match self.take(*g)? {
                Own::Guard(guard) => self.done(guard.abandon()),
                Own::Task(guard) => self.done(guard.abandon()),
                _ => not_exclusive(*g),
            },
            Verb::MarkConsistent(g) => match self.guard(*g)? {
                Own::Guard(guard) => {
                    let done = guard.mark_consistent();
                    self.done(done)
                }
                Own::Task(guard) => {
                    let done = guard.mark_consistent();
                    self.done(done)
                }
                _ => not_exclusive(*g),
            },
            Verb::Held(g) => Ok(Answer::Is(match self.guard(*g)? {
                Own::Guard(guard) => guard.is_held(),
                Own::Permit(p) => p.is_held(),
                Own::Owned(p) => p.is_held(),
                Own::Task(g) => g.is_held(),
                Own::Seen(_) => false,
            })),
            Verb::Give(g, thread) => match self.take(*g)? {
                Own::Owned(p) => {
                    self.shared.give(*thread, p);
                    Ok(Answer::Done)
                }
                _ => Ok(Answer::Broken(format!("guard {g} cannot go to another thread"))),
            },
            Verb::Add(h, n) => {
                let done = self.counting(*h)?.add_permits(*n);
                self.done(done)
            }
            Verb::Resize(h, n) => {
                let done = self.counting(*h)?.resize(*n);
                self.done(done)
            }
            Verb::Capacity(h) => {
                let c = self.counting(*h)?.capacity().map_err(|e| self.refuse(&e))?;
                Ok(Answer::Numbers(vec![c.limit, c.total, c.free]))
            }
            Verb::Signal(h) => {
                let was_reset = self.event(*h)?.signal();
                self.is(was_reset)
            }
            Verb::Reset(h) => {
                let was_signalled = self.event(*h)?.reset();
                self.is(was_signalled)
            }
            Verb::State(h) => {
                let state = self.event(*h)?.state();
                self.is(state.map(|s| s.is_set))
            }
            Verb::Close(h) => match self.shared.close(*h) {
                Some(closed) => self.done(closed),
                None => Ok(Answer::Broken(format!("no handle {h}"))),
            },
            Verb::Drain(n, till) => {
                let cancel = self.shared.cancel_of(self.number);
                self.done(ns.drain(n, wait(*till).cancel(&cancel)))
            }
            Verb::Reopen(n) => self.done(ns.reopen(n)),
            Verb::Evict(n, token) => self.done(ns.evict(n, *token)),
            Verb::Gc(ms) => {
                let gone = ns.gc(Duration::from_millis(*ms), |_| false).map_err(|e| self.refuse(&e))?;
                Ok(Answer::Numbers(vec![gone.len() as u32]))
            }
            Verb::Count(list, rounds, file) => self.count(&ns, list, *rounds, file),
            Verb::Start(own, request) => self.start(&ns, *own, request),
            Verb::Poll(n) => self.poll(*n),
            Verb::Await(n) => self.wait_for(*n),
            Verb::Forsake(n) => self.forsake(*n),
            Verb::Interrupt(verb) => {
                let _scope = xsem::interrupt::scope();
                self.carry_out(verb)
            }
            Verb::Why => Ok(self.why.clone().unwrap_or_else(|| Answer::Broken("nothing was refused".to_owned()))),
            Verb::Play(script) => Ok(crate::history::play(self, script)),
            Verb::DropInChild(g) => match self.guards.get_mut(*g) {
                Some(slot @ Some(Own::Guard(_))) => Ok(drop_in_child(slot)),
                _ => not_exclusive(*g),
            },
            // SAFETY: `_exit` never returns; that destructors do not run is what the test asks for.
            Verb::Exit => unsafe { libc::_exit(0) },
            Verb::Exec => Ok(Answer::Broken(std::process::Command::new("/bin/sleep").arg("1000").exec().to_string())),
            Verb::Hoard(mib) => {
                let memory: Vec<u8> = (0..mib << 20).map(|i| i as u8 | 1).collect();
                std::hint::black_box(memory.leak());
                Ok(Answer::Done)
            }
            Verb::Confine(all, rules) => {
                let filter: crate::within::Filter = rules.parse().map_err(Answer::Broken)?;
                filter.install(*all).map_err(|e| Answer::Broken(e.to_string()))?;
                Ok(Answer::Done)
            }
            Verb::EndThread | Verb::Cancel => Ok(Answer::Broken("not for here".to_owned())),
        }
    }

    fn make(&mut self, ns: &Namespace, what: What, ephemeral: bool, name: &str) -> Act<Answer> {
        let options = if ephemeral { Options::new().ephemeral() } else { Options::new() };
        let event = |set| if set { options.signalled() } else { options };
        match what {
            What::Exclusive => self.opened(Exclusive::create_with(ns, name, options)),
            What::Pool(limit) => self.opened_counting(Counting::create_pool(ns, name, limit, options)),
            What::Credit(limit, initial) => self.opened_counting(Counting::create_credit(ns, name, limit, initial, options)),
            What::Manual(set) => self.opened_event(Event::create_manual(ns, name, event(set))),
            What::Auto(set) => self.opened_event(Event::create_auto(ns, name, event(set))),
        }
    }

    pub(super) fn picks(&self, list: &[(usize, u32)]) -> Act<Vec<Pick<'static>>> {
        let pick = |(h, n): &(usize, u32)| {
            Ok(match self.lent(*h)? {
                Lent::Exclusive(s) => s.into(),
                Lent::Counting(s) => Pick::permits(s, *n),
                Lent::Event(s) => s.into(),
            })
        };
        list.iter().map(pick).collect()
    }

    fn any(&mut self, ns: &Namespace, list: &[(usize, u32)], till: Till) -> Act<Answer> {
        let cancel = self.shared.cancel_of(self.number);
        let (index, held, died) = match ns.wait_any(&self.picks(list)?, wait(till).cancel(&cancel)) {
            Ok(taken) => (taken.index, own(taken.held), false),
            Err(AnyError::OwnerDied { index, recovery }) => (index, Own::Guard(recovery.into_guard()), true),
            Err(AnyError::Failed(e)) => return Err(self.refuse(&e)),
        };
        let token = held.token();
        Ok(Answer::Taken { index, guard: self.keep(held), token, died })
    }

    fn all(&mut self, ns: &Namespace, list: &[(usize, u32)], till: Till) -> Act<Answer> {
        let cancel = self.shared.cancel_of(self.number);
        let (all, died) = match ns.acquire_all(&self.picks(list)?, wait(till).cancel(&cancel)) {
            Ok(all) => (all, Vec::new()),
            Err(AllError::OwnerDied(r)) => {
                let died = r.indices();
                (r.into_all(), died)
            }
            Err(AllError::Failed(e)) => return Err(self.refuse(&e)),
        };
        let (tokens, guards) = all.into_vec().into_iter().map(|h| (h.token(), self.keep(own(h)))).unzip();
        Ok(Answer::All { guards, tokens, died })
    }

    fn count(&mut self, ns: &Namespace, list: &[(usize, u32)], rounds: u32, file: &str) -> Act<Answer> {
        let broken = |e: std::io::Error| Answer::Broken(format!("{file}: {e}"));
        let number = File::options().read(true).write(true).open(file).map_err(broken)?;
        let picks = self.picks(list)?;
        for round in 0..rounds {
            let some = if round.is_multiple_of(4) { &picks[..] } else { &picks[..1] };
            let all = match ns.acquire_all(some, Wait::forever()) {
                Ok(all) => all,
                Err(AllError::OwnerDied(r)) => r.into_all(),
                Err(AllError::Failed(e)) => return Err(self.refuse(&e)),
            };
            let mut bytes = [0; 8];
            number.read_exact_at(&mut bytes, 0).map_err(broken)?;
            let next = u64::from_ne_bytes(bytes) + 1;
            number.write_all_at(&next.to_ne_bytes(), 0).map_err(broken)?;
            drop(all);
        }
        Ok(Answer::Done)
    }

    pub(super) fn lent(&self, i: usize) -> Act<Lent> {
        self.shared.lent(i).ok_or_else(|| Answer::Broken(format!("no handle {i}")))
    }

    fn counting(&self, i: usize) -> Act<Counting> {
        match self.shared.sem(i) {
            Some(Sem::Counting(s)) => Ok(s),
            Some(_) => Err(Answer::Broken(format!("handle {i} is not of a counting semaphore"))),
            None => Err(Answer::Broken(format!("no handle {i}"))),
        }
    }

    fn event(&self, i: usize) -> Act<Event> {
        match self.shared.sem(i) {
            Some(Sem::Event(s)) => Ok(s),
            Some(_) => Err(Answer::Broken(format!("handle {i} is not of an event"))),
            None => Err(Answer::Broken(format!("no handle {i}"))),
        }
    }

    fn guard(&mut self, i: usize) -> Act<&mut Own> {
        self.guards.get_mut(i).and_then(Option::as_mut).ok_or_else(|| Answer::Broken(format!("no guard {i}")))
    }

    fn take(&mut self, i: usize) -> Act<Own> {
        self.guards.get_mut(i).and_then(Option::take).ok_or_else(|| Answer::Broken(format!("no guard {i}")))
    }

    pub(super) fn keep(&mut self, own: Own) -> usize {
        self.guards.push(Some(own));
        self.guards.len() - 1
    }

    pub(super) fn refuse(&mut self, e: &Error) -> Answer {
        self.why = Some(Answer::Why {
            holders: e.holders().iter().map(|h| h.token).collect(),
            ahead: e.ahead().len(),
            cycle: e.cycle().len(),
            text: e.to_string(),
        });
        match e.indices() {
            [] => Answer::Refused(e.code().number()),
            at => Answer::RefusedAt(e.code().number(), at.to_vec()),
        }
    }

    pub(super) fn done(&mut self, r: xsem::Result<()>) -> Act<Answer> {
        r.map(|()| Answer::Done).map_err(|e| self.refuse(&e))
    }

    fn is(&mut self, r: xsem::Result<bool>) -> Act<Answer> {
        r.map(Answer::Is).map_err(|e| self.refuse(&e))
    }

    fn opened(&mut self, r: xsem::Result<Exclusive>) -> Act<Answer> {
        let s = r.map_err(|e| self.refuse(&e))?;
        Ok(Answer::Handle(self.shared.keep(Sem::Exclusive(s))))
    }

    fn opened_counting(&mut self, r: xsem::Result<Counting>) -> Act<Answer> {
        let s = r.map_err(|e| self.refuse(&e))?;
        Ok(Answer::Handle(self.shared.keep(Sem::Counting(s))))
    }

    fn opened_event(&mut self, r: xsem::Result<Event>) -> Act<Answer> {
        let s = r.map_err(|e| self.refuse(&e))?;
        Ok(Answer::Handle(self.shared.keep(Sem::Event(s))))
    }

    fn permitted(&mut self, r: xsem::Result<Permit<'static>>) -> Act<Answer> {
        let p = r.map_err(|e| self.refuse(&e))?;
        let token = p.token();
        Ok(Answer::Granted { guard: self.keep(Own::Permit(p)), token, died: None })
    }

    fn owned(&mut self, result: Result<Guard<'static>, AcquireError<'static>>) -> Act<Answer> {
        let (guard, died) = match result {
            Ok(guard) => (guard, None),
            Err(AcquireError::Failed(e)) => return Err(self.refuse(&e)),
            Err(AcquireError::OwnerDied(r)) => {
                let deaths = r.deaths().map(told);
                (r.into_guard(), Some(deaths))
            }
        };
        let token = guard.token();
        Ok(Answer::Granted { guard: self.keep(Own::Guard(guard)), token, died })
    }
}

impl Own {
    pub(super) fn token(&self) -> u64 {
        match self {
            Own::Guard(g) => g.token(),
            Own::Permit(p) => p.token(),
            Own::Owned(p) => p.token(),
            Own::Task(g) => g.token(),
            Own::Seen(signals) => *signals,
        }
    }
}

/// The dead as they go over the wire.
pub(super) fn told(d: &xsem::Deaths) -> (Dead, Dead, u64) {
    let dead = |o: &xsem::Obituary| (o.process.pid, format!("{:?}", o.cause)) as Dead;
    (dead(&d.first), dead(&d.latest), d.count)
}

fn own(held: Held<'static>) -> Own {
    match held {
        Held::Guard(g) => Own::Guard(g),
        Held::Permit(p) => Own::Permit(p),
        Held::Signal(signals) => Own::Seen(signals),
        other => unreachable!("a kind that actors cannot make: {other:?}"),
    }
}

pub(super) fn wait(till: Till) -> Wait<'static> {
    match till {
        Till::Now => Wait::not(),
        Till::Ms(ms) => Wait::timeout(Duration::from_millis(ms)),
        Till::Ever => Wait::forever(),
    }
}

fn not_counting(guard: usize) -> Act<Answer> {
    Ok(Answer::Broken(format!("guard {guard} has no permits ({})", Code::InvalidFunction.number())))
}

fn not_exclusive(guard: usize) -> Act<Answer> {
    Ok(Answer::Broken(format!("guard {guard} is not of an exclusive semaphore")))
}

/// Drops the guard in a forked child, which must not own it, and says whether the child thought that it did.
fn drop_in_child(slot: &mut Option<Own>) -> Answer {
    // SAFETY: the child of this process with several threads calls only the guard's own methods, which promise to do
    // nothing in a forked child, and `_exit`.
    match unsafe { libc::fork() } {
        -1 => Answer::Broken(std::io::Error::last_os_error().to_string()),
        0 => {
            let held = matches!(slot, Some(Own::Guard(g)) if g.is_held());
            drop(slot.take());
            // SAFETY: `_exit` never returns.
            unsafe { libc::_exit(i32::from(held)) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` is a valid place for the status of our child.
            unsafe { libc::waitpid(child, &mut status, 0) };
            match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
                (true, code @ (0 | 1)) => Answer::Is(code == 1),
                _ => Answer::Broken(format!("the forked child ended with status {status:#x}")),
            }
        }
    }
}
