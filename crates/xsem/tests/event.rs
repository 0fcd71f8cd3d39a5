//! Events on shared memory: what a signal reaches, over threads and processes.

use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::Duration;
use xsem::{Code, Counting, Event, Exclusive, Held, Kind, Namespace, Options, Pick, Reset, Wait};

fn space() -> (tempfile::TempDir, Namespace) {
    let dir = tempfile::tempdir().unwrap();
    let ns = Namespace::open(&format!("shm:{}/ns", dir.path().display())).unwrap();
    (dir, ns)
}

/// Until so many wait for it.
fn wait_until_waiting(ns: &Namespace, name: &str, n: usize) {
    while ns.inspect(name).unwrap().waiters.len() != n {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_manual_event_stays_signalled_until_it_is_reset() {
    let (_dir, ns) = space();
    let e = Event::open_or_create_manual(&ns, "e").unwrap();
    assert_eq!(e.try_wait().unwrap_err().code(), Code::SemTimeout);
    assert!(e.signal().unwrap() && !e.signal().unwrap(), "the second finds it signalled");
    e.wait().unwrap();
    e.try_wait().unwrap();
    assert!(e.state().unwrap().is_set);
    assert!(e.reset().unwrap() && !e.reset().unwrap());
    assert_eq!(e.wait_timeout(Duration::from_millis(3)).unwrap_err().code(), Code::SemTimeout);
}

#[test]
fn an_auto_event_is_consumed_by_one() {
    let (_dir, ns) = space();
    let e = Event::open_or_create_auto(&ns, "e").unwrap();
    assert!(e.signal().unwrap() && !e.signal().unwrap(), "two signals are one");
    e.wait().unwrap();
    assert_eq!(e.try_wait().unwrap_err().code(), Code::SemTimeout);
    assert!(e.signal().unwrap() && e.reset().unwrap());
    assert_eq!(e.try_wait().unwrap_err().code(), Code::SemTimeout);
}

#[test]
fn an_event_may_begin_signalled() {
    let (_dir, ns) = space();
    for e in [
        Event::create_manual(&ns, "m", Options::new().signalled()).unwrap(),
        Event::create_auto(&ns, "a", Options::new().signalled()).unwrap(),
    ] {
        assert!(!e.signal().unwrap());
        e.try_wait().unwrap();
    }
    assert_eq!(ns.inspect("m").unwrap().signal.unwrap().reset, Reset::Manual);
    assert_eq!(ns.inspect("a").unwrap().signal.unwrap().reset, Reset::Auto);
    assert_eq!(
        ns.list().unwrap().iter().map(|s| (s.kind, s.signal.unwrap().is_set)).collect::<Vec<_>>(),
        [(Kind::Event, false), (Kind::Event, true)]
    );
}

#[test]
fn a_manual_signal_reaches_all_who_wait_also_if_it_is_reset_at_once() {
    let (_dir, ns) = space();
    let e = Event::open_or_create_manual(&ns, "e").unwrap();
    for _ in 0..20 {
        std::thread::scope(|s| {
            for _ in 0..5 {
                s.spawn(|| e.wait().unwrap());
            }
            wait_until_waiting(&ns, "e", 5);
            e.signal().unwrap();
            e.reset().unwrap();
        });
        assert!(!e.state().unwrap().is_set);
    }
}

#[test]
fn an_auto_signal_reaches_exactly_one() {
    let (_dir, ns) = space();
    let e = Event::open_or_create_auto(&ns, "e").unwrap();
    let woken = AtomicU32::new(0);
    std::thread::scope(|s| {
        for _ in 0..6 {
            s.spawn(|| {
                e.wait().unwrap();
                woken.fetch_add(1, SeqCst);
            });
        }
        for n in 1..=6 {
            wait_until_waiting(&ns, "e", 7 - n as usize);
            assert!(e.signal().unwrap());
            while woken.load(SeqCst) < n {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    assert!(!e.state().unwrap().is_set && woken.load(SeqCst) == 6);
}

#[test]
fn every_signal_of_a_ping_pong_arrives() {
    let (_dir, ns) = space();
    let (a, b) = (Event::open_or_create_auto(&ns, "a").unwrap(), Event::open_or_create_auto(&ns, "b").unwrap());
    std::thread::scope(|s| {
        s.spawn(|| {
            for _ in 0..3000 {
                a.wait().unwrap();
                b.signal().unwrap();
            }
        });
        for _ in 0..3000 {
            a.signal().unwrap();
            b.wait().unwrap();
        }
    });
    assert_eq!((ns.inspect("a").unwrap().counters.acquired, ns.inspect("b").unwrap().counters.acquired), (3000, 3000));
}

#[test]
fn lists_take_signals_and_look_at_them() {
    let (_dir, ns) = space();
    let (m, a) = (Event::open_or_create_manual(&ns, "m").unwrap(), Event::open_or_create_auto(&ns, "a").unwrap());
    let (x, c) = (Exclusive::open_or_create(&ns, "x").unwrap(), Counting::open_or_create_pool(&ns, "c", 2).unwrap());
    let e = ns.wait_any(&[(&m).into(), (&a).into()], Wait::not()).unwrap_err();
    assert_eq!((e.code(), xsem::Error::from(e).indices().to_vec()), (Code::SemTimeout, vec![0, 1]));
    a.signal().unwrap();
    let list: [Pick<'_>; 4] = [(&m).into(), (&a).into(), (&x).into(), Pick::permits(&c, 2)];
    let e = xsem::Error::from(ns.acquire_all(&list, Wait::not()).unwrap_err());
    assert_eq!((e.code(), e.indices()), (Code::SemTimeout, &[0][..]), "{e}");
    assert!(a.state().unwrap().is_set, "nothing was consumed");
    m.signal().unwrap();
    let all = ns.acquire_all(&list, Wait::forever()).unwrap();
    assert!(matches!(all.as_slice()[1], Held::Signal(1)));
    assert!(m.state().unwrap().is_set && !a.state().unwrap().is_set);
    assert_eq!(ns.wait_any(&[(&a).into(), (&m).into()], Wait::not()).unwrap().index, 1);
    drop(all);
    // One that waits for all gets them when the last is there.
    m.reset().unwrap();
    std::thread::scope(|s| {
        let t = s.spawn(|| ns.acquire_all(&[(&m).into(), (&a).into()], Wait::forever()).map(drop).unwrap());
        wait_until_waiting(&ns, "m", 1);
        a.signal().unwrap();
        std::thread::sleep(Duration::from_millis(5));
        assert!(a.state().unwrap().is_set, "not taken before all are there");
        m.signal().unwrap();
        t.join().unwrap();
    });
    assert!(!a.state().unwrap().is_set);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let (_dir, ns) = space();
    let e = Event::open_or_create_manual(&ns, "e").unwrap();
    assert_eq!(Event::open_or_create_auto(&ns, "e").unwrap_err().code(), Code::InvalidParameter);
    assert_eq!(Exclusive::open(&ns, "e").unwrap_err().code(), Code::InvalidHandle);
    assert_eq!(Event::open(&ns, "nothing").unwrap_err().code(), Code::SemNotFound);
    assert_eq!(ns.evict("e", 1).unwrap_err().code(), Code::NotOwner);
    std::thread::scope(|s| {
        s.spawn(|| e.wait().unwrap());
        wait_until_waiting(&ns, "e", 1);
        assert_eq!(ns.remove("e").unwrap_err().code(), Code::SemIsSet);
        let (e, why) = e.clone().close().unwrap_err();
        assert_eq!(why.code(), Code::SemIsSet);
        e.signal().unwrap();
    });
    ns.drain("e", Wait::timeout(Duration::from_secs(20))).unwrap();
    assert_eq!(e.try_wait().unwrap_err().code(), Code::SemIsSet);
    ns.reopen("e").unwrap();
    e.try_wait().unwrap();
    ns.remove("e").unwrap();
    for code in [e.signal().map(drop), e.reset().map(drop), e.state().map(drop), e.wait()].map(|r| r.unwrap_err().code()) {
        assert_eq!(code, Code::InvalidHandle);
    }
}

#[test]
fn an_ephemeral_event_goes_with_its_last_user() {
    let (_dir, ns) = space();
    let e = Event::create_auto(&ns, "e", Options::new().ephemeral().signalled()).unwrap();
    assert!(Event::open(&ns, "e").unwrap().state().unwrap().is_set);
    drop(e);
    assert_eq!(Event::open(&ns, "e").unwrap_err().code(), Code::SemNotFound);
}

/// Who puts work somewhere and signals, and who takes the signal and looks there, must meet: also where the signal found the
/// event signalled already and so changed nothing.
#[test]
fn a_signal_that_changes_nothing_still_says_what_was_written_before_it() {
    use std::sync::atomic::AtomicUsize;
    const ROUNDS: usize = 30_000;
    let (_dir, ns) = space();
    for manual in [false, true] {
        let e = match manual {
            true => Event::open_or_create_manual(&ns, "m").unwrap(),
            false => Event::open_or_create_auto(&ns, "a").unwrap(),
        };
        // Each in a cache line of its own.
        #[repr(align(256))]
        struct Line<T>(T);
        let (work, at) = (Line(AtomicU32::new(0)), Line(AtomicUsize::new(0)));
        let (work, at, mut lost) = (&work.0, &at.0, 0);
        let meet = |n: usize| {
            at.fetch_add(1, SeqCst);
            while at.load(SeqCst) < n {
                std::hint::spin_loop();
            }
        };
        std::thread::scope(|s| {
            s.spawn(|| {
                for i in 0..ROUNDS {
                    meet(i * 4 + 2);
                    work.store(i as u32 + 1, Relaxed);
                    e.signal().unwrap();
                    meet(i * 4 + 4);
                }
            });
            for i in 0..ROUNDS {
                e.signal().unwrap();
                meet(i * 4 + 2);
                match manual {
                    true => assert!(e.reset().unwrap()),
                    false => e.try_wait().unwrap(),
                }
                let seen = work.load(Relaxed);
                meet(i * 4 + 4);
                // The work was not seen, and nobody will be told of it.
                lost += (seen != i as u32 + 1 && !e.state().unwrap().is_set) as u32;
            }
        });
        assert_eq!(lost, 0, "of {ROUNDS}, manual: {manual}");
    }
}
