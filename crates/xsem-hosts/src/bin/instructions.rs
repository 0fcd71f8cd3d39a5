//! Does one operation so many times, for `cargo xtask test instructions`, which counts the instructions of two runs of
//! different lengths under valgrind. It fails where another path than the shortest was taken.
//!
//! Valgrind has no restartable sequences, so the hint that tells normal time from interrupt time never stands there:
//! without `never_look` every request would make the full check. With it the same load and comparison are made as where
//! the hint is armed, and succeed.

use std::arch::asm;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::ExitCode;
use xsem::interrupt::testing;
use xsem::{Counting, Event, Exclusive, Namespace};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [operation, times] = args.as_slice() else {
        eprintln!("usage: instructions exclusive|nested|counting|event TIMES");
        return ExitCode::from(2);
    };
    match times.parse().map_err(|_| "TIMES is no number".into()).and_then(|n| run(operation, n)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("instructions: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(operation: &str, times: u64) -> Result<(), Box<dyn std::error::Error>> {
    testing::never_look();
    let dir = Directory(PathBuf::from(format!("/dev/shm/xsem-instructions-{}", std::process::id())));
    fs::DirBuilder::new().mode(0o700).create(&dir.0)?;
    let ns = Namespace::open(&format!("shm:{}", dir.0.join("ns").display()))?;
    let sem = Exclusive::create(&ns, "sem")?;
    let pool = Counting::open_or_create_pool(&ns, "pool", 4)?;
    let event = Event::open_or_create_manual(&ns, "event")?;
    // The process is a member from here on.
    drop(sem.acquire().map_err(|e| e.to_string())?);
    let checks = testing::full_checks();
    match operation {
        "exclusive" => repeat(times, || drop(sem.acquire().expect("it is free"))),
        "nested" => {
            let _outer = sem.acquire().map_err(|e| e.to_string())?;
            repeat(times, || drop(sem.acquire().expect("it is this thread's own")));
        }
        "counting" => repeat(times, || drop(pool.acquire().expect("one of four is free"))),
        "event" => repeat(times, || {
            event.signal().expect("it exists");
            event.reset().expect("it exists");
        }),
        other => return Err(format!("there is no operation `{other}`").into()),
    }
    if !testing::is_armed() || testing::full_checks() != checks {
        return Err("full checks for interrupt time were made: this is not the path that is to be counted".into());
    }
    Ok(())
}

/// Removed at the end.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[inline(always)]
fn repeat(times: u64, mut what: impl FnMut()) {
    for _ in 0..times {
        what();
        // SAFETY: no instruction at all; the compiler keeps nothing in registers across it.
        unsafe { asm!("", options(nostack, preserves_flags)) };
    }
}
