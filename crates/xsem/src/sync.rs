//! The one seam between the real world and the model checker: atomics from `std`, or from loom. The futex is behind
//! `World` in `shm/protocol.rs`.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
