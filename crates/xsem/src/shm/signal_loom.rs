//! The models of events, in the surroundings of `protocol_loom.rs`.

use super::count::{self, Count, Doing, Op};
use super::joint::{self, Attempt, Item};
use super::protocol::{self, Limit, Look, Outcome, Turn, World};
use super::protocol_loom::{Process, Shared, bounded, leave, owner, preempted};
use super::signal;
use super::word::Word;
use crate::sync::{AtomicU64, Ordering::*};
use loom::sync::Arc;

fn event(is_set: bool) -> Arc<Shared> {
    let mut s = Shared::plain();
    s.is_event = true;
    s.count.store(Count::first(0, 1, is_set as u32).0, SeqCst);
    Arc::new(s)
}

fn is_set(s: &Shared, manual: bool) -> bool {
    signal::is_set(count::settle(&s.permits().count, &Process::new(s, 0, 0)), manual)
}

/// Goes on with a wait that may have begun.
fn go_on(p: &mut Process<'_>, turn: &mut Turn, manual: bool) {
    let words = p.shared.permits();
    let done = loop {
        match signal::look(turn, p, &words, manual, Limit::Never).unwrap() {
            Look::End(outcome) => break outcome,
            Look::Sleep { expect, watch, until } => p.sleep(words.count.count, expect, watch, until),
            Look::Gate { .. } => unreachable!("nobody owns an event"),
        }
    };
    turn.leave(p, words.count.count, words.oldest, true);
    assert_eq!(done, Outcome::Owned);
}

fn wait(s: &Shared, slot: u32, manual: bool, now: u64) {
    go_on(&mut Process::new(s, slot, now), &mut Turn::new(), manual);
}

fn send(s: &Shared, slot: u32, manual: bool) -> bool {
    signal::signal(&s.permits(), &Process::new(s, slot, 0), manual).unwrap()
}

/// Waits for it and signals it again.
fn pass_on(s: &Shared, slot: u32, now: u64) {
    wait(s, slot, false, now);
    assert!(send(s, slot, false), "it had been consumed");
}

#[test]
fn loom_a_signal_is_consumed_by_one_and_then_by_the_next() {
    bounded(|| {
        let s = event(false);
        let other = {
            let s = s.clone();
            loom::thread::spawn(move || pass_on(&s, 1, 0))
        };
        send(&s, 0, false);
        pass_on(&s, 2, 0);
        other.join().unwrap();
        assert!(is_set(&s, false));
    });
}

#[test]
fn loom_three_wait_for_one_event_one_past_its_bound() {
    preempted(2, || {
        let s = event(true);
        let others = [(1, 0), (3, protocol::BOUND)].map(|(slot, now)| {
            let s = s.clone();
            loom::thread::spawn(move || pass_on(&s, slot, now))
        });
        pass_on(&s, 2, 0);
        for o in others {
            o.join().unwrap();
        }
        assert!(is_set(&s, false));
        assert_eq!(s.permits_oldest.load(SeqCst), 0);
    });
}

#[test]
fn loom_a_manual_signal_reaches_all_who_wait_also_if_it_is_reset() {
    preempted(2, || {
        let s = event(false);
        let waiters = [1, 2].map(|slot| waiting(&s, slot, true));
        assert!(send(&s, 0, true));
        assert_eq!(signal::reset(&s.permits(), &Process::new(&s, 0, 0), true), Some(true));
        for w in waiters {
            w.join().unwrap();
        }
        assert!(!is_set(&s, true));
    });
}

/// A wait that has begun and armed the word, and goes on in a thread of its own. Armed before the thread begins: loom's search
/// with a bound on preemptions does not look at every order in which a new thread could come first.
fn waiting(s: &Arc<Shared>, slot: u32, manual: bool) -> loom::thread::JoinHandle<()> {
    let (s, mut turn) = (s.clone(), Turn::new());
    let began = signal::look(&mut turn, &mut Process::new(&s, slot, 0), &s.permits(), manual, Limit::Never).unwrap();
    assert!(matches!(began, Look::Sleep { .. }));
    loom::thread::spawn(move || go_on(&mut Process::new(&s, slot, 0), &mut turn, manual))
}

#[test]
fn loom_who_signals_dies_before_it_wakes() {
    bounded(|| {
        let s = event(false);
        let waiter = waiting(&s, 1, false);
        // As far as the compare-and-swap, and no further.
        let w = s.permits().count.load();
        if w.has(count::WAITERS) {
            let _ = s.permits().count.swap(w, w.set(1, w.flags() | count::PENDING));
        }
        // Whoever comes next makes it true, and the waiter ends.
        send(&s, 2, false);
        waiter.join().unwrap();
    });
}

