//! From one semaphore to a million in one namespace: what each operation costs then, and what each of them takes.

use crate::Options;
use crate::goals::Goal;
use crate::members;
use crate::peers::named::{self, Named};
use crate::peers::pthread::Mutexes;
use crate::plot::{Across, Line, Plot};
use crate::report::{Report, Table, Unit};
use crate::rounds::{self, Contestant, Series};
use std::collections::HashMap;
use std::ffi::CString;
use std::fs;
use std::hint::black_box;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use xsem::{Exclusive, Namespace};

/// Long enough that what the others have left in the caches does not count for much.
const SLICE: Duration = Duration::from_millis(10);
const ROUNDS: usize = 20;
const SIZES: [usize; 7] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000];
/// A POSIX semaphore is a file and a mapping: the kernel allows 65,530 mappings.
const MOST_FILES: usize = 10_000;

const OPEN: &str = "xsem: open + close";
const PAIR: &str = "xsem: acquire + release";
const ARRAY: &str = "robust mutexes in an array";
const POSIX: &str = "sem_open + sem_close";
/// What the plot shows.
const SHOWN: [&str; 7] = [OPEN, PAIR, ARRAY, POSIX, "Namespace::for_each", "xsem ls", "xsem show"];

pub fn run(options: &Options) -> io::Result<Report> {
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let mut scene = Scene::new(dir.path())?;
    let mut tables = Vec::new();
    let mut creation = Vec::new();
    let mut listing = Vec::new();
    let mut sizes = vec![Series::once("a namespace with nothing in it", scene.bytes()?)];
    let mut lines: Vec<Line> = Vec::new();
    let mut streams = None;
    for n in SIZES {
        creation.extend(scene.grow(n)?);
        let each = scene.bytes_each(n)?;
        if n >= 1_000 {
            sizes.push(Series::once(format!("each of {}, with names like ci/job/123456", grouped(n)), each));
        }
        let table = scene.operations(n, rounds)?;
        let (part, lists) = scene.listing(n, rounds.div_ceil(10))?;
        for s in table.series.iter().chain(&lists) {
            let name = s.name.split(", of").next().unwrap_or(&s.name);
            match lines.iter_mut().find(|l| l.name == name) {
                Some(line) => line.points.push((n as f64, s.median())),
                None => lines.push(Line { name: name.to_owned(), points: vec![(n as f64, s.median())] }),
            }
        }
        streams = Some(part);
        listing.extend(lists);
        tables.push(table);
    }
    let last = tables.last().expect("there are sizes");
    let goals = vec![
        Goal::at_most(128.0, "memory of each of 1,000,000 semaphores", sizes.last().map(Series::median)).in_units("B"),
        Goal::at_most(500.0, "look-up: opening a random one of 1,000,000", last.get(OPEN).map(Series::median)).in_units("ns"),
        Goal::at_most(0.1, "`xsem ls --json` of 1,000,000 streams: until its first bytes, x the whole", streams),
    ];
    sizes.extend(members::memory(dir.path())?);
    lines.retain(|l| SHOWN.contains(&l.name.as_str()));
    tables.push(Table::new("create", Unit::Nanoseconds, creation));
    tables.push(Table::new("looking at all, and at one", Unit::Milliseconds, listing));
    tables.push(Table::new("memory", Unit::Bytes, sizes));
    Ok(Report {
        title: "scale: 1 to 1,000,000 semaphores in one namespace".to_owned(),
        how: format!(
            "{rounds} rounds, everybody in turn for about {} ms, each time another one of all in a random order; sem_open with at \
             most {} names, for each is a file and a mapping",
            SLICE.as_millis(),
            grouped(MOST_FILES)
        ),
        tables,
        goals,
        plots: vec![Plot {
            file: "scale",
            title: "Cost over the number of semaphores in the namespace".to_owned(),
            x: Across::Each("semaphores".to_owned()),
            y: "ns".to_owned(),
            lines,
        }],
    })
}

