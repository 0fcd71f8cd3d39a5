//! `xsem explain` and `xsem codes` as people and programs call them.

mod common;

use common::terminal::Terminal;
use common::{Place, code, one_line, text};
use serde_json::Value;

fn json(p: &Place, args: &[&str]) -> Value {
    let out = p.output(args);
    assert_eq!(code(out.status), 0, "{args:?}: {}", text(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("JSON")
}

#[test]
fn a_page_is_plain_text_when_piped() {
    let p = Place::new();
    let shown = text(&p.output(&["explain", "0x65"]).stdout);
    assert!(shown.starts_with("ERROR_EXCL_SEM_ALREADY_OWNED - 101 (0x65)\n===="), "{shown}");
    assert!(!shown.contains('\u{1b}') && !shown.contains("## ") && !shown.contains("](") && shown.contains("\nFAQ\n"));
    // The command line of the page's own output is not broken.
    assert!(shown.contains("\n    $ xsem run "), "{shown}");
    let colours = text(&p.output(&["explain", "--color", "always", "101"]).stdout);
    assert!(colours.starts_with("\u{1b}[1mERROR_EXCL_SEM_ALREADY_OWNED"));
    assert!(!p.file("namespace").exists(), "explaining needs no namespace");
}

#[test]
fn words_need_no_quotes_and_several_matches_are_listed() {
    let p = Place::new();
    assert!(text(&p.output(&["explain", "already", "owned"]).stdout).starts_with("ERROR_EXCL_SEM_ALREADY_OWNED"));
    let negative = p.output(&["explain", "-2147024795"]);
    assert!(text(&negative.stdout).starts_with("0x80070065 is the HRESULT form of 101.\n\nERROR_EXCL"), "{negative:?}");
    let out = p.output(&["explain", "invalid"]);
    assert_eq!(code(out.status), 0);
    let listed = text(&out.stdout);
    assert!(listed.contains("ERROR_INVALID_AT_INTERRUPT_TIME") && listed.contains("ERROR_INVALID_NAME"), "{listed}");
    assert_eq!(json(&p, &["explain", "--json", "invalid"]).as_array().map(Vec::len), Some(7));
}

#[test]
fn what_is_no_code_is_refused_with_what_is_near() {
    let p = Place::new();
    for (words, near) in [("deadlok", "1131 ERROR_POSSIBLE_DEADLOCK"), ("99", "xsem codes"), ("75", "101, 121")] {
        let out = p.output(&["explain", words]);
        assert_eq!(code(out.status), 1, "{words}");
        assert!(one_line(&out.stderr).contains(near), "{words}: {}", text(&out.stderr));
        assert!(out.stdout.is_empty());
    }
    let out = p.output(&["explain"]);
    assert_eq!(code(out.status), 125);
    assert!(text(&out.stderr).contains("0x80070065") && text(&out.stderr).contains("already owned"), "what is allowed");
}

#[test]
fn a_page_for_programs_has_its_sections_as_fields() {
    let p = Place::new();
    let page = json(&p, &["explain", "--json", "SemOwnerDied"]);
    assert_eq!((page["number"].as_u64(), page["hresult"].as_str()), (Some(105), Some("0x80070069")));
    assert_eq!((page["retryable"].as_str(), page["emitted"].as_bool()), (Some("no"), Some(true)));
    for section in ["technical_meaning", "is_this_error_critical", "how_to_diagnose", "faq", "summary"] {
        assert!(page["sections"][section].as_str().is_some_and(|s| !s.is_empty()), "{section}");
    }
    let other = json(&p, &["explain", "--json", "258"]);
    assert_eq!((other["emitted"].as_bool(), &other["see"][0]), (Some(false), &Value::from(121)));
    let status = json(&p, &["explain", "--json", "C0000046"]);
    assert_eq!(status["ntstatus"][0]["symbol"], "STATUS_MUTANT_NOT_OWNED");
}

#[test]
fn markdown_is_the_page_itself() {
    let p = Place::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors/102-SEM_IS_SET.md");
    assert_eq!(
        text(&p.output(&["explain", "--markdown", "sem_is_set"]).stdout),
        std::fs::read_to_string(file).expect("the page")
    );
}

#[test]
fn the_codes_are_a_table() {
    let p = Place::new();
    let listed = text(&p.output(&["codes"]).stdout);
    assert!(listed.contains("ERROR_FILE_CORRUPT") && !listed.contains("WAIT_TIMEOUT"), "{listed}");
    assert!(listed.lines().all(|l| l.chars().count() <= 80), "{listed}");
    let all = text(&p.output(&["codes", "--all"]).stdout);
    assert!(all.contains("WAIT_TIMEOUT") && all.contains("ERROR_MUTANT_LIMIT_EXCEEDED"), "{all}");
    let ours = json(&p, &["codes", "--json"]);
    let ours = ours.as_array().expect("an array");
    assert!(ours.iter().all(|c| c["emitted"] == true && c["retryable_when"].is_string()));
    let all = json(&p, &["codes", "--json", "--all"]);
    let others: Vec<u64> =
        all.as_array().expect("an array").iter().skip(ours.len()).filter_map(|c| c["number"].as_u64()).collect();
    for n in [31, 33, 36, 128, 152, 158, 167, 170, 212, 258, 299, 300, 301, 554, 587, 735, 995, 1460] {
        assert!(others.contains(&n), "{n}");
    }
}

/// A page is longer than the screen; a short list is not.
#[test]
fn a_long_page_goes_through_the_pager_of_a_terminal() {
    let p = Place::new();
    let pager = "sed 's/^Summary/PAGED/'";
    let mut t = Terminal::start_with(&p, &["explain", "101"], &[("XSEM_PAGER", pager), ("PAGER", "false")]);
    let seen = t.read_until("PAGED");
    assert!(seen.contains("ERROR_EXCL_SEM_ALREADY_OWNED"), "{seen}");
    assert_eq!(code(t.run.wait().expect("it ends")), 0);
    for (args, variables) in [
        (&["explain", "--no-pager", "101"][..], &[("XSEM_PAGER", pager)][..]),
        (&["explain", "101"], &[("XSEM_PAGER", ""), ("PAGER", pager)]),
        (&["explain", "101"], &[("XSEM_PAGER", "there-is-no-such-pager")]),
    ] {
        let mut t = Terminal::start_with(&p, args, variables);
        t.read_until("Summary");
        assert_eq!(code(t.run.wait().expect("it ends")), 0, "{args:?} {variables:?}");
    }
    let mut t = Terminal::start_with(&p, &["explain", "258"], &[("XSEM_PAGER", "echo PAGED")]);
    assert!(!t.read_until("xsem explain 121").contains("PAGED"));
    assert_eq!(code(t.run.wait().expect("it ends")), 0);
}

/// Who quits the pager, or has seen enough, gets no error.
#[test]
fn a_reader_that_stops_early_is_no_error() {
    let p = Place::new();
    let mut t = Terminal::start_with(&p, &["explain", "101"], &[("XSEM_PAGER", "head -n 1")]);
    t.read_until("ERROR_EXCL");
    assert_eq!(code(t.run.wait().expect("it ends")), 0);
    assert_eq!(p.sh("$X explain 101 | head -n 1").trim(), "ERROR_EXCL_SEM_ALREADY_OWNED - 101 (0x65)");
}
