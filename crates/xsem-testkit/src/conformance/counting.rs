//! Counting semaphores: what pools and credit have in common, and pools.

use super::exclusive::drained;
use super::stage::{LONG, SHORT, ask, clean, n, why};
use super::{Row, Setting, Shows, Stage, row};
use crate::protocol::{Answer, Till, Verb, What};
use crate::worker::Actor;

pub(super) const POOL: What = What::Pool(4);

pub(super) const ROWS: &[Row] = &[
    row("acquire_many", 0, many),
    row("acquire_many", 6, |s| stale(s, ask(0, 2, Till::Ever))),
    row("acquire_many", 87, |s| out_of_range(s, Till::Ever)),
    row("acquire_many", 95, many_95),
    row("acquire_many", 102, |s| drained(s, POOL, ask(0, 2, Till::Ever))),
    row("acquire_many", 121, many_121),
    row("acquire_many", 1131, many_1131),
    Row { operation: "deadlock", outcome: Shows::Named("lowered"), setting: Setting::Usual, scene: lowered_1131 },
    row("try_acquire_many", 0, try_many),
    row("try_acquire_many", 6, |s| stale(s, ask(0, 2, Till::Now))),
    row("try_acquire_many", 87, |s| out_of_range(s, Till::Now)),
    row("try_acquire_many", 102, |s| drained(s, POOL, ask(0, 2, Till::Now))),
    row("try_acquire_many", 121, try_many_121),
    row("acquire_owned", 0, owned),
    row("acquire_owned", 121, owned_121),
    row("release_some", 0, release_some),
    row("release_some", 288, release_some_288),
    row("release permits", 0, release),
    row("release permits", 288, |s| lost(s, POOL, Verb::Release)),
    row("slots", 0, slots),
    row("slots", 1, slots_1),
    row("slots", 288, |s| lost(s, POOL, Verb::Slots)),
    row("resize", 0, resize),
    row("resize", 6, |s| stale(s, Verb::Resize(0, 2))),
    row("resize", 87, resize_87),
    row("capacity", 0, capacity),
    row("capacity", 6, |s| stale(s, Verb::Capacity(0))),
    Row { operation: "owner death", outcome: Shows::Named("permits"), setting: Setting::Usual, scene: death },
    Row { operation: "order", outcome: Shows::Named("large"), setting: Setting::Usual, scene: large_requests_come },
];

fn stale(s: &mut Stage, verb: Verb) {
    let mut a = s.other(POOL, "s");
    a.done(Verb::Remove(n("s")));
    a.refused(verb, 6);
}

/// A claim that was ended from outside.
pub(super) fn lost(s: &mut Stage, what: What, verb: fn(usize) -> Verb) {
    let (mut a, guard) = s.owner(what, "s");
    s.ns().evict("s", s.inspect("s").holders[0].token).unwrap_or_else(|e| panic!("evict: {e}"));
    a.refused(verb(guard), 288);
    assert_eq!(a.capacity(0), [4, 4, 4], "its permits came back, once");
    a.owns(ask(0, 4, Till::Now));
}

fn out_of_range(s: &mut Stage, till: Till) {
    let mut a = s.other(POOL, "s");
    a.refused(ask(0, 0, till), 87);
    a.refused(ask(0, 5, till), 87);
    assert_eq!(a.capacity(0), [4, 4, 4]);
    a.owns(ask(0, 4, till));
}

fn many(s: &mut Stage) {
    let mut a = s.other(POOL, "s");
    let (three, first) = a.owns(ask(0, 3, Till::Ever));
    let mut b = s.other(POOL, "s");
    let (_, second) = b.owns(ask(0, 1, Till::Ever));
    assert!(second > first, "tokens grow");
    let mut c = s.other(POOL, "s");
    c.tell(0, &ask(0, 3, Till::Ever));
    s.until_waiting("s", 1);
    for left in [1, 2] {
        a.done(Verb::ReleaseSome(three, 1));
        let seen = a.capacity(0);
        assert_eq!(seen, [4, 4, left], "who waits for three takes none of {left}");
    }
    a.done(Verb::Release(three));
    clean(c.answer(0));
    assert_eq!(a.capacity(0), [4, 4, 0]);
    // As many as there can be.
    let mut all = s.other(What::Pool(65_535), "large");
    let (guard, _) = all.owns(ask(0, 65_535, Till::Ever));
    assert_eq!(all.capacity(0), [65_535, 65_535, 0]);
    all.done(Verb::Release(guard));
    assert_eq!(all.capacity(0), [65_535; 3]);
}

