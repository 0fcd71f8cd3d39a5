//! From the SIGKILL of an owner to the process that waited and owns it then.

use crate::Options;
use crate::child::{Board, Helper};
use crate::goals::Goal;
use crate::lock::Lock;
use crate::plot::{Across, Line, Plot};
use crate::report::{Report, Table, Unit};
use crate::rounds::Series;
use crate::shared::{Shared, now};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::{io, thread};

const ROUNDS: usize = 25;
/// Dead processes of the usual size, in which the peers are told apart, die more often.
const SMALL: usize = 4;
/// What the dead process has resident, in MiB, beside what every process has.
const SIZES: [usize; 5] = [0, 16, 64, 256, 1024];
/// Until the waiter is surely asleep; the same for all.
const ASLEEP: Duration = Duration::from_millis(3);

const XSEM: &str = "xsem Exclusive";
const ROBUST: &str = "robust mutex";
/// The waiter is in a container that does not show the dead process, or has no /proc at all.
const BLIND: &str = "xsem Exclusive, without /proc";

/// Of the peers only these notice a death at all.
const LOCKS: [&str; 5] = [XSEM, ROBUST, "SysV, SEM_UNDO", "flock", "OFD lock"];

pub fn run(options: &Options) -> io::Result<Report> {
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let _made = Lock::create(dir.path())?;
    let board = Shared::<Board>::map(&dir.path().join("board"))?;
    let mut absent = Vec::new();
    let mut waiters = vec![(None, Helper::start(dir.path(), 0)?)];
    match Helper::start_without_proc(dir.path()) {
        Ok(helper) => waiters.push((Some(BLIND), helper)),
        Err(e) => absent.push((BLIND.to_owned(), format!("/proc cannot be hidden here: {e}"))),
    }
    // Each lock with the ordinary waiter, and ours with the other one.
    let mut cases: Vec<(&str, &str, usize)> = LOCKS.iter().map(|l| (*l, *l, 0)).collect();
    cases.extend(waiters.iter().skip(1).filter_map(|w| w.0).map(|name| (XSEM, name, 1)));

    let mut tables = Vec::new();
    let mut lines: Vec<_> = cases.iter().map(|c| Line { name: c.1.to_owned(), points: Vec::new() }).collect();
    for size in SIZES {
        let mut series: Vec<_> = cases.iter().map(|c| Series::new(c.1)).collect();
        for round in 0..=rounds * if size == 0 { SMALL } else { 1 } {
            for i in 0..cases.len() {
                let at = (i + round) % cases.len();
                let (lock, _, waiter) = cases[at];
                let ns = once(lock, &mut waiters[waiter].1, dir.path(), size, &board)?;
                // The first round is to warm up.
                if round > 0 {
                    series[at].samples.push(ns);
                }
            }
        }
        for (line, s) in lines.iter_mut().zip(&series) {
            line.points.push((size as f64, s.median() / 1e3));
        }
        let title = if size == 0 { "a small process".to_owned() } else { format!("{size} MiB resident") };
        tables.push(Table::new(title, Unit::Microseconds, series).against(&[ROBUST]).absent(absent.clone()).tails());
    }
    waiters.into_iter().try_for_each(|w| w.1.end())?;
    let of = |table: &Table| table.get(XSEM).map(Series::median);
    let grown = tables.last().and_then(of).zip(of(&tables[0])).map(|(large, small)| large / small);
    let goals = vec![
        Goal::at_most(
            3.0,
            "death to the next owner, x robust mutex (which does not wait until the dead one has stopped writing)",
            tables[0].ratio(XSEM, ROBUST),
        ),
        Goal::at_most(1.5, "the same, flat in the dead process's size: 1 GiB resident, x a small one", grown),
    ];
    Ok(Report {
        title: "death: from the SIGKILL of an owner to the next owner".to_owned(),
        how: format!(
            "{rounds} rounds in turn, {SMALL} x as many for small processes; a new owner process each time, the waiter has slept \
             for {} ms",
            ASLEEP.as_millis()
        ),
        tables,
        goals,
        plots: vec![Plot {
            file: "death",
            title: "From the SIGKILL of an owner to the next owner".to_owned(),
            x: Across::Each("MiB that the dead process had resident".to_owned()),
            y: "us".to_owned(),
            lines,
        }],
    })
}

fn once(lock: &str, waiter: &mut Helper, dir: &Path, size: usize, board: &Board) -> io::Result<f64> {
    let mut owner = Helper::start(dir, size)?;
    owner.tell(&format!("hold {lock}"))?;
    owner.answer()?;
    board.ready.store(0, Ordering::SeqCst);
    waiter.tell(&format!("take {lock}"))?;
    while board.ready.load(Ordering::SeqCst) == 0 {
        thread::sleep(ASLEEP / 10);
    }
    thread::sleep(ASLEEP);
    let killed = now();
    // SAFETY: our own child, which is not collected before `end`.
    unsafe { libc::kill(owner.pid(), libc::SIGKILL) };
    waiter.answer()?;
    owner.end()?;
    Ok(board.woken.load(Ordering::SeqCst).saturating_sub(killed) as f64)
}
