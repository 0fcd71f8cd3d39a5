//! The conformance table: `conformance [--engine NAME] [--only TEXT]`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use xsem_testkit::conformance::{
    Engine, Outcome, Row, between_users, contract, engines, failures, ntsync, on_etcd, on_three_etcds, run, table,
};

const USAGE: &str = "\
usage: conformance [--engine NAME]... [--only TEXT] [--slow]

Plays every row of the contract, and the behaviours of the kernel's ntsync selftest, on every engine, and prints what came
of it. Exit code 1 when a row failed.

  --engine NAME  memory, shm or lease only; may be repeated. `users`, which needs root, is shm with a user of its own for
                 each actor, all of one group; `etcd` starts an etcd server, `etcd3` three
  --only TEXT    rows whose operation or outcome holds this text
  --slow         tells of each row that takes more than a second
";

fn main() -> ExitCode {
    let mut names = Vec::new();
    let mut only = String::new();
    let mut slow = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(a) = arguments.next() {
        let value = if a == "--engine" || a == "--only" { arguments.next() } else { None };
        match (a.as_str(), value) {
            ("--engine", Some(name)) => names.push(name),
            ("--only", Some(text)) => only = text,
            ("--slow", _) => slow = true,
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
    let mut all = engines(worker.clone());
    if names.iter().any(|n| n == "users") {
        all.push(between_users(worker.clone()));
    }
    if names.iter().any(|n| n == "etcd") {
        all.push(on_etcd(worker.clone()));
    }
    if names.iter().any(|n| n == "etcd3") {
        all.push(on_three_etcds(worker));
    }
    if let Some(unknown) = names.iter().find(|n| !all.iter().any(|e| e.name == n.as_str())) {
        eprintln!("conformance: `{unknown}` is not an engine; they are memory, shm, lease, users, etcd, etcd3");
        return ExitCode::from(2);
    }
    let chosen: Vec<_> = all.into_iter().filter(|e| names.is_empty() || names.iter().any(|n| n == e.name)).collect();
    let columns: Vec<&str> = chosen.iter().map(|e| e.name).collect();
    // What a scene says when it fails is in the table; a panic's own words would tear it apart.
    std::panic::set_hook(Box::new(|_| {}));
    let mut failed = 0;
    for (title, rows) in [("The contract", contract()), ("What the kernel's ntsync selftest checks", ntsync())] {
        let fits = |r: &Row| format!("{} {}", r.operation, r.outcome).contains(&only);
        let rows: Vec<_> = rows.into_iter().filter(fits).collect();
        let played = play(&rows, &chosen, slow);
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

/// Each engine at the same time as the others, since the network of one of them is mostly waited for; row by row.
fn play(rows: &[Row], engines: &[Engine], slow: bool) -> Vec<(Row, Vec<Outcome>)> {
    let one = |row: &Row, engine: &Engine| {
        let begin = Instant::now();
        let outcome = run(row, engine);
        if slow && begin.elapsed() > Duration::from_secs(1) {
            eprintln!("{row:?} on {engine:?}: {:.1} s", begin.elapsed().as_secs_f64());
        }
        outcome
    };
    let columns: Vec<Vec<Outcome>> = std::thread::scope(|s| {
        let playing: Vec<_> =
            engines.iter().map(|e| s.spawn(move || rows.iter().map(|r| one(r, e)).collect::<Vec<_>>())).collect();
        playing.into_iter().map(|p| p.join().expect("a row's panic is caught")).collect()
    });
    let across = |i: usize| columns.iter().map(|c| c[i].clone()).collect();
    rows.iter().enumerate().map(|(i, r)| (*r, across(i))).collect()
}

/// The program of the shared-memory actors, which cargo puts beside this one.
fn worker() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name("worker");
    path.exists().then_some(path)
}
