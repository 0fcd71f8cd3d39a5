//! Another user of rseq in the same process, as an allocator may be one.

use std::sync::OnceLock;

#[repr(C, align(32))]
struct Section {
    version: u32,
    flags: u32,
    start: u64,
    len: u64,
    abort: u64,
    signature: u32,
    after: u32,
}

#[cfg(target_arch = "x86_64")]
const SIGNATURE: u32 = 0x5305_3053;
#[cfg(not(target_arch = "x86_64"))]
const SIGNATURE: u32 = 0xd428_bc00;
#[cfg(target_arch = "x86_64")]
const SYS_RSEQ: libc::c_long = 334;
#[cfg(not(target_arch = "x86_64"))]
const SYS_RSEQ: libc::c_long = 293;

/// Registers an area of 32 bytes for the calling thread, for as long as it lives.
pub(super) fn register_area() {
    let area: &'static mut [u64; 8] = Box::leak(Box::new([0; 8]));
    let at = (area.as_mut_ptr() as usize + 31) & !31;
    // SAFETY: 32 aligned bytes that are never freed.
    let r = unsafe { libc::syscall(SYS_RSEQ, at, 32, 0, SIGNATURE) };
    assert_eq!(r, 0, "nobody else has registered one: run it with GLIBC_TUNABLES=glibc.pthread.rseq=0");
}

/// Leaves a pointer to a section of its own in glibc's area, as a user leaves it that has come to the end of one.
pub(super) fn intrude() {
    static SECTION: OnceLock<u64> = OnceLock::new();
    let section = *SECTION.get_or_init(|| {
        let s = Box::leak(Box::new(Section { version: 0, flags: 0, start: 0, len: 1, abort: 0, signature: SIGNATURE, after: 0 }));
        s.abort = &raw const s.after as u64;
        // Nobody ever stands there.
        s.start = &raw const s.version as u64;
        std::ptr::from_ref(s) as u64
    });
    // SAFETY: NUL-terminated; in glibc a constant of this type, the place of the area from the thread pointer.
    unsafe {
        let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()).cast::<isize>();
        if offset.is_null() {
            return;
        }
        let area = thread_pointer().wrapping_byte_offset(*offset);
        area.wrapping_byte_add(8).cast::<u64>().cast_mut().write_volatile(section);
    }
}

#[cfg(target_arch = "x86_64")]
fn thread_pointer() -> *const u8 {
    let p: *const u8;
    // SAFETY: the first word of the thread's control block is its own address.
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
