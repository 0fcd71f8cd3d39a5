//! The options of every command, and the help that a stranger reads first.

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::{OsStr, OsString};
use std::time::Duration;

mod care;
mod doctor;
mod event;
mod explain;
mod hold;
mod log;
mod run;

pub use care::{CheckArgs, RepairArgs, ResetArgs};
pub use doctor::DoctorArgs;
pub use event::{EventArgs, EventChangeArgs, EventCommand, EventWaitArgs, ResetArg};
pub use explain::{CodesArgs, ColourArgs, ExplainArgs, When};
pub use hold::{HoldArgs, OnLoss, ReleaseArgs};
pub use log::LogArgs;
pub use run::{OnOwnerDeath, PermitArgs, RunArgs, WaitArgs};

const ABOUT: &str = "Named semaphores between processes, that survive the death of their owners";

const EXAMPLES: &str = "\
Examples:
  xsem run deploy -- ./deploy.sh     wait until nobody else deploys, then deploy
  xsem run -n backup -- ./backup.sh  do not wait: exit with 75, say who is at it
  xsem run --limit 4 gpu -- ./train  four at a time; XSEM_SLOTS says which it has
  xsem hold deploy                   in a script: it is the script's until its end
  xsem event wait server/up          wait until somebody says that it is up
  xsem ls                            which semaphores are there, who holds them
  xsem show deploy                   everything about one of them
  xsem doctor                        what is wrong, and what to do about it
  xsem explain 105                   what an error means, and what to do about it

A semaphore belongs to a namespace. The default one, `shm:`, is this user's on
this machine, whatever the environment says: cron and a login shell meet there.
Its file is /dev/shm/xsem-UID/default, and no daemon is needed.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "xsem", version, about = ABOUT, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    /// What every command has.
    #[command(flatten)]
    pub common: Common,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The options of every command.
#[derive(Debug, Args)]
pub struct Common {
    /// Where the names live: `shm:` (this user's default), `shm:NAME`, `shm:/path/to/file`,
    /// `shm:/path/to/file?group=NAME`, shared with a group, or `etcd://host:2379,host:2379/prefix`, shared between machines
    #[arg(long, global = true, display_order = 900, value_name = "URL", env = "XSEM_NAMESPACE", default_value = "shm:")]
    pub namespace: String,
}

/// A command line of `run` alone, by the same definitions: what the parser makes of those of all commands costs a start 0.1 ms and
/// forty pages of memory, which the fork for the command has to copy.
#[derive(Debug, Parser)]
#[command(name = "xsem")]
struct RunAlone {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: RunCommand,
}

#[derive(Debug, Subcommand)]
enum RunCommand {
    Run(RunArgs),
}

/// The commands. The long texts stand here, since the short ones would take their place otherwise.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command while owning a semaphore
    #[command(long_about = run::ABOUT)]
    Run(RunArgs),
    /// Own a semaphore in a shell script, until the script ends or says `xsem release`
    #[command(long_about = hold::ABOUT)]
    Hold(HoldArgs),
    /// Give back what `xsem hold` took
    Release(ReleaseArgs),
    /// Wait until a semaphore can be had or an event is signalled, without keeping it
    #[command(long_about = WAIT_ABOUT)]
    Wait(WaitForArgs),
    /// Signal an event, reset it, or wait for it
    #[command(long_about = event::ABOUT)]
    Event(EventArgs),
    /// List the semaphores and events, and who holds them
    Ls(LsArgs),
    /// Show who holds one, who waits, who died, and its counters
    Show(ShowArgs),
    /// Show what has happened: who had a semaphore, for how long, who died
    #[command(long_about = log::ABOUT)]
    Log(LogArgs),
    /// Say what is wrong here, and what to do about it
    #[command(long_about = doctor::ABOUT)]
    Doctor(DoctorArgs),
    /// Create a semaphore (`run` does it by itself) or an event
    Create(CreateArgs),
    /// Give a pool or a credit another limit
    Resize(ResizeArgs),
    /// Add permits to a credit
    Add(AddArgs),
    /// Let nobody in any more, and wait until everybody is out
    #[command(long_about = DRAIN_ABOUT)]
    Drain(DrainArgs),
    /// End the claim of a holder that hangs
    #[command(long_about = EVICT_ABOUT)]
    Evict(EvictArgs),
    /// Remove a semaphore or event that nobody holds or waits for
    Rm(NameArg),
    /// Remove all that nobody has used for a long time
    Gc(GcArgs),
    /// Say that what a dead owner left is in order again
    Ok(NameArg),
    /// Look whether everything that is stored is as it should be
    #[command(long_about = care::CHECK_ABOUT)]
    Check(CheckArgs),
    /// Mend what is damaged, from what the living hold
    #[command(long_about = care::REPAIR_ABOUT)]
    Repair(RepairArgs),
    /// Throw all claims away and begin anew
    #[command(long_about = care::RESET_ABOUT)]
    Reset(ResetArgs),
    /// Explain an error code: 101, 0x65, ERROR_EXCL_SEM_ALREADY_OWNED, "already owned"
    #[command(long_about = explain::ABOUT)]
    Explain(ExplainArgs),
    /// List the error codes, and whether asking again can help
    Codes(CodesArgs),
    /// Print what makes a shell complete the options with TAB
    Completions(CompletionsArgs),
}

