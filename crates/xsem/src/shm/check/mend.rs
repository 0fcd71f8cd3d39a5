//! Repair: what was found is mended, step by step, and looked at again, until there is nothing more to do.
//!
//! Each step is a compare-and-swap from the bytes that were seen. So others may go on meanwhile, several may repair at once, and
//! one that is killed or stopped anywhere leaves less to do for the next.

use super::super::arena::Arena;
use super::super::blob::give_hint;
use super::super::careful;
use super::super::count::{self, Count, Doing, Ledger, Op, PENDING, WAITERS};
use super::super::evict;
use super::super::futex;
use super::super::inspect;
use super::super::layout::UNIT;
use super::super::ledger::{self, Book};
use super::super::map::{Map, fallocate};
use super::super::members::{Who, generation};
use super::super::names::{self, Relinked};
use super::super::obituary::{self, Facts};
use super::super::object::ShmExclusive;
use super::super::plain;
use super::super::put_back;
use super::super::word::{DRAINED, INHERITED, MARK, Owner, State, WAITERS as SLEEPERS, Word};
use super::flaw::{Flaw, Mend};
use super::view::View;
use super::{Look, checkup, confirmed};
use crate::claim::{Cause, Kind};
use crate::health::{Finding, Remedy, Repaired, Severity};
use crate::sync::{AtomicU32, AtomicU64, Ordering::*};
use std::collections::HashSet;

/// So often it looks again. What is left then comes back all the time, or cannot be mended.
const PASSES: u32 = 16;

fn view(arena: &Arena) -> View<'_> {
    View { map: &arena.map, members: &arena.members, id: arena.id() }
}

/// From here on owners look at the word when they give back, and so notice what is done to it. One that is under way may overlook
/// what is damaged, and puts a free word in its place, which is what it should be.
fn be_careful(arena: &Arena) {
    for cell in (0..arena.map.cells()).filter_map(|i| arena.map.cell(i)) {
        // Not one that was never used: how many there are may be what is damaged. (An owner's word may be zeros by damage; its claim
        // is written down.)
        if cell.word.load(Relaxed) != 0 || cell.claim.load(Relaxed) != 0 {
            cell.careful.fetch_or(careful::ASKED, SeqCst);
        }
    }
    plain::barrier();
}

/// Mends what it can.
pub fn repair(arena: &'static Arena) -> Repaired {
    let mut mended = Vec::new();
    be_careful(arena);
    // What a process makes half of it may come back to; that includes the caller's other threads.
    let stranger = arena.me().is_none();
    // What was looked at in vain.
    let mut known = HashSet::new();
    let mut now = confirmed(&view(arena));
    for _ in 0..PASSES {
        let alone = stranger && is_alone(arena);
        let keys: HashSet<_> = now.flaws.iter().map(|f| f.key).collect();
        let done = mend(arena, now, alone);
        if done.is_empty() {
            known.extend(keys);
        }
        mended.extend(done);
        now = confirmed(&view(arena));
        // What others have changed while it was looked at is damage of another sort now.
        if now.flaws.iter().all(|f| known.contains(&f.key)) {
            break;
        }
    }
    let ended = end_claims_of_the_dead(arena);
    if !ended.is_empty() {
        now = confirmed(&view(arena));
    }
    mended.extend(ended);
    Repaired::new(mended, checkup(now))
}

/// One pass. Room that nobody uses is freed when nothing else is wrong: what seems to be in no chain may be in a broken one.
fn mend(arena: &'static Arena, found: Look<'_>, alone: bool) -> Vec<Finding> {
    let sound = found.flaws.iter().all(|f| f.finding.severity != Severity::Damage);
    let mut done = Vec::new();
    for flaw in found.flaws {
        let wanted = sound || flaw.finding.severity == Severity::Damage;
        if wanted && (alone || !flaw.alone) && apply(arena, &flaw) {
            tracing::info!(finding = %flaw.finding, "mended");
            done.push(flaw.finding);
        }
    }
    done
}

