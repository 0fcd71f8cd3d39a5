//! An open exclusive semaphore in shared memory.

use super::arena::{Arena, Me};
use super::futex::{self, Watch, Woke};
use super::inspect;
use super::layout::Cell;
use super::members::Life;
use super::names;
use super::obituary;
use super::protocol::{self, Gate, Limit, Outcome, Takeover, Waiting, Words, World};
use super::sharing;
use super::thread;
use super::waiters::{Record, target};
use super::word::{INHERITED, JOINED, MARK, Owner, RESERVED, WAITERS, Word};
use crate::claim::{Cause, Kind};
use crate::deadline::{now, now_coarse};
use crate::engine::{Claim, Ending, Grant, Object, Request, Until};
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::sync::{AtomicU64, Ordering::*};
use std::cell::Cell as StdCell;
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
    #[inline(always)]
    pub fn acquire(&self) -> Option<Claim> {
        let me = self.me.owner.load(Relaxed);
        // 0: not a member (yet, or a forked child). The swap would store a free word.
        if me == 0 || self.cell.word.compare_exchange(self.free.0, self.free.0 | me as u64, Acquire, Relaxed).is_err() {
            return None;
        }
        Some(book(self.cell, key(me, thread::take_one())))
    }

    /// The last level of a claim without flags: free now. False: the long way.
    #[inline(always)]
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
            thread::give_one_back();
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
#[inline(always)]
fn book(cell: &Cell, key: u64) -> Claim {
    let token = cell.token.load(Relaxed).wrapping_add(1);
    cell.token.store(token, Relaxed);
    cell.since.store(now_coarse(), Relaxed);
    cell.claim.store(key, Release);
    Claim::new(token, key)
}

/// An open semaphore.
pub struct ShmExclusive {
    pub arena: &'static Arena,
    pub index: u32,
    pub generation: u32,
    cell: &'static Cell,
    name: Name,
}

impl ShmExclusive {
    /// For a cell that was found or made.
    pub fn new(arena: &'static Arena, index: u32, generation: u32, name: Name) -> Result<ShmExclusive> {
        match arena.map.cell(index) {
            Some(cell) => Ok(ShmExclusive { cell, arena, index, generation, name }),
            None => Err(Error::new(Code::FileCorrupt, "the namespace file is damaged: a semaphore lies outside of its table")),
        }
    }

    /// For a cell that somebody else's word led to.
    pub fn unnamed(arena: &'static Arena, index: u32, generation: u32) -> Option<ShmExclusive> {
        let name = names::name_of(arena, index, generation)?;
        ShmExclusive::new(arena, index, generation, Name::new(&name).ok()?).ok()
    }