impl Cli {
    /// Reads a command line. `run` has two forms: `NAME... -- CMD...`, and, without any `--`, `NAME CMD...`.
    ///
    /// # Errors
    /// As clap has them, help and version among them.
    pub fn read<T: Into<OsString>>(words: impl IntoIterator<Item = T>) -> Result<Cli, clap::Error> {
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        // What is wrong, or asks for help, is read by all definitions, since it may be answered with any of them.
        if words.iter().any(|w| w == OsStr::new("run"))
            && let Ok(matches) = defined::<RunAlone>(&words).try_get_matches_from(&words)
            && let Ok(RunAlone { common, command: RunCommand::Run(args) }) = RunAlone::from_arg_matches(&matches)
        {
            return Ok(Cli { common, command: Command::Run(args) });
        }
        let mut command = defined::<Cli>(&words);
        let matches = command.try_get_matches_from_mut(words)?;
        Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut command))
    }
}

/// The definitions, with the form of `run` that these words have.
fn defined<C: CommandFactory>(words: &[OsString]) -> clap::Command {
    let command = C::command();
    if words.iter().any(|w| w == OsStr::new("--")) {
        return command;
    }
    command.mut_subcommand("run", |run| {
        run.mut_arg("names", |a| a.num_args(1).action(ArgAction::Set))
            .mut_arg("command", |a| a.last(false).trailing_var_arg(true))
    })
}

const LS_AFTER: &str = "\
Columns:
  KIND     exclusive; pool or credit (permits); manual event or auto event
  STATE    free or held; of permits `3 of 4 free`; of an event signalled or reset
  MARK     died: an owner died, and nobody has said since that things are in
           order (xsem ok); drained: nobody gets in (xsem drain)
  QUEUE    yes: somebody waits; xsem show NAME says who
  CLAIMS   how often it was taken; of an event, how often it was signalled
  HELD BY  who has it, or for how long nobody has used it";

/// Options of `xsem ls`.
#[derive(Debug, Args)]
#[command(after_help = LS_AFTER)]
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

    /// The semaphore or event
    pub name: String,
}

/// Options of `xsem create`.
#[derive(Debug, Args)]
#[command(after_help = CREATE_AFTER)]
pub struct CreateArgs {
    /// A counting semaphore with N permits that are lent and come back: four GPUs, eight connections
    #[arg(long, value_name = "N", conflicts_with_all = ["credit", "initial"])]
    pub pool: Option<u32>,

    /// A counting semaphore with at most N permits, to be added (`xsem add`) and used up (`xsem run --consume`)
    #[arg(long, value_name = "N")]
    pub credit: Option<u32>,

    /// Permits of a credit at the start
    #[arg(long, value_name = "N", requires = "credit", default_value_t = 0)]
    pub initial: u32,

