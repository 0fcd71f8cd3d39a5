//! The engine inside one process, through the public API, as a program with threads uses it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};
use std::time::Duration;
use xsem::{
    AcquireError, AllError, AnyError, CancelToken, Cause, Code, Counting, Error, Exclusive, Held, Namespace, Options,
    OwnedPermit, Pick, Wait, cycle_text,
};

fn namespace() -> Namespace {
    Namespace::open("memory:").unwrap()
}

fn code<T: std::fmt::Debug, E: Into<Error>>(r: Result<T, E>) -> Code {
    r.map_err(Into::into).expect_err("an error").code()
}

/// Returns when so many wait for it.
fn until_waiting(ns: &Namespace, name: &str, n: usize) {
    while ns.inspect(name).unwrap().waiters.len() != n {
        std::thread::yield_now();
    }
}

#[test]
fn a_fresh_namespace_is_ones_own_and_a_named_one_is_shared_and_stays() {
    let (a, b) = (namespace(), namespace());
    Exclusive::create(&a, "x").unwrap();
    assert_eq!(code(Exclusive::open(&b, "x")), Code::SemNotFound);
    assert_eq!(a.url(), "memory:");

    let url = "memory:shared_and_stays";
    assert_eq!(code(Namespace::builder().create(false).open(url)), Code::SemNotFound);
    let (c, d) = (Namespace::open(url).unwrap(), Namespace::open(url).unwrap());
    Exclusive::create(&c, "x").unwrap();
    Exclusive::open(&d, "x").unwrap();
    drop((c, d));
    let again = Namespace::builder().create(false).open(url).unwrap();
    assert_eq!((again.url(), again.list().unwrap().len()), (url, 1));
}

#[test]
fn a_url_or_a_limit_that_cannot_be_is_87() {
    for url in ["memory:.x", "memory:a/b", "memory:a b", &format!("memory:{}", "x".repeat(101)), "memori:"] {
        let e = Namespace::open(url).unwrap_err();
        assert_eq!(e.code(), Code::InvalidParameter, "{url}");
        assert!(e.next_step().contains("memory:"), "{e}");
    }
    assert_eq!(code(Namespace::builder().max_semaphores(0).open("memory:")), Code::InvalidParameter);
    let small = Namespace::builder().max_semaphores(1).open("memory:").unwrap();
    Exclusive::create(&small, "a").unwrap();
    assert_eq!(code(Exclusive::create(&small, "b")), Code::TooManySemaphores);
    small.remove("a").unwrap();
    Exclusive::create(&small, "b").unwrap();
}

#[test]
fn threads_exclude_each_other_and_are_told_who() {
    let ns = namespace();
    ns.describe("the tests").unwrap();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let outer = sem.acquire_with(Wait::forever().label("outer")).unwrap();
    let inner = sem.try_acquire().unwrap();
    assert_eq!(inner.token(), outer.token());
    std::thread::scope(|s| {
        s.spawn(|| {
            let e = Error::from(sem.try_acquire().unwrap_err());
            assert_eq!((e.code(), e.holders().len()), (Code::ExclSemAlreadyOwned, 1));
            let text = e.to_string();
            assert!(text.contains(&format!("{} `the tests`", std::process::id())) && text.contains("[outer]"), "{text}");
            let e = Error::from(sem.acquire_timeout(Duration::from_millis(5)).unwrap_err());
            assert_eq!((e.code(), e.holders()[0].depth), (Code::SemTimeout, 2));
        });
    });
    drop(inner);
    drop(outer);
    let report = ns.inspect("a").unwrap();
    assert_eq!((report.holders.len(), report.counters.acquired, report.counters.timed_out), (0, 1, 1));
}

