//! Whom a namespace is shared with, and what its files must be like for that: owner, group, mode, links. Each is looked at
//! before it is opened for anything (a device may do something when it is opened), and again when it is open.

use super::accounts::{Group, group_name};
use super::sys;
use crate::error::{Code, Error, Result};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Who may be trusted: the user, and the group that was asked for.
#[derive(Clone, Debug)]
pub struct Trust {
    euid: u32,
    /// Whoever owns `/` can do anything to this process. It is root, or, in a user namespace, somebody who has no number there.
    root: u32,
    group: Option<Group>,
}

/// An error about a file that is not what it should be.
pub fn denied(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::new(Code::AccessDenied, format!("`{}` is not used: {why}", path.display()))
}

/// An error of the system about a file.
pub fn system(path: &Path, e: io::Error) -> Error {
    let (code, advice) = match e.raw_os_error() {
        Some(libc::EMFILE) => (Code::NotEnoughMemory, "raise the limit on descriptors (`ulimit -n`), or close what leaks"),
        Some(libc::ENFILE) => (Code::NotEnoughMemory, "the whole machine has no descriptor left (`sysctl fs.file-max`)"),
        Some(libc::ENOSPC | libc::EDQUOT) => (Code::NotEnoughMemory, "free room or inodes there (`df -h`, `df -i`)"),
        Some(libc::ENOMEM) => (Code::NotEnoughMemory, "free memory (`free -m`, the cgroup's `memory.max`), and try again"),
        Some(libc::ENOLCK) => (Code::NotEnoughMemory, "the system gives no more file locks (`wc -l /proc/locks`, `ulimit -x`)"),
        Some(libc::EFBIG) => (Code::NotEnoughMemory, "raise the limit on file sizes (`ulimit -f`)"),
        Some(libc::EROFS) => (Code::AccessDenied, "the file system is read-only; use a namespace on another one"),
        _ => (Code::AccessDenied, "see who may use each part of the path: `namei -l`"),
    };
    Error::new(code, format!("`{}` cannot be used", path.display())).because(e).advice(advice)
}

/// A text as the system takes it.
pub fn c(text: impl AsRef<std::ffi::OsStr>) -> Result<CString> {
    CString::new(text.as_ref().as_bytes()).map_err(|_| Error::new(Code::InvalidParameter, "a path has a NUL byte"))
}

impl Trust {
    /// The user's own, or shared with the group of this name or number.
    pub fn new(group: Option<&str>) -> Result<Trust> {
        let group = match group {
            None => None,
            Some(name) => Some(Group::find(name).ok_or_else(|| {
                Error::new(Code::InvalidParameter, format!("there is no group `{name}`"))
                    .advice("name one that exists (`getent group`), or give its number")
            })?),
        };
        let root = sys::stat_at(libc::AT_FDCWD, c"/").map_or(0, |s| s.st_uid);
        Ok(Trust { euid: sys::euid(), root, group })
    }

    /// Whether a user may own what lies on the way, or a file that is shared with the group. Who is in the group may write to
    /// the file anyhow, so being its owner adds nothing; somebody else could have made it, and would keep the access.
    pub fn trusts(&self, uid: u32) -> bool {
        uid == self.euid || uid == 0 || uid == self.root || self.group.as_ref().is_some_and(|g| g.has_member(uid))
    }

    /// Whether a directory's group may write to it: the one that was asked for, or the one that the caller acts for.
    pub fn trusts_group(&self, gid: u32) -> bool {
        gid == 0 || gid == super::accounts::egid() || self.group.as_ref().is_some_and(|g| g.gid == gid)
    }

    /// Who that is, for people.
    pub fn circle(&self) -> String {
        match &self.group {
            None => "you and root".to_owned(),
            Some(g) => format!("you, root and the group {}", g.name),
        }
    }

    fn mode(&self) -> u32 {
        if self.group.is_some() { 0o660 } else { 0o600 }
    }

    /// A file that is there: looked at, then opened, then looked at again. An error of the system (as that it is not there) is
    /// the inner one.
    pub fn open(&self, dir: &OwnedFd, name: &CStr, path: &Path) -> Result<io::Result<OwnedFd>> {
        let seen = match sys::stat_at(dir.as_raw_fd(), name) {
            Ok(s) => s,
            Err(e) => return Ok(Err(e)),
        };
        self.check(&seen, path)?;
        let file = match sys::open_at(dir.as_raw_fd(), name, libc::O_RDWR | libc::O_NONBLOCK | libc::O_NOCTTY, 0) {
            Ok(f) => f,
            Err(e) if e.raw_os_error() == Some(libc::EACCES) => return Err(self.closed(path, e)),
            Err(e) => return Ok(Err(e)),
        };
        let s = sys::fstat(&file).map_err(|e| system(path, e))?;
        if s.st_nlink == 0 {
            // Replaced since it was opened: the caller looks again.
            return Ok(Err(io::ErrorKind::NotFound.into()));
        }
        self.check(&s, path)?;
        if self.group.is_some() && sys::has_acl(&file) {
            return Err(denied(path, "an access control list lets others use it")
                .advice(format!("see whom: `getfacl {0}`; take it away: `setfacl -b {0}`", path.display())));
        }
        Ok(Ok(file))
    }

