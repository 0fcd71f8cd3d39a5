//! The reference model of the contract: what each operation gives, without any I/O, threads or time.
//!
//! It is the oracle that every engine is compared with. An engine's run is a sequence of steps (somebody asks, a process
//! dies, a wait's time runs out); the model says for each step which code, which grant and which mark the contract
//! demands. Where the contract leaves a choice (which sleeper comes next within the bound of rule 5), the model says who
//! may ([`Model::next`]) and is told who did ([`Model::grant`]).
//!
//! Names, handles, waiters and members are the same for every kind; what a kind does with a claim is in a module of its
//! own (`exclusive`, `counting`, `event`).

mod counting;
mod deadlock;
mod event;
mod exclusive;
mod life;
mod permits;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_counting;
#[cfg(test)]
mod tests_events;
#[cfg(test)]
mod tests_life;
mod types;
mod waits;

pub use life::Drained;
pub use types::*;

use counting::Counting;
use event::Event;
use exclusive::Exclusive;
use std::collections::{BTreeMap, BTreeSet};
use xsem::engine::Spec;
use xsem::{Code, Kind, Mode};

/// One semaphore of whatever kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Semaphore {
    incarnation: u64,
    state: State,
    /// Who drains it, and whether everybody had left.
    drain: Option<Drain>,
    ephemeral: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Drain {
    by: Claimant,
    done: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Exclusive(Exclusive),
    Counting(Counting),
    Event(Event),
}

impl Semaphore {
    fn kind(&self) -> Kind {
        match self.state {
            State::Exclusive(_) => Kind::Exclusive,
            State::Counting(_) => Kind::Counting,
            State::Event(_) => Kind::Event,
        }
    }

    /// 1 for another kind.
    fn counting(&mut self) -> Result<&mut Counting> {
        match &mut self.state {
            State::Counting(c) => Ok(c),
            _ => Err(Code::InvalidFunction),
        }
    }

    /// Whether a request of this claimant would be a further level of its claim.
    fn nests(&self, who: Claimant) -> bool {
        matches!(&self.state, State::Exclusive(x) if x.owner().is_some_and(|(owner, ..)| owner == who))
    }

    fn is_held(&self) -> bool {
        match &self.state {
            State::Exclusive(x) => x.owner().is_some(),
            State::Counting(c) => !c.holds().is_empty(),
            State::Event(_) => false,
        }
    }
}

/// The state of a whole namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Model {
    limits: Limits,
    names: BTreeMap<String, Semaphore>,
    members: BTreeSet<u32>,
    /// Oldest first.
    waits: Vec<Waiting>,
    /// Who has what open: handle, process, incarnation.
    open: BTreeMap<u64, (u32, u64)>,
    born: u64,
    opened: u64,
}

type Result<T> = std::result::Result<T, Code>;

impl Model {
    /// An empty namespace.
    pub fn new(limits: Limits) -> Model {
        Model { limits, ..Model::default() }
    }

    /// A new exclusive semaphore. 123, 183, 100.
    pub fn create(&mut self, name: &str) -> Result<Handle> {
        self.make(name, &Spec::exclusive())
    }

    /// A new semaphore. 123, 87, 183, 100.
    pub fn make(&mut self, name: &str, spec: &Spec) -> Result<Handle> {
        check_name(name)?;
        check_spec(spec)?;
        if self.names.contains_key(name) {
            return Err(Code::AlreadyExists);
        }
        if self.names.len() >= self.limits.semaphores {
            return Err(Code::TooManySemaphores);
        }
        self.born += 1;
        let state = match spec.kind {
            Kind::Counting => State::Counting(Counting::new(spec.mode, spec.limit, spec.initial)),
            Kind::Event => State::Event(Event::new(spec.reset, spec.initial > 0)),
            _ => State::Exclusive(Exclusive::default()),
        };
        let fresh = Semaphore { incarnation: self.born, state, drain: None, ephemeral: spec.ephemeral };
        self.names.insert(name.to_owned(), fresh);
        Ok(Handle { name: name.to_owned(), incarnation: self.born, id: 0 })
    }

    /// A handle to an existing exclusive semaphore. 123, 187, 6.
    pub fn open(&self, name: &str) -> Result<Handle> {
        self.open_kind(name, Kind::Exclusive)
    }

    /// A handle to an existing one of this kind. 123, 187, 6.
    pub fn open_kind(&self, name: &str, kind: Kind) -> Result<Handle> {
        check_name(name)?;
        let s = self.names.get(name).ok_or(Code::SemNotFound)?;
        match s.kind() == kind {
            true => Ok(Handle { name: name.to_owned(), incarnation: s.incarnation, id: 0 }),
            false => Err(Code::InvalidHandle),
        }
    }

