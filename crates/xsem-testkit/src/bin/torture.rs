//! The torture run: see `docs/testing.md` and `torture --help`.

use std::process::ExitCode;
use xsem_testkit::torture::{Options, USAGE, Verdict, go_on, run};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if go_on(&arguments) {
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|a| a == "--help" || a == "-h") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(arguments.into_iter()) {
        Ok(o) => o,
        Err(e) => {
            eprintln!("torture: {e}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(Verdict::Fine) => ExitCode::SUCCESS,
        Ok(Verdict::Violations) => ExitCode::FAILURE,
        Ok(Verdict::Stuck) => ExitCode::from(3),
        Ok(Verdict::Interrupted) => ExitCode::from(130),
        Err(e) => {
            eprintln!("torture: {e}");
            ExitCode::from(4)
        }
    }
}
