//! `xsem reset`: throws all claims away and begins anew. Only with `--force`; without, it says what would be lost.

use crate::cli::ResetArgs;
use crate::failure::Failure;
use crate::{exit_codes, places};
use std::io::{self, Write};
use xsem::{Loss, Namespace};

/// So many claims and users are written out.
const LISTED: usize = 30;

/// Resets, or says what that would throw away.
pub fn reset(args: &ResetArgs, url: &str) -> Result<u8, Failure> {
    let done = if args.force { Namespace::reset_at(url) } else { Namespace::would_lose(url) };
    let loss = done.map_err(|e| if e.is_not_found() { places::none(url) } else { e })?;
    let mut out = io::stdout().lock();
    tell(&loss, args.force, &mut out)?;
    if args.force {
        writeln!(out, "`{url}` has begun anew")?;
        return Ok(exit_codes::OK);
    }
    let what = if loss.is_unused() { "nobody is seen to use it" } else { "end those who use it first, where that is possible" };
    Err(Failure::new(exit_codes::FAILED, format!("{url} was not reset; {what}; `xsem reset --force` throws it away")))
}

fn tell(loss: &Loss, done: bool, out: &mut impl Write) -> io::Result<()> {
    let verb = if done { "lost" } else { "would be lost" };
    if let Some(why) = &loss.unreadable {
        line(out, &format!("what it held cannot be read: {why}"))?;
    }
    for c in loss.claims.iter().take(LISTED) {
        line(out, &format!("{verb}: `{}`, held by {}", c.name, c.holder))?;
    }
    more(out, loss.claims.len(), &format!("claims {verb}"))?;
    if loss.waiters > 0 {
        line(out, &format!("{} waiting {}", loss.waiters, if done { "refused" } else { "would be refused" }))?;
    }
    for p in loss.users.iter().take(LISTED) {
        line(out, &format!("in use by {} `{}` ({})", p.pid, p.command, p.user()))?;
    }
    more(out, loss.users.len(), "users")?;
    let n = loss.semaphores;
    match loss.unreadable {
        Some(_) => Ok(()),
        None => line(out, &format!("{n} semaphore{} {verb}", if n == 1 { "" } else { "s" })),
    }
}

fn more(out: &mut impl Write, n: usize, what: &str) -> io::Result<()> {
    match n.checked_sub(LISTED).filter(|n| *n > 0) {
        Some(n) => writeln!(out, "and {n} more {what}"),
        None => Ok(()),
    }
}

/// A command line or a label of somebody else cannot break it in two.
fn line(out: &mut impl Write, text: &str) -> io::Result<()> {
    writeln!(out, "{}", text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>())
}
