//! The harness's command line.

use super::Mode;
use super::points::Density;
use crate::tool::{self, number};

/// What `--help` prints.
pub const USAGE: &str = "\
usage: cargo xtask survive [OPTIONS]      (the program itself: harness --all | --only NAME [OPTIONS])

Kills and pauses a process at every instruction of an operation; exits with 1 when anything was violated or got stuck.

  --all             every scenario
  --only NAME       the scenario NAME, else those whose names contain NAME (may be repeated)
  --mode kill|pause only one of the two
  --brief           of each operation only the instructions that matter to others, and a few
  --deep            several times as many points of operations that are sampled, which are those of over 400 instructions
  --full            every instruction, however many there are
  --at K            only the point K (to look at one case again)
  --seed N          which instructions a sample takes (default 1)
  --sample N        about N of the scenarios that are named, others with another --seed
  --part I/N        the I-th of N parts of the scenarios that are named, in their order (1/N to N/N are all of them)
  --jobs N          cases at one time (default: three for each processor, since most of a case is sleep)
  --first           end at the first finding
  --bug NAME        with a known fault (only in a build of its own: `cargo xtask survive --bug NAME`)
  --list            the scenarios

XSEM_SLOW=N in the environment: N times as much patience with who does not go on, for a machine that is slow or busy.
";

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Parts of scenario names; empty: all.
    pub only: Vec<String>,
    /// One of the two modes, or both.
    pub mode: Option<Mode>,
    /// How many points of long operations.
    pub(crate) density: Density,
    /// One point only.
    pub at: Option<u64>,
    /// For the sample.
    pub seed: u64,
    /// So many of the scenarios only.
    pub sample: Option<usize>,
    /// Of so many parts of the scenarios this one only, from 1: `(part, parts)`.
    pub part: Option<(usize, usize)>,
    /// Drivers at one time; None: as many as suit the machine.
    pub jobs: Option<usize>,
    /// The first finding ends it.
    pub first: bool,
    /// A fault that is built in, for the whole run.
    pub bug: Option<String>,
    /// Only list the scenarios.
    pub list: bool,
}

impl Options {
    /// Reads the arguments; the error is for the person who typed them.
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut o = Options {
            only: Vec::new(),
            mode: None,
            density: Density::Usual,
            at: None,
            seed: 1,
            sample: None,
            part: None,
            jobs: None,
            first: false,
            bug: None,
            list: false,
        };
        let mut all = false;
        let mut args = args;
        while let Some(a) = args.next() {
            let mut value = || tool::value(&a, &mut args);
            match a.as_str() {
                "--all" => all = true,
                "--only" => o.only.push(value()?),
                "--mode" => {
                    o.mode = Some(match value()?.as_str() {
                        "kill" => Mode::Kill,
                        "pause" => Mode::Pause,
                        other => return Err(format!("`--mode` is `kill` or `pause`, not `{other}`")),
                    });
                }
                "--brief" => o.density = Density::Brief,
                "--sample" => o.sample = Some(number(&a, &value()?)?.max(1) as usize),
                "--part" => o.part = Some(part(&value()?)?),
                "--deep" => o.density = Density::Deep,
                "--full" => o.density = Density::Full,
                "--at" => o.at = Some(number(&a, &value()?)?),
                "--seed" => o.seed = number(&a, &value()?)?,
                "--jobs" => o.jobs = Some(number(&a, &value()?)?.clamp(1, 64) as usize),
                "--first" => o.first = true,
                "--bug" => o.bug = Some(value()?),
                "--list" => o.list = true,
                other => return Err(format!("`{other}` is not an option")),
            }
        }
        match all || o.list || !o.only.is_empty() {
            true => Ok(o),
            false => Err("say `--all` or `--only NAME`".to_owned()),
        }
    }

    /// Those of the scenarios that are in the part that is asked for (neighbours stay together, since those of one operation are
    /// measured once), and of these those in the sample: evenly apart, beginning where the seed says.
    pub(crate) fn sampled<T>(&self, mut all: Vec<T>) -> Vec<T> {
        if let Some((part, parts)) = self.part {
            let edge = |n: usize| all.len() * n / parts;
            let (from, to) = (edge(part - 1), edge(part));
            all.truncate(to);
            all.drain(..from);
        }
        let stride = self.sample.map_or(1, |n| all.len().div_ceil(n).max(1));
        all.into_iter().skip(self.seed as usize % stride).step_by(stride).collect()
    }

    /// Which instructions are tested, in a sentence.
    pub(crate) fn sampling(&self) -> String {
        match self.at {
            Some(k) => format!("Only the point {k}."),
            None => {
                let some = self.sample.map_or(String::new(), |n| format!(" About {n} of the scenarios that were named."));
                let part =
                    self.part.map_or(String::new(), |(i, n)| format!(" Part {i} of {n} of the scenarios that were named."));
                format!("{}{part}{some} Seed {}.", self.density.in_words(), self.seed)
            }
        }
    }

    /// The rest of a command line that leads to the same points.
    pub(crate) fn again(&self) -> String {
        let bug = self.bug.as_ref().map_or(String::new(), |b| format!(" --bug {b}"));
        if self.seed == 1 { bug } else { format!("{bug} --seed {}", self.seed) }
    }
}

/// `I/N`.
fn part(text: &str) -> Result<(usize, usize), String> {
    let both = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    both.filter(|(i, n)| (1..=*n).contains(i)).ok_or_else(|| format!("`--part` is I/N, with I from 1 to N, not `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn reads_options_and_refuses_what_it_does_not_know() {
        let o = parse("--only release --mode pause --seed 7 --at 12").unwrap();
        assert_eq!((o.only, o.mode, o.seed, o.at), (vec!["release".to_owned()], Some(Mode::Pause), 7, Some(12)));
        assert!(parse("--all").unwrap().only.is_empty());
        assert_eq!(parse("--all --deep").unwrap().density, Density::Deep);
        let o = parse("--only pair- --brief --sample 3 --seed 2").unwrap();
        assert_eq!((o.density, o.sampled((0..10).collect())), (Density::Brief, vec![2, 6]));
        let parts = (1..=4).flat_map(|i| parse(&format!("--all --part {i}/4")).unwrap().sampled((0..11).collect()));
        assert!(parts.eq(0..11));
        assert_eq!(parse("--all --part 2/4").unwrap().sampled((0..11).collect()), vec![2, 3, 4]);
        for (line, why) in [
            ("", "--all"),
            ("--part 0/4", "from 1"),
            ("--part 5/4", "from 1"),
            ("--part 4", "I/N"),
            ("--fast", "not an option"),
            ("--seed x", "whole number"),
            ("--mode stop", "kill"),
        ] {
            assert!(parse(line).unwrap_err().contains(why), "{line}");
        }
    }
}
