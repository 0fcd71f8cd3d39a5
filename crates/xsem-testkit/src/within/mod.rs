//! Runs a program in other surroundings: namespaces of its own, another `/proc`, a seccomp filter. The program `within` is the
//! command for it; what it cannot set up here it says, and ends with [`NOT_HERE`].

mod filter;
mod options;
mod spaces;

pub use filter::{Action, Filter};
pub use options::{Options, Proc, USAGE};

use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

/// The exit code that says: this machine does not allow these surroundings.
pub const NOT_HERE: u8 = 77;

/// What could not be set up, and why.
#[derive(Debug)]
pub struct NotHere {
    /// Which part.
    pub what: &'static str,
    /// What the kernel said.
    pub why: io::Error,
}

/// Adds what was being set up.
fn step<T>(what: &'static str, done: io::Result<T>) -> Result<T, NotHere> {
    done.map_err(|why| NotHere { what, why })
}

/// The result of a system call.
fn call(r: impl Into<i64>) -> io::Result<i64> {
    match r.into() {
        -1 => Err(io::Error::last_os_error()),
        r => Ok(r),
    }
}

/// Sets all of it up and becomes the program. Only in a process with one thread.
pub fn run(options: &Options) -> NotHere {
    match spaces::enter(options).and_then(|()| confine(options)) {
        Ok(()) => NotHere { what: "the program", why: exec(&options.program) },
        Err(e) => e,
    }
}

fn confine(options: &Options) -> Result<(), NotHere> {
    options.filters.iter().try_for_each(|f| step("a seccomp filter", f.install(false)))
}

fn exec(program: &[OsString]) -> io::Error {
    let words: Vec<CString> = program.iter().filter_map(|w| CString::new(w.as_bytes()).ok()).collect();
    let mut pointers: Vec<_> = words.iter().map(|w| w.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: NUL-terminated strings and a list of them that ends with null.
    unsafe { libc::execv(pointers[0], pointers.as_ptr()) };
    io::Error::last_os_error()
}
