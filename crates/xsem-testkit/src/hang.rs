//! What a process does that does not come to its end, for the message about it: enough to understand it without seeing it
//! again.

use crate::sys::{self, Pid};
use std::fs;
use std::os::unix::fs::FileExt;

/// A process and everything below it, thread by thread.
pub(crate) fn describe_tree(top: Pid) -> String {
    let mut pids = vec![top];
    let mut next = 0;
    while next < pids.len() {
        pids.extend(children_of(pids[next]));
        next += 1;
    }
    pids.into_iter().map(|pid| format!("[{pid}: {}]", describe(pid))).collect::<Vec<_>>().join(" ")
}

/// Each thread of a process: its state, where it sleeps in the kernel, in which system call, and where it is in the program.
pub fn describe(pid: Pid) -> String {
    let one = |tid: Pid| {
        let read = |f: &str| fs::read_to_string(format!("/proc/{pid}/task/{tid}/{f}")).unwrap_or_default();
        let state = sys::state(pid, tid).unwrap_or('?');
        let call = read("syscall");
        // Only root may read the kernel's stack; the innermost frames say where it sleeps.
        let stack: Vec<_> = read("stack").lines().take(4).filter_map(|l| l.split(' ').nth(1)).map(str::to_owned).collect();
        let place = place(pid, &call).or_else(|| (state == 'R').then(|| running(pid, tid)).flatten());
        format!(
            "{tid} {state} wchan={} stack={} syscall={} at={}",
            read("wchan"),
            stack.join("<"),
            call.trim(),
            place.unwrap_or_else(|| "?".to_owned())
        )
    };
    sys::threads(pid).into_iter().map(one).collect::<Vec<_>>().join("; ")
}

fn children_of(pid: Pid) -> Vec<Pid> {
    let lists = sys::threads(pid).into_iter().map(|t| fs::read_to_string(format!("/proc/{pid}/task/{t}/children")));
    lists.flatten().flat_map(|l| l.split(' ').filter_map(|w| w.trim().parse().ok()).collect::<Vec<_>>()).collect()
}

/// Of one that sleeps, its system call's line ends with its stack pointer and its program counter.
fn place(pid: Pid, call: &str) -> Option<String> {
    let mut words = call.split_whitespace().rev();
    let number = |w: &str| u64::from_str_radix(w.trim_start_matches("0x"), 16).ok();
    let (pc, sp) = (number(words.next()?)?, number(words.next()?)?);
    (pc != 0).then(|| chain(pid, pc, sp))
}

/// Of one that runs, where it is just now; nobody else may trace it.
fn running(pid: Pid, tid: Pid) -> Option<String> {
    let (pc, sp) = sys::registers_of_running(tid)?;
    Some(chain(pid, pc, sp))
}

/// The program counter, and what looks like return addresses above the stack pointer, as `file+offset` for `addr2line`.
fn chain(pid: Pid, pc: u64, sp: u64) -> String {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let code: Vec<_> = maps.lines().filter_map(executable).collect();
    let name = |at: u64| {
        let &(from, _, offset, file) = code.iter().find(|(from, to, ..)| (*from..*to).contains(&at))?;
        Some(format!("{}+{:#x}", file.rsplit('/').next()?, at - from + offset))
    };
    let mut words = [0u8; 2048];
    let n = fs::File::open(format!("/proc/{pid}/mem")).and_then(|f| f.read_at(&mut words, sp)).unwrap_or(0);
    let above = words[..n].chunks_exact(8).map(|w| u64::from_le_bytes(w.try_into().expect("eight bytes")));
    std::iter::once(pc).chain(above).filter_map(name).take(10).collect::<Vec<_>>().join("<")
}

/// From a line of `maps`: from, to, offset in the file, file.
fn executable(line: &str) -> Option<(u64, u64, u64, &str)> {
    let mut words = line.split_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let (mode, offset) = (words.next()?, words.next()?);
    let number = |w: &str| u64::from_str_radix(w, 16).ok();
    let file = words.nth(2)?;
    mode.contains('x').then_some((number(from)?, number(to)?, number(offset)?, file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchdog::Watchdog;

    #[test]
    fn says_where_a_process_sleeps_and_where_one_runs() {
        let _watch = Watchdog::start("a look at processes");
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id() as Pid;
        // It may be on its way to sleep at the first looks. Where a look found it running, it was stopped for that, and its
        // call is `restart_syscall` from then on, in which the kernel does not say `nanosleep` any more.
        while !{
            let text = describe_tree(pid);
            text.contains(&format!("[{pid}: {pid} S ")) && text.contains("libc")
        } {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let pid = child.id() as Pid;
        // On a busy machine it may wait for its turn, or still be on its way into the shell, at the first looks.
        while !describe(pid).contains("sh+0x") {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
