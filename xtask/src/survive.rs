//! `cargo xtask survive`: a kill and a pause at every instruction of each operation.

use crate::Failure;
use crate::proc::Job;

/// What is run: the code that ships, as it ships.
fn harness() -> Job {
    Job::cargo(["run", "--quiet", "--release", "-p", "xsem-testkit", "--bin", "harness", "--"])
}

/// The command, with the program's own options.
pub fn command(rest: &[String]) -> Result<(), Failure> {
    // Without a choice of scenarios, all; what the options mean is the program's affair.
    let chosen = rest.iter().any(|a| ["--only", "--all", "--list", "--help", "-h"].contains(&a.as_str()));
    let job = if chosen { harness() } else { harness().arg("--all") };
    job.args(rest).unlimited().must("the kill-and-pause harness")
}

/// The step of CI.
pub fn step() -> Result<(), Failure> {
    harness().arg("--all").must("the kill-and-pause harness")
}
