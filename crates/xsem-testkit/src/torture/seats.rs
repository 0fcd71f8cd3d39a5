//! Who believes to share the one claim on the semaphore that several processes may hold together, and which command that covers:
//! a seat for each process, since a process shares one claim at a time.

use super::image;
use crate::sys::{self, Pid};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

/// The name of that semaphore.
pub(super) const SHARED: &str = "torture/shared";

/// One process.
#[derive(Debug)]
pub(super) struct Seat {
    /// The token of the claim that it has a part in; 0: none. Written last, and cleared first.
    token: AtomicU64,
    image: AtomicU32,
    /// A command that it has started.
    started: AtomicU32,
    /// The same, once its claims cover that.
    covers: AtomicU32,
}

/// Whether a process with this number runs; 0 is none.
fn runs(pid: u32) -> bool {
    pid != 0 && !matches!(sys::state(pid as Pid, pid as Pid), None | Some('Z' | 'X'))
}

impl Seat {
    /// The calling process has a part in the claim with this token. Those that live, or whose command does, and have a part in
    /// another one, by their tokens.
    pub(super) fn take(&self, all: &[Seat], token: u64) -> Vec<(Pid, u64)> {
        self.image.store(image::own() as u32, SeqCst);
        self.token.store(token, SeqCst);
        let other = |s: &Seat| {
            let (t, image, covers) = (s.token.load(SeqCst), s.image.load(SeqCst) as Pid, s.covers.load(SeqCst));
            let differs = !std::ptr::eq(s, self) && t != 0 && t != token && (!image::is_over(image) || runs(covers));
            // It may have given it up, and another one may sit here, since it was looked at.
            (differs && s.token.load(SeqCst) == t && s.image.load(SeqCst) as Pid == image).then(|| (image::pid_of(image), t))
        };
        all.iter().filter_map(other).collect()
    }

    /// It is about to give up its part.
    pub(super) fn leave(&self) {
        self.token.store(0, SeqCst);
    }

    /// It has started a command, which is not covered yet; 0: that has ended.
    pub(super) fn starts(&self, pid: u32) {
        self.covers.store(0, SeqCst);
        self.started.store(pid, SeqCst);
    }

    /// From now on its claims end no sooner than the command.
    pub(super) fn covers(&self) {
        self.covers.store(self.started.load(SeqCst), SeqCst);
    }

    /// At rest: nobody lives whose part this was. False: the command of a dead one still runs.
    fn settle(&self) -> bool {
        let over = image::is_over(self.image.load(SeqCst) as Pid);
        if over && runs(self.started.load(SeqCst)) {
            return false;
        }
        if over {
            self.leave();
            self.starts(0);
        }
        true
    }
}

/// At rest: waits until the commands of the dead have ended, and forgets the dead. False: they do not end.
pub(super) fn settle(all: &[Seat]) -> bool {
    for _ in 0..5000 {
        if all.iter().all(Seat::settle) {
            return true;
        }
        sys::nap(1000);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat() -> Seat {
        Seat { token: AtomicU64::new(0), image: AtomicU32::new(0), started: AtomicU32::new(0), covers: AtomicU32::new(0) }
    }

    #[test]
    fn two_claims_at_one_time_are_seen_and_one_that_is_shared_is_not() {
        let all = [seat(), seat(), seat()];
        assert!(all[0].take(&all, 7).is_empty() && all[1].take(&all, 7).is_empty());
        let me = sys::own_pid();
        assert_eq!(all[2].take(&all, 8), [(me, 7), (me, 7)]);
        all[0].leave();
        all[1].leave();
        assert!(all[2].take(&all, 9).is_empty());
    }

    #[test]
    fn the_claim_of_a_dead_one_goes_on_as_long_as_its_command() {
        let all = [seat(), seat()];
        all[0].take(&all, 7);
        // Nobody has this number: it is dead.
        all[0].image.store((1 << 22) - 1, SeqCst);
        assert!(all[1].take(&all, 8).is_empty());
        all[0].starts(sys::own_pid() as u32);
        all[0].covers();
        assert_eq!(all[1].take(&all, 8).len(), 1);
        all[0].starts(0);
        assert!(settle(&all) && all[1].take(&all, 8).is_empty());
    }
}
