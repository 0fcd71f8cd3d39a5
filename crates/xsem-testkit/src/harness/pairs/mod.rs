//! Every pair of operations that meet on one semaphore.
//!
//! A *world* ([`worlds`]) is a semaphore of one kind in one state, with those who own it, wait for it or have died of it, and
//! the operations that two more processes can begin there. Each ordered pair of these is a scenario: the victim A is killed or
//! stopped at its instructions, and B runs its whole operation then; or B stands still in the middle of its own while A runs.
//!
//! Who may see what is not written down for each pair. Every operation of every process of a case is logged with its
//! beginning, its end and its result ([`log`]), and so are deaths; in the end a newcomer takes everything there is. Then the
//! [`judge`] looks for an order of all that in which the reference model says the same. What A was doing when it was killed
//! happened in that order, or not.

mod hand;
mod judge;
mod list;
pub(super) mod log;
mod ops;
mod scene;
mod stand;
#[cfg(test)]
mod tests;
mod worlds;

pub(crate) use scene::all;