/// Whether no other process has the file open, as far as that can be seen.
fn is_alone(arena: &Arena) -> bool {
    let others = (0..arena.map.slots()).any(|i| {
        let main = arena.map.row(i).map_or(0, |r| r[0].load(Acquire));
        let owner = Owner::new(i, generation(main));
        main as u32 != 0 && arena.me() != Some(owner) && !view(arena).is_gone(owner)
    });
    !others && super::super::sys::users_of(arena.id()).is_empty()
}

/// One word, from what was seen to what belongs there.
fn swap(word: &AtomicU64, from: u64, to: u64) -> bool {
    word.compare_exchange(from, to, AcqRel, Relaxed).is_ok()
}

/// Mends that need nothing but the map: also those of a file that cannot be opened yet. None: it is another one.
pub fn apply_to(map: &Map, mend: &Mend<'_>) -> Option<bool> {
    Some(match mend {
        Mend::Swap(all) => all.iter().fold(false, |some, (w, from, to)| swap(w, *from, *to) || some),
        Mend::Swap32(w, from, to) => w.compare_exchange(*from, *to, AcqRel, Relaxed).is_ok(),
        Mend::Swap16(w, from, to) => w.compare_exchange(*from, *to, AcqRel, Relaxed).is_ok(),
        Mend::Room { at, len } => map.ensure(*at, *len).is_ok(),
        Mend::Taken => take_what_is_said(map),
        _ => return None,
    })
}

fn apply(arena: &'static Arena, flaw: &Flaw<'_>) -> bool {
    let map = &arena.map;
    if let Some(done) = apply_to(map, &flaw.mend) {
        return done;
    }
    match flaw.mend {
        Mend::Word { cell, seen, to } => set_word(arena, cell, seen, to),
        Mend::Back { cell, seen, to, claim } => put_back::give_back(arena, cell, seen, to, claim),
        Mend::Settle { cell, seen } => map.cell(cell).is_some_and(|c| {
            names::settle(arena, c, seen);
            c.word.load(Acquire) != seen.0
        }),
        Mend::Free { cell, seen, generation } => free(arena, cell, seen, generation),
        Mend::Drop { cell, seen } => drop_cell(arena, cell, seen),
        Mend::Link { cell, seen } => link(arena, cell, seen),
        Mend::Recount { cell, seen, to } => recount(arena, cell, Count(seen), Count(to)),
        Mend::Bury { slot, main } => arena.members.bury(map, slot, main),
        Mend::Introduce { slot, main, pid } => {
            let still = map.row(slot).is_some_and(|r| r[0].load(Acquire) == main);
            let Some(who) = Who::of_process(pid).filter(|_| still) else { return false };
            arena.members.introduce_again(map, slot, generation(main), &who);
            true
        }
        Mend::Record { record, slot } => adopt(arena, record, slot),
        Mend::Entry { entry, cell } => enter(arena, entry, cell),
        Mend::FreeEntry { entry, who, target } => free_entry(arena, entry, who, target),
        Mend::Recover { cell, seen } => recover(arena, cell, seen),
        Mend::Block { block, head } => {
            let freed = map.block(block).is_some_and(|b| swap(&b.head, head, 0));
            if freed {
                give_hint(&map.header().cursors.block_hints, block);
            }
            freed
        }
        _ => false,
    }
}

/// Room for every unit whose bit is set: on a full file system touching the others would be a fault.
fn take_what_is_said(map: &Map) -> bool {
    let Some(fd) = map.fd() else { return false };
    (0..map.geo.len).step_by(UNIT as usize).filter(|at| map.is_present(*at)).all(|at| fallocate(&fd, at, UNIT).is_ok())
}

fn set_word(arena: &Arena, i: u32, seen: Word, to: Word) -> bool {
    let Some(cell) = arena.map.cell(i) else { return false };
    let done = swap(&cell.word, seen.0, to.0);
    if done {
        futex::wake_all(futex::low(&cell.word));
    }
    done
}

