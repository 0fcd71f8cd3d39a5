//! The guardian: a small process that ends a lease as soon as its owner has died, instead of when the lease runs out.
//!
//! It is started beside the owner, in a session of its own (a kill of the owner's process group, or Ctrl-C, is not for it), as a
//! program that is named: `xsem guardian PID` (or `xsem-guardian guardian PID`). A library cannot bring it along as a thread, nor
//! safely as a fork of a program that has threads. It learns the store and the lease from its standard input, watches its owner by
//! a process descriptor and that pipe, and revokes the lease when either says that the owner is gone: by exit, signal, or `exec`.
//! It is not needed for anything to be right: killed or stopped itself, the lease runs out by its time, and the owner starts
//! another one at its next renewal. In a container whose first process is the owner, the kernel ends both at once.
//!
//! Its input, a line each: the URL; the lease, in hexadecimal; then `cover PID` (this child of the owner has to end, too,
//! before the lease may; until then the guardian keeps it alive), `cover 0`, and `done` (nothing is left to be revoked).

use crate::client::Client;
use crate::clock;
use crate::fault::Fault;
use crate::life::Life;
use crate::url::{Config, Guardian};
use crate::{lease, runtime};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use xsem::Deadline;

/// The first argument with which the program is started.
pub const ARGUMENT: &str = "guardian";

/// Time for a guardian to say that it is there.
const START: Duration = Duration::from_secs(10);
/// A covered command whose lease is lost has this long after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

static PROGRAM: Mutex<Option<PathBuf>> = Mutex::new(None);

/// The program that is started where the URL names none: for commands, themselves.
pub fn set_program(path: Option<PathBuf>) {
    *PROGRAM.lock().unwrap_or_else(PoisonError::into_inner) = path;
}

/// The program to start, if any.
pub(crate) fn program(config: &Config) -> Option<PathBuf> {
    match &config.guardian {
        Guardian::None => None,
        Guardian::Program(path) => Some(path.clone()),
        Guardian::Default => PROGRAM.lock().unwrap_or_else(PoisonError::into_inner).clone(),
    }
}

/// The owner's end.
pub(crate) struct Guard {
    pid: u32,
    /// What it reads.
    tell: File,
    /// What it has said; ends when it does.
    said: File,
    life: Life,
}

impl Guard {
    /// Starts one. Takes some milliseconds.
    pub(crate) fn start(program: &PathBuf, config: &Config, lease: i64) -> io::Result<Guard> {
        let mut command = Command::new(program);
        // Not `/proc/self/exe`, which says nothing to who reads a list of processes.
        command.arg0("xsem-guardian");
        command.arg(ARGUMENT).arg(std::process::id().to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).current_dir("/");
        let mut child = command.spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        let mut tell = File::from(OwnedFd::from(child.stdin.take().ok_or_else(missing)?));
        let mut said = File::from(OwnedFd::from(child.stdout.take().ok_or_else(missing)?));
        // It forks and ends at once, so that its child is no child of this program, which may count its own.
        let _ = child.wait();
        tell.write_all(format!("{}\n{lease:x}\n", config.source()).as_bytes())?;
        let mut line = Vec::new();
        let by = Deadline::after(START);
        while !line.ends_with(b"\n") {
            if !readable(said.as_raw_fd(), by.remaining()) {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the guardian does not say that it is there"));
            }
            let mut byte = [0];
            if said.read(&mut byte)? == 0 {
                return Err(io::Error::other("the guardian has ended"));
            }
            line.push(byte[0]);
        }
        let pid = std::str::from_utf8(&line).ok().and_then(|l| l.trim().parse().ok());
        let pid = pid.ok_or_else(|| io::Error::other("this program is no guardian"))?;
        Ok(Guard { pid, tell, said, life: Life::here() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it is still there.
    pub(crate) fn is_there(&self) -> bool {
        !readable(self.said.as_raw_fd(), Duration::ZERO)
    }

    pub(crate) fn cover(&mut self, pid: Option<u32>) {
        // If it is gone, the lease's time does what it would have done.
        let _ = self.tell.write_all(format!("cover {}\n", pid.unwrap_or(0)).as_bytes());
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // A forked child must not end its parent's.
        if self.life.check().is_ok() {
            let _ = self.tell.write_all(b"done\n");
        }
    }
}

/// Whether there is something to read, or the end of it, within this time.
fn readable(fd: RawFd, patience: Duration) -> bool {
    wait([Some(fd), None, None], Some(patience))[0]
}

/// Waits until one of them is readable.
fn wait<const N: usize>(fds: [Option<RawFd>; N], patience: Option<Duration>) -> [bool; N] {
    // Negative ones are passed over.
    let mut polled = fds.map(|fd| libc::pollfd { fd: fd.unwrap_or(-1), events: libc::POLLIN, revents: 0 });
    let ms = patience.map_or(-1, |p| i32::try_from(p.as_millis()).unwrap_or(i32::MAX));
    // SAFETY: `polled` is an array of so many.
    unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, ms) };
    polled.map(|p| p.revents != 0)
}

/// A descriptor of a process, readable when that has ended.
fn pidfd(pid: u32) -> Option<OwnedFd> {
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: it was made above, and nobody else has it.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// The guardian's whole life. `args` are those after [`ARGUMENT`]: the owner's pid. Called by a program that has done nothing yet,
/// above all started no thread.
pub fn main(args: &[String]) -> ExitCode {
    let Some(owner) = args.first().and_then(|a| a.parse::<u32>().ok()) else {
        eprintln!("this is started by xsem itself, beside a process that holds a lease");
        return ExitCode::from(2);
    };
    // In this order: a parent that is still the parent after the descriptor was made is the one that it means.
    let alive = pidfd(owner);
    // SAFETY: no argument; it cannot fail.
    if unsafe { libc::getppid() } as u32 != owner {
        return ExitCode::FAILURE;
    }
    // SAFETY: this process has one thread (the caller's duty), so the child may do whatever it likes.
    match unsafe { libc::fork() } {
        0 => {}
        -1 => return ExitCode::FAILURE,
        _ => return ExitCode::SUCCESS,
    }
    // SAFETY: no pointers; an ignored signal has no handler.
    unsafe {
        libc::setsid();
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGPIPE, libc::SIGUSR1, libc::SIGUSR2] {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
    let name = CString::from(c"xsem-guardian");
    // SAFETY: the name is a C string; the kernel copies it.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    match keep(alive) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::debug!(%why, "a guardian has failed");
            ExitCode::FAILURE
        }
    }
}

/// Lines from standard input.
struct Input {
    buffer: Vec<u8>,
    ended: bool,
}

impl Input {
    /// Takes what is there to be read.
    fn fill(&mut self) {
        let mut some = [0; 4096];
        match io::stdin().lock().read(&mut some) {
            Ok(0) => self.ended = true,
            Ok(n) => self.buffer.extend_from_slice(&some[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.ended = true,
        }
    }

    /// The next whole line.
    fn line(&mut self) -> Option<String> {
        let end = self.buffer.iter().position(|&b| b == b'\n')?;
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line[..end]).into_owned())
    }

