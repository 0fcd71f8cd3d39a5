//! Cells: the word, who owns it, the name, the kind; and what was left half built or half removed.

use super::super::inspect;
use super::super::layout::Cell;
use super::super::names::hash_of;
use super::super::object::{CLAIMANT_SHIFT, key};
use super::super::waiters::target;
use super::super::word::{DRAINED, INHERITED, MARK, Owner, RESERVED, State, WAITERS, Word};
use super::flaw::{Flaw, Mend};
use super::index;
use super::view::View;
use crate::claim::Kind;
use crate::sync::Ordering::*;

/// Looks at all; how many semaphores there are.
pub fn look<'a>(view: &View<'a>, linked: &[bool], out: &mut Vec<Flaw<'a>>) -> u64 {
    let mut semaphores = 0;
    for (i, linked) in (0..view.map.cells()).zip(linked) {
        let Some(cell) = view.cell(i) else { continue };
        let word = Word(cell.word.load(Acquire));
        match word.state() {
            State::Free | State::Owned(_) | State::Tentative(_) => {
                semaphores += 1;
                semaphore(view, i, cell, word, *linked, out);
            }
            State::Moved if !*linked && !inspect::is_successor(cell) && !index::leads_to(view, i) => {
                if Word(cell.word.load(Acquire)) == word {
                    out.push(unlinked(view, i, word));
                }
            }
            State::Moved => {}
            State::Damaged => out.push(lost_word(view, i, cell, word)),
            // It has a name, so a semaphore lives here.
            State::Empty if cell.name.load(Acquire) != 0 && view.name(i).is_some() => {
                if Word(cell.word.load(Acquire)) == word {
                    out.push(lost_word(view, i, cell, word));
                }
            }
            State::Empty => {}
            State::Creating(_) | State::Removed => leftover(view, i, cell, word, *linked, out),
        }
    }
    semaphores
}

/// What a semaphore's cell says, beside its chain.
fn semaphore<'a>(view: &View<'a>, i: u32, cell: &'a Cell, word: Word, linked: bool, out: &mut Vec<Flaw<'a>>) {
    let name = view.name(i);
    let same = || Word(cell.word.load(Acquire)).without(WAITERS | RESERVED) == word.without(WAITERS | RESERVED);
    let kind = inspect::kind_of(cell);
    if !inspect::is_known_kind(cell) {
        out.push(lost_kind(view, i, cell, word).of(name.clone()));
    }
    let hash = cell.hash.load(Acquire);
    match &name {
        None if same() => out.push(lost_name(view, i, cell, word)),
        // A chain that it is in says which of the two is wrong; see there.
        Some(n) if hash_of(n) != hash && !linked && same() => out.push(
            Flaw::damage("cells", i, hash as u64, "its hash is not that of its name")
                .of(name.clone())
                .mend("the hash is put right", Mend::Swap32(&cell.hash, hash, hash_of(n))),
        ),
        _ if !linked && !inspect::is_successor(cell) && !index::leads_to(view, i) && same() => out.push(unlinked(view, i, word)),
        _ => {}
    }
    let oldest = cell.oldest.load(Acquire);
    if oldest != 0 && (oldest > view.waiters() as u64) && cell.oldest.load(Acquire) == oldest && oldest > view.waiters() as u64 {
        out.push(
            Flaw::damage("cells", i, oldest, "its oldest waiter does not exist")
                .of(name.clone())
                .mend("nobody is entered as the oldest", Mend::Swap(vec![(&cell.oldest, oldest, 0)])),
        );
    }
    if kind == Some(Kind::Exclusive) {
        owner(view, i, cell, word, name, out);
    } else if kind.is_some() && !matches!(word.state(), State::Free) && same() {
        out.push(Flaw::damage("cells", i, word.0, "somebody owns what has no owner").of(name).mend(
            "its word says that it is there",
            Mend::Word { cell: i, seen: word, to: Word::new(generation_near(cell, word), 0) },
        ));
    }
}

/// The generation of a cell whose word may be damaged: its link has it, too.
fn generation_near(cell: &Cell, word: Word) -> u32 {
    match word.state() {
        State::Damaged | State::Tentative(_) | State::Empty => (cell.next.load(Acquire) >> 33) as u32,
        _ => word.generation(),
    }
}

/// The member that says of itself, beside the word, that it owns the semaphore, if it lives. Only an owner writes there, and it
/// clears it before it gives the semaphore back.
fn claims(view: &View<'_>, cell: &Cell) -> Option<(Owner, u64)> {
    let claim = cell.claim.load(Acquire);
    let owner = Owner::from_bits((claim >> 32) as u32).filter(|o| o.slot() < view.map.slots() && view.is_alive(*o))?;
    (claim as u32 & ((1 << CLAIMANT_SHIFT) - 1) == 0).then_some((owner, claim))
}

