//! Several semaphores in one wait.

use super::stage::{LONG, SHORT, X, ask, n, why};
use super::{Row, Setting, Shows, Stage, row};
use crate::protocol::{Answer, Till, Verb, What};
use crate::worker::Actor;

const POOL: What = What::Pool(2);

pub(super) const ROWS: &[Row] = &[
    row("wait_any", 0, any),
    row("wait_any", 6, |s| stale(s, Verb::Any)),
    row("wait_any", 87, |s| permits_87(s, Verb::Any)),
    row("wait_any", 95, |s| cancelled(s, Verb::Any)),
    row("wait_any", 102, |s| drained(s, Verb::Any)),
    row("wait_any", 105, any_105),
    row("wait_any", 121, |s| timed_out(s, Verb::Any)),
    row("wait_any", 151, |s| length(s, Verb::Any)),
    row("wait_any", 153, |s| strangers(s, Verb::Any)),
    row("wait_any", 1131, any_1131),
    row("acquire_all", 0, all),
    row("acquire_all", 6, |s| stale(s, Verb::All)),
    row("acquire_all", 87, |s| permits_87(s, Verb::All)),
    row("acquire_all", 95, |s| cancelled(s, Verb::All)),
    row("acquire_all", 102, |s| drained(s, Verb::All)),
    row("acquire_all", 105, all_105),
    row("acquire_all", 121, |s| timed_out(s, Verb::All)),
    row("acquire_all", 151, |s| length(s, Verb::All)),
    row("acquire_all", 153, all_153),
    row("acquire_all", 1131, all_1131),
    Row { operation: "wait_any", outcome: Shows::Named("nests"), setting: Setting::Usual, scene: any_nests },
    Row { operation: "acquire_all", outcome: Shows::Named("nests"), setting: Setting::Usual, scene: all_nests },
    Row { operation: "acquire_all", outcome: Shows::Named("no partial"), setting: Setting::Usual, scene: nothing_partial },
    Row { operation: "acquire_all", outcome: Shows::Named("opposite"), setting: Setting::Usual, scene: opposite_orders },
];

type List = fn(Vec<(usize, u32)>, Till) -> Verb;

/// An actor with the handles 0 `x`, 1 `y`, 2 `p` (a pool of two).
pub(super) fn three(s: &mut Stage) -> Box<dyn Actor> {
    let mut a = s.actor();
    assert_eq!(a.opens(Verb::Either(X, n("x"))), 0);
    a.opens(Verb::Either(X, n("y")));
    assert_eq!(a.opens(Verb::Either(POOL, n("p"))), 2);
    a
}

/// One of a list, without 105: index and guard.
pub(super) fn taken(answer: Answer) -> (usize, usize) {
    match answer {
        Answer::Taken { index, guard, died: false, .. } => (index, guard),
        other => panic!("not one of the list: {other}"),
    }
}

/// All of a list, without 105: the guards.
pub(super) fn taken_all(answer: Answer) -> Vec<usize> {
    match answer {
        Answer::All { guards, died, .. } if died.is_empty() => guards,
        other => panic!("not all of the list: {other}"),
    }
}

/// Who holds how many permits of the three.
fn held(s: &Stage) -> [u32; 3] {
    ["x", "y", "p"].map(|name| s.inspect(name).holders.iter().map(|h| h.permits).sum())
}

fn waiting(s: &Stage) -> [usize; 3] {
    ["x", "y", "p"].map(|name| s.inspect(name).waiters.len())
}

fn any(s: &mut Stage) {
    let (mut a, mut b) = (three(s), three(s));
    // The lowest of those that can be had, one only; a duplicate is no error.
    let (index, x) = taken(a.ask(0, &Verb::Any(vec![(0, 1), (1, 1), (2, 2)], Till::Ever)));
    assert_eq!((index, held(s)), (0, [1, 0, 0]));
    let (index, y) = taken(b.ask(0, &Verb::Any(vec![(0, 1), (1, 1), (0, 1)], LONG)));
    assert_eq!((index, held(s)), (1, [1, 1, 0]));
    let (index, p) = taken(b.ask(0, &Verb::Any(vec![(0, 1), (2, 2)], Till::Now)));
    assert_eq!((index, held(s)), (1, [1, 1, 2]));
    // Nothing can be had: it waits at each of them, and takes what comes first.
    let mut c = three(s);
    c.tell(0, &Verb::Any(vec![(0, 1), (1, 1), (2, 1)], Till::Ever));
    for name in ["x", "y", "p"] {
        s.until_waiting(name, 1);
    }
    b.done(Verb::ReleaseSome(p, 1));
    let (index, c_p) = taken(c.answer(0));
    assert_eq!((index, held(s)), (2, [1, 1, 2]));
    assert_eq!(waiting(s), [0, 0, 0]);
    a.done(Verb::Release(x));
    b.done(Verb::Release(y));
    c.done(Verb::Release(c_p));
    assert_eq!(held(s), [0, 0, 1]);
}

