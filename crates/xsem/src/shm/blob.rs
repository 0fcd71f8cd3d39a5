//! Text and records of any length, in chained blocks. A blob never changes once somebody can find it: to change it, make
//! another, swap the reference, and free the old one if the swap was yours.
//!
//! A block belongs to the cell whose number is in its head. Taking and freeing it is one compare-and-swap of the head;
//! the list of hints only makes it fast.

use super::layout::{BLOCK_TEXT, Block, HINTS};
use super::map::Map;
use crate::error::{Code, Error, Result};
use crate::sync::{AtomicU32, Ordering::*};

/// The longest blob.
pub const MAX: usize = 1024;

/// The head of a block of a cell.
pub fn head(cell: u32, next: u32) -> u64 {
    (cell as u64 + 1) << 32 | next as u64
}

/// Stores bytes for a cell; the result is the first block + 1.
pub fn put(map: &Map, cell: u32, bytes: &[u8]) -> Result<u32> {
    debug_assert!(bytes.len() <= MAX);
    let mut all = (bytes.len() as u16).to_le_bytes().to_vec();
    all.extend(bytes);
    let mut next = 0;
    // From the end, so that each head can name its successor when it is written.
    for chunk in all.chunks(BLOCK_TEXT).rev() {
        match take(map, cell, next) {
            Ok((i, block)) => {
                let mut padded = [0u8; BLOCK_TEXT];
                padded[..chunk.len()].copy_from_slice(chunk);
                for (w, b) in block.text.iter().zip(padded.chunks_exact(8)) {
                    w.store(u64::from_le_bytes(b.try_into().unwrap_or([0; 8])), Relaxed);
                }
                next = i + 1;
            }
            Err(e) => {
                free(map, cell, next);
                return Err(e);
            }
        }
    }
    Ok(next)
}

/// Reads a blob. None when it is damaged, or was freed meanwhile: the caller looks at its reference again.
pub fn get(map: &Map, cell: u32, first: u32) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(BLOCK_TEXT);
    let mut at = first;
    loop {
        let block = map.block(at.checked_sub(1)?)?;
        let h = block.head.load(Acquire);
        if (h >> 32) as u32 != cell + 1 {
            return None;
        }
        bytes.extend(block.text.iter().flat_map(|w| w.load(Relaxed).to_le_bytes()));
        let len = u16::from_le_bytes([bytes[0], bytes[1]]) as usize;
        if len > MAX {
            return None;
        }
        if bytes.len() >= len + 2 {
            bytes.truncate(len + 2);
            bytes.drain(..2);
            return Some(bytes);
        }
        at = h as u32;
    }
}

/// Whether the blob is exactly these bytes; reads without allocating in the usual case of one block.
pub fn equals(map: &Map, cell: u32, first: u32, bytes: &[u8]) -> Option<bool> {
    let block = map.block(first.checked_sub(1)?)?;
    if (block.head.load(Acquire) >> 32) as u32 != cell + 1 {
        return None;
    }
    let word = block.text[0].load(Relaxed).to_le_bytes();
    if u16::from_le_bytes([word[0], word[1]]) as usize != bytes.len() {
        return Some(false);
    }
    get(map, cell, first).map(|b| b == bytes)
}

/// Frees a blob. Only for whoever took the reference away, or is about to, alone: from the end of the chain, so that one
/// who dies in the middle leaves a shorter chain to be freed again.
pub fn free(map: &Map, cell: u32, first: u32) {
    free_chain(map, cell, first, MAX / BLOCK_TEXT + 1);
}

/// The same for a chain of more blocks than a blob has.
pub fn free_chain(map: &Map, cell: u32, first: u32, longest: usize) {
    let mut chain = Vec::new();
    let mut at = first;
    while let Some(block) = at.checked_sub(1).and_then(|i| map.block(i)) {
        let h = block.head.load(Acquire);
        if (h >> 32) as u32 != cell + 1 || chain.len() > longest {
            break;
        }
        chain.push((at - 1, block, h));
        at = h as u32;
    }
    for (i, block, h) in chain.into_iter().rev() {
        if block.head.compare_exchange(h, 0, AcqRel, Relaxed).is_ok() {
            give_hint(&map.header().cursors.block_hints, i);
        }
    }
}

/// A zeroed block for a cell; + 1.
pub fn empty_block(map: &Map, cell: u32) -> Result<u32> {
    let (i, block) = take(map, cell, 0)?;
    block.text.iter().for_each(|w| w.store(0, Relaxed));
    Ok(i + 1)
}

fn take(map: &Map, cell: u32, next: u32) -> Result<(u32, &Block)> {
    let c = &map.header().cursors;
    let try_take = |i: u32| {
        let block = map.block(i)?;
        block.head.compare_exchange(0, head(cell, next), AcqRel, Relaxed).ok().map(|_| (i, block))
    };
    if let Some(found) = take_hint(&c.block_hints).and_then(try_take) {
        return Ok(found);
    }
    while let Some(i) = map.bump(&c.blocks, map.geo.blocks, map.geo.blocks_at, 48)? {
        if let Some(found) = try_take(i) {
            return Ok(found);
        }
    }
    let start = c.scan_blocks.load(Relaxed);
    for k in 0..map.geo.blocks {
        let i = start.wrapping_add(k) % map.geo.blocks;
        if let Some(found) = try_take(i) {
            c.scan_blocks.store(i, Relaxed);
            return Ok(found);
        }
    }
    Err(Error::new(Code::TooManySemaphores, "the namespace has no room for another name or label")
        .advice("remove semaphores (`xsem rm`), or use a namespace with a larger limit"))
}

/// Remembers something free, perhaps.
pub fn give_hint(hints: &[AtomicU32; HINTS], i: u32) {
    for h in hints {
        if h.load(Relaxed) == 0 && h.compare_exchange(0, i + 1, AcqRel, Relaxed).is_ok() {
            return;
        }
    }
}

/// Something that was free a while ago, perhaps.
pub fn take_hint(hints: &[AtomicU32; HINTS]) -> Option<u32> {
    hints.iter().find_map(|h| match h.load(Relaxed) {
        0 => None,
        _ => h.swap(0, AcqRel).checked_sub(1),
    })
}
