//! Child processes: their output stays visible, their end is checked, and one that hangs is shown and ended.

use crate::Failure;
use crate::hung;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// Longer than any step takes on two slow cores, so that only a hang meets it.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// One command to run in the workspace's root.
#[derive(Debug)]
pub struct Job {
    command: Command,
    limit: Option<Duration>,
    quiet: bool,
}

impl Job {
    /// The cargo that runs this program, with these arguments.
    pub fn cargo<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(args: I) -> Job {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        // No stdin: CI has none, and no step may wait for a person.
        command.args(args).current_dir(root()).stdin(Stdio::null());
        Job { command, limit: Some(LIMIT), quiet: false }
    }

    /// A program that was built before.
    pub fn built(path: &Path) -> Job {
        let mut command = Command::new(path);
        command.current_dir(root()).stdin(Stdio::null());
        Job { command, limit: Some(LIMIT), quiet: false }
    }

    /// A program of the system.
    pub fn named(program: &str) -> Job {
        Job::built(Path::new(program))
    }

    /// What it writes to stderr is of no interest.
    pub fn quiet(mut self) -> Job {
        self.quiet = true;
        self
    }

    /// Runs it in silence: its exit code, and what it wrote to stdout.
    pub fn tell(mut self, what: &str) -> Result<(Option<i32>, String), Failure> {
        let done = self.command.stderr(Stdio::inherit()).output();
        let o = done.map_err(|e| Failure::check(format!("{what} could not be started: {e}")))?;
        Ok((o.status.code(), String::from_utf8_lossy(&o.stdout).into_owned()))
    }

    pub fn arg(mut self, a: impl AsRef<OsStr>) -> Job {
        self.command.arg(a);
        self
    }

    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Job {
        self.command.args(args);
        self
    }

    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Job {
        self.command.env(key, value);
        self
    }

    /// Adds flags to an environment variable of flags, keeping what the caller's environment has.
    pub fn flags(self, key: &str, flags: &str) -> Job {
        let value = match env::var(key) {
            Ok(old) if !old.trim().is_empty() => format!("{old} {flags}"),
            _ => flags.to_owned(),
        };
        self.env(key, value)
    }

    /// Without a time limit: for what a person started and watches.
    pub fn unlimited(mut self) -> Job {
        self.limit = None;
        self
    }

    /// Runs it in silence and gives what it wrote to stdout.
    pub fn output(mut self, what: &str) -> Result<String, Failure> {
        let stderr = if self.quiet { Stdio::null() } else { Stdio::inherit() };
        match self.command.stderr(stderr).output() {
            Ok(o) if o.status.success() => Ok(String::from_utf8_lossy(&o.stdout).into_owned()),
            Ok(o) => Err(Failure::check(format!("{what} failed ({})", o.status))),
            Err(e) => Err(Failure::check(format!("{what} could not be started: {e}"))),
        }
    }

    /// Runs it to its end.
    pub fn must(self, what: &str) -> Result<(), Failure> {
        self.must_or_its_code(what).map_err(|f| Failure::check(f.text))
    }

    /// Runs it to its end. Its exit code is that of the failure, since it says what failed.
    pub fn must_or_its_code(mut self, what: &str) -> Result<(), Failure> {
        println!("$ {}", self.shown());
        let mut child = self
            .command
            .spawn()
            .map_err(|e| Failure::check(format!("{what} could not be started: {e}; is `{}` installed?", self.program())))?;
        match self.wait(&mut child) {
            Ok(s) if s.success() => Ok(()),
            Ok(s) => {
                let code = s.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1);
                Err(Failure { text: format!("{what} failed ({s})"), code })
            }
            Err(text) => Err(Failure::check(format!("{what} {text}"))),
        }
    }

    /// Runs `cargo test`: a test that hangs is named, its program is ended, and the others go on.
    pub fn must_test(self, what: &str) -> Result<(), Failure> {
        self.must_test_within(what, hung::SILENCE)
    }

    fn must_test_within(mut self, what: &str, silence: Duration) -> Result<(), Failure> {
        println!("$ {}", self.shown());
        let started = self.command.stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|e| Failure::check(format!("{what} could not be started: {e}")))?;
        let (told, mut watch, start) = (child.stdout.take().map(hung::lines), hung::Watch::default(), Instant::now());
        let status = loop {
            let moment = Duration::from_millis(50);
            if !told.as_ref().is_some_and(|told| hung::listen(told, &mut watch, moment)) {
                thread::sleep(moment);
            }
            if let Some(status) = child.try_wait().map_err(|e| Failure::check(format!("{what} could not be waited for: {e}")))? {
                break status;
            }
            if watch.hangs(Instant::now(), silence) {
                eprintln!("hung: {} (nothing has ended for {} s)", watch.hung.join(", "), silence.as_secs());
                end_below(&child);
            }
            if let Some(limit) = self.limit.filter(|&l| start.elapsed() > l) {
                end_tree(&mut child);
                return Err(Failure::check(format!("{what} hung: ended after {} s{}", limit.as_secs(), named(&watch.hung))));
            }
        };
        match status.success() && watch.hung.is_empty() {
            true => Ok(()),
            false => Err(Failure::check(format!("{what} failed ({status}){}", named(&watch.hung)))),
        }
    }

    fn wait(&self, child: &mut Child) -> Result<ExitStatus, String> {
        let start = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => thread::sleep(Duration::from_millis(50)),
                Err(e) => return Err(format!("could not be waited for: {e}")),
            }
            if let Some(limit) = self.limit.filter(|&l| start.elapsed() > l) {
                end_tree(child);
                return Err(format!("hung: ended after {} s; its processes are listed above", limit.as_secs()));
            }
        }
    }

    fn program(&self) -> String {
        let p = Path::new(self.command.get_program());
        p.file_name().unwrap_or(p.as_os_str()).to_string_lossy().into_owned()
    }

    fn shown(&self) -> String {
        let mut text = String::new();
        for (k, v) in self.command.get_envs() {
            if let Some(v) = v {
                text += &format!("{}={} ", k.to_string_lossy(), quoted(v));
            }
        }
        text += &self.program();
        for a in self.command.get_args() {
            text += &format!(" {}", quoted(a));
        }
        text
    }
}

