//! From a release to a sleeping process that owns the lock: one way, one waiter.

use crate::Options;
use crate::child::{Board, Helper};
use crate::lock::Lock;
use crate::report::{Goal, Report, Table, Unit};
use crate::rounds::Series;
use crate::shared::{Shared, now};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::{hint, io, thread};

const ROUNDS: usize = 300;
/// Until the waiter is surely asleep; the same for all.
const ASLEEP: Duration = Duration::from_millis(1);

pub fn run(options: &Options) -> io::Result<Report> {
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let dir = tempfile::tempdir_in("/dev/shm")?;
    Lock::create(dir.path())?;
    let board = Shared::<Board>::map(&dir.path().join("board"))?;
    let locks = Lock::all(dir.path())?;
    let mut child = Helper::start(dir.path(), 0)?;
    let mut series: Vec<_> = locks.iter().map(|l| Series { name: l.name(), samples: Vec::new() }).collect();
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
    let table =
        Table { title: "release to ownership", unit: Unit::Microseconds, series, against: vec!["raw futex", "robust mutex"] };
    Ok(Report {
        title: "handoff: from a release to the sleeping process that owns it then".to_owned(),
        how: format!("{rounds} rounds in turn, unpinned; the waiter has slept for {} ms", ASLEEP.as_millis()),
        goals: vec![Goal { text: "handoff, x raw futex", limit: 1.4, value: table.ratio("xsem Exclusive", "raw futex") }],
        tables: vec![table],
    })
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
