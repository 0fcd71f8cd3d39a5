//! What an administrator does to the others: closing semaphores, opening them again, ending the claims of those who hang.

use super::super::account::{NAMES, STEADY, STEADY_POOLS};
use super::super::ledger::{Count, exclusive, identity};
use super::super::signals::EVENTS;
use super::claimant::Claimant;
use super::signals::event_name;
use super::{Mix, name, pool_name};
use crate::sys;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use xsem::{Code, Guard, Wait};

/// How long one that hangs waits for somebody to evict it.
const HANGS: Duration = Duration::from_millis(2);

impl Claimant {
    pub(super) fn mix(&self) -> Mix {
        Mix::of(self.ledger)
    }

    /// Drains something for a while, or evicts somebody.
    pub(super) fn administrate(&mut self) {
        match self.random.one_in(2) {
            true => self.drain(),
            false => self.evict(),
        }
    }

    fn drain(&mut self) {
        let name = match self.random.below((STEADY + STEADY_POOLS + EVENTS) as u64) as usize {
            k if k < STEADY => name(k),
            k if k < STEADY + STEADY_POOLS => pool_name(k - STEADY),
            k => event_name(k - STEADY - STEADY_POOLS),
        };
        let patience = Duration::from_micros(self.random.below(2000));
        let allowed = |code: Code| matches!(code, Code::SemTimeout | Code::SemIsSet | Code::Interrupt | Code::SemNotFound);
        match self.ns.drain(&name, Wait::timeout(patience)) {
            Ok(()) => {
                self.ledger.count(Count::Drains);
                for _ in 0..self.random.below(2000) {
                    std::hint::spin_loop();
                }
            }
            // In use for too long; another one drains it, or has opened it; nobody has made it yet.
            Err(e) if allowed(e.code()) => {}
            Err(e) => self.ledger.violation(&format!("drain {name}: {e}")),
        }
        // Also where it failed: that may have been because somebody who was killed had drained it.
        match self.ns.reopen(&name).map_err(|e| e.code()) {
            Ok(()) | Err(Code::SemNotFound) => {}
            Err(other) => self.ledger.violation(&format!("reopen {name}: {other:?}")),
        }
    }

    /// Evicts somebody who hangs, if there is one. Only one does, and under the token of the claim.
    fn evict(&mut self) {
        let i = self.random.below(STEADY as u64) as usize;
        let token = self.ledger.hangs[i].swap(0, SeqCst);
        if token == 0 {
            return;
        }
        match self.ns.evict(&name(i), token).map_err(|e| e.code()) {
            Ok(()) => self.ledger.count(Count::Evictions),
            // It was killed, or gave up waiting for us.
            Err(Code::NotOwner) => {}
            Err(other) => self.ledger.violation(&format!("evict {i}: {other:?}")),
        }
    }

    /// Owns, and hangs until somebody evicts it, or nobody does. The witness is told before, as of an abandon.
    pub(super) fn hang(&mut self, i: usize, guard: Guard<'static>) {
        debug_assert!(i < NAMES);
        let bit = exclusive(i);
        self.books.abandons(bit);
        self.ledger.leave(i, identity(self.thread));
        self.ledger.hangs[i].store(guard.token(), SeqCst);
        let begin = Instant::now();
        while guard.is_held() && begin.elapsed() < HANGS {
            sys::nap(50);
        }
        self.ledger.hangs[i].compare_exchange(guard.token(), 0, SeqCst, SeqCst).ok();
        // From here on whether it died in office is not known, until it is.
        self.books.perhaps_abandoned(bit);
        match guard.release().map_err(|e| e.code()) {
            Ok(()) => {}
            // That was a death.
            Err(Code::NotOwner) => self.books.was_evicted(),
            Err(other) => self.ledger.violation(&format!("release {i} after it hung: {other:?}")),
        }
        self.books.without(bit);
    }
}
