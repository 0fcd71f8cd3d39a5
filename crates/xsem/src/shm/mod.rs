//! The shared-memory engine. `docs/format.md` has the bytes, `docs/crash.md` every step and what a death in it leaves.
//!
//! | file | what |
//! |---|---|
//! | `layout` | the bytes and their sizes |
//! | `place` | what a URL says |
//! | `file` | finding, making, checking the namespace file |
//! | `trust`, `walk`, `filesystem`, `accounts` | whom it is shared with; owners, modes, links, groups |
//! | `map` | offsets to references, growth |
//! | `arena` | a namespace as this process has it open; registration |
//! | `descriptor` | files that a program may close under us |
//! | `fault`, `standing`, `vigil` | SIGBUS; whether the file is still the namespace; who watches it |
//! | `keeper` | the thread through which the kernel tells of a death |
//! | `members` | identities, liveness, the gate |
//! | `word` | the word of a semaphore: its truth table |
//! | `protocol` | how a semaphore changes hands |
//! | `count`, `permits` | the words of a counting semaphore, and how permits change hands |
//! | `ledger`, `slots` | who holds which permits |
//! | `counting`, `short` | an open counting semaphore; the short way to permits |
//! | `signal`, `event` | how an event is signalled and waited for; an open event |
//! | `reserve` | adding permits at interrupt time |
//! | `joint`, `many` | several semaphores at one instant, or the first of them |
//! | `sleep`, `watchers` | sleeping on words and lives |
//! | `pending`, `reactor` | asynchronous requests, and what wakes them |
//! | `deadlock` | the wait-for graph |
//! | `drain`, `evict`, `removal` | refusing requests, ending claims, taking names away |
//! | `prepared` | releases for signal handlers |
//! | `world` | the protocols' surroundings in shared memory |
//! | `sharing` | one claim for nested `xsem run`s |
//! | `waiters` | wait records |
//! | `names`, `blob`, `chain` | the name index; text in blocks; chains that end |
//! | `obituary` | what dead owners leave; labels |
//! | `history`, `ring` | what has happened, if somebody wants to know |
//! | `object` | an open semaphore |
//! | `thread` | threads as claimants, and what they leave |
//! | `inspect` | holders, waiters, reports, the audit |
//! | `check` | looking at everything, mending it, beginning anew |
//! | `own_thread` | the library's own threads |
//! | `futex`, `sys` | the only system calls |

mod accounts;
mod arena;
mod blob;
mod careful;
mod chain;
mod check;
mod count;
mod counting;
mod deadlock;
mod descriptor;
mod disowned;
mod drain;
mod event;
mod evict;
mod fault;
mod file;
mod filesystem;
pub(crate) mod futex;
mod history;
mod image;
mod inspect;
mod joint;
mod keeper;
mod layout;
mod ledger;
mod leftover;
mod line;
mod many;
mod map;
mod members;
mod names;
mod obituary;
mod object;
mod own_thread;
mod patience;
mod pending;
mod permits;
mod place;
mod places;
mod plain;
mod prepared;
#[doc(hidden)]
pub mod probe;
mod protocol;
mod put_back;
pub(crate) mod reactor;
mod removal;
mod reserve;
mod ring;
mod sharing;
mod short;
mod signal;
mod sleep;
mod slots;
mod standing;
pub(crate) mod sys;
mod thread;
mod touched;
mod trust;
mod users;
mod vigil;
mod waiters;
mod walk;
mod watchers;
mod word;
mod world;

pub use file::Options;
pub use object::FastPath;
pub use short::FastPermits;
pub(crate) use sys::{user_name, whole};
pub use thread::claimant;

use crate::claim::{Kind, Report, Reset, Summary};
use crate::engine::{Engine, Grant, Object, OwnedRequest, OwnedWant, Pending, Request, Spec, Want, Wish};
use crate::error::{Code, Error, Result};
use crate::health::{Checkup, Loss, Repaired};
use crate::history::{History, Record};
use crate::name::Name;
use crate::sync::Ordering::*;
use arena::Arena;
use counting::ShmCounting;
use event::ShmEvent;
use history::{Note, What};
use object::ShmExclusive;
use pending::{How, ShmPending};
use place::Place;
use removal::Closing;
use std::ops::ControlFlow;
use std::sync::Arc;
use word::State;

