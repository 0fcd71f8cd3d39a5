//! A directory to play in, and processes that open something there as some user.

use std::ffi::CString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use xsem::Namespace;

/// Says in the environment that a process is a child of these tests: what it is to open.
pub const CHILD: &str = "XSEM_NEIGHBOURS_OPEN";

/// Who opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The user of the test.
    Me,
    /// User and group ids; groups beside that. Needs root.
    Ids(u32, &'static [u32]),
}

/// A user who is in the user database of every Linux, in the group of the same number.
pub const NOBODY: u32 = 65534;
/// Two that are not.
pub const ALICE: u32 = 54321;
pub const MALLORY: u32 = 54322;

/// Code and text of an error.
pub type Refused = (u32, String);

/// A child that neither ends nor answers for so long hangs; slow machines say in `XSEM_SLOW` how slow they are.
fn patience() -> Duration {
    let slowness = std::env::var("XSEM_SLOW").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    Duration::from_secs(120) * slowness
}

pub struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    pub fn new() -> Scene {
        let dir = tempfile::Builder::new().prefix("xsem-neighbours-").tempdir_in("/dev/shm").unwrap();
        Scene { dir }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Opens a namespace of this directory.
    pub fn open(&self, name: &str, user: User) -> Result<(), Refused> {
        self.open_with(name, user, &[])
    }

    pub fn open_with(&self, name: &str, user: User, more: &[(&str, &str)]) -> Result<(), Refused> {
        opened(&format!("shm:{}", self.path(name).display()), user, more)
    }

    pub fn open_at(&self, path: &str, user: User) -> Result<(), Refused> {
        opened(&format!("shm:{path}"), user, &[])
    }

    /// Opens it again and again in a child, while something is done here; the codes.
    pub fn open_many(&self, name: &str, times: u32, mut meanwhile: impl FnMut()) -> Vec<u32> {
        let url = format!("shm:{}", self.path(name).display());
        let mut child = start(&url, User::Me, &[("TIMES", &times.to_string())]);
        let begin = Instant::now();
        while child.try_wait().unwrap().is_none() {
            meanwhile();
            if begin.elapsed() > patience() {
                let _ = child.kill();
                panic!("opening hangs");
            }
        }
        lines(&mut child).iter().map(|l| l.split(' ').next().unwrap().parse().unwrap()).collect()
    }

    /// What is there, so that any change shows: kind, owner, mode, links, size, time of the last change, target or content.
    pub fn picture(&self) -> Vec<String> {
        picture(self.dir.path())
    }
}

pub fn picture(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let m = fs::symlink_metadata(&path).unwrap();
        let inside = match () {
            () if m.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
            () if m.is_file() && m.size() < 1 << 20 => format!("{:?}", fs::read(&path).unwrap()),
            () => String::new(),
        };
        let (mode, owner, group) = (m.mode(), m.uid(), m.gid());
        let changed = (m.ctime(), m.ctime_nsec());
        all.push(format!("{} {mode:o} {owner} {group} {} {} {changed:?} {inside}", path.display(), m.nlink(), m.size()));
        if m.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().flatten().map(|e| e.path()));
        }
    }
    all.sort();
    all
}

fn start(url: &str, user: User, more: &[(&str, &str)]) -> Child {
    let mut c = Command::new(std::env::current_exe().unwrap());
    c.args(["--exact", "child", "--nocapture"]).env(CHILD, url);
    if let User::Ids(uid, groups) = user {
        let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
        c.env("IDS", format!("{uid} {}", groups.join(" ")));
    }
    c.envs(more.iter().copied()).stdout(Stdio::piped()).spawn().unwrap()
}

fn lines(child: &mut Child) -> Vec<String> {
    let out = BufReader::new(child.stdout.take().unwrap());
    out.lines().map_while(Result::ok).filter_map(|l| l.strip_prefix("said ").map(str::to_owned)).collect()
}

/// Opens a URL in a process of its own.
pub fn opened(url: &str, user: User, more: &[(&str, &str)]) -> Result<(), Refused> {
    let mut child = start(url, user, more);
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
        if begin.elapsed() > patience() {
            let _ = child.kill();
            panic!("opening {url} hangs");
        }
    }
    let said = lines(&mut child);
    let (code, text) = said.first().and_then(|l| l.split_once(' ')).unwrap_or_else(|| panic!("{url}: no answer"));
    match code.parse().unwrap() {
        0 => Ok(()),
        code => Err((code, text.to_owned())),
    }
}

