//! `xsem hold NAME`: the shell that calls us owns the semaphore until it ends, or says `xsem release NAME`.
//!
//! Three processes take part. The *shell* owns, and knows of nothing. The *keeper*, a child of ours in the background, is the
//! holder that others see: it acquires, covers the shell, and watches it through a pidfd. The one in *front*, which the shell
//! waits for, only passes on what the keeper says, and ends.
//!
//! The keeper's claim covers the shell before it is acquired. So whatever is killed when, nobody gets the semaphore while the
//! shell lives: if the keeper is killed, the engine waits for what it covered.
//!
//! | file | what |
//! |---|---|
//! | `keeper` | acquiring and keeping |
//! | `watch` | the shell's end, and how it came; being told to release |

mod keeper;
pub mod watch;

use crate::background::{self, Side};
use crate::cli::HoldArgs;
use crate::exit_codes;
use crate::failure::{Failure, say};
use crate::run::waiting::{self, LiveLine};
use crate::{places, tree};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::parent_id;

/// What the keeper has to say, once: it holds the semaphore, or why not. A line of JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Word {
    exit: u8,
    /// A warning, or the error.
    say: String,
    /// The slots of a pool.
    slots: Vec<u32>,
}

/// The answer to it, without which the keeper gives the semaphore back.
const UNDERSTOOD: u8 = b'u';

/// Takes the semaphore for the shell.
pub fn hold(args: &HoldArgs, url: &str) -> Result<u8, Failure> {
    let owner = Owner::find(args.owner)?;
    let side = background::fork()
        .map_err(|e| Failure::new(exit_codes::FAILED, format!("cannot start the process that holds `{}`: {e}", args.name)))?;
    match side {
        Side::Child(channel) => keeper::keep(args, url, &owner, channel),
        Side::Parent(keeper, channel) => front(args, url, keeper, channel),
    }
}

/// The process that shall own the semaphore.
pub struct Owner {
    pid: u32,
    start: u64,
}

impl Owner {
    fn find(asked: Option<u32>) -> Result<Owner, Failure> {
        let pid = asked.unwrap_or_else(parent_id);
        let none = |why: &str| Err(Failure::new(exit_codes::FAILED, format!("{why}; say which one it is: --for PID")));
        match tree::stat(pid) {
            _ if asked.is_none() && pid <= 1 => none("the shell that called us is not to be seen from here, or has ended"),
            None => none(&format!("there is no process {pid} that could own a semaphore")),
            // Our parent cannot have been replaced by another process of that number while it is still our parent.
            Some(_) if asked.is_none() && parent_id() != pid => none("the shell that called us has ended"),
            Some(stat) => Ok(Owner { pid, start: stat.start }),
        }
    }
}

/// Waits for the keeper's word, with a line on a terminal that says who is waited for. If a signal ends us, the keeper finds
/// the channel closed, and gives up.
fn front(args: &HoldArgs, url: &str, keeper: u32, mut channel: UnixStream) -> Result<u8, Failure> {
    let line = match places::existing(url) {
        Ok(Some(ns)) if waiting::on_terminal() && !args.waiting.no_wait => {
            Some(LiveLine::start(&ns, vec![args.name.clone()], keeper, xsem::Wants::One))
        }
        _ => None,
    };
    let mut text = String::new();
    let read = BufReader::new(&channel).read_line(&mut text);
    drop(line);
    let word: Option<Word> = read.ok().and_then(|_| serde_json::from_str(&text).ok());
    let Some(word) = word else {
        return Err(Failure::new(exit_codes::FAILED, format!("the process that should hold `{}` has ended", args.name)));
    };
    if word.exit != exit_codes::OK {
        return Err(Failure::new(word.exit, word.say));
    }
    say(&word.say);
    if !word.slots.is_empty() {
        writeln!(io::stdout(), "{}", crate::run::joined(word.slots, ","))?;
    }
    // From here on it is held. A keeper that cannot be told gives it back.
    channel
        .write_all(&[UNDERSTOOD])
        .map_err(|_| Failure::new(exit_codes::FAILED, format!("the process that held `{}` has ended", args.name)))?;
    Ok(exit_codes::OK)
}