#[test]
fn loom_a_signal_wakes_who_sleeps() {
    preempted(2, || {
        let s = event(false);
        let waiters = [1, 3].map(|slot| waiting(&s, slot, false));
        assert!(send(&s, 2, false));
        // The next signal may come before the first was consumed: then it is the same one.
        while !send(&s, 2, false) {
            loom::thread::yield_now();
        }
        for w in waiters {
            w.join().unwrap();
        }
        assert!(!is_set(&s, false));
    });
}

/// Tries to have the word and the signal at one instant; whether it did.
fn both(s: &Shared, slot: u32, manual: bool) -> bool {
    let p = Process::new(s, slot, 0);
    let joint = &s.joints[slot as usize];
    let items = [Item::Exclusive(s.words()), Item::Event(s.permits(), slot, manual)];
    let mut turns = [Turn::new(), Turn::new()];
    let mut got = false;
    for _ in 0..3 {
        let number = joint::begin(joint);
        match joint::attempt(&[&p, &p], joint, number, owner(slot), &items, &mut turns) {
            Attempt::Owned => {
                leave(s, slot);
                got = true;
                break;
            }
            Attempt::Again => {}
            _ => break,
        }
    }
    assert_eq!(Op(s.ops[slot as usize].load(SeqCst)).doing(), Doing::Idle);
    assert_ne!(Word(s.word.load(SeqCst)).owner(), Some(owner(slot)));
    got
}

#[test]
fn loom_a_joint_request_and_a_single_wait_share_one_signal() {
    preempted(2, || {
        let s = event(true);
        let single = {
            let s = s.clone();
            loom::thread::spawn(move || pass_on(&s, 1, 0))
        };
        if both(&s, 2, false) {
            assert!(send(&s, 2, false), "it had been consumed");
        }
        single.join().unwrap();
        assert!(is_set(&s, false));
    });
}

#[test]
fn loom_a_signal_meets_a_joint_request_and_none_is_doubled() {
    preempted(2, || {
        let s = event(true);
        let other = {
            let s = s.clone();
            loom::thread::spawn(move || send(&s, 1, false))
        };
        let got = both(&s, 2, false);
        let changed = other.join().unwrap();
        // The second signal counts only if the first was consumed before.
        assert!(got || !changed);
        assert_eq!(is_set(&s, false), !got || changed);
        let p = Process::new(&s, 3, 0);
        assert_eq!(signal::reset(&s.permits(), &p, false), Some(!got || changed));
        assert_eq!(signal::reset(&s.permits(), &p, false), Some(false), "nothing comes back later");
    });
}

#[test]
fn loom_a_manual_event_is_signalled_when_a_joint_request_comes_true() {
    preempted(2, || {
        let s = event(true);
        let over = Arc::new(AtomicU64::new(0));
        let resets = {
            let (s, over) = (s.clone(), over.clone());
            loom::thread::spawn(move || {
                assert_eq!(signal::reset(&s.permits(), &Process::new(&s, 1, 0), true), Some(true));
                over.store(1, SeqCst);
            })
        };
        let late = over.load(SeqCst) == 1;
        let got = both(&s, 2, true);
        assert!(!(late && got));
        resets.join().unwrap();
        assert!(!is_set(&s, true));
    });
}

#[test]
fn loom_what_was_reset_stays_reset() {
    preempted(2, || {
        let s = event(true);
        let resets = {
            let s = s.clone();
            loom::thread::spawn(move || signal::reset(&s.permits(), &Process::new(&s, 1, 0), false).unwrap())
        };
        let got = both(&s, 2, false);
        assert_eq!(resets.join().unwrap(), !got, "reset, or consumed before");
        assert!(!is_set(&s, false), "nothing comes back later");
    });
}

#[test]
fn loom_a_wait_finds_what_a_dead_request_has_not_given_back() {
    bounded(|| {
        let s = event(true);
        // Process 1 has it tentatively and dies; somebody settles that and is stopped before it gives back.
        let number = joint::begin(&s.joints[1]);
        let op = Op(0).next(Doing::Joint, 1, count::OF_EVENT);
        s.args[1].store(number as u64, SeqCst);
        s.ops[1].store(op.0, SeqCst);
        let w = s.permits().count.load();
        assert!(count::carry_out(&s.permits().count, w, 1, op, -1, 0));
        s.die(1);
        let settles = {
            let s = s.clone();
            loom::thread::spawn(move || {
                count::settle(&s.permits().count, &Process::new(&s, 2, 0));
            })
        };
        wait(&s, 3, false, 0);
        settles.join().unwrap();
        assert!(!is_set(&s, false));
    });
}
