//! Registering, nesting, acknowledging.

use super::*;
use crate::harness::player::MEMBERS;

/// So many processes become members at the same time, and all must find a slot.
pub(super) fn members_fit(case: &Case<'_>, n: u32) {
    case.stage.put(Value::Members, 0);
    for _ in 0..n {
        case.play("member", |p| {
            p.register();
            p.stage.count(Value::Members);
            p.until(Flag::Disband);
        });
    }
    let begin = std::time::Instant::now();
    while case.stage.get(Value::Members) < u64::from(n) {
        if begin.elapsed().as_secs() >= 10 {
            case.stuck(format_args!("{n} members; {} registered", case.stage.get(Value::Members)));
        }
        crate::sys::nap(50);
    }
}

/// Becomes a member.
pub(crate) struct Register;

impl Scenario for Register {
    fn name(&self) -> &'static str {
        "register"
    }
    fn about(&self) -> &'static str {
        "become a member of the namespace (slot, identity, robust list), while others do"
    }
    fn victim(&self, p: &Player<'_>) {
        let ns = p.ns();
        p.begin();
        let r = xsem::shm::testing::register_inline(ns);
        p.done();
        p.must("register", r);
        p.stage.set(Flag::Left);
    }
    fn killed(&self, case: &Case<'_>) {
        members_fit(case, MEMBERS - 1);
        succeeds(case, Told::No);
    }
    fn paused(&self, case: &Case<'_>) {
        // The victim may have its slot already; the last one is for the successor.
        members_fit(case, MEMBERS - 2);
    }
    fn resumed(&self, case: &Case<'_>) {
        case.until("the resumed victim to register", Flag::Left);
        succeeds(case, Told::No);
        // With everybody gone, all slots are there again.
        case.kill(case.victim.get());
        case.end_players("member");
        members_fit(case, MEMBERS - 1);
    }
}

/// Acquires what it owns.
pub(crate) struct Nest;

impl Scenario for Nest {
    fn name(&self) -> &'static str {
        "nest"
    }
    fn about(&self) -> &'static str {
        "acquire and release a second level of a claim"
    }
    fn victim(&self, p: &Player<'_>) {
        let s = p.open(SEM);
        let held = p.acquire(&s);
        p.begin();
        let r = s.acquire().map_err(xsem::Error::from).and_then(xsem::Guard::release);
        p.done();
        p.must("nest", r);
        if !held.guard.is_held() {
            p.violation("the outer level is gone");
        }
        enjoy(p, held);
    }
    fn killed(&self, case: &Case<'_>) {
        succeeds(case, Told::Yes);
    }
    fn paused(&self, case: &Case<'_>) {
        peer(case);
        if case.others_reach("a peer to acquire", Flag::Got) {
            case.violation("a peer acquired what the victim owns");
        }
    }
    fn resumed(&self, case: &Case<'_>) {
        all_finish(case);
    }
}

/// Acknowledges a death.
pub(crate) struct MarkConsistent;

impl Scenario for MarkConsistent {
    fn name(&self) -> &'static str {
        "mark-consistent"
    }
    fn about(&self) -> &'static str {
        "acknowledge the death of the previous owner"
    }
    fn prepare(&self, case: &Case<'_>) {
        make(case);
        let dead = owner(case);
        case.kill(dead);
    }
    fn victim(&self, p: &Player<'_>) {
        let s = p.open(SEM);
        let held = p.acquire(&s);
        p.begin();
        let r = held.guard.mark_consistent();
        p.done();
        p.must("mark consistent", r);
        enjoy(p, held);
    }
    fn killed(&self, case: &Case<'_>) {
        let (victim, reached, taken) = (case.victim.get(), case.reached.get(), case.taken.get());
        case.run_player("successor", |p| {
            let dead = p.stage.get(Value::Dead) as Pid;
            let s = p.open(SEM);
            let held = p.succeed(&s);
            match held.deaths() {
                // It was acknowledged.
                Some(d) if d == (victim, victim, 1) && taken > 0 => {}
                // It was not, yet.
                Some(d) if d == (dead, victim, 2) && reached != Reached::Done => {}
                other => p.violation(format_args!("told of {other:?}; {dead} died, then {victim}, {reached:?}")),
            }
            p.must("mark consistent", held.guard.mark_consistent());
            p.release(held);
        });
    }
    fn paused(&self, case: &Case<'_>) {
        peer(case);
        if case.others_reach("a peer to acquire", Flag::Got) {
            case.violation("a peer acquired what the victim owns");
        }
    }
    fn resumed(&self, case: &Case<'_>) {
        all_finish(case);
    }
}
