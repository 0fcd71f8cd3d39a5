//! The supervisor: starts workers, kills and stops them, lets them rest, and looks at what is left.

mod chaos;
mod figures;
mod newcomer;
mod patience;
mod people;
mod rest;

use super::account::{Account, Balance, STEADY_POOLS};
use super::ledger::{GUESTS, Ledger, PLACES, State, monotonic_micros};
use super::options::Options;
use super::os;
use super::seeded;
use super::worker::Mix;
use crate::random::{Random, seed_of};
use crate::sys::{self, Pid, SharedBox};
use people::Process;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// So many violations say enough.
const ENOUGH: u64 = 20;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing that must not be.
    Fine,
    /// Something was seen that must not be.
    Violations,
    /// Somebody did not come to rest.
    Stuck,
    /// Somebody asked the run to end; until then it was fine.
    Interrupted,
}

struct Supervisor<'a> {
    options: &'a Options,
    ledger: SharedBox<Ledger>,
    /// Removed at the end, however that comes.
    dir: Directory,
    url: String,
    random: Random,
    /// Workers, and after them their children.
    processes: Vec<Option<Process>>,
    account: Account,
    /// What each claimant had made when its deaths were accounted for last.
    settled: Vec<[State; PLACES]>,
    /// Deaths of holders that each pool had counted at the end of the last round.
    counted: [u64; STEADY_POOLS],
    /// How often a process was started in this round.
    births: u64,
    /// A process of the supervisor's own that looks after something.
    helper: Option<Pid>,
    began: Instant,
    totals: figures::Totals,
}

/// A directory of the run's own.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is in nobody's way: its name has the process id.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Runs what the options ask for.
pub fn run(options: &Options) -> io::Result<Verdict> {
    if let Some(bug) = &options.bug {
        seeded::choose(bug)?;
    }
    println!("seed {}, {} processes with {} threads each", options.seed, options.processes, options.threads);
    os::adopt_orphans();
    os::note_requests_to_end();
    let dir = Directory(format!("/dev/shm/xsem-torture-{}", std::process::id()).into());
    std::fs::create_dir(&dir.0)?;
    let (ledger, file) = SharedBox::<Ledger>::with_file()?;
    for (to, value) in [
        (&ledger.workers, options.processes as u32),
        (&ledger.threads, options.threads as u32),
        (&ledger.supervisor, std::process::id()),
        (&ledger.file, file.as_raw_fd() as u32),
        // Until a round begins.
        (&ledger.quiet, 1),
    ] {
        to.store(value, SeqCst);
    }
    ledger.seed.store(options.seed, SeqCst);
    ledger.began.store(monotonic_micros(), SeqCst);
    let places = options.processes + GUESTS;
    let mut s = Supervisor {
        options,
        ledger,
        url: format!("shm:{}/ns", dir.0.display()),
        dir,
        random: Random::new(options.seed),
        processes: vec![None; places],
        account: Account::default(),
        settled: vec![[State::default(); PLACES]; places],
        counted: [0; STEADY_POOLS],
        births: 0,
        helper: None,
        began: Instant::now(),
        totals: figures::Totals::default(),
    };
    let done = s.all_rounds();
    s.end_everybody();
    done
}

impl Supervisor<'_> {
    fn all_rounds(&mut self) -> io::Result<Verdict> {
        let end = self.began + Duration::from_secs(self.options.seconds);
        let mut next_word = self.began + figures::PROGRESS;
        let mut round = self.options.round.unwrap_or(0);
        loop {
            let sound = self.round(round)?;
            self.print_violations(round);
            if !sound {
                self.totals.stuck += 1;
                self.print_figures();
                self.print_replay(round);
                return Ok(Verdict::Stuck);
            }
            if Instant::now() > next_word {
                next_word += figures::PROGRESS;
                self.print_figures();
            }
            round += 1;
            let enough = self.ledger.violations() >= ENOUGH || self.options.round.is_some();
            if Instant::now() >= end || enough || os::is_asked_to_end() {
                break;
            }
        }
        self.print_figures();
        Ok(match self.ledger.violations() {
            0 if os::is_asked_to_end() => Verdict::Interrupted,
            0 => Verdict::Fine,
            _ => Verdict::Violations,
        })
    }

    /// Chaos, rest, audit, accounts. False: somebody hangs.
    fn round(&mut self, round: u64) -> io::Result<bool> {
        self.random = Random::new(seed_of(&[self.options.seed, round]));
        let mix = self.options.mix.unwrap_or_else(|| self.random.below(Mix::ALL.len() as u64) as usize);
        let l = &self.ledger;
        l.round.store(round + 1, SeqCst);
        l.mix.store(mix as u32, SeqCst);
        // Mostly off, to show that it is not what wakes people.
        l.recheck.store(self.random.one_in(4).into(), SeqCst);
        self.births = 0;
        self.chaos()?;
        if !self.rest()? {
            return Ok(false);
        }
        let b = self.settle()?;
        b.wrong.iter().for_each(|w| self.ledger.violation(w));
        self.totals.add(&b);
        self.remove_fresh(round + 1);
        Ok(true)
    }

    /// What the round's new namespace left.
    fn remove_fresh(&self, round: u64) {
        let Ok(all) = std::fs::read_dir(&self.dir.0) else { return };
        for entry in all.flatten() {
            // Its file, and the gate beside it.
            let name = entry.file_name();
            if name.to_string_lossy().trim_start_matches('.').starts_with(&format!("ns-{round}")) {
                drop(std::fs::remove_file(entry.path()));
            }
        }
    }

    /// At rest: every semaphore can be acquired, the file is whole, the deaths are told.
    fn settle(&mut self) -> io::Result<Balance> {
        let (ledger, url) = (&self.ledger, &self.url);
        let pid = sys::fork(|| {
            os::leave_the_terminal_alone();
            newcomer::check(ledger, url);
        })?;
        ledger.is_our_own(pid);
        self.helper_ends(pid, "a newcomer");
        // Deaths that the living made on purpose belong to this round.
        for slot in 0..self.processes.len() {
            self.settle_made(slot);
        }
        let account = std::mem::take(&mut self.account);
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
        Ok(balance)
    }
}