fn many_95(s: &mut Stage) {
    let (mut a, guard) = s.owner(POOL, "s");
    a.done(Verb::ReleaseSome(guard, 1));
    let mut b = s.other(POOL, "s");
    b.tell(0, &ask(0, 2, Till::Ever));
    s.until_waiting("s", 1);
    b.tell(0, &Verb::Cancel);
    assert_eq!(b.answer(0), Answer::Refused(95));
    s.until_waiting("s", 0);
    assert_eq!(b.capacity(0), [4, 4, 1], "it leaves nothing");
}

fn many_121(s: &mut Stage) {
    let (mut a, guard) = s.owner(POOL, "s");
    a.done(Verb::ReleaseSome(guard, 1));
    let mut b = s.other(POOL, "s");
    b.refused(ask(0, 2, SHORT), 121);
    let (holders, _, _, text) = why(&mut *b);
    assert_eq!(holders, [s.inspect("s").holders[0].token], "{text}");
    assert_eq!(b.capacity(0), [4, 4, 1]);
    assert_eq!(s.inspect("s").counters.timed_out, 1);
}

fn many_1131(s: &mut Stage) {
    // Each has half of the pool and wants more.
    let mut actors: Vec<Box<dyn Actor>> = (0..2).map(|_| s.other(POOL, "s")).collect();
    for a in &mut actors {
        a.owns(ask(0, 2, Till::Now));
    }
    actors[0].tell(0, &ask(0, 1, Till::Ever));
    s.until_waiting("s", 1);
    actors[1].refused(ask(0, 1, Till::Ever), 1131);
    let (_, _, cycle, text) = why(&mut *actors[1]);
    assert!(cycle >= 1 && text.contains("`s`"), "{cycle} steps: {text}");
    actors[1].refused(ask(0, 1, SHORT), 121);
    actors[1].done(Verb::ReleaseSome(0, 1));
    clean(actors[0].answer(0));
    // Alone, with what nobody else can give.
    let (mut a, _) = s.owner(What::Pool(2), "own");
    a.refused(ask(0, 1, Till::Ever), 1131);
    // A permit that somebody else can give is no cycle.
    let mut a = s.other(What::Pool(2), "shared");
    a.owns(ask(0, 1, Till::Now));
    let mut b = s.other(What::Pool(2), "shared");
    let (guard, _) = b.owns(ask(0, 1, Till::Now));
    a.tell(0, &ask(0, 1, Till::Ever));
    s.until_waiting("shared", 1);
    b.done(Verb::Release(guard));
    clean(a.answer(0));
}

/// Half of what is held has to come back before anything is free.
fn lowered_1131(s: &mut Stage) {
    let mut a = s.other(POOL, "s");
    a.owns(ask(0, 2, Till::Now));
    let mut b = s.other(POOL, "s");
    let (two, _) = b.owns(ask(0, 2, Till::Now));
    b.done(Verb::Resize(0, 2));
    // Also if b gives everything back, there is no third one.
    a.refused(ask(0, 1, Till::Ever), 1131);
    b.done(Verb::Resize(0, 3));
    a.tell(0, &ask(0, 1, Till::Ever));
    s.until_waiting("s", 1);
    b.done(Verb::Release(two));
    clean(a.answer(0));
    // Who waits for more than there may be now waits for a higher limit, which anybody may set.
    let mut a = s.other(POOL, "raised");
    a.owns(ask(0, 1, Till::Now));
    let mut b = s.other(POOL, "raised");
    let (two, _) = b.owns(ask(0, 2, Till::Now));
    a.tell(0, &ask(0, 3, Till::Ever));
    s.until_waiting("raised", 1);
    b.done(Verb::Resize(0, 2));
    b.done(Verb::Release(two));
    // Long enough for whoever searches to have searched again.
    std::thread::sleep(std::time::Duration::from_millis(30));
    s.until_waiting("raised", 1);
    assert!(s.inspect("raised").deadlock.is_empty());
    b.done(Verb::Resize(0, 4));
    clean(a.answer(0));
}

fn try_many(s: &mut Stage) {
    let mut a = s.other(POOL, "s");
    for n in 1..=4 {
        let (guard, _) = a.owns(ask(0, n, Till::Now));
        assert_eq!(a.capacity(0), [4, 4, 4 - n]);
        a.done(Verb::Release(guard));
    }
    a.owns(ask(0, 2, Till::Now));
    // Another claim of the same thread is another claim.
    a.owns(ask(0, 2, Till::Now));
    assert_eq!(s.inspect("s").holders.iter().map(|h| h.permits).sum::<u32>(), 4);
}

fn try_many_121(s: &mut Stage) {
    let mut a = s.other(POOL, "s");
    a.owns(ask(0, 3, Till::Now));
    let mut b = s.other(POOL, "s");
    b.refused(ask(0, 2, Till::Now), 121);
    assert_eq!(why(&mut *b).0.len(), 1);
    assert_eq!((b.capacity(0), s.inspect("s").waiters.len()), (vec![4, 4, 1], 0));
    b.owns(ask(0, 1, Till::Now));
    b.refused(Verb::Try(0), 121);
}

