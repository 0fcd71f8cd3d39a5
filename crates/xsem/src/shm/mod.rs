//! The shared-memory engine. `docs/format.md` has the bytes, `docs/crash.md` every step and what a death in it leaves.
//!
//! | file | what |
//! |---|---|
//! | `layout` | the bytes and their sizes |
//! | `file` | finding, making, checking the namespace file |
//! | `map` | offsets to references, growth |
//! | `arena` | a namespace as this process has it open; registration |
//! | `keeper` | the thread through which the kernel tells of a death |
//! | `members` | identities, liveness, the gate |
//! | `word` | the word of a semaphore: its truth table |
//! | `protocol` | how a semaphore changes hands |
//! | `sharing` | one claim for nested `xsem run`s |
//! | `waiters` | wait records |
//! | `names`, `blob` | the name index; text in blocks |
//! | `obituary` | what dead owners leave; labels |
//! | `object` | an open semaphore |
//! | `thread` | threads as claimants, and what they leave |
//! | `inspect` | holders, waiters, reports, the audit |
//! | `futex`, `sys` | the only system calls |

mod arena;
mod blob;
mod file;
pub(crate) mod futex;
mod inspect;
mod keeper;
mod layout;
mod map;
mod members;
mod names;
mod obituary;
mod object;
mod protocol;
mod sharing;
mod sys;
mod thread;
mod waiters;
mod word;

pub use file::Options;
pub use object::FastPath;
pub(crate) use sys::user_name;
pub use thread::claimant;

use crate::claim::{Kind, Report, Summary};
use crate::engine::{Engine, Object, Spec};
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::sync::Ordering::*;
use arena::Arena;
use object::ShmExclusive;
use protocol::{Limit, Outcome};
use std::ops::ControlFlow;
use std::sync::Arc;
use word::{State, Word};

/// A namespace in shared memory.
#[derive(Debug)]
pub struct ShmEngine {
    arena: &'static Arena,
    url: String,
}

impl ShmEngine {
    /// Opens what follows `shm:` in a URL.
    pub fn open(place: &str, options: &Options) -> Result<ShmEngine> {
        let path = file::path_of(place)?;
        match Arena::open(&path, !place.starts_with('/'), options)? {
            Some(arena) => Ok(ShmEngine { arena, url: format!("shm:{place}") }),
            None => Err(Error::new(Code::SemNotFound, format!("there is no namespace at `{}`", path.display()))
                .advice("the first acquire or create makes it")),
        }
    }

    fn object(&self, name: &Name, index: u32, generation: u32) -> Result<Arc<dyn Object>> {
        Ok(Arc::new(ShmExclusive::new(self.arena, index, generation, name.clone())?))
    }

    /// A cell of this kind, or 6.
    fn of_kind(&self, name: &Name, kind: Kind, (index, generation): (u32, u32)) -> Result<Arc<dyn Object>> {
        let found = self.arena.map.cell(index).and_then(inspect::kind_of);
        match found {
            Some(k) if k == kind => self.object(name, index, generation),
            Some(k) => Err(Error::new(Code::InvalidHandle, format!("`{name}` is of kind {k}, not {kind}"))
                .of(name.as_str())
                .advice("use another name, or the operations of its kind")),
            None => {
                Err(Error::new(Code::FileCorrupt, format!("`{name}` has no kind: the namespace file is damaged"))
                    .of(name.as_str()))
            }
        }
    }

    fn make(&self, name: &Name, spec: &Spec) -> Result<names::Created> {
        if spec.kind != Kind::Exclusive {
            return Err(Error::new(Code::InvalidParameter, format!("this engine has no {} semaphores yet", spec.kind)));
        }
        let me = self.arena.register()?;
        names::create(self.arena, me, name, inspect::EXCLUSIVE)
    }

    fn find(&self, name: &Name) -> Result<(u32, u32)> {
        names::find(self.arena, name)?.ok_or_else(|| {
            Error::new(Code::SemNotFound, format!("there is no semaphore `{name}` in {}", self.url))
                .of(name.as_str())
                .advice("`xsem ls` lists those that there are; `xsem create` and `xsem run` make one")
        })
    }

    fn in_use(&self, name: &Name, index: u32, generation: u32) -> Error {
        let waiters = inspect::waiters_of(self.arena, index, generation, None).into_iter().map(|(_, w)| w).collect();
        Error::new(Code::SemIsSet, format!("`{name}` is in use and stays"))
            .of(name.as_str())
            .held_by(inspect::holders(self.arena, index))
            .behind(waiters)
            .advice("wait until they have ended, or end them first")
    }
}

impl Engine for ShmEngine {
    fn url(&self) -> &str {
        &self.url
    }

    fn create(&self, name: &Name, spec: &Spec) -> Result<Arc<dyn Object>> {
        match self.make(name, spec)? {
            names::Created::New(index, generation) => self.object(name, index, generation),
            names::Created::Exists(..) => Err(Error::new(Code::AlreadyExists, format!("`{name}` exists already"))
                .of(name.as_str())
                .advice("open it, or use open_or_create")),
        }
    }

