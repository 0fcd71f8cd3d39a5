//! Creating, opening and removing names.

use super::*;
use crate::harness::player::SEMAPHORES;
use xsem::Code;

/// The name that the victim makes.
const NEW: &str = "ci/new";

/// Whether a list has exactly these names.
pub(super) fn must_list(p: &Player<'_>, want: &[&str]) {
    let all = p.must("list", p.ns().list());
    let got: Vec<&str> = all.iter().map(|s| s.name.as_str()).collect();
    if got != want {
        p.violation(format_args!("the names are {got:?}, not {want:?}"));
    }
}

/// The codes that two got, of whom exactly one can have succeeded.
pub(super) fn one_wins(case: &Case<'_>, refusal: Code) {
    let codes = (case.stage.get(Value::VictimCode), case.stage.get(Value::PeerCode));
    let no = u64::from(refusal.number());
    if codes != (0, no) && codes != (no, 0) {
        case.violation(format_args!("the codes of victim and peer are {codes:?}; one must be 0, the other {no}"));
    }
}

/// Nothing of the room for names is lost: it can be filled to the last place.
pub(super) fn room_is_whole(case: &Case<'_>) {
    case.run_player("filler", |p| {
        let had = p.must("list", p.ns().list()).len();
        let mut made = 0;
        let end = loop {
            match Exclusive::create(p.ns(), &format!("fill/{made}")) {
                Ok(_) => made += 1,
                Err(e) => break e,
            }
        };
        if end.code() != Code::TooManySemaphores || had + made != SEMAPHORES as usize {
            p.violation(format_args!("{had} names were there, and after {made} more: {end}"));
        }
    });
}

fn creates(p: &Player<'_>) {
    let ns = p.ns();
    p.register();
    p.begin();
    let r = Exclusive::create(ns, NEW);
    p.done();
    p.put_code(Value::VictimCode, &r);
    p.until(Flag::Leave);
    // A handle works as long as its object is there; it is never of another one.
    if let Ok(s) = &r {
        let used = p.owns(s.try_acquire()).map(|held| p.release(held));
        p.put_code(Value::UseCode, &used);
    }
    p.stage.set(Flag::Left);
}

/// Makes a name.
pub(crate) struct Create;

impl Scenario for Create {
    fn name(&self) -> &'static str {
        "create"
    }
    fn about(&self) -> &'static str {
        "create a name, while another process creates it, too"
    }
    fn victim(&self, p: &Player<'_>) {
        creates(p);
    }
    fn killed(&self, case: &Case<'_>) {
        let done = case.reached.get() == Reached::Done;
        case.run_player("successor", |p| {
            let found = Exclusive::open(p.ns(), NEW).map(drop).map_err(|e| e.code());
            if !(found.is_ok() || found == Err(Code::SemNotFound) && !done) {
                p.violation(format_args!("after the creator's death (done: {done}), open gives {found:?}"));
            }
            let s = p.must("open or create", Exclusive::open_or_create(p.ns(), NEW));
            let held = p.succeed(&s);
            p.must_be_clean(&held);
            p.release(held);
            must_list(p, &[NEW, SEM]);
            p.must("remove", p.ns().remove(NEW));
            drop(p.must("create again", Exclusive::create(p.ns(), NEW)));
            must_list(p, &[NEW, SEM]);
        });
        room_is_whole(case);
    }
    fn paused(&self, case: &Case<'_>) {
        case.run_player("peer", |p| {
            let r = Exclusive::create(p.ns(), NEW);
            p.put_code(Value::PeerCode, &r);
            let s = p.must("open", Exclusive::open(p.ns(), NEW));
            let held = p.succeed(&s);
            p.must_be_clean(&held);
            p.release(held);
            must_list(p, &[NEW, SEM]);
            drop(p.must("create another", Exclusive::create(p.ns(), "other")));
        });
    }
    fn resumed(&self, case: &Case<'_>) {
        case.until("the resumed victim to finish", Flag::Done);
        case.stage.set(Flag::Leave);
        case.until("the victim to use its handle", Flag::Left);
        one_wins(case, Code::AlreadyExists);
        if case.stage.get(Value::UseCode) != 0 {
            case.violation("the victim's new handle does not work");
        }
        case.run_player("successor", |p| {
            must_list(p, &[NEW, "other", SEM]);
            p.must("remove", p.ns().remove(NEW));
            must_list(p, &["other", SEM]);
        });
        room_is_whole(case);
    }
}

