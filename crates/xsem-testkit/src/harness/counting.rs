//! What players do with permits, and with lists of semaphores: through the witness.

use super::player::Player;
use super::stage::Value;
use crate::sys;
use xsem::{AllError, AnyError, Counting, Exclusive, Mode, Options, Permit, Pick};

/// The pool, or the credit, that the scenarios are about.
pub(crate) const POOL: &str = "p";

/// How many permits it has, where a scenario does not say otherwise.
pub(crate) const LIMIT: u32 = 4;

/// The second exclusive semaphore of those about lists.
pub(crate) const SECOND: &str = "t";

/// How many permits are asked for in a list.
pub(crate) const LISTED: u32 = 2;

/// Permits with their number: that may not be what the guard says after a part was given back by a victim.
pub(crate) struct Permits<'a> {
    pub(crate) permit: Permit<'a>,
    slots: Vec<u32>,
}

/// What a player got from a list, each with its place in the list.
pub(crate) struct Got<'a> {
    pub(crate) held: Vec<(usize, xsem::Held<'a>)>,
    /// Those places at which the previous owner died.
    pub(crate) died: Vec<usize>,
}

/// The three semaphores of the scenarios about lists.
pub(crate) struct Three {
    pub(crate) first: Exclusive,
    pub(crate) second: Exclusive,
    pub(crate) pool: Counting,
}

impl Three {
    /// `s`, `t`, and two permits of the pool.
    pub(crate) fn list(&self) -> [Pick<'_>; 3] {
        [(&self.first).into(), (&self.second).into(), Pick::permits(&self.pool, LISTED)]
    }

    /// The other way round.
    pub(crate) fn reversed(&self) -> [Pick<'_>; 3] {
        let [s, t, p] = self.list();
        [p, t, s]
    }
}

