//! The bytes of a namespace file. `docs/format.md` has the picture; the sizes are asserted here.

use crate::sync::{AtomicU16, AtomicU32, AtomicU64};

/// "XSEM" and bytes that text-mode transfers break.
pub const MAGIC: u64 = u64::from_le_bytes(*b"XSEM\r\n\x1a\n");
/// Changes with every change of a byte's meaning.
pub const VERSION: u64 = 6;
/// Room is taken from the file system in units of this size, and a bit says which are there.
pub const UNIT: u64 = 16 * 1024;
/// Words of a member's row: its main word, and one for each slot that may wait for its death. The kernel walks at most
/// 2048 robust entries of a thread.
pub const ROW_WORDS: usize = 2048;
/// Most members of a namespace: one row word each, and some entries kept for later use.
pub const MAX_MEMBERS: u32 = 2040;
/// Most semaphores of a namespace.
pub const MAX_SEMAPHORES: u32 = 16_000_000;
/// Identities kept of members whose slots were used again.
pub const MORGUE: u32 = 1024;
/// Bytes of text that a block carries.
pub const BLOCK_TEXT: usize = 40;
/// Most claims on counting semaphores at one time; a count word has this many numbers for them.
pub const MAX_ENTRIES: u32 = (1 << 20) - 1;
/// Recently freed cells, blocks and entries; only hints, the words decide.
pub const HINTS: usize = 64;

/// The first page. Everything above `cursors` is written once, before the file gets its name.
#[repr(C)]
pub struct Header {
    pub magic: AtomicU64,
    pub version: AtomicU64,
    pub file_len: AtomicU64,
    pub max_semaphores: AtomicU64,
    pub max_members: AtomicU64,
    /// Part of the gate file's name; no two namespaces share one.
    pub nonce: AtomicU64,
    pub created: AtomicU64,
    /// Over the fields above.
    pub checksum: AtomicU64,
    _pad0: [u64; 56],
    /// Counts restarts of the machine and copies of the file; its record says for which machine, boot and inode it is.
    pub epoch: AtomicU64,
    _pad1: [u64; 7],
    pub epochs: [Epoch; 4],
    pub cursors: Cursors,
}

/// Where the second copy of the header's first eight words is.
pub const COPY_AT: u64 = UNIT / 2;
/// Where it says that the namespace was reset.
pub const RETIRED_AT: u64 = UNIT / 4;

/// What identifies the file, again: one stray write or one bad sector rarely meets both.
#[repr(C)]
pub struct HeadCopy {
    /// As the first eight words of the file. All 0 in a file that was made before there was a copy.
    pub words: [AtomicU64; 8],
}

/// Written once, when the namespace is reset: this file is not the namespace any more.
#[repr(C)]
pub struct Retired {
    /// 0: it is in use. 1: it is retired. Written after the rest.
    pub state: AtomicU64,
    /// `uid << 32 | pid` of who did it, and when.
    pub by: AtomicU64,
    pub at: AtomicU64,
    /// Length in the first byte.
    pub command: [AtomicU64; 17],
}

/// Where the state of the history is, and where the incidents are: in the first unit, so they are always there.
pub const HISTORY_AT: u64 = UNIT / 8;
pub const INCIDENTS_AT: u64 = UNIT / 4 * 3;
/// Incidents that are kept.
pub const INCIDENTS: u32 = 16;
/// Most records of the history.
pub const MAX_HISTORY: u32 = 16_384;
/// Words of a record that say what it says; the others are its stamp and the checksum.
pub const RECORD_WORDS: usize = 30;
/// Words of a text in a record: the length in the first byte.
pub const RECORD_TEXT: usize = 11;

/// Whether the history is written, and how far. All 0 in a file that was made before there was one.
#[repr(C)]
pub struct History {
    /// `size << 8 | on`; 0: it never was.
    pub state: AtomicU64,
    /// The position of the next record, and of the next incident.
    pub next: AtomicU64,
    pub next_incident: AtomicU64,
}

/// Something that happened. See `ring.rs`.
#[repr(C, align(64))]
pub struct Record {
    /// Its position + 1; who writes it; 0: never used.
    pub stamp: AtomicU64,
    /// Over the words, the position included.
    pub check: AtomicU64,
    /// See `history.rs`.
    pub words: [AtomicU64; RECORD_WORDS],
}

/// For which boot and which inode an epoch holds.
#[repr(C)]
pub struct Epoch {
    pub number: AtomicU64,
    pub boot: [AtomicU64; 2],
    pub dev: AtomicU64,
    pub ino: AtomicU64,
    _pad: [u64; 3],
}

