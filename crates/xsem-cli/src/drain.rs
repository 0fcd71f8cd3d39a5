//! `xsem drain NAME`: nobody in, everybody out.

use crate::cli::DrainArgs;
use crate::failure::Failure;
use crate::run::claims::Claims;
use crate::run::waiting::{self, LiveLine};
use crate::run::{enclosing, signals};
use crate::{exit_codes, places};
use xsem::{Code, Error, Wait, Wants};

/// Closes the semaphore to requests and waits until it is clear. With an error, or ended by a signal, it is open again.
pub fn drain(args: &DrainArgs, url: &str) -> Result<u8, Failure> {
    let (ns, name) = (places::with(&args.name, url)?, args.name.as_str());
    if args.reopen {
        ns.reopen(name)?;
        return Ok(exit_codes::OK);
    }
    let ours = enclosing::token(&ns, &Claims::from_env(), name);
    if args.wait.is_none() && ours.is_some_and(|t| ns.inspect(name).is_ok_and(|r| r.holders.iter().any(|h| h.token == t))) {
        let what = format!("draining `{name}` would wait for the claim that this command runs under");
        let advice = "drain it from outside, or give the claim up first (`xsem release`)";
        return Err(Error::new(Code::PossibleDeadlock, what).of(name).advice(advice).into());
    }
    let wait = args.wait.map_or_else(Wait::forever, Wait::timeout);
    let drained = |cancel: &xsem::CancelToken| {
        let line = waiting::on_terminal().then(|| LiveLine::start(&ns, vec![args.name.clone()], std::process::id(), Wants::One));
        let done = ns.drain(name, wait.cancel(cancel));
        drop(line);
        done
    };
    let (done, _) = signals::cancel_on_signal(drained, || {});
    done?;
    Ok(exit_codes::OK)
}
