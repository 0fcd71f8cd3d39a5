//! Rule 7: forks, exec, daemons, fork servers. Every test is of real processes, with a watchdog on each.

#[path = "common/executor.rs"]
mod executor;
mod processes;

use executor::block_on;
use processes::{Child, audit, gate, namespace, run_and_exit, until};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use xsem::{AcquireError, Cause, Code, Counting, Error, Event, Exclusive, Namespace, Options, Pick, Wait};

fn refusal<T>(r: Result<T, AcquireError<'_>>) -> Code {
    r.map(drop).map_err(|e| Error::from(e).code()).expect_err("it was granted")
}

fn soon() -> Wait<'static> {
    Wait::timeout(Duration::from_secs(150) * processes::slowness())
}

/// Acquires it, 105 or not, and gives it back.
fn pass_through(sem: &Exclusive) {
    match sem.acquire_with(soon()) {
        Ok(guard) => drop(guard),
        Err(AcquireError::OwnerDied(r)) => drop(r.mark_consistent().unwrap()),
        Err(AcquireError::Failed(e)) => panic!("{e}"),
    }
}

#[test]
fn a_child_owns_nothing_of_any_kind_and_its_drops_do_nothing() {
    let (_dir, ns) = namespace();
    let exclusive = Exclusive::create(&ns, "exclusive").unwrap();
    let pool = Counting::create_pool(&ns, "pool", 5, Options::new()).unwrap();
    let one_more = Exclusive::create(&ns, "one more").unwrap();
    let guard = exclusive.acquire().unwrap();
    let nested = exclusive.acquire().unwrap();
    let permit = pool.acquire_many(2).unwrap();
    let owned = pool.acquire_owned(1, Wait::not()).unwrap();
    let all = ns.acquire_all(&[Pick::from(&one_more), Pick::from(&pool)], Wait::not()).unwrap();
    assert_eq!((permit.slots().unwrap(), owned.slots().unwrap()), (vec![0, 1], vec![2]));
    let ephemeral = Exclusive::create_with(&ns, "ephemeral", Options::new().ephemeral()).unwrap();
    // What may go to other threads is the process's all the same.
    let (sent, prepared) = (Exclusive::create(&ns, "sent").unwrap(), Exclusive::create(&ns, "prepared").unwrap());
    let sent = block_on(sent.acquire_async()).unwrap();
    let prepared = prepared.acquire().unwrap().into_signal_release().unwrap();
    let mut those = Some((sent, prepared));
    let mut everything = Some((guard, nested, permit, owned, all, ephemeral));
    Child::new(|| {
        let (guard, nested, mut permit, owned, all, ephemeral) = everything.take().unwrap();
        assert!(!guard.is_held() && !nested.is_held() && !permit.is_held() && !owned.is_held());
        assert_eq!(guard.mark_consistent().unwrap_err().code(), Code::NotOwner);
        assert_eq!(permit.release_some(1).unwrap_err().code(), Code::NotOwner);
        assert_eq!(nested.release().unwrap_err().code(), Code::NotOwner);
        drop((guard, permit, all));
        let (sent, prepared) = those.take().unwrap();
        assert!(!sent.is_held() && !prepared.spend());
        assert_eq!(sent.release().unwrap_err().code(), Code::NotOwner);
        drop(prepared);
        // Nothing has come free by that, neither before nor after the child is a member.
        assert_eq!(refusal(exclusive.try_acquire()), Code::ExclSemAlreadyOwned);
        assert_eq!(pool.capacity().unwrap().free, 1);
        assert_eq!(owned.release().unwrap_err().code(), Code::NotOwner);
        drop(ephemeral);
        let mine = pool.try_acquire().unwrap();
        assert_eq!(pool.try_acquire().unwrap_err().code(), Code::SemTimeout);
        assert_eq!(mine.slots().unwrap(), [3], "the first that nobody has asked for");
        drop(mine);
    })
    .succeeds();
    let (sent, prepared) = those.take().unwrap();
    assert!(sent.is_held() && prepared.spend());
    sent.release().unwrap();
    let (guard, nested, permit, owned, all, ephemeral) = everything.take().unwrap();
    assert!(guard.is_held() && nested.is_held() && permit.is_held() && owned.is_held());
    assert_eq!(ns.inspect("exclusive").unwrap().holders[0].depth, 2);
    assert_eq!(pool.capacity().unwrap().free, 1);
    // Its only user lives: the name is there.
    assert_eq!(Exclusive::create(&ns, "ephemeral").unwrap_err().code(), Code::AlreadyExists);
    nested.release().unwrap();
    guard.release().unwrap();
    permit.release().unwrap();
    owned.release().unwrap();
    drop((all, ephemeral));
    assert_eq!(pool.capacity().unwrap().free, 5);
    for name in ["exclusive", "one more", "sent", "prepared"] {
        let r = ns.inspect(name).unwrap();
        assert!(r.holders.is_empty() && !r.marked && r.counters.deaths == 0, "{r:?}");
    }
    assert_eq!(Exclusive::open(&ns, "ephemeral").unwrap_err().code(), Code::SemNotFound);
    audit(&ns);
}

