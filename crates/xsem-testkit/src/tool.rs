//! What the programs of this crate have in common: their command lines, and how they end.

use std::io;
use std::process::ExitCode;

/// A program that looks for faults: 0 nothing was found, 1 something was, 2 the command line is wrong.
pub fn main<O>(
    name: &str,
    usage: &str,
    parse: impl FnOnce(std::iter::Skip<std::env::Args>) -> Result<O, String>,
    run: impl FnOnce(&O) -> io::Result<bool>,
) -> ExitCode {
    let arguments = || std::env::args().skip(1);
    if arguments().any(|a| a == "--help" || a == "-h") {
        print!("{usage}");
        return ExitCode::SUCCESS;
    }
    let options = match parse(arguments()) {
        Ok(o) => o,
        Err(e) => {
            eprintln!("{name}: {e}\n\n{usage}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{name}: {e}");
            ExitCode::FAILURE
        }
    }
}

/// The number that an option takes.
pub(crate) fn number(option: &str, value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("`{option}` takes a whole number, not `{value}`"))
}

/// The value of an option.
pub(crate) fn value(option: &str, arguments: &mut impl Iterator<Item = String>) -> Result<String, String> {
    arguments.next().ok_or_else(|| format!("`{option}` needs a value"))
}
