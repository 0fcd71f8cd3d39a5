//! Names: to open one that exists, and to create and remove one.

use crate::Options;
use crate::first;
use crate::goals::Goal;
use crate::peers::named::{self, Named};
use crate::report::{Report, Table, Unit};
use crate::rounds::{self, Contestant};
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
        Goal::at_most(0.5, "open an existing name, x sem_open", opened.ratio(XSEM, POSIX)),
        Goal::at_most(0.5, "create + remove, x sem_open + sem_unlink", created.ratio(XSEM, POSIX)),
    ];
    Ok(Report {
        title: "open: names".to_owned(),
        how: format!("{rounds} rounds, in turn for about {} ms; the namespace itself is open already", SLICE.as_millis()),
        tables: [opened, created].into_iter().chain(first::tables(rounds.div_ceil(3))?).collect(),
        goals,
        plots: Vec::new(),
    })
}

fn opened(ns: &Namespace, rounds: usize) -> io::Result<Table> {
    let kept = Exclusive::create(ns, "there").map_err(io::Error::other)?;
    let name = named::name("open");
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
    named::unlink(&name);
    drop(posix);
    drop(kept);
    ns.remove("there").map_err(io::Error::other)?;
    Ok(Table::new("open + close", Unit::Nanoseconds, series).against(&[POSIX]))
}

fn created(ns: &Namespace, rounds: usize) -> io::Result<Table> {
    let name = named::name("create");
    let mut contestants = vec![
        Contestant::new(XSEM, |n| {
            for _ in 0..n {
                drop(black_box(Exclusive::create(ns, "new").expect("not there")));
                ns.remove("new").expect("clear");
            }
        }),
        Contestant::new(POSIX, |n| {
            for _ in 0..n {
                drop(black_box(Named::create(&name).expect("not there")));
                named::unlink(&name);
            }
        }),
    ];
    let series = rounds::run(&mut contestants, SLICE, rounds);
    Ok(Table::new("create + close + remove", Unit::Nanoseconds, series).against(&[POSIX]))
}
