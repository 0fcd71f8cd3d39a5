//! Ending somebody else's claim. The victim is the one who does it.
//!
//! Between the compare-and-swap that ends an owner's claim and the wake, sleepers depend on the one who evicts: if it is
//! stopped or killed there, they find out at their second look, once a second. So theirs is on here.

use super::play::{PLAY, Play};
use super::pool::{make_pool, whole};
use super::*;
use crate::harness::counting::{LIMIT, POOL};
use crate::sys;
use xsem::{Cause, Code};

fn evicts(p: &Player<'_>, name: &str) {
    let (ns, token) = (p.ns(), p.stage.get(Value::Token));
    p.register();
    p.begin();
    let r = ns.evict(name, token);
    p.done();
    p.put_code(Value::VictimCode, &r);
    p.stage.set(Flag::Left);
}

/// What the end of the claim says to who had it: 0, or 288 and then it was known before.
fn ends(p: &Player<'_>, held: bool, released: xsem::Result<()>) {
    p.put_code(Value::PeerCode, &released);
    match (held, released.map_err(|e| e.code())) {
        (true, Ok(())) | (false, Err(Code::NotOwner)) => {}
        (held, other) => p.violation(format_args!("held: {held}, and the release gives {other:?}")),
    }
    p.stage.set(Flag::Left2);
}

/// It lives and owns, until `Release` is set; and may be evicted before.
fn hanging_owner(case: &Case<'_>) {
    let pid = case.play("hanging owner", |p| {
        let s = p.open(SEM);
        let held = p.acquire(&s);
        p.stage.set(Flag::Owning);
        p.until(Flag::Release);
        let is_held = held.guard.is_held();
        // Somebody else is in the books, if it was evicted.
        let left = p.stage.leave(0, sys::own_pid());
        if is_held && left.is_err() {
            p.violation(format_args!("{left:?} owned, too"));
        }
        ends(p, is_held, held.guard.release());
    });
    case.until("the owner to own", Flag::Owning);
    case.stage.put(Value::Dead, pid as u64);
    case.stage.will_be_killed(pid);
}

/// Sleeps behind that owner.
fn successor(case: &Case<'_>) {
    let pid = case.play("successor", |p| {
        p.looks_again();
        let s = p.open(SEM);
        p.register();
        p.stage.set(Flag::Waiting);
        let held = p.succeed(&s);
        match &held.died {
            None => {}
            Some(Some(d)) if d.latest.cause == Cause::Evicted && d.count == 1 => p.stage.put(Value::Told, 1),
            Some(other) => p.violation(format_args!("told of {other:?}; one was evicted")),
        }
        p.must("mark consistent", held.guard.mark_consistent());
        p.stage.set(Flag::Got);
        p.until(Flag::Give);
        p.release(held);
        p.stage.set(Flag::Peer);
    });
    case.until("the successor to begin", Flag::Waiting);
    case.until_asleep(pid);
}

/// Whether the one that hangs holds nothing any more.
fn is_evicted(case: &Case<'_>, name: &str) -> bool {
    let owner = case.stage.get(Value::Dead) as u32;
    case.ask(|p| {
        let report = p.must("inspect", p.ns().inspect(name));
        u64::from(report.holders.iter().all(|h| h.process.pid != owner))
    }) == 1
}

/// The claim ended once, and everybody knows how.
fn must_agree(case: &Case<'_>, evicted: bool) {
    let code = case.stage.get(Value::PeerCode);
    if (code == u64::from(Code::NotOwner.number())) != evicted {
        case.violation(format_args!("evicted: {evicted}, and the owner's release gave {code}"));
    }
}

fn killed(case: &Case<'_>, name: &'static str) {
    let evicted = is_evicted(case, name);
    if evicted != (case.reached.get() == Reached::Done)
        && matches!((case.reached.get(), case.taken.get()), (Reached::Done, _) | (_, 0))
    {
        case.violation(format_args!("evicted: {evicted} ({:?})", case.reached.get()));
    }
    if !evicted {
        case.stage.set(Flag::Release);
    }
    case.until("the sleeping successor", Flag::Got);
    case.stage.set(Flag::Release);
    case.until("the owner to find out", Flag::Left2);
    must_agree(case, evicted);
    goes_on(case, name, evicted);
}

fn paused(case: &Case<'_>) {
    case.stage.set(Flag::Release);
    case.until("the owner to release or to find out", Flag::Left2);
    case.until("the sleeping successor", Flag::Got);
}

fn resumed(case: &Case<'_>, name: &'static str) {
    case.until("the resumed victim to finish", Flag::Left);
    let not_owner = u64::from(Code::NotOwner.number());
    let codes = (case.stage.get(Value::VictimCode), case.stage.get(Value::PeerCode));
    if codes != (0, not_owner) && codes != (not_owner, 0) {
        case.violation(format_args!("evict gave {}, the owner's release {}; one must be 0, the other 288", codes.0, codes.1));
    }
    goes_on(case, name, codes.0 == 0);
}

fn goes_on(case: &Case<'_>, name: &'static str, evicted: bool) {
    case.stage.set(Flag::Give);
    case.until("the successor to give back", Flag::Peer);
    if name == POOL {
        return whole(case);
    }
    if (case.stage.get(Value::Told) == 1) != evicted {
        case.violation(format_args!("evicted: {evicted}, and its successor was told: {}", case.stage.get(Value::Told)));
    }
    case.run_player("second successor", |p| {
        let s = p.open(SEM);
        let held = p.acquire(&s);
        p.must_be_clean(&held);
        p.release(held);
    });
}

/// An owner that hangs.
pub(crate) const EVICT: Play = Play {
    name: "evict",
    about: "evict the owner of an exclusive semaphore, who lives, while another process sleeps on it",
    prepare: |case| {
        make(case);
        hanging_owner(case);
        successor(case);
    },
    victim: |p| evicts(p, SEM),
    killed: |case| killed(case, SEM),
    paused,
    resumed: |case| resumed(case, SEM),
    ..PLAY
};

/// A holder that hangs.
pub(crate) const EVICT_PERMITS: Play = Play {
    name: "evict-permits",
    about: "evict the holder of all permits, who lives, while another process sleeps for two",
    prepare: |case| {
        make_pool(case);
        let pid = case.play("hanging holder", |p| {
            let s = p.pool();
            let held = p.take(&s, LIMIT);
            p.stage.put(Value::Token, held.permit.token());
            p.stage.set(Flag::Owning);
            p.until(Flag::Release);
            let is_held = held.permit.is_held();
            let left = p.stage.leave_permits(LIMIT, sys::own_pid());
            if is_held && !left {
                p.violation("others were granted what is held, and was not evicted");
            }
            ends(p, is_held, held.permit.release());
        });
        case.until("the holder to hold", Flag::Owning);
        case.stage.put(Value::Dead, pid as u64);
        case.stage.put(Value::Evicted, pid as u64);
        let pid = case.play("successor", |p| {
            p.looks_again();
            let s = p.pool();
            p.register();
            p.stage.set(Flag::Waiting);
            let held = p.take(&s, 2);
            p.outcome(false);
            p.stage.set(Flag::Got);
            p.until(Flag::Give);
            p.give(held);
            p.stage.set(Flag::Peer);
        });
        case.until("the successor to begin", Flag::Waiting);
        case.until_asleep(pid);
    },
    victim: |p| evicts(p, POOL),
    killed: |case| killed(case, POOL),
    paused,
    resumed: |case| resumed(case, POOL),
    ..PLAY
};