#[test]
fn a_thread_that_ends_while_it_owns_is_told_to_who_waits() {
    let ns = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let pool = Counting::create_pool(&ns, "pool", 2, Options::new()).unwrap();
    let go = AtomicBool::new(false);
    std::thread::scope(|s| {
        let owner = s.spawn(|| {
            std::mem::forget(sem.acquire_with(Wait::forever().label("lost")).unwrap());
            std::mem::forget(pool.acquire_many(2).unwrap());
            while !go.load(Acquire) {
                std::thread::yield_now();
            }
        });
        s.spawn(|| {
            while ns.inspect("pool").unwrap().holders.is_empty() {
                std::thread::yield_now();
            }
            let waits = s.spawn(|| pool.acquire().map(|p| p.count()).unwrap());
            until_waiting(&ns, "pool", 1);
            let Err(AcquireError::OwnerDied(r)) = sem.acquire_with(Wait::not()).or_else(|_| {
                go.store(true, Release);
                sem.acquire()
            }) else {
                panic!("it was not told")
            };
            let deaths = r.deaths().expect("details");
            assert_eq!((deaths.count, deaths.latest.cause), (1, Cause::ThreadEnded));
            assert_eq!(deaths.latest.label.as_deref(), Some("lost"));
            drop(r.mark_consistent().unwrap());
            assert_eq!(waits.join().unwrap(), 1, "permits just come back");
        });
        owner.join().unwrap();
    });
    let report = ns.inspect("a").unwrap();
    assert_eq!((report.marked, report.counters.deaths), (false, 1));
    assert_eq!(ns.inspect("pool").unwrap().counters.deaths, 1);
}

#[test]
fn permits_slots_and_credit() {
    let ns = namespace();
    let gpus = Counting::open_or_create_pool(&ns, "gpu", 4).unwrap();
    let mut three = gpus.acquire_many(3).unwrap();
    assert_eq!((three.slots().unwrap(), three.count(), three.token()), (vec![0, 1, 2], 3, 1));
    let e = gpus.try_acquire_many(2).unwrap_err();
    assert_eq!((e.code(), e.holders()[0].slots.len()), (Code::SemTimeout, 3));
    three.release_some(1).unwrap();
    assert_eq!((three.slots().unwrap(), three.count()), (vec![0, 1], 2));
    assert_eq!(code(three.release_some(3)), Code::NotOwner);
    assert_eq!(three.count(), 2);
    assert_eq!(code(gpus.add_permits(1)), Code::InvalidFunction);
    assert_eq!(code(gpus.try_acquire_many(5)), Code::InvalidParameter);
    gpus.resize(5).unwrap();
    assert_eq!((gpus.capacity().unwrap().limit, gpus.capacity().unwrap().free), (5, 3));
    three.release().unwrap();

    let items = Counting::open_or_create_credit(&ns, "items", 3, 0).unwrap();
    assert_eq!(code(items.acquire_timeout(Duration::from_millis(5))), Code::SemTimeout);
    items.add_permits(3).unwrap();
    assert_eq!(code(items.add_permits(1)), Code::TooManyPosts);
    items.acquire_many(2).unwrap().forget().unwrap();
    assert_eq!((items.capacity().unwrap().total, items.capacity().unwrap().free), (1, 1));
    assert_eq!(code(Counting::open_or_create_credit(&ns, "items", 4, 0)), Code::InvalidParameter);
    assert_eq!(code(Exclusive::open(&ns, "items")), Code::InvalidHandle);
}

#[test]
fn an_owned_permit_belongs_to_the_process() {
    let ns = namespace();
    let pool = Counting::create_pool(&ns, "pool", 2, Options::new()).unwrap();
    let (p, q) = (pool.clone(), pool.clone());
    let permit: OwnedPermit = std::thread::spawn(move || p.acquire_owned(2, Wait::forever()).unwrap()).join().unwrap();
    assert!(permit.is_held(), "it does not end with the thread that asked");
    let waits = std::thread::spawn(move || q.acquire().map(|p| p.count()).unwrap());
    until_waiting(&ns, "pool", 1);
    assert_eq!(ns.inspect("pool").unwrap().holders[0].claimant, 0);
    std::thread::spawn(move || drop(permit)).join().unwrap();
    assert_eq!(waits.join().unwrap(), 1);
    let (left, e) = {
        let held = pool.acquire_owned(1, Wait::not()).unwrap();
        let back = pool.close().expect_err("it is in use");
        drop(held);
        back
    };
    assert_eq!(e.code(), Code::SemIsSet);
    left.close().expect("nobody uses it");
}

#[test]
fn a_cancel_token_ends_every_wait_that_has_it() {
    let ns = namespace();
    let (a, b) = (Exclusive::create(&ns, "a").unwrap(), Exclusive::create(&ns, "b").unwrap());
    let (_a, _b) = (a.acquire().unwrap(), b.acquire().unwrap());
    let token = CancelToken::new();
    std::thread::scope(|s| {
        let one = s.spawn(|| code(a.acquire_with(Wait::forever().cancel(&token))));
        let any = s.spawn(|| code(ns.wait_any(&[(&a).into(), (&b).into()], Wait::forever().cancel(&token))));
        let all = s.spawn(|| code(ns.acquire_all(&[(&a).into(), (&b).into()], Wait::forever().cancel(&token))));
        until_waiting(&ns, "a", 3);
        // Not earlier: it refuses newcomers.
        let drain = s.spawn(|| code(ns.drain("b", Wait::forever().cancel(&token))));
        while !ns.inspect("b").unwrap().drained {
            std::thread::yield_now();
        }
        token.cancel();
        for ended in [one, any, all, drain] {
            assert_eq!(ended.join().unwrap(), Code::Interrupt);
        }
    });
    assert!(!ns.inspect("b").unwrap().drained, "it is open again");
    assert_eq!(ns.inspect("a").unwrap().waiters.len(), 0);
}

