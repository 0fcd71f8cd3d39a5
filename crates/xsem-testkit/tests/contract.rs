//! The rows of the contract for exclusive semaphores, one by one, between real processes.

mod common;

use common::{Place, create, deaths, either, open, refused, remove};
use std::time::Duration;
use xsem::{AcquireError, CancelToken, Code, Error, Exclusive, Namespace, ProcessState, Wait};
use xsem_testkit::protocol::{Answer, Verb};
use xsem_testkit::sys::Pid;
use xsem_testkit::watchdog::Watchdog;
use xsem_testkit::worker::Worker;

const SHORT: u64 = 20;

/// A worker with a handle on `s`, whose thread 0 owns it.
fn owner(place: &Place) -> Worker {
    let mut w = place.worker();
    assert_eq!(w.handle(0, &either("s")), 0);
    let (_, _, died) = w.granted(0, &Verb::Try(0));
    assert!(!died);
    w
}

/// A worker whose thread 0 waits for `s`.
fn waiter(place: &Place, ahead: usize) -> Worker {
    let mut w = place.worker();
    assert_eq!(w.handle(0, &open("s")), 0);
    w.tell(0, &Verb::Acquire(0));
    place.until_waiting("s", ahead + 1);
    w
}

#[test]
fn try_acquire_is_101_with_who_holds_it() {
    let _dog = Watchdog::start("101");
    let place = Place::new();
    let w = owner(&place);
    let s = Exclusive::open(&place.ns, "s").unwrap();
    let e = Error::from(s.try_acquire().unwrap_err());
    assert_eq!(e.code(), Code::ExclSemAlreadyOwned);
    let pids: Vec<u32> = e.holders().iter().map(|h| h.process.pid).collect();
    assert_eq!(pids, [w.pid()]);
    assert!(e.is_taken() && e.to_string().contains(&w.pid().to_string()), "{e}");
}

#[test]
fn a_timeout_is_121_with_who_holds_it_and_who_is_ahead_and_leaves_nothing() {
    let _dog = Watchdog::start("121");
    let place = Place::new();
    let mut w = owner(&place);
    let mut first = waiter(&place, 0);
    let s = Exclusive::open(&place.ns, "s").unwrap();
    let begin = std::time::Instant::now();
    let e = Error::from(s.acquire_timeout(Duration::from_millis(SHORT)).unwrap_err());
    assert!(begin.elapsed() >= Duration::from_millis(SHORT), "121 before its time");
    assert_eq!(e.code(), Code::SemTimeout);
    assert_eq!(e.holders().iter().map(|h| h.process.pid).collect::<Vec<_>>(), [w.pid()]);
    assert_eq!(e.ahead().iter().map(|a| a.process.pid).collect::<Vec<_>>(), [first.pid()]);
    place.until_waiting("s", 1);
    assert_eq!(w.ask(0, &Verb::Release(0)), Answer::Done);
    assert!(matches!(first.answer(0), Answer::Granted { died: None, .. }));
    assert_eq!(place.inspect("s").counters.timed_out, 1);
}

#[test]
fn a_release_wakes_a_waiter() {
    let _dog = Watchdog::start("release wakes");
    let place = Place::new();
    let mut w = owner(&place);
    let mut waiters: Vec<Worker> = (0..3).map(|n| waiter(&place, n)).collect();
    assert_eq!(w.ask(0, &Verb::Release(0)), Answer::Done);
    // One after the other; on a busy machine a younger one may come first (the bound, the lapse).
    while !waiters.is_empty() {
        let short = std::time::Duration::from_millis(20);
        let Some((i, answer)) = (0..waiters.len()).find_map(|i| Some((i, waiters[i].answer_within(0, short)?))) else { continue };
        assert!(matches!(answer, Answer::Granted { died: None, .. }), "{answer}");
        assert_eq!(waiters[i].ask(0, &Verb::Release(0)), Answer::Done);
        waiters.remove(i);
    }
    assert!(place.inspect("s").holders.is_empty());
    place.audit();
}

