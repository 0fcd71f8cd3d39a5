//! A sample of the faults of system calls; `cargo xtask inject` goes through all of them.

use std::process::Command;
use xsem_testkit::watchdog::slowness;

#[test]
fn no_fault_of_a_system_call_hangs_ends_or_leaks() {
    let seconds = (12 * slowness()).min(120).to_string();
    let out = Command::new(env!("CARGO_BIN_EXE_inject")).args(["--all", "--seconds", &seconds]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}\n{}", String::from_utf8_lossy(&out.stderr));
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        // A run in which nothing fails shows nothing.
        let line = said.lines().rfind(|l| l.contains("faults run")).expect("a summary");
        let given: u32 =
            line.split(", ").nth(1).and_then(|w| w.split(' ').next()).and_then(|n| n.parse().ok()).expect("a number");
        assert!(given > 20, "{line}");
    }
}
