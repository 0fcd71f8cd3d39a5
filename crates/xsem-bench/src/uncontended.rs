//! Acquire and release when nobody else is there: the price that everybody pays all the time.

use crate::Options;
use crate::goals::Goal;
use crate::peers::file::FileLock;
use crate::peers::guest::{self, Guest};
use crate::peers::named::{self, Named};
use crate::peers::pthread::{Mutex, Sem};
use crate::peers::sysv::Sysv;
use crate::report::{Report, Table, Unit};
use crate::rounds::{self, Contestant};
use crate::shared::Shared;
use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use xsem::{Code, Counting, Exclusive, Namespace};

const SLICE: Duration = Duration::from_millis(1);
const ROUNDS: usize = 300;

const FLOOR: &str = "floor: CAS + CAS";
const XSEM: &str = "xsem Exclusive";
const POOL: &str = "xsem Counting, one of four";
const ROBUST: &str = "robust mutex";
const PARKING: &str = "parking_lot";

pub fn run(options: &Options) -> io::Result<Report> {
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let pairs = pairs(rounds)?;
    let refused = refused(rounds)?;
    let goals = vec![
        Goal::at_most(0.80, "acquire + release, x robust process-shared mutex", pairs.ratio(XSEM, ROBUST)),
        Goal::at_most(1.20, "acquire + release, x parking_lot, which survives nothing", pairs.ratio(XSEM, PARKING)),
        Goal::at_most(0.90, "counting, acquire + release, x robust process-shared mutex", pairs.ratio(POOL, ROBUST)),
        Goal::at_most(0.45, "moonshot: acquire + release, x robust process-shared mutex", pairs.ratio(XSEM, ROBUST)),
        Goal::at_most(1.00, "moonshot: faster than parking_lot", pairs.ratio(XSEM, PARKING)),
    ];
    Ok(Report {
        title: "uncontended: acquire + release by one thread that meets nobody".to_owned(),
        how: format!(
            "{rounds} rounds, everybody in turn for about {} ms; a ratio is the median of the rounds' ratios",
            SLICE.as_millis()
        ),
        tables: vec![pairs, refused],
        goals,
        plots: Vec::new(),
    })
}

fn pairs(rounds: usize) -> io::Result<Table> {
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let file = |name: &str| dir.path().join(name);

    let ns = Namespace::open(&format!("shm:{}", file("ns").display())).map_err(io::Error::other)?;
    let sem = Exclusive::create(&ns, "free").map_err(io::Error::other)?;
    let nested = Exclusive::create(&ns, "mine").map_err(io::Error::other)?;
    let pool = Counting::open_or_create_pool(&ns, "pool", 4).map_err(io::Error::other)?;
    let _outer = nested.acquire().map_err(|e| io::Error::other(e.to_string()))?;

    let word = Shared::<AtomicU64>::map(&file("word"))?;
    let robust = Mutex::create(&file("robust"), true)?;
    let plain = Mutex::create(&file("plain"), false)?;
    let posix = Sem::create(&file("sem"), 1)?;
    let opened = Named::create(&named::name("free"))?;
    named::unlink(&named::name("free"));
    let (sysv, undone) = (Sysv::create()?, Sysv::create()?);
    let (flock, ofd) = (FileLock::open(&file("flock"))?, FileLock::open(&file("ofd"))?);
    let parking = parking_lot::Mutex::new(());
    let std = std::sync::Mutex::new(());
    let by_name = named_lock::NamedLock::with_path(file("named-lock")).map_err(io::Error::other)?;
    let mut by_file = fd_lock::RwLock::new(std::fs::File::create(file("fd-lock"))?);
    let (guests, absent) = guest::all(dir.path());

    let mut contestants = vec![
        Contestant::new(FLOOR, |n| {
            for _ in 0..n {
                let _ = word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed);
                section();
                let _ = word.compare_exchange(1, 0, Ordering::Release, Ordering::Relaxed);
            }
        }),
        Contestant::new(XSEM, |n| {
            for _ in 0..n {
                let _guard = sem.acquire().expect("free");
                section();
            }
        }),
        Contestant::new(POOL, |n| {
            for _ in 0..n {
                let _permit = pool.acquire().expect("free");
                section();
            }
        }),
        Contestant::new("xsem, try_acquire", |n| {
            for _ in 0..n {
                let _guard = sem.try_acquire().expect("free");
                section();
            }
        }),
        Contestant::new("xsem, nested", |n| {
            for _ in 0..n {
                let _guard = nested.acquire().expect("one's own");
                section();
            }
        }),
        Contestant::new(ROBUST, |n| pairs_of(n, || robust.lock(), || robust.unlock())),
        Contestant::new("process-shared mutex", |n| pairs_of(n, || plain.lock(), || plain.unlock())),
        Contestant::new(PARKING, |n| {
            for _ in 0..n {
                let _guard = parking.lock();
                section();
            }
        }),
        Contestant::new("std Mutex", |n| {
            for _ in 0..n {
                let _guard = std.lock().expect("not poisoned");
                section();
            }
        }),
        Contestant::new("sem_t, process-shared", |n| pairs_of(n, || posix.wait(), || posix.post())),
        Contestant::new("sem_open", |n| pairs_of(n, || opened.wait(), || opened.post())),
        Contestant::new("SysV semop", |n| pairs_of(n, || sysv.op(-1, false), || sysv.op(1, false))),
        Contestant::new("SysV semop, SEM_UNDO", |n| pairs_of(n, || undone.op(-1, true), || undone.op(1, true))),
        Contestant::new("flock", |n| pairs_of(n, || flock.flock(libc::LOCK_EX), || flock.flock(libc::LOCK_UN))),
        Contestant::new("OFD lock", |n| pairs_of(n, || ofd.ofd(libc::F_WRLCK), || ofd.ofd(libc::F_UNLCK))),
        Contestant::new("named-lock (crate)", |n| {
            for _ in 0..n {
                let _guard = by_name.lock().expect("free");
                section();
            }
        }),
        Contestant::new("fd-lock (crate)", |n| {
            for _ in 0..n {
                let _guard = by_file.write().expect("free");
                section();
            }
        }),
    ];
    contestants.extend(guests.iter().flat_map(Guest::contestants));
    let series = rounds::run(&mut contestants, SLICE, rounds);
    let table = Table::new("acquire + release", Unit::Nanoseconds, series).against(&[ROBUST, PARKING, FLOOR]);
    Ok(table.absent(absent))
}

