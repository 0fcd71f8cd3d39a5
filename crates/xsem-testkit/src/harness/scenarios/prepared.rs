//! Releases that were prepared, and what may be done at interrupt time: the same steps as elsewhere, or fewer.

use super::event;
use super::play::{PLAY, Play};
use super::pool::{bystander, make_pool, waiter_for};
use super::pool_bounds;
use super::pool_release::{end, reach_or_are_nudged, waiter_gets_it};
use super::*;
use crate::harness::counting::LIMIT;
use crate::harness::events::make_event;
use xsem::{Code, Error, Reset, SignalRelease, interrupt};

/// Spends it, which must work.
fn spend(release: &SignalRelease) -> xsem::Result<()> {
    match release.spend() {
        true => Ok(()),
        false => Err(Error::new(Code::NotOwner, "a prepared release was not to be spent")),
    }
}

/// The victim owns, and gives it back by a prepared release. `before`: prepared before others fall asleep.
fn gives_back(p: &Player<'_>, before: bool) {
    let s = p.open(SEM);
    let held = p.acquire(&s);
    p.must_be_clean(&held);
    p.leaves(0);
    let mut guard = Some(held.guard);
    let mut prepare = || match guard.take().map(xsem::Guard::into_signal_release) {
        Some(prepared) => p.must("prepare", prepared.map_err(|(_, e)| e)),
        None => unreachable!("prepared once"),
    };
    let prepared = before.then(&mut prepare);
    p.stage.set(Flag::Owning);
    p.until(Flag::Go);
    p.begin();
    let release = prepared.unwrap_or_else(prepare);
    let r = spend(&release);
    p.done();
    p.must("spend", r);
    drop(release);
    p.stage.set(Flag::Left);
}

fn may_begin(case: &Case<'_>) {
    case.until("the victim to own", Flag::Owning);
    case.stage.set(Flag::Go);
}

fn with_waiter(case: &Case<'_>) {
    case.until("the victim to own", Flag::Owning);
    waiter(case);
    case.stage.set(Flag::Go);
}

fn waiter_goes_on(case: &Case<'_>) {
    case.wake("the sleeping waiter", Flag::Got);
    case.stage.set(Flag::Give);
    case.until("the waiter to give it up", Flag::Peer);
    succeeds(case, Told::of_release(case));
}

/// Nobody waits.
pub(crate) const PREPARE: Play = Play {
    name: "prepared-release",
    about: "prepare the release of an exclusive semaphore and spend it, while nobody waits",
    prepare: make,
    victim: |p| gives_back(p, false),
    ready: may_begin,
    killed: |case| succeeds(case, Told::of_release(case)),
    paused: |case| {
        peer(case);
        case.others_reach("a peer to acquire", Flag::Got);
    },
    resumed: all_finish,
    ..PLAY
};

/// One sleeps.
pub(crate) const PREPARE_WAITER: Play = Play {
    name: "prepared-release-waiter",
    about: "prepare the release of an exclusive semaphore on which another process sleeps, and spend it",
    ready: with_waiter,
    killed: waiter_goes_on,
    paused: |case| {
        case.others_reach("the sleeping waiter", Flag::Got);
    },
    ..PREPARE
};

/// One has fallen asleep since.
pub(crate) const SPEND_WAITER: Play = Play {
    name: "spend-waiter",
    about: "spend a prepared release of an exclusive semaphore on which another process has fallen asleep since",
    victim: |p| gives_back(p, true),
    ..PREPARE_WAITER
};

/// The victim holds three permits, and gives them back by a prepared release.
fn gives_permits_back(p: &Player<'_>, before: bool) {
    let s = p.pool();
    let held = p.take(&s, 3);
    p.leaves_permits(3);
    let mut permit = Some(held.permit);
    let mut prepare = || match permit.take().map(xsem::Permit::into_signal_release) {
        Some(prepared) => p.must("prepare", prepared.map_err(|(_, e)| e)),
        None => unreachable!("prepared once"),
    };
    let prepared = before.then(&mut prepare);
    p.stage.set(Flag::Owning);
    p.until(Flag::Go);
    p.begin();
    let release = prepared.unwrap_or_else(prepare);
    let r = spend(&release);
    p.done();
    p.must("spend", r);
    drop(release);
    p.stage.set(Flag::Left);
}

/// One sleeps for permits.
pub(crate) const PREPARE_PERMITS: Play = Play {
    name: "prepared-permits-waiter",
    about: "prepare the release of three permits while another process sleeps for two, and spend it",
    prepare: |case| {
        make_pool(case);
        bystander(case, 1);
    },
    victim: |p| gives_permits_back(p, false),
    ready: |case| {
        case.until("the victim to hold", Flag::Owning);
        waiter_for(case, LIMIT - 2);
        case.stage.set(Flag::Go);
    },
    killed: waiter_gets_it,
    paused: |case| reach_or_are_nudged(case, "the sleeping waiter", Flag::Got),
    resumed: end,
    ..PLAY
};

/// Or has fallen asleep since.
pub(crate) const SPEND_PERMITS: Play = Play {
    name: "spend-permits-waiter",
    about: "spend a prepared release of three permits while another process sleeps for two",
    victim: |p| gives_permits_back(p, true),
    ..PREPARE_PERMITS
};

/// Credit added where nothing may be allocated or locked.
pub(crate) const ADD: Play = Play {
    name: "credit-add-interrupt",
    about: "add two permits to a credit at interrupt time, while another process sleeps for them",
    victim: |p| {
        let s = p.pool();
        p.register();
        p.stage.set(Flag::Owning);
        p.until(Flag::Go);
        let interrupt = interrupt::scope();
        p.begin();
        let r = s.add_permits(2);
        p.done();
        drop(interrupt);
        p.must("add permits", r);
        p.stage.set(Flag::Left);
    },
    ..pool_bounds::ADD
};

/// A signal, likewise.
pub(crate) const SIGNAL: Play = Play {
    name: "event-signal-interrupt",
    about: "signal an auto-reset event at interrupt time, while another process sleeps for it",
    prepare: |case| make_event(case, Reset::Auto, false),
    victim: |p| {
        let _interrupt = interrupt::scope();
        event::changes(p, |e| e.signal(), 1);
    },
    ..event::WAITER
};
