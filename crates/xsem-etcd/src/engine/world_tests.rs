use super::*;
use crate::engine::record::FORM;
use xsem::Reset;
use xsem::engine::Spec;

fn ticket(session: u64, name: &str, permits: u32) -> Ticket {
    let who = Who { host: "h".to_owned(), pid: session as u32, uid: 0, command: String::new(), covers: None, inside: Vec::new() };
    let party = Party { id: Id { session, op: 1 }, claimant: 1, who };
    let list = vec![Entry { name: name.to_owned(), permits, nests: None }];
    Ticket { party, wish: Wish::One, list, label: None, deadline: false, since: 0, order: session, passes: false }
}

/// A world of one record that was last changed at revision 100.
fn world(spec: &Spec) -> World {
    let rec = Record::new(spec, Id { session: 99, op: 0 }, 50, 0);
    let slot = Slot { before: Some(rec.clone()), modified: 100, created: 60, after: Some(rec) };
    World::new([("x".to_owned(), slot)].into(), None, 100)
}

/// What the next transaction would see.
fn written(w: World, revision: u64) -> World {
    let slots = w.slots.into_iter().map(|(name, s)| {
        let rec = s.after.map(|r| Record::decode(&r.encode()).unwrap());
        (name, Slot { before: rec.clone(), modified: revision, created: s.created, after: rec })
    });
    World::new(slots.collect(), None, revision)
}

fn ask(w: &mut World, t: &Ticket) -> Option<Vec<Got>> {
    w.enqueue(t);
    w.settle().unwrap();
    w.take(t.party.id)
}

#[test]
fn a_release_makes_the_next_owner_and_a_note_says_so() {
    let mut w = world(&Spec::exclusive());
    let first = ask(&mut w, &ticket(1, "x", 1)).unwrap();
    assert_eq!(first[0].token, 101, "the revision before, and one");
    let mut w = written(w, 101);
    assert_eq!(ask(&mut w, &ticket(2, "x", 1)), None);
    w.tell_owner("x", 2);
    assert_eq!(w.told, [(1, "x".to_owned())]);
    let mut w = written(w, 102);
    assert_eq!(ask(&mut w, &ticket(3, "x", 1)), None);
    w.get_mut("x").unwrap().end(0, 0);
    w.settle().unwrap();
    let told: Vec<_> = w.served.iter().map(|s| (s.id.session, s.got[0].token)).collect();
    assert_eq!(told, [(2, 103)]);
    assert_eq!(w.get("x").unwrap().queue.len(), 1);
}

#[test]
fn tokens_of_one_change_differ_and_a_new_name_begins_above() {
    let mut w = world(&Spec::pool(3));
    let tokens: Vec<u64> = (1..=3).map(|s| ask(&mut w, &ticket(s, "x", 1)).unwrap()[0].token).collect();
    assert!(tokens.windows(2).all(|t| t[0] < t[1]), "{tokens:?}");
    let slots: Vec<u32> = w.get("x").unwrap().claims.iter().flat_map(|c| c.slots.clone()).collect();
    assert_eq!(slots, [0, 1, 2]);
    let again = Record::new(&Spec::pool(3), Id { session: 9, op: 0 }, 101, 0);
    assert!(again.token >= tokens[2]);
}

#[test]
fn what_comes_back_is_kept_for_a_large_request() {
    let mut w = world(&Spec::pool(3));
    assert!(ask(&mut w, &ticket(1, "x", 2)).is_some());
    assert!(ask(&mut w, &ticket(2, "x", 3)).is_none());
    assert!(ask(&mut w, &ticket(3, "x", 1)).is_none(), "one is free, and kept");
    w.get_mut("x").unwrap().end(0, 0);
    w.settle().unwrap();
    assert_eq!(w.served.iter().map(|s| s.id.session).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_signal_counts_for_a_crowd_at_once_and_is_told_in_parts() {
    let mut w = world(&Spec::event(Reset::Manual, false));
    for s in 1..=100 {
        assert!(ask(&mut w, &ticket(s, "x", 1)).is_none());
    }
    let rec = w.get_mut("x").unwrap();
    (rec.stock, rec.acquired) = (1, 1);
    w.settle().unwrap();
    let mut told: Vec<u64> = w.served.iter().map(|s| s.id.session).collect();
    assert!(w.more && told.len() == MAX_SERVED && w.get("x").unwrap().queue.is_empty());
    // Reset in the meantime: they have seen it all the same.
    w.get_mut("x").unwrap().stock = 0;
    let mut revision = 101;
    while w.more {
        w = written(w, revision);
        revision += 1;
        w.settle().unwrap();
        told.extend(w.served.iter().map(|s| s.id.session));
    }
    assert_eq!(told, (1..=100).collect::<Vec<_>>());
    assert!(w.get("x").unwrap().is_clear());
}

#[test]
fn a_pool_that_many_wait_for_is_given_out_in_parts_within_the_limit() {
    let mut w = world(&Spec::pool(100));
    assert!(ask(&mut w, &ticket(1000, "x", 100)).is_some());
    for s in 1..=60 {
        assert!(ask(&mut w, &ticket(s, "x", 1)).is_none());
    }
    w.get_mut("x").unwrap().end(0, 0);
    w.settle().unwrap();
    assert!(w.more && w.served.len() == MAX_SERVED);
    let mut w = written(w, 101);
    w.settle().unwrap();
    assert!(!w.more && w.served.len() == 60 - MAX_SERVED && w.get("x").unwrap().free() == 40);
}

#[test]
fn the_dead_leave_a_mark_and_the_next_is_told_once() {
    let mut w = world(&Spec::exclusive());
    let dead = ask(&mut w, &ticket(1, "x", 1)).unwrap()[0].token;
    assert!(ask(&mut w, &ticket(2, "x", 1)).is_none());
    assert!(ask(&mut w, &ticket(3, "x", 1)).is_none());
    let mut w = written(w, 101);
    // The first waiter is dead as well.
    w.alive = Some([(3, None)].into());
    w.sweep();
    w.settle().unwrap();
    let got = &w.served[0].got[0];
    assert_eq!((w.served.len(), w.served[0].id.session), (1, 3));
    let deaths = got.died.as_ref().unwrap().obituaries();
    assert_eq!((deaths.count, deaths.latest.token, deaths.latest.process.host.as_deref()), (1, dead, Some("h")));
}

#[test]
fn another_version_and_damage_are_told_apart() {
    let rec = Record::new(&Spec::exclusive(), Id { session: 1, op: 0 }, 0, 0).encode();
    let other = rec.replace(&format!("\"form\":{FORM}"), "\"form\":77").replace("\"limit\"", "\"bound\"");
    assert_eq!(Record::decode(&other).unwrap_err().code(), xsem::Code::RevisionMismatch);
    assert_eq!(Record::decode(&rec[1..]).unwrap_err().code(), xsem::Code::FileCorrupt);
}
