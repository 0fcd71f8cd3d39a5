//! An open counting semaphore in shared memory.

use super::blob;
use super::count::{self, Bounds, Doing, Op};
use super::history::{Note, What};
use super::inspect::{self, is_credit};
use super::layout::Entry;
use super::members::shorten;
use super::object::{ShmExclusive, limit};
use super::pending::{How, ShmPending};
use super::permits;
use super::protocol::{Look, Outcome, Turn, World};
use super::reactor;
use super::reserve::{self, Reserve};
use super::short::FastPermits;
use super::slots;
use super::thread;
use super::users;
use super::word::Owner;
use super::world::ShmWorld;
use crate::claim::{Capacity, Cause, Kind};
use crate::deadline::{now, now_coarse};
use crate::engine::{Account, Claim, Ending, Grant, MAX_PERMITS, Object, OwnedRequest, OwnedWant, Pending, Prepared, Request};
use crate::error::{Code, Error, Result};
use crate::forklock::ForkLock;
use crate::name::Name;
use crate::sync::Ordering::*;
use std::sync::Arc;

/// Entries that a handle keeps for its next claims.
const SPARE: usize = 16;

/// An open counting semaphore.
pub struct ShmCounting {
    pub base: ShmExclusive,
    /// Entries of this process that are at rest. A forked child has none: those are its parent's.
    spare: ForkLock<Vec<u32>>,
    /// Entries for interrupt time (credit).
    pub reserve: Reserve,
}

impl ShmCounting {
    /// For a cell that was found or made.
    pub fn new(base: ShmExclusive) -> ShmCounting {
        ShmCounting { base, spare: ForkLock::new(), reserve: Reserve::default() }
    }

    /// Makes it possible to add permits at interrupt time, if it is a credit: as far as that goes, since who opens it may not
    /// want to do that. Only at normal time.
    pub fn keep_in_reserve(&self) {
        if is_credit(self.base.cell())
            && let Ok(me) = self.base.arena.register()
            && self.reserve.is_empty(me)
        {
            self.reserve.fill(&self.base.book(), me);
        }
    }

    /// An entry at rest for a claim of this claimant.
    pub fn entry(&self, me: Owner, claimant: u32) -> Result<(u32, &'static Entry)> {
        let kept = FastPermits::new(self.base.book()).kept(me.bits()).or_else(|| self.spare.lock().pop());
        let i = match kept {
            Some(i) => i,
            None if !self.base.arena.is_current() => return Err(super::object::file_is_gone(&self.base)),
            None => self.base.book().take_entry(me, claimant)?,
        };
        let e = self.base.arena.map.entry(i).ok_or_else(|| self.base.stale())?;
        if e.target.load(Acquire) != self.base.target() {
            // The semaphore was removed while we kept the entry.
            self.base.book().give_entry(i);
            return Err(self.base.stale());
        }
        e.who.store((me.bits() as u64) << 32 | claimant as u64, Relaxed);
        e.token.store(0, Relaxed);
        Ok((i, e))
    }

    /// An entry that is at rest again.
    pub fn put_back(&self, me: Owner, i: u32) {
        if self.base.arena.me() != Some(me) {
            // Its parent's, which a signal handler has forked from.
            return;
        }
        let short = FastPermits::new(self.base.book());
        let mine = self.base.arena.map.entry(i).is_some_and(|e| {
            let who = e.who.load(Relaxed);
            who as u32 != 0 && who as u32 == thread::claimant() && e.label.load(Relaxed) == 0
        });
        if mine && short.keep(me.bits(), i) {
            return;
        }
        // From now on it is nobody's claim: not that of a thread which may end.
        if let Some(e) = self.base.arena.map.entry(i) {
            e.who.store((me.bits() as u64) << 32, Relaxed);
        }
        let mut spare = self.spare.lock();
        match spare.len() {
            SPARE.. => {
                drop(spare);
                self.base.book().give_entry(i);
            }
            _ => spare.push(i),
        }
    }

