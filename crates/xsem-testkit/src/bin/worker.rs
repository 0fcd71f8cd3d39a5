//! A worker process for the tests: `worker URL`, then commands on the standard input (see `protocol`).

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(url) = std::env::args().nth(1) else {
        eprintln!("usage: worker URL");
        return ExitCode::from(2);
    };
    match xsem_testkit::worker::serve(&url) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("worker: {e}");
            ExitCode::FAILURE
        }
    }
}
