//! One fault at a time: a client that dies, a lease that is lost, a network that is cut, an answer that does not come.

use super::*;
use xsem::{Cause, Counting, Options, Pick, Wait};
use xsem_testkit::lease::Faults;
use xsem_testkit::watchdog::Watchdog;

#[test]
fn the_heir_of_a_killed_owner_is_told_and_nothing_leaks() {
    let _dog = Watchdog::start("a killed owner");
    let (cluster, a, b) = pair();
    let (xa, xb) = (exclusive(&a, "x"), exclusive(&b, "x"));
    let guard = xa.acquire_with(Wait::forever().label("nightly")).unwrap();
    std::thread::scope(|s| {
        let heir = s.spawn(|| {
            let (guard, deaths) = told(xb.acquire());
            guard.mark_consistent().unwrap();
            (guard.token(), deaths)
        });
        until_waiting(&b.namespace(), "x", 1);
        a.kill();
        let (token, deaths) = heir.join().unwrap();
        assert_eq!((deaths.count, deaths.latest.token), (1, guard.token()));
        assert!(token > guard.token());
        let dead = (deaths.latest.process.pid, deaths.latest.cause, deaths.latest.label.as_deref());
        assert_eq!(dead, (a.pid(), Cause::ProcessEnded, Some("nightly")));
    });
    assert!(!guard.is_held());
    assert!(xb.acquire().is_ok(), "told once");
    at_rest(&cluster);
}

#[test]
fn permits_of_a_killed_holder_come_back_once_and_nobody_is_told() {
    let _dog = Watchdog::start("a killed holder");
    let (cluster, a, b) = pair();
    let pa = Counting::open_or_create_pool(&a.namespace(), "p", 3).unwrap();
    let pb = Counting::open(&b.namespace(), "p").unwrap();
    let lost = pa.acquire_many(2).unwrap();
    a.kill_told();
    assert_eq!(pb.acquire_many(3).unwrap().slots().unwrap(), [0, 1, 2]);
    let r = b.namespace().inspect("p").unwrap();
    assert_eq!((r.counters.deaths, r.marked, r.capacity.unwrap().free), (1, false, 3));
    drop(lost);
    at_rest(&cluster);
}

#[test]
fn a_dead_waiter_keeps_nobody_waiting() {
    let _dog = Watchdog::start("a dead waiter");
    let (cluster, a, b) = pair();
    let c = cluster.client();
    let (xa, xb, xc) = (exclusive(&a, "x"), exclusive(&b, "x"), exclusive(&c, "x"));
    let guard = xa.acquire().unwrap();
    std::thread::scope(|s| {
        let dead = s.spawn(|| xb.acquire().is_err());
        until_waiting(&a.namespace(), "x", 1);
        let next = s.spawn(|| drop(told_or_not(xc.acquire())));
        until_waiting(&a.namespace(), "x", 2);
        b.kill();
        assert!(dead.join().unwrap());
        drop(guard);
        next.join().unwrap();
    });
    at_rest(&cluster);
}

#[test]
fn nothing_is_granted_to_a_session_that_is_over() {
    let _dog = Watchdog::start("a waiter whose session is over");
    let (cluster, a, b) = pair();
    let (xa, xb) = (exclusive(&a, "x"), exclusive(&b, "x"));
    let guard = xa.acquire().unwrap();
    std::thread::scope(|s| {
        let dead = s.spawn(|| xb.acquire().is_err());
        until_waiting(&a.namespace(), "x", 1);
        // The owner has seen the waiter, and does not look again before it releases.
        guard.mark_consistent().unwrap();
        b.kill_told();
        assert!(dead.join().unwrap());
        drop(guard);
    });
    drop(cluster.client().namespace().inspect("x").unwrap());
    let c = cluster.client();
    assert!(exclusive(&c, "x").try_acquire().is_ok(), "the dead one never owned it");
    at_rest(&cluster);
}

