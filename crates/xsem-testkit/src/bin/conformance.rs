//! The conformance table: `conformance [--engine NAME] [--only TEXT]`.

use std::path::PathBuf;
use std::process::ExitCode;
use xsem_testkit::conformance::{contract, engines, failures, ntsync, run, table};

const USAGE: &str = "\
usage: conformance [--engine NAME]... [--only TEXT]

Plays every row of the contract, and the behaviours of the kernel's ntsync selftest, on every engine, and prints what came
of it. Exit code 1 when a row failed.

  --engine NAME  memory, shm or lease only; may be repeated
  --only TEXT    rows whose operation or outcome holds this text
";

fn main() -> ExitCode {
    let mut names = Vec::new();
    let mut only = String::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(a) = arguments.next() {
        match (a.as_str(), arguments.next()) {
            ("--engine", Some(name)) => names.push(name),
            ("--only", Some(text)) => only = text,
            ("--help" | "-h", _) => {
                print!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            (other, _) => {
                eprintln!("conformance: `{other}` is not an option, or its value is missing\n\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let Some(worker) = worker() else {
        eprintln!("conformance: the program `worker` is not beside this one; build it (`cargo build -p xsem-testkit --bins`)");
        return ExitCode::from(2);
    };
    let all = engines(worker);
    if let Some(unknown) = names.iter().find(|n| !all.iter().any(|e| e.name == n.as_str())) {
        eprintln!("conformance: `{unknown}` is not an engine; they are memory, shm, lease");
        return ExitCode::from(2);
    }
    let chosen: Vec<_> = all.into_iter().filter(|e| names.is_empty() || names.iter().any(|n| n == e.name)).collect();
    let columns: Vec<&str> = chosen.iter().map(|e| e.name).collect();
    // What a scene says when it fails is in the table; a panic's own words would tear it apart.
    std::panic::set_hook(Box::new(|_| {}));
    let mut failed = 0;
    for (title, rows) in [("The contract", contract()), ("What the kernel's ntsync selftest checks", ntsync())] {
        let fits = |r: &xsem_testkit::conformance::Row| format!("{} {}", r.operation, r.outcome).contains(&only);
        let played: Vec<_> =
            rows.into_iter().filter(fits).map(|r| (r, chosen.iter().map(|e| run(&r, e)).collect::<Vec<_>>())).collect();
        if !played.is_empty() {
            println!("{title}\n\n{}", table(&columns, &played));
        }
        failed += failures(&columns, &played).len();
    }
    match failed {
        0 => ExitCode::SUCCESS,
        n => {
            println!("{n} failed");
            ExitCode::FAILURE
        }
    }
}

/// The program of the shared-memory actors, which cargo puts beside this one.
fn worker() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name("worker");
    path.exists().then_some(path)
}
