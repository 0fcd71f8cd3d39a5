//! `cargo xtask etcd`: what is too long for every change, on real servers: three nodes, faults, histories, many sessions, three hosts.

use crate::Failure;
use crate::need;
use crate::proc::{Job, target};

const USAGE: &str = "\
usage: cargo xtask etcd COMMAND [OPTIONS]

  conformance          the contract, row by row, on three nodes, each actor at another one
  storm [OPTIONS]      processes, connections and servers are killed, stopped and cut; the records are judged (--help)
  histories [OPTIONS]  recorded histories while servers are killed and frozen, checked against the model (--help)
  bugs                 faults that are built in: the storm and the checker of histories must find each
  scale [SESSIONS [NAMES]]   200 sessions, 10,000 names: throughput, `ls`, memory of the store
  hosts                three hosts (network namespaces; root): one is killed, one is cut off, the leader is cut off
  all                  all of them; about 15 minutes
";

/// The command.
pub fn command(rest: &[String]) -> Result<(), Failure> {
    let options: Vec<&str> = rest.iter().skip(1).map(String::as_str).collect();
    match rest.first().map(String::as_str) {
        Some("conformance") => conformance(),
        Some("storm") => storm(&options),
        Some("histories") => histories(&options),
        Some("bugs") => bugs(),
        Some("scale") => scale(&options),
        Some("hosts") => hosts(),
        Some("all") => {
            conformance()?;
            storm(&["--seconds", "180"])?;
            histories(&["--histories", "12"])?;
            bugs()?;
            scale(&[])?;
            hosts()
        }
        Some("--help" | "-h") => {
            print!("{USAGE}");
            Ok(())
        }
        other => Err(Failure { text: format!("`etcd {}`\n\n{USAGE}", other.unwrap_or_default()), code: 2 }),
    }
}

/// What CI runs of it.
pub fn step() -> Result<(), Failure> {
    build()?;
    run("storm", &["--seconds", "12"])?;
    run("histories", &["--calm", "--histories", "1"])?;
    run("histories", &["--calm", "--members", "1", "--histories", "20", "--bug", "uncompared"])
}

fn build() -> Result<(), Failure> {
    need::ETCD.satisfy()?;
    // Actors and guardians are programs that lie beside.
    Job::cargo(["build", "-p", "xsem-testkit", "-p", "xsem-etcd", "--bins"]).must("the build of the testkit")
}

fn run(program: &str, options: &[&str]) -> Result<(), Failure> {
    println!("{program} {}", options.join(" "));
    Job::built(&target().join("debug").join(program)).args(options).unlimited().must_or_its_code(program)
}

fn conformance() -> Result<(), Failure> {
    build()?;
    run("conformance", &["--engine", "etcd3"])
}

fn storm(options: &[&str]) -> Result<(), Failure> {
    build()?;
    run("storm", options)
}

fn histories(options: &[&str]) -> Result<(), Failure> {
    build()?;
    run("histories", options)
}

fn bugs() -> Result<(), Failure> {
    build()?;
    run("storm", &["--bugs"])?;
    ["uncompared"].iter().try_for_each(|bug| run("histories", &["--calm", "--members", "1", "--histories", "20", "--bug", bug]))
}

fn scale(options: &[&str]) -> Result<(), Failure> {
    need::ETCD.satisfy()?;
    Job::cargo(["run", "--quiet", "--release", "-p", "xsem-etcd", "--example", "scale", "--"])
        .args(if options.is_empty() { &["200", "10000"] } else { options })
        .unlimited()
        .must_or_its_code("the scale run")
}

fn hosts() -> Result<(), Failure> {
    for need in [need::ETCD, need::ETCDCTL, need::IP] {
        need.satisfy()?;
    }
    build()?;
    Job::cargo(["build", "-p", "xsem-cli"]).must("the build of the command")?;
    let xsem = target().join("debug/xsem").display().to_string();
    run("hosts", &[&xsem])
}