/// The namespace as it grows, and the peers beside it.
struct Scene {
    ns: Namespace,
    url: String,
    file: PathBuf,
    empty: f64,
    xsem: PathBuf,
    handles: Vec<Exclusive>,
    mutexes: Mutexes,
    posix: Vec<(CString, Named)>,
}

impl Scene {
    fn new(dir: &Path) -> io::Result<Scene> {
        let file = dir.join("ns");
        let url = format!("shm:{}", file.display());
        let ns = Namespace::open(&url).map_err(io::Error::other)?;
        let xsem = crate::cli::xsem()?;
        let mutexes = Mutexes::create(&dir.join("mutexes"), *SIZES.last().expect("there are sizes"))?;
        let mut scene = Scene { ns, url, file, empty: 0.0, xsem, handles: Vec::new(), mutexes, posix: Vec::new() };
        scene.empty = scene.bytes()?;
        Ok(scene)
    }

    /// What the file takes of the memory.
    fn bytes(&self) -> io::Result<f64> {
        Ok(fs::metadata(&self.file)?.blocks() as f64 * 512.0)
    }

    fn bytes_each(&self, n: usize) -> io::Result<f64> {
        Ok((self.bytes()? - self.empty) / n as f64)
    }

    /// Creates what is missing to `n`, and says how long each took.
    fn grow(&mut self, n: usize) -> io::Result<Vec<Series>> {
        let (from, names) = (self.handles.len(), (self.handles.len()..n).map(name).collect::<Vec<_>>());
        let start = Instant::now();
        for name in &names {
            self.handles.push(Exclusive::create(&self.ns, name).map_err(io::Error::other)?);
        }
        let each = start.elapsed().as_nanos() as f64 / names.len() as f64;
        let mut created = vec![Series::once(format!("xsem, from {} to {}", grouped(from), grouped(n)), each)];
        if n <= MOST_FILES {
            let names: Vec<_> = (from..n).map(|i| named::name(&format!("scale-{i}"))).collect();
            let start = Instant::now();
            for name in &names {
                let made = Named::create(name)?;
                self.posix.push((name.clone(), made));
            }
            let each = start.elapsed().as_nanos() as f64 / names.len() as f64;
            created.push(Series::once(format!("sem_open, from {} to {}", grouped(from), grouped(n)), each));
        }
        Ok(created)
    }

