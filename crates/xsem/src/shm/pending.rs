//! Asynchronous requests in shared memory: the looks of the blocking form, one round with each poll. Between polls the
//! reactor sleeps for them.
//!
//! What a request has in the file between polls (its wait records, its place as the oldest) is taken back when it is dropped, as when a blocking one is cancelled. In a forked child that is the parent's: the request begins anew there.

use super::arena::Arena;
use super::count::Count;
use super::many::{self, Begun, Pace, Part, Round, Seat, Several};
use super::object::{file_is_gone, limit};
use super::protocol::{Look, Outcome, Turn, Watching};
use super::reactor::{Sleep, Spot, Ticket};
use super::waiters::ALL;
use super::word::Owner;
use super::world::{Kept, ShmWorld};
use crate::deadline::now;
use crate::engine::{Ending, Grant, Granted, Object, OwnedRequest, OwnedWant, Pending, Request, Until, Want, check_list};
use crate::error::{Code, Error, Result};
use crate::sync::Ordering::*;
use std::task::{Context, Poll, Waker};

/// Polls go round so often before they let others run.
const ROUNDS: u32 = 8;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    One,
    Any,
    All,
}

/// A request that is polled.
pub struct ShmPending {
    arena: &'static Arena,
    how: How,
    list: Vec<OwnedWant>,
    request: OwnedRequest,
    stage: Stage,
    ticket: Ticket,
    /// When it was begun, for as long as it is in no queue.
    begun: u64,
    looked_at_file: bool,
}

enum Stage {
    /// Of a wait that began then, elsewhere; 0: that has not begun.
    New(u64),
    Waits(Waits),
    Over,
}

/// What it keeps from poll to poll.
struct Waits {
    me: Owner,
    seats: Vec<Place>,
    nested: Vec<(usize, Grant)>,
    pace: Pace,
}

/// One seat, kept.
struct Place {
    /// Where in the list.
    place: usize,
    index: u32,
    generation: u32,
    world: Kept,
    turn: Turn,
}

/// What a round came to.
#[expect(clippy::large_enum_variant, reason = "returned to the caller next to it and taken apart there")]
enum Step {
    Done(Granted),
    Sleep(Sleep),
    /// The word has changed since the look.
    Again,
}

impl ShmPending {
    /// A request that has not been looked at.
    pub fn new(arena: &'static Arena, how: How, list: Vec<OwnedWant>, request: OwnedRequest) -> ShmPending {
        let (stage, ticket) = (Stage::New(0), Ticket::new());
        ShmPending { arena, how, list, request, stage, ticket, begun: 0, looked_at_file: false }
    }

    /// One round of looks.
    fn step(&mut self) -> Result<Step> {
        if let Stage::Waits(w) = &self.stage
            && self.arena.me() != Some(w.me)
            && let Stage::Waits(w) = std::mem::replace(&mut self.stage, Stage::New(0))
        {
            w.forget();
        }
        let request = self.request.borrowed();
        let wants: Vec<Want<'_>> = self.list.iter().map(|w| Want { object: &*w.object, permits: w.permits }).collect();
        let (arena, how) = (self.arena, self.how);
        let mut several = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Over => return Err(Error::new(Code::InvalidHandle, "polled after it was over")),
            Stage::Waits(w) => {
                let mut several = w.restored(arena, &wants, &request);
                go_on(&mut several, &request)?;
                several
            }
            Stage::New(since) => {
                self.begun = now();
                match begin(arena, how, &wants, &request, since)? {
                    Begun::Done(i, grant) => return Ok(Step::Done(Granted::One(i, grant))),
                    Begun::Waits(several) => several,
                }
            }
        };
        let round = match how {
            How::One => round_of_one(&mut several, &request),
            How::Any => several.round_of_any(&request, is_cancelled(&request)),
            How::All => several.round_of_all(&request, false),
        };
        match round {
            Ok(Round::Owned(_)) if how == How::All => several.finish_all(&request).map(|all| Step::Done(Granted::All(all))),
            Ok(Round::Owned(i)) => several.finish_any(i, &request).map(|grant| Step::Done(Granted::One(i, grant))),
            Ok(Round::Sleep(at, until)) => {
                if how == How::One && !std::mem::replace(&mut self.looked_at_file, true) && !arena.is_current() {
                    let e = file_is_gone(several.seats[0].part.sem());
                    several.give_up(&request);
                    return Err(e);
                }
                let step = sleep(&several, &request, &at, until, self.begun);
                let me = several.me;
                several.seats.iter_mut().for_each(|s| s.rest(me));
                self.stage = Stage::Waits(Waits::keep(several));
                Ok(step)
            }
            Err(e) => {
                // It goes on elsewhere: its owner was evicted.
                let moved = e.code() == Code::InvalidHandle && several.is_elsewhere(&wants);
                let since = if how == How::One { several.seats[0].world.since } else { 0 };
                several.give_up(&request);
                if !moved {
                    return Err(e);
                }
                self.stage = Stage::New(since);
                Ok(Step::Again)
            }
        }
    }

    fn turn(&mut self, waker: &Waker) -> Result<Option<Granted>> {
        for _ in 0..ROUNDS {
            match self.step()? {
                Step::Done(granted) => return Ok(Some(granted)),
                Step::Again => {}
                Step::Sleep(sleep) => {
                    if !self.ticket.sleep(waker, sleep)? {
                        return Ok(None);
                    }
                }
            }
        }
        // Others change it faster than we look.
        waker.wake_by_ref();
        Ok(None)
    }

    /// Takes back what is in the file.
    fn end(&mut self) {
        let Stage::Waits(w) = std::mem::replace(&mut self.stage, Stage::Over) else { return };
        if self.arena.me() != Some(w.me) {
            return w.forget();
        }
        let request = self.request.borrowed();
        let wants: Vec<Want<'_>> = self.list.iter().map(|w| Want { object: &*w.object, permits: w.permits }).collect();
        give_up_at_rest(w.restored(self.arena, &wants, &request));
    }
}

