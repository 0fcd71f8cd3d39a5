//! An open exclusive semaphore in shared memory.

use super::arena::{Arena, Me};
use super::careful::Careful;
use super::chain::Circle;
use super::count;
use super::counting::{ShmCounting, above_limit};
use super::disowned::{Claimed, Found};
use super::drain;
use super::evict;
use super::fault::Loss;
use super::futex;
use super::history::{self, Note, What};
use super::inspect;
use super::layout::Cell;
use super::ledger::Book;
use super::members::Life;
use super::names;
use super::obituary;
use super::pending::{How, ShmPending};
use super::plain;
use super::protocol::{self, Gate, Limit, Outcome, Words};
use super::put_back;
use super::reactor;
use super::sharing;
use super::standing;
use super::thread;
use super::users;
use super::waiters::{Record, target};
use super::word::{DRAINED, INHERITED, JOINED, MARK, Owner, RESERVED, State, WAITERS, Word};
use super::world::ShmWorld;
use crate::claim::{Cause, Kind};
use crate::deadline::{now, now_coarse};
use crate::engine::{Claim, Ending, Grant, Object, OwnedRequest, OwnedWant, Pending, Prepared, Request, Until};
use crate::error::{Code, Error, Result};
use crate::interrupt;
use crate::name::Name;
use crate::seeded::{Bug, seeded};
use crate::sync::{AtomicU64, Ordering::*};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::AtomicPtr;

/// Deepest nesting of one claim.
const MAX_DEPTH: u32 = 65_535;

/// What the uncontended path needs: one compare-and-swap to acquire, a plain store to give back, and plain stores in one cache
/// line. Nothing of the thread is written: a store to another line costs as much as all of them.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct FastPath {
    cell: &'static Cell,
    me: &'static Me,
    free: Word,
}

impl FastPath {
    /// For `plain.rs`.
    pub const CELL_AT: usize = std::mem::offset_of!(FastPath, cell);
    /// See above.
    pub const ME_AT: usize = std::mem::offset_of!(FastPath, me);
    /// See above.
    pub const FREE_AT: usize = std::mem::offset_of!(FastPath, free);

    /// For a semaphore whose word is `free` when it is free.
    pub fn of(cell: &'static Cell, me: &'static Me, free: u64) -> FastPath {
        FastPath { cell, me, free: Word(free) }
    }

    /// A free semaphore without flags, at what is certainly normal time: owned now. None: the long way.
    #[inline(always)]
    pub fn acquire(&self) -> Option<Claim> {
        if !interrupt::hint() {
            return None;
        }
        self.acquire_at_normal_time()
    }

    /// The same after the full check.
    #[inline(always)]
    pub fn acquire_at_normal_time(&self) -> Option<Claim> {
        self.acquire_for(thread::claimant())
    }

    /// [`acquire`](FastPath::acquire) for a claim of nobody in particular, which any thread may give back.
    #[inline]
    pub fn acquire_for_nobody(&self) -> Option<Claim> {
        self.acquire_for(0)
    }

    #[inline(always)]
    fn acquire_for(&self, claimant: u32) -> Option<Claim> {
        let me = self.me.entitled.load(Relaxed);
        // 0: not a member (yet, or a forked child), the file takes no new claims, or a history is written. The swap would
        // store a free word.
        if me == 0 || self.cell.word.compare_exchange(self.free.0, self.free.0 | me as u64, Acquire, Relaxed).is_err() {
            return None;
        }
        Some(book(self.cell, key(me, claimant)))
    }

    /// One more level of a claim that the calling thread has already, at normal time. None: the long way.
    pub fn nest(&self) -> Option<Claim> {
        let (me, c) = (self.me.entitled.load(Relaxed), self.cell);
        let key = key(me, thread::claimant());
        // First: see `ShmExclusive::depth`.
        let depth = c.depth.load(Acquire);
        if !self.is_owned_by(me) || c.claim.load(Relaxed) != key || depth.saturating_add(1) >= MAX_DEPTH {
            return None;
        }
        c.depth.store(depth + 1, Relaxed);
        Some(Claim::new(c.token.load(Relaxed), key))
    }

    fn is_owned_by(&self, me: u32) -> bool {
        let (w, me) = (Word(self.cell.word.load(Acquire)), Owner::from_bits(me));
        me.is_some() && w.owner() == me && w.generation() == self.free.generation()
    }

