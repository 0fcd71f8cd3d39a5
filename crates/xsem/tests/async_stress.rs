//! Tasks, threads and processes that acquire, wait, give up and are dropped at random, with a count of their own beside.

#[path = "common/executor.rs"]
mod executor;
mod processes;

use processes::{Child, audit, namespace};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::*};
use std::time::{Duration, Instant};
use xsem::{CancelToken, Counting, Event, Exclusive, Namespace, OwnedAcquireError, Pick, Wait};

const SECONDS: u64 = 3;

/// A small generator: the tests need no more than "now this, now that".
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Gives up on a future after a random while, by dropping it; or waits for it.
async fn perhaps<F: Future>(dice: &mut Dice, future: F) -> Option<F::Output> {
    match dice.below(4) {
        0 => tokio::time::timeout(Duration::from_micros(dice.below(1500)), future).await.ok(),
        1 => {
            // Polled once, and then perhaps never again.
            let mut future = Box::pin(future);
            let once = std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx))).await;
            match once {
                std::task::Poll::Ready(done) => Some(done),
                std::task::Poll::Pending => {
                    if dice.below(2) == 0 {
                        tokio::time::sleep(Duration::from_micros(dice.below(3000))).await;
                    }
                    None
                }
            }
        }
        _ => Some(future.await),
    }
}

/// What the tasks share, and what they count beside.
struct Place {
    ns: Namespace,
    sem: Exclusive,
    other: Exclusive,
    pool: Counting,
    /// Not atomic in effect: read, and written some time later.
    inside: AtomicU64,
    inside_other: AtomicBool,
    out: AtomicI64,
    grants: AtomicU64,
    end: Instant,
}

const PERMITS: u32 = 5;

impl Place {
    fn enter(&self) {
        assert_eq!(self.inside.fetch_add(1, SeqCst), 0, "two owners");
        self.grants.fetch_add(1, Relaxed);
    }

    fn leave(&self) {
        self.inside.fetch_sub(1, SeqCst);
    }

    fn take(&self, n: i64) {
        assert!(self.out.fetch_add(n, SeqCst) + n <= PERMITS as i64, "more permits than there are");
        self.grants.fetch_add(1, Relaxed);
    }

    fn give(&self, n: i64) {
        self.out.fetch_sub(n, SeqCst);
    }
}

async fn task(place: Arc<Place>, seed: u64) {
    let mut dice = Dice(seed);
    while Instant::now() < place.end {
        match dice.below(10) {
            0..4 => {
                let wait =
                    if dice.below(3) == 0 { Wait::timeout(Duration::from_micros(dice.below(2000))) } else { Wait::forever() };
                let future = place.sem.acquire_async_with(wait);
                let Some(Ok(guard)) = perhaps(&mut dice, future).await else { continue };
                place.enter();
                if dice.below(3) == 0 {
                    tokio::task::yield_now().await;
                }
                place.leave();
                drop(guard);
            }
            4..8 => {
                let n = 1 + dice.below(PERMITS as u64) as u32;
                let future = place.pool.acquire_async(n);
                let Some(Ok(permit)) = perhaps(&mut dice, future).await else { continue };
                place.take(n as i64);
                if dice.below(3) == 0 {
                    tokio::time::sleep(Duration::from_micros(dice.below(200))).await;
                }
                place.give(n as i64);
                drop(permit);
            }
            8 => {
                let list = [Pick::from(&place.other), Pick::permits(&place.pool, 2), Pick::from(&place.sem)];
                let future = place.ns.acquire_all_async(&list, Wait::timeout(Duration::from_millis(20)));
                let Some(Ok(all)) = perhaps(&mut dice, future).await else { continue };
                place.enter();
                place.take(2);
                assert!(!place.inside_other.swap(true, SeqCst), "two owners of the other");
                place.inside_other.store(false, SeqCst);
                place.give(2);
                place.leave();
                drop(all);
            }
            _ => {
                let list = [Pick::from(&place.other), Pick::permits(&place.pool, 1)];
                let future = place.ns.wait_any_async(&list, Wait::forever());
                let Some(Ok(taken)) = perhaps(&mut dice, future).await else { continue };
                match taken.index {
                    0 => {
                        assert!(!place.inside_other.swap(true, SeqCst), "two owners of the other");
                        place.inside_other.store(false, SeqCst);
                    }
                    _ => {
                        place.take(1);
                        place.give(1);
                    }
                }
                drop(taken);
            }
        }
    }
}

fn thread(place: &Place, seed: u64) {
    let mut dice = Dice(seed);
    while Instant::now() < place.end {
        if dice.below(2) == 0 {
            let Ok(guard) = place.sem.acquire_timeout(Duration::from_millis(50)) else { continue };
            place.enter();
            place.leave();
            drop(guard);
        } else {
            let Ok(permit) = place.pool.acquire_timeout(Duration::from_millis(50)) else { continue };
            place.take(1);
            place.give(1);
            drop(permit);
        }
        if dice.below(8) == 0 {
            std::thread::sleep(Duration::from_micros(dice.below(500)));
        }
    }
}

