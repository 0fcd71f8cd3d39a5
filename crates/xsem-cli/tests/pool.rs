//! Permits: pools with slots, readers and writers, credit.

mod common;

use common::{Place, XSEM, code, end, kill, lives, one_line, pid_of, tell, text, until, until_told};
use std::collections::BTreeSet;
use std::fs;

/// What a command says of its claim.
const SAY: &str = "echo slots=${XSEM_SLOTS-none} tokens=$XSEM_TOKENS";

#[test]
fn a_pool_is_made_where_it_does_not_exist_and_gives_slots() {
    let p = Place::new();
    let out = p.output(&["run", "--limit", "4", "gpu", "--", "sh", "-c", SAY]);
    assert_eq!((code(out.status), text(&out.stdout)), (0, "slots=0 tokens=1\n".into()), "{}", text(&out.stderr));
    let out = p.output(&["run", "--limit", "4", "--permits", "3", "gpu", "--", "sh", "-c", SAY]);
    assert_eq!(text(&out.stdout), "slots=0,1,2 tokens=2\n", "{}", text(&out.stderr));
    let out = p.output(&["run", "gpu", "--", "sh", "-c", SAY]);
    assert_eq!(text(&out.stdout), "slots=0 tokens=3\n", "it exists and counts: {}", text(&out.stderr));
    let out = p.output(&["run", "deploy", "--", "sh", "-c", SAY]);
    assert_eq!(text(&out.stdout), "slots=none tokens=1\n", "without a limit it is exclusive: {}", text(&out.stderr));

    let shown = p.show("gpu").expect("it is there");
    assert_eq!(shown["kind"], "counting");
    let capacity = &shown["capacity"];
    assert_eq!(
        (&capacity["mode"], &capacity["limit"], &capacity["total"], &capacity["free"]),
        (&"pool".into(), &4.into(), &4.into(), &4.into())
    );
    assert!(p.show("deploy").expect("it is there")["capacity"].is_null());
}

#[test]
fn wrong_numbers_are_refused_with_what_is_allowed() {
    let p = Place::new();
    assert_eq!(code(p.output(&["create", "--pool", "4", "gpu"]).status), 0);
    assert_eq!(code(p.output(&["create", "one"]).status), 0);
    for (args, says) in [
        (&["run", "--limit", "5", "gpu", "--", "true"][..], &["87 ERROR_INVALID_PARAMETER", "4", "5"][..]),
        (
            &["run", "--permits", "5", "gpu", "--", "true"],
            &["87 ERROR_INVALID_PARAMETER", "4 permits and never 5", "xsem resize gpu 5"],
        ),
        (&["run", "--permits", "2", "new", "--", "true"], &["87 ERROR_INVALID_PARAMETER", "--limit N"]),
        (&["run", "--permits", "2", "one", "--", "true"], &["87 ERROR_INVALID_PARAMETER", "exclusive"]),
        (&["run", "--limit", "2", "one", "--", "true"], &["6 ERROR_INVALID_HANDLE", "xsem rm one"]),
        (&["run", "--shared", "one", "--", "true"], &["6 ERROR_INVALID_HANDLE"]),
        (&["run", "--permits", "0", "gpu", "--", "true"], &["0 is not in 1..=65535"]),
        (&["run", "--limit", "65536", "big", "--", "true"], &["65536 is not in 1..=65535"]),
        (&["run", "--shared", "--all", "gpu", "--", "true"], &["cannot be used with"]),
        (&["run", "--limit", "2", "gpu", "one", "--", "true"], &["for one name", "xsem create --pool"]),
        (&["run", "--consume", "gpu", "--", "true"], &["--consume is for credit"]),
    ] {
        let out = p.output(args);
        assert_eq!(code(out.status), 125, "{args:?}: {}", text(&out.stderr));
        for part in says {
            assert!(text(&out.stderr).contains(part), "{args:?}: no {part:?} in {}", text(&out.stderr));
        }
    }
    assert!(p.show("new").is_none() && p.show("big").is_none(), "a refused run makes nothing");
    for (args, says) in [
        (&["create", "--pool", "0", "x"][..], "1 to 65535"),
        (&["create", "--pool", "65536", "x"], "1 to 65535"),
        (&["create", "--credit", "2", "--initial", "3", "x"], "start with at most the limit"),
        (&["create", "--pool", "4", "gpu"], "183 ERROR_ALREADY_EXISTS"),
    ] {
        let out = p.output(args);
        assert_eq!(code(out.status), 1, "{args:?}");
        assert!(one_line(&out.stderr).contains(says), "{args:?}: {}", text(&out.stderr));
    }
}

