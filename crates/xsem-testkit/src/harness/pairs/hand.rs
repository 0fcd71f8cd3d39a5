//! A process of a pair: what it has, and how it does each operation.

use super::log::{Answer, Log, Step, UNTOLD};
use super::ops::{Actor, OPS, Op, Way};
use crate::harness::player::{Player, SEM};
use crate::harness::polling::{poll_once, poll_twice};
use crate::protocol::What;
use std::time::Duration;
use xsem::{
    AcquireError, Code, Counting, Deaths, Event, Exclusive, Guard, Mode, Namespace, Options, OwnedAcquireError, OwnedGuard,
    OwnedPermit, Permit, SignalRelease, Wait,
};

/// An open semaphore.
enum Sem {
    Exclusive(Exclusive),
    Counting(Counting),
    Event(Event),
}

/// The same, for guards to borrow for ever: most programs use the borrowing guard, and its way is a shorter one.
#[derive(Clone, Copy)]
pub(super) enum Lent {
    Exclusive(&'static Exclusive),
    Counting(&'static Counting),
    Event(&'static Event),
}

/// A claim.
pub(super) enum Own {
    Guard(Guard<'static>),
    Task(OwnedGuard),
    Permit(Permit<'static>),
    Owned(OwnedPermit),
    Prepared(SignalRelease),
}

/// What a process of a pair has in its hand.
pub(super) struct Hand<'p> {
    p: &'p Player<'p>,
    who: Actor,
    what: What,
    sem: Option<Sem>,
    pub(super) lent: Option<Lent>,
    pub(super) own: Vec<Own>,
    /// The other one of its lists, and what it has of that.
    pub(super) second: Option<&'static Exclusive>,
    pub(super) seconds: Vec<Own>,
    /// The token of the claim that it is to end.
    aim: u64,
}

/// A future that is given up counts as a wait whose time ran out.
pub(super) const GIVEN_UP: u32 = Code::SemTimeout as u32;

pub(super) const BRIEF: Duration = Duration::from_millis(2);

pub(super) fn done(number: u64) -> Answer {
    Answer { number, ..Answer::default() }
}

pub(super) fn refused(code: Code) -> Answer {
    Answer { code: code.number(), ..Answer::default() }
}

fn plain(r: xsem::Result<()>) -> Answer {
    r.map_or_else(|e| refused(e.code()), |()| done(0))
}

fn says(r: xsem::Result<bool>) -> Answer {
    r.map_or_else(|e| refused(e.code()), |changed| done(changed.into()))
}

pub(super) fn told(deaths: Option<&Deaths>) -> u64 {
    deaths.map_or(UNTOLD, |d| d.count)
}

pub(super) fn granted(token: u64, died: Option<u64>) -> Answer {
    let code = if died.is_some() { Code::SemOwnerDied.number() } else { 0 };
    Answer { code, token, number: died.unwrap_or(0) }
}

impl<'p> Hand<'p> {
    pub(super) fn new(p: &'p Player<'p>, who: Actor, what: What) -> Hand<'p> {
        Hand { p, who, what, sem: None, lent: None, own: Vec::with_capacity(8), second: None, seconds: Vec::new(), aim: 0 }
    }

    fn log(&self) -> &'p Log {
        &self.p.stage.log
    }

    pub(super) fn ns(&self) -> &Namespace {
        self.p.ns()
    }

    /// Does it, and writes it down. `at`: its place in [`OPS`].
    #[inline(never)]
    pub(super) fn act_at(&mut self, at: u8) -> Answer {
        let place = self.log().begin(self.who, at);
        let answer = self.run(OPS[usize::from(at)]);
        self.log().end(place, answer);
        answer
    }

    /// The same, found by what it is.
    pub(super) fn act(&mut self, op: Op) -> Answer {
        self.act_at(place_of(op))
    }

    /// Gets ready for an operation, so that this is not part of it.
    pub(super) fn prepare(&mut self, op: Op) {
        if let Op::Evict(whom) | Op::Join(whom) = op {
            self.aim = self.log().token_of(whom);
        }
        if let Op::All(..) = op {
            let name = format!("list-{}", self.who.name());
            let second = self.p.must("a second semaphore", Exclusive::open_or_create(self.ns(), &name));
            self.second = Some(Box::leak(Box::new(second)));
        }
        if let Some((_, Way::Dropped)) = op.request() {
            // What requests share (their thread) is started by the first one of a process.
            let e = self.p.must("an event of its own", Event::open_or_create_auto(self.ns(), self.who.name()));
            drop(poll_once(&mut e.wait_async()));
            drop(e);
            self.p.must("remove it", self.ns().remove(self.who.name()));
        }
        if let (Some(_), Some(sem)) = (op.request(), &self.sem) {
            self.lent = Some(match sem {
                Sem::Exclusive(s) => Lent::Exclusive(Box::leak(Box::new(s.clone()))),
                Sem::Counting(s) => Lent::Counting(Box::leak(Box::new(s.clone()))),
                Sem::Event(s) => Lent::Event(Box::leak(Box::new(s.clone()))),
            });
        }
        // Everybody who does something to a semaphore is a member, but those who only look, or make and remove names.
        if !matches!(op, Op::Make | Op::MakeEphemeral | Op::Open | Op::Either | Op::Remove | Op::Inspect | Op::Gc) {
            self.p.register();
        }
    }

    /// Prepares it and does it.
    pub(super) fn whole(&mut self, op: Op) -> Answer {
        self.prepare(op);
        self.act(op)
    }

    /// Gives back all that it has.
    pub(super) fn finish(&mut self) {
        self.seconds.clear();
        while !self.own.is_empty() {
            self.act(Op::Release);
        }
    }

    fn run(&mut self, op: Op) -> Answer {
        match op {
            Op::Make => self.open_with(|h| h.make(Options::new())),
            Op::MakeEphemeral => self.open_with(|h| h.make(Options::new().ephemeral())),
            Op::Open => self.open_with(|h| h.open()),
            Op::Either => self.open_with(|h| h.either()),
            Op::Close => self.close(),
            Op::Remove => plain(self.ns().remove(SEM)),
            Op::Gc => {
                self.ns().gc(Duration::ZERO, |s| s.name != SEM).map_or_else(|e| refused(e.code()), |gone| done(gone.len() as u64))
            }
            Op::Inspect => plain(self.ns().inspect(SEM).map(drop)),
            Op::Ask(n, way) => self.ask(n.into(), way),
            Op::All(n, way) => self.ask_all(n.into(), way),
            Op::Release => self.release(),
            Op::Part(n) => self.part(n.into()),
            Op::Forget => match self.own.pop() {
                Some(Own::Permit(p)) => plain(p.forget()),
                other => self.keep(other),
            },
            Op::Abandon => match self.own.pop() {
                Some(Own::Guard(g)) => plain(g.abandon()),
                Some(Own::Task(g)) => plain(g.abandon()),
                other => self.keep(other),
            },
            Op::Mark => match self.own.last() {
                Some(Own::Guard(g)) => plain(g.mark_consistent()),
                Some(Own::Task(g)) => plain(g.mark_consistent()),
                _ => refused(Code::NotOwner),
            },
            Op::Prepare => self.prepare_release(),
            Op::Join(_) => self.join(),
            Op::Evict(_) => plain(self.ns().evict(SEM, self.aim)),
            Op::Drain(Way::Now) => plain(self.ns().drain(SEM, Wait::not())),
            Op::Drain(_) => plain(self.ns().drain(SEM, Wait::timeout(BRIEF))),
            Op::Reopen => plain(self.ns().reopen(SEM)),
            Op::Signal => self.event(|e| says(e.signal())),
            Op::Reset => self.event(|e| says(e.reset())),
            Op::Look => self.event(|e| says(e.state().map(|s| s.is_set))),
            Op::Add(n) => self.counting(|c| plain(c.add_permits(n.into()))),
            Op::Resize(n) => self.counting(|c| plain(c.resize(n.into()))),
            Op::Capacity => self.counting(|c| match c.capacity() {
                Ok(now) => done(u64::from(now.limit) << 32 | u64::from(now.total) << 16 | u64::from(now.free)),
                Err(e) => refused(e.code()),
            }),
        }
    }

    /// What it was asked for does not go with what it has.
    fn keep(&mut self, own: Option<Own>) -> Answer {
        self.own.extend(own);
        refused(Code::NotOwner)
    }

    fn event(&self, f: impl FnOnce(&Event) -> Answer) -> Answer {
        match &self.sem {
            Some(Sem::Event(e)) => f(e),
            _ => refused(Code::InvalidHandle),
        }
    }

    fn counting(&self, f: impl FnOnce(&Counting) -> Answer) -> Answer {
        match &self.sem {
            Some(Sem::Counting(c)) => f(c),
            _ => refused(Code::InvalidHandle),
        }
    }

    fn open_with(&mut self, f: impl FnOnce(&Hand<'_>) -> xsem::Result<Sem>) -> Answer {
        match f(self) {
            Ok(sem) => {
                self.sem = Some(sem);
                done(0)
            }
            Err(e) => refused(e.code()),
        }
    }

    fn make(&self, o: Options) -> xsem::Result<Sem> {
        let (ns, signalled) = (self.ns(), |set: bool, o: Options| if set { o.signalled() } else { o });
        Ok(match self.what {
            What::Exclusive => Sem::Exclusive(Exclusive::create_with(ns, SEM, o)?),
            What::Pool(n) => Sem::Counting(Counting::create_pool(ns, SEM, n, o)?),
            What::Credit(n, initial) => Sem::Counting(Counting::create_credit(ns, SEM, n, initial, o)?),
            What::Manual(set) => Sem::Event(Event::create_manual(ns, SEM, signalled(set, o))?),
            What::Auto(set) => Sem::Event(Event::create_auto(ns, SEM, signalled(set, o))?),
        })
    }

    fn open(&self) -> xsem::Result<Sem> {
        Ok(match self.what {
            What::Exclusive => Sem::Exclusive(Exclusive::open(self.ns(), SEM)?),
            What::Pool(_) | What::Credit(..) => Sem::Counting(Counting::open(self.ns(), SEM)?),
            What::Manual(_) | What::Auto(_) => Sem::Event(Event::open(self.ns(), SEM)?),
        })
    }

    fn either(&self) -> xsem::Result<Sem> {
        let ns = self.ns();
        Ok(match self.what {
            What::Exclusive => Sem::Exclusive(Exclusive::open_or_create(ns, SEM)?),
            What::Pool(n) => Sem::Counting(Counting::open_or_create_pool(ns, SEM, n)?),
            What::Credit(n, initial) => Sem::Counting(Counting::open_or_create_credit(ns, SEM, n, initial)?),
            What::Manual(_) => Sem::Event(Event::open_or_create_manual(ns, SEM)?),
            What::Auto(_) => Sem::Event(Event::open_or_create_auto(ns, SEM)?),
        })
    }

    fn close(&mut self) -> Answer {
        let back = |hand: &mut Self, sem, e: &xsem::Error| {
            hand.sem = Some(sem);
            refused(e.code())
        };
        match self.sem.take() {
            Some(Sem::Exclusive(s)) => s.close().map_or_else(|(s, e)| back(self, Sem::Exclusive(s), &e), |()| done(0)),
            Some(Sem::Counting(s)) => s.close().map_or_else(|(s, e)| back(self, Sem::Counting(s), &e), |()| done(0)),
            Some(Sem::Event(s)) => s.close().map_or_else(|(s, e)| back(self, Sem::Event(s), &e), |()| done(0)),
            None => refused(Code::InvalidHandle),
        }
    }

    fn ask(&mut self, n: u32, way: Way) -> Answer {
        match self.lent {
            Some(Lent::Exclusive(s)) => match way {
                Way::Ever => self.has(s.acquire()),
                Way::Now => self.has(s.try_acquire()),
                Way::Brief => self.has(s.acquire_timeout(BRIEF)),
                Way::Dropped => {
                    let mut f = s.acquire_async();
                    let polled = poll_twice(&mut f);
                    drop(f);
                    polled.map_or(Answer { code: GIVEN_UP, ..Answer::default() }, |r| self.has_task(r))
                }
            },
            Some(Lent::Counting(s)) => match way {
                Way::Ever if n == 1 => self.has_permits(s.acquire()),
                Way::Ever => self.has_permits(s.acquire_many(n)),
                Way::Now => self.has_permits(s.try_acquire_many(n)),
                Way::Brief => self.has_permits(s.acquire_with(n, Wait::timeout(BRIEF))),
                Way::Dropped => {
                    let mut f = s.acquire_async(n);
                    let polled = poll_twice(&mut f);
                    drop(f);
                    let owns = |p: OwnedPermit| {
                        let token = p.token();
                        self.own.push(Own::Owned(p));
                        granted(token, None)
                    };
                    match polled {
                        Some(r) => r.map_or_else(|e| refused(e.code()), owns),
                        None => Answer { code: GIVEN_UP, ..Answer::default() },
                    }
                }
            },
            Some(Lent::Event(e)) => match way {
                Way::Ever => plain(e.wait()),
                Way::Now => plain(e.try_wait()),
                Way::Brief => plain(e.wait_timeout(BRIEF)),
                Way::Dropped => {
                    let mut f = e.wait_async();
                    let polled = poll_twice(&mut f);
                    drop(f);
                    polled.map_or(Answer { code: GIVEN_UP, ..Answer::default() }, plain)
                }
            },
            None => refused(Code::InvalidHandle),
        }
    }

    fn has(&mut self, r: Result<Guard<'static>, AcquireError<'static>>) -> Answer {
        let (guard, died) = match r {
            Ok(guard) => (guard, None),
            Err(AcquireError::OwnerDied(r)) => {
                let deaths = told(r.deaths());
                (r.into_guard(), Some(deaths))
            }
            Err(AcquireError::Failed(e)) => return refused(e.code()),
        };
        let token = guard.token();
        self.own.push(Own::Guard(guard));
        granted(token, died)
    }

    fn has_task(&mut self, r: Result<OwnedGuard, OwnedAcquireError>) -> Answer {
        let (guard, died) = match r {
            Ok(guard) => (guard, None),
            Err(OwnedAcquireError::OwnerDied(r)) => {
                let deaths = told(r.deaths());
                (r.into_guard(), Some(deaths))
            }
            Err(e) => return refused(e.code()),
        };
        let token = guard.token();
        self.own.push(Own::Task(guard));
        granted(token, died)
    }

    fn has_permits(&mut self, r: xsem::Result<Permit<'static>>) -> Answer {
        match r {
            Ok(permit) => {
                let token = permit.token();
                self.own.push(Own::Permit(permit));
                granted(token, None)
            }
            Err(e) => refused(e.code()),
        }
    }

    /// Whether there was a claim to share.
    fn join(&mut self) -> Answer {
        let Some(Sem::Exclusive(s)) = &self.sem else { return refused(Code::InvalidHandle) };
        match s.join(self.aim) {
            Ok(guard) => {
                let shares = guard.is_some();
                self.own.extend(guard.map(Own::Guard));
                done(shares.into())
            }
            Err(e) => refused(e.code()),
        }
    }

    fn release(&mut self) -> Answer {
        match self.own.pop() {
            Some(Own::Guard(g)) => plain(g.release()),
            Some(Own::Task(g)) => plain(g.release()),
            Some(Own::Permit(p)) => plain(p.release()),
            Some(Own::Owned(p)) => plain(p.release()),
            Some(Own::Prepared(r)) => match r.spend() {
                true => done(0),
                false => refused(Code::NotOwner),
            },
            None => refused(Code::NotOwner),
        }
    }

    fn part(&mut self, n: u32) -> Answer {
        match self.own.last_mut() {
            Some(Own::Permit(p)) => plain(p.release_some(n)),
            Some(Own::Owned(p)) => plain(p.release_some(n)),
            _ => refused(Code::NotOwner),
        }
    }

    fn prepare_release(&mut self) -> Answer {
        let (own, r) = match self.own.pop() {
            Some(Own::Guard(g)) => match g.into_signal_release() {
                Ok(r) => (Own::Prepared(r), done(0)),
                Err((g, e)) => (Own::Guard(g), refused(e.code())),
            },
            Some(Own::Permit(p)) => match p.into_signal_release() {
                Ok(r) => (Own::Prepared(r), done(0)),
                Err((p, e)) => (Own::Permit(p), refused(e.code())),
            },
            other => return self.keep(other),
        };
        self.own.push(own);
        r
    }

    /// Takes everything that there is, to see whether it is there, and takes the name away and makes it again.
    pub(super) fn take_stock(&mut self) {
        if self.whole(Op::Open).code != 0 {
            self.whole(Op::Make);
        }
        self.whole(Op::Reopen);
        match self.what {
            What::Exclusive => {
                for _ in 0..2 {
                    if self.whole(Op::Ask(1, Way::Ever)).code == Code::SemOwnerDied.number() {
                        self.act(Op::Mark);
                    }
                    self.finish();
                }
            }
            What::Pool(_) | What::Credit(..) => {
                let mode = if let What::Pool(_) = self.what { Mode::Pool } else { Mode::Credit };
                let mut left = self.whole(Op::Capacity).number & 0xFFFF;
                // In parts: a request for more than there is would wait for ever, and the judge shall say that.
                while left > 0 {
                    let n = left.min(4);
                    self.prepare(Op::Ask(1, Way::Now));
                    let n = OPS.iter().find_map(|o| matches!(o, Op::Ask(k, Way::Now) if u64::from(*k) == n).then_some(n as u8));
                    if self.act(Op::Ask(n.unwrap_or(1), Way::Now)).code != 0 {
                        break;
                    }
                    left -= u64::from(n.unwrap_or(1));
                }
                self.act(Op::Ask(1, Way::Now));
                self.act(Op::Capacity);
                self.finish();
                if mode == Mode::Pool {
                    self.act(Op::Capacity);
                }
            }
            What::Manual(_) | What::Auto(_) => {
                for op in [Op::Look, Op::Reset, Op::Look, Op::Signal, Op::Look, Op::Ask(1, Way::Now), Op::Look, Op::Reset] {
                    self.whole(op);
                }
            }
        }
        for op in [Op::Remove, Op::Open, Op::Make, Op::Remove] {
            self.act(op);
        }
    }

    /// Its part in a case: what it does before, its operation, and what it gives back when it may leave.
    pub(super) fn play(&mut self, before: &[Op], op: Option<Op>, begin: impl FnOnce(), end: impl FnOnce()) {
        for &op in before {
            self.whole(op);
        }
        let log = self.log();
        if let Some(op) = op {
            // Whom it is to evict may not own yet.
            let late = self.who == Actor::B;
            if !late {
                self.prepare(op);
            }
            log.reach(self.who, Step::Ready);
            self.until(Step::Go);
            if late {
                self.prepare(op);
            }
            let at = place_of(op);
            begin();
            self.act_at(at);
            end();
            log.reach(self.who, Step::Done);
        } else {
            log.reach(self.who, Step::Ready);
        }
        self.until(Step::Leave);
        self.finish();
        log.reach(self.who, Step::Left);
    }

    fn until(&self, step: Step) {
        while !self.log().has_reached(self.who, step) {
            crate::sys::nap(30);
        }
    }
}

/// The place of an operation in the table.
pub(super) fn place_of(op: Op) -> u8 {
    OPS.iter().position(|o| *o == op).expect("every operation is in the table") as u8
}
