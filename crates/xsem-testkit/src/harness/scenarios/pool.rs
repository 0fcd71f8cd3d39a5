//! Permits of a pool: acquiring them, free, contended, in vain, and from the dead.

use super::play::{PLAY, Play};
use super::*;
use crate::harness::counting::{LIMIT, POOL, Permits};
use xsem::Code;

/// Makes the namespace and the pool.
pub(super) fn make_pool(case: &Case<'_>) {
    case.run_player("maker", |p| p.make_pool(LIMIT));
}

/// Somebody who holds `n` permits until `Release` is set.
pub(super) fn holder(case: &Case<'_>, n: u32) -> Pid {
    let pid = case.play("holder", move |p| {
        let s = p.pool();
        let held = p.take(&s, n);
        p.stage.set(Flag::Owning);
        p.until(Flag::Release);
        p.give(held);
        p.stage.set(Flag::Left2);
    });
    case.until("the holder to hold", Flag::Owning);
    case.stage.put(Value::Dead, pid as u64);
    pid
}

/// Somebody who holds `n` permits until `Leave2` is set, and takes no part in what happens.
pub(super) fn bystander(case: &Case<'_>, n: u32) -> Pid {
    let pid = case.play("bystander", move |p| {
        let s = p.pool();
        let held = p.take(&s, n);
        p.stage.set(Flag::Beside);
        p.until(Flag::Leave2);
        p.give(held);
        p.stage.set(Flag::Left2);
    });
    case.until("the bystander to hold", Flag::Beside);
    pid
}

/// The bystander goes.
pub(super) fn no_bystander(case: &Case<'_>) {
    case.stage.set(Flag::Leave2);
    case.until("the bystander to give back", Flag::Left2);
}

/// A waiter for `n` permits: says `Waiting`, waits, says `Got`, gives them back at `Give`, says `Peer`. Asleep on return.
pub(super) fn waiter_for(case: &Case<'_>, n: u32) -> Pid {
    let pid = case.play("waiter", move |p| {
        let s = p.pool();
        p.register();
        p.stage.set(Flag::Waiting);
        let held = p.take(&s, n);
        p.outcome(false);
        p.stage.set(Flag::Got);
        p.until(Flag::Give);
        p.give(held);
        p.stage.set(Flag::Peer);
    });
    case.until("the waiter to begin", Flag::Waiting);
    case.until_asleep(pid);
    pid
}

/// As `waiter_for`, but it comes now, and need not wait.
pub(super) fn peer_for(case: &Case<'_>, n: u32) -> Pid {
    case.play("peer", move |p| {
        let s = p.pool();
        let held = p.take(&s, n);
        p.outcome(false);
        p.stage.set(Flag::Got);
        p.until(Flag::Give);
        p.give(held);
        p.stage.set(Flag::Peer);
    })
}

/// While the victim stands still: the others reach `f`, unless the namespace says that the victim holds permits.
pub(super) fn others_reach(case: &Case<'_>, what: &str, f: Flag) -> bool {
    case.others_reach_unless(what, f, || case.victim_holds(POOL))
}

/// All permits are there, once.
pub(super) fn whole(case: &Case<'_>) {
    case.run_player("newcomer", |p| p.must_be_whole(&p.pool()));
}

/// After the resumption: peer and victim give back, and everything is there.
pub(super) fn all_give_back(case: &Case<'_>) {
    crate::sys::nap(200);
    case.stage.set(Flag::Give);
    case.until("the resumed victim to finish", Flag::Done);
    case.stage.set(Flag::Leave);
    case.until("the victim to give back", Flag::Left);
    case.until("the peer to get it and to give back", Flag::Peer);
    whole(case);
}

/// The victim's part after an acquire.
pub(super) fn keeps(p: &Player<'_>, held: Permits<'_>) {
    p.until(Flag::Leave);
    p.give(held);
    p.stage.set(Flag::Left);
}

fn takes(p: &Player<'_>, n: u32) {
    let s = p.pool();
    p.register();
    p.begin();
    let r = s.acquire_many(n);
    p.done();
    let held = p.must("acquire permits", p.holds(r));
    keeps(p, held);
}

