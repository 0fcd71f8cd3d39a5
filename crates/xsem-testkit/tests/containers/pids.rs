//! Pid namespaces that share a namespace of semaphores; other users, mounts and views of /proc; process ids that are used again.

use super::common::{Place, deaths, either, open};
use super::scene::{WITHIN, allows, inner, number_inside, output, worker};
use std::process::{Child, Command, Stdio};
use xsem::{Exclusive, ProcessState};
use xsem_testkit::protocol::{Answer, Till, Verb, What};
use xsem_testkit::sys::{self, Pid};
use xsem_testkit::watchdog::Watchdog;
use xsem_testkit::worker::{Actor, Worker};

const CONTAINER: [&str; 3] = ["--pid", "--proc", "own"];

/// Kills the worker itself, wherever it is.
fn kill(w: &mut Worker) {
    sys::kill(inner(w), libc::SIGKILL);
    w.gone();
}

/// Everything that two processes have to do with each other, whoever sees whom.
fn scene(place: &Place, a_in: &[&str], b_in: &[&str]) {
    let (mut a, mut b) = (worker(place, a_in), worker(place, b_in));
    for w in [&mut a, &mut b] {
        assert_eq!(w.handle(0, &either("x")), 0);
        assert_eq!(w.handle(0, &Verb::Either(What::Pool(3), "p".into())), 1);
        assert_eq!(w.handle(0, &Verb::Either(What::Auto(false), "e".into())), 2);
        assert_eq!(w.handle(0, &either("y")), 3);
    }
    // An owner, a waiter, a release; a future; an event.
    let (x, ..) = a.granted(0, &Verb::Try(0));
    b.refused(Verb::Try(0), 101);
    b.tell(0, &Verb::Acquire(0));
    place.until_waiting("x", 1);
    a.done(Verb::Release(x));
    let Answer::Granted { guard, died: None, .. } = b.answer(0) else { panic!("{b_in:?}") };
    let future = a.handle(0, &Verb::Start(true, Box::new(Verb::Ask(0, 1, Till::Ever, false))));
    a.tell(0, &Verb::Await(future));
    place.until_waiting("x", 1);
    b.done(Verb::Release(guard));
    let Answer::Granted { guard: x, died: None, .. } = a.answer(0) else { panic!("{a_in:?}") };
    b.tell(0, &Verb::Ask(2, 1, Till::Ever, false));
    place.until_waiting("e", 1);
    assert_eq!(a.ask(0, &Verb::Signal(2)), Answer::Is(true));
    b.answer(0);
    // Two that would wait for each other.
    a.done(Verb::Release(x));
    a.granted(0, &Verb::Try(0));
    let (y, ..) = b.granted(0, &Verb::Try(3));
    a.tell(0, &Verb::Acquire(3));
    place.until_waiting("y", 1);
    b.refused(Verb::Acquire(0), 1131);
    b.done(Verb::Release(y));
    a.answer(0);
    // A death while it owns and holds, and another one waits.
    a.granted(0, &Verb::Ask(1, 2, Till::Now, false));
    b.tell(0, &Verb::Ask(0, 1, Till::Ever, false));
    b.tell(1, &Verb::Ask(1, 3, Till::Ever, false));
    place.until_waiting("x", 1);
    place.until_waiting("p", 1);
    let number = number_inside(inner(&a));
    kill(&mut a);
    let (_, first, _, n) = deaths(b.answer(0));
    assert_eq!((first.0 as Pid, n), (number, 1), "{a_in:?} {b_in:?}");
    assert!(matches!(b.answer(1), Answer::Granted { .. }));
    kill(&mut b);
    place.audit();
}

#[test]
fn two_pid_namespaces_share_a_file_with_the_same_pids_in_both() {
    let _dog = Watchdog::start("two pid namespaces");
    if !allows(&CONTAINER, "owners and waiters in two pid namespaces") {
        return;
    }
    let place = Place::new();
    let (a, b) = (worker(&place, &CONTAINER), worker(&place, &CONTAINER));
    assert_eq!((number_inside(inner(&a)), number_inside(inner(&b))), (1, 1), "the same number in both");
    drop((a, b));
    scene(&Place::new(), &CONTAINER, &CONTAINER);
    // From the machine into a container, and the other way.
    scene(&Place::new(), &[], &CONTAINER);
    scene(&Place::new(), &CONTAINER, &[]);
    scene(&Place::new(), &CONTAINER, &["--spaces"]);
}

