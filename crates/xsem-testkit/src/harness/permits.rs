//! A witness of permits: so many things as there are permits, each with the one who believes to have it. It knows nothing
//! of the engine, and a kill at any instant leaves it true: a thing is taken and given back by one compare-and-swap, and
//! what a dead process has is free again, once the process is certainly dead.

use crate::sys::Pid;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// The most permits of a pool that is watched.
pub(crate) const THINGS: usize = 16;

/// Who has a thing: pid and thread. Never 0.
pub(crate) type Who = u32;

/// A thread of a process as the witness writes it.
pub(crate) fn who(pid: Pid, thread: usize) -> Who {
    (pid as u32) << 3 | thread as u32 & 7
}

/// Its process.
pub(crate) fn pid_of(who: Who) -> Pid {
    (who >> 3) as Pid
}

/// The things of one pool: `who 32 | version 32`, so that no word is ever the same twice.
#[derive(Debug)]
pub(crate) struct Things([AtomicU64; THINGS]);

fn owner(word: u64) -> Who {
    (word >> 32) as Who
}

impl Things {
    /// Empty, for a witness that is not in shared memory.
    #[cfg(test)]
    pub(crate) fn new() -> Things {
        Things([const { AtomicU64::new(0) }; THINGS])
    }

    fn swap(&self, i: usize, seen: u64, to: Who) -> bool {
        let next = u64::from(to) << 32 | u64::from((seen as u32).wrapping_add(1));
        self.0[i].compare_exchange(seen, next, SeqCst, SeqCst).is_ok()
    }

    /// `me` has been granted `n` permits of a pool that has `limit`. The others who have the things, if there are too few:
    /// then more permits are out than there are.
    pub(crate) fn take(&self, limit: usize, n: usize, me: Who, is_dead: impl Fn(Pid) -> bool) -> Result<(), Vec<Pid>> {
        (0..n).try_for_each(|_| self.take_one(limit, me, &is_dead))
    }

    fn take_one(&self, limit: usize, me: Who, is_dead: &impl Fn(Pid) -> bool) -> Result<(), Vec<Pid>> {
        let things = &self.0[..limit.min(THINGS)];
        let read = || things.iter().map(|w| w.load(SeqCst)).collect::<Vec<u64>>();
        loop {
            let seen = read();
            // Looking whether somebody is dead takes a while, so that is second.
            let dead = |&w: &u64| owner(w) != me && is_dead(pid_of(owner(w)));
            if let Some(i) = seen.iter().position(|&w| owner(w) == 0).or_else(|| seen.iter().position(dead)) {
                if self.swap(i, seen[i], me) {
                    return Ok(());
                }
                continue;
            }
            // One may have been given back before we came to it, and another taken behind us. If nothing has changed since,
            // there was an instant at which none was free.
            if read() == seen {
                return Err(seen.into_iter().map(|w| pid_of(owner(w))).collect());
            }
        }
    }

    /// `me` is about to give `n` back. False: it does not have so many, since somebody has taken it for dead.
    pub(crate) fn give(&self, n: usize, me: Who) -> bool {
        let mut left = n;
        for (i, word) in self.0.iter().enumerate() {
            let seen = word.load(SeqCst);
            if left > 0 && owner(seen) == me && self.swap(i, seen, 0) {
                left -= 1;
            }
        }
        left == 0
    }

    /// `me` has these numbered things. Those of them that somebody else has, who lives.
    pub(crate) fn claim(&self, numbers: &[u32], me: Who, is_dead: impl Fn(Pid) -> bool) -> Vec<(u32, Pid)> {
        let mut doubled = Vec::new();
        for &n in numbers {
            let Some(word) = self.0.get(n as usize) else { continue };
            loop {
                let seen = word.load(SeqCst);
                let other = owner(seen);
                if other != 0 && other != me && !is_dead(pid_of(other)) {
                    doubled.push((n, pid_of(other)));
                    break;
                }
                if self.swap(n as usize, seen, me) {
                    break;
                }
            }
        }
        doubled
    }

    /// `me` is about to give these numbered things back.
    pub(crate) fn disclaim(&self, numbers: &[u32], me: Who) {
        for &n in numbers {
            let Some(word) = self.0.get(n as usize) else { continue };
            let seen = word.load(SeqCst);
            if owner(seen) == me {
                self.swap(n as usize, seen, 0);
            }
        }
    }

    /// Who has something.
    pub(crate) fn owners(&self) -> Vec<Pid> {
        self.0.iter().map(|w| owner(w.load(SeqCst))).filter(|&o| o != 0).map(pid_of).collect()
    }

    /// Whatever there was, it is free.
    pub(crate) fn clear(&self) {
        for (i, word) in self.0.iter().enumerate() {
            while !self.swap(i, word.load(SeqCst), 0) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_one_permit_too_many_and_forgives_the_dead() {
        let t = Things::new();
        let (a, b) = (who(100, 0), who(200, 1));
        let lives = |_: Pid| false;
        assert_eq!(t.take(3, 2, a, lives), Ok(()));
        assert_eq!(t.take(3, 2, b, lives), Err(vec![100, 100, 200]));
        // What it had got before it was one too many is its own.
        assert!(t.give(1, b) && !t.give(1, b));
        assert_eq!(t.take(3, 3, b, |pid| pid == 100), Ok(()));
        assert!(!t.give(1, a));
        assert_eq!(t.owners(), [200, 200, 200]);
        t.clear();
        assert_eq!(t.owners(), [0; 0]);
    }

    #[test]
    fn sees_a_slot_that_two_have() {
        let t = Things::new();
        let (a, b) = (who(100, 0), who(200, 0));
        assert_eq!(t.claim(&[0, 2], a, |_| false), []);
        assert_eq!(t.claim(&[1, 2], b, |_| false), [(2, 100)]);
        t.disclaim(&[0, 2], a);
        assert_eq!(t.claim(&[2], b, |_| false), []);
        assert_eq!(t.claim(&[0, 1, 2], a, |pid| pid == 200), []);
    }

    #[test]
    fn no_false_alarm_while_many_take_and_give() {
        let t = Things::new();
        std::thread::scope(|s| {
            for k in 1..=4 {
                let t = &t;
                // Four who never have more than four together.
                s.spawn(move || {
                    for _ in 0..20_000 {
                        assert_eq!(t.take(4, 1, who(k, 0), |_| false), Ok(()));
                        assert!(t.give(1, who(k, 0)));
                    }
                });
            }
        });
    }
}
