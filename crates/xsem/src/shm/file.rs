//! Finding, making and checking the namespace file. Nothing here follows a link, and nothing that is not what it should
//! be is written to.

use super::descriptor::Descriptor;
use super::layout::{COPY_AT, Epoch, Geometry, Header, MAGIC, MAX_MEMBERS, MAX_SEMAPHORES, UNIT, VERSION, hash};
use super::map::{Map, fallocate};
use super::sys;
use crate::deadline::realtime;
use crate::error::{Code, Error, Result};
use crate::sync::{AtomicU64, Ordering::*};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Limits of a new namespace, and whether to make one.
#[derive(Clone, Debug)]
pub struct Options {
    /// 1 to 16,000,000.
    pub max_semaphores: u32,
    /// 1 to 2,040.
    pub max_members: u32,
    /// Make it where it does not exist.
    pub create: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { max_semaphores: 1 << 20, max_members: MAX_MEMBERS, create: true }
    }
}

/// What opening found.
pub enum Found<T> {
    /// This process has it open already. Its gate must not be opened again: closing that descriptor would drop the
    /// process's lock in it.
    Known(T),
    /// An open and checked file.
    New(Box<Opened>),
}

/// An open and checked namespace file.
pub struct Opened {
    pub map: Map,
    /// The file whose byte locks say which members may still be writing.
    pub gate: Descriptor,
    pub dev_ino: (u64, u64),
}

/// The path of what follows `shm:` in a URL.
pub fn path_of(place: &str) -> Result<PathBuf> {
    if place.starts_with('/') {
        return Ok(PathBuf::from(place));
    }
    let name = if place.is_empty() { "default" } else { place };
    let fits =
        name.len() <= 100 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) && !name.starts_with('.');
    if !fits {
        return Err(Error::new(Code::InvalidParameter, format!("`shm:{place}` is not the URL of a namespace"))
            .advice("use letters, digits, `-`, `_` and `.` (not first), or an absolute path: `shm:/path/to/file`"));
    }
    Ok(Path::new("/dev/shm").join(format!("xsem-{}", sys::euid())).join(name))
}

pub fn denied(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::new(Code::AccessDenied, format!("`{}` is not used: {why}", path.display()))
}

pub fn system(path: &Path, e: io::Error) -> Error {
    let code = match e.raw_os_error() {
        Some(libc::ENOSPC | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::EFBIG) => Code::NotEnoughMemory,
        _ => Code::AccessDenied,
    };
    Error::new(code, format!("`{}` cannot be used", path.display())).because(e)
}

pub fn c(text: impl AsRef<std::ffi::OsStr>) -> Result<CString> {
    CString::new(text.as_ref().as_bytes()).map_err(|_| Error::new(Code::InvalidParameter, "a path has a NUL byte"))
}

/// Opens the directory of the file, making the user's own one.
pub fn directory(path: &Path, own: bool, create: bool) -> Result<Option<OwnedFd>> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("/"));
    let cdir = c(dir)?;
    if own && create {
        // SAFETY: NUL-terminated path.
        if unsafe { libc::mkdir(cdir.as_ptr(), 0o700) } != 0 && sys::errno() != libc::EEXIST {
            return Err(system(dir, io::Error::last_os_error()));
        }
    }
    // For a path of the user's own choice, links on the way are the user's own choice, too.
    let fd = if own {
        sys::open_at(libc::AT_FDCWD, &cdir, libc::O_RDONLY | libc::O_DIRECTORY, 0)
    } else {
        std::fs::File::open(dir).map(OwnedFd::from)
    };
    let fd = match fd {
        Ok(fd) => fd,
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) && !create => return Ok(None),
        Err(e) if own && matches!(e.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR)) => {
            return Err(denied(dir, "it is not a directory").advice(format!("see who made it: `ls -ld {}`", dir.display())));
        }
        Err(e) => return Err(system(dir, e)),
    };
    let s = sys::fstat(&fd).map_err(|e| system(dir, e))?;
    if s.st_mode & libc::S_IFMT != libc::S_IFDIR {
        return Err(denied(dir, "it is not a directory"));
    }
    if own && s.st_uid != sys::euid() {
        return Err(denied(dir, format!("it belongs to {}, not to you", sys::user_name(s.st_uid)))
            .advice("somebody else made your directory; have it removed, or use `shm:/path/to/file`"));
    }
    if s.st_mode & 0o002 != 0 && s.st_mode & libc::S_ISVTX == 0 || own && s.st_mode & 0o022 != 0 {
        return Err(denied(dir, format!("others may write into it (mode {:o})", s.st_mode & 0o7777))
            .advice(format!("`chmod go-w {}`", dir.display())));
    }
    Ok(Some(fd))
}

