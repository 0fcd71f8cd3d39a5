//! Names that go with their last user, and a pool that is removed.

use super::names::{must_list, one_wins, room_is_whole};
use super::play::{PLAY, Play};
use super::pool::{make_pool, whole};
use super::*;
use crate::harness::counting::{LIMIT, POOL};
use xsem::{Code, Counting, Event, Options, Wait};

/// The ephemeral name.
const NAME: &str = "e";

/// A handle to it, of any kind.
enum Handle {
    Exclusive(Exclusive),
    Pool(Counting),
    Event(Event),
}

/// Which kind it is.
#[derive(Clone, Copy)]
enum Kind {
    Exclusive,
    Pool,
    Event,
}

impl Kind {
    fn open(self, p: &Player<'_>) -> xsem::Result<Handle> {
        match self {
            Kind::Exclusive => Exclusive::open(p.ns(), NAME).map(Handle::Exclusive),
            Kind::Pool => Counting::open(p.ns(), NAME).map(Handle::Pool),
            Kind::Event => Event::open(p.ns(), NAME).map(Handle::Event),
        }
    }

    fn create(self, p: &Player<'_>) -> xsem::Result<Handle> {
        let ephemeral = Options::new().ephemeral();
        match self {
            Kind::Exclusive => Exclusive::create_with(p.ns(), NAME, ephemeral).map(Handle::Exclusive),
            Kind::Pool => Counting::create_pool(p.ns(), NAME, LIMIT, ephemeral).map(Handle::Pool),
            Kind::Event => Event::create_auto(p.ns(), NAME, ephemeral).map(Handle::Event),
        }
    }

    /// Opens it, or makes it where it is gone. Who opens it may find that it goes in that instant, and looks again.
    fn open_or_create(self, p: &Player<'_>) -> Handle {
        for _ in 0..100 {
            match self.open(p) {
                Ok(h) => return h,
                Err(e) if e.code() == Code::SemNotFound => {}
                Err(e) => return p.must("open", Err(e)),
            }
            match self.create(p) {
                Ok(h) => return h,
                Err(e) if e.code() == Code::AlreadyExists => {}
                Err(e) => return p.must("create", Err(e)),
            }
        }
        p.must("open or create", Err("187 and 183 in turns, a hundred times"))
    }
}

impl Handle {
    /// Whoever has it open can use it.
    fn works(&self, p: &Player<'_>) {
        match self {
            Handle::Exclusive(s) => drop(p.must("use it", s.acquire_with(Wait::forever()).map_err(xsem::Error::from))),
            Handle::Pool(s) => drop(p.must("use it", s.acquire_many(LIMIT))),
            Handle::Event(s) => p.must("use it", s.signal().and_then(|_| s.try_wait())),
        }
    }

    fn close(self) -> xsem::Result<()> {
        match self {
            Handle::Exclusive(s) => s.close().map_err(|(_, e)| e),
            Handle::Pool(s) => s.close().map_err(|(_, e)| e),
            Handle::Event(s) => s.close().map_err(|(_, e)| e),
        }
    }
}

/// With nobody left, the name is gone, and its room is free.
fn is_gone(case: &Case<'_>, kind: Kind) {
    case.run_player("newcomer", move |p| {
        must_list(p, &[]);
        match kind.open(p) {
            Err(e) if e.code() == Code::SemNotFound => {}
            Ok(_) => p.violation("nobody had it open, and it could be opened"),
            Err(e) => p.violation(format_args!("187 was due: {e}")),
        }
        let h = kind.open_or_create(p);
        h.works(p);
        p.must("close", h.close());
        must_list(p, &[]);
    });
    room_is_whole(case);
}

/// Somebody who has it open until `Release` is set.
fn user(case: &Case<'_>, kind: Kind) {
    case.play("user", move |p| {
        let h = p.must("create", kind.create(p));
        h.works(p);
        p.stage.set(Flag::Owning);
        p.until(Flag::Release);
        p.must("close", h.close());
        p.stage.set(Flag::Left2);
    });
    case.until("the user to have it open", Flag::Owning);
}

fn opens(p: &Player<'_>, kind: Kind) {
    p.register();
    p.begin();
    let r = kind.open(p);
    p.done();
    p.put_code(Value::VictimCode, &r);
    p.stage.set(Flag::Acknowledged);
    if let Ok(h) = r {
        h.works(p);
        p.stage.set(Flag::Got);
        p.until(Flag::Leave);
        p.must("close", h.close());
    }
    p.stage.set(Flag::Left);
}

