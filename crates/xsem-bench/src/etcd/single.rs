//! One client that meets nobody.

use super::RAW;
use super::place::{Raw, exclusive, failed, session};
use crate::report::{Table, Unit};
use crate::rounds::{self, Contestant};
use std::io;
use std::time::{Duration, Instant};
use xsem::Wait;

pub const ACQUIRE: &str = "xsem: acquire";
pub const RELEASE: &str = "xsem: release";
pub const THREE: &str = "xsem: three names at once";

/// So long each in each round.
const SLICE: Duration = Duration::from_millis(12);

pub fn table(title: &str, url: &str, rounds: usize) -> io::Result<Table> {
    let (raw, ns) = (Raw::open(url)?, session(url)?);
    let (x, y) = (exclusive(&ns, "single/x")?, exclusive(&ns, "single/y")?);
    let three = [exclusive(&ns, "single/a")?, exclusive(&ns, "single/b")?, exclusive(&ns, "single/c")?];
    let list: Vec<xsem::Pick<'_>> = three.iter().map(Into::into).collect();
    let raw = &raw;
    // Only a part of what is done is timed.
    let part = |mut one: Box<dyn FnMut() -> Duration>| move |n: u64| (0..n).map(|_| one()).sum::<Duration>();
    let mut contestants = vec![
        Contestant::new(RAW, |n| (0..n).for_each(|_| raw.put("single/raw"))),
        Contestant::timed(
            ACQUIRE,
            part(Box::new(move || {
                let start = Instant::now();
                let guard = x.acquire().expect("it is free");
                let took = start.elapsed();
                guard.release().expect("it was owned");
                took
            })),
        ),
        Contestant::timed(
            RELEASE,
            part(Box::new(move || {
                let guard = y.acquire().expect("it is free");
                let start = Instant::now();
                guard.release().expect("it was owned");
                start.elapsed()
            })),
        ),
        Contestant::timed(THREE, |n| {
            (0..n)
                .map(|_| {
                    let start = Instant::now();
                    let guards = ns.acquire_all(&list, Wait::forever()).expect("they are free");
                    let took = start.elapsed();
                    drop(guards);
                    took
                })
                .sum()
        }),
        Contestant::timed("etcd's lock(), a lease held", |n| {
            (0..n)
                .map(|_| {
                    let start = Instant::now();
                    let key = raw.lock("single/lock");
                    let took = start.elapsed();
                    raw.unlock(key);
                    took
                })
                .sum()
        }),
        Contestant::new("etcd's lock() and unlock(), a lease for each", |n| {
            (0..n).for_each(|_| raw.lock_and_unlock_with_a_lease_of_its_own("single/lease"));
        }),
    ];
    let series = rounds::run(&mut contestants, SLICE, rounds);
    drop(contestants);
    for name in ["x", "y", "a", "b", "c"] {
        ns.remove(&format!("single/{name}")).map_err(failed)?;
    }
    Ok(Table::new(title, Unit::Microseconds, series).against(&[RAW]).tails())
}
