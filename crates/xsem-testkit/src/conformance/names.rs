//! Names: create, open, remove, inspect, list.

use super::stage::{LONG, X, ask, n};
use super::{Row, Setting, Shows, Stage, row};
use crate::protocol::{Answer, Till, Verb, What};
use xsem::{Kind, Mode};

pub(super) const ROWS: &[Row] = &[
    row("create", 0, create),
    row("create", 123, |s| bad_names(s, Verb::Create)),
    row("create", 183, create_twice),
    Row { operation: "create", outcome: Shows::Code(100), setting: Setting::TwoNames, scene: no_room },
    row("create_pool", 0, create_pool),
    row("create_pool", 87, create_pool_87),
    row("create_pool", 123, |s| bad_names(s, |name| Verb::Make(What::Pool(2), false, name))),
    row("create_pool", 183, create_pool_183),
    row("create_credit", 0, create_credit),
    row("create_credit", 87, create_credit_87),
    row("create_credit", 183, create_credit_183),
    row("open", 0, open),
    row("open", 187, open_187),
    row("open", 6, open_6),
    row("open", 123, |s| bad_names(s, Verb::Open)),
    row("open_or_create", 0, open_or_create),
    row("open_or_create", 6, open_or_create_6),
    row("open_or_create", 87, open_or_create_87),
    row("open_or_create", 123, |s| bad_names(s, Verb::OpenOrCreate)),
    row("remove", 0, remove),
    row("remove", 102, remove_102),
    row("remove", 187, |s| s.actor().refused(Verb::Remove(n("none")), 187)),
    row("remove", 123, |s| bad_names(s, Verb::Remove)),
    row("inspect", 0, inspect),
    row("inspect", 187, |s| assert_eq!(s.ns().inspect("none").expect_err("there is none").code().number(), 187)),
    row("inspect", 123, |s| assert_eq!(s.ns().inspect("a\tb").expect_err("it is no name").code().number(), 123)),
    row("list", 0, list),
];

fn bad_names(s: &mut Stage, verb: impl Fn(String) -> Verb) {
    let mut a = s.actor();
    for bad in [String::new(), n("a\tb"), n("a\u{7f}"), "x".repeat(256), "ä".repeat(128)] {
        a.refused(verb(bad), 123);
    }
    assert!(s.ns().list().expect("it lists").is_empty());
}

fn create(s: &mut Stage) {
    let mut a = s.actor();
    for name in ["s", "ci/gpu", "a b", "größe", &"x".repeat(255)] {
        a.opens(Verb::Create(n(name)));
        let seen = s.inspect(name);
        assert_eq!((seen.kind, seen.holders.len(), seen.waiters.len(), seen.marked), (Kind::Exclusive, 0, 0, false));
    }
}

fn create_twice(s: &mut Stage) {
    let (mut a, mut b) = (s.actor(), s.actor());
    a.opens(Verb::Create(n("s")));
    a.refused(Verb::Create(n("s")), 183);
    b.refused(Verb::Create(n("s")), 183);
    b.refused(Verb::Make(What::Pool(2), false, n("s")), 183);
}

fn no_room(s: &mut Stage) {
    let mut a = s.actor();
    // An engine may round its tables up; at some time they are full.
    let full = (0..100_000).find(|i| a.ask(0, &Verb::Create(format!("n{i}"))) == Answer::Refused(100));
    let full = full.expect("two names are not a hundred thousand");
    a.refused(Verb::OpenOrCreate(n("another")), 100);
    a.opens(Verb::OpenOrCreate(n("n0")));
    a.done(Verb::Remove(format!("n{}", full - 1)));
    a.opens(Verb::Create(n("another")));
}

fn create_pool(s: &mut Stage) {
    let mut a = s.actor();
    for limit in [1, 4, 65_535] {
        let name = format!("p{limit}");
        let h = a.opens(Verb::Make(What::Pool(limit), false, name.clone()));
        assert_eq!(a.capacity(h), [limit, limit, limit]);
        let seen = s.inspect(&name);
        assert_eq!((seen.kind, seen.capacity.map(|c| c.mode)), (Kind::Counting, Some(Mode::Pool)));
    }
}