#[test]
fn every_way_to_end_tells_the_waiter_105() {
    type End = (&'static str, fn(&mut Worker));
    let ends: [End; 5] = [
        ("ProcessEnded", |w| w.kill()),
        ("ProcessEnded", |w| w.tell(0, &Verb::Exit)),
        ("ProcessEnded", |w| w.tell(0, &Verb::Exec)),
        ("ThreadEnded", |w| assert_eq!(w.ask(0, &Verb::EndThread), Answer::Done)),
        ("Abandoned", |w| assert_eq!(w.ask(0, &Verb::Abandon(0)), Answer::Done)),
    ];
    for (i, (cause, end)) in ends.into_iter().enumerate() {
        let _dog = Watchdog::start(&format!("a waiter is told of an owner's end, way {i} ({cause})"));
        let place = Place::new();
        let mut dying = owner(&place);
        let mut next = waiter(&place, 0);
        end(&mut dying);
        let dead = (dying.pid(), cause.to_owned());
        assert_eq!(deaths(next.answer(0)), (2, dead.clone(), dead, 1));
        assert_eq!(place.inspect("s").counters.deaths, 1);
        place.audit();
    }
}

#[test]
fn the_mark_stays_until_it_is_acknowledged_also_when_nobody_has_it_open() {
    let _dog = Watchdog::start("the mark");
    let place = Place::new();
    let mut a = owner(&place);
    a.kill();
    let mut b = place.worker();
    b.handle(0, &open("s"));
    let (_, first, ..) = deaths(b.ask(0, &Verb::Try(0)));
    assert_eq!(first.0, a.pid());
    assert_eq!(b.ask(0, &Verb::Release(0)), Answer::Done);
    let (_, _, latest, n) = deaths(b.ask(0, &Verb::Try(0)));
    assert_eq!((latest.0, n), (a.pid(), 1), "told again, counted once");
    b.kill();
    let mut c = place.worker();
    c.handle(0, &open("s"));
    let (_, first, latest, n) = deaths(c.ask(0, &Verb::Try(0)));
    assert_eq!((first.0, latest.0, n), (a.pid(), b.pid(), 2));
    assert!(!c.granted(0, &Verb::Try(0)).2, "105 comes with the outermost claim only");
    assert_eq!(c.ask(0, &Verb::MarkConsistent(0)), Answer::Done);
    assert!(!place.inspect("s").marked);
    c.kill();
    let mut d = place.worker();
    d.handle(0, &open("s"));
    let (_, first, _, n) = deaths(d.ask(0, &Verb::Try(0)));
    assert_eq!((first.0, n), (c.pid(), 1), "acknowledged deaths are over");
}

#[test]
fn a_recovery_owns_and_dropping_it_keeps_the_mark() {
    let _dog = Watchdog::start("recovery");
    let place = Place::new();
    owner(&place).kill();
    let s = Exclusive::open(&place.ns, "s").unwrap();
    match s.try_acquire() {
        Err(AcquireError::OwnerDied(r)) => {
            assert_eq!(place.inspect("s").holders[0].process.pid, std::process::id());
            drop(r);
        }
        other => panic!("{other:?}"),
    }
    assert!(place.inspect("s").holders.is_empty() && place.inspect("s").marked);
    match s.try_acquire() {
        Err(AcquireError::OwnerDied(r)) => drop(r.mark_consistent().unwrap()),
        other => panic!("{other:?}"),
    }
    assert!(!place.inspect("s").marked);
    drop(s.try_acquire().unwrap());
}

#[test]
fn threads_are_strangers_and_one_thread_nests() {
    let _dog = Watchdog::start("threads");
    let place = Place::new();
    let mut w = owner(&place);
    assert_eq!(w.ask(1, &Verb::Try(0)), refused(101));
    let (inner, ..) = w.granted(0, &Verb::Timeout(0, SHORT));
    assert_eq!(place.inspect("s").holders[0].depth, 2);
    w.tell(1, &Verb::Acquire(0));
    place.until_waiting("s", 1);
    assert_eq!(w.ask(0, &Verb::Release(inner)), Answer::Done);
    assert_eq!(w.answer_within(1, Duration::from_millis(SHORT)), None, "one level is left");
    assert_eq!(w.ask(0, &Verb::Release(0)), Answer::Done);
    assert!(matches!(w.answer(1), Answer::Granted { died: None, .. }));
}

#[test]
fn nesting_too_deep_is_103_and_changes_nothing() {
    let _dog = Watchdog::start("103");
    let place = Place::new();
    let s = Exclusive::create(&place.ns, "s").unwrap();
    let mut guards: Vec<_> = (0..65_535).map(|_| s.acquire().unwrap()).collect();
    assert_eq!(s.acquire().unwrap_err().code(), Code::TooManySemRequests);
    assert_eq!(place.inspect("s").holders[0].depth, 65_535);
    drop(guards.pop());
    guards.push(s.acquire().unwrap());
    drop(guards);
    assert!(place.inspect("s").holders.is_empty());
}

#[test]
fn a_guard_whose_claim_ended_is_288_and_frees_nobody_elses() {
    let _dog = Watchdog::start("288");
    let place = Place::new();
    let mut w = owner(&place);
    let (inner, ..) = w.granted(0, &Verb::Try(0));
    assert_eq!(w.ask(0, &Verb::Abandon(inner)), Answer::Done);
    assert_eq!(w.ask(0, &Verb::Held(0)), Answer::Is(false));
    assert_eq!(w.ask(0, &Verb::MarkConsistent(0)), refused(288));
    // The same thread owns it again, by another claim: the old guard must not end that one.
    let (again, ..) = w.granted(0, &Verb::Try(0));
    assert_eq!(w.ask(0, &Verb::Release(0)), refused(288));
    assert_eq!(w.ask(0, &Verb::Held(again)), Answer::Is(true));
    assert_eq!(place.inspect("s").holders[0].depth, 1);
}

#[test]
fn remove_is_102_while_held_or_waited_for_and_lists_them() {
    let _dog = Watchdog::start("102");
    let place = Place::new();
    let mut w = owner(&place);
    let e = place.ns.remove("s").unwrap_err();
    assert_eq!((e.code(), e.holders()[0].process.pid), (Code::SemIsSet, w.pid()));
    let mut next = waiter(&place, 0);
    let e = place.ns.remove("s").unwrap_err();
    assert_eq!(e.ahead().iter().map(|a| a.process.pid).collect::<Vec<_>>(), [next.pid()]);
    assert_eq!(w.ask(0, &Verb::Release(0)), Answer::Done);
    assert!(matches!(next.answer(0), Answer::Granted { .. }));
    assert_eq!(next.ask(0, &remove("s")), refused(102), "also the owner's own process");
    assert_eq!(next.ask(0, &Verb::Release(0)), Answer::Done);
    place.ns.remove("s").unwrap();
    assert_eq!(place.ns.inspect("s").unwrap_err().code(), Code::SemNotFound);
}

#[test]
fn a_dead_owner_does_not_keep_a_name() {
    let _dog = Watchdog::start("remove after death");
    let place = Place::new();
    owner(&place).kill();
    place.ns.remove("s").unwrap();
    let s = Exclusive::create(&place.ns, "s").unwrap();
    drop(s.try_acquire().expect("the new object of the name has no mark"));
    place.audit();
}

#[test]
fn handles_of_a_removed_name_are_stale() {
    let _dog = Watchdog::start("stale handles");
    let place = Place::new();
    let mut w = owner(&place);
    assert_eq!(w.ask(0, &Verb::Release(0)), Answer::Done);
    place.ns.remove("s").unwrap();
    for verb in [Verb::Try(0), Verb::Timeout(0, SHORT), Verb::Acquire(0)] {
        assert_eq!(w.ask(0, &verb), refused(6), "{verb}");
    }
    let s = Exclusive::create(&place.ns, "s").unwrap();
    for verb in [Verb::Try(0), Verb::Acquire(0)] {
        assert_eq!(w.ask(0, &verb), refused(6), "{verb} on a new object of the old name");
    }
    drop(s.try_acquire().unwrap());
}

#[test]
fn opening_and_creating_say_183_187_123_and_87() {
    let place = Place::new();
    let mut w = place.worker();
    assert_eq!(w.ask(0, &open("s")), refused(187));
    assert_eq!(w.ask(0, &remove("s")), refused(187));
    w.handle(0, &create("s"));
    assert_eq!(w.ask(0, &create("s")), refused(183));
    w.handle(0, &either("s"));
    for verb in [create(""), open("a\tb"), either(&"x".repeat(256)), remove("")] {
        assert_eq!(w.ask(0, &verb), refused(123), "{verb}");
    }
    for url in ["", "file:/tmp/x", "etc"] {
        assert_eq!(Namespace::open(url).unwrap_err().code(), Code::InvalidParameter, "{url}");
    }
    for (semaphores, members) in [(0, 1), (16_000_001, 1), (1, 0), (1, 2041)] {
        let b = Namespace::builder().max_semaphores(semaphores).max_members(members);
        let e = b.open(&format!("{}-2", place.ns.url())).unwrap_err();
        assert_eq!(e.code(), Code::InvalidParameter, "{semaphores} semaphores, {members} members");
    }
    let absent = format!("{}-absent", place.ns.url());
    assert_eq!(Namespace::builder().create(false).open(&absent).unwrap_err().code(), Code::SemNotFound);
}

#[test]
fn member_slots_are_finite_and_come_back() {
    let _dog = Watchdog::start("106");
    // This process is a third member: it makes the names.
    let place = Place::with(Namespace::builder().max_members(3));
    let mut workers: Vec<Worker> = (0..3).map(|_| place.worker()).collect();
    for (i, w) in workers.iter_mut().enumerate() {
        let name = format!("s{i}");
        drop(Exclusive::create(&place.ns, &name).unwrap());
        w.handle(0, &open(&name));
    }
    for w in &mut workers[..2] {
        w.granted(0, &Verb::Try(0));
    }
    assert_eq!(workers[2].ask(0, &Verb::Try(0)), refused(106));
    workers[0].kill();
    assert!(!workers[2].granted(0, &Verb::Try(0)).2);
    assert!(place.inspect("s0").marked || place.inspect("s0").holders[0].process.state == ProcessState::Dead);
    place.audit();
}

#[test]
fn a_cancelled_wait_is_95_and_leaves_nothing() {
    let _dog = Watchdog::start("95");
    let place = Place::new();
    let mut w = owner(&place);
    let s = Exclusive::open(&place.ns, "s").unwrap();
    let token = CancelToken::new();
    std::thread::scope(|scope| {
        let wait = scope.spawn(|| s.acquire_with(Wait::forever().cancel(&token)).unwrap_err().code());
        place.until_waiting("s", 1);
        token.cancel();
        assert_eq!(wait.join().unwrap(), Code::Interrupt);
    });
    assert!(place.inspect("s").waiters.is_empty());
    assert_eq!(w.ask(0, &Verb::Release(0)), Answer::Done);
    drop(s.try_acquire().unwrap());
}

#[test]
fn a_forked_child_owns_nothing_and_its_drop_does_nothing() {
    let _dog = Watchdog::start("fork");
    let place = Place::new();
    let mut w = owner(&place);
    assert_eq!(w.ask(0, &Verb::DropInChild(0)), Answer::Is(false));
    assert_eq!(w.ask(0, &Verb::Held(0)), Answer::Is(true));
    let s = Exclusive::open(&place.ns, "s").unwrap();
    assert_eq!(s.try_acquire().unwrap_err().code(), Code::ExclSemAlreadyOwned);
    assert_eq!(w.ask(0, &Verb::Release(0)), Answer::Done);
    drop(s.try_acquire().expect("it was released cleanly"));
}

/// Waits until every thread of a process is stopped.
fn until_stopped(pid: u32) {
    let pid = pid as Pid;
    while !xsem_testkit::sys::threads(pid).iter().all(|&t| xsem_testkit::sys::state(pid, t) == Some('T')) {
        xsem_testkit::sys::nap(50);
    }
}

#[test]
fn a_stopped_owner_is_alive_and_shown_as_stopped() {
    let _dog = Watchdog::start("stopped owner");
    let place = Place::new();
    let mut w = owner(&place);
    w.signal(libc::SIGSTOP);
    until_stopped(w.pid());
    let s = Exclusive::open(&place.ns, "s").unwrap();
    let e = Error::from(s.acquire_timeout(Duration::from_millis(SHORT)).unwrap_err());
    assert_eq!((e.code(), e.holders()[0].process.state), (Code::SemTimeout, ProcessState::Stopped));
    w.signal(libc::SIGCONT);
    assert_eq!(w.ask(0, &Verb::Release(0)), Answer::Done);
    drop(s.acquire().expect("a stop is not a death"));
}

#[test]
fn stopped_and_dead_waiters_hold_nobody_up() {
    let _dog = Watchdog::start("stopped waiter");
    let place = Place::new();
    let mut w = owner(&place);
    let mut stopped = waiter(&place, 0);
    let mut dead = waiter(&place, 1);
    let mut last = waiter(&place, 2);
    stopped.signal(libc::SIGSTOP);
    until_stopped(stopped.pid());
    dead.kill();
    assert_eq!(w.ask(0, &Verb::Release(0)), Answer::Done);
    assert!(matches!(last.answer(0), Answer::Granted { died: None, .. }), "a dead waiter owned nothing");
    for _ in 0..3 {
        assert_eq!(w.ask(0, &Verb::Try(0)), refused(101));
    }
    assert_eq!(last.ask(0, &Verb::Release(0)), Answer::Done);
    stopped.signal(libc::SIGCONT);
    assert!(matches!(stopped.answer(0), Answer::Granted { died: None, .. }));
    place.audit();
}
