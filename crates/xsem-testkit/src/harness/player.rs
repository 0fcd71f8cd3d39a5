//! A process of a case: what it may say and do.

use super::stage::{Flag, Stage, Value};
use crate::sys::{self, Pid};
use std::cell::OnceCell;
use std::fmt::Display;
use std::io::{PipeWriter, Write};
use xsem::{AcquireError, Deaths, Exclusive, Guard, Namespace, Wait};

/// Few, so that a leaked member slot is missed.
pub(crate) const MEMBERS: u32 = 6;

/// Few, so that leaked room is missed.
pub(crate) const SEMAPHORES: u32 = 8;

/// The semaphore that most scenarios are about.
pub(crate) const SEM: &str = "s";

/// What a player was granted.
pub(crate) struct Held<'a> {
    pub(crate) guard: Guard<'a>,
    /// `Some` for 105; the inner value is `None` when the details could not be kept.
    pub(crate) died: Option<Option<Deaths>>,
}

impl Held<'_> {
    /// The pids of the first and the latest dead owner, and how many, of a 105 with details.
    pub(crate) fn deaths(&self) -> Option<(Pid, Pid, u64)> {
        let d = self.died.as_ref()?.as_ref()?;
        Some((d.first.process.pid as Pid, d.latest.process.pid as Pid, d.count))
    }
}

/// A player, inside its process.
pub(crate) struct Player<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) name: &'static str,
    url: &'a str,
    report: &'a PipeWriter,
    ns: OnceCell<Namespace>,
}

impl<'a> Player<'a> {
    pub(crate) fn new(stage: &'a Stage, name: &'static str, url: &'a str, report: &'a PipeWriter) -> Self {
        // A lost wake-up shall show as a hang, never as a wait of a second.
        xsem::shm::testing::set_recheck(false);
        // Stopped after each instruction, it would make a full check at each request; and the number of instructions shall be
        // the same in each run.
        xsem::interrupt::testing::never_look();
        Player { stage, name, url, report, ns: OnceCell::new() }
    }

    pub(crate) fn ns(&self) -> &Namespace {
        self.ns.get_or_init(|| self.must("open the namespace", self.open_namespace()))
    }

