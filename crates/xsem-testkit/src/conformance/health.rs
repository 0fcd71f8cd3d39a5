//! Check, repair, reset: what is stored is as it should be, whatever happened.

use super::stage::{X, ask};
use super::{Row, Setting, Shows, Stage, row};
use crate::protocol::{Answer, Till, Verb, What};
use xsem::{Code, Namespace};

pub(super) const ROWS: &[Row] = &[
    row("check", 0, check),
    Row { operation: "check", outcome: Shows::Named("after a death"), setting: Setting::Usual, scene: after_death },
    row("repair", 0, repair),
    row("reset namespace", 0, reset),
];

fn sound(s: &Stage) {
    let found = s.ns().check().unwrap_or_else(|e| panic!("check: {e}"));
    assert!(found.is_sound(), "{:#?}", found.findings);
}

/// While claims are held and waited for.
fn check(s: &mut Stage) {
    let (mut owner, guard) = s.owner(X, "s");
    let (mut some, _) = s.owner(What::Pool(4), "p");
    let _waiter = s.waiter(X, "s");
    let found = s.ns().check().unwrap_or_else(|e| panic!("check: {e}"));
    assert!(found.is_sound(), "{:#?}", found.findings);
    assert_eq!(found.semaphores, 2);
    some.refused(ask(0, 1, Till::Now), 121);
    owner.done(Verb::Release(guard));
    sound(s);
}

fn after_death(s: &mut Stage) {
    for what in [X, What::Pool(4), What::Credit(4, 2)] {
        let (mut owner, _) = s.owner(what, &what.to_string());
        owner.die();
        sound(s);
        s.other(what, &what.to_string()).ask(0, &ask(0, 1, Till::Ever));
        sound(s);
    }
}

/// Nothing is damaged, so nothing is changed: above all no claim of the living.
fn repair(s: &mut Stage) {
    let (mut owner, guard) = s.owner(X, "s");
    let (mut dead, _) = s.owner(What::Pool(4), "p");
    dead.die();
    let done = s.ns().repair().unwrap_or_else(|e| panic!("repair: {e}"));
    assert!(done.now.is_sound(), "{done:#?}");
    s.other(X, "s").refused(ask(0, 1, Till::Now), 101);
    s.other(What::Pool(4), "p").owns(ask(0, 4, Till::Ever));
    owner.done(Verb::Release(guard));
}

/// Of a file. Another engine says that it has nothing to reset, and keeps what it has.
fn reset(s: &mut Stage) {
    let (mut owner, guard) = s.owner(X, "s");
    let url = s.ns().url().to_owned();
    match Namespace::reset_at(&url) {
        Ok(lost) => {
            assert_eq!(lost.claims.len(), 1, "{lost:?}");
            let fresh = Namespace::open(&url).unwrap_or_else(|e| panic!("open: {e}"));
            assert!(fresh.list().is_ok_and(|all| all.is_empty()));
            // A store takes the session along: the claim is over. In shared memory it goes back where nobody meets it.
            let given_back = if url.starts_with("shm:") { Answer::Done } else { Answer::Refused(288) };
            assert_eq!(owner.ask(0, &Verb::Release(guard)), given_back);
            owner.refused(ask(0, 1, Till::Ever), 6);
        }
        Err(e) => {
            assert!(matches!(e.code(), Code::InvalidFunction | Code::InvalidParameter), "{e}");
            s.other(X, "s").refused(ask(0, 1, Till::Now), 101);
            owner.done(Verb::Release(guard));
        }
    }
}
