//! A namespace in etcd: what can be wrong with a store, on real servers.

use super::common::{XSEM, clean};
use super::{Found, run};
use std::process::{Command, Stdio};
use std::time::Duration;
use xsem::Namespace;
use xsem_etcd::kv::{Txn, put};
use xsem_etcd::{client::Client, fault::Fault, runtime, url::Config};
use xsem_testkit::etcd::{Cluster, Options, Proxy, wanted};
use xsem_testkit::watchdog::Watchdog;

fn doctor(url: &str, args: &[&str]) -> Found {
    let mut c = clean(Command::new(XSEM));
    c.args(["--namespace", url, "doctor", "--json"]).args(args).stdin(Stdio::null());
    run(c)
}

fn with(arguments: &[&str]) -> Cluster {
    Cluster::with(&Options { arguments: arguments.iter().map(|a| (*a).to_owned()).collect(), ..Options::default() })
}

/// So many bytes more in the store.
fn put_bytes(cluster: &Cluster, name: &str, bytes: usize) -> Result<(), Fault> {
    let client = Client::open(Config::parse(&cluster.url("x")).expect("a URL")).expect("a client");
    let txn = Txn::of([put(name.to_owned(), "x".repeat(bytes), 0)]);
    runtime::run(async move { client.txn(txn, xsem::Deadline::after(Duration::from_secs(50))).await }).map(drop)
}

