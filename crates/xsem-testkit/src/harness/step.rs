//! Steps the victim, instruction by instruction.

use super::case::patience;
use super::code::{self, Kind};
use super::stage::{Flag, Stage};
use crate::sys::{self, Pid, Status};
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// After so long it is told once more that the victim sleeps. Far longer than a wake-up takes.
const TELL_AGAIN: Duration = Duration::from_millis(200);

/// Where stepping ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// At the instruction asked for.
    Point,
    /// In the instruction asked for, which is a system call that sleeps.
    Asleep,
    /// The operation was over before.
    Done,
    /// The victim ended by itself, which it never should.
    Gone,
    /// It sleeps before that, and what should wake it does not.
    Hangs,
}

/// A place in the victim's way: the n-th time that it comes to an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) pc: u64,
    pub(crate) nth: u32,
}

/// A victim that is stopped at its `begin`.
pub(crate) struct Stepper<'a> {
    pub(crate) pid: Pid,
    /// Instructions so far.
    pub(crate) taken: u64,
    stage: &'a Stage,
    memory: Option<File>,
    /// What the instruction at an address may do, for those that were passed.
    kinds: HashMap<u64, Kind>,
    /// Where the victim is, if it was asked since it stopped.
    at: Option<u64>,
    /// The kernel's code in every process (reading the clock). It loops until no tick comes between, which a stepped
    /// victim may never see; and it changes nothing. So it is passed at full speed, as one instruction.
    vdso: Range<u64>,
}

