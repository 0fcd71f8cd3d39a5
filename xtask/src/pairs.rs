//! `cargo xtask pairs`: every pair of operations that meet on one semaphore, one killed or stopped while the other runs.

use crate::Failure;
use crate::proc::Job;

/// How many of the pairs a run of CI takes, and which: the same ones each time, so that what it says is about the change.
const SAMPLE: &str = "30";
const SEED: &str = "20778";

/// Pairs that have found something are run each time.
const FOUND: &[&str] = &["pair-free-drain-x-gc", "pair-own-slept-release-x-evict-A", "pair-auto-set-state-x-remove"];

fn harness() -> Job {
    Job::cargo(["run", "--quiet", "--profile", "steps", "-p", "xsem-testkit", "--bin", "harness", "--"])
}

/// The command, with the options of the harness; all pairs, where these name none.
pub fn command(rest: &[String]) -> Result<(), Failure> {
    let chosen = rest.iter().any(|a| ["--only", "--help", "-h"].contains(&a.as_str()));
    let job = if chosen { harness() } else { harness().args(["--only", "pair-"]) };
    job.args(rest).unlimited().must("the harness over pairs")
}

/// The step of CI: a sample, which the last line of its table states.
pub fn step() -> Result<(), Failure> {
    let args = ["--only", "pair-", "--brief", "--sample", SAMPLE, "--seed", SEED];
    harness().args(args).must("the harness over pairs")?;
    harness()
        .args(FOUND.iter().flat_map(|pair| ["--only", pair]))
        .args(["--mode", "pause", "--brief"])
        .must("pairs that found something")
}
