//! Looking without touching: holders, waiters, reports, the audit.

use super::arena::Arena;
use super::count::{Bounds, Doing, Op};
use super::deadlock;
use super::drain;
use super::layout::{Cell, Entry};
use super::ledger::Book;
use super::members::{Life, is_alive};
use super::names;
use super::obituary;
use super::object::{CLAIMANT_SHIFT, ShmExclusive};
use super::slots;
use super::waiters::{self, target};
use super::word::{INHERITED, JOINED, MARK, Owner, State, WAITERS, Word};
use crate::claim::{Capacity, Counters, Holder, Kind, Mode, Report, Reset, Signal, Summary, Waiter, Wants};
use crate::deadline::now;
use crate::engine::Spec;
use crate::sync::Ordering::*;
use std::time::Duration;

/// The kinds as the file numbers them.
pub const EXCLUSIVE: u16 = 1;
pub const COUNTING: u16 = 2;
const EVENT: u16 = 3;
/// Flags beside the kind.
const CREDIT: u16 = 1 << 8;
const EPHEMERAL: u16 = 1 << 9;
const AUTO: u16 = 1 << 11;

const SUCCESSOR: u16 = 1 << 10;

/// Says of a cell that is being built that no name leads to it, but another cell.
pub fn make_successor(cell: &Cell) {
    cell.kind.store(EXCLUSIVE | SUCCESSOR, Relaxed);
}

/// Whether another cell leads to it, and not a name.
pub fn is_successor(cell: &Cell) -> bool {
    cell.kind.load(Relaxed) & SUCCESSOR != 0
}

/// Whether the cell has a count word: a counting semaphore or an event.
pub fn has_count(cell: &Cell) -> bool {
    matches!(cell.kind.load(Relaxed) & 0xff, COUNTING | EVENT)
}

/// Whether it is an event.
pub fn is_event(cell: &Cell) -> bool {
    cell.kind.load(Relaxed) & 0xff == EVENT
}

/// Whether an event resets itself.
pub fn is_auto(cell: &Cell) -> bool {
    cell.kind.load(Relaxed) & AUTO != 0
}

/// How an event stands now.
pub fn signal(book: &Book) -> Signal {
    let auto = is_auto(book.cell);
    let word = loop {
        book.settled();
        book.give_outstanding();
        let word = book.settled();
        if !word.has(super::count::PENDING) {
            break word;
        }
        // A signal counts from its wake-up on; whoever makes it was perhaps stopped or killed. Were it left to the next one
        // who comes, an event that was looked at and was reset would become signalled by nobody.
        super::count::Ledger::wake_pending(book, book.words().count.count);
    };
    Signal::new(if auto { Reset::Auto } else { Reset::Manual }, super::signal::is_set(word, !auto))
}

/// How often it was acquired; an event, signalled.
pub fn acquired(sem: &ShmExclusive) -> u64 {
    match is_event(sem.cell()) {
        true => sem.arena.map.cold(sem.index).map_or(0, |c| c.longest.load(Acquire)),
        false => sem.cell().token.load(Acquire),
    }
}

/// What `Cell::kind` says of a semaphore that shall be so.
pub fn kind_bits(spec: &Spec) -> u16 {
    let kind = match spec.kind {
        Kind::Exclusive => EXCLUSIVE,
        Kind::Counting => COUNTING,
        Kind::Event => EVENT,
    };
    let auto = if spec.reset == Reset::Auto { AUTO } else { 0 };
    kind | auto | if spec.mode == Mode::Credit { CREDIT } else { 0 } | if spec.ephemeral { EPHEMERAL } else { 0 }
}

/// Whether permits are added and used up.
pub fn is_credit(cell: &Cell) -> bool {
    cell.kind.load(Relaxed) & CREDIT != 0
}

/// Whether the name goes with its last user.
pub fn is_ephemeral(cell: &Cell) -> bool {
    cell.kind.load(Relaxed) & EPHEMERAL != 0
}

/// Limit and permits now.
pub fn capacity(book: &Book) -> Capacity {
    let mode = if is_credit(book.cell) { Mode::Credit } else { Mode::Pool };
    let words = book.words();
    loop {
        let word = book.settled();
        let bounds = Bounds::read(words.count.bounds.load(Acquire));
        if words.count.load() == word {
            // What a release has not yet woken anybody for counts already: it is on its way.
            let total = if word.free() < 0 { bounds.total + word.free().unsigned_abs() } else { bounds.total };
            return Capacity::new(mode, bounds.limit, total, word.free().max(0) as u32);
        }
    }
}

