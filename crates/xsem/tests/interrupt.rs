//! 104 at every front door, for every engine, before anything changes. (How signal handlers are recognized is tested by
//! `xsem-testkit`, in programs of their own.)

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use xsem::{Code, Counting, Error, Event, Exclusive, Namespace, Options, Pick, Wait, interrupt};

const HERE: Code = Code::InvalidAtInterruptTime;

fn code<T, E: Into<Error>>(r: Result<T, E>) -> Code {
    let e: Error = r.err().expect("refused").into();
    e.code()
}

/// The first poll of a future, which must be its last.
fn poll<F: Future<Output = Result<T, E>>, T, E: Into<Error>>(f: F) -> Code {
    match pin!(f).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(r) => code(r),
        Poll::Pending => panic!("it waits"),
    }
}

fn every_engine(test: fn(&Namespace)) {
    let dir = tempfile::tempdir().unwrap();
    for url in [format!("shm:{}/ns", dir.path().display()), "memory:".to_owned()] {
        test(&Namespace::open(&url).unwrap());
    }
}

#[test]
fn nothing_can_be_requested() {
    every_engine(|ns| {
        let sem = Exclusive::create(ns, "s").unwrap();
        let pool = Counting::create_pool(ns, "p", 4, Options::default()).unwrap();
        let event = Event::open_or_create_manual(ns, "e").unwrap();
        event.signal().unwrap();
        let list = [Pick::from(&sem), Pick::from(&pool), Pick::from(&event)];
        let before: Vec<_> = ns.list().unwrap();
        let scope = interrupt::scope();
        assert_eq!(code(sem.acquire()), HERE);
        assert_eq!(code(sem.try_acquire()), HERE);
        assert_eq!(code(sem.acquire_timeout(Duration::ZERO)), HERE);
        assert_eq!(code(sem.acquire_owned(Wait::forever())), HERE);
        assert_eq!(code(sem.join(1)), HERE);
        assert_eq!(code(pool.acquire()), HERE);
        assert_eq!(code(pool.try_acquire_many(2)), HERE);
        assert_eq!(code(pool.acquire_timeout(Duration::ZERO)), HERE);
        assert_eq!(code(pool.acquire_owned(1, Wait::forever())), HERE);
        assert_eq!(code(event.wait()), HERE);
        assert_eq!(code(event.try_wait()), HERE);
        assert_eq!(code(ns.wait_any(&list, Wait::forever())), HERE);
        assert_eq!(code(ns.acquire_all(&list, Wait::forever())), HERE);
        assert_eq!(code(ns.drain("s", Wait::forever())), HERE);
        assert_eq!(poll(sem.acquire_async()), HERE);
        assert_eq!(poll(pool.acquire_async(1)), HERE);
        assert_eq!(poll(event.wait_async()), HERE);
        assert_eq!(poll(ns.wait_any_async(&list, Wait::forever())), HERE);
        assert_eq!(poll(ns.acquire_all_async(&list, Wait::forever())), HERE);
        drop(scope);
        // Nothing has changed: nobody waits, nothing was taken.
        let acquired = |all: &[xsem::Summary]| all.iter().map(|s| (s.name.clone(), s.acquired)).collect::<Vec<_>>();
        assert_eq!(acquired(&ns.list().unwrap()), acquired(&before));
        assert_eq!(ns.inspect("s").unwrap().counters.contended, 0);
        let _all = ns.acquire_all(&list, Wait::not()).unwrap();
    });
}

#[test]
fn what_is_wrong_with_the_request_itself_comes_first() {
    every_engine(|ns| {
        let pool = Counting::create_pool(ns, "p", 4, Options::default()).unwrap();
        let scope = interrupt::scope();
        assert_eq!(code(pool.acquire_many(0)), Code::InvalidParameter);
        assert_eq!(code(ns.wait_any(&[], Wait::not())), Code::InvalidEventCount);
        assert_eq!(code(ns.wait_any(&[Pick::permits(&pool, 0)], Wait::not())), Code::InvalidParameter);
        assert_eq!(code(ns.acquire_all(&[(&pool).into(), (&pool).into()], Wait::not())), Code::InvalidListFormat);
        assert_eq!(code(ns.drain("a\nb", Wait::not())), Code::InvalidName);
        drop(scope);
    });
}

#[test]
fn it_comes_before_what_has_happened_to_the_semaphore() {
    every_engine(|ns| {
        let sem = Exclusive::create(ns, "s").unwrap();
        ns.remove("s").unwrap();
        let scope = interrupt::scope();
        assert_eq!(code(sem.acquire()), HERE);
        assert_eq!(code(ns.drain("s", Wait::not())), HERE);
        drop(scope);
        assert_eq!(code(sem.acquire()), Code::InvalidHandle);
    });
}

