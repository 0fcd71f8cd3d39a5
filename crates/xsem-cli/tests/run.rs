//! `xsem run`: exit codes, waiting and not waiting, the time limit, what the command inherits.

mod common;

use common::{Place, code, end, kill, lives, one_line, tell, text, until, until_told};
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn the_exit_code_of_the_command_passes() {
    let p = Place::new();
    for want in [0, 1, 7, 75, 125, 255] {
        let out = p.output(&["run", "a", "--", "sh", "-c", &format!("exit {want}")]);
        assert_eq!((code(out.status), text(&out.stderr)), (want, String::new()));
    }
    // Whatever code it exits with, it was not killed: nobody is told about a death.
    assert_eq!(p.show("a").expect("a is there")["marked"], false);
}

#[test]
fn taken_is_75_and_one_line_with_101_pid_command_and_age() {
    let p = Place::new();
    let work = until_told(&p, "go", "true");
    let owner = p.hold("a", &["a", "--", "sh", "-c", &work]);
    let out = p.output(&["run", "-n", "a", "--", "true"]);
    let line = one_line(&out.stderr);
    assert_eq!(code(out.status), 75, "{line}");
    assert!(line.starts_with("xsem: 101 ERROR_EXCL_SEM_ALREADY_OWNED: "), "{line}");
    let holder = format!("held by {} `sh -c 'read line < go; true'`", owner.id());
    assert!(line.contains(&holder), "{line}");
    let age = line.split(") for ").nth(1).unwrap_or_else(|| panic!("no age: {line}"));
    assert!(age.chars().next().is_some_and(|c| c.is_ascii_digit()), "{line}");

    let out = p.output(&["run", "-n", "-E", "3", "a", "--", "true"]);
    assert_eq!(code(out.status), 3, "-E");
    let out = p.output(&["run", "-q", "a", "--", "touch", "ran"]);
    assert_eq!((code(out.status), text(&out.stderr)), (0, String::new()), "-q");
    assert!(!p.file("ran").exists(), "-q skips the command");

    tell(&p, "go");
    assert_eq!(end(owner), (0, String::new()));
    let out = p.output(&["run", "-q", "a", "--", "touch", "ran"]);
    assert_eq!(code(out.status), 0);
    assert!(p.file("ran").exists(), "-q runs the command when the semaphore is free");
}

#[test]
fn a_wait_that_ends_is_75_with_121() {
    let p = Place::new();
    let work = until_told(&p, "go", "true");
    let owner = p.hold("a", &["--label", "nightly sync", "a", "--", "sh", "-c", &work]);
    let began = Instant::now();
    let out = p.output(&["run", "-w", "1", "a", "--", "true"]);
    assert!(began.elapsed() >= Duration::from_secs(1), "it waited {:?}", began.elapsed());
    let line = one_line(&out.stderr);
    assert_eq!(code(out.status), 75, "{line}");
    assert!(line.starts_with("xsem: 121 ERROR_SEM_TIMEOUT: "), "{line}");
    assert!(line.contains(&format!("held by {} `sh -c", owner.id())) && line.contains("[nightly sync]"), "{line}");
    assert_eq!(code(p.output(&["run", "-w", "10ms", "-E", "9", "a", "--", "true"]).status), 9);
    let out = p.output(&["run", "-q", "-w", "10ms", "a", "--", "true"]);
    assert_eq!((code(out.status), text(&out.stderr)), (0, String::new()), "-q with -w");
    tell(&p, "go");
    assert_eq!(end(owner).0, 0);
    assert_eq!(p.show("a").expect("a is there")["counters"]["timed_out"], 3);
}

#[test]
fn a_wait_goes_on_when_its_turn_comes_and_says_so_only_when_asked() {
    let p = Place::new();
    let work = until_told(&p, "go", "echo 1 >> order");
    let owner = p.hold("a", &["a", "--", "sh", "-c", &work]);
    let quiet = p.start(&["run", "a", "--", "sh", "-c", "echo 2 >> order"]);
    until("the first waits", || p.waiters("a") == 1);
    let verbose = p.start(&["run", "--verbose", "a", "--", "sh", "-c", "echo 3 >> order"]);
    until("the second waits", || p.waiters("a") == 2);
    tell(&p, "go");
    assert_eq!(end(owner).0, 0);
    assert_eq!(end(quiet), (0, String::new()));
    let (code, said) = end(verbose);
    assert_eq!(code, 0);
    assert!(one_line(said.as_bytes()).starts_with("xsem: waiting for `a`: held by "), "{said}");
    assert!(said.contains("1 ahead of you"), "{said}");
    let order = fs::read_to_string(p.file("order")).expect("all three ran");
    assert_eq!(order.lines().count(), 3, "{order}");
    assert!(order.starts_with("1\n"), "{order}");
}

