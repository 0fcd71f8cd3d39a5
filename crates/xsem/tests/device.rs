//! The example `device`: its routine may signal, and gets 104 when it requests an exclusive semaphore.

#[allow(dead_code, reason = "the example's main")]
#[path = "../examples/device.rs"]
mod example;

use example::{Line, TEXT};
use std::process::{Command, Stdio};

/// What a child process of this test shall be, and with which namespace.
const LINE: &str = "XSEM_DEVICE_TEST_LINE";
const URL: &str = "XSEM_DEVICE_TEST_URL";

/// Not a test, unless it is told what to be: the example's machine is the process's only one.
#[test]
fn child() {
    let line = match std::env::var(LINE).as_deref() {
        Ok("signal") => Line::Signal,
        Ok("scope") => Line::Scope,
        _ => return,
    };
    let report = example::run(&std::env::var(URL).expect("told"), line).expect("it works");
    println!("\nsaid {} {} {}", report.interrupts, report.refused, report.text);
}

/// What the driver received, how many interrupts there were, and how many of their requests were refused.
fn run(line: &str) -> (String, u32, u32) {
    let dir = tempfile::tempdir().expect("room");
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "child", "--nocapture"]).env(LINE, line);
    command.env(URL, format!("shm:{}/ns", dir.path().display()));
    let out = command.stderr(Stdio::inherit()).output().expect("it can be started");
    assert!(out.status.success(), "{line}: {:?}", out.status);
    let out = String::from_utf8(out.stdout).expect("text");
    let said = out.lines().find_map(|l| l.strip_prefix("said ")).expect("a report");
    let mut words = said.splitn(3, ' ');
    let mut number = || words.next().and_then(|n| n.parse().ok()).expect("a number");
    let (interrupts, refused) = (number(), number());
    (words.next().expect("the text").to_owned(), interrupts, refused)
}

#[test]
fn its_routine_runs_as_a_signal_handler() {
    let (text, interrupts, refused) = run("signal");
    assert_eq!(text, TEXT);
    assert!(interrupts as usize >= TEXT.len(), "{interrupts}");
    assert_eq!(refused, interrupts);
}

#[test]
fn its_routine_runs_in_a_declared_scope() {
    let (text, interrupts, refused) = run("scope");
    assert_eq!(text, TEXT);
    assert!(interrupts as usize >= TEXT.len(), "{interrupts}");
    assert_eq!(refused, interrupts);
}
