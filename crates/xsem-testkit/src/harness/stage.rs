//! The page that driver and players share: signals between them, and a witness of who owns.

use super::pairs::log::Log;
use super::permits::{Things, who};
use crate::sys::{self, Pid, Shared};
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering::SeqCst};

/// Points that the players of a case reach, or are told to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    /// The victim's operation returned.
    Done,
    /// The victim may give up what it got, and end.
    Leave,
    /// The victim gave up what it got.
    Left,
    /// The owner owns.
    Owning,
    /// The owner shall release.
    Release,
    /// The waiter is about to wait.
    Waiting,
    /// The waiter got it.
    Got,
    /// The waiter may give it up.
    Give,
    /// A second waiter is about to wait.
    Waiting2,
    /// The second waiter got it.
    Got2,
    /// A peer did what it was to do.
    Peer,
    /// A peer acknowledged the death.
    Acknowledged,
    /// The victim may begin.
    Go,
    /// Members that registered together may end.
    Disband,
    /// The victim is ready for its part, while somebody else is the owner.
    Owning2,
    /// A bystander has what it is to have.
    Beside,
    /// The bystander may give it back.
    Leave2,
    /// The bystander has given it back.
    Left2,
    /// A third waiter is about to wait.
    Waiting3,
    /// The third waiter got it.
    Got3,
    /// Who stood still in an `acquire_all` has all of the list.
    Joined,
    _Count,
}

/// Numbers that players leave for the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// The code of the victim's operation; 0: it worked.
    VictimCode,
    /// The same for what the victim did with the result.
    UseCode,
    /// The code of the peer's operation.
    PeerCode,
    /// The fencing token of the last owner.
    Token,
    /// How many registered.
    Members,
    /// The victim's pid.
    Victim,
    /// The pid of the owner who dies in this case, besides the victim.
    Dead,
    /// Permits of the pool, for the witness.
    Limit,
    /// What an observer found.
    Answer,
    /// Whether the successor was told of an eviction.
    Told,
    /// The pid of the holder that is evicted in this case.
    Evicted,
    /// Whether the event is manual-reset.
    Manual,
    /// By how much the victim has changed the account of the event's signals.
    Mine,
    /// The pid of somebody who stands still in an `acquire_all`.
    Joiner,
    /// What the namespace file was like, as a number.
    Before,
    _Count,
}

/// How long a sleep on a flag takes at most.
const MOMENT_US: i64 = 1000;

/// The stage of one case.
#[derive(Debug)]
pub(crate) struct Stage {
    flags: [AtomicU32; Flag::_Count as usize],
    values: [AtomicU64; Value::_Count as usize],
    owners: [AtomicI32; 2],
    killed: [AtomicI32; 4],
    permits: Things,
    slots: Things,
    /// Signals of the event that changed it, without what has taken them back (`events.rs`).
    pub(super) account: AtomicI64,
    /// What everybody did, in the scenarios about pairs.
    pub(super) log: Log,
}

// SAFETY: it consists of atomic integers only, for which zero is a value.
unsafe impl Shared for Stage {}

impl Stage {
    pub(crate) fn set(&self, f: Flag) {
        self.flags[f as usize].store(1, SeqCst);
        sys::futex_wake(&self.flags[f as usize]);
    }

    /// Sleeps until it is set, for a moment at most: who waits for it watches other things, too.
    pub(crate) fn await_briefly(&self, f: Flag) {
        sys::futex_wait(&self.flags[f as usize], 0, MOMENT_US);
    }

    pub(crate) fn is_set(&self, f: Flag) -> bool {
        self.flags[f as usize].load(SeqCst) != 0
    }

    pub(crate) fn put(&self, v: Value, n: u64) {
        self.values[v as usize].store(n, SeqCst);
    }

    pub(crate) fn get(&self, v: Value) -> u64 {
        self.values[v as usize].load(SeqCst)
    }

    /// Counts one up.
    pub(crate) fn count(&self, v: Value) {
        self.values[v as usize].fetch_add(1, SeqCst);
    }

    /// From now on `pid` is as good as dead: what it owned may be taken over.
    pub(crate) fn will_be_killed(&self, pid: Pid) {
        let free = |k: &&AtomicI32| k.compare_exchange(0, pid, SeqCst, SeqCst).is_ok();
        // Those who did not own need no place; no case kills more than three who may have.
        let _ = self.killed.iter().find(free);
    }

    fn is_killed(&self, pid: Pid) -> bool {
        self.killed.iter().any(|k| k.load(SeqCst) == pid)
    }

    /// `me` believes that it owns the `i`-th exclusive semaphore. The other one who believes so, too, if there is one.
    pub(crate) fn enter(&self, i: usize, me: Pid) -> Result<(), Pid> {
        let mut seen = 0;
        loop {
            match self.owners[i].compare_exchange(seen, me, SeqCst, SeqCst) {
                Ok(_) => return Ok(()),
                Err(other) if other == 0 || self.is_killed(other) => seen = other,
                Err(other) => return Err(other),
            }
        }
    }

    /// `me` is about to give it up.
    pub(crate) fn leave(&self, i: usize, me: Pid) -> Result<(), Pid> {
        self.owners[i].compare_exchange(me, 0, SeqCst, SeqCst).map(drop)
    }

    /// Whether what a process holds does not count any more. The permits of one that is to be killed count until it is
    /// certainly dead; those of one that is to be evicted do not, since it lives on.
    fn is_over(&self, pid: Pid) -> bool {
        sys::is_ending(pid) || self.get(Value::Evicted) == pid as u64
    }

    /// `me` believes to hold `n` more permits of the pool. The holders, if that is more than there are.
    pub(crate) fn enter_permits(&self, n: u32, me: Pid) -> Result<(), Vec<Pid>> {
        self.permits.take(self.get(Value::Limit) as usize, n as usize, who(me, 0), |pid| self.is_over(pid))
    }

    /// `me` is about to give `n` of them back. False: it does not have them.
    pub(crate) fn leave_permits(&self, n: u32, me: Pid) -> bool {
        self.permits.give(n as usize, who(me, 0))
    }

    /// `me` believes to have these slots; those that somebody else believes to have.
    pub(crate) fn enter_slots(&self, slots: &[u32], me: Pid) -> Vec<(u32, Pid)> {
        self.slots.claim(slots, who(me, 0), |pid| self.is_over(pid))
    }

    /// `me` is about to give these slots back.
    pub(crate) fn leave_slots(&self, slots: &[u32], me: Pid) {
        self.slots.disclaim(slots, who(me, 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::SharedBox;

    #[test]
    fn the_witness_sees_two_owners_and_forgives_the_dead() {
        let s = SharedBox::<Stage>::new().unwrap();
        assert_eq!(s.enter(0, 7), Ok(()));
        assert_eq!(s.enter(0, 8), Err(7));
        s.will_be_killed(7);
        assert_eq!(s.enter(0, 8), Ok(()));
        assert_eq!(s.leave(0, 7), Err(8));
        assert_eq!(s.leave(0, 8), Ok(()));
    }
}
