//! Sleeping on semaphores, until a word changes, somebody dies whose death would change something, or the request ends.
//!
//! One sleep takes at most 128 words. Where there are more lives to watch than fit, threads of the process watch them for
//! all its sleepers ([`super::watchers`]), who then have one word more.

use super::arena::Arena;
use super::futex::{self, Watch, Woke};
use super::ledger::Book;
use super::protocol::Watching;
use super::watchers;
use super::word::Owner;
use crate::deadline::now;
use crate::engine::Request;
use crate::sync::{AtomicU64, Ordering::*, fence};
use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

/// A second look once a second covers what no single fault can bring about. Tests switch it off.
pub static RECHECK: AtomicBool = AtomicBool::new(true);
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
    if arena.me() != Some(me) {
        return true;
    }
    if spots.is_empty() {
        // All are at a gate, or the like: a look again soon.
        let wait = until.map_or(1_000_000, |u| u.saturating_sub(now())).min(10_000_000);
        std::thread::sleep(std::time::Duration::from_nanos(wait));
        return false;
    }
    // The words are armed: who joins a ledger from here on changes them.
    fence(SeqCst);
    let mut lives = BTreeSet::new();
    for s in spots {
        match s.watch {
            Watching::Nobody => {}
            Watching::One(o) => drop(lives.insert(o)),
            Watching::Holders(one) => {
                let alive = |o: &Owner| arena.members.life(&arena.map, *o) == super::members::Life::Alive;
                lives.extend(s.book.members(me).into_iter().filter(alive));
                lives.extend(one);
            }
        }
    }
    lives.remove(&me);
    let mut words: Vec<Watch> = spots.iter().map(|s| Watch::shared(futex::low(s.word), s.expect)).collect();
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
    let recheck = RECHECK.load(Relaxed).then(|| now() + 1_000_000_000);
    let until = [until, recheck].into_iter().flatten().min();
    let woke = futex::sleep(&words, until);
    if !delegated && arena.me() == Some(me) {
        lives.iter().for_each(|o| arena.members.relay(&arena.map, *o, me));
    }
    let gives_up = || request.and_then(|r| r.interrupted).is_some_and(|f| f.give_up());
    woke == Woke::Signal && (arena.me() != Some(me) || gives_up())
}
