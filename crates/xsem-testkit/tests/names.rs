//! Names: long, many, and created by many at once.

mod common;

use common::{Place, create, either, open, refused, remove};
use std::collections::HashSet;
use xsem::{Code, Exclusive, Namespace};
use xsem_testkit::protocol::{Answer, Verb};
use xsem_testkit::watchdog::Watchdog;
use xsem_testkit::worker::Worker;

#[test]
fn names_of_every_length_are_kept_whole() {
    let place = Place::new();
    let mut w = place.worker();
    let names: Vec<String> = (1..=255).map(|n| "n".repeat(n)).chain(["é".repeat(127), "ci/gpu 0".to_owned()]).collect();
    for (i, n) in names.iter().enumerate() {
        assert_eq!(w.handle(0, &create(n)), i);
    }
    for (i, n) in names.iter().enumerate() {
        // Names that only differ at their end are different semaphores.
        let s = Exclusive::open(&place.ns, n).unwrap();
        assert_eq!(s.name(), n);
        let (guard, ..) = w.granted(0, &Verb::Try(i));
        assert_eq!(guard, i);
        assert_eq!(s.try_acquire().unwrap_err().code(), Code::ExclSemAlreadyOwned);
    }
    let listed: HashSet<String> = place.ns.list().unwrap().into_iter().map(|s| s.name).collect();
    assert_eq!(listed, names.into_iter().collect());
    place.audit();
}

#[test]
fn thousands_of_names_come_and_go() {
    let _dog = Watchdog::start("thousands of names");
    let place = Place::new();
    let mut handles = Vec::new();
    for i in 0..5000 {
        handles.push(Exclusive::create(&place.ns, &format!("job/{i}")).unwrap());
    }
    for (i, s) in handles.iter().enumerate() {
        drop(s.acquire().unwrap());
        if i % 2 == 0 {
            place.ns.remove(&format!("job/{i}")).unwrap();
        }
    }
    assert_eq!(place.ns.list().unwrap().len(), 2500);
    for (i, s) in handles.iter().enumerate() {
        let found = Exclusive::open(&place.ns, &format!("job/{i}")).map(drop).map_err(|e| e.code());
        match i % 2 {
            0 => {
                assert_eq!(found, Err(Code::SemNotFound));
                assert_eq!(s.acquire().unwrap_err().code(), Code::InvalidHandle);
            }
            _ => assert_eq!((found, s.acquire().is_ok()), (Ok(()), true)),
        }
    }
    place.audit();
}

#[test]
fn room_ends_with_100_and_comes_back() {
    let place = Place::with(Namespace::builder().max_semaphores(8));
    for round in 0..20 {
        for i in 0..8 {
            Exclusive::create(&place.ns, &format!("r{round}/{i}")).unwrap();
        }
        assert_eq!(Exclusive::create(&place.ns, "more").unwrap_err().code(), Code::TooManySemaphores);
        assert_eq!(Exclusive::open_or_create(&place.ns, "more").unwrap_err().code(), Code::TooManySemaphores);
        for i in 0..8 {
            place.ns.remove(&format!("r{round}/{i}")).unwrap();
        }
    }
    place.audit();
}

#[test]
fn of_many_who_create_one_name_exactly_one_does() {
    let _dog = Watchdog::start("concurrent create");
    let place = Place::new();
    let mut workers: Vec<Worker> = (0..8).map(|_| place.worker()).collect();
    for round in 0..100 {
        let name = format!("n{round}");
        for w in &mut workers {
            w.tell(0, &create(&name));
        }
        let answers: Vec<Answer> = workers.iter_mut().map(|w| w.answer(0)).collect();
        let winners = answers.iter().filter(|a| matches!(a, Answer::Handle(_))).count();
        let losers = answers.iter().filter(|a| **a == refused(183)).count();
        assert_eq!((winners, losers), (1, 7), "{answers:?}");
    }
    assert_eq!(place.ns.list().unwrap().len(), 100);
    place.audit();
}

#[test]
fn of_many_who_remove_one_name_exactly_one_does() {
    let _dog = Watchdog::start("concurrent remove");
    let place = Place::new();
    let mut workers: Vec<Worker> = (0..6).map(|_| place.worker()).collect();
    for _ in 0..100 {
        Exclusive::create(&place.ns, "n").unwrap();
        for w in &mut workers {
            w.tell(0, &remove("n"));
        }
        let answers: Vec<Answer> = workers.iter_mut().map(|w| w.answer(0)).collect();
        let winners = answers.iter().filter(|a| **a == Answer::Done).count();
        let losers = answers.iter().filter(|a| **a == refused(187)).count();
        assert_eq!((winners, losers), (1, 5), "{answers:?}");
    }
    place.audit();
}

#[test]
fn open_or_create_gives_everybody_the_same_object_while_names_come_and_go() {
    let _dog = Watchdog::start("open_or_create against remove");
    let place = Place::new();
    let mut workers: Vec<Worker> = (0..6).map(|_| place.worker()).collect();
    for round in 0..60 {
        for (i, w) in workers.iter_mut().enumerate() {
            w.tell(0, &if i == 0 { remove("n") } else { either("n") });
        }
        let answers: Vec<Answer> = workers.iter_mut().map(|w| w.answer(0)).collect();
        let handles: Vec<(usize, usize)> = answers
            .iter()
            .enumerate()
            .filter_map(|(i, a)| if let Answer::Handle(h) = a { Some((i, *h)) } else { None })
            .collect();
        assert_eq!(handles.len(), 5, "{answers:?}");
        // Whoever got the object that is there now excludes the others who did; older ones are stale.
        let mut owned = 0;
        for (i, h) in handles {
            match workers[i].ask(1, &Verb::Try(h)) {
                Answer::Granted { guard, died: None, .. } => {
                    owned += 1;
                    assert_eq!(workers[i].ask(1, &Verb::Held(guard)), Answer::Is(true));
                }
                other => assert!(other == refused(101) || other == refused(6), "round {round}: {other}"),
            }
        }
        assert!(owned <= 1, "round {round}: {owned} own one semaphore");
        for w in &mut workers {
            // A clean start for the next round: the threads that own are ended, and the mark goes with the name.
            w.ask(1, &Verb::EndThread);
        }
        assert!(matches!(workers[1].ask(0, &either("n")), Answer::Handle(_)));
        assert_eq!(workers[1].ask(0, &remove("n")), Answer::Done);
        assert_eq!(workers[1].ask(0, &open("n")), refused(187));
    }
    place.audit();
}
