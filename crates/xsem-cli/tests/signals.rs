//! `xsem run` and signals: what is passed on, job control, Ctrl-C while waiting, the terminal.

mod common;

use common::terminal::Terminal;
use common::{Place, end, kill, state, tell, until, until_told};
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};

#[test]
fn signals_reach_the_command() {
    let p = Place::new();
    for (name, signal) in [
        ("INT", libc::SIGINT),
        ("TERM", libc::SIGTERM),
        ("HUP", libc::SIGHUP),
        ("QUIT", libc::SIGQUIT),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
        ("WINCH", libc::SIGWINCH),
        ("CONT", libc::SIGCONT),
    ] {
        let work = format!("trap 'exit 42' {name}; touch ready.{name}; while :; do sleep 0.02; done");
        let run = p.hold("a", &["a", "--", "sh", "-c", &work]);
        until("the trap is set", || p.file(&format!("ready.{name}")).exists());
        kill(run.id(), signal);
        assert_eq!(end(run), (42, String::new()), "{name}");
    }
    assert_eq!(p.show("a").expect("a is there")["marked"], false);
}

#[test]
fn a_signal_that_the_command_does_not_expect_ends_it_and_the_next_is_told() {
    let p = Place::new();
    let run = p.hold("a", &["a", "--", "sleep", "1000"]);
    kill(run.id(), libc::SIGTERM);
    assert_eq!(end(run).0, 128 + libc::SIGTERM);
    let (status, said) = end(p.start(&["run", "a", "--", "true"]));
    assert_eq!(status, 0);
    assert!(said.contains("105 ERROR_SEM_OWNER_DIED") && said.contains("signal 15"), "{said}");
}

#[test]
fn a_stop_signal_stops_both_and_cont_continues_both() {
    let p = Place::new();
    let work = until_told(&p, "go", "exit 5");
    // In a process group of its own: the tests' group may be an orphaned one (a background job whose shell has ended, a
    // service), in which the kernel ignores SIGTSTP.
    let mut c = p.xsem(&["run", "a", "--", "sh", "-c", &work]);
    let mut run = c.process_group(0).spawn().expect("xsem can be started");
    until("its command runs", || p.holder("a").is_some_and(|h| !h["covers"].is_null()));
    let command = p.covered("a");
    // To the wrapper alone.
    kill(run.id(), libc::SIGTSTP);
    until("both are stopped", || state(command) == Some('T') && state(run.id()) == Some('T'));
    kill(run.id(), libc::SIGCONT);
    until("both go on", || state(command) == Some('S') && state(run.id()) == Some('S'));
    tell(&p, "go");
    assert_eq!(run.wait().expect("its status").code(), Some(5));
}

#[test]
fn a_job_is_stopped_and_continued_as_a_group() {
    let p = Place::new();
    let work = until_told(&p, "go", "exit 5");
    let mut c = p.xsem(&["run", "a", "--", "sh", "-c", &work]);
    let mut run = c.process_group(0).spawn().expect("xsem can be started");
    until("its command runs", || p.holder("a").is_some_and(|h| !h["covers"].is_null()));
    let command = p.covered("a");
    for _ in 0..20 {
        // SAFETY: the process group is that of our own child.
        unsafe { libc::killpg(run.id() as libc::pid_t, libc::SIGTSTP) };
        until("both are stopped", || state(command) == Some('T') && state(run.id()) == Some('T'));
        // SAFETY: as above.
        unsafe { libc::killpg(run.id() as libc::pid_t, libc::SIGCONT) };
        until("both go on", || state(command) == Some('S') && state(run.id()) == Some('S'));
    }
    tell(&p, "go");
    assert_eq!(run.wait().expect("its status").code(), Some(5));
}

#[test]
fn a_sigstop_of_the_command_alone_leaves_the_wrapper_awake() {
    let p = Place::new();
    let work = until_told(&p, "go", "exit 5");
    let run = p.hold("a", &["a", "--", "sh", "-c", &work]);
    let command = p.covered("a");
    kill(command, libc::SIGSTOP);
    until("the command is stopped", || state(command) == Some('T'));
    assert_eq!(p.holder("a").expect("it is held")["covers"]["state"], "stopped");
    kill(command, libc::SIGCONT);
    tell(&p, "go");
    // Nobody had to continue the wrapper.
    assert_eq!(end(run).0, 5);
}

