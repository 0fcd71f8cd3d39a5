//! The options of `xsem hold` and `xsem release`.

use super::{OnOwnerDeath, PermitArgs, WaitArgs};
use clap::{Args, ValueEnum};

/// What becomes of a shell whose claim is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnLoss {
    /// It gets SIGTERM, which scripts end by and interactive shells ignore
    End,
    /// It goes on
    Tell,
}

/// Options of `xsem hold`.
#[derive(Debug, Args)]
#[command(after_help = HOLD_AFTER)]
pub struct HoldArgs {
    #[command(flatten)]
    pub waiting: WaitArgs,

    #[command(flatten)]
    pub permits: PermitArgs,

    /// What others are shown as the reason of this claim
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,

    /// What to do when the previous owner died and nobody has said since that things are in order
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnOwnerDeath::Run)]
    pub on_owner_death: OnOwnerDeath,

    /// What to do when the claim is lost (over a network: its lease has ended), besides saying so
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnLoss::End)]
    pub on_loss: OnLoss,

    /// The process that shall own it, instead of the one that started `xsem hold`
    #[arg(long = "for", value_name = "PID")]
    pub owner: Option<u32>,

    /// The semaphore
    pub name: String,
}

pub(super) const ABOUT: &str = "\
Takes the semaphore for the shell that calls it: the shell owns it until it ends, in whatever way, or says `xsem release \
NAME`. It stands for `exec 9> file; flock 9`.

A small process in the background keeps the claim and watches the shell. If the shell exits, the claim is given back; if a \
signal ends it, the next owner is told (105). If the small process is killed, nobody gets the semaphore before the shell \
has ended. What the shell leaves running in the background does not keep it. Commands that the shell starts may say `xsem \
run NAME`, `xsem hold NAME` and `xsem ok NAME`: they share the claim.

In a namespace across machines the claim can be lost while the shell lives: its host was cut off from the store, or was suspended. Then \
the shell is told, where its errors go, and asked to end (--on-loss).";

const HOLD_AFTER: &str = "\
Examples:
  xsem hold deploy             wait; the script owns it from the next line on
  xsem hold -n deploy || exit  do not wait
  xsem release deploy          before the end of the script
  slots=$(xsem hold --for $$ --permits 2 --limit 4 gpu)   prints `0,3`

The owner is the process that started `xsem hold`. In $(...), in a pipeline, in
( ... ), under `timeout` or `sudo` that is not the script: say --for $$ there.

Exit codes: 0 it is held, 75 taken (101, 121, 102), 76 the previous owner died
and --on-owner-death fail was given, 1 anything else.";

/// Options of `xsem release`.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// What is held for this process, instead of the shells that called us, the nearest first
    #[arg(long = "for", value_name = "PID")]
    pub owner: Option<u32>,

    /// Also what is held for a shell that is not one of our callers
    #[arg(long)]
    pub force: bool,

    /// The semaphore
    pub name: String,
}
