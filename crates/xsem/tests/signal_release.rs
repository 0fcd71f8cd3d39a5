//! Prepared releases: spent once, by anybody in the process; what can be prepared; what happens to those that are not spent.

use std::time::Duration;
use xsem::{Code, Counting, Error, Exclusive, Namespace, Options, SignalRelease, Wait, interrupt};

fn namespace() -> (tempfile::TempDir, Namespace) {
    let dir = tempfile::tempdir().unwrap();
    let ns = Namespace::open(&format!("shm:{}/ns", dir.path().display())).unwrap();
    (dir, ns)
}

fn prepared(sem: &Exclusive) -> SignalRelease {
    sem.acquire().unwrap().into_signal_release().map_err(|(_, e)| e).unwrap()
}

fn is_taken(sem: &Exclusive) -> bool {
    std::thread::scope(|s| s.spawn(|| sem.try_acquire().is_err_and(|e| e.code() == Code::ExclSemAlreadyOwned)).join().unwrap())
}

#[test]
fn one_of_many_spends_it() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "s").unwrap();
    for _ in 0..50 {
        let release = prepared(&sem);
        assert!(is_taken(&sem));
        let spent = std::thread::scope(|s| {
            let all: Vec<_> = (0..4).map(|_| s.spawn(|| release.spend())).collect();
            all.into_iter().map(|t| t.join().unwrap() as u32).sum::<u32>()
        });
        assert_eq!(spent, 1);
        assert!(!is_taken(&sem));
    }
}

#[test]
fn a_waiter_is_woken_by_one_that_is_spent_in_a_declared_scope() {
    let (_dir, ns) = namespace();
    let (sem, pool) = (Exclusive::create(&ns, "s").unwrap(), Counting::create_pool(&ns, "p", 2, Options::default()).unwrap());
    let release = prepared(&sem);
    let permits = pool.acquire_many(2).unwrap().into_signal_release().map_err(|(_, e)| e).unwrap();
    std::thread::scope(|s| {
        let waiters = [s.spawn(|| sem.acquire().is_ok()), s.spawn(|| pool.acquire().is_ok())];
        while ns.inspect("s").unwrap().waiters.is_empty() || ns.inspect("p").unwrap().waiters.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let scope = interrupt::scope();
        assert!(release.spend() && permits.spend());
        drop(scope);
        assert!(waiters.into_iter().all(|w| w.join().unwrap()));
    });
}

#[test]
fn dropped_unspent_it_releases() {
    let (_dir, ns) = namespace();
    let (sem, pool) = (Exclusive::create(&ns, "s").unwrap(), Counting::create_pool(&ns, "p", 2, Options::default()).unwrap());
    drop(prepared(&sem));
    assert!(!is_taken(&sem));
    drop(pool.acquire_owned(2, Wait::not()).unwrap().into_signal_release());
    assert!(pool.try_acquire_many(2).is_ok());
}

#[test]
fn it_does_not_end_with_its_thread() {
    let (_dir, ns) = namespace();
    let (sem, pool) = (Exclusive::create(&ns, "s").unwrap(), Counting::create_pool(&ns, "p", 1, Options::default()).unwrap());
    let (release, permit) = std::thread::scope(|s| {
        s.spawn(|| (prepared(&sem), pool.acquire().unwrap().into_signal_release().unwrap())).join().unwrap()
    });
    assert!(is_taken(&sem));
    assert_eq!(pool.try_acquire().unwrap_err().code(), Code::SemTimeout);
    assert!(release.spend() && permit.spend());
    assert!(!is_taken(&sem) && pool.try_acquire().is_ok());
    // No mark: nobody died.
    assert_eq!(ns.inspect("s").unwrap().counters.deaths, 0);
}

#[test]
fn a_nested_claim_cannot_be_prepared_and_comes_back() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "s").unwrap();
    let outer = sem.acquire().unwrap();
    let inner = sem.acquire().unwrap();
    let (inner, e) = inner.into_signal_release().unwrap_err();
    assert_eq!(e.code(), Code::InvalidFunction);
    assert!(e.to_string().contains("nested"), "{e}");
    drop(inner);
    assert!(is_taken(&sem));
    assert!(outer.into_signal_release().map_err(|(_, e)| e).unwrap().spend());
    assert!(!is_taken(&sem));
}

