//! `xsem wait NAME...`: until it can be had, without keeping it.

use crate::cli::WaitForArgs;
use crate::failure::{Failure, say};
use crate::run::acquire::{acquire, owner_died};
use crate::run::claims::Claims;
use crate::run::waiting::{self, LiveLine};
use crate::run::{enclosing, signals};
use crate::wanted::{Sem, check_count};
use crate::{exit_codes, places};
use std::cell::RefCell;
use std::io::{self, Write};
use xsem::{AnyError, CancelToken, Event, Exclusive, Namespace, Pick, Wait, Wants};

/// Waits for one or all of the names, and gives them back at once.
pub fn wait(args: &WaitForArgs, url: &str) -> Result<u8, Failure> {
    if args.names.len() > 1 && !args.any && !args.all {
        let line = "several names: say whether to wait for the first of them (--any) or for all at one instant (--all)";
        return Err(Failure::new(exit_codes::XSEM_FAILED, line));
    }
    check_count(&args.names)?;
    let ns = places::with(&args.names[0], url)?;
    // What this tree of processes has can be had: we would wait for ourselves.
    let claims = Claims::from_env();
    let mut ours = Vec::new();
    for name in &args.names {
        ours.push(match enclosing::token(&ns, &claims, name) {
            Some(token) => Exclusive::open(&ns, name)?.join(token)?.is_some(),
            None => false,
        });
    }
    enclosing::announce(&ns, &claims, std::process::id())?;
    let sems = args.names.iter().map(|n| Sem::existing(&ns, n)).collect::<xsem::Result<Vec<Sem>>>()?;
    let signals = RefCell::new(Vec::new());
    // A signal ends us, and nobody will learn that we had those of auto events.
    let before_death = || signals.take().iter().for_each(crate::event::pass_on);
    let (done, _) = signals::cancel_on_signal(|cancel| had(&ns, sems, &ours, args, cancel, &signals), before_death);
    if let Some(name) = done? {
        writeln!(io::stdout(), "{name}")?;
    }
    Ok(exit_codes::OK)
}

/// Gives the name to be printed, if one is, and notes the events of which it has had the signals.
fn had(
    ns: &Namespace,
    sems: Vec<Sem>,
    ours: &[bool],
    args: &WaitForArgs,
    cancel: &CancelToken,
    signals: &RefCell<Vec<Event>>,
) -> xsem::Result<Option<String>> {
    let note = |sems: &[Sem]| signals.borrow_mut().extend(sems.iter().filter_map(Sem::event).cloned());
    let wait = match (args.waiting.no_wait, args.waiting.wait) {
        (true, _) => Wait::not(),
        (false, Some(time)) => Wait::timeout(time),
        (false, None) => Wait::forever(),
    };
    let wait = wait.cancel(cancel);
    if args.any {
        // Ours is there already; what stands before it in the list goes first if it is free.
        let first = ours.iter().position(|&o| o);
        let (list, wait) = match first {
            Some(i) => (&sems[..i], Wait::not()),
            None => (&sems[..], wait),
        };
        if let (Some(i), true) = (first, list.is_empty()) {
            return Ok(Some(sems[i].name().to_owned()));
        }
        let index = match (any(ns, list, wait), first) {
            (Err(e), Some(i)) if e.is_taken() => i,
            (other, _) => other?,
        };
        note(&sems[index..=index]);
        return Ok(Some(sems[index].name().to_owned()));
    }
    let others: Vec<Sem> = sems.into_iter().zip(ours).filter(|(_, o)| !**o).map(|(s, _)| s).collect();
    let acquired = with_line(ns, &others, Wants::All, || acquire(ns, &others, wait))?;
    note(&others);
    if !acquired.died.is_empty() {
        say(&format!("warning: {}", owner_died(&others, &acquired.died)));
    }
    Ok(None)
}

fn any(ns: &Namespace, sems: &[Sem], wait: Wait<'_>) -> xsem::Result<usize> {
    let list: Vec<Pick<'_>> = sems.iter().map(Sem::pick).collect();
    let (index, died) = match with_line(ns, sems, Wants::Any, || ns.wait_any(&list, wait)) {
        Ok(taken) => (taken.index, None),
        // Dropping the recovery gives it back, and keeps the mark for those who work under it.
        Err(AnyError::OwnerDied { index, recovery }) => (index, Some(recovery.deaths().cloned())),
        Err(AnyError::Failed(e)) => return Err(e),
    };
    if let Some(deaths) = died {
        say(&format!("warning: {}", owner_died(sems, &[(index, deaths)])));
    }
    Ok(index)
}

fn with_line<T>(ns: &Namespace, sems: &[Sem], wants: Wants, work: impl FnOnce() -> T) -> T {
    let names = sems.iter().map(|s| s.name().to_owned()).collect();
    let line = waiting::on_terminal().then(|| LiveLine::start(ns, names, std::process::id(), wants));
    let outcome = work();
    drop(line);
    outcome
}
