//! The short way to permits and back: what the public types call without going through the engine, when nobody waits and
//! nobody has to be helped. A thread keeps the entries that it used last.

use super::arena::{Arena, Me};
use super::count::{self, Doing, Op};
use super::layout::{Cell, Entry};
use super::ledger::Book;
use super::thread;
use crate::deadline::now_coarse;
use crate::engine::Claim;
use crate::interrupt;
use crate::sync::{AtomicU64, Ordering::*};
use std::cell::Cell as StdCell;

/// Entries that a thread keeps.
const KEPT: usize = 4;

/// An entry of this thread, at rest; `entry` 0: none.
#[derive(Clone, Copy)]
struct Kept {
    cell: usize,
    generation: u32,
    me: u32,
    /// Index + 1.
    entry: u32,
    at: Option<&'static Entry>,
}

const NONE: Kept = Kept { cell: 0, generation: 0, me: 0, entry: 0, at: None };

thread_local! {
    static MINE: [StdCell<Kept>; KEPT] = const { [const { StdCell::new(NONE) }; KEPT] };
}

/// What the short way needs.
#[derive(Clone, Copy)]
pub struct FastPermits {
    book: Book,
    me: &'static Me,
    bounds: &'static AtomicU64,
}

impl FastPermits {
    /// For an open counting semaphore.
    pub fn new(book: Book) -> FastPermits {
        FastPermits { me: book.arena.me_page(), bounds: book.bounds(), book }
    }

    fn place(&self) -> usize {
        std::ptr::from_ref::<Cell>(self.book.cell) as usize
    }

    /// `n` permits for the calling thread, at what is certainly normal time. None: the long way.
    #[inline]
    pub fn acquire(&self, n: u32) -> Option<Claim> {
        if !interrupt::hint() {
            return None;
        }
        self.acquire_at_normal_time(n)
    }

    /// The same after the full check.
    pub fn acquire_at_normal_time(&self, n: u32) -> Option<Claim> {
        let me = self.me.entitled.load(Relaxed);
        let (i, entry) = self.find(me)?;
        if entry.label.load(Relaxed) != 0 || n == 0 {
            self.keep(me, i);
            return None;
        }
        // Slots of the claim before must not look like this one's.
        entry.token.store(0, Relaxed);
        let words = self.book.words_with(self.bounds);
        let at = count::EntryWords { op: &entry.op, arg: &entry.arg };
        if !count::take_shortly(&words.count, &self.book, (i, n), &at, || !words.is_gone()) {
            self.keep(me, i);
            return None;
        }
        let cell = self.book.cell;
        let token = cell.token.fetch_add(1, Relaxed).wrapping_add(1);
        let time = now_coarse();
        entry.since.store(time, Relaxed);
        entry.token.store(token, Release);
        cell.since.store(time, Relaxed);
        Some(Claim::new(token, (i as u64 + 1) << 32 | thread::take_one() as u64))
    }

    /// `n` permits for nobody in particular, at normal time, by an entry of the calling thread. None: the long way.
    pub fn acquire_for_nobody(&self, n: u32) -> Option<Claim> {
        let me = self.me.entitled.load(Relaxed);
        let (i, entry) = self.find(me)?;
        let who = entry.who.load(Relaxed);
        entry.who.store((me as u64) << 32, Relaxed);
        let words = self.book.words_with(self.bounds);
        let at = count::EntryWords { op: &entry.op, arg: &entry.arg };
        entry.token.store(0, Relaxed);
        let open = entry.label.load(Relaxed) == 0 && n != 0;
        if !open || !count::take_shortly(&words.count, &self.book, (i, n), &at, || !words.is_gone()) {
            entry.who.store(who, Relaxed);
            self.keep(me, i);
            return None;
        }
        let cell = self.book.cell;
        let token = cell.token.fetch_add(1, Relaxed).wrapping_add(1);
        let time = now_coarse();
        entry.since.store(time, Relaxed);
        entry.token.store(token, Release);
        cell.since.store(time, Relaxed);
        Some(Claim::new(token, (i as u64 + 1) << 32))
    }

    /// All of a claim of nobody back; the calling thread keeps the entry, whoever had it. False: the long way.
    pub fn release_of_nobody(&self, claim: &Claim) -> bool {
        let me = self.me.giving.load(Relaxed);
        let Some(i) = ((claim.key >> 32) as u32).checked_sub(1).filter(|_| claim.key as u32 == 0 && me != 0) else {
            return false;
        };
        let Some(entry) = self.book.arena.map.entry(i) else { return false };
        if entry.who.load(Relaxed) != (me as u64) << 32
            || entry.token.load(Relaxed) != claim.token
            || entry.target.load(Relaxed) != super::waiters::target(self.book.index, self.book.generation)
            || entry.label.load(Relaxed) != 0
            || count::Count(self.book.cell.claim.load(Relaxed)).flags() != 0
        {
            return false;
        }
        let words = self.book.words_with(self.bounds);
        let at = count::EntryWords { op: &entry.op, arg: &entry.arg };
        if !count::give_shortly(&words.count, &self.book, i, &at, || words.is_reserved()) {
            return false;
        }
        entry.token.store(0, Relaxed);
        // At rest it is this thread's, and goes to others when the thread ends.
        entry.who.store((me as u64) << 32 | thread::claimant() as u64, Relaxed);
        if !self.keep(me, i) {
            self.book.settled();
            self.book.give_entry(i);
        }
        true
    }

