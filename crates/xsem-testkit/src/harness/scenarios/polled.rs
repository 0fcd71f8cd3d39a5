//! Requests that are polled: others go on wherever their process is killed or stopped, also where nobody polls any more.

use super::event_wait;
use super::play::{PLAY, Play};
use super::pool::{self, holder, make_pool};
use super::*;
use crate::harness::counting::{LIMIT, POOL};
use crate::harness::events::{even, make_event, sleeper, wakes};
use crate::harness::polling::{poll_once, poll_twice, run};
use xsem::{Event, OwnedAcquireError, OwnedGuard, Reset, Wait};

/// Has what requests share (its thread) started, so that it is not the request that does.
fn warm_up(p: &Player<'_>) {
    p.register();
    let e = p.must("an event of its own", Event::open_or_create_auto(p.ns(), "warm"));
    if poll_once(&mut e.wait_async()).is_some() {
        p.violation("nobody has signalled it");
    }
    drop(e);
    p.must("remove", p.ns().remove("warm"));
}

/// Takes a grant into the books.
fn owns(p: &Player<'_>, r: Result<OwnedGuard, OwnedAcquireError>) -> OwnedGuard {
    let guard = match r {
        Ok(guard) => guard,
        Err(e) => p.must("acquire", Err(xsem::Error::from(e))),
    };
    p.enters(0);
    let last = p.stage.get(Value::Token);
    if guard.token() <= last {
        p.violation(format_args!("the fencing token went from {last} to {}", guard.token()));
    }
    p.stage.put(Value::Token, guard.token());
    guard
}

/// Polled until it is granted.
pub(crate) const ACQUIRE: Play = Play {
    name: "async-acquire",
    about: "acquire by polling while a living process owns it: be woken by its release",
    prepare: |case| {
        case.line_ends();
        make(case);
        owner(case);
    },
    victim: |p| {
        let s = p.open(SEM);
        warm_up(p);
        p.begin();
        let r = run(s.acquire_async());
        p.done();
        let guard = owns(p, r);
        p.until(Flag::Leave);
        p.leaves(0);
        p.must("release", guard.release());
        p.stage.set(Flag::Left);
    },
    asleep: |case| case.stage.set(Flag::Release),
    killed: |case| {
        case.stage.set(Flag::Release);
        succeeds(case, Told::of_acquire(case));
    },
    paused: |case| {
        peer(case);
        case.stage.set(Flag::Release);
        case.others_reach("a peer to acquire", Flag::Got);
    },
    resumed: all_finish,
    ..PLAY
};

/// Polled, and dropped.
pub(crate) const DROP: Play = Play {
    name: "async-drop",
    about: "poll an acquire twice while a living process owns it, before another waiter, and drop it",
    prepare: |case| {
        case.line_ends();
        make(case);
        owner(case);
    },
    victim: |p| {
        let s = p.open(SEM);
        warm_up(p);
        p.begin();
        let mut request = s.acquire_async();
        let polled = poll_twice(&mut request);
        drop(request);
        p.done();
        // Granted where it was stopped for so long that the owner has released it.
        if let Some(guard) = polled {
            let guard = owns(p, guard);
            p.leaves(0);
            p.must("release", guard.release());
        }
        p.stage.set(Flag::Left);
    },
    killed: |case| {
        waiter_is_served(case);
        succeeds(case, Told::No);
    },
    paused: waiter_gets_it,
    resumed: all_finish,
    ..PLAY
};

/// Permits, polled until they are granted.
pub(crate) const PERMITS: Play = Play {
    name: "async-permits",
    about: "acquire three permits by polling while all are held: be woken by their release",
    prepare: |case| {
        case.line_ends();
        make_pool(case);
        holder(case, LIMIT);
    },
    victim: |p| {
        let s = p.pool();
        warm_up(p);
        p.begin();
        let r = run(s.acquire_async(3));
        p.done();
        let permit = p.must("acquire permits", r);
        p.enters_permits(3);
        p.until(Flag::Leave);
        p.leaves_permits(3);
        p.must("release", permit.release());
        p.stage.set(Flag::Left);
    },
    asleep: |case| case.stage.set(Flag::Release),
    killed: |case| {
        case.stage.set(Flag::Release);
        case.until("the holder to give back", Flag::Left2);
        pool::whole(case);
    },
    paused: |case| {
        case.stage.set(Flag::Release);
        case.until("the holder to give back", Flag::Left2);
        pool::peer_for(case, 2);
        case.others_reach_unless("a peer to acquire", Flag::Got, || case.victim_holds(POOL));
    },
    resumed: pool::all_give_back,
    ..PLAY
};

