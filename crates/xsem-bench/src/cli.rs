//! The command, beside `flock`: what a script pays for one wrapped command.

use crate::Options;
use crate::report::{Goal, Report, Table, Unit};
use crate::rounds::{self, Contestant};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, io};

const ROUNDS: usize = 200;
const XSEM: &str = "xsem run NAME -- true";
const FLOCK: &str = "flock FILE true";

pub fn run(options: &Options) -> io::Result<Report> {
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let exe = env::current_exe()?;
    let xsem = exe.with_file_name("xsem");
    if !xsem.is_file() {
        let why = format!("{} is missing: build it with `cargo build --release -p xsem-cli`", xsem.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let url = format!("shm:{}/ns", dir.path().display());
    let file = dir.path().join("file");

    let mut contestants = vec![
        Contestant::new("true", |n| repeat(n, Path::new("true"), &[])),
        Contestant::new(XSEM, |n| repeat(n, &xsem, &["--namespace", &url, "run", "bench", "--", "true"])),
        Contestant::new(FLOCK, |n| repeat(n, Path::new("flock"), &[&file.display().to_string(), "true"])),
    ];
    // A slice of nothing: one command a turn.
    let series = rounds::run(&mut contestants, Duration::ZERO, rounds);
    drop(contestants);
    let table = Table { title: "wall time", unit: Unit::Milliseconds, series, against: vec![FLOCK] };
    Ok(Report {
        title: "cli: a wrapped `true`".to_owned(),
        how: format!("{rounds} rounds, one start each in turn, from spawn to the collected exit code"),
        goals: vec![Goal { text: "xsem run, x flock", limit: 1.5, value: table.ratio(XSEM, FLOCK) }],
        tables: vec![table],
    })
}

fn repeat(n: u64, program: &Path, args: &[&str]) {
    for _ in 0..n {
        let status = Command::new(program).args(args).stdin(Stdio::null()).status();
        let status = status.unwrap_or_else(|e| panic!("{} could not be started: {e}", program.display()));
        assert!(status.success(), "{} {}: {status}", program.display(), args.join(" "));
    }
}