fn any_nests(s: &mut Stage) {
    let mut a = three(s);
    a.owns(Verb::Try(0));
    let (index, y) = taken(a.ask(0, &Verb::Any(vec![(1, 1), (0, 1)], Till::Now)));
    assert_eq!((index, held(s)), (0, [1, 1, 0]));
    a.done(Verb::Release(y));
    a.done(Verb::Release(0));
    assert_eq!(held(s), [0, 0, 0], "what was not taken is not nested");
    a.owns(Verb::Try(0));
    let (_, inner) = taken(a.ask(0, &Verb::Any(vec![(0, 1), (1, 1)], Till::Ever)));
    assert_eq!(s.inspect("x").holders[0].depth, 2);
    a.done(Verb::Release(inner));
    assert_eq!(s.inspect("x").holders[0].depth, 1);
}

fn all_nests(s: &mut Stage) {
    for till in [Till::Now, SHORT, LONG, Till::Ever] {
        let mut a = three(s);
        let (x, _) = a.owns(Verb::Try(0));
        let guards = taken_all(a.ask(0, &Verb::All(vec![(0, 1), (2, 1)], till)));
        assert_eq!((s.inspect("x").holders[0].depth, held(s)), (2, [1, 0, 1]), "{till}");
        guards.into_iter().for_each(|g| a.done(Verb::Release(g)));
        assert_eq!((s.inspect("x").holders[0].depth, held(s)), (1, [1, 0, 0]), "{till}");
        a.done(Verb::Release(x));
    }
}

fn stale(s: &mut Stage, list: List) {
    let mut a = three(s);
    a.done(Verb::Remove(n("y")));
    for till in [Till::Now, SHORT, Till::Ever] {
        assert_eq!(a.ask(0, &list(vec![(0, 1), (1, 1)], till)), Answer::RefusedAt(6, vec![1]));
    }
    assert_eq!(s.inspect("x").holders.len(), 0);
}

fn permits_87(s: &mut Stage, list: List) {
    let mut a = three(s);
    for bad in [0, 3] {
        a.refused(list(vec![(0, 1), (2, bad)], SHORT), 87);
    }
    assert_eq!(held(s), [0, 0, 0]);
}

fn cancelled(s: &mut Stage, list: List) {
    let mut a = three(s);
    a.owns(Verb::Try(0));
    a.owns(ask(2, 2, Till::Now));
    let mut b = three(s);
    b.tell(0, &list(vec![(0, 1), (2, 1)], Till::Ever));
    s.until_waiting("x", 1);
    s.until_waiting("p", 1);
    b.tell(0, &Verb::Cancel);
    b_refused(&mut *b, 95);
    assert_eq!((held(s), waiting(s)), ([1, 0, 2], [0, 0, 0]));
}

fn b_refused(b: &mut dyn Actor, code: u32) {
    let answer = b.answer(0);
    assert_eq!(answer.code(), Some(code), "{answer}");
}

fn drained(s: &mut Stage, list: List) {
    let mut a = three(s);
    a.done(Verb::Drain(n("y"), Till::Now));
    assert_eq!(a.ask(0, &list(vec![(0, 1), (1, 1)], SHORT)).code(), Some(102));
    assert_eq!(held(s), [0, 0, 0]);
    a.done(Verb::Reopen(n("y")));
    a.owns(Verb::Try(1));
}

