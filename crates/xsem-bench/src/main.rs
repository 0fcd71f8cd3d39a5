//! xsem beside its peers. A benchmark is a file and a line in `BENCHES`; each runs all its peers in turn, many short
//! rounds, so that what the machine does meanwhile meets everybody alike.

mod asynchronous;
mod bell;
mod child;
mod cli;
mod contended;
mod death;
mod event;
mod handoff;
mod lock;
mod machine;
mod open;
mod peers;
mod report;
mod rounds;
mod shared;
mod uncontended;

use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs, io};

/// What one run may be told.
#[derive(Debug)]
struct Options {
    /// More rounds for a steadier median, fewer for a quick look.
    rounds: Option<usize>,
}

/// Name, what it measures, the function.
type Bench = (&'static str, &'static str, fn(&Options) -> io::Result<Report>);

const BENCHES: &[Bench] = &[
    ("uncontended", "acquire + release that meets nobody, beside ten peers", uncontended::run),
    ("async", "tasks of one process, beside tokio's and async-lock's semaphores", asynchronous::run),
    ("open", "opening an existing name, and create + remove, beside sem_open", open::run),
    ("handoff", "from a release to a sleeping process that goes on", handoff::run),
    ("contended", "throughput and the longest wait of 1 to 64 processes", contended::run),
    ("death", "from the SIGKILL of an owner to the next owner", death::run),
    ("event", "signal and wait: alone, to another process, to a crowd; beside eventfd and a raw futex", event::run),
    ("cli", "`xsem run NAME -- true` beside `flock FILE true`", cli::run),
];

fn main() -> ExitCode {
    let mut args = env::args().skip(1).collect::<Vec<_>>();
    if args.first().is_some_and(|a| a == child::FLAG) {
        return child::main(&args[1..]);
    }
    let mut rounds = None;
    let mut name = None;
    while !args.is_empty() {
        let a = args.remove(0);
        match a.as_str() {
            "--list" => {
                BENCHES.iter().for_each(|(n, what, _)| println!("{n:<12} {what}"));
                return ExitCode::SUCCESS;
            }
            "--rounds" if !args.is_empty() => match args.remove(0).parse() {
                Ok(n) if n > 0 => rounds = Some(n),
                _ => return usage("--rounds takes a whole number above 0"),
            },
            "all" => name = Some(a),
            other if BENCHES.iter().any(|b| b.0 == other) && name.is_none() => name = Some(a),
            other => return usage(&format!("`{other}` is not a benchmark or an option")),
        }
    }
    let Some(name) = name else { return usage("which benchmark?") };
    let options = Options { rounds };
    for (n, _, run) in BENCHES.iter().filter(|b| name == "all" || b.0 == name) {
        if let Err(e) = run(&options).and_then(|report| finish(n, &report)) {
            eprintln!("xsem-bench: {n}: {e}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn usage(why: &str) -> ExitCode {
    let names: Vec<_> = BENCHES.iter().map(|b| b.0).collect();
    eprintln!("xsem-bench: {why}\nusage: xsem-bench [--rounds N] NAME   (NAME: {}, all; --list tells more)", names.join(", "));
    ExitCode::from(2)
}

fn finish(name: &str, report: &Report) -> io::Result<()> {
    print!("{}", report.text());
    let dir = target_dir().join("bench");
    fs::create_dir_all(&dir)?;
    let path = dir.join(format!("{name}.json"));
    fs::write(&path, format!("{:#}\n", report.json()))?;
    println!("\nwritten to {}", path.display());
    Ok(())
}

/// The directory that this program was built into: `target/release/xsem-bench` lies two levels below it.
fn target_dir() -> PathBuf {
    let exe = env::current_exe().ok();
    let found = exe.as_deref().and_then(|e| e.parent()?.parent()).map(PathBuf::from);
    found.unwrap_or_else(|| PathBuf::from("target"))
}
