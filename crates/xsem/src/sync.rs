//! The one seam between the real world and the model checker: atomics from `std`, or from loom. The futex is behind
//! `World` in `shm/protocol.rs`.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

#[cfg(not(any(loom, xsem_sanitized)))]
pub(crate) use std::sync::atomic::fence;

/// Under the thread sanitizer, which does not understand fences: it takes what they order for races. So every fence orders
/// itself with every other one by a change of one word, which it does understand. (`cargo xtask sanitize`.)
#[cfg(xsem_sanitized)]
pub(crate) fn fence(order: Ordering) {
    static ALL: AtomicU32 = AtomicU32::new(0);
    std::sync::atomic::fence(order);
    ALL.fetch_add(1, Ordering::AcqRel);
}

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};
