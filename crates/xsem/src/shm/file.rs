//! Finding, making and checking the namespace file. Nothing here follows a link, and nothing that is not what it should
//! be is written to.

use super::descriptor::Descriptor;
use super::layout::{COPY_AT, Epoch, Geometry, Header, MAGIC, MAX_MEMBERS, MAX_SEMAPHORES, UNIT, VERSION, hash};
use super::leftover::{self, Mine};
use super::map::{Map, fallocate};
use super::trust::{Trust, c, denied, system};
use super::{filesystem, sys, walk};
use crate::deadline::realtime;
use crate::error::{Code, Error, Result};
use crate::sync::{AtomicU64, Ordering::*};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Limits of a new namespace, and whether to make one.
#[derive(Clone, Debug)]
pub struct Options {
    /// 1 to 16,000,000.
    pub max_semaphores: u32,
    /// 1 to 2,040.
    pub max_members: u32,
    /// Make it where it does not exist.
    pub create: bool,
    /// Install a handler for SIGBUS, which a file that is cut off under its users gives.
    pub survive_bus_errors: bool,
    /// The group that shares it: its name or number. None: it is the user's own.
    pub group: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options { max_semaphores: 1 << 20, max_members: MAX_MEMBERS, create: true, survive_bus_errors: true, group: None }
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

/// The user's own directory in the usual place, made where it shall be.
fn own_directory(path: &Path, trust: &Trust, create: bool) -> Result<Option<OwnedFd>> {
    let (parent, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
    let Some(shm) = walk::directory(parent, trust)? else {
        return Err(system(parent, io::ErrorKind::NotFound.into())
            .advice("mount a tmpfs there (`mount -t tmpfs tmpfs /dev/shm`), or use `shm:/path/to/file`"));
    };
    let name = c(name)?;
    let seen = match sys::stat_at(shm.as_raw_fd(), &name) {
        Ok(s) => s,
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) && !create => return Ok(None),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
            // SAFETY: NUL-terminated name.
            match unsafe { libc::mkdirat(shm.as_raw_fd(), name.as_ptr(), 0o700) } {
                // A umask may have taken more. In a sticky directory nobody can have put another one there.
                // SAFETY: as above.
                0 => unsafe { libc::fchmodat(shm.as_raw_fd(), name.as_ptr(), 0o700, 0) },
                _ if sys::errno() == libc::EEXIST => 0,
                _ => return Err(system(path, io::Error::last_os_error())),
            };
            sys::stat_at(shm.as_raw_fd(), &name).map_err(|e| system(path, e))?
        }
        Err(e) => return Err(system(path, e)),
    };
    check_own(&seen, path)?;
    let dir = sys::open_at(shm.as_raw_fd(), &name, libc::O_PATH | libc::O_DIRECTORY, 0).map_err(|e| system(path, e))?;
    check_own(&sys::fstat(&dir).map_err(|e| system(path, e))?, path)?;
    Ok(Some(dir))
}

/// Anybody may make a name in `/dev/shm` before its user does.
fn check_own(s: &libc::stat, dir: &Path) -> Result<()> {
    // Asked for only where it is told: the user database may be on another machine.
    let (owner, mode) = (|| sys::user_name(s.st_uid), s.st_mode & 0o7777);
    if s.st_mode & libc::S_IFMT != libc::S_IFDIR {
        return Err(denied(dir, format!("it is not a directory; it belongs to {}", owner()))
            .advice(format!("have it removed (`ls -ld {}` shows it), or use `shm:/path/to/file`", dir.display())));
    }
    if s.st_uid != sys::euid() {
        return Err(denied(dir, format!("it belongs to {}, not to you", owner()))
            .advice("somebody else made your directory; have it removed, or use `shm:/path/to/file`"));
    }
    if mode & 0o077 != 0 {
        return Err(denied(dir, format!("others may enter it (mode {mode:o})")).advice(format!("`chmod 700 {}`", dir.display())));
    }
    Ok(())
}

/// Where a namespace's file is, or would be.
pub struct Located {
    pub dir: OwnedFd,
    pub name: CString,
    pub trust: Trust,
}

