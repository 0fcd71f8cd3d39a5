//! What the processes of a torture run write down in shared memory, independent of the engine.

use super::account::{Death, Entry, NAMES, POOLS, STEADY, STEADY_POOLS};
use super::signals::{CREDIT_LIMIT, Signals};
use crate::harness::permits::{Things, Who, who};
use crate::sys::{self, Pid, Shared};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

/// Processes at most.
pub(super) const PROCESSES: usize = 64;
/// Threads in each at most.
pub(super) const THREADS: usize = 4;
const LOG: usize = 1 << 15;
const TEXTS: usize = 64;
const TEXT: usize = 200;

/// What a thread holds, and may hold: a bit for each exclusive semaphore, and after those one for each pool. Only with it
/// does a kill say who died as an owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// It holds these.
    pub(super) held: u8,
    /// Between asking and knowing, or between giving back and knowing: it may hold these.
    pub(super) unsure: u8,
    /// It owns these, or has abandoned them: a death in either case.
    pub(super) abandoning: u8,
    /// Deaths that it made on purpose, on semaphores that stay.
    pub(super) made: u64,
}

/// The bit of an exclusive semaphore.
pub(super) fn exclusive(name: usize) -> u8 {
    1 << name
}

/// The bit of a pool.
pub(super) fn pool(k: usize) -> u8 {
    1 << (NAMES + k)
}

/// The state of one thread in one word, because a kill may fall between any two stores.
#[derive(Debug)]
pub(super) struct Thread {
    word: AtomicU64,
    /// Operations so far.
    pub(super) operations: AtomicU64,
    /// It saw that it shall rest, and does.
    pub(super) resting: AtomicU32,
    /// The kernel's number of it, once it may be interrupted; else 0.
    pub(super) tid: AtomicU32,
}

impl Thread {
    pub(super) fn set(&self, s: State) {
        let masks = u64::from(s.held) | u64::from(s.unsure) << 8 | u64::from(s.abandoning) << 16;
        self.word.store(masks | s.made << 24, SeqCst);
    }

    pub(super) fn get(&self) -> State {
        let w = self.word.load(SeqCst);
        State { held: w as u8, unsure: (w >> 8) as u8, abandoning: (w >> 16) as u8, made: w >> 24 }
    }
}

/// One semaphore, as its owners see it.
#[derive(Debug)]
pub(super) struct Witness {
    /// pid and thread of who believes to own it; 0: nobody.
    owner: AtomicU64,
    /// The protected state: two numbers that an owner leaves equal.
    a: AtomicU64,
    b: AtomicU64,
    token: AtomicU64,
}

/// One pool, as its holders see it.
#[derive(Debug)]
struct Permits {
    out: Things,
    slots: Things,
}

/// One line of the log.
#[derive(Debug)]
struct Line([AtomicU64; 6]);

/// Everything.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) threads: [[Thread; THREADS]; PROCESSES],
    witnesses: [Witness; NAMES],
    permits: [Permits; POOLS],
    /// Deaths of holders, as the pools themselves count them.
    pub(super) pool_deaths: [AtomicU64; STEADY_POOLS],
    /// What the threads shall do in this round.
    pub(super) mix: AtomicU32,
    log: [Line; LOG],
    logged: AtomicU64,
    texts: [[AtomicU64; TEXT / 8]; TEXTS],
    violations: AtomicU64,
    pub(super) grants: AtomicU64,
    pub(super) nested: AtomicU64,
    pub(super) permit_grants: AtomicU64,
    pub(super) list_grants: AtomicU64,
    pub(super) resizes: AtomicU64,
    pub(super) timeouts: AtomicU64,
    pub(super) removals: AtomicU64,
    pub(super) quiet: AtomicU32,
    /// Somebody shall signal for those who still wait for a signal.
    pub(super) ring: AtomicU32,
    pub(super) signals: Signals,
    credit: Things,
    /// The tokens of those who own, hang, and may be evicted.
    pub(super) hangs: [AtomicU64; STEADY],
    pub(super) event_waits: AtomicU64,
    pub(super) spent_by_handlers: AtomicU64,
    pub(super) drains: AtomicU64,
    pub(super) drained: AtomicU64,
    pub(super) evictions: AtomicU64,
}

