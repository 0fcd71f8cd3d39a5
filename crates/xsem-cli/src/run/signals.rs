//! Which signals do what.
//!
//! While we wait for the semaphore they have their usual effect, only tidier: a signal that ends a process cancels the
//! wait first, so that no owner dies that never ran anything. Once the claim is held they are for the command: blocked
//! here, taken one by one in `supervise`, and passed on.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use xsem::CancelToken;

/// Passed on to the command; SIGCHLD besides tells us about it.
pub const FORWARDED: [i32; 9] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGTSTP,
    libc::SIGCONT,
    libc::SIGWINCH,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

/// Those of them that end a process by default.
const ENDING: [i32; 6] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];

static TOKEN: OnceLock<CancelToken> = OnceLock::new();
static CAUGHT: AtomicI32 = AtomicI32::new(0);

/// Does `work`, which may wait with this token. A signal that would have ended us cancels the token instead, and ends us
/// when the work is done and what it gave is dropped, after `before_death`. Otherwise the signals are held back from then on.
pub fn cancel_on_signal<T>(work: impl FnOnce(&CancelToken) -> T, before_death: impl FnOnce()) -> (T, Inherited) {
    let ending = EndingSignals::catch();
    let outcome = work(ending.token());
    let inherited = hold_back();
    if let Some(signal) = ending.finish() {
        drop(outcome);
        before_death();
        die_of(signal);
    }
    (outcome, inherited)
}

/// Whether a shell below `above`, a process above us, has started us with `&`: without job control it lets such a command
/// ignore SIGINT. If `above` ignores it as well, all of it is in the background, which says nothing about us.
pub fn in_background_of(above: u32) -> bool {
    let ignores = |pid: u32| -> Option<bool> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"))?;
        Some(u64::from_str_radix(mask.trim(), 16).ok()? >> (libc::SIGINT - 1) & 1 == 1)
    };
    handler(libc::SIGINT) == libc::SIG_IGN && ignores(above) == Some(false)
}

/// From `catch` to `finish`, the first signal that would have ended us cancels the token instead.
struct EndingSignals {
    replaced: Vec<i32>,
}

impl EndingSignals {
    /// Installs the handler for those that are not ignored (`nohup`) or taken otherwise.
    fn catch() -> EndingSignals {
        TOKEN.get_or_init(CancelToken::new);
        let replaced = ENDING.into_iter().filter(|&s| is_default(s)).collect::<Vec<_>>();
        for &s in &replaced {
            set_handler(s, on_ending as *const () as libc::sighandler_t);
        }
        EndingSignals { replaced }
    }

    /// What the wait shall be given.
    fn token(&self) -> &CancelToken {
        TOKEN.get_or_init(CancelToken::new)
    }

    /// Ends the catching, and says whether a signal came. Call it with the signals blocked, so that none falls between.
    fn finish(self) -> Option<i32> {
        for &s in &self.replaced {
            set_handler(s, libc::SIG_DFL);
        }
        Some(CAUGHT.load(Ordering::SeqCst)).filter(|&s| s != 0)
    }
}

/// Async-signal-safe: two atomics, and the cancel, which is an atomic store and a futex wake.
extern "C" fn on_ending(signal: i32) {
    let _ = CAUGHT.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
    if let Some(token) = TOKEN.get() {
        token.cancel();
    }
}

/// Ends this process by `signal`, so that the parent sees what it would have seen without a handler.
fn die_of(signal: i32) -> ! {
    set_handler(signal, libc::SIG_DFL);
    // SAFETY: both calls take plain values; `set_of` gives an initialised set.
    unsafe {
        libc::raise(signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set_of(&[signal]), ptr::null_mut());
    }
    // Only reached if the signal does not end a process after all.
    std::process::exit(i32::from(crate::exit_codes::ended_by(signal)))
}

/// What the command inherits: our signal state as it was before we touched it.
pub struct Inherited {
    mask: libc::sigset_t,
    child_ignored: bool,
}

/// Blocks what is to be taken one by one, and makes sure that the command's end can be waited for.
fn hold_back() -> Inherited {
    let mut mask = MaybeUninit::uninit();
    // SAFETY: the set is initialised, and `mask` is written by the call, which cannot fail with these arguments.
    let mask = unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &watched(), mask.as_mut_ptr());
        mask.assume_init()
    };
    // A parent that ignores SIGCHLD hands that on, and the kernel would then throw our child's exit status away.
    let child_ignored = handler(libc::SIGCHLD) == libc::SIG_IGN;
    set_handler(libc::SIGCHLD, libc::SIG_DFL);
    Inherited { mask, child_ignored }
}

impl Inherited {
    /// In the forked child: puts everything back. Async-signal-safe.
    pub fn restore(&self) {
        // SAFETY: plain values and an initialised mask; signal and sigprocmask are async-signal-safe.
        unsafe {
            libc::signal(libc::SIGPIPE, if PIPE_IGNORED.load(Ordering::Relaxed) { libc::SIG_IGN } else { libc::SIG_DFL });
            libc::signal(libc::SIGCHLD, if self.child_ignored { libc::SIG_IGN } else { libc::SIG_DFL });
            libc::sigprocmask(libc::SIG_SETMASK, &self.mask, ptr::null_mut());
        }
    }
}

/// The signals that `supervise` takes.
pub fn watched() -> libc::sigset_t {
    let mut all = FORWARDED.to_vec();
    all.push(libc::SIGCHLD);
    set_of(&all)
}

/// Stops this process as `signal` (TSTP, TTIN, TTOU) does by default; returns when it is continued.
pub fn stop_self(signal: i32) {
    let one = set_of(&[signal]);
    let mut before = MaybeUninit::uninit();
    // SAFETY: plain values, initialised sets; `before` is written by the first call before it is read.
    unsafe {
        let mut pending = MaybeUninit::uninit();
        if libc::sigpending(pending.as_mut_ptr()) == 0 && libc::sigismember(pending.as_ptr(), libc::SIGCONT) == 1 {
            // Somebody has told us to go on already. Stopping now would throw that away.
            return;
        }
        libc::raise(signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &one, before.as_mut_ptr());
        // Stopped here, until SIGCONT.
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut());
    }
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set; sigaddset is given valid signal numbers.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &s in signals {
            libc::sigaddset(set.as_mut_ptr(), s);
        }
        set.assume_init()
    }
}

fn handler(signal: i32) -> libc::sighandler_t {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only reads the disposition into `action`; all zeroes is a valid `sigaction` if the call should fail.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction
    }
}

fn is_default(signal: i32) -> bool {
    handler(signal) == libc::SIG_DFL
}

fn set_handler(signal: i32, handler: libc::sighandler_t) {
    // SAFETY: all zeroes is a valid `sigaction` (no flags, an empty mask); the handler is SIG_DFL or async-signal-safe.
    unsafe {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &action, ptr::null_mut());
    }
}

static PIPE_IGNORED: AtomicBool = AtomicBool::new(false);

/// Rust's runtime ignores SIGPIPE before `main`, and the command must not inherit that; it must inherit it if our parent
/// had it so. Only a constructor runs early enough to see the difference.
#[used]
#[unsafe(link_section = ".init_array")]
static REMEMBER_PIPE: extern "C" fn() = {
    extern "C" fn remember() {
        PIPE_IGNORED.store(handler(libc::SIGPIPE) == libc::SIG_IGN, Ordering::Relaxed);
    }
    remember
};