#[derive(Debug)]
struct GiveUp(AtomicU32);

impl xsem::engine::Interrupted for GiveUp {
    fn give_up(&self) -> bool {
        self.0.fetch_add(1, Relaxed);
        true
    }
}

#[test]
fn a_signal_asks_a_front_door_that_wants_to_know() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: a zeroed sigaction has no flags (so waits are interrupted, not restarted) and an empty mask; the handler does
    // nothing, and nobody else in this test program uses the signal.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
        assert_eq!(libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut()), 0);
    }
    let ns = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let _held = sem.acquire().unwrap();
    let (asked, done, thread) = (GiveUp(AtomicU32::new(0)), AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|s| {
        let waits = s.spawn(|| {
            // SAFETY: it returns the calling thread's own id.
            thread.store(unsafe { libc::pthread_self() } as u64, Release);
            let r = code(sem.acquire_with(Wait::forever().on_signal(&asked)));
            done.store(true, Release);
            // It stays until nobody sends it anything any more.
            while thread.load(Acquire) != 0 {
                std::thread::yield_now();
            }
            r
        });
        until_waiting(&ns, "a", 1);
        while !done.load(Acquire) {
            // SAFETY: the thread lives until it is told otherwise below.
            unsafe { libc::pthread_kill(thread.load(Acquire) as libc::pthread_t, libc::SIGUSR2) };
            std::thread::yield_now();
        }
        thread.store(0, Release);
        assert_eq!(waits.join().unwrap(), Code::Interrupt);
    });
    assert_eq!(asked.0.load(Relaxed), 1);
}

#[test]
fn any_and_all_of_a_list() {
    let (ns, other) = (namespace(), namespace());
    let (a, b) = (Exclusive::create(&ns, "a").unwrap(), Exclusive::create(&ns, "b").unwrap());
    let pool = Counting::create_pool(&ns, "pool", 3, Options::new()).unwrap();
    let stranger = Exclusive::create(&other, "a").unwrap();
    let list = [Pick::from(&a), Pick::permits(&pool, 2), Pick::from(&b)];
    assert_eq!(code(ns.wait_any(&[], Wait::not())), Code::InvalidEventCount);
    assert_eq!(code(ns.wait_any(&[Pick::from(&a); 65], Wait::not())), Code::InvalidEventCount);
    let Err(AnyError::Failed(e)) = ns.wait_any(&[(&a).into(), (&stranger).into()], Wait::not()) else { panic!("granted") };
    assert_eq!((e.code(), e.indices()), (Code::InvalidListFormat, &[1][..]));
    let Err(AllError::Failed(e)) = ns.acquire_all(&[(&a).into(), (&b).into(), (&a).into()], Wait::not()) else {
        panic!("granted")
    };
    assert_eq!((e.code(), e.indices()), (Code::InvalidListFormat, &[0, 2][..]));
    assert!(ns.wait_any(&[(&a).into(), (&a).into()], Wait::not()).is_ok(), "any may name one twice");

    std::thread::scope(|s| {
        let all = ns.acquire_all(&list, Wait::forever()).unwrap();
        assert!(matches!(all.as_slice(), [Held::Guard(_), Held::Permit(p), Held::Guard(_)] if p.count() == 2));
        let e = s.spawn(|| Error::from(ns.acquire_all(&list, Wait::not()).unwrap_err())).join().unwrap();
        assert_eq!((e.code(), e.indices(), e.holders().len()), (Code::SemTimeout, &[0, 1, 2][..], 3));
        let waits = s.spawn(|| ns.wait_any(&[(&a).into(), (&b).into()], Wait::forever()).unwrap().index);
        until_waiting(&ns, "b", 1);
        drop(all.into_vec().pop());
        waits.join().unwrap();
        // The mark of one entry.
        s.spawn(|| b.acquire().unwrap().abandon().unwrap()).join().unwrap();
        let Err(AllError::OwnerDied(r)) = ns.acquire_all(&list, Wait::forever()) else { panic!("it was not told") };
        assert_eq!((r.indices(), r.deaths(2).map(|d| d.latest.cause)), (vec![2], Some(Cause::Abandoned)));
        drop(r.mark_consistent().unwrap());
        assert!(ns.acquire_all(&list, Wait::not()).is_ok());
    });
}