#[test]
fn a_child_acquires_at_once_and_dies_as_an_owner_of_its_own() {
    let (_dir, ns) = namespace();
    let (mine, its) = (Exclusive::create(&ns, "mine").unwrap(), Exclusive::create(&ns, "its").unwrap());
    let pool = Counting::create_pool(&ns, "pool", 4, Options::new()).unwrap();
    let guard = mine.acquire().unwrap();
    let child = Child::that_stays(|| {
        // Through a handle that it inherited, and one of its own.
        let again = Namespace::open(ns.url()).unwrap();
        std::mem::forget(its.acquire().unwrap());
        std::mem::forget(Counting::open(&again, "pool").unwrap().acquire_many(3).unwrap());
        assert_eq!(refusal(mine.try_acquire()), Code::ExclSemAlreadyOwned);
    });
    let holder = &ns.inspect("its").unwrap().holders[0];
    assert_eq!(holder.process.pid, child.pid());
    assert_eq!(ns.inspect("mine").unwrap().holders[0].process.pid, std::process::id());
    assert_eq!(refusal(its.try_acquire()), Code::ExclSemAlreadyOwned);
    let pid = child.pid();
    child.kill();
    match its.acquire_with(soon()) {
        Err(AcquireError::OwnerDied(r)) => {
            let d = r.deaths().unwrap();
            assert_eq!((d.count, d.first.process.pid, d.first.cause), (1, pid, Cause::ProcessEnded));
        }
        other => panic!("{other:?}"),
    }
    drop(pool.acquire_with(4, soon()).unwrap());
    assert!(guard.is_held() && !ns.inspect("mine").unwrap().marked);
    audit(&ns);
}

/// What a thread of the parent is busy with while others fork. It never ends by itself.
fn busy(ns: &Namespace, what: usize, i: usize) {
    let (a, b) = (Exclusive::open_or_create(ns, "a").unwrap(), Exclusive::open_or_create(ns, "b").unwrap());
    let pool = Counting::open_or_create_pool(ns, "pool", 3).unwrap();
    match what {
        // Opening, with and without the file being known; names that come and go.
        0 => {
            drop(Namespace::open(ns.url()).unwrap());
            if i.is_multiple_of(256) {
                let (_dir, other) = namespace();
                drop(Exclusive::create(&other, "x").unwrap().acquire().unwrap());
            }
            let name = format!("job/{i}");
            drop(Exclusive::create(ns, &name).unwrap());
            ns.remove(&name).unwrap();
            ns.describe(&format!("busy {i}")).unwrap();
        }
        // Claims with and without waiting.
        1 => {
            pass_through(&a);
            drop(b.try_acquire());
        }
        // Permits of the thread and of the process.
        2 => {
            drop(pool.acquire_with(2, soon()).unwrap());
            drop(pool.acquire_owned(1, soon()).unwrap());
        }
        // Lists.
        3 => {
            drop(ns.acquire_all(&[Pick::from(&a), Pick::from(&b), Pick::from(&pool)], soon()));
            drop(ns.wait_any(&[Pick::from(&b), Pick::from(&pool)], soon()));
        }
        // Events.
        4 => {
            let (manual, auto) =
                (Event::open_or_create_manual(ns, "manual").unwrap(), Event::open_or_create_auto(ns, "auto").unwrap());
            manual.signal().unwrap();
            manual.wait_with(Wait::timeout(Duration::from_millis(1))).ok();
            auto.signal().unwrap();
            auto.wait_with(Wait::timeout(Duration::from_millis(1))).ok();
            manual.reset().unwrap();
        }
        // Futures.
        5 => {
            if let Ok(guard) = block_on(a.acquire_async_with(soon())) {
                drop(guard);
            }
            drop(block_on(pool.acquire_async_with(3, soon())).unwrap());
            drop(b.acquire_async());
        }
        // The engine in memory.
        _ => {
            let memory = Namespace::open("memory:busy").unwrap();
            let m = Counting::open_or_create_pool(&memory, "m", 2).unwrap();
            drop(m.acquire_with(1, soon()).unwrap());
        }
    }
}

