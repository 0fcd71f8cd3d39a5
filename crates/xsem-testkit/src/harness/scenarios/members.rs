//! What a member says of itself, and what happens to names under those who use them.

use super::names::{must_list, room_is_whole};
use super::play::{PLAY, Play};
use super::*;
use crate::sys;
use std::time::Duration;
use xsem::Code;

/// Removes the semaphore and makes it anew, in the same room, unless somebody owns it. Told: it did.
fn remakes(p: &Player<'_>) {
    match p.ns().remove(SEM).map_err(|e| e.code()) {
        Ok(()) => {
            drop(p.must("create", Exclusive::create(p.ns(), SEM)));
            // Tokens grow per object, and this is a new one.
            p.stage.put(Value::Token, 0);
            p.stage.put(Value::Told, 1);
        }
        Err(Code::SemIsSet) => {}
        Err(other) => p.violation(format_args!("remove gives {other:?}")),
    }
}

/// The handle is stale when the victim comes to its step.
pub(crate) const ACQUIRE_REMOVED: Play = Play {
    name: "acquire-removed",
    about: "acquire while another process removes the name and makes it anew in the same room",
    prepare: make,
    victim: |p| {
        let s = p.open(SEM);
        p.register();
        p.begin();
        let r = s.acquire();
        p.done();
        match p.owns(r) {
            Ok(held) => enjoy(p, held),
            Err(e) => {
                p.put_code::<()>(Value::VictimCode, &Err(e));
                p.stage.set(Flag::Left);
            }
        }
    },
    killed: |case| {
        case.run_player("remover", remakes);
        passes(case);
    },
    paused: |case| case.run_player("remover", remakes),
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Done);
        case.stage.set(Flag::Leave);
        case.until("the victim to give it up", Flag::Left);
        let (remade, code) = (case.stage.get(Value::Told) == 1, case.stage.get(Value::VictimCode));
        if code != if remade { 6 } else { 0 } {
            case.violation(format_args!("made anew while it was acquired: {remade}, and the acquire gave {code}"));
        }
        passes(case);
    },
    ..PLAY
};

/// While the victim, which owns it, stands still, nobody gets it.
fn nobody_gets_it(case: &Case<'_>) {
    peer(case);
    if case.others_reach("a peer to acquire", Flag::Got) {
        case.violation("a peer acquired what the victim owns");
    }
}

/// The claims of the victim cover another process from here on.
pub(crate) const COVER: Play = Play {
    name: "cover",
    about: "say that one's claims cover another process, which lives on when the victim is killed",
    prepare: |case| {
        make(case);
        let command = case.play("command", |p| {
            p.until(Flag::Disband);
            // SAFETY: `_exit` never returns; it ends as a command does.
            unsafe { libc::_exit(0) }
        });
        case.stage.put(Value::Joiner, command as u64);
    },
    victim: |p| {
        let s = p.open(SEM);
        let held = p.acquire(&s);
        p.must_be_clean(&held);
        let ns = p.ns();
        p.begin();
        let r = ns.cover(Some(p.stage.get(Value::Joiner) as u32));
        p.done();
        p.must("cover", r);
        enjoy(p, held);
    },
    killed: |case| {
        let pid = case.play("peer", |p| {
            let s = p.open(SEM);
            p.register();
            let held = p.succeed(&s);
            Told::Yes.check(p, held.died.is_some());
            p.must("mark consistent", held.guard.mark_consistent());
            p.stage.set(Flag::Got);
            p.until(Flag::Give);
            p.release(held);
            p.stage.set(Flag::Peer);
        });
        // It gets it at once, or waits for the end of the command.
        let got = case.others_reach_unless("a peer to take over or to wait", Flag::Got, || sys::is_asleep(pid, pid));
        if got && case.reached.get() == Reached::Done {
            case.violation("the claim was taken over while the command still ran that it covers");
        }
        case.stage.set(Flag::Disband);
        case.wake("a peer, when the command has ended", Flag::Got);
        case.stage.set(Flag::Give);
        case.until("the peer to give it up", Flag::Peer);
        passes(case);
    },
    paused: nobody_gets_it,
    resumed: all_finish,
    ..PLAY
};

/// What others see as its command.
pub(crate) const DESCRIBE: Play = Play {
    name: "describe",
    about: "say what one's command is, as the owner of a semaphore that another process wants",
    prepare: make,
    victim: |p| {
        let s = p.open(SEM);
        let held = p.acquire(&s);
        let ns = p.ns();
        p.begin();
        let r = ns.describe("what it is doing now");
        p.done();
        p.must("describe", r);
        enjoy(p, held);
    },
    killed: |case| succeeds(case, Told::Yes),
    paused: nobody_gets_it,
    resumed: all_finish,
    ..PLAY
};

/// The name is there or it is not; either way everything goes on.
fn there_or_not(case: &Case<'_>, gone: bool) {
    case.run_player("successor", move |p| {
        match Exclusive::create(p.ns(), SEM).map_err(|e| e.code()) {
            Ok(_) => p.stage.put(Value::Token, 0),
            Err(Code::AlreadyExists) if !gone => {}
            Err(other) => p.violation(format_args!("collected: {gone}; create gives {other:?}")),
        }
        p.outcome(false);
        must_list(p, &[SEM]);
    });
    passes(case);
    room_is_whole(case);
}

/// Takes away what nobody uses.
pub(crate) const GC: Play = Play {
    name: "gc",
    about: "remove what nobody uses, while another process begins to use it",
    prepare: make,
    victim: |p| {
        let ns = p.ns();
        p.register();
        p.begin();
        let r = ns.gc(Duration::ZERO, |_| false);
        p.done();
        p.put_code(Value::VictimCode, &r);
        p.stage.set(Flag::Left);
    },
    killed: |case| there_or_not(case, case.reached.get() == Reached::Done),
    paused: |case| {
        case.play("peer", |p| {
            let got = match Exclusive::open(p.ns(), SEM) {
                Err(e) => Err(e.code()),
                Ok(s) => p.owns(s.acquire()).map_err(|e| e.code()).map(|held| {
                    p.stage.set(Flag::Got);
                    p.until(Flag::Give);
                    if !held.guard.is_held() {
                        p.violation("it was taken away while it was owned");
                    }
                    p.release(held);
                }),
            };
            match got {
                Ok(()) | Err(Code::SemNotFound | Code::InvalidHandle) => {}
                Err(other) => p.violation(format_args!("what may be taken away gives {other:?}")),
            }
            p.stage.set(Flag::Got);
            p.stage.set(Flag::Peer);
        });
        case.until("a peer to acquire or to be refused", Flag::Got);
    },
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        case.stage.set(Flag::Give);
        case.until("the peer to release", Flag::Peer);
        if case.stage.get(Value::VictimCode) != 0 {
            case.violation(format_args!("gc gave {}", case.stage.get(Value::VictimCode)));
        }
        there_or_not(case, false);
    },
    ..PLAY
};
