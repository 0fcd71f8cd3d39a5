//! Processes that fork in the middle of everything, become another program, or end.

use super::super::image;
use super::super::ledger::{Count, Did, GUESTS, Guest, Ledger, State, guest_of, reserved_for};
use super::super::os::{self, End, Thread};
use super::books::Books;
use super::claimant::{Claimant, Next};
use super::handlers;
use super::here::{Here, run};
use crate::random::Random;
use crate::sys::{self, SharedBox};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::Ordering::SeqCst;
use xsem::{Code, Guard, Namespace};

/// What `Process::execed` says.
pub(in super::super) const EXECED: u32 = 1;
/// The process ends by itself, with whatever its threads own.
pub(in super::super) const LEAVES: u32 = 2;

impl Claimant {
    /// A turn in the life of the process or of the thread, which may own something now.
    pub(super) fn turn(&mut self, held: Option<&Guard<'static>>) -> Next {
        match self.random.below(12) {
            0..=5 => self.fork(held),
            6 => self.exec(),
            7 => self.leave(),
            _ => return Next::End(self.an_end()),
        }
        Next::GoOn
    }

    /// The process ends, without a word of its other threads.
    fn leave(&self) {
        self.ledger.processes[self.here.slot].execed.store(LEAVES, SeqCst);
        self.ledger.count(Count::Exits);
        os::leave(0)
    }

    /// Becomes another program: the claims of all its threads end.
    fn exec(&mut self) {
        let l = self.ledger;
        self.books.note(Did::Execs, image::next_generation());
        l.count(Count::Execs);
        let arguments = [
            image::ARGUMENT.to_owned(),
            image::next_generation().to_string(),
            l.file.load(SeqCst).to_string(),
            self.here.slot.to_string(),
            self.here.birth.to_string(),
            self.here.url.to_owned(),
        ];
        l.processes[self.here.slot].execing.store(image::own() as u32, SeqCst);
        // The handler goes with the program, and signals may be on their way.
        sys::ignore_signal(handlers::SIGNAL);
        // SAFETY: the ledger's file, which no process of the run closes.
        let file = unsafe { BorrowedFd::borrow_raw(l.file.load(SeqCst) as i32) };
        let failed = os::exec("/proc/self/exe", &arguments, file);
        l.violation(&format!("exec: {failed}"));
    }

    /// Forks a child that goes on working with what it inherits, and owns nothing.
    fn fork(&mut self, held: Option<&Guard<'static>>) {
        let l = self.ledger;
        let first = l.workers.load(SeqCst) as usize;
        let reservation = reserved_for(image::own());
        let free = |g: &usize| l.processes[*g].guest.compare_exchange(0, reservation, SeqCst, SeqCst).is_ok();
        let Some(slot) = (first..first + GUESTS).find(free) else { return };
        self.books.note(Did::Forks, slot as u32);
        l.count(Count::Forks);
        let birth = self.random.next() >> 1;
        if let Err(e) = os::fork_away(|| self.go_on_as_guest(slot, reservation, birth, held)) {
            l.violation(&format!("fork: {e}"));
            l.processes[slot].guest.store(0, SeqCst);
        }
    }

    /// The child: it shows that it owns nothing, works for a while, and ends somehow.
    fn go_on_as_guest(&mut self, slot: usize, reservation: u64, birth: u64, held: Option<&Guard<'static>>) {
        let l = self.ledger;
        os::die_with(l.supervisor.load(SeqCst) as sys::Pid);
        let me = &l.processes[slot];
        l.is_our_own(sys::own_pid());
        me.threads.store(1, SeqCst);
        if me.guest.compare_exchange(reservation, guest_of(sys::own_pid()), SeqCst, SeqCst).is_err() {
            // Whoever forked it was dead, and its place was given away.
            os::leave(0);
        }
        handlers::move_to(slot);
        let mut random = Random::new(birth);
        if let Some(guard) = held {
            check_inherited(l, guard);
        }
        // Half of them open the namespace anew, the others go on with the handles of their parents.
        let mut ns = self.ns;
        if random.one_in(2) {
            match Namespace::open(self.here.url) {
                Ok(again) => ns = Box::leak(Box::new(again)),
                Err(e) => l.violation(&format!("a forked child opens the namespace: {e}")),
            }
            (self.handles, self.pools, self.events, self.credit) = Default::default();
        }
        let here = Here::new(l, self.here.url, ns, slot, birth);
        (self.here, self.ns, self.thread, self.random) = (here, ns, 0, random);
        self.books = Books::new(here, 0, State::default());
        self.books.note(Did::Began, sys::own_pid() as u32);
        self.inherit_tasks();
        handlers::may_come(l, slot, 0);
        if self.random.one_in(2) {
            me.threads.store(2, SeqCst);
            let helper = Thread::start(move || {
                here.look_after(1, 2);
                End::Returns
            });
            if let Err(e) = helper {
                l.violation(&format!("a forked child starts a thread: {e}"));
            }
        }
        for _ in 0..self.random.below(400) {
            if self.step() != Next::GoOn {
                break;
            }
        }
        self.leave();
    }
}

/// A guard that a child has a copy of is its parent's.
fn check_inherited(l: &Ledger, guard: &Guard<'static>) {
    if guard.is_held() {
        l.violation("a forked child believes to own what its parent does");
    }
    match guard.mark_consistent().map_err(|e| e.code()) {
        Err(Code::NotOwner) => {}
        other => l.violation(&format!("a forked child acknowledges what its parent owns: {other:?}")),
    }
}

impl Guest {
    /// Who reserved a place and is no more, or has become another program, will not use it.
    pub(in super::super) fn is_over(self) -> bool {
        matches!(self, Guest::Reserved(image) if image::is_over(image))
    }
}

/// What a process does that has become this program: after [`image::ARGUMENT`], what `exec` above says.
pub(in super::super) fn become_image(arguments: &[String]) {
    let number = |i: usize| arguments.get(i).and_then(|a| a.parse::<u64>().ok()).unwrap_or(0);
    image::set_generation(number(0) as u32);
    // SAFETY: it was left open for this, and nobody else has it in this program.
    let file = unsafe { OwnedFd::from_raw_fd(number(1) as i32) };
    let Ok(ledger) = SharedBox::<Ledger>::of_file(&file) else { return };
    // An exec of its own needs it again.
    std::mem::forget(file);
    let (slot, birth) = (number(2) as usize, number(3));
    let me = &ledger.processes[slot];
    me.execed.store(EXECED, SeqCst);
    // What the image before held is written down first.
    while me.execed.load(SeqCst) == EXECED {
        sys::nap(100);
    }
    let url = arguments.get(4).map_or("", String::as_str);
    run(&ledger, url, slot, ledger.threads.load(SeqCst) as usize, birth);
}