    /// An event: processes wait for it until somebody signals it (`xsem event`)
    #[arg(long, value_name = "HOW", value_enum, conflicts_with_all = ["pool", "credit", "initial"])]
    pub event: Option<ResetArg>,

    /// An event that is signalled from the beginning
    #[arg(long, requires = "event")]
    pub signalled: bool,

    /// Its name: 1 to 255 bytes of UTF-8, such as `deploy` or `ci/gpu`
    pub name: String,
}

const CREATE_AFTER: &str = "\
Examples:
  xsem create deploy                          exclusive: one owner at a time
  xsem create --pool 4 gpu                    four permits, each with a number
  xsem create --credit 100 --initial 3 items  three items, room for a hundred
  xsem create --event manual server/up        a signal wakes all, until it is reset
  xsem create --event auto work               a signal wakes one";

/// Options of `xsem resize`.
#[derive(Debug, Args)]
pub struct ResizeArgs {
    /// The pool or credit
    pub name: String,

    /// The new limit, 1 to 65535. A lower one takes nothing away from who has permits
    pub limit: u32,
}

/// Options of `xsem add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The credit
    pub name: String,

    /// How many permits
    #[arg(default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub permits: u32,
}

/// Options of `xsem drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Wait for at most TIME (`5`, `500ms`, `2m`), then open it again, say who is left, and exit with 75 (121)
    #[arg(short = 'w', long, value_name = "TIME", value_parser = crate::time::parse, conflicts_with = "reopen")]
    pub wait: Option<Duration>,

    /// Let requests in again, after a drain or while one waits
    #[arg(long)]
    pub reopen: bool,

    /// The semaphore
    pub name: String,
}

const DRAIN_ABOUT: &str = "\
Refuses new requests (they get 102, exit code 75) and waits until everybody who holds the semaphore or waits for it has \
ended. Then it stays closed, until `xsem drain --reopen NAME` or `xsem rm NAME`. If the time runs out, or the drain is \
interrupted, it is open again.";

/// Options of `xsem evict`.
#[derive(Debug, Args)]
pub struct EvictArgs {
    /// The claim with this fencing token (`xsem show` has them)
    #[arg(long, value_name = "T", conflicts_with = "pid")]
    pub token: Option<u64>,

    /// The claim of this process: the holder, or the command that it covers
    #[arg(long, value_name = "P")]
    pub pid: Option<u32>,

    /// The semaphore
    pub name: String,
}

const EVICT_ABOUT: &str = "\
Ends a claim although its holder lives: a person's decision, for a holder that hangs. The next owner of an exclusive \
semaphore is told (105), and the old one finds its claim lost (288) when it gives it back. What the old one does to the \
resource until then, nothing stops but the fencing token; so end the process instead (`kill PID`), where that is possible.

With one holder nothing else needs to be said; of several, one must be named.";

/// Options of `xsem gc`.
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Remove what nobody has used for TIME (`12h`, `30d`), holds or waits for, and what is not a signalled event
    #[arg(long, value_name = "TIME", value_parser = crate::time::parse, default_value = "30d")]
    pub unused_for: Duration,

    /// Only say what would go
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of `xsem wait`.
#[derive(Debug, Args)]
pub struct WaitForArgs {
    #[command(flatten)]
    pub waiting: WaitArgs,

    /// Wait for the first of them, and print its name
    #[arg(long, conflicts_with = "all")]
    pub any: bool,

    /// Wait until all of them can be had at one instant
    #[arg(long)]
    pub all: bool,

    /// The semaphores and events
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

const WAIT_ABOUT: &str = "\
Waits for its turn and gives it back at once: exit code 0 says that the semaphore could be had at that instant, not that it \
still can. To work under it use `xsem run` or `xsem hold`. With --any it prints the name that could be had. Names that an \
enclosing `xsem run` or `xsem hold` has can be had. An event can be had when it is signalled; from an auto event that takes \
the signal away (`xsem event wait` is the same for events alone).";

/// Only a name.
#[derive(Debug, Args)]
pub struct NameArg {
    /// The semaphore: 1 to 255 bytes of UTF-8, such as `deploy` or `ci/gpu`
    pub name: String,
}

/// Options of `xsem completions`.
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_AFTER)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

