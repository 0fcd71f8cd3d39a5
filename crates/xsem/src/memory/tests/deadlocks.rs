//! Rule 14.

use super::*;
use crate::claim::{Cause, cycle_text};

#[test]
fn r14_the_wait_that_closes_a_cycle_fails_and_says_which() {
    let mut w = World::new();
    let (p, q) = (w.session(), w.session());
    let (a, b) = (w.make(p, "a", Spec::exclusive()), w.make(p, "b", Spec::exclusive()));
    let (a2, b2) = (w.make(q, "a", Spec::exclusive()), w.make(q, "b", Spec::exclusive()));
    w.take(who(p, 1), a, 1);
    let own_b = w.take(who(q, 1), b2, 1);
    let wait = w.wait(who(p, 1), b, 1);
    let e = w.wants(who(q, 1), Wants::One, &[(a2, 1)]).unwrap_err();
    assert_eq!((e.code(), e.name()), (Code::PossibleDeadlock, Some("a")));
    assert_eq!(cycle_text(e.cycle(), true), "you wait for `a`, held by 100 `p100`, which waits for `b`, held by you");
    assert!(w.report("a").waiters.is_empty(), "it has left");
    w.release(b2, own_b);
    assert!(w.got(wait).is_some());
}

#[test]
fn r14_what_can_still_end_is_no_deadlock() {
    let mut w = World::new();
    let p = w.session();
    let (a, b) = (w.make(p, "a", Spec::exclusive()), w.make(p, "b", Spec::exclusive()));
    let (c, d) = (w.make(p, "c", Spec::pool(2)), w.make(p, "d", Spec::credit(3, 1)));
    w.take(who(p, 1), a, 1);
    w.take(who(p, 2), b, 1);
    // A wait with a deadline.
    assert!(matches!(w.ask(who(p, 1), Wants::One, &[(b, 1)], Patience::Limited), Ok(Answer::Waits(_))));
    w.wait(who(p, 2), a, 1);
    // A pool of which somebody who runs holds a part, and the process as a whole the rest.
    w.take(who(p, 3), c, 1);
    w.take(who(p, 0), c, 1);
    w.take(who(p, 4), d, 1);
    w.wait(who(p, 4), c, 2);
    // Credit, which anybody may add.
    w.wait(who(p, 3), d, 2);
    assert!(w.report("c").deadlock.is_empty() && w.report("a").deadlock.is_empty());
}

#[test]
fn r14_more_of_what_one_holds_oneself() {
    let mut w = World::new();
    let p = w.session();
    let c = w.make(p, "c", Spec::pool(4));
    w.take(who(p, 1), c, 3);
    let e = w.wants(who(p, 1), Wants::One, &[(c, 2)]).unwrap_err();
    assert_eq!(cycle_text(e.cycle(), true), "you wait for `c`, held by you");
    assert_eq!(w.try_take(who(p, 1), c, 2).unwrap_err(), Code::SemTimeout, "a try just says that it is not free");
    assert!(w.wants(who(p, 0), Wants::One, &[(c, 2)]).unwrap().1.is_none(), "nobody in particular waits");
}

#[test]
fn r14_any_and_all() {
    let mut w = World::new();
    let p = w.session();
    let [a, b, c] = ["a", "b", "c"].map(|n| w.make(p, n, Spec::exclusive()));
    for (n, h) in [(1, a), (2, b), (3, c)] {
        w.take(who(p, n), h, 1);
    }
    // 1 waits for b or c; 3 runs.
    let any = w.wait_for(who(p, 1), Wants::Any, &[(b, 1), (c, 1)]);
    w.wait(who(p, 2), a, 1);
    // Now 3 closes the last way out.
    let e = w.wants(who(p, 3), Wants::All, &[(a, 1), (c, 1)]).unwrap_err();
    assert_eq!((e.code(), e.cycle().len()), (Code::PossibleDeadlock, 2));
    assert_eq!(e.message(), "waiting for 2 semaphores at one instant would never end");
    assert!(w.got(any).is_none());
}

