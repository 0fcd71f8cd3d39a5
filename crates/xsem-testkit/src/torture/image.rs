//! A process between two execs. What it held ends with the exec, though the process lives; so the witnesses must not ask
//! for the process, but for the program image that it ran when it was granted something.

use crate::sys::{self, Pid};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The argument by which an image says its generation, so that others see in /proc which one runs.
pub(super) const ARGUMENT: &str = "--image";

/// How many times this process has become another program.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Process ids are below 2^22, and the witnesses have room for 29 bits.
const PID_BITS: u32 = 22;
const GENERATIONS: u32 = 128;

/// This process is of that generation.
pub(super) fn set_generation(n: u32) {
    GENERATION.store(n, Relaxed);
}

/// The generation that comes after an exec.
pub(super) fn next_generation() -> u32 {
    GENERATION.load(Relaxed) + 1
}

/// The number of the calling image: its process id, and its generation above.
pub(super) fn own() -> Pid {
    sys::own_pid() | ((GENERATION.load(Relaxed) % GENERATIONS) << PID_BITS) as Pid
}

/// The process of an image.
pub(super) fn pid_of(image: Pid) -> Pid {
    image & ((1 << PID_BITS) - 1)
}

/// Whether it runs no code any more: its process is gone or on its way out, or has become another program.
pub(super) fn is_over(image: Pid) -> bool {
    let pid = pid_of(image);
    sys::is_ending(pid) || generation(pid) != Some(image as u32 >> PID_BITS)
}

/// The generation that a process has. `None` in the instant of an exec.
fn generation(pid: Pid) -> Option<u32> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|l| !l.is_empty())?;
    let mut arguments = line.split(|b| *b == 0);
    match arguments.any(|a| a == ARGUMENT.as_bytes()) {
        true => Some(std::str::from_utf8(arguments.next()?).ok()?.parse::<u32>().ok()? % GENERATIONS),
        false => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_not_the_present_one_is_over() {
        let _dog = crate::watchdog::Watchdog::start("an image");
        assert_eq!((pid_of(own()), is_over(own())), (sys::own_pid(), false));
        assert!(is_over(own() | 3 << PID_BITS), "the process lives, and has become another program");
        // A shell that waits for a line, and has these arguments.
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read line", "sh", ARGUMENT, "5"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id() as Pid;
        // Until its exec it is this program.
        while generation(pid) != Some(5) {
            sys::nap(100);
        }
        assert_eq!([0, 4, 5].map(|g| is_over(pid | g << PID_BITS)), [true, true, false]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_over(pid | 5 << PID_BITS));
    }
}
