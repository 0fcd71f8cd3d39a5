//! What becomes of a mapping whose file is cut off under it, or whose name is gone: the one list of mappings of this process,
//! and the handler that survives SIGBUS.
//!
//! A touch of a page that the file does not have (any more) is SIGBUS, which ends a process. Here it ends the use of that
//! namespace instead: the handler puts zeros where the file was, says so in the mapping's [`Region`], and wakes the sleepers
//! of this process, who find it there. A word of zeros is FREE to nobody (`word.rs`), so nothing can be claimed in it.
//!
//! The handler is installed with the first mapping and stays. What is not about one of our mappings goes to the handler that
//! was there before. A handler that the program installs later has to call ours for the same reason; without it the process
//! ends as it would without us. A thread that has SIGBUS blocked cannot be saved: the kernel ends the process.

use super::arena::Me;
use super::futex;
use super::layout::UNIT;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

/// Why a namespace takes no new claims of this process any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Loss {
    /// The path leads nowhere: it was unlinked, or moved away.
    Gone = 1,
    /// The path leads to another file.
    Replaced = 2,
    /// The file is shorter than its header says.
    Truncated = 3,
    /// Its header was overwritten, or parts of it were cut off and it was made longer again.
    Overwritten = 4,
    /// A page that belongs to the file could not be had (memory failed, or a hole on a full file system).
    NoPage = 5,
    /// Its header is damaged; it may be put back (`xsem repair`).
    Header = 6,
}

impl Loss {
    fn from_bits(bits: u32) -> Option<Loss> {
        [Loss::Gone, Loss::Replaced, Loss::Truncated, Loss::Overwritten, Loss::NoPage, Loss::Header]
            .into_iter()
            .find(|l| *l as u32 == bits)
    }

    /// Whether what is in the mapping cannot be believed any more.
    pub fn is_damage(self) -> bool {
        self as u32 >= Loss::Truncated as u32
    }

    /// Whether it stays so. A name may come back, and a header may be repaired.
    pub fn is_final(self) -> bool {
        self.is_damage() && self != Loss::Header
    }
}

/// Losses of this process, of whatever namespace: what sleepers sleep on beside their own words, because nobody can wake
/// them through a page that has gone.
static LOSSES: AtomicU32 = AtomicU32::new(0);

/// The word of [`LOSSES`] and its value. Read before a look at the region, it makes the sleep after that look end in time.
pub fn losses() -> futex::Watch {
    futex::Watch::private(&LOSSES, LOSSES.load(SeqCst))
}

/// How many losses there were.
pub fn losses_so_far() -> u32 {
    LOSSES.load(SeqCst)
}

fn tell_sleepers() {
    LOSSES.fetch_add(1, SeqCst);
    futex::wake_private_all(&LOSSES);
}

/// One mapping of this process. Lives as long as the process; used again for another mapping when its own is unmapped.
#[derive(Debug)]
pub struct Region {
    /// 0: free. Set last, and cleared first.
    len: AtomicUsize,
    base: AtomicUsize,
    fd: AtomicI32,
    dev: AtomicU64,
    ino: AtomicU64,
    /// A [`Loss`], or 0.
    loss: AtomicU32,
    /// Whether what happens in it is written down: then nothing goes the short way.
    recorded: AtomicBool,
    /// Where this process's right to claim is, once there is such a page.
    me: AtomicPtr<Me>,
    taken: AtomicBool,
    next: AtomicPtr<Region>,
}

/// Only added to, so the handler reads it without a lock, and a forked child has it whole.
static REGIONS: AtomicPtr<Region> = AtomicPtr::new(null_mut());

fn regions() -> impl Iterator<Item = &'static Region> {
    // SAFETY: null, or a leaked box that was complete when it was published.
    std::iter::successors(unsafe { REGIONS.load(Acquire).as_ref() }, |r| unsafe { r.next.load(Acquire).as_ref() })
}

