//! The name index: every chain ends, each of its cells belongs there, and each semaphore is in the chain of its name.

use super::super::layout::{Cell, UNIT};
use super::super::names::{LINK_MARK, hash_of, link};
use super::super::word::{State, Word};
use super::flaw::{Flaw, Mend};
use super::view::View;
use crate::sync::{AtomicU64, Ordering::*};

/// A reference in a chain, as it was seen.
#[derive(Clone, Copy)]
struct Place<'a> {
    from: &'a AtomicU64,
    seen: u64,
    is_bucket: bool,
}

impl Place<'_> {
    fn leading_to(&self, next: u32) -> u64 {
        match self.is_bucket {
            true => ((self.seen >> 32).wrapping_add(1) << 32) | next as u64,
            false => self.seen & !(u32::MAX as u64) | next as u64,
        }
    }

    /// The reference leads to what is behind the current cell.
    fn cut(&self, next: u32) -> (u64, u64) {
        (self.seen, self.leading_to(next))
    }

    fn stands(&self) -> bool {
        self.from.load(Acquire) == self.seen
    }
}

/// Looks at all chains; which cells are linked.
pub fn look<'a>(view: &View<'a>, out: &mut Vec<Flaw<'a>>) -> Vec<bool> {
    let mut linked = vec![false; view.map.cells() as usize];
    let (buckets, in_unit) = (view.map.geo.buckets, (UNIT / 8) as u32);
    // Most units of the table were never taken.
    for first in (0..buckets).step_by(in_unit as usize).filter(|b| view.map.bucket(*b).is_some()) {
        for b in first..(first + in_unit).min(buckets) {
            if let Some(bucket) = view.map.bucket(b) {
                chain(view, b, bucket, &mut linked, out);
            }
        }
    }
    linked
}

fn chain<'a>(view: &View<'a>, b: u32, bucket: &'a AtomicU64, linked: &mut [bool], out: &mut Vec<Flaw<'a>>) {
    let mut place = Place { from: bucket, seen: bucket.load(Acquire), is_bucket: true };
    // Each cell is visited once, so this ends.
    while let Some(i) = (place.seen as u32).checked_sub(1) {
        let broken = match (view.cell(i), linked.get_mut(i as usize)) {
            (None, _) => Some("leads to a cell that does not exist"),
            (_, Some(l)) if *l => Some("runs in a circle, or into another one"),
            // Made since the table was measured.
            (_, None) => return,
            (_, Some(l)) => {
                *l = true;
                None
            }
        };
        let (Some(cell), None) = (view.cell(i), broken) else {
            if place.stands() {
                let (old, new) = place.cut(0);
                out.push(
                    Flaw::damage("buckets", b, old, format!("the chain of names {}", broken.unwrap_or("is broken")))
                        .mend("it ends there; what was behind is linked again", Mend::Swap(vec![(place.from, old, new)])),
                );
            }
            return;
        };
        let next = cell.next.load(Acquire);
        let word = Word(cell.word.load(Acquire));
        if !place.stands() {
            return;
        }
        let place_was = place;
        place = Place { from: &cell.next, seen: next, is_bucket: false };
        in_chain(view, (b, i), cell, (word, next), place_was, out);
    }
}

/// A cell where a chain leads to it.
fn in_chain<'a>(
    view: &View<'a>,
    (b, i): (u32, u32),
    cell: &'a Cell,
    (word, next): (Word, u64),
    place: Place<'a>,
    out: &mut Vec<Flaw<'a>>,
) {
    let state = word.state();
    let name = view.name(i);
    let past = |f: Flaw<'a>| {
        let (old, new) = place.cut(next as u32);
        f.mend("the chain leads past it", Mend::Swap(vec![(place.from, old, new)]))
    };
    if state == State::Empty && cell.name.load(Acquire) == 0 {
        out.push(past(Flaw::damage("cells", i, word.0, "an empty cell is in a chain of names")));
        return;
    }
    if state == State::Removed {
        return;
    }
    if next & LINK_MARK != 0 {
        out.push(
            Flaw::damage("cells", i, next, "its link is marked as one of a removed name, which it is not")
                .of(name.clone())
                .mend("the mark is cleared", Mend::Swap(vec![(&cell.next, next, next & !LINK_MARK)])),
        );
        return;
    }
    let generation = word.generation() & 0x7fff_ffff;
    let of_link = (next >> 33) as u32;
    if !matches!(state, State::Tentative(_) | State::Empty | State::Damaged) && of_link != generation {
        let flaw =
            Flaw::damage("cells", i, next ^ word.0, format!("its word is of generation {generation}, its link of {of_link}"))
                .of(name.clone());
        // What names the cell from elsewhere says which of the two it is.
        let (w, l) = (votes(view, i, generation), votes(view, i, of_link));
        out.push(match l > w {
            true => {
                let to = Word::new(of_link, word.low());
                flaw.mend("the word is put right: others mean that one, too", Mend::Word { cell: i, seen: word, to })
            }
            false => {
                let right = link(generation, next as u32);
                flaw.mend("the link is put right", Mend::Swap(vec![(&cell.next, next, right)]))
            }
        });
        return;
    }
    let mask = view.map.geo.buckets - 1;
    let hash = cell.hash.load(Acquire);
    let right = name.as_deref().map(hash_of);
    if hash & mask != b && cell.name.load(Acquire) != 0 {
        let flaw = Flaw::damage("cells", i, hash as u64, "it is in a chain where its hash does not belong").of(name);
        out.push(match right {
            Some(right) if right & mask == b => {
                flaw.expected("the hash of its name").mend("the hash is put right", Mend::Swap32(&cell.hash, hash, right))
            }
            Some(right) if right == hash => past(flaw),
            _ => flaw.person("its name cannot be told: `xsem show`, `xsem ls` name what is left"),
        });
    }
}

/// How many records elsewhere mean the cell in this generation.
fn votes(view: &View<'_>, i: u32, generation: u32) -> usize {
    let meant = super::super::waiters::target(i, generation);
    let entries = (0..view.map.entries()).filter_map(|e| view.entry(e)).filter(|e| e.target.load(Acquire) == meant).count();
    let waits = (0..view.waiters()).filter_map(|w| view.waiter(w)).filter(|w| w.target.load(Acquire) == meant).count();
    let joins = (0..view.map.slots()).filter_map(|s| view.slot(s)).filter(|(s, _)| s.join_cell.load(Acquire) == meant).count();
    entries + waits + joins
}

/// Whether a name leads to a cell now.
pub fn leads_to(view: &View<'_>, i: u32) -> bool {
    let Some(hash) = view.cell(i).map(|c| c.hash.load(Acquire)) else { return true };
    'again: for _ in 0..100 {
        let Some(bucket) = view.map.bucket(hash) else { return false };
        let mut place = Place { from: bucket, seen: bucket.load(Acquire), is_bucket: true };
        let first = place.seen;
        for _ in 0..=view.map.cells() {
            let Some(j) = (place.seen as u32).checked_sub(1) else {
                // Whatever is put in front moves the bucket's version.
                if bucket.load(Acquire) != first {
                    continue 'again;
                }
                return false;
            };
            if j == i {
                return true;
            }
            let Some(cell) = view.cell(j) else { return false };
            let next = cell.next.load(Acquire);
            if !place.stands() {
                continue 'again;
            }
            place = Place { from: &cell.next, seen: next, is_bucket: false };
        }
        return false;
    }
    // It changes all the time, so somebody gets through it.
    true
}
