//! Asynchronous requests for one semaphore, on the engine in shared memory and on that in one process.

#[path = "common/executor.rs"]
mod executor;

use executor::{block_on, poll_once};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};
use xsem::{CancelToken, Claimant, Code, Counting, Exclusive, Namespace, OwnedAcquireError, OwnedGuard, Wait};

/// Each test runs on both engines.
fn each(test: impl Fn(&Namespace)) {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    test(&Namespace::open(&format!("shm:{}/ns", dir.path().display())).unwrap());
    test(&Namespace::open("memory:").unwrap());
}

fn waiters(ns: &Namespace, name: &str) -> usize {
    ns.inspect(name).unwrap().waiters.len()
}

fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !happened() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn code<T>(done: Result<T, OwnedAcquireError>) -> Code {
    done.map_or_else(|e| e.code(), |_| panic!("acquired"))
}

#[test]
fn free_is_had_at_the_first_poll_and_excludes_everybody() {
    each(|ns| {
        let sem = Exclusive::open_or_create(ns, "a").unwrap();
        drop(sem.acquire().unwrap());
        let guard = block_on(sem.acquire_async()).unwrap();
        assert!(guard.is_held());
        assert_eq!(xsem::Error::from(sem.try_acquire().unwrap_err()).code(), Code::ExclSemAlreadyOwned);
        assert_eq!(code(block_on(sem.acquire_async_with(Wait::not()))), Code::ExclSemAlreadyOwned, "no nesting by accident");
        let token = guard.token();
        guard.release().unwrap();
        let next = block_on(sem.acquire_async()).unwrap();
        assert!(next.token() > token);
    });
}

#[test]
fn a_guard_goes_to_another_thread() {
    each(|ns| {
        let sem = Exclusive::open_or_create(ns, "a").unwrap();
        let guard = block_on(sem.acquire_async()).unwrap();
        thread::spawn(move || drop(guard)).join().unwrap();
        let permits = Counting::open_or_create_pool(ns, "p", 3).unwrap();
        let two = block_on(permits.acquire_async(2)).unwrap();
        assert_eq!(permits.capacity().unwrap().free, 1);
        assert_eq!(two.slots().unwrap().len(), 2);
        thread::spawn(move || drop(two)).join().unwrap();
        assert_eq!(permits.capacity().unwrap().free, 3);
        drop(sem.acquire().unwrap());
    });
}

#[test]
fn a_wait_ends_when_a_thread_releases() {
    each(|ns| {
        let sem = Exclusive::open_or_create(ns, "a").unwrap();
        for _ in 0..50 {
            let held = sem.acquire().unwrap();
            let waiting = thread::spawn({
                let sem = sem.clone();
                move || block_on(sem.acquire_async()).unwrap().token()
            });
            until("it waits", || waiters(ns, "a") == 1);
            let token = held.token();
            drop(held);
            assert_eq!(waiting.join().unwrap(), token + 1);
        }
        assert_eq!(waiters(ns, "a"), 0);
    });
}

#[test]
fn a_dropped_future_leaves_nothing_behind_and_passes_its_turn_on() {
    each(|ns| {
        let sem = Exclusive::open_or_create(ns, "a").unwrap();
        let held: OwnedGuard = block_on(sem.acquire_async()).unwrap();
        let (mut first, mut second) = (sem.acquire_async(), sem.acquire_async());
        assert!(matches!(poll_once(&mut first), Poll::Pending));
        assert!(matches!(poll_once(&mut second), Poll::Pending));
        until("both wait", || waiters(ns, "a") == 2);
        drop(held);
        // The first has been woken, or will be; and is never polled again.
        drop(first);
        drop(block_on(second).unwrap());
        let (mut first, held) = (sem.acquire_async(), sem.acquire().unwrap());
        assert!(matches!(poll_once(&mut first), Poll::Pending));
        drop(first);
        until("nobody waits", || waiters(ns, "a") == 0);
        drop(held);
        drop(sem.try_acquire().unwrap());
    });
}

#[test]
fn time_runs_out_without_a_runtime() {
    each(|ns| {
        let sem = Exclusive::open_or_create(ns, "a").unwrap();
        let pool = Counting::open_or_create_pool(ns, "p", 1).unwrap();
        let (held, permit) = (sem.acquire().unwrap(), pool.acquire().unwrap());
        let soon = Duration::from_millis(20);
        let begun = Instant::now();
        let refused = block_on(sem.acquire_async_with(Wait::timeout(soon))).unwrap_err();
        assert_eq!(refused.code(), Code::SemTimeout);
        assert!(begun.elapsed() >= soon);
        let refused = block_on(pool.acquire_async_with(1, Wait::timeout(soon))).unwrap_err();
        assert_eq!(refused.code(), Code::SemTimeout);
        assert_eq!((waiters(ns, "a"), waiters(ns, "p")), (0, 0));
        drop((held, permit));
    });
}

#[test]
fn a_cancel_token_ends_it() {
    each(|ns| {
        let sem = Exclusive::open_or_create(ns, "a").unwrap();
        let held = sem.acquire().unwrap();
        let token = CancelToken::new();
        let waiting = thread::spawn({
            let (sem, token) = (sem.clone(), token.clone());
            move || code(block_on(sem.acquire_async_with(Wait::forever().cancel(&token))))
        });
        until("it waits", || waiters(ns, "a") == 1);
        token.cancel();
        assert_eq!(waiting.join().unwrap(), Code::Interrupt);
        assert_eq!(code(block_on(sem.acquire_async_with(Wait::forever().cancel(&token)))), Code::Interrupt);
        drop(held);
    });
}

