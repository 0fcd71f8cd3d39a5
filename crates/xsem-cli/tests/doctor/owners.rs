//! Who has it, and what became of that one.

use super::common::{Place, kill, lives, pid_of, state, until};
use super::{Found, doctor, kill_all};
use std::ffi::CString;
use std::process::{Command, Stdio};
use std::time::Duration;
use xsem::{Exclusive, Namespace};

/// A forked process that runs `f` and never comes back; killed with this one.
pub fn forked(f: impl FnOnce()) -> u32 {
    // SAFETY: the child runs `f` and does not return to the test harness.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: plain numbers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) };
            f();
            // SAFETY: as above.
            unsafe { libc::_exit(0) }
        }
        pid => u32::try_from(pid).expect("fork"),
    }
}

pub fn reap(pid: u32) {
    // SAFETY: our own child, whose status nobody wants.
    unsafe { libc::waitpid(pid as libc::pid_t, std::ptr::null_mut(), 0) };
}

/// A forked process that holds `name`, having done something else first.
fn holder(p: &Place, name: &str, then: impl FnOnce()) -> u32 {
    let url = p.url();
    let pid = forked(|| {
        let ns = Namespace::open(&url).expect("open");
        let s = Exclusive::open_or_create(&ns, name).expect("a semaphore");
        std::thread::scope(|t| {
            t.spawn(|| {
                std::mem::forget(s.acquire());
                loop {
                    std::thread::sleep(Duration::from_secs(60));
                }
            });
            then();
            loop {
                std::thread::sleep(Duration::from_secs(60));
            }
        });
    });
    until("it holds it", || p.holder(name).is_some_and(|h| pid_of(&h["process"]) == pid));
    pid
}

#[test]
fn a_stopped_owner() {
    let p = Place::new();
    let child = p.hold("deploy", &["deploy", "--", "sleep", "600"]);
    kill(child.id(), libc::SIGSTOP);
    until("it is stopped", || state(child.id()) == Some('T'));
    doctor(&p, &[]).must("owner-stopped", "warning", &["stopped", &format!("kill -CONT {}", child.id())]);
    let waiter = p.start(&["run", "deploy", "true"]);
    until("somebody waits", || p.waiters("deploy") == 1);
    doctor(&p, &["deploy"]).must("owner-stopped", "trouble", &["one waits for it", "xsem evict deploy"]);
    kill(child.id(), libc::SIGCONT);
    until("it goes on", || doctor(&p, &[]).get("owner-stopped").is_none());
    // Its command alone.
    let command = p.covered("deploy");
    kill(command, libc::SIGSTOP);
    until("it is stopped", || state(command) == Some('T'));
    // `xsem run` stops itself with its command, where that has a terminal; here it may or may not.
    doctor(&p, &[]).must("owner-stopped", "trouble", &["stopped", "kill -CONT"]);
    kill(command, libc::SIGKILL);
    kill_all([child, waiter]);
}

