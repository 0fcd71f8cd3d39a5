//! Sharing a claim, as nested `xsem run`s do: joining it, leaving it, passing it on.

use super::play::{PLAY, Play};
use super::*;

/// The owner has given up its part.
pub(super) fn owner_ends(case: &Case<'_>) {
    case.stage.set(Flag::Release);
    case.until("the owner to give up its part", Flag::Left2);
}

/// An owner that others may share with, until `Release` is set.
pub(super) fn sharing_owner(case: &Case<'_>) {
    let pid = case.play("owner", |p| {
        let s = p.open(SEM);
        let held = p.acquire(&s);
        p.must_be_clean(&held);
        p.stage.set(Flag::Owning);
        p.until(Flag::Release);
        if !held.guard.is_held() {
            p.violation("the owner's claim is gone while it shares it");
        }
        p.release(held);
        p.stage.set(Flag::Left2);
    });
    case.until("the owner to own", Flag::Owning);
    case.stage.put(Value::Dead, pid as u64);
}

/// The victim died as a sharer, or not; the owner ends after that, and the next one is told.
pub(super) fn told_of_sharer(case: &Case<'_>, told: Told) {
    let owner = case.stage.get(Value::Dead) as u32;
    let owns = case.ask(|p| {
        let report = p.must("inspect", p.ns().inspect(SEM));
        u64::from(report.holders.iter().any(|h| h.process.pid == owner))
    });
    if owns == 0 {
        case.violation("the owner lost its claim by the death of one who shared it");
    }
    owner_ends(case);
    succeeds(case, told);
}

/// The victim shares somebody's claim.
pub(crate) const JOIN: Play = Play {
    name: "share-join",
    about: "share another process's claim, while its owner gives up its part",
    prepare: |case| {
        make(case);
        sharing_owner(case);
    },
    victim: |p| {
        let s = p.open(SEM);
        let token = p.stage.get(Value::Token);
        p.register();
        p.begin();
        let r = s.join(token);
        p.done();
        if let Some(guard) = p.must("join", r) {
            // Where the owner has gone, it is the victim's alone. (One that was not stopped in time has joined before.)
            let alone = p.stage.is_set(Flag::Left2);
            if alone {
                p.enters(0);
            }
            if !guard.is_held() {
                p.violation("it shares a claim that is over");
            }
            p.until(Flag::Leave);
            if alone {
                p.leaves(0);
            }
            p.must("leave", guard.release());
        }
        p.stage.set(Flag::Left);
    },
    killed: |case| told_of_sharer(case, Told::of_acquire(case)),
    paused: |case| {
        owner_ends(case);
        peer(case);
        case.others_reach("a peer to acquire", Flag::Got);
    },
    resumed: all_finish,
    ..PLAY
};

/// The victim stops sharing it.
pub(crate) const LEAVE: Play = Play {
    name: "share-leave",
    about: "stop sharing another process's claim, while its owner gives up its part",
    prepare: |case| {
        make(case);
        sharing_owner(case);
    },
    victim: |p| {
        let s = p.open(SEM);
        let Some(guard) = p.must("join", s.join(p.stage.get(Value::Token))) else {
            return p.violation("there is nothing to share");
        };
        p.begin();
        let r = guard.release();
        p.done();
        p.must("leave", r);
        p.stage.set(Flag::Left);
    },
    killed: |case| told_of_sharer(case, Told::of_release(case)),
    paused: |case| {
        owner_ends(case);
        peer(case);
        case.others_reach("a peer to acquire", Flag::Got);
    },
    resumed: all_finish,
    ..PLAY
};

/// The victim is the owner, and another process goes on with its claim.
pub(crate) const PASS: Play = Play {
    name: "share-pass",
    about: "release a claim that another process shares: it goes on as that one's",
    prepare: make,
    victim: |p| {
        let s = p.open(SEM);
        let held = p.acquire(&s);
        p.must_be_clean(&held);
        p.leaves(0);
        p.stage.set(Flag::Owning);
        p.until(Flag::Go);
        p.begin();
        let r = held.guard.release();
        p.done();
        p.must("release", r);
        p.stage.set(Flag::Left);
    },
    ready: |case| {
        case.until("the victim to own", Flag::Owning);
        case.play("sharer", |p| {
            let s = p.open(SEM);
            let Some(guard) = p.must("join", s.join(p.stage.get(Value::Token))) else {
                return p.violation("there is nothing to share");
            };
            p.enters(0);
            p.stage.set(Flag::Beside);
            p.until(Flag::Release);
            if !guard.is_held() {
                p.violation("the shared claim has ended before its last part");
            }
            p.leaves(0);
            p.must("leave", guard.release());
            p.stage.set(Flag::Left2);
        });
        case.until("the sharer to share", Flag::Beside);
        case.stage.set(Flag::Go);
    },
    killed: |case| {
        nobody_gets_it(case);
        owner_ends(case);
        succeeds(case, Told::of_release(case));
    },
    paused: |case| {
        nobody_gets_it(case);
        owner_ends(case);
        peer(case);
        case.others_reach("a peer to acquire", Flag::Got);
    },
    resumed: all_finish,
    ..PLAY
};

/// As long as somebody shares the claim, it is no one else's.
pub(super) fn nobody_gets_it(case: &Case<'_>) {
    case.run_player("stranger", |p| match p.open(SEM).try_acquire() {
        Err(xsem::AcquireError::Failed(e)) if e.code() == xsem::Code::ExclSemAlreadyOwned => {}
        Err(xsem::AcquireError::Failed(e)) => p.violation(format_args!("101 was due: {e}")),
        _ => p.violation("granted while another process shares the claim"),
    });
}