/// Nobody can tell who owns it. Whoever does believes that it does: so the next owner is told, and its token is beyond any that
/// may have been given.
fn free(arena: &'static Arena, i: u32, seen: Word, generation: u32) -> bool {
    let Some(cell) = arena.map.cell(i) else { return false };
    let stands = || cell.word.load(Acquire) == seen.0;
    let token = cell.token.load(Acquire);
    // One that is just being written down has the next.
    let beyond = token.saturating_add(2);
    let of_owner = Facts::of_owner(arena, i, (token, token.wrapping_sub(2)));
    let owner = Owner::from_bits((cell.claim.load(Acquire) >> 32) as u32);
    obituary::publish(arena, (i, ledger::generation_of(cell)), owner, of_owner, Cause::Repaired, stands);
    if stands() {
        let _ = swap(&cell.token, token, beyond);
    }
    set_word(arena, i, seen, Word::new(generation, MARK | SLEEPERS | seen.flags() & DRAINED))
}

/// Takes away what has no name any more, and is nobody's.
fn drop_cell(arena: &'static Arena, i: u32, seen: Word) -> bool {
    let Some(cell) = arena.map.cell(i) else { return false };
    // The link has the generation that whoever walks the chain expects.
    let generation = ((cell.next.load(Acquire) >> 33) as u32).max(1);
    let removed = Word::removed(generation);
    if arena.register().is_err() || !set_word(arena, i, seen, removed) {
        return false;
    }
    let _ = names::unlink(arena, i);
    names::recover(arena, i, removed);
    true
}

fn link(arena: &'static Arena, i: u32, seen: Word) -> bool {
    let Some(cell) = arena.map.cell(i) else { return false };
    let generation = ledger::generation_of(cell);
    match names::relink(arena, i, generation) {
        Ok(Relinked::Done) => true,
        // Made anew by somebody who did not find it. One of the two that nobody uses goes.
        Ok(Relinked::Another(j)) if is_unused(arena, i) => drop_cell(arena, i, seen) && j != i,
        Ok(Relinked::Another(j)) if is_unused(arena, j) => {
            let Some(word) = arena.map.cell(j).map(|c| Word(c.word.load(Acquire))) else { return false };
            // Removed as by anybody, so whoever has it open finds that.
            word.state() == State::Free && arena.register().is_ok() && names::remove(arena, j, word).unwrap_or(false)
        }
        _ => false,
    }
}

fn is_unused(arena: &'static Arena, i: u32) -> bool {
    let Some(cell) = arena.map.cell(i) else { return false };
    let generation = ledger::generation_of(cell);
    let word = Word(cell.word.load(Acquire));
    word.state() == State::Free
        && !word.has(MARK)
        && inspect::waiters_of(arena, i, generation, None).is_empty()
        && (!inspect::has_count(cell) || inspect::holders(arena, i).is_empty())
}

/// What is free, counted again; whoever sleeps looks again.
fn recount(arena: &'static Arena, i: u32, seen: Count, to: Count) -> bool {
    let Some(cell) = arena.map.cell(i) else { return false };
    let sleepers = seen.has(WAITERS);
    let to = if sleepers { to.with_flags(to.flags() | PENDING) } else { to };
    let done = swap(&cell.claim, seen.0, to.0);
    if done && sleepers {
        Book { arena, cell, index: i, generation: ledger::generation_of(cell) }.wake_pending(&cell.claim);
    }
    done
}

/// Puts something in front of a list that is in none. Its own link first, from what was read before the look that found it in no
/// list: who has put it back meanwhile has changed one of the two.
fn push(link: &AtomicU32, old: u32, head: impl Fn(u32) -> bool, first: u32) -> bool {
    link.compare_exchange(old, first, AcqRel, Relaxed).is_ok() && head(first)
}

fn adopt(arena: &'static Arena, record: u32, slot: Option<u32>) -> bool {
    let map = &arena.map;
    let mine = slot.is_none();
    let Some(slot) = slot.or_else(|| Some(arena.register().ok()?.slot())) else { return false };
    let (Some(w), Some(s)) = (map.waiter(record), map.slot(slot)) else { return false };
    let (old, first) = (w.next.load(Acquire), s.waiters.load(Acquire));
    let is_in_a_list =
        (0..map.slots()).any(|i| super::super::waiters::of_slot(map, i).any(|(n, _)| n == record)) || first == record + 1;
    if is_in_a_list {
        return false;
    }
    let head = |first: u32| s.waiters.compare_exchange(first, record + 1, AcqRel, Relaxed).is_ok();
    let done = push(&w.next, old, head, first);
    if done && mine {
        w.busy.store(0, Release);
    }
    done
}

