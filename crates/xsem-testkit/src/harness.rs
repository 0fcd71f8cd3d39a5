//! Kills and pauses a process at every instruction of an operation, and looks at what is left.
//!
//! A *scenario* is one operation of one process, the victim, and the others around it. A *case* is one scenario with the
//! victim stepped (ptrace) to its k-th instruction, and there either killed ([`Mode::Kill`]) or stopped while the others
//! go on, then resumed ([`Mode::Pause`]). Each case runs in processes of its own on a namespace of its own: a *driver*
//! forks the *players*, which talk through a shared page, the *stage*. The driver itself never touches xsem, so that
//! every player that it forks is fresh.

mod case;
mod code;
mod counting;
mod driver;
mod events;
mod lanes;
mod operations;
mod options;
mod pairs;
pub(crate) mod permits;
mod player;
mod points;
pub(crate) mod polling;
mod run;
mod scenarios;
mod stage;
mod step;
mod table;

pub use options::{Options, USAGE};
pub use run::run;

/// What happens to the victim at its instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// SIGKILL; then others go on.
    Kill,
    /// It stands still while others go on, then it goes on.
    Pause,
}

impl Mode {
    /// `kill` or `pause`.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Kill => "kill",
            Mode::Pause => "pause",
        }
    }
}
