//! The command on a namespace across machines: a real etcd server, and sessions that end in each way.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use xsem::{Deadline, Namespace};
use xsem_etcd::kv::{Keys, range};
use xsem_etcd::{client, runtime, url::Config, wire};
use xsem_testkit::etcd::{Cluster, wanted};
use xsem_testkit::watchdog::Watchdog;

struct Place {
    url: String,
    ns: Namespace,
}

impl Place {
    fn new(name: &str, options: &str) -> Option<Place> {
        xsem_etcd::register();
        let url = wanted().then(|| Cluster::shared().url(&format!("cli/{name}")))?;
        let ns = Namespace::open(&format!("{url}?guardian=none")).unwrap();
        Some(Place { url: format!("{url}?{options}"), ns })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_xsem"));
        c.args(["--namespace", &self.url]).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        c
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A run whose command has begun.
    fn running(&self, name: &str) -> Child {
        let child = self.command(&["run", name, "--", "sleep", "1000"]).spawn().unwrap();
        // It covers its command a moment after it has the claim.
        while !self.ns.inspect(name).is_ok_and(|r| r.holders.iter().any(|h| h.covers.is_some())) {
            std::thread::sleep(Duration::from_millis(10));
        }
        child
    }

    /// Ends all leases, as an operator could.
    fn revoke_all(&self) {
        let config = Config::parse(&self.url).unwrap();
        let prefix = format!("{}/x/", config.path);
        let client = client::Client::open(config).unwrap();
        let by = Deadline::after(Duration::from_secs(20));
        let (c, ask) = (client.clone(), range(Keys::prefix(prefix)));
        for kv in runtime::run(async move { c.range(ask, by).await }).unwrap().kvs {
            let (c, ask) = (client.clone(), wire::LeaseRevokeRequest { id: kv.lease });
            let (path, again) = ("/etcdserverpb.Lease/LeaseRevoke", client::Again::UntilAnswered);
            runtime::run(async move { c.call::<_, wire::LeaseRevokeResponse>(path, ask, again, by).await }).unwrap();
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_second_run_is_told_who_has_it_and_where() {
    let _dog = Watchdog::start("two runs");
    let Some(p) = Place::new("two", "ttl=5") else { return };
    let out = p.output(&["run", "a", "--", "sh", "-c", "echo token $XSEM_TOKENS"]);
    assert_eq!((out.status.code(), text(&out.stderr)), (Some(0), String::new()));
    assert!(text(&out.stdout).trim_start_matches("token ").trim().parse::<u64>().is_ok_and(|t| t > 0));
    let mut first = p.running("a");
    let refused = p.output(&["run", "-n", "a", "--", "true"]);
    let (host, pid) = (std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), first.id());
    let line = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(75), "{line}");
    assert!(line.contains(&format!("{pid} on {} `sleep 1000`", host.trim())), "{line}");
    let shown = text(&p.output(&["show", "a"]).stdout);
    assert!(shown.contains("sleep 1000") && shown.contains(host.trim()), "{shown}");
    first.kill().unwrap();
    first.wait().unwrap();
    // Its guardian ends its lease; the next one is told.
    let next = p.output(&["run", "-w", "20s", "a", "--", "true"]);
    let line = text(&next.stderr);
    assert_eq!(next.status.code(), Some(0), "{line}");
    assert!(line.contains("105") && line.contains(&pid.to_string()), "{line}");
    let after = p.output(&["run", "a", "--", "true"]);
    assert_eq!((after.status.code(), text(&after.stderr)), (Some(0), String::new()), "it was in order again");
}

#[test]
fn a_nested_run_shares_and_so_does_one_with_two_names() {
    let _dog = Watchdog::start("nested runs");
    let Some(p) = Place::new("nested", "ttl=5") else { return };
    let xsem = env!("CARGO_BIN_EXE_xsem");
    let inner = format!("{xsem} --namespace '{}' run -n a -- echo shared", p.url);
    let out = p.output(&["run", "a", "--", "sh", "-c", &inner]);
    assert_eq!((out.status.code(), text(&out.stdout)), (Some(0), "shared\n".to_owned()), "{}", text(&out.stderr));
    let inner = format!("{xsem} --namespace '{}' run -n a b -- echo both", p.url);
    let out = p.output(&["run", "a", "b", "--", "sh", "-c", &inner]);
    assert_eq!((out.status.code(), text(&out.stdout)), (Some(0), "both\n".to_owned()), "{}", text(&out.stderr));
    for name in ["a", "b"] {
        let r = p.ns.inspect(name).unwrap();
        assert!(r.holders.is_empty() && !r.marked, "{r:?}");
    }
}

#[test]
fn a_run_whose_claim_is_lost_ends_its_command() {
    let _dog = Watchdog::start("a lost claim");
    let Some(p) = Place::new("lost", "ttl=3&guardian=none") else { return };
    let child = p.running("a");
    let command = p.ns.inspect("a").unwrap().holders[0].covers.clone().expect("it covers its command").pid;
    p.revoke_all();
    let out = child.wait_with_output().unwrap();
    let line = text(&out.stderr);
    assert_eq!(out.status.code(), Some(125), "{line}");
    assert!(line.contains("lost") && line.contains("the command is ended"), "{line}");
    assert!(!std::path::Path::new(&format!("/proc/{command}")).exists());
    let next = p.output(&["run", "a", "--", "true"]);
    assert!(next.status.success() && text(&next.stderr).contains("105"), "{}", text(&next.stderr));
}

/// A command runs on while the store is away for less than a lease lasts; its user is told of it, and when it is back, once each.
#[test]
fn a_run_says_that_the_store_is_away_and_that_it_is_back() {
    let _dog = Watchdog::with_time("a store that is away", Duration::from_secs(120));
    if !wanted() {
        return;
    }
    let cluster = Cluster::start(1);
    let mut c = Command::new(env!("CARGO_BIN_EXE_xsem"));
    let url = format!("{}?guardian=none&ttl=15&timeout=1", cluster.url("away"));
    c.args(["--namespace", &url, "run", "a", "--", "sh", "-c", "echo begun >&2; read line"]);
    let mut child = c.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "begun");
    cluster.freeze(0);
    let away = lines.next().unwrap();
    assert!(away.contains("cannot be reached since ") && away.contains("lease ends in "), "{away}");
    cluster.thaw(0);
    let back = lines.next().unwrap();
    assert!(back.contains("can be reached again, after "), "{back}");
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(1), "as the command ended");
    assert_eq!(lines.next(), None);
}

