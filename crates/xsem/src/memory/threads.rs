//! What threads leave when they end.

use super::shared::Shared;
use std::cell::RefCell;
use std::sync::{Arc, Weak};

thread_local! {
    static USED: RefCell<LastWords> = const { RefCell::new(LastWords(Vec::new())) };
}

/// The namespaces in which the thread has asked for something.
struct LastWords(Vec<Weak<Shared>>);

/// The thread asks for something in this namespace: its claims there end with it.
pub(super) fn uses(shared: &Arc<Shared>) {
    // A thread that is ending has had its last word; what it claims from here on stays until somebody evicts it.
    let _ = USED.try_with(|used| {
        let Ok(mut used) = used.try_borrow_mut() else { return };
        if !used.0.iter().any(|w| std::ptr::eq(w.as_ptr(), Arc::as_ptr(shared))) {
            used.0.retain(|w| w.strong_count() > 0);
            used.0.push(Arc::downgrade(shared));
        }
    });
}

impl Drop for LastWords {
    /// A guard was forgotten, or the thread was ended without unwinding.
    fn drop(&mut self) {
        for shared in self.0.drain(..).filter_map(|w| w.upgrade()) {
            shared.thread_ended(crate::shm::claimant());
        }
    }
}
