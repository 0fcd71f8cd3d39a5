//! A claim that several processes share, as nested `xsem run`s do, and that covers a command, as `--detach-on-death` leaves one
//! behind: it lives on when its wrapper is killed, and nobody may take over before it has ended.

use super::super::image;
use super::super::ledger::{Count, Did};
use super::super::seats::SHARED;
use super::claimant::Claimant;
use crate::sys;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;
use xsem::{AcquireError, Code, Exclusive, Guard, Wait};

/// The image of which a thread is at it: a process shares one claim at a time, and covers one command.
static BUSY: AtomicU32 = AtomicU32::new(0);

impl Claimant {
    /// Owns it, or shares what somebody else owns.
    pub(super) fn shared(&mut self) {
        let (me, before) = (image::own() as u32, BUSY.load(SeqCst));
        // In a forked child it is its parent's.
        if before == me || BUSY.compare_exchange(before, me, SeqCst, SeqCst).is_err() {
            return;
        }
        self.books.note(Did::Names, 0x300);
        match Exclusive::open_or_create(self.ns, SHARED) {
            Ok(s) if self.random.one_in(2) => self.joins(&s),
            Ok(s) => self.owns_for_all(&s),
            Err(e) => self.ledger.violation(&format!("open what is shared: {e}")),
        }
        BUSY.store(0, SeqCst);
    }

    fn owns_for_all(&mut self, s: &Exclusive) {
        let wait = Wait::timeout(Duration::from_micros(self.random.below(1500)));
        let guard = match s.acquire_with(wait) {
            Ok(guard) => guard,
            Err(AcquireError::OwnerDied(r)) if self.random.one_in(2) => r.into_guard(),
            Err(AcquireError::OwnerDied(r)) => match r.mark_consistent() {
                Ok(guard) => guard,
                Err(e) => return self.ledger.violation(&format!("acknowledge what is shared: {e}")),
            },
            Err(AcquireError::Failed(e)) if e.code() == Code::SemTimeout => return,
            Err(AcquireError::Failed(e)) => return self.ledger.violation(&format!("acquire what is shared: {e}")),
        };
        self.ledger.shared_token.store(guard.token(), SeqCst);
        self.ledger.count(Count::Grants);
        self.has_a_part(guard, true);
    }

    fn joins(&mut self, s: &Exclusive) {
        let token = self.ledger.shared_token.load(SeqCst);
        match s.join(token) {
            Ok(Some(guard)) if guard.token() == token => {
                self.ledger.count(Count::Shared);
                self.has_a_part(guard, false);
            }
            Ok(Some(guard)) => self.ledger.violation(&format!("shares {} instead of {token}", guard.token())),
            // It is over.
            Ok(None) => {}
            Err(e) => self.ledger.violation(&format!("share a claim: {e}")),
        }
    }

    /// Everybody who has a part has the same claim, and so has a command that it covers.
    fn has_a_part(&mut self, guard: Guard<'_>, owner: bool) {
        let seat = &self.ledger.seats[self.here.slot];
        let others = seat.take(&self.ledger.seats, guard.token());
        if let Some((pid, token)) = others.first() {
            let (me, mine) = (sys::own_pid(), guard.token());
            self.ledger.violation(&format!("{me} has a part in the claim {mine}, and {pid} has one in {token}"));
        }
        if owner && self.random.one_in(8) && !self.is_quiet() {
            self.covers();
        }
        for _ in 0..self.random.below(2000) {
            std::hint::spin_loop();
        }
        if !guard.is_held() {
            self.ledger.violation("a shared claim has ended while somebody has a part in it");
        }
        seat.leave();
        match self.random.below(12) {
            0..=2 => drop(guard),
            3 => self.ends("abandon", guard.abandon()),
            _ => self.ends("release", guard.release()),
        }
    }

    fn ends(&self, what: &str, r: xsem::Result<()>) {
        if let Err(e) = r {
            self.ledger.violation(&format!("{what} what is shared: {e}"));
        }
    }

    /// A command of some milliseconds, which outlives its wrapper.
    fn covers(&mut self) {
        let time = format!("0.00{}", 1 + self.random.below(9));
        let seat = &self.ledger.seats[self.here.slot];
        let quiet = |c: &mut Command| c.arg(&time).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        // The machine may have no more processes, or descriptors, at this moment.
        let Ok(mut child) = quiet(&mut Command::new("sleep")) else { return };
        seat.starts(child.id());
        match self.ns.cover(Some(child.id())) {
            Ok(()) => seat.covers(),
            // It ended, and nobody has waited for it: so it can still be looked at.
            Err(e) => self.ledger.violation(&format!("cover a command: {e}")),
        }
        self.ledger.count(Count::Covered);
        if let Err(e) = child.wait() {
            self.ledger.violation(&format!("wait for a command: {e}"));
        }
        seat.starts(0);
        if let Err(e) = self.ns.cover(None) {
            self.ledger.violation(&format!("cover nothing any more: {e}"));
        }
    }
}
