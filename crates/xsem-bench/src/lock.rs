//! One face for all locks that two processes can share, for the benchmarks that need a second process.

use crate::peers::file::FileLock;
use crate::peers::pthread::{Mutex, Sem};
use crate::peers::sysv::Sysv;
use crate::shared::Shared;
use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, io};
use xsem::{AcquireError, Counting, Exclusive, Guard, Namespace, Permit};

/// A lock between processes.
pub enum Lock {
    Xsem(&'static Exclusive, RefCell<Option<Guard<'static>>>),
    /// One of a pool of one.
    Pool(&'static Counting, RefCell<Option<Permit<'static>>>),
    Futex(Shared<AtomicU32>),
    Robust(Mutex),
    Plain(Mutex),
    Sem(Sem),
    Flock(FileLock),
    Ofd(FileLock),
    /// With SEM_UNDO, so that it notices a death.
    Sysv(Sysv),
}

/// What exists for as long as the benchmark runs, and nobody would remove.
pub struct Made(#[expect(dead_code, reason = "it is kept to be dropped at the end")] Sysv);

impl Lock {
    /// Creates the files of all locks, once, in the parent.
    pub fn create(dir: &Path) -> io::Result<Made> {
        Mutex::create(&dir.join("robust"), true)?;
        Mutex::create(&dir.join("plain"), false)?;
        Sem::create(&dir.join("sem"), 1)?;
        let sysv = Sysv::create()?;
        fs::write(dir.join("sysv"), sysv.id().to_string())?;
        Ok(Made(sysv))
    }

    /// Opens all of them.
    pub fn all(dir: &Path) -> io::Result<Vec<Lock>> {
        let ns = Namespace::open(&format!("shm:{}", dir.join("ns").display())).map_err(io::Error::other)?;
        // Leaked, so that a guard can be kept beside it, as the other locks are held between two calls.
        let sem = Box::leak(Box::new(Exclusive::open_or_create(&ns, "lock").map_err(io::Error::other)?));
        let sysv = fs::read_to_string(dir.join("sysv"))?.parse().map_err(io::Error::other)?;
        let pool = Box::leak(Box::new(Counting::open_or_create_pool(&ns, "pool", 1).map_err(io::Error::other)?));
        Ok(vec![
            Lock::Xsem(sem, RefCell::new(None)),
            Lock::Pool(pool, RefCell::new(None)),
            Lock::Futex(Shared::map(&dir.join("futex"))?),
            Lock::Robust(Mutex::open(&dir.join("robust"))?),
            Lock::Plain(Mutex::open(&dir.join("plain"))?),
            Lock::Sem(Sem::open(&dir.join("sem"))?),
            Lock::Sysv(Sysv::open(sysv)),
            Lock::Flock(FileLock::open(&dir.join("flock"))?),
            Lock::Ofd(FileLock::open(&dir.join("ofd"))?),
        ])
    }

    pub fn name(&self) -> &'static str {
        match self {
            Lock::Xsem(..) => "xsem Exclusive",
            Lock::Pool(..) => "xsem Counting",
            Lock::Futex(_) => "raw futex",
            Lock::Robust(_) => "robust mutex",
            Lock::Plain(_) => "process-shared mutex",
            Lock::Sem(_) => "sem_t, process-shared",
            Lock::Sysv(_) => "SysV, SEM_UNDO",
            Lock::Flock(_) => "flock",
            Lock::Ofd(_) => "OFD lock",
        }
    }

    /// Owns it, whether the previous owner died or not.
    pub fn acquire(&self) {
        let failed = match self {
            Lock::Xsem(sem, guard) => {
                let got = match sem.acquire() {
                    Ok(got) => got,
                    Err(AcquireError::OwnerDied(r)) => r.mark_consistent().expect("held"),
                    Err(AcquireError::Failed(e)) => panic!("{e}"),
                };
                *guard.borrow_mut() = Some(got);
                0
            }
            Lock::Pool(pool, permit) => {
                *permit.borrow_mut() = Some(pool.acquire().expect("a permit comes"));
                0
            }
            Lock::Futex(word) => {
                while word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
                    futex(word, libc::FUTEX_WAIT, 1);
                }
                0
            }
            Lock::Robust(m) => match m.lock() {
                libc::EOWNERDEAD => m.consistent().map_or(-1, |()| 0),
                other => other,
            },
            Lock::Plain(m) => m.lock(),
            Lock::Sem(s) => s.wait(),
            Lock::Sysv(s) => s.op(-1, true),
            Lock::Flock(f) => f.flock(libc::LOCK_EX),
            Lock::Ofd(f) => f.ofd(libc::F_WRLCK),
        };
        assert_eq!(failed, 0, "{} could not be taken", self.name());
    }

    pub fn release(&self) {
        let failed = match self {
            Lock::Xsem(_, guard) => {
                drop(guard.borrow_mut().take());
                0
            }
            Lock::Pool(_, permit) => {
                drop(permit.borrow_mut().take());
                0
            }
            Lock::Futex(word) => {
                word.store(0, Ordering::Release);
                futex(word, libc::FUTEX_WAKE, 1);
                0
            }
            Lock::Robust(m) | Lock::Plain(m) => m.unlock(),
            Lock::Sem(s) => s.post(),
            Lock::Sysv(s) => s.op(1, true),
            Lock::Flock(f) => f.flock(libc::LOCK_UN),
            Lock::Ofd(f) => f.ofd(libc::F_UNLCK),
        };
        assert_eq!(failed, 0, "{} could not be released", self.name());
    }
}

fn futex(word: &AtomicU32, op: libc::c_int, value: u32) {
    // SAFETY: a mapped, aligned word; no timeout, no second word.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, value, std::ptr::null::<libc::timespec>(), 0, 0) };
}
