//! What threads leave when they end.

use super::shared::Shared;
use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::{Arc, Weak};

thread_local! {
    /// The namespaces in which the thread has asked for something. Without a destructor of its own, so that it is still
    /// there for the thread's last words (`shm/thread.rs`); a box, or null.
    static USED: Cell<*mut Used> = const { Cell::new(null_mut()) };
}

struct Used(Vec<Weak<Shared>>);

/// The thread asks for something in this namespace: its claims there end with it.
pub(super) fn uses(shared: &Arc<Shared>) {
    let mut used = take();
    if !used.0.iter().any(|w| std::ptr::eq(w.as_ptr(), Arc::as_ptr(shared))) {
        used.0.retain(|w| w.strong_count() > 0);
        used.0.push(Arc::downgrade(shared));
    }
    USED.set(Box::into_raw(used));
}

fn take() -> Box<Used> {
    match USED.replace(null_mut()) {
        p if p.is_null() => Box::new(Used(Vec::new())),
        // SAFETY: from `Box::into_raw` in this thread; taken out, so it is made a box once.
        p => unsafe { Box::from_raw(p) },
    }
}

/// The calling thread has ended, of which a guard was forgotten, or which did not unwind.
pub fn thread_ended(claimant: u32) {
    for shared in take().0.drain(..).filter_map(|w| w.upgrade()) {
        shared.thread_ended(claimant);
    }
}
