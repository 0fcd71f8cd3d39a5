//! `cargo xtask survive`: a kill and a pause at every instruction of each operation; and that it finds known faults.

use crate::Failure;
use crate::proc::{Job, target};

/// A fault that can be built in (`crates/xsem/src/seeded.rs`), and the scenario that finds it, in one of its modes.
struct Bug {
    name: &'static str,
    scenario: &'static str,
    mode: &'static str,
}

const fn bug(name: &'static str, scenario: &'static str, mode: &'static str) -> Bug {
    Bug { name, scenario, mode }
}

const BUGS: &[Bug] = &[
    bug("reclaim-unchecked", "pool-takeover", "pause"),
    bug("wake-before-publish", "release-waiter", "pause"),
    bug("release-in-two-steps", "release-waiter", "pause"),
    bug("free-is-zero", "acquire-removed", "pause"),
    bug("release-by-store", "release-careful", "pause"),
    bug("trust-unbooked", "release", "pause"),
    bug("gate-ignored", "release-keeper-ended", "pause"),
    bug("cover-ignored", "cover", "kill"),
    bug("no-lapse", "release-stopped-waiter", "kill"),
    bug("taken-before-booked", "pool-acquire", "kill"),
    bug("evict-unchecked", "evict-permits", "pause"),
    bug("removal-unfinished", "pool-remove", "kill"),
    bug("dead-drain-stands", "drain", "kill"),
    bug("signal-in-two-steps", "event-signal-waiter", "kill"),
    bug("consume-by-store", "event-wait", "pause"),
    bug("joint-left-open", "all-free", "pause"),
];

/// What is run: the code that ships, as users build it.
fn harness() -> Job {
    Job::cargo(["run", "--quiet", "--profile", "steps", "-p", "xsem-testkit", "--bin", "harness", "--"])
}

/// The same code with the faults in it.
fn with_bugs(verb: &[&str]) -> Job {
    Job::cargo(verb)
        .args(["--profile", "steps", "-p", "xsem-testkit", "--bin", "harness"])
        .env("CARGO_TARGET_DIR", target().join("seeded"))
        .flags("RUSTFLAGS", "--cfg xsem_seeded")
}

/// The command, with the program's own options.
pub fn command(rest: &[String]) -> Result<(), Failure> {
    if rest.iter().any(|a| a == "--bugs") {
        return match rest {
            [_] => bugs(),
            _ => Err(Failure::usage("`--bugs` stands alone; `--bug NAME` takes the other options".to_owned())),
        };
    }
    // Without a choice of scenarios, all; what the options mean is the program's affair.
    let chosen = rest.iter().any(|a| ["--only", "--all", "--list", "--help", "-h"].contains(&a.as_str()));
    let job = match rest.iter().any(|a| a == "--bug") {
        true => with_bugs(&["run", "--quiet"]).arg("--"),
        false => harness(),
    };
    let job = if chosen { job } else { job.arg("--all") };
    job.args(rest).unlimited().must("the kill-and-pause harness")
}

/// The step of CI.
pub fn step() -> Result<(), Failure> {
    harness().arg("--all").must("the kill-and-pause harness")
}

/// Each of the known faults must be found; and where there is none, nothing.
pub fn bugs() -> Result<(), Failure> {
    let mut failed = look_for_all()?;
    // What finds every fault must be content without one.
    let scenarios = BUGS.iter().flat_map(|b| ["--only", b.scenario]);
    let (code, text) = program().args(scenarios).arg("--first").tell("the harness")?;
    if code == Some(0) {
        println!("{:<22} nothing is found in these scenarios, in {} points", "none", points(&text));
    } else {
        println!("{:<22} FOUND SOMETHING\n{text}", "none");
        failed.push("none");
    }
    judge(&failed)
}

/// The step of CI: the scenarios without a fault are a step of their own.
pub fn bugs_step() -> Result<(), Failure> {
    judge(&look_for_all()?)
}

/// The names of the faults that were not found.
fn look_for_all() -> Result<Vec<&'static str>, Failure> {
    with_bugs(&["build", "--quiet"]).must("the build with faults")?;
    println!("\n{:<22} {:<26} {:<6} {:>6} {:>7}  finding", "fault", "found by", "mode", "at", "points");
    let mut failed = Vec::new();
    for b in BUGS {
        let (line, text) = look_for(b)?;
        match line {
            Some(line) => println!("{:<22} {line}", b.name),
            None => {
                println!("{:<22} NOT FOUND\n{text}", b.name);
                failed.push(b.name);
            }
        }
    }
    Ok(failed)
}

fn judge(failed: &[&str]) -> Result<(), Failure> {
    match failed {
        [] => Ok(()),
        _ => Err(Failure::check(format!("not as it should be: {}; again: cargo xtask survive --bugs", failed.join(", ")))),
    }
}

fn program() -> Job {
    Job::built(&target().join("seeded/steps/harness"))
}

/// Looks for a fault: the line that says what found it, and all that was said.
fn look_for(b: &Bug) -> Result<(Option<String>, String), Failure> {
    let Bug { name, scenario, mode } = b;
    let args = ["--only", scenario, "--mode", mode, "--first", "--bug", name];
    let (code, text) = program().args(args).tell("the harness")?;
    let line = found(&text, scenario)
        .filter(|_| code == Some(1))
        .map(|(mode, at, what)| format!("{scenario:<26} {mode:<6} {at:>6} {:>7}  {what}", points(&text)));
    Ok((line, text))
}

/// The first finding: mode, point, and what it says.
fn found<'a>(text: &'a str, scenario: &str) -> Option<(&'a str, &'a str, String)> {
    text.lines().find_map(|l| {
        let (mode, rest) = l.strip_prefix("  ")?.strip_prefix(scenario)?.strip_prefix(' ')?.split_once(" at ")?;
        let (at, what) = rest.split_once(": ")?;
        (what.starts_with("violation") || what.starts_with("stuck")).then(|| (mode, at, what.chars().take(90).collect()))
    })
}

/// How many points that took, from the line after the table.
fn points(text: &str) -> &str {
    text.lines().find_map(|l| l.split_once(" points in ")).map_or("?", |(n, _)| n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_harness_says() {
        let text = "operation\n  release-waiter kill at 7: note: x\n  release-waiter kill at 417: stuck: waited at least 10 s for y\n\
                    total\n\n311 points in 3 s. Every instruction.\n";
        let (mode, at, what) = found(text, "release-waiter").unwrap();
        assert_eq!((mode, at, what.as_str()), ("kill", "417", "stuck: waited at least 10 s for y"));
        assert_eq!((points(text), found(text, "release")), ("311", None));
    }
}