#[test]
fn what_cannot_be_run_is_126_or_127_and_leaves_no_mark() {
    let p = Place::new();
    fs::write(p.file("data"), "no program").expect("a file");
    for (program, want, says) in [
        ("no-such-program", 127, "PATH"),
        ("./no/such", 127, "check the path"),
        ("./data", 126, "chmod +x"),
        ("/", 126, "chmod +x"),
    ] {
        let out = p.output(&["run", "a", "--", program]);
        let line = one_line(&out.stderr);
        assert_eq!(code(out.status), want, "{line}");
        assert!(line.starts_with(&format!("xsem: cannot run `{program}`: ")) && line.contains(says), "{line}");
    }
    assert_eq!(p.show("a").expect("a is there")["marked"], false);
    assert_eq!(code(p.output(&["run", "-n", "a", "--", "true"]).status), 0);
}

#[test]
fn a_script_without_an_interpreter_line_runs_as_in_a_shell() {
    use std::os::unix::fs::PermissionsExt;
    let p = Place::new();
    fs::write(p.file("script"), "exit 9\n").expect("a file");
    fs::set_permissions(p.file("script"), fs::Permissions::from_mode(0o755)).expect("its mode");
    assert_eq!(code(p.output(&["run", "a", "--", "./script"]).status), 9);
}

#[test]
fn ended_by_a_signal_is_128_and_the_signal_and_leaves_the_mark() {
    let p = Place::new();
    for signal in [9, 15, 6] {
        let out = p.output(&["run", "a", "--", "sh", "-c", &format!("kill -{signal} $$")]);
        assert_eq!(code(out.status), 128 + signal);
        let shown = p.show("a").expect("a is there");
        assert_eq!(shown["marked"], true);
        let cause = shown["deaths"]["latest"]["cause"].to_string();
        assert!(cause.contains(&format!("signal {signal}")), "{cause}");
    }
}

#[test]
fn the_time_limit_ends_the_command_with_124() {
    let p = Place::new();
    let out = p.output(&["run", "--time-limit", "300ms", "a", "--", "sleep", "1000"]);
    assert_eq!((code(out.status), text(&out.stderr)), (124, String::new()));
    assert_eq!(p.show("a").expect("a is there")["marked"], true, "SIGTERM ended it");

    // One that tidies up and exits by itself was not killed.
    let tidy = "trap 'exit 0' TERM; while :; do sleep 0.05; done";
    assert_eq!(code(p.output(&["run", "--time-limit", "300ms", "b", "--", "sh", "-c", tidy]).status), 124);
    assert_eq!(p.show("b").expect("b is there")["marked"], false);

    // One that will not hear is killed after the grace.
    let deaf = "trap '' TERM; while :; do sleep 0.05; done";
    let began = Instant::now();
    assert_eq!(code(p.output(&["run", "--time-limit", "100ms", "c", "--", "sh", "-c", deaf]).status), 124);
    assert!(began.elapsed() >= Duration::from_secs(5), "killed after {:?}", began.elapsed());
    assert_eq!(p.show("c").expect("c is there")["marked"], true);

    assert_eq!(code(p.output(&["run", "--time-limit", "1h", "d", "--", "sh", "-c", "exit 4"]).status), 4, "in time");
}

#[test]
fn the_time_limit_reaches_a_stopped_command() {
    let p = Place::new();
    let run = p.hold("a", &["--time-limit", "500ms", "a", "--", "sleep", "1000"]);
    kill(p.covered("a"), libc::SIGSTOP);
    assert_eq!(end(run).0, 124);
}

