//! A library that has xsem inside, for a program that loads it with `dlopen`. See `tests/unload.rs`.

use std::ffi::{CStr, c_char, c_int};
use xsem::{Exclusive, Namespace};

/// Acquires a semaphore; gives it back, or forgets it. The number of the code, 0: all went well.
///
/// # Safety
/// Two NUL-terminated strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plugin_claim(url: *const c_char, name: *const c_char, forget: c_int) -> c_int {
    // SAFETY: as the caller promises.
    let (url, name) = unsafe { (CStr::from_ptr(url), CStr::from_ptr(name)) };
    let claim = || {
        let ns = Namespace::open(&url.to_string_lossy())?;
        let sem = Exclusive::open_or_create(&ns, &name.to_string_lossy())?;
        match (sem.acquire()?, forget) {
            (guard, 0) => guard.release()?,
            (guard, _) => std::mem::forget(guard),
        }
        Ok::<(), xsem::Error>(())
    };
    claim().map_or_else(|e| e.code().number() as c_int, |()| 0)
}
