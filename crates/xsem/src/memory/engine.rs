//! The engine and its objects: what the front doors see.

use super::pending::MemoryPending;
use super::process::{self, MAX_COMMAND, shorten};
use super::shared::{Shared, patience};
use crate::claim::{Capacity, Kind, Report, Signal, Summary, Wants};
use crate::engine::{
    Claim, Ending, Engine, Grant, Object, OwnedRequest, OwnedWant, Pending, Request, Spec, Want, Wish, check_list, not_counting,
};
use crate::error::{Code, Error, Result};
use crate::health::{Checkup, Repaired};
use crate::name::Name;
use std::any::Any;
use std::ops::ControlFlow;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering::*};

/// The namespaces with a name, the latest first. They live as long as the process: what a dead owner left in one is told to
/// whoever opens it next, however long that takes. The list is only ever added to and needs no lock, which a forked child
/// might find held.
static NAMED: AtomicPtr<Named> = AtomicPtr::new(null_mut());

struct Named {
    place: String,
    shared: Arc<Shared>,
    earlier: Option<&'static Named>,
}

/// The latest namespace with a name.
fn latest() -> Option<&'static Named> {
    // SAFETY: null, or a leaked box that was complete when it was published.
    unsafe { NAMED.load(Acquire).as_ref() }
}

/// The namespace of this name, among these and the earlier ones.
fn named(latest: Option<&'static Named>, place: &str) -> Option<Arc<Shared>> {
    std::iter::successors(latest, |n| n.earlier).find(|n| n.place == place).map(|n| Arc::clone(&n.shared))
}

/// The most semaphores that an option may ask for.
const MAX_SEMAPHORES: u32 = 16_000_000;

/// A namespace inside this process.
#[derive(Debug)]
pub struct MemoryEngine {
    shared: Arc<Shared>,
}

impl Default for MemoryEngine {
    /// A fresh namespace, for engines that are built on this one.
    fn default() -> MemoryEngine {
        MemoryEngine { shared: Shared::new("memory:".to_owned(), crate::shm::Options::default().max_semaphores) }
    }
}

impl MemoryEngine {
    /// Opens what follows `memory:` in a URL: nothing for a fresh namespace, or a name.
    pub(crate) fn open(place: &str, options: &crate::shm::Options) -> Result<MemoryEngine> {
        let url = format!("memory:{place}");
        let fits = place.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !fits || place.len() > 100 || place.starts_with('.') {
            return Err(Error::new(Code::InvalidParameter, format!("`{url}` is not the URL of a namespace"))
                .advice("use letters, digits, `-`, `_` and `.` (not first), or `memory:` alone for a namespace of its own"));
        }
        if options.group.is_some() {
            return Err(Error::new(Code::InvalidParameter, format!("`{url}` is of this process alone, and not for a group"))
                .advice("share a file: `shm:/path/to/file?group=NAME`"));
        }
        if !(1..=MAX_SEMAPHORES).contains(&options.max_semaphores) {
            return Err(Error::new(Code::InvalidParameter, "a limit of the namespace is out of range")
                .advice(format!("1 to {MAX_SEMAPHORES} semaphores are allowed")));
        }
        if place.is_empty() && options.create {
            return Ok(MemoryEngine { shared: Shared::new(url, options.max_semaphores) });
        }
        loop {
            let latest = latest();
            if let Some(shared) = named(latest, place) {
                return Ok(MemoryEngine { shared });
            }
            if !options.create {
                return Err(Error::new(Code::SemNotFound, format!("there is no namespace `{url}` in this process"))
                    .advice("open it with `create(true)`, which makes it"));
            }
            let shared = Shared::new(url.clone(), options.max_semaphores);
            let mine = Box::new(Named { place: place.to_owned(), shared: Arc::clone(&shared), earlier: latest });
            let (seen, mine) = (latest.map_or(null_mut(), |n| std::ptr::from_ref(n).cast_mut()), Box::into_raw(mine));
            match NAMED.compare_exchange(seen, mine, AcqRel, Acquire) {
                Ok(_) => return Ok(MemoryEngine { shared }),
                // SAFETY: from a box above, and nobody has seen it.
                Err(_) => drop(unsafe { Box::from_raw(mine) }),
            }
        }
    }

