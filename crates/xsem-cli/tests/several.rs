//! Several names in one `xsem run`, and `xsem wait`.

mod common;

use common::{Place, XSEM, code, end, kill, lives, one_line, tell, text, until, until_told};
use serde_json::json;
use std::fs;

/// How a command calls `xsem` in this place.
fn xsem(p: &Place) -> String {
    format!("{XSEM} --namespace {}", p.url())
}

#[test]
fn all_or_nothing() {
    let p = Place::new();
    let out = p.output(&["run", "a", "b", "c", "--", "sh", "-c", "echo $XSEM_TOKENS"]);
    assert_eq!((code(out.status), text(&out.stdout)), (0, "1,1,1\n".into()), "{}", text(&out.stderr));
    let work = until_told(&p, "go", "true");
    let owner = p.hold("b", &["b", "--", "sh", "-c", &work]);
    let out = p.output(&["run", "-n", "a", "b", "c", "--", "touch", "ran"]);
    let line = one_line(&out.stderr);
    assert_eq!(code(out.status), 75, "{line}");
    assert!(line.contains("`b`") && line.contains(&format!("{} `sh -c", owner.id())), "{line}");
    let waiter = p.start(&["run", "-w", "1000", "a", "b", "c", "--", "sh", "-c", "echo $XSEM_TOKENS"]);
    until("it waits", || p.waiters("b") == 1);
    assert_eq!(p.show("b").expect("b")["waiters"][0]["wants"], "all");
    assert!(text(&p.output(&["show", "b"]).stdout).contains("for this and others at once"));
    // While it waits it has none of them.
    assert!(p.holders("a").is_empty() && p.holders("c").is_empty());
    tell(&p, "go");
    assert_eq!(end(owner).0, 0);
    let out = waiter.wait_with_output().expect("it ends");
    assert_eq!((code(out.status), text(&out.stderr)), (0, String::new()));
    assert!(!p.file("ran").exists());
    for name in ["a", "b", "c"] {
        assert!(p.holders(name).is_empty(), "{name} was given back");
    }
}

