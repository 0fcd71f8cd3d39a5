//! Whether a file that this process has open is still the namespace; and what is said where it is not.

use super::fault::Loss;
use super::map::Map;
use super::sys;
use crate::error::{Code, Error};
use std::ffi::CStr;
use std::path::Path;

/// What a look at the file came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the namespace (None), or not any more.
    As(Option<Loss>),
    /// It cannot be looked at.
    Unknown,
}

/// Looks at the file by its path; `closely`: also at the room that it has. Takes no memory and no descriptor.
pub fn of(place: &CStr, dev_ino: (u64, u64), map: &Map, closely: bool) -> Standing {
    let _whole = sys::whole();
    let marked = if closely { map.marked() } else { 0 };
    let s = match sys::lstat(place) {
        Ok(s) => s,
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Standing::As(Some(Loss::Gone)),
        Err(_) => return Standing::Unknown,
    };
    Standing::As(match () {
        () if (s.st_dev, s.st_ino) != dev_ino => Some(Loss::Replaced),
        () if (s.st_size as u64) < map.geo.len => Some(Loss::Truncated),
        () if !map.has_its_header() || !map.is_present(0) => Some(Loss::Header),
        () if !map.is_whole(marked, &s) => Some(Loss::Overwritten),
        () => None,
    })
}

/// The error for it.
pub fn lost(path: &Path, loss: Loss) -> Error {
    let p = path.display();
    let name = |what: &str| {
        Error::new(Code::InvalidHandle, format!("the namespace file `{p}` was {what} while this process used it"))
            .advice("what it holds it may give back; restart the program to use the file that is there then (`xsem ls` shows it)")
    };
    let damage = |what: &str| {
        Error::new(Code::FileCorrupt, format!("the namespace file `{p}` is damaged: {what}"))
            .advice("end the programs that use it; `xsem check` says what is damaged, `xsem repair` mends what can be mended, `xsem reset` begins anew; check what its semaphores protected")
    };
    match loss {
        Loss::Gone => name("removed or moved away"),
        Loss::Replaced => name("replaced by another one"),
        Loss::Truncated => damage("it was truncated by somebody while it was in use"),
        Loss::Overwritten => damage("parts of it were cut off while it was in use"),
        Loss::Header => Error::new(
            Code::FileCorrupt,
            format!("the namespace file `{p}` is damaged: its header was overwritten while it was in use"),
        )
        .advice("`xsem check` says what is damaged, `xsem repair` puts it back"),
        Loss::NoPage => damage("a page of it could not be had: its memory failed, or room that was taken is gone"),
    }
}

/// 1392 for something that was found in the file and cannot be.
pub fn damaged(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(Code::FileCorrupt, format!("the namespace file `{}` is damaged: {what}", path.display()))
        .advice("others go on as far as what they need is whole; `xsem check` says what is damaged, `xsem repair` mends it")
}
