//! Waiting for several semaphores at once: a turn at each of them, one sleep for all.

use super::arena::Arena;
use super::counting::ShmCounting;
use super::deadlock;
use super::event::ShmEvent;
use super::inspect::has_count;
use super::joint::{self, Attempt, Item};
use super::layout::Joint;
use super::ledger::{Book, generation_of};
use super::names;
use super::object::{ShmExclusive, limit};
use super::permits::{self, Reclaimed};
use super::protocol::{self, BOUND, LAPSE, Limit, Look, Outcome, Stuck, Turn, World};
use super::signal;
use super::sleep::{self, Spot};
use super::waiters::{ALL, ANY, INCOMPLETE, Record};
use super::word::{Owner, State, Word};
use super::world::ShmWorld;
use crate::deadline::now;
use crate::engine::{Grant, Object, Request, Want, check_list};
use crate::error::{Code, Error, Result};
use crate::sync::{AtomicU64, Ordering::*};

/// How long an `acquire_all` does without its reservations after it could not use them, in nanoseconds.
const PAUSE: u64 = 100_000_000;

/// One of the list.
#[derive(Clone, Copy)]
pub enum Part<'a> {
    Exclusive(&'a ShmExclusive),
    Counting(&'a ShmCounting, u32),
    Event(&'a ShmEvent),
}

impl<'a> Part<'a> {
    /// The engine's own type behind an object.
    pub fn of_object(object: &'a dyn Object, permits: u32) -> Option<Part<'a>> {
        match object.as_any() {
            o if o.is::<ShmExclusive>() => o.downcast_ref().map(|s: &ShmExclusive| Part::Exclusive(s.current())),
            o if o.is::<ShmEvent>() => o.downcast_ref().map(Part::Event),
            o => o.downcast_ref().map(|s| Part::Counting(s, permits)),
        }
    }

    /// The same as it was when a request began there.
    pub fn at(object: &'a dyn Object, permits: u32, index: u32, generation: u32) -> Option<Part<'a>> {
        match object.as_any().downcast_ref::<ShmExclusive>() {
            Some(s) => Some(Part::Exclusive(s.at(index, generation))),
            None => Part::of_object(object, permits),
        }
    }

    /// The engine's own types behind the list; 153 for strangers, 87 for too many permits.
    fn of(arena: &'static Arena, list: &[Want<'a>]) -> Result<Vec<Part<'a>>> {
        let part = |(i, w): (usize, &Want<'a>)| {
            let name = w.object.name().as_str();
            let part = Part::of_object(w.object, w.permits);
            let part = part.filter(|p| std::ptr::eq(p.sem().arena, arena)).ok_or_else(|| {
                Error::new(Code::InvalidListFormat, format!("`{name}` is of another namespace"))
                    .of(name)
                    .at([i])
                    .advice("wait for semaphores of one namespace at a time")
            })?;
            // Of one that is gone, the limit may be another's by now; it is refused in a moment.
            if let Part::Counting(s, n) = part
                && !s.gone()
            {
                s.check(n).map_err(|e| e.at([i]))?;
            }
            Ok(part)
        };
        list.iter().enumerate().map(part).collect()
    }

    /// The semaphore, or what lies beneath.
    pub fn sem(&self) -> &'a ShmExclusive {
        match self {
            Part::Exclusive(s) => s,
            Part::Counting(s, _) => &s.base,
            Part::Event(e) => e.base(),
        }
    }

    fn permits(&self) -> u32 {
        match self {
            Part::Exclusive(_) | Part::Event(_) => 1,
            Part::Counting(_, n) => *n,
        }
    }

    fn word(&self) -> &'a AtomicU64 {
        self.sem().futex()
    }
}

/// A part with its turn.
pub struct Seat<'a> {
    pub part: Part<'a>,
    pub world: ShmWorld<'a>,
    pub turn: Turn,
    /// Its entry, for permits, and for the signal of an event in a request for all.
    pub entry: u32,
}