/// Finds the directory of the file. None: it does not exist and shall not be made.
pub fn locate(path: &Path, own: bool, options: &Options) -> Result<Option<Located>> {
    let trust = Trust::new(options.group.as_deref())?;
    let unnamed = || denied(path, "it has no file name").advice("name a file: `shm:/path/to/file`");
    let name = c(path.file_name().ok_or_else(unnamed)?)?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    let dir = if own { own_directory(parent, &trust, options.create)? } else { walk::directory(parent, &trust)? };
    let dir = match dir {
        Some(dir) => dir,
        None if options.create => {
            return Err(system(parent, io::Error::from_raw_os_error(libc::ENOENT)).advice("make it first (`mkdir`)"));
        }
        None => return Ok(None),
    };
    filesystem::check(&dir, path)?;
    Ok(Some(Located { dir, name, trust }))
}

/// Opens or makes the namespace. None: it does not exist and shall not be made. `known` finds what this process has open
/// by device and inode.
pub fn open<T>(path: &Path, own: bool, options: &Options, known: impl Fn((u64, u64)) -> Option<T>) -> Result<Option<Found<T>>> {
    if !(1..=MAX_SEMAPHORES).contains(&options.max_semaphores) || !(1..=MAX_MEMBERS).contains(&options.max_members) {
        return Err(Error::new(Code::InvalidParameter, "a limit of the namespace is out of range")
            .advice(format!("1 to {MAX_SEMAPHORES} semaphores and 1 to {MAX_MEMBERS} members are allowed")));
    }
    let Some(located) = locate(path, own, options)? else { return Ok(None) };
    let Located { dir, name: cname, trust } = &located;
    for _ in 0..100 {
        match trust.open(dir, cname, path)? {
            Ok(file) => match check(path, dir, cname, file, trust, &known)? {
                Some(found) => return Ok(Some(found)),
                None => continue,
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                if !options.create {
                    return Ok(None);
                }
                leftover::tidy(path, &located);
                make(path, dir, cname, trust, options)?;
            }
            Err(e) => return Err(system(path, e)),
        }
    }
    Err(denied(path, "it is replaced again and again while it is opened"))
}

pub fn gate_name(name: &CString, nonce: u64) -> Result<CString> {
    c(format!(".{}.{nonce:016x}.gate", name.to_string_lossy()))
}

/// Makes the file under a name of its own, complete, and then gives it its name, unless somebody was faster.
fn make(path: &Path, dir: &OwnedFd, name: &CString, trust: &Trust, options: &Options) -> Result<()> {
    construct(path, dir, name, trust, options, |temp| match sys::rename_at(dir.as_raw_fd(), temp, name) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(e) => Err(system(path, e)),
    })
    .map(|_| ())
}

/// Makes a complete file under a name of its own; `publish` gives it its name, or says that it shall not have it.
pub fn construct(
    path: &Path,
    dir: &OwnedFd,
    name: &CString,
    trust: &Trust,
    options: &Options,
    publish: impl FnOnce(&CString) -> Result<bool>,
) -> Result<bool> {
    let geo = Geometry::new(options.max_semaphores, options.max_members);
    if sys::file_size_limit() < geo.len {
        // Asking the kernel would end the process, by SIGXFSZ.
        return Err(Error::new(
            Code::NotEnoughMemory,
            format!("`{}` cannot be made: a limit on file sizes is below its {} MiB", path.display(), geo.len >> 20),
        )
        .advice("raise it (`ulimit -f`): the file is sparse, but the limit counts all of it; or ask for fewer semaphores"));
    }
    // While it is made, it is not room for semaphores that is missing.
    let no_room = |e: Error| match std::error::Error::source(&e).and_then(|e| e.downcast_ref::<io::Error>()?.raw_os_error()) {
        Some(errno @ (libc::ENOSPC | libc::EDQUOT)) => system(path, io::Error::from_raw_os_error(errno)),
        _ => e,
    };
    let (nonce, temp, file) = own_file(path, dir, name, trust)?;
    let gate = gate_name(name, nonce)?;
    let build = || -> Result<bool> {
        drop(trust.make(dir, &gate, path)?);
        // SAFETY: plain numbers.
        while unsafe { libc::ftruncate(file.as_raw_fd(), geo.len as i64) } != 0 {
            if sys::errno() != libc::EINTR {
                return Err(system(path, io::Error::last_os_error()));
            }
        }
        let stat = sys::fstat(&file).map_err(|e| system(path, e))?;
        fallocate(&file, 0, geo.slots_at).map_err(no_room)?;
        let map = Map::new(file, path, geo)?;
        let h = map.header();
        h.magic.store(MAGIC, Relaxed);
        h.version.store(VERSION, Relaxed);
        h.file_len.store(geo.len, Relaxed);
        h.max_semaphores.store(geo.max_semaphores as u64, Relaxed);
        h.max_members.store(geo.max_members as u64, Relaxed);
        h.nonce.store(nonce, Relaxed);
        h.created.store(realtime(), Relaxed);
        h.checksum.store(checksum(&identity(h).map(|w| w.load(Relaxed))), Relaxed);
        for (copy, word) in map.head_copy().words.iter().zip(identity(h)) {
            copy.store(word.load(Relaxed), Relaxed);
        }
        write_epoch(&h.epochs[0], 0, (stat.st_dev, stat.st_ino));
        map.ensure(0, geo.slots_at).map_err(no_room)?;
        map.ensure(geo.morgue_at, geo.history_at - geo.morgue_at).map_err(no_room)?;
        publish(&temp)
    };
    let made = build();
    if !matches!(made, Ok(true)) {
        // The gate first: it is found by the name of the other one (`leftover.rs`).
        sys::unlink_at(dir.as_raw_fd(), &gate);
        sys::unlink_at(dir.as_raw_fd(), &temp);
    }
    made
}

