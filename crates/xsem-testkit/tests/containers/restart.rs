//! A machine that restarted, containers with boot ids of their own, copies of the file.

use super::common::{Place, either, open};
use super::scene::{WORKER, allows, worker, worker_at};
use std::path::{Path, PathBuf};
use xsem_testkit::protocol::{Answer, Till, Verb, What};
use xsem_testkit::watchdog::Watchdog;
use xsem_testkit::worker::{Actor, Worker};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Another boot id, in a file.
fn boot_id(dir: &Path, n: u32) -> PathBuf {
    let file = dir.join(format!("boot-{n}"));
    std::fs::write(&file, format!("{n:08x}-1111-4222-8333-444455556666\n")).unwrap();
    file
}

fn file_of(place: &Place) -> PathBuf {
    place.ns.url().trim_start_matches("shm:").into()
}

/// An owner of `x` that holds two of three permits.
fn owner(place: &Place) -> Worker {
    let mut a = place.worker();
    a.handle(0, &either("x"));
    a.handle(0, &Verb::Either(What::Pool(3), "p".into()));
    a.granted(0, &Verb::Try(0));
    a.granted(0, &Verb::Ask(1, 2, Till::Now, false));
    a
}

/// Several processes open it at once; everything that was claimed is free, once, and the successor is told.
fn all_are_dead(url: &str, options: &[&str]) {
    let mut all: Vec<Worker> = (0..6).map(|_| worker_at(url, options)).collect();
    for w in &mut all {
        w.tell(0, &open("x"));
        w.tell(0, &Verb::OpenCounting("p".into()));
    }
    for w in &mut all {
        assert_eq!((w.answer(0), w.answer(0)), (Answer::Handle(0), Answer::Handle(1)));
        w.tell(0, &Verb::Acquire(0));
    }
    let mut told = 0;
    let mut waiting: Vec<usize> = (0..all.len()).collect();
    while !waiting.is_empty() {
        let short = std::time::Duration::from_millis(20);
        let Some((i, answer)) = waiting.iter().find_map(|i| Some((*i, all[*i].answer_within(0, short)?))) else { continue };
        let Answer::Granted { guard, died, .. } = answer else { panic!("{answer}") };
        if let Some(died) = died {
            let (first, _, n) = died.expect("details");
            assert_eq!((first.1.as_str(), n), ("MachineRestarted", 1));
            all[i].done(Verb::MarkConsistent(guard));
            told += 1;
        }
        all[i].done(Verb::Release(guard));
        waiting.retain(|w| *w != i);
    }
    assert_eq!(told, 1);
    all[0].granted(0, &Verb::Ask(1, 3, Till::Ever, false));
    let ns = xsem::Namespace::open(url).unwrap();
    assert_eq!(xsem::shm::testing::audit(&ns), Vec::<String>::new());
}

fn copy(from: &Path, to: &Path) {
    xsem_testkit::sparse::copy(from, to).unwrap();
}

#[test]
fn in_a_copy_everybody_is_dead_and_the_original_goes_on() {
    let _dog = Watchdog::start("copy");
    let place = Place::new();
    let mut a = owner(&place);
    let mut w = place.worker();
    w.handle(0, &open("x"));
    w.tell(0, &Verb::Acquire(0));
    place.until_waiting("x", 1);
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let disk = tempfile::tempdir().unwrap();
    let beside = file_of(&place).with_file_name("copy");
    for to in [elsewhere.path().join("ns"), disk.path().join("ns"), beside] {
        copy(&file_of(&place), &to);
        all_are_dead(&format!("shm:{}", to.display()), &[]);
    }
    // With the gate's file, too.
    let with_gate = tempfile::tempdir_in("/dev/shm").unwrap();
    let from = file_of(&place).parent().unwrap().to_owned();
    for file in std::fs::read_dir(from).unwrap().map(|e| e.unwrap().file_name()) {
        copy(&file_of(&place).with_file_name(&file), &with_gate.path().join(&file));
    }
    all_are_dead(&format!("shm:{}/ns", with_gate.path().display()), &[]);
    // The original has noticed nothing.
    a.refused(Verb::Ask(1, 2, Till::Now, false), 121);
    a.done(Verb::Release(0));
    assert!(matches!(w.answer(0), Answer::Granted { died: None, .. }));
    place.audit();
}