#[test]
fn a_store_that_is_well_and_one_that_is_not_there() {
    let _dog = Watchdog::start("doctor: a store");
    if !wanted() {
        return;
    }
    let url = Cluster::shared().url("doctor/well");
    let f = doctor(&url, &[]);
    // How well this machine is at this moment is another question.
    let of_the_machine = ["pauses-seen", "store-slow"];
    let all = f.json["findings"].as_array().expect("a list");
    assert!(all.iter().all(|f| of_the_machine.iter().any(|k| f["kind"] == *k)), "{:#}", f.json);
    let looked = f.json["looked_at"].as_array().expect("a list");
    assert!(looked.iter().any(|l| l.as_str().is_some_and(|l| l.contains("leads"))), "{looked:?}");
    doctor(&url, &["nothing"]).must("no-such-name", "warning", &["xsem ls"]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
    let f = doctor(&format!("etcd://127.0.0.1:{port}/x?timeout=1"), &[]);
    f.must("store-unreachable", "trouble", &["127.0.0.1", "refused", "firewalls"]);
}

#[test]
fn members_that_are_down_and_members_that_are_not_named() {
    let _dog = Watchdog::with_time("doctor: members", Duration::from_secs(120));
    if !wanted() {
        return;
    }
    let cluster = Cluster::start(3);
    let some = format!("etcd://127.0.0.1:{},127.0.0.1:{}/x", cluster.port(0), cluster.port(1));
    doctor(&some, &[]).must("member-unnamed", "note", &["2 of the store's 3 members", "m2"]);
    cluster.kill(2);
    let all = format!("{}?timeout=1", cluster.url("x"));
    let dead = format!("127.0.0.1:{}", cluster.port(2));
    // An election may be under way; then it is told that nothing is decided.
    let mut f = doctor(&all, &[]);
    while f.get("no-majority").is_some() {
        f = doctor(&all, &[]);
    }
    f.must("member-silent", "warning", &[&dead, "2 of the 3"]);
    assert!(f.get("member-unnamed").is_none(), "the one that is silent may be the one: {:#}", f.json);
    cluster.kill(1);
    while cluster.is_healthy(0) {
        std::thread::sleep(Duration::from_millis(20));
    }
    doctor(&all, &[]).must("no-majority", "trouble", &["1 of 3 members answer", "endpoint status"]);
}

#[test]
fn a_user_who_is_not_known() {
    let _dog = Watchdog::start("doctor: users");
    if !wanted() {
        return;
    }
    let cluster = with(&[]);
    let ask = |path: &str, json: &str| cluster.ask(0, &format!("/v3/auth/{path}"), json);
    ask("user/add", r#"{"name":"root","password":"of root"}"#).expect("a user");
    let _ = ask("role/add", r#"{"name":"root"}"#);
    ask("user/grant", r#"{"user":"root","role":"root"}"#).expect("a role");
    ask("enable", "{}").expect("users");
    let url = |user: &str| format!("etcd://{user}@{}/x", cluster.endpoints());
    doctor(&url("anna:wrong"), &[]).must("not-let-in", "trouble", &["XSEM_ETCD_USER"]);
    let f = doctor(&url("root:of%20root"), &[]);
    assert!(f.get("not-let-in").is_none(), "{:#}", f.json);
    assert!(!f.json.to_string().contains("of%20root") && !f.json.to_string().contains("of root"), "no passwords: {:#}", f.json);
}

#[test]
fn a_quota_that_is_nearly_and_then_quite_used_up() {
    let _dog = Watchdog::start("doctor: a quota");
    if !wanted() {
        return;
    }
    // A member's file grows by doubling: one of 4 MiB is most of this, one of 8 MiB too much, and there are many looks in between.
    let cluster = with(&["--quota-backend-bytes=5000000"]);
    let url = cluster.url("x");
    for i in 0.. {
        put_bytes(&cluster, &format!("fill/{i}"), 100_000).expect("there is room");
        if let Some(f) = Some(doctor(&url, &[])).filter(|f| f.get("quota-near").is_some()) {
            f.must("quota-near", "warning", &["MiB", "defrag"]);
            break;
        }
    }
    while put_bytes(&cluster, "more", 100_000).is_ok() {}
    doctor(&url, &[]).must("store-alarm", "trouble", &["quota", "alarm disarm"]);
}

#[test]
fn a_store_that_is_far_away_for_short_leases() {
    let _dog = Watchdog::start("doctor: far away");
    if !wanted() {
        return;
    }
    let proxy = Proxy::to(Cluster::shared().port(0));
    proxy.delay(Duration::from_millis(150));
    let url = format!("{}?ttl=2&timeout=20", proxy.url("doctor/far"));
    doctor(&url, &[]).must("store-slow", "warning", &["ttl=60"]);
}

#[test]
fn a_session_whose_process_is_stopped() {
    let _dog = Watchdog::start("doctor: a stopped process");
    if !wanted() {
        return;
    }
    xsem_etcd::register();
    let url = Cluster::shared().url("doctor/stopped");
    let ns = Namespace::open(&format!("{url}?guardian=none")).expect("a namespace");
    // A machine that is too busy to look between the half of a lease's life and its end tries again.
    while !a_stopped_process_is_seen(&url, &ns) {}
}

fn a_stopped_process_is_seen(url: &str, ns: &Namespace) -> bool {
    let mut c = clean(Command::new(XSEM));
    // Its command ends with us.
    c.args(["--namespace", &format!("{url}?ttl=12&guardian=none"), "run", "a", "--", "cat"]);
    let mut holder = c.stdin(Stdio::piped()).spawn().expect("xsem");
    let held = || ns.inspect("a").is_ok_and(|r| r.holders.iter().any(|h| h.process.pid == holder.id()));
    while !held() {
        std::thread::sleep(Duration::from_millis(10));
    }
    super::common::kill(holder.id(), libc::SIGSTOP);
    let mut seen = false;
    while !seen && held() {
        let f = doctor(url, &[]);
        if f.get("lease-near-end").is_some() {
            f.must("lease-near-end", "warning", &[&holder.id().to_string(), "12 s", "stopped or suspended"]);
            seen = true;
        }
    }
    holder.kill().expect("it lives");
    holder.wait().expect("it ends");
    seen
}

#[test]
fn pauses_of_a_member_are_counted() {
    let _dog = Watchdog::with_time("doctor: pauses", Duration::from_secs(120));
    if !wanted() {
        return;
    }
    let cluster = Cluster::start(3);
    let first = cluster.leader();
    let url = format!("etcd://127.0.0.1:{}/x", cluster.port((first + 1) % 3));
    cluster.kill(first);
    while doctor(&url, &[]).get("pauses-seen").is_none() {
        std::thread::sleep(Duration::from_millis(50));
    }
    doctor(&url, &[]).must("pauses-seen", "note", &["leader", "ttl="]);
}