#[test]
fn forks_in_the_middle_of_whatever_other_threads_do() {
    // In a process of its own: what the test harness's other threads do would be beside the point.
    let (_dir, ns) = namespace();
    Child::new(|| {
        let memory = Namespace::open("memory:busy").unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|s| {
            for what in [0, 1, 2, 3, 3, 4, 5, 6] {
                let (ns, stop) = (&ns, &stop);
                s.spawn(move || (0..).take_while(|_| !stop.load(Relaxed)).for_each(|i| busy(ns, what, i)));
            }
            // A waiter, whose wait lasts.
            let held = Exclusive::create(&ns, "held").unwrap();
            let guard = held.acquire().unwrap();
            let waiter = s.spawn(|| pass_through(&Exclusive::open(&ns, "held").unwrap()));
            until(|| ns.inspect("held").unwrap().waiters.len() == 1);
            for n in 0..120 {
                Child::new(|| {
                    // Whatever the others were doing at that instant: this process has none of it.
                    for what in 0..7 {
                        busy(&ns, what, 1_000_000 + n);
                    }
                    assert!(!guard.is_held());
                    assert_eq!(refusal(held.try_acquire()), Code::ExclSemAlreadyOwned);
                    assert_eq!(Counting::open(&memory, "stale").unwrap_err().code(), Code::SemNotFound);
                    // A few of them die with claims.
                    if n % 10 == 0 {
                        let pool = Counting::open(&ns, "pool").unwrap();
                        std::mem::forget(pool.acquire_with(1, soon()).unwrap());
                        std::mem::forget(Exclusive::open(&ns, "b").unwrap().acquire_with(soon()));
                    }
                })
                .succeeds();
            }
            stop.store(true, Relaxed);
            assert_eq!(ns.inspect("held").unwrap().waiters.len(), 1);
            guard.release().unwrap();
            waiter.join().unwrap();
        });
        audit(&ns);
    })
    .succeeds();
    for name in ["a", "b", "held"] {
        pass_through(&Exclusive::open(&ns, name).unwrap());
    }
    drop(Counting::open(&ns, "pool").unwrap().acquire_with(3, soon()).unwrap());
    assert!(ns.list().unwrap().iter().all(|s| !s.name.starts_with("job/")));
    audit(&ns);
}

#[test]
fn a_childs_life_does_not_keep_its_parents_claims() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let pool = Counting::create_pool(&ns, "pool", 2, Options::new()).unwrap();
    let (forked, is_forked) = gate();
    let (end, ends) = gate();
    let parent = Child::that_stays(|| {
        std::mem::forget(sem.acquire().unwrap());
        std::mem::forget(pool.acquire_many(2).unwrap());
        // The grandchild lives on, with copies of everything, and tries what it cannot have.
        let grandchild = Child::new(|| {
            assert_eq!(refusal(sem.try_acquire()), Code::ExclSemAlreadyOwned);
            is_forked.open();
            end.wait();
        });
        std::mem::forget(grandchild);
        forked.wait();
    });
    let pid = parent.pid();
    std::thread::scope(|s| {
        // Waiters before the death; told once.
        let waiter = s.spawn(|| match sem.acquire_with(soon()) {
            Err(AcquireError::OwnerDied(r)) => {
                let d = r.deaths().unwrap().clone();
                assert_eq!((d.count, d.first.process.pid), (1, pid));
                drop(r.mark_consistent().unwrap());
            }
            other => panic!("{other:?}"),
        });
        let taker = s.spawn(|| drop(pool.acquire_with(2, soon()).unwrap()));
        until(|| ns.inspect("a").unwrap().waiters.len() == 1 && ns.inspect("pool").unwrap().waiters.len() == 1);
        parent.kill();
        waiter.join().unwrap();
        taker.join().unwrap();
    });
    drop(sem.try_acquire().unwrap());
    assert_eq!((ns.inspect("a").unwrap().counters.deaths, ns.inspect("pool").unwrap().counters.deaths), (1, 1));
    ends.open();
    audit(&ns);
}

