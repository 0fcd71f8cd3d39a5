//! `cargo xtask survive`: a kill and a pause at every instruction of each operation; and that it finds known faults.

use crate::Failure;
use crate::proc::{Job, target};

/// A fault that can be built in (`crates/xsem/src/seeded.rs`), and where kills and pauses find it.
struct Bug {
    name: &'static str,
    /// The scenario, and the mode if only one of the two finds it.
    by: (&'static str, Option<&'static str>),
}

const fn bug(name: &'static str, scenario: &'static str, mode: &'static str) -> Bug {
    Bug { name, by: (scenario, Some(mode)) }
}

const BUGS: &[Bug] = &[
    bug("reclaim-unchecked", "pool-takeover", "pause"),
    bug("wake-before-publish", "release-waiter", "pause"),
    bug("release-in-two-steps", "release-waiter", "pause"),
    bug("free-is-zero", "acquire-removed", "pause"),
    bug("release-by-store", "release", "pause"),
    bug("cover-ignored", "cover", "kill"),
    bug("watch-unchecked", "acquire-alone-owner-dies", "pause"),
    bug("no-lapse", "release-stopped-waiter", "kill"),
    bug("taken-before-booked", "pool-acquire", "kill"),
    bug("evict-unchecked", "evict-permits", "pause"),
    bug("removal-unfinished", "pool-remove", "kill"),
    bug("dead-drain-stands", "drain", "kill"),
    bug("signal-in-two-steps", "event-signal-waiter", "kill"),
    bug("consume-by-store", "event-wait", "pause"),
    bug("joint-left-open", "all-free", "pause"),
];

/// What is run: the code that ships, as it ships.
fn harness() -> Job {
    Job::cargo(["run", "--quiet", "--release", "-p", "xsem-testkit", "--bin", "harness", "--"])
}

/// The same code with the faults in it: built without the last optimizations, which take longest.
fn with_bugs(verb: &[&str]) -> Job {
    Job::cargo(verb)
        .args(["--release", "-p", "xsem-testkit", "--bin", "harness"])
        .env("CARGO_TARGET_DIR", target().join("seeded"))
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
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

/// Each of the known faults must be found.
pub fn bugs() -> Result<(), Failure> {
    with_bugs(&["build", "--quiet"]).must("the build with faults")?;
    let program = target().join("seeded/release/harness");
    let mut lines = Vec::new();
    let mut missed = Vec::new();
    let mut scenarios = Vec::new();
    println!("\n{:<22} {:<24} {:<6} {:>6} {:>7}  finding", "fault", "found by", "mode", "at", "points");
    for b in BUGS {
        let (scenario, mode) = b.by;
        let mode: Vec<&str> = mode.into_iter().flat_map(|m| ["--mode", m]).collect();
        let args = ["--only", scenario, "--first", "--bug", b.name];
        let (code, text) = Job::built(&program).args(args).args(&mode).tell("the harness")?;
        match (code, found(&text, scenario)) {
            (Some(1), Some((mode, at, what))) => {
                println!("{:<22} {scenario:<24} {mode:<6} {at:>6} {:>7}  {what}", b.name, points(&text));
            }
            _ => {
                println!("{:<22} {scenario:<24} NOT FOUND", b.name);
                lines.push(text);
                missed.push(b.name);
            }
        }
        scenarios.push(scenario);
    }
    // What finds every fault must be content where there is none.
    scenarios.sort_unstable();
    scenarios.dedup();
    let (code, text) =
        Job::built(&program).args(scenarios.iter().flat_map(|s| ["--only", s])).arg("--first").tell("the harness")?;
    println!(
        "{:<22} {} scenarios: {}",
        "none",
        scenarios.len(),
        if code == Some(0) { "nothing is found" } else { "FOUND SOMETHING" }
    );
    if code != Some(0) {
        lines.push(text);
        missed.push("none");
    }
    lines.iter().for_each(|t| print!("{t}"));
    match missed.is_empty() {
        true => Ok(()),
        false => Err(Failure::check(format!(
            "{} of {} are not as they should be: {}",
            missed.len(),
            BUGS.len() + 1,
            missed.join(", ")
        ))),
    }
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
