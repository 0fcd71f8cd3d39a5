//! What the wire costs, by command: `cargo test --release -p xsem-etcd --test measure -- --ignored --nocapture --test-threads=1`.
//! Nothing is asserted: these are numbers for people.

mod common;

use common::*;
use std::time::{Duration, Instant};
use xsem_etcd::client::Again;
use xsem_etcd::kv::{Txn, put};
use xsem_etcd::runtime::run;
use xsem_testkit::etcd::Cluster;
use xsem_testkit::watchdog::Watchdog;

fn shown(what: &str, mut all: Vec<Duration>) {
    all.sort();
    let at = |q: usize| all[(all.len() - 1) * q / 100];
    println!("{what:<50} p50 {:>9.1?}  p90 {:>9.1?}  p99 {:>9.1?}  max {:>9.1?}", at(50), at(90), at(99), at(100));
}

fn many(n: usize, mut f: impl FnMut()) -> Vec<Duration> {
    (0..n)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed()
        })
        .collect()
}

#[test]
#[ignore = "a measurement"]
fn round_trips() {
    let _dog = Watchdog::start("round trips");
    for members in [1, 3] {
        let cluster = Cluster::start(members);
        let c = open(&cluster.url("x"));
        let straight = open(&format!("etcd://127.0.0.1:{}/x", cluster.port(cluster.leader())));
        write(&c, "m/a", "1");
        write(&straight, "m/a", "1");
        let put = || Txn::of([put("m/a", "1", 0)]);
        shown(&format!("{members}: put, as a thread, some member"), many(2000, || drop(txn(&c, put(), patience()))));
        shown(&format!("{members}: put, as a thread, the leader"), many(2000, || drop(txn(&straight, put(), patience()))));
        let theirs = straight.clone();
        let inside = run(async move {
            let mut all = Vec::new();
            for _ in 0..2000 {
                let start = Instant::now();
                let _ = theirs.txn(put(), patience()).await;
                all.push(start.elapsed());
            }
            Ok(all)
        });
        shown(&format!("{members}: put, inside of the runtime, the leader"), inside.unwrap());
        shown(&format!("{members}: read, as a thread, the leader"), many(2000, || drop(value(&straight, "m/a"))));
        let mut w = watch(&c, "m/");
        let told = (0..500).map(|_| {
            write(&straight, "m/a", "1");
            let start = Instant::now();
            drop(w.wait(patience()).unwrap().unwrap());
            start.elapsed()
        });
        shown(&format!("{members}: an event, after its put was answered"), told.collect());
    }
}

#[test]
#[ignore = "a measurement"]
fn failovers() {
    let _dog = Watchdog::with_time("failovers", Duration::from_secs(110));
    let cluster = Cluster::start(3);
    let c = open(&cluster.url("x"));
    let persist = || {
        let theirs = c.clone();
        let txn = Txn::of([put("m/a", "1", 0)]);
        run(async move { theirs.txn_again(txn, Again::UntilAnswered, patience()).await }).unwrap();
    };
    for (what, frozen, leads) in [
        ("a follower killed", false, false),
        ("the leader killed", false, true),
        ("a follower frozen", true, false),
        ("the leader frozen", true, true),
    ] {
        let all = (0..5).map(|_| {
            let leader = cluster.leader();
            let victim = if leads { leader } else { (leader + 1) % 3 };
            persist();
            if frozen {
                cluster.freeze(victim)
            } else {
                cluster.kill(victim)
            };
            let start = Instant::now();
            persist();
            let took = start.elapsed();
            if frozen {
                cluster.thaw(victim)
            } else {
                cluster.restart(victim)
            };
            std::thread::sleep(Duration::from_millis(300));
            took
        });
        shown(&format!("the next write after {what}"), all.collect());
    }
}

#[test]
#[ignore = "a measurement"]
fn guardians() {
    let _dog = Watchdog::start("guardians");
    let cluster = Cluster::start(1);
    let c = open(&cluster.url("x"));
    let url = cluster.url(&format!("x?ttl=3600&guardian={}", guardian().display()));
    let mut w = watch(&c, "m/");
    let all = (0..20).map(|_| {
        let (mut child, _said) = holder_with(&url, "m/g", &[]);
        drop(w.wait(patience()).unwrap());
        std::thread::sleep(Duration::from_millis(50));
        let start = Instant::now();
        child.kill().unwrap();
        drop(w.wait(patience()).unwrap());
        let took = start.elapsed();
        child.wait().unwrap();
        took
    });
    shown("kill -9 of an owner to the end of its key", all.collect());
}

#[test]
#[ignore = "a process of another test"]
fn child_that_holds() {
    hold();
}
