//! Locks, and processes that are forked while they are held.

use super::*;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// What `f` says in a forked child; a child that hangs is killed after 20 s and says nothing.
fn forked(f: impl FnOnce() -> bool) -> Option<bool> {
    // SAFETY: the child calls `f`, which takes locks of this module and allocates (which glibc allows after a fork), and
    // ends without returning to the test harness.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: plain numbers; SIGALRM has its default action here, which kills.
            unsafe { libc::alarm(20) };
            let code = i32::from(f());
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(code) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: waits for the child that was just forked.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status) == 1)
        }
    }
}

#[test]
fn only_one_at_a_time() {
    let lock: Arc<ForkLock<(u64, u64)>> = Arc::default();
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for i in 0..20_000 {
                    let mut both = lock.lock();
                    assert_eq!(both.0, both.1);
                    both.0 += 1;
                    if i % 1000 == 0 {
                        std::thread::yield_now();
                    }
                    both.1 += 1;
                }
            });
        }
    });
    assert_eq!(*lock.lock(), (80_000, 80_000));
}

#[test]
fn who_sleeps_for_it_is_woken() {
    let lock: Arc<ForkLock<u32>> = Arc::default();
    let held = lock.lock();
    let sleepers: Vec<_> = (0..3)
        .map(|_| {
            let lock = lock.clone();
            std::thread::spawn(move || *lock.lock() += 1)
        })
        .collect();
    while lock.word.load(Relaxed) & STATE != AWAITED {
        std::thread::yield_now();
    }
    drop(held);
    sleepers.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(*lock.lock(), 3);
}

#[test]
fn every_child_has_an_epoch_of_its_own() {
    let mine = epoch();
    assert!(mine != 0 && epoch() == mine);
    let differ = forked(|| {
        let child = epoch();
        child != 0 && child != mine && forked(|| ![0, mine, child].contains(&epoch())) == Some(true)
    });
    assert_eq!((differ, epoch()), (Some(true), mine));
}

#[test]
fn without_a_page_the_process_number_tells() {
    let mine = by_pid();
    assert_eq!(by_pid(), mine);
    assert_eq!(forked(|| by_pid() != mine && by_pid() == by_pid()), Some(true));
    assert_eq!(by_pid(), mine);
}

#[test]
fn a_child_finds_it_free_and_empty() {
    let lock: Arc<ForkLock<Vec<u32>>> = Arc::default();
    lock.lock().push(1);
    // Not held at the fork.
    assert_eq!(forked(|| lock.lock().is_empty() && !lock.lock_or(|| vec![7]).contains(&7)), Some(true));
    let held = lock.lock();
    // Held, by this thread and with others in the line.
    let waiter = lock.clone();
    let waiter = std::thread::spawn(move || waiter.lock().len());
    while lock.word.load(Relaxed) & STATE != AWAITED {
        std::thread::yield_now();
    }
    let child = forked(|| {
        lock.lock().push(2);
        let ok = *lock.lock() == [2];
        // And in the child's child.
        ok && forked(|| lock.lock().is_empty()) == Some(true) && *lock.lock() == [2]
    });
    assert_eq!(child, Some(true));
    assert_eq!(*held, [1]);
    drop(held);
    assert_eq!(waiter.join().unwrap(), 1);
}

#[test]
fn forks_in_the_middle_of_other_threads_hands_never_hang() {
    let lock: Arc<ForkLock<(u64, u64)>> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..3)
        .map(|_| {
            let (lock, stop) = (lock.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Relaxed) {
                    let mut both = lock.lock();
                    both.0 += 1;
                    both.1 += 1;
                }
            })
        })
        .collect();
    for _ in 0..200 {
        assert_eq!(forked(|| *lock.lock() == (0, 0)), Some(true));
    }
    stop.store(true, Relaxed);
    busy.into_iter().for_each(|t| t.join().unwrap());
    let both = lock.lock();
    assert!(both.0 == both.1 && both.0 > 0);
}

#[test]
fn the_content_is_dropped_once_and_only_where_it_was_made() {
    struct Counts(Arc<AtomicUsize>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let lock: ForkLock<Counts> = ForkLock::new();
    drop(lock.lock_or(|| Counts(drops.clone())));
    assert_eq!(
        forked(|| {
            // Made anew, without a drop of what was the parent's.
            drop(lock.lock_or(|| Counts(drops.clone())));
            drops.load(SeqCst) == 0
        }),
        Some(true)
    );
    let mut lock = Some(lock);
    // Dropped in a child that never used it.
    assert_eq!(
        forked(|| {
            drop(lock.take());
            drops.load(SeqCst) == 0
        }),
        Some(true)
    );
    drop(lock.take());
    assert_eq!(drops.load(SeqCst), 1);
    // Never taken: nothing to drop.
    drop(ForkLock::<Counts>::new());
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn a_content_that_cannot_be_made_leaves_the_lock_as_it_was() {
    let lock: ForkLock<u32> = ForkLock::new();
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(lock.lock_or(|| panic!("no content")))));
    assert!(failed.is_err());
    assert_eq!(*lock.lock_or(|| 5), 5);
}
