//! Credit: permits that are added and used up.

use super::counting::{POOL, lost};
use super::stage::{ask, clean, n};
use super::{Row, Stage, row};
use crate::protocol::{Till, Verb, What};

pub(super) const ROWS: &[Row] = &[
    row("add_permits", 0, add),
    row("add_permits", 1, |s| s.other(POOL, "s").refused(Verb::Add(0, 1), 1)),
    row("add_permits", 6, |s| stale_credit(s, Verb::Add(0, 1))),
    row("add_permits", 298, add_298),
    row("forget", 0, forget),
    row("forget", 1, forget_1),
    row("forget", 288, |s| lost(s, What::Credit(4, 4), Verb::Forget)),
];

fn add(s: &mut Stage) {
    let mut a = s.other(What::Credit(4, 0), "s");
    let mut b = s.waiter(What::Credit(4, 0), "s");
    a.done(Verb::Add(0, 1));
    let (guard, _) = clean(b.answer(0));
    a.done(Verb::Add(0, 3));
    assert_eq!(a.capacity(0), [4, 4, 3]);
    b.done(Verb::Release(guard));
    assert_eq!(a.capacity(0), [4, 4, 4]);
}

fn add_298(s: &mut Stage) {
    let mut a = s.other(What::Credit(4, 3), "s");
    a.refused(Verb::Add(0, 2), 298);
    assert_eq!(a.capacity(0), [4, 3, 3], "nothing is added");
    a.done(Verb::Add(0, 1));
    a.owns(ask(0, 4, Till::Now));
    a.refused(Verb::Add(0, 1), 298);
    a.refused(Verb::Add(0, u32::MAX), 298);
}

fn forget(s: &mut Stage) {
    let mut a = s.other(What::Credit(4, 4), "s");
    let (guard, _) = a.owns(ask(0, 3, Till::Now));
    a.done(Verb::Forget(guard));
    assert_eq!(a.capacity(0), [4, 1, 1]);
    assert_eq!(s.inspect("s").holders.len(), 0);
    a.refused(ask(0, 2, Till::Now), 121);
    a.done(Verb::Add(0, 3));
}

fn forget_1(s: &mut Stage) {
    let (mut a, guard) = s.owner(POOL, "s");
    a.refused(Verb::Forget(guard), 1);
    // The permits of a pool are never used up.
    assert_eq!(a.capacity(0)[..2], [4, 4]);
}

fn stale_credit(s: &mut Stage, verb: Verb) {
    let mut a = s.other(What::Credit(4, 0), "s");
    a.done(Verb::Remove(n("s")));
    a.refused(verb, 6);
}
