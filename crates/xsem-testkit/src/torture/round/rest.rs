//! The time of a round in which everybody must come to rest by himself.

use super::super::ledger::{PLACES, THREADS};
use super::super::os;
use super::super::worker::Mix;
use super::patience::Patience;
use super::{Supervisor, newcomer};
use crate::sys::{self, Pid, Status};
use std::io;
use std::sync::atomic::Ordering::SeqCst;
use xsem::Namespace;

impl Supervisor<'_> {
    /// Everybody goes on until its operation is over, and rests. False: somebody hangs.
    pub(super) fn rest(&mut self) -> io::Result<bool> {
        for p in self.processes.iter_mut().flatten() {
            p.stopped_until = None;
            sys::kill(p.pid, libc::SIGCONT);
        }
        self.ledger.quiet.store(1, SeqCst);
        // A death now, when nobody comes any more: only the sleepers themselves can notice it.
        if self.random.one_in(2) {
            sys::nap(self.random.below(100));
            let holds = |slot: usize| self.ledger.processes[slot].claimants.iter().any(|c| c.state.get().held != 0);
            if let Some(slot) = (0..self.processes.len()).find(|slot| self.processes[*slot].is_some() && holds(*slot)) {
                self.kill(slot);
            }
        }
        self.ledger.ring.store(1, SeqCst);
        let (ledger, url) = (&self.ledger, &self.url);
        let ringer = sys::fork(|| {
            os::leave_the_terminal_alone();
            newcomer::ring(ledger, url);
        })?;
        self.ledger.is_our_own(ringer);
        self.helper = Some(ringer);
        let rested = self.all_rest();
        self.ledger.ring.store(0, SeqCst);
        self.helper_ends(ringer, "a signal or an `add_permits`");
        Ok(rested)
    }

    /// A process of the supervisor's own must come to its end.
    pub(super) fn helper_ends(&mut self, pid: Pid, what: &str) {
        self.helper = Some(pid);
        let mut patience = Patience::new();
        loop {
            match sys::wait(pid, false) {
                Status::Running if patience.is_over(|| vec![(pid, pid)]) => {
                    self.ledger.violation(&format!("at rest, {what} hangs: {}", sys::describe(pid)));
                    sys::end(pid);
                    break;
                }
                Status::Running | Status::Stopped(_) => sys::nap(100),
                Status::Exited(0) => break,
                other => {
                    self.ledger.violation(&format!("at rest, {what} ended with {other:?}"));
                    break;
                }
            }
        }
        self.helper = None;
    }

    fn all_rest(&mut self) -> bool {
        let mut patience = Patience::new();
        loop {
            self.look_around();
            let busy = self.busy();
            if busy.is_empty() && !self.is_expecting() {
                return true;
            }
            if patience.is_over(|| self.threads_of(&busy)) {
                self.print_hang(&busy);
                return false;
            }
            sys::nap(100);
        }
    }

    /// Who does not rest, and who still has something or runs a handler.
    fn busy(&self) -> Vec<(usize, usize)> {
        let mut busy = Vec::new();
        for slot in (0..self.processes.len()).filter(|slot| self.processes[*slot].is_some()) {
            let p = &self.ledger.processes[slot];
            let threads = p.threads.load(SeqCst) as usize;
            let rests = |t: usize| t >= threads || p.claimants[t].resting.load(SeqCst) != 0;
            let idle = |c: usize| p.claimants[c].state.get().is_idle();
            busy.extend((0..PLACES).filter(|c| *c < THREADS && !rests(*c) || !idle(*c)).map(|c| (slot, c)));
            if p.execed.load(SeqCst) != 0 || self.ledger.signals.is_busy(slot) {
                busy.push((slot, 0));
            }
        }
        busy
    }

    /// The threads that these are, and who signals for them. A task is polled by one of the threads that do not rest.
    fn threads_of(&self, busy: &[(usize, usize)]) -> Vec<(Pid, Pid)> {
        let tid = |slot: usize, c: usize| self.ledger.processes[slot].claimants[c].tid.load(SeqCst) as Pid;
        let pids = || busy.iter().filter_map(|&(slot, c)| Some((slot, c, self.processes[slot]?.pid)));
        let known = pids().filter(|&(slot, c, _)| c < THREADS && tid(slot, c) != 0);
        let mut all: Vec<(Pid, Pid)> = known.map(|(slot, c, pid)| (pid, tid(slot, c))).collect();
        if all.is_empty() {
            // Before a thread has said its number, the whole process counts.
            all = pids().flat_map(|(_, _, pid)| sys::threads(pid).into_iter().map(move |t| (pid, t))).collect();
        }
        // It naps between two rounds of signals; only where it waits for a processor, they may have to wait for it.
        all.extend(self.helper.map(|pid| (pid, pid)).filter(|&(p, t)| sys::state(p, t) == Some('R')));
        all
    }

    fn print_hang(&self, busy: &[(usize, usize)]) {
        let mix = Mix::of(&self.ledger);
        println!("  stuck: these are not done, and sleep (a round of {mix:?}):");
        for &(slot, c) in busy {
            let (pid, claimant) = (self.processes[slot].map_or(0, |p| p.pid), &self.ledger.processes[slot].claimants[c]);
            println!("    process {pid} claimant {c}: {:?}", claimant.state.get());
            claimant.trace.steps().iter().for_each(|s| println!("      {s}"));
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
}
