//! What players do with events, and the account of signals.
//!
//! Every signal and every reset that changed the event, and every wait that consumed it, is counted by the one who did it.
//! So at rest the signals that changed it, without what took them back, are 1 where it is signalled and 0 where it is not:
//! a signal that was lost, doubled, or consumed twice is missed. What a victim did is not counted by itself, since a kill
//! may fall between the two; a scenario says what it can have done.

use super::case::Case;
use super::player::Player;
use super::stage::{Flag, Stage, Value};
use super::step::Reached;
use crate::sys::{self, Pid};
use std::sync::atomic::Ordering::SeqCst;
use xsem::{Code, Event, Options, Reset};

/// The event that the scenarios are about.
pub(crate) const EVENT: &str = "e";

impl Stage {
    /// Changes the account of the event's signals.
    pub(crate) fn signals(&self, change: i64) {
        self.account.fetch_add(change, SeqCst);
    }
}

impl Player<'_> {
    /// Makes the event.
    pub(crate) fn make_event(&self, reset: Reset, signalled: bool) {
        let options = if signalled { Options::new().signalled() } else { Options::new() };
        let made = match reset {
            Reset::Manual => Event::create_manual(self.ns(), EVENT, options),
            _ => Event::create_auto(self.ns(), EVENT, options),
        };
        drop(self.must("create the event", made));
        self.stage.put(Value::Manual, u64::from(reset == Reset::Manual));
        self.stage.signals(signalled.into());
    }

    /// Opens the event, which must be there.
    pub(crate) fn event(&self) -> Event {
        self.must("open the event", Event::open(self.ns(), EVENT))
    }

    fn is_manual(&self) -> bool {
        self.stage.get(Value::Manual) == 1
    }

    /// Signals it. True: it was reset before.
    pub(crate) fn signals(&self, e: &Event) -> bool {
        let changed = self.must("signal", e.signal());
        self.stage.signals(changed.into());
        changed
    }

    /// Resets it. True: it was signalled before.
    pub(crate) fn resets(&self, e: &Event) -> bool {
        let changed = self.must("reset", e.reset());
        self.stage.signals(-i64::from(changed));
        changed
    }

    /// Takes the end of a wait into the account.
    pub(crate) fn sees<T>(&self, r: xsem::Result<T>) -> xsem::Result<T> {
        if r.is_ok() && !self.is_manual() {
            self.stage.signals(-1);
        }
        r
    }

    /// Waits without an end; it must be signalled.
    pub(crate) fn waits(&self, e: &Event) {
        self.must("wait", self.sees(e.wait()));
    }

    /// Whether it is signalled, as the namespace says.
    pub(crate) fn is_signalled(&self, e: &Event) -> bool {
        self.must("state", e.state()).is_set
    }

    /// A try must give this.
    pub(crate) fn must_try(&self, e: &Event, signalled: bool, why: &str) {
        match (signalled, self.sees(e.try_wait()).map_err(|e| e.code())) {
            (true, Ok(())) | (false, Err(Code::SemTimeout)) => {}
            (_, other) => self.violation(format_args!("{why}, and a try gives {other:?}")),
        }
    }

    /// At rest, with what the victim can have done: the account is even, the event stays as it is, and it works.
    fn must_be_even(&self, victims: &[i64], reached: Reached) {
        let e = self.event();
        let (set, account) = (self.is_signalled(&e), self.stage.account.load(SeqCst));
        let mine = i64::from(set) - account;
        if !victims.contains(&mine) {
            self.violation(format_args!(
                "signalled: {set}, and the others' account is {account}; so the victim has changed it by {mine}, and it can be \
                 {victims:?} ({reached:?})"
            ));
        }
        if self.resets(&e) != set {
            self.violation(format_args!("it was signalled: {set}, and reset says otherwise"));
        }
        if self.resets(&e) || self.is_signalled(&e) {
            self.violation("it was reset, and was signalled again by nobody");
        }
        self.must_try(&e, false, "it was reset");
        if !self.signals(&e) || !self.is_signalled(&e) {
            self.violation("a signal of what is reset did not signal it");
        }
        if self.signals(&e) {
            self.violation("a second signal changed it, too");
        }
        self.must_try(&e, true, "it was signalled");
        if self.is_signalled(&e) != self.is_manual() {
            self.violation(format_args!("after a wait, an event that is manual: {} is signalled otherwise", self.is_manual()));
        }
        if self.resets(&e) != self.is_manual() {
            self.violation("the reset after a wait says otherwise than the state");
        }
    }
}

/// Makes the namespace and the event.
pub(crate) fn make_event(case: &Case<'_>, reset: Reset, signalled: bool) {
    case.run_player("maker", |p| p.make_event(reset, signalled));
}

/// Somebody who sleeps for the event: says `waiting`, waits, says `got`. Asleep on return.
pub(crate) fn sleeper(case: &Case<'_>, name: &'static str, waiting: Flag, got: Flag) -> Pid {
    let pid = case.play(name, move |p| {
        let e = p.event();
        p.register();
        p.stage.set(waiting);
        p.waits(&e);
        p.outcome(false);
        p.stage.set(got);
    });
    case.until("a waiter to begin", waiting);
    case.until_asleep(pid);
    pid
}

/// Somebody comes and signals it. True: it was reset before.
pub(crate) fn signal(case: &Case<'_>) -> bool {
    case.ask(|p| u64::from(p.signals(&p.event()))) == 1
}

/// Somebody comes and resets it. True: it was signalled before.
pub(crate) fn reset(case: &Case<'_>) -> bool {
    case.ask(|p| u64::from(p.resets(&p.event()))) == 1
}

/// Somebody comes and looks.
pub(crate) fn is_signalled(case: &Case<'_>) -> bool {
    case.ask(|p| u64::from(p.is_signalled(&p.event()))) == 1
}

/// Nobody sleeps while it is signalled: if a look says that it is, then `got` comes without anybody's help; else another
/// signal brings it.
pub(crate) fn wakes(case: &Case<'_>, got: Flag) {
    if !is_signalled(case) {
        signal(case);
    }
    case.wake("somebody who sleeps for what is signalled", got);
}

/// What a victim that was killed can have changed, where its whole operation changes the event by `whole`.
pub(crate) fn part_of(case: &Case<'_>, whole: i64) -> Vec<i64> {
    match (case.reached.get(), case.taken.get()) {
        (Reached::Done, _) => vec![whole],
        (_, 0) => vec![0],
        _ => vec![0, whole],
    }
}

/// The end of a case: what the victim can have changed is one of these.
pub(crate) fn even(case: &Case<'_>, victims: &[i64]) {
    // Whatever comes too late comes now.
    sys::nap(100);
    let reached = case.reached.get();
    case.run_player("newcomer", |p| p.must_be_even(victims, reached));
}

/// The same after the victim has said what it did.
pub(crate) fn even_with(case: &Case<'_>) {
    case.until("the resumed victim to finish", Flag::Left);
    even(case, &[case.stage.get(Value::Mine) as i64]);
}
