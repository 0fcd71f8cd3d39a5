//! A namespace as one process has it open: the map, and what belongs to this process alone.

use super::fault::{self, Loss};
use super::file::{self, Found, Options};
use super::keeper;
use super::layout::Joint;
use super::map::Map;
use super::members::{Members, Who, shorten};
use super::standing::{self, Standing};
use super::touched::Touched;
use super::vigil;
use super::word::Owner;
use crate::deadline::now_coarse;
use crate::error::{Code, Error, Result};
use crate::forklock::{ForkGuard, ForkLock, wiped_on_fork};
use crate::sync::{AtomicU32, AtomicU64, Ordering::*};
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicPtr;

/// Who this process is. In a page that a fork wipes: a child is nobody until it registers itself.
#[repr(C)]
pub struct Me {
    /// The owner's bits; 0: not a member. What a claim is given back under.
    pub owner: AtomicU32,
    /// The same as long as the file takes new claims and no history is written, else 0. What a new claim is made under by
    /// the short way.
    pub entitled: AtomicU32,
    /// The same as long as no history is written, else 0. What a claim is given back under by the short way.
    pub giving: AtomicU32,
    /// 0 not registered, 1 a thread is at it, 2 registered.
    state: AtomicU32,
}

/// An open namespace of this process. Lives until the process ends.
#[derive(Debug)]
pub struct Arena {
    pub map: Map,
    pub members: Members,
    dev_ino: (u64, u64),
    path: PathBuf,
    /// The same for the system.
    place: CString,
    /// The cells that this process has had anything to do with.
    pub touched: Touched,
    /// When the file was last seen to have its name, by the coarse clock.
    seen_current: AtomicU64,
    me: *const Me,
    /// A forked child is called as the system calls it, until it says otherwise.
    command: ForkLock<Option<String>>,
    /// One joint request at a time; for which member the past of its slot was settled.
    joint: ForkLock<Option<Owner>>,
    /// The one that was opened before it.
    earlier: Option<&'static Arena>,
}

/// The right to make this process's joint request.
pub struct JointLock {
    pub joint: &'static Joint,
    _lock: ForkGuard<'static, Option<Owner>>,
}

// SAFETY: `me` points to a mapping that is never unmapped and only accessed through atomics.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

/// Every namespace that this process has open, the latest first: a list that is only ever added to. No lock is needed to
/// read it, so a forked child has it whole, whatever other threads of its parent were doing.
static OPEN: AtomicPtr<Arena> = AtomicPtr::new(std::ptr::null_mut());
/// One opens at a time: the same file must not be opened twice. What a child finds of an open that another thread had begun
/// is a descriptor or two that nobody uses; they are close-on-exec.
static OPENING: ForkLock<()> = ForkLock::new();

/// While it lives, this process opens no namespace.
pub fn opening() -> ForkGuard<'static, ()> {
    OPENING.lock()
}

/// Every namespace that this process has open.
pub fn all() -> impl Iterator<Item = &'static Arena> {
    // SAFETY: null, or a leaked box that was complete when it was published.
    std::iter::successors(unsafe { OPEN.load(Acquire).as_ref() }, |a| a.earlier)
}

