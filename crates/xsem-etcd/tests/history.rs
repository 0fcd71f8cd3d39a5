//! The history from what etcd still knows of its past: the same scenes as those of shared memory (`crates/xsem/tests/history.rs`).

mod common;

use common::patience;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;
use xsem::{AcquireError, Cause, Code, Counting, Event, Exclusive, Happened, Kind, Namespace, Options, Record, Wait};
use xsem_etcd::client::Again;
use xsem_etcd::kv::{Txn, put};
use xsem_etcd::runtime;
use xsem_etcd::wire::{CompactionRequest, CompactionResponse};
use xsem_testkit::etcd::{Cluster, wanted};
use xsem_testkit::watchdog::Watchdog;

fn place(name: &str) -> Option<String> {
    xsem_etcd::register();
    wanted().then(|| format!("{}?guardian=none&ttl=30", Cluster::shared().url(&format!("history/{name}"))))
}

/// As another process would have it.
fn open(url: &str) -> Namespace {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    Namespace::open(&format!("{url}&timeout=3.{:06}", NUMBER.fetch_add(1, SeqCst))).unwrap()
}

fn of(ns: &Namespace, name: &str) -> Vec<Record> {
    ns.history().unwrap().records.into_iter().filter(|r| r.name == name).collect()
}

fn what(ns: &Namespace, name: &str) -> Vec<Happened> {
    of(ns, name).into_iter().map(|r| r.what).collect()
}

fn until_waiting(ns: &Namespace, name: &str, n: usize) {
    while ns.inspect(name).unwrap().waiters.len() != n {
        std::thread::sleep(Duration::from_millis(5));
    }
}

const GOT: Happened = Happened::Acquired { died: false };

#[test]
fn each_kind_of_thing_that_happens() {
    let _dog = Watchdog::start("the history of each kind");
    let Some(url) = place("kinds") else { return };
    let ns = &open(&url);
    let e = Event::create_auto(ns, "e", Options::new()).unwrap();
    assert!(e.signal().unwrap() && !e.signal().unwrap());
    e.wait().unwrap();
    e.signal().unwrap();
    assert!(e.reset().unwrap());
    assert_eq!(what(ns, "e"), [Happened::Created(Kind::Event), Happened::Signalled, GOT, Happened::Signalled, Happened::Reset]);

    let c = Counting::create_credit(ns, "c", 9, 0, Options::new()).unwrap();
    c.add_permits(5).unwrap();
    c.acquire_many(3).unwrap().forget().unwrap();
    drop(c.acquire_many(2).unwrap());
    c.resize(7).unwrap();
    let found: Vec<_> = of(ns, "c").into_iter().map(|r| (r.what, r.permits)).collect();
    let wanted = [
        (Happened::Created(Kind::Counting), 1),
        (Happened::Added, 5),
        (GOT, 3),
        (Happened::UsedUp, 3),
        (GOT, 2),
        (Happened::Released, 2),
        (Happened::Resized, 7),
    ];
    assert_eq!(found, wanted);

    let s = Exclusive::create(ns, "s").unwrap();
    let (g, before) = (s.acquire().unwrap(), std::time::SystemTime::now());
    let token = g.token();
    std::thread::scope(|t| {
        t.spawn(|| {
            assert_eq!(s.acquire_timeout(Duration::from_millis(5)).unwrap_err().code(), Code::SemTimeout);
            assert!(s.try_acquire().is_err());
        });
    });
    g.abandon().unwrap();
    match s.acquire() {
        Err(AcquireError::OwnerDied(r)) => drop(r.mark_consistent().unwrap()),
        other => panic!("{other:?}"),
    }
    ns.drain("s", Wait::forever()).unwrap();
    ns.reopen("s").unwrap();
    s.acquire().unwrap().release().unwrap();
    ns.remove("s").unwrap();
    let all = of(ns, "s");
    let told: Vec<_> = all.iter().map(|r| r.what.clone()).collect();
    let wanted = [
        Happened::Created(Kind::Exclusive),
        GOT,
        Happened::Refused(Code::SemTimeout),
        Happened::Died(Cause::Abandoned),
        Happened::Acquired { died: true },
        Happened::Consistent,
        Happened::Released,
        Happened::Draining,
        Happened::Drained,
        Happened::Reopened,
        GOT,
        Happened::Released,
        Happened::Removed,
    ];
    assert_eq!(told, wanted);
    assert_eq!((all[1].token, all[3].token, all[1].took), (token, token, None));
    assert!(all[2].took.is_some() && all[3].took.is_some());
    let a_minute = Duration::from_secs(60);
    assert!(all[2].at + a_minute > before && all[2].at < before + a_minute, "{:?}", all[2].at);
    // Everybody is known, the one who removed it and those who only changed it, too.
    let me = |r: &Record| r.process.pid == std::process::id() && r.process.host.is_some() && !r.process.command.is_empty();
    assert!(all.iter().all(me), "{all:#?}");
    assert!(all.windows(2).all(|w| w[0].position < w[1].position && w[0].at <= w[1].at));
}

