//! `xsem event`: signal, reset, wait, and what the other commands say of events.

mod common;

use common::terminal::Terminal;
use common::{Place, code, end, kill, lives, one_line, state, text, until};
use serde_json::json;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;

/// Runs `xsem ARGS`, which must end with `exit`, and gives what it said.
fn done(p: &Place, exit: i32, args: &[&str]) -> Output {
    let out = p.output(args);
    assert_eq!(code(out.status), exit, "{args:?}: {}{}", text(&out.stdout), text(&out.stderr));
    out
}

fn made(reset: &str, name: &str) -> Place {
    let p = Place::new();
    done(&p, 0, &["create", "--event", reset, name]);
    p
}

fn signalled(p: &Place, name: &str) -> bool {
    p.show(name).expect("it is there")["event"]["signalled"].as_bool().expect("a truth")
}

#[test]
fn a_manual_event_lets_everybody_go_on_until_it_is_reset() {
    let p = made("manual", "up");
    let waiters: Vec<_> = (0..5).map(|_| p.start(&["event", "wait", "up"])).collect();
    until("all wait", || p.waiters("up") == 5);
    let out = done(&p, 0, &["event", "signal", "-v", "up"]);
    assert_eq!(text(&out.stdout), "up: was reset\n");
    for waiter in waiters {
        assert_eq!(end(waiter), (0, String::new()));
    }
    let out = done(&p, 0, &["event", "wait", "-n", "up"]);
    assert_eq!((text(&out.stdout), text(&out.stderr)), (String::new(), String::new()), "one name: nothing to be said");
    assert_eq!(text(&done(&p, 0, &["event", "signal", "-v", "up"]).stdout), "up: was signalled\n");
    assert_eq!(text(&done(&p, 0, &["event", "reset", "--json", "up"]).stdout), "{\"name\":\"up\",\"was_signalled\":true}\n");
    assert_eq!(text(&done(&p, 0, &["event", "reset", "-v", "up"]).stdout), "up: was reset\n");
    assert_eq!(text(&done(&p, 0, &["event", "reset", "up"]).stdout), "");
    done(&p, 75, &["event", "wait", "-n", "up"]);
    assert_eq!(p.show("up").expect("it is there")["counters"]["acquired"], 1, "a signal of what is signalled is none");
}

#[test]
fn a_signal_of_an_auto_event_lets_one_go_on() {
    let p = made("auto", "work");
    let mut waiters: Vec<_> = (0..3).map(|_| p.start(&["event", "wait", "work"])).collect();
    until("all wait", || p.waiters("work") == 3);
    for left in [2, 1, 0] {
        done(&p, 0, &["event", "signal", "work"]);
        until("one goes on", || {
            waiters.iter_mut().map(|w| w.try_wait().expect("its status")).filter(Option::is_none).count() == left
        });
        assert_eq!(p.waiters("work"), left, "and only one");
        assert!(!signalled(&p, "work"), "it has consumed the signal");
    }
    for waiter in waiters {
        assert_eq!(end(waiter), (0, String::new()));
    }
    done(&p, 0, &["event", "signal", "work"]);
    done(&p, 0, &["event", "signal", "work"]);
    done(&p, 0, &["event", "wait", "-n", "work"]);
    done(&p, 75, &["event", "wait", "-n", "work"]);
}

#[test]
fn not_signalled_is_75_or_what_one_asks_for() {
    let p = made("auto", "work");
    for (exit, args) in [
        (75, &["event", "wait", "-n", "work"][..]),
        (75, &["event", "wait", "-w", "0.05", "work"]),
        (3, &["event", "wait", "-n", "-E", "3", "work"]),
        (0, &["event", "wait", "-w", "20ms", "-E", "0", "work"]),
    ] {
        let line = one_line(&done(&p, exit, args).stderr);
        assert!(line.starts_with("xsem: 121 ERROR_SEM_TIMEOUT: `work` was not signalled in time"), "{args:?}: {line}");
        assert!(line.contains("xsem event signal work"), "what to do: {line}");
    }
    for args in [
        &["event", "wait", "-n", "-w", "1", "work"][..],
        &["event", "wait"],
        &["event"],
        &["event", "signal", "-v", "--json", "work"],
        &["event", "wait", "-w", "soon", "work"],
        &["create", "--signalled", "x"],
        &["create", "--event", "pulse", "x"],
        &["create", "--event", "auto", "--pool", "3", "x"],
    ] {
        done(&p, 125, args);
    }
    done(&p, 0, &["drain", "work"]);
    for (exit, more) in [(75, &[][..]), (9, &["-E", "9"])] {
        let line = one_line(&done(&p, exit, &[&["event", "wait"], more, &["work"]].concat()).stderr);
        assert!(line.starts_with("xsem: 102 ERROR_SEM_IS_SET: "), "{line}");
    }
    done(&p, 0, &["event", "signal", "work"]);
    assert!(signalled(&p, "work"), "a drain keeps waits out, not signals");
    done(&p, 0, &["drain", "--reopen", "work"]);
    done(&p, 0, &["event", "wait", "work"]);
}

