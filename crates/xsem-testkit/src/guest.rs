//! The first process of an emulated machine: it runs what `/plan` says, one command after the other, each with a watchdog, says
//! on the console how each of them ended, and switches the machine off. `cargo xtask aarch64` builds the machine around it.
//!
//! What it says begins with [`MARK`], so that the one who reads the console finds it among the output of the commands:
//! `begin NAME`, `end NAME OUTCOME SECONDS`, and at last `done`.

use crate::sys;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How each line of its own begins.
pub const MARK: &str = "@guest";
/// What the kernel's command line must hold: nobody shall switch his own machine off by trying this out.
pub const CONSENT: &str = "xsem.guest";

/// One command of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// What it is called in the report.
    pub name: String,
    /// After so long it hangs.
    pub limit: Duration,
    /// Its environment, in addition.
    pub env: Vec<(String, String)>,
    /// The program and its arguments.
    pub command: Vec<String>,
}

impl Task {
    /// Reads a line: name, seconds, variables (`A=1 B=2`, or nothing), program, arguments; tabs between them.
    pub fn parse(line: &str) -> Option<Task> {
        let mut fields = line.split('\t');
        let name = fields.next().filter(|n| !n.is_empty() && !n.contains(' '))?.to_owned();
        let limit = Duration::from_secs(fields.next()?.parse().ok()?);
        let pair = |p: &str| p.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        let env = fields.next()?.split(' ').filter(|p| !p.is_empty()).map(pair).collect::<Option<_>>()?;
        let command: Vec<String> = fields.map(str::to_owned).collect();
        (!command.is_empty()).then_some(Task { name, limit, env, command })
    }
}

/// Runs the plan. Returns only if it may not.
pub fn run() -> io::Error {
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if sys::own_pid() != 1 {
        return io::Error::other("this is the first process of an emulated machine, and is run by `cargo xtask aarch64`");
    }
    // The first process finds nothing mounted.
    let mounted = if command_line.is_empty() { mount_all() } else { Ok(()) };
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if !command_line.split_whitespace().any(|w| w == CONSENT) {
        return io::Error::other(format!("the kernel was started without `{CONSENT}`: this is somebody's machine"));
    }
    match mounted.and_then(|()| prepare()).and_then(|()| fs::read_to_string("/plan")) {
        Ok(plan) => plan.lines().for_each(one),
        Err(e) => println!("{MARK} broken: {e}"),
    }
    println!("{MARK} done");
    power_off()
}

fn mount_all() -> io::Result<()> {
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/dev/shm")] {
        fs::create_dir_all(at)?;
        sys::mount(kind, at)?;
    }
    // A directory of the first file system, which is a tmpfs too: the programs of the plan may lie below it.
    fs::create_dir_all("/tmp")?;
    fs::set_permissions("/tmp", fs::Permissions::from_mode(0o1777))?;
    Ok(())
}

fn prepare() -> io::Result<()> {
    sys::loopback_up()?;
    // Programs that tests start, besides those that came with the machine.
    fs::create_dir_all("/bin")?;
    for name in ["true", "sleep"] {
        symlink("/init", format!("/bin/{name}"))?;
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    println!("{MARK} kernel {} page {}", kernel.trim(), sys::page_size());
    Ok(())
}

/// What this program does when it is called by another name.
pub fn other_name() -> Option<i32> {
    let mut args = std::env::args();
    match args.next()?.rsplit('/').next()? {
        "true" => Some(0),
        "sleep" => {
            let seconds = args.next().and_then(|s| s.parse().ok()).unwrap_or(1);
            std::thread::sleep(Duration::from_secs(seconds));
            Some(0)
        }
        _ => None,
    }
}

fn one(line: &str) {
    let Some(task) = Task::parse(line) else {
        println!("{MARK} broken: a line of the plan is no task: {line}");
        return;
    };
    println!("{MARK} begin {}", task.name);
    let before = shared_files();
    let begin = Instant::now();
    let outcome = match start(&task) {
        Ok(pid) => wait_for(pid, &task, begin),
        Err(e) => format!("not-started:{}", e.to_string().replace(' ', "-")),
    };
    end_all();
    // What is left has its own check (the tests clean up behind themselves); it must not fill the memory here.
    for path in shared_files().difference(&before) {
        let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
    }
    println!("{MARK} end {} {outcome} {:.1}", task.name, begin.elapsed().as_secs_f64());
}

fn start(task: &Task) -> io::Result<i32> {
    let mut command = Command::new(&task.command[0]);
    command.args(&task.command[1..]).envs(task.env.iter().cloned()).env("PATH", "/bin").stdin(Stdio::null());
    Ok(command.current_dir("/tmp").spawn()?.id() as i32)
}

/// Takes in whatever ends, as the first process must, until this one has.
fn wait_for(pid: i32, task: &Task, begin: Instant) -> String {
    loop {
        match sys::reap_any() {
            Some((who, status)) if who == pid => return outcome(ExitStatus::from_raw(status)),
            Some(_) => {}
            None => sys::nap(5_000),
        }
        if begin.elapsed() > task.limit {
            for other in processes() {
                println!("hung: {other} {}: {}", command_of(other), sys::describe(other));
            }
            return "hung".to_owned();
        }
    }
}

fn outcome(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "ok".to_owned(),
        (Some(code), _) => format!("exit:{code}"),
        (None, signal) => format!("signal:{}", signal.unwrap_or(0)),
    }
}

/// Whoever is left of a task; the next one begins on a quiet machine.
fn end_all() {
    while !processes().is_empty() {
        sys::kill_everybody_else();
        while sys::reap_any().is_some() {}
        sys::nap(1_000);
    }
}

/// All but this one and the kernel's own.
fn processes() -> Vec<i32> {
    let Ok(dir) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = dir.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    // Threads of the kernel have no program; a process that has ended has none, either, and is taken in above.
    pids.filter(|&pid| pid != 1 && fs::read_link(format!("/proc/{pid}/exe")).is_ok()).collect()
}

fn command_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ")
}

fn shared_files() -> BTreeSet<std::path::PathBuf> {
    ["/dev/shm", "/tmp"].iter().filter_map(|d| fs::read_dir(d).ok()).flatten().filter_map(|e| Some(e.ok()?.path())).collect()
}

fn power_off() -> ! {
    // What was written to the console has to get out.
    sys::nap(200_000);
    sys::power_off()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_task_or_nothing() {
        let task = Task::parse("fork\t60\tA=1 B=x=y\t/bin/fork\t--test-threads=2\ta b").unwrap();
        assert_eq!(task.limit, Duration::from_secs(60));
        assert_eq!(task.env, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "x=y".to_owned())]);
        assert_eq!(task.command, ["/bin/fork", "--test-threads=2", "a b"]);
        assert_eq!(Task::parse("fork\t60\t\t/bin/fork").unwrap().env, []);
        for bad in
            ["", "fork", "fork\t60", "fork\tx\t\t/bin/fork", "fork\t60\tA\t/bin/fork", "a b\t60\t\t/bin/fork", "fork\t60\t"]
        {
            assert_eq!(Task::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn nobody_elses_machine_is_switched_off() {
        assert!(run().to_string().contains("cargo xtask aarch64"));
    }
}