fn any_105(s: &mut Stage) {
    let mut a = three(s);
    a.owns(Verb::Try(0));
    a.owns(Verb::Try(1));
    let mut b = three(s);
    b.tell(0, &Verb::Any(vec![(2, 2), (0, 1)], Till::Now));
    let (_, p) = taken(b.answer(0));
    b.tell(0, &Verb::Any(vec![(2, 1), (1, 1)], LONG));
    s.until_waiting("y", 1);
    a.die();
    let Answer::Taken { index: 1, guard, died: true, .. } = b.answer(0) else { panic!("105 of entry 1") };
    b.done(Verb::MarkConsistent(guard));
    b.done(Verb::Release(guard));
    b.done(Verb::Release(p));
    let answer = b.ask(0, &Verb::Any(vec![(0, 1), (1, 1)], Till::Now));
    let Answer::Taken { index: 0, guard, died: true, .. } = answer else { panic!("105 of entry 0: {answer}") };
    b.done(Verb::Release(guard));
    assert_eq!(held(s), [0, 0, 0]);
}

fn timed_out(s: &mut Stage, list: List) {
    let mut a = three(s);
    a.owns(Verb::Try(0));
    a.owns(Verb::Try(1));
    let mut b = three(s);
    for till in [Till::Now, SHORT] {
        b.refused(list(vec![(0, 1), (1, 1)], till), 121);
        assert!(!why(&mut *b).0.is_empty(), "it says who holds them");
    }
    assert_eq!((held(s), waiting(s)), ([1, 1, 0], [0, 0, 0]));
}

fn length(s: &mut Stage, list: List) {
    let mut a = s.actor();
    a.refused(list(vec![], SHORT), 151);
    let handles: Vec<(usize, u32)> = (0..65).map(|i| (a.opens(Verb::Create(format!("s{i}"))), 1)).collect();
    a.refused(list(handles.clone(), SHORT), 151);
    assert!(s.ns().list().expect("it lists").iter().all(|l| l.holders.is_empty()));
    match a.ask(0, &list(handles[..64].to_vec(), SHORT)) {
        Answer::Taken { index: 0, .. } => {}
        Answer::All { guards, .. } => assert_eq!(guards.len(), 64),
        other => panic!("64 are not too many: {other}"),
    }
}

fn strangers(s: &mut Stage, list: List) {
    let mut a = three(s);
    let other = a.opens(Verb::Elsewhere(n("x")));
    a.refused(list(vec![(0, 1), (other, 1)], SHORT), 153);
    a.refused(list(vec![(other, 1), (0, 1)], SHORT), 153);
    assert_eq!(held(s), [0, 0, 0]);
    a.owns(Verb::Try(other));
}

fn any_1131(s: &mut Stage) {
    let (mut a, mut b) = (three(s), three(s));
    a.owns(Verb::Try(0));
    b.owns(Verb::Try(1));
    let (p, _) = b.owns(ask(2, 2, Till::Now));
    a.tell(0, &Verb::Any(vec![(1, 1), (2, 1)], Till::Ever));
    s.until_waiting("y", 1);
    s.until_waiting("p", 1);
    b.refused(Verb::Any(vec![(0, 1)], Till::Ever), 1131);
    assert!(why(&mut *b).2 >= 2, "it shows the cycle");
    // With another way out it is none.
    let mut c = three(s);
    let other = c.opens(Verb::Either(X, n("z")));
    let (z, _) = c.owns(Verb::Try(other));
    let z_too = b.opens(Verb::Either(X, n("z")));
    b.tell(0, &Verb::Any(vec![(0, 1), (z_too, 1)], Till::Ever));
    s.until_waiting("z", 1);
    c.done(Verb::Release(z));
    let (index, _) = taken(b.answer(0));
    assert_eq!(index, 1);
    b.done(Verb::Release(p));
    taken(a.answer(0));
}

fn all(s: &mut Stage) {
    let (mut a, mut b) = (three(s), three(s));
    let mut guards = taken_all(a.ask(0, &Verb::All(vec![(2, 2), (0, 1), (1, 1)], Till::Ever)));
    assert_eq!(held(s), [1, 1, 2]);
    b.tell(0, &Verb::All(vec![(0, 1), (1, 1), (2, 1)], LONG));
    s.until_waiting("p", 1);
    // The order of the list is the order of the guards.
    a.done(Verb::ReleaseSome(guards[0], 1));
    assert_eq!(held(s), [1, 1, 1]);
    let last = guards.pop().expect("three");
    guards[1..].iter().for_each(|g| a.done(Verb::Release(*g)));
    assert_eq!(held(s), [0, 1, 1], "none before all");
    a.done(Verb::Release(last));
    assert_eq!(taken_all(b.answer(0)).len(), 3);
    assert_eq!((held(s), waiting(s)), ([1, 1, 2], [0, 0, 0]));
}

