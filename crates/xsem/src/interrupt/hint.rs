//! The hint: a pointer that the kernel clears whenever it delivers a signal.
//!
//! A thread may register a `struct rseq` with the kernel (glibc does it for every thread). Its field `rseq_cs` names a
//! section of code that must not be interrupted; whenever the kernel delivers a signal, or takes the thread off its
//! processor, while the instruction pointer is *outside* of that section, it clears the field. So normal code leaves the
//! address of a section there that contains no code at all. As long as it still stands there, no signal handler has begun.
//! When it does not, the full check has to say what time it is, and leaves it there again if that is normal time.
//!
//! One load of the thread's own, one load and one compare, at every request: a third of a nanosecond.
//!
//! Once the library stays loaded for good, the section that is left there is one with code: the release by a plain store
//! (`shm/plain.rs`), which must not be interrupted. So that is protected wherever the hint is armed.

use super::rseq::{self, Area};
use std::cell::Cell;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering::*};

/// Where threads look that have no area: nothing ever stands there.
static NOWHERE: Area = Area::new();

/// What stands in an armed area: the section's address, once it is known that the kernel clears it here. Before, and where
/// it does not, a value that no area has.
static ARMED: AtomicU64 = AtomicU64::new(NEVER);

/// No section's address: those are aligned.
const NEVER: u64 = 1;

/// What stands in an armed area that protects the code of a section; else a value that no area has.
static PROTECTED: AtomicU64 = AtomicU64::new(NEVER);

/// The section that is left in areas, once it was made. Never unmapped, also when another one takes its place: an armed pointer
/// into memory that is gone would be the end of the process at its next signal, also when this library was unloaded in the
/// meantime.
static SECTION: AtomicPtr<Section> = AtomicPtr::new(std::ptr::null_mut());

/// Where the code of a section lies, and where the thread goes on that was interrupted there.
#[derive(Clone, Copy, Debug)]
pub struct SectionCode {
    pub start: u64,
    pub len: u64,
    pub abort: u64,
}

/// The calling thread's area, and what stands there while the code of the section is protected.
pub struct Protected {
    pub area: *const Area,
    pub armed: u64,
}

/// What the kernel reads when it looks at a section: `struct rseq_cs`, and four bytes before `abort_ip` the signature with
/// which the area was registered.
#[repr(C, align(32))]
struct Section {
    version: u32,
    flags: u32,
    start_ip: u64,
    post_commit_offset: u64,
    abort_ip: u64,
    signature: u32,
    /// What would follow: never executed, since nothing ever stands inside of the section without code.
    abort: u32,
    inside: u64,
    /// Whether it is one with code.
    has_code: bool,
}

thread_local! {
    /// The area of this thread. Without a destructor, because the uncontended path reads it.
    static AREA: Cell<*const Area> = const { Cell::new(&raw const NOWHERE) };
}

/// Whether it is certainly *not* interrupt time. False: nobody knows yet.
#[inline(always)]
pub fn is_armed() -> bool {
    // SAFETY: `NOWHERE`, or the area of this thread, which is there for as long as the thread is (glibc's is part of its
    // control block, ours is never unmapped). The kernel and signal handlers write it on this very thread only.
    unsafe { &*AREA.get() }.section.load(Relaxed) == ARMED.load(Relaxed)
}

/// Leaves the pointer there. Only at normal time.
pub fn arm() {
    let armed = ARMED.load(Relaxed);
    if armed == NEVER || armed == ALWAYS {
        return;
    }
    let mut area = AREA.get();
    if std::ptr::eq(area, &raw const NOWHERE) {
        match rseq::area_of_this_thread() {
            Some(a) => area = a,
            None => return,
        }
        AREA.set(area);
    }
    // SAFETY: the area of this thread, as above.
    unsafe { &*area }.section.store(armed, Relaxed);
}

/// Takes the pointer away, so that the next request looks what time it is.
pub fn disarm() {
    let armed = ARMED.load(Relaxed);
    // SAFETY: as in `is_armed`.
    let area = unsafe { &*AREA.get() };
    // What another user of rseq in this process has left there stays there.
    if area.section.load(Relaxed) == armed && armed != ALWAYS {
        area.section.store(0, Relaxed);
    }
}

