//! The processes above us, and what `xsem hold` holds for them.

use std::fs;
use std::io::Read;
use xsem::{Holder, Kind, Namespace, Process, ProcessState};

/// What a holder of `xsem hold` calls itself begins with this, the owner's pid, and a colon.
const FOR: &str = "xsem hold for ";

/// How the holder behind `xsem hold` describes itself; `ls`, `show` and every error print it.
pub fn description(owner: u32, command: &str) -> String {
    format!("{FOR}{owner}: {command}")
}

/// A claim that `xsem hold` keeps.
#[derive(Clone, Debug)]
pub struct Hold {
    /// The shell that it is kept for.
    pub owner: u32,
    /// The process that keeps it. It may be dead; then the claim lasts until the shell has ended.
    pub keeper: Process,
    /// The fencing token.
    pub token: u64,
}

/// The claims on `name` that are kept for somebody, with the latest first.
pub fn holds(ns: &Namespace, name: &str) -> xsem::Result<(Kind, Vec<Hold>)> {
    let report = ns.inspect(name)?;
    let mut all = Vec::new();
    for h in &report.holders {
        // Those that share it first: they came later, and are given back sooner.
        all.extend(h.shared_with.iter().rev().filter_map(|p| shared(p, h.token)));
        all.extend(own(h));
    }
    all.sort_by_key(|h| std::cmp::Reverse(h.token));
    Ok((report.kind, all))
}

/// Whether `xsem hold` keeps this claim.
pub fn is_hold(h: &Holder) -> bool {
    own(h).is_some()
}

/// What a claim covers, as people know it: a member describes itself and what it covers in one text.
pub fn covered(h: &Holder) -> Option<Process> {
    let mut covers = h.covers.clone()?;
    if is_hold(h)
        && let Some((_, command)) = covers.command.split_once(": ")
    {
        covers.command = command.to_owned();
    }
    Some(covers)
}

/// The claim of the holder itself. Its description must fit what it covers: a description alone says nothing.
fn own(h: &Holder) -> Option<Hold> {
    let owner = owner_of(&h.process)?;
    let covers = h.covers.as_ref().filter(|c| c.pid == owner && c.state != ProcessState::Dead)?;
    Some(Hold { owner: covers.pid, keeper: h.process.clone(), token: h.token })
}

/// One that shares a claim; what it covers is not told, so that its description must do.
fn shared(p: &Process, token: u64) -> Option<Hold> {
    Some(Hold { owner: owner_of(p)?, keeper: p.clone(), token })
}

fn owner_of(p: &Process) -> Option<u32> {
    p.command.strip_prefix(FOR)?.split(':').next()?.parse().ok()
}

/// The fencing token of an exclusive claim that `xsem hold` keeps for `pid` or one of the processes above it.
pub fn held_for(ns: &Namespace, name: &str, pid: u32) -> Option<u64> {
    match holds(ns, name) {
        Ok((Kind::Exclusive, all)) if !all.is_empty() => {
            let family = family(pid);
            all.into_iter().find(|h| family.contains(&h.owner)).map(|h| h.token)
        }
        // Where it cannot be looked at, asking for it will say why.
        _ => None,
    }
}

/// A process, its parent, the parent's parent, and so on.
pub fn family(mut pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    while let Some(parent) = stat(pid).map(|s| s.parent).filter(|&p| p > 0 && !all.contains(&p)) {
        all.push(parent);
        pid = parent;
    }
    all
}

/// What /proc says of a process.
pub struct Stat {
    /// Its parent.
    pub parent: u32,
    /// Its start, which makes the pid an identity.
    pub start: u64,
}

/// None: there is no such process.
pub fn stat(pid: u32) -> Option<Stat> {
    // One look: a file of /proc says 0 when it is asked how long it is, so that a read of the whole begins with small pieces. The
    // line is below 400 bytes, and what is looked for stands before its middle. The program's name may be any bytes.
    let mut line = [0; 1024];
    let n = fs::File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut line)).ok()?;
    let text = String::from_utf8_lossy(&line[..n]);
    let mut fields = text.get(text.rfind(')')? + 2..)?.split(' ');
    let (parent, start) = (fields.nth(1)?, fields.nth(17)?);
    Some(Stat { parent: parent.parse().ok()?, start: start.parse().ok()? })
}

/// What a process runs, as people read it.
pub fn command_of(pid: u32) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = words
        .strip_suffix(b"\0")
        .unwrap_or(&words)
        .split(|&b| b == 0)
        .map(|w| String::from_utf8_lossy(w).into_owned().into())
        .collect();
    crate::run::command_line::shown(&words)
}

#[cfg(test)]
mod tests {
    use super::{command_of, family, stat};

    #[test]
    fn our_parent_is_above_us_and_older() {
        let me = stat(std::process::id()).expect("we are there");
        assert_eq!(family(std::process::id())[..2], [std::process::id(), std::os::unix::process::parent_id()]);
        assert!(stat(me.parent).expect("it is there").start <= me.start);
        assert!(stat(u32::MAX).is_none());
    }

    #[test]
    fn a_command_line_can_be_read() {
        let words: Vec<_> = std::env::args_os().collect();
        assert_eq!(command_of(std::process::id()), crate::run::command_line::shown(&words));
    }
}
