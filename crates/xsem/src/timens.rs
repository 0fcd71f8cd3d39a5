//! Time namespaces: a container may see the machine's clocks shifted. Times are compared between processes here (who waits for
//! longer, who has not stirred, which process has this number), so they are kept as the machine's, and shifted where the kernel
//! is told or tells one.
//!
//! The shift is looked up once in a program's life. A process that is forked, without an exec, into another time namespace than
//! its parent's keeps its parent's, and is not right about time.

use crate::interrupt::keeping_errno;
use std::ffi::CStr;
use std::sync::atomic::{AtomicI64, Ordering::*};

const UNKNOWN: i64 = i64::MIN;
/// Of the monotonic clock and the boot clock, in nanoseconds.
static MONOTONIC: AtomicI64 = AtomicI64::new(UNKNOWN);
static BOOT: AtomicI64 = AtomicI64::new(UNKNOWN);
/// What `/proc/PID/stat` counts in.
const TICK: i64 = 10_000_000;

/// A time of this process's monotonic clock as the machine's.
#[inline]
pub fn of_machine(here: u64) -> u64 {
    here.wrapping_sub(shift(&MONOTONIC) as u64)
}

/// A time of the machine's monotonic clock as this process's.
pub fn of_process(machine: u64) -> u64 {
    machine.saturating_add_signed(shift(&MONOTONIC))
}

/// The start of a process, in ticks after boot, as the machine's.
pub fn start_of_machine(here: u64) -> u64 {
    here.saturating_add_signed(-(shift(&BOOT) / TICK))
}

#[inline]
fn shift(of: &AtomicI64) -> i64 {
    match of.load(Relaxed) {
        UNKNOWN => look(of),
        known => known,
    }
}

/// No allocation: the first look may be in a signal handler.
#[cold]
fn look(of: &AtomicI64) -> i64 {
    let (monotonic, boot) = keeping_errno(|| {
        let (mut one, mut two, mut text) = ([0; 64], [0; 64], [0; 256]);
        // The offsets are those of the namespace that children will be in. Where that is another one, nobody tells.
        let own = link(c"/proc/self/ns/time", &mut one);
        let same = own.is_some() && own == link(c"/proc/self/ns/time_for_children", &mut two);
        let text = if same { read(c"/proc/self/timens_offsets", &mut text) } else { None };
        let of = |clock| text.and_then(|t| offset(t, clock)).unwrap_or(0);
        (of("monotonic"), of("boottime"))
    });
    MONOTONIC.store(monotonic, Relaxed);
    BOOT.store(boot, Relaxed);
    of.load(Relaxed)
}

fn link<'a>(path: &CStr, to: &'a mut [u8]) -> Option<&'a [u8]> {
    // SAFETY: a NUL-terminated path and a buffer that is valid for writes of its length.
    let n = unsafe { libc::readlink(path.as_ptr(), to.as_mut_ptr().cast(), to.len()) };
    to.get(..usize::try_from(n).ok()?)
}

fn read<'a>(path: &CStr, to: &'a mut [u8]) -> Option<&'a str> {
    let _whole = crate::shm::whole();
    // SAFETY: a NUL-terminated path; a buffer that is valid for writes of its length; a descriptor of our own.
    let n = unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        let n = libc::read(fd, to.as_mut_ptr().cast(), to.len());
        if fd >= 0 {
            libc::close(fd);
        }
        n
    };
    std::str::from_utf8(to.get(..usize::try_from(n).ok()?)?).ok()
}

/// One line of it: the clock, seconds, nanoseconds.
fn offset(text: &str, clock: &str) -> Option<i64> {
    let mut words = text.lines().find_map(|l| l.strip_prefix(clock))?.split_ascii_whitespace();
    let (seconds, nanoseconds): (i64, i64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets() {
        let text = "monotonic      100000         5\nboottime        -5000         0\n";
        assert_eq!((offset(text, "monotonic"), offset(text, "boottime")), (Some(100_000_000_000_005), Some(-5_000_000_000_000)));
        assert_eq!(offset("monotonic x", "monotonic"), None);
    }
}
