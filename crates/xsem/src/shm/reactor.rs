//! What wakes asynchronous waits: a few threads of the process, however many waits there are.
//!
//! A wait that found nothing to take has armed the word, as every sleeper does, and registers here with the value that it
//! has seen. The waits at one word are a *group*, in the order of their beginnings, and a reactor's thread sleeps on the
//! word for all of them.
//!
//! # Nobody stays asleep
//! The rule for a group is [`Tables::settle`], applied under the one lock whenever something may have changed: a thread was
//! woken, a wait registered, or left. It goes through the queue from the front:
//!
//! 1. A wait that was woken and has not looked yet: it will look, so wait for that; but only for [`PATIENCE`]. Then it is
//!    passed over: one that nobody polls withholds nothing.
//! 2. A wait that has seen another value than is there now: wake it, and go on as in 1.
//! 3. A wait that has seen this very value, and could not use it. It is to be slept on. If what is there may be of use to
//!    others ([`Spot::passes`]), go on with the next one; else nobody behind it could have it either.
//!
//! So if the word has changed since the latest look of the first that counts, that one is woken; and a wait that leaves,
//! with a claim or without, makes the rule apply to whoever is the first then. Between the look and the sleep the kernel
//! compares the value once more. A death that would change something wakes the first one whether the word has changed or
//! not (`force`), and so does a wake-up without a change, by which others ask whether a waiter stirs.
//!
//! The threads are not the keeper: an error in a program's waker must not look like the death of the process.

use super::arena::Arena;
use super::fault;
use super::futex::{self, Watch};
use super::ledger::Book;
use super::members::Life;
use super::own_thread;
use super::protocol::Watching;
use super::sleep::{DYING, RECHECK};
use super::watchers;
use super::word::Owner;
use crate::cancel::CancelToken;
use crate::deadline::now;
use crate::error::{Code, Error, Result};
use crate::forklock::{self, ForkLock};
use crate::sync::{AtomicU64, Ordering::*};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::Waker;

/// How long a wait that was woken may take to look before others are woken beside it, in nanoseconds.
pub const PATIENCE: u64 = 10_000_000;
/// As sleepers do (see `sleep.rs`): a second look once a second.
const RECHECK_EVERY: u64 = 1_000_000_000;
/// Words that one thread sleeps on, beside lives.
const GROUPS: usize = 60;
/// The kernel's limit for one sleep, less those of the thread itself.
const WORDS: usize = 125;

/// One word that a wait sleeps on.
#[derive(Clone, Copy)]
pub struct Spot {
    pub word: &'static AtomicU64,
    /// As the wait has seen it. (All of it, since the futex half alone comes again.)
    pub seen: u64,
    pub watch: Watching,
    pub book: Book,
    /// What is there may be of use to those behind it.
    pub passes: bool,
    /// A change may be of use to all at once.
    pub all: bool,
}

/// What a wait sleeps on.
#[derive(Default)]
pub struct Sleep {
    pub spots: Vec<Spot>,
    /// When it began: its place.
    pub since: u64,
    /// When it has something to do, if nobody is ahead of it.
    pub until: Option<u64>,
    /// When it has something to do in any case.
    pub deadline: Option<u64>,
    /// `until` holds whoever is ahead.
    pub eager: bool,
    pub cancel: Option<CancelToken>,
}

/// A wait's place here. Dropping it leaves, and lets the next one look.
#[derive(Debug, Default)]
pub struct Ticket {
    /// 0: it has not slept yet.
    id: u64,
    epoch: u32,
}

struct Wait {
    waker: Waker,
    sleep: Sleep,
    /// When it was woken, if it has not looked since.
    woken: Option<u64>,
    /// When its thread's timer wakes it.
    timer: Option<u64>,
    shard: usize,
}

struct Group {
    word: &'static AtomicU64,
    shard: usize,
    /// By beginning; which of the wait's spots it is.
    queue: BTreeMap<(u64, u64), usize>,
    /// What is to be slept on.
    plan: Option<Plan>,
    /// What its thread sleeps on.
    slept: Option<Plan>,
    /// When to apply the rule again.
    again: Option<u64>,
    /// Wake the first one in any case.
    force: bool,
    /// When it was last told of a dead holder.
    told: u64,
}

#[derive(Clone)]
struct Plan {
    expect: u32,
    watch: Vec<Watching>,
    book: BookOf,
}

