//! The options of `xsem run`, and those of them that other commands share.

use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::time::Duration;

pub(super) const ABOUT: &str = "\
Waits until the semaphore NAME is ours, runs the command, gives the semaphore back, and exits with the command's exit \
code. The semaphore is created where it does not exist: exclusive, or with --limit N a pool of N permits. Several names \
are taken all at one instant, or none of them.

The claim covers the command: others get the semaphore when the command has ended, not earlier. If `xsem run` itself is \
killed, the command is killed too (or lives on, with --detach-on-death), and nobody takes over before it is gone. If the \
command is ended by a signal, the next owner is told (105), because things may be half done; permits of a pool simply come \
back. What the command leaves running in the background neither keeps the semaphore nor knows of it.

Inside the command, `xsem run` with the same NAME shares the claim instead of waiting for itself, also through shells and \
make; the claim ends with the last of them. Permits are not shared: each run takes its own. Two jobs that nest the same \
names in opposite orders would wait for each other for ever: the later one is refused (1131); name both in one run instead.";

const AFTER: &str = "\
Examples:
  xsem run deploy -- ./deploy.sh            one at a time, whoever starts it
  xsem run -w 2m db -- ./migrate.sh         wait for two minutes at most
  xsem run -q nightly -- ./report.sh        from cron: skip it if it still runs
  xsem run build -- sh -c 'make && ./test'  a list or a pipeline needs a shell
  xsem run -n --retries 5 gpu -- ./train    ask six times, with growing pauses
  xsem run --time-limit 10m gpu -- ./train  end it after ten minutes
  xsem run --limit 4 gpu -- ./train         one of four; XSEM_SLOTS says which
  xsem run db disk -- ./backup.sh           both at once, or wait for both
  xsem run --shared conf -- ./read.sh       many readers at a time ...
  xsem run --all conf -- ./write.sh         ... or one writer alone

With several names, or options after the name, `--` stands before the command.
Without any `--` the first word is the name and the rest is the command.

What the command finds in its environment:
  XSEM_SLOTS   which of the pool's permits it has, from 0: `0,3`. With several
               pools one such list for each, in the order of the names: `0,3 1`
  XSEM_TOKENS  the fencing tokens of the claims of this run, in the order of the
               names: `17` or `17,4`. The tokens of one semaphore only grow
  XSEM_CLAIMS  what a nested `xsem run` needs to share the claim; leave it alone

Exit codes:
  the command's own, or
  75     somebody else holds it (-n: 101 or 121, -w: 121), or it is being
         drained (102); -E changes the number
  76     the previous owner died, and --on-owner-death fail was given (105)
  124    the command's time limit passed
  125    xsem itself failed, bad options, or the wait could never end (1131)
  126    the command was found and could not be executed
  127    the command was not found
  128+N  the command was ended by signal N

Signals that are sent to `xsem run` reach the command: INT, TERM, HUP, QUIT,
TSTP, CONT, WINCH, USR1, USR2. The time limit's signals are for the command
itself, not for what it started in the background.";

/// How long to wait; part of several commands.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// Do not wait: exit with 75 and say who holds it (101, 121)
    #[arg(short = 'n', long, conflicts_with = "wait")]
    pub no_wait: bool,

    /// Wait for at most TIME (`5`, `1.5`, `500ms`, `2m`), then exit with 75 (121)
    #[arg(short = 'w', long, value_name = "TIME", value_parser = crate::time::parse)]
    pub wait: Option<Duration>,
}

/// What to take of a semaphore; part of `run` and `hold`.
#[derive(Clone, Debug, Default, Args)]
pub struct PermitArgs {
    /// Take N permits of a pool, all or none (default 1)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(xsem::engine::MAX_PERMITS)))]
    pub permits: Option<u32>,

    /// NAME is a pool of N permits: it is created where it does not exist, and must have this limit where it does (87)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(xsem::engine::MAX_PERMITS)))]
    pub limit: Option<u32>,

    /// Share it with others that do so (readers): take one permit of a pool, which is created with room for 1,000
    #[arg(long, conflicts_with_all = ["permits", "all"])]
    pub shared: bool,

    /// Keep everybody else out (a writer): take all permits that the pool has when it asks; it is created as for --shared
    #[arg(long, conflicts_with = "permits")]
    pub all: bool,

    /// Where the semaphore does not exist yet: its name goes with the last process that uses it
    #[arg(long)]
    pub ephemeral: bool,
}

impl PermitArgs {
    /// Whether one was given that is about permits.
    pub fn any(&self) -> bool {
        self.permits.is_some() || self.limit.is_some() || self.shared || self.all
    }
}

/// Options of `xsem run`.
#[derive(Debug, Args)]
#[command(after_help = AFTER, override_usage = "xsem run [OPTIONS] NAME... -- CMD [ARG]...")]
pub struct RunArgs {
    #[command(flatten)]
    pub waiting: WaitArgs,

    /// The exit code for "taken"
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = crate::exit_codes::TAKEN)]
    pub conflict_exit_code: u8,

    /// Skip the command quietly, with exit code 0, when the semaphore is taken; waits only if --wait says so
    #[arg(short = 'q', long, conflicts_with = "conflict_exit_code")]
    pub quiet: bool,

    #[command(flatten)]
    pub permits: PermitArgs,

    /// Credit only: when the command exits with 0, its permits are used up instead of given back
    #[arg(long)]
    pub consume: bool,

    /// What others are shown as the reason of this claim
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,

    /// End the command after TIME: SIGTERM, and SIGKILL after --grace; exit with 124
    #[arg(long, value_name = "TIME", value_parser = crate::time::parse)]
    pub time_limit: Option<Duration>,

    /// From SIGTERM to SIGKILL, where the command's time is up, or its claim is lost (over a network: its lease has ended)
    #[arg(long, value_name = "TIME", value_parser = crate::time::parse, default_value = "5s")]
    pub grace: Duration,

    /// What to do when the previous owner died and nobody has said since that things are in order
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnOwnerDeath::Run)]
    pub on_owner_death: OnOwnerDeath,

    /// If `xsem run` is killed, let the command live on; the claim ends when it ends
    #[arg(long)]
    pub detach_on_death: bool,

    /// When it is refused and time can mend that (101, 102, 121; no room: 8, 100, 106), ask again, N times at most. A wait
    /// without an end needs none
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub retries: u32,

    /// How long to pause before the next try: at first FIRST, each time twice as long, MAX at most (a half of it to the
    /// whole, at random). Without MAX each pause is FIRST. The time of --wait is for all tries and pauses together
    #[arg(long, value_name = "FIRST[..MAX]", value_parser = crate::time::parse_range, default_value = "1s..1m")]
    pub backoff: (Duration, Duration),

    /// Say who is waited for, also when stderr is not a terminal
    #[arg(long)]
    pub verbose: bool,

    /// The semaphores: 1 to 255 bytes of UTF-8 each, such as `deploy` or `ci/gpu`
    #[arg(required = true, num_args = 1.., value_name = "NAME")]
    pub names: Vec<String>,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// The choice of `--on-owner-death`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOwnerDeath {
    /// Warn and go on; for `run`, the command's exit code 0 means "in order again"
    Run,
    /// Do not go on; exit with 76, and the next one is told as well
    Fail,
}