fn nothing_partial(s: &mut Stage) {
    let (mut a, mut b) = (three(s), three(s));
    let (y, _) = a.owns(Verb::Try(1));
    b.tell(0, &Verb::All(vec![(0, 1), (1, 1), (2, 2)], Till::Ever));
    s.until_waiting("y", 1);
    // Who waits for all keeps nobody from what it does not have.
    for _ in 0..20 {
        let (x, _) = a.owns(ask(0, 1, LONG));
        let (p, _) = a.owns(ask(2, 1, LONG));
        a.done(Verb::Release(x));
        a.done(Verb::Release(p));
    }
    assert_eq!(held(s), [0, 1, 0]);
    a.done(Verb::Release(y));
    taken_all(b.answer(0));
}

fn opposite_orders(s: &mut Stage) {
    const ROUNDS: usize = 40;
    let list = vec![(0, 1), (1, 1), (2, 2)];
    let mut both = [(three(s), list.clone(), 0, false), (three(s), list.into_iter().rev().collect(), 0, false)];
    while both.iter().any(|b| b.2 < ROUNDS) {
        for (a, list, rounds, asked) in &mut both {
            if !*asked && *rounds < ROUNDS {
                a.tell(0, &Verb::All(list.clone(), Till::Ever));
                *asked = true;
            }
            if let Some(answer) = asked.then(|| a.answer_within(0, std::time::Duration::from_millis(1))).flatten() {
                // 1131 would be wrong: who waits for all holds nothing.
                taken_all(answer).into_iter().for_each(|g| a.done(Verb::Release(g)));
                (*rounds, *asked) = (*rounds + 1, false);
            }
        }
    }
    assert_eq!(held(s), [0, 0, 0]);
}

fn all_105(s: &mut Stage) {
    let mut a = three(s);
    a.owns(Verb::Try(0));
    a.owns(Verb::Try(1));
    a.owns(ask(2, 2, Till::Now));
    a.die();
    let mut b = three(s);
    match b.ask(0, &Verb::All(vec![(0, 1), (2, 1), (1, 1)], LONG)) {
        Answer::All { died, guards, .. } => {
            assert_eq!(died, [0, 2], "all that are concerned; permits just come back");
            b.done(Verb::MarkConsistent(guards[0]));
            guards.iter().for_each(|g| b.done(Verb::Release(*g)));
        }
        other => panic!("{other}"),
    }
    match b.ask(0, &Verb::All(vec![(0, 1), (1, 1)], LONG)) {
        Answer::All { died, .. } => assert_eq!(died, [1], "the other was not acknowledged"),
        other => panic!("{other}"),
    }
}

fn all_153(s: &mut Stage) {
    strangers(s, Verb::All);
    let mut a = three(s);
    assert_eq!(a.ask(0, &Verb::All(vec![(0, 1), (2, 1), (0, 1)], SHORT)), Answer::RefusedAt(153, vec![0, 2]));
    a.refused(Verb::All(vec![(2, 1), (2, 1)], SHORT), 153);
    let again = a.opens(Verb::Open(n("x")));
    a.refused(Verb::All(vec![(0, 1), (again, 1)], SHORT), 153);
    assert_eq!(held(s), [0, 0, 0]);
}

fn all_1131(s: &mut Stage) {
    let (mut a, mut b) = (three(s), three(s));
    a.owns(Verb::Try(0));
    let (y, _) = b.owns(Verb::Try(1));
    a.tell(0, &Verb::All(vec![(2, 1), (1, 1)], Till::Ever));
    s.until_waiting("y", 1);
    b.refused(Verb::All(vec![(2, 1), (0, 1)], Till::Ever), 1131);
    b.refused(Verb::All(vec![(2, 1), (0, 1)], SHORT), 121);
    b.done(Verb::Release(y));
    taken_all(a.answer(0));
}
