//! `xsem hold` and `xsem release`: a shell owns a semaphore until it ends or says so.

mod common;

use common::{Place, code, end, kill, lives, one_line, pid_of, state, tell, text, until, until_told};
use std::fs;
use std::process::{Child, Stdio};

/// A shell that holds NAME and then reads a fifo, when this returns. `then` comes after the fifo.
fn holder(p: &Place, name: &str, fifo: &str, then: &str) -> Child {
    let rest = until_told(p, fifo, then);
    let mut c = p.script(&format!("$X hold {name} && {rest}"));
    let child = c.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sh can be started");
    until("the shell holds it", || p.holder(name).is_some_and(|h| pid_of(&h["covers"]) == child.id()));
    child
}

/// The process that keeps it.
fn keeper(p: &Place, name: &str) -> u32 {
    pid_of(&p.holder(name).expect("it is held")["process"])
}

#[test]
fn until_release() {
    let p = Place::new();
    let said = p.sh("$X hold a; echo $?
         env -i $X run -n a -- echo shared
         $X release a; echo $?
         $X show --json a");
    let (codes, json) = said.split_at(said.find('{').expect("JSON"));
    assert_eq!(codes, "0\nshared\n0\n");
    let shown: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(
        (&shown["holders"], &shown["marked"], &shown["counters"]["acquired"]),
        (&serde_json::json!([]), &false.into(), &1.into())
    );
}

#[test]
fn until_the_shell_exits_with_whatever_code() {
    let p = Place::new();
    for exit in [0, 7] {
        let shell = holder(&p, "a", &format!("go{exit}"), &format!("exit {exit}"));
        let keeper = keeper(&p, "a");
        assert_eq!(code(p.output(&["run", "-n", "a", "--", "true"]).status), 75, "it is held");
        tell(&p, &format!("go{exit}"));
        assert_eq!(end(shell), (exit, String::new()));
        assert_eq!(code(p.output(&["run", "a", "--", "true"]).status), 0);
        until("the keeper ends with it", || !lives(keeper));
    }
}

#[test]
fn a_shell_that_is_killed_is_told_to_the_next_one() {
    let p = Place::new();
    let shell = holder(&p, "a", "never", "true");
    let waiter = p.start(&["run", "a", "--", "true"]);
    until("it waits", || p.waiters("a") == 1);
    kill(shell.id(), libc::SIGKILL);
    assert_eq!(end(shell).0, 137);
    let (status, said) = end(waiter);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("105") && said.contains("hold for"), "{said}");
    // Where the kernel says how the shell ended (6.15, or we were quicker than its parent), the cause names the signal.
    assert!(said.contains("was ended by signal 9") || said.contains("its process ended"), "{said}");
}

#[test]
fn a_killed_keeper_lets_nobody_in_before_the_shell_has_ended() {
    let p = Place::new();
    let shell = holder(&p, "a", "go", "touch done");
    let keeper = keeper(&p, "a");
    kill(keeper, libc::SIGKILL);
    until("it is gone", || !lives(keeper));
    assert_eq!(code(p.output(&["run", "-n", "a", "--", "true"]).status), 75);
    assert_eq!(code(p.output(&["run", "-w", "50ms", "a", "--", "true"]).status), 75);
    let waiter = p.start(&["run", "a", "--", "sh", "-c", "test -e done"]);
    assert!(text(&p.output(&["show", "a"]).stdout).contains("the claim lasts until the shell has ended"));
    let out = p.output(&["release", "--force", "--for", "1", "a"]);
    assert_eq!(code(out.status), 1, "{}", text(&out.stderr));
    tell(&p, "go");
    assert_eq!(end(shell).0, 0);
    let (status, said) = end(waiter);
    assert_eq!(status, 0, "the shell had not ended when the next one ran: {said}");
    assert!(said.contains("105"), "{said}");
}

