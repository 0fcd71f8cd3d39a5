//! The cluster's clock: milliseconds as a thread counts them.
//!
//! Leases are measured in ticks, not in real time: where a loaded machine holds everybody up, it holds the clock up, too,
//! and no lease ends because a keep-alive thread had no processor. What a test sees is the order of events, not their times.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A count of ticks.
pub type Tick = u64;

#[derive(Debug, Default)]
struct State {
    now: Tick,
    stopped: bool,
    last: u64,
    /// Who sleeps until when. A tick wakes only those whose time has come: there may be hundreds of clients.
    sleepers: BTreeMap<(Tick, u64), Arc<Condvar>>,
}

/// The clock. One thread advances it (see `Cluster`).
#[derive(Debug, Default)]
pub struct Clock(Mutex<State>);

/// A poisoned lock is used all the same: no user of it leaves anything half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Clock {
    /// Now.
    pub fn now(&self) -> Tick {
        lock(&self.0).now
    }

    /// One tick later.
    pub fn advance(&self) -> Tick {
        let mut s = lock(&self.0);
        let now = s.now + 1;
        s.now = now;
        let later = s.sleepers.split_off(&(now + 1, 0));
        std::mem::replace(&mut s.sleepers, later).into_values().for_each(|sleeper| sleeper.notify_one());
        now
    }

    /// Its time stands still from now on, and nobody sleeps for it.
    pub fn stop(&self) {
        let mut s = lock(&self.0);
        s.stopped = true;
        std::mem::take(&mut s.sleepers).into_values().for_each(|sleeper| sleeper.notify_one());
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        lock(&self.0).stopped
    }

    /// Sleeps until then, or until `end` says so (asked now and then), or until the clock is stopped.
    pub fn sleep_until(&self, then: Tick, end: impl Fn() -> bool) {
        let mut s = lock(&self.0);
        s.last += 1;
        let (key, sleeper) = ((then, s.last), Arc::<Condvar>::default());
        s.sleepers.insert(key, sleeper.clone());
        while s.now < then && !s.stopped && !end() {
            s = sleeper.wait_timeout(s, Duration::from_millis(500)).unwrap_or_else(PoisonError::into_inner).0;
        }
        s.sleepers.remove(&key);
    }
}

/// A duration in ticks.
pub fn ticks(d: Duration) -> Tick {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
