//! Events in lists of which all are wanted: the list itself, and who changes an event that a list holds tentatively.

use super::event::{may_begin, resets, signals};
use super::lists::{all_give_back, make_three, must_hold, single_peer, succeeds_each, victims};
use super::play::{PLAY, Play};
use super::*;
use crate::harness::counting::{LIMIT, LISTED};
use crate::harness::events::{EVENT, even, even_with, make_event, part_of, reset, signal, sleeper, wakes};
use crate::sys;
use xsem::{AllError, Held, Pick, Reset, Wait};

/// Makes the event first: lists take their semaphores in this order, so it is held tentatively for the longest time.
fn make_list(case: &Case<'_>, reset: Reset, signalled: bool) {
    make_event(case, reset, signalled);
    make_three(case);
}

/// The event, the first exclusive semaphore and two permits, at one instant; given back when `leave` is set.
fn takes_all(p: &Player<'_>, done: Flag, leave: Flag, left: Flag) -> bool {
    let (e, three) = (p.event(), p.three());
    let list: [Pick<'_>; 3] = [(&e).into(), (&three.first).into(), Pick::permits(&three.pool, LISTED)];
    p.register();
    p.begin();
    let r = p.ns().acquire_all(&list, Wait::forever());
    p.stage.set(done);
    let all = match r {
        Ok(all) => all.into_vec(),
        Err(AllError::OwnerDied(r)) => {
            p.violation(format_args!("told of deaths, at {:?}, that were acknowledged", r.indices()));
            return false;
        }
        Err(AllError::Failed(e)) => p.must("acquire all", Err(e)),
    };
    for held in &all {
        match held {
            Held::Guard(_) => p.enters(0),
            Held::Permit(permit) => p.enters_permits(permit.count()),
            _ => {}
        }
    }
    p.until(leave);
    for held in all {
        match held {
            Held::Guard(g) => {
                p.leaves(0);
                p.must("release one of a list", g.release());
            }
            Held::Permit(permit) => {
                p.leaves_permits(permit.count());
                p.must("release the permits of a list", permit.release());
            }
            _ => {}
        }
    }
    p.stage.set(left);
    true
}

/// Somebody who stands still in an `acquire_all` that has the event tentatively, and nothing else yet.
fn joiner(case: &Case<'_>) {
    let place = case.ask(|p| p.must("the word's place", xsem::shm::testing::place_of_count(p.ns(), EVENT)));
    let pid = case.play_beside("joiner", |p| {
        takes_all(p, Flag::Joined, Flag::Joined, Flag::Peer);
        let _ = p.sees(Ok(()));
        p.stage.set(Flag::Got3);
    });
    case.bring_to_change(pid, place, names_an_entry);
    case.stage.put(Value::Joiner, pid as u64);
}

/// Whether an event's word names an entry: that of the request which has it (docs/format.md).
fn names_an_entry(word: u64) -> bool {
    word >> 6 & 0xf_ffff != 0
}

/// The joiner goes on, and is served: by what there is, or by another signal.
fn joiner_goes_on(case: &Case<'_>) {
    sys::detach(case.stage.get(Value::Joiner) as Pid);
    wakes(case, Flag::Got3);
}

/// While the victim and the joiner stand still: what others signal, reset and consume works.
fn peers_use_it(case: &Case<'_>) {
    case.run_player("peer", |p| {
        let e = p.event();
        p.signals(&e);
        p.must_try(&e, true, "a signal has returned, and nobody else runs");
        p.resets(&e);
        p.must_try(&e, false, "a reset has returned");
    });
    let _ = sleeper(case, "waiter", Flag::Waiting, Flag::Got);
    wakes(case, Flag::Got);
}

fn killed(case: &Case<'_>, whole: i64) {
    joiner_goes_on(case);
    even(case, &part_of(case, whole));
}

/// The victim signals what the list has.
pub(crate) const SIGNAL: Play = Play {
    name: "event-signal-joint",
    about: "signal an auto-reset event that was signalled, and that a stopped `acquire_all` holds tentatively",
    prepare: |case| {
        make_list(case, Reset::Auto, true);
        joiner(case);
    },
    victim: signals,
    ready: may_begin,
    // It is signalled already, as the request has not come true.
    killed: |case| killed(case, 0),
    paused: peers_use_it,
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        joiner_goes_on(case);
        even_with(case);
    },
    ..PLAY
};

