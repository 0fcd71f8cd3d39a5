//! The process whose resources are limited, and the one that starts it.

use std::fs;
use std::future::Future;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use xsem::{Counting, Event, Exclusive, Namespace, Wait};

/// Says in the environment that a process is a child of these tests: which limit.
pub const CHILD: &str = "XSEM_RESOURCES_LIMIT";
pub const ALICE: u32 = 54323;
/// How many steps a round has.
pub const STEPS: usize = 8;
const LIMIT: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(60);

/// A step, and what came of it; 0: it worked.
#[derive(Debug)]
pub struct Step {
    pub name: String,
    pub code: u32,
    pub text: String,
}

/// Two rounds in a process with a limit: while it is low, and afterwards.
pub fn run(limit: &str, value: u64, user: Option<u32>) -> (Vec<Step>, Vec<Step>) {
    let dir = tempfile::Builder::new().prefix("xsem-resources-").tempdir_in("/dev/shm").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, limit).env("VALUE", value.to_string()).env("DIR", dir.path()).env_remove("RUST_BACKTRACE");
    if let Some(user) = user {
        chown(dir.path(), Some(user), Some(user)).unwrap();
        command.env("USER_ID", user.to_string());
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
        if begin.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("{limit} {value}: it hangs");
        }
    }
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{limit} {value}: {:?} {}", out.status, String::from_utf8_lossy(&out.stdout));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let steps = |round: &str| text.lines().filter_map(|l| l.strip_prefix(round)).map(step).collect();
    (steps("first\t"), steps("second\t"))
}

fn step(line: &str) -> Step {
    let mut words = line.splitn(3, '\t');
    let mut word = || words.next().unwrap_or_default().to_owned();
    Step { name: word(), code: word().parse().expect("a code"), text: word() }
}

fn tell<T>(round: &str, name: &str, r: &xsem::Result<T>) -> bool {
    let (code, text) = r.as_ref().map_or_else(|e| (e.code().number(), e.to_string()), |_| (0, String::new()));
    say(round, name, code, &text);
    r.is_ok()
}