    fn closed(&self, path: &Path, e: io::Error) -> Error {
        match &self.group {
            Some(g) if !g.is_mine() => denied(path, format!("it is for the group {}, and you are not in it", g.name))
                .because(e)
                .advice("have yourself added to the group and log in again (`id` shows your groups)"),
            _ => system(path, e),
        }
    }

    /// What a file must be like.
    fn check(&self, s: &libc::stat, path: &Path) -> Result<()> {
        let (mode, at) = (s.st_mode & 0o7777, path.display());
        let what = match s.st_mode & libc::S_IFMT {
            libc::S_IFREG => None,
            libc::S_IFLNK => Some("a symbolic link"),
            libc::S_IFIFO => Some("a FIFO"),
            libc::S_IFSOCK => Some("a socket"),
            libc::S_IFDIR => Some("a directory"),
            _ => Some("a device"),
        };
        if let Some(what) = what {
            let owner = sys::user_name(s.st_uid);
            return Err(denied(path, format!("it is not a regular file but {what}, which belongs to {owner}"))
                .advice("nothing was opened; name the file itself, or see who has put that there"));
        }
        match &self.group {
            None if s.st_uid != self.euid => {
                let mut e = denied(path, format!("it belongs to {}", sys::user_name(s.st_uid)));
                e = match mode & 0o070 {
                    0 => e.advice("use a namespace of your own, or run as its owner"),
                    _ => e.advice(asked(path, s.st_gid)),
                };
                return Err(e);
            }
            None if mode & 0o077 == 0o060 => {
                return Err(denied(path, format!("others may use it (mode {mode:o})"))
                    .advice(format!("`chmod 600 {at}`; or, if it is shared on purpose, {}", asked(path, s.st_gid))));
            }
            None if mode & 0o077 != 0 => {
                return Err(denied(path, format!("others may use it (mode {mode:o})")).advice(format!("`chmod 600 {at}`")));
            }
            Some(g) if s.st_gid != g.gid => {
                return Err(denied(path, format!("it is of the group {}, not {}", group_name(s.st_gid), g.name))
                    .advice("name its group, or use another file; `chgrp` changes it where no process uses it"));
            }
            Some(g) if mode != 0o660 => {
                return Err(denied(path, format!("its mode is {mode:o}, where 660 belongs for the group {}", g.name))
                    .advice(format!("`chmod 660 {at}` where it shall be shared; leave `?group=` away where not")));
            }
            Some(g) if !self.trusts(s.st_uid) => {
                let owner = sys::user_name(s.st_uid);
                return Err(denied(path, format!("it belongs to {owner}, who is not in the group {}", g.name))
                    .advice(format!("add {owner} to the group, or have it removed")));
            }
            _ => {}
        }
        match s.st_nlink {
            0 | 1 => Ok(()),
            n => Err(denied(path, format!("it has {n} hard links; exactly one is right"))
                .advice(format!("find the other one: `find DIRECTORY -xdev -inum {}`", s.st_ino))),
        }
    }

    /// Makes a file that must not be there yet, for those who are trusted and nobody else.
    pub fn make(&self, dir: &OwnedFd, name: &CStr, path: &Path) -> Result<OwnedFd> {
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
        let file = sys::open_at(dir.as_raw_fd(), name, flags, 0o600).map_err(|e| system(path, e))?;
        let done = self.dress(&file, path);
        if done.is_err() {
            sys::unlink_at(dir.as_raw_fd(), name);
        }
        done.map(|()| file)
    }

    /// The group, and the mode: a umask or a default ACL may have taken or given more.
    fn dress(&self, file: &OwnedFd, path: &Path) -> Result<()> {
        if let Some(g) = &self.group {
            sys::remove_acl(file);
            // SAFETY: plain numbers.
            if unsafe { libc::fchown(file.as_raw_fd(), u32::MAX, g.gid) } != 0 {
                let e = io::Error::last_os_error();
                return Err(denied(path, format!("it cannot be given to the group {}", g.name))
                    .because(e)
                    .advice("only a member of the group can make it (`id` shows your groups)"));
            }
        }
        // SAFETY: plain numbers.
        match unsafe { libc::fchmod(file.as_raw_fd(), self.mode()) } {
            0 => Ok(()),
            _ => Err(system(path, io::Error::last_os_error())),
        }
    }
}

fn asked(path: &Path, gid: u32) -> String {
    format!("ask for its group: `shm:{}?group={}`", path.display(), group_name(gid))
}