/// Nobody is stuck, nothing is left, and nothing was had twice.
fn storm(ns: Namespace, tasks: u64, threads: u64) {
    let place = Arc::new(Place {
        sem: Exclusive::open_or_create(&ns, "a").unwrap(),
        other: Exclusive::open_or_create(&ns, "b").unwrap(),
        pool: Counting::open_or_create_pool(&ns, "p", PERMITS).unwrap(),
        inside: AtomicU64::new(0),
        inside_other: AtomicBool::new(false),
        out: AtomicI64::new(0),
        grants: AtomicU64::new(0),
        end: Instant::now() + Duration::from_secs(SECONDS),
        ns,
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let beside: Vec<_> = (0..threads)
        .map(|i| {
            let place = place.clone();
            std::thread::spawn(move || thread(&place, 1000 + i))
        })
        .collect();
    runtime.block_on(async {
        let all: Vec<_> = (0..tasks).map(|i| tokio::spawn(task(place.clone(), i * 77 + 1))).collect();
        for (i, t) in all.into_iter().enumerate() {
            tokio::time::timeout(Duration::from_secs(60), t).await.unwrap_or_else(|_| panic!("task {i} is stuck")).unwrap();
        }
    });
    beside.into_iter().for_each(|t| t.join().unwrap());
    drop(runtime);
    assert!(place.grants.load(Relaxed) > 100, "hardly anything was granted");
    for name in ["a", "b", "p"] {
        let report = place.ns.inspect(name).unwrap();
        assert!(report.holders.is_empty() && report.waiters.is_empty(), "{report:?}");
    }
    assert_eq!(place.pool.capacity().unwrap().free, PERMITS);
}

#[test]
fn a_storm_of_tasks_and_threads() {
    // Without the second look that covers lost wake-ups: here none may be lost.
    xsem::shm::testing::set_recheck(false);
    let (_dir, ns) = namespace();
    storm(ns.clone(), 60, 2);
    audit(&ns);
}

#[test]
fn a_storm_in_the_engine_of_one_process() {
    storm(Namespace::open("memory:").unwrap(), 40, 2);
}

#[test]
fn a_storm_with_other_processes_that_die() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::open_or_create(&ns, "a").unwrap();
    let counter = AtomicU64::new(0);
    let url = ns.url().to_owned();
    let end = Instant::now() + Duration::from_secs(SECONDS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut told, mut had) = (0, 0);
    let killers = std::thread::spawn(move || {
        let mut dice = Dice(7);
        while Instant::now() < end {
            let url = &url;
            let child = Child::new(|| {
                let sem = Exclusive::open(&Namespace::open(url).unwrap(), "a").unwrap();
                loop {
                    match executor::block_on(sem.acquire_async()) {
                        Ok(guard) => drop(guard),
                        Err(OwnedAcquireError::OwnerDied(r)) => drop(r),
                        Err(OwnedAcquireError::Failed(e)) => panic!("{e}"),
                    }
                }
            });
            std::thread::sleep(Duration::from_millis(20 + dice.below(40)));
            child.kill();
        }
    });
    runtime.block_on(async {
        while Instant::now() < end {
            let waits = tokio::time::timeout(Duration::from_secs(30), sem.acquire_async());
            match waits.await.expect("it is stuck") {
                Ok(guard) => {
                    had += 1;
                    counter.fetch_add(1, Relaxed);
                    drop(guard);
                }
                Err(OwnedAcquireError::OwnerDied(r)) => {
                    told += 1;
                    drop(r.mark_consistent().unwrap());
                }
                Err(OwnedAcquireError::Failed(e)) => panic!("{e}"),
            }
            tokio::task::yield_now().await;
        }
    });
    killers.join().unwrap();
    assert!(had > 10, "{had} grants, {told} told");
    audit(&ns);
}

#[test]
fn signals_reach_every_task_and_are_consumed_once() {
    let (_dir, ns) = namespace();
    let (all, one) = (Event::open_or_create_manual(&ns, "all").unwrap(), Event::open_or_create_auto(&ns, "one").unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let consumed = Arc::new(AtomicU64::new(0));
    let stop = CancelToken::new();
    runtime.block_on(async {
        for round in 0..30 {
            let waits: Vec<_> = (0..100)
                .map(|_| {
                    let all = all.clone();
                    tokio::spawn(async move { all.wait_async().await })
                })
                .collect();
            while ns.inspect("all").unwrap().waiters.len() < 100 {
                tokio::task::yield_now().await;
            }
            // Reset at once: all of them began before it.
            assert!(all.signal().unwrap(), "round {round}");
            assert!(all.reset().unwrap());
            for w in waits {
                tokio::time::timeout(Duration::from_secs(30), w).await.expect("a signal was missed").unwrap().unwrap();
            }
        }
        let consumers: Vec<_> = (0..50)
            .map(|i| {
                let (one, consumed, stop) = (one.clone(), consumed.clone(), stop.clone());
                tokio::spawn(async move {
                    let mut dice = Dice(i);
                    loop {
                        match perhaps(&mut dice, one.wait_async_with(Wait::forever().cancel(&stop))).await {
                            Some(Ok(())) => drop(consumed.fetch_add(1, SeqCst)),
                            Some(Err(_)) => return,
                            None => {}
                        }
                    }
                })
            })
            .collect();
        for signalled in 1..=500 {
            assert!(one.signal().unwrap(), "the last one was consumed");
            let end = Instant::now() + Duration::from_secs(30);
            while consumed.load(SeqCst) < signalled {
                assert!(Instant::now() < end, "signal {signalled} was lost");
                tokio::task::yield_now().await;
            }
            assert_eq!(consumed.load(SeqCst), signalled);
        }
        stop.cancel();
        for c in consumers {
            tokio::time::timeout(Duration::from_secs(30), c).await.expect("a cancellation was missed").unwrap();
        }
    });
    assert!(ns.inspect("one").unwrap().waiters.is_empty());
}
