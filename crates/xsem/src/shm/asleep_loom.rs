//! Models in which somebody sleeps before the others begin.
//!
//! loom's search with a bound on preemptions leaves out orders in which a new thread would come first, so a wake-up that is
//! missing can pass a model in which the sleeper has yet to fall asleep. Here the word is armed before the thread begins, and
//! the thread goes on from there.

use super::count::{self, Count, Doing, Op};
use super::joint;
use super::permits;
use super::protocol::{self, Limit, Look, Outcome, Turn, Watching, World};
use super::protocol_loom::{Process, Shared, bounded, leave, owner, preempted};
use super::word::{CLOSING, MARK, State, WAITERS, Word};
use crate::sync::Ordering::*;
use loom::sync::Arc;
use loom::thread::{JoinHandle, spawn};

/// Looks until it owns the word or has to sleep; whether it owns it.
fn owns(p: &mut Process<'_>, turn: &mut Turn) -> bool {
    let s = p.shared;
    match protocol::look(turn, p, &s.words(), owner(p.slot), Limit::Never).unwrap() {
        Look::End(outcome) => {
            assert_eq!(outcome, Outcome::Owned);
            turn.leave(p, &s.word, s.words().oldest, true);
            true
        }
        Look::Sleep { .. } => false,
        Look::Gate { .. } => unreachable!("the gate is open in these models"),
    }
}

/// One that sleeps on the word already, then owns it and gives it back.
fn waiter(s: &Arc<Shared>, slot: u32, now: u64) -> JoinHandle<()> {
    let (s, mut turn) = (s.clone(), Turn::new());
    assert!(!owns(&mut Process::new(&s, slot, now), &mut turn));
    let expect = s.word.load(SeqCst);
    assert!(Word(expect).has(WAITERS));
    spawn(move || {
        let mut p = Process::new(&s, slot, now);
        loop {
            match protocol::look(&mut turn, &mut p, &s.words(), owner(slot), Limit::Never).unwrap() {
                Look::End(outcome) => {
                    assert_eq!(outcome, Outcome::Owned);
                    turn.leave(&p, &s.word, s.words().oldest, true);
                    break;
                }
                Look::Sleep { expect, watch, until } => p.sleep(&s.word, expect, watch, until),
                Look::Gate { .. } => unreachable!("the gate is open in these models"),
            }
        }
        s.inside.with_mut(|n| {
            // SAFETY: only the owner of the word is here; loom would report a second one.
            unsafe { *n += 1 }
        });
        leave(&s, slot);
    })
}

fn own(s: &Shared, slot: u32) {
    assert!(owns(&mut Process::new(s, slot, 0), &mut Turn::new()));
}

#[test]
fn loom_a_release_wakes_all_who_sleep() {
    bounded(|| {
        let s = Arc::new(Shared::plain());
        own(&s, 1);
        let waiters = [2, 3].map(|slot| waiter(&s, slot, 0));
        leave(&s, 1);
        for w in waiters {
            w.join().unwrap();
        }
        assert_eq!(Word(s.word.load(SeqCst)).state(), State::Free);
    });
}

#[test]
fn loom_a_release_past_the_bound_of_two_sleepers() {
    preempted(2, || {
        let s = Arc::new(Shared::plain());
        own(&s, 1);
        let first = waiter(&s, 2, 0);
        let late = spawn({
            let s = s.clone();
            move || {
                let mut p = Process::new(&s, 3, protocol::BOUND);
                assert_eq!(protocol::acquire(&mut p, &s.words(), owner(3), Limit::Never), Ok(Outcome::Owned));
                leave(&s, 3);
            }
        });
        leave(&s, 1);
        first.join().unwrap();
        late.join().unwrap();
        assert_eq!(Word(s.word.load(SeqCst)).state(), State::Free);
    });
}

#[test]
fn loom_a_death_wakes_all_who_sleep() {
    bounded(|| {
        let s = Arc::new(Shared::plain());
        own(&s, 1);
        let waiters = [2, 3].map(|slot| waiter(&s, slot, 0));
        s.die(1);
        for w in waiters {
            w.join().unwrap();
        }
        let w = Word(s.word.load(SeqCst));
        assert!(w.state() == State::Free && w.has(MARK));
    });
}

