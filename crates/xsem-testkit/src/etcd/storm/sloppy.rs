//! The store as an engine with a known fault would use it: what lies below the seam is the real thing, what passes through it is not
//! what the engine meant.

use std::sync::Arc;
use xsem::Namespace;
use xsem_etcd::client::Client;
use xsem_etcd::engine::store::{Answer, Compare, Feed, Lease, OnLeaseLost, Silence, Store, Txn, Wanted};
use xsem_etcd::engine::{EtcdEngine, Who};
use xsem_etcd::remote::Remote;
use xsem_etcd::url::Config;

/// Names the fault that the workers of other tests have.
pub const SLOPPY: &str = "XSEM_SLOPPY";

/// A namespace, with the fault that the environment names, where it names one.
///
/// # Errors
/// As [`Namespace::open`].
pub fn open(url: &str) -> xsem::Result<Namespace> {
    match std::env::var(SLOPPY) {
        Ok(bug) if url.starts_with("etcd") => namespace(url, &bug),
        _ => Namespace::open(url),
    }
}

/// The namespace as a worker with this fault sees it.
pub fn namespace(url: &str, bug: &str) -> xsem::Result<Namespace> {
    xsem_etcd::register();
    let fault = match bug {
        "uncompared" => Fault::Uncompared,
        "deaf" => Fault::Deaf,
        "twice" => Fault::Twice,
        // The others are no matter of the store.
        _ => return Namespace::open(url),
    };
    let config = Config::parse(url).map_err(|f| xsem_etcd::remote::error(&f))?;
    let client = Client::open(config).map_err(|f| xsem_etcd::remote::error(&f))?;
    // SAFETY: it has no preconditions.
    let uid = unsafe { libc::getuid() };
    let who = Who {
        host: "here".to_owned(),
        pid: std::process::id(),
        uid,
        command: "a worker".to_owned(),
        covers: None,
        inside: Vec::new(),
    };
    Ok(Namespace::from_engine(Arc::new(EtcdEngine::on(Arc::new(Sloppy { inner: Remote::new(client), fault }), who, url))))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The revisions of records are not compared, now and then: of two changes at once, one is lost.
    Uncompared,
    /// The lease is taken for alive, whatever the clock says.
    Deaf,
    /// What was not answered is taken for not done, and nothing compares the lanes, which would show that it was.
    Twice,
}

#[derive(Debug)]
struct Sloppy {
    inner: Remote,
    fault: Fault,
}

fn is_record(c: &Compare) -> bool {
    matches!(c, Compare::Modified(key, _) if key.starts_with("o/"))
}

fn is_lane(c: &Compare) -> bool {
    matches!(c, Compare::Modified(key, _) if key.starts_with("l/"))
}

impl Store for Sloppy {
    fn change(&self, txn: &Arc<Txn>) -> Result<Answer, Silence> {
        let without = |keep: fn(&Compare) -> bool| {
            let compare = txn.compare.iter().filter(|c| keep(c)).cloned().collect();
            Arc::new(Txn { compare, ..(**txn).clone() })
        };
        match self.fault {
            Fault::Uncompared => self.inner.change(&without(|c| !is_record(c))),
            Fault::Deaf => self.inner.change(txn),
            Fault::Twice => match self.inner.change(&without(|c| !is_lane(c))) {
                Err(Silence::Unknown) => Err(Silence::NotDone),
                done => done,
            },
        }
    }

    fn ask(&self, txn: &Arc<Txn>) -> Result<Answer, Silence> {
        self.inner.ask(txn)
    }

    fn grant(&self) -> Result<Arc<dyn Lease>, Silence> {
        let lease = self.inner.grant()?;
        Ok(if self.fault == Fault::Deaf { Arc::new(Immortal(lease)) } else { lease })
    }

    fn feed(&self, wanted: &[Wanted]) -> Result<Box<dyn Feed>, Silence> {
        self.inner.feed(wanted)
    }

    fn now(&self) -> u64 {
        self.inner.now()
    }

    fn ttl(&self) -> u64 {
        self.inner.ttl()
    }

    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }
}

#[derive(Debug)]
struct Immortal(Arc<dyn Lease>);

impl Lease for Immortal {
    fn id(&self) -> u64 {
        self.0.id()
    }

    fn is_alive(&self) -> bool {
        true
    }

    fn give_up(&self) {
        self.0.give_up();
    }

    fn on_loss(&self, _: OnLeaseLost) {}

    fn cover(&self, pid: Option<u32>) {
        self.0.cover(pid);
    }
}
