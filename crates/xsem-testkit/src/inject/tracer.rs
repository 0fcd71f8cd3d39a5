//! Runs a process from system call to system call, in all of its threads, and answers one of them in the kernel's place.

use super::calls;
use crate::sys::{self, Pid};
use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

/// A system call of a run: the thread (0 is the first, others in the order in which they begin), and which of its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) thread: usize,
    pub(super) nth: usize,
    pub(super) number: i64,
    pub(super) arguments: [u64; 3],
}

/// One answer: the call, and the error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) spot: Spot,
    pub(super) errno: i32,
    /// Every later call of the same number, in whatever thread, gets the same answer: the resource stays exhausted.
    pub(super) lasting: bool,
}

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Exited(i32),
    Killed(i32),
    /// It did not end.
    Stuck,
}

/// A run that is over.
pub(super) struct Trace {
    /// The calls of the operation, in the order in which they began.
    pub(super) spots: Vec<Spot>,
    /// Whether the fault was given.
    pub(super) given: bool,
    pub(super) end: End,
}

/// The victim makes this call when its operation is over; from there on nothing fails any more.
pub(super) fn say_over() {
    // SAFETY: asks for the group of a process that cannot be: an error, and nothing else.
    unsafe { libc::syscall(libc::SYS_getpgid, OVER) };
}

const OVER: i64 = 0x7ead_0e5d;

struct Thread {
    index: usize,
    inside: bool,
    calls: usize,
    answer: Option<i32>,
}

/// Traces `pid`, which stops for its tracer, until it ends. Others of the caller's children that end meanwhile are told to
/// `other`.
pub(super) fn run(pid: Pid, fault: Option<Fault>, patience: Duration, mut other: impl FnMut(Pid, End)) -> io::Result<Trace> {
    let mut trace = Trace { spots: Vec::new(), given: false, end: End::Stuck };
    let mut threads: HashMap<Pid, Thread> = HashMap::new();
    let mut over = false;
    let begin = Instant::now();
    loop {
        // Also one that makes calls for ever is stuck.
        if begin.elapsed() > patience {
            return Ok(trace);
        }
        let Some((who, status)) = wait_any() else { continue };
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            let end = match libc::WIFEXITED(status) {
                true => End::Exited(libc::WEXITSTATUS(status)),
                false => End::Killed(libc::WTERMSIG(status)),
            };
            if who == pid {
                trace.end = end;
                return Ok(trace);
            }
            if threads.remove(&who).is_none() {
                other(who, end);
            }
            continue;
        }
        if !libc::WIFSTOPPED(status) {
            continue;
        }
        let signal = libc::WSTOPSIG(status);
        let count = threads.len();
        let known = threads.contains_key(&who);
        let thread = threads.entry(who).or_insert(Thread { index: count, inside: false, calls: 0, answer: None });
        if !known {
            // The first stop of the victim, or of a thread that has just begun.
            if who == pid {
                let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
                sys::trace_options(who, options)?;
            }
            sys::go_on_to_call(who, 0);
            continue;
        }
        if signal != libc::SIGTRAP | 0x80 {
            // An event of ptrace, or a signal of its own, which it shall get.
            let event = status >> 16 != 0;
            let deliver = if event || signal == libc::SIGTRAP || signal == libc::SIGSTOP { 0 } else { signal };
            sys::go_on_to_call(who, deliver);
            continue;
        }
        thread.inside = !thread.inside;
        match thread.inside {
            true => {
                let Some((number, arguments)) = sys::call_of(who) else {
                    sys::go_on_to_call(who, 0);
                    continue;
                };
                over |= number == libc::SYS_getpgid && arguments[0] as i64 == OVER;
                if !over {
                    let spot = Spot { thread: thread.index, nth: thread.calls, number, arguments };
                    thread.calls += 1;
                    trace.spots.push(spot);
                    let here = |f: &Fault| (f.spot.thread, f.spot.nth, f.spot.number) == (spot.thread, spot.nth, spot.number);
                    let later = |f: &Fault| f.lasting && trace.given && f.spot.number == number;
                    if let Some(f) = fault.as_ref().filter(|f| later(f) || !trace.given && here(f)) {
                        // A word that waits for others may be a wake-up in another run.
                        let may = calls::of(number).is_some_and(|c| calls::errors_of(c, arguments).contains(&f.errno));
                        if may && sys::skip_call(who) {
                            thread.answer = Some(f.errno);
                            trace.given = true;
                        }
                    }
                }
            }
            false => {
                if let Some(errno) = thread.answer.take() {
                    sys::answer_call(who, -errno as i64);
                }
            }
        }
        sys::go_on_to_call(who, 0);
    }
}

/// A change of any child or traced thread, within some milliseconds.
fn wait_any() -> Option<(Pid, i32)> {
    sys::wait_for_any(Duration::from_millis(5))
}
