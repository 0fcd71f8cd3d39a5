//! `cargo xtask test instructions`: how many instructions the uncontended paths have, counted by valgrind, beside the
//! numbers that are kept. A wall clock says nothing on a busy machine; this says the same each time.

use crate::Failure;
use crate::proc::{Job, root, target};
use std::env::consts::ARCH;
use std::process::Command;
use std::{env, fs};

/// Where the numbers are kept, a line each: `ARCHITECTURE OPERATION NUMBER`.
const KEPT: &str = "crates/xsem-hosts/instructions.txt";
/// How the line begins that says with which compiler.
const WITH: &str = "# Counted with ";
/// Percent. Another version of the compiler moves them by less, mostly.
const TOLERANCE: f64 = 5.0;
/// The operations that the program knows, once each.
const OPERATIONS: [&str; 4] = ["exclusive", "nested", "counting", "event"];
/// Lengths of the two runs whose difference is counted, so that what comes before and after does not count.
const RUNS: [u64; 2] = [2_000, 102_000];

/// The step of CI.
pub fn step() -> Result<(), Failure> {
    Job::cargo(["build", "--release", "-p", "xsem-hosts", "--bin", "instructions"]).must("the build of the counted program")?;
    let kept = fs::read_to_string(root().join(KEPT)).map_err(|e| Failure::check(format!("{KEPT}: {e}")))?;
    println!("{:<11} {:>8} {:>8}  instructions of an acquire and a release (event: a signal and a reset)", "", "kept", "now");
    let (mut more, mut less, mut text) = (Vec::new(), Vec::new(), kept.clone());
    for operation in OPERATIONS {
        let now = counted(operation)?;
        let before = number(&kept, operation);
        let shown = before.map_or_else(|| "none".to_owned(), |b| format!("{b:.1}"));
        let judged = judge(before, now);
        println!("{operation:<11} {shown:>8} {now:>8.1}  {}", judged.word());
        match judged {
            Judged::More(_) => more.push(operation),
            Judged::Less(_) | Judged::New => less.push(operation),
            Judged::Same => {}
        }
        text = with(&text, operation, now);
    }
    let compiler = compiler();
    if env::var_os("XSEM_BLESS").is_some_and(|v| v == "1") {
        let others = text.lines().filter(|l| !l.starts_with(WITH)).map(|l| format!("{l}\n")).collect::<String>();
        let text = format!("{others}{WITH}{compiler}\n");
        fs::write(root().join(KEPT), text).map_err(|e| Failure::check(format!("{KEPT}: {e}")))?;
        println!("kept in {KEPT}");
        return Ok(());
    }
    if !less.is_empty() {
        println!(
            "{} changed for the better, or are new: `XSEM_BLESS=1 cargo xtask test instructions` keeps that",
            less.join(", ")
        );
    }
    if more.is_empty() {
        return Ok(());
    }
    Err(Failure::check(format!(
        "more than {TOLERANCE} % above {KEPT}: {}. Counted with {compiler}; the file says with which it was before. Where that, or a \
         reason that is worth it, explains it: `XSEM_BLESS=1 cargo xtask test instructions`",
        more.join(", ")
    )))
}

fn compiler() -> String {
    let out = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version").output();
    out.map_or_else(|_| "an unknown rustc".to_owned(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

/// Instructions of one operation.
fn counted(operation: &str) -> Result<f64, Failure> {
    let [short, long] = RUNS.map(|n| run(operation, n));
    Ok((long? - short?) as f64 / (RUNS[1] - RUNS[0]) as f64)
}

/// Instructions of the whole program, which does it so many times.
fn run(operation: &str, times: u64) -> Result<u64, Failure> {
    let program = target().join("release/instructions");
    let log = target().join(format!("instructions-{operation}-{times}.log"));
    let job = Job::named("valgrind").args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let job = job.arg(format!("--log-file={}", log.display())).arg(&program).arg(operation).arg(times.to_string());
    job.output(&format!("{} {operation} {times} under valgrind", program.display()))?;
    let text = fs::read_to_string(&log).map_err(|e| Failure::check(format!("{}: {e}", log.display())))?;
    collected(&text).ok_or_else(|| Failure::check(format!("valgrind did not say how many it has counted: {}", log.display())))
}

/// From callgrind's line `==PID== Collected : NUMBER`.
fn collected(log: &str) -> Option<u64> {
    log.lines().find_map(|l| l.split_once("Collected : ")?.1.trim().parse().ok())
}

#[derive(Debug, PartialEq)]
enum Judged {
    New,
    Same,
    Less(f64),
    More(f64),
}

impl Judged {
    fn word(&self) -> String {
        match self {
            Judged::New => "not kept yet".to_owned(),
            Judged::Same => "as kept".to_owned(),
            Judged::Less(percent) => format!("{percent:.1} % less"),
            Judged::More(percent) => format!("{percent:.1} % MORE"),
        }
    }
}

fn judge(kept: Option<f64>, now: f64) -> Judged {
    let Some(kept) = kept else { return Judged::New };
    match (now - kept) / kept * 100.0 {
        p if p > TOLERANCE => Judged::More(p),
        p if p < -TOLERANCE => Judged::Less(-p),
        _ => Judged::Same,
    }
}

fn number(kept: &str, operation: &str) -> Option<f64> {
    let start = format!("{ARCH} {operation} ");
    kept.lines().find_map(|l| l.strip_prefix(&start)?.trim().parse().ok())
}

/// The kept numbers with this one instead of the old one.
fn with(kept: &str, operation: &str, now: f64) -> String {
    let start = format!("{ARCH} {operation} ");
    let others: String = kept.lines().filter(|l| !l.starts_with(&start)).map(|l| format!("{l}\n")).collect();
    format!("{others}{start}{now:.1}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_valgrind_says() {
        assert_eq!(collected("==7== Events    : Ir\n==7== Collected : 123456\n==7==\n"), Some(123_456));
        assert_eq!(collected("==7== nothing\n"), None);
    }

    #[test]
    fn more_is_a_fault_and_less_is_news() {
        assert_eq!(judge(Some(100.0), 104.9), Judged::Same);
        assert_eq!(judge(Some(100.0), 106.0), Judged::More(6.0));
        assert_eq!(judge(Some(100.0), 90.0), Judged::Less(10.0));
        assert_eq!(judge(None, 90.0), Judged::New);
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let text = with("# a comment\nother exclusive 1.0\n", "exclusive", 62.25);
        assert_eq!(number(&text, "exclusive"), Some(62.2));
        assert_eq!(number(&with(&text, "exclusive", 50.0), "exclusive"), Some(50.0));
        assert!(text.starts_with("# a comment\nother exclusive 1.0\n"));
        assert_eq!(number(&text, "nested"), None);
    }
}
