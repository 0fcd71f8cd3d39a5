//! The network between a client and the store, with its faults.
//!
//! A request can be late, lost, or late enough to arrive when its sender has given it up; an answer can be late or lost
//! although the request was carried out. The sender sees the same in all these cases: no answer. Watch events come once and
//! in order, but they can be late.

use super::clock::{Clock, Tick, lock, ticks};
use super::store::{Compacted, Event, Revision, Store};
use crate::random::Random;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// After so long without an answer a request counts as lost.
const TIMEOUT: Tick = 10;

/// What the network does to one client. Rates are of a thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// A request, and an answer, takes up to this long.
    pub delay: Duration,
    /// A watch event takes up to this long.
    pub event_delay: Duration,
    /// Requests that never arrive.
    pub lost_requests: u32,
    /// Answers that never arrive, of requests that were carried out.
    pub lost_answers: u32,
    /// Requests that arrive only after their sender has given them up.
    pub late_requests: u32,
}

impl Faults {
    /// A network without faults or delays.
    pub const NONE: Faults =
        Faults { delay: Duration::ZERO, event_delay: Duration::ZERO, lost_requests: 0, lost_answers: 0, late_requests: 0 };

    /// Delays of up to 5 ms, and about one request in twenty goes wrong in one of the ways.
    pub const ROUGH: Faults = Faults {
        delay: Duration::from_millis(5),
        event_delay: Duration::from_millis(5),
        lost_requests: 15,
        lost_answers: 25,
        late_requests: 10,
    };
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Nobody knows whether the request was, or will be, carried out.
    Unknown,
    /// The client was killed.
    Killed,
}

#[derive(Debug)]
struct State {
    random: Random,
    faults: Faults,
    cut_until: Tick,
}

/// One client's connection.
#[derive(Debug)]
pub struct Link {
    store: Arc<Store>,
    clock: Arc<Clock>,
    state: Mutex<State>,
    killed: AtomicBool,
    /// Answers of transactions that get lost next, whatever the rates.
    losing: AtomicU32,
    /// Transactions that are late next, whatever the rates.
    delaying: AtomicU32,
    /// Requests sent: changes and reads.
    sent: AtomicU64,
}

enum Fate {
    Well,
    RequestLost,
    AnswerLost,
    Late,
}

impl Link {
    /// A connection whose faults depend on `seed`.
    pub fn new(store: Arc<Store>, clock: Arc<Clock>, faults: Faults, seed: u64) -> Link {
        let state = Mutex::new(State { random: Random::new(seed), faults, cut_until: 0 });
        let (losing, delaying) = (AtomicU32::new(0), AtomicU32::new(0));
        Link { store, clock, state, killed: AtomicBool::new(false), losing, delaying, sent: AtomicU64::new(0) }
    }

