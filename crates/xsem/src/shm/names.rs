//! From a name to its cell, without a lock: hash buckets, each with a chain through the cells (Harris and Michael's
//! list, with generations against reuse).
//!
//! - A bucket is `version << 32 | first cell + 1`. Every insertion is a compare-and-swap of the bucket that also moves
//!   its version: so whoever inserts has seen the whole chain as it is, and of two that create one name only one can.
//! - A cell's `next` carries the cell's *own* generation and a mark. A marked `next` never changes again, so a cell that
//!   is being unlinked cannot become the predecessor of anything; the generation keeps late steps of a process that was
//!   stopped from touching the cell's next life.
//! - Creating: take an EMPTY cell (CREATING, with the creator's id), fill it, link it, CREATING → FREE. The link is the
//!   instant from which the name exists; whoever meets a linked CREATING cell finishes it.
//! - Removing: FREE → REMOVED is the instant from which the name is gone; then mark, unlink, EMPTY. Whoever meets a
//!   REMOVED cell finishes that.

use super::arena::Arena;
use super::blob;
use super::count::{Bounds, Count};
use super::evict;
use super::inspect::{has_count, kind_bits};
use super::joint;
use super::layout::{Cell, hash};
use super::ledger;
use super::removal;
use super::word::{Owner, State, Word};
use crate::claim::Kind;
use crate::deadline::now_coarse;
use crate::engine::Spec;
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::seeded::{Bug, seeded};
use crate::sync::{AtomicU64, Ordering::*};

/// In a link: the cell is being unlinked.
pub const LINK_MARK: u64 = 1 << 32;
const MARK: u64 = LINK_MARK;
/// How often a walk along a chain may find the same obstacle.
const AS_BEFORE: u32 = 1000;
/// How often it may go further than there are cells: others would have to make and remove all of them while it walks.
const TOO_LONG: u32 = 8;
/// How often one looks whether a joint request has come to its end before one makes it fail.
const PATIENCE: u32 = 200;

/// The link of a cell in the life with this generation.
pub fn link(generation: u32, next: u32) -> u64 {
    (generation as u64 & 0x7fff_ffff) << 33 | next as u64
}

/// Whether a `next` belongs to the life of the cell with this generation.
fn is_of(next: u64, generation: u32) -> bool {
    next >> 33 == generation as u64 & 0x7fff_ffff
}

/// The hash that buckets and cells know a name by.
pub fn hash_of(name: &str) -> u32 {
    hash(name.bytes()) as u32
}

/// A place in a chain: the reference that leads to the current cell.
struct Place<'a> {
    /// A bucket or a predecessor's `next`, and the value seen there.
    from: &'a AtomicU64,
    seen: u64,
    is_bucket: bool,
}

impl Place<'_> {
    fn target(&self) -> u32 {
        self.seen as u32
    }

    /// The value that leads past the current cell.
    fn leading_to(&self, next: u32) -> u64 {
        match self.is_bucket {
            true => ((self.seen >> 32).wrapping_add(1) << 32) | next as u64,
            false => self.seen & !(u32::MAX as u64) | next as u64,
        }
    }
}

/// What a search does with each live cell of the chain.
enum Visit<T> {
    Continue,
    Found(T),
}