fn say(round: &str, name: &str, code: u32, text: &str) {
    // One write, whatever the test harness writes beside it.
    let line = format!("\n{round}\t{name}\t{code}\t{text}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

pub fn child() {
    let set = |name: &str| std::env::var(name).expect("told");
    let (limit, value, dir) = (set(CHILD), set("VALUE").parse().expect("a number"), PathBuf::from(set("DIR")));
    let user = std::env::var("USER_ID").ok().and_then(|u| u.parse().ok());
    if let Some(user) = user {
        become_user(user);
    }
    let url = format!("shm:{}/ns", dir.display());
    let resource = match limit.as_str() {
        "nofile" | "nofile-later" => libc::RLIMIT_NOFILE,
        "as" => libc::RLIMIT_AS,
        "nproc" => libc::RLIMIT_NPROC,
        "fsize" => libc::RLIMIT_FSIZE,
        "memlock" => libc::RLIMIT_MEMLOCK,
        "core" => libc::RLIMIT_CORE,
        "tmpfs" | "inodes" => return small(&limit, value, &dir),
        "read-only" => return read_only(&dir, &url),
        "hole" => return hole(value, &dir),
        other => panic!("{other}"),
    };
    let low = match resource {
        libc::RLIMIT_AS => used_address_space() + (value << 20),
        _ => value,
    };
    // What a process has open before the shortage stays usable.
    let early = (limit == "nofile-later").then(|| Namespace::open(&url).expect("nothing is short yet"));
    let high = soft_limit(resource, low);
    round("first", &url);
    soft_limit(resource, high);
    round("second", &url);
    drop(early);
}

/// Everything once. What depends on a step that failed is left out.
fn round(round: &str, url: &str) {
    let ns = Namespace::open(url);
    if !tell(round, "open", &ns) {
        return;
    }
    let Ok(ns) = ns else { return };
    let sem = Exclusive::open_or_create(&ns, "s");
    tell(round, "create", &sem);
    let pool = Counting::open_or_create_pool(&ns, "p", LIMIT);
    let event = Event::open_or_create_manual(&ns, "e");
    let (Ok(sem), Ok(pool), Ok(event)) = (sem, pool, event) else { return };
    tell(round, "acquire", &owned(sem.acquire_timeout(PATIENCE)));
    tell(round, "label", &owned(sem.acquire_with(Wait::timeout(PATIENCE).label("a label"))));
    let all = pool.acquire_many(LIMIT);
    tell(round, "permits", &all);
    if all.is_ok() {
        tell(round, "wait", &pool.acquire_timeout(Duration::from_millis(3)).map(drop));
        tell(round, "future", &block_on(pool.acquire_async_with(1, Wait::timeout(Duration::from_millis(3)))).map(drop));
    }
    drop(all);
    let looked = event.signal().and_then(|_| event.wait()).and_then(|()| event.reset()).and_then(|_| ns.list()).map(drop);
    tell(round, "event, list", &looked);
}

fn owned(r: Result<xsem::Guard<'_>, xsem::AcquireError<'_>>) -> xsem::Result<()> {
    r.map_err(xsem::Error::from)?.release()
}

/// How C libraries number what can be limited.
#[cfg(not(target_env = "musl"))]
type Resource = u32;
#[cfg(target_env = "musl")]
type Resource = i32;

/// Sets the soft limit, and gives what it was.
fn soft_limit(resource: Resource, value: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid place for the limits.
    assert_eq!(unsafe { libc::getrlimit(resource, &mut limit) }, 0);
    let was = std::mem::replace(&mut limit.rlim_cur, value.min(limit.rlim_max));
    // SAFETY: valid limits, for this process.
    assert_eq!(unsafe { libc::setrlimit(resource, &limit) }, 0);
    was
}

fn used_address_space() -> u64 {
    let pages: u64 = fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
    pages * 4096
}

/// On a small file system: everything, then as many names as there is room for.
fn small(limit: &str, value: u64, dir: &Path) {
    let options = if limit == "inodes" { format!("nr_inodes={value}") } else { format!("size={value}k") };
    mount_here(dir, &options);
    let url = format!("shm:{}/ns", dir.display());
    let ns = Namespace::builder().max_semaphores(100_000).open(&url);
    if !tell("first", "open", &ns) {
        let files = fs::read_dir(dir).unwrap().count();
        return say("first", "left over", 0, &format!("{files} files"));
    }
    let Ok(ns) = ns else { return };
    // Whether there is room for one semaphore and one member is what the first steps tell.
    let first = Exclusive::create(&ns, "held");
    tell("first", "create", &first);
    let mut names = Vec::new();
    let filled = loop {
        let name = format!("a rather long name, so that the room is taken soon, number {}", names.len());
        match Exclusive::create(&ns, &name).and_then(|s| owned(s.acquire_timeout(PATIENCE))) {
            Ok(()) => names.push(name),
            Err(e) => break e,
        }
        assert!(names.len() < 100_000, "it is never full");
    };
    tell::<()>("first", "filled", &Err(filled));
    let held = match &first {
        Ok(sem) => owned(sem.try_acquire()),
        // Nothing could be had at all; then nothing is held.
        Err(_) => Ok(()),
    };
    tell("first", "held", &held);
    let again = match names.pop() {
        // The same name: another one may belong into a part of the index for which no room was taken yet.
        Some(name) => ns.remove(&name).and_then(|()| Exclusive::create(&ns, &name).map(drop)),
        None => Ok(()),
    };
    tell("first", "again", &again);
}

/// Writes a file until there is no room.
fn fill(dir: &Path) {
    let mut filler = fs::File::options().create(true).append(true).open(dir.join("filler")).unwrap();
    for size in [65536, 4096] {
        while filler.write_all(&vec![1; size]).is_ok() {}
    }
}

/// A page that belongs to the file is taken out of it, and the file system has no other: somebody owns, and somebody sleeps for,
/// a semaphore in that page.
fn hole(value: u64, dir: &Path) {
    mount_here(dir, &format!("size={value}k"));
    let url = format!("shm:{}/ns", dir.display());
    let ns = Namespace::builder().max_semaphores(1000).open(&url).unwrap();
    let sem = Exclusive::create(&ns, "held").unwrap();
    let guard = sem.acquire().unwrap();
    let sleeper = std::thread::spawn({
        let sem = sem.clone();
        move || owned(sem.acquire_timeout(PATIENCE))
    });
    while ns.inspect("held").unwrap().waiters.is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let page = xsem::shm::testing::place_of_word(&ns, "held").unwrap() & !4095;
    let file = fs::File::options().write(true).open(dir.join("ns")).unwrap();
    fill(dir);
    let how = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: plain numbers; the file is one of this test.
    let punched = unsafe { libc::fallocate(std::os::fd::AsRawFd::as_raw_fd(&file), how, page as i64, 4096) };
    assert_eq!(punched, 0, "{}", std::io::Error::last_os_error());
    fill(dir);
    tell("first", "touched", &sem.try_acquire().map(drop).map_err(xsem::Error::from));
    tell("first", "sleeper", &sleeper.join().unwrap());
    tell("first", "release", &guard.release());
    tell("first", "create", &Exclusive::create(&ns, "other").map(drop));
    fs::remove_file(dir.join("filler")).unwrap();
    tell("second", "with room again", &owned(sem.try_acquire()));
    // Who opens it now finds zeros where the page was.
    // SAFETY: as in `read_only`.
    match unsafe { libc::fork() } {
        0 => {
            let damaged = Namespace::check_at(&url).is_ok_and(|found| !found.is_sound());
            // SAFETY: as in `read_only`.
            unsafe { libc::_exit(i32::from(!damaged)) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: a child of this process.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            assert_eq!(status, 0, "a check by somebody else says that it is damaged");
        }
    }
}

fn read_only(dir: &Path, url: &str) {
    let file = dir.join("ns");
    // In a process of its own: this one would know the file already.
    // SAFETY: the child opens a file and leaves by `_exit`; no other thread of this process holds anything that it needs.
    match unsafe { libc::fork() } {
        // SAFETY: ends the child without running exit handlers.
        0 => unsafe { libc::_exit(i32::from(Namespace::open(url).is_err())) },
        pid => {
            let mut status = 0;
            // SAFETY: a child of this process.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            assert_eq!(status, 0);
        }
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    round("first", url);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    round("second", url);
}

fn become_user(user: u32) {
    // SAFETY: plain numbers, and a list of one; they change who this process is.
    let all = unsafe { [libc::setgroups(1, &user), libc::setresgid(user, user, user), libc::setresuid(user, user, user)] };
    assert_eq!(all, [0; 3]);
}

fn mount_here(dir: &Path, options: &str) {
    let c = |text: &str| std::ffi::CString::new(text).unwrap();
    let (dir, options) = (c(dir.to_str().unwrap()), c(&format!("mode=700,{options}")));
    // SAFETY: NUL-terminated strings; the mounts are in a namespace that ends with this process.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS | libc::CLONE_FS), 0);
        let private = libc::MS_REC | libc::MS_PRIVATE;
        assert_eq!(libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()), 0);
        assert_eq!(libc::mount(c"tmpfs".as_ptr(), dir.as_ptr(), c"tmpfs".as_ptr(), 0, options.as_ptr().cast()), 0);
    }
}

/// Whether this is root; says what is left out where not.
pub fn is_root(what: &str) -> bool {
    // SAFETY: no arguments.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        println!("not run, since this needs root: {what}");
    }
    root
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(f: F) -> F::Output {
    let mut f = pin!(f);
    let waker: Waker = Arc::new(Unpark(std::thread::current())).into();
    loop {
        match f.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
