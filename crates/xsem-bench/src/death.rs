//! From the SIGKILL of an owner to the process that waited and owns it then.

use crate::Options;
use crate::child::{Board, Helper};
use crate::lock::Lock;
use crate::report::{Goal, Report, Table, Unit};
use crate::rounds::Series;
use crate::shared::{Shared, now};
use std::path::Path;
use std::time::Duration;
use std::{io, thread};

const ROUNDS: usize = 60;
/// What a big process has resident, in MiB.
const BIG: usize = 256;
/// Until the waiter is surely asleep; the same for all.
const ASLEEP: Duration = Duration::from_millis(3);

const XSEM: &str = "xsem Exclusive";
const XSEM_BIG: &str = "xsem Exclusive, 256 MiB";
const ROBUST: &str = "robust mutex";

/// Lock, what the table calls the case, MiB. Of the peers only these notice a death at all.
const CASES: &[(&str, &str, usize)] = &[
    (XSEM, XSEM, 0),
    (ROBUST, ROBUST, 0),
    ("flock", "flock", 0),
    (XSEM, XSEM_BIG, BIG),
    (ROBUST, "robust mutex, 256 MiB", BIG),
    ("flock", "flock, 256 MiB", BIG),
];

pub fn run(options: &Options) -> io::Result<Report> {
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let dir = tempfile::tempdir_in("/dev/shm")?;
    Lock::create(dir.path())?;
    Shared::<Board>::map(&dir.path().join("board"))?;
    let locks = Lock::all(dir.path())?;
    let mut series: Vec<_> = CASES.iter().map(|c| Series { name: c.1, samples: Vec::new() }).collect();
    for round in 0..=rounds {
        for i in 0..CASES.len() {
            let at = (i + round) % CASES.len();
            let (lock, _, ballast) = CASES[at];
            let lock = locks.iter().find(|l| l.name() == lock).expect("a lock of the list");
            let ns = once(lock, dir.path(), ballast)?;
            if round > 0 {
                series[at].samples.push(ns);
            }
        }
    }
    let table = Table { title: "SIGKILL to ownership", unit: Unit::Microseconds, series, against: vec![ROBUST, XSEM] };
    let goals = vec![
        Goal {
            text: "death to ownership, x robust mutex (which does not wait until the dead one has stopped writing)",
            limit: 3.0,
            value: table.ratio(XSEM, ROBUST),
        },
        Goal {
            text: "flat in the dead process's size: 256 MiB resident, x small",
            limit: 1.5,
            value: table.ratio(XSEM_BIG, XSEM),
        },
    ];
    Ok(Report {
        title: "death: from the SIGKILL of an owner to the next owner".to_owned(),
        how: format!(
            "{rounds} rounds in turn; a new owner process each time, the waiter has slept for {} ms",
            ASLEEP.as_millis()
        ),
        tables: vec![table],
        goals,
    })
}

fn once(lock: &Lock, dir: &Path, ballast: usize) -> io::Result<f64> {
    let mut owner = Helper::start(dir, ballast)?;
    owner.tell(&format!("hold {}", lock.name()))?;
    owner.answer()?;
    let pid = owner.pid();
    let killer = thread::spawn(move || {
        thread::sleep(ASLEEP);
        let at = now();
        // SAFETY: our own child, which is not collected before this thread has ended.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        at
    });
    lock.acquire();
    let owned = now();
    lock.release();
    let killed = killer.join().expect("the killer does not panic");
    owner.end()?;
    Ok(owned.saturating_sub(killed) as f64)
}
