//! POSIX semaphores with names.

use std::ffi::CString;
use std::io;

/// A named POSIX semaphore, closed when dropped.
#[derive(Debug)]
pub struct Named(*mut libc::sem_t);

/// A name that no other process of this benchmark uses.
pub fn name(what: &str) -> CString {
    CString::new(format!("/xsem-bench-{what}-{}", std::process::id())).expect("no NUL")
}

impl Named {
    pub fn create(name: &CString) -> io::Result<Named> {
        // SAFETY: a NUL-terminated name, and the mode and value that O_CREAT asks for.
        Named::checked(unsafe { libc::sem_open(name.as_ptr(), libc::O_CREAT | libc::O_EXCL, 0o600 as libc::mode_t, 1u32) })
    }

    pub fn open(name: &CString) -> io::Result<Named> {
        // SAFETY: a NUL-terminated name.
        Named::checked(unsafe { libc::sem_open(name.as_ptr(), 0) })
    }

    fn checked(p: *mut libc::sem_t) -> io::Result<Named> {
        if p == libc::SEM_FAILED { Err(io::Error::last_os_error()) } else { Ok(Named(p)) }
    }

    #[inline]
    pub fn wait(&self) -> libc::c_int {
        // SAFETY: open until this is dropped.
        unsafe { libc::sem_wait(self.0) }
    }

    #[inline]
    pub fn post(&self) -> libc::c_int {
        // SAFETY: as `wait`.
        unsafe { libc::sem_post(self.0) }
    }
}

/// Takes the name away.
pub fn unlink(name: &CString) {
    // SAFETY: a NUL-terminated name.
    unsafe { libc::sem_unlink(name.as_ptr()) };
}

impl Drop for Named {
    fn drop(&mut self) {
        // SAFETY: what `sem_open` gave, closed once.
        unsafe { libc::sem_close(self.0) };
    }
}
