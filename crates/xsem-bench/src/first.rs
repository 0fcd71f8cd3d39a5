//! What a new process pays before it owns something: opening, and the first acquire, with which it becomes a member.

use crate::peers::file::FileLock;
use crate::peers::named::{self, Named};
use crate::peers::pthread::Mutex;
use crate::report::{Table, Unit};
use crate::rounds::Series;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use std::{env, io};
use xsem::{Exclusive, Namespace};

/// The hidden first argument of the new processes; `DIR` and the number of the peer follow.
pub const FLAG: &str = "__first";

const PEERS: [&str; 4] = ["xsem Exclusive", "robust mutex", "sem_open", "flock"];
const SEM: &str = "sem_open";

/// Three tables: opening, the first acquire, the second.
pub fn tables(rounds: usize) -> io::Result<Vec<Table>> {
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let ns = Namespace::open(&url(dir.path())).map_err(io::Error::other)?;
    let kept = Exclusive::create(&ns, "a/lock").map_err(io::Error::other)?;
    // Somebody else is a member already, so that the file has room for members.
    drop(kept.acquire().map_err(|e| io::Error::other(e.to_string()))?);
    Mutex::create(&dir.path().join("robust"), true)?;
    let name = named::name("first");
    let posix = Named::create(&name)?;
    let mut steps: [Vec<Series>; 3] = std::array::from_fn(|_| PEERS.map(Series::new).into());
    for round in 0..=rounds {
        for i in 0..PEERS.len() {
            let at = (i + round) % PEERS.len();
            let took = once(dir.path(), at, &name);
            for (series, ns) in steps.iter_mut().zip(took.inspect_err(|_| named::unlink(&name))?) {
                // The first round brings the program into memory.
                if round > 0 {
                    series[at].samples.push(ns);
                }
            }
        }
    }
    named::unlink(&name);
    drop(posix);
    let titles = ["a new process: opens it", "its first acquire + release", "its second acquire + release"];
    let table = |(title, series)| Table::new(title, Unit::Microseconds, series).against(&["robust mutex", SEM]);
    Ok(titles.into_iter().zip(steps).map(table).collect())
}

fn once(dir: &Path, peer: usize, name: &CString) -> io::Result<[f64; 3]> {
    let mut command = Command::new(env::current_exe()?);
    command.arg(FLAG).arg(dir).arg(peer.to_string()).arg(name.to_str().map_err(io::Error::other)?);
    let out = command.output()?;
    let text = String::from_utf8_lossy(&out.stdout);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    numbers.try_into().map_err(|_| io::Error::other(format!("{}: {}", PEERS[peer], String::from_utf8_lossy(&out.stderr).trim())))
}

/// The new process: prints three numbers, in nanoseconds.
pub fn main(args: &[String]) -> ExitCode {
    let [dir, peer, name] = args else { return ExitCode::from(2) };
    match measure(Path::new(dir), peer, name) {
        Ok(took) => {
            println!("{} {} {}", took[0], took[1], took[2]);
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn measure(dir: &Path, peer: &str, name: &str) -> io::Result<[u128; 3]> {
    match peer {
        "0" => times(
            || {
                let ns = Namespace::open(&url(dir)).map_err(io::Error::other)?;
                Exclusive::open(&ns, "a/lock").map_err(io::Error::other)
            },
            |sem| sem.acquire().is_ok(),
        ),
        "1" => times(|| Mutex::open(&dir.join("robust")), |m| m.lock() == 0 && m.unlock() == 0),
        "2" => {
            let name = CString::new(name)?;
            times(|| Named::open(&name), |s| s.wait() == 0 && s.post() == 0)
        }
        _ => {
            let path: PathBuf = dir.join("flock");
            times(|| FileLock::open(&path), |f| f.flock(libc::LOCK_EX) == 0 && f.flock(libc::LOCK_UN) == 0)
        }
    }
}

fn times<T>(open: impl FnOnce() -> io::Result<T>, pair: impl Fn(&T) -> bool) -> io::Result<[u128; 3]> {
    let start = Instant::now();
    let it = open()?;
    let opened = start.elapsed();
    let of_a_pair = || {
        let start = Instant::now();
        let done = pair(&it);
        let took = start.elapsed();
        if done { Ok(took.as_nanos()) } else { Err(io::Error::last_os_error()) }
    };
    Ok([opened.as_nanos(), of_a_pair()?, of_a_pair()?])
}

fn url(dir: &Path) -> String {
    format!("shm:{}", dir.join("ns").display())
}
