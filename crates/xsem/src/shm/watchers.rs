//! Threads that watch the lives of many members for all sleepers of the process: one sleep takes 128 words, and a pool may
//! have more holders, or a list more owners.
//!
//! Each of them watches up to 120 members. When one dies, it bumps a word of the process on which the sleepers sleep, too.
//! A sleeper reads that word before it looks who lives, so a death after that look changes the word.

use super::arena::Arena;
use super::futex::{self, Watch};
use super::members::Life;
use super::word::Owner;
use crate::sync::Ordering::*;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};

/// Members that one thread watches.
const EACH: usize = 120;

/// Deaths that a watcher of this process has seen.
static DEATHS: AtomicU32 = AtomicU32::new(0);
static ALL: Mutex<Vec<Arc<Watcher>>> = Mutex::new(Vec::new());

struct Watcher {
    arena: &'static Arena,
    me: Owner,
    /// Whom it watches.
    lives: Mutex<BTreeSet<Owner>>,
    /// Bumped when somebody is added.
    news: AtomicU32,
}

fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has these members watched; the word to sleep on. None: one of them is dead already, or no thread can be had.
pub fn watch(arena: &'static Arena, me: Owner, lives: &BTreeSet<Owner>) -> Option<Watch> {
    let before = DEATHS.load(SeqCst);
    let mut all = lock(&ALL);
    // Those of a parent process do not run in a forked child.
    all.retain(|w| w.me == me || !std::ptr::eq(w.arena, arena));
    let mut missing: Vec<Owner> = lives.iter().copied().collect();
    for w in all.iter().filter(|w| std::ptr::eq(w.arena, arena)) {
        let watched = lock(&w.lives);
        missing.retain(|o| !watched.contains(o));
    }
    for owner in missing {
        let room = all.iter().find(|w| std::ptr::eq(w.arena, arena) && lock(&w.lives).len() < EACH).cloned();
        let watcher = match room {
            Some(w) => w,
            None => {
                let w = Arc::new(Watcher { arena, me, lives: Mutex::default(), news: AtomicU32::new(0) });
                let thread = w.clone();
                std::thread::Builder::new().name("xsem-watcher".into()).stack_size(128 << 10).spawn(move || thread.run()).ok()?;
                all.push(w.clone());
                w
            }
        };
        lock(&watcher.lives).insert(owner);
        watcher.news.fetch_add(1, SeqCst);
        futex::wake_private_all(&watcher.news);
    }
    drop(all);
    // A watcher that has seen one of them dead has bumped the word, or will.
    let alive = |o: &Owner| arena.members.life(&arena.map, *o) == Life::Alive;
    lives.iter().all(alive).then(|| Watch::private(&DEATHS, before))
}

impl Watcher {
    fn run(&self) {
        loop {
            let news = self.news.load(SeqCst);
            let lives: Vec<Owner> = lock(&self.lives).iter().copied().collect();
            let mut words = vec![Watch::private(&self.news, news)];
            let mut dead = Vec::new();
            for o in &lives {
                match self.arena.members.watch(&self.arena.map, *o, self.me) {
                    Some(w) => words.push(w),
                    None => dead.push(*o),
                }
            }
            if dead.is_empty() {
                futex::sleep(&words, None);
                lives.iter().for_each(|o| self.arena.members.relay(&self.arena.map, *o, self.me));
                continue;
            }
            lock(&self.lives).retain(|o| !dead.contains(o));
            DEATHS.fetch_add(1, SeqCst);
            futex::wake_private_all(&DEATHS);
        }
    }
}
