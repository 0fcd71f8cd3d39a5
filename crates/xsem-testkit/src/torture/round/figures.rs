//! What a run prints.

use super::super::account::Balance;
use super::super::ledger::Count;
use super::super::worker::Mix;
use super::Supervisor;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// A line of figures comes this often.
pub(super) const PROGRESS: Duration = Duration::from_secs(30);

/// Of each claimant of the processes that live, so many steps are printed after a violation.
const STEPS: usize = 10;

/// Sums over all rounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) rounds: u64,
    pub(super) kills: u64,
    pub(super) stops: u64,
    pub(super) stuck: u64,
    pub(super) balance: Balance,
    /// Violations that are printed already.
    printed: u64,
}

impl Totals {
    pub(super) fn add(&mut self, b: &Balance) {
        let sum = &mut self.balance;
        sum.certain += b.certain;
        sum.perhaps += b.perhaps;
        sum.reported += b.reported;
        sum.lost += b.lost;
        self.rounds += 1;
    }
}

impl Supervisor<'_> {
    pub(super) fn print_figures(&self) {
        let (l, t, b) = (&self.ledger, &self.totals, &self.totals.balance);
        let n = |c: Count| l.counted(c);
        let operations: u64 = l.processes.iter().flat_map(|p| &p.claimants).map(|t| t.operations.load(SeqCst)).sum();
        println!(
            "{:>6.0} s: {} rounds and audits, {operations} operations: {} grants, {} of permits, {} of lists, {} nested, \
             {} timeouts, {} cancelled; {} resizes, {} drains ({} refused), {} evictions; {} names created, {} removed, \
             {} collected, {} new namespaces ({} times full); {} signals and permits added, {} consumed, {} waits for events, \
             {} handlers ({} releases spent in them), {} looks at others, {} shares in claims, {} covered commands",
            self.began.elapsed().as_secs_f64(),
            t.rounds,
            n(Count::Grants),
            n(Count::PermitGrants),
            n(Count::ListGrants),
            n(Count::Nested),
            n(Count::Timeouts),
            n(Count::Cancelled),
            n(Count::Resizes),
            n(Count::Drains),
            n(Count::Drained),
            n(Count::Evictions),
            n(Count::Creations),
            n(Count::Removals),
            n(Count::Collected),
            n(Count::Fresh),
            n(Count::MemberLimit),
            l.signals.ups.load(SeqCst),
            l.signals.downs.load(SeqCst),
            n(Count::EventWaits),
            l.signals.handled.load(SeqCst),
            n(Count::SpentByHandlers),
            n(Count::Observations),
            n(Count::Shared),
            n(Count::Covered),
        );
        println!(
            "          {} kills, {} stops, {} forks, {} execs, {} exits; threads that returned {}, exited {}, were cancelled {}, \
             {} panics; futures: {} done, {} dropped, {} moved; owner deaths: {} told (105), {} certain (and {} possible), \
             {} without details; longest wait {:.1} s; {} violations, {} stuck",
            t.kills,
            t.stops,
            n(Count::Forks),
            n(Count::Execs),
            n(Count::Exits),
            n(Count::ThreadsReturned),
            n(Count::ThreadsExited),
            n(Count::ThreadsCancelled),
            n(Count::Panics),
            n(Count::FuturesDone),
            n(Count::FuturesDropped),
            n(Count::FuturesMoved),
            b.reported,
            b.certain,
            b.perhaps,
            b.lost,
            l.longest_wait.load(SeqCst) as f64 / 1e6,
            l.violations(),
            t.stuck,
        );
    }

    /// The violations of a round, how to see it again, and what everybody did last.
    pub(super) fn print_violations(&mut self, round: u64) {
        let texts = self.ledger.texts(self.totals.printed);
        if texts.is_empty() {
            return;
        }
        self.totals.printed = self.ledger.violations();
        println!("  in round {round}, of {:?}:", Mix::of(&self.ledger));
        for t in texts {
            println!("  violation: {t}");
        }
        self.print_replay(round);
        for slot in 0..self.processes.len() {
            let pid = self.processes[slot].map_or(0, |p| p.pid);
            for (c, claimant) in self.ledger.processes[slot].claimants.iter().enumerate() {
                let steps = claimant.trace.steps();
                if !steps.is_empty() {
                    let last: Vec<String> = steps.iter().rev().take(STEPS).rev().map(ToString::to_string).collect();
                    println!("    place {slot} (process {pid} now), claimant {c}: {}", last.join(", "));
                }
            }
        }
    }

    /// The command that makes the same choices again.
    pub(super) fn print_replay(&self, round: u64) {
        let o = self.options;
        let mix = o.mix.map_or(String::new(), |m| format!(" --mix {}", Mix::ALL[m].name()));
        let interrupts = if o.interrupts { "" } else { " --no-interrupts" };
        println!(
            "  the same choices again (the timing is another one): torture --seed {} --round {round} --processes {} --threads {}{mix}{interrupts}",
            o.seed, o.processes, o.threads
        );
    }
}
