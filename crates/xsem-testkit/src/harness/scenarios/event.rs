//! Signals and resets of events: alone, with sleepers, with a sleeper that is stopped.

use super::play::{PLAY, Play};
use super::*;
use crate::harness::events::{even, even_with, is_signalled, make_event, part_of, reset, signal, sleeper, wakes};
use crate::sys;
use xsem::Reset;

/// The victim signals (or resets) when it may, and says what it did.
pub(super) fn changes(p: &Player<'_>, op: fn(&xsem::Event) -> xsem::Result<bool>, by: i64) {
    let e = p.event();
    p.register();
    p.stage.set(Flag::Owning2);
    p.until(Flag::Go);
    p.begin();
    let r = op(&e);
    p.done();
    let changed = p.must("signal or reset", r);
    p.stage.put(Value::Mine, (if changed { by } else { 0 }) as u64);
    p.stage.set(Flag::Left);
}

pub(super) fn signals(p: &Player<'_>) {
    changes(p, |e| e.signal(), 1);
}

pub(super) fn resets(p: &Player<'_>) {
    changes(p, |e| e.reset(), -1);
}

pub(super) fn may_begin(case: &Case<'_>) {
    case.until("the victim to be ready", Flag::Owning2);
    case.stage.set(Flag::Go);
}

/// A peer signals and resets while the victim stands still: what it did it sees.
fn peer_uses_it(case: &Case<'_>) {
    case.run_player("peer", |p| {
        let e = p.event();
        p.signals(&e);
        p.must_try(&e, true, "a signal has returned");
        p.resets(&e);
        p.must_try(&e, false, "a reset has returned");
        p.signals(&e);
        if !p.is_signalled(&e) {
            p.violation("a signal has returned, and it is not signalled");
        }
    });
}

/// Nobody waits.
pub(crate) const SIGNAL: Play = Play {
    name: "event-signal",
    about: "signal an auto-reset event for which nobody waits, while a peer signals, consumes and resets it",
    prepare: |case| make_event(case, Reset::Auto, false),
    victim: signals,
    ready: may_begin,
    killed: |case| even(case, &part_of(case, 1)),
    paused: peer_uses_it,
    resumed: even_with,
    ..PLAY
};

/// The same where it stays signalled.
pub(crate) const SIGNAL_MANUAL: Play = Play {
    name: "event-signal-manual",
    about: "signal a manual-reset event for which nobody waits, while a peer signals and resets it",
    prepare: |case| make_event(case, Reset::Manual, false),
    ..SIGNAL
};

/// The other way round.
pub(crate) const RESET: Play = Play {
    name: "event-reset",
    about: "reset an auto-reset event, while a peer signals, consumes and resets it",
    prepare: |case| make_event(case, Reset::Auto, true),
    victim: resets,
    ready: may_begin,
    killed: |case| even(case, &part_of(case, -1)),
    paused: peer_uses_it,
    resumed: even_with,
    ..PLAY
};

/// And of one that stays signalled, before which somebody falls asleep meanwhile.
pub(crate) const RESET_MANUAL: Play = Play {
    name: "event-reset-manual",
    about: "reset a manual-reset event, while a peer resets it, another falls asleep on it, and it is signalled again",
    prepare: |case| make_event(case, Reset::Manual, true),
    paused: |case| {
        reset(case);
        sleeper(case, "waiter", Flag::Waiting, Flag::Got);
        signal(case);
        case.wake("the sleeping waiter", Flag::Got);
    },
    ..RESET
};

/// One sleeps.
pub(crate) const WAITER: Play = Play {
    name: "event-signal-waiter",
    about: "signal an auto-reset event while another process sleeps for it",
    prepare: |case| make_event(case, Reset::Auto, false),
    victim: signals,
    ready: |case| {
        case.until("the victim to be ready", Flag::Owning2);
        sleeper(case, "waiter", Flag::Waiting, Flag::Got);
        case.stage.set(Flag::Go);
    },
    killed: |case| {
        match case.reached.get() {
            // A signal that has returned needs nobody's help.
            Reached::Done => case.wake("the sleeping waiter", Flag::Got),
            _ => wakes(case, Flag::Got),
        }
        even(case, &part_of(case, 1));
    },
    paused: |case| wakes(case, Flag::Got),
    resumed: even_with,
    ..PLAY
};

