//! From the SIGKILL of an owner to the next one.

use super::LOCK;
use super::child::Other;
use super::place::{Raw, exclusive, failed, session};
use crate::cli;
use crate::report::{Table, Unit};
use crate::rounds::Series;
use crate::shared::now;
use std::io;
use std::thread;
use std::time::Duration;
use xsem::{AcquireError, Namespace};

pub const GUARDED: &str = "xsem, a guardian";
const ALONE: &str = "xsem, no guardian, a lease of 2 s";
const THEIRS: &str = "etcd's lock(), a lease of 2 s";

/// The guardian needs some milliseconds after the first claim.
const POSTED: Duration = Duration::from_millis(100);
/// Of those that wait for a lease's end.
const PART: usize = 10;

pub fn table(url: &str, rounds: usize) -> io::Result<Table> {
    debug_assert!(THEIRS.starts_with(LOCK), "the names of the tables are alike");
    let (ns, raw) = (session(url)?, Raw::open(url)?);
    let guardian = cli::xsem()?;
    let short = url.replace("?guardian=none", "?ttl=2&guardian=none");
    let guarded = url.replace("?guardian=none", &format!("?ttl=10&guardian={}", guardian.display()));
    let mut series = [GUARDED, ALONE, THEIRS].map(Series::new);
    for round in 0..rounds {
        series[0].samples.push(ours(&ns, &guarded)?);
        if round % PART == 0 {
            series[1].samples.push(ours(&ns, &short)?);
            series[2].samples.push(theirs(&raw, &short)?);
        }
    }
    ns.remove("death/x").map_err(failed)?;
    Ok(Table::new("death to the next owner", Unit::Milliseconds, series.into()).tails())
}

fn ours(ns: &Namespace, url: &str) -> io::Result<f64> {
    let mut other = Other::start(url)?;
    other.tell("hold xsem death/x")?;
    other.answer()?;
    let x = exclusive(ns, "death/x")?;
    thread::scope(|s| {
        let waiter = s.spawn(|| match x.acquire() {
            Err(AcquireError::OwnerDied(heir)) => {
                let at = now();
                heir.mark_consistent().and_then(|guard| guard.release()).map(|()| at).map_err(failed)
            }
            Ok(_) => Err(failed("nobody was told that the owner had died")),
            Err(e) => Err(failed(xsem::Error::from(e))),
        });
        while ns.inspect("death/x").map_err(failed)?.waiters.is_empty() {
            thread::sleep(Duration::from_millis(2));
        }
        thread::sleep(POSTED);
        let killed = other.kill()?;
        let owned = waiter.join().expect("it does not panic")?;
        Ok(owned.saturating_sub(killed) as f64)
    })
}

fn theirs(raw: &Raw, url: &str) -> io::Result<f64> {
    let mut other = Other::start(url)?;
    other.tell("hold lock death/lock")?;
    other.answer()?;
    thread::scope(|s| {
        let waiter = s.spawn(|| {
            let key = raw.lock("death/lock");
            let at = now();
            raw.unlock(key);
            at
        });
        while raw.queued("death/lock") < 2 {
            thread::sleep(Duration::from_millis(2));
        }
        thread::sleep(POSTED);
        let killed = other.kill()?;
        Ok(waiter.join().expect("it does not panic").saturating_sub(killed) as f64)
    })
}
