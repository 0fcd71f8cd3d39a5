//! `xsem release NAME`: gives back what `xsem hold NAME` took.

use crate::cli::ReleaseArgs;
use crate::exit_codes;
use crate::failure::Failure;
use crate::hold::watch;
use crate::places;
use crate::tree::{self, Hold};
use xsem::{Code, Error, Namespace, ProcessState};

/// Finds the keeper that holds it for a shell above us, the nearest first, and tells it.
pub fn release(args: &ReleaseArgs, url: &str) -> Result<u8, Failure> {
    let name = args.name.as_str();
    let ns = places::with(name, url)?;
    let (_, holds) = tree::holds(&ns, name)?;
    let above = tree::family(std::process::id());
    let owners = match args.owner {
        Some(pid) if above.contains(&pid) || args.force => vec![pid],
        Some(pid) => {
            let line = format!("process {pid} is not one of our callers: only --force releases what is held for others");
            return Err(Failure::new(exit_codes::FAILED, line));
        }
        None => above,
    };
    let mut found = owners.iter().find_map(|o| holds.iter().find(|h| h.owner == *o));
    if let (None, None, true) = (found, args.owner, args.force) {
        found = match holds.as_slice() {
            [one] => Some(one),
            [] => None,
            several => {
                let list: Vec<String> = several.iter().map(|h| h.owner.to_string()).collect();
                let line = format!("`{name}` is held for several shells: {}; say which: --for PID", list.join(", "));
                return Err(Failure::new(exit_codes::FAILED, line));
            }
        };
    }
    match found {
        Some(hold) => give_back(&ns, name, hold, args.force),
        None => Err(not_held(&ns, name, args, &holds)),
    }
}

fn give_back(ns: &Namespace, name: &str, hold: &Hold, force: bool) -> Result<u8, Failure> {
    let pid = hold.keeper.pid;
    match hold.keeper.state {
        ProcessState::Dead | ProcessState::Dying if force => {
            ns.evict(name, hold.token)?;
            return Ok(exit_codes::OK);
        }
        ProcessState::Dead | ProcessState::Dying => {
            let line = format!(
                "the process {pid} that kept `{name}` for {} was killed: it is free when that shell ends; --force ends the \
                 claim now, and the next owner is told (105)",
                hold.owner
            );
            return Err(Failure::new(exit_codes::FAILED, line));
        }
        ProcessState::Stopped => {
            let line = format!("the process {pid} that keeps `{name}` for {} is stopped: kill -CONT {pid}", hold.owner);
            return Err(Failure::new(exit_codes::FAILED, line));
        }
        _ => {}
    }
    let ended = |e| Failure::new(exit_codes::FAILED, format!("the process {pid} that kept `{name}` has ended: {e}"));
    let pidfd = watch::open(pid).map_err(ended)?;
    // The descriptor is of whatever has the number now: is that still the keeper?
    if !tree::holds(ns, name)?.1.iter().any(|h| h.keeper.pid == pid && h.token == hold.token) {
        return Err(ended(std::io::Error::from_raw_os_error(libc::ESRCH)));
    }
    // Who may write to the namespace's file may write any process's number there.
    if !watch::is_keeper(pid) {
        let line = format!(
            "process {pid}, which is said to keep `{name}`, is none of xsem's keepers, and is told nothing: somebody has written to the \
             namespace's file; `xsem evict {name} {}` ends the claim",
            hold.token
        );
        return Err(Failure::new(exit_codes::FAILED, line));
    }
    watch::tell(&pidfd, hold.token).map_err(ended)?;
    watch::gone(&pidfd);
    Ok(exit_codes::OK)
}

fn not_held(ns: &Namespace, name: &str, args: &ReleaseArgs, holds: &[Hold]) -> Failure {
    let whom = match args.owner {
        Some(pid) => format!("process {pid}"),
        None => "the shell that called us".to_owned(),
    };
    let e = Error::new(Code::NotOwner, format!("`{name}` is not held for {whom} (any more)")).of(name);
    let e = match ns.inspect(name) {
        Ok(report) => e.held_by(report.holders),
        Err(_) => e,
    };
    let advice = match holds.first() {
        Some(h) if args.owner.is_none() => format!("say for whom: --for {}", h.owner),
        _ => "`xsem hold` comes first; what `xsem run` holds ends with its command".to_owned(),
    };
    e.advice(advice).into()
}