/// The kind of a cell.
pub fn kind_of(cell: &Cell) -> Option<Kind> {
    match cell.kind.load(Relaxed) & 0xff {
        EXCLUSIVE => Some(Kind::Exclusive),
        COUNTING => Some(Kind::Counting),
        EVENT => Some(Kind::Event),
        _ => None,
    }
}

/// A kind as the file numbers it, without flags that the kind cannot have. None: there is no such kind.
pub fn without_unknown_flags(kind: u16) -> Option<u16> {
    let flags = match kind & 0xff {
        EXCLUSIVE => EPHEMERAL | SUCCESSOR,
        COUNTING => EPHEMERAL | CREDIT,
        EVENT => EPHEMERAL | AUTO,
        _ => return None,
    };
    Some(kind & (0xff | flags))
}

/// Whether a cell is of a kind that there is, with flags that the kind can have.
pub fn is_known_kind(cell: &Cell) -> bool {
    let kind = cell.kind.load(Relaxed);
    without_unknown_flags(kind) == Some(kind)
}

/// What the words around one claim said at one instant.
struct Seen {
    word: Word,
    owner: Option<Owner>,
    claimant: u32,
    token: u64,
    since: Option<u64>,
    depth: u32,
}

fn look(arena: &Arena, cell: &Cell) -> Seen {
    let mut tries = 0;
    loop {
        let word = Word(cell.word.load(Acquire));
        if let State::Tentative(_) = word.state() {
            names::settle(arena, cell, word);
            continue;
        }
        let claim = cell.claim.load(Acquire);
        let (token, since, depth) = (cell.token.load(Relaxed), cell.since.load(Relaxed), cell.depth.load(Relaxed));
        crate::sync::fence(Acquire);
        tries += 1;
        let stable = Word(cell.word.load(Relaxed)) == word && cell.claim.load(Relaxed) == claim;
        if !stable && tries < 100 {
            continue;
        }
        let owner = word.owner();
        let booked = owner.is_some_and(|o| o.bits() == (claim >> 32) as u32);
        // An heir of a shared claim did not acquire it itself: the claim goes on since its beginning.
        let inherited = word.has(INHERITED);
        return Seen {
            word,
            owner,
            claimant: if booked { claim as u32 >> CLAIMANT_SHIFT } else { 0 },
            token,
            since: (booked || inherited).then_some(since),
            depth,
        };
    }
}

fn since(t: u64) -> Duration {
    Duration::from_nanos(now().saturating_sub(t))
}

fn holder(arena: &Arena, index: u32, seen: &Seen, with_sharers: bool) -> Option<Holder> {
    let owner = seen.owner?;
    let m = &arena.members;
    let sharers = match with_sharers || seen.word.has(JOINED) {
        true => m.joiners(&arena.map, target(index, seen.word.generation()), seen.token, owner),
        false => Vec::new(),
    };
    let process = m.process(&arena.map, owner);
    Some(Holder {
        claimant: seen.claimant,
        label: obituary::label(arena, index, seen.token),
        held_for: seen.since.map(since),
        token: seen.token,
        depth: seen.depth.saturating_add(1),
        permits: 1,
        slots: Vec::new(),
        covers: m.covered(&arena.map, owner),
        shared_with: sharers.into_iter().map(|o| m.process(&arena.map, o)).collect(),
        process,
    })
}

/// Who holds a semaphore now.
pub fn holders(arena: &'static Arena, index: u32) -> Vec<Holder> {
    let Some(cell) = arena.map.cell(index) else { return Vec::new() };
    match kind_of(cell) {
        Some(Kind::Counting) => {
            let generation = super::ledger::generation_of(cell);
            holders_of_permits(&Book { arena, cell, index, generation })
        }
        _ => holder(arena, index, &look(arena, cell), true).into_iter().collect(),
    }
}

/// The claims on permits that there are at one instant: entry, what it does, and whose it is. Permits move while the entries
/// are read one after the other, and one that goes from a claim to another would be seen in both; so what has changed when
/// all are read is left out, if it still does after some tries. What has not changed was there when the last one was read.
fn holds_at_one_instant(book: &Book) -> Vec<(u32, &'static Entry, Op, u64)> {
    let mut tries = 0;
    loop {
        book.settled();
        let mut seen: Vec<_> = book.holds().map(|(i, e, op)| (i, e, op, e.who.load(Acquire))).collect();
        let all = seen.len();
        // Each operation has a number of its own, so one that is equal is the same.
        seen.retain(|(_, e, op, who)| Op(e.op.load(Acquire)) == *op && e.who.load(Acquire) == *who);
        tries += 1;
        if seen.len() == all || tries == 16 {
            return seen;
        }
    }
}