fn told(r: xsem::Result<()>) {
    let line = match r {
        Ok(()) => "\nsaid 0 \n".to_owned(),
        Err(e) => format!("\nsaid {} {e}\n", e.code().number()),
    };
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

/// The child: becomes who it is to be, opens, says what came of it.
pub fn child() {
    let set = |name: &str| std::env::var(name).ok();
    let url = set(CHILD).expect("told");
    let mount = set("MOUNT");
    let path = PathBuf::from(url.trim_start_matches("shm:"));
    if mount.as_deref() == Some("ro") {
        mount_here(path.parent().unwrap(), true);
    }
    if let Some(mask) = set("UMASK").and_then(|m| m.parse().ok()) {
        // SAFETY: a plain number, for this process.
        unsafe { libc::umask(mask) };
    }
    if let Some(ids) = set("IDS") {
        become_user(&ids);
    }
    if let Some(times) = set("TIMES").and_then(|t| t.parse::<u32>().ok()) {
        return (0..times).for_each(|_| told(Namespace::open(&url).map(drop)));
    }
    let r = Namespace::open(&url);
    if mount.as_deref() == Some("over") {
        let ns = r.expect("it is there");
        let sem = xsem::Exclusive::open_or_create(&ns, "s").expect("made");
        drop(sem.acquire().expect("free"));
        mount_here(path.parent().unwrap(), false);
        // Looked up at most every ten milliseconds.
        std::thread::sleep(Duration::from_millis(30));
        let fresh = xsem::Exclusive::open_or_create(&ns, "t").and_then(|t| t.try_acquire().map(drop).map_err(xsem::Error::from));
        return told(fresh);
    }
    told(r.map(drop));
}

/// A user id, and the groups; the first one is the effective group.
pub fn become_user(ids: &str) {
    let ids: Vec<u32> = ids.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    let (uid, groups) = (ids[0], &ids[1..]);
    let gid = groups.first().copied().unwrap_or(uid);
    // SAFETY: plain numbers and a list of the size given; they change who this process is.
    let all = unsafe {
        [libc::setgroups(groups.len(), groups.as_ptr()), libc::setresgid(gid, gid, gid), libc::setresuid(uid, uid, uid)]
    };
    assert_eq!(all, [0; 3]);
}

/// In a mount namespace of this process's own: a directory becomes read-only, or a fresh file system lies over it.
fn mount_here(dir: &Path, read_only: bool) {
    let dir = c(dir);
    let (bind, remount) = (libc::MS_BIND, libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY);
    // SAFETY: NUL-terminated strings; the mounts are in a namespace that ends with this process.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0);
        assert_eq!(
            libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE, std::ptr::null()),
            0
        );
        if read_only {
            assert_eq!(libc::mount(dir.as_ptr(), dir.as_ptr(), std::ptr::null(), bind, std::ptr::null()), 0);
            assert_eq!(libc::mount(dir.as_ptr(), dir.as_ptr(), std::ptr::null(), remount, std::ptr::null()), 0);
        } else {
            assert_eq!(libc::mount(c"tmpfs".as_ptr(), dir.as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()), 0);
        }
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

pub fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

pub fn fifo(path: &Path) {
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::mkfifo(c(path).as_ptr(), 0o600) }, 0);
}

pub fn own(path: &Path, uid: u32, gid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).unwrap();
}

/// Two names change places.
pub fn exchange(a: &Path, b: &Path) {
    // SAFETY: two NUL-terminated paths.
    let r = unsafe {
        libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, c(a).as_ptr(), libc::AT_FDCWD, c(b).as_ptr(), libc::RENAME_EXCHANGE)
    };
    assert_eq!(r, 0);
}

/// Files that are made in the directory shall be open to another user. False: the file system has no such lists.
pub fn default_acl(dir: &Path) -> bool {
    acl(dir, c"system.posix_acl_default")
}

/// A file, or a directory, is open to another user.
pub fn access_acl(path: &Path) -> bool {
    acl(path, c"system.posix_acl_access")
}

fn acl(path: &Path, which: &std::ffi::CStr) -> bool {
    let none = u32::MAX;
    // Version 2; then tag, permissions, id: owner, the user MALLORY, group, mask, others.
    let entries: [(u16, u16, u32); 5] = [(1, 6, none), (2, 6, MALLORY), (4, 6, none), (0x10, 6, none), (0x20, 0, none)];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    // SAFETY: NUL-terminated strings, and so many bytes.
    unsafe { libc::setxattr(c(path).as_ptr(), which.as_ptr(), bytes.as_ptr().cast(), bytes.len(), 0) == 0 }
}
