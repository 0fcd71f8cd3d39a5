//! A namespace as the check sees it: only loads, and nothing that was not taken from the file system.

use super::super::blob;
use super::super::layout::{Block, Cell, Cold, Entry, Slot, UNIT, Waiter};
use super::super::ledger;
use super::super::map::{Map, Row};
use super::super::members::{Life, Members};
use super::super::sys;
use super::super::word::Owner;
use crate::health::Room;
use crate::sync::{AtomicU64, Ordering::*};

/// What is looked at.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub map: &'a Map,
    pub members: &'a Members,
    /// Device and inode of the file.
    pub id: (u64, u64),
}

impl<'a> View<'a> {
    /// The bytes that the file has from the file system, where that says whether a unit may be touched: on tmpfs.
    pub fn allocated(&self) -> Option<u64> {
        let fd = self.map.fd()?;
        sys::is_tmpfs(&fd).then(|| sys::fstat(&fd).ok()).flatten().map(|s| s.st_blocks as u64 * 512)
    }

    /// A cell below the cursor, if it is there.
    pub fn cell(&self, i: u32) -> Option<&'a Cell> {
        self.map.is_present(self.map.geo.cells_at + i as u64 * 64).then(|| self.map.cell(i)).flatten()
    }

    pub fn cold(&self, i: u32) -> Option<&'a Cold> {
        self.map.cold(i)
    }

    pub fn block(&self, i: u32) -> Option<&'a Block> {
        let at = self.map.geo.blocks_at + i as u64 * 48;
        let whole = self.map.is_present(at) && self.map.is_present(at + 47);
        whole.then(|| self.map.block(i)).flatten()
    }

    pub fn entry(&self, i: u32) -> Option<&'a Entry> {
        self.map.is_present(self.map.geo.ledger_at + i as u64 * 64).then(|| self.map.entry(i)).flatten()
    }

    pub fn waiter(&self, i: u32) -> Option<&'a Waiter> {
        self.map.is_present(self.map.geo.waiters_at + i as u64 * 64).then(|| self.map.waiter(i)).flatten()
    }

    /// Wait records in use.
    pub fn waiters(&self) -> u32 {
        self.map.header().cursors.waiters.load(Acquire).min(self.map.geo.waiters)
    }

    /// Blocks in use.
    pub fn blocks(&self) -> u32 {
        self.map.header().cursors.blocks.load(Acquire).min(self.map.geo.blocks)
    }

    pub fn slot(&self, i: u32) -> Option<(&'a Slot, &'a Row)> {
        let geo = &self.map.geo;
        let here = self.map.is_present(geo.slots_at + i as u64 * 256) && self.map.is_present(geo.rows_at + i as u64 * UNIT);
        here.then(|| Some((self.map.slot(i)?, self.map.row(i)?))).flatten()
    }

    /// The name of a cell, as far as it can be read.
    pub fn name(&self, i: u32) -> Option<String> {
        let text = String::from_utf8(blob::get(self.map, i, self.cell(i)?.name.load(Acquire))?).ok()?;
        crate::name::Name::new(&text).ok().map(|n| n.to_string())
    }

    /// The generation that the cell of a semaphore has now.
    pub fn generation(&self, cell: &Cell) -> u32 {
        ledger::generation_of(cell)
    }

    pub fn is_alive(&self, owner: Owner) -> bool {
        self.members.life(self.map, owner) == Life::Alive
    }

    /// Whether a member will never write again.
    pub fn is_gone(&self, owner: Owner) -> bool {
        match self.members.life(self.map, owner) {
            Life::Alive => false,
            Life::Dead => self.members.gate_is_open(self.map, owner.slot()),
            Life::Gone => true,
        }
    }

    /// How much is in use of what there is only so much of.
    pub fn room(&self, semaphores: u64, members: u64) -> Vec<Room> {
        let geo = &self.map.geo;
        let busy = |i: &u32| self.waiter(*i).is_some_and(|w| w.busy.load(Relaxed) != 0);
        let held = |i: &u32| self.entry(*i).is_some_and(|e| e.who.load(Relaxed) != 0);
        vec![
            Room::new("semaphores", semaphores, geo.max_semaphores as u64),
            Room::new("members", members, geo.max_members as u64),
            Room::new("waits", (0..self.waiters()).filter(busy).count() as u64, geo.waiters as u64),
            Room::new("claims on permits", (0..self.map.entries()).filter(held).count() as u64, geo.entries as u64),
        ]
    }

    /// How many of the table's entries have something in them, as far as its room was taken: the highest and one more.
    pub fn used(&self, table: u64, size: u64, max: u32) -> u32 {
        let end = table + max as u64 * size;
        let mut unit = end.next_multiple_of(UNIT).saturating_sub(UNIT);
        loop {
            if self.map.is_present(unit) {
                let (low, high) = (unit.max(table), (unit + UNIT).min(end));
                let is_used = |at: &u64| self.map.peek(*at).is_some_and(|w: &AtomicU64| w.load(Relaxed) != 0);
                if let Some(at) = (low / 8..high / 8).rev().map(|w| w * 8).find(is_used) {
                    return ((at - table) / size) as u32 + 1;
                }
            }
            if unit <= table {
                return 0;
            }
            unit -= UNIT;
        }
    }
}
