//! Interrupt time: no request changes anything, and what is allowed is allowed.

use super::events::{AUTO, MANUAL};
use super::stage::{LONG, X, ask, n};
use super::{Row, Setting, Shows, Stage, row};
use crate::protocol::{Answer, Till, Verb, What};

const CREDIT: What = What::Credit(4, 1);

pub(super) const ROWS: &[Row] = &[
    row("acquire", 104, |s| refused(s, X, Verb::Acquire(0))),
    row("try_acquire", 104, |s| refused(s, X, Verb::Try(0))),
    row("acquire_timeout", 104, |s| refused(s, X, Verb::Timeout(0, 20))),
    row("acquire_many", 104, |s| refused(s, CREDIT, ask(0, 1, Till::Ever))),
    row("try_acquire_many", 104, |s| refused(s, CREDIT, ask(0, 1, Till::Now))),
    row("acquire_owned", 104, |s| refused(s, CREDIT, Verb::Ask(0, 1, Till::Ever, true))),
    row("wait", 104, |s| refused(s, MANUAL, ask(0, 1, LONG))),
    row("try_wait", 104, |s| refused(s, AUTO, Verb::Try(0))),
    row("wait_any", 104, |s| refused(s, X, Verb::Any(vec![(0, 1)], Till::Ever))),
    row("acquire_all", 104, |s| refused(s, AUTO, Verb::All(vec![(0, 1)], Till::Now))),
    row("drain", 104, |s| refused(s, X, Verb::Drain(n("s"), LONG))),
    row("acquire_async", 104, poll),
    Row { operation: "interrupt time", outcome: Shows::Named("nested"), setting: Setting::Usual, scene: nested },
    Row { operation: "interrupt time", outcome: Shows::Named("87 first"), setting: Setting::Usual, scene: first },
    Row { operation: "interrupt time", outcome: Shows::Named("signal"), setting: Setting::Usual, scene: signal },
    Row { operation: "interrupt time", outcome: Shows::Named("add_permits"), setting: Setting::Usual, scene: add },
];

fn inside(verb: Verb) -> Verb {
    Verb::Interrupt(Box::new(verb))
}

/// Nothing was taken, nobody waits, and outside of the scope it works.
fn refused(s: &mut Stage, what: What, verb: Verb) {
    let mut a = s.other(what, "s");
    if let What::Manual(_) | What::Auto(_) = what {
        assert_eq!(a.ask(0, &Verb::Signal(0)), Answer::Is(true));
    }
    assert_eq!(a.ask(0, &inside(verb.clone())).code(), Some(104));
    let seen = s.inspect("s");
    assert_eq!((seen.holders.len(), seen.waiters.len(), seen.drained), (0, 0, false));
    assert!(seen.capacity.is_none_or(|c| c.free == 1) && seen.signal.is_none_or(|x| x.is_set));
    assert_eq!(a.ask(0, &verb).code(), None, "outside");
}

/// A future that was begun outside of the scope goes on outside of it.
fn poll(s: &mut Stage) {
    let mut a = s.other(X, "s");
    let f = a.handle(0, &Verb::Start(false, Box::new(ask(0, 1, Till::Ever))));
    assert_eq!(a.ask(0, &inside(Verb::Poll(f))).code(), Some(104));
    assert_eq!(s.inspect("s").holders.len(), 0);
    let f = a.handle(0, &Verb::Start(false, Box::new(ask(0, 1, Till::Ever))));
    super::stage::clean(a.ask(0, &Verb::Await(f)));
}

/// One's own semaphore, which would only nest.
fn nested(s: &mut Stage) {
    let (mut a, guard) = s.owner(X, "s");
    assert_eq!(a.ask(0, &inside(Verb::Try(0))), Answer::Refused(104));
    assert_eq!(a.ask(0, &inside(inside(Verb::Try(0)))), Answer::Refused(104));
    assert_eq!(s.inspect("s").holders[0].depth, 1);
    a.done(Verb::Release(guard));
}

/// In the order of the contract: 87 comes before 104, and that before what is known of the semaphore.
fn first(s: &mut Stage) {
    let mut a = s.other(CREDIT, "c");
    assert_eq!(a.ask(0, &inside(ask(0, 0, Till::Now))), Answer::Refused(87));
    assert_eq!(a.ask(0, &inside(Verb::Any(vec![], LONG))), Answer::Refused(151));
    a.done(Verb::Remove(n("c")));
    assert_eq!(a.ask(0, &inside(ask(0, 1, Till::Now))), Answer::Refused(104));
}

/// The engine in shared memory does it; those that need a lock or a network say so, and change nothing.
fn signal(s: &mut Stage) {
    for what in [MANUAL, AUTO] {
        let mut a = s.other(what, "e");
        let mut b = s.waiter(what, "e");
        match a.ask(0, &inside(Verb::Signal(0))) {
            Answer::Is(was_reset) => assert!(was_reset),
            refused => {
                assert_eq!(refused, Answer::Refused(104));
                assert_eq!(a.ask(0, &Verb::Signal(0)), Answer::Is(true));
            }
        }
        assert_eq!(b.answer(0), Answer::Done);
        assert_eq!(s.inspect("e").counters.acquired, 1);
        a.done(Verb::Remove(n("e")));
    }
}

fn add(s: &mut Stage) {
    let mut a = s.other(What::Credit(2, 0), "c");
    let mut b = s.waiter(What::Credit(2, 0), "c");
    match a.ask(0, &inside(Verb::Add(0, 1))) {
        Answer::Done => {}
        refused => {
            assert_eq!(refused, Answer::Refused(104));
            a.done(Verb::Add(0, 1));
        }
    }
    super::stage::clean(b.answer(0));
    assert_eq!(a.capacity(0), [2, 1, 0]);
    assert!(matches!(a.ask(0, &inside(Verb::Add(0, 2))).code(), Some(298 | 104)));
}