/// Opens or makes the namespace. None: it does not exist and shall not be made. `known` finds what this process has open
/// by device and inode.
pub fn open<T>(path: &Path, own: bool, options: &Options, known: impl Fn((u64, u64)) -> Option<T>) -> Result<Option<Found<T>>> {
    if !(1..=MAX_SEMAPHORES).contains(&options.max_semaphores) || !(1..=MAX_MEMBERS).contains(&options.max_members) {
        return Err(Error::new(Code::InvalidParameter, "a limit of the namespace is out of range")
            .advice(format!("1 to {MAX_SEMAPHORES} semaphores and 1 to {MAX_MEMBERS} members are allowed")));
    }
    let Some(dir) = directory(path, own, options.create)? else { return Ok(None) };
    let name = path.file_name().ok_or_else(|| denied(path, "it has no file name"))?;
    let cname = c(name)?;
    for _ in 0..100 {
        match sys::open_at(dir.as_raw_fd(), &cname, libc::O_RDWR | libc::O_NONBLOCK, 0) {
            Ok(file) => match check(path, &dir, &cname, file, &known)? {
                Some(found) => return Ok(Some(found)),
                None => continue,
            },
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                if !options.create {
                    return Ok(None);
                }
                make(path, &dir, &cname, options)?;
            }
            Err(e) if e.raw_os_error() == Some(libc::ELOOP) => return Err(denied(path, "it is a symbolic link")),
            Err(e) => return Err(system(path, e)),
        }
    }
    Err(denied(path, "it is replaced again and again while it is opened"))
}

pub fn gate_name(name: &CString, nonce: u64) -> Result<CString> {
    c(format!(".{}.{nonce:016x}.gate", name.to_string_lossy()))
}

/// Makes the file under a name of its own, complete, and then gives it its name, unless somebody was faster.
fn make(path: &Path, dir: &OwnedFd, name: &CString, options: &Options) -> Result<()> {
    let geo = Geometry::new(options.max_semaphores, options.max_members);
    if sys::file_size_limit() < geo.len {
        // Asking the kernel would end the process, by SIGXFSZ.
        return Err(Error::new(
            Code::NotEnoughMemory,
            format!("`{}` cannot be made: a limit on file sizes is below its {} MiB", path.display(), geo.len >> 20),
        )
        .advice("raise it (`ulimit -f`): the file is sparse, but the limit counts all of it; or ask for fewer semaphores"));
    }
    let nonce = sys::random();
    let temp = c(format!(".{}.{nonce:016x}.new", name.to_string_lossy()))?;
    let gate = gate_name(name, nonce)?;
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
    let unlink = |n: &CString| {
        // SAFETY: NUL-terminated name.
        unsafe { libc::unlinkat(dir.as_raw_fd(), n.as_ptr(), 0) };
    };
    let build = || -> Result<bool> {
        let gate_file = sys::open_at(dir.as_raw_fd(), &gate, flags, 0o600).map_err(|e| system(path, e))?;
        let file = sys::open_at(dir.as_raw_fd(), &temp, flags, 0o600).map_err(|e| system(path, e))?;
        for f in [&gate_file, &file] {
            // The mode is set again because of a umask or a default ACL that took or gave more.
            // SAFETY: plain numbers.
            if unsafe { libc::fchmod(f.as_raw_fd(), 0o600) } != 0 {
                return Err(system(path, io::Error::last_os_error()));
            }
        }
        // SAFETY: plain numbers.
        if unsafe { libc::ftruncate(file.as_raw_fd(), geo.len as i64) } != 0 {
            return Err(system(path, io::Error::last_os_error()));
        }
        let stat = sys::fstat(&file).map_err(|e| system(path, e))?;
        fallocate(&file, 0, geo.slots_at)?;
        let map = Map::new(file, path, geo)?;
        let h = map.header();
        h.magic.store(MAGIC, Relaxed);
        h.version.store(VERSION, Relaxed);
        h.file_len.store(geo.len, Relaxed);
        h.max_semaphores.store(geo.max_semaphores as u64, Relaxed);
        h.max_members.store(geo.max_members as u64, Relaxed);
        h.nonce.store(nonce, Relaxed);
        h.created.store(realtime(), Relaxed);
        let words = identity(h).map(|w| w.load(Relaxed));
        h.checksum.store(hash(words[..7].iter().flat_map(|w| w.to_le_bytes())), Relaxed);
        for (copy, word) in map.head_copy().words.iter().zip(identity(h)) {
            copy.store(word.load(Relaxed), Relaxed);
        }
        write_epoch(&h.epochs[0], 0, (stat.st_dev, stat.st_ino));
        map.ensure(0, geo.slots_at)?;
        map.ensure(geo.morgue_at, geo.history_at - geo.morgue_at)?;
        // SAFETY: two NUL-terminated names in one directory.
        let r = unsafe {
            libc::syscall(
                libc::SYS_renameat2,
                dir.as_raw_fd(),
                temp.as_ptr(),
                dir.as_raw_fd(),
                name.as_ptr(),
                libc::RENAME_NOREPLACE,
            )
        };
        match if r == 0 { 0 } else { sys::errno() } {
            0 => Ok(true),
            libc::EEXIST => Ok(false),
            e => Err(system(path, io::Error::from_raw_os_error(e))),
        }
    };
    let made = build();
    if !matches!(made, Ok(true)) {
        unlink(&temp);
        unlink(&gate);
    }
    made.map(|_| ())
}

