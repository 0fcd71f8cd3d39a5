//! What a process of the torture run does until it is killed.

mod admin;
mod books;
mod branch;
mod claimant;
pub(super) mod handlers;
mod here;
mod lists;
mod observe;
mod permits;
pub(super) mod scratch;
mod sharing;
pub(super) mod signals;
mod tasks;

pub(super) use branch::{EXECED, LEAVES, become_image};
pub(super) use here::run;

use super::account::{Death, Entry, POOLS};
use super::ledger::Ledger;
use std::sync::atomic::Ordering::SeqCst;
use xsem::Deaths;

/// The name of a semaphore.
pub(super) fn name(i: usize) -> String {
    format!("torture/{i}")
}

/// The name of a pool.
pub(super) fn pool_name(k: usize) -> String {
    format!("torture/pool/{k}")
}

/// The most permits that a pool ever has. The middle one is resized, between `LEAST` and this.
pub(super) const LIMITS: [u32; POOLS] = [5, 6, 4];

/// Which pool is resized.
pub(super) const RESIZED: usize = 1;

/// The least permits that the resized pool ever has: so many can be asked for without an end.
pub(super) const LEAST: u32 = 3;

/// What the threads of a round do, in this order; `Mix::ALL[n]` is told through the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mix {
    /// Exclusive semaphores only.
    Exclusive,
    /// Pools only.
    Permits,
    /// Lists of several only.
    Lists,
    /// Events and a credit, alone and in lists.
    Events,
    /// Everything.
    Everything,
    /// Everything, and semaphores are drained and owners evicted.
    Drains,
    /// Processes fork and exec, and threads end, while they own this and that.
    Lives,
    /// Asynchronous requests, polled now and then, dropped, and moved to other threads.
    Tasks,
}

impl Mix {
    /// As the command line has it.
    pub(super) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// That of the round.
    pub(super) fn of(ledger: &Ledger) -> Mix {
        Mix::ALL[ledger.mix.load(SeqCst) as usize % Mix::ALL.len()]
    }

    pub(super) const ALL: [Mix; 8] =
        [Mix::Exclusive, Mix::Permits, Mix::Lists, Mix::Events, Mix::Everything, Mix::Drains, Mix::Lives, Mix::Tasks];

    /// Whether it is about events, too.
    pub(super) fn has_events(self) -> bool {
        matches!(self, Mix::Events | Mix::Tasks) || self.has_everything()
    }

    /// Whether everything meets in it.
    pub(super) fn has_everything(self) -> bool {
        matches!(self, Mix::Everything | Mix::Drains)
    }

    /// Whether processes fork and exec, and threads end, and how often: in one of so many operations.
    pub(super) fn turns(self) -> Option<u64> {
        match self {
            Mix::Lives => Some(40),
            Mix::Everything | Mix::Drains => Some(300),
            _ => None,
        }
    }
}

/// The facts of a 105, for the log.
pub(super) fn entry(name: usize, deaths: Option<&Deaths>) -> Entry {
    let (first, latest, count) = deaths.map_or(((0, 0), (0, 0), 0), |d| {
        let of = |o: &xsem::Obituary| (o.process.pid, o.token);
        (of(&d.first), of(&d.latest), d.count)
    });
    let death = |(pid, token)| Death { pid, token };
    Entry { name, first: death(first), latest: death(latest), count }
}
