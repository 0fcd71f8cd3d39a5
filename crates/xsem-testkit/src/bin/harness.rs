//! The kill-and-pause harness: see `docs/testing.md` and `harness --help`.

use std::process::ExitCode;
use xsem_testkit::harness::{Options, USAGE, run};
use xsem_testkit::tool;

fn main() -> ExitCode {
    tool::main("harness", USAGE, Options::parse, run)
}
