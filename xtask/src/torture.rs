//! `cargo xtask torture`: random operations, kills and stops, for as long as you like.

use crate::Failure;
use crate::proc::Job;

/// What is run: the code that ships, as users build it.
fn program() -> Job {
    Job::cargo(["run", "--quiet", "--profile", "steps", "-p", "xsem-testkit", "--bin", "torture", "--"])
}

/// The command, with the program's own options and exit codes.
pub fn command(rest: &[String]) -> Result<(), Failure> {
    // Without options, a minute; what they mean is the program's affair.
    let job = if rest.is_empty() { program().args(["--seconds", "60"]) } else { program().args(rest) };
    job.unlimited().must_or_its_code("the torture run")
}

/// The step of CI.
pub fn step() -> Result<(), Failure> {
    program().args(["--seconds", "25"]).must("the torture run")
}
