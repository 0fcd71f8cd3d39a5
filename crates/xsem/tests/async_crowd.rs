//! Many asynchronous waits in few threads: on every kind of runtime, in lists, stopped, forked, drained, never polled again.

#[path = "common/executor.rs"]
mod executor;
mod processes;

use executor::{block_on, poll_once};
use processes::{Child, audit, gate, until};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::task::Poll;
use std::time::{Duration, Instant};
use xsem::{Code, Counting, Event, Exclusive, Namespace, OwnedAcquireError, OwnedAllError, OwnedHeld, Pick, PollFd, Wait};

/// A namespace of the test's own; without the second look once a second that would cover a lost wake-up.
fn namespace() -> (tempfile::TempDir, Namespace) {
    xsem::shm::testing::set_recheck(false);
    processes::namespace()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn reactors() -> usize {
    let is_one = |t: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(t.unwrap().path().join("comm")).is_ok_and(|name| name.trim() == "xsem-reactor")
    };
    std::fs::read_dir("/proc/self/task").unwrap().filter(|t| t.is_ok()).map(is_one).filter(|yes| *yes).count()
}

fn waiters(ns: &Namespace, name: &str) -> usize {
    ns.inspect(name).unwrap().waiters.len()
}

/// Counts without an atomic step: two owners at once would lose some.
async fn count(sem: Exclusive, n: Arc<AtomicU64>, rounds: u64) {
    for _ in 0..rounds {
        let guard = sem.acquire_async().await.unwrap();
        let seen = n.load(Relaxed);
        std::hint::black_box(&guard);
        n.store(seen + 1, Relaxed);
    }
}

#[test]
fn tokio_with_several_threads() {
    let (_dir, ns) = namespace();
    let (sem, n) = (Exclusive::create(&ns, "a").unwrap(), Arc::new(AtomicU64::new(0)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(count(sem.clone(), n.clone(), 200))).collect();
        for t in tasks {
            t.await.unwrap();
        }
    });
    assert_eq!(n.load(Relaxed), 1600);
}

#[test]
fn tokio_with_one_thread_and_select() {
    let (_dir, ns) = namespace();
    let (sem, n) = (Exclusive::create(&ns, "a").unwrap(), Arc::new(AtomicU64::new(0)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(count(sem.clone(), n.clone(), 100))).collect();
        let held = sem.acquire_async().await.unwrap();
        for _ in 0..20 {
            tokio::select! {
                _ = sem.acquire_async() => panic!("it was owned"),
                _ = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
        drop(held);
        for t in tasks {
            t.await.unwrap();
        }
    });
    assert_eq!((n.load(Relaxed), waiters(&ns, "a")), (800, 0));
}

#[test]
fn smol() {
    let (_dir, ns) = namespace();
    let (sem, n) = (Exclusive::create(&ns, "a").unwrap(), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..8).map(|_| smol::spawn(count(sem.clone(), n.clone(), 200))).collect();
    smol::block_on(async {
        for t in tasks {
            t.await;
        }
    });
    assert_eq!(n.load(Relaxed), 1600);
}

#[test]
fn bare_executors_in_several_threads() {
    let (_dir, ns) = namespace();
    let (sem, n) = (Exclusive::create(&ns, "a").unwrap(), Arc::new(AtomicU64::new(0)));
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| block_on(count(sem.clone(), n.clone(), 300)));
        }
    });
    assert_eq!(n.load(Relaxed), 1200);
}