#[test]
fn one_that_does_not_exist_is_187_with_the_command_that_makes_it() {
    let p = Place::new();
    for what in ["signal", "reset", "wait"] {
        let line = one_line(&done(&p, 125, &["event", what, "it's up"]).stderr);
        assert!(line.starts_with("xsem: 187 ERROR_SEM_NOT_FOUND: there is no event `it's up`"), "{line}");
        assert!(line.contains(r"`xsem create --event manual 'it'\''s up'`") && line.contains("--create auto"), "{line}");
        assert!(!p.file("namespace").exists(), "looking makes no namespace");
    }
    // The waiter may be the first to come.
    let waiter = p.start(&["event", "wait", "--create", "manual", "up"]);
    until("it waits", || p.waiters("up") == 1);
    done(&p, 0, &["event", "signal", "--create", "manual", "up"]);
    assert_eq!(end(waiter), (0, String::new()));
    let line = one_line(&done(&p, 125, &["event", "signal", "--create", "auto", "up"]).stderr);
    assert!(line.starts_with("xsem: 87 ERROR_INVALID_PARAMETER: `up` is an event with manual reset"), "{line}");
    // All are looked for before one is signalled.
    done(&p, 0, &["event", "reset", "up"]);
    let line = one_line(&done(&p, 125, &["event", "signal", "up", "down"]).stderr);
    assert!(line.contains("`down`") && !signalled(&p, "up"), "{line}");
    done(&p, 0, &["create", "--event", "auto", "--signalled", "ready"]);
    done(&p, 0, &["event", "wait", "-n", "ready"]);
    let line = one_line(&done(&p, 1, &["create", "--event", "auto", "ready"]).stderr);
    assert!(line.starts_with("xsem: 183 ERROR_ALREADY_EXISTS: ") && line.contains("xsem event"), "{line}");
}

#[test]
fn another_kind_is_6_with_what_to_use_instead() {
    let p = made("manual", "up");
    for make in [&["create", "one"][..], &["create", "--pool", "4", "gpu"]] {
        done(&p, 0, make);
    }
    for (exit, args, says) in [
        (125, &["event", "wait", "one"][..], "xsem wait one"),
        (125, &["event", "signal", "gpu"], "xsem show gpu"),
        (125, &["event", "reset", "--create", "auto", "one"], "of kind exclusive"),
        (125, &["run", "up", "--", "touch", "ran"], "xsem event wait up && xsem run"),
        (125, &["run", "one", "up", "--", "touch", "ran"], "xsem event wait up && xsem run"),
        (125, &["run", "--limit", "4", "up", "--", "touch", "ran"], "xsem event wait up && xsem run"),
        (125, &["run", "--permits", "4", "up", "--", "touch", "ran"], "xsem event wait up && xsem run"),
        (125, &["run", "--shared", "up", "--", "touch", "ran"], "xsem event wait up && xsem run"),
        (1, &["hold", "up"], "xsem event wait up && xsem run"),
        (1, &["ok", "up"], "of kind event"),
        (1, &["add", "up"], "of kind event"),
        (1, &["resize", "up", "3"], "of kind event"),
    ] {
        let line = one_line(&done(&p, exit, args).stderr);
        assert!(line.starts_with("xsem: 6 ERROR_INVALID_HANDLE: ") && line.contains(says), "{args:?}: {line}");
    }
    assert!(!p.file("ran").exists() && p.holders("one").is_empty());
    let line = one_line(&done(&p, 1, &["evict", "up"]).stderr);
    assert!(line.starts_with("xsem: 288 ERROR_NOT_OWNER: nobody holds `up`"), "{line}");
}