    fn object(&self, name: &Name, kind: Kind, handle: u64) -> Arc<dyn Object> {
        Arc::new(MemoryObject { shared: Arc::clone(&self.shared), name: name.clone(), kind, handle })
    }

    /// The handles of a list. 151, 87, 153.
    fn handles(&self, list: &[Want<'_>], duplicates: bool) -> Result<Vec<(u64, u32)>> {
        check_list(list, duplicates)?;
        let mut handles = Vec::with_capacity(list.len());
        for (i, want) in list.iter().enumerate() {
            match want.object.as_any().downcast_ref::<MemoryObject>() {
                Some(o) if Arc::ptr_eq(&o.shared, &self.shared) => handles.push((o.handle, want.permits)),
                _ => {
                    let name = want.object.name();
                    return Err(Error::new(Code::InvalidListFormat, format!("`{name}` is of another namespace"))
                        .of(name.as_str())
                        .at([i])
                        .advice("name semaphores of one namespace only"));
                }
            }
        }
        Ok(handles)
    }

    fn several(&self, list: &[Want<'_>], wants: Wants, request: &Request<'_>) -> Result<Vec<(usize, Grant)>> {
        let handles = self.handles(list, wants == Wants::All)?;
        self.shared.ask(wants, &handles, request)
    }
}

impl Engine for MemoryEngine {
    fn url(&self) -> &str {
        &self.shared.url
    }

    fn create(&self, name: &Name, spec: &Spec) -> Result<Arc<dyn Object>> {
        let handle = self.shared.state(|s, now| s.create(self.shared.session, name, spec, now))?;
        Ok(self.object(name, spec.kind, handle))
    }

    fn open(&self, name: &Name, kind: Kind) -> Result<Arc<dyn Object>> {
        let handle = self.shared.state(|s, _| s.open(self.shared.session, name, kind))?;
        Ok(self.object(name, kind, handle))
    }

    fn open_or_create(&self, name: &Name, spec: &Spec) -> Result<Arc<dyn Object>> {
        let handle = self.shared.state(|s, now| s.open_or_create(self.shared.session, name, spec, now))?;
        Ok(self.object(name, spec.kind, handle))
    }

    fn remove(&self, name: &Name, if_acquired: Option<u64>) -> Result<()> {
        self.shared.state(|s, now| s.remove(name, if_acquired, now))
    }

    fn wait_any(&self, list: &[Want<'_>], request: &Request<'_>) -> Result<(usize, Grant)> {
        let mut granted = self.several(list, Wants::Any, request)?;
        granted.pop().ok_or_else(|| Error::new(Code::InvalidEventCount, "a list of 0 semaphores"))
    }

    fn acquire_all(&self, list: &[Want<'_>], request: &Request<'_>) -> Result<Vec<Grant>> {
        Ok(self.several(list, Wants::All, request)?.into_iter().map(|(_, g)| g).collect())
    }

    fn start(self: Arc<Self>, wish: Wish, list: Vec<OwnedWant>, request: OwnedRequest) -> Result<Box<dyn Pending>> {
        let wants: Vec<Want<'_>> = list.iter().map(|w| Want { object: &*w.object, permits: w.permits }).collect();
        let handles = self.handles(&wants, wish == Wish::All)?;
        let wants = if wish == Wish::All { Wants::All } else { Wants::Any };
        Ok(Box::new(MemoryPending::new(Arc::clone(&self.shared), wants, handles, list, request)))
    }

    fn drain(&self, name: &Name, request: &Request<'_>) -> Result<()> {
        let (who, patience) = (self.shared.who(request), patience(request.until));
        self.shared.wait(request, |s, now| s.drain(who, name, patience, now))?;
        Ok(())
    }

    fn reopen(&self, name: &Name) -> Result<()> {
        self.shared.state(|s, now| s.reopen(name, now))
    }

    fn evict(&self, name: &Name, token: u64) -> Result<()> {
        self.shared.state(|s, now| s.evict(name, token, now))
    }

    fn inspect(&self, name: &Name) -> Result<Report> {
        self.shared.state(|s, now| s.inspect(name, now))
    }

    fn list(&self, visit: &mut dyn FnMut(Summary) -> ControlFlow<()>) -> Result<()> {
        // One at a time, so that the visitor may use the namespace.
        let mut last: Option<Name> = None;
        while let Some((name, summary)) = self.shared.state(|s, now| s.summary_after(last.as_ref(), now)) {
            if visit(summary).is_break() {
                break;
            }
            last = Some(name);
        }
        Ok(())
    }

    /// One lock guards all of it, and it dies with the process: there is nothing that could be half done.
    fn check(&self) -> Result<Checkup> {
        let mut semaphores = 0;
        self.list(&mut |_| {
            semaphores += 1;
            ControlFlow::Continue(())
        })?;
        Ok(Checkup::new(Vec::new(), semaphores, 1))
    }

    fn repair(&self) -> Result<Repaired> {
        Ok(Repaired::new(Vec::new(), self.check()?))
    }

    fn describe(&self, command: &str) -> Result<()> {
        self.shared.state(|s, _| s.describe(self.shared.session, shorten(command, MAX_COMMAND)));
        Ok(())
    }

    fn cover(&self, pid: Option<u32>) -> Result<()> {
        // Only for those who look: if this process dies, there is nobody left whom its claims could keep out.
        let process = pid.map(process::other).transpose()?;
        self.shared.state(|s, _| s.cover(self.shared.session, process));
        Ok(())
    }
}

/// An open semaphore.
#[derive(Debug)]
struct MemoryObject {
    shared: Arc<Shared>,
    name: Name,
    kind: Kind,
    handle: u64,
}

impl Object for MemoryObject {
    fn name(&self) -> &Name {
        &self.name
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Grant> {
        let mut granted = self.shared.ask(Wants::One, &[(self.handle, request.permits)], request)?;
        granted.pop().map(|(_, g)| g).ok_or_else(|| Error::new(Code::InvalidHandle, "this handle is closed"))
    }

    fn start(self: Arc<Self>, request: OwnedRequest) -> Result<Box<dyn Pending>> {
        let (shared, handles) = (Arc::clone(&self.shared), vec![(self.handle, request.permits)]);
        let list = vec![OwnedWant { permits: request.permits, object: self }];
        Ok(Box::new(MemoryPending::new(shared, Wants::One, handles, list, request)))
    }

    fn release(&self, claim: &Claim, ending: Ending) -> Result<()> {
        self.shared.state(|s, now| s.release(self.handle, claim, ending, now))
    }

    fn mark_consistent(&self, claim: &Claim) -> Result<()> {
        self.shared.state(|s, _| s.mark_consistent(self.handle, claim))
    }

    fn join(&self, token: u64) -> Result<Option<Claim>> {
        self.shared.state(|s, _| s.join(self.handle, token))
    }

    fn is_held(&self, claim: &Claim) -> bool {
        self.shared.state(|s, _| s.is_held(self.handle, claim))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn release_part(&self, claim: &Claim, permits: u32) -> Result<()> {
        self.shared.state(|s, now| s.release_part(self.handle, claim, permits, now))
    }

    fn slots(&self, claim: &Claim) -> Result<Vec<u32>> {
        self.shared.state(|s, _| s.slots(self.handle, claim))
    }

    fn add_permits(&self, permits: u32) -> Result<()> {
        self.shared.state(|s, now| s.add_permits(self.handle, permits, now))
    }

    fn forget(&self, claim: &Claim) -> Result<()> {
        self.shared.state(|s, now| s.forget(self.handle, claim, now))
    }

    fn resize(&self, limit: u32) -> Result<()> {
        if self.kind != Kind::Counting {
            return Err(not_counting(&self.name, self.kind));
        }
        self.shared.state(|s, now| s.resize(self.handle, limit, now))
    }

    fn signal(&self) -> Result<bool> {
        self.shared.state(|s, now| s.signal(self.handle, now))
    }

    fn reset(&self) -> Result<bool> {
        self.shared.state(|s, _| s.reset(self.handle))
    }

    fn signalled(&self) -> Result<Signal> {
        self.shared.state(|s, _| s.signalled(self.handle))
    }

    fn capacity(&self) -> Result<Capacity> {
        self.shared.state(|s, _| s.capacity(self.handle))
    }

    fn close(&self) -> Result<()> {
        self.shared.state(|s, now| s.close(self.handle, now))
    }
}

impl Drop for MemoryObject {
    fn drop(&mut self) {
        self.shared.state(|s, _| s.drop_handle(self.handle));
    }
}
