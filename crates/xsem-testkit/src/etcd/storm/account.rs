//! The record of a worker: a line for each thing, written before it is done or after it was seen, so that a kill leaves what is true.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Which of the semaphores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Exclusive,
    Pool,
}

/// One claim, with times of `CLOCK_MONOTONIC` in nanoseconds.
#[derive(Clone, Debug)]
pub struct Claim {
    pub kind: Kind,
    pub permits: u32,
    /// Before it was asked for.
    pub begin: u64,
    /// After it was granted.
    pub granted: u64,
    pub token: u64,
    /// It came with the death of an owner: pid and token.
    pub died: Option<(u32, u64)>,
    /// It was said that all is well again.
    pub marked: bool,
    /// The latest instant before which the holder was told that it holds.
    pub held: Option<u64>,
    /// A write under its token was refused.
    pub fenced: bool,
    /// Before and after the release, and its code; 0: it was released.
    pub release: Option<(u64, Option<(u64, u32)>)>,
}

impl Claim {
    /// It was certainly not given back.
    pub fn is_lost(&self) -> bool {
        match self.release {
            None => true,
            Some((_, Some((_, code)))) => code != 0,
            // Nobody knows.
            Some((_, None)) => false,
        }
    }
}

/// One process.
#[derive(Debug, Default)]
pub struct Life {
    pub pid: u32,
    pub claims: Vec<Claim>,
    /// An acquire was under way at the end: of that kind.
    pub asking: Option<Kind>,
    /// A wait was given up, or failed: it may have been granted in that moment, with a session that ended then.
    pub gave_up: bool,
    /// Permits that were added, and those of which it is not known.
    pub added: u64,
    pub perhaps_added: u64,
}

/// Where lines go.
pub struct Record(File);

impl Record {
    pub fn create(path: &Path) -> io::Result<Record> {
        File::create(path).map(Record)
    }

    /// # Panics
    /// If it cannot be written: what is missing would be taken for a fault.
    pub fn say(&mut self, line: &str) {
        self.0.write_all(format!("{line}\n").as_bytes()).expect("the record can be written");
    }
}

impl Life {
    /// # Errors
    /// A line that cannot be read.
    pub fn read(path: &Path, pid: u32) -> io::Result<Life> {
        let mut text = fs::read_to_string(path).unwrap_or_default();
        // A line without its end was being written at the end.
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        let mut life = Life { pid, ..Life::default() };
        let mut begun = None;
        for line in text.lines() {
            let bad = || io::Error::other(format!("{}: `{line}`", path.display()));
            let (sign, rest) = line.split_once(' ').unwrap_or((line, ""));
            let n: Vec<u64> = rest.split_whitespace().map(|w| w.parse().map_err(|_| bad())).collect::<Result<_, _>>()?;
            match (sign, &n[..]) {
                ("B", &[permits, at]) => {
                    let kind = if permits == 0 { Kind::Exclusive } else { Kind::Pool };
                    begun = Some((kind, permits.max(1) as u32, at));
                }
                ("N", _) => {
                    begun = None;
                    life.gave_up = true;
                }
                ("G", &[token, at, died_pid, died_token]) => {
                    let (kind, permits, begin) = begun.take().ok_or_else(bad)?;
                    let died = (died_pid != 0).then_some((died_pid as u32, died_token));
                    let (marked, held, fenced, release) = Default::default();
                    life.claims.push(Claim { kind, permits, begin, granted: at, token, died, marked, held, fenced, release });
                }
                ("A", []) => life.perhaps_added += 1,
                ("Y", []) => {
                    life.perhaps_added -= 1;
                    life.added += 1;
                }
                _ => {
                    let claim = life.claims.last_mut().ok_or_else(bad)?;
                    match (sign, &n[..]) {
                        ("M", []) => claim.marked = true,
                        ("H", &[at]) => claim.held = Some(at),
                        ("F", []) => claim.fenced = true,
                        ("E", &[at]) => claim.release = Some((at, None)),
                        ("R", &[at, code]) => claim.release = claim.release.map(|(begin, _)| (begin, Some((at, code as u32)))),
                        _ => return Err(bad()),
                    }
                }
            }
        }
        life.asking = begun.map(|(kind, ..)| kind);
        Ok(life)
    }
}