impl Plan {
    /// Whether a thread that went to sleep with the other one need not be told. It may have slept on another value: as long as
    /// it sleeps, whoever changes the word wakes it, because the word says that somebody sleeps; if it does not sleep any
    /// more, or not yet, it compares.
    fn is_covered(&self, slept: &Option<Plan>) -> bool {
        slept
            .as_ref()
            .is_some_and(|s| s.book == self.book && self.watch.iter().all(|w| *w == Watching::Nobody || s.watch.contains(w)))
    }
}

/// Which ledger.
#[derive(Clone, Copy)]
struct BookOf(Book);

impl PartialEq for BookOf {
    fn eq(&self, other: &BookOf) -> bool {
        std::ptr::eq(self.0.cell, other.0.cell) && self.0.generation == other.0.generation
    }
}

/// A thread's share.
struct Shard {
    /// Bumped when its sleep is not what it should be any more.
    news: Arc<AtomicU32>,
    groups: BTreeSet<usize>,
    timers: BTreeSet<(u64, u64)>,
    /// Until when it sleeps.
    sleeps_until: u64,
}

#[derive(Default)]
struct Tables {
    last: u64,
    waits: HashMap<u64, Wait>,
    /// By the word's address.
    groups: HashMap<usize, Group>,
    shards: Vec<Shard>,
    /// Waits with a cancel token.
    cancels: BTreeSet<u64>,
}

/// A forked child has no waits, and no threads to wake them.
static TABLES: ForkLock<Tables> = ForkLock::new();

/// How many waits have a cancel token; so that cancelling costs nothing else where none has.
static WITH_TOKEN: AtomicU32 = AtomicU32::new(0);
/// Bumped when a token is cancelled.
static CANCELS: AtomicU32 = AtomicU32::new(0);

/// A token was cancelled. May run in a signal handler.
pub fn cancelled() {
    // The token's own word was set before: whoever enters itself and looks at the token afterwards sees it.
    crate::sync::fence(SeqCst);
    if WITH_TOKEN.load(SeqCst) != 0 {
        CANCELS.fetch_add(1, SeqCst);
        futex::wake_private_all(&CANCELS);
    }
}

fn address(word: &AtomicU64) -> usize {
    std::ptr::from_ref(word) as usize
}

/// What is to be done when the lock has been given back: to wake or to drop a waker is to run the program's code, which may
/// well come back here.
#[derive(Default)]
struct Wakers {
    woken: Vec<(u64, Waker)>,
    gone: Vec<Waker>,
}

impl Wakers {
    fn push(&mut self, woken: (u64, Waker)) {
        self.woken.push(woken);
    }
}

impl Ticket {
    /// Of a wait that has not slept yet.
    pub fn new() -> Ticket {
        Ticket::default()
    }

    /// Sleeps, or goes on sleeping otherwise: `waker` is woken when there is something to look at. True: there is already.
    pub fn sleep(&mut self, waker: &Waker, sleep: Sleep) -> Result<bool> {
        let epoch = forklock::epoch();
        let token = sleep.cancel.is_some();
        let mut tables = TABLES.lock();
        let t = &mut *tables;
        if self.id == 0 || self.epoch != epoch {
            t.last += 1;
            (self.id, self.epoch) = (t.last, epoch);
        }
        let mut wakers = Wakers::default();
        if let Err(e) = t.enter(self.id, waker, sleep, &mut wakers) {
            drop(tables);
            wake(wakers);
            return Err(e);
        }
        if token {
            // From here on a cancellation is told.
            crate::sync::fence(SeqCst);
        }
        let time = now();
        let places: Vec<usize> = t.waits[&self.id].sleep.spots.iter().map(|s| address(s.word)).collect();
        places.into_iter().for_each(|a| t.settle(a, time, &mut wakers));
        let cancelled = t.waits.get(&self.id).and_then(|w| w.sleep.cancel.as_ref()).is_some_and(|c| c.is_cancelled());
        // A namespace that was lost before we were entered: whoever told of it has not woken us.
        let lost = t.waits[&self.id].sleep.spots.iter().any(|s| s.book.arena.loss().is_some());
        let own = wakers.woken.iter().position(|(id, _)| *id == self.id);
        if let Some(own) = own {
            let (_, itself) = wakers.woken.swap_remove(own);
            wakers.gone.push(itself);
        }
        drop(tables);
        wake(wakers);
        Ok(own.is_some() || cancelled || lost)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.id == 0 || self.epoch != forklock::epoch() {
            return;
        }
        let mut tables = TABLES.lock();
        let t = &mut *tables;
        let (time, mut wakers) = (now(), Wakers::default());
        let Some(places) = t.leave(self.id, &mut wakers) else { return };
        places.into_iter().for_each(|a| t.settle(a, time, &mut wakers));
        drop(tables);
        wake(wakers);
    }
}

