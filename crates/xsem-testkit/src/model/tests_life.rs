//! Deadlocks, and how handles, claims and names end, against the sentences of the contract.

use super::*;

const A: Claimant = Claimant { process: 1, thread: 0 };
const B: Claimant = Claimant { process: 2, thread: 0 };
const C: Claimant = Claimant { process: 3, thread: 0 };

fn world() -> (Model, Handle, Handle, Handle) {
    let mut m = Model::new(Limits::default());
    let (x, y) = (m.create("x").unwrap(), m.create("y").unwrap());
    let p = m.make("p", &Spec::pool(2)).unwrap();
    (m, x, y, p)
}

fn refused(r: Reply) -> Option<Code> {
    match r {
        Reply::Refused(code, _) => Some(code),
        _ => None,
    }
}

#[test]
fn the_wait_that_closes_a_cycle_is_refused() {
    let (mut m, x, y, p) = world();
    m.try_acquire(A, &x).unwrap();
    m.try_acquire(B, &y).unwrap();
    m.try_many(C, &p, 2).unwrap();
    assert_eq!(m.acquire(A, &y), Outcome::Waits);
    assert_eq!(m.acquire(B, &p), Outcome::Waits);
    assert_eq!(m.request(C, How::One, &[(&x, 1)], Until::Deadline), Reply::Waits, "a time breaks it");
    m.stop_waiting(C);
    assert_eq!(m.acquire(C, &x), Outcome::Refused(Code::PossibleDeadlock));
    assert_eq!(m.try_acquire(C, &x), Err(Code::ExclSemAlreadyOwned), "a try never waits");
    assert!(m.stuck().is_empty());
}

#[test]
fn what_somebody_could_still_break_is_no_cycle() {
    let (mut m, x, y, p) = world();
    m.try_acquire(A, &x).unwrap();
    m.try_many(B, &p, 1).unwrap();
    m.try_many(C, &p, 1).unwrap();
    assert_eq!(m.acquire(B, &x), Outcome::Waits);
    // C holds the other permit and waits for nobody.
    assert_eq!(m.acquire(A, &p), Outcome::Waits);
    assert_eq!(m.acquire(C, &x), Outcome::Refused(Code::PossibleDeadlock), "now nobody could");
    m.try_acquire(C, &y).unwrap();
    assert_eq!(m.request(C, How::Any, &[(&x, 1), (&p, 1)], Until::Forever), Reply::Refused(Code::PossibleDeadlock, vec![]));
    assert_eq!(which_waits(m.request(C, How::Any, &[(&x, 1), (&y, 1)], Until::Forever)), Some(1), "it nests");
}

fn which_waits(r: Reply) -> Option<usize> {
    match r {
        Reply::Granted(g) => Some(g[0].0),
        _ => None,
    }
}

#[test]
fn waiting_for_ones_own_permits_is_a_cycle_of_one() {
    let (mut m, _, _, p) = world();
    m.try_many(A, &p, 1).unwrap();
    assert_eq!(refused(m.request(A, How::One, &[(&p, 2)], Until::Forever)), Some(Code::PossibleDeadlock));
    let anybody = Claimant { process: 1, thread: Claimant::ANY_THREAD };
    m.try_many(anybody, &p, 1).unwrap();
    assert_eq!(m.acquire(B, &p), Outcome::Waits, "A could give it back");
    assert_eq!(m.acquire(A, &p), Outcome::Waits, "and any thread of its process the other");
    let c = m.make("c", &Spec::credit(2, 0)).unwrap();
    assert_eq!(m.acquire(C, &c), Outcome::Waits, "anybody may add to a credit");
}

#[test]
fn close_refuses_while_the_handle_is_used() {
    let (mut m, x, _, p) = world();
    let (h1, h2) = (m.opened_by(1, p.clone()), m.opened_by(1, p.clone()));
    let g = m.try_many(A, &h1, 2).unwrap();
    assert_eq!(m.close(&h1), Err(Code::SemIsSet));
    let other = Claimant { thread: 1, ..A };
    assert_eq!(m.request(other, How::One, &[(&h2, 1)], Until::Deadline), Reply::Waits);
    assert_eq!(m.close(&h2), Err(Code::SemIsSet), "somebody waits through it");
    m.stop_waiting(other);
    m.close(&h2).unwrap();
    assert_eq!(m.try_many(A, &h2, 1), Err(Code::InvalidHandle));
    m.release_claim(g.claim).unwrap();
    m.close(&h1).unwrap();
    assert!(m.list().contains(&"p"), "the object stays");
    let hx = m.opened_by(1, x);
    let gx = m.try_acquire(A, &hx).unwrap();
    assert_eq!(m.close(&hx), Err(Code::SemIsSet));
    m.abandon(gx.claim).unwrap();
    m.close(&hx).unwrap();
}