    /// Writes a claim down that has just been made.
    pub fn granted(&self, (i, entry): (u32, &Entry), request: &Request<'_>, waited: u64) -> Grant {
        let cell = self.base.cell();
        let token = cell.token.fetch_add(1, Relaxed).wrapping_add(1);
        let at = now_coarse();
        entry.since.store(at, Relaxed);
        entry.token.store(token, Release);
        cell.since.store(at, Relaxed);
        if entry.label.load(Relaxed) != 0 || request.label.is_some() {
            self.base.book().drop_label(entry);
            let text = request.label.map(|l| shorten(l, 120));
            let first = text.and_then(|t| blob::put(&self.base.arena.map, self.base.index, t.as_bytes()).ok());
            entry.label.store(first.unwrap_or(0), Release);
        }
        if request.claimant != 0 && matches!(request.account, Account::Thread) {
            thread::take_one();
        }
        if self.base.arena.is_recorded() {
            let permits = Op(entry.op.load(Acquire)).permits();
            let (claimant, took) = (request.claimant, waited);
            self.base.note(Note { token, claimant, permits, took, ..Note::of(&self.base, What::ACQUIRED) });
        }
        Grant::new(Claim::new(token, (i as u64 + 1) << 32 | request.claimant as u64), None)
    }

    /// The entry of a claim that this process holds, and what it is doing.
    pub fn held(&self, claim: &Claim) -> Option<(Owner, u32, &'static Entry, Op)> {
        let me = self.base.arena.me()?;
        let i = ((claim.key >> 32) as u32).checked_sub(1)?;
        let e = self.base.arena.map.entry(i)?;
        let mine = e.who.load(Acquire) == (me.bits() as u64) << 32 | claim.key & 0xffff_ffff
            && e.token.load(Acquire) == claim.token
            && e.target.load(Acquire) == self.base.target();
        if mine && Op(e.op.load(Acquire)).doing() == Doing::Taking {
            // Had the short way, and nobody has written yet that it is held; anybody might, at any time.
            self.base.book().settled();
        }
        let op = Op(e.op.load(Acquire));
        (mine && op.doing() == Doing::Held).then_some((me, i, e, op))
    }

    /// 87, unless that many can be asked for.
    pub fn check(&self, n: u32) -> Result<()> {
        let limit = Bounds::read(self.base.book().words().count.bounds.load(Acquire)).limit;
        if n >= 1 && n <= limit {
            return Ok(());
        }
        Err(above_limit(&self.base, n, limit))
    }

    /// Gives `n` of the permits back that the entry holds.
    fn give(&self, i: u32, e: &Entry, op: Op, n: u32) -> bool {
        let giving = op.next(Doing::Giving, n, op.permits() - n);
        // By compare-and-swap: somebody may be evicting it.
        if e.op.compare_exchange(op.0, giving.0, AcqRel, Relaxed).is_err() {
            return false;
        }
        let (book, words) = (self.base.book(), self.base.book().words());
        if words.count.load().has(count::WAITERS)
            && let Some(cold) = self.base.arena.map.cold(self.base.index)
        {
            cold.longest.fetch_max(now().saturating_sub(e.since.load(Relaxed)), Relaxed);
        }
        let recorded = self.base.arena.is_recorded().then(|| (now(), e.since.load(Relaxed), e.token.load(Relaxed)));
        count::give(&words.count, &book, i, giving, || words.is_reserved());
        reactor::changed(words.count.count);
        if let Some((at, since, token)) = recorded {
            let (claimant, took) = (e.who.load(Relaxed) as u32, at.saturating_sub(since).max(1));
            self.base.note(Note { at, token, claimant, permits: n, took, ..Note::of(&self.base, What::RELEASED) });
        }
        true
    }

    /// Whether it was removed.
    pub fn gone(&self) -> bool {
        let words = self.base.book().words();
        let w = words.count.load();
        words.is_gone() || w.has(count::CLOSED)
    }