/// The victim resets it.
pub(crate) const RESET: Play = Play {
    name: "event-reset-joint",
    about: "reset an auto-reset event that was signalled, and that a stopped `acquire_all` holds tentatively",
    victim: resets,
    killed: |case| killed(case, -1),
    ..SIGNAL
};

/// The victim consumes it.
pub(crate) const WAIT: Play = Play {
    name: "event-wait-joint",
    about: "wait for an auto-reset event that was signalled, and that a stopped `acquire_all` holds tentatively",
    victim: |p| {
        let e = p.event();
        p.register();
        p.stage.set(Flag::Owning2);
        p.until(Flag::Go);
        p.begin();
        let r = e.wait();
        p.done();
        p.must("wait", r);
        p.stage.put(Value::Mine, -i64::from(p.stage.get(Value::Manual) == 0) as u64);
        p.stage.set(Flag::Left);
    },
    killed: |case| killed(case, -1),
    resumed: |case| {
        // Others may have consumed and reset what it came for.
        wakes(case, Flag::Done);
        case.until("the resumed victim to finish", Flag::Left);
        joiner_goes_on(case);
        even_with(case);
    },
    ..SIGNAL
};

/// It stays signalled.
pub(crate) const SIGNAL_MANUAL: Play = Play {
    name: "event-signal-joint-manual",
    about: "signal a manual-reset event that is signalled, and at which a stopped `acquire_all` has looked",
    prepare: |case| {
        make_list(case, Reset::Manual, true);
        joiner(case);
    },
    paused: manual_peers,
    ..SIGNAL
};

/// Until somebody resets it.
pub(crate) const RESET_MANUAL: Play = Play {
    name: "event-reset-joint-manual",
    about: "reset a manual-reset event that is signalled, and at which a stopped `acquire_all` has looked",
    prepare: |case| {
        make_list(case, Reset::Manual, true);
        joiner(case);
    },
    paused: manual_peers,
    ..RESET
};

fn manual_peers(case: &Case<'_>) {
    case.run_player("peer", |p| {
        let e = p.event();
        p.signals(&e);
        p.must_try(&e, true, "a signal has returned");
        p.resets(&e);
        p.must_try(&e, false, "a reset has returned");
    });
    sleeper(case, "waiter", Flag::Waiting, Flag::Got);
    signal(case);
    reset(case);
    case.wake("the waiter", Flag::Got);
}

/// What the victim holds if its request came true: the first semaphore and permits.
const ALL_OF_IT: u64 = 0b101;

fn victim_takes_all(p: &Player<'_>) {
    if takes_all(p, Flag::Done, Flag::Leave, Flag::Left2) {
        p.stage.put(Value::Mine, -i64::from(p.stage.get(Value::Manual) == 0) as u64);
        p.stage.set(Flag::Left);
    }
}

/// The event was consumed if and only if the semaphore beside it was owned.
fn died_with_all(case: &Case<'_>, whole: i64) {
    let told = succeeds_each(case);
    match (told, Told::of_acquire(case)) {
        (0, Told::No | Told::Perhaps) => even(case, &[0]),
        (1, Told::Yes | Told::Perhaps) => even(case, &[whole]),
        other => case.violation(format_args!("the marks and what is due are {other:?}")),
    }
}

