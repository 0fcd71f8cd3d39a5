//! Permits of a pool: giving them back, all or some, with sleepers.

use super::play::{PLAY, Play};
use super::pool::{bystander, make_pool, no_bystander, others_reach, peer_for, waiter_for, whole};
use super::*;
use crate::harness::counting::{LIMIT, POOL};
use xsem::Code;

/// The victim holds `n`, and gives `part` of them back when it may; the rest at the end.
fn gives_back(p: &Player<'_>, n: u32, part: u32) {
    let s = p.pool();
    let held = p.take(&s, n);
    // It leaves the books before the operation: at which instruction it ends is what is tested.
    p.leaves_permits(part);
    p.stage.set(Flag::Owning);
    p.until(Flag::Go);
    let mut permit = held.permit;
    match part == n {
        true => {
            p.begin();
            let r = permit.release();
            p.done();
            p.must("release", r);
        }
        false => {
            p.begin();
            let r = permit.release_some(part);
            p.done();
            p.must("release some", r);
            p.until(Flag::Leave);
            p.leaves_permits(n - part);
            p.must("release the rest", permit.release());
        }
    }
    p.stage.set(Flag::Left);
}

fn may_begin(case: &Case<'_>) {
    case.until("the victim to hold", Flag::Owning);
    case.stage.set(Flag::Go);
}

/// Nobody waits.
pub(crate) const RELEASE: Play = Play {
    name: "pool-release",
    about: "release three of four permits while nobody waits",
    prepare: make_pool,
    victim: |p| gives_back(p, 3, 3),
    ready: may_begin,
    killed: whole,
    paused: |case| {
        peer_for(case, 2);
        others_reach(case, "a peer to acquire", Flag::Got);
    },
    resumed: end,
    ..PLAY
};

/// A release with sleepers counts from the system call on that wakes them; until then its permits are the releaser's. But
/// whoever comes along finishes it, even one who is refused: so the waiter may sleep on only until then.
pub(super) fn reach_or_are_nudged(case: &Case<'_>, what: &str, f: Flag) {
    let nudged = std::cell::Cell::new(false);
    case.others_reach_unless(what, f, || {
        if case.victim_holds(POOL) {
            return true;
        }
        if !nudged.replace(true) {
            case.run_player("passer-by", |p| match p.pool().try_acquire_many(LIMIT) {
                // The bystander has one.
                Ok(_) => p.violation("all permits were granted while a bystander holds one"),
                Err(e) if e.code() == Code::SemTimeout => {}
                Err(e) => p.violation(format_args!("121 was due: {e}")),
            });
        }
        false
    });
}

/// One sleeps, for more than is free.
fn with_waiter(case: &Case<'_>, n: u32) {
    case.until("the victim to hold", Flag::Owning);
    waiter_for(case, n);
    case.stage.set(Flag::Go);
}

pub(super) fn end(case: &Case<'_>) {
    crate::sys::nap(200);
    case.stage.set(Flag::Give);
    case.until("the resumed victim to finish", Flag::Done);
    case.until("the waiter to get it and to give back", Flag::Peer);
    case.stage.set(Flag::Leave);
    case.until("the victim to give back", Flag::Left);
    if case.stage.is_set(Flag::Beside) {
        no_bystander(case);
    }
    whole(case);
}

pub(super) fn waiter_gets_it(case: &Case<'_>) {
    case.wake("the sleeping waiter", Flag::Got);
    case.stage.set(Flag::Give);
    case.until("the waiter to give back", Flag::Peer);
    no_bystander(case);
    whole(case);
}

/// One sleeps, and somebody else holds something, too.
pub(crate) const WAITER: Play = Play {
    name: "pool-release-waiter",
    about: "release three permits while another process sleeps for two",
    prepare: |case| {
        make_pool(case);
        bystander(case, 1);
    },
    victim: |p| gives_back(p, 3, 3),
    ready: |case| with_waiter(case, 2),
    killed: waiter_gets_it,
    paused: |case| reach_or_are_nudged(case, "the sleeping waiter", Flag::Got),
    resumed: end,
    ..PLAY
};

/// One who takes a permit and gives it back, for whom the driver waits until it sleeps.
fn passer(case: &Case<'_>, name: &'static str, begins: Flag, got: Flag) {
    let pid = case.play(name, |p| {
        let s = p.pool();
        p.register();
        p.stage.set(begins);
        let held = p.take(&s, 1);
        p.give(held);
        p.stage.set(got);
    });
    case.until("a waiter in line to begin", begins);
    case.until_asleep(pid);
}

fn all_get_it(case: &Case<'_>) {
    case.until("the second waiter, called by the first", Flag::Got2);
    case.until("the third waiter, called by the second", Flag::Got3);
}

/// Three sleep, two of them in line, which nothing ends but a call or a death.
pub(crate) const LINE: Play = Play {
    name: "pool-release-line",
    about: "release three permits while another process sleeps for two, and two sleep in line behind that one, until they are called",
    ready: |case| {
        case.until("the victim to hold", Flag::Owning);
        waiter_for(case, 2);
        passer(case, "second waiter", Flag::Waiting2, Flag::Got2);
        passer(case, "third waiter", Flag::Waiting3, Flag::Got3);
        case.stage.set(Flag::Go);
    },
    killed: |case| {
        case.wake("the sleeping waiter", Flag::Got);
        all_get_it(case);
        waiter_gets_it(case);
    },
    paused: |case| reach_or_are_nudged(case, "the sleeping waiter", Flag::Got),
    resumed: |case| {
        case.until("the sleeping waiter", Flag::Got);
        all_get_it(case);
        end(case);
    },
    ..WAITER
};

/// Two sleep, the older one stopped.
pub(crate) const STOPPED_WAITER: Play = Play {
    name: "pool-release-stopped-waiter",
    about: "release three permits while the oldest waiter is stopped, and another one sleeps",
    prepare: |case| {
        make_pool(case);
        bystander(case, 1);
    },
    victim: |p| gives_back(p, 3, 3),
    ready: |case| {
        case.until("the victim to hold", Flag::Owning);
        case.line_ends();
        let oldest = waiter_for(case, 3);
        passer(case, "second waiter", Flag::Waiting2, Flag::Got2);
        case.freeze(oldest);
        case.stage.put(Value::Dead, oldest as u64);
        case.stage.set(Flag::Go);
    },
    killed: |case| {
        case.wake("the waiter behind the stopped one", Flag::Got2);
        crate::sys::kill(case.stage.get(Value::Dead) as Pid, libc::SIGCONT);
        waiter_gets_it(case);
    },
    paused: |case| reach_or_are_nudged(case, "the waiter behind the stopped one", Flag::Got2),
    resumed: |case| {
        case.until("the waiter behind the stopped one", Flag::Got2);
        crate::sys::kill(case.stage.get(Value::Dead) as Pid, libc::SIGCONT);
        end(case);
    },
    ..PLAY
};

/// Some are given back, and the others kept.
pub(crate) const PART: Play = Play {
    name: "pool-release-part",
    about: "release two of three permits while another process sleeps for two",
    prepare: |case| {
        make_pool(case);
        bystander(case, 1);
    },
    victim: |p| gives_back(p, 3, 2),
    ready: |case| with_waiter(case, 2),
    killed: waiter_gets_it,
    paused: |case| reach_or_are_nudged(case, "the sleeping waiter", Flag::Got),
    resumed: end,
    ..PLAY
};
