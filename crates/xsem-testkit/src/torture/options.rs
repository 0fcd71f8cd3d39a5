//! The command line of the torture run.

use super::worker::Mix;

/// What `--help` prints.
pub const USAGE: &str = "\
usage: torture [OPTIONS]

Random operations of many processes, randomly killed and stopped; the books of all of them are compared.
Exits with 0 when all is well, 1 after a violation, 3 when somebody hangs, 130 when it was interrupted, 4 when it could not run.

  --seconds N     how long (default 20)
  --minutes N     the same in minutes
  --processes N   at one time, 1 to 64 (default 8)
  --threads N     claimant threads in each, 1 to 4 (default 2)
  --mix NAME      only one kind of round: exclusive, permits, lists, events, everything, drains, lives,
                  tasks (default: any of them)
  --bug NAME      with one of the faults that a build with `--cfg xsem_seeded` has: it must be found
  --no-interrupts no signals to the workers, whose handlers signal events and add permits
  --seed N        chooses operations, kills and stops (default: from the clock; it is printed)
  --round N       begins with this round of the seed, and ends with it
";

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long.
    pub seconds: u64,
    /// Worker processes at one time.
    pub processes: usize,
    /// Threads in each.
    pub threads: usize,
    /// The kind of all rounds; else each has one by chance.
    pub mix: Option<usize>,
    /// Whether handlers run in the workers.
    pub interrupts: bool,
    /// Of every choice.
    pub seed: u64,
    /// A fault that is made on purpose.
    pub bug: Option<String>,
    /// Only this round.
    pub round: Option<u64>,
}

impl Options {
    /// Reads the arguments; the error is for the person who typed them.
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Options, String> {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
        let mut o =
            Options { seconds: 20, processes: 8, threads: 2, mix: None, interrupts: true, seed: clock, round: None, bug: None };
        let mut args = args;
        while let Some(a) = args.next() {
            if a == "--mix" {
                let name = args.next().unwrap_or_default();
                let known = Mix::ALL.map(Mix::name);
                let found = known.iter().position(|k| *k == name);
                o.mix = Some(found.ok_or_else(|| format!("`--mix` is one of {}, not `{name}`", known.join(", ")))?);
                continue;
            }
            if a == "--bug" {
                o.bug = Some(args.next().ok_or("`--bug` needs the name of a fault")?);
                continue;
            }
            if a == "--no-interrupts" {
                o.interrupts = false;
                continue;
            }
            let mut number = |range: std::ops::RangeInclusive<u64>| {
                let text = args.next().ok_or_else(|| format!("`{a}` needs a value"))?;
                text.parse()
                    .ok()
                    .filter(|n| range.contains(n))
                    .ok_or_else(|| format!("`{a}` takes a whole number from {} to {}, not `{text}`", range.start(), range.end()))
            };
            match a.as_str() {
                "--seconds" => o.seconds = number(1..=1_000_000)?,
                "--minutes" => o.seconds = number(1..=10_000)? * 60,
                "--processes" => o.processes = number(1..=64)? as usize,
                "--threads" => o.threads = number(1..=4)? as usize,
                "--round" => o.round = Some(number(0..=u64::MAX)?),
                "--seed" => o.seed = number(0..=u64::MAX)?,
                other => return Err(format!("`{other}` is not an option")),
            }
        }
        Ok(o)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_options_and_refuses_what_it_does_not_know() {
        let parse = |line: &str| Options::parse(line.split_whitespace().map(str::to_owned));
        assert_eq!(
            parse("--minutes 2 --processes 4 --threads 1 --mix lists --no-interrupts --seed 9 --round 7 --bug b"),
            Ok(Options {
                seconds: 120,
                processes: 4,
                threads: 1,
                mix: Some(2),
                interrupts: false,
                seed: 9,
                round: Some(7),
                bug: Some("b".to_owned())
            })
        );
        for (line, why) in
            [("--processes 65", "1 to 64"), ("--fast", "not an option"), ("--seed", "needs a value"), ("--mix all", "lists")]
        {
            assert!(parse(line).unwrap_err().contains(why), "{line}");
        }
    }
}