/// What it costs to be told that somebody else has it. xsem says who, the others do not.
fn refused(rounds: usize) -> io::Result<Table> {
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let file = |name: &str| dir.path().join(name);
    let ns = Namespace::open(&format!("shm:{}", file("ns").display())).map_err(io::Error::other)?;
    let sem = Exclusive::create(&ns, "taken").map_err(io::Error::other)?;
    let robust = Mutex::create(&file("robust"), true)?;
    let (held, other) = (FileLock::open(&file("flock"))?, FileLock::open(&file("flock"))?);
    held.lock(libc::LOCK_EX)?;

    thread::scope(|scope| {
        let (ready, taken) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let theirs = sem.clone();
        scope.spawn(move || {
            let _guard = theirs.acquire().expect("free");
            assert_eq!(robust.lock(), 0);
            ready.send(()).expect("the benchmark waits");
            // Until the benchmark drops its end.
            let _ = ended.recv();
            assert_eq!(robust.unlock(), 0);
        });
        taken.recv().map_err(io::Error::other)?;
        let mut contestants = vec![
            Contestant::new("xsem, try_acquire", |n| {
                for _ in 0..n {
                    let refusal = black_box(sem.try_acquire()).expect_err("taken");
                    assert_eq!(refusal.code(), Code::ExclSemAlreadyOwned);
                }
            }),
            Contestant::new("robust mutex, trylock", |n| {
                for _ in 0..n {
                    assert_eq!(robust.try_lock(), libc::EBUSY);
                }
            }),
            Contestant::new("flock, LOCK_NB", |n| {
                for _ in 0..n {
                    assert_eq!(other.flock(libc::LOCK_EX | libc::LOCK_NB), -1);
                }
            }),
        ];
        let series = rounds::run(&mut contestants, SLICE, rounds);
        drop(end);
        Ok(Table::new("a refused try (101)", Unit::Nanoseconds, series).against(&["flock, LOCK_NB"]))
    })
}

/// Lock and unlock through results, which are looked at: a benchmark of calls that fail would be a lie.
#[inline]
fn pairs_of(n: u64, lock: impl Fn() -> libc::c_int, unlock: impl Fn() -> libc::c_int) {
    let mut bad = 0;
    for _ in 0..n {
        bad |= lock();
        section();
        bad |= unlock();
    }
    assert_eq!(bad, 0, "a peer's call failed: {}", io::Error::last_os_error());
}

/// The critical section: nothing, of which the compiler knows nothing, so that it keeps no memory in registers across
/// it. `black_box` of a guard would store it, and a locked instruction waits for stores: up to 3 ns of the wrong thing.
#[inline(always)]
fn section() {
    // SAFETY: no instruction at all.
    unsafe { std::arch::asm!("", options(nostack, preserves_flags)) };
}
