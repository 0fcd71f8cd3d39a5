//! What `check` and `repair` have found: lines for people, JSON for programs.

use serde::Serialize;
use std::io::{self, Write};
use xsem::{Checkup, Code, Error, Finding, Repaired, Severity};

/// A finding as JSON: field names are part of the command's interface.
#[derive(Serialize)]
pub struct FindingJson {
    /// `damage`, `leak` or `note`.
    severity: &'static str,
    table: &'static str,
    index: Option<u64>,
    name: Option<String>,
    found: String,
    expected: String,
    /// `repair`: repair mends it; `itself`: it is mended by the way; `person`: neither.
    remedy: &'static str,
    how: String,
}

impl From<&Finding> for FindingJson {
    fn from(f: &Finding) -> Self {
        FindingJson {
            severity: f.severity.as_str(),
            table: f.table,
            index: f.index,
            name: f.name.clone(),
            found: f.found.clone(),
            expected: f.expected.clone(),
            remedy: f.remedy.as_str(),
            how: f.remedy.text().to_owned(),
        }
    }
}

/// All of `check --json`.
#[derive(Serialize)]
pub struct CheckupJson {
    sound: bool,
    semaphores: u64,
    members: u64,
    findings: Vec<FindingJson>,
}

impl From<&Checkup> for CheckupJson {
    fn from(c: &Checkup) -> Self {
        CheckupJson {
            sound: c.is_sound(),
            semaphores: c.semaphores,
            members: c.members,
            findings: c.findings.iter().map(FindingJson::from).collect(),
        }
    }
}

/// All of `repair --json`.
#[derive(Serialize)]
pub struct RepairedJson {
    mended: Vec<FindingJson>,
    now: CheckupJson,
}

impl From<&Repaired> for RepairedJson {
    fn from(r: &Repaired) -> Self {
        RepairedJson { mended: r.mended.iter().map(FindingJson::from).collect(), now: CheckupJson::from(&r.now) }
    }
}

/// 1392 with how it stands, unless nothing is damaged.
pub fn verdict(c: &Checkup, url: &str) -> Result<(), Error> {
    let all = c.damage().count();
    if all == 0 {
        return Ok(());
    }
    Err(Error::new(Code::FileCorrupt, sum(c, url)).advice(match c.damage().filter(|f| f.remedy.is_repair()).count() {
        0 => "repair cannot mend it; what is to be done stands beside it",
        n if n == all => "`xsem repair` mends it",
        _ => "`xsem repair` mends a part of it",
    }))
}

/// So many findings of one severity are written out for people; `--json` has them all.
const LISTED: usize = 50;

/// A line each, the worst first.
pub fn list(all: &[Finding], out: &mut impl Write) -> io::Result<()> {
    for severity in [Severity::Damage, Severity::Leak, Severity::Note] {
        let these: Vec<&Finding> = all.iter().filter(|f| f.severity == severity).collect();
        for f in these.iter().take(LISTED) {
            // A name may be anything that was found.
            let line: String = f.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            writeln!(out, "{line}")?;
        }
        if let Some(more) = these.len().checked_sub(LISTED).filter(|n| *n > 0) {
            writeln!(out, "{severity}: and {more} more (`--json` has all of them)")?;
        }
    }
    Ok(())
}

/// One line for all of it: what was looked at, and how it is.
pub fn sum(c: &Checkup, url: &str) -> String {
    let n = |s| c.findings.iter().filter(|f| f.severity == s).count();
    let counted = |n: u64, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    let (damaged, leaks) = (n(Severity::Damage), n(Severity::Leak));
    let state = match (damaged, leaks) {
        (0, 0) => "nothing is damaged".to_owned(),
        (0, l) => format!("nothing is damaged; {} that nobody uses (`xsem repair` frees it)", counted(l as u64, "piece")),
        (d, _) => format!("damaged in {}", counted(d as u64, "place")),
    };
    format!("`{url}`: {}, {}: {state}", counted(c.semaphores, "semaphore"), counted(c.members, "member"))
}
