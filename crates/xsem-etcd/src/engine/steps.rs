//! The threads that take the steps of asynchronous requests. A step is at most some requests to the store; between its steps a
//! request has no thread.

use super::pending::Task;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;
use xsem::{Code, Error};

/// As many at once as may ask the store at once: more would only stand in each other's way.
const THREADS: usize = 4;

/// When a task has something to do by itself; the number makes it one of its kind.
pub type Slot = (Instant, u64);

/// The queue of those that have something to do now, and of those that will.
#[derive(Debug, Default)]
pub struct Steps {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    ready: VecDeque<Arc<Task>>,
    later: BTreeMap<Slot, Weak<Task>>,
    last: u64,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Steps {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This one has something to do now. 8: there is no thread for it, and none can be had.
    pub fn push(self: &Arc<Steps>, task: Arc<Task>) -> xsem::Result<()> {
        let mut q = self.queue();
        if q.closed {
            return Ok(());
        }
        if q.idle <= q.ready.len() && q.threads < THREADS {
            let me = self.clone();
            let thread = std::thread::Builder::new().name("xsem-steps".into());
            match crate::runtime::without_signals(|| thread.spawn(move || me.work())) {
                Ok(_) => q.threads += 1,
                Err(e) if q.threads == 0 => {
                    return Err(Error::new(Code::NotEnoughMemory, "no thread for asynchronous requests")
                        .because(e)
                        .advice("raise the limit on processes (`ulimit -u`)"));
                }
                // Others will come to it.
                Err(_) => {}
            }
        }
        q.ready.push_back(task);
        drop(q);
        self.changed.notify_one();
        Ok(())
    }

    /// This one has something to do at that instant, and not at the one that was noted for it before.
    pub fn at(&self, task: &Arc<Task>, when: Instant, before: Option<Slot>) -> Slot {
        let mut q = self.queue();
        before.map(|slot| q.later.remove(&slot));
        q.last += 1;
        let slot = (when, q.last);
        q.later.insert(slot, Arc::downgrade(task));
        let first = q.later.first_key_value().is_some_and(|(s, _)| *s == slot);
        drop(q);
        if first {
            self.changed.notify_one();
        }
        slot
    }

    /// It is over.
    pub fn forget(&self, slot: Option<Slot>) {
        if let Some(slot) = slot {
            self.queue().later.remove(&slot);
        }
    }

    /// The client is gone.
    pub fn close(&self) {
        self.queue().closed = true;
        self.changed.notify_all();
    }

    fn work(&self) {
        while let Some(task) = self.next() {
            task.step();
        }
    }

    fn next(&self) -> Option<Arc<Task>> {
        let mut q = self.queue();
        loop {
            if q.closed {
                return None;
            }
            let now = Instant::now();
            while q.later.first_key_value().is_some_and(|(slot, _)| slot.0 <= now) {
                let due = q.later.pop_first().and_then(|(_, task)| task.upgrade());
                q.ready.extend(due);
            }
            if let Some(task) = q.ready.pop_front() {
                return Some(task);
            }
            let until = q.later.first_key_value().map(|(slot, _)| slot.0);
            q.idle += 1;
            q = match until {
                Some(at) => self.changed.wait_timeout(q, at - now).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(q).unwrap_or_else(PoisonError::into_inner),
            };
            q.idle -= 1;
        }
    }
}
