//! An open exclusive semaphore in shared memory.

use super::arena::{Arena, Me};
use super::futex::{self, Watch, Woke};
use super::inspect;
use super::layout::Cell;
use super::members::{Gate, Life};
use super::names;
use super::obituary;
use super::protocol::{self, Limit, Outcome, Takeover, Waiting, Words, World};
use super::thread;
use super::waiters::{Record, target};
use super::word::{CLOSING, JOINED, MARK, Owner, Word};
use crate::claim::{Cause, Kind};
use crate::deadline::{now, now_coarse};
use crate::engine::{Claim, Ending, Grant, Object, Request, Until};
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::sync::{AtomicU64, Ordering::*};
use std::cell::Cell as StdCell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Deepest nesting of one claim.
const MAX_DEPTH: u32 = 65_535;

/// A second look once a second covers what no single fault can bring about. Tests switch it off.
pub static RECHECK: AtomicBool = AtomicBool::new(true);

/// What the uncontended path needs: one compare-and-swap each way, and plain stores in one cache line.
#[derive(Clone, Copy)]
pub struct FastPath {
    cell: &'static Cell,
    me: &'static Me,
    free: Word,
}

impl FastPath {
    /// A free semaphore without flags: owned now. None: the long way.
    #[inline]
    pub fn acquire(&self) -> Option<Claim> {
        let me = self.me.owner.load(Relaxed);
        // 0: not a member (yet, or a forked child). The swap would store a free word.
        if me == 0 || self.cell.word.compare_exchange(self.free.0, self.free.0 | me as u64, Acquire, Relaxed).is_err() {
            return None;
        }
        Some(book(self.cell, key(me, thread::claimant())))
    }

    /// The last level of a claim without flags: free now. False: the long way.
    #[inline]
    pub fn release(&self, claim: &Claim) -> bool {
        let (me, c) = (self.me.owner.load(Relaxed), self.cell);
        if me as u64 != claim.key >> 32
            || c.claim.load(Relaxed) != claim.key
            || c.token.load(Relaxed) != claim.token
            || c.depth.load(Relaxed) != 0
        {
            return false;
        }
        c.claim.store(0, Relaxed);
        if c.word.compare_exchange(self.free.0 | me as u64, self.free.0, Release, Relaxed).is_ok() {
            thread::gave_one_back();
            return true;
        }
        // Flags are set: the long way expects a claim that is written down.
        c.claim.store(claim.key, Relaxed);
        false
    }
}

/// What `Cell::claim` says while a claimant of a member owns it.
///
/// It also answers "is it mine already?": a thread finds its own key there only if it wrote it itself and has not cleared
/// it since; everybody else writes another key, and whoever releases clears it first.
#[inline]
fn key(me: u32, claimant: u32) -> u64 {
    (me as u64) << 32 | claimant as u64
}

/// Writes down what the word does not say. Only the owner does this, so nothing of it needs a locked instruction.
#[inline]
fn book(cell: &Cell, key: u64) -> Claim {
    let token = cell.token.load(Relaxed) + 1;
    cell.token.store(token, Relaxed);
    cell.since.store(now_coarse(), Relaxed);
    cell.claim.store(key, Release);
    thread::took_one();
    Claim::new(token, key)
}

/// An open semaphore.
pub struct ShmExclusive {
    arena: Arc<Arena>,
    index: u32,
    generation: u32,
    name: Name,
}

impl ShmExclusive {
    /// For a cell that was found or made.
    pub fn new(arena: Arc<Arena>, index: u32, generation: u32, name: Name) -> Result<ShmExclusive> {
        match arena.map.cell(index) {
            Some(_) => Ok(ShmExclusive { arena, index, generation, name }),
            None => Err(Error::new(Code::FileCorrupt, "the namespace file is damaged: a semaphore lies outside of its table")),
        }
    }

