//! The page that driver and players share: signals between them, and a witness of who owns.

use crate::sys::{Pid, Shared};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};

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
    /// The pid of the owner as the namespace shows it.
    Holder,
    /// The fencing token of the last owner.
    Token,
    /// How many registered.
    Members,
    /// The victim's pid.
    Victim,
    /// The pid of the owner who dies in this case, besides the victim.
    Dead,
    _Count,
}

/// The stage of one case.
#[derive(Debug)]
pub(crate) struct Stage {
    flags: [AtomicU32; Flag::_Count as usize],
    values: [AtomicU64; Value::_Count as usize],
    owner: AtomicI32,
    killed: [AtomicI32; 4],
}

// SAFETY: it consists of atomic integers only, for which zero is a value.
unsafe impl Shared for Stage {}

impl Stage {
    pub(crate) fn set(&self, f: Flag) {
        self.flags[f as usize].store(1, SeqCst);
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

    /// `me` believes that it owns. The other who believes so, too, if there is one.
    pub(crate) fn enter(&self, me: Pid) -> Result<(), Pid> {
        let mut seen = 0;
        loop {
            match self.owner.compare_exchange(seen, me, SeqCst, SeqCst) {
                Ok(_) => return Ok(()),
                Err(other) if other == 0 || self.killed.iter().any(|k| k.load(SeqCst) == other) => seen = other,
                Err(other) => return Err(other),
            }
        }
    }

    /// `me` is about to give it up.
    pub(crate) fn leave(&self, me: Pid) -> Result<(), Pid> {
        self.owner.compare_exchange(me, 0, SeqCst, SeqCst).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::SharedBox;

    #[test]
    fn the_witness_sees_two_owners_and_forgives_the_dead() {
        let s = SharedBox::<Stage>::new().unwrap();
        assert_eq!(s.enter(7), Ok(()));
        assert_eq!(s.enter(8), Err(7));
        s.will_be_killed(7);
        assert_eq!(s.enter(8), Ok(()));
        assert_eq!(s.leave(7), Err(8));
        assert_eq!(s.leave(8), Ok(()));
    }
}
