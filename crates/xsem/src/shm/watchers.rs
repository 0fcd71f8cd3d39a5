//! Threads that watch the lives of many members for all sleepers of the process: one sleep takes 128 words, and a pool may
//! have more holders, or a list more owners.
//!
//! Each of them watches up to 120 members. When one dies, it bumps a word of the process on which the sleepers sleep, too.
//! A sleeper reads that word before it looks who lives, so a death after that look changes the word.

use super::arena::Arena;
use super::futex::{self, Watch};
use super::members::Life;
use super::own_thread;
use super::sys;
use super::word::Owner;
use crate::forklock::ForkLock;
use crate::sync::Ordering::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Members that one thread watches.
const EACH: usize = 120;

/// Deaths that a watcher of this process has seen.
static DEATHS: AtomicU32 = AtomicU32::new(0);
/// Those of a parent process do not run in a forked child, which has none.
static ALL: ForkLock<Vec<Arc<Watcher>>> = ForkLock::new();

struct Watcher {
    arena: &'static Arena,
    me: Owner,
    /// Whom it watches.
    lives: ForkLock<BTreeSet<Owner>>,
    /// Bumped when somebody is added.
    news: AtomicU32,
}

/// Has these members watched; the word to sleep on. None: one of them is dead already, or no thread can be had.
pub fn watch(arena: &'static Arena, me: Owner, lives: &BTreeSet<Owner>) -> Option<Watch> {
    let before = DEATHS.load(SeqCst);
    let mut all = ALL.lock();
    let mut missing: Vec<Owner> = lives.iter().copied().collect();
    for w in all.iter().filter(|w| std::ptr::eq(w.arena, arena)) {
        let watched = w.lives.lock();
        missing.retain(|o| !watched.contains(o));
    }
    for owner in missing {
        let room = all.iter().find(|w| std::ptr::eq(w.arena, arena) && w.lives.lock().len() < EACH).cloned();
        let watcher = match room {
            Some(w) => w,
            None => {
                let w = Arc::new(Watcher { arena, me, lives: ForkLock::new(), news: AtomicU32::new(0) });
                let thread = w.clone();
                if own_thread::start(c"xsem-watcher", 128 << 10, move || thread.run()).is_err() {
                    drop(all);
                    // Without one nobody tells of a death: the caller looks again by itself, and does nothing else meanwhile.
                    sys::nap(std::time::Duration::from_millis(10));
                    return None;
                }
                all.push(w.clone());
                w
            }
        };
        watcher.lives.lock().insert(owner);
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
            let lives: Vec<Owner> = self.lives.lock().iter().copied().collect();
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
            self.lives.lock().retain(|o| !dead.contains(o));
            DEATHS.fetch_add(1, SeqCst);
            futex::wake_private_all(&DEATHS);
        }
    }
}