fn last_user_goes(case: &Case<'_>) {
    case.stage.set(Flag::Release);
    case.until("the user to close it", Flag::Left2);
}

fn opened_beside(case: &Case<'_>, kind: Kind) {
    case.until("the resumed victim to say how it went", Flag::Acknowledged);
    match case.stage.get(Value::VictimCode) {
        0 => {
            case.until("the victim to use its handle", Flag::Got);
            // It is a user now, so the name is there for others, too.
            case.run_player("guest", move |p| p.must("open", kind.open(p)).works(p));
        }
        187 => {}
        other => case.violation(format_args!("open gave {other}")),
    }
    case.stage.set(Flag::Leave);
    case.until("the victim to close it", Flag::Left);
    is_gone(case, kind);
}

/// The last user closes it meanwhile.
pub(crate) const OPEN: Play = Play {
    name: "ephemeral-open",
    about: "open an ephemeral exclusive semaphore, while its only user closes it",
    prepare: |case| user(case, Kind::Exclusive),
    victim: |p| opens(p, Kind::Exclusive),
    killed: |case| {
        last_user_goes(case);
        is_gone(case, Kind::Exclusive);
    },
    paused: last_user_goes,
    resumed: |case| opened_beside(case, Kind::Exclusive),
    ..PLAY
};

/// The same for a pool.
pub(crate) const OPEN_POOL: Play = Play {
    name: "ephemeral-pool-open",
    about: "open an ephemeral pool, while its only user closes it",
    prepare: |case| user(case, Kind::Pool),
    victim: |p| opens(p, Kind::Pool),
    killed: |case| {
        last_user_goes(case);
        is_gone(case, Kind::Pool);
    },
    paused: last_user_goes,
    resumed: |case| opened_beside(case, Kind::Pool),
    ..PLAY
};

/// The same for an event.
pub(crate) const OPEN_EVENT: Play = Play {
    name: "ephemeral-event-open",
    about: "open an ephemeral event, while its only user closes it",
    prepare: |case| user(case, Kind::Event),
    victim: |p| opens(p, Kind::Event),
    killed: |case| {
        last_user_goes(case);
        is_gone(case, Kind::Event);
    },
    resumed: |case| opened_beside(case, Kind::Event),
    ..OPEN
};

fn closes(p: &Player<'_>, kind: Kind) {
    let h = p.must("create", kind.create(p));
    h.works(p);
    p.begin();
    let r = h.close();
    p.done();
    p.must("close", r);
    p.stage.set(Flag::Left);
}

/// A newcomer opens it while it goes, or makes a new one; and its own stays.
fn guest(case: &Case<'_>, kind: Kind) {
    case.play("guest", move |p| {
        let h = kind.open_or_create(p);
        h.works(p);
        p.stage.set(Flag::Got);
        p.until(Flag::Give);
        h.works(p);
        p.must("close", h.close());
        p.stage.set(Flag::Peer);
    });
    case.until("a guest to have it open", Flag::Got);
}

fn closed_beside(case: &Case<'_>, kind: Kind) {
    case.until("the resumed victim to finish", Flag::Left);
    case.run_player("second guest", move |p| p.must("open", kind.open(p)).works(p));
    case.stage.set(Flag::Give);
    case.until("the guest to close it", Flag::Peer);
    is_gone(case, kind);
}

/// The victim is its only user.
pub(crate) const CLOSE: Play = Play {
    name: "ephemeral-close",
    about: "close an ephemeral exclusive semaphore as its last user, while another process opens or makes it",
    victim: |p| closes(p, Kind::Exclusive),
    killed: |case| is_gone(case, Kind::Exclusive),
    paused: |case| guest(case, Kind::Exclusive),
    resumed: |case| closed_beside(case, Kind::Exclusive),
    ..PLAY
};

/// The same for a pool.
pub(crate) const CLOSE_POOL: Play = Play {
    name: "ephemeral-pool-close",
    about: "close an ephemeral pool as its last user, while another process opens or makes it",
    victim: |p| closes(p, Kind::Pool),
    killed: |case| is_gone(case, Kind::Pool),
    paused: |case| guest(case, Kind::Pool),
    resumed: |case| closed_beside(case, Kind::Pool),
    ..PLAY
};

