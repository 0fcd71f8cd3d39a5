//! A program with an event loop of its own, here epoll, that waits for a semaphore and stays responsive meanwhile: each line on
//! its input is answered at once, and when the semaphore is had, the work is done.
//!
//!     cargo run -p xsem --example event_loop -- shm: deploy
//!
//! The same descriptor goes into glib (`g_unix_fd_add`), Qt (`QSocketNotifier`), asyncio (`loop.add_reader`) and the like.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use xsem::{Error, Exclusive, Namespace, OwnedAcquireError, OwnedGuard, PollFd};

const INPUT: u64 = 0;
const SEMAPHORE: u64 = 1;

/// As much of epoll as this needs.
struct Loop(OwnedFd);

impl Loop {
    fn new() -> io::Result<Loop> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, and nobody else's.
        Ok(Loop(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn watch(&self, fd: &impl AsFd, what: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: what };
        // SAFETY: both descriptors are open, and the event is valid for reads.
        let r = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_fd().as_raw_fd(), &mut event) };
        if r == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// What is ready.
    fn wait(&self) -> io::Result<u64> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        loop {
            // SAFETY: room for one event.
            match unsafe { libc::epoll_wait(self.0.as_raw_fd(), &mut event, 1, -1) } {
                1 => return Ok(event.u64),
                _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                _ => return Err(io::Error::last_os_error()),
            }
        }
    }
}

/// Answers lines until it has the semaphore, or the input ends. The guard is the caller's.
pub fn serve(url: &str, name: &str, mut input: impl Read + AsFd, mut answers: impl Write) -> io::Result<Option<OwnedGuard>> {
    let ns = Namespace::open(url).map_err(io::Error::other)?;
    let sem = Exclusive::open_or_create(&ns, name).map_err(io::Error::other)?;
    let mut pending = PollFd::new(sem.acquire_async()).map_err(io::Error::other)?;
    let events = Loop::new()?;
    events.watch(&input, INPUT)?;
    events.watch(&pending, SEMAPHORE)?;
    let mut buffer = [0; 1024];
    loop {
        match events.wait()? {
            INPUT => match input.read(&mut buffer)? {
                // Dropping `pending` gives the wait up.
                0 => return Ok(None),
                n => writeln!(answers, "not yet: {}", String::from_utf8_lossy(&buffer[..n]).trim_end())?,
            },
            _ => match pending.poll_now() {
                None => {}
                Some(Ok(guard)) => {
                    writeln!(answers, "have it: {}", guard.token())?;
                    return Ok(Some(guard));
                }
                Some(Err(OwnedAcquireError::OwnerDied(recovery))) => {
                    writeln!(answers, "have it, and its owner died")?;
                    return recovery.mark_consistent().map(Some).map_err(io::Error::other);
                }
                Some(Err(e)) => return Err(io::Error::other(Error::from(e))),
            },
        }
    }
}

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(name)) = (args.next(), args.next()) else {
        return Err(io::Error::other("usage: event_loop URL NAME   (then type lines)"));
    };
    serve(&url, &name, io::stdin(), io::stdout()).map(drop)
}