/// Everything is there.
pub(crate) const ALL: Play = Play {
    name: "all-event",
    about: "acquire an auto-reset event, an exclusive semaphore and two permits at once, while peers want each of them",
    prepare: |case| make_list(case, Reset::Auto, true),
    victim: victim_takes_all,
    killed: |case| died_with_all(case, -1),
    paused: |case| {
        let held = victims(case);
        must_hold(case, &[0, ALL_OF_IT]);
        // Signalled as before, unless the request came true and has consumed it.
        if signal(case) != (held == ALL_OF_IT) {
            case.violation(format_args!("of the list the victim holds {held:#b}; the signal says otherwise"));
        }
        case.run_player("peer at the event", |p| p.must_try(&p.event(), true, "a signal has returned"));
        single_peer(case);
        if case.others_reach("a peer to acquire", Flag::Got) {
            case.run_player("second peer", |p| match p.holds(p.pool().try_acquire_many(LIMIT)) {
                Ok(held) => p.give(held),
                Err(e) => p.violation(format_args!("the stopped request holds permits, and nothing else: {e}")),
            });
        }
        must_hold(case, &[0, ALL_OF_IT]);
    },
    resumed: |case| {
        case.stage.set(Flag::Give);
        wakes(case, Flag::Done);
        case.stage.set(Flag::Leave);
        case.until("the peer to give back", Flag::Peer);
        even_with(case);
        if succeeds_each(case) != 0 {
            case.violation("told of a death, and nobody died");
        }
    },
    ..PLAY
};

/// What is missing is the signal, for which somebody else waits, too.
pub(crate) const ALL_CONTENDED: Play = Play {
    name: "all-event-contended",
    about: "acquire all three while the event is reset and another process waits for it: go to sleep, be woken by a signal",
    prepare: |case| {
        make_list(case, Reset::Auto, false);
        sleeper(case, "waiter", Flag::Waiting2, Flag::Got2);
    },
    victim: victim_takes_all,
    asleep: |case| {
        signal(case);
        // On a busy machine the victim may have stood back for the waiter in vain, for 10 ms, and have taken this one.
        let begin = std::time::Instant::now();
        while !case.stage.is_set(Flag::Got2) && begin.elapsed().as_secs() == 0 {
            case.stage.await_briefly(Flag::Got2);
        }
        if !case.stage.is_set(Flag::Got2) {
            wakes(case, Flag::Got2);
        }
        // The waiter had the first one.
        if !case.stage.is_set(Flag::Done) {
            signal(case);
        }
    },
    killed: |case| {
        wakes(case, Flag::Got2);
        died_with_all(case, -1);
    },
    paused: |case| {
        must_hold(case, &[0, ALL_OF_IT]);
        wakes(case, Flag::Got2);
        single_peer(case);
        case.others_reach("a peer to acquire", Flag::Got);
        must_hold(case, &[0, ALL_OF_IT]);
    },
    resumed: |case| {
        case.stage.set(Flag::Give);
        wakes(case, Flag::Done);
        case.stage.set(Flag::Leave);
        case.until("the peer to give back", Flag::Peer);
        even_with(case);
        if succeeds_each(case) != 0 {
            case.violation("told of a death, and nobody died");
        }
    },
    ..PLAY
};

/// A manual one must be signalled at the instant at which everything is taken.
pub(crate) const ALL_MANUAL: Play = Play {
    name: "all-event-manual",
    about: "acquire a manual-reset event, an exclusive semaphore and two permits at once, while a peer resets the event",
    prepare: |case| make_list(case, Reset::Manual, true),
    victim: victim_takes_all,
    killed: |case| died_with_all(case, 0),
    paused: |case| {
        if !reset(case) {
            case.violation("it was signalled, and reset by nobody");
        }
        let held = victims(case);
        must_hold(case, &[0, ALL_OF_IT]);
        case.stage.put(Value::Told, held);
    },
    resumed: |case| {
        crate::sys::nap(2000);
        if case.stage.get(Value::Told) == 0 && case.stage.is_set(Flag::Done) {
            case.violation("it was reset while the request had not come true, and the request came true after that");
        }
        signal(case);
        case.stage.set(Flag::Peer);
        all_give_back(case);
        even_with(case);
    },
    ..PLAY
};
