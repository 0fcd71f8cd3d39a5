//! The contract between users of one group: rows of the conformance table in which each process is another user. All of them:
//! `conformance --engine users`.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Plays the rows whose operation or outcome holds this text.
fn play(rows: &str, prepare: fn() -> io::Result<()>) {
    // It lies beside the conformance program, which looks for it there.
    assert!(std::path::Path::new(env!("CARGO_BIN_EXE_worker")).exists());
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    command.args(["--engine", "users", "--only", rows]);
    // SAFETY: what is passed makes system calls only, between fork and exec.
    unsafe { command.pre_exec(prepare) };
    let out = command.output().expect("it can be started");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && said.contains('✓'), "{rows}: {said}\n{}", String::from_utf8_lossy(&out.stderr));
}

fn is_root() -> bool {
    // SAFETY: no arguments.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        println!("not run: several users need root");
    }
    root
}

#[test]
fn users_of_a_group_share_a_namespace_as_processes_of_one_user_do() {
    if is_root() {
        // Claims, waits and deaths of every kind.
        ["acquire ", "acquire_many", "signal", "wait", "evict"].iter().for_each(|rows| play(rows, || Ok(())));
    }
}

#[test]
fn and_also_where_they_do_not_see_each_other_in_proc() {
    if is_root() {
        play("105", hide_processes);
        play("dies", hide_processes);
    }
}

/// A /proc in which users see their own processes only, in a mount namespace that ends with the process.
fn hide_processes() -> io::Result<()> {
    let done = |r: i32| if r == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: NUL-terminated strings; a namespace of this process's own.
    unsafe {
        done(libc::unshare(libc::CLONE_NEWNS))?;
        done(libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()))?;
        done(libc::mount(c"proc".as_ptr(), c"/proc".as_ptr(), c"proc".as_ptr(), 0, c"hidepid=2".as_ptr().cast()))
    }
}
