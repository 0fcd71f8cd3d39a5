//! Giving back: alone, with a sleeper, with a sleeper that cannot wake, and with the mark.

use super::play::{PLAY, Play};
use super::*;
use crate::sys;

/// The victim owns, and gives it back as `give` does when it may.
fn gives_back(p: &Player<'_>, give: impl FnOnce(xsem::Guard<'_>) -> xsem::Result<()>) {
    let s = p.open(SEM);
    let held = p.acquire(&s);
    p.must_be_clean(&held);
    // It gives up its place in the books before the operation: at which instruction it ends is what is tested.
    p.leaves(0);
    p.stage.set(Flag::Owning);
    p.until(Flag::Go);
    p.begin();
    let r = give(held.guard);
    p.done();
    p.must("give back", r);
    p.stage.set(Flag::Left);
}

/// The victim owns; then a waiter goes to sleep; then the victim may begin.
fn with_waiter(case: &Case<'_>) {
    case.until("the victim to own", Flag::Owning);
    waiter(case);
    case.stage.set(Flag::Go);
}

/// Nobody waits.
pub(crate) struct Free;

impl Scenario for Free {
    fn name(&self) -> &'static str {
        "release"
    }
    fn about(&self) -> &'static str {
        "release while nobody waits"
    }
    fn victim(&self, p: &Player<'_>) {
        gives_back(p, |g| g.release());
    }
    fn ready(&self, case: &Case<'_>) {
        case.until("the victim to own", Flag::Owning);
        case.stage.set(Flag::Go);
    }
    fn killed(&self, case: &Case<'_>) {
        succeeds(case, Told::of_release(case));
    }
    fn paused(&self, case: &Case<'_>) {
        // It may come while the victim owns, and go to sleep on a release that is half done.
        peer(case);
        case.others_reach("a peer to acquire", Flag::Got);
    }
    fn resumed(&self, case: &Case<'_>) {
        all_finish(case);
    }
}

/// Nobody waits any more, but somebody did.
pub(crate) struct Careful;

impl Scenario for Careful {
    fn name(&self) -> &'static str {
        "release-careful"
    }
    fn about(&self) -> &'static str {
        "release while nobody waits, when somebody has just waited in vain: not by a plain store"
    }
    fn victim(&self, p: &Player<'_>) {
        gives_back(p, |g| g.release());
    }
    fn ready(&self, case: &Case<'_>) {
        case.until("the victim to own", Flag::Owning);
        case.run_player("one who waits in vain", |p| {
            let s = p.open(SEM);
            if p.owns(s.acquire_timeout(std::time::Duration::from_millis(2))).is_ok() {
                p.violation("the victim owns it, and it was acquired");
            }
        });
        case.stage.set(Flag::Go);
    }
    fn killed(&self, case: &Case<'_>) {
        succeeds(case, Told::of_release(case));
    }
    fn paused(&self, case: &Case<'_>) {
        peer(case);
        case.others_reach("a peer to acquire", Flag::Got);
    }
    fn resumed(&self, case: &Case<'_>) {
        all_finish(case);
    }
}

/// One sleeps.
pub(crate) struct Waiter;

impl Scenario for Waiter {
    fn name(&self) -> &'static str {
        "release-waiter"
    }
    fn about(&self) -> &'static str {
        "release while another process sleeps on it"
    }
    fn victim(&self, p: &Player<'_>) {
        gives_back(p, |g| g.release());
    }
    fn ready(&self, case: &Case<'_>) {
        with_waiter(case);
    }
    fn killed(&self, case: &Case<'_>) {
        case.wake("the sleeping waiter", Flag::Got);
        case.stage.set(Flag::Give);
        case.until("the waiter to give it up", Flag::Peer);
        // The waiter was told, and did not acknowledge.
        succeeds(case, Told::of_release(case));
    }
    fn paused(&self, case: &Case<'_>) {
        case.others_reach("the sleeping waiter", Flag::Got);
    }
    fn resumed(&self, case: &Case<'_>) {
        all_finish(case);
    }
}

/// The victim owns, and three wait.
fn with_three(case: &Case<'_>) {
    case.until("the victim to own", Flag::Owning);
    waiter(case);
    second_waiter(case);
    third_waiter(case);
}