impl Pending for ShmPending {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Granted>> {
        let done = match self.turn(cx.waker()) {
            Ok(None) => return Poll::Pending,
            Ok(Some(granted)) => Ok(granted),
            Err(e) => Err(e),
        };
        self.end();
        // Whoever is next looks now.
        self.ticket = Ticket::new();
        Poll::Ready(done)
    }
}

impl Drop for ShmPending {
    fn drop(&mut self) {
        // First what is in the file, then the ticket: whoever is next finds it gone.
        self.end();
    }
}

impl std::fmt::Debug for ShmPending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShmPending").field("how", &self.how).field("list", &self.list).finish_non_exhaustive()
    }
}

impl Waits {
    fn keep(several: Several<'_>) -> Waits {
        let seats = several.places.into_iter().zip(several.seats);
        let seats = seats.map(|(place, seat)| {
            let Seat { part, world, turn, .. } = seat;
            let (index, generation) = (part.sem().index, part.sem().generation);
            Place { place, index, generation, world: world.keep(), turn }
        });
        let nested = several.nested.into_iter().map(|(i, _, grant)| (i, grant)).collect();
        Waits { me: several.me, seats: seats.collect(), nested, pace: several.pace }
    }

    fn restored<'a>(self, arena: &'static Arena, wants: &[Want<'a>], request: &'a Request<'a>) -> Several<'a> {
        let me = self.me;
        let (mut seats, mut places, mut nested) = (Vec::with_capacity(self.seats.len()), Vec::new(), Vec::new());
        for Place { place, index, generation, world, turn } in self.seats {
            let want = &wants[place];
            // It was of this engine when it began.
            let Some(part) = Part::at(want.object, want.permits, index, generation) else { continue };
            places.push(place);
            seats.push(Seat { part, world: ShmWorld::with(part.sem(), me, request, world), turn, entry: 0 });
        }
        for (i, grant) in self.nested {
            if let Some(Part::Exclusive(s)) = Part::of_object(wants[i].object, 1) {
                nested.push((i, s, grant));
            }
        }
        Several { arena, me, seats, places, nested, pace: self.pace }
    }

    /// In a forked child.
    fn forget(self) {
        self.seats.into_iter().for_each(|s| s.world.forget());
    }
}

/// All seats have their entries again, or none has, and the request is over.
fn go_on(several: &mut Several<'_>, request: &Request<'_>) -> Result<()> {
    let (me, seats) = (several.me, &mut several.seats);
    for k in 0..seats.len() {
        if let Err(e) = seats[k].go_on(me, request.claimant) {
            seats[..k].iter_mut().for_each(|s| s.rest(me));
            let empty = Several { seats: Vec::new(), places: Vec::new(), nested: Vec::new(), ..*several };
            give_up_at_rest(std::mem::replace(several, empty));
            return Err(e);
        }
    }
    Ok(())
}

/// The end of a request between polls.
fn give_up_at_rest(several: Several<'_>) {
    several.seats.into_iter().for_each(Seat::leave_at_rest);
    for (_, s, grant) in several.nested {
        // Not held any more: then there is no level to give back.
        let _ = s.release(&grant.claim, Ending::Release);
    }
}

fn is_cancelled(request: &Request<'_>) -> bool {
    request.cancel.is_some_and(|c| c.is_cancelled())
}

/// Begins, as the blocking forms do.
fn begin<'a>(arena: &'static Arena, how: How, wants: &[Want<'a>], request: &'a Request<'a>, since: u64) -> Result<Begun<'a>> {
    let mut several = match how {
        How::One => match begin_one(arena, &wants[0], request, since)? {
            Begun::Waits(several) => several,
            done => return Ok(done),
        },
        How::Any => {
            check_list(wants, false)?;
            match many::begin_any(arena, wants, request)? {
                Begun::Waits(several) => several,
                done => return Ok(done),
            }
        }
        How::All => {
            check_list(wants, true)?;
            many::begin_all(arena, wants, request)?
        }
    };
    several.pace.polled = true;
    several.seats.iter_mut().for_each(|s| s.turn.polled = true);
    Ok(Begun::Waits(several))
}

fn begin_one<'a>(arena: &'static Arena, want: &Want<'a>, request: &'a Request<'a>, since: u64) -> Result<Begun<'a>> {
    let me = arena.register()?;
    let stranger = || Error::new(Code::InvalidHandle, "not a semaphore of this engine");
    let part = Part::of_object(want.object, want.permits).ok_or_else(stranger)?;
    match part {
        Part::Exclusive(s) => {
            if let Some(grant) = s.nest(me, request.claimant)? {
                return Ok(Begun::Done(0, grant));
            }
            if !arena.is_current() {
                return Err(file_is_gone(s));
            }
        }
        Part::Counting(s, n) => {
            if n != 0 && s.gone() {
                return Err(s.base.stale());
            }
            s.check(n)?;
        }
        Part::Event(e) => {
            if e.counted.gone() {
                return Err(e.base().stale());
            }
        }
    }
    let mut seat = Seat::take(part, me, request, 0)?;
    seat.world.since = since;
    Ok(Begun::Waits(Several { arena, me, seats: vec![seat], places: vec![0], nested: Vec::new(), pace: Pace::default() }))
}

fn round_of_one(several: &mut Several<'_>, request: &Request<'_>) -> Result<Round> {
    let me = several.me;
    let seat = &mut several.seats[0];
    match seat.look(me, limit(request))? {
        Look::End(Outcome::Owned) => Ok(Round::Owned(0)),
        Look::End(outcome) => Err(seat.part.sem().refused(outcome, &seat.world)),
        Look::Sleep { expect, watch, until } => Ok(Round::Sleep(vec![(0, expect, watch)], until)),
        Look::Gate { dead, attempt } => {
            let members = &several.arena.members;
            // The executor has other things to do than to wait for it.
            let pause = match attempt {
                _ if members.covers(&several.arena.map, dead.slot()) => 20_000_000,
                0..16 => 50_000,
                _ => 1_000_000,
            };
            let word = seat.part.sem().futex().load(SeqCst) as u32;
            Ok(Round::Sleep(vec![(0, word, Watching::Nobody)], Some(now() + pause)))
        }
    }
}

/// What the reactor is to sleep on.
fn sleep(several: &Several<'_>, request: &Request<'_>, at: &[(usize, u32, Watching)], until: Option<u64>, begun: u64) -> Step {
    let mut spots = Vec::with_capacity(at.len());
    for &(k, expect, watch) in at {
        let seat = &several.seats[k];
        let sem = seat.part.sem();
        let word = sem.futex();
        // The look has seen the futex half; the rest cannot have changed without it, but for a whole round of its sequence
        // between that look and this one.
        let seen = word.load(SeqCst);
        if seen as u32 != expect {
            return Step::Again;
        }
        let mode_all = seat.world.mode & ALL != 0;
        let (passes, all) = match seat.part {
            Part::Exclusive(_) => (mode_all, false),
            Part::Counting(..) => {
                let mine = seat.turn.mine.is_some_and(|(mine, _)| sem.cell().oldest.load(Relaxed) == mine);
                let stands_back = matches!(watch, Watching::Holders(Some(_)));
                (mode_all || Count(seen).free() > 0 && !mine && !stands_back, false)
            }
            Part::Event(e) => (mode_all, e.is_manual()),
        };
        spots.push(Spot { word, seen, watch, book: sem.book(), passes, all });
    }
    let world = several.seats.first().map(|s| &s.world);
    let since = several.seats.iter().map(|s| s.world.since).find(|s| *s != 0).unwrap_or(begun);
    let deadline = match request.until {
        Until::Deadline(d) => Some(d.0),
        _ => None,
    };
    // What it looks for beside the word does not wait for its turn: a cycle, a phase of its reservations, a gate.
    let eager = spots.is_empty() || world.is_some_and(|w| w.mode != 0 || !w.has_nothing_to_give());
    Step::Sleep(Sleep { spots, since, until, deadline, eager, cancel: request.cancel.cloned() })
}