    /// Each of the operations on one of `n` in a random order.
    fn operations(&self, n: usize, rounds: usize) -> io::Result<Table> {
        let order = shuffled(n);
        // One after the other in memory, so that a look-up pays for the look-up and not for the way to its own name.
        let names: Vec<String> = order.iter().map(|i| name(*i as usize)).collect();
        let map: HashMap<String, usize> = names.iter().cloned().zip(0..).collect();
        let few = shuffled(self.posix.len());
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g] = [0usize; 7];
        let mut contestants = vec![
            Contestant::new(OPEN, |times| {
                for _ in 0..times {
                    let sem = Exclusive::open(&self.ns, &names[next(&mut a, n)]).expect("it exists");
                    drop(black_box(sem));
                }
            }),
            Contestant::new(PAIR, |times| {
                for _ in 0..times {
                    let sem = &self.handles[order[next(&mut b, n)] as usize];
                    drop(black_box(sem.acquire().expect("it is free")));
                }
            }),
            Contestant::new("xsem: inspect", |times| {
                for _ in 0..times {
                    drop(black_box(self.ns.inspect(&names[next(&mut c, n)]).expect("it exists")));
                }
            }),
            Contestant::new(ARRAY, |times| {
                for _ in 0..times {
                    let at = order[next(&mut d, n)] as usize;
                    assert_eq!(self.mutexes.lock(at) | self.mutexes.unlock(at), 0);
                }
            }),
            Contestant::new("HashMap of this process: look up", |times| {
                for _ in 0..times {
                    black_box(map.get(&names[next(&mut e, n)]));
                }
            }),
        ];
        if n == self.posix.len() {
            contestants.push(Contestant::new(POSIX, |times| {
                for _ in 0..times {
                    drop(black_box(Named::open(&self.posix[few[next(&mut f, few.len())] as usize].0).expect("it exists")));
                }
            }));
            contestants.push(Contestant::new("sem_wait + sem_post", |times| {
                for _ in 0..times {
                    let sem = &self.posix[few[next(&mut g, few.len())] as usize].1;
                    assert_eq!(sem.wait() | sem.post(), 0);
                }
            }));
        }
        let series = rounds::run(&mut contestants, SLICE, rounds);
        Ok(Table::new(format!("at random, of {}", grouped(n)), Unit::Nanoseconds, series))
    }

    /// `ls` and `show`, through the library and the command; and which part of `ls --json` passes before it prints.
    fn listing(&self, n: usize, rounds: usize) -> io::Result<(f64, Vec<Series>)> {
        let one = name(n / 2);
        let row = |what: &str| Series::new(format!("{what}, of {}", grouped(n)));
        let mut all =
            ["Namespace::for_each", "xsem ls", "xsem ls --json", "xsem ls --json, its first bytes", "xsem show"].map(row);
        let mut parts = Series::new("");
        for _ in 0..rounds {
            let start = Instant::now();
            let mut seen = 0;
            let counted = self.ns.for_each(|_| {
                seen += 1;
                ControlFlow::Continue(())
            });
            counted.map_err(io::Error::other)?;
            let each = start.elapsed();
            assert_eq!(seen, n);
            // The table is sorted, so its first line comes last; the array comes as it is found.
            let (_, sorted) = self.command(&["ls"])?;
            let (first, whole) = self.command(&["ls", "--json"])?;
            let (_, shown) = self.command(&["show", &one])?;
            for (series, took) in all.iter_mut().zip([each, sorted, whole, first, shown]) {
                series.samples.push(took.as_nanos() as f64);
            }
            parts.samples.push(first.as_secs_f64() / whole.as_secs_f64());
        }
        Ok((parts.median(), all.into()))
    }

    /// Until it prints something, and until its end.
    fn command(&self, args: &[&str]) -> io::Result<(Duration, Duration)> {
        let start = Instant::now();
        let mut command = Command::new(&self.xsem);
        command.arg("--namespace").arg(&self.url).args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.env_remove("XSEM_NAMESPACE").spawn()?;
        let mut out = child.stdout.take().expect("piped");
        let mut some = [0; 1 << 16];
        let mut read = out.read(&mut some)?;
        let first = start.elapsed();
        while read > 0 {
            read = out.read(&mut some)?;
        }
        let status = child.wait()?;
        let whole = start.elapsed();
        if !status.success() {
            return Err(io::Error::other(format!("xsem {}: {status}", args.join(" "))));
        }
        Ok((first, whole))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.posix.iter().for_each(|(name, _)| named::unlink(name));
    }
}

fn name(i: usize) -> String {
    format!("ci/job/{i:06}")
}

/// The next place in a list of `n` that begins again at its end.
#[inline]
fn next(at: &mut usize, n: usize) -> usize {
    let now = *at;
    *at = if now + 1 == n { 0 } else { now + 1 };
    now
}

/// 0 to n - 1 in an order that is random, and the same each time.
fn shuffled(n: usize) -> Vec<u32> {
    let mut all: Vec<u32> = (0..n as u32).collect();
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    for i in (1..n).rev() {
        // xorshift64: https://www.jstatsoft.org/article/view/v008i14
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        all.swap(i, (seed % (i as u64 + 1)) as usize);
    }
    all
}

/// 1000000 is 1,000,000.
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_everybody_once() {
        let mut all = shuffled(1000);
        assert_ne!(all, (0..1000).collect::<Vec<u32>>());
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<u32>>());
        assert_eq!(shuffled(1), [0]);
    }

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!([0, 10, 100, 1_000, 65_530, 1_000_000].map(grouped), ["0", "10", "100", "1,000", "65,530", "1,000,000"]);
    }
}
