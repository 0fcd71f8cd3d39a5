//! `cargo xtask bench`: builds what is measured, gets the peers that can be had, and runs it.

use crate::Failure;
use crate::need::{self, Need};
use crate::proc::{Job, target};

/// The peers of a benchmark that are no part of the workspace. None of them is needed: its row says where it is missing.
const PEERS: &[(&str, &[Need])] = &[
    ("uncontended", &[need::CXX, need::BOOST, need::PYTHON]),
    ("cli", &[need::FLOCK, need::PARALLEL]),
    ("etcd", &[need::ETCD, need::ETCDCTL]),
];

/// The command, with the program's own options.
pub fn command(rest: &[String]) -> Result<(), Failure> {
    let names = names(rest);
    let measures = !rest.iter().any(|a| ["--list", "--help", "-h"].contains(&a.as_str())) && names != ["goals"];
    if measures {
        get_peers(&names);
        // The command is measured, too; it lies beside the benchmark's own program.
        Job::cargo(["build", "--release", "-p", "xsem-cli", "-p", "xsem-bench"]).must("the release build")?;
    }
    let mut job = Job::cargo(["run", "--quiet", "--release", "-p", "xsem-bench", "--"]);
    if measures && names.is_empty() {
        job = job.arg("uncontended");
    }
    job.args(rest).unlimited().must("the benchmark")
}

/// The benchmarks that a command line names.
fn names(rest: &[String]) -> Vec<&str> {
    let value = |i: usize| i > 0 && rest[i - 1] == "--rounds";
    let name = |(i, a): (usize, &'_ String)| !a.starts_with('-') && !value(i);
    rest.iter().enumerate().filter(|&p| name(p)).map(|(_, a)| a.as_str()).collect()
}

fn get_peers(names: &[&str]) {
    let is_chosen = |bench: &str| names.iter().any(|n| *n == bench || *n == "all") || names.is_empty() && bench == "uncontended";
    for (bench, needs) in PEERS.iter().filter(|(bench, _)| is_chosen(bench)) {
        for need in *needs {
            if let Err(f) = need.satisfy() {
                println!("a peer of `{bench}` will not be measured: {}", f.text);
            }
        }
    }
    if is_chosen("uncontended")
        && let Err(f) = get_filelock()
    {
        println!("a peer of `uncontended` will not be measured: {}", f.text);
    }
}

/// Python's `filelock`, from PyPI, in an environment of its own.
fn get_filelock() -> Result<(), Failure> {
    let dir = target().join("bench/venv");
    let python = dir.join("bin/python3");
    let has = || python.exists() && Job::built(&python).args(["-c", "import filelock"]).quiet().output("python3").is_ok();
    if has() {
        return Ok(());
    }
    println!("making an environment for Python's `filelock` in {}", dir.display());
    Job::named("python3").args(["-m", "venv"]).arg(&dir).must("python3 -m venv")?;
    Job::built(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "filelock"]).must("pip")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_an_option_is_no_name() {
        let words = ["--rounds", "7", "open", "cli"].map(str::to_owned);
        assert_eq!(names(&words), ["open", "cli"]);
        assert!(names(&words[..2]).is_empty());
    }
}
