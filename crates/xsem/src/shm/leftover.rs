//! Files that are left of who was killed while it made a namespace, reset one, or made a gate.
//!
//! Each is made under a name of its own, `.NAME.NONCE.new` (or `.gate.new`), by somebody who has it locked (`flock`) as long as
//! it is at work; the kernel drops the lock with its death. So whoever gets the lock of such a file knows that nobody is at work
//! on it, as long as the name still leads to it. A maker that does not get the lock of what it has just made, or gets it when the
//! name is gone, has met somebody who tidies, and begins again.
//!
//! Under such a name there is either a file that was not finished (its nonce is that of the name), or an old namespace that was
//! exchanged for the new one (its nonce is another one, and it has its gate here still, or says that it was reset): then the rest of
//! the reset is done. The new one need not be there any more: others may have reset it since.

use super::check::finish_reset;
use super::file::{self, Located};
use super::layout::{MAGIC, RETIRED_AT};
use super::sys;
use super::trust::c;
use crate::error::{Error, Result};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// So often a maker begins again.
pub const TRIES: u32 = 20;

/// How a lock of what was just made went.
pub enum Mine {
    Yes,
    /// Somebody who tidies has it, or has taken the name away.
    Tidied,
}

/// Locks a file that this process has just made, until it is closed by whoever has it open.
pub fn keep(made: &OwnedFd) -> io::Result<Mine> {
    if !sys::lock_file(made)? || sys::fstat(made)?.st_nlink == 0 {
        return Ok(Mine::Tidied);
    }
    Ok(Mine::Yes)
}

/// What a maker says that has begun again too often.
pub fn disturbed(path: &Path) -> Error {
    super::trust::denied(path, "what is made for it is taken away again and again").advice("see who does that, and try again")
}

/// A name of ours, and what it is for.
struct Found {
    name: CString,
    nonce: u64,
    gate_only: bool,
}

/// `.NAME.NONCE.new` and `.NAME.NONCE.gate.new`.
fn parse(entry: &[u8], name: &CString) -> Option<Found> {
    let rest = entry.strip_prefix(b".")?.strip_prefix(name.as_bytes())?.strip_prefix(b".")?.strip_suffix(b".new")?;
    let (digits, gate_only) = rest.strip_suffix(b".gate").map_or((rest, false), |d| (d, true));
    let plain = digits.len() == 16 && digits.iter().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
    let nonce = u64::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| plain)?, 16).ok()?;
    Some(Found { name: CString::new(entry).ok()?, nonce, gate_only })
}

/// The nonce that a file has inside. None: it has none that can be believed.
fn nonce_of(file: &OwnedFd) -> Option<u64> {
    let words = file::read_words(file, 0).ok()?;
    (file::is_whole(&words) && words[0] == MAGIC).then_some(words[5])
}

/// Takes away what is left beside a namespace, where it is certain that nobody is at work on it. What cannot be looked at, or
/// is not what it should be, stays.
pub fn tidy(path: &Path, located: &Located) {
    let Located { dir, name, trust } = located;
    let entries = path.parent().and_then(|d| std::fs::read_dir(d).ok()).into_iter().flatten().flatten();
    let found: Vec<Found> = entries.filter_map(|e| parse(e.file_name().into_vec().as_slice(), name)).collect();
    if found.is_empty() {
        return;
    }
    let open = |n: &CString| trust.open(dir, n, &path.with_file_name(std::ffi::OsStr::from_bytes(n.as_bytes()))).ok()?.ok();
    let files: Vec<(&Found, OwnedFd)> = found.iter().filter_map(|f| Some((f, open(&f.name)?))).collect();
    // Of the namespace itself nothing is touched, whatever other names lead to a copy of it.
    let present = open(name).as_ref().and_then(nonce_of);
    let was_here = |nonce: u64, file: &OwnedFd| {
        let gate = file::gate_name(name, nonce).is_ok_and(|gate| sys::stat_at(dir.as_raw_fd(), &gate).is_ok());
        gate || file::read_words(file, RETIRED_AT).is_ok_and(|words| words[0] == 1)
    };
    for (f, file) in &files {
        let still_there = || {
            let there = sys::stat_at(dir.as_raw_fd(), &f.name).map(|s| (s.st_dev, s.st_ino)).ok();
            there.is_some() && there == sys::dev_ino(file)
        };
        if !sys::lock_file(file).unwrap_or(false) || !still_there() {
            continue;
        }
        let inside = nonce_of(file);
        let exchanged = inside.is_some_and(|n| n != f.nonce && Some(n) != present && was_here(n, file));
        match (f.gate_only, exchanged) {
            (true, _) => {}
            (_, true) => finish_reset(path, dir, name, file),
            // Not finished: nothing of it was ever anybody's, also where its header was not written yet.
            (_, false) if inside.is_none_or(|n| n == f.nonce) => {
                if let Ok(gate) = file::gate_name(name, f.nonce) {
                    sys::unlink_at(dir.as_raw_fd(), &gate);
                }
            }
            // A whole namespace under a name that looks like ours.
            _ => continue,
        }
        sys::unlink_at(dir.as_raw_fd(), &f.name);
        tracing::info!(name = %f.name.to_string_lossy(), "took away what a dead process had left");
    }
}

/// As `tidy`, for who has the place only.
pub fn tidy_at(path: &Path, own: bool, group: Option<String>) {
    let options = file::Options { create: false, group, ..file::Options::default() };
    if let Ok(Some(located)) = file::locate(path, own, &options) {
        tidy(path, &located);
    }
}

/// The name under which the gate of this name is made: `.NAME.NONCE.gate.new`, with a nonce of its own.
pub fn gate_in_the_making(gate: &CStr) -> Result<CString> {
    const END: usize = "0123456789abcdef.gate".len();
    let text = gate.to_string_lossy();
    c(format!("{}{:016x}.gate.new", &text[..text.len().saturating_sub(END)], sys::random()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_taken_for_ours() {
        let name = CString::new("ns").unwrap();
        let f = parse(b".ns.00000000000000ff.new", &name).unwrap();
        assert_eq!((f.nonce, f.gate_only), (255, false));
        assert!(parse(b".ns.00000000000000ff.gate.new", &name).unwrap().gate_only);
        for other in [
            ".ns.00000000000000ff.gate",
            ".ns.ff.new",
            ".other.00000000000000ff.new",
            ".ns.00000000000000FF.new",
            "ns",
            ".ns.new",
        ] {
            assert!(parse(other.as_bytes(), &name).is_none(), "{other}");
        }
    }
}