/// Word and claim of an exclusive semaphore.
fn owner<'a>(view: &View<'a>, i: u32, cell: &'a Cell, word: Word, name: Option<String>, out: &mut Vec<Flaw<'a>>) {
    let token = cell.token.load(Acquire);
    let claim = cell.claim.load(Acquire);
    let claimed = claims(view, cell);
    // The same claim from the first look to the last: else it is in somebody's hands.
    let same = || {
        crate::sync::fence(Acquire);
        cell.claim.load(Acquire) == claim
            && cell.token.load(Acquire) == token
            && Word(cell.word.load(Acquire)).without(WAITERS | RESERVED) == word.without(WAITERS | RESERVED)
    };
    let who = |o: Owner| view.members.process(view.map, o);
    let back = |o: Owner| Mend::Back { cell: i, seen: word, to: owned(word, word.generation(), o), claim };
    match (word.state(), claimed) {
        (State::Free, Some((o, _))) if same() => {
            let p = who(o);
            out.push(
                Flaw::damage(
                    "cells",
                    i,
                    word.0 ^ token,
                    format!("it is free, and process {} `{}` says that it owns it", p.pid, p.command),
                )
                .of(name)
                .mend("it is that process's again", back(o)),
            );
        }
        (State::Owned(o), Some((c, _))) if o != c && !view.is_alive(o) && !word.has(INHERITED) && same() => {
            let p = who(c);
            out.push(
                Flaw::damage(
                    "cells",
                    i,
                    word.0 ^ token,
                    format!("it is owned by somebody who is dead, and process {} `{}` says that it owns it", p.pid, p.command),
                )
                .of(name)
                .mend("it is that process's again", back(c)),
            );
        }
        (State::Owned(o), _) if o.slot() >= view.map.slots() && same() => {
            out.push(
                Flaw::damage("cells", i, word.0, format!("it is owned by slot {}, which does not exist", o.slot()))
                    .of(name)
                    .mend("it becomes free, with the mark", Mend::Free { cell: i, seen: word, generation: word.generation() }),
            );
        }
        (State::Owned(o), None) if !is_claim(claim) && same() => {
            let p = who(o);
            let right = key(o.bits(), 0);
            out.push(
                Flaw::damage(
                    "cells",
                    i,
                    claim,
                    format!("what its owner, process {} `{}`, has written beside it cannot be", p.pid, p.command),
                )
                .of(name)
                .expected("which of its threads owns it")
                .mend(
                    "it is the process's, until that ends: a release of it is 288",
                    Mend::Swap(vec![(&cell.claim, claim, right)]),
                ),
            );
        }
        (State::Tentative(o), Some((c, _))) if is_request_of(view, word, o) && same() => {
            let p = who(c);
            out.push(
                Flaw::damage(
                    "cells",
                    i,
                    word.0 ^ token,
                    format!("a repair of it was not ended, and process {} `{}` says that it owns it", p.pid, p.command),
                )
                .of(name)
                .mend("it is free first, as it was by damage", Mend::Settle { cell: i, seen: word }),
            );
        }
        (State::Tentative(o), _) => tentative(view, i, cell, word, o, name, out),
        _ => {}
    }
}

fn is_claim(claim: u64) -> bool {
    claim == 0 || Owner::from_bits((claim >> 32) as u32).is_some() && claim as u32 & ((1 << CLAIMANT_SHIFT) - 1) == 0
}

/// The word of an owner, as far as it can be told: whoever may sleep is woken by the release.
fn owned(seen: Word, generation: u32, owner: Owner) -> Word {
    Word::new(generation, owner.bits() | seen.flags() & (MARK | DRAINED) | WAITERS)
}

/// Whether the joint request in whose hands a word is is the latest one of that member.
fn is_request_of(view: &View<'_>, word: Word, o: Owner) -> bool {
    let number = view.map.joint(o.slot()).map(|j| (j.state.load(Acquire) >> 32) as u32);
    number == Some(word.generation())
}

/// In the hands of a joint request that there is not.
fn tentative<'a>(view: &View<'a>, i: u32, cell: &'a Cell, word: Word, o: Owner, name: Option<String>, out: &mut Vec<Flaw<'a>>) {
    if is_request_of(view, word, o) || Word(cell.word.load(Acquire)) != word {
        return;
    }
    let generation = view.generation(cell);
    let to = Word::new(generation, word.flags() & (MARK | DRAINED) | WAITERS);
    out.push(
        Flaw::damage("cells", i, word.0, "it is in the hands of a joint request that there is not")
            .of(name)
            .mend("it is free", Mend::Word { cell: i, seen: word, to }),
    );
}

/// A word that no operation makes.
fn lost_word<'a>(view: &View<'a>, i: u32, cell: &'a Cell, word: Word) -> Flaw<'a> {
    let generation = generation_near(cell, word);
    let flaw =
        Flaw::damage("cells", i, word.0, format!("its word is {:#018x}, which no operation makes", word.0)).of(view.name(i));
    if generation == 0 || view.name(i).is_none() {
        return flaw.mend("the cell is emptied", Mend::Drop { cell: i, seen: word });
    }
    match (inspect::kind_of(cell), claims(view, cell)) {
        (Some(Kind::Exclusive), Some((o, claim))) => {
            let p = view.members.process(view.map, o);
            flaw.expected(format!("owned by process {} `{}`, as is written beside it", p.pid, p.command))
                .mend("it is that process's again", Mend::Back { cell: i, seen: word, to: owned(Word(0), generation, o), claim })
        }
        (Some(Kind::Exclusive), None) => flaw
            .expected("who owns it, which nobody knows")
            .mend("it becomes free, with the mark: the next owner is told (105)", Mend::Free { cell: i, seen: word, generation }),
        (Some(_), _) => flaw
            .expected("that the name is there")
            .mend("it says so", Mend::Word { cell: i, seen: word, to: Word::new(generation, 0) }),
        (None, _) => flaw.person("its kind is not known either: remove it by `xsem reset --force`"),
    }
}