/// A waiter that is dead, but whose lease lasts, may be granted the semaphore; then its heir is told.
fn told_or_not<'a>(result: Result<Guard<'a>, AcquireError<'a>>) -> Guard<'a> {
    match result {
        Ok(guard) => guard,
        Err(AcquireError::OwnerDied(r)) => r.mark_consistent().unwrap(),
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn a_cut_shorter_than_the_lease_costs_nothing() {
    let _dog = Watchdog::start("a short cut");
    let cluster = Cluster::with(5, Faults::NONE, Duration::from_millis(800));
    let (a, b) = (cluster.client(), cluster.client());
    let (xa, xb) = (exclusive(&a, "x"), exclusive(&b, "x"));
    let guard = xa.acquire().unwrap();
    a.partition(Duration::from_millis(150));
    assert!(guard.is_held(), "the lease lasts, as far as it knows, and it does");
    assert_eq!(code(xb.try_acquire()), Code::ExclSemAlreadyOwned);
    // Given back where nothing passes: it goes out later.
    guard.release().unwrap();
    assert!(xb.acquire().is_ok(), "no death");
    assert!(a.flush(AGES));
    at_rest(&cluster);
}

#[test]
fn a_cut_longer_than_the_lease_ends_the_claim_and_both_are_told() {
    let _dog = Watchdog::start("a long cut");
    let (cluster, a, b) = pair();
    let (xa, xb) = (exclusive(&a, "x"), exclusive(&b, "x"));
    let guard = xa.acquire().unwrap();
    a.partition(3 * cluster.ttl());
    let (heir, deaths) = told(xb.acquire());
    assert_eq!((deaths.latest.process.pid, deaths.latest.token), (a.pid(), guard.token()));
    assert!(heir.token() > guard.token());
    assert!(!guard.is_held(), "it knows by its own clock, before it can ask");
    assert_eq!(code(guard.release()), Code::NotOwner);
    heir.mark_consistent().unwrap();
    drop(heir);
    // With the network back it goes on in a new session.
    drop(told_or_not(xa.acquire()));
    at_rest(&cluster);
}

#[test]
fn a_release_that_the_lease_does_not_outlive_counts_as_a_death() {
    let _dog = Watchdog::start("a release in a long cut");
    let (cluster, a, b) = pair();
    let (xa, xb) = (exclusive(&a, "x"), exclusive(&b, "x"));
    let guard = xa.acquire().unwrap();
    a.partition(4 * cluster.ttl());
    guard.release().unwrap();
    let (guard, deaths) = told(xb.acquire());
    assert_eq!(deaths.latest.process.pid, a.pid());
    drop(guard);
    assert!(a.flush(AGES));
    at_rest(&cluster);
}

#[test]
fn a_revoked_lease_is_noticed_and_the_client_goes_on() {
    let _dog = Watchdog::start("a revoked lease");
    let (cluster, a, b) = pair();
    let (xa, xb) = (exclusive(&a, "x"), exclusive(&b, "x"));
    let guard = xa.acquire().unwrap();
    a.lose_lease();
    assert!(!guard.is_held());
    drop(told(xb.acquire()));
    assert_eq!(code(guard.release()), Code::NotOwner);
    drop(told(xa.acquire()));
    at_rest(&cluster);
}

#[test]
fn a_waiter_that_loses_its_lease_waits_on() {
    let _dog = Watchdog::start("a waiter without a lease");
    let (cluster, a, b) = pair();
    let (xa, xb) = (exclusive(&a, "x"), exclusive(&b, "x"));
    let guard = xa.acquire().unwrap();
    std::thread::scope(|s| {
        let waiter = s.spawn(|| xb.acquire().unwrap().token());
        for _ in 0..3 {
            until_waiting(&a.namespace(), "x", 1);
            b.lose_lease();
        }
        until_waiting(&a.namespace(), "x", 1);
        let before = guard.token();
        drop(guard);
        assert!(waiter.join().unwrap() > before);
    });
    at_rest(&cluster);
}

/// For each number of answers that are lost in a row: an acquire takes once, a release gives back once.
#[test]
fn a_lost_answer_neither_doubles_nor_leaks() {
    let _dog = Watchdog::start("lost answers");
    let cluster = Cluster::with(6, Faults::NONE, Duration::from_secs(3));
    let (a, b) = (cluster.client(), cluster.client());
    let ns = b.namespace();
    let (x, other) = (exclusive(&a, "x"), exclusive(&b, "x"));
    let pool = Counting::open_or_create_pool(&a.namespace(), "p", 4).unwrap();
    drop((x.acquire().unwrap(), pool.acquire().unwrap()));
    for lost in 1..=4 {
        let before = ns.inspect("x").unwrap().counters.acquired;
        a.lose_answers(lost);
        let guard = x.acquire().unwrap();
        let r = ns.inspect("x").unwrap();
        assert_eq!((r.counters.acquired, r.holders.len(), r.holders[0].depth), (before + 1, 1, 1));
        assert_eq!(guard.token(), r.holders[0].token);
        a.lose_answers(lost);
        let inner = x.acquire().unwrap();
        assert_eq!(ns.inspect("x").unwrap().holders[0].depth, 2);
        // A level that is given back twice would let others in too early.
        a.lose_answers(lost);
        inner.release().unwrap();
        assert!(a.flush(AGES));
        assert_eq!(code(other.try_acquire()), Code::ExclSemAlreadyOwned);
        a.lose_answers(lost);
        guard.release().unwrap();
        assert!(a.flush(AGES));
        drop(other.try_acquire().expect("given back, without a mark"));
        a.lose_answers(lost);
        let mut permits = pool.acquire_many(3).unwrap();
        a.lose_answers(lost);
        permits.release_some(1).unwrap();
        assert_eq!(ns.inspect("p").unwrap().capacity.unwrap().free, 2);
        drop(permits);
        at_rest(&cluster);
    }
}

#[test]
fn names_and_permits_are_made_once_although_answers_are_lost() {
    let _dog = Watchdog::start("lost answers of what has no claim");
    let cluster = Cluster::with(7, Faults::NONE, Duration::from_secs(3));
    let (a, b) = (cluster.client(), cluster.client());
    let na = a.namespace();
    drop(exclusive(&a, "there is a session now"));
    for (i, fault) in [Client::lose_answers as fn(&Client, u32), Client::delay_requests].into_iter().enumerate() {
        let name = format!("n{i}");
        fault(&a, 2);
        let items = Counting::create_credit(&na, &name, 100, 0, Options::new()).expect("its own work is no stranger's");
        for n in 1..=3 {
            fault(&a, n);
            items.add_permits(10).unwrap();
            assert_eq!(items.capacity().unwrap().total, 10 * n);
        }
        fault(&a, 1);
        items.acquire_many(5).unwrap().forget().unwrap();
        // Longer than any request is late here.
        cluster.sleep(Duration::from_millis(100));
        assert_eq!(b.namespace().inspect(&name).unwrap().capacity.unwrap().total, 25);
        fault(&a, 1);
        na.remove(&name).unwrap();
        assert_eq!(code(b.namespace().inspect(&name)), Code::SemNotFound);
    }
    at_rest(&cluster);
}

#[test]
fn a_request_that_arrives_after_it_was_given_up_takes_nothing() {
    let _dog = Watchdog::start("late requests");
    let (cluster, a, b) = pair();
    let (xa, xb) = (exclusive(&a, "x"), exclusive(&b, "x"));
    drop(xa.acquire().unwrap());
    for i in 0..5 {
        // Given up while nobody knows whether it will still arrive.
        a.delay_requests(3);
        let given_up = xa.acquire_timeout(Duration::from_millis(i)).map(Guard::release);
        assert!(given_up.is_ok() || code(given_up) == Code::SemTimeout);
        assert!(a.flush(AGES));
        cluster.sleep(Duration::from_millis(100));
        drop(xb.try_acquire().expect("nothing is left behind, and nobody died"));
    }
    at_rest(&cluster);
}

#[test]
fn a_wait_that_is_over_in_a_cut_leaves_nothing_behind() {
    let _dog = Watchdog::start("a wait that ends in a cut");
    let cluster = Cluster::with(8, Faults::NONE, Duration::from_secs(2));
    let (a, b) = (cluster.client(), cluster.client());
    let (sa, sb) = (["x", "y"].map(|n| exclusive(&a, n)), ["x", "y"].map(|n| exclusive(&b, n)));
    let guards = sa.each_ref().map(|s| s.acquire().unwrap());
    std::thread::scope(|s| {
        let wait = s.spawn(|| {
            let list = [Pick::from(&sb[0]), Pick::from(&sb[1])];
            code(b.namespace().acquire_all(&list, Wait::timeout(Duration::from_millis(150))))
        });
        until_waiting(&a.namespace(), "y", 1);
        b.partition(Duration::from_millis(600));
        // It may be granted both while it cannot hear of it; its time is over all the same.
        drop(guards);
        assert_eq!(wait.join().unwrap(), Code::SemTimeout);
    });
    assert!(b.flush(AGES));
    assert!(sa.iter().all(|s| s.try_acquire().is_ok()), "free, and without a mark");
    at_rest(&cluster);
}

#[test]
fn a_drain_whose_client_dies_is_over() {
    let _dog = Watchdog::start("a dead drainer");
    let (cluster, a, b) = pair();
    let xa = exclusive(&a, "x");
    let guard = xa.acquire().unwrap();
    std::thread::scope(|s| {
        let drain = s.spawn(|| b.namespace().drain("x", Wait::forever()).is_err());
        while !a.namespace().inspect("x").unwrap().drained {
            std::thread::sleep(Duration::from_millis(1));
        }
        b.kill();
        assert!(drain.join().unwrap());
        while a.namespace().inspect("x").unwrap().drained {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    drop(guard);
    drop(xa.try_acquire().unwrap());
    at_rest(&cluster);
}

#[test]
fn a_waiter_that_is_behind_the_history_reads_again() {
    let _dog = Watchdog::start("a compacted history");
    let cluster = Cluster::with(9, Faults::NONE, Duration::from_secs(100));
    let (a, b) = (cluster.client(), cluster.client());
    let (xa, xb, busy) = (exclusive(&a, "x"), exclusive(&b, "x"), exclusive(&a, "busy"));
    let guard = xa.acquire().unwrap();
    std::thread::scope(|s| {
        let waiter = s.spawn(|| told_or_not(xb.acquire()).token());
        until_waiting(&a.namespace(), "x", 1);
        b.partition(AGES);
        let before = guard.token();
        drop(guard);
        // More changes than the store keeps.
        for _ in 0..1500 {
            drop(busy.acquire().unwrap());
        }
        b.partition(Duration::ZERO);
        assert!(waiter.join().unwrap() > before);
    });
    at_rest(&cluster);
}
