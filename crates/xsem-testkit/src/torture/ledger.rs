//! What the processes of a torture run write down in shared memory, independent of the engine.

mod state;
mod trace;

use super::account::{Death, Entry, NAMES, POOLS, STEADY, STEADY_POOLS};
use super::image;
use super::seats::Seat;
use super::signals::{CREDIT_LIMIT, Signals};
use crate::harness::permits::{Things, Who, who};
use crate::sys::{self, Pid, Shared};
pub(super) use state::{State, StateWord, exclusive, pool};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
pub(super) use trace::{Did, Trace};

/// Workers at most.
pub(super) const WORKERS: usize = 64;
/// Children of workers at one time, at most; their places come after those of the workers.
pub(super) const GUESTS: usize = 16;
/// Places for processes.
pub(super) const PROCESSES: usize = WORKERS + GUESTS;
/// Threads in each at most.
pub(super) const THREADS: usize = 4;
/// Asynchronous requests in each at most; their places come after those of the threads.
pub(super) const TASKS: usize = 4;
/// Claimants in a process.
pub(super) const PLACES: usize = THREADS + TASKS;
const LOG: usize = 1 << 15;
const TEXTS: usize = 64;
const TEXT: usize = 200;

/// One claimant: a thread, or a task.
#[derive(Debug)]
pub(super) struct Claimant {
    pub(super) state: StateWord,
    /// Operations so far.
    pub(super) operations: AtomicU64,
    /// It saw that it shall rest, and does.
    pub(super) resting: AtomicU32,
    /// The kernel's number of it, once it may be interrupted; else 0.
    pub(super) tid: AtomicU32,
    pub(super) trace: Trace,
}

/// One process, as it is known to the others.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) claimants: [Claimant; PLACES],
    /// How many threads it has, which must come to rest.
    pub(super) threads: AtomicU32,
    /// A forked child's place: 0 free; what `guest_of` and `reserved_for` make.
    pub(super) guest: AtomicU64,
    /// 1: it has become another program, and waits until what it held before is written down.
    pub(super) execed: AtomicU32,
    /// The image that is on its way into an exec.
    pub(super) execing: AtomicU32,
}

/// A guest's place is taken by a process that is about to fork.
pub(super) fn reserved_for(image: Pid) -> u64 {
    1 << 63 | image as u64
}

/// The place is that of a forked child.
pub(super) fn guest_of(pid: Pid) -> u64 {
    1 << 62 | pid as u64
}

/// What is in a guest's place: who reserved it, or who lives there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guest {
    Nobody,
    Reserved(Pid),
    Lives(Pid),
}

impl Guest {
    pub(super) fn of(word: u64) -> Guest {
        match word >> 62 {
            0 => Guest::Nobody,
            1 => Guest::Lives(word as u32 as Pid),
            _ => Guest::Reserved(word as u32 as Pid),
        }
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

/// What is counted over the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Grants,
    Nested,
    PermitGrants,
    ListGrants,
    Resizes,
    Timeouts,
    Cancelled,
    Removals,
    Creations,
    Collected,
    Fresh,
    MemberLimit,
    EventWaits,
    SpentByHandlers,
    Drains,
    Drained,
    Evictions,
    Forks,
    Execs,
    ThreadsReturned,
    ThreadsExited,
    ThreadsCancelled,
    Panics,
    Exits,
    FuturesDone,
    FuturesDropped,
    FuturesMoved,
    Observations,
    Shared,
    Covered,
}

/// How many of them.
pub(super) const COUNTS: usize = Count::Covered as usize + 1;

/// Everything.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) processes: [Process; PROCESSES],
    /// Where places for children begin, and how many claimants a worker has: as the options say.
    pub(super) workers: AtomicU32,
    pub(super) threads: AtomicU32,
    pub(super) supervisor: AtomicU32,
    /// The descriptor of its file, for images that come by exec.
    pub(super) file: AtomicU32,
    /// Of every choice, and which round this is.
    pub(super) seed: AtomicU64,
    pub(super) round: AtomicU64,
    /// 1: the second look of waits is on in this round.
    pub(super) recheck: AtomicU32,
    /// `CLOCK_MONOTONIC` at the beginning, in microseconds.
    pub(super) began: AtomicU64,
    /// A bit for each process id that ever was one of ours.
    ours: [AtomicU64; 1 << (22 - 6)],
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
    pub(super) counts: [AtomicU64; COUNTS],
    /// The longest wait that came to its end, in microseconds; the waiter may have been stopped meanwhile.
    pub(super) longest_wait: AtomicU64,
    pub(super) quiet: AtomicU32,
    /// Somebody shall signal for those who still wait for a signal.
    pub(super) ring: AtomicU32,
    pub(super) signals: Signals,
    credit: Things,
    /// Who owns what has no account: the ephemeral name, and the semaphore of the round's new namespace.
    pub(super) aside: [AtomicU64; 2],
    /// Who shares the claim on the semaphore that is shared, and the token of the latest.
    pub(super) seats: [Seat; PROCESSES],
    pub(super) shared_token: AtomicU64,
    /// The round in which a semaphore of a new namespace was created last: once in each.
    pub(super) fresh: AtomicU64,
    /// The tokens of those who own, hang, and may be evicted.
    pub(super) hangs: [AtomicU64; STEADY],
}

// SAFETY: it consists of atomic integers only, for which zero is a value.
unsafe impl Shared for Ledger {}

impl Ledger {
    /// One more of these.
    pub(super) fn count(&self, what: Count) {
        self.counts[what as usize].fetch_add(1, SeqCst);
    }

