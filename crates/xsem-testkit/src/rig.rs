//! Where actors act: one engine each, so that a scene or a history is written once and played on all of them.

mod etcd;
mod lease;
mod memory;
mod shm;

pub use etcd::EtcdRig;
pub use lease::LeaseRig;
pub use memory::MemoryRig;
pub use shm::ShmRig;

use crate::worker::Actor;
use xsem::Namespace;

/// A fresh namespace of some engine, and actors on it.
pub trait Rig: Send {
    /// The engine's name.
    fn name(&self) -> &'static str;
    /// The namespace as an observer sees it.
    fn ns(&self) -> &Namespace;
    /// Another actor: a claimant that can die.
    fn actor(&mut self) -> Box<dyn Actor>;
    /// Whether an actor can die in the middle of an operation.
    fn dies_midway(&self) -> bool;
    /// What is wrong with what the engine has stored, if it can tell.
    fn audit(&self) -> Vec<String> {
        Vec::new()
    }
}