    fn wait_for_line(&mut self) -> Result<String, Fault> {
        loop {
            match self.line() {
                Some(line) => return Ok(line),
                None if self.ended => return Err(Fault::Config("the input has ended".into())),
                None => self.fill(),
            }
        }
    }
}

fn keep(owner: Option<OwnedFd>) -> Result<(), Fault> {
    let mut input = Input { buffer: Vec::new(), ended: false };
    let config = Config::parse(&input.wait_for_line()?)?;
    let lease = i64::from_str_radix(&input.wait_for_line()?, 16).map_err(|_| Fault::Config("no lease".into()))?;
    let client = Client::open(config)?;
    println!("{}", std::process::id());
    // The connection is there when it is needed, and the password is known to be good.
    let _ = time_left(&client, lease);
    let mut covered: Option<OwnedFd> = None;
    loop {
        while let Some(line) = input.line() {
            match line.split_once(' ') {
                None if line == "done" => return Ok(()),
                Some(("cover", pid)) => covered = pid.parse().ok().filter(|&p| p > 0).and_then(pidfd),
                _ => {}
            }
        }
        if input.ended {
            break;
        }
        let [stdin, ended] = wait([Some(0), owner.as_ref().map(AsRawFd::as_raw_fd)], None);
        if stdin {
            // First: the last that it has said may be that all is done.
            input.fill();
        } else if ended {
            break;
        }
    }
    if let Some(command) = covered {
        outlast(&client, lease, &command);
    }
    runtime::run(async move { lease::revoke(&client, lease, Deadline::after(client.config().ttl * 3)).await })
}

fn time_left(client: &Client, lease: i64) -> Result<i64, Fault> {
    let client = client.clone();
    runtime::run(async move { lease::time_left(&client, lease, Deadline::after(START)).await })
}

/// Keeps the lease alive until the command has ended; ends that, when the lease is lost.
fn outlast(client: &Client, lease: i64, command: &OwnedFd) {
    let mut ends = clock::now() + clock::nanos(client.config().ttl);
    while !readable(command.as_raw_fd(), Duration::ZERO) {
        let (c, by) = (client.clone(), Deadline::after(clock::until(ends)));
        match runtime::run(async move { lease::renew(&c, lease, by).await }) {
            Ok(renewed) => ends = lease::end(renewed.sent, renewed.ttl),
            Err(Fault::NoLease) => return end_command(command),
            Err(_) if clock::until(ends).is_zero() => return end_command(command),
            Err(_) => {}
        }
        readable(command.as_raw_fd(), client.config().ttl / 3);
    }
}

/// Asks a command to end, and ends it when it does not.
fn end_command(command: &OwnedFd) {
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let none = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is a process's, and no information is passed along.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, command.as_raw_fd(), signal, none, 0) };
        if readable(command.as_raw_fd(), GRACE) {
            return;
        }
    }
}
