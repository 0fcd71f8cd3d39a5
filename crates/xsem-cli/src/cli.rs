//! The options of every command, and the help that a stranger reads first.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::time::Duration;

const ABOUT: &str = "Named semaphores between processes, that survive the death of their owners";

const EXAMPLES: &str = "\
Examples:
  xsem run deploy -- ./deploy.sh     wait until nobody else deploys, then deploy
  xsem run -n backup -- ./backup.sh  do not wait: exit with 75, say who is at it
  xsem ls                            which semaphores are there, who holds them
  xsem show deploy                   everything about one of them
  xsem explain 105                   what an error means, and what to do about it

A semaphore belongs to a namespace. The default one, `shm:`, is this user's on
this machine, whatever the environment says: cron and a login shell meet there.
Its file is /dev/shm/xsem-UID/default, and no daemon is needed.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "xsem", version, about = ABOUT, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    /// Where the names live: `shm:` (this user's default), `shm:NAME`, or `shm:/path/to/file`
    #[arg(long, global = true, value_name = "URL", env = "XSEM_NAMESPACE", default_value = "shm:")]
    pub namespace: String,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command while owning a semaphore
    Run(RunArgs),
    /// List the semaphores and who holds them
    Ls(LsArgs),
    /// Show who holds one, who waits, who died, and its counters
    Show(ShowArgs),
    /// Create a semaphore (`run` does it by itself)
    Create(NameArg),
    /// Remove a semaphore that nobody holds or waits for
    Rm(NameArg),
    /// Say that what a dead owner left is in order again
    Ok(NameArg),
    /// Explain an error code: 101, 0x65, ERROR_EXCL_SEM_ALREADY_OWNED
    Explain(ExplainArgs),
}

const RUN_ABOUT: &str = "\
Waits until the exclusive semaphore NAME is ours, runs the command, gives the semaphore back, and exits with the \
command's exit code. The semaphore is created where it does not exist.

The claim covers the command: others get the semaphore when the command has ended, not earlier. If `xsem run` itself is \
killed, the command is killed too (or lives on, with --detach-on-death), and nobody takes over before it is gone. If the \
command is ended by a signal, the next owner is told (105), because things may be half done. What the command leaves \
running in the background neither keeps the semaphore nor knows of it.

Inside the command, `xsem run` with the same NAME shares the claim instead of waiting for itself, also through shells and \
make; the claim ends with the last of them.";

const RUN_EXAMPLES: &str = "\
Examples:
  xsem run deploy -- ./deploy.sh            one at a time, whoever starts it
  xsem run -w 2m db -- ./migrate.sh         wait for two minutes at most
  xsem run -q nightly -- ./report.sh        from cron: skip it if it still runs
  xsem run build -- sh -c 'make && ./test'  a list or a pipeline needs a shell
  xsem run --time-limit 10m gpu -- ./train  end it after ten minutes

Exit codes:
  the command's own, or
  75     somebody else holds it (-n: 101, -w: 121); -E changes the number
  76     the previous owner died, and --on-owner-death fail was given (105)
  124    the command's time limit passed
  125    xsem itself failed, or bad options
  126    the command was found and could not be executed
  127    the command was not found
  128+N  the command was ended by signal N

Signals that are sent to `xsem run` reach the command: INT, TERM, HUP, QUIT,
TSTP, CONT, WINCH, USR1, USR2. The time limit's signals are for the command
itself, not for what it started in the background.";

/// Options of `xsem run`.
#[derive(Debug, Args)]
#[command(long_about = RUN_ABOUT, after_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// Do not wait: exit with 75 and say who holds it (101)
    #[arg(short = 'n', long, conflicts_with = "wait")]
    pub no_wait: bool,

    /// Wait for at most TIME (`5`, `1.5`, `500ms`, `2m`), then exit with 75 (121)
    #[arg(short = 'w', long, value_name = "TIME", value_parser = crate::time::parse)]
    pub wait: Option<Duration>,

    /// The exit code for "taken"
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = crate::exit_codes::TAKEN)]
    pub conflict_exit_code: u8,

    /// Skip the command quietly, with exit code 0, when the semaphore is taken; waits only if --wait says so
    #[arg(short = 'q', long, conflicts_with = "conflict_exit_code")]
    pub quiet: bool,

    /// What others are shown as the reason of this claim
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,

    /// End the command after TIME: SIGTERM, and SIGKILL five seconds later; exit with 124
    #[arg(long, value_name = "TIME", value_parser = crate::time::parse)]
    pub time_limit: Option<Duration>,

    /// What to do when the previous owner died and nobody has said since that things are in order
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnOwnerDeath::Run)]
    pub on_owner_death: OnOwnerDeath,

    /// If `xsem run` is killed, let the command live on; the claim ends when it ends
    #[arg(long)]
    pub detach_on_death: bool,

    /// Say who is waited for, also when stderr is not a terminal
    #[arg(long)]
    pub verbose: bool,

    /// The semaphore: 1 to 255 bytes of UTF-8, such as `deploy` or `ci/gpu`
    pub name: String,

    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// The choice of `--on-owner-death`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOwnerDeath {
    /// Warn, run the command, and take its exit code 0 for "in order again"
    Run,
    /// Do not run it; exit with 76, and the next one is told as well
    Fail,
}

/// Options of `xsem ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// A JSON array, in no order, written as it is read
    #[arg(long)]
    pub json: bool,
}

/// Options of `xsem show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A JSON object
    #[arg(long)]
    pub json: bool,

    /// The semaphore
    pub name: String,
}

/// Only a name.
#[derive(Debug, Args)]
pub struct NameArg {
    /// The semaphore: 1 to 255 bytes of UTF-8, such as `deploy` or `ci/gpu`
    pub name: String,
}

/// Options of `xsem explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The code: `101`, `0x65`, `ERROR_EXCL_SEM_ALREADY_OWNED`
    pub code: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_may_stand_before_and_after_the_name_and_never_in_the_command() {
        for line in [
            &["xsem", "run", "-n", "a", "--", "make", "-n", "--verbose"][..],
            &["xsem", "run", "a", "-n", "--", "make", "-n", "--verbose"],
            &["xsem", "run", "-n", "a", "make", "-n", "--verbose"],
        ] {
            let Command::Run(args) = Cli::try_parse_from(line).unwrap().command else { panic!("{line:?}") };
            assert!(args.no_wait && !args.verbose, "{line:?}");
            assert_eq!(args.command, ["make", "-n", "--verbose"], "{line:?}");
        }
    }
}
