//! The reference model of the contract: what each operation gives, without any I/O, threads or time.
//!
//! It is the oracle that every engine is compared with. An engine's run is a sequence of steps (somebody asks, a process
//! dies, a wait's time runs out); the model says for each step which code, which grant and which mark the contract
//! demands. Where the contract leaves a choice (which sleeper comes next within the bound of rule 5), the model says who
//! may ([`Model::next`]) and is told who did ([`Model::grant`]).
//!
//! Names, handles, waiters and members are the same for every kind; what a kind does with a claim is in a module of its
//! own (`exclusive`). Counting semaphores and events join as further variants of `State`.

mod exclusive;
#[cfg(test)]
mod tests;

use exclusive::Exclusive;
use std::collections::{BTreeMap, BTreeSet};
use xsem::{Cause, Code};

/// Who claims: a thread of a process. The numbers are the test's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claimant {
    /// The process.
    pub process: u32,
    /// The thread in it.
    pub thread: u32,
}

/// An open semaphore: a name, and which object of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    name: String,
    incarnation: u64,
}

impl Handle {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A claim as a guard keeps it: the object and the token name it beyond doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    incarnation: u64,
    /// Counts the claims on this object.
    pub token: u64,
}

/// What a dead owner left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obituary {
    /// Who.
    pub who: Claimant,
    /// How it is known.
    pub cause: Cause,
}

/// The deaths behind a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deaths {
    /// The first that nobody acknowledged.
    pub first: Obituary,
    /// The latest.
    pub latest: Obituary,
    /// How many since the last acknowledgement.
    pub count: u64,
}

/// A granted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The claim.
    pub claim: Claim,
    /// A further level of a claim that the claimant had already.
    pub nested: bool,
    /// Present when the result is 105.
    pub died: Option<Deaths>,
}

/// What a request that may wait comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Granted at once.
    Granted(Grant),
    /// It waits, until it is granted, times out, is cancelled or dies.
    Waits,
    /// Refused with this code, nothing changed.
    Refused(Code),
}

/// What an inspection shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Who holds it, how deep, with which claim.
    pub owner: Option<(Claimant, u32, Claim)>,
    /// Who waits, oldest first.
    pub waiters: Vec<Claimant>,
    /// The deaths behind the mark; `None` when it is not marked.
    pub deaths: Option<Deaths>,
}

/// What is finite.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Names at one time (100).
    pub semaphores: usize,
    /// Member processes at one time (106).
    pub members: usize,
    /// Nesting depth (103).
    pub depth: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { semaphores: 1 << 20, members: 2040, depth: 65_535 }
    }
}

/// One semaphore of whatever kind.
#[derive(Clone, Debug)]
struct Semaphore {
    incarnation: u64,
    waiters: Vec<Claimant>,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Exclusive(Exclusive),
}

impl Semaphore {
    fn exclusive(&mut self) -> &mut Exclusive {
        let State::Exclusive(x) = &mut self.state;
        x
    }
}

/// The state of a whole namespace.
#[derive(Clone, Debug, Default)]
pub struct Model {
    limits: Limits,
    names: BTreeMap<String, Semaphore>,
    members: BTreeSet<u32>,
    born: u64,
}

type Result<T> = std::result::Result<T, Code>;

impl Model {
    /// An empty namespace.
    pub fn new(limits: Limits) -> Model {
        Model { limits, ..Model::default() }
    }

    /// A new exclusive semaphore. 123, 183, 100.
    pub fn create(&mut self, name: &str) -> Result<Handle> {
        check_name(name)?;
        if self.names.contains_key(name) {
            return Err(Code::AlreadyExists);
        }
        if self.names.len() >= self.limits.semaphores {
            return Err(Code::TooManySemaphores);
        }
        self.born += 1;
        let fresh = Semaphore { incarnation: self.born, waiters: Vec::new(), state: State::Exclusive(Exclusive::default()) };
        self.names.insert(name.to_owned(), fresh);
        Ok(Handle { name: name.to_owned(), incarnation: self.born })
    }

    /// A handle to an existing one. 123, 187.
    pub fn open(&self, name: &str) -> Result<Handle> {
        check_name(name)?;
        let s = self.names.get(name).ok_or(Code::SemNotFound)?;
        Ok(Handle { name: name.to_owned(), incarnation: s.incarnation })
    }

    /// Either.
    pub fn open_or_create(&mut self, name: &str) -> Result<Handle> {
        match self.open(name) {
            Err(Code::SemNotFound) => self.create(name),
            other => other,
        }
    }