    /// Ends the claims of a thread that has ended.
    pub fn end_of_thread(base: &ShmExclusive, me: Owner, claimant: u32) {
        let (book, who) = (base.book(), (me.bits() as u64) << 32 | claimant as u64);
        book.settled();
        for (i, e) in book.entries() {
            // Those at rest the thread has given back itself, or a handle keeps them.
            let in_use = !matches!(Op(e.op.load(Acquire)).doing(), Doing::Idle | Doing::User);
            if in_use && e.who.load(Acquire) == who {
                book.end_of(i, e, me, Cause::ThreadEnded, || e.who.load(Acquire) == who);
                book.give_entry(i);
            }
        }
    }
}

/// 87: `n` permits of what has fewer at most, or none asked for. No limit is 0, so then the file is damaged.
pub fn above_limit(base: &ShmExclusive, n: u32, limit: u32) -> Error {
    let name = base.name();
    if limit == 0 {
        return base.arena.damaged(format_args!("the limit of `{name}` is 0")).of(name.as_str());
    }
    Error::new(Code::InvalidParameter, format!("{n} permits of `{name}`, whose limit is {limit}"))
        .of(name.as_str())
        .advice(format!("ask for 1 to {limit}, or raise the limit (`xsem resize {name} LIMIT`)"))
}

impl Object for ShmCounting {
    fn name(&self) -> &Name {
        self.base.name()
    }

