//! Watches: nothing missed, nothing twice, whatever breaks.

mod common;

use common::*;
use std::time::Duration;
use xsem_etcd::fault::Fault;
use xsem_etcd::kv::Keys;
use xsem_etcd::runtime::run;
use xsem_etcd::watch::{Wanted, Watch};
use xsem_etcd::wire::{CompactionRequest, CompactionResponse, EventType};
use xsem_testkit::etcd::{Cluster, Proxy, wanted};
use xsem_testkit::watchdog::Watchdog;

/// The values of the next `n` puts.
fn values(watch: &mut Watch, n: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < n {
        let told = watch.wait(patience()).unwrap().unwrap();
        for e in told.events {
            let kv = e.kv.unwrap();
            assert_eq!(e.r#type, EventType::Put as i32);
            all.push(String::from_utf8(kv.value).unwrap());
        }
    }
    all
}

#[test]
fn what_happens_after_the_beginning_is_told_once_and_in_order() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("a watch");
    let c = open(&Cluster::shared().url("x"));
    write(&c, "w1/a", "before");
    let mut w = watch(&c, "w1/");
    assert_eq!(w.poll().unwrap(), None);
    for i in 0..50 {
        write(&c, &format!("w1/{}", i % 3), &i.to_string());
    }
    assert_eq!(values(&mut w, 50), (0..50).map(|i| i.to_string()).collect::<Vec<_>>());
    assert_eq!(w.wait(soon(50)).unwrap(), None);
}

#[test]
fn several_ranges_and_filters_on_one_stream() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("several ranges");
    let c = open(&Cluster::shared().url("x"));
    let theirs = c.clone();
    let all = vec![
        Wanted { keys: Keys::prefix("w2/a/"), deletes_only: true, previous: true },
        Wanted { keys: Keys::one("w2/b"), deletes_only: false, previous: false },
    ];
    let mut w = run(async move { Watch::start(&theirs, all, patience()).await }).unwrap();
    write(&c, "w2/a/1", "one");
    write(&c, "w2/b", "two");
    let told = w.wait(patience()).unwrap().unwrap();
    assert_eq!((told.of, told.events.len()), (1, 1));
    txn(&c, xsem_etcd::kv::Txn::of([xsem_etcd::kv::delete(Keys::prefix("w2/a/"))]), patience()).unwrap();
    let told = w.wait(patience()).unwrap().unwrap();
    assert_eq!((told.of, told.events[0].r#type), (0, EventType::Delete as i32));
    assert_eq!(told.events[0].prev_kv.as_ref().unwrap().value, b"one");
}

#[test]
fn a_connection_that_is_cut_misses_nothing() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("a watch that is cut");
    let p = Proxy::to(Cluster::shared().port(0));
    let (c, straight) = (open(&p.url("x")), open(&Cluster::shared().url("x")));
    let mut w = watch(&c, "w3/");
    for i in 0..40 {
        write(&straight, "w3/a", &i.to_string());
        if i % 8 == 5 {
            p.cut();
        }
    }
    assert_eq!(values(&mut w, 40), (0..40).map(|i| i.to_string()).collect::<Vec<_>>());
    assert_eq!(w.wait(soon(300)).unwrap(), None, "nothing comes twice");
}

#[test]
fn a_watch_that_was_away_while_the_store_forgot_is_told_so() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("compaction");
    let cluster = Cluster::start(1);
    let p = Proxy::to(cluster.port(0));
    let (c, straight) = (open(&p.url("x")), open(&cluster.url("x")));
    let mut w = watch(&c, "w4/");
    write(&straight, "w4/a", "1");
    assert_eq!(values(&mut w, 1), ["1"]);
    p.refuse(true);
    write(&straight, "w4/a", "2");
    let last = write(&straight, "w4/a", "3").revision;
    let theirs = straight.clone();
    run(async move {
        let ask = CompactionRequest { revision: last, physical: true };
        let again = xsem_etcd::client::Again::UntilAnswered;
        theirs.call::<_, CompactionResponse>("/etcdserverpb.KV/Compact", ask, again, patience()).await
    })
    .unwrap();
    p.refuse(false);
    let over = w.wait(patience());
    assert!(matches!(over, Err(Fault::Compacted(oldest)) if oldest >= last), "{over:?}");
    assert!(w.wait(patience()).is_err(), "it stays over");
    // As somebody does who reads again then.
    let mut w = watch(&c, "w4/");
    assert_eq!(value(&c, "w4/a").as_deref(), Some("3"));
    write(&straight, "w4/a", "4");
    assert_eq!(values(&mut w, 1), ["4"]);
}

#[test]
fn a_member_that_is_frozen_or_killed_is_left_and_nothing_is_missed() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("a watch at a frozen member");
    let cluster = Cluster::start(3);
    let other = cluster.leader();
    let watched = (other + 1) % 3;
    // It begins at the one that will freeze: the others are behind it in its list, and its own process chooses the first by its
    // number, so that is made to be the one.
    let order: Vec<String> = (0..3).map(|k| format!("127.0.0.1:{}", cluster.port((watched + k) % 3))).collect();
    let turned = (std::process::id() as usize) % 3;
    let mut list = order.clone();
    list.rotate_right(turned);
    let c = open(&format!("etcd://{}/x?timeout=1", list.join(",")));
    let straight = open(&format!("etcd://127.0.0.1:{}/x", cluster.port(other)));
    let mut w = watch(&c, "w5/");
    write(&straight, "w5/a", "0");
    assert_eq!(values(&mut w, 1), ["0"]);
    cluster.freeze(watched);
    write(&straight, "w5/a", "1");
    assert_eq!(values(&mut w, 1), ["1"]);
    cluster.thaw(watched);
    for i in 2..6 {
        write(&straight, "w5/a", &i.to_string());
    }
    assert_eq!(values(&mut w, 4), ["2", "3", "4", "5"]);
    cluster.kill((watched + 1) % 3);
    let c2 = open(&(cluster.url("x") + "?timeout=1"));
    write(&c2, "w5/a", "6");
    assert_eq!(values(&mut w, 1), ["6"]);
}

#[test]
fn a_watch_that_cannot_begin_says_so_in_time() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("no beginning");
    let p = Proxy::to(Cluster::shared().port(0));
    p.refuse(true);
    let c = open(&p.url("x"));
    let wanted = vec![Wanted { keys: Keys::prefix("w6/"), deletes_only: false, previous: false }];
    let theirs = c.clone();
    let refused = run(async move { Watch::start(&theirs, wanted, soon(300)).await });
    assert!(matches!(refused, Err(Fault::Unreachable(_))), "{refused:?}");
    // Dropping a watch ends its stream.
    p.refuse(false);
    let w = watch(&c, "w6/");
    drop(w);
    std::thread::sleep(Duration::from_millis(20));
    write(&c, "w6/a", "1");
}
