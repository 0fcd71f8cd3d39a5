//! Records of the history. The victim uses a semaphore of its own, so that nothing but the ring is shared; the ring is so small
//! that the others come round to the victim's entries again and again while it stands still in the middle of one.

use super::play::{PLAY, Play};
use super::*;

const OWN: &str = "own";
const ROOM: u32 = 4;

/// So many records that each entry comes up several times; how many are whole then. Nobody is kept from anything.
fn goes_on(case: &Case<'_>) -> u64 {
    case.ask(|p| {
        let s = p.open(SEM);
        let me = std::process::id();
        for _ in 0..12 {
            let held = p.acquire(&s);
            p.must_be_clean(&held);
            p.release(held);
        }
        let mine = p.must("read the history", p.ns().history()).records;
        let mine: Vec<_> = mine.into_iter().filter(|r| r.process.pid == me).collect();
        if mine.iter().any(|r| r.name != SEM || r.token == 0) || !mine.is_sorted_by_key(|r| r.position) {
            p.violation(format_args!("records that nobody has written: {mine:?}"));
        }
        if !p.must("check", p.ns().check()).is_sound() {
            p.violation("the history is damaged");
        }
        mine.len() as u64
    })
}

/// Everybody else's records are there, all of them where nobody stands in the middle of one.
fn must_be(case: &Case<'_>, least: u32) {
    let found = goes_on(case);
    if found < u64::from(least) || found > u64::from(ROOM) {
        case.violation(format_args!("{found} records of the last {ROOM} are there; {least} or more must be"));
    }
}

/// An acquire and a release on the record.
pub(crate) const RECORD: Play = Play {
    name: "history",
    about: "acquire and release while a history of four records is written, and others write more than that",
    prepare: |case| {
        make(case);
        case.run_player("maker of the history", |p| {
            drop(p.must("create", Exclusive::create(p.ns(), OWN)));
            p.must("switch it on", p.ns().keep_history(Some(ROOM)));
        });
    },
    victim: |p| {
        let s = p.open(OWN);
        p.register();
        p.begin();
        let got = s.acquire();
        let given = got.map_err(xsem::Error::from).and_then(xsem::Guard::release);
        p.done();
        p.must("acquire and release", given);
        p.stage.set(Flag::Left);
    },
    // It has certainly stopped, so its entry is taken.
    killed: |case| must_be(case, ROOM),
    paused: |case| must_be(case, ROOM - 1),
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        must_be(case, ROOM);
    },
    ..PLAY
};
