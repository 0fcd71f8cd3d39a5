//! Workers in surroundings of their own.

use super::common::Place;
use std::path::Path;
use std::process::{Command, Output};
use xsem_testkit::sys::Pid;
use xsem_testkit::within::NOT_HERE;
use xsem_testkit::worker::Worker;

pub const WITHIN: &str = env!("CARGO_BIN_EXE_within");
pub const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// A worker in these surroundings.
pub fn worker(place: &Place, options: &[&str]) -> Worker {
    worker_at(place.ns.url(), options)
}

/// The same on another URL.
pub fn worker_at(url: &str, options: &[&str]) -> Worker {
    let mut words = options.to_vec();
    words.extend(["--", WORKER, url]);
    Worker::start_with(WITHIN, &words)
}

/// Runs a program in these surroundings.
pub fn output(options: &[&str], program: &[&str]) -> Output {
    Command::new(WITHIN).args(options).arg("--").args(program).output().unwrap()
}

/// Whether this machine allows such surroundings. If not, says why, and what is not shown by that.
pub fn allows(options: &[&str], what: &str) -> bool {
    let done = output(options, &["/bin/true"]);
    let allowed = done.status.code() != Some(NOT_HERE as i32);
    if !allowed {
        println!("NOT SHOWN: {what}: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    assert!(!allowed || done.status.success(), "{options:?}: {done:?}");
    allowed
}

/// The worker itself, of the chain of processes that stands before it: by its number here.
pub fn inner(w: &Worker) -> Pid {
    let mut pid = w.pid() as Pid;
    let worker = Path::new(WORKER).canonicalize().unwrap();
    loop {
        if std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == worker) {
            return pid;
        }
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        match children.split_ascii_whitespace().next() {
            Some(child) => pid = child.parse().unwrap(),
            None => xsem_testkit::sys::nap(200),
        }
    }
}

/// Its number where it is.
pub fn number_inside(pid: Pid) -> Pid {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("NSpid:")).unwrap();
    line.split_ascii_whitespace().last().unwrap().parse().unwrap()
}