    /// The latest level of a claim, of one level if it has no flags. False: the long way.
    #[inline(always)]
    pub fn release(&self, claim: &Claim) -> bool {
        match plain::give(self, *claim) {
            plain::GIVEN => true,
            done => self.release_carefully(*claim, done == plain::UNBOOKED),
        }
    }

    /// The same by a compare-and-swap (of a claim by value: a reference would make the caller put it into memory). Now and then the long way, which looks whether that is still necessary.
    #[inline(never)]
    fn release_carefully(&self, claim: Claim, unbooked: bool) -> bool {
        let (me, c) = (self.me.giving.load(Relaxed), self.cell);
        // On the books again, whoever gives it back now. In a forked child it is its parent's.
        if unbooked && self.me.owner.load(Relaxed) as u64 == claim.key >> 32 {
            c.claim.store(claim.key, Relaxed);
        }
        // First: see `ShmExclusive::depth`.
        let depth = c.depth.load(Acquire);
        if me as u64 != claim.key >> 32 || me == 0 || c.claim.load(Relaxed) != claim.key || c.token.load(Relaxed) != claim.token {
            return false;
        }
        if depth > 0 {
            let nested = self.is_owned_by(me);
            if nested {
                c.depth.store(depth - 1, Relaxed);
            }
            return nested;
        }
        if claim.token & plain::PERIOD != 0 {
            c.claim.store(0, Relaxed);
            if seeded(Bug::ReleaseByStore) {
                c.word.store(self.free.0, Release);
                return true;
            }
            if c.word.compare_exchange(self.free.0 | me as u64, self.free.0, Release, Relaxed).is_ok() {
                return true;
            }
        }
        // Flags are set: the long way expects a claim that is written down.
        c.claim.store(claim.key, Relaxed);
        false
    }

    /// [`release`](FastPath::release) of a claim of nobody in particular.
    #[inline]
    pub fn release_of_nobody(&self, claim: &Claim) -> bool {
        claim.key as u32 == 0 && self.release(claim)
    }
}

/// In the key of a claim that is another process's, which its holder shares: what is written beside the word is never equal to it.
const SHARED: u64 = 1;

/// Rule 10: the file was unlinked or replaced, or is damaged.
pub fn file_is_gone(sem: &ShmExclusive) -> Error {
    // It may have come back meanwhile; this request has been refused.
    let known = sem.arena.stands().err();
    known.unwrap_or_else(|| standing::lost(sem.arena.path(), Loss::Gone)).of(sem.name().as_str())
}

/// How long a request may take.
pub fn limit(request: &Request<'_>) -> Limit {
    match request.until {
        Until::Now => Limit::Now,
        Until::Deadline(d) => Limit::At(d.0),
        Until::Forever => Limit::Never,
    }
}

/// What `Cell::claim` says while a claimant of a member owns it.
///
/// It also answers "is it mine already?": a thread finds its own key there only if it wrote it itself and has not cleared
/// it since; everybody else writes another key, and whoever releases clears it first.
#[inline]
pub fn key(me: u32, claimant: u32) -> u64 {
    // The highest bits of the number are cut off: two threads would have to live whose numbers are 33 million apart.
    (me as u64) << 32 | (claimant << CLAIMANT_SHIFT) as u64
}

/// The lowest bits stay clear: who was stopped in the release of a counting semaphore that lived in this cell before may
/// still clear its flags there.
pub const CLAIMANT_SHIFT: u32 = 6;

/// Writes down what the word does not say. Only the owner does this, so nothing of it needs a locked instruction.
#[inline(always)]
fn book(cell: &Cell, key: u64) -> Claim {
    // First, so that what it writes to the stack does not come between the stores to the cell, which would cost more than they do.
    let now = now_coarse();
    let token = cell.token.load(Relaxed).wrapping_add(1);
    cell.token.store(token, Relaxed);
    cell.since.store(now, Relaxed);
    cell.claim.store(key, Release);
    Claim::new(token, key)
}

/// How a change of a word went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    Yes,
    /// The word is another one, or its owner may overlook the change: look again.
    Lost,
    /// Its owner is in the middle of an acquire or a release: look again in a moment, which is long where it was stopped there.
    Unclear,
}

/// An open semaphore.
pub struct ShmExclusive {
    pub arena: &'static Arena,
    pub index: u32,
    pub generation: u32,
    cell: &'static Cell,
    name: Name,
    /// Where it goes on since its owner was evicted; null: nobody has looked, or it was not to be found. Not a lock of any
    /// sort, which a forked child might find held.
    successor: AtomicPtr<ShmExclusive>,
    /// The entry that says that this process has the (ephemeral) name open, and who that process was.
    pub user: Option<(Owner, u32)>,
}