/// After this process has changed a word: whoever is first in its queue need not wait for the thread to tell it.
pub fn changed(word: &AtomicU64) {
    if WAITING.load(Relaxed) == 0 {
        return;
    }
    let mut tables = TABLES.lock();
    if !tables.groups.contains_key(&address(word)) {
        return;
    }
    let (time, mut wakers) = (now(), Wakers::default());
    tables.settle(address(word), time, &mut wakers);
    drop(tables);
    wake(wakers);
}

/// How many waits there are; a hint for those who change words.
static WAITING: AtomicU32 = AtomicU32::new(0);

fn wake(wakers: Wakers) {
    wakers.woken.into_iter().for_each(|(_, w)| w.wake());
}

impl Tables {
    /// Puts a wait where it belongs.
    fn enter(&mut self, id: u64, waker: &Waker, sleep: Sleep, wakers: &mut Wakers) -> Result<()> {
        let same = self.waits.get(&id).is_some_and(|w| {
            w.sleep.since == sleep.since
                && w.sleep.cancel.is_some() == sleep.cancel.is_some()
                && w.sleep.spots.iter().map(|s| address(s.word)).eq(sleep.spots.iter().map(|s| address(s.word)))
        });
        if same && let Some(w) = self.waits.get_mut(&id) {
            w.woken = None;
            w.sleep = sleep;
            if !w.waker.will_wake(waker) {
                wakers.gone.push(std::mem::replace(&mut w.waker, waker.clone()));
            }
        } else {
            let before = self.leave(id, wakers);
            let shard = match self.shard_of(&sleep) {
                Ok(shard) => shard,
                Err(e) => {
                    let time = now();
                    before.into_iter().flatten().for_each(|a| self.settle(a, time, wakers));
                    return Err(e);
                }
            };
            if sleep.cancel.is_some() {
                WITH_TOKEN.fetch_add(1, SeqCst);
                self.cancels.insert(id);
            }
            for (k, spot) in sleep.spots.iter().enumerate() {
                if let Some(g) = self.groups.get_mut(&address(spot.word)) {
                    g.queue.insert((sleep.since, id), k);
                }
            }
            self.waits.insert(id, Wait { waker: waker.clone(), sleep, woken: None, timer: None, shard });
            WAITING.store(self.waits.len() as u32, Relaxed);
            // Where it was before, and is not any more, somebody else may be the first.
            let time = now();
            before.into_iter().flatten().for_each(|a| self.settle(a, time, wakers));
            if self.cancels.len() == 1 {
                self.shards[0].rouse();
            }
        }
        let w = &self.waits[&id];
        let at = if w.sleep.eager || w.sleep.spots.is_empty() { w.sleep.until } else { None };
        let at = [at, w.sleep.deadline].into_iter().flatten().min();
        self.set_timer(id, at);
        Ok(())
    }

    /// Which thread has the timer of such a wait. There are groups for all of its words then; one without waits goes with the
    /// next look of its thread.
    fn shard_of(&mut self, sleep: &Sleep) -> Result<usize> {
        let mut shard = None;
        for spot in &sleep.spots {
            let a = address(spot.word);
            let of_group = match self.groups.get(&a) {
                Some(g) => g.shard,
                None => self.new_group(a, spot.word)?,
            };
            shard = shard.or(Some(of_group));
        }
        match shard {
            Some(s) => Ok(s),
            None if self.shards.is_empty() => self.new_shard(),
            None => Ok(0),
        }
    }

    /// Takes a wait out; where it was.
    fn leave(&mut self, id: u64, wakers: &mut Wakers) -> Option<Vec<usize>> {
        self.set_timer(id, None);
        let w = self.waits.remove(&id)?;
        WAITING.store(self.waits.len() as u32, Relaxed);
        if self.cancels.remove(&id) {
            WITH_TOKEN.fetch_sub(1, SeqCst);
        }
        let places: Vec<usize> = w.sleep.spots.iter().map(|s| address(s.word)).collect();
        for a in &places {
            if let Some(g) = self.groups.get_mut(a) {
                g.queue.remove(&(w.sleep.since, id));
            }
        }
        wakers.gone.push(w.waker);
        Some(places)
    }