#[test]
fn a_full_pool_is_75_with_all_who_have_it_and_says_so_in_show() {
    let p = Place::new();
    let work = until_told(&p, "go", "true");
    let run = ["run", "--limit", "3", "--permits", "2", "--label", "two of them", "gpu", "--", "sh", "-c", &work];
    let first = p.start(&run);
    until("it has two", || p.holders("gpu").first().is_some_and(|h| h["slots"] == serde_json::json!([0, 1])));
    let more = until_told(&p, "go2", "true");
    let second = p.start(&["run", "gpu", "--", "sh", "-c", &more]);
    until("both hold", || p.holders("gpu").len() == 2);

    let out = p.output(&["run", "-n", "gpu", "--", "true"]);
    let line = one_line(&out.stderr);
    assert_eq!(code(out.status), 75, "{line}");
    assert!(line.starts_with("xsem: 121 ERROR_SEM_TIMEOUT: "), "{line}");
    for holder in [&first, &second] {
        assert!(line.contains(&format!("{} `sh -c", holder.id())), "{line}");
    }
    let waiter = p.start(&["run", "--permits", "3", "gpu", "--", "true"]);
    until("one waits", || p.waiters("gpu") == 1);
    let shown = p.show("gpu").expect("it is there");
    assert_eq!((&shown["capacity"]["free"], &shown["waiters"][0]["permits"]), (&0.into(), &3.into()));
    assert_eq!(shown["waiters"][0]["wants"], "one");
    let people = text(&p.output(&["show", "gpu"]).stdout);
    for part in ["gpu (pool of 3), 0 of 3 free", "[two of them], slots 0-1", "slots 2", "for 3 permits", "covers its command: "] {
        assert!(people.contains(part), "no {part:?} in\n{people}");
    }
    let table = text(&p.output(&["ls"]).stdout);
    assert!(table.contains("gpu   pool  0 of 3"), "{table}");

    tell(&p, "go");
    tell(&p, "go2");
    for child in [first, second, waiter] {
        assert_eq!(end(child), (0, String::new()));
    }
    assert_eq!(p.show("gpu").expect("it is there")["capacity"]["free"], 3);
}

#[test]
fn each_run_has_slots_of_its_own() {
    let p = Place::new();
    // A slot is a directory: making one that is there would fail.
    let work = "mkdir slot.$XSEM_SLOTS || exit 9; sleep 0.02; rmdir slot.$XSEM_SLOTS; echo $XSEM_SLOTS >> used";
    let children: Vec<_> = (0..24).map(|_| p.start(&["run", "--limit", "4", "gpu", "--", "sh", "-c", work])).collect();
    for child in children {
        assert_eq!(end(child), (0, String::new()));
    }
    let used = fs::read_to_string(p.file("used")).expect("all ran");
    assert_eq!(used.lines().count(), 24);
    let slots: BTreeSet<&str> = used.lines().collect();
    assert!(slots.iter().all(|s| ["0", "1", "2", "3"].contains(s)), "{slots:?}");
}

#[test]
fn a_nested_run_of_a_pool_takes_a_permit_of_its_own() {
    let p = Place::new();
    let inner = format!("{XSEM} --namespace {} run -n gpu -- sh -c 'echo $XSEM_SLOTS'; echo $?", p.url());
    let out = p.output(&["run", "--limit", "2", "gpu", "--", "sh", "-c", &inner]);
    assert_eq!(text(&out.stdout), "1\n0\n", "{}", text(&out.stderr));
    let out = p.output(&["run", "--permits", "2", "gpu", "--", "sh", "-c", &inner]);
    assert_eq!(text(&out.stdout), "75\n", "no permit is left: {}", text(&out.stderr));
    // A run without a pool inside one leaves the slots to its command.
    let inner = format!("{XSEM} --namespace {} run other -- sh -c 'echo $XSEM_SLOTS'", p.url());
    let out = p.output(&["run", "gpu", "--", "sh", "-c", &inner]);
    assert_eq!(text(&out.stdout), "0\n", "{}", text(&out.stderr));
}