impl Arena {
    /// Opens the namespace file, or finds it among those that this process has open. None: it does not exist.
    pub fn open(path: &Path, own: bool, options: &Options) -> Result<Option<&'static Arena>> {
        let _whole = super::sys::whole();
        let _one_at_a_time = OPENING.lock();
        if options.survive_bus_errors {
            fault::install();
        }
        let known = |id| all().find(|a| a.dev_ino == id);
        let o = match file::open(path, own, options, known)? {
            None => return Ok(None),
            Some(Found::Known(a)) => {
                a.look();
                return a.sound().map(|()| Some(a));
            }
            Some(Found::New(o)) => *o,
        };
        let place = std::ffi::CString::new(path.as_os_str().as_bytes());
        let arena: &'static Arena = Box::leak(Box::new(Arena {
            me: wiped_on_fork(4096)?.cast(),
            place: place.map_err(|_| Error::new(Code::InvalidParameter, "a path has a NUL byte"))?,
            map: o.map,
            members: Members::new(o.gate, o.dev_ino),
            dev_ino: o.dev_ino,
            path: path.to_owned(),
            touched: Touched::new(),
            seen_current: AtomicU64::new(0),
            command: ForkLock::new(),
            joint: ForkLock::new(),
            earlier: all().next(),
        }));
        arena.map.region().belongs_to(arena.me_page());
        OPEN.store(std::ptr::from_ref(arena).cast_mut(), Release);
        Ok(Some(arena))
    }

    /// Device and inode of the file.
    pub fn id(&self) -> (u64, u64) {
        self.dev_ino
    }

    /// The page that says who this process is.
    #[inline]
    pub fn me_page(&self) -> &Me {
        // SAFETY: a mapping of 4096 zeroed bytes that is never unmapped; `Me` is all atomics.
        unsafe { &*self.me }
    }

    /// Who this process is, if it is a member already.
    #[inline]
    pub fn me(&self) -> Option<Owner> {
        Owner::from_bits(self.me_page().owner.load(Acquire))
    }

    /// Who this process is; registers it first where necessary. 1392 where the file is damaged, and 6 for a newcomer where
    /// it is not the namespace any more.
    pub fn register(&'static self) -> Result<Owner> {
        let page = self.me_page();
        loop {
            if let Some(me) = self.me() {
                return self.sound().map(|()| me);
            }
            self.look_at_file(false);
            self.stands()?;
            match page.state.compare_exchange(0, 1, AcqRel, Acquire) {
                Ok(_) => {
                    let done = self.start_keeper();
                    page.state.store(if done.is_ok() { 2 } else { 0 }, Release);
                    super::futex::wake_private_all(&page.state);
                    return done.map_err(|e| self.explained(e));
                }
                Err(1) => super::futex::wait_private(&page.state, 1),
                Err(_) => {}
            }
        }
    }

    /// [`register`](Arena::register) for what would be a new claim or a new name: refused as soon as the file is known not to
    /// be the namespace any more.
    pub fn enroll(&'static self) -> Result<Owner> {
        let me = self.register()?;
        self.stands().map(|()| me)
    }

    /// This process is a member from here on.
    fn joined(&self, me: Owner) {
        self.me_page().owner.store(me.bits(), SeqCst);
        self.map.region().record(super::history::is_on(&self.map));
        self.map.region().entitle();
    }

    fn start_keeper(&'static self) -> Result<Owner> {
        let start = Start { arena: self, who: self.identity(), result: ForkLock::new(), done: AtomicU32::new(0) };
        crate::pin::library();
        crate::deadline::prepare();
        super::plain::prepare();
        super::patience::prepare();
        // The keeper must never run the program's signal handlers: it inherits a mask of (nearly) all.
        let old = block_all_signals();
        let started = spawn(&start);
        restore_signals(&old);
        started.map_err(|e| {
            Error::new(Code::NotEnoughMemory, "the keeper thread cannot be started")
                .because(e)
                .advice("raise the limit on processes (`ulimit -u`)")
        })?;
        while start.done.load(Acquire) == 0 {
            super::futex::wait_private(&start.done, 0);
        }
        let done = start.result.lock().take();
        done.unwrap_or_else(|| Err(Error::new(Code::NotEnoughMemory, "the keeper thread ended")))
    }

    fn identity(&self) -> Who {
        Who::this_process(self.command.lock().as_deref())
    }

    /// Registers with the calling thread as the keeper. For tracers.
    pub fn register_inline(&'static self) -> Result<Owner> {
        super::plain::prepare();
        super::patience::prepare();
        let me = keeper::register(self, &self.identity())?;
        self.joined(me);
        self.me_page().state.store(2, Release);
        Ok(me)
    }

    /// What others see as this process's command, now or when it registers.
    pub fn describe(&self, command: &str) {
        let text = shorten(command, 135);
        // Held throughout: two at once would leave the identity unreadable.
        let mut mine = self.command.lock();
        if let Some(me) = self.me() {
            self.members.describe(&self.map, me, &text);
        }
        *mine = Some(text);
    }

    /// The right to make a joint request. `settle` ends the last one of whoever had the slot before.
    pub fn joint(&'static self, me: Owner, settle: impl FnOnce(&Joint)) -> Result<JointLock> {
        let mut lock = self.joint.lock();
        let joint = self.map.ensure_joint(me.slot())?;
        if *lock != Some(me) {
            settle(joint);
            *lock = Some(me);
        }
        Ok(JointLock { joint, _lock: lock })
    }

    /// Whether the file is still the namespace. Besides what the keeper has noticed, it is looked up here, at most every
    /// 10 ms: that costs a microsecond, which is a third of a hand-over, and who replaces the file cannot tell whether a
    /// request came before or after that.
    pub fn is_current(&self) -> bool {
        let (now, seen) = (now_coarse(), self.seen_current.load(Relaxed));
        // A reset says so in the old file, too.
        let retired = self.map.retired().state.load(Acquire) != 0;
        if seen == 0 || retired || now.wrapping_sub(seen) >= 10_000_000 {
            self.look_at_file(false);
            self.seen_current.store(now, Relaxed);
        }
        self.loss().is_none()
    }

    /// Looks what became of the file, and writes it down. `closely`: also whether parts of it were cut off that are there
    /// again, which the keeper has time for, and errors have that such a part may be the cause of.
    fn look_at_file(&self, closely: bool) {
        match standing::of(&self.place, self.dev_ino, &self.map, closely) {
            Standing::As(seen) => self.map.region().settle(seen),
            // It cannot be looked at any more (a changed root, a changed user): the descriptor may say.
            Standing::Unknown if !self.map.is_linked() => self.map.region().settle(Some(Loss::Gone)),
            Standing::Unknown => {}
        }
        if self.loss().is_none() {
            self.map.region().record(super::history::is_on(&self.map));
        }
    }

    /// Whether what happens is written down, as far as this process has noticed.
    #[inline]
    pub fn is_recorded(&self) -> bool {
        self.map.region().is_recorded()
    }

    /// Looks closely.
    pub fn look(&self) {
        self.look_at_file(true);
    }

    /// Why there are no new claims.
    #[inline]
    pub fn loss(&self) -> Option<Loss> {
        self.map.region().loss()
    }

    /// The same; a header that was damaged may have been put back since.
    fn loss_now(&self) -> Option<Loss> {
        if self.loss() == Some(Loss::Header) {
            self.look();
        }
        self.loss()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is, for the system.
    pub fn place(&self) -> &CStr {
        &self.place
    }

    /// 6 or 1392, if the file is not the namespace any more.
    pub fn stands(&self) -> Result<()> {
        let why = |l| super::check::reset_by(&self.map, &self.path).unwrap_or_else(|| standing::lost(&self.path, l));
        self.loss_now().map_or(Ok(()), |l| Err(why(l)))
    }

    /// 1392, if what is in the file cannot be believed any more. What was claimed may end also where it only lost its name.
    pub fn sound(&self) -> Result<()> {
        self.loss_now().filter(|l| l.is_damage()).map_or(Ok(()), |l| Err(standing::lost(&self.path, l)))
    }

    /// An error that may come from what became of the file.
    pub fn explained(&self, e: Error) -> Error {
        self.look();
        self.sound().err().unwrap_or(e)
    }

    /// 1392, for what was found in the file and cannot be; or what is known of the file as a whole.
    pub fn damaged(&self, what: impl std::fmt::Display) -> Error {
        self.look();
        self.sound().err().unwrap_or_else(|| standing::damaged(&self.path, what))
    }
}

