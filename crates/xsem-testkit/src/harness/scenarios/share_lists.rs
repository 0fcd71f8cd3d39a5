//! Lists of which all are wanted, where a claim on one of the list is shared.

use super::lists::{all_give_back, died_with_all, greedy_peer, make_three, must_hold, succeeds_each, takes_all};
use super::play::{PLAY, Play};
use super::share::{owner_ends, sharing_owner};
use super::*;
use xsem::Wait;

/// Somebody who sleeps for all three.
fn greedy_sleeper(case: &Case<'_>) {
    let pid = case.play("sleeper", |p| {
        let three = p.three();
        p.register();
        p.stage.set(Flag::Waiting);
        let r = p.ns().acquire_all(&three.reversed(), Wait::forever());
        let got = p.must("acquire all", p.has_all(r, true));
        p.outcome(!got.died.is_empty());
        p.stage.set(Flag::Got);
        p.until(Flag::Give);
        p.give_all(got);
        p.stage.set(Flag::Peer);
    });
    case.until("somebody to wait for all of them", Flag::Waiting);
    case.until_asleep(pid);
}

/// Whoever sleeps for all of them gets them, without anybody else's help; the marks, of which only that of the first can be, tell.
fn all_inherited(case: &Case<'_>, told: Told) {
    case.wake("who sleeps for all of them", Flag::Got);
    case.stage.set(Flag::Give);
    case.until("who slept for all of them to give back", Flag::Peer);
    let marks = succeeds_each(case);
    if marks & !1 != 0 || told == Told::Yes && marks == 0 || told == Told::No && marks != 0 {
        case.violation(format_args!("the marks are {marks:#b} ({told:?}); only the first of the list was shared"));
    }
}

/// The last that shares the claim leaves.
pub(crate) const LEAVE: Play = Play {
    name: "share-leave-all",
    about: "stop sharing a claim as the last one, while another process sleeps in an `acquire_all` for it and more",
    prepare: |case| {
        make_three(case);
        sharing_owner(case);
    },
    victim: |p| {
        let s = p.open(SEM);
        let Some(guard) = p.must("join", s.join(p.stage.get(Value::Token))) else {
            return p.violation("there is nothing to share");
        };
        p.stage.set(Flag::Owning2);
        p.until(Flag::Go);
        p.begin();
        let r = guard.release();
        p.done();
        p.must("leave", r);
        p.stage.set(Flag::Left);
    },
    ready: |case| {
        case.until("the victim to share", Flag::Owning2);
        owner_ends(case);
        greedy_sleeper(case);
        case.stage.set(Flag::Go);
    },
    killed: |case| all_inherited(case, Told::of_release(case)),
    paused: |case| {
        case.others_reach("who sleeps for all of them to acquire", Flag::Got);
    },
    resumed: |case| {
        case.until("the resumed victim to leave", Flag::Left);
        all_inherited(case, Told::No);
    },
    ..PLAY
};

/// The victim joins, while who sleeps for all of them is next.
pub(crate) const JOIN: Play = Play {
    name: "share-join-all",
    about: "share a claim, while its owner gives up its part and another process sleeps in an `acquire_all` for it and more",
    prepare: |case| {
        make_three(case);
        sharing_owner(case);
        greedy_sleeper(case);
    },
    victim: |p| {
        let s = p.open(SEM);
        let token = p.stage.get(Value::Token);
        p.register();
        p.begin();
        let r = s.join(token);
        p.done();
        if let Some(guard) = p.must("join", r) {
            let alone = p.stage.is_set(Flag::Left2);
            if alone {
                p.enters(0);
            }
            if !guard.is_held() {
                p.violation("it shares a claim that is over");
            }
            p.until(Flag::Leave);
            if alone {
                p.leaves(0);
            }
            p.must("leave", guard.release());
        }
        p.stage.set(Flag::Left);
    },
    killed: |case| {
        owner_ends(case);
        all_inherited(case, Told::of_acquire(case));
    },
    paused: |case| {
        owner_ends(case);
        case.others_reach("who sleeps for all of them to acquire", Flag::Got);
    },
    resumed: |case| {
        case.stage.set(Flag::Give);
        case.until("the resumed victim to finish", Flag::Done);
        case.stage.set(Flag::Leave);
        case.until("the victim to leave", Flag::Left);
        all_inherited(case, Told::No);
    },
    ..PLAY
};

/// The victim wants all, and what is missing is shared.
pub(crate) const ALL: Play = Play {
    name: "all-shared",
    about: "acquire all three while the claim on one is shared: its owner ends first, then who shares it, which wakes the victim",
    prepare: |case| {
        case.line_ends();
        make_three(case);
        sharing_owner(case);
        case.play("sharer", |p| {
            let s = p.open(SEM);
            let Some(guard) = p.must("join", s.join(p.stage.get(Value::Token))) else {
                return p.violation("there is nothing to share");
            };
            p.stage.set(Flag::Beside);
            p.until(Flag::Leave2);
            p.must("leave", guard.release());
            p.stage.set(Flag::Acknowledged);
        });
        case.until("the sharer to share", Flag::Beside);
    },
    victim: takes_all,
    asleep: both_end,
    killed: |case| {
        both_end(case);
        died_with_all(case);
    },
    paused: |case| {
        must_hold(case, &[0, 0b111]);
        greedy_peer(case);
        both_end(case);
        case.others_reach("a peer to acquire all", Flag::Got);
        must_hold(case, &[0, 0b111]);
    },
    resumed: all_give_back,
    ..PLAY
};

fn both_end(case: &Case<'_>) {
    owner_ends(case);
    case.stage.set(Flag::Leave2);
    case.until("the sharer to leave", Flag::Acknowledged);
}
