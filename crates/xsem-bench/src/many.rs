//! Several at once: n permits of one pool, all of n semaphores, any of n; beside what the peers have for that.

use crate::Options;
use crate::peers::event::Counter;
use crate::peers::pthread::{Mutex, Sem};
use crate::peers::sysv::Sysv;
use crate::plot::{Across, Line, Plot};
use crate::report::{Report, Table, Unit};
use crate::rounds::{self, Contestant};
use std::io;
use std::path::Path;
use std::time::Duration;
use xsem::{Counting, Exclusive, Namespace, Pick, Wait};

const SLICE: Duration = Duration::from_millis(1);
const ROUNDS: usize = 100;
/// 64 is the most that xsem takes in one list.
const SIZES: [usize; 4] = [1, 4, 16, 64];

const PERMITS: &str = "xsem Counting::acquire_many";
const ALL: &str = "xsem acquire_all";
const ANY: &str = "xsem wait_any";
const SYSV: &str = "SysV semop, SEM_UNDO";

pub fn run(options: &Options) -> io::Result<Report> {
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let mut tables = Vec::new();
    let mut lines: Vec<Line> = Vec::new();
    for n in SIZES {
        let dir = tempfile::tempdir_in("/dev/shm")?;
        let ns = Namespace::open(&format!("shm:{}", dir.path().join("ns").display())).map_err(io::Error::other)?;
        for table in [permits(&ns, dir.path(), n, rounds)?, all(&ns, dir.path(), n, rounds)?, any(&ns, dir.path(), n, rounds)?] {
            for s in &table.series {
                match lines.iter_mut().find(|l| l.name == s.name) {
                    Some(line) => line.points.push((n as f64, s.median())),
                    None => lines.push(Line { name: s.name.clone(), points: vec![(n as f64, s.median())] }),
                }
            }
            tables.push(table);
        }
    }
    lines.retain(|l| !l.name.contains("tokio"));
    Ok(Report {
        title: "many: several at once, acquired and released, nobody else there".to_owned(),
        how: format!(
            "{rounds} rounds, everybody in turn for about {} ms; any of n: only the last of the list is free; the peers that take \
             all one after the other hold some while they wait for others, and trying each is no way to sleep",
            SLICE.as_millis()
        ),
        tables,
        goals: Vec::new(),
        plots: vec![Plot {
            file: "many",
            title: "Several at once, uncontended".to_owned(),
            x: Across::Each("permits, or semaphores of the list".to_owned()),
            y: "ns".to_owned(),
            lines,
        }],
    })
}

/// n permits of a pool of n.
fn permits(ns: &Namespace, dir: &Path, n: usize, rounds: usize) -> io::Result<Table> {
    let pool = Counting::open_or_create_pool(ns, "pool", n as u32).map_err(io::Error::other)?;
    let sysv = Sysv::create_set(1, n as libc::c_int)?;
    let posix = Sem::create(&dir.join("permits"), n as u32)?;
    let tokio = tokio::sync::Semaphore::new(n);
    let count = n as u32;
    let mut contestants = vec![
        Contestant::new(PERMITS, |times| {
            (0..times).for_each(|_| drop(pool.acquire_many(count).expect("they are free")));
        }),
        Contestant::new(SYSV, |times| {
            for _ in 0..times {
                assert_eq!(sysv.op(-(n as i16), true) | sysv.op(n as i16, true), 0);
            }
        }),
        Contestant::new("n x sem_t, one by one", |times| {
            for _ in 0..times {
                assert!((0..n).all(|_| posix.wait() == 0) && (0..n).all(|_| posix.post() == 0));
            }
        }),
        Contestant::new("tokio Semaphore::try_acquire_many", |times| {
            (0..times).for_each(|_| drop(tokio.try_acquire_many(count).expect("they are free")));
        }),
    ];
    let series = rounds::run(&mut contestants, SLICE, rounds);
    Ok(Table::new(if n == 1 { "1 permit".to_owned() } else { format!("{n} permits") }, Unit::Nanoseconds, series)
        .against(&[SYSV]))
}

/// All of n semaphores.
fn all(ns: &Namespace, dir: &Path, n: usize, rounds: usize) -> io::Result<Table> {
    let sems = (0..n).map(|i| Exclusive::create(ns, &format!("all/{i}"))).collect::<Result<Vec<_>, _>>();
    let sems = sems.map_err(io::Error::other)?;
    let list: Vec<Pick<'_>> = sems.iter().map(Pick::from).collect();
    let sysv = Sysv::create_set(n, 1)?;
    let robust = mutexes(dir, "all", n)?;
    let mut contestants = vec![
        Contestant::new(ALL, |times| {
            (0..times).for_each(|_| drop(ns.acquire_all(&list, Wait::forever()).expect("they are free")));
        }),
        Contestant::new("SysV semop on n, SEM_UNDO", |times| {
            for _ in 0..times {
                assert_eq!(sysv.op_all(n, -1) | sysv.op_all(n, 1), 0);
            }
        }),
        Contestant::new("n x robust mutex, one by one", |times| {
            for _ in 0..times {
                assert!(robust.iter().all(|m| m.lock() == 0) && robust.iter().rev().all(|m| m.unlock() == 0));
            }
        }),
    ];
    let series = rounds::run(&mut contestants, SLICE, rounds);
    Ok(Table::new(format!("all of {n}"), Unit::Nanoseconds, series).against(&["n x robust mutex, one by one"]))
}

/// Any of n, of which the last is free.
fn any(ns: &Namespace, dir: &Path, n: usize, rounds: usize) -> io::Result<Table> {
    let pools = (0..n).map(|i| Counting::open_or_create_pool(ns, &format!("any/{i}"), 1)).collect::<Result<Vec<_>, _>>();
    let pools = pools.map_err(io::Error::other)?;
    let taken = pools[..n - 1].iter().map(Counting::acquire).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
    let list: Vec<Pick<'_>> = pools.iter().map(Pick::from).collect();
    let sems = (0..n).map(|i| Sem::create(&dir.join(format!("any-{i}")), u32::from(i == n - 1)));
    let sems = sems.collect::<io::Result<Vec<_>>>()?;
    let fds = (0..n).map(|i| Counter::create(u32::from(i == n - 1))).collect::<io::Result<Vec<_>>>()?;
    let mut contestants = vec![
        Contestant::new(ANY, |times| {
            (0..times).for_each(|_| drop(ns.wait_any(&list, Wait::forever()).expect("one is free")));
        }),
        Contestant::new("poll of n eventfds, read, write", |times| {
            for _ in 0..times {
                let which = Counter::wait_any(&fds);
                fds[which].put();
            }
        }),
        Contestant::new("trying each of n sem_t", |times| {
            for _ in 0..times {
                let which = sems.iter().position(|s| s.try_wait() == 0).expect("one is free");
                assert_eq!(sems[which].post(), 0);
            }
        }),
    ];
    let series = rounds::run(&mut contestants, SLICE, rounds);
    drop(contestants);
    drop(taken);
    Ok(Table::new(format!("any of {n}"), Unit::Nanoseconds, series).against(&["poll of n eventfds, read, write"]))
}

fn mutexes(dir: &Path, what: &str, n: usize) -> io::Result<Vec<Mutex>> {
    (0..n).map(|i| Mutex::create(&dir.join(format!("{what}-{i}")), true)).collect()
}
