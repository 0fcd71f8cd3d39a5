//! A namespace file that is removed, replaced, moved, truncated, or truncated and made longer again while everything is under
//! way: claims held, waits of every kind asleep, loops on the short way. Nobody gets a new claim, nobody hangs, nobody crashes,
//! and what is held ends without harm. The periodic second look of sleepers is off, so it is not what wakes them.

#[path = "common/executor.rs"]
mod executor;
mod processes;

use executor::block_on;
use processes::{Child, gate, watchdog};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use xsem::{Code, Counting, Error, Event, Exclusive, Namespace, Options, Pick, Wait};

/// How the file is lost, and what everybody is told.
#[derive(Clone, Copy, Debug)]
enum Way {
    Removed,
    Replaced,
    Moved,
    DirectoryMoved,
    CutToNothing,
    CutInTheHeader,
    CutInTheMiddle,
    CutAndLonger,
    CutToNothingAndLonger,
    Overwritten,
}

impl Way {
    fn code(self) -> Code {
        match self {
            Way::Removed | Way::Replaced | Way::Moved | Way::DirectoryMoved => Code::InvalidHandle,
            _ => Code::FileCorrupt,
        }
    }

    fn happens(self, file: &Path) {
        let cut = |to: u64| {
            let f = OpenOptions::new().write(true).open(file).unwrap();
            let len = f.metadata().unwrap().len();
            f.set_len(to).unwrap();
            (f, len)
        };
        // The first block of names lies behind this; everything that is claimed lies before it.
        const MIDDLE: u64 = 60 << 20;
        match self {
            Way::Removed => fs::remove_file(file).unwrap(),
            Way::Replaced => {
                let other = file.with_file_name("other");
                File::create(&other).unwrap();
                fs::rename(&other, file).unwrap();
            }
            Way::Moved => fs::rename(file, file.with_file_name("elsewhere")).unwrap(),
            Way::DirectoryMoved => fs::rename(file.parent().unwrap(), file.parent().unwrap().with_file_name("moved")).unwrap(),
            Way::CutToNothing => drop(cut(0)),
            Way::CutInTheHeader => drop(cut(100)),
            Way::CutInTheMiddle => drop(cut(MIDDLE)),
            Way::CutAndLonger => {
                let (f, len) = cut(MIDDLE);
                f.set_len(len).unwrap();
            }
            Way::CutToNothingAndLonger => {
                let (f, len) = cut(0);
                f.set_len(len).unwrap();
            }
            Way::Overwritten => OpenOptions::new().write(true).open(file).unwrap().write_all_at(&[0x55; 4096], 0).unwrap(),
        }
    }
}

fn open(file: &Path) -> Namespace {
    Namespace::open(&format!("shm:{}", file.display())).unwrap()
}

/// What one of the crew does until the file is lost: the error that it gets in the end, maybe already when it begins. Being
/// granted what nobody gives is none.
type Work = fn(&Namespace) -> Result<(), Error>;

/// Acquires and releases something free, over and over.
fn loops<T>(mut take: impl FnMut() -> Result<T, Error>) -> Result<(), Error> {
    loop {
        drop(take()?);
    }
}

/// A claim that nobody gives.
fn granted<T>(claim: T) -> Result<(), Error> {
    drop(claim);
    Ok(())
}

fn own(what: &str) -> String {
    format!("{what}-{}", std::process::id())
}

