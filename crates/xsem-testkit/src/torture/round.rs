//! The supervisor: starts workers, kills and stops them, lets them rest, and looks at what is left.

use super::account::{Account, Balance, Death, Entry, STEADY};
use super::ledger::{Ledger, Phase};
use super::options::Options;
use super::worker;
use crate::random::Random;
use crate::sys::{self, Pid, SharedBox, Status};
use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use xsem::{AcquireError, Exclusive, Namespace};

/// Chaos per round: short, because only rest shows a lost wake-up (in chaos the next release covers it).
const CHAOS: Duration = Duration::from_millis(150);

/// Whoever does not come to rest in this time hangs.
const PATIENCE: Duration = Duration::from_secs(15);

/// A worker process.
#[derive(Clone, Copy, Debug)]
struct Process {
    pid: Pid,
    stopped_until: Option<Instant>,
}

struct Supervisor<'a> {
    options: &'a Options,
    ledger: SharedBox<Ledger>,
    url: String,
    random: Random,
    processes: Vec<Option<Process>>,
    account: Account,
    /// Deaths made on purpose by each thread that earlier rounds have accounted for.
    settled: Vec<Vec<u64>>,
    kills: u64,
    stops: u64,
    printed: u64,
}

/// Runs what the options ask for. True: no violation.
pub fn run(options: &Options) -> io::Result<bool> {
    println!("seed {}, {} processes with {} threads each", options.seed, options.processes, options.threads);
    let dir = format!("/dev/shm/xsem-torture-{}", std::process::id());
    std::fs::create_dir(&dir)?;
    let mut s = Supervisor {
        options,
        ledger: SharedBox::new()?,
        url: format!("shm:{dir}/ns"),
        random: Random::new(options.seed),
        processes: vec![None; options.processes],
        account: Account::default(),
        settled: vec![vec![0; options.threads]; options.processes],
        kills: 0,
        stops: 0,
        printed: 0,
    };
    let done = s.all_rounds();
    for slot in 0..s.processes.len() {
        s.kill(slot);
    }
    std::fs::remove_dir_all(&dir)?;
    done
}

