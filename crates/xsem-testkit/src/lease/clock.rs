//! The cluster's clock: milliseconds as a thread counts them.
//!
//! Leases are measured in ticks, not in real time: where a loaded machine holds everybody up, it holds the clock up, too,
//! and no lease ends because a keep-alive thread had no processor. What a test sees is the order of events, not their times.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A count of ticks.
pub type Tick = u64;

/// The clock. One thread advances it (see `Cluster`).
#[derive(Debug, Default)]
pub struct Clock {
    now: Mutex<Tick>,
    ticked: Condvar,
}

/// A poisoned lock is used all the same: no user of it leaves anything half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Clock {
    /// Now.
    pub fn now(&self) -> Tick {
        *lock(&self.now)
    }

    /// One tick later.
    pub fn advance(&self) -> Tick {
        let mut now = lock(&self.now);
        *now += 1;
        self.ticked.notify_all();
        *now
    }

    /// Sleeps until then, or until `end` says so (asked about every tick).
    pub fn sleep_until(&self, then: Tick, end: impl Fn() -> bool) {
        let mut now = lock(&self.now);
        while *now < then && !end() {
            // The time-out only matters where the cluster has been dropped, and with it the thread that ticks.
            now = self.ticked.wait_timeout(now, Duration::from_millis(20)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A duration in ticks.
pub fn ticks(d: Duration) -> Tick {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
