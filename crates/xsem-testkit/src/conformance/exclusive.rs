//! The exclusive semaphore.

use super::stage::{LONG, SHORT, X, after_death, ask, clean, n, why};
use super::{Row, Setting, Shows, Stage, row};
use crate::protocol::{Answer, Till, Verb, What};

pub(super) const ROWS: &[Row] = &[
    row("acquire", 0, acquire),
    row("acquire", 6, |s| stale(s, &ask(0, 1, Till::Ever))),
    row("acquire", 95, acquire_95),
    row("acquire", 102, |s| drained(s, X, ask(0, 1, Till::Ever))),
    Row { operation: "acquire", outcome: Shows::Code(103), setting: Setting::Deep, scene: |s| too_deep(s, Verb::Acquire(0)) },
    row("acquire", 105, acquire_105),
    Row { operation: "acquire", outcome: Shows::Code(106), setting: Setting::TwoMembers, scene: no_member_slot },
    row("acquire", 1131, acquire_1131),
    row("try_acquire", 0, try_acquire),
    row("try_acquire", 6, |s| stale(s, &Verb::Try(0))),
    row("try_acquire", 101, try_101),
    row("try_acquire", 102, |s| drained(s, X, Verb::Try(0))),
    Row { operation: "try_acquire", outcome: Shows::Code(103), setting: Setting::Deep, scene: |s| too_deep(s, Verb::Try(0)) },
    row("try_acquire", 105, |s| dead_owner(s, Verb::Try(0))),
    row("acquire_timeout", 0, timeout),
    row("acquire_timeout", 6, |s| stale(s, &Verb::Timeout(0, 20))),
    row("acquire_timeout", 95, |s| cancelled(s, ask(0, 1, LONG))),
    row("acquire_timeout", 102, |s| drained(s, X, ask(0, 1, LONG))),
    row("acquire_timeout", 105, |s| dead_owner(s, Verb::Timeout(0, 20_000))),
    row("acquire_timeout", 121, timeout_121),
    row("release", 0, release),
    row("release", 288, |s| lost(s, Verb::Release)),
    row("abandon", 0, abandon),
    row("abandon", 288, |s| lost(s, Verb::Abandon)),
    row("mark_consistent", 0, mark),
    row("mark_consistent", 288, |s| lost(s, Verb::MarkConsistent)),
    row("is_held", 0, is_held),
    Row { operation: "owner death", outcome: Shows::Named("each told"), setting: Setting::Usual, scene: told_until_marked },
    Row { operation: "owner death", outcome: Shows::Named("waiter"), setting: Setting::Usual, scene: dead_waiter },
];

/// The handle 0 of an actor is of an object that was removed.
pub(super) fn stale(s: &mut Stage, verb: &Verb) {
    for again in [false, true] {
        let mut a = s.other(X, "s");
        a.done(Verb::Remove(n("s")));
        if again {
            a.opens(Verb::Create(n("s")));
        }
        a.refused(verb.clone(), 6);
    }
    assert_eq!(s.inspect("s").counters.acquired, 0);
}

/// New requests of a semaphore that is being drained are refused.
pub(super) fn drained(s: &mut Stage, what: What, verb: Verb) {
    let (mut owner, guard) = s.owner(what, "s");
    let (mut drainer, mut a) = (s.actor(), s.other(what, "s"));
    drainer.tell(0, &Verb::Drain(n("s"), LONG));
    while !s.inspect("s").drained {
        crate::sys::nap(200);
    }
    a.refused(verb.clone(), 102);
    owner.done(Verb::Release(guard));
    assert_eq!(drainer.answer(0), Answer::Done);
    a.refused(verb, 102);
    drainer.done(Verb::Reopen(n("s")));
    a.owns(ask(0, 1, LONG));
}