#[test]
fn of_several_the_first_that_is_signalled_is_named() {
    let p = made("auto", "work");
    done(&p, 0, &["create", "--event", "manual", "stop"]);
    let waiter = p.start(&["event", "wait", "stop", "work"]);
    until("it waits for both", || p.waiters("stop") == 1 && p.waiters("work") == 1);
    assert_eq!(p.show("work").expect("it is there")["waiters"][0]["wants"], "any");
    done(&p, 0, &["event", "signal", "work"]);
    let out = waiter.wait_with_output().expect("it ends");
    assert_eq!((code(out.status), text(&out.stdout)), (0, "work\n".into()), "{}", text(&out.stderr));
    done(&p, 0, &["event", "signal", "work", "stop"]);
    assert_eq!(text(&done(&p, 0, &["event", "wait", "stop", "work"]).stdout), "stop\n", "the first of those that are");
    assert!(signalled(&p, "work"), "and only that one is consumed");
    done(&p, 0, &["event", "reset", "stop"]);

    // All at one instant; until then none is consumed.
    let waiter = p.start(&["event", "wait", "--all", "stop", "work"]);
    until("it waits", || p.waiters("stop") == 1);
    assert!(signalled(&p, "work"));
    done(&p, 0, &["event", "signal", "stop"]);
    let out = waiter.wait_with_output().expect("it ends");
    assert_eq!((code(out.status), text(&out.stdout)), (0, String::new()), "{}", text(&out.stderr));
    assert!(!signalled(&p, "work") && signalled(&p, "stop"));
    done(&p, 75, &["event", "wait", "-n", "--all", "stop", "work"]);
    let line = one_line(&done(&p, 125, &["event", "wait", "--all", "stop", "stop"]).stderr);
    assert!(line.starts_with("xsem: 153 ERROR_INVALID_LIST_FORMAT: "), "{line}");
}

#[test]
fn wait_takes_semaphores_and_events_together() {
    let p = made("auto", "stop");
    let owner = p.hold("job", &["job", "--", "sleep", "1000"]);
    let waiter = p.start(&["wait", "--any", "job", "stop"]);
    until("it waits", || p.waiters("stop") == 1);
    done(&p, 0, &["event", "signal", "stop"]);
    let out = waiter.wait_with_output().expect("it ends");
    assert_eq!((code(out.status), text(&out.stdout)), (0, "stop\n".into()), "{}", text(&out.stderr));
    assert!(!signalled(&p, "stop"));
    done(&p, 75, &["wait", "-n", "stop"]);
    kill(owner.id(), libc::SIGTERM);
    assert_eq!(end(owner).0, 143);
    done(&p, 0, &["event", "signal", "stop"]);
    done(&p, 0, &["wait", "-n", "--all", "stop", "job"]);
    assert!(!signalled(&p, "stop") && p.holders("job").is_empty());
}

#[test]
fn a_killed_waiter_takes_no_signal_with_it() {
    let p = made("auto", "work");
    let (first, second) = (p.start(&["event", "wait", "work"]), p.start(&["event", "wait", "work"]));
    until("both wait", || p.waiters("work") == 2);
    kill(first.id(), libc::SIGKILL);
    assert_eq!(end(first).0, 137);
    done(&p, 0, &["event", "signal", "work"]);
    assert_eq!(end(second), (0, String::new()));
    // Stopped is not dead: it is woken, and the signal is its own. But the next one is not held up by it.
    let stopped = p.start(&["event", "wait", "work"]);
    until("it waits", || p.waiters("work") == 1);
    kill(stopped.id(), libc::SIGSTOP);
    until("it is stopped", || state(stopped.id()) == Some('T'));
    let other = p.start(&["event", "wait", "work"]);
    until("both wait", || p.waiters("work") == 2);
    // One signal may be kept for the stopped one for a moment, but never for ever.
    done(&p, 0, &["event", "signal", "work"]);
    assert_eq!(end(other), (0, String::new()));
    kill(stopped.id(), libc::SIGCONT);
    done(&p, 0, &["event", "signal", "work"]);
    assert_eq!(end(stopped), (0, String::new()));
}