/// How far each table is in use. A cursor only grows, and only after the room below it was taken from the file system.
#[repr(C)]
pub struct Cursors {
    pub cells: AtomicU32,
    pub blocks: AtomicU32,
    pub waiters: AtomicU32,
    pub slots: AtomicU32,
    pub morgue: AtomicU32,
    pub scan_cells: AtomicU32,
    pub scan_blocks: AtomicU32,
    pub entries: AtomicU32,
    pub scan_entries: AtomicU32,
    _pad: [u32; 7],
    pub cell_hints: [AtomicU32; HINTS],
    pub block_hints: [AtomicU32; HINTS],
    pub entry_hints: [AtomicU32; HINTS],
}

/// A semaphore. One cache line: everything that the uncontended path touches.
#[repr(C, align(64))]
pub struct Cell {
    /// See `word.rs`. Of a counting semaphore it only says whether the name is there.
    pub word: AtomicU64,
    /// Exclusive: `owner << 32 | claimant`, written by the owner after it acquired and cleared before it releases; so when
    /// its owner half equals the word's, it belongs to this very claim. Counting and events: the count word, see `count.rs`.
    pub claim: AtomicU64,
    /// Claims so far: the fencing token of the latest. Of an exclusive semaphore only the owner writes it.
    pub token: AtomicU64,
    /// Monotonic time of the latest claim; before the first, of the creation.
    pub since: AtomicU64,
    /// The waiter with the reservation: its index + 1, or 0.
    pub oldest: AtomicU64,
    /// `own generation << 33 | mark << 32 | index of the next + 1`. See `names.rs`.
    pub next: AtomicU64,
    /// First block of the name + 1.
    pub name: AtomicU32,
    /// Hash of the name.
    pub hash: AtomicU32,
    /// Exclusive: nesting beyond the first level. Only the owner writes.
    pub depth: AtomicU32,
    /// The kind and the flags of the object; constant.
    pub kind: AtomicU16,
    /// Exclusive: whether its owner may give it back by a plain store. See `plain.rs`.
    pub careful: AtomicU16,
}

/// What is seldom needed of a semaphore, in a table of its own whose room is taken when the first of a unit needs it.
#[repr(C, align(64))]
pub struct Cold {
    /// `low half of the claim's token << 32 | first block + 1`.
    pub label: AtomicU64,
    /// `acknowledged << 63 | deaths << 32 | first block + 1`. See `obituary.rs`.
    pub obituary: AtomicU64,
    pub contended: AtomicU64,
    pub timed_out: AtomicU64,
    /// The longest hold that somebody waited for; of an event, its signals.
    pub longest: AtomicU64,
    /// Who drains it, and how far that is. See `drain.rs`.
    pub drain: AtomicU64,
    /// First entry of the ledger + 1 in the low half; first block of the slots + 1 in the high half.
    pub ledger: AtomicU64,
    /// Counting: limit and total, see `count.rs`. Exclusive: where it moved to, see `evict.rs`.
    pub bounds: AtomicU64,
}

/// A piece of text or of a record.
#[repr(C)]
pub struct Block {
    /// `cell that it belongs to + 1 << 32 | next block + 1`; 0 when free.
    pub head: AtomicU64,
    pub text: [AtomicU64; BLOCK_TEXT / 8],
}

/// A claim on a counting semaphore, or its preparation; or the use of an ephemeral name. See `count.rs`.
#[repr(C, align(64))]
pub struct Entry {
    /// What it is doing.
    pub op: AtomicU64,
    /// What the operation carries: new bounds, or the number of the joint request that it belongs to.
    pub arg: AtomicU64,
    /// `owner << 32 | claimant`; 0: vacant. Who takes it writes the owner by compare-and-swap.
    pub who: AtomicU64,
    /// The semaphore, as in wait records; 0: in no ledger.
    pub target: AtomicU64,
    /// The fencing token of the claim; 0 until it has one.
    pub token: AtomicU64,
    /// Monotonic time of the claim.
    pub since: AtomicU64,
    /// First block of the label + 1.
    pub label: AtomicU32,
    /// Next entry of the same ledger + 1.
    pub next: AtomicU32,
    /// Whether the claim has asked for slots.
    pub slots: AtomicU32,
    _reserved: u32,
}

/// A joint request (`acquire_all`) of a member, one at a time. See `joint.rs`.
#[repr(C, align(64))]
pub struct Joint {
    /// `number << 32 | state`.
    pub state: AtomicU64,
    /// How many of the targets count.
    pub len: AtomicU64,
    _pad: [u64; 6],
    /// The cells, as wait records name them.
    pub targets: [AtomicU64; JOINT],
}

