//! Rules 1 to 8, 12 and 13: names, claims, deaths, drains.

use super::*;
use crate::claim::{Cause, Kind};

#[test]
fn r1_create_is_exclusive_and_has_room_for_so_many() {
    let mut w = World { s: State::new("memory:test", 2), t: 0 };
    let p = w.session();
    let now = w.now();
    w.s.create(p, &name("a"), &Spec::exclusive(), now).unwrap();
    assert_eq!(code(w.s.create(p, &name("a"), &Spec::pool(2), now)), Code::AlreadyExists);
    w.s.create(p, &name("b"), &Spec::pool(2), now).unwrap();
    assert_eq!(code(w.s.create(p, &name("c"), &Spec::exclusive(), now)), Code::TooManySemaphores);
    assert_eq!(code(w.s.create(p, &name("c"), &Spec::pool(0), now)), Code::InvalidParameter);
    w.s.open_or_create(p, &name("a"), &Spec::exclusive(), now).unwrap();
}

#[test]
fn r2_open_changes_nothing_and_knows_kind_mode_and_limit() {
    let mut w = World::new();
    let p = w.session();
    let a = w.make(p, "a", Spec::exclusive());
    w.make(p, "c", Spec::credit(5, 2));
    let held = w.take(who(p, 1), a, 1);
    let before = w.report("a");
    w.s.open(p, &name("a"), Kind::Exclusive).unwrap();
    let after = w.report("a");
    assert_eq!((before.holders[0].token, before.counters), (after.holders[0].token, after.counters));
    assert!(w.s.is_held(a, &held));
    assert_eq!(code(w.s.open(p, &name("a"), Kind::Counting)), Code::InvalidHandle);
    assert_eq!(code(w.s.open(p, &name("x"), Kind::Counting)), Code::SemNotFound);
    let now = w.now();
    for (spec, expected) in [
        (Spec::credit(5, 0), None),
        (Spec::credit(6, 2), Some(Code::InvalidParameter)),
        (Spec::pool(5), Some(Code::InvalidParameter)),
        (Spec::exclusive(), Some(Code::InvalidHandle)),
    ] {
        assert_eq!(w.s.open_or_create(p, &name("c"), &spec, now).err().map(|e| e.code()), expected, "{spec:?}");
    }
    let e = w.s.open_or_create(p, &name("c"), &Spec::pool(7), now).unwrap_err().to_string();
    assert!(e.contains("a credit of at most 5") && e.contains("a pool of 7"), "both are said: {e}");
}

#[test]
fn r3_one_owner_who_nests() {
    let mut w = World::new();
    let p = w.session();
    let a = w.make(p, "a", Spec::exclusive());
    let outer = w.take(who(p, 1), a, 1);
    assert_eq!(w.take(who(p, 1), a, 1), outer, "the same claim, one level deeper");
    assert_eq!(w.report("a").holders[0].depth, 2);
    assert_eq!(w.try_take(who(p, 2), a, 1).unwrap_err(), Code::ExclSemAlreadyOwned, "another thread");
    w.release(a, outer);
    assert_eq!(w.try_take(who(p, 2), a, 1).unwrap_err(), Code::ExclSemAlreadyOwned);
    w.release(a, outer);
    let second = w.take(who(p, 2), a, 1);
    let now = w.now();
    assert_eq!(code(w.s.release(a, &outer, Ending::Release, now)), Code::NotOwner, "it was given back");
    w.release(a, second);
}

#[test]
fn r3_the_process_as_a_whole_does_not_nest() {
    let mut w = World::new();
    let p = w.session();
    let a = w.make(p, "a", Spec::exclusive());
    w.take(who(p, 0), a, 1);
    assert_eq!(w.try_take(who(p, 0), a, 1).unwrap_err(), Code::ExclSemAlreadyOwned, "any of its threads may ask as 0");
}

#[test]
fn r3_nesting_has_an_end() {
    let mut w = World::new();
    let p = w.session();
    let a = w.make(p, "a", Spec::exclusive());
    for _ in 0..65_535 {
        w.take(who(p, 1), a, 1);
    }
    assert_eq!(w.try_take(who(p, 1), a, 1).unwrap_err(), Code::TooManySemRequests);
    assert_eq!(w.report("a").holders[0].depth, 65_535);
}