/// Nobody is short of permits.
pub(crate) const ACQUIRE: Play = Play {
    name: "pool-acquire",
    about: "acquire one of four permits, while a peer acquires the other three",
    prepare: make_pool,
    victim: |p| takes(p, 1),
    killed: whole,
    paused: |case| {
        // There is enough for both, wherever the victim stands.
        peer_for(case, LIMIT - 1);
        case.until("a peer to acquire what is free in any case", Flag::Got);
    },
    resumed: all_give_back,
    ..PLAY
};

/// All permits at once, while another process holds some.
pub(crate) const CONTENDED: Play = Play {
    name: "pool-acquire-many",
    about: "acquire all four permits while two are held: go to sleep, be woken by their release",
    prepare: |case| {
        case.line_ends();
        make_pool(case);
        holder(case, 2);
    },
    victim: |p| takes(p, LIMIT),
    asleep: |case| case.stage.set(Flag::Release),
    killed: |case| {
        case.stage.set(Flag::Release);
        case.until("the holder to give back", Flag::Left2);
        whole(case);
    },
    paused: |case| {
        case.stage.set(Flag::Release);
        case.until("the holder to give back", Flag::Left2);
        peer_for(case, 1);
        others_reach(case, "a peer to acquire", Flag::Got);
    },
    resumed: all_give_back,
    ..PLAY
};

/// A large request before the victim's, and a small one after it.
pub(crate) const QUEUED: Play = Play {
    name: "pool-acquire-queued",
    about: "acquire two permits behind a waiter for all four and before one for one",
    prepare: |case| {
        case.line_ends();
        make_pool(case);
        holder(case, LIMIT);
        waiter_for(case, LIMIT);
        case.stage.set(Flag::Give);
    },
    victim: |p| takes(p, 2),
    asleep: all_wait,
    killed: |case| {
        all_wait(case);
        case.wake("the first waiter", Flag::Peer);
        case.until("the second waiter", Flag::Got2);
        whole(case);
    },
    paused: |case| {
        all_wait(case);
        if others_reach(case, "the first waiter to acquire", Flag::Peer) {
            // Enough for it, and for the victim.
            case.until("the second waiter to acquire", Flag::Got2);
        }
    },
    resumed: |case| {
        all_give_back(case);
        case.until("the second waiter to acquire", Flag::Got2);
    },
    ..PLAY
};

fn all_wait(case: &Case<'_>) {
    if case.stage.is_set(Flag::Release) {
        return;
    }
    let pid = case.play("second waiter", |p| {
        let s = p.pool();
        p.register();
        p.stage.set(Flag::Waiting2);
        let held = p.take(&s, 1);
        p.give(held);
        p.stage.set(Flag::Got2);
    });
    case.until("the second waiter to begin", Flag::Waiting2);
    case.until_asleep(pid);
    case.stage.set(Flag::Release);
}

/// The victim's time runs out.
pub(crate) const TIMED_OUT: Play = Play {
    name: "pool-acquire-timeout",
    about: "acquire two permits for 5 ms in vain, before another waiter for one",
    prepare: |case| {
        case.line_ends();
        make_pool(case);
        holder(case, LIMIT);
    },
    victim: |p| {
        let s = p.pool();
        p.register();
        p.begin();
        let r = s.acquire_with(2, xsem::Wait::timeout(std::time::Duration::from_millis(5)));
        p.done();
        match p.holds(r) {
            Ok(held) => keeps(p, held),
            Err(e) => {
                if e.code() != Code::SemTimeout {
                    p.violation(format_args!("121 was due: {e}"));
                }
                p.stage.set(Flag::Left);
            }
        }
    },
    killed: |case| {
        waiter_for(case, 3);
        case.stage.set(Flag::Release);
        case.wake("the waiter", Flag::Got);
        case.stage.set(Flag::Give);
        case.until("the waiter to give back", Flag::Peer);
        whole(case);
    },
    paused: |case| {
        waiter_for(case, 3);
        case.stage.set(Flag::Release);
        others_reach(case, "the waiter to acquire", Flag::Got);
    },
    resumed: all_give_back,
    ..PLAY
};

