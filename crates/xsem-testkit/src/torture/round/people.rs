//! The processes of a run: how they begin, end, become other programs, and what each end made.

use super::super::account::{POOLS, STEADY};
use super::super::ledger::{Guest, PLACES, State, exclusive, pool};
use super::super::worker::{EXECED, LEAVES};
use super::super::{os, worker};
use super::Supervisor;
use crate::random::seed_of;
use crate::sys::{self, Pid, Status};
use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// Whoever is not born by then will end by himself.
const LAST_LOOK: Duration = Duration::from_secs(15);

/// A process that may be killed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) stopped_until: Option<Instant>,
}

impl Supervisor<'_> {
    pub(super) fn start(&mut self, slot: usize) -> io::Result<()> {
        self.births += 1;
        let birth = seed_of(&[self.options.seed, self.ledger.round.load(SeqCst), slot as u64, self.births]) >> 1;
        self.ledger.processes[slot].threads.store(self.options.threads as u32, SeqCst);
        let (ledger, url, threads) = (&self.ledger, &self.url, self.options.threads);
        let pid = sys::fork(|| {
            os::leave_the_terminal_alone();
            ledger.is_our_own(sys::own_pid());
            worker::run(ledger, url, slot, threads, birth);
        })?;
        self.processes[slot] = Some(Process { pid, stopped_until: None });
        Ok(())
    }

    /// Kills a process and writes down what that made.
    pub(super) fn kill(&mut self, slot: usize) {
        let Some(p) = self.processes[slot].take() else { return };
        sys::end(p.pid);
        self.totals.kills += 1;
        self.ended(slot, p.pid);
    }

    /// A process is gone: what it held it held to its end.
    fn ended(&mut self, slot: usize, pid: Pid) {
        self.processes[slot] = None;
        self.held_to_the_end(slot, pid);
        let p = &self.ledger.processes[slot];
        p.execed.store(0, SeqCst);
        p.guest.store(0, SeqCst);
    }

    /// What the claimants in a place held is dead, for certain or perhaps.
    fn held_to_the_end(&mut self, slot: usize, pid: Pid) {
        self.settle_made(slot);
        self.ledger.signals.killed(slot);
        for claimant in &self.ledger.processes[slot].claimants {
            let state = claimant.state.get();
            for name in 0..STEADY {
                match exclusive(name) {
                    bit if state.held & bit != 0 => self.account.killed(name, pid as u32),
                    bit if state.abandoning & bit != 0 => self.account.made(1),
                    bit if state.unsure & bit != 0 => self.account.perhaps(),
                    _ => {}
                }
            }
            for k in 0..POOLS {
                match pool(k) {
                    bit if (state.held | state.abandoning) & bit != 0 => self.account.killed_holder(k, true),
                    bit if state.unsure & bit != 0 => self.account.killed_holder(k, false),
                    _ => {}
                }
            }
            claimant.state.set(State::default());
            claimant.resting.store(0, SeqCst);
            claimant.tid.store(0, SeqCst);
        }
        self.settled[slot] = [State::default(); PLACES];
    }

    /// Deaths that were made on purpose there, since the last time.
    pub(super) fn settle_made(&mut self, slot: usize) {
        for (claimant, settled) in self.ledger.processes[slot].claimants.iter().zip(&mut self.settled[slot]) {
            let state = claimant.state.get();
            let (made, pools) = state.made_since(settled);
            self.account.made(made);
            for (k, n) in pools.into_iter().enumerate() {
                (0..n).for_each(|_| self.account.killed_holder(k, true));
            }
            *settled = state;
        }
    }

    /// Takes note of children that were forked, of processes that have become other programs, and of those that have ended.
    pub(super) fn look_around(&mut self) {
        for slot in 0..self.processes.len() {
            let word = &self.ledger.processes[slot].guest;
            let seen = word.load(SeqCst);
            match Guest::of(seen) {
                Guest::Lives(pid) if self.processes[slot].is_none() => {
                    self.processes[slot] = Some(Process { pid, stopped_until: None });
                }
                guest if guest.is_over() => drop(word.compare_exchange(seen, 0, SeqCst, SeqCst)),
                _ => {}
            }
            let Some(p) = self.processes[slot] else { continue };
            if self.ledger.processes[slot].execed.load(SeqCst) == EXECED {
                // It waits for that, and begins anew.
                self.ledger.processes[slot].threads.store(self.options.threads as u32, SeqCst);
                self.held_to_the_end(slot, p.pid);
                self.ledger.processes[slot].execed.store(0, SeqCst);
            }
            match sys::wait(p.pid, false) {
                Status::Running | Status::Stopped(_) => {}
                Status::Exited(0) if self.ledger.processes[slot].execed.load(SeqCst) == LEAVES => self.ended(slot, p.pid),
                other => {
                    self.ledger.violation(&format!("worker {} ended by itself: {other:?}", p.pid));
                    self.account.perhaps();
                    self.ended(slot, p.pid);
                }
            }
        }
        // Those between a process and the child of its child.
        while let Some(pid) = os::ended_child() {
            if self.helper == Some(pid) || self.processes.iter().flatten().any(|p| p.pid == pid) {
                break;
            }
            os::reap(pid);
        }
    }

    /// A place that somebody has reserved for a child that he is forking.
    pub(super) fn is_expecting(&self) -> bool {
        let reserved = |g| matches!(Guest::of(g), Guest::Reserved(_));
        self.ledger.processes[..self.processes.len()].iter().any(|p| reserved(p.guest.load(SeqCst)))
    }

    /// Kills whoever is left, also those that are born meanwhile.
    pub(super) fn end_everybody(&mut self) {
        let begin = Instant::now();
        loop {
            (0..self.processes.len()).for_each(|slot| self.kill(slot));
            self.look_around();
            let anybody = self.is_expecting() || self.processes.iter().any(Option::is_some);
            if !anybody || begin.elapsed() > LAST_LOOK {
                return;
            }
        }
    }
}
