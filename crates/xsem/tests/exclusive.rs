//! The exclusive semaphore between real processes: what a first user would try.

use std::io::{Read, Write};
use std::time::Duration;
use xsem::{AcquireError, Cause, Code, Error, Exclusive, Namespace, Wait};

fn namespace() -> (tempfile::TempDir, Namespace) {
    let dir = tempfile::tempdir().unwrap();
    let ns = Namespace::open(&format!("shm:{}/ns", dir.path().display())).unwrap();
    (dir, ns)
}

/// A child process that runs `f` and then stays until it is dropped, which kills it.
struct Child(libc::pid_t);

impl Child {
    /// Starts it, and returns when `f` has returned in it.
    fn new(f: impl FnOnce()) -> Child {
        let (mut ready, mut tell) = std::io::pipe().unwrap();
        // SAFETY: the test process forks; the child runs `f` and never returns into the test harness.
        match unsafe { libc::fork() } {
            0 => {
                f();
                tell.write_all(b"!").unwrap();
                loop {
                    std::thread::sleep(Duration::from_secs(60));
                }
            }
            pid => {
                drop(tell);
                ready.read_exact(&mut [0]).expect("the child failed");
                Child(pid)
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: a child of this process that nobody has waited for.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

fn code<T>(r: Result<T, AcquireError<'_>>) -> Code {
    match r {
        Ok(_) => panic!("it was granted"),
        Err(e) => Error::from(e).code(),
    }
}

#[test]
fn nests_for_its_thread_and_excludes_the_others() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let outer = sem.acquire().unwrap();
    let inner = sem.try_acquire().unwrap();
    assert_eq!(outer.token(), inner.token());
    std::thread::scope(|s| {
        let refused = s.spawn(|| code(sem.try_acquire())).join().unwrap();
        assert_eq!(refused, Code::ExclSemAlreadyOwned);
        // Long enough for it to be seen as a waiter on any machine.
        let refused = s.spawn(|| code(sem.acquire_timeout(Duration::from_millis(500)))).join().unwrap();
        assert_eq!(refused, Code::SemTimeout);
        assert!(!ns.list().unwrap()[0].contended, "nobody waits any more");
    });
    assert_eq!(ns.inspect("a").unwrap().holders[0].depth, 2);
    drop(outer);
    assert_eq!(ns.inspect("a").unwrap().holders[0].depth, 1);
    drop(inner);
    let r = ns.inspect("a").unwrap();
    assert!(r.holders.is_empty() && !r.marked);
    assert_eq!((r.counters.acquired, r.counters.contended, r.counters.timed_out), (1, 1, 1));
}

#[test]
fn a_killed_owner_is_told_to_the_next_until_somebody_acknowledges() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let owner = Child::new(|| std::mem::forget(sem.acquire_with(Wait::forever().label("nightly")).unwrap()));
    let (pid, e) = (owner.0 as u32, Error::from(sem.try_acquire().unwrap_err()));
    assert_eq!((e.code(), e.holders()[0].process.pid), (Code::ExclSemAlreadyOwned, pid));
    assert_eq!(e.holders()[0].label.as_deref(), Some("nightly"));
    std::thread::scope(|s| {
        let waiter = s.spawn(|| match sem.acquire() {
            Err(AcquireError::OwnerDied(r)) => {
                let d = r.deaths().unwrap().clone();
                assert_eq!((d.count, d.first.process.pid, d.first.cause), (1, pid, Cause::ProcessEnded));
                assert_eq!(d.first.label.as_deref(), Some("nightly"));
            }
            other => panic!("{other:?}"),
        });
        while ns.inspect("a").unwrap().waiters.is_empty() {
            std::thread::yield_now();
        }
        drop(owner);
        waiter.join().unwrap();
    });
    let r = ns.inspect("a").unwrap();
    assert!(r.marked && r.holders.is_empty() && r.counters.deaths == 1);
    match sem.try_acquire() {
        Err(AcquireError::OwnerDied(r)) => drop(r.mark_consistent().unwrap()),
        other => panic!("{other:?}"),
    }
    drop(sem.try_acquire().unwrap());
    assert!(!ns.inspect("a").unwrap().marked);
}

#[test]
fn abandoning_leaves_the_mark_and_says_why() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    sem.acquire().unwrap().abandon_because(Cause::CommandKilled(15)).unwrap();
    assert_eq!(sem.acquire().map(drop).map_err(|e| e.code()), Err(Code::SemOwnerDied));
    match sem.acquire() {
        Err(AcquireError::OwnerDied(r)) => {
            let d = r.deaths().unwrap();
            assert_eq!((d.count, d.latest.cause), (1, Cause::CommandKilled(15)));
            r.into_guard().abandon().unwrap();
        }
        other => panic!("{other:?}"),
    }
    let d = ns.inspect("a").unwrap().deaths.unwrap();
    assert_eq!((d.count, d.first.cause, d.latest.cause), (2, Cause::CommandKilled(15), Cause::Abandoned));
}

#[test]
fn a_forked_child_owns_nothing_and_its_drops_do_nothing() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let guard = sem.acquire().unwrap();
    let token = guard.token();
    let child = Child::new(|| {
        assert!(!guard.is_held());
        // SAFETY: a bitwise copy of a guard that the child never uses otherwise; dropping it is what is tested.
        drop(unsafe { std::ptr::read(&guard) });
        assert_eq!(code(sem.try_acquire()), Code::ExclSemAlreadyOwned);
    });
    assert!(guard.is_held());
    assert_eq!(ns.inspect("a").unwrap().holders[0].token, token);
    drop(child);
    drop(guard);
    drop(sem.try_acquire().unwrap());
}

