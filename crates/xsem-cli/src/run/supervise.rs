//! Waiting for the command: passing signals on, job control, the time limit.
//!
//! The command stays in our process group, so that whatever the terminal sends (Ctrl-C, Ctrl-Z, a new size) reaches it
//! directly; what a process sent to us alone is passed on.

use super::signals;
use crate::exit_codes;
use crate::failure::say;
use std::io;
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use xsem::Namespace;

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this exit code.
    Exit(u8),
    /// By this signal.
    Signal(i32),
}

/// How it ended, and whether the time limit had a part in it.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub end: End,
    /// Whether its time was up.
    pub timed_out: bool,
    /// Why the claims were lost while it ran, if they were.
    pub lost: Option<String>,
}

impl Ended {
    /// What `xsem run` exits with.
    pub fn exit_code(&self) -> u8 {
        match (self.timed_out, self.end) {
            _ if self.lost.is_some() => exit_codes::XSEM_FAILED,
            (true, _) => exit_codes::TIME_LIMIT,
            (false, End::Exit(code)) => code,
            (false, End::Signal(s)) => exit_codes::ended_by(s),
        }
    }
}

/// Told when the claims are lost; the command is ended then.
#[derive(Clone, Debug, Default)]
pub struct Loss(Arc<Mutex<Option<String>>>);

impl Loss {
    /// Listens to what the namespace says.
    pub fn of(ns: &Namespace) -> Loss {
        let loss = Loss::default();
        let told = loss.clone();
        ns.on_loss(move |lost| {
            *told.said() = Some(lost.to_string());
            // Whoever waits for signals looks up. From this process, so it is not taken for the terminal's.
            // SAFETY: plain numbers; SIGCHLD is blocked or ignored in all threads of this process.
            unsafe { libc::kill(libc::getpid(), libc::SIGCHLD) };
        });
        loss
    }

