//! From before a release to another process that owns it.

use super::child::Other;
use super::place::{Raw, exclusive, failed, session};
use super::{LOCK, RAW};
use crate::report::{Table, Unit};
use crate::rounds::Series;
use crate::shared::now;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use xsem::Namespace;
use xsem_testkit::etcd::Proxy;

pub const XSEM: &str = "xsem: release to ownership";
/// By an owner that has not waited for anything before.
const FIRST: &str = "xsem: the same, the first contention of the owner's process";
const THEIRS: &str = LOCK;

/// The waiter stands in the queue for so long, so that its watch is there.
const ASLEEP: Duration = Duration::from_millis(3);
/// Between two writes of somebody who has nothing to do with it.
const PAUSE: Duration = Duration::from_millis(1);

/// From a client at one place to one at another.
pub fn quiet(title: &str, from: &str, to: &str, rounds: usize) -> io::Result<Table> {
    let (ns, raw, mut other) = (session(from)?, Raw::open(from)?, Other::start(to)?);
    // A process listens from its first exclusive claim or wait on, and that takes a moment. Both sides have done so here; the first contention
    // of a process is a row of its own.
    waited_once(from, &ns, &mut other)?;
    let mut series = [RAW, XSEM, FIRST, THEIRS].map(Series::new);
    for round in 0..=rounds {
        for i in 0..series.len() {
            let at = (i + round) % series.len();
            let took = match at {
                0 => {
                    let start = Instant::now();
                    raw.put("handoff/raw");
                    start.elapsed().as_nanos() as f64
                }
                1 => ours(&ns, &mut other)?,
                2 => ours(&session(from)?, &mut other)?,
                _ => theirs(&raw, &mut other)?,
            };
            // The first round is to warm up.
            if round > 0 {
                series[at].samples.push(took);
            }
        }
    }
    other.end()?;
    ns.remove("handoff/x").map_err(failed)?;
    Ok(Table::new(title, Unit::Microseconds, series.into()).against(&[RAW, THEIRS]).tails())
}

/// The same while somebody writes other keys.
pub fn with_writes(title: &str, url: &str, rounds: usize) -> io::Result<Table> {
    let (writer, over) = (Raw::open(url)?, AtomicBool::new(false));
    thread::scope(|s| {
        s.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                writer.put("handoff/unrelated");
                thread::sleep(PAUSE);
            }
        });
        let done = quiet(title, url, url, rounds);
        over.store(true, Ordering::Relaxed);
        done
    })
}

/// The same to a server that is far away.
pub fn delayed(title: &str, port: u16, rounds: usize) -> io::Result<Table> {
    let proxy = Proxy::to(port);
    proxy.delay(Duration::from_millis(5));
    let url = proxy.url("bench/far?guardian=none");
    quiet(title, &url, &url, rounds.div_ceil(2))
}

fn waited_once(url: &str, ns: &Namespace, other: &mut Other) -> io::Result<()> {
    let keeper = session(url)?;
    let guard = exclusive(&keeper, "handoff/x")?;
    let guard = guard.acquire().map_err(|e| failed(xsem::Error::from(e)))?;
    let x = exclusive(ns, "handoff/x")?;
    thread::scope(|s| {
        let waiter = s.spawn(|| x.acquire().map(drop).map_err(|e| failed(xsem::Error::from(e))));
        other.tell("xsem handoff/x")?;
        while ns.inspect("handoff/x").map_err(failed)?.waiters.len() < 2 {
            thread::sleep(Duration::from_millis(1));
        }
        guard.release().map_err(failed)?;
        waiter.join().expect("it does not panic")
    })?;
    other.answer().map(drop)
}

fn ours(ns: &Namespace, other: &mut Other) -> io::Result<f64> {
    let x = exclusive(ns, "handoff/x")?;
    let guard = x.acquire().map_err(|e| failed(xsem::Error::from(e)))?;
    other.tell("xsem handoff/x")?;
    while ns.inspect("handoff/x").map_err(failed)?.waiters.is_empty() {
        thread::yield_now();
    }
    thread::sleep(ASLEEP);
    let before = now();
    guard.release().map_err(failed)?;
    Ok(other.answer()?.saturating_sub(before) as f64)
}

fn theirs(raw: &Raw, other: &mut Other) -> io::Result<f64> {
    let key = raw.lock("handoff/lock");
    other.tell("lock handoff/lock")?;
    while raw.queued("handoff/lock") < 2 {
        thread::yield_now();
    }
    thread::sleep(ASLEEP);
    let before = now();
    raw.unlock(key);
    Ok(other.answer()?.saturating_sub(before) as f64)
}