    fn set_timer(&mut self, id: u64, at: Option<u64>) {
        let Some(w) = self.waits.get_mut(&id) else { return };
        if w.timer == at {
            return;
        }
        let shard = &mut self.shards[w.shard];
        if let Some(old) = w.timer {
            shard.timers.remove(&(old, id));
        }
        w.timer = at;
        if let Some(at) = at {
            shard.timers.insert((at, id));
            if at < shard.sleeps_until {
                shard.rouse();
            }
        }
    }

    fn new_group(&mut self, a: usize, word: &'static AtomicU64) -> Result<usize> {
        let shard = match self.shards.iter().position(|s| s.groups.len() < GROUPS) {
            Some(s) => s,
            None => self.new_shard()?,
        };
        self.shards[shard].groups.insert(a);
        let queue = BTreeMap::new();
        self.groups.insert(a, Group { word, shard, queue, plan: None, slept: None, again: None, force: false, told: 0 });
        Ok(shard)
    }

    fn new_shard(&mut self) -> Result<usize> {
        crate::pin::library();
        let (news, k) = (Arc::new(AtomicU32::new(0)), self.shards.len());
        let theirs = news.clone();
        own_thread::start(c"xsem-reactor", 256 << 10, move || run(k, &theirs)).map_err(|e| {
            Error::new(Code::NotEnoughMemory, "the thread that wakes asynchronous waits cannot be started")
                .because(e)
                .advice("raise the limit on processes (`ulimit -u`)")
        })?;
        self.shards.push(Shard { news, groups: BTreeSet::new(), timers: BTreeSet::new(), sleeps_until: 0 });
        Ok(k)
    }

    /// The rule (see above) for one group.
    fn settle(&mut self, a: usize, time: u64, wakers: &mut Wakers) {
        let Some(g) = self.groups.get_mut(&a) else { return };
        if g.queue.is_empty() {
            // Its thread may sleep on the word for a while yet; when it wakes up, the group goes.
            (g.plan, g.again, g.force) = (None, None, false);
            return;
        }
        let value = g.word.load(SeqCst);
        let (mut plan, mut again, mut timers): (Option<Plan>, Option<u64>, Vec<u64>) = (None, None, Vec::new());
        let mut force = std::mem::take(&mut g.force);
        let forced = force;
        for (&(_, id), &k) in &g.queue {
            let Some(w) = self.waits.get_mut(&id) else { continue };
            let spot = w.sleep.spots[k];
            if let Some(t) = w.woken {
                if time >= t + PATIENCE {
                    continue;
                }
                again = [again, Some(t + PATIENCE)].into_iter().flatten().min();
                if spot.all {
                    continue;
                }
                // It will look, and then it is mostly this word again that is to be slept on.
                plan.get_or_insert_with(|| Plan { expect: value as u32, watch: Vec::new(), book: BookOf(spot.book) });
                break;
            }
            if spot.seen != value || force {
                force = spot.all && force;
                w.woken = Some(time);
                wakers.push((id, w.waker.clone()));
                again = [again, Some(time + PATIENCE)].into_iter().flatten().min();
                if spot.all {
                    continue;
                }
                plan.get_or_insert_with(|| Plan { expect: value as u32, watch: Vec::new(), book: BookOf(spot.book) });
                break;
            }
            // It has seen what is there.
            if w.timer.is_none_or(|t| w.sleep.until.is_some_and(|u| u < t)) && w.sleep.until.is_some() {
                timers.push(id);
            }
            let plan = plan.get_or_insert_with(|| Plan { expect: value as u32, watch: Vec::new(), book: BookOf(spot.book) });
            if !plan.watch.contains(&spot.watch) {
                plan.watch.push(spot.watch);
            }
            if !spot.passes && !spot.all {
                break;
            }
        }
        if forced {
            // Those who look for cycles were meant, too.
            for &(_, id) in g.queue.keys() {
                if let Some(w) = self.waits.get_mut(&id).filter(|w| w.sleep.eager && w.woken.is_none()) {
                    w.woken = Some(time);
                    wakers.push((id, w.waker.clone()));
                }
            }
        }
        let shard = &mut self.shards[g.shard];
        if plan.as_ref().is_some_and(|p| !p.is_covered(&g.slept)) || again.is_some_and(|t| t < shard.sleeps_until) {
            shard.rouse();
        }
        (g.plan, g.again) = (plan, again);
        for id in timers {
            let at = self.waits.get(&id).and_then(|w| w.sleep.until);
            self.set_timer(id, at);
        }
    }