#[test]
fn names_are_made_removed_and_made_again() {
    let (_dir, ns) = namespace();
    let first = Exclusive::create(&ns, "a").unwrap();
    assert_eq!(Exclusive::create(&ns, "a").unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(Exclusive::open(&ns, "b").unwrap_err().code(), Code::SemNotFound);
    let guard = first.acquire().unwrap();
    let e = ns.remove("a").unwrap_err();
    assert_eq!((e.code(), e.holders().len()), (Code::SemIsSet, 1));
    drop(guard);
    ns.remove("a").unwrap();
    assert_eq!(ns.remove("a").unwrap_err().code(), Code::SemNotFound);
    let second = Exclusive::create(&ns, "a").unwrap();
    assert_eq!(code(first.acquire()), Code::InvalidHandle);
    drop(second.acquire().unwrap());
}

#[test]
fn many_names() {
    let (_dir, ns) = namespace();
    let all: Vec<_> = (0..5000).map(|i| Exclusive::create(&ns, &format!("job/{i}")).unwrap()).collect();
    assert_eq!(ns.list().unwrap().len(), 5000);
    for i in (0..5000).step_by(2) {
        ns.remove(&format!("job/{i}")).unwrap();
    }
    assert_eq!(ns.list().unwrap().len(), 2500);
    assert_eq!(code(all[0].try_acquire()), Code::InvalidHandle);
    drop(all[1].try_acquire().unwrap());
    assert_eq!(xsem::shm::testing::audit(&ns), Vec::<String>::new());
}

#[test]
fn a_shared_claim_ends_with_the_last() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let guard = sem.acquire().unwrap();
    let token = guard.token();
    let nested = Child::new(|| {
        let shared = sem.join(token).unwrap().expect("the claim is held");
        assert!(shared.is_held());
        std::mem::forget(shared);
    });
    assert_eq!(ns.inspect("a").unwrap().holders[0].shared_with.len(), 1);
    drop(guard);
    // The child is the owner now.
    let r = ns.inspect("a").unwrap();
    assert_eq!((r.holders[0].process.pid, r.holders[0].token), (nested.0 as u32, token));
    assert_eq!(code(sem.try_acquire()), Code::ExclSemAlreadyOwned);
    let pid = nested.0 as u32;
    drop(nested);
    match sem.acquire() {
        Err(AcquireError::OwnerDied(r)) => assert_eq!(r.deaths().unwrap().first.process.pid, pid),
        other => panic!("{other:?}"),
    }
    assert!(sem.join(token).unwrap().is_none());
}

