//! What a thread of the torture run does with pools.

use super::super::account::STEADY_POOLS;
use super::super::ledger::{Count, pool};
use super::claimant::{Claimant, Next};
use super::{LEAST, LIMITS, Mix, RESIZED, handlers, pool_name};
use xsem::{Code, Counting, Error, Permit};

impl Claimant {
    pub(super) fn permits(&mut self) -> Next {
        let k = self.random.below(LIMITS.len() as u64) as usize;
        match self.random.below(60) {
            0 if k == RESIZED => self.resize(),
            1 if k >= STEADY_POOLS => self.remove_pool(k),
            _ => {}
        }
        let Some(s) = self.pool(k) else { return Next::GoOn };
        let way = self.random.below(8);
        let n = self.amount(k, way <= 3);
        let token = self.token();
        let wait = self.wait(way / 2, token.as_ref());
        self.books.unsure(pool(k));
        let r = self.waiting(|| match way {
            0 if token.is_none() => s.acquire_many(n),
            6 => s.try_acquire_many(n),
            _ => s.acquire_with(n, wait),
        });
        match r {
            Ok(permit) => {
                self.books.holds(pool(k));
                self.has_permits(k, permit)
            }
            Err(e) => {
                self.books.without(pool(k));
                self.refused_permits(k, &e, token.is_some());
                Next::GoOn
            }
        }
    }

    /// How many to ask for. Who waits for more than the limit waits until that is raised: so only who has an end does.
    pub(super) fn amount(&mut self, k: usize, without_end: bool) -> u32 {
        let most = if k == RESIZED && without_end { LEAST } else { LIMITS[k] };
        // Mostly few, now and then all that there is.
        let most = if self.random.one_in(4) { most } else { most.min(2) };
        1 + self.random.below(u64::from(most)) as u32
    }

    pub(super) fn refused_permits(&mut self, k: usize, e: &Error, has_token: bool) {
        match e.code() {
            Code::SemTimeout => self.ledger.count(Count::Timeouts),
            Code::Interrupt if has_token => self.ledger.count(Count::Cancelled),
            Code::InvalidParameter if k == RESIZED => {}
            Code::SemIsSet if self.mix() == Mix::Drains => self.ledger.count(Count::Drained),
            Code::InvalidHandle if k >= STEADY_POOLS => self.pools[k] = None,
            _ => self.ledger.violation(&format!("acquire permits of pool {k}: {e}")),
        }
    }

    /// Holds them for a while, and gives them back, perhaps in two parts.
    pub(super) fn has_permits(&mut self, k: usize, mut permit: Permit<'static>) -> Next {
        let thread = self.thread;
        self.ledger.enter_permits(k, thread, permit.count(), LIMITS[k]);
        self.ledger.count(Count::PermitGrants);
        let mut slots = Vec::new();
        if self.random.one_in(4) {
            match permit.slots() {
                Ok(found) => slots = found,
                Err(e) => self.ledger.violation(&format!("slots of pool {k}: {e}")),
            }
            if slots.len() != permit.count() as usize || !slots.is_sorted_by(|a, b| a < b) {
                self.ledger.violation(&format!("{} permits of pool {k} have the slots {slots:?}", permit.count()));
            }
            self.ledger.enter_slots(k, thread, &slots);
        }
        for _ in 0..self.random.below(300) {
            std::hint::spin_loop();
        }
        if permit.count() > 1 && self.random.one_in(3) {
            let part = 1 + self.random.below(u64::from(permit.count()) - 1) as u32;
            // The highest slots go back first.
            let stay = slots.len().saturating_sub(part as usize);
            self.ledger.leave_slots(k, thread, &slots[stay..]);
            slots.truncate(stay);
            self.ledger.leave_permits(k, thread, part);
            if let Err(e) = permit.release_some(part) {
                self.ledger.violation(&format!("release {part} permits of pool {k}: {e}"));
            }
            if !slots.is_empty() && permit.slots().ok().as_ref() != Some(&slots) {
                self.ledger.violation(&format!("the slots of pool {k} that stay were {slots:?}, and are {:?}", permit.slots()));
            }
        }
        if !permit.is_held() {
            self.ledger.violation(&format!("permits of pool {k} are not held any more, and nobody evicted anybody"));
        }
        self.ledger.leave_slots(k, thread, &slots);
        let ends = self.random.one_in(300);
        if ends {
            // What a thread leaves that is cancelled, or leaks its claim.
            self.books.abandons(pool(k));
        }
        self.ledger.leave_permits(k, thread, permit.count());
        if ends {
            std::mem::forget(permit);
            return Next::End(self.an_end());
        }
        self.books.unsure(pool(k));
        match self.random.below(9) {
            0 | 1 => drop(permit),
            3 => self.panics_with(permit),
            2 => match permit.into_signal_release() {
                Ok(release) if handlers::offer(self.ledger, self.thread, &release) => {}
                Ok(_) => self.ledger.violation(&format!("a prepared release of pool {k} could not be spent")),
                Err((_, e)) => self.ledger.violation(&format!("prepare the release of permits of pool {k}: {e}")),
            },
            _ => {
                if let Err(e) = permit.release() {
                    self.ledger.violation(&format!("release permits of pool {k}: {e}"));
                }
            }
        }
        self.books.without(pool(k));
        Next::GoOn
    }

    pub(super) fn pool(&mut self, k: usize) -> Option<&'static Counting> {
        if self.pools[k].is_none() {
            let opened = match k == RESIZED {
                // Its limit may be another one by now.
                true => Counting::open(self.ns, &pool_name(k)).or_else(|_| {
                    Counting::create_pool(self.ns, &pool_name(k), LIMITS[k], Default::default())
                        .or_else(|_| Counting::open(self.ns, &pool_name(k)))
                }),
                false => Counting::open_or_create_pool(self.ns, &pool_name(k), LIMITS[k]),
            };
            match opened {
                Ok(s) => self.pools[k] = Some(Box::leak(Box::new(s))),
                Err(e) => self.ledger.violation(&format!("open pool {k}: {e}")),
            }
        }
        self.pools[k]
    }

    fn resize(&mut self) {
        let limit = LEAST + self.random.below(u64::from(LIMITS[RESIZED] - LEAST) + 1) as u32;
        let Some(s) = self.pool(RESIZED) else { return };
        match s.resize(limit) {
            Ok(()) => self.ledger.count(Count::Resizes),
            Err(e) => self.ledger.violation(&format!("resize to {limit}: {e}")),
        }
    }

    fn remove_pool(&mut self, k: usize) {
        match self.ns.remove(&pool_name(k)) {
            Ok(()) => self.ledger.count(Count::Removals),
            Err(e) if matches!(e.code(), Code::SemIsSet | Code::SemNotFound) => {}
            Err(e) => self.ledger.violation(&format!("remove pool {k}: {e}")),
        }
    }
}