/// Makes a name that another process removes at once.
pub(crate) struct CreateRemoved;

impl Scenario for CreateRemoved {
    fn name(&self) -> &'static str {
        "create-removed"
    }
    fn about(&self) -> &'static str {
        "create a name, while another process creates and removes it, and takes its room"
    }
    fn victim(&self, p: &Player<'_>) {
        creates(p);
    }
    fn killed(&self, case: &Case<'_>) {
        case.run_player("successor", |p| {
            drop(p.must("open or create", Exclusive::open_or_create(p.ns(), NEW)));
            p.must("remove", p.ns().remove(NEW));
            drop(p.must("create another", Exclusive::create(p.ns(), "other")));
            must_list(p, &["other", SEM]);
        });
        room_is_whole(case);
    }
    fn paused(&self, case: &Case<'_>) {
        case.run_player("peer", |p| {
            drop(p.must("open or create", Exclusive::open_or_create(p.ns(), NEW)));
            p.must("remove", p.ns().remove(NEW));
            drop(p.must("create another", Exclusive::create(p.ns(), "other")));
            must_list(p, &["other", SEM]);
        });
    }
    fn resumed(&self, case: &Case<'_>) {
        case.until("the resumed victim to finish", Flag::Done);
        case.stage.set(Flag::Leave);
        case.until("the victim to use its handle", Flag::Left);
        let (created, used) = (case.stage.get(Value::VictimCode), case.stage.get(Value::UseCode));
        if created != 0 {
            case.violation(format_args!("nobody else's object of the name was there, and create gave {created}"));
        }
        case.run_player("successor", |p| {
            let there = Exclusive::open(p.ns(), NEW).is_ok();
            if (there, used) != (true, 0) && (there, used) != (false, 6) {
                p.violation(format_args!("the name exists: {there}; its creator's handle gives {used}"));
            }
            must_list(p, if there { &[NEW, "other", SEM] } else { &["other", SEM] });
        });
        room_is_whole(case);
    }
}

/// Opens a name.
pub(crate) struct Open;

impl Scenario for Open {
    fn name(&self) -> &'static str {
        "open"
    }
    fn about(&self) -> &'static str {
        "open a name, while another process removes it and makes and owns a new one"
    }
    fn victim(&self, p: &Player<'_>) {
        let ns = p.ns();
        p.register();
        p.begin();
        let r = Exclusive::open(ns, SEM);
        p.done();
        p.put_code(Value::VictimCode, &r);
        // One that came through before it could be stopped uses its handle when the others are done, too.
        p.until(Flag::Leave);
        if let Ok(s) = &r {
            let used = p.owns(s.try_acquire()).map(|held| p.release(held));
            p.put_code(Value::UseCode, &used);
        }
        p.stage.set(Flag::Left);
    }
    fn killed(&self, case: &Case<'_>) {
        succeeds(case, Told::No);
    }
    fn paused(&self, case: &Case<'_>) {
        case.play("peer", |p| {
            p.must("remove", p.ns().remove(SEM));
            let s = p.must("create", Exclusive::create(p.ns(), SEM));
            let held = p.succeed(&s);
            p.stage.set(Flag::Got);
            p.until(Flag::Give);
            p.release(held);
            p.stage.set(Flag::Peer);
        });
        case.until("the peer to own the new semaphore", Flag::Got);
    }
    fn resumed(&self, case: &Case<'_>) {
        case.until("the resumed victim to finish", Flag::Done);
        case.stage.set(Flag::Leave);
        case.until("the victim to use its handle", Flag::Left);
        case.stage.set(Flag::Give);
        case.until("the peer to release", Flag::Peer);
        let codes = (case.stage.get(Value::VictimCode), case.stage.get(Value::UseCode));
        // The new one, owned by the peer; the old one, stale; or the instant between them.
        if ![(0, 101), (0, 6), (187, 0)].contains(&codes) {
            case.violation(format_args!("open and try_acquire gave {codes:?}"));
        }
        passes(case);
    }
}

fn removes(p: &Player<'_>) {
    let ns = p.ns();
    p.register();
    p.begin();
    let r = ns.remove(SEM);
    p.done();
    p.put_code(Value::VictimCode, &r);
    p.stage.set(Flag::Left);
}