#[test]
fn proc_may_be_another_one_or_none_at_all() {
    let _dog = Watchdog::start("/proc");
    let views: [&[&str]; 6] = [
        // The machine's: process 2, which is this one here, is a kernel thread there, which has no memory.
        &["--pid", "--init"],
        &["--proc", "none"],
        &["--proc", "subset"],
        &["--proc", "hidden"],
        &["--pid", "--proc", "none"],
        &["--pid", "--proc", "subset"],
    ];
    for view in views {
        if allows(view, "owners and waiters with that view of /proc") {
            scene(&Place::new(), view, view);
            scene(&Place::new(), &[], view);
        }
    }
}

#[test]
fn users_may_have_other_numbers() {
    let _dog = Watchdog::start("user namespaces");
    for user in [["--user", "0"], ["--user", "1234"]] {
        if allows(&user, "owners and waiters in a user namespace") {
            scene(&Place::new(), &user, &[]);
            scene(&Place::new(), &[], &user);
        }
    }
}

#[test]
fn clocks_may_differ() {
    let _dog = Watchdog::start("time namespaces");
    for time in [["--time", "100000"], ["--time", "-5000"]] {
        if allows(&time, "owners and waiters in a time namespace") {
            scene(&Place::new(), &time, &[]);
            scene(&Place::new(), &[], &time);
        }
    }
}

#[test]
fn a_file_may_have_another_path_there() {
    let _dog = Watchdog::start("bind mounts");
    let (here, there) = (Place::new(), tempfile::tempdir_in("/dev/shm").unwrap());
    let dir = here.ns.url().trim_start_matches("shm:").trim_end_matches("/ns").to_owned();
    let bind = ["--bind", &dir, there.path().to_str().unwrap()];
    if !allows(&bind, "one file under two paths") {
        return;
    }
    let mut a = super::scene::worker_at(&format!("shm:{}/ns", there.path().display()), &bind);
    a.handle(0, &either("x"));
    a.granted(0, &Verb::Try(0));
    let mut b = here.worker();
    b.handle(0, &open("x"));
    b.refused(Verb::Try(0), 101);
    kill(&mut a);
    assert!(b.granted(0, &Verb::Acquire(0)).2);
}

#[test]
fn who_is_in_another_pid_namespace_is_not_taken_for_somebody_here() {
    let _dog = Watchdog::start("who");
    if !allows(&CONTAINER, "the view of an owner in another pid namespace") {
        return;
    }
    let place = Place::new();
    let mut a = worker(&place, &CONTAINER);
    a.handle(0, &either("x"));
    let (_, token, _) = a.granted(0, &Verb::Try(0));
    // Process 1 of this pid namespace lives; it is not meant.
    let holder = place.inspect("x").holders.remove(0);
    assert_eq!((holder.process.pid, holder.process.state), (1, ProcessState::Unseen));
    assert!(holder.to_string().ends_with(", in another container or hidden from here"), "{holder}");
    // The owner is stopped there, and a person decides here.
    sys::kill(inner(&a), libc::SIGSTOP);
    place.ns.evict("x", token).unwrap();
    let s = Exclusive::open(&place.ns, "x").unwrap();
    assert!(matches!(s.acquire(), Err(xsem::AcquireError::OwnerDied(_))));
    sys::kill(inner(&a), libc::SIGCONT);
}

/// A process that only is there, with this number in the namespaces of another one.
struct Somebody {
    outer: Child,
    inner: Pid,
}

