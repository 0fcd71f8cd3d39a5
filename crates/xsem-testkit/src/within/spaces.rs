//! Namespaces.

use super::options::{Options, Proc};
use super::{NotHere, call, step};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const CLONE_NEWTIME: i32 = 0x80;
/// `struct clone_args`, as far as `set_tid` needs it.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
}

/// Enters all of them. The process that returns is the last of a chain of children; the others wait, and end as it does.
pub fn enter(o: &Options) -> Result<(), NotHere> {
    if let Some(user) = o.user {
        step("a user namespace", enter_user(user))?;
    }
    if let Some(pid) = o.join {
        step("another process's namespaces", join(pid))?;
    }
    let other = libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
    if o.spaces {
        step("ipc, uts and cgroup namespaces", unshare(other))?;
    }
    if let Some(offset) = o.time {
        step("a time namespace", unshare(CLONE_NEWTIME).and_then(|()| set_clocks(offset)))?;
    }
    if o.pid {
        step("a pid namespace", unshare(libc::CLONE_NEWPID))?;
    }
    if o.pid || o.time.is_some() || o.join.is_some() {
        step("a process in it", become_child(o.as_pid.filter(|_| !o.init)))?;
    }
    if o.init {
        step("a process in it", become_child(o.as_pid))?;
    }
    if o.proc != Proc::Same || !o.binds.is_empty() {
        step("a mount namespace", own_mounts())?;
        o.binds.iter().try_for_each(|(from, to)| step("a bind mount", bind(from, to)))?;
        step("/proc", mount_proc(o.proc))?;
    }
    if let Some(root) = &o.root {
        step(
            "another root",
            path(root).and_then(|p| {
                // SAFETY: a NUL-terminated path.
                call(unsafe { libc::chroot(p.as_ptr()) }).and_then(|_| std::env::set_current_dir("/"))
            }),
        )?;
    }
    Ok(())
}

fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: plain numbers.
    call(unsafe { libc::unshare(flags) }).map(drop)
}

fn path(p: &Path) -> io::Result<CString> {
    Ok(CString::new(p.as_os_str().as_bytes())?)
}

fn enter_user(who: Option<u32>) -> io::Result<()> {
    // SAFETY: no arguments, cannot fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    unshare(libc::CLONE_NEWUSER)?;
    let Some(who) = who else { return Ok(()) };
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{who} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{who} {gid} 1"))
}

fn set_clocks(seconds: i64) -> io::Result<()> {
    fs::write("/proc/self/timens_offsets", format!("monotonic {seconds} 0\nboottime {seconds} 0\n"))
}

fn join(pid: i32) -> io::Result<()> {
    let spaces = [("pid", libc::CLONE_NEWPID), ("mnt", libc::CLONE_NEWNS)];
    let open: io::Result<Vec<_>> =
        spaces.iter().map(|(n, kind)| Ok((fs::File::open(format!("/proc/{pid}/ns/{n}"))?, *kind))).collect();
    for (f, kind) in open? {
        // SAFETY: plain numbers.
        call(unsafe { libc::setns(f.as_raw_fd(), kind) })?;
    }
    Ok(())
}

/// Forks, with this process id where one is asked for. The parent stays here until the child ends, and ends as it did.
fn become_child(wanted: Option<i32>) -> io::Result<()> {
    let pid = match wanted {
        // SAFETY: the process has one thread.
        None => call(unsafe { libc::fork() })?,
        Some(n) => {
            let args = CloneArgs {
                exit_signal: libc::SIGCHLD as u64,
                set_tid: (&raw const n) as u64,
                set_tid_size: 1,
                ..CloneArgs::default()
            };
            // SAFETY: as a fork; the arguments are valid for the call.
            call(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })?
        }
    };
    if pid == 0 {
        // SAFETY: plain numbers. It ends with its parent.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        return Ok(());
    }
    // The pipes belong to the child: whoever reads from them sees their end with it.
    for fd in 0..2 {
        // SAFETY: plain numbers.
        unsafe { libc::close(fd) };
    }
    let mut status = 0;
    // SAFETY: waits for the child of above; ends without exit handlers.
    unsafe {
        while libc::waitpid(pid as i32, &mut status, 0) < 0 && *libc::__errno_location() == libc::EINTR {}
        libc::_exit(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) })
    }
}

fn own_mounts() -> io::Result<()> {
    unshare(libc::CLONE_NEWNS)?;
    mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None)
}

fn bind(from: &Path, to: &Path) -> io::Result<()> {
    mount(Some(&path(from)?), &path(to)?, None, libc::MS_BIND, None)
}

fn mount_proc(kind: Proc) -> io::Result<()> {
    let options = match kind {
        Proc::Same => return Ok(()),
        Proc::None => return mount(Some(c"none"), c"/proc", Some(c"tmpfs"), 0, None),
        Proc::Own => None,
        Proc::Subset => Some(c"subset=pid"),
        Proc::Hidden => Some(c"hidepid=2"),
    };
    mount(Some(c"proc"), c"/proc", Some(c"proc"), 0, options)
}

fn mount(
    what: Option<&std::ffi::CStr>,
    at: &std::ffi::CStr,
    kind: Option<&std::ffi::CStr>,
    flags: u64,
    options: Option<&std::ffi::CStr>,
) -> io::Result<()> {
    let p = |s: Option<&std::ffi::CStr>| s.map_or(std::ptr::null(), |s| s.as_ptr());
    // SAFETY: null, or NUL-terminated strings.
    call(unsafe { libc::mount(p(what), at.as_ptr(), p(kind), flags, p(options).cast()) }).map(drop)
}
