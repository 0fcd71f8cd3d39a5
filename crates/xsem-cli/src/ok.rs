//! `xsem ok NAME`: the state is in order again.

use crate::cli::NameArg;
use crate::failure::Failure;
use crate::run::{claims::Claims, enclosing};
use crate::{exit_codes, places};
use std::io::{self, Write};
use xsem::{AcquireError, Deaths, Exclusive};

/// Clears the mark that a dead owner left. It needs the semaphore for that: 101 with the holder while somebody has it.
/// Inside a `xsem run` or `xsem hold` of the same name it speaks for the claim that it runs under.
pub fn ok(args: &NameArg, url: &str) -> Result<u8, Failure> {
    let name = args.name.as_str();
    let ns = places::with(name, url)?;
    let sem = Exclusive::open(&ns, name)?;

    let enclosing = match enclosing::token(&ns, &Claims::from_env(), name) {
        Some(token) => sem.join(token)?,
        None => None,
    };
    if let Some(guard) = enclosing {
        let report = ns.inspect(name)?;
        if report.marked {
            guard.mark_consistent()?;
        }
        guard.release()?;
        return tell(name, report.marked, report.deaths.as_ref());
    }

    match sem.try_acquire() {
        Ok(guard) => {
            guard.release()?;
            tell(name, false, None)
        }
        Err(AcquireError::OwnerDied(recovery)) => {
            let deaths = recovery.deaths().cloned();
            recovery.mark_consistent()?.release()?;
            tell(name, true, deaths.as_ref())
        }
        Err(AcquireError::Failed(e)) => Err(e.into()),
    }
}

fn tell(name: &str, marked: bool, deaths: Option<&Deaths>) -> Result<u8, Failure> {
    let mut out = io::stdout();
    match (marked, deaths) {
        (false, _) => writeln!(out, "`{name}` was not marked: there was nothing to acknowledge")?,
        (true, Some(d)) => writeln!(out, "`{name}` is consistent again; acknowledged: {d}")?,
        (true, None) => writeln!(out, "`{name}` is consistent again; the details of the death could not be kept")?,
    }
    Ok(exit_codes::OK)
}