fn kill_holder(case: &Case<'_>) {
    let holder = case.stage.get(Value::Dead) as Pid;
    if case.lives(holder) {
        case.kill(holder);
    }
}

/// So many deaths were counted, or one more.
fn deaths_are(case: &Case<'_>, least: u64) {
    let counted = case.ask(|p| p.must("inspect", p.ns().inspect(POOL)).counters.deaths);
    if counted != least && counted != least + 1 {
        case.violation(format_args!("{counted} deaths of holders are counted; {least} or one more there were"));
    }
}

/// A holder dies while the victim waits.
pub(crate) const HOLDER_DIES: Play = Play {
    name: "pool-holder-dies",
    about: "acquire three permits while all are held: go to sleep, be woken by the holder's death",
    prepare: |case| {
        case.line_ends();
        make_pool(case);
        holder(case, LIMIT);
    },
    victim: |p| takes(p, 3),
    asleep: kill_holder,
    killed: |case| {
        kill_holder(case);
        whole(case);
        deaths_are(case, 1);
    },
    paused: |case| {
        peer_for(case, 2);
        kill_holder(case);
        others_reach(case, "a peer to acquire", Flag::Got);
    },
    resumed: |case| {
        all_give_back(case);
        deaths_are(case, 1);
    },
    ..PLAY
};

/// A holder has died.
pub(crate) const TAKEOVER: Play = Play {
    name: "pool-takeover",
    about: "acquire three permits, all of which a dead process held",
    prepare: |case| {
        make_pool(case);
        let dead = holder(case, LIMIT);
        case.kill(dead);
    },
    victim: |p| takes(p, 3),
    killed: |case| {
        whole(case);
        deaths_are(case, 1);
    },
    paused: |case| {
        // Ends the dead one's claim, if nobody has; so its entry is there for the next.
        case.run_player("passer-by", |p| {
            let s = p.pool();
            let held = p.take(&s, 1);
            p.give(held);
        });
        // There is enough for both.
        peer_for(case, 1);
        case.until("a peer to acquire what is free in any case", Flag::Got);
    },
    resumed: |case| {
        all_give_back(case);
        deaths_are(case, 1);
    },
    ..PLAY
};

/// The first question for the slots.
pub(crate) const SLOTS: Play = Play {
    name: "pool-slots",
    about: "ask for the slots of two permits for the first time, while others ask for theirs",
    prepare: |case| {
        make_pool(case);
        bystander(case, 1);
    },
    victim: |p| {
        let s = p.pool();
        let held = p.take(&s, 2);
        p.begin();
        let r = held.permit.slots();
        p.done();
        let slots = p.must("slots", r);
        p.enters_slots(&slots, 2);
        p.until(Flag::Leave);
        let again = p.must("slots again", held.permit.slots());
        if again != slots {
            p.violation(format_args!("the slots were {slots:?}, and are {again:?}"));
        }
        p.stage.leave_slots(&slots, crate::sys::own_pid());
        p.give(held);
        p.stage.set(Flag::Left);
    },
    killed: |case| {
        peer_with_slots(case);
        case.until("a peer to have its slots", Flag::Got);
        case.stage.set(Flag::Give);
        case.until("the peer to give back", Flag::Peer);
        no_bystander(case);
        whole(case);
        deaths_are(case, 1);
    },
    paused: |case| {
        peer_with_slots(case);
        case.until("a peer to have its slots", Flag::Got);
    },
    resumed: |case| {
        no_bystander(case);
        all_give_back(case);
    },
    ..PLAY
};

fn peer_with_slots(case: &Case<'_>) {
    case.play("peer", |p| {
        let s = p.pool();
        let mut held = p.take(&s, 1);
        p.numbers(&mut held);
        p.stage.set(Flag::Got);
        p.until(Flag::Give);
        p.give(held);
        p.stage.set(Flag::Peer);
    });
}
