//! `xsem evict NAME`: a person ends the claim of a holder that hangs.

use crate::cli::EvictArgs;
use crate::failure::Failure;
use crate::{exit_codes, places};
use std::io::{self, Write};
use xsem::{Code, Error, Holder};

/// So many holders are named in an error; `xsem show` has them all.
const LISTED: usize = 8;

/// Ends the claim that the options name, or the only one.
pub fn evict(args: &EvictArgs, url: &str) -> Result<u8, Failure> {
    let name = args.name.as_str();
    let ns = places::with(name, url)?;
    let holders = ns.inspect(name)?.holders;
    let meant: Vec<&Holder> = holders.iter().filter(|h| is_meant(h, args)).collect();
    let holder = match meant.as_slice() {
        [one] => *one,
        [] => return Err(nobody(args, &holders)),
        several => {
            return Err(Failure::new(
                exit_codes::FAILED,
                format!("`{name}` has {} such holders: {}; say which: --token T", several.len(), listed(several)),
            ));
        }
    };
    ns.evict(name, holder.token)?;
    writeln!(io::stdout(), "evicted from `{name}`: {holder}, token {}", holder.token)?;
    Ok(exit_codes::OK)
}

fn is_meant(h: &Holder, args: &EvictArgs) -> bool {
    match (args.token, args.pid) {
        (Some(token), _) => h.token == token,
        (None, Some(pid)) => h.process.pid == pid || h.covers.as_ref().is_some_and(|c| c.pid == pid),
        (None, None) => true,
    }
}

fn nobody(args: &EvictArgs, holders: &[Holder]) -> Failure {
    let name = args.name.as_str();
    if holders.is_empty() {
        let e = Error::new(Code::NotOwner, format!("nobody holds `{name}`")).of(name);
        return e.advice("there is nothing to end; waiters are not holders").into();
    }
    let which = match (args.token, args.pid) {
        (Some(token), _) => format!("no claim with the token {token}"),
        (_, pid) => format!("no claim of process {}", pid.unwrap_or(0)),
    };
    let all: Vec<&Holder> = holders.iter().collect();
    Error::new(Code::NotOwner, format!("`{name}` has {which}; its holders: {}", listed(&all)))
        .of(name)
        .advice("look again, it may be over: `xsem show NAME`")
        .into()
}

fn listed(holders: &[&Holder]) -> String {
    let mut texts: Vec<String> = holders.iter().take(LISTED).map(|h| format!("token {}: {h}", h.token)).collect();
    if holders.len() > LISTED {
        texts.push("...".into());
    }
    texts.join("; ")
}
