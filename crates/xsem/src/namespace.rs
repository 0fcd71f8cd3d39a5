//! Namespaces: open a URL; remove, list, inspect.

use crate::claim::{Kind, Report, Summary};
use crate::engine::Engine;
use crate::error::{Code, Error, Result};
use crate::health::{Checkup, Loss, Repaired};
use crate::history::{History, Record};
use crate::lost::{ClaimsLost, Lost};
use crate::memory::MemoryEngine;
use crate::name::Name;
use crate::shm;
use crate::wait::Wait;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// A place where names live, and one trust domain: who may open it may use everything in it.
///
/// | URL | where |
/// |---|---|
/// | `shm:` | the default of this user: `/dev/shm/xsem-UID/default`, whatever the environment says |
/// | `shm:NAME` | another one of this user: `/dev/shm/xsem-UID/NAME` |
/// | `shm:/path/to/file` | a file of one's own choice |
/// | `shm:/path/to/file?group=NAME` | a file that is shared with the members of a group (see [`group`](NamespaceBuilder::group)) |
/// | `memory:` | only in this process, and a fresh one at each open: for tests |
/// | `etcd://host:2379,host:2379/prefix` | between machines, in an etcd: after `xsem_etcd::register()`, of the crate `xsem-etcd` |
/// | `memory:NAME` | only in this process, shared by all who open it there; it stays until the process ends |
///
/// It is created where it does not exist. A process that has acquired something stays a member of the namespace, with
/// one small thread (the keeper) through which the kernel tells the others when it dies, until it ends.
///
/// # Forks, threads, exits
/// A forked child is a process of its own: what its parent holds stays the parent's, and guards that it has copies of do
/// nothing. It may use handles from before the fork, or open others, at once, whatever other threads were doing at that
/// instant. (A namespace in memory begins anew there.) A daemon that closes every descriptor does no harm by that.
///
/// A claim belongs to a thread (what is said to be the process's apart). A thread that ends while it owns, however it ends,
/// is an owner that died; so is a process that goes on to another program by `exec`. Exit handlers may still give back, and
/// acquire. A panic that unwinds through a guard releases it, without a mark.
///
/// A program that loads a library with this one inside (`dlopen`) may unload it; its code stays once it has claimed something.
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
        self.engine.remove(&Name::new(name)?, None)
    }

    /// Refuses new requests (102) and waits until everybody who holds it or waits for it has ended. It stays closed to
    /// requests until [`reopen`](Namespace::reopen), or until it is removed.
    ///
    /// # Errors
    /// 104 at interrupt time. 121 with who is left, 95 cancelled or reopened by somebody: in both cases it is open again. 102 somebody else is
    /// draining it, 187.
    pub fn drain(&self, name: &str, wait: Wait<'_>) -> Result<()> {
        Name::check_at_normal_time(name)?;
        self.engine.drain(&Name::new(name)?, &wait.request(crate::shm::claimant()))
    }

    /// Lets requests in again after a drain, also while that still waits.
    ///
    /// # Errors
    /// 187 no such name.
    pub fn reopen(&self, name: &str) -> Result<()> {
        self.engine.reopen(&Name::new(name)?)
    }

    /// Ends the claim with this fencing token (`inspect` tells it), whose owner hangs: a person's decision. The next owner
    /// of an exclusive semaphore is told (105); the old one, should it wake up, finds its claim lost (288). What it does
    /// to the resource until then only the fencing token can stop.
    ///
    /// # Errors
    /// 187 no such name, 288 no claim with this token.
    pub fn evict(&self, name: &str, token: u64) -> Result<()> {
        self.engine.evict(&Name::new(name)?, token)
    }

    /// Removes what nobody has used for this long: no claim, no wait. Returns the names. What is in use, was drained, or is
    /// an event that is signalled, stays; so does what `keep` says.
    ///
    /// # Errors
    /// As [`for_each`](Namespace::for_each).
    pub fn gc(&self, unused_for: Duration, mut keep: impl FnMut(&Summary) -> bool) -> Result<Vec<String>> {
        let mut removed = self.engine.sweep()?;
        let mut failed = None;
        self.for_each(|s| {
            let idle = s.holders.is_empty() && !s.contended && !s.drained && s.unused_for >= unused_for;
            // A signal is for those, too, who have not come yet.
            let signalled = s.signal.is_some_and(|signal| signal.is_set);
            if !idle || signalled || keep(&s) {
                return ControlFlow::Continue(());
            }
            match Name::new(&s.name).and_then(|name| self.engine.remove(&name, Some(s.acquired))) {
                Ok(()) => removed.push(s.name),
                // Somebody began to use it, or was faster.
                Err(e) if matches!(e.code(), Code::SemIsSet | Code::SemNotFound) => {}
                Err(e) => {
                    failed = Some(e);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        failed.map_or(Ok(removed), Err)
    }

    /// Looks at everything that the namespace has stored, while others go on: nothing is changed. Findings are about bytes that
    /// no operation leaves, each with what repair can do about it; what is in the middle of an operation is none.
    ///
    /// ```
    /// let ns = xsem::Namespace::open("memory:")?;
    /// for finding in ns.check()?.damage() {
    ///     eprintln!("{finding}");
    /// }
    /// # Ok::<(), xsem::Error>(())
    /// ```
    ///
    /// # Errors
    /// 1 the engine has nothing that could be looked at.
    pub fn check(&self) -> Result<Checkup> {
        self.engine.check()
    }

    /// The same for the namespace of a URL without opening it: also one that cannot be opened because it is damaged. This process
    /// does not become a member, and nothing is written.
    ///
    /// # Errors
    /// 187 there is none, 5 no permission or not the user's own file, 1306 another version of the format; as
    /// [`check`](Namespace::check).
    pub fn check_at(url: &str) -> Result<Checkup> {
        match url.strip_prefix("shm:") {
            Some(place) => shm::check_at(place),
            None => Namespace::builder().create(false).open(url)?.check(),
        }
    }

    /// Mends what [`check`](Namespace::check) finds, as far as what is left says how it was: from the names in the cells, from
    /// the claims, from the kernel's locks. Others may go on meanwhile, several may repair at once, and it may be killed and
    /// begun again. No claim of a living process is taken away as long as its record can be read; where it cannot, the
    /// semaphore becomes free with the mark: the next owner is told (105, [`Cause::Repaired`](crate::Cause::Repaired)).
    ///
    /// What is left, and why, is in [`Repaired::now`].
    ///
    /// ```
    /// let ns = xsem::Namespace::open("memory:")?;
    /// assert!(ns.repair()?.now.is_sound());
    /// # Ok::<(), xsem::Error>(())
    /// ```
    ///
    /// # Errors
    /// 1 the engine has nothing that could be mended.
    pub fn repair(&self) -> Result<Repaired> {
        self.engine.repair()
    }

    /// The same for the namespace of a URL, also one that cannot be opened because it is damaged.
    ///
    /// # Errors
    /// As [`check_at`](Namespace::check_at).
    pub fn repair_at(url: &str) -> Result<Repaired> {
        match url.strip_prefix("shm:") {
            Some(place) => shm::repair_at(place),
            None => Namespace::builder().create(false).open(url)?.repair(),
        }
    }

    /// What [`reset_at`](Namespace::reset_at) would throw away: claims, waiters, who uses it. Where the namespace cannot be
    /// opened, only the processes that have its file mapped, as far as they can be seen.
    ///
    /// # Errors
    /// 187 there is none, 5 no permission or not the user's own file, 1 the engine has nothing to reset.
    pub fn would_lose(url: &str) -> Result<Loss> {
        match url.strip_prefix("shm:") {
            Some(place) => shm::loss_at(place),
            None => kept(url)?.engine.would_lose(),
        }
    }

    /// Throws all claims away and begins anew, with the limits of the old namespace as far as they can be read. Whoever uses the
    /// old one gets no new claim from then on, and is told why (6); what it holds it may give back, where nobody meets it. Also
    /// for a namespace that cannot be opened (1306, 1392). What it threw away is returned.
    ///
    /// The new file gets its name at one instant; a reset that is killed leaves the old namespace or the new one.
    ///
    /// **Whoever holds something goes on**: its semaphore can be taken by somebody else at once, and nothing tells the next owner.
    /// End the users first, where that is possible. (In a store, all keys go at one instant, and its users find out with what they ask next.)
    ///
    /// ```no_run
    /// let lost = xsem::Namespace::reset_at("shm:builds")?;
    /// println!("{} claims are gone", lost.claims.len());
    /// # Ok::<(), xsem::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`would_lose`](Namespace::would_lose); 8 no room for the new one.
    pub fn reset_at(url: &str) -> Result<Loss> {
        match url.strip_prefix("shm:") {
            Some(place) => shm::reset_at(place),
            None => kept(url)?.engine.reset(),
        }
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

    /// The kind of a semaphore. (To ask for the wrong one instead is 6, and is kept as a [disagreement](Namespace::incidents).)
    ///
    /// # Errors
    /// 187 no such name.
    pub fn kind(&self, name: &str) -> Result<Kind> {
        self.engine.kind(&Name::new(name)?)
    }

    /// Begins to write down what happens in the namespace, with room for the last `records` records (at most 16,384, 256
    /// bytes each), for all processes that use it, those included that have it open already (within a second). `None` ends
    /// that; what was written stays until it is written over.
    ///
    /// While it is off, as it is in the beginning, nothing of it costs anything. While it is on, each acquire and release takes
    /// some hundred nanoseconds longer.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display()))?;
    /// ns.keep_history(Some(1000))?;
    /// drop(xsem::Exclusive::open_or_create(&ns, "deploy")?.acquire()?);
    /// for record in ns.history()?.records {
    ///     println!("{} {}: {record}", record.process.pid, record.name);
    /// }
    /// # Ok::<(), xsem::Error>(())
    /// ```
    ///
    /// # Errors
    /// 87 too many, 100 no room for them, 106; 1 the engine keeps none.
    pub fn keep_history(&self, records: Option<u32>) -> Result<()> {
        self.engine.keep_history(records)
    }

    /// What was written down, and is still there. This process does not become a member by it.
    ///
    /// # Errors
    /// 1392 the file is damaged; 1 the engine keeps none.
    pub fn history(&self) -> Result<History> {
        self.history_from(0)
    }

    /// The same from a position on: for who follows it.
    ///
    /// # Errors
    /// As [`history`](Namespace::history).
    pub fn history_from(&self, position: u64) -> Result<History> {
        self.engine.history(position)
    }

    /// The last disagreements about the kind (6) or the limit (87) of a semaphore: these are kept also while no history is
    /// written.
    ///
    /// # Errors
    /// As [`history`](Namespace::history).
    pub fn incidents(&self) -> Result<Vec<Record>> {
        self.engine.incidents()
    }

    /// What others see as this process's command, instead of its command line.
    ///
    /// # Errors
    /// 106 no member slot.
    pub fn describe(&self, command: &str) -> Result<()> {
        self.engine.describe(command)
    }

    /// Says that this process runs inside of the command that the claim with this token covers: whoever holds that waits for
    /// this process to end, so its waits count as the holder's in the search for deadlocks (1131). `xsem run` says it when
    /// it is nested. Nothing happens if the claim is over.
    ///
    /// # Errors
    /// 187 no such name, 106 no member slot.
    pub fn inside(&self, name: &str, token: u64) -> Result<()> {
        self.engine.inside(&Name::new(name)?, token)
    }

    /// Says that this process's claims cover the process `pid`, its child: if this process dies, nobody takes its claims
    /// over before `pid` has ended. `None` takes that back.
    ///
    /// # Errors
    /// 87 no such process, 106 no member slot.
    pub fn cover(&self, pid: Option<u32>) -> Result<()> {
        self.engine.cover(pid)
    }

    /// Calls `call` whenever all claims of this process in this namespace are lost at once: its lease has ended, because the store
    /// could not be reached in time, the machine was suspended, or somebody has revoked it. Others may own what it owned from
    /// then on: stop what the claims protect. It is called on a thread of the library: be brief, and ask nothing of the namespace
    /// there. In shared memory claims are not lost, and it is never called.
    ///
    /// ```no_run
    /// # let ns = xsem::Namespace::open("etcd://127.0.0.1:2379/builds")?;
    /// ns.on_loss(|loss| {
    ///     eprintln!("{loss}");
    ///     std::process::abort();
    /// });
    /// # Ok::<(), xsem::Error>(())
    /// ```
    pub fn on_loss(&self, call: impl Fn(&ClaimsLost) + Send + Sync + 'static) {
        self.engine.on_loss(Box::new(call));
    }

    /// The next such loss, as a future.
    pub fn lost(&self) -> Lost {
        let (lost, tell) = Lost::new();
        self.engine.on_loss(tell);
        lost
    }

    /// A namespace on an engine that is not built in (tests, networks).
    pub fn from_engine(engine: Arc<dyn Engine>) -> Namespace {
        Namespace { engine }
    }

    pub(crate) fn shared(&self) -> Arc<dyn Engine> {
        self.engine.clone()
    }

    pub(crate) fn engine(&self) -> &dyn Engine {
        &*self.engine
    }
}

/// The namespace of another engine, which must be there already. 1 where it is not kept outside of processes.
fn kept(url: &str) -> Result<Namespace> {
    match url.starts_with("memory:") {
        true => Err(crate::engine::not_here(url, "reset")),
        false => Namespace::builder().create(false).open(url),
    }
}

fn not_a_url(url: &str) -> Error {
    Error::new(Code::InvalidParameter, format!("`{url}` is not the URL of a namespace"))
        .advice(match url.starts_with("etcd") {
            true => "this program does not know etcd: it has to call `xsem_etcd::register()` (the command: build it with the feature `etcd`)",
            false => "use `shm:` (the default), `shm:NAME`, `shm:/path/to/file`, or `memory:` for this process alone",
        })
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

    /// `false`: no handler for SIGBUS is installed by this open. By default the first open installs one, which stays: if somebody
    /// truncates the file, the process then gets errors (1392) instead of being ended by that signal. It passes on to the
    /// handler that was there before whatever is not about a namespace. Say `false` where a runtime wants that signal for
    /// itself alone. What installs a handler later should call ours in the same way; threads that have SIGBUS blocked are not
    /// saved by it.
    pub fn survive_bus_errors(mut self, survive: bool) -> Self {
        self.options.survive_bus_errors = survive;
        self
    }

    /// Shares it with a group of users, by name or number: the file has mode 0660 and this group. Both sides ask for it, who
    /// makes it and who opens it, since everybody in the group can then do anything to the namespace; a file of another
    /// group or mode is refused (5). Only for `shm:/path/to/file`; in a URL: `shm:/path/to/file?group=NAME`.
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.options.group = Some(name.into());
        self
    }

    /// Opens the namespace.
    ///
    /// # Errors
    /// As [`Namespace::open`]; 87 for a limit out of range.
    pub fn open(self, url: &str) -> Result<Namespace> {
        if let Some(place) = url.strip_prefix("memory:") {
            // There will be no keeper that does this when it is worth while (see `docs/interrupt.md`).
            crate::interrupt::prepare();
            return Ok(Namespace { engine: Arc::new(MemoryEngine::open(place, &self.options)?) });
        }
        let Some(place) = url.strip_prefix("shm:") else {
            let open = url.split_once(':').and_then(|(scheme, _)| crate::engine::scheme(scheme));
            let engine = open.ok_or_else(|| not_a_url(url))?(url)?;
            crate::interrupt::prepare();
            return Ok(Namespace { engine });
        };
        Ok(Namespace { engine: Arc::new(shm::ShmEngine::open(place, &self.options)?) })
    }
}
