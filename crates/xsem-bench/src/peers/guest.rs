//! Peers of other languages: a process that measures itself in turn with everybody else. It says first which peers it
//! has, a line each: `+NAME`, or `-NAME:WHY` for what it could not have, and `.` at the end. Then it answers each line
//! `WHICH N` with the nanoseconds that N pairs of acquire and release took.

use crate::rounds::Contestant;
use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use std::{env, fs};

const BOOST: &str = include_str!("guests/boost.cpp");
const PYTHON: &str = include_str!("guests/locks.py");

/// Peers that could not be had, and why.
pub type Absent = Vec<(String, String)>;

/// Such a process.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    talk: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
    names: Vec<String>,
}

/// All guests that can be had here, and those that cannot.
pub fn all(dir: &Path) -> (Vec<Guest>, Absent) {
    let mut absent = Absent::new();
    let mut guests = Vec::new();
    for (name, start) in [("Boost.Interprocess", boost as fn(&Path, &mut Absent) -> io::Result<Guest>), ("Python", python)] {
        match start(dir, &mut absent) {
            Ok(guest) => guests.push(guest),
            Err(e) => absent.push((name.to_owned(), e.to_string())),
        }
    }
    (guests, absent)
}

/// Compiled here: its headers are a package of Debian's, and no dependency of ours.
fn boost(dir: &Path, absent: &mut Absent) -> io::Result<Guest> {
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let (source, program) = (dir.join("boost.cpp"), dir.join("boost"));
    fs::write(&source, BOOST)?;
    let mut command = Command::new(&compiler);
    command.args(["-std=c++17", "-O2", "-pthread", "-o"]).args([&program, &source]).arg("-lrt");
    let out = command.output().map_err(|e| io::Error::new(e.kind(), format!("the C++ compiler `{compiler}`: {e}")))?;
    if !out.status.success() {
        let text = String::from_utf8_lossy(&out.stderr);
        let why = text.lines().find(|l| l.contains("error")).unwrap_or("it does not compile");
        return Err(io::Error::other(format!("{why} (Debian: `apt-get install libboost-dev`)")));
    }
    Guest::start(Command::new(program).arg(dir), absent)
}

fn python(dir: &Path, absent: &mut Absent) -> io::Result<Guest> {
    // The one that `cargo xtask bench` has made, which has the package `filelock`.
    let made: PathBuf = crate::target_dir().join("bench/venv/bin/python3");
    let python = if made.exists() { made } else { PathBuf::from("python3") };
    let script = dir.join("locks.py");
    fs::write(&script, PYTHON)?;
    Guest::start(Command::new(python).arg(script).arg(dir), absent)
}

impl Guest {
    fn start(command: &mut Command, absent: &mut Absent) -> io::Result<Guest> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("{name} could not be started: {e}")))?;
        let to = child.stdin.take().expect("piped");
        let from = BufReader::new(child.stdout.take().expect("piped"));
        let mut guest = Guest { child, talk: RefCell::new((to, from)), names: Vec::new() };
        loop {
            let line = guest.line()?;
            match line.split_at_checked(1) {
                Some(("+", peer)) => guest.names.push(peer.to_owned()),
                Some(("-", peer)) => {
                    let (peer, why) = peer.split_once(':').unwrap_or((peer, "it did not say why"));
                    absent.push((peer.to_owned(), why.to_owned()));
                }
                Some((".", _)) => return Ok(guest),
                _ => return Err(io::Error::other(format!("{name} ended before it said what it has"))),
            }
        }
    }

    fn line(&self) -> io::Result<String> {
        let mut line = String::new();
        self.talk.borrow_mut().1.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Its peers.
    pub fn contestants(&self) -> impl Iterator<Item = Contestant<'_>> {
        self.names.iter().enumerate().map(move |(which, name)| {
            Contestant::timed(name, move |n| {
                writeln!(self.talk.borrow_mut().0, "{which} {n}").expect("the guest listens");
                let answer = self.line().expect("the guest answers");
                Duration::from_nanos(answer.parse().unwrap_or_else(|_| panic!("the guest for {name} answered `{answer}`")))
            })
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It reads nothing else than what we write, and waits for nobody else.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
