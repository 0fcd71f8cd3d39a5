//! A file store that checks tokens.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

// docs/etcd.md shows this, word for word: the test holds it to that.
// begin
/// A file that is only written with a token that is at least the last one. The store's own lock makes look and write one step.
pub fn write(dir: &Path, token: u64, data: &[u8]) -> io::Result<()> {
    let _one_at_a_time = locked(&dir.join("lock"))?;
    let last = fs::read_to_string(dir.join("token")).ok().and_then(|t| t.parse().ok()).unwrap_or(0u64);
    if token < last {
        return Err(io::Error::other(format!("token {token} is over: {last} was here")));
    }
    // The token first: who dies in between has refused others too early, never too late.
    replace(&dir.join("token"), token.to_string().as_bytes())?;
    replace(&dir.join("data"), data)
}

/// All of it, or what was there before.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, content)?;
    File::open(&new)?.sync_all()?;
    fs::rename(&new, path)
}
// end

/// What `File::lock` does since Rust 1.89: until the file is closed, others wait here.
fn locked(path: &Path) -> io::Result<File> {
    let file = File::create(path)?;
    // SAFETY: no pointer is passed, and the descriptor is open.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}
