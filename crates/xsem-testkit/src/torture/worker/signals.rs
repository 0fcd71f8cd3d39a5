//! What a thread of the torture run does with events and with the credit.

use super::super::ledger::Count;
use super::super::signals::{CREDIT, CREDIT_LIMIT, EVENTS, Intent, MANUAL};
use super::Mix;
use super::claimant::Claimant;
use xsem::{Code, Counting, Error, Event, Namespace, Options};

/// The name of an event.
pub(in super::super) fn event_name(e: usize) -> String {
    format!("torture/event/{e}")
}

/// The name of the credit.
pub(in super::super) const CREDIT_NAME: &str = "torture/credit";

/// Opens an event, or makes it.
pub(in super::super) fn open_event(ns: &Namespace, e: usize) -> xsem::Result<Event> {
    match e {
        MANUAL => Event::open_or_create_manual(ns, &event_name(e)),
        _ => Event::open_or_create_auto(ns, &event_name(e)),
    }
}

/// Opens the credit, or makes it, with nothing in it.
pub(in super::super) fn open_credit(ns: &Namespace) -> xsem::Result<Counting> {
    loop {
        match Counting::create_credit(ns, CREDIT_NAME, CREDIT_LIMIT, 0, Options::new()) {
            Err(e) if e.code() == Code::AlreadyExists => {}
            made => return made,
        }
        match Counting::open(ns, CREDIT_NAME) {
            Err(e) if e.code() == Code::SemNotFound => {}
            opened => return opened,
        }
    }
}

impl Claimant {
    pub(super) fn event_or_credit(&mut self) {
        match self.random.below(EVENTS as u64 + 1) as usize {
            CREDIT => self.credit(),
            e => self.event(e),
        }
    }

    /// The handle of an event.
    pub(super) fn event_handle(&mut self, e: usize) -> Option<&'static Event> {
        if self.events[e].is_none() {
            match open_event(self.ns, e) {
                Ok(event) => self.events[e] = Some(Box::leak(Box::new(event))),
                Err(why) => self.ledger.violation(&format!("open event {e}: {why}")),
            }
        }
        self.events[e]
    }

    fn event(&mut self, e: usize) {
        let Some(event) = self.event_handle(e) else { return };
        // More signals than waits, since lists wait for them, too; few resets, and few waits without an end.
        match self.random.below(16) {
            0..=7 => {
                self.books.say(Intent::up(e, 1));
                let r = event.signal();
                self.books.did(e, r.as_ref().is_ok_and(|changed| *changed).into());
                self.changed(e, r);
            }
            8 => {
                self.books.say(Intent::down(e, 1));
                let r = event.reset();
                self.books.did(e, -i64::from(r.as_ref().is_ok_and(|changed| *changed)));
                self.changed(e, r);
            }
            n => {
                let token = self.token();
                let way = match n {
                    9 | 10 => 0,
                    11..=13 => 2,
                    _ => 3,
                };
                let wait = self.wait(way, token.as_ref());
                self.books.say(Intent::down(e, 1));
                let r = self.waiting(|| event.wait_with(wait));
                self.books.did(e, -i64::from(r.is_ok() && e != MANUAL));
                match r {
                    Ok(()) => self.ledger.count(Count::EventWaits),
                    Err(why) => self.refused_signal("wait for event", e, &why, token.is_some()),
                }
            }
        }
    }

    fn changed(&self, e: usize, r: xsem::Result<bool>) {
        if let Err(why) = r {
            self.ledger.violation(&format!("signal or reset event {e}: {why}"));
        }
    }

    fn refused_signal(&self, what: &str, k: usize, e: &Error, has_token: bool) {
        match e.code() {
            Code::SemTimeout => self.ledger.count(Count::Timeouts),
            Code::Interrupt if has_token => self.ledger.count(Count::Cancelled),
            Code::SemIsSet if self.mix() == Mix::Drains => self.ledger.count(Count::Drained),
            _ => self.ledger.violation(&format!("{what} {k}: {e}")),
        }
    }

    fn credit(&mut self) {
        if self.credit.is_none() {
            match open_credit(self.ns) {
                Ok(s) => self.credit = Some(Box::leak(Box::new(s))),
                Err(e) => return self.ledger.violation(&format!("open the credit: {e}")),
            }
        }
        let Some(s) = self.credit else { return };
        let n = 1 + self.random.below(2) as u32;
        let way = match self.random.below(8) {
            0..=3 => return self.add(s, n),
            4 => 0,
            5 => 2,
            _ => 3,
        };
        let token = self.token();
        let wait = self.wait(way, token.as_ref());
        match self.waiting(|| s.acquire_with(n, wait)) {
            Err(e) => self.refused_signal("acquire from the credit", 0, &e, token.is_some()),
            Ok(permit) => {
                self.ledger.enter_credit(self.thread, n);
                for _ in 0..self.random.below(200) {
                    std::hint::spin_loop();
                }
                self.ledger.leave_credit(self.thread, n);
                let r = if self.random.one_in(4) {
                    permit.release()
                } else {
                    self.books.say(Intent::down(CREDIT, n));
                    let r = permit.forget();
                    self.books.did(CREDIT, if r.is_ok() { -i64::from(n) } else { 0 });
                    r
                };
                if let Err(e) = r {
                    self.ledger.violation(&format!("give back or use up {n} of the credit: {e}"));
                }
            }
        }
    }

    fn add(&self, s: &Counting, n: u32) {
        self.books.say(Intent::up(CREDIT, n));
        let r = s.add_permits(n);
        self.books.did(CREDIT, if r.is_ok() { n.into() } else { 0 });
        match r.map_err(|e| e.code()) {
            // There are enough.
            Ok(()) | Err(Code::TooManyPosts) => {}
            Err(other) => self.ledger.violation(&format!("add permits to the credit: {other:?}")),
        }
    }
}