impl Drop for ShmExclusive {
    /// The end of a use; the last one takes the name with it. In a forked child it was its parent's use.
    fn drop(&mut self) {
        let next = *self.successor.get_mut();
        if !next.is_null() {
            // SAFETY: from a box, and nobody can borrow it from here any more.
            drop(unsafe { Box::from_raw(next) });
        }
        let Some((me, i)) = self.user.filter(|(me, _)| self.arena.me() == Some(*me)) else { return };
        users::leave(&self.book(), i);
        if let Err(e) = users::take_away(self, me) {
            tracing::debug!(name = %self.name, error = %e, "an ephemeral name could not be taken away");
        }
    }
}

impl ShmExclusive {
    /// For a cell that was found or made.
    pub fn new(arena: &'static Arena, index: u32, generation: u32, name: Name) -> Result<ShmExclusive> {
        match arena.map.cell(index) {
            Some(cell) => {
                arena.touched.note(index);
                Ok(ShmExclusive { cell, arena, index, generation, name, successor: AtomicPtr::new(null_mut()), user: None })
            }
            None => Err(arena.damaged(format_args!("the semaphore `{name}` lies outside of its table"))),
        }
    }

    /// For a cell that somebody else's word led to.
    pub fn unnamed(arena: &'static Arena, index: u32, generation: u32) -> Option<ShmExclusive> {
        let name = names::name_of(arena, index, generation)?;
        ShmExclusive::new(arena, index, generation, Name::new(&name).ok()?).ok()
    }

    /// Itself, or where it goes on since its owner was evicted.
    pub fn current(&self) -> &ShmExclusive {
        let (mut at, mut circle) = (self, Circle::default());
        while at.is_moved() {
            match at.next() {
                Some(next) if !circle.closes_at(next.index) => at = next,
                _ => break,
            }
        }
        at
    }

    /// Where it goes on, looked up once.
    fn next(&self) -> Option<&ShmExclusive> {
        if self.successor.load(Acquire).is_null() {
            let mine = Box::into_raw(Box::new(self.follow()?));
            if self.successor.compare_exchange(null_mut(), mine, AcqRel, Acquire).is_err() {
                // SAFETY: from a box above, and nobody has seen it.
                drop(unsafe { Box::from_raw(mine) });
            }
        }
        // SAFETY: from a box, set once, and freed when this is dropped.
        unsafe { self.successor.load(Acquire).as_ref() }
    }

    /// As [`current`](ShmExclusive::current), by value.
    pub fn resolved(mut self) -> ShmExclusive {
        let mut circle = Circle::default();
        while self.is_moved() {
            match self.follow() {
                Some(next) if !circle.closes_at(next.index) => self = next,
                _ => break,
            }
        }
        self
    }

    /// Itself, or that of its successors which lives there.
    pub fn at(&self, index: u32, generation: u32) -> &ShmExclusive {
        let mut at = self;
        while (at.index, at.generation) != (index, generation) {
            // SAFETY: null, or made from a box that is freed when this handle is dropped, and never replaced.
            match unsafe { at.successor.load(Acquire).as_ref() } {
                Some(next) => at = next,
                None => break,
            }
        }
        at
    }

    fn is_moved(&self) -> bool {
        let w = Word(self.cell.word.load(Acquire));
        w.state() == State::Moved && w.generation() == self.generation
    }

    fn follow(&self) -> Option<ShmExclusive> {
        let (index, generation) = evict::successor(self.arena, self.index)?;
        ShmExclusive::new(self.arena, index, generation, self.name.clone()).ok()
    }