fn quoted(a: &OsStr) -> String {
    let a = a.to_string_lossy();
    if a.contains([' ', '"', '$']) || a.is_empty() { format!("'{a}'") } else { a.into_owned() }
}

/// For the end of a message.
fn named(hung: &[String]) -> String {
    if hung.is_empty() { String::new() } else { format!("; hung: {}", hung.join(", ")) }
}

/// A process and everything below it, from the top.
fn tree(top: u32) -> Vec<u32> {
    let mut pids = vec![top];
    let mut next = 0;
    while next < pids.len() {
        pids.extend(children_of(pids[next]));
        next += 1;
    }
    pids
}

/// Ends processes, from the top, so that nobody starts another one, and says first what each of them was doing. False: it cannot be done.
fn end(pids: &[u32]) -> bool {
    for pid in pids {
        let read = |what: &str| fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
        eprintln!("hung: {pid} `{}` in {}", read("cmdline").replace('\0', " ").trim(), read("wchan"));
    }
    Command::new("kill").arg("-KILL").args(pids.iter().map(u32::to_string)).stderr(Stdio::null()).status().is_ok()
}

/// Ends a hung child and everything below it.
fn end_tree(child: &mut Child) {
    if !end(&tree(child.id())) {
        let _ = child.kill();
    }
    let _ = child.wait();
}

/// Ends what a child has started, and not the child.
fn end_below(child: &Child) {
    end(&tree(child.id())[1..]);
}

fn children_of(parent: u32) -> Vec<u32> {
    let Ok(dir) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = dir.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The command, in parentheses, may contain anything: what follows counts from the last one.
        let ppid = stat.rsplit(')').next().and_then(|t| t.split_whitespace().nth(1)).and_then(|p| p.parse().ok());
        ppid == Some(parent)
    })
    .collect()
}

/// The workspace's root: this crate's parent, wherever the command was called from.
pub fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| OsString::from(env!("CARGO_MANIFEST_DIR")));
    Path::new(&here).parent().expect("xtask lies in the workspace").to_path_buf()
}

/// Where build output goes: the environment's choice, else the workspace's own directory.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => root().join(dir),
        _ => root().join("target"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Job {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        Job { command, limit: Some(limit), quiet: false }
    }

    #[test]
    fn a_failure_is_told_with_its_code() {
        let f = shell("exit 3", LIMIT).must("the script").unwrap_err();
        assert_eq!((f.code, f.text.as_str()), (1, "the script failed (exit status: 3)"));
        shell("exit 0", LIMIT).must("the script").unwrap();
    }

    #[test]
    fn a_hung_test_is_named_and_its_program_ended_and_the_next_one_runs() {
        let script = "echo 'test a ... ok'; echo 'test b::hangs has been running for over 60 seconds'; sleep 86312; exit 7";
        let f = shell(script, LIMIT).must_test_within("a test", Duration::from_millis(300)).unwrap_err();
        assert_eq!((f.code, f.text.as_str()), (1, "a test failed (exit status: 7); hung: b::hangs"));
        shell("echo 'test a ... ok'", LIMIT).must_test("a test").unwrap();
    }

    #[test]
    fn a_hung_tree_is_ended_down_to_its_grandchildren() {
        let start = Instant::now();
        // The odd number of seconds tells this test's grandchild from anybody else's sleep.
        let f = shell("sh -c 'sleep 86311; true'; true", Duration::from_millis(300)).must("the script").unwrap_err();
        assert!(f.text.contains("hung"), "{}", f.text);
        let left = || {
            let dir = fs::read_dir("/proc").unwrap();
            dir.flatten().any(|e| fs::read(e.path().join("cmdline")).is_ok_and(|c| c == b"sleep\x0086311\0"))
        };
        while left() {
            assert!(start.elapsed() < Duration::from_secs(60), "the grandchild is still there");
            thread::sleep(Duration::from_millis(20));
        }
    }
}
