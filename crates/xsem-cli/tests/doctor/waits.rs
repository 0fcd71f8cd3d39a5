//! Who waits, whether that can end, and what has gone wrong lately.

use super::common::{Place, code, kill, lives, pid_of, state, until};
use super::{doctor, kill_all};
use std::process::Stdio;

/// The youngest wait of a cycle gets 1131 and ends it; stopped, it cannot. The cycle closes after it was stopped: by a
/// limit that is lowered, so that what the third one has is not enough any more.
#[test]
fn a_deadlock_whose_youngest_is_stopped() {
    let p = Place::new();
    let started = |text: &str| p.script(text).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh can be started");
    assert!(p.output(&["create", "--pool", "3", "pool"]).status.success());
    let mut third = started("exec $X run --permits 2 pool -- sleep 600");
    until("it holds two", || p.holders("pool").len() == 1);
    let old = started("exec $X run a -- sh -c 'while [ ! -e go1 ]; do sleep 0.02; done; exec $X run --permits 2 pool -- true'");
    let young = started("exec $X run pool -- sh -c 'while [ ! -e go2 ]; do sleep 0.02; done; exec $X run a -- true'");
    until("both hold something", || p.holders("pool").len() == 2 && p.holders("a").len() == 1);
    std::fs::write(p.file("go1"), "").expect("a file");
    until("the old one waits", || p.waiters("pool") == 1);
    std::fs::write(p.file("go2"), "").expect("a file");
    until("the young one waits", || p.waiters("a") == 1);
    let waiter = pid_of(&p.show("a").expect("it is there")["waiters"][0]["process"]);
    kill(waiter, libc::SIGSTOP);
    until("it is stopped", || state(waiter) == Some('T'));
    assert!(doctor(&p, &[]).get("deadlock").is_none(), "the third one may still give back");
    assert!(p.output(&["resize", "pool", "2"]).status.success());
    kill(third.id(), libc::SIGTERM);
    third.wait().expect("it can be waited for");
    until("it is seen", || doctor(&p, &[]).get("deadlock").is_some());
    let found = doctor(&p, &[]);
    found.must("deadlock", "trouble", &["waits for `a`", "waits for `pool`", "xsem evict", "xsem run A B"]);
    let all = found.json["findings"].as_array().expect("a list");
    assert_eq!(all.iter().filter(|f| f["kind"] == "deadlock").count(), 1, "told once");
    assert_eq!(all[0]["kind"], "deadlock", "and first");
    kill(waiter, libc::SIGKILL);
    kill_all([old, young]);
    until("all are gone", || !lives(waiter));
}

#[test]
fn who_waits_and_a_drained_one() {
    let p = Place::new();
    let child = p.hold("deploy", &["deploy", "--", "sleep", "600"]);
    let waiter = p.start(&["run", "deploy", "--", "echo", "done"]);
    until("somebody waits", || p.waiters("deploy") == 1);
    doctor(&p, &[]).must("waiting", "note", &["one waits, behind", "echo done", "xsem show deploy"]);
    kill_all([child, waiter]);
    assert!(p.output(&["create", "--event", "manual", "up"]).status.success());
    let waiter = p.start(&["event", "wait", "up"]);
    until("somebody waits", || p.waiters("up") == 1);
    doctor(&p, &["up"]).must("waiting", "note", &["for a signal", "xsem event signal up"]);
    kill_all([waiter]);
    assert!(p.output(&["create", "old"]).status.success());
    assert!(p.output(&["drain", "old"]).status.success());
    doctor(&p, &["old"]).must("drained", "warning", &["xsem drain --reopen old"]);
}

#[test]
fn programs_that_do_not_agree() {
    let p = Place::new();
    assert!(p.output(&["create", "--pool", "4", "gpu"]).status.success());
    assert!(p.output(&["run", "gpu", "true"]).status.success());
    assert!(doctor(&p, &[]).get("kind-mismatch").is_none(), "to look what it is, is no mistake");
    assert_eq!(code(p.output(&["ok", "gpu"]).status), 1);
    assert!(!p.output(&["run", "--limit", "8", "gpu", "true"]).status.success());
    let found = doctor(&p, &[]);
    found.must(
        "kind-mismatch",
        "warning",
        &["asked for an exclusive semaphore, but it is a counting semaphore", "xsem show gpu"],
    );
    found.must("limit-mismatch", "warning", &["asked for a pool of 8, but it is a pool of 4", "xsem resize gpu LIMIT"]);
}

#[test]
fn what_has_gone_wrong_lately() {
    let p = Place::new();
    assert!(p.output(&["log", "--on"]).status.success());
    let child = p.hold("deploy", &["deploy", "--", "sleep", "600"]);
    assert_eq!(code(p.output(&["run", "-w", "20ms", "deploy", "true"]).status), 75);
    doctor(&p, &[]).must("timed-out-lately", "note", &["once in the last hour", "`true`", "xsem log deploy"]);
    kill_all([child]);
    // What only it could give back.
    p.sh("$X create --pool 1 one; $X run one -- $X run one -- true || true");
    until("it is in the history", || doctor(&p, &[]).get("deadlock-lately").is_some());
    doctor(&p, &["one"]).must("deadlock-lately", "warning", &["would have waited for ever", "1131"]);
}
