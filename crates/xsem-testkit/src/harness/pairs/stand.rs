//! B stands still in the middle of its operation: where the semaphore's word has changed under it so many times.

use super::log::Step;
use super::ops::Actor;
use crate::harness::case::Case;
use crate::harness::player::SEM;
use crate::harness::stage::Value;
use crate::harness::step::mapped_at;
use crate::protocol::What;
use crate::sys::{self, Pid, Status};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering::SeqCst;

/// The word that an operation on a semaphore of this kind goes by: its place in the file.
fn place_of(case: &Case<'_>, what: What) -> u64 {
    case.run_player("observer", |p| {
        let place = match what {
            What::Exclusive => xsem::shm::testing::place_of_word(p.ns(), SEM),
            _ => xsem::shm::testing::place_of_count(p.ns(), SEM),
        };
        p.stage.put(Value::Answer, p.must("the place of the word", place));
    });
    case.stage.get(Value::Answer)
}

/// Lets B begin, and go on until the word has changed `times` times. It is not left standing where its operation is over
/// before, or where it sleeps: then it waits as any other.
pub(super) fn bring(case: &Case<'_>, what: What, times: u32) {
    let (log, pid) = (&case.stage.log, case.stage.log.b.load(SeqCst));
    let place = place_of(case, what);
    log.reach(Actor::B, Step::Go);
    let Status::Stopped(_) = sys::wait(pid, true) else { case.stuck("B to begin") };
    let file = File::open(case.path()).expect("the namespace is there");
    let word = || {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, place).map_or(0, |()| u64::from_le_bytes(bytes))
    };
    let watches = mapped_at(pid, case.path()).is_some_and(|base| sys::watchpoint(pid, Some(base + place)));
    let (mut last, mut changes) = (word(), 0);
    while watches && changes < times {
        if !goes_on(case, pid) {
            break;
        }
        let now = word();
        changes += u32::from(now != last);
        last = now;
    }
    sys::watchpoint(pid, None);
    match watches && changes == times {
        true => log.b_stands.store(true, SeqCst),
        false => sys::detach(pid),
    }
}

/// Until the next write to the word. False: it is over, or asleep, before that; it is stopped in both cases.
fn goes_on(case: &Case<'_>, pid: Pid) -> bool {
    sys::go_on(pid);
    loop {
        match sys::wait_briefly(pid, 300) {
            Status::Stopped(libc::SIGTRAP) => return true,
            Status::Stopped(_) => {
                sys::go_on(pid);
            }
            Status::Running if case.stage.log.has_reached(Actor::B, Step::Done) || sys::is_asleep(pid, pid) => {
                sys::kill_thread(pid, pid, libc::SIGSTOP);
                return matches!(sys::wait(pid, true), Status::Stopped(libc::SIGTRAP));
            }
            Status::Running => {}
            Status::Exited(_) | Status::Killed(_) => case.stuck("B, which ended by itself"),
        }
    }
}

/// It goes on.
pub(super) fn leave(case: &Case<'_>) {
    if case.stage.log.b_stands.swap(false, SeqCst) {
        sys::detach(case.stage.log.b.load(SeqCst));
    }
}
