//! Asynchronous requests: started, polled, dropped.

use super::events::{AUTO, MANUAL, three as events};
use super::lists::{taken, taken_all, three};
use super::stage::{LONG, SHORT, X, after_death, ask, clean, n, why};
use super::{Row, Setting, Shows, Stage, row};
use crate::protocol::{Answer, Till, Verb, What};
use crate::worker::Actor;
use std::time::Duration;

const POOL: What = What::Pool(2);

const fn named(name: &'static str, scene: fn(&mut Stage)) -> Row {
    Row { operation: "async", outcome: Shows::Named(name), setting: Setting::Usual, scene }
}

pub(super) const ROWS: &[Row] = &[
    row("acquire_async", 0, acquire),
    row("acquire_async", 6, |s| stale(s, X)),
    row("acquire_async", 95, |s| cancelled(s, X)),
    row("acquire_async", 102, |s| drained(s, X)),
    row("acquire_async", 105, acquire_105),
    row("acquire_async", 121, |s| timed_out(s, X)),
    row("acquire_async", 1131, acquire_1131),
    row("acquire_many_async", 0, many),
    row("acquire_many_async", 6, |s| stale(s, POOL)),
    row("acquire_many_async", 87, many_87),
    row("acquire_many_async", 95, |s| cancelled(s, POOL)),
    row("acquire_many_async", 102, |s| drained(s, POOL)),
    row("acquire_many_async", 121, |s| timed_out(s, POOL)),
    row("wait_async", 0, wait),
    row("wait_async", 6, |s| stale(s, AUTO)),
    row("wait_async", 95, |s| cancelled(s, AUTO)),
    row("wait_async", 102, |s| drained(s, MANUAL)),
    row("wait_async", 121, |s| timed_out(s, MANUAL)),
    row("wait_any_async", 0, any),
    row("wait_any_async", 6, |s| listed_6(s, Verb::Any)),
    row("wait_any_async", 87, |s| listed(s, Verb::Any(vec![(0, 1), (2, 3)], LONG), 87, &[1])),
    row("wait_any_async", 95, |s| listed_95(s, Verb::Any)),
    row("wait_any_async", 105, any_105),
    row("wait_any_async", 121, |s| listed_121(s, Verb::Any)),
    row("wait_any_async", 151, |s| listed(s, Verb::Any(vec![], LONG), 151, &[])),
    row("acquire_all_async", 0, all),
    row("acquire_all_async", 6, |s| listed_6(s, Verb::All)),
    row("acquire_all_async", 87, |s| listed(s, Verb::All(vec![(0, 1), (2, 3)], LONG), 87, &[1])),
    row("acquire_all_async", 95, |s| listed_95(s, Verb::All)),
    row("acquire_all_async", 105, all_105),
    row("acquire_all_async", 121, |s| listed_121(s, Verb::All)),
    row("acquire_all_async", 151, |s| listed(s, Verb::All(vec![(0, 1); 65], LONG), 151, &[])),
    row("acquire_all_async", 153, |s| listed(s, Verb::All(vec![(0, 1), (1, 1), (0, 1)], LONG), 153, &[0, 2])),
    named("begins with its first poll", begins),
    named("dropped", dropped),
    named("passes its grant on", passes_on),
    named("passes a signal on", passes_a_signal_on),
    named("not polled", not_polled),
    named("nests", nests),
    named("nobody's", nobodys),
    named("many", many_of_them),
    named("dies", dies),
];

fn start(a: &mut Box<dyn Actor>, request: Verb) -> usize {
    a.handle(0, &Verb::Start(false, Box::new(request)))
}

/// Starts it for the thread's own claimant.
fn start_own(a: &mut Box<dyn Actor>, request: Verb) -> usize {
    a.handle(0, &Verb::Start(true, Box::new(request)))
}

/// What a request comes to that is polled until it is over.
fn finished(a: &mut Box<dyn Actor>, request: Verb) -> Answer {
    let f = start(a, request);
    a.ask(0, &Verb::Await(f))
}

/// A request that has to wait, after its first poll.
fn waiting(a: &mut Box<dyn Actor>, request: Verb) -> usize {
    let f = start(a, request);
    assert_eq!(a.ask(0, &Verb::Poll(f)), Answer::Pending);
    f
}

fn is(a: &mut Box<dyn Actor>, verb: Verb) -> bool {
    a.ask(0, &verb) == Answer::Is(true)
}

