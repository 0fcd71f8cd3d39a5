//! Taking an event's name away: from nobody, from somebody who comes, from somebody who sleeps.

use super::names::{must_list, one_wins, room_is_whole};
use super::play::{PLAY, Play};
use super::*;
use crate::harness::events::{EVENT, even, make_event, sleeper, wakes};
use xsem::{Code, Event, Options, Reset};

fn removes(p: &Player<'_>) {
    let ns = p.ns();
    p.register();
    p.begin();
    let r = ns.remove(EVENT);
    p.done();
    p.put_code(Value::VictimCode, &r);
    p.stage.set(Flag::Left);
}

/// The name exists or it does not; either way everything goes on.
fn there_or_not(case: &Case<'_>, may_be_there: bool) {
    case.run_player("successor", move |p| {
        match Event::create_auto(p.ns(), EVENT, Options::new()).map_err(|e| e.code()) {
            Ok(_) => {}
            Err(Code::AlreadyExists) if may_be_there => {}
            Err(other) => p.violation(format_args!("may be there: {may_be_there}; create gives {other:?}")),
        }
        let e = p.event();
        p.must("signal", e.signal());
        p.must("wait", e.wait());
        must_list(p, &[EVENT]);
        p.must("remove", p.ns().remove(EVENT));
        must_list(p, &[]);
    });
    room_is_whole(case);
}

/// Nobody uses it.
pub(crate) const REMOVE: Play = Play {
    name: "event-remove",
    about: "remove an event, while another process removes it, too, and takes its room",
    prepare: |case| make_event(case, Reset::Auto, true),
    victim: removes,
    killed: |case| there_or_not(case, case.reached.get() != Reached::Done),
    paused: |case| {
        case.run_player("peer", |p| {
            let r = p.ns().remove(EVENT);
            p.put_code(Value::PeerCode, &r);
            drop(p.must("create another", Exclusive::create(p.ns(), "other")));
            must_list(p, &["other"]);
        });
    },
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        one_wins(case, Code::SemNotFound);
        case.run_player("successor", |p| {
            must_list(p, &["other"]);
            p.pass(&p.open("other"));
            drop(p.must("create", Event::create_auto(p.ns(), EVENT, Options::new())));
        });
        room_is_whole(case);
    },
    ..PLAY
};

/// Comes, signals if the name is still there, and says so.
fn signal_if_there(case: &Case<'_>) {
    case.run_player("signaller", |p| {
        let done = Event::open(p.ns(), EVENT).and_then(|e| e.signal());
        match done.map_err(|e| e.code()) {
            Ok(_) | Err(Code::SemNotFound | Code::InvalidHandle) => {}
            Err(other) => p.violation(format_args!("a signal beside a removal gives {other:?}")),
        }
    });
}

/// Somebody begins to wait.
pub(crate) const REMOVE_USED: Play = Play {
    name: "event-remove-used",
    about: "remove an event, while another process begins to wait for it, and a third one signals it",
    prepare: |case| {
        make_event(case, Reset::Auto, false);
        case.play("peer", |p| {
            let e = p.event();
            p.register();
            p.stage.set(Flag::Waiting);
            p.until(Flag::Go);
            let r = e.wait();
            p.put_code(Value::PeerCode, &r);
            p.stage.set(Flag::Got);
        });
        case.until("the peer to be ready", Flag::Waiting);
    },
    victim: removes,
    killed: |case| {
        case.stage.set(Flag::Go);
        crate::sys::nap(100);
        signal_if_there(case);
        case.until("the peer to be signalled or refused", Flag::Got);
        there_or_not(case, case.reached.get() != Reached::Done);
    },
    paused: |case| {
        case.stage.set(Flag::Go);
        crate::sys::nap(100);
        signal_if_there(case);
        case.until("the peer to be signalled or refused", Flag::Got);
    },
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        let codes = (case.stage.get(Value::VictimCode), case.stage.get(Value::PeerCode));
        // Removed before it came, in use, or removed after it had gone.
        if ![(0, 6), (102, 0), (0, 0)].contains(&codes) {
            case.violation(format_args!("remove gave {}, the wait beside it {}", codes.0, codes.1));
        }
        there_or_not(case, codes.0 != 0);
    },
    ..PLAY
};

/// Somebody sleeps all the time: then the name stays.
pub(crate) const REMOVE_SLEPT_ON: Play = Play {
    name: "event-remove-sleeper",
    about: "try to remove an event for which another process sleeps: refused, and the next signal wakes it",
    prepare: |case| {
        make_event(case, Reset::Auto, false);
        sleeper(case, "waiter", Flag::Waiting, Flag::Got);
    },
    victim: removes,
    killed: |case| {
        wakes(case, Flag::Got);
        even(case, &[0]);
    },
    paused: |case| wakes(case, Flag::Got),
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        match case.stage.get(Value::VictimCode) {
            102 => even(case, &[0]),
            // It looked for waiters when that one had gone.
            0 => there_or_not(case, false),
            other => case.violation(format_args!("remove gave {other}")),
        }
    },
    ..PLAY
};
