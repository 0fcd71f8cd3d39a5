//! The other processes of `handoff`, `contended`, `death` and `event`: this program again, told over stdin, answering over stdout.

use crate::bell::Bells;
use crate::lock::Lock;
use crate::shared::{Shared, ZeroIsValid, now};
use crate::{contended, event, members};
use std::io::{self, BufRead, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{env, thread};

/// The hidden first argument.
pub const FLAG: &str = "__child";

/// What the processes tell each other without a system call.
#[derive(Debug)]
#[repr(C)]
pub struct Board {
    /// How many children are about to begin.
    pub ready: AtomicU64,
    /// `handoff`: when the parent released.
    pub released: AtomicU64,
    /// `handoff`: release to ownership, as the child saw it.
    pub latency: AtomicU64,
    /// `death`: when the waiter owned it.
    pub woken: AtomicU64,
    /// `contended`: 0 wait, 1 run, 2 stop.
    pub phase: AtomicU64,
    /// `contended`: how many steps a critical section has.
    pub steps: AtomicU64,
    /// `contended`: acquisitions of all.
    pub total: AtomicU64,
    /// `contended`: the longest time, in nanoseconds, between two acquisitions of one child.
    pub worst: AtomicU64,
    /// `contended`: what the critical sections work on.
    pub work: AtomicU64,
}

// SAFETY: atomics only, for which zero is a value.
unsafe impl ZeroIsValid for Board {}

/// A child that takes one lock when told so.
pub struct Helper {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Helper {
    /// Starts one. `ballast` is memory in MiB that it touches, as a big process has it.
    pub fn start(dir: &Path, ballast: usize) -> io::Result<Helper> {
        Helper::spawn(Helper::command(dir, ballast)?)
    }

    /// One that does not see /proc, as in some containers.
    pub fn start_without_proc(dir: &Path) -> io::Result<Helper> {
        let mut command = Helper::command(dir, 0)?;
        // SAFETY: system calls only, which allocate nothing and take no lock.
        unsafe { command.pre_exec(hide_proc) };
        Helper::spawn(command)
    }

    fn command(dir: &Path, ballast: usize) -> io::Result<Command> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(FLAG).arg(dir).arg(ballast.to_string());
        Ok(command)
    }

    fn spawn(mut command: Command) -> io::Result<Helper> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (to, from) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut helper = Helper { child, to, from };
        helper.answer()?;
        Ok(helper)
    }

    /// Sends one line.
    pub fn tell(&mut self, line: &str) -> io::Result<()> {
        self.to.write_all(line.as_bytes())?;
        self.to.write_all(b"\n")
    }

    /// Waits for the child's sign.
    pub fn answer(&mut self) -> io::Result<()> {
        self.from.read_exact(&mut [0])
    }

    pub fn pid(&self) -> libc::pid_t {
        self.child.id() as libc::pid_t
    }

    /// Collects it, after it was killed or its input ended.
    pub fn end(mut self) -> io::Result<()> {
        drop(self.to);
        self.child.wait().map(drop)
    }
}

/// An empty directory over /proc, in a mount namespace of this process's own.
fn hide_proc() -> io::Result<()> {
    let none = std::ptr::null();
    // SAFETY: NUL-terminated names; no data.
    let done = unsafe {
        let own = libc::unshare(libc::CLONE_NEWNS) == 0 || libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) == 0;
        let private = (libc::MS_REC | libc::MS_PRIVATE) as libc::c_ulong;
        own && libc::mount(none, c"/".as_ptr(), none, private, none.cast()) == 0
            && libc::mount(c"none".as_ptr(), c"/proc".as_ptr(), c"tmpfs".as_ptr(), 0, none.cast()) == 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The child: `DIR BALLAST`, then lines `handoff LOCK`, `take LOCK`, `hammer LOCK`, `hold LOCK`, or those of [`event::serve`].
pub fn main(args: &[String]) -> ExitCode {
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xsem-bench: child: {e}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &[String]) -> io::Result<()> {
    let [dir, ballast] = args else { return Err(io::Error::other("two arguments are needed")) };
    let dir = PathBuf::from(dir);
    let ballast = vec![1u8; ballast.parse::<usize>().map_err(io::Error::other)? << 20];
    let board = Shared::<Board>::map(&dir.join("board"))?;
    let locks = Lock::all(&dir)?;
    let find = |name: &str| locks.iter().find(|l| l.name() == name).ok_or_else(|| io::Error::other(format!("no lock {name}")));
    let mut bells = None;
    let mut out = io::stdout();
    let mut sign = || out.write_all(b".").and_then(|()| out.flush());
    sign()?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("handoff", name)) => {
                let lock = find(name)?;
                board.ready.fetch_add(1, Ordering::SeqCst);
                lock.acquire();
                let woken = now();
                board.latency.store(woken - board.released.load(Ordering::SeqCst), Ordering::SeqCst);
                lock.release();
                sign()?;
            }
            Some(("take", name)) => {
                let lock = find(name)?;
                board.ready.fetch_add(1, Ordering::SeqCst);
                lock.acquire();
                board.woken.store(now(), Ordering::SeqCst);
                lock.release();
                sign()?;
            }
            None if line == "member" => {
                members::serve(&dir, &board)?;
                sign()?;
            }
            Some(("hammer", name)) => {
                contended::hammer(find(name)?, &board);
                sign()?;
            }
            Some(("hold", name)) => {
                find(name)?.acquire();
                sign()?;
                // Until it is killed.
                loop {
                    std::hint::black_box(&ballast);
                    thread::sleep(Duration::from_secs(60));
                }
            }
            _ => {
                let bells = match &mut bells {
                    Some(bells) => bells,
                    none => none.insert(Bells::open(&dir)?),
                };
                event::serve(bells, &board, &line.split(' ').collect::<Vec<_>>())?;
                sign()?;
            }
        }
    }
    Ok(())
}
