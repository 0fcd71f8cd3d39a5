//! The whole run: measure, choose points, run cases in parallel lanes, print the table.

use super::Mode;
use super::case::Case;
use super::options::Options;
use super::player::line;
use super::points::Measured;
use super::scenarios::{self, Scenario};
use crate::sys::{self, Status};
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read};
use std::time::{Duration, Instant};

/// A driver that takes longer hangs itself; its own watchdog is much shorter.
const DRIVER: Duration = Duration::from_secs(60);

/// The line of the table for one scenario in one mode.
#[derive(Clone, Debug, Default)]
struct Tally {
    points: u64,
    violations: u64,
    stuck: u64,
    clean: u64,
    died: u64,
    slowest_us: u64,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.points += other.points;
        self.violations += other.violations;
        self.stuck += other.stuck;
        self.clean += other.clean;
        self.died += other.died;
        self.slowest_us = self.slowest_us.max(other.slowest_us);
    }

    fn to_line(&self) -> String {
        let Tally { points, violations, stuck, clean, died, slowest_us } = self;
        format!("{points} {violations} {stuck} {clean} {died} {slowest_us}")
    }

    fn from_line(text: &str) -> Option<Tally> {
        let n: Vec<u64> = text.split(' ').map(|w| w.parse().ok()).collect::<Option<_>>()?;
        let &[points, violations, stuck, clean, died, slowest_us] = &n[..] else { return None };
        Some(Tally { points, violations, stuck, clean, died, slowest_us })
    }
}

/// Runs what the options ask for. True: nothing was violated, nothing got stuck.
pub fn run(options: &Options) -> io::Result<bool> {
    let wanted = |s: &&&dyn Scenario| options.only.is_empty() || options.only.iter().any(|o| s.name().contains(o));
    let chosen: Vec<&dyn Scenario> = all(options).iter().filter(wanted).copied().collect();
    if options.list || chosen.is_empty() {
        all(options).iter().for_each(|s| println!("{:<24} {}", s.name(), s.about()));
        return Ok(options.list);
    }
    let begin = Instant::now();
    println!(
        "{:<24} {:<5} {:>12} {:>7} {:>6} {:>10} {:>5} {:>6} {:>10} {:>12} {:>7}",
        "scenario",
        "mode",
        "instructions",
        "points",
        "stride",
        "violations",
        "stuck",
        "clean",
        "owner-died",
        "slowest wake",
        "seconds"
    );
    let mut total = Tally::default();
    for scenario in chosen {
        let measured = measure(scenario)?;
        for mode in [Mode::Kill, Mode::Pause].into_iter().filter(|m| options.mode.is_none_or(|o| o == *m)) {
            let start = Instant::now();
            let (stride, tally) = one(scenario, mode, &measured, options)?;
            println!(
                "{:<24} {:<5} {:>12} {:>7} {:>6} {:>10} {:>5} {:>6} {:>10} {:>9.1} ms {:>7.1}",
                scenario.name(),
                mode.as_str(),
                measured.instructions,
                tally.points,
                stride,
                tally.violations,
                tally.stuck,
                tally.clean,
                tally.died,
                tally.slowest_us as f64 / 1000.0,
                start.elapsed().as_secs_f64()
            );
            total.add(&tally);
        }
    }
    println!(
        "{} points, {} violations, {} stuck, {:.0} s",
        total.points,
        total.violations,
        total.stuck,
        begin.elapsed().as_secs_f64()
    );
    Ok(total.violations == 0 && total.stuck == 0 && total.points > 0)
}

/// The scenarios that are meant: pairs are many, and only those who name them mean them.
fn all(options: &Options) -> Vec<&'static dyn Scenario> {
    let pairs = options.list || options.only.iter().any(|o| o.starts_with("pair-"));
    scenarios::ALL.iter().copied().chain(super::pairs::all().filter(|_| pairs)).collect()
}

/// The undisturbed run: how many instructions there are, and which of them matter to others.
fn measure(scenario: &dyn Scenario) -> io::Result<Measured> {
    let mut measured = Measured::default();
    in_driver(
        |case| {
            sys::stay_on(Some(0));
            case.measure(scenario);
        },
        |kind, text| match kind {
            "measure" => measured.read(text),
            "outcome" | "wake" => {}
            _ => println!("  {}, undisturbed: {kind} {text}", scenario.name()),
        },
    )?;
    Ok(measured)
}

