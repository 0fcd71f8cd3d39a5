//! How often to look again before a sleep: as often as that is cheaper than the sleep.
//!
//! A few looks come quickly, each after twice the time of the one before. If the semaphore has had another owner meanwhile,
//! sections are short and it is worth waiting for, but not worth fighting for: each look takes the word's cache line away from
//! whoever works with it. So then a look comes every some microseconds, and the owner has a turn of several sections before
//! it loses the semaphore. If it has not changed hands, this section is a long one.

use super::protocol::World;
use crate::sync::Ordering::*;
use std::sync::atomic::AtomicU32 as StdU32;

/// Quick looks: the last comes after 32 pauses.
const QUICK: u32 = 6;
/// How many of them there are at least before it is believed that sections are short.
const SHORT: u32 = 3;
/// Between the looks after that, in nanoseconds.
const GAP: u64 = 8_000;
/// How many of those.
const POLITE: u32 = 3;
/// Who was unlucky in all of them looks as fast as it can.
const INSISTENT: u32 = 64;

/// Of one request, until its next sleep.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    allowed: bool,
    looks: u32,
    polite: u32,
    insistent: u32,
    pulse: u64,
}

impl Patience {
    /// At its beginning. Not `allowed`: it must not wait by itself.
    pub fn new(allowed: bool) -> Patience {
        Patience { allowed: allowed && !cfg!(loom), ..Patience::default() }
    }

    /// After a little while: look again. False: sleep.
    pub fn lasts<W: World>(&mut self, w: &W) -> bool {
        if !self.allowed || is_one_processor() {
            return false;
        }
        let pulse = w.pulse();
        let changed = self.looks > 0 && pulse != self.pulse;
        if self.polite == 0 && (self.looks < SHORT || self.looks < QUICK && !changed) {
            if self.looks == 0 {
                self.pulse = pulse;
            }
            pauses(1 << self.looks);
            self.looks += 1;
            return true;
        }
        if changed && self.polite < POLITE {
            (self.pulse, self.polite) = (pulse, self.polite + 1);
            let until = w.now() + GAP;
            while w.now() < until {
                pauses(8);
            }
            return true;
        }
        if self.polite == POLITE && self.insistent < INSISTENT {
            self.insistent += 1;
            pauses(1);
            return true;
        }
        false
    }
}

fn pauses(n: u32) {
    (0..n).for_each(|_| std::hint::spin_loop());
}

/// Counts the processors that the process may use. A member does it when it becomes one: at its first wait it may be in a
/// sandbox that ends who asks.
pub fn prepare() {
    is_one_processor();
}

/// Whether the process may use one processor only: whoever it waits for cannot go on while it looks.
fn is_one_processor() -> bool {
    static COUNT: StdU32 = StdU32::new(0);
    if COUNT.load(Relaxed) == 0 {
        COUNT.store(processors().max(1), Relaxed);
    }
    COUNT.load(Relaxed) == 1
}

fn processors() -> u32 {
    // SAFETY: plain data, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is valid for writes of its size.
    match unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) } {
        // SAFETY: a set that was just filled in.
        0 => unsafe { libc::CPU_COUNT(&set) as u32 },
        // More processors than fit into the set.
        _ => 2,
    }
}
