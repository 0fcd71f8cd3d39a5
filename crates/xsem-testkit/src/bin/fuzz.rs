//! The fuzzer over a namespace file's bytes: see `docs/testing.md` and `fuzz --help`.

use std::process::ExitCode;
use xsem_testkit::fuzz::{Options, USAGE, run};
use xsem_testkit::tool;

fn main() -> ExitCode {
    tool::main("fuzz", USAGE, Options::parse, run)
}
