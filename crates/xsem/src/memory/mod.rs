//! The engine inside one process: `memory:` is a fresh namespace that only this handle leads to, `memory:NAME` is shared
//! by all who open it in this process, and lives as long as the process does.
//!
//! It is for tests, for programs that want the same semaphores between their threads, and as the reference of what an
//! engine does. It keeps the whole contract but what only several processes can show: its one session is this process.
//!
//! | file | what |
//! |---|---|
//! | `state` | the state machine: what it keeps |
//! | `names` | sessions, names, handles |
//! | `request` | asking for claims, and giving up |
//! | `order` | who gets what next |
//! | `claims` | granting, giving back, credit, slots, shared claims |
//! | `deaths` | claims that end otherwise: threads, sessions, eviction |
//! | `drain` | closing a semaphore to new requests |
//! | `cycles` | its deadlocks, for `graph` |
//! | `report` | what people ask about |
//! | `refusals` | the errors, in one place |
//! | `shared` | the state machine under one lock, and threads that sleep for it |
//! | `engine` | the engine and its objects on top of that |
//! | `pending` | asynchronous requests: wakers instead of threads that sleep |
//! | `threads` | what threads leave when they end |
//! | `process` | what this process is called |
//!
//! The state machine has no threads, no clock and no I/O: time is passed in, and it may have any number of sessions. So it
//! also serves as the store of a simulated network.
//!
//! # Order
//! The oldest first; `order` has the rule. Two things follow from it. Who waits for several at one instant (`acquire_all`)
//! can be overtaken without a bound by those who use its parts at different times. And owned permits, which are the process's
//! (claimant 0) and nobody's in particular, can wait for ever if they are taken one after the other: the second one waits
//! behind an older large request, which waits for the first one to come back, and no deadlock is found. Take them together
//! (`acquire_owned(n, ..)`), or wait with a timeout.
//!
//! # Asynchronous requests
//! A release hands over: the next wait has its claim from that instant on. So a future that was granted and is not polled any
//! more, and not dropped either, is an owner who does not release; others wait for it. (In shared memory whoever is woken has
//! to take, and is passed over if it does not.)
//!
//! # After a fork
//! A forked child is another process, so its namespaces begin anew: `memory:NAME` is empty there, handles from before are
//! stale (6) and guards own nothing. The parent's are as they were. The child never waits for a lock that another thread
//! of its parent held.

mod claims;
mod cycles;
mod deaths;
mod drain;
mod engine;
mod names;
mod order;
mod pending;
mod process;
mod refusals;
mod report;
mod request;
mod shared;
mod slots;
mod state;
#[cfg(test)]
mod tests;
mod threads;

pub use engine::MemoryEngine;
pub use request::{Answer, Ask, GiveUp, Patience};
pub use state::{Now, State, Who};
pub(crate) use threads::thread_ended;