/// What kind it is can be told where somebody owns it, or where only one kind has what it has.
fn lost_kind<'a>(view: &View<'a>, i: u32, cell: &'a Cell, word: Word) -> Flaw<'a> {
    let seen = cell.kind.load(Acquire);
    let flaw = Flaw::damage("cells", i, seen as u64, format!("its kind is {seen:#x}, which there is not"));
    let (bounds, ledger) = view.cold(i).map_or((0, 0), |c| (c.bounds.load(Acquire), c.ledger.load(Acquire)));
    let bounds = super::super::count::Bounds::read(bounds);
    // Flags that do not exist beside a kind that does; and what can be told from the rest.
    let right = match (inspect::without_unknown_flags(seen), word.state()) {
        (Some(k), _) => Some(k),
        (_, State::Owned(_) | State::Tentative(_)) => Some(inspect::EXCLUSIVE),
        _ if bounds.bits() == 0 && ledger == 0 => Some(inspect::EXCLUSIVE),
        _ if bounds.limit > 1 && bounds.limit == bounds.total => Some(inspect::COUNTING),
        _ => None,
    };
    match right {
        Some(k) => flaw.mend("what it must be is put back", Mend::Swap16(&cell.kind, seen, k)),
        None => flaw.person("what it was cannot be told; remove it by `xsem reset --force`"),
    }
}

/// The name cannot be read: perhaps only the way to it is lost.
fn lost_name<'a>(view: &View<'a>, i: u32, cell: &'a Cell, word: Word) -> Flaw<'a> {
    let seen = cell.name.load(Acquire);
    let flaw = Flaw::damage("cells", i, seen as u64, "its name cannot be read");
    if let Some((first, name)) = super::texts::name_by_hash(view, i, cell.hash.load(Acquire)) {
        return flaw.of(Some(name)).mend("its text was found", Mend::Swap32(&cell.name, seen, first));
    }
    let held = match word.state() {
        State::Owned(o) => view.is_alive(o).then_some(o),
        _ => super::ledgers::living_holder(view, i, cell),
    };
    let meant = target(i, view.generation(cell));
    let waited_for = (0..view.waiters()).filter_map(|w| view.waiter(w)).any(|w| {
        let owner = Owner::from_bits((w.who.load(Acquire) >> 32) as u32);
        w.target.load(Acquire) == meant && owner.is_some_and(|o| view.is_alive(o))
    });
    match held {
        Some(o) => {
            let p = view.members.process(view.map, o);
            flaw.person(format!("process {} `{}` holds it: repair again when that has ended", p.pid, p.command))
        }
        None if waited_for => flaw.person("somebody waits for it: repair again when that is over"),
        None => flaw.mend("nobody holds it, so it is taken away", Mend::Drop { cell: i, seen: word }),
    }
}

fn unlinked<'a>(view: &View<'a>, i: u32, word: Word) -> Flaw<'a> {
    Flaw::damage("cells", i, word.0, "its name does not lead to it")
        .of(view.name(i))
        .expected("a link in the chain of its name")
        .mend("it is linked again", Mend::Link { cell: i, seen: word })
}

/// Cells whose maker or remover may have died.
fn leftover<'a>(view: &View<'a>, i: u32, cell: &'a Cell, word: Word, linked: bool, out: &mut Vec<Flaw<'a>>) {
    let creator_gone = match word.state() {
        State::Creating(o) => o.slot() >= view.map.slots() || view.is_gone(o),
        _ => true,
    };
    if !creator_gone {
        return;
    }
    let evicted = word.state() == State::Removed && word.has(INHERITED);
    let text = match word.state() {
        _ if evicted => "the cell of an evicted owner is kept until that has ended",
        State::Removed => "a removed semaphore has not been taken apart",
        _ => "a semaphore is half built, and its maker has died",
    };
    let flaw = Flaw::leak("cells", i, word.0, text).of(view.name(i));
    let writer = Owner::from_bits(cell.depth.load(Acquire));
    if evicted && writer.is_none_or(|o| !view.is_gone(o)) {
        // Where nobody else has the file open, nobody can write there any more, whoever it was.
        out.push(flaw.mend("its room is free again", Mend::Recover { cell: i, seen: word }).alone());
    } else if !linked || word.state() == State::Removed {
        // One that is linked is complete.
        out.push(flaw.mend("its room is free again", Mend::Recover { cell: i, seen: word }));
    }
}