impl Player<'_> {
    /// Makes the pool.
    pub(crate) fn make_pool(&self, limit: u32) {
        drop(self.must("create the pool", Counting::create_pool(self.ns(), POOL, limit, Options::new())));
        self.stage.put(Value::Limit, limit.into());
    }

    /// Opens the pool, which must be there.
    pub(crate) fn pool(&self) -> Counting {
        self.must("open the pool", Counting::open(self.ns(), POOL))
    }

    /// Opens the semaphores of the scenarios about lists.
    pub(crate) fn three(&self) -> Three {
        Three { first: self.open(super::player::SEM), second: self.open(SECOND), pool: self.pool() }
    }

    /// Tells the witness of permits that were granted.
    pub(crate) fn enters_permits(&self, n: u32) {
        if let Err(holders) = self.stage.enter_permits(n, sys::own_pid()) {
            let limit = self.stage.get(Value::Limit);
            self.violation(format_args!("{n} permits were granted, and all {limit} are out: {holders:?} have them"));
        }
    }

    /// Tells the witness of permits that are about to be given back.
    pub(crate) fn leaves_permits(&self, n: u32) {
        if !self.stage.leave_permits(n, sys::own_pid()) {
            self.violation(format_args!("{n} permits were held, and somebody else had taken them"));
        }
    }

    /// Takes a grant into the books.
    pub(crate) fn holds<'s>(&self, r: xsem::Result<Permit<'s>>) -> xsem::Result<Permits<'s>> {
        let permit = r?;
        self.enters_permits(permit.count());
        Ok(Permits { permit, slots: Vec::new() })
    }

    /// Acquires permits without an end; they must be granted.
    pub(crate) fn take<'s>(&self, s: &'s Counting, n: u32) -> Permits<'s> {
        self.must("acquire permits", self.holds(s.acquire_many(n)))
    }

    /// Asks which slots the permits are, which nobody else may have.
    pub(crate) fn numbers(&self, held: &mut Permits<'_>) {
        let slots = self.must("slots", held.permit.slots());
        self.enters_slots(&slots, held.permit.count());
        held.slots = slots;
    }

    /// Tells the witness of slots.
    pub(crate) fn enters_slots(&self, slots: &[u32], count: u32) {
        let (n, limit) = (slots.len() as u64, self.stage.get(Value::Limit));
        let ascending = slots.windows(2).all(|w| w[0] < w[1]) && slots.last().is_none_or(|&s| u64::from(s) < limit);
        if n != u64::from(count) || !ascending {
            self.violation(format_args!("{count} permits of {limit} have the slots {slots:?}"));
        }
        for (slot, other) in self.stage.enter_slots(slots, sys::own_pid()) {
            self.violation(format_args!("slot {slot} is also that of {other}"));
        }
    }

    /// Gives permits back, which must work.
    pub(crate) fn give(&self, held: Permits<'_>) {
        self.stage.leave_slots(&held.slots, sys::own_pid());
        self.leaves_permits(held.permit.count());
        self.must("release permits", held.permit.release());
    }

    /// Takes what a list gave into the books. `exclusives`: which place is which exclusive semaphore of the witness.
    fn got(&self, held: &xsem::Held<'_>, exclusive: Option<usize>) {
        match (held, exclusive) {
            (xsem::Held::Permit(p), _) => self.enters_permits(p.count()),
            (_, Some(i)) => self.enters(i),
            (_, None) => {}
        }
    }

    /// Takes an `acquire_all` of the three into the books.
    pub(crate) fn has_all<'s>(&self, r: Result<xsem::All<'s>, AllError<'s>>, reversed: bool) -> xsem::Result<Got<'s>> {
        let (all, died) = match r {
            Ok(all) => (all, Vec::new()),
            Err(AllError::OwnerDied(r)) => {
                let died = r.indices();
                (r.into_all(), died)
            }
            Err(AllError::Failed(e)) => return Err(e),
        };
        // From here on the places are those of the list that is not reversed.
        let place = |i: usize| if reversed { 2 - i } else { i };
        let held: Vec<_> = all.into_vec().into_iter().enumerate().map(|(i, h)| (place(i), h)).collect();
        held.iter().for_each(|(i, h)| self.got(h, Some(*i)));
        Ok(Got { held, died: died.into_iter().map(place).collect() })
    }

    /// Takes a `wait_any` of the three into the books.
    pub(crate) fn has_one<'s>(&self, r: Result<xsem::Taken<'s>, AnyError<'s>>) -> xsem::Result<Got<'s>> {
        let (index, held, died) = match r {
            Ok(taken) => (taken.index, taken.held, vec![]),
            Err(AnyError::OwnerDied { index, recovery }) => (index, xsem::Held::Guard(recovery.into_guard()), vec![index]),
            Err(AnyError::Failed(e)) => return Err(e),
        };
        self.got(&held, Some(index));
        Ok(Got { held: vec![(index, held)], died })
    }

    /// Gives back what a list gave.
    pub(crate) fn give_all(&self, got: Got<'_>) {
        for (i, held) in got.held {
            match held {
                xsem::Held::Guard(g) => {
                    self.leaves(i);
                    self.must("release one of a list", g.release());
                }
                xsem::Held::Permit(p) => {
                    self.leaves_permits(p.count());
                    self.must("release the permits of a list", p.release());
                }
                _ => self.violation("a list gave what is neither a guard nor a permit"),
            }
        }
    }

    /// Everything that there should be can be had, and no more; then it is given back. Deaths are acknowledged.
    pub(crate) fn must_be_whole(&self, s: &Counting) {
        let limit = self.stage.get(Value::Limit) as u32;
        let mut all = self.take(s, limit);
        let now = self.must("capacity", s.capacity());
        if (now.limit, now.total, now.free) != (limit, limit, 0) {
            self.violation(format_args!("with all {limit} permits held, capacity is {now:?}"));
        }
        match s.try_acquire() {
            Ok(_) => self.violation(format_args!("there was one permit more than {limit}")),
            Err(e) if e.code() == xsem::Code::SemTimeout => {}
            Err(e) => self.violation(format_args!("121 was due: {e}")),
        }
        if now.mode == Mode::Pool {
            self.numbers(&mut all);
        }
        self.give(all);
        let now = self.must("capacity", s.capacity());
        if (now.total, now.free) != (limit, limit) {
            self.violation(format_args!("with all {limit} permits given back, capacity is {now:?}"));
        }
    }

    /// Owns an exclusive semaphore of the lists through the books: the `i`-th of the witness. True: 105.
    pub(crate) fn own_once(&self, s: &Exclusive, i: usize) -> bool {
        let (guard, died) = match s.acquire() {
            Ok(g) => (g, false),
            Err(xsem::AcquireError::OwnerDied(r)) => (r.into_guard(), true),
            Err(xsem::AcquireError::Failed(e)) => self.must("acquire", Err::<(xsem::Guard<'_>, bool), _>(e)),
        };
        self.enters(i);
        if died {
            self.must("mark consistent", guard.mark_consistent());
        }
        self.leaves(i);
        self.must("release", guard.release());
        died
    }
}