/// Who holds permits, the oldest claim first.
fn holders_of_permits(book: &Book) -> Vec<Holder> {
    let (map, m) = (&book.arena.map, &book.arena.members);
    let holds = holds_at_one_instant(book);
    let mut slots = slots::all(book);
    let mut found: Vec<(u64, Holder)> = holds
        .into_iter()
        .filter_map(|(i, e, op, who)| {
            if op.doing() == Doing::Giving && op.rest() == 0 {
                return None;
            }
            let owner = Owner::from_bits((who >> 32) as u32)?;
            let (token, began) = (e.token.load(Acquire), e.since.load(Relaxed));
            let h = Holder {
                claimant: who as u32,
                label: book.label(e),
                // Before it is written down the entry shows nothing of its last claim.
                held_for: (token != 0).then(|| since(began)),
                token,
                depth: 1,
                // What is being given back is on its way.
                permits: if op.doing() == Doing::Giving { op.rest() } else { op.permits() },
                slots: slots.remove(&slots::name(i, token)).unwrap_or_default(),
                covers: m.covered(map, owner),
                shared_with: Vec::new(),
                process: m.process(map, owner),
            };
            Some((token, h))
        })
        .collect();
    found.sort_by_key(|(token, _)| *token);
    found.into_iter().map(|(_, h)| h).collect()
}

/// Who waits for a semaphore, oldest first, with the time of its beginning; without the record `except`.
pub fn waiters_of(arena: &Arena, index: u32, generation: u32, except: Option<u32>) -> Vec<(u64, Waiter)> {
    let (map, wanted) = (&arena.map, target(index, generation));
    let mut found = Vec::new();
    for slot in 0..map.slots() {
        if !map.row(slot).is_some_and(|r| is_alive(r[0].load(Acquire))) {
            continue;
        }
        for (i, w) in waiters::of_slot(map, slot) {
            if w.target.load(SeqCst) != wanted || Some(i) == except {
                continue;
            }
            let who = w.who.load(Relaxed);
            let Some(owner) = Owner::from_bits((who >> 32) as u32) else { continue };
            let began = w.since.load(Relaxed);
            if arena.members.life(map, owner) == Life::Alive && w.target.load(Acquire) == wanted {
                found.push((
                    began,
                    Waiter {
                        process: arena.members.process(map, owner),
                        claimant: who as u32,
                        waiting_for: since(began),
                        permits: w.permits.load(Relaxed),
                        has_deadline: w.flags.load(Relaxed) & 1 != 0,
                        wants: match w.flags.load(Relaxed) {
                            f if f & waiters::ANY != 0 => Wants::Any,
                            f if f & waiters::ALL != 0 => Wants::All,
                            _ => Wants::One,
                        },
                    },
                ));
            }
        }
    }
    found.sort_by_key(|(began, _)| *began);
    found
}

/// How long ago it was last used.
fn unused_for(cell: &Cell, holders: &[Holder]) -> Duration {
    if holders.is_empty() { since(cell.since.load(Relaxed)) } else { Duration::ZERO }
}

/// All about one semaphore.
pub fn report(sem: &ShmExclusive) -> Option<Report> {
    let (arena, index, cell) = (sem.arena, sem.index, sem.cell());
    let cold = arena.map.cold(index);
    let read = |f: fn(&super::layout::Cold) -> &crate::sync::AtomicU64| cold.map_or(0, |c| f(c).load(Relaxed));
    let (deaths, total) = obituary::read(arena, index);
    let kind = kind_of(cell)?;
    if kind == Kind::Counting {
        // What the dead held is free at once.
        sem.book().reclaim();
    }
    let holders = holders(arena, index);
    let marked = kind == Kind::Exclusive && look(arena, cell).word.has(MARK);
    Some(Report {
        waiters: waiters_of(arena, index, sem.generation, None).into_iter().map(|(_, w)| w).collect(),
        marked,
        // Nobody acknowledges the deaths of those who held permits: the latest are told for who wants to know.
        deaths: deaths.filter(|_| marked || kind == Kind::Counting),
        counters: Counters {
            acquired: acquired(sem),
            contended: read(|c| &c.contended),
            timed_out: read(|c| &c.timed_out),
            deaths: total,
            longest_contended_hold: Duration::from_nanos(if kind == Kind::Event { 0 } else { read(|c| &c.longest) }),
        },
        capacity: (kind == Kind::Counting).then(|| capacity(&sem.book())),
        signal: (kind == Kind::Event).then(|| signal(&sem.book())),
        drained: drain::is_closed(sem),
        ephemeral: is_ephemeral(cell),
        unused_for: unused_for(cell, &holders),
        deadlock: deadlock::through(arena, index, sem.generation),
        holders,
        ..Report::new(sem.name().as_str(), kind)
    })
}

