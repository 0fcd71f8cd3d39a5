//! What must hold of everything that is stored.

use super::record::{Record, Sort};
use super::world::World;
use std::collections::BTreeSet;

/// Every invariant that is violated, a line each.
pub fn audit(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for (name, slot) in &world.slots {
        found.extend(slot.before.iter().flat_map(|rec| violations(name, rec)));
    }
    // What is stored is settled: nobody waits who could be served.
    let mut settled = World::new(world.slots.clone(), None, world.revision);
    settled.slots.values_mut().for_each(|s| s.after.clone_from(&s.before));
    if settled.settle().is_err() || settled.served.iter().any(|s| !s.got.is_empty()) {
        found.push(format!("{:?} wait for what is free", settled.served));
    }
    found
}

fn violations(name: &str, rec: &Record) -> Vec<String> {
    let slots: Vec<u32> = rec.claims.iter().flat_map(|c| &c.slots).copied().collect();
    let tokens: BTreeSet<u64> = rec.claims.iter().map(|c| c.token).collect();
    let pool = rec.sort == Sort::Pool;
    let checks = [
        (rec.sort == Sort::Exclusive && rec.claims.len() > 1, "two owners"),
        (rec.is_event() && (!rec.claims.is_empty() || rec.stock > 1), "an event that is held"),
        (rec.sort == Sort::Credit && rec.out() > rec.stock, "more credit is out than there is"),
        (slots.iter().collect::<BTreeSet<_>>().len() != slots.len(), "a slot is held twice"),
        (pool && slots.len() != rec.out() as usize, "permits without a slot"),
        (tokens.len() != rec.claims.len() || tokens.iter().any(|t| *t > rec.token), "tokens repeat or run ahead"),
        (rec.claims.iter().any(|c| c.parties.is_empty() || c.permits == 0 || c.depth == 0), "an empty claim"),
        (rec.marked && rec.dead.is_none(), "a mark without an obituary"),
        (rec.drain.as_ref().is_some_and(|d| d.done) && !rec.is_clear(), "drained, and still in use"),
    ];
    checks.into_iter().filter(|(bad, _)| *bad).map(|(_, what)| format!("`{name}`: {what}: {rec:?}")).collect()
}