#[test]
fn loom_an_owner_that_dies_in_the_middle_of_its_release() {
    bounded(|| {
        let s = Arc::new(Shared::plain());
        own(&s, 1);
        let waiters = [2, 3].map(|slot| waiter(&s, slot, 0));
        // As far as CLOSING, and no further: it still owns.
        let w = Word(s.word.load(SeqCst));
        s.word.store(w.with(CLOSING).0, SeqCst);
        s.die(1);
        for w in waiters {
            w.join().unwrap();
        }
        let w = Word(s.word.load(SeqCst));
        assert!(w.state() == State::Free && w.has(MARK));
    });
}

/// One that sleeps on the count word already, then has `n` permits and gives them back.
fn borrower(s: &Arc<Shared>, slot: u32, n: u32) -> JoinHandle<()> {
    let (s, mut turn) = (s.clone(), Turn::new());
    s.members.fetch_or(1 << slot, SeqCst);
    s.wants[slot as usize].store(n, Relaxed);
    let began = permits::look(&mut turn, &mut Process::new(&s, slot, 0), &s.permits(), (slot, n), Limit::Never).unwrap();
    assert!(matches!(began, Look::Sleep { .. }));
    spawn(move || {
        let mut p = Process::new(&s, slot, 0);
        let words = s.permits();
        loop {
            match permits::look(&mut turn, &mut p, &words, (slot, n), Limit::Never).unwrap() {
                Look::End(outcome) => {
                    assert_eq!(outcome, Outcome::Owned);
                    turn.leave(&p, words.count.count, words.oldest, true);
                    break;
                }
                Look::Sleep { expect, watch, until } => p.sleep(words.count.count, expect, watch, until),
                Look::Gate { .. } => unreachable!("nobody owns the word of a pool"),
            }
        }
        give(&s, slot);
    })
}

/// Takes what is free, at once.
fn take(s: &Shared, slot: u32, n: u32) {
    s.members.fetch_or(1 << slot, SeqCst);
    s.wants[slot as usize].store(n, Relaxed);
    let mut p = Process::new(s, slot, 0);
    assert_eq!(permits::acquire(&mut p, &s.permits(), (slot, n), Limit::Never), Ok(Outcome::Owned));
}

fn give(s: &Shared, slot: u32) {
    let (words, op, p) = (s.permits(), &s.ops[slot as usize], Process::new(s, slot, 0));
    let held = Op(op.load(Acquire));
    assert_eq!(held.doing(), Doing::Held);
    let giving = held.next(Doing::Giving, held.permits(), 0);
    op.compare_exchange(held.0, giving.0, AcqRel, Relaxed).unwrap();
    count::give(&words.count, &p, slot, giving, || words.is_reserved());
}

#[test]
fn loom_permits_that_come_back_wake_who_asked_for_several() {
    bounded(|| {
        let s = Shared::with_permits(2);
        take(&s, 1, 2);
        let waiter = borrower(&s, 2, 2);
        give(&s, 1);
        waiter.join().unwrap();
        s.balance(4);
    });
}

#[test]
fn loom_permits_that_come_back_wake_all_whom_they_may_serve() {
    // Three who meet at one word: more switches than one make it minutes.
    preempted(1, || {
        let s = Shared::with_permits(2);
        take(&s, 1, 2);
        let waiters = [2, 3].map(|slot| borrower(&s, slot, 1));
        give(&s, 1);
        for w in waiters {
            w.join().unwrap();
        }
        s.balance(4);
    });
}

#[test]
fn loom_permits_of_the_dead_wake_who_sleeps() {
    preempted(2, || {
        let s = Shared::with_permits(2);
        take(&s, 1, 2);
        let waiters = [(2, 1), (3, 2)].map(|(slot, n)| borrower(&s, slot, n));
        s.die(1);
        for w in waiters {
            w.join().unwrap();
        }
        s.balance(4);
        assert_eq!(Count(s.count.load(SeqCst)).free(), 2);
    });
}

#[test]
fn loom_who_gives_back_dies_before_it_wakes() {
    bounded(|| {
        let s = Shared::with_permits(1);
        take(&s, 1, 1);
        let waiter = borrower(&s, 2, 1);
        // The word says so, and that the sleepers are to be woken; then it is over with process 1.
        let (words, p) = (s.permits(), Process::new(&s, 1, 0));
        let held = Op(s.ops[1].load(SeqCst));
        let giving = held.next(Doing::Giving, 1, 0);
        s.ops[1].store(giving.0, SeqCst);
        let w = count::settle(&words.count, &p);
        assert!(w.has(count::WAITERS));
        assert!(count::carry_out(&words.count, w, 1, giving, 1, w.flags() | count::PENDING));
        s.die(1);
        waiter.join().unwrap();
        s.balance(4);
        assert_eq!(Count(s.count.load(SeqCst)).free(), 1);
    });
}