/// How often an operation on a name begins again because others have changed it.
const ROUNDS: u32 = 20_000;

/// A namespace in shared memory.
#[derive(Debug)]
pub struct ShmEngine {
    arena: &'static Arena,
    url: String,
}

/// Checks what follows `shm:` in a URL, without opening it for use.
pub fn check_at(place: &str) -> Result<Checkup> {
    check::check_file(&Place::parse(place)?)
}

/// Repairs what follows `shm:` in a URL, also where it cannot be opened.
pub fn repair_at(place: &str) -> Result<Repaired> {
    check::repair_file(&Place::parse(place)?)
}

/// What resetting what follows `shm:` in a URL would throw away.
pub fn loss_at(place: &str) -> Result<Loss> {
    check::loss(&Place::parse(place)?)
}

/// Puts a new namespace in the place of the old one.
pub fn reset_at(place: &str) -> Result<Loss> {
    check::reset(&Place::parse(place)?)
}

impl ShmEngine {
    /// Opens what follows `shm:` in a URL.
    pub fn open(place: &str, options: &Options) -> Result<ShmEngine> {
        let at = Place::parse(place)?.shared_with(options.group.as_deref())?;
        let options = Options { group: at.group.clone(), ..options.clone() };
        match Arena::open(&at.path, at.own, &options)? {
            Some(arena) => Ok(ShmEngine { arena, url: at.url(place) }),
            None => Err(Error::new(Code::SemNotFound, format!("there is no namespace at `{}`", at.path.display()))
                .advice("the first acquire or create makes it")),
        }
    }

    /// A handle; None: the name was ephemeral, and has just gone.
    fn object(&self, name: &Name, index: u32, generation: u32) -> Result<Option<Arc<dyn Object>>> {
        let mut base = ShmExclusive::new(self.arena, index, generation, name.clone())?;
        if inspect::is_ephemeral(base.cell()) {
            let me = self.arena.register()?;
            match users::enter(&base, me)? {
                Some(entry) => base.user = Some((me, entry)),
                None => return Ok(None),
            }
        }
        Ok(Some(match base.is_exclusive() {
            true => Arc::new(base),
            false if inspect::is_event(base.cell()) => Arc::new(ShmEvent::new(base)),
            false => {
                let counting = ShmCounting::new(base);
                counting.keep_in_reserve();
                Arc::new(counting)
            }
        }))
    }

    /// What is behind a name now.
    fn behind(&self, name: &Name) -> Result<ShmExclusive> {
        let (index, generation) = self.find(name)?;
        Ok(ShmExclusive::new(self.arena, index, generation, name.clone())?.resolved())
    }

    /// 87, where one exists that was made otherwise.
    fn same_limit(&self, name: &Name, spec: &Spec, index: u32) -> Result<()> {
        let auto = self.arena.map.cell(index).filter(|_| spec.kind == Kind::Event).map(inspect::is_auto);
        if let Some(auto) = auto.filter(|auto| *auto != (spec.reset == Reset::Auto)) {
            let there = if auto { Reset::Auto } else { Reset::Manual };
            let is = history::shape(&Spec::event(there, false));
            history::mismatch(self.arena, name.as_str(), Code::InvalidParameter, history::shape(spec), is);
            return Err(Error::new(
                Code::InvalidParameter,
                format!("`{name}` is an event with {there} reset, not with {} reset", spec.reset),
            )
            .of(name.as_str())
            .advice("ask for what it is, or use another name"));
        }
        let Some(cell) = self.arena.map.cell(index).filter(|_| spec.kind == Kind::Counting) else { return Ok(()) };
        let generation = ledger::generation_of(cell);
        let there = inspect::capacity(&ledger::Book { arena: self.arena, cell, index, generation });
        if (there.mode, there.limit) == (spec.mode, spec.limit) {
            return Ok(());
        }
        let is = history::shape(&Spec { mode: there.mode, ..Spec::pool(there.limit) });
        history::mismatch(self.arena, name.as_str(), Code::InvalidParameter, history::shape(spec), is);
        Err(Error::new(
            Code::InvalidParameter,
            format!("`{name}` is a {} of {}, not a {} of {}", there.mode, there.limit, spec.mode, spec.limit),
        )
        .of(name.as_str())
        .advice("ask for what it is, use another name, or change its limit (`xsem resize`)"))
    }