/// Takes all of it, so that others wait.
fn busy(s: &mut Stage, what: What) -> (Box<dyn Actor>, Option<usize>) {
    match what {
        What::Manual(_) | What::Auto(_) => (s.other(what, "s"), None),
        what => {
            let (a, guard) = s.owner(what, "s");
            (a, Some(guard))
        }
    }
}

/// Lets one wait end.
fn free(a: &mut Box<dyn Actor>, guard: Option<usize>) {
    match guard {
        Some(guard) => a.done(Verb::Release(guard)),
        None => assert!(is(a, Verb::Signal(0))),
    }
}

fn acquire(s: &mut Stage) {
    let mut a = s.other(X, "s");
    let (guard, first) = clean(finished(&mut a, ask(0, 1, Till::Ever)));
    let mut b = s.other(X, "s");
    b.refused(Verb::Try(0), 101);
    let f = waiting(&mut b, ask(0, 1, LONG));
    s.until_waiting("s", 1);
    a.done(Verb::Release(guard));
    let (_, second) = clean(b.ask(0, &Verb::Await(f)));
    assert!(second > first, "tokens grow");
    assert_eq!(s.inspect("s").waiters.len(), 0);
}

fn stale(s: &mut Stage, what: What) {
    let mut a = s.other(what, "s");
    a.done(Verb::Remove(n("s")));
    assert_eq!(finished(&mut a, ask(0, 1, Till::Ever)), Answer::Refused(6));
}

fn cancelled(s: &mut Stage, what: What) {
    let (mut a, guard) = busy(s, what);
    let mut b = s.other(what, "s");
    let f = waiting(&mut b, ask(0, 1, Till::Ever));
    s.until_waiting("s", 1);
    b.tell(0, &Verb::Await(f));
    b.tell(0, &Verb::Cancel);
    assert_eq!(b.answer(0), Answer::Refused(95));
    s.until_waiting("s", 0);
    free(&mut a, guard);
    assert!(a.ask(0, &Verb::Try(0)).code().is_none(), "nothing was taken");
}

fn drained(s: &mut Stage, what: What) {
    let mut a = s.other(what, "s");
    a.done(Verb::Drain(n("s"), LONG));
    assert_eq!(finished(&mut a, ask(0, 1, Till::Ever)), Answer::Refused(102));
}

fn timed_out(s: &mut Stage, what: What) {
    let (mut a, guard) = busy(s, what);
    let mut b = s.other(what, "s");
    assert_eq!(finished(&mut b, ask(0, 1, SHORT)), Answer::Refused(121));
    let seen = s.inspect("s");
    assert_eq!((seen.waiters.len(), seen.counters.timed_out), (0, 1));
    free(&mut a, guard);
    assert!(a.ask(0, &Verb::Try(0)).code().is_none(), "nothing was taken");
}

fn acquire_105(s: &mut Stage) {
    let (mut a, _) = s.owner(X, "s");
    let mut b = s.other(X, "s");
    let f = waiting(&mut b, ask(0, 1, Till::Ever));
    s.until_waiting("s", 1);
    a.die();
    let (guard, ..) = after_death(b.ask(0, &Verb::Await(f)));
    b.done(Verb::Release(guard));
    // The mark stays, also for a request that need not wait.
    let (guard, ..) = after_death(finished(&mut b, ask(0, 1, Till::Ever)));
    b.done(Verb::MarkConsistent(guard));
    b.done(Verb::Release(guard));
    clean(finished(&mut b, ask(0, 1, Till::Ever)));
}

/// Two claimants that are tasks.
fn acquire_1131(s: &mut Stage) {
    let (mut a, mut b) = (three(s), three(s));
    for (who, sem) in [(&mut a, 0), (&mut b, 1)] {
        let f = start_own(who, ask(sem, 1, Till::Ever));
        clean(who.ask(0, &Verb::Await(f)));
    }
    let f = start_own(&mut a, ask(1, 1, Till::Ever));
    assert_eq!(a.ask(0, &Verb::Poll(f)), Answer::Pending);
    s.until_waiting("y", 1);
    let g = start_own(&mut b, ask(0, 1, Till::Ever));
    assert_eq!(b.ask(0, &Verb::Await(g)), Answer::Refused(1131));
    assert!(why(&mut *b).2 >= 2);
    b.done(Verb::Release(0));
    clean(a.ask(0, &Verb::Await(f)));
}

