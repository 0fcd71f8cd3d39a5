//! `cargo xtask inject`: each system call of each operation fails, in each way.

use crate::Failure;
use crate::proc::Job;

/// The command, with the program's own options.
pub fn command(rest: &[String]) -> Result<(), Failure> {
    let job = Job::cargo(["run", "--quiet", "-p", "xsem-testkit", "--bin", "inject", "--"]);
    let chosen = rest.iter().any(|a| ["--only", "--all", "--list", "--help", "-h"].contains(&a.as_str()));
    let job = if chosen { job } else { job.arg("--all") };
    job.args(rest).unlimited().must("fault injection")
}
