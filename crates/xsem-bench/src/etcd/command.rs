//! What a script pays for one wrapped command.

use crate::cli;
use crate::report::{Table, Unit};
use crate::rounds::{self, Contestant};
use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;
use xsem_testkit::etcd::Cluster;

const XSEM: &str = "xsem run NAME -- true";
const ETCDCTL: &str = "etcdctl lock NAME true";
const PART: usize = 2;

pub fn table(cluster: &Cluster, rounds: usize) -> io::Result<Table> {
    let xsem = cli::xsem()?;
    let url = cluster.url("bench/command");
    let quiet = |command: &mut Command| {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).env_remove("XSEM_NAMESPACE").status()
    };
    let ours = || quiet(Command::new(&xsem).args(["--namespace", &url, "run", "bench", "--", "true"]));
    let endpoint = format!("--endpoints=127.0.0.1:{}", cluster.port(0));
    let theirs = || quiet(Command::new("etcdctl").env("ETCDCTL_API", "3").arg(&endpoint).args(["lock", "bench/etcdctl", "true"]));
    let table = Table::new("a wrapped `true`, wall time", Unit::Milliseconds, Vec::new()).against(&["true"]);
    let must = |name: &'static str, run: &dyn Fn() -> io::Result<std::process::ExitStatus>, n: u64| {
        for _ in 0..n {
            let status = run().unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(status.success(), "{name}: {status}");
        }
    };
    let alone = || quiet(&mut Command::new("true"));
    let mut contestants =
        vec![Contestant::new("true", |n| must("true", &alone, n)), Contestant::new(XSEM, |n| must(XSEM, &ours, n))];
    let mut absent = Vec::new();
    match theirs() {
        Ok(status) if status.success() => contestants.push(Contestant::new(ETCDCTL, |n| must(ETCDCTL, &theirs, n))),
        Ok(status) => absent.push((ETCDCTL.to_owned(), status.to_string())),
        Err(e) => absent.push((ETCDCTL.to_owned(), format!("{e} (Debian: `apt-get install etcd-client`)"))),
    }
    // A slice of nothing: one command a turn.
    let series = rounds::run(&mut contestants, Duration::ZERO, rounds.div_ceil(PART));
    drop(contestants);
    Ok(Table { series, absent, ..table })
}
