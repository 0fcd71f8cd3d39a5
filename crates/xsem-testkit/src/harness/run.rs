//! The whole run: measure, choose points, run the cases in lanes, print the table.

use super::Mode;
use super::driver::{self, in_driver};
use super::lanes::{self, Lanes};
use super::options::Options;
use super::player::line;
use super::points::Measured;
use super::scenarios::{self, Scenario};
use super::table::{Table, Tally};
use std::collections::{HashSet, VecDeque};
use std::io::{self, PipeWriter};
use std::rc::Rc;
use std::time::Instant;

/// Points that one process goes through.
const PIECE: usize = 32;

/// So many findings say enough; more of the same only take time, above all when each waits for a watchdog.
const ENOUGH: u64 = 5;

/// Lanes for each processor.
const LANES: usize = 3;

/// A part of the work.
#[derive(Clone, Debug)]
enum Work {
    /// Measures a scenario.
    Measure(usize),
    /// Runs the cases of some points of it.
    Points(usize, Mode, Vec<u64>),
}

/// How far a scenario is.
#[derive(Debug, Default)]
struct Progress {
    /// Scenarios that are measured as one share it.
    measured: Option<Rc<Measured>>,
    stride: u64,
    /// Pieces that are not over.
    open: usize,
    tally: Tally,
}

/// The run.
struct Run<'a> {
    options: &'a Options,
    chosen: Vec<&'static dyn Scenario>,
    progress: Vec<Progress>,
    queue: VecDeque<Work>,
    /// What lanes are at, by its number.
    at_work: Vec<Work>,
    /// Scenarios of which the line is printed.
    printed: usize,
    table: Table,
}

/// Runs what the options ask for. True: nothing was violated, nothing got stuck.
pub fn run(options: &Options) -> io::Result<bool> {
    let chosen = options.sampled(scenarios::named(&options.only));
    if options.list || chosen.is_empty() {
        let listed = if chosen.is_empty() { scenarios::named(&[]) } else { chosen };
        listed.iter().for_each(|s| println!("{:<24} {:<28} {}", s.group(), s.name(), s.about()));
        println!("\nbesides, every pair of operations: --list --only pair-");
        if !options.list {
            println!("\nno scenario has that in its name");
        }
        return Ok(options.list);
    }
    let begin = Instant::now();
    if let Some(bug) = &options.bug {
        seed(bug)?;
    }
    if let Some(why) = crate::sys::cannot_step() {
        return Err(io::Error::other(why));
    }
    driver::begin();
    let mut run = Run {
        options,
        progress: chosen.iter().map(|_| Progress::default()).collect(),
        queue: to_measure(&chosen),
        chosen,
        at_work: Vec::new(),
        printed: 0,
        table: Table::default(),
    };
    run.table.head();
    let done = run.through();
    driver::tidy();
    done?;
    Ok(run.table.foot(begin.elapsed().as_secs_f64(), options))
}

