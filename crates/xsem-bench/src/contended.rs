//! Many processes, one lock: what they get done together, and how long the unluckiest one waits.

use crate::Options;
use crate::child::{Board, Helper};
use crate::lock::Lock;
use crate::report::{Goal, Report, Table, Unit};
use crate::rounds::Series;
use crate::shared::{Shared, now};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

const ROUNDS: usize = 5;
const SLICE: Duration = Duration::from_millis(300);
/// The length of a critical section.
const SECTION_NS: f64 = 100.0;
const CROWDS: [(usize, &str, &str); 5] = [
    (1, "1 process, per acquisition", "1 process, longest wait"),
    (2, "2 processes, per acquisition", "2 processes, longest wait"),
    (8, "8 processes, per acquisition", "8 processes, longest wait"),
    (24, "24 processes, per acquisition", "24 processes, longest wait"),
    (64, "64 processes, per acquisition", "64 processes, longest wait"),
];
/// Crowds that the goals are about: one process meets nobody.
const MEET: usize = 2;
const XSEM: &str = "xsem Exclusive";
const ROBUST: &str = "robust mutex";

pub fn run(options: &Options) -> io::Result<Report> {
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let mut tables = Vec::new();
    for (crowd, rate, wait) in CROWDS {
        let [rates, waits] = of_crowd(crowd, rounds)?;
        tables.push(Table { title: rate, unit: Unit::Nanoseconds, series: rates, against: vec![ROBUST] });
        tables.push(Table { title: wait, unit: Unit::Milliseconds, series: waits, against: vec![ROBUST] });
    }
    let worst = |tables: &[Table], first: usize| {
        let ratios = tables.iter().skip(MEET + first).step_by(2).map(|t| t.ratio(XSEM, ROBUST));
        ratios.collect::<Option<Vec<_>>>().and_then(|r| r.into_iter().reduce(f64::max))
    };
    let goals = vec![
        Goal { text: "time per acquisition at the worst of the crowds, x robust mutex", limit: 0.5, value: worst(&tables, 0) },
        Goal { text: "longest wait at the worst of the crowds, x robust mutex", limit: 0.1, value: worst(&tables, 1) },
    ];
    Ok(Report {
        title: "contended: many processes, one lock, critical sections of 100 ns".to_owned(),
        how: format!(
            "{rounds} rounds in turn of {} ms; per acquisition: time of the whole crowd by its acquisitions; longest wait: \
             between two acquisitions of one process",
            SLICE.as_millis()
        ),
        tables,
        goals,
    })
}

/// Times per acquisition, and longest waits, of each lock.
fn of_crowd(crowd: usize, rounds: usize) -> io::Result<[Vec<Series>; 2]> {
    let dir = tempfile::tempdir_in("/dev/shm")?;
    Lock::create(dir.path())?;
    let board = Shared::<Board>::map(&dir.path().join("board"))?;
    let locks = Lock::all(dir.path())?;
    board.steps.store(steps_of(SECTION_NS), Ordering::SeqCst);
    let mut children = (0..crowd).map(|_| Helper::start(dir.path(), 0)).collect::<io::Result<Vec<_>>>()?;
    let empty = || locks.iter().map(|l| Series { name: l.name(), samples: Vec::new() }).collect::<Vec<_>>();
    let (mut rates, mut waits) = (empty(), empty());
    for round in 0..rounds {
        for i in 0..locks.len() {
            let at = (i + round) % locks.len();
            for word in [&board.phase, &board.ready, &board.total, &board.worst] {
                word.store(0, Ordering::SeqCst);
            }
            for child in &mut children {
                child.tell(&format!("hammer {}", locks[at].name()))?;
            }
            while board.ready.load(Ordering::SeqCst) < crowd as u64 {
                thread::sleep(Duration::from_millis(1));
            }
            let start = Instant::now();
            board.phase.store(1, Ordering::SeqCst);
            thread::sleep(SLICE);
            board.phase.store(2, Ordering::SeqCst);
            let took = start.elapsed();
            for child in &mut children {
                child.answer()?;
            }
            rates[at].samples.push(took.as_nanos() as f64 / board.total.load(Ordering::SeqCst) as f64);
            waits[at].samples.push(board.worst.load(Ordering::SeqCst) as f64);
        }
    }
    children.into_iter().try_for_each(Helper::end)?;
    Ok([rates, waits])
}

/// The child's part.
pub fn hammer(lock: &Lock, board: &Board) {
    let steps = board.steps.load(Ordering::SeqCst);
    board.ready.fetch_add(1, Ordering::SeqCst);
    while board.phase.load(Ordering::SeqCst) == 0 {
        thread::sleep(Duration::from_micros(100));
    }
    let (mut count, mut worst, mut last) = (0, 0, now());
    while board.phase.load(Ordering::Relaxed) == 1 {
        lock.acquire();
        let at = now();
        (worst, last) = (worst.max(at - last), at);
        work(&board.work, steps);
        lock.release();
        count += 1;
    }
    board.total.fetch_add(count, Ordering::SeqCst);
    board.worst.fetch_max(worst, Ordering::SeqCst);
}

/// Reads, computes for a while, writes.
fn work(on: &AtomicU64, steps: u64) {
    let mut x = on.load(Ordering::Relaxed);
    for _ in 0..steps {
        x = black_box(x.wrapping_mul(3));
    }
    on.store(x, Ordering::Relaxed);
}

/// How many steps take so long on this machine.
fn steps_of(ns: f64) -> u64 {
    let (word, steps) = (AtomicU64::new(1), 10_000_000);
    let start = Instant::now();
    work(&word, steps);
    (ns * steps as f64 / start.elapsed().as_nanos() as f64).round().max(1.0) as u64
}