/// A wait that is cancelled ends with 95 and leaves nothing.
pub(super) fn cancelled(s: &mut Stage, verb: Verb) {
    let (mut owner, guard) = s.owner(X, "s");
    let mut a = s.other(X, "s");
    a.tell(0, &verb);
    s.until_waiting("s", 1);
    a.tell(0, &Verb::Cancel);
    assert_eq!(a.answer(0), Answer::Refused(95));
    s.until_waiting("s", 0);
    owner.done(Verb::Release(guard));
    assert_eq!(s.inspect("s").holders.len(), 0);
    a.owns(Verb::Try(0));
}

fn too_deep(s: &mut Stage, verb: Verb) {
    let mut a = s.other(X, "s");
    for _ in 0..65_535 {
        a.tell(0, &Verb::Try(0));
    }
    let tokens: Vec<u64> = (0..65_535).map(|_| clean(a.answer(0)).1).collect();
    assert!(tokens.iter().all(|t| *t == tokens[0]), "they are levels of one claim");
    a.refused(verb.clone(), 103);
    assert_eq!(s.inspect("s").holders[0].depth, 65_535, "nothing changed");
    a.done(Verb::Release(0));
    a.ask(0, &verb);
    assert_eq!(s.inspect("s").holders[0].depth, 65_535);
}

fn dead_owner(s: &mut Stage, verb: Verb) {
    let (mut owner, _) = s.owner(X, "s");
    let mut a = s.other(X, "s");
    owner.die();
    let (guard, ..) = after_death(a.ask(0, &verb));
    a.done(Verb::MarkConsistent(guard));
    a.done(Verb::Release(guard));
    a.owns(verb);
    assert_eq!(s.inspect("s").counters.deaths, 1);
}

fn acquire(s: &mut Stage) {
    let mut a = s.other(X, "s");
    let (guard, first) = a.owns(Verb::Acquire(0));
    let mut waiters: Vec<_> = (0..3).map(|_| s.waiter(X, "s")).collect();
    let seen = s.inspect("s");
    assert_eq!(seen.holders.iter().map(|h| h.token).collect::<Vec<_>>(), [first]);
    a.done(Verb::Release(guard));
    let mut last = first;
    while !waiters.is_empty() {
        // On a busy machine a younger one may come first (the bound, the lapse); never two.
        let short = std::time::Duration::from_millis(20);
        let come = (0..waiters.len()).find_map(|i| Some((i, waiters[i].answer_within(0, short)?)));
        let Some((i, answer)) = come else { continue };
        let (guard, token) = clean(answer);
        assert!(token > last, "tokens grow");
        last = token;
        assert_eq!(s.inspect("s").holders.iter().map(|h| h.token).collect::<Vec<_>>(), [token]);
        waiters.remove(i).done(Verb::Release(guard));
    }
    assert_eq!(s.inspect("s").holders.len(), 0);
}

fn acquire_95(s: &mut Stage) {
    cancelled(s, ask(0, 1, Till::Ever));
}

fn acquire_105(s: &mut Stage) {
    dead_owner(s, Verb::Acquire(0));
    let (mut owner, _) = s.owner(X, "t");
    let (mut first, mut second) = (s.waiter(X, "t"), s.waiter(X, "t"));
    owner.die();
    // One of them is told; if it says nothing, so is the next.
    let short = std::time::Duration::from_millis(20);
    let (told, other) = loop {
        if let Some(answer) = first.answer_within(0, short) {
            break ((first, answer), second);
        }
        if let Some(answer) = second.answer_within(0, short) {
            break ((second, answer), first);
        }
    };
    let ((mut told, answer), mut other) = (told, other);
    let (guard, ..) = after_death(answer);
    told.done(Verb::Release(guard));
    after_death(other.answer(0));
    assert_eq!(s.inspect("t").counters.deaths, 1);
}

