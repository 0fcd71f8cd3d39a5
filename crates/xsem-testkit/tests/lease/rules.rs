//! One semaphore at a time, on a network without faults.

use super::*;
use std::time::Duration;
use xsem::{CancelToken, Cause, Counting, Event, Options, Wait};
use xsem_testkit::watchdog::Watchdog;

#[test]
fn of_several_creates_one_succeeds() {
    let _dog = Watchdog::start("concurrent creates");
    let cluster = Cluster::new(3);
    let made: usize = std::thread::scope(|s| {
        let one = || Exclusive::create(&cluster.client().namespace(), "n").map(drop).map_err(|e| e.code());
        let all: Vec<_> = (0..4).map(|_| s.spawn(one)).collect();
        let all: Vec<_> = all.into_iter().map(|t| t.join().unwrap()).collect();
        assert!(all.iter().all(|r| r.is_ok() || *r == Err(Code::AlreadyExists)), "{all:?}");
        all.iter().filter(|r| r.is_ok()).count()
    });
    assert_eq!(made, 1);
}

#[test]
fn names_kinds_and_stale_handles() {
    let (_cluster, a, b) = pair();
    let (na, nb) = (a.namespace(), b.namespace());
    assert_eq!(code(Exclusive::open(&na, "x")), Code::SemNotFound);
    let x = Exclusive::create(&na, "x").unwrap();
    assert_eq!(code(Counting::open(&nb, "x")), Code::InvalidHandle);
    let pool = Counting::open_or_create_pool(&na, "p", 3).unwrap();
    assert_eq!(code(Counting::open_or_create_pool(&nb, "p", 4)), Code::InvalidParameter);
    assert_eq!(code(Counting::open_or_create_credit(&nb, "p", 3, 3)), Code::InvalidParameter);
    assert_eq!(code(pool.try_acquire_many(4)), Code::InvalidParameter);
    let guard = x.acquire().unwrap();
    let refused = nb.remove("x").unwrap_err();
    assert_eq!((refused.code(), refused.holders()[0].process.pid), (Code::SemIsSet, a.pid()));
    let before = guard.token();
    drop(guard);
    nb.remove("x").unwrap();
    assert_eq!(code(x.try_acquire()), Code::InvalidHandle);
    let again = Exclusive::create(&nb, "x").unwrap();
    assert_eq!(code(x.try_acquire()), Code::InvalidHandle, "the new one has the name, not the old handle");
    assert!(again.try_acquire().unwrap().token() > before, "a resource that has seen the old one's tokens takes the new one's");
    assert_eq!(na.list().unwrap().iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["p", "x"]);
}

#[test]
fn an_owner_nests_and_others_are_refused_with_who_it_is() {
    let (cluster, a, b) = pair();
    let (xa, xb) = (exclusive(&a, "x"), exclusive(&b, "x"));
    let outer = xa.acquire_with(Wait::forever().label("outer")).unwrap();
    let inner = xa.try_acquire().unwrap();
    assert_eq!(inner.token(), outer.token());
    let token = outer.token();
    let report = b.namespace().inspect("x").unwrap();
    let holder = &report.holders[0];
    assert_eq!((holder.process.pid, holder.depth, holder.label.as_deref()), (a.pid(), 2, Some("outer")));
    let refused = Error::from(xb.try_acquire().unwrap_err());
    assert_eq!((refused.code(), refused.holders()[0].process.pid), (Code::ExclSemAlreadyOwned, a.pid()));
    let late = Error::from(xb.acquire_timeout(Duration::from_millis(5)).unwrap_err());
    assert_eq!((late.code(), late.holders().len()), (Code::SemTimeout, 1));
    // Two threads of one process exclude each other like strangers.
    std::thread::scope(|s| s.spawn(|| assert_eq!(code(xa.try_acquire()), Code::ExclSemAlreadyOwned)).join().unwrap());
    inner.release().unwrap();
    assert_eq!(code(xb.try_acquire()), Code::ExclSemAlreadyOwned);
    // Also while somebody waits: another level takes nothing from him.
    std::thread::scope(|s| {
        let waiter = s.spawn(|| code(xb.acquire_timeout(Duration::from_millis(100))));
        until_waiting(&a.namespace(), "x", 1);
        drop(xa.acquire().unwrap());
        drop(a.namespace().wait_any(&[(&xa).into()], Wait::forever()).unwrap());
        drop(a.namespace().acquire_all(&[(&xa).into(), (&exclusive(&a, "y")).into()], Wait::forever()).unwrap());
        assert_eq!(waiter.join().unwrap(), Code::SemTimeout);
    });
    outer.release().unwrap();
    assert!(xb.try_acquire().unwrap().token() > token);
    let c = b.namespace().inspect("x").unwrap().counters;
    assert_eq!((c.acquired, c.timed_out, c.contended, c.deaths), (2, 2, 2, 0));
    at_rest(&cluster);
}

