//! Draining and opening again.

use super::play::{PLAY, Play};
use super::pool::{holder, make_pool};
use super::*;
use crate::harness::counting::{LIMIT, POOL};
use crate::harness::events::{EVENT, even, make_event, sleeper};
use xsem::{Code, Reset, Wait};

/// The victim drains a name.
fn drains(p: &Player<'_>, name: &str) {
    let ns = p.ns();
    p.register();
    p.begin();
    let r = ns.drain(name, Wait::forever());
    p.done();
    p.put_code(Value::VictimCode, &r);
    p.stage.set(Flag::Left);
}

/// Whether the flag stands, as the namespace says; and a request must find the same.
fn is_drained(case: &Case<'_>, name: &'static str) -> bool {
    case.ask(|p| {
        let said = p.must("inspect", p.ns().inspect(name)).drained;
        let refused = tries(p, name);
        let code = refused.as_ref().err().map(|e| e.code());
        // Where somebody holds it, another refusal may come first; but only where it is open.
        if said != (code == Some(Code::SemIsSet)) {
            p.violation(format_args!("drained: {said}; a request gives {refused:?}"));
        }
        p.outcome(said);
        u64::from(said)
    }) == 1
}

/// A request that does not wait; what it gets it gives back.
fn tries(p: &Player<'_>, name: &str) -> xsem::Result<()> {
    match name {
        EVENT => p.sees(p.event().try_wait()),
        POOL => p.holds(p.pool().try_acquire()).map(|held| p.give(held)),
        _ => p.owns(p.open(name).try_acquire()).map(|held| p.release(held)),
    }
}

/// Who uses it ends that: gives back, or is signalled.
fn ends_use(case: &Case<'_>, name: &'static str) {
    case.stage.set(Flag::Release);
    if name == EVENT {
        case.wake("a waiter that came before the drain", Flag::Got);
    }
}

/// Signals an event when its drain is seen, or at `Release`. (Who drains it looks for waiters every few milliseconds, and so
/// does not sleep for long enough to be seen asleep when it is stepped.)
fn signaller(case: &Case<'_>) {
    case.play("signaller", |p| {
        let e = p.event();
        while !p.stage.is_set(Flag::Release) && !p.must("inspect", p.ns().inspect(EVENT)).drained {
            crate::sys::nap(100);
        }
        p.signals(&e);
    });
}

/// Opens it again, and everything goes on.
fn opens_and_goes_on(case: &Case<'_>, name: &'static str) {
    case.run_player("administrator", |p| p.must("reopen", p.ns().reopen(name)));
    if is_drained(case, name) {
        case.violation("it was opened again, and is drained");
    }
    works(case, name);
}

fn works(case: &Case<'_>, name: &'static str) {
    match name {
        POOL => super::pool::whole(case),
        EVENT => even(case, &[0]),
        _ => passes(case),
    }
}

fn killed(case: &Case<'_>, name: &'static str) {
    // Asleep for the first time: the holder holds, and nothing has been drained.
    let asleep = case.reached.get() == Reached::Asleep && !case.stage.is_set(Flag::Release);
    ends_use(case, name);
    // A drain that was finished stands; one whose process died before does not.
    let drained = is_drained(case, name);
    if !drained && case.reached.get() == Reached::Done {
        case.violation("the drain had succeeded, and its flag is lost");
    }
    // A victim that came another way to its end has taken none of the steps that we counted.
    let unbegun = case.reached.get() != Reached::Done && case.taken.get() == 0;
    if drained && (asleep || unbegun) {
        case.violation("the drain had not ended, and its flag stands without its process");
    }
    opens_and_goes_on(case, name);
}

/// While the victim stands still the holder gives back, and somebody tries: granted or refused, but at once.
fn paused(case: &Case<'_>, name: &'static str) {
    ends_use(case, name);
    case.play("peer", move |p| {
        match tries(p, name).map_err(|e| e.code()) {
            Ok(()) | Err(Code::SemIsSet | Code::ExclSemAlreadyOwned | Code::SemTimeout) => {}
            Err(other) => p.violation(format_args!("a request beside a drain gives {other:?}")),
        }
        p.stage.set(Flag::Peer);
    });
    case.until("a peer to be granted or refused", Flag::Peer);
}

fn resumed(case: &Case<'_>, name: &'static str) {
    case.until("the resumed victim to finish", Flag::Left);
    if case.stage.get(Value::VictimCode) != 0 {
        case.violation(format_args!("drain gave {}", case.stage.get(Value::VictimCode)));
    }
    if !is_drained(case, name) {
        case.violation("the drain succeeded, and its flag is lost");
    }
    opens_and_goes_on(case, name);
}

