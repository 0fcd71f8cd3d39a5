//! What the tests of the wire share.
#![allow(dead_code, reason = "each test uses some of it")]

use std::path::PathBuf;
use std::time::Duration;
use xsem::Deadline;
use xsem_etcd::client::Client;
use xsem_etcd::fault::Result;
use xsem_etcd::kv::{Found, Keys, Reply, Txn, put, range};
use xsem_etcd::runtime::run;
use xsem_etcd::session::Session;
use xsem_etcd::url::Config;
use xsem_etcd::watch::{Wanted, Watch};

/// Far away: what is waited for comes, or the watchdog does.
pub fn patience() -> Deadline {
    Deadline::after(Duration::from_secs(50))
}

pub fn soon(ms: u64) -> Deadline {
    Deadline::after(Duration::from_millis(ms))
}

pub fn open(url: &str) -> Client {
    Client::open(Config::parse(url).unwrap()).unwrap()
}

pub fn txn(client: &Client, txn: Txn, deadline: Deadline) -> Result<Reply> {
    let c = client.clone();
    run(async move { c.txn(txn, deadline).await })
}

pub fn write(client: &Client, key: &str, value: &str) -> Reply {
    txn(client, Txn::of([put(key, value, 0)]), patience()).unwrap()
}

pub fn read(client: &Client, key: &str, deadline: Deadline) -> Result<Found> {
    let (c, ask) = (client.clone(), range(Keys::one(key)));
    run(async move { c.range(ask, deadline).await })
}

pub fn value(client: &Client, key: &str) -> Option<String> {
    let found = read(client, key, patience()).unwrap();
    found.first().map(|kv| String::from_utf8(kv.value.clone()).unwrap())
}

pub fn session(client: &Client) -> Session {
    let c = client.clone();
    run(async move { Session::start(&c, patience()).await }).unwrap()
}

pub fn watch(client: &Client, prefix: &str) -> Watch {
    let c = client.clone();
    let wanted = vec![Wanted { keys: Keys::prefix(prefix), deletes_only: false, previous: false }];
    run(async move { Watch::start(&c, wanted, patience()).await }).unwrap()
}

/// Puts a key that goes with the session.
pub fn leased(client: &Client, key: &str, session: &Session) {
    txn(client, Txn::of([put(key, "here", session.lease())]), patience()).unwrap();
}

/// Waits until a key is gone.
pub fn wait_gone(client: &Client, key: &str) {
    while value(client, key).is_some() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The guardian's program.
pub fn guardian() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_xsem-guardian"))
}

/// Runs a test function of this test program that is marked as ignored, as a process of its own, with these facts for it in its environment.
pub fn child(test: &str, facts: &[(&str, &str)]) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"]).envs(facts.iter().copied());
    command
}
