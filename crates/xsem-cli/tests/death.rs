//! Owners that die: of `xsem run`, of its command, of both.

mod common;

use common::{Place, code, end, kill, lives, one_line, pid_of, tell, text, until, until_told};
use std::fs;

#[test]
fn sigkill_of_wrapper_and_command_lets_a_waiter_go_on_and_tells_it() {
    let p = Place::new();
    let owner = p.hold("a", &["--label", "night", "a", "--", "sleep", "1000"]);
    let (wrapper, command) = (owner.id(), p.covered("a"));
    let waiter = p.start(&["run", "a", "--", "touch", "ran"]);
    until("it waits", || p.waiters("a") == 1);
    kill(command, libc::SIGKILL);
    kill(wrapper, libc::SIGKILL);
    let (status, said) = end(waiter);
    assert_eq!(status, 0, "{said}");
    let line = one_line(said.as_bytes());
    assert!(line.starts_with("xsem: warning: 105 ERROR_SEM_OWNER_DIED: "), "{line}");
    assert!(line.contains(&format!("{wrapper} `sleep 1000`")) && line.contains("[night]"), "{line}");
    assert!(p.file("ran").exists());
    assert_eq!(end(owner).0, 137);
    // Its command succeeded: things are in order again, and the next one is not told.
    let next = p.output(&["run", "a", "--", "true"]);
    assert_eq!((code(next.status), text(&next.stderr)), (0, String::new()));
    assert_eq!(p.show("a").expect("a is there")["counters"]["deaths"], 1);
}

#[test]
fn sigkill_of_the_wrapper_ends_the_command_before_anybody_takes_over() {
    let p = Place::new();
    for round in 0..10 {
        // The command writes for as long as it lives; whoever comes next looks whether it still does.
        let work = "echo $$ > pid; while :; do echo x >> alive; done";
        let owner = p.hold("a", &["a", "--", "sh", "-c", work]);
        let command = p.covered("a");
        let look = format!("grep -q '^State:.[ZX]' /proc/{command}/status || ! kill -0 {command}");
        let waiter = p.start(&["run", "a", "--", "sh", "-c", &look]);
        until("it waits", || p.waiters("a") == 1);
        kill(owner.id(), libc::SIGKILL);
        let (status, said) = end(waiter);
        assert_eq!(status, 0, "round {round}: the command was there when the next one ran: {said}");
        assert!(said.contains("105 ERROR_SEM_OWNER_DIED"), "{said}");
        assert!(!lives(command));
        assert_eq!(end(owner).0, 137);
    }
    assert_eq!(p.show("a").expect("a is there")["counters"]["deaths"], 10);
}

/// Nobody has asked for it since; and the dead one's place among the members is another's by now, who covers a command of its own.
#[test]
fn a_dead_owner_is_not_said_to_cover_what_its_successor_among_the_members_covers() {
    let p = Place::new();
    let owner = p.hold("a", &["a", "--", "sleep", "1000"]);
    let command = p.covered("a");
    kill(owner.id(), libc::SIGKILL);
    assert_eq!(end(owner).0, 137);
    until("its command has ended, too", || !lives(command));
    let other = p.hold("b", &["b", "--", "sleep", "1000"]);
    assert!(lives(p.covered("b")));
    let shown = p.show("a").expect("a is there");
    assert!(shown["holders"].as_array().is_none_or(|all| all.iter().all(|h| h["covers"].is_null())), "{shown}");
    let said = text(&p.output(&["doctor", "a"]).stdout);
    assert!(said.contains("xsem explain 105") && !said.contains("still runs"), "{said}");
    kill(other.id(), libc::SIGTERM);
    end(other);
}

#[test]
fn a_detached_command_lives_on_and_so_does_the_claim() {
    let p = Place::new();
    let work = until_told(&p, "go", "echo command >> order");
    let mut owner = p.hold("a", &["--detach-on-death", "a", "--", "sh", "-c", &work]);
    let command = p.covered("a");
    let waiter = p.start(&["run", "a", "--", "sh", "-c", "echo waiter >> order"]);
    until("it waits", || p.waiters("a") == 1);
    kill(owner.id(), libc::SIGKILL);
    // Its pipes stay open, since the command has them.
    assert_eq!(code(owner.wait().expect("its status")), 137);

    let out = p.output(&["run", "-w", "0.5", "a", "--", "true"]);
    assert_eq!(code(out.status), 75, "somebody took over while the command lived: {}", text(&out.stderr));
    assert!(lives(command));
    let shown = text(&p.output(&["show", "a"]).stdout);
    assert!(shown.contains("the claim lasts until the command has ended"), "{shown}");
    let out = p.output(&["run", "-n", "a", "--", "true"]);
    assert!(one_line(&out.stderr).starts_with("xsem: 101 "), "{}", text(&out.stderr));
    assert_eq!(p.waiters("a"), 1, "the waiter waits on");

    tell(&p, "go");
    let (status, said) = end(waiter);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("105 ERROR_SEM_OWNER_DIED"), "its wrapper died: {said}");
    assert_eq!(fs::read_to_string(p.file("order")).expect("both ran"), "command\nwaiter\n");
}