#[test]
fn after_a_restart_everybody_is_dead() {
    let _dog = Watchdog::start("restart");
    let place = Place::new();
    let mut a = owner(&place);
    // As a file system on a disk keeps it when the machine stops: what was there then, and no process.
    let disk = tempfile::tempdir().unwrap();
    let file = disk.path().join("ns");
    copy(&file_of(&place), &file);
    a.kill();
    let boot = boot_id(disk.path(), 1);
    let bind = ["--bind", boot.to_str().unwrap(), BOOT_ID];
    if allows(&bind, "a restart of the machine") {
        all_are_dead(&format!("shm:{}", file.display()), &bind);
    }
}

#[test]
fn a_container_with_a_boot_id_of_its_own_is_no_restart() {
    let _dog = Watchdog::start("boot ids");
    let place = Place::new();
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (boot_id(dir.path(), 1), boot_id(dir.path(), 2));
    let (one, two) = (["--bind", one.to_str().unwrap(), BOOT_ID], ["--bind", two.to_str().unwrap(), BOOT_ID]);
    if !allows(&one, "containers with boot ids of their own") {
        return;
    }
    // Somebody lives, in whatever container: nobody is declared dead.
    let mut a = worker(&place, &one);
    a.handle(0, &either("x"));
    a.granted(0, &Verb::Try(0));
    let mut b = worker(&place, &two);
    assert_eq!(b.ask(0, &open("x")), Answer::Handle(0));
    b.refused(Verb::Try(0), 101);
    b.tell(0, &Verb::Acquire(0));
    place.until_waiting("x", 1);
    xsem_testkit::sys::kill(super::scene::inner(&a), libc::SIGKILL);
    let Answer::Granted { died: Some(_), guard, .. } = b.answer(0) else { panic!() };
    b.done(Verb::Release(guard));
    place.audit();
}

#[test]
fn who_has_put_a_copy_in_the_place_of_the_file_gets_no_second_owner() {
    let _dog = Watchdog::start("in place");
    for was_in_use in [false, true] {
        let place = Place::new();
        let file = file_of(&place);
        let backup = file.with_file_name("backup");
        let mut a = owner(&place);
        if !was_in_use {
            a.kill();
        }
        copy(&file, &backup);
        if !was_in_use {
            a = owner_again(&place);
        }
        // The gate is the same, so its locks are those of the old file's members.
        std::fs::rename(&backup, &file).unwrap();
        if was_in_use {
            // They may be members of this one as well: nobody can tell.
            let done = super::scene::output(&[], &[WORKER, place.ns.url()]);
            let said = String::from_utf8_lossy(&done.stderr);
            assert!(!done.status.success() && said.contains("1392"), "{said}");
        } else {
            let mut b = Worker::start(WORKER, place.ns.url());
            assert_eq!(b.ask(0, &open("x")), Answer::Handle(0));
            let (guard, _, died) = b.granted(0, &Verb::Acquire(0));
            assert!(died, "the one of before the copy");
            b.done(Verb::Release(guard));
        }
        // Who has the old one gives back, and soon begins nothing new there.
        a.done(Verb::Release(0));
        loop {
            match a.ask(0, &Verb::Try(0)) {
                Answer::Refused(6) => break,
                // It has not been noticed yet: that takes up to a second.
                Answer::Granted { guard, .. } => a.done(Verb::Release(guard)),
                other => panic!("{other}"),
            }
        }
    }
}

/// The next owner of what a dead one has left.
fn owner_again(place: &Place) -> Worker {
    let mut a = place.worker();
    a.handle(0, &open("x"));
    assert!(a.granted(0, &Verb::Acquire(0)).2);
    a
}