    fn said(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until `child` has ended. When its time is up, or its claims are lost, it gets SIGTERM, and SIGKILL after the grace. The
/// watched signals are blocked by now. `held`: whether its claims are there all the same: a loss from before they were made, while
/// this process waited for them, does not concern them.
///
/// # Errors
/// The child cannot be waited for.
pub fn supervise(
    child: libc::pid_t,
    limit: Option<Duration>,
    grace: Duration,
    loss: &Loss,
    held: impl Fn() -> bool,
) -> io::Result<Ended> {
    let limit = limit.map(|time| Limit::new(time, grace));
    let mut watch = Watch { child, stopped: false, limit, timed_out: false, lost: None };
    let set = signals::watched();
    loop {
        // A look first: the child may have ended, or stopped, before the signals were looked at.
        if let Some(end) = watch.look()? {
            return Ok(Ended { end, timed_out: watch.timed_out && watch.lost.is_none(), lost: watch.lost });
        }
        // Taken first: the lock is not kept while the store is asked.
        let told = loss.said().take();
        if let (Some(why), None) = (told.filter(|_| !held()), &watch.lost) {
            say(&format!("{why}; others may own what it owned, so the command is ended"));
            watch.lost = Some(why);
            watch.limit = Some(Limit::new(Duration::ZERO, grace));
        }
        match next_signal(&set, watch.limit.as_ref().map(Limit::remaining)) {
            Some(info) => watch.on(&info),
            None => watch.check_limit(),
        }
    }
}

/// The next signal; `None` when the time is over, or when one came that is not ours.
fn next_signal(set: &libc::sigset_t, within: Option<Duration>) -> Option<libc::siginfo_t> {
    let mut info = MaybeUninit::zeroed();
    // SAFETY: an initialised set; `info` is written before it is read, and all zeroes is a valid `siginfo_t`.
    unsafe {
        let got = match within {
            None => libc::sigwaitinfo(set, info.as_mut_ptr()),
            Some(d) => {
                let seconds = libc::time_t::try_from(d.as_secs()).unwrap_or(libc::time_t::MAX);
                let time = libc::timespec { tv_sec: seconds, tv_nsec: d.subsec_nanos().into() };
                libc::sigtimedwait(set, info.as_mut_ptr(), &time)
            }
        };
        (got > 0).then(|| info.assume_init())
    }
}

struct Watch {
    child: libc::pid_t,
    stopped: bool,
    limit: Option<Limit>,
    timed_out: bool,
    lost: Option<String>,
}

impl Watch {
    /// Reads what the kernel has to say about the child.
    fn look(&mut self) -> io::Result<Option<End>> {
        loop {
            let mut status = 0;
            // SAFETY: waits for our own child and writes one status.
            let got = unsafe { libc::waitpid(self.child, &mut status, libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED) };
            match got {
                0 => return Ok(None),
                -1 => match io::Error::last_os_error() {
                    e if e.kind() == io::ErrorKind::Interrupted => {}
                    e => return Err(e),
                },
                _ if libc::WIFEXITED(status) => return Ok(Some(End::Exit(libc::WEXITSTATUS(status) as u8))),
                _ if libc::WIFSIGNALED(status) => return Ok(Some(End::Signal(libc::WTERMSIG(status)))),
                _ if libc::WIFCONTINUED(status) => self.stopped = false,
                _ if libc::WIFSTOPPED(status) => {
                    self.stopped = true;
                    let signal = libc::WSTOPSIG(status);
                    // The stops of job control stop us as well, so that the shell sees its job stopped. A SIGSTOP was
                    // meant for that process alone: whoever sent it will continue it alone, and we must see it end.
                    if matches!(signal, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU) {
                        signals::stop_self(signal);
                    }
                }
                _ => {}
            }
        }
    }

    fn on(&mut self, info: &libc::siginfo_t) {
        let signal = info.si_signo;
        if signal == libc::SIGCHLD {
            return;
        }
        // Codes up to 0 are for signals that a process sent, the others come from the kernel.
        if info.si_code > 0 && self.reached_by_kernel(signal) {
            if signal == libc::SIGTSTP && self.stopped {
                // Ctrl-Z while the command was stopped already: there is no news of it to wait for.
                signals::stop_self(signal);
            }
            return;
        }
        // SAFETY: `si_pid` is there for signals that a process sent with kill, sigqueue or tgkill.
        if info.si_code <= 0 && unsafe { info.si_pid() } == self.child {
            // The command signalled its process group (`kill 0`) or us: giving it back would echo for ever.
            return;
        }
        self.send(signal);
    }

    /// Whether the kernel has sent this signal to the child, too: what a terminal sends goes to a whole process group,
    /// except the hang-up, which goes to the leader of the session.
    fn reached_by_kernel(&self, signal: i32) -> bool {
        // SAFETY: these calls take and give plain numbers. The child is not reaped yet, so its id is its own.
        unsafe {
            let leader = libc::getsid(0) == libc::getpid();
            libc::getpgid(self.child) == libc::getpgrp() && !(leader && signal == libc::SIGHUP)
        }
    }

    fn send(&self, signal: i32) {
        // SAFETY: the child is not reaped before `look` says that it has ended, so the id names nobody else.
        unsafe { libc::kill(self.child, signal) };
    }

    fn check_limit(&mut self) {
        let Some(limit) = &mut self.limit else { return };
        if limit.remaining() > Duration::ZERO {
            return;
        }
        let signal = limit.next_signal();
        self.timed_out = true;
        self.send(signal);
        // A stopped command would not see SIGTERM before somebody continues it.
        self.send(libc::SIGCONT);
    }
}

/// The time limit: SIGTERM at its end, SIGKILL after the grace.
struct Limit {
    from: Instant,
    time: Duration,
    grace: Duration,
    warned: bool,
}

impl Limit {
    fn new(time: Duration, grace: Duration) -> Limit {
        Limit { from: Instant::now(), time, grace, warned: false }
    }

    fn remaining(&self) -> Duration {
        self.time.saturating_sub(self.from.elapsed())
    }

    fn next_signal(&mut self) -> i32 {
        if self.warned {
            // Sent again every grace; a process that does not go on SIGKILL is inside the kernel.
            self.time = self.time.saturating_add(self.grace.max(Duration::from_millis(100)));
            return libc::SIGKILL;
        }
        self.warned = true;
        self.from = Instant::now();
        self.time = self.grace;
        libc::SIGTERM
    }
}
