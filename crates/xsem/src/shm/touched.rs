//! Which cells of a namespace this process has opened, in blocks: so that it need not look at a million of them for what
//! one of its threads owns. Bits are only ever set.

use super::layout::MAX_SEMAPHORES;
use crate::sync::{AtomicU64, Ordering::*};

/// Cells that share a bit.
const BLOCK: u32 = 256;
const WORDS: usize = (MAX_SEMAPHORES / BLOCK / 64 + 1) as usize;

/// The cells that were opened. 8 KB of address space, of which a page is taken when it is written to.
#[derive(Debug)]
pub struct Touched(Box<[AtomicU64]>);

impl Touched {
    /// None.
    pub fn new() -> Touched {
        Touched((0..WORDS).map(|_| AtomicU64::new(0)).collect())
    }

    /// This cell was opened. Before anything of it is claimed.
    pub fn note(&self, cell: u32) {
        let (word, bit) = place(cell);
        if let Some(w) = self.0.get(word)
            && w.load(Relaxed) & bit == 0
        {
            w.fetch_or(bit, Relaxed);
        }
    }

    /// Those, and others that lie beside them.
    pub fn cells(&self) -> impl Iterator<Item = u32> {
        self.0.iter().enumerate().filter(|(_, w)| w.load(Relaxed) != 0).flat_map(|(i, w)| {
            let bits = w.load(Relaxed);
            (0..64).filter(move |b| bits & 1 << b != 0).flat_map(move |b| {
                let first = (i as u32 * 64 + b) * BLOCK;
                first..first + BLOCK
            })
        })
    }
}

fn place(cell: u32) -> (usize, u64) {
    let block = cell / BLOCK;
    ((block / 64) as usize, 1 << (block % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_among_them() {
        let t = Touched::new();
        assert_eq!(t.cells().count(), 0);
        for c in [0, 255, 256, 70_000, MAX_SEMAPHORES - 1, u32::MAX] {
            t.note(c);
        }
        let all: std::collections::BTreeSet<_> = t.cells().collect();
        for c in [0, 255, 256, 70_000, MAX_SEMAPHORES - 1] {
            assert!(all.contains(&c));
        }
        assert_eq!(all.len(), 4 * BLOCK as usize, "blocks that nobody has noted are left out");
    }
}