#[test]
fn who_waits_for_all_does_not_keep_the_rest_idle() {
    let ns = namespace();
    let (x, y) = (Exclusive::create(&ns, "x").unwrap(), Exclusive::create(&ns, "y").unwrap());
    let held = y.acquire().unwrap();
    std::thread::scope(|s| {
        let all =
            s.spawn(|| ns.acquire_all(&[(&x).into(), (&y).into()], Wait::forever()).map(|all| all.as_slice().len()).unwrap());
        until_waiting(&ns, "x", 1);
        // Nobody has it, and the one who waits could not use it yet.
        drop(x.try_acquire().expect("x is free"));
        s.spawn(|| drop(x.acquire_timeout(Duration::from_secs(20)).expect("x is free"))).join().unwrap();
        drop(held);
        assert_eq!(all.join().unwrap(), 2);
    });
}

#[test]
fn two_threads_that_want_what_the_other_has() {
    let ns = namespace();
    let sems = [Exclusive::create(&ns, "a").unwrap(), Exclusive::create(&ns, "b").unwrap()];
    let barrier = std::sync::Barrier::new(2);
    let told: Vec<Option<Error>> = std::thread::scope(|s| {
        let run = |first: usize| {
            let (sems, barrier) = (&sems, &barrier);
            move || {
                let _own = sems[first].acquire().unwrap();
                barrier.wait();
                sems[1 - first].acquire().err().map(Error::from)
            }
        };
        [s.spawn(run(0)), s.spawn(run(1))].map(|t| t.join().unwrap()).into()
    });
    let told: Vec<Error> = told.into_iter().flatten().collect();
    assert_eq!(told.len(), 1, "the other one goes on: {told:?}");
    assert!(told[0].is_deadlock());
    assert_eq!(told[0].cycle().len(), 2);
    let text = told[0].to_string();
    assert!(text.contains("you wait for") && text.contains("held by you"), "{text}");
    assert!(ns.inspect("a").unwrap().deadlock.is_empty());
    let _own = sems[0].acquire().unwrap();
    let e = ns.drain("a", Wait::forever()).unwrap_err();
    assert_eq!(cycle_text(e.cycle(), true), "you wait for `a`, held by you");
}

#[test]
fn draining_evicting_collecting_closing() {
    let ns = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let guard = sem.acquire().unwrap();
    std::thread::scope(|s| {
        let drain = s.spawn(|| ns.drain("a", Wait::forever()));
        while !ns.inspect("a").unwrap().drained {
            std::thread::yield_now();
        }
        assert_eq!(s.spawn(|| code(sem.try_acquire())).join().unwrap(), Code::SemIsSet);
        assert_eq!(code(ns.remove("a")), Code::SemIsSet);
        drop(guard);
        drain.join().unwrap().unwrap();
    });
    assert_eq!(code(sem.acquire()), Code::SemIsSet);
    assert_eq!(ns.gc(Duration::ZERO, |_| false).unwrap(), [""; 0], "what was drained stays");
    ns.reopen("a").unwrap();
    assert_eq!(code(ns.reopen("nobody")), Code::SemNotFound);
    assert_eq!(code(ns.drain("nobody", Wait::not())), Code::SemNotFound);

    let guard = sem.acquire().unwrap();
    assert_eq!(code(ns.drain("a", Wait::not())), Code::SemTimeout);
    ns.evict("a", guard.token()).unwrap();
    assert!(!guard.is_held());
    assert_eq!(code(guard.release()), Code::NotOwner);
    let Err(AcquireError::OwnerDied(r)) = sem.try_acquire() else { panic!("it was not told") };
    assert_eq!(r.deaths().unwrap().latest.cause, Cause::Evicted);

    let (sem, e) = {
        // A clone is a handle of its own for whoever has it; the claim was made through both.
        let copy = sem.clone();
        copy.close().expect_err("it is owned through it")
    };
    assert_eq!((e.code(), e.holders().len()), (Code::SemIsSet, 1));
    drop(r.mark_consistent().unwrap());
    sem.close().expect("nobody uses it");

    for name in ["b", "c", "d"] {
        Exclusive::create(&ns, name).unwrap();
    }
    let used = Exclusive::open(&ns, "c").unwrap();
    let _held = used.acquire().unwrap();
    assert_eq!(ns.gc(Duration::from_secs(3600), |_| false).unwrap(), [""; 0]);
    assert_eq!(ns.gc(Duration::ZERO, |s| s.name == "d").unwrap(), ["a", "b"]);
    assert_eq!(ns.list().unwrap().iter().map(|s| s.name.clone()).collect::<Vec<_>>(), ["c", "d"]);
}

