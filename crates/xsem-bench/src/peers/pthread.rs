//! glibc's process-shared mutexes and unnamed semaphores.

use super::{code_of, errno_of};
use crate::shared::Shared;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;

/// A process-shared mutex in a mapped file.
#[derive(Clone, Copy, Debug)]
pub struct Mutex(Shared<libc::pthread_mutex_t>);

impl Mutex {
    /// Initialises a new one.
    pub fn create(path: &Path, robust: bool) -> io::Result<Mutex> {
        let place = Shared::<libc::pthread_mutex_t>::map(path)?;
        init(place.ptr(), robust)?;
        Ok(Mutex(place))
    }

    /// The one that another process created in this file.
    pub fn open(path: &Path) -> io::Result<Mutex> {
        Ok(Mutex(Shared::map(path)?))
    }

    /// 0, EOWNERDEAD, ...
    #[inline]
    pub fn lock(&self) -> libc::c_int {
        // SAFETY: an initialised mutex in memory that stays mapped.
        unsafe { libc::pthread_mutex_lock(self.0.ptr()) }
    }

    /// 0, EBUSY, ...
    #[inline]
    pub fn try_lock(&self) -> libc::c_int {
        // SAFETY: as `lock`.
        unsafe { libc::pthread_mutex_trylock(self.0.ptr()) }
    }

    #[inline]
    pub fn unlock(&self) -> libc::c_int {
        // SAFETY: as `lock`; a mutex that is not held is refused with EPERM by the robust kind, and only held ones are
        // unlocked here.
        unsafe { libc::pthread_mutex_unlock(self.0.ptr()) }
    }

    /// After EOWNERDEAD: the state is whole again.
    pub fn consistent(&self) -> io::Result<()> {
        // SAFETY: as `lock`.
        code_of(unsafe { libc::pthread_mutex_consistent(self.0.ptr()) })
    }
}

/// Many robust ones in one mapped file, one after the other.
#[derive(Debug)]
pub struct Mutexes(Shared<libc::pthread_mutex_t>, usize);

impl Mutexes {
    /// Initialises new ones.
    pub fn create(path: &Path, n: usize) -> io::Result<Mutexes> {
        let first = Shared::<libc::pthread_mutex_t>::map_many(path, n)?;
        for i in 0..n {
            // SAFETY: there are `n`, and nobody uses them yet.
            init(unsafe { first.ptr().add(i) }, true)?;
        }
        Ok(Mutexes(first, n))
    }

    #[inline]
    pub fn lock(&self, i: usize) -> libc::c_int {
        assert!(i < self.1);
        // SAFETY: one of the initialised mutexes, in memory that stays mapped.
        unsafe { libc::pthread_mutex_lock(self.0.ptr().add(i)) }
    }

    #[inline]
    pub fn unlock(&self, i: usize) -> libc::c_int {
        assert!(i < self.1);
        // SAFETY: as `lock`.
        unsafe { libc::pthread_mutex_unlock(self.0.ptr().add(i)) }
    }
}

/// Makes a process-shared mutex of memory for one, which nobody uses yet.
fn init(place: *mut libc::pthread_mutex_t, robust: bool) -> io::Result<()> {
    let mut attr = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
    // SAFETY: `attr` is initialised by the first call before the others use it; the callers own `place`.
    unsafe {
        code_of(libc::pthread_mutexattr_init(attr.as_mut_ptr()))?;
        code_of(libc::pthread_mutexattr_setpshared(attr.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED))?;
        if robust {
            code_of(libc::pthread_mutexattr_setrobust(attr.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST))?;
        }
        code_of(libc::pthread_mutex_init(place, attr.as_ptr()))
    }
}

/// An unnamed process-shared semaphore in a mapped file.
#[derive(Clone, Copy, Debug)]
pub struct Sem(Shared<libc::sem_t>);

impl Sem {
    /// Initialises a new one.
    pub fn create(path: &Path, value: u32) -> io::Result<Sem> {
        let place = Shared::<libc::sem_t>::map(path)?;
        // SAFETY: mapped memory for one semaphore, which nobody uses yet.
        errno_of(unsafe { libc::sem_init(place.ptr(), 1, value) })?;
        Ok(Sem(place))
    }

    /// The one that another process created in this file.
    pub fn open(path: &Path) -> io::Result<Sem> {
        Ok(Sem(Shared::map(path)?))
    }

    #[inline]
    pub fn wait(&self) -> libc::c_int {
        // SAFETY: an initialised semaphore in memory that stays mapped.
        unsafe { libc::sem_wait(self.0.ptr()) }
    }

    /// 0, or -1 where it would have to wait.
    #[inline]
    pub fn try_wait(&self) -> libc::c_int {
        // SAFETY: as `wait`.
        unsafe { libc::sem_trywait(self.0.ptr()) }
    }

    #[inline]
    pub fn post(&self) -> libc::c_int {
        // SAFETY: as `wait`.
        unsafe { libc::sem_post(self.0.ptr()) }
    }
}
