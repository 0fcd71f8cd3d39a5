//! What the tests of the wire share.
#![allow(dead_code, reason = "each test uses some of it")]

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use xsem::Deadline;
use xsem_etcd::client::Client;
use xsem_etcd::fault::Result;
use xsem_etcd::kv::{Found, Keys, Reply, Txn, put, range};
use xsem_etcd::runtime::run;
use xsem_etcd::session::{Loss, Session};
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

/// Tells the loss of a session.
pub fn losses(s: &Session) -> mpsc::Receiver<Loss> {
    let (tell, told) = mpsc::channel();
    s.on_loss(move |loss| {
        let _ = tell.send(loss);
    });
    told
}

/// A process that holds a lease with the key of this name; it says so, and then waits to be killed.
pub fn holder(url: &str, key: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    holder_with(url, key, &[])
}

/// The same, with further facts.
pub fn holder_with(url: &str, key: &str, facts: &[(&str, &str)]) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut command = child("child_that_holds", &[("STORE", url), ("KEY", key)]);
    command.envs(facts.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("holds") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "the holder has ended");
    }
    (child, said)
}

/// The life of that process.
pub fn hold() {
    let Ok(url) = std::env::var("STORE") else { return };
    let c = open(&url);
    let s = session(&c);
    leased(&c, &std::env::var("KEY").unwrap(), &s);
    while url.contains("guardian=/") && s.guardian().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let told = losses(&s);
    println!("\nholds {}", s.guardian().unwrap_or(0));
    if std::env::var("EXIT_WHEN_TOLD").is_ok() {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    }
    if let Ok(how) = std::env::var("EXIT") {
        if how == "dropped" {
            drop(s);
        }
        std::process::exit(0);
    }
    if let Ok(seconds) = std::env::var("EXEC_SLEEP") {
        use std::os::unix::process::CommandExt;
        panic!("{}", std::process::Command::new("sleep").arg(seconds).exec());
    }
    println!("lost {:?}", told.recv().unwrap());
}
