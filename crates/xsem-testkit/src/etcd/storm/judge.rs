//! What must hold of the records of a storm.

use super::account::{Claim, Kind, Life};
use super::worker::LIMIT;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use xsem::{Counting, Exclusive, Namespace};

/// A claim and whose it was.
type Of<'a> = (&'a Life, &'a Claim);

/// Every violation, a line.
pub fn judge(lives: &[Life], ttl: Duration) -> Vec<String> {
    let mut found = Vec::new();
    for kind in [Kind::Exclusive, Kind::Pool] {
        let all: Vec<Of<'_>> =
            lives.iter().flat_map(|l| l.claims.iter().map(move |c| (l, c))).filter(|(_, c)| c.kind == kind).collect();
        let limit = if kind == Kind::Exclusive { 1 } else { LIMIT };
        found.extend(overlaps(&all, limit, ttl));
        found.extend(tokens(&all));
        if kind == Kind::Exclusive {
            found.extend(writes(&all));
            found.extend(deaths(&all, lives, ttl));
        }
    }
    found
}

fn show((life, c): Of<'_>) -> String {
    format!("{}: {c:?}", life.pid)
}

/// The store was silent while it was given back: it went on in the background, and may not have arrived.
fn is_slow(c: &Claim, ttl: Duration) -> bool {
    matches!(c.release, Some((begin, Some((end, _)))) if end - begin >= ttl.as_nanos() as u64 / 8)
}

/// From when until when it was certainly held: from its grant to the last time that its holder was told so.
fn certain(c: &Claim, ttl: Duration) -> Option<(u64, u64)> {
    let released = match c.release {
        Some((begin, Some((_, 0)))) if !is_slow(c, ttl) => Some(begin),
        _ => None,
    };
    let until = released.max(c.held)?;
    (until > c.granted).then_some((c.granted, until))
}

