//! The command line of fault injection.

use crate::tool::{self, number};

/// What `--help` prints.
pub const USAGE: &str = "\
usage: inject --all | --only NAME [OPTIONS]

Answers each system call of an operation, one after another and in every thread, with each error that it may give,
once, and from then on; exits with 1 when anything was violated or got stuck.

  --all             every operation
  --only NAME       the operations whose name contains NAME (may be repeated)
  --seconds N       a random sample, for so long
  --seed N          which sample (default 1)
  --at T:N:ERROR    only this fault: thread, which of its calls, error; with `:on` each later one, too
  --list            the operations
";

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Parts of names; empty: all.
    pub only: Vec<String>,
    /// A sample, for so long.
    pub seconds: Option<u64>,
    /// Which sample.
    pub seed: u64,
    /// One fault only.
    pub at: Option<String>,
    /// Only list the operations.
    pub list: bool,
}

impl Options {
    /// Reads the arguments; the error is for the person who typed them.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut o = Options { only: Vec::new(), seconds: None, seed: 1, at: None, list: false };
        let mut all = false;
        while let Some(a) = args.next() {
            let mut value = || tool::value(&a, &mut args);
            match a.as_str() {
                "--all" => all = true,
                "--only" => o.only.push(value()?),
                "--seconds" => o.seconds = Some(number(&a, &value()?)?),
                "--seed" => o.seed = number(&a, &value()?)?,
                "--at" => o.at = Some(value()?),
                "--list" => o.list = true,
                other => return Err(format!("`{other}` is not an option")),
            }
        }
        match all || o.list || !o.only.is_empty() {
            true => Ok(o),
            false => Err("say `--all` or `--only NAME`".to_owned()),
        }
    }

    pub(super) fn takes(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|o| name.contains(o.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn reads_options_and_refuses_what_it_does_not_know() {
        let o = parse("--only open --seconds 15 --at 0:3:ENOMEM").unwrap();
        assert_eq!((o.seconds, o.at.as_deref()), (Some(15), Some("0:3:ENOMEM")));
        assert!(o.takes("open a copy") && !o.takes("acquire"));
        for (line, why) in [("", "--all"), ("--fast", "not an option"), ("--seconds x", "whole number"), ("--at", "value")] {
            assert!(parse(line).unwrap_err().contains(why), "{line}");
        }
    }
}
