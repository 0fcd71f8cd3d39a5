//! The history: what is written down, by whom, when it is on, and that it costs nothing when it is off.
#![cfg(not(loom))]

mod processes;

use std::time::Duration;
use xsem::{AcquireError, Cause, Code, Counting, Event, Exclusive, Happened, Kind, Namespace, Options, Record, Wait};

struct Place {
    _dir: tempfile::TempDir,
    ns: Namespace,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let ns = Namespace::open(&format!("shm:{}/ns", dir.path().display())).unwrap();
    Place { _dir: dir, ns }
}

fn recorded() -> Place {
    let p = place();
    p.ns.keep_history(Some(64)).unwrap();
    p
}

fn of(ns: &Namespace, name: &str) -> Vec<Record> {
    ns.history().unwrap().records.into_iter().filter(|r| r.name == name).collect()
}

fn what(ns: &Namespace, name: &str) -> Vec<Happened> {
    of(ns, name).into_iter().map(|r| r.what).collect()
}

const GOT: Happened = Happened::Acquired { died: false };

#[test]
fn off_is_silent_and_on_begins_at_once() {
    let p = place();
    let s = Exclusive::open_or_create(&p.ns, "a").unwrap();
    drop(s.acquire().unwrap());
    assert!(p.ns.history().unwrap().recording.is_none() && p.ns.history().unwrap().records.is_empty());
    p.ns.keep_history(Some(64)).unwrap();
    let label = s.acquire().unwrap();
    let token = label.token();
    drop(label);
    p.ns.keep_history(None).unwrap();
    drop(s.acquire().unwrap());
    let h = p.ns.history().unwrap();
    assert_eq!(h.recording, None);
    let all: Vec<_> = h.records.iter().map(|r| r.what.clone()).collect();
    assert_eq!(all, [Happened::Began, GOT, Happened::Released, Happened::Stopped]);
    let got = &h.records[1];
    assert_eq!((got.process.pid, got.token, &*got.name), (std::process::id(), token, "a"));
    assert!(!got.process.command.is_empty() && got.took.is_none());
    assert!(h.records[2].took.is_some());
}

#[test]
fn each_kind_of_thing_that_happens() {
    let p = recorded();
    let ns = &p.ns;
    let e = Event::create_auto(ns, "e", Options::new()).unwrap();
    assert!(e.signal().unwrap() && !e.signal().unwrap());
    e.wait().unwrap();
    e.signal().unwrap();
    assert!(e.reset().unwrap());
    assert_eq!(what(ns, "e"), [Happened::Created(Kind::Event), Happened::Signalled, GOT, Happened::Signalled, Happened::Reset]);

    let c = Counting::create_credit(ns, "c", 9, 0, Options::new()).unwrap();
    c.add_permits(5).unwrap();
    let permit = c.acquire_many(3).unwrap();
    permit.forget().unwrap();
    drop(c.acquire_many(2).unwrap());
    c.resize(7).unwrap();
    let found: Vec<_> = of(ns, "c").into_iter().map(|r| (r.what, r.permits)).collect();
    assert_eq!(
        found,
        [
            (Happened::Created(Kind::Counting), 1),
            (Happened::Added, 5),
            (GOT, 3),
            (Happened::UsedUp, 3),
            (GOT, 2),
            (Happened::Released, 2),
            (Happened::Resized, 7)
        ]
    );

    let s = Exclusive::create(ns, "s").unwrap();
    let g = s.acquire().unwrap();
    std::thread::scope(|t| {
        t.spawn(|| {
            assert_eq!(s.acquire_timeout(Duration::from_millis(5)).unwrap_err().code(), Code::SemTimeout);
            assert!(s.try_acquire().is_err());
        });
    });
    let died = of(ns, "s");
    assert_eq!(died.last().unwrap().what, Happened::Refused(Code::SemTimeout));
    g.abandon().unwrap();
    match s.acquire() {
        Err(AcquireError::OwnerDied(r)) => drop(r.mark_consistent().unwrap()),
        other => panic!("{other:?}"),
    }
    ns.drain("s", Wait::forever()).unwrap();
    assert!(s.try_acquire().is_err());
    ns.reopen("s").unwrap();
    let release = s.acquire().unwrap().into_signal_release().map_err(|(_, e)| e).unwrap();
    assert!(release.spend());
    drop(release);
    ns.remove("s").unwrap();
    assert_eq!(
        what(ns, "s")[2..],
        [
            Happened::Refused(Code::SemTimeout),
            Happened::Died(Cause::Abandoned),
            Happened::Acquired { died: true },
            Happened::Consistent,
            Happened::Released,
            Happened::Draining,
            Happened::Drained,
            Happened::Refused(Code::SemIsSet),
            Happened::Reopened,
            GOT,
            Happened::Released,
            Happened::Removed
        ]
    );
}

