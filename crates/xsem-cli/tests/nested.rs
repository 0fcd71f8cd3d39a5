//! `xsem run` inside `xsem run`: the same name shares the claim, which ends with the last of them.

mod common;

use common::{Place, XSEM, code, end, kill, lives, tell, text, until, until_told};
use std::fs;

/// How a command calls `xsem` in this place.
fn xsem(p: &Place) -> String {
    format!("{XSEM} --namespace {}", p.url())
}

#[test]
fn directly_and_through_shells_at_any_depth() {
    let p = Place::new();
    let x = xsem(&p);
    let direct = p.output(&["run", "a", "--", XSEM, "--namespace", &p.url(), "run", "-n", "a", "--", "sh", "-c", "exit 3"]);
    assert_eq!((code(direct.status), text(&direct.stderr)), (3, String::new()));
    let deep = format!("{x} run -n a -- sh -c '{x} run -n a -- sh -c \"{x} run -n a -- sh -c \\\"echo deep; exit 4\\\"\"'");
    let out = p.output(&["run", "a", "--", "sh", "-c", &deep]);
    assert_eq!((code(out.status), text(&out.stderr)), (4, String::new()));
    assert_eq!(text(&out.stdout), "deep\n");
    // One claim each time, not one a level.
    assert_eq!(p.show("a").expect("a is there")["counters"]["acquired"], 2);
    assert!(p.holder("a").is_none());
}

#[test]
fn through_make() {
    let p = Place::new();
    fs::write(p.file("Makefile"), format!("all:\n\t{} run -n a -- sh -c 'echo made > made'\n", xsem(&p))).expect("a file");
    let out = p.output(&["run", "a", "--", "make", "-s"]);
    assert_eq!((code(out.status), text(&out.stderr)), (0, String::new()));
    assert!(p.file("made").exists());
}

#[test]
fn other_names_in_between_do_not_matter() {
    let p = Place::new();
    let x = xsem(&p);
    let work = format!("{x} run -n 'b, 100% \"odd\"' -- sh -c '{x} run -n a -- {x} run -n \"b, 100% \\\"odd\\\"\" -- echo both'");
    let out = p.output(&["run", "a", "--", "sh", "-c", &work]);
    assert_eq!((code(out.status), text(&out.stderr)), (0, String::new()));
    assert_eq!(text(&out.stdout), "both\n");
}

#[test]
fn the_same_name_in_another_namespace_is_another_semaphore() {
    let p = Place::new();
    let other = format!("shm:{}", p.file("other").display());
    let out = p.output(&["run", "a", "--", XSEM, "--namespace", &other, "run", "-n", "a", "--", "true"]);
    assert_eq!(code(out.status), 0, "{}", text(&out.stderr));
    let counted = |url: &str| {
        let out = common::clean(std::process::Command::new(XSEM))
            .args(["--namespace", url, "show", "--json", "a"])
            .output()
            .expect("xsem can be run");
        let shown: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
        shown["counters"]["acquired"].clone()
    };
    assert_eq!((counted(&p.url()), counted(&other)), (1.into(), 1.into()));
}

/// A nested run in the background, by way of `container` (a command that executes another one; or nothing), outlives the outer one.
fn one_in_the_background_keeps_the_claim(container: &str) {
    let p = Place::new();
    let inner = until_told(&p, "go", "echo inner >> order");
    let work = format!(
        "{container} {} run a -- sh -c '{inner}' > /dev/null 2>&1 & echo outer >> order; while [ ! -e on ]; do sleep 0.02; done",
        xsem(&p)
    );
    let outer = p.hold("a", &["a", "--", "sh", "-c", &work]);
    until("the inner one shares the claim", || {
        p.holder("a").is_some_and(|h| h["shared_with"].as_array().is_some_and(|s| !s.is_empty()))
    });
    fs::write(p.file("on"), "").expect("a file");
    let waiter = p.start(&["run", "a", "--", "sh", "-c", "echo waiter >> order"]);
    assert_eq!(end(outer).0, 0, "the outer one ends with its own command");
    let out = p.output(&["run", "-w", "0.5", "a", "--", "true"]);
    assert_eq!(code(out.status), 75, "the inner one still runs: {}", text(&out.stderr));
    tell(&p, "go");
    assert_eq!(end(waiter), (0, String::new()));
    assert_eq!(fs::read_to_string(p.file("order")).expect("all ran"), "outer\ninner\nwaiter\n");
}

#[test]
fn one_in_the_background_keeps_the_claim_when_the_outer_one_has_ended() {
    one_in_the_background_keeps_the_claim("");
}

#[test]
fn one_that_comes_when_the_claim_is_over_is_a_stranger() {
    let p = Place::new();
    let x = xsem(&p);
    // Left behind in the background, with the variable of a claim that has ended, while another one has it.
    let late = format!("(while [ ! -e on ]; do sleep 0.02; done; {x} run -n a -- true; echo $? > late) > /dev/null 2>&1 &");
    assert_eq!(code(p.output(&["run", "a", "--", "sh", "-c", &late]).status), 0);
    let work = until_told(&p, "go", "true");
    let owner = p.hold("a", &["a", "--", "sh", "-c", &work]);
    fs::write(p.file("on"), "").expect("a file");
    until("it has tried", || fs::read_to_string(p.file("late")).is_ok_and(|s| s.ends_with('\n')));
    assert_eq!(fs::read_to_string(p.file("late")).expect("its exit code"), "75\n");
    tell(&p, "go");
    assert_eq!(end(owner).0, 0);
}