    /// Either, of an exclusive one.
    pub fn open_or_create(&mut self, name: &str) -> Result<Handle> {
        self.open_or_make(name, &Spec::exclusive())
    }

    /// Either. 123, 87 the numbers cannot be, or the stored ones differ, 6, 100.
    pub fn open_or_make(&mut self, name: &str, spec: &Spec) -> Result<Handle> {
        check_name(name)?;
        check_spec(spec)?;
        match self.open_kind(name, spec.kind) {
            Err(Code::SemNotFound) => self.make(name, spec),
            Ok(handle) => match &self.names[name].state {
                State::Counting(c) if (c.mode(), c.limit()) != (spec.mode, spec.limit) => Err(Code::InvalidParameter),
                State::Event(e) if e.reset() != spec.reset => Err(Code::InvalidParameter),
                _ => Ok(handle),
            },
            Err(code) => Err(code),
        }
    }

    /// The handle as one that this process has open: it can be closed, and keeps an ephemeral name alive.
    pub fn opened_by(&mut self, process: u32, handle: Handle) -> Handle {
        self.opened += 1;
        self.open.insert(self.opened, (process, handle.incarnation));
        Handle { id: self.opened, ..handle }
    }

    /// Takes the name away. 123, 187, 102.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        check_name(name)?;
        let s = self.names.get(name).ok_or(Code::SemNotFound)?;
        if s.is_held() || self.waits_on(s.incarnation).next().is_some() {
            return Err(Code::SemIsSet);
        }
        self.names.remove(name);
        Ok(())
    }

    /// Asks for a claim without waiting: 6, 106, 101 or 121, 103.
    pub fn try_acquire(&mut self, who: Claimant, handle: &Handle) -> Result<Grant> {
        self.try_many(who, handle, 1)
    }

    /// The same for several permits; 87.
    pub fn try_many(&mut self, who: Claimant, handle: &Handle, permits: u32) -> Result<Grant> {
        match self.request(who, How::One, &[(handle, permits)], Until::Now) {
            Reply::Granted(mut one) => Ok(one.remove(0).1),
            Reply::Refused(code, _) => Err(code),
            Reply::Waits => unreachable!("a try does not wait"),
        }
    }

    /// Asks for a claim and waits for it without an end where it is taken: 6, 106, 103, 1131.
    pub fn acquire(&mut self, who: Claimant, handle: &Handle) -> Outcome {
        match self.request(who, How::One, &[(handle, 1)], Until::Forever) {
            Reply::Granted(mut one) => Outcome::Granted(one.remove(0).1),
            Reply::Waits => Outcome::Waits,
            Reply::Refused(code, _) => Outcome::Refused(code),
        }
    }

    /// Release by handle, as the languages without guards have it: 6, 288 free, 101 somebody else's. Of a counting
    /// semaphore: the oldest claim of the claimant, or 288. 1 of an event.
    pub fn release(&mut self, who: Claimant, handle: &Handle) -> Result<()> {
        let done = match &mut self.find(handle)?.state {
            State::Exclusive(x) => x.release(who),
            State::Counting(c) => match c.holds().iter().find(|h| h.who == who).map(|h| h.token) {
                Some(token) => c.end(token).map(|_| ()),
                None => Err(Code::NotOwner),
            },
            State::Event(_) => Err(Code::InvalidFunction),
        };
        self.settle_drains();
        done
    }

    /// Release by guard: 288 when the claim is not held any more, whoever holds the semaphore now.
    pub fn release_claim(&mut self, claim: Claim) -> Result<()> {
        match self.held(claim)? {
            State::Exclusive(x) => {
                let (who, ..) = x.owner().ok_or(Code::NotOwner)?;
                x.release(who)?;
            }
            State::Counting(c) => {
                c.end(claim.token)?;
            }
            State::Event(_) => return Err(Code::InvalidFunction),
        }
        self.settle_drains();
        Ok(())
    }

    /// Another process shares an exclusive claim. False: it is over. 6 no such semaphore.
    pub fn join(&mut self, process: u32, handle: &Handle, token: u64) -> Result<bool> {
        match &mut self.find(handle)?.state {
            State::Exclusive(x) => Ok(x.join(process, token)),
            _ => Err(Code::InvalidFunction),
        }
    }

    /// The same of a claim whose owner is dead, before anybody has taken it over. False: somebody has.
    pub fn join_dead(&mut self, process: u32, handle: &Handle, token: u64) -> Result<bool> {
        match &mut self.find(handle)?.state {
            State::Exclusive(x) => Ok(x.join_dead(process, token)),
            _ => Err(Code::InvalidFunction),
        }
    }

    /// Whether several processes have this claim, or one that has it from another one.
    pub fn is_shared(&mut self, claim: Claim) -> bool {
        matches!(self.held(claim), Ok(State::Exclusive(x)) if x.is_shared())
    }

    /// A process gives up its part of a claim that several may share. 288.
    pub fn release_part_of(&mut self, process: u32, claim: Claim) -> Result<()> {
        match self.held(claim)? {
            State::Exclusive(x) => match x.owner() {
                Some((who, ..)) if who.process == process => x.release(who)?,
                _ if x.leave(process) => {}
                _ => return Err(Code::NotOwner),
            },
            _ => return Err(Code::InvalidFunction),
        }
        self.settle_drains();
        Ok(())
    }

    /// Gives all levels up, with the mark. 288. Permits just come back.
    pub fn abandon(&mut self, claim: Claim) -> Result<()> {
        match self.held(claim)? {
            State::Exclusive(x) => x.lose(xsem::Cause::Abandoned),
            State::Counting(c) => c.lose(claim.token),
            State::Event(_) => return Err(Code::InvalidFunction),
        }
        self.settle_drains();
        Ok(())
    }

    /// The state is whole again. 288; 1 on another kind.
    pub fn mark_consistent(&mut self, claim: Claim) -> Result<()> {
        match self.held(claim)? {
            State::Exclusive(x) => x.acknowledge(),
            _ => return Err(Code::InvalidFunction),
        }
        Ok(())
    }

    /// Whether the claim is held.
    pub fn is_held(&mut self, claim: Claim) -> bool {
        self.held(claim).is_ok_and(|s| !matches!(s, State::Event(_)))
    }

    /// What an inspection shows. 123, 187.
    pub fn inspect(&self, name: &str) -> Result<View> {
        check_name(name)?;
        let s = self.names.get(name).ok_or(Code::SemNotFound)?;
        let incarnation = s.incarnation;
        let waiters = self.waits_on(incarnation).map(|w| w.who).collect();
        let mut view = View {
            owner: None,
            holds: Vec::new(),
            waiters,
            deaths: None,
            died: 0,
            capacity: None,
            signal: None,
            drained: s.drain.is_some(),
        };
        match &s.state {
            State::Exclusive(x) => {
                view.owner = x.owner().map(|(who, depth, token)| (who, depth, Claim { incarnation, token }));
                view.deaths = x.deaths();
                view.died = x.died();
            }
            State::Counting(c) => {
                view.holds = c.holds().iter().map(|h| (h.who, h.permits, Claim { incarnation, token: h.token })).collect();
                view.capacity = Some(c.capacity());
                view.died = c.died();
            }
            State::Event(e) => view.signal = Some(e.signal()),
        }
        Ok(view)
    }

    /// Every name, sorted.
    pub fn list(&self) -> Vec<&str> {
        self.names.keys().map(String::as_str).collect()
    }

    fn find(&mut self, handle: &Handle) -> Result<&mut Semaphore> {
        let closed = handle.id != 0 && !self.open.contains_key(&handle.id);
        self.names.get_mut(&handle.name).filter(|s| !closed && s.incarnation == handle.incarnation).ok_or(Code::InvalidHandle)
    }

    fn by_incarnation(&self, incarnation: u64) -> Option<&Semaphore> {
        self.names.values().find(|s| s.incarnation == incarnation)
    }

    /// The semaphore of a claim that is held; an event, of which none is.
    fn held(&mut self, claim: Claim) -> Result<&mut State> {
        let s = self.names.values_mut().find(|s| s.incarnation == claim.incarnation).ok_or(Code::NotOwner)?;
        let held = match &s.state {
            State::Exclusive(x) => x.owner().is_some_and(|(_, _, token)| token == claim.token),
            State::Counting(c) => c.holds().iter().any(|h| h.token == claim.token),
            State::Event(_) => true,
        };
        if held { Ok(&mut s.state) } else { Err(Code::NotOwner) }
    }
}

/// Written again here on purpose: an oracle that asked the library would agree with it always.
fn check_name(name: &str) -> Result<()> {
    match name.len() {
        1..=255 if !name.chars().any(char::is_control) => Ok(()),
        _ => Err(Code::InvalidName),
    }
}

/// So is this.
fn check_spec(spec: &Spec) -> Result<()> {
    let ok = match (spec.kind, spec.mode) {
        (Kind::Counting, Mode::Pool) => (1..=65_535).contains(&spec.limit) && spec.initial == spec.limit,
        (Kind::Counting, _) => (1..=65_535).contains(&spec.limit) && spec.initial <= spec.limit,
        _ => true,
    };
    if ok { Ok(()) } else { Err(Code::InvalidParameter) }
}
