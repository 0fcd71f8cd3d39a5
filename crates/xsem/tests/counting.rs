//! Counting semaphores in shared memory, one process; several processes are in the testkit.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use xsem::{Code, Counting, Exclusive, Mode, Namespace, Options, Pick, Wait};

fn namespace() -> (tempfile::TempDir, Namespace) {
    let dir = tempfile::tempdir().unwrap();
    let ns = Namespace::open(&format!("shm:{}/ns", dir.path().display())).unwrap();
    (dir, ns)
}

#[test]
fn permits_go_and_come_back() {
    let (_dir, ns) = namespace();
    let sem = Counting::open_or_create_pool(&ns, "gpu", 4).unwrap();
    let one = sem.acquire().unwrap();
    let two = sem.acquire_many(2).unwrap();
    assert_eq!((one.count(), two.count()), (1, 2));
    assert!(two.token() > one.token());
    assert_eq!(sem.capacity().unwrap().free, 1);
    let refused = sem.try_acquire_many(2).unwrap_err();
    assert_eq!(refused.code(), Code::SemTimeout);
    assert_eq!(refused.holders().len(), 2);
    assert_eq!(refused.holders().iter().map(|h| h.permits).sum::<u32>(), 3);
    drop(one);
    assert_eq!(sem.capacity().unwrap().free, 2);
    two.release().unwrap();
    assert_eq!(sem.capacity().unwrap().free, 4);
    assert_eq!(sem.acquire_many(0).unwrap_err().code(), Code::InvalidParameter);
    assert_eq!(sem.acquire_many(5).unwrap_err().code(), Code::InvalidParameter);
    assert!(xsem::shm::testing::audit(&ns).is_empty());
}

#[test]
fn slots_are_the_holders_own_and_stay() {
    let (_dir, ns) = namespace();
    let sem = Counting::open_or_create_pool(&ns, "gpu", 4).unwrap();
    let a = sem.acquire_many(2).unwrap();
    let b = sem.acquire().unwrap();
    assert_eq!(b.slots().unwrap(), [0]);
    assert_eq!(a.slots().unwrap(), [1, 2]);
    drop(b);
    assert_eq!(a.slots().unwrap(), [1, 2]);
    let mut c = sem.acquire_many(2).unwrap();
    assert_eq!(c.slots().unwrap(), [0, 3]);
    c.release_some(1).unwrap();
    assert_eq!(c.slots().unwrap(), [0]);
    assert_eq!(ns.inspect("gpu").unwrap().holders.iter().map(|h| h.slots.len()).sum::<usize>(), 3);
    assert_eq!(c.release_some(2).unwrap_err().code(), Code::NotOwner);
    let all: Vec<_> = (0..1).map(|_| sem.acquire().unwrap()).collect();
    assert_eq!(all[0].slots().unwrap(), [3]);
}

#[test]
fn many_permits_and_many_slots() {
    let (_dir, ns) = namespace();
    let sem = Counting::open_or_create_pool(&ns, "big", 65_535).unwrap();
    let a = sem.acquire_many(65_535).unwrap();
    assert_eq!(sem.try_acquire().unwrap_err().code(), Code::SemTimeout);
    let slots = a.slots().unwrap();
    assert_eq!((slots.len(), slots[0], *slots.last().unwrap()), (65_535, 0, 65_534));
    drop(a);
    let many: Vec<_> = (0..1000).map(|_| sem.acquire().unwrap()).collect();
    assert_eq!(sem.capacity().unwrap().free, 64_535);
    assert_eq!(many[999].slots().unwrap(), [0]);
}

