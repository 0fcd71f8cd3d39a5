//! Kernels without futex_waitv, and sandboxes that were entered after the first claim.

use super::common::{Place, either, open};
use super::scene::worker;
use std::time::{Duration, Instant};
use xsem_testkit::protocol::{Answer, Till, Verb, What};
use xsem_testkit::watchdog::{Watchdog, slowness};
use xsem_testkit::worker::Worker;

/// What a filter may answer instead of "no such call".
const ANSWERS: [&str; 3] = ["futex_waitv=ENOSYS", "futex_waitv=EPERM", "futex_waitv=EACCES"];

/// What the filters of container managers answer to the calls that the library makes or spares, as their published lists have it. All of these
/// allow futex, robust lists, locks and threads by `clone`; by name and number, what they do not.
const PROFILES: [(&str, &str); 5] = [
    // moby, profiles/seccomp/default.json: EPERM for all that is not listed, ENOSYS for clone3 without CAP_SYS_ADMIN; kcmp wants CAP_SYS_PTRACE.
    ("Docker", "clone3=ENOSYS,kcmp=EPERM"),
    // Before futex_waitv and rseq came into the list.
    ("Docker of 2021", "clone3=ENOSYS,kcmp=EPERM,futex_waitv=EPERM,rseq=EPERM,pidfd_open=EPERM"),
    // containerd's own profile does not let anybody look into another process.
    ("containerd", "clone3=ENOSYS,kcmp=EPERM,process_vm_readv=EPERM"),
    // containers/common (Podman): ENOSYS for what it has never heard of, EPERM for what it forbids.
    ("Podman of 2021", "clone3=ENOSYS,kcmp=EPERM,futex_waitv=ENOSYS,membarrier=EPERM"),
    // `SystemCallFilter=@system-service` with `SystemCallErrorNumber=EPERM`, of a systemd older than these calls.
    ("systemd", "kcmp=EPERM,futex_waitv=EPERM,rseq=EPERM,clone3=ENOSYS,statx=EPERM,process_vm_readv=EPERM"),
];

fn count(w: &mut Worker, thread: u32, place: &Place, rounds: u32) {
    let file = format!("{}.count", place.ns.url().trim_start_matches("shm:"));
    std::fs::write(&file, 0u64.to_le_bytes()).unwrap();
    assert_eq!(w.ask(thread, &Verb::Count(vec![(0, 1)], rounds, file)), Answer::Done);
}

#[test]
fn a_sandbox_that_kills_who_makes_a_process_may_be_entered_after_the_first_claim() {
    let _dog = Watchdog::start("sandbox");
    let place = Place::new();
    // Over all threads; over one of them only; over one that was under a filter from the beginning.
    for (all, before) in [(true, ""), (false, ""), (true, "membarrier=ENOSYS"), (false, "membarrier=ENOSYS")] {
        let mut w = if before.is_empty() { place.worker() } else { worker(&place, &["--filter", before]) };
        w.handle(0, &either("s"));
        let (guard, ..) = w.granted(0, &Verb::Try(0));
        assert_eq!(w.ask(0, &Verb::Release(guard)), Answer::Done);
        assert_eq!(w.ask(0, &Verb::Confine(all, "fork=kill".into())), Answer::Done);
        // More requests than it takes until somebody looks whether they can be had cheaper.
        count(&mut w, 0, &place, 500);
        xsem_testkit::sys::nap(20_000);
        count(&mut w, 0, &place, 500);
        w.kill();
    }
    place.audit();
}

#[test]
fn no_wait_needs_futex_waitv() {
    let _dog = Watchdog::start("no futex_waitv");
    for filter in ANSWERS {
        each_wait_under(filter, filter);
    }
}

#[test]
fn every_wait_goes_on_under_the_filters_of_container_managers() {
    let _dog = Watchdog::start("profiles");
    for (name, filter) in PROFILES {
        each_wait_under(name, filter);
    }
}