// SAFETY: it consists of atomic integers only, for which zero is a value.
unsafe impl Shared for Ledger {}

impl Ledger {
    /// Takes note of what must never be. The first texts are kept, all are counted.
    pub(super) fn violation(&self, text: &str) {
        let n = self.violations.fetch_add(1, SeqCst) as usize;
        let Some(place) = self.texts.get(n) else { return };
        for (word, bytes) in place.iter().zip(text.as_bytes().chunks(8)) {
            let mut b = [0; 8];
            b[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(b), SeqCst);
        }
    }

    pub(super) fn violations(&self) -> u64 {
        self.violations.load(SeqCst)
    }

    /// The texts of the violations from the n-th on.
    pub(super) fn texts(&self, from: u64) -> Vec<String> {
        let to = self.violations().min(TEXTS as u64);
        let text = |n: u64| {
            let bytes: Vec<u8> = self.texts[n as usize].iter().flat_map(|w| w.load(SeqCst).to_ne_bytes()).collect();
            String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned()
        };
        (from.min(to)..to).map(text).collect()
    }

    /// Writes down a report of deaths; only the owner of the semaphore does, so the log is in order for each name.
    pub(super) fn report(&self, e: &Entry) {
        let n = self.logged.fetch_add(1, SeqCst) as usize;
        let Some(line) = self.log.get(n) else { return };
        let words = [
            // Written last, and never 0: a line that its writer did not finish does not count.
            e.name as u64 + 1,
            u64::from(e.first.pid) << 32 | u64::from(e.latest.pid),
            e.first.token,
            e.latest.token,
            e.count,
            0,
        ];
        for (to, w) in line.0.iter().zip(words).rev() {
            to.store(w, SeqCst);
        }
    }

    /// Takes the log out. The second value: lines that did not fit.
    pub(super) fn take_log(&self) -> (Vec<Entry>, u64) {
        let n = self.logged.swap(0, SeqCst);
        let mut all = Vec::new();
        for line in &self.log[..LOG.min(n as usize)] {
            let w: Vec<u64> = line.0.iter().map(|w| w.swap(0, SeqCst)).collect();
            if w[0] != 0 {
                let death = |pid: u64, token| Death { pid: pid as u32, token };
                let (first, latest) = (death(w[1] >> 32, w[2]), death(w[1], w[3]));
                all.push(Entry { name: w[0] as usize - 1, first, latest, count: w[4] });
            }
        }
        (all, n.saturating_sub(LOG as u64))
    }

    /// A grant: `me` (pid and thread) owns `name` now. `told`: it is 105.
    pub(super) fn enter(&self, name: usize, me: u64, told: bool, steady: bool, token: u64) {
        let w = &self.witnesses[name];
        let before = w.owner.swap(me, SeqCst);
        let pid = (before >> 8) as Pid;
        if before != 0 && !sys::is_ending(pid) {
            let how = sys::describe(pid);
            self.violation(&format!("two owners of {name}: {} (told of a death: {told}) and {pid}, which lives: {how}", me >> 8));
        }
        if before != 0 && !told && steady {
            self.violation(&format!("{pid} died as owner of {name}, and {} was not told", me >> 8));
        }
        if before == 0 && !told && w.a.load(SeqCst) != w.b.load(SeqCst) {
            self.violation(&format!("what {name} protects is torn, and {} was not told", me >> 8));
        }
        let last = w.token.swap(token, SeqCst);
        if steady && token <= last {
            self.violation(&format!("the token of {name} went from {last} to {token}"));
        }
    }

    /// Changes what the semaphore protects, as a critical section does, with `work` in the middle.
    pub(super) fn change(&self, name: usize, me: u64, work: impl FnOnce()) {
        let w = &self.witnesses[name];
        let v = w.a.load(SeqCst).max(w.b.load(SeqCst)) + 1;
        w.a.store(v, SeqCst);
        work();
        let (owner, a) = (w.owner.load(SeqCst), w.a.load(SeqCst));
        if owner != me || a != v {
            self.violation(&format!("while {} owned {name}, {} came in", me >> 8, owner >> 8));
        }
        w.b.store(v, SeqCst);
    }