#[test]
fn permits_of_killed_runs_come_back_and_nobody_is_told() {
    let p = Place::new();
    let holder = p.hold("gpu", &["--limit", "2", "--permits", "2", "gpu", "--", "sleep", "1000"]);
    let command = p.covered("gpu");
    let waiter = p.start(&["run", "--permits", "2", "gpu", "--", "sh", "-c", SAY]);
    until("it waits", || p.waiters("gpu") == 1);
    kill(holder.id(), libc::SIGKILL);
    let out = waiter.wait_with_output().expect("it ends");
    assert_eq!((text(&out.stdout), text(&out.stderr)), ("slots=0,1 tokens=2\n".into(), String::new()));
    assert!(!lives(command), "nobody takes over before the command is gone");
    assert_eq!(end(holder).0, 137);
    let shown = p.show("gpu").expect("it is there");
    assert_eq!((&shown["marked"], &shown["counters"]["deaths"]), (&false.into(), &1.into()));
    // A command that a signal ended leaves no mark either.
    assert_eq!(code(p.output(&["run", "gpu", "--", "sh", "-c", "kill -9 $$"]).status), 137);
    let out = p.output(&["run", "-n", "--permits", "2", "--on-owner-death", "fail", "gpu", "--", "true"]);
    assert_eq!((code(out.status), text(&out.stderr)), (0, String::new()));
}

#[test]
fn readers_share_and_a_writer_is_alone() {
    let p = Place::new();
    let work = until_told(&p, "go", "true");
    let reader = p.hold("conf", &["--shared", "conf", "--", "sh", "-c", &work]);
    assert_eq!(p.show("conf").expect("it is there")["capacity"]["limit"], 1000);
    let out = p.output(&["run", "-n", "--shared", "conf", "--", "true"]);
    assert_eq!(code(out.status), 0, "another reader: {}", text(&out.stderr));
    let out = p.output(&["run", "-n", "--all", "conf", "--", "true"]);
    assert_eq!(code(out.status), 75, "no writer beside a reader: {}", text(&out.stderr));

    let write = until_told(&p, "written", "true");
    let writer = p.start(&["run", "--all", "conf", "--", "sh", "-c", &write]);
    until("the writer waits", || p.waiters("conf") == 1);
    tell(&p, "go");
    assert_eq!(end(reader).0, 0);
    until("the writer writes", || p.holders("conf").iter().any(|h| pid_of(&h["process"]) == writer.id()));
    let out = p.output(&["run", "-n", "--shared", "conf", "--", "true"]);
    assert_eq!(code(out.status), 75, "no reader beside a writer: {}", text(&out.stderr));
    tell(&p, "written");
    assert_eq!(end(writer).0, 0);
    // A pool of another size does as well.
    assert_eq!(code(p.output(&["run", "--all", "--limit", "3", "few", "--", "sh", "-c", "test $XSEM_SLOTS = 0,1,2"]).status), 0);
}

