//! Waits for events: alone, in a queue, in vain, for any of several.

use super::lists::{make_three, must_hold, succeeds_each};
use super::play::{PLAY, Play};
use super::*;
use crate::harness::counting::SECOND;
use crate::harness::events::{even, even_with, make_event, part_of, signal, sleeper, wakes};
use std::time::Duration;
use xsem::{Code, Pick, Reset, Wait};

/// The victim waits, and says what it has changed.
fn waits(p: &Player<'_>, wait: Wait<'static>) {
    let e = p.event();
    p.register();
    p.begin();
    let r = e.wait_with(wait);
    p.done();
    match r.map_err(|e| e.code()) {
        Ok(()) => p.stage.put(Value::Mine, -i64::from(p.stage.get(Value::Manual) == 0) as u64),
        Err(Code::SemTimeout) => p.stage.put(Value::UseCode, Code::SemTimeout.number().into()),
        Err(other) => p.violation(format_args!("the wait gave {other:?}")),
    }
    p.stage.set(Flag::Left);
}

/// It is signalled.
pub(crate) const FREE: Play = Play {
    name: "event-wait",
    about: "wait for an auto-reset event that is signalled, while a peer tries to consume the same signal",
    prepare: |case| make_event(case, Reset::Auto, true),
    victim: |p| waits(p, Wait::not()),
    killed: |case| even(case, &part_of(case, -1)),
    paused: |case| {
        case.run_player("peer", |p| {
            let e = p.event();
            match p.sees(e.try_wait()).map_err(|e| e.code()) {
                Ok(()) => p.stage.put(Value::Told, 1),
                Err(Code::SemTimeout) => {}
                Err(other) => p.violation(format_args!("a try gave {other:?}")),
            }
        });
    },
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        let (peers, victims) = (case.stage.get(Value::Told) == 1, case.stage.get(Value::Mine) as i64 == -1);
        if peers == victims {
            case.violation(format_args!("of one signal, the peer consumed it: {peers}, the victim: {victims}"));
        }
        even_with(case);
    },
    ..PLAY
};

/// One sleeps behind the victim; then it is signalled.
fn second_waits(case: &Case<'_>) {
    if !case.stage.is_set(Flag::Release) {
        sleeper(case, "waiter", Flag::Waiting, Flag::Got);
        case.stage.set(Flag::Release);
        signal(case);
    }
}

/// Signals until the victim is through, which needs one at most.
fn serve(case: &Case<'_>) {
    if !case.stage.is_set(Flag::Done) {
        signal(case);
    }
    case.until("the resumed victim to finish", Flag::Left);
    even_with(case);
}

/// The victim is the oldest, past its bound.
pub(crate) const QUEUED: Play = Play {
    name: "event-wait-queued",
    about: "wait for an auto-reset event: go to sleep, grow the oldest, be woken by a signal, before another waiter",
    prepare: |case| make_event(case, Reset::Auto, false),
    victim: |p| waits(p, Wait::forever()),
    asleep: |case| {
        // It wakes once by itself, to enter itself as the oldest.
        crate::sys::nap(3000);
        // Where the other one was faster, one more.
        if case.stage.is_set(Flag::Release) {
            signal(case);
        }
        second_waits(case);
    },
    killed: |case| {
        let whole = if case.stage.is_set(Flag::Release) { part_of(case, -1) } else { vec![0] };
        second_waits(case);
        wakes(case, Flag::Got);
        even(case, &whole);
    },
    paused: |case| {
        second_waits(case);
        wakes(case, Flag::Got);
    },
    resumed: serve,
    ..PLAY
};

/// A manual one, which is reset at once.
pub(crate) const MANUAL: Play = Play {
    name: "event-wait-manual",
    about: "wait for a manual-reset event: go to sleep, be woken by a signal that is reset at once",
    prepare: |case| make_event(case, Reset::Manual, false),
    victim: |p| waits(p, Wait::forever()),
    asleep: flash,
    killed: |case| {
        sleeper(case, "waiter", Flag::Waiting, Flag::Got);
        flash(case);
        case.wake("the sleeping waiter", Flag::Got);
        even(case, &[0]);
    },
    paused: |case| {
        sleeper(case, "waiter", Flag::Waiting, Flag::Got);
        flash(case);
        case.wake("the sleeping waiter", Flag::Got);
    },
    resumed: |case| {
        crate::sys::nap(200);
        match case.reached.get() {
            // It slept, so its wait had begun before that signal.
            Reached::Asleep => case.until("the victim, which slept when it was signalled", Flag::Left),
            _ if case.stage.is_set(Flag::Done) => {}
            _ => drop(signal(case)),
        }
        even_with(case);
    },
    ..PLAY
};