#[test]
fn other_orders_never_block_each_other() {
    let p = Place::new();
    let add = "read x < sum; echo $((x + 1)) > sum";
    fs::write(p.file("sum"), "0\n").expect("a file");
    let orders = [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"], ["a", "c", "b"]];
    let children: Vec<_> = (0..24).map(|i| p.start(&[&["run"], &orders[i % 4][..], &["--", "sh", "-c", add]].concat())).collect();
    for child in children {
        assert_eq!(end(child), (0, String::new()));
    }
    assert_eq!(fs::read_to_string(p.file("sum")).expect("the sum"), "24\n");
}

#[test]
fn kinds_may_be_mixed() {
    let p = Place::new();
    assert_eq!(code(p.output(&["create", "--pool", "3", "gpu"]).status), 0);
    assert_eq!(code(p.output(&["create", "--pool", "2", "net"]).status), 0);
    let out = p.output(&["run", "net", "disk", "gpu", "--", "sh", "-c", "echo \"$XSEM_SLOTS\" $XSEM_TOKENS"]);
    assert_eq!((code(out.status), text(&out.stdout)), (0, "0 0 1,1,1\n".into()), "{}", text(&out.stderr));
    assert_eq!(p.show("disk").expect("made")["kind"], "exclusive");
}

#[test]
fn a_name_twice_is_153() {
    let p = Place::new();
    let out = p.output(&["run", "a", "b", "a", "--", "true"]);
    let line = one_line(&out.stderr);
    assert_eq!(code(out.status), 125);
    assert!(line.starts_with("xsem: 153 ERROR_INVALID_LIST_FORMAT: ") && line.contains("`a`"), "{line}");
    let names: Vec<String> = (0..65).map(|i| format!("n{i}")).collect();
    let args: Vec<&str> = ["run"].into_iter().chain(names.iter().map(String::as_str)).chain(["--", "true"]).collect();
    let out = p.output(&args);
    assert_eq!(code(out.status), 125);
    assert!(one_line(&out.stderr).starts_with("xsem: 151 ERROR_INVALID_EVENT_COUNT: "), "{}", text(&out.stderr));
    assert_eq!(code(p.output(&args.iter().copied().filter(|n| *n != "n64").collect::<Vec<_>>()).status), 0, "64 go");
}

#[test]
fn what_the_tree_has_is_shared_and_the_rest_acquired() {
    let p = Place::new();
    let x = xsem(&p);
    // One, two and all of them held outside.
    for outer in [&["a"][..], &["a", "b"], &["c", "a", "b"]] {
        let inner = format!("{x} run -n a b c -- sh -c 'echo $XSEM_TOKENS; exit 3'");
        let out = p.output(&[&["run"], outer, &["--", "sh", "-c", &inner]].concat());
        assert_eq!((code(out.status), text(&out.stderr)), (3, String::new()), "{outer:?}");
        assert_eq!(text(&out.stdout).trim().split(',').count(), 3, "{outer:?}");
        for name in ["a", "b", "c"] {
            assert!(p.holders(name).is_empty(), "{name} was given back after {outer:?}");
            assert_eq!(p.show(name).expect("it is there")["marked"], false, "{name} after {outer:?}");
        }
    }
    // Held and not acquired again: 3 outer claims of a.
    assert_eq!(p.show("a").expect("a")["counters"]["acquired"], 3);
}

#[test]
fn shares_last_until_the_inner_one_has_ended() {
    let p = Place::new();
    let inner = until_told(&p, "go", "echo inner >> order");
    let work = format!(
        "{} run a b c -- sh -c '{inner}' > /dev/null 2>&1 & while [ ! -e on ]; do sleep 0.02; done; echo outer >> order",
        xsem(&p)
    );
    let outer = p.start(&["run", "a", "b", "c", "--", "sh", "-c", &work]);
    let shared = |name: &str| p.holder(name).is_some_and(|h| h["shared_with"].as_array().is_some_and(|s| !s.is_empty()));
    until("the inner one shares them all", || ["a", "b", "c"].iter().all(|n| shared(n)));
    fs::write(p.file("on"), "").expect("a file");
    assert_eq!(end(outer).0, 0);
    for name in ["a", "b", "c"] {
        let out = p.output(&["run", "-n", name, "--", "true"]);
        assert_eq!(code(out.status), 75, "the inner one still has {name}: {}", text(&out.stderr));
    }
    tell(&p, "go");
    until("all are free", || ["a", "b", "c"].iter().all(|n| p.holders(n).is_empty()));
    assert_eq!(fs::read_to_string(p.file("order")).expect("both ran"), "outer\ninner\n");
    for name in ["a", "b", "c"] {
        assert_eq!(p.show(name).expect("it is there")["marked"], false, "{name}");
    }
}

#[test]
fn a_killed_inner_run_marks_all_that_it_shared() {
    let p = Place::new();
    let inner = until_told(&p, "never", "true");
    let rest = until_told(&p, "go", "exit 0");
    let work = format!("{} run a b -- sh -c 'echo $PPID > inner; {inner}'; touch on; {rest}", xsem(&p));
    let outer = p.start(&["run", "a", "b", "--", "sh", "-c", &work]);
    until("the inner one runs", || fs::read_to_string(p.file("inner")).is_ok_and(|s| s.ends_with('\n')));
    let inner: u32 = fs::read_to_string(p.file("inner")).expect("a pid").trim().parse().expect("a number");
    kill(inner, libc::SIGKILL);
    until("it is gone", || !lives(inner) && p.file("on").exists());
    for name in ["a", "b"] {
        assert_eq!(code(p.output(&["run", "-n", name, "--", "true"]).status), 75, "the outer one still holds {name}");
    }
    tell(&p, "go");
    assert_eq!(end(outer).0, 0);
    for name in ["a", "b"] {
        until("the death of the share is told", || p.show(name).expect("it is there")["marked"] == true);
    }
}

#[test]
fn a_signal_in_the_inner_command_marks_what_it_shared() {
    let p = Place::new();
    let work = format!("{} run a b c -- sh -c 'kill -9 $$'; exit 0", xsem(&p));
    assert_eq!(code(p.output(&["run", "a", "b", "--", "sh", "-c", &work]).status), 0);
    for name in ["a", "b", "c"] {
        let shown = p.show(name).expect("it is there");
        assert_eq!(shown["marked"], true, "{name}");
        assert!(shown["deaths"]["latest"]["cause"].to_string().contains("signal 9"), "{name}: {shown}");
    }
}

#[test]
fn the_warning_and_76_name_all_whose_owner_died() {
    let p = Place::new();
    assert_eq!(code(p.output(&["run", "a", "b", "--", "sh", "-c", "kill -9 $$"]).status), 137);
    let out = p.output(&["run", "--on-owner-death", "fail", "c", "b", "a", "--", "touch", "ran"]);
    let line = one_line(&out.stderr);
    assert_eq!(code(out.status), 76, "{line}");
    assert!(line.starts_with("xsem: 105 ERROR_SEM_OWNER_DIED: the previous owner of `b` died: "), "{line}");
    assert!(line.contains("the previous owner of `a` died: ") && line.contains("xsem ok b; xsem ok a"), "{line}");
    assert!(!p.file("ran").exists());
    let out = p.output(&["run", "c", "b", "a", "--", "true"]);
    let line = one_line(&out.stderr);
    assert!(code(out.status) == 0 && line.starts_with("xsem: warning: 105 ERROR_SEM_OWNER_DIED: "), "{line}");
    for name in ["a", "b", "c"] {
        assert_eq!(p.show(name).expect("it is there")["marked"], false, "exit code 0 says that {name} is in order");
    }
}

#[test]
fn killing_it_frees_all_after_the_command() {
    let p = Place::new();
    let owner = p.hold("b", &["a", "b", "--", "sleep", "1000"]);
    let command = p.covered("b");
    kill(owner.id(), libc::SIGKILL);
    let look = format!("grep -q '^State:.[ZX]' /proc/{command}/status || ! kill -0 {command}");
    let out = p.output(&["run", "b", "a", "--", "sh", "-c", &look]);
    assert_eq!(code(out.status), 0, "the command was there when the next one ran: {}", text(&out.stderr));
    assert!(text(&out.stderr).contains("the previous owner of `a` died"), "{}", text(&out.stderr));
    assert_eq!(end(owner).0, 137);
}

#[test]
fn wait_any_prints_the_first_that_can_be_had_and_keeps_nothing() {
    let p = Place::new();
    let work = until_told(&p, "go", "true");
    let a = p.hold("a", &["a", "--", "sh", "-c", &work]);
    let b = p.hold("b", &["b", "--", "sleep", "1000"]);
    let out = p.output(&["wait", "-n", "--any", "a", "b"]);
    assert_eq!((code(out.status), text(&out.stdout)), (75, String::new()), "{}", text(&out.stderr));
    one_line(&out.stderr);
    assert_eq!(code(p.output(&["wait", "-w", "10ms", "--any", "a", "b"]).status), 75);
    let waiter = p.start(&["wait", "--any", "b", "a"]);
    until("it waits for both", || p.waiters("a") == 1 && p.waiters("b") == 1);
    assert_eq!(p.show("a").expect("a")["waiters"][0]["wants"], "any");
    assert!(text(&p.output(&["show", "a"]).stdout).contains("for this or another one"));
    tell(&p, "go");
    let out = waiter.wait_with_output().expect("it ends");
    assert_eq!((code(out.status), text(&out.stdout), text(&out.stderr)), (0, "a\n".into(), String::new()));
    assert_eq!(end(a).0, 0);
    assert!(p.holders("a").is_empty(), "it was not kept");
    // The lowest of the list first.
    assert_eq!(code(p.output(&["create", "--pool", "2", "c"]).status), 0);
    assert_eq!(text(&p.output(&["wait", "--any", "b", "c", "a"]).stdout), "c\n");
    kill(p.covered("b"), libc::SIGKILL);
    assert_eq!(end(b).0, 137);
    let out = p.output(&["wait", "--any", "b", "a"]);
    assert_eq!(text(&out.stdout), "b\n");
    assert!(one_line(&out.stderr).contains("105"), "{}", text(&out.stderr));
    assert_eq!(p.show("b").expect("b")["marked"], true, "waiting acknowledges nothing");
}

#[test]
fn wait_all_waits_for_one_instant() {
    let p = Place::new();
    let work = until_told(&p, "go", "true");
    assert_eq!(code(p.output(&["create", "b"]).status), 0);
    let a = p.hold("a", &["a", "--", "sh", "-c", &work]);
    assert_eq!(code(p.output(&["wait", "-n", "--all", "a", "b"]).status), 75);
    assert_eq!(code(p.output(&["wait", "-w", "10ms", "a"]).status), 75, "one name needs no choice");
    let waiter = p.start(&["wait", "--all", "b", "a"]);
    until("it waits", || p.waiters("a") == 1);
    assert!(p.holders("b").is_empty());
    tell(&p, "go");
    let out = waiter.wait_with_output().expect("it ends");
    assert_eq!((code(out.status), text(&out.stdout), text(&out.stderr)), (0, String::new(), String::new()));
    assert_eq!(end(a).0, 0);
    assert_eq!(code(p.output(&["wait", "-n", "--all", "a", "b"]).status), 0);
    let out = p.output(&["wait", "a", "b"]);
    assert_eq!(code(out.status), 125);
    assert!(one_line(&out.stderr).contains("--any") && text(&out.stderr).contains("--all"));
    let out = p.output(&["wait", "--all", "a", "nothing"]);
    assert_eq!(code(out.status), 1);
    assert!(one_line(&out.stderr).starts_with("xsem: 187 "), "{}", text(&out.stderr));
}

#[test]
fn what_the_tree_has_needs_no_waiting() {
    let p = Place::new();
    let x = xsem(&p);
    assert_eq!(code(p.output(&["create", "b"]).status), 0);
    let work = format!("{x} wait --any a b && {x} wait -n --any b a && {x} wait --all b a && {x} wait a && echo done");
    let out = p.output(&["run", "a", "--", "sh", "-c", &work]);
    assert_eq!((code(out.status), text(&out.stdout)), (0, "a\nb\ndone\n".into()), "{}", text(&out.stderr));
}

#[test]
fn a_signal_ends_the_wait_and_owns_nothing() {
    let p = Place::new();
    assert_eq!(code(p.output(&["create", "b"]).status), 0);
    let a = p.hold("a", &["a", "--", "sleep", "1000"]);
    for args in [&["wait", "a"][..], &["wait", "--all", "a", "b"], &["run", "a", "b", "--", "true"]] {
        let waiter = p.start(args);
        until("it waits", || p.waiters("a") == 1);
        kill(waiter.id(), libc::SIGTERM);
        assert_eq!(end(waiter), (143, String::new()), "{args:?}");
        assert_eq!(p.show("a").expect("a")["waiters"], json!([]), "{args:?}");
        assert_eq!(p.show("b").expect("b")["marked"], false, "{args:?}");
    }
    kill(a.id(), libc::SIGKILL);
    assert_eq!(end(a).0, 137);
}

/// What is wrong with the list itself comes before what is wrong with its names, and before anything is made.
#[test]
fn a_list_that_is_too_long_is_refused_before_anything_is_made() {
    let p = Place::new();
    let names: Vec<String> = (1..=65).map(|i| format!("n{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cases: [(&[&str], &[&str], i32); 3] =
        [(&["run"], &["--", "true"], 125), (&["wait", "--any"], &[], 1), (&["event", "wait", "--create", "manual"], &[], 125)];
    for (before, after, exit) in cases {
        let out = p.output(&[before, &names, after].concat());
        assert_eq!(code(out.status), exit, "{before:?}");
        assert!(text(&out.stderr).contains("151 ERROR_INVALID_EVENT_COUNT: a list of 65 semaphores"), "{}", text(&out.stderr));
    }
    assert_eq!(text(&p.output(&["ls", "--json"]).stdout).matches("name").count(), 0);
}