#[test]
fn waiters_of_a_process_that_forks_keep_waiting_and_are_served() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let guard = sem.acquire().unwrap();
    let (served, is_served) = gate();
    let waiting = Child::new(|| {
        std::thread::scope(|s| {
            let waiter = s.spawn(|| pass_through(&sem));
            until(|| ns.inspect("a").unwrap().waiters.len() == 1);
            // A child that ends, one that waits itself, and one that is killed in its wait.
            Child::new(|| ()).succeeds();
            let other = Child::new(|| pass_through(&sem));
            let victim = Child::new(|| pass_through(&sem));
            until(|| ns.inspect("a").unwrap().waiters.len() == 3);
            victim.kill();
            until(|| ns.inspect("a").unwrap().waiters.len() == 2);
            is_served.open();
            waiter.join().unwrap();
            other.succeeds();
        });
    });
    served.wait();
    assert!(guard.is_held());
    drop(guard);
    waiting.succeeds();
    assert!(!ns.inspect("a").unwrap().marked);
    audit(&ns);
}

#[test]
fn vfork_posix_spawn_and_command_leave_the_parents_claims_alone() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let pool = Counting::create_pool(&ns, "pool", 3, Options::new()).unwrap();
    let (guard, permit) = (sem.acquire().unwrap(), pool.acquire_many(2).unwrap());
    let token = guard.token();
    let unchanged = |how: &str| {
        assert!(guard.is_held() && permit.is_held(), "{how}");
        let r = ns.inspect("a").unwrap();
        assert_eq!((r.holders[0].token, r.holders[0].process.pid, r.marked), (token, std::process::id(), false), "{how}");
        assert_eq!(pool.capacity().unwrap().free, 1, "{how}");
        drop(pool.acquire().unwrap());
        drop(sem.acquire().unwrap());
    };
    let arguments = [c"true".as_ptr(), std::ptr::null()];
    let (mut pid, no_environment) = (0, [std::ptr::null_mut()]);
    // SAFETY: NUL-terminated strings in lists that end with null; no actions and no attributes.
    let r = unsafe {
        libc::posix_spawnp(
            &mut pid,
            arguments[0],
            std::ptr::null(),
            std::ptr::null(),
            arguments.as_ptr().cast(),
            no_environment.as_ptr(),
        )
    };
    assert_eq!(r, 0);
    unchanged("while a spawned program runs");
    assert_eq!(Child(pid).status(), 0);
    unchanged("after posix_spawn");
    assert_eq!(vforked(&arguments), 0);
    unchanged("after vfork");
    assert!(Command::new("true").stdin(Stdio::null()).status().unwrap().success());
    unchanged("after Command");
    let mut hooked = Command::new("true");
    // SAFETY: nothing is done in the child between fork and exec; that there is a hook makes it fork.
    unsafe { hooked.pre_exec(|| Ok(())) };
    assert!(hooked.status().unwrap().success());
    unchanged("after a Command that forks");
    drop((guard, permit));
    audit(&ns);
}

/// Runs a program from a child that shares this process's memory until it is another program.
#[inline(never)]
fn vforked(arguments: &[*const libc::c_char]) -> libc::c_int {
    // SAFETY: a list as it is asked for.
    let pid = unsafe { vfork_exec(arguments.as_ptr()) };
    assert!(pid > 0);
    Child(pid).status()
}

/// # Safety
/// A list of NUL-terminated strings that ends with null.
unsafe fn vfork_exec(arguments: *const *const libc::c_char) -> libc::pid_t {
    extern "C" fn run(arguments: *mut libc::c_void) -> libc::c_int {
        let arguments = arguments.cast::<*const libc::c_char>();
        // SAFETY: as the caller promises; `_exit` ends the child alone.
        unsafe {
            libc::execvp(*arguments, arguments);
            libc::_exit(127)
        }
    }
    let mut stack = vec![0u8; 256 << 10];
    let top = stack.as_mut_ptr_range().end;
    // SAFETY: what `vfork` does, with a stack of the child's own, since a function that calls `vfork` must not return in the
    // child; the parent waits until the child has let go of the memory, so the stack lives for long enough.
    unsafe {
        let top = top.sub(top as usize % 16);
        libc::clone(run, top.cast(), libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, arguments.cast_mut().cast())
    }
}

