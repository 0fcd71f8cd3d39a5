//! Random operations of many processes, randomly killed and stopped, with a witness that is independent of the engine.
//!
//! A *supervisor* (this process, which never touches xsem itself) forks workers; each has a few claimant threads that
//! acquire, try, time out, nest, release, abandon, end while they own, remove and create. Between them lies a *ledger*
//! in shared memory: who believes to own what, in which phase of which operation each thread is, which deaths the
//! semaphores reported. A round is some time of chaos, then quiet: everybody must come to rest by itself (a lost
//! wake-up shows here), an audit, and the accounts of deaths.

mod account;
mod ledger;
mod options;
mod round;
mod signals;
mod worker;

pub use options::{Options, USAGE};
pub use round::run;