    fn open(&self, name: &Name, kind: Kind) -> Result<Arc<dyn Object>> {
        let found = self.find(name)?;
        self.of_kind(name, kind, found)
    }

    fn open_or_create(&self, name: &Name, spec: &Spec) -> Result<Arc<dyn Object>> {
        if let Some(found) = names::find(self.arena, name)? {
            return self.of_kind(name, spec.kind, found);
        }
        match self.make(name, spec)? {
            names::Created::New(index, generation) => self.object(name, index, generation),
            names::Created::Exists(index, generation) => self.of_kind(name, spec.kind, (index, generation)),
        }
    }

    fn remove(&self, name: &Name) -> Result<()> {
        let me = self.arena.register()?;
        loop {
            let (index, generation) = self.find(name)?;
            let cell = self.arena.map.cell(index).ok_or_else(|| Error::new(Code::FileCorrupt, "a name leads nowhere"))?;
            let word = Word(cell.word.load(Acquire));
            if word.generation() != generation {
                continue;
            }
            if !inspect::waiters_of(self.arena, index, generation, None).is_empty() {
                return Err(self.in_use(name, index, generation));
            }
            let word = match word.state() {
                State::Free => word,
                // A dead owner's claim is over; it is taken over first, which waits for its last write.
                State::Owned(o) if !self.arena.members.life(&self.arena.map, o).eq(&members::Life::Alive) => {
                    let sem = ShmExclusive::new(self.arena, index, generation, name.clone())?;
                    match sem.try_for(me, Limit::Now)? {
                        // Free again, with the mark; then as any other.
                        Outcome::Owned => {
                            sem.end(me, false);
                            continue;
                        }
                        Outcome::Stale => continue,
                        _ => return Err(self.in_use(name, index, generation)),
                    }
                }
                State::Owned(_) => return Err(self.in_use(name, index, generation)),
                _ => continue,
            };
            // Waiters that appear from here on find the semaphore gone, as if they had come later.
            if names::remove(self.arena, index, word)? {
                return Ok(());
            }
        }
    }

    fn inspect(&self, name: &Name) -> Result<Report> {
        let (index, _) = self.find(name)?;
        inspect::report(self.arena, index, name.as_str()).ok_or_else(|| {
            Error::new(Code::FileCorrupt, format!("`{name}` has no kind: the namespace file is damaged")).of(name.as_str())
        })
    }

    fn list(&self, visit: &mut dyn FnMut(Summary) -> ControlFlow<()>) -> Result<()> {
        for i in 0..self.arena.map.cells() {
            if let Some(s) = inspect::summary(self.arena, i)
                && visit(s).is_break()
            {
                break;
            }
        }
        Ok(())
    }

    fn describe(&self, command: &str) -> Result<()> {
        self.arena.describe(command);
        Ok(())
    }

    fn cover(&self, pid: Option<u32>) -> Result<()> {
        let me = self.arena.register()?;
        let Some(slot) = self.arena.map.slot(me.slot()) else { return Ok(()) };
        slot.cover_pid.store(0, Release);
        if let Some(pid) = pid {
            let found = sys::stat_of(pid).map_err(|e| {
                Error::new(Code::NotEnoughMemory, format!("process {pid} cannot be looked at, so it cannot be covered"))
                    .because(e)
            })?;
            let Some(stat) = found else {
                return Err(Error::new(Code::InvalidParameter, format!("there is no process {pid} to cover"))
                    .advice("cover a child that has not been waited for, in this pid namespace, with /proc mounted"));
            };
            slot.cover_start.store(stat.start, Relaxed);
            slot.cover_pid.store(pid as u64, Release);
        }
        Ok(())
    }
}

/// For the tests' harness only: not part of the API.
pub mod testing {
    use crate::error::{Code, Error, Result};
    use crate::namespace::Namespace;
    use std::sync::atomic::Ordering;

    fn engine(ns: &Namespace) -> Result<super::ShmEngine> {
        let place = ns.url().strip_prefix("shm:").ok_or_else(|| Error::new(Code::InvalidParameter, "not a shm: namespace"))?;
        super::ShmEngine::open(place, &super::Options { create: false, ..super::Options::default() })
    }

    /// Registers with the calling thread as the keeper, so that a tracer can step through it.
    pub fn register_inline(ns: &Namespace) -> Result<()> {
        engine(ns)?.arena.register_inline().map(|_| ())
    }

    /// Registers this process as a member, as the first acquire does.
    pub fn register(ns: &Namespace) -> Result<()> {
        engine(ns)?.arena.register().map(|_| ())
    }

    /// Every violated invariant of the file, a line each.
    pub fn audit(ns: &Namespace) -> Vec<String> {
        engine(ns).map_or_else(|e| vec![e.to_string()], |e| super::inspect::audit(e.arena))
    }

    /// Switches the periodic safety re-check of this process's waits off, or on again.
    pub fn set_recheck(on: bool) {
        super::object::RECHECK.store(on, Ordering::Relaxed);
    }
}