#[test]
fn who_waited_was_refused_and_died_and_several_at_once() {
    let _dog = Watchdog::start("the history of waits");
    let Some(url) = place("waits") else { return };
    let (ns, other) = (open(&url), open(&url));
    let s = Exclusive::create(&ns, "s").unwrap();
    let held = s.acquire().unwrap();
    std::thread::scope(|t| {
        let cancel = xsem::CancelToken::new();
        let (theirs, token) = (Exclusive::open(&other, "s").unwrap(), cancel.clone());
        t.spawn(move || assert!(theirs.acquire_with(Wait::forever().cancel(&token)).is_err()));
        until_waiting(&ns, "s", 1);
        cancel.cancel();
        until_waiting(&ns, "s", 0);
        let theirs = Exclusive::open(&other, "s").unwrap();
        t.spawn(move || theirs.acquire().unwrap().release().unwrap());
        until_waiting(&ns, "s", 1);
        held.release().unwrap();
    });
    let told = of(&ns, "s");
    let found: Vec<_> = told.iter().map(|r| r.what.clone()).collect();
    let interrupted = Happened::Refused(Code::Interrupt);
    assert_eq!(found, [Happened::Created(Kind::Exclusive), GOT, interrupted, Happened::Released, GOT, Happened::Released]);
    assert!(told[4].took.is_some() && told[1].took.is_none(), "one had to wait: {told:#?}");

    let (a, b) = (Exclusive::create(&ns, "a").unwrap(), Counting::create_pool(&ns, "b", 4, Options::new()).unwrap());
    let all = ns.acquire_all(&[xsem::Pick::from(&a), xsem::Pick::permits(&b, 2)], Wait::forever()).unwrap();
    ns.evict("a", ns.inspect("a").unwrap().holders[0].token).unwrap();
    drop(all);
    assert_eq!(what(&ns, "a")[1..], [GOT, Happened::Died(Cause::Evicted)]);
    assert_eq!(what(&ns, "b")[1..], [GOT, Happened::Released]);

    // A session that ends with a claim, and is gone when it is asked who it was.
    let dies = open(&url);
    let lost = Counting::open(&dies, "b").unwrap().acquire_owned(1, Wait::forever()).unwrap();
    let token = lost.token();
    std::mem::forget(lost);
    revoke_owner(&url, "b");
    while ns.inspect("b").unwrap().capacity.unwrap().free != 4 {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(b.acquire().unwrap());
    let died = of(&ns, "b").into_iter().find(|r| matches!(r.what, Happened::Died(_))).unwrap();
    assert_eq!((died.what, died.token), (Happened::Died(Cause::ProcessEnded), token));

    // A reset takes all away, and nobody is known to have done it.
    Namespace::reset_at(&url).unwrap();
    assert_eq!(what(&ns, "s").last(), Some(&Happened::Removed));
}

/// Ends the lease of the owner, as an operator could.
fn revoke_owner(url: &str, name: &str) {
    let client = common::open(url);
    let key = format!("{}/o/{name}", client.config().path);
    let record: serde_json::Value = serde_json::from_str(&common::value(&client, &key).unwrap()).unwrap();
    let id = record["claims"][0]["parties"][0]["id"]["session"].as_u64().unwrap() as i64;
    runtime::run(async move {
        let ask = xsem_etcd::wire::LeaseRevokeRequest { id };
        let path = "/etcdserverpb.Lease/LeaseRevoke";
        client.call::<_, xsem_etcd::wire::LeaseRevokeResponse>(path, ask, Again::UntilAnswered, patience()).await
    })
    .unwrap();
}

/// It goes back to the store's compaction, and says so; what others write between is not in the way; it can be followed.
#[test]
fn it_goes_back_to_the_compaction_and_can_be_followed() {
    let _dog = Watchdog::start("the reach of the history");
    if !wanted() {
        return;
    }
    xsem_etcd::register();
    let cluster = Cluster::start(1);
    let (url, client) = (format!("{}?guardian=none&ttl=30", cluster.url("reach")), common::open(&cluster.url("x")));
    let ns = open(&url);
    let s = Exclusive::create(&ns, "s").unwrap();
    for i in 0..5_000 {
        if i % 1000 == 0 {
            drop(s.acquire().unwrap());
        }
        // More than is looked at first.
        common::write(&client, "other", &i.to_string());
    }
    let all = ns.history().unwrap();
    assert_eq!((all.records.len(), all.recording.is_some()), (11, true), "{all:#?}");
    assert!(all.reach.unwrap().contains("all that happened"));
    let last = all.records.last().unwrap().position;
    assert_eq!(ns.history_from(last).unwrap().records.len(), 1);
    assert!(ns.history_from(last + 1).unwrap().records.is_empty());
    drop(s.acquire().unwrap());
    assert_eq!(ns.history_from(last + 1).unwrap().records.len(), 2);

    let revision = common::txn(&client, Txn::of([put("other", "", 0)]), patience()).unwrap().revision;
    runtime::run(async move {
        let ask = CompactionRequest { revision, physical: true };
        client.call::<_, CompactionResponse>("/etcdserverpb.KV/Compact", ask, Again::UntilAnswered, patience()).await
    })
    .unwrap();
    drop(s.acquire().unwrap());
    let left = ns.history().unwrap();
    assert_eq!(left.records.iter().map(|r| r.what.clone()).collect::<Vec<_>>(), [GOT, Happened::Released]);
    assert!(left.reach.unwrap().contains("compaction"));
    assert_eq!(ns.keep_history(None).unwrap_err().code(), Code::InvalidFunction);
}
