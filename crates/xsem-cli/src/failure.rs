//! What went wrong, as one line for people and one exit code for scripts.

use crate::exit_codes;
use std::io::{self, Write};
use xsem::Code;

/// An error on its way to `main`.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: u8,
    /// The line, without the `xsem: ` before it.
    pub line: String,
}

impl Failure {
    /// A failure with its exit code.
    pub fn new(exit: u8, line: impl Into<String>) -> Failure {
        Failure { exit, line: line.into() }
    }

    /// Says it on stderr, in exactly one line.
    pub fn report(&self) {
        say(&self.line);
    }
}

impl From<xsem::Error> for Failure {
    fn from(e: xsem::Error) -> Failure {
        let taken = e.is_taken() || e.code() == Code::SemIsSet;
        Failure::new(if taken { exit_codes::TAKEN } else { exit_codes::FAILED }, e.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Failure {
        match e.kind() {
            // `xsem ls | head`: the reader has enough, which is no error of ours.
            io::ErrorKind::BrokenPipe => Failure { exit: exit_codes::ended_by(libc::SIGPIPE), line: String::new() },
            _ => Failure::new(exit_codes::FAILED, format!("cannot write the output: {e}")),
        }
    }
}

/// Writes one line on stderr, in one write, so that lines of several processes do not mix. Whatever came from elsewhere
/// (a command line, a label) cannot break it in two.
pub fn say(line: &str) {
    if line.is_empty() {
        return;
    }
    let mut text: String = format!("xsem: {line}").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.push('\n');
    // With stderr gone there is nobody left to tell.
    let _ = io::stderr().write_all(text.as_bytes());
}
