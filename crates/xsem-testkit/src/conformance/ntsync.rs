//! What the kernel's ntsync selftest checks, as scenes for our contract. `docs/testing.md` lists the differences.
//!
//! An NT semaphore has no holders: a wait uses a permit up, a release adds some. That is a credit here: `add_permits` and
//! `forget`. An NT mutex is an exclusive semaphore.

use super::events::{AUTO, MANUAL, three as events};
use super::lists::{taken, taken_all, three};
use super::stage::{LONG, SHORT, X, after_death, ask, clean, n};
use super::{Row, Setting, Shows, Stage};
use crate::protocol::{Answer, Till, Verb, What};

const fn behaviour(operation: &'static str, name: &'static str, scene: fn(&mut Stage)) -> Row {
    Row { operation, outcome: Shows::Named(name), setting: Setting::Usual, scene }
}

pub(super) const ROWS: &[Row] = &[
    behaviour("semaphore state", "bad-create", bad_create),
    behaviour("semaphore state", "release", release_some),
    behaviour("semaphore state", "overflow", overflow),
    behaviour("semaphore state", "drain", use_up),
    behaviour("semaphore state", "timeout", timeout),
    behaviour("mutex state", "foreign-unlock", foreign_unlock),
    behaviour("mutex state", "recursion", recursion),
    behaviour("mutex state", "owner-death", owner_death),
    Row { setting: Setting::Deep, ..behaviour("mutex state", "count-limit", count_limit) },
    behaviour("event state", "manual", manual_state),
    behaviour("event state", "auto", auto_state),
    behaviour("wait any", "index-order", index_order),
    behaviour("wait any", "events", any_events),
    behaviour("wait any", "abandonment", any_abandonment),
    behaviour("wait any", "duplicates", any_duplicates),
    behaviour("wait any", "0-64-65", any_lengths),
    behaviour("wait all", "nothing-partial", nothing_partial),
    behaviour("wait all", "abandonment", all_abandonment),
    behaviour("wait all", "no-duplicates", all_duplicates),
    behaviour("wait all", "events", all_events),
    behaviour("wake any", "wake", wake_any),
    behaviour("wake any", "stolen", any_stolen),
    behaviour("wake any", "no-delete", deleted),
    behaviour("wake any", "events", wake_any_events),
    behaviour("wake all", "simultaneous", simultaneous),
    behaviour("wake all", "stolen", all_stolen),
    behaviour("wake all", "no-delete", all_deleted),
    behaviour("wake all", "events", wake_all_events),
    behaviour("stress", "4-threads", stress),
];

fn bad_create(s: &mut Stage) {
    let mut a = s.actor();
    a.refused(Verb::Make(What::Credit(2, 3), false, n("c")), 87);
    a.refused(Verb::Make(What::Credit(0, 0), false, n("c")), 87);
    a.opens(Verb::Make(What::Credit(2, 2), false, n("c")));
}

fn release_some(s: &mut Stage) {
    let mut a = s.other(What::Credit(3, 1), "c");
    a.done(Verb::Add(0, 0));
    assert_eq!(a.capacity(0), [3, 1, 1]);
    a.done(Verb::Add(0, 1));
    assert_eq!(a.capacity(0), [3, 2, 2]);
    let (guard, _) = a.owns(ask(0, 2, Till::Now));
    a.done(Verb::Forget(guard));
    a.done(Verb::Add(0, 3));
    assert_eq!(a.capacity(0), [3, 3, 3]);
}

fn overflow(s: &mut Stage) {
    let mut a = s.other(What::Credit(3, 2), "c");
    for over in [2, 65_535, u32::MAX] {
        a.refused(Verb::Add(0, over), 298);
    }
    assert_eq!(a.capacity(0), [3, 2, 2]);
    a.done(Verb::Add(0, 1));
    a.refused(Verb::Add(0, 1), 298);
}

fn use_up(s: &mut Stage) {
    let mut a = s.other(What::Credit(3, 3), "c");
    for left in [2, 1, 0] {
        let (guard, _) = a.owns(ask(0, 1, Till::Now));
        a.done(Verb::Forget(guard));
        assert_eq!(a.capacity(0), [3, left, left]);
    }
    a.refused(Verb::Try(0), 121);
}

fn timeout(s: &mut Stage) {
    let mut a = s.other(What::Credit(3, 0), "c");
    for till in [Till::Now, SHORT] {
        a.refused(ask(0, 1, till), 121);
    }
    assert_eq!((a.capacity(0), s.inspect("c").waiters.len()), (vec![3, 0, 0], 0));
    a.done(Verb::Add(0, 1));
    a.owns(ask(0, 1, SHORT));
}