/// Walks the chain of a bucket, finishing what others began; from the beginning whenever the chain changes underneath.
/// Also gives the bucket's value at the beginning of the walk that came through.
fn walk<T>(
    arena: &'static Arena,
    bucket: &AtomicU64,
    mut visit: impl FnMut(u32, &Cell, Word) -> Visit<T>,
) -> Result<(Option<T>, u64)> {
    let map = &arena.map;
    let limit = map.geo.max_semaphores as u64 * 2 + 16;
    // What made the walk begin again, and how often it was the very same.
    let (mut stuck_at, mut as_before) = ((0, 0, 0, 0), 0u32);
    // How often a walk went further than there are cells. Removed cells whose links lead to each other change the bucket each time
    // that one of them is taken out, so that it is no circle to look at.
    let mut too_long = 0u32;
    for attempt in 0u64.. {
        // A chain that changes under one for ever is one that others change: they make progress. A damaged one does not.
        if attempt > 1_000_000 {
            return Err(arena.damaged("a chain of names does not end"));
        }
        let start = bucket.load(Acquire);
        let mut place = Place { from: bucket, seen: start, is_bucket: true };
        let mut steps = 0;
        let mut seen = (0, 0, 0, start);
        let again = loop {
            let Some(i) = place.target().checked_sub(1) else { return Ok((None, start)) };
            steps += 1;
            if steps > limit {
                too_long += 1;
                if bucket.load(Acquire) == start || too_long > TOO_LONG {
                    return Err(arena.damaged("a chain of names runs in a circle"));
                }
                break true;
            }
            let Some(cell) = map.cell(i) else {
                if place.from.load(Acquire) != place.seen {
                    break true;
                }
                return Err(arena.damaged(format_args!("a chain of names leads to the cell {i}, which does not exist")));
            };
            let next = cell.next.load(Acquire);
            let word = Word(cell.word.load(Acquire));
            seen = (i, next, word.0, place.seen);
            if let State::Tentative(_) = word.state() {
                settle(arena, cell, word);
                break true;
            }
            // What was just read belongs to the linked life of the cell only if the link still stands.
            if place.from.load(Acquire) != place.seen || !is_of(next, word.generation()) {
                break true;
            }
            match word.state() {
                State::Removed => {
                    let next = match cell.next.compare_exchange(next & !MARK, next | MARK, AcqRel, Acquire) {
                        Ok(_) => next | MARK,
                        Err(now) if now & MARK != 0 && is_of(now, word.generation()) => now,
                        Err(_) => break true,
                    };
                    let past = place.leading_to(next as u32);
                    if place.from.compare_exchange(place.seen, past, AcqRel, Acquire).is_err() {
                        break true;
                    }
                    place.seen = past;
                    retire(arena, i, word);
                }
                State::Moved if evict::is_gone(arena, i) => {
                    // It was removed where it had gone to; now the name goes.
                    let _ = cell.word.compare_exchange(word.0, evict::removed(word).0, AcqRel, Relaxed);
                    break true;
                }
                State::Free if removal::is_closed(cell) && !seeded(Bug::RemovalUnfinished) => {
                    // Whoever removes it was stopped or killed before it said so here, too.
                    let _ = cell.word.compare_exchange(word.0, Word::removed(word.generation()).0, AcqRel, Relaxed);
                    break true;
                }
                State::Creating(_) | State::Free | State::Owned(_) | State::Moved => {
                    if let State::Creating(_) = word.state() {
                        // It is linked, so it is complete. Fails when somebody else has said so.
                        let _ = cell.word.compare_exchange(word.0, Word::new(word.generation(), 0).0, AcqRel, Relaxed);
                    }
                    if let Visit::Found(t) = visit(i, cell, word) {
                        if place.from.load(Acquire) != place.seen
                            || Word(cell.word.load(Acquire)).generation() != word.generation()
                        {
                            break true;
                        }
                        return Ok((Some(t), start));
                    }
                    place = Place { from: &cell.next, seen: next, is_bucket: false };
                    if next & MARK != 0 {
                        break true;
                    }
                }
                State::Empty | State::Tentative(_) => break true,
                State::Damaged => {
                    return Err(arena.damaged(format_args!("the word of the cell {i} has a value that no operation makes")));
                }
            }
        };
        debug_assert!(again);
        // Nobody has to wait for somebody else here: whatever is half done, this walk has finished. What is the same again
        // and again, nobody makes.
        as_before = if seen == stuck_at { as_before + 1 } else { 0 };
        stuck_at = seen;
        if as_before > AS_BEFORE {
            return Err(arena.damaged(format_args!("a chain of names leads to the cell {}, which is in no chain", seen.0)));
        }
        if attempt > 100 && attempt % 16 == 0 {
            std::thread::yield_now();
        }
    }
    unreachable!("the loop above only ends by returning")
}

/// Settles the word of a cell that was seen in the hands of a joint request: waits an instant for its end, if its member
/// lives, and makes it fail then.
pub fn settle(arena: &Arena, cell: &Cell, seen: Word) {
    let State::Tentative(owner) = seen.state() else { return };
    let generation = (cell.next.load(Acquire) >> 33) as u32;
    let Some(joint) = arena.map.joint(owner.slot()) else {
        // Damaged: there never was such a request.
        let _ = cell.word.compare_exchange(seen.0, Word::new(generation, 0).0, AcqRel, Relaxed);
        return;
    };
    be_patient(arena, Some(owner), &joint.state, seen.generation());
    joint::settle_word(&cell.word, seen, generation, &joint.state);
}

/// Gives another member's joint request an instant to come to its end.
pub fn be_patient(arena: &Arena, owner: Option<Owner>, state: &AtomicU64, number: u32) {
    let Some(owner) = owner.filter(|o| Some(*o) != arena.me()) else { return };
    for _ in 0..PATIENCE {
        if !joint::is_open(state, number) || arena.members.life(&arena.map, owner) != super::members::Life::Alive {
            return;
        }
        std::hint::spin_loop();
    }
}

