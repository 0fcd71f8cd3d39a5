//! The process that keeps a claim for a shell.

use super::watch::{self, Ended, Event, Watch};
use super::{Owner, UNDERSTOOD, Word};
use crate::cli::{HoldArgs, OnLoss, OnOwnerDeath};
use crate::exit_codes;
use crate::failure::Failure;
use crate::run::acquire::{acquire, owner_died};
use crate::run::claims::Claims;
use crate::tree;
use crate::wanted::{self, Sem};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use xsem::{CancelToken, Cause, Exclusive, Held, Namespace, Wait};

/// Acquires, says so, and keeps it. Ends the process.
pub fn keep(args: &HoldArgs, url: &str, owner: &Owner, mut channel: UnixStream) -> ! {
    // Before there is a second thread, which would get the signal otherwise.
    watch::block_signals();
    if let Err(failure) = kept(args, url, owner, &mut channel) {
        speak(&mut channel, &Word { exit: failure.exit, say: failure.line, slots: Vec::new() });
    }
    // SAFETY: takes a number, does not return. The destructors of the process that we were forked from are not ours to run.
    unsafe { libc::_exit(0) }
}

fn kept(args: &HoldArgs, url: &str, owner: &Owner, channel: &mut UnixStream) -> Result<(), Failure> {
    let watch = Watch::on(owner)?;
    let ns = Namespace::open(url)?;
    // A shell that holds it already, or whose own caller does, shares that claim: the last release ends it.
    let claims = Claims::from_env();
    let enclosing = match args.permits.any() {
        true => None,
        false => claims.token(ns.url(), &args.name).or_else(|| tree::held_for(&ns, &args.name, owner.pid)),
    };
    ns.describe(&tree::description(owner.pid, &tree::command_of(owner.pid)))?;
    // Before anything is ours, so that there is no instant at which our death would let others in beside the shell.
    ns.cover(Some(owner.pid))?;
    crate::run::enclosing::announce(&ns, &claims, owner.pid)?;

    let handle = enclosing.map(|_| Exclusive::open(&ns, &args.name)).transpose()?;
    if let (Some(handle), Some(token)) = (&handle, enclosing)
        && let Some(guard) = handle.join(token)?
    {
        let (acknowledged, _) = acknowledgement(channel, None)?;
        speak(channel, &Word { exit: exit_codes::OK, say: String::new(), slots: Vec::new() });
        return keep_for(args, &ns, &watch, Held::Guard(guard), acknowledged.join().unwrap_or(false));
    }

    let sem = wanted::open(&ns, &args.name, &args.permits)?;
    let sems = [sem];
    let (acknowledged, cancel) = acknowledgement(channel, Some(&watch))?;
    let mut wait = match (args.waiting.no_wait, args.waiting.wait) {
        (true, _) => Wait::not(),
        (false, Some(time)) => Wait::timeout(time),
        (false, None) => Wait::forever(),
    };
    if let Some(label) = &args.label {
        wait = wait.label(label);
    }
    let mut acquired = acquire(&ns, &sems, wait.cancel(&cancel))?;
    let mut say = String::new();
    if !acquired.died.is_empty() {
        let e = owner_died(&sems, &acquired.died);
        if args.on_owner_death == OnOwnerDeath::Fail {
            return Err(Failure::new(exit_codes::OWNER_DIED, e.to_string()));
        }
        say = format!("warning: {e}");
    }
    let Some(held) = acquired.held.pop() else { return Ok(()) };
    let slots = match (&held, &sems[0]) {
        // Credit has no slots, which is the error here.
        (Held::Permit(p), Sem::Counting(..)) => p.slots().unwrap_or_default(),
        _ => Vec::new(),
    };
    speak(channel, &Word { exit: exit_codes::OK, say, slots });
    keep_for(args, &ns, &watch, held, acknowledged.join().unwrap_or(false))
}

/// A thread that waits until the front has understood us (true), or is gone (false, and the wait is cancelled). The shell
/// may end before the front does; then there is nobody to wait for, either.
fn acknowledgement(channel: &UnixStream, watch: Option<&Watch>) -> Result<(thread::JoinHandle<bool>, CancelToken), Failure> {
    let failed = |e| Failure::new(exit_codes::FAILED, format!("cannot watch who called us: {e}"));
    let mut channel = channel.try_clone().map_err(failed)?;
    let pidfd = watch.map(Watch::pidfd).transpose().map_err(failed)?;
    let cancel = CancelToken::new();
    let token = cancel.clone();
    let listen = move || {
        if let Some(pidfd) = pidfd
            && !watch::readable_first(&channel, &pidfd)
        {
            token.cancel();
            return false;
        }
        let mut byte = [0];
        let understood = channel.read_exact(&mut byte).is_ok() && byte[0] == UNDERSTOOD;
        if !understood {
            token.cancel();
        }
        understood
    };
    let thread = thread::Builder::new().name("xsem-front".into()).spawn(listen).map_err(failed)?;
    Ok((thread, cancel))
}

/// Keeps the claim until the shell has ended or somebody says that it is enough, or it is lost.
fn keep_for(args: &HoldArgs, ns: &Namespace, watch: &Watch, held: Held<'_>, understood: bool) -> Result<(), Failure> {
    watch.listen(ns);
    let is_held = || match &held {
        Held::Guard(g) => g.is_held(),
        Held::Permit(p) => p.is_held(),
        _ => true,
    };
    let event = match understood {
        // A loss of before we listened.
        true if !is_held() => Event::Lost,
        true => loop {
            match watch.next(held.token()) {
                // Of a session before, while we waited.
                Event::Lost if is_held() => {}
                event => break event,
            }
        },
        // Nobody knows that it was held.
        false => Event::Release,
    };
    if event == Event::Lost {
        lost(args, watch);
        return Ok(());
    }
    // It may have been evicted meanwhile (288), and there is nobody left to tell.
    let _ = match (event, held) {
        (Event::OwnerEnded(Ended::BySignal(s)), Held::Guard(g)) => g.abandon_because(Cause::CommandKilled(s)),
        (Event::OwnerEnded(Ended::Unknown), Held::Guard(g)) => g.abandon_because(Cause::ProcessEnded),
        (_, Held::Guard(g)) => g.release(),
        (_, Held::Permit(p)) => p.release(),
        _ => Ok(()),
    };
    Ok(())
}

/// The shell may do what the claim was for no longer: others may have it.
fn lost(args: &HoldArgs, watch: &Watch) {
    let (name, end) = (&args.name, args.on_loss == OnLoss::End);
    let then = if end { "so this shell is asked to end (SIGTERM)" } else { "and this shell goes on" };
    watch.tell_owner(&format!("`{name}` is not held any more, because its lease has ended; others may own it, {then}"));
    if end {
        watch.end_owner();
    }
}

fn speak(channel: &mut UnixStream, word: &Word) {
    if let Ok(mut line) = serde_json::to_vec(word) {
        line.push(b'\n');
        // A front that is gone is noticed by the acknowledgement that does not come.
        let _ = channel.write_all(&line);
    }
}