    fn kind(&self) -> Kind {
        Kind::Counting
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Grant> {
        let base = &self.base;
        let me = base.arena.enroll()?;
        if request.permits != 0 && self.gone() {
            return Err(base.stale());
        }
        self.check(request.permits)?;
        let (i, e) = self.entry(me, request.claimant)?;
        let words = base.book().words();
        let mut world = ShmWorld::new(base, me, Some(request));
        let mut turn = Turn::patient();
        let mut looked_at_file = false;
        let done = loop {
            match permits::look(&mut turn, &mut world, &words, (i, request.permits), limit(request)) {
                Ok(Look::End(outcome)) => break Ok(outcome),
                Ok(Look::Sleep { expect, watch, until }) => {
                    if !std::mem::replace(&mut looked_at_file, true) && !base.arena.is_current() {
                        break Err(super::object::file_is_gone(base));
                    }
                    world.sleep(words.count.count, expect, watch, until);
                }
                Ok(Look::Gate { dead, attempt }) => world.wait_for_gate(dead, attempt),
                Err(e) => break Err(e),
            }
        };
        let done = done.and_then(|outcome| base.arena.sound().map(|()| outcome));
        let owned = matches!(done, Ok(Outcome::Owned));
        // Also with permits: there may be some left for those who stood back.
        turn.leave(&world, words.count.count, words.oldest, false);
        if owned {
            return Ok(self.granted((i, e), request, world.waited()));
        }
        self.put_back(me, i);
        Err(done.map_or_else(|e| e, |outcome| base.refused(outcome, &world)))
    }

    fn start(self: Arc<Self>, request: OwnedRequest) -> Result<Box<dyn Pending>> {
        let (arena, permits) = (self.base.arena, request.permits);
        let list = vec![OwnedWant { object: self, permits }];
        Ok(Box::new(ShmPending::new(arena, How::One, list, request)))
    }

    fn release(&self, claim: &Claim, ending: Ending) -> Result<()> {
        let Some((me, i, e, op)) = self.held(claim) else {
            self.after_eviction(claim);
            return Err(self.base.not_owner());
        };
        if let Ending::Abandon(cause) = ending {
            // The permits come back as usual; that they were abandoned is counted.
            self.base.book().end_of(i, e, me, cause, || e.op.load(Acquire) == op.0);
        }
        if !self.give(i, e, op, op.permits()) && ending == Ending::Release {
            return Err(self.base.not_owner());
        }
        self.over(me, (i, e), claim);
        Ok(())
    }

    fn prepare_release(&self, claim: &Claim) -> Result<Box<dyn Prepared>> {
        super::prepared::permits(self, claim)
    }

    fn mark_consistent(&self, _claim: &Claim) -> Result<()> {
        Err(Error::new(Code::InvalidFunction, format!("`{}` counts permits and has no mark", self.name()))
            .of(self.name().as_str())
            .advice("this is an operation of exclusive semaphores"))
    }

    fn join(&self, _token: u64) -> Result<Option<Claim>> {
        Err(Error::new(Code::InvalidFunction, format!("claims on `{}` are not shared: each takes permits", self.name()))
            .of(self.name().as_str())
            .advice("this is an operation of exclusive semaphores"))
    }

    fn is_held(&self, claim: &Claim) -> bool {
        self.held(claim).is_some()
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn fast_permits(&self) -> Option<FastPermits> {
        Some(FastPermits::new(self.base.book()))
    }

    fn release_part(&self, claim: &Claim, n: u32) -> Result<()> {
        let Some((_, i, e, op)) = self.held(claim).filter(|(.., op)| n <= op.permits()) else {
            return Err(self.base.not_owner());
        };
        match n {
            0 => return Ok(()),
            _ if n == op.permits() => return self.release(claim, Ending::Release),
            _ => {}
        }
        if e.slots.load(Relaxed) != 0 {
            slots::keep(&self.base.book(), i, claim.token, op.permits() - n);
        }
        if self.give(i, e, op, n) { Ok(()) } else { Err(self.base.not_owner()) }
    }

    fn slots(&self, claim: &Claim) -> Result<Vec<u32>> {
        if is_credit(self.base.cell()) {
            return Err(Error::new(Code::InvalidFunction, format!("`{}` is credit, whose permits are all alike", self.name()))
                .of(self.name().as_str())
                .advice("slots are numbered in pools"));
        }
        let Some((_, i, e, op)) = self.held(claim) else { return Err(self.base.not_owner()) };
        e.slots.store(1, Relaxed);
        // A slot's claim is one that is written down as held.
        self.base.book().settled();
        let found = slots::of_claim(&self.base.book(), i, claim.token, op.permits())?;
        // Evicted meanwhile: they are somebody else's.
        if self.held(claim).is_some() { Ok(found) } else { Err(self.base.not_owner()) }
    }

    fn add_permits(&self, n: u32) -> Result<()> {
        self.only_credit("add permits to")?;
        self.keep_in_reserve();
        let added = self.rebound(|b, _| match b.total.checked_add(n).filter(|t| *t <= b.limit) {
            Some(total) => Ok((b.changed(b.limit, total), n as i32)),
            None => Err(Error::new(
                Code::TooManyPosts,
                format!("{n} more permits on the {} of `{}` are above its limit of {}", b.total, self.name(), b.limit),
            )
            .of(self.name().as_str())
            .advice("wait until some are used up, or raise the limit (`xsem resize`)")),
        });
        self.noted(added, What::ADDED, n)
    }

    fn add_permits_at_interrupt_time(&self, n: u32) -> Result<()> {
        reserve::add_permits(self, n)
    }

    fn limit_now(&self) -> Option<u32> {
        Some(Bounds::read(self.base.book().words().count.bounds.load(Acquire)).limit)
    }

    fn forget(&self, claim: &Claim) -> Result<()> {
        self.only_credit("forget permits of")?;
        let Some((me, i, e, op)) = self.held(claim) else { return Err(self.base.not_owner()) };
        let book = self.base.book();
        if !permits::use_up(&book.words(), &book, i, op) {
            return Err(self.base.not_owner());
        }
        if self.base.arena.is_recorded() {
            let (token, permits) = (claim.token, op.permits());
            self.base.note(Note { token, permits, ..Note::of(&self.base, What::USED_UP) });
        }
        self.over(me, (i, e), claim);
        Ok(())
    }

    fn resize(&self, limit: u32) -> Result<()> {
        let name = self.name().as_str();
        if limit == 0 || limit > MAX_PERMITS {
            return Err(Error::new(Code::InvalidParameter, format!("a limit of {limit} permits"))
                .of(name)
                .advice(format!("a limit is 1 to {MAX_PERMITS}")));
        }
        let credit = is_credit(self.base.cell());
        let resized = self.rebound(|b, _| match credit {
            false => Ok((b.changed(limit, limit), limit as i32 - b.total as i32)),
            true if limit >= b.total => Ok((b.changed(limit, b.total), 0)),
            true => {
                Err(Error::new(Code::InvalidParameter, format!("a limit of {limit} for `{name}`, which has {} permits", b.total))
                    .of(name)
                    .advice("use some up first"))
            }
        });
        self.noted(resized, What::RESIZED, limit)
    }

    fn capacity(&self) -> Result<Capacity> {
        if self.gone() {
            return Err(self.base.stale());
        }
        // What the dead held is free at once.
        self.base.book().reclaim();
        let capacity = inspect::capacity(&self.base.book());
        // It may have been removed in between, and these may be the numbers of another one.
        if self.gone() { Err(self.base.stale()) } else { Ok(capacity) }
    }

    fn close(&self) -> Result<()> {
        users::check_close(&self.base)
    }
}

impl ShmCounting {
    /// The end of a claim of this thread that was ended from outside: its entry is at rest, and its own again.
    fn after_eviction(&self, claim: &Claim) {
        let Some(me) = self.base.arena.me() else { return };
        let Some((i, e)) = ((claim.key >> 32) as u32).checked_sub(1).and_then(|i| Some((i, self.base.arena.map.entry(i)?)))
        else {
            return;
        };
        self.base.book().settled();
        let mine = e.who.load(Acquire) == (me.bits() as u64) << 32 | claim.key & 0xffff_ffff
            && e.token.load(Acquire) == claim.token
            && e.target.load(Acquire) == self.base.target()
            && Op(e.op.load(Acquire)).doing() == Doing::Idle;
        if mine {
            self.over(me, (i, e), claim);
        }
    }

    /// The end of a claim: off the thread's account, and its entry is at rest. Once: then the token is not there any more.
    fn over(&self, me: Owner, (i, e): (u32, &Entry), claim: &Claim) {
        e.token.store(0, Relaxed);
        if claim.key as u32 != 0 && claim.key as u32 == thread::claimant() {
            thread::give_one_back();
        }
        self.put_back(me, i);
    }

    fn only_credit(&self, what: &str) -> Result<()> {
        if self.gone() {
            return Err(self.base.stale());
        }
        match is_credit(self.base.cell()) {
            true => Ok(()),
            false => Err(Error::new(Code::InvalidFunction, format!("cannot {what} `{}`: it is a pool", self.name()))
                .of(self.name().as_str())
                .advice("a pool has always as many permits as its limit: `xsem resize` changes that")),
        }
    }

    /// Writes it down, if it was done.
    fn noted(&self, done: Result<()>, what: What, permits: u32) -> Result<()> {
        if done.is_ok() && self.base.arena.is_recorded() {
            self.base.note(Note { permits, ..Note::of(&self.base, what) });
        }
        done
    }

    /// Changes limit and total.
    fn rebound(&self, change: impl Fn(Bounds, i32) -> Result<(Bounds, i32)>) -> Result<()> {
        let me = self.base.arena.register()?;
        if self.gone() {
            return Err(self.base.stale());
        }
        let (i, _) = self.entry(me, 0)?;
        let book = self.base.book();
        let done = permits::change(&book.words(), &book, i, change);
        self.put_back(me, i);
        match done? {
            true => Ok(()),
            false => Err(self.base.stale()),
        }
    }
}

impl Drop for ShmCounting {
    /// The entries go to others. In a forked child they are its parent's.
    fn drop(&mut self) {
        self.reserve.empty(&self.base.book());
        let spare = std::mem::take(&mut *self.spare.lock());
        spare.into_iter().for_each(|i| self.base.book().give_entry(i));
    }
}

impl std::fmt::Debug for ShmCounting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = self.base.book().words().count.load();
        f.debug_struct("ShmCounting").field("name", self.base.name()).field("word", &word).finish_non_exhaustive()
    }
}
