//! An actor inside the test's own process.

use super::{Actor, Crew};
use crate::protocol::{Answer, Verb};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use xsem::Namespace;

/// Threads of this process on a namespace handle of their own. It dies by the end of its threads, which forget what they
/// own; or, for engines with sessions, in a way of the engine's own.
pub struct Local {
    crew: Crew,
    answers: Receiver<(u32, Answer)>,
    early: Vec<(u32, Answer)>,
    end: Option<Box<dyn FnMut() + Send>>,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.crew.fmt(f)
    }
}

impl Local {
    /// An actor on this namespace; `elsewhere` is another one for `Verb::Elsewhere`.
    pub fn new(ns: Namespace, elsewhere: Option<Namespace>) -> Local {
        let (tell, answers): (Sender<(u32, Answer)>, _) = channel();
        // The other end is gone only when the test is over.
        let say = Arc::new(move |thread, answer| drop(tell.send((thread, answer))));
        Local { crew: Crew::new(ns, elsewhere, say), answers, early: Vec::new(), end: None }
    }

    /// Dies by this instead of by the end of its threads.
    pub fn ends_by(mut self, end: impl FnMut() + Send + 'static) -> Local {
        self.end = Some(Box::new(end));
        self
    }
}

impl Actor for Local {
    fn tell(&mut self, thread: u32, verb: &Verb) {
        self.crew.tell(thread, verb.clone());
    }

    fn answer_within(&mut self, thread: u32, time: Duration) -> Option<Answer> {
        if let Some(i) = self.early.iter().position(|(t, _)| *t == thread) {
            return Some(self.early.remove(i).1);
        }
        let until = Instant::now() + time;
        loop {
            match self.answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok((t, answer)) if t == thread => return Some(answer),
                Ok(other) => self.early.push(other),
                Err(_) => return None,
            }
        }
    }

    fn describe(&self) -> String {
        format!("an actor with the threads {:?}", self.crew.threads())
    }

    fn die(&mut self) {
        match &mut self.end {
            Some(end) => end(),
            None => {
                for thread in self.crew.threads() {
                    assert_eq!(self.ask(thread, &Verb::EndThread), Answer::Done);
                }
            }
        }
    }
}
