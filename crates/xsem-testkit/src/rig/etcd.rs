//! The engine on a real etcd server: actors are processes with sessions of their own, and die by SIGKILL. Their guardians end their
//! leases then, where the program of the guardian is beside this one; else the leases run out.

use super::Rig;
use crate::etcd::Cluster;
use crate::worker::{Actor, Worker};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use xsem::Namespace;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A namespace below a path of its own in the server that this process shares.
#[derive(Debug)]
pub struct EtcdRig {
    ns: Namespace,
    urls: [String; 2],
    worker: PathBuf,
}

impl EtcdRig {
    /// A fresh namespace. `worker`: the program of the actors, which gets the URLs of the namespace and of another one.
    ///
    /// # Errors
    /// When the engine cannot open it.
    pub fn new(worker: impl Into<PathBuf>, cluster: &Cluster) -> xsem::Result<EtcdRig> {
        xsem_etcd::register();
        let worker = worker.into();
        let guardian = worker.with_file_name("xsem-guardian");
        let guardian = if guardian.exists() { guardian.display().to_string() } else { "none".to_owned() };
        let n = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = |what: &str| format!("rig/{}-{n}/{what}", std::process::id());
        let url = |what: &str| format!("{}?ttl=5&guardian={guardian}", cluster.url(&path(what)));
        let ns = Namespace::open(&format!("{}?guardian=none", cluster.url(&path("ns"))))?;
        Ok(EtcdRig { ns, urls: [url("ns"), url("other")], worker })
    }
}

impl Rig for EtcdRig {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn ns(&self) -> &Namespace {
        &self.ns
    }

    fn actor(&mut self) -> Box<dyn Actor> {
        let [ns, other] = &self.urls;
        Box::new(Worker::start_with(&self.worker, &[ns, other]))
    }

    fn dies_midway(&self) -> bool {
        true
    }

    fn audit(&self) -> Vec<String> {
        match self.ns.check() {
            Ok(checkup) => checkup.findings.iter().map(ToString::to_string).collect(),
            Err(e) => vec![e.to_string()],
        }
    }
}
