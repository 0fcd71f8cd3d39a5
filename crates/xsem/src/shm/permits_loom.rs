//! The models of permits and of joint requests, in the surroundings of `protocol_loom.rs`.

use super::count::{self, Bounds, Count, Doing, Ledger, Op};
use super::joint::{self, Attempt, Item};
use super::permits;
use super::protocol::{self, Limit, Outcome, Turn};
use super::protocol_loom::{Process, Shared, bounded, cycle, leave, owner, preempted};
use super::word::{State, Word};
use crate::sync::Ordering::*;

/// Joins the ledger: who sleeps looks again.
fn join(p: &Process<'_>) {
    p.shared.members.fetch_or(1 << p.slot, SeqCst);
    let words = p.shared.permits();
    loop {
        let w = words.count.load();
        if !w.has(count::WAITERS) {
            return;
        }
        if words.count.swap(w, w.with_flags(w.flags() | count::PENDING)) {
            return p.wake_pending(words.count.count);
        }
    }
}

fn take(p: &mut Process<'_>, n: u32) {
    p.shared.wants[p.slot as usize].store(n, Relaxed);
    let words = p.shared.permits();
    let claim = (p.slot, n);
    assert_eq!(permits::acquire(p, &words, claim, Limit::Never), Ok(Outcome::Owned));
}

fn give(p: &Process<'_>) {
    let (words, op) = (p.shared.permits(), &p.shared.ops[p.slot as usize]);
    let held = Op(op.load(Acquire));
    assert_eq!(held.doing(), Doing::Held);
    let giving = held.next(Doing::Giving, held.permits(), 0);
    op.compare_exchange(held.0, giving.0, AcqRel, Relaxed).unwrap();
    count::give(&words.count, p, p.slot, giving, || words.is_reserved());
}

fn borrow(s: &Shared, slot: u32, n: u32, now: u64) {
    let mut p = Process::new(s, slot, now);
    join(&p);
    take(&mut p, n);
    give(&p);
}

#[test]
fn loom_permits_are_neither_lost_nor_doubled() {
    bounded(|| {
        let s = Shared::with_permits(2);
        let other = {
            let s = s.clone();
            loom::thread::spawn(move || borrow(&s, 1, 2, 0))
        };
        borrow(&s, 2, 1, 0);
        other.join().unwrap();
        s.balance(4);
    });
}

#[test]
fn loom_two_take_turns_at_one_permit() {
    preempted(2, || {
        let s = Shared::with_permits(1);
        let other = {
            let s = s.clone();
            loom::thread::spawn(move || borrow(&s, 1, 1, 0))
        };
        borrow(&s, 2, 1, 0);
        other.join().unwrap();
        s.balance(4);
    });
}

#[test]
fn loom_permits_of_the_dead_come_back_once() {
    preempted(2, || {
        let s = Shared::with_permits(2);
        let mut p = Process::new(&s, 1, 0);
        join(&p);
        take(&mut p, 2);
        let waiter = {
            let s = s.clone();
            loom::thread::spawn(move || borrow(&s, 3, 1, 0))
        };
        s.die(1);
        borrow(&s, 2, 1, 0);
        waiter.join().unwrap();
        s.balance(4);
        assert_eq!(Count(s.count.load(SeqCst)).free(), 2);
    });
}

#[test]
fn loom_a_death_in_the_middle_of_giving_and_of_taking() {
    bounded(|| {
        let s = Shared::with_permits(2);
        let mut p = Process::new(&s, 1, 0);
        join(&p);
        take(&mut p, 1);
        // It dies after it has said what it does, and before or after the word says so, too.
        let op = Op(s.ops[1].load(SeqCst));
        s.ops[1].store(op.next(Doing::Giving, 1, 0).0, SeqCst);
        let killed = {
            let s = s.clone();
            loom::thread::spawn(move || {
                let words = s.permits();
                let p = Process::new(&s, 1, 0);
                let w = count::settle(&words.count, &p);
                let giving = Op(s.ops[1].load(Acquire));
                if giving.doing() == Doing::Giving {
                    count::carry_out(&words.count, w, 1, giving, 1, w.flags());
                }
                s.die(1);
            })
        };
        borrow(&s, 2, 2, 0);
        killed.join().unwrap();
        s.balance(4);
        assert_eq!(Count(s.count.load(SeqCst)).free(), 2);
    });
}

