//! What happens to those who hold and wait while the store is full, forgets its past, has no majority, or loses a member: the right code
//! at once or in time, nobody hangs, and everything goes on afterwards. (Tokens that run out: `access.rs`.)
//!
//! Each namespace here is a session of its own, as a process on another host is.

mod common;

use common::patience;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;
use xsem::{AcquireError, CancelToken, Code, Error, Event, Exclusive, Namespace, Wait};
use xsem_etcd::client::{Again, Client};
use xsem_etcd::kv::{Keys, Txn, delete, put};
use xsem_etcd::wire::{CompactionRequest, CompactionResponse, LeaseRevokeRequest, LeaseRevokeResponse};
use xsem_etcd::{fault::Fault, runtime};
use xsem_testkit::etcd::{Cluster, Options, Proxy, wanted};
use xsem_testkit::watchdog::Watchdog;

/// A namespace as another process would have it. Leases last for longer than any of these faults.
fn open(url: &str) -> Namespace {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    xsem_etcd::register();
    let n = NUMBER.fetch_add(1, SeqCst);
    Namespace::open(&format!("{url}?guardian=none&ttl=30&timeout=1.{n:06}")).unwrap()
}

fn exclusive(ns: &Namespace, name: &str) -> Exclusive {
    Exclusive::open_or_create(ns, name).unwrap()
}

