//! A library with xsem inside that is unloaded with `dlclose` while its keeper runs, its threads' last words are still to be
//! said, and claims are held.

mod common;

use std::ffi::{CString, c_char, c_int, c_void};
use std::io::{Read, Write};
use xsem::{AcquireError, Cause, Exclusive, Namespace};

type Claim = unsafe extern "C" fn(*const c_char, *const c_char, c_int) -> c_int;

/// Runs `f` in a child of its own, which ends with it; the text that it returns.
fn in_child(f: impl FnOnce() -> String) -> String {
    let (mut from, mut to) = std::io::pipe().unwrap();
    // SAFETY: the child runs `f`, and ends without returning to the test harness.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: plain numbers; the default action of SIGALRM ends a child that hangs.
            unsafe { libc::alarm(60) };
            to.write_all(f().as_bytes()).unwrap();
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) }
        }
        pid => {
            drop(to);
            let mut text = String::new();
            from.read_to_string(&mut text).unwrap();
            let mut status = 0;
            // SAFETY: waits for the child of above.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            assert_eq!(status, 0, "{text}");
            text
        }
    }
}

fn told(ns: &Namespace, name: &str) -> Option<Cause> {
    match Exclusive::open(ns, name).unwrap().acquire() {
        Ok(_) => None,
        Err(AcquireError::OwnerDied(r)) => Some(r.deaths().unwrap().first.cause),
        Err(AcquireError::Failed(e)) => panic!("{e}"),
    }
}

#[test]
fn a_library_that_is_unloaded_leaves_no_thread_without_its_code() {
    let library = common::library("plugin");
    let dir = tempfile::tempdir().unwrap();
    let url = format!("shm:{}/ns", dir.path().display());
    let ns = Namespace::open(&url).unwrap();
    let seen = in_child(|| {
        let path = CString::new(library.to_str().unwrap()).unwrap();
        let url = CString::new(url.as_str()).unwrap();
        // SAFETY: NUL-terminated names; the symbol has the type that the library gives it.
        let (handle, claim) = unsafe {
            let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
            assert!(!handle.is_null(), "{:?}", std::ffi::CStr::from_ptr(libc::dlerror()));
            let f = libc::dlsym(handle, c"plugin_claim".as_ptr());
            assert!(!f.is_null());
            (handle, std::mem::transmute::<*mut c_void, Claim>(f))
        };
        // SAFETY: NUL-terminated strings.
        let call = |name: &std::ffi::CStr, forget| assert_eq!(unsafe { claim(url.as_ptr(), name.as_ptr(), forget) }, 0);
        std::thread::scope(|s| {
            let (go, waits) = std::sync::mpsc::channel::<()>();
            let (did, done) = std::sync::mpsc::channel::<()>();
            let thread = s.spawn(move || {
                call(c"of the thread", 1);
                did.send(()).unwrap();
                let _ = waits.recv();
            });
            done.recv().unwrap();
            call(c"given back", 0);
            call(c"of the process", 1);
            // SAFETY: a handle of dlopen, closed once. Its functions are not called from here on, except by what it left.
            assert_eq!(unsafe { libc::dlclose(handle) }, 0);
            // The thread ends now, and its last words are code of the library.
            drop(go);
            thread.join().unwrap();
        });
        assert_eq!(told(&ns, "of the thread"), Some(Cause::ThreadEnded));
        std::fs::read_to_string("/proc/self/maps").unwrap()
    });
    assert!(seen.contains("libplugin.so"), "the keeper's code is still there");
    assert_eq!((told(&ns, "given back"), told(&ns, "of the process")), (None, Some(Cause::ProcessEnded)));
    assert_eq!(xsem::shm::testing::audit(&ns), Vec::<String>::new());
}

/// Two copies of the library in one process: each is a member of its own, with a keeper and a lock in the gate. Locks in files
/// belong to the process, and end when it closes any descriptor of the file.
#[test]
fn two_copies_in_one_process_are_two_members_and_end_together() {
    let dir = tempfile::tempdir().unwrap();
    let one = common::library("plugin");
    let two = dir.path().join("libanother.so");
    std::fs::copy(&one, &two).unwrap();
    let ns = Namespace::open(&format!("shm:{}/ns", dir.path().display())).unwrap();
    let url = CString::new(ns.url()).unwrap();
    in_child(|| {
        let load = |path: &std::path::Path| {
            let path = CString::new(path.to_str().unwrap()).unwrap();
            // SAFETY: NUL-terminated names; the symbol has the type that the library gives it.
            unsafe {
                let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
                assert!(!handle.is_null());
                let f = libc::dlsym(handle, c"plugin_claim".as_ptr());
                (handle, std::mem::transmute::<*mut c_void, Claim>(f))
            }
        };
        let ((_, first), (second_handle, second)) = (load(&one), load(&two));
        assert!(first as usize != second as usize, "two copies");
        // SAFETY: NUL-terminated strings.
        let call = |f: Claim, name: &std::ffi::CStr, forget| assert_eq!(unsafe { f(url.as_ptr(), name.as_ptr(), forget) }, 0);
        call(first, c"of the first", 1);
        call(second, c"of the second", 1);
        call(first, c"both", 0);
        call(second, c"both", 0);
        // They are strangers to each other: what one owns the other waits for.
        let waits = std::thread::spawn({
            let url = url.clone();
            // SAFETY: NUL-terminated strings.
            move || unsafe { second(url.as_ptr(), c"of the first".as_ptr(), 0) }
        });
        while ns.inspect("of the first").unwrap().waiters.is_empty() {
            std::thread::yield_now();
        }
        // SAFETY: a handle of dlopen, closed once; its code stays while its keeper does.
        assert_eq!(unsafe { libc::dlclose(second_handle) }, 0);
        // Somebody else finds both claims held; the locks of both are there.
        let here = std::process::id();
        for name in ["of the first", "of the second"] {
            assert_eq!(ns.inspect(name).unwrap().holders[0].process.pid, here);
        }
        let gate = std::fs::read_dir(dir.path()).unwrap().flatten().find(|e| e.file_name().to_string_lossy().ends_with(".gate"));
        let inode = std::os::unix::fs::MetadataExt::ino(&gate.unwrap().metadata().unwrap());
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        let mine = locks.lines().filter(|l| l.contains(&format!(" {here} ")) && l.contains(&format!(":{inode} "))).count();
        // Neighbouring bytes of one process are one entry.
        assert!(mine >= 1, "{locks}");
        assert!(!waits.is_finished(), "the other copy's claim was taken");
        String::new()
    });
    for name in ["of the first", "of the second"] {
        assert_eq!(told(&ns, name), Some(Cause::ProcessEnded));
    }
    assert_eq!(told(&ns, "both"), None);
    assert_eq!(xsem::shm::testing::audit(&ns), Vec::<String>::new());
}
