//! Every public operation, in any order, with short deadlines, on whatever the file has become.

use super::judge::Account;
use super::template::NAMES;
use crate::random::Random;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;
use xsem::{
    AcquireError, Claimant, Counting, Error, Event, Exclusive, Guard, Namespace, Options, OwnedGuard, OwnedPermit, Pick, Result,
    Wait,
};

/// What there is to do; an account knows them by their numbers.
pub const CALLS: [&str; 33] = [
    "open the namespace",
    "list",
    "inspect",
    "open",
    "try an exclusive one",
    "wait for an exclusive one",
    "take permits",
    "wait for permits",
    "slots",
    "forget permits",
    "give some permits back",
    "signal",
    "reset",
    "state",
    "wait for an event",
    "wait for any",
    "acquire all",
    "create",
    "remove",
    "drain",
    "reopen",
    "evict",
    "gc",
    "resize",
    "add permits",
    "a future",
    "describe or cover",
    "release or abandon",
    "mark consistent",
    "check or audit",
    "end of a thread",
    "repair",
    "reset",
];

/// What a thread has.
#[derive(Default)]
pub struct Held {
    guards: Vec<Guard<'static>>,
    permits: Vec<OwnedPermit>,
    owned: Vec<OwnedGuard>,
}

/// A thread that acts.
pub struct Actor<'a> {
    pub ns: &'a Namespace,
    pub account: &'a Account,
    pub file: &'a str,
    pub lane: usize,
}

fn wait(r: &mut Random) -> Wait<'static> {
    match r.below(3) {
        0 => Wait::not(),
        _ => Wait::timeout(Duration::from_micros(r.below(4000))),
    }
}

/// A name, mostly one that is there, mostly of this kind.
fn name(r: &mut Random, kind: &str) -> String {
    let of_kind: Vec<&str> = NAMES.iter().copied().filter(|n| n.starts_with(kind)).collect();
    match r.below(12) {
        0 => NAMES[r.below(NAMES.len() as u64) as usize].to_owned(),
        1 => format!("new-{}", r.below(40)),
        2 => "ephemeral".to_owned(),
        _ => of_kind[r.below(of_kind.len() as u64) as usize].to_owned(),
    }
}