/// One sleeps, and who comes first after the victim is somebody who resets it, or tries.
pub(crate) const WAITER_RESET: Play = Play {
    name: "event-signal-passer-by",
    about: "signal an auto-reset event while another process sleeps for it, and a third one resets it and tries",
    killed: |case| {
        // Nobody else signals now.
        case.stage.set(Flag::Acknowledged);
        passer_by(case);
        wakes(case, Flag::Got);
        even(case, &part_of(case, 1));
    },
    paused: |case| {
        passer_by(case);
        wakes(case, Flag::Got);
    },
    ..WAITER
};

fn passer_by(case: &Case<'_>) {
    let alone = case.stage.is_set(Flag::Acknowledged);
    case.run_player("passer-by", move |p| {
        let e = p.event();
        let looked = p.is_signalled(&e);
        let seen = p.sees(e.try_wait()).is_ok();
        if alone && seen && !looked {
            p.violation("it was looked at and was reset, nobody was there who could signal it, and then it was signalled");
        }
        p.resets(&e);
        if p.resets(&e) {
            p.violation("it was reset, and was signalled again by nobody");
        }
    });
}

/// Two sleep, the older one stopped.
pub(crate) const STOPPED_WAITER: Play = Play {
    name: "event-signal-stopped-waiter",
    about: "signal an auto-reset event while the oldest waiter is stopped, and another one sleeps",
    prepare: |case| make_event(case, Reset::Auto, false),
    victim: signals,
    ready: |case| {
        case.until("the victim to be ready", Flag::Owning2);
        let oldest = sleeper(case, "waiter", Flag::Waiting, Flag::Got);
        sleeper(case, "second waiter", Flag::Waiting2, Flag::Got2);
        case.freeze(oldest);
        case.stage.put(Value::Dead, oldest as u64);
        case.stage.set(Flag::Go);
    },
    killed: |case| {
        match case.reached.get() {
            Reached::Done => case.wake("the waiter behind the stopped one", Flag::Got2),
            _ => wakes(case, Flag::Got2),
        }
        oldest_goes_on(case);
        even(case, &part_of(case, 1));
    },
    paused: |case| wakes(case, Flag::Got2),
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        oldest_goes_on(case);
        even_with(case);
    },
    ..PLAY
};

fn oldest_goes_on(case: &Case<'_>) {
    sys::kill(case.stage.get(Value::Dead) as Pid, libc::SIGCONT);
    wakes(case, Flag::Got);
}

/// Three sleep, and all are reached.
pub(crate) const WAITERS_MANUAL: Play = Play {
    name: "event-signal-waiters-manual",
    about: "signal a manual-reset event for which three processes sleep; it is reset before they have run",
    prepare: |case| make_event(case, Reset::Manual, false),
    victim: signals,
    ready: |case| {
        case.until("the victim to be ready", Flag::Owning2);
        let first = sleeper(case, "waiter", Flag::Waiting, Flag::Got);
        sleeper(case, "second waiter", Flag::Waiting2, Flag::Got2);
        sleeper(case, "third waiter", Flag::Waiting3, Flag::Got3);
        // One that cannot look before it is reset.
        case.freeze(first);
        case.stage.put(Value::Dead, first as u64);
        case.stage.set(Flag::Go);
    },
    killed: |case| {
        all_are_reached(case);
        even(case, &part_of(case, 1));
    },
    paused: all_are_reached,
    resumed: even_with,
    ..PLAY
};

fn all_are_reached(case: &Case<'_>) {
    if case.reached.get() == Reached::Done || is_signalled(case) {
        if !reset(case) {
            case.violation("it was signalled, and reset by nobody");
        }
    } else {
        signal(case);
        reset(case);
    }
    sys::kill(case.stage.get(Value::Dead) as Pid, libc::SIGCONT);
    for got in [Flag::Got, Flag::Got2, Flag::Got3] {
        case.wake("a waiter that slept when it was signalled", got);
    }
}
