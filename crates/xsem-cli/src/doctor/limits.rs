//! What there is only so much of.

use super::finding::Severity::{Note, Trouble, Warning};
use super::finding::{Finding, Kind};
use super::{Look, proc};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use xsem::{Report, Room};

/// Room for as many bytes is room for some thousand semaphores.
const LITTLE: u64 = 1 << 20;

/// The tables of the namespace.
pub fn tables(d: &mut Look, all: &[Room]) {
    for r in all.iter().filter(|r| r.most > 0 && r.used.saturating_mul(10) >= r.most.saturating_mul(9)) {
        let full = r.used >= r.most;
        let what = format!("{} of {} {} are in use", r.used, r.most, r.of);
        let todo = match r.of {
            "semaphores" => "`xsem gc` removes those that nobody uses; a new namespace can have more",
            "members" => "end processes that use it and need not, or share the work out over several namespaces",
            _ => "let fewer ask at one time, or share the work out over several namespaces",
        };
        d.found(Finding::new(Kind::TableNearlyFull, if full { Trouble } else { Warning }, what, todo));
    }
}

/// The file system.
pub fn room(d: &mut Look, path: &Path) {
    let Ok(c) = CString::new(path.as_os_str().as_bytes()) else { return };
    // SAFETY: an all-zero statvfs is a valid value to be overwritten.
    let mut s: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a NUL-terminated path, and a structure to write to.
    if unsafe { libc::statvfs(c.as_ptr(), &mut s) } != 0 {
        return;
    }
    // Their types differ from system to system.
    #[allow(clippy::useless_conversion)]
    let (free, files) = (u64::from(s.f_bavail).saturating_mul(u64::from(s.f_frsize)), u64::from(s.f_favail));
    let dir = path.display();
    if free < LITTLE {
        let what =
            format!("the file system of {dir} has {} KiB left: a new name, a new process or a text may find no room", free >> 10);
        let severity = if free < 64 << 10 { Trouble } else { Warning };
        d.found(Finding::new(
            Kind::RoomNearlyGone,
            severity,
            what,
            format!("free space there (`df -h {dir}`, `du -s {dir}/*`), or make it larger"),
        ));
    } else if s.f_files > 0 && files < 8 {
        let what = format!("the file system of {dir} has {files} inodes left");
        d.found(Finding::new(Kind::RoomNearlyGone, Warning, what, format!("remove files there (`df -i {dir}`)")));
    }
}

/// The processes that have to do with a semaphore.
pub fn descriptors(d: &mut Look, r: &Report) {
    let all: BTreeSet<u32> = r
        .holders
        .iter()
        .map(|h| &h.process)
        .chain(r.waiters.iter().map(|w| &w.process))
        .filter(|p| proc::is_here(p))
        .map(|p| p.pid)
        .collect();
    for pid in all.into_iter().filter(|p| *p != 0) {
        if let Some((open, most)) = proc::descriptors(pid)
            && open.saturating_add(4) >= most
            && d.poor.insert(pid)
        {
            let what = format!(
                "{pid} `{}` has {open} of {most} descriptors open: it can open no other namespace and wait by no future",
                proc::command(pid)
            );
            d.found(
                Finding::new(
                    Kind::FewDescriptors,
                    Note,
                    what,
                    "raise its limit (`ulimit -n`), or find out what it does not close",
                )
                .of(&r.name),
            );
        }
    }
}
