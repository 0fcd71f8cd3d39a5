//! Filters without one call or the other: it works, or an error says what is missing. And a whole sandbox: nothing but the
//! calls of `docs/containers.md`, and death for all else.

use super::common::{Place, either};
use super::scene::worker;
use xsem_testkit::protocol::{Answer, Till, Verb};
use xsem_testkit::watchdog::Watchdog;

/// What the library asks the kernel for beside what every program needs, and without which it goes on as it is.
const SPARED: &[&str] = &[
    "rseq=ENOSYS",
    "membarrier=EPERM",
    "kcmp=EPERM",
    "pidfd_open=ENOSYS",
    "pidfd_open=EPERM",
    "clone3=ENOSYS",
    "getrandom=ENOSYS",
    "getrandom=EPERM",
    "statx=ENOSYS",
    "statx=EPERM",
    "prctl=EPERM",
    "process_vm_readv=EPERM",
    "sched_getaffinity=EPERM",
    "sigaltstack=EPERM",
    "fork=EPERM",
    // No FUTEX_WAKE_OP, no FUTEX_WAIT_BITSET: changed and woken in two steps; a look each millisecond.
    "futex:5=EPERM",
    "futex:5=ENOSYS,futex_waitv=ENOSYS",
];

#[test]
fn what_can_be_spared_is_spared() {
    let _dog = Watchdog::start("spared");
    for filter in SPARED {
        let place = Place::new();
        let url = format!("{}-2", place.ns.url());
        // It makes the namespace itself, too.
        let mut a = super::scene::worker_at(&url, &["--filter", filter]);
        let mut b = super::scene::worker_at(&url, &["--filter", filter]);
        a.handle(0, &either("x"));
        b.handle(0, &either("x"));
        let (guard, ..) = a.granted(0, &Verb::Try(0));
        b.tell(0, &Verb::Ask(0, 1, Till::Ever, false));
        while xsem::Namespace::open(&url).unwrap().inspect("x").unwrap().waiters.is_empty() {
            xsem_testkit::sys::nap(200);
        }
        assert_eq!(a.ask(0, &Verb::Release(guard)), Answer::Done, "{filter}");
        let Answer::Granted { guard, died: None, .. } = b.answer(0) else { panic!("{filter}") };
        assert_eq!(a.ask(0, &Verb::Try(0)), Answer::Refused(101), "{filter}");
        b.kill();
        let (_, _, died) = a.granted(0, &Verb::Acquire(0));
        assert!(died, "{filter}: {guard}");
    }
}

/// Without which nothing can be done: the number, and what its text names.
const NEEDED: &[(&str, u32, &str)] = &[
    ("set_robust_list=ENOSYS", 8, "robust"),
    ("set_robust_list=EPERM", 8, "robust"),
    ("clone3=ENOSYS,clone=EPERM", 8, "keeper"),
    // F_SETLK, F_OFD_SETLK is not used.
    ("fcntl:6=EPERM", 8, "lock"),
    ("fcntl:6=ENOSYS", 8, "lock"),
];

#[test]
fn what_is_needed_is_named() {
    let _dog = Watchdog::start("needed");
    for (filter, code, text) in NEEDED {
        let place = Place::new();
        // Creating would make it a member.
        xsem::Exclusive::create(&place.ns, "x").unwrap();
        let mut a = place.worker();
        a.handle(0, &super::common::open("x"));
        // The program is there already, and under the filter from here on.
        assert_eq!(a.ask(0, &Verb::Confine(true, (*filter).to_owned())), Answer::Done);
        assert_eq!(a.ask(0, &Verb::Try(0)), Answer::Refused(*code), "{filter}");
        let Answer::Why { text: why, .. } = a.ask(0, &Verb::Why) else { panic!("{filter}") };
        assert!(why.contains(text), "{filter}: {why}");
        // Nobody else is harmed.
        let mut b = place.worker();
        b.handle(0, &either("x"));
        let (.., died) = b.granted(0, &Verb::Try(0));
        assert!(!died, "{filter}");
        place.audit();
    }
}

#[test]
fn a_namespace_cannot_be_made_without_room_for_it() {
    for (filter, text) in
        [("renameat2=ENOSYS", "cannot be used"), ("fallocate=EPERM", "room"), ("ftruncate=EPERM", "cannot be used")]
    {
        let place = Place::new();
        let url = format!("{}-2", place.ns.url());
        let done = super::scene::output(&["--filter", filter], &[super::scene::WORKER, &url]);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && said.contains(text), "{filter}: {said}");
        let left: Vec<_> = std::fs::read_dir(std::path::Path::new(url.trim_start_matches("shm:")).parent().unwrap())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|n| n.contains("ns-2"))
            .collect();
        assert_eq!(left, Vec::<String>::new(), "{filter}");
    }
}

/// What a process needs that has made its first claim: `docs/containers.md` has the same list.
const SANDBOX: &str = "futex=allow,futex_waitv=allow,membarrier=allow,clock_gettime=allow,clock_nanosleep=allow,sched_yield=allow,\
    fstat=allow,newfstatat=allow,statx=allow,openat=allow,close=allow,read=allow,pread64=allow,lseek=allow,readlink=allow,\
    readlinkat=allow,getdents64=allow,fcntl=allow,fallocate=allow,kill=allow,getpid=allow,gettid=allow,mmap=allow,munmap=allow,\
    mprotect=allow,mremap=allow,madvise=allow,brk=allow,rt_sigprocmask=allow,sigaltstack=allow,exit=allow,exit_group=allow,\
    restart_syscall=allow,rt_sigreturn=allow,write=allow,\
    socket=EACCES,getuid=allow,geteuid=allow,else=kill";

#[test]
fn a_sandbox_needs_these_calls_and_no_others() {
    let _dog = Watchdog::start("sandbox");
    let place = Place::new();
    let (mut a, mut b) = (place.worker(), worker(&place, &[]));
    for (n, w) in [&mut a, &mut b].into_iter().enumerate() {
        w.handle(0, &either("x"));
        let (guard, ..) = w.granted(0, &Verb::Acquire(0));
        assert_eq!(w.ask(0, &Verb::Release(guard)), Answer::Done);
        // One enters it at once, the other when its keeper has set itself up.
        xsem_testkit::sys::nap(n as u64 * 1_300_000);
        assert_eq!(w.ask(0, &Verb::Confine(true, SANDBOX.to_owned())), Answer::Done);
    }
    for _ in 0..40 {
        let (guard, ..) = a.granted(0, &Verb::Acquire(0));
        b.tell(0, &Verb::Ask(0, 1, Till::Ever, false));
        place.until_waiting("x", 1);
        assert_eq!(a.ask(0, &Verb::Release(guard)), Answer::Done);
        let Answer::Granted { guard, .. } = b.answer(0) else { panic!() };
        assert_eq!(a.ask(0, &Verb::Ask(0, 1, Till::Ms(2), false)), Answer::Refused(121));
        assert_eq!(b.ask(0, &Verb::Release(guard)), Answer::Done);
    }
    // Their keepers look after the file.
    xsem_testkit::sys::nap(1_300_000);
    // A death, and everything that its successor looks at.
    a.granted(0, &Verb::Acquire(0));
    a.kill();
    let (guard, _, died) = b.granted(0, &Verb::Acquire(0));
    assert!(died);
    assert_eq!(b.ask(0, &Verb::MarkConsistent(guard)), Answer::Done);
    assert_eq!(b.ask(0, &Verb::Release(guard)), Answer::Done);
    place.audit();
}
