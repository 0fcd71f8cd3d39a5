//! A storm on real etcd servers: see `xsem_testkit::etcd::storm`.

use std::process::ExitCode;
use std::time::Duration;
use xsem_testkit::etcd::storm::{BUGS, DIRECTED, FLAG, Options, play, run, serve};

const USAGE: &str = "\
usage: storm [--seconds N] [--seed N] [--members N] [--workers N] [--bug NAME | --bugs]

Processes claim semaphores on etcd servers, and write under their tokens, while they, their connections and the servers are killed,
stopped and cut. What they have seen is judged: one owner, permits within the limit, tokens that only grow, refused writes only of lost
claims, each death told once to the next owner, no change made twice, everything free at the end.

  --seconds N  how long (12)
  --seed N     another order of faults (1)
  --members N  servers (3)
  --workers N  processes (5)
  --bug NAME   with a fault that is built in, until it is found, in at most 10 storms: exit code 0 when it was found
  --bugs       all of those, one after the other; those that a storm finds by chance only, in a scene of their own, which must find
               nothing where there is no fault
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).collect::<Vec<_>>();
    if args.first().is_some_and(|a| a == FLAG) {
        return serve(&args.split_off(1));
    }
    let mut options = Options { time: Duration::from_secs(12), seed: 1, members: 3, workers: 5, bug: None };
    let (mut bugs, mut scenes) = (Vec::new(), false);
    let mut rest = args.into_iter();
    while let Some(a) = rest.next() {
        if a == "--bugs" {
            bugs = BUGS.iter().map(|b| b.0.to_owned()).collect();
            scenes = true;
            continue;
        }
        if a == "--help" || a == "-h" {
            print!("{USAGE}");
            BUGS.iter().for_each(|(name, what)| println!("  {name:<12} {what}"));
            return ExitCode::SUCCESS;
        }
        let value = rest.next();
        let number = value.as_deref().and_then(|v| v.parse::<u64>().ok()).filter(|n| *n > 0);
        match (a.as_str(), number, value) {
            ("--seconds", Some(n), _) => options.time = Duration::from_secs(n),
            ("--seed", Some(n), _) => options.seed = n,
            ("--members", Some(n), _) => options.members = n as usize,
            ("--workers", Some(n), _) => options.workers = n as usize,
            ("--bug", _, Some(name)) if BUGS.iter().any(|b| b.0 == name) => bugs.push(name),
            (other, ..) => {
                eprintln!("storm: `{other}` is not an option, or its value is wrong\n\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    if !bugs.is_empty() {
        let missed: Vec<String> = bugs
            .into_iter()
            .filter(|bug| !(if scenes && DIRECTED.contains(&bug.as_str()) { is_seen(bug) } else { is_found(&options, bug) }))
            .collect();
        return if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match run(&options) {
        Ok(outcome) => {
            println!("storm, seed {}: {}", options.seed, outcome.summary);
            outcome.violations.iter().for_each(|v| println!("VIOLATION {v}"));
            if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(e) => {
            eprintln!("storm: {e}");
            ExitCode::from(4)
        }
    }
}

/// By its scene, which finds nothing without it.
fn is_seen(bug: &str) -> bool {
    match (play(bug, true), play(bug, false)) {
        (Ok(Some(said)), Ok(None)) => {
            println!("`{bug}`: found by its scene: {said}");
            true
        }
        (with, without) => {
            println!("`{bug}`: NOT FOUND by its scene: with it {with:?}, without it {without:?}");
            false
        }
    }
}

/// Within ten storms. One that does not come to its end has found something, too.
fn is_found(options: &Options, bug: &str) -> bool {
    for n in 0..10 {
        let options = Options { bug: Some(bug.to_owned()), seed: options.seed + n, ..options.clone() };
        let said = match run(&options) {
            Ok(outcome) => outcome.violations.first().cloned(),
            Err(e) => Some(e.to_string()),
        };
        if let Some(said) = said {
            println!("`{bug}`: found in storm {}: {said}", n + 1);
            return true;
        }
    }
    println!("`{bug}`: NOT FOUND in ten storms");
    false
}