#[test]
fn its_thread_does_not_nest_in_it() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "s").unwrap();
    let release = prepared(&sem);
    assert_eq!(sem.try_acquire().unwrap_err().code(), Code::ExclSemAlreadyOwned);
    assert_eq!(sem.acquire_timeout(Duration::from_millis(5)).unwrap_err().code(), Code::SemTimeout);
    assert!(release.spend());
    assert!(sem.try_acquire().is_ok());
}

#[test]
fn it_can_be_evicted_like_any_claim() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "s").unwrap();
    let guard = sem.acquire().unwrap();
    let token = guard.token();
    let release = guard.into_signal_release().map_err(|(_, e)| e).unwrap();
    ns.evict("s", token).unwrap();
    // It is somebody else's now, and spending it takes nothing from them.
    let next = std::thread::scope(|s| {
        s.spawn(|| {
            let next = sem.acquire().map_err(|e| e.code()).unwrap_err();
            assert!(!release.spend());
            next
        })
        .join()
        .unwrap()
    });
    assert_eq!(next, Code::SemOwnerDied);

    let pool = Counting::create_pool(&ns, "p", 1, Options::default()).unwrap();
    let permit = pool.acquire().unwrap();
    let token = permit.token();
    let release = permit.into_signal_release().map_err(|(_, e)| e).unwrap();
    ns.evict("p", token).unwrap();
    let again = pool.try_acquire().unwrap();
    assert!(!release.spend());
    assert!(again.is_held());
}

#[test]
fn a_forked_child_has_nothing_to_spend() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "s").unwrap();
    let release = prepared(&sem);
    // SAFETY: the child calls what is allowed in a signal handler, and `_exit`.
    let status = unsafe {
        match libc::fork() {
            0 => libc::_exit(release.spend() as i32),
            child => {
                let mut status = 0;
                assert_eq!(libc::waitpid(child, &mut status, 0), child);
                status
            }
        }
    };
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
    assert!(is_taken(&sem));
    assert!(release.spend());
}

#[test]
fn who_dies_before_spending_it_has_died_as_owner() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "s").unwrap();
    // SAFETY: the child uses the library as any forked child may, and ends by a signal.
    unsafe {
        match libc::fork() {
            0 => {
                let held = Exclusive::open(&ns, "s").and_then(|s| s.acquire_owned(Wait::not()).map_err(Error::from));
                std::mem::forget(held.map(|guard| guard.into_signal_release()));
                libc::kill(libc::getpid(), libc::SIGKILL);
                libc::_exit(1)
            }
            child => {
                let mut status = 0;
                assert_eq!(libc::waitpid(child, &mut status, 0), child);
                assert!(libc::WIFSIGNALED(status));
            }
        }
    }
    let token = {
        let e = sem.acquire().unwrap_err();
        let xsem::AcquireError::OwnerDied(recovery) = e else { panic!("{e}") };
        let deaths = recovery.deaths().unwrap();
        assert_eq!(deaths.latest.token, 1);
        recovery.mark_consistent().unwrap().token()
    };
    assert_eq!(token, 2);
}

#[test]
fn an_engine_with_a_lock_says_that_it_cannot() {
    let ns = Namespace::open("memory:").unwrap();
    let (sem, pool) =
        (Exclusive::create(&ns, "s").unwrap(), Counting::create_credit(&ns, "c", 2, 1, Options::default()).unwrap());
    let (_guard, e) = sem.acquire().unwrap().into_signal_release().unwrap_err();
    assert_eq!(e.code(), Code::InvalidFunction);
    let (_permit, e) = pool.acquire().unwrap().into_signal_release().unwrap_err();
    assert_eq!(e.code(), Code::InvalidFunction);
    let scope = interrupt::scope();
    assert_eq!(pool.add_permits(1).unwrap_err().code(), Code::InvalidAtInterruptTime);
    drop(scope);
    pool.add_permits(1).unwrap();
}
