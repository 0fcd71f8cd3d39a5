//! Options of `xsem doctor`.

use clap::Args;

/// Options of `xsem doctor`.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct DoctorArgs {
    /// A JSON object
    #[arg(long)]
    pub json: bool,

    /// Only trouble and warnings; nothing where there are none
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,

    /// Only this semaphore or event; without it, all of the namespace and the machine
    pub name: Option<String>,
}

pub const ABOUT: &str = "\
Looks for what is wrong, and says what to do, the worst first: owners that are stopped, dead, crashing or hold it for unusually \
long; deadlocks; who waits; what a dead owner left; programs that do not agree about a kind or a limit; a damaged, foreign or \
replaced file; limits that are near; a login that wipes shared memory; a kernel or a filter without what is needed; an \
environment that leads elsewhere. Each finding names the page that says more (`xsem explain CODE`).

It changes nothing, waits for nobody, and works on a namespace that is damaged or not there.";

const AFTER: &str = "\
Examples:
  xsem doctor                all of the namespace, and the machine
  xsem doctor deploy         why does nobody get `deploy`?
  xsem doctor -q || mail ... from cron: silent while nothing is wrong

Exit code: 0 nothing, or notes only; 2 warnings: somebody should look; 3 trouble:
somebody waits in vain or is refused; 1 it could not look at all";
