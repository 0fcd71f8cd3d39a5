//! The time of a round in which everything happens.

use super::super::ledger::THREADS;
use super::super::worker;
use super::Supervisor;
use crate::sys::{self, Pid};
use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// Chaos per round: short, because only rest shows a lost wake-up (in chaos the next release covers it).
const CHAOS: Duration = Duration::from_millis(150);

/// Longer than the periodic second look of a wait.
const LONG_STOP: Duration = Duration::from_millis(1200);

impl Supervisor<'_> {
    /// Kills and stops at random for a while.
    pub(super) fn chaos(&mut self) -> io::Result<()> {
        self.ledger.quiet.store(0, SeqCst);
        // In some rounds processes live for a moment, in others they get old.
        let pace = [1000, 2000, 10_000, 40_000][self.random.below(4) as usize];
        let long = self.random.one_in(60).then(|| self.random.below(self.options.processes as u64) as usize);
        let end = Instant::now() + CHAOS + if long.is_some() { LONG_STOP } else { Duration::ZERO };
        let mut next_deed = Instant::now();
        while Instant::now() < end {
            self.look_around();
            for slot in 0..self.options.processes {
                if self.processes[slot].is_none() {
                    self.start(slot)?;
                }
            }
            sys::nap(self.random.below(2000));
            self.interrupt();
            self.continue_those_whose_time_has_come();
            if Instant::now() >= next_deed {
                next_deed = Instant::now() + Duration::from_micros(self.random.below(pace));
                self.deed(long, end);
            }
        }
        Ok(())
    }

    /// Stops somebody for a while, or kills somebody.
    fn deed(&mut self, long: Option<usize>, end: Instant) {
        let slot = self.random.below(self.processes.len() as u64) as usize;
        let time = Duration::from_micros(self.random.below(30_000));
        let now = Instant::now();
        if let Some(slot) = long
            && end - now > LONG_STOP / 2
        {
            self.stop(slot, now + LONG_STOP);
        }
        if self.random.one_in(3) {
            self.stop(slot, now + time);
        } else if long != Some(slot) {
            self.kill(slot);
        }
    }

    fn stop(&mut self, slot: usize, until: Instant) {
        if let Some(p) = &mut self.processes[slot]
            && p.stopped_until.is_none()
        {
            sys::kill(p.pid, libc::SIGSTOP);
            p.stopped_until = Some(until);
            self.totals.stops += 1;
        }
    }

    fn continue_those_whose_time_has_come(&mut self) {
        let now = Instant::now();
        for p in self.processes.iter_mut().flatten() {
            if p.stopped_until.is_some_and(|t| now >= t) {
                p.stopped_until = None;
                sys::kill(p.pid, libc::SIGCONT);
            }
        }
    }

    /// Makes handlers run in some of the threads, wherever they are.
    fn interrupt(&mut self) {
        if !self.options.interrupts {
            return;
        }
        for slot in 0..self.processes.len() {
            let Some(p) = self.processes[slot] else { continue };
            for t in 0..THREADS {
                let tid = self.ledger.processes[slot].claimants[t].tid.load(SeqCst) as Pid;
                if tid != 0 && self.random.one_in(2) {
                    sys::kill_thread(p.pid, tid, worker::handlers::SIGNAL);
                }
            }
        }
    }
}
