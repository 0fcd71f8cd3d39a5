//! The peers: what people use today, each called in the cheapest way that its interface offers.

pub mod event;
pub mod file;
pub mod guest;
pub mod named;
pub mod pthread;
pub mod sysv;

use std::io;

/// `Ok` for 0, the system's error for the rest: the convention of `semop`, `flock` and most of the others.
fn errno_of(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The convention of the pthread functions, which return the error.
fn code_of(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}