    /// Other faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        lock(&self.state).faults = faults;
    }

    /// Nothing passes for so long.
    pub fn cut(&self, time: Duration) {
        lock(&self.state).cut_until = self.clock.now() + ticks(time);
    }

    /// Whether nothing passes now.
    pub fn is_cut(&self) -> bool {
        self.clock.now() < lock(&self.state).cut_until
    }

    /// Nothing passes any more, and whoever waits is told so.
    pub fn kill(&self) {
        self.killed.store(true, SeqCst);
    }

    /// Whether it was killed.
    pub fn is_killed(&self) -> bool {
        self.killed.load(SeqCst)
    }

    /// The next `n` transactions are carried out, and their answers get lost.
    pub fn lose_answers(&self, n: u32) {
        self.losing.store(n, SeqCst);
    }

    /// The next `n` transactions are carried out after their sender has given them up.
    pub fn delay_requests(&self, n: u32) {
        self.delaying.store(n, SeqCst);
    }

    /// Requests that were sent so far: changes and reads, without keep-alives.
    pub fn sent(&self) -> u64 {
        self.sent.load(SeqCst)
    }

    /// Sends a change of the store's keys: subject to all faults.
    pub fn change<T: Send + 'static>(&self, act: impl FnOnce(&Store) -> T + Send + 'static) -> Result<T, Silence> {
        self.sent.fetch_add(1, SeqCst);
        let next = |count: &AtomicU32| count.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok();
        let fate = match (next(&self.losing), next(&self.delaying)) {
            (true, _) => Some(Fate::AnswerLost),
            (_, true) => Some(Fate::Late),
            _ => None,
        };
        self.call(act, fate)
    }

    /// Sends a read.
    pub fn ask<T: Send + 'static>(&self, act: impl FnOnce(&Store) -> T + Send + 'static) -> Result<T, Silence> {
        self.sent.fetch_add(1, SeqCst);
        self.call(act, None)
    }

    /// Sends what keeps a session going, which does not count as a request.
    pub fn beat<T: Send + 'static>(&self, act: impl FnOnce(&Store, Tick) -> T + Send + 'static) -> Result<T, Silence> {
        let clock = self.clock.clone();
        self.call(move |store| act(store, clock.now()), None)
    }

    fn call<T: Send + 'static>(&self, act: impl FnOnce(&Store) -> T + Send + 'static, fate: Option<Fate>) -> Result<T, Silence> {
        let (there, back, drawn) = self.draw();
        self.pass(there)?;
        let result = match fate.unwrap_or(drawn) {
            _ if self.is_cut() => return self.silence(),
            Fate::RequestLost => return self.silence(),
            Fate::Late => {
                let (store, late) = (self.store.clone(), Duration::from_millis(3 * TIMEOUT) + there);
                std::thread::spawn(move || {
                    std::thread::sleep(late);
                    drop(act(&store));
                });
                return self.silence();
            }
            Fate::AnswerLost => {
                drop(act(&self.store));
                return self.silence();
            }
            Fate::Well => act(&self.store),
        };
        self.pass(back)?;
        if self.is_cut() { self.silence() } else { Ok(result) }
    }

    /// The delays there and back, and what becomes of a request.
    fn draw(&self) -> (Duration, Duration, Fate) {
        let mut s = lock(&self.state);
        let f = s.faults;
        let (there, back) = (up_to(&mut s.random, f.delay), up_to(&mut s.random, f.delay));
        let n = s.random.below(1000) as u32;
        let fate = match n {
            n if n < f.lost_requests => Fate::RequestLost,
            n if n < f.lost_requests + f.lost_answers => Fate::AnswerLost,
            n if n < f.lost_requests + f.lost_answers + f.late_requests => Fate::Late,
            _ => Fate::Well,
        };
        (there, back, fate)
    }

    fn pass(&self, delay: Duration) -> Result<(), Silence> {
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        if self.is_killed() { Err(Silence::Killed) } else { Ok(()) }
    }

    fn silence<T>(&self) -> Result<T, Silence> {
        self.clock.sleep_until(self.clock.now() + TIMEOUT, || self.is_killed());
        Err(if self.is_killed() { Silence::Killed } else { Silence::Unknown })
    }

    /// The changes from `from` on that `wanted` accepts, waiting for at most `patience`; and from where to ask next.
    pub fn watch(
        &self,
        from: Revision,
        patience: Duration,
        wanted: &dyn Fn(&Event) -> bool,
    ) -> Result<Result<(Vec<Event>, Revision), Compacted>, Silence> {
        self.pass(Duration::ZERO)?;
        if self.is_cut() {
            return self.silence();
        }
        let watched = self.store.watch(from, patience, wanted);
        if watched.as_ref().is_ok_and(|(events, _)| !events.is_empty()) {
            let late = {
                let mut s = lock(&self.state);
                let most = s.faults.event_delay;
                up_to(&mut s.random, most)
            };
            self.pass(late)?;
        }
        // What a cut holds up comes afterwards: the next look begins at the same revision.
        if self.is_cut() { self.silence() } else { Ok(watched) }
    }
}

fn up_to(random: &mut Random, most: Duration) -> Duration {
    match u64::try_from(most.as_micros()).unwrap_or(u64::MAX) {
        0 => Duration::ZERO,
        most => Duration::from_micros(random.below(most + 1)),
    }
}
