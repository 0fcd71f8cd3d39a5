//! At rest: what a newcomer finds.

use super::super::account::{POOLS, STEADY, STEADY_POOLS};
use super::super::ledger::{Ledger, identity};
use super::super::seats::{self, SHARED};
use super::super::signals::{CREDIT, CREDIT_LIMIT, EVENTS, FIRST_SCRATCH, SCRATCH};
use super::super::worker;
use super::super::worker::scratch::{FLEETING, scratch_name};
use super::super::worker::signals::{CREDIT_NAME, event_name, open_credit, open_event};
use crate::sys;
use std::sync::atomic::Ordering::SeqCst;
use xsem::{AcquireError, Code, Counting, Event, Exclusive, Namespace};

/// Owns as the workers do, so that the witness knows of it, and what the semaphore protects is whole again.
fn pass(ledger: &Ledger, name: usize, guard: xsem::Guard<'_>, told: bool) {
    let me = identity(0);
    ledger.enter(name, me, told, true, guard.token());
    ledger.change(name, me, || {});
    ledger.leave(name, me);
    if let Err(e) = guard.release() {
        ledger.violation(&format!("release {name} at rest: {e}"));
    }
}

/// A newcomer acquires everything, reports and acknowledges what is still to be told, and audits the file.
pub(super) fn check(ledger: &Ledger, url: &str) {
    xsem::shm::testing::set_recheck(false);
    let ns = match Namespace::open(url) {
        Ok(ns) => ns,
        Err(e) => return ledger.violation(&format!("open the namespace at rest: {e}")),
    };
    // What a dead one covered is nobody's before its command has ended.
    if !seats::settle(&ledger.seats) {
        ledger.violation("at rest, a command of some milliseconds still runs after five seconds");
    }
    check_shared(ledger, &ns);
    for name in (0..STEADY).map(worker::name).chain((0..STEADY_POOLS).map(worker::pool_name)).chain((0..EVENTS).map(event_name)) {
        // Whoever drained it may have been killed before it could open it again.
        match ns.reopen(&name).map_err(|e| e.code()) {
            Ok(()) | Err(Code::SemNotFound) => {}
            Err(other) => ledger.violation(&format!("reopen {name} at rest: {other:?}")),
        }
    }
    ledger.hangs.iter().for_each(|h| h.store(0, SeqCst));
    for name in 0..STEADY {
        // Nobody made it, when every worker was killed early.
        let Ok(s) = Exclusive::open(&ns, &worker::name(name)) else { continue };
        match s.try_acquire() {
            Ok(guard) => pass(ledger, name, guard, false),
            Err(AcquireError::Failed(e)) => ledger.violation(&format!("at rest: {e}")),
            Err(AcquireError::OwnerDied(r)) => {
                ledger.report(&worker::entry(name, r.deaths()));
                match r.mark_consistent() {
                    Ok(guard) => pass(ledger, name, guard, true),
                    Err(e) => ledger.violation(&format!("mark {name} consistent at rest: {e}")),
                }
            }
        }
    }
    for k in 0..POOLS {
        check_pool(ledger, &ns, k);
    }
    for e in 0..EVENTS {
        check_event(ledger, &ns, e);
    }
    check_credit(ledger, &ns);
    for k in 0..SCRATCH {
        check_scratch(ledger, &ns, k);
    }
    match ns.inspect(FLEETING).map(|r| r.ephemeral).map_err(|e| e.code()) {
        Err(Code::SemNotFound) => {}
        other => ledger.violation(&format!("at rest, nobody has the ephemeral name open, and there it is: {other:?}")),
    }
    for v in xsem::shm::testing::audit(&ns) {
        ledger.violation(&format!("audit: {v}"));
    }
}

/// Nobody shares it any more, so it is to be had at once.
fn check_shared(ledger: &Ledger, ns: &Namespace) {
    let Ok(s) = Exclusive::open(ns, SHARED) else { return };
    let guard = match s.try_acquire() {
        Ok(guard) => guard,
        Err(AcquireError::OwnerDied(r)) => match r.mark_consistent() {
            Ok(guard) => guard,
            Err(e) => return ledger.violation(&format!("acknowledge what was shared, at rest: {e}")),
        },
        Err(AcquireError::Failed(e)) => return ledger.violation(&format!("at rest, what was shared: {e}")),
    };
    // It has a part of it as anybody has; its place is nobody's.
    let [.., place] = &ledger.seats;
    if let Some((pid, token)) = place.take(&ledger.seats, guard.token()).first() {
        ledger.violation(&format!("at rest {pid} still has a part in the claim {token}"));
    }
    place.leave();
    if let Err(e) = guard.release() {
        ledger.violation(&format!("release what was shared, at rest: {e}"));
    }
}

