//! Jobs that wait for each other: 1131 to the youngest wait, over nested runs, pools and shells that hold.

mod common;

use common::{Place, code, end, text, until};
use std::fs;
use std::process::{Child, Stdio};

/// Two scripts that each hold something when the other one begins to wait. Exactly one of them must be told, by a line that
/// fits; the other one must go on. `$X` is the command, `meet` waits until both have come so far.
fn crossing(p: &Place, scripts: [&str; 2]) -> String {
    let meet = |i: usize| format!("meet() {{ touch met{i}; while [ ! -e met{} ]; do sleep 0.02; done; }}; ", 1 - i);
    let start = |i: usize| -> Child {
        let nested = scripts[i].replace("meet", &format!("sh -c '{} meet'", meet(i)));
        p.script(&nested).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sh can be started")
    };
    for i in 0..2 {
        // Of a crossing before.
        let _ = fs::remove_file(p.file(&format!("met{i}")));
    }
    let jobs = [start(0), start(1)];
    let mut ends: Vec<(i32, String)> = jobs.into_iter().map(end).collect();
    ends.sort();
    assert_eq!(ends[0], (0, String::new()), "one of them goes on: {ends:?}");
    assert_eq!(ends[1].0, 125, "the other one is told: {ends:?}");
    let said = ends.swap_remove(1).1;
    assert!(said.starts_with("xsem: 1131 ERROR_POSSIBLE_DEADLOCK: ") && said.lines().count() == 1, "{said}");
    said
}

/// The steps of the cycle, as the line tells them.
fn steps(said: &str, first: &str, second: &str) {
    for part in [&format!("you wait for `{first}`, held by "), &format!(", which waits for `{second}`, held by you")] {
        assert!(said.contains(part.as_str()), "no {part:?} in {said}");
    }
}

#[test]
fn two_runs_in_opposite_orders() {
    let p = Place::new();
    let said = crossing(
        &p,
        ["exec $X run a -- sh -c \"meet; exec $X run b -- true\"", "exec $X run b -- sh -c \"meet; exec $X run a -- true\""],
    );
    if said.contains("you wait for `a`") {
        steps(&said, "a", "b")
    } else {
        steps(&said, "b", "a")
    }
    for name in ["a", "b"] {
        assert_eq!(p.show(name).expect("it is there")["marked"], false, "nobody died");
    }
}

/// A job of a script that is in the background as a whole is as every other.
#[test]
fn jobs_in_the_background_themselves() {
    let p = Place::new();
    crossing(
        &p,
        [
            "trap '' INT; exec $X run a -- sh -c \"meet; exec $X run b -- true\"",
            "trap '' INT; exec $X run b -- sh -c \"meet; exec $X run a -- true\"",
        ],
    );
}

#[test]
fn however_deep_they_are_nested() {
    let p = Place::new();
    crossing(
        &p,
        [
            "exec $X run a -- $X run c -- $X run d -- sh -c \"meet; exec $X run b -- true\"",
            "exec $X run b -- sh -c \"meet; exec $X run a -- true\"",
        ],
    );
}

#[test]
fn through_a_pool() {
    let p = Place::new();
    assert_eq!(code(p.output(&["create", "--pool", "2", "gpu"]).status), 0);
    crossing(
        &p,
        [
            "exec $X run --permits 2 gpu -- sh -c \"meet; exec $X run b -- true\"",
            "exec $X run b -- sh -c \"meet; exec $X run gpu -- true\"",
        ],
    );
}

#[test]
fn a_pool_that_waits_for_itself() {
    let p = Place::new();
    let out = p.script("exec $X run --limit 2 --permits 2 gpu -- $X run gpu -- true").output().expect("sh can be run");
    assert_eq!(code(out.status), 125);
    assert!(text(&out.stderr).starts_with("xsem: 1131 ERROR_POSSIBLE_DEADLOCK: "), "{}", text(&out.stderr));
}

#[test]
fn shells_that_hold() {
    let p = Place::new();
    crossing(&p, ["$X hold a; meet; $X run b -- true", "$X hold b; meet; $X run a -- true"]);
    crossing(&p, ["$X hold c; meet; $X run d -- true", "exec $X run d -- sh -c \"meet; exec $X run c -- true\""]);
}

#[test]
fn a_wait_and_a_drain_inside_of_a_command() {
    let p = Place::new();
    crossing(
        &p,
        ["exec $X run a -- sh -c \"meet; $X wait b || exit 125\"", "exec $X run b -- sh -c \"meet; exec $X run a -- true\""],
    );
    let said = p.output(&["run", "a", "--", "true"]);
    assert_eq!(code(said.status), 0, "{}", text(&said.stderr));
    let out = p.script("exec $X run a -- $X drain a").output().expect("sh can be run");
    assert_eq!(code(out.status), 1);
    assert!(text(&out.stderr).starts_with("xsem: 1131 ERROR_POSSIBLE_DEADLOCK: draining `a`"), "{}", text(&out.stderr));
    assert_eq!(p.show("a").expect("a")["drained"], false);
}

#[test]
fn all_at_once_cannot_happen() {
    let p = Place::new();
    let jobs: Vec<Child> = (0..10).map(|i| p.start(&["run", ["a", "b"][i % 2], ["b", "a"][i % 2], "--", "true"])).collect();
    for job in jobs {
        assert_eq!(end(job), (0, String::new()));
    }
}

/// What is in the background keeps nobody's command from ending, so that this is no cycle.
#[test]
fn a_run_in_the_background_is_in_no_cycle() {
    let p = Place::new();
    let first = "exec $X run a -- sh -c '$X run b -- touch first & while [ ! -e on ]; do sleep 0.02; done'";
    let second = "exec $X run b -- sh -c 'while [ ! -e go ]; do sleep 0.02; done; exec $X run a -- touch second'";
    let start = |s: &str| p.script(s).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("sh can be started");
    let second = start(second);
    until("the second has b", || p.holder("b").is_some());
    let first = start(first);
    until("the background waits for b", || p.waiters("b") == 1);
    fs::write(p.file("go"), "").expect("a file");
    until("and the second for a", || p.waiters("a") == 1 || p.file("on").exists());
    fs::write(p.file("on"), "").expect("a file");
    assert_eq!(end(second), (0, String::new()));
    // What it left in the background has its standard error.
    assert_eq!(end(first), (0, String::new()));
    assert!(p.file("first").exists() && p.file("second").exists());
}