    /// An entry that the calling thread keeps for this semaphore, taken out.
    #[inline]
    fn find(&self, me: u32) -> Option<(u32, &'static Entry)> {
        let (place, generation) = (self.place(), self.book.generation);
        MINE.with(|mine| {
            mine.iter().find_map(|k| {
                let v = k.get();
                let is_it = v.cell == place && v.generation == generation && v.me == me && v.entry != 0 && me != 0;
                if is_it { k.replace(NONE).at.map(|at| (v.entry - 1, at)) } else { None }
            })
        })
    }

    /// The same for the long way, at rest.
    pub fn kept(&self, me: u32) -> Option<u32> {
        let (i, entry) = self.find(me)?;
        self.book.settled();
        if Op(entry.op.load(Acquire)).doing() == Doing::Idle {
            return Some(i);
        }
        rest(self.book.arena, i, entry);
        None
    }

    /// All of a claim of the calling thread back. False: the long way.
    #[inline]
    pub fn release(&self, claim: &Claim) -> bool {
        let me = self.me.giving.load(Relaxed);
        let Some(i) = ((claim.key >> 32) as u32).checked_sub(1) else { return false };
        let Some(entry) = self.book.arena.map.entry(i) else { return false };
        if me == 0
            || claim.key as u32 == 0
            || entry.who.load(Relaxed) != (me as u64) << 32 | claim.key & 0xffff_ffff
            || entry.token.load(Relaxed) != claim.token
            || entry.label.load(Relaxed) != 0
            // How long somebody had to wait is written down the long way.
            || count::Count(self.book.cell.claim.load(Relaxed)).flags() != 0
        {
            return false;
        }
        let words = self.book.words_with(self.bounds);
        let at = count::EntryWords { op: &entry.op, arg: &entry.arg };
        if !count::give_shortly(&words.count, &self.book, i, &at, || words.is_reserved()) {
            return false;
        }
        // The claim is over: whoever asks for it again finds no token.
        entry.token.store(0, Relaxed);
        thread::give_one_back();
        if !self.keep(me, i) {
            self.book.settled();
            self.book.give_entry(i);
        }
        true
    }

    /// Keeps an entry of the calling thread for its next claim. False: it has enough of them.
    pub fn keep(&self, me: u32, i: u32) -> bool {
        let at = self.book.arena.map.entry(i);
        let kept = Kept { cell: self.place(), generation: self.book.generation, me, entry: i + 1, at };
        // Those of a parent process, and of semaphores that are gone, make room.
        let is_free = |k: &Kept| {
            // None: of another namespace.
            let cell = self.book.arena.map.cell_at(k.cell);
            k.entry == 0 || cell.is_some_and(|c| k.me != me || (c.word.load(Relaxed) >> 32) as u32 != k.generation)
        };
        MINE.with(|mine| match mine.iter().find(|k| is_free(&k.get())) {
            Some(free) => {
                let old = free.replace(kept);
                if old.entry != 0
                    && old.me == me
                    && let Some(entry) = old.at
                {
                    rest(self.book.arena, old.entry - 1, entry);
                }
                true
            }
            None => false,
        })
    }
}

/// The calling thread ends: its entries go to others.
pub fn give_all_back(arena: &'static Arena) {
    let me = arena.me_page().owner.load(Relaxed);
    let _ = MINE.try_with(|mine| {
        for k in mine {
            let v = k.get();
            let found = (v.entry != 0 && v.me == me && me != 0).then(|| arena.map.entry(v.entry - 1)).flatten();
            let Some(entry) = found.filter(|_| arena.map.contains(v.cell)) else { continue };
            k.set(NONE);
            rest(arena, v.entry - 1, entry);
        }
    });
}

/// Gives an entry back that the short way may have left at GIVING.
fn rest(arena: &'static Arena, i: u32, entry: &Entry) {
    let target = entry.target.load(Acquire);
    let Some(index) = (target as u32).checked_sub(1) else {
        entry.who.store(0, Release);
        return;
    };
    let Some(cell) = arena.map.cell(index) else { return };
    let book = Book { arena, cell, index, generation: (target >> 32) as u32 };
    book.settled();
    if Op(entry.op.load(Acquire)).doing() == Doing::Idle {
        book.give_entry(i);
    }
}
