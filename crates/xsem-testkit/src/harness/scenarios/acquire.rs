//! Acquiring: free, contended, in a queue, in vain, and from the dead.

use super::play::{PLAY, Play};
use super::*;
use xsem::Wait;

/// The victim acquires, and owns until it may leave.
fn acquires(p: &Player<'_>, check: impl FnOnce(&Held<'_>)) {
    let s = p.open(SEM);
    p.register();
    p.begin();
    let r = s.acquire();
    p.done();
    let held = p.must("acquire", p.owns(r));
    check(&held);
    enjoy(p, held);
}

/// Nobody owns it.
pub(crate) struct Free;

impl Scenario for Free {
    fn name(&self) -> &'static str {
        "acquire-free"
    }
    fn about(&self) -> &'static str {
        "acquire while nobody owns it"
    }
    fn victim(&self, p: &Player<'_>) {
        acquires(p, |held| p.must_be_clean(held));
    }
    fn killed(&self, case: &Case<'_>) {
        succeeds(case, Told::of_acquire(case));
    }
    fn paused(&self, case: &Case<'_>) {
        peer(case);
        case.others_reach("a peer to acquire", Flag::Got);
    }
    fn resumed(&self, case: &Case<'_>) {
        all_finish(case);
    }
}

/// Nobody owns it, and it is tried.
pub(crate) const TRIED: Play = Play {
    name: "try-acquire",
    about: "try to acquire while nobody owns it, and a peer acquires it",
    prepare: make,
    victim: |p| {
        let s = p.open(SEM);
        p.register();
        p.begin();
        let r = s.try_acquire();
        p.done();
        match p.owns(r) {
            Ok(held) => {
                p.must_be_clean(&held);
                enjoy(p, held);
            }
            // The peer was faster.
            Err(e) => {
                if e.code() != xsem::Code::ExclSemAlreadyOwned || !p.stage.is_set(Flag::Got) {
                    p.violation(format_args!("nobody had it, and a try gives {e}"));
                }
                p.stage.set(Flag::Left);
            }
        }
    },
    killed: |case| succeeds(case, Told::of_acquire(case)),
    paused: |case| {
        peer(case);
        case.others_reach("a peer to acquire", Flag::Got);
    },
    resumed: all_finish,
    ..PLAY
};

/// Somebody owns it, and releases when the victim sleeps.
pub(crate) struct Contended;

impl Scenario for Contended {
    fn name(&self) -> &'static str {
        "acquire-contended"
    }
    fn about(&self) -> &'static str {
        "acquire while a living process owns it: go to sleep, be woken by its release"
    }
    fn prepare(&self, case: &Case<'_>) {
        case.line_ends();
        make(case);
        owner(case);
    }
    fn victim(&self, p: &Player<'_>) {
        acquires(p, |held| p.must_be_clean(held));
    }
    fn asleep(&self, case: &Case<'_>) {
        case.stage.set(Flag::Release);
    }
    fn killed(&self, case: &Case<'_>) {
        case.stage.set(Flag::Release);
        succeeds(case, Told::of_acquire(case));
    }
    fn paused(&self, case: &Case<'_>) {
        peer(case);
        case.stage.set(Flag::Release);
        case.others_reach("a peer to acquire", Flag::Got);
    }
    fn resumed(&self, case: &Case<'_>) {
        all_finish(case);
    }
}

/// One waits before the victim, and one after it.
pub(crate) struct Queued;

impl Queued {
    fn all_wait(case: &Case<'_>) {
        if !case.stage.is_set(Flag::Release) {
            second_waiter(case);
            case.stage.set(Flag::Release);
        }
    }
}

