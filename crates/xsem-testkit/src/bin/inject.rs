//! Fault injection: see `docs/testing.md` and `inject --help`.

use std::process::ExitCode;
use xsem_testkit::inject::{Options, USAGE, run};
use xsem_testkit::tool;

fn main() -> ExitCode {
    tool::main("inject", USAGE, Options::parse, run)
}
