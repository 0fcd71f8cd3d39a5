//! What one of the claimants holds, and may hold.

use super::super::account::{NAMES, STEADY, STEADY_POOLS};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// A bit for each exclusive semaphore, and after those one for each pool. Only with it does a kill say who died as an owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct State {
    /// It holds these.
    pub(in super::super) held: u8,
    /// Between asking and knowing, or between giving back and knowing: it may hold these.
    pub(in super::super) unsure: u8,
    /// It holds these, or has abandoned them: a death in either case.
    pub(in super::super) abandoning: u8,
    /// Deaths that it made on purpose, on exclusive semaphores that stay.
    pub(in super::super) made: u64,
    /// The same of pools.
    pub(in super::super) pools_made: [u64; STEADY_POOLS],
}

/// The bit of an exclusive semaphore.
pub(in super::super) fn exclusive(name: usize) -> u8 {
    1 << name
}

/// The bit of a pool.
pub(in super::super) fn pool(k: usize) -> u8 {
    1 << (NAMES + k)
}

const MADE: u64 = (1 << 20) - 1;
const POOLS_MADE: u64 = (1 << 10) - 1;

impl State {
    /// It holds nothing, and asks for nothing.
    pub(in super::super) fn is_idle(&self) -> bool {
        self.held | self.unsure | self.abandoning == 0
    }

    /// The deaths have happened: what it was abandoning is abandoned.
    pub(in super::super) fn abandoned(mut self) -> State {
        self.made += (0..STEADY).filter(|i| self.abandoning & exclusive(*i) != 0).count() as u64;
        for (k, made) in self.pools_made.iter_mut().enumerate() {
            *made += u64::from(self.abandoning & pool(k) != 0);
        }
        self.abandoning = 0;
        self
    }

    /// Deaths on purpose since an earlier state of the same claimant.
    pub(in super::super) fn made_since(&self, earlier: &State) -> (u64, [u64; STEADY_POOLS]) {
        let pools = std::array::from_fn(|k| self.pools_made[k].wrapping_sub(earlier.pools_made[k]) & POOLS_MADE);
        (self.made.wrapping_sub(earlier.made) & MADE, pools)
    }
}

/// A state in one word, because a kill may fall between any two stores.
#[derive(Debug)]
pub(in super::super) struct StateWord(AtomicU64);

const _: () = assert!(STEADY_POOLS == 2, "two fields of ten bits");

impl StateWord {
    pub(in super::super) fn set(&self, s: State) {
        let masks = u64::from(s.held) | u64::from(s.unsure) << 8 | u64::from(s.abandoning) << 16;
        let [a, b] = s.pools_made.map(|n| n & POOLS_MADE);
        self.0.store(masks | (s.made & MADE) << 24 | a << 44 | b << 54, SeqCst);
    }

    pub(in super::super) fn get(&self) -> State {
        let w = self.0.load(SeqCst);
        State {
            held: w as u8,
            unsure: (w >> 8) as u8,
            abandoning: (w >> 16) as u8,
            made: w >> 24 & MADE,
            pools_made: [w >> 44 & POOLS_MADE, w >> 54],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::account::POOLS;
    use super::*;

    #[test]
    fn a_state_goes_through_its_word() {
        let word = StateWord(AtomicU64::new(0));
        assert!(word.get().is_idle());
        let state = State {
            held: exclusive(1),
            unsure: exclusive(0) | pool(POOLS - 1),
            abandoning: exclusive(0) | exclusive(NAMES - 1) | pool(1),
            made: 70_000,
            pools_made: [1023, 5],
        };
        word.set(state);
        assert_eq!(word.get(), state);
        // The last exclusive semaphore has no account.
        let after = state.abandoned();
        assert_eq!((after.made, after.pools_made, after.abandoning), (70_001, [1023, 6], 0));
        assert_eq!(after.made_since(&state), (1, [0, 1]));
    }

    #[test]
    fn short_fields_may_come_round() {
        let before = State { made: MADE, pools_made: [POOLS_MADE, 3], ..State::default() };
        let after = State { made: 2, pools_made: [1, 3], ..State::default() };
        assert_eq!(after.made_since(&before), (3, [2, 0]));
    }
}
