//! `cargo xtask fuzz`: the fuzzer over a namespace file's bytes, in the build whose overflow checks and assertions are on.

use crate::Failure;
use crate::proc::Job;

/// With the fuzzer's own arguments.
pub fn run(rest: &[String]) -> Result<(), Failure> {
    Job::cargo(["run", "--quiet", "-p", "xsem-testkit", "--bin", "fuzz", "--"]).args(rest).unlimited().must("the fuzzer")
}
