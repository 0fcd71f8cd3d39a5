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
enum Part<'a> {
    Exclusive(&'a ShmExclusive),
    Counting(&'a ShmCounting, u32),
    Event(&'a ShmEvent),
}

impl<'a> Part<'a> {
    /// The engine's own types behind the list; 153 for strangers, 87 for too many permits.
    fn of(arena: &'static Arena, list: &[Want<'a>]) -> Result<Vec<Part<'a>>> {
        let part = |(i, w): (usize, &Want<'a>)| {
            let name = w.object.name().as_str();
            let part = match w.object.as_any() {
                o if o.is::<ShmExclusive>() => o.downcast_ref().map(|s: &ShmExclusive| Part::Exclusive(s.current())),
                o if o.is::<ShmEvent>() => o.downcast_ref().map(Part::Event),
                o => o.downcast_ref().map(|s| Part::Counting(s, w.permits)),
            };
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

    fn sem(&self) -> &'a ShmExclusive {
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
struct Seat<'a> {
    part: Part<'a>,
    world: ShmWorld<'a>,
    turn: Turn,
    /// Its entry, for permits, and for the signal of an event in a request for all.
    entry: u32,
}

impl<'a> Seat<'a> {
    fn take(part: Part<'a>, me: Owner, request: &'a Request<'a>, mode: u32) -> Result<Seat<'a>> {
        let mut world = ShmWorld::new(part.sem(), me, Some(request));
        world.mode = mode;
        world.permits = part.permits();
        let entry = match &part {
            Part::Exclusive(_) => 0,
            Part::Counting(s, _) => s.entry(me, request.claimant)?.0,
            Part::Event(e) if mode & ALL != 0 => e.counted.entry(me, request.claimant)?.0,
            Part::Event(_) => 0,
        };
        Ok(Seat { part, world, turn: Turn::new(0), entry })
    }

    fn look(&mut self, me: Owner, limit: Limit) -> Result<Look> {
        match &self.part {
            Part::Exclusive(s) => protocol::look(&mut self.turn, &mut self.world, &s.words(), me, limit),
            Part::Counting(s, n) => {
                let words = s.base.book().words();
                permits::look(&mut self.turn, &mut self.world, &words, (self.entry, *n), &mut 0, limit)
            }
            Part::Event(e) => signal::look(&mut self.turn, &mut self.world, &e.words(), e.is_manual(), &mut 0, limit),
        }
    }

    fn leave(&mut self, owned: bool) {
        // Of permits there may be some left for those who stood back.
        let owned = owned && !matches!(self.part, Part::Counting(..));
        self.turn.leave(&self.world, self.part.word(), &self.part.sem().cell().oldest, owned);
    }

    /// The end of the request here, with a claim or without.
    fn end(mut self, me: Owner, request: &Request<'_>, owned: bool) -> Option<Grant> {
        self.leave(owned);
        match (&self.part, owned) {
            (Part::Exclusive(s), true) => Some(s.granted(me, request)),
            (Part::Exclusive(_), false) => None,
            (Part::Counting(s, _), true) => {
                let e = s.base.arena.map.entry(self.entry)?;
                Some(s.granted((self.entry, e), request))
            }
            (Part::Counting(s, _), false) => {
                s.put_back(me, self.entry);
                None
            }
            (Part::Event(e), _) => {
                if self.world.mode & ALL != 0 {
                    e.counted.put_back(me, self.entry);
                }
                owned.then(|| e.seen())
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
    let parts = Part::of(arena, list)?;
    let me = arena.register()?;
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
                Ok(Some(k)) => return Ok((k, finish(seats, k, me, request)?)),
                Ok(None) => s.nest(me, request.claimant),
                Err(e) => Err(e),
            };
            match done {
                // Evicted in this very instant: then it is to be had like any other.
                Ok(None) => {}
                Ok(Some(grant)) => {
                    give_up(seats, me, request);
                    return Ok((i, grant));
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
    let (limit, mut next, mut gave_up) = (limit(request), 0, false);
    loop {
        let mut spots = Vec::new();
        let mut until = None;
        let mut failed = None;
        let mut at_a_gate = false;
        let mut over = None;
        for i in 0..seats.len() {
            match seats[i].look(me, limit) {
                Ok(Look::End(Outcome::Owned)) => return Ok((i, finish(seats, i, me, request)?)),
                Ok(Look::End(Outcome::Taken)) => {}
                // The others may be there: time may have run out before anybody looked at them.
                Ok(Look::End(outcome @ (Outcome::TimedOut | Outcome::Cancelled))) => over = over.or(Some((i, outcome))),
                Ok(Look::End(outcome)) => {
                    failed = Some(seats[i].part.sem().refused(outcome, &seats[i].world).at([i]));
                    break;
                }
                Ok(Look::Sleep { expect, watch, until: u }) => {
                    unite(&mut seats);
                    until = [until, u].into_iter().flatten().min();
                    spots.push(seats[i].spot(expect, watch));
                }
                Ok(Look::Gate { .. }) => {
                    until = soon(until);
                    at_a_gate = true;
                }
                Err(e) => {
                    failed = Some(e.at([i]));
                    break;
                }
            }
        }
        if let (None, Some((i, outcome))) = (&failed, over) {
            let e = seats[i].part.sem().refused(outcome, &seats[i].world);
            failed = Some(if outcome == Outcome::TimedOut { e.at(0..seats.len()) } else { e });
        }
        if failed.is_none() && limit == Limit::Now {
            failed = Some(seats[0].part.sem().taken(Code::SemTimeout, None, u64::MAX).at(0..seats.len()));
        }
        if failed.is_none() && gave_up {
            failed = Some(seats[0].part.sem().refused(Outcome::Cancelled, &seats[0].world));
        }
        if failed.is_none() {
            complete(&mut seats);
        }
        if failed.is_none() && !at_a_gate {
            match is_deadlocked(&seats, arena, me, request, &mut next) {
                Stuck::No => {}
                Stuck::Unclear => until = soon(until),
                Stuck::Yes => failed = Some(seats[0].part.sem().refused(Outcome::Deadlock, &seats[0].world)),
            }
        }
        if let Some(e) = failed {
            drop(spots);
            give_up(seats, me, request);
            return Err(e);
        }
        gave_up = sleep::on(arena, me, &spots, Some(request), until);
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
fn finish(seats: Vec<Seat<'_>>, k: usize, me: Owner, request: &Request<'_>) -> Result<Grant> {
    let mut grant = None;
    for (i, s) in seats.into_iter().enumerate() {
        let g = s.end(me, request, i == k);
        grant = grant.or(g);
    }
    grant.ok_or_else(|| Error::new(Code::FileCorrupt, "an entry of the ledger has gone"))
}

fn all(arena: &'static Arena, list: &[Want<'_>], request: &Request<'_>) -> Result<Vec<Grant>> {
    let parts = Part::of(arena, list)?;
    let me = arena.register()?;
    if let Some(e) = refused(&parts, me, request) {
        return Err(e);
    }
    // In the order of their cells, so that two requests do not stand in each other's way for ever. What the caller owns
    // already it goes on to own, and nests when it has the others.
    let mut nested = Vec::new();
    let mut order: Vec<(usize, Seat<'_>)> = Vec::with_capacity(parts.len());
    let mut failed = None;
    for (i, part) in parts.into_iter().enumerate() {
        match part {
            Part::Exclusive(s) if s.is_mine(me, request.claimant) => nested.push((i, s)),
            part => match Seat::take(part, me, request, ALL) {
                Ok(seat) => order.push((i, seat)),
                Err(e) => {
                    failed = Some(e.at([i]));
                    break;
                }
            },
        }
    }
    order.sort_by_key(|(_, s)| s.part.sem().index);
    let (places, mut seats): (Vec<usize>, Vec<Seat<'_>>) = order.into_iter().unzip();
    let mut grants: Vec<Option<Grant>> = list.iter().map(|_| None).collect();
    for &(i, s) in &nested {
        match s.nest(me, request.claimant) {
            Ok(Some(grant)) => grants[i] = Some(grant),
            // Evicted in this very instant.
            Ok(None) => failed = failed.or_else(|| Some(s.stale())),
            Err(e) => failed = failed.or(Some(e.at([i]))),
        }
    }
    if failed.is_none() {
        failed = take_all(arena, me, request, &mut seats, &places).err();
    }
    if let Some(e) = failed {
        give_up(seats, me, request);
        for (i, s) in nested {
            // Not held any more: then there is no level to give back.
            let _ = grants[i].take().map(|g| s.release(&g.claim, crate::engine::Ending::Release));
        }
        return Err(e);
    }
    for (i, s) in places.into_iter().zip(seats) {
        grants[i] = s.end(me, request, true);
    }
    let n = grants.len();
    let all: Vec<Grant> = grants.into_iter().flatten().collect();
    if all.len() == n { Ok(all) } else { Err(Error::new(Code::FileCorrupt, "an entry of the ledger has gone")) }
}

fn take_all(arena: &'static Arena, me: Owner, request: &Request<'_>, seats: &mut [Seat<'_>], places: &[usize]) -> Result<()> {
    let (limit, mut next, mut gave_up, mut tries, mut dead_tries) = (limit(request), 0, false, 0u32, 0);
    loop {
        let attempt = if seats.is_empty() { Attempt::Owned } else { attempt(arena, me, seats)? };
        let refused =
            |i: usize, outcome, seats: &[Seat<'_>]| Err(seats[i].part.sem().refused(outcome, &seats[i].world).at([places[i]]));
        match attempt {
            Attempt::Owned => return Ok(()),
            Attempt::Stale(i) => return refused(i, Outcome::Stale, seats),
            Attempt::Moved(i) => return refused(i, Outcome::Moved, seats),
            Attempt::Drained(i) => return refused(i, Outcome::Drained, seats),
            Attempt::Dead(i) => {
                if !end_dead(&seats[i], me) {
                    dead_tries += 1;
                }
                if limit == Limit::Now && dead_tries > 21 {
                    return Err(late(seats, me, places, Some(i)));
                }
            }
            Attempt::Again => {
                tries += 1;
                if tries > 20 {
                    std::thread::yield_now();
                }
            }
            Attempt::Blocked(_) => {}
        }
        let world = &seats[0].world;
        if gave_up || world.is_cancelled() {
            return refused(0, Outcome::Cancelled, seats);
        }
        if matches!(limit, Limit::At(t) if now() >= t) {
            return Err(late(seats, me, places, None));
        }
        if attempt == Attempt::Again {
            continue;
        }
        if limit != Limit::Now && enlist(seats)? {
            // Now that everybody can see us wait: once more, before we sleep.
            continue;
        }
        // What cannot be had now is what to sleep on.
        let mut spots = Vec::new();
        let mut until = None;
        let mut busy = Vec::new();
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
                    spots.push(seats[i].spot(expect, watch));
                }
            }
        }
        if limit == Limit::Now && !busy.is_empty() {
            return Err(late(seats, me, places, None));
        }
        if spots.is_empty() {
            continue;
        }
        match is_deadlocked(seats, arena, me, request, &mut next) {
            Stuck::No => {}
            Stuck::Unclear => until = soon(until),
            Stuck::Yes => return refused(0, Outcome::Deadlock, seats),
        }
        let turnover = seats.iter().map(|s| s.world.since).find(|s| *s != 0).map(|since| phase(since).1);
        until = [until, turnover].into_iter().flatten().min();
        gave_up = sleep::on(arena, me, &spots, Some(request), until);
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

/// Ends the claim of a dead owner, if it is past its gate; else waits a little. False: it still stands.
fn end_dead(seat: &Seat<'_>, me: Owner) -> bool {
    match &seat.part {
        Part::Exclusive(s) => {
            let ended = s.end_dead(me);
            if !ended {
                // Still being taken apart, or its command still runs.
                std::thread::sleep(std::time::Duration::from_millis(1));
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
    let mut turns: Vec<Turn> = seats.iter_mut().map(|s| std::mem::replace(&mut s.turn, Turn::new(0))).collect();
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