/// What identifies the file: its first eight words, the checksum among them.
pub fn identity(h: &Header) -> [&AtomicU64; 8] {
    [&h.magic, &h.version, &h.file_len, &h.max_semaphores, &h.max_members, &h.nonce, &h.created, &h.checksum]
}

/// 1306.
pub fn other_version(path: &Path, version: u64) -> Error {
    Error::new(
        Code::RevisionMismatch,
        format!("`{}` has version {version} of the format; this program knows version {VERSION}", path.display()),
    )
    .advice("use the same release of xsem everywhere; nothing was changed")
}

/// Whether these are the first words of a namespace file, of whatever version, as they were written.
pub fn is_whole(words: &[u64; 8]) -> bool {
    words[0] == MAGIC && hash(words[..7].iter().flat_map(|w| w.to_le_bytes())) == words[7]
}

/// The low bits of the epoch of members that live for certain: they say so, and have their lock. None: there are none.
pub fn epoch_of_the_living(map: &Map, has_lock: impl Fn(u32) -> bool) -> Option<u8> {
    (0..map.slots()).find_map(|i| {
        let main = map.row(i)?[0].load(Acquire);
        (super::members::is_alive(main) && has_lock(i)).then(|| super::members::epoch(main))
    })
}

fn write_epoch(e: &Epoch, number: u64, dev_ino: (u64, u64)) {
    let boot = sys::boot_id();
    e.boot[0].store(boot[0], Relaxed);
    e.boot[1].store(boot[1], Relaxed);
    e.dev.store(dev_ino.0, Relaxed);
    e.ino.store(dev_ino.1, Relaxed);
    e.number.store(number, Release);
}

/// 5, unless the file is what a namespace's file is from outside: regular, the user's own, closed to others, with one link.
pub fn allowed(path: &Path, s: &libc::stat) -> Result<()> {
    if s.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(denied(path, "it is not a regular file"));
    }
    if s.st_uid != sys::euid() {
        return Err(denied(path, format!("it belongs to {}", sys::user_name(s.st_uid))));
    }
    if s.st_mode & 0o077 != 0 {
        return Err(denied(path, format!("others may use it (mode {:o})", s.st_mode & 0o7777))
            .advice(format!("`chmod 600 {}`", path.display())));
    }
    if s.st_nlink != 1 {
        return Err(denied(path, format!("it has {} hard links; exactly one is right", s.st_nlink)));
    }
    Ok(())
}