/// Each with a semaphore of its own where it needs one; `held`, `empty` and `never` are what nobody gives.
const CREW: &[(&str, Work)] = &[
    ("an exclusive one in a loop", |ns| {
        let s = Exclusive::open_or_create(ns, &own("loop"))?;
        loops(|| s.acquire().map_err(Error::from))
    }),
    ("permits in a loop", |ns| {
        let s = Counting::open_or_create_pool(ns, &own("permits"), 3)?;
        loops(|| s.acquire())
    }),
    ("tries in a loop", |ns| {
        let s = Exclusive::open_or_create(ns, &own("tries"))?;
        loops(|| s.try_acquire().map_err(Error::from))
    }),
    ("futures in a loop", |ns| {
        let s = Exclusive::open_or_create(ns, &own("futures"))?;
        loops(|| block_on(s.acquire_async()).map_err(Error::from))
    }),
    ("names in a loop", |ns| loops(|| Exclusive::open_or_create(ns, &own("name")).and_then(|_| ns.remove(&own("name"))))),
    ("a wait without a deadline", |ns| granted(Exclusive::open(ns, "held")?.acquire()?)),
    ("a wait with one", |ns| granted(Exclusive::open(ns, "held")?.acquire_timeout(Duration::from_secs(200))?)),
    ("a wait for permits", |ns| Counting::open(ns, "empty")?.acquire().map(drop)),
    ("a wait for an event", |ns| Event::open(ns, "never")?.wait()),
    ("a wait for any", |ns| {
        let (a, b) = (Exclusive::open(ns, "held")?, Event::open(ns, "never")?);
        granted(ns.wait_any(&[Pick::from(&a), Pick::from(&b)], Wait::forever())?)
    }),
    ("a wait for all", |ns| {
        let (a, b) = (Exclusive::open(ns, "held")?, Counting::open(ns, "empty")?);
        granted(ns.acquire_all(&[Pick::from(&a), Pick::permits(&b, 1)], Wait::forever())?)
    }),
    ("a future", |ns| granted(block_on(Exclusive::open(ns, "held")?.acquire_async())?)),
    ("a future of permits", |ns| granted(block_on(Counting::open(ns, "empty")?.acquire_async(1))?)),
    ("a future of an event", |ns| block_on(Event::open(ns, "never")?.wait_async())),
];

/// In a process of its own: all of the crew, until the file is lost, and then whoever comes later.
fn crew(file: &Path, way: Way, ready: impl FnOnce()) {
    let ns = open(file);
    xsem::shm::testing::set_recheck(false);
    let own = Exclusive::create(&ns, &format!("own-{}", std::process::id())).unwrap();
    let own_permits = Counting::create_pool(&ns, &format!("own-permits-{}", std::process::id()), 2, Options::new()).unwrap();
    let (guard, permit) = (own.acquire().unwrap(), own_permits.acquire().unwrap());
    let (tell, told) = mpsc::channel();
    for (what, work) in CREW {
        let (ns, tell) = (ns.clone(), tell.clone());
        thread::spawn(move || {
            // A panic is none of the codes.
            let end = catch_unwind(AssertUnwindSafe(|| work(&ns).map_err(|e| e.code())));
            tell.send((*what, end.map_err(|_| "a panic"))).unwrap();
        });
    }
    // The eyes of the keeper are open after a second; so that both ways of watching are played, only half of them wait for it.
    let second = if (way as u32).is_multiple_of(2) { 1300 } else { 300 };
    thread::sleep(Duration::from_millis(second));
    ready();
    let mut left: Vec<&str> = CREW.iter().map(|(what, _)| *what).collect();
    while !left.is_empty() {
        let (what, end) = told
            .recv_timeout(Duration::from_secs(60) * processes::slowness())
            .unwrap_or_else(|_| panic!("{way:?}: stuck: {left:?}"));
        assert_eq!(end, Ok(Err(way.code())), "{way:?}: {what}");
        left.retain(|w| *w != what);
    }
    // Later requests, of every sort.
    let late: [(&str, Code); 5] = [
        ("acquire", own_permits.acquire().unwrap_err().code()),
        ("create", Exclusive::create(&ns, "late").unwrap_err().code()),
        ("wait", Event::open(&ns, "never").and_then(|e| e.try_wait()).unwrap_err().code()),
        ("any", ns.wait_any(&[Pick::permits(&own_permits, 1)], Wait::not()).unwrap_err().code()),
        ("future", block_on(own_permits.acquire_async(1)).unwrap_err().code()),
    ];
    for (what, code) in late {
        assert_eq!(code, way.code(), "{way:?}: {what}, late");
    }
    // What is held ends: in order where only the name is gone, and without harm elsewhere.
    let (one, two) = (guard.release().map_err(|e| e.code()), permit.release().map_err(|e| e.code()));
    for done in [one, two] {
        match way.code() {
            Code::InvalidHandle => assert_eq!(done, Ok(()), "{way:?}"),
            _ => assert!(matches!(done, Ok(()) | Err(Code::FileCorrupt)), "{way:?}: {done:?}"),
        }
    }
    // The texts say which file, and what has happened to it.
    let text = own.try_acquire().unwrap_err().to_string();
    assert!(text.contains(&file.display().to_string()), "{text}");
}

