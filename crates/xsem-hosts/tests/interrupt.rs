//! Interrupt time, in all the ways in which the program `interrupt` meets it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// glibc then registers no rseq area.
const NO_RSEQ: (&str, &str) = ("GLIBC_TUNABLES", "glibc.pthread.rseq=0");

/// Runs it, and says whether all was as it should be, and what it printed.
fn run(program: &Path, args: &[&str], env: &[(&str, &str)]) -> (bool, String) {
    let dir = tempfile::tempdir_in("/dev/shm").expect("room");
    let out = std::fs::File::create(dir.path().join("out")).expect("a file");
    let mut command = Command::new(program);
    command.arg(format!("shm:{}/ns", dir.path().display())).args(args).env_remove(NO_RSEQ.0).envs(env.iter().copied());
    let mut child = command.stdout(Stdio::from(out)).spawn().expect("the program");
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            break Some(status);
        }
        if begin.elapsed() > Duration::from_secs(300) {
            child.kill().expect("a child of ours");
            child.wait().expect("it has ended");
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let said = std::fs::read_to_string(dir.path().join("out")).expect("the file");
    (status.is_some_and(|s| s.success()), format!("{status:?}\n{said}"))
}

fn usual() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_interrupt"))
}

fn must(args: &[&str], env: &[(&str, &str)]) {
    let (ok, said) = run(usual(), args, env);
    assert!(ok, "{args:?} {env:?}: {said}");
}

#[test]
fn as_it_comes() {
    must(&[], &[]);
}

#[test]
fn without_the_hint() {
    must(&["--full"], &[]);
}

#[test]
fn by_unwinding_alone() {
    must(&["--unwind"], &[]);
}

#[test]
fn nobody_has_registered_an_rseq_area() {
    must(&[], &[NO_RSEQ]);
}

#[test]
fn another_library_has_registered_one() {
    must(&["--registered"], &[NO_RSEQ]);
}

#[test]
fn another_library_uses_the_same_one() {
    must(&["--intruding"], &[]);
}

#[test]
fn seeded_faults_are_found() {
    for fault in ["blind", "arms", "never"] {
        if fault == "arms" && run(usual(), &["--must-hint"], &[]).1.contains("the hint does not hold") {
            continue;
        }
        let (ok, said) = run(usual(), &["--seed", fault], &[]);
        assert!(!ok && said.contains("WRONG"), "{fault}: {said}");
    }
}

/// Everything inlined into everything, nothing unwinds.
#[test]
fn optimized_over_all_crates_with_panic_abort() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abort-lto");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--profile", "abort-lto", "-p", "xsem-hosts", "--bin", "interrupt", "--target-dir"]);
    let done = cargo.arg(&target).env_remove("RUSTFLAGS").status().expect("cargo");
    assert!(done.success(), "the build");
    let program: PathBuf = target.join("abort-lto/interrupt");
    for args in [&[][..], &["--full"], &["--unwind"]] {
        let (ok, said) = run(&program, args, &[]);
        assert!(ok, "{args:?}: {said}");
    }
    let (ok, said) = run(&program, &["--seed", "blind"], &[]);
    assert!(!ok && said.contains("WRONG"), "{said}");
}