    /// Ends a claim of a slot's past, which is dead and long past its gate.
    pub fn end_past_claim(&self, past: Owner) {
        loop {
            let w = self.load();
            if w.owner() != Some(past) || w.generation() != self.generation {
                return;
            }
            let token = self.cell().token.load(Acquire);
            self.bury_owner(past);
            let next = match sharing::heir(self, token, past) {
                Some(heir) => w.owned_by(heir, WAITERS | RESERVED).with(MARK | JOINED | INHERITED),
                None => w.freed(RESERVED).with(MARK),
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

    fn words(&self) -> Words<'_> {
        let cell = self.cell();
        Words { word: &cell.word, oldest: &cell.oldest, generation: self.generation }
    }

    /// How wait records and joins name it.
    pub fn target(&self) -> u64 {
        target(self.index, self.generation)
    }

    /// The word now.
    pub fn load(&self) -> Word {
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
        let depth = cell.depth.load(Relaxed).saturating_add(1);
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

    /// Ends the claim of `me`, whoever in the process it belongs to.
    pub fn end(&self, me: Owner, mark: bool) -> bool {
        self.cell().depth.store(0, Relaxed);
        protocol::release(&ShmWorld::new(self, me, None), &self.words(), me, mark)
    }

    /// Publishes the obituary of a claim on it, as long as it `stands`.
    pub fn bury(&self, dead: Owner, token: u64, cause: Cause, stands: impl Fn() -> bool) {
        obituary::publish(self.arena, (self.index, self.generation), dead, (token, token), cause, stands);
    }

    /// Publishes the obituary of a dead owner, as long as nobody has taken over from it.
    fn bury_owner(&self, dead: Owner) {
        let cell = self.cell();
        let token = cell.token.load(Acquire);
        // A claim that its owner had no time to write down counts under the token that it would have got. It may also be
        // one that was being given up: then it is not written down any more.
        let booked = (cell.claim.load(Acquire) >> 32) as u32 == dead.bits() || self.load().has(INHERITED);
        let tokens = (token.wrapping_add(!booked as u64), token);
        let stands = || self.load().owner() == Some(dead);
        obituary::publish(self.arena, (self.index, self.generation), dead, tokens, Cause::ProcessEnded, stands);
    }

    /// One request for `me` without a claimant, which is not booked: for those who remove it next.
    pub fn try_for(&self, me: Owner, limit: Limit) -> Result<Outcome> {
        protocol::acquire(&mut ShmWorld::new(self, me, None), &self.words(), me, limit)
    }

    /// Ends what an ended thread of this process has left here, if it did.
    pub fn end_of_thread(arena: &'static Arena, index: u32, me: Owner, claimant: u32) {
        let Some(cell) = arena.map.cell(index) else {
            return;
        };
        let key = key(me.bits(), claimant);
        if cell.claim.load(Relaxed) != key {
            return;
        }
        let generation = Word(cell.word.load(Acquire)).generation();
        if let Some(sem) = ShmExclusive::unnamed(arena, index, generation) {
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
        if !self.arena.is_current() {
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
        thread::take_one();
        let claim = book(cell, key(me.bits(), request.claimant));
        if let Some(label) = request.label {
            obituary::set_label(self.arena, self.index, claim.token, label);
        }
        if record.is_some() {
            tracing::debug!(name = %self.name, token = claim.token, waited_ns = now().saturating_sub(since), "acquired after a wait");
        }
        let died = self.load().has(MARK).then(|| {
            let (deaths, _) = obituary::read(self.arena, self.index);
            tracing::warn!(name = %self.name, token = claim.token, "acquired; the previous owner died");
            deaths
        });
        Ok(Grant::new(claim, died))
    }

    fn release(&self, claim: &Claim, ending: Ending) -> Result<()> {
        let Some(me) = self.arena.me().filter(|m| m.bits() as u64 == claim.key >> 32) else {
            return Err(self.not_owner());
        };
        if !self.owns(me, claim) {
            let shared = self.arena.members.shares(&self.arena.map, me, self.target(), claim.token);
            return if shared { sharing::leave(self, me, claim.token, ending) } else { Err(self.not_owner()) };
        }
        let cell = self.cell();
        let depth = cell.depth.load(Relaxed);
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
        // A claim that is given back by another thread (an engine's user may) stays on the account of its own.
        if claim.key as u32 == thread::claimant() {
            thread::give_one_back();
        }
        if self.end(me, matches!(ending, Ending::Abandon(_))) { Ok(()) } else { Err(self.not_owner()) }
    }

    fn mark_consistent(&self, claim: &Claim) -> Result<()> {
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
                return Ok(());
            }
        }
    }

    fn join(&self, token: u64) -> Result<Option<Claim>> {
        let me = self.arena.register()?;
        Ok(sharing::join(self, me, token)?.then(|| Claim::new(token, key(me.bits(), thread::claimant()))))
    }

    fn is_held(&self, claim: &Claim) -> bool {
        self.arena.me().filter(|m| m.bits() as u64 == claim.key >> 32).is_some_and(|me| {
            self.owns(me, claim)
                || self.arena.members.shares(&self.arena.map, me, self.target(), claim.token)
                    && self.load().owner().is_some()
                    && self.load().generation() == self.generation
                    && self.cell().token.load(Relaxed) == claim.token
        })
    }

    fn fast(&self) -> Option<FastPath> {
        Some(FastPath { cell: self.cell(), me: self.arena.me_page(), free: Word::new(self.generation, 0) })
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
            let Some(w) = arena.members.watch(&arena.map, owner, self.me) else {
                return;
            };
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

    fn gate(&self, dead: Owner) -> Gate {
        let arena = &self.sem.arena;
        match arena.members.life(&arena.map, dead) {
            Life::Alive => Gate::Writing,
            Life::Dead => arena.members.gate(&arena.map, dead.slot()),
            Life::Gone => Gate::Open,
        }
    }

    fn takeover(&self, dead: Owner) -> Takeover {
        let sem = self.sem;
        // Sharers' deaths first: telling them may move the word, and then all of this comes again; the dead owner's own
        // obituary is then the latest, and is not counted twice.
        let heir = sharing::heir(sem, sem.cell().token.load(Acquire), dead);
        sem.bury_owner(dead);
        match heir {
            Some(heir) => Takeover::PassTo(heir),
            None => Takeover::Take,
        }
    }

    fn wait_for_gate(&self, dead: Owner, attempt: u32) {
        self.sem.arena.members.wait_for_gate(&self.sem.arena.map, dead.slot(), attempt);
    }

    fn joiner(&self) -> Option<Owner> {
        sharing::heir(self.sem, self.sem.cell().token.load(Acquire), self.me)
    }

    fn unbook(&self) {
        self.sem.cell().claim.store(0, Relaxed);
    }

    fn wake_all(&self, word: &AtomicU64) {
        futex::wake_all(futex::low(word));
    }

    fn set_low_and_wake_all(&self, word: &AtomicU64, low: u32) {
        futex::set_low_and_wake_all(word, low);
    }
}
