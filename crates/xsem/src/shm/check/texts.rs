//! Blocks and what leads to them: names, labels, obituaries, the slots of pools; and what nothing leads to.

use super::super::blob;
use super::super::drain;
use super::super::inspect;
use super::super::layout::Cell;
use super::super::names::hash_of;
use super::super::obituary;
use super::super::word::{State, Word};
use super::flaw::{Flaw, Mend};
use super::view::View;
use crate::claim::Kind;
use crate::engine::MAX_PERMITS;
use crate::sync::{AtomicU64, Ordering::*};

/// Looks at all.
pub fn look<'a>(view: &View<'a>, out: &mut Vec<Flaw<'a>>) {
    let mut reached = vec![false; view.blocks() as usize];
    for i in 0..view.map.cells() {
        let Some(cell) = view.cell(i) else { continue };
        mark(view, i, cell.name.load(Acquire), blob::MAX, &mut reached);
        let Some(cold) = view.cold(i) else { continue };
        mark(view, i, cold.label.load(Acquire) as u32, blob::MAX, &mut reached);
        mark(view, i, cold.obituary.load(Acquire) as u32, blob::MAX, &mut reached);
        if inspect::kind_of(cell) == Some(Kind::Counting) {
            mark(view, i, (cold.ledger.load(Acquire) >> 32) as u32, MAX_PERMITS as usize * 8 + 80, &mut reached);
        }
        if !matches!(Word(cell.word.load(Acquire)).state(), State::Empty | State::Creating(_) | State::Removed) {
            references(view, i, cell, cold, out);
        }
    }
    for n in 0..view.map.entries() {
        let Some(e) = view.entry(n) else { continue };
        let label = e.label.load(Acquire);
        if let Some(c) = (e.target.load(Acquire) as u32).checked_sub(1).filter(|_| label != 0) {
            mark(view, c, label, blob::MAX, &mut reached);
            if blob::get(view.map, c, label).is_none() && e.label.load(Acquire) == label {
                out.push(
                    Flaw::damage("ledger", n, label as u64, "the label of a claim cannot be read")
                        .of(view.name(c))
                        .mend("the claim has no label", Mend::Swap32(&e.label, label, 0)),
                );
            }
        }
    }
    unreached(view, &reached, out);
}

/// Marks the blocks that a chain leads to.
fn mark(view: &View<'_>, cell: u32, first: u32, bytes: usize, reached: &mut [bool]) {
    let mut at = first;
    for _ in 0..bytes / 40 + 2 {
        let Some(i) = at.checked_sub(1) else { return };
        let (Some(block), Some(r)) = (view.block(i), reached.get_mut(i as usize)) else { return };
        let head = block.head.load(Acquire);
        if (head >> 32) as u32 != cell.wrapping_add(1) {
            return;
        }
        *r = true;
        at = head as u32;
    }
}

fn references<'a>(view: &View<'a>, i: u32, cell: &'a Cell, cold: &'a super::super::layout::Cold, out: &mut Vec<Flaw<'a>>) {
    let label = cold.label.load(Acquire);
    if label as u32 != 0 && blob::get(view.map, i, label as u32).is_none() && cold.label.load(Acquire) == label {
        out.push(
            Flaw::damage("cold", i, label, "its label cannot be read")
                .of(view.name(i))
                .mend("it has no label", Mend::Swap(vec![(&cold.label, label, 0)])),
        );
    }
    let o = cold.obituary.load(Acquire);
    if o as u32 != 0 && !obituary::is_readable(view.map, i, o as u32) && cold.obituary.load(Acquire) == o {
        out.push(
            Flaw::damage("cold", i, o, "what is known of its dead owners cannot be read")
                .of(view.name(i))
                .mend("the deaths are counted, without details", Mend::Swap(vec![(&cold.obituary, o, o & !(u32::MAX as u64))])),
        );
    }
    let d = cold.drain.load(Acquire);
    if !drain::is_state(d) {
        out.push(
            Flaw::damage("cold", i, d, "whether it is drained is neither yes nor no")
                .of(view.name(i))
                .mend("it is open", Mend::Swap(vec![(&cold.drain, d, 0)])),
        );
    }
    if inspect::kind_of(cell) == Some(Kind::Counting) {
        numbers(view, i, &cold.ledger, out);
    }
}

/// The chain of a pool's slots.
fn numbers<'a>(view: &View<'a>, i: u32, ledger: &'a AtomicU64, out: &mut Vec<Flaw<'a>>) {
    let seen = ledger.load(Acquire);
    let mut at = (seen >> 32) as u32;
    let mut from: Option<&'a AtomicU64> = None;
    for _ in 0..MAX_PERMITS / 5 + 2 {
        let Some(n) = at.checked_sub(1) else { return };
        match view.block(n).filter(|b| (b.head.load(Acquire) >> 32) as u32 == i + 1) {
            Some(b) => {
                at = b.head.load(Acquire) as u32;
                from = Some(&b.head);
            }
            None => break,
        }
    }
    if at == 0 || ledger.load(Acquire) >> 32 != seen >> 32 {
        return;
    }
    let (word, old) = from.map_or((ledger, seen), |w| (w, w.load(Acquire)));
    let new = if from.is_some() { old & !(u32::MAX as u64) } else { old & u32::MAX as u64 };
    out.push(
        Flaw::damage("blocks", i, at as u64, "the numbers of its permits lead to a block that is not its own")
            .of(view.name(i))
            .mend("they end there; who asks again may get other numbers", Mend::Swap(vec![(word, old, new)])),
    );
}

fn unreached<'a>(view: &View<'a>, reached: &[bool], out: &mut Vec<Flaw<'a>>) {
    for (i, reached) in (0..).zip(reached) {
        let Some(block) = view.block(i) else { continue };
        let head = block.head.load(Acquire);
        if head == 0 {
            continue;
        }
        let cell = ((head >> 32) as u32).checked_sub(1).and_then(|c| view.cell(c));
        if cell.is_none() || head as u32 > view.blocks() {
            let flaw =
                Flaw::damage("blocks", i, head, "a block of a semaphore that does not exist, or with a successor that does not");
            out.push(match *reached {
                // Then the name or the text that it is part of says so.
                true => continue,
                false => flaw.mend("it is free", Mend::Block { block: i, head }),
            });
        } else if !*reached && !is_being_built(cell) {
            out.push(
                Flaw::leak("blocks", i, head, "a block that nothing leads to: who took it has died, or is just about to use it")
                    .mend("it is free", Mend::Block { block: i, head })
                    .alone(),
            );
        }
    }
}

fn is_being_built(cell: Option<&Cell>) -> bool {
    cell.is_some_and(|c| matches!(Word(c.word.load(Acquire)).state(), State::Creating(_)))
}

/// A text of this cell that has this hash: first block + 1, and the name.
pub fn name_by_hash(view: &View<'_>, cell: u32, hash: u32) -> Option<(u32, String)> {
    (0..view.blocks()).find_map(|i| {
        let head = view.block(i)?.head.load(Acquire);
        if (head >> 32) as u32 != cell.wrapping_add(1) {
            return None;
        }
        let text = String::from_utf8(blob::get(view.map, cell, i + 1)?).ok()?;
        (hash_of(&text) == hash && crate::name::Name::new(&text).is_ok()).then_some((i + 1, text))
    })
}
