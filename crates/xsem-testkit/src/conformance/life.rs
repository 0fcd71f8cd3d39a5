//! Close, drain, reopen, evict, gc, ephemeral names.

use super::stage::{LONG, SHORT, X, after_death, ask, clean, n};
use super::{Row, Setting, Shows, Stage, row};
use crate::protocol::{Answer, Till, Verb, What};

const POOL: What = What::Pool(4);

pub(super) const ROWS: &[Row] = &[
    row("close", 0, close),
    row("close", 102, close_102),
    row("drain", 0, drain),
    row("drain", 95, drain_95),
    row("drain", 102, drain_102),
    row("drain", 121, drain_121),
    row("drain", 123, |s| s.actor().refused(Verb::Drain(n("a\tb"), SHORT), 123)),
    row("drain", 187, |s| s.actor().refused(Verb::Drain(n("none"), SHORT), 187)),
    Row { operation: "drain", outcome: Shows::Named("dies"), setting: Setting::Usual, scene: drainer_dies },
    row("reopen", 0, reopen),
    row("reopen", 123, |s| s.actor().refused(Verb::Reopen(n("a\tb")), 123)),
    row("reopen", 187, |s| s.actor().refused(Verb::Reopen(n("none")), 187)),
    row("evict", 0, evict),
    row("evict", 123, |s| s.actor().refused(Verb::Evict(n("a\tb"), 1), 123)),
    row("evict", 187, |s| s.actor().refused(Verb::Evict(n("none"), 1), 187)),
    row("evict", 288, evict_288),
    row("gc", 0, gc),
    row("ephemeral", 0, ephemeral),
    Row { operation: "ephemeral", outcome: Shows::Named("kept"), setting: Setting::Usual, scene: ephemeral_kept },
];

fn close(s: &mut Stage) {
    for what in [X, POOL] {
        let name = what.to_string();
        let (mut a, guard) = s.owner(what, &name);
        a.done(Verb::Release(guard));
        a.done(Verb::Close(0));
        let mut b = s.other(what, &name);
        b.owns(ask(0, 1, Till::Now));
        let again = a.opens(Verb::Either(what, name.clone()));
        assert_eq!(s.inspect(&name).counters.acquired, 2, "the object stays");
        b.done(Verb::Release(0));
        a.owns(ask(again, 1, Till::Now));
    }
}

fn close_102(s: &mut Stage) {
    for what in [X, POOL] {
        let name = what.to_string();
        let (mut a, guard) = s.owner(what, &name);
        a.refused(Verb::Close(0), 102);
        assert_eq!(a.ask(0, &Verb::Held(guard)), Answer::Is(true), "nothing changes");
        // Another handle of the same process, through which somebody waits.
        let second = a.opens(Verb::Either(what, name.clone()));
        a.tell(1, &ask(second, 1, LONG));
        s.until_waiting(&name, 1);
        a.refused(Verb::Close(second), 102);
        a.done(Verb::Release(guard));
        let (guard, _) = clean(a.answer(1));
        a.refused(Verb::Close(second), 102);
        assert_eq!(a.ask(1, &Verb::Release(guard)), Answer::Done);
        a.done(Verb::Close(second));
        a.done(Verb::Close(0));
    }
}

fn drain(s: &mut Stage) {
    // Idle: done at once, and closed until it is opened again.
    let mut a = s.other(POOL, "idle");
    a.done(Verb::Drain(n("idle"), Till::Now));
    assert!(s.inspect("idle").drained);
    a.refused(ask(0, 1, SHORT), 102);
    a.done(Verb::Reopen(n("idle")));
    a.owns(ask(0, 1, Till::Now));
    // In use: those who hold and those who wait come to their end, and nobody else.
    let (mut owner, guard) = s.owner(X, "s");
    let mut waiter = s.waiter(X, "s");
    let mut drainer = s.actor();
    drainer.tell(0, &Verb::Drain(n("s"), Till::Ever));
    while !s.inspect("s").drained {
        crate::sys::nap(200);
    }
    s.other(X, "s").refused(Verb::Try(0), 102);
    owner.owns(Verb::Try(0));
    owner.done(Verb::Release(guard));
    owner.done(Verb::Release(guard + 1));
    let (guard, _) = clean(waiter.answer(0));
    assert_eq!(drainer.answer_within(0, std::time::Duration::from_millis(30)), None, "the waiter owns it now");
    waiter.done(Verb::Release(guard));
    assert_eq!(drainer.answer(0), Answer::Done);
    assert!(s.inspect("s").drained);
    drainer.done(Verb::Remove(n("s")));
}