/// The signal of an event, polled until it comes, before somebody who sleeps for the next one.
pub(crate) const EVENT: Play = Play {
    name: "async-event",
    about: "wait for an auto-reset event by polling, before another waiter: be woken by a signal",
    victim: |p| {
        let e = p.event();
        warm_up(p);
        p.begin();
        let r = run(e.wait_async());
        p.done();
        p.must("wait", r);
        p.stage.put(Value::Mine, -1i64 as u64);
        p.stage.set(Flag::Left);
    },
    ..event_wait::QUEUED
};

/// Polled, and dropped: the signal is for the other one.
pub(crate) const DROP_EVENT: Play = Play {
    name: "async-drop-event",
    about: "poll a wait for an auto-reset event twice, before another waiter, and drop it",
    prepare: |case| make_event(case, Reset::Auto, false),
    victim: |p| {
        let e = p.event();
        warm_up(p);
        p.begin();
        let mut request = e.wait_async();
        let polled = poll_twice(&mut request);
        drop(request);
        p.done();
        if let Some(seen) = polled {
            p.must("wait", seen);
            p.stage.put(Value::Mine, -1i64 as u64);
        }
        p.stage.set(Flag::Left);
    },
    killed: |case| {
        sleeper(case, "waiter", Flag::Waiting, Flag::Got);
        wakes(case, Flag::Got);
        even(case, &[0]);
    },
    paused: |case| {
        sleeper(case, "waiter", Flag::Waiting, Flag::Got);
        wakes(case, Flag::Got);
    },
    resumed: crate::harness::events::even_with,
    ..PLAY
};

/// A list of which any is wanted, polled, and dropped in the middle of the wait.
pub(crate) const DROP_ANY: Play = Play {
    name: "async-drop-any",
    about: "poll a wait for any of an exclusive semaphore and all permits twice, while others have them, and drop it",
    prepare: |case| {
        case.line_ends();
        make_pool(case);
        make(case);
        owner(case);
        pool::bystander(case, 1);
    },
    victim: |p| {
        let (s, pool) = (p.open(SEM), p.pool());
        warm_up(p);
        p.begin();
        let mut request = p.ns().wait_any_async(&[(&s).into(), xsem::Pick::permits(&pool, LIMIT)], Wait::forever());
        let polled = poll_twice(&mut request);
        drop(request);
        p.done();
        // Granted where the owner had released it: dropped, which gives back.
        drop(polled);
        p.stage.set(Flag::Left);
    },
    killed: |case| {
        waiter_is_served(case);
        pool::no_bystander(case);
        pool::whole(case);
        succeeds(case, Told::No);
    },
    paused: waiter_gets_it,
    resumed: |case| {
        all_finish(case);
        pool::no_bystander(case);
        pool::whole(case);
    },
    ..PLAY
};

/// A list of which all are wanted, polled, and dropped in the middle of the wait.
pub(crate) const DROP_ALL: Play = Play {
    name: "async-drop-all",
    about: "poll an acquire of an exclusive semaphore, which is owned, and two permits twice, and drop it",
    prepare: |case| {
        case.line_ends();
        make_pool(case);
        make(case);
        owner(case);
    },
    victim: |p| {
        let (s, pool) = (p.open(SEM), p.pool());
        warm_up(p);
        p.begin();
        let mut request = p.ns().acquire_all_async(&[(&s).into(), xsem::Pick::permits(&pool, 2)], Wait::forever());
        let polled = poll_twice(&mut request);
        drop(request);
        p.done();
        // Granted where the owner had released it: dropped, which gives back.
        drop(polled);
        p.stage.set(Flag::Left);
    },
    killed: |case| {
        pool::whole(case);
        case.stage.set(Flag::Release);
        succeeds(case, Told::No);
    },
    paused: |case| {
        pool::whole(case);
        waiter_gets_it(case);
    },
    resumed: |case| {
        all_finish(case);
        pool::whole(case);
    },
    ..PLAY
};