#[test]
fn five_thousand_wait_in_few_threads() {
    const MANY: usize = 5_000;
    let (_dir, ns) = namespace();
    let (sem, pool) = (Exclusive::create(&ns, "a").unwrap(), Counting::open_or_create_pool(&ns, "p", 3).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (held, permits) = (sem.acquire_async().await.unwrap(), pool.acquire_async(3).await.unwrap());
        let before = threads();
        let served = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = (0..MANY)
            .map(|i| {
                let (sem, pool, served) = (sem.clone(), pool.clone(), served.clone());
                tokio::spawn(async move {
                    match i % 2 {
                        0 => drop(sem.acquire_async().await.unwrap()),
                        _ => drop(pool.acquire_async(1 + i as u32 % 3).await.unwrap()),
                    }
                    served.fetch_add(1, Relaxed);
                })
            })
            .collect();
        while waiters(&ns, "a") + waiters(&ns, "p") < MANY {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Other tests of this process have theirs.
        assert!(reactors() >= 1 && reactors() < 20, "{} reactors", reactors());
        assert!(threads() < before + 30, "{} threads for {MANY} waits, {before} before", threads());
        drop((held, permits));
        for t in tasks {
            tokio::time::timeout(Duration::from_secs(60), t).await.expect("one is stuck").unwrap();
        }
        assert_eq!(served.load(Relaxed), MANY as u64);
    });
    assert_eq!((waiters(&ns, "a"), waiters(&ns, "p")), (0, 0));
    audit(&ns);
}

#[test]
fn waits_for_hundreds_of_semaphores() {
    let (_dir, ns) = namespace();
    let sems: Vec<_> = (0..300).map(|i| Exclusive::create(&ns, &format!("s{i}")).unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut held = Vec::new();
        for s in &sems {
            held.push(s.acquire_async().await.unwrap());
        }
        let tasks: Vec<_> =
            sems.iter().cloned().map(|s| tokio::spawn(async move { s.acquire_async().await.map(drop) })).collect();
        until(|| sems.iter().all(|s| waiters(&ns, s.name()) == 1));
        for h in held.into_iter().rev() {
            drop(h);
        }
        for t in tasks {
            tokio::time::timeout(Duration::from_secs(30), t).await.expect("one is stuck").unwrap().unwrap();
        }
    });
}

#[test]
fn one_that_is_never_polled_again_withholds_nothing_for_long() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let held = sem.acquire().unwrap();
    let mut forgotten: Vec<_> = (0..5).map(|_| sem.acquire_async()).collect();
    forgotten.iter_mut().for_each(|f| assert!(matches!(poll_once(f), Poll::Pending)));
    // Until the first of them is entered as the oldest, had it been polled.
    std::thread::sleep(Duration::from_millis(5));
    forgotten.iter_mut().for_each(|f| assert!(matches!(poll_once(f), Poll::Pending)));
    let last = std::thread::spawn({
        let sem = sem.clone();
        move || block_on(sem.acquire_async()).map(drop)
    });
    until(|| waiters(&ns, "a") == 6);
    drop(held);
    last.join().unwrap().unwrap();
    drop(sem.acquire_timeout(Duration::from_secs(20)).unwrap());
    assert_eq!(waiters(&ns, "a"), 5);
    drop(forgotten);
    assert_eq!(waiters(&ns, "a"), 0);
}

#[test]
fn a_holder_in_another_process_dies() {
    let (_dir, ns) = namespace();
    let (sem, pool) = (Exclusive::create(&ns, "a").unwrap(), Counting::open_or_create_pool(&ns, "p", 2).unwrap());
    for _ in 0..5 {
        let child = Child::that_stays(|| {
            std::mem::forget(block_on(sem.acquire_async()).unwrap());
            std::mem::forget(block_on(pool.acquire_async(2)).unwrap());
        });
        let of_sem = std::thread::spawn({
            let sem = sem.clone();
            move || match block_on(sem.acquire_async()) {
                Err(OwnedAcquireError::OwnerDied(r)) => r,
                other => panic!("{other:?}"),
            }
        });
        let of_pool = std::thread::spawn({
            let pool = pool.clone();
            move || block_on(pool.acquire_async(1)).unwrap()
        });
        until(|| waiters(&ns, "a") + waiters(&ns, "p") == 2);
        let pid = child.pid();
        child.kill();
        let recovery = of_sem.join().unwrap();
        assert_eq!(recovery.deaths().unwrap().latest.process.pid, pid);
        drop(recovery.mark_consistent().unwrap());
        drop(of_pool.join().unwrap());
        assert_eq!(pool.capacity().unwrap().free, 2);
    }
    audit(&ns);
}

