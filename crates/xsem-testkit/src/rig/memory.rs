//! The engine inside one process: actors are threads, and die by ending.

use super::Rig;
use crate::worker::{Actor, Local};
use xsem::{Namespace, NamespaceBuilder};

/// A namespace in memory; or any other engine whose claimants are threads.
#[derive(Debug)]
pub struct MemoryRig {
    ns: Namespace,
    elsewhere: Option<Namespace>,
}

impl MemoryRig {
    /// A fresh namespace, and another one beside it.
    ///
    /// # Errors
    /// When the engine cannot open it.
    pub fn new(builder: NamespaceBuilder) -> xsem::Result<MemoryRig> {
        Ok(MemoryRig { ns: builder.open("memory:")?, elsewhere: Some(Namespace::open("memory:")?) })
    }

    /// The same on an engine of the caller's own.
    pub fn on(ns: Namespace) -> MemoryRig {
        MemoryRig { ns, elsewhere: None }
    }
}

impl Rig for MemoryRig {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn ns(&self) -> &Namespace {
        &self.ns
    }

    fn actor(&mut self) -> Box<dyn Actor> {
        Box::new(Local::new(self.ns.clone(), self.elsewhere.clone()))
    }

    fn dies_midway(&self) -> bool {
        false
    }
}
