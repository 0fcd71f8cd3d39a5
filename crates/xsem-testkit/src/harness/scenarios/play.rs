//! A scenario written down as its parts.

use super::*;

/// Parts that do nothing, for those scenarios that do not need them.
pub(crate) const PLAY: Play = Play {
    name: "",
    about: "",
    walks: false,
    prepare: |_| {},
    victim: |_| {},
    ready: |_| {},
    asleep: |_| {},
    killed: |_| {},
    paused: |_| {},
    resumed: |_| {},
};

/// The parts; see [`Scenario`].
#[derive(Clone, Copy)]
pub(crate) struct Play {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) walks: bool,
    pub(crate) prepare: fn(&Case<'_>),
    pub(crate) victim: fn(&Player<'_>),
    pub(crate) ready: fn(&Case<'_>),
    pub(crate) asleep: fn(&Case<'_>),
    pub(crate) killed: fn(&Case<'_>),
    pub(crate) paused: fn(&Case<'_>),
    pub(crate) resumed: fn(&Case<'_>),
}

impl Scenario for Play {
    fn name(&self) -> &'static str {
        self.name
    }
    fn about(&self) -> &'static str {
        self.about
    }
    fn walks(&self) -> bool {
        self.walks
    }
    fn prepare(&self, case: &Case<'_>) {
        (self.prepare)(case);
    }
    fn victim(&self, p: &Player<'_>) {
        (self.victim)(p);
    }
    fn ready(&self, case: &Case<'_>) {
        (self.ready)(case);
    }
    fn asleep(&self, case: &Case<'_>) {
        (self.asleep)(case);
    }
    fn killed(&self, case: &Case<'_>) {
        (self.killed)(case);
    }
    fn paused(&self, case: &Case<'_>) {
        (self.paused)(case);
    }
    fn resumed(&self, case: &Case<'_>) {
        (self.resumed)(case);
    }
}
