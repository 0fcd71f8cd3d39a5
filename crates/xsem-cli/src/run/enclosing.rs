//! What an enclosing run, or a hold for the shell above us, has already: it is shared instead of waited for.

use super::claims::Claims;
use super::held::{Claim, Part};
use super::sharer::Sharer;
use crate::cli::RunArgs;
use crate::failure::Failure;
use crate::tree;
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
pub(super) fn by_children(ns: &Namespace, all: &[Enclosing]) -> Result<Vec<Part<'static>>, Failure> {
    let mut parts = Vec::new();
    for e in all {
        match Sharer::start(ns, &e.name, e.token).map_err(|why| super::cannot_share(&e.name, &why))? {
            Some(sharer) => parts.push(e.part(Claim::Sharer(sharer))),
            None => continue,
        }
    }
    Ok(parts)
}
