//! What an operator does: drain, evict, gc.

mod common;

use common::{Place, code, end, kill, one_line, pid_of, tell, text, until, until_told};

#[test]
fn drain_lets_nobody_in_and_waits_until_all_are_out() {
    let p = Place::new();
    let work = until_told(&p, "go", "true");
    let owner = p.hold("a", &["a", "--", "sh", "-c", &work]);
    let waiter = p.start(&["run", "a", "--", "touch", "ran"]);
    until("it waits", || p.waiters("a") == 1);
    let drain = p.start(&["drain", "a"]);
    until("it is being drained", || p.show("a").expect("a")["drained"] == true);

    let out = p.output(&["run", "a", "--", "true"]);
    assert_eq!(code(out.status), 75, "a request is refused");
    assert!(one_line(&out.stderr).starts_with("xsem: 102 ERROR_SEM_IS_SET: "), "{}", text(&out.stderr));
    let out = p.output(&["run", "-q", "a", "--", "true"]);
    assert_eq!((code(out.status), text(&out.stderr)), (0, String::new()), "-q skips it");
    assert_eq!(code(p.output(&["drain", "a"]).status), 75, "somebody drains it already");
    let people = text(&p.output(&["show", "a"]).stdout);
    assert!(people.contains("drained") && people.contains("xsem drain --reopen a"), "{people}");
    assert!(text(&p.output(&["ls"]).stdout).contains("drained"));

    tell(&p, "go");
    assert_eq!((end(owner).0, end(waiter).0), (0, 0));
    assert!(p.file("ran").exists(), "who waited before had its turn");
    assert_eq!(end(drain), (0, String::new()));
    assert_eq!(code(p.output(&["run", "-w", "1", "a", "--", "true"]).status), 75, "it stays closed");
    assert_eq!(code(p.output(&["drain", "--reopen", "a"]).status), 0);
    assert_eq!(code(p.output(&["run", "-n", "a", "--", "true"]).status), 0);

    assert_eq!(code(p.output(&["drain", "a"]).status), 0);
    assert_eq!(code(p.output(&["rm", "a"]).status), 0, "drained, it can be removed");
}

#[test]
fn a_drain_that_ends_early_opens_it_again_and_says_who_is_left() {
    let p = Place::new();
    let owner = p.hold("a", &["a", "--", "sleep", "1000"]);
    let out = p.output(&["drain", "-w", "20ms", "a"]);
    let line = one_line(&out.stderr);
    assert_eq!(code(out.status), 75, "{line}");
    assert!(line.starts_with("xsem: 121 ERROR_SEM_TIMEOUT: ") && line.contains(&format!("{} `sleep", owner.id())), "{line}");
    assert_eq!(p.show("a").expect("a")["drained"], false);
    for signal in [libc::SIGINT, libc::SIGKILL] {
        let drain = p.start(&["drain", "a"]);
        until("it is being drained", || p.show("a").expect("a")["drained"] == true);
        kill(drain.id(), signal);
        assert_eq!(end(drain).0, 128 + signal);
        until("it is open again", || p.show("a").expect("a")["drained"] == false);
    }
    // Reopened by somebody while it waits: 95.
    let drain = p.start(&["drain", "a"]);
    until("it is being drained", || p.show("a").expect("a")["drained"] == true);
    assert_eq!(code(p.output(&["drain", "--reopen", "a"]).status), 0);
    let (status, said) = end(drain);
    assert!(status == 1 && said.starts_with("xsem: 95 ERROR_INTERRUPT: "), "{status} {said}");
    kill(owner.id(), libc::SIGKILL);
    assert_eq!(end(owner).0, 137);
    for args in [&["drain", "nothing"][..], &["drain", "--reopen", "nothing"]] {
        let out = p.output(args);
        assert!(code(out.status) == 1 && one_line(&out.stderr).starts_with("xsem: 187 "), "{}", text(&out.stderr));
    }
}

