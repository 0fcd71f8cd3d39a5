//! Counting semaphores and lists, against the sentences of the contract.

use super::*;
use xsem::Capacity;

const A: Claimant = Claimant { process: 1, thread: 0 };
const B: Claimant = Claimant { process: 2, thread: 0 };
const C: Claimant = Claimant { process: 3, thread: 0 };

fn pool(limit: u32) -> (Model, Handle) {
    let mut m = Model::new(Limits::default());
    let h = m.make("p", &Spec::pool(limit)).unwrap();
    (m, h)
}

fn credit(limit: u32, initial: u32) -> (Model, Handle) {
    let mut m = Model::new(Limits::default());
    let h = m.make("c", &Spec::credit(limit, initial)).unwrap();
    (m, h)
}

fn numbers(m: &mut Model, h: &Handle) -> (u32, u32, u32) {
    let Capacity { limit, total, free, .. } = m.capacity(h).unwrap();
    (limit, total, free)
}

#[test]
fn limits_and_kinds_are_checked_at_creation() {
    let (mut m, _) = pool(4);
    assert_eq!(m.make("x", &Spec::pool(0)), Err(Code::InvalidParameter));
    assert_eq!(m.make("x", &Spec::pool(65_536)), Err(Code::InvalidParameter));
    assert_eq!(m.make("x", &Spec::credit(3, 4)), Err(Code::InvalidParameter));
    assert_eq!(m.open_or_make("p", &Spec::pool(5)), Err(Code::InvalidParameter));
    assert_eq!(m.open_or_make("p", &Spec::credit(4, 4)), Err(Code::InvalidParameter));
    assert!(m.open_or_make("p", &Spec::pool(4)).is_ok());
    assert_eq!(m.open("p"), Err(Code::InvalidHandle));
    assert_eq!(m.open_or_create("p"), Err(Code::InvalidHandle));
}

#[test]
fn permits_come_all_or_none_and_go_back() {
    let (mut m, h) = pool(4);
    assert_eq!(m.try_many(A, &h, 0), Err(Code::InvalidParameter));
    assert_eq!(m.try_many(A, &h, 5), Err(Code::InvalidParameter));
    let three = m.try_many(A, &h, 3).unwrap();
    assert_eq!(m.try_many(B, &h, 2), Err(Code::SemTimeout));
    assert_eq!(numbers(&mut m, &h), (4, 4, 1));
    let one = m.try_many(B, &h, 1).unwrap();
    assert!(one.claim.token > three.claim.token && !one.nested);
    assert_eq!(m.release_part(three.claim, 4), Err(Code::NotOwner));
    m.release_part(three.claim, 2).unwrap();
    assert_eq!(numbers(&mut m, &h), (4, 4, 2));
    m.release_part(three.claim, 1).unwrap();
    assert_eq!(m.release_claim(three.claim), Err(Code::NotOwner), "all of them end it");
    m.release_claim(one.claim).unwrap();
    assert_eq!(numbers(&mut m, &h), (4, 4, 4));
    assert_eq!(m.add_permits(&h, 1), Err(Code::InvalidFunction));
    let g = m.try_many(A, &h, 1).unwrap();
    assert_eq!(m.forget(g.claim), Err(Code::InvalidFunction));
}

#[test]
fn credit_grows_and_shrinks_within_its_limit() {
    let (mut m, h) = credit(3, 0);
    assert_eq!(m.try_many(A, &h, 1), Err(Code::SemTimeout));
    assert_eq!(m.add_permits(&h, 4), Err(Code::TooManyPosts));
    m.add_permits(&h, 3).unwrap();
    assert_eq!(m.add_permits(&h, 1), Err(Code::TooManyPosts));
    let g = m.try_many(A, &h, 2).unwrap();
    assert_eq!(m.add_permits(&h, 1), Err(Code::TooManyPosts), "what is held counts");
    assert_eq!(m.has_slots(g.claim), Err(Code::InvalidFunction));
    m.forget(g.claim).unwrap();
    assert_eq!(numbers(&mut m, &h), (3, 1, 1));
    assert_eq!(m.forget(g.claim), Err(Code::NotOwner));
    assert_eq!(m.resize(&h, 0), Err(Code::InvalidParameter));
    m.add_permits(&h, 1).unwrap();
    assert_eq!(m.resize(&h, 1), Err(Code::InvalidParameter));
    m.resize(&h, 2).unwrap();
    assert_eq!(m.add_permits(&h, 1), Err(Code::TooManyPosts));
}

