//! Fork and exec.
//!
//! Not `std::process::Command`, because its spawn returns when the exec is done, and our order is another one: fork, let
//! the claim cover the child, exec. Whatever dies in between, no command ever runs that its claim does not cover.

use super::signals::Inherited;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr;

/// Everything that the child needs, laid out before the fork: between fork and exec it must not allocate, since another
/// thread (the keeper) may be inside the allocator at that instant.
pub struct Plan {
    argv: Vec<CString>,
    envp: Vec<CString>,
    detach: bool,
}

/// Forked, and waiting for our word.
pub struct Waiting {
    pid: libc::pid_t,
    go: OwnedFd,
    failure: OwnedFd,
}

/// Told to go.
pub struct Running {
    pid: libc::pid_t,
    failure: OwnedFd,
}

impl Plan {
    /// A command with our environment, in which the `extra` variables are set.
    pub fn new(command: &[OsString], extra: &[(&str, String)], detach: bool) -> Plan {
        let mut envp: Vec<CString> = std::env::vars_os()
            .filter(|(key, _)| !extra.iter().any(|(k, _)| key == k))
            .map(|(key, value)| {
                let mut line = key.into_vec();
                line.push(b'=');
                line.extend(value.into_vec());
                c_string(line)
            })
            .collect();
        envp.extend(extra.iter().map(|(key, value)| c_string(format!("{key}={value}").into_bytes())));
        Plan { argv: command.iter().map(|w| c_string(w.clone().into_vec())).collect(), envp, detach }
    }

    /// Forks. The child waits for [`Waiting::go`], and ends without a word if this process dies first.
    ///
    /// # Errors
    /// No descriptors or no processes left.
    pub fn spawn(&self, inherited: &Inherited) -> io::Result<Waiting> {
        let argv = pointers(&self.argv);
        let envp = pointers(&self.envp);
        let (go_read, go) = pipe()?;
        let (failure, failure_write) = pipe()?;
        let parent = std::process::id() as libc::pid_t;
        // SAFETY: the child only makes async-signal-safe calls on what was laid out above, and never returns.
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                let fds = Fds { go_write: go.as_raw_fd(), go: go_read.as_raw_fd(), failure: failure_write.as_raw_fd() };
                // SAFETY: we are the forked child; argv and envp end with a null pointer and point to C strings that
                // live as long as `self`, that is, until the exec.
                unsafe { child(&argv, &envp, &fds, inherited, (!self.detach).then_some(parent)) }
            }
            pid => Ok(Waiting { pid, go, failure }),
        }
    }
}

impl Waiting {
    /// The child.
    pub fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Lets it run.
    pub fn go(self) -> Running {
        // SAFETY: one byte of a live buffer. It cannot fail while the child has the other end; if the child was killed
        // meanwhile, EPIPE (SIGPIPE is ignored here) changes nothing, since waiting for the child tells that.
        unsafe { libc::write(self.go.as_raw_fd(), [1u8].as_ptr().cast(), 1) };
        Running { pid: self.pid, failure: self.failure }
    }

    /// Ends it without having run anything.
    pub fn call_off(self) {
        drop(self.go);
        // SAFETY: waits for our own child, whose status nobody wants.
        while unsafe { libc::waitpid(self.pid, ptr::null_mut(), 0) } == -1 && last_errno() == libc::EINTR {}
    }
}

impl Running {
    /// The child.
    pub fn pid(&self) -> libc::pid_t {
        self.pid
    }

    /// Once the child has ended: why the command could not be executed, if so.
    pub fn why_not(self) -> Option<io::Error> {
        // The writing end was close-on-exec and the child is gone: this reads four bytes or nothing, and never waits.
        let mut errno = [0; 4];
        File::from(self.failure).read_exact(&mut errno).ok()?;
        Some(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)))
    }
}

struct Fds {
    go: RawFd,
    go_write: RawFd,
    failure: RawFd,
}

/// The child, up to the exec.
///
/// # Safety
/// Only in a freshly forked child; `argv` and `envp` are null-terminated arrays of C strings.
unsafe fn child(
    argv: &[*const libc::c_char],
    envp: &[*const libc::c_char],
    fds: &Fds,
    inherited: &Inherited,
    dies_with: Option<libc::pid_t>,
) -> ! {
    // SAFETY: every call here is async-signal-safe (execvpe: glibc since 2.24 and musl search the path on the stack, for
    // the sake of posix_spawn, which does the same as we do); the pointers are valid by the contract above.
    unsafe {
        if let Some(parent) = dies_with {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
            if libc::getppid() != parent {
                // It died before the kernel knew that we want to die with it.
                libc::_exit(0);
            }
        }
        // Ours would keep the pipe open, and the parent's death unseen.
        libc::close(fds.go_write);
        let mut word = 0u8;
        loop {
            match libc::read(fds.go, (&raw mut word).cast(), 1) {
                1 => break,
                -1 if last_errno() == libc::EINTR => {}
                // The parent died, or called it off: the command must not run.
                _ => libc::_exit(0),
            }
        }
        inherited.restore();
        libc::execvpe(argv[0], argv.as_ptr(), envp.as_ptr());
        let errno = last_errno().to_ne_bytes();
        libc::write(fds.failure, errno.as_ptr().cast(), errno.len());
        libc::_exit(i32::from(crate::exit_codes::CANNOT_EXECUTE))
    }
}

fn last_errno() -> i32 {
    // SAFETY: the address of this thread's errno, always valid.
    unsafe { *libc::__errno_location() }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// What comes from the kernel as an argument or an environment has no NUL inside.
fn c_string(mut bytes: Vec<u8>) -> CString {
    bytes.retain(|&b| b != 0);
    CString::new(bytes).unwrap_or_default()
}

/// A pipe that no exec inherits.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: pipe2 writes two descriptors into the array.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both are new, open, and owned by nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}
