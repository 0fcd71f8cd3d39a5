//! A worker process for the tests: `worker URL [ANOTHER_URL]`, then commands on the standard input (see `protocol`).

use std::process::ExitCode;

fn main() -> ExitCode {
    xsem_etcd::register();
    let Some(url) = std::env::args().nth(1) else {
        eprintln!("usage: worker URL [ANOTHER_URL]");
        return ExitCode::from(2);
    };
    if let Some((user, group)) = std::env::var(xsem_testkit::worker::USER).ok().as_deref().and_then(|u| u.split_once(' ')) {
        let (Ok(user), Ok(group)) = (user.parse(), group.parse()) else {
            eprintln!("worker: a user and a group are two numbers");
            return ExitCode::from(2);
        };
        if let Err(e) = xsem_testkit::sys::become_user(user, group) {
            eprintln!("worker: {e}");
            return ExitCode::FAILURE;
        }
    }
    match xsem_testkit::worker::serve(&url, std::env::args().nth(2).as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("worker: {e}");
            ExitCode::FAILURE
        }
    }
}
