//! One case: the processes, the fault, and what everybody finds afterwards.

use super::operations::{Before, Beside, LIMIT, Operation, POOL, SEM, Things, World};
use super::tracer::{self, End, Fault, Trace};
use crate::sys::{self, Pid, Shared, SharedBox, Status};
use std::fmt::Display;
use std::fs;
use std::io::{PipeWriter, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};
use xsem::{AcquireError, Namespace, Wait};

/// After so long somebody hangs.
const PATIENCE: Duration = Duration::from_secs(10);
const MEMBERS: u32 = 6;
const SEMAPHORES: u32 = 8;

/// What the processes of a case tell each other.
#[derive(Debug)]
struct Board {
    /// The other one owns what it shall own.
    owning: AtomicU32,
    /// The victim owns what it shall own.
    victim_owns: AtomicU32,
    /// The victim's operation is over.
    over: AtomicU32,
    /// Its code; 0: it worked.
    code: AtomicU32,
}

// SAFETY: it consists of atomic integers only, for which zero is a value.
unsafe impl Shared for Board {}

/// What a case came to.
pub(super) struct Outcome {
    pub(super) trace: Trace,
    /// The code of the operation; 0: it worked all the same.
    pub(super) code: u32,
    /// What must not be.
    pub(super) violations: Vec<String>,
    /// Somebody did not come to an end.
    pub(super) stuck: bool,
}

/// One case, in its driver.
pub(super) struct Case<'a> {
    operation: &'a Operation,
    board: SharedBox<Board>,
    dir: PathBuf,
    report: PipeWriter,
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        // A directory of this case alone, in shared memory; what cannot be removed is seen by whoever looks there.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Carries out an operation with a fault, or without one to see which calls it makes.
pub(super) fn run(operation: &Operation, fault: Option<Fault>) -> std::io::Result<Outcome> {
    let (mut reader, report) = sys::pipe()?;
    let dir = PathBuf::from(format!("/dev/shm/xsem-inject-{}-{:x}", sys::own_pid(), next()));
    fs::create_dir(&dir)?;
    let case = Case { operation, board: SharedBox::new()?, dir, report };
    let (trace, stuck) = case.play(fault)?;
    let code = case.board.code.load(SeqCst);
    drop(case);
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    let mut violations: Vec<String> = text.lines().map(str::to_owned).collect();
    match trace.end {
        End::Exited(0) | End::Stuck => {}
        other => violations.push(format!("the process ended with {other:?}")),
    }
    Ok(Outcome { trace, code, violations, stuck })
}

fn next() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    NUMBER.fetch_add(1, SeqCst)
}

