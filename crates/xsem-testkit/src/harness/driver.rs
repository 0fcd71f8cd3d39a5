//! The process of one case, and the pipe through which it reports.

use super::case::Case;
use crate::hang;
use crate::sys::{self, Pid, Status};
use crate::watchdog::slowness;
use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A driver that takes longer hangs itself; its own watchdog is much shorter.
const DRIVER: Duration = Duration::from_secs(120);

/// The process that runs everything: in the names of directories, so that it can tidy up after all.
static RUN: OnceLock<Pid> = OnceLock::new();

/// Runs `f` in a driver on a fresh namespace and hands each line of its report to `each`. False: it crashed or hung.
pub(super) fn in_driver(f: impl FnOnce(&Case<'_>), each: impl FnMut(&str, &str)) -> io::Result<bool> {
    in_driver_for(DRIVER * slowness(), f, each)
}

/// The same for a measuring run: a million single steps take their time.
pub(super) fn measuring(f: impl FnOnce(&Case<'_>), each: impl FnMut(&str, &str)) -> io::Result<bool> {
    in_driver_for(8 * DRIVER * slowness(), f, each)
}

fn in_driver_for(patience: Duration, f: impl FnOnce(&Case<'_>), mut each: impl FnMut(&str, &str)) -> io::Result<bool> {
    let (reader, writer) = sys::pipe()?;
    let pid = sys::fork(|| drive(f, &writer))?;
    drop(writer);
    let fine = collect(&reader, pid, patience, &mut each)?;
    sys::kill(pid, libc::SIGKILL);
    let status = sys::wait(pid, true);
    // A driver that crashed could not tidy up.
    let _ = std::fs::remove_dir_all(directory(pid));
    Ok(fine && matches!(status, Status::Exited(0) | Status::Killed(libc::SIGKILL)))
}

/// How the names of the directories of all runs begin.
const PREFIX: &str = "xsem-harness-";

fn prefix() -> String {
    format!("{PREFIX}{}-", RUN.get_or_init(sys::own_pid))
}

fn directory(driver: Pid) -> String {
    format!("/dev/shm/{}{driver}", prefix())
}

/// Before the first driver: this process runs everything. Takes away what runs have left that were interrupted.
pub(super) fn begin() {
    let _ = prefix();
    let Ok(entries) = std::fs::read_dir("/dev/shm") else { return };
    for e in entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with(PREFIX)) {
        // A driver has made it, and is about to lock it.
        let young = e.metadata().and_then(|m| m.modified()).is_ok_and(|t| t.elapsed().is_ok_and(|d| d < DRIVER));
        if !young && File::open(e.path()).is_ok_and(|dir| sys::try_lock(&dir)) {
            let _ = std::fs::remove_dir_all(e.path());
        }
    }
}

/// After the last driver: takes away what those that were ended have left.
pub(super) fn tidy() {
    let Ok(entries) = std::fs::read_dir("/dev/shm") else { return };
    for e in entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with(&prefix())) {
        let _ = std::fs::remove_dir_all(e.path());
    }
}

fn drive(f: impl FnOnce(&Case<'_>), report: &PipeWriter) {
    let dir = directory(sys::own_pid());
    // What a run that was interrupted left under the number that is ours now.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir(&dir).expect("a directory in shared memory");
    // Locked for as long as it is in use: by this process and the players that it forks.
    let in_use = File::open(&dir).expect("the directory");
    assert!(sys::try_lock(&in_use), "a directory that was just made is locked");
    sys::hold_child_signals();
    // Who is in line stays there until it is called, unless the scenario says otherwise: a call that is missing shall show.
    xsem::shm::testing::set_line_ends(false);
    f(&Case::new(&format!("shm:{dir}/ns"), report));
}

/// Reads lines until the driver says `end`. False: it ended otherwise, or not in time.
fn collect(reader: &PipeReader, driver: Pid, patience: Duration, each: &mut impl FnMut(&str, &str)) -> io::Result<bool> {
    let mut lines = BufReader::new(reader);
    let begin = Instant::now();
    let mut text = String::new();
    loop {
        if lines.buffer().is_empty() && !sys::readable(reader, 1000)? {
            if begin.elapsed() > patience {
                each("note", &format!("the driver hangs: {}", hang::describe_tree(driver)));
                return Ok(false);
            }
            continue;
        }
        text.clear();
        if lines.read_line(&mut text)? == 0 {
            return Ok(false);
        }
        match text.trim_end().split_once(' ').unwrap_or((text.trim_end(), "")) {
            ("end", _) => return Ok(true),
            (kind, rest) => each(kind, rest),
        }
    }
}
