//! What this process, and one that it covers, is called.

use crate::claim::{Process, ProcessState};
use crate::error::{Code, Error, Result};
use std::os::unix::fs::MetadataExt;

/// The longest command and label, in bytes: they end up in one line of a terminal.
pub(super) const MAX_COMMAND: usize = 130;
pub(super) const MAX_LABEL: usize = 120;

/// This process.
pub(super) fn this() -> Process {
    // SAFETY: getuid cannot fail and touches no memory.
    let uid = unsafe { libc::getuid() };
    Process::new(std::process::id(), uid, command_line("self"), ProcessState::Alive)
}

/// Another process, or 87.
pub(super) fn other(pid: u32) -> Result<Process> {
    let owner = std::fs::metadata(format!("/proc/{pid}")).map(|m| m.uid()).map_err(|e| {
        Error::new(Code::InvalidParameter, format!("there is no process {pid} to cover"))
            .because(e)
            .advice("cover a child that has not been waited for, in this pid namespace, with /proc mounted")
    })?;
    Ok(Process::new(pid, owner, command_line(&pid.to_string()), ProcessState::Alive))
}

fn command_line(pid: &str) -> String {
    let _whole = crate::shm::whole();
    let raw = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = raw.split(|&b| b == 0).filter(|w| !w.is_empty()).map(String::from_utf8_lossy).collect();
    let Some((program, rest)) = words.split_first() else { return "?".to_owned() };
    let program = program.rsplit('/').next().unwrap_or(program);
    let line = std::iter::once(program).chain(rest.iter().map(AsRef::as_ref)).collect::<Vec<_>>().join(" ");
    shorten(&line, MAX_COMMAND)
}

/// At most `max` bytes of a text, cut at a character, without control characters.
pub(super) fn shorten(text: &str, max: usize) -> String {
    let mut out: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if out.len() > max {
        let end = (0..=max - 3).rev().find(|i| out.is_char_boundary(*i)).unwrap_or(0);
        out.truncate(end);
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_a_character() {
        assert_eq!(shorten("a\nb", 120), "a b");
        assert_eq!(shorten(&"ß".repeat(65), 130), "ß".repeat(65));
        let cut = shorten(&"ß".repeat(66), 130);
        assert!(cut.len() <= 130 && cut.ends_with("ß..."), "{cut}");
    }

    #[test]
    fn this_process_is_known_and_nobody_has_the_number_0() {
        assert_eq!(other(std::process::id()).unwrap().command, this().command);
        assert_eq!(other(0).unwrap_err().code(), Code::InvalidParameter);
    }
}