impl Scenario for Queued {
    fn name(&self) -> &'static str {
        "acquire-queued"
    }
    fn about(&self) -> &'static str {
        "acquire behind another waiter and before a third"
    }
    fn prepare(&self, case: &Case<'_>) {
        case.line_ends();
        make(case);
        owner(case);
        waiter(case);
        case.stage.set(Flag::Give);
    }
    fn victim(&self, p: &Player<'_>) {
        acquires(p, |held| p.must_be_clean(held));
    }
    fn asleep(&self, case: &Case<'_>) {
        Queued::all_wait(case);
    }
    fn killed(&self, case: &Case<'_>) {
        Queued::all_wait(case);
        case.wake("the first waiter", Flag::Peer);
        case.until("the second waiter", Flag::Got2);
        // One of the waiters may have been told already, and nobody acknowledged it.
        succeeds(case, Told::Perhaps);
    }
    fn paused(&self, case: &Case<'_>) {
        Queued::all_wait(case);
        if case.others_reach("the first waiter to acquire", Flag::Peer) {
            case.others_reach("the second waiter to acquire", Flag::Got2);
        }
    }
    fn resumed(&self, case: &Case<'_>) {
        all_finish(case);
        case.until("the second waiter to acquire", Flag::Got2);
    }
}

/// The victim's time runs out while others wait, too.
pub(crate) struct TimedOut;

impl Scenario for TimedOut {
    fn name(&self) -> &'static str {
        "acquire-timeout"
    }
    fn about(&self) -> &'static str {
        "acquire for 5 ms in vain, behind another waiter"
    }
    fn prepare(&self, case: &Case<'_>) {
        case.line_ends();
        make(case);
        owner(case);
        waiter(case);
        case.stage.set(Flag::Give);
    }
    fn victim(&self, p: &Player<'_>) {
        let s = p.open(SEM);
        p.register();
        p.begin();
        let r = s.acquire_timeout(std::time::Duration::from_millis(5));
        p.done();
        // Where it was paused, the owner may have released in time.
        match p.owns(r) {
            Ok(held) => enjoy(p, held),
            Err(e) => {
                if e.code() != xsem::Code::SemTimeout {
                    p.violation(format_args!("121 was due: {e}"));
                }
                p.stage.set(Flag::Left);
            }
        }
    }
    fn killed(&self, case: &Case<'_>) {
        case.stage.set(Flag::Release);
        case.wake("the waiter", Flag::Peer);
        succeeds(case, Told::No);
    }
    fn paused(&self, case: &Case<'_>) {
        case.stage.set(Flag::Release);
        case.others_reach("the waiter to acquire", Flag::Peer);
    }
    fn resumed(&self, case: &Case<'_>) {
        all_finish(case);
    }
}

/// A dead owner's semaphore: the victim, or who comes before it, is told of that death, once acknowledged never again.
pub(super) fn checks_death(p: &Player<'_>, held: &Held<'_>) {
    let dead = p.stage.get(Value::Dead) as Pid;
    let acknowledged = p.stage.is_set(Flag::Acknowledged);
    match (acknowledged, &held.died, held.deaths()) {
        (true, None, _) => {}
        (false, _, Some(deaths)) if deaths == (dead, dead, 1) => {}
        (_, _, other) => {
            p.violation(format_args!("(first, latest, count) is {other:?}, acknowledged: {acknowledged}, dead: {dead}"));
        }
    }
}

/// A peer who is told of the owner's death and acknowledges it.
pub(super) fn acknowledging_peer(case: &Case<'_>) -> Pid {
    case.play("peer", |p| {
        let s = p.open(SEM);
        let held = p.succeed(&s);
        checks_death(p, &held);
        p.must("mark consistent", held.guard.mark_consistent());
        p.stage.set(Flag::Acknowledged);
        p.stage.set(Flag::Got);
        p.until(Flag::Give);
        p.release(held);
        p.stage.set(Flag::Peer);
    })
}

/// After the victim was killed, too: its successor is told of the owner first, of the victim if that owned, and once.
fn succeeds_twice(case: &Case<'_>) {
    let (victim, told) = (case.victim.get(), Told::of_acquire(case));
    case.run_player("successor", |p| {
        let dead = p.stage.get(Value::Dead) as Pid;
        let s = p.open(SEM);
        let held = p.succeed(&s);
        match held.deaths() {
            Some(d) if d == (dead, dead, 1) => told.check(p, false),
            Some(d) if d == (dead, victim, 2) => told.check(p, true),
            other => p.violation(format_args!("told of {other:?}; {dead} died, then perhaps {victim} ({told:?})")),
        }
        p.must("mark consistent", held.guard.mark_consistent());
        p.release(held);
    });
    case.run_player("second successor", |p| {
        let s = p.open(SEM);
        let held = p.acquire(&s);
        p.must_be_clean(&held);
        p.release(held);
    });
}