#[test]
fn credit_is_added_and_used_up() {
    let p = Place::new();
    assert_eq!(code(p.output(&["create", "--credit", "5", "--initial", "1", "items"]).status), 0);
    assert_eq!(code(p.output(&["add", "items", "2"]).status), 0);
    let free = || p.show("items").expect("it is there")["capacity"]["free"].as_u64().expect("a number");
    assert_eq!(free(), 3);
    assert_eq!(code(p.output(&["run", "--consume", "items", "--", "true"]).status), 0);
    assert_eq!(free(), 2, "used up");
    assert_eq!(code(p.output(&["run", "--consume", "items", "--", "false"]).status), 1);
    assert_eq!(free(), 2, "a command that fails leaves it to another");
    assert_eq!(code(p.output(&["run", "items", "--", "true"]).status), 0);
    assert_eq!(free(), 2, "without --consume it comes back");
    let too_many = p.output(&["add", "items", "4"]);
    let line = one_line(&too_many.stderr);
    assert_eq!(code(too_many.status), 1);
    assert!(line.starts_with("xsem: 298 ERROR_TOO_MANY_POSTS: "), "{line}");
    assert_eq!(free(), 2, "nothing was added");
    assert!(text(&p.output(&["show", "items"]).stdout).starts_with("items (credit of at most 5), 2 of 2 free"));

    // A consumer waits for a producer.
    assert_eq!(code(p.output(&["run", "--consume", "--permits", "2", "items", "--", "true"]).status), 0);
    let consumer = p.start(&["run", "--consume", "items", "--", "true"]);
    until("it waits", || p.waiters("items") == 1);
    assert_eq!(code(p.output(&["add", "items"]).status), 0);
    assert_eq!(end(consumer), (0, String::new()));
    assert_eq!(free(), 0);

    assert_eq!(code(p.output(&["create", "--pool", "2", "gpu"]).status), 0);
    let out = p.output(&["add", "gpu", "1"]);
    assert!(one_line(&out.stderr).starts_with("xsem: 1 ERROR_INVALID_FUNCTION: "), "{}", text(&out.stderr));
    assert_eq!(code(p.output(&["create", "one"]).status), 0);
    for args in [&["add", "one", "1"][..], &["resize", "one", "2"]] {
        let out = p.output(args);
        assert_eq!(code(out.status), 1);
        let line = one_line(&out.stderr);
        assert!(line.starts_with("xsem: 6 ERROR_INVALID_HANDLE: ") && line.contains("--pool"), "{line}");
    }
}

#[test]
fn another_limit_counts_at_once_and_takes_nothing_away() {
    let p = Place::new();
    let work = until_told(&p, "go", "true");
    let holder = p.hold("gpu", &["--limit", "3", "--permits", "3", "gpu", "--", "sh", "-c", &work]);
    assert_eq!(code(p.output(&["resize", "gpu", "1"]).status), 0);
    let capacity = p.show("gpu").expect("it is there")["capacity"].clone();
    assert_eq!((&capacity["limit"], &capacity["free"], &capacity["total"]), (&1.into(), &0.into(), &3.into()));
    let people = text(&p.output(&["show", "gpu"]).stdout);
    assert!(people.contains("gpu (pool of 1), 0 of 1 free, 2 more than the limit still out"), "{people}");
    tell(&p, "go");
    assert_eq!(end(holder), (0, String::new()));
    assert_eq!(p.show("gpu").expect("it is there")["capacity"]["free"], 1);

    // A waiter for more than there are is served when the limit is raised.
    assert_eq!(code(p.output(&["resize", "gpu", "2"]).status), 0);
    let waiter = p.start(&["run", "--permits", "2", "gpu", "--", "true"]);
    assert_eq!(end(waiter), (0, String::new()));
    let out = p.output(&["resize", "gpu", "0"]);
    assert_eq!(code(out.status), 1);
    assert!(one_line(&out.stderr).starts_with("xsem: 87 ERROR_INVALID_PARAMETER: "), "{}", text(&out.stderr));
}

#[test]
fn an_ephemeral_name_goes_with_its_last_user() {
    let p = Place::new();
    let work = until_told(&p, "go", "true");
    for (name, more) in [("one", &[][..]), ("pool", &["--limit", "2"])] {
        let args: Vec<&str> = [&["--ephemeral"], more, &[name, "--", "sh", "-c", &work]].concat();
        let holder = p.hold(name, &args);
        assert_eq!(p.show(name).expect("it is there")["ephemeral"], true);
        assert!(text(&p.output(&["show", name]).stdout).contains(", ephemeral)"), "{name}");
        let all = if more.is_empty() { &["run", name, "--", "true"][..] } else { &["run", "--permits", "2", name, "--", "true"] };
        let waiter = p.start(all);
        until("it waits", || p.waiters(name) == 1);
        tell(&p, "go");
        assert_eq!((end(holder).0, end(waiter).0), (0, 0));
        assert!(p.show(name).is_none(), "{name} is gone");
    }
    let killed = p.hold("killed", &["--ephemeral", "killed", "--", "sleep", "1000"]);
    kill(killed.id(), libc::SIGKILL);
    assert_eq!(end(killed).0, 137);
    until("the name goes with a killed user, too", || p.show("killed").is_none());
}