#[test]
fn plain_signals_do_not_end_the_keeping() {
    let p = Place::new();
    let shell = holder(&p, "a", "go", "true");
    let keeper = keeper(&p, "a");
    // One of them is the signal that `release` queues; without the token it means nothing.
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGTSTP, libc::SIGRTMIN() + 6] {
        kill(keeper, signal);
    }
    // It has seen the last of them when nothing is pending that it could take.
    until("it has looked at the queued one", || pending(keeper) & 1 << (libc::SIGRTMIN() + 6 - 1) == 0);
    assert!(lives(keeper) && state(keeper) != Some('T'));
    assert_eq!(code(p.output(&["run", "-n", "a", "--", "true"]).status), 75, "still held");
    tell(&p, "go");
    assert_eq!(end(shell), (0, String::new()));
    assert_eq!(code(p.output(&["run", "a", "--", "true"]).status), 0);
}

/// The mask of signals that are pending for the whole process.
fn pending(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let mask = status.lines().find_map(|l| l.strip_prefix("ShdPnd:")).expect("a mask");
    u64::from_str_radix(mask.trim(), 16).expect("hex")
}

#[test]
fn taken_is_75_at_once_or_after_the_time() {
    let p = Place::new();
    let shell = holder(&p, "a", "go", "true");
    let said = p.sh("$X hold -n a 2> first; echo $?; $X hold -w 10ms a 2> second; echo $?; $X release a 2> third; echo $?");
    assert_eq!(said, "75\n75\n1\n");
    let line = |file: &str| one_line(&fs::read(p.file(file)).expect("it said something"));
    let whom = format!("hold for {}: sh -c", shell.id());
    for (file, begins) in [
        ("first", "xsem: 101 ERROR_EXCL_SEM_ALREADY_OWNED"),
        ("second", "xsem: 121 ERROR_SEM_TIMEOUT"),
        ("third", "xsem: 288 ERROR_NOT_OWNER"),
    ] {
        let line = line(file);
        assert!(line.starts_with(begins) && line.contains(&whom), "{line}");
    }
    assert!(line("third").contains(&format!("--for {}", shell.id())), "{}", line("third"));
    tell(&p, "go");
    assert_eq!(end(shell).0, 0);
    assert_eq!(p.show("a").expect("a")["counters"]["acquired"], 1, "nobody else got it");
}

#[test]
fn it_waits_its_turn() {
    let p = Place::new();
    let first = holder(&p, "a", "go", "true");
    let mut c = p.script("$X hold --label second a && echo mine");
    let second = c.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sh can be started");
    until("it waits", || p.waiters("a") == 1);
    let waiter = p.show("a").expect("a")["waiters"][0]["process"]["command"].to_string();
    assert!(waiter.contains(&format!("xsem hold for {}", second.id())), "{waiter}");
    tell(&p, "go");
    assert_eq!(end(first).0, 0);
    let out = second.wait_with_output().expect("it ends");
    assert_eq!((text(&out.stdout), text(&out.stderr)), ("mine\n".into(), String::new()));
}

#[test]
fn a_waiting_hold_that_is_killed_or_interrupted_owns_nothing() {
    let p = Place::new();
    let first = holder(&p, "a", "go", "true");
    for signal in [libc::SIGKILL, libc::SIGINT] {
        let mut c = p.script("exec $X hold --for $PPID a");
        let second = c.stderr(Stdio::piped()).spawn().expect("sh can be started");
        until("it waits", || p.waiters("a") == 1);
        kill(second.id(), signal);
        assert_eq!(end(second).0, 128 + signal);
        until("its keeper has given up", || p.waiters("a") == 0);
    }
    // One that is killed when it is held already, before it has said so to the shell.
    let mut c = p.script("exec $X hold --for $PPID b");
    let other = holder(&p, "b", "go-b", "true");
    let front = c.stderr(Stdio::piped()).spawn().expect("sh can be started");
    until("it waits", || p.waiters("b") == 1);
    kill(front.id(), libc::SIGSTOP);
    tell(&p, "go-b");
    assert_eq!(end(other).0, 0);
    until("it is held for us", || p.holder("b").is_some_and(|h| pid_of(&h["covers"]) == std::process::id()));
    kill(front.id(), libc::SIGKILL);
    assert_eq!(end(front).0, 137);
    until("it is given back", || p.holders("b").is_empty());
    assert_eq!(p.show("b").expect("b")["marked"], false);
    // A shell that ends while its hold waits: nobody would own it.
    let mut c = p.script("$X hold --for $$ a & exit 0");
    assert!(c.stderr(Stdio::null()).status().expect("sh can be run").success());
    until("its keeper has given up", || p.waiters("a") == 0);
    tell(&p, "go");
    assert_eq!(end(first).0, 0);
    // The keeper may have had it for an instant, and gives it back.
    assert_eq!(code(p.output(&["run", "a", "--", "true"]).status), 0);
    assert_eq!(p.show("a").expect("a")["marked"], false);
}