/// Makes an unlinked REMOVED cell EMPTY. Exactly one of those that try succeeds in taking it.
fn retire(arena: &'static Arena, i: u32, word: Word) {
    let (Some(cell), Some(me)) = (arena.map.cell(i), arena.me()) else { return };
    if !evict::is_quarantined(arena, i) && claim_cell(cell, word, me) {
        clear(arena, i, cell);
        put_back(arena, i, cell);
    }
}

/// Takes an EMPTY or unlinked cell for building; its generation moves on.
fn claim_cell(cell: &Cell, word: Word, me: Owner) -> bool {
    // 31 bits, as in the link.
    let generation = (word.generation().wrapping_add(1) & 0x7fff_ffff).max(1);
    cell.word.compare_exchange(word.0, Word::creating(generation, me).0, AcqRel, Relaxed).is_ok()
}

/// Frees what a cell has; only for who has taken it.
fn clear(arena: &'static Arena, i: u32, cell: &Cell) {
    let map = &arena.map;
    // First the blocks, then the reference: a death in between frees nothing twice, because a block knows its cell.
    blob::free(map, i, cell.name.load(Acquire));
    cell.name.store(0, Release);
    if has_count(cell) {
        // From here on the word names no entry, so the entries may go to other ledgers.
        let generation = Word(cell.word.load(Acquire)).generation();
        cell.claim.store(Count::first(cell.claim.load(Acquire), generation, 0).0, Release);
    }
    if let Some(cold) = map.cold(i) {
        for reference in [&cold.label, &cold.obituary] {
            // Taken first: an obituary that comes late must not find what is freed here.
            blob::free(map, i, reference.swap(0, AcqRel) as u32);
        }
        ledger::clear(arena, i);
        for w in [&cold.contended, &cold.timed_out, &cold.longest, &cold.drain] {
            w.store(0, Relaxed);
        }
    }
}

/// Gives a taken cell back.
fn put_back(arena: &'static Arena, i: u32, cell: &Cell) {
    let generation = Word(cell.word.load(Acquire)).generation();
    cell.word.store(Word::empty(generation).0, Release);
    blob::give_hint(&arena.map.header().cursors.cell_hints, i);
}

/// Finds a name: its cell and generation.
pub fn find(arena: &'static Arena, name: &Name) -> Result<Option<(u32, u32)>> {
    arena.sound()?;
    let h = hash_of(name.as_str());
    let Some(bucket) = arena.map.bucket(h) else { return Ok(None) };
    Ok(find_in(arena, bucket, h, name)?.0)
}

fn find_in(arena: &'static Arena, bucket: &AtomicU64, h: u32, name: &Name) -> Result<(Option<(u32, u32)>, u64)> {
    walk(arena, bucket, |i, cell, word| {
        let same = cell.hash.load(Relaxed) == h
            && blob::equals(&arena.map, i, cell.name.load(Acquire), name.as_str().as_bytes()) == Some(true);
        if same { Visit::Found((i, word.generation())) } else { Visit::Continue }
    })
}

/// The name of a cell in the life with this generation.
pub fn name_of(arena: &Arena, i: u32, generation: u32) -> Option<String> {
    let cell = arena.map.cell(i)?;
    let bytes = blob::get(&arena.map, i, cell.name.load(Acquire))?;
    let mut text = String::from_utf8(bytes).ok()?;
    // No name has any, so somebody wrote them into the file; they must not get to a terminal.
    if text.contains(char::is_control) {
        text = text.replace(char::is_control, "\u{fffd}");
    }
    (ledger::generation_of(cell) == generation).then_some(text)
}

/// The result of [`create`].
pub enum Created {
    /// A new semaphore: cell and generation.
    New(u32, u32),
    /// The name exists.
    Exists(u32, u32),
}

