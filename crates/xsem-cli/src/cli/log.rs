//! Options of `xsem log`.

use clap::Args;
use std::time::Duration;

/// Options of `xsem log`.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct LogArgs {
    /// Write down from now on what happens in the namespace
    #[arg(long, conflicts_with_all = ["off", "name", "follow", "json", "lines", "since"])]
    pub on: bool,

    /// Room for the last N records of the namespace, 256 bytes each; with --on
    #[arg(long, value_name = "N", requires = "on", value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub size: Option<u32>,

    /// Write nothing down any more. What is there stays until it is written over
    #[arg(long, conflicts_with_all = ["name", "follow", "json", "lines", "since"])]
    pub off: bool,

    /// Go on with what happens next, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,

    /// A JSON object in each line
    #[arg(long)]
    pub json: bool,

    /// Only the last N
    #[arg(short = 'n', long, value_name = "N")]
    pub lines: Option<usize>,

    /// Only what happened in the last TIME (`90`, `5m`, `12h`)
    #[arg(long, value_name = "TIME", value_parser = crate::time::parse)]
    pub since: Option<Duration>,

    /// Only of this semaphore or event
    pub name: Option<String>,
}

pub const ABOUT: &str = "\
Shows the last things that happened to a semaphore, or to all of the namespace: who acquired it and waited how long for \
that, who gave it back after how long, whose time ran out, who died with it, drains, evictions, and who asked for another \
kind or limit than it has.

A namespace writes this down only after `xsem log --on`: also for processes that run already, which notice within a second. \
It is written into a ring of fixed size in the namespace's file, where the latest record takes the place of the oldest. While \
it is off it costs nothing; while it is on, each acquire and release costs some hundred nanoseconds more.

On etcd it is always there, as far back as etcd keeps what was (its compaction), and can be neither switched on nor off.";

const AFTER: &str = "\
Examples:
  xsem log --on                   begin to write down what happens
  xsem log deploy                 what happened to `deploy`
  xsem log -f                     what happens to all of them, as it happens
  xsem log --since 10m --json     for programs, one JSON object in each line

Exit code: 0; 1 there is no such semaphore and nothing is known of one (187), or
the namespace cannot be read (5, 1306, 1392)";