    fn cell(&self) -> &'static Cell {
        // SAFETY: the index was checked in `new`, cursors only grow; arenas and their maps live until the process ends.
        unsafe { &*(self.arena.map.cell(self.index).expect("checked in new") as *const Cell) }
    }

    fn words(&self) -> Words<'_> {
        let cell = self.cell();
        Words { word: &cell.word, oldest: &cell.oldest, generation: self.generation }
    }

    fn target(&self) -> u64 {
        target(self.index, self.generation)
    }

    fn load(&self) -> Word {
        Word(self.cell().word.load(Acquire))
    }

    fn stale(&self) -> Error {
        Error::new(Code::InvalidHandle, format!("`{}` was removed; this handle is stale", self.name))
            .of(self.name.as_str())
            .advice("open it again")
    }

    fn not_owner(&self) -> Error {
        Error::new(Code::NotOwner, format!("this claim on `{}` is not held by the caller (any more)", self.name))
            .of(self.name.as_str())
            .advice("a forked child owns nothing; a claim may have been given up or ended from outside: see `xsem show`")
    }

    fn taken(&self, code: Code, record: Option<&Record<'_>>, since: u64) -> Error {
        let (mine, n) = (record.map(|r| r.index), &self.name);
        let ahead = inspect::waiters_of(&self.arena, self.index, self.generation, mine);
        let ahead: Vec<_> = ahead.into_iter().filter(|(t, _)| *t <= since).map(|(_, w)| w).collect();
        let holders = inspect::holders(&self.arena, self.index);
        let text = match (code, holders.is_empty(), ahead.is_empty()) {
            (Code::ExclSemAlreadyOwned, false, _) => format!("`{n}` is owned by another claimant"),
            (Code::ExclSemAlreadyOwned, true, false) => format!("`{n}` is kept for who has waited longest"),
            (Code::ExclSemAlreadyOwned, true, true) => format!("`{n}` was owned by another claimant an instant ago"),
            _ => format!("`{n}` was not free in time"),
        };
        Error::new(code, text).of(n.as_str()).held_by(holders).behind(ahead).advice(match code {
            Code::ExclSemAlreadyOwned => "wait for it (`xsem run -w TIME`, `acquire_timeout`) or try again later".to_owned(),
            _ => format!("wait longer, or see what the holder does: `xsem show {n}`"),
        })
    }

    /// Nests, if the claimant owns it already.
    fn nest(&self, me: Owner, claimant: u32) -> Result<Option<Grant>> {
        let (cell, key) = (self.cell(), key(me.bits(), claimant));
        let token = cell.token.load(Relaxed);
        if !self.owns(me, &Claim::new(token, key)) {
            return Ok(None);
        }
        let depth = cell.depth.load(Relaxed) + 1;
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

    /// Whether this member shares the claim with this token.
    fn shares(&self, member: Owner, token: u64) -> bool {
        self.arena
            .map
            .slot(member.slot())
            .is_some_and(|s| s.join_cell.load(Acquire) == self.target() && s.join_token.load(Relaxed) == token)
    }

    /// Stops sharing somebody's claim; ends it where it has become this process's own.
    fn leave(&self, me: Owner, claim: &Claim, ending: Ending) -> Result<()> {
        let cell = self.cell();
        let mark = if let Ending::Abandon(cause) = ending {
            obituary::publish(&self.arena, self.index, me, claim.token, cause);
            loop {
                let w = self.load();
                if w.generation() != self.generation || w.owner().is_none() {
                    break;
                }
                if cell.word.compare_exchange(w.0, w.with(MARK).0, AcqRel, Relaxed).is_ok() {
                    break;
                }
            }
            true
        } else {
            false
        };
        if let Some(s) = self.arena.map.slot(me.slot()) {
            s.join_cell.store(0, SeqCst);
        }
        // The owner may be about to pass the claim to us, having seen our join. Whoever passes it has cleared JOINED
        // before it looked, so setting JOINED makes it look again; unless it has passed it already.
        loop {
            let w = self.load();
            match w.owner() {
                _ if w.generation() != self.generation => return Ok(()),
                None => return Ok(()),
                Some(o) if o == me => {
                    let world = ShmWorld::new(self, me, None);
                    protocol::release(&world, &self.words(), me, mark);
                    return Ok(());
                }
                Some(_) if w.has(JOINED) => return Ok(()),
                Some(_) => {
                    if cell.word.compare_exchange(w.0, w.with(JOINED).0, AcqRel, Relaxed).is_ok() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// One request for `me` without a claimant, which is not booked: for those who remove it next.
    pub fn try_for(&self, me: Owner, limit: Limit) -> Result<Outcome> {
        protocol::acquire(&mut ShmWorld::new(self, me, None), &self.words(), me, limit)
    }

    /// Ends what an ended thread of this process has left here, if it did.
    pub fn end_of_thread(arena: &Arc<Arena>, index: u32, me: Owner, claimant: u32) {
        let Some(cell) = arena.map.cell(index) else { return };
        let key = key(me.bits(), claimant);
        if cell.claim.load(Relaxed) != key {
            return;
        }
        let generation = Word(cell.word.load(Acquire)).generation();
        let Some(name) = names::name_of(arena, index, generation).and_then(|n| Name::new(&n).ok()) else { return };
        if let Ok(sem) = ShmExclusive::new(arena.clone(), index, generation, name) {
            let claim = Claim::new(cell.token.load(Relaxed), key);
            // 288 when the claim had been ended from outside: then nothing is left to do.
            let _ = sem.release(&claim, Ending::Abandon(Cause::ThreadEnded));
        }
    }

    fn owns(&self, me: Owner, claim: &Claim) -> bool {
        let w = self.load();
        w.generation() == self.generation
            && w.owner() == Some(me)
            && self.cell().claim.load(Relaxed) == claim.key
            && self.cell().token.load(Relaxed) == claim.token
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
        let cell = self.cell();
        if let Some(nested) = self.nest(me, request.claimant)? {
            return Ok(nested);
        }
        if !self.arena.map.is_linked() {
            return Err(Error::new(Code::InvalidHandle, "the namespace file was removed or replaced under its users")
                .of(self.name.as_str())
                .advice("open the namespace again"));
        }
        let limit = match request.until {
            Until::Now => Limit::Now,
            Until::Deadline(d) => Limit::At(d.0),
            Until::Forever => Limit::Never,
        };
        let mut world = ShmWorld::new(self, me, Some(request));
        let outcome = protocol::acquire(&mut world, &self.words(), me, limit)?;
        let (record, since) = (world.record.as_ref(), world.since);
        match outcome {
            Outcome::Owned => {}
            Outcome::Stale => return Err(self.stale()),
            Outcome::Taken => return Err(self.taken(Code::ExclSemAlreadyOwned, None, u64::MAX)),
            Outcome::TimedOut => {
                if let Ok(cold) = self.arena.map.ensure_cold(self.index) {
                    cold.timed_out.fetch_add(1, Relaxed);
                }
                return Err(self.taken(Code::SemTimeout, record, if record.is_some() { since } else { u64::MAX }));
            }
            Outcome::Cancelled => {
                return Err(
                    Error::new(Code::Interrupt, format!("the wait for `{}` was cancelled", self.name)).of(self.name.as_str())
                );
            }
        }
        // A dead owner may have left its nesting.
        cell.depth.store(0, Relaxed);
        let claim = book(cell, key(me.bits(), request.claimant));
        if let Some(label) = request.label {
            obituary::set_label(&self.arena, self.index, claim.token, label);
        }
        if record.is_some() {
            tracing::debug!(name = %self.name, token = claim.token, waited_ns = now().saturating_sub(since), "acquired after a wait");
        }
        let died = self.load().has(MARK).then(|| {
            let (deaths, _) = obituary::read(&self.arena, self.index);
            tracing::warn!(name = %self.name, token = claim.token, "acquired; the previous owner died");
            deaths
        });
        Ok(Grant::new(claim, died))
    }

    fn release(&self, claim: &Claim, ending: Ending) -> Result<()> {
        let Some(me) = self.arena.me().filter(|m| m.bits() as u64 == claim.key >> 32) else { return Err(self.not_owner()) };
        if !self.owns(me, claim) {
            return if self.shares(me, claim.token) { self.leave(me, claim, ending) } else { Err(self.not_owner()) };
        }
        let cell = self.cell();
        let depth = cell.depth.load(Relaxed);
        if ending == Ending::Release && depth > 0 {
            cell.depth.store(depth - 1, Relaxed);
            return Ok(());
        }
        if let Ending::Abandon(cause) = ending {
            obituary::publish(&self.arena, self.index, me, claim.token, cause);
        }
        if self.load().flags() & super::word::WAITERS != 0
            && let Some(cold) = self.arena.map.cold(self.index)
        {
            cold.longest.fetch_max(now().saturating_sub(cell.since.load(Relaxed)), Relaxed);
        }
        cell.depth.store(0, Relaxed);
        cell.claim.store(0, Relaxed);
        thread::gave_one_back();
        let world = ShmWorld::new(self, me, None);
        let mark = matches!(ending, Ending::Abandon(_));
        if protocol::release(&world, &self.words(), me, mark) { Ok(()) } else { Err(self.not_owner()) }
    }

    fn mark_consistent(&self, claim: &Claim) -> Result<()> {
        if !self.is_held(claim) {
            return Err(self.not_owner());
        }
        // First the obituaries, then the mark: who dies in between leaves a mark whose next obituary is its own.
        obituary::acknowledge(&self.arena, self.index);
        loop {
            let w = self.load();
            if w.generation() != self.generation || w.owner().is_none() {
                return Err(self.not_owner());
            }
            if !w.has(MARK) || self.cell().word.compare_exchange(w.0, w.without(MARK).0, AcqRel, Relaxed).is_ok() {
                return Ok(());
            }
        }
    }

    fn join(&self, token: u64) -> Result<Option<Claim>> {
        let me = self.arena.register()?;
        let cell = self.cell();
        let Some(slot) = self.arena.map.slot(me.slot()) else { return Err(self.stale()) };
        if slot.join_cell.load(Acquire) != 0 {
            return Err(Error::new(Code::TooManySemRequests, "this process shares a claim already").of(self.name.as_str()));
        }
        slot.join_token.store(token, Relaxed);
        slot.join_cell.store(self.target(), SeqCst);
        let current = |owner: Owner| {
            // Booked by its owner under this token: `claim` is cleared before a release and written after an acquire. An
            // heir has not acquired it, but shares it.
            let claim = cell.claim.load(Acquire);
            let booked = (claim >> 32) as u32 == owner.bits() || self.shares(owner, token);
            booked && cell.token.load(Acquire) == token
        };
        let joined = loop {
            let w = self.load();
            let Some(owner) = w.owner().filter(|o| *o != me && w.generation() == self.generation) else { break false };
            if w.has(CLOSING) || !current(owner) {
                break false;
            }
            // Setting JOINED after our join was published makes every later end of the claim look for us.
            if w.has(JOINED) || cell.word.compare_exchange(w.0, w.with(JOINED).0, AcqRel, Relaxed).is_ok() {
                break current(owner) || self.load().owner() == Some(me);
            }
        };
        if !joined {
            let claim = Claim::new(token, key(me.bits(), thread::claimant()));
            self.leave(me, &claim, Ending::Release)?;
            return Ok(None);
        }
        tracing::debug!(name = %self.name, token, "shares a claim");
        Ok(Some(Claim::new(token, key(me.bits(), thread::claimant()))))
    }

    fn is_held(&self, claim: &Claim) -> bool {
        self.arena.me().filter(|m| m.bits() as u64 == claim.key >> 32).is_some_and(|me| {
            self.owns(me, claim)
                || self.shares(me, claim.token)
                    && self.load().owner().is_some()
                    && self.load().generation() == self.generation
                    && self.cell().token.load(Relaxed) == claim.token
        })
    }

    fn fast(&self) -> Option<FastPath> {
        let arena = Arc::as_ptr(&self.arena);
        // SAFETY: arenas are kept in a list from which nothing is removed, so references into them live as long as the
        // process.
        let arena: &'static Arena = unsafe { &*arena };
        Some(FastPath { cell: self.cell(), me: arena.me_page(), free: Word::new(self.generation, 0) })
    }
}

impl std::fmt::Debug for ShmExclusive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShmExclusive").field("name", &self.name).field("word", &self.load()).finish_non_exhaustive()
    }
}

/// The protocol's surroundings in shared memory.
struct ShmWorld<'a> {
    sem: &'a ShmExclusive,
    me: Owner,
    request: Option<&'a Request<'a>>,
    record: Option<Record<'a>>,
    since: u64,
    gave_up: StdCell<bool>,
}

impl<'a> ShmWorld<'a> {
    fn new(sem: &'a ShmExclusive, me: Owner, request: Option<&'a Request<'a>>) -> Self {
        ShmWorld { sem, me, request, record: None, since: 0, gave_up: StdCell::new(false) }
    }
}

impl World for ShmWorld<'_> {
    type Error = Error;

    fn now(&self) -> u64 {
        now()
    }

    fn is_alive(&self, owner: Owner) -> bool {
        owner == self.me || self.sem.arena.members.life(&self.sem.arena.map, owner) == Life::Alive
    }

    fn record(&mut self) -> Result<(u64, u64)> {
        let arena = &self.sem.arena;
        let record = Record::take(&arena.map, self.me)?;
        self.since = now();
        if let Some(r) = self.request {
            let has_deadline = matches!(r.until, Until::Deadline(_));
            record.publish(self.me, r.claimant, self.sem.target(), self.since, r.permits, has_deadline);
        }
        let reference = record.index as u64 + 1;
        self.record = Some(record);
        if let Ok(cold) = arena.map.ensure_cold(self.sem.index) {
            cold.contended.fetch_add(1, Relaxed);
        }
        tracing::debug!(name = %self.sem.name, "waits");
        Ok((reference, self.since))
    }

    fn waiting(&self, reference: u64) -> Option<Waiting> {
        let w = self.sem.arena.map.waiter((reference as u32).checked_sub(1)?)?;
        let owner = Owner::from_bits((w.who.load(Acquire) >> 32) as u32)?;
        let since = w.since.load(Relaxed);
        (w.target.load(Acquire) == self.sem.target() && self.is_alive(owner)).then_some(Waiting { since, owner })
    }

    fn sleep(&self, word: &AtomicU64, expect: u32, watch: Option<Owner>, until: Option<u64>) {
        let (arena, watched) = (&self.sem.arena, watch.filter(|o| *o != self.me));
        let mut words = [Watch::shared(futex::low(word), expect); 3];
        let mut n = 1;
        if let Some(owner) = watched {
            let Some(w) = arena.members.watch(&arena.map, owner, self.me) else { return };
            words[n] = w;
            n += 1;
        }
        if let Some(token) = self.request.and_then(|r| r.cancel) {
            words[n] = Watch::private(&*token.0, 0);
            n += 1;
        }
        let recheck = RECHECK.load(Relaxed).then(|| now() + 1_000_000_000);
        let until = [until, recheck].into_iter().flatten().min();
        if futex::sleep(&words[..n], until) == Woke::Signal
            && let Some(f) = self.request.and_then(|r| r.interrupted)
            && f.give_up()
        {
            self.gave_up.set(true);
        }
        if let Some(owner) = watched {
            arena.members.relay(&arena.map, owner, self.me);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.gave_up.get() || self.request.and_then(|r| r.cancel).is_some_and(|c| c.is_cancelled())
    }

    fn takeover(&self, dead: Owner) -> Takeover {
        let (arena, sem) = (&self.sem.arena, self.sem);
        if arena.members.life(&arena.map, dead) == Life::Dead {
            match arena.members.gate(&arena.map, dead.slot()) {
                Gate::Open => {}
                Gate::Writing => return Takeover::NotYet,
                Gate::Covering => return Takeover::Covered,
            }
        }
        let cell = sem.cell();
        let token = cell.token.load(Acquire);
        // A claim that its owner had no time to write down counts under the token that it would have got.
        let unbooked = (cell.claim.load(Acquire) >> 32) as u32 != dead.bits();
        let inherited = unbooked && sem.shares(dead, token);
        obituary::publish(arena, sem.index, dead, token + (unbooked && !inherited) as u64, Cause::ProcessEnded);
        match arena.members.joiners(&arena.map, sem.target(), token, dead).first() {
            Some(&heir) => Takeover::PassTo(heir),
            None => Takeover::Take,
        }
    }

    fn wait_for_gate(&self, dead: Owner, attempt: u32) {
        self.sem.arena.members.wait_for_gate(&self.sem.arena.map, dead.slot(), attempt);
    }

    fn joiner(&self) -> Option<Owner> {
        let (arena, sem) = (&self.sem.arena, self.sem);
        arena.members.joiners(&arena.map, sem.target(), sem.cell().token.load(Acquire), self.me).first().copied()
    }

    fn wake_all(&self, word: &AtomicU64) {
        futex::wake_all(futex::low(word));
    }

    fn set_low_and_wake_all(&self, word: &AtomicU64, low: u32) {
        futex::set_low_and_wake_all(word, low);
    }
}