    /// The word that its waiters sleep on.
    pub fn futex(&self) -> &'static AtomicU64 {
        if self.is_exclusive() { &self.cell.word } else { &self.cell.claim }
    }

    /// Whether this claimant owns it.
    pub fn is_mine(&self, me: Owner, claimant: u32) -> bool {
        let token = self.cell().token.load(Relaxed);
        claimant != 0 && self.owns(me, &Claim::new(token, key(me.bits(), claimant)))
    }

    /// Ends the claim of a dead owner that is past its gate, without owning it in between: the semaphore is free then, with
    /// the mark, or its heir's. False: there is none, or it is not over yet.
    pub fn end_dead(&self, me: Owner) -> bool {
        let w = self.load();
        let Some(dead) = w.owner().filter(|o| *o != me && w.generation() == self.generation) else { return false };
        let over = match self.arena.members.life(&self.arena.map, dead) {
            Life::Alive => false,
            Life::Dead => self.arena.members.gate(&self.arena.map, dead.slot()) == Gate::Open,
            Life::Gone => true,
        };
        if over {
            self.end_past_claim(dead);
        }
        over
    }

    /// Ends a claim of a slot's past, which is dead and long past its gate.
    pub fn end_past_claim(&self, past: Owner) {
        loop {
            let w = self.load();
            if w.owner() != Some(past) || w.generation() != self.generation {
                return;
            }
            if w.has(JOINED) {
                // Cleared before the search for joiners: one that comes after it sets the flag again.
                let _ = self.cell().word.compare_exchange(w.0, w.without(JOINED).0, AcqRel, Relaxed);
                continue;
            }
            let token = self.cell().token.load(Acquire);
            self.bury_owner(past);
            let next = match sharing::heir(self, token, past) {
                Some(heir) => w.owned_by(heir, WAITERS | RESERVED | DRAINED).with(MARK | JOINED | INHERITED),
                None => w.freed(RESERVED | DRAINED).with(MARK),
            };
            if self.cell().word.compare_exchange(w.0, next.0, AcqRel, Relaxed).is_ok() {
                return futex::wake_all(futex::low(&self.cell().word));
            }
        }
    }

    /// Its words in the file.
    pub fn cell(&self) -> &'static Cell {
        self.cell
    }

    /// Whether its owner may give it back by a plain store.
    pub fn careful(&self) -> Careful<'static> {
        let c = self.cell();
        Careful { word: &c.word, claim: &c.claim, token: &c.token, careful: &c.careful }
    }

    /// Changes the word, which somebody else may own, in a way that its owner cannot overlook when it gives it back.
    pub fn change(&self, from: Word, to: Word) -> Changed {
        let careful = self.careful();
        let owned = matches!(from.state(), State::Owned(_));
        let asked = if owned { careful.ask(plain::barrier) } else { None };
        if owned && asked.is_none() {
            return Changed::Unclear;
        }
        let done = self.cell.word.compare_exchange(from.0, to.0, SeqCst, Relaxed).is_ok();
        if done && asked.is_none_or(|a| careful.is_still(a)) { Changed::Yes } else { Changed::Lost }
    }

    /// The atomics that the protocol moves.
    pub fn words(&self) -> Words<'static> {
        let cell = self.cell();
        Words { word: &cell.word, oldest: &cell.oldest, generation: self.generation }
    }

    /// How wait records and joins name it.
    pub fn target(&self) -> u64 {
        target(self.index, self.generation)
    }

    /// The word now. If a joint request has it, that is settled first.
    pub fn load(&self) -> Word {
        loop {
            let word = Word(self.cell().word.load(Acquire));
            match word.state() {
                State::Tentative(_) => names::settle(self.arena, self.cell(), word),
                _ => return word,
            }
        }
    }

    /// Why a newcomer's request cannot even begin here: it is gone, or drained.
    pub fn refuses(&self, me: Owner) -> Option<Outcome> {
        let (gone, flagged) = match self.is_exclusive() {
            true => {
                let w = self.load();
                (w.generation() != self.generation || w.state() == State::Removed, w.has(DRAINED))
            }
            false => {
                let words = self.book().words();
                let w = words.count.load();
                (words.is_gone() || w.has(count::CLOSED), w.has(count::DRAINED))
            }
        };
        match gone {
            true => Some(Outcome::Stale),
            false => (flagged && drain::stands(self, me)).then_some(Outcome::Drained),
        }
    }

    /// Its ledger.
    pub fn book(&self) -> Book {
        Book { arena: self.arena, cell: self.cell, index: self.index, generation: self.generation }
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What the caller is told who meets a semaphore that is gone.
    pub fn stale(&self) -> Error {
        // What looks like that may be a part of the file that was cut off.
        self.arena.look();
        if let Err(e) = self.arena.sound() {
            return e.of(self.name.as_str());
        }
        Error::new(Code::InvalidHandle, format!("`{}` was removed; this handle is stale", self.name))
            .of(self.name.as_str())
            .advice("open it again")
    }

    /// 288.
    pub fn not_owner(&self) -> Error {
        // What looks like that may be a part of the file that was cut off.
        self.arena.look();
        if let Err(e) = self.arena.sound() {
            return e.of(self.name.as_str());
        }
        Error::new(Code::NotOwner, format!("this claim on `{}` is not held by the caller (any more)", self.name))
            .of(self.name.as_str())
            .advice("a forked child owns nothing; a claim may have been given up or ended from outside: see `xsem show`")
    }

    /// 101 or 121, with who holds it and who is ahead.
    pub fn taken(&self, code: Code, record: Option<&Record<'_>>, since: u64) -> Error {
        let (mine, n) = (record.map(|r| r.index), &self.name);
        let ahead = inspect::waiters_of(self.arena, self.index, self.generation, mine);
        let ahead: Vec<_> = ahead.into_iter().filter(|(t, _)| *t <= since).map(|(_, w)| w).collect();
        let holders = inspect::holders(self.arena, self.index);
        let text = match (code, holders.is_empty(), ahead.is_empty()) {
            (Code::ExclSemAlreadyOwned, false, _) => format!("`{n}` is owned by another claimant"),
            (Code::ExclSemAlreadyOwned, true, false) => {
                format!("`{n}` is kept for who has waited longest")
            }
            (Code::ExclSemAlreadyOwned, true, true) => {
                format!("`{n}` was owned by another claimant an instant ago")
            }
            _ if inspect::is_event(self.cell) => format!("`{n}` was not signalled in time"),
            _ => format!("`{n}` was not free in time"),
        };
        Error::new(code, text).of(n.as_str()).held_by(holders).behind(ahead).advice(match code {
            Code::ExclSemAlreadyOwned => "wait for it (`xsem run -w TIME`, `acquire_timeout`) or try again later".to_owned(),
            _ if inspect::is_event(self.cell) => format!("wait longer; `xsem event signal {n}` signals it"),
            _ => format!("wait longer, or see what the holder does: `xsem show {n}`"),
        })
    }

    /// Writes a claim down that has just been made.
    pub fn granted(&self, me: Owner, request: &Request<'_>, waited: u64) -> Grant {
        let cell = self.cell();
        // A dead owner may have left its nesting.
        cell.depth.store(0, Relaxed);
        let least = evict::least_token(self);
        if cell.token.load(Relaxed) < least {
            cell.token.store(least, Relaxed);
        }
        let claim = book(cell, key(me.bits(), request.claimant));
        if self.load().flags() != 0 {
            self.careful().be();
        }
        if let Some(label) = request.label {
            obituary::set_label(self.arena, self.index, claim.token, label);
        }
        let died = self.load().has(MARK).then(|| {
            let (deaths, _) = obituary::read(self.arena, self.index);
            tracing::warn!(name = %self.name, token = claim.token, "acquired; the previous owner died");
            deaths
        });
        if self.arena.is_recorded() {
            let what = if died.is_some() { What::TOLD } else { What::ACQUIRED };
            self.note(Note { token: claim.token, claimant: request.claimant, took: waited, ..Note::of(self, what) });
        }
        Grant::new(claim, died)
    }

    /// Writes something down that happened here.
    pub fn note(&self, note: Note<'_>) {
        history::note(self.arena, &note);
    }

    /// Why a request was not granted.
    pub fn refused(&self, outcome: Outcome, world: &ShmWorld<'_>) -> Error {
        if let Err(e) = self.arena.stands() {
            return e.of(self.name.as_str());
        }
        let (record, n) = (world.record.as_ref(), &self.name);
        let told = match outcome {
            Outcome::TimedOut => Some(Code::SemTimeout),
            Outcome::Cancelled => Some(Code::Interrupt),
            Outcome::Drained => Some(Code::SemIsSet),
            Outcome::Deadlock => Some(Code::PossibleDeadlock),
            // That a try finds it taken is an answer, and there may be thousands of them.
            _ => None,
        };
        if let Some(code) = told.filter(|_| self.arena.is_recorded()) {
            let claimant = world.request.map_or(0, |r| r.claimant);
            let what = What::refused(code);
            self.note(Note { claimant, permits: world.permits, took: world.waited(), ..Note::of(self, what) });
        }
        match outcome {
            Outcome::Taken if self.is_exclusive() => self.taken(Code::ExclSemAlreadyOwned, None, u64::MAX),
            Outcome::Taken => self.taken(Code::SemTimeout, None, u64::MAX),
            Outcome::Above(limit) => above_limit(self, world.permits, limit),
            Outcome::TimedOut => {
                if let Ok(cold) = self.arena.map.ensure_cold(self.index) {
                    cold.timed_out.fetch_add(1, Relaxed);
                }
                self.taken(Code::SemTimeout, record, if record.is_some() { world.since } else { u64::MAX })
            }
            Outcome::Cancelled => Error::new(Code::Interrupt, format!("the wait for `{n}` was cancelled")).of(n.as_str()),
            Outcome::Drained => Error::new(Code::SemIsSet, format!("`{n}` takes no new requests: it is drained"))
                .of(n.as_str())
                .held_by(inspect::holders(self.arena, self.index))
                .advice(format!("`xsem drain --reopen {n}` lets requests in again")),
            Outcome::Deadlock => Error::new(Code::PossibleDeadlock, format!("waiting for `{n}` would never end"))
                .of(n.as_str())
                .closing(world.cycle.take())
                .advice("give up what the others wait for, or take all of it at once (`acquire_all`, `xsem run A B`)"),
            Outcome::Damaged => self.arena.damaged(format_args!("an entry of the ledger of `{n}` has gone")).of(n.as_str()),
            Outcome::Owned | Outcome::Free | Outcome::Stale | Outcome::Moved => self.stale(),
        }
    }

    /// Whether it is an exclusive one; else it has a count word.
    pub fn is_exclusive(&self) -> bool {
        self.cell().kind.load(Relaxed) & 0xff == inspect::EXCLUSIVE
    }

    /// Nests, if the claimant owns it already.
    pub fn nest(&self, me: Owner, claimant: u32) -> Result<Option<Grant>> {
        if claimant == 0 {
            // Nobody in particular: its claims have nothing to do with each other.
            return Ok(None);
        }
        let (cell, key) = (self.cell(), key(me.bits(), claimant));
        let token = cell.token.load(Relaxed);
        let Some(depth) = self.depth(me, &Claim::new(token, key)) else { return Ok(None) };
        let depth = depth.saturating_add(1);
        if depth >= MAX_DEPTH {
            return Err(Error::new(
                Code::TooManySemRequests,
                format!("`{}` is nested {MAX_DEPTH} deep, which is the limit", self.name),
            )
            .of(self.name.as_str())
            .advice("release as often as you acquire"));
        }
        cell.depth.store(depth, Relaxed);
        Ok(Some(Grant::new(Claim::new(token, key), None)))
    }

    /// What is to be written down of the end of a claim, as long as what is beside the word is its.
    pub fn over(&self, claim: &Claim) -> Note<'_> {
        let held = now().saturating_sub(self.cell().since.load(Relaxed)).max(1);
        let claimant = claim.key as u32 >> CLAIMANT_SHIFT;
        Note { token: claim.token, claimant, took: held, ..Note::of(self, What::RELEASED) }
    }

    /// Ends the claim of `me`, whoever in the process it belongs to.
    pub fn end(&self, me: Owner, mark: bool) -> bool {
        self.cell().depth.store(0, Relaxed);
        protocol::release(&ShmWorld::new(self, me, None), &self.words(), me, mark)
    }

    /// Publishes the obituary of a claim on it, as long as it `stands`.
    pub fn bury(&self, dead: Owner, token: u64, cause: Cause, stands: impl Fn() -> bool) {
        let facts = obituary::Facts::of_owner(self.arena, self.index, (token, token));
        obituary::publish(self.arena, (self.index, self.generation), dead, facts, cause, stands);
    }

    /// Publishes the obituary of a dead owner, as long as nobody has taken over from it.
    pub fn bury_owner(&self, dead: Owner) {
        let cell = self.cell();
        let token = cell.token.load(Acquire);
        // A claim that its owner had no time to write down counts under the token that it would have got. It may also be
        // one that was being given up: then it is not written down any more.
        let booked = (cell.claim.load(Acquire) >> 32) as u32 == dead.bits() || self.load().has(INHERITED);
        let tokens = (token.wrapping_add(!booked as u64), token);
        let stands = || self.load().owner() == Some(dead);
        let facts = obituary::Facts::of_owner(self.arena, self.index, tokens);
        obituary::publish(self.arena, (self.index, self.generation), dead, facts, Cause::ProcessEnded, stands);
    }

    /// The cells of which a claimant of this process, which is `me`, owns the exclusive semaphore.
    pub fn owned_by(arena: &'static Arena, me: Owner, claimant: u32) -> impl Iterator<Item = u32> {
        let key = key(me.bits(), claimant);
        arena.touched.cells().filter(move |i| {
            arena.map.cell(*i).is_some_and(|c| c.claim.load(Relaxed) == key && inspect::kind_of(c) == Some(Kind::Exclusive))
        })
    }

    /// Ends what an ended thread of this process has left here, if it did.
    pub fn end_of_thread(arena: &'static Arena, index: u32, me: Owner, claimant: u32) {
        let Some(cell) = arena.map.cell(index) else {
            return;
        };
        let generation = Word(cell.word.load(Acquire)).generation();
        if inspect::is_event(cell) {
            // Nobody holds it.
            return;
        }
        if inspect::kind_of(cell) == Some(Kind::Counting) {
            if let Some(base) = ShmExclusive::unnamed(arena, index, generation) {
                ShmCounting::end_of_thread(&base, me, claimant);
            }
            return;
        }
        let key = key(me.bits(), claimant);
        if cell.claim.load(Relaxed) != key {
            return;
        }
        if let Some(sem) = ShmExclusive::unnamed(arena, index, generation) {
            let claim = Claim::new(cell.token.load(Relaxed), key);
            // 288 when the claim had been ended from outside: then nothing is left to do.
            let _ = sem.release(&claim, Ending::Abandon(Cause::ThreadEnded));
        }
    }

    /// What the word does not say is the caller's: 288, unless a repair has just given it back.
    #[cold]
    fn release_disowned(&self, me: Owner, claim: &Claim, ending: Ending) -> Result<()> {
        let cell = self.cell();
        let written = cell.claim.load(Acquire) == claim.key && cell.token.load(Relaxed) == claim.token;
        let depth = cell.depth.load(Acquire);
        if written && ending == Ending::Release && (1..MAX_DEPTH).contains(&depth) {
            // The levels below it may still see a repair.
            cell.depth.store(depth - 1, Relaxed);
            return Err(self.not_owner());
        }
        let claimed = Claimed { generation: self.generation, me, key: claim.key, token: claim.token };
        match put_back::give_up(self.arena, cell, &claimed) {
            Found::Back => self.release(claim, ending),
            Found::GivenUp | Found::Nothing => Err(self.not_owner()),
        }
    }

    /// Whether `me` owns it by this claim.
    pub fn owns(&self, me: Owner, claim: &Claim) -> bool {
        let w = self.load();
        w.generation() == self.generation
            && w.owner() == Some(me)
            && self.cell().claim.load(Relaxed) == claim.key
            && self.cell().token.load(Relaxed) == claim.token
    }

    /// How many levels lie below the latest one, if `me` owns it by this claim. The depth is read first: who evicts moves the
    /// word and then writes there who was evicted, which is no depth.
    pub fn depth(&self, me: Owner, claim: &Claim) -> Option<u32> {
        let depth = self.cell().depth.load(Acquire);
        self.owns(me, claim).then_some(depth)
    }
}

