//! What only counting semaphores can.

use super::client::{error, lock};
use super::commit::Trouble;
use super::object::EtcdObject;
use super::outbox::{How, end};
use super::record::{Record, Sort};
use super::world::Stop;
use xsem::engine::{Claim, MAX_PERMITS, Object};
use xsem::{Capacity, Code, Error, Kind, Result};

impl EtcdObject {
    /// 1 on another kind than counting.
    pub fn counting(&self) -> Result<()> {
        match self.kind() {
            Kind::Counting => Ok(()),
            kind => Err(Error::new(
                Code::InvalidFunction,
                format!("`{}` is of kind {kind}, which has no permits to count", self.text()),
            )
            .of(self.text())
            .advice("this is an operation of counting semaphores")),
        }
    }

    /// Gives so many permits back.
    pub fn part(&self, claim: &Claim, permits: u32) -> Result<()> {
        self.counting()?;
        if permits == 0 {
            self.session(claim)?;
            return Ok(());
        }
        // Whether the claim goes on afterwards, the store knows.
        let which = self.which();
        let id = self.session(claim)?.1;
        let rest = self.with_claim(claim, |w, (at, _)| {
            let rest = w.get(&which.0).map_or(0, |r| r.claims[at].permits.saturating_sub(permits));
            end(w, &which, id, How::Part(permits))?;
            Ok(rest)
        })?;
        if rest == 0 {
            lock(&self.client.held).remove(&self.local(claim));
        }
        Ok(())
    }

    /// The slots of a claim, ascending.
    pub fn slots_of(&self, claim: &Claim) -> Result<Vec<u32>> {
        self.counting()?;
        self.with_claim(claim, |w, (at, _)| {
            let rec = self.record(w)?;
            if rec.sort != Sort::Pool {
                return Err(Error::new(
                    Code::InvalidFunction,
                    format!("`{}` is credit, whose permits are all alike", self.text()),
                )
                .of(self.text())
                .advice("only the permits of a pool have numbers")
                .into());
            }
            let mut slots = rec.claims[at].slots.clone();
            slots.sort_unstable();
            Ok(slots)
        })
    }

    /// More permits.
    pub fn add(&self, permits: u32) -> Result<()> {
        self.counting()?;
        self.usable()?;
        self.client.steadily("add_permits", [self.text().to_owned()], |w, _, unknown| {
            if unknown {
                return Err(error(Trouble::Vanished, "add_permits").of(self.text()).into());
            }
            let rec = self.record(w)?;
            credit_only(self, rec)?;
            if rec.limit - rec.stock.min(rec.limit) < permits {
                let (stock, limit) = (rec.stock, rec.limit);
                return Err(Error::new(
                    Code::TooManyPosts,
                    format!("{permits} more permits of `{}` than its limit allows", self.text()),
                )
                .of(self.text())
                .advice(format!("there are {stock} of at most {limit}; wait until some are used up"))
                .into());
            }
            rec.stock += permits;
            w.settle()
        })
    }

    /// Ends a claim whose permits do not come back.
    pub fn use_up(&self, claim: &Claim) -> Result<()> {
        self.counting()?;
        let which = self.which();
        let id = self.session(claim)?.1;
        self.with_claim(claim, |w, _| {
            credit_only(self, self.record(w)?)?;
            end(w, &which, id, How::Forget)
        })?;
        lock(&self.client.held).remove(&self.local(claim));
        Ok(())
    }

    /// Another limit.
    pub fn set_limit(&self, limit: u32) -> Result<()> {
        self.counting()?;
        let wrong = |advice: String| {
            Error::new(Code::InvalidParameter, format!("a limit of {limit} permits of `{}`", self.text()))
                .of(self.text())
                .advice(advice)
        };
        if limit == 0 || limit > MAX_PERMITS {
            return Err(wrong(format!("a limit is 1 to {MAX_PERMITS}")));
        }
        self.usable()?;
        self.client.steadily("resize", [self.text().to_owned()], |w, _, _| {
            let rec = self.record(w)?;
            if rec.sort == Sort::Credit && rec.stock > limit {
                return Err(wrong(format!("there are {} permits; use some up first", rec.stock)).into());
            }
            rec.limit = limit;
            w.settle()
        })
    }

    /// Limit and permits now.
    pub fn permits_now(&self) -> Result<Capacity> {
        self.counting()?;
        let names = [self.text().to_owned()].into();
        let mut w = self.client.look(|give_up| self.client.load(&names, give_up))?;
        match self.record(&mut w) {
            Ok(rec) => rec.capacity().ok_or_else(|| self.stale()),
            Err(_) => Err(self.stale()),
        }
    }
}

fn credit_only(object: &EtcdObject, rec: &Record) -> std::result::Result<(), Stop> {
    match rec.sort {
        Sort::Credit => Ok(()),
        _ => Err(Error::new(Code::InvalidFunction, format!("`{}` is a pool, whose permits come back", object.text()))
            .of(object.text())
            .advice("only credit is added to and used up; a pool is resized")
            .into()),
    }
}
