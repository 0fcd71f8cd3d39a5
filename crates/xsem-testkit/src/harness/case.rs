//! One case, seen from its driver: players, waiting with a watchdog, the order of events.

use super::Mode;
use super::player::{Player, SEM, line};
use super::points::{self, Measure};
use super::scenarios::Scenario;
use super::stage::{Flag, Stage, Value};
use super::step::{Place, Reached, Stepper};
use crate::sparse;
use crate::sys::{self, Pid, SharedBox, Status};
use crate::watchdog::slowness;
use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io::PipeWriter;
use std::time::{Duration, Instant};

/// After so long a player that should go on by itself is stuck, if everybody sleeps.
const PATIENCE: Duration = Duration::from_secs(10);

/// After so long also if somebody runs, or is in the kernel's hands: on a machine with fifty others at work the end of a
/// process has taken ten seconds.
const MORE_PATIENCE: Duration = Duration::from_secs(50);

/// The first of the two, on this machine: `XSEM_SLOW` says how many times slower than others it is, or how little of it one gets.
pub(super) fn patience() -> Duration {
    PATIENCE * slowness()
}

fn more_patience() -> Duration {
    MORE_PATIENCE * slowness()
}

/// A case in its driver process.
pub(crate) struct Case<'a> {
    pub(crate) stage: SharedBox<Stage>,
    /// The victim's process.
    pub(crate) victim: Cell<Pid>,
    /// Where stepping ended.
    pub(crate) reached: Cell<Reached>,
    /// How many instructions the victim took before it was killed or stopped.
    pub(crate) taken: Cell<u64>,
    url: &'a str,
    report: &'a PipeWriter,
    players: RefCell<Vec<(Pid, &'static str)>>,
}

impl<'a> Case<'a> {
    /// An empty stage on the namespace `url`, which tells `report`.
    pub(crate) fn new(url: &'a str, report: &'a PipeWriter) -> Self {
        Case {
            stage: SharedBox::new().expect("a page of memory"),
            victim: Cell::new(0),
            reached: Cell::new(Reached::Point),
            taken: Cell::new(0),
            url,
            report,
            players: RefCell::default(),
        }
    }

    /// The waits of players that start from here on leave the line by themselves after 10 ms: where a waiter is killed or
    /// stopped who should call the next one, that is the mechanism. The table says so.
    pub(crate) fn line_ends(&self) {
        xsem::shm::testing::set_line_ends(true);
        line(self.report, "second-look", "in line");
    }

    /// Runs it: the victim is killed or stopped after `k` instructions, the way to which may be known.
    pub(crate) fn run(&self, scenario: &dyn Scenario, mode: Mode, k: u64, way: &[Place]) {
        let mut stepper = self.start(scenario);
        let reached = stepper.go_to(k, way, || scenario.asleep(self));
        self.reached.set(reached);
        self.taken.set(stepper.taken);
        match reached {
            Reached::Gone => self.violation("the victim ended by itself"),
            Reached::Hangs => self.stuck("the sleeping victim to be woken, before the point"),
            _ => {}
        }
        match mode {
            Mode::Kill => {
                self.kill(self.victim.get());
                scenario.killed(self);
            }
            Mode::Pause => {
                stepper.stop(reached);
                scenario.paused(self);
                stepper.resume();
                scenario.resumed(self);
            }
        }
        self.audit();
        self.end_all();
    }

    /// The last look at the file: in the driver itself, which starts nobody any more.
    fn audit(&self) {
        Player::new(&self.stage, "auditor", self.url, self.report).audit();
    }

    /// Runs the victim to its end and reports how many instructions that takes and which of them matter to others.
    pub(crate) fn measure(&self, scenario: &dyn Scenario) {
        let mut stepper = self.start(scenario);
        let mut measure = Measure::new(self.url);
        let (begin, mut helped) = (Instant::now(), false);
        loop {
            // On a busy machine one that is stepped is never seen asleep, if it looks again every few milliseconds.
            if !helped && begin.elapsed() > patience() / 3 {
                helped = true;
                scenario.asleep(self);
            }
            measure.before(&mut stepper);
            match stepper.step_to(stepper.taken + 1, || {}) {
                Reached::Point => measure.after(&stepper),
                Reached::Asleep => {
                    measure.asleep(&stepper);
                    scenario.asleep(self);
                    // The instruction is in progress, and ends now.
                    self.until_stopped(stepper.pid);
                    stepper.taken += 1;
                }
                Reached::Done => break,
                Reached::Gone => self.stuck("the victim ended by itself"),
                Reached::Hangs => self.stuck("the sleeping victim to be woken"),
            }
        }
        measure.result(stepper.taken).iter().for_each(|l| line(self.report, "measure", l));
        self.end_all();
    }