/// Most semaphores in a joint request.
pub const JOINT: usize = 64;

/// A member process: who it is. Whether it lives is in its row.
#[repr(C, align(64))]
pub struct Slot {
    /// The incarnation (full generation) that the identity below belongs to, and how whole that is (`members.rs`); written last,
    /// 0 while it changes.
    pub stamp: AtomicU64,
    pub identity: Identity,
    /// First waiter record + 1.
    pub waiters: AtomicU32,
    _pad: u32,
    /// The child that the claims of this member cover.
    pub cover_pid: AtomicU64,
    pub cover_start: AtomicU64,
    /// `cell generation << 32 | cell + 1` of the claim that this member shares (all ones while it is being set), and its
    /// token.
    pub join_cell: AtomicU64,
    pub join_token: AtomicU64,
    /// The incarnation (owner's bits) that joined, and the one whose death as a sharer was told.
    pub join_by: AtomicU32,
    pub join_told: AtomicU32,
    /// For which round of the short generations the claims of this slot's past were searched, + 1.
    pub swept: AtomicU64,
    /// `member's own bits << 32 | bits of the member inside of whose command it runs`, which waits for it to end.
    pub inside: AtomicU64,
}

/// A process beyond doubt: boot (the epoch), pid namespace, pid, start time and the program in it; and what people want to know.
#[repr(C)]
pub struct Identity {
    /// `uid << 32 | pid` (in its own namespace).
    pub pid_uid: AtomicU64,
    pub start: AtomicU64,
    pub pid_ns: AtomicU64,
    pub joined: AtomicU64,
    /// The program that it ran, by marks that every exec changes (`image.rs`).
    pub image: AtomicU64,
    /// Length in the first byte.
    pub command: [AtomicU64; 17],
}

/// The identity of a member whose slot has been used again.
#[repr(C, align(64))]
pub struct Dead {
    /// `full generation << 32 | slot + 1`; 0 while it is written.
    pub key: AtomicU64,
    pub identity: Identity,
    /// Over key and identity: two writers a whole ring apart may meet.
    pub check: AtomicU64,
}

/// Who waits for what.
#[repr(C, align(64))]
pub struct Waiter {
    /// `owner << 32 | claimant`.
    pub who: AtomicU64,
    /// `cell generation << 32 | cell + 1` while it waits, else 0.
    pub target: AtomicU64,
    /// Monotonic time of its beginning: the order of the queue.
    pub since: AtomicU64,
    pub permits: AtomicU32,
    /// 1: it has a deadline; 2, 4: it waits for any, for all of several; 16: others are in line behind it.
    pub flags: AtomicU32,
    /// Next record of the same member + 1.
    pub next: AtomicU32,
    /// 1 while a thread of the member uses it.
    pub busy: AtomicU32,
    /// The first record of the same wait + 1: they stand for one claimant.
    pub group: AtomicU32,
    /// Whether it waits in line, or was called: see `line.rs`.
    pub turn: AtomicU32,
    /// When it last looked at the semaphore while it was the oldest.
    pub seen: AtomicU64,
    /// When somebody last woke it to see whether it stirs.
    pub pinged: AtomicU64,
}

const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(offset_of!(Header, checksum) == 56);
    assert!(offset_of!(Header, epoch) == 512);
    assert!(offset_of!(Header, epochs) == 576);
    assert!(offset_of!(Header, cursors) == 832);
    assert!(size_of::<Header>() == 832 + 64 + 3 * 4 * HINTS);
    assert!(size_of::<Header>() as u64 <= RETIRED_AT);
    assert!(size_of::<Header>() as u64 <= HISTORY_AT && HISTORY_AT + size_of::<History>() as u64 <= RETIRED_AT);
    assert!(RETIRED_AT + size_of::<Retired>() as u64 <= COPY_AT && COPY_AT + size_of::<HeadCopy>() as u64 <= INCIDENTS_AT);
    assert!(size_of::<Record>() == 256 && INCIDENTS_AT + INCIDENTS as u64 * 256 <= UNIT);
    assert!(size_of::<Cell>() == 64 && offset_of!(Cell, word) == 0 && offset_of!(Cell, next) == 40);
    assert!(size_of::<Cold>() == 64);
    assert!(size_of::<Block>() == 48);
    assert!(size_of::<Identity>() == 176);
    assert!(size_of::<Slot>() == 256 && offset_of!(Slot, waiters) == 184 && offset_of!(Slot, join_cell) == 208);
    assert!(size_of::<Dead>() == 192);
    assert!(size_of::<Waiter>() == 64);
    assert!(size_of::<Entry>() == 64);
    assert!(size_of::<Joint>() == 64 + 8 * JOINT);
    // A semaphore with a usual name: cell, one block, its share of the buckets.
    assert!(size_of::<Cell>() + size_of::<Block>() + 8 / 4 <= 128);
    assert!(MAX_MEMBERS < ROW_WORDS as u32 && MAX_MEMBERS <= super::word::SLOTS);
};