fn no_member_slot(s: &mut Stage) {
    let mut actors: Vec<_> = (0..3).map(|_| s.actor()).collect();
    // An engine may need the slot for opening already.
    actors[0].opens(Verb::Create(n("s0")));
    actors[0].opens(Verb::Create(n("s1")));
    actors[0].opens(Verb::Create(n("s2")));
    actors[0].owns(Verb::Acquire(0));
    actors[1].opens(Verb::Open(n("s1")));
    actors[1].owns(Verb::Acquire(0));
    match actors[2].ask(0, &Verb::Open(n("s2"))) {
        Answer::Handle(h) => {
            actors[2].refused(Verb::Acquire(h), 106);
            actors[2].refused(Verb::Try(h), 106);
        }
        refused => assert_eq!(refused, Answer::Refused(106)),
    }
    assert_eq!(s.inspect("s2").counters.acquired, 0);
    actors[0].die();
    let h = actors[2].opens(Verb::Open(n("s2")));
    actors[2].owns(Verb::Acquire(h));
}

fn acquire_1131(s: &mut Stage) {
    let (mut a, _) = s.owner(X, "x");
    let (mut b, guard) = s.owner(X, "y");
    let (ya, xb) = (a.opens(Verb::Open(n("y"))), b.opens(Verb::Open(n("x"))));
    a.tell(0, &ask(ya, 1, Till::Ever));
    s.until_waiting("y", 1);
    b.refused(ask(xb, 1, Till::Ever), 1131);
    let (_, _, cycle, text) = why(&mut *b);
    assert_eq!(cycle, 2, "{text}");
    assert!(text.contains("`x`") && text.contains("`y`"), "{text}");
    // What would end by itself is none.
    b.refused(ask(xb, 1, SHORT), 121);
    b.refused(Verb::Try(xb), 101);
    b.done(Verb::Release(guard));
    clean(a.answer(0));
}

fn try_acquire(s: &mut Stage) {
    let mut a = s.other(X, "s");
    let (outer, token) = a.owns(Verb::Try(0));
    let (inner, same) = a.owns(Verb::Try(0));
    assert_eq!(token, same, "it nests");
    assert_eq!(s.inspect("s").holders[0].depth, 2);
    // Threads of one process exclude each other like strangers.
    assert_eq!(a.ask(1, &Verb::Try(0)), Answer::Refused(101));
    a.done(Verb::Release(inner));
    assert_eq!(a.ask(1, &Verb::Try(0)), Answer::Refused(101));
    a.done(Verb::Release(outer));
    clean(a.ask(1, &Verb::Try(0)));
}

fn try_101(s: &mut Stage) {
    let (_a, _) = s.owner(X, "s");
    let mut b = s.other(X, "s");
    b.refused(Verb::Try(0), 101);
    let (holders, _, _, text) = why(&mut *b);
    assert_eq!(holders, [s.inspect("s").holders[0].token], "{text}");
    assert_eq!(s.inspect("s").waiters.len(), 0);
}

fn timeout(s: &mut Stage) {
    let mut a = s.other(X, "s");
    let (guard, _) = a.owns(Verb::Timeout(0, 0));
    let mut b = s.other(X, "s");
    b.tell(0, &ask(0, 1, LONG));
    s.until_waiting("s", 1);
    assert!(s.inspect("s").waiters[0].has_deadline);
    a.done(Verb::Release(guard));
    clean(b.answer(0));
}

fn timeout_121(s: &mut Stage) {
    let (mut a, guard) = s.owner(X, "s");
    let mut first = s.waiter(X, "s");
    let mut b = s.other(X, "s");
    b.refused(Verb::Timeout(0, 20), 121);
    let (holders, ahead, _, text) = why(&mut *b);
    assert_eq!((holders.len(), ahead), (1, 1), "{text}");
    s.until_waiting("s", 1);
    a.done(Verb::Release(guard));
    clean(first.answer(0));
    assert_eq!(s.inspect("s").counters.timed_out, 1);
}