fn enter(arena: &'static Arena, entry: u32, i: u32) -> bool {
    let map = &arena.map;
    let (Some(e), Some(cell), Ok(cold)) = (map.entry(entry), map.cell(i), map.ensure_cold(i)) else { return false };
    let book = Book { arena, cell, index: i, generation: ledger::generation_of(cell) };
    let (old, first) = (e.next.load(Acquire), cold.ledger.load(Acquire));
    if book.entries().any(|(n, _)| n == entry) {
        return false;
    }
    let linked = first & !(u32::MAX as u64) | (entry as u64 + 1);
    push(&e.next, old, |_| swap(&cold.ledger, first, linked), first as u32)
}

/// An entry of nobody, or of one who is gone: what it may hold is given back, and it is vacant.
fn free_entry(arena: &'static Arena, i: u32, who: u64, target: u64) -> bool {
    let map = &arena.map;
    let Some(e) = map.entry(i) else { return false };
    let stands = || e.who.load(Acquire) == who && e.target.load(Acquire) == target;
    if !stands() {
        return false;
    }
    let meant = (target as u32).checked_sub(1).and_then(|c| map.cell(c).map(|cell| (c, cell)));
    let live = meant.filter(|(_, cell)| ledger::generation_of(cell) == (target >> 32) as u32);
    match live {
        Some((index, cell)) if inspect::has_count(cell) => {
            let book = Book { arena, cell, index, generation: (target >> 32) as u32 };
            let words = book.words();
            count::recover(&words.count, &book, i, stands, || words.is_reserved());
        }
        Some(_) => {
            let op = Op(e.op.load(Acquire));
            if op.doing() != Doing::Idle && stands() {
                let _ = swap(&e.op, op.0, op.aside(Doing::Idle).0);
            }
        }
        None if target != 0 => {
            let _ = swap(&e.target, target, 0);
        }
        None => {}
    }
    let done = swap(&e.who, who, 0);
    if done && e.target.load(Acquire) == 0 {
        give_hint(&map.header().cursors.entry_hints, i);
    }
    done
}

fn recover(arena: &'static Arena, i: u32, seen: Word) -> bool {
    let (Some(cell), Ok(_)) = (arena.map.cell(i), arena.register()) else { return false };
    let mut word = seen;
    if evict::is_quarantined(arena, i) {
        // Only where nobody else has the file open: see the flaw.
        word = seen.without(INHERITED);
        if !swap(&cell.word, seen.0, word.0) {
            return false;
        }
    }
    names::recover(arena, i, word);
    cell.word.load(Acquire) != word.0
}

/// Claims of the dead are free for whoever comes; here somebody has come.
fn end_claims_of_the_dead(arena: &'static Arena) -> Vec<Finding> {
    let mut ended = Vec::new();
    for i in 0..arena.map.cells() {
        let Some(cell) = arena.map.cell(i) else { continue };
        let word = Word(cell.word.load(Acquire));
        let told = |n: Option<String>| {
            Finding::new(Severity::Note, "cells", "a process has died that held it", "")
                .at(i)
                .of(n)
                .remedy(Remedy::Itself("its claim has ended".into()))
        };
        match (word.state(), inspect::kind_of(cell)) {
            (State::Owned(o), Some(Kind::Exclusive)) if view(arena).is_gone(o) => {
                let Some(sem) = ShmExclusive::unnamed(arena, i, word.generation()) else { continue };
                if let Ok(me) = arena.register()
                    && sem.end_dead(me)
                {
                    ended.push(told(Some(sem.name().to_string())));
                }
            }
            (State::Free, Some(Kind::Counting)) => {
                let book = Book { arena, cell, index: i, generation: word.generation() };
                let gone = |o: &Owner| view(arena).is_gone(*o);
                let dead = book.holds().filter_map(|(_, e, _)| ledger::owner_of(e)).any(|o| gone(&o));
                if dead {
                    book.reclaim();
                    ended.push(told(names::name_of(arena, i, word.generation())));
                }
            }
            _ => {}
        }
    }
    ended
}
