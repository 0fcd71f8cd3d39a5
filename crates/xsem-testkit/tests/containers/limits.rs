//! Members that are ended by a limit in the middle of something, and control groups of version 2.

use super::common::{Place, either, open};
use super::ends::{Group, owner, waiter};
use std::time::Duration;
use xsem_testkit::protocol::{Answer, Till, Verb};
use xsem_testkit::sys::{self, Pid};
use xsem_testkit::watchdog::Watchdog;
use xsem_testkit::worker::Worker;

const PATIENCE: Duration = Duration::from_millis(20);

/// Whether the process has ended; it may still be our zombie.
fn has_ended(w: &Worker) -> bool {
    matches!(sys::state(w.pid() as Pid, w.pid() as Pid), None | Some('Z' | 'X'))
}

/// Its answer; None: it has ended instead.
fn answer_or_end(w: &mut Worker) -> Option<Answer> {
    loop {
        if let Some(answer) = w.answer_within(0, PATIENCE) {
            return Some(answer);
        }
        if has_ended(w) {
            // What it said before.
            return w.answer_within(0, PATIENCE);
        }
    }
}

/// Somebody else gets the semaphore, with the mark or without, and everything is as it should be.
fn goes_on(place: &Place, what: &str) {
    let mut next = place.worker();
    next.handle(0, &open("x"));
    let got = next.ask(0, &Verb::Acquire(0));
    assert!(matches!(got, Answer::Granted { .. }), "{what}: {got}");
    next.kill();
    place.audit();
}

/// The first request of a process registers it: a thread with a stack, tables, a lock. Its memory ends somewhere in there.
#[test]
fn who_is_ended_for_want_of_memory_while_it_registers_leaves_nothing() {
    let _dog = Watchdog::start("oom while it registers");
    let Some(group) = Group::new("memory") else { return };
    let (mut ended, mut got_through) = (0, 0);
    for pages in [0u64, 1, 2, 4, 6, 8, 12, 16, 24, 32, 64, 256] {
        let place = Place::new();
        drop(xsem::Exclusive::create(&place.ns, "x").unwrap());
        group.set("memory.limit_in_bytes", -1);
        let mut a = place.worker();
        a.handle(0, &open("x"));
        group.set("cgroup.procs", a.pid());
        // What it touches from here on is counted.
        if !group.try_set("memory.limit_in_bytes", group.get("memory.usage_in_bytes") + (pages << 12)) {
            a.kill();
            continue;
        }
        a.tell(0, &Verb::Acquire(0));
        match answer_or_end(&mut a) {
            Some(_) => got_through += 1,
            None => ended += 1,
        }
        a.kill();
        goes_on(&place, "out of memory");
    }
    println!("{ended} were ended, {got_through} got through");
    assert!(ended > 0, "nobody was ended: this shows nothing");
}

/// With a limit on its address space a Rust program aborts where it gets no memory; xsem says 8 where it can.
#[test]
fn who_aborts_at_a_limit_of_its_address_space_is_dead() {
    let _dog = Watchdog::start("address space");
    let (mut aborted, mut answered) = (0, 0);
    for kib in [0u64, 4, 16, 64, 132, 256, 1024, 4096, 16_384] {
        for owns in [false, true] {
            let place = Place::new();
            let mut a = place.worker();
            a.handle(0, &either("x"));
            if owns {
                a.granted(0, &Verb::Try(0));
            }
            let status = std::fs::read_to_string(format!("/proc/{}/statm", a.pid())).unwrap();
            let pages: u64 = status.split(' ').next().unwrap().parse().unwrap();
            let limit = libc::rlimit { rlim_cur: (pages << 12) + (kib << 10), rlim_max: libc::RLIM_INFINITY };
            // SAFETY: a child of this process, a valid limit, and no old one wanted.
            unsafe { libc::prlimit(a.pid() as Pid, libc::RLIMIT_AS, &limit, std::ptr::null_mut()) };
            a.tell(0, &Verb::Any(vec![(0, 1); 64], Till::Now));
            let mut said = answer_or_end(&mut a);
            if said.is_some() {
                // More than there is room for.
                a.tell(0, &Verb::Hoard(64));
                said = answer_or_end(&mut a);
            }
            match said {
                Some(_) => answered += 1,
                None => aborted += 1,
            }
            a.kill();
            goes_on(&place, "address space");
        }
    }
    println!("{aborted} aborted, {answered} answered");
    assert!(aborted > 0, "nobody aborted: this shows nothing");
}

#[test]
fn in_a_group_of_version_2_a_frozen_owner_is_alive_and_who_is_killed_with_its_group_is_dead() {
    let _dog = Watchdog::start("cgroup v2");
    let Some(group) = Group::of_version_2() else { return };
    let place = Place::new();
    let mut a = owner(&place);
    let mut b = waiter(&place);
    group.set("cgroup.procs", a.pid());
    group.set("cgroup.freeze", 1);
    while !group.read("cgroup.events").contains("frozen 1") {
        sys::nap(1000);
    }
    assert!(b.answer_within(0, Duration::from_millis(100)).is_none(), "taken from a frozen owner");
    // Frozen or not, this ends it.
    if !group.try_set("cgroup.kill", 1) {
        println!("NOT SHOWN: a group that is killed: no cgroup.kill before Linux 5.14");
        group.set("cgroup.freeze", 0);
        a.kill();
    }
    let (_, first, _, n) = super::common::deaths(b.answer(0));
    assert_eq!((first.0, n), (a.pid(), 1));
    a.gone();
    place.audit();
}
