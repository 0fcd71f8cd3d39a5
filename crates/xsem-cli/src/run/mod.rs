//! `xsem run`: wait, run, pass on the exit code.
//!
//! | file | what |
//! |---|---|
//! | `take` | getting the semaphore, or a share of the claim of an enclosing run |
//! | `claims` | how claims reach a nested run |
//! | `waiting` | the line that says who is waited for |
//! | `signals` | which signals do what, before and after the claim |
//! | `spawn` | fork and exec, with the claim covering the command before it starts |
//! | `supervise` | waiting for the command: signals, job control, the time limit |
//! | `command_line` | the command as people read it |

pub mod claims;
pub mod command_line;
mod signals;
mod spawn;
mod supervise;
mod take;
mod waiting;

use crate::cli::RunArgs;
use crate::exit_codes;
use crate::failure::{Failure, say};
use claims::Claims;
use supervise::{End, Ended};
use take::{Held, Turn};
use xsem::{Cause, Exclusive, Namespace};

/// Runs the command while owning the semaphore.
pub fn run(args: &RunArgs, url: &str) -> Result<u8, Failure> {
    let ns = Namespace::open(url).map_err(own)?;
    let sem = Exclusive::open_or_create(&ns, &args.name).map_err(own)?;
    let shown = command_line::shown(&args.command);
    ns.describe(&shown).map_err(own)?;

    let claims = Claims::from_env();
    let enclosing = claims.token(ns.url(), &args.name);
    let held = match take::take(&sem, &ns, args, enclosing)? {
        Turn::Ours(held) => held,
        Turn::Over(code) => return Ok(code),
    };

    let claims = claims.with(held.guard.token(), ns.url(), &args.name);
    let plan = spawn::Plan::new(&args.command, (claims::VARIABLE, claims.encode()), args.detach_on_death);
    let child =
        plan.spawn(&held.inherited).map_err(|e| Failure::new(exit_codes::XSEM_FAILED, format!("cannot start `{shown}`: {e}")))?;
    if let Err(e) = ns.cover(Some(child.pid())) {
        child.call_off();
        return Err(own(e));
    }
    let child = child.go();
    let code = match supervise::supervise(child.pid(), args.time_limit) {
        Err(e) => Err(Failure::new(exit_codes::XSEM_FAILED, format!("cannot wait for `{shown}`: {e}"))),
        Ok(ended) => match child.why_not() {
            Some(e) => Err(not_executed(args, &e)),
            None => Ok(ended),
        },
    };
    // A command that never ran has left nothing half done: the claim goes back as it was, with the mark if there was one.
    let done = match &code {
        Ok(ended) => give_back(held, ended),
        Err(_) => held.guard.release(),
    };
    if let Err(e) = done {
        say(&format!("warning: `{}` was not ours any more when `{shown}` had ended: {e}", args.name));
    }
    // The claim is gone, and with it what it covered; an error here could change nothing any more.
    let _ = ns.cover(None);
    code.map(|ended| ended.exit_code())
}

fn give_back(held: Held<'_>, ended: &Ended) -> xsem::Result<()> {
    match ended.end {
        End::Signal(s) => held.guard.abandon_because(Cause::CommandKilled(u8::try_from(s).unwrap_or(0))),
        End::Exit(code) => {
            if held.marked && code == 0 && !ended.timed_out {
                held.guard.mark_consistent()?;
            }
            held.guard.release()
        }
    }
}

/// A failure of ours, as opposed to "taken" and to the command's own.
fn own(e: xsem::Error) -> Failure {
    Failure::new(exit_codes::XSEM_FAILED, e.to_string())
}

fn not_executed(args: &RunArgs, e: &std::io::Error) -> Failure {
    let program = args.command.first().map(|c| c.to_string_lossy()).unwrap_or_default();
    let (exit, advice) = match e.raw_os_error() {
        Some(libc::ENOENT) if program.contains('/') => {
            (exit_codes::NOT_FOUND, "check the path, and the interpreter in its first line")
        }
        Some(libc::ENOENT) => {
            (exit_codes::NOT_FOUND, "check the spelling and PATH; a builtin, a pipeline or a list needs a shell: sh -c '...'")
        }
        Some(libc::EACCES) => (exit_codes::CANNOT_EXECUTE, "it must be a file with execute permission (chmod +x)"),
        _ => (exit_codes::CANNOT_EXECUTE, "it must be a program or a script for this machine"),
    };
    Failure::new(exit, format!("cannot run `{program}`: {e}; {advice}"))
}
