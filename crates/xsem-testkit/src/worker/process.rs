//! A worker process, seen from the test.

use super::{Actor, patience};
use crate::protocol::{Answer, Verb};
use crate::sys;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A worker process. Dropping it kills it.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    commands: ChildStdin,
    answers: Receiver<(u32, Answer)>,
    early: Vec<(u32, Answer)>,
}

impl Worker {
    /// Starts the program at `worker` on the namespace `url`.
    pub fn start(worker: impl AsRef<Path>, url: &str) -> Worker {
        Worker::start_with(worker, &[url])
    }

    /// Starts it with these arguments: the namespace, and another one for `Verb::Elsewhere`.
    pub fn start_with(worker: impl AsRef<Path>, arguments: &[&str]) -> Worker {
        Worker::run(Command::new(worker.as_ref()).args(arguments))
    }

    /// Starts it in this directory.
    pub fn start_in(dir: &Path, worker: impl AsRef<Path>, url: &str) -> Worker {
        Worker::run(Command::new(worker.as_ref()).arg(url).current_dir(dir))
    }

    /// Starts it as another user, of one group. Needs root.
    pub fn start_as(worker: impl AsRef<Path>, arguments: &[&str], user: u32, group: u32) -> Worker {
        Worker::run(Command::new(worker.as_ref()).args(arguments).env(super::USER, format!("{user} {group}")))
    }

    fn run(command: &mut Command) -> Worker {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the worker program starts");
        let commands = child.stdin.take().expect("its input is a pipe");
        let output = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let (tell, answers) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let Some((thread, answer)) = line.split_once(' ') else { panic!("`{line}` is not from a worker") };
                let answer = answer.parse().unwrap_or_else(Answer::Broken);
                if tell.send((thread.parse().expect("a thread's number"), answer)).is_err() {
                    return;
                }
            }
        });
        Worker { child, commands, answers, early: Vec::new() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells a thread what to do, and does not wait for the answer.
    pub fn tell(&mut self, thread: u32, verb: &Verb) {
        writeln!(self.commands, "{thread} {verb}").expect("the worker lives");
    }

    /// The answer of a thread, if there is one within `time`.
    pub fn answer_within(&mut self, thread: u32, time: Duration) -> Option<Answer> {
        if let Some(i) = self.early.iter().position(|(t, _)| *t == thread) {
            return Some(self.early.remove(i).1);
        }
        loop {
            match self.answers.recv_timeout(time) {
                Ok((t, answer)) if t == thread => return Some(answer),
                Ok(other) => self.early.push(other),
                Err(_) => return None,
            }
        }
    }

    /// The answer of a thread.
    ///
    /// # Panics
    /// When it hangs, with what each thread of the worker does.
    pub fn answer(&mut self, thread: u32) -> Answer {
        self.answer_within(thread, patience()).unwrap_or_else(|| {
            let pid = self.pid() as sys::Pid;
            panic!("worker {pid}, thread {thread} does not answer; its threads: {}", sys::describe(pid))
        })
    }

    /// Tells and waits for the answer.
    pub fn ask(&mut self, thread: u32, verb: &Verb) -> Answer {
        self.tell(thread, verb);
        self.answer(thread)
    }

    /// Opens or creates, which must work, and gives the handle.
    pub fn handle(&mut self, thread: u32, verb: &Verb) -> usize {
        Actor::handle(self, thread, verb)
    }

    /// Acquires, which must be granted, and gives guard, token and whether it is 105.
    pub fn granted(&mut self, thread: u32, verb: &Verb) -> (usize, u64, bool) {
        Actor::granted(self, thread, verb)
    }

    /// Sends it a signal (stop, continue).
    pub fn signal(&self, signal: i32) {
        sys::kill(self.pid() as sys::Pid, signal);
    }

    /// Ends it with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        self.gone();
    }

    /// Waits until it is gone.
    pub fn gone(&mut self) {
        self.child.wait().expect("it is our child");
    }
}

impl Actor for Worker {
    fn tell(&mut self, thread: u32, verb: &Verb) {
        Worker::tell(self, thread, verb);
    }

    fn answer_within(&mut self, thread: u32, time: Duration) -> Option<Answer> {
        Worker::answer_within(self, thread, time)
    }

    fn describe(&self) -> String {
        format!("worker {} ({})", self.pid(), sys::describe(self.pid() as sys::Pid))
    }

    fn die(&mut self) {
        self.kill();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // `Child::kill` knows whether it was waited for already; a bare signal could hit a stranger with a reused pid.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
