//! What the tests of xsem share: the reference model, worker processes, the kill-and-pause harness, the torture run.
//!
//! `docs/testing.md` says what each method finds and what it cannot find.

pub mod conformance;
pub mod etcd;
pub mod fuzz;
pub mod guest;
mod hang;
pub mod harness;
pub mod history;
pub mod inject;
pub mod lease;
pub mod model;
#[cfg(doctest)]
mod pages;
pub mod protocol;
pub mod random;
pub mod rig;
pub mod sparse;
pub mod sys;
pub mod tool;
pub mod torture;
pub mod watchdog;
pub mod within;
pub mod worker;
