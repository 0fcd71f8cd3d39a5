//! Descriptors of this process's files that a program may close under us: daemons close every descriptor there is, and the
//! number may name another file then. Each use looks whether it is still the same file, and opens that again otherwise.

use super::sys;
use crate::forklock::ForkLock;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering::*};

/// A file that is open for the life of the process. It is never closed: that would drop the process's locks in it.
#[derive(Debug)]
pub struct Descriptor {
    fd: AtomicI32,
    id: (u64, u64),
    path: CString,
    opening: ForkLock<()>,
}

/// Numbers below this are left to those who expect to get them: who has just closed 0, 1 and 2 opens them again.
const LEAST: RawFd = 10;

impl Descriptor {
    /// For an open file, and where it is to be found again.
    pub fn new(fd: OwnedFd, path: &Path) -> io::Result<Descriptor> {
        let id = sys::dev_ino(&fd).ok_or_else(io::Error::last_os_error)?;
        let path = CString::new(path.as_os_str().as_bytes())?;
        Ok(Descriptor { fd: AtomicI32::new(fd.into_raw_fd()), id, path, opening: ForkLock::new() })
    }

    /// Closes it, if it is still that of the file. Only where this process has no lock in the file.
    pub fn close(self) {
        if let Some(fd) = self.current() {
            // SAFETY: the descriptor that this value was made with, which nobody uses any more.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }

    /// Device and inode.
    pub fn id(&self) -> (u64, u64) {
        self.id
    }

    /// The descriptor, if it is still that of the file.
    pub fn current(&self) -> Option<RawFd> {
        let fd = self.fd.load(Acquire);
        (sys::dev_ino(&fd) == Some(self.id)).then_some(fd)
    }

    /// Closes it. For a file in which the process has never had a lock, and that nobody uses any more.
    pub fn give_up(&self) {
        if let Some(fd) = self.current() {
            // SAFETY: it is the file's, which belongs to this value.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        self.fd.store(-1, Release);
    }

    /// The descriptor, opened again where the program has closed it.
    pub fn get(&self) -> io::Result<RawFd> {
        if let Some(fd) = self.current() {
            return Ok(fd);
        }
        let _whole = sys::whole();
        let _one_at_a_time = self.opening.lock();
        if let Some(fd) = self.current() {
            return Ok(fd);
        }
        let fd = sys::open_at(libc::AT_FDCWD, &self.path, libc::O_RDWR | libc::O_NONBLOCK, 0)?;
        // SAFETY: plain numbers.
        let high = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, LEAST) };
        if high < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that was just made and belongs to nobody else.
        let high = unsafe { OwnedFd::from_raw_fd(high) };
        // The other one may be closed: the process has no lock in the file any more, if it ever had one.
        drop(fd);
        if sys::dev_ino(&high) != Some(self.id) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file is another one now"));
        }
        let high = high.into_raw_fd();
        self.fd.store(high, Release);
        Ok(high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_opened_again_but_only_if_it_is_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let open = || OwnedFd::from(std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap());
        let d = Descriptor::new(open(), &path).unwrap();
        let first = d.get().unwrap();
        assert_eq!(Some(first), d.current());
        // Closed, and its number given to another file: what a program does behind our back.
        let other = std::fs::File::open("/dev/null").unwrap();
        // SAFETY: the number is the descriptor's, which expects such things.
        assert_eq!(unsafe { libc::dup3(other.as_raw_fd(), first, libc::O_CLOEXEC) }, first);
        assert_eq!(d.current(), None);
        let second = d.get().unwrap();
        assert!(second >= LEAST && second != first && sys::dev_ino(&second) == Some(d.id()));
        // SAFETY: plain numbers.
        assert_eq!(unsafe { libc::fcntl(second, libc::F_GETFD) }, libc::FD_CLOEXEC);
        // Replaced by another file, while the first is kept alive, lest its number be used again.
        let kept = open();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "another").unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { libc::dup3(other.as_raw_fd(), second, libc::O_CLOEXEC) }, second);
        assert!(d.get().is_err());
        drop(kept);
    }
}
