//! One type for "until when": an absolute point of the monotonic clock.

use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};
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
#[inline(always)]
pub(crate) fn now_coarse() -> u64 {
    let kernels = KERNELS.load(Relaxed);
    if kernels.is_null() { now_coarse_by_libc() } else { ask(kernels, libc::CLOCK_MONOTONIC_COARSE) }
}

#[cold]
#[inline(never)]
fn now_coarse_by_libc() -> u64 {
    crate::timens::of_machine(clock(libc::CLOCK_MONOTONIC_COARSE))
}

/// Wall-clock time in nanoseconds since 1970, for people.
pub(crate) fn realtime() -> u64 {
    clock(libc::CLOCK_REALTIME)
}

/// The kernel's own code for reading clocks, or null: not looked up, not to be had, or this process sees the machine's clock
/// shifted. The C library's function does the same in a few instructions more.
static KERNELS: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

type GetTime = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> libc::c_int;

/// Looks for the kernel's code. At normal time.
pub(crate) fn prepare() {
    if crate::timens::of_machine(0) != 0 {
        return;
    }
    // SAFETY: NUL-terminated names. NOLOAD: only what is there; the kernel has mapped it into every program.
    let found = unsafe {
        let vdso = libc::dlopen(c"linux-vdso.so.1".as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY);
        if vdso.is_null() { vdso } else { libc::dlsym(vdso, GET_TIME.as_ptr()) }
    };
    if found.is_null() {
        return;
    }
    // Not without having seen that it does what is expected.
    let before = clock(libc::CLOCK_MONOTONIC_COARSE);
    let between = ask(found, libc::CLOCK_MONOTONIC_COARSE);
    if (before..=clock(libc::CLOCK_MONOTONIC_COARSE)).contains(&between) {
        KERNELS.store(found, Relaxed);
    }
}

#[cfg(not(target_arch = "aarch64"))]
const GET_TIME: &std::ffi::CStr = c"__vdso_clock_gettime";
#[cfg(target_arch = "aarch64")]
const GET_TIME: &std::ffi::CStr = c"__kernel_clock_gettime";

#[inline(always)]
fn ask(function: *mut c_void, id: libc::clockid_t) -> u64 {
    // Not zeroed first: each store costs the uncontended path something.
    let mut t = std::mem::MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the kernel's function of that name, which has this type; `t` may be written to. It does not fail for the clocks that
    // always exist, so then `t` was written.
    let t = unsafe {
        std::mem::transmute::<*mut c_void, GetTime>(function)(id, t.as_mut_ptr());
        t.assume_init()
    };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

#[inline]
fn clock(id: libc::clockid_t) -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec to write to; the clock ids above always exist on Linux.
    unsafe { libc::clock_gettime(id, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
