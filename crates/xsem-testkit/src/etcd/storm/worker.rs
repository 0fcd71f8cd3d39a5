//! A process of the storm: claims, holds, writes, gives back, until it is told to stop or is killed.

use super::account::Record;
use super::{resource, sloppy};
use crate::history::now;
use crate::random::Random;
use crate::sys::nap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use xsem::{AcquireError, Counting, Exclusive, Namespace, Wait};

/// The first argument of such a process: `URL DIR RECORD SEED [BUG]` follow.
pub const FLAG: &str = "__worker";
/// The file whose existence says that the storm is over.
pub const STOP: &str = "stop";
/// Of the pool.
pub const LIMIT: u32 = 3;
/// Of the credit that is only added to.
const ROOM: u32 = 65_535;

/// A look at the store that takes so long was not answered, in nanoseconds; and for so long nobody goes on.
const SILENT: u64 = 150_000_000;
const MOST: u64 = 6_000_000_000;

/// The semaphores of the storm.
pub struct Things {
    pub x: Exclusive,
    pub pool: Counting,
    pub credit: Counting,
}

impl Things {
    pub fn open(ns: &Namespace) -> xsem::Result<Things> {
        Ok(Things {
            x: Exclusive::open_or_create(ns, "x")?,
            pool: Counting::open_or_create_pool(ns, "pool", LIMIT)?,
            credit: Counting::open_or_create_credit(ns, "credit", ROOM, 0)?,
        })
    }
}

/// The program.
pub fn serve(args: &[String]) -> ExitCode {
    let [url, dir, record, seed, bug @ ..] = args else { return ExitCode::from(2) };
    let (Ok(seed), Ok(record)) = (seed.parse(), Record::create(Path::new(record))) else { return ExitCode::from(2) };
    let bug = bug.first().map(String::as_str).unwrap_or_default();
    let mut worker = Worker { dir: PathBuf::from(dir), record, random: Random::new(seed), bug: bug.to_owned() };
    // The store may be away when it begins.
    let things = loop {
        match sloppy::namespace(url, bug).and_then(|ns| Things::open(&ns)) {
            Ok(things) => break things,
            Err(_) if worker.is_over() => return ExitCode::SUCCESS,
            Err(_) => nap(20_000),
        }
    };
    while !worker.is_over() {
        worker.turn(&things);
    }
    ExitCode::SUCCESS
}

struct Worker {
    dir: PathBuf,
    record: Record,
    random: Random,
    bug: String,
}

impl Worker {
    fn is_over(&self) -> bool {
        self.dir.join(STOP).exists()
    }

    fn turn(&mut self, things: &Things) {
        match self.random.below(8) {
            0..=3 => self.exclusive(&things.x),
            4..=6 => self.pool(&things.pool),
            _ => {
                self.record.say("A");
                if things.credit.add_permits(1).is_ok() {
                    self.record.say("Y");
                }
            }
        }
        nap(self.random.below(3000));
    }

    /// Always with an end: who waits for ever only comes to one if the others do.
    fn wait(&mut self) -> Wait<'static> {
        match self.random.below(4) {
            0 => Wait::not(),
            1 => Wait::timeout(Duration::from_millis(self.random.below(60))),
            _ => Wait::timeout(Duration::from_secs(20)),
        }
    }

    fn token(&self, token: u64) -> u64 {
        if self.bug == "coarse" { token & !0xF } else { token }
    }

    fn exclusive(&mut self, x: &Exclusive) {
        let wait = self.wait();
        self.record.say(&format!("B 0 {}", now()));
        let guard = match x.acquire_with(wait) {
            Ok(guard) => {
                self.record.say(&format!("G {} {} 0 0", self.token(guard.token()), now()));
                guard
            }
            Err(AcquireError::OwnerDied(heir)) => {
                let died = heir.deaths().map(|d| (d.latest.process.pid, d.latest.token)).unwrap_or_default();
                let died = if self.bug == "untold" { (0, 0) } else { died };
                let guard = heir.into_guard();
                let token = self.token(guard.token());
                self.record.say(&format!("G {token} {} {} {}", now(), died.0, died.1));
                if guard.mark_consistent().is_ok() {
                    self.record.say("M");
                }
                guard
            }
            Err(AcquireError::Failed(_)) => return self.record.say("N"),
        };
        let token = self.token(guard.token());
        self.hold(|| guard.is_held());
        if resource::write(&self.dir, token).is_ok_and(|taken| !taken) {
            self.record.say("F");
        }
        self.record.say(&format!("E {}", now()));
        let code = guard.release().map_or_else(|e| e.code().number(), |()| 0);
        self.record.say(&format!("R {} {code}", now()));
    }

    fn pool(&mut self, pool: &Counting) {
        let (wait, permits) = (self.wait(), 1 + self.random.below(2) as u32);
        self.record.say(&format!("B {permits} {}", now()));
        let Ok(held) = pool.acquire_with(permits, wait) else { return self.record.say("N") };
        self.record.say(&format!("G {} {} 0 0", self.token(held.token()), now()));
        self.hold(|| held.is_held());
        self.record.say(&format!("E {}", now()));
        let code = held.release().map_or_else(|e| e.code().number(), |()| 0);
        self.record.say(&format!("R {} {code}", now()));
    }

    /// For a while, mostly a short one, looking whether it holds. The time is that of before the look.
    fn hold(&mut self, is_held: impl Fn() -> bool) {
        let long = self.random.one_in(5);
        let mut looks = if long { 120 } else { self.random.below(6) };
        let begin = now();
        while looks > 0 {
            let at = now();
            if !is_held() {
                return;
            }
            self.record.say(&format!("H {at}"));
            // The store is silent: it goes on, until it is told that it must not.
            let silent = now() - at > SILENT && at - begin < MOST;
            looks -= u64::from(!silent);
            nap(5000);
        }
    }
}