/// One of each that are measured as one; first those that walk over all that is stored, since one lane takes longest with them.
fn to_measure(chosen: &[&'static dyn Scenario]) -> VecDeque<Work> {
    let mut seen = HashSet::new();
    let mut all: Vec<usize> = (0..chosen.len()).filter(|&i| seen.insert(chosen[i].measured_as())).collect();
    all.sort_by_key(|&i| !chosen[i].walks());
    all.into_iter().map(Work::Measure).collect()
}

/// From here on this process and its children have a fault.
fn seed(bug: &str) -> io::Result<()> {
    #[cfg(xsem_seeded)]
    return xsem::shm::testing::seed_bug(bug)
        .map_err(|known| io::Error::other(format!("no fault is called `{bug}`; there are: {}", known.join(", "))));
    #[cfg(not(xsem_seeded))]
    Err(io::Error::other(format!("this build has no faults; `cargo xtask survive --bug {bug}` makes one that does")))
}

impl Run<'_> {
    fn through(&mut self) -> io::Result<()> {
        let mut lanes = Lanes::new(self.options.jobs.unwrap_or(LANES * lanes::processors()));
        loop {
            while lanes.have_room()
                && let Some(work) = self.queue.pop_front()
            {
                lanes.start(self.at_work.len(), |report| self.perform(&work, report))?;
                self.at_work.push(work);
            }
            if lanes.are_idle() {
                return Ok(());
            }
            let (n, report) = lanes.next()?;
            self.take_in(&self.at_work[n].clone(), &report);
            if self.options.first && self.progress.iter().any(|p| p.tally.bad() > 0) {
                self.queue.clear();
                self.print(true);
                return Ok(());
            }
            self.print(false);
        }
    }

    /// In a process of its own.
    fn perform(&self, work: &Work, report: &PipeWriter) {
        match work {
            Work::Measure(i) => measure(self.chosen[*i], report),
            Work::Points(i, mode, points) => {
                let measured = self.progress[*i].measured.as_ref().expect("it was measured");
                let t = piece(self.chosen[*i], *mode, measured, points, self.options).expect("processes and pipes");
                line(report, "tally", t.to_line());
            }
        }
    }

    fn take_in(&mut self, work: &Work, report: &str) {
        let lines = report.lines().filter_map(|l| l.split_once(' '));
        match work {
            Work::Measure(i) => {
                let mut measured = Measured::default();
                lines.filter(|(kind, _)| *kind == "measure").for_each(|(_, text)| measured.read(text));
                measured.complete();
                let (measured, key) = (Rc::new(measured), self.chosen[*i].measured_as());
                for j in (0..self.chosen.len()).filter(|&j| self.chosen[j].measured_as() == key).collect::<Vec<_>>() {
                    self.plan(j, measured.clone());
                }
            }
            Work::Points(i, mode, _) => {
                let p = &mut self.progress[*i];
                p.open -= 1;
                match lines.filter(|(kind, _)| *kind == "tally").find_map(|(_, text)| Tally::from_line(text)) {
                    Some(t) => p.tally.add(&t),
                    None => {
                        println!("  {} {}: a lane crashed", self.chosen[*i].name(), mode.as_str());
                        p.tally.stuck += 1;
                    }
                }
                if p.tally.bad() >= ENOUGH {
                    self.give_up(*i);
                }
            }
        }
    }

    fn give_up(&mut self, scenario: usize) {
        let before = self.queue.len();
        self.queue.retain(|w| !matches!(w, Work::Points(i, ..) if *i == scenario));
        let dropped = before - self.queue.len();
        self.progress[scenario].open -= dropped;
        if dropped > 0 {
            println!("  {}: enough; {dropped} pieces of its points are left out", self.chosen[scenario].name());
        }
    }

    /// Chooses the points of a measured scenario.
    fn plan(&mut self, i: usize, measured: Rc<Measured>) {
        let p = &mut self.progress[i];
        if measured.instructions == 0 {
            println!("  {}: the undisturbed run did not get through", self.chosen[i].name());
            p.tally.stuck += 1;
            p.measured = Some(measured);
            return;
        }
        let (stride, mut points) = measured.points(self.options.density.of(self.chosen[i].walks()), self.options.seed);
        if let Some(k) = self.options.at {
            points = vec![k];
        }
        (p.stride, p.measured) = (stride, Some(measured));
        let modes = [Mode::Pause, Mode::Kill].into_iter().filter(|m| self.options.mode.is_none_or(|o| o == *m));
        for mode in modes {
            // Far apart from each other in a piece, so that all take about as long.
            let pieces = points.len().div_ceil(PIECE);
            for n in 0..pieces {
                let piece = points.iter().copied().skip(n).step_by(pieces).collect();
                self.queue.push_front(Work::Points(i, mode, piece));
            }
            p.open += pieces;
        }
    }

    /// Prints the lines of scenarios that are done, in the order of the list; with `all` those that were begun.
    fn print(&mut self, all: bool) {
        while let Some(p) = self.progress.get(self.printed) {
            let instructions = p.measured.as_ref().map(|m| m.instructions);
            if instructions.is_none() || p.open > 0 {
                if !all {
                    return;
                }
                if p.tally.points() == 0 {
                    self.printed += 1;
                    continue;
                }
            }
            let scenario = self.chosen[self.printed];
            self.table.row(scenario.group(), scenario, instructions.unwrap_or(0), p.stride, &p.tally);
            // It is not needed any more, and large.
            self.progress[self.printed].measured = None;
            self.printed += 1;
        }
    }
}

/// The undisturbed run: how many instructions there are, and which of them matter to others.
fn measure(scenario: &dyn Scenario, report: &PipeWriter) {
    let finished = driver::measuring(
        |case| case.measure(scenario),
        |kind, text| match kind {
            "measure" => line(report, kind, text),
            "outcome" | "wake" | "second-look" => {}
            _ => println!("  {}, undisturbed: {kind}: {text}", scenario.name()),
        },
    );
    if !finished.expect("processes and pipes") {
        println!("  {}, undisturbed: the driver crashed or hung", scenario.name());
    }
}

/// Some points of a scenario in one mode.
fn piece(scenario: &dyn Scenario, mode: Mode, measured: &Measured, points: &[u64], options: &Options) -> io::Result<Tally> {
    let mut tally = Tally::default();
    for &k in points {
        let way = measured.way_to(k);
        let mut bad = Vec::new();
        let finished = in_driver(
            |case| case.run(scenario, mode, k, &way),
            |kind, text| match kind {
                "violation" | "stuck" | "note" => bad.push((kind.to_owned(), text.to_owned())),
                "outcome" if text == "died" => tally.died += 1,
                "outcome" => tally.clean += 1,
                "wake" => tally.slowest_us = tally.slowest_us.max(text.parse().unwrap_or(0)),
                "second-look" => tally.second_looks += 1,
                _ => {}
            },
        )?;
        if !finished {
            bad.push(("stuck".to_owned(), "the driver crashed or hung".to_owned()));
        }
        tally.count(mode);
        let (name, mode) = (scenario.name(), mode.as_str());
        for (kind, text) in &bad {
            println!("  {name} {mode} at {k}: {kind}: {text}");
        }
        if !bad.is_empty() {
            println!("    again: cargo xtask survive --only {name} --mode {mode} --at {k}{}", options.again());
        }
        tally.stuck += u64::from(bad.iter().any(|(kind, _)| kind == "stuck"));
        tally.violations += u64::from(bad.iter().any(|(kind, _)| kind == "violation"));
        if tally.bad() >= if options.first { 1 } else { ENOUGH } {
            break;
        }
    }
    Ok(tally)
}
