//! What is asked of Linux beside futexes: /proc, users, ids.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;

unsafe extern "C" {
    fn pthread_setcancelstate(state: libc::c_int, old: *mut libc::c_int) -> libc::c_int;
}

/// While it lives, `pthread_cancel` does not end the calling thread: what unwinds from the middle of an operation would leave
/// half of it. It is put wherever something is called that is a place to be cancelled in (files, sleeps), so that no call of
/// this library is one.
pub struct Whole(libc::c_int);

/// From here on the thread is not cancelled.
pub fn whole() -> Whole {
    const DISABLE: libc::c_int = 1;
    let mut old = 0;
    // SAFETY: a state that exists; `old` is valid for writes.
    unsafe { pthread_setcancelstate(DISABLE, &mut old) };
    Whole(old)
}

impl Drop for Whole {
    fn drop(&mut self) {
        let mut disabled = 0;
        // SAFETY: the state that it had before; `disabled` is valid for writes.
        unsafe { pthread_setcancelstate(self.0, &mut disabled) };
    }
}

/// Sleeps.
pub fn nap(time: std::time::Duration) {
    let _whole = whole();
    std::thread::sleep(time);
}

/// The calling thread's errno.
pub fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The calling thread's id.
pub fn gettid() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) as u32 }
}

/// Effective user id.
pub fn euid() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() }
}

/// Real user id.
pub fn uid() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::getuid() }
}

/// The user's name, or the number as text.
pub fn user_name(uid: u32) -> String {
    let _whole = whole();
    let mut buf = vec![0u8; 4096];
    let mut found = std::ptr::null_mut();
    // SAFETY: an all-zero passwd is a valid value to be overwritten (integers and null pointers).
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    // SAFETY: `entry`, `buf` and `found` are valid for writes of the sizes given.
    let r = unsafe { libc::getpwuid_r(uid, &mut entry, buf.as_mut_ptr().cast(), buf.len(), &mut found) };
    if r != 0 || found.is_null() {
        return uid.to_string();
    }
    // SAFETY: on success pw_name is a NUL-terminated string inside `buf`, which lives until the end of this function.
    unsafe { std::ffi::CStr::from_ptr(entry.pw_name) }.to_string_lossy().into_owned()
}

