//! Many that change one record at once: of n, one gets on with each round trip, and n - 1 have asked for nothing.
//!
//! Who gives something back goes on at once: there are only as many of those as there are claims, and everybody waits for them. Who
//! comes for something stands back instead, for a time that is drawn by lot and doubles with each loss, so that those who try
//! at any time are few, however many there are. It then looks again before it tries: what the answer of its last attempt said is
//! old by then.

use super::commit::GiveUp;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// Who makes a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// One whom others wait for: it tries again at once.
    Eager,
    /// One that comes for something: it lets others go first.
    Patient,
}

/// The most doublings, and the longest pause.
const MOST: (u32, Duration) = (5, Duration::from_millis(20));

/// The attempts of one change.
#[derive(Debug)]
pub struct Crowd {
    pace: Pace,
    lost: u32,
    took: Duration,
}

impl Crowd {
    /// Before the first.
    pub fn new(pace: Pace) -> Crowd {
        Crowd { pace, lost: 0, took: Duration::ZERO }
    }

    /// An attempt: how long the store takes is what a pause goes by.
    pub fn timed<T>(&mut self, attempt: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = attempt();
        self.took = begun.elapsed();
        done
    }

    /// An attempt has met another change. Whether it has paused since; whose patience is over does not.
    pub fn stand_back(&mut self, give_up: GiveUp<'_>) -> bool {
        self.lost += 1;
        // What the answer of the first said is new, and there may have been only one other.
        if self.pace == Pace::Eager || self.lost == 1 || give_up() {
            return false;
        }
        let most = self.took * 2u32.pow((self.lost - 1).min(MOST.0));
        std::thread::sleep(most.min(MOST.1).mul_f64(lot()));
        true
    }
}

/// Between 0 and 1, another one each time.
fn lot() -> f64 {
    (RandomState::new().hash_one(Instant::now()) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::{Crowd, Pace};

    #[test]
    fn who_comes_stands_back_from_the_second_loss_on_and_who_gives_back_never() {
        let mut patient = Crowd::new(Pace::Patient);
        assert_eq!([0; 4].map(|_| patient.stand_back(&|| false)), [false, true, true, true]);
        assert!(!patient.stand_back(&|| true), "its time is over");
        let mut eager = Crowd::new(Pace::Eager);
        assert_eq!([0; 4].map(|_| eager.stand_back(&|| false)), [false; 4]);
    }
}
