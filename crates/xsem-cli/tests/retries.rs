//! `xsem run --retries`: asks again where time can mend it, and only there.

mod common;

use common::{Place, code, end, kill, one_line, tell, text, until_told};
use std::io::{BufRead, BufReader, Read};
use std::process::Child;

const AGAIN: &str = "; asking again in ";

/// Waits until it has said once that it asks again.
fn asks_again(child: &mut Child) -> BufReader<std::process::ChildStderr> {
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a line");
    assert!(line.contains(AGAIN), "{line}");
    stderr
}

#[test]
fn it_gets_what_becomes_free_between_two_tries() {
    let p = Place::new();
    let command = until_told(&p, "fifo", "true");
    let holder = p.hold("deploy", &["deploy", "--", "sh", "-c", &command]);
    let mut asking =
        p.start(&["run", "-n", "--retries", "100000", "--backoff", "5ms", "--verbose", "deploy", "--", "echo", "mine"]);
    let mut stderr = asks_again(&mut asking);
    tell(&p, "fifo");
    assert_eq!(end(holder).0, 0);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("text");
    assert!(rest.lines().all(|l| l.contains("101 ERROR_EXCL_SEM_ALREADY_OWNED") && l.contains(AGAIN)), "{rest}");
    let out = asking.wait_with_output().expect("it ends");
    assert_eq!((code(out.status), text(&out.stdout).trim()), (0, "mine"));
}

#[test]
fn it_asks_as_often_as_it_is_told_and_then_says_why_not() {
    let p = Place::new();
    let mut holder = p.hold("deploy", &["deploy", "--", "sleep", "100"]);
    for (retries, quiet, exit) in [("0", false, 75), ("3", false, 75), ("3", true, 0)] {
        let how = if quiet { "-q" } else { "-n" };
        let out = p.output(&["run", how, "--retries", retries, "--backoff", "1ms..2ms", "--verbose", "deploy", "--", "true"]);
        assert_eq!(code(out.status), exit, "{retries} {how}");
        let said = text(&out.stderr);
        assert_eq!(said.matches(AGAIN).count().to_string(), retries, "{said}");
        assert_eq!(said.lines().count(), said.matches(AGAIN).count() + usize::from(!quiet), "{said}");
    }
    holder.kill().expect("it lives");
    holder.wait().expect("it ends");
}

#[test]
fn what_no_time_mends_is_refused_at_once() {
    let p = Place::new();
    assert_eq!(code(p.output(&["create", "--pool", "4", "gpu"]).status), 0);
    let with = ["run", "--retries", "9", "--backoff", "1h", "--verbose"];
    for (args, wanted) in [(&["", "--", "true"][..], "123 "), (&["--limit", "8", "gpu", "--", "true"], "87 ")] {
        let out = p.output(&[&with, args].concat());
        assert_eq!(code(out.status), 125);
        assert!(one_line(&out.stderr).contains(wanted), "{}", text(&out.stderr));
    }
    // 105 owns: the command runs, once.
    p.sh("$X run deploy -- sh -c 'kill -9 $$' || true");
    let out = p.output(&[&with[..], &["--on-owner-death", "fail", "deploy", "--", "true"]].concat());
    assert_eq!(code(out.status), 76);
    assert!(!text(&out.stderr).contains(AGAIN));
}

#[test]
fn a_drained_semaphore_is_asked_for_until_it_is_open_again() {
    let p = Place::new();
    p.sh("$X create deploy; $X drain deploy");
    let mut asking = p.start(&["run", "--retries", "100000", "--backoff", "5ms", "--verbose", "deploy", "--", "echo", "open"]);
    let mut stderr = asks_again(&mut asking);
    p.sh("$X drain --reopen deploy");
    stderr.read_to_string(&mut String::new()).expect("text");
    let out = asking.wait_with_output().expect("it ends");
    assert_eq!((code(out.status), text(&out.stdout).trim()), (0, "open"));
}

/// The time of `-w` is for all of it: no pause is begun that would end later.
#[test]
fn the_time_of_a_wait_is_for_all_tries_together() {
    let p = Place::new();
    let refused = |args: &[&str]| {
        let out = p.output(&[&["run", "--verbose", "--retries", "9"], args, &["deploy", "--", "true"]].concat());
        assert_eq!(code(out.status), 75);
        assert!(!text(&out.stderr).contains(AGAIN), "{}", text(&out.stderr));
    };
    let mut holder = p.hold("deploy", &["deploy", "--", "sleep", "100"]);
    refused(&["-w", "30ms", "--backoff", "1h"]);
    holder.kill().expect("it lives");
    holder.wait().expect("it ends");
    // Refused at once, since it is drained.
    p.sh("$X drain deploy");
    refused(&["-w", "50m", "--backoff", "3h"]);
}

#[test]
fn a_signal_ends_a_pause() {
    let p = Place::new();
    let mut holder = p.hold("deploy", &["deploy", "--", "sleep", "100"]);
    let mut asking = p.start(&["run", "-n", "--retries", "9", "--backoff", "1h", "--verbose", "deploy", "--", "true"]);
    let stderr = asks_again(&mut asking);
    kill(asking.id(), libc::SIGTERM);
    assert_eq!(end(asking).0, 128 + libc::SIGTERM);
    drop(stderr);
    holder.kill().expect("it lives");
    holder.wait().expect("it ends");
}

#[test]
fn a_wrong_backoff_says_what_is_allowed() {
    let p = Place::new();
    for wrong in ["5s..1s", "soon", "1s..", "-1"] {
        let out = p.output(&["run", "--retries", "1", &format!("--backoff={wrong}"), "deploy", "--", "true"]);
        assert_eq!(code(out.status), 125, "{wrong}");
        assert!(text(&out.stderr).contains("500ms") || text(&out.stderr).contains("1s..1m"), "{}", text(&out.stderr));
    }
}
