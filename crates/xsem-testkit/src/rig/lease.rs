//! The engine on a simulated lease store: actors are clients with sessions of their own, behind a slow network, and die by
//! losing their lease.

use super::Rig;
use crate::lease::{Client, Cluster, Faults};
use crate::worker::{Actor, Local};
use xsem::Namespace;

/// A store of its own, and another one beside it.
#[derive(Debug)]
pub struct LeaseRig {
    cluster: Cluster,
    elsewhere: Cluster,
    ns: Namespace,
    /// Sessions end with their last handle: so they are kept for as long as the rig is there.
    clients: Vec<Client>,
}

impl LeaseRig {
    /// A network with these faults.
    pub fn new(seed: u64, faults: Faults) -> LeaseRig {
        let with = |seed| Cluster::with(seed, faults, TTL);
        let (cluster, elsewhere) = (with(seed), with(seed + 1));
        let client = cluster.client();
        LeaseRig { ns: client.namespace(), cluster, elsewhere, clients: vec![client] }
    }
}

impl Drop for LeaseRig {
    /// Handles are leaked, and would keep their clients' threads for ever.
    fn drop(&mut self) {
        self.clients.iter().for_each(Client::kill);
    }
}

/// Long enough that a loaded machine does not end leases that are kept alive.
const TTL: std::time::Duration = std::time::Duration::from_secs(2);

impl Rig for LeaseRig {
    fn name(&self) -> &'static str {
        "lease"
    }

    fn ns(&self) -> &Namespace {
        &self.ns
    }

    fn actor(&mut self) -> Box<dyn Actor> {
        let (client, other) = (self.cluster.client(), self.elsewhere.client());
        let (ns, elsewhere, dying) = (client.namespace(), other.namespace(), client.clone());
        self.clients.extend([client, other]);
        // Its calls that are under way come back with an error, and what it still does reaches nobody.
        Box::new(Local::new(ns, Some(elsewhere)).ends_by(move || dying.kill_told()))
    }

    fn dies_midway(&self) -> bool {
        true
    }

    fn audit(&self) -> Vec<String> {
        self.cluster.audit()
    }
}
