//! Lists of semaphores: all of them at one instant.

use super::play::{PLAY, Play};
use super::pool::make_pool;
use super::*;
use crate::harness::counting::{Got, LIMIT, POOL, SECOND};
use xsem::Wait;

/// Makes a pool and two exclusive semaphores, in this order, in which a request takes them, too: so between its first and
/// its last step there are many others, in which the permits must not be withheld.
pub(super) fn make_three(case: &Case<'_>) {
    make_pool(case);
    case.run_player("maker", |p| drop(p.must("create", Exclusive::create(p.ns(), SECOND))));
    make(case);
}

/// Somebody who owns the second one until `Release` is set.
pub(super) fn owner_of_second(case: &Case<'_>) -> Pid {
    let pid = case.play("owner", |p| {
        let s = p.open(SECOND);
        let guard = p.must("acquire", s.acquire());
        p.enters(1);
        p.stage.set(Flag::Owning);
        p.until(Flag::Release);
        p.leaves(1);
        p.must("release", guard.release());
    });
    case.until("the owner to own", Flag::Owning);
    case.stage.put(Value::Dead, pid as u64);
    pid
}

/// What the victim was granted is what the list says: all three, or one.
pub(super) fn keeps(p: &Player<'_>, got: Got<'_>) {
    p.until(Flag::Leave);
    p.give_all(got);
    p.stage.set(Flag::Left);
}

pub(super) fn takes_all(p: &Player<'_>) {
    let three = p.three();
    p.register();
    p.begin();
    let r = p.ns().acquire_all(&three.list(), Wait::forever());
    p.done();
    let got = p.must("acquire all", p.has_all(r, false));
    keeps(p, got);
}

/// Which of the three the namespace says that the victim holds, a bit each. The victim stands still.
pub(super) fn victims(case: &Case<'_>) -> u64 {
    let victim = case.victim.get();
    case.ask(|p| {
        let holds = |name| {
            let report = p.must("inspect", p.ns().inspect(name));
            report.holders.iter().any(|h| h.process.pid as Pid == victim)
        };
        let bits = [SEM, SECOND, POOL].map(holds);
        u64::from(bits[0]) | u64::from(bits[1]) << 1 | u64::from(bits[2]) << 2
    })
}

/// All of them, or none; or so many as one.
pub(super) fn must_hold(case: &Case<'_>, allowed: &[u64]) {
    let bits = victims(case);
    if !allowed.contains(&bits) {
        case.violation(format_args!("of the list the victim holds {bits:#b}; it may be {allowed:?}"));
    }
}

/// A newcomer owns each of the three after the victim is dead, and is told of deaths. The bits: which had the mark.
pub(super) fn succeeds_each(case: &Case<'_>) -> u64 {
    let told = case.ask(|p| {
        let three = p.three();
        let told = u64::from(p.own_once(&three.first, 0)) | u64::from(p.own_once(&three.second, 1)) << 1;
        p.must_be_whole(&three.pool);
        p.outcome(told != 0);
        told
    });
    case.run_player("second successor", |p| {
        let three = p.three();
        let got = p.must("acquire all", p.has_all(p.ns().acquire_all(&three.reversed(), Wait::not()), true));
        if !got.died.is_empty() {
            p.violation(format_args!("told of deaths, at {:?}, that were acknowledged", got.died));
        }
        p.give_all(got);
    });
    told
}

/// The marks after an acquire of all that was killed: both or none, as far as it had come.
pub(super) fn died_with_all(case: &Case<'_>) {
    let told = succeeds_each(case);
    let fine = match Told::of_acquire(case) {
        Told::Yes => told == 0b11,
        Told::No => told == 0,
        Told::Perhaps => told == 0b11 || told == 0,
    };
    if !fine {
        case.violation(format_args!("the marks are {told:#b} ({:?})", Told::of_acquire(case)));
    }
}

/// After the resumption everybody gives back, and everything is there.
pub(super) fn all_give_back(case: &Case<'_>) {
    crate::sys::nap(200);
    case.stage.set(Flag::Give);
    case.until("the resumed victim to finish", Flag::Done);
    case.stage.set(Flag::Leave);
    case.until("the victim to give back", Flag::Left);
    case.until("the peer to get it and to give back", Flag::Peer);
    if succeeds_each(case) != 0 {
        case.violation("told of a death, and nobody died");
    }
}

/// A peer that wants the first semaphore only.
pub(super) fn single_peer(case: &Case<'_>) {
    case.play("peer", |p| {
        let s = p.open(SEM);
        let held = p.acquire(&s);
        p.must_be_clean(&held);
        p.outcome(false);
        p.stage.set(Flag::Got);
        p.until(Flag::Give);
        p.release(held);
        p.stage.set(Flag::Peer);
    });
}

/// A peer that wants all three, in another order.
pub(super) fn greedy_peer(case: &Case<'_>) {
    case.play("peer", |p| {
        let three = p.three();
        let r = p.ns().acquire_all(&three.reversed(), Wait::forever());
        let got = p.must("acquire all", p.has_all(r, true));
        p.outcome(!got.died.is_empty());
        p.stage.set(Flag::Got);
        p.until(Flag::Give);
        p.give_all(got);
        p.stage.set(Flag::Peer);
    });
}

