//! Actors: real claimants that do what a test says, and end when it says. A [`Worker`] is a process of its own, a
//! [`Local`] actor some threads of the test's process.

mod crew;
mod futures;
mod local;
mod player;
mod process;
mod serve;

pub use crew::Crew;
pub use local::Local;
pub use player::Player;
pub use process::Worker;
pub use serve::serve;

use crate::protocol::{Answer, Verb};
use crate::watchdog::slowness;
use std::time::Duration;

/// Says in the environment of a worker who it is to become: a user and a group, by number.
pub const USER: &str = "XSEM_WORKER_USER";

/// Time enough for an answer on a loaded or slow machine; beyond it the actor hangs.
pub(crate) fn patience() -> Duration {
    Duration::from_secs(30) * slowness()
}

/// Somebody who does what verbs say, in threads that are claimants of their own.
pub trait Actor {
    /// Tells a thread what to do, and does not wait for the answer.
    fn tell(&mut self, thread: u32, verb: &Verb);
    /// The answer of a thread, if there is one within `time`.
    fn answer_within(&mut self, thread: u32, time: Duration) -> Option<Answer>;
    /// Who it is and what it does, for people.
    fn describe(&self) -> String;
    /// Ends it as an owner ends who dies, and waits until that is so.
    fn die(&mut self);

    /// The answer of a thread.
    ///
    /// # Panics
    /// When it hangs, with what the actor does.
    fn answer(&mut self, thread: u32) -> Answer {
        self.answer_within(thread, patience()).unwrap_or_else(|| panic!("thread {thread} of {} does not answer", self.describe()))
    }

    /// Tells and waits for the answer.
    fn ask(&mut self, thread: u32, verb: &Verb) -> Answer {
        self.tell(thread, verb);
        self.answer(thread)
    }

    /// Opens or creates, which must work, and gives the handle.
    fn handle(&mut self, thread: u32, verb: &Verb) -> usize {
        match self.ask(thread, verb) {
            Answer::Handle(h) => h,
            other => panic!("{verb}: {other}"),
        }
    }

    /// Acquires, which must be granted, and gives guard, token and whether it is 105.
    fn granted(&mut self, thread: u32, verb: &Verb) -> (usize, u64, bool) {
        match self.ask(thread, verb) {
            Answer::Granted { guard, token, died } => (guard, token, died.is_some()),
            other => panic!("{verb}: {other}"),
        }
    }

    /// Thread 0 does something that must be `Done`.
    fn done(&mut self, verb: Verb) {
        let answer = self.ask(0, &verb);
        assert_eq!(answer, Answer::Done, "{verb}");
    }

    /// Thread 0 is refused something with this code, whatever entries of a list it names.
    fn refused(&mut self, verb: Verb, code: u32) {
        let answer = self.ask(0, &verb);
        assert_eq!(answer.code(), Some(code), "{verb}: {answer}");
    }

    /// Thread 0 acquires one thing, which must be granted, and not with 105: guard and token.
    fn owns(&mut self, verb: Verb) -> (usize, u64) {
        let (guard, token, died) = self.granted(0, &verb);
        assert!(!died, "{verb}: 105");
        (guard, token)
    }

    /// Thread 0 opens or creates something.
    fn opens(&mut self, verb: Verb) -> usize {
        self.handle(0, &verb)
    }

    /// Limit, total and free permits of a handle.
    fn capacity(&mut self, handle: usize) -> Vec<u32> {
        match self.ask(0, &Verb::Capacity(handle)) {
            Answer::Numbers(n) => n,
            other => panic!("capacity: {other}"),
        }
    }
}