#[test]
fn a_killed_command_is_told_to_the_next_one() {
    let p = Place::new();
    let owner = p.hold("a", &["a", "--", "sleep", "1000"]);
    let waiter = p.start(&["run", "a", "--", "true"]);
    until("it waits", || p.waiters("a") == 1);
    kill(p.covered("a"), libc::SIGKILL);
    assert_eq!(end(owner), (137, String::new()));
    let (status, said) = end(waiter);
    assert_eq!(status, 0);
    assert!(said.contains("its command was ended by signal 9"), "{said}");
}

#[test]
fn on_owner_death_fail_is_76_and_keeps_the_mark() {
    let p = Place::new();
    assert_eq!(code(p.output(&["run", "a", "--", "sh", "-c", "kill -9 $$"]).status), 137);
    for _ in 0..2 {
        let out = p.output(&["run", "--on-owner-death", "fail", "a", "--", "touch", "ran"]);
        let line = one_line(&out.stderr);
        assert_eq!(code(out.status), 76, "{line}");
        assert!(line.starts_with("xsem: 105 ERROR_SEM_OWNER_DIED: ") && line.contains("xsem ok"), "{line}");
    }
    assert!(!p.file("ran").exists());

    // A command that fails does not put things in order either.
    let out = p.output(&["run", "a", "--", "false"]);
    assert_eq!(code(out.status), 1);
    assert!(text(&out.stderr).contains("105"), "{}", text(&out.stderr));
    assert_eq!(p.show("a").expect("a is there")["marked"], true);

    let out = p.output(&["run", "a", "--", "true"]);
    assert_eq!(code(out.status), 0);
    assert!(text(&out.stderr).contains("105"), "{}", text(&out.stderr));
    assert_eq!(p.show("a").expect("a is there")["marked"], false);
    assert_eq!(p.show("a").expect("a is there")["counters"]["deaths"], 1, "told four times, died once");
}

#[test]
fn a_killed_waiter_is_nobody_s_death() {
    let p = Place::new();
    let work = until_told(&p, "go", "true");
    let owner = p.hold("a", &["a", "--", "sh", "-c", &work]);
    let first = p.start(&["run", "a", "--", "touch", "ran"]);
    until("the first waits", || p.waiters("a") == 1);
    let second = p.start(&["run", "a", "--", "true"]);
    until("the second waits", || p.waiters("a") == 2);
    kill(first.id(), libc::SIGKILL);
    assert_eq!(end(first).0, 137);
    tell(&p, "go");
    assert_eq!(end(owner), (0, String::new()));
    assert_eq!(end(second), (0, String::new()));
    assert!(!p.file("ran").exists());
    assert_eq!(p.show("a").expect("a is there")["counters"]["deaths"], 0);
}

#[test]
fn show_tells_who_died_and_ok_acknowledges() {
    let p = Place::new();
    let owner = p.hold("a", &["--label", "the first", "a", "--", "sleep", "1000"]);
    let wrapper = owner.id();
    let command = p.covered("a");
    kill(wrapper, libc::SIGKILL);
    assert_eq!(end(owner).0, 137);
    until("the command is gone", || !lives(command));
    // Nobody has come since; the claim is over all the same.
    let people = text(&p.output(&["show", "a"]).stdout);
    assert!(people.contains(", dead") && people.contains("the next one gets the semaphore at once"), "{people}");
    assert_eq!(code(p.output(&["run", "a", "--", "sh", "-c", "kill -15 $$"]).status), 143);

    let shown = p.show("a").expect("a is there");
    assert_eq!(shown["marked"], true);
    assert_eq!(shown["deaths"]["count"], 2);
    assert_eq!(pid_of(&shown["deaths"]["first"]["process"]), wrapper);
    assert_eq!(shown["deaths"]["first"]["label"], "the first");
    let people = text(&p.output(&["show", "a"]).stdout);
    assert!(people.contains("mark      set") && people.contains("xsem ok a"), "{people}");

    let out = p.output(&["ok", "a"]);
    assert_eq!(code(out.status), 0, "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("consistent again; acknowledged: "), "{}", text(&out.stdout));
    assert_eq!(p.show("a").expect("a is there")["marked"], false);
    assert_eq!(p.show("a").expect("a is there")["counters"]["deaths"], 2);

    let out = p.output(&["ok", "a"]);
    assert_eq!(code(out.status), 0);
    assert!(text(&out.stdout).contains("nothing to acknowledge"), "{}", text(&out.stdout));
}

#[test]
fn ok_needs_the_semaphore_or_the_run_that_has_it() {
    let p = Place::new();
    assert_eq!(code(p.output(&["run", "a", "--", "sh", "-c", "kill -9 $$"]).status), 137);
    let work = until_told(&p, "go", "exit 1");
    let owner = p.hold("a", &["a", "--", "sh", "-c", &work]);
    let out = p.output(&["ok", "a"]);
    assert_eq!(code(out.status), 75);
    assert!(one_line(&out.stderr).contains("101 ERROR_EXCL_SEM_ALREADY_OWNED: "), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains(&format!("held by {} ", owner.id())), "{}", text(&out.stderr));
    tell(&p, "go");
    assert_eq!(end(owner).0, 1);

    // A repair script that runs under the semaphore says so itself.
    let repair = format!("{} --namespace {} ok a; exit 1", common::XSEM, p.url());
    let out = p.output(&["run", "a", "--", "sh", "-c", &repair]);
    assert_eq!(code(out.status), 1, "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("consistent again"), "{}{}", text(&out.stdout), text(&out.stderr));
    assert_eq!(p.show("a").expect("a is there")["marked"], false);
}
