//! Wait records: who waits for what, since when. A record belongs to its slot for ever; the slot's next incarnation
//! takes it over with the slot.

use super::chain::Circle;
use super::layout::Waiter;
use super::map::Map;
use super::word::Owner;
use crate::error::{Code, Error, Result};
use crate::forklock;
use crate::sync::Ordering::*;

/// What a record's target says of a cell in the life with this generation; also how joins name their cell.
pub fn target(cell: u32, generation: u32) -> u64 {
    (generation as u64) << 32 | (cell as u64 + 1)
}

/// Visits the records of a slot.
pub fn of_slot<'a>(map: &'a Map, slot: u32) -> impl Iterator<Item = (u32, &'a Waiter)> + 'a {
    let mut at = map.slot(slot).map_or(0, |s| s.waiters.load(Acquire));
    let mut circle = Circle::default();
    std::iter::from_fn(move || {
        let i = at.checked_sub(1).filter(|i| !circle.closes_at(*i))?;
        let w = map.waiter(i)?;
        at = w.next.load(Acquire);
        Some((i, w))
    })
}

/// Empties the records that a new incarnation finds in its slot.
pub fn adopt(map: &Map, slot: u32) {
    for (_, w) in of_slot(map, slot) {
        w.target.store(0, Relaxed);
        w.busy.store(0, Release);
    }
}

/// What a wait is like.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    pub since: u64,
    pub permits: u32,
    pub flags: u32,
    /// The first record of the same wait + 1; None: this one.
    pub group: Option<u32>,
}

/// It ends by itself.
pub const DEADLINE: u32 = 1;
/// It waits for any of several.
pub const ANY: u32 = 2;
/// In the first record of a wait for any: more are to come.
pub const INCOMPLETE: u32 = 8;
/// It waits for all of several.
pub const ALL: u32 = 4;

/// A record that this thread uses for one wait; given back when dropped. A copy in a forked child is its parent's.
pub struct Record<'a> {
    pub index: u32,
    pub waiter: &'a Waiter,
    /// Of which process.
    epoch: u32,
}

impl<'a> Record<'a> {
    /// Takes a free record of this process, or a new one.
    pub fn take(map: &'a Map, me: Owner) -> Result<Record<'a>> {
        let epoch = forklock::epoch();
        let free = |w: &Waiter| w.busy.load(Relaxed) == 0 && w.busy.compare_exchange(0, 1, AcqRel, Relaxed).is_ok();
        if let Some((index, waiter)) = of_slot(map, me.slot()).find(|(_, w)| free(w)) {
            return Ok(Record { index, waiter, epoch });
        }
        let c = &map.header().cursors.waiters;
        let full = || {
            Error::new(Code::TooManySemaphores, "the namespace has no room for another waiter")
                .advice("wait with fewer threads at once")
        };
        let index = map.bump(c, map.geo.waiters, map.geo.waiters_at, 64)?.ok_or_else(full)?;
        let (waiter, slot) = (map.waiter(index).ok_or_else(full)?, map.slot(me.slot()).ok_or_else(full)?);
        waiter.busy.store(1, Relaxed);
        // Only threads of this process push here. Who dies before the push has lost one record of 64 bytes.
        let mut head = slot.waiters.load(Acquire);
        loop {
            waiter.next.store(head, Relaxed);
            match slot.waiters.compare_exchange(head, index + 1, AcqRel, Acquire) {
                Ok(_) => return Ok(Record { index, waiter, epoch }),
                Err(now) => head = now,
            }
        }
    }

    /// Says what the claimant waits for, since when.
    pub fn publish(&self, me: Owner, claimant: u32, target: u64, wait: Waits) {
        let w = self.waiter;
        w.who.store((me.bits() as u64) << 32 | claimant as u64, Relaxed);
        w.since.store(wait.since, Relaxed);
        w.seen.store(wait.since, Relaxed);
        w.pinged.store(0, Relaxed);
        w.turn.store(0, Relaxed);
        w.permits.store(wait.permits, Relaxed);
        w.flags.store(wait.flags, Relaxed);
        w.group.store(wait.group.unwrap_or(self.index + 1), Relaxed);
        w.target.store(target, SeqCst);
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if self.epoch == forklock::epoch() {
            self.waiter.target.store(0, Release);
            self.waiter.busy.store(0, Release);
        }
    }
}
