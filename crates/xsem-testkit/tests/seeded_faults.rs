//! The checker finds faults: engines that do something wrong now and then are recorded and checked, and each must be found
//! within so many histories. The same engine without a fault is not suspected.

mod faulty;

use faulty::{Fault, FaultyEngine};
use std::sync::Arc;
use xsem::Namespace;
use xsem_testkit::history::{MIXES, Plan, Verdict, check, record};
use xsem_testkit::rig::MemoryRig;
use xsem_testkit::watchdog::Watchdog;

/// Histories until the first that cannot be explained, of at most `most`.
fn found_after(fault: Fault, mix: &str, most: u64) -> Option<u64> {
    let mix = MIXES.iter().position(|m| m.name == mix).expect("there is such a sort");
    let mut rig = MemoryRig::on(Namespace::from_engine(Arc::new(FaultyEngine::new(fault))));
    (1..=most).find(|&seed| {
        let _dog = Watchdog::start(&format!("{fault:?}, history {seed}"));
        let plan = Plan { mix, seed, actors: 3, ops: 12, death: seed.is_multiple_of(3) };
        match record(&mut rig, &plan) {
            // Nobody came to an end: that is found as well.
            Err(_) => true,
            Ok(history) => matches!(check(&history), Verdict::Impossible(_)),
        }
    })
}

/// Far more than it takes: the numbers printed are mostly below five.
const ENOUGH: u64 = 150;

fn is_found(fault: Fault, mix: &str) {
    let after = found_after(fault, mix, ENOUGH);
    println!("{fault:?}: found after {after:?} histories");
    assert!(after.is_some(), "{fault:?} is not found in {ENOUGH} histories of the sort `{mix}`");
}

macro_rules! found {
    ($($name:ident: $fault:ident in $mix:literal;)*) => {
        $(#[test]
        fn $name() {
            is_found(Fault::$fault, $mix);
        })*
    };
}

found! {
    a_release_that_gives_one_too_many: ReleaseTooMany in "pool";
    a_large_request_that_takes_one_by_one: OneByOne in "pool";
    a_try_that_fails_although_it_is_free: TryFails in "pool";
    an_exclusive_try_that_fails_although_it_is_free: TryFails in "exclusive";
    a_capacity_from_the_past: StaleCapacity in "pool";
    a_wait_any_that_takes_two: AnyTwo in "lists";
    an_exclusive_semaphore_with_two_owners: DoubleGrant in "exclusive";
    an_acquire_all_that_takes_one_after_the_other: AllOneByOne in "lists";
    a_death_that_nobody_is_told_of: SilentDeath in "exclusive";
    a_timeout_that_keeps_a_permit: TimeoutKeeps in "pool";
    a_slot_that_two_have: SameSlot in "pool";
    permits_that_are_forgotten_and_come_back: ForgetReleases in "credit";
    a_cycle_where_there_is_none: FalseCycle in "for ever";
    a_signal_that_is_lost: LostSignal in "events";
    a_signal_that_is_consumed_twice: SignalTwice in "events";
    a_manual_signal_that_a_wait_misses: MissedSignal in "events";
    a_signal_that_is_said_to_be_new: SignalSaidNew in "events";
    an_acquire_all_that_consumes_before_all_are_there: AllConsumesEarly in "events in lists";
}

#[test]
fn an_engine_without_a_fault_is_not_suspected() {
    for mix in MIXES {
        assert_eq!(found_after(Fault::None, mix.name, 20), None, "the sort `{}`", mix.name);
    }
}
