//! The options of `xsem event`.

use clap::{Args, Subcommand, ValueEnum};
use std::time::Duration;

pub(super) const ABOUT: &str = "\
An event is signalled or reset. Processes wait until somebody signals it: the server is up, the configuration is new, there is \
work. Nobody owns it, and nothing has to be given back.

A *manual* event stays signalled until somebody resets it, and a signal wakes all who wait. An *auto* event goes back by itself \
when a wait has consumed the signal, so that a signal wakes one. Signals do not add up; to count, use credit (`xsem create \
--credit`).

Unlike a semaphore, an event is not made by itself, since a name alone does not say which of the two is meant: `xsem create \
--event manual NAME`, or --create manual here.";

const AFTER: &str = "\
Examples:
  xsem create --event manual server/up    all may go on, from the signal on
  xsem event wait -w 30 server/up         for 30 seconds at most, then exit 75
  xsem event signal server/up             wakes all of them
  xsem create --event auto work           each signal lets one go on
  xsem event wait work stop               the first of them; prints its name

Exit codes, the same as those of `xsem run`:
  0      done, or signalled
  75     not signalled (-n), not in time (-w) (121), or it is being drained
         (102); -E changes the number
  125    xsem itself failed: no such event (187), another kind (6), bad options
  128+N  the wait was ended by signal N";

/// `xsem event`.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct EventArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: EventCommand,
}

/// The commands under `xsem event`.
#[derive(Debug, Subcommand)]
pub enum EventCommand {
    /// Signal it: wake all who wait (manual), or one of them (auto)
    #[command(long_about = SIGNAL_ABOUT)]
    Signal(EventChangeArgs),
    /// Reset it: from now on, waits wait
    Reset(EventChangeArgs),
    /// Wait until it is signalled; of several, until the first of them is
    #[command(long_about = WAIT_ABOUT)]
    Wait(EventWaitArgs),
}

const SIGNAL_ABOUT: &str = "\
Wakes all who wait (manual), or one of them (auto). If nobody waits, the next wait finds it signalled. A signal of what is \
signalled already changes nothing.";

const WAIT_ABOUT: &str = "\
Waits until the event is signalled: exit code 0. From an auto event it takes the signal away, so that nobody else goes on for \
it; a manual one stays signalled.

Of several it waits for the first that is signalled, and prints its name; the order of the names is their rank when several \
are. With --all it waits for an instant at which all are signalled, and consumes those that are auto; until then none of them.";

/// How an event that does not exist yet is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ResetArg {
    /// Stays signalled until it is reset: a signal wakes all who wait
    Manual,
    /// Goes back when a wait has consumed the signal: a signal wakes one
    Auto,
}

/// Options of `xsem event signal` and `xsem event reset`.
#[derive(Debug, Args)]
pub struct EventChangeArgs {
    /// Where it does not exist: create it, to be reset like this. Where it does, it must be so (87)
    #[arg(long, value_name = "HOW", value_enum)]
    pub create: Option<ResetArg>,

    /// Say for each whether it was signalled before
    #[arg(short = 'v', long, conflicts_with = "json")]
    pub verbose: bool,

    /// The same as JSON, an object and a line for each
    #[arg(long)]
    pub json: bool,

    /// The events
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

/// Options of `xsem event wait`.
#[derive(Debug, Args)]
pub struct EventWaitArgs {
    /// Do not wait: exit with 75 if it is not signalled (121)
    #[arg(short = 'n', long, conflicts_with = "wait")]
    pub no_wait: bool,

    /// Wait for at most TIME (`5`, `1.5`, `500ms`, `2m`), then exit with 75 (121)
    #[arg(short = 'w', long, value_name = "TIME", value_parser = crate::time::parse)]
    pub wait: Option<Duration>,

    /// The exit code for "not signalled", instead of 75
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = crate::exit_codes::TAKEN)]
    pub conflict_exit_code: u8,

    /// Wait until all of them are signalled at one instant, instead of for the first
    #[arg(long)]
    pub all: bool,

    /// Where it does not exist: create it, to be reset like this. Where it does, it must be so (87)
    #[arg(long, value_name = "HOW", value_enum)]
    pub create: Option<ResetArg>,

    /// Say what is waited for, also when stderr is not a terminal
    #[arg(long)]
    pub verbose: bool,

    /// The events
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}
