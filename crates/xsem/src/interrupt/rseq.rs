//! The area that a thread has registered with the kernel: glibc's, or one of our own where nobody has registered any.

use super::hint;
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};

/// `struct rseq`, as far as every kernel that has it knows it.
#[repr(C, align(32))]
pub struct Area {
    cpu_id_start: AtomicU32,
    cpu_id: AtomicU32,
    /// `rseq_cs`: the section that is being executed.
    pub section: AtomicU64,
    flags: AtomicU32,
    rest: [AtomicU32; 3],
}

/// Where the section is named.
pub const SECTION_AT: usize = std::mem::offset_of!(Area, section);

const LEN: usize = size_of::<Area>();
const _: () = assert!(LEN == 32);

impl Area {
    /// Not registered.
    pub const fn new() -> Area {
        Area {
            cpu_id_start: AtomicU32::new(0),
            cpu_id: AtomicU32::new(NOT_REGISTERED),
            section: AtomicU64::new(0),
            flags: AtomicU32::new(0),
            rest: [const { AtomicU32::new(0) }; 3],
        }
    }
}

const NOT_REGISTERED: u32 = u32::MAX;

/// What the kernel wants to find before the abort handler of a section; what glibc and librseq register with.
#[cfg(target_arch = "x86_64")]
pub const SIGNATURE: u32 = 0x5305_3053;
#[cfg(target_arch = "aarch64")]
pub const SIGNATURE: u32 = 0xd428_bc00;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub const SIGNATURE: u32 = 0;

#[cfg(target_arch = "x86_64")]
const SYS_RSEQ: libc::c_long = 334;
#[cfg(target_arch = "aarch64")]
const SYS_RSEQ: libc::c_long = 293;
// No such call: what is not known is not registered.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const SYS_RSEQ: libc::c_long = -1;

const UNREGISTER: i32 = 1;

/// Whether the kernel, and what filters its calls, knows it: a call that cannot be is told so.
pub fn is_known() -> bool {
    // SAFETY: no area and no length, which is refused.
    let r = unsafe { libc::syscall(SYS_RSEQ, 0usize, 0, 0, 0) };
    r >= 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
}

/// Registers an area for the calling thread. False: it has another one, or the kernel has none.
pub fn register(area: &'static Area) -> bool {
    area.section.store(0, Relaxed);
    area.cpu_id.store(NOT_REGISTERED, Relaxed);
    // SAFETY: the kernel writes into the area, which is aligned and never unmapped, until it is unregistered or the
    // thread ends.
    unsafe { libc::syscall(SYS_RSEQ, std::ptr::from_ref(area), LEN, 0, SIGNATURE) == 0 }
}

/// Ends that.
pub fn unregister(area: &'static Area) {
    // SAFETY: plain numbers; it fails if that is not this thread's area.
    unsafe { libc::syscall(SYS_RSEQ, std::ptr::from_ref(area), LEN, UNREGISTER, SIGNATURE) };
}

/// Where glibc's area is, from the thread pointer: `LOOKED` once it was looked up and there is none.
static OFFSET: AtomicIsize = AtomicIsize::new(0);
const LOOKED: isize = isize::MIN;

/// glibc's area of the calling thread, if it has registered one. By name at run time, so that a program that is linked
/// with another C library, statically perhaps, links all the same.
fn of_glibc() -> Option<*const Area> {
    let mut offset = OFFSET.load(Relaxed);
    if offset == 0 {
        // SAFETY: NUL-terminated names; what they name in glibc are constants of these types.
        offset = unsafe {
            let at = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()).cast::<isize>();
            let size = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr()).cast::<u32>();
            // An offset of 0 would be the thread pointer itself, where glibc keeps other things.
            if at.is_null() || size.is_null() || *size == 0 || *at == 0 { LOOKED } else { *at }
        };
        OFFSET.store(offset, Relaxed);
    }
    if offset == LOOKED {
        return None;
    }
    let area = thread_pointer().wrapping_byte_offset(offset).cast::<Area>();
    // SAFETY: inside the thread's control block, as glibc says.
    let registered = (unsafe { &*area }.cpu_id.load(Relaxed) as i32) >= 0;
    registered.then_some(area)
}

/// The calling thread's control block.
#[cfg(target_arch = "x86_64")]
pub fn thread_pointer() -> *const u8 {
    let p: *const u8;
    // SAFETY: the first word of the thread's control block is its own address (x86-64 psABI, TLS variant II).
    unsafe { std::arch::asm!("mov {}, fs:[0]", out(reg) p, options(nostack, readonly, preserves_flags)) };
    p
}

#[cfg(target_arch = "aarch64")]
fn thread_pointer() -> *const u8 {
    let p: *const u8;
    // SAFETY: reads the thread pointer register.
    unsafe { std::arch::asm!("mrs {}, tpidr_el0", out(reg) p, options(nostack, nomem, preserves_flags)) };
    p
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn thread_pointer() -> *const u8 {
    std::ptr::null()
}

thread_local! {
    static OWN: Own = const { Own(Cell::new(None)) };
    /// Whether this thread has tried to register an area of its own.
    static TRIED: Cell<bool> = const { Cell::new(false) };
}

/// An area that this thread has registered, to be unregistered when it ends.
struct Own(Cell<Option<&'static Slot>>);

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            hint::forget_area();
            unregister(&slot.area);
            slot.taken.store(0, Release);
        }
    }
}

/// The calling thread's area. Only at normal time: it may take memory.
pub fn area_of_this_thread() -> Option<*const Area> {
    of_glibc().or_else(of_our_own)
}

/// One try per thread: it fails where another library has registered one of its own. Then every check is a full one.
fn of_our_own() -> Option<*const Area> {
    if TRIED.replace(true) {
        return None;
    }
    let slot = free_slot()?;
    let done = register(&slot.area);
    // Not while the thread is ending: nobody would unregister it.
    let kept = done && OWN.try_with(|own| own.0.set(Some(slot))).is_ok();
    if done && !kept {
        unregister(&slot.area);
    }
    if !kept {
        slot.taken.store(0, Release);
        return None;
    }
    Some(&raw const slot.area)
}

#[repr(C, align(64))]
pub struct Slot {
    pub area: Area,
    taken: AtomicU32,
}

const SLOTS: usize = 4096 / size_of::<Slot>();
const PAGES: usize = 1024;

/// Never unmapped: the kernel writes into the slots until their threads have ended, whatever happens to this library.
static POOL: [AtomicPtr<[Slot; SLOTS]>; PAGES] = [const { AtomicPtr::new(std::ptr::null_mut()) }; PAGES];

/// A slot for the calling thread. Without a lock, which a fork could leave locked for ever.
pub fn free_slot() -> Option<&'static Slot> {
    for place in &POOL {
        let mut page = place.load(Acquire);
        if page.is_null() {
            let new = super::page(4096)?.cast();
            match place.compare_exchange(std::ptr::null_mut(), new, AcqRel, Acquire) {
                Ok(_) => page = new,
                Err(other) => {
                    // SAFETY: our page, which nobody else has seen.
                    unsafe { libc::munmap(new.cast(), 4096) };
                    page = other;
                }
            }
        }
        // SAFETY: a page of zeroed atomics, never unmapped.
        let slots = unsafe { &*page };
        let free = slots.iter().find(|s| s.taken.compare_exchange(0, 1, AcqRel, Relaxed).is_ok());
        if free.is_some() {
            return free;
        }
    }
    None
}

impl Slot {
    /// Nobody uses it any more.
    pub fn give_back(&self) {
        self.taken.store(0, Release);
    }
}