fn foreign_unlock(s: &mut Stage) {
    let (mut a, guard) = s.owner(X, "s");
    // A guard is the right to release, and does not leave its thread; a claim that is over releases nothing.
    a.done(Verb::Release(guard));
    let (old, token) = a.owns(Verb::Try(0));
    s.actor().done(Verb::Evict(n("s"), token));
    let mut b = s.other(X, "s");
    after_death(b.ask(0, &Verb::Try(0)));
    a.refused(Verb::Release(old), 288);
    assert_eq!(b.ask(0, &Verb::Held(0)), Answer::Is(true));
}

fn recursion(s: &mut Stage) {
    let mut a = s.other(X, "s");
    let guards: Vec<usize> = (0..3).map(|_| a.owns(ask(0, 1, LONG)).0).collect();
    let mut b = s.other(X, "s");
    for g in guards {
        b.refused(Verb::Try(0), 101);
        a.done(Verb::Release(g));
    }
    b.owns(Verb::Try(0));
}

fn owner_death(s: &mut Stage) {
    let (mut a, _) = s.owner(X, "s");
    a.owns(Verb::Try(0));
    a.die();
    let mut b = s.other(X, "s");
    let (guard, ..) = after_death(b.ask(0, &Verb::Try(0)));
    assert_eq!(s.inspect("s").holders[0].depth, 1, "all levels went with the owner");
    b.done(Verb::Release(guard));
    // Unlike there: the mark stays until somebody says that the state is whole.
    let (guard, ..) = after_death(b.ask(0, &Verb::Try(0)));
    b.done(Verb::MarkConsistent(guard));
    b.done(Verb::Release(guard));
    b.owns(Verb::Try(0));
}

fn count_limit(s: &mut Stage) {
    let mut a = s.other(X, "s");
    (0..65_535).for_each(|_| a.tell(0, &Verb::Try(0)));
    for _ in 0..65_535 {
        clean(a.answer(0));
    }
    a.refused(Verb::Try(0), 103);
    a.refused(ask(0, 1, SHORT), 103);
    a.done(Verb::Release(0));
    a.owns(Verb::Try(0));
}

/// The state before is returned by each change; a manual event is not consumed.
fn manual_state(s: &mut Stage) {
    let mut a = s.other(MANUAL, "e");
    a.refused(ask(0, 1, Till::Now), 121);
    for (verb, before) in [(Verb::Signal(0), true), (Verb::Signal(0), false)] {
        assert_eq!(a.ask(0, &verb), Answer::Is(before));
        assert_eq!(a.ask(0, &Verb::State(0)), Answer::Is(true));
    }
    for till in [Till::Now, SHORT, Till::Ever] {
        a.done(ask(0, 1, till));
        assert_eq!(taken(a.ask(0, &Verb::Any(vec![(0, 1)], till))).0, 0);
        assert_eq!(taken_all(a.ask(0, &Verb::All(vec![(0, 1)], till))).len(), 1);
    }
    for before in [true, false] {
        assert_eq!(a.ask(0, &Verb::Reset(0)), Answer::Is(before));
        assert_eq!(a.ask(0, &Verb::State(0)), Answer::Is(false));
    }
    a.refused(ask(0, 1, SHORT), 121);
}

/// The same, but that each wait consumes it.
fn auto_state(s: &mut Stage) {
    let mut a = s.other(AUTO, "e");
    a.refused(ask(0, 1, Till::Now), 121);
    for before in [true, false] {
        assert_eq!(a.ask(0, &Verb::Signal(0)), Answer::Is(before));
        assert_eq!(a.ask(0, &Verb::State(0)), Answer::Is(true));
    }
    a.done(ask(0, 1, Till::Now));
    a.refused(ask(0, 1, SHORT), 121);
    for list in [Verb::Any as fn(Vec<(usize, u32)>, Till) -> Verb, Verb::All] {
        assert_eq!(a.ask(0, &Verb::Signal(0)), Answer::Is(true));
        assert!(a.ask(0, &list(vec![(0, 1)], Till::Now)).code().is_none());
        assert_eq!(a.ask(0, &list(vec![(0, 1)], SHORT)), Answer::RefusedAt(121, vec![0]));
    }
    assert_eq!(a.ask(0, &Verb::Signal(0)), Answer::Is(true));
    for before in [true, false] {
        assert_eq!(a.ask(0, &Verb::Reset(0)), Answer::Is(before));
    }
    a.refused(ask(0, 1, Till::Now), 121);
}

