//! One type for "until when": an absolute point of the monotonic clock.

use std::time::Duration;

/// A point of `CLOCK_MONOTONIC`, in nanoseconds. A nested call is given the same deadline, not a fresh timeout.
///
/// ```
/// use std::time::Duration;
/// let d = xsem::Deadline::after(Duration::from_secs(5));
/// assert!(!d.has_passed());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub(crate) u64);

impl Deadline {
    /// `timeout` from now. A timeout beyond the clock's range means the end of time.
    pub fn after(timeout: Duration) -> Deadline {
        let t = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        Deadline(now().saturating_add(t))
    }

    /// What is left, zero when it has passed.
    pub fn remaining(self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(now()))
    }

    /// Whether it has passed.
    pub fn has_passed(self) -> bool {
        now() >= self.0
    }
}

/// `CLOCK_MONOTONIC` of the machine now, in nanoseconds: the clock of every wait and every age here. It does not jump when
/// somebody sets the time, and is the same in all time namespaces (see [`crate::timens`]).
pub(crate) fn now() -> u64 {
    crate::timens::of_machine(clock(libc::CLOCK_MONOTONIC))
}

/// The same clock at the resolution of the tick (1 to 10 ms) for a fraction of the cost: good enough for "held since".
pub(crate) fn now_coarse() -> u64 {
    crate::timens::of_machine(clock(libc::CLOCK_MONOTONIC_COARSE))
}

/// Wall-clock time in nanoseconds since 1970, for people.
pub(crate) fn realtime() -> u64 {
    clock(libc::CLOCK_REALTIME)
}

#[inline]
fn clock(id: libc::clockid_t) -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec to write to; the clock ids above always exist on Linux.
    unsafe { libc::clock_gettime(id, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