fn drain_95(s: &mut Stage) {
    let (mut a, guard) = s.owner(POOL, "s");
    let mut drainer = s.actor();
    for cancelled in [true, false] {
        drainer.tell(0, &Verb::Drain(n("s"), Till::Ever));
        while !s.inspect("s").drained {
            crate::sys::nap(200);
        }
        match cancelled {
            true => drainer.tell(0, &Verb::Cancel),
            // Somebody else lets requests in again.
            false => s.other(POOL, "s").done(Verb::Reopen(n("s"))),
        }
        let answer = drainer.answer(0);
        assert_eq!(answer.code(), Some(95), "{answer}");
        assert!(!s.inspect("s").drained, "it is open again");
        a.done(Verb::ReleaseSome(guard, 1));
        s.other(POOL, "s").owns(ask(0, 1, Till::Now));
    }
}

fn drain_102(s: &mut Stage) {
    let (mut a, guard) = s.owner(X, "s");
    let (mut first, mut second) = (s.actor(), s.actor());
    first.tell(0, &Verb::Drain(n("s"), LONG));
    while !s.inspect("s").drained {
        crate::sys::nap(200);
    }
    second.refused(Verb::Drain(n("s"), SHORT), 102);
    a.done(Verb::Release(guard));
    assert_eq!(first.answer(0), Answer::Done);
}

fn drain_121(s: &mut Stage) {
    let (mut a, guard) = s.owner(POOL, "s");
    let mut drainer = s.actor();
    for till in [Till::Now, SHORT] {
        drainer.refused(Verb::Drain(n("s"), till), 121);
        assert_eq!(super::stage::why(&mut *drainer).0.len(), 1, "it says who is left");
        assert!(!s.inspect("s").drained, "it is open again");
    }
    a.done(Verb::ReleaseSome(guard, 1));
    s.other(POOL, "s").owns(ask(0, 1, Till::Now));
}

fn drainer_dies(s: &mut Stage) {
    let (mut a, guard) = s.owner(X, "s");
    let mut drainer = s.actor();
    drainer.tell(0, &Verb::Drain(n("s"), Till::Ever));
    while !s.inspect("s").drained {
        crate::sys::nap(200);
    }
    if s.dies_midway() {
        drainer.die();
    } else {
        // A thread that waits cannot end: it stops waiting first.
        drainer.tell(0, &Verb::Cancel);
        assert_eq!(drainer.answer(0).code(), Some(95));
        drainer.die();
    }
    a.done(Verb::Release(guard));
    s.other(X, "s").owns(Verb::Acquire(0));
    // One that was done stays, whatever becomes of who did it.
    let mut b = s.other(X, "t");
    b.done(Verb::Drain(n("t"), SHORT));
    b.die();
    s.other(X, "t").refused(Verb::Try(0), 102);
}

fn reopen(s: &mut Stage) {
    let mut a = s.other(X, "s");
    a.done(Verb::Reopen(n("s")));
    a.owns(Verb::Try(0));
    a.done(Verb::Release(0));
    a.done(Verb::Drain(n("s"), Till::Now));
    s.actor().done(Verb::Reopen(n("s")));
    a.owns(Verb::Try(0));
}

