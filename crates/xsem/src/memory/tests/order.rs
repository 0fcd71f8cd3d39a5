//! Rule 11, and who comes next.

use super::*;
use Wants::{All, Any};

#[test]
fn the_oldest_comes_first_and_a_large_request_is_not_overtaken() {
    let mut w = World::new();
    let p = w.session();
    let c = w.make(p, "c", Spec::pool(4));
    let held = [w.take(who(p, 1), c, 1), w.take(who(p, 1), c, 1), w.take(who(p, 1), c, 1)];
    let large = w.wait(who(p, 2), c, 3);
    let small = w.wait(who(p, 3), c, 1);
    let e = w.ask(who(p, 4), Wants::One, &[(c, 1)], Patience::Now).unwrap_err();
    assert_eq!((e.code(), e.ahead().len()), (Code::SemTimeout, 2));
    assert!(e.message().contains("kept for who has waited longest"), "{e}");
    w.release(c, held[0]);
    assert!(w.got(large).is_none() && w.got(small).is_none());
    w.release(c, held[1]);
    let got = w.got(large).expect("3 are free")[0].1;
    assert!(w.got(small).is_none());
    w.release(c, got);
    assert!(w.got(small).is_some());
}

#[test]
fn a_try_does_not_take_what_is_kept_and_leaves_nothing() {
    let mut w = World::new();
    let p = w.session();
    let (a, c) = (w.make(p, "a", Spec::exclusive()), w.make(p, "c", Spec::pool(2)));
    let held = w.take(who(p, 1), c, 1);
    // A list of one is a single request.
    let two = w.wait_for(who(p, 2), All, &[(c, 2)]);
    let e = w.ask(who(p, 3), All, &[(a, 1), (c, 1)], Patience::Now).unwrap_err();
    assert_eq!((e.code(), e.indices(), e.ahead().len()), (Code::SemTimeout, &[1][..], 1));
    assert_eq!(w.report("c").waiters.len() + w.report("a").waiters.len(), 1);
    w.release(c, held);
    assert!(w.got(two).is_some());
}

#[test]
fn r11_any_takes_one_the_lowest_index_that_can_be_had() {
    let mut w = World::new();
    let p = w.session();
    let (a, b, c) = (w.make(p, "a", Spec::exclusive()), w.make(p, "b", Spec::exclusive()), w.make(p, "c", Spec::pool(3)));
    let (x, y) = (w.take(who(p, 1), a, 1), w.take(who(p, 1), b, 1));
    let got = w.wants(who(p, 2), Any, &[(a, 1), (c, 2), (b, 1)]).unwrap().1.unwrap();
    assert_eq!(got.iter().map(|g| g.0).collect::<Vec<_>>(), [1]);
    let wait = w.wait_for(who(p, 3), Any, &[(a, 1), (c, 2), (b, 1)]);
    assert!([(x, a), (y, b)].iter().all(|(claim, h)| w.s.is_held(*h, claim)));
    w.release(b, y);
    let got = w.got(wait).expect("b is free");
    assert_eq!(got[0].0, 2);
    assert_eq!(w.report("c").waiters.len() + w.report("a").waiters.len(), 0, "it waits nowhere any more");
    // One that is one's own nests.
    assert_eq!(w.wants(who(p, 3), Any, &[(a, 1), (b, 1)]).unwrap().1.unwrap()[0].0, 1);
}

