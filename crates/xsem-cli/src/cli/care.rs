//! Options of `xsem check`, `xsem repair` and `xsem reset`.

use clap::Args;

/// Options of `xsem check`.
#[derive(Debug, Args)]
#[command(after_help = CHECK_AFTER)]
pub struct CheckArgs {
    /// A JSON object
    #[arg(long)]
    pub json: bool,
}

pub const CHECK_ABOUT: &str = "\
Looks at everything that the namespace has stored: the header, the index of names, each semaphore, its claims, its waiters, \
the room that is taken. It writes nothing, and others go on meanwhile; what is just in the middle of an operation is not \
reported. Each finding says where it is, what is there, what belongs there, and what can be done about it.";

const CHECK_AFTER: &str = "\
Findings:
  damage   no operation leaves it so; some operations fail with 1392
  leak     room that nobody uses, because a process died at the wrong instant:
           it does no harm
  note     worth knowing

Exit code: 0 nothing is damaged (leaks and notes are none), 1 damaged (1392), or
it cannot be looked at (5, 187, 1306); stderr says which";

/// Options of `xsem repair`.
#[derive(Debug, Args)]
#[command(after_help = REPAIR_AFTER)]
pub struct RepairArgs {
    /// A JSON object
    #[arg(long)]
    pub json: bool,
}

pub const REPAIR_ABOUT: &str = "\
Mends what `xsem check` finds, as far as what is left says how it was: names, claims, waiters and free permits are put \
together again from each other and from what the kernel knows of the living. Others may go on meanwhile; it may be ended at \
any time and run again. No claim of a living process is taken away as long as its record can be read. Where nobody can tell \
any more who owned a semaphore, it becomes free, and its next owner is told (105) that what it protects may be half done. \
Room that nobody uses is freed, some of it only when no other process has the namespace open.";

const REPAIR_AFTER: &str = "\
Exit code: 0 nothing is damaged any more, 1 something is left (1392) or it cannot
be repaired at all (5, 187, 1306); stderr says which";

/// Options of `xsem reset`.
#[derive(Debug, Args)]
#[command(after_help = RESET_AFTER)]
pub struct ResetArgs {
    /// Do it. Without this it only says what would be lost, and exits with 1
    #[arg(long)]
    pub force: bool,
}

pub const RESET_ABOUT: &str = "\
Throws all claims of the namespace away and begins anew: for one that is damaged beyond repair, or of another release. It \
says who uses it and what they hold. The new namespace takes the place of the old one at one instant; whoever uses the old \
one gets no new claim from then on (6, with who has reset it), and what it holds it may give back, where nobody meets it.

Those who hold something do not stop: what their semaphores protect can be taken by somebody else at once, and nobody is \
told. So end them first, where that is possible.";

const RESET_AFTER: &str = "\
Exit code: 0 it was reset; 1 not, because --force was not given, or it cannot be
(5, 187, 8); stderr says which";