fn evict(s: &mut Stage) {
    let (mut a, guard) = s.owner(X, "s");
    let mut b = s.waiter(X, "s");
    let token = s.inspect("s").holders[0].token;
    s.actor().done(Verb::Evict(n("s"), token));
    let (_, next, cause) = after_death(b.answer(0));
    assert_eq!((cause.as_str(), next > token), ("Evicted", true));
    a.refused(Verb::Release(guard), 288);
    assert_eq!(s.inspect("s").holders[0].token, next, "the late release took nothing");
    // Permits just come back.
    let mut c = s.other(POOL, "p");
    let (three, token) = c.owns(ask(0, 3, Till::Now));
    let (one, _) = c.owns(ask(0, 1, Till::Now));
    let mut d = s.waiter(POOL, "p");
    s.actor().done(Verb::Evict(n("p"), token));
    clean(d.answer(0));
    assert_eq!(c.capacity(0), [4, 4, 2]);
    c.refused(Verb::Release(three), 288);
    c.done(Verb::Release(one));
    assert_eq!(c.capacity(0), [4, 4, 3]);
}

fn evict_288(s: &mut Stage) {
    let (mut a, guard) = s.owner(X, "s");
    let token = s.inspect("s").holders[0].token;
    a.refused(Verb::Evict(n("s"), token + 1), 288);
    a.done(Verb::Release(guard));
    a.refused(Verb::Evict(n("s"), token), 288);
    let (mut b, guard) = s.owner(POOL, "p");
    b.refused(Verb::Evict(n("p"), 77), 288);
    b.done(Verb::Release(guard));
}

fn gc(s: &mut Stage) {
    let (_owner, _) = s.owner(X, "held");
    let (mut waited, guard) = s.owner(X, "waited for");
    let mut waiter = s.waiter(X, "waited for");
    let mut a = s.other(POOL, "drained");
    a.done(Verb::Drain(n("drained"), Till::Now));
    s.other(X, "idle");
    s.other(POOL, "idle too");
    assert_eq!(a.ask(0, &Verb::Gc(3_600_000)), Answer::Numbers(vec![0]), "nothing is that old");
    // An engine may look at the clock of the tick.
    crate::sys::nap(20_000);
    assert_eq!(a.ask(0, &Verb::Gc(1)), Answer::Numbers(vec![2]));
    let left: Vec<String> = s.ns().list().expect("it lists").into_iter().map(|l| l.name).collect();
    assert_eq!(left, ["drained", "held", "waited for"]);
    waited.done(Verb::Release(guard));
    clean(waiter.answer(0));
}

fn ephemeral(s: &mut Stage) {
    let (mut a, mut b) = (s.actor(), s.actor());
    a.opens(Verb::Make(POOL, true, n("e")));
    assert!(s.inspect("e").ephemeral);
    b.opens(Verb::OpenCounting(n("e")));
    a.done(Verb::Close(0));
    assert_eq!(s.inspect("e").holders.len(), 0, "b has it open");
    match s.dies_midway() {
        true => {
            b.owns(ask(0, 1, Till::Now));
            b.die();
        }
        false => b.done(Verb::Close(0)),
    }
    // The end of a process is noticed by whoever comes next.
    a.refused(Verb::OpenCounting(n("e")), 187);
    assert!(s.ns().list().expect("it lists").is_empty());
    a.opens(Verb::Make(X, true, n("e")));
}

fn ephemeral_kept(s: &mut Stage) {
    let mut a = s.actor();
    let h = a.opens(Verb::Make(X, true, n("e")));
    let (guard, _) = a.owns(Verb::Try(h));
    a.refused(Verb::Close(h), 102);
    a.done(Verb::Release(guard));
    let again = a.opens(Verb::Open(n("e")));
    a.done(Verb::Close(h));
    a.owns(Verb::Try(again));
    assert_eq!(s.inspect("e").holders.len(), 1);
    // One that is not ephemeral stays without users.
    let p = a.opens(Verb::Make(POOL, false, n("p")));
    a.done(Verb::Close(p));
    assert_eq!(s.inspect("p").holders.len(), 0);
}