impl Object for ShmExclusive {
    fn name(&self) -> &Name {
        &self.name
    }

    fn kind(&self) -> Kind {
        Kind::Exclusive
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Grant> {
        let me = self.arena.register()?;
        let mut since = 0;
        loop {
            let sem = self.current();
            if let Some(nested) = sem.nest(me, request.claimant)? {
                return Ok(nested);
            }
            if !self.arena.is_current() {
                return Err(file_is_gone(self));
            }
            let mut world = ShmWorld::new(sem, me, Some(request));
            world.since = since;
            let outcome = protocol::acquire(&mut world, &sem.words(), me, limit(request))?;
            if outcome == Outcome::Moved {
                // It goes on elsewhere; the wait began where it began.
                since = world.since;
                continue;
            }
            if outcome != Outcome::Owned {
                return Err(sem.refused(outcome, &world));
            }
            // What was granted in a part that has just gone is nothing.
            self.arena.sound()?;
            let grant = sem.granted(me, request, world.waited());
            if world.record.is_some() {
                let waited = now().saturating_sub(world.since);
                tracing::debug!(name = %self.name, token = grant.claim.token, waited_ns = waited, "acquired after a wait");
            }
            return Ok(grant);
        }
    }

    fn start(self: Arc<Self>, request: OwnedRequest) -> Result<Box<dyn Pending>> {
        let (arena, permits) = (self.arena, request.permits);
        let list = vec![OwnedWant { object: self, permits }];
        Ok(Box::new(ShmPending::new(arena, How::One, list, request)))
    }

    fn release(&self, claim: &Claim, ending: Ending) -> Result<()> {
        let next = self.current();
        if !std::ptr::eq(next, self) {
            let mine = |claimant| self.arena.me().is_some_and(|me| key(me.bits(), claimant) == claim.key);
            if (mine(thread::claimant()) || mine(0))
                && self.cell().claim.load(Relaxed) == claim.key
                && self.cell().token.load(Relaxed) == claim.token
            {
                // Its own, which was ended from outside.
                self.cell().claim.store(0, Relaxed);
                return Err(self.not_owner());
            }
            return next.release(claim, ending);
        }
        let Some(me) = self.arena.me().filter(|m| m.bits() as u64 == claim.key >> 32) else {
            return Err(self.not_owner());
        };
        let Some(depth) = self.depth(me, claim) else {
            let shared = self.arena.members.shares(&self.arena.map, me, self.target(), claim.token);
            return match shared {
                true => sharing::leave(self, me, claim.token, ending),
                false => self.release_disowned(me, claim, ending),
            };
        };
        let cell = self.cell();
        if ending == Ending::Release && depth > 0 {
            cell.depth.store(depth - 1, Relaxed);
            return Ok(());
        }
        if let Ending::Abandon(cause) = ending {
            self.bury(me, claim.token, cause, || true);
        }
        if self.load().has(WAITERS)
            && let Some(cold) = self.arena.map.cold(self.index)
        {
            cold.longest.fetch_max(now().saturating_sub(cell.since.load(Relaxed)), Relaxed);
        }
        let note = self.arena.is_recorded().then(|| self.over(claim));
        let done = self.end(me, matches!(ending, Ending::Abandon(_)));
        reactor::changed(self.futex());
        // What was abandoned is told as a death.
        if let Some(note) = note.filter(|_| done && ending == Ending::Release) {
            self.note(note);
        }
        if done { Ok(()) } else { Err(self.not_owner()) }
    }

    fn prepare_release(&self, claim: &Claim) -> Result<Box<dyn Prepared>> {
        super::prepared::exclusive(self, claim)
    }

    fn mark_consistent(&self, claim: &Claim) -> Result<()> {
        let next = self.current();
        if !std::ptr::eq(next, self) {
            return next.mark_consistent(claim);
        }
        if !self.is_held(claim) {
            return Err(self.not_owner());
        }
        // First the obituaries, then the mark: who dies in between leaves a mark whose next obituary is its own.
        obituary::acknowledge(self.arena, self.index);
        loop {
            let w = self.load();
            if w.generation() != self.generation || w.owner().is_none() {
                return Err(self.not_owner());
            }
            if !w.has(MARK) || self.cell().word.compare_exchange(w.0, w.without(MARK).0, AcqRel, Relaxed).is_ok() {
                if w.has(MARK) && self.arena.is_recorded() {
                    self.note(Note { token: claim.token, ..Note::of(self, What::CONSISTENT) });
                }
                return Ok(());
            }
        }
    }

    fn join(&self, token: u64) -> Result<Option<Claim>> {
        let me = self.arena.enroll()?;
        // Not the key of an owner, which may still be written down there from when this very thread owned the claim.
        Ok(sharing::join(self.current(), me, token)?.then(|| Claim::new(token, key(me.bits(), thread::claimant()) | SHARED)))
    }

    fn is_held(&self, claim: &Claim) -> bool {
        let next = self.current();
        if !std::ptr::eq(next, self) {
            return next.is_held(claim);
        }
        self.arena.me().filter(|m| m.bits() as u64 == claim.key >> 32).is_some_and(|me| {
            self.owns(me, claim)
                || self.arena.members.shares(&self.arena.map, me, self.target(), claim.token)
                    && self.load().owner().is_some()
                    && self.load().generation() == self.generation
                    && self.cell().token.load(Relaxed) == claim.token
        })
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn close(&self) -> Result<()> {
        users::check_close(self.current())
    }

    fn fast(&self) -> Option<FastPath> {
        Some(FastPath::of(self.cell(), self.arena.me_page(), Word::new(self.generation, 0).0))
    }
}

impl std::fmt::Debug for ShmExclusive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShmExclusive").field("name", &self.name).field("word", &self.load()).finish_non_exhaustive()
    }
}
