//! The accounts of events, of the credit, and of names: what changed them, and what took that back.
//!
//! Who signals an event, adds permits, consumes a signal or uses permits up says what it is about to do, does it, counts it,
//! and withdraws what it said. So at rest an account differs from the truth by no more than what was said by those who were
//! killed, and where nobody was, not at all. Signals that are consumed twice, lost, or come back from the dead are missed.
//! All of it is done in signal handlers, too.

use super::ledger::{PLACES as CLAIMANTS, PROCESSES};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

/// Events of a torture run: two that reset themselves, and one that does not.
pub(super) const EVENTS: usize = 3;
/// The one that stays signalled until it is reset.
pub(super) const MANUAL: usize = EVENTS - 1;
/// The most permits of the credit.
pub(super) const CREDIT_LIMIT: u32 = 6;
/// Names that are made and removed by anybody at any time.
pub(super) const SCRATCH: usize = 2;
/// The accounts: the events, the credit, and whether those names exist.
const ACCOUNTS: usize = EVENTS + 1 + SCRATCH;
/// That of the credit.
pub(super) const CREDIT: usize = EVENTS;
/// That of the first of those names.
pub(super) const FIRST_SCRATCH: usize = CREDIT + 1;
/// Who may do something at the same time in a process: its claimants and the main thread, and handlers that interrupt them.
const PLACES: usize = 2 * (CLAIMANTS + 1);
/// Bits of an intent for each account: half of them for what comes, half for what goes.
const BITS: usize = 8;
const _: () = assert!(ACCOUNTS * BITS <= 64);

/// One of those who do something: process and thread, in a handler or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    slot: usize,
    at: usize,
}

impl Place {
    /// The normal code of a thread.
    pub(super) fn of(slot: usize, thread: usize) -> Place {
        Place { slot, at: thread }
    }

    /// A handler that interrupts it.
    pub(super) fn handler(self) -> Place {
        Place { slot: self.slot, at: self.at + CLAIMANTS + 1 }
    }
}

/// What somebody is about to do: so many up and down in each account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Intent(u64);

impl Intent {
    /// Signals an event, or adds permits to the credit.
    pub(super) fn up(account: usize, n: u32) -> Intent {
        Intent(u64::from(n) << (account * BITS))
    }

    /// Consumes a signal, resets the event, or uses permits up.
    pub(super) fn down(account: usize, n: u32) -> Intent {
        Intent(u64::from(n) << (account * BITS + BITS / 2))
    }

    /// Both.
    pub(super) fn and(self, other: Intent) -> Intent {
        Intent(self.0 | other.0)
    }

    fn of(self, account: usize) -> (i64, i64) {
        let bits = self.0 >> (account * BITS);
        let one = (1 << (BITS / 2)) - 1;
        ((bits & one) as i64, (bits >> (BITS / 2) & one) as i64)
    }
}

/// What is known of one event, or of the credit, since the last rest.
#[derive(Debug)]
struct Account {
    up: AtomicI64,
    down: AtomicI64,
    /// Said by those who were killed.
    perhaps_up: AtomicI64,
    perhaps_down: AtomicI64,
}

/// All accounts.
#[derive(Debug)]
pub(super) struct Signals {
    intents: [[AtomicU64; PLACES]; PROCESSES],
    accounts: [Account; ACCOUNTS],
    /// Over the whole run: changes up and down, and handlers that ran.
    pub(super) ups: AtomicU64,
    pub(super) downs: AtomicU64,
    pub(super) handled: AtomicU64,
}

impl Signals {
    /// `who` is about to do this.
    pub(super) fn say(&self, who: Place, intent: Intent) {
        self.intents[who.slot][who.at].store(intent.0, SeqCst);
    }

    /// What it did of that: so many up (or, below zero, down) in an account. May be called several times.
    pub(super) fn did(&self, account: usize, change: i64) {
        let a = &self.accounts[account];
        match change {
            0 => {}
            1.. => {
                a.up.fetch_add(change, SeqCst);
                self.ups.fetch_add(change as u64, SeqCst);
            }
            _ => {
                a.down.fetch_add(-change, SeqCst);
                self.downs.fetch_add(change.unsigned_abs(), SeqCst);
            }
        }
    }

    /// It has counted everything that it did.
    pub(super) fn done(&self, who: Place) {
        self.say(who, Intent::default());
    }

    /// Whether a handler of that process is running.
    pub(super) fn is_busy(&self, slot: usize) -> bool {
        self.intents[slot][CLAIMANTS + 1..].iter().any(|i| i.load(SeqCst) != 0)
    }

    /// A process was killed: what it had said it may have done, and may have counted.
    pub(super) fn killed(&self, slot: usize) {
        for place in &self.intents[slot] {
            let intent = Intent(place.swap(0, SeqCst));
            for (k, account) in self.accounts.iter().enumerate() {
                let (up, down) = intent.of(k);
                account.perhaps_up.fetch_add(up, SeqCst);
                account.perhaps_down.fetch_add(down, SeqCst);
            }
        }
    }

    /// At rest, an account says that there is `now` (signals, or permits): why that cannot be. It begins anew.
    pub(super) fn settle(&self, account: usize, now: i64) -> Option<String> {
        let a = &self.accounts[account];
        let [up, down, perhaps_up, perhaps_down] = [&a.up, &a.down, &a.perhaps_up, &a.perhaps_down].map(|n| n.swap(0, SeqCst));
        (!(up - down - perhaps_down..=up - down + perhaps_up).contains(&now)).then(|| {
            format!(
                "there are {now}; {up} came and {down} went, and those who were killed may have made {perhaps_up} and taken {perhaps_down}"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::ledger::{Ledger, THREADS};
    use super::*;
    use crate::sys::SharedBox;

    #[test]
    fn an_account_is_exact_unless_somebody_was_killed() {
        let ledger = SharedBox::<Ledger>::new().unwrap();
        let (s, me) = (&ledger.signals, Place::of(3, 1));
        s.say(me, Intent::up(0, 1));
        s.did(0, 1);
        s.done(me);
        s.did(0, -1);
        assert!(s.settle(0, 1).unwrap().contains("1 came and 1 went"));
        s.did(0, 1);
        assert_eq!(s.settle(0, 1), None);
        assert!(s.settle(0, 1).is_some(), "it begins anew");
    }

    #[test]
    fn a_kill_leaves_both_open_and_a_handler_has_a_place_of_its_own() {
        let ledger = SharedBox::<Ledger>::new().unwrap();
        let (s, me) = (&ledger.signals, Place::of(0, THREADS));
        s.say(me, Intent::down(1, 1).and(Intent::down(0, 1)));
        assert!(!s.is_busy(0));
        s.say(me.handler(), Intent::up(CREDIT, 2));
        assert!(s.is_busy(0));
        s.killed(0);
        assert!(!s.is_busy(0));
        s.did(1, 1);
        assert_eq!([s.settle(0, -1), s.settle(1, 0), s.settle(CREDIT, 2)], [const { None }; 3]);
        s.say(me, Intent::up(CREDIT, 2));
        s.killed(0);
        assert!(s.settle(CREDIT, 3).is_some());
    }
}
