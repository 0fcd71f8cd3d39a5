//! The namespace file: where it is, what is refused and why, and that a refused file is left as it is.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use xsem::{Code, Error, Exclusive, Namespace};

fn dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ns");
    (dir, file)
}

fn open(file: &Path) -> Result<Namespace, Error> {
    Namespace::open(&format!("shm:{}", file.display()))
}

/// In a process of its own: this one keeps what it has open.
fn open_elsewhere(file: &Path) -> Code {
    // SAFETY: the child only opens a file and leaves by _exit.
    match unsafe { libc::fork() } {
        0 => {
            // Its place among all codes: an exit code has room for a byte.
            let place = |e: xsem::Error| Code::ALL.iter().position(|c| *c == e.code()).expect("a code") + 1;
            let n = open(file).map_or_else(place, |_| 0);
            // SAFETY: ends the child without running the harness's exit handlers.
            unsafe { libc::_exit(n as i32) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: a child of this process.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            let place = libc::WEXITSTATUS(status) as usize;
            *Code::ALL.get(place.wrapping_sub(1)).expect("the child could open it")
        }
    }
}

/// Makes a namespace without having it open here.
fn make_elsewhere(file: &Path) {
    // SAFETY: the child only makes a file and leaves by _exit.
    match unsafe { libc::fork() } {
        // SAFETY: ends the child without running the harness's exit handlers.
        0 => unsafe { libc::_exit(open(file).is_err() as i32) },
        pid => {
            let mut status = 0;
            // SAFETY: a child of this process.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            assert_eq!(status, 0);
        }
    }
}

#[test]
fn urls() {
    for bad in ["", "shm", "redis://x", "shm:a/b", "shm:.hidden", "shm:a b", &format!("shm:{}", "x".repeat(101))] {
        assert_eq!(Namespace::open(bad).unwrap_err().code(), Code::InvalidParameter, "{bad}");
    }
    let name = format!("test-{}", std::process::id());
    let ns = Namespace::open(&format!("shm:{name}")).unwrap();
    assert_eq!(ns.url(), format!("shm:{name}"));
    // SAFETY: no arguments.
    let dir = PathBuf::from(format!("/dev/shm/xsem-{}", unsafe { libc::geteuid() }));
    let meta = fs::metadata(dir.join(&name)).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o7777, 0o700);
    for f in fs::read_dir(&dir).unwrap().flatten().filter(|f| f.file_name().to_string_lossy().contains(&name)) {
        fs::remove_file(f.path()).unwrap();
    }
}

#[test]
fn it_is_not_made_when_it_shall_not_be() {
    let (_dir, file) = dir();
    let e = Namespace::builder().create(false).open(&format!("shm:{}", file.display())).unwrap_err();
    assert_eq!(e.code(), Code::SemNotFound);
    assert!(!file.exists());
}

#[test]
fn limits() {
    let (_dir, file) = dir();
    let url = format!("shm:{}", file.display());
    for (s, m) in [(0, 10), (16_000_001, 10), (10, 0), (10, 2041)] {
        let e = Namespace::builder().max_semaphores(s).max_members(m).open(&url).unwrap_err();
        assert_eq!(e.code(), Code::InvalidParameter);
    }
    let ns = Namespace::builder().max_semaphores(3).max_members(1).open(&url).unwrap();
    for n in ["a", "b", "c"] {
        Exclusive::create(&ns, n).unwrap();
    }
    assert_eq!(Exclusive::create(&ns, "d").unwrap_err().code(), Code::TooManySemaphores);
    ns.remove("b").unwrap();
    Exclusive::create(&ns, "d").unwrap();
    // This process is the one member.
    // SAFETY: the child makes one request and leaves by _exit.
    match unsafe { libc::fork() } {
        0 => {
            let refused = Exclusive::open(&ns, "a").is_ok_and(|s| s.try_acquire().is_err_and(|e| e.code() == Code::SemUserLimit));
            // SAFETY: ends the child without running the harness's exit handlers.
            unsafe { libc::_exit(refused as i32) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: a child of this process.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            assert_eq!(libc::WEXITSTATUS(status), 1, "106 was expected");
        }
    }
}

/// A limit on file sizes would end the process that makes the file, by a signal, and leave half of it behind.
#[test]
fn a_limit_on_file_sizes_is_an_error_and_leaves_nothing() {
    let (dir, file) = dir();
    // SAFETY: the child only opens a file and leaves by _exit.
    match unsafe { libc::fork() } {
        0 => {
            let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: libc::RLIM_INFINITY };
            // SAFETY: a valid limit for the child alone.
            unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) };
            let n = open(&file).map_or_else(|e| e.code().number(), |_| 0);
            // SAFETY: ends the child without running the harness's exit handlers.
            unsafe { libc::_exit(n as i32) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: a child of this process.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 8, "{status:#x}");
        }
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_is_not_ours_is_refused() {
    let (dir, file) = dir();
    drop(open(&file).unwrap());
    let link = dir.path().join("link");
    symlink(&file, &link).unwrap();
    assert_eq!(open_elsewhere(&link), Code::AccessDenied);
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(open_elsewhere(&file), Code::AccessDenied);
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let hard = dir.path().join("hard");
    fs::hard_link(&file, &hard).unwrap();
    assert_eq!(open_elsewhere(&file), Code::AccessDenied);
    fs::remove_file(&hard).unwrap();
    let fifo = std::ffi::CString::new(dir.path().join("fifo").to_str().unwrap()).unwrap();
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    assert_eq!(open_elsewhere(&dir.path().join("fifo")), Code::AccessDenied);
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    assert_eq!(open_elsewhere(&file), Code::AccessDenied);
}