fn release(s: &mut Stage) {
    let (mut a, guard) = s.owner(X, "s");
    let mut b = s.waiter(X, "s");
    a.done(Verb::Release(guard));
    let (guard, _) = clean(b.answer(0));
    a.refused(Verb::Try(0), 101);
    b.done(Verb::Release(guard));
    let (guard, _) = a.owns(Verb::Acquire(0));
    a.done(Verb::Release(guard));
    assert!(!s.inspect("s").marked);
}

/// What a claim that was ended from outside answers.
pub(super) fn lost(s: &mut Stage, verb: fn(usize) -> Verb) {
    let (mut a, guard) = s.owner(X, "s");
    let token = s.inspect("s").holders[0].token;
    s.ns().evict("s", token).unwrap_or_else(|e| panic!("evict: {e}"));
    a.refused(verb(guard), 288);
    let (mut b, _) = (s.other(X, "s"), ());
    let (guard, ..) = after_death(b.ask(0, &Verb::Try(0)));
    b.done(Verb::MarkConsistent(guard));
}

fn abandon(s: &mut Stage) {
    let (mut a, guard) = s.owner(X, "s");
    a.owns(Verb::Try(0));
    let mut b = s.waiter(X, "s");
    a.done(Verb::Abandon(guard));
    let (_, _, cause) = after_death(b.answer(0));
    assert_eq!(cause, "Abandoned");
    a.refused(Verb::Release(1), 288);
    assert!(s.inspect("s").marked);
}

fn mark(s: &mut Stage) {
    let (mut a, guard) = s.owner(X, "s");
    a.done(Verb::MarkConsistent(guard));
    a.done(Verb::Abandon(guard));
    let (guard, ..) = after_death(a.ask(0, &Verb::Try(0)));
    assert!(s.inspect("s").marked);
    a.done(Verb::MarkConsistent(guard));
    assert!(!s.inspect("s").marked);
    a.done(Verb::Release(guard));
    a.owns(Verb::Try(0));
}

fn is_held(s: &mut Stage) {
    let (mut a, guard) = s.owner(X, "s");
    assert_eq!(a.ask(0, &Verb::Held(guard)), Answer::Is(true));
    s.ns().evict("s", s.inspect("s").holders[0].token).unwrap_or_else(|e| panic!("evict: {e}"));
    assert_eq!(a.ask(0, &Verb::Held(guard)), Answer::Is(false));
}

fn told_until_marked(s: &mut Stage) {
    let mut last = String::new();
    for _ in 0..3 {
        let mut a = s.other(X, "s");
        if !last.is_empty() {
            let (guard, _, cause) = after_death(a.ask(0, &Verb::Try(0)));
            last = cause;
            a.done(Verb::Release(guard));
            after_death(a.ask(0, &Verb::Acquire(0)));
        } else {
            a.owns(Verb::Acquire(0));
            last = n("none yet");
        }
        a.die();
    }
    let mut b = s.other(X, "s");
    let Answer::Granted { guard, died: Some(Some((_, _, count))), .. } = b.ask(0, &Verb::Try(0)) else {
        panic!("the mark is gone")
    };
    assert_eq!((count, s.inspect("s").counters.deaths), (3, 3), "each death is told once");
    b.done(Verb::MarkConsistent(guard));
    b.done(Verb::Release(guard));
    b.owns(Verb::Try(0));
}

fn dead_waiter(s: &mut Stage) {
    let (mut a, guard) = s.owner(X, "s");
    let mut first = s.waiter(X, "s");
    let mut second = s.waiter(X, "s");
    if s.dies_midway() {
        first.die();
    } else {
        // A thread that waits cannot end; it can stop waiting.
        first.tell(0, &Verb::Cancel);
        assert_eq!(first.answer(0), Answer::Refused(95));
        first.die();
    }
    a.done(Verb::Release(guard));
    let (guard, _) = clean(second.answer(0));
    second.done(Verb::Release(guard));
    assert_eq!(s.inspect("s").counters.deaths, 0, "who only waits owns nothing");
    s.until_waiting("s", 0);
}
