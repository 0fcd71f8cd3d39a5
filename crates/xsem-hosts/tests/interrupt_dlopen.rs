//! A library with xsem in it is loaded, used, and unloaded again, while the kernel still looks at what it has left in the
//! thread's rseq area at every signal.

mod common;

use std::ffi::{CStr, CString, c_void};
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering::*};

static IS_NOW: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
static SAID: AtomicI32 = AtomicI32::new(-1);
static HANDLED: AtomicU32 = AtomicU32::new(0);

type Ask = extern "C" fn() -> i32;

extern "C" fn handler(_: i32) {
    let ask = IS_NOW.load(SeqCst);
    if !ask.is_null() {
        // SAFETY: `plugin_is_now` of the library, which is loaded as long as this is set.
        SAID.store(unsafe { std::mem::transmute::<*mut c_void, Ask>(ask) }(), SeqCst);
    }
    HANDLED.fetch_add(1, SeqCst);
}

/// An address of the library, by name.
fn symbol(library: *mut c_void, name: &CStr) -> *mut c_void {
    // SAFETY: a handle that dlopen gave, and a NUL-terminated name.
    let p = unsafe { libc::dlsym(library, name.as_ptr()) };
    assert!(!p.is_null(), "{name:?}");
    p
}

fn is_mapped() -> bool {
    std::fs::read_to_string("/proc/self/maps").expect("maps").contains("libinterrupt_plugin")
}

#[test]
fn a_library_is_unloaded_while_the_thread_is_armed() {
    let path = common::library("interrupt_plugin");
    let path = CString::new(path.into_os_string().into_encoded_bytes()).expect("no NUL");
    // SAFETY: an all-zero sigaction is a valid value; the handler is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as extern "C" fn(i32) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
    for round in 0..3 {
        // SAFETY: the library runs no code of its own when it is loaded.
        let lib = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!lib.is_null());
        let arm = symbol(lib, c"plugin_arm");
        // SAFETY: a function of this type.
        let armed = unsafe { std::mem::transmute::<*mut c_void, Ask>(arm) }();
        assert_ne!(armed, 2, "normal code was taken for a handler");
        IS_NOW.store(symbol(lib, c"plugin_is_now"), SeqCst);
        // SAFETY: a signal that has a handler.
        unsafe { libc::raise(libc::SIGUSR1) };
        assert_eq!(SAID.swap(-1, SeqCst), 1, "the library sees that it is called by a handler");
        // SAFETY: as above.
        let armed_again = unsafe { std::mem::transmute::<*mut c_void, Ask>(arm) }();
        assert_eq!(armed_again, armed);
        IS_NOW.store(std::ptr::null_mut(), SeqCst);
        // SAFETY: nothing of the library is in use any more.
        assert_eq!(unsafe { libc::dlclose(lib) }, 0);
        if !is_mapped() {
            // Gone: what the kernel reads at the next signal must still be there.
            let before = HANDLED.load(SeqCst);
            for _ in 0..1000 {
                // SAFETY: a signal that has a handler.
                unsafe { libc::raise(libc::SIGUSR1) };
                std::thread::yield_now();
            }
            assert_eq!(HANDLED.load(SeqCst) - before, 1000, "round {round}");
        } else {
            // A C library that unloads nothing (musl), or a thread-local destructor that is still to come (own area).
            assert!(cfg!(target_env = "musl") || armed == 1 && std::env::var_os("GLIBC_TUNABLES").is_some());
        }
    }
}
