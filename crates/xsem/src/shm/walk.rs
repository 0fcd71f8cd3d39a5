//! The way to a namespace's directory, part by part from the root. Whoever may rename something on the way can put another
//! file in the place of the right one, and then two processes take one semaphore: so each part, and each link, must belong to
//! somebody who is trusted, and nobody else may write there.

use super::sys;
use super::trust::{Trust, c, denied, system};
use crate::error::Result;
use std::collections::VecDeque;
use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

const LOOK: i32 = libc::O_PATH | libc::O_CLOEXEC;

/// The directory at `dir`, for use with names in it (it is not open for reading). None: it is not there.
pub fn directory(dir: &Path, trust: &Trust) -> Result<Option<OwnedFd>> {
    let root = || sys::open_at(libc::AT_FDCWD, c"/", LOOK | libc::O_DIRECTORY, 0).map_err(|e| system(Path::new("/"), e));
    let mut here = root()?;
    let mut at = PathBuf::from("/");
    check(&here, &at, trust)?;
    let mut todo: VecDeque<OsString> = parts(dir);
    let mut links = 0;
    while let Some(part) = todo.pop_front() {
        let full = at.join(&part);
        let name = c(&part)?;
        let next = match sys::open_at(here.as_raw_fd(), &name, LOOK, 0) {
            Ok(fd) => fd,
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            Err(e) => return Err(system(&full, e)),
        };
        let s = sys::fstat(&next).map_err(|e| system(&full, e))?;
        match s.st_mode & libc::S_IFMT {
            libc::S_IFDIR => {
                check(&next, &full, trust)?;
                (here, at) = (next, if part == ".." { at.parent().unwrap_or(&at).to_owned() } else { full });
            }
            libc::S_IFLNK => {
                links += 1;
                if links > 40 {
                    return Err(denied(dir, "too many symbolic links on the way").advice("see where they lead: `namei -l`"));
                }
                if !trust.trusts(s.st_uid) {
                    return Err(denied(dir, foreign("the link", &full, s.st_uid)).advice("give the path without that link"));
                }
                if sys::is_proc(&here) {
                    // What such a link says is not where it leads.
                    here = follow(&here, &name).map_err(|e| system(&full, e))?;
                    check(&here, &full, trust)?;
                    at = full;
                    continue;
                }
                let target = sys::read_link(&next).map_err(|e| system(&full, e))?;
                if target.has_root() {
                    (here, at) = (root()?, PathBuf::from("/"));
                }
                parts(&target).into_iter().rev().for_each(|p| todo.push_front(p));
            }
            _ => {
                return Err(denied(dir, format!("`{}` is not a directory", full.display())).advice("name a file in a directory"));
            }
        }
    }
    Ok(Some(here))
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |c: Component| match c {
        Component::Normal(p) => Some(p.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        _ => None,
    };
    path.components().filter_map(part).collect()
}

fn follow(dir: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    sys::open_following(dir.as_raw_fd(), name, LOOK | libc::O_DIRECTORY)
}

fn foreign(what: &str, at: &Path, uid: u32) -> String {
    format!("{what} `{}` on the way belongs to {}, who could put another file in its place", at.display(), sys::user_name(uid))
}

/// A directory on the way, or the last one.
fn check(fd: &OwnedFd, at: &Path, trust: &Trust) -> Result<()> {
    let s = sys::fstat(fd).map_err(|e| system(at, e))?;
    let (mode, shown) = (s.st_mode & 0o7777, at.display());
    if !trust.trusts(s.st_uid) {
        return Err(denied(at, format!("it belongs to {}, who could put other files into it", sys::user_name(s.st_uid)))
            .advice(format!("use a directory that belongs to {}", trust.circle())));
    }
    // In a sticky directory nobody can rename or remove what belongs to somebody else.
    if mode & libc::S_ISVTX != 0 {
        return Ok(());
    }
    if mode & 0o002 != 0 {
        return Err(denied(at, format!("everybody may write into it (mode {mode:o}), and replace what lies there"))
            .advice(format!("`chmod o-w {shown}`, or `chmod +t {shown}`")));
    }
    if mode & 0o020 != 0 && !trust.trusts_group(s.st_gid) {
        let group = super::accounts::group_name(s.st_gid);
        return Err(denied(at, format!("the group {group} may write into it (mode {mode:o}), and replace what lies there"))
            .advice(format!("`chmod g-w {shown}`; or share the namespace with that group: `?group={group}`")));
    }
    Ok(())
}
