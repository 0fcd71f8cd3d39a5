//! What a member process takes of the memory: in the namespace's file, and in itself.

use crate::child::{Board, Helper};
use crate::lock::Lock;
use crate::rounds::Series;
use crate::shared::Shared;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::{fs, io};
use xsem::{Exclusive, Namespace};

const CROWD: usize = 64;

/// Rows of the table of memory.
pub fn memory(dir: &Path) -> io::Result<Vec<Series>> {
    let _made = Lock::create(dir)?;
    let board = Shared::<Board>::map(&dir.join("board"))?;
    open(dir)?;
    let mut children = (0..CROWD).map(|_| Helper::start(dir, 0)).collect::<io::Result<Vec<_>>>()?;
    let in_file = || fs::metadata(file(dir)).map(|m| m.blocks() as f64 * 512.0);
    let before = in_file()?;
    for child in &mut children {
        child.tell("member")?;
        child.answer()?;
    }
    let in_file = (in_file()? - before) / CROWD as f64;
    let in_process = board.total.load(Ordering::SeqCst) as f64 / CROWD as f64;
    children.into_iter().try_for_each(Helper::end)?;
    Ok(vec![
        Series::once(format!("each member process, in the file (of {CROWD})"), in_file),
        Series::once(format!("each member process, in itself: its keeper thread (of {CROWD})"), in_process),
    ])
}

/// The child's side: becomes a member, and adds what that took of its own memory.
pub fn serve(dir: &Path, board: &Board) -> io::Result<()> {
    let sem = open(dir)?;
    let before = private()?;
    sem.acquire().map(drop).map_err(|e| io::Error::other(e.to_string()))?;
    board.total.fetch_add(private()?.saturating_sub(before), Ordering::SeqCst);
    Ok(())
}

fn file(dir: &Path) -> PathBuf {
    dir.join("members")
}

fn open(dir: &Path) -> io::Result<Exclusive> {
    let ns = Namespace::open(&format!("shm:{}", file(dir).display())).map_err(io::Error::other)?;
    Exclusive::open_or_create(&ns, "lock").map_err(io::Error::other)
}

/// Bytes of memory that this process has for itself.
fn private() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = text.lines().find_map(|l| l.strip_prefix("Anonymous:"));
    let kib: Option<u64> = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse().ok());
    kib.map(|k| k << 10).ok_or_else(|| io::Error::other("/proc/self/smaps_rollup has no line `Anonymous:`"))
}
