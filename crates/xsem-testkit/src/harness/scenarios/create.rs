//! Creating pools and events: more is written for them than for an exclusive semaphore before the name is there.

use super::names::{must_list, one_wins, room_is_whole};
use super::play::{PLAY, Play};
use super::*;
use crate::harness::counting::{LIMIT, POOL};
use crate::harness::events::EVENT;
use xsem::{Code, Counting, Event, Options, Reset};

/// What is made.
#[derive(Clone, Copy)]
enum Kind {
    Pool,
    Event,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Pool => POOL,
            Kind::Event => EVENT,
        }
    }

    fn create(self, p: &Player<'_>) -> xsem::Result<()> {
        match self {
            Kind::Pool => Counting::create_pool(p.ns(), POOL, LIMIT, Options::new()).map(drop),
            Kind::Event => Event::create_auto(p.ns(), EVENT, Options::new().signalled()).map(drop),
        }
    }

    /// It is whole: all permits are there; it is signalled, once, and works.
    fn works(self, p: &Player<'_>) {
        match self {
            Kind::Pool => {
                p.stage.put(Value::Limit, LIMIT.into());
                p.must_be_whole(&p.pool());
            }
            Kind::Event => {
                let e = p.event();
                let state = p.must("state", e.state());
                if state.reset != Reset::Auto || !state.is_set {
                    p.violation(format_args!("it was made to be auto-reset and signalled, and is {state:?}"));
                }
                p.must("consume", e.try_wait());
                if e.try_wait().map_err(|e| e.code()) != Err(Code::SemTimeout) {
                    p.violation("one signal was consumed twice");
                }
                p.must("signal", e.signal());
            }
        }
    }
}

fn creates(p: &Player<'_>, kind: Kind) {
    let _ = p.ns();
    p.register();
    p.begin();
    let r = kind.create(p);
    p.done();
    p.put_code(Value::VictimCode, &r);
    p.stage.set(Flag::Left);
}

/// Its creator is dead: it is there, whole, or it can be made.
fn made_or_not(case: &Case<'_>, kind: Kind) {
    let done = case.reached.get() == Reached::Done;
    case.run_player("successor", move |p| {
        match kind.create(p).map_err(|e| e.code()) {
            Ok(()) if !done => {}
            Err(Code::AlreadyExists) => {}
            other => p.violation(format_args!("after the creator's death (done: {done}), create gives {other:?}")),
        }
        p.outcome(false);
        kind.works(p);
        must_list(p, &[kind.name(), SEM]);
        p.must("remove", p.ns().remove(kind.name()));
        p.must("create again", kind.create(p));
        kind.works(p);
        p.must("remove again", p.ns().remove(kind.name()));
    });
    room_is_whole(case);
}

/// Another process makes it, too, and uses it.
fn made_beside(case: &Case<'_>, kind: Kind) {
    case.run_player("peer", move |p| {
        p.put_code(Value::PeerCode, &kind.create(p));
        kind.works(p);
        must_list(p, &[kind.name(), SEM]);
    });
}

fn made_once(case: &Case<'_>, kind: Kind) {
    case.until("the resumed victim to finish", Flag::Left);
    one_wins(case, Code::AlreadyExists);
    case.run_player("successor", move |p| {
        kind.works(p);
        must_list(p, &[kind.name(), SEM]);
        p.must("remove", p.ns().remove(kind.name()));
        must_list(p, &[SEM]);
    });
    room_is_whole(case);
}

/// Either, by both.
pub(crate) const OPEN_OR_CREATE: Play = Play {
    name: "open-or-create",
    about: "open or create a name, while another process does so, too, and owns it: both have the same one",
    prepare: make,
    victim: |p| {
        let ns = p.ns();
        p.register();
        p.begin();
        let r = Exclusive::open_or_create(ns, "n");
        p.done();
        let s = p.must("open or create", r);
        p.until(Flag::Leave);
        p.put_code(Value::VictimCode, &s.try_acquire().map(drop).map_err(xsem::Error::from));
        p.stage.set(Flag::Left);
    },
    killed: |case| {
        case.run_player("successor", |p| {
            p.stage.put(Value::Token, 0);
            p.pass(&p.must("open or create", Exclusive::open_or_create(p.ns(), "n")));
            must_list(p, &["n", SEM]);
            p.must("remove", p.ns().remove("n"));
        });
        room_is_whole(case);
    },
    paused: |case| {
        case.play("peer", |p| {
            let s = p.must("open or create", Exclusive::open_or_create(p.ns(), "n"));
            let held = p.succeed(&s);
            p.must_be_clean(&held);
            p.stage.set(Flag::Got);
            p.until(Flag::Give);
            p.release(held);
            p.stage.set(Flag::Peer);
        });
        case.until("a peer to own it", Flag::Got);
    },
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Done);
        case.stage.set(Flag::Leave);
        case.until("the victim to try it", Flag::Left);
        if case.stage.get(Value::VictimCode) != 101 {
            case.violation(format_args!("the peer owns it, and the victim's try gives {}", case.stage.get(Value::VictimCode)));
        }
        case.stage.set(Flag::Give);
        case.until("the peer to give it up", Flag::Peer);
        case.run_player("successor", |p| must_list(p, &["n", SEM]));
        room_is_whole(case);
    },
    ..PLAY
};

/// A pool, with its limit and its permits.
pub(crate) const CREATE_POOL: Play = Play {
    name: "create-pool",
    about: "create a pool, while another process creates it, too, and takes all permits",
    prepare: make,
    victim: |p| creates(p, Kind::Pool),
    killed: |case| made_or_not(case, Kind::Pool),
    paused: |case| made_beside(case, Kind::Pool),
    resumed: |case| made_once(case, Kind::Pool),
    ..PLAY
};

/// An event that is signalled from the beginning.
pub(crate) const CREATE_EVENT: Play = Play {
    name: "create-event",
    about: "create an event that is signalled, while another process creates it, too, and consumes and signals it",
    victim: |p| creates(p, Kind::Event),
    killed: |case| made_or_not(case, Kind::Event),
    paused: |case| made_beside(case, Kind::Event),
    resumed: |case| made_once(case, Kind::Event),
    ..CREATE_POOL
};
