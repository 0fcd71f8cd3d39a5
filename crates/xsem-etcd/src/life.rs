//! One process, as far as fork is concerned, and what there is once in each.

use crate::fault::{Fault, Result};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

/// How often this process and its ancestors have forked.
static FORKS: AtomicU64 = AtomicU64::new(0);
/// Whether they are counted. No `Once`: a child could inherit one in the middle.
static COUNTED: AtomicBool = AtomicBool::new(false);

extern "C" fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// A process; a forked child is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    pid: u32,
    forks: u64,
}

impl Life {
    /// That of the calling process.
    pub fn here() -> Life {
        // A pid alone may come back (a child that is first in a pid namespace of its own); the count alone misses a fork
        // that libc was not asked for.
        if !COUNTED.swap(true, Ordering::Relaxed) {
            // SAFETY: `forked` may run at any fork: it only touches an atomic.
            unsafe { libc::pthread_atfork(None, None, Some(forked)) };
        }
        Life { pid: std::process::id(), forks: FORKS.load(Ordering::Relaxed) }
    }

    /// `Forked`, when the calling process is not the one.
    pub fn check(self) -> Result<()> {
        if Life::here() == self { Ok(()) } else { Err(Fault::Forked) }
    }
}

/// Something that a process has once, made when it is first wanted; a forked child makes its own. No lock is held while it is
/// made, since a child could inherit that. Never freed: the parent's threads, which use it, are not there in the child.
pub(crate) struct PerProcess<T: 'static> {
    current: AtomicPtr<(Life, T)>,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess { current: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// What this process has, if it has it.
    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: what was stored there is never freed.
        let found = unsafe { self.current.load(Ordering::Acquire).as_ref() }?;
        (found.0 == Life::here()).then_some(&found.1)
    }

    /// What this process has. Of two that are made at once, one is dropped again.
    pub(crate) fn get_or_make(&self, make: impl Fn() -> Result<T>) -> Result<&'static T> {
        loop {
            let old = self.current.load(Ordering::Acquire);
            if let Some(found) = self.get() {
                return Ok(found);
            }
            let new = Box::into_raw(Box::new((Life::here(), make()?)));
            if self.current.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: it was made here, and nobody else has seen it.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }
}
