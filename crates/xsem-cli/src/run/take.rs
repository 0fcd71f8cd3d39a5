//! Getting what is asked for: waiting as the options say, with the signals of somebody who waits.

use super::acquire::{Acquired, acquire, owner_died};
use super::retries::Retries;
use super::signals::{self, Inherited};
use super::waiting::{self, LiveLine};
use crate::cli::{OnOwnerDeath, RunArgs};
use crate::exit_codes;
use crate::failure::{Failure, say};
use crate::wanted::Sem;
use xsem::{CancelToken, Code, Deadline, Namespace, Result, Wait, Wants};

/// What came of it: the claims, with the signals that the command shall get held back; None when there is nothing to run.
type Turn<'a> = Option<(Acquired<'a>, Inherited)>;

/// Takes all of `sems` as the options say. Signals that end a process end the wait, too; from the claim on they are for the
/// command. `before_death` is called before a signal ends us.
pub fn take<'a>(
    sems: &'a [Sem],
    ns: &Namespace,
    args: &RunArgs,
    retries: &mut Retries,
    before_death: impl FnOnce(),
) -> std::result::Result<Turn<'a>, Failure> {
    // From here to the command's start a signal must neither be lost nor end us as the owner, which others would be
    // told as a death; it waits until it can be given to the command.
    let (outcome, inherited) = signals::cancel_on_signal(
        |cancel| retries.ask_until(cancel, |until| request(sems, ns, args, until, cancel)),
        before_death,
    );
    match outcome {
        Ok(acquired) if acquired.died.is_empty() => Ok(Some((acquired, inherited))),
        Ok(acquired) => {
            let e = owner_died(sems, &acquired.died);
            if args.on_owner_death == OnOwnerDeath::Fail {
                return Err(Failure::new(exit_codes::OWNER_DIED, e.to_string()));
            }
            let (code, going_on) = (e.code(), "going on (exit code 0 of the command will mean that things are in order)");
            say(&format!("warning: {} {}: {}; {going_on}", code.number(), code.symbol(), e.message()));
            Ok(Some((acquired, inherited)))
        }
        // 102: it is being drained, which ends, too.
        Err(e) if e.is_taken() || e.code() == Code::SemIsSet => {
            if args.quiet {
                return Ok(None);
            }
            Err(Failure::new(args.conflict_exit_code, e.to_string()))
        }
        Err(e) => Err(super::own(e)),
    }
}

fn request<'a>(
    sems: &'a [Sem],
    ns: &Namespace,
    args: &RunArgs,
    until: Option<Deadline>,
    cancel: &CancelToken,
) -> Result<Acquired<'a>> {
    let mut wait = match (args.waiting.no_wait, until, args.quiet) {
        (true, ..) | (_, None, true) => Wait::not(),
        (_, Some(until), _) => Wait::until(until),
        (false, None, false) => Wait::forever(),
    };
    if let Some(label) = &args.label {
        wait = wait.label(label);
    }
    let wait = wait.cancel(cancel);
    if args.waiting.no_wait || args.quiet {
        return acquire(ns, sems, wait);
    }
    let names: Vec<String> = sems.iter().map(|s| s.name().to_owned()).collect();
    if waiting::on_terminal() {
        let line = LiveLine::start(ns, names, std::process::id(), Wants::All);
        let outcome = acquire(ns, sems, wait);
        // Joined before anything else happens: the fork must not find another thread inside a lock.
        drop(line);
        return outcome;
    }
    if args.verbose
        && let Some(text) = waiting::look(ns, &names, std::process::id(), Wants::All)
    {
        say(&text);
    }
    acquire(ns, sems, wait)
}