#[test]
fn r11_all_takes_all_at_one_instant_or_nothing() {
    let mut w = World::new();
    let p = w.session();
    let (a, b, c) = (w.make(p, "a", Spec::exclusive()), w.make(p, "b", Spec::exclusive()), w.make(p, "c", Spec::pool(3)));
    let held = w.take(who(p, 1), b, 1);
    let e = w.ask(who(p, 2), All, &[(a, 1), (b, 1), (c, 2)], Patience::Now).unwrap_err();
    assert_eq!((e.code(), e.indices(), e.holders().len()), (Code::SemTimeout, &[1][..], 1));
    assert_eq!(w.s.capacity(c).unwrap().free, 3);
    let mine = w.take(who(p, 2), a, 1);
    let wait = w.wait_for(who(p, 2), All, &[(a, 1), (b, 1), (c, 2)]);
    assert_eq!(w.s.capacity(c).unwrap().free, 3, "nothing that anybody could see");
    w.release(b, held);
    let got = w.got(wait).unwrap();
    assert_eq!(got.iter().map(|g| g.0).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(got[0].1, mine, "what one owns already nests");
    assert_eq!(w.report("a").holders[0].depth, 2);
}

#[test]
fn all_keeps_nothing_that_it_cannot_use() {
    let mut w = World::new();
    let p = w.session();
    let (a, b, c) = (w.make(p, "a", Spec::exclusive()), w.make(p, "b", Spec::exclusive()), w.make(p, "c", Spec::pool(3)));
    let x = w.take(who(p, 1), a, 1);
    let all = w.wait_for(who(p, 2), All, &[(a, 1), (b, 1), (c, 3)]);
    // b and c are free: a try, a wait, a list and another list of all may have them.
    let y = w.take(who(p, 3), b, 1);
    w.release(b, y);
    let any = w.wants(who(p, 3), Any, &[(a, 1), (b, 1)]).unwrap().1.expect("b");
    let y = any[0].1;
    let both = w.wait_for(who(p, 4), All, &[(b, 1), (c, 2)]);
    w.release(b, y);
    let got = w.got(both).expect("b and c, past who needs a as well");
    // Its parts one after the other: never all at one instant.
    w.release(a, x);
    assert!(w.got(all).is_none());
    let x = w.take(who(p, 1), a, 1);
    w.release(b, got[0].1);
    w.release(c, got[1].1);
    assert!(w.got(all).is_none());
    w.release(a, x);
    assert_eq!(w.got(all).expect("now").len(), 3);
}

#[test]
fn all_comes_before_the_younger_in_the_instant_in_which_all_is_there() {
    let mut w = World::new();
    let p = w.session();
    let (a, b) = (w.make(p, "a", Spec::exclusive()), w.make(p, "b", Spec::exclusive()));
    let x = w.take(who(p, 1), a, 1);
    let both = w.wait_for(who(p, 2), All, &[(a, 1), (b, 1)]);
    let for_a = w.wait(who(p, 3), a, 1);
    w.release(a, x);
    let got = w.got(both).expect("the oldest");
    assert!(w.got(for_a).is_none());
    let for_b = w.wait(who(p, 4), b, 1);
    w.release(a, got[0].1);
    w.release(b, got[1].1);
    assert!(w.got(for_a).is_some() && w.got(for_b).is_some(), "and they come after it");
}

#[test]
fn the_oldest_comes_first_wherever_it_waits() {
    let mut w = World::new();
    let p = w.session();
    let [a, b, c] = ["a", "b", "c"].map(|n| w.make(p, n, Spec::exclusive()));
    for h in [a, b, c] {
        w.take(who(p, 1), h, 1);
    }
    let any = w.wait_for(who(p, 2), Any, &[(c, 1), (b, 1)]);
    let both = w.wait_for(who(p, 3), All, &[(a, 1), (b, 1)]);
    let for_a = w.wait(who(p, 4), a, 1);
    // All three at one instant: the first takes c, so b and with it a are the second one's.
    let now = w.now();
    w.s.claimant_ended(who(p, 1), crate::claim::Cause::ThreadEnded, now);
    assert_eq!(w.got(any).expect("the oldest")[0].0, 0);
    assert!(w.got(both).is_some() && w.got(for_a).is_none());
}

#[test]
fn all_does_not_take_what_is_kept_for_a_large_request() {
    let mut w = World::new();
    let p = w.session();
    let (a, c) = (w.make(p, "a", Spec::exclusive()), w.make(p, "c", Spec::pool(2)));
    let held = w.take(who(p, 1), c, 1);
    let large = w.wait(who(p, 2), c, 2);
    let all = w.wait_for(who(p, 3), All, &[(a, 1), (c, 1)]);
    let x = w.take(who(p, 4), a, 1);
    w.release(a, x);
    w.release(c, held);
    let got = w.got(large).expect("2 are free");
    assert!(w.got(all).is_none());
    w.release(c, got[0].1);
    assert!(w.got(all).is_some());
}

#[test]
fn who_waits_for_a_higher_limit_keeps_nothing_from_others() {
    let mut w = World::new();
    let p = w.session();
    let (a, b, c) = (w.make(p, "a", Spec::exclusive()), w.make(p, "b", Spec::exclusive()), w.make(p, "c", Spec::pool(3)));
    let held = w.take(who(p, 1), b, 1);
    w.take(who(p, 1), c, 1);
    let all = w.wait_for(who(p, 2), All, &[(a, 1), (c, 3)]);
    let any = w.wait_for(who(p, 3), Any, &[(c, 3), (b, 1)]);
    let now = w.now();
    w.s.resize(c, 2, now).unwrap();
    assert!(w.got(all).is_none(), "3 of 2");
    w.take(who(p, 4), a, 1);
    w.take(who(p, 4), c, 1);
    w.release(b, held);
    assert_eq!(w.got(any).unwrap()[0].0, 1);
}

#[test]
fn marks_of_a_list_come_with_their_entries() {
    let mut w = World::new();
    let p = w.session();
    let (a, b) = (w.make(p, "a", Spec::exclusive()), w.make(p, "b", Spec::exclusive()));
    w.take(who(p, 1), b, 1);
    let now = w.now();
    w.s.claimant_ended(who(p, 1), crate::claim::Cause::ThreadEnded, now);
    let got = w.wants(who(p, 2), All, &[(a, 1), (b, 1)]).unwrap().1.unwrap();
    assert_eq!(got.iter().map(|g| g.2).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_list_is_refused_for_any_of_its_entries() {
    let mut w = World::new();
    let p = w.session();
    let (a, c) = (w.make(p, "a", Spec::exclusive()), w.make(p, "c", Spec::pool(3)));
    let now = w.now();
    w.s.drain(who(p, 1), &name("c"), Patience::Now, now).unwrap();
    for (list, expected, index) in [
        (&[(a, 1), (c, 1)][..], Code::SemIsSet, 1),
        (&[(c, 4), (a, 1)], Code::InvalidParameter, 0),
        (&[(a, 2), (c, 1)], Code::InvalidParameter, 0),
        (&[(c, 1), (a, 0)], Code::InvalidParameter, 1),
        (&[(c, 1), (999, 1)], Code::InvalidHandle, 1),
    ] {
        let e = w.ask(who(p, 2), Any, list, Patience::Now).unwrap_err();
        assert_eq!((e.code(), e.indices()), (expected, &[index][..]), "{list:?}");
    }
    assert_eq!(w.report("a").waiters.len(), 0);
}

/// The order makes no deadlocks of its own: whom the oldest depends on may pass it.
mod overtaking {
    use super::*;

    #[test]
    fn only_who_has_something_to_give_that_is_wanted() {
        let mut w = World::new();
        let p = w.session();
        let (c, z) = (w.make(p, "c", Spec::pool(2)), w.make(p, "z", Spec::exclusive()));
        let one = w.take(who(p, 1), c, 1);
        let large = w.wait(who(p, 2), c, 2);
        w.take(who(p, 3), z, 1);
        let behind = w.wait(who(p, 3), c, 1);
        let more = w.take(who(p, 1), c, 1);
        assert!(w.got(behind).is_none(), "nobody waits for z");
        w.release(c, more);
        assert!(w.got(behind).is_none());
        w.release(c, one);
        assert!(w.got(large).is_some() && w.got(behind).is_none());
    }

    #[test]
    fn not_by_way_of_who_keeps_nothing() {
        let mut w = World::new();
        let p = w.session();
        let (c, z) = (w.make(p, "c", Spec::pool(3)), w.make(p, "z", Spec::exclusive()));
        let held = w.take(who(p, 1), c, 2);
        let own_z = w.take(who(p, 2), z, 1);
        let all = w.wait_for(who(p, 3), All, &[(c, 1), (z, 1)]);
        let large = w.wait(who(p, 4), c, 3);
        // Who waits for all is older, and waits for 2; but the large request waits for 1 alone.
        let behind = w.wait(who(p, 2), c, 1);
        assert!(w.got(behind).is_none());
        w.release(c, held);
        let got = w.got(large).expect("3 are free");
        w.release(c, got[0].1);
        assert!(w.got(behind).is_some());
        w.release(z, own_z);
        assert!(w.got(all).is_some());
    }

    #[test]
    fn a_holder_that_wants_more_passes_a_large_request() {
        let mut w = World::new();
        let p = w.session();
        let c = w.make(p, "c", Spec::pool(2));
        let one = w.take(who(p, 1), c, 1);
        let all = w.wait(who(p, 2), c, 2);
        let more = w.take(who(p, 1), c, 1);
        w.release(c, one);
        w.release(c, more);
        assert!(w.got(all).is_some());
    }

    #[test]
    fn a_wait_that_begins_later_can_open_the_way_for_one_that_waits_already() {
        let mut w = World::new();
        let p = w.session();
        let (c, z) = (w.make(p, "c", Spec::pool(2)), w.make(p, "z", Spec::exclusive()));
        // 1 holds one of c, 2 owns z; 3 waits for two of c, 2 for the other one, which is kept for 3.
        let one_of_c = w.take(who(p, 1), c, 1);
        let own_z = w.take(who(p, 2), z, 1);
        let large = w.wait(who(p, 3), c, 2);
        let two = w.wait(who(p, 2), c, 1);
        assert!(w.got(two).is_none(), "1 runs, so 3 will have its turn");
        // Now 1 waits for 2, and so does 3.
        let one = w.wait(who(p, 1), z, 1);
        let got = w.got(two).expect("2 goes first");
        w.release(c, got[0].1);
        w.release(z, own_z);
        let got = w.got(one).unwrap();
        w.release(z, got[0].1);
        w.release(c, one_of_c);
        assert!(w.got(large).is_some());
    }

    #[test]
    fn through_who_is_ahead_elsewhere() {
        let mut w = World::new();
        let p = w.session();
        let [x, y] = ["x", "y"].map(|n| w.make(p, n, Spec::pool(2)));
        let one_of_x = w.take(who(p, 1), x, 1);
        let one_of_y = w.take(who(p, 2), y, 1);
        let first = w.wait(who(p, 3), x, 2);
        let second = w.wait(who(p, 4), y, 2);
        let one = w.wait(who(p, 1), y, 1); // behind the second
        // 2 wants one of x: the first waits for 1, which waits behind the second, which waits for 2.
        let claim = w.take(who(p, 2), x, 1);
        w.release(x, claim);
        w.release(y, one_of_y);
        let got = w.got(second).expect("two of y");
        w.release(y, got[0].1);
        let got = w.got(one).expect("one of y");
        w.release(y, got[0].1);
        w.release(x, one_of_x);
        assert!(w.got(first).is_some());
    }

    #[test]
    fn through_a_drain() {
        let mut w = World::new();
        let p = w.session();
        let (x, z) = (w.make(p, "x", Spec::pool(2)), w.make(p, "z", Spec::exclusive()));
        let one_of_x = w.take(who(p, 1), x, 1);
        let own_z = w.take(who(p, 2), z, 1);
        let large = w.wait(who(p, 3), x, 2);
        let now = w.now();
        let Ok(Answer::Waits(drain)) = w.s.drain(who(p, 1), &name("z"), Patience::Unlimited, now) else { panic!("it waits") };
        // 3 waits for 1, which waits for the end of z, which is 2's.
        let claim = w.take(who(p, 2), x, 1);
        w.release(x, claim);
        w.release(z, own_z);
        assert_eq!(w.got(drain), Some(vec![]));
        w.release(x, one_of_x);
        assert!(w.got(large).is_some());
    }

    #[test]
    fn through_a_drain_that_waits_for_a_waiter() {
        let mut w = World::new();
        let p = w.session();
        let (x, z) = (w.make(p, "x", Spec::pool(2)), w.make(p, "z", Spec::exclusive()));
        let one_of_x = w.take(who(p, 1), x, 1);
        let large = w.wait(who(p, 3), x, 2);
        let behind = w.wait_for(who(p, 4), All, &[(z, 1), (x, 1)]);
        assert!(w.got(behind).is_none(), "1 runs");
        // Now 3 waits for 1, which waits for the end of z, at which 4 waits, behind 3.
        let now = w.now();
        let Ok(Answer::Waits(drain)) = w.s.drain(who(p, 1), &name("z"), Patience::Unlimited, now) else { panic!("it waits") };
        let got = w.got(behind).expect("4 goes first, though it holds nothing");
        w.release(z, got[0].1);
        w.release(x, got[1].1);
        assert_eq!(w.got(drain), Some(vec![]));
        w.release(x, one_of_x);
        assert!(w.got(large).is_some());
    }
}