impl<'a> Stepper<'a> {
    /// Waits until the victim stops at its `begin`. `None` when it ended before.
    pub(crate) fn attach(pid: Pid, stage: &'a Stage) -> Option<Stepper<'a>> {
        match sys::wait(pid, true) {
            Status::Stopped(_) => {
                let memory = File::open(format!("/proc/{pid}/mem")).ok();
                Some(Stepper { pid, taken: 0, stage, memory, kinds: HashMap::new(), at: None, vdso: vdso(pid) })
            }
            _ => None,
        }
    }

    /// Where the victim stands.
    pub(crate) fn place(&mut self) -> Option<u64> {
        if self.at.is_none() {
            self.at = sys::program_counter(self.pid);
        }
        self.at
    }

    /// What the next instruction may do; anything, where that is not known.
    pub(crate) fn next_kind(&mut self) -> Kind {
        let (Some(pc), Some(memory)) = (self.place(), &self.memory) else { return Kind::ANY };
        *self.kinds.entry(pc).or_insert_with(|| {
            let mut bytes = [0u8; code::BYTES];
            // Less than that may be there, at the end of a mapping.
            match memory.read_at(&mut bytes, pc) {
                Ok(n) if n > 1 => code::kind(&bytes),
                _ => Kind::ANY,
            }
        })
    }

    /// Goes on until `k` instructions are taken: at full speed from place to place (breakpoints), if they are known, the last
    /// of them just before; then step by step. Calls `asleep` when the victim falls asleep before that; it must see to it
    /// that it is woken.
    pub(crate) fn go_to(&mut self, k: u64, way: &[Place], mut asleep: impl FnMut()) -> Reached {
        if !way.is_empty() && sys::breakpoint(self.pid, None) {
            for &place in way {
                match self.run_to(place, &mut asleep) {
                    Reached::Point => {}
                    other => return other,
                }
            }
            self.taken = k - 1;
        }
        self.step_to(k, asleep)
    }

    fn run_to(&mut self, place: Place, asleep: &mut impl FnMut()) -> Reached {
        self.at = None;
        sys::breakpoint(self.pid, Some(place.pc));
        let mut reached = Reached::Point;
        for n in 0..place.nth {
            if n > 0 && sys::STOPS_BEFORE {
                sys::breakpoint(self.pid, None);
                reached = self.started(sys::step(self.pid), asleep);
                sys::breakpoint(self.pid, Some(place.pc));
            }
            if reached == Reached::Point {
                reached = self.started(sys::go_on(self.pid), asleep);
            }
            if reached != Reached::Point {
                break;
            }
        }
        sys::breakpoint(self.pid, None);
        reached
    }

    /// After the victim was started: where it comes to. Not started: it is gone.
    fn started(&self, it_was: bool, asleep: &mut impl FnMut()) -> Reached {
        if it_was { self.wait_until_stopped(false, asleep) } else { Reached::Gone }
    }

    /// Goes on until a word of the file at `path` is as it shall be: at full speed from change to change (the processor watches
    /// the word), or step by step where that does not work.
    pub(crate) fn run_to_change(&mut self, path: &str, place: u64, there: impl Fn(u64) -> bool) -> Reached {
        let Ok(file) = File::open(path) else { return Reached::Gone };
        let is_there = || {
            let mut word = [0; 8];
            file.read_exact_at(&mut word, place).is_ok() && there(u64::from_le_bytes(word))
        };
        let word = mapped_at(self.pid, path).map(|base| base + place);
        let watches = word.is_some() && sys::watchpoint(self.pid, word);
        let mut reached = Reached::Point;
        while reached == Reached::Point && !is_there() {
            reached = match watches {
                true => self.started(sys::go_on(self.pid), &mut || {}),
                false => self.step_to(self.taken + 1, || {}),
            };
            if watches && sys::STOPS_BEFORE && reached == Reached::Point {
                sys::watchpoint(self.pid, None);
                reached = self.started(sys::step(self.pid), &mut || {});
                sys::watchpoint(self.pid, word);
            }
        }
        sys::watchpoint(self.pid, None);
        reached
    }

    /// Where the victim returns to, if it has just called into the vDSO.
    fn way_out_of_vdso(&mut self) -> Option<Place> {
        let pc = self.place().filter(|pc| self.vdso.contains(pc))?;
        let back = sys::return_address(self.pid, self.memory.as_ref()?)?;
        // Without debug registers it is stepped, too; and so it is where this is not its first instruction.
        (!self.vdso.contains(&back) && pc != back && sys::breakpoint(self.pid, None)).then_some(Place { pc: back, nth: 1 })
    }

    /// Steps until `k` instructions are taken.
    pub(crate) fn step_to(&mut self, k: u64, mut asleep: impl FnMut()) -> Reached {
        while self.taken < k {
            if self.stage.is_set(Flag::Done) {
                return Reached::Done;
            }
            if let Some(back) = self.way_out_of_vdso() {
                match self.run_to(back, &mut asleep) {
                    Reached::Point => self.taken += 1,
                    other => return other,
                }
                continue;
            }
            let may_sleep = self.next_kind().system_call;
            self.at = None;
            if !sys::step(self.pid) {
                return Reached::Gone;
            }
            let last = self.taken + 1 == k;
            let reached = match may_sleep {
                true => self.wait_until_stopped(last, &mut asleep),
                false => match sys::wait(self.pid, true) {
                    Status::Stopped(_) => Reached::Point,
                    _ => Reached::Gone,
                },
            };
            match reached {
                Reached::Point => self.taken += 1,
                other => return other,
            }
        }
        Reached::Point
    }

    /// Waits for the end of what was started. `here`: ends with `Asleep` when it sleeps; otherwise that is told, and told
    /// again if it still sleeps, or sleeps again, a good while later: what shall wake it may have served somebody else.
    fn wait_until_stopped(&self, here: bool, asleep: &mut impl FnMut()) -> Reached {
        let begin = Instant::now();
        let mut told: Option<Instant> = None;
        loop {
            match sys::wait_briefly(self.pid, 300) {
                // Our own signal, from below.
                Status::Stopped(libc::SIGSTOP) => return Reached::Done,
                Status::Stopped(_) => return Reached::Point,
                Status::Exited(_) | Status::Killed(_) => return Reached::Gone,
                // It took another way than in the measuring run, and is through.
                Status::Running if self.stage.is_set(Flag::Done) => {
                    sys::kill_thread(self.pid, self.pid, libc::SIGSTOP);
                }
                Status::Running if told.is_none_or(|t| t.elapsed() > TELL_AGAIN) && sys::is_asleep(self.pid, self.pid) => {
                    if here {
                        return Reached::Asleep;
                    }
                    if begin.elapsed() > patience() {
                        return Reached::Hangs;
                    }
                    asleep();
                    told = Some(Instant::now());
                }
                Status::Running => {}
            }
        }
    }

    /// Stops every thread of the victim as SIGSTOP does, whatever it is in.
    pub(crate) fn stop(&self, reached: Reached) {
        if reached == Reached::Asleep {
            sys::kill_thread(self.pid, self.pid, libc::SIGSTOP);
            sys::wait(self.pid, true);
        }
        // The stepped thread stands still already; the signal is for the others (the keeper).
        let others: Vec<Pid> = sys::threads(self.pid).into_iter().filter(|&t| t != self.pid).collect();
        if !others.is_empty() {
            sys::kill(self.pid, libc::SIGSTOP);
            while others.iter().any(|&t| sys::state(self.pid, t).is_some_and(|s| s != 'T')) {
                sys::nap(20);
            }
        }
    }

    /// Lets it run on, all threads, untraced.
    pub(crate) fn resume(&self) {
        sys::kill(self.pid, libc::SIGCONT);
        sys::detach(self.pid);
    }
}

fn vdso(pid: Pid) -> Range<u64> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let range = |line: &str| {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        Some(u64::from_str_radix(from, 16).ok()?..u64::from_str_radix(to, 16).ok()?)
    };
    maps.lines().find(|l| l.ends_with("[vdso]")).and_then(range).unwrap_or(0..0)
}

/// Where a process has the beginning of a file mapped.
pub(super) fn mapped_at(pid: Pid, path: &str) -> Option<u64> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let line = maps.lines().find(|l| l.ends_with(path) && l.split(' ').nth(2) == Some("00000000"))?;
    u64::from_str_radix(line.split('-').next()?, 16).ok()
}
