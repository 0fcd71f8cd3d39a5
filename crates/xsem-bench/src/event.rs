//! Events: a signal that nobody waits for, one that somebody waits for, and one for a crowd.

use crate::Options;
use crate::bell::{Bell, Bells};
use crate::child::{Board, Helper};
use crate::goals::Goal;
use crate::lock::Lock;
use crate::report::{Report, Table, Unit};
use crate::rounds::{self, Contestant, Series};
use crate::shared::{Shared, now};
use std::cell::RefCell;
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::{hint, io, thread};

const ROUNDS: usize = 100;
const SLICE: Duration = Duration::from_millis(2);
/// Long enough for some thousand signals to go to and fro.
const HANDOVERS: Duration = Duration::from_millis(20);
/// Until those who wait are surely asleep; the same for all.
const ASLEEP: Duration = Duration::from_millis(2);
const CROWDS: [(usize, &str); 3] =
    [(1, "signal until 1 is awake"), (8, "signal until 8 are awake"), (64, "signal until 64 are awake")];
const AGAINST: [&str; 2] = ["raw futex", "eventfd"];
const XSEM: &str = "xsem Event";

pub fn run(options: &Options) -> io::Result<Report> {
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let _made = Lock::create(dir.path())?;
    let board = Shared::<Board>::map(&dir.path().join("board"))?;
    let bells = Bells::create(dir.path())?;

    let table = |title, unit, series| Table::new(title, unit, series).against(&AGAINST);
    let alone = |of: &[Bell], work: fn(&Bell)| {
        let each = |bell| Contestant::new(Bell::name(bell), move |n| (0..n).for_each(|_| work(black_box(bell))));
        rounds::run(&mut of.iter().map(each).collect::<Vec<_>>(), SLICE, rounds)
    };
    let both = alone(&bells.ping, |b| {
        b.signal();
        b.wait_auto();
    });
    let change = alone(&bells.all, |b| {
        b.signal();
        b.reset();
    });
    let mut tables = vec![
        table("auto: signal + wait, one thread", Unit::Nanoseconds, both),
        table("manual: signal + reset, nobody waits", Unit::Nanoseconds, change),
        table("auto: one way to a sleeping process", Unit::Microseconds, to_and_fro(dir.path(), &bells, rounds)?),
    ];
    for (crowd, title) in CROWDS {
        let series = wake(crowd, dir.path(), &board, &bells, rounds)?;
        tables.push(table(title, Unit::Microseconds, series));
    }
    let goals = vec![
        Goal::at_most(0.5, "signal + wait in one thread, x eventfd", tables[0].ratio(XSEM, "eventfd")),
        Goal::at_most(1.4, "one way to a sleeping process, x raw futex", tables[2].ratio(XSEM, "raw futex")),
    ];
    Ok(Report {
        title: "event: signal and wait".to_owned(),
        how: format!(
            "{rounds} rounds in turn, unpinned; one way is half of a round trip; those who are to be woken have slept for {} ms, \
             and the last of them counts",
            ASLEEP.as_millis()
        ),
        tables,
        goals,
        plots: Vec::new(),
    })
}

/// Half a round trip between two processes, of which one always sleeps.
fn to_and_fro(dir: &Path, bells: &Bells, rounds: usize) -> io::Result<Vec<Series>> {
    let child = RefCell::new(Helper::start(dir, 0)?);
    let rally = |ping: &Bell, pong: &Bell, n: u64| {
        let mut child = child.borrow_mut();
        child.tell(&format!("pong {} {n}", ping.name())).expect("it listens");
        for _ in 0..n {
            ping.signal();
            pong.wait_auto();
        }
        child.answer().expect("it answers");
    };
    let pairs = bells.ping.iter().zip(&bells.pong);
    let mut contestants: Vec<_> = pairs.map(|(ping, pong)| Contestant::new(ping.name(), move |n| rally(ping, pong, n))).collect();
    let mut series = rounds::run(&mut contestants, HANDOVERS, rounds);
    drop(contestants);
    child.into_inner().end()?;
    series.iter_mut().flat_map(|s| &mut s.samples).for_each(|ns| *ns /= 2.0);
    Ok(series)
}

/// From the signal of a manual event to the last of `crowd` sleeping processes.
fn wake(crowd: usize, dir: &Path, board: &Board, bells: &Bells, rounds: usize) -> io::Result<Vec<Series>> {
    let mut children = (0..crowd).map(|_| Helper::start(dir, 0)).collect::<io::Result<Vec<_>>>()?;
    let mut series: Vec<_> = bells.all.iter().map(|b| Series::new(b.name())).collect();
    // The first round is to warm up.
    for round in 0..=rounds {
        for i in 0..bells.all.len() {
            let at = (i + round) % bells.all.len();
            let ns = once(&bells.all[at], board, &mut children)?;
            if round > 0 {
                series[at].samples.push(ns);
            }
        }
    }
    children.into_iter().try_for_each(Helper::end)?;
    Ok(series)
}

fn once(bell: &Bell, board: &Board, children: &mut [Helper]) -> io::Result<f64> {
    for word in [&board.ready, &board.worst] {
        word.store(0, Ordering::SeqCst);
    }
    for child in &mut *children {
        child.tell(&format!("wait {}", bell.name()))?;
    }
    while board.ready.load(Ordering::SeqCst) < children.len() as u64 {
        thread::yield_now();
    }
    // Awake, so that the signal does not begin with this core's own wake-up.
    thread::sleep(ASLEEP / 2);
    let start = Instant::now();
    while start.elapsed() < ASLEEP / 2 {
        hint::spin_loop();
    }
    let signalled = now();
    bell.signal();
    children.iter_mut().try_for_each(Helper::answer)?;
    bell.reset();
    Ok((board.worst.load(Ordering::SeqCst) - signalled) as f64)
}

/// The child's side: `pong NAME N` or `wait NAME`.
pub fn serve(bells: &Bells, board: &Board, words: &[&str]) -> io::Result<()> {
    let find = |list: &[Bell], name: &str| list.iter().position(|b| b.name() == name);
    let unknown = || io::Error::other(format!("not a command about events: {words:?}"));
    match words {
        ["pong", name @ .., n] => {
            let at = find(&bells.ping, &name.join(" ")).ok_or_else(unknown)?;
            for _ in 0..n.parse::<u64>().map_err(io::Error::other)? {
                bells.ping[at].wait_auto();
                bells.pong[at].signal();
            }
        }
        ["wait", name @ ..] => {
            let at = find(&bells.all, &name.join(" ")).ok_or_else(unknown)?;
            board.ready.fetch_add(1, Ordering::SeqCst);
            bells.all[at].wait_manual();
            board.worst.fetch_max(now(), Ordering::SeqCst);
        }
        _ => return Err(unknown()),
    }
    Ok(())
}
