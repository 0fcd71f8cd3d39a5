//! Several semaphores in one request, and waits that close a cycle.

use super::*;
use xsem::{AnyError, Counting, Pick, Wait};
use xsem_testkit::watchdog::Watchdog;

fn three(client: &Client) -> [Exclusive; 3] {
    ["a", "b", "c"].map(|n| exclusive(client, n))
}

#[test]
fn wait_any_takes_one_and_the_lowest() {
    let _dog = Watchdog::start("wait_any");
    let (cluster, a, b) = pair();
    let (sa, sb, na) = (three(&a), three(&b), a.namespace());
    let list: Vec<Pick<'_>> = sa.iter().map(Pick::from).collect();
    let taken = na.wait_any(&list, Wait::not()).unwrap();
    assert_eq!(taken.index, 0);
    drop(taken);
    let held: Vec<_> = sb.iter().map(|s| s.acquire().unwrap()).collect();
    assert_eq!(code(na.wait_any(&list, Wait::not())), Code::SemTimeout);
    assert_eq!(code(na.wait_any(&[], Wait::not())), Code::InvalidEventCount);
    let mut held: Vec<_> = held.into_iter().map(Some).collect();
    for (i, name) in ["a", "b", "c"].into_iter().enumerate() {
        std::thread::scope(|s| {
            let waiter = s.spawn(|| na.wait_any(&sa.iter().map(Pick::from).collect::<Vec<_>>(), Wait::forever()).unwrap().index);
            until_waiting(&na, name, 1);
            held[i] = None;
            assert_eq!(waiter.join().unwrap(), i);
        });
        let waiters = ["a", "b", "c"].map(|n| na.inspect(n).unwrap().waiters.len());
        assert_eq!(waiters, [0, 0, 0], "it waits for none of the others any more");
        held[i] = Some(sb[i].acquire().unwrap());
    }
    drop(held);
    sb[1].acquire().unwrap().abandon().unwrap();
    match na.wait_any(&list[1..], Wait::not()) {
        Err(AnyError::OwnerDied { index: 0, .. }) => {}
        other => panic!("{other:?}"),
    }
    at_rest(&cluster);
}

#[test]
fn wait_any_knows_that_an_owner_has_died() {
    let _dog = Watchdog::start("wait_any after a death");
    let (cluster, a, b) = pair();
    let (sa, sb, na) = (three(&a), three(&b), a.namespace());
    sa.iter().for_each(|s| drop(s.acquire().unwrap()));
    std::mem::forget(sb[0].acquire().unwrap());
    // This client has seen who owns the first one.
    assert_eq!(code(sa[0].try_acquire()), Code::ExclSemAlreadyOwned);
    b.kill_told();
    match na.wait_any(&sa.iter().map(Pick::from).collect::<Vec<_>>(), Wait::not()) {
        Err(AnyError::OwnerDied { index: 0, .. }) => {}
        other => panic!("{other:?}"),
    }
    at_rest(&cluster);
}

#[test]
fn acquire_all_takes_all_at_one_instant_or_nothing() {
    let _dog = Watchdog::start("acquire_all");
    let (cluster, a, b) = pair();
    let (sa, sb, na) = (three(&a), three(&b), a.namespace());
    let pool = Counting::open_or_create_pool(&na, "p", 2).unwrap();
    let list = [Pick::from(&sa[0]), Pick::from(&sa[1]), Pick::permits(&pool, 2)];
    let held = sb[1].acquire().unwrap();
    let refused = na.acquire_all(&list, Wait::not());
    assert_eq!(code(refused), Code::SemTimeout);
    assert_eq!(code(na.acquire_all(&[list[0], list[0]], Wait::not())), Code::InvalidListFormat);
    assert_eq!(code(na.acquire_all(&[list[0], Pick::from(&sb[1])], Wait::not())), Code::InvalidListFormat, "another process's");
    std::thread::scope(|s| {
        let (sa, pool) = (&sa, &pool);
        let waiter = s.spawn(|| {
            let list = [Pick::from(&sa[0]), Pick::from(&sa[1]), Pick::permits(pool, 2)];
            na.acquire_all(&list, Wait::forever()).unwrap().as_slice().len()
        });
        until_waiting(&na, "p", 1);
        // Until then it holds none of them, and keeps nobody else from any.
        drop(sb[0].try_acquire().unwrap());
        drop(held);
        assert_eq!(waiter.join().unwrap(), 3);
    });
    at_rest(&cluster);
}

#[test]
fn acquire_all_in_two_orders_does_not_deadlock() {
    let _dog = Watchdog::start("acquire_all in two orders");
    let (cluster, a, b) = pair();
    std::thread::scope(|s| {
        for (client, turn) in [(&a, false), (&b, true)] {
            s.spawn(move || {
                let (ns, sems) = (client.namespace(), three(client));
                for _ in 0..30 {
                    let mut list: Vec<Pick<'_>> = sems.iter().map(Pick::from).collect();
                    if turn {
                        list.reverse();
                    }
                    drop(ns.acquire_all(&list, Wait::forever()).unwrap());
                }
            });
        }
    });
    let ns = a.namespace();
    assert!(["a", "b", "c"].iter().all(|n| ns.inspect(n).unwrap().counters.acquired == 60));
    at_rest(&cluster);
}

