//! An engine around the one in memory that does one thing wrong, now and then.

use std::any::Any;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use xsem::engine::{Claim, Ending, Engine, Grant, Object, Request, Spec, Until, Want};
use xsem::memory::MemoryEngine;
use xsem::{Capacity, Code, Error, Kind, Mode, Name, Report, Reset, Result, Signal, Summary};

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// A release gives back one permit more than it had.
    ReleaseTooMany,
    /// A request for several takes one, looks around, and gives it back before it really asks.
    OneByOne,
    /// A try is refused although it could be granted.
    TryFails,
    /// The numbers of the time before.
    StaleCapacity,
    /// Takes another entry of the list as well, until the first one is given back.
    AnyTwo,
    /// A try is granted although somebody else owns it.
    DoubleGrant,
    /// Takes the first entry, looks around, and gives it back before it really asks.
    AllOneByOne,
    /// The successor is not told.
    SilentDeath,
    /// Takes a permit when its time has run out.
    TimeoutKeeps,
    /// Every claim has the slots from 0.
    SameSlot,
    /// What is forgotten comes back.
    ForgetReleases,
    /// 1131 instead of a wait.
    FalseCycle,
    /// A signal is said to have been given, and was not.
    LostSignal,
    /// The signal that a wait has consumed is there again.
    SignalTwice,
    /// A wait for a manual event looks away, and says that nothing was there.
    MissedSignal,
    /// A signal that is there makes no difference to a second one, and is said to be new.
    SignalSaidNew,
    /// A wait for all of a list consumes the first signal, and looks around before it asks for the rest.
    AllConsumesEarly,
}

/// A claim that nobody asked for.
type Second = (Arc<dyn Object>, Claim);

#[derive(Debug)]
struct Shared {
    inner: MemoryEngine,
    fault: Fault,
    turn: AtomicU64,
    /// The permit that a pool has in secret, to give one too many.
    hidden: Mutex<HashMap<String, Claim>>,
    /// What was taken beside a claim.
    beside: Mutex<HashMap<(String, u64), Second>>,
}

impl Shared {
    /// Whether this is the fault, and its turn: one of `n` times.
    fn now(&self, fault: Fault, n: u64) -> bool {
        self.fault == fault && self.turn.fetch_add(1, Relaxed) % n == n - 1
    }
}

/// The engine.
#[derive(Debug)]
pub struct FaultyEngine(Arc<Shared>);

#[derive(Debug)]
struct FaultyObject {
    inner: Arc<dyn Object>,
    shared: Arc<Shared>,
    before: Mutex<Option<Capacity>>,
}

impl FaultyEngine {
    pub fn new(fault: Fault) -> FaultyEngine {
        let inner = MemoryEngine::default();
        let (hidden, beside) = Default::default();
        FaultyEngine(Arc::new(Shared { inner, fault, turn: AtomicU64::new(0), hidden, beside }))
    }

    /// With `ReleaseTooMany`, a pool has one permit more than it says, which nobody gets before the fault.
    fn spec(&self, spec: &Spec) -> Spec {
        let mut spec = *spec;
        if self.0.fault == Fault::ReleaseTooMany && spec.mode == Mode::Pool && spec.kind == Kind::Counting {
            spec.limit += 1;
            spec.initial += 1;
        }
        spec
    }

    fn wrap(&self, inner: Arc<dyn Object>) -> Arc<dyn Object> {
        if self.0.fault == Fault::ReleaseTooMany && inner.kind() == Kind::Counting {
            let mut hidden = self.0.hidden.lock().expect("no panic");
            let name = inner.name().as_str().to_owned();
            hidden.entry(name).or_insert_with(|| inner.acquire(&Request::new(0, Until::Now)).expect("it is new").claim);
        }
        Arc::new(FaultyObject { inner, shared: self.0.clone(), before: Mutex::default() })
    }
}

fn inside(object: &dyn Object) -> &FaultyObject {
    object.as_any().downcast_ref().expect("all objects are wrapped")
}

fn wants<'a>(list: &[Want<'a>]) -> Vec<Want<'a>> {
    list.iter().map(|w| Want { object: &*inside(w.object).inner, permits: w.permits }).collect()
}

/// Others shall have time to look.
fn look_around() {
    std::thread::sleep(Duration::from_micros(100));
}

impl Engine for FaultyEngine {
    fn url(&self) -> &str {
        self.0.inner.url()
    }

    fn create(&self, name: &Name, spec: &Spec) -> Result<Arc<dyn Object>> {
        Ok(self.wrap(self.0.inner.create(name, &self.spec(spec))?))
    }

