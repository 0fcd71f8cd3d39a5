//! Ends that are not `kill -9`, and stops that are no ends: the OOM killer, a core dump, a limit, a freezer, a debugger.

use super::common::{Place, deaths, either, open};
use super::scene::WORKER;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use xsem_testkit::protocol::{Answer, Verb};
use xsem_testkit::sys::{self, Pid};
use xsem_testkit::watchdog::Watchdog;
use xsem_testkit::worker::Worker;

pub fn owner(place: &Place) -> Worker {
    let mut a = place.worker();
    a.handle(0, &either("x"));
    a.granted(0, &Verb::Try(0));
    a
}

pub fn waiter(place: &Place) -> Worker {
    let mut b = place.worker();
    b.handle(0, &open("x"));
    b.tell(0, &Verb::Acquire(0));
    place.until_waiting("x", 1);
    b
}

#[test]
fn other_signals_that_end_a_process_are_deaths() {
    let _dog = Watchdog::start("signals");
    for signal in [libc::SIGABRT, libc::SIGTERM, libc::SIGXCPU, libc::SIGXFSZ, libc::SIGSYS] {
        let place = Place::new();
        let mut a = owner(&place);
        let mut b = waiter(&place);
        // No file shall be left behind.
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a child of this process, a valid limit, and no old one wanted.
        unsafe { libc::prlimit(a.pid() as Pid, libc::RLIMIT_CORE, &none, std::ptr::null_mut()) };
        a.signal(signal);
        let (_, first, _, n) = deaths(b.answer(0));
        assert_eq!((first.0, first.1.as_str(), n), (a.pid(), "ProcessEnded", 1), "{signal}");
        a.gone();
    }
}

/// A control group, which goes with this.
pub struct Group(PathBuf);

impl Group {
    /// Of version 1.
    pub fn new(controller: &str) -> Option<Group> {
        Group::below(&format!("/sys/fs/cgroup/{controller}"))
    }

    /// Of version 2, whether it is there alone or beside version 1.
    pub fn of_version_2() -> Option<Group> {
        let places = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let there = places.into_iter().find(|p| std::path::Path::new(p).join("cgroup.controllers").exists());
        Group::below(there.unwrap_or("/sys/fs/cgroup/unified"))
    }

    fn below(parent: &str) -> Option<Group> {
        // Tests of one process may have one each.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Relaxed);
        let dir = PathBuf::from(format!("{parent}/xsem-test-{}-{n}", std::process::id()));
        match std::fs::create_dir(&dir) {
            Ok(()) => Some(Group(dir)),
            Err(e) => {
                println!("NOT SHOWN: an end or a stop by a control group in `{parent}`: {e}");
                None
            }
        }
    }

    pub fn set(&self, file: &str, value: impl ToString) {
        assert!(self.try_set(file, value), "{file}");
    }

    pub fn try_set(&self, file: &str, value: impl ToString) -> bool {
        std::fs::write(self.0.join(file), value.to_string()).is_ok()
    }

    pub fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.join(file)).unwrap()
    }

    pub fn get(&self, file: &str) -> u64 {
        self.read(file).trim().parse().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        while std::fs::remove_dir(&self.0).is_err_and(|e| e.raw_os_error() == Some(libc::EBUSY)) {
            sys::nap(1000);
        }
    }
}

#[test]
fn who_is_ended_for_want_of_memory_is_dead() {
    let _dog = Watchdog::start("oom");
    let Some(group) = Group::new("memory") else { return };
    group.set("memory.limit_in_bytes", 24 << 20);
    let place = Place::new();
    let mut a = owner(&place);
    let mut b = waiter(&place);
    group.set("cgroup.procs", a.pid());
    // More than it may have, in memory that the reaper takes before the process has ended.
    assert!(a.answer_within(0, Duration::ZERO).is_none());
    a.tell(0, &Verb::Hoard(256));
    let (_, first, _, n) = deaths(b.answer(0));
    assert_eq!((first.0, first.1.as_str(), n), (a.pid(), "ProcessEnded", 1));
    a.gone();
    place.audit();
}

#[test]
fn a_frozen_owner_is_alive() {
    let _dog = Watchdog::start("freezer");
    let Some(group) = Group::new("freezer") else { return };
    let place = Place::new();
    let mut a = owner(&place);
    let mut b = waiter(&place);
    group.set("cgroup.procs", a.pid());
    group.set("freezer.state", "FROZEN");
    while std::fs::read_to_string(group.0.join("freezer.state")).unwrap().trim() != "FROZEN" {
        sys::nap(1000);
    }
    assert!(b.answer_within(0, Duration::from_millis(100)).is_none(), "taken from a frozen owner");
    group.set("freezer.state", "THAWED");
    assert_eq!(a.ask(0, &Verb::Release(0)), Answer::Done);
    assert!(matches!(b.answer(0), Answer::Granted { died: None, .. }));
    a.kill();
}

#[test]
fn who_dumps_core_is_alive_until_that_is_done() {
    let _dog = Watchdog::start("core");
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if pattern.starts_with('|') || pattern.starts_with('/') || pattern.trim().is_empty() {
        println!("NOT SHOWN: an owner that dumps core: dumps go to `{}` here", pattern.trim());
        return;
    }
    let place = Place::new();
    let dir = tempfile::tempdir().unwrap();
    let mut a = Worker::start_in(dir.path(), WORKER, place.ns.url());
    a.handle(0, &either("x"));
    a.granted(0, &Verb::Try(0));
    a.ask(0, &Verb::Hoard(64));
    let mut b = waiter(&place);
    let all = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a child of this process, a valid limit, and no old one wanted.
    unsafe { libc::prlimit(a.pid() as Pid, libc::RLIMIT_CORE, &all, std::ptr::null_mut()) };
    a.signal(libc::SIGABRT);
    let (_, first, _, n) = deaths(b.answer(0));
    assert_eq!((first.0, n), (a.pid(), 1));
    // Whoever is told finds the dump complete: nothing of the process went on after the takeover.
    let core = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap()).next().expect("a dump");
    assert!(core.metadata().unwrap().len() > 64 << 20, "told before the dump was written");
    a.gone();
}