impl Case<'_> {
    fn url(&self) -> String {
        let name = if self.operation.before == Before::Copied { "copy" } else { "ns" };
        format!("shm:{}/{name}", self.dir.display())
    }

    fn violation(&self, text: impl Display) {
        let line: String = text.to_string().replace('\n', "/").chars().take(600).collect::<String>() + "\n";
        // The reader is this case's driver, which reads when everybody has ended.
        let _ = (&self.report).write_all(line.as_bytes());
    }

    fn must<T, E: Display>(&self, what: &str, r: Result<T, E>) -> T {
        r.unwrap_or_else(|e| {
            self.violation(format_args!("{what}: {e}"));
            // SAFETY: `_exit` never returns; what is left is the kernel's to clear away.
            unsafe { libc::_exit(0) }
        })
    }

    fn open(&self) -> Namespace {
        let builder = Namespace::builder().max_members(MEMBERS).max_semaphores(SEMAPHORES);
        self.must("open the namespace", builder.open(&self.url()))
    }

    fn play(&self, fault: Option<Fault>) -> std::io::Result<(Trace, bool)> {
        self.prepare()?;
        let other = self.somebody_else()?;
        let victim = sys::fork(|| self.victim(fault))?;
        let mut waiting = other;
        let trace = tracer::run(victim, fault, PATIENCE, |pid, end| {
            waiting = waiting.filter(|w| *w != pid);
            if end != End::Exited(0) {
                self.violation(format_args!("the other process ended with {end:?}"));
            }
        });
        let mut stuck = matches!(&trace, Ok(t) if t.end == End::Stuck);
        if stuck {
            self.violation(format_args!("hangs: {}", sys::describe(victim)));
            sys::end(victim);
        }
        let trace = trace?;
        self.board.over.store(1, SeqCst);
        if let Some(other) = waiting {
            stuck |= !self.comes_to_an_end("the other process", other);
        }
        let auditor = sys::fork(|| self.audit(&trace))?;
        stuck |= !self.comes_to_an_end("a second process", auditor);
        Ok((trace, stuck))
    }

    fn prepare(&self) -> std::io::Result<()> {
        if self.operation.before == Before::Nothing {
            return Ok(());
        }
        let builder = Namespace::builder().max_members(MEMBERS).max_semaphores(SEMAPHORES);
        let maker = sys::fork(|| {
            let ns = self.must("make", builder.open(&format!("shm:{}/ns", self.dir.display())));
            self.must("make", Things::make(&ns));
        })?;
        self.comes_to_an_end("the maker", maker);
        if self.operation.before == Before::Copied {
            fs::copy(self.dir.join("ns"), self.dir.join("copy"))?;
        }
        Ok(())
    }

    fn comes_to_an_end(&self, who: &str, pid: Pid) -> bool {
        let begin = Instant::now();
        loop {
            match sys::wait(pid, false) {
                Status::Exited(0) => return true,
                Status::Running if begin.elapsed() < PATIENCE * 2 => sys::nap(100),
                Status::Running => {
                    self.violation(format_args!("{who} hangs: {}", sys::describe(pid)));
                    sys::end(pid);
                    return false;
                }
                other => {
                    self.violation(format_args!("{who} ended with {other:?}"));
                    return true;
                }
            }
        }
    }

    /// False: it is not set in time.
    fn until(&self, flag: &AtomicU32) -> bool {
        let begin = Instant::now();
        while flag.load(SeqCst) == 0 && begin.elapsed() < PATIENCE {
            sys::nap(50);
        }
        flag.load(SeqCst) != 0
    }

    /// The other process of the case. Some: it ends by itself.
    fn somebody_else(&self) -> std::io::Result<Option<Pid>> {
        let beside = self.operation.beside;
        if beside == Beside::Nobody {
            return Ok(None);
        }
        let pid = sys::fork(|| match beside {
            Beside::Waits => self.waiter(),
            _ => self.owner(beside == Beside::Owns),
        })?;
        if beside != Beside::Waits && !self.until(&self.board.owning) {
            self.violation("the other process does not come to own what it shall own");
        }
        if beside == Beside::Died {
            sys::end(pid);
            return Ok(None);
        }
        Ok(Some(pid))
    }

    fn owner(&self, gives_back: bool) {
        let ns = self.open();
        let t = self.must("open", Things::open(&ns));
        let guard = self.must("own", t.sem.acquire());
        let permits = self.must("own", t.pool.acquire_many(LIMIT));
        self.board.owning.store(1, SeqCst);
        let waited_for = |name| ns.inspect(name).is_ok_and(|r| !r.waiters.is_empty());
        while gives_back && self.board.over.load(SeqCst) == 0 && !waited_for(SEM) && !waited_for(POOL) {
            sys::nap(100);
        }
        if !gives_back {
            loop {
                sys::nap(1_000_000);
            }
        }
        sys::nap(500);
        self.must("give back", guard.release());
        self.must("give back", permits.release());
    }

    fn waiter(&self) {
        let ns = self.open();
        let t = self.must("open", Things::open(&ns));
        self.until(&self.board.victim_owns);
        let guard = self.must("be released to", t.sem.acquire_timeout(PATIENCE));
        self.must("give back", guard.release());
    }

    fn victim(&self, fault: Option<Fault>) {
        // A lost wake-up shall show as a hang; and each run shall make the same calls.
        xsem::shm::testing::set_recheck(false);
        xsem::interrupt::testing::never_look();
        let before = self.operation.before;
        let mut world = World { url: self.url(), ns: None, things: None, guard: None };
        if !matches!(before, Before::Nothing | Before::Made | Before::Copied) {
            let ns = self.open();
            // Never dropped: a guard of it is handed from one closure to another.
            let things: &'static Things = Box::leak(Box::new(self.must("open", Things::open(&ns))));
            if before != Before::Opened {
                self.must("register", xsem::shm::testing::register(&ns));
            }
            if before == Before::Owner {
                world.guard = Some(self.must("own", things.sem.acquire()));
                self.board.victim_owns.store(1, SeqCst);
                let begin = Instant::now();
                while begin.elapsed() < PATIENCE && !ns.inspect(SEM).is_ok_and(|r| !r.waiters.is_empty()) {
                    sys::nap(100);
                }
                sys::nap(2000);
            }
            (world.ns, world.things) = (Some(ns), Some(things));
        }
        sys::stop_for_tracer();
        let r = (self.operation.run)(&mut world);
        tracer::say_over();
        self.board.over.store(1, SeqCst);
        if let Err(e) = r {
            self.judge(&e, fault);
            if let Err(e) = (self.operation.run)(&mut world) {
                self.violation(format_args!("it does not work afterwards: {e}"));
            }
        }
    }

    /// An error that is a clear one: of a code that is for this, with the reason and the next step.
    fn judge(&self, e: &xsem::Error, fault: Option<Fault>) {
        self.board.code.store(e.code().number(), SeqCst);
        let text = e.to_string();
        if fault.is_some_and(|f| f.errno == libc::EINTR) {
            self.violation(format_args!("an interrupted call was not made again: {text}"));
        }
        if !matches!(e.code().number(), 5 | 6 | 8 | 100 | 106) {
            self.violation(format_args!("an unexpected code: {text}"));
        }
        if std::error::Error::source(e).is_none() {
            self.violation(format_args!("the error does not say why: {text}"));
        }
        if !text.contains("; ") {
            self.violation(format_args!("the error does not say what to do: {text}"));
        }
    }

    /// A second process goes on: the file is sound, everything is free and can be had.
    fn audit(&self, trace: &Trace) {
        xsem::shm::testing::set_recheck(false);
        let ns = self.open();
        for v in xsem::shm::testing::audit(&ns) {
            self.violation(format_args!("audit: {v}"));
        }
        let t = self.must("open in a second process", Things::make(&ns));
        // A victim that was ended by the driver owned what it owned.
        if trace.end == End::Stuck {
            return;
        }
        let guard = match t.sem.acquire_timeout(PATIENCE) {
            // Not every operation has to do with the semaphore that the dead one left.
            Err(AcquireError::OwnerDied(r)) if self.operation.beside == Beside::Died => r.into_guard(),
            other => self.must("acquire in a second process", other),
        };
        let permits = self.must("take all permits in a second process", t.pool.acquire_with(LIMIT, Wait::timeout(PATIENCE)));
        self.must("signal", t.event.signal());
        self.must("wait for the signal", t.event.wait_timeout(PATIENCE));
        self.must("release", guard.release());
        self.must("release", permits.release());
        self.leftovers();
    }

    fn leftovers(&self) {
        let names: Vec<String> = fs::read_dir(&self.dir)
            .map(|d| d.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
            .unwrap_or_default();
        let spaces = names.iter().filter(|n| !n.starts_with('.')).count();
        let gates = names.iter().filter(|n| n.ends_with(".gate")).count();
        if gates != spaces || names.iter().any(|n| n.ends_with(".new")) {
            self.violation(format_args!("files are left over: {names:?}"));
        }
    }
}
