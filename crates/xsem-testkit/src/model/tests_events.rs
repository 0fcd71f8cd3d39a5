//! The model's events, by hand.

use super::*;
use xsem::{Reset, Signal};

fn who(process: u32) -> Claimant {
    Claimant { process, thread: 0 }
}

fn two() -> (Model, Handle, Handle) {
    let mut m = Model::new(Limits::default());
    let manual = m.make("m", &Spec::event(Reset::Manual, false)).unwrap();
    let auto = m.make("a", &Spec::event(Reset::Auto, true)).unwrap();
    (m, manual, auto)
}

#[test]
fn a_manual_one_is_seen_until_it_is_reset_and_an_auto_one_is_consumed() {
    let (mut m, manual, auto) = two();
    assert_eq!(m.try_acquire(who(1), &manual), Err(Code::SemTimeout));
    assert_eq!((m.signal(&manual), m.signal(&manual)), (Ok(true), Ok(false)));
    m.try_acquire(who(1), &manual).unwrap();
    m.try_acquire(who(1), &manual).unwrap();
    assert_eq!((m.reset(&manual), m.reset(&manual)), (Ok(true), Ok(false)));
    m.try_acquire(who(1), &auto).unwrap();
    assert_eq!(m.try_acquire(who(1), &auto), Err(Code::SemTimeout));
    assert_eq!(m.inspect("a").unwrap().signal, Some(Signal::new(Reset::Auto, false)));
}

#[test]
fn a_manual_signal_that_is_reset_has_been_seen_by_all_who_waited_for_it_alone() {
    let (mut m, manual, auto) = two();
    m.reset(&auto).unwrap();
    assert_eq!(m.acquire(who(1), &manual), Outcome::Waits);
    assert_eq!(m.request(who(2), How::Any, &[(&auto, 1), (&manual, 1)], Until::Deadline), Reply::Waits);
    assert_eq!(m.request(who(3), How::All, &[(&auto, 1), (&manual, 1)], Until::Deadline), Reply::Waits);
    m.signal(&manual).unwrap();
    m.reset(&manual).unwrap();
    assert_eq!(m.acquire(who(4), &manual), Outcome::Waits);
    assert_eq!(m.next(&manual), [who(1), who(2)]);
    assert_eq!(m.granted(who(2)).unwrap()[0].0, 1);
    assert!(m.grant(who(1), &manual).is_some() && m.granted(who(3)).is_none() && m.granted(who(4)).is_none());
}

#[test]
fn an_auto_signal_is_for_one_and_all_at_one_instant_consume_together() {
    let (mut m, manual, auto) = two();
    m.reset(&auto).unwrap();
    assert_eq!(m.acquire(who(1), &auto), Outcome::Waits);
    assert_eq!(m.request(who(2), How::All, &[(&manual, 1), (&auto, 1)], Until::Forever), Reply::Waits);
    m.signal(&auto).unwrap();
    assert_eq!(m.next(&auto), [who(1)], "the other needs the manual one, too");
    m.signal(&manual).unwrap();
    assert_eq!(m.next(&auto), [who(1), who(2)]);
    assert_eq!(m.granted(who(2)).unwrap().len(), 2);
    assert!(m.next(&auto).is_empty() && m.inspect("m").unwrap().signal.unwrap().is_set);
}

#[test]
fn nobody_holds_an_event_and_other_kinds_have_no_signal() {
    let (mut m, manual, auto) = two();
    let seen = m.try_acquire(who(1), &auto).unwrap().claim;
    assert!(!m.is_held(seen));
    assert_eq!((m.release_claim(seen), m.release(who(1), &auto)), (Err(Code::InvalidFunction), Err(Code::InvalidFunction)));
    assert_eq!((m.evict("a", seen.token), m.add_permits(&auto, 1)), (Err(Code::NotOwner), Err(Code::InvalidFunction)));
    let x = m.create("x").unwrap();
    assert_eq!((m.signal(&x), m.reset(&x)), (Err(Code::InvalidFunction), Err(Code::InvalidFunction)));
    assert_eq!(m.open_or_make("m", &Spec::event(Reset::Auto, false)), Err(Code::InvalidParameter));
    assert_eq!(m.request(who(1), How::One, &[(&manual, 2)], Until::Now), Reply::Refused(Code::InvalidParameter, vec![0]));
    // Who waits for one is no deadlock, and the name goes only when nobody waits.
    m.try_acquire(who(1), &x).unwrap();
    assert_eq!(m.acquire(who(1), &manual), Outcome::Waits);
    assert_eq!(m.acquire(who(2), &x), Outcome::Waits);
    assert_eq!(m.remove("m"), Err(Code::SemIsSet));
    m.signal(&manual).unwrap();
    m.granted(who(1)).unwrap();
    m.remove("m").unwrap();
    assert_eq!((m.signal(&manual), m.signalled(&manual)), (Err(Code::InvalidHandle), Err(Code::InvalidHandle)));
}
