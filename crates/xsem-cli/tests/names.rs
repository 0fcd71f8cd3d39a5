//! `ls`, `show`, `create`, `rm`, `explain`.

mod common;

use common::{Place, XSEM, clean, code, end, one_line, tell, text, until, until_told};
use serde_json::Value;
use std::process::Command;

#[test]
fn looking_does_not_create() {
    let p = Place::new();
    let out = p.output(&["ls"]);
    assert_eq!((code(out.status), text(&out.stdout), text(&out.stderr)), (0, String::new(), String::new()));
    assert_eq!(text(&p.output(&["ls", "--json"]).stdout), "[]\n");
    for args in [&["show", "a"][..], &["rm", "a"], &["ok", "a"]] {
        let out = p.output(args);
        assert_eq!(code(out.status), 1, "{args:?}");
        assert!(one_line(&out.stderr).starts_with("xsem: 187 ERROR_SEM_NOT_FOUND: "), "{args:?}: {}", text(&out.stderr));
    }
    assert!(!p.file("namespace").exists());
}

#[test]
fn create_list_show_remove() {
    let p = Place::new();
    for name in ["b", "ci/gpu", "größe"] {
        assert_eq!(code(p.output(&["create", name]).status), 0);
    }
    let again = p.output(&["create", "b"]);
    assert_eq!(code(again.status), 1);
    assert!(one_line(&again.stderr).starts_with("xsem: 183 ERROR_ALREADY_EXISTS: "), "{}", text(&again.stderr));

    let table = text(&p.output(&["ls"]).stdout);
    let names: Vec<&str> = table.lines().map(|l| l.split_whitespace().next().unwrap_or("")).collect();
    assert_eq!(names, ["NAME", "b", "ci/gpu", "größe"], "{table}");
    let json: Value = serde_json::from_slice(&p.output(&["ls", "--json"]).stdout).expect("JSON");
    let mut names: Vec<&str> = json.as_array().expect("an array").iter().filter_map(|s| s["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["b", "ci/gpu", "größe"]);

    let shown = p.show("ci/gpu").expect("it is there");
    assert_eq!((&shown["kind"], &shown["marked"]), (&"exclusive".into(), &false.into()));
    assert_eq!(shown["counters"]["acquired"], 0);

    assert_eq!(code(p.output(&["rm", "b"]).status), 0);
    let gone = p.output(&["rm", "b"]);
    assert_eq!(code(gone.status), 1);
    assert!(one_line(&gone.stderr).contains("187 ERROR_SEM_NOT_FOUND"), "{}", text(&gone.stderr));
    assert_eq!(text(&p.output(&["ls"]).stdout).lines().count(), 3);
}

#[test]
fn rm_while_held_is_102_with_the_holders_and_changes_nothing() {
    let p = Place::new();
    let work = until_told(&p, "go", "true");
    let owner = p.hold("a", &["--label", "night", "a", "--", "sh", "-c", &work]);
    let waiter = p.start(&["run", "a", "--", "true"]);
    until("it waits", || p.waiters("a") == 1);
    let out = p.output(&["rm", "a"]);
    let line = one_line(&out.stderr);
    assert_eq!(code(out.status), 75, "{line}");
    assert!(line.starts_with("xsem: 102 ERROR_SEM_IS_SET: "), "{line}");
    assert!(line.contains(&format!("held by {} `sh -c", owner.id())) && line.contains("[night]"), "{line}");
    assert!(line.contains(&format!("1 waiting: {} `true`", waiter.id())), "{line}");
    assert!(text(&p.output(&["ls"]).stdout).contains("\na "), "the name is still there");
    assert_eq!(p.waiters("a"), 1);
    tell(&p, "go");
    assert_eq!(end(owner).0, 0);
    assert_eq!(end(waiter), (0, String::new()));
    assert_eq!(code(p.output(&["rm", "a"]).status), 0, "free, it can be removed");
}

#[test]
fn show_and_ls_say_who_holds_it_for_what() {
    let p = Place::new();
    let work = until_told(&p, "go", "true");
    let owner = p.hold("a", &["--label", "night", "a", "--", "sh", "-c", &work]);
    let waiter = p.start(&["run", "-w", "1000", "a", "--", "echo", "two words"]);
    until("it waits", || p.waiters("a") == 1);
    let h = p.holder("a").expect("it is held");
    assert_eq!(h["process"]["pid"], owner.id());
    assert_eq!(h["process"]["command"], "sh -c 'read line < go; true'");
    assert_eq!(h["process"]["state"], "alive");
    assert_eq!((&h["label"], &h["depth"], &h["token"]), (&"night".into(), &1.into(), &1.into()));
    assert!(h["held_ms"].is_u64() && h["process"]["user"].is_string(), "{h}");
    let w = p.show("a").expect("a is there")["waiters"][0].clone();
    assert_eq!((&w["process"]["pid"], &w["has_deadline"]), (&waiter.id().into(), &true.into()));
    assert_eq!(w["process"]["command"], "echo 'two words'");

    let people = text(&p.output(&["show", "a"]).stdout);
    let covers = format!("covers its command: {} `", p.covered("a"));
    for part in [&format!("held by   {} `sh -c", owner.id()), "[night]", &covers, &format!("waiting   1. {} `echo", waiter.id())]
    {
        assert!(people.contains(part), "no {part:?} in\n{people}");
    }
    let table = text(&p.output(&["ls"]).stdout);
    assert!(table.contains(&format!("{} `sh -c", owner.id())), "{table}");
    let json: Value = serde_json::from_slice(&p.output(&["ls", "--json"]).stdout).expect("JSON");
    assert_eq!(json[0]["holders"][0]["process"]["pid"], owner.id());
    tell(&p, "go");
    assert_eq!((end(owner).0, end(waiter).0), (0, 0));
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let p = Place::new();
    for i in 0..50 {
        assert_eq!(code(p.output(&["create", &format!("{i}-{}", "x".repeat(200))]).status), 0);
    }
    // A pipe that nobody reads any more.
    for json in ["", "--json"] {
        let line = format!("{XSEM} --namespace {} ls {json} | true", p.url());
        let out = clean(Command::new("sh")).args(["-c", &line]).output().expect("sh can be run");
        assert_eq!(text(&out.stderr), "");
    }
}

#[test]
fn explain_knows_codes_by_number_hex_and_symbol() {
    let explain = |code: &str| clean(Command::new(XSEM)).args(["explain", "--markdown", code]).output().expect("xsem can be run");
    let page = text(&explain("101").stdout);
    assert!(page.starts_with("# ERROR_EXCL_SEM_ALREADY_OWNED - 101 (0x65)\n"), "{page}");
    for other in ["0x65", "ERROR_EXCL_SEM_ALREADY_OWNED", "excl_sem_already_owned"] {
        assert_eq!(text(&explain(other).stdout), page, "{other}");
    }
    for known in xsem::Code::ALL {
        let out = explain(&known.number().to_string());
        assert_eq!(code(out.status), 0);
        let head = format!("# {} - {} (0x{:X})\n", known.symbol(), known.number(), known.number());
        assert!(text(&out.stdout).starts_with(&head) && text(&out.stdout).contains("## Summary"), "{head}");
    }
    let unknown = explain("99");
    assert_eq!(code(unknown.status), 1);
    let line = one_line(&unknown.stderr);
    assert!(
        line.starts_with("xsem: `99` is neither a code nor a part of one") && line.contains("`xsem codes` lists all"),
        "{line}"
    );
}

#[test]
fn help_and_version_are_no_errors() {
    for (args, says) in
        [(&["--help"][..], "xsem run deploy -- ./deploy.sh"), (&["run", "--help"], "Exit codes:"), (&["--version"], "xsem ")]
    {
        let out = clean(Command::new(XSEM)).args(args).output().expect("xsem can be run");
        assert_eq!(code(out.status), 0, "{args:?}");
        assert!(text(&out.stdout).contains(says) && out.stderr.is_empty(), "{args:?}");
        assert!(!text(&out.stdout).contains('\u{1b}'), "NO_COLOR");
    }
}
