//! Giving a claim back by a plain store, without a locked instruction, when nobody wants to be told. What that is about:
//! `careful.rs`.
//!
//! # Why the section
//! Two things must not happen between the steps 2 and 3. A signal handler must not fork: the child would return into the
//! middle of it, and give back what is its parent's. And an owner that is stopped there must not go on after its claim was ended from
//! outside (`evict`). So the steps are a *restartable sequence* (rseq): if the kernel takes the thread off its processor in there, or
//! delivers a signal, it goes on at an address where nothing has been stored. The section is the one that the hint of interrupt
//! time leaves registered in normal code anyway (`interrupt/hint.rs`), so it costs nothing.

#[cfg(target_arch = "x86_64")]
use super::layout::Cell;
use super::object::FastPath;
use crate::engine::Claim;
use crate::interrupt::{Protected, SectionCode};

pub use super::careful::{CAREFUL, PERIOD};

/// It was given back.
pub const GIVEN: u64 = 1;
/// It was not, though perhaps taken off the books: that it was there as it was granted has been seen. By a compare-and-swap, please.
pub const UNBOOKED: u64 = 2;

/// Gives back a claim as it was granted: [`GIVEN`], [`UNBOOKED`], or 0: nothing was done.
#[inline(always)]
pub fn give(fast: &FastPath, claim: Claim) -> u64 {
    let Protected { area, armed } = crate::interrupt::protected();
    // SAFETY: `area` is the calling thread's area or a static (see `interrupt::protected`); what `fast` refers to lives as long as
    // the process. The stores are those of atomics: 8 aligned bytes, with all that came before them visible first (x86-64 stores in
    // order).
    unsafe { section::give(area, armed, fast, claim.key, claim.token) }
}