/// The name exists or it does not; either way everything goes on.
fn removed_or_not(case: &Case<'_>) {
    let done = case.reached.get() == Reached::Done;
    case.run_player("successor", |p| {
        match Exclusive::create(p.ns(), SEM).map_err(|e| e.code()) {
            // Tokens grow per object, and this is a new one.
            Ok(_) => p.stage.put(Value::Token, 0),
            Err(Code::AlreadyExists) if !done => {}
            Err(other) => p.violation(format_args!("removed: {done}; create gives {other:?}")),
        }
        let s = p.open(SEM);
        let held = p.succeed(&s);
        p.must_be_clean(&held);
        p.release(held);
        must_list(p, &[SEM]);
        p.must("remove", p.ns().remove(SEM));
        must_list(p, &[]);
        p.stage.put(Value::Token, 0);
        drop(p.must("create", Exclusive::create(p.ns(), SEM)));
    });
    passes(case);
    room_is_whole(case);
}

/// Takes a name away.
pub(crate) struct Remove;

impl Scenario for Remove {
    fn name(&self) -> &'static str {
        "remove"
    }
    fn about(&self) -> &'static str {
        "remove a name, while another process removes it, too"
    }
    fn victim(&self, p: &Player<'_>) {
        removes(p);
    }
    fn killed(&self, case: &Case<'_>) {
        removed_or_not(case);
    }
    fn paused(&self, case: &Case<'_>) {
        case.run_player("peer", |p| {
            let r = p.ns().remove(SEM);
            p.put_code(Value::PeerCode, &r);
            // Its room is used again at once, which a late step of the victim must not touch.
            drop(p.must("create another", Exclusive::create(p.ns(), "other")));
            must_list(p, &["other"]);
        });
    }
    fn resumed(&self, case: &Case<'_>) {
        case.until("the resumed victim to finish", Flag::Left);
        one_wins(case, Code::SemNotFound);
        case.run_player("successor", |p| {
            must_list(p, &["other"]);
            p.pass(&p.open("other"));
            drop(p.must("create", Exclusive::create(p.ns(), SEM)));
        });
        room_is_whole(case);
    }
}

/// Takes a name away that another process uses.
pub(crate) struct RemoveUsed;

impl Scenario for RemoveUsed {
    fn name(&self) -> &'static str {
        "remove-used"
    }
    fn about(&self) -> &'static str {
        "remove a name, while another process acquires it"
    }
    fn prepare(&self, case: &Case<'_>) {
        make(case);
        case.play("peer", |p| {
            let s = p.open(SEM);
            p.register();
            p.stage.set(Flag::Waiting);
            p.until(Flag::Go);
            match p.owns(s.acquire()) {
                Ok(held) => {
                    p.stage.set(Flag::Got);
                    p.until(Flag::Give);
                    if !held.guard.is_held() {
                        p.violation("the semaphore was removed while it was owned");
                    }
                    p.release(held);
                }
                Err(e) => p.stage.put(Value::PeerCode, e.code().number().into()),
            }
            p.stage.set(Flag::Got);
            p.stage.set(Flag::Peer);
        });
        case.until("the peer to be ready", Flag::Waiting);
    }
    fn victim(&self, p: &Player<'_>) {
        removes(p);
    }
    fn killed(&self, case: &Case<'_>) {
        case.stage.set(Flag::Give);
        case.stage.set(Flag::Go);
        case.until("the peer to acquire or to be refused", Flag::Peer);
        removed_or_not(case);
    }
    fn paused(&self, case: &Case<'_>) {
        case.stage.set(Flag::Go);
        case.until("the peer to acquire or to be refused", Flag::Got);
    }
    fn resumed(&self, case: &Case<'_>) {
        case.until("the resumed victim to finish", Flag::Left);
        case.stage.set(Flag::Give);
        case.until("the peer to release", Flag::Peer);
        let codes = (case.stage.get(Value::VictimCode), case.stage.get(Value::PeerCode));
        if ![(0, 6), (102, 0)].contains(&codes) {
            case.violation(format_args!("remove gave {}, the acquire beside it {}", codes.0, codes.1));
        }
        case.reached.set(Reached::Point);
        removed_or_not(case);
    }
}
