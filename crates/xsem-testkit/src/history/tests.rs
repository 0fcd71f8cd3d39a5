//! The checker on histories made by hand: pairs of one that can be explained and one, hardly different, that cannot.

use super::*;
use crate::protocol::What;

/// Lines `ACTOR BEGIN-END VERB -> ANSWER`; `ACTOR BEGIN- VERB` for what its actor did not survive; `ACTOR BEGIN-END dies`.
fn history(objects: &[What], lines: &str) -> History {
    let mut h = History { objects: objects.to_vec(), ..History::default() };
    for line in lines.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let mut words = line.splitn(3, ' ');
        let actor = words.next().unwrap().parse().unwrap();
        let (begin, end) = words.next().unwrap().split_once('-').unwrap();
        let begin = begin.parse().unwrap();
        match words.next().unwrap() {
            "dies" => h.deaths.push(Death { actor, from: begin, to: end.parse().unwrap() }),
            rest => {
                let (verb, answer) = rest.split_once(" -> ").unwrap_or((rest, ""));
                let end = (!end.is_empty()).then(|| (end.parse().unwrap(), answer.parse().unwrap()));
                h.events.push(Event { actor, verb: verb.parse().unwrap(), begin, end });
            }
        }
    }
    h
}

fn possible(objects: &[What], lines: &str) {
    assert_eq!(check(&history(objects, lines)), Verdict::Explained, "{lines}");
}

fn impossible(objects: &[What], lines: &str) {
    let verdict = check(&history(objects, lines));
    assert!(matches!(verdict, Verdict::Impossible(_)), "{verdict:?}: {lines}");
}

const X: &[What] = &[What::Exclusive];
const XX: &[What] = &[What::Exclusive, What::Exclusive];
const POOL: &[What] = &[What::Pool(2)];

#[test]
fn two_owners_at_one_time() {
    possible(X, "0 1-4 try 0 -> granted 0 1\n 1 2-3 try 0 -> refused 101");
    possible(X, "0 1-4 try 0 -> granted 0 1\n 0 5-6 release 0 -> done\n 1 5-7 try 0 -> granted 0 2");
    impossible(X, "0 1-2 try 0 -> granted 0 1\n 1 3-4 try 0 -> granted 0 2");
    impossible(X, "0 1-2 try 0 -> granted 0 1\n 1 3-7 try 0 -> granted 0 2\n 0 8-9 release 0 -> done");
}

#[test]
fn a_refusal_while_it_is_free() {
    possible(X, "0 1-2 try 0 -> granted 0 1\n 0 3-6 release 0 -> done\n 1 4-5 try 0 -> refused 101");
    impossible(X, "0 1-2 try 0 -> granted 0 1\n 0 3-4 release 0 -> done\n 1 5-6 try 0 -> refused 101");
    // Somebody waits: it is kept for that one.
    possible(
        X,
        "0 1-2 try 0 -> granted 0 1\n 2 2-9 acquire 0 -> granted 0 2\n 0 3-4 release 0 -> done\n 1 5-6 try 0 -> refused 101",
    );
}

#[test]
fn tokens_grow_and_nesting_keeps_them() {
    let lines = |token| format!("0 1-2 try 0 -> granted 0 4\n 0 3-4 release 0 -> done\n 1 5-6 try 0 -> granted 0 {token}");
    possible(X, &lines(5));
    impossible(X, &lines(4));
    impossible(X, &lines(3));
    possible(X, "0 1-2 try 0 -> granted 0 4\n 0 3-4 try 0 -> granted 1 4");
    impossible(X, "0 1-2 try 0 -> granted 0 4\n 0 3-4 try 0 -> granted 1 5");
}

#[test]
fn tokens_of_permits_are_unique_and_grow_between_requests_that_do_not_overlap() {
    let two = |first: &str, second: &str, a: u64, b: u64| {
        format!("0 {first} ask 0 1 now false -> granted 0 {a}\n 1 {second} ask 0 1 now false -> granted 0 {b}")
    };
    possible(POOL, &two("1-4", "2-3", 2, 1));
    possible(POOL, &two("1-2", "3-4", 1, 2));
    impossible(POOL, &two("1-2", "3-4", 2, 1));
    impossible(POOL, &two("1-4", "2-3", 1, 1));
}

#[test]
fn permits_are_counted() {
    possible(
        POOL,
        "0 1-2 ask 0 1 now false -> granted 0 1\n 1 1-2 ask 0 1 now false -> granted 0 2\n 2 3-4 ask 0 1 now false -> refused 121",
    );
    impossible(POOL, "0 1-2 ask 0 2 now false -> granted 0 1\n 1 3-4 ask 0 1 now false -> granted 0 2");
    // A release that gives one too many: the limit is two, and three are out.
    impossible(
        POOL,
        "0 1-2 ask 0 1 now false -> granted 0 1\n 0 3-4 release 0 -> done\n 0 5-6 ask 0 2 now false -> granted 1 2
         1 7-8 ask 0 1 now false -> granted 0 3",
    );
    possible(POOL, "0 1-2 ask 0 2 now false -> granted 0 1\n 0 3-6 release_some 0 1 -> done\n 1 4-5 capacity 0 -> numbers 2,2,1");
    impossible(
        POOL,
        "0 1-2 ask 0 2 now false -> granted 0 1\n 0 3-6 release_some 0 1 -> done\n 1 4-5 capacity 0 -> numbers 2,2,2",
    );
}