/// An empty file with a name of its own, locked for as long as it is made.
fn own_file(path: &Path, dir: &OwnedFd, name: &CString, trust: &Trust) -> Result<(u64, CString, OwnedFd)> {
    for _ in 0..leftover::TRIES {
        let nonce = sys::random();
        let temp = c(format!(".{}.{nonce:016x}.new", name.to_string_lossy()))?;
        let file = trust.make(dir, &temp, path)?;
        match leftover::keep(&file) {
            Ok(Mine::Yes) => return Ok((nonce, temp, file)),
            Ok(Mine::Tidied) => {}
            Err(e) => {
                sys::unlink_at(dir.as_raw_fd(), &temp);
                return Err(system(path, e));
            }
        }
    }
    Err(leftover::disturbed(path))
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
    .advice("use the same release of xsem everywhere; or, where nobody uses it any more, `xsem reset`; nothing was changed")
}

/// Whether these are the first words of a namespace file, of whatever version, as they were written.
pub fn is_whole(words: &[u64; 8]) -> bool {
    words[0] == MAGIC && checksum(words) == words[7]
}

/// What the header's checksum has to be.
pub fn checksum(words: &[u64; 8]) -> u64 {
    hash(words[..7].iter().flat_map(|w| w.to_le_bytes()))
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

/// Checks everything that can be checked before the first word is believed. None: it was replaced meanwhile.
fn check<T>(
    path: &Path,
    dir: &OwnedFd,
    name: &CString,
    file: OwnedFd,
    trust: &Trust,
    known: impl Fn((u64, u64)) -> Option<T>,
) -> Result<Option<Found<T>>> {
    let s = sys::fstat(&file).map_err(|e| system(path, e))?;
    let dev_ino = (s.st_dev, s.st_ino);
    if let Some(k) = known(dev_ino) {
        return Ok(Some(Found::Known(k)));
    }
    let damaged = |why: String| {
        Error::new(Code::FileCorrupt, format!("`{}` is damaged: {why}", path.display()))
            .advice("nothing was changed: `xsem check` says what is damaged, `xsem repair` mends what can be mended, `xsem reset` begins anew")
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
    let mut map = Map::new(file, path, geo)?;
    map.accept();
    if !map.has_its_header() || !map.is_present(0) {
        return Err(damaged("its header changes while it is opened, or the marks of the room that it has are gone".into()));
    }
    let current = epoch_is_current(&map, dev_ino);
    let marked = map.marked();
    if current && !map.is_whole(marked, &sys::fstat(&map.descriptor()?).map_err(|e| system(path, e))?) {
        return Err(damaged("parts of it were cut off, and it was made longer again".into()));
    }
    let gate_name = gate_name(name, head[5])?;
    let gate_path = path.with_file_name(std::ffi::OsStr::from_bytes(gate_name.as_bytes()));
    let gate = match trust.open(dir, &gate_name, &gate_path)? {
        Ok(g) => g,
        Err(e) if e.kind() == io::ErrorKind::NotFound && current => {
            return Err(damaged(format!("its gate file `{}` is missing", gate_name.to_string_lossy())));
        }
        // A copied file comes without its gate; then nobody can be writing, and it gets one.
        Err(e) if e.kind() == io::ErrorKind::NotFound => make_gate(dir, &gate_name, &gate_path, trust)?,
        Err(e) => return Err(system(&gate_path, e)),
    };
    if !current {
        // After a restart nobody has a lock, and a copy has a gate of its own.
        let has_lock = |slot: u32| sys::byte_is_locked(gate.as_raw_fd(), slot as u64).unwrap_or(false);
        match epoch_of_the_living(&map, has_lock) {
            // Containers may have boot ids of their own (systemd-nspawn makes one for each): who lives says that this is the
            // boot that it was.
            Some(living) if is_this_file(&map, dev_ino) && living == map.header().epoch.load(Acquire) as u8 => {}
            Some(_) if !epoch_is_current(&map, dev_ino) => {
                return Err(damaged("its epoch is over, and processes of it live".into()));
            }
            _ => {
                map.take_marked_room()?;
                renew_epoch(&map, dev_ino);
            }
        }
    }
    let gate = Descriptor::new(gate, &gate_path).map_err(|e| system(path, e))?;
    Ok(Some(Found::New(Box::new(Opened { map, gate, dev_ino }))))
}

/// Makes a gate under a name of its own, so that nobody sees it without its owner and mode.
pub fn make_gate(dir: &OwnedFd, name: &CStr, path: &Path, trust: &Trust) -> Result<OwnedFd> {
    for _ in 0..leftover::TRIES {
        let temp = leftover::gate_in_the_making(name)?;
        let made = trust.make(dir, &temp, path)?;
        let kept = leftover::keep(&made).inspect_err(|_| sys::unlink_at(dir.as_raw_fd(), &temp));
        if let Mine::Tidied = kept.map_err(|e| system(path, e))? {
            continue;
        }
        match sys::rename_at(dir.as_raw_fd(), &temp, name) {
            Ok(()) => {
                sys::unlock_file(&made);
                return Ok(made);
            }
            Err(e) => {
                sys::unlink_at(dir.as_raw_fd(), &temp);
                if e.raw_os_error() != Some(libc::EEXIST) {
                    return Err(system(path, e));
                }
            }
        }
        // Somebody was faster.
        return trust.open(dir, name, path)?.map_err(|e| system(path, e));
    }
    Err(leftover::disturbed(path))
}

/// Eight words of the file.
pub fn read_words(file: &OwnedFd, at: u64) -> io::Result<[u64; 8]> {
    let mut bytes = [0u8; 64];
    let n = loop {
        // SAFETY: 64 writable bytes.
        let n = unsafe { libc::pread(file.as_raw_fd(), bytes.as_mut_ptr().cast(), 64, at as i64) };
        if n >= 0 || sys::errno() != libc::EINTR {
            break n;
        }
    };
    if n != 64 {
        return Err(if n < 0 { io::Error::last_os_error() } else { io::ErrorKind::UnexpectedEof.into() });
    }
    Ok(std::array::from_fn(|i| u64::from_le_bytes(std::array::from_fn(|k| bytes[i * 8 + k]))))
}

/// Whether the file was made, or last renewed, by this boot of the machine and as this very inode.
pub fn epoch_is_current(map: &Map, dev_ino: (u64, u64)) -> bool {
    let e = &map.header().epochs[map.header().epoch.load(Acquire) as usize % 4];
    is_this_file(map, dev_ino) && same_boot([e.boot[0].load(Relaxed), e.boot[1].load(Relaxed)], sys::boot_id())
}

/// Whether it was made, or last renewed, as this very inode.
fn is_this_file(map: &Map, dev_ino: (u64, u64)) -> bool {
    let current = map.header().epoch.load(Acquire);
    let e = &map.header().epochs[current as usize % 4];
    e.number.load(Acquire) == current && e.dev.load(Relaxed) == dev_ino.0 && e.ino.load(Relaxed) == dev_ino.1
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