/// Where each table begins, from the two limits. All offsets are multiples of [`UNIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub max_semaphores: u32,
    pub max_members: u32,
    pub blocks: u32,
    pub waiters: u32,
    pub buckets: u32,
    pub present_at: u64,
    pub slots_at: u64,
    pub rows_at: u64,
    pub waiters_at: u64,
    pub morgue_at: u64,
    /// Records of the history; their room is taken when it is switched on.
    pub history_at: u64,
    pub buckets_at: u64,
    pub cells_at: u64,
    pub cold_at: u64,
    pub blocks_at: u64,
    /// Claims on counting semaphores.
    pub ledger_at: u64,
    pub entries: u32,
    /// Joint requests, one for each member.
    pub joints_at: u64,
    pub len: u64,
}

impl Geometry {
    /// The tables for these limits, which the caller has checked.
    pub fn new(max_semaphores: u32, max_members: u32) -> Geometry {
        let blocks = max_semaphores.saturating_mul(2) + 65_536;
        let waiters = 262_144;
        let buckets = (max_semaphores / 4).next_power_of_two().max(64);
        let mut at = UNIT;
        let mut table = |count: u64, size: u64| {
            let here = at;
            at += (count * size).next_multiple_of(UNIT);
            here
        };
        let s = max_semaphores as u64;
        // The bitmap covers the whole file; an upper bound of the file's length is enough to size it.
        let bound = 64 * UNIT + s * (64 + 64 + 96 + 64 + 8) + 65_536 * 48 + (max_members as u64) * (1024 + UNIT) + (96 << 20);
        let present_at = table(bound / UNIT / 64 + 1, 8);
        let slots_at = table(max_members as u64, 256);
        let rows_at = table(max_members as u64, ROW_WORDS as u64 * 8);
        let waiters_at = table(waiters as u64, 64);
        let morgue_at = table(MORGUE as u64, 192);
        let history_at = table(MAX_HISTORY as u64, size_of::<Record>() as u64);
        let buckets_at = table(buckets as u64, 8);
        let cells_at = table(s, 64);
        let cold_at = table(s, 64);
        let blocks_at = table(blocks as u64, 48);
        let entries = (max_semaphores.max(65_536) as u64 + 65_536).min(MAX_ENTRIES as u64) as u32;
        let ledger_at = table(entries as u64, 64);
        let joints_at = table(max_members as u64, size_of::<Joint>() as u64);
        assert!(at <= bound, "the presence bitmap is too small");
        Geometry {
            max_semaphores,
            max_members,
            blocks,
            waiters,
            buckets,
            present_at,
            slots_at,
            rows_at,
            waiters_at,
            morgue_at,
            history_at,
            buckets_at,
            cells_at,
            cold_at,
            blocks_at,
            ledger_at,
            entries,
            joints_at,
            len: at,
        }
    }
}

/// The checksum of the header's constant fields, and the hash of names: FNV-1a with a final mix.
pub fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325_u64;
    for b in bytes {
        h = (h ^ b as u64).wrapping_mul(0x0000_0100_0000_01b3);
    }
    h ^= h >> 32;
    h = h.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    h ^ h >> 29
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_do_not_overlap_at_any_size() {
        for s in [1, 64, 1000, 1 << 20, MAX_SEMAPHORES] {
            for m in [1, 100, MAX_MEMBERS] {
                let g = Geometry::new(s, m);
                let at = [
                    g.present_at,
                    g.slots_at,
                    g.rows_at,
                    g.waiters_at,
                    g.morgue_at,
                    g.history_at,
                    g.buckets_at,
                    g.cells_at,
                    g.cold_at,
                    g.blocks_at,
                    g.ledger_at,
                    g.joints_at,
                    g.len,
                ];
                assert!(at.windows(2).all(|w| w[0] < w[1] && w[0] % UNIT == 0));
                assert!((g.slots_at - g.present_at) * 8 >= g.len / UNIT);
            }
        }
    }
}
