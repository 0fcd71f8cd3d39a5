//! Threads as owners, and all their ways to end; what a process does at its exit.

mod processes;

use processes::{Child, audit, gate, namespace, until, watchdog};
use std::cell::RefCell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::*};
use std::time::Duration;
use xsem::{AcquireError, Cause, Code, Counting, Error, Exclusive, Guard, Namespace, Options, Pick, Wait};

fn soon() -> Wait<'static> {
    Wait::timeout(Duration::from_secs(150) * processes::slowness())
}

/// What the next owner is told: nothing, or how many died and of what the first one did. Clears it.
fn told(sem: &Exclusive) -> Option<(u64, Cause)> {
    match sem.acquire_with(soon()) {
        Ok(_) => None,
        Err(AcquireError::OwnerDied(r)) => {
            let d = r.deaths().unwrap().clone();
            drop(r.mark_consistent().unwrap());
            Some((d.count, d.first.cause))
        }
        Err(AcquireError::Failed(e)) => panic!("{e}"),
    }
}

/// Runs `f` in a thread that C code starts, which ends as `f` says.
fn c_thread(f: impl FnOnce() + Send) -> *mut c_void {
    /// May be unwound, by `pthread_exit` and by a cancellation.
    extern "C-unwind" fn run(f: *mut c_void) -> *mut c_void {
        // SAFETY: the box below, which lives until the thread was joined.
        let f = unsafe { &mut *f.cast::<Option<Box<dyn FnOnce() + Send>>>() };
        if let Some(f) = f.take() {
            f();
        }
        null_mut()
    }
    type Start = extern "C" fn(*mut c_void) -> *mut c_void;
    let f: Box<dyn FnOnce() + Send> = Box::new(f);
    // SAFETY: only the lifetime is forgotten; the thread is joined before this returns.
    let f: Box<dyn FnOnce() + Send + 'static> = unsafe { std::mem::transmute(f) };
    let mut f = Some(f);
    let (mut thread, mut result) = (std::mem::MaybeUninit::uninit(), null_mut());
    // SAFETY: the two kinds of function differ in nothing but that one may be unwound. `f` outlives the thread.
    unsafe {
        let run = std::mem::transmute::<extern "C-unwind" fn(*mut c_void) -> *mut c_void, Start>(run);
        assert_eq!(libc::pthread_create(thread.as_mut_ptr(), std::ptr::null(), run, (&raw mut f).cast()), 0);
        assert_eq!(libc::pthread_join(thread.assume_init(), &mut result), 0);
    }
    result
}

unsafe extern "C-unwind" {
    fn pthread_exit(value: *mut c_void) -> !;
    fn pthread_testcancel();
    fn pthread_cancel(thread: libc::pthread_t) -> libc::c_int;
}

/// Lends a value to threads and handlers for ever. By its name the leak sanitizer knows it (`xtask/sanitize/leaks.txt`).
#[inline(never)]
fn kept<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// As `kept`, for guards: owns one of each kind, and forgets them.
#[inline(never)]
fn forget_one_of_each(ns: &Namespace) {
    let (sem, pool) = (Exclusive::open(ns, "a").unwrap(), Counting::open(ns, "pool").unwrap());
    std::mem::forget(sem.acquire().unwrap());
    std::mem::forget(sem.acquire().unwrap());
    std::mem::forget(pool.acquire_many(2).unwrap());
    std::mem::forget(pool.acquire_with(1, Wait::not().label("named")).unwrap());
    let list = [Exclusive::open(ns, "b").unwrap(), Exclusive::open(ns, "c").unwrap()];
    let list = list.each_ref().map(Pick::from);
    std::mem::forget(ns.acquire_all(&list, Wait::not()).unwrap());
}

/// The names that `forget_one_of_each` needs.
fn stage() -> (tempfile::TempDir, Namespace, Exclusive, Counting) {
    let (dir, ns) = namespace();
    let pool = Counting::create_pool(&ns, "pool", 4, Options::new()).unwrap();
    let sem = Exclusive::create(&ns, "a").unwrap();
    ["b", "c"].into_iter().for_each(|n| drop(Exclusive::create(&ns, n).unwrap()));
    (dir, ns, sem, pool)
}

