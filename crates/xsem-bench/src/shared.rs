//! Memory that several processes see, for the peers that live in memory.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::NonNull;

/// One `T` in a mapped file. It stays mapped until the process ends: peers hand out addresses inside it.
#[derive(Debug)]
pub struct Shared<T> {
    at: NonNull<T>,
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

// SAFETY: the address stays valid in every thread until the process ends; what is done through it is up to `T`'s own
// synchronisation (atomics, pthread objects).
unsafe impl<T> Send for Shared<T> {}
// SAFETY: two threads that share it have a `&T` each, at most.
unsafe impl<T: Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Maps the file at `path`, which is created, or grown with zeroes, to hold a `T`.
    pub fn map(path: &Path) -> io::Result<Shared<T>> {
        Shared::map_many(path, 1)
    }

    /// As `map`, for `n` of them, one after the other; this is the first.
    pub fn map_many(path: &Path, n: usize) -> io::Result<Shared<T>> {
        let size = (size_of::<T>() * n).next_multiple_of(4096);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() < size as u64 {
            file.set_len(size as u64)?;
        }
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
        // SAFETY: a fresh mapping of `size` bytes of an open file that has them; no other mapping is replaced.
        let p = unsafe { libc::mmap(std::ptr::null_mut(), size, prot, flags, file.as_raw_fd(), 0) };
        if p == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Shared { at: NonNull::new(p.cast()).expect("mmap never maps address 0 by itself") })
    }

    /// The address.
    pub fn ptr(&self) -> *mut T {
        self.at.as_ptr()
    }
}

impl<T: ZeroIsValid> std::ops::Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: mapped for ever, page-aligned, zeroed at first (valid by `ZeroIsValid`), and every field of `T` may be
        // changed by others at any time by the trait's contract.
        unsafe { self.at.as_ref() }
    }
}

/// Types of which all-zero bytes are a value, and which others may change while a reference exists.
///
/// # Safety
/// All fields are atomics, or cells of such, so that both hold.
pub unsafe trait ZeroIsValid {}

// SAFETY: an atomic, for which zero is a value.
unsafe impl ZeroIsValid for std::sync::atomic::AtomicU64 {}
// SAFETY: as above.
unsafe impl ZeroIsValid for std::sync::atomic::AtomicU32 {}

/// `CLOCK_MONOTONIC` in nanoseconds: the same in all processes, unlike `Instant`, which cannot be handed over.
pub fn now() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place to write to, and a clock that always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