/// All three get it, one after the other.
fn all_get_it(case: &Case<'_>) {
    case.wake("the sleeping waiter", Flag::Got);
    case.stage.set(Flag::Give);
    case.until("the waiter to give it up", Flag::Peer);
    case.until("the second waiter", Flag::Got2);
    case.until("the third waiter", Flag::Got3);
}

/// Three wait, two of them in line, which nothing ends but a call or a death.
pub(crate) const LINE: Play = Play {
    name: "release-line",
    about: "release while another process sleeps on it, and two sleep in line behind that one, until they are called",
    prepare: make,
    victim: |p| gives_back(p, |g| g.release()),
    ready: |case| {
        with_three(case);
        case.stage.set(Flag::Go);
    },
    killed: |case| {
        all_get_it(case);
        succeeds(case, Told::Perhaps);
    },
    paused: |case| {
        if case.others_reach("the sleeping waiter", Flag::Got) {
            all_get_it(case);
        }
    },
    resumed: |case| {
        all_get_it(case);
        case.until("the resumed victim to finish", Flag::Done);
        passes(case);
    },
    ..PLAY
};

/// Three have waited for so long that none of them is in line any more.
pub(crate) const LATE: Play = Play {
    name: "release-late",
    about: "release while three others sleep on it, none of them in line any more",
    ready: |case| {
        // The mechanism by which they come out of the line, and not what wakes them from then on.
        xsem::shm::testing::set_line_ends(true);
        with_three(case);
        xsem::shm::testing::set_line_ends(false);
        sys::nap(15_000);
        case.stage.set(Flag::Go);
    },
    ..LINE
};

/// The oldest sleeper is stopped, another one sleeps behind it.
pub(crate) struct StoppedWaiter;

impl Scenario for StoppedWaiter {
    fn name(&self) -> &'static str {
        "release-stopped-waiter"
    }
    fn about(&self) -> &'static str {
        "release while the oldest waiter is stopped, and another one sleeps"
    }
    fn victim(&self, p: &Player<'_>) {
        gives_back(p, |g| g.release());
    }
    fn ready(&self, case: &Case<'_>) {
        case.until("the victim to own", Flag::Owning);
        case.line_ends();
        let oldest = waiter(case);
        second_waiter(case);
        case.freeze(oldest);
        case.stage.put(Value::Dead, oldest as u64);
        case.stage.set(Flag::Go);
    }
    fn killed(&self, case: &Case<'_>) {
        case.wake("the waiter behind the stopped one", Flag::Got2);
        sys::kill(case.stage.get(Value::Dead) as Pid, libc::SIGCONT);
        case.stage.set(Flag::Give);
        case.until("the waiter that was stopped", Flag::Peer);
        succeeds(case, Told::of_release(case));
    }
    fn paused(&self, case: &Case<'_>) {
        case.others_reach("the waiter behind the stopped one", Flag::Got2);
    }
    fn resumed(&self, case: &Case<'_>) {
        case.until("the waiter behind the stopped one", Flag::Got2);
        sys::kill(case.stage.get(Value::Dead) as Pid, libc::SIGCONT);
        all_finish(case);
    }
}

/// With the mark, one sleeps.
pub(crate) struct Abandon;

impl Scenario for Abandon {
    fn name(&self) -> &'static str {
        "abandon-waiter"
    }
    fn about(&self) -> &'static str {
        "abandon while another process sleeps on it: it is told in every case"
    }
    fn victim(&self, p: &Player<'_>) {
        gives_back(p, |g| g.abandon());
    }
    fn ready(&self, case: &Case<'_>) {
        with_waiter(case);
    }
    fn killed(&self, case: &Case<'_>) {
        case.wake("the sleeping waiter", Flag::Got);
        case.stage.set(Flag::Give);
        case.until("the waiter to give it up", Flag::Peer);
        succeeds(case, Told::Yes);
    }
    fn paused(&self, case: &Case<'_>) {
        case.others_reach("the sleeping waiter", Flag::Got);
    }
    fn resumed(&self, case: &Case<'_>) {
        crate::sys::nap(200);
        case.stage.set(Flag::Give);
        case.until("the resumed victim to finish", Flag::Done);
        case.until("the waiter to get it and to give it up", Flag::Peer);
        succeeds(case, Told::Yes);
    }
}