    /// Where the namespace is.
    pub(crate) fn url(&self) -> &'a str {
        self.url
    }

    fn open_namespace(&self) -> xsem::Result<Namespace> {
        Namespace::builder().max_members(MEMBERS).max_semaphores(SEMAPHORES).open(self.url)
    }

    pub(crate) fn violation(&self, text: impl Display) {
        line(self.report, "violation", format_args!("{}: {text}", self.name));
    }

    /// For what the next owner finds: `clean` or `died`, for the table.
    pub(crate) fn outcome(&self, died: bool) {
        line(self.report, "outcome", if died { "died" } else { "clean" });
    }

    /// Unwraps what must work in this place; otherwise it is a violation, and the player ends.
    pub(crate) fn must<T, E: Display>(&self, what: &str, r: Result<T, E>) -> T {
        r.unwrap_or_else(|e| {
            self.violation(format_args!("{what}: {e}"));
            // SAFETY: `_exit` never returns; a player leaves the rest to the kernel as a dying process does.
            unsafe { libc::_exit(0) }
        })
    }

    /// Opens the semaphore, which must be there.
    pub(crate) fn open(&self, name: &str) -> Exclusive {
        self.must("open", Exclusive::open(self.ns(), name))
    }

    /// Its waits look again by themselves once a second, where that is the mechanism. The table says so.
    pub(crate) fn looks_again(&self) {
        xsem::shm::testing::set_recheck(true);
        line(self.report, "second-look", self.name);
    }

    /// Becomes a member.
    pub(crate) fn register(&self) {
        self.must("register", xsem::shm::testing::register(self.ns()));
    }

    /// The victim stops here for the driver, which steps it from here.
    pub(crate) fn begin(&self) {
        sys::stop_for_tracer();
    }

    /// The victim's operation is over.
    pub(crate) fn done(&self) {
        self.stage.set(Flag::Done);
    }

    /// Waits for a flag for ever: the driver watches the time.
    pub(crate) fn until(&self, f: Flag) {
        while !self.stage.is_set(f) {
            self.stage.await_briefly(f);
        }
    }

    /// Does nothing any more until it is killed.
    pub(crate) fn park(&self) -> ! {
        loop {
            sys::nap(1_000_000);
        }
    }

    /// Stores the code of a result, 0 when it worked.
    pub(crate) fn put_code<T>(&self, v: Value, r: &xsem::Result<T>) {
        self.stage.put(v, r.as_ref().err().map_or(0, |e| e.code().number().into()));
    }

    /// Takes a grant into the books: the witness, the tokens.
    pub(crate) fn owns<'s>(&self, r: Result<Guard<'s>, AcquireError<'s>>) -> xsem::Result<Held<'s>> {
        let held = match r {
            Ok(guard) => Held { guard, died: None },
            Err(AcquireError::OwnerDied(r)) => {
                let deaths = r.deaths().cloned();
                Held { guard: r.into_guard(), died: Some(deaths) }
            }
            Err(AcquireError::Failed(e)) => return Err(e),
        };
        self.enters(0);
        let (token, last) = (held.guard.token(), self.stage.get(Value::Token));
        if token <= last {
            self.violation(format_args!("the fencing token went from {last} to {token}"));
        }
        self.stage.put(Value::Token, token);
        Ok(held)
    }

    /// Acquires without an end; it must be granted.
    pub(crate) fn acquire<'s>(&self, s: &'s Exclusive) -> Held<'s> {
        self.must("acquire", self.owns(s.acquire()))
    }

    /// As `acquire`, and what the grant says goes into the table.
    pub(crate) fn succeed<'s>(&self, s: &'s Exclusive) -> Held<'s> {
        let held = self.must("acquire", self.owns(s.acquire_with(Wait::forever().label(self.name))));
        self.outcome(held.died.is_some());
        held
    }

    /// Tells the witness that this player owns the `i`-th exclusive semaphore.
    pub(crate) fn enters(&self, i: usize) {
        if let Err(other) = self.stage.enter(i, sys::own_pid()) {
            self.violation(format_args!("two owners: {} and {other}", sys::own_pid()));
        }
    }

    /// Tells the witness that it is about to give that up.
    pub(crate) fn leaves(&self, i: usize) {
        if let Err(other) = self.stage.leave(i, sys::own_pid()) {
            self.violation(format_args!("two owners: {other} owned while {} did", sys::own_pid()));
        }
    }

    /// Gives it back, which must work.
    pub(crate) fn release(&self, held: Held<'_>) {
        self.leaves(0);
        self.must("release", held.guard.release());
    }

    /// Acquires and gives back.
    pub(crate) fn pass(&self, s: &Exclusive) {
        let held = self.acquire(s);
        self.release(held);
    }

    /// It must not be owned with the mark.
    pub(crate) fn must_be_clean(&self, held: &Held<'_>) {
        if let Some(d) = &held.died {
            self.violation(format_args!("told of a death where nobody died as owner: {d:?}"));
        }
    }

    /// The invariants of the file.
    pub(crate) fn audit(&self) {
        for v in xsem::shm::testing::audit(self.ns()) {
            self.violation(format_args!("audit: {v}"));
        }
    }
}

/// One line of a case's report. A line is shorter than a pipe's atomic write, so lines of several players stay whole.
pub(crate) fn line(report: &PipeWriter, kind: &str, text: impl Display) {
    let text: String = format!("{kind} {text}").chars().map(|c| if c == '\n' { '/' } else { c }).take(1000).collect();
    let text = text + "\n";
    // The reader may be gone when the run is interrupted; there is nobody to tell then.
    let _ = (&*report).write_all(text.as_bytes());
}
