//! The table: what was done at each scenario, and what came of it.

use super::Mode;
use super::options::Options;
use super::scenarios::Scenario;

/// What the points of one scenario came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) killed: u64,
    pub(super) paused: u64,
    /// Points at which something was wrong, and at which somebody did not get through.
    pub(super) violations: u64,
    pub(super) stuck: u64,
    /// What next owners were told.
    pub(super) clean: u64,
    pub(super) died: u64,
    /// The longest that the watchdog saw somebody sleep on after what should wake it, in microseconds.
    pub(super) slowest_us: u64,
    /// Players that had their periodic second look on.
    pub(super) second_looks: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Tally) {
        self.killed += other.killed;
        self.paused += other.paused;
        self.violations += other.violations;
        self.stuck += other.stuck;
        self.clean += other.clean;
        self.died += other.died;
        self.slowest_us = self.slowest_us.max(other.slowest_us);
        self.second_looks += other.second_looks;
    }

    /// One more point.
    pub(super) fn count(&mut self, mode: Mode) {
        match mode {
            Mode::Kill => self.killed += 1,
            Mode::Pause => self.paused += 1,
        }
    }

    pub(super) fn bad(&self) -> u64 {
        self.violations + self.stuck
    }

    pub(super) fn points(&self) -> u64 {
        self.killed + self.paused
    }

    pub(super) fn to_line(&self) -> String {
        let Tally { killed, paused, violations, stuck, clean, died, slowest_us, second_looks } = self;
        format!("{killed} {paused} {violations} {stuck} {clean} {died} {slowest_us} {second_looks}")
    }

    pub(super) fn from_line(text: &str) -> Option<Tally> {
        let n: Vec<u64> = text.split(' ').map(|w| w.parse().ok()).collect::<Option<_>>()?;
        let &[killed, paused, violations, stuck, clean, died, slowest_us, second_looks] = &n[..] else { return None };
        Some(Tally { killed, paused, violations, stuck, clean, died, slowest_us, second_looks })
    }
}

/// A line of the table, before its end: the bad columns come last.
fn line(name: &str, middle: &str, t: &Tally) -> String {
    let wake = match t.slowest_us {
        0 => "-".to_owned(),
        us => format!("{:.1} ms", us as f64 / 1000.0),
    };
    let Tally { killed, paused, violations, stuck, clean, died, .. } = t;
    format!("{name:<30} {middle:>19} {clean:>6} {died:>6} {wake:>12} {killed:>7} {paused:>7} {violations:>10} {stuck:>6}")
}

/// Prints the table as its lines come.
#[derive(Debug, Default)]
pub(super) struct Table {
    group: String,
    total: Tally,
}

impl Table {
    pub(super) fn head(&self) {
        println!(
            "{:<30} {:>12} {:>6} {:>6} {:>6} {:>12} {:>7} {:>7} {:>10} {:>6}",
            "operation", "instructions", "stride", "clean", "died", "slowest wake", "killed", "paused", "violations", "stuck"
        );
    }

    pub(super) fn row(&mut self, group: &str, scenario: &dyn Scenario, instructions: u64, stride: u64, tally: &Tally) {
        if self.group != group {
            println!("{group}");
            self.group = group.to_owned();
        }
        let mark = if tally.second_looks > 0 { " *" } else { "" };
        println!("{}", line(&format!("  {}{mark}", scenario.name()), &format!("{instructions:>12} {stride:>6}"), tally));
        self.total.add(tally);
    }

    /// The totals and how to see it again. True: nothing was violated, and nobody got stuck.
    pub(super) fn foot(&self, seconds: f64, options: &Options) -> bool {
        let t = &self.total;
        println!("{}", line("total", "", t));
        println!();
        println!("{} points in {seconds:.0} s. {}", t.points(), options.sampling());
        println!("clean, died: what next owners were told. slowest wake: how long somebody slept on, as the watchdog saw it.");
        if t.second_looks > 0 {
            println!("*: sleepers have their second look (once a second) there; everywhere else it is off. Why: docs/testing.md");
        }
        println!("again: cargo xtask survive --only NAME");
        t.bad() == 0 && t.points() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_survives_its_way_through_a_pipe() {
        let mut t = Tally { violations: 3, stuck: 4, clean: 5, died: 6, slowest_us: 7, second_looks: 8, ..Tally::default() };
        t.count(Mode::Kill);
        t.count(Mode::Pause);
        t.count(Mode::Pause);
        assert_eq!(Tally::from_line(&t.to_line()), Some(t.clone()));
        assert_eq!((t.points(), t.bad()), (3, 7));
        assert_eq!(Tally::from_line("1 2 3"), None);
        let mut sum = t.clone();
        sum.add(&Tally { slowest_us: 5, stuck: 1, ..Tally::default() });
        assert_eq!((sum.slowest_us, sum.stuck), (7, 5));
    }
}