/// The first that is signalled, and only that is consumed.
fn any_events(s: &mut Stage) {
    let mut a = events(s);
    let list = || vec![(1, 1), (0, 1), (2, 1)];
    for h in [0, 1] {
        assert_eq!(a.ask(0, &Verb::Signal(h)), Answer::Is(true));
    }
    for index in [0, 1, 1] {
        assert_eq!(taken(a.ask(0, &Verb::Any(list(), Till::Now))).0, index);
    }
    assert_eq!(a.ask(0, &Verb::Reset(0)), Answer::Is(true));
    assert_eq!(taken(a.ask(0, &Verb::Any(list(), Till::Now))).0, 2, "the exclusive one");
}

/// Nothing is consumed unless all are there.
fn all_events(s: &mut Stage) {
    let mut a = events(s);
    let list = || vec![(0, 1), (1, 1), (2, 1)];
    assert_eq!(a.ask(0, &Verb::Signal(1)), Answer::Is(true));
    for till in [Till::Now, SHORT] {
        assert_eq!(a.ask(0, &Verb::All(list(), till)), Answer::RefusedAt(121, vec![0]));
        assert_eq!(a.ask(0, &Verb::State(1)), Answer::Is(true));
    }
    assert_eq!(a.ask(0, &Verb::Signal(0)), Answer::Is(true));
    taken_all(a.ask(0, &Verb::All(list(), Till::Now)));
    assert_eq!((a.ask(0, &Verb::State(0)), a.ask(0, &Verb::State(1))), (Answer::Is(true), Answer::Is(false)));
}

/// Who sleeps for any is woken by either, and an auto event is consumed by one of two.
fn wake_any_events(s: &mut Stage) {
    let mut a = events(s);
    let (mut b, mut c) = (events(s), events(s));
    for h in [0, 1] {
        b.tell(0, &Verb::Any(vec![(1, 1), (0, 1)], Till::Ever));
        s.until_waiting("m", 1);
        assert_eq!(a.ask(0, &Verb::Signal(h)), Answer::Is(true));
        assert_eq!(taken(b.answer(0)).0, 1 - h);
        assert_eq!(a.ask(0, &Verb::Reset(h)), Answer::Is(h == 0), "the auto one was consumed");
    }
    b.tell(0, &Verb::Any(vec![(1, 1), (0, 1)], Till::Ever));
    c.tell(0, &Verb::Any(vec![(0, 1), (1, 1)], Till::Ever));
    s.until_waiting("m", 2);
    assert_eq!(a.ask(0, &Verb::Signal(1)), Answer::Is(true));
    s.until_waiting("m", 1);
    assert_eq!(a.ask(0, &Verb::State(1)), Answer::Is(false));
    assert_eq!(a.ask(0, &Verb::Signal(0)), Answer::Is(true));
    let (first, second) = (taken(b.answer(0)).0, taken(c.answer(0)).0);
    assert_eq!(first, second, "one had the auto one, one the manual one");
}

/// Who sleeps for all sleeps until all are there at one instant.
fn wake_all_events(s: &mut Stage) {
    let mut a = events(s);
    let mut b = events(s);
    b.tell(0, &Verb::All(vec![(0, 1), (1, 1)], Till::Ever));
    s.until_waiting("m", 1);
    for (h, other) in [(0, 1), (1, 0)] {
        assert_eq!(a.ask(0, &Verb::Signal(h)), Answer::Is(true));
        assert_eq!(b.answer_within(0, std::time::Duration::from_millis(10)), None);
        assert_eq!(a.ask(0, &Verb::Reset(h)), Answer::Is(true), "it was not consumed");
        assert_eq!(a.ask(0, &Verb::State(other)), Answer::Is(false));
    }
    assert_eq!(a.ask(0, &Verb::Signal(0)), Answer::Is(true));
    assert_eq!(a.ask(0, &Verb::Signal(1)), Answer::Is(true));
    taken_all(b.answer(0));
    assert_eq!((a.ask(0, &Verb::State(0)), a.ask(0, &Verb::State(1))), (Answer::Is(true), Answer::Is(false)));
}

fn index_order(s: &mut Stage) {
    let (mut a, mut b) = (three(s), three(s));
    let list = || vec![(1, 1), (2, 1), (0, 1)];
    for index in [0, 1, 1, 2] {
        assert_eq!(taken(a.ask(0, &Verb::Any(list(), Till::Now))).0, index);
        if index == 0 {
            // One's own exclusive semaphore is always ready: it nests. Another actor finds the next.
            a = std::mem::replace(&mut b, a);
        }
    }
    let mut c = three(s);
    c.refused(Verb::Any(list(), SHORT), 121);
}

