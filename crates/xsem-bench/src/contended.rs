//! Many processes, one lock: what they get done together, and how long the unluckiest one waits.

use crate::Options;
use crate::child::{Board, Helper};
use crate::goals::Goal;
use crate::lock::Lock;
use crate::plot::{Across, Line, Plot};
use crate::report::{Report, Table, Unit};
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
const CROWDS: [usize; 8] = [1, 2, 4, 8, 16, 24, 32, 64];
/// Those that the goals are about.
const GOALS: [usize; 3] = [2, 8, 24];
const XSEM: &str = "xsem Exclusive";
const ROBUST: &str = "robust mutex";

pub fn run(options: &Options) -> io::Result<Report> {
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let mut tables = Vec::new();
    let mut goals = [Vec::new(), Vec::new()];
    let mut lines: [Vec<Line>; 2] = Default::default();
    for crowd in CROWDS {
        let processes = if crowd == 1 { "1 process".to_owned() } else { format!("{crowd} processes") };
        let [rates, waits] = of_crowd(crowd, rounds)?;
        add(&mut lines[0], crowd, &rates, |s| 1e3 / s.median());
        add(&mut lines[1], crowd, &waits, |s| s.median() / 1e6);
        let rates = Table::new(format!("{processes}, per acquisition"), Unit::Nanoseconds, rates).against(&[ROBUST]);
        let waits = Table::new(format!("{processes}, longest wait"), Unit::Milliseconds, waits).against(&[ROBUST]);
        if GOALS.contains(&crowd) {
            let faster = rates.ratio(ROBUST, XSEM);
            goals[0].push(Goal::at_least(2.0, format!("throughput of {processes}, x robust mutex"), faster));
            let longest = waits.ratio(XSEM, ROBUST);
            goals[1].push(Goal::at_most(0.1, format!("longest wait of {processes}, x robust mutex"), longest));
        }
        tables.extend([rates, waits]);
    }
    let plot = |file, title: &str, y: &str, lines| Plot {
        file,
        title: title.to_owned(),
        x: Across::Each("processes".to_owned()),
        y: y.to_owned(),
        lines,
    };
    let [rates, waits] = lines;
    Ok(Report {
        title: "contended: many processes, one lock, critical sections of 100 ns".to_owned(),
        how: format!(
            "{rounds} rounds in turn of {} ms; per acquisition: time of the whole crowd by its acquisitions; longest wait: \
             between two acquisitions of one process",
            SLICE.as_millis()
        ),
        tables,
        goals: goals.concat(),
        plots: vec![
            plot("throughput", "Throughput of one lock, sections of 100 ns", "million acquisitions a second", rates),
            plot("longest-wait", "The longest wait of anybody within 0.3 s", "ms", waits),
        ],
    })
}

/// A point for each lock.
fn add(lines: &mut Vec<Line>, crowd: usize, series: &[Series], value: impl Fn(&Series) -> f64) {
    for s in series {
        let at = lines.iter().position(|l| l.name == s.name).unwrap_or_else(|| {
            lines.push(Line { name: s.name.clone(), points: Vec::new() });
            lines.len() - 1
        });
        lines[at].points.push((crowd as f64, value(s)));
    }
}

/// Times per acquisition, and longest waits, of each lock.
fn of_crowd(crowd: usize, rounds: usize) -> io::Result<[Vec<Series>; 2]> {
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let _made = Lock::create(dir.path())?;
    let board = Shared::<Board>::map(&dir.path().join("board"))?;
    let locks = Lock::all(dir.path())?;
    board.steps.store(steps_of(SECTION_NS), Ordering::SeqCst);
    let mut children = (0..crowd).map(|_| Helper::start(dir.path(), 0)).collect::<io::Result<Vec<_>>>()?;
    let empty = || locks.iter().map(|l| Series::new(l.name())).collect::<Vec<_>>();
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
