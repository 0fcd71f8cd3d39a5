//! Runs a program in other surroundings; see the library's `within`.

use std::process::ExitCode;
use xsem_testkit::within::{NOT_HERE, Options, USAGE, run};

fn main() -> ExitCode {
    match Options::parse(std::env::args_os().skip(1)) {
        Ok(options) => {
            let e = run(&options);
            eprintln!("within: {}: {}", e.what, e.why);
            ExitCode::from(NOT_HERE)
        }
        Err(e) => {
            eprintln!("within: {e}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}
