//! Reset: a new namespace in the place of the old one, whoever uses the old one, and whoever is killed at it.

mod processes;

use processes::{Child, gate, namespace, until};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::Duration;
use xsem::{Code, Counting, Event, Exclusive, Namespace, Wait};

fn path(ns: &Namespace) -> &str {
    ns.url().strip_prefix("shm:").unwrap()
}

/// It can be opened and used.
fn works(url: &str) {
    let url = url.to_owned();
    // In a process of its own, which has nothing of it open yet.
    Child::new(move || {
        let ns = Namespace::open(&url).unwrap();
        let sem = Exclusive::open_or_create(&ns, "x").unwrap();
        drop(sem.acquire_timeout(Duration::from_secs(20)).map_err(xsem::Error::from));
        assert!(ns.check().unwrap().is_sound());
    })
    .succeeds();
}

#[test]
fn it_says_what_it_throws_away_and_those_who_use_it_are_told() {
    let (_dir, ns) = namespace();
    Counting::create_pool(&ns, "pool", 4, Default::default()).unwrap();
    Event::create_manual(&ns, "event", Default::default()).unwrap();
    Exclusive::create(&ns, "fast").unwrap();
    let (waits, go_on) = gate();
    let holder = Child::that_stays_until(&waits, || {
        let held = Exclusive::open_or_create(&ns, "held").unwrap();
        let pool = Counting::open(&ns, "pool").unwrap();
        (held.acquire_owned(Wait::forever().label("mine")).unwrap(), pool.acquire_owned(3, Wait::forever()).unwrap())
    });
    let told = |e: &xsem::Error| {
        assert_eq!(e.code(), Code::InvalidHandle, "{e}");
        assert!(e.to_string().contains("was reset by"), "{e}");
    };
    // Who sleeps, for each kind, and who takes the short way again and again.
    let sleepers = [
        Child::new(|| told(&Exclusive::open(&ns, "held").unwrap().acquire().unwrap_err().into())),
        Child::new(|| told(&Counting::open(&ns, "pool").unwrap().acquire_many(2).unwrap_err())),
        Child::new(|| told(&Event::open(&ns, "event").unwrap().wait().unwrap_err())),
    ];
    let looper = Child::new(|| {
        let fast = Exclusive::open(&ns, "fast").unwrap();
        loop {
            match fast.acquire() {
                Ok(guard) => drop(guard),
                Err(e) => return told(&e.into()),
            }
        }
    });
    until(|| ["held", "pool", "event"].iter().all(|n| ns.inspect(n).is_ok_and(|r| r.waiters.len() == 1)));
    let would = Namespace::would_lose(ns.url()).unwrap();
    let names: Vec<(&str, u32)> = would.claims.iter().map(|c| (c.name.as_str(), c.holder.process.pid)).collect();
    assert!(names.contains(&("held", holder.pid())) && names.contains(&("pool", holder.pid())), "{names:?}");
    assert_eq!((would.waiters, would.semaphores, would.unreadable.clone()), (3, 4, None));
    assert!(would.users.iter().any(|p| p.pid == holder.pid()) && !would.is_unused());
    assert_eq!(ns.inspect("held").unwrap().holders.len(), 1, "nothing has changed");

    let lost = Namespace::reset_at(ns.url()).unwrap();
    assert!(lost.claims.len() >= 2 && lost.waiters == 3, "{lost:?}");
    sleepers.into_iter().for_each(Child::succeeds);
    looper.succeeds();
    let fresh = Namespace::open(ns.url()).unwrap();
    assert!(fresh.list().unwrap().is_empty());
    drop(Exclusive::open_or_create(&fresh, "held").unwrap().acquire_timeout(Duration::from_secs(20)).unwrap());
    told(&Exclusive::create(&ns, "new").unwrap_err());
    // What is held in the old one may be given back.
    go_on.open();
    holder.succeeds();
    assert!(fresh.check().unwrap().is_sound());
    let dir = std::path::Path::new(path(&ns)).parent().unwrap();
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 2, "the file and its gate, and nothing else");
}

#[test]
fn what_cannot_be_opened_is_reset_too_and_keeps_its_limits_where_they_can_be_read() {
    for (what, damage) in [("version", &[8u64, 8192 + 8][..]), ("header", &[0, 56, 8192]), ("one copy of the header", &[40])] {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("shm:{}/ns", dir.path().display());
        let url_of_child = url.clone();
        Child::new(move || drop(Namespace::builder().max_semaphores(500).max_members(20).open(&url_of_child).unwrap()))
            .succeeds();
        let file = OpenOptions::new().write(true).open(dir.path().join("ns")).unwrap();
        damage.iter().for_each(|at| file.write_all_at(&[0x77], *at).unwrap());
        let len = file.metadata().unwrap().len();
        let lost = Namespace::reset_at(&url).unwrap();
        assert!(lost.unreadable.is_some() && lost.claims.is_empty(), "{what}: {lost:?}");
        works(&url);
        let now = std::fs::metadata(dir.path().join("ns")).unwrap().len();
        assert_eq!(now == len, what.starts_with("one"), "{what}: the limits of the old one");
    }
    assert_eq!(Namespace::reset_at("memory:").unwrap_err().code(), Code::InvalidFunction);
    assert_eq!(Namespace::reset_at("shm:/no/such/file").unwrap_err().code(), Code::SemNotFound);
}

#[test]
fn a_reset_that_is_killed_and_several_at_once_leave_one_namespace() {
    let (_dir, ns) = namespace();
    let url = ns.url().to_owned();
    for i in 0..12u64 {
        let resets: Vec<Child> = (0..3)
            .map(|_| {
                Child::new(|| {
                    Namespace::reset_at(&url).unwrap();
                })
            })
            .collect();
        std::thread::sleep(Duration::from_micros(i * 400));
        let mut resets = resets.into_iter();
        resets.next().unwrap().kill();
        resets.for_each(Child::succeeds);
        works(&url);
    }
    // What the killed ones have left is taken away by the next.
    Namespace::reset_at(&url).unwrap();
    let dir = std::path::Path::new(path(&ns)).parent().unwrap();
    let names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "the file and its gate, and nothing else: {names:?}");
}