#[test]
fn r14_draining_what_one_holds_or_waits_behind() {
    let mut w = World::new();
    let p = w.session();
    let (a, b) = (w.make(p, "a", Spec::exclusive()), w.make(p, "b", Spec::exclusive()));
    let mine = w.take(who(p, 1), a, 1);
    let now = w.now();
    let e = w.s.drain(who(p, 1), &name("a"), Patience::Unlimited, now).unwrap_err();
    assert_eq!((e.code(), cycle_text(e.cycle(), true)), (Code::PossibleDeadlock, "you wait for `a`, held by you".into()));
    assert!(!w.report("a").drained, "it is open again");
    // 2 waits for a and b; 1 drains b, which it does not hold: for the waiter 2.
    w.take(who(p, 3), b, 1);
    w.wait_for(who(p, 2), Wants::All, &[(a, 1), (b, 1)]);
    let e = w.s.drain(who(p, 1), &name("b"), Patience::Unlimited, now).unwrap_err();
    assert_eq!((e.code(), e.cycle().len()), (Code::PossibleDeadlock, 2));
    w.release(a, mine);
}

#[test]
fn r14_a_limit_that_was_lowered_is_no_deadlock_as_it_can_be_raised() {
    let mut w = World::new();
    let p = w.session();
    let (a, c) = (w.make(p, "a", Spec::exclusive()), w.make(p, "c", Spec::pool(4)));
    w.take(who(p, 1), a, 1);
    w.take(who(p, 2), c, 1);
    w.take(who(p, 3), c, 1);
    let wait = w.wait(who(p, 1), c, 4);
    let now = w.now();
    w.s.resize(c, 3, now).unwrap();
    w.s.claimant_ended(who(p, 3), Cause::ThreadEnded, now);
    w.wait(who(p, 2), a, 1);
    assert!(w.got(wait).is_none() && w.report("a").deadlock.is_empty());
}

#[test]
fn a_report_shows_a_cycle_that_nobody_was_told_of() {
    let mut w = World::new();
    let p = w.session();
    let (a, b) = (w.make(p, "a", Spec::exclusive()), w.make(p, "b", Spec::exclusive()));
    w.take(who(p, 1), a, 1);
    w.take(who(p, 2), b, 1);
    let first = w.wait(who(p, 1), b, 1);
    // As an engine would have it whose second wait is published and not yet looked at.
    let Ok(Answer::Waits(second)) = w.ask(who(p, 2), Wants::One, &[(a, 1)], Patience::Limited) else { panic!("it waits") };
    w.s.waits.get_mut(&second).unwrap().forever = true;
    assert_eq!(
        cycle_text(&w.report("b").deadlock, false),
        "100 `p100` (thread 1) waits for `b`, held by 100 `p100` (thread 2), which waits for `a`, held by 100 `p100` (thread 1)"
    );
    assert_eq!(w.report("a").deadlock[0].waiter_claimant, 2, "it begins with the wait for it");
    let now = w.now();
    w.s.break_deadlocks(first, now);
    assert_eq!(w.failed(second).code(), Code::PossibleDeadlock, "the youngest, whoever looks");
    assert!(w.got(first).is_none() && w.report("a").deadlock.is_empty());
}

#[test]
fn r14_a_lower_limit_can_close_a_cycle_when_it_is_set() {
    // In the second one there are more out than there may be then: what 3 gives back is missing already.
    for (limit, runs, lower) in [(4, 1, 3), (5, 2, 2)] {
        let mut w = World::new();
        let p = w.session();
        let (a, c) = (w.make(p, "a", Spec::exclusive()), w.make(p, "c", Spec::pool(limit)));
        w.take(who(p, 1), a, 1);
        w.take(who(p, 2), c, 2);
        w.take(who(p, 3), c, runs);
        let wait = w.wait(who(p, 1), c, 2);
        let second = w.wait(who(p, 2), a, 1);
        assert!(w.s.outcome(second).is_none(), "2 will be free when 3 has ended");
        let now = w.now();
        w.s.resize(c, lower, now).unwrap();
        assert_eq!(w.failed(second).code(), Code::PossibleDeadlock, "the youngest");
        assert!(w.got(wait).is_none());
    }
}
