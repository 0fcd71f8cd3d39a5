//! The judge finds what is wrong, and the tables are whole.

use super::judge::explain;
use super::log::{Act, Answer, Death};
use super::ops::{Actor, OPS, Op, Way};
use super::worlds::WORLDS;
use crate::protocol::What;

fn act(actor: Actor, op: Op, begin: u64, end: u64, code: u32, token: u64) -> Act {
    Act { actor, op, begin, end: Some((end, Answer { code, token, number: 0 })) }
}

const GET: Op = Op::Ask(1, Way::Ever);

fn opened() -> Vec<Act> {
    vec![act(Actor::Maker, Op::Make, 1, 2, 0, 0), act(Actor::A, Op::Open, 3, 4, 0, 0), act(Actor::B, Op::Open, 3, 4, 0, 0)]
}

#[test]
fn two_owners_at_one_time_are_found() {
    let mut acts = opened();
    acts.extend([act(Actor::A, GET, 10, 20, 0, 1), act(Actor::B, GET, 15, 30, 0, 2)]);
    assert!(explain(What::Exclusive, &acts, &[]).is_err());
    // With a release in between it is fine.
    acts.insert(4, act(Actor::A, Op::Release, 21, 28, 0, 0));
    assert_eq!(explain(What::Exclusive, &acts, &[]), Ok(()));
    // A token that does not grow is not.
    acts.last_mut().unwrap().end.as_mut().unwrap().1.token = 1;
    assert!(explain(What::Exclusive, &acts, &[]).is_err());
}

#[test]
fn what_a_dead_process_did_happened_or_not_but_not_half() {
    let death = [Death { actor: Actor::A, from: 12, to: 20 }];
    let killed = Act { end: None, ..act(Actor::A, GET, 10, 0, 0, 0) };
    for (code, number) in [(0, 0), (105, 1)] {
        let mut acts = opened();
        let told = Act { end: Some((40, Answer { code, token: 5, number })), ..act(Actor::B, GET, 30, 40, 0, 0) };
        acts.extend([killed, told]);
        assert_eq!(explain(What::Exclusive, &acts, &death), Ok(()), "{code}");
    }
    let mut acts = opened();
    acts.extend([act(Actor::A, GET, 10, 11, 0, 1), act(Actor::B, GET, 30, 40, 0, 2)]);
    assert!(explain(What::Exclusive, &acts, &death).is_err(), "A owned for certain, and B was not told");
}

#[test]
fn a_lost_permit_and_a_doubled_signal_are_found() {
    let mut acts = opened();
    let capacity =
        |n: u64| Act { end: Some((40, Answer { number: n, ..Answer::default() })), ..act(Actor::B, Op::Capacity, 30, 40, 0, 0) };
    acts.extend([act(Actor::A, GET, 10, 11, 0, 1), act(Actor::A, Op::Release, 12, 13, 0, 0), capacity(4 << 32 | 4 << 16 | 3)]);
    assert!(explain(What::Pool(4), &acts, &[]).is_err());
    *acts.last_mut().unwrap() = capacity(4 << 32 | 4 << 16 | 4);
    assert_eq!(explain(What::Pool(4), &acts, &[]), Ok(()));

    let mut acts = opened();
    acts.extend([act(Actor::A, GET, 10, 20, 0, 0), act(Actor::B, Op::Ask(1, Way::Now), 30, 40, 0, 0)]);
    assert!(explain(What::Auto(true), &acts, &[]).is_err(), "two waits, one signal");
    acts.last_mut().unwrap().end = Some((40, Answer { code: 121, ..Answer::default() }));
    assert_eq!(explain(What::Auto(true), &acts, &[]), Ok(()));
}

#[test]
fn a_removed_name_is_not_there_and_a_held_one_is_not_removed() {
    let mut acts = opened();
    acts.extend([act(Actor::A, GET, 10, 11, 0, 1), act(Actor::B, Op::Remove, 20, 21, 0, 0)]);
    assert!(explain(What::Exclusive, &acts, &[]).is_err());
    acts.last_mut().unwrap().end = Some((21, Answer { code: 102, ..Answer::default() }));
    assert_eq!(explain(What::Exclusive, &acts, &[]), Ok(()));
}

#[test]
fn every_operation_of_a_world_is_in_the_table() {
    for w in WORLDS {
        let before = w.before.iter().flat_map(|(_, ops)| *ops);
        for op in before.chain(w.a).chain(w.b).chain(&w.sleeper) {
            assert!(OPS.contains(op), "{}: {op}", w.name);
        }
        let all = [w.a, w.b].concat();
        assert!(w.before.iter().any(|(a, _)| *a == Actor::B) && !all.is_empty(), "{}", w.name);
    }
}