/// The owner died before.
pub(crate) struct Takeover;

impl Scenario for Takeover {
    fn name(&self) -> &'static str {
        "takeover"
    }
    fn about(&self) -> &'static str {
        "acquire what a dead process owned"
    }
    fn prepare(&self, case: &Case<'_>) {
        make(case);
        let dead = owner(case);
        case.kill(dead);
    }
    fn victim(&self, p: &Player<'_>) {
        acquires(p, |held| checks_death(p, held));
    }
    fn killed(&self, case: &Case<'_>) {
        succeeds_twice(case);
    }
    fn paused(&self, case: &Case<'_>) {
        acknowledging_peer(case);
        case.others_reach("a peer to take over", Flag::Got);
    }
    fn resumed(&self, case: &Case<'_>) {
        all_finish(case);
    }
}

/// The owner dies while the victim waits, and nobody else comes by whose steps would wake it.
pub(crate) const OWNER_DIES_ALONE: Play = Play {
    name: "acquire-alone-owner-dies",
    about: "acquire while a living process owns it, whose death is all that can wake it",
    prepare: |case| {
        make(case);
        owner(case);
    },
    victim: |p| acquires(p, |held| checks_death(p, held)),
    asleep: OwnerDies::kill_owner,
    killed: |case| {
        OwnerDies::kill_owner(case);
        succeeds_twice(case);
    },
    paused: OwnerDies::kill_owner,
    resumed: |case| {
        case.wake("the victim, resumed after the owner's death", Flag::Done);
        case.stage.set(Flag::Leave);
        case.until("the victim to give it up", Flag::Left);
        passes(case);
    },
    ..PLAY
};

/// The wait is cancelled, by another thread.
pub(crate) const CANCELLED: Play = Play {
    name: "acquire-cancelled",
    about: "acquire until another thread cancels it, before another waiter",
    prepare: |case| {
        case.line_ends();
        make(case);
        owner(case);
    },
    victim: |p| {
        let s = p.open(SEM);
        p.register();
        let (stage, token) = (p.stage, xsem::CancelToken::new());
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !stage.is_set(Flag::Go) {
                    stage.await_briefly(Flag::Go);
                }
                token.cancel();
            });
            p.begin();
            let r = s.acquire_with(Wait::forever().cancel(&token));
            p.done();
            match p.owns(r) {
                // It was stopped for so long that the owner has released.
                Ok(held) => enjoy(p, held),
                Err(e) => {
                    if e.code() != xsem::Code::Interrupt {
                        p.violation(format_args!("95 was due: {e}"));
                    }
                    p.stage.set(Flag::Left);
                }
            }
        });
    },
    asleep: |case| case.stage.set(Flag::Go),
    killed: |case| {
        waiter_is_served(case);
        succeeds(case, Told::No);
    },
    paused: waiter_gets_it,
    resumed: |case| {
        case.stage.set(Flag::Go);
        all_finish(case);
    },
    ..PLAY
};

/// The owner dies while the victim waits.
pub(crate) struct OwnerDies;

impl OwnerDies {
    fn kill_owner(case: &Case<'_>) {
        let owner = case.stage.get(Value::Dead) as Pid;
        if case.lives(owner) {
            case.kill(owner);
        }
    }
}

impl Scenario for OwnerDies {
    fn name(&self) -> &'static str {
        "acquire-owner-dies"
    }
    fn about(&self) -> &'static str {
        "acquire while a living process owns it: go to sleep, be woken by its death"
    }
    fn prepare(&self, case: &Case<'_>) {
        case.line_ends();
        make(case);
        owner(case);
    }
    fn victim(&self, p: &Player<'_>) {
        acquires(p, |held| checks_death(p, held));
    }
    fn asleep(&self, case: &Case<'_>) {
        OwnerDies::kill_owner(case);
    }
    fn killed(&self, case: &Case<'_>) {
        OwnerDies::kill_owner(case);
        succeeds_twice(case);
    }
    fn paused(&self, case: &Case<'_>) {
        acknowledging_peer(case);
        OwnerDies::kill_owner(case);
        case.others_reach("a peer to take over", Flag::Got);
    }
    fn resumed(&self, case: &Case<'_>) {
        all_finish(case);
    }
}