#[test]
fn r4_a_dead_owners_claim_passes_on_once_with_the_mark_until_it_is_acknowledged() {
    let mut w = World::new();
    let (p, q) = (w.session(), w.session());
    let (a, b) = (w.make(p, "a", Spec::exclusive()), w.make(q, "a", Spec::exclusive()));
    let now = w.now();
    w.s.ask(&Ask { who: who(p, 1), wants: Wants::One, list: &[(a, 1)], patience: Patience::Now, label: Some("x") }, now).unwrap();
    let waits = w.wait(who(q, 1), b, 1);
    let now = w.now();
    w.s.session_ended(p, Cause::ProcessEnded, now);
    assert_eq!(w.s.ended(), [waits]);
    let Ok(granted) = w.s.outcome(waits).unwrap() else { panic!("granted") };
    let deaths = granted[0].1.died.clone().expect("105").expect("details");
    assert_eq!((deaths.count, deaths.latest.cause, deaths.latest.process.pid), (1, Cause::ProcessEnded, 100));
    assert_eq!((deaths.latest.label.as_deref(), deaths.latest.token), (Some("x"), 1));
    assert_eq!(deaths.latest.process.state, ProcessState::Dead);
    let claim = granted[0].1.claim;
    // Released without a word: the next one is told as well, and the first death is kept beside the latest.
    w.release(b, claim);
    let again = w.try_take(who(q, 2), b, 1).unwrap();
    assert!(again.died.is_some());
    w.s.claimant_ended(who(q, 2), Cause::ThreadEnded, now);
    let third = w.try_take(who(q, 3), b, 1).unwrap();
    let deaths = third.died.clone().expect("105").expect("details");
    assert_eq!((deaths.count, deaths.first.cause, deaths.latest.cause), (2, Cause::ProcessEnded, Cause::ThreadEnded));
    assert_eq!(deaths.latest.process.state, ProcessState::Alive, "only its thread ended");
    w.s.mark_consistent(b, &third.claim).unwrap();
    assert_eq!(w.report("a").counters.deaths, 2);
    w.release(b, third.claim);
    assert!(w.try_take(who(q, 1), b, 1).unwrap().died.is_none());
}

#[test]
fn r4_abandon_gives_up_all_levels_with_the_mark() {
    let mut w = World::new();
    let p = w.session();
    let a = w.make(p, "a", Spec::exclusive());
    let claim = w.take(who(p, 1), a, 1);
    w.take(who(p, 1), a, 1);
    let now = w.now();
    w.s.release(a, &claim, Ending::Abandon(Cause::Abandoned), now).unwrap();
    assert!(!w.s.is_held(a, &claim));
    assert_eq!(w.try_take(who(p, 2), a, 1).unwrap().died.unwrap().unwrap().latest.cause, Cause::Abandoned);
}

#[test]
fn r5_a_wait_that_is_given_up_leaves_nothing() {
    let mut w = World::new();
    let p = w.session();
    let a = w.make(p, "a", Spec::exclusive());
    let held = w.take(who(p, 1), a, 1);
    for (n, why, expected) in [(2, GiveUp::TimedOut, Code::SemTimeout), (3, GiveUp::Cancelled, Code::Interrupt)] {
        let ahead = w.wait(who(p, 9), a, 1);
        let wait = w.wait(who(p, n), a, 1);
        let now = w.now();
        let e = w.s.give_up(wait, why, now).expect("it lasts");
        assert_eq!((e.code(), e.name()), (expected, Some("a")));
        if why == GiveUp::TimedOut {
            assert_eq!((e.holders()[0].claimant, e.ahead()[0].claimant, e.ahead().len()), (1, 9, 1));
        }
        assert!(w.s.give_up(wait, why, now).is_none(), "it is over");
        w.s.give_up(ahead, GiveUp::Cancelled, now).unwrap();
    }
    let (report, waits) = (w.report("a"), w.s.waits.len());
    assert_eq!((report.waiters.len(), waits, w.s.waiting.len()), (0, 0, 0));
    assert_eq!((report.counters.contended, report.counters.timed_out, report.counters.acquired), (4, 1, 1));
    w.release(a, held);
}

#[test]
fn r5_a_grant_that_came_first_stands() {
    let mut w = World::new();
    let p = w.session();
    let a = w.make(p, "a", Spec::exclusive());
    let held = w.take(who(p, 1), a, 1);
    let wait = w.wait(who(p, 2), a, 1);
    w.release(a, held);
    let now = w.now();
    assert!(w.s.give_up(wait, GiveUp::TimedOut, now).is_none());
    assert_eq!(w.got(wait).unwrap().len(), 1);
    assert!(w.s.outcome(wait).is_none(), "fetched once");
}