fn any_abandonment(s: &mut Stage) {
    let mut a = three(s);
    a.owns(Verb::Try(1));
    a.die();
    let mut b = three(s);
    let answer = b.ask(0, &Verb::Any(vec![(1, 1), (0, 1)], LONG));
    assert!(matches!(answer, Answer::Taken { index: 0, died: true, .. }), "{answer}");
    assert_eq!(s.inspect("x").holders.len(), 0);
}

fn any_duplicates(s: &mut Stage) {
    let (mut a, mut b) = (three(s), three(s));
    assert_eq!(taken(a.ask(0, &Verb::Any(vec![(0, 1), (0, 1), (2, 1), (2, 1)], Till::Now))).0, 0);
    assert_eq!(taken(b.ask(0, &Verb::Any(vec![(0, 1), (0, 1), (2, 1), (2, 1)], Till::Now))).0, 2);
    assert_eq!(b.capacity(2), [2, 2, 1], "one of them, once");
}

fn any_lengths(s: &mut Stage) {
    let mut a = three(s);
    a.refused(Verb::Any(vec![], SHORT), 151);
    a.refused(Verb::Any(vec![(0, 1); 65], SHORT), 151);
    assert_eq!(taken(a.ask(0, &Verb::Any(vec![(0, 1); 64], SHORT))).0, 0);
}

fn nothing_partial(s: &mut Stage) {
    let (mut a, mut b) = (three(s), three(s));
    a.owns(ask(2, 2, Till::Now));
    for till in [Till::Now, SHORT] {
        b.refused(Verb::All(vec![(0, 1), (2, 1), (1, 1)], till), 121);
        assert_eq!((s.inspect("x").holders.len(), s.inspect("y").holders.len()), (0, 0));
    }
    a.done(Verb::ReleaseSome(0, 1));
    taken_all(b.ask(0, &Verb::All(vec![(0, 1), (2, 1), (1, 1)], Till::Now)));
}

fn all_abandonment(s: &mut Stage) {
    let (mut a, mut c) = (three(s), three(s));
    a.owns(Verb::Try(1));
    let (x, _) = c.owns(Verb::Try(0));
    a.die();
    let mut b = three(s);
    // The mark is not used up by a request that failed.
    b.refused(Verb::All(vec![(1, 1), (0, 1)], SHORT), 121);
    c.done(Verb::Release(x));
    let answer = b.ask(0, &Verb::All(vec![(1, 1), (0, 1)], Till::Now));
    assert!(matches!(&answer, Answer::All { died, .. } if *died == [0]), "{answer}");
}

fn all_duplicates(s: &mut Stage) {
    let mut a = three(s);
    a.refused(Verb::All(vec![(0, 1), (0, 1)], SHORT), 153);
    a.refused(Verb::All(vec![(2, 1), (0, 1), (2, 1)], SHORT), 153);
    assert_eq!((s.inspect("x").holders.len(), a.capacity(2)), (0, vec![2, 2, 2]));
}

/// Two wait for any of x and p, which others own.
fn wake_any(s: &mut Stage) {
    let mut a = three(s);
    let (x, _) = a.owns(Verb::Try(0));
    let (p, _) = a.owns(ask(2, 2, Till::Now));
    let (mut b, mut c) = (three(s), three(s));
    b.tell(0, &Verb::Any(vec![(0, 1), (2, 1)], Till::Ever));
    s.until_waiting("p", 1);
    c.tell(0, &Verb::Any(vec![(2, 1), (0, 1)], Till::Ever));
    s.until_waiting("p", 2);
    // A further level given back wakes nobody; the last one does.
    a.owns(Verb::Try(0));
    a.done(Verb::Release(x));
    s.until_waiting("x", 2);
    a.done(Verb::ReleaseSome(p, 1));
    a.done(Verb::Release(2));
    let (first, second) = (taken(b.answer(0)).0, taken(c.answer(0)).0);
    // Each has another one: x is entry 0 of one list and 1 of the other.
    assert_eq!(first, second, "one has x, one a permit");
    assert_eq!((s.inspect("x").holders.len(), a.capacity(2)[2]), (1, 0));
}

