//! Named semaphores between processes, that survive the death of their owners.
//!
//! A semaphore lives outside any process, in a small file in shared memory. Who holds it and who waits is written there;
//! when a holder dies, in whatever way, the kernel says so, the next one gets the semaphore and is told who died.
//!
//! ```
//! # let dir = tempfile::tempdir().unwrap();
//! # let url = format!("shm:{}/ns", dir.path().display());
//! # let url = url.as_str();
//! use xsem::{Exclusive, Namespace};
//!
//! let ns = Namespace::open(url)?; // "shm:" is this user's default
//! let deploy = Exclusive::open_or_create(&ns, "deploy")?;
//! let guard = deploy.acquire()?; // waits; `try_acquire` says at once who holds it
//! println!("fencing token {}", guard.token());
//! drop(guard);
//! # Ok::<(), xsem::Error>(())
//! ```
//!
//! - [`Namespace`]: where names live; list, inspect, remove.
//! - [`Exclusive`]: one owner at a time; [`Guard`], and [`Recovery`] when the previous owner died.
//! - [`Counting`]: permits; [`Permit`], pools with numbered slots, credit for producers and consumers.
//! - [`Event`]: signalled or reset; wakes all who wait, or one at a time.
//! - [`interrupt`]: signal handlers and the like, where nothing may be requested; [`SignalRelease`].
//! - [`Namespace::wait_any`], [`Namespace::acquire_all`]: several at once.
//! - [`Error`] and [`Code`]: what went wrong, with number, facts and the next step; [`retry`]: asking again, as a policy.
//!
//! The engine needs Linux on a 64-bit machine. On kernels before 5.16 waits are timed instead of told.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", target_endian = "little")))]
compile_error!("xsem needs Linux on a little-endian 64-bit machine (x86-64, aarch64)");

// Under the model checker (`--cfg loom`) only the protocol is built: the code that ships, on loom's atomics.
pub(crate) mod seeded;
pub(crate) mod sync;
#[cfg(loom)]
#[path = "shm"]
mod shm {
    #[cfg(test)]
    #[path = "asleep_loom.rs"]
    mod asleep_loom;
    #[allow(dead_code)]
    #[path = "careful.rs"]
    mod careful;
    #[cfg(test)]
    #[path = "careful_loom.rs"]
    mod careful_loom;
    #[allow(dead_code)]
    #[path = "count.rs"]
    mod count;
    #[allow(dead_code)]
    #[path = "disowned.rs"]
    mod disowned;
    #[cfg(test)]
    #[path = "disowned_loom.rs"]
    mod disowned_loom;
    #[allow(dead_code)]
    #[path = "joint.rs"]
    mod joint;
    #[allow(dead_code)]
    #[path = "line.rs"]
    mod line;
    #[allow(dead_code)]
    #[path = "patience.rs"]
    mod patience;
    #[allow(dead_code)]
    #[path = "permits.rs"]
    mod permits;
    #[cfg(test)]
    #[path = "permits_loom.rs"]
    mod permits_loom;
    #[allow(dead_code)]
    #[path = "protocol.rs"]
    mod protocol;
    #[cfg(test)]
    #[path = "protocol_loom.rs"]
    mod protocol_loom;
    #[allow(dead_code)]
    #[path = "signal.rs"]
    mod signal;
    #[cfg(test)]
    #[path = "signal_loom.rs"]
    mod signal_loom;
    #[allow(dead_code)]
    #[path = "word.rs"]
    mod word;
}

#[cfg(not(loom))]
mod cancel;
#[cfg(not(loom))]
mod claim;
#[cfg(not(loom))]
mod code;
#[cfg(not(loom))]
mod counting;
#[cfg(not(loom))]
mod deadline;
#[cfg(not(loom))]
pub mod engine;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod event;
#[cfg(not(loom))]
mod exclusive;
#[cfg(not(loom))]
pub(crate) mod forklock;
#[cfg(not(loom))]
mod future;
#[cfg(not(loom))]
pub(crate) mod graph;
#[cfg(not(loom))]
mod guard;
#[cfg(not(loom))]
mod health;
#[cfg(not(loom))]
mod history;
#[cfg(not(loom))]
pub mod interrupt;
#[cfg(not(loom))]
mod lost;
#[cfg(not(loom))]
mod many;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod memory;
#[cfg(not(loom))]
mod name;
#[cfg(not(loom))]
mod namespace;
#[cfg(not(loom))]
mod options;
#[cfg(not(loom))]
mod pending;
#[cfg(not(loom))]
mod permit;
#[cfg(not(loom))]
mod pin;
#[cfg(not(loom))]
pub mod retry;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod shm;
#[cfg(not(loom))]
mod signal_release;
#[cfg(not(loom))]
mod timens;
#[cfg(not(loom))]
mod wait;

#[cfg(not(loom))]
mod exports {
    pub use crate::cancel::CancelToken;
    pub use crate::claim::{
        Capacity, Cause, Counters, Deaths, Edge, Holder, Kind, Mode, Obituary, Process, ProcessState, Report, Reset, Signal,
        Summary, Waiter, Wants, age, cycle_text, numbers,
    };
    pub use crate::counting::Counting;
    pub use crate::deadline::Deadline;
    pub use crate::error::{Code, Error, Result, Retryable};
    pub use crate::event::Event;
    pub use crate::exclusive::Exclusive;
    pub use crate::future::{
        AcquireAll, AcquireExclusive, AcquirePermits, Claimant, OwnedAcquireError, OwnedAll, OwnedAllError, OwnedAllRecovery,
        OwnedAnyError, OwnedGuard, OwnedHeld, OwnedRecovery, OwnedTaken, PollFd, WaitAny, WaitEvent,
    };
    pub use crate::guard::{AcquireError, Guard, Recovery};
    pub use crate::health::{Checkup, Claimed, Finding, Loss, Remedy, Repaired, Room, Severity};
    pub use crate::history::{Happened, History, Record};
    pub use crate::lost::{ClaimsLost, Lost};
    pub use crate::many::{All, AllError, AllRecovery, AnyError, Held, Pick, Taken};
    pub use crate::name::{MAX_NAME, Name};
    pub use crate::namespace::{Namespace, NamespaceBuilder};
    pub use crate::options::Options;
    pub use crate::permit::{OwnedPermit, Permit};
    pub use crate::signal_release::SignalRelease;
    pub use crate::wait::Wait;
}
#[cfg(not(loom))]
pub use exports::*;