#[test]
fn the_youngest_wait_of_a_cycle_is_refused() {
    let _dog = Watchdog::start("a cycle");
    let (cluster, a, b) = pair();
    let (sa, sb) = (three(&a), three(&b));
    let ga = sa[0].acquire().unwrap();
    std::thread::scope(|s| {
        let other = s.spawn(|| {
            let _gb = sb[1].acquire().unwrap();
            // Until our wait is refused and `a` released, this one waits.
            drop(sb[0].acquire().unwrap());
        });
        until_waiting(&a.namespace(), "a", 1);
        // With an end it is no deadlock.
        assert_eq!(code(sa[1].acquire_timeout(Duration::from_millis(20))), Code::SemTimeout);
        let e = Error::from(sa[1].acquire().unwrap_err());
        assert_eq!((e.code(), e.cycle().len()), (Code::PossibleDeadlock, 2), "{e}");
        assert_eq!((e.cycle()[0].name.as_str(), e.cycle()[1].name.as_str()), ("b", "a"));
        drop(ga);
        other.join().unwrap();
    });
    at_rest(&cluster);
}

#[test]
fn a_wait_with_an_end_is_part_of_no_cycle() {
    let _dog = Watchdog::start("a cycle that ends by itself");
    let (cluster, a, b) = pair();
    let (sa, sb) = (three(&a), three(&b));
    let ga = sa[0].acquire().unwrap();
    std::thread::scope(|s| {
        let other = s.spawn(|| {
            let _gb = sb[1].acquire().unwrap();
            assert_eq!(code(sb[0].acquire_timeout(Duration::from_millis(200))), Code::SemTimeout);
        });
        until_waiting(&a.namespace(), "a", 1);
        drop(sa[1].acquire().expect("the other gives up first"));
        other.join().unwrap();
    });
    drop(ga);
    at_rest(&cluster);
}

#[test]
fn two_permits_that_cannot_come_back_are_a_deadlock_and_one_that_can_is_none() {
    let _dog = Watchdog::start("a cycle through a pool");
    let (cluster, a, b) = pair();
    let c = cluster.client();
    let [pa, pb, pc] = [&a, &b, &c].map(|x| Counting::open_or_create_pool(&x.namespace(), "p", 2).unwrap());
    let (xa, xb) = (exclusive(&a, "x"), exclusive(&b, "x"));
    let ga = xa.acquire().unwrap();
    let permit = pc.acquire().unwrap();
    std::thread::scope(|s| {
        let other = s.spawn(|| {
            let _one = pb.acquire().unwrap();
            drop(xb.acquire().unwrap());
        });
        until_waiting(&a.namespace(), "x", 1);
        let waiter = s.spawn(|| drop(pa.acquire().unwrap()));
        until_waiting(&a.namespace(), "p", 1);
        // Now the thread that owns x wants both permits; one of them is b's, who waits for x.
        assert_eq!(code(pa.acquire_many(2)), Code::PossibleDeadlock);
        drop(permit);
        waiter.join().unwrap();
        drop(ga);
        other.join().unwrap();
    });
    at_rest(&cluster);
}

#[test]
fn a_drain_that_waits_for_its_own_claim_is_refused() {
    let _dog = Watchdog::start("a drain of one's own");
    let (cluster, a, b) = pair();
    let (xa, xb) = (exclusive(&a, "x"), exclusive(&b, "y"));
    let ya = exclusive(&a, "y");
    let guard = xa.acquire().unwrap();
    assert_eq!(code(a.namespace().drain("x", Wait::forever())), Code::PossibleDeadlock);
    assert!(!b.namespace().inspect("x").unwrap().drained, "it is open again");
    std::thread::scope(|s| {
        let other = s.spawn(|| {
            let _y = xb.acquire().unwrap();
            b.namespace().drain("x", Wait::forever()).unwrap();
        });
        while !a.namespace().inspect("x").unwrap().drained {
            std::thread::sleep(Duration::from_millis(1));
        }
        // The other one owns y, and waits until we have given x up.
        assert_eq!(code(ya.acquire()), Code::PossibleDeadlock);
        drop(guard);
        other.join().unwrap();
    });
    at_rest(&cluster);
}

#[test]
fn who_stands_behind_one_that_waits_for_him_passes() {
    let _dog = Watchdog::start("a cycle through a queue");
    let (cluster, a, b) = pair();
    let c = cluster.client();
    let [pa, pb, pc] = [&a, &b, &c].map(|x| Counting::open_or_create_pool(&x.namespace(), "p", 2).unwrap());
    let (xa, xc) = (exclusive(&a, "x"), exclusive(&c, "x"));
    let one = pa.acquire().unwrap();
    std::thread::scope(|s| {
        let owner = s.spawn(|| {
            let _x = xc.acquire().unwrap();
            until_waiting(&c.namespace(), "p", 1);
            until_waiting(&c.namespace(), "x", 1);
            // One permit is free, and kept for the one before, who waits for a's, who waits for us.
            drop(pc.acquire().unwrap());
        });
        while a.namespace().inspect("x").unwrap().holders.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let large = s.spawn(|| drop(pb.acquire_many(2).unwrap()));
        until_waiting(&a.namespace(), "p", 1);
        drop(xa.acquire().unwrap());
        owner.join().unwrap();
        drop(one);
        large.join().unwrap();
    });
    at_rest(&cluster);
}