    /// A cell of this kind, or 6.
    fn of_kind(&self, name: &Name, kind: Kind, (index, generation): (u32, u32)) -> Result<Option<Arc<dyn Object>>> {
        let found = self.arena.map.cell(index).and_then(inspect::kind_of);
        match found {
            Some(k) if k == kind => self.object(name, index, generation),
            Some(k) => {
                let [asked, there] = [kind, k].map(|k| history::shape_of_kind(k) << 24);
                history::mismatch(self.arena, name.as_str(), Code::InvalidHandle, asked, there);
                Err(Error::new(Code::InvalidHandle, format!("`{name}` is of kind {k}, not {kind}"))
                    .of(name.as_str())
                    .advice("use another name, or the operations of its kind"))
            }
            None => Err(self.arena.damaged(format_args!("`{name}` has no kind")).of(name.as_str())),
        }
    }

    fn make(&self, name: &Name, spec: &Spec) -> Result<names::Created> {
        spec.check()?;
        let me = self.arena.enroll()?;
        if self.arena.map.cells() == 0 {
            // The first name of all; or everything was cut off, and is there again as zeros.
            self.arena.look();
        }
        if !self.arena.is_current() {
            self.arena.stands()?;
        }
        self.clear_away(name)?;
        let made = names::create(self.arena, me, name, spec)?;
        if matches!(made, names::Created::New(..)) && self.arena.is_recorded() {
            history::note(self.arena, &Note::named(name.as_str(), What::created(spec.kind)));
        }
        Ok(made)
    }

    fn removed(&self, name: &Name) {
        if self.arena.is_recorded() {
            history::note(self.arena, &Note::named(name.as_str(), What::REMOVED));
        }
    }

    /// The cell of a name. An ephemeral one without users is none.
    fn look_up(&self, name: &Name) -> Result<Option<(u32, u32)>> {
        let Some((index, generation)) = names::find(self.arena, name)? else { return Ok(None) };
        if self.arena.map.cell(index).is_some_and(inspect::is_ephemeral) {
            let sem = ShmExclusive::new(self.arena, index, generation, name.clone())?;
            if users::is_abandoned(&sem) {
                return Ok(None);
            }
        }
        Ok(Some((index, generation)))
    }

    /// Takes an ephemeral name away that has no users.
    fn clear_away(&self, name: &Name) -> Result<()> {
        let Some((index, generation)) = names::find(self.arena, name)? else { return Ok(()) };
        if self.arena.map.cell(index).is_some_and(inspect::is_ephemeral) {
            let me = self.arena.register()?;
            let sem = ShmExclusive::new(self.arena, index, generation, name.clone())?;
            // Its last user may still be being taken apart.
            let mut patience = 50;
            while users::is_abandoned(&sem) && !users::take_away(&sem, me)? && patience > 0 {
                patience -= 1;
                sys::nap(std::time::Duration::from_millis(1));
            }
        }
        Ok(())
    }

    fn find(&self, name: &Name) -> Result<(u32, u32)> {
        self.look_up(name)?.ok_or_else(|| {
            // It may have been in a part of the file that was cut off.
            self.arena.look();
            if let Err(e) = self.arena.sound() {
                return e;
            }
            Error::new(Code::SemNotFound, format!("there is no semaphore `{name}` in {}", self.url))
                .of(name.as_str())
                .advice("`xsem ls` lists those that there are; `xsem create` and `xsem run` make one")
        })
    }

    /// Others change a name for a few rounds while one looks; what is otherwise in every round is made by nobody.
    fn never_settles(&self, name: &Name) -> Error {
        self.arena.damaged(format_args!("what is stored of `{name}` does not fit together")).of(name.as_str())
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
        for _ in 0..ROUNDS {
            match self.make(name, spec)? {
                names::Created::New(index, generation) => {
                    // None: ephemeral, and gone before we had it open.
                    if let Some(object) = self.object(name, index, generation)? {
                        return Ok(object);
                    }
                }
                names::Created::Exists(..) => {
                    return Err(Error::new(Code::AlreadyExists, format!("`{name}` exists already"))
                        .of(name.as_str())
                        .advice("open it, or use open_or_create"));
                }
            }
        }
        Err(self.never_settles(name))
    }

