//! What only events can.

use super::client::error;
use super::commit::Trouble;
use super::object::EtcdObject;
use super::record::Record;
use super::world::Stop;
use xsem::engine::Object;
use xsem::{Code, Error, Kind, Result, Signal};

impl EtcdObject {
    fn event(&self) -> Result<()> {
        match self.kind() {
            Kind::Event => self.usable(),
            kind => {
                let what = format!("`{}` is of kind {kind}, which is not signalled or reset", self.text());
                Err(Error::new(Code::InvalidFunction, what).of(self.text()).advice("this is an operation of events"))
            }
        }
    }

    /// 1 on an event, which nobody owns.
    pub fn owns_something(&self) -> Result<()> {
        match self.kind() {
            Kind::Event => {
                let what = format!("`{}` is an event: a wait for it leaves nothing to give back", self.text());
                Err(Error::new(Code::InvalidFunction, what).of(self.text()).advice("signal and reset change an event"))
            }
            _ => Ok(()),
        }
    }

    /// One transaction for the signal and all whom it ends the wait of, so a reset that follows takes nothing from them.
    pub fn signal_it(&self) -> Result<bool> {
        self.turn("signal", |rec, now| {
            rec.told_state();
            if std::mem::replace(&mut rec.stock, 1) != 0 {
                return false;
            }
            rec.acquired += 1;
            rec.used = now;
            true
        })
    }

    /// Resets it.
    pub fn reset_it(&self) -> Result<bool> {
        self.turn("reset", |rec, _| {
            rec.told_state();
            std::mem::take(&mut rec.stock) != 0
        })
    }

    fn turn(&self, what: &'static str, change: impl Fn(&mut Record, u64) -> bool) -> Result<bool> {
        self.event()?;
        self.client.steadily(what, [self.text().to_owned()], |w, _, unknown| {
            // Whether the attempt whose answer was lost has changed it: twice might be once too often.
            if unknown {
                return Err(error(Trouble::Vanished, what).of(self.text()).into());
            }
            let now = w.now;
            let changed = change(self.record(w)?, now);
            w.settle()?;
            Ok::<bool, Stop>(changed)
        })
    }

    /// How it stands.
    pub fn state_now(&self) -> Result<Signal> {
        self.event()?;
        let names = [self.text().to_owned()].into();
        let mut w = self.client.look(|give_up| self.client.load(&names, give_up))?;
        match self.record(&mut w) {
            Ok(rec) => rec.signal().ok_or_else(|| self.stale()),
            Err(Stop::Refuse(e)) => Err(e),
            Err(_) => Err(self.stale()),
        }
    }
}
