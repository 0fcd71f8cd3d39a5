//! What happens to a thread. Each case leaves it as it was.

use super::handlers::{self, *};
use super::{Way, jump};
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::thread;
use std::time::Duration;
use xsem::interrupt::{self, testing};

pub(super) type Case = fn(&'static Stage);

pub(super) const ALL: &[(&str, Case)] = &[
    ("first-seen", first_seen),
    ("raised", raised),
    ("nowhere", nowhere),
    ("asynchronous", asynchronous),
    ("interrupted-calls", interrupted_calls),
    ("jumped", jumped),
    ("remains", remains),
    ("blocked", blocked),
    ("coroutine", coroutine),
    ("declared", declared),
    ("allowed", allowed),
];

/// Calls `f` below so many frames of a hundred bytes and more.
#[inline(never)]
pub(super) fn deep(depth: usize, f: &mut dyn FnMut()) {
    let mut frame = [0u8; 96];
    black_box(&mut frame);
    if depth == 0 {
        f()
    } else {
        deep(depth - 1, f)
    }
    black_box(&frame);
}

/// Whether this thread is ever armed: a preemption may disarm it at any time.
pub(super) fn arms(stage: &'static Stage) -> bool {
    (0..1000).any(|_| {
        stage.work();
        testing::is_armed()
    })
}

/// The first that this thread has to do with xsem is a request in a handler.
fn first_seen(stage: &'static Stage) {
    if stage.options.way != Way::Unwind {
        raise(BARE);
    }
    raise(PLAIN);
    raise(ON_STACK);
    stage.work();
}

/// The interrupted code is nowhere: it has called through a null pointer.
fn nowhere(stage: &'static Stage) {
    stage.work();
    let before = handled();
    if jump::nowhere() {
        handlers::check(handled() == before + 1);
    }
    stage.work();
}

fn raised(stage: &'static Stage) {
    for signal in [PLAIN, ON_STACK, NESTED, BARE, OPEN] {
        if signal == BARE && stage.options.way == Way::Unwind {
            // Without tables an unwinder alone cannot know.
            continue;
        }
        for depth in [0, 3, 50] {
            deep(depth, &mut || stage.work_and_raise(signal));
        }
    }
}

/// Signals come at any instruction: of requests, of releases, of library functions.
fn asynchronous(stage: &'static Stage) {
    tormented(300, || {
        let (mut k, mut buffer) = (0usize, vec![0u8; 4096]);
        move || {
            k += 1;
            deep(k % 30, &mut || stage.work());
            buffer.fill(k as u8);
            black_box(format!("{k}"));
        }
    });
}

/// Sends the calling thread so many signals while it does this again and again.
fn tormented<F: FnMut()>(signals: u32, make: impl FnOnce() -> F) {
    let done = AtomicBool::new(false);
    // SAFETY: no arguments.
    let me = unsafe { libc::pthread_self() };
    let first = handled();
    thread::scope(|s| {
        s.spawn(|| {
            for n in 0..signals {
                // SAFETY: the thread waits below until we are done; the signal has a handler.
                unsafe { libc::pthread_kill(me, ASYNC) };
                while handled() - first <= n {
                    thread::sleep(Duration::from_micros(20));
                }
            }
            done.store(true, SeqCst);
        });
        let mut f = make();
        while !done.load(SeqCst) {
            f();
        }
    });
    handlers::check(handled() - first >= signals);
}

/// Signals that come when a system call returns, or interrupt one that waits: a `read`, a sleep, a wait for a semaphore.
fn interrupted_calls(stage: &'static Stage) {
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&reader);
    let held = stage.pool.acquire_owned(4, xsem::Wait::not());
    let Ok(held) = held else { return handlers::check(false) };
    let mut k = 0;
    tormented(60, || {
        || {
            k += 1;
            let ms = Duration::from_millis(1);
            match k % 3 {
                0 => {
                    let mut p = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
                    // SAFETY: one valid pollfd.
                    unsafe { libc::poll(&mut p, 1, 1) };
                }
                1 => thread::sleep(ms),
                _ => handlers::check(stage.pool.acquire_timeout(ms).is_err_and(|e| e.code() == xsem::Code::SemTimeout)),
            }
            handlers::check(stage.sem.try_acquire().is_ok());
        }
    });
    drop(held);
    stage.work();
}

