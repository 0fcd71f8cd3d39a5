//! The model against the sentences of the contract.

use super::*;
use xsem::Cause;

const A: Claimant = Claimant { process: 1, thread: 0 };
const A2: Claimant = Claimant { process: 1, thread: 1 };
const B: Claimant = Claimant { process: 2, thread: 0 };
const C: Claimant = Claimant { process: 3, thread: 0 };

fn one() -> (Model, Handle) {
    let mut m = Model::new(Limits::default());
    let h = m.create("s").unwrap();
    (m, h)
}

#[test]
fn names_follow_the_contract() {
    let (mut m, _) = one();
    assert_eq!(m.create("s"), Err(Code::AlreadyExists));
    assert_eq!(m.open("t"), Err(Code::SemNotFound));
    assert_eq!(m.remove("t"), Err(Code::SemNotFound));
    let long = "x".repeat(256);
    for bad in ["", "a\0", "a\n", long.as_str()] {
        assert_eq!(m.create(bad), Err(Code::InvalidName));
        assert_eq!(m.open(bad), Err(Code::InvalidName));
        assert_eq!(m.remove(bad), Err(Code::InvalidName));
    }
    assert!(m.create(&long[..255]).is_ok());
    assert_eq!(m.open_or_create("s"), m.open("s"));
}

#[test]
fn room_and_members_are_finite() {
    let mut m = Model::new(Limits { semaphores: 2, members: 2, ..Limits::default() });
    let (x, y) = (m.create("x").unwrap(), m.create("y").unwrap());
    assert_eq!(m.create("z"), Err(Code::TooManySemaphores));
    assert_eq!(m.create("y"), Err(Code::AlreadyExists), "183 goes before 100");
    m.try_acquire(A, &x).unwrap();
    m.try_acquire(B, &y).unwrap();
    assert_eq!(m.try_acquire(C, &x), Err(Code::SemUserLimit));
    m.process_ended(B.process);
    assert!(m.try_acquire(C, &y).unwrap().died.is_some());
}

#[test]
fn threads_exclude_each_other_like_strangers_and_one_thread_nests() {
    let (mut m, h) = one();
    let outer = m.try_acquire(A, &h).unwrap();
    let inner = m.try_acquire(A, &h).unwrap();
    assert!(!outer.nested && inner.nested);
    assert_eq!(outer.claim, inner.claim);
    for other in [A2, B] {
        assert_eq!(m.try_acquire(other, &h), Err(Code::ExclSemAlreadyOwned));
        assert_eq!(m.release(other, &h), Err(Code::ExclSemAlreadyOwned));
    }
    m.release_claim(inner.claim).unwrap();
    assert_eq!(m.inspect("s").unwrap().owner, Some((A, 1, outer.claim)));
    m.release(A, &h).unwrap();
    assert_eq!(m.release(A, &h), Err(Code::NotOwner));
    assert_eq!(m.release_claim(outer.claim), Err(Code::NotOwner));
}

#[test]
fn nesting_has_an_end() {
    let mut m = Model::new(Limits { depth: 3, ..Limits::default() });
    let h = m.create("s").unwrap();
    for _ in 0..3 {
        m.try_acquire(A, &h).unwrap();
    }
    assert_eq!(m.try_acquire(A, &h), Err(Code::TooManySemRequests));
    assert_eq!(m.inspect("s").unwrap().owner.unwrap().1, 3, "nothing changed");
}

#[test]
fn remove_refuses_while_held_or_waited_for_and_makes_handles_stale() {
    let (mut m, h) = one();
    let g = m.try_acquire(A, &h).unwrap();
    assert_eq!(m.acquire(B, &h), Outcome::Waits);
    assert_eq!(m.remove("s"), Err(Code::SemIsSet));
    m.release_claim(g.claim).unwrap();
    assert_eq!(m.remove("s"), Err(Code::SemIsSet), "B still waits");
    m.stop_waiting(B);
    m.remove("s").unwrap();
    assert_eq!(m.try_acquire(A, &h), Err(Code::InvalidHandle));
    let again = m.create("s").unwrap();
    assert_eq!(m.try_acquire(A, &h), Err(Code::InvalidHandle), "a new object of an old name is another object");
    m.try_acquire(A, &again).unwrap();
    assert_eq!(m.mark_consistent(g.claim), Err(Code::NotOwner));
}

#[test]
fn waiters_are_granted_only_when_it_is_free() {
    let (mut m, h) = one();
    let g = m.try_acquire(A, &h).unwrap();
    assert_eq!(m.acquire(B, &h), Outcome::Waits);
    assert_eq!(m.acquire(C, &h), Outcome::Waits);
    assert_eq!(m.grant(B, &h), None);
    m.release_claim(g.claim).unwrap();
    assert_eq!(m.next(&h), [B, C]);
    assert_eq!(m.grant(A, &h), None, "A does not wait");
    let c = m.grant(C, &h).unwrap();
    assert!(c.claim.token > g.claim.token && c.died.is_none());
    assert_eq!(m.inspect("s").unwrap().waiters, [B]);
}

#[test]
fn the_mark_keeps_the_first_the_latest_and_a_count() {
    let (mut m, h) = one();
    m.try_acquire(A, &h).unwrap();
    m.process_ended(A.process);
    let b = m.try_acquire(B, &h).unwrap();
    let d = b.died.unwrap();
    assert_eq!((d.first, d.latest, d.count), (d.latest, Obituary { who: A, cause: Cause::ProcessEnded }, 1));
    assert_eq!(m.try_acquire(B, &h).unwrap().died, None, "105 comes with the outermost claim only");
    m.abandon(b.claim).unwrap();
    assert_eq!(m.release_claim(b.claim), Err(Code::NotOwner), "all levels went");
    m.try_acquire(C, &h).unwrap();
    m.thread_ended(C);
    let a = m.try_acquire(A, &h).unwrap();
    let d = a.died.unwrap();
    assert_eq!((d.first.who, d.latest, d.count), (A, Obituary { who: C, cause: Cause::ThreadEnded }, 3));
    m.release_claim(a.claim).unwrap();
    let again = m.try_acquire(B, &h).unwrap();
    assert_eq!(again.died, Some(d), "until somebody acknowledges, every later owner is told");
    m.mark_consistent(again.claim).unwrap();
    m.release_claim(again.claim).unwrap();
    assert_eq!(m.try_acquire(C, &h).unwrap().died, None);
}

#[test]
fn a_death_without_a_claim_marks_nothing() {
    let (mut m, h) = one();
    let g = m.try_acquire(A, &h).unwrap();
    assert_eq!(m.acquire(B, &h), Outcome::Waits);
    m.process_ended(B.process);
    m.release_claim(g.claim).unwrap();
    m.thread_ended(A);
    assert_eq!(
        m.inspect("s").unwrap(),
        View { owner: None, holds: vec![], waiters: vec![], deaths: None, died: 0, capacity: None, signal: None, drained: false }
    );
}