/// What the keeper is given. Lives on the stack of the thread that registers, until `done` is set.
struct Start {
    arena: &'static Arena,
    who: Who,
    result: ForkLock<Option<Result<Owner>>>,
    done: AtomicU32,
}

/// Starts the keeper by the C library: a thread of std would set up a signal stack and make the allocator set up an
/// arena for it, which costs more than everything else here.
fn spawn(start: &Start) -> std::io::Result<()> {
    // It outlives its use: the caller waits for `done`, after which the thread does not touch it.
    super::own_thread::create(128 << 10, keeper_thread, std::ptr::from_ref(start).cast_mut().cast())
}

extern "C" fn keeper_thread(arg: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: the thread that started us waits with this value alive until `done` is set below.
    let start: &Start = unsafe { &*arg.cast() };
    // SAFETY: a NUL-terminated name of fewer than 16 bytes for the calling thread.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"xsem-keeper".as_ptr()) };
    let owner = keeper::register(start.arena, &start.who);
    // Before the first claim: from there on the program may enter a sandbox at any time.
    let (arena, joined) = (start.arena, owner.as_ref().ok().map(|me| (me.slot(), crate::interrupt::Errand::begin())));
    if let Ok(me) = &owner {
        start.arena.joined(*me);
    }
    *start.result.lock() = Some(owner);
    let done: *const AtomicU32 = &start.done;
    start.done.store(1, Release);
    // From here on the value may be gone; waking its address is harmless.
    super::futex::wake_private_at(done);
    match joined {
        Some((slot, errand)) => vigil::keep(arena, slot, errand),
        None => std::ptr::null_mut(),
    }
}

/// All but SIGBUS, which the kernel would answer by ending the process (see `fault.rs`).
pub fn block_all_signals() -> libc::sigset_t {
    // SAFETY: an all-zero sigset is a valid value to be overwritten.
    let (mut all, mut old): (libc::sigset_t, libc::sigset_t) = unsafe { std::mem::zeroed() };
    // SAFETY: both sets are valid.
    unsafe {
        libc::sigfillset(&mut all);
        libc::sigdelset(&mut all, libc::SIGBUS);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut old);
    }
    old
}

pub fn restore_signals(old: &libc::sigset_t) {
    // SAFETY: a mask that pthread_sigmask returned.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old, std::ptr::null_mut()) };
}