/// Makes a semaphore of this name, unless there is one. This process is a member.
pub fn create(arena: &'static Arena, me: Owner, name: &Name, spec: &Spec) -> Result<Created> {
    let map = &arena.map;
    let h = hash_of(name.as_str());
    let bucket = map.ensure_bucket(h)?;
    let mut built = None;
    let done = loop {
        let (found, seen) = match find_in(arena, bucket, h, name) {
            Ok(f) => f,
            Err(e) => break Err(e),
        };
        if let Some((i, generation)) = found {
            break Ok(Created::Exists(i, generation));
        }
        let (i, cell, generation) = match built {
            Some(b) => b,
            None => match build(arena, me, h, name, spec) {
                Ok(b) => *built.insert(b),
                Err(e) => break Err(e),
            },
        };
        cell.next.store(link(generation, seen as u32), Release);
        let with_it = (seen >> 32).wrapping_add(1) << 32 | (i as u64 + 1);
        if bucket.compare_exchange(seen, with_it, AcqRel, Acquire).is_ok() {
            let fresh = Word::new(generation, 0);
            // Fails when somebody else has met it in the chain and said so.
            let _ = cell.word.compare_exchange(Word::creating(generation, me).0, fresh.0, AcqRel, Relaxed);
            return Ok(Created::New(i, generation));
        }
    };
    if let Some((i, cell, _)) = built {
        clear(arena, i, cell);
        put_back(arena, i, cell);
    }
    done
}

pub fn build(arena: &'static Arena, me: Owner, h: u32, name: &Name, spec: &Spec) -> Result<(u32, &'static Cell, u32)> {
    let (i, cell) = take_cell(arena, me)?;
    let generation = Word(cell.word.load(Acquire)).generation();
    for w in [&cell.token, &cell.oldest] {
        w.store(0, Relaxed);
    }
    cell.since.store(now_coarse(), Relaxed);
    let kind = kind_bits(spec);
    cell.next.store(link(generation, 0), Relaxed);
    cell.depth.store(0, Relaxed);
    cell.kind.store(kind, Relaxed);
    cell.careful.store(0, Relaxed);
    cell.hash.store(h, Relaxed);
    let before = cell.claim.load(Relaxed);
    let made = match spec.kind {
        Kind::Counting | Kind::Event => arena.map.ensure_cold(i).map(|cold| {
            cold.bounds.store(Bounds::first(cold.bounds.load(Relaxed), spec.limit, spec.initial).bits(), Relaxed);
            cell.claim.store(Count::first(before, generation, spec.initial).0, Relaxed);
        }),
        _ => {
            cell.claim.store(0, Relaxed);
            // It continues no other.
            arena.map.cold(i).into_iter().for_each(|cold| cold.bounds.store(0, Relaxed));
            Ok(())
        }
    };
    match made.and_then(|()| blob::put(&arena.map, i, name.as_str().as_bytes())) {
        Ok(first) => {
            cell.name.store(first, Release);
            Ok((i, cell, generation))
        }
        Err(e) => {
            put_back(arena, i, cell);
            Err(e)
        }
    }
}

fn take_cell(arena: &'static Arena, me: Owner) -> Result<(u32, &'static Cell)> {
    let map = &arena.map;
    let c = &map.header().cursors;
    let try_take = |i: u32| {
        let cell = map.cell(i)?;
        let word = Word(cell.word.load(Acquire));
        (word.state() == State::Empty && claim_cell(cell, word, me)).then_some((i, cell))
    };
    while let Some(i) = blob::take_hint(&c.cell_hints) {
        if let Some(found) = try_take(i) {
            return Ok(found);
        }
    }
    while let Some(i) = map.bump(&c.cells, map.geo.max_semaphores, map.geo.cells_at, 64)? {
        if let Some(found) = try_take(i) {
            return Ok(found);
        }
    }
    // Full, or much was left by processes that died in the middle: look at everything once.
    let start = c.scan_cells.load(Relaxed);
    for k in 0..map.geo.max_semaphores {
        let i = (start.wrapping_add(k)) % map.geo.max_semaphores;
        if let Some(cell) = map.cell(i) {
            recover(arena, i, Word(cell.word.load(Acquire)));
        }
        if let Some(found) = try_take(i) {
            c.scan_cells.store(i, Relaxed);
            return Ok(found);
        }
    }
    Err(Error::new(
        Code::TooManySemaphores,
        format!("the namespace holds {} semaphores, which is its limit", map.geo.max_semaphores),
    )
    .advice("remove some (`xsem rm`), or use a namespace with a larger limit"))
}

/// Brings a cell that a dead process left half built or half removed to rest. This process is a member.
pub fn recover(arena: &'static Arena, i: u32, word: Word) {
    let Some(me) = arena.me() else { return };
    let left = word.state() == State::Removed || arena.members.creator_is_gone(&arena.map, word.state());
    if left {
        recover_as(arena, i, word, me);
    }
}

