//! Lists of semaphores: the first that can be had.

use super::lists::{all_give_back, keeps, make_three, must_hold, owner_of_second, succeeds_each};
use super::play::{PLAY, Play};
use super::pool::{bystander, no_bystander, peer_for};
use super::*;
use crate::harness::counting::{LIMIT, SECOND};
use xsem::Wait;

fn takes_any(p: &Player<'_>) {
    let three = p.three();
    p.register();
    p.begin();
    let r = p.ns().wait_any(&three.list(), Wait::forever());
    p.done();
    let got = p.must("wait for any", p.has_one(r));
    keeps(p, got);
}

/// The death of a victim that holds one of the list, or none of it.
fn died_with_one(case: &Case<'_>) {
    let told = succeeds_each(case);
    let fine = match Told::of_acquire(case) {
        Told::Yes => told == 0b10,
        Told::No => told == 0,
        Told::Perhaps => told == 0 || told == 0b10,
    };
    if !fine {
        case.violation(format_args!("the marks are {told:#b} ({:?}); it waited for the second", Told::of_acquire(case)));
    }
}

/// The first is owned, the others are free.
pub(crate) const FREE: Play = Play {
    name: "any-free",
    about: "wait for any of three, the first of which is owned, while a peer acquires all permits",
    prepare: |case| {
        make_three(case);
        owner(case);
    },
    victim: takes_any,
    killed: |case| {
        case.stage.set(Flag::Release);
        died_with_one(case);
    },
    paused: |case| {
        must_hold(case, &[0, 0b10]);
        peer_for(case, LIMIT);
        case.until("a peer to acquire all permits", Flag::Got);
    },
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Done);
        must_hold(case, &[0b10]);
        case.stage.set(Flag::Release);
        all_give_back(case);
    },
    ..PLAY
};

/// All are taken, and the second is released first.
pub(crate) const CONTENDED: Play = Play {
    name: "any-contended",
    about: "wait for any of three while all are taken: go to sleep, be woken by the release of the second",
    prepare: |case| {
        case.line_ends();
        make_three(case);
        owner_of_second(case);
        case.play("owner of the first", |p| {
            let s = p.open(SEM);
            let held = p.acquire(&s);
            p.stage.set(Flag::Acknowledged);
            p.until(Flag::Go);
            p.release(held);
        });
        case.until("the first to be owned", Flag::Acknowledged);
        bystander(case, LIMIT);
    },
    victim: takes_any,
    asleep: |case| case.stage.set(Flag::Release),
    killed: |case| {
        case.stage.set(Flag::Release);
        rest_ends(case);
        died_with_one(case);
    },
    paused: |case| {
        must_hold(case, &[0, 0b10]);
        case.play("peer", |p| {
            let s = p.open(SECOND);
            p.own_once(&s, 1);
            p.stage.set(Flag::Got);
            p.stage.set(Flag::Peer);
        });
        case.stage.set(Flag::Release);
        case.others_reach_unless("a peer to acquire the second", Flag::Got, || case.victim_holds(SECOND));
        must_hold(case, &[0, 0b10]);
    },
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Done);
        must_hold(case, &[0b10]);
        rest_ends(case);
        all_give_back(case);
    },
    ..PLAY
};

fn rest_ends(case: &Case<'_>) {
    case.stage.set(Flag::Go);
    no_bystander(case);
}
