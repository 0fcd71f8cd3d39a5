//! A worker process for the tests: `worker URL [ANOTHER_URL]`, then commands on the standard input (see `protocol`).

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(url) = std::env::args().nth(1) else {
        eprintln!("usage: worker URL [ANOTHER_URL]");
        return ExitCode::from(2);
    };
    match xsem_testkit::worker::serve(&url, std::env::args().nth(2).as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("worker: {e}");
            ExitCode::FAILURE
        }
    }
}