impl Somebody {
    fn with(number: Pid, beside: Pid) -> Somebody {
        let words = ["--join".into(), beside.to_string(), "--as".into(), number.to_string()];
        let mut command = Command::new(WITHIN);
        command.args(words).args(["--", "/bin/sleep", "1000"]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut outer = command.spawn().unwrap();
        loop {
            let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", outer.id())).unwrap_or_default();
            if let Some(inner) = children.split_ascii_whitespace().next() {
                let inner = inner.parse().unwrap();
                assert_eq!(number_inside(inner), number);
                return Somebody { outer, inner };
            }
            assert_eq!(outer.try_wait().unwrap(), None, "nobody can have the number {number}");
            sys::nap(500);
        }
    }
}

impl Drop for Somebody {
    fn drop(&mut self) {
        // Its parent waits for it: afterwards the number is free.
        sys::kill(self.inner, libc::SIGKILL);
        let _ = self.outer.wait();
    }
}

#[test]
fn a_dead_owners_pid_and_its_threads_ids_are_other_processes_before_anybody_looks() {
    let _dog = Watchdog::start("reuse");
    let place = Place::new();
    // It keeps the pid namespace, as its process 1.
    let mut c = worker(&place, &CONTAINER);
    if !allows(&CONTAINER, "a process id that is used again") {
        return;
    }
    c.handle(0, &either("x"));
    let beside = inner(&c).to_string();
    let join = ["--join", &beside, "--as", "500"];
    let probe = output(&["--join", &beside, "--as", "700"], &["/bin/true"]);
    if !probe.status.success() {
        println!("NOT SHOWN: a process id that is used again: {}", String::from_utf8_lossy(&probe.stderr));
        return;
    }
    for _ in 0..3 {
        let mut a = worker(&place, &join);
        assert_eq!(number_inside(inner(&a)), 500);
        a.handle(0, &open("x"));
        a.granted(0, &Verb::Try(0));
        let threads: Vec<Pid> = sys::threads(inner(&a)).iter().map(|t| thread_inside(inner(&a), *t)).collect();
        assert!(threads.len() >= 3, "main, the one that acts, the keeper: {threads:?}");
        kill(&mut a);
        let others: Vec<Somebody> = threads.iter().map(|t| Somebody::with(*t, inner(&c))).collect();
        let (guard, _, died) = c.granted(0, &Verb::Acquire(0));
        assert!(died);
        c.done(Verb::MarkConsistent(guard));
        c.done(Verb::Release(guard));
        drop(others);
    }
    place.audit();
}

fn thread_inside(pid: Pid, tid: Pid) -> Pid {
    let status = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("NSpid:")).unwrap();
    line.split_ascii_whitespace().last().unwrap().parse().unwrap()
}

/// A jail: the machine's file system as it is, without /proc and /dev, and the semaphores' directory at a path of its own.
#[test]
fn a_chroot_sees_the_same_file_under_another_path_and_without_proc() {
    let _dog = Watchdog::start("chroot");
    let (here, jail) = (Place::new(), tempfile::tempdir_in("/tmp").unwrap());
    let root = jail.path().to_str().unwrap().to_owned();
    let dir = here.ns.url().trim_start_matches("shm:").trim_end_matches("/ns").to_owned();
    // Below the mounted root; `/mnt` is on every machine, and empty.
    let there = format!("{root}/mnt");
    let jailed = ["--bind", "/", &root, "--bind", &dir, &there, "--root", &root];
    if !allows(&jailed, "owners and waiters in a chroot") {
        return;
    }
    let mut a = super::scene::worker_at("shm:/mnt/ns", &jailed);
    let mut b = here.worker();
    for w in [&mut a, &mut b] {
        w.handle(0, &either("x"));
    }
    a.granted(0, &Verb::Try(0));
    b.refused(Verb::Try(0), 101);
    b.tell(0, &Verb::Acquire(0));
    here.until_waiting("x", 1);
    // (Its program has another path, seen from here: so `kill` would not find it.)
    sys::kill(a.pid() as Pid, libc::SIGKILL);
    a.gone();
    let Answer::Granted { guard, died, .. } = b.answer(0) else { panic!("a death that is not told") };
    assert!(died.is_some());
    b.done(Verb::MarkConsistent(guard));
    // And the other way: who is in the jail waits for who is outside.
    let mut c = super::scene::worker_at("shm:/mnt/ns", &jailed);
    c.handle(0, &open("x"));
    c.tell(0, &Verb::Acquire(0));
    here.until_waiting("x", 1);
    kill(&mut b);
    assert!(matches!(c.answer(0), Answer::Granted { died: Some(_), .. }));
    sys::kill(c.pid() as Pid, libc::SIGKILL);
    c.gone();
    here.audit();
}