    /// Wakes those whose time has come.
    fn ring(&mut self, k: usize, time: u64, wakers: &mut Wakers) {
        while let Some(&(at, id)) = self.shards[k].timers.first()
            && at <= time
        {
            self.set_timer(id, None);
            if let Some(w) = self.waits.get_mut(&id) {
                w.woken.get_or_insert(time);
                wakers.push((id, w.waker.clone()));
            }
        }
    }

    /// Wakes everybody: a namespace is not what it was.
    fn wake_everybody(&mut self, time: u64, wakers: &mut Wakers) {
        for (id, w) in &mut self.waits {
            w.woken.get_or_insert(time);
            wakers.push((*id, w.waker.clone()));
        }
    }

    fn wake_cancelled(&mut self, time: u64, wakers: &mut Wakers) {
        for id in &self.cancels {
            if let Some(w) = self.waits.get_mut(id)
                && w.sleep.cancel.as_ref().is_some_and(|c| c.is_cancelled())
            {
                w.woken.get_or_insert(time);
                wakers.push((*id, w.waker.clone()));
            }
        }
    }

    /// What thread `k` is to sleep on, from its second word on, and until when. The lives that are watched, too.
    fn plan(&mut self, k: usize, time: u64, wakers: &mut Wakers) -> (Vec<Watch>, Vec<(&'static Arena, Owner)>, u64) {
        let groups: Vec<usize> = self.shards[k].groups.iter().copied().collect();
        for a in &groups {
            if self.groups.get(a).is_some_and(|g| g.queue.is_empty()) {
                self.groups.remove(a);
                self.shards[k].groups.remove(a);
            }
            self.settle(*a, time, wakers);
        }
        let mut dead: Vec<usize> = Vec::new();
        let mut lives: BTreeMap<(usize, Owner), (&'static Arena, Vec<usize>)> = BTreeMap::new();
        // A program without waits is left alone; and where the second look is off, nothing else may take its place.
        let looks_again = !groups.is_empty() && RECHECK.load(Relaxed);
        let (mut words, mut until) = (Vec::new(), if looks_again { time + RECHECK_EVERY } else { u64::MAX });
        for a in groups {
            let Some(g) = self.groups.get_mut(&a) else { continue };
            let Some(plan) = &g.plan else { continue };
            let arena = plan.book.0.arena;
            let Some(me) = arena.me() else { continue };
            let alive = |o: &Owner| arena.members.life(&arena.map, *o) == Life::Alive;
            let mut watched: BTreeSet<Owner> = BTreeSet::new();
            for w in &plan.watch {
                match w {
                    Watching::Nobody => {}
                    Watching::One(o) | Watching::InLine(o) => drop(watched.insert(*o)),
                    Watching::Holders(one) => {
                        let (live, dying): (Vec<_>, Vec<_>) = plan.book.0.members(me).into_iter().partition(alive);
                        watched.extend(live);
                        watched.extend(one);
                        // What they held is to be looked at, now and, if they may still be writing, every now and then.
                        match dying.is_empty() {
                            true => {}
                            false if time >= g.told + DYING => {
                                g.told = time;
                                dead.push(a);
                            }
                            false => g.again = [g.again, Some(g.told + DYING)].into_iter().flatten().min(),
                        }
                    }
                }
            }
            watched.remove(&me);
            for o in watched {
                let key = (std::ptr::from_ref(arena) as usize, o);
                lives.entry(key).or_insert_with(|| (arena, Vec::new())).1.push(a);
            }
        }
        let mut watched = Vec::new();
        let delegate = self.shards[k].groups.len() + lives.len() > WORDS;
        for (&(_, o), (arena, of)) in lives.iter().filter(|_| !delegate) {
            let watch = arena.me().and_then(|me| arena.members.watch(&arena.map, o, me));
            match watch {
                Some(w) => {
                    words.push(w);
                    watched.push((*arena, o));
                }
                None => dead.extend(of),
            }
        }
        if delegate {
            let mut by_arena: BTreeMap<usize, (&'static Arena, BTreeSet<Owner>)> = BTreeMap::new();
            for (&(at, o), (arena, _)) in &lives {
                by_arena.entry(at).or_insert_with(|| (arena, BTreeSet::new())).1.insert(o);
            }
            for (arena, lives) in by_arena.values() {
                match arena.me().and_then(|me| watchers::watch(arena, me, lives)) {
                    Some(w) => words.push(w),
                    // One of them is dead already: the next look at all finds out which.
                    None => dead.extend(self.shards[k].groups.iter().copied()),
                }
            }
        }
        for a in dead {
            if let Some(g) = self.groups.get_mut(&a).filter(|g| g.plan.is_some()) {
                g.force = true;
                self.settle(a, time, wakers);
            }
        }
        let groups: Vec<usize> = self.shards[k].groups.iter().copied().collect();
        let mut first = Vec::new();
        for a in groups {
            let Some(g) = self.groups.get_mut(&a) else { continue };
            g.slept = g.plan.clone();
            until = until.min(g.again.unwrap_or(u64::MAX));
            if let Some(plan) = &g.plan {
                first.push(Watch::shared(futex::low(g.word), plan.expect));
            }
        }
        first.extend(words);
        until = until.min(self.shards[k].timers.first().map_or(u64::MAX, |t| t.0));
        self.shards[k].sleeps_until = until;
        (first, watched, until)
    }
}

impl Shard {
    /// Its sleep is to be another.
    fn rouse(&mut self) {
        // Once is enough until it has looked.
        if self.sleeps_until != 0 {
            self.sleeps_until = 0;
            self.news.fetch_add(1, SeqCst);
            futex::wake_private_all(&self.news);
        }
    }
}

/// A reactor's thread.
fn run(k: usize, news: &AtomicU32) {
    let mut recheck = now() + RECHECK_EVERY;
    let mut woken_by: Option<usize> = None;
    // Of none: what was lost just now may concern a wait that was entered before this thread ran.
    let mut told_of = 0;
    loop {
        let mut wakers = Wakers::default();
        let mut tables = TABLES.lock();
        let t = &mut *tables;
        if k >= t.shards.len() {
            // Started, and not entered yet: that thread has the lock until it is.
            drop(tables);
            std::thread::yield_now();
            continue;
        }
        let seen = news.load(SeqCst);
        let time = now();
        t.shards[k].sleeps_until = 0;
        let cancels = CANCELS.load(SeqCst);
        let (losses, losses_now) = (fault::losses(), fault::losses_so_far());
        t.ring(k, time, &mut wakers);
        if k == 0 {
            if std::mem::replace(&mut told_of, losses_now) != losses_now {
                t.wake_everybody(time, &mut wakers);
            }
            t.wake_cancelled(time, &mut wakers);
        }
        let second_look = RECHECK.load(Relaxed) && time >= recheck;
        if second_look {
            recheck = time + RECHECK_EVERY;
        }
        for a in t.shards[k].groups.clone() {
            if let Some(g) = t.groups.get_mut(&a) {
                // Woken without a change: somebody asks whether we stir.
                let asked = woken_by == Some(a) && g.slept.as_ref().is_some_and(|p| p.expect == g.word.load(SeqCst) as u32);
                g.force |= second_look || asked;
            }
        }
        let (mut words, lives, until) = t.plan(k, time, &mut wakers);
        let addresses: Vec<usize> = t.shards[k].groups.iter().copied().filter(|a| t.groups[a].plan.is_some()).collect();
        if k == 0 && !t.cancels.is_empty() {
            words.push(Watch::private(&CANCELS, cancels));
        }
        drop(tables);
        for (_, w) in wakers.woken {
            // What a program's waker does is not ours: its panic has been told, and the others go on waiting.
            let _ = catch_unwind(AssertUnwindSafe(|| w.wake()));
        }
        if k == 0 {
            words.push(losses);
        }
        words.insert(0, Watch::private(news, seen));
        let (_, index) = futex::sleep_at(&words, Some(until).filter(|u| *u != u64::MAX));
        woken_by = index.and_then(|i| i.checked_sub(1)).and_then(|i| addresses.get(i).copied());
        for (arena, o) in lives {
            if let Some(me) = arena.me() {
                arena.members.relay(&arena.map, o, me);
            }
        }
    }
}
