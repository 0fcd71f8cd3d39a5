//! Getting the semaphore: sharing an enclosing run's claim, or asking for one and waiting.

use super::signals::{self, EndingSignals, Inherited};
use super::waiting::{self, LiveLine};
use crate::cli::{OnOwnerDeath, RunArgs};
use crate::exit_codes;
use crate::failure::{Failure, say};
use xsem::{AcquireError, Error, Exclusive, Guard, Namespace, Wait};

/// What came of it.
pub enum Turn<'a> {
    /// The semaphore is ours, and the signals that the command shall get are held back.
    Ours(Held<'a>),
    /// There is nothing to run; exit with this.
    Over(u8),
}

/// A claim under which the command may run.
pub struct Held<'a> {
    /// The claim, or our share of it.
    pub guard: Guard<'a>,
    /// We were told that a previous owner died, and nobody has acknowledged it.
    pub marked: bool,
    /// The signal state to hand to the command.
    pub inherited: Inherited,
}

/// Takes `sem` as the options say. Signals that end a process end the wait, too; from the claim on they are for the command.
pub fn take<'a>(sem: &'a Exclusive, ns: &Namespace, args: &RunArgs, enclosing: Option<u64>) -> Result<Turn<'a>, Failure> {
    let ending = EndingSignals::catch();
    let outcome = request(sem, ns, args, enclosing, &ending);
    // From here to the command's start a signal must neither be lost nor end us as the owner, which others would be
    // told as a death; it waits until it can be given to the command.
    let inherited = signals::hold_back();
    if let Some(signal) = ending.finish() {
        drop(outcome);
        signals::die_of(signal);
    }
    match outcome {
        Ok(guard) => Ok(Turn::Ours(Held { guard, marked: false, inherited })),
        Err(AcquireError::OwnerDied(recovery)) if args.on_owner_death == OnOwnerDeath::Fail => {
            Err(Failure::new(exit_codes::OWNER_DIED, Error::from(AcquireError::OwnerDied(recovery)).to_string()))
        }
        Err(e @ AcquireError::OwnerDied(_)) => {
            say(&format!("warning: {e}; going on (exit code 0 of the command will mean that things are in order)"));
            let AcquireError::OwnerDied(recovery) = e else { unreachable!("matched above") };
            Ok(Turn::Ours(Held { guard: recovery.into_guard(), marked: true, inherited }))
        }
        Err(AcquireError::Failed(e)) if e.is_taken() => {
            if args.quiet {
                return Ok(Turn::Over(exit_codes::OK));
            }
            Err(Failure::new(args.conflict_exit_code, e.to_string()))
        }
        Err(AcquireError::Failed(e)) => Err(super::own(e)),
    }
}

fn request<'a>(
    sem: &'a Exclusive,
    ns: &Namespace,
    args: &RunArgs,
    enclosing: Option<u64>,
    ending: &EndingSignals,
) -> Result<Guard<'a>, AcquireError<'a>> {
    if let Some(token) = enclosing {
        // `None`: that claim is over. We were left behind in the background, and are a stranger like everybody.
        if let Some(guard) = sem.join(token).map_err(AcquireError::Failed)? {
            return Ok(guard);
        }
    }
    let wait = match (args.no_wait, args.wait, args.quiet) {
        (true, ..) | (_, None, true) => Wait::not(),
        (_, Some(time), _) => Wait::timeout(time),
        (false, None, false) => Wait::forever(),
    };
    let wait = match &args.label {
        Some(label) => wait.label(label),
        None => wait,
    };
    let wait = wait.cancel(ending.token());
    if args.no_wait || args.quiet {
        return sem.acquire_with(wait);
    }
    if waiting::on_terminal() {
        let line = LiveLine::start(ns, sem.name());
        let outcome = sem.acquire_with(wait);
        // Joined before anything else happens: the fork must not find another thread inside a lock.
        drop(line);
        return outcome;
    }
    if args.verbose
        && let Ok(report) = ns.inspect(sem.name())
        && !report.holders.is_empty()
    {
        say(&waiting::text(&report));
    }
    sem.acquire_with(wait)
}