/// Checks everything that can be checked before the first word is believed. None: it was replaced meanwhile.
fn check<T>(
    path: &Path,
    dir: &OwnedFd,
    name: &CString,
    file: OwnedFd,
    known: impl Fn((u64, u64)) -> Option<T>,
) -> Result<Option<Found<T>>> {
    let s = sys::fstat(&file).map_err(|e| system(path, e))?;
    if s.st_nlink == 0 {
        return Ok(None);
    }
    allowed(path, &s)?;
    let dev_ino = (s.st_dev, s.st_ino);
    if let Some(k) = known(dev_ino) {
        return Ok(Some(Found::Known(k)));
    }
    let damaged = |why: String| {
        Error::new(Code::FileCorrupt, format!("`{}` is damaged: {why}", path.display()))
            .advice("nothing was changed; move the file away when no process uses it any more, and it is made anew")
    };
    let len = s.st_size as u64;
    if len < UNIT {
        return Err(damaged(format!("it has {len} bytes, fewer than a header")));
    }
    let head = read_words(&file, 0).map_err(|e| system(path, e))?;
    if head[0] != MAGIC {
        return Err(damaged("it does not begin as a namespace file".into()));
    }
    if head[1] != VERSION {
        let copy = read_words(&file, COPY_AT).map_err(|e| system(path, e))?;
        // The second copy says whether it is another version, or damage.
        if !(is_whole(&copy) && copy[1] == VERSION) {
            return Err(other_version(path, head[1]));
        }
    }
    if !is_whole(&head) {
        return Err(damaged("the checksum of its header is wrong".into()));
    }
    let (semaphores, members) = (head[3], head[4]);
    if !(1..=MAX_SEMAPHORES as u64).contains(&semaphores) || !(1..=MAX_MEMBERS as u64).contains(&members) {
        return Err(damaged("its limits are out of range".into()));
    }
    let geo = Geometry::new(semaphores as u32, members as u32);
    if geo.len != head[2] || geo.len != len {
        return Err(damaged(format!("it has {len} bytes where {} belong", geo.len)));
    }
    let map = Map::new(file, path, geo)?;
    let current = epoch_is_current(&map, dev_ino);
    let gate_name = gate_name(name, head[5])?;
    // A copied file comes without its gate; then nobody can be writing, and it gets one.
    let flags = libc::O_RDWR | if current { 0 } else { libc::O_CREAT };
    let gate = match sys::open_at(dir.as_raw_fd(), &gate_name, flags, 0o600) {
        Ok(g) => g,
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
            return Err(damaged(format!("its gate file `{}` is missing", gate_name.to_string_lossy())));
        }
        Err(e) => return Err(system(path, e)),
    };
    let g = sys::fstat(&gate).map_err(|e| system(path, e))?;
    if g.st_mode & libc::S_IFMT != libc::S_IFREG || g.st_uid != sys::euid() || g.st_mode & 0o077 != 0 || g.st_nlink != 1 {
        return Err(denied(path, format!("its gate file `{}` is not what it should be", gate_name.to_string_lossy())));
    }
    if !current {
        // After a restart nobody has a lock, and a copy has a gate of its own.
        let has_lock = |slot: u32| sys::byte_is_locked(gate.as_raw_fd(), slot as u64).unwrap_or(false);
        if epoch_of_the_living(&map, has_lock).is_some() && !epoch_is_current(&map, dev_ino) {
            return Err(damaged("its epoch is over, and processes of it live".into()));
        }
        renew_epoch(&map, dev_ino);
    }
    let gate_path = path.with_file_name(std::ffi::OsStr::from_bytes(gate_name.as_bytes()));
    let gate = Descriptor::new(gate, &gate_path).map_err(|e| system(path, e))?;
    Ok(Some(Found::New(Box::new(Opened { map, gate, dev_ino }))))
}

/// Eight words of the file.
pub fn read_words(file: &OwnedFd, at: u64) -> io::Result<[u64; 8]> {
    let mut bytes = [0u8; 64];
    // SAFETY: 64 writable bytes.
    let n = unsafe { libc::pread(file.as_raw_fd(), bytes.as_mut_ptr().cast(), 64, at as i64) };
    if n != 64 {
        return Err(if n < 0 { io::Error::last_os_error() } else { io::ErrorKind::UnexpectedEof.into() });
    }
    Ok(std::array::from_fn(|i| u64::from_le_bytes(std::array::from_fn(|k| bytes[i * 8 + k]))))
}

/// Whether the file was made, or last renewed, by this boot of the machine and as this very inode.
pub fn epoch_is_current(map: &Map, dev_ino: (u64, u64)) -> bool {
    let h = map.header();
    let current = h.epoch.load(Acquire);
    let e = &h.epochs[current as usize % 4];
    e.number.load(Acquire) == current
        && e.dev.load(Relaxed) == dev_ino.0
        && e.ino.load(Relaxed) == dev_ino.1
        && same_boot([e.boot[0].load(Relaxed), e.boot[1].load(Relaxed)], sys::boot_id())
}

/// Where one side could not read it (a hidden /proc), nothing speaks for a restart; shared memory does not survive one.
fn same_boot(a: [u64; 2], b: [u64; 2]) -> bool {
    a == b || a == [0, 0] || b == [0, 0]
}

/// Begins a new epoch after a restart of the machine, or on a copied file: all members in it are dead. Whoever comes
/// does it, and several may do it at once.
fn renew_epoch(map: &Map, dev_ino: (u64, u64)) {
    let h = map.header();
    let current = h.epoch.load(Acquire);
    if epoch_is_current(map, dev_ino) {
        return;
    }
    let next = current.wrapping_add(1);
    write_epoch(&h.epochs[next as usize % 4], next, dev_ino);
    for i in 0..map.slots() {
        if let Some(row) = map.row(i) {
            super::members::bury_other_epoch(&row[0], next as u8);
        }
    }
    // Fails when another one has done the same; then the work was the same, too.
    let _ = h.epoch.compare_exchange(current, next, AcqRel, Acquire);
}
