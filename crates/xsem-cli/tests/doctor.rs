//! `xsem doctor`: each thing that it can find, provoked.

mod common;
#[path = "doctor/environment.rs"]
mod environment;
#[path = "doctor/file.rs"]
mod file;
#[path = "doctor/machine.rs"]
mod machine;
#[path = "doctor/owners.rs"]
mod owners;
#[path = "doctor/store.rs"]
mod store;
#[path = "doctor/waits.rs"]
mod waits;

use common::{Place, code, text};
use serde_json::Value;
use std::process::Command;

/// What one run has found.
pub struct Found {
    /// The exit code.
    pub code: i32,
    /// What it printed.
    pub json: Value,
}

/// Kills it and waits for it.
pub fn kill_all(all: impl IntoIterator<Item = std::process::Child>) {
    for mut child in all {
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
    }
}

/// Runs it and reads its JSON.
pub fn run(mut c: Command) -> Found {
    let out = c.output().expect("xsem can be run");
    let said = text(&out.stdout);
    let json = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}{}", text(&out.stderr)));
    Found { code: code(out.status), json }
}

/// `xsem doctor --json ARGS`.
pub fn doctor(p: &Place, args: &[&str]) -> Found {
    let all: Vec<&str> = ["doctor", "--json"].iter().chain(args).copied().collect();
    run(p.xsem(&all))
}

impl Found {
    /// The finding of this kind, if there is one.
    pub fn get(&self, kind: &str) -> Option<&Value> {
        self.json["findings"].as_array().expect("a list").iter().find(|f| f["kind"] == kind)
    }

    /// It is there, as bad as this, with a page; what was found and what to do say these words.
    pub fn must(&self, kind: &str, severity: &str, words: &[&str]) {
        let f = self.get(kind).unwrap_or_else(|| panic!("no {kind}: {:#}", self.json));
        assert_eq!(f["severity"], severity, "{f:#}");
        let said = format!("{} {}", f["what"], f["todo"]);
        for w in words {
            assert!(said.contains(w), "no {w:?} in {said}");
        }
        assert!(f["code"].as_u64().is_some_and(|c| c > 0));
        let worst = self.json["severity"].as_str().expect("something was found");
        let codes = [("note", 0), ("warning", 2), ("trouble", 3)];
        assert_eq!(codes.iter().find(|(s, _)| *s == worst).map(|(_, c)| *c), Some(self.code), "{:#}", self.json);
    }
}

/// Well, and everything was looked at.
#[test]
fn a_healthy_namespace_is_told_to_be_well() {
    let p = Place::new();
    assert!(p.output(&["run", "deploy", "true"]).status.success());
    let f = doctor(&p, &[]);
    // What this machine has not (rseq, room) is told wherever it runs.
    let of_the_machine = ["no-futex-waitv", "no-rseq", "room-nearly-gone"];
    let all = f.json["findings"].as_array().expect("a list");
    assert!(all.iter().all(|f| of_the_machine.iter().any(|k| f["kind"] == *k)), "{:#}", f.json);
    assert!(f.json["looked_at"].as_array().is_some_and(|l| l.len() >= 4));
    let out = p.output(&["doctor", "deploy"]);
    let said = text(&out.stdout);
    assert!(
        said.contains("nothing is wrong") && said.ends_with("Nothing was changed.\n") && said.contains("looked at"),
        "{said}"
    );
    assert_eq!(text(&p.output(&["doctor", "-q", "deploy"]).stdout), "");
    assert_eq!(code(p.output(&["doctor", "a\nb"]).status), 1, "no name");
    let mut c = common::clean(Command::new(common::XSEM));
    c.args(["--namespace", "memory:", "doctor"]);
    assert_eq!(code(c.output().expect("xsem").status), 1);
}