    fn start(&self, scenario: &dyn Scenario) -> Stepper<'_> {
        scenario.prepare(self);
        self.victim.set(self.play_beside("victim", |p| scenario.victim(p)));
        self.stage.put(Value::Victim, self.victim.get() as u64);
        scenario.ready(self);
        let Some(stepper) = Stepper::attach(self.victim.get(), &self.stage) else {
            self.stuck("the victim ended before it began")
        };
        stepper
    }

    /// Lets a player that `begin`s go on until a word of the namespace file, at `place`, is as it shall be, and leaves it
    /// there; [`sys::detach`] lets it go on.
    pub(crate) fn bring_to_change(&self, pid: Pid, place: u64, there: fn(u64) -> bool) {
        let Some(mut stepper) = Stepper::attach(pid, &self.stage) else { self.stuck("a player that shall be stopped") };
        if stepper.run_to_change(self.url.trim_start_matches("shm:"), place, there) != Reached::Point {
            self.stuck("a player that shall be stopped in its operation, and came past that");
        }
    }

    /// The namespace's file.
    pub(crate) fn path(&self) -> &'a str {
        self.url.trim_start_matches("shm:")
    }

    /// As `play`, on the driver's processor.
    pub(crate) fn play_beside(&self, name: &'static str, f: impl FnOnce(&Player<'_>)) -> Pid {
        self.start_player(name, |p| {
            f(p);
            p.park()
        })
    }

    /// Starts a player. When `f` ends it is parked: players that end by themselves would be owner deaths of their own.
    pub(crate) fn play(&self, name: &'static str, f: impl FnOnce(&Player<'_>)) -> Pid {
        self.start_player(name, |p| {
            sys::stay_on(None);
            f(p);
            p.park()
        })
    }

    fn start_player(&self, name: &'static str, f: impl FnOnce(&Player<'_>)) -> Pid {
        let pid = sys::fork(|| f(&Player::new(&self.stage, name, self.url, self.report))).expect("a process");
        self.players.borrow_mut().push((pid, name));
        pid
    }

    /// Runs a player to its end.
    pub(crate) fn run_player(&self, name: &'static str, f: impl FnOnce(&Player<'_>)) {
        let pid = self.start_player(name, |p| {
            sys::stay_on(None);
            f(p);
        });
        let begin = Instant::now();
        loop {
            match sys::wait_briefly(pid, 5000) {
                // Its end may have come between the look at it and the look at the time.
                Status::Running if self.is_out_of_patience(begin) && sys::state(pid, pid) != Some('Z') => {
                    self.stuck(format_args!("{name} to do its part"));
                }
                Status::Running if begin.elapsed() > 2 * more_patience() => self.stuck(format_args!("{name} to end")),
                Status::Running => {}
                Status::Exited(0) => break,
                other => {
                    self.violation(format_args!("{name} ended with {other:?}"));
                    break;
                }
            }
        }
        self.players.borrow_mut().retain(|(p, _)| *p != pid);
    }

    /// Ends a player as the contract means it: without warning, for good when this returns.
    pub(crate) fn kill(&self, pid: Pid) {
        self.stage.will_be_killed(pid);
        sys::end(pid);
        self.players.borrow_mut().retain(|(p, _)| *p != pid);
    }

    /// Stops a player, all of its threads.
    pub(crate) fn freeze(&self, pid: Pid) {
        sys::kill(pid, libc::SIGSTOP);
        while sys::threads(pid).iter().any(|&t| sys::state(pid, t) != Some('T')) {
            sys::nap(20);
        }
    }

    /// Whether a player was not killed yet.
    pub(crate) fn lives(&self, pid: Pid) -> bool {
        self.players.borrow().iter().any(|(p, _)| *p == pid)
    }

    /// Whether something that began then should have happened by now.
    pub(super) fn is_out_of_patience(&self, begin: Instant) -> bool {
        let moves = |pid: Pid| sys::threads(pid).iter().any(|&t| matches!(sys::state(pid, t), Some('R' | 'D')));
        begin.elapsed() > patience()
            && (begin.elapsed() > more_patience() || !self.players.borrow().iter().any(|(pid, _)| moves(*pid)))
    }

    /// Waits for a flag; that nobody sets it in time counts as stuck.
    pub(crate) fn until(&self, what: &str, f: Flag) {
        let begin = Instant::now();
        while !self.stage.is_set(f) {
            if self.is_out_of_patience(begin) {
                self.stuck(what);
            }
            self.stage.await_briefly(f);
        }
    }

    /// As `until`, and the time that it took goes into the table.
    pub(crate) fn wake(&self, what: &str, f: Flag) {
        let begin = Instant::now();
        self.until(what, f);
        line(self.report, "wake", begin.elapsed().as_micros());
    }

    /// Waits until a player sleeps in its wait, for good: a waiter wakes by itself once, when it has waited for so long
    /// (a millisecond) that it may reserve, and that would cover a lost wake-up.
    pub(crate) fn until_asleep(&self, pid: Pid) {
        let begin = Instant::now();
        sys::nap(1500);
        while !sys::is_asleep(pid, pid) {
            if self.is_out_of_patience(begin) {
                self.stuck("a waiter to fall asleep");
            }
            sys::nap(30);
        }
    }

    /// Waits until the victim, woken, comes out of the system call in which it slept.
    fn until_stopped(&self, pid: Pid) {
        let begin = Instant::now();
        loop {
            match sys::wait_briefly(pid, 300) {
                Status::Stopped(_) => return,
                Status::Running if !self.is_out_of_patience(begin) => {}
                Status::Running => self.stuck("the sleeping victim to be woken"),
                Status::Exited(_) | Status::Killed(_) => self.stuck("the victim, which ended by itself"),
            }
        }
    }

    /// While the victim stands still: waits until the others reach `f`, and is content, too, when the namespace says that
    /// the victim owns the semaphore. True: they reached it.
    pub(crate) fn others_reach(&self, what: &str, f: Flag) -> bool {
        self.others_reach_unless(what, f, || self.victim_holds(SEM))
    }

    /// As `others_reach`, where something else may be what they rightly wait for.
    pub(crate) fn others_reach_unless(&self, what: &str, f: Flag, withheld: impl Fn() -> bool) -> bool {
        let begin = Instant::now();
        let mut look = Duration::from_micros(500);
        while !self.stage.is_set(f) {
            if begin.elapsed() > look {
                if withheld() && !self.stage.is_set(f) {
                    return false;
                }
                look = begin.elapsed() * 4;
            }
            if self.is_out_of_patience(begin) {
                self.stuck(format_args!("{what}, while the victim, stopped, owns nothing"));
            }
            self.stage.await_briefly(f);
        }
        true
    }

    /// Whether the victim is among the holders, as the namespace says.
    pub(crate) fn victim_holds(&self, name: &str) -> bool {
        let victim = self.victim.get();
        self.ask(|p| {
            let report = p.must("inspect", p.ns().inspect(name));
            u64::from(report.holders.iter().any(|h| h.process.pid as Pid == victim))
        }) == 1
    }

    /// The content of the namespace file, as a number.
    pub(crate) fn content(&self) -> u64 {
        points::content(self.path())
    }

    /// Puts a copy in the place of the namespace file, with the holes that it has.
    pub(crate) fn replace_by_copy(&self) -> std::io::Result<()> {
        let copy = format!("{}.copy", self.path());
        sparse::copy(self.path(), &copy)?;
        std::fs::rename(copy, self.path())
    }

    /// What somebody finds who comes to look.
    pub(crate) fn ask(&self, f: impl FnOnce(&Player<'_>) -> u64) -> u64 {
        self.run_player("observer", |p| p.stage.put(Value::Answer, f(p)));
        self.stage.get(Value::Answer)
    }

    pub(crate) fn violation(&self, text: impl Display) {
        line(self.report, "violation", text);
    }

    /// Something hangs: says what, and ends the case.
    pub(crate) fn stuck(&self, waited_for: impl Display) -> ! {
        line(self.report, "stuck", format_args!("waited at least {} s for {waited_for}", patience().as_secs()));
        for (pid, name) in self.players.borrow().iter() {
            line(self.report, "note", format_args!("{name}: {}", sys::describe(*pid)));
        }
        self.end_all();
        // SAFETY: `_exit` never returns, and every player is gone.
        unsafe { libc::_exit(0) }
    }

    /// Ends every player of this name.
    pub(crate) fn end_players(&self, name: &str) {
        let pids: Vec<Pid> = self.players.borrow().iter().filter(|(_, n)| *n == name).map(|(p, _)| *p).collect();
        pids.into_iter().for_each(|p| self.kill(p));
    }

    /// The report ends before the players do: who dies here as an owner makes others say what nobody asked for.
    fn end_all(&self) {
        line(self.report, "end", "");
        let players = self.players.take();
        players.iter().for_each(|(pid, _)| sys::kill(*pid, libc::SIGKILL));
        players.iter().for_each(|(pid, _)| sys::end(*pid));
    }
}
