//! A run of `cargo test` in which a test that hangs is named and its program ended, and the other programs go on.
//!
//! The test harness says of each test that has been running for a minute that it has, and says of each one how it ended. So where
//! a program has such tests and nothing has ended in it for as long as no test may take, those are the ones that hang.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than the watchdog of any test.
pub const SILENCE: Duration = Duration::from_secs(6 * 60);

/// What a look at a test program's lines knows.
#[derive(Debug, Default)]
pub struct Watch {
    /// Tests that have been running for over a minute.
    slow: Vec<String>,
    /// Since when nothing was said.
    since: Option<Instant>,
    /// All that hung in this run.
    pub hung: Vec<String>,
}

impl Watch {
    /// Takes a line of the output in.
    pub fn line(&mut self, line: &str, now: Instant) {
        self.since = Some(now);
        let Some(rest) = line.strip_prefix("test ") else {
            // The next program begins, or this one has ended.
            if line.starts_with("running ") || line.starts_with("test result") {
                self.slow.clear();
            }
            return;
        };
        if let Some((name, _)) = rest.split_once(" has been running for over ") {
            self.slow.push(name.to_owned());
        } else if let Some((name, _)) = rest.split_once(" ... ") {
            self.slow.retain(|s| s != name);
        } else if rest.starts_with("result:") {
            self.slow.clear();
        }
    }

    /// Whether something hangs that was not told yet; from then on it is.
    pub fn hangs(&mut self, now: Instant, silence: Duration) -> bool {
        let long = self.since.is_some_and(|t| now.duration_since(t) > silence);
        if !long || self.slow.is_empty() {
            return false;
        }
        self.hung.append(&mut self.slow);
        true
    }
}

/// What somebody writes, line by line, printed as it comes.
pub fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, told): (Sender<String>, _) = channel();
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            println!("{line}");
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    told
}

/// Takes in what comes within a moment. False: nobody writes any more.
pub fn listen(told: &Receiver<String>, watch: &mut Watch, moment: Duration) -> bool {
    match told.recv_timeout(moment) {
        Ok(line) => {
            watch.line(&line, Instant::now());
            true
        }
        Err(RecvTimeoutError::Timeout) => true,
        Err(RecvTimeoutError::Disconnected) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_not_ended_is_named() {
        let (mut watch, begin) = (Watch::default(), Instant::now());
        let lines = [
            "running 4 tests",
            "test quick ... ok",
            "test slow has been running for over 60 seconds",
            "test hangs::for_ever has been running for over 60 seconds",
            "test slow ... ok",
        ];
        lines.iter().for_each(|l| watch.line(l, begin));
        assert!(!watch.hangs(begin, SILENCE), "somebody has said something just now");
        assert!(watch.hangs(begin + 2 * SILENCE, SILENCE) && !watch.hangs(begin + 3 * SILENCE, SILENCE));
        assert_eq!(watch.hung, ["hangs::for_ever"]);
    }

    #[test]
    fn a_silent_build_is_no_hang_nor_is_a_program_that_has_ended() {
        let (mut watch, begin) = (Watch::default(), Instant::now());
        assert!(!watch.hangs(begin + 2 * SILENCE, SILENCE));
        watch.line("test slow has been running for over 60 seconds", begin);
        watch.line("test result: FAILED. 1 passed; 1 failed", begin);
        assert!(!watch.hangs(begin + 2 * SILENCE, SILENCE) && watch.hung.is_empty());
    }
}