#[test]
fn uncontended_acquire_and_release_are_one_round_trip_each() {
    let (_cluster, a, _) = pair();
    let x = exclusive(&a, "x");
    drop(x.acquire().unwrap());
    let before = a.round_trips();
    for _ in 0..10 {
        drop(x.acquire().unwrap());
    }
    assert_eq!(a.round_trips() - before, 20);
}

#[test]
fn waiters_are_served_in_their_order() {
    let _dog = Watchdog::start("waiters in order");
    let cluster = Cluster::new(4);
    let first = cluster.client();
    let x = exclusive(&first, "x");
    let guard = x.acquire().unwrap();
    let order = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|s| {
        for i in 0..5 {
            let (client, order) = (cluster.client(), &order);
            s.spawn(move || {
                let x = exclusive(&client, "x");
                let guard = x.acquire().unwrap();
                order.lock().unwrap().push((i, guard.token()));
            });
            until_waiting(&first.namespace(), "x", i + 1);
        }
        let pids: Vec<u32> = first.namespace().inspect("x").unwrap().waiters.iter().map(|w| w.process.pid).collect();
        assert!(pids.is_sorted(), "clients were made in this order: {pids:?}");
        drop(guard);
    });
    let order = order.into_inner().unwrap();
    assert!(order.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1) && order.len() == 5, "{order:?}");
    at_rest(&cluster);
}

#[test]
fn a_cancelled_wait_leaves_nothing_behind() {
    let _dog = Watchdog::start("a cancelled wait");
    let (cluster, a, b) = pair();
    let (xa, xb) = (exclusive(&a, "x"), exclusive(&b, "x"));
    let guard = xa.acquire().unwrap();
    let token = CancelToken::new();
    std::thread::scope(|s| {
        let waiter = s.spawn(|| code(xb.acquire_with(Wait::forever().cancel(&token))));
        until_waiting(&a.namespace(), "x", 1);
        token.cancel();
        assert_eq!(waiter.join().unwrap(), Code::Interrupt);
    });
    assert!(a.namespace().inspect("x").unwrap().waiters.is_empty());
    drop(guard);
    at_rest(&cluster);
}

#[test]
fn a_pool_lends_slots_and_a_large_request_is_not_overtaken() {
    let _dog = Watchdog::start("a pool");
    let (cluster, a, b) = pair();
    let pa = Counting::open_or_create_pool(&a.namespace(), "gpu", 4).unwrap();
    let pb = Counting::open(&b.namespace(), "gpu").unwrap();
    let (one, mut two) = (pa.acquire().unwrap(), pa.acquire_many(2).unwrap());
    assert_eq!((one.slots().unwrap(), two.slots().unwrap()), (vec![0], vec![1, 2]));
    two.release_some(1).unwrap();
    assert_eq!(two.slots().unwrap(), [1]);
    std::thread::scope(|s| {
        let large = s.spawn(|| pb.acquire_many(4).unwrap().slots().unwrap());
        until_waiting(&a.namespace(), "gpu", 1);
        assert_eq!(code(pa.try_acquire()), Code::SemTimeout, "two are free, and kept for the one that waits");
        let c = pa.capacity().unwrap();
        assert_eq!((c.free, c.total, c.limit), (2, 4, 4));
        drop((one, two));
        assert_eq!(large.join().unwrap(), [0, 1, 2, 3]);
    });
    at_rest(&cluster);
}

#[test]
fn a_smaller_limit_takes_nothing_away_and_a_larger_one_serves_waiters() {
    let _dog = Watchdog::start("resize");
    let (cluster, a, b) = pair();
    let pa = Counting::open_or_create_pool(&a.namespace(), "p", 3).unwrap();
    let pb = Counting::open(&b.namespace(), "p").unwrap();
    let held = pa.acquire_many(3).unwrap();
    pb.resize(1).unwrap();
    let c = pa.capacity().unwrap();
    assert_eq!((c.limit, c.total, c.free, held.slots().unwrap()), (1, 3, 0, vec![0, 1, 2]));
    assert_eq!(code(pb.resize(0)), Code::InvalidParameter);
    std::thread::scope(|s| {
        let waiter = s.spawn(|| pb.acquire().unwrap().slots().unwrap());
        until_waiting(&a.namespace(), "p", 1);
        pa.resize(4).unwrap();
        assert_eq!(waiter.join().unwrap(), [3]);
    });
    drop(held);
    at_rest(&cluster);
}