impl Region {
    /// For a new mapping.
    pub fn of(base: *mut u8, len: usize, fd: i32, (dev, ino): (u64, u64)) -> &'static Region {
        let free = regions().find(|r| r.taken.compare_exchange(false, true, AcqRel, Relaxed).is_ok());
        let r = free.unwrap_or_else(Region::add);
        r.base.store(base as usize, Relaxed);
        r.fd.store(fd, Relaxed);
        r.dev.store(dev, Relaxed);
        r.ino.store(ino, Relaxed);
        r.loss.store(0, Relaxed);
        r.recorded.store(false, Relaxed);
        r.me.store(null_mut(), Relaxed);
        r.len.store(len, Release);
        r
    }

    fn add() -> &'static Region {
        let r: &'static Region = Box::leak(Box::new(Region {
            len: AtomicUsize::new(0),
            base: AtomicUsize::new(0),
            fd: AtomicI32::new(-1),
            dev: AtomicU64::new(0),
            ino: AtomicU64::new(0),
            loss: AtomicU32::new(0),
            recorded: AtomicBool::new(false),
            me: AtomicPtr::new(null_mut()),
            taken: AtomicBool::new(true),
            next: AtomicPtr::new(null_mut()),
        }));
        let mut first = REGIONS.load(Acquire);
        loop {
            r.next.store(first, Release);
            match REGIONS.compare_exchange(first, std::ptr::from_ref(r).cast_mut(), AcqRel, Acquire) {
                Ok(_) => return r,
                Err(now) => first = now,
            }
        }
    }

    /// Before its mapping is unmapped.
    pub fn free(&self) {
        self.len.store(0, Release);
        self.taken.store(false, Release);
    }

    /// Whose right to claim ends with a loss.
    pub fn belongs_to(&self, me: &'static Me) {
        self.me.store(std::ptr::from_ref(me).cast_mut(), Release);
    }

    /// What was lost.
    #[inline]
    pub fn loss(&self) -> Option<Loss> {
        match self.loss.load(SeqCst) {
            0 => None,
            bits => Loss::from_bits(bits),
        }
    }

    /// Writes down what was seen of the file. Damage stays. Async-signal-safe.
    pub fn settle(&self, seen: Option<Loss>) {
        let new = seen.map_or(0, |l| l as u32);
        let changed = self.loss.fetch_update(SeqCst, SeqCst, |old| {
            let stays = old == new || Loss::from_bits(old).is_some_and(Loss::is_final);
            (!stays).then_some(new)
        });
        if changed.is_ok() {
            self.entitle();
            if new != 0 {
                tell_sleepers();
            }
        }
    }

    /// Writes down whether what happens in it is to be written down.
    pub fn record(&self, yes: bool) {
        if self.recorded.swap(yes, SeqCst) != yes {
            self.entitle();
        }
    }

    /// Whether it is.
    #[inline]
    pub fn is_recorded(&self) -> bool {
        self.recorded.load(Relaxed)
    }

    /// Gives this process the right to claim that it has: as a member, of a file that is what it was. Async-signal-safe.
    pub fn entitle(&self) {
        // SAFETY: null, or the page of an arena, which is never unmapped.
        let Some(me) = (unsafe { self.me.load(Acquire).as_ref() }) else { return };
        loop {
            let (loss, recorded) = (self.loss.load(SeqCst), self.recorded.load(SeqCst));
            let short = if recorded { 0 } else { me.owner.load(SeqCst) };
            me.giving.store(short, SeqCst);
            me.entitled.store(if loss == 0 { short } else { 0 }, SeqCst);
            // Somebody else may have stored later what it had read earlier.
            if (self.loss.load(SeqCst), self.recorded.load(SeqCst)) == (loss, recorded) {
                return;
            }
        }
    }

    fn contains(&self, address: usize) -> bool {
        let len = self.len.load(Acquire);
        let base = self.base.load(Relaxed);
        len != 0 && (base..base + len).contains(&address)
    }

    /// The length of the file, if its descriptor is still there.
    fn file_len(&self) -> Option<u64> {
        let s = super::sys::fstat(&self.fd.load(Relaxed)).ok()?;
        ((s.st_dev, s.st_ino) == (self.dev.load(Relaxed), self.ino.load(Relaxed))).then_some(s.st_size as u64)
    }

    /// Puts zeros where a touch of `address` has failed: to the end of the mapping, if the file ends before that, else only
    /// in the unit that could not be had. Any number of threads may do it at once: zeros replace zeros. Async-signal-safe.
    fn bury(&self, address: usize) -> bool {
        let (base, len) = (self.base.load(Relaxed), self.len.load(Acquire));
        let from = address & !4095;
        let cut_off = self.file_len().is_none_or(|end| end < len as u64);
        let unit = UNIT as usize;
        let to = if cut_off { base + len } else { (base + ((from - base) / unit + 1) * unit).min(base + len) };
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
        // SAFETY: replaces a part of a mapping of our own that is only accessed through atomics, for which zeros are valid.
        let p = unsafe { libc::mmap(from as *mut _, to - from, prot, flags | libc::MAP_FIXED, -1, 0) };
        if p == libc::MAP_FAILED {
            return false;
        }
        self.settle(Some(if cut_off { Loss::Truncated } else { Loss::NoPage }));
        true
    }
}