fn create_pool_87(s: &mut Stage) {
    let mut a = s.actor();
    a.refused(Verb::Make(What::Pool(0), false, n("p")), 87);
    a.refused(Verb::Make(What::Pool(65_536), false, n("p")), 87);
    a.refused(Verb::Remove(n("p")), 187);
}

fn create_pool_183(s: &mut Stage) {
    let mut a = s.actor();
    a.opens(Verb::Make(What::Pool(2), false, n("p")));
    a.refused(Verb::Make(What::Pool(2), false, n("p")), 183);
    a.refused(Verb::Create(n("p")), 183);
}

fn create_credit(s: &mut Stage) {
    let mut a = s.actor();
    for (limit, initial) in [(1, 0), (4, 2), (65_535, 65_535)] {
        let name = format!("c{limit}");
        let h = a.opens(Verb::Make(What::Credit(limit, initial), false, name.clone()));
        assert_eq!(a.capacity(h), [limit, initial, initial]);
        assert_eq!(s.inspect(&name).capacity.map(|c| c.mode), Some(Mode::Credit));
    }
}

fn create_credit_87(s: &mut Stage) {
    let mut a = s.actor();
    for bad in [What::Credit(0, 0), What::Credit(2, 3), What::Credit(65_536, 1)] {
        a.refused(Verb::Make(bad, false, n("c")), 87);
    }
}

fn create_credit_183(s: &mut Stage) {
    let mut a = s.actor();
    a.opens(Verb::Make(What::Credit(2, 0), false, n("c")));
    a.refused(Verb::Make(What::Credit(2, 0), false, n("c")), 183);
}

fn open(s: &mut Stage) {
    let (mut a, guard) = s.owner(X, "s");
    let mut b = s.actor();
    let h = b.opens(Verb::Open(n("s")));
    let seen = s.inspect("s");
    assert_eq!((seen.holders.len(), seen.counters.acquired), (1, 1), "opening changes nothing");
    b.refused(Verb::Try(h), 101);
    a.done(Verb::Release(guard));
    b.owns(Verb::Try(h));
    let (_p, _) = s.owner(What::Pool(2), "p");
    let h = b.opens(Verb::OpenCounting(n("p")));
    assert_eq!(b.capacity(h), [2, 2, 0]);
}

fn open_187(s: &mut Stage) {
    let mut a = s.actor();
    a.refused(Verb::Open(n("s")), 187);
    a.refused(Verb::OpenCounting(n("s")), 187);
    a.opens(Verb::Create(n("s")));
    a.done(Verb::Remove(n("s")));
    a.refused(Verb::Open(n("s")), 187);
}

fn open_6(s: &mut Stage) {
    let mut a = s.actor();
    a.opens(Verb::Create(n("s")));
    a.opens(Verb::Make(What::Pool(2), false, n("p")));
    a.refused(Verb::Open(n("p")), 6);
    a.refused(Verb::OpenCounting(n("s")), 6);
}

fn open_or_create(s: &mut Stage) {
    let (mut a, mut b) = (s.actor(), s.actor());
    for what in [X, What::Pool(3), What::Credit(3, 1)] {
        let name = what.to_string();
        let (ha, hb) = (a.opens(Verb::Either(what, name.clone())), b.opens(Verb::Either(what, name.clone())));
        a.owns(Verb::Try(ha));
        let refused = if what == X { 101 } else { 121 };
        b.refused(ask(hb, if what == What::Pool(3) { 3 } else { 1 }, Till::Now), refused);
    }
    // What a credit starts with counts only where it is made.
    b.opens(Verb::Either(What::Credit(3, 0), What::Credit(3, 1).to_string()));
}

