//! The engine: what is stored of semaphores, and the transactions that change it. It knows nothing of gRPC: see
//! [`store::Store`], which the wire implements, and a simulated store in the tests.
//!
//! | file | what |
//! |---|---|
//! | `store` | the seam: transactions, leases, feeds |
//! | `record`, `death` | what is stored of a semaphore; what dead owners leave |
//! | `world` | who gets what: pure functions on records |
//! | `audit` | what must hold of what is stored |
//! | `commit` | transactions that are carried out exactly once, although answers get lost |
//! | `crowd` | who stands back where many change one record |
//! | `session`, `client` | lease and lanes; what a process holds |
//! | `notes` | how a wait is told that it is over |
//! | `outbox` | what is still to be told to the store |
//! | `request`, `refusal` | acquire, `wait_any`, `acquire_all`, waiting; what the refused are told |
//! | `pending`, `steps` | the same as futures; the few threads that take their steps |
//! | `deadlock` | who waits for whom |
//! | `history`, `story` | what has happened, from the past that the store still knows |
//! | `names`, `drain`; `object`, `counting`, `event` | the traits |
//! | `thread`, `view` | threads that end; reports |
//!
//! `docs/etcd.md` has the keys, and why there is one record for a semaphore.

mod audit;
mod client;
mod commit;
mod counting;
mod crowd;
mod deadlock;
mod death;
mod drain;
mod event;
mod history;
mod names;
mod notes;
mod object;
mod outbox;
mod pending;
mod record;
mod refusal;
mod request;
mod session;
mod steps;
pub mod store;
mod story;
mod thread;
mod view;
mod world;

pub use names::EtcdEngine;
pub use record::Who;
pub use session::SESSIONS;
pub use view::short;

use client::Inner;
use std::sync::Arc;
use std::time::Duration;
use store::Store;

/// What keys begin with where the URL names nothing.
pub const DEFAULT_PREFIX: &str = "xsem";

impl EtcdEngine {
    /// A namespace on this store, for a process that is described so. `url` opens it again.
    pub fn on(store: Arc<dyn Store>, who: Who, url: impl Into<String>) -> EtcdEngine {
        EtcdEngine::new(Inner::start(store, who), url.into())
    }

    /// Waits until all that was queued for the store has been sent, for at most so long. Whether it has.
    pub fn flush(&self, patience: Duration) -> bool {
        self.client().is_ok_and(|c| c.outbox.flush(patience))
    }

    /// The session's lease, if there is a session.
    pub fn lease(&self) -> Option<Arc<dyn store::Lease>> {
        self.client().ok()?.current().map(|s| s.lease.clone())
    }
}