/// Somebody's thread has ended with one of each: others are told why, once, and this process still lives.
fn ended_with_one_of_each(ns: &Namespace, how: &str) {
    for name in ["a", "b", "c"] {
        let sem = Exclusive::open(ns, name).unwrap();
        assert_eq!(told(&sem), Some((1, Cause::ThreadEnded)), "{name}: {how}");
        assert_eq!(told(&sem), None, "{name}: {how}");
    }
    let pool = Counting::open(ns, "pool").unwrap();
    assert_eq!(pool.capacity().unwrap().free, 4, "{how}");
    assert_eq!(ns.inspect("pool").unwrap().counters.deaths, 2, "{how}");
    drop(pool.acquire_with(4, soon()).unwrap());
    audit(ns);
}

#[test]
fn a_thread_that_returns_with_forgotten_guards() {
    let (_dir, ns, ..) = stage();
    std::thread::scope(|s| s.spawn(|| forget_one_of_each(&ns)).join().unwrap());
    ended_with_one_of_each(&ns, "std");
}

#[test]
fn a_thread_of_c_that_returns() {
    let (_dir, ns, ..) = stage();
    c_thread(|| forget_one_of_each(&ns));
    ended_with_one_of_each(&ns, "returned");
}

#[test]
fn a_thread_of_c_that_exits() {
    let (_dir, ns, ..) = stage();
    let result = c_thread(|| {
        forget_one_of_each(&ns);
        // SAFETY: nothing on this thread's stack has a destructor.
        unsafe { pthread_exit(77 as *mut c_void) }
    });
    assert_eq!(result as usize, 77);
    ended_with_one_of_each(&ns, "pthread_exit");
}

#[test]
fn a_thread_that_is_cancelled() {
    let (_dir, ns, ..) = stage();
    let ready = AtomicPtr::<c_void>::new(null_mut());
    std::thread::scope(|s| {
        s.spawn(|| {
            until(|| !ready.load(Acquire).is_null());
            // SAFETY: a thread that lives: it waits for this.
            assert_eq!(unsafe { pthread_cancel(ready.load(Acquire) as libc::pthread_t) }, 0);
        });
        let result = c_thread(|| {
            forget_one_of_each(&ns);
            // SAFETY: no arguments.
            ready.store(unsafe { libc::pthread_self() } as *mut c_void, Release);
            loop {
                // SAFETY: nothing on this thread's stack has a destructor.
                unsafe { pthread_testcancel() };
                std::hint::spin_loop();
            }
        });
        assert_eq!(result as isize, -1, "PTHREAD_CANCELED");
    });
    ended_with_one_of_each(&ns, "cancelled");
}

#[test]
fn sleepers_are_woken_when_the_owning_thread_ends() {
    let (_dir, ns, sem, pool) = stage();
    let (go, goes) = gate();
    std::thread::scope(|s| {
        let owner = s.spawn(|| {
            forget_one_of_each(&ns);
            go.wait();
        });
        until(|| pool.capacity().unwrap().free == 1 && ns.inspect("c").unwrap().holders.len() == 1);
        let waiter = s.spawn(|| told(&sem));
        let other = Child::new(|| drop(pool.acquire_with(4, soon()).unwrap()));
        until(|| ns.inspect("a").unwrap().waiters.len() == 1 && ns.inspect("pool").unwrap().waiters.len() == 1);
        goes.open();
        owner.join().unwrap();
        assert_eq!(waiter.join().unwrap(), Some((1, Cause::ThreadEnded)));
        other.succeeds();
    });
    audit(&ns);
}

#[test]
fn a_forgotten_guard_stays_the_threads_until_it_ends() {
    let (_dir, ns, sem, pool) = stage();
    let ((done, is_done), (go, goes)) = (gate(), gate());
    std::thread::scope(|s| {
        let owner = s.spawn(|| {
            std::mem::forget(sem.acquire().unwrap());
            std::mem::forget(pool.acquire().unwrap());
            // It nests: the thread owns it as before.
            drop(sem.try_acquire().unwrap());
            is_done.open();
            go.wait();
        });
        done.wait();
        assert_eq!(sem.try_acquire().map(drop).map_err(|e| Error::from(e).code()), Err(Code::ExclSemAlreadyOwned));
        assert_eq!(pool.capacity().unwrap().free, 3);
        goes.open();
        owner.join().unwrap();
    });
    assert_eq!(told(&sem), Some((1, Cause::ThreadEnded)));
    assert_eq!(pool.capacity().unwrap().free, 4);
    audit(&ns);
}

