//! Limits and totals: more credit, credit used up, another limit.

use super::play::{PLAY, Play};
use super::pool::{bystander, holder, make_pool, others_reach, waiter_for, whole};
use super::*;
use crate::harness::counting::{LIMIT, POOL};
use xsem::{Code, Counting, Options};

/// Makes a credit of at most `LIMIT` with so many permits at the start.
fn make_credit(case: &Case<'_>, initial: u32) {
    case.run_player("maker", |p| {
        drop(p.must("create the credit", Counting::create_credit(p.ns(), POOL, LIMIT, initial, Options::new())));
        p.stage.put(Value::Limit, LIMIT.into());
    });
}

/// The total is one of these, all of it free; it is filled up, and works.
fn credit_is(case: &Case<'_>, totals: &[u32]) {
    let reached = case.reached.get();
    case.run_player("newcomer", |p| {
        let s = p.pool();
        // Somebody who asks for permits finds the claims of the dead.
        let all = s.try_acquire_many(LIMIT);
        let now = p.must("capacity", s.capacity());
        if !totals.contains(&now.total) || now.limit != LIMIT {
            p.violation(format_args!("capacity is {now:?}; a total of {totals:?} was due ({reached:?})"));
        }
        drop(all);
        let now = p.must("capacity", s.capacity());
        if now.free != now.total {
            p.violation(format_args!("with nothing held, capacity is {now:?}"));
        }
        if now.total < LIMIT {
            p.must("fill up", s.add_permits(LIMIT - now.total));
        }
        p.must_be_whole(&s);
    });
}

/// A consumer sleeps for what the victim adds.
pub(crate) const ADD: Play = Play {
    name: "credit-add-waiter",
    about: "add two permits to a credit while another process sleeps for them",
    prepare: |case| make_credit(case, 0),
    victim: |p| {
        let s = p.pool();
        p.register();
        p.stage.set(Flag::Owning);
        p.until(Flag::Go);
        p.begin();
        let r = s.add_permits(2);
        p.done();
        p.must("add permits", r);
        p.stage.set(Flag::Left);
    },
    ready: |case| {
        case.until("the victim to be ready", Flag::Owning);
        waiter_for(case, 2);
        case.stage.set(Flag::Go);
    },
    killed: |case| {
        if total(case) == 0 {
            if case.reached.get() == Reached::Done {
                case.violation("the permits that were added are not there");
            }
            case.run_player("second producer", |p| p.must("add permits", p.pool().add_permits(2)));
        }
        case.wake("the sleeping consumer", Flag::Got);
        case.stage.set(Flag::Give);
        case.until("the consumer to give back", Flag::Peer);
        credit_is(case, &[2]);
    },
    paused: |case| {
        // Another producer, who finishes what the victim has begun.
        case.run_player("second producer", |p| p.must("add permits", p.pool().add_permits(2)));
        case.until("the sleeping consumer", Flag::Got);
    },
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        case.stage.set(Flag::Give);
        case.until("the consumer to give back", Flag::Peer);
        credit_is(case, &[4]);
    },
    ..PLAY
};

fn total(case: &Case<'_>) -> u64 {
    case.ask(|p| p.must("capacity", p.pool().capacity()).total.into())
}

/// What was acquired is used up.
pub(crate) const FORGET: Play = Play {
    name: "credit-forget",
    about: "use up two of three permits, while others acquire the third and add one",
    prepare: |case| make_credit(case, 3),
    victim: |p| {
        let s = p.pool();
        let held = p.take(&s, 2);
        p.stage.set(Flag::Owning);
        p.until(Flag::Go);
        p.leaves_permits(2);
        p.begin();
        let r = held.permit.forget();
        p.done();
        p.must("forget", r);
        p.stage.set(Flag::Left);
    },
    ready: |case| {
        case.until("the victim to hold", Flag::Owning);
        case.stage.set(Flag::Go);
    },
    killed: |case| match (case.reached.get(), case.taken.get()) {
        (Reached::Done, _) => credit_is(case, &[1]),
        (_, 0) => credit_is(case, &[3]),
        _ => credit_is(case, &[1, 3]),
    },
    paused: |case| {
        case.run_player("peer", |p| {
            let s = p.pool();
            p.must("add a permit", s.add_permits(1));
            let held = p.take(&s, 1);
            p.give(held);
        });
    },
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        credit_is(case, &[2]);
    },
    ..PLAY
};