/// Several seats of one request.
pub struct Several<'a> {
    pub arena: &'static Arena,
    pub me: Owner,
    pub seats: Vec<Seat<'a>>,
    /// Where each of them is in the list.
    pub places: Vec<usize>,
    /// What the caller owned already, one level deeper now.
    pub nested: Vec<(usize, &'a ShmExclusive, Grant)>,
    pub pace: Pace,
}

/// What a request for several remembers from round to round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// When to look for a cycle again.
    next: u64,
    tries: u32,
    dead_tries: u32,
    /// It must not sleep by itself: it is polled.
    pub polled: bool,
}

/// What a request for several is when it has begun.
pub enum Begun<'a> {
    /// Over: what it got.
    Done(usize, Grant),
    Waits(Several<'a>),
}

/// What a round of looks came to.
pub enum Round {
    /// Of a request for any: the seat that has it.
    Owned(usize),
    /// Sleep on these seats' words while they have these values, at most until then.
    Sleep(Vec<(usize, u32, protocol::Watching)>, Option<u64>),
}

impl<'a> Seat<'a> {
    /// Takes part in the order, from here on.
    pub fn take(part: Part<'a>, me: Owner, request: &'a Request<'a>, mode: u32) -> Result<Seat<'a>> {
        let mut world = ShmWorld::new(part.sem(), me, Some(request));
        world.mode = mode;
        world.permits = part.permits();
        let entry = match &part {
            Part::Exclusive(_) => 0,
            Part::Counting(s, _) => s.entry(me, request.claimant)?.0,
            Part::Event(e) if mode & ALL != 0 => e.counted.entry(me, request.claimant)?.0,
            Part::Event(_) => 0,
        };
        let mut turn = Turn::new();
        if let Part::Event(e) = &part
            && e.is_manual()
        {
            // The wait begins here, at all of its events, and not when each is looked at first.
            turn.has_changed(e.words().count.load().free());
        }
        Ok(Seat { part, world, turn, entry })
    }

    /// One look.
    pub fn look(&mut self, me: Owner, limit: Limit) -> Result<Look> {
        match &self.part {
            Part::Exclusive(s) => protocol::look(&mut self.turn, &mut self.world, &s.words(), me, limit),
            Part::Counting(s, n) => {
                let words = s.base.book().words();
                permits::look(&mut self.turn, &mut self.world, &words, (self.entry, *n), limit)
            }
            Part::Event(e) => signal::look(&mut self.turn, &mut self.world, &e.words(), e.is_manual(), limit),
        }
    }

    fn leave(&mut self, owned: bool) {
        // Of permits there may be some left for those who stood back.
        let owned = owned && !matches!(self.part, Part::Counting(..));
        self.turn.leave(&self.world, self.part.word(), &self.part.sem().cell().oldest, owned);
    }

    /// The limit, if more permits are wanted.
    fn above_limit(&self) -> Option<u32> {
        let Part::Counting(s, n) = &self.part else { return None };
        Some(s.base.book().words().limit()).filter(|limit| n > limit)
    }

    /// Gives its entry to others until it is needed again: a look at a ledger takes the longer the more entries it has.
    pub fn rest(&mut self, me: Owner) {
        match &self.part {
            Part::Counting(s, _) => s.put_back(me, self.entry),
            Part::Event(e) if self.world.mode & ALL != 0 => e.counted.put_back(me, self.entry),
            _ => {}
        }
    }

    /// Has an entry again.
    pub fn go_on(&mut self, me: Owner, claimant: u32) -> Result<()> {
        match &self.part {
            Part::Counting(s, _) => self.entry = s.entry(me, claimant)?.0,
            Part::Event(e) if self.world.mode & ALL != 0 => self.entry = e.counted.entry(me, claimant)?.0,
            _ => {}
        }
        Ok(())
    }

    /// The end of a request that has no entry now.
    pub fn leave_at_rest(mut self) {
        self.leave(false);
    }

    /// The end of the request here, with a claim or without.
    pub fn end(mut self, me: Owner, request: &Request<'_>, owned: bool) -> Option<Grant> {
        self.leave(owned);
        match (&self.part, owned) {
            (Part::Exclusive(s), true) => Some(s.granted(me, request, self.world.waited())),
            (Part::Exclusive(_), false) => None,
            (Part::Counting(s, _), true) => {
                let e = s.base.arena.map.entry(self.entry)?;
                Some(s.granted((self.entry, e), request, self.world.waited()))
            }
            (Part::Counting(s, _), false) => {
                s.put_back(me, self.entry);
                None
            }
            (Part::Event(e), _) => {
                if self.world.mode & ALL != 0 {
                    e.counted.put_back(me, self.entry);
                }
                owned.then(|| e.seen(request.claimant, self.world.waited()))
            }
        }
    }

    fn spot(&self, expect: u32, watch: protocol::Watching) -> Spot<'a> {
        Spot { word: self.part.word(), expect, watch, book: self.part.sem().book() }
    }
}