/// What handled SIGBUS before.
struct Before(UnsafeCell<MaybeUninit<libc::sigaction>>);
// SAFETY: written once, before `STATE` says so; only read afterwards.
unsafe impl Sync for Before {}
static BEFORE: Before = Before(UnsafeCell::new(MaybeUninit::uninit()));
/// 0 nobody has installed the handler, 1 a thread is at it, 2 it is there.
static STATE: AtomicU32 = AtomicU32::new(0);

/// Installs the handler, once.
pub fn install() {
    if STATE.load(Acquire) != 0 || STATE.compare_exchange(0, 1, AcqRel, Acquire).is_err() {
        return;
    }
    // The handler's code must stay.
    crate::pin::library();
    // SAFETY: all-zero sigactions are valid values.
    let (mut ours, mut before): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
    // SAFETY: SIGBUS is a signal; `before` is valid for writes.
    if unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut before) } != 0 {
        return;
    }
    // SAFETY: nobody reads it before STATE is 2, and nobody else writes it.
    unsafe { (*BEFORE.0.get()).write(before) };
    STATE.store(2, Release);
    ours.sa_sigaction = on_bus as *const () as usize;
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the set is valid for writes; the handler has the signature that SA_SIGINFO asks for, and is async-signal-safe.
    unsafe {
        libc::sigfillset(&mut ours.sa_mask);
        libc::sigaction(libc::SIGBUS, &ours, null_mut());
    }
}

/// A synchronous fault at an address (`si_code` BUS_ADRALN to BUS_MCEERR_AR).
fn is_fault(code: i32) -> bool {
    (1..=4).contains(&code)
}

extern "C" fn on_bus(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid siginfo to a handler with SA_SIGINFO.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let mended = is_fault(code)
        && crate::interrupt::keeping_errno(|| regions().find(|r| r.contains(address)).is_some_and(|r| r.bury(address)));
    if !mended {
        // SAFETY: the arguments are those that the kernel gave.
        unsafe { chain(signal, info, context, is_fault(code)) };
    }
}

/// # Safety
/// With the arguments of a signal handler, inside of it.
unsafe fn chain(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void, fault: bool) {
    if STATE.load(Acquire) != 2 {
        return;
    }
    // SAFETY: written before STATE became 2, and never again.
    let before = unsafe { (*BEFORE.0.get()).assume_init_ref() };
    match before.sa_sigaction {
        libc::SIG_IGN if !fault => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // As without us. A fault comes again when the handler returns; a sent signal is sent again.
            // SAFETY: an all-zero sigaction is the default action.
            let default: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: both are async-signal-safe.
            unsafe {
                libc::sigaction(signal, &default, null_mut());
                if !fault {
                    libc::raise(signal);
                }
            }
        }
        handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
            type Action = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: a handler that was installed with SA_SIGINFO has this signature.
            let f = unsafe { std::mem::transmute::<usize, Action>(handler) };
            f(signal, info, context);
        }
        handler => {
            // SAFETY: a handler that was installed without SA_SIGINFO has this signature.
            let f = unsafe { std::mem::transmute::<usize, extern "C" fn(i32)>(handler) };
            f(signal);
        }
    }
}