/// More permits at one instant than there are.
fn overlaps(all: &[Of<'_>], limit: u32, ttl: Duration) -> Vec<String> {
    let mut ends: Vec<(u64, bool, usize)> = Vec::new();
    for (i, (_, c)) in all.iter().enumerate() {
        if let Some((from, to)) = certain(c, ttl) {
            ends.extend([(from, true, i), (to, false, i)]);
        }
    }
    // At one instant, ends before beginnings.
    ends.sort_unstable_by_key(|&(at, begins, _)| (at, begins));
    let (mut here, mut found) = (BTreeSet::new(), Vec::new());
    for (_, begins, i) in ends {
        if !begins {
            here.remove(&i);
            continue;
        }
        here.insert(i);
        let out: u32 = here.iter().map(|i: &usize| all[*i].1.permits).sum();
        if out > limit {
            let who: Vec<String> = here.iter().map(|i| show(all[*i])).collect();
            found.push(format!("{out} of {limit} are out at one instant:\n  {}", who.join("\n  ")));
        }
    }
    found
}

/// Each token is given once, and a claim that began after another was granted has a greater one.
fn tokens(all: &[Of<'_>]) -> Vec<String> {
    let (mut found, mut seen) = (Vec::new(), BTreeMap::new());
    for of in all {
        if let Some(other) = seen.insert(of.1.token, *of) {
            found.push(format!("a token was given twice:\n  {}\n  {}", show(other), show(*of)));
        }
    }
    let (mut granted, mut begun) = (all.to_vec(), all.to_vec());
    granted.sort_by_key(|(_, c)| c.granted);
    begun.sort_by_key(|(_, c)| c.begin);
    let (mut next, mut most): (usize, Option<Of<'_>>) = (0, None);
    for of in begun {
        while granted.get(next).is_some_and(|(_, c)| c.granted < of.1.begin) {
            most = most.max_by_token(granted[next]);
            next += 1;
        }
        if let Some(before) = most.filter(|m| m.1.token >= of.1.token) {
            found.push(format!("a later claim has no greater token:\n  {}\n  {}", show(before), show(of)));
        }
    }
    found
}

trait MaxByToken<'a> {
    fn max_by_token(self, other: Of<'a>) -> Option<Of<'a>>;
}

impl<'a> MaxByToken<'a> for Option<Of<'a>> {
    fn max_by_token(self, other: Of<'a>) -> Option<Of<'a>> {
        Some(self.filter(|m| m.1.token > other.1.token).unwrap_or(other))
    }
}

/// Whose write the resource refused had lost its claim.
fn writes(all: &[Of<'_>]) -> Vec<String> {
    let bad = all.iter().filter(|(_, c)| c.fenced && matches!(c.release, Some((_, Some((_, 0))))));
    bad.map(|of| format!("a write was refused, and its claim was not lost: {}", show(*of))).collect()
}

/// Whoever comes after an owner that did not give back is told, and nobody is told of another.
fn deaths(all: &[Of<'_>], lives: &[Life], ttl: Duration) -> Vec<String> {
    let mut by_token = all.to_vec();
    by_token.sort_by_key(|(_, c)| c.token);
    let mut found = Vec::new();
    for pair in by_token.windows(2) {
        // Between the two may be one that its owner did not live to write down: its death would have kept the mark.
        if pair[0].1.is_lost() && pair[1].1.died.is_none() {
            found.push(format!("a death was not told:\n  {}\n  {}", show(pair[0]), show(pair[1])));
        }
    }
    let mut acknowledged: BTreeMap<(u32, u64), Of<'_>> = BTreeMap::new();
    for of in &by_token {
        let Some((pid, token)) = of.1.died else { continue };
        let dead = by_token.iter().find(|(l, c)| l.pid == pid && c.token == token);
        let known = match dead {
            Some((_, c)) => c.is_lost() || is_slow(c, ttl) || c.release.is_some_and(|(_, end)| end.is_none()),
            // It was granted, and nobody lived to see it; or the session ended before its process knew, which then asked anew.
            None => lives.iter().filter(|l| l.pid == pid).any(|l| {
                let later = |c: &Claim| c.kind == Kind::Exclusive && c.token > token;
                l.asking == Some(Kind::Exclusive) || l.gave_up || l.claims.iter().any(later)
            }),
        };
        if !known {
            found.push(format!("a death that was none was told: {}; of {:?}", show(*of), dead.map(|d| show(*d))));
        }
        if let Some(before) = acknowledged.get(&(pid, token)) {
            found.push(format!("a death was told twice:\n  {}\n  {}", show(*before), show(*of)));
        }
        if of.1.marked {
            acknowledged.insert((pid, token), *of);
        }
    }
    found
}

/// What is left when all have gone.
pub fn judge_end(ns: &Namespace, lives: &[Life]) -> xsem::Result<Vec<String>> {
    let mut found: Vec<String> = ns.check()?.findings.iter().map(ToString::to_string).collect();
    // All can be had: nothing leaked. Leases of the dead may last a while.
    let (x, pool) = (Exclusive::open(ns, "x")?, Counting::open(ns, "pool")?);
    let last = match x.acquire() {
        Ok(guard) => guard,
        Err(xsem::AcquireError::OwnerDied(heir)) => heir.mark_consistent()?,
        Err(xsem::AcquireError::Failed(e)) => return Err(e),
    };
    let most = lives.iter().flat_map(|l| &l.claims).filter(|c| c.kind == Kind::Exclusive).map(|c| c.token).max();
    if most.is_some_and(|t| t >= last.token()) {
        found.push(format!("the last token {} is not greater than {most:?}", last.token()));
    }
    last.release()?;
    pool.acquire_many(LIMIT)?.release()?;
    let (added, perhaps) = lives.iter().fold((0, 0), |(a, p), l| (a + l.added, p + l.perhaps_added));
    let there = u64::from(Counting::open(ns, "credit")?.capacity()?.free);
    if !(added..=added + perhaps).contains(&there) {
        found.push(format!("{there} permits are there; {added} were added, and of {perhaps} it is not known"));
    }
    Ok(found)
}