    fn open(&self, name: &Name, kind: Kind) -> Result<Arc<dyn Object>> {
        for _ in 0..ROUNDS {
            let found = self.find(name)?;
            if let Some(object) = self.of_kind(name, kind, found)? {
                return Ok(object);
            }
        }
        Err(self.never_settles(name))
    }

    fn open_or_create(&self, name: &Name, spec: &Spec) -> Result<Arc<dyn Object>> {
        for _ in 0..ROUNDS {
            let found = match self.look_up(name)? {
                Some(found) => found,
                None => match self.make(name, spec)? {
                    names::Created::New(index, generation) | names::Created::Exists(index, generation) => (index, generation),
                },
            };
            if let Some(object) = self.of_kind(name, spec.kind, found)? {
                self.same_limit(name, spec, found.0)?;
                return Ok(object);
            }
        }
        Err(self.never_settles(name))
    }

    fn sweep(&self) -> Result<Vec<String>> {
        if let Some(at) = self.url.strip_prefix("shm:").and_then(|place| Place::parse(place).ok()) {
            leftover::tidy_at(&at.path, at.own, at.group);
        }
        let mut gone = Vec::new();
        for i in 0..self.arena.map.cells() {
            let Some(cell) = self.arena.map.cell(i).filter(|c| inspect::is_ephemeral(c)) else { continue };
            let Some(sem) = ShmExclusive::unnamed(self.arena, i, ledger::generation_of(cell)) else { continue };
            if users::is_abandoned(&sem) && users::take_away(&sem, self.arena.register()?)? {
                gone.push(sem.name().to_string());
            }
        }
        Ok(gone)
    }

    fn remove(&self, name: &Name, if_acquired: Option<u64>) -> Result<()> {
        let me = self.arena.register()?;
        let mut attempt = 0;
        for _ in 0..ROUNDS {
            let (home, home_generation) = self.find(name)?;
            let sem = ShmExclusive::new(self.arena, home, home_generation, name.clone())?.resolved();
            let used = || if_acquired.is_some_and(|n| n != inspect::acquired(&sem));
            if used() || !inspect::waiters_of(self.arena, sem.index, sem.generation, None).is_empty() {
                return Err(self.in_use(name, sem.index, sem.generation));
            }
            // Asked once: when it is gone, its cell may soon be of another kind.
            let exclusive = sem.is_exclusive();
            let closing = if exclusive { Closing::Done } else { removal::close(&sem) };
            if closing == Closing::Refused {
                return Err(self.in_use(name, sem.index, sem.generation));
            }
            let word = sem.load();
            if !exclusive && (word.generation() != sem.generation || word.state() == State::Removed) {
                if closing == Closing::Done {
                    // Finished by somebody who looked the name up.
                    self.removed(name);
                    return Ok(());
                }
                continue;
            }
            if word.generation() != sem.generation {
                continue;
            }
            let word = match word.state() {
                State::Free => word,
                // A dead owner's claim is over; it is ended first, which waits for its last write.
                State::Owned(o) if !self.arena.members.life(&self.arena.map, o).eq(&members::Life::Alive) => {
                    attempt += 1;
                    match sem.end_dead(me) {
                        // Free again, with the mark; then as any other.
                        true => continue,
                        false if attempt < 21 && !self.arena.members.covers(&self.arena.map, o.slot()) => {
                            self.arena.members.wait_for_gate(&self.arena.map, o.slot(), attempt);
                            continue;
                        }
                        false => return Err(self.in_use(name, sem.index, sem.generation)),
                    }
                }
                State::Owned(_) => return Err(self.in_use(name, sem.index, sem.generation)),
                _ => continue,
            };
            let path = removal::path(self.arena, home);
            // Waiters that appear from here on find the semaphore gone, as if they had come later.
            if names::remove(self.arena, sem.index, word)? {
                removal::finish(self.arena, &path)?;
                // Closed by somebody else: then it was theirs, and we find no such name.
                if closing == Closing::Done {
                    self.removed(name);
                    return Ok(());
                }
            } else if !exclusive && closing == Closing::Done {
                // Closed by us: its word changes only by somebody who finishes that.
                self.removed(name);
                return Ok(());
            }
        }
        Err(self.never_settles(name))
    }