fn many(s: &mut Stage) {
    let mut a = s.other(POOL, "s");
    let (two, _) = clean(finished(&mut a, ask(0, 2, Till::Ever)));
    assert_eq!(a.capacity(0), [2, 2, 0]);
    let mut b = s.other(POOL, "s");
    let f = waiting(&mut b, ask(0, 2, Till::Ever));
    s.until_waiting("s", 1);
    a.done(Verb::ReleaseSome(two, 1));
    assert_eq!((b.ask(0, &Verb::Poll(f)), a.capacity(0)), (Answer::Pending, vec![2, 2, 1]));
    a.done(Verb::Release(two));
    let (two, _) = clean(b.ask(0, &Verb::Await(f)));
    b.done(Verb::Release(two));
    assert_eq!(a.capacity(0), [2, 2, 2]);
}

fn many_87(s: &mut Stage) {
    let mut a = s.other(POOL, "s");
    for permits in [0, 3] {
        assert_eq!(finished(&mut a, ask(0, permits, Till::Ever)), Answer::Refused(87));
    }
}

fn wait(s: &mut Stage) {
    let (mut a, mut b) = (events(s), events(s));
    for (handle, name) in [(0, "m"), (1, "a")] {
        assert!(is(&mut a, Verb::Signal(handle)));
        assert_eq!(finished(&mut b, ask(handle, 1, Till::Ever)), Answer::Done);
        assert_eq!(is(&mut a, Verb::Reset(handle)), handle == 0, "consumed or not");
        let f = waiting(&mut b, ask(handle, 1, LONG));
        s.until_waiting(name, 1);
        assert!(is(&mut a, Verb::Signal(handle)));
        if handle == 0 {
            // It has been reached all the same.
            assert!(is(&mut a, Verb::Reset(handle)));
        }
        assert_eq!(b.ask(0, &Verb::Await(f)), Answer::Done);
    }
}

fn any(s: &mut Stage) {
    let (mut a, mut b) = (three(s), three(s));
    let list = || Verb::Any(vec![(1, 1), (0, 1), (2, 1)], Till::Ever);
    let (y, _) = a.owns(Verb::Try(1));
    let (index, x) = taken(finished(&mut b, list()));
    assert_eq!(index, 1);
    a.owns(ask(2, 2, Till::Now));
    let mut c = three(s);
    let f = waiting(&mut c, list());
    s.until_waiting("p", 1);
    a.done(Verb::Release(y));
    assert_eq!(taken(c.ask(0, &Verb::Await(f))).0, 0);
    b.done(Verb::Release(x));
    assert_eq!((s.inspect("x").holders.len(), s.inspect("x").waiters.len()), (0, 0), "of the others it took nothing");
}

type List = fn(Vec<(usize, u32)>, Till) -> Verb;

fn listed(s: &mut Stage, list: Verb, code: u32, at: &[usize]) {
    let mut a = three(s);
    let want = if at.is_empty() { Answer::Refused(code) } else { Answer::RefusedAt(code, at.to_vec()) };
    assert_eq!(finished(&mut a, list), want);
}

fn listed_6(s: &mut Stage, list: List) {
    let mut a = three(s);
    a.done(Verb::Remove(n("y")));
    assert_eq!(finished(&mut a, list(vec![(0, 1), (1, 1)], LONG)), Answer::RefusedAt(6, vec![1]));
    a.owns(Verb::Try(0));
}

fn listed_95(s: &mut Stage, list: List) {
    let (mut a, mut b) = (three(s), three(s));
    let guards: Vec<usize> = [0, 1].map(|h| a.owns(Verb::Try(h)).0).into();
    let f = waiting(&mut b, list(vec![(0, 1), (1, 1)], Till::Ever));
    s.until_waiting("x", 1);
    b.tell(0, &Verb::Await(f));
    b.tell(0, &Verb::Cancel);
    assert_eq!(b.answer(0).code(), Some(95));
    for name in ["x", "y"] {
        s.until_waiting(name, 0);
    }
    guards.into_iter().for_each(|g| a.done(Verb::Release(g)));
    assert_eq!((s.inspect("x").holders.len(), s.inspect("y").holders.len()), (0, 0));
}

fn listed_121(s: &mut Stage, list: List) {
    let (mut a, mut b) = (three(s), three(s));
    a.owns(Verb::Try(0));
    a.owns(Verb::Try(1));
    assert_eq!(finished(&mut b, list(vec![(0, 1), (1, 1)], SHORT)), Answer::RefusedAt(121, vec![0, 1]));
    for name in ["x", "y"] {
        s.until_waiting(name, 0);
    }
}