#[test]
fn a_nested_run_that_dies_leaves_the_claim_to_the_outer_one() {
    let p = Place::new();
    let inner = until_told(&p, "never", "true");
    let rest = until_told(&p, "go", "exit 0");
    let work = format!("{} run a -- sh -c 'echo $PPID > inner; {inner}'; touch on; {rest}", xsem(&p));
    let outer = p.hold("a", &["a", "--", "sh", "-c", &work]);
    until("the inner one runs", || fs::read_to_string(p.file("inner")).is_ok_and(|s| s.ends_with('\n')));
    let inner: u32 = fs::read_to_string(p.file("inner")).expect("a pid").trim().parse().expect("a number");
    kill(inner, libc::SIGKILL);
    until("it is gone", || !lives(inner) && p.file("on").exists());
    let out = p.output(&["run", "-w", "0.3", "a", "--", "true"]);
    assert_eq!(code(out.status), 75, "the outer one still holds it: {}", text(&out.stderr));
    tell(&p, "go");
    assert_eq!(end(outer).0, 0);
    assert_eq!(code(p.output(&["run", "-n", "a", "--", "true"]).status), 0);
}

#[test]
fn killing_the_outer_wrapper_ends_the_tree_before_anybody_takes_over() {
    let p = Place::new();
    let work = format!("exec {} run a -- sh -c 'echo $$ > inner; exec sleep 1000'", xsem(&p));
    let outer = p.hold("a", &["a", "--", "sh", "-c", &work]);
    until("the inner one runs", || fs::read_to_string(p.file("inner")).is_ok_and(|s| s.ends_with('\n')));
    let inner: u32 = fs::read_to_string(p.file("inner")).expect("a pid").trim().parse().expect("a number");
    let look = format!("grep -q '^State:.[ZX]' /proc/{inner}/status || ! kill -0 {inner}");
    let waiter = p.start(&["run", "a", "--", "sh", "-c", &look]);
    until("it waits", || p.waiters("a") == 1);
    kill(outer.id(), libc::SIGKILL);
    let (status, said) = end(waiter);
    assert_eq!(status, 0, "the inner command was there when the next one ran: {said}");
    assert!(said.contains("105"), "{said}");
    assert_eq!(end(outer).0, 137);
}

/// How a command gets a pid namespace and a `/proc` of its own, as a container has them; None where this user may not.
fn container() -> Option<&'static str> {
    let ways = [
        "unshare --pid --fork --kill-child --mount-proc",
        "unshare --user --map-root-user --pid --fork --kill-child --mount-proc",
    ];
    let way = ways.into_iter().find(|way| {
        let mut words = way.split(' ');
        let mut probe = std::process::Command::new(words.next().expect("a program"));
        probe.args(words).arg("true").output().is_ok_and(|o| o.status.success())
    });
    if way.is_none() {
        println!("NOT SHOWN: nested runs across pid namespaces: this user may make none");
    }
    way
}

#[test]
fn from_a_pid_namespace_of_its_own() {
    let p = Place::new();
    let (Some(container), x) = (container(), xsem(&p)) else { return };
    let deep = format!("{container} {x} run -n a -- {container} {x} run -n a -- sh -c 'echo $$ inside; exit 4'");
    let out = p.output(&["run", "a", "--", "sh", "-c", &deep]);
    assert_eq!((code(out.status), text(&out.stderr)), (4, String::new()));
    assert!(text(&out.stdout).ends_with(" inside\n"));
    assert_eq!(p.show("a").expect("a is there")["counters"]["acquired"], 1, "one claim, not one a level");
    assert!(p.holder("a").is_none());
}

#[test]
fn one_in_another_pid_namespace_keeps_the_claim_when_the_outer_one_has_ended() {
    if let Some(container) = container() {
        one_in_the_background_keeps_the_claim(container);
    }
}

/// Not "before anybody takes over", as without a container: the next owner cannot see what runs in another pid namespace
/// (docs/containers.md).
#[test]
fn killing_the_outer_wrapper_ends_a_container_in_it() {
    let p = Place::new();
    let Some(container) = container() else { return };
    // The kernel says whether the command in the container is there: it has a lock, which ends with it.
    let work = format!("exec {container} {} run a -- flock inner sh -c 'touch on; exec sleep 1000'", xsem(&p));
    let outer = p.hold("a", &["a", "--", "sh", "-c", &work]);
    until("the inner one runs", || p.file("on").exists());
    let waiter = p.start(&["run", "a", "--", "true"]);
    until("it waits", || p.waiters("a") == 1);
    kill(outer.id(), libc::SIGKILL);
    let (status, said) = end(waiter);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("105"), "{said}");
    assert_eq!(end(outer).0, 137);
    until("the command in the container is gone", || code(p.script("flock -n inner true").status().expect("sh")) == 0);
}
