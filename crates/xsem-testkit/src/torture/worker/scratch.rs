//! Names that come and go: made, removed and collected by anybody; ephemeral ones; and namespaces that are new in each round.

use super::super::image;
use super::super::ledger::{Count, Did, identity};
use super::super::signals::{FIRST_SCRATCH, Intent, SCRATCH};
use super::claimant::Claimant;
use crate::sys;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;
use xsem::{AcquireError, Code, Counting, Error, Event, Exclusive, Namespace, Options, Wait};

/// A name that anybody makes and removes.
pub(in super::super) fn scratch_name(k: usize) -> String {
    format!("torture/scratch/{k}")
}

/// The name that is gone when nobody has it open.
pub(in super::super) const FLEETING: &str = "torture/fleeting";

/// The place of the round's new namespace.
pub(in super::super) fn fresh_url(url: &str, round: u64) -> String {
    format!("{url}-{round}")
}

/// The most members of such a namespace: few, so that their slots are used again and again, and run out.
const MEMBERS: u32 = 3;

/// Whose semaphores have a witness and no account.
const FLEETING_ONE: usize = 0;
const FRESH_ONE: usize = 1;

impl Claimant {
    /// Makes, uses, removes or collects names, with an account of each.
    pub(super) fn scratch(&mut self) {
        let k = self.random.below(SCRATCH as u64) as usize;
        let (name, account) = (scratch_name(k), FIRST_SCRATCH + k);
        let way = self.random.below(8);
        self.books.note(Did::Names, way as u32);
        match way {
            0..=2 => {
                self.books.say(Intent::up(account, 1));
                let made = match way {
                    0 => Exclusive::create(self.ns, &name).map(drop),
                    1 => Counting::create_pool(self.ns, &name, 2, Options::new()).map(drop),
                    _ => Event::create_auto(self.ns, &name, Options::new()).map(drop),
                };
                self.books.did(account, made.is_ok().into());
                self.names("create", made, &[Code::AlreadyExists], Count::Creations);
            }
            3 | 4 => {
                self.books.say(Intent::down(account, 1));
                let gone = self.ns.remove(&name);
                self.books.did(account, -i64::from(gone.is_ok()));
                self.names("remove", gone, &[Code::SemNotFound, Code::SemIsSet], Count::Removals);
            }
            5 => self.collect(),
            _ => match Exclusive::open(self.ns, &name) {
                Ok(s) => {
                    let r = s.acquire_with(Wait::timeout(Duration::from_micros(self.random.below(500)))).map(drop);
                    let r = r.map_err(Error::from);
                    let may = [Code::InvalidHandle, Code::SemTimeout, Code::SemOwnerDied, Code::ExclSemAlreadyOwned];
                    self.names("acquire", r, &may, Count::Grants);
                }
                // It does not exist, or is of another kind.
                Err(e) => self.names("open", Err(e), &[Code::SemNotFound, Code::InvalidHandle], Count::Grants),
            },
        }
    }

    /// Removes what of these names is not in use.
    fn collect(&mut self) {
        // More than once, where somebody makes it anew meanwhile.
        let both = (0..SCRATCH).fold(Intent::default(), |all, k| all.and(Intent::down(FIRST_SCRATCH + k, 3)));
        self.books.say(both);
        match self.ns.gc(Duration::ZERO, |s| !s.name.starts_with("torture/scratch/")) {
            Ok(names) => {
                for k in 0..SCRATCH {
                    let removed = names.iter().filter(|n| **n == scratch_name(k)).count();
                    self.ledger.signals.did(FIRST_SCRATCH + k, -(removed as i64));
                    if removed > 0 {
                        self.ledger.count(Count::Collected);
                    }
                }
                let strange = |n: &&String| *n != FLEETING && !n.starts_with("torture/scratch/");
                if let Some(name) = names.iter().find(strange) {
                    self.ledger.violation(&format!("gc removed {name}, which it was told to keep"));
                }
            }
            Err(e) => self.ledger.violation(&format!("gc: {e}")),
        }
        self.books.say(Intent::default());
    }