/// An exclusive semaphore that somebody owns.
pub(crate) const DRAIN: Play = Play {
    name: "drain",
    about: "drain an exclusive semaphore that is owned: go to sleep, be woken by its release",
    prepare: |case| {
        make(case);
        owner(case);
    },
    victim: |p| drains(p, SEM),
    asleep: |case| case.stage.set(Flag::Release),
    killed: |case| killed(case, SEM),
    paused: |case| paused(case, SEM),
    resumed: |case| resumed(case, SEM),
    ..PLAY
};

/// A pool of which somebody holds permits.
pub(crate) const DRAIN_POOL: Play = Play {
    name: "drain-pool",
    about: "drain a pool of which permits are held: go to sleep, be woken by their release",
    prepare: |case| {
        make_pool(case);
        holder(case, LIMIT - 1);
    },
    victim: |p| drains(p, POOL),
    asleep: |case| case.stage.set(Flag::Release),
    killed: |case| killed(case, POOL),
    paused: |case| paused(case, POOL),
    resumed: |case| resumed(case, POOL),
    ..PLAY
};

/// An event for which somebody waits.
pub(crate) const DRAIN_EVENT: Play = Play {
    name: "drain-event",
    about: "drain an event for which somebody waits, and who is signalled then",
    prepare: |case| {
        make_event(case, Reset::Auto, false);
        sleeper(case, "waiter", Flag::Waiting, Flag::Got);
        signaller(case);
    },
    victim: |p| drains(p, EVENT),
    killed: |case| killed(case, EVENT),
    paused: |case| paused(case, EVENT),
    resumed: |case| resumed(case, EVENT),
    ..PLAY
};

fn reopens(p: &Player<'_>, name: &str) {
    let ns = p.ns();
    p.register();
    p.begin();
    let r = ns.reopen(name);
    p.done();
    p.must("reopen", r);
    p.stage.set(Flag::Left);
}

fn killed_reopening(case: &Case<'_>, name: &'static str) {
    let drained = is_drained(case, name);
    if drained && case.reached.get() == Reached::Done {
        case.violation("it was opened again, and is drained");
    }
    if !drained && case.taken.get() == 0 {
        case.violation("the flag was lost before anybody had opened it");
    }
    opens_and_goes_on(case, name);
}

/// Somebody else opens it, and drains it once more: the victim's late steps may open that, too, but lose nothing else.
fn paused_reopening(case: &Case<'_>, name: &'static str) {
    case.run_player("administrator", |p| p.must("reopen", p.ns().reopen(name)));
    works_unless_drained(case, name);
}

fn works_unless_drained(case: &Case<'_>, name: &'static str) {
    // The victim has said that it opens it, and stands still with that: others treat it as open.
    if is_drained(case, name) {
        case.violation("it was opened again, and is drained");
    }
    works(case, name);
}

fn resumed_reopening(case: &Case<'_>, name: &'static str) {
    case.until("the resumed victim to finish", Flag::Left);
    works_unless_drained(case, name);
    case.run_player("administrator", |p| p.must("drain", p.ns().drain(name, Wait::not())));
    if !is_drained(case, name) {
        case.violation("the drain succeeded, and its flag is lost");
    }
    opens_and_goes_on(case, name);
}

/// A drained exclusive semaphore.
pub(crate) const REOPEN: Play = Play {
    name: "reopen",
    about: "open a drained exclusive semaphore again, while another process does so, too",
    prepare: |case| {
        make(case);
        case.run_player("administrator", |p| p.must("drain", p.ns().drain(SEM, Wait::not())));
    },
    victim: |p| reopens(p, SEM),
    killed: |case| killed_reopening(case, SEM),
    paused: |case| paused_reopening(case, SEM),
    resumed: |case| resumed_reopening(case, SEM),
    ..PLAY
};

/// A drained pool.
pub(crate) const REOPEN_POOL: Play = Play {
    name: "reopen-pool",
    about: "open a drained pool again, while another process does so, too",
    prepare: |case| {
        make_pool(case);
        case.run_player("administrator", |p| p.must("drain", p.ns().drain(POOL, Wait::not())));
    },
    victim: |p| reopens(p, POOL),
    killed: |case| killed_reopening(case, POOL),
    paused: |case| paused_reopening(case, POOL),
    resumed: |case| resumed_reopening(case, POOL),
    ..PLAY
};

/// A drained event.
pub(crate) const REOPEN_EVENT: Play = Play {
    name: "reopen-event",
    about: "open a drained event again, while another process does so, too",
    prepare: |case| {
        make_event(case, Reset::Auto, false);
        case.run_player("administrator", |p| p.must("drain", p.ns().drain(EVENT, Wait::not())));
    },
    victim: |p| reopens(p, EVENT),
    killed: |case| killed_reopening(case, EVENT),
    paused: |case| paused_reopening(case, EVENT),
    resumed: |case| resumed_reopening(case, EVENT),
    ..PLAY
};
