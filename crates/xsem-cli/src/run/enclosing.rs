//! What an enclosing run, or a hold for the shell above us, has already: it is shared instead of waited for.

use super::claims::Claims;
use super::held::{Claim, Part};
use super::sharer::Sharer;
use crate::cli::RunArgs;
use crate::failure::Failure;
use crate::tree;
use std::cell::LazyCell;
use std::ops::ControlFlow;
use xsem::Namespace;

/// A claim that we may share.
pub struct Enclosing {
    /// The semaphore.
    pub name: String,
    /// The claim's fencing token.
    pub token: u64,
}

impl Enclosing {
    pub(super) fn part<'a>(&self, claim: Claim<'a>) -> Part<'a> {
        Part { name: self.name.clone(), claim, token: self.token, marked: false }
    }
}

/// The token of what this tree of processes holds on `name`: from the environment, or because a shell above us said `xsem
/// hold`. Whether it is over by now, only joining tells.
pub fn token(ns: &Namespace, claims: &Claims, name: &str) -> Option<u64> {
    claims.token(ns.url(), name).or_else(|| tree::held_for(ns, name, std::process::id()))
}

/// Those of the names that this tree holds. Permits are never shared.
pub fn find(ns: &Namespace, claims: &Claims, args: &RunArgs) -> Vec<Enclosing> {
    if args.permits.any() {
        return Vec::new();
    }
    let of = |name: &String| token(ns, claims, name).map(|token| Enclosing { name: name.clone(), token });
    args.names.iter().filter_map(of).collect()
}

/// Shares them, by a child for each; those that are over are left out.
pub(super) fn by_children(url: &str, all: &[Enclosing]) -> Result<Vec<Part<'static>>, Failure> {
    let mut parts = Vec::new();
    for e in all {
        match Sharer::start(url, &e.name, e.token).map_err(|why| super::cannot_share(&e.name, &why))? {
            Some(sharer) => parts.push(e.part(Claim::Sharer(sharer))),
            None => continue,
        }
    }
    Ok(parts)
}

/// How many names are looked at for what a shell above us holds. Most namespaces have fewer; in larger ones a deadlock that
/// goes through `xsem hold` may stay undetected, which is better than a slow start.
const LOOKED_AT: usize = 500;

/// Says in whose command `pid` runs, on behalf of which we claim something: a cycle of waits that goes through that command
/// is found then (1131). Those say so, too, that do not wait: what they run may.
///
/// What a shell in that command has put into the background does not keep it from ending, so that it is in no cycle.
pub fn announce(ns: &Namespace, claims: &Claims, pid: u32) -> xsem::Result<()> {
    // Read only if there is somebody who may be in it.
    let family = LazyCell::new(|| tree::family(pid));
    let place = |pid: u32| family.iter().position(|&p| p == pid);
    let mut nearest: Option<(usize, String, u64)> = None;
    if let Some((name, token)) = claims.innermost(ns.url()) {
        let report = ns.inspect(name);
        let holder = report.iter().flat_map(|r| &r.holders).find(|h| h.token == token);
        if let Some(at) = holder.and_then(|h| h.covers.as_ref()).and_then(|c| place(c.pid)) {
            nearest = Some((at, name.to_owned(), token));
        }
    }
    let mut looked_at = 0;
    ns.for_each(|s| {
        // What we are just about to share or keep ourselves holds nobody up but us.
        for h in s.holders.iter().filter(|h| tree::is_hold(h) && h.process.pid != std::process::id()) {
            let at = h.covers.as_ref().and_then(|c| place(c.pid));
            if let Some(at) = at.filter(|at| nearest.as_ref().is_none_or(|(n, ..)| at < n)) {
                nearest = Some((at, s.name.clone(), h.token));
            }
        }
        looked_at += 1;
        if looked_at < LOOKED_AT { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    match nearest {
        Some((at, ..)) if super::signals::in_background_of(family[at]) => Ok(()),
        Some((_, name, token)) => match ns.inside(&name, token) {
            // Removed since: then that claim is over.
            Err(e) if e.is_not_found() => Ok(()),
            other => other,
        },
        None => Ok(()),
    }
}