#[test]
fn owned_permits_outlive_the_thread_that_acquired_them() {
    let (_dir, ns, _, pool) = stage();
    let permit = std::thread::scope(|s| s.spawn(|| pool.acquire_owned(3, Wait::not()).unwrap()).join().unwrap());
    assert!(permit.is_held());
    assert_eq!((permit.slots().unwrap(), pool.capacity().unwrap().free), (vec![0, 1, 2], 1));
    std::thread::scope(|s| s.spawn(|| permit.release().unwrap()).join().unwrap());
    assert_eq!((pool.capacity().unwrap().free, ns.inspect("pool").unwrap().counters.deaths), (4, 0));
    audit(&ns);
}

#[test]
fn a_panic_releases_without_a_mark() {
    let (_dir, ns, sem, pool) = stage();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _guard = sem.acquire().unwrap();
        let _nested = sem.acquire().unwrap();
        let _permits = (pool.acquire_many(2).unwrap(), pool.acquire_owned(1, Wait::not()).unwrap());
        let list = [Exclusive::open(&ns, "b").unwrap(), Exclusive::open(&ns, "c").unwrap()];
        let list = list.each_ref().map(Pick::from);
        let _all = ns.acquire_all(&list, Wait::not()).unwrap();
        panic!("in the middle of it");
    }));
    assert!(panicked.is_err());
    assert_eq!((told(&sem), pool.capacity().unwrap().free), (None, 4));
    assert_eq!(told(&Exclusive::open(&ns, "b").unwrap()), None);
    // The same for a thread that panics; who wants the mark says so.
    std::thread::scope(|s| {
        let worker = s.spawn(|| {
            let _guard = sem.acquire().unwrap();
            panic!("a worker's");
        });
        assert!(worker.join().is_err());
    });
    assert_eq!(told(&sem), None);
    struct Poison<'a>(Option<Guard<'a>>);
    impl Drop for Poison<'_> {
        fn drop(&mut self) {
            match self.0.take() {
                Some(guard) if std::thread::panicking() => guard.abandon().unwrap(),
                guard => drop(guard),
            }
        }
    }
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _poison = Poison(Some(sem.acquire().unwrap()));
        panic!("again");
    }));
    assert!(panicked.is_err());
    assert_eq!(told(&sem), Some((1, Cause::Abandoned)));
    audit(&ns);
}

#[test]
fn a_panic_in_the_hands_of_a_dead_owners_successor_keeps_the_mark() {
    let (_dir, ns, sem, _) = stage();
    std::thread::scope(|s| s.spawn(|| std::mem::forget(sem.acquire().unwrap())).join().unwrap());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _recovery = sem.acquire().unwrap_err();
        panic!("while it mended");
    }));
    assert!(panicked.is_err());
    assert_eq!(told(&sem), Some((1, Cause::ThreadEnded)));
    audit(&ns);
}