#[test]
fn several_at_once_and_evictions() {
    let p = recorded();
    let (a, b) = (Exclusive::create(&p.ns, "a").unwrap(), Counting::create_pool(&p.ns, "b", 4, Options::new()).unwrap());
    let all = p.ns.acquire_all(&[xsem::Pick::from(&a), xsem::Pick::permits(&b, 2)], Wait::forever()).unwrap();
    let token = p.ns.inspect("a").unwrap().holders[0].token;
    p.ns.evict("a", token).unwrap();
    drop(all);
    assert_eq!(what(&p.ns, "a")[1..], [GOT, Happened::Died(Cause::Evicted)]);
    assert_eq!(what(&p.ns, "b")[1..], [GOT, Happened::Released]);
}

#[test]
fn disagreements_are_kept_always_and_by_whoever_opens() {
    let p = place();
    Counting::create_pool(&p.ns, "gpu", 4, Options::new()).unwrap();
    assert_eq!(Exclusive::open(&p.ns, "gpu").unwrap_err().code(), Code::InvalidHandle);
    assert_eq!(Counting::open_or_create_pool(&p.ns, "gpu", 8).unwrap_err().code(), Code::InvalidParameter);
    Event::create_auto(&p.ns, "up", Options::new()).unwrap();
    assert!(Event::open_or_create_manual(&p.ns, "up").is_err());
    let told: Vec<String> = p.ns.incidents().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "asked for an exclusive semaphore, but it is a counting semaphore (6)",
            "asked for a pool of 8, but it is a pool of 4 (87)",
            "asked for a manual event, but it is an auto event (87)"
        ]
    );
    assert_eq!(p.ns.kind("gpu").unwrap(), Kind::Counting);
    // Sixteen are kept.
    for _ in 0..40 {
        let _ = Exclusive::open(&p.ns, "gpu");
    }
    assert_eq!(p.ns.incidents().unwrap().len(), 16);
    assert!(p.ns.check().unwrap().is_sound());
}

/// The short way is open when it is off, and closed while it is on, also in threads that hold something already.
#[test]
fn what_was_taken_before_it_was_on_is_given_back_on_the_record() {
    let p = place();
    let s = Exclusive::create(&p.ns, "a").unwrap();
    let g = s.acquire().unwrap();
    let c = Counting::create_pool(&p.ns, "c", 4, Options::new()).unwrap();
    let permit = c.acquire().unwrap();
    p.ns.keep_history(Some(1)).unwrap();
    p.ns.keep_history(Some(16)).unwrap();
    drop(g);
    drop(permit);
    assert_eq!(what(&p.ns, "a"), [Happened::Released]);
    assert_eq!(what(&p.ns, "c"), [Happened::Released]);
    assert!(p.ns.keep_history(Some(0)).is_err() && p.ns.keep_history(Some(16_385)).is_err());
}

/// The last ones are kept, and threads that write all at once lose nothing of what fits.
#[test]
fn a_bounded_ring_with_many_writers() {
    let p = place();
    p.ns.keep_history(Some(2000)).unwrap();
    let names = ["a", "b", "c", "d"];
    std::thread::scope(|t| {
        for name in names {
            let ns = &p.ns;
            t.spawn(move || {
                let s = Exclusive::create(ns, name).unwrap();
                (0..200).for_each(|_| drop(s.acquire().unwrap()));
            });
        }
    });
    for name in names {
        let found = of(&p.ns, name);
        assert_eq!(found.len(), 401);
        let tokens: Vec<u64> = found[1..].iter().map(|r| r.token).collect();
        let wanted: Vec<u64> = (1..=200).flat_map(|t| [t, t]).collect();
        assert_eq!(tokens, wanted);
    }
    p.ns.keep_history(Some(10)).unwrap();
    let s = Exclusive::open(&p.ns, "a").unwrap();
    (0..50).for_each(|_| drop(s.acquire().unwrap()));
    // What lies beyond the new size is not read any more.
    let kept = p.ns.history().unwrap().records;
    assert!(kept.len() == 10 && kept.iter().all(|r| r.name == "a"), "{kept:?}");
    let last = kept.last().unwrap().position;
    assert!(p.ns.history_from(last + 1).unwrap().records.is_empty());
    assert_eq!(p.ns.history_from(last).unwrap().records.len(), 1);
}

/// Another process that runs already notices, and its death is told.
#[test]
fn processes_that_run_already_take_part() {
    let p = place();
    let s = Exclusive::create(&p.ns, "a").unwrap();
    let child = processes::Child::new(|| {
        loop {
            drop(s.acquire().unwrap());
        }
    });
    while s.try_acquire().is_ok() && p.ns.inspect("a").unwrap().counters.acquired < 1000 {}
    p.ns.keep_history(Some(256)).unwrap();
    while !of(&p.ns, "a").iter().any(|r| r.process.pid == child.0 as u32) {}
    let pid = child.0 as u32;
    drop(child);
    match s.acquire() {
        // It was killed while it did not own it.
        Ok(_) => {}
        Err(AcquireError::OwnerDied(r)) => {
            drop(r.mark_consistent().unwrap());
            let last = of(&p.ns, "a").into_iter().rfind(|r| r.process.pid == pid).unwrap();
            assert_eq!(last.what, Happened::Died(Cause::ProcessEnded));
        }
        Err(AcquireError::Failed(e)) => panic!("{e}"),
    }
}