fn any_105(s: &mut Stage) {
    let mut a = three(s);
    a.owns(Verb::Try(1));
    a.die();
    let mut b = three(s);
    let answer = finished(&mut b, Verb::Any(vec![(1, 1), (0, 1)], LONG));
    assert!(matches!(answer, Answer::Taken { index: 0, died: true, .. }), "{answer}");
}

fn all(s: &mut Stage) {
    let (mut a, mut b) = (three(s), three(s));
    let (x, _) = a.owns(Verb::Try(0));
    let f = waiting(&mut b, Verb::All(vec![(1, 1), (0, 1), (2, 2)], Till::Ever));
    s.until_waiting("p", 1);
    assert_eq!((s.inspect("y").holders.len(), a.capacity(2)), (0, vec![2, 2, 2]), "never a part of it");
    a.done(Verb::Release(x));
    let guards = taken_all(b.ask(0, &Verb::Await(f)));
    assert_eq!((s.inspect("y").holders.len(), a.capacity(2)), (1, vec![2, 2, 0]));
    guards.into_iter().for_each(|g| b.done(Verb::Release(g)));
    assert_eq!(taken_all(finished(&mut a, Verb::All(vec![(2, 1), (0, 1)], Till::Ever))).len(), 2);
}

fn all_105(s: &mut Stage) {
    let mut a = three(s);
    a.owns(Verb::Try(1));
    a.die();
    let mut b = three(s);
    let answer = finished(&mut b, Verb::All(vec![(0, 1), (1, 1)], LONG));
    assert!(matches!(&answer, Answer::All { died, .. } if *died == [1]), "{answer}");
}

fn begins(s: &mut Stage) {
    let mut a = s.other(X, "s");
    let f = start(&mut a, ask(0, 1, Till::Ever));
    assert_eq!(s.inspect("s").holders.len(), 0);
    let mut b = s.other(X, "s");
    let (guard, _) = b.owns(Verb::Try(0));
    b.done(Verb::Release(guard));
    clean(a.ask(0, &Verb::Await(f)));
}

fn dropped(s: &mut Stage) {
    for what in [X, POOL, AUTO] {
        let (mut a, guard) = busy(s, what);
        let mut b = s.other(what, "s");
        let never = start(&mut b, ask(0, 1, Till::Ever));
        let fs: Vec<usize> = (0..3).map(|_| waiting(&mut b, ask(0, 1, LONG))).collect();
        s.until_waiting("s", 3);
        b.done(Verb::Forsake(fs[1]));
        s.until_waiting("s", 2);
        [never, fs[0], fs[2]].into_iter().for_each(|f| b.done(Verb::Forsake(f)));
        s.until_waiting("s", 0);
        free(&mut a, guard);
        assert!(a.ask(0, &Verb::Try(0)).code().is_none(), "nothing was taken");
        let died = s.inspect("s").counters.deaths;
        assert_eq!(died, 0, "that is no death");
        let left: Vec<u64> = s.inspect("s").holders.iter().map(|h| h.token).collect();
        left.into_iter().for_each(|token| s.actor().done(Verb::Evict(n("s"), token)));
        s.actor().done(Verb::Remove(n("s")));
    }
}

/// Of two that wait, the first is about to be served and goes away.
fn passes_on(s: &mut Stage) {
    for what in [X, POOL] {
        let (mut a, guard) = busy(s, what);
        let (mut b, mut c) = (s.other(what, "s"), s.other(what, "s"));
        let f = waiting(&mut b, ask(0, 1, Till::Ever));
        s.until_waiting("s", 1);
        let g = waiting(&mut c, ask(0, 1, Till::Ever));
        s.until_waiting("s", 2);
        free(&mut a, guard);
        b.done(Verb::Forsake(f));
        let (guard, _) = clean(c.ask(0, &Verb::Await(g)));
        // Over a network, what the forsaken one was given may be on its way back yet.
        while s.inspect("s").holders.len() != 1 {
            crate::sys::nap(200);
        }
        assert_eq!(s.inspect("s").counters.deaths, 0);
        c.done(Verb::Release(guard));
        c.done(Verb::Remove(n("s")));
    }
}