/// A handler that is left by a jump is over.
fn jumped(stage: &'static Stage) {
    extern "C" fn plain() {
        raise(JUMP);
    }
    extern "C" fn on_stack() {
        raise(JUMP_ON_STACK);
    }
    for f in [plain, on_stack] {
        stage.work();
        handlers::check(jump::catch(f));
        stage.work();
        above_what_is_left(&mut || stage.work());
        stage.work_and_raise(PLAIN);
    }
}

/// A large variable that nobody writes to: what was there before is still there.
#[inline(never)]
fn above_what_is_left(f: &mut dyn FnMut()) {
    let mut large = MaybeUninit::<[u8; 60_000]>::uninit();
    black_box(large.as_mut_ptr());
    f();
    black_box(&large);
}

/// The frame of a handler that has returned, under a variable of normal code.
fn remains(stage: &'static Stage) {
    for signal in [PLAIN, NESTED, OPEN] {
        deep(40, &mut || stage.work_and_raise(signal));
        above_what_is_left(&mut || {
            stage.work();
            testing::disarm();
            handlers::check(!interrupt::is_now());
            // And one more above that.
            stage.work_and_raise(PLAIN);
        });
    }
}

/// A program that blocks signals is in normal time.
fn blocked(stage: &'static Stage) {
    // SAFETY: all-zero masks are valid values to be overwritten; what was blocked before is again afterwards.
    unsafe {
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &all, &mut before);
        stage.work();
        raise(PLAIN);
        let n = handled();
        stage.work();
        // It comes here, when a system call returns.
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        handlers::check(handled() == n + 1);
    }
    stage.work();
}

/// On a stack of the program's own making.
#[cfg(target_env = "gnu")]
fn coroutine(stage: &'static Stage) {
    use super::jump::Slot;
    static WHAT: Slot<&'static Stage> = Slot::new();
    extern "C" fn body() {
        let Some(stage) = WHAT.get() else { return };
        stage.work();
        testing::disarm();
        handlers::check(!interrupt::is_now());
        for signal in [PLAIN, ON_STACK, NESTED] {
            stage.work_and_raise(signal);
        }
        deep(20, &mut || stage.work_and_raise(PLAIN));
    }
    WHAT.put(stage);
    let mut memory = vec![0u8; 512 * 1024];
    // SAFETY: all-zero contexts are valid values to be overwritten; the memory outlives its use: the body returns to `here`.
    unsafe {
        let (mut here, mut there): (libc::ucontext_t, libc::ucontext_t) = std::mem::zeroed();
        libc::getcontext(&mut there);
        there.uc_stack.ss_sp = memory.as_mut_ptr().cast();
        there.uc_stack.ss_size = memory.len();
        there.uc_link = &mut here;
        libc::makecontext(&mut there, body, 0);
        libc::swapcontext(&mut here, &there);
    }
    stage.work();
}

#[cfg(not(target_env = "gnu"))]
fn coroutine(stage: &'static Stage) {
    stage.work();
}

fn declared(stage: &'static Stage) {
    stage.work();
    let outer = interrupt::scope();
    let inner = interrupt::scope();
    handlers::check(interrupt::is_now());
    drop(inner);
    let refused = |r: Result<_, xsem::AcquireError<'_>>| {
        r.is_err_and(|e: xsem::AcquireError<'_>| e.code() == xsem::Code::InvalidAtInterruptTime)
    };
    handlers::check(refused(stage.sem.try_acquire().map(drop)));
    // A handler that interrupts a declared scope.
    raise(PLAIN);
    handlers::check(interrupt::is_now());
    drop(outer);
    stage.work_and_raise(PLAIN);
}

fn allowed(stage: &'static Stage) {
    for signal in [ALLOWED; 3] {
        let permits = |s: &Stage| s.credit.capacity().map_or(0, |c| c.total);
        let before = permits(stage);
        let Ok(guard) = stage.sem.acquire() else { return handlers::check(false) };
        let Ok(release) = guard.into_signal_release() else { return handlers::check(false) };
        stage.release.put(release);
        raise(signal);
        // Now it is free, there is one permit more, and a signal.
        stage.work();
        handlers::check(stage.event.try_wait().is_ok());
        handlers::check(permits(stage) == before + 1);
    }
    for n in [1, 3] {
        let Ok(permit) = stage.pool.acquire_many(n) else { return handlers::check(false) };
        let Ok(release) = permit.into_signal_release() else { return handlers::check(false) };
        stage.release.put(release);
        raise(ALLOWED);
        handlers::check(stage.pool.try_acquire_many(4).is_ok());
    }
}
