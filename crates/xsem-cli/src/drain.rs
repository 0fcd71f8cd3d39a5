//! `xsem drain NAME`: nobody in, everybody out.

use crate::cli::DrainArgs;
use crate::failure::Failure;
use crate::run::signals;
use crate::run::waiting::{self, LiveLine};
use crate::{exit_codes, places};
use xsem::Wait;

/// Closes the semaphore to requests and waits until it is clear. With an error, or ended by a signal, it is open again.
pub fn drain(args: &DrainArgs, url: &str) -> Result<u8, Failure> {
    let (ns, name) = (places::with(&args.name, url)?, args.name.as_str());
    if args.reopen {
        ns.reopen(name)?;
        return Ok(exit_codes::OK);
    }
    let wait = args.wait.map_or_else(Wait::forever, Wait::timeout);
    let drained = |cancel: &xsem::CancelToken| {
        let line = waiting::on_terminal().then(|| LiveLine::start(&ns, vec![args.name.clone()], std::process::id()));
        let done = ns.drain(name, wait.cancel(cancel));
        drop(line);
        done
    };
    let (done, _) = signals::cancel_on_signal(drained, || {});
    done?;
    Ok(exit_codes::OK)
}