    pub(super) fn counted(&self, what: Count) -> u64 {
        self.counts[what as usize].load(SeqCst)
    }

    /// Time since the beginning, in ten microseconds.
    pub(super) fn now(&self) -> u32 {
        ((monotonic_micros() - self.began.load(SeqCst)) / 10) as u32
    }

    /// A process id is one of ours from now on.
    pub(super) fn is_our_own(&self, pid: Pid) {
        self.ours[pid as usize >> 6].fetch_or(1 << (pid & 63), SeqCst);
    }

    /// Whether a process of ours ever had this id.
    pub(super) fn was_ours(&self, pid: u32) -> bool {
        self.ours.get(pid as usize >> 6).is_some_and(|w| w.load(SeqCst) >> (pid & 63) & 1 != 0)
    }

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

    /// Whether an image runs no code any more. One that is in the middle of its exec runs none as soon as its other threads are
    /// gone, though it has its old memory, with its old arguments, for some microseconds more: these are waited for.
    pub(super) fn is_over(&self, image: Pid) -> bool {
        let execing = || self.processes.iter().any(|p| p.execing.load(SeqCst) == image as u32);
        let mut patience = if execing() { 100_000 } else { 0 };
        loop {
            match image::is_over(image) {
                true => return true,
                false if patience == 0 => return false,
                false => patience -= 1,
            }
            sys::nap(100);
        }
    }

    /// A grant: `me` (pid and thread) owns `name` now. `told`: it is 105.
    pub(super) fn enter(&self, name: usize, me: u64, told: bool, steady: bool, token: u64) {
        let w = &self.witnesses[name];
        let before = w.owner.swap(me, SeqCst);
        let other = (before >> 8) as Pid;
        let pid = image::pid_of(other);
        let me_pid = image::pid_of((me >> 8) as Pid);
        if before != 0 && !self.is_over(other) {
            let how = sys::describe(pid);
            self.violation(&format!("two owners of {name}: {me_pid} (told of a death: {told}) and {pid}, which lives: {how}"));
        }
        if before != 0 && !told && steady {
            self.violation(&format!("{pid} died as owner of {name}, and {me_pid} was not told"));
        }
        if before == 0 && !told && w.a.load(SeqCst) != w.b.load(SeqCst) {
            self.violation(&format!("what {name} protects is torn, and {me_pid} was not told"));
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
            self.violation(&format!("while {} owned {name}, {} came in", name_of(me), name_of(owner)));
        }
        w.b.store(v, SeqCst);
    }

    /// `me` is about to give `name` up.
    pub(super) fn leave(&self, name: usize, me: u64) {
        if let Err(other) = self.witnesses[name].owner.compare_exchange(me, 0, SeqCst, SeqCst) {
            self.violation(&format!("while {} owned {name}, {} came in", name_of(me), name_of(other)));
        }
    }

    /// A grant of `n` permits of a pool that never had more than `limit`.
    pub(super) fn enter_permits(&self, k: usize, thread: usize, n: u32, limit: u32) {
        if let Err(holders) = self.permits[k].out.take(limit as usize, n as usize, holder(thread), image::is_over) {
            let me = sys::own_pid();
            self.violation(&format!("{me} was granted {n} permits of pool {k}, and all {limit} are out: {:?}", pids(&holders)));
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
        for (slot, other) in self.permits[k].slots.claim(slots, holder(thread), image::is_over) {
            self.violation(&format!("slot {slot} of pool {k} belongs to {} and to {}", sys::own_pid(), image::pid_of(other)));
        }
    }

    /// It is about to give them back.
    pub(super) fn leave_slots(&self, k: usize, thread: usize, slots: &[u32]) {
        self.permits[k].slots.disclaim(slots, holder(thread));
    }

    /// A grant of `n` permits of the credit.
    pub(super) fn enter_credit(&self, thread: usize, n: u32) {
        if let Err(holders) = self.credit.take(CREDIT_LIMIT as usize, n as usize, holder(thread), image::is_over) {
            let me = sys::own_pid();
            self.violation(&format!(
                "{me} was granted {n} permits of the credit, and all {CREDIT_LIMIT} are out: {:?}",
                pids(&holders)
            ));
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
            if !self.is_over(pid) {
                self.violation(&format!("at rest {} still believes to hold permits of pool {k}", image::pid_of(pid)));
            }
        }
        self.permits[k].out.clear();
        self.permits[k].slots.clear();
    }
}

fn holder(thread: usize) -> Who {
    who(image::own(), thread)
}

fn pids(images: &[Pid]) -> Vec<Pid> {
    images.iter().map(|i| image::pid_of(*i)).collect()
}

/// Image and claimant in one word, never 0.
pub(super) fn identity(place: usize) -> u64 {
    (image::own() as u64) << 8 | (place as u64 + 1)
}

fn name_of(identity: u64) -> String {
    format!("{} (claimant {})", image::pid_of((identity >> 8) as Pid), identity & 0xff)
}

/// The clock that is one for all processes.
pub(super) fn monotonic_micros() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid place for the time.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000 + t.tv_nsec as u64 / 1000
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
    fn the_log_survives_shared_memory() {
        let l = SharedBox::<Ledger>::new().unwrap();
        let death = |pid, token| Death { pid, token };
        let e = Entry { name: 2, first: death(7, 8), latest: death(9, 1 << 40), count: 3 };
        l.report(&e);
        assert_eq!(l.take_log(), (vec![e], 0));
        assert_eq!(l.take_log(), (vec![], 0));
    }
}