/// Each kind of wait, blocking and polled, ends as it should in two processes under a filter.
fn each_wait_under(name: &str, filter: &str) {
    println!("under {name}");
    let place = Place::new();
    let mut a = worker(&place, &["--filter", filter]);
    let mut b = worker(&place, &["--filter", filter]);
    for w in [&mut a, &mut b] {
        assert_eq!(w.handle(0, &either("x")), 0);
        assert_eq!(w.handle(0, &Verb::Either(What::Pool(2), "p".into())), 1);
        assert_eq!(w.handle(0, &Verb::Either(What::Auto(false), "e".into())), 2);
    }
    let holds_all = |a: &mut Worker| [a.granted(0, &Verb::Try(0)).0, a.granted(0, &Verb::Ask(1, 2, Till::Now, false)).0];
    let lists = [
        Verb::Ask(0, 1, Till::Ever, false),
        Verb::Ask(1, 2, Till::Ever, false),
        Verb::Any(vec![(0, 1), (1, 1)], Till::Ever),
        Verb::All(vec![(0, 1), (1, 2)], Till::Ever),
    ];
    for (n, verb) in lists.iter().cycle().take(8).enumerate() {
        let held = holds_all(&mut a);
        // The second half of them waits as futures.
        let verb = if n < 4 { verb.clone() } else { Verb::Await(b.handle(0, &Verb::Start(true, Box::new(verb.clone())))) };
        b.tell(0, &verb);
        until_one_waits(&place);
        held.into_iter().for_each(|g| a.done(Verb::Release(g)));
        released(&mut b, &verb);
    }
    // An event, and a deadline while nothing happens.
    b.tell(0, &Verb::Ask(2, 1, Till::Ever, false));
    place.until_waiting("e", 1);
    assert_eq!(a.ask(0, &Verb::Signal(2)), Answer::Is(true));
    let got = b.answer(0);
    assert!(matches!(got, Answer::Done | Answer::Granted { .. }), "{got}");
    b.refused(Verb::Ask(2, 1, Till::Ms(50), false), 121);
    // A death: of an owner, and of who holds permits.
    holds_all(&mut a);
    b.tell(0, &Verb::All(vec![(0, 1), (1, 2)], Till::Ever));
    b.tell(1, &Verb::Ask(2, 1, Till::Ever, false));
    place.until_waiting("x", 1);
    place.until_waiting("e", 1);
    a.kill();
    let Answer::All { guards, died, .. } = b.answer(0) else { panic!("the death was not told") };
    assert_eq!(died, [0]);
    // A cancel token.
    b.tell(1, &Verb::Cancel);
    assert_eq!(b.answer(1), Answer::Refused(95));
    guards.into_iter().for_each(|g| b.done(Verb::Release(g)));
    place.audit();
}

trait Done {
    fn done(&mut self, verb: Verb);
    fn refused(&mut self, verb: Verb, code: u32);
}

impl Done for Worker {
    fn done(&mut self, verb: Verb) {
        xsem_testkit::worker::Actor::done(self, verb);
    }
    fn refused(&mut self, verb: Verb, code: u32) {
        xsem_testkit::worker::Actor::refused(self, verb, code);
    }
}

fn until_one_waits(place: &Place) {
    while place.inspect("x").waiters.len() + place.inspect("p").waiters.len() == 0 {
        xsem_testkit::sys::nap(100);
    }
}

fn released(b: &mut Worker, verb: &Verb) {
    let guards = match b.answer(0) {
        Answer::Granted { guard, .. } | Answer::Taken { guard, .. } => vec![guard],
        Answer::All { guards, .. } => guards,
        other => panic!("{verb}: {other}"),
    };
    guards.into_iter().for_each(|g| b.done(Verb::Release(g)));
}

#[test]
fn who_waits_without_futex_waitv_sleeps() {
    let _dog = Watchdog::start("sleeps");
    for filter in ANSWERS.into_iter().chain(["futex_waitv=ENOSYS,futex:9=EPERM"]) {
        let place = Place::new();
        let mut a = place.worker();
        a.handle(0, &either("x"));
        a.granted(0, &Verb::Try(0));
        let mut b = worker(&place, &["--filter", filter]);
        b.handle(0, &open("x"));
        b.tell(0, &Verb::Acquire(0));
        place.until_waiting("x", 1);
        let ticks = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", b.pid())).unwrap();
            let fields: Vec<&str> = stat[stat.rfind(')').unwrap()..].split(' ').collect();
            fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()
        };
        let (before, begin) = (ticks(), Instant::now());
        std::thread::sleep(Duration::from_millis(500));
        // A loop that never sleeps has as much as it can get. On a slow machine the looks between the naps have a quarter.
        let (used, of) = (ticks() - before, begin.elapsed().as_millis() / 10);
        let part = if slowness() > 1 { 2 } else { 5 };
        assert!((used as u128) < of / part, "{filter}: {used} of {of} ticks");
    }
}