#[test]
fn a_process_that_is_stopped_holds_up_nobody_who_waits_beside_it() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let held = sem.acquire().unwrap();
    let (ready, tell) = gate();
    let child = Child::new(|| {
        let mut waits = sem.acquire_async();
        assert!(matches!(poll_once(&mut waits), Poll::Pending));
        std::thread::sleep(Duration::from_millis(3));
        assert!(matches!(poll_once(&mut waits), Poll::Pending));
        tell.open();
        drop(block_on(waits));
    });
    ready.wait();
    // SAFETY: a child of this test.
    unsafe { libc::kill(child.pid() as i32, libc::SIGSTOP) };
    let mine = std::thread::spawn({
        let sem = sem.clone();
        move || drop(block_on(sem.acquire_async()).unwrap())
    });
    until(|| waiters(&ns, "a") == 2);
    drop(held);
    mine.join().unwrap();
    // SAFETY: as above.
    unsafe { libc::kill(child.pid() as i32, libc::SIGCONT) };
    child.succeeds();
    audit(&ns);
}

#[test]
fn a_fork_with_pending_futures() {
    let (_dir, ns) = namespace();
    let (sem, event) = (Exclusive::create(&ns, "a").unwrap(), Event::open_or_create_manual(&ns, "e").unwrap());
    let held = sem.acquire().unwrap();
    let (mut waits, mut signalled) = (sem.acquire_async(), event.wait_async());
    assert!(matches!(poll_once(&mut waits), Poll::Pending));
    assert!(matches!(poll_once(&mut signalled), Poll::Pending));
    let (mut both, waits_in_parent) = (Some((waits, signalled)), waiters(&ns, "a"));
    assert_eq!(waits_in_parent, 1);
    let (ready, tell) = gate();
    let child = Child::new(|| {
        let (waits, signalled) = both.take().unwrap();
        drop(signalled); // The parent's record stays.
        let mut waits = Box::pin(waits);
        assert!(matches!(poll_once(&mut waits), Poll::Pending));
        tell.open();
        drop(block_on(waits).unwrap());
    });
    ready.wait();
    assert_eq!(waiters(&ns, "a"), 2, "the parent's and the child's");
    assert_eq!(waiters(&ns, "e"), 1);
    let (waits, signalled) = both.take().unwrap();
    drop(held);
    drop(block_on(waits).unwrap());
    event.signal().unwrap();
    block_on(signalled).unwrap();
    child.succeeds();
    assert_eq!((waiters(&ns, "a"), waiters(&ns, "e")), (0, 0));
    audit(&ns);
}

