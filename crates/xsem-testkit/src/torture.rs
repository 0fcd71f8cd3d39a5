//! Random operations of many processes, randomly killed and stopped, with a witness that is independent of the engine.
//!
//! A *supervisor* (this process, which never touches xsem itself) forks workers; each has a few claimant threads and tasks that
//! acquire, try, time out, nest, release, abandon, end while they own, fork, exec, remove and create. Between them lies a *ledger*
//! in shared memory: who believes to own what, in which phase of which operation each claimant is, which deaths the
//! semaphores reported. A round is some time of chaos, then quiet: everybody must come to rest by itself (a lost
//! wake-up shows here), an audit, and the accounts of deaths.

mod account;
mod image;
mod ledger;
mod options;
mod os;
mod round;
mod seats;
mod seeded;
mod signals;
mod worker;

pub use options::{Options, USAGE};
pub use round::{Verdict, run};

/// Whether the program's arguments say that a process of a run became this program; then it goes on here for ever.
pub fn go_on(arguments: &[String]) -> bool {
    let is_image = arguments.first().is_some_and(|a| a == image::ARGUMENT);
    if is_image {
        seeded::inherit();
        worker::become_image(&arguments[1..]);
    }
    is_image
}
