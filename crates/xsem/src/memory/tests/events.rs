//! Rule 15: events.

use super::*;
use crate::claim::{Reset, Signal};

fn signal(w: &mut World, handle: u64) -> bool {
    let now = w.now();
    w.s.signal(handle, now).unwrap()
}

fn is_set(w: &mut World, handle: u64) -> bool {
    w.s.signalled(handle).unwrap().is_set
}

#[test]
fn r15_a_manual_signal_stays_until_it_is_reset_and_an_auto_one_is_consumed() {
    let mut w = World::new();
    let p = w.session();
    let (m, a) = (w.make(p, "m", Spec::event(Reset::Manual, false)), w.make(p, "a", Spec::event(Reset::Auto, true)));
    assert_eq!(w.try_take(who(p, 1), m, 1).unwrap_err(), Code::SemTimeout);
    assert!(signal(&mut w, m) && !signal(&mut w, m), "two signals are one");
    for _ in 0..2 {
        assert_eq!(w.take(who(p, 1), m, 1), Claim::new(1, 0));
    }
    assert!(w.s.reset(m).unwrap() && !w.s.reset(m).unwrap());
    assert_eq!(w.try_take(who(p, 1), m, 1).unwrap_err(), Code::SemTimeout);
    // The one that was there from the beginning is none of those that are counted.
    assert_eq!(w.take(who(p, 1), a, 1), Claim::new(0, 0));
    assert_eq!(w.try_take(who(p, 1), a, 1).unwrap_err(), Code::SemTimeout);
    assert!(signal(&mut w, a) && w.s.reset(a).unwrap() && !is_set(&mut w, a));
    assert_eq!(w.try_take(who(p, 1), a, 2).unwrap_err(), Code::InvalidParameter);
    let report = w.report("a");
    assert_eq!((report.signal, report.counters.acquired), (Some(Signal::new(Reset::Auto, false)), 1));
    assert_eq!((report.capacity, report.holders.len()), (None, 0));
}

#[test]
fn r15_a_manual_signal_reaches_all_who_wait_also_if_it_is_reset_at_once() {
    let mut w = World::new();
    let p = w.session();
    let (m, x) = (w.make(p, "m", Spec::event(Reset::Manual, false)), w.make(p, "x", Spec::exclusive()));
    w.take(who(p, 9), x, 1);
    let one = w.wait(who(p, 1), m, 1);
    let any = w.wait_for(who(p, 2), Wants::Any, &[(x, 1), (m, 1)]);
    let all = w.wait_for(who(p, 3), Wants::All, &[(x, 1), (m, 1)]);
    signal(&mut w, m);
    w.s.reset(m).unwrap();
    assert_eq!(w.got(one), Some(vec![(0, Claim::new(1, 0), false)]));
    assert_eq!(w.got(any), Some(vec![(1, Claim::new(1, 0), false)]));
    assert_eq!(w.got(all), None, "x was not there at that instant");
    let later = w.wait(who(p, 4), m, 1);
    assert_eq!(w.got(later), None);
}

#[test]
fn r15_an_auto_signal_goes_to_the_oldest_and_to_nobody_else() {
    let mut w = World::new();
    let p = w.session();
    let a = w.make(p, "a", Spec::event(Reset::Auto, false));
    let waits: Vec<u64> = (1..=3).map(|n| w.wait(who(p, n), a, 1)).collect();
    for (n, wait) in waits.iter().enumerate() {
        assert!(signal(&mut w, a), "the one before it was consumed");
        assert_eq!(w.got(*wait), Some(vec![(0, Claim::new(n as u64 + 1, 0), false)]));
        assert!(waits[n + 1..].iter().all(|later| w.got(*later).is_none()));
    }
    assert!(!is_set(&mut w, a));
}

#[test]
fn r15_the_signal_of_a_wait_that_is_given_up_is_there_for_others() {
    let mut w = World::new();
    let p = w.session();
    let a = w.make(p, "a", Spec::event(Reset::Auto, false));
    let (one, two) = (w.wait(who(p, 1), a, 1), w.wait(who(p, 2), a, 1));
    let now = w.now();
    assert_eq!(w.s.give_up(one, GiveUp::Cancelled, now).unwrap().code(), Code::Interrupt);
    signal(&mut w, a);
    assert!(w.got(two).is_some());
    // Nobody waits: it stays.
    signal(&mut w, a);
    w.take(who(p, 3), a, 1);
}

#[test]
fn r11_all_at_one_instant_consumes_only_auto_signals_and_only_with_the_rest() {
    let mut w = World::new();
    let p = w.session();
    let (m, a) = (w.make(p, "m", Spec::event(Reset::Manual, false)), w.make(p, "a", Spec::event(Reset::Auto, false)));
    let c = w.make(p, "c", Spec::pool(2));
    signal(&mut w, a);
    let all = w.wait_for(who(p, 1), Wants::All, &[(m, 1), (a, 1), (c, 2)]);
    assert!(is_set(&mut w, a), "nothing is consumed before all are there");
    // So somebody else may have it.
    w.take(who(p, 2), a, 1);
    signal(&mut w, m);
    assert_eq!(w.got(all), None);
    signal(&mut w, a);
    assert_eq!(w.got(all).map(|g| g.len()), Some(3));
    assert!(is_set(&mut w, m) && !is_set(&mut w, a));
    assert_eq!(w.s.capacity(c).unwrap().free, 0);
}