/// The largest file that this process may make.
pub fn file_size_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` is valid for writes; where it fails, it stays as it is.
    unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) };
    limit.rlim_cur
}

/// Random bits that differ between processes and calls.
pub fn random() -> u64 {
    let mut v = 0u64;
    // SAFETY: writes at most 8 bytes into `v`.
    let r = unsafe { libc::getrandom((&raw mut v).cast(), 8, 0) };
    if r == 8 { v } else { crate::deadline::now() ^ (std::process::id() as u64) << 32 }
}

/// One line of `/proc/PID/stat` taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `T`, `Z`, ...
    pub state: u8,
    /// Ticks after boot.
    pub start: u64,
}

/// Whether these are starts of one process: where clocks are shifted by parts of a tick, they may differ by one. (No number comes
/// again within two ticks.)
pub fn same_start(a: u64, b: u64) -> bool {
    a.abs_diff(b) <= 1
}

/// The content of a file of `/proc`. Those say 0 when they are asked how long they are, and then std begins with a piece of 32
/// bytes.
pub fn content(path: &str) -> io::Result<Vec<u8>> {
    let _whole = whole();
    let mut file = std::fs::File::open(path)?;
    let (mut bytes, mut n) = (vec![0; 4096], 0);
    loop {
        match file.read(&mut bytes[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        if n == bytes.len() {
            bytes.resize(2 * n, 0);
        }
    }
    bytes.truncate(n);
    Ok(bytes)
}

/// The same as text; empty where it cannot be read.
fn text_of(path: &str) -> String {
    content(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Reads a stat file. None: there is no such process (or it is hidden). An error is neither yes nor no.
pub fn stat(path: &str) -> io::Result<Option<Stat>> {
    let _whole = whole();
    let text = match content(path) {
        Ok(text) => text,
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => return Ok(None),
        Err(e) => return Err(e),
    };
    let strange = || io::Error::from(io::ErrorKind::InvalidData);
    let found = parse_stat(&String::from_utf8_lossy(&text)).ok_or_else(strange)?;
    Ok(Some(Stat { start: crate::timens::start_of_machine(found.start), ..found }))
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The second field is the program's name in parentheses and may hold anything; the last ')' ends it.
    let rest = text.get(text.rfind(')')? + 2..)?;
    let mut f = rest.split_ascii_whitespace();
    let state = f.next()?.bytes().next()?;
    let start = f.nth(18)?.parse().ok()?;
    Some(Stat { state, start })
}

/// The stat of a process of this pid namespace.
pub fn stat_of(pid: u32) -> io::Result<Option<Stat>> {
    stat(&format!("/proc/{pid}/stat"))
}

/// Whether every thread of this process has let go of its memory, so that none can write to it any more; or there is no
/// such process. Only for a process of this pid namespace, of which one thread is known to have ended. Whatever cannot be
/// looked at counts as "no".
///
/// A thread without memory is one without an `exe`: the link is read without taking hold of the memory. (Reading `stat`
/// takes hold of it for an instant; if the process lets go just then, the *reader* has to take it apart, which lasts for
/// milliseconds where it was large.)
///
/// A listing of /proc/PID/task leaves threads out when others are reaped while it is read. So the threads are counted
/// before, by the directory's link count: a listing with fewer is not believed. None can be born meanwhile, for a process
/// that is being killed cannot make threads.
pub fn has_let_go(pid: u32) -> bool {
    let _whole = whole();
    use std::os::unix::fs::MetadataExt;
    let tasks = format!("/proc/{pid}/task");
    let (Ok(meta), Ok(dir)) = (std::fs::metadata(&tasks), std::fs::read_dir(&tasks)) else { return is_gone(pid) };
    let threads = meta.nlink().saturating_sub(2);
    let mut seen = 0;
    for task in dir {
        let Ok(task) = task else { return false };
        match std::fs::read_link(task.path().join("exe")) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => seen += 1,
            _ => return false,
        }
    }
    seen >= threads
}

/// Whether a process has a file mapped, by device and inode; false where that cannot be read.
pub fn maps_file(pid: u32, id: (u64, u64)) -> bool {
    let _whole = whole();
    let Ok(maps) = std::fs::read_to_string(format!("/proc/{pid}/maps")) else { return false };
    maps.lines().any(|line| line.split_ascii_whitespace().nth(4).and_then(|ino| ino.parse().ok()) == Some(id.1))
}

/// Whether the kernel knows no process of this number here (a hidden one is known).
pub fn is_gone(pid: u32) -> bool {
    // SAFETY: signal 0 only asks.
    pid == 0 || (unsafe { libc::kill(pid as i32, 0) } != 0 && errno() == libc::ESRCH)
}

/// The inode of this process's pid namespace; 0 where /proc does not say.
pub fn pid_namespace() -> u64 {
    let text = std::fs::read_link("/proc/self/ns/pid").ok();
    let text = text.as_ref().and_then(|t| t.to_str()).unwrap_or("");
    text.trim_start_matches("pid:[").trim_end_matches(']').parse().unwrap_or(0)
}

/// Whether the processes of a pid namespace can be looked at by their numbers in it: it is that of this process, and `/proc`
/// shows it. (A container may have been given the /proc of the machine, where these are numbers of other processes; kernel
/// threads among them, which have no memory, as those have not that have let go of it.)
pub fn sees(pid_ns: u64) -> bool {
    pid_ns != 0 && pid_ns == pid_namespace() && proc_is_own()
}

/// Whether `/proc` is that of this process's pid namespace: then this process has no other number in it than its own.
fn proc_is_own() -> bool {
    let _whole = whole();
    let status = text_of("/proc/self/status");
    if status.is_empty() {
        return false;
    }
    // Not told before Linux 4.1.
    let numbers = status.lines().find_map(|l| l.strip_prefix("NSpid:"));
    numbers.is_none_or(|n| n.split_ascii_whitespace().count() == 1)
}

/// This boot of the machine; 0 where /proc does not say.
pub fn boot_id() -> [u64; 2] {
    let _whole = whole();
    let text = text_of("/proc/sys/kernel/random/boot_id");
    let hex: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let part = |r: std::ops::Range<usize>| hex.get(r).and_then(|h| u64::from_str_radix(h, 16).ok()).unwrap_or(0);
    [part(0..16), part(16..32)]
}

/// This process's command line, in one line.
pub fn command_line() -> String {
    let _whole = whole();
    line_of(content("/proc/self/cmdline").unwrap_or_default())
}

fn line_of(raw: Vec<u8>) -> String {
    let words: Vec<String> =
        raw.split(|&b| b == 0).filter(|w| !w.is_empty()).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
    match words.split_first() {
        Some((program, rest)) => {
            let program = program.rsplit('/').next().unwrap_or(program);
            std::iter::once(program).chain(rest.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
        }
        None => "?".to_owned(),
    }
}

/// Whether the POSIX lock on byte `at` is held by another process.
pub fn byte_is_locked(fd: RawFd, at: u64) -> io::Result<bool> {
    let mut f = byte(libc::F_WRLCK as i16, at);
    // SAFETY: F_GETLK reads and writes one flock structure.
    match unsafe { libc::fcntl(fd, libc::F_GETLK, &mut f) } {
        0 => Ok(f.l_type != libc::F_UNLCK as i16),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The process that holds the POSIX lock on byte `at`, if another one does; 0 where it is of another pid namespace.
pub fn lock_holder(fd: RawFd, at: u64) -> io::Result<Option<u32>> {
    let mut f = byte(libc::F_WRLCK as i16, at);
    // SAFETY: F_GETLK reads and writes one flock structure.
    match unsafe { libc::fcntl(fd, libc::F_GETLK, &mut f) } {
        0 => Ok((f.l_type != libc::F_UNLCK as i16).then_some(f.l_pid.max(0) as u32)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The threads of a process that have this name. None where they cannot be read.
pub fn threads_named(pid: u32, name: &str) -> Option<Vec<u32>> {
    let _whole = whole();
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let task = task.ok()?;
        let comm = std::fs::read_to_string(task.path().join("comm")).ok()?;
        if comm.trim_end() == name {
            found.push(task.file_name().to_str()?.parse().ok()?);
        }
    }
    Some(found)
}

/// The processes, without this one, that are seen to have a file mapped.
pub fn users_of(id: (u64, u64)) -> Vec<u32> {
    let _whole = whole();
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    all.flatten()
        .filter_map(|p| p.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id() && maps_file(*pid, id))
        .collect()
}

/// Another process's command line, in one line.
pub fn command_of(pid: u32) -> String {
    let _whole = whole();
    line_of(content(&format!("/proc/{pid}/cmdline")).unwrap_or_default())
}

/// The user of a process.
pub fn user_of(pid: u32) -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{pid}")).map_or(0, |m| m.uid())
}

/// Takes the POSIX lock on byte `at`, waiting up to some seconds for a previous holder that is being taken apart.
pub fn lock_byte(fd: RawFd, at: u64) -> io::Result<()> {
    let f = byte(libc::F_WRLCK as i16, at);
    let mut attempt = 0u32;
    loop {
        // SAFETY: F_SETLK reads one flock structure.
        if unsafe { libc::fcntl(fd, libc::F_SETLK, &f) } == 0 {
            return Ok(());
        }
        match errno() {
            libc::EINTR => {}
            libc::EAGAIN | libc::EACCES if attempt < 500 => {
                nap(std::time::Duration::from_micros(50 << (attempt / 20).min(8)));
                attempt += 1;
            }
            e => return Err(io::Error::from_raw_os_error(e)),
        }
    }
}

fn byte(kind: i16, at: u64) -> libc::flock {
    // SAFETY: an all-zero flock is a valid value.
    let mut f: libc::flock = unsafe { std::mem::zeroed() };
    f.l_type = kind;
    f.l_whence = libc::SEEK_SET as i16;
    f.l_start = at as i64;
    f.l_len = 1;
    f
}

/// `openat` with a mode, close-on-exec, never following a link in the last part.
pub fn open_at(dir: RawFd, name: &std::ffi::CStr, flags: i32, mode: u32) -> io::Result<OwnedFd> {
    let _whole = whole();
    let open = || {
        // SAFETY: `name` is NUL-terminated; the other arguments are plain numbers.
        unsafe { libc::openat(dir, name.as_ptr(), flags | libc::O_CLOEXEC | libc::O_NOFOLLOW, mode) }
    };
    let mut fd = open();
    while fd < 0 && errno() == libc::EINTR {
        fd = open();
    }
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just opened and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `openat` that follows a link.
pub fn open_following(dir: RawFd, name: &std::ffi::CStr, flags: i32) -> io::Result<OwnedFd> {
    let _whole = whole();
    // SAFETY: `name` is NUL-terminated; the other arguments are plain numbers.
    let fd = unsafe { libc::openat(dir, name.as_ptr(), flags | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just opened and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What a name in a directory is, without following a link or opening anything.
pub fn stat_at(dir: RawFd, name: &std::ffi::CStr) -> io::Result<libc::stat> {
    // SAFETY: an all-zero stat is a valid value to be overwritten.
    let mut s: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `name` is NUL-terminated, `s` is valid for writes.
    match unsafe { libc::fstatat(dir, name.as_ptr(), &mut s, libc::AT_SYMLINK_NOFOLLOW) } {
        0 => Ok(s),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes a name away; where that fails, it stays.
pub fn unlink_at(dir: RawFd, name: &std::ffi::CStr) {
    // SAFETY: `name` is NUL-terminated.
    unsafe { libc::unlinkat(dir, name.as_ptr(), 0) };
}

/// Locks a whole file for who has it open, until the last copy of that descriptor is closed. False: somebody else has it locked.
pub fn lock_file(file: &OwnedFd) -> io::Result<bool> {
    loop {
        // SAFETY: plain numbers.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(true);
        }
        match errno() {
            libc::EINTR => {}
            libc::EWOULDBLOCK => return Ok(false),
            e => return Err(io::Error::from_raw_os_error(e)),
        }
    }
}

/// Gives such a lock back.
pub fn unlock_file(file: &OwnedFd) {
    // SAFETY: plain numbers.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) };
}

/// Gives a file another name, if nobody has that.
pub fn rename_at(dir: RawFd, from: &std::ffi::CStr, to: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: two NUL-terminated names in one directory.
    let r = unsafe { libc::syscall(libc::SYS_renameat2, dir, from.as_ptr(), dir, to.as_ptr(), libc::RENAME_NOREPLACE) };
    if r == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Exchanges two files' names in one directory, at one instant.
pub fn exchange_at(dir: RawFd, one: &std::ffi::CStr, other: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: two NUL-terminated names in one directory.
    let r = unsafe { libc::syscall(libc::SYS_renameat2, dir, one.as_ptr(), dir, other.as_ptr(), libc::RENAME_EXCHANGE) };
    if r == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Where the link leads that an `O_PATH` descriptor is.
pub fn read_link(link: &OwnedFd) -> io::Result<std::path::PathBuf> {
    let mut to = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: an empty name, and room for as many bytes as the size says.
    let n = unsafe { libc::readlinkat(link.as_raw_fd(), c"".as_ptr(), to.as_mut_ptr().cast(), to.len()) };
    if n < 0 {
        return Err(io::Error::last_os_error());
    }
    to.truncate(n as usize);
    Ok(std::ffi::OsString::from_vec(to).into())
}

/// The magic number of the file system that a file is on.
pub fn file_system(fd: &impl AsRawFd) -> Option<u32> {
    // SAFETY: an all-zero statfs is a valid value to be overwritten.
    let mut s: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `s` is valid for writes.
    (unsafe { libc::fstatfs(fd.as_raw_fd(), &mut s) } == 0).then_some(s.f_type as u32)
}

/// Whether a directory is in a /proc.
pub fn is_proc(fd: &impl AsRawFd) -> bool {
    file_system(fd) == Some(0x9fa0)
}

const ACL: &std::ffi::CStr = c"system.posix_acl_access";

/// Whether an access control list lets others use a file, beyond its mode.
pub fn has_acl(fd: &impl AsRawFd) -> bool {
    // SAFETY: a NUL-terminated name; a size of 0 only asks for the length.
    unsafe { libc::fgetxattr(fd.as_raw_fd(), ACL.as_ptr(), std::ptr::null_mut(), 0) > 0 }
}

/// Takes an access control list away, that a new file has inherited.
pub fn remove_acl(fd: &impl AsRawFd) {
    // SAFETY: a NUL-terminated name.
    unsafe { libc::fremovexattr(fd.as_raw_fd(), ACL.as_ptr()) };
}

/// `fstat`.
pub fn fstat(fd: &impl AsRawFd) -> io::Result<libc::stat> {
    // SAFETY: an all-zero stat is a valid value to be overwritten.
    let mut s: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `s` is valid for writes.
    match unsafe { libc::fstat(fd.as_raw_fd(), &mut s) } {
        0 => Ok(s),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets the times of a file to now, which is an event for who watches it. If that is not possible, nobody is told.
pub fn touch(fd: RawFd) {
    // SAFETY: null times mean now.
    unsafe { libc::futimens(fd, std::ptr::null()) };
}

/// `lstat`. Async-signal-safe, and without memory.
pub fn lstat(path: &std::ffi::CStr) -> io::Result<libc::stat> {
    // SAFETY: an all-zero stat is a valid value to be overwritten.
    let mut s: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: a NUL-terminated path; `s` is valid for writes.
    match unsafe { libc::lstat(path.as_ptr(), &mut s) } {
        0 => Ok(s),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether a file is on tmpfs, where a hole that is touched on a full file system is a fault.
pub fn is_tmpfs(fd: &impl AsRawFd) -> bool {
    file_system(fd) == Some(libc::TMPFS_MAGIC as u32)
}

/// Device and inode.
pub fn dev_ino(fd: &impl AsRawFd) -> Option<(u64, u64)> {
    fstat(fd).ok().map(|s| (s.st_dev, s.st_ino))
}

/// A descriptor that becomes readable when the process ends, if there is such a process.
pub fn pidfd(pid: u32) -> Option<OwnedFd> {
    // SAFETY: plain numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: a descriptor that was just opened and belongs to nobody else.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Sleeps until `fd` is readable or the time is over.
pub fn wait_readable(fd: &OwnedFd, ms: i32) {
    let _whole = whole();
    let mut p = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(&mut p, 1, ms) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_stat() {
        let s = stat_of(std::process::id()).unwrap().unwrap();
        assert!(s.start > 0 && matches!(s.state, b'R' | b'S'), "{s:?}");
        assert!(!has_let_go(std::process::id()));
        assert!(has_let_go(u32::MAX >> 2));
        assert!(stat_of(u32::MAX >> 2).unwrap().is_none());
    }

    #[test]
    fn a_byte_lock_of_this_process_is_not_seen_by_itself() {
        let f = tempfile::tempfile().unwrap();
        lock_byte(f.as_raw_fd(), 7).unwrap();
        assert!(!byte_is_locked(f.as_raw_fd(), 7).unwrap());
    }
}