#[test]
fn an_owner_whose_main_thread_has_ended() {
    let p = Place::new();
    let pid = holder(&p, "deploy", || {
        // SAFETY: ends the calling thread alone.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    });
    until("its main thread has ended", || state(pid) == Some('Z'));
    doctor(&p, &[]).must("main-thread-ended", "warning", &["main thread", &format!("kill -KILL {pid}")]);
    kill(pid, libc::SIGKILL);
    reap(pid);
}

#[test]
fn an_owner_that_writes_a_core_file() {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if pattern.starts_with(['|', '/']) || pattern.trim().is_empty() {
        println!("NOT SHOWN: dumping-core: dumps go to `{}` here", pattern.trim());
        return;
    }
    let p = Place::new();
    let dir = p.file("cores");
    std::fs::create_dir(&dir).expect("a directory");
    let there = CString::new(dir.as_os_str().as_encoded_bytes()).expect("a path");
    // Dumps have their time; one that is over too soon is followed by a larger one.
    for megabytes in [128, 512, 1024] {
        let pid = holder(&p, "deploy", || {
            let all = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
            let mut hoard = vec![1u8; megabytes << 20];
            hoard.iter_mut().step_by(4096).for_each(|b| *b = 2);
            std::mem::forget(hoard);
            // SAFETY: a path, a valid limit.
            unsafe { (libc::chdir(there.as_ptr()), libc::setrlimit(libc::RLIMIT_CORE, &all)) };
        });
        kill(pid, libc::SIGABRT);
        let mut seen: Option<Found> = None;
        while seen.is_none() && lives(pid) {
            seen = Some(doctor(&p, &[])).filter(|f| f.get("dumping-core").is_some());
        }
        reap(pid);
        if let Some(f) = seen {
            return f.must("dumping-core", "warning", &["core file", "ulimit -c"]);
        }
        for e in std::fs::read_dir(&dir).expect("a directory").flatten() {
            std::fs::remove_file(e.path()).expect("a dump goes");
        }
    }
    println!("NOT SHOWN: dumping-core: a gigabyte was dumped too soon");
}

#[test]
fn a_dead_owner_and_what_it_leaves() {
    let p = Place::new();
    let mut child = p.hold("deploy", &["deploy", "--", "sleep", "600"]);
    let command = p.covered("deploy");
    kill(child.id(), libc::SIGKILL);
    kill(command, libc::SIGKILL);
    child.wait().expect("it can be waited for");
    until("its command is gone, too", || !lives(command));
    doctor(&p, &["deploy"]).must("owner-dead", "warning", &["has died", "105", "xsem ok deploy"]);
    // A successor that fails leaves the mark.
    assert!(!p.output(&["run", "deploy", "false"]).status.success());
    doctor(&p, &[]).must("marked", "warning", &["its process ended", "xsem ok deploy"]);
    assert!(p.output(&["ok", "deploy"]).status.success());
    assert!(doctor(&p, &[]).get("marked").is_none());
    // Of permits nothing is left to do.
    let pid = forked(|| {
        let ns = Namespace::open(&p.url()).expect("open");
        let pool = xsem::Counting::open_or_create_pool(&ns, "gpu", 2).expect("a pool");
        std::mem::forget(pool.acquire());
    });
    reap(pid);
    doctor(&p, &["gpu"]).must("owner-dead", "note", &["has died", "gets its permits back"]);
}

#[test]
fn a_thread_that_ended_as_owner() {
    let p = Place::new();
    let ns = Namespace::open(&p.url()).expect("open");
    let s = Exclusive::open_or_create(&ns, "ledger").expect("a semaphore");
    std::thread::spawn(move || std::mem::forget(s.acquire())).join().expect("a thread");
    doctor(&p, &["ledger"]).must("marked", "warning", &["its thread ended"]);
}

#[test]
fn a_command_that_outlives_its_run() {
    let p = Place::new();
    let mut child = p.hold("deploy", &["--detach-on-death", "deploy", "--", "sleep", "600"]);
    let command = p.covered("deploy");
    kill(child.id(), libc::SIGKILL);
    child.wait().expect("it can be waited for");
    doctor(&p, &[]).must("command-outlives", "warning", &["still runs", &format!("kill {command}")]);
    kill(command, libc::SIGKILL);
}

#[test]
fn an_owner_in_another_pid_namespace() {
    let p = Place::new();
    let mut c = super::common::clean(Command::new("unshare"));
    c.args(["-Urpf", "--kill-child", super::common::XSEM, "--namespace", &p.url(), "run", "deploy", "--", "sleep", "600"]);
    let mut child = c.stderr(Stdio::null()).spawn().expect("unshare can be started");
    until("it holds it, or cannot", || p.holder("deploy").is_some() || child.try_wait().is_ok_and(|ended| ended.is_some()));
    if child.try_wait().is_ok_and(|ended| ended.is_some()) {
        println!("NOT SHOWN: owner-unseen: `unshare -Urpf` is not allowed here");
        return;
    }
    doctor(&p, &["deploy"]).must("owner-unseen", "note", &["another pid namespace"]);
    child.kill().expect("it can be killed");
    child.wait().expect("it can be waited for");
}

#[test]
fn a_hold_that_is_unusually_long() {
    let p = Place::new();
    assert!(p.output(&["log", "--on"]).status.success());
    let _short = p.output(&["run", "deploy", "true"]);
    let child = p.hold("deploy", &["deploy", "--", "sleep", "600"]);
    until("it is long", || doctor(&p, &["deploy"]).get("held-long").is_some());
    doctor(&p, &["deploy"]).must("held-long", "note", &["unusual", "in the last 1 claims of the history"]);
    let waiter = p.start(&["run", "deploy", "true"]);
    until("somebody waits", || p.waiters("deploy") == 1);
    doctor(&p, &["deploy"]).must("held-long", "warning", &[]);
    let mut q = p.xsem(&["doctor", "-q", "deploy"]);
    assert!(super::text(&q.output().expect("xsem").stdout).contains("held for"));
    kill_all([child, waiter]);
}