    fn open(&self, name: &Name, kind: Kind) -> Result<Arc<dyn Object>> {
        Ok(self.wrap(self.0.inner.open(name, kind)?))
    }

    fn open_or_create(&self, name: &Name, spec: &Spec) -> Result<Arc<dyn Object>> {
        Ok(self.wrap(self.0.inner.open_or_create(name, &self.spec(spec))?))
    }

    fn remove(&self, name: &Name, if_acquired: Option<u64>) -> Result<()> {
        self.0.inner.remove(name, if_acquired)
    }

    fn wait_any(&self, list: &[Want<'_>], request: &Request<'_>) -> Result<(usize, Grant)> {
        let (index, grant) = self.0.inner.wait_any(&wants(list), request)?;
        if self.0.now(Fault::AnyTwo, 2) {
            let mut now = *request;
            now.until = Until::Now;
            for (i, w) in list.iter().enumerate().filter(|(i, _)| *i != index) {
                if let (true, Ok(second)) = (i < list.len(), inside(w.object).inner.acquire(&now)) {
                    let first = (list[index].object.name().as_str().to_owned(), grant.claim.token);
                    let second = (inside(w.object).inner.clone(), second.claim);
                    self.0.beside.lock().expect("no panic").insert(first, second);
                    break;
                }
            }
        }
        Ok((index, grant))
    }

    fn acquire_all(&self, list: &[Want<'_>], request: &Request<'_>) -> Result<Vec<Grant>> {
        if self.0.now(Fault::AllOneByOne, 2) {
            let object = &inside(list[0].object).inner;
            let mut now = *request;
            (now.until, now.permits) = (Until::Now, list[0].permits);
            if let Ok(part) = object.acquire(&now) {
                look_around();
                object.release(&part.claim, Ending::Release)?;
            }
        }
        let auto = |w: &Want<'_>| inside(w.object).inner.signalled().is_ok_and(|s| s.reset == Reset::Auto && s.is_set);
        if let Some(w) = list.iter().find(|w| self.0.fault == Fault::AllConsumesEarly && auto(w)) {
            let object = &inside(w.object).inner;
            if object.acquire(&Request::new(request.claimant, Until::Now)).is_ok() {
                look_around();
                object.signal()?;
            }
        }
        self.0.inner.acquire_all(&wants(list), request)
    }

    fn drain(&self, name: &Name, request: &Request<'_>) -> Result<()> {
        self.0.inner.drain(name, request)
    }

    fn reopen(&self, name: &Name) -> Result<()> {
        self.0.inner.reopen(name)
    }

    fn evict(&self, name: &Name, token: u64) -> Result<()> {
        self.0.inner.evict(name, token)
    }

    fn inspect(&self, name: &Name) -> Result<Report> {
        self.0.inner.inspect(name)
    }

    fn list(&self, visit: &mut dyn FnMut(Summary) -> ControlFlow<()>) -> Result<()> {
        self.0.inner.list(visit)
    }

    fn describe(&self, command: &str) -> Result<()> {
        self.0.inner.describe(command)
    }

    fn cover(&self, pid: Option<u32>) -> Result<()> {
        self.0.inner.cover(pid)
    }
}

impl FaultyObject {
    fn is_pool(&self) -> bool {
        self.inner.capacity().is_ok_and(|c| c.mode == Mode::Pool)
    }

    /// Whether it is an event of this sort.
    fn is(&self, reset: Reset) -> bool {
        self.inner.signalled().is_ok_and(|s| s.reset == reset)
    }

    fn wrong(&self) -> Fault {
        self.shared.fault
    }

    /// After a claim was given back.
    fn released(&self, claim: &Claim) -> Result<()> {
        let name = self.inner.name().as_str().to_owned();
        if let Some((object, second)) = self.shared.beside.lock().expect("no panic").remove(&(name.clone(), claim.token)) {
            object.release(&second, Ending::Release)?;
        }
        if self.shared.now(Fault::ReleaseTooMany, 7)
            && let Some(hidden) = self.shared.hidden.lock().expect("no panic").get(&name)
        {
            // Only the first time there is one.
            let _ = self.inner.release(hidden, Ending::Release);
        }
        Ok(())
    }
}

impl Object for FaultyObject {
    fn name(&self) -> &Name {
        self.inner.name()
    }

    fn kind(&self) -> Kind {
        self.inner.kind()
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Grant> {
        let mut now = *request;
        now.until = Until::Now;
        let several = self.kind() == Kind::Counting && request.permits > 1;
        let refusal = |code| Err(Error::new(code, "seeded"));
        match self.wrong() {
            // The limit that it says it has.
            Fault::ReleaseTooMany if self.is_pool() && request.permits >= self.inner.capacity()?.limit => {
                return refusal(Code::InvalidParameter);
            }
            Fault::OneByOne if several => {
                now.permits = 1;
                if let Ok(part) = self.inner.acquire(&now) {
                    look_around();
                    self.inner.release(&part.claim, Ending::Release)?;
                }
            }
            Fault::TryFails if request.until == Until::Now && self.shared.now(Fault::TryFails, 5) => {
                return refusal(if self.kind() == Kind::Counting { Code::SemTimeout } else { Code::ExclSemAlreadyOwned });
            }
            Fault::FalseCycle if request.until == Until::Forever => {
                return match self.inner.acquire(&now) {
                    Err(e) if e.is_taken() && self.shared.now(Fault::FalseCycle, 2) => refusal(Code::PossibleDeadlock),
                    Err(e) if e.is_taken() => self.inner.acquire(request),
                    other => other,
                };
            }
            Fault::MissedSignal if self.is(Reset::Manual) && self.shared.now(Fault::MissedSignal, 4) => {
                return refusal(Code::SemTimeout);
            }
            _ => {}
        }
        match self.inner.acquire(request) {
            Ok(grant) if self.is(Reset::Auto) && self.shared.now(Fault::SignalTwice, 3) => {
                self.inner.signal()?;
                Ok(grant)
            }
            Ok(grant) if grant.died.is_some() && self.shared.now(Fault::SilentDeath, 2) => Ok(Grant::new(grant.claim, None)),
            Err(e) if e.code() == Code::ExclSemAlreadyOwned && self.shared.now(Fault::DoubleGrant, 3) => {
                let token = e.holders().first().map_or(1, |h| h.token) + 1;
                Ok(Grant::new(Claim::new(token, u64::MAX), None))
            }
            Err(e) if e.code() == Code::SemTimeout && self.shared.now(Fault::TimeoutKeeps, 2) => {
                now.permits = 1;
                drop(self.inner.acquire(&now));
                Err(e)
            }
            other => other,
        }
    }

    fn release(&self, claim: &Claim, ending: Ending) -> Result<()> {
        // The claim that a double grant made up.
        if claim.key == u64::MAX {
            return Ok(());
        }
        self.inner.release(claim, ending)?;
        self.released(claim)
    }

    fn mark_consistent(&self, claim: &Claim) -> Result<()> {
        self.inner.mark_consistent(claim)
    }

    fn join(&self, token: u64) -> Result<Option<Claim>> {
        self.inner.join(token)
    }

    fn is_held(&self, claim: &Claim) -> bool {
        self.inner.is_held(claim)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn release_part(&self, claim: &Claim, permits: u32) -> Result<()> {
        self.inner.release_part(claim, permits)?;
        self.released(claim)
    }

    fn slots(&self, claim: &Claim) -> Result<Vec<u32>> {
        let slots = self.inner.slots(claim)?;
        Ok(if self.wrong() == Fault::SameSlot { (0..slots.len() as u32).collect() } else { slots })
    }

    fn add_permits(&self, permits: u32) -> Result<()> {
        self.inner.add_permits(permits)
    }

    fn forget(&self, claim: &Claim) -> Result<()> {
        match self.shared.now(Fault::ForgetReleases, 3) {
            true => self.inner.release(claim, Ending::Release),
            false => self.inner.forget(claim),
        }
    }

    fn resize(&self, limit: u32) -> Result<()> {
        self.inner.resize(limit)
    }

    fn capacity(&self) -> Result<Capacity> {
        let seen = self.inner.capacity()?;
        if self.wrong() == Fault::ReleaseTooMany && seen.mode == Mode::Pool {
            return Ok(Capacity::new(seen.mode, seen.limit - 1, seen.total - 1, seen.free));
        }
        let before = self.before.lock().expect("no panic").replace(seen);
        Ok(match before {
            Some(before) if self.shared.now(Fault::StaleCapacity, 2) => before,
            _ => seen,
        })
    }

    fn signal(&self) -> Result<bool> {
        if !self.inner.signalled()?.is_set && self.shared.now(Fault::LostSignal, 3) {
            return Ok(true);
        }
        let was_reset = self.inner.signal()?;
        Ok(was_reset || self.shared.now(Fault::SignalSaidNew, 3))
    }

    fn reset(&self) -> Result<bool> {
        self.inner.reset()
    }

    fn signalled(&self) -> Result<Signal> {
        self.inner.signalled()
    }

    fn close(&self) -> Result<()> {
        self.inner.close()
    }
}
