//! Keeps the library that this code is part of in memory.
//!
//! The keeper runs its code until the process ends, and the C library calls it at the end of every thread that claimed
//! something. So if it was loaded with `dlopen`, `dlclose` must not unload it any more.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering::*};

static DONE: AtomicBool = AtomicBool::new(false);

/// From here on `dlclose` does not unload this code. Where it is part of the program itself there is nothing to do.
pub fn library() {
    if DONE.load(Acquire) {
        return;
    }
    if let Some((name, base)) = object_of(library as *const c_void)
        && Some(base) != program()
    {
        // NOLOAD: only what is loaded already; NODELETE: for ever. The handle is not closed, which would do as well.
        // SAFETY: a NUL-terminated name of the loader's own, which stays while the library is loaded.
        let handle = unsafe { libc::dlopen(name, libc::RTLD_NOLOAD | libc::RTLD_NODELETE | libc::RTLD_LAZY) };
        if handle.is_null() {
            tracing::debug!("the library cannot be kept loaded: it must not be unloaded by dlclose");
        }
    }
    DONE.store(true, Release);
}

/// The name and the base of the loaded object that an address lies in.
fn object_of(address: *const c_void) -> Option<(*const libc::c_char, usize)> {
    // SAFETY: an all-zero Dl_info is a valid value to be overwritten (null pointers).
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: any address may be asked about; `info` is valid for writes.
    let found = unsafe { libc::dladdr(address, &mut info) } != 0 && !info.dli_fname.is_null();
    found.then_some((info.dli_fname, info.dli_fbase as usize))
}

/// The base of the program, by where the kernel has put its headers.
fn program() -> Option<usize> {
    // SAFETY: a plain number.
    let headers = unsafe { libc::getauxval(libc::AT_PHDR) };
    object_of(headers as *const c_void).map(|(_, base)| base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_itself_from_other_objects() {
        // The tests are a program that has this code in itself; the C library is none.
        let mine = object_of(library as *const c_void).map(|(_, base)| base);
        assert_eq!(mine, program());
        // Where everything is linked into the program there are no objects, and nothing to keep.
        assert_eq!(mine.is_none(), cfg!(target_feature = "crt-static"));
        // SAFETY: a name of the C library, NUL-terminated.
        let getpid = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"getpid".as_ptr()) };
        assert!(object_of(getpid).is_none_or(|(_, base)| Some(base) != mine));
        library();
        assert!(DONE.load(Relaxed));
    }
}