fn owned(s: &mut Stage) {
    let mut a = s.other(POOL, "s");
    let (guard, token) = a.owns(Verb::Ask(0, 3, Till::Ever, true));
    a.done(Verb::Give(guard, 1));
    assert_eq!(a.ask(0, &Verb::EndThread), Answer::Done);
    assert_eq!(a.ask(1, &Verb::Held(0)), Answer::Is(true), "it does not end with the thread that asked");
    assert_eq!(s.inspect("s").holders[0].token, token);
    assert_eq!(a.ask(1, &Verb::Release(0)), Answer::Done);
    assert_eq!(a.ask(1, &Verb::Capacity(0)), Answer::Numbers(vec![4, 4, 4]));
}

fn owned_121(s: &mut Stage) {
    let (mut a, _) = s.owner(POOL, "s");
    a.refused(Verb::Ask(0, 1, Till::Now, true), 121);
    a.refused(Verb::Ask(0, 1, SHORT, true), 121);
    // Anybody could end what a process owns: so this is no cycle, though nobody will.
    let mut b = s.other(What::Pool(1), "t");
    b.owns(Verb::Ask(0, 1, Till::Now, true));
    b.tell(0, &ask(0, 1, Till::Ever));
    s.until_waiting("t", 1);
    assert_eq!(b.answer_within(0, std::time::Duration::from_millis(30)), None);
    b.tell(0, &Verb::Cancel);
    assert_eq!(b.answer(0), Answer::Refused(95));
}

fn release_some(s: &mut Stage) {
    let (mut a, guard) = s.owner(POOL, "s");
    let Answer::Numbers(before) = a.ask(0, &Verb::Slots(guard)) else { panic!("slots") };
    a.done(Verb::ReleaseSome(guard, 3));
    assert_eq!(a.ask(0, &Verb::Slots(guard)), Answer::Numbers(before[..1].to_vec()), "the highest went");
    assert_eq!(a.capacity(0), [4, 4, 3]);
    let mut b = s.other(POOL, "s");
    b.owns(ask(0, 3, Till::Now));
    b.tell(0, &ask(0, 1, LONG));
    s.until_waiting("s", 1);
    a.done(Verb::ReleaseSome(guard, 1));
    clean(b.answer(0));
    a.refused(Verb::ReleaseSome(guard, 1), 288);
}

fn release_some_288(s: &mut Stage) {
    let mut a = s.other(POOL, "s");
    let (guard, _) = a.owns(ask(0, 2, Till::Now));
    a.refused(Verb::ReleaseSome(guard, 3), 288);
    assert_eq!(a.capacity(0), [4, 4, 2], "nothing changed");
    s.ns().evict("s", s.inspect("s").holders[0].token).unwrap_or_else(|e| panic!("evict: {e}"));
    a.refused(Verb::ReleaseSome(guard, 1), 288);
    assert_eq!(a.capacity(0), [4, 4, 4]);
}

fn release(s: &mut Stage) {
    let (mut a, guard) = s.owner(POOL, "s");
    let mut waiters: Vec<_> = (0..4).map(|_| s.waiter(POOL, "s")).collect();
    a.done(Verb::Release(guard));
    for w in &mut waiters {
        clean(w.answer(0));
    }
    assert_eq!(a.capacity(0), [4, 4, 0]);
    waiters[2].done(Verb::Release(0));
    assert_eq!(a.capacity(0), [4, 4, 1]);
}

fn slots(s: &mut Stage) {
    let mut a = s.other(POOL, "s");
    let mut b = s.other(POOL, "s");
    let (one, _) = a.owns(ask(0, 1, Till::Now));
    let (two, _) = b.owns(ask(0, 2, Till::Now));
    let (more, _) = a.owns(ask(0, 1, Till::Now));
    let of = |a: &mut Box<dyn Actor>, guard| match a.ask(0, &Verb::Slots(guard)) {
        Answer::Numbers(slots) => slots,
        other => panic!("slots: {other}"),
    };
    let (x, y, z) = (of(&mut a, one), of(&mut b, two), of(&mut a, more));
    assert_eq!((x.len(), y.len(), z.len()), (1, 2, 1));
    let mut all = [&x[..], &y, &z].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3], "each is somebody's alone");
    a.done(Verb::Release(one));
    assert_eq!((of(&mut b, two), of(&mut a, more)), (y, z), "they stay the same");
    let (again, _) = a.owns(ask(0, 1, Till::Now));
    assert_eq!(of(&mut a, again), x, "what was given back is there again");
}

fn slots_1(s: &mut Stage) {
    let (mut a, guard) = s.owner(What::Credit(4, 2), "s");
    a.refused(Verb::Slots(guard), 1);
    assert_eq!(a.capacity(0), [4, 2, 0]);
}

