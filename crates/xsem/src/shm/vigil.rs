//! What the keeper does while it lives: it watches whether the file is still the namespace, for those who do not look because
//! they claim and release the short way, and for those who sleep.
//!
//! The kernel tells of a removed, replaced or truncated file by inotify. A user has only 128 instances of that by default, for
//! all programs; so only the members in the first [`EYES`] slots of a namespace take one each, after their first second, and
//! everybody else looks once a second: at a path, without a descriptor.
//!
//! The descriptor is in a table of the keeper's own, so it does not count as one of the program's, and a program that closes
//! all of its descriptors does not close it. (If it did, the number might soon be that of another file, which the keeper would
//! read from.) The table is empty otherwise: a copy of the program's would keep its files open. POSIX locks are those of the
//! program's table, and stay.

use super::arena::Arena;
use super::sys;
use crate::interrupt::Errand;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// How many members of a namespace watch by inotify.
pub const EYES: u32 = 32;
/// How often the others look.
const EVERY: Duration = Duration::from_secs(1);
/// How soon to look again at a file that is being changed: it grows while names are made.
const PAUSE: Duration = Duration::from_millis(10);

/// Until the process ends. All signals but SIGBUS are blocked.
pub fn keep(arena: &'static Arena, slot: u32, errand: Errand) -> ! {
    // A filter that came meanwhile may punish the calls that make the eyes.
    let free = errand.run(EVERY);
    let mut eyes = if free && slot < EYES { Eyes::new(arena.place()).ok() } else { None };
    loop {
        arena.look();
        match (arena.loss(), &eyes) {
            (Some(loss), _) if loss.is_final() => park(),
            (None, Some(e)) => {
                sys::nap(PAUSE);
                if e.wait().is_err() {
                    eyes = None;
                }
            }
            _ => sys::nap(EVERY),
        }
    }
}

/// Nothing is left to watch.
fn park() -> ! {
    loop {
        // SAFETY: no arguments.
        unsafe { libc::pause() };
    }
}

/// The file and its directory, watched.
struct Eyes(OwnedFd);

impl Eyes {
    fn new(path: &CStr) -> io::Result<Eyes> {
        const UNSHARE: libc::c_uint = 2;
        // SAFETY: plain numbers. This thread uses no descriptor.
        if unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, UNSHARE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a plain number.
        let fd = unsafe { libc::inotify_init1(libc::IN_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that was just made and belongs to nobody else.
        let eyes = Eyes(unsafe { OwnedFd::from_raw_fd(fd) });
        // A link count that changes is IN_ATTRIB, a length that changes IN_MODIFY. Of writes to the mapping nobody is told.
        let file = libc::IN_ATTRIB | libc::IN_MODIFY | libc::IN_MOVE_SELF | libc::IN_DELETE_SELF | libc::IN_DONT_FOLLOW;
        eyes.watch(path, file)?;
        let dir = path.to_bytes().iter().rposition(|b| *b == b'/').map_or(&b"."[..], |at| &path.to_bytes()[..at.max(1)]);
        // A directory that is moved takes the file's name with it.
        if let Ok(dir) = CString::new(dir) {
            eyes.watch(&dir, libc::IN_MOVE_SELF | libc::IN_DELETE_SELF)?;
        }
        Ok(eyes)
    }

    fn watch(&self, path: &CStr, what: u32) -> io::Result<()> {
        // SAFETY: a NUL-terminated path and plain numbers.
        match unsafe { libc::inotify_add_watch(self.0.as_raw_fd(), path.as_ptr(), what) } {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Sleeps until something has happened; what it was, a look tells.
    fn wait(&self) -> io::Result<()> {
        let mut events = [0u8; 4096];
        loop {
            // SAFETY: `events` is valid for writes of its length.
            let n = unsafe { libc::read(self.0.as_raw_fd(), events.as_mut_ptr().cast(), events.len()) };
            match n {
                1.. => return Ok(()),
                _ if n < 0 && sys::errno() == libc::EINTR => {}
                _ => return Err(io::Error::from(io::ErrorKind::BrokenPipe)),
            }
        }
    }
}
