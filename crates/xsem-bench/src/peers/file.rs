//! File locks: `flock`, and the open-file-description locks of `fcntl`.

use super::errno_of;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// An open file to lock.
#[derive(Debug)]
pub struct FileLock(File);

impl FileLock {
    pub fn open(path: &Path) -> io::Result<FileLock> {
        Ok(FileLock(OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?))
    }

    /// `LOCK_EX`, `LOCK_UN`.
    #[inline]
    pub fn flock(&self, operation: libc::c_int) -> libc::c_int {
        // SAFETY: an open descriptor.
        unsafe { libc::flock(self.0.as_raw_fd(), operation) }
    }

    /// `F_WRLCK`, `F_UNLCK`, on the whole file.
    #[inline]
    pub fn ofd(&self, kind: libc::c_int) -> libc::c_int {
        let lock = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        // SAFETY: an open descriptor and a valid record, with `l_pid` 0 as this call wants it.
        unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_OFD_SETLKW, &lock) }
    }

    /// As `flock`, as a result.
    pub fn lock(&self, operation: libc::c_int) -> io::Result<()> {
        errno_of(self.flock(operation))
    }
}