    fn wait_any(&self, list: &[Want<'_>], request: &Request<'_>) -> Result<(usize, Grant)> {
        many::wait_any(self.arena, list, request)
    }

    fn acquire_all(&self, list: &[Want<'_>], request: &Request<'_>) -> Result<Vec<Grant>> {
        many::acquire_all(self.arena, list, request)
    }

    fn start(self: Arc<Self>, wish: Wish, list: Vec<OwnedWant>, request: OwnedRequest) -> Result<Box<dyn Pending>> {
        let how = if wish == Wish::Any { How::Any } else { How::All };
        Ok(Box::new(ShmPending::new(self.arena, how, list, request)))
    }

    fn drain(&self, name: &Name, request: &Request<'_>) -> Result<()> {
        let me = self.arena.register()?;
        let mut sem = self.behind(name)?;
        loop {
            match drain::drain(&sem, me, request) {
                // It was removed in between: who names a semaphore means the one that has the name now, if there is one.
                Err(e) if e.code() == Code::InvalidHandle => {
                    let now = self.behind(name)?;
                    if (now.index, now.generation) == (sem.index, sem.generation) {
                        return Err(e);
                    }
                    sem = now;
                }
                done => return done,
            }
        }
    }

    fn reopen(&self, name: &Name) -> Result<()> {
        let me = self.arena.register()?;
        let sem = self.behind(name)?;
        let closed = drain::is_closed(&sem);
        drain::reopen(&sem, me);
        if closed && self.arena.is_recorded() {
            sem.note(Note::of(&sem, What::REOPENED));
        }
        Ok(())
    }

    fn evict(&self, name: &Name, token: u64) -> Result<()> {
        let me = self.arena.register()?;
        evict::evict(&self.behind(name)?, me, token)
    }

    fn inspect(&self, name: &Name) -> Result<Report> {
        inspect::report(&self.behind(name)?)
            .ok_or_else(|| self.arena.damaged(format_args!("`{name}` has no kind")).of(name.as_str()))
    }

    fn list(&self, visit: &mut dyn FnMut(Summary) -> ControlFlow<()>) -> Result<()> {
        self.arena.sound()?;
        for i in 0..self.arena.map.cells() {
            if let Some(s) = inspect::summary(self.arena, i)
                && visit(s).is_break()
            {
                break;
            }
        }
        self.arena.sound()
    }

    fn check(&self) -> Result<Checkup> {
        Ok(check::check(self.arena))
    }

    fn repair(&self) -> Result<Repaired> {
        Ok(check::repair(self.arena))
    }

    fn history(&self, from: u64) -> Result<History> {
        self.arena.sound()?;
        Ok(history::read(&self.arena.map, from))
    }

    fn incidents(&self) -> Result<Vec<Record>> {
        self.arena.sound()?;
        Ok(history::incidents(&self.arena.map))
    }

    fn keep_history(&self, records: Option<u32>) -> Result<()> {
        history::switch(self.arena, records)
    }

    fn kind(&self, name: &Name) -> Result<Kind> {
        let found = self.arena.map.cell(self.find(name)?.0).and_then(inspect::kind_of);
        found.ok_or_else(|| self.arena.damaged(format_args!("`{name}` has no kind")).of(name.as_str()))
    }

    fn describe(&self, command: &str) -> Result<()> {
        self.arena.describe(command);
        Ok(())
    }

    fn inside(&self, name: &Name, token: u64) -> Result<()> {
        let sem = self.behind(name)?;
        let owner = match sem.is_exclusive() {
            true => sem.load().owner().filter(|_| sem.cell().token.load(Acquire) == token),
            false => {
                sem.book().holds().find(|(_, e, _)| e.token.load(Acquire) == token).and_then(|(_, e, _)| ledger::owner_of(e))
            }
        };
        if let Some(owner) = owner {
            let me = self.arena.register()?;
            deadlock::inside(self.arena, me, owner);
        }
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
                    .advice("see what this process may open (`ulimit -n`, `ls /proc`), and try again")
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

    /// Does what the end of the calling thread does, so that a tracer can step through it.
    pub fn end_of_thread() {
        super::thread::end_here();
    }

    /// Where in the file the word of an exclusive semaphore is, for a test that watches it.
    pub fn place_of_word(ns: &Namespace, name: &str) -> Result<u64> {
        let engine = engine(ns)?;
        let (index, _) = engine.find(&crate::name::Name::new(name)?)?;
        Ok(engine.arena.map.geo.cells_at + u64::from(index) * 64 + std::mem::offset_of!(super::layout::Cell, word) as u64)
    }

    /// Where in the file the count word of a counting semaphore or an event is, for a test that watches it.
    pub fn place_of_count(ns: &Namespace, name: &str) -> Result<u64> {
        let engine = engine(ns)?;
        let (index, _) = engine.find(&crate::name::Name::new(name)?)?;
        Ok(engine.arena.map.geo.cells_at + u64::from(index) * 64 + std::mem::offset_of!(super::layout::Cell, claim) as u64)
    }

    /// Where in the file a table begins, for tests that damage it.
    pub fn table(ns: &Namespace, name: &str) -> Result<u64> {
        let geo = engine(ns)?.arena.map.geo;
        let all = [
            ("header", 0),
            ("present", geo.present_at),
            ("slots", geo.slots_at),
            ("rows", geo.rows_at),
            ("waiters", geo.waiters_at),
            ("morgue", geo.morgue_at),
            ("history", geo.history_at),
            ("buckets", geo.buckets_at),
            ("cells", geo.cells_at),
            ("cold", geo.cold_at),
            ("blocks", geo.blocks_at),
            ("ledger", geo.ledger_at),
            ("joints", geo.joints_at),
            ("end", geo.len),
        ];
        let found = all.iter().find(|(n, _)| *n == name);
        found.map(|(_, at)| *at).ok_or_else(|| Error::new(Code::InvalidParameter, format!("there is no table {name}")))
    }

    /// The cell of a semaphore, and the bucket of its name.
    pub fn cell(ns: &Namespace, name: &str) -> Result<(u32, u32)> {
        let engine = engine(ns)?;
        let (index, _) = engine.find(&crate::name::Name::new(name)?)?;
        Ok((index, super::names::hash_of(name) & (engine.arena.map.geo.buckets - 1)))
    }

    /// Every violated invariant of the file, a line each.
    pub fn audit(ns: &Namespace) -> Vec<String> {
        engine(ns).map_or_else(|e| vec![e.to_string()], |e| super::inspect::audit(e.arena))
    }

    /// Chooses one of the faults that are built in (`seeded.rs`), for this process and the children that it forks.
    #[cfg(xsem_seeded)]
    pub fn seed_bug(name: &str) -> std::result::Result<(), Vec<&'static str>> {
        crate::seeded::choose(name)
    }

    pub use super::places::Place;

    /// Bytes of one of the pieces in which room is taken from the file system.
    pub const UNIT: u64 = super::layout::UNIT;

    /// Where the epoch's record of device and inode is, which a copy that shall pass for the file itself needs.
    pub const EPOCHS_AT: u64 = std::mem::offset_of!(super::layout::Header, epochs) as u64;

    /// Every field of the file that is in use, and the numbers of the units that were taken.
    pub fn places(ns: &Namespace) -> Result<(Vec<Place>, Vec<u64>)> {
        let arena = engine(ns)?.arena;
        Ok((super::places::all(&arena.map), super::places::units(&arena.map)))
    }

    /// Switches the periodic safety re-check of this process's waits off, or on again.
    pub fn set_recheck(on: bool) {
        super::sleep::RECHECK.store(on, Ordering::Relaxed);
    }

    /// Switches off, or on again, that waits of this process that begin from here on leave the line by themselves after 10 ms.
    pub fn set_line_ends(on: bool) {
        super::sleep::LINE_ENDS.store(on, Ordering::Relaxed);
    }
}