    /// `me` is about to give `name` up.
    pub(super) fn leave(&self, name: usize, me: u64) {
        if let Err(other) = self.witnesses[name].owner.compare_exchange(me, 0, SeqCst, SeqCst) {
            self.violation(&format!("while {} owned {name}, {} came in", me >> 8, other >> 8));
        }
    }

    /// A grant of `n` permits of a pool that never had more than `limit`.
    pub(super) fn enter_permits(&self, k: usize, thread: usize, n: u32, limit: u32) {
        if let Err(holders) = self.permits[k].out.take(limit as usize, n as usize, holder(thread), sys::is_ending) {
            let me = sys::own_pid();
            self.violation(&format!("{me} was granted {n} permits of pool {k}, and all {limit} are out: {holders:?}"));
        }
    }

    /// `n` of them are about to be given back.
    pub(super) fn leave_permits(&self, k: usize, thread: usize, n: u32) {
        if !self.permits[k].out.give(n as usize, holder(thread)) {
            self.violation(&format!("while {} held {n} permits of pool {k}, somebody took them for free", sys::own_pid()));
        }
    }

    /// These slots were said to be this thread's.
    pub(super) fn enter_slots(&self, k: usize, thread: usize, slots: &[u32]) {
        for (slot, other) in self.permits[k].slots.claim(slots, holder(thread), sys::is_ending) {
            self.violation(&format!("slot {slot} of pool {k} belongs to {} and to {other}", sys::own_pid()));
        }
    }

    /// It is about to give them back.
    pub(super) fn leave_slots(&self, k: usize, thread: usize, slots: &[u32]) {
        self.permits[k].slots.disclaim(slots, holder(thread));
    }

    /// A grant of `n` permits of the credit.
    pub(super) fn enter_credit(&self, thread: usize, n: u32) {
        if let Err(holders) = self.credit.take(CREDIT_LIMIT as usize, n as usize, holder(thread), sys::is_ending) {
            let me = sys::own_pid();
            self.violation(&format!("{me} was granted {n} permits of the credit, and all {CREDIT_LIMIT} are out: {holders:?}"));
        }
    }

    /// `n` of them are about to be given back or used up.
    pub(super) fn leave_credit(&self, thread: usize, n: u32) {
        if !self.credit.give(n as usize, holder(thread)) {
            self.violation(&format!("while {} held {n} permits of the credit, somebody took them for free", sys::own_pid()));
        }
    }

    /// At rest nobody who lives holds permits.
    pub(super) fn must_be_free(&self, k: usize) {
        for pid in self.permits[k].out.owners() {
            if !sys::is_ending(pid) {
                self.violation(&format!("at rest {pid} still believes to hold permits of pool {k}"));
            }
        }
        self.permits[k].out.clear();
        self.permits[k].slots.clear();
    }
}

fn holder(thread: usize) -> Who {
    who(sys::own_pid(), thread)
}

/// pid and thread in one word, never 0.
pub(super) fn identity(thread: usize) -> u64 {
    (sys::own_pid() as u64) << 8 | (thread as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::SharedBox;

    #[test]
    fn the_witness_sees_what_must_not_be() {
        let l = SharedBox::<Ledger>::new().unwrap();
        let (me, other) = (identity(0), identity(1));
        l.enter(0, me, false, true, 5);
        l.change(0, me, || {});
        l.leave(0, me);
        assert_eq!(l.violations(), 0);
        l.enter(0, me, false, true, 6);
        l.enter(0, other, false, true, 6);
        l.leave(0, me);
        let texts = l.texts(0).join("\n");
        for what in ["two owners", "was not told", "from 6 to 6", "came in"] {
            assert!(texts.contains(what), "{what}: {texts}");
        }
    }

    #[test]
    fn phases_and_the_log_survive_shared_memory() {
        let l = SharedBox::<Ledger>::new().unwrap();
        let state = State { held: exclusive(1), unsure: exclusive(0) | pool(POOLS - 1), abandoning: 4, made: 70_000 };
        l.threads[1][1].set(state);
        assert_eq!(l.threads[1][1].get(), state);
        let death = |pid, token| Death { pid, token };
        let e = Entry { name: 2, first: death(7, 8), latest: death(9, 1 << 40), count: 3 };
        l.report(&e);
        assert_eq!(l.take_log(), (vec![e], 0));
        assert_eq!(l.take_log(), (vec![], 0));
    }
}