#[test]
fn a_claimant_nests_and_others_do_not() {
    each(|ns| {
        let sem = Exclusive::open_or_create(ns, "a").unwrap();
        let (me, other) = (Claimant::new(), Claimant::new());
        let outer = block_on(sem.acquire_async().on_behalf_of(&me)).unwrap();
        let inner = block_on(sem.acquire_async().on_behalf_of(&me)).unwrap();
        assert!(!me.owns_nothing());
        assert_eq!(outer.token(), inner.token());
        assert_eq!(code(block_on(sem.acquire_async_with(Wait::not()).on_behalf_of(&other))), Code::ExclSemAlreadyOwned);
        drop(outer);
        assert_eq!(code(block_on(sem.acquire_async_with(Wait::not()).on_behalf_of(&other))), Code::ExclSemAlreadyOwned);
        drop(inner);
        assert!(me.owns_nothing());
        drop(block_on(sem.acquire_async_with(Wait::not()).on_behalf_of(&other)).unwrap());
    });
}

#[test]
fn claimants_that_wait_for_each_other_are_told() {
    each(|ns| {
        let (a, b) = (Exclusive::open_or_create(ns, "a").unwrap(), Exclusive::open_or_create(ns, "b").unwrap());
        let (one, two) = (Claimant::new(), Claimant::new());
        let of_one = block_on(a.acquire_async().on_behalf_of(&one)).unwrap();
        let of_two = block_on(b.acquire_async().on_behalf_of(&two)).unwrap();
        let waiting = thread::spawn({
            let (b, one) = (b.clone(), one.clone());
            move || block_on(b.acquire_async().on_behalf_of(&one)).map(drop)
        });
        until("one waits", || waiters(ns, "b") == 1);
        let refused = block_on(a.acquire_async().on_behalf_of(&two)).unwrap_err();
        assert_eq!(refused.code(), Code::PossibleDeadlock);
        drop(of_two);
        waiting.join().unwrap().unwrap();
        drop(of_one);
    });
}

#[test]
fn claims_of_nobody_are_in_no_cycle() {
    each(|ns| {
        let (a, b) = (Exclusive::open_or_create(ns, "a").unwrap(), Exclusive::open_or_create(ns, "b").unwrap());
        let (of_a, of_b) = (block_on(a.acquire_async()).unwrap(), block_on(b.acquire_async()).unwrap());
        let (mut first, mut second) = (b.acquire_async(), a.acquire_async());
        for _ in 0..5 {
            assert!(matches!(poll_once(&mut first), Poll::Pending));
            assert!(matches!(poll_once(&mut second), Poll::Pending));
            thread::sleep(Duration::from_millis(2));
        }
        drop((of_a, of_b));
        drop((block_on(first).unwrap(), block_on(second).unwrap()));
    });
}

#[test]
fn a_wrong_number_of_permits_is_87() {
    each(|ns| {
        let pool = Counting::open_or_create_pool(ns, "p", 2).unwrap();
        assert_eq!(block_on(pool.acquire_async(3)).unwrap_err().code(), Code::InvalidParameter);
        assert_eq!(block_on(pool.acquire_async(0)).unwrap_err().code(), Code::InvalidParameter);
    });
}

#[test]
fn a_mark_is_told() {
    each(|ns| {
        let sem = Exclusive::open_or_create(ns, "a").unwrap();
        block_on(sem.acquire_async()).unwrap().abandon().unwrap();
        let Err(OwnedAcquireError::OwnerDied(recovery)) = block_on(sem.acquire_async()) else { panic!("not told") };
        assert!(recovery.deaths().is_some());
        drop(recovery);
        let Err(OwnedAcquireError::OwnerDied(recovery)) = block_on(sem.acquire_async()) else { panic!("not told again") };
        drop(recovery.mark_consistent().unwrap());
        drop(block_on(sem.acquire_async()).unwrap());
    });
}

/// An executor whose tasks are kept alive by their wakers, and by nothing else.
#[test]
fn a_waker_may_take_other_requests_with_it() {
    use std::sync::{Arc, mpsc};
    use std::task::{Context, Wake, Waker};
    struct Task(#[expect(dead_code, reason = "dropped with it")] Box<dyn std::any::Any + Send + Sync>);
    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        each(|ns| {
            let (a, b) = (Exclusive::open_or_create(ns, "a").unwrap(), Exclusive::open_or_create(ns, "b").unwrap());
            let _both = (a.try_acquire().unwrap(), b.try_acquire().unwrap());
            for by_dropping in [false, true] {
                let mut inner = Box::pin(b.acquire_async());
                assert!(poll_once(&mut inner).is_pending());
                let waker = Waker::from(Arc::new(Task(Box::new(std::sync::Mutex::new(inner)))));
                let mut outer = Box::pin(a.acquire_async());
                assert!(outer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                drop(waker);
                assert_eq!((waiters(ns, "a"), waiters(ns, "b")), (1, 1));
                if !by_dropping {
                    // Another waker: the one before is the last trace of its task.
                    assert!(poll_once(&mut outer).is_pending());
                    assert_eq!((waiters(ns, "a"), waiters(ns, "b")), (1, 0));
                }
                drop(outer);
                assert_eq!((waiters(ns, "a"), waiters(ns, "b")), (0, 0));
            }
        });
        done.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(30)).expect("it hangs, or has failed");
}
