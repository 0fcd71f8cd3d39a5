//! A namespace file that is removed or emptied while commands use it: nobody hangs, and each says what has happened.

mod common;

use common::Place;
use std::fs::{self, File};
use std::process::{Child, Output};
use std::time::Duration;

/// A command that waits for what another one holds, as soon as the first one is seen to hold it and the second to wait.
fn holder_and_waiter(p: &Place) -> (Child, Child) {
    let holder = p.hold("a", &["a", "--", "sleep", "100"]);
    let waiter = p.start(&["run", "-w", "200", "a", "--", "true"]);
    while p.show("a").is_none_or(|a| a["waiters"].as_array().is_none_or(Vec::is_empty)) {
        std::thread::sleep(Duration::from_millis(20));
    }
    (holder, waiter)
}

fn said(o: &Output) -> String {
    String::from_utf8_lossy(&o.stderr).into_owned()
}

#[test]
fn a_waiting_command_is_told_that_the_file_was_removed() {
    let p = Place::new();
    let (mut holder, waiter) = holder_and_waiter(&p);
    let path = p.url().trim_start_matches("shm:").to_owned();
    fs::remove_file(&path).unwrap();
    let o = waiter.wait_with_output().unwrap();
    assert_eq!(o.status.code(), Some(125), "{}", said(&o));
    assert!(said(&o).contains("6 ERROR_INVALID_HANDLE") && said(&o).contains(&path), "{}", said(&o));
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn a_waiting_command_is_told_that_the_file_was_emptied() {
    let p = Place::new();
    let (mut holder, waiter) = holder_and_waiter(&p);
    let path = p.url().trim_start_matches("shm:").to_owned();
    // As a shell's `: > FILE` does.
    File::create(&path).unwrap();
    let o = waiter.wait_with_output().unwrap();
    assert_eq!(o.status.code(), Some(125), "{}", said(&o));
    assert!(said(&o).contains("1392 ERROR_FILE_CORRUPT") && said(&o).contains("truncated"), "{}", said(&o));
    assert_eq!(p.output(&["ls"]).status.code(), Some(1));
    holder.kill().unwrap();
    holder.wait().unwrap();
}
