//! Who hangs, and who only waits for a processor. The machine may have other work, so time alone says nothing: somebody
//! hangs who sleeps all the time, without a single change of context, while nobody else is at work for him.

use crate::sys::{self, Pid};
use std::time::{Duration, Instant};

/// Asleep for so long is hanging.
const ASLEEP: Duration = Duration::from_secs(15);
/// Whoever is at it for so long does not come to an end either.
const ALTOGETHER: Duration = Duration::from_secs(600);
/// Looking costs something.
const LOOKS: Duration = Duration::from_millis(500);

/// A wait for threads to come to an end.
pub(super) struct Patience {
    began: Instant,
    looked: Instant,
    moved: Instant,
    seen: Vec<(Pid, u64)>,
}

impl Patience {
    pub(super) fn new() -> Patience {
        let now = Instant::now();
        Patience { began: now, looked: now, moved: now, seen: Vec::new() }
    }

    /// Whether it is over, for want of any movement of these threads (process, thread).
    pub(super) fn is_over(&mut self, threads: impl FnOnce() -> Vec<(Pid, Pid)>) -> bool {
        let now = Instant::now();
        if now - self.looked < LOOKS {
            return false;
        }
        self.looked = now;
        let threads = threads();
        let waits_for_processor = threads.iter().any(|&(pid, tid)| !matches!(sys::state(pid, tid), Some('S' | 'T' | 't')));
        let seen: Vec<(Pid, u64)> = threads.iter().map(|&(pid, tid)| (tid, switches(pid, tid))).collect();
        if waits_for_processor || seen != self.seen {
            (self.moved, self.seen) = (now, seen);
        }
        now - self.moved > ASLEEP || now - self.began > ALTOGETHER
    }
}

/// How often a thread has gone to sleep, or had to give way.
fn switches(pid: Pid, tid: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).unwrap_or_default();
    let numbers =
        status.lines().filter(|l| l.contains("ctxt_switches")).filter_map(|l| l.rsplit('\t').next()?.parse::<u64>().ok());
    numbers.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sleeps_does_not_move_and_who_works_does() {
        let _dog = crate::watchdog::Watchdog::start("who sleeps");
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let sleeper = child.id() as Pid;
        while sys::state(sleeper, sleeper) != Some('S') || switches(sleeper, sleeper) == 0 {
            sys::nap(1000);
        }
        let me = (sys::own_pid(), sys::own_tid());
        let long_ago = Instant::now() - ASLEEP - LOOKS;
        let mut p = Patience { began: Instant::now(), looked: long_ago, moved: long_ago, seen: Vec::new() };
        assert!(!p.is_over(|| vec![(sleeper, sleeper)]), "seen for the first time");
        (p.looked, p.moved) = (long_ago, long_ago);
        assert!(!p.is_over(|| vec![me, (sleeper, sleeper)]), "somebody else is at work");
        (p.looked, p.moved, p.seen) = (long_ago, long_ago, vec![(sleeper, switches(sleeper, sleeper))]);
        assert!(p.is_over(|| vec![(sleeper, sleeper)]));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