#[test]
fn a_child_of_a_plain_clone_is_as_one_of_fork() {
    let (_dir, ns) = namespace();
    let (sem, its) = (Exclusive::create(&ns, "a").unwrap(), Exclusive::create(&ns, "its").unwrap());
    // From a process whose only other thread is the keeper: no handler of the C library puts its allocator in order.
    Child::new(|| {
        let guard = sem.acquire().unwrap();
        // SAFETY: as fork: no stack, no shared memory. The child ends without returning.
        let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } as libc::pid_t;
        if pid == 0 {
            run_and_exit(|| {
                assert!(!guard.is_held());
                assert_eq!(refusal(sem.try_acquire()), Code::ExclSemAlreadyOwned);
                std::mem::forget(its.acquire().unwrap());
            });
        }
        Child(pid).succeeds();
        match its.acquire_with(soon()) {
            Err(AcquireError::OwnerDied(r)) => assert_eq!(r.deaths().unwrap().first.process.pid, pid as u32),
            other => panic!("{other:?}"),
        }
        assert!(guard.is_held());
    })
    .succeeds();
    audit(&ns);
}

/// Becomes a daemon: forks twice, leads a session of its own, closes every descriptor, and goes to `/`. What is kept open is
/// for the test only.
fn daemonize(keep: &[libc::c_int]) {
    for round in 0..2 {
        // SAFETY: the parent ends at once.
        match unsafe { libc::fork() } {
            0 => processes::watchdog(),
            // SAFETY: ends the process.
            _ => unsafe { libc::_exit(0) },
        }
        // SAFETY: no arguments.
        assert!(round == 1 || unsafe { libc::setsid() } > 0);
    }
    let limit = 1024;
    for fd in (0..limit).filter(|fd| !keep.contains(fd)) {
        // SAFETY: closes whatever is there, as daemons do; nobody uses those descriptors from here on.
        unsafe { libc::close(fd) };
    }
    for _ in 0..3 {
        // SAFETY: a NUL-terminated path.
        unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
    }
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::chdir(c"/".as_ptr()) }, 0);
}

#[test]
fn a_daemon_that_closed_every_descriptor_acquires_waits_and_dies_as_any_other() {
    use std::os::fd::AsRawFd;
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let pool = Counting::create_pool(&ns, "pool", 2, Options::new()).unwrap();
    let (mut answer, write) = std::io::pipe().unwrap();
    let launcher = Child::new(|| {
        // It held something before it became a daemon: that stayed with the process that it was.
        let before = sem.acquire().unwrap();
        daemonize(&[write.as_raw_fd()]);
        assert!(!before.is_held());
        // What its past self owned was not given back: it is dead.
        match sem.acquire_with(soon()) {
            Err(AcquireError::OwnerDied(r)) => std::mem::forget(r.mark_consistent().unwrap()),
            other => panic!("{other:?}"),
        }
        drop(before);
        std::mem::forget(pool.acquire_many(2).unwrap());
        // New names, for which tables grow, also through a namespace that is opened now.
        let again = Namespace::open(ns.url()).unwrap();
        for i in 0..2000 {
            Exclusive::create(if i % 2 == 0 { &ns } else { &again }, &format!("daemon/{i}")).unwrap();
        }
        // The numbers that others expect to get are theirs.
        assert_eq!(std::fs::read_link("/proc/self/fd/0").unwrap().to_str(), Some("/dev/null"));
        write!(&write, "{}", std::process::id()).unwrap();
    });
    drop(write);
    launcher.succeeds();
    let mut pid = String::new();
    answer.read_to_string(&mut pid).unwrap();
    let pid: u32 = pid.parse().expect("the daemon failed");
    match sem.acquire_with(soon()) {
        Err(AcquireError::OwnerDied(r)) => {
            let d = r.deaths().unwrap();
            assert_eq!((d.count, d.first.process.pid, d.first.cause), (1, pid, Cause::ProcessEnded));
        }
        other => panic!("{other:?}"),
    }
    drop(pool.acquire_with(2, soon()).unwrap());
    assert_eq!(ns.list().unwrap().len(), 2002);
    audit(&ns);
}

