//! What a process is told before it has waited for anything: who queues for what it owns.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use xsem::{Exclusive, Namespace};
use xsem_etcd::client::Client;
use xsem_etcd::engine::store::{Answer, Feed, Lease, Silence, Store, Txn, Wanted};
use xsem_etcd::engine::{EtcdEngine, Who};
use xsem_etcd::remote::Remote;
use xsem_etcd::url::Config;
use xsem_testkit::etcd::{Cluster, wanted};
use xsem_testkit::watchdog::Watchdog;

/// The store, and how often it was asked for a change.
#[derive(Debug)]
struct Counted(Remote, Arc<AtomicUsize>);

impl Store for Counted {
    fn change(&self, txn: &Arc<Txn>) -> Result<Answer, Silence> {
        self.1.fetch_add(1, SeqCst);
        self.0.change(txn)
    }

    fn ask(&self, txn: &Arc<Txn>) -> Result<Answer, Silence> {
        self.0.ask(txn)
    }

    fn grant(&self) -> Result<Arc<dyn Lease>, Silence> {
        self.0.grant()
    }

    fn feed(&self, wanted: &[Wanted]) -> Result<Box<dyn Feed>, Silence> {
        self.0.feed(wanted)
    }

    fn now(&self) -> u64 {
        self.0.now()
    }

    fn ttl(&self) -> u64 {
        self.0.ttl()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// A process that has not done anything yet.
fn fresh(url: &str) -> (Namespace, Arc<AtomicUsize>) {
    let (changes, host) = (Arc::<AtomicUsize>::default(), "here".to_owned());
    let store = Counted(Remote::new(Client::open(Config::parse(url).unwrap()).unwrap()), changes.clone());
    let who = Who { host, pid: std::process::id(), uid: 0, command: "a test".to_owned(), covers: None, inside: Vec::new() };
    (Namespace::from_engine(Arc::new(EtcdEngine::on(Arc::new(store), who, url))), changes)
}

/// The changes that the first contended release of a process takes, where its owner had this long to hear of who queues.
fn first_release(url: &str, patience: Duration) -> usize {
    let ((ns, changes), (other, _)) = (fresh(url), fresh(url));
    let ours = Exclusive::open_or_create(&ns, "x").unwrap();
    let guard = ours.acquire().unwrap();
    let theirs = Exclusive::open(&other, "x").unwrap();
    std::thread::scope(|s| {
        s.spawn(move || drop(theirs.acquire().unwrap()));
        while ns.inspect("x").unwrap().waiters.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(patience);
        let before = changes.load(SeqCst);
        guard.release().unwrap();
        changes.load(SeqCst) - before
    })
}

/// When the owner has heard nobody knows but it, so it is given more and more time: one that never hears never gets there.
#[test]
fn the_first_contended_release_of_a_process_is_one_change() {
    let _dog = Watchdog::start("a first release");
    if !wanted() {
        return;
    }
    let url = format!("{}?guardian=none&ttl=30", Cluster::shared().url("first/release"));
    let mut patience = Duration::from_millis(5);
    while first_release(&url, patience) != 1 {
        patience *= 2;
    }
}