#[test]
fn r6_and_r13_an_evicted_claim_is_lost_and_its_successor_is_told() {
    let mut w = World::new();
    let p = w.session();
    let a = w.make(p, "a", Spec::exclusive());
    let lost = w.take(who(p, 1), a, 1);
    w.take(who(p, 1), a, 1);
    let wait = w.wait(who(p, 2), a, 1);
    let now = w.now();
    assert_eq!(code(w.s.evict(&name("a"), 7, now)), Code::NotOwner);
    assert_eq!(code(w.s.evict(&name("b"), 1, now)), Code::SemNotFound);
    w.s.evict(&name("a"), lost.token, now).unwrap();
    assert!(!w.s.is_held(a, &lost));
    assert_eq!(code(w.s.release(a, &lost, Ending::Release, now)), Code::NotOwner);
    assert_eq!(code(w.s.mark_consistent(a, &lost)), Code::NotOwner);
    assert!(w.got(wait).unwrap()[0].2, "105");
    assert_eq!(w.report("a").deaths.unwrap().latest.cause, Cause::Evicted);
}

#[test]
fn r7_tokens_grow_from_1() {
    let mut w = World::new();
    let p = w.session();
    let a = w.make(p, "a", Spec::exclusive());
    let c = w.make(p, "c", Spec::pool(3));
    for token in 1..5 {
        let claim = w.take(who(p, 1), a, 1);
        assert_eq!(claim.token, token);
        w.release(a, claim);
    }
    assert_eq!((w.take(who(p, 1), c, 1).token, w.take(who(p, 1), c, 2).token), (1, 2));
}

#[test]
fn r8_remove_refuses_while_somebody_holds_or_waits() {
    let mut w = World::new();
    let p = w.session();
    let a = w.make(p, "a", Spec::exclusive());
    let held = w.take(who(p, 1), a, 1);
    let wait = w.wait(who(p, 2), a, 1);
    let now = w.now();
    let e = w.s.remove(&name("a"), None, now).unwrap_err();
    assert_eq!((e.code(), e.holders().len(), e.ahead().len()), (Code::SemIsSet, 1, 1));
    w.release(a, held);
    let second = w.got(wait).unwrap()[0].1;
    w.release(a, second);
    assert_eq!(code(w.s.remove(&name("a"), Some(1), now)), Code::SemIsSet, "somebody has used it since");
    w.s.remove(&name("a"), Some(2), now).unwrap();
    assert_eq!(code(w.s.remove(&name("a"), None, now)), Code::SemNotFound);
    // The old handle stays stale, also when the name is there again.
    w.make(p, "a", Spec::exclusive());
    assert_eq!(w.try_take(who(p, 1), a, 1).unwrap_err(), Code::InvalidHandle);
    assert_eq!(code(w.s.capacity(a)), Code::InvalidHandle);
    assert_eq!(code(w.s.close(a, now)), Code::InvalidHandle);
}

#[test]
fn close_refuses_while_its_session_uses_this_handle() {
    let mut w = World::new();
    let p = w.session();
    let (a, b) = (w.make(p, "a", Spec::exclusive()), w.make(p, "a", Spec::exclusive()));
    let held = w.take(who(p, 1), a, 1);
    w.take(who(p, 1), b, 1);
    let wait = w.wait(who(p, 2), b, 1);
    let now = w.now();
    assert_eq!(code(w.s.close(a, now)), Code::SemIsSet);
    assert_eq!(code(w.s.close(b, now)), Code::SemIsSet);
    w.release(a, held);
    w.s.close(a, now).unwrap();
    w.s.give_up(wait, GiveUp::Cancelled, now).unwrap();
    assert_eq!(code(w.s.close(b, now)), Code::SemIsSet, "its level is still there");
    w.release(b, held);
    w.s.close(b, now).unwrap();
}

