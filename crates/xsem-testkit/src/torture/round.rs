//! The supervisor: starts workers, kills and stops them, lets them rest, and looks at what is left.

mod rest;

use super::account::{Account, Balance, POOLS, STEADY, STEADY_POOLS};
use super::ledger::{Ledger, State, exclusive, pool};
use super::options::Options;
use super::worker;
use super::worker::Mix;
use crate::random::Random;
use crate::sys::{self, Pid, SharedBox, Status};
use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use xsem::Namespace;

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
    /// Deaths of holders that each pool had counted at the end of the last round.
    counted: [u64; STEADY_POOLS],
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
        counted: [0; STEADY_POOLS],
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
            if !self.rest()? {
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
            "{rounds} rounds and audits, {operations} operations, {} grants, {} of permits, {} of lists, {} nested, {} timeouts, \
             {} removals, {} resizes, {} drains ({} refused), {} evictions, {} signals and permits added, {} consumed, {} waits for events, \
             {} handlers ({} releases spent in them), {} kills, {} stops; owner deaths: {} reported, {} certain (and {} possible); {} without details; {} violations, {stuck} stuck",
            l.grants.load(SeqCst),
            l.permit_grants.load(SeqCst),
            l.list_grants.load(SeqCst),
            l.nested.load(SeqCst),
            l.timeouts.load(SeqCst),
            l.removals.load(SeqCst),
            l.resizes.load(SeqCst),
            l.drains.load(SeqCst),
            l.drained.load(SeqCst),
            l.evictions.load(SeqCst),
            l.signals.ups.load(SeqCst),
            l.signals.downs.load(SeqCst),
            l.event_waits.load(SeqCst),
            l.signals.handled.load(SeqCst),
            l.spent_by_handlers.load(SeqCst),
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
        let mix = self.options.mix.unwrap_or_else(|| self.random.below(Mix::ALL.len() as u64) as usize);
        self.ledger.mix.store(mix as u32, SeqCst);
        self.ledger.quiet.store(0, SeqCst);
        let end = Instant::now() + CHAOS;
        while Instant::now() < end {
            for slot in 0..self.processes.len() {
                if self.processes[slot].is_none() {
                    self.start(slot)?;
                }
            }
            sys::nap(self.random.below(2000));
            self.interrupt();
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

    /// Makes handlers run in some of the threads, wherever they are.
    fn interrupt(&mut self) {
        if !self.options.interrupts {
            return;
        }
        for slot in 0..self.processes.len() {
            let Some(p) = self.processes[slot] else { continue };
            for t in 0..self.options.threads {
                let tid = self.ledger.threads[slot][t].tid.load(SeqCst) as Pid;
                if tid != 0 && self.random.one_in(2) {
                    sys::kill_thread(p.pid, tid, worker::handlers::SIGNAL);
                }
            }
        }
    }

    /// Somebody who signals and adds permits until nobody waits for that any more.
    fn start_ringer(&self) -> io::Result<Pid> {
        self.ledger.ring.store(1, SeqCst);
        sys::fork(|| rest::ring(&self.ledger, &self.url))
    }

    fn end_ringer(&self, pid: Pid) {
        self.ledger.ring.store(0, SeqCst);
        let begin = Instant::now();
        loop {
            match sys::wait(pid, false) {
                Status::Running if begin.elapsed() > PATIENCE => {
                    self.ledger.violation("at rest, a signal or an `add_permits` hangs");
                    return sys::end(pid);
                }
                Status::Running | Status::Stopped(_) => sys::nap(100),
                Status::Exited(0) => return,
                other => return self.ledger.violation(&format!("who signals at rest ended with {other:?}")),
            }
        }
    }

    fn start(&mut self, slot: usize) -> io::Result<()> {
        let seed = self.random.next();
        for t in 0..self.options.threads {
            let thread = &self.ledger.threads[slot][t];
            thread.set(State::default());
            thread.resting.store(0, SeqCst);
            thread.tid.store(0, SeqCst);
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
        self.ledger.signals.killed(slot);
        for t in 0..self.options.threads {
            let state = self.ledger.threads[slot][t].get();
            self.account.made(state.made - self.settled[slot][t]);
            for name in 0..STEADY {
                match exclusive(name) {
                    bit if state.held & bit != 0 => self.account.killed(name, p.pid as u32),
                    bit if state.abandoning & bit != 0 => self.account.made(1),
                    bit if state.unsure & bit != 0 => self.account.perhaps(),
                    _ => {}
                }
            }
            for k in 0..POOLS {
                match pool(k) {
                    bit if state.held & bit != 0 => self.account.killed_holder(k, true),
                    bit if state.unsure & bit != 0 => self.account.killed_holder(k, false),
                    _ => {}
                }
            }
            self.ledger.threads[slot][t].set(State::default());
            self.settled[slot][t] = 0;
        }
    }

    /// Everybody goes on until its operation is over, and rests. False: somebody hangs.
    fn rest(&mut self) -> io::Result<bool> {
        for p in self.processes.iter_mut().flatten() {
            p.stopped_until = None;
            sys::kill(p.pid, libc::SIGCONT);
        }
        self.ledger.quiet.store(1, SeqCst);
        // A death now, when nobody comes any more: only the sleepers themselves can notice it.
        if self.random.one_in(2) {
            sys::nap(self.random.below(100));
            let holding = |slot: &usize| self.ledger.threads[*slot].iter().any(|t| t.get().held != 0);
            if let Some(slot) = (0..self.processes.len()).find(holding) {
                self.kill(slot);
            }
        }
        let ringer = self.start_ringer()?;
        let rested = self.all_rest();
        self.end_ringer(ringer);
        Ok(rested)
    }

    fn all_rest(&mut self) -> bool {
        let begin = Instant::now();
        loop {
            let handlers = (0..self.processes.len()).any(|slot| self.ledger.signals.is_busy(slot));
            let busy: Vec<(usize, usize)> = (0..self.processes.len())
                .filter(|&slot| self.processes[slot].is_some())
                .flat_map(|slot| (0..self.options.threads).map(move |t| (slot, t)))
                .filter(|&(slot, t)| self.ledger.threads[slot][t].resting.load(SeqCst) == 0)
                .collect();
            if busy.is_empty() && !handlers {
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
                        self.ledger.signals.killed(slot);
                        self.account.perhaps();
                    }
                }
            }
        }
    }

    fn print_hang(&self, busy: &[(usize, usize)]) {
        let mix = Mix::ALL[self.ledger.mix.load(SeqCst) as usize];
        println!("  stuck: after {} s of rest these threads are not done (a round of {mix:?}):", PATIENCE.as_secs());
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
        let pid = sys::fork(|| rest::check(ledger, url))?;
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
                let made = self.ledger.threads[slot][t].get().made;
                account.made(made - self.settled[slot][t]);
                self.settled[slot][t] = made;
            }
        }
        let (log, overflow) = self.ledger.take_log();
        if overflow > 0 {
            self.ledger.violation(&format!("the log is too short by {overflow} lines"));
        }
        let mut balance = account.balance(&log);
        for k in 0..STEADY_POOLS {
            let total = self.ledger.pool_deaths[k].load(SeqCst);
            balance.wrong.extend(account.balance_pool(k, total - self.counted[k]));
            self.counted[k] = total;
        }
        if !balance.wrong.is_empty() {
            println!("  in a round of {:?}:", Mix::ALL[self.ledger.mix.load(SeqCst) as usize]);
        }
        Ok(balance)
    }
}