/// Where the semaphore of a name's cell is now: cell and generation.
pub fn where_it_is(arena: &'static Arena, index: u32) -> (u32, u32) {
    let generation = arena.map.cell(index).map_or(0, super::ledger::generation_of);
    let mut at = (index, generation);
    // A damaged one that leads in a circle ends here.
    for _ in 0..arena.map.cells() {
        match super::evict::successor(arena, at.0) {
            Some(next) => at = next,
            None => break,
        }
    }
    at
}

/// A line of a listing; None for a cell without a semaphore, or one that another has led to already.
pub fn summary(arena: &'static Arena, index: u32) -> Option<Summary> {
    let cell = arena.map.cell(index)?;
    let home = look(arena, cell).word;
    // Where somebody was evicted, it goes on elsewhere under the name of its first cell.
    if !matches!(home.state(), State::Free | State::Owned(_) | State::Moved) || is_successor(cell) {
        return None;
    }
    let name = names::name_of(arena, index, home.generation())?;
    let sem = ShmExclusive::new(arena, index, home.generation(), crate::name::Name::new(&name).ok()?).ok()?.resolved();
    if super::users::is_abandoned(&sem) {
        return None;
    }
    let (index, cell) = (sem.index, sem.cell());
    let kind = kind_of(cell)?;
    let waiting = || !waiters_of(arena, index, sem.generation, None).is_empty();
    let (marked, flagged) = match kind {
        Kind::Counting | Kind::Event => (false, sem.book().settled().has(super::count::WAITERS)),
        Kind::Exclusive => {
            let word = look(arena, cell).word;
            (word.has(MARK), word.has(WAITERS))
        }
    };
    let holders = match kind {
        Kind::Counting => holders(arena, index),
        _ => holder(arena, index, &look(arena, cell), false).into_iter().collect(),
    };
    Some(Summary {
        marked,
        // The flag stays until the next release; whether somebody is still there, the records say.
        contended: flagged && waiting(),
        acquired: acquired(&sem),
        capacity: (kind == Kind::Counting).then(|| capacity(&sem.book())),
        signal: (kind == Kind::Event).then(|| signal(&sem.book())),
        drained: drain::is_closed(&sem),
        ephemeral: is_ephemeral(cell),
        unused_for: unused_for(cell, &holders),
        holders,
        ..Summary::new(name, kind)
    })
}

