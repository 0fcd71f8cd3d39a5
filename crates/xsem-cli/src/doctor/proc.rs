//! What `/proc` says of a process, where it can be read.

use std::fs;

/// Whether its number means anything here: those of a store are of other machines, or may be.
pub fn is_here(p: &xsem::Process) -> bool {
    p.host.is_none()
}

/// The state letter of its main thread.
pub fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.get(stat.rfind(')')? + 2..)?.chars().next()
}

/// Whether it writes a core file just now.
pub fn dumps_core(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    field(&status, "CoreDumping:") == Some("1")
}

/// How many descriptors it has open, and may have.
pub fn descriptors(pid: u32) -> Option<(u64, u64)> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let most = field(&limits, "Max open files")?.split_ascii_whitespace().next()?.parse().ok()?;
    Some((open, most))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|l| l.strip_prefix(name)).map(str::trim)
}

/// The processes that have a file mapped which had this name and has none any more.
pub fn users_of_deleted(path: &str) -> Vec<u32> {
    let gone = format!("{path} (deleted)");
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|e| e.file_name().to_str()?.parse().ok());
    let uses = |pid: &u32| {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        maps.lines().any(|l| l.ends_with(&gone))
    };
    let mut found: Vec<u32> = pids.filter(uses).collect();
    found.sort_unstable();
    found
}

/// What it runs.
pub fn command(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&line);
    let text: String = text.trim_end_matches('\0').chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.chars().take(60).collect()
}