#[test]
fn a_part_of_a_request_is_never_seen() {
    // Of four, two are out, a request for three fails; somebody else wants one meanwhile.
    let lines = |answer| {
        format!(
            "0 1-2 ask 0 2 now false -> granted 0 1\n 1 3-9 ask 0 3 now false -> refused 121\n 2 4-5 ask 0 1 now false -> {answer}"
        )
    };
    possible(&[What::Pool(4)], &lines("granted 0 2"));
    impossible(&[What::Pool(4)], &lines("refused 121"));
}

#[test]
fn lists_take_the_lowest_and_all_at_once() {
    possible(XX, "0 1-2 any 0:1,1:1 now -> taken 0 0 1 false");
    impossible(XX, "0 1-2 any 0:1,1:1 now -> taken 1 0 1 false");
    // The first was given back while the second was looked at.
    possible(XX, "0 1-2 try 0 -> granted 0 1\n 1 3-6 any 0:1,1:1 now -> taken 1 0 1 false\n 0 4-5 release 0 -> done");
    possible(XX, "0 1-2 try 1 -> granted 0 1\n 1 3-4 all 0:1,1:1 now -> refused 121\n 2 5-6 try 0 -> granted 0 1");
    impossible(XX, "0 1-2 try 1 -> granted 0 1\n 1 3-6 all 0:1,1:1 now -> refused 121\n 2 4-5 try 0 -> refused 101");
    possible(XX, "0 1-2 all 0:1,1:1 now -> all 0,1 1,1 -\n 1 3-4 try 1 -> refused 101");
    // wait_any that took two.
    impossible(XX, "0 1-2 any 0:1,1:1 now -> taken 0 0 1 false\n 1 3-4 try 1 -> refused 101");
}

#[test]
fn a_death_ends_claims_once_and_leaves_the_mark() {
    let lines = |rest: &str| format!("0 1-2 try 0 -> granted 0 1\n 0 5-6 dies\n {rest}");
    possible(X, &lines("1 7-8 try 0 -> granted 0 2 unknown"));
    possible(X, &lines("1 4-9 try 0 -> granted 0 2 unknown"));
    impossible(X, &lines("1 3-4 try 0 -> granted 0 2 unknown"));
    impossible(X, &lines("1 7-8 try 0 -> granted 0 2"));
    impossible(X, &lines("1 7-8 try 0 -> refused 101"));
    possible(X, &lines("1 4-7 try 0 -> refused 101"));
    let pool = |rest: &str| format!("0 1-2 ask 0 2 now false -> granted 0 1\n 0 5-6 dies\n {rest}");
    possible(POOL, &pool("1 7-8 capacity 0 -> numbers 2,2,2"));
    impossible(POOL, &pool("1 7-8 capacity 0 -> numbers 2,2,1"));
    impossible(POOL, &pool("1 7-8 capacity 0 -> numbers 2,3,3"));
}

#[test]
fn what_its_actor_did_not_survive_happened_or_not() {
    let lines = |rest: &str| format!("0 1-2 try 0 -> granted 0 1\n 0 3- release 0\n 0 5-6 dies\n {rest}");
    possible(X, &lines("1 7-8 try 0 -> granted 0 2"));
    possible(X, &lines("1 7-8 try 0 -> granted 0 2 unknown"));
    possible(X, &lines("1 4-5 try 0 -> granted 0 2"));
    impossible(X, &lines("1 7-8 try 0 -> refused 101"));
    // An answer that came after the end had begun may have come or not; what followed on it, too.
    let late = "0 3-6 try 0 -> granted 0 1\n 0 7- release 0\n 0 5-9 dies\n 1 10-11 try 0";
    possible(X, &format!("{late} -> granted 0 1"));
    possible(X, &format!("{late} -> granted 0 2 unknown"));
    impossible(X, &format!("{late} -> refused 101"));
    let asks = |rest: &str| format!("0 3- try 0\n 0 5-6 dies\n {rest}");
    possible(X, &asks("1 7-8 try 0 -> granted 0 1"));
    possible(X, &asks("1 7-8 try 0 -> granted 0 2 unknown"));
    possible(X, &asks("1 4-5 try 0 -> refused 101\n 1 7-8 try 0 -> granted 0 2 unknown"));
    impossible(X, &asks("1 4-5 try 0 -> refused 101\n 1 7-8 try 0 -> granted 0 2"));
    impossible(X, &asks("1 7-8 try 0 -> refused 101"));
}

#[test]
fn a_cycle_is_refused_only_where_there_is_one() {
    let lines = |other: &str| {
        format!(
            "0 1-2 try 0 -> granted 0 1\n 1 1-2 try 1 -> granted 0 1\n 0 3-9 {other}\n 1 4-5 acquire 0 -> refused 1131\n 1 6-7 release 0 -> done"
        )
    };
    possible(XX, &lines("acquire 1 -> granted 1 2"));
    impossible(XX, &lines("timeout 1 9 -> granted 1 2"));
    impossible(XX, &lines("acquire 1 -> refused 1131"));
}

#[test]
fn an_impossible_history_is_shown() {
    let h = history(X, "0 1000-2000 try 0 -> granted 0 1\n 1 3000-4000 try 0 -> granted 0 2");
    let Verdict::Impossible(text) = check(&h) else { panic!("two owners") };
    assert!(text.contains("! ") && text.contains("1  try 0 -> granted 0 2"), "{text}");
}