#[test]
fn limits_change_while_permits_are_held() {
    let (_dir, ns) = namespace();
    let sem = Counting::open_or_create_pool(&ns, "pool", 4).unwrap();
    let held = sem.acquire_many(3).unwrap();
    sem.resize(2).unwrap();
    let now = sem.capacity().unwrap();
    assert_eq!((now.limit, now.total, now.free), (2, 3, 0));
    assert_eq!(sem.try_acquire().unwrap_err().code(), Code::SemTimeout);
    drop(held);
    assert_eq!(sem.capacity().unwrap().free, 2);
    assert_eq!(sem.acquire_many(3).unwrap_err().code(), Code::InvalidParameter);
    sem.resize(10).unwrap();
    assert_eq!(sem.acquire_many(10).unwrap().count(), 10);
    assert_eq!(sem.resize(0).unwrap_err().code(), Code::InvalidParameter);
    assert_eq!(Counting::open_or_create_pool(&ns, "pool", 4).unwrap_err().code(), Code::InvalidParameter);
    assert_eq!(Counting::open_or_create_pool(&ns, "pool", 10).unwrap().capacity().unwrap().mode, Mode::Pool);
    assert_eq!(Exclusive::open(&ns, "pool").unwrap_err().code(), Code::InvalidHandle);
    assert_eq!(sem.add_permits(1).unwrap_err().code(), Code::InvalidFunction);
    assert_eq!(sem.acquire().unwrap().forget().unwrap_err().code(), Code::InvalidFunction);
}

#[test]
fn credit_is_added_and_used_up() {
    let (_dir, ns) = namespace();
    let sem = Counting::create_credit(&ns, "items", 3, 0, Options::new()).unwrap();
    assert_eq!(sem.try_acquire().unwrap_err().code(), Code::SemTimeout);
    sem.add_permits(2).unwrap();
    assert_eq!(sem.add_permits(2).unwrap_err().code(), Code::TooManyPosts);
    let item = sem.acquire().unwrap();
    assert_eq!(item.slots().unwrap_err().code(), Code::InvalidFunction);
    item.forget().unwrap();
    let now = sem.capacity().unwrap();
    assert_eq!((now.total, now.free), (1, 1));
    sem.add_permits(2).unwrap();
    assert_eq!(sem.capacity().unwrap().free, 3);
    assert_eq!(sem.resize(2).unwrap_err().code(), Code::InvalidParameter);
    sem.resize(5).unwrap();
    assert!(xsem::shm::testing::audit(&ns).is_empty());
}

#[test]
fn threads_never_hold_more_than_there_is() {
    let (_dir, ns) = namespace();
    let sem = Counting::open_or_create_pool(&ns, "pool", 5).unwrap();
    let out = AtomicU32::new(0);
    std::thread::scope(|s| {
        for t in 0..8u32 {
            let (sem, out) = (&sem, &out);
            s.spawn(move || {
                for i in 0..3000 {
                    let n = 1 + (t + i) % 5;
                    let p = sem.acquire_many(n).unwrap();
                    assert!(out.fetch_add(n, Ordering::SeqCst) + n <= 5);
                    if i % 7 == 0 {
                        std::thread::yield_now();
                    }
                    out.fetch_sub(n, Ordering::SeqCst);
                    drop(p);
                }
            });
        }
    });
    assert_eq!(sem.capacity().unwrap().free, 5);
    assert!(xsem::shm::testing::audit(&ns).is_empty());
}