/// The same for what is known to be left over, by a member that may not have told its process yet.
pub fn recover_as(arena: &'static Arena, i: u32, word: Word, me: Owner) {
    let Some(cell) = arena.map.cell(i) else { return };
    if evict::is_quarantined(arena, i) {
        return;
    }
    // A walk over its chain finishes it if it is linked; if it is not met there, nobody can ever meet it.
    let mut linked = false;
    if let Some(bucket) = arena.map.bucket(cell.hash.load(Relaxed)) {
        let done = walk(arena, bucket, |j, _, _| -> Visit<()> {
            linked |= j == i;
            Visit::Continue
        });
        if done.is_err() {
            return;
        }
    }
    if !linked && claim_cell(cell, word, me) {
        clear(arena, i, cell);
        put_back(arena, i, cell);
    }
}

/// What came of putting a cell back into the chain of its name.
pub enum Relinked {
    Done,
    /// Something changed meanwhile: to be looked at again.
    Changed,
    /// Another cell has the name by now.
    Another(u32),
}

/// Puts a complete cell back into the chain of its name, from which damage has taken it.
///
/// Several may try. Each reads the link first, then sees that no chain leads to the cell, then changes the link by
/// compare-and-swap, then the bucket: so the link of a cell that somebody else has put back meanwhile stays as it is.
pub fn relink(arena: &'static Arena, i: u32, generation: u32) -> Result<Relinked> {
    let Some(cell) = arena.map.cell(i) else { return Ok(Relinked::Changed) };
    let (h, old) = (cell.hash.load(Acquire), cell.next.load(Acquire));
    let Some(name) = name_of(arena, i, generation).and_then(|n| Name::new(&n).ok()) else { return Ok(Relinked::Changed) };
    let bucket = arena.map.ensure_bucket(h)?;
    let mut other = None;
    let (met, seen) = walk(arena, bucket, |j, c, _| {
        if j == i {
            return Visit::Found(());
        }
        let same = c.hash.load(Relaxed) == h
            && blob::equals(&arena.map, j, c.name.load(Acquire), name.as_str().as_bytes()) == Some(true);
        other = other.or(same.then_some(j));
        Visit::Continue
    })?;
    if met.is_some() {
        return Ok(Relinked::Done);
    }
    if let Some(j) = other {
        return Ok(Relinked::Another(j));
    }
    if ledger::generation_of(cell) != generation
        || cell.next.compare_exchange(old, link(generation, seen as u32), AcqRel, Relaxed).is_err()
    {
        return Ok(Relinked::Changed);
    }
    let with_it = (seen >> 32).wrapping_add(1) << 32 | (i as u64 + 1);
    Ok(match bucket.compare_exchange(seen, with_it, AcqRel, Acquire) {
        Ok(_) => Relinked::Done,
        Err(_) => Relinked::Changed,
    })
}

/// Takes a cell apart that no name leads to (any more), and whose word is still this.
pub fn dismantle(arena: &'static Arena, i: u32, word: Word) {
    let (Some(cell), Some(me)) = (arena.map.cell(i), arena.me()) else { return };
    if !evict::is_quarantined(arena, i) && claim_cell(cell, word, me) {
        clear(arena, i, cell);
        put_back(arena, i, cell);
    }
}

/// Takes the name of a cell away that was FREE with nobody waiting; `word` is what was seen. False: it changed.
pub fn remove(arena: &'static Arena, i: u32, word: Word) -> Result<bool> {
    let Some(cell) = arena.map.cell(i) else { return Ok(false) };
    if cell.word.compare_exchange(word.0, Word::removed(word.generation()).0, AcqRel, Relaxed).is_err() {
        return Ok(false);
    }
    super::futex::wake_all(super::futex::low(&cell.word));
    unlink(arena, i)?;
    Ok(true)
}

/// Unlinks what is REMOVED in the chain of a cell's name.
pub fn unlink(arena: &'static Arena, i: u32) -> Result<()> {
    let hash = arena.map.cell(i).map_or(0, |c| c.hash.load(Relaxed));
    if let Some(bucket) = arena.map.bucket(hash) {
        walk(arena, bucket, |_, _, _| -> Visit<()> { Visit::Continue })?;
    }
    Ok(())
}

/// The buckets that have been used, for the audit: index and value.
pub fn chain(arena: &Arena, bucket: u32) -> Option<Vec<(u32, Word, u64)>> {
    let mut at = arena.map.bucket(bucket)?.load(Acquire) as u32;
    let mut found = Vec::new();
    while let Some(i) = at.checked_sub(1) {
        let cell = arena.map.cell(i)?;
        let next = cell.next.load(Acquire);
        found.push((i, Word(cell.word.load(Acquire)), next));
        at = next as u32;
        if found.len() > arena.map.geo.max_semaphores as usize {
            return None;
        }
    }
    Some(found)
}
