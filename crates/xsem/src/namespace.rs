//! Namespaces: open a URL; remove, list, inspect.

use crate::claim::{Report, Summary};
use crate::engine::Engine;
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::shm;
use std::ops::ControlFlow;
use std::sync::Arc;

/// A place where names live, and one trust domain: who may open it may use everything in it.
///
/// | URL | where |
/// |---|---|
/// | `shm:` | the default of this user: `/dev/shm/xsem-UID/default`, whatever the environment says |
/// | `shm:NAME` | another one of this user: `/dev/shm/xsem-UID/NAME` |
/// | `shm:/path/to/file` | a file of one's own choice |
///
/// It is created where it does not exist. A process that has acquired something stays a member of the namespace, with
/// one small thread (the keeper) through which the kernel tells the others when it dies, until it ends.
#[derive(Clone, Debug)]
pub struct Namespace {
    engine: Arc<dyn Engine>,
}

impl Namespace {
    /// Opens the namespace of a URL, and creates it where it does not exist.
    ///
    /// # Errors
    /// 87 not a URL that is known, 5 no permission or not the user's own file, 1306 another version of the format,
    /// 1392 damaged, 8 no room.
    pub fn open(url: &str) -> Result<Namespace> {
        Namespace::builder().open(url)
    }

    /// Options for the namespace, where the defaults do not fit.
    pub fn builder() -> NamespaceBuilder {
        NamespaceBuilder::default()
    }

    /// The URL that opens it again.
    pub fn url(&self) -> &str {
        self.engine.url()
    }

    /// Takes a name away and frees its room. Open handles of others go stale (6).
    ///
    /// # Errors
    /// 187 no such name; 102 somebody holds or waits for it: nothing changes, and the error lists them.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.engine.remove(&Name::new(name)?)
    }

    /// All that is known of one semaphore now.
    ///
    /// # Errors
    /// 187 no such name.
    pub fn inspect(&self, name: &str) -> Result<Report> {
        self.engine.inspect(&Name::new(name)?)
    }

    /// Visits every semaphore, in no order, one at a time, until the visitor breaks off. It takes no lock; what is
    /// created or removed meanwhile may or may not be seen.
    ///
    /// # Errors
    /// 1392 when the file turns out to be damaged.
    pub fn for_each(&self, mut visit: impl FnMut(Summary) -> ControlFlow<()>) -> Result<()> {
        self.engine.list(&mut visit)
    }

    /// A list of every semaphore, sorted by name.
    ///
    /// # Errors
    /// As [`for_each`](Namespace::for_each).
    pub fn list(&self) -> Result<Vec<Summary>> {
        let mut all = Vec::new();
        self.for_each(|s| {
            all.push(s);
            ControlFlow::Continue(())
        })?;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// What others see as this process's command, instead of its command line.
    ///
    /// # Errors
    /// 106 no member slot.
    pub fn describe(&self, command: &str) -> Result<()> {
        self.engine.describe(command)
    }

    /// Says that this process's claims cover the process `pid`, its child: if this process dies, nobody takes its claims
    /// over before `pid` has ended. `None` takes that back.
    ///
    /// # Errors
    /// 87 no such process, 106 no member slot.
    pub fn cover(&self, pid: Option<u32>) -> Result<()> {
        self.engine.cover(pid)
    }

    pub(crate) fn engine(&self) -> &dyn Engine {
        &*self.engine
    }
}

/// Options for [`Namespace::builder`]. The limits count only where the namespace is created; an existing one keeps its own.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct NamespaceBuilder {
    options: shm::Options,
}

impl NamespaceBuilder {
    /// The most semaphores: 1 to 16,000,000; 1,048,576 by default. Room is only taken as it is used.
    pub fn max_semaphores(mut self, n: u32) -> Self {
        self.options.max_semaphores = n;
        self
    }

    /// The most member processes at one time: 1 to 2,040, which is the default.
    pub fn max_members(mut self, n: u32) -> Self {
        self.options.max_members = n;
        self
    }

    /// `false`: an error (187) where the namespace does not exist, instead of a new one.
    pub fn create(mut self, create: bool) -> Self {
        self.options.create = create;
        self
    }

    /// Opens the namespace.
    ///
    /// # Errors
    /// As [`Namespace::open`]; 87 for a limit out of range.
    pub fn open(self, url: &str) -> Result<Namespace> {
        let Some(place) = url.strip_prefix("shm:") else {
            return Err(Error::new(Code::InvalidParameter, format!("`{url}` is not the URL of a namespace"))
                .advice("use `shm:` (the default), `shm:NAME` or `shm:/path/to/file`"));
        };
        Ok(Namespace { engine: Arc::new(shm::ShmEngine::open(place, &self.options)?) })
    }
}