fn flash(case: &Case<'_>) {
    case.run_player("flash", |p| {
        let e = p.event();
        p.signals(&e);
        p.resets(&e);
    });
}

/// The victim's time runs out.
pub(crate) const TIMED_OUT: Play = Play {
    name: "event-wait-timeout",
    about: "wait for an auto-reset event for 5 ms in vain, before another waiter",
    prepare: |case| make_event(case, Reset::Auto, false),
    victim: |p| waits(p, Wait::timeout(Duration::from_millis(5))),
    killed: |case| {
        second_waits(case);
        case.wake("the waiter", Flag::Got);
        even(case, &[0]);
    },
    paused: |case| {
        second_waits(case);
        wakes(case, Flag::Got);
    },
    resumed: even_with,
    ..PLAY
};

/// Two exclusive semaphores, a pool and an event, made in this order; the first is owned.
fn any_of_two(p: &Player<'_>) {
    let (s, e) = (p.open(SECOND), p.event());
    let list: [Pick<'_>; 2] = [(&s).into(), (&e).into()];
    p.register();
    p.begin();
    let r = p.ns().wait_any(&list, Wait::forever());
    p.done();
    match r {
        Err(e) => p.violation(format_args!("wait for any: {}", xsem::Error::from(e))),
        Ok(taken) => match (taken.index, taken.held) {
            (0, xsem::Held::Guard(g)) => {
                p.enters(1);
                p.until(Flag::Leave);
                p.leaves(1);
                p.must("release", g.release());
            }
            (1, xsem::Held::Signal(_)) => p.stage.put(Value::Mine, -1i64 as u64),
            (i, other) => p.violation(format_args!("entry {i} gave {other:?}")),
        },
    }
    p.stage.set(Flag::Left);
}

fn both_come(case: &Case<'_>) {
    if !case.stage.is_set(Flag::Release) {
        sleeper(case, "waiter", Flag::Waiting, Flag::Got);
        signal(case);
        case.stage.set(Flag::Release);
        case.until("the owner to release", Flag::Got2);
    }
}

/// Both become free when it sleeps.
pub(crate) const ANY: Play = Play {
    name: "any-event",
    about: "wait for any of a semaphore that is owned and an event: go to sleep; a signal, before another waiter, and a release",
    prepare: |case| {
        make_three(case);
        make_event(case, Reset::Auto, false);
        case.play("owner", |p| {
            let s = p.open(SECOND);
            let guard = p.must("acquire", s.acquire());
            p.enters(1);
            p.stage.set(Flag::Owning);
            p.until(Flag::Release);
            p.leaves(1);
            p.must("release", guard.release());
            p.stage.set(Flag::Got2);
        });
        case.until("the owner to own", Flag::Owning);
    },
    victim: any_of_two,
    asleep: both_come,
    killed: |case| {
        let came = case.stage.is_set(Flag::Release);
        both_come(case);
        wakes(case, Flag::Got);
        let told = succeeds_each(case);
        // It had one of the two at most, and at the end one.
        match (told, case.reached.get()) {
            (0, Reached::Done) => even(case, &[-1]),
            (0, _) if came => even(case, &part_of(case, -1)),
            (0 | 0b10, _) => even(case, &[0]),
            other => case.violation(format_args!("the marks and the end are {other:?}")),
        }
    },
    paused: |case| {
        both_come(case);
        must_hold(case, &[0, 0b10]);
        wakes(case, Flag::Got);
    },
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Done);
        case.stage.set(Flag::Leave);
        case.until("the victim to give back", Flag::Left);
        if succeeds_each(case) != 0 {
            case.violation("told of a death, and nobody died");
        }
        even_with(case);
    },
    ..PLAY
};