#[test]
fn lists_take_one_or_all() {
    let (_dir, ns) = namespace();
    let (a, b) = (Exclusive::create(&ns, "a").unwrap(), Exclusive::create(&ns, "b").unwrap());
    let (pool, event) = (Counting::open_or_create_pool(&ns, "p", 2).unwrap(), Event::open_or_create_auto(&ns, "e").unwrap());
    let list = [Pick::from(&a), Pick::permits(&pool, 2), Pick::from(&event)];
    let taken = block_on(ns.wait_any_async(&list, Wait::forever())).unwrap();
    assert_eq!(taken.index, 0);
    let next = block_on(ns.wait_any_async(&list, Wait::forever())).unwrap();
    assert!(next.index == 1 && matches!(&next.held, OwnedHeld::Permit(p) if p.count() == 2));
    let third = std::thread::spawn({
        let any = ns.wait_any_async(&list, Wait::forever());
        move || block_on(any).unwrap().index
    });
    until(|| waiters(&ns, "a") == 1 && waiters(&ns, "p") == 1 && waiters(&ns, "e") == 1);
    event.signal().unwrap();
    assert_eq!(third.join().unwrap(), 2);
    let all = [Pick::from(&b), Pick::from(&a), Pick::permits(&pool, 1)];
    let refused = block_on(ns.acquire_all_async(&all, Wait::timeout(Duration::from_millis(300)))).unwrap_err();
    let OwnedAllError::Failed(e) = refused else { panic!("{refused}") };
    assert_eq!((e.code(), e.indices()), (Code::SemTimeout, &[1, 2][..]));
    drop(b.try_acquire().unwrap());
    let waits = std::thread::spawn({
        let all = ns.acquire_all_async(&all, Wait::forever());
        move || block_on(all).unwrap().as_slice().len()
    });
    until(|| waiters(&ns, "b") == 1);
    drop(taken);
    drop(b.acquire().unwrap());
    drop(next);
    assert_eq!(waits.join().unwrap(), 3);
    for name in ["a", "b", "p", "e"] {
        assert_eq!((waiters(&ns, name), ns.inspect(name).unwrap().holders.len()), (0, 0), "{name}");
    }
    let wrong = block_on(ns.acquire_all_async(&[Pick::from(&a), Pick::from(&a)], Wait::forever())).unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidListFormat);
    let empty = block_on(ns.wait_any_async(&[], Wait::forever())).unwrap_err();
    assert_eq!(empty.code(), Code::InvalidEventCount);
}

#[test]
fn a_list_behind_which_somebody_waits_for_one() {
    let (_dir, ns) = namespace();
    let (a, b) = (Exclusive::create(&ns, "a").unwrap(), Exclusive::create(&ns, "b").unwrap());
    let (of_a, of_b) = (a.acquire().unwrap(), b.acquire().unwrap());
    let mut all = ns.acquire_all_async(&[Pick::from(&a), Pick::from(&b)], Wait::forever());
    assert!(matches!(poll_once(&mut all), Poll::Pending));
    let single = std::thread::spawn({
        let a = a.clone();
        move || drop(block_on(a.acquire_async()).unwrap())
    });
    until(|| waiters(&ns, "a") == 2);
    drop(of_a);
    // The list cannot be had yet: that is no reason to keep `a` from the other for long.
    single.join().unwrap();
    drop(of_b);
    drop(block_on(all).unwrap());
}

#[test]
fn drain_close_and_remove_with_pending_futures() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let held = block_on(sem.acquire_async()).unwrap();
    let mut waits = sem.acquire_async();
    assert!(matches!(poll_once(&mut waits), Poll::Pending));
    assert_eq!(ns.remove("a").unwrap_err().code(), Code::SemIsSet);
    let (sem, e) = sem.close().unwrap_err();
    assert_eq!(e.code(), Code::SemIsSet);
    let drained = ns.drain("a", Wait::timeout(Duration::from_millis(30))).unwrap_err();
    assert_eq!(drained.code(), Code::SemTimeout);
    let drain = std::thread::spawn({
        let ns = ns.clone();
        move || ns.drain("a", Wait::forever())
    });
    until(|| ns.inspect("a").unwrap().drained);
    let refused = block_on(sem.acquire_async()).map(drop).unwrap_err();
    assert_eq!(refused.code(), Code::SemIsSet, "a newcomer");
    drop(held);
    drop(block_on(waits).expect("it was there before the drain"));
    drain.join().unwrap().unwrap();
    ns.reopen("a").unwrap();
    let held = sem.acquire().unwrap();
    let mut waits = sem.acquire_async();
    assert!(matches!(poll_once(&mut waits), Poll::Pending));
    drop(waits);
    drop(held);
    ns.remove("a").unwrap();
    assert_eq!(block_on(sem.acquire_async()).map(drop).unwrap_err().code(), Code::InvalidHandle);
}

