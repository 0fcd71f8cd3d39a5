//! `xsem event signal|reset|wait NAME...`.

use crate::cli::{EventArgs, EventChangeArgs, EventCommand, EventWaitArgs, ResetArg};
use crate::failure::{Failure, say};
use crate::run::command_line::quoted;
use crate::run::signals;
use crate::run::waiting::{self, LiveLine};
use crate::wanted::check_count;
use crate::{exit_codes, places};
use std::cell::Cell;
use std::io::{self, Write};
use xsem::{AllError, AnyError, CancelToken, Code, Error, Event, Namespace, Pick, Reset, Result, Wait, Wants};

/// Does it. A failure of ours has the number that it has in `xsem run`, so that no script takes it for an answer.
pub fn event(args: &EventArgs, url: &str) -> std::result::Result<u8, Failure> {
    let done = match &args.what {
        EventCommand::Signal(args) => change(args, url, Event::signal),
        EventCommand::Reset(args) => change(args, url, |event| event.reset().map(|was_signalled| !was_signalled)),
        EventCommand::Wait(args) => wait(args, url),
    };
    done.map_err(|f| match f.exit {
        exit_codes::FAILED => Failure { exit: exit_codes::XSEM_FAILED, ..f },
        _ => f,
    })
}

/// Signals or resets all of them, and says how they were; `change` gives whether one was reset before. All are opened
/// first: one that does not exist leaves the others as they are.
fn change(args: &EventChangeArgs, url: &str, change: fn(&Event) -> Result<bool>) -> std::result::Result<u8, Failure> {
    let (_ns, events) = open(&args.names, args.create, url)?;
    let done: Vec<Result<bool>> = events.iter().map(change).collect();
    let mut out = io::stdout().lock();
    let mut failed: Option<Failure> = None;
    for (event, done) in events.iter().zip(done) {
        match done {
            Ok(was_reset) if args.json => {
                let line = serde_json::json!({ "name": event.name(), "was_signalled": !was_reset });
                writeln!(out, "{line}")?;
            }
            Ok(was_reset) if args.verbose => {
                writeln!(out, "{}: was {}", event.name(), if was_reset { "reset" } else { "signalled" })?;
            }
            Ok(_) => {}
            Err(e) => {
                // The last one is told by `main`.
                if let Some(before) = failed.replace(e.into()) {
                    before.report();
                }
            }
        }
    }
    failed.map_or(Ok(exit_codes::OK), Err)
}

/// Waits for the first of them, or for all.
fn wait(args: &EventWaitArgs, url: &str) -> std::result::Result<u8, Failure> {
    check_count(&args.names)?;
    let (ns, events) = open(&args.names, args.create, url)?;
    let taken = Cell::new(0..0);
    let work = |cancel: &CancelToken| {
        let done = signalled(&ns, &events, args, cancel);
        if let Ok(index) = done {
            taken.set(if args.all { 0..events.len() } else { index..index + 1 });
        }
        done
    };
    // A signal ends us, and nobody will learn that we were woken.
    let before_death = || events[taken.take()].iter().for_each(pass_on);
    let (done, _) = signals::cancel_on_signal(work, before_death);
    match done {
        Ok(index) => {
            if events.len() > 1 && !args.all {
                writeln!(io::stdout(), "{}", events[index].name())?;
            }
            Ok(exit_codes::OK)
        }
        // 102: it is being drained, which ends, too.
        Err(e) if e.is_taken() || e.code() == Code::SemIsSet => Err(Failure::new(args.conflict_exit_code, e.to_string())),
        Err(e) => Err(e.into()),
    }
}

/// Gives the signal of an auto event back, which a wait has consumed in vain: as if it had not been consumed.
pub fn pass_on(event: &Event) {
    if event.state().is_ok_and(|s| s.reset == Reset::Auto) {
        // It may have been removed meanwhile; then nobody waits for it, either.
        let _ = event.signal();
    }
}

/// Which one it was that is signalled.
fn signalled(ns: &Namespace, events: &[Event], args: &EventWaitArgs, cancel: &CancelToken) -> Result<usize> {
    let wait = match (args.no_wait, args.wait) {
        (true, _) => Wait::not(),
        (false, Some(time)) => Wait::timeout(time),
        (false, None) => Wait::forever(),
    };
    let wait = wait.cancel(cancel);
    let wants = match (events.len(), args.all) {
        (1, _) => Wants::One,
        (_, true) => Wants::All,
        (_, false) => Wants::Any,
    };
    let names: Vec<String> = events.iter().map(|e| e.name().to_owned()).collect();
    if args.verbose
        && !waiting::on_terminal()
        && let Some(text) = waiting::look(ns, &names, std::process::id(), wants)
    {
        say(&text);
    }
    let line = (waiting::on_terminal() && !args.no_wait).then(|| LiveLine::start(ns, names, std::process::id(), wants));
    let list: Vec<Pick<'_>> = events.iter().map(Pick::from).collect();
    let outcome = match wants {
        Wants::All => ns.acquire_all(&list, wait).map(|_| 0).map_err(AllError::into),
        Wants::Any => ns.wait_any(&list, wait).map(|taken| taken.index).map_err(AnyError::into),
        _ => events[0].wait_with(wait).map(|()| 0),
    };
    drop(line);
    outcome
}

fn open(names: &[String], create: Option<ResetArg>, url: &str) -> Result<(Namespace, Vec<Event>)> {
    let ns = match create {
        Some(_) => Namespace::open(url)?,
        None => places::existing(url)?.ok_or_else(|| missing(&names[0]))?,
    };
    let events = names.iter().map(|name| one(&ns, name, create)).collect::<Result<_>>()?;
    Ok((ns, events))
}

fn one(ns: &Namespace, name: &str, create: Option<ResetArg>) -> Result<Event> {
    let found = match create {
        None => Event::open(ns, name),
        Some(ResetArg::Manual) => Event::open_or_create_manual(ns, name),
        Some(ResetArg::Auto) => Event::open_or_create_auto(ns, name),
    };
    found.map_err(|e| match e.code() {
        Code::SemNotFound => missing(name),
        Code::InvalidHandle => {
            let typed = quoted(name);
            let advice = format!("`xsem show {typed}` says what it is; `xsem wait {typed}` waits until a semaphore can be had");
            Error::new(e.code(), e.message()).of(name).advice(advice)
        }
        _ => e,
    })
}

/// 187 in the words of the command line.
fn missing(name: &str) -> Error {
    let typed = quoted(name);
    Error::new(Code::SemNotFound, format!("there is no event `{name}`")).of(name).advice(format!(
        "make it: `xsem create --event manual {typed}` (a signal wakes all, until it is reset) or `xsem create --event auto \
         {typed}` (a signal wakes one); or say --create manual or --create auto here"
    ))
}
