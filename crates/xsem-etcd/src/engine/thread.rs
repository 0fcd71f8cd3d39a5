//! Threads as claimants, and what they leave when they end: the engine trait has no call for that, so the thread's own data
//! does it.

use super::client::{Inner, lock};
use super::death::Why;
use super::outbox::{How, Task};
use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long an ending thread waits for the news to be out.
const PATIENCE: Duration = Duration::from_millis(200);

struct LastWords {
    claimant: u32,
    clients: Vec<Weak<Inner>>,
}

thread_local! {
    static LAST_WORDS: RefCell<LastWords> = RefCell::new(LastWords { claimant: xsem::shm::claimant(), clients: Vec::new() });
}

/// The calling thread has claimed something at a client.
pub fn remember(client: &Inner, claimant: u32) {
    if claimant != xsem::shm::claimant() {
        return; // A claimant of another sort: a task, or the process.
    }
    // A thread that is ending already has had its last word.
    let _ = LAST_WORDS.try_with(|words| {
        let mut words = words.borrow_mut();
        words.clients.retain(|c| c.strong_count() > 0);
        if !words.clients.iter().any(|c| Weak::ptr_eq(c, &client.me)) {
            words.clients.push(client.me.clone());
        }
    });
}

impl Drop for LastWords {
    /// A guard was forgotten, or the thread was ended without unwinding: its claims end here, with the mark.
    fn drop(&mut self) {
        self.clients.iter().filter_map(Weak::upgrade).for_each(|client| end_of_thread(&client, self.claimant));
    }
}

fn end_of_thread(client: &Arc<Inner>, claimant: u32) {
    let mut left = Vec::new();
    lock(&client.held).retain(|(_, name), local| {
        let stays = local.claimant != claimant;
        if !stays {
            left.push((local.id, (name.clone(), local.created)));
        }
        stays
    });
    let any = !left.is_empty();
    for (id, which) in left {
        if let Some(session) = client.session_of(id) {
            client.outbox.push(client, Task::End(session, which, id, How::Abandon(Why::Thread)));
        }
    }
    if any {
        client.outbox.flush(PATIENCE);
    }
}
