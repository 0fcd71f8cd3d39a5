//! Asking again, where `--retries` says so. The time of `--wait` begins here, and is for all tries and pauses together.

use crate::cli::RunArgs;
use crate::failure::say;
use std::time::Duration;
use xsem::retry::{Attempts, Policy};
use xsem::{CancelToken, Deadline, Error, Result, age};

/// A signal that comes just before a pause is noticed after this.
const LOOK: Duration = Duration::from_millis(100);

/// The tries that are left, for everything that a run asks for.
pub struct Retries {
    attempts: Attempts,
    until: Option<Deadline>,
    more: u32,
    verbose: bool,
}

impl Retries {
    /// As the options say.
    pub fn new(args: &RunArgs) -> Retries {
        let until = args.waiting.wait.map(Deadline::after);
        let (first, max) = args.backoff;
        let policy = Policy::new().tries(args.retries.saturating_add(1)).backoff(first, max);
        let policy = until.map_or(policy.clone(), |until| policy.deadline(until));
        Retries { attempts: policy.start(), until, more: args.retries, verbose: args.verbose }
    }

    /// Asks, while signals still end us.
    pub fn ask<T>(&mut self, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match ask() {
                Err(e) => match self.pause_after(&e) {
                    Some(pause) => std::thread::sleep(pause),
                    None => return Err(e),
                },
                done => return done,
            }
        }
    }

    /// Asks, with the end of the time that there is. A pause ends when the token is cancelled, and nothing more is asked for then.
    pub fn ask_until<T>(&mut self, cancel: &CancelToken, mut ask: impl FnMut(Option<Deadline>) -> Result<T>) -> Result<T> {
        loop {
            match ask(self.until) {
                Err(e) => match self.pause_after(&e) {
                    Some(pause) if rest(pause, cancel) => {}
                    _ => return Err(e),
                },
                done => return done,
            }
        }
    }

    fn pause_after(&mut self, e: &Error) -> Option<Duration> {
        let pause = self.attempts.pause_after(e)?;
        if self.verbose {
            say(&format!("{e}; asking again in {} ({} of {})", age(pause), self.attempts.made(), self.more));
        }
        Some(pause)
    }
}

/// Whether the whole pause was made.
fn rest(pause: Duration, cancel: &CancelToken) -> bool {
    let end = Deadline::after(pause);
    while !cancel.is_cancelled() {
        let left = end.remaining().min(LOOK);
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left);
    }
    false
}
