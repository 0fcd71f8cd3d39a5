//! `xsem log`: switching, lines for people and programs, following.

mod common;

use common::{Place, code, kill, pid_of, text, until};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};

fn log(p: &Place, args: &[&str]) -> String {
    let all: Vec<&str> = ["log"].iter().chain(args).copied().collect();
    let out = p.output(&all);
    assert!(out.status.success(), "{}", text(&out.stderr));
    text(&out.stdout)
}

fn json(p: &Place, args: &[&str]) -> Vec<Value> {
    let all: Vec<&str> = ["--json"].iter().chain(args).copied().collect();
    log(p, &all).lines().map(|l| serde_json::from_str(l).expect("a JSON object in each line")).collect()
}

#[test]
fn off_it_says_so_and_how_to_switch_it_on() {
    let p = Place::new();
    assert_eq!(code(p.output(&["log"]).status), 1, "there is no namespace yet");
    assert!(p.output(&["run", "deploy", "true"]).status.success());
    let out = p.output(&["log", "deploy"]);
    assert!(out.status.success() && out.stdout.is_empty());
    assert!(text(&out.stderr).contains("the history is off: `xsem log --on`"), "{}", text(&out.stderr));
    assert_eq!(log(&p, &["--on", "--size", "100"]), "the history is on: the last 100 records are kept; `xsem log` shows them\n");
    assert_eq!(log(&p, &["--on"]), "the history was on: the last 100 records are kept\n");
    assert_eq!(log(&p, &["deploy"]).lines().count(), 2, "the day, and that it was switched on");
    assert_eq!(log(&p, &["--off"]), "the history is off; what was written down stays readable\n");
    assert_eq!(log(&p, &["--off"]), "the history was off\n");
    assert!(text(&p.output(&["log"]).stderr).contains("before"));
    let unknown = p.output(&["log", "typo"]);
    assert_eq!(code(unknown.status), 1, "neither is there such a name, nor was there one");
}

#[test]
fn who_had_it_who_was_refused_and_who_died() {
    let p = Place::new();
    log(&p, &["--on"]);
    let mut child = p.hold("deploy", &["deploy", "--", "sleep", "600"]);
    let command = p.covered("deploy");
    assert_eq!(code(p.output(&["run", "-w", "50ms", "deploy", "true"]).status), 75);
    kill(child.id(), libc::SIGKILL);
    kill(command, libc::SIGKILL);
    child.wait().expect("it can be waited for");
    let out = p.output(&["run", "deploy", "true"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let all = json(&p, &["deploy"]);
    let what: Vec<&str> = all.iter().filter(|r| !r["name"].is_null()).filter_map(|r| r["what"].as_str()).collect();
    assert_eq!(what, ["created", "acquired", "refused", "died", "acquired", "consistent", "released"], "{all:#?}");
    let died = all.iter().find(|r| r["what"] == "died").expect("a death");
    assert_eq!((pid_of(died), died["cause"].as_str()), (child.id(), Some("its process ended")));
    assert!(died["took_us"].as_u64() > Some(50_000), "{died}");
    let refused = all.iter().find(|r| r["what"] == "refused").expect("a refusal");
    assert_eq!(refused["code"], 121);
    // For people.
    let lines = log(&p, &["-n", "3", "deploy"]);
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[1].contains("`true` acquired") && lines[1].ends_with("the owner before it had died (105)"), "{}", lines[1]);
    assert!(lines[3].contains("`true` released after"), "{}", lines[3]);
    // Neither the day nor the time is of this test; the name is said where there may be several.
    assert!(log(&p, &[]).lines().last().is_some_and(|l| l.contains("  deploy: ")));
    assert!(json(&p, &["--since", "0"]).is_empty());
    assert_eq!(json(&p, &["--since", "1h"]).len(), all.len());
}

#[test]
fn following_shows_what_comes_and_ends_when_it_is_told_to_or_nobody_reads() {
    let p = Place::new();
    log(&p, &["--on"]);
    let mut child = p.start(&["log", "-f", "deploy"]);
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert!(lines.next().is_some_and(|l| l.is_ok_and(|l| l.starts_with("20"))), "the day");
    assert!(lines.next().is_some_and(|l| l.is_ok_and(|l| l.ends_with("switched the history on"))));
    assert!(p.output(&["run", "deploy", "true"]).status.success());
    for end in ["created it (exclusive)", "acquired"] {
        let line = lines.next().expect("a line").expect("a line");
        assert!(line.ends_with(end), "{line}");
    }
    kill(child.id(), libc::SIGINT);
    assert_eq!(code(child.wait().expect("it ends")), 0);
    let mut child = p.start(&["log", "-f"]);
    let mut out = child.stdout.take().expect("a pipe");
    assert!(out.read(&mut [0; 1]).is_ok_and(|n| n == 1));
    drop(out);
    until("it ends without being written to", || child.try_wait().expect("a child").is_some());
}
