//! A fuzzer over the bytes of a namespace file: whatever they are, no process crashes, hangs, or reads and writes elsewhere, and
//! each error is one that says what is wrong (rule 9).
//!
//! A *template* is a namespace with everything in it: held, waited for, left by the dead, moved, drained. Each case is a copy of
//! it with a few damages, of fields by name or of bytes anywhere. Either it is damaged while nobody has it open, and then opened
//! and used in every way; or it is damaged again and again while two processes are in the middle of everything. Those processes
//! are judged by how they end, and how long each of their calls takes.

mod act;
mod case;
mod damage;
mod judge;
mod template;

use crate::random::Random;
use crate::tool;
use std::io;
use std::time::{Duration, Instant};

/// What `--help` prints.
pub const USAGE: &str = "\
usage: fuzz [OPTIONS]

Damages namespace files at rest and in use; exits with 1 on any finding.

  --seconds N   how long (default 20)
  --minutes N   the same in minutes
  --seed N      chooses everything (default: from the clock; it is printed)
  --at CASE     only this case of the seed, and says what is done
";

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long.
    pub seconds: u64,
    /// Of every choice.
    pub seed: u64,
    /// Only this case.
    pub at: Option<u64>,
}

impl Options {
    /// Reads the arguments; the error is for the person who typed them.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
        let mut o = Options { seconds: 20, seed: clock % 1_000_000, at: None };
        while let Some(a) = args.next() {
            let mut number = || tool::number(&a, &tool::value(&a, &mut args)?);
            match a.as_str() {
                "--seconds" => o.seconds = number()?.max(1),
                "--minutes" => o.seconds = number()?.max(1) * 60,
                "--seed" => o.seed = number()?,
                "--at" => o.at = Some(number()?),
                _ => return Err(format!("`{a}` is not an option")),
            }
        }
        Ok(o)
    }
}

/// Runs the cases; false: something was found.
pub fn run(o: &Options) -> io::Result<bool> {
    let template = template::Template::new(o.seed)?;
    println!("fuzz: seed {}, {} fields in {} units of room", o.seed, template.places.len(), template.units.len());
    let end = Instant::now() + Duration::from_secs(o.seconds);
    let (mut cases, mut findings, mut calls, mut slowest) = (0u64, 0u64, 0u64, (Duration::ZERO, "none"));
    let mut n = o.at.unwrap_or(0);
    while o.at.map_or(Instant::now() < end, |at| n == at) {
        let mut random = Random::new(o.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ n);
        let done = case::play(&template, &mut random, n, o.at.is_some())?;
        cases += 1;
        calls += done.calls;
        slowest = slowest.max(done.slowest);
        if o.at.is_some() || done.slowest.0 > Duration::from_secs(2) {
            println!("case {n}: `{}` took {} ms; {}", done.slowest.1, done.slowest.0.as_millis(), done.what);
        }
        if let Some(why) = done.finding {
            findings += 1;
            println!(
                "FINDING case {n}: {why}\n    damage: {}\n    again: cargo xtask fuzz --seed {} --at {n}",
                done.what, o.seed
            );
            if findings >= 20 {
                println!("that is enough of them");
                break;
            }
        }
        n += 1;
    }
    println!(
        "fuzz: {cases} cases, {calls} calls, the slowest (`{}`) took {} ms; {findings} findings",
        slowest.1,
        slowest.0.as_millis()
    );
    Ok(findings == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line() {
        let parse = |line: &str| Options::parse(line.split_whitespace().map(str::to_owned));
        assert_eq!(parse("--minutes 2 --seed 7 --at 9"), Ok(Options { seconds: 120, seed: 7, at: Some(9) }));
        assert_eq!(parse("").unwrap().seconds, 20);
        for (bad, why) in [("--seed", "needs a value"), ("--seed x", "whole number"), ("--what", "not an option")] {
            assert!(parse(bad).unwrap_err().contains(why), "{bad}");
        }
    }
}