impl Supervisor<'_> {
    fn all_rounds(&mut self) -> io::Result<bool> {
        let begin = Instant::now();
        let end = begin + Duration::from_secs(self.options.seconds);
        let (mut rounds, mut total, mut stuck) = (0u64, Balance::default(), 0);
        let mut next_word = begin + Duration::from_secs(30);
        while Instant::now() < end && stuck == 0 && self.ledger.violations() < 20 {
            self.chaos()?;
            if !self.rest() {
                stuck += 1;
                break;
            }
            let b = self.settle()?;
            b.wrong.iter().for_each(|w| self.ledger.violation(w));
            total.certain += b.certain;
            total.perhaps += b.perhaps;
            total.reported += b.reported;
            total.lost += b.lost;
            rounds += 1;
            self.print_violations();
            if Instant::now() > next_word {
                next_word += Duration::from_secs(30);
                println!("{:>6.0} s: {}", begin.elapsed().as_secs_f64(), self.figures(rounds, &total, stuck));
            }
        }
        self.print_violations();
        println!("{:>6.0} s: {}", begin.elapsed().as_secs_f64(), self.figures(rounds, &total, stuck));
        Ok(self.ledger.violations() == 0 && stuck == 0 && rounds > 0)
    }

    fn figures(&self, rounds: u64, b: &Balance, stuck: u64) -> String {
        let l = &self.ledger;
        let operations: u64 = l.threads.iter().flatten().map(|t| t.operations.load(SeqCst)).sum();
        format!(
            "{rounds} rounds and audits, {operations} operations, {} grants, {} nested, {} timeouts, {} removals, {} kills, {} stops; \
             owner deaths: {} reported, {} certain (and {} possible); {} without details; {} violations, {stuck} stuck",
            l.grants.load(SeqCst),
            l.nested.load(SeqCst),
            l.timeouts.load(SeqCst),
            l.removals.load(SeqCst),
            self.kills,
            self.stops,
            b.reported,
            b.certain,
            b.perhaps,
            b.lost,
            l.violations()
        )
    }

    fn print_violations(&mut self) {
        for t in self.ledger.texts(self.printed) {
            println!("  violation: {t}");
        }
        self.printed = self.ledger.violations();
    }

    /// Kills and stops at random for a while.
    fn chaos(&mut self) -> io::Result<()> {
        self.ledger.quiet.store(0, SeqCst);
        let end = Instant::now() + CHAOS;
        while Instant::now() < end {
            for slot in 0..self.processes.len() {
                if self.processes[slot].is_none() {
                    self.start(slot)?;
                }
            }
            sys::nap(self.random.below(2000));
            let now = Instant::now();
            for p in self.processes.iter_mut().flatten() {
                if p.stopped_until.is_some_and(|t| now >= t) {
                    p.stopped_until = None;
                    sys::kill(p.pid, libc::SIGCONT);
                }
            }
            let slot = self.random.below(self.processes.len() as u64) as usize;
            if self.random.one_in(3) {
                let time = Duration::from_micros(self.random.below(30_000));
                if let Some(p) = &mut self.processes[slot] {
                    sys::kill(p.pid, libc::SIGSTOP);
                    p.stopped_until = Some(now + time);
                    self.stops += 1;
                }
            } else {
                self.kill(slot);
            }
        }
        Ok(())
    }

    fn start(&mut self, slot: usize) -> io::Result<()> {
        let seed = self.random.next();
        for t in 0..self.options.threads {
            let thread = &self.ledger.threads[slot][t];
            thread.set(Phase::Idle, 0, 0);
            thread.resting.store(0, SeqCst);
            self.settled[slot][t] = 0;
        }
        let pid = sys::fork(|| worker::run(&self.ledger, &self.url, slot, self.options.threads, seed))?;
        self.processes[slot] = Some(Process { pid, stopped_until: None });
        Ok(())
    }

    /// Kills a process and writes down what that made.
    fn kill(&mut self, slot: usize) {
        let Some(p) = self.processes[slot].take() else { return };
        sys::end(p.pid);
        self.kills += 1;
        for t in 0..self.options.threads {
            let (phase, name, made) = self.ledger.threads[slot][t].get();
            self.account.made(made - self.settled[slot][t]);
            match phase {
                _ if name >= STEADY => {}
                Phase::Idle => {}
                Phase::Holding => self.account.killed(name, p.pid as u32),
                Phase::Abandoning => self.account.made(1),
                Phase::Acquiring | Phase::Releasing => self.account.perhaps(),
            }
            self.ledger.threads[slot][t].set(Phase::Idle, 0, 0);
            self.settled[slot][t] = 0;
        }
    }

    /// Everybody goes on until its operation is over, and rests. False: somebody hangs.
    fn rest(&mut self) -> bool {
        for p in self.processes.iter_mut().flatten() {
            p.stopped_until = None;
            sys::kill(p.pid, libc::SIGCONT);
        }
        self.ledger.quiet.store(1, SeqCst);
        // A death now, when nobody comes any more: only the sleepers themselves can notice it.
        if self.random.one_in(2) {
            sys::nap(self.random.below(100));
            let holding = |slot: &usize| self.ledger.threads[*slot].iter().any(|t| matches!(t.get(), (Phase::Holding, ..)));
            if let Some(slot) = (0..self.processes.len()).find(holding) {
                self.kill(slot);
            }
        }
        let begin = Instant::now();
        loop {
            let busy: Vec<(usize, usize)> = (0..self.processes.len())
                .filter(|&slot| self.processes[slot].is_some())
                .flat_map(|slot| (0..self.options.threads).map(move |t| (slot, t)))
                .filter(|&(slot, t)| self.ledger.threads[slot][t].resting.load(SeqCst) == 0)
                .collect();
            if busy.is_empty() {
                return true;
            }
            self.note_ended();
            if begin.elapsed() > PATIENCE {
                self.print_hang(&busy);
                return false;
            }
            sys::nap(100);
        }
    }

    /// A worker that ended by itself crashed.
    fn note_ended(&mut self) {
        for slot in 0..self.processes.len() {
            if let Some(p) = self.processes[slot] {
                match sys::wait(p.pid, false) {
                    Status::Running | Status::Stopped(_) => {}
                    other => {
                        self.ledger.violation(&format!("worker {} ended by itself: {other:?}", p.pid));
                        self.processes[slot] = None;
                        self.account.perhaps();
                    }
                }
            }
        }
    }

    fn print_hang(&self, busy: &[(usize, usize)]) {
        println!("  stuck: after {} s of rest these threads are not done:", PATIENCE.as_secs());
        for &(slot, t) in busy {
            let pid = self.processes[slot].map_or(0, |p| p.pid);
            println!("    process {pid} thread {t}: {:?}", self.ledger.threads[slot][t].get());
        }
        for p in self.processes.iter().flatten() {
            println!("    {}: {}", p.pid, sys::describe(p.pid));
        }
        let url = self.url.clone();
        let show = sys::fork(|| match Namespace::open(&url).and_then(|ns| ns.list().map(|all| (ns, all))) {
            Ok((ns, all)) => {
                for s in all {
                    println!("    {:?}", ns.inspect(&s.name));
                }
                xsem::shm::testing::audit(&ns).iter().for_each(|v| println!("    audit: {v}"));
            }
            Err(e) => println!("    {e}"),
        });
        if let Ok(pid) = show {
            while sys::wait(pid, true) == Status::Running {}
        }
    }

    /// At rest: every semaphore can be acquired, the file is whole, the deaths are told.
    fn settle(&mut self) -> io::Result<Balance> {
        let (ledger, url) = (&self.ledger, &self.url);
        let pid = sys::fork(|| check(ledger, url))?;
        let begin = Instant::now();
        loop {
            match sys::wait(pid, false) {
                Status::Running if begin.elapsed() > PATIENCE => {
                    self.ledger.violation("at rest, a newcomer hangs");
                    sys::end(pid);
                    break;
                }
                Status::Running | Status::Stopped(_) => sys::nap(200),
                Status::Exited(0) => break,
                other => {
                    self.ledger.violation(&format!("the auditor ended with {other:?}"));
                    break;
                }
            }
        }
        // Deaths that the living made on purpose belong to this round.
        let mut account = std::mem::take(&mut self.account);
        for slot in 0..self.processes.len() {
            for t in 0..self.options.threads {
                let (_, _, made) = self.ledger.threads[slot][t].get();
                account.made(made - self.settled[slot][t]);
                self.settled[slot][t] = made;
            }
        }
        let (log, overflow) = self.ledger.take_log();
        if overflow > 0 {
            self.ledger.violation(&format!("the log is too short by {overflow} lines"));
        }
        Ok(account.balance(&log))
    }
}