fn open_or_create_6(s: &mut Stage) {
    let mut a = s.actor();
    a.opens(Verb::Create(n("s")));
    a.refused(Verb::Either(What::Pool(2), n("s")), 6);
    a.opens(Verb::Make(What::Pool(2), false, n("p")));
    a.refused(Verb::OpenOrCreate(n("p")), 6);
}

fn open_or_create_87(s: &mut Stage) {
    let mut a = s.actor();
    a.opens(Verb::Make(What::Pool(2), false, n("p")));
    a.refused(Verb::Either(What::Pool(3), n("p")), 87);
    a.refused(Verb::Either(What::Credit(2, 2), n("p")), 87);
    a.refused(Verb::Either(What::Pool(0), n("new")), 87);
    a.opens(Verb::Make(What::Credit(2, 0), false, n("c")));
    a.refused(Verb::Either(What::Pool(2), n("c")), 87);
}

fn remove(s: &mut Stage) {
    let (mut a, guard) = s.owner(X, "s");
    let mut b = s.other(X, "s");
    a.done(Verb::Release(guard));
    b.done(Verb::Remove(n("s")));
    a.refused(Verb::Try(0), 6);
    b.refused(Verb::Try(0), 6);
    let again = a.opens(Verb::Create(n("s")));
    a.owns(Verb::Try(again));
    b.refused(Verb::Try(0), 6);
    assert_eq!(s.inspect("s").counters.acquired, 1, "a new object of an old name begins anew");
    let p = a.opens(Verb::Make(What::Pool(2), false, n("p")));
    a.done(Verb::Remove(n("p")));
    a.refused(Verb::Capacity(p), 6);
}

fn remove_102(s: &mut Stage) {
    for what in [X, What::Pool(1)] {
        let name = what.to_string();
        let (mut a, guard) = s.owner(what, &name);
        let mut b = s.waiter(what, &name);
        let e = s.ns().remove(&name).expect_err("it is held");
        assert_eq!((e.code().number(), e.holders().len(), e.ahead().len()), (102, 1, 1), "{e}");
        a.done(Verb::Release(guard));
        let (guard, _) = super::stage::clean(b.answer(0));
        b.refused(Verb::Remove(name.clone()), 102);
        b.done(Verb::Release(guard));
        b.owns(ask(0, 1, LONG));
        assert_eq!(s.inspect(&name).counters.acquired, 3, "nothing was changed");
    }
}

fn inspect(s: &mut Stage) {
    let (mut a, guard) = s.owner(What::Pool(3), "p");
    a.done(Verb::Release(guard));
    let (_, token) = a.owns(ask(0, 2, Till::Now));
    let mut b = s.other(What::Pool(3), "p");
    b.tell(0, &ask(0, 2, LONG));
    s.until_waiting("p", 1);
    let seen = s.inspect("p");
    let [holder] = &seen.holders[..] else { panic!("one holder: {:?}", seen.holders) };
    assert_eq!((holder.permits, holder.token), (2, token));
    let [waiter] = &seen.waiters[..] else { panic!("one waiter: {:?}", seen.waiters) };
    assert_eq!((waiter.permits, waiter.has_deadline), (2, true));
    let capacity = seen.capacity.expect("it counts");
    assert_eq!((capacity.limit, capacity.total, capacity.free), (3, 3, 1));
    assert_eq!((seen.counters.acquired, seen.drained, seen.ephemeral), (2, false, false));
    a.done(Verb::Release(1));
    super::stage::clean(b.answer(0));
    assert_eq!(s.inspect("p").counters.contended, 1);
}

fn list(s: &mut Stage) {
    let (_a, _) = s.owner(X, "b");
    let (_b, _) = s.owner(What::Pool(2), "a");
    let all = s.ns().list().expect("it lists");
    let seen: Vec<_> = all.iter().map(|l| (l.name.as_str(), l.kind, l.holders.len(), l.acquired)).collect();
    assert_eq!(seen, [("a", Kind::Counting, 1, 1), ("b", Kind::Exclusive, 1, 1)]);
    assert_eq!(all[0].capacity.map(|c| (c.limit, c.free)), Some((2, 0)));
}