    /// Takes the name away. 123, 187, 102.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        check_name(name)?;
        let s = self.names.get_mut(name).ok_or(Code::SemNotFound)?;
        if s.exclusive().owner().is_some() || !s.waiters.is_empty() {
            return Err(Code::SemIsSet);
        }
        self.names.remove(name);
        Ok(())
    }

    /// Asks for a claim without waiting: 6, 106, 101, 103.
    pub fn try_acquire(&mut self, who: Claimant, handle: &Handle) -> Result<Grant> {
        self.acquire_now(who, handle, false)
    }

    /// Asks for a claim and waits for it where it is taken: 6, 106, 103.
    pub fn acquire(&mut self, who: Claimant, handle: &Handle) -> Outcome {
        match self.acquire_now(who, handle, true) {
            Ok(grant) => Outcome::Granted(grant),
            Err(Code::ExclSemAlreadyOwned) => Outcome::Waits,
            Err(code) => Outcome::Refused(code),
        }
    }

    fn acquire_now(&mut self, who: Claimant, handle: &Handle, waits: bool) -> Result<Grant> {
        self.find(handle)?;
        if !self.members.contains(&who.process) {
            if self.members.len() >= self.limits.members {
                return Err(Code::SemUserLimit);
            }
            self.members.insert(who.process);
        }
        let depth = self.limits.depth;
        let s = self.find(handle)?;
        let incarnation = s.incarnation;
        let granted = s.exclusive().acquire(who, depth);
        if waits && granted == Err(Code::ExclSemAlreadyOwned) {
            s.waiters.push(who);
        }
        granted.map(|(token, nested, died)| Grant { claim: Claim { incarnation, token }, nested, died })
    }

    /// Who may be granted the semaphore now: empty while it is owned or nobody waits.
    pub fn next(&mut self, handle: &Handle) -> Vec<Claimant> {
        let Ok(s) = self.find(handle) else { return Vec::new() };
        match s.exclusive().owner() {
            None => s.waiters.clone(),
            Some(_) => Vec::new(),
        }
    }

    /// The waiter `who` was seen to be granted the semaphore. `None` when the contract forbids that.
    pub fn grant(&mut self, who: Claimant, handle: &Handle) -> Option<Grant> {
        if !self.next(handle).contains(&who) {
            return None;
        }
        self.stop_waiting(who);
        self.try_acquire(who, handle).ok()
    }

    /// The wait of `who` ended without a grant: 121 when its time ran out, 95 when it was cancelled. It leaves nothing.
    pub fn stop_waiting(&mut self, who: Claimant) {
        for s in self.names.values_mut() {
            s.waiters.retain(|w| *w != who);
        }
    }

    /// Release by handle, as the languages without guards have it: 6, 288 free, 101 somebody else's.
    pub fn release(&mut self, who: Claimant, handle: &Handle) -> Result<()> {
        self.find(handle)?.exclusive().release(who)
    }

    /// Release by guard: 288 when the claim is not held any more, whoever holds the semaphore now.
    pub fn release_claim(&mut self, claim: Claim) -> Result<()> {
        let x = self.held(claim)?;
        let (who, ..) = x.owner().ok_or(Code::NotOwner)?;
        x.release(who)
    }

    /// Gives all levels up, with the mark. 288.
    pub fn abandon(&mut self, claim: Claim) -> Result<()> {
        self.held(claim)?.lose(Cause::Abandoned);
        Ok(())
    }

    /// The state is whole again. 288.
    pub fn mark_consistent(&mut self, claim: Claim) -> Result<()> {
        self.held(claim)?.acknowledge();
        Ok(())
    }

    /// Whether the claim is held.
    pub fn is_held(&mut self, claim: Claim) -> bool {
        self.held(claim).is_ok()
    }

    /// A process ended, in whatever way: its claims pass on with the mark, its waits are gone.
    pub fn process_ended(&mut self, process: u32) {
        self.members.remove(&process);
        self.end(Cause::ProcessEnded, |c| c.process == process);
    }

    /// A thread ended, with or without claims.
    pub fn thread_ended(&mut self, who: Claimant) {
        self.end(Cause::ThreadEnded, |c| c == who);
    }

    fn end(&mut self, cause: Cause, ends: impl Fn(Claimant) -> bool) {
        for s in self.names.values_mut() {
            s.waiters.retain(|w| !ends(*w));
            let x = s.exclusive();
            if x.owner().is_some_and(|(who, ..)| ends(who)) {
                x.lose(cause);
            }
        }
    }

    /// What an inspection shows. 123, 187.
    pub fn inspect(&mut self, name: &str) -> Result<View> {
        check_name(name)?;
        let s = self.names.get_mut(name).ok_or(Code::SemNotFound)?;
        let (incarnation, waiters) = (s.incarnation, s.waiters.clone());
        let x = s.exclusive();
        let owner = x.owner().map(|(who, depth, token)| (who, depth, Claim { incarnation, token }));
        Ok(View { owner, waiters, deaths: x.deaths() })
    }

    /// Every name, sorted.
    pub fn list(&self) -> Vec<&str> {
        self.names.keys().map(String::as_str).collect()
    }

    fn find(&mut self, handle: &Handle) -> Result<&mut Semaphore> {
        self.names.get_mut(&handle.name).filter(|s| s.incarnation == handle.incarnation).ok_or(Code::InvalidHandle)
    }

    fn held(&mut self, claim: Claim) -> Result<&mut Exclusive> {
        let s = self.names.values_mut().find(|s| s.incarnation == claim.incarnation).ok_or(Code::NotOwner)?;
        let x = s.exclusive();
        match x.owner() {
            Some((_, _, token)) if token == claim.token => Ok(x),
            _ => Err(Code::NotOwner),
        }
    }
}

/// Written again here on purpose: an oracle that asked the library would agree with it always.
fn check_name(name: &str) -> Result<()> {
    match name.len() {
        1..=255 if !name.chars().any(char::is_control) => Ok(()),
        _ => Err(Code::InvalidName),
    }
}