#[test]
fn in_a_shell_that_has_it_it_nests() {
    let p = Place::new();
    let said = p.sh("$X hold a; $X hold a
         sh -c '$X run -n a b -- echo nested; $X hold a; $X release a; echo $?'
         $X release a
         $X show --json a | grep -c '\"pid\"' > held
         $X release a; echo $?
         $X release a 2> /dev/null; echo $?");
    assert_eq!(said, "nested\n0\n0\n1\n");
    // One holder with what it covers is left after two of three holds were released.
    assert_eq!(fs::read_to_string(p.file("held")).expect("it looked"), "2\n");
    let shown = p.show("a").expect("a");
    assert_eq!(
        (&shown["holders"], &shown["marked"], &shown["counters"]["acquired"]),
        (&serde_json::json!([]), &false.into(), &1.into())
    );
}

#[test]
fn inside_a_run_of_the_name_it_shares() {
    let p = Place::new();
    let x = format!("{} --namespace {}", common::XSEM, p.url());
    let work = format!("{x} hold -n a && {x} release a && echo shared");
    let out = p.output(&["run", "a", "--", "sh", "-c", &work]);
    assert_eq!((code(out.status), text(&out.stdout)), (0, "shared\n".into()), "{}", text(&out.stderr));
    assert_eq!(p.show("a").expect("a")["counters"]["acquired"], 1);
}

#[test]
fn a_marked_one_is_told_and_ok_speaks_for_the_shell() {
    let p = Place::new();
    assert_eq!(code(p.output(&["run", "a", "--", "sh", "-c", "kill -9 $$"]).status), 137);
    let said = p.sh("$X hold --on-owner-death fail a 2> fail; echo $?
         $X hold a 2> warning; echo $?
         $X ok a | cut -d';' -f1
         $X release a");
    assert_eq!(said, "76\n0\n`a` is consistent again\n");
    for file in ["fail", "warning"] {
        let line = one_line(&fs::read(p.file(file)).expect("it said something"));
        assert!(line.contains("105 ERROR_SEM_OWNER_DIED") && line.contains("xsem ok a"), "{line}");
    }
    assert_eq!(p.show("a").expect("a")["marked"], false);
}

#[test]
fn permits_and_their_slots() {
    let p = Place::new();
    let said = p.sh("one=$($X hold --for $$ --limit 4 gpu)
         two=$($X hold --for $$ --permits 2 gpu)
         echo $one $two
         $X hold -n --permits 2 gpu 2> /dev/null; echo $?
         $X release gpu; $X release gpu; $X hold --all gpu");
    assert_eq!(said, "0 1,2\n75\n0,1,2,3\n");
    until("all come back with the end of the shell", || p.show("gpu").expect("gpu")["capacity"]["free"] == 4);
}

#[test]
fn others_are_released_by_force_only() {
    let p = Place::new();
    let shell = holder(&p, "a", "go", "true");
    let owner = shell.id().to_string();
    let out = p.output(&["release", "--for", &owner, "a"]);
    assert_eq!(code(out.status), 1);
    assert!(one_line(&out.stderr).contains("--force"), "{}", text(&out.stderr));
    assert_eq!(code(p.output(&["run", "-n", "a", "--", "true"]).status), 75, "still held");
    let out = p.output(&["release", "--force", "a"]);
    assert_eq!((code(out.status), text(&out.stderr)), (0, String::new()));
    assert_eq!(code(p.output(&["run", "-n", "a", "--", "true"]).status), 0);
    assert_eq!(p.show("a").expect("a")["marked"], false);
    tell(&p, "go");
    assert_eq!(end(shell).0, 0);
}

#[test]
fn it_leaves_nothing_of_the_caller_behind() {
    let p = Place::new();
    // `cat` would wait for ever if the keeper had the pipe; the descriptor 9 belongs to the shell alone.
    let mut c = p.script("exec 9> extra; $X hold a | cat; $X hold --for $PPID b; $X show --json b > shown");
    assert!(c.status().expect("sh can be run").success());
    let shown: serde_json::Value = serde_json::from_slice(&fs::read(p.file("shown")).expect("it looked")).expect("JSON");
    let keeper = pid_of(&shown["holders"][0]["process"]);
    let fds: Vec<String> = fs::read_dir(format!("/proc/{keeper}/fd"))
        .expect("its descriptors")
        .filter_map(|fd| fs::read_link(fd.expect("an entry").path()).ok())
        .map(|l| l.display().to_string())
        .collect();
    assert!(!fds.iter().any(|f| f.starts_with("pipe:") || f.contains("extra")), "{fds:?}");
    assert_eq!(fs::read_link(format!("/proc/{keeper}/cwd")).expect("a link").to_str(), Some("/"));
    assert_eq!(code(p.output(&["release", "b"]).status), 0, "it is held for us");
    until("the keeper has ended", || !lives(keeper));
}

#[test]
fn who_cannot_own_is_said() {
    let p = Place::new();
    for (args, says) in [
        (&["hold", "--for", "4194305", "a"][..], "there is no process 4194305"),
        (&["hold", "", "--for", "1"], "123 ERROR_INVALID_NAME"),
        (&["hold", "--permits", "2", "--limit", "1", "a"], "87 ERROR_INVALID_PARAMETER"),
    ] {
        let out = p.output(args);
        assert_eq!(code(out.status), 1, "{args:?}: {}", text(&out.stderr));
        assert!(one_line(&out.stderr).contains(says), "{args:?}: {}", text(&out.stderr));
    }
    let out = p.output(&["release", "nothing"]);
    assert!(code(out.status) == 1 && one_line(&out.stderr).starts_with("xsem: 187 "), "{}", text(&out.stderr));
}

#[test]
fn one_shell_after_the_other() {
    let p = Place::new();
    fs::write(p.file("sum"), "0\n").expect("a file");
    // What `exec 9> file; flock 9` is used for, with and without a release.
    let add = "$X hold sum && read a < sum && echo $((a + 1)) > sum";
    let shells: Vec<Child> = (0..20)
        .map(|i| {
            let mut c = p.script(&if i % 2 == 0 { add.to_owned() } else { format!("{add}; $X release sum") });
            c.stderr(Stdio::piped()).spawn().expect("sh can be started")
        })
        .collect();
    for shell in shells {
        assert_eq!(end(shell), (0, String::new()));
    }
    assert_eq!(fs::read_to_string(p.file("sum")).expect("the sum"), "20\n");
}

/// Who may write to the namespace's file may write any process's number there, and a user, or root, then says `xsem release`.
#[test]
fn release_tells_nothing_to_a_process_that_is_no_keeper() {
    use std::os::unix::fs::FileExt;
    let p = Place::new();
    let mut shell = holder(&p, "a", "never", "true");
    let keeper = keeper(&p, "a");
    let mut bystander = std::process::Command::new("sleep").arg("1000").spawn().expect("sleep can be started");
    let path = p.url().trim_start_matches("shm:").to_owned();
    let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("it is ours");
    let mut head = vec![0; 4 << 20];
    file.read_exact_at(&mut head, 0).expect("it is larger");
    // In a member's identity: the process in the low half of a word, the user in the high one.
    // SAFETY: no arguments, cannot fail.
    let word = |pid: u32| (u64::from(pid) | u64::from(unsafe { libc::getuid() }) << 32).to_le_bytes();
    let places: Vec<usize> = (0..head.len()).step_by(8).filter(|&i| head[i..i + 8] == word(keeper)).collect();
    assert!(!places.is_empty());
    for i in &places {
        file.write_all_at(&word(bystander.id()), *i as u64).expect("it is ours");
    }
    let out = p.output(&["release", "--force", "--for", &shell.id().to_string(), "a"]);
    let said = text(&out.stderr).to_owned();
    let lived = bystander.try_wait().expect("our child").is_none();
    let _ = (bystander.kill(), bystander.wait(), shell.kill(), shell.wait());
    assert!(lived, "the bystander was ended: {said}");
    assert!(code(out.status) == 1 && said.contains("none of xsem's keepers") && said.contains("xsem evict"), "{said}");
}
