//! Files that are mostly holes, as a namespace's is: which parts have content, and copies that stay small.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The parts of a file that have content: offset and length.
pub fn extents(file: &File) -> Vec<(u64, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(from) = seek(file, at, libc::SEEK_DATA) {
        let Some(end) = seek(file, from, libc::SEEK_HOLE).filter(|&end| end > from) else { break };
        found.push((from, (end - from) as usize));
        at = end;
    }
    found
}

/// Copies a file, with its holes and its mode, to where there is none.
///
/// # Errors
/// What the operating system says.
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (old, new) = (File::open(from)?, File::create_new(to)?);
    new.set_len(old.metadata()?.len())?;
    new.set_permissions(old.metadata()?.permissions())?;
    for (at, len) in extents(&old) {
        let mut bytes = vec![0; len];
        old.read_exact_at(&mut bytes, at)?;
        new.write_all_at(&bytes, at)?;
    }
    Ok(())
}

fn seek(file: &File, at: u64, whence: i32) -> Option<u64> {
    // SAFETY: lseek on an open descriptor has no memory effects; every read of this file gives its own offset.
    let found = unsafe { libc::lseek(file.as_raw_fd(), at as i64, whence) };
    u64::try_from(found).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_copy_has_the_content_and_the_holes() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let file = File::create_new(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"here", 40 << 20).unwrap();
        copy(&from, &to).unwrap();
        let copied = File::open(&to).unwrap();
        assert_eq!(extents(&copied).len(), 1);
        assert_eq!(std::fs::read(&to).unwrap(), std::fs::read(&from).unwrap());
        // Blocks are counted in 512 bytes.
        assert!(copied.metadata().unwrap().blocks() < 1024);
        assert_eq!(copy(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