#[test]
fn a_signaller_that_is_killed_has_signalled_or_not_and_nothing_in_between() {
    for delay in 0..40u64 {
        // Anew for each, and with it the watchdog, which is for one of them.
        let p = made("auto", "work");
        let waiter = p.start(&["event", "wait", "work"]);
        until("it waits", || p.waiters("work") == 1);
        let signaller = p.start(&["event", "signal", "work"]);
        std::thread::sleep(std::time::Duration::from_micros(delay * 50));
        kill(signaller.id(), libc::SIGKILL);
        end(signaller);
        // The count is written last: 0 does not say that nobody was woken.
        let counted = p.show("work").expect("it is there")["counters"]["acquired"] == 1;
        if !counted {
            done(&p, 0, &["event", "signal", "work"]);
        }
        assert_eq!(end(waiter), (0, String::new()), "after {delay}");
        assert!(!counted || !signalled(&p, "work"), "it was one signal");
    }
}

#[test]
fn a_signal_that_ends_the_wait_leaves_nothing_and_takes_nothing() {
    let p = made("auto", "work");
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let mut waiter = p.start(&["event", "wait", "work"]);
        until("it waits", || p.waiters("work") == 1);
        kill(waiter.id(), signal);
        assert_eq!(waiter.wait().expect("its status").signal(), Some(signal));
        until("it is out of the queue", || p.waiters("work") == 0);
    }
    // Both at once: it has been woken, and shall end.
    for wait in [
        &["event", "wait", "work"][..],
        &["event", "wait", "--all", "work", "up"],
        &["wait", "work"],
        &["wait", "--any", "up", "work"],
    ] {
        let change = if wait.contains(&"--any") { "reset" } else { "signal" };
        done(&p, 0, &["event", change, "--create", "manual", "up"]);
        let waiter = p.start(wait);
        until("it waits", || p.waiters("work") == 1);
        kill(waiter.id(), libc::SIGSTOP);
        until("it is stopped", || state(waiter.id()) == Some('T'));
        done(&p, 0, &["event", "signal", "work"]);
        kill(waiter.id(), libc::SIGTERM);
        kill(waiter.id(), libc::SIGCONT);
        assert_eq!(waiter.wait_with_output().expect("it ends").status.signal(), Some(libc::SIGTERM), "{wait:?}");
        assert!(signalled(&p, "work"), "{wait:?}: it was passed on");
        done(&p, 0, &["event", "reset", "work"]);
    }
}

/// Whatever comes first: somebody was let go on, or the event is signalled; never both, never neither.
#[test]
fn a_signal_and_the_end_of_the_wait_at_the_same_time() {
    let waits = [&["event", "wait", "work"][..], &["wait", "work"], &["wait", "--any", "work"]];
    for (round, wait) in waits.iter().cycle().take(42).enumerate() {
        let p = made("auto", "work");
        let waiter = p.start(wait);
        until("it waits", || p.waiters("work") == 1);
        let mut signaller = p.start(&["event", "signal", "work"]);
        if round % 2 == 1 {
            until("it has signalled", || signaller.try_wait().expect("its status").is_some());
        }
        // It may have ended already, but it is not reaped.
        kill(waiter.id(), libc::SIGTERM);
        let status = waiter.wait_with_output().expect("it ends").status;
        assert_eq!(end(signaller).0, 0);
        match status.signal() {
            None => assert!(code(status) == 0 && !signalled(&p, "work"), "{wait:?}: {status}, and the signal is still there"),
            Some(_) => {
                done(&p, 0, &["event", "wait", "-n", "work"]);
            }
        }
    }
}

#[test]
fn one_that_somebody_waits_for_is_not_removed() {
    let p = made("manual", "up");
    let waiter = p.start(&["event", "wait", "up"]);
    until("it waits", || p.waiters("up") == 1);
    let line = one_line(&done(&p, 75, &["rm", "up"]).stderr);
    assert!(line.starts_with("xsem: 102 ERROR_SEM_IS_SET: ") && line.contains(&waiter.id().to_string()), "{line}");
    // A drain waits for the waiter.
    let drain = p.start(&["drain", "up"]);
    until("it is closed", || p.show("up").is_some_and(|s| s["drained"] == true));
    assert!(lives(drain.id()) && lives(waiter.id()));
    done(&p, 0, &["event", "signal", "up"]);
    assert_eq!((end(waiter), end(drain)), ((0, String::new()), (0, String::new())));
    done(&p, 0, &["rm", "up"]);
    assert!(p.show("up").is_none());
}