const COMPLETIONS_AFTER: &str = "\
Examples:
  eval \"$(xsem completions bash)\"       in ~/.bashrc
  eval \"$(xsem completions zsh)\"        in ~/.zshrc, after compinit
  xsem completions fish | source         in ~/.config/fish/config.fish";

#[cfg(test)]
mod tests {
    use super::*;

    /// Without it the long texts once stood in the source and nowhere else.
    #[test]
    fn help_says_more_than_the_list_of_commands() {
        let wants = [("run", run::ABOUT), ("hold", hold::ABOUT), ("event", event::ABOUT), ("wait", WAIT_ABOUT)];
        for (name, about) in wants.into_iter().chain([
            ("explain", explain::ABOUT),
            ("drain", DRAIN_ABOUT),
            ("evict", EVICT_ABOUT),
            ("check", care::CHECK_ABOUT),
            ("repair", care::REPAIR_ABOUT),
            ("reset", care::RESET_ABOUT),
            ("log", log::ABOUT),
            ("doctor", doctor::ABOUT),
        ]) {
            let mut command = Cli::command();
            let help = command.find_subcommand_mut(name).expect("a command").render_long_help().to_string();
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words(&help).starts_with(&words(about)), "{name}: {help}");
        }
    }

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    fn run(line: &[&str]) -> RunArgs {
        match Cli::read(line) {
            Ok(Cli { command: Command::Run(args), .. }) => args,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn options_may_stand_before_and_after_the_name_and_never_in_the_command() {
        for line in [
            &["xsem", "run", "-n", "a", "--", "make", "-n", "--verbose"][..],
            &["xsem", "run", "a", "-n", "--", "make", "-n", "--verbose"],
            &["xsem", "run", "-n", "a", "make", "-n", "--verbose"],
        ] {
            let args = run(line);
            assert!(args.waiting.no_wait && !args.verbose, "{line:?}");
            assert_eq!(args.names, ["a"], "{line:?}");
            assert_eq!(args.command, ["make", "-n", "--verbose"], "{line:?}");
        }
    }

    /// `run` stands in other commands' lines, too, and in its own where it is not the command.
    #[test]
    fn the_word_run_may_be_anything() {
        for line in [&["xsem", "show", "run"][..], &["xsem", "hold", "run"], &["xsem", "--namespace", "run", "ls"]] {
            let cli = Cli::read(line);
            assert!(!matches!(cli, Ok(Cli { command: Command::Run(_), .. }) | Err(_)), "{line:?}: {cli:?}");
        }
        assert_eq!(run(&["xsem", "--namespace", "run", "run", "run", "run"]).names, ["run"]);
        for (line, says) in [
            (&["xsem", "run", "--help"][..], "Inside the command"),
            (&["xsem", "--help", "run"], "which semaphores are there"),
            (&["xsem", "help", "run"], "Inside the command"),
            (&["xsem", "--version", "run"], env!("CARGO_PKG_VERSION")),
            (&["xsem", "run", "--no-such-option"], "--no-such-option"),
            (&["xsem", "runn", "run"], "a similar subcommand exists: 'run'"),
        ] {
            let told = Cli::read(line).expect_err("help or an error").to_string();
            assert!(told.contains(says), "{line:?}: {told}");
        }
    }

    #[test]
    fn several_names_end_at_the_dashes() {
        let args = run(&["xsem", "run", "a", "b", "-w", "5", "c", "--", "make", "--", "all"]);
        assert_eq!(
            (args.names, args.command),
            (vec!["a".into(), "b".into(), "c".into()], vec!["make".into(), "--".into(), "all".into()])
        );
        assert_eq!(run(&["xsem", "run", "a", "b"]).names, ["a"], "without dashes there is one name");
        for line in [&["xsem", "run", "a", "--"][..], &["xsem", "run", "--", "a"], &["xsem", "run", "a"], &["xsem", "run"]] {
            assert!(Cli::read(line).is_err(), "{line:?}");
        }
    }
}