#[test]
fn loom_a_large_request_past_its_bound_is_served() {
    bounded(|| {
        let s = Shared::with_permits(2);
        let small = {
            let s = s.clone();
            loom::thread::spawn(move || borrow(&s, 1, 1, 0))
        };
        borrow(&s, 2, 2, protocol::BOUND);
        small.join().unwrap();
        s.balance(4);
        assert_eq!(s.permits_oldest.load(SeqCst), 0);
    });
}

/// Tries to have the word and `n` permits at one instant; whether it did.
fn both(s: &Shared, slot: u32, n: u32) -> bool {
    let p = Process::new(s, slot, 0);
    join(&p);
    let joint = &s.joints[slot as usize];
    let items = [Item::Exclusive(s.words()), Item::Permits(s.permits(), slot, n)];
    let mut turns = [Turn::new(), Turn::new()];
    for _ in 0..4 {
        let number = joint::begin(joint);
        match joint::attempt(&[&p, &p], joint, number, owner(slot), &items, &mut turns) {
            Attempt::Owned => {
                assert_eq!(Word(s.word.load(SeqCst)).owner(), Some(owner(slot)));
                s.inside.with_mut(|p| {
                    // SAFETY: only the owner of the word is here; loom would report a second one.
                    unsafe { *p += 1 }
                });
                give(&p);
                leave(s, slot);
                return true;
            }
            Attempt::Again => {}
            _ => break,
        }
    }
    // Nothing is left of it.
    assert_ne!(Word(s.word.load(SeqCst)).owner(), Some(owner(slot)));
    assert_eq!(Op(s.ops[slot as usize].load(SeqCst)).doing(), Doing::Idle);
    false
}

#[test]
fn loom_two_joint_requests_have_all_or_nothing() {
    preempted(2, || {
        let s = Shared::with_permits(2);
        let other = {
            let s = s.clone();
            loom::thread::spawn(move || both(&s, 1, 1))
        };
        both(&s, 2, 2);
        other.join().unwrap();
        s.balance(4);
        assert_eq!(Word(s.word.load(SeqCst)).state(), State::Free);
    });
}

#[test]
fn loom_a_joint_request_and_a_single_owner() {
    preempted(2, || {
        let s = Shared::with_permits(1);
        let single = {
            let s = s.clone();
            loom::thread::spawn(move || cycle(&s, 1))
        };
        both(&s, 2, 1);
        single.join().unwrap();
        s.balance(4);
        assert_eq!(Word(s.word.load(SeqCst)).state(), State::Free);
    });
}

#[test]
fn loom_a_joint_request_and_a_single_permit() {
    preempted(2, || {
        let s = Shared::with_permits(1);
        let single = {
            let s = s.clone();
            loom::thread::spawn(move || borrow(&s, 1, 1, 0))
        };
        both(&s, 2, 1);
        single.join().unwrap();
        s.balance(4);
        assert_eq!(Word(s.word.load(SeqCst)).state(), State::Free);
    });
}

#[test]
fn loom_a_joint_request_that_dies_open_withholds_nothing() {
    preempted(2, || {
        let s = Shared::with_permits(1);
        // Process 1 has taken both tentatively, and is killed before it came true.
        let number = joint::begin(&s.joints[1]);
        s.word.store(Word::new(1, 0).tentative(number, owner(1)).0, SeqCst);
        let p = Process::new(&s, 1, 0);
        join(&p);
        let op = Op(0).next(Doing::Joint, 1, 0);
        s.args[1].store(number as u64, SeqCst);
        s.ops[1].store(op.0, SeqCst);
        let w = s.permits().count.load();
        assert!(count::carry_out(&s.permits().count, w, 1, op, -1, 0));
        let others = [2, 3].map(|slot| {
            let s = s.clone();
            loom::thread::spawn(move || if slot == 2 { cycle(&s, 2) } else { borrow(&s, 3, 1, 0) })
        });
        s.die(1);
        for o in others {
            o.join().unwrap();
        }
        s.balance(4);
        assert_eq!(Word(s.word.load(SeqCst)).state(), State::Free);
    });
}

#[test]
fn loom_limits_change_under_those_who_ask() {
    bounded(|| {
        let s = Shared::with_permits(2);
        let other = {
            let s = s.clone();
            loom::thread::spawn(move || borrow(&s, 1, 1, 0))
        };
        let p = Process::new(&s, 2, 0);
        join(&p);
        let to_one = |b: Bounds, _: i32| Ok::<_, ()>((b.changed(1, 1), -1));
        assert_eq!(permits::change(&s.permits(), &p, 2, to_one), Ok(true));
        other.join().unwrap();
        s.balance(4);
        assert_eq!(Count(s.count.load(SeqCst)).free(), 1);
    });
}
