//! At rest: what a newcomer finds.

use super::super::account::{POOLS, STEADY};
use super::super::ledger::{Ledger, identity};
use super::super::worker;
use std::sync::atomic::Ordering::SeqCst;
use xsem::{AcquireError, Code, Counting, Exclusive, Namespace};

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
    for v in xsem::shm::testing::audit(&ns) {
        ledger.violation(&format!("audit: {v}"));
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
