//! The ends of threads: of one that holds something while its process goes on, and of the keeper while another one is still at
//! work, as it may be when the kernel ends a process thread by thread.

use super::play::{PLAY, Play};
use super::pool::{bystander, make_pool, no_bystander, whole};
use super::pool_release::reach_or_are_nudged;
use super::share::{nobody_gets_it, owner_ends, sharing_owner, told_of_sharer};
use super::*;
use crate::harness::counting::POOL;
use xsem::{AcquireError, Cause, Code};

/// The victim's thread says its last words.
fn ends_thread(p: &Player<'_>) {
    p.begin();
    xsem::shm::testing::end_of_thread();
    p.done();
    p.stage.set(Flag::Left);
}

/// Who waits for the exclusive semaphore: it must be told of the victim, and that its thread has ended, where its process goes on.
fn heir(case: &Case<'_>) {
    let pid = case.play("waiter", |p| {
        let s = p.open(SEM);
        p.register();
        p.stage.set(Flag::Waiting);
        let held = p.succeed(&s);
        Told::Yes.check(p, held.died.is_some());
        may_tell_of(p, &held);
        let cause = held.died.as_ref().and_then(|d| d.as_ref()).map(|d| d.latest.cause);
        p.stage.put(Value::Told, u64::from(cause == Some(Cause::ThreadEnded)));
        p.must("mark consistent", held.guard.mark_consistent());
        p.stage.set(Flag::Got);
        p.until(Flag::Give);
        p.release(held);
        p.stage.set(Flag::Peer);
    });
    case.until("the waiter to begin", Flag::Waiting);
    case.until_asleep(pid);
}

/// Who waits for two permits, where one is free.
fn heir_of_permits(case: &Case<'_>) {
    let pid = case.play("waiter for permits", |p| {
        let s = p.pool();
        p.register();
        p.stage.set(Flag::Waiting3);
        let held = p.take(&s, 2);
        p.stage.set(Flag::Got3);
        p.give(held);
        p.stage.set(Flag::Joined);
    });
    case.until("the waiter for permits to begin", Flag::Waiting3);
    case.until_asleep(pid);
}

/// Both have got what the thread had, and nobody else is told of anything.
fn all_inherited(case: &Case<'_>) {
    case.wake("the waiter, after the end of the owner's thread", Flag::Got);
    case.wake("the waiter for permits", Flag::Got3);
    case.stage.set(Flag::Give);
    case.until("the waiter to give it up", Flag::Peer);
    case.until("the permits to be given back", Flag::Joined);
    no_bystander(case);
    whole(case);
    case.run_player("newcomer", |p| {
        let s = p.open(SEM);
        let held = p.acquire(&s);
        p.must_be_clean(&held);
        p.release(held);
    });
}

/// A thread that owns and holds, and has forgotten its guards.
pub(crate) const THREAD: Play = Play {
    name: "thread-end",
    about: "end a thread that owns an exclusive semaphore and holds two permits, for which others sleep",
    prepare: |case| {
        make_pool(case);
        make(case);
        bystander(case, 1);
    },
    victim: |p| {
        let (s, pool) = (p.open(SEM), p.pool());
        let (held, permits) = (p.acquire(&s), p.take(&pool, 2));
        p.must_be_clean(&held);
        // It gives up its place in the books before the operation: at which instruction it ends is what is tested.
        p.leaves(0);
        p.leaves_permits(2);
        std::mem::forget((held.guard, permits.permit));
        p.stage.set(Flag::Owning);
        p.until(Flag::Go);
        ends_thread(p);
    },
    ready: |case| {
        case.until("the victim to own", Flag::Owning);
        heir(case);
        heir_of_permits(case);
        case.stage.set(Flag::Go);
    },
    killed: all_inherited,
    paused: |case| {
        case.others_reach("the waiter to acquire", Flag::Got);
        reach_or_are_nudged(case, "the waiter for permits to acquire", Flag::Got3);
    },
    resumed: |case| {
        case.until("the victim's thread to have ended", Flag::Left);
        all_inherited(case);
        if case.stage.get(Value::Told) == 0 {
            case.violation("the owner's thread has ended and its process lives, and the successor was told something else");
        }
        if case.victim_holds(SEM) || case.victim_holds(POOL) {
            case.violation("a thread that has ended still holds something");
        }
    },
    ..PLAY
};

/// A thread that shares a claim, which is not its own.
pub(crate) const THREAD_SHARED: Play = Play {
    name: "thread-end-shared",
    about: "end a thread that shares another process's claim: the process goes on sharing it",
    prepare: |case| {
        make(case);
        sharing_owner(case);
    },
    victim: |p| {
        let s = p.open(SEM);
        let Some(guard) = p.must("join", s.join(p.stage.get(Value::Token))) else {
            return p.violation("there is nothing to share");
        };
        std::mem::forget(guard);
        ends_thread(p);
    },
    killed: |case| told_of_sharer(case, Told::Yes),
    paused: |case| {
        owner_ends(case);
        nobody_gets_it(case);
    },
    resumed: |case| {
        case.until("the victim's thread to have ended", Flag::Left);
        nobody_gets_it(case);
        case.kill(case.victim.get());
        succeeds(case, Told::Yes);
    },
    ..PLAY
};

/// The keeper is another thread, which ends; this one still owns, and releases.
pub(crate) const KEEPER: Play = Play {
    name: "release-keeper-ended",
    about: "release when one's keeper has ended already: until then it is no one else's, though its process counts as dead",
    prepare: make,
    victim: |p| {
        let ns = p.ns();
        let s = p.open(SEM);
        let (registered, ended) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        let held = std::thread::scope(|threads| {
            let keeper = threads.spawn(|| {
                xsem::shm::testing::register_inline(ns).expect("a member slot");
                registered.wait();
                ended.wait();
            });
            registered.wait();
            let held = p.acquire(&s);
            ended.wait();
            // It is gone when this returns, so the kernel has walked its robust list.
            keeper.join().expect("a keeper that ends in peace");
            held
        });
        p.must_be_clean(&held);
        p.leaves(0);
        p.stage.set(Flag::Owning);
        p.until(Flag::Go);
        p.begin();
        let r = held.guard.release();
        p.done();
        p.must("release", r);
        p.stage.set(Flag::Left);
    },
    ready: |case| {
        case.until("the victim to own, and its keeper to end", Flag::Owning);
        case.stage.set(Flag::Go);
    },
    killed: |case| succeeds(case, Told::of_release(case)),
    paused: nobody_takes_over,
    resumed: |case| {
        case.until("the resumed victim to release", Flag::Left);
        passes(case);
        case.kill(case.victim.get());
        passes(case);
    },
    ..PLAY
};

/// While the victim, which still has its memory, stands still: it is refused, or it was released in full.
fn nobody_takes_over(case: &Case<'_>) {
    case.run_player("taker", |p| {
        let s = p.open(SEM);
        match p.owns(s.try_acquire()) {
            Ok(held) => {
                p.must_be_clean(&held);
                p.outcome(false);
                p.release(held);
            }
            Err(e) if e.code() == Code::ExclSemAlreadyOwned => {}
            Err(e) => p.violation(format_args!("101 was due: {e}")),
        }
        let timed: Result<xsem::Guard<'_>, AcquireError<'_>> = s.acquire_timeout(std::time::Duration::from_millis(5));
        match p.owns(timed) {
            Ok(held) => {
                p.must_be_clean(&held);
                p.release(held);
            }
            Err(e) if e.code() == Code::SemTimeout => {}
            Err(e) => p.violation(format_args!("121 was due: {e}")),
        }
    });
}