/// All permits of a pool are there at once, and no more; the slots are as many; and nobody believes to hold any.
fn check_pool(ledger: &Ledger, ns: &Namespace, k: usize) {
    // Nobody made it, when every worker was killed early; or somebody has just removed the last one.
    let Ok(s) = Counting::open(ns, &worker::pool_name(k)) else { return };
    let wrong = |what: &str, e: &dyn std::fmt::Display| ledger.violation(&format!("at rest, pool {k}: {what}: {e}"));
    let limit = match s.capacity() {
        Ok(c) => c.limit,
        Err(e) => return wrong("capacity", &e),
    };
    ledger.must_be_free(k);
    match s.try_acquire_many(limit) {
        Err(e) => wrong("all permits", &e),
        Ok(all) => {
            ledger.enter_permits(k, 0, limit, worker::LIMITS[k]);
            match all.slots() {
                Ok(slots) if slots.len() == limit as usize => ledger.enter_slots(k, 0, &slots),
                Ok(slots) => wrong("slots", &format!("{slots:?} for {limit} permits")),
                Err(e) => wrong("slots", &e),
            }
            match s.try_acquire().map_err(|e| e.code()) {
                Err(Code::SemTimeout) => {}
                other => wrong("one more permit than there are", &format!("{other:?}")),
            }
            ledger.leave_permits(k, 0, limit);
            ledger.must_be_free(k);
            if let Err(e) = all.release() {
                wrong("release", &e);
            }
        }
    }
    match s.capacity() {
        Ok(c) if (c.total, c.free) == (limit, limit) => {}
        other => wrong("with everything given back, capacity is", &format!("{other:?}")),
    }
    match ns.inspect(&worker::pool_name(k)) {
        Ok(r) if r.holders.is_empty() => {
            if let Some(deaths) = ledger.pool_deaths.get(k) {
                deaths.store(r.counters.deaths, SeqCst);
            }
        }
        other => wrong("nobody holds anything", &format!("{other:?}")),
    }
}

/// Signals events that are reset and adds permits to the credit until nobody waits any more. What is signalled it leaves alone:
/// a sleeper that nobody has told of that stays asleep.
pub(super) fn ring(ledger: &Ledger, url: &str) {
    let open = || -> xsem::Result<_> {
        let ns = Namespace::open(url)?;
        let events = (0..EVENTS).map(|e| open_event(&ns, e)).collect::<xsem::Result<Vec<Event>>>()?;
        Ok((events, open_credit(&ns)?))
    };
    let (events, credit) = match open() {
        Ok(opened) => opened,
        Err(e) => return ledger.violation(&format!("open the events at rest: {e}")),
    };
    while ledger.ring.load(SeqCst) != 0 {
        for (e, event) in events.iter().enumerate() {
            match event.signal() {
                Ok(changed) => ledger.signals.did(e, changed.into()),
                Err(why) => ledger.violation(&format!("signal event {e} at rest: {why}")),
            }
        }
        match credit.add_permits(1).map_err(|e| e.code()) {
            Ok(()) => ledger.signals.did(CREDIT, 1),
            Err(Code::TooManyPosts) => {}
            Err(other) => ledger.violation(&format!("add a permit at rest: {other:?}")),
        }
        sys::nap(200);
    }
}

/// The account of an event is even, it stays as it is, and begins anew.
fn check_event(ledger: &Ledger, ns: &Namespace, e: usize) {
    let Ok(event) = Event::open(ns, &event_name(e)) else { return };
    let wrong = |what: &str| ledger.violation(&format!("at rest, event {e}: {what}"));
    let set = match event.state() {
        Ok(s) => s.is_set,
        Err(e) => return wrong(&format!("state: {e}")),
    };
    if let Some(why) = ledger.signals.settle(e, set.into()) {
        wrong(&why);
    }
    match (event.reset(), event.reset(), event.try_wait().map_err(|e| e.code())) {
        (Ok(first), Ok(false), Err(Code::SemTimeout)) if first == set => {}
        other => wrong(&format!("signalled: {set}; two resets and a try give {other:?}")),
    }
    match ns.inspect(&event_name(e)) {
        Ok(r) if r.waiters.is_empty() && r.holders.is_empty() => {}
        other => wrong(&format!("nobody waits any more: {other:?}")),
    }
}

/// The account of the credit is even; it is used up, and begins anew.
fn check_credit(ledger: &Ledger, ns: &Namespace) {
    let Ok(s) = Counting::open(ns, CREDIT_NAME) else { return };
    let wrong = |what: String| ledger.violation(&format!("at rest, the credit: {what}"));
    // Who asks for permits finds what the dead held.
    drop(s.try_acquire_many(CREDIT_LIMIT));
    let total = match s.capacity() {
        Ok(c) if c.free == c.total && c.limit == CREDIT_LIMIT => c.total,
        other => return wrong(format!("nobody holds anything, and capacity is {other:?}")),
    };
    if let Some(why) = ledger.signals.settle(CREDIT, total.into()) {
        wrong(why);
    }
    if total > 0 {
        match s.try_acquire_many(total).and_then(|all| all.forget()) {
            Ok(()) => {}
            Err(e) => wrong(format!("all {total}: {e}")),
        }
    }
    match s.capacity() {
        Ok(c) if c.total == 0 && c.free == 0 => {}
        other => wrong(format!("everything is used up, and capacity is {other:?}")),
    }
}

/// A name exists if it was made once more than it was removed. It is removed, and its account begins anew.
fn check_scratch(ledger: &Ledger, ns: &Namespace, k: usize) {
    let name = scratch_name(k);
    let wrong = |what: String| ledger.violation(&format!("at rest, {name}: {what}"));
    let exists = match ns.inspect(&name).map_err(|e| e.code()) {
        Ok(r) if r.holders.is_empty() && r.waiters.is_empty() => true,
        Err(Code::SemNotFound) => false,
        other => return wrong(format!("nobody uses it, and it is {other:?}")),
    };
    if let Some(why) = ledger.signals.settle(FIRST_SCRATCH + k, exists.into()) {
        wrong(why);
    }
    match ns.remove(&name).map_err(|e| e.code()) {
        Ok(()) if exists => {}
        Err(Code::SemNotFound) if !exists => {}
        other => wrong(format!("it exists: {exists}; and removing it gives {other:?}")),
    }
}
