//! What the exclusive semaphore protects: a number in a file, which only takes writes with a token that is at least the last one, as
//! `docs/etcd.md` shows it.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// The greatest token so far, which makes look and write one step.
fn locked(dir: &Path) -> io::Result<(File, u64)> {
    let lock = File::options().create(true).append(true).open(dir.join("resource.lock"))?;
    // What `File::lock` does since Rust 1.89.
    // SAFETY: no pointer is passed, and the descriptor is open.
    if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let last = fs::read_to_string(dir.join("resource.token")).ok().and_then(|t| t.parse().ok()).unwrap_or(0);
    Ok((lock, last))
}

/// Writes under a token; false: another one was here.
pub fn write(dir: &Path, token: u64) -> io::Result<bool> {
    let (_lock, last) = locked(dir)?;
    if token < last {
        return Ok(false);
    }
    // A writer can be killed in the middle: the new file is there as a whole, or not.
    let new = dir.join("resource.new");
    fs::write(&new, token.to_string())?;
    fs::rename(new, dir.join("resource.token"))?;
    Ok(true)
}
