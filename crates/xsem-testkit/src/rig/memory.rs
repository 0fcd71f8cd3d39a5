//! The engine inside one process: actors are threads, and die by ending.

use super::Rig;
use crate::worker::{Actor, Local};
use std::sync::atomic::{AtomicU64, Ordering};
use xsem::Namespace;

static NUMBER: AtomicU64 = AtomicU64::new(0);

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
    pub fn new() -> xsem::Result<MemoryRig> {
        let n = NUMBER.fetch_add(2, Ordering::Relaxed);
        let [ns, elsewhere] = [n, n + 1].map(|n| Namespace::open(&format!("memory:testkit-{}-{n}", std::process::id())));
        Ok(MemoryRig { ns: ns?, elsewhere: Some(elsewhere?) })
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