/// The same for an event.
pub(crate) const CLOSE_EVENT: Play = Play {
    name: "ephemeral-event-close",
    about: "close an ephemeral event as its last user, while another process opens or makes it",
    victim: |p| closes(p, Kind::Event),
    killed: |case| is_gone(case, Kind::Event),
    paused: |case| guest(case, Kind::Event),
    resumed: |case| closed_beside(case, Kind::Event),
    ..PLAY
};

fn removes(p: &Player<'_>) {
    let ns = p.ns();
    p.register();
    p.begin();
    let r = ns.remove(POOL);
    p.done();
    p.put_code(Value::VictimCode, &r);
    p.stage.set(Flag::Left);
}

/// The pool exists or it does not; either way everything goes on.
fn removed_or_not(case: &Case<'_>) {
    let done = case.reached.get() == Reached::Done;
    case.run_player("successor", |p| {
        match Counting::create_pool(p.ns(), POOL, LIMIT, Options::new()).map_err(|e| e.code()) {
            Ok(_) => {}
            Err(Code::AlreadyExists) if !done => {}
            Err(other) => p.violation(format_args!("removed: {done}; create gives {other:?}")),
        }
        p.outcome(done);
        p.must_be_whole(&p.pool());
        must_list(p, &[POOL]);
        p.must("remove", p.ns().remove(POOL));
        must_list(p, &[]);
        p.make_pool(LIMIT);
    });
    whole(case);
    room_is_whole(case);
}

/// Takes a pool's name away.
pub(crate) const REMOVE: Play = Play {
    name: "pool-remove",
    about: "remove a pool, while another process removes it, too",
    prepare: make_pool,
    victim: removes,
    killed: removed_or_not,
    paused: |case| {
        case.run_player("peer", |p| {
            let r = p.ns().remove(POOL);
            p.put_code(Value::PeerCode, &r);
            // Its room is used again at once, which a late step of the victim must not touch.
            drop(p.must("create another", Counting::create_pool(p.ns(), "other", LIMIT, Options::new())));
            must_list(p, &["other"]);
        });
    },
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        one_wins(case, Code::SemNotFound);
        case.run_player("successor", |p| {
            must_list(p, &["other"]);
            p.must_be_whole(&p.must("open", Counting::open(p.ns(), "other")));
            p.make_pool(LIMIT);
        });
        whole(case);
        room_is_whole(case);
    },
    ..PLAY
};

/// Somebody acquires permits beside it.
pub(crate) const REMOVE_USED: Play = Play {
    name: "pool-remove-used",
    about: "remove a pool, while another process acquires two permits",
    prepare: |case| {
        make_pool(case);
        case.play("peer", |p| {
            let s = p.pool();
            p.register();
            p.stage.set(Flag::Waiting);
            p.until(Flag::Go);
            match p.holds(s.acquire_many(2)) {
                Ok(held) => {
                    p.stage.set(Flag::Got);
                    p.until(Flag::Give);
                    if !held.permit.is_held() {
                        p.violation("the pool was removed while permits were held");
                    }
                    p.give(held);
                }
                Err(e) => p.stage.put(Value::PeerCode, e.code().number().into()),
            }
            p.stage.set(Flag::Got);
            p.stage.set(Flag::Peer);
        });
        case.until("the peer to be ready", Flag::Waiting);
    },
    victim: removes,
    killed: |case| {
        case.stage.set(Flag::Give);
        case.stage.set(Flag::Go);
        case.until("the peer to acquire or to be refused", Flag::Peer);
        removed_or_not(case);
    },
    paused: |case| {
        case.stage.set(Flag::Go);
        case.until("the peer to acquire or to be refused", Flag::Got);
    },
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        case.stage.set(Flag::Give);
        case.until("the peer to release", Flag::Peer);
        let codes = (case.stage.get(Value::VictimCode), case.stage.get(Value::PeerCode));
        if ![(0, 6), (102, 0)].contains(&codes) {
            case.violation(format_args!("remove gave {}, the acquire beside it {}", codes.0, codes.1));
        }
        case.reached.set(Reached::Point);
        removed_or_not(case);
    },
    ..PLAY
};