/// On tmpfs, where namespaces mostly are.
fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::Builder::new().prefix("xsem-lost-").tempdir_in("/dev/shm").unwrap();
    let inner = dir.path().join("dir");
    fs::create_dir(&inner).unwrap();
    (dir, inner.join("ns"))
}

fn scene(way: Way) {
    let (_dir, file) = place();
    let (is_set_up, set_up) = gate();
    let holder = Child::new(|| {
        let ns = open(&file);
        let (held, empty) =
            (Exclusive::create(&ns, "held").unwrap(), Counting::create_pool(&ns, "empty", 1, Options::new()).unwrap());
        Event::create_manual(&ns, "never", Options::new()).unwrap();
        let _claims = (held.acquire().unwrap(), empty.acquire().unwrap());
        set_up.open();
        loop {
            thread::sleep(Duration::from_secs(60));
        }
    });
    is_set_up.wait();
    let crews: Vec<_> = (0..2)
        .map(|_| {
            let (ready, tell) = gate();
            (Child::new(|| crew(&file, way, || tell.open())), ready)
        })
        .collect();
    crews.iter().for_each(|(_, ready)| ready.wait());
    way.happens(&file);
    for (child, _) in crews {
        assert_eq!(child.status(), 0, "{way:?}");
    }
    drop(holder);
}

#[test]
fn a_removed_file() {
    watchdog();
    scene(Way::Removed);
}

#[test]
fn a_replaced_file() {
    scene(Way::Replaced);
}

#[test]
fn a_moved_file() {
    scene(Way::Moved);
    scene(Way::DirectoryMoved);
}

#[test]
fn a_truncated_file() {
    scene(Way::CutToNothing);
    scene(Way::CutInTheHeader);
    scene(Way::CutInTheMiddle);
}

#[test]
fn a_file_that_is_truncated_and_made_longer_again() {
    scene(Way::CutAndLonger);
    scene(Way::CutToNothingAndLonger);
}

#[test]
fn an_overwritten_header() {
    scene(Way::Overwritten);
}

/// What ends a child: its exit code, or the signal as a negative number.
fn end_of(child: Child) -> i32 {
    let status = child.status();
    if libc::WIFSIGNALED(status) { -libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

fn exits_with_7(_signal: i32) {
    // SAFETY: ends the process.
    unsafe { libc::_exit(7) };
}

/// SIGBUS that has nothing to do with a namespace: as without one.
#[test]
fn other_bus_errors_go_where_they_went_before() {
    let cut_off = || {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        file.set_len(4096).unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
        // SAFETY: a fresh mapping of one page, and a read of it after the file was cut off: SIGBUS is what is wanted.
        unsafe {
            let p = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_SHARED, fd, 0);
            file.set_len(0).unwrap();
            p.cast::<u8>().read_volatile();
        }
    };
    let sent = || {
        // SAFETY: a signal to the calling thread.
        unsafe { libc::raise(libc::SIGBUS) };
    };
    let installs = || {
        // SAFETY: a handler that only ends the process.
        unsafe { libc::signal(libc::SIGBUS, exits_with_7 as *const () as usize) };
    };
    let by_default = || {
        // SAFETY: no core of what is wanted.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
    };
    let (_dir, file) = place();
    for happens in [&cut_off as &dyn Fn(), &sent] {
        for (before, end) in [(&installs as &dyn Fn(), 7), (&by_default, -libc::SIGBUS)] {
            let child = Child::new(|| {
                before();
                open(&file);
                happens();
            });
            assert_eq!(end_of(child), end);
        }
    }
}

/// The way to switch it off.
#[test]
fn a_program_may_keep_the_signal_for_itself() {
    let (_dir, file) = place();
    assert_eq!(end_of(Child::new(|| drop(open(&file)))), 0);
    let child = Child::new(|| {
        let before = action();
        let ns = Namespace::builder().survive_bus_errors(false).open(&format!("shm:{}", file.display())).unwrap();
        assert_eq!(action(), before);
        drop(ns);
        open(&file);
        assert_ne!(action(), before);
    });
    assert_eq!(end_of(child), 0);
}

/// What handles SIGBUS now.
fn action() -> usize {
    // SAFETY: all zeros is a valid value to be overwritten, and only the handler is asked for.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut now);
        now.sa_sigaction
    }
}