#[test]
fn credit_is_added_and_used_up() {
    let _dog = Watchdog::start("credit");
    let (cluster, a, b) = pair();
    let items = Counting::open_or_create_credit(&a.namespace(), "items", 2, 0).unwrap();
    let consumer = Counting::open(&b.namespace(), "items").unwrap();
    assert_eq!(code(consumer.try_acquire()), Code::SemTimeout);
    std::thread::scope(|s| {
        let got = s.spawn(|| consumer.acquire().unwrap().forget().unwrap());
        until_waiting(&a.namespace(), "items", 1);
        items.add_permits(1).unwrap();
        got.join().unwrap();
    });
    assert_eq!(items.capacity().unwrap().total, 0);
    items.add_permits(2).unwrap();
    assert_eq!(code(items.add_permits(1)), Code::TooManyPosts);
    assert_eq!(code(items.resize(1)), Code::InvalidParameter);
    drop(consumer.acquire().unwrap());
    assert_eq!(items.capacity().unwrap().free, 2, "what is not used up comes back");
    let pool = Counting::open_or_create_pool(&a.namespace(), "pool", 2).unwrap();
    assert_eq!(code(pool.add_permits(1)), Code::InvalidFunction);
    assert_eq!(code(pool.acquire().unwrap().forget()), Code::InvalidFunction);
    assert_eq!(code(items.acquire().unwrap().slots()), Code::InvalidFunction);
    at_rest(&cluster);
}

#[test]
fn abandoned_and_left_by_a_thread_the_next_is_told_until_it_is_whole() {
    let _dog = Watchdog::start("abandon");
    let (cluster, a, b) = pair();
    let (xa, xb) = (exclusive(&a, "x"), exclusive(&b, "x"));
    xa.acquire().unwrap().abandon().unwrap();
    let (guard, deaths) = told(xb.try_acquire());
    assert_eq!((deaths.count, deaths.latest.cause, deaths.latest.process.pid), (1, Cause::Abandoned, a.pid()));
    drop(guard);
    // Not acknowledged: told again, and one more.
    std::thread::scope(|s| {
        s.spawn(|| std::mem::forget(told(xa.acquire()).0)).join().unwrap();
    });
    let (guard, deaths) = told(xb.acquire());
    assert_eq!((deaths.count, deaths.first.cause, deaths.latest.cause), (2, Cause::Abandoned, Cause::ThreadEnded));
    guard.mark_consistent().unwrap();
    drop(guard);
    assert!(xa.acquire().is_ok());
    at_rest(&cluster);
}

#[test]
fn a_joined_claim_ends_with_the_last_that_shares_it() {
    let (cluster, a, b) = pair();
    let (c, xa, xb) = (cluster.client(), exclusive(&a, "x"), exclusive(&b, "x"));
    let xc = exclusive(&c, "x");
    let guard = xa.acquire().unwrap();
    assert!(xa.join(guard.token()).unwrap().is_none(), "its own claim");
    assert!(xb.join(guard.token() + 1).unwrap().is_none(), "no such claim");
    let shared = xb.join(guard.token()).unwrap().unwrap();
    assert!(shared.is_held());
    let holders = c.namespace().inspect("x").unwrap().holders;
    assert_eq!((holders.len(), holders[0].shared_with[0].pid), (1, b.pid()));
    guard.release().unwrap();
    assert_eq!(code(xc.try_acquire()), Code::ExclSemAlreadyOwned);
    shared.release().unwrap();
    assert!(xc.try_acquire().is_ok());
    at_rest(&cluster);
}

#[test]
fn an_evicted_owner_finds_its_claim_lost_and_the_next_is_told() {
    let _dog = Watchdog::start("evict");
    let (cluster, a, b) = pair();
    let (xa, xb) = (exclusive(&a, "x"), exclusive(&b, "x"));
    let guard = xa.acquire().unwrap();
    assert_eq!(code(b.namespace().evict("x", guard.token() + 7)), Code::NotOwner);
    b.namespace().evict("x", guard.token()).unwrap();
    assert!(!guard.is_held());
    assert_eq!(code(guard.mark_consistent()), Code::NotOwner);
    assert_eq!(code(guard.release()), Code::NotOwner);
    let (guard, deaths) = told(xb.acquire());
    assert_eq!((deaths.latest.cause, deaths.latest.process.pid), (Cause::Evicted, a.pid()));
    drop(guard);
    let pool = Counting::open_or_create_pool(&a.namespace(), "p", 2).unwrap();
    let two = pool.acquire_many(2).unwrap();
    b.namespace().evict("p", two.token()).unwrap();
    assert_eq!((pool.capacity().unwrap().free, two.is_held(), code(two.release())), (2, false, Code::NotOwner));
    at_rest(&cluster);
}