/// Every violated invariant of the file, a line each. Meant for a moment at which nobody changes names.
pub fn audit(arena: &'static Arena) -> Vec<String> {
    let map = &arena.map;
    let mut bad = Vec::new();
    let mut linked = vec![false; map.cells() as usize];
    for b in 0..map.geo.buckets {
        if map.bucket(b).is_none() {
            continue;
        }
        let Some(chain) = names::chain(arena, b) else {
            bad.push(format!("the chain of bucket {b} leads nowhere or runs in a circle"));
            continue;
        };
        for (i, mut word, next) in chain {
            if let (State::Tentative(_), Some(cell)) = (word.state(), map.cell(i)) {
                names::settle(arena, cell, word);
                word = Word(cell.word.load(Acquire));
            }
            // Cells that were added since are not judged.
            let Some(seen) = linked.get_mut(i as usize) else { continue };
            if std::mem::replace(seen, true) {
                bad.push(format!("cell {i} is linked twice"));
            }
            if next >> 33 != word.generation() as u64 & 0x7fff_ffff {
                bad.push(format!("cell {i}: {word:?}, but its link is of another life"));
            }
            let hash = map.cell(i).map_or(0, |c| c.hash.load(Relaxed));
            if hash & (map.geo.buckets - 1) != b {
                bad.push(format!("cell {i} is in bucket {b}, where its hash does not belong"));
            }
            if matches!(word.state(), State::Empty) {
                bad.push(format!("cell {i} is linked and empty"));
            }
        }
    }
    let mut seen_names = std::collections::HashSet::new();
    for (i, linked) in (0..).zip(linked) {
        let Some(cell) = map.cell(i) else { continue };
        let word = Word(cell.word.load(Acquire));
        match word.state() {
            State::Free | State::Owned(_) => {
                match names::name_of(arena, i, word.generation()) {
                    None => bad.push(format!("cell {i}: its name cannot be read")),
                    Some(n) if names::hash_of(&n) != cell.hash.load(Relaxed) => {
                        bad.push(format!("cell {i}: wrong hash of `{n}`"))
                    }
                    Some(n) if !is_successor(cell) && !seen_names.insert(n.clone()) => {
                        bad.push(format!("the name `{n}` is there twice"))
                    }
                    Some(_) => {}
                }
                if !linked && !is_successor(cell) {
                    bad.push(format!("cell {i}: {word:?}, but it is not linked"));
                }
                if kind_of(cell).is_none() {
                    bad.push(format!("cell {i} has no kind"));
                }
                if word.has(MARK) && map.cold(i).is_none_or(|c| c.obituary.load(Acquire) as u32 == 0) {
                    bad.push(format!("cell {i} is marked without an obituary"));
                }
            }
            State::Damaged => bad.push(format!("cell {i}: {word:?}")),
            State::Empty | State::Creating(_) | State::Removed | State::Moved | State::Tentative(_) => {}
        }
        if matches!(word.state(), State::Free) {
            let book = Book { arena, cell, index: i, generation: word.generation() };
            match kind_of(cell) {
                Some(Kind::Counting) => audit_permits(&book, &mut bad),
                Some(Kind::Event) => audit_event(&book, &mut bad),
                _ => {}
            }
        }
        if let State::Owned(o) | State::Creating(o) = word.state()
            && o.slot() >= map.slots()
        {
            bad.push(format!("cell {i} names slot {}, which does not exist", o.slot()));
        }
        let oldest = cell.oldest.load(Acquire);
        if oldest != 0 && (oldest as u32).checked_sub(1).and_then(|w| map.waiter(w)).is_none() {
            bad.push(format!("cell {i}: its oldest waiter does not exist"));
        }
    }
    for s in 0..map.slots() {
        let last = waiters::of_slot(map, s).last();
        if last.is_some_and(|(_, w)| w.next.load(Acquire) != 0) {
            bad.push(format!("the wait records of slot {s} run in a circle"));
        }
        if map.slot(s).is_some_and(|x| x.stamp.load(Acquire) == 0) && map.row(s).is_some_and(|r| r[0].load(Acquire) as u32 == 0) {
            bad.push(format!("slot {s} is in use without ever having had a member"));
        }
    }
    bad
}

/// Held and free permits are as many as there are, and no slot is beyond what there can be.
fn audit_permits(book: &Book, bad: &mut Vec<String>) {
    for attempt in 0..100 {
        let word = book.settled();
        let held: u32 = book.holds().map(|(_, _, op)| op.permits() + op.rest()).sum();
        let bounds = Bounds::read(book.words().count.bounds.load(Acquire));
        if book.words().count.load() != word && attempt < 99 {
            continue;
        }
        if held as i64 + word.free() as i64 != bounds.total as i64 {
            bad.push(format!("cell {}: {held} held and {} free are not {} in all", book.index, word.free(), bounds.total));
        }
        if bounds.total > bounds.limit {
            bad.push(format!("cell {}: {} permits, and the limit is {}", book.index, bounds.total, bounds.limit));
        }
        return;
    }
}

/// Nobody holds an event: its word is one of those that it can have, and what its entries say is at most that a joint request
/// is in the middle of it.
fn audit_event(book: &Book, bad: &mut Vec<String>) {
    for attempt in 0..100 {
        let word = book.settled();
        let entries: Vec<(u32, super::count::Op)> =
            book.entries().map(|(i, e)| (i, super::count::Op(e.op.load(Acquire)))).collect();
        if book.words().count.load() != word && attempt < 99 {
            continue;
        }
        let auto = is_auto(book.cell);
        if !(0..=if auto { 1 } else { 0xffff }).contains(&word.free()) {
            bad.push(format!("cell {}: an event cannot be {word:?}", book.index));
        }
        for (i, op) in entries {
            let fine = match op.doing() {
                Doing::Idle | Doing::User => true,
                Doing::Joint => op.permits() == auto as u32 && op.rest() == super::count::OF_EVENT,
                Doing::Giving => op.permits() == auto as u32 && op.rest() == 0,
                Doing::Taking | Doing::Held | Doing::Bounds | Doing::Using => false,
            };
            if !fine {
                bad.push(format!("cell {}: entry {i} of an event is {op:?}", book.index));
            }
        }
        return;
    }
}