/// Registers this process for others' barriers, and from then on its releases may be plain. Once the library stays loaded;
/// again in a forked child.
pub fn prepare() {
    let able = section::CODE && membarrier(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
    crate::interrupt::protect(if able { section::code() } else { None });
}

/// All processors that run a member have done a full barrier since the call. False: the system has none, or forbids it.
pub fn barrier() -> bool {
    membarrier(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED)
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: a command, no flags, no processor: plain numbers.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

#[cfg(all(target_arch = "x86_64", not(xsem_sanitized)))]
mod section {
    use super::{CAREFUL, Cell, FastPath, GIVEN, SectionCode, UNBOOKED};
    use crate::interrupt::{Area, SECTION_AT, SIGNATURE};
    use crate::shm::arena::Me;
    use std::mem::offset_of;

    /// There is one for this machine.
    pub const CODE: bool = true;

    /// What `raw` returns in two registers.
    #[repr(C)]
    struct Done {
        done: u64,
        table: *const i32,
    }

    /// See [`super::give`].
    #[inline(always)]
    pub unsafe fn give(area: *const Area, armed: u64, fast: *const FastPath, key: u64, token: u64) -> u64 {
        // SAFETY: as the caller says.
        unsafe { raw(area, armed, fast, key, token) }.done
    }

    /// The section: what is between `1` and `2` either runs to its end without the thread leaving its processor and without a
    /// signal, or it goes on at `4`, where the word has not been stored. It begins with the look whether that is in force: `rseq_cs`
    /// names this very section only as long as the kernel has not cleared it.
    ///
    /// The checks that need not be in there are here as well, so that it takes few instructions to call it: whoever drops a guard
    /// then has this, and the guard in registers.
    #[unsafe(naked)]
    unsafe extern "C" fn raw(area: *const Area, armed: u64, fast: *const FastPath, key: u64, token: u64) -> Done {
        std::arch::naked_asm!(
            "xor eax, eax",
            "1:",
            "cmp qword ptr [rdi + {section}], rsi",
            "jne 3f",
            // The process is the member that has the claim: in a forked child it is nobody.
            "mov r9, [rdx + {me}]",
            "mov r11, rcx",
            "shr r11, 32",
            "cmp dword ptr [r9 + {giving}], r11d",
            "jne 3f",
            // The claim is written down as it was granted, and not nested.
            "mov r10, [rdx + {cell}]",
            "cmp qword ptr [r10 + {claim}], rcx",
            "jne 3f",
            "cmp qword ptr [r10 + {token}], r8",
            "jne 3f",
            "cmp dword ptr [r10 + {depth}], 0",
            "jne 3f",
            "mov r11, [rdx + {free}]",
            // Step 1 of the release. Where the thread is interrupted in between, the caller writes what is there already.
            "mov eax, {unbooked}",
            "mov qword ptr [r10 + {claim}], 0",
            // Step 2.
            "test byte ptr [r10 + {careful_at}], {careful}",
            "jnz 3f",
            // Step 3.
            "mov qword ptr [r10 + {word}], r11",
            "2:",
            "mov eax, {given}",
            "ret",
            // What the kernel wants to find before the address where it goes on.
            ".byte 0x0f, 0xb9, 0x3d",
            ".long {signature}",
            "4:",
            "3:",
            "lea rdx, [rip + 5f]",
            "ret",
            ".balign 4",
            // Where it lies, from here.
            "5:",
            ".long 1b - 5b",
            ".long 2b - 1b",
            ".long 4b - 5b",
            section = const SECTION_AT,
            me = const FastPath::ME_AT,
            cell = const FastPath::CELL_AT,
            free = const FastPath::FREE_AT,
            giving = const offset_of!(Me, giving),
            word = const offset_of!(Cell, word),
            claim = const offset_of!(Cell, claim),
            token = const offset_of!(Cell, token),
            depth = const offset_of!(Cell, depth),
            careful = const CAREFUL,
            careful_at = const offset_of!(Cell, careful),
            given = const GIVEN,
            unbooked = const UNBOOKED,
            signature = const SIGNATURE,
        )
    }

    /// Where the section lies.
    pub fn code() -> Option<SectionCode> {
        let nothing = [0u64; 16];
        // An area in which never stands what is asked for.
        let area = Area::new();
        // SAFETY: valid addresses; nothing but the area is looked at, since it does not have this value.
        let done = unsafe { raw(&area, 1, nothing.as_ptr().cast(), 1, 0) };
        let at = done.table as u64;
        // SAFETY: the three numbers at the end of `raw`.
        let table = unsafe { std::slice::from_raw_parts(done.table, 3) };
        let from = |n: i32| at.wrapping_add_signed(n as i64);
        Some(SectionCode { start: from(table[0]), len: table[1] as u64, abort: from(table[2]) })
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::sync::Ordering::*;

        #[test]
        fn it_stores_or_does_not_and_says_where_it_lies() {
            #[repr(align(64))]
            struct Zeros(#[expect(dead_code, reason = "memory")] [u64; 8]);
            let area = Area::new();
            // SAFETY: zeroed atomics, large enough and aligned, which the process keeps.
            let cell: &'static Cell = unsafe { &*std::ptr::from_ref(Box::leak(Box::new(Zeros([0; 8])))).cast() };
            // SAFETY: as above.
            let me: &'static Me = unsafe { &*std::ptr::from_ref(Box::leak(Box::new(Zeros([0; 8])))).cast() };
            let fast = FastPath::of(cell, me, 5);
            let run = |armed: u64, key: u64, token: u64, who: u32, depth: u32, careful: u16| {
                me.giving.store(who, Relaxed);
                cell.word.store(1, Relaxed);
                cell.claim.store(7 << 32 | 64, Relaxed);
                cell.token.store(3, Relaxed);
                cell.depth.store(depth, Relaxed);
                cell.careful.store(careful, Relaxed);
                // SAFETY: valid addresses.
                let done = unsafe { raw(&area, armed, &fast, key, token) }.done;
                (done, cell.word.load(Relaxed), cell.claim.load(Relaxed) != 0)
            };
            let key = 7 << 32 | 64;
            let (given, untouched, unbooked) = ((GIVEN, 5, false), (0, 1, true), (UNBOOKED, 1, false));
            assert_eq!(run(0, key, 3, 7, 0, 0), given);
            assert_eq!(run(0, key, 3, 7, 0, 0xfff8), given, "the count says nothing");
            assert_eq!(run(9, key, 3, 7, 0, 0), untouched, "not armed");
            assert_eq!(run(0, key, 3, 0, 0, 0), untouched, "a forked child");
            assert_eq!(run(0, key + 64, 3, 7, 0, 0), untouched, "somebody else's");
            assert_eq!(run(0, key, 2, 7, 0, 0), untouched, "an older claim");
            assert_eq!(run(0, key, 3, 7, 1, 0), untouched, "nested");
            assert_eq!(run(0, key, 3, 7, 0, 1), unbooked, "asked");
            assert_eq!(run(0, key, 3, 7, 0, 2), unbooked, "confirmed");
            let code = code().unwrap();
            assert!(code.start - raw as *const () as u64 == 2 && code.len < 128, "{code:?}");
            assert!(code.abort >= code.start + code.len);
            // SAFETY: code of this program.
            let signature = unsafe { ((code.abort - 4) as *const u32).read_unaligned() };
            assert_eq!(signature, SIGNATURE);
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", not(xsem_sanitized))))]
mod section {
    use super::SectionCode;
    use crate::interrupt::Area;

    /// None for this machine, or none that a sanitizer understands.
    pub const CODE: bool = false;

    /// See [`super::give`].
    #[inline(always)]
    pub unsafe fn give(_: *const Area, _: u64, _: *const super::FastPath, _: u64, _: u64) -> u64 {
        0
    }

    /// Nowhere.
    pub fn code() -> Option<SectionCode> {
        None
    }
}