#[test]
fn an_ephemeral_name_goes_with_the_last_that_has_it_open() {
    let mut w = World::new();
    let (p, q) = (w.session(), w.session());
    let a = w.make(p, "a", Spec::exclusive().ephemeral(true));
    let b = w.make(q, "a", Spec::exclusive());
    w.s.drop_handle(a);
    assert!(w.report("a").ephemeral);
    w.take(who(q, 1), b, 1);
    w.s.drop_handle(b);
    assert_eq!(w.report("a").holders.len(), 1, "a claim keeps it");
    let now = w.now();
    w.s.session_ended(q, Cause::ProcessEnded, now);
    assert_eq!(code(w.s.inspect(&name("a"), now)), Code::SemNotFound);
    let c = w.make(p, "a", Spec::exclusive());
    w.s.drop_handle(c);
    assert!(!w.report("a").ephemeral, "one that is not stays");
}

#[test]
fn r12_a_drain_refuses_newcomers_and_ends_with_the_last_that_was_there() {
    let mut w = World::new();
    let p = w.session();
    let a = w.make(p, "a", Spec::exclusive());
    let held = w.take(who(p, 1), a, 1);
    let wait = w.wait(who(p, 2), a, 1);
    let now = w.now();
    let Ok(Answer::Waits(drain)) = w.s.drain(who(p, 9), &name("a"), Patience::Unlimited, now) else { panic!("it waits") };
    assert!(w.report("a").drained);
    assert_eq!(w.try_take(who(p, 3), a, 1).unwrap_err(), Code::SemIsSet);
    assert_eq!(code(w.s.drain(who(p, 8), &name("a"), Patience::Unlimited, now)), Code::SemIsSet);
    assert_eq!(w.take(who(p, 1), a, 1), held, "a further level belongs to the claim that is waited for");
    w.release(a, held);
    w.release(a, held);
    assert!(w.got(drain).is_none(), "who waited before is served");
    let second = w.got(wait).unwrap()[0].1;
    w.release(a, second);
    assert_eq!(w.got(drain), Some(vec![]));
    assert_eq!(w.try_take(who(p, 3), a, 1).unwrap_err(), Code::SemIsSet, "it stays so");
    assert!(matches!(w.s.drain(who(p, 8), &name("a"), Patience::Now, now), Ok(Answer::Granted(_))), "it is drained already");
    w.s.reopen(&name("a"), now).unwrap();
    w.take(who(p, 3), a, 1);
}

#[test]
fn r12_a_drain_that_ends_otherwise_lets_requests_in_again() {
    let mut w = World::new();
    let (p, q) = (w.session(), w.session());
    let c = w.make(p, "c", Spec::pool(3));
    w.take(who(p, 1), c, 1);
    let now = w.now();
    let start = |w: &mut World| match w.s.drain(who(q, 1), &name("c"), Patience::Limited, now) {
        Ok(Answer::Waits(id)) => id,
        other => panic!("it does not wait: {other:?}"),
    };
    let e = w.s.drain(who(q, 1), &name("c"), Patience::Now, now).unwrap_err();
    assert_eq!((e.code(), e.holders().len()), (Code::SemTimeout, 1));
    let drain = start(&mut w);
    assert_eq!(w.s.give_up(drain, GiveUp::TimedOut, now).unwrap().code(), Code::SemTimeout);
    let drain = start(&mut w);
    assert_eq!(w.s.give_up(drain, GiveUp::Cancelled, now).unwrap().code(), Code::Interrupt);
    let drain = start(&mut w);
    w.s.reopen(&name("c"), now).unwrap();
    assert_eq!(w.failed(drain).code(), Code::Interrupt);
    start(&mut w);
    assert_eq!(w.try_take(who(p, 2), c, 1).unwrap_err(), Code::SemIsSet);
    w.s.session_ended(q, Cause::ProcessEnded, now);
    w.take(who(p, 2), c, 1);
    assert!(!w.report("c").drained);
}

#[test]
fn a_drain_ends_with_187_when_the_ephemeral_name_goes_under_it() {
    let mut w = World::new();
    let (p, q) = (w.session(), w.session());
    let e = w.make(p, "e", Spec::exclusive().ephemeral(true));
    w.take(who(p, 1), e, 1);
    let now = w.now();
    let Ok(Answer::Waits(drain)) = w.s.drain(who(q, 1), &name("e"), Patience::Unlimited, now) else { panic!("it waits") };
    // The last handle goes, and then the claim that was made through it.
    w.s.drop_handle(e);
    w.s.claimant_ended(who(p, 1), crate::claim::Cause::ThreadEnded, now);
    assert_eq!(w.failed(drain).code(), Code::SemNotFound);
    assert_eq!(w.s.ended(), [] as [u64; 0], "it was fetched");
}