fn until_waiting(ns: &Namespace, name: &str, n: usize) {
    while ns.inspect(name).unwrap().waiters.len() != n {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Nothing is left behind: everybody can have it, and what is stored is sound.
fn all_is_well(ns: &Namespace, names: &[&str]) {
    for name in names {
        let r = ns.inspect(name).unwrap();
        assert!(r.holders.is_empty() && r.waiters.is_empty() && !r.drained && r.deaths.is_none(), "{r:?}");
        exclusive(ns, name).acquire().unwrap().release().unwrap();
    }
    assert!(ns.check().unwrap().is_sound());
}

fn sent(client: &Client, txn: Txn) -> Result<i64, Fault> {
    common::txn(client, txn, patience()).map(|r| r.revision)
}

/// Fills the store until it takes nothing more.
fn fill(client: &Client) {
    let big = "x".repeat(100_000);
    let full = (0..200).find_map(|i| sent(client, Txn::of([put(format!("fill/{i}"), big.as_str(), 0)])).err());
    assert_eq!(full, Some(Fault::NoSpace));
}

/// As an operator does: takes away what fills it, gives the room back, ends the alarm.
fn make_room(cluster: &Cluster, client: &Client) {
    compact(client, sent(client, Txn::of([delete(Keys::prefix("fill/"))])).unwrap());
    cluster.ask(0, "/v3/maintenance/defragment", "{}").unwrap();
    // A request that was refused a moment ago may raise the alarm again, after it was ended: so until writes pass for a while.
    let mut passed = 0;
    while passed < 10 {
        let alarms = cluster.ask(0, "/v3/maintenance/alarm", r#"{"action":"GET"}"#).unwrap();
        for alarm in alarms["alarms"].as_array().into_iter().flatten() {
            let member = alarm["memberID"].as_str().unwrap();
            let off = format!(r#"{{"action":"DEACTIVATE","memberID":"{member}","alarm":"NOSPACE"}}"#);
            cluster.ask(0, "/v3/maintenance/alarm", &off).unwrap();
        }
        passed = if sent(client, Txn::of([put("room", "", 0)])).is_ok() { passed + 1 } else { 0 };
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What was before this revision is forgotten.
fn compact(client: &Client, revision: i64) {
    let theirs = client.clone();
    runtime::run(async move {
        let ask = CompactionRequest { revision, physical: true };
        theirs.call::<_, CompactionResponse>("/etcdserverpb.KV/Compact", ask, Again::UntilAnswered, patience()).await
    })
    .unwrap();
}

/// Ends the lease of the owner of what this record is of, as an operator could.
fn revoke_owner(client: &Client, record: &str) {
    let record: serde_json::Value = serde_json::from_str(&common::value(client, record).unwrap()).unwrap();
    let id = record["claims"][0]["parties"][0]["id"]["session"].as_u64().unwrap() as i64;
    let theirs = client.clone();
    runtime::run(async move {
        let ask = LeaseRevokeRequest { id };
        theirs.call::<_, LeaseRevokeResponse>("/etcdserverpb.Lease/LeaseRevoke", ask, Again::UntilAnswered, patience()).await
    })
    .unwrap();
}

/// A full store takes no change. Who asks for one is told (112), at once; who waits, waits on; what was given back, given up or left
/// meanwhile is so when there is room again.
#[test]
fn a_full_store_is_said_at_once_and_nothing_is_left_behind() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::with_time("a full store", Duration::from_secs(120));
    let arguments = vec!["--quota-backend-bytes=2000000".to_owned()];
    let cluster = Cluster::with(&Options { arguments, ..Options::default() });
    let (client, url) = (common::open(&cluster.url("full")), cluster.url("full"));
    let (one, two, three) = (open(&url), open(&url), open(&url));
    let (a, b, free) = (exclusive(&one, "a"), exclusive(&one, "b"), exclusive(&one, "free"));
    let event = Event::open_or_create_manual(&one, "e").unwrap();
    let (held, kept) = (a.acquire().unwrap(), b.acquire().unwrap());
    let stop = CancelToken::new();
    std::thread::scope(|s| {
        let heir = s.spawn(|| exclusive(&two, "a").acquire().map(drop).map_err(Error::from));
        until_waiting(&one, "a", 1);
        // These waits end while it is full, by their cancel token; a drain, too, which must not leave `b` closed.
        let given_up = s.spawn(|| exclusive(&two, "b").acquire_with(Wait::forever().cancel(&stop)).map(drop).unwrap_err().code());
        until_waiting(&one, "b", 1);
        let drain = s.spawn(|| three.drain("b", Wait::forever().cancel(&stop)).unwrap_err().code());
        while !one.inspect("b").unwrap().drained {
            std::thread::sleep(Duration::from_millis(5));
        }
        fill(&client);
        assert_eq!(free.acquire().map(drop).unwrap_err().code(), Code::DiskFull);
        assert_eq!(free.try_acquire().map(drop).unwrap_err().code(), Code::DiskFull);
        assert_eq!(free.acquire_timeout(Duration::from_secs(50)).map(drop).unwrap_err().code(), Code::DiskFull);
        assert_eq!(Exclusive::create(&two, "new").unwrap_err().code(), Code::DiskFull);
        assert_eq!(event.signal().unwrap_err().code(), Code::DiskFull);
        stop.cancel();
        assert_eq!(given_up.join().unwrap(), Code::Interrupt);
        assert_eq!(drain.join().unwrap(), Code::Interrupt);
        // It is not held any more, although the store cannot be told yet.
        assert!(held.is_held());
        assert_eq!(held.release().unwrap_err().code(), Code::DiskFull);
        assert!(!heir.is_finished() && kept.is_held(), "leases are renewed");
        make_room(&cluster, &client);
        heir.join().unwrap().unwrap();
        kept.release().unwrap();
    });
    while !one.inspect("b").is_ok_and(|r| r.waiters.is_empty() && !r.drained) {
        std::thread::sleep(Duration::from_millis(20));
    }
    all_is_well(&one, &["a", "b", "free"]);
    assert!(event.signal().unwrap());
}

/// An owner's death must be written down before the next can be the owner: a full store does not take that, and the wait says so. It has
/// left the queue when there is room again.
#[test]
fn a_wait_that_a_full_store_ends_has_left_the_queue() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::with_time("a death while it is full", Duration::from_secs(120));
    let arguments = vec!["--quota-backend-bytes=2000000".to_owned()];
    let cluster = Cluster::with(&Options { arguments, ..Options::default() });
    let (client, url) = (common::open(&cluster.url("full")), cluster.url("full"));
    let (one, two) = (open(&url), open(&url));
    let dies = open(&url);
    let held = exclusive(&dies, "a").acquire_owned(Wait::forever()).unwrap();
    std::thread::scope(|s| {
        let heir = s.spawn(|| exclusive(&two, "a").acquire().map(drop).unwrap_err().code());
        until_waiting(&one, "a", 1);
        fill(&client);
        let token = held.token();
        revoke_owner(&client, "full/o/a");
        assert_eq!(heir.join().unwrap(), Code::DiskFull);
        assert!(!held.is_held());
        // The store refuses before it looks; a session that knows already that it is over asks nothing.
        assert!([Code::DiskFull, Code::NotOwner].contains(&held.release().unwrap_err().code()));
        make_room(&cluster, &client);
        // The one that was told 112 does not get it, which nobody would ever give back.
        let a = exclusive(&one, "a");
        let Err(AcquireError::OwnerDied(guard)) = a.acquire() else { panic!("not told") };
        assert_eq!(guard.deaths().unwrap().latest.token, token);
        guard.mark_consistent().unwrap().release().unwrap();
    });
    all_is_well(&one, &["a"]);
}

/// The past is forgotten while somebody waits, with his watch and, the second time, without it: he is told all the same.
#[test]
fn a_wait_outlives_the_past_of_the_store() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("compaction");
    let cluster = Cluster::start(1);
    let proxy = Proxy::to(cluster.port(0));
    let (client, url) = (common::open(&cluster.url("x")), cluster.url("past"));
    let (one, two) = (open(&url), open(&proxy.url("past")));
    let a = exclusive(&one, "a");
    for cut in [false, true] {
        let held = a.acquire().unwrap();
        std::thread::scope(|s| {
            let heir = s.spawn(|| exclusive(&two, "a").acquire().map(drop).map_err(Error::from));
            until_waiting(&one, "a", 1);
            proxy.refuse(cut);
            for i in 0..20 {
                common::write(&client, "other", &i.to_string());
            }
            compact(&client, sent(&client, Txn::of([put("other", "last", 0)])).unwrap());
            held.release().unwrap();
            // The note that serves it is forgotten, too.
            compact(&client, sent(&client, Txn::of([put("other", "very last", 0)])).unwrap());
            proxy.refuse(false);
            heir.join().unwrap().unwrap();
        });
        // A release and an acquire with what a client remembers of before.
        a.acquire().unwrap().release().unwrap();
        exclusive(&two, "a").acquire().unwrap().release().unwrap();
    }
    all_is_well(&one, &["a"]);
}

/// Without a majority nothing is decided: who asks is told (5925, or 121 where he has set a time), a release is taken and sent later, a
/// wait goes on. The owner, whose lease lasts, is no death.
#[test]
fn a_majority_that_is_lost_and_found_ends_no_claim_and_no_wait() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::with_time("no majority", Duration::from_secs(120));
    let cluster = Cluster::start(3);
    let url = cluster.url("majority");
    let (one, two) = (open(&url), open(&url));
    let (a, b) = (exclusive(&one, "a"), exclusive(&one, "b"));
    let (held, kept) = (a.acquire().unwrap(), b.acquire().unwrap());
    let (other, leader) = (exclusive(&two, "b"), cluster.leader());
    let others = [(leader + 1) % 3, leader];
    std::thread::scope(|s| {
        let heir = s.spawn(|| exclusive(&two, "a").acquire().map(drop).map_err(Error::from));
        until_waiting(&one, "a", 1);
        others.iter().for_each(|i| cluster.kill(*i));
        let late = other.acquire_timeout(Duration::from_secs(1)).map(drop).unwrap_err();
        assert_eq!(late.code(), Code::SemTimeout);
        // It may be that the last change before was not answered; either way it is not held from here on.
        held.release().unwrap();
        assert!(!heir.is_finished() && kept.is_held());
        cluster.restart_all(&others);
        heir.join().unwrap().unwrap();
        kept.release().unwrap();
    });
    while !one.inspect("b").is_ok_and(|r| r.waiters.is_empty()) {
        std::thread::sleep(Duration::from_millis(20));
    }
    all_is_well(&one, &["a", "b"]);
}

/// One member after the other goes away, the one that leads included: what is asked next is answered, whoever waits is told.
#[test]
fn members_go_and_those_who_ask_and_wait_find_others() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::with_time("failover", Duration::from_secs(180));
    let cluster = Cluster::start(3);
    let url = cluster.url("failover");
    let (one, two) = (open(&url), open(&url));
    let (a, other) = (exclusive(&one, "a"), exclusive(&two, "a"));
    for (leads, frozen) in [(false, false), (true, false), (false, true), (true, true)] {
        let leader = cluster.leader();
        let victim = if leads { leader } else { (leader + 1) % 3 };
        let held = a.acquire().unwrap();
        std::thread::scope(|s| {
            let heir = s.spawn(|| other.acquire().map(drop).map_err(Error::from));
            until_waiting(&one, "a", 1);
            if frozen {
                cluster.freeze(victim)
            } else {
                cluster.kill(victim)
            }
            held.release().unwrap();
            heir.join().unwrap().unwrap();
        });
        a.acquire().unwrap().release().unwrap();
        if frozen { cluster.thaw(victim) } else { cluster.restart(victim) }
    }
    all_is_well(&one, &["a"]);
}