fn resize(s: &mut Stage) {
    let mut a = s.other(POOL, "s");
    let (guard, _) = a.owns(ask(0, 3, Till::Now));
    a.done(Verb::Resize(0, 2));
    assert_eq!(a.capacity(0), [2, 3, 0], "nothing is taken away");
    a.done(Verb::ReleaseSome(guard, 1));
    a.refused(ask(0, 1, Till::Now), 121);
    a.done(Verb::ReleaseSome(guard, 1));
    let (one, _) = a.owns(ask(0, 1, Till::Now));
    a.refused(ask(0, 3, Till::Now), 87);
    let mut b = s.other(What::Pool(2), "s");
    b.tell(0, &ask(0, 2, LONG));
    s.until_waiting("s", 1);
    a.done(Verb::Resize(0, 4));
    clean(b.answer(0));
    a.done(Verb::Release(one));
    assert_eq!(a.capacity(0), [4, 4, 1]);
    // A waiter that asks for more than a limit that was lowered goes on waiting for a higher one.
    let mut c = s.other(POOL, "s");
    c.tell(0, &ask(0, 4, LONG));
    s.until_waiting("s", 1);
    a.done(Verb::Resize(0, 3));
    a.done(Verb::Release(guard));
    b.done(Verb::Release(0));
    s.until_waiting("s", 1);
    a.done(Verb::Resize(0, 5));
    clean(c.answer(0));
    assert_eq!(a.capacity(0), [5, 5, 1]);
}

fn resize_87(s: &mut Stage) {
    let mut a = s.other(POOL, "s");
    a.refused(Verb::Resize(0, 0), 87);
    a.refused(Verb::Resize(0, 65_536), 87);
    assert_eq!(a.capacity(0), [4, 4, 4]);
    let mut c = s.other(What::Credit(4, 3), "c");
    c.refused(Verb::Resize(0, 2), 87);
    c.done(Verb::Resize(0, 3));
    assert_eq!(c.capacity(0), [3, 3, 3]);
}

fn capacity(s: &mut Stage) {
    let (mut a, _) = s.owner(What::Credit(5, 3), "c");
    assert_eq!(a.capacity(0), [5, 3, 0]);
    let mut b = s.other(POOL, "s");
    b.owns(ask(0, 1, Till::Now));
    assert_eq!(b.capacity(0), [4, 4, 3]);
    assert_eq!(s.inspect("s").capacity.map(|c| (c.limit, c.total, c.free)), Some((4, 4, 3)));
}

fn death(s: &mut Stage) {
    let (mut a, _) = s.owner(POOL, "s");
    let mut b = s.other(POOL, "s");
    b.tell(0, &ask(0, 3, Till::Ever));
    s.until_waiting("s", 1);
    a.die();
    // Nobody is told: `clean` is not 105.
    clean(b.answer(0));
    assert_eq!(b.capacity(0), [4, 4, 1], "they came back once");
    b.owns(ask(0, 1, Till::Now));
    b.refused(ask(0, 1, Till::Now), 121);
    let seen = s.inspect("s");
    assert_eq!((seen.counters.deaths, seen.marked), (1, false));
    // Of credit, too; what was forgotten stays used up.
    let mut c = s.other(What::Credit(4, 4), "c");
    let (guard, _) = c.owns(ask(0, 1, Till::Now));
    c.owns(ask(0, 2, Till::Now));
    c.done(Verb::Forget(guard));
    c.die();
    let mut d = s.other(What::Credit(4, 4), "c");
    d.owns(ask(0, 3, Till::Now));
    assert_eq!(d.capacity(0), [4, 3, 0]);
}

fn large_requests_come(s: &mut Stage) {
    // Small requests come and go all the time; the large one must not wait for ever.
    let mut small: Vec<_> = (0..2).map(|_| s.other(POOL, "s")).collect();
    let mut held: Vec<usize> = small.iter_mut().map(|a| a.owns(ask(0, 2, Till::Now)).0).collect();
    let mut large = s.other(POOL, "s");
    large.tell(0, &ask(0, 4, Till::Ever));
    s.until_waiting("s", 1);
    let mut rounds = 0;
    let granted = loop {
        for (a, guard) in small.iter_mut().zip(&mut held) {
            if *guard != usize::MAX {
                a.done(Verb::Release(*guard));
            }
            *guard = match a.ask(0, &ask(0, 2, Till::Ms(1))) {
                Answer::Granted { guard, .. } => guard,
                _ => usize::MAX,
            };
        }
        rounds += 1;
        if let Some(answer) = large.answer_within(0, std::time::Duration::from_micros(200)) {
            break answer;
        }
        assert!(rounds < 5000, "the large request is overtaken for ever");
    };
    clean(granted);
}