fn one(scenario: &dyn Scenario, mode: Mode, measured: &Measured, options: &Options) -> io::Result<(u64, Tally)> {
    let mut tally = Tally::default();
    if measured.instructions == 0 {
        println!("  {}: the undisturbed run did not get through", scenario.name());
        tally.stuck += 1;
        return Ok((1, tally));
    }
    let (stride, mut points) = measured.points(options.density, options.seed);
    if let Some(k) = options.at {
        points = vec![k];
    }
    let mut lanes = Vec::new();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    for lane in 0..options.jobs {
        let (reader, writer) = sys::pipe()?;
        let points: Vec<u64> = points.iter().copied().skip(lane).step_by(options.jobs).collect();
        let pid = sys::fork(|| {
            sys::stay_on(Some(lane % processors));
            let t = run_lane(scenario, mode, measured, &points).expect("processes and pipes");
            line(&writer, "tally", t.to_line());
        })?;
        lanes.push((pid, reader));
    }
    for (pid, reader) in lanes {
        let mut text = String::new();
        BufReader::new(reader).read_to_string(&mut text)?;
        match text.trim().strip_prefix("tally ").and_then(Tally::from_line) {
            Some(t) => tally.add(&t),
            None => tally.stuck += 1,
        }
        while sys::wait(pid, true) == Status::Running {}
    }
    Ok((stride, tally))
}

/// So many findings say enough; more of the same only take time, above all when each waits for a watchdog.
const ENOUGH: u64 = 5;

fn run_lane(scenario: &dyn Scenario, mode: Mode, measured: &Measured, points: &[u64]) -> io::Result<Tally> {
    let mut tally = Tally::default();
    for &k in points {
        let mut bad = Vec::new();
        let finished = in_driver(
            |case| case.run(scenario, mode, k, measured.place_before(k)),
            |kind, text| match kind {
                "violation" | "stuck" | "note" => bad.push((kind.to_owned(), text.to_owned())),
                "outcome" if text == "died" => tally.died += 1,
                "outcome" => tally.clean += 1,
                "wake" => tally.slowest_us = tally.slowest_us.max(text.parse().unwrap_or(0)),
                _ => {}
            },
        )?;
        if !finished {
            bad.push(("stuck".to_owned(), "the driver crashed or hung".to_owned()));
        }
        tally.points += 1;
        for (kind, text) in &bad {
            println!("  {} {} at {k}: {kind}: {text}", scenario.name(), mode.as_str());
        }
        tally.stuck += u64::from(bad.iter().any(|(kind, _)| kind == "stuck"));
        tally.violations += u64::from(bad.iter().any(|(kind, _)| kind == "violation"));
        if tally.stuck + tally.violations >= ENOUGH {
            println!("  {} {}: giving up at {k} after {ENOUGH} bad points", scenario.name(), mode.as_str());
            break;
        }
    }
    Ok(tally)
}

/// Runs `f` in a driver on a fresh namespace and hands each line of its report to `each`. False: it crashed or hung.
fn in_driver(f: impl FnOnce(&Case<'_>), mut each: impl FnMut(&str, &str)) -> io::Result<bool> {
    let (reader, writer) = sys::pipe()?;
    let pid = sys::fork(|| drive(f, &writer))?;
    drop(writer);
    let fine = collect(&reader, pid, &mut each)?;
    sys::kill(pid, libc::SIGKILL);
    let status = sys::wait(pid, true);
    // A driver that crashed could not tidy up.
    let _ = std::fs::remove_dir_all(directory(pid));
    Ok(fine && matches!(status, Status::Exited(0) | Status::Killed(libc::SIGKILL)))
}

fn directory(driver: sys::Pid) -> String {
    format!("/dev/shm/xsem-harness-{driver}")
}

fn drive(f: impl FnOnce(&Case<'_>), report: &PipeWriter) {
    let dir = directory(sys::own_pid());
    // What a run that was interrupted left under the number that is ours now.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir(&dir).expect("a directory in shared memory");
    sys::hold_child_signals();
    f(&Case::new(&format!("shm:{dir}/ns"), report));
}

/// Reads lines until the driver says `end`. False: it ended otherwise, or not in time.
fn collect(reader: &PipeReader, driver: sys::Pid, each: &mut impl FnMut(&str, &str)) -> io::Result<bool> {
    let mut lines = BufReader::new(reader);
    let begin = Instant::now();
    let mut text = String::new();
    loop {
        if lines.buffer().is_empty() && !sys::readable(reader, 1000)? {
            if begin.elapsed() > DRIVER {
                println!("  the driver hangs: {}", sys::describe(driver));
                return Ok(false);
            }
            continue;
        }
        text.clear();
        if lines.read_line(&mut text)? == 0 {
            return Ok(false);
        }
        match text.trim_end().split_once(' ').unwrap_or((text.trim_end(), "")) {
            ("end", _) => return Ok(true),
            (kind, rest) => each(kind, rest),
        }
    }
}
