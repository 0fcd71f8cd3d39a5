//! What scenes use: a rig with actors, and short words.

use crate::protocol::{Answer, Till, Verb, What};
use crate::rig::Rig;
use crate::worker::Actor;
use std::path::PathBuf;
use xsem::{Namespace, Report};

/// The place of one scene.
pub struct Stage {
    rig: Box<dyn Rig>,
    scratch: Vec<PathBuf>,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a stage on {}", self.rig.name())
    }
}

impl Stage {
    pub(super) fn new(rig: Box<dyn Rig>) -> Stage {
        Stage { rig, scratch: Vec::new() }
    }

    /// Nothing that is stored may be wrong in the end.
    pub(super) fn end(self) {
        assert_eq!(self.rig.audit(), Vec::<String>::new(), "the audit after the scene");
    }

    /// Another actor.
    pub fn actor(&mut self) -> Box<dyn Actor> {
        self.rig.actor()
    }

    /// Whether an actor can die while it waits.
    pub fn dies_midway(&self) -> bool {
        self.rig.dies_midway()
    }

    /// Whether each operation takes a network's round trip.
    pub fn is_slow(&self) -> bool {
        matches!(self.rig.name(), "lease" | "etcd")
    }

    /// A file of this scene's own; it goes with the stage.
    pub fn scratch(&mut self, name: &str) -> PathBuf {
        // The same scene may be played on another engine at this time.
        let dir = PathBuf::from(format!("/dev/shm/xsem-scene-{}-{}-{name}", std::process::id(), self.rig.name()));
        self.scratch.push(dir.clone());
        dir
    }

    /// The namespace, as an observer sees it.
    pub fn ns(&self) -> &Namespace {
        self.rig.ns()
    }

    /// What the namespace shows of a name.
    pub fn inspect(&self, name: &str) -> Report {
        self.ns().inspect(name).unwrap_or_else(|e| panic!("inspect: {e}"))
    }

    /// Waits until so many wait for `name`, as the namespace itself says. A scene that hangs is noticed elsewhere.
    pub fn until_waiting(&self, name: &str, n: usize) {
        while self.inspect(name).waiters.len() != n {
            crate::sys::nap(200);
        }
    }

    /// An actor that owns all of `name`, which it makes: with handle 0 and a guard, whose number comes with it.
    pub fn owner(&mut self, what: What, name: &str) -> (Box<dyn Actor>, usize) {
        let mut a = self.actor();
        assert_eq!(a.opens(Verb::Either(what, name.to_owned())), 0);
        let (guard, _) = a.owns(ask(0, all_of(what), Till::Now));
        (a, guard)
    }

    /// An actor with handle 0 on `name`, which exists or is made.
    pub fn other(&mut self, what: What, name: &str) -> Box<dyn Actor> {
        let mut a = self.actor();
        assert_eq!(a.opens(Verb::Either(what, name.to_owned())), 0);
        a
    }

    /// The same, whose thread 0 waits for one permit without an end, as the only one or after others.
    pub fn waiter(&mut self, what: What, name: &str) -> Box<dyn Actor> {
        let before = self.inspect(name).waiters.len();
        let mut a = self.other(what, name);
        a.tell(0, &ask(0, 1, Till::Ever));
        self.until_waiting(name, before + 1);
        a
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.scratch.iter().for_each(|f| drop(std::fs::remove_file(f)));
    }
}

fn all_of(what: What) -> u32 {
    match what {
        What::Exclusive | What::Manual(_) | What::Auto(_) => 1,
        What::Pool(n) | What::Credit(_, n) => n,
    }
}

/// A request with all options.
pub(super) fn ask(handle: usize, permits: u32, till: Till) -> Verb {
    Verb::Ask(handle, permits, till, false)
}

/// A name as verbs have it.
pub(super) fn n(name: &str) -> String {
    name.to_owned()
}

/// The guard and token of a grant without 105.
pub(super) fn clean(answer: Answer) -> (usize, u64) {
    match answer {
        Answer::Granted { guard, token, died: None } => (guard, token),
        other => panic!("not a clean grant: {other}"),
    }
}

/// The guard and token of a 105, with the cause of the latest death.
pub(super) fn after_death(answer: Answer) -> (usize, u64, String) {
    match answer {
        Answer::Granted { guard, token, died: Some(Some((_, latest, _))) } => (guard, token, latest.1),
        other => panic!("not 105 with details: {other}"),
    }
}

/// The facts of the last refusal: tokens of holders, how many are ahead, steps of the cycle, text.
pub(super) fn why(a: &mut dyn Actor) -> (Vec<u64>, usize, usize, String) {
    match a.ask(0, &Verb::Why) {
        Answer::Why { holders, ahead, cycle, text } => (holders, ahead, cycle, text),
        other => panic!("why: {other}"),
    }
}

/// A time that runs out soon, and one that does not within a scene.
pub(super) const SHORT: Till = Till::Ms(20);
pub(super) const LONG: Till = Till::Ms(20_000);

/// An exclusive semaphore.
pub(super) const X: What = What::Exclusive;