    fn names(&self, what: &str, r: xsem::Result<()>, may: &[Code], count: Count) {
        match r {
            Ok(()) => self.ledger.count(count),
            Err(e) if may.contains(&e.code()) => {}
            Err(e) => self.ledger.violation(&format!("{what} a name that comes and goes: {e}")),
        }
    }

    /// Uses a name that is gone with its last user.
    pub(super) fn fleeting(&mut self) {
        self.books.note(Did::Names, 0x100);
        let s = match self.random.one_in(2) {
            true => Exclusive::open(self.ns, FLEETING),
            false => Exclusive::create_with(self.ns, FLEETING, Options::new().ephemeral()),
        };
        match s {
            Ok(s) => {
                self.try_aside(&s, FLEETING_ONE);
                match s.close() {
                    // Another thread of this process uses it.
                    Ok(()) => {}
                    Err((_, e)) if e.code() == Code::SemIsSet => {}
                    Err((_, e)) => self.ledger.violation(&format!("close the ephemeral name: {e}")),
                }
            }
            Err(e) => self.names("the ephemeral one of", Err(e), &[Code::SemNotFound, Code::AlreadyExists], Count::Grants),
        }
    }

    /// Opens the round's new namespace, which another one may be making at this instant.
    pub(super) fn fresh(&mut self) {
        /// How many this process has opened: each has a thread, for as long as the process lives.
        static OPENED: AtomicU32 = AtomicU32::new(0);
        if self.is_quiet() || OPENED.fetch_add(1, SeqCst) > 20 {
            return;
        }
        let round = self.ledger.round.load(SeqCst);
        self.books.note(Did::Names, 0x200);
        let ns = match Namespace::builder().max_members(MEMBERS).open(&fresh_url(self.here.url, round)) {
            Ok(ns) => ns,
            Err(e) => return self.ledger.violation(&format!("open a new namespace: {e}")),
        };
        match Exclusive::create(&ns, "one") {
            Ok(_) if self.ledger.fresh.swap(round, SeqCst) == round => {
                self.ledger.violation("two have created the same name in a new namespace");
            }
            Ok(_) => self.ledger.count(Count::Fresh),
            Err(e) if e.code() == Code::AlreadyExists => {}
            Err(e) if e.code() == Code::SemUserLimit => return self.ledger.count(Count::MemberLimit),
            Err(e) => self.ledger.violation(&format!("create in a new namespace: {e}")),
        }
        match Exclusive::open(&ns, "one") {
            Ok(s) => self.try_aside(&s, FRESH_ONE),
            Err(e) => self.ledger.violation(&format!("open in a new namespace: {e}")),
        }
    }

    /// Owns what has no account for a moment, with a witness.
    fn try_aside(&mut self, s: &Exclusive, which: usize) {
        let r = s.acquire_with(Wait::timeout(Duration::from_micros(self.random.below(1000))));
        let guard = match r {
            Ok(guard) => guard,
            Err(AcquireError::OwnerDied(r)) => match r.mark_consistent() {
                Ok(guard) => guard,
                Err(e) => return self.ledger.violation(&format!("acknowledge aside {which}: {e}")),
            },
            Err(AcquireError::Failed(e)) => {
                return match e.code() {
                    Code::SemUserLimit if which == FRESH_ONE => self.ledger.count(Count::MemberLimit),
                    Code::SemTimeout | Code::ExclSemAlreadyOwned => {}
                    Code::InvalidHandle if which == FLEETING_ONE => {}
                    _ => self.ledger.violation(&format!("acquire aside {which}: {e}")),
                };
            }
        };
        let me = identity(self.thread);
        let before = self.ledger.aside[which].swap(me, SeqCst);
        let other = (before >> 8) as sys::Pid;
        if before != 0 && !self.ledger.is_over(other) {
            self.ledger.violation(&format!("aside {which} has two owners: {} and {}", sys::own_pid(), image::pid_of(other)));
        }
        for _ in 0..self.random.below(200) {
            std::hint::spin_loop();
        }
        self.ledger.aside[which].compare_exchange(me, 0, SeqCst, SeqCst).ok();
        if let Err(e) = guard.release() {
            self.ledger.violation(&format!("release aside {which}: {e}"));
        }
    }
}