/// `xsem log` has what happened without having been switched on.
#[test]
fn the_log_is_there_and_says_how_far_it_goes_back() {
    let _dog = Watchdog::start("a log");
    let Some(p) = Place::new("log", "ttl=20&guardian=none") else { return };
    assert!(p.output(&["run", "deploy", "--", "true"]).status.success());
    let out = p.output(&["log", "deploy"]);
    let (said, host) = (text(&out.stdout), hostname());
    let last: Vec<&str> = said.lines().rev().take(2).collect();
    assert!(last[0].contains(" released after ") && last[1].contains(&format!(" on {host} `true` acquired")), "{said}");
    assert!(out.status.success() && text(&out.stderr).contains("etcd"), "{}", text(&out.stderr));
    let out = p.output(&["log", "--json", "-n", "1", "deploy"]);
    assert!(text(&out.stdout).contains(&format!("\"host\":\"{host}\"")), "{}", text(&out.stdout));
    let switched = p.output(&["log", "--on"]);
    assert!(!switched.status.success() && text(&switched.stderr).contains("neither switched on nor off"), "{switched:?}");
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

#[test]
fn hold_release_and_the_lists() {
    let _dog = Watchdog::start("hold");
    let Some(p) = Place::new("hold", "ttl=5") else { return };
    let script = format!(
        "X='{} --namespace {}'; $X hold a; $X run -n a -- echo inside; $X release a; $X run -n a -- echo after",
        env!("CARGO_BIN_EXE_xsem"),
        p.url.replace('&', "\\&")
    );
    let out = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(text(&out.stdout), "inside\nafter\n", "{}", text(&out.stderr));
    let list = text(&p.output(&["ls"]).stdout);
    assert!(list.contains('a') && list.contains("free"), "{list}");
    assert!(p.output(&["check"]).status.success());
    assert!(p.output(&["rm", "a"]).status.success());
}

/// A wait outlives its session, and what it gets then is not what was lost.
#[test]
fn a_run_whose_session_ends_while_it_waits_runs_its_command_all_the_same() {
    let _dog = Watchdog::start("a lost wait");
    let Some(p) = Place::new("lost-wait", "ttl=3&guardian=none") else { return };
    let first = p.running("a");
    let second = p.command(&["run", "a", "--", "sh", "-c", "sleep 0.2; echo done"]).spawn().unwrap();
    while p.ns.inspect("a").unwrap().waiters.is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    p.revoke_all();
    assert_eq!(first.wait_with_output().unwrap().status.code(), Some(125));
    let out = second.wait_with_output().unwrap();
    assert_eq!((out.status.code(), text(&out.stdout)), (Some(0), "done\n".to_owned()), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("105"), "{}", text(&out.stderr));
}

#[test]
fn a_shell_whose_claim_is_lost_is_told_and_ends() {
    let _dog = Watchdog::start("a lost hold");
    let Some(p) = Place::new("lost-hold", "ttl=3&guardian=none") else { return };
    for (how, last) in [("end", ""), ("tell", "went on\n")] {
        let name = format!("a-{how}");
        let script = format!(
            "X=\"$1 --namespace $2\"; $X hold --on-loss {how} {name} || exit 9; echo held; read line; echo went on; exit 0"
        );
        let mut c = Command::new("sh");
        c.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_xsem"), &p.url]);
        let mut child = c.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        p.revoke_all();
        line.clear();
        errors.read_line(&mut line).unwrap();
        assert!(line.contains(&format!("`{name}` is not held any more")), "{line}");
        // One that is asked to end does so while it waits for a line.
        let stdin = child.stdin.take().filter(|_| how == "end");
        let status = child.wait().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, (how == "end").then_some(libc::SIGTERM), "{status}");
        line.clear();
        said.read_to_string(&mut line).unwrap();
        assert_eq!(line, last);
        drop(stdin);
        // The keeper is gone as well.
        let next = p.output(&["run", &name, "--", "true"]);
        assert!(next.status.success() && text(&next.stderr).contains("105"), "{}", text(&next.stderr));
    }
}