fn any_stolen(s: &mut Stage) {
    let mut a = three(s);
    let (x, _) = a.owns(Verb::Try(0));
    a.owns(Verb::Try(1));
    let mut b = three(s);
    b.tell(0, &Verb::Any(vec![(0, 1), (1, 1)], LONG));
    s.until_waiting("x", 1);
    // Given back and taken again at once: who wakes up may find nothing, and goes on waiting for both.
    a.done(Verb::Release(x));
    let stolen = a.ask(0, &Verb::Try(0)).code().is_none();
    assert_eq!(s.inspect("x").holders.len() + s.inspect("y").holders.len(), 2);
    a.done(Verb::Release(1));
    let (index, guard) = taken(b.answer(0));
    assert_eq!(index, usize::from(stolen), "the one that was not stolen");
    b.done(Verb::Release(guard));
}

/// What somebody waits for cannot be deleted under it: 102, and nothing changes.
fn deleted(s: &mut Stage) {
    let mut a = three(s);
    let (x, _) = a.owns(Verb::Try(0));
    let mut b = three(s);
    b.tell(0, &Verb::Any(vec![(0, 1)], Till::Ever));
    s.until_waiting("x", 1);
    a.refused(Verb::Remove(n("x")), 102);
    a.refused(Verb::Close(0), 102);
    a.done(Verb::Release(x));
    a.done(Verb::Close(0));
    taken(b.answer(0));
    a.refused(Verb::Remove(n("x")), 102);
}

fn simultaneous(s: &mut Stage) {
    let (mut a, mut c) = (three(s), three(s));
    let (x, _) = a.owns(Verb::Try(0));
    let (y, _) = c.owns(Verb::Try(1));
    let mut b = three(s);
    b.tell(0, &Verb::All(vec![(0, 1), (1, 1)], Till::Ever));
    s.until_waiting("x", 1);
    s.until_waiting("y", 1);
    // One free, then the other: never both at one instant.
    a.done(Verb::Release(x));
    let (x, _) = a.owns(ask(0, 1, LONG));
    c.done(Verb::Release(y));
    let (y, _) = c.owns(ask(1, 1, LONG));
    s.until_waiting("x", 1);
    assert_eq!(b.answer_within(0, std::time::Duration::from_millis(20)), None);
    a.done(Verb::Release(x));
    c.done(Verb::Release(y));
    assert_eq!(taken_all(b.answer(0)).len(), 2);
}

fn all_stolen(s: &mut Stage) {
    let mut a = three(s);
    let (x, _) = a.owns(Verb::Try(0));
    let mut b = three(s);
    b.tell(0, &Verb::All(vec![(0, 1), (1, 1)], Till::Ever));
    s.until_waiting("x", 1);
    // y is free, and who waits for all does not keep it from others.
    let mut c = three(s);
    let (y, _) = c.owns(ask(1, 1, LONG));
    a.done(Verb::Release(x));
    assert_eq!(b.answer_within(0, std::time::Duration::from_millis(20)), None, "y was taken meanwhile");
    assert_eq!(s.inspect("x").holders.len(), 0);
    c.done(Verb::Release(y));
    taken_all(b.answer(0));
}

fn all_deleted(s: &mut Stage) {
    let mut a = three(s);
    let (x, _) = a.owns(Verb::Try(0));
    let mut b = three(s);
    b.tell(0, &Verb::All(vec![(1, 1), (0, 1)], Till::Ever));
    s.until_waiting("y", 1);
    for name in ["x", "y"] {
        a.refused(Verb::Remove(n(name)), 102);
    }
    a.done(Verb::Release(x));
    taken_all(b.answer(0));
}

/// Four threads, each in an actor of its own, count to 10,000 with the semaphores as the only protection; over a network
/// to 50. The total is exact.
fn stress(s: &mut Stage) {
    let rounds = if s.is_slow() { 50 } else { 10_000 };
    let file = s.scratch("counter");
    std::fs::write(&file, 0u64.to_ne_bytes()).expect("there is shared memory");
    // Actors may be other users.
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(&file, everybody).expect("it is ours");
    let mut actors: Vec<_> = (0..4).map(|_| three(s)).collect();
    for a in &mut actors {
        a.tell(0, &Verb::Count(vec![(0, 1), (1, 1)], rounds, file.display().to_string()));
    }
    for a in &mut actors {
        assert_eq!(a.answer(0), Answer::Done);
    }
    let total = std::fs::read(&file).expect("it was written");
    assert_eq!(u64::from_ne_bytes(total.try_into().expect("eight bytes")), 4 * u64::from(rounds));
    let seen = s.inspect("x");
    assert_eq!((seen.counters.acquired, seen.holders.len()), (4 * u64::from(rounds), 0));
}
