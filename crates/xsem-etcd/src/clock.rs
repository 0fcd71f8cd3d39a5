//! The clock of leases: `CLOCK_BOOTTIME`, which goes on while the machine is suspended. (`Instant` does not: a holder that slept
//! for an hour would take its lease for fresh.)

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Time that a test has made pass.
static AHEAD: AtomicU64 = AtomicU64::new(0);

/// Nanoseconds since the machine was started, suspended time included.
pub fn now() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec to write to; the clock exists since Linux 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64 + AHEAD.load(Ordering::Relaxed)
}

/// What is left until a point of this clock.
pub fn until(point: u64) -> Duration {
    Duration::from_nanos(point.saturating_sub(now()))
}

/// A duration in nanoseconds.
pub(crate) fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// For tests: the machine wakes up from having been suspended for so long.
pub fn suspended(time: Duration) {
    AHEAD.fetch_add(nanos(time), Ordering::Relaxed);
    crate::sentry::look();
}