/// Kept in a variable of a thread.
struct InVariable(Option<Guard<'static>>, Box<dyn Fn()>);

impl Drop for InVariable {
    fn drop(&mut self) {
        drop(self.0.take());
        (self.1)();
    }
}

thread_local! {
    static EARLY: RefCell<Option<InVariable>> = const { RefCell::new(None) };
    static LATE: RefCell<Option<InVariable>> = const { RefCell::new(None) };
}

#[test]
fn destructors_of_a_threads_variables_may_release_and_acquire() {
    let (_dir, ns, sem, pool) = stage();
    let sem: &'static Exclusive = kept(sem);
    let other: &'static Exclusive = kept(Exclusive::open(&ns, "b").unwrap());
    let pool: &'static Counting = kept(pool);
    std::thread::spawn(move || {
        // One is there before the thread's first claim, one after it: in whatever order they are taken down.
        EARLY.set(Some(InVariable(None, Box::new(|| drop(pool.acquire().unwrap())))));
        let guard = sem.acquire().unwrap();
        LATE.set(Some(InVariable(
            Some(guard),
            Box::new(|| {
                // Released by its drop, an instant ago.
                drop(sem.try_acquire().unwrap());
                // And one that is forgotten at the very end.
                std::mem::forget(other.acquire().unwrap());
                std::mem::forget(pool.acquire_many(3).unwrap());
            }),
        )));
        EARLY.with_borrow_mut(|early| {
            early.as_mut().unwrap().1 = Box::new(|| {
                drop(pool.acquire().unwrap());
                drop(sem.acquire().unwrap());
            })
        });
    })
    .join()
    .unwrap();
    assert_eq!((told(sem), told(other)), (None, Some((1, Cause::ThreadEnded))));
    assert_eq!(pool.capacity().unwrap().free, 4);
    audit(&ns);
}

#[test]
fn what_a_destructor_of_a_key_claims_last_of_all_ends_with_the_thread_too() {
    static SEM: AtomicPtr<Exclusive> = AtomicPtr::new(null_mut());
    extern "C" fn at_end(_: *mut c_void) {
        // SAFETY: leaked below.
        let sem: &'static Exclusive = unsafe { &*SEM.load(Acquire) };
        std::mem::forget(sem.acquire().unwrap());
    }
    let (_dir, ns, sem, _) = stage();
    let first = Exclusive::open(&ns, "b").unwrap();
    SEM.store(Box::into_raw(Box::new(sem)), Release);
    // SAFETY: as above.
    let sem: &'static Exclusive = unsafe { &*SEM.load(Acquire) };
    // Keys are taken down in the order in which they were made: this one is after ours, which the first claim makes.
    drop(first.acquire().unwrap());
    let mut key = 0;
    // SAFETY: `key` is valid for writes; the destructor is a function of this program.
    assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(at_end)) }, 0);
    std::thread::scope(|s| {
        s.spawn(|| {
            drop(first.acquire().unwrap());
            // SAFETY: a key that was made; the value is not looked at.
            assert_eq!(unsafe { libc::pthread_setspecific(key, (&raw const key).cast()) }, 0);
        })
        .join()
        .unwrap();
    });
    assert_eq!(told(sem), Some((1, Cause::ThreadEnded)));
    audit(&ns);
}

#[test]
fn a_namespace_in_memory_tells_of_threads_that_ended_too() {
    let ns = Namespace::open("memory:").unwrap();
    let (sem, pool) = (Exclusive::create(&ns, "a").unwrap(), Counting::create_pool(&ns, "pool", 2, Options::new()).unwrap());
    c_thread(|| {
        std::mem::forget((sem.acquire().unwrap(), pool.acquire().unwrap()));
        // SAFETY: nothing on this thread's stack has a destructor.
        unsafe { pthread_exit(null_mut()) }
    });
    assert_eq!(told(&sem), Some((1, Cause::ThreadEnded)));
    assert_eq!((told(&sem), pool.capacity().unwrap().free), (None, 2));
}

/// Ends the calling process as C programs do, with exit handlers and all.
fn exit() -> ! {
    // SAFETY: the caller is a forked child's only thread of its own; what exit handlers of the test harness there are
    // touch nothing that it uses.
    unsafe { libc::exit(0) }
}

static AT_EXIT: AtomicPtr<AtExit> = AtomicPtr::new(null_mut());

struct AtExit(RefCell<Option<Box<dyn FnOnce()>>>);

/// Has `f` run by `exit`.
fn at_exit(f: impl FnOnce() + 'static) {
    extern "C" fn run() {
        // SAFETY: leaked below, and only used by the thread that ends the process.
        let kept = unsafe { &*AT_EXIT.load(Acquire) };
        if let Some(f) = kept.0.take() {
            f();
        }
    }
    AT_EXIT.store(Box::into_raw(Box::new(AtExit(RefCell::new(Some(Box::new(f)))))), Release);
    // SAFETY: a function of this program.
    assert_eq!(unsafe { libc::atexit(run) }, 0);
}

#[test]
fn exit_handlers_give_back_and_acquire() {
    let (_dir, ns, sem, pool) = stage();
    let (sem, pool): (&'static Exclusive, &'static Counting) = (kept(sem), kept(pool));
    let other = Exclusive::open(&ns, "b").unwrap();
    Child::new(|| {
        let (guard, permit) = (sem.acquire().unwrap(), pool.acquire_many(3).unwrap());
        at_exit(move || {
            watchdog();
            // The thread that ends the process still owns what it owned.
            assert!(guard.is_held() && permit.is_held());
            guard.release().unwrap();
            permit.release().unwrap();
            drop((sem.acquire().unwrap(), pool.acquire_many(4).unwrap()));
            std::mem::forget(other.acquire().unwrap());
        });
        exit();
    })
    .succeeds();
    assert_eq!(told(sem), None);
    assert_eq!((pool.capacity().unwrap().free, ns.inspect("pool").unwrap().counters.deaths), (4, 0));
    assert_eq!(told(&Exclusive::open(&ns, "b").unwrap()), Some((1, Cause::ProcessEnded)));
    audit(&ns);
}

