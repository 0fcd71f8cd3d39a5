//! The engine on a real etcd server: actors are processes with sessions of their own, and die by SIGKILL. Their guardians end their
//! leases then, where the program of the guardian is beside this one; else the leases run out.

use super::Rig;
use crate::etcd::Cluster;
use crate::protocol::{Answer, Verb};
use crate::worker::{Actor, Worker};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use xsem::{Deadline, Namespace};
use xsem_etcd::client::{Again, Client};
use xsem_etcd::kv::{Keys, range};
use xsem_etcd::{runtime, url::Config, wire};

/// Longer than any guardian takes, and than the short leases last.
const UNGUARDED: Duration = Duration::from_secs(10);

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A namespace below a path of its own in the server that this process shares.
#[derive(Debug)]
pub struct EtcdRig {
    ns: Namespace,
    urls: [String; 2],
    /// What stands for the members in the URLs of actors, and how often there was one.
    ends: Vec<String>,
    turn: usize,
    worker: PathBuf,
    client: Client,
}

/// A worker whose death is over when the store has ended its sessions.
struct Mortal {
    worker: Worker,
    client: Client,
    /// Where the sessions of its namespaces are.
    sessions: Vec<String>,
}

impl EtcdRig {
    /// A fresh namespace. `worker`: the program of the actors, which gets the URLs of the namespace and of another one.
    ///
    /// # Errors
    /// When the engine cannot open it.
    pub fn new(worker: impl Into<PathBuf>, cluster: &Cluster) -> xsem::Result<EtcdRig> {
        EtcdRig::with_ttl(worker, cluster, 4)
    }

    /// The same with leases of so many seconds.
    ///
    /// # Errors
    /// As [`new`](EtcdRig::new).
    pub fn with_ttl(worker: impl Into<PathBuf>, cluster: &Cluster, ttl: u32) -> xsem::Result<EtcdRig> {
        xsem_etcd::register();
        let worker = worker.into();
        let guardian = worker.with_file_name("xsem-guardian");
        let guardian = if guardian.exists() { guardian.display().to_string() } else { "none".to_owned() };
        let n = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = |what: &str| format!("rig/{}-{n}/{what}", std::process::id());
        let url = |what: &str| format!("{}?ttl={ttl}&timeout=1&guardian={guardian}", cluster.url(&path(what)));
        let plain = format!("{}?guardian=none", cluster.url(&path("ns")));
        let ns = Namespace::open(&plain)?;
        let client = Config::parse(&plain).and_then(Client::open).expect("the same as above");
        Ok(EtcdRig { ns, urls: [url("ns"), url("other")], ends: vec![cluster.endpoints()], turn: 0, worker, client })
    }

    /// Each actor knows one member only, in turns.
    pub fn in_turns(mut self, cluster: &Cluster) -> EtcdRig {
        self.ends.extend((0..cluster.len()).map(|i| format!("127.0.0.1:{}", cluster.port(i))));
        self
    }

    /// The URLs of the next actor.
    fn next_urls(&mut self) -> Vec<String> {
        let (all, rest) = (&self.ends[0], &self.ends[1..]);
        self.turn += 1;
        let own = if rest.is_empty() { all } else { &rest[self.turn % rest.len()] };
        self.urls.iter().map(|u| u.replacen(all.as_str(), own, 1)).collect()
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
        let urls = self.next_urls();
        let worker = Worker::start_with(&self.worker, &[&urls[0], &urls[1]]);
        let path = &self.client.config().path;
        let sessions = vec![format!("{path}/x/"), format!("{}other/x/", path.trim_end_matches("ns"))];
        Box::new(Mortal { worker, client: self.client.clone(), sessions })
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

impl Mortal {
    /// The leases of the worker's sessions that the store still has.
    fn leases(&self) -> Vec<i64> {
        let who = format!("\"pid\":{},", self.worker.pid());
        let of = |prefix: &String| {
            let (client, ask) = (self.client.clone(), range(Keys::prefix(prefix.as_str())));
            // A run at a low priority, or one that is stopped for a while, must not be taken for a store that is silent.
            let by = Deadline::after(Duration::from_secs(120) * crate::watchdog::slowness());
            let found = runtime::run(async move { client.range(ask, by).await }).expect("the store answers");
            let own = found.kvs.into_iter().filter(|kv| String::from_utf8_lossy(&kv.value).contains(&who));
            own.map(|kv| kv.lease).collect::<Vec<_>>()
        };
        self.sessions.iter().flat_map(of).collect()
    }

    /// As an operator could.
    fn revoke(&self, lease: i64) {
        let (client, by) = (self.client.clone(), Deadline::after(Duration::from_secs(20)));
        let ask = wire::LeaseRevokeRequest { id: lease };
        // It may have ended in the meantime.
        let _ = runtime::run(async move {
            let path = "/etcdserverpb.Lease/LeaseRevoke";
            client.call::<_, wire::LeaseRevokeResponse>(path, ask, Again::UntilAnswered, by).await
        });
    }
}

impl Actor for Mortal {
    fn tell(&mut self, thread: u32, verb: &Verb) {
        self.worker.tell(thread, verb);
    }

    fn answer_within(&mut self, thread: u32, time: Duration) -> Option<Answer> {
        self.worker.answer_within(thread, time)
    }

    fn describe(&self) -> String {
        self.worker.describe()
    }

    /// Killed, and its sessions ended: by its guardian, or by their time where that was killed before it had one. A long lease is ended from
    /// here then: each election of a leader gives leases their whole time again.
    fn die(&mut self) {
        self.worker.kill();
        let begun = Instant::now();
        loop {
            let leases = self.leases();
            if leases.is_empty() {
                return;
            }
            if begun.elapsed() > UNGUARDED {
                eprintln!("{}: no guardian has ended its session", self.worker.describe());
                leases.into_iter().for_each(|l| self.revoke(l));
            }
            crate::sys::nap(1000);
        }
    }
}