/// The area of this thread is about to go.
pub fn forget_area() {
    AREA.set(&raw const NOWHERE);
}

/// From now on the pointer is believed, or never again.
pub fn trust(yes: bool) {
    loop {
        let section = if yes { section() } else { None };
        believe(section);
        // Another one may just have taken its place.
        if !yes || section == self::section() {
            return;
        }
    }
}

fn believe(section: Option<*const ()>) {
    // SAFETY: a section, which is never unmapped.
    let has_code = section.is_some_and(|s| unsafe { (*s.cast::<Section>()).has_code });
    let at = section.map_or(NEVER, |s| s as u64);
    PROTECTED.store(if has_code { at } else { NEVER }, Relaxed);
    ARMED.store(at, Release);
}

/// From now on the section is this code, which stays where it is; None: nothing needs to be protected. What was armed until now
/// is not any more: its thread makes one full check.
pub fn protect(code: Option<SectionCode>) {
    let old = SECTION.load(Acquire);
    // SAFETY: null, or a section, which is never unmapped.
    let (start, has_code) = unsafe { old.as_ref() }.map_or((0, false), |s| (s.start_ip, s.has_code));
    if has_code == code.is_some() && code.is_none_or(|c| c.start == start) {
        return;
    }
    let Some(new) = make(code) else { return };
    SECTION.store(new, Release);
    let armed = ARMED.load(Relaxed);
    if armed != NEVER && armed != ALWAYS {
        trust(true);
    } else if armed == ALWAYS {
        PROTECTED.store(if code.is_some() { ALWAYS } else { NEVER }, Relaxed);
    }
}

/// See [`Protected`].
#[inline(always)]
pub fn protected() -> Protected {
    Protected { area: AREA.get(), armed: PROTECTED.load(Relaxed) }
}

/// The value for which every thread without an area is armed.
const ALWAYS: u64 = 0;

/// Every request is taken to be one at normal time: for tracers, which stop a thread after each instruction, so that it
/// would make a full check at each request.
pub fn always() {
    ARMED.store(ALWAYS, Release);
    // SAFETY: null, or a section, which is never unmapped.
    if unsafe { SECTION.load(Acquire).as_ref() }.is_some_and(|s| s.has_code) {
        PROTECTED.store(ALWAYS, Relaxed);
    }
}

/// The section's address; makes it, if need be. None: no memory.
pub fn section() -> Option<*const ()> {
    let made = SECTION.load(Acquire);
    if !made.is_null() {
        return Some(made.cast_const().cast());
    }
    let page = make(None)?;
    match SECTION.compare_exchange(std::ptr::null_mut(), page, AcqRel, Acquire) {
        Ok(_) => Some(page.cast_const().cast()),
        Err(other) => {
            // SAFETY: our page, which nobody else has seen.
            unsafe { libc::munmap(page.cast(), 4096) };
            Some(other.cast_const().cast())
        }
    }
}

/// A section in a page of its own.
fn make(code: Option<SectionCode>) -> Option<*mut Section> {
    let page = super::page(4096)?.cast::<Section>();
    let at = page as u64;
    let part = |offset: usize| at + offset as u64;
    let nothing = SectionCode {
        start: part(std::mem::offset_of!(Section, inside)),
        len: 1,
        abort: part(std::mem::offset_of!(Section, abort)),
    };
    let SectionCode { start, len, abort } = code.unwrap_or(nothing);
    let section = Section {
        version: 0,
        flags: 0,
        start_ip: start,
        post_commit_offset: len,
        abort_ip: abort,
        signature: rseq::SIGNATURE,
        abort: 0,
        inside: 0,
        has_code: code.is_some(),
    };
    // SAFETY: a fresh, writable page of its own; made read-only after it was written. It was never made executable.
    unsafe {
        page.write(section);
        libc::mprotect(page.cast(), 4096, libc::PROT_READ);
    }
    Some(page)
}

/// For the benchmark and the tests: how often a full check was made in this process.
pub static FULL_CHECKS: AtomicU32 = AtomicU32::new(0);