impl Actor<'_> {
    fn told<T>(&self, what: usize, done: Result<T>) -> Option<T> {
        done.inspect_err(|e| self.account.error(CALLS[what], self.file, e)).ok()
    }

    fn call<T>(&self, what: usize, f: impl FnOnce() -> Result<T>) -> Option<T> {
        let done = self.account.call(self.lane, what as u32, f);
        self.told(what, done)
    }

    /// One step by chance.
    pub fn step(&self, r: &mut Random, held: &mut Held) {
        let what = 1 + r.below(CALLS.len() as u64 - 1) as usize;
        let ns = self.ns;
        match what {
            1 => drop(self.call(what, || ns.list())),
            2 => drop(self.call(what, || ns.inspect(&name(r, "")))),
            3 => self.opens(what, r),
            4 | 5 => self.takes(what, r, held),
            6 | 7 => {
                let (Some(s), n) = (self.counting(r), 1 + r.below(3) as u32) else { return };
                let till = if what == 6 { Wait::not() } else { wait(r) };
                held.permits.extend(self.call(what, || s.acquire_owned(n, till)));
            }
            8 => drop(held.permits.last().and_then(|p| self.call(what, || p.slots()))),
            9 => drop(held.permits.pop().and_then(|p| self.call(what, || p.forget()))),
            10 => drop(held.permits.last_mut().and_then(|p| self.call(what, || p.release_some(1)))),
            11..=14 => {
                let Some(e) = self.call(3, || Event::open(ns, &name(r, "e"))) else { return };
                match what {
                    11 => drop(self.call(what, || e.signal())),
                    12 => drop(self.call(what, || e.reset())),
                    13 => drop(self.call(what, || e.state())),
                    _ => drop(self.call(what, || e.wait_with(wait(r)))),
                }
                self.call(what, || e.close().map_err(|(_, e)| e));
            }
            15 | 16 => self.lists(what, r),
            17 => self.creates(what, r),
            18 => drop(self.call(what, || ns.remove(&name(r, "")))),
            19 => drop(self.call(what, || ns.drain(&name(r, ""), wait(r)))),
            20 => drop(self.call(what, || ns.reopen(&name(r, "")))),
            21 => {
                let n = name(r, "");
                let token = self.call(2, || ns.inspect(&n)).and_then(|i| i.holders.first().map(|h| h.token));
                self.call(what, || ns.evict(&n, token.unwrap_or(r.below(4))));
            }
            22 => drop(self.call(what, || ns.gc(Duration::from_millis(r.below(2) * 1000), |_| false))),
            23 => drop(self.counting(r).and_then(|s| self.call(what, || s.resize(1 + r.below(9) as u32)))),
            24 => drop(self.counting(r).and_then(|s| self.call(what, || s.add_permits(1)))),
            25 => self.futures(what, r, held),
            26 => {
                self.call(what, || ns.describe("a program that is described"));
                self.call(what, || ns.cover(None));
                self.call(what, || ns.inside(&name(r, "x"), r.below(4)));
            }
            27 => self.gives_back(what, r, held),
            28 => drop(held.guards.last().and_then(|g| self.call(what, || g.mark_consistent()))),
            29 if r.one_in(2) => self.account.call(self.lane, 29, || drop(xsem::shm::testing::audit(ns))),
            29 => drop(self.call(what, || ns.check())),
            // It pauses for each thing that may be just in somebody's hands.
            31 if r.one_in(4) => drop(self.call(what, || ns.repair())),
            // After it there is not much to be found any more.
            32 if r.one_in(8) => drop(self.call(what, || Namespace::reset_at(&format!("shm:{}", self.file)))),
            31 | 32 => drop(self.call(2, || ns.inspect(&name(r, "")))),
            _ => self.ends_a_thread(what, r),
        }
    }

    /// The end: nothing that is given back may do harm.
    pub fn leave(&self, held: Held) {
        self.account.call(self.lane, 27, || drop(held));
    }

    fn counting(&self, r: &mut Random) -> Option<Counting> {
        let kind = if r.one_in(3) { "c" } else { "p" };
        self.call(3, || Counting::open(self.ns, &name(r, kind)))
    }

    fn opens(&self, what: usize, r: &mut Random) {
        let n = name(r, "");
        match r.below(3) {
            0 => drop(self.call(what, || Exclusive::open(self.ns, &n))),
            1 => drop(self.call(what, || Counting::open(self.ns, &n))),
            _ => drop(self.call(what, || Event::open(self.ns, &n))),
        }
    }

    fn takes(&self, what: usize, r: &mut Random, held: &mut Held) {
        let Some(s) = self.call(3, || Exclusive::open(self.ns, &name(r, "x"))) else { return };
        let till = if what == 4 { Wait::not() } else { wait(r) };
        let till = if r.one_in(3) { till.label("of the fuzzer") } else { till };
        let done = self.account.call(self.lane, what as u32, || s.acquire_owned(till));
        let guard = match done {
            Ok(g) => Some(g),
            Err(AcquireError::OwnerDied(rec)) if r.one_in(2) => Some(rec.into_guard()),
            Err(AcquireError::OwnerDied(rec)) => self.call(28, || rec.mark_consistent()),
            Err(AcquireError::Failed(e)) => self.told(what, Err(e)),
        };
        if let Some(g) = &guard
            && r.one_in(4)
        {
            self.call(what, || s.join(g.token()).map(drop));
        }
        held.guards.extend(guard);
    }

    fn lists(&self, what: usize, r: &mut Random) {
        let ns = self.ns;
        let x = self.call(3, || Exclusive::open(ns, &name(r, "x")));
        let (p, e) = (self.counting(r), self.call(3, || Event::open(ns, &name(r, "e"))));
        let mut list: Vec<Pick<'_>> = Vec::new();
        list.extend(x.as_ref().map(Pick::from));
        list.extend(p.as_ref().map(|p| Pick::permits(p, 1 + r.below(2) as u32)));
        list.extend(e.as_ref().map(Pick::from));
        match what {
            15 => drop(self.call(what, || ns.wait_any(&list, wait(r)).map(drop).map_err(Error::from))),
            _ => drop(self.call(what, || ns.acquire_all(&list, wait(r)).map(drop).map_err(Error::from))),
        }
    }

    fn creates(&self, what: usize, r: &mut Random) {
        let n = format!("new-{}", r.below(80));
        let options = || if r.next() & 3 == 0 { Options::new().ephemeral() } else { Options::new() };
        let mut options = options;
        let o = options();
        match r.below(4) {
            0 => drop(self.call(what, || Exclusive::create_with(self.ns, &n, o))),
            1 => drop(self.call(what, || Counting::create_pool(self.ns, &n, 3, o))),
            2 => drop(self.call(what, || Counting::create_credit(self.ns, &n, 9, 2, o))),
            _ => drop(self.call(what, || Event::create_auto(self.ns, &n, o))),
        }
    }

    fn futures(&self, what: usize, r: &mut Random, held: &mut Held) {
        let claimant = Claimant::new();
        let mut cx = Context::from_waker(Waker::noop());
        let polls = 1 + r.below(4);
        if let Some(s) = self.call(3, || Exclusive::open(self.ns, &name(r, "x"))) {
            let f = s.acquire_async_with(wait(r));
            let mut f = pin!(if r.one_in(2) { f.on_behalf_of(&claimant) } else { f });
            for _ in 0..polls {
                match self.account.call(self.lane, what as u32, || f.as_mut().poll(&mut cx)) {
                    std::task::Poll::Ready(Ok(g)) => held.owned.push(g),
                    std::task::Poll::Ready(Err(e)) => drop(self.told::<()>(what, Err(Error::from(e)))),
                    std::task::Poll::Pending => {
                        std::thread::sleep(Duration::from_micros(300));
                        continue;
                    }
                }
                break;
            }
        }
        if let Some(s) = self.counting(r) {
            let mut f = pin!(s.acquire_async_with(1, wait(r)));
            if let std::task::Poll::Ready(done) = self.account.call(self.lane, what as u32, || f.as_mut().poll(&mut cx)) {
                held.permits.extend(self.told(what, done));
            }
        }
    }

    fn gives_back(&self, what: usize, r: &mut Random, held: &mut Held) {
        if let Some(g) = held.guards.pop() {
            match r.below(3) {
                0 => drop(self.call(what, || g.release())),
                1 => drop(self.call(what, || g.abandon())),
                _ => drop(self.call(what, || g.into_signal_release().map(drop).map_err(|(_, e)| e))),
            }
        }
        if let Some(p) = held.permits.pop() {
            self.call(what, || p.release());
        }
        if let Some(g) = held.owned.pop() {
            self.call(what, || g.release());
        }
    }

    /// A thread that ends while it owns.
    fn ends_a_thread(&self, what: usize, r: &mut Random) {
        let (ns, n, p) = (self.ns, name(r, "x"), name(r, "p"));
        self.account.call(self.lane, what as u32, || {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    if let Ok(s) = Exclusive::open(ns, &n) {
                        s.acquire_owned(Wait::not()).map(std::mem::forget).unwrap_or_default();
                    }
                    if let Ok(s) = Counting::open(ns, &p) {
                        s.acquire_owned(1, Wait::not()).map(std::mem::forget).unwrap_or_default();
                    }
                });
            });
        });
    }
}
