//! Sleeping on semaphores, until a word changes, somebody dies whose death would change something, or the request ends.
//!
//! One sleep takes at most 128 words. Where there are more lives to watch than fit, threads of the process watch them for
//! all its sleepers ([`super::watchers`]), who then have one word more.

use super::arena::Arena;
use super::fault;
use super::futex::{self, Watch, Woke};
use super::ledger::Book;
use super::protocol::Watching;
use super::watchers;
use super::word::Owner;
use crate::deadline::now;
use crate::engine::Request;
use crate::sync::{AtomicU32, AtomicU64, Ordering::*, fence};
use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

/// A second look once a second covers what no single fault can bring about. Tests switch it off.
pub static RECHECK: AtomicBool = AtomicBool::new(true);
/// Who is in line leaves it by itself after a while, which covers a stop or a death of who should have called it. Tests switch
/// that off: nothing else is covered by it.
pub static LINE_ENDS: AtomicBool = AtomicBool::new(true);
/// How soon to look at what is left of a dead holder, in nanoseconds.
pub const DYING: u64 = 20_000_000;
/// The kernel's limit for one sleep.
const MOST: usize = 128;

/// One semaphore to sleep on.
pub struct Spot<'a> {
    pub word: &'a AtomicU64,
    pub expect: u32,
    pub watch: Watching,
    pub book: Book,
}

/// Sleeps. True: the request shall end. A signal came, and the request's owner wants that; or its handler has forked, and this
/// is the child, which has returned from it: the request is its parent's.
pub fn on(arena: &'static Arena, me: Owner, spots: &[Spot<'_>], request: Option<&Request<'_>>, until: Option<u64>) -> bool {
    let is_parents = || arena.me() != Some(me);
    is_parents() || asleep(arena, me, spots, request, until) || is_parents()
}

/// The same in line: on the caller's own record, watching the oldest waiter.
pub fn in_line(
    arena: &'static Arena,
    me: Owner,
    (turn, expect): (&AtomicU32, u32),
    first: Owner,
    request: Option<&Request<'_>>,
    until: Option<u64>,
) -> bool {
    let is_parents = || arena.me() != Some(me);
    let losses = fault::losses();
    let sleeps =
        || arena.loss().is_none() && on_one(arena, me, [Watch::shared(turn, expect), losses], Some(first), request, until);
    is_parents() || sleeps() || is_parents()
}

fn asleep(arena: &'static Arena, me: Owner, spots: &[Spot<'_>], request: Option<&Request<'_>>, until: Option<u64>) -> bool {
    // Before the look at the file: a loss after that ends the sleep.
    let losses = fault::losses();
    if arena.loss().is_some() {
        return false;
    }
    if spots.is_empty() {
        // All are at a gate, or the like: a look again soon.
        let wait = until.map_or(1_000_000, |u| u.saturating_sub(now())).min(10_000_000);
        super::sys::nap(std::time::Duration::from_nanos(wait));
        return false;
    }
    // The words are armed: who joins a ledger from here on changes them.
    fence(SeqCst);
    if let [spot] = spots
        && !matches!(spot.watch, Watching::Holders(_))
    {
        let life = if let Watching::One(o) | Watching::InLine(o) = spot.watch { Some(o) } else { None };
        return on_one(arena, me, [Watch::shared(futex::low(spot.word), spot.expect), losses], life, request, until);
    }
    let (mut lives, mut dying) = (BTreeSet::new(), false);
    for s in spots {
        match s.watch {
            Watching::Nobody => {}
            Watching::One(o) | Watching::InLine(o) => drop(lives.insert(o)),
            Watching::Holders(one) => {
                let alive = |o: &Owner| arena.members.life(&arena.map, *o) == super::members::Life::Alive;
                let (living, others): (Vec<_>, Vec<_>) = s.book.members(me).into_iter().partition(alive);
                lives.extend(living);
                // One that died since the look may have held something: nobody will be woken for it any more.
                dying |= !others.is_empty();
                lives.extend(one);
            }
        }
    }
    lives.remove(&me);
    let mut words: Vec<Watch> = spots.iter().map(|s| Watch::shared(futex::low(s.word), s.expect)).collect();
    words.push(losses);
    if let Some(token) = request.and_then(|r| r.cancel) {
        words.push(Watch::private(&*token.0, 0));
    }
    let delegated = words.len() + lives.len() > MOST;
    if delegated {
        match watchers::watch(arena, me, &lives) {
            Some(w) => words.push(w),
            None => return false,
        }
    } else {
        for o in &lives {
            // None: dead already.
            let Some(w) = arena.members.watch(&arena.map, *o, me) else { return false };
            words.push(w);
        }
    }
    let look_again = dying.then(|| now() + DYING);
    let woke = futex::sleep(&words, with_recheck([until, look_again].into_iter().flatten().min()));
    if !delegated {
        lives.iter().for_each(|o| arena.members.relay(&arena.map, *o, me));
    }
    gives_up(woke, request)
}

/// The same for one word and at most one life, which is what most sleeps are about: without an allocation between the look at
/// the word and the sleep.
fn on_one(
    arena: &'static Arena,
    me: Owner,
    [word, losses]: [Watch; 2],
    life: Option<Owner>,
    request: Option<&Request<'_>>,
    until: Option<u64>,
) -> bool {
    let mut words = [word, losses, losses, losses];
    let mut n = 2;
    if let Some(token) = request.and_then(|r| r.cancel) {
        words[n] = Watch::private(&*token.0, 0);
        n += 1;
    }
    let life = life.filter(|o| *o != me);
    if let Some(o) = life {
        // None: dead already.
        let Some(w) = arena.members.watch(&arena.map, o, me) else { return false };
        words[n] = w;
        n += 1;
    }
    let woke = futex::sleep(&words[..n], with_recheck(until));
    if let Some(o) = life {
        arena.members.relay(&arena.map, o, me);
    }
    gives_up(woke, request)
}

fn with_recheck(until: Option<u64>) -> Option<u64> {
    let recheck = RECHECK.load(Relaxed).then(|| now() + 1_000_000_000);
    [until, recheck].into_iter().flatten().min()
}

fn gives_up(woke: Woke, request: Option<&Request<'_>>) -> bool {
    woke == Woke::Signal && request.and_then(|r| r.interrupted).is_some_and(|f| f.give_up())
}