#[test]
fn an_ephemeral_name_goes_with_its_last_handle() {
    let ns = namespace();
    let pool = Counting::create_pool(&ns, "e", 2, Options::new().ephemeral()).unwrap();
    let copy = pool.clone();
    pool.close().unwrap();
    let owned = copy.acquire_owned(1, Wait::not()).unwrap();
    drop(copy);
    assert!(ns.inspect("e").unwrap().ephemeral, "the permit has a handle of its own");
    drop(owned);
    assert_eq!(code(ns.inspect("e")), Code::SemNotFound);
}

#[test]
fn a_removed_semaphores_handle_is_stale() {
    let ns = namespace();
    let pool = Counting::create_pool(&ns, "p", 2, Options::new()).unwrap();
    ns.remove("p").unwrap();
    for r in [pool.try_acquire().map(drop), pool.capacity().map(drop), pool.resize(3), pool.acquire().map(drop)] {
        assert_eq!(code(r), Code::InvalidHandle);
    }
}

#[test]
fn what_a_process_covers_is_shown() {
    let ns = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let _held = sem.acquire().unwrap();
    ns.cover(Some(std::process::id())).unwrap();
    assert_eq!(ns.inspect("a").unwrap().holders[0].covers.as_ref().map(|p| p.pid), Some(std::process::id()));
    ns.cover(None).unwrap();
    assert!(ns.inspect("a").unwrap().holders[0].covers.is_none());
    assert_eq!(code(ns.cover(Some(0))), Code::InvalidParameter);
    assert!(sem.join(1).unwrap().is_none(), "it is this process's own");
}

#[test]
fn many_threads_in_one_another_s_way() {
    let ns = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let pool = Counting::create_pool(&ns, "pool", 3, Options::new()).unwrap();
    // Two words that only an owner writes, one after the other: they differ if there are two owners.
    let (left, right, out, most) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let work = |n: u64| {
        let (sem, pool, ns) = (&sem, &pool, &ns);
        let (left, right, out, most) = (&left, &right, &out, &most);
        move || {
            let owned = || {
                let l = left.load(Relaxed) + 1;
                left.store(l, Relaxed);
                std::thread::yield_now();
                assert_eq!(right.swap(l, Relaxed), l - 1, "two owners");
            };
            let lent = |permits: u32| {
                let now = out.fetch_add(permits, AcqRel) + permits;
                most.fetch_max(now, AcqRel);
                std::thread::yield_now();
                out.fetch_sub(permits, AcqRel);
            };
            for i in 0..300 {
                match (i + n) % 6 {
                    0 | 1 => {
                        let _held = sem.acquire().unwrap();
                        owned();
                    }
                    2 => {
                        let _held = pool.acquire_many(3).unwrap();
                        lent(3);
                    }
                    3 => {
                        let _held = pool.acquire().unwrap();
                        lent(1);
                    }
                    4 => {
                        let _all = ns.acquire_all(&[sem.into(), Pick::permits(pool, 2)], Wait::forever()).unwrap();
                        owned();
                        lent(2);
                    }
                    _ => match ns.wait_any(&[sem.into(), pool.into()], Wait::timeout(Duration::from_millis(1))) {
                        Ok(taken) if taken.index == 0 => owned(),
                        Ok(_taken) => lent(1),
                        Err(e) => assert_eq!(e.code(), Code::SemTimeout),
                    },
                }
            }
        }
    };
    std::thread::scope(|s| (0..8).for_each(|n| drop(s.spawn(work(n)))));
    assert_eq!(left.load(Relaxed), right.load(Relaxed));
    assert!((2..=3).contains(&most.load(Relaxed)), "never more than the limit: {most:?}");
    for name in ["a", "pool"] {
        let report = ns.inspect(name).unwrap();
        assert_eq!((report.holders.len(), report.waiters.len(), report.counters.deaths), (0, 0, 0), "{name}");
    }
}
