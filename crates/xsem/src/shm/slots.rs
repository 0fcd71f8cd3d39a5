//! The numbered slots of a pool: who has which. A slot is named by the claim that has it (`entry + 1 << 32 | low half of
//! the token`), so it is free again when that claim is over, and nobody has to clean up after the dead.
//!
//! Claims get slots when they ask for them, the lowest that are free. Since at most as many slots are named by living
//! claims as permits are held, there are always enough below the limit in force at the grant.

use super::blob;
use super::count::{Doing, Op};
use super::layout::{BLOCK_TEXT, Block};
use super::ledger::Book;
use super::map::Map;
use crate::engine::MAX_PERMITS;
use crate::error::Result;
use crate::sync::{AtomicU64, Ordering::*};

// A count word has 17 bits for the free ones, one of them the sign.
const _: () = assert!(MAX_PERMITS < 1 << 16);

const IN_BLOCK: u32 = (BLOCK_TEXT / 8) as u32;

/// How a slot names the claim that has it.
pub fn name(entry: u32, token: u64) -> u64 {
    (entry as u64 + 1) << 32 | token & 0xffff_ffff
}

/// Visits the words of the slots that there are, and then, if `grow`, those of new blocks.
fn walk(book: &Book, grow: bool, mut visit: impl FnMut(u32, &AtomicU64) -> bool) -> Result<()> {
    let (map, cell) = (&book.arena.map, book.index);
    let cold = map.ensure_cold(cell)?;
    let mut at = (cold.ledger.load(Acquire) >> 32) as u32;
    let mut last: Option<&Block> = None;
    let mut number = 0;
    while number < MAX_PERMITS {
        let Some(block) = at.checked_sub(1).and_then(|i| map.block(i)) else {
            if !grow {
                return Ok(());
            }
            let next = append(book, last)?;
            if next == at || map.block(next.wrapping_sub(1)).is_none() {
                return Err(book.arena.damaged(format_args!("the slots of the cell {cell} lead to a block that does not exist")));
            }
            at = next;
            continue;
        };
        for word in &block.text {
            if visit(number, word) {
                return Ok(());
            }
            number += 1;
        }
        at = block.head.load(Acquire) as u32;
        last = Some(block);
    }
    Ok(())
}

/// Another block at the end of the chain, or the one that somebody else has put there.
fn append(book: &Book, last: Option<&Block>) -> Result<u32> {
    let (map, cell) = (&book.arena.map, book.index);
    let new = blob::empty_block(map, cell)?;
    let linked = match last {
        Some(b) => {
            let end = blob::head(cell, 0);
            b.head.compare_exchange(end, blob::head(cell, new), AcqRel, Acquire).map_err(|now| now as u32)
        }
        None => {
            let cold = map.ensure_cold(cell)?;
            let mut seen = cold.ledger.load(Acquire);
            loop {
                if seen >> 32 != 0 {
                    break Err((seen >> 32) as u32);
                }
                match cold.ledger.compare_exchange(seen, seen | (new as u64) << 32, AcqRel, Acquire) {
                    Ok(v) => break Ok(v),
                    Err(now) => seen = now,
                }
            }
        }
    };
    match linked {
        Ok(_) => Ok(new),
        Err(there) => {
            blob::free(map, cell, new);
            Ok(there)
        }
    }
}

/// Whether the claim that a slot names is still held.
fn is_taken(book: &Book, named: u64) -> bool {
    let Some(i) = ((named >> 32) as u32).checked_sub(1) else { return false };
    book.arena.map.entry(i).is_some_and(|e| {
        let same = |n: u64| n & 0xffff_ffff == named & 0xffff_ffff;
        let op = Op(e.op.load(Acquire));
        // A claim that is being given back has its slots until it is; that of a dead member until it is ended.
        same(e.token.load(Acquire)) && !matches!(op.doing(), Doing::Idle | Doing::User | Doing::Bounds | Doing::Taking)
    })
}

/// The slots of a claim of `n` permits: those that it has, or as many as are missing now.
pub fn of_claim(book: &Book, entry: u32, token: u64, n: u32) -> Result<Vec<u32>> {
    let mine = name(entry, token);
    let mut found = list(book, entry, token);
    if found.len() < n as usize {
        walk(book, true, |number, word| {
            let named = word.load(Acquire);
            if named != mine && !is_taken(book, named) && word.compare_exchange(named, mine, AcqRel, Relaxed).is_ok() {
                found.push(number);
            }
            found.len() >= n as usize
        })?;
        found.sort_unstable();
    }
    if found.len() < n as usize {
        // Cannot be: fewer are named by claims than permits are held.
        let (cell, found) = (book.index, found.len());
        return Err(book.arena.damaged(format_args!("{found} slots and {n} permits in the ledger of the cell {cell}")));
    }
    Ok(found)
}

/// The slots that a claim has been given, ascending.
pub fn list(book: &Book, entry: u32, token: u64) -> Vec<u32> {
    let mine = name(entry, token);
    let mut found = Vec::new();
    // Without growing there is nothing that could fail.
    let _ = walk(book, false, |number, word| {
        if word.load(Acquire) == mine {
            found.push(number);
        }
        false
    });
    found
}

/// The slots of all claims, by what they name.
pub fn all(book: &Book) -> std::collections::BTreeMap<u64, Vec<u32>> {
    let mut found = std::collections::BTreeMap::<u64, Vec<u32>>::new();
    if book.arena.map.cold(book.index).is_none_or(|c| c.ledger.load(Acquire) >> 32 == 0) {
        return found;
    }
    let _ = walk(book, false, |number, word| {
        let named = word.load(Acquire);
        if named != 0 {
            found.entry(named).or_default().push(number);
        }
        false
    });
    found
}

/// Gives the highest slots of the caller's claim back, so that `keep` are left.
pub fn keep(book: &Book, entry: u32, token: u64, keep: u32) {
    let mine = name(entry, token);
    let mut left = 0;
    let _ = walk(book, false, |_, word| {
        if word.load(Acquire) == mine {
            left += 1;
            if left > keep {
                let _ = word.compare_exchange(mine, 0, AcqRel, Relaxed);
            }
        }
        false
    });
}

/// Frees the blocks of a cell's slots.
pub fn free(map: &Map, cell: u32, first: u32) {
    blob::free_chain(map, cell, first, (MAX_PERMITS / IN_BLOCK) as usize + 2);
}
