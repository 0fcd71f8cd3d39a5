//! Who runs the self-test for a program that did not ask for it, and whether it may.
//!
//! The test makes a process. A program may have entered a sandbox since its first claim, whose seccomp filter ends whoever
//! does that. So the program's own threads never run it by themselves: the keeper does, which was made before, and only if no
//! filter has come over it since (a filter for the whole process comes over the keeper, too). Every other answer than "none
//! came" means that the hint is not believed, and every request makes the full check.
//!
//! To ask a filtered process about its filters is to make system calls that the filter may punish. So the file that tells is
//! opened beforehand, and what is left for later is `fstat` and `read`, which no sandbox with files or sockets can do without.
//! The keeper asks once: when the program has made many full checks, or when it has lived for a second.

use crate::shm::{futex, sys};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::Duration;

/// 1: somebody wants to know.
static WANTED: AtomicU32 = AtomicU32::new(0);
/// The process whose first keeper is responsible, by its number among its forks: a child has none.
static RESPONSIBLE: AtomicU32 = AtomicU32::new(0);

/// Numbers below this are left to the program, see `shm/descriptor.rs`.
const LEAST: RawFd = 10;

/// Asks the keeper to run the self-test now, if there is one; else the first one that comes does it.
pub fn ask() {
    if WANTED.load(Relaxed) == 0 && WANTED.swap(1, AcqRel) == 0 {
        futex::wake_private_all(&WANTED);
    }
}

/// What a keeper notes before its process has claimed anything.
pub struct Errand {
    filters: Option<Filters>,
    is_responsible: bool,
}

impl Errand {
    /// Before the first claim is granted.
    pub fn begin() -> Errand {
        let me = crate::forklock::epoch();
        Errand { filters: Filters::note(), is_responsible: RESPONSIBLE.swap(me, AcqRel) != me }
    }

    /// Waits until somebody asks, for so long at most; then runs the self-test, if it may. Whether it may: no filter has come.
    pub fn run(self, longest: Duration) -> bool {
        let until = crate::deadline::now() + longest.as_nanos() as u64;
        while WANTED.load(Acquire) == 0 && crate::deadline::now() < until {
            futex::sleep(&[futex::Watch::private(&WANTED, 0)], Some(until));
        }
        let free = self.filters.is_some_and(Filters::are_the_same);
        if !free {
            tracing::debug!("a seccomp filter came, or nobody can say: each request makes the full check");
        } else if self.is_responsible {
            super::look_for_cheaper();
        }
        free
    }
}

/// The seccomp filters of the calling thread at some time.
struct Filters {
    /// `/proc/thread-self/status`, not read yet: its text is made when it is read.
    status: RawFd,
    /// Which file that is: the program may close the descriptor, and its number may name another file then.
    id: (u64, u64),
    before: Said,
}

/// What the kernel says of them: the lines `Seccomp` and `Seccomp_filters`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Said {
    mode: u32,
    /// From Linux 5.9 on.
    count: Option<u32>,
}

impl Filters {
    /// None: it cannot be told later what has changed.
    fn note() -> Option<Filters> {
        let low = sys::open_at(libc::AT_FDCWD, c"/proc/thread-self/status", libc::O_RDONLY, 0).ok()?;
        // SAFETY: plain numbers.
        let high = unsafe { libc::fcntl(low.as_raw_fd(), libc::F_DUPFD_CLOEXEC, LEAST) };
        if high < 0 {
            return None;
        }
        // SAFETY: a descriptor that was just made and belongs to nobody else.
        let high = unsafe { OwnedFd::from_raw_fd(high) };
        let id = sys::dev_ino(&high)?;
        let before = said(|to| {
            // SAFETY: a buffer that is valid for writes. The file's position stays at its beginning.
            unsafe { libc::pread(high.as_raw_fd(), to.as_mut_ptr().cast(), to.len(), 0) }
        })?;
        // Closed when it has been asked, or not at all, if that might be punished.
        Some(Filters { status: high.into_raw_fd(), id, before })
    }

    /// Asks once.
    fn are_the_same(self) -> bool {
        if sys::dev_ino(&self.status) != Some(self.id) {
            return false;
        }
        let now = said(|to| {
            // SAFETY: a buffer that is valid for writes.
            unsafe { libc::read(self.status, to.as_mut_ptr().cast(), to.len()) }
        });
        // A filter on top of another one is seen by their number only.
        let same = now == Some(self.before) && (self.before.mode == 0 || self.before.count.is_some());
        if same {
            // SAFETY: looked at above, and nobody else knows of it.
            unsafe { libc::close(self.status) };
        }
        same
    }
}

fn said(read: impl FnOnce(&mut [u8]) -> isize) -> Option<Said> {
    let mut text = [0u8; 4096];
    let n = usize::try_from(read(&mut text)).ok()?;
    parse(&String::from_utf8_lossy(&text[..n]))
}

fn parse(status: &str) -> Option<Said> {
    let value = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok());
    Some(Said { mode: value("Seccomp")?, count: value("Seccomp_filters") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says() {
        let of = |text| parse(text).map(|s| (s.mode, s.count));
        assert_eq!(of("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t3\n"), Some((2, Some(3))));
        assert_eq!(of("NoNewPrivs:\t0\nSeccomp:\t0\n"), Some((0, None)), "before 5.9");
        assert_eq!(of("Name:\tSeccomp: 0\n"), None);
    }

    #[test]
    fn nothing_came_over_this_thread_and_a_closed_descriptor_tells_nothing() {
        assert!(Filters::note().unwrap().are_the_same());
        let f = Filters::note().unwrap();
        // SAFETY: its owner expects that.
        unsafe { libc::close(f.status) };
        assert!(!f.are_the_same());
    }
}