#[test]
fn an_ephemeral_name_goes_with_its_last_user() {
    let mut m = Model::new(Limits::default());
    let e = m.make("e", &Spec::pool(1).ephemeral(true)).unwrap();
    let (a, b) = (m.opened_by(1, e.clone()), m.opened_by(2, e));
    m.close(&a).unwrap();
    assert_eq!(m.list(), ["e"]);
    m.try_many(B, &b, 1).unwrap();
    m.process_ended(2);
    assert!(m.list().is_empty());
}

#[test]
fn drain_refuses_the_new_and_waits_for_the_old() {
    let (mut m, _, _, p) = world();
    let g = m.try_many(A, &p, 1).unwrap();
    assert_eq!(m.request(B, How::One, &[(&p, 2)], Until::Deadline), Reply::Waits);
    assert_eq!(m.drain(C, "p"), Drained::Waits);
    assert_eq!(m.drain(A, "p"), Drained::Refused(Code::SemIsSet));
    assert_eq!(m.try_many(C, &p, 1), Err(Code::SemIsSet));
    m.release_claim(g.claim).unwrap();
    assert!(!m.is_drained("p"));
    let b = m.granted(B).unwrap()[0].1;
    m.release_claim(b.claim).unwrap();
    assert!(m.is_drained("p"));
    assert_eq!(m.try_many(A, &p, 1), Err(Code::SemIsSet), "it stays so");
    assert_eq!(m.reopen("p"), Ok(None));
    m.try_many(A, &p, 1).unwrap();
    assert_eq!(m.drain(C, "p"), Drained::Waits);
    m.process_ended(C.process);
    m.try_many(B, &p, 1).unwrap();
    assert_eq!(m.drain(C, "p"), Drained::Waits);
    assert_eq!(m.reopen("p"), Ok(Some(C)));
    assert_eq!(m.drain(C, "q"), Drained::Refused(Code::SemNotFound));
}

#[test]
fn evict_ends_a_claim_by_its_token() {
    let (mut m, x, _, p) = world();
    let (a, b) = (m.try_acquire(A, &x).unwrap().claim, m.try_many(B, &p, 2).unwrap().claim);
    assert_eq!(m.evict("x", a.token + 1), Err(Code::NotOwner));
    assert_eq!(m.evict("q", 1), Err(Code::SemNotFound));
    m.evict("x", a.token).unwrap();
    m.evict("p", b.token).unwrap();
    assert_eq!((m.release_claim(a), m.release_claim(b)), (Err(Code::NotOwner), Err(Code::NotOwner)));
    let next = m.try_acquire(C, &x).unwrap();
    assert_eq!(next.died.unwrap().latest, Obituary { who: A, cause: xsem::Cause::Evicted });
    assert_eq!(m.try_many(C, &p, 2).unwrap().died, None);
}

#[test]
fn gc_takes_only_what_is_idle() {
    let (mut m, x, y, p) = world();
    m.try_acquire(A, &x).unwrap();
    assert_eq!(m.acquire(B, &x), Outcome::Waits);
    assert_eq!(m.drain(C, "y"), Drained::Done);
    assert_eq!(m.gc(|n| n != "p"), Vec::<String>::new());
    assert_eq!(m.gc(|_| true), ["p"]);
    assert_eq!((m.try_acquire(A, &p), m.try_acquire(A, &y)), (Err(Code::InvalidHandle), Err(Code::SemIsSet)));
}

#[test]
fn a_shared_claim_ends_with_the_last_and_every_death_among_them_marks_it() {
    let (mut m, x, ..) = world();
    let claim = m.try_acquire(A, &x).unwrap().claim;
    assert_eq!((m.join(2, &x, claim.token), m.join(3, &x, claim.token)), (Ok(true), Ok(true)));
    assert_eq!(m.join(4, &x, claim.token + 1), Ok(false), "another claim");
    m.release_part_of(1, claim).unwrap();
    assert!(m.is_held(claim) && m.is_shared(claim), "it is B's now, and C's");
    assert_eq!(m.release_part_of(1, claim), Err(Code::NotOwner));
    m.process_ended(3);
    m.release_part_of(2, claim).unwrap();
    assert!(!m.is_held(claim));
    let grant = m.try_acquire(A, &x).unwrap();
    assert_eq!(grant.died.map(|d| (d.count, d.first.who.process)), Some((1, 3)));
    // The owner dies; until somebody takes it over, it can be shared.
    m.process_ended(1);
    assert_eq!(m.join_dead(2, &x, grant.claim.token), Ok(true));
    assert_eq!(m.try_acquire(C, &x), Err(Code::ExclSemAlreadyOwned));
    m.release_part_of(2, grant.claim).unwrap();
    assert_eq!(m.try_acquire(C, &x).unwrap().died.unwrap().count, 2);
    assert_eq!(m.join_dead(2, &x, grant.claim.token), Ok(false));
}
