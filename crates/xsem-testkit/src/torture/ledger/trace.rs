//! The last things that each claimant did, kept in shared memory, so that a failing run can say what went before, also of those
//! who were killed.

use super::super::account::NAMES;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

/// Steps that are kept of each claimant.
const KEPT: usize = 24;

/// What it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in super::super) enum Did {
    /// A process or an image began: its process id.
    Began = 1,
    /// It asked for these, or is about to give them back.
    Asks,
    /// It has these.
    Holds,
    /// It does not have these any more.
    Without,
    /// It has these and ends, or abandons them.
    Abandons,
    /// It says what it is about to do to accounts.
    Says,
    /// It forked a child, whose place this is.
    Forks,
    /// It is about to exec.
    Execs,
    /// Its thread is about to end.
    Ends,
    /// A future of it was polled, and is pending.
    Pending,
    /// A pending future of it was dropped.
    Drops,
    /// It looked at others.
    Looks,
    /// It made or removed names.
    Names,
    /// It rests.
    Rests,
}

const ALL: [Did; 14] = [
    Did::Began,
    Did::Asks,
    Did::Holds,
    Did::Without,
    Did::Abandons,
    Did::Says,
    Did::Forks,
    Did::Execs,
    Did::Ends,
    Did::Pending,
    Did::Drops,
    Did::Looks,
    Did::Names,
    Did::Rests,
];

/// The last steps of one claimant. Each word: when (in ten microseconds), what, and a number.
#[derive(Debug)]
pub(in super::super) struct Trace {
    next: AtomicU32,
    steps: [AtomicU64; KEPT],
}

impl Trace {
    /// Writes a step down.
    pub(in super::super) fn note(&self, now: u32, did: Did, number: u32) {
        let n = self.next.fetch_add(1, SeqCst) as usize;
        self.steps[n % KEPT].store(u64::from(now) << 32 | (did as u64) << 24 | u64::from(number & 0xff_ffff), SeqCst);
    }

    /// When it did what last, and how often it did anything.
    pub(in super::super) fn steps(&self) -> Vec<Step> {
        let next = self.next.load(SeqCst) as usize;
        let of = |n: usize| {
            let w = self.steps[n % KEPT].load(SeqCst);
            let did = ALL.into_iter().find(|d| *d as u64 == w >> 24 & 0xff)?;
            Some(Step { at: (w >> 32) as u32, did, number: w as u32 & 0xff_ffff })
        };
        (next.saturating_sub(KEPT)..next).filter_map(of).collect()
    }
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Step {
    pub(in super::super) at: u32,
    did: Did,
    number: u32,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.5} {:?}", f64::from(self.at) / 1e5, self.did)?;
        match self.did {
            Did::Asks | Did::Holds | Did::Without | Did::Abandons | Did::Pending | Did::Drops => {
                let names = (0..8).filter(|b| self.number >> b & 1 != 0).map(|b| match b {
                    b if b < NAMES => format!("{b}"),
                    b => format!("pool {}", b - NAMES),
                });
                write!(f, " [{}]", names.collect::<Vec<_>>().join(" "))
            }
            _ => write!(f, " {:#x}", self.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_steps_are_kept() {
        let t = Trace { next: AtomicU32::new(0), steps: [const { AtomicU64::new(0) }; KEPT] };
        assert_eq!(t.steps(), []);
        for n in 0..100 {
            t.note(n, Did::Asks, n);
        }
        let steps = t.steps();
        assert_eq!((steps.len(), steps[0].at), (KEPT, 100 - KEPT as u32));
        t.note(250_000, Did::Holds, 0b10010);
        assert_eq!(t.steps().last().unwrap().to_string(), "2.50000 Holds [1 pool 0]");
    }
}