#[test]
fn an_exit_handler_joins_a_namespace_for_the_first_time() {
    let (_dir, ns, sem, pool) = stage();
    let url = ns.url().to_owned();
    Child::new(|| {
        at_exit(move || {
            let ns = Namespace::open(&url).unwrap();
            drop(Exclusive::open(&ns, "a").unwrap().acquire().unwrap());
            drop(Counting::open(&ns, "pool").unwrap().acquire_many(4).unwrap());
        });
        exit();
    })
    .succeeds();
    assert_eq!((told(&sem), pool.capacity().unwrap().free), (None, 4));
    audit(&ns);
}

#[test]
fn an_exit_with_guards_alive_is_a_death_of_the_process() {
    let (_dir, ns, sem, pool) = stage();
    // By `std::process::exit` on the main thread, and by a thread while the main one holds.
    for by_thread in [false, true] {
        Child::new(|| {
            let _guard = sem.acquire().unwrap();
            let _permit = pool.acquire_many(3).unwrap();
            if by_thread {
                let other = Exclusive::open(&ns, "b").unwrap();
                std::thread::scope(|s| {
                    s.spawn(|| {
                        let _guard = other.acquire().unwrap();
                        std::process::exit(0)
                    });
                });
            }
            std::process::exit(0)
        })
        .succeeds();
        assert_eq!(told(&sem), Some((1, Cause::ProcessEnded)));
        drop(pool.acquire_with(4, soon()).unwrap());
    }
    assert_eq!(told(&Exclusive::open(&ns, "b").unwrap()), Some((1, Cause::ProcessEnded)));
    assert_eq!(ns.inspect("pool").unwrap().counters.deaths, 2);
    audit(&ns);
}

/// Not with musl: std runs no destructors of the main thread's variables at `exit` there, so it is a death of the process.
#[cfg(not(target_env = "musl"))]
#[test]
fn destructors_of_the_main_threads_variables_release_at_exit() {
    let (_dir, ns, sem, _) = stage();
    let sem: &'static Exclusive = kept(sem);
    Child::new(|| {
        let guard = sem.acquire().unwrap();
        LATE.set(Some(InVariable(Some(guard), Box::new(|| drop(sem.try_acquire().unwrap())))));
        exit();
    })
    .succeeds();
    assert_eq!(told(sem), None);
    audit(&ns);
}