#[test]
fn lowering_a_pool_takes_nothing_away() {
    let (mut m, h) = pool(4);
    let g = m.try_many(A, &h, 3).unwrap();
    m.resize(&h, 2).unwrap();
    assert_eq!(numbers(&mut m, &h), (2, 3, 0));
    m.release_part(g.claim, 1).unwrap();
    assert_eq!(m.try_many(B, &h, 1), Err(Code::SemTimeout));
    m.release_part(g.claim, 1).unwrap();
    m.try_many(B, &h, 1).unwrap();
    m.resize(&h, 5).unwrap();
    assert_eq!(numbers(&mut m, &h), (5, 5, 3));
}

#[test]
fn permits_of_the_dead_come_back_once_without_a_mark() {
    let (mut m, h) = pool(2);
    let g = m.try_many(A, &h, 2).unwrap();
    assert_eq!(m.request(B, How::One, &[(&h, 1)], Until::Forever), Reply::Waits);
    m.process_ended(A.process);
    assert_eq!(m.next(&h), [B]);
    assert_eq!(m.granted(B).unwrap()[0].1.died, None);
    assert_eq!(m.release_claim(g.claim), Err(Code::NotOwner));
    m.thread_ended(B);
    assert_eq!(numbers(&mut m, &h), (2, 2, 2));
    let v = m.inspect("p").unwrap();
    assert_eq!((v.died, v.deaths), (2, None));
}

#[test]
fn slots_are_ones_own() {
    let (mut m, h) = pool(4);
    let (a, b) = (m.try_many(A, &h, 2).unwrap().claim, m.try_many(B, &h, 2).unwrap().claim);
    assert!(m.saw_slots(a, &[0]).is_err());
    assert!(m.saw_slots(a, &[1, 0]).is_err());
    m.saw_slots(a, &[0, 3]).unwrap();
    assert!(m.saw_slots(a, &[0, 1]).is_err(), "they stay");
    assert!(m.saw_slots(b, &[2, 3]).is_err(), "3 is taken");
    m.saw_slots(b, &[1, 2]).unwrap();
    m.release_part(a, 1).unwrap();
    m.saw_slots(a, &[0]).unwrap();
}

fn three() -> (Model, Handle, Handle, Handle) {
    let mut m = Model::new(Limits::default());
    let (x, y) = (m.create("x").unwrap(), m.create("y").unwrap());
    let p = m.make("p", &Spec::pool(2)).unwrap();
    (m, x, y, p)
}

fn which(r: Reply) -> Vec<usize> {
    match r {
        Reply::Granted(g) => g.iter().map(|(i, _)| *i).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn lists_are_checked() {
    let (mut m, x, y, _) = three();
    let many: Vec<(&Handle, u32)> = (0..65).map(|_| (&x, 1)).collect();
    let bad = |code| Reply::Refused(code, vec![]);
    for how in [How::Any, How::All] {
        assert_eq!(m.request(A, how, &[], Until::Now), bad(Code::InvalidEventCount));
        assert_eq!(m.request(A, how, &many, Until::Now), bad(Code::InvalidEventCount));
    }
    let twice = [(&x, 1), (&y, 1), (&x, 1)];
    assert_eq!(m.request(A, How::All, &twice, Until::Now), Reply::Refused(Code::InvalidListFormat, vec![0, 2]));
    assert_eq!(which(m.request(A, How::Any, &twice, Until::Now)), [0]);
    assert_eq!(m.request(A, How::Any, &[(&x, 2)], Until::Now), Reply::Refused(Code::InvalidParameter, vec![0]));
}

#[test]
fn any_takes_the_lowest_and_all_takes_all_or_nothing() {
    let (mut m, x, y, p) = three();
    m.try_acquire(B, &x).unwrap();
    let list = [(&x, 1), (&p, 2), (&y, 1)];
    assert_eq!(m.request(A, How::All, &list, Until::Now), Reply::Refused(Code::SemTimeout, vec![]));
    assert_eq!(numbers(&mut m, &p), (2, 2, 2), "nothing was taken");
    assert_eq!(which(m.request(A, How::Any, &list, Until::Now)), [1]);
    assert_eq!(which(m.request(C, How::Any, &list, Until::Now)), [2]);
    assert_eq!(m.request(C, How::All, &list, Until::Deadline), Reply::Waits);
    m.process_ended(B.process);
    assert_eq!(m.granted(C), None, "the pool is still empty");
    m.process_ended(A.process);
    let all = m.granted(C).unwrap();
    assert_eq!(all.iter().map(|(i, g)| (*i, g.died.is_some())).collect::<Vec<_>>(), [(0, true), (1, false), (2, false)]);
    assert!(all[2].1.nested);
}