/// A cycle goes through a wrapper, which holds, and the run inside of its command, which waits.
#[test]
fn runs_inside_of_runs_that_wait_for_each_other() {
    let _dog = Watchdog::start("nested runs in a cycle");
    let Some(p) = Place::new("cycle", "ttl=20&guardian=none") else { return };
    let dir = tempfile::tempdir().unwrap();
    let job = |i: usize, own: &str, other: &str| {
        let meet = format!("touch met{i}; while [ ! -e met{} ]; do sleep 0.02; done", 1 - i);
        let script = format!("exec $X run {own} -- sh -c '{meet}; exec $X run {other} -- true'");
        let mut c = Command::new("sh");
        c.args(["-c", &script]).env("X", env!("CARGO_BIN_EXE_xsem")).env("XSEM_NAMESPACE", &p.url);
        c.current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let jobs = [job(0, "a", "b"), job(1, "b", "a")];
    let mut ends: Vec<(Option<i32>, String)> = jobs
        .into_iter()
        .map(|j| {
            let out = j.wait_with_output().unwrap();
            (out.status.code(), text(&out.stderr))
        })
        .collect();
    ends.sort();
    assert_eq!(ends[0], (Some(0), String::new()), "one of them goes on: {ends:?}");
    assert!(ends[1].0 == Some(125) && ends[1].1.starts_with("xsem: 1131 ERROR_POSSIBLE_DEADLOCK: "), "{ends:?}");
    assert!(ends[1].1.contains("held by you"), "{ends:?}");
}

#[test]
fn a_reset_says_what_is_lost_and_begins_anew() {
    let _dog = Watchdog::start("a reset");
    let Some(p) = Place::new("reset", "ttl=20&guardian=none") else { return };
    let holder = p.running("a");
    assert!(p.output(&["create", "b"]).status.success());
    let asked = p.output(&["reset"]);
    let said = text(&asked.stdout);
    assert!(!asked.status.success() && said.contains("would be lost: `a`, held by") && said.contains("2 semaphores"), "{said}");
    assert!(p.ns.inspect("b").is_ok(), "nothing was done");
    let done = p.output(&["reset", "--force"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(p.ns.inspect("b").unwrap_err().code(), xsem::Code::SemNotFound);
    // The name is there for others, and whoever had it is told, and ends its command.
    assert!(p.output(&["run", "-n", "a", "--", "true"]).status.success());
    let ended = holder.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(125), "{}", text(&ended.stderr));
}

/// The guardians of a process: those that have their name already, so not a process that only makes one and ends.
fn guardians(of: u32) -> Vec<u32> {
    let numbers = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let is_guardian = |pid: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<String> = line.split(|b| *b == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
        name.trim() == "xsem-guardian" && words.contains(&of.to_string())
    };
    numbers.filter(is_guardian).collect()
}

/// A run goes on over an update of the command; when its guardian is killed, the next one is of the release that runs.
#[test]
fn a_guardian_is_what_runs_and_not_what_has_its_path_by_then() {
    let _dog = Watchdog::start("an update");
    let Some(p) = Place::new("update", "ttl=3") else { return };
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("xsem");
    std::fs::copy(env!("CARGO_BIN_EXE_xsem"), &program).unwrap();
    let mut c = Command::new(&program);
    c.args(["--namespace", &p.url, "run", "a", "--", "cat"]);
    let mut holder = c.stdin(Stdio::piped()).spawn().unwrap();
    let next = |before: u32| loop {
        match guardians(holder.id()).into_iter().find(|g| *g != before) {
            Some(g) => break g,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let first = next(0);
    std::fs::remove_file(&program).unwrap();
    std::fs::write(&program, "another release").unwrap();
    // SAFETY: no pointer is passed; the process is the guardian of this test's own child.
    assert_eq!(unsafe { libc::kill(first as libc::pid_t, libc::SIGKILL) }, 0);
    next(first);
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
}