/// All are free; others come one by one.
pub(crate) const ALL_FREE: Play = Play {
    name: "all-free",
    about: "acquire two exclusive semaphores and two permits at once, while peers acquire one of them and all permits",
    prepare: make_three,
    victim: takes_all,
    killed: died_with_all,
    paused: |case| {
        must_hold(case, &[0, 0b111]);
        single_peer(case);
        if case.others_reach("a peer to acquire", Flag::Got) {
            // The request is over, as it has not come true: its permits are free, too.
            case.run_player("second peer", |p| match p.holds(p.pool().try_acquire_many(LIMIT)) {
                Ok(held) => p.give(held),
                Err(e) => p.violation(format_args!("the stopped request holds permits, and nothing else: {e}")),
            });
        }
        // An open request is made to fail; one that came true holds all.
        must_hold(case, &[0, 0b111]);
    },
    resumed: all_give_back,
    ..PLAY
};

/// One is owned.
pub(crate) const ALL_CONTENDED: Play = Play {
    name: "all-contended",
    about: "acquire all three while one is owned: go to sleep, be woken; a peer wants all in another order",
    prepare: |case| {
        case.line_ends();
        make_three(case);
        owner_of_second(case);
    },
    victim: takes_all,
    asleep: |case| case.stage.set(Flag::Release),
    killed: |case| {
        case.stage.set(Flag::Release);
        died_with_all(case);
    },
    paused: |case| {
        must_hold(case, &[0, 0b111]);
        greedy_peer(case);
        case.stage.set(Flag::Release);
        case.others_reach("a peer to acquire all", Flag::Got);
        must_hold(case, &[0, 0b111]);
    },
    resumed: all_give_back,
    ..PLAY
};

/// What is missing are permits.
pub(crate) const ALL_PERMITS: Play = Play {
    name: "all-permits",
    about: "acquire all three while the permits are held: go to sleep, be woken by their holder's death",
    prepare: |case| {
        case.line_ends();
        make_three(case);
        super::pool::holder(case, LIMIT - 1);
    },
    victim: takes_all,
    asleep: kill_holder,
    killed: |case| {
        kill_holder(case);
        died_with_all(case);
    },
    paused: |case| {
        must_hold(case, &[0, 0b111]);
        greedy_peer(case);
        kill_holder(case);
        case.others_reach("a peer to acquire all", Flag::Got);
        must_hold(case, &[0, 0b111]);
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

/// One was owned by somebody who has died.
pub(crate) const ALL_TAKEOVER: Play = Play {
    name: "all-takeover",
    about: "acquire all three, one of which a dead process owned",
    prepare: |case| {
        make_three(case);
        let dead = owner_of_second(case);
        case.kill(dead);
    },
    victim: |p| {
        let three = p.three();
        p.register();
        p.begin();
        let r = p.ns().acquire_all(&three.list(), Wait::forever());
        p.done();
        let got = p.must("acquire all", p.has_all(r, false));
        // Unless a peer has acknowledged it.
        let due: &[usize] = if p.stage.is_set(Flag::Acknowledged) { &[] } else { &[1] };
        if got.died != due {
            p.violation(format_args!("told of deaths at {:?}; {due:?} was due", got.died));
        }
        if let (1.., xsem::Held::Guard(g)) = (got.died.len(), &got.held[1].1) {
            p.must("mark consistent", g.mark_consistent());
            p.stage.set(Flag::Acknowledged);
        }
        keeps(p, got);
    },
    killed: |case| {
        let told = succeeds_each(case);
        // The second is told in any case, the first with the victim.
        let fine = match Told::of_acquire(case) {
            Told::Yes => told == 0b11,
            Told::No => told == 0b10,
            Told::Perhaps => told == 0b11 || told == 0b10,
        };
        if !fine {
            case.violation(format_args!("the marks are {told:#b} ({:?})", Told::of_acquire(case)));
        }
    },
    paused: |case| {
        must_hold(case, &[0, 0b111]);
        case.play("peer", |p| {
            let told = p.own_once(&p.open(SECOND), 1);
            // The victim may have been first.
            if told == p.stage.is_set(Flag::Acknowledged) {
                p.violation(format_args!("told of a death: {told}, after the victim acknowledged it: {told}"));
            }
            p.stage.set(Flag::Acknowledged);
            p.outcome(told);
            p.stage.set(Flag::Got);
            p.stage.set(Flag::Peer);
        });
        case.others_reach_unless("a peer to take over", Flag::Got, || case.victim_holds(SECOND));
    },
    resumed: |case| {
        crate::sys::nap(200);
        case.until("the resumed victim to finish", Flag::Done);
        case.stage.set(Flag::Leave);
        case.until("the victim to give back", Flag::Left);
        case.until("the peer to get it and to give back", Flag::Peer);
        succeeds_each(case);
    },
    ..PLAY
};
