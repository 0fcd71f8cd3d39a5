//! Records in a ring that many write to and nobody waits for.
//!
//! A writer takes the next position, and with it an entry, and says so in the entry's stamp before it writes the rest:
//!
//! | stamp | means | may be taken for a later position |
//! |---|---|---|
//! | 0 | never used | yes |
//! | position + 1 | a whole record | yes; one that is newer is left alone |
//! | 1 in the highest bit, a part of the position, the owner's bits | being written by that member | when it has certainly stopped |
//! | the same, owner 0 | being written by somebody who is no member | yes |
//!
//! Who is stopped or killed in the middle loses its own record and keeps that entry out of use; others go on to the next. A
//! reader compares the stamp before and after, and the checksum: it never shows half a record. (A stranger, who is no member,
//! may spoil the record of somebody else if it is stopped for a whole round of the ring; the checksum says so.)

use super::layout::{RECORD_WORDS, Record};
use crate::sync::{AtomicU64, Ordering::*, fence};

const WRITING: u64 = 1 << 63;
/// Entries that a writer tries. Each of those before it is withheld by somebody who was stopped there.
const TRIES: u32 = 8;
/// A record that is newer by more than this is damage.
const AHEAD: u64 = 1 << 20;

/// What a record says.
pub type Words = [u64; RECORD_WORDS];

/// A ring.
pub struct Ring<'a, F: Fn(u32) -> Option<&'a Record>> {
    pub next: &'a AtomicU64,
    pub size: u32,
    pub record: F,
}

/// Who writes, if a stamp says that.
pub fn writer(stamp: u64) -> Option<u32> {
    (stamp & WRITING != 0).then_some(stamp as u32)
}

/// The position of a whole record.
pub fn position(stamp: u64) -> Option<u64> {
    (stamp & WRITING == 0).then(|| stamp.checked_sub(1)).flatten()
}

fn check(position: u64, words: &Words) -> u64 {
    let mix = |h: u64, w: &u64| (h.rotate_left(23) ^ w).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let h = words.iter().fold(mix(0x51_7c_c1_b7_27_22_0a_95, &position), mix);
    h ^ h >> 32
}

impl<'a, F: Fn(u32) -> Option<&'a Record>> Ring<'a, F> {
    /// Writes a record. `me`: the owner's bits, 0 for a stranger; `has_stopped`: whether the member with these bits has certainly
    /// stopped. Async-signal-safe, if that is. False: it is lost.
    pub fn write(&self, me: u32, words: &Words, has_stopped: impl Fn(u32) -> bool) -> bool {
        for _ in 0..TRIES {
            let at = self.next.fetch_add(1, AcqRel) & !WRITING;
            let Some(e) = (self.record)((at % self.size.max(1) as u64) as u32) else { return false };
            let seen = e.stamp.load(Acquire);
            let free = match (writer(seen), position(seen)) {
                (Some(0), _) => true,
                (Some(owner), _) => owner != me && has_stopped(owner),
                (None, Some(there)) if there > at && there - at < AHEAD => return false,
                _ => true,
            };
            let writing = WRITING | (at & 0x7fff_ffff) << 32 | me as u64;
            if !free || e.stamp.compare_exchange(seen, writing, AcqRel, Relaxed).is_err() {
                continue;
            }
            // Who sees anything of what follows sees the stamp, too.
            fence(Release);
            for (to, from) in e.words.iter().zip(words) {
                to.store(*from, Relaxed);
            }
            e.check.store(check(at, words), Relaxed);
            return e.stamp.compare_exchange(writing, at + 1, Release, Relaxed).is_ok();
        }
        false
    }

    /// The whole records and their positions, in no order.
    pub fn read(&self) -> impl Iterator<Item = (u64, Words)> + '_ {
        (0..self.size).filter_map(|i| read((self.record)(i)?))
    }
}

/// A record, if it is whole.
pub fn read(e: &Record) -> Option<(u64, Words)> {
    let stamp = e.stamp.load(Acquire);
    let at = position(stamp)?;
    let words = std::array::from_fn(|i| e.words[i].load(Relaxed));
    let said = e.check.load(Relaxed);
    fence(Acquire);
    (e.stamp.load(Relaxed) == stamp && said == check(at, &words)).then_some((at, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(n: usize) -> Vec<Record> {
        let zero = || AtomicU64::new(0);
        (0..n).map(|_| Record { stamp: zero(), check: zero(), words: std::array::from_fn(|_| zero()) }).collect()
    }

    fn ring<'a>(all: &'a [Record], next: &'a AtomicU64) -> Ring<'a, impl Fn(u32) -> Option<&'a Record>> {
        Ring { next, size: all.len() as u32, record: |i| all.get(i as usize) }
    }

    fn positions(all: &[Record]) -> Vec<u64> {
        let mut found: Vec<u64> = all.iter().filter_map(read).map(|(at, _)| at).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn the_last_ones_are_kept() {
        let (all, next) = (records(4), AtomicU64::new(0));
        for i in 0..10 {
            assert!(ring(&all, &next).write(7, &[i; RECORD_WORDS], |_| false));
        }
        assert_eq!(positions(&all), [6, 7, 8, 9]);
        assert!(ring(&all, &next).read().all(|(at, words)| words == [at; RECORD_WORDS]));
    }

    #[test]
    fn who_stands_still_withholds_one_entry_until_it_has_stopped_for_good() {
        let (all, next) = (records(4), AtomicU64::new(4));
        all[1].stamp.store(WRITING | 1 << 32 | 9, Relaxed);
        for i in 0..8 {
            assert!(ring(&all, &next).write(7, &[i; RECORD_WORDS], |o| {
                assert_eq!(o, 9);
                false
            }));
        }
        assert_eq!(writer(all[1].stamp.load(Relaxed)), Some(9));
        assert_eq!(positions(&all).len(), 3);
        for i in 0..4 {
            assert!(ring(&all, &next).write(7, &[i; RECORD_WORDS], |_| true));
        }
        assert_eq!(positions(&all).len(), 4);
    }

    /// Its other thread is interrupted there by a handler that writes, too.
    #[test]
    fn its_own_unfinished_entry_is_left_alone() {
        let (all, next) = (records(1), AtomicU64::new(0));
        all[0].stamp.store(WRITING | 7, Relaxed);
        assert!(!ring(&all, &next).write(7, &[1; RECORD_WORDS], |_| true));
        assert_eq!(all[0].stamp.load(Relaxed), WRITING | 7);
    }

    #[test]
    fn a_late_one_leaves_what_is_newer_and_damage_does_not_keep_anybody_out() {
        let (all, next) = (records(2), AtomicU64::new(6));
        assert!(ring(&all, &next).write(7, &[6; RECORD_WORDS], |_| false));
        next.store(4, Relaxed);
        assert!(!ring(&all, &next).write(7, &[4; RECORD_WORDS], |_| false));
        assert_eq!(positions(&all), [6]);
        all[0].stamp.store(WRITING - 1, Relaxed);
        next.store(8, Relaxed);
        assert!(ring(&all, &next).write(7, &[8; RECORD_WORDS], |_| false));
        assert_eq!(positions(&all), [8]);
    }

    #[test]
    fn half_a_record_is_none() {
        let (all, next) = (records(1), AtomicU64::new(0));
        assert!(ring(&all, &next).write(7, &[5; RECORD_WORDS], |_| false));
        all[0].words[3].store(6, Relaxed);
        assert!(read(&all[0]).is_none());
    }
}