/// The records of one wait begin at one time and stand for one claimant.
fn unite(seats: &mut [Seat<'_>]) {
    let first = seats.iter().find_map(|s| s.world.record.as_ref().map(|r| (r.index + 1, s.world.since)));
    if let Some((group, since)) = first {
        for s in seats.iter_mut().filter(|s| s.world.record.is_none()) {
            (s.world.group, s.world.since) = (Some(group), since);
        }
    }
}

/// Whether the wait could never end; looked up once it has lasted for a while, and then whenever it was woken for nothing.
fn is_deadlocked(seats: &[Seat<'_>], arena: &'static Arena, me: Owner, request: &Request<'_>, next: &mut u64) -> Stuck {
    let Some(since) = seats.iter().map(|s| s.world.since).find(|s| *s != 0) else { return Stuck::No };
    let time = now();
    if limit(request) != Limit::Never || seats[0].world.has_nothing_to_give() || time < since + BOUND {
        return Stuck::No;
    }
    if time < *next {
        return Stuck::Unclear;
    }
    match deadlock::closed_by(arena, me, request.claimant) {
        deadlock::Closed::No => {
            *next = time + deadlock::AGAIN;
            Stuck::No
        }
        deadlock::Closed::Unclear => Stuck::Unclear,
        deadlock::Closed::Cycle(cycle) => {
            seats[0].world.cycle.set(cycle);
            Stuck::Yes
        }
    }
}

/// Says that all the records of a wait for any are there.
fn complete(seats: &mut [Seat<'_>]) {
    for s in seats {
        s.world.mode &= !INCOMPLETE;
        if let Some(r) = &s.world.record {
            r.waiter.flags.fetch_and(!INCOMPLETE, AcqRel);
        }
    }
}

/// At the latest in a millisecond.
fn soon(until: Option<u64>) -> Option<u64> {
    [until, Some(now() + 1_000_000)].into_iter().flatten().min()
}

fn give_up(seats: Vec<Seat<'_>>, me: Owner, request: &Request<'_>) {
    for s in seats {
        s.end(me, request, false);
    }
}

/// Does it again where somebody was evicted from one of the list meanwhile, which goes on in another cell.
fn again_if_moved<T>(list: &[Want<'_>], mut f: impl FnMut() -> Result<T>) -> Result<T> {
    let places = || -> Vec<(u32, u32)> {
        let exclusive = list.iter().filter_map(|w| w.object.as_any().downcast_ref::<ShmExclusive>());
        exclusive.map(|s| (s.current().index, s.current().generation)).collect()
    };
    loop {
        let before = places();
        match f() {
            Err(e) if e.code() == Code::InvalidHandle && places() != before => {}
            done => return done,
        }
    }
}

/// The first of the list that is gone or drained: nothing is taken then, whatever the others are like.
fn refused(parts: &[Part<'_>], me: Owner, request: &Request<'_>) -> Option<Error> {
    parts.iter().enumerate().find_map(|(i, p)| {
        let sem = p.sem();
        if matches!(p, Part::Exclusive(s) if s.is_mine(me, request.claimant)) {
            return None;
        }
        sem.refuses(me).map(|outcome| sem.refused(outcome, &ShmWorld::new(sem, me, Some(request))).at([i]))
    })
}

/// One of the list.
pub fn wait_any(arena: &'static Arena, list: &[Want<'_>], request: &Request<'_>) -> Result<(usize, Grant)> {
    check_list(list, false)?;
    again_if_moved(list, || any(arena, list, request))
}

/// All of the list at one instant.
pub fn acquire_all(arena: &'static Arena, list: &[Want<'_>], request: &Request<'_>) -> Result<Vec<Grant>> {
    check_list(list, true)?;
    again_if_moved(list, || all(arena, list, request))
}

fn any(arena: &'static Arena, list: &[Want<'_>], request: &Request<'_>) -> Result<(usize, Grant)> {
    let mut several = match begin_any(arena, list, request)? {
        Begun::Done(i, grant) => return Ok((i, grant)),
        Begun::Waits(several) => several,
    };
    let mut gave_up = false;
    loop {
        match several.round_of_any(request, gave_up) {
            Ok(Round::Owned(i)) => return Ok((i, several.finish_any(i, request)?)),
            Ok(Round::Sleep(at, until)) => gave_up = sleep::on(arena, several.me, &several.spots(&at), Some(request), until),
            Err(e) => {
                several.give_up(request);
                return Err(e);
            }
        }
    }
}

/// Begins a request for any: takes what nests, or a seat at each.
pub fn begin_any<'a>(arena: &'static Arena, list: &[Want<'a>], request: &'a Request<'a>) -> Result<Begun<'a>> {
    let parts = Part::of(arena, list)?;
    let me = arena.enroll()?;
    if let Some(e) = refused(&parts, me, request) {
        return Err(e);
    }
    let mut seats = Vec::with_capacity(parts.len());
    for (i, part) in parts.into_iter().enumerate() {
        if let Part::Exclusive(s) = part
            && s.is_mine(me, request.claimant)
        {
            // It nests; but what comes before it may be free.
            let done = match take_one(&mut seats, me, Limit::Now) {
                Ok(Some(k)) => return Ok(Begun::Done(k, finish(arena, seats, k, (me, request))?)),
                Ok(None) => s.nest(me, request.claimant),
                Err(e) => Err(e),
            };
            match done {
                // Evicted in this very instant: then it is to be had like any other.
                Ok(None) => {}
                Ok(Some(grant)) => {
                    give_up(seats, me, request);
                    return Ok(Begun::Done(i, grant));
                }
                Err(e) => {
                    give_up(seats, me, request);
                    return Err(e.at([i]));
                }
            }
        }
        match Seat::take(part, me, request, ANY | INCOMPLETE) {
            Ok(seat) => seats.push(seat),
            Err(e) => {
                give_up(seats, me, request);
                return Err(e.at([i]));
            }
        }
    }
    let places = (0..seats.len()).collect();
    Ok(Begun::Waits(Several { arena, me, seats, places, nested: Vec::new(), pace: Pace::default() }))
}

impl<'a> Several<'a> {
    /// Whether one of them goes on elsewhere since the request began.
    pub fn is_elsewhere(&self, list: &[Want<'_>]) -> bool {
        let moved = |(place, seat): (&usize, &Seat<'_>)| {
            let now = list[*place].object.as_any().downcast_ref::<ShmExclusive>().map(|s| s.current());
            now.is_some_and(|s| (s.index, s.generation) != (seat.part.sem().index, seat.part.sem().generation))
        };
        self.places.iter().zip(&self.seats).any(moved)
    }

    /// Where to sleep.
    fn spots(&self, at: &[(usize, u32, protocol::Watching)]) -> Vec<Spot<'a>> {
        at.iter().map(|&(k, expect, watch)| self.seats[k].spot(expect, watch)).collect()
    }

    /// One look at each of them, until one can be had.
    pub fn round_of_any(&mut self, request: &Request<'_>, gave_up: bool) -> Result<Round> {
        let (limit, me, seats) = (limit(request), self.me, &mut self.seats);
        let (mut at, mut until, mut at_a_gate, mut over) = (Vec::new(), None, false, None);
        for i in 0..seats.len() {
            match seats[i].look(me, limit).map_err(|e| e.at([i]))? {
                Look::End(Outcome::Owned) => return Ok(Round::Owned(i)),
                Look::End(Outcome::Taken) => {}
                // The others may be there: time may have run out before anybody looked at them.
                Look::End(outcome @ (Outcome::TimedOut | Outcome::Cancelled)) => over = over.or(Some((i, outcome))),
                Look::End(outcome) => return Err(seats[i].part.sem().refused(outcome, &seats[i].world).at([i])),
                Look::Sleep { expect, watch, until: u } => {
                    unite(seats);
                    until = [until, u].into_iter().flatten().min();
                    at.push((i, expect, watch));
                }
                Look::Gate { .. } => {
                    until = soon(until);
                    at_a_gate = true;
                }
            }
        }
        if let Some((i, outcome)) = over {
            let e = seats[i].part.sem().refused(outcome, &seats[i].world);
            return Err(if outcome == Outcome::TimedOut { e.at(0..seats.len()) } else { e });
        }
        if limit == Limit::Now {
            return Err(seats[0].part.sem().taken(Code::SemTimeout, None, u64::MAX).at(0..seats.len()));
        }
        if gave_up {
            return Err(seats[0].part.sem().refused(Outcome::Cancelled, &seats[0].world));
        }
        complete(seats);
        if !at_a_gate {
            match is_deadlocked(seats, self.arena, me, request, &mut self.pace.next) {
                Stuck::No => {}
                Stuck::Unclear => until = soon(until),
                Stuck::Yes => return Err(seats[0].part.sem().refused(Outcome::Deadlock, &seats[0].world)),
            }
        }
        Ok(Round::Sleep(at, until))
    }

    /// The claim at seat `k`, and the end of the others.
    pub fn finish_any(self, k: usize, request: &Request<'_>) -> Result<Grant> {
        if let Err(e) = self.arena.sound() {
            self.give_up(request);
            return Err(e);
        }
        finish(self.arena, self.seats, k, (self.me, request))
    }

    /// The end without a claim.
    pub fn give_up(self, request: &Request<'_>) {
        give_up(self.seats, self.me, request);
        for (_, s, grant) in self.nested {
            // Not held any more: then there is no level to give back.
            let _ = s.release(&grant.claim, crate::engine::Ending::Release);
        }
    }

    /// The claims, in the order of the list.
    pub fn finish_all(self, request: &Request<'_>) -> Result<Vec<Grant>> {
        if let Err(e) = self.arena.sound() {
            self.give_up(request);
            return Err(e);
        }
        let n = self.places.len() + self.nested.len();
        let mut grants: Vec<(usize, Option<Grant>)> = self.nested.into_iter().map(|(i, _, g)| (i, Some(g))).collect();
        for (i, s) in self.places.into_iter().zip(self.seats) {
            grants.push((i, s.end(self.me, request, true)));
        }
        grants.sort_by_key(|(i, _)| *i);
        let all: Vec<Grant> = grants.into_iter().filter_map(|(_, g)| g).collect();
        if all.len() == n { Ok(all) } else { Err(self.arena.damaged("an entry of the ledger has gone")) }
    }
}

/// The first of the seats that can be had at once.
fn take_one(seats: &mut [Seat<'_>], me: Owner, limit: Limit) -> Result<Option<usize>> {
    for (i, s) in seats.iter_mut().enumerate() {
        if s.look(me, limit)? == Look::End(Outcome::Owned) {
            return Ok(Some(i));
        }
    }
    Ok(None)
}

/// The claim at seat `k`, and the end of the others.
fn finish(arena: &Arena, seats: Vec<Seat<'_>>, k: usize, (me, request): (Owner, &Request<'_>)) -> Result<Grant> {
    let mut grant = None;
    for (i, s) in seats.into_iter().enumerate() {
        let g = s.end(me, request, i == k);
        grant = grant.or(g);
    }
    grant.ok_or_else(|| arena.damaged("an entry of the ledger has gone"))
}

fn all(arena: &'static Arena, list: &[Want<'_>], request: &Request<'_>) -> Result<Vec<Grant>> {
    let mut several = begin_all(arena, list, request)?;
    let mut gave_up = false;
    loop {
        match several.round_of_all(request, gave_up) {
            Ok(Round::Owned(_)) => return several.finish_all(request),
            Ok(Round::Sleep(at, until)) => gave_up = sleep::on(arena, several.me, &several.spots(&at), Some(request), until),
            Err(e) => {
                several.give_up(request);
                return Err(e);
            }
        }
    }
}

/// Begins a request for all. What the caller owns already nests now: it goes on to own it.
pub fn begin_all<'a>(arena: &'static Arena, list: &[Want<'a>], request: &'a Request<'a>) -> Result<Several<'a>> {
    let parts = Part::of(arena, list)?;
    let me = arena.enroll()?;
    if let Some(e) = refused(&parts, me, request) {
        return Err(e);
    }
    let mut several = Several { arena, me, seats: Vec::new(), places: Vec::new(), nested: Vec::new(), pace: Pace::default() };
    let mut order: Vec<(usize, Seat<'a>)> = Vec::with_capacity(parts.len());
    let mut failed = None;
    for (i, part) in parts.into_iter().enumerate() {
        if let Part::Exclusive(s) = part
            && s.is_mine(me, request.claimant)
        {
            match s.nest(me, request.claimant) {
                Ok(Some(grant)) => several.nested.push((i, s, grant)),
                // Evicted in this very instant.
                Ok(None) => failed = failed.or_else(|| Some(s.stale())),
                Err(e) => failed = failed.or(Some(e.at([i]))),
            }
            continue;
        }
        match Seat::take(part, me, request, ALL) {
            Ok(seat) => order.push((i, seat)),
            Err(e) => failed = failed.or(Some(e.at([i]))),
        }
    }
    // In the order of their cells, so that two requests do not stand in each other's way for ever.
    order.sort_by_key(|(_, s)| s.part.sem().index);
    (several.places, several.seats) = order.into_iter().unzip();
    match failed {
        None => Ok(several),
        Some(e) => {
            several.give_up(request);
            Err(e)
        }
    }
}

impl Several<'_> {
    /// Attempts until all are had at one instant, or there is something to sleep on.
    pub fn round_of_all(&mut self, request: &Request<'_>, gave_up: bool) -> Result<Round> {
        let (arena, me, limit) = (self.arena, self.me, limit(request));
        let (seats, places, pace) = (&mut self.seats[..], &self.places[..], &mut self.pace);
        let polled = pace.polled;
        loop {
            let attempt = if seats.is_empty() { Attempt::Owned } else { attempt(arena, me, seats)? };
            let refused = |i: usize, outcome, seats: &[Seat<'_>]| {
                Err(seats[i].part.sem().refused(outcome, &seats[i].world).at([places[i]]))
            };
            let mut dying = false;
            match attempt {
                Attempt::Owned => return Ok(Round::Owned(0)),
                Attempt::Stale(i) => return refused(i, Outcome::Stale, seats),
                Attempt::Moved(i) => return refused(i, Outcome::Moved, seats),
                Attempt::Drained(i) => return refused(i, Outcome::Drained, seats),
                Attempt::Dead(i) => {
                    if !end_dead(&seats[i], me, polled) {
                        pace.dead_tries += 1;
                        dying = true;
                    }
                    if limit == Limit::Now && pace.dead_tries > 21 {
                        return Err(late(seats, me, places, Some(i)));
                    }
                }
                Attempt::Again => {
                    pace.tries += 1;
                    if pace.tries > 20 && !polled {
                        std::thread::yield_now();
                    }
                }
                // As in `permits::look`: lowered since it was checked, and nobody has seen us wait yet.
                Attempt::Blocked(i) => {
                    if let Some(limit) = seats[i].above_limit().filter(|_| seats[i].turn.mine.is_none()) {
                        return refused(i, Outcome::Above(limit), seats);
                    }
                }
            }
            let world = &seats[0].world;
            if gave_up || world.is_cancelled() {
                return refused(0, Outcome::Cancelled, seats);
            }
            if matches!(limit, Limit::At(t) if now() >= t) {
                return Err(late(seats, me, places, None));
            }
            if attempt == Attempt::Again {
                if polled && pace.tries.is_multiple_of(20) {
                    return Ok(Round::Sleep(Vec::new(), Some(now() + 50_000)));
                }
                continue;
            }
            if polled && dying && limit == Limit::Now {
                return Ok(Round::Sleep(Vec::new(), soon(None)));
            }
            if limit != Limit::Now && enlist(seats)? {
                // Now that everybody can see us wait: once more, before we sleep.
                continue;
            }
            // What cannot be had now is what to sleep on.
            let (mut at, mut until, mut busy) = (Vec::new(), None, Vec::new());
            reserve(seats);
            for i in 0..seats.len() {
                let s = &mut seats[i];
                s.turn.only_looks = true;
                let look = s.look(me, limit);
                s.turn.only_looks = false;
                match look? {
                    Look::End(Outcome::Free) | Look::Gate { .. } => {}
                    Look::End(Outcome::Taken) => busy.push(places[i]),
                    Look::End(outcome) => return refused(i, outcome, seats),
                    Look::Sleep { expect, watch, until: u } => {
                        unite(seats);
                        until = [until, u].into_iter().flatten().min();
                        at.push((i, expect, watch));
                    }
                }
            }
            if limit == Limit::Now && !busy.is_empty() {
                return Err(late(seats, me, places, None));
            }
            if polled && dying {
                return Ok(Round::Sleep(at, soon(until)));
            }
            if at.is_empty() {
                continue;
            }
            match is_deadlocked(seats, arena, me, request, &mut pace.next) {
                Stuck::No => {}
                Stuck::Unclear => until = soon(until),
                Stuck::Yes => return refused(0, Outcome::Deadlock, seats),
            }
            let turnover = seats.iter().map(|s| s.world.since).find(|s| *s != 0).map(|since| phase(since).1);
            return Ok(Round::Sleep(at, [until, turnover].into_iter().flatten().min()));
        }
    }
}

/// A record at each of them, also where it is free: the wait is for all. True: there was none before.
fn enlist(seats: &mut [Seat<'_>]) -> Result<bool> {
    let mut new = false;
    for i in 0..seats.len() {
        let s = &mut seats[i];
        if s.turn.mine.is_none() {
            let reserves = std::mem::replace(&mut s.turn.reserves, false);
            let queued = protocol::queue(&mut s.turn, &mut s.world, &s.part.sem().cell().oldest);
            s.turn.reserves = reserves;
            queued?;
            unite(seats);
            new = true;
        }
    }
    Ok(new)
}

/// 121, about those that cannot be had.
fn late(seats: &mut [Seat<'_>], me: Owner, places: &[usize], dead: Option<usize>) -> Error {
    let mut busy: Vec<usize> = dead.into_iter().collect();
    for (i, s) in seats.iter_mut().enumerate() {
        s.turn.only_looks = true;
        if dead != Some(i) && !matches!(s.look(me, Limit::Now), Ok(Look::End(Outcome::Free))) {
            busy.push(i);
        }
    }
    busy.sort_unstable();
    let first = &seats[busy.first().copied().unwrap_or(0)];
    let record: Option<&Record<'_>> = first.world.record.as_ref();
    let since = if record.is_some() { first.world.since } else { u64::MAX };
    first.part.sem().taken(Code::SemTimeout, record, since).at(busy.into_iter().map(|i| places[i]))
}

/// Whether a wait that began then holds its reservations now, and when that changes. A reservation of what it cannot use
/// yet keeps others from it: so they last as long as one that lapses, and then pause.
fn phase(since: u64) -> (bool, u64) {
    let age = now().saturating_sub(since + BOUND);
    let within = age % (LAPSE + PAUSE);
    let begun = now() - within;
    if within < LAPSE { (true, begun + LAPSE) } else { (false, begun + LAPSE + PAUSE) }
}

fn reserve(seats: &mut [Seat<'_>]) {
    for s in seats.iter_mut().filter(|s| s.world.since != 0) {
        let on = phase(s.world.since).0;
        if s.turn.reserves && !on {
            s.leave(false);
        }
        s.turn.reserves = on;
    }
}

/// Ends the claim of a dead owner, if it is past its gate; else waits a little, unless it is polled. False: it still stands.
fn end_dead(seat: &Seat<'_>, me: Owner, polled: bool) -> bool {
    match &seat.part {
        Part::Exclusive(s) => {
            let ended = s.end_dead(me);
            if !ended && !polled {
                // Still being taken apart, or its command still runs.
                super::sys::nap(std::time::Duration::from_millis(1));
            }
            ended
        }
        // Where permits are missing, that may also be because they are held.
        Part::Counting(s, _) => s.base.book().reclaim() == Reclaimed::Some,
        Part::Event(_) => true,
    }
}

/// One attempt to take all of them. Only one thread of the process is here at a time.
fn attempt(arena: &'static Arena, me: Owner, seats: &mut [Seat<'_>]) -> Result<Attempt> {
    let lock = arena.joint(me, |joint| settle_the_last(arena, me, joint))?;
    let joint = lock.joint;
    for (target, s) in joint.targets.iter().zip(seats.iter()) {
        target.store(s.part.sem().target(), Relaxed);
    }
    joint.len.store(seats.len() as u64, Relaxed);
    let items: Vec<Item<'_>> = seats
        .iter()
        .map(|s| match &s.part {
            Part::Exclusive(e) => Item::Exclusive(e.words()),
            Part::Counting(c, n) => Item::Permits(c.base.book().words(), s.entry, *n),
            Part::Event(e) => Item::Event(e.words(), s.entry, e.is_manual()),
        })
        .collect();
    let number = joint::begin(&joint.state);
    let mut turns: Vec<Turn> = seats.iter_mut().map(|s| std::mem::replace(&mut s.turn, Turn::new())).collect();
    let worlds: Vec<&ShmWorld<'_>> = seats.iter().map(|s| &s.world).collect();
    let done = joint::attempt(&worlds, &joint.state, number, me, &items, &mut turns);
    for (s, t) in seats.iter_mut().zip(turns) {
        s.turn = t;
    }
    Ok(done)
}

/// Before the first joint request of this process: the last one of whoever had its slot before may not be settled.
pub fn settle_the_last(arena: &'static Arena, me: Owner, joint: &Joint) {
    joint::verdict(&joint.state, (joint.state.load(Acquire) >> 32) as u32);
    for target in joint.targets.iter().take(joint.len.load(Relaxed) as usize) {
        let Some(index) = (target.load(Relaxed) as u32).checked_sub(1) else { continue };
        let Some(cell) = arena.map.cell(index) else { continue };
        if has_count(cell) {
            Book { arena, cell, index, generation: generation_of(cell) }.settled();
            continue;
        }
        let word = Word(cell.word.load(Acquire));
        if let State::Tentative(o) = word.state()
            && o.slot() == me.slot()
        {
            names::settle(arena, cell, word);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::engine::{Engine, Spec, Until};
    use crate::shm::{Options, ShmEngine};

    /// Who sees the wait at the first of the list may signal and reset another one before that was looked at.
    #[test]
    fn a_wait_for_any_begins_at_all_of_its_events() {
        let dir = tempfile::tempdir().unwrap();
        let engine = ShmEngine::open(&format!("{}/ns", dir.path().display()), &Options::default()).unwrap();
        let e = engine.create(&crate::name::Name::new("e").unwrap(), &Spec::event(crate::claim::Reset::Manual, false)).unwrap();
        let list = [Want { object: &*e, permits: 1 }];
        let request = Request::new(crate::shm::claimant(), Until::Forever);
        let Begun::Waits(mut several) = begin_any(engine.arena, &list, &request).unwrap() else { panic!("it was reset") };
        assert!(e.signal().unwrap() && e.reset().unwrap());
        assert!(matches!(several.round_of_any(&request, false), Ok(Round::Owned(0))));
        several.give_up(&request);
    }
}
