//! The contract between users of one group: rows of the conformance table in which each process is another user. All of them:
//! `conformance --engine users`.

use std::process::Command;

#[test]
fn users_of_a_group_share_a_namespace_as_processes_of_one_user_do() {
    let worker = env!("CARGO_BIN_EXE_worker");
    assert!(std::path::Path::new(worker).exists());
    // SAFETY: no arguments.
    if unsafe { libc::geteuid() } != 0 {
        println!("not run: several users need root");
        return;
    }
    // Claims, waits and deaths of every kind.
    for rows in ["acquire ", "acquire_many", "signal", "wait", "evict"] {
        let out = Command::new(env!("CARGO_BIN_EXE_conformance")).args(["--engine", "users", "--only", rows]).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && said.contains('✓'), "{rows}: {said}\n{}", String::from_utf8_lossy(&out.stderr));
    }
}
