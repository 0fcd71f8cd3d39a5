//! The command, beside `flock` and GNU parallel's `sem`: what a script pays for one wrapped command.

use crate::Options;
use crate::goals::Goal;
use crate::report::{Report, Table, Unit};
use crate::rounds::{self, Contestant};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, io};

const ROUNDS: usize = 200;
const XSEM: &str = "xsem run NAME -- true";
const FLOCK: &str = "flock FILE true";
/// A Perl program that takes a hundred times as long, and gets a part of the rounds.
const SEM: &str = "sem --fg --id NAME true (GNU parallel)";
const PART: usize = 10;
const NESTED: &str = "xsem run NAME -- xsem run NAME -- true";
const TWICE: &str = "flock FILE flock OTHER true";

/// The command that was built with this program.
pub fn xsem() -> io::Result<PathBuf> {
    let xsem = env::current_exe()?.with_file_name("xsem");
    if !xsem.is_file() {
        let why = format!("{} is missing: build it with `cargo build --release -p xsem-cli`", xsem.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    Ok(xsem)
}

pub fn run(options: &Options) -> io::Result<Report> {
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let program = xsem()?;
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let url = format!("shm:{}/ns", dir.path().display());
    let (file, other) = (dir.path().join("file"), dir.path().join("other"));
    let (file, other) = (file.as_os_str(), other.as_os_str());
    let xsem = program.as_os_str();
    let word = OsStr::new;
    let run: Vec<&OsStr> = [xsem].into_iter().chain(["--namespace", &url, "run", "bench", "--"].map(word)).collect();
    let call = |words: Vec<&OsStr>, dir: &Path| {
        let status = command(&words, dir).status();
        let status = status.unwrap_or_else(|e| panic!("{} could not be started: {e}", words[0].display()));
        assert!(status.success(), "{}: {status}", words.join(word(" ")).display());
    };
    let repeat = |words: Vec<&'_ OsStr>| {
        let (words, dir) = (words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>(), dir.path());
        move |n: u64| (0..n).for_each(|_| call(words.iter().map(|w| w.as_os_str()).collect(), dir))
    };
    let and_true = |words: &[&'_ OsStr]| repeat(words.iter().copied().chain([word("true")]).collect());

    let mut contestants = vec![
        Contestant::new("true", and_true(&[])),
        Contestant::new(XSEM, and_true(&run)),
        Contestant::new(FLOCK, and_true(&[word("flock"), file])),
        Contestant::new(NESTED, and_true(&[&run[..], &run[..]].concat())),
        Contestant::new(TWICE, and_true(&[word("flock"), file, word("flock"), other])),
    ];
    // A slice of nothing: one command a turn.
    let series = rounds::run(&mut contestants, Duration::ZERO, rounds);
    drop(contestants);
    let table = Table::new("wall time", Unit::Milliseconds, series).against(&["true", FLOCK]);

    let sem = ["sem", "--fg", "--id", "bench"].map(word);
    let mut slow = Table::new("beside a Perl program", Unit::Milliseconds, Vec::new()).against(&[XSEM]);
    let has_sem = command(&[&sem[..], &[word("true")]].concat(), dir.path()).status();
    match has_sem {
        Ok(status) if status.success() => {
            let mut contestants = vec![Contestant::new(XSEM, and_true(&run)), Contestant::new(SEM, and_true(&sem))];
            slow.series = rounds::run(&mut contestants, Duration::ZERO, rounds.div_ceil(PART));
        }
        Ok(status) => slow.absent.push((SEM.to_owned(), status.to_string())),
        Err(e) => slow.absent.push((SEM.to_owned(), format!("{e} (Debian: `apt-get install parallel`)"))),
    }
    Ok(Report {
        title: "cli: a wrapped `true`".to_owned(),
        how: format!(
            "{rounds} rounds ({} beside sem), one start each in turn, from spawn to the collected exit code; nested: the inner one \
             owns it already",
            rounds.div_ceil(PART)
        ),
        goals: vec![Goal::at_most(1.5, "`xsem run NAME -- true`, wall time, x `flock FILE true`", table.ratio(XSEM, FLOCK))],
        tables: vec![table, slow],
        plots: Vec::new(),
    })
}

/// `sem` keeps its files in the directory that is named, not in the user's home.
fn command(words: &[&OsStr], home: &Path) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env("PARALLEL_HOME", home).env_remove("XSEM_NAMESPACE");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