#[test]
fn r14_a_wait_for_an_event_is_never_a_deadlock() {
    let mut w = World::new();
    let p = w.session();
    let (a, x) = (w.make(p, "a", Spec::event(Reset::Auto, false)), w.make(p, "x", Spec::exclusive()));
    let held = w.take(who(p, 1), x, 1);
    let one = w.wait(who(p, 1), a, 1);
    let two = w.wait(who(p, 2), x, 1);
    assert!(w.report("a").deadlock.is_empty() && w.report("x").deadlock.is_empty());
    signal(&mut w, a);
    assert!(w.got(one).is_some());
    w.release(x, held);
    assert!(w.got(two).is_some());
}

#[test]
fn an_event_has_no_claims_and_other_kinds_no_signal() {
    let mut w = World::new();
    let p = w.session();
    let (m, x) = (w.make(p, "m", Spec::event(Reset::Manual, true)), w.make(p, "x", Spec::exclusive()));
    let now = w.now();
    let seen = w.take(who(p, 1), m, 1);
    assert!(!w.s.is_held(m, &seen));
    for refused in [
        code(w.s.release(m, &seen, Ending::Release, now)),
        code(w.s.mark_consistent(m, &seen)),
        code(w.s.join(m, 1)),
        code(w.s.release_part(m, &seen, 1, now)),
        code(w.s.slots(m, &seen)),
        code(w.s.add_permits(m, 1, now)),
        code(w.s.forget(m, &seen, now)),
        code(w.s.resize(m, 1, now)),
        code(w.s.capacity(m)),
        code(w.s.signal(x, now)),
        code(w.s.reset(x)),
        code(w.s.signalled(x)),
    ] {
        assert_eq!(refused, Code::InvalidFunction);
    }
    assert_eq!(code(w.s.evict(&name("m"), 1, now)), Code::NotOwner);
    assert_eq!(code(w.s.open_or_create(p, &name("m"), &Spec::event(Reset::Auto, false), now)), Code::InvalidParameter);
    assert_eq!(code(w.s.open(p, &name("m"), crate::claim::Kind::Counting)), Code::InvalidHandle);
}

#[test]
fn an_event_is_drained_closed_and_removed_when_nobody_waits() {
    let mut w = World::new();
    let p = w.session();
    let m = w.make(p, "m", Spec::event(Reset::Manual, false));
    let wait = w.wait(who(p, 1), m, 1);
    let now = w.now();
    assert_eq!(code(w.s.remove(&name("m"), None, now)), Code::SemIsSet);
    assert_eq!(code(w.s.close(m, now)), Code::SemIsSet);
    let Ok(Answer::Waits(drain)) = w.s.drain(who(p, 2), &name("m"), Patience::Unlimited, now) else { panic!("it waits") };
    assert_eq!(w.try_take(who(p, 3), m, 1).unwrap_err(), Code::SemIsSet);
    signal(&mut w, m);
    assert!(w.got(wait).is_some() && w.got(drain).is_some());
    assert_eq!(w.try_take(who(p, 3), m, 1).unwrap_err(), Code::SemIsSet, "it stays drained");
    w.s.reopen(&name("m"), now).unwrap();
    w.take(who(p, 3), m, 1);
    assert_eq!(code(w.s.remove(&name("m"), Some(0), now)), Code::SemIsSet, "it has been signalled");
    w.s.remove(&name("m"), Some(1), now).unwrap();
    for refused in [code(w.s.signal(m, now)), code(w.s.reset(m)), code(w.s.signalled(m))] {
        assert_eq!(refused, Code::InvalidHandle);
    }
}

#[test]
fn an_ephemeral_event_goes_with_the_last_that_has_it_open() {
    let mut w = World::new();
    let p = w.session();
    let m = w.make(p, "m", Spec::event(Reset::Manual, true).ephemeral(true));
    w.take(who(p, 1), m, 1);
    w.s.drop_handle(m);
    assert_eq!(code(w.s.open(p, &name("m"), crate::claim::Kind::Event)), Code::SemNotFound);
}

#[test]
fn a_limit_that_cannot_be_is_87_through_a_stale_handle_too() {
    let mut w = World::new();
    let p = w.session();
    let c = w.make(p, "c", Spec::pool(2));
    let now = w.now();
    w.s.remove(&name("c"), None, now).unwrap();
    assert_eq!(code(w.s.resize(c, 0, now)), Code::InvalidParameter);
    assert_eq!(code(w.s.resize(c, 1, now)), Code::InvalidHandle);
}
