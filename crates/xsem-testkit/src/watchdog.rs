//! Ends a blocking test that hangs, and says what hung.
//!
//! A test that waits for another process must not wait for ever when the code under test is wrong, and must not assert
//! how fast a loaded machine is. So: a generous time, and an abort with a message instead of a wait without an end.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Aborts the process with a message unless it is dropped in time.
#[derive(Debug)]
#[must_use = "the watchdog ends when it is dropped"]
pub struct Watchdog {
    // Dropping the sender is what tells the thread that all is well.
    _alive: Sender<()>,
}

/// Time enough for whatever a test does on a loaded machine.
pub const GENEROUS: Duration = Duration::from_secs(60);

/// How many times slower than others this machine is: an emulated one says so in `XSEM_SLOW`.
pub fn slowness() -> u32 {
    std::env::var("XSEM_SLOW").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

impl Watchdog {
    /// Watches what the caller calls `what`, for [`GENEROUS`].
    pub fn start(what: &str) -> Watchdog {
        Watchdog::with_time(what, GENEROUS)
    }

    /// Watches `what` for `time`, or longer on a slow machine.
    pub fn with_time(what: &str, time: Duration) -> Watchdog {
        let time = time * slowness();
        let (alive, dropped) = channel::<()>();
        let what = what.to_owned();
        std::thread::spawn(move || {
            if dropped.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                eprintln!("watchdog: `{what}` did not end within {} s; aborting", time.as_secs_f64());
                std::process::abort();
            }
        });
        Watchdog { _alive: alive }
    }

    /// Runs `f` under a watchdog.
    pub fn around<T>(what: &str, f: impl FnOnce() -> T) -> T {
        let _dog = Watchdog::start(what);
        f()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_alone_what_ends() {
        let dog = Watchdog::with_time("short work", Duration::from_millis(20));
        drop(dog);
        // Longer than its time: a watchdog that outlived its guard would abort the whole test process here.
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(Watchdog::around("a sum", || 1 + 1), 2);
    }

    #[test]
    #[ignore = "hangs on purpose; the test below runs it in a process of its own"]
    fn hangs() {
        let _dog = Watchdog::with_time("a wait without an end", Duration::from_millis(50));
        loop {
            std::thread::park();
        }
    }

    #[test]
    fn aborts_what_hangs_and_says_what() {
        let mut own = std::process::Command::new(std::env::current_exe().unwrap());
        own.env_remove("XSEM_SLOW");
        let out = own.args(["--exact", "watchdog::tests::hangs", "--ignored", "--nocapture"]).output().unwrap();
        assert!(!out.status.success());
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(said.contains("`a wait without an end` did not end within 0.05 s"), "{said}");
    }
}
