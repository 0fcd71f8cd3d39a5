//! A namespace as one process has it open: the map, and what belongs to this process alone.

use super::file::{self, Found, Options};
use super::keeper;
use super::layout::Joint;
use super::map::Map;
use super::members::{Members, Who, shorten};
use super::word::Owner;
use crate::deadline::now_coarse;
use crate::error::{Code, Error, Result};
use crate::forklock::{ForkGuard, ForkLock, wiped_on_fork};
use crate::sync::{AtomicU32, AtomicU64, Ordering::*};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicPtr;

/// Who this process is. In a page that a fork wipes: a child is nobody until it registers itself.
#[repr(C)]
pub struct Me {
    /// The owner's bits; 0: not a member.
    pub owner: AtomicU32,
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
        let known = |id| all().find(|a| a.dev_ino == id);
        let o = match file::open(path, own, options, known)? {
            None => return Ok(None),
            Some(Found::Known(a)) => return Ok(Some(a)),
            Some(Found::New(o)) => *o,
        };
        let arena: &'static Arena = Box::leak(Box::new(Arena {
            me: wiped_on_fork(4096)?.cast(),
            map: o.map,
            members: Members::new(o.gate, o.dev_ino),
            dev_ino: o.dev_ino,
            path: path.to_owned(),
            seen_current: AtomicU64::new(0),
            command: ForkLock::new(),
            joint: ForkLock::new(),
            earlier: all().next(),
        }));
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

    /// Who this process is; registers it first where necessary.
    pub fn register(&'static self) -> Result<Owner> {
        let page = self.me_page();
        loop {
            if let Some(me) = self.me() {
                return Ok(me);
            }
            match page.state.compare_exchange(0, 1, AcqRel, Acquire) {
                Ok(_) => {
                    let done = self.start_keeper();
                    page.state.store(if done.is_ok() { 2 } else { 0 }, Release);
                    super::futex::wake_private_all(&page.state);
                    return done;
                }
                Err(1) => super::futex::wait_private(&page.state, 1),
                Err(_) => {}
            }
        }
    }

    fn start_keeper(&'static self) -> Result<Owner> {
        let start = Start { arena: self, who: self.identity(), result: ForkLock::new(), done: AtomicU32::new(0) };
        crate::pin::library();
        // The keeper must never run the program's signal handlers: it inherits a full mask.
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
        let me = keeper::register(self, &self.identity())?;
        self.me_page().owner.store(me.bits(), Release);
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

    /// Whether the file still has its name: one that was unlinked or replaced under its users takes no new claims. Looked up
    /// at most every 10 ms: that costs a microsecond, which is a third of a hand-over, and who replaces the file cannot tell
    /// whether a request came before or after that.
    pub fn is_current(&self) -> bool {
        let (now, seen) = (now_coarse(), self.seen_current.load(Relaxed));
        if seen != 0 && now.wrapping_sub(seen) < 10_000_000 {
            return true;
        }
        let is = self.has_its_name();
        self.seen_current.store(if is { now } else { 0 }, Relaxed);
        is
    }

    fn has_its_name(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        match std::fs::symlink_metadata(&self.path) {
            Ok(m) => (m.dev(), m.ino()) == self.dev_ino,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
            // It cannot be looked at any more (a changed root, a changed user): only its link count can say.
            Err(_) => self.map.is_linked(),
        }
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
    // SAFETY: an all-zero pthread_attr_t is a valid value to be overwritten by pthread_attr_init.
    let mut attr: libc::pthread_attr_t = unsafe { std::mem::zeroed() };
    let mut thread: libc::pthread_t = 0;
    let arg = std::ptr::from_ref(start).cast_mut().cast();
    // SAFETY: `attr` is initialized before its use and destroyed after it. The argument outlives its use: the caller
    // waits for `done`, after which the thread does not touch it.
    let r = unsafe {
        libc::pthread_attr_init(&mut attr);
        libc::pthread_attr_setdetachstate(&mut attr, libc::PTHREAD_CREATE_DETACHED);
        let usual = attr;
        libc::pthread_attr_setstacksize(&mut attr, 128 * 1024);
        let mut r = libc::pthread_create(&mut thread, &attr, keeper_thread, arg);
        if r == libc::EINVAL {
            // glibc puts thread-local variables into the stack; a program with many of them needs the usual size.
            r = libc::pthread_create(&mut thread, &usual, keeper_thread, arg);
        }
        libc::pthread_attr_destroy(&mut attr);
        r
    };
    if r == 0 { Ok(()) } else { Err(std::io::Error::from_raw_os_error(r)) }
}

extern "C" fn keeper_thread(arg: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: the thread that started us waits with this value alive until `done` is set below.
    let start: &Start = unsafe { &*arg.cast() };
    // SAFETY: a NUL-terminated name of fewer than 16 bytes for the calling thread.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"xsem-keeper".as_ptr()) };
    let owner = keeper::register(start.arena, &start.who);
    let failed = owner.is_err();
    if let Ok(me) = &owner {
        start.arena.me_page().owner.store(me.bits(), Release);
    }
    *start.result.lock() = Some(owner);
    let done: *const AtomicU32 = &start.done;
    start.done.store(1, Release);
    // From here on the value may be gone; waking its address is harmless.
    super::futex::wake_private_at(done);
    if failed {
        return std::ptr::null_mut();
    }
    loop {
        // SAFETY: no arguments. All signals are blocked here, so it never returns.
        unsafe { libc::pause() };
    }
}

pub fn block_all_signals() -> libc::sigset_t {
    // SAFETY: an all-zero sigset is a valid value to be overwritten.
    let (mut all, mut old): (libc::sigset_t, libc::sigset_t) = unsafe { std::mem::zeroed() };
    // SAFETY: both sets are valid.
    unsafe {
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut old);
    }
    old
}

pub fn restore_signals(old: &libc::sigset_t) {
    // SAFETY: a mask that pthread_sigmask returned.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old, std::ptr::null_mut()) };
}
