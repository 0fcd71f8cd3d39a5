//! What the tests of the command share: a namespace of one's own, a watchdog, looking at processes.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod terminal;

use serde_json::Value;
use std::fs;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// The command under test.
pub const XSEM: &str = env!("CARGO_BIN_EXE_xsem");

/// A namespace in a directory of its own, and a watchdog that ends the whole test process when the test hangs.
pub struct Place {
    dir: TempDir,
    _alive: mpsc::Sender<()>,
}

impl Place {
    pub fn new() -> Place {
        let name = thread::current().name().unwrap_or("a test").to_owned();
        let (alive, ended) = mpsc::channel::<()>();
        thread::spawn(move || {
            if ended.recv_timeout(Duration::from_secs(120)) == Err(RecvTimeoutError::Timeout) {
                // Not println!, which a test harness swallows.
                let _ = writeln!(std::io::stderr(), "watchdog: `{name}` hangs");
                std::process::abort();
            }
        });
        Place { dir: tempfile::tempdir().expect("a directory for the test"), _alive: alive }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn url(&self) -> String {
        format!("shm:{}", self.file("namespace").display())
    }

    /// `xsem --namespace URL ARGS`, without what an enclosing `xsem run` or the user's settings could change, and killed
    /// with this thread, so that a failed test leaves nothing behind.
    pub fn xsem(&self, args: &[&str]) -> Command {
        let mut c = clean(Command::new(XSEM));
        c.arg("--namespace").arg(self.url()).args(args).current_dir(self.dir()).stdin(Stdio::null());
        c
    }

    /// Runs it to its end.
    pub fn output(&self, args: &[&str]) -> Output {
        self.xsem(args).output().expect("xsem can be run")
    }

    /// Starts it, with stdout and stderr piped.
    pub fn start(&self, args: &[&str]) -> Child {
        self.xsem(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("xsem can be started")
    }

    /// Starts it, with a command that finds `xsem` and the namespace in its environment, as a script has them.
    pub fn start_in(&self, args: &[&str]) -> Child {
        let path = Path::new(XSEM).parent().expect("a directory");
        let path = format!("{}:{}", path.display(), std::env::var("PATH").expect("PATH"));
        let mut c = self.xsem(args);
        c.env("PATH", path).env("XSEM_NAMESPACE", self.url());
        c.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("xsem can be started")
    }

    /// `xsem run ARGS` as a child that holds NAME, with its command running, when this returns.
    pub fn hold(&self, name: &str, args: &[&str]) -> Child {
        let all: Vec<&str> = ["run"].iter().chain(args).copied().collect();
        let child = self.start(&all);
        until("it holds the semaphore and its command runs", || {
            self.holder(name).is_some_and(|h| pid_of(&h["process"]) == child.id() && !h["covers"].is_null())
        });
        // Covered is a moment earlier than executed.
        let command = self.covered(name);
        until("the command is executed", || command_line(command) != command_line(child.id()));
        child
    }

    /// `xsem show --json NAME`; None where there is no such name yet.
    pub fn show(&self, name: &str) -> Option<Value> {
        let out = self.output(&["show", "--json", name]);
        match out.status.success() {
            true => Some(serde_json::from_slice(&out.stdout).expect("show --json prints JSON")),
            false => None,
        }
    }

    /// The only holder.
    pub fn holder(&self, name: &str) -> Option<Value> {
        self.show(name)?["holders"].as_array()?.first().cloned()
    }

    /// All holders.
    pub fn holders(&self, name: &str) -> Vec<Value> {
        self.show(name).and_then(|s| s["holders"].as_array().cloned()).unwrap_or_default()
    }

    /// A script of a plain shell that finds `xsem` and the namespace in `$X` (split at spaces), killed with this thread.
    pub fn script(&self, text: &str) -> Command {
        let mut c = clean(Command::new("sh"));
        c.args(["-c", text]).env("X", format!("{XSEM} --namespace {}", self.url())).current_dir(self.dir()).stdin(Stdio::null());
        c
    }

    /// Runs a script to its end, which must be a good one, and gives what it printed.
    pub fn sh(&self, text: &str) -> String {
        let out = self.script(text).output().expect("sh can be run");
        assert!(out.status.success(), "{text}: {}\n{}{}", out.status, self::text(&out.stdout), self::text(&out.stderr));
        self::text(&out.stdout)
    }

    /// The process of the holder's command.
    pub fn covered(&self, name: &str) -> u32 {
        pid_of(&self.holder(name).expect("somebody holds it")["covers"])
    }

    /// How many wait.
    pub fn waiters(&self, name: &str) -> usize {
        self.show(name).and_then(|s| s["waiters"].as_array().map(Vec::len)).unwrap_or(0)
    }
}

/// The environment that tests want: nothing of an enclosing run, no colours, killed with this thread, signals as a login
/// shell has them (a shell without job control starts its background jobs with SIGINT and SIGQUIT ignored).
pub fn clean(mut c: Command) -> Command {
    for inherited in ["XSEM_CLAIMS", "XSEM_SLOTS", "XSEM_TOKENS", "XSEM_NAMESPACE"] {
        c.env_remove(inherited);
    }
    c.env("NO_COLOR", "1");
    // SAFETY: signal and prctl are async-signal-safe.
    unsafe {
        c.pre_exec(|| {
            for s in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGTERM, libc::SIGTSTP] {
                libc::signal(s, libc::SIG_DFL);
            }
            Ok(())
        });
        c.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    };
    c
}

/// Runs one of the scripts in `examples/`, which fail by themselves when something is wrong.
pub fn example(script: &str) -> Output {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(script);
    let out = clean(Command::new("sh")).arg(path).env("XSEM", XSEM).stdin(Stdio::null()).output().expect("sh can be run");
    assert!(out.status.success(), "{script}: {}\n{}\n{}", out.status, text(&out.stdout), text(&out.stderr));
    out
}

pub fn pid_of(process: &Value) -> u32 {
    process["pid"].as_u64().and_then(|p| u32::try_from(p).ok()).unwrap_or_else(|| panic!("no pid in {process}"))
}

/// Polls until it is so. The watchdog ends a wait that lasts.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let mut polls = 0u32;
    while !so() {
        polls += 1;
        if polls == 2000 {
            let _ = writeln!(std::io::stderr(), "still waiting until {what}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The state letter of /proc/PID/stat; None when the process is gone.
pub fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..].chars().next()
}

/// Neither gone nor a zombie.
pub fn lives(pid: u32) -> bool {
    state(pid).is_some_and(|s| !matches!(s, 'Z' | 'X'))
}

/// What it executes: a forked child has its parent's until it has executed something else.
pub fn command_line(pid: u32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

pub fn kill(pid: u32, signal: i32) {
    // SAFETY: plain numbers; the tests only name processes that they started and that are not reaped yet.
    let done = unsafe { libc::kill(pid as libc::pid_t, signal) };
    assert_eq!(done, 0, "kill {pid} with {signal}: {}", std::io::Error::last_os_error());
}

/// The exit code as a shell shows it.
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for a child and gives its exit code and stderr.
pub fn end(child: Child) -> (i32, String) {
    let out = child.wait_with_output().expect("the child can be waited for");
    (code(out.status), text(&out.stderr))
}

/// stderr must be exactly one line.
pub fn one_line(stderr: &[u8]) -> String {
    let all = text(stderr);
    assert!(all.ends_with('\n') && all.lines().count() == 1, "not one line: {all:?}");
    all.trim_end().to_owned()
}

/// A command that lasts until its standard input, a fifo in the place, is written to; then it does `then`.
pub fn until_told(place: &Place, fifo: &str, then: &str) -> String {
    let path = place.file(fifo);
    let c = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).expect("a path without NUL");
    // SAFETY: a C string that lives through the call.
    assert_eq!(unsafe { libc::mkfifo(c.as_ptr(), 0o600) }, 0, "mkfifo {}", path.display());
    format!("read line < {fifo}; {then}")
}

/// Ends the waiting of [`until_told`].
pub fn tell(place: &Place, fifo: &str) {
    fs::write(place.file(fifo), "go\n").expect("the command reads the fifo");
}
