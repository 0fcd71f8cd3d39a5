//! Many sessions of one process: a queue that is drained, a pool that all want.

use super::LOCK;
use super::place::{Raw, exclusive, failed, session};
use crate::report::{Table, Unit};
use crate::rounds::Series;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use xsem::{Counting, Exclusive, Namespace};

const WAITERS: usize = 100;
pub const XSEM: &str = "xsem";
/// Rounds are seconds here.
const PART: usize = 10;
const SLICE: Duration = Duration::from_millis(700);
const CLIENTS: [usize; 3] = [4, 16, 64];
const LIMIT: u32 = 4;

/// Each gets it and gives it back at once: from the first release to the last one's.
pub fn drained(url: &str, rounds: usize) -> io::Result<Table> {
    let ns = session(url)?;
    let x = exclusive(&ns, "crowd/x")?;
    let sessions = (0..WAITERS).map(|_| session(url)).collect::<io::Result<Vec<_>>>()?;
    let waiters = sessions.iter().map(|ns| exclusive(ns, "crowd/x")).collect::<io::Result<Vec<_>>>()?;
    let raw = (0..=WAITERS).map(|_| Raw::open(url)).collect::<io::Result<Vec<_>>>()?;
    let mut series = [Series::new(XSEM), Series::new(LOCK)];
    for round in 0..=rounds.div_ceil(PART) {
        for at in [round % 2, (round + 1) % 2] {
            let took = if at == 0 { ours(&ns, &x, &waiters)? } else { theirs(&raw) };
            if round > 0 {
                series[at].samples.push(took.as_nanos() as f64);
            }
        }
    }
    drop((waiters, x));
    ns.remove("crowd/x").map_err(failed)?;
    Ok(Table::new(format!("{WAITERS} waiters drained"), Unit::Milliseconds, series.into()).against(&[LOCK]))
}

fn ours(ns: &Namespace, x: &Exclusive, waiters: &[Exclusive]) -> io::Result<Duration> {
    let guard = x.acquire().map_err(|e| failed(xsem::Error::from(e)))?;
    thread::scope(|s| {
        for x in waiters {
            s.spawn(|| x.acquire().expect("it is granted").release().expect("it was owned"));
        }
        while ns.inspect("crowd/x").map_err(failed)?.waiters.len() < waiters.len() {
            thread::sleep(Duration::from_millis(5));
        }
        let start = Instant::now();
        guard.release().map_err(failed)?;
        Ok(start)
    })
    .map(|start| start.elapsed())
}

fn theirs(all: &[Raw]) -> Duration {
    let (first, rest) = all.split_first().expect("there is one");
    let key = first.lock("crowd/lock");
    let start = thread::scope(|s| {
        for raw in rest {
            s.spawn(|| raw.unlock(raw.lock("crowd/lock")));
        }
        while first.queued("crowd/lock") < all.len() as i64 {
            thread::sleep(Duration::from_millis(5));
        }
        let start = Instant::now();
        first.unlock(key);
        start
    });
    start.elapsed()
}

/// The row of so many clients.
pub fn clients(n: usize) -> String {
    format!("{n} clients")
}

/// The time for each acquisition of one of four permits, all clients together.
pub fn counting(url: &str, rounds: usize) -> io::Result<Table> {
    let ns = session(url)?;
    let made = Counting::open_or_create_pool(&ns, "crowd/pool", LIMIT).map_err(failed)?;
    let sessions = (0..CLIENTS[CLIENTS.len() - 1]).map(|_| session(url)).collect::<io::Result<Vec<_>>>()?;
    let pools = sessions.iter().map(|ns| Counting::open(ns, "crowd/pool").map_err(failed)).collect::<io::Result<Vec<_>>>()?;
    let mut series: Vec<_> = CLIENTS.iter().map(|n| Series::new(clients(*n))).collect();
    for round in 0..=rounds.div_ceil(PART) {
        for (i, n) in CLIENTS.iter().enumerate() {
            let took = hammered(&pools[..*n]);
            if round > 0 {
                series[i].samples.push(took);
            }
        }
    }
    drop((pools, made));
    ns.remove("crowd/pool").map_err(failed)?;
    Ok(Table::new(format!("a pool of {LIMIT}, per acquisition of all"), Unit::Microseconds, series))
}

fn hammered(pools: &[Counting]) -> f64 {
    let (total, began, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|s| {
        for p in pools {
            s.spawn(|| {
                let mut first = true;
                while !over.load(Ordering::Relaxed) {
                    p.acquire().expect("it is granted").release().expect("it was owned");
                    total.fetch_add(1, Ordering::Relaxed);
                    began.fetch_add(u64::from(std::mem::take(&mut first)), Ordering::Relaxed);
                }
            });
        }
        // All that begin in one instant are another matter than the same number that are at it.
        while began.load(Ordering::Relaxed) < pools.len() as u64 {
            thread::sleep(Duration::from_millis(1));
        }
        let (start, before) = (Instant::now(), total.load(Ordering::Relaxed));
        thread::sleep(SLICE);
        // What was acquired until now; who still waits then is not counted.
        let (took, done) = (start.elapsed(), total.load(Ordering::Relaxed) - before);
        over.store(true, Ordering::Relaxed);
        took.as_nanos() as f64 / done.max(1) as f64
    })
}