#[test]
fn who_looks_on_never_sees_more_held_than_there_is() {
    let (_dir, ns) = namespace();
    let sem = Counting::open_or_create_pool(&ns, "pool", 5).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|s| {
        for t in 0..6u32 {
            let (sem, over) = (&sem, &over);
            s.spawn(move || {
                for n in (0..5).cycle().skip(t as usize) {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    drop(sem.acquire_many(1 + n).unwrap());
                }
            });
        }
        for _ in 0..6000 {
            let holders = ns.inspect("pool").unwrap().holders;
            let held: u32 = holders.iter().map(|h| h.permits).sum();
            if held > 5 {
                over.store(true, Ordering::Relaxed);
                panic!("{held} permits of 5: {holders:?}");
            }
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn joint_requests_and_single_ones_get_along() {
    let (_dir, ns) = namespace();
    let names = ["a", "b", "c"];
    let sems: Vec<_> = names.iter().map(|n| Exclusive::create(&ns, n).unwrap()).collect();
    let pool = Counting::open_or_create_pool(&ns, "pool", 3).unwrap();
    let (inside, out) = ([const { AtomicU32::new(0) }; 3], AtomicU32::new(0));
    std::thread::scope(|s| {
        for t in 0..4usize {
            let (sems, pool, ns, inside, out) = (&sems, &pool, &ns, &inside, &out);
            s.spawn(move || {
                for i in 0..1500usize {
                    let (x, y) = ((t + i) % 3, (t + i + 1 + i % 2) % 3);
                    if (t + i) % 3 == 0 {
                        let g = sems[x].acquire().unwrap();
                        assert_eq!(inside[x].fetch_add(1, Ordering::SeqCst), 0);
                        inside[x].fetch_sub(1, Ordering::SeqCst);
                        drop(g);
                        continue;
                    }
                    if (t + i) % 7 == 0 {
                        let one = ns.wait_any(&[(&sems[x]).into(), (&sems[y]).into()], Wait::forever()).unwrap();
                        let k = [x, y][one.index];
                        assert_eq!(inside[k].fetch_add(1, Ordering::SeqCst), 0);
                        inside[k].fetch_sub(1, Ordering::SeqCst);
                        drop(one);
                        continue;
                    }
                    let list = [(&sems[x]).into(), Pick::permits(pool, 2), (&sems[y]).into()];
                    let all = ns.acquire_all(&list, Wait::forever()).unwrap();
                    for k in [x, y] {
                        assert_eq!(inside[k].fetch_add(1, Ordering::SeqCst), 0);
                    }
                    assert!(out.fetch_add(2, Ordering::SeqCst) + 2 <= 3);
                    out.fetch_sub(2, Ordering::SeqCst);
                    for k in [x, y] {
                        inside[k].fetch_sub(1, Ordering::SeqCst);
                    }
                    drop(all);
                }
            });
        }
    });
    assert_eq!(pool.capacity().unwrap().free, 3);
    assert!(xsem::shm::testing::audit(&ns).is_empty());
}

#[test]
fn lists_are_checked() {
    let (_dir, ns) = namespace();
    let (_other, ns2) = namespace();
    let a = Exclusive::create(&ns, "a").unwrap();
    let far = Exclusive::create(&ns2, "a").unwrap();
    let code = |list: &[Pick<'_>]| ns.acquire_all(list, Wait::not()).unwrap_err().code();
    assert_eq!(code(&[]), Code::InvalidEventCount);
    assert_eq!(code(&[(&a).into(), (&a).into()]), Code::InvalidListFormat);
    assert_eq!(code(&[(&far).into()]), Code::InvalidListFormat);
    assert_eq!(ns.wait_any(&[(&far).into()], Wait::not()).unwrap_err().code(), Code::InvalidListFormat);
    let many: Vec<_> = (0..65).map(|i| Exclusive::create(&ns, &format!("m{i}")).unwrap()).collect();
    let picks: Vec<Pick<'_>> = many.iter().map(Pick::from).collect();
    assert_eq!(code(&picks), Code::InvalidEventCount);
    let all = ns.acquire_all(&picks[..64], Wait::not()).unwrap();
    let refused = std::thread::scope(|s| {
        s.spawn(|| xsem::Error::from(ns.wait_any(&picks[..64], Wait::timeout(Duration::from_millis(20))).unwrap_err())).join()
    });
    assert_eq!(refused.unwrap().code(), Code::SemTimeout);
    drop(all);
}

#[test]
fn a_cycle_of_waits_is_told_to_the_youngest() {
    let (_dir, ns) = namespace();
    let (a, b) = (Exclusive::create(&ns, "a").unwrap(), Exclusive::create(&ns, "b").unwrap());
    let (got, wait) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|s| {
        let first = s.spawn(|| {
            let _a = a.acquire().unwrap();
            got.wait();
            wait.wait();
            // The older wait: it is served when the younger one has given up.
            b.acquire().map(drop).map_err(xsem::Error::from)
        });
        let second = s.spawn(|| {
            let b = b.acquire().unwrap();
            got.wait();
            wait.wait();
            while ns.inspect("b").unwrap().waiters.is_empty() {
                std::thread::yield_now();
            }
            let e = xsem::Error::from(a.acquire().unwrap_err());
            assert!(!ns.inspect("b").unwrap().holders.is_empty());
            drop(b);
            e
        });
        let e = second.join().unwrap();
        assert_eq!(e.code(), Code::PossibleDeadlock, "{e}");
        assert_eq!(e.cycle().len(), 2);
        assert!(e.to_string().contains("you wait for `a`, held by"), "{e}");
        assert!(e.to_string().contains("which waits for `b`, held by you"), "{e}");
        first.join().unwrap().unwrap();
    });
}

#[test]
fn waiting_for_ones_own_permits_is_a_deadlock() {
    let (_dir, ns) = namespace();
    let pool = Counting::open_or_create_pool(&ns, "pool", 3).unwrap();
    let _two = pool.acquire_many(2).unwrap();
    let e = pool.acquire_many(2).unwrap_err();
    assert_eq!(e.code(), Code::PossibleDeadlock, "{e}");
    // With an end it is no deadlock.
    let e = pool.acquire_with(2, Wait::timeout(Duration::from_millis(30))).unwrap_err();
    assert_eq!(e.code(), Code::SemTimeout, "{e}");
}

#[test]
fn a_drained_semaphore_refuses_until_it_is_reopened() {
    let (_dir, ns) = namespace();
    let pool = Counting::open_or_create_pool(&ns, "pool", 3).unwrap();
    let sem = Exclusive::create(&ns, "sem").unwrap();
    for name in ["pool", "sem"] {
        ns.drain(name, Wait::not()).unwrap();
        assert!(ns.inspect(name).unwrap().drained);
    }
    assert_eq!(pool.acquire().unwrap_err().code(), Code::SemIsSet);
    assert_eq!(sem.acquire().unwrap_err().code(), Code::SemIsSet);
    for name in ["pool", "sem"] {
        ns.reopen(name).unwrap();
        assert!(!ns.inspect(name).unwrap().drained);
    }
    let (p, g) = (pool.acquire().unwrap(), sem.acquire().unwrap());
    for name in ["pool", "sem"] {
        let e = ns.drain(name, Wait::timeout(Duration::from_millis(20))).unwrap_err();
        assert_eq!((e.code(), e.holders().len()), (Code::SemTimeout, 1), "{e}");
    }
    drop((p, g));
    drop((pool.acquire().unwrap(), sem.acquire().unwrap()));
    std::thread::scope(|s| {
        let g = sem.acquire().unwrap();
        let d = s.spawn(|| ns.drain("sem", Wait::forever()));
        while !ns.inspect("sem").unwrap().drained {
            std::thread::yield_now();
        }
        drop(g);
        d.join().unwrap().unwrap();
    });
    ns.remove("sem").unwrap();
    ns.remove("pool").unwrap();
    assert_eq!(pool.acquire().unwrap_err().code(), Code::InvalidHandle);
    assert_eq!(sem.acquire().unwrap_err().code(), Code::InvalidHandle);
    assert!(xsem::shm::testing::audit(&ns).is_empty());
}

#[test]
fn evicted_claims_are_over() {
    let (_dir, ns) = namespace();
    let pool = Counting::open_or_create_pool(&ns, "pool", 3).unwrap();
    let sem = Exclusive::create(&ns, "sem").unwrap();
    let p = pool.acquire_many(2).unwrap();
    ns.evict("pool", p.token()).unwrap();
    assert!(!p.is_held());
    assert_eq!(pool.capacity().unwrap().free, 3);
    assert_eq!(p.release().unwrap_err().code(), Code::NotOwner);
    assert_eq!(ns.evict("pool", 1).unwrap_err().code(), Code::NotOwner);

    let other = Exclusive::open(&ns, "sem").unwrap();
    let g = sem.acquire().unwrap();
    let token = g.token();
    std::thread::scope(|s| {
        let waiting = s.spawn(|| match other.acquire() {
            Err(xsem::AcquireError::OwnerDied(r)) => {
                let cause = r.deaths().unwrap().latest.cause;
                let g = r.mark_consistent().unwrap();
                let t = g.token();
                g.release().unwrap();
                (cause, t)
            }
            _ => panic!("not told"),
        });
        while ns.inspect("sem").unwrap().waiters.is_empty() {
            std::thread::yield_now();
        }
        ns.evict("sem", token).unwrap();
        let (cause, next) = waiting.join().unwrap();
        assert_eq!(cause, xsem::Cause::Evicted);
        assert!(next > token);
    });
    assert!(!g.is_held());
    assert_eq!(g.release().unwrap_err().code(), Code::NotOwner);
    // Everything goes on, through old handles and new ones.
    drop(sem.acquire().unwrap());
    drop(Exclusive::open(&ns, "sem").unwrap().acquire().unwrap());
    assert_eq!(ns.list().unwrap().len(), 2);
    let g = sem.acquire().unwrap();
    assert_eq!(ns.remove("sem").unwrap_err().code(), Code::SemIsSet);
    drop(g);
    ns.remove("sem").unwrap();
    assert_eq!(ns.inspect("sem").unwrap_err().code(), Code::SemNotFound);
    assert_eq!(ns.list().unwrap().len(), 1);
    drop(Exclusive::create(&ns, "sem").unwrap().acquire().unwrap());
    assert!(xsem::shm::testing::audit(&ns).is_empty());
}

#[test]
fn gc_removes_what_nobody_uses() {
    let (_dir, ns) = namespace();
    let used = Exclusive::create(&ns, "used").unwrap();
    Exclusive::create(&ns, "idle").unwrap();
    Counting::open_or_create_pool(&ns, "pool", 3).unwrap();
    let _g = used.acquire().unwrap();
    assert!(ns.gc(Duration::from_secs(3600), |_| false).unwrap().is_empty());
    let mut gone = ns.gc(Duration::ZERO, |s| s.name == "keep").unwrap();
    gone.sort();
    assert_eq!(gone, ["idle", "pool"]);
    assert_eq!(ns.list().unwrap().len(), 1);
}

#[test]
fn a_thread_that_ends_gives_its_permits_back() {
    let (_dir, ns) = namespace();
    let pool = Counting::open_or_create_pool(&ns, "pool", 3).unwrap();
    std::thread::scope(|s| {
        s.spawn(|| std::mem::forget(pool.acquire_many(2).unwrap())).join().unwrap();
    });
    // The thread is joined before its thread-local data is taken down only where the scope says so.
    let got = pool.acquire_with(3, Wait::timeout(Duration::from_secs(10))).unwrap();
    drop(got);
    assert_eq!(ns.inspect("pool").unwrap().counters.deaths, 1);
    let owned = std::thread::scope(|s| s.spawn(|| pool.acquire_owned(2, Wait::forever()).unwrap()).join().unwrap());
    assert!(owned.is_held());
    assert_eq!(pool.capacity().unwrap().free, 1);
}

#[test]
fn ephemeral_names_go_with_their_last_user() {
    let (_dir, ns) = namespace();
    let a = Exclusive::create_with(&ns, "a", Options::new().ephemeral()).unwrap();
    let p = Counting::create_pool(&ns, "p", 2, Options::new().ephemeral()).unwrap();
    let (a2, p2) = (Exclusive::open(&ns, "a").unwrap(), Counting::open(&ns, "p").unwrap());
    drop((a.acquire().unwrap(), p.acquire().unwrap()));
    drop((a, p));
    assert!(ns.inspect("a").unwrap().ephemeral && ns.inspect("p").unwrap().ephemeral);
    drop((a2.acquire().unwrap(), p2.acquire().unwrap()));
    drop((a2, p2));
    assert_eq!(ns.inspect("a").unwrap_err().code(), Code::SemNotFound);
    assert_eq!(ns.inspect("p").unwrap_err().code(), Code::SemNotFound);
    assert!(ns.list().unwrap().is_empty());
    assert!(!Exclusive::create(&ns, "a").map(|_| ns.inspect("a").unwrap().ephemeral).unwrap());
    assert!(xsem::shm::testing::audit(&ns).is_empty());
}

#[test]
fn ephemeral_names_come_and_go_without_losing_anybody() {
    let (_dir, ns) = namespace();
    let inside = AtomicU32::new(0);
    std::thread::scope(|s| {
        for t in 0..4 {
            let (ns, inside) = (&ns, &inside);
            s.spawn(move || {
                for i in 0..300 {
                    let opened = Exclusive::open(ns, "x");
                    let sem = match opened {
                        Ok(sem) => sem,
                        Err(_) => match Exclusive::create_with(ns, "x", Options::new().ephemeral()) {
                            Ok(sem) => sem,
                            Err(e) => {
                                assert_eq!(e.code(), Code::AlreadyExists);
                                continue;
                            }
                        },
                    };
                    // Whoever has it open can use it: it does not go under its users.
                    let g = sem.acquire().unwrap_or_else(|e| panic!("{t} {i}: {e}"));
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(g);
                }
            });
        }
    });
    assert!(ns.list().unwrap().is_empty());
}

#[test]
fn a_handle_in_use_cannot_be_closed() {
    let (_dir, ns) = namespace();
    let (a, p) = (Exclusive::create(&ns, "a").unwrap(), Counting::open_or_create_pool(&ns, "p", 2).unwrap());
    let (g, q) = (a.clone().acquire_owned(Wait::not()).unwrap(), p.acquire_owned(1, Wait::not()).unwrap());
    let (a, e) = a.close().unwrap_err();
    assert_eq!(e.code(), Code::SemIsSet);
    let (p, e) = p.close().unwrap_err();
    assert_eq!(e.code(), Code::SemIsSet);
    assert!(g.is_held() && q.is_held());
    drop((g, q));
    a.close().unwrap();
    p.close().unwrap();
    assert_eq!(ns.list().unwrap().len(), 2);
}

#[test]
fn an_ephemeral_name_outlives_an_eviction() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create_with(&ns, "e", Options::new().ephemeral()).unwrap();
    let g = sem.acquire().unwrap();
    ns.evict("e", g.token()).unwrap();
    let again = Exclusive::open(&ns, "e").unwrap();
    drop(again.acquire().unwrap_err());
    drop((g, again));
    drop(sem);
    drop(Exclusive::open(&ns, "e").unwrap().acquire().unwrap_err());
    ns.remove("e").unwrap();
    assert!(ns.list().unwrap().is_empty());
}

#[test]
fn no_token_comes_twice_whatever_is_evicted_when() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "hot").unwrap();
    let (tokens, done) = (std::sync::Mutex::new(std::collections::HashSet::new()), std::sync::atomic::AtomicBool::new(false));
    let inside = AtomicU32::new(0);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                let handle = Exclusive::open(&ns, "hot").unwrap();
                let mut last = 0;
                while !done.load(Ordering::SeqCst) {
                    let g = match handle.acquire() {
                        Ok(g) => g,
                        Err(xsem::AcquireError::OwnerDied(r)) => r.into_guard(),
                        Err(e) => panic!("{e}"),
                    };
                    assert!(g.token() > last);
                    last = g.token();
                    assert!(tokens.lock().unwrap().insert(last), "{last}");
                    drop(g);
                }
            });
        }
        for _ in 0..60 {
            for h in ns.inspect("hot").unwrap().holders {
                match ns.evict("hot", h.token) {
                    Ok(()) => drop(inside.fetch_add(1, Ordering::SeqCst)),
                    Err(e) => assert_eq!(e.code(), Code::NotOwner, "{e}"),
                }
            }
        }
        done.store(true, Ordering::SeqCst);
    });
    assert!(xsem::shm::testing::audit(&ns).is_empty());
    ns.remove("hot").unwrap();
    drop(sem);
}