#[test]
fn a_shared_claim_ends_with_the_last_that_shares_it() {
    let mut w = World::new();
    let (p, q, r) = (w.session(), w.session(), w.session());
    let a = w.make(p, "a", Spec::exclusive());
    let (b, c) = (w.make(q, "a", Spec::exclusive()), w.make(r, "a", Spec::exclusive()));
    let claim = w.take(who(p, 1), a, 1);
    w.take(who(p, 1), a, 1);
    assert_eq!(w.s.join(a, claim.token).unwrap(), None, "one's own");
    assert_eq!(w.s.join(b, 9).unwrap(), None, "no such claim");
    let shared = w.s.join(b, claim.token).unwrap().expect("shared");
    assert_eq!(code(w.s.join(b, claim.token)), Code::TooManySemRequests);
    let third = w.s.join(c, claim.token).unwrap().expect("shared");
    assert_eq!(w.report("a").holders[0].shared_with.len(), 2);
    let now = w.now();
    w.s.session_ended(p, Cause::ProcessEnded, now);
    assert!(w.s.is_held(b, &shared) && w.s.is_held(c, &third));
    let holder = w.report("a").holders.remove(0);
    assert_eq!((holder.process.pid, holder.token, holder.depth), (101, 1, 1), "its nesting was the dead owner's");
    w.release(b, shared);
    assert_eq!(w.try_take(who(q, 1), b, 1).unwrap_err(), Code::ExclSemAlreadyOwned);
    w.release(c, third);
    assert!(w.try_take(who(q, 1), b, 1).unwrap().died.is_some(), "a death among them sets the mark");
}

#[test]
fn a_sharer_that_dies_leaves_the_mark_and_an_evicted_claim_is_nobodys() {
    let mut w = World::new();
    let (p, q, r) = (w.session(), w.session(), w.session());
    let [a, b, c] = [p, q, r].map(|s| w.make(s, "a", Spec::exclusive()));
    let claim = w.take(who(p, 1), a, 1);
    let shared = w.s.join(b, claim.token).unwrap().expect("shared");
    w.s.join(c, claim.token).unwrap().expect("shared");
    let now = w.now();
    w.s.session_ended(r, Cause::ProcessEnded, now);
    let report = w.report("a");
    assert_eq!((report.marked, report.holders[0].shared_with.len(), report.counters.deaths), (true, 1, 1));
    assert_eq!(report.deaths.unwrap().latest.process.pid, 102);
    w.s.mark_consistent(b, &shared).unwrap();
    w.s.evict(&name("a"), claim.token, now).unwrap();
    assert!(!w.s.is_held(a, &claim) && !w.s.is_held(b, &shared));
    assert_eq!(w.try_take(who(q, 1), b, 1).unwrap().died.unwrap().unwrap().latest.cause, Cause::Evicted);
    // Who shared it may share another one.
    assert!(w.s.join(a, 2).unwrap().is_some());
}

#[test]
fn a_report_tells_what_there_is() {
    let mut w = World::new();
    let p = w.session();
    let c = w.make(p, "c", Spec::pool(4));
    let first = w.take(who(p, 1), c, 3);
    let second = w.wait(who(p, 2), c, 2);
    let third = w.wait_for(who(p, 3), Wants::Any, &[(c, 4), (c, 1)]);
    w.t += 500;
    let report = w.report("c");
    assert_eq!((report.holders[0].permits, report.holders[0].claimant, report.holders[0].slots.len()), (3, 1, 0));
    assert_eq!(report.waiters.iter().map(|x| (x.claimant, x.permits)).collect::<Vec<_>>(), [(2, 2), (3, 4)]);
    assert!(!report.waiters[0].has_deadline && report.waiters[1].wants == Wants::Any);
    assert_eq!(report.unused_for.as_nanos(), 0);
    w.s.slots(c, &first).unwrap();
    assert_eq!(w.report("c").holders[0].slots, [0, 1, 2], "once somebody has asked");
    w.release(c, first);
    assert!(w.got(second).is_some() && w.got(third).is_some());
    let report = w.report("c");
    assert!(report.counters.longest_contended_hold.as_nanos() >= 500, "{:?}", report.counters);
    let now = w.now();
    let (found, summary) = w.s.summary_after(None, now).unwrap();
    assert_eq!((found.as_str(), summary.contended, summary.acquired, summary.holders.len()), ("c", false, 3, 2));
    assert!(w.s.summary_after(Some(&found), now).is_none());
}