#[test]
fn ls_show_and_gc_know_events() {
    let p = made("manual", "up");
    done(&p, 0, &["create", "--event", "auto", "work"]);
    done(&p, 0, &["event", "signal", "up"]);
    let table = text(&done(&p, 0, &["ls"]).stdout);
    for part in ["NAME  KIND          STATE  ", "up    manual event  signalled  ", "work  auto event    reset  "] {
        assert!(table.contains(part), "no {part:?} in\n{table}");
    }
    let list: Vec<serde_json::Value> = serde_json::from_slice(&done(&p, 0, &["ls", "--json"]).stdout).expect("JSON");
    let up = list.iter().find(|s| s["name"] == "up").expect("up");
    assert_eq!((&up["kind"], &up["event"]), (&json!("event"), &json!({ "reset": "manual", "signalled": true })));
    let shown = p.show("work").expect("work");
    assert_eq!((&shown["event"], &shown["capacity"]), (&json!({ "reset": "auto", "signalled": false }), &json!(null)));

    let waiter = p.start(&["event", "wait", "-w", "1000", "work"]);
    until("it waits", || p.waiters("work") == 1);
    let people = text(&done(&p, 0, &["show", "work"]).stdout);
    assert!(people.starts_with("work (auto event), reset"), "{people}");
    assert!(people.contains(&format!("  waiting   1. {} `", waiter.id())) && people.contains("until a deadline"), "{people}");
    assert!(people.contains("  counters  0 signals, "), "{people}");
    assert!(
        text(&done(&p, 0, &["ls"]).stdout).lines().any(|l| l.starts_with("work ") && l.contains("  yes  ")),
        "somebody waits"
    );
    done(&p, 0, &["event", "signal", "work"]);
    assert_eq!(end(waiter), (0, String::new()));

    let said = text(&done(&p, 0, &["gc", "--unused-for", "0"]).stdout);
    assert!(said.starts_with("removed work, unused for ") && said.lines().count() == 1, "{said}");
    assert!(signalled(&p, "up"), "a signal is for those, too, who have not come yet");
    done(&p, 0, &["event", "reset", "up"]);
    done(&p, 0, &["gc", "--unused-for", "0"]);
    assert!(p.show("up").is_none());
}

#[test]
fn the_line_that_says_what_is_waited_for() {
    let p = made("manual", "deploy/done");
    done(&p, 0, &["create", "--event", "auto", "stop"]);
    done(&p, 0, &["event", "signal", "stop"]);
    done(&p, 0, &["event", "reset", "stop"]);
    let mut t = Terminal::start(&p, &["event", "wait", "deploy/done"]);
    let line = t.read_until("\u{1b}[K");
    assert_eq!(line, "\rwaiting for event `deploy/done`: never signalled so far\u{1b}[K");
    t.type_in("\x03");
    t.read_until("\r\u{1b}[K");
    assert_eq!(t.run.wait().expect("its status").signal(), Some(libc::SIGINT));

    let mut t = Terminal::start(&p, &["event", "wait", "deploy/done", "stop"]);
    let line = t.read_until("\u{1b}[K");
    assert!(line.starts_with("\rwaiting for event `deploy/done` or event `stop`: "), "{line:?}");
    done(&p, 0, &["event", "signal", "stop"]);
    t.read_until("\r\u{1b}[Kstop\r\n");
    assert_eq!(t.run.wait().expect("its status").code(), Some(0));

    // Without a terminal only when asked.
    let waiter = p.start(&["event", "wait", "--verbose", "deploy/done"]);
    until("it waits", || p.waiters("deploy/done") == 1);
    done(&p, 0, &["event", "signal", "deploy/done"]);
    assert_eq!(end(waiter), (0, "xsem: waiting for event `deploy/done`: never signalled so far\n".into()));
    assert_eq!(end(p.start(&["event", "wait", "--verbose", "deploy/done"])), (0, String::new()), "it does not wait");
}

#[test]
fn a_script_reads_as_it_is_meant() {
    let p = Place::new();
    let said = p.sh("
        $X create --event manual server/up
        (sleep 0.1; echo server; $X event signal server/up) &
        $X event wait server/up && echo client
        wait
        if $X event wait -n server/up; then echo still up; fi
        $X event reset server/up
        $X event wait -n server/up 2> /dev/null || echo $?
    ");
    assert_eq!(said, "server\nclient\nstill up\n75\n");
    assert!(text(&p.output(&["event", "--help"]).stdout).contains("xsem create --event manual"));
}
