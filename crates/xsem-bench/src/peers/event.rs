//! What people signal each other with: a futex written by hand, and an eventfd.

use crate::shared::Shared;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// An event in one word, as short as it can be written: it survives nobody's death, and knows no names, times or waiters.
#[derive(Clone, Copy, Debug)]
pub struct Futex(pub Shared<AtomicU32>);

const RESET: u32 = 0;
const SIGNALLED: u32 = 1;
/// Reset, and somebody sleeps.
const SLEEPERS: u32 = 2;

impl Futex {
    #[inline]
    pub fn signal(&self) {
        if self.0.swap(SIGNALLED, Ordering::Release) == SLEEPERS {
            self.futex(libc::FUTEX_WAKE, i32::MAX as u32);
        }
    }

    #[inline]
    pub fn reset(&self) {
        // It is signalled, or somebody sleeps already.
        let _ = self.0.compare_exchange(SIGNALLED, RESET, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// For one waiter: several would have to leave SLEEPERS behind for each other.
    #[inline]
    pub fn wait_auto(&self) {
        while self.0.compare_exchange(SIGNALLED, RESET, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.sleep();
        }
    }

    #[inline]
    pub fn wait_manual(&self) {
        while self.0.load(Ordering::Acquire) != SIGNALLED {
            self.sleep();
        }
    }

    fn sleep(&self) {
        if self.0.compare_exchange(RESET, SLEEPERS, Ordering::Relaxed, Ordering::Relaxed) != Err(SIGNALLED) {
            self.futex(libc::FUTEX_WAIT, SLEEPERS);
        }
    }

    fn futex(&self, op: libc::c_int, value: u32) {
        // SAFETY: a mapped, aligned word; no timeout, no second word.
        unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), op, value, std::ptr::null::<libc::timespec>(), 0, 0) };
    }
}

/// An eventfd. It has no name: children inherit it, under a number that both sides know.
#[derive(Clone, Copy, Debug)]
pub struct Eventfd(RawFd);

/// Where the inherited descriptors begin: above whatever a process opens by itself.
const FIRST: RawFd = 100;

impl Eventfd {
    /// Makes the one with this number.
    pub fn create(number: usize) -> io::Result<()> {
        // SAFETY: plain numbers; the number that is replaced is nobody's but ours.
        let done = unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC);
            // The copy is not close-on-exec.
            let done = libc::dup2(fd, Eventfd::open(number).0);
            libc::close(fd);
            done
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The one with this number.
    pub fn open(number: usize) -> Eventfd {
        Eventfd(FIRST + number as RawFd)
    }

    #[inline]
    pub fn signal(&self) {
        let one = 1u64;
        // SAFETY: eight bytes that live through the call.
        assert_eq!(unsafe { libc::write(self.0, (&raw const one).cast(), 8) }, 8);
    }

    /// Sleeps until there was a signal, and takes all that there were.
    #[inline]
    pub fn wait_auto(&self) {
        let mut count = 0u64;
        // SAFETY: eight bytes to write to, that live through the call.
        assert_eq!(unsafe { libc::read(self.0, (&raw mut count).cast(), 8) }, 8);
    }

    #[inline]
    pub fn wait_manual(&self) {
        let mut poll = libc::pollfd { fd: self.0, events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor, in a place that lives through the call.
        assert_eq!(unsafe { libc::poll(&mut poll, 1, -1) }, 1);
    }
}

/// An eventfd that counts, as a semaphore of permits.
#[derive(Debug)]
pub struct Counter(OwnedFd);

impl Counter {
    pub fn create(value: u32) -> io::Result<Counter> {
        // SAFETY: plain numbers.
        let fd = unsafe { libc::eventfd(value, libc::EFD_CLOEXEC | libc::EFD_SEMAPHORE | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just made, and nobody else has it.
        Ok(Counter(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sleeps until one of them has something, takes it, and says which. At most 64.
    #[inline]
    pub fn wait_any(of: &[Counter]) -> usize {
        let mut polls: [libc::pollfd; 64] = std::array::from_fn(|i| {
            let fd = of.get(i).map_or(-1, |c| c.0.as_raw_fd());
            libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
        });
        loop {
            // SAFETY: that many descriptors, in a place that lives through the call; the slice checks the number.
            assert!(unsafe { libc::poll(polls[..of.len()].as_mut_ptr(), of.len() as libc::nfds_t, -1) } > 0);
            let ready = polls.iter().zip(of).position(|(p, c)| p.revents != 0 && c.take());
            if let Some(which) = ready {
                return which;
            }
        }
    }

    fn take(&self) -> bool {
        let mut count = 0u64;
        // SAFETY: eight bytes to write to, that live through the call.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) == 8 }
    }

    #[inline]
    pub fn put(&self) {
        let one = 1u64;
        // SAFETY: eight bytes that live through the call.
        assert_eq!(unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) }, 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Each signal must arrive, or the rally stands still.
    fn rally(signal: [impl Fn() + Sync; 2], wait: [impl Fn() + Sync; 2]) {
        const TIMES: usize = 2000;
        thread::scope(|s| {
            s.spawn(|| {
                for _ in 0..TIMES {
                    wait[0]();
                    signal[1]();
                }
            });
            for _ in 0..TIMES {
                signal[0]();
                wait[1]();
            }
        });
    }

    #[test]
    fn no_signal_is_lost() {
        let dir = tempfile::tempdir().expect("a directory");
        let futexes = ["a", "b"].map(|f| Futex(Shared::map(&dir.path().join(f)).expect("a mapping")));
        rally(futexes.map(|f| move || f.signal()), futexes.map(|f| move || f.wait_auto()));
        let fds = [10, 11].map(|number| {
            Eventfd::create(number).expect("an eventfd");
            Eventfd::open(number)
        });
        rally(fds.map(|e| move || e.signal()), fds.map(|e| move || e.wait_auto()));
    }

    #[test]
    fn a_manual_signal_stays_and_wakes_all() {
        let dir = tempfile::tempdir().expect("a directory");
        let futex = Futex(Shared::map(&dir.path().join("f")).expect("a mapping"));
        Eventfd::create(12).expect("an eventfd");
        let fd = Eventfd::open(12);
        for _ in 0..200 {
            thread::scope(|s| {
                for _ in 0..3 {
                    s.spawn(|| {
                        futex.wait_manual();
                        fd.wait_manual();
                    });
                }
                futex.signal();
                fd.signal();
            });
            assert_eq!(futex.0.load(Ordering::Relaxed), SIGNALLED);
            futex.reset();
            fd.wait_auto();
            assert_ne!(futex.0.load(Ordering::Relaxed), SIGNALLED);
        }
    }
}
