//! What this system has and has not, for who asks why something is as it is (`xsem doctor`). Not part of the API.

use super::place::Place;
use super::{filesystem, futex, sys};
use crate::error::Result;
use std::path::{Path, PathBuf};

/// Whether the kernel, and what filters its calls, knows futex_waitv (Linux 5.16).
pub fn has_futex_waitv() -> bool {
    futex::has_waitv()
}

/// Whether they know rseq (Linux 4.18).
pub fn has_rseq() -> bool {
    crate::interrupt::kernel_has_rseq()
}

/// The file of what follows `shm:` in a URL.
///
/// # Errors
/// 87 that is no URL.
pub fn path_of(place: &str) -> Result<PathBuf> {
    Place::parse(place).map(|p| p.path)
}

/// The name of the file system at a path, if other machines may see it.
pub fn shared_file_system(path: &Path) -> Option<&'static str> {
    let dir = std::fs::File::open(path).ok()?;
    shared_by_magic(sys::file_system(&dir)?)
}

/// The same for a magic number.
pub fn shared_by_magic(magic: u32) -> Option<&'static str> {
    filesystem::shared(magic)
}
