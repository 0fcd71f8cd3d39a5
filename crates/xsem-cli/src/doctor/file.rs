//! The file: whether it is there, whole, ours, and the one that everybody uses.

use super::finding::Severity::{Note, Trouble};
use super::finding::{Finding, Kind};
use super::{Look, proc};
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;
use xsem::shm::probe;
use xsem::{Checkup, Code, Namespace, Severity};

/// A file that is being made has its strange name for an instant.
const AN_INSTANT: Duration = Duration::from_secs(10);

/// Looks at it without opening it for use.
pub fn look(d: &mut Look, url: &str, path: &Path) -> Option<Checkup> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    if let Some(fs) = probe::shared_file_system(dir) {
        d.found(network(dir, fs));
        return None;
    }
    old_file(d, path);
    leftovers(d, dir, path);
    match Namespace::check_at(url) {
        Ok(c) => {
            damage(d, &c);
            Some(c)
        }
        Err(e) => {
            let (kind, severity) = match e.code() {
                Code::SemNotFound => (Kind::NoNamespace, Note),
                Code::AccessDenied => (Kind::NotAllowed, Trouble),
                Code::RevisionMismatch => (Kind::OtherVersion, Trouble),
                _ => (Kind::Damaged, Trouble),
            };
            let todo = Some(e.next_step()).filter(|t| !t.is_empty()).unwrap_or("see its page").to_owned();
            d.found(Finding::new(kind, severity, e.message(), todo));
            None
        }
    }
}

fn network(dir: &Path, fs: &str) -> Finding {
    let what = format!(
        "{} is on {fs}, which other machines may see, too: their processes could not be told apart from those here",
        dir.display()
    );
    Finding::new(Kind::NetworkFileSystem, Trouble, what, "use a directory on a local file system, best a tmpfs such as /dev/shm")
}

fn damage(d: &mut Look, c: &Checkup) {
    let bad: Vec<_> = c.damage().collect();
    if let Some(first) = bad.first() {
        let more = if bad.len() > 1 { format!(", and {} more", bad.len() - 1) } else { String::new() };
        let todo = match bad.iter().any(|f| f.remedy.is_repair()) {
            true => "`xsem check` lists all of it, `xsem repair` mends it while others go on".to_owned(),
            false => format!("{}; `xsem check` lists all of it", first.remedy.text()),
        };
        let about = first.name.as_ref().map_or(String::new(), |n| format!(" (`{n}`)"));
        d.found(Finding::new(
            Kind::Damaged,
            Trouble,
            format!("what is stored is damaged: {}{about}: {}{more}", first.table, first.found),
            todo,
        ));
    }
    let leaks = c.findings.iter().filter(|f| f.severity == Severity::Leak).count();
    if leaks > 0 {
        let what = format!(
            "{leaks} piece{} of room that nobody uses: a process died at the wrong instant; it does no harm",
            if leaks == 1 { "" } else { "s" }
        );
        d.found(Finding::new(Kind::Leak, Note, what, "`xsem repair` frees it"));
    }
}

fn old_file(d: &mut Look, path: &Path) {
    let old = proc::users_of_deleted(&path.display().to_string());
    if old.is_empty() {
        return;
    }
    let some: Vec<String> = old.iter().take(4).map(|pid| format!("{pid} `{}`", proc::command(*pid))).collect();
    let more = if old.len() > some.len() { format!(" and {} more", old.len() - some.len()) } else { String::new() };
    let what = format!(
        "the file {} was removed, replaced or reset while it was in use: {}{more} still use{} the old one, and meet nobody who uses the new one",
        path.display(),
        some.join(", "),
        if old.len() == 1 { "s" } else { "" }
    );
    d.found(Finding::new(
        Kind::OldFileInUse,
        Trouble,
        what,
        "restart them; and leave the file alone: `xsem rm`, `xsem gc` and `xsem reset` are for that",
    ));
}

/// Files of a creation or a reset that was killed, and gates of files that are gone.
fn leftovers(d: &mut Look, dir: &Path, path: &Path) {
    let Some(name) = path.file_name().and_then(|n| n.to_str()) else { return };
    let nonce = nonce(path);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = file.strip_prefix('.').and_then(|f| f.strip_prefix(name)).and_then(|f| f.strip_prefix('.')) else {
            continue;
        };
        let Some((number, kind)) = rest.split_once('.') else { continue };
        let is_number = number.len() == 16 && number.bytes().all(|b| b.is_ascii_hexdigit());
        let current = nonce.is_some_and(|n| number == format!("{n:016x}"));
        let old = entry.metadata().and_then(|m| m.modified()).is_ok_and(|t| t.elapsed().is_ok_and(|d| d > AN_INSTANT));
        if is_number && !current && old && matches!(kind, "new" | "gate") {
            found.push(file);
        }
    }
    found.sort();
    if !found.is_empty() {
        let what =
            format!("left by somebody who was killed while it made, replaced or removed the namespace: {}", found.join(", "));
        d.found(Finding::new(
            Kind::Leftover,
            Note,
            what,
            format!("if nothing else uses them (`fuser`), remove them from {}", dir.display()),
        ));
    }
}

/// The number in the name of the gate that belongs to the file.
fn nonce(path: &Path) -> Option<u64> {
    let mut file = fs::File::open(path).ok()?;
    let mut bytes = [0; 8];
    file.seek(SeekFrom::Start(40)).ok()?;
    file.read_exact(&mut bytes).ok()?;
    Some(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// network-file-system: none can be mounted in a test without a server, so it is known by its number.
    #[test]
    fn a_file_system_that_other_machines_see() {
        for (magic, name) in [(0x6969, Some("NFS")), (0x0102_1997, Some("9p")), (0x0102_1994, None), (0xef53, None)] {
            assert_eq!(probe::shared_by_magic(magic), name);
        }
        let f = network(Path::new("/srv/x"), "NFS");
        assert!(f.severity == super::super::finding::Severity::Trouble && f.what.contains("/srv/x is on NFS"));
    }
}
