//! Rules 9 and 10: permits and slots.

use super::*;
use crate::claim::Cause;

/// limit, total, free.
fn capacity(w: &mut World, handle: u64) -> (u32, u32, u32) {
    let c = w.s.capacity(handle).unwrap();
    (c.limit, c.total, c.free)
}

#[test]
fn r9_a_request_is_granted_as_a_whole_within_the_limit() {
    let mut w = World::new();
    let p = w.session();
    let c = w.make(p, "c", Spec::pool(4));
    let three = w.take(who(p, 1), c, 3);
    assert_eq!(w.try_take(who(p, 2), c, 2).unwrap_err(), Code::SemTimeout);
    assert_eq!(capacity(&mut w, c), (4, 4, 1), "nothing was taken");
    for n in [0, 5] {
        assert_eq!(w.try_take(who(p, 2), c, n).unwrap_err(), Code::InvalidParameter, "{n}");
    }
    let now = w.now();
    assert_eq!(code(w.s.release_part(c, &three, 4, now)), Code::NotOwner);
    w.s.release_part(c, &three, 1, now).unwrap();
    assert_eq!(capacity(&mut w, c), (4, 4, 2));
    w.s.release_part(c, &three, 2, now).unwrap();
    assert!(!w.s.is_held(c, &three), "all of them end it");
    assert_eq!(code(w.s.release_part(c, &three, 1, now)), Code::NotOwner);
    assert_eq!(capacity(&mut w, c), (4, 4, 4));
}

#[test]
fn r9_the_permits_of_the_dead_are_free_once_and_nobody_is_told() {
    let mut w = World::new();
    let (p, q) = (w.session(), w.session());
    let (c, d) = (w.make(p, "c", Spec::pool(4)), w.make(q, "c", Spec::pool(4)));
    w.take(who(p, 1), c, 1);
    w.take(who(p, 1), c, 2);
    let abandoned = w.take(who(q, 1), d, 1);
    let now = w.now();
    w.s.session_ended(p, Cause::ProcessEnded, now);
    assert_eq!(capacity(&mut w, d), (4, 4, 3));
    w.s.release(d, &abandoned, Ending::Abandon(Cause::Abandoned), now).unwrap();
    assert!(w.try_take(who(q, 1), d, 4).unwrap().died.is_none());
    let report = w.report("c");
    assert_eq!((report.marked, report.counters.deaths), (false, 3));
    assert_eq!(report.deaths.unwrap().latest.cause, Cause::Abandoned);
}

#[test]
fn r9_credit_varies_within_its_limit() {
    let mut w = World::new();
    let p = w.session();
    let c = w.make(p, "c", Spec::credit(5, 1));
    let now = w.now();
    assert_eq!(code(w.s.add_permits(c, 5, now)), Code::TooManyPosts);
    assert_eq!(code(w.s.add_permits(c, u32::MAX, now)), Code::TooManyPosts);
    let wait = w.wait(who(p, 1), c, 3);
    w.s.add_permits(c, 1, now).unwrap();
    assert!(w.got(wait).is_none());
    w.s.add_permits(c, 2, now).unwrap();
    let claim = w.got(wait).unwrap()[0].1;
    assert_eq!(capacity(&mut w, c), (5, 4, 1));
    w.s.forget(c, &claim, now).unwrap();
    assert_eq!(capacity(&mut w, c), (5, 1, 1));
    assert_eq!(code(w.s.forget(c, &claim, now)), Code::NotOwner);
    let claim = w.take(who(p, 1), c, 1);
    assert_eq!(code(w.s.slots(c, &claim)), Code::InvalidFunction);
    w.s.claimant_ended(who(p, 1), Cause::ThreadEnded, now);
    assert_eq!(capacity(&mut w, c), (5, 1, 1), "who dies has not used it up");
}

#[test]
fn operations_of_another_kind_are_1() {
    let mut w = World::new();
    let p = w.session();
    let (a, c) = (w.make(p, "a", Spec::exclusive()), w.make(p, "c", Spec::pool(2)));
    let (x, y) = (w.take(who(p, 1), a, 1), w.take(who(p, 1), c, 1));
    let now = w.now();
    let all = [
        w.s.release_part(a, &x, 1, now),
        w.s.slots(a, &x).map(|_| ()),
        w.s.add_permits(a, 1, now),
        w.s.add_permits(c, 1, now),
        w.s.forget(a, &x, now),
        w.s.forget(c, &y, now),
        w.s.resize(a, 1, now),
        w.s.capacity(a).map(|_| ()),
        w.s.mark_consistent(c, &y),
    ];
    for (i, r) in all.into_iter().enumerate() {
        assert_eq!(code(r), Code::InvalidFunction, "number {i}");
    }
    assert!(w.s.is_held(a, &x) && w.s.is_held(c, &y));
}

#[test]
fn r9_a_lower_limit_takes_nothing_away_and_grants_nothing_above_it() {
    let mut w = World::new();
    let p = w.session();
    let c = w.make(p, "c", Spec::pool(4));
    let (x, y) = (w.take(who(p, 1), c, 2), w.take(who(p, 2), c, 2));
    let large = w.wait(who(p, 3), c, 3);
    let small = w.wait(who(p, 4), c, 1);
    let now = w.now();
    w.s.resize(c, 2, now).unwrap();
    assert_eq!(capacity(&mut w, c), (2, 4, 0));
    w.release(c, x);
    assert!(w.got(small).is_none(), "2 of 2 are out");
    assert_eq!(capacity(&mut w, c), (2, 2, 0));
    w.release(c, y);
    assert!(w.got(small).is_some(), "the one that wants 3 of 2 keeps nobody");
    assert!(w.got(large).is_none());
    w.s.resize(c, 4, now).unwrap();
    assert!(w.got(large).is_some());
    for limit in [0, 65_536] {
        assert_eq!(code(w.s.resize(c, limit, now)), Code::InvalidParameter);
    }
    let d = w.make(p, "d", Spec::credit(5, 3));
    assert_eq!(code(w.s.resize(d, 2, now)), Code::InvalidParameter);
    w.s.resize(d, 3, now).unwrap();
}

#[test]
fn r10_slots_are_ones_own_the_lowest_free_and_stay() {
    let mut w = World::new();
    let p = w.session();
    let c = w.make(p, "c", Spec::pool(6));
    let (x, y, z) = (w.take(who(p, 1), c, 2), w.take(who(p, 1), c, 3), w.take(who(p, 2), c, 1));
    let slots = |w: &mut World, claim| w.s.slots(c, &claim).unwrap();
    assert_eq!((slots(&mut w, x), slots(&mut w, y), slots(&mut w, z)), (vec![0, 1], vec![2, 3, 4], vec![5]));
    let now = w.now();
    w.s.release_part(c, &y, 2, now).unwrap();
    assert_eq!(slots(&mut w, y), [2], "the highest go back first");
    w.release(c, x);
    let v = w.take(who(p, 3), c, 3);
    assert_eq!(slots(&mut w, v), [0, 1, 3]);
    assert_eq!((slots(&mut w, y), slots(&mut w, z)), (vec![2], vec![5]));
    // Below the limit in force at the grant, where older claims do not have those.
    w.s.resize(c, 8, now).unwrap();
    let u = w.take(who(p, 4), c, 2);
    assert_eq!(slots(&mut w, u), [4, 6]);
    w.release(c, u);
    assert_eq!(code(w.s.slots(c, &u)), Code::NotOwner);
}