/// Its own name is still written down beside the word from when it owned the claim; it is a guest all the same, and leaves as one.
#[test]
fn a_former_owner_that_shares_its_claim_again_and_inherits_it_leaves_it_for_good() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let guard = sem.acquire().unwrap();
    let token = guard.token();
    let guest = Child::new(|| std::mem::forget(sem.join(token).unwrap().expect("the claim is held")));
    drop(guard);
    let again = sem.join(token).unwrap().expect("the guest goes on with it");
    drop(guest);
    let me = std::process::id();
    while ns.inspect("a").unwrap().holders.first().is_none_or(|h| h.process.pid != me) {
        assert_eq!(code(sem.try_acquire()), Code::ExclSemAlreadyOwned);
        std::thread::yield_now();
    }
    drop(again);
    match sem.acquire() {
        Err(AcquireError::OwnerDied(r)) => drop(r.mark_consistent().unwrap()),
        other => panic!("{other:?}"),
    }
    let owner = Child::new(|| std::mem::forget(sem.acquire().unwrap()));
    let theirs = ns.inspect("a").unwrap().holders[0].token;
    // 103: it would still share the claim that is over.
    assert!(sem.join(theirs).unwrap().is_some());
    drop(owner);
}

#[test]
fn a_shared_claim_that_its_guest_leaves_stays_with_its_owner() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let guard = sem.acquire().unwrap();
    let token = guard.token();
    let _guest = Child::new(|| drop(sem.join(token).unwrap().expect("the claim is held")));
    assert!(guard.is_held() && ns.inspect("a").unwrap().holders[0].shared_with.is_empty());
    drop(guard);
    assert!(ns.inspect("a").unwrap().holders.is_empty());
}

#[test]
fn a_thread_that_ends_as_owner_leaves_the_mark() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    std::thread::scope(|s| {
        s.spawn(|| {
            std::mem::forget(sem.acquire().unwrap());
            std::mem::forget(sem.acquire().unwrap());
        });
    });
    match sem.acquire_timeout(Duration::from_secs(10)) {
        Err(AcquireError::OwnerDied(r)) => assert_eq!(r.deaths().unwrap().first.cause, Cause::ThreadEnded),
        other => panic!("{other:?}"),
    }
}

#[test]
fn joining_ones_own_claim_changes_nothing() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let guard = sem.acquire().unwrap();
    assert!(sem.join(guard.token()).unwrap().is_none());
    assert!(guard.is_held());
    let _other = Child::new(|| assert_eq!(code(sem.try_acquire()), Code::ExclSemAlreadyOwned));
}

#[test]
fn an_owner_and_its_sharers_that_all_die_are_each_told_once() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let owner = Child::new(|| std::mem::forget(sem.acquire().unwrap()));
    let token = ns.inspect("a").unwrap().holders[0].token;
    let sharers = [0, 1].map(|_| Child::new(|| std::mem::forget(sem.join(token).unwrap().expect("the claim is held"))));
    drop((owner, sharers));
    match sem.acquire_timeout(Duration::from_secs(10)) {
        Err(AcquireError::OwnerDied(r)) => assert_eq!(r.deaths().unwrap().count, 3),
        other => panic!("{other:?}"),
    }
    assert_eq!(ns.inspect("a").unwrap().counters.deaths, 3);
}

#[test]
fn an_heir_does_not_inherit_the_nesting() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let owner = Child::new(|| {
        std::mem::forget(sem.acquire().unwrap());
        std::mem::forget(sem.acquire().unwrap());
    });
    let shared = sem.join(ns.inspect("a").unwrap().holders[0].token).unwrap().expect("the claim is held");
    drop(owner);
    std::thread::scope(|s| {
        // The waiter's takeover passes the claim to this process.
        let waiter = s.spawn(|| sem.acquire_timeout(Duration::from_secs(30)).map(drop).map_err(|e| e.code()));
        while !ns.inspect("a").unwrap().marked {
            std::thread::yield_now();
        }
        shared.mark_consistent().unwrap();
        drop(shared);
        assert_eq!(waiter.join().unwrap(), Ok(()), "the mark was cleared before");
    });
    assert!(ns.inspect("a").unwrap().holders.is_empty());
    drop(sem.acquire().unwrap());
    assert!(ns.inspect("a").unwrap().holders.is_empty());
}

#[test]
fn descriptions_at_the_same_time_leave_one_of_them() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let _guard = sem.acquire().unwrap();
    std::thread::scope(|s| {
        for t in 0..3 {
            let ns = &ns;
            s.spawn(move || (0..500).for_each(|_| ns.describe(&format!("thread {t}")).unwrap()));
        }
    });
    assert!(ns.inspect("a").unwrap().holders[0].process.command.starts_with("thread "));
}