#[test]
fn a_member_that_closes_every_descriptor_goes_on_and_is_told_of() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let (mut answer, write) = std::io::pipe().unwrap();
    let (go, goes) = gate();
    let owner = Child::new(|| {
        use std::os::fd::AsRawFd;
        let guard = sem.acquire().unwrap();
        let (write, keep) = (&write, go.descriptor());
        for fd in (3..1024).filter(|fd| ![write.as_raw_fd(), keep].contains(fd)) {
            // SAFETY: closes whatever is there; nobody uses those descriptors from here on.
            unsafe { libc::close(fd) };
        }
        assert!(guard.is_held());
        // Its tables grow, and it waits and is served.
        for i in 0..2000 {
            drop(Exclusive::create(&ns, &format!("{i}")).unwrap().acquire().unwrap());
        }
        guard.release().unwrap();
        std::mem::forget(sem.acquire().unwrap());
        (&mut &*write).write_all(b"!").unwrap();
        go.wait();
    });
    drop(write);
    let mut byte = [0];
    answer.read_exact(&mut byte).expect("it failed");
    assert_eq!(refusal(sem.try_acquire()), Code::ExclSemAlreadyOwned);
    let pid = owner.pid();
    goes.open();
    owner.succeeds();
    match sem.acquire_with(soon()) {
        Err(AcquireError::OwnerDied(r)) => assert_eq!(r.deaths().unwrap().first.process.pid, pid),
        other => panic!("{other:?}"),
    }
    audit(&ns);
}