#[test]
fn evict_ends_the_claim_of_a_holder_that_hangs() {
    let p = Place::new();
    let work = until_told(&p, "go", "true");
    let owner = p.hold("a", &["a", "--", "sh", "-c", &work]);
    kill(owner.id(), libc::SIGSTOP);
    let waiter = p.start(&["run", "a", "--", "true"]);
    until("it waits", || p.waiters("a") == 1);
    let out = p.output(&["evict", "a"]);
    assert_eq!(code(out.status), 0, "{}", text(&out.stderr));
    assert!(text(&out.stdout).starts_with(&format!("evicted from `a`: {} `sh -c", owner.id())), "{}", text(&out.stdout));
    let (status, said) = end(waiter);
    assert!(status == 0 && said.contains("105") && said.contains("evicted"), "{said}");
    kill(owner.id(), libc::SIGCONT);
    tell(&p, "go");
    let (status, said) = end(owner);
    assert!(status == 0 && said.contains("not ours any more") && said.contains("288"), "{status} {said}");
    let out = p.output(&["evict", "a"]);
    assert_eq!(code(out.status), 1);
    assert!(one_line(&out.stderr).starts_with("xsem: 288 ERROR_NOT_OWNER: nobody holds `a`"), "{}", text(&out.stderr));
}

#[test]
fn of_several_holders_one_must_be_named() {
    let p = Place::new();
    let holders: Vec<_> = (0..3).map(|_| p.start(&["run", "--limit", "4", "gpu", "--", "sleep", "1000"])).collect();
    until("all hold", || p.holders("gpu").len() == 3 && p.holders("gpu").iter().all(|h| !h["covers"].is_null()));
    let out = p.output(&["evict", "gpu"]);
    let line = one_line(&out.stderr);
    assert_eq!(code(out.status), 1);
    for h in &holders {
        assert!(line.contains(&format!("{} `sleep", h.id())), "{line}");
    }
    assert!(line.contains("--token"), "{line}");
    assert_eq!(p.holders("gpu").len(), 3, "nothing has happened");

    let first = p.holders("gpu")[0]["token"].clone();
    let token = first.to_string();
    assert_eq!(code(p.output(&["evict", "--token", &token, "gpu"]).status), 0);
    assert!(p.holders("gpu").iter().all(|h| h["token"] != first));
    let command = pid_of(&p.holders("gpu")[0]["covers"]).to_string();
    assert_eq!(code(p.output(&["evict", "--pid", &command, "gpu"]).status), 0, "by the command");
    assert_eq!(p.holders("gpu").len(), 1);
    for args in [&["evict", "--token", &token, "gpu"][..], &["evict", "--pid", "1", "gpu"]] {
        let out = p.output(args);
        assert_eq!(code(out.status), 1, "{args:?}");
        assert!(one_line(&out.stderr).starts_with("xsem: 288 ERROR_NOT_OWNER: "), "{}", text(&out.stderr));
    }
    assert_eq!(p.show("gpu").expect("gpu")["capacity"]["free"], 3);
    for h in holders {
        kill(h.id(), libc::SIGKILL);
        assert_eq!(end(h).0, 137);
    }
    let all = p.output(&["run", "--permits", "4", "gpu", "--", "true"]);
    assert_eq!((code(all.status), text(&all.stderr)), (0, String::new()), "each permit came back exactly once");
    assert_eq!(p.show("gpu").expect("gpu")["capacity"]["free"], 4);
}

#[test]
fn gc_removes_what_nobody_uses() {
    let p = Place::new();
    let out = p.output(&["gc"]);
    assert_eq!((code(out.status), p.file("namespace").exists()), (0, false), "looking makes no namespace");
    for name in ["b", "a", "kept"] {
        assert_eq!(code(p.output(&["create", name]).status), 0);
    }
    let owner = p.hold("kept", &["kept", "--", "sleep", "1000"]);
    assert_eq!(code(p.output(&["run", "drained", "--", "true"]).status), 0);
    assert_eq!(code(p.output(&["drain", "drained"]).status), 0);
    let out = p.output(&["gc"]);
    assert_eq!((code(out.status), text(&out.stdout)), (0, String::new()), "all of them were used within 30 days");
    let out = p.output(&["gc", "--unused-for", "0", "--dry-run"]);
    let lines: Vec<String> = text(&out.stdout).lines().map(String::from).collect();
    assert!(lines[0].starts_with("would remove a, unused for ") && lines[1].starts_with("would remove b, "), "{lines:?}");
    assert_eq!(lines.len(), 2);
    assert!(p.show("a").is_some(), "a dry run removes nothing");
    let out = p.output(&["gc", "--unused-for", "0"]);
    assert!(text(&out.stdout).starts_with("removed a, unused for "), "{}", text(&out.stdout));
    assert_eq!(text(&out.stdout).lines().count(), 2);
    assert!(p.show("a").is_none() && p.show("b").is_none() && p.show("kept").is_some() && p.show("drained").is_some());
    kill(owner.id(), libc::SIGKILL);
    assert_eq!(end(owner).0, 137);
    assert_eq!(code(p.output(&["gc", "--unused-for", "soon"]).status), 125);
}