#[test]
fn an_evicted_claim_goes_on_to_the_next_who_is_told() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let held = block_on(sem.acquire_async()).unwrap();
    let waits = std::thread::spawn({
        let sem = sem.clone();
        move || match block_on(sem.acquire_async()) {
            Err(OwnedAcquireError::OwnerDied(r)) => drop(r.mark_consistent().unwrap()),
            other => panic!("{other:?}"),
        }
    });
    until(|| waiters(&ns, "a") == 1);
    ns.evict("a", held.token()).unwrap();
    waits.join().unwrap();
    assert!(!held.is_held());
    assert_eq!(held.release().unwrap_err().code(), Code::NotOwner);
    drop(block_on(sem.acquire_async()).unwrap());
    audit(&ns);
}

#[test]
fn a_request_for_many_permits_is_not_overtaken_for_ever() {
    let (_dir, ns) = namespace();
    let pool = Counting::open_or_create_pool(&ns, "p", 4).unwrap();
    let stop = Arc::new(AtomicU64::new(0));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let small: Vec<_> = (0..6)
            .map(|_| {
                let (pool, stop) = (pool.clone(), stop.clone());
                tokio::spawn(async move {
                    while stop.load(Relaxed) == 0 {
                        let one = pool.acquire_async(1).await.unwrap();
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        drop(one);
                    }
                })
            })
            .collect();
        for _ in 0..5 {
            drop(
                tokio::time::timeout(Duration::from_secs(30), pool.acquire_async(4)).await.expect("overtaken for ever").unwrap(),
            );
        }
        stop.store(1, Relaxed);
        for s in small {
            s.await.unwrap();
        }
    });
}

#[test]
fn at_interrupt_time_a_poll_is_refused() {
    let (_dir, ns) = namespace();
    let (sem, pool) = (Exclusive::create(&ns, "a").unwrap(), Counting::open_or_create_pool(&ns, "p", 1).unwrap());
    let event = Event::open_or_create_manual(&ns, "e").unwrap();
    drop(sem.acquire().unwrap());
    let scope = xsem::interrupt::scope();
    let codes = [
        block_on(sem.acquire_async()).map(drop).unwrap_err().code(),
        block_on(pool.acquire_async(1)).map(drop).unwrap_err().code(),
        block_on(event.wait_async()).unwrap_err().code(),
        block_on(ns.wait_any_async(&[Pick::from(&sem)], Wait::forever())).map(drop).unwrap_err().code(),
        block_on(ns.acquire_all_async(&[Pick::from(&sem)], Wait::forever())).map(drop).unwrap_err().code(),
    ];
    drop(scope);
    assert_eq!(codes, [Code::InvalidAtInterruptTime; 5]);
    drop(block_on(sem.acquire_async()).unwrap());
}

fn readable(fd: &impl AsFd, wait: Duration) -> bool {
    use std::os::fd::AsRawFd;
    let mut p = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(&mut p, 1, wait.as_millis() as i32) == 1 }
}

#[test]
fn a_descriptor_says_when_to_poll() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let held = sem.acquire().unwrap();
    let mut pending = PollFd::new(sem.acquire_async()).unwrap();
    assert!(readable(&pending, Duration::ZERO), "from the beginning");
    assert!(pending.poll_now().is_none());
    // What it wants to do about its place in the queue it may ask for; then it is silent.
    let end = Instant::now() + Duration::from_secs(10);
    while readable(&pending, Duration::from_millis(50)) {
        assert!(pending.poll_now().is_none() && Instant::now() < end);
    }
    drop(held);
    let guard = loop {
        assert!(readable(&pending, Duration::from_secs(20)), "it never rang");
        if let Some(done) = pending.poll_now() {
            break done.unwrap();
        }
    };
    assert!(pending.is_over() && pending.poll_now().is_none());
    drop(guard);
    drop(sem.try_acquire().unwrap());
}