#[test]
fn bad_options_are_125_with_a_clear_message() {
    let p = Place::new();
    for (args, says) in [
        (&["run", "-n", "-w", "1", "a", "--", "true"][..], "cannot be used with"),
        (&["run", "-q", "-E", "1", "a", "--", "true"], "cannot be used with"),
        (&["run", "-w", "soon", "a", "--", "true"], "use seconds"),
        (&["run", "-w", "-1", "a", "--", "true"], "unexpected argument"),
        (&["run", "-E", "256", "a", "--", "true"], "256 is not in 0..=255"),
        (&["run", "a"], "<CMD>"),
        (&["run", "--on-owner-death", "panic", "a", "--", "true"], "possible values: run, fail"),
        (&["run", "", "--", "true"], "123 ERROR_INVALID_NAME"),
        (&["run", "a\nb", "--", "true"], "123 ERROR_INVALID_NAME"),
        (&["run", &"x".repeat(256), "--", "true"], "123 ERROR_INVALID_NAME"),
        (&["--namespace", "nfs://x", "run", "a", "--", "true"], "87 ERROR_INVALID_PARAMETER"),
        (&["frobnicate"], "unrecognized subcommand"),
    ] {
        let mut c = common::clean(std::process::Command::new(common::XSEM));
        let out = c.env("XSEM_NAMESPACE", p.url()).args(args).output().expect("xsem can be run");
        assert_eq!(code(out.status), 125, "{args:?}");
        assert!(text(&out.stderr).contains(says), "{args:?}: {}", text(&out.stderr));
        assert!(out.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn the_namespace_comes_from_the_option_or_the_environment() {
    let p = Place::new();
    let other = format!("shm:{}", p.file("other").display());
    let run = |namespace: &str, args: &[&str]| {
        let mut c = common::clean(std::process::Command::new(common::XSEM));
        c.env("XSEM_NAMESPACE", namespace).args(args).output().expect("xsem can be run")
    };
    assert_eq!(code(run(&other, &["create", "from-env"]).status), 0);
    assert_eq!(code(run("nonsense", &["create", "from-option", "--namespace", &other]).status), 0);
    let out = run(&other, &["ls"]);
    assert!(text(&out.stdout).contains("from-env") && text(&out.stdout).contains("from-option"), "{}", text(&out.stdout));
}

#[test]
fn the_command_inherits_what_the_caller_had_and_nothing_of_ours() {
    let p = Place::new();
    // No pipeline: the shell itself would have its ends for a moment.
    let look = "readlink /proc/$$/fd/*; grep -E '^Sig(Blk|Ign)' /proc/self/status";
    let plain =
        common::clean(std::process::Command::new("sh")).args(["-c", look]).stdin(Stdio::null()).output().expect("sh can be run");
    let under = p.output(&["run", "a", "--", "sh", "-c", look]);
    let kinds = |out: &[u8]| -> Vec<String> {
        // Two pipes have two numbers.
        text(out).lines().map(|l| if l.starts_with("pipe:") { "pipe".to_owned() } else { l.to_owned() }).collect()
    };
    assert_eq!(kinds(&under.stdout), kinds(&plain.stdout));
    assert!(text(&under.stdout).contains("SigIgn"), "it looked: {}", text(&under.stdout));
}

#[test]
fn signals_that_the_caller_ignores_stay_ignored() {
    let p = Place::new();
    let outer = format!(
        "trap '' HUP PIPE CHLD; exec {} --namespace {} run a -- sh -c 'grep ^SigIgn /proc/self/status; exit 6'",
        common::XSEM,
        p.url()
    );
    let out = common::clean(std::process::Command::new("sh")).args(["-c", &outer]).output().expect("sh can be run");
    // The exit code arrives although the caller ignores SIGCHLD.
    assert_eq!(code(out.status), 6, "{}", text(&out.stderr));
    let mask = u64::from_str_radix(text(&out.stdout).split_whitespace().nth(1).expect("a mask"), 16).expect("hex");
    let ignored = |signal: i32| mask >> (signal - 1) & 1 == 1;
    assert!(ignored(libc::SIGHUP) && ignored(libc::SIGPIPE), "{mask:x}");
    assert!(!ignored(libc::SIGTERM), "{mask:x}");
}

#[test]
fn a_background_grandchild_neither_keeps_the_claim_nor_has_a_descriptor_of_ours() {
    let p = Place::new();
    let leave = "sleep 1000 > /dev/null 2>&1 & echo $!";
    let plain = common::clean(std::process::Command::new("sh")).args(["-c", leave]).stdin(Stdio::null()).output();
    let out = p.output(&["run", "a", "--", "sh", "-c", leave]);
    assert_eq!(code(out.status), 0);
    let pid = |out: &[u8]| -> u32 { text(out).trim().parse().expect("a pid") };
    let (without, left) = (pid(&plain.expect("sh can be run").stdout), pid(&out.stdout));
    assert!(lives(left), "the grandchild lives on");
    // Between fork and exec it has what its shell had.
    until("both are executed", || [left, without].iter().all(|&p| common::command_line(p).starts_with(b"sleep")));
    // Whatever these tests were started with is there in both; the pipes of the two shells are closed.
    assert_eq!(descriptors(left), descriptors(without));
    kill(without, libc::SIGKILL);
    let maps = fs::read_to_string(format!("/proc/{left}/maps")).expect("its maps");
    assert!(!maps.contains("namespace"), "it has the namespace mapped:\n{maps}");
    let again = p.output(&["run", "-n", "a", "--", "true"]);
    assert_eq!((code(again.status), text(&again.stderr)), (0, String::new()));
    kill(left, libc::SIGKILL);
}

fn descriptors(pid: u32) -> Vec<String> {
    let mut all: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("its descriptors")
        .map(|fd| fs::read_link(fd.expect("an entry").path()).expect("a link").display().to_string())
        .collect();
    all.sort();
    all
}