#[test]
fn scopes_nest_and_stay_on_their_thread() {
    let dir = tempfile::tempdir().unwrap();
    let ns = Namespace::open(&format!("shm:{}/ns", dir.path().display())).unwrap();
    let sem = Exclusive::create(&ns, "s").unwrap();
    let outer = interrupt::scope();
    drop(interrupt::scope());
    assert!(interrupt::is_now());
    assert_eq!(code(sem.try_acquire()), HERE);
    std::thread::scope(|s| {
        s.spawn(|| {
            assert!(!interrupt::is_now());
            assert!(sem.try_acquire().is_ok());
        });
    });
    drop(outer);
    assert!(!interrupt::is_now() && interrupt::check().is_ok());
    assert!(sem.try_acquire().is_ok());
}

#[test]
fn the_error_says_what_to_do() {
    let scope = interrupt::scope();
    let e = interrupt::check().unwrap_err();
    drop(scope);
    assert_eq!(e.code(), HERE);
    let text = e.to_string();
    assert!(text.starts_with("104 ERROR_INVALID_AT_INTERRUPT_TIME: ") && text.contains("normal code"), "{text}");
}

#[test]
fn permits_are_added_at_interrupt_time() {
    let dir = tempfile::tempdir().unwrap();
    let ns = Namespace::open(&format!("shm:{}/ns", dir.path().display())).unwrap();
    let credit = Counting::create_credit(&ns, "c", 10, 0, Options::default()).unwrap();
    let pool = Counting::create_pool(&ns, "p", 4, Options::default()).unwrap();
    let scope = interrupt::scope();
    // More often than there are entries in reserve, and for one who waits.
    for _ in 0..10 {
        credit.add_permits(1).unwrap();
    }
    assert_eq!(code(credit.add_permits(1)), Code::TooManyPosts);
    assert_eq!(code(credit.add_permits(u32::MAX)), Code::TooManyPosts);
    assert_eq!(code(pool.add_permits(1)), Code::InvalidFunction);
    drop(scope);
    for _ in 0..10 {
        credit.try_acquire().unwrap().forget().unwrap();
    }
    std::thread::scope(|s| {
        let waiter = s.spawn(|| credit.acquire_many(3).unwrap().forget());
        while ns.inspect("c").unwrap().waiters.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let scope = interrupt::scope();
        (0..3).for_each(|_| credit.add_permits(1).unwrap());
        drop(scope);
        waiter.join().unwrap().unwrap();
    });
    ns.remove("c").unwrap();
    let scope = interrupt::scope();
    assert_eq!(code(credit.add_permits(1)), Code::InvalidHandle);
    drop(scope);
}

#[test]
fn many_threads_add_permits_at_interrupt_time_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let ns = Namespace::open(&format!("shm:{}/ns", dir.path().display())).unwrap();
    let credit = Counting::create_credit(&ns, "c", 60_000, 0, Options::default()).unwrap();
    std::thread::scope(|s| {
        for _ in 0..6 {
            s.spawn(|| {
                let _scope = interrupt::scope();
                for _ in 0..1000 {
                    // 100 where more are at it than there are entries: nothing was added then.
                    while let Err(e) = credit.add_permits(1) {
                        assert_eq!(e.code(), Code::TooManySemaphores);
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    let c = credit.capacity().unwrap();
    assert_eq!((c.total, c.free), (6000, 6000));
}

#[test]
fn prepared_threads_need_no_full_check() {
    interrupt::prepare();
    let (hint, _) = interrupt::testing::self_test();
    // Disarmed by a preemption now and then.
    let armed = (0..1000).any(|_| {
        interrupt::prepare();
        interrupt::testing::is_armed()
    });
    assert_eq!(armed, hint);
    let scope = interrupt::scope();
    interrupt::prepare();
    assert!(interrupt::is_now() && !interrupt::testing::is_armed());
    drop(scope);
}

#[test]
fn a_member_that_asks_often_has_it_cheaper_without_having_said_anything() {
    let dir = tempfile::tempdir().unwrap();
    let ns = Namespace::open(&format!("shm:{}/ns", dir.path().display())).unwrap();
    let s = xsem::Exclusive::create(&ns, "s").unwrap();
    // The keeper looks, some time. Other tests of this process may have had it looked at.
    let armed = || {
        drop(s.acquire().unwrap());
        interrupt::testing::is_armed()
    };
    while !interrupt::testing::is_known() {
        armed();
    }
    let holds = interrupt::testing::self_test().0;
    assert_eq!((0..10_000).any(|_| armed()), holds);
}