/// Owns as the workers do, so that the witness knows of it, and what the semaphore protects is whole again.
fn pass(ledger: &Ledger, name: usize, guard: xsem::Guard<'_>, told: bool) {
    let me = super::ledger::identity(0);
    ledger.enter(name, me, told, true, guard.token());
    ledger.change(name, me, || {});
    ledger.leave(name, me);
    if let Err(e) = guard.release() {
        ledger.violation(&format!("release {name} at rest: {e}"));
    }
}

/// A newcomer acquires everything, reports and acknowledges what is still to be told, and audits the file.
fn check(ledger: &Ledger, url: &str) {
    xsem::shm::testing::set_recheck(false);
    let ns = match Namespace::open(url) {
        Ok(ns) => ns,
        Err(e) => return ledger.violation(&format!("open the namespace at rest: {e}")),
    };
    for name in 0..STEADY {
        // Nobody made it, when every worker was killed early.
        let Ok(s) = Exclusive::open(&ns, &worker::name(name)) else { continue };
        match s.try_acquire() {
            Ok(guard) => pass(ledger, name, guard, false),
            Err(AcquireError::Failed(e)) => ledger.violation(&format!("at rest: {e}")),
            Err(AcquireError::OwnerDied(r)) => {
                let (first, latest, count) = r.deaths().map_or(((0, 0), (0, 0), 0), |d| {
                    ((d.first.process.pid, d.first.token), (d.latest.process.pid, d.latest.token), d.count)
                });
                let death = |(pid, token)| Death { pid, token };
                ledger.report(&Entry { name, first: death(first), latest: death(latest), count });
                match r.mark_consistent() {
                    Ok(guard) => pass(ledger, name, guard, true),
                    Err(e) => ledger.violation(&format!("mark {name} consistent at rest: {e}")),
                }
            }
        }
    }
    for v in xsem::shm::testing::audit(&ns) {
        ledger.violation(&format!("audit: {v}"));
    }
}
