//! Names: to open one that exists, and to create and remove one.

use crate::Options;
use crate::report::{Goal, Report, Table, Unit};
use crate::rounds::{self, Contestant};
use std::ffi::CString;
use std::hint::black_box;
use std::io;
use std::time::Duration;
use xsem::{Exclusive, Namespace};

const SLICE: Duration = Duration::from_millis(1);
const ROUNDS: usize = 300;
const XSEM: &str = "xsem";
const POSIX: &str = "sem_open";

pub fn run(options: &Options) -> io::Result<Report> {
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let ns = Namespace::open(&format!("shm:{}/ns", dir.path().display())).map_err(io::Error::other)?;
    let opened = opened(&ns, rounds)?;
    let created = created(&ns, rounds)?;
    let goals = vec![
        Goal { text: "open an existing name, x sem_open", limit: 0.5, value: opened.ratio(XSEM, POSIX) },
        Goal { text: "create + remove, x sem_open + sem_unlink", limit: 0.5, value: created.ratio(XSEM, POSIX) },
    ];
    Ok(Report {
        title: "open: names".to_owned(),
        how: format!("{rounds} rounds, in turn for about {} ms; the namespace itself is open already", SLICE.as_millis()),
        tables: vec![opened, created],
        goals,
    })
}

fn opened(ns: &Namespace, rounds: usize) -> io::Result<Table> {
    let kept = Exclusive::create(ns, "there").map_err(io::Error::other)?;
    let name = posix_name("open");
    let posix = Named::create(&name)?;
    let mut contestants = vec![
        Contestant::new(XSEM, |n| {
            for _ in 0..n {
                drop(black_box(Exclusive::open(ns, "there").expect("exists")));
            }
        }),
        Contestant::new(POSIX, |n| {
            for _ in 0..n {
                drop(black_box(Named::open(&name).expect("exists")));
            }
        }),
    ];
    let series = rounds::run(&mut contestants, SLICE, rounds);
    drop(contestants);
    posix.unlink(&name);
    drop(kept);
    ns.remove("there").map_err(io::Error::other)?;
    Ok(Table { title: "open + close", unit: Unit::Nanoseconds, series, against: vec![POSIX] })
}

fn created(ns: &Namespace, rounds: usize) -> io::Result<Table> {
    let name = posix_name("create");
    let mut contestants = vec![
        Contestant::new(XSEM, |n| {
            for _ in 0..n {
                drop(black_box(Exclusive::create(ns, "new").expect("not there")));
                ns.remove("new").expect("clear");
            }
        }),
        Contestant::new(POSIX, |n| {
            for _ in 0..n {
                black_box(Named::create(&name).expect("not there")).unlink(&name);
            }
        }),
    ];
    let series = rounds::run(&mut contestants, SLICE, rounds);
    Ok(Table { title: "create + close + remove", unit: Unit::Nanoseconds, series, against: vec![POSIX] })
}

fn posix_name(what: &str) -> CString {
    CString::new(format!("/xsem-bench-{what}-{}", std::process::id())).expect("no NUL")
}

/// A named POSIX semaphore, closed when dropped.
struct Named(*mut libc::sem_t);

impl Named {
    fn create(name: &CString) -> io::Result<Named> {
        // SAFETY: a NUL-terminated name, and the mode and value that O_CREAT asks for.
        Named::checked(unsafe { libc::sem_open(name.as_ptr(), libc::O_CREAT | libc::O_EXCL, 0o600 as libc::mode_t, 1u32) })
    }

    fn open(name: &CString) -> io::Result<Named> {
        // SAFETY: a NUL-terminated name.
        Named::checked(unsafe { libc::sem_open(name.as_ptr(), 0) })
    }

    fn checked(p: *mut libc::sem_t) -> io::Result<Named> {
        if p == libc::SEM_FAILED { Err(io::Error::last_os_error()) } else { Ok(Named(p)) }
    }

    fn unlink(self, name: &CString) {
        // SAFETY: a NUL-terminated name.
        unsafe { libc::sem_unlink(name.as_ptr()) };
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        // SAFETY: what `sem_open` gave, closed once.
        unsafe { libc::sem_close(self.0) };
    }
}
