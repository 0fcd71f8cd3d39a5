//! The engine on a lease store, over a network with faults: the contract's rules where requests take a round trip, answers
//! get lost and claims end while they are held.

#[path = "lease/faults.rs"]
mod faults;
#[path = "lease/rules.rs"]
mod rules;
#[path = "lease/several.rs"]
mod several;
#[path = "lease/storm.rs"]
mod storm;

use std::time::Duration;
use xsem::{AcquireError, Code, Deaths, Error, Exclusive, Guard, Namespace};
use xsem_testkit::lease::{Client, Cluster};

/// Longer than anything takes on a loaded machine; nothing waits for it to pass.
const AGES: Duration = Duration::from_secs(50);

/// A cluster without faults, and two clients.
fn pair() -> (Cluster, Client, Client) {
    let cluster = Cluster::new(1);
    let (a, b) = (cluster.client(), cluster.client());
    (cluster, a, b)
}

fn exclusive(client: &Client, name: &str) -> Exclusive {
    Exclusive::open_or_create(&client.namespace(), name).unwrap()
}

/// The code of a refusal.
fn code<T>(result: Result<T, impl Into<Error>>) -> Code {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(e) => e.into().code(),
    }
}

/// The deaths that came with a grant, and the guard.
fn told<'a>(result: Result<Guard<'a>, AcquireError<'a>>) -> (Guard<'a>, Deaths) {
    match result {
        Err(AcquireError::OwnerDied(recovery)) => {
            let deaths = recovery.deaths().expect("details").clone();
            (recovery.into_guard(), deaths)
        }
        other => panic!("not 105: {other:?}"),
    }
}

/// Waits until so many wait for it. The caller has a watchdog.
fn until_waiting(ns: &Namespace, name: &str, n: usize) {
    while ns.inspect(name).unwrap().waiters.len() != n {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Nothing is held, nobody waits, and no invariant of the store is violated.
fn at_rest(cluster: &Cluster) {
    let ns = cluster.client().namespace();
    for s in ns.list().unwrap() {
        // An ephemeral one may be gone by now.
        let Ok(r) = ns.inspect(&s.name) else { continue };
        assert!(r.holders.is_empty() && r.waiters.is_empty(), "{r:?}");
    }
    assert_eq!(cluster.audit(), Vec::<String>::new());
}
