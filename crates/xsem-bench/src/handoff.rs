//! From a release to a sleeping process that owns the lock: one way, one waiter.

use crate::Options;
use crate::child::{Board, Helper};
use crate::goals::Goal;
use crate::lock::Lock;
use crate::plot::{Across, Line, Plot};
use crate::report::{Report, Table, Unit};
use crate::rounds::Series;
use crate::shared::{Shared, now};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::{hint, io, thread};

const ROUNDS: usize = 700;
/// Until the waiter is surely asleep; the same for all, and nothing that anybody has as a timer: one that ends at the instant of the
/// release is no handoff.
const ASLEEP: Duration = Duration::from_millis(3);
const RAW: &str = "raw futex";

pub fn run(options: &Options) -> io::Result<Report> {
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let _made = Lock::create(dir.path())?;
    let board = Shared::<Board>::map(&dir.path().join("board"))?;
    let locks = Lock::all(dir.path())?;
    let mut child = Helper::start(dir.path(), 0)?;
    let mut series: Vec<_> = locks.iter().map(|l| Series::new(l.name())).collect();
    // The first round is to warm up.
    for round in 0..=rounds {
        for i in 0..locks.len() {
            let at = (i + round) % locks.len();
            let ns = once(&locks[at], &board, &mut child)?;
            if round > 0 {
                series[at].samples.push(ns);
            }
        }
    }
    child.end()?;
    let table = Table::new("release to ownership", Unit::Microseconds, series).against(&[RAW, "robust mutex"]).tails();
    let goals = vec![Goal::at_most(1.4, "handoff between two processes, x raw futex", table.ratio("xsem Exclusive", RAW))];
    let plot = distribution(&table, rounds);
    Ok(Report {
        title: "handoff: from a release to the sleeping process that owns it then".to_owned(),
        how: format!("{rounds} rounds in turn, unpinned; the waiter has slept for {} ms", ASLEEP.as_millis()),
        tables: vec![table],
        goals,
        plots: vec![plot],
    })
}

/// How many take how long: quantiles, up to one that is made of ten samples at least.
fn distribution(table: &Table, rounds: usize) -> Plot {
    let parts = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999];
    let known = |p: &f64| *p == 0.0 || (1.0 - p) * rounds as f64 >= 10.0;
    let line = |s: &Series| {
        let points = parts.into_iter().filter(known).map(|p| (p, s.quantile(p) / 1e3)).collect();
        Line { name: s.name.clone(), points }
    };
    Plot {
        file: "handoff",
        title: "From a release to the sleeping process that owns it".to_owned(),
        x: Across::Nines("so many handoffs take at most".to_owned()),
        y: "us".to_owned(),
        lines: table.series.iter().map(line).collect(),
    }
}

fn once(lock: &Lock, board: &Board, child: &mut Helper) -> io::Result<f64> {
    lock.acquire();
    board.ready.store(0, Ordering::SeqCst);
    child.tell(&format!("handoff {}", lock.name()))?;
    while board.ready.load(Ordering::SeqCst) == 0 {
        hint::spin_loop();
    }
    // Awake, so that the release does not begin with this core's own wake-up.
    thread::sleep(ASLEEP / 2);
    let start = Instant::now();
    while start.elapsed() < ASLEEP / 2 {
        hint::spin_loop();
    }
    board.released.store(now(), Ordering::SeqCst);
    lock.release();
    child.answer()?;
    Ok(board.latency.load(Ordering::SeqCst) as f64)
}