/// A child that was forked before or after the file was cut off finds it out by itself.
#[test]
fn forked_children_survive_it_too() {
    let (_dir, file) = place();
    let (cut, tell) = gate();
    let child = Child::new(|| {
        let ns = open(&file);
        let s = Exclusive::create(&ns, "a").unwrap();
        drop(s.acquire().unwrap());
        let before = Child::new(|| {
            cut.wait();
            assert_eq!(s.acquire().unwrap_err().code(), Code::FileCorrupt);
            assert_eq!(ns.list().unwrap_err().code(), Code::FileCorrupt);
        });
        Way::CutToNothing.happens(&file);
        assert_eq!(ns.inspect("a").unwrap_err().code(), Code::FileCorrupt);
        let after = Child::new(|| assert_eq!(s.acquire().unwrap_err().code(), Code::FileCorrupt));
        tell.open();
        assert_eq!((before.status(), after.status()), (0, 0));
        // The same file again.
        let again = Namespace::open(&format!("shm:{}", file.display())).unwrap_err();
        assert_eq!(again.code(), Code::FileCorrupt);
    });
    assert_eq!(end_of(child), 0);
}

/// A file that was moved away and comes back: nothing in it has changed.
#[test]
fn a_name_that_comes_back_is_the_namespace_again() {
    let (_dir, file) = place();
    let child = Child::new(|| {
        let ns = open(&file);
        let s = Exclusive::create(&ns, "a").unwrap();
        let held = s.acquire().unwrap();
        let away = file.with_file_name("away");
        fs::rename(&file, &away).unwrap();
        processes::until(|| Exclusive::create(&ns, "b").is_err_and(|e| e.code() == Code::InvalidHandle));
        // What is held nests, and ends.
        drop(s.acquire().unwrap());
        fs::rename(&away, &file).unwrap();
        drop(held);
        processes::until(|| s.acquire().is_ok());
    });
    assert_eq!(end_of(child), 0);
}

/// The keeper's own descriptors are none of the program's, and those that it had are still the program's only.
#[test]
fn the_watch_costs_the_program_no_descriptor() {
    let (_dir, file) = place();
    let child = Child::new(|| {
        let ns = open(&file);
        // But for one in the first second: what the keeper will ask about filters (docs/interrupt.md).
        let is_that = |fd: &fs::DirEntry| fs::read_link(fd.path()).is_ok_and(|to| to.ends_with("status"));
        let count = || fs::read_dir("/proc/self/fd").unwrap().filter(|fd| !fd.as_ref().is_ok_and(is_that)).count();
        let s = Exclusive::create(&ns, "a").unwrap();
        let held = s.acquire().unwrap();
        let (before, (mut from, to)) = (count(), std::io::pipe().unwrap());
        thread::sleep(Duration::from_millis(1500));
        assert_eq!(count(), before + 2);
        // The last writing end is closed here, and nowhere else is one.
        drop(to);
        assert_eq!(std::io::Read::read(&mut from, &mut [0]).unwrap(), 0);
        // The gate's lock is there: somebody who finds the claim waits for its owner.
        let other = Child::new(|| {
            let s = Exclusive::open(&open(&file), "a").unwrap();
            assert_eq!(s.try_acquire().unwrap_err().code(), Code::ExclSemAlreadyOwned);
        });
        assert_eq!(end_of(other), 0);
        drop(held);
    });
    assert_eq!(end_of(child), 0);
}