#[test]
fn a_signal_while_waiting_ends_the_wait_as_it_ends_any_process() {
    let p = Place::new();
    let work = until_told(&p, "go", "true");
    let owner = p.hold("a", &["a", "--", "sh", "-c", &work]);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1] {
        let mut waiter = p.start(&["run", "a", "--", "touch", "ran"]);
        until("it waits", || p.waiters("a") == 1);
        kill(waiter.id(), signal);
        let status = waiter.wait().expect("its status");
        assert_eq!(status.signal(), Some(signal), "{status}");
        until("it is out of the queue", || p.waiters("a") == 0);
    }
    assert!(!p.file("ran").exists());
    tell(&p, "go");
    assert_eq!(end(owner).0, 0);
    // None of the four was an owner, so none is reported.
    assert_eq!(p.show("a").expect("a is there")["counters"]["deaths"], 0);
}

#[test]
fn no_signal_is_lost_between_the_wait_and_the_command() {
    let p = Place::new();
    // Whenever the signal comes (before, during or after the start of the command), it ends the run, and never as the
    // death of an owner that ran nothing.
    for delay in 0..60u64 {
        let run = p.start(&["run", "a", "--", "sh", "-c", "touch started; exec sleep 1000"]);
        std::thread::sleep(std::time::Duration::from_micros(delay * 100));
        kill(run.id(), libc::SIGTERM);
        let (status, said) = end(run);
        assert_eq!(status, 128 + libc::SIGTERM, "after {delay}: {said}");
        let shown = p.show("a");
        if let Some(deaths) = shown.as_ref().and_then(|s| s["deaths"].as_object()) {
            let cause = deaths["latest"]["cause"].as_str().unwrap_or_default();
            assert!(cause.contains("its command was ended by signal 15"), "after {delay}: {cause}");
        }
    }
}

#[test]
fn a_terminal_shows_a_live_line_and_ctrl_c_ends_the_wait() {
    let p = Place::new();
    let work = until_told(&p, "go", "true");
    let owner = p.hold("a", &["a", "--", "sh", "-c", &work]);
    let other = p.start(&["run", "a", "--", "true"]);
    until("another one waits", || p.waiters("a") == 1);

    let mut t = Terminal::start(&p, &["run", "a", "--", "touch", "ran"]);
    let first = t.read_until("\u{1b}[K");
    assert!(first.starts_with(&format!("\rwaiting for `a`: held by {} `sh -c", owner.id())), "{first:?}");
    assert!(first.ends_with(", 1 ahead of you\u{1b}[K"), "{first:?}");
    let second = t.read_until("\u{1b}[K");
    assert!(second.starts_with("\rwaiting for `a`: held by"), "drawn again in place: {second:?}");

    t.type_in("\x03");
    let erased = t.read_until("\r\u{1b}[K");
    assert!(!erased.contains('\n'), "{erased:?}");
    assert_eq!(t.run.wait().expect("its status").signal(), Some(libc::SIGINT));
    assert!(!p.file("ran").exists());
    tell(&p, "go");
    assert_eq!((end(owner).0, end(other).0), (0, 0));
}

#[test]
fn ctrl_c_reaches_the_command_once() {
    let p = Place::new();
    let count = "trap 'echo caught >> caught; touch seen' INT; echo ready; while [ ! -e stop ]; do sleep 0.02; done; exit 3";
    let mut t = Terminal::start(&p, &["run", "a", "--", "sh", "-c", count]);
    t.read_until("ready");
    t.type_in("\x03");
    until("the command has seen it", || p.file("seen").exists());
    fs::write(p.file("stop"), "").expect("a file");
    assert_eq!(t.run.wait().expect("its status").code(), Some(3));
    assert_eq!(fs::read_to_string(p.file("caught")).expect("it was caught"), "caught\n");
}

#[test]
fn a_hang_up_of_the_terminal_reaches_the_command() {
    let p = Place::new();
    let work = "trap 'echo hangup > hangup; exit 0' HUP; echo ready; while :; do sleep 0.02; done";
    let mut t = Terminal::start(&p, &["run", "a", "--", "sh", "-c", work]);
    t.read_until("ready");
    // The kernel tells the leader of the session only, which is `xsem run` here.
    drop(t.screen);
    assert_eq!(t.run.wait().expect("its status").code(), Some(0));
    assert!(p.file("hangup").exists());
}
