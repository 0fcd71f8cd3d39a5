//! The contract row by row, on every engine: each operation with each of its outcomes is a scene, written once, and played
//! on each engine by actors that are processes, threads or clients.
//!
//! `cargo xtask test conformance` prints the table. A row that an engine cannot have is shown as `-`, with the reason.

mod counting;
mod credit;
mod events;
mod exclusive;
mod futures;
mod health;
mod interrupts;
mod life;
mod lists;
mod names;
mod ntsync;
mod run;
mod stage;
mod table;

pub use run::{Engine, Outcome, Setting, between_users, engines, on_etcd, on_three_etcds, run};
pub use stage::Stage;
pub use table::{failures, table};

/// One operation with one outcome.
#[derive(Clone, Copy)]
pub struct Row {
    /// The operation, as the contract names it.
    pub operation: &'static str,
    /// The code, 0 for success; or the name of what is shown beyond that.
    pub outcome: Shows,
    /// What the namespace must be like for it.
    pub setting: Setting,
    /// The scene.
    pub scene: fn(&mut Stage),
}

/// What a row shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// This code; 0: success.
    Code(u32),
    /// A behaviour that has a name.
    Named(&'static str),
}

impl std::fmt::Display for Shows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Shows::Code(0) => f.write_str("ok"),
            Shows::Code(n) => write!(f, "{n}"),
            Shows::Named(n) => f.write_str(n),
        }
    }
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.operation, self.outcome)
    }
}

const fn row(operation: &'static str, code: u32, scene: fn(&mut Stage)) -> Row {
    Row { operation, outcome: Shows::Code(code), setting: Setting::Usual, scene }
}

/// Every row of the contract.
pub fn contract() -> Vec<Row> {
    [
        names::ROWS,
        exclusive::ROWS,
        counting::ROWS,
        credit::ROWS,
        events::ROWS,
        lists::ROWS,
        life::ROWS,
        health::ROWS,
        futures::ROWS,
        interrupts::ROWS,
    ]
    .concat()
}

/// The behaviours that the kernel's ntsync selftest checks.
pub fn ntsync() -> Vec<Row> {
    ntsync::ROWS.to_vec()
}
