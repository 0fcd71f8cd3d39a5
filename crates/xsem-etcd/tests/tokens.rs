//! The worked example of docs/etcd.md: an owner is stopped until its lease has ended, another one takes over, and when the first
//! goes on, believing in its claim, the resource refuses what it writes.

#[path = "tokens/file_store.rs"]
mod file_store;
#[path = "tokens/server.rs"]
mod server;
#[path = "tokens/table.rs"]
mod table;

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use xsem::{AcquireError, Exclusive, Namespace};
use xsem_testkit::etcd::{Cluster, wanted};
use xsem_testkit::watchdog::Watchdog;

const DOCUMENT: &str = include_str!("../../../docs/etcd.md");

/// What both owners do with what the semaphore protects: true, it was written; false, it was refused.
fn write(kind: &str, place: &Path, token: u64, value: i64) -> bool {
    match kind {
        "file" => file_store::write(place, token, value.to_string().as_bytes()).map_err(|e| println!("{e}")).is_ok(),
        _ => table::write(&mut server::connect(place), token, value).unwrap(),
    }
}

/// An owner as a process of its own, which writes when it is told to, without a look at its claim before.
#[test]
#[ignore = "a process that other tests start"]
fn child_that_owns_and_writes_late() {
    let Ok(url) = std::env::var("STORE") else { return };
    let (kind, place) = (std::env::var("KIND").unwrap(), std::env::var("PLACE").unwrap());
    xsem_etcd::register();
    let ns = Namespace::open(&url).unwrap();
    let migrate = Exclusive::open_or_create(&ns, "migrate").unwrap();
    let guard = migrate.acquire().unwrap();
    println!("\nowns {} {}", guard.token(), write(&kind, Path::new(&place), guard.token(), 1));
    std::io::stdin().read_line(&mut String::new()).unwrap();
    println!("\nlate {} {}", guard.token(), write(&kind, Path::new(&place), guard.token(), 2));
    println!("\nheld {}", guard.is_held());
}

struct Owner(Child, BufReader<std::process::ChildStdout>);

impl Owner {
    fn start(url: &str, kind: &str, place: &Path) -> Owner {
        let facts = [("STORE", url), ("KIND", kind), ("PLACE", place.to_str().unwrap())];
        let mut command = common::child("child_that_owns_and_writes_late", &facts);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Owner(child, said)
    }

    fn signal(&self, signal: i32) {
        // SAFETY: no pointer is passed; the process is a child that was not waited for.
        assert_eq!(unsafe { libc::kill(self.0.id() as libc::pid_t, signal) }, 0);
    }

    /// The rest of the line that begins so.
    fn says(&mut self, head: &str) -> String {
        let mut line = String::new();
        while !line.starts_with(head) {
            line.clear();
            assert!(self.1.read_line(&mut line).unwrap() > 0, "the owner has ended before it said `{head}`");
        }
        line[head.len()..].trim().to_owned()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The story; what is written at its end the caller looks at.
fn a_late_owner_is_refused(kind: &str, place: &Path) {
    let url = format!("{}?guardian=none", Cluster::shared().url(&format!("tokens/{kind}")));
    let mut first = Owner::start(&format!("{url}&ttl=2"), kind, place);
    let owns = first.says("owns ");
    let old: u64 = owns.strip_suffix(" true").expect("the owner may write").parse().unwrap();
    first.signal(libc::SIGSTOP);
    xsem_etcd::register();
    let ns = Namespace::open(&format!("{url}&ttl=30")).unwrap();
    let migrate = Exclusive::open(&ns, "migrate").unwrap();
    // Its lease ends, and the next owner is told of that.
    let Err(AcquireError::OwnerDied(heir)) = migrate.acquire() else { panic!("not told") };
    let guard = heir.mark_consistent().unwrap();
    assert!(guard.token() > old);
    assert!(write(kind, place, guard.token(), 3));
    first.signal(libc::SIGCONT);
    writeln!(first.0.stdin.as_mut().unwrap()).unwrap();
    assert_eq!(first.says("late "), format!("{old} false"), "what a late owner writes is refused");
    assert_eq!(first.says("held "), "false");
    // It does not get in the way of the one who owns.
    assert!(write(kind, place, guard.token(), 4));
    guard.release().unwrap();
}

#[test]
fn a_file_store_refuses_a_late_owner() {
    let _dog = Watchdog::start("tokens: a file store");
    if !wanted() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    a_late_owner_is_refused("file", dir.path());
    assert_eq!(fs::read_to_string(dir.path().join("data")).unwrap(), "4");
}

#[test]
fn a_table_refuses_a_late_owner() {
    let _dog = Watchdog::start("tokens: a table");
    if !wanted() || !server::wanted() {
        return;
    }
    let server = server::Server::start();
    let mut client = server::connect(server.directory());
    client.execute(table::MAKE, &[]).unwrap();
    client.execute("INSERT INTO accounts (id, balance) VALUES (7, 0)", &[]).unwrap();
    a_late_owner_is_refused("table", server.directory());
    let row = client.query_one("SELECT balance, token FROM accounts WHERE id = 7", &[]).unwrap();
    assert_eq!(row.get::<_, i64>(0), 4);
}

/// Many at once, in the order of nobody: the greatest token that was there has written last, in both.
#[test]
fn of_many_at_once_the_greatest_token_stays() {
    let _dog = Watchdog::start("tokens: many at once");
    let dir = tempfile::tempdir().unwrap();
    let server = server::wanted().then(server::Server::start);
    if let Some(s) = &server {
        let mut client = server::connect(s.directory());
        client.execute(table::MAKE, &[]).unwrap();
        client.execute("INSERT INTO accounts (id, balance) VALUES (7, 0)", &[]).unwrap();
    }
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (dir, server) = (dir.path(), &server);
            scope.spawn(move || {
                let mut client = server.as_ref().map(|s| server::connect(s.directory()));
                for n in 0..25u64 {
                    let token = 1 + (n * 29 + thread * 7) % 100;
                    let _ = file_store::write(dir, token, token.to_string().as_bytes());
                    if let Some(c) = &mut client {
                        table::write(c, token, token as i64).unwrap();
                    }
                }
            });
        }
    });
    let greatest = (0..4u64).flat_map(|t| (0..25u64).map(move |n| 1 + (n * 29 + t * 7) % 100)).max().unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("data")).unwrap(), greatest.to_string());
    if let Some(s) = &server {
        let row = server::connect(s.directory()).query_one("SELECT balance, token FROM accounts", &[]).unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (greatest as i64, greatest as i64));
    }
}

#[test]
fn the_document_shows_what_runs_here() {
    let code = include_str!("tokens/file_store.rs");
    let shown = code.split("// begin\n").nth(1).and_then(|c| c.split("// end\n").next()).unwrap();
    assert!(DOCUMENT.contains(&shown.replace("pub fn", "fn")), "docs/etcd.md does not show the file store as it is");
    for statement in [table::MAKE, table::WRITE] {
        assert!(DOCUMENT.contains(statement), "docs/etcd.md does not show: {statement}");
    }
}
