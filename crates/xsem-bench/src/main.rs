//! xsem beside its peers. A benchmark is a file and a line in `BENCHES`; each runs all its peers in turn, many short
//! rounds, so that what the machine does meanwhile meets everybody alike.

mod asynchronous;
mod bell;
mod child;
mod cli;
mod contended;
mod death;
mod etcd;
mod event;
mod first;
mod goals;
mod handoff;
mod lock;
mod machine;
mod many;
mod members;
mod open;
mod peers;
mod plot;
mod report;
mod rounds;
mod scale;
mod shared;
mod uncontended;

use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
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
    ("uncontended", "acquire + release that meets nobody, beside more than twenty peers", uncontended::run),
    ("many", "several at once: n permits, all of n, any of n", many::run),
    ("async", "tasks of one process, beside tokio's and async-lock's semaphores", asynchronous::run),
    ("open", "opening an existing name, create + remove, and the first acquire of a process, beside sem_open", open::run),
    ("handoff", "from a release to a sleeping process that goes on", handoff::run),
    ("contended", "throughput and the longest wait of 1 to 64 processes", contended::run),
    ("death", "from the SIGKILL of an owner to the next owner, over the owner's size", death::run),
    ("scale", "1 to 1,000,000 semaphores: time, memory, `ls` and `show`; memory of members", scale::run),
    ("event", "signal and wait: alone, to another process, to a crowd; beside eventfd and a raw futex", event::run),
    ("etcd", "semaphores on etcd servers, beside etcd's own lock() and `etcdctl lock`", etcd::run),
    ("cli", "`xsem run NAME -- true` beside `flock FILE true` and GNU parallel's `sem`", cli::run),
];

const USAGE: &str = "\
usage: xsem-bench [--rounds N] NAME...
  NAME        a benchmark of `--list`, or `all`; `goals` prints the goals as the last runs have left them
  --rounds N  more for steadier medians, fewer for a quick look
  --list      the benchmarks";

fn main() -> ExitCode {
    let mut args = env::args().skip(1).collect::<Vec<_>>();
    if args.first().is_some_and(|a| a == child::FLAG) {
        return child::main(&args[1..]);
    }
    if args.first().is_some_and(|a| a == first::FLAG) {
        return first::main(&args[1..]);
    }
    if args.first().is_some_and(|a| a == etcd::FLAG) {
        return etcd::main(&args[1..]);
    }
    let mut rounds = None;
    let mut names = Vec::new();
    while !args.is_empty() {
        let a = args.remove(0);
        match a.as_str() {
            "--list" => {
                BENCHES.iter().for_each(|(n, what, _)| println!("{n:<12} {what}"));
                return ExitCode::SUCCESS;
            }
            "--help" | "-h" => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            "--rounds" if !args.is_empty() => match args.remove(0).parse() {
                Ok(n) if n > 0 => rounds = Some(n),
                _ => return usage("--rounds takes a whole number above 0"),
            },
            "all" | "goals" => names.push(a),
            other if BENCHES.iter().any(|b| b.0 == other) => names.push(a),
            other => return usage(&format!("`{other}` is not a benchmark or an option")),
        }
    }
    if names.is_empty() {
        return usage("which benchmark?");
    }
    match run(&Options { rounds }, &names) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xsem-bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn usage(why: &str) -> ExitCode {
    eprintln!("xsem-bench: {why}\n{USAGE}");
    ExitCode::from(2)
}

fn run(options: &Options, names: &[String]) -> io::Result<()> {
    let start = Instant::now();
    let chosen = |name: &str| names.iter().any(|n| n == name || n == "all");
    let chosen: Vec<_> = BENCHES.iter().filter(|b| chosen(b.0)).collect();
    for (name, _, run) in &chosen {
        run(options).and_then(|report| finish(name, &report)).map_err(|e| io::Error::new(e.kind(), format!("{name}: {e}")))?;
    }
    // One benchmark has said its goals already.
    if chosen.len() != 1 {
        let all: Vec<_> = BENCHES.iter().map(|b| b.0).collect();
        print!("{}", goals::table(&results_dir(), &all)?);
    }
    if !chosen.is_empty() {
        let took = start.elapsed().as_secs();
        println!("\ntook {} min {} s", took / 60, took % 60);
    }
    Ok(())
}

fn finish(name: &str, report: &Report) -> io::Result<()> {
    print!("{}", report.text());
    let dir = results_dir();
    fs::create_dir_all(&dir)?;
    let mut written = vec![dir.join(format!("{name}.json"))];
    fs::write(&written[0], format!("{:#}\n", report.json()))?;
    written.push(dir.join(format!("{name}.md")));
    fs::write(&written[1], report.markdown())?;
    for plot in &report.plots {
        let path = dir.join(format!("{}.svg", plot.file));
        fs::write(&path, plot.svg())?;
        written.push(path);
    }
    println!();
    written.iter().for_each(|path| println!("written to {}", path.display()));
    println!();
    Ok(())
}

fn results_dir() -> PathBuf {
    target_dir().join("bench")
}

/// The directory that this program was built into: `target/release/xsem-bench` lies two levels below it.
fn target_dir() -> PathBuf {
    let exe = env::current_exe().ok();
    let found = exe.as_deref().and_then(|e| e.parent()?.parent()).map(PathBuf::from);
    found.unwrap_or_else(|| PathBuf::from("target"))
}