#[test]
fn a_drain_lets_the_dependent_ones_end_and_nobody_new_in() {
    let _dog = Watchdog::start("drain");
    let (cluster, a, b) = pair();
    let (na, nb) = (a.namespace(), b.namespace());
    let (xa, xb) = (exclusive(&a, "x"), exclusive(&b, "x"));
    let guard = xa.acquire().unwrap();
    let late = nb.drain("x", Wait::timeout(Duration::from_millis(5))).unwrap_err();
    assert_eq!((late.code(), late.holders()[0].process.pid), (Code::SemTimeout, a.pid()));
    assert!(!na.inspect("x").unwrap().drained, "it is open again");
    std::thread::scope(|s| {
        let waiter = s.spawn(|| drop(xb.acquire().unwrap()));
        until_waiting(&na, "x", 1);
        let drain = s.spawn(|| nb.drain("x", Wait::forever()));
        while !na.inspect("x").unwrap().drained {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(code(na.drain("x", Wait::not())), Code::SemIsSet, "one at a time");
        s.spawn(|| assert_eq!(code(xa.try_acquire()), Code::SemIsSet)).join().unwrap();
        drop(guard);
        waiter.join().unwrap();
        drain.join().unwrap().unwrap();
    });
    assert_eq!(code(xa.try_acquire()), Code::SemIsSet, "it stays closed");
    na.reopen("x").unwrap();
    let guard = xa.try_acquire().unwrap();
    std::thread::scope(|s| {
        let drain = s.spawn(|| nb.drain("x", Wait::forever()).unwrap_err().code());
        while !na.inspect("x").unwrap().drained {
            std::thread::sleep(Duration::from_millis(1));
        }
        na.reopen("x").unwrap();
        assert_eq!(drain.join().unwrap(), Code::Interrupt);
    });
    drop(guard);
    at_rest(&cluster);
}

#[test]
fn an_ephemeral_name_goes_with_its_last_user() {
    let _dog = Watchdog::start("ephemeral");
    let (cluster, a, b) = pair();
    let (na, nb) = (a.namespace(), b.namespace());
    let xa = Exclusive::create_with(&na, "e", Options::new().ephemeral()).unwrap();
    let xb = Exclusive::open(&nb, "e").unwrap();
    let guard = xb.acquire().unwrap();
    xa.close().unwrap();
    assert!(nb.inspect("e").unwrap().ephemeral);
    drop(guard);
    drop(xb);
    assert!(b.flush(AGES));
    assert_eq!(code(nb.inspect("e")), Code::SemNotFound);
    // However the last one ends.
    let _x = Exclusive::create_with(&na, "e", Options::new().ephemeral()).unwrap();
    a.kill();
    while nb.inspect("e").is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(nb.gc(AGES, |_| true).unwrap(), ["e"], "what only readers know to be gone is written down");
    drop(Exclusive::create_with(&nb, "e", Options::new().ephemeral()).unwrap());
    at_rest(&cluster);
}

#[test]
fn a_handle_in_use_is_not_closed() {
    let (cluster, a, _) = pair();
    let x = exclusive(&a, "x");
    let guard = x.acquire_owned(Wait::forever()).unwrap();
    let (x, e) = x.close().unwrap_err();
    assert_eq!(e.code(), Code::SemIsSet);
    drop(guard);
    x.close().unwrap();
    at_rest(&cluster);
}

#[test]
fn a_drain_of_an_ephemeral_name_that_goes_meanwhile_is_187() {
    let _dog = Watchdog::start("a drain of an ephemeral name");
    let (_cluster, a, b) = pair();
    let (na, nb) = (a.namespace(), b.namespace());
    let e = Exclusive::create_with(&na, "e", Options::new().ephemeral()).unwrap();
    let guard = e.acquire().unwrap();
    std::thread::scope(|s| {
        let drain = s.spawn(|| nb.drain("e", Wait::forever()).map_err(|e| e.code()));
        while !na.inspect("e").unwrap().drained {
            std::thread::sleep(Duration::from_millis(1));
        }
        a.kill_told();
        assert_eq!(drain.join().unwrap(), Err(Code::SemNotFound));
    });
    assert_eq!(code(nb.drain("e", Wait::forever())), Code::SemNotFound);
    std::mem::forget(guard);
}

#[test]
fn a_signal_that_a_dead_client_was_given_is_there_for_the_next() {
    let _dog = Watchdog::start("a signal for a dead client");
    let (cluster, a, b) = pair();
    let (na, nb) = (a.namespace(), b.namespace());
    let (ea, eb) = (Event::open_or_create_auto(&na, "e").unwrap(), Event::open_or_create_auto(&nb, "e").unwrap());
    std::thread::scope(|s| {
        let wait = s.spawn(|| ea.wait());
        while nb.inspect("e").unwrap().waiters.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        // It is dead, and the store does not know yet: the signal is meant for it.
        a.kill();
        assert!(eb.signal().unwrap());
        assert!(wait.join().unwrap().is_err());
        eb.wait().unwrap();
    });
    assert_eq!(code(eb.try_wait()), Code::SemTimeout, "there was one signal");
    assert!(cluster.audit().is_empty(), "{:?}", cluster.audit());
}
