//! Every field of a namespace file that is in use, by name: for the fuzzer.

use super::layout::{
    Block, Cell, Cold, Cursors, Dead, Entry, Epoch, HISTORY_AT, Header, History, INCIDENTS, INCIDENTS_AT, Joint, Record, Slot,
    UNIT, Waiter,
};
use super::map::Map;
use crate::sync::Ordering::*;

/// A field of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `table[index].field`
    pub name: String,
    /// Where it is.
    pub at: u64,
    /// 4 or 8 bytes.
    pub size: u8,
}

macro_rules! fields {
    ($out:ident, $table:expr, $base:expr, $type:ty: $($field:ident / $size:literal / $count:literal),* $(,)?) => {
        $(for k in 0..$count as u64 {
            let at = $base + std::mem::offset_of!($type, $field) as u64 + k * $size;
            let part = if $count > 1 { format!("[{k}]") } else { String::new() };
            $out.push(Place { name: format!("{}.{}{part}", $table, stringify!($field)), at, size: $size });
        })*
    };
}

/// Those of the tables as far as they are in use; of long rows of like words the first few.
pub fn all(map: &Map) -> Vec<Place> {
    let mut out = Vec::new();
    let g = &map.geo;
    let c = &map.header().cursors;
    fields!(out, "header", 0, Header: magic/8/1, version/8/1, file_len/8/1, max_semaphores/8/1, max_members/8/1, nonce/8/1,
        created/8/1, checksum/8/1, epoch/8/1);
    let epochs = std::mem::offset_of!(Header, epochs) as u64;
    for i in 0..4 {
        let at = epochs + i * size_of::<Epoch>() as u64;
        fields!(out, format!("epoch[{i}]"), at, Epoch: number/8/1, boot/8/2, dev/8/1, ino/8/1);
    }
    let cursors = std::mem::offset_of!(Header, cursors) as u64;
    fields!(out, "cursors", cursors, Cursors: cells/4/1, blocks/4/1, waiters/4/1, slots/4/1, morgue/4/1, scan_cells/4/1,
        scan_blocks/4/1, entries/4/1, scan_entries/4/1, cell_hints/4/4, block_hints/4/4, entry_hints/4/4);
    fields!(out, "history", HISTORY_AT, History: state/8/1, next/8/1, next_incident/8/1);
    let used = |r: &Record| r.stamp.load(Relaxed) != 0;
    for i in (0..INCIDENTS).filter(|i| used(map.incident(*i))).take(2) {
        fields!(out, format!("incident[{i}]"), INCIDENTS_AT + i as u64 * 256, Record: stamp/8/1, check/8/1, words/8/12);
    }
    for i in (0..64).filter(|i| map.record(*i).is_some_and(used)).take(3) {
        fields!(out, format!("record[{i}]"), g.history_at + i as u64 * 256, Record: stamp/8/1, check/8/1, words/8/12);
    }
    for i in 0..(g.len / UNIT).div_ceil(64) {
        out.push(Place { name: format!("present[{i}]"), at: g.present_at + i * 8, size: 8 });
    }
    for i in 0..map.slots() as u64 {
        let at = g.slots_at + i * 256;
        fields!(out, format!("slot[{i}]"), at, Slot: stamp/8/1, identity/8/8, waiters/4/1, cover_pid/8/1, cover_start/8/1,
            join_cell/8/1, join_token/8/1, join_by/4/1, join_told/4/1, swept/8/1, inside/8/1);
        for k in 0..map.slots() as u64 + 1 {
            let at = g.rows_at + i * UNIT + k * 8;
            out.push(Place { name: format!("row[{i}][{k}]"), at, size: 8 });
        }
        if map.joint(i as u32).is_some() {
            let at = g.joints_at + i * size_of::<Joint>() as u64;
            fields!(out, format!("joint[{i}]"), at, Joint: state/8/1, len/8/1, targets/8/4);
        }
    }
    for i in 0..(c.waiters.load(Relaxed) as u64).min(64) {
        let at = g.waiters_at + i * 64;
        fields!(out, format!("waiter[{i}]"), at, Waiter: who/8/1, target/8/1, since/8/1, permits/4/1, flags/4/1, next/4/1,
            busy/4/1, group/4/1, turn/4/1, seen/8/1, pinged/8/1);
    }
    for i in 0..(c.morgue.load(Relaxed) as u64).min(4) {
        fields!(out, format!("morgue[{i}]"), g.morgue_at + i * 192, Dead: key/8/1, identity/8/4, check/8/1);
    }
    for i in (0..g.buckets).filter(|i| map.bucket(*i).is_some_and(|b| b.load(Relaxed) != 0)) {
        out.push(Place { name: format!("bucket[{i}]"), at: g.buckets_at + i as u64 * 8, size: 8 });
    }
    for i in 0..map.cells() as u64 {
        fields!(out, format!("cell[{i}]"), g.cells_at + i * 64, Cell: word/8/1, claim/8/1, token/8/1, since/8/1, oldest/8/1,
            next/8/1, name/4/1, hash/4/1, depth/4/1, kind/2/1, careful/2/1);
        if map.cold(i as u32).is_some() {
            fields!(out, format!("cold[{i}]"), g.cold_at + i * 64, Cold: label/8/1, obituary/8/1, contended/8/1, timed_out/8/1,
                longest/8/1, drain/8/1, ledger/8/1, bounds/8/1);
        }
    }
    for i in 0..(c.blocks.load(Relaxed) as u64).min(200) {
        fields!(out, format!("block[{i}]"), g.blocks_at + i * 48, Block: head/8/1, text/8/5);
    }
    for i in 0..(c.entries.load(Relaxed) as u64).min(200) {
        fields!(out, format!("entry[{i}]"), g.ledger_at + i * 64, Entry: op/8/1, arg/8/1, who/8/1, target/8/1, token/8/1,
            since/8/1, label/4/1, next/4/1, slots/4/1);
    }
    out
}

/// The units that were taken, by number.
pub fn units(map: &Map) -> Vec<u64> {
    (0..map.geo.len / UNIT).filter(|u| map.is_present(u * UNIT)).collect()
}