/// Somebody wants both at one instant, while one who slept on one of them wakes up; whoever is first, the other is served or
/// refused, and nobody stays asleep.
fn meets_a_joint_request(sleeps: impl Fn(&Arc<Shared>) -> JoinHandle<()> + Sync + Send + 'static) {
    preempted(2, move || {
        let s = Shared::with_permits(1);
        own(&s, 4);
        take(&s, 4, 1);
        let sleeper = sleeps(&s);
        give(&s, 4);
        leave(&s, 4);
        let (p, joint) = (Process::new(&s, 1, 0), &s.joints[1]);
        s.members.fetch_or(1 << 1, SeqCst);
        let items = [joint::Item::Exclusive(s.words()), joint::Item::Permits(s.permits(), 1, 1)];
        let mut turns = [Turn::new(), Turn::new()];
        if let joint::Attempt::Owned = joint::attempt(&[&p, &p], joint, joint::begin(joint), owner(1), &items, &mut turns) {
            give(&s, 1);
            leave(&s, 1);
        }
        sleeper.join().unwrap();
        s.balance(4);
        assert_eq!(Word(s.word.load(SeqCst)).state(), State::Free);
    });
}

#[test]
fn loom_a_joint_request_meets_one_who_slept_on_the_word() {
    meets_a_joint_request(|s| waiter(s, 2, 0));
}

#[test]
fn loom_a_joint_request_meets_one_who_slept_on_permits() {
    meets_a_joint_request(|s| borrower(s, 3, 1));
}

/// In line behind one that sleeps on the word; then each owns it in turn.
fn in_line(s: &Arc<Shared>, slot: u32) -> JoinHandle<()> {
    let (s, mut turn) = (s.clone(), Turn::patient());
    let mut p = Process::new(&s, slot, 0);
    let look = protocol::look(&mut turn, &mut p, &s.words(), owner(slot), Limit::Never).unwrap();
    assert!(matches!(look, Look::Sleep { watch: Watching::InLine(_), .. }), "{look:?}");
    spawn(move || {
        let mut p = Process::new(&s, slot, 0);
        let mut look = look;
        loop {
            match look {
                Look::End(outcome) => {
                    assert_eq!(outcome, Outcome::Owned);
                    break;
                }
                Look::Sleep { expect, watch, until } => p.sleep(&s.word, expect, watch, until),
                Look::Gate { .. } => unreachable!("the gate is open in these models"),
            }
            look = protocol::look(&mut turn, &mut p, &s.words(), owner(slot), Limit::Never).unwrap();
        }
        turn.leave(&p, &s.word, s.words().oldest, true);
        s.inside.with_mut(|n| {
            // SAFETY: only the owner of the word is here; loom would report a second one.
            unsafe { *n += 1 }
        });
        leave(&s, slot);
    })
}

#[test]
fn loom_the_line_is_called_one_after_the_other() {
    preempted(2, || {
        let s = Arc::new(Shared::plain());
        own(&s, 1);
        let first = waiter(&s, 2, 0);
        let behind = [3, 4].map(|slot| in_line(&s, slot));
        leave(&s, 1);
        first.join().unwrap();
        for b in behind {
            b.join().unwrap();
        }
        assert_eq!((Word(s.word.load(SeqCst)).state(), s.words().oldest.load(SeqCst)), (State::Free, 0));
    });
}

#[test]
fn loom_one_lines_up_while_the_oldest_goes() {
    bounded(|| {
        let s = Arc::new(Shared::plain());
        own(&s, 1);
        let first = waiter(&s, 2, 0);
        let late = spawn({
            let s = s.clone();
            move || super::protocol_loom::cycle(&s, 3)
        });
        leave(&s, 1);
        first.join().unwrap();
        late.join().unwrap();
        assert_eq!((Word(s.word.load(SeqCst)).state(), s.words().oldest.load(SeqCst)), (State::Free, 0));
    });
}

#[test]
fn loom_the_oldest_dies_before_those_in_line() {
    bounded(|| {
        let s = Arc::new(Shared::plain());
        own(&s, 1);
        // It sleeps, and dies, and never comes back.
        assert!(!owns(&mut Process::new(&s, 2, 0), &mut Turn::new()));
        let behind = in_line(&s, 3);
        let killer = spawn({
            let s = s.clone();
            move || s.die(2)
        });
        leave(&s, 1);
        killer.join().unwrap();
        behind.join().unwrap();
        assert_eq!(Word(s.word.load(SeqCst)).state(), State::Free);
    });
}