#[test]
fn damaged_and_foreign_files_are_refused_and_left_alone() {
    let (dir, file) = dir();
    make_elsewhere(&file);
    let f = OpenOptions::new().read(true).write(true).open(&file).unwrap();
    let mut head = [0u8; 64];
    f.read_exact_at(&mut head, 0).unwrap();
    let check = |at: u64, byte: u8, code: Code| {
        f.write_all_at(&[byte], at).unwrap();
        assert_eq!(open_elsewhere(&file), code, "byte {at}");
        let mut now = [0u8; 1];
        f.read_exact_at(&mut now, at).unwrap();
        assert_eq!(now[0], byte);
        f.write_all_at(&head, 0).unwrap();
    };
    check(0, b'Y', Code::FileCorrupt);
    // The second copy of the header tells damage from another version.
    check(8, head[8] + 1, Code::FileCorrupt);
    f.write_all_at(&[head[8] + 1], 8192 + 8).unwrap();
    check(8, head[8] + 1, Code::RevisionMismatch);
    f.write_all_at(&[head[8]], 8192 + 8).unwrap();
    check(16, 1, Code::FileCorrupt);
    check(56, head[56] ^ 1, Code::FileCorrupt);
    let len = f.metadata().unwrap().len();
    f.set_len(len - 16384).unwrap();
    assert_eq!(open_elsewhere(&file), Code::FileCorrupt);
    f.set_len(len).unwrap();
    let short = dir.path().join("short");
    fs::write(&short, b"XSEM").unwrap();
    fs::set_permissions(&short, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(open_elsewhere(&short), Code::FileCorrupt);
    assert_eq!(fs::read(&short).unwrap(), b"XSEM");
}

/// Files of other versions of the format beside one of this version, in one process: what this library cannot read it leaves alone,
/// whatever is asked of it, and the file beside goes on.
#[test]
fn files_of_other_versions_lie_beside_one_of_this_version() {
    let (dir, file) = dir();
    let ns = open(&file).unwrap();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let mine = sem.acquire().unwrap();
    let version = u64::from_le_bytes(fs::read(&file).unwrap()[8..16].try_into().unwrap());
    for other in [version - 1, version + 1] {
        let foreign = dir.path().join(format!("of-{other}"));
        make_elsewhere(&foreign);
        let f = OpenOptions::new().write(true).open(&foreign).unwrap();
        [8, 8192 + 8].into_iter().for_each(|at| f.write_all_at(&other.to_le_bytes(), at).unwrap());
        let before = fs::read(&foreign).unwrap();
        for _ in 0..2 {
            assert_eq!(open(&foreign).unwrap_err().code(), Code::RevisionMismatch, "{other}");
        }
        let url = format!("shm:{}", foreign.display());
        assert_eq!(Namespace::check_at(&url).unwrap_err().code(), Code::RevisionMismatch);
        assert_eq!(Namespace::repair_at(&url).unwrap_err().code(), Code::RevisionMismatch);
        assert!(fs::read(&foreign).unwrap() == before, "the file of version {other} was written to");
        // The one beside it is as usable as before.
        assert_eq!(sem.try_acquire().unwrap().token(), mine.token());
        drop(Exclusive::open_or_create(&ns, &format!("beside {other}")).unwrap().try_acquire().unwrap());
    }
    mine.release().unwrap();
}

#[test]
fn a_file_that_loses_its_name_takes_no_new_claims() {
    let (_dir, file) = dir();
    let ns = open(&file).unwrap();
    let sem = Exclusive::create(&ns, "a").unwrap();
    fs::remove_file(&file).unwrap();
    // It is looked at every ten milliseconds at most, and the create has just done so.
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert_eq!(sem.acquire_timeout(std::time::Duration::from_millis(1)).unwrap_err().code(), Code::InvalidHandle);
    let fresh = open(&file).unwrap();
    assert!(fresh.list().unwrap().is_empty());
}

#[test]
fn claims_in_a_copied_file_are_dead() {
    let (dir, file) = dir();
    let ns = open(&file).unwrap();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let guard = sem.acquire().unwrap();
    let copy = dir.path().join("copy");
    fs::copy(&file, &copy).unwrap();
    let there = Exclusive::open(&open(&copy).unwrap(), "a").unwrap();
    match there.try_acquire() {
        Err(xsem::AcquireError::OwnerDied(r)) => {
            assert_eq!(r.deaths().unwrap().first.cause, xsem::Cause::MachineRestarted);
        }
        other => panic!("{other:?}"),
    }
    assert!(guard.is_held());
}