#[test]
fn a_guard_in_a_thread_that_outlives_main() {
    let (_dir, ns, sem, _) = stage();
    let by_main = Exclusive::open(&ns, "b").unwrap();
    let (go, goes) = gate();
    let child = Child::new(|| {
        static READY: AtomicBool = AtomicBool::new(false);
        let (sem, go) = (sem.clone(), go);
        std::thread::spawn(move || {
            watchdog();
            let guard = sem.acquire().unwrap();
            READY.store(true, Release);
            go.wait();
            assert!(guard.is_held());
            guard.release().unwrap();
            std::process::exit(0);
        });
        until(|| READY.load(Acquire));
        std::mem::forget(by_main.acquire().unwrap());
        // SAFETY: ends the main thread alone; what its stack has is left as it is.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    });
    // The main thread is gone (a zombie until the others are); the process is not.
    until(|| std::fs::read_to_string(format!("/proc/{}/stat", child.pid())).is_ok_and(|s| s.contains(") Z ")));
    let refused = Exclusive::open(&ns, "a").unwrap().try_acquire().map(drop).map_err(Error::from).unwrap_err();
    assert_eq!((refused.code(), refused.holders()[0].process.pid), (Code::ExclSemAlreadyOwned, child.pid()));
    goes.open();
    child.succeeds();
    assert_eq!(told(&Exclusive::open(&ns, "a").unwrap()), None);
    // Ended past the C library, without a last word: what it owned lasted as long as the process.
    assert_eq!(told(&Exclusive::open(&ns, "b").unwrap()), Some((1, Cause::ProcessEnded)));
    audit(&ns);
}

/// `pthread_exit`, which unwinds the stack, on one that has nothing below: on its own this thread has frames of the test
/// harness that catch what they cannot know.
#[cfg(not(target_env = "musl"))]
fn exit_on_another_stack() {
    extern "C-unwind" fn end() {
        // SAFETY: nothing on this stack has a destructor; nothing that is left on the other one is used by others.
        unsafe { pthread_exit(null_mut()) }
    }
    let stack = Vec::leak(vec![0u8; 256 << 10]);
    // SAFETY: an all-zero ucontext_t is a valid value to be overwritten; the stack is never freed; the two kinds of function
    // differ in nothing but that one may be unwound.
    unsafe {
        let mut context: libc::ucontext_t = std::mem::zeroed();
        assert_eq!(libc::getcontext(&mut context), 0);
        context.uc_stack.ss_sp = stack.as_mut_ptr().cast();
        context.uc_stack.ss_size = stack.len();
        context.uc_link = null_mut();
        let end = std::mem::transmute::<extern "C-unwind" fn(), extern "C" fn()>(end);
        libc::makecontext(&mut context, end, 0);
        libc::setcontext(&context);
    }
}

/// There it unwinds nothing.
#[cfg(target_env = "musl")]
fn exit_on_another_stack() {
    // SAFETY: no destructor is run; nothing that is left on this stack is used by others.
    unsafe { pthread_exit(null_mut()) }
}

#[test]
fn the_main_thread_may_end_before_the_others() {
    let (_dir, ns, sem, _) = stage();
    let by_main = Exclusive::open(&ns, "b").unwrap();
    let (go, goes) = gate();
    let child = Child::new(|| {
        static READY: AtomicBool = AtomicBool::new(false);
        let sem = sem.clone();
        std::thread::spawn(move || {
            let guard = sem.acquire().unwrap();
            READY.store(true, Release);
            go.wait();
            guard.release().unwrap();
            std::process::exit(0);
        });
        until(|| READY.load(Acquire));
        std::mem::forget(by_main.acquire().unwrap());
        exit_on_another_stack();
    });
    until(|| ns.inspect("b").unwrap().counters.acquired == 1);
    assert_eq!(told(&Exclusive::open(&ns, "b").unwrap()), Some((1, Cause::ThreadEnded)), "while the process lives");
    assert_eq!(ns.inspect("a").unwrap().holders[0].process.pid, child.pid());
    goes.open();
    child.succeeds();
    assert_eq!(told(&Exclusive::open(&ns, "a").unwrap()), None);
    audit(&ns);
}

#[test]
fn no_call_is_a_place_to_be_cancelled_in() {
    let (_dir, ns, sem, pool) = stage();
    let held = Exclusive::create(&ns, "held").unwrap();
    let _guard = held.acquire().unwrap();
    let url = ns.url().to_owned();
    static IN_A_CALL: AtomicBool = AtomicBool::new(false);
    // In a process of its own: being cancelled in the middle of a call may take the whole process with it.
    Child::new(|| {
        for round in 0..200 {
            let ready = AtomicPtr::<c_void>::new(null_mut());
            std::thread::scope(|s| {
                s.spawn(|| {
                    until(|| !ready.load(Acquire).is_null());
                    std::thread::sleep(Duration::from_micros(round * 7));
                    // SAFETY: a thread that has not been joined.
                    assert_eq!(unsafe { pthread_cancel(ready.load(Acquire) as libc::pthread_t) }, 0);
                });
                let result = c_thread(|| {
                    // SAFETY: no arguments.
                    ready.store(unsafe { libc::pthread_self() } as *mut c_void, Release);
                    loop {
                        IN_A_CALL.store(true, SeqCst);
                        let again = Namespace::open(&url).unwrap();
                        // Whoever is refused is told who holds it, for which files are read.
                        let refused = Error::from(held.try_acquire().map(drop).unwrap_err());
                        assert_eq!(refused.code(), Code::ExclSemAlreadyOwned);
                        drop(ns.inspect("held").unwrap());
                        drop((again, pool.try_acquire(), sem.try_acquire().map(drop)));
                        IN_A_CALL.store(false, SeqCst);
                        // SAFETY: nothing on this thread's stack has a destructor that is still to be run.
                        unsafe { pthread_testcancel() };
                    }
                });
                assert_eq!(result as isize, -1, "PTHREAD_CANCELED");
            });
            assert!(!IN_A_CALL.load(SeqCst), "cancelled in the middle of a call, in round {round}");
        }
    })
    .succeeds();
    assert_eq!((told(&sem), pool.capacity().unwrap().free), (None, 4));
    audit(&ns);
}