#[test]
fn a_fork_servers_workers_acquire_beside_what_it_holds() {
    let (_dir, ns) = namespace();
    let server_lock = Exclusive::create(&ns, "server").unwrap();
    let (turn, pool) = (Exclusive::create(&ns, "turn").unwrap(), Counting::create_pool(&ns, "pool", 3, Options::new()).unwrap());
    let log = tempfile::NamedTempFile::new().unwrap();
    let server = Child::new(|| {
        // All that workers use is open before they are made, and used: entries at rest, records, the keeper.
        let lock = server_lock.acquire().unwrap();
        drop((turn.acquire().unwrap(), pool.acquire_owned(1, Wait::not()).unwrap(), pool.acquire().unwrap()));
        let workers: Vec<Child> = (0..24)
            .map(|i| {
                Child::new(|| {
                    assert!(!lock.is_held());
                    let permit = pool.acquire_with(1, soon()).unwrap();
                    assert!(permit.slots().unwrap()[0] < 3);
                    let guard = match turn.acquire_with(soon()) {
                        Err(AcquireError::OwnerDied(r)) => r.mark_consistent().unwrap(),
                        other => other.unwrap(),
                    };
                    // Alone here: what is read and written in two steps comes out right.
                    let before: u64 = std::fs::read_to_string(log.path()).unwrap().parse().unwrap_or(0);
                    std::fs::write(log.path(), (before + 1).to_string()).unwrap();
                    if i % 6 == 5 {
                        // Dies with both, after its work was done.
                        std::mem::forget((permit, guard));
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(Child::succeeds);
        assert!(lock.is_held());
        lock.release().unwrap();
    });
    server.succeeds();
    assert_eq!(std::fs::read_to_string(log.path()).unwrap(), "24");
    let server = ns.inspect("server").unwrap();
    assert_eq!((server.counters.acquired, server.counters.deaths, server.marked), (1, 0, false));
    // The last of them may have died with nobody after it.
    pass_through(&turn);
    assert_eq!(ns.inspect("turn").unwrap().counters.deaths, 4);
    drop(pool.acquire_with(3, soon()).unwrap());
    audit(&ns);
}

/// The last child that the handler below has forked.
static FORKED: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);

extern "C" fn fork_in_handler(_: libc::c_int) {
    // SAFETY: the C library's fork without handlers of its own that take locks; the child goes on where the signal came.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } as libc::pid_t;
    if pid == 0 {
        processes::watchdog();
    }
    FORKED.store(pid, Relaxed);
}

#[test]
fn a_child_that_returns_from_a_handler_into_a_wait_gets_95_and_leaves_its_parents_wait_alone() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let pool = Counting::create_pool(&ns, "pool", 2, Options::new()).unwrap();
    let (guard, permits) = (sem.acquire().unwrap(), pool.acquire_many(2).unwrap());
    let list = [Pick::from(&sem), Pick::from(&pool)];
    let in_list = |name: &str| ns.inspect(name).unwrap().waiters.len();
    let wait = |kind| match kind {
        0 => sem.acquire_with(soon()).map(drop).map_err(Error::from),
        1 => pool.acquire_with(2, soon()).map(drop),
        2 => ns.wait_any(&list, soon()).map(drop).map_err(Error::from),
        _ => ns.acquire_all(&list, soon()).map(drop).map_err(Error::from),
    };
    let (mut guard, mut permits) = (Some(guard), Some(permits));
    for (kind, name) in ["a", "pool", "a", "pool"].into_iter().enumerate() {
        let waiting = Child::new(|| {
            // SAFETY: an all-zero sigaction is a valid value, to which a handler is given.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = fork_in_handler as *const () as usize;
                // With restarts of system calls the child notices it in its next look, which comes within a second.
                action.sa_flags = if kind == 0 { libc::SA_RESTART } else { 0 };
                assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
            }
            let me = std::process::id();
            let done = wait(kind);
            if std::process::id() != me {
                assert_eq!(done.unwrap_err().code(), Code::Interrupt);
                // It can claim for itself.
                drop(Exclusive::open_or_create(&ns, "its own").unwrap().acquire_with(soon()));
                return;
            }
            done.unwrap();
            let children = FORKED.load(Relaxed);
            assert!(children > 0, "the handler has run");
        });
        until(|| in_list(name) == 1);
        for round in 1..=3 {
            // SAFETY: a child of this process.
            assert_eq!(unsafe { libc::kill(waiting.0, libc::SIGUSR1) }, 0);
            // Every child has claimed and ended; the wait is where it was.
            until(|| ns.inspect("its own").is_ok_and(|r| r.counters.acquired % 3 == round % 3));
            assert_eq!(in_list(name), 1, "{name}");
        }
        drop((guard.take(), permits.take()));
        waiting.succeeds();
        (guard, permits) = (Some(sem.acquire().unwrap()), Some(pool.acquire_many(2).unwrap()));
    }
    drop((guard, permits));
    assert_eq!((ns.inspect("a").unwrap().counters.deaths, ns.inspect("pool").unwrap().counters.deaths), (0, 0));
    audit(&ns);
}

#[test]
fn children_of_children_are_nobody_either() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let guard = sem.acquire().unwrap();
    fn descend(sem: &Exclusive, pool: &Counting, depth: u32) {
        let permit = pool.try_acquire().unwrap();
        if depth > 0 {
            Child::new(|| {
                assert!(!permit.is_held());
                assert_eq!(refusal(sem.try_acquire()), Code::ExclSemAlreadyOwned);
                descend(sem, pool, depth - 1);
            })
            .succeeds();
        }
        assert!(permit.is_held());
    }
    let pool = Counting::create_pool(&ns, "pool", 6, Options::new()).unwrap();
    descend(&sem, &pool, 5);
    assert_eq!(pool.capacity().unwrap().free, 6);
    assert!(guard.is_held());
    audit(&ns);
}

#[test]
fn a_namespace_in_memory_begins_anew_in_a_child() {
    let ns = Namespace::open("memory:fork-test").unwrap();
    let (sem, pool) = (Exclusive::create(&ns, "a").unwrap(), Counting::create_pool(&ns, "pool", 2, Options::new()).unwrap());
    let (guard, permit) = (sem.acquire().unwrap(), pool.acquire().unwrap());
    Child::new(|| {
        assert!(!guard.is_held() && !permit.is_held());
        // SAFETY: bitwise copies that the child never uses otherwise; dropping them is what is tested.
        drop(unsafe { (std::ptr::read(&guard), std::ptr::read(&permit)) });
        assert_eq!(refusal(sem.try_acquire()), Code::InvalidHandle);
        // By its name it is the same namespace as through the handle that was inherited: an empty one.
        let again = Namespace::open("memory:fork-test").unwrap();
        assert!(ns.list().unwrap().is_empty());
        let fresh: Vec<_> = (0..50).map(|i| Exclusive::create(&again, &format!("{i}")).unwrap()).collect();
        assert_eq!(ns.list().unwrap().len(), 50);
        let held: Vec<_> = fresh.iter().map(|s| s.acquire().unwrap()).collect();
        // Numbers of before are never those of now.
        assert_eq!(refusal(sem.try_acquire()), Code::InvalidHandle);
        assert_eq!(pool.capacity().unwrap_err().code(), Code::InvalidHandle);
        assert!(!guard.is_held() && held.iter().all(|g| g.is_held()));
    })
    .succeeds();
    assert!(guard.is_held() && permit.is_held());
    assert_eq!((ns.list().unwrap().len(), pool.capacity().unwrap().free), (2, 1));
}