fn passes_a_signal_on(s: &mut Stage) {
    let (mut a, mut b, mut c) = (s.other(AUTO, "e"), s.other(AUTO, "e"), s.other(AUTO, "e"));
    let f = waiting(&mut b, ask(0, 1, Till::Ever));
    s.until_waiting("e", 1);
    let g = waiting(&mut c, ask(0, 1, Till::Ever));
    s.until_waiting("e", 2);
    assert!(is(&mut a, Verb::Signal(0)));
    b.done(Verb::Forsake(f));
    assert_eq!(c.ask(0, &Verb::Await(g)), Answer::Done);
    // Where nobody else waits it is there again.
    let f = waiting(&mut b, ask(0, 1, Till::Ever));
    s.until_waiting("e", 1);
    assert!(is(&mut a, Verb::Signal(0)));
    b.done(Verb::Forsake(f));
    assert_eq!(finished(&mut c, ask(0, 1, Till::Ever)), Answer::Done);
}

/// A future that is woken and never polled again keeps others waiting for a bounded time only, unless it has the claim; then
/// it is as any owner.
fn not_polled(s: &mut Stage) {
    let (mut a, guard) = s.owner(X, "s");
    let (mut b, mut c) = (s.other(X, "s"), s.other(X, "s"));
    let f = waiting(&mut b, ask(0, 1, Till::Ever));
    s.until_waiting("s", 1);
    c.tell(0, &ask(0, 1, Till::Ever));
    s.until_waiting("s", 2);
    a.done(Verb::Release(guard));
    let served = c.answer_within(0, Duration::from_millis(500));
    // Over a network, and in one process, the releaser hands over, and the first one has it without knowing.
    let (mut has, other) = match served {
        Some(answer) => {
            clean(answer);
            (c, Some((b, f)))
        }
        None => {
            clean(b.ask(0, &Verb::Await(f)));
            (b, None)
        }
    };
    has.done(Verb::Release(0));
    if let Some((mut b, f)) = other {
        clean(b.ask(0, &Verb::Await(f)));
    }
}

fn nests(s: &mut Stage) {
    let mut a = s.other(X, "s");
    for _ in 0..2 {
        let f = start_own(&mut a, ask(0, 1, Till::Ever));
        clean(a.ask(0, &Verb::Await(f)));
    }
    assert_eq!(s.inspect("s").holders[0].depth, 2);
    // The thread is another claimant than the one that its futures are for.
    a.refused(Verb::Try(0), 101);
    a.done(Verb::Release(0));
    a.refused(Verb::Try(0), 101);
    a.done(Verb::Release(1));
    a.owns(Verb::Try(0));
}

/// A claim of nobody in particular does not nest, and its wait is in no cycle.
fn nobodys(s: &mut Stage) {
    let mut a = s.other(X, "s");
    let (guard, _) = clean(finished(&mut a, ask(0, 1, Till::Ever)));
    assert_eq!(finished(&mut a, ask(0, 1, SHORT)), Answer::Refused(121));
    let f = waiting(&mut a, ask(0, 1, Till::Ever));
    s.until_waiting("s", 1);
    assert!(s.inspect("s").deadlock.is_empty());
    a.done(Verb::Release(guard));
    clean(a.ask(0, &Verb::Await(f)));
}

fn many_of_them(s: &mut Stage) {
    let most = if s.is_slow() { 8 } else { 200 };
    let (mut a, guard) = s.owner(X, "s");
    let mut b = s.other(X, "s");
    let mut fs: Vec<usize> = (0..most).map(|_| waiting(&mut b, ask(0, 1, Till::Ever))).collect();
    s.until_waiting("s", most);
    a.done(Verb::Release(guard));
    // Whoever is next, as a runtime would have it.
    while !fs.is_empty() {
        fs.retain(|f| match b.ask(0, &Verb::Poll(*f)) {
            Answer::Pending => true,
            answer => {
                let (guard, _) = clean(answer);
                b.done(Verb::Release(guard));
                false
            }
        });
    }
    assert_eq!(s.inspect("s").counters.acquired, most as u64 + 1);
}

/// A process that ends takes its futures along.
fn dies(s: &mut Stage) {
    if !s.dies_midway() {
        return;
    }
    let (mut a, guard) = s.owner(X, "s");
    let (mut b, mut c) = (s.other(X, "s"), s.other(X, "s"));
    waiting(&mut b, ask(0, 1, Till::Ever));
    s.until_waiting("s", 1);
    let f = waiting(&mut c, ask(0, 1, Till::Ever));
    s.until_waiting("s", 2);
    b.die();
    a.done(Verb::Release(guard));
    clean(c.ask(0, &Verb::Await(f)));
    c.die();
    after_death(finished(&mut a, ask(0, 1, Till::Ever)));
}