fn resizes(p: &Player<'_>, limit: u32) {
    let s = p.pool();
    p.register();
    p.stage.set(Flag::Owning2);
    p.until(Flag::Go);
    p.begin();
    let r = s.resize(limit);
    p.done();
    p.must("resize", r);
    p.stage.set(Flag::Left);
}

/// A waiter sleeps for what there will be.
pub(crate) const UP: Play = Play {
    name: "pool-resize-up",
    about: "raise the limit from four to six while all are held and another process sleeps for two",
    prepare: |case| {
        make_pool(case);
        holder(case, LIMIT);
        // Until the limit is raised, there is no room for more; the witness need not know when exactly.
        case.stage.put(Value::Limit, 6);
    },
    victim: |p| resizes(p, 6),
    ready: |case| {
        case.until("the victim to be ready", Flag::Owning2);
        waiter_for(case, 2);
        case.stage.set(Flag::Go);
    },
    killed: |case| {
        let limit = limit(case);
        case.stage.put(Value::Limit, limit);
        match limit {
            6 => case.wake("the sleeping waiter", Flag::Got),
            4 if case.reached.get() != Reached::Done => {
                case.stage.set(Flag::Release);
                case.wake("the sleeping waiter", Flag::Got);
            }
            other => case.violation(format_args!("the limit is {other}")),
        }
        case.stage.set(Flag::Release);
        case.stage.set(Flag::Give);
        case.until("the waiter to give back", Flag::Peer);
        case.until("the holder to give back", Flag::Left2);
        whole(case);
    },
    paused: |case| {
        // Somebody who wants the same finishes what the victim has begun.
        case.run_player("second administrator", |p| p.must("resize", p.pool().resize(6)));
        case.until("the sleeping waiter", Flag::Got);
    },
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        case.stage.set(Flag::Release);
        case.stage.set(Flag::Give);
        case.until("the waiter to give back", Flag::Peer);
        case.until("the holder to give back", Flag::Left2);
        whole(case);
    },
    ..PLAY
};

fn limit(case: &Case<'_>) -> u64 {
    case.ask(|p| p.must("capacity", p.pool().capacity()).limit.into())
}

/// Nobody loses anything, but nobody gets more.
pub(crate) const DOWN: Play = Play {
    name: "pool-resize-down",
    about: "lower the limit from four to two while two are held, and a peer tries to acquire the others",
    prepare: |case| {
        make_pool(case);
        bystander(case, 2);
    },
    victim: |p| resizes(p, 2),
    ready: |case| {
        case.until("the victim to be ready", Flag::Owning2);
        case.stage.set(Flag::Go);
    },
    killed: |case| {
        let limit = limit(case);
        if limit != 2 && (limit != 4 || case.reached.get() == Reached::Done) {
            case.violation(format_args!("the limit is {limit}"));
        }
        case.stage.put(Value::Limit, limit);
        tries(case);
        case.stage.set(Flag::Give);
        case.until("the peer to be done", Flag::Peer);
        case.stage.set(Flag::Leave2);
        case.until("the bystander to give back", Flag::Left2);
        whole(case);
    },
    paused: tries,
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        // From now on it counts for the witness, too: what is held now stays.
        case.stage.put(Value::Limit, 2);
        case.run_player("newcomer", |p| match p.pool().try_acquire() {
            Ok(_) => p.violation("two are held, the limit is two, and another one was granted"),
            Err(e) if e.code() == Code::SemTimeout => {}
            Err(e) => p.violation(format_args!("121 was due: {e}")),
        });
        case.stage.set(Flag::Give);
        case.until("the peer to be done", Flag::Peer);
        case.stage.set(Flag::Leave2);
        case.until("the bystander to give back", Flag::Left2);
        whole(case);
    },
    ..PLAY
};

/// A peer that tries for two: it gets them only where the limit is still four.
fn tries(case: &Case<'_>) {
    case.play("peer", |p| {
        let s = p.pool();
        match p.holds(s.try_acquire_many(2)) {
            Ok(held) => {
                p.stage.set(Flag::Got);
                p.until(Flag::Give);
                p.give(held);
            }
            Err(e) if e.code() == Code::SemTimeout => p.stage.set(Flag::Got),
            Err(e) => p.violation(format_args!("121 was due: {e}")),
        }
        p.stage.set(Flag::Peer);
    });
    others_reach(case, "the peer to be granted or refused", Flag::Got);
}
